//! Filter banks as formulas: what a `filter` item of the notation means on a grid.
//!
//! ```text
//! filter item --Bank (text and sizes, an attribute of linear maps)--> Evaluation of one (j, l) --> array [H][W] of the base grid
//! ```
//!
//! Definitions are evaluated when they are asked for: `wavelet`, `lowpass` and `stencil` are arrays, the last over the few samples of a stencil, `octave`, `layer` and `count` numbers. Fourier transforms are supplied by the
//! caller through [`Transform`], so this module owns no numerics but those of its primitives.

use crate::elementary::{LEAST, circulars, cosines, exponentials, sines};
use crate::notation::{BinaryOperator, Expr, ExprKind, Filter, Item, Vocabulary, check, parse};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

/// Functions that a filter may call: name, number of arguments, documentation.
///
/// ```
/// assert!(scatterc_ir::filter::FUNCTIONS.iter().any(|(name, arity, _)| *name == "select" && *arity == 3));
/// ```
pub const FUNCTIONS: &[(&str, usize, &str)] = &[
    ("abs", 1, "abs(z): modulus"),
    ("re", 1, "re(z): real part"),
    ("im", 1, "im(z): imaginary part"),
    ("conj", 1, "conj(z): complex conjugate"),
    ("cis", 1, "cis(a): cos(a) + i sin(a)"),
    ("exp", 1, "exp(a): exponential"),
    ("log", 1, "log(a): natural logarithm"),
    ("sqrt", 1, "sqrt(a): square root"),
    ("sin", 1, "sin(a): sine"),
    ("cos", 1, "cos(a): cosine"),
    ("sign", 1, "sign(a): -1, 0 or 1"),
    ("single", 1, "single(z): the nearest numbers of single precision"),
    ("floor", 1, "floor(a): largest whole number that is not above a"),
    ("ceil", 1, "ceil(a): smallest whole number that is not below a"),
    ("factorial", 1, "factorial(n): n! of a whole number"),
    ("min", 2, "min(a, b): smaller of two"),
    ("max", 2, "max(a, b): larger of two"),
    ("modulo", 2, "modulo(a, b): remainder of a by b, from 0 to b"),
    ("atan2", 2, "atan2(y, x): angle of (x, y)"),
    ("greater", 2, "greater(a, b): 1 where a > b, else 0"),
    ("select", 3, "select(c, a, b): a where c is not 0, else b"),
    ("over_rows", 3, "over_rows(f, a, b): sum of f with `row` replaced by row + k H, k = a .. b"),
    ("over_columns", 3, "over_columns(f, a, b): sum of f with `column` replaced by column + k W, k = a .. b"),
    ("fourier", 1, "fourier(f): discrete Fourier transform over the grid, without a factor"),
    ("inverse", 1, "inverse(f): its inverse, with 1/(HW)"),
    ("total", 1, "total(f): sum over the grid"),
    ("at", 3, "at(f, r, c): entry in row r and column c"),
    ("until_minimum", 1, "until_minimum(f): f with zeros after its first strict local minimum along every row"),
];

/// Names that stand for numbers or coordinates in every filter.
///
/// ```
/// assert_eq!(scatterc_ir::filter::VARIABLES[0], ("row", "row of the grid, from 0"));
/// ```
pub const VARIABLES: &[(&str, &str)] = &[
    ("row", "row of the grid, from 0"),
    ("column", "column of the grid, from 0"),
    ("H", "rows of the grid"),
    ("W", "columns of the grid"),
    ("J", "number of scales"),
    ("L", "number of directions"),
    ("j", "scale"),
    ("l", "direction"),
];

/// What a domain and its maps ask a filter for.
///
/// ```
/// assert!(scatterc_ir::filter::RESULTS.contains(&"wavelet"));
/// ```
pub const RESULTS: &[&str] = &["wavelet", "lowpass", "stencil", "octave", "layer", "count"];

/// A filter that cannot be evaluated.
///
/// ```
/// use scatterc_ir::Bank;
///
/// let bank = Bank { text: "filter f { wavelet = unknown; }".into(), ..Bank::sample() };
/// assert!(bank.filter().unwrap_err().to_string().contains("`unknown`"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("filter `{filter}`: {message}")]
pub struct FilterError {
    /// Its name.
    pub filter: String,
    /// What was expected and found.
    pub message: String,
}

/// Most points of a grid on which filters are evaluated; one array of it takes 512 MiB.
///
/// ```
/// use scatterc_ir::Bank;
///
/// // 2^13 x 2^13 points are the most.
/// let bank = |H: usize| format!("bank(H={H}, W=8192, J=1, L=1, folded=0, real=1) filter f {{ wavelet = row; }}").parse::<Bank>();
/// assert!(scatterc_ir::filter::LARGEST_GRID == 8192 * 8192 && bank(8192).is_ok() && bank(8193).is_err());
/// ```
pub const LARGEST_GRID: usize = 1 << 26;

/// Most terms of one sum over periods.
const MOST_PERIODS: i64 = 128;

/// A filter bank bound to its sizes: an attribute of linear maps, printed as `bank(H=8, W=8, J=2, L=4, folded=0, real=1) filter morlet { .. }`.
///
/// ```
/// use scatterc_ir::Bank;
///
/// let bank: Bank = "bank(H=8, W=12, J=2, L=1, folded=0, real=1) filter rings { wavelet = exp(-(row - j)^2); }".parse()?;
/// assert_eq!((bank.H, bank.W, bank.J), (8, 12, 2));
/// assert_eq!(bank.to_string().parse(), Ok(bank));
/// # Ok::<(), scatterc_ir::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bank {
    /// Rows of the base grid.
    pub H: usize,
    /// Columns of the base grid.
    pub W: usize,
    /// Number of scales.
    pub J: usize,
    /// Number of directions of every scale.
    pub L: usize,
    /// How a filter comes to a smaller grid: the sum over aliases, or else the lowest frequencies.
    pub folded: bool,
    /// True when the wavelets have real values at every frequency.
    pub real: bool,
    /// Canonical text of the filter item on one line.
    pub text: Arc<str>,
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folded, real) = (u8::from(self.folded), u8::from(self.real));
        write!(f, "bank(H={}, W={}, J={}, L={}, folded={folded}, real={real}) {}", self.H, self.W, self.J, self.L, self.text)
    }
}

impl FromStr for Bank {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let fail = |message: &str| FilterError { filter: String::new(), message: message.into() };
        let (head, body) = text.strip_prefix("bank(").and_then(|rest| rest.split_once(") ")).ok_or_else(|| fail("expected `bank(..) filter ..`"))?;
        let mut sizes = [0usize; 6];
        let names = ["H", "W", "J", "L", "folded", "real"];
        let parts: Vec<&str> = head.split(", ").collect();
        if parts.len() != names.len() {
            return Err(fail("expected H, W, J, L, folded and real"));
        }
        for ((part, name), size) in parts.iter().zip(names).zip(&mut sizes) {
            let value = part.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).and_then(|x| x.parse::<usize>().ok());
            *size = value.filter(|n| *n <= 1 << 20).ok_or_else(|| fail("expected sizes such as H=8, at most 2^20"))?;
        }
        let [H, W, J, L, folded, real] = sizes;
        if H == 0 || W == 0 || J == 0 || L == 0 || L > 256 || folded > 1 || real > 1 {
            return Err(fail("H, W, J and L must be at least 1, L at most 256, folded and real 0 or 1"));
        }
        if H * W > LARGEST_GRID {
            return Err(fail("a grid has at most 2^26 points"));
        }
        Ok(Bank { H, W, J, L, folded: folded == 1, real: real == 1, text: body.into() })
    }
}

impl Bank {
    /// A small bank for the law tests.
    ///
    /// ```
    /// use scatterc_ir::Bank;
    ///
    /// let bank = Bank::sample();
    /// assert_eq!((bank.H, bank.W, bank.filter()?.name.name.as_str()), (8, 12, "sample"));
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn sample() -> Bank {
        let text = "filter sample { r = row - H * greater(row, H / 2 - 1); c = column - W * greater(column, W / 2 - 1); \
                    wavelet = exp(-(r - j - l)^2 / 5 - (c - 1 + l)^2 / 7); lowpass = exp(-(r^2 + 2 * c^2) / 9); }";
        Bank { H: 8, W: 12, J: 2, L: 2, folded: false, real: true, text: text.into() }
    }

    /// A small bank of stencils for the law tests.
    ///
    /// ```
    /// assert!(scatterc_ir::Bank::sample_stencil().text.contains("stencil ="));
    /// ```
    pub fn sample_stencil() -> Bank {
        let text = "filter sample { stencil = exp(-(row - 1 - j)^2 / 3 - (column - 2 + l)^2 / 5) * cis(row - 2 * column + l); }";
        Bank { H: 3, W: 5, J: 2, L: 2, folded: false, real: false, text: text.into() }
    }

    /// Whether filters of this bank exist on a grid of that size.
    ///
    /// ```
    /// use scatterc_ir::Bank;
    ///
    /// // Truncated filters come to any smaller grid, folded ones to divisors.
    /// let truncated = Bank::sample();
    /// assert!(truncated.fits(4, 5).is_ok() && truncated.fits(9, 12).is_err());
    /// let folded = Bank { folded: true, ..Bank::sample() };
    /// assert!(folded.fits(4, 6).is_ok() && folded.fits(4, 5).is_err());
    /// ```
    pub fn fits(&self, H: usize, W: usize) -> Result<(), String> {
        let fits = if self.folded { self.H.is_multiple_of(H) && self.W.is_multiple_of(W) } else { H <= self.H && W <= self.W };
        if fits { Ok(()) } else { Err(format!("filters made on {} x {} do not come to a grid of {H} x {W}", self.H, self.W)) }
    }

    /// The parsed filter.
    ///
    /// ```
    /// use scatterc_ir::Bank;
    ///
    /// let definitions = Bank::sample().filter()?.definitions;
    /// assert_eq!(definitions.iter().map(|d| d.name.name.as_str()).collect::<Vec<_>>(), ["r", "c", "wavelet", "lowpass"]);
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn filter(&self) -> Result<Filter, FilterError> {
        let fail = |message: String| FilterError { filter: String::new(), message };
        let program = parse(&self.text, "filter").map_err(|e| fail(e.to_string()))?;
        // A plan may come from elsewhere: only a checked filter uses earlier definitions alone, so that its evaluation ends.
        check(&program, &Vocabulary::standard()).map_err(|errors| fail(errors.first().map_or_else(String::new, ToString::to_string)))?;
        match program.items.into_iter().next() {
            Some(Item::Filter(filter)) => Ok(filter),
            _ => Err(fail("the text holds no filter".into())),
        }
    }

    /// Index on the base grid of the frequency that sits at `k` on a grid of `n`, for banks that keep the lowest frequencies.
    ///
    /// ```
    /// use scatterc_ir::Bank;
    ///
    /// // Frequencies 0, 1, -2, -1 of a grid of four, on a grid of eight.
    /// assert_eq!([0, 1, 2, 3].map(|k| Bank::kept(8, 4, k)), [0, 1, 6, 7]);
    /// ```
    pub fn kept(base: usize, n: usize, k: usize) -> usize {
        if k < n.div_ceil(2) { k } else { base - n + k }
    }
}

/// Discrete Fourier transforms over a grid, in place.
///
/// ```
/// use scatterc_ir::filter::Transform;
///
/// /// The sum itself, for one row and forwards.
/// struct Direct;
/// impl Transform for Direct {
///     fn fourier(&self, _H: usize, W: usize, _inverse: bool, re: &mut [f64], im: &mut [f64]) {
///         let (a, b) = (re.to_vec(), im.to_vec());
///         for k in 0..W {
///             let turned = |p: usize| (-std::f64::consts::TAU * (p * k) as f64 / W as f64).sin_cos();
///             re[k] = (0..W).map(|p| a[p] * turned(p).1 - b[p] * turned(p).0).sum();
///             im[k] = (0..W).map(|p| a[p] * turned(p).0 + b[p] * turned(p).1).sum();
///         }
///     }
/// }
/// let (mut re, mut im) = ([1.0, 1.0, 1.0, 1.0], [0.0; 4]);
/// Direct.fourier(1, 4, false, &mut re, &mut im);
/// assert!((re[0] - 4.0).abs() < 1e-14 && re[1..].iter().chain(&im).all(|x| x.abs() < 1e-14));
/// ```
pub trait Transform {
    /// sum_p f_p e^{-2 pi i k p / n} over rows and columns, or with the opposite sign and 1/(HW) when `inverse`.
    ///
    /// ```
    /// use scatterc_ir::filter::Transform;
    ///
    /// /// A grid of one point has only frequency 0.
    /// struct Point;
    /// impl Transform for Point {
    ///     fn fourier(&self, H: usize, W: usize, _inverse: bool, _re: &mut [f64], _im: &mut [f64]) {
    ///         assert_eq!((H, W), (1, 1));
    ///     }
    /// }
    /// let (mut re, mut im) = ([5.0], [0.0]);
    /// Point.fourier(1, 1, false, &mut re, &mut im);
    /// assert_eq!(re, [5.0]);
    /// ```
    fn fourier(&self, H: usize, W: usize, inverse: bool, re: &mut [f64], im: &mut [f64]);
}

/// A number or one number per grid point.
#[derive(Clone, Debug)]
enum Part {
    Number(f64),
    Array(Rc<Vec<f64>>),
}

/// A complex value.
#[derive(Clone, Debug)]
struct Complex {
    re: Part,
    im: Option<Part>,
}

/// A filter on the grid: real, or complex with a second array.
///
/// ```
/// # use scatterc_ir::Bank;
/// # use scatterc_ir::filter::{Evaluation, Transform};
/// # struct NoTransform;
/// # impl Transform for NoTransform {
/// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
/// # }
/// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
/// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
/// # let filter = bank.filter()?;
/// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
/// let wave = Evaluation::new(&filter, &bank, 0, 0, &NoTransform).array("wave")?;
/// assert_eq!((wave.re[0], wave.im.map(|im| im[3])), (1.0, Some(1f64.sin())));
/// # Ok::<(), scatterc_ir::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Real parts, `[H][W]`.
    pub re: Vec<f64>,
    /// Imaginary parts; absent for a real filter.
    pub im: Option<Vec<f64>>,
}

impl Part {
    fn map(&self, f: impl Fn(f64) -> f64) -> Part {
        match self {
            Part::Number(x) => Part::Number(f(*x)),
            Part::Array(a) => Part::Array(Rc::new(a.iter().map(|x| f(*x)).collect())),
        }
    }

    /// A function of many numbers at once.
    fn all(&self, f: fn(&[f64]) -> Vec<f64>) -> Part {
        match self {
            Part::Number(x) => Part::Number(f(&[*x])[0]),
            Part::Array(a) => Part::Array(Rc::new(f(a))),
        }
    }

    fn zip(&self, other: &Part, f: impl Fn(f64, f64) -> f64) -> Part {
        match (self, other) {
            (Part::Number(x), Part::Number(y)) => Part::Number(f(*x, *y)),
            (Part::Array(a), Part::Number(y)) => Part::Array(Rc::new(a.iter().map(|x| f(*x, *y)).collect())),
            (Part::Number(x), Part::Array(b)) => Part::Array(Rc::new(b.iter().map(|y| f(*x, *y)).collect())),
            (Part::Array(a), Part::Array(b)) => Part::Array(Rc::new(a.iter().zip(b.iter()).map(|(x, y)| f(*x, *y)).collect())),
        }
    }

    fn at(&self, k: usize) -> f64 {
        match self {
            Part::Number(x) => *x,
            Part::Array(a) => a.get(k).copied().unwrap_or(f64::NAN),
        }
    }

    fn total(&self, n: usize) -> f64 {
        match self {
            Part::Number(x) => *x * n as f64,
            Part::Array(a) => a.iter().sum(),
        }
    }

    fn samples(&self, n: usize) -> Vec<f64> {
        match self {
            Part::Number(x) => vec![*x; n],
            Part::Array(a) => a.to_vec(),
        }
    }
}

impl Complex {
    /// Largest magnitude of a part.
    fn largest(&self) -> f64 {
        let of = |part: &Part| match part {
            Part::Number(x) => x.abs(),
            // Four maxima at a time; a NaN is passed over, and then nothing is left out.
            Part::Array(a) => {
                let mut most = [0.0f64; 4];
                a.chunks(4).for_each(|x| x.iter().zip(&mut most).for_each(|(x, most)| *most = if x.abs() > *most { x.abs() } else { *most }));
                most.into_iter().fold(0.0, f64::max)
            }
        };
        of(&self.re).max(self.im.as_ref().map_or(0.0, of))
    }

    /// True when the value is the same at every grid point.
    fn is_number(&self) -> bool {
        let constant = |part: &Part| matches!(part, Part::Number(_));
        constant(&self.re) && self.im.as_ref().is_none_or(constant)
    }
}

/// Tells the result of a function over the whole grid from its argument: expressions lie at even addresses.
const RESULT: usize = 1;

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr) as usize
}

/// True for expressions that are computed once over the whole grid rather than again for every block that needs them.
fn is_dear(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Access { .. } | ExprKind::Reduce { .. } => false,
        ExprKind::Negate(operand) => is_dear(operand),
        ExprKind::Binary { left, right, .. } => is_dear(left) || is_dear(right),
        ExprKind::Call { function, arguments } => {
            ["over_rows", "over_columns", "fourier", "inverse", "until_minimum"].contains(&function.name.as_str()) || arguments.iter().any(is_dear)
        }
    }
}

/// True for expressions without coordinates.
fn is_constant(filter: &Filter, expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) => true,
        ExprKind::Name(name) => match filter.definitions.iter().find(|d| d.name.name == *name) {
            Some(definition) => is_constant(filter, &definition.value),
            None => !["row", "column"].contains(&name.as_str()),
        },
        ExprKind::Negate(operand) => is_constant(filter, operand),
        ExprKind::Binary { left, right, .. } => is_constant(filter, left) && is_constant(filter, right),
        ExprKind::Call { function, arguments } => match function.name.as_str() {
            "total" | "at" => true,
            "fourier" | "inverse" => false,
            _ => arguments.iter().all(|argument| is_constant(filter, argument)),
        },
        ExprKind::Access { .. } | ExprKind::Reduce { .. } => false,
    }
}

/// The sums over periods that reach the results through Fourier transforms and totals alone, up to linear operations: every number that comes out feels the largest
/// that goes in, so that far smaller ones need not be known. By the address of the call.
struct Blurred<'a> {
    filter: &'a Filter,
    /// Names that are read otherwise.
    sharp: HashSet<&'a str>,
    sums: HashSet<usize>,
}

impl<'a> Blurred<'a> {
    fn sums(filter: &'a Filter) -> HashSet<usize> {
        let mut blurred = Blurred { filter, sharp: RESULTS.iter().copied().collect(), sums: HashSet::new() };
        // Definitions use earlier ones alone, so that all uses of a name are met before its definition.
        for definition in filter.definitions.iter().rev() {
            let sharp = blurred.sharp.contains(definition.name.name.as_str());
            blurred.visit(&definition.value, !sharp);
        }
        blurred.sums
    }

    fn visit(&mut self, expr: &'a Expr, blurred: bool) {
        match &expr.kind {
            ExprKind::Name(name) if !blurred => {
                self.sharp.insert(name);
            }
            ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Access { .. } | ExprKind::Reduce { .. } => {}
            ExprKind::Negate(operand) => self.visit(operand, blurred),
            ExprKind::Binary { operator, left, right } => {
                let linear = match operator {
                    BinaryOperator::Add | BinaryOperator::Subtract => [true, true],
                    BinaryOperator::Multiply => [is_constant(self.filter, right), is_constant(self.filter, left)],
                    BinaryOperator::Divide => [is_constant(self.filter, right), false],
                    BinaryOperator::Power => [false, false],
                };
                self.visit(left, blurred && linear[0]);
                self.visit(right, blurred && linear[1]);
            }
            ExprKind::Call { function, arguments } => {
                let first = match function.name.as_str() {
                    "fourier" | "inverse" | "total" => true,
                    "over_rows" | "over_columns" => {
                        if blurred {
                            self.sums.insert(address(expr));
                        }
                        blurred
                    }
                    "re" | "im" | "conj" => blurred,
                    _ => false,
                };
                arguments.iter().enumerate().for_each(|(k, argument)| self.visit(argument, first && k == 0));
            }
        }
    }
}

fn real(re: Part) -> Complex {
    Complex { re, im: None }
}

fn add(x: &Complex, y: &Complex, sign: f64) -> Complex {
    let im = match (&x.im, &y.im) {
        (None, None) => None,
        (Some(a), None) => Some(a.clone()),
        (None, Some(b)) => Some(b.map(|b| sign * b)),
        (Some(a), Some(b)) => Some(a.zip(b, |a, b| a + sign * b)),
    };
    Complex { re: x.re.zip(&y.re, |a, b| a + sign * b), im }
}

fn multiply(x: &Complex, y: &Complex) -> Complex {
    // Zero times anything is zero, whether the other factor was computed or not.
    let product = |a: &Part, b: &Part| a.zip(b, |a, b| if a == 0.0 { 0.0 } else { a * b });
    match (&x.im, &y.im) {
        (None, None) => real(product(&x.re, &y.re)),
        (Some(a), None) => Complex { re: product(&x.re, &y.re), im: Some(product(a, &y.re)) },
        (None, Some(b)) => Complex { re: product(&x.re, &y.re), im: Some(product(&x.re, b)) },
        (Some(a), Some(b)) => {
            Complex { re: product(&x.re, &y.re).zip(&product(a, b), |p, q| p - q), im: Some(product(&x.re, b).zip(&product(a, &y.re), |p, q| p + q)) }
        }
    }
}

fn divide(x: &Complex, y: &Complex) -> Complex {
    match &y.im {
        None => Complex { re: x.re.zip(&y.re, |a, b| a / b), im: x.im.as_ref().map(|a| a.zip(&y.re, |a, b| a / b)) },
        Some(b) => {
            let norm = y.re.zip(b, |a, b| a * a + b * b);
            let inverse = Complex { re: y.re.zip(&norm, |a, n| a / n), im: Some(b.zip(&norm, |b, n| -b / n)) };
            multiply(x, &inverse)
        }
    }
}

/// Grid points evaluated together, so that intermediate arrays stay in the first-level cache.
const BLOCK: usize = 1024;

/// Columns of a block of an image.
const BLOCK_COLUMNS: usize = 32;

/// Terms of a sum over periods that are nowhere in a block above this part of the sum's largest number there are left out; double precision has 53 digits. Where
/// only transforms and totals see the sum, its largest number on the whole grid counts, and the part is divided by the number of grid points.
const NEGLIGIBLE: f64 = 1.0 / (1u128 << 64) as f64;

/// A rectangle of the grid.
#[derive(Clone, Debug, Default)]
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Block {
    fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// Bounds of an expression over a block.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    /// Of a real number.
    Real(f64, f64),
    /// Of the modulus of a complex number.
    Modulus(f64),
}

impl Bounds {
    fn modulus(self) -> f64 {
        match self {
            Bounds::Real(low, high) => low.abs().max(high.abs()),
            Bounds::Modulus(most) => most,
        }
    }

    /// `None` for bounds that say nothing.
    fn known(self) -> Option<Bounds> {
        self.modulus().is_finite().then_some(self)
    }
}

/// Evaluates one filter at one scale and direction, block by block of the grid; what needs the whole grid (transforms, totals, sums over periods) is computed once and kept.
///
/// ```
/// # use scatterc_ir::Bank;
/// # use scatterc_ir::filter::{Evaluation, Transform};
/// # struct NoTransform;
/// # impl Transform for NoTransform {
/// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
/// # }
/// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
/// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
/// # let filter = bank.filter()?;
/// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
/// let mut scale_one = Evaluation::new(&filter, &bank, 1, 0, &NoTransform);
/// assert_eq!((scale_one.array("wavelet")?.re[5], scale_one.number("octave")?), (121.0, 2.0));
/// # Ok::<(), scatterc_ir::filter::FilterError>(())
/// ```
pub struct Evaluation<'a> {
    filter: &'a Filter,
    bank: &'a Bank,
    j: usize,
    l: usize,
    transform: &'a dyn Transform,
    /// Numbers do not depend on the coordinates, so they stay while these are shifted.
    numbers: HashMap<String, Complex>,
    /// Arrays over the current block at the current shift.
    arrays: HashMap<String, Complex>,
    /// Values over the whole grid without a shift, by the address of their expression, which the borrowed filter keeps in place.
    wholes: HashMap<usize, Complex>,
    /// Sums over periods that only transforms and totals see, see [`Blurred`].
    blurred: HashSet<usize>,
    /// The largest number that each of them has had so far.
    largest: HashMap<usize, f64>,
    /// What is added to `row` and `column`.
    shift: (f64, f64),
    /// The current block.
    block: Block,
}

impl<'a> Evaluation<'a> {
    /// An evaluation of `filter` at scale `j` and direction `l` of `bank`.
    ///
    /// ```
    /// # use scatterc_ir::Bank;
    /// # use scatterc_ir::filter::{Evaluation, Transform};
    /// # struct NoTransform;
    /// # impl Transform for NoTransform {
    /// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
    /// # }
    /// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
    /// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
    /// # let filter = bank.filter()?;
    /// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
    /// assert!(Evaluation::new(&filter, &bank, 0, 0, &NoTransform).has("wavelet"));
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn new(filter: &'a Filter, bank: &'a Bank, j: usize, l: usize, transform: &'a dyn Transform) -> Self {
        let (numbers, arrays, wholes, largest) = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        let (blurred, shift, block) = (Blurred::sums(filter), (0.0, 0.0), Block::default());
        Evaluation { filter, bank, j, l, transform, numbers, arrays, wholes, blurred, largest, shift, block }
    }

    /// True when the filter defines that name.
    ///
    /// ```
    /// # use scatterc_ir::Bank;
    /// # use scatterc_ir::filter::{Evaluation, Transform};
    /// # struct NoTransform;
    /// # impl Transform for NoTransform {
    /// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
    /// # }
    /// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
    /// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
    /// # let filter = bank.filter()?;
    /// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
    /// let evaluation = Evaluation::new(&filter, &bank, 0, 0, &NoTransform);
    /// assert!(evaluation.has("octave") && !evaluation.has("lowpass"));
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn has(&self, name: &str) -> bool {
        self.filter.definitions.iter().any(|d| d.name.name == name)
    }

    /// A definition as an array over the base grid.
    ///
    /// ```
    /// # use scatterc_ir::Bank;
    /// # use scatterc_ir::filter::{Evaluation, Transform};
    /// # struct NoTransform;
    /// # impl Transform for NoTransform {
    /// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
    /// # }
    /// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
    /// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
    /// # let filter = bank.filter()?;
    /// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
    /// assert_eq!(Evaluation::new(&filter, &bank, 0, 0, &NoTransform).array("wavelet")?.re, [0.0, 10.0, 20.0, 1.0, 11.0, 21.0]);
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn array(&mut self, name: &str) -> Result<Sampled, FilterError> {
        let n = self.bank.H * self.bank.W;
        let filter = self.filter;
        let definition = filter.definitions.iter().find(|d| d.name.name == name).ok_or_else(|| self.fail(format!("`{name}` is not defined")))?;
        let value = self.whole(&definition.value)?;
        let sampled = Sampled { re: value.re.samples(n), im: value.im.map(|im| im.samples(n)) };
        match sampled.re.iter().chain(sampled.im.iter().flatten()).position(|x| !x.is_finite()) {
            Some(k) => Err(self.fail(format!("`{name}` of scale {} and direction {} is not finite at grid point {}", self.j, self.l, k % n))),
            None => Ok(sampled),
        }
    }

    /// A definition as a real number.
    ///
    /// ```
    /// # use scatterc_ir::Bank;
    /// # use scatterc_ir::filter::{Evaluation, Transform};
    /// # struct NoTransform;
    /// # impl Transform for NoTransform {
    /// #     fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
    /// # }
    /// # let text = "filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); }";
    /// # let bank = Bank { H: 2, W: 3, J: 2, L: 1, folded: false, real: true, text: text.into() };
    /// # let filter = bank.filter()?;
    /// // filter tilted { wavelet = row + 10 * column + 100 * j; octave = j + 1; wave = cis(row); } on a grid of 2 x 3
    /// let mut evaluation = Evaluation::new(&filter, &bank, 1, 0, &NoTransform);
    /// assert_eq!(evaluation.number("octave")?, 2.0);
    /// assert!(evaluation.number("wavelet").is_err(), "an array");
    /// # Ok::<(), scatterc_ir::filter::FilterError>(())
    /// ```
    pub fn number(&mut self, name: &str) -> Result<f64, FilterError> {
        match self.named(name)? {
            Complex { re: Part::Number(x), im: None } if x.is_finite() => Ok(x),
            _ => Err(self.fail(format!("`{name}` is no finite real number"))),
        }
    }

    fn fail(&self, message: String) -> FilterError {
        FilterError { filter: self.filter.name.name.clone(), message }
    }

    /// An expression over the whole grid; kept where nothing is shifted.
    fn whole(&mut self, expr: &'a Expr) -> Result<Complex, FilterError> {
        // A name stands for its definition, so that both share what is kept.
        let filter = self.filter;
        let expr = match &expr.kind {
            ExprKind::Name(name) => filter.definitions.iter().find(|d| d.name.name == *name).map_or(expr, |d| &d.value),
            _ => expr,
        };
        let plain = self.shift == (0.0, 0.0);
        if plain && let Some(value) = self.wholes.get(&address(expr)) {
            return Ok(value.clone());
        }
        let (block, arrays) = (self.block.clone(), std::mem::take(&mut self.arrays));
        let (H, W) = (self.bank.H, self.bank.W);
        let (mut re, mut im): (Vec<f64>, Option<Vec<f64>>) = (vec![0.0; H * W], None);
        let mut number = None;
        let width = if H == 1 { BLOCK } else { BLOCK_COLUMNS };
        let put = |to: &mut [f64], block: &Block, part: &Part| {
            for (k, r) in block.rows.clone().enumerate() {
                let row = &mut to[r * W..][block.columns.clone()];
                match part {
                    Part::Number(x) => row.fill(*x),
                    Part::Array(a) => row.copy_from_slice(&a[k * row.len()..][..row.len()]),
                }
            }
        };
        'grid: for first in (0..H).step_by(BLOCK / width) {
            for left in (0..W).step_by(width) {
                self.block = Block { rows: first..H.min(first + BLOCK / width), columns: left..W.min(left + width) };
                self.arrays.clear();
                let value = self.evaluate(expr)?;
                if value.is_number() {
                    number = Some(value);
                    break 'grid;
                }
                put(&mut re, &self.block, &value.re);
                if let Some(part) = &value.im {
                    put(im.get_or_insert_with(|| vec![0.0; H * W]), &self.block, part);
                }
            }
        }
        (self.block, self.arrays) = (block, arrays);
        let value = number.unwrap_or_else(|| Complex { re: Part::Array(Rc::new(re)), im: im.map(|im| Part::Array(Rc::new(im))) });
        if plain {
            self.wholes.insert(address(expr), value.clone());
        }
        Ok(value)
    }

    /// The current block of an expression that is computed over the whole grid.
    fn part_of_whole(&mut self, expr: &'a Expr) -> Result<Complex, FilterError> {
        let value = self.whole(expr)?;
        Ok(self.block_of(&value))
    }

    /// The current block of a value over the whole grid.
    fn block_of(&self, value: &Complex) -> Complex {
        let W = self.bank.W;
        let part = |part: &Part| match part {
            Part::Number(x) => Part::Number(*x),
            Part::Array(a) => {
                let row = |r: usize| a.get(r * W + self.block.columns.start..r * W + self.block.columns.end).unwrap_or_default().iter().copied();
                Part::Array(Rc::new(self.block.rows.clone().flat_map(row).collect()))
            }
        };
        Complex { re: part(&value.re), im: value.im.as_ref().map(part) }
    }

    fn named(&mut self, name: &str) -> Result<Complex, FilterError> {
        if let Some(value) = self.numbers.get(name).or_else(|| self.arrays.get(name)) {
            return Ok(value.clone());
        }
        let filter = self.filter;
        if let Some(definition) = filter.definitions.iter().find(|d| d.name.name == name) {
            if self.shift == (0.0, 0.0) && (self.wholes.contains_key(&address(&definition.value)) || is_dear(&definition.value)) {
                return self.part_of_whole(&definition.value);
            }
            let value = self.evaluate(&definition.value)?;
            let memo = if value.is_number() { &mut self.numbers } else { &mut self.arrays };
            memo.insert(name.into(), value.clone());
            return Ok(value);
        }
        let (H, W) = (self.bank.H, self.bank.W);
        let number = |x: usize| Ok(real(Part::Number(x as f64)));
        let value = match name {
            "H" => return number(H),
            "W" => return number(W),
            "J" => return number(self.bank.J),
            "L" => return number(self.bank.L),
            "j" => return number(self.j),
            "l" => return number(self.l),
            "row" => {
                let (shift, width) = (self.shift.0, self.block.columns.len());
                let row = |r: usize| std::iter::repeat_n(r as f64 + shift, width);
                real(Part::Array(Rc::new(self.block.rows.clone().flat_map(row).collect())))
            }
            "column" => {
                let (shift, columns) = (self.shift.1, &self.block.columns);
                let row = |_| columns.clone().map(|c| c as f64 + shift);
                real(Part::Array(Rc::new(self.block.rows.clone().flat_map(row).collect())))
            }
            _ => return Err(self.fail(format!("`{name}` is not defined"))),
        };
        self.arrays.insert(name.into(), value.clone());
        Ok(value)
    }

    /// A bound of the modulus of an expression over the current block at the current shift; `None` where nothing is known.
    fn bound(&self, expr: &'a Expr) -> Option<f64> {
        let of = |range: &Range<usize>, shift: f64| (range.start as f64 + shift, range.end as f64 - 1.0 + shift);
        let (rows, columns) = (of(&self.block.rows, self.shift.0), of(&self.block.columns, self.shift.1));
        self.bounds(expr, rows, columns, &mut Vec::new()).map(Bounds::modulus)
    }

    /// Interval arithmetic with `row` and `column` in given ranges; rounding is not accounted for, as bounds are only compared with something far below the last digit.
    fn bounds(&self, expr: &'a Expr, rows: (f64, f64), columns: (f64, f64), known: &mut Vec<(&'a str, Option<Bounds>)>) -> Option<Bounds> {
        use Bounds::{Modulus, Real};
        let bounds = match &expr.kind {
            ExprKind::Number(x) => Real(*x, *x),
            ExprKind::Name(name) => {
                if let Some((_, found)) = known.iter().find(|(known, _)| *known == name.as_str()) {
                    return *found;
                }
                let constant = match self.numbers.get(name.as_str()) {
                    Some(Complex { re: Part::Number(x), im: None }) => Some(*x),
                    _ => None,
                };
                let filter: &'a Filter = self.filter;
                let number = |n: usize| Some(Real(n as f64, n as f64));
                let found = match (constant, filter.definitions.iter().find(|d| d.name.name == *name)) {
                    (Some(x), _) => Real(x, x).known(),
                    (None, Some(definition)) => self.bounds(&definition.value, rows, columns, known),
                    (None, None) => match name.as_str() {
                        "row" => Some(Real(rows.0, rows.1)),
                        "column" => Some(Real(columns.0, columns.1)),
                        "H" => number(self.bank.H),
                        "W" => number(self.bank.W),
                        "J" => number(self.bank.J),
                        "L" => number(self.bank.L),
                        "j" => number(self.j),
                        "l" => number(self.l),
                        _ => None,
                    },
                };
                known.push((name, found));
                return found;
            }
            ExprKind::Negate(operand) => match self.bounds(operand, rows, columns, known)? {
                Real(a, b) => Real(-b, -a),
                modulus => modulus,
            },
            ExprKind::Binary { operator: BinaryOperator::Power, left, right } => {
                match (self.bounds(left, rows, columns, known)?, self.bounds(right, rows, columns, known)?) {
                    (Real(a, b), Real(2.0, 2.0)) => {
                        let least = if a <= 0.0 && b >= 0.0 { 0.0 } else { (a * a).min(b * b) };
                        Real(least, (a * a).max(b * b))
                    }
                    (Modulus(a), Real(2.0, 2.0)) => Modulus(a * a),
                    // Monotonic in either argument.
                    (Real(a, b), Real(c, d)) if a > 0.0 => {
                        let corners = [a.powf(c), a.powf(d), b.powf(c), b.powf(d)];
                        Real(corners.into_iter().fold(f64::INFINITY, f64::min), corners.into_iter().fold(0.0, f64::max))
                    }
                    _ => return None,
                }
            }
            ExprKind::Binary { operator, left, right } => {
                let (x, y) = (self.bounds(left, rows, columns, known)?, self.bounds(right, rows, columns, known)?);
                match (operator, x, y) {
                    (BinaryOperator::Add, Real(a, b), Real(c, d)) => Real(a + c, b + d),
                    (BinaryOperator::Subtract, Real(a, b), Real(c, d)) => Real(a - d, b - c),
                    (BinaryOperator::Add | BinaryOperator::Subtract, x, y) => Modulus(x.modulus() + y.modulus()),
                    (BinaryOperator::Multiply, Real(a, b), Real(c, d)) => {
                        let corners = [a * c, a * d, b * c, b * d];
                        Real(corners.into_iter().fold(f64::INFINITY, f64::min), corners.into_iter().fold(f64::NEG_INFINITY, f64::max))
                    }
                    (BinaryOperator::Multiply, x, y) => Modulus(x.modulus() * y.modulus()),
                    (BinaryOperator::Divide, Real(a, b), Real(c, d)) if c > 0.0 || d < 0.0 => {
                        let corners = [a / c, a / d, b / c, b / d];
                        Real(corners.into_iter().fold(f64::INFINITY, f64::min), corners.into_iter().fold(f64::NEG_INFINITY, f64::max))
                    }
                    (BinaryOperator::Divide, x, Real(c, d)) if c > 0.0 || d < 0.0 => Modulus(x.modulus() / c.abs().min(d.abs())),
                    _ => return None,
                }
            }
            ExprKind::Call { function, arguments } => {
                let name = function.name.as_str();
                if let ("over_rows" | "over_columns", [term, first, last]) = (name, arguments.as_slice()) {
                    let (Real(a, _), Real(_, b)) = (self.bounds(first, rows, columns, known)?, self.bounds(last, rows, columns, known)?) else {
                        return None;
                    };
                    let wide = |range: (f64, f64), n: usize| (range.0 + a * n as f64, range.1 + b * n as f64);
                    let (rows, columns) = if name == "over_rows" { (wide(rows, self.bank.H), columns) } else { (rows, wide(columns, self.bank.W)) };
                    let most = self.bounds(term, rows, columns, &mut Vec::new())?.modulus();
                    return Modulus(most * (b - a + 1.0).max(0.0)).known();
                }
                let x = self.bounds(arguments.first()?, rows, columns, known)?;
                match (name, x) {
                    // As the exponential itself has it.
                    ("exp", Real(_, b)) if b < LEAST => Real(0.0, 0.0),
                    ("exp", Real(a, b)) => Real(a.exp(), b.exp()),
                    ("sqrt", Real(a, b)) if a >= 0.0 => Real(a.sqrt(), b.sqrt()),
                    ("abs", x) => Real(0.0, x.modulus()),
                    ("log", Real(a, b)) if a > 0.0 => Real(a.ln(), b.ln()),
                    ("floor", Real(a, b)) => Real(a.floor(), b.floor()),
                    ("ceil", Real(a, b)) => Real(a.ceil(), b.ceil()),
                    ("cis", Real(..)) => Modulus(1.0),
                    ("sin", Real(a, b)) if a == b => Real(a.sin(), a.sin()),
                    ("cos", Real(a, b)) if a == b => Real(a.cos(), a.cos()),
                    ("sin" | "cos", Real(..)) => Real(-1.0, 1.0),
                    ("re" | "im", x) => Real(-x.modulus(), x.modulus()),
                    ("conj", x) => Modulus(x.modulus()),
                    _ => return None,
                }
            }
            ExprKind::Access { .. } | ExprKind::Reduce { .. } => return None,
        };
        bounds.known()
    }

    fn evaluate(&mut self, expr: &'a Expr) -> Result<Complex, FilterError> {
        Ok(match &expr.kind {
            ExprKind::Number(x) => real(Part::Number(*x)),
            ExprKind::Name(name) => self.named(name)?,
            ExprKind::Negate(operand) => {
                let x = self.evaluate(operand)?;
                Complex { re: x.re.map(|a| -a), im: x.im.map(|im| im.map(|a| -a)) }
            }
            ExprKind::Binary { operator: BinaryOperator::Multiply, left, right } => {
                let x = self.evaluate(left)?;
                // Far from the centre of a Gaussian all is zero, and what it multiplies need not be known.
                let zero = matches!(&x, Complex { re: Part::Array(a), im: None } if a.iter().all(|a| *a == 0.0));
                if zero { x } else { multiply(&x, &self.evaluate(right)?) }
            }
            ExprKind::Binary { operator, left, right } => {
                let (x, y) = (self.evaluate(left)?, self.evaluate(right)?);
                match operator {
                    BinaryOperator::Add => add(&x, &y, 1.0),
                    BinaryOperator::Subtract => add(&x, &y, -1.0),
                    BinaryOperator::Multiply => multiply(&x, &y),
                    BinaryOperator::Divide => divide(&x, &y),
                    BinaryOperator::Power => match (&x, &y.re, &y.im) {
                        (_, Part::Number(2.0), None) => multiply(&x, &x),
                        (Complex { im: None, .. }, _, None) => real(x.re.zip(&y.re, f64::powf)),
                        _ => return Err(self.fail("a complex number can be squared, other powers need real numbers".into())),
                    },
                }
            }
            ExprKind::Call { function, arguments } if ["over_rows", "over_columns"].contains(&function.name.as_str()) => {
                self.over_periods(address(expr), &function.name, arguments)?
            }
            ExprKind::Call { function, arguments } => self.call(&function.name, arguments)?,
            ExprKind::Access { name, .. } | ExprKind::Reduce { function: name, .. } => {
                return Err(self.fail(format!("`{}` has indices, which a filter does not have", name.name)));
            }
        })
    }

    fn real(&mut self, expr: &'a Expr, function: &str) -> Result<Part, FilterError> {
        match self.evaluate(expr)? {
            Complex { re, im: None } => Ok(re),
            _ => Err(self.fail(format!("`{function}` needs real arguments; take re, im or abs first"))),
        }
    }

    fn integer(&mut self, expr: &'a Expr, function: &str) -> Result<i64, FilterError> {
        match self.real(expr, function)? {
            Part::Number(x) if x.fract() == 0.0 && x.abs() <= 4096.0 => Ok(x as i64),
            Part::Number(x) => Err(self.fail(format!("`{function}` needs whole numbers up to 4096, found {x}"))),
            Part::Array(_) => Err(self.fail(format!("`{function}` needs a number, found an array"))),
        }
    }

    /// Refuses unknown functions and wrong numbers of arguments.
    fn check_call(&self, name: &str, arguments: &[Expr]) -> Result<(), FilterError> {
        let row = FUNCTIONS.iter().find(|row| row.0 == name).ok_or_else(|| self.fail(format!("`{name}` is not a function of filters")))?;
        if arguments.len() == row.1 { Ok(()) } else { Err(self.fail(format!("`{name}` takes {} arguments, found {}", row.1, arguments.len()))) }
    }

    /// The current block of `over_rows` or `over_columns`, the call at `address`.
    fn over_periods(&mut self, address: usize, name: &str, arguments: &'a [Expr]) -> Result<Complex, FilterError> {
        self.check_call(name, arguments)?;
        let (first, last) = (self.integer(&arguments[1], name)?, self.integer(&arguments[2], name)?);
        if last - first >= MOST_PERIODS {
            return Err(self.fail(format!("`{name}` sums at most {MOST_PERIODS} terms, found {}", last - first + 1)));
        }
        let (H, W) = (self.bank.H as f64, self.bank.W as f64);
        let (shift, arrays) = (self.shift, std::mem::take(&mut self.arrays));
        let blurred = self.blurred.contains(&address);
        let negligible = if blurred { NEGLIGIBLE / (H * W) } else { NEGLIGIBLE };
        let mut largest = self.largest.get(&address).copied().unwrap_or(0.0);
        let mut sum: Option<Complex> = None;
        // The period of the grid itself first, so that the others are known to be small before they are computed.
        let mut order: Vec<i64> = (first..=last).collect();
        order.sort_by_key(|k| k.abs());
        for k in order {
            self.shift = if name == "over_rows" { (shift.0 + k as f64 * H, shift.1) } else { (shift.0, shift.1 + k as f64 * W) };
            self.arrays.clear();
            if self.bound(&arguments[0]).is_some_and(|bound| bound <= negligible * largest) {
                continue;
            }
            let term = self.evaluate(&arguments[0])?;
            let total = match sum {
                None => term,
                Some(sum) => add(&sum, &term, 1.0),
            };
            largest = if blurred { total.largest().max(largest) } else { total.largest() };
            sum = Some(total);
        }
        (self.shift, self.arrays) = (shift, arrays);
        if blurred {
            self.largest.insert(address, largest);
        }
        Ok(sum.unwrap_or_else(|| match is_constant(self.filter, &arguments[0]) {
            true => real(Part::Number(0.0)),
            false => real(Part::Array(Rc::new(vec![0.0; self.block.len()]))),
        }))
    }

    fn call(&mut self, name: &str, arguments: &'a [Expr]) -> Result<Complex, FilterError> {
        self.check_call(name, arguments)?;
        let (H, W) = (self.bank.H, self.bank.W);
        let many: Option<fn(&[f64]) -> Vec<f64>> = match name {
            "exp" => Some(exponentials),
            "sin" => Some(sines),
            "cos" => Some(cosines),
            _ => None,
        };
        if let Some(f) = many {
            return Ok(real(self.real(&arguments[0], name)?.all(f)));
        }
        let unary: Option<fn(f64) -> f64> = match name {
            "log" => Some(f64::ln),
            "sqrt" => Some(f64::sqrt),
            "floor" => Some(f64::floor),
            "ceil" => Some(f64::ceil),
            "sign" => Some(|a| {
                if a > 0.0 {
                    1.0
                } else if a < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            }),
            "factorial" => Some(|a| (1..=a.clamp(0.0, 200.0) as u32).map(f64::from).product()),
            _ => None,
        };
        if let Some(f) = unary {
            return Ok(real(self.real(&arguments[0], name)?.map(f)));
        }
        let binary: Option<fn(f64, f64) -> f64> = match name {
            "min" => Some(f64::min),
            "max" => Some(f64::max),
            "modulo" => Some(f64::rem_euclid),
            "atan2" => Some(f64::atan2),
            "greater" => Some(|a, b| if a > b { 1.0 } else { 0.0 }),
            _ => None,
        };
        if let Some(f) = binary {
            let (x, y) = (self.real(&arguments[0], name)?, self.real(&arguments[1], name)?);
            return Ok(real(x.zip(&y, f)));
        }
        match name {
            "cis" => Ok(match self.real(&arguments[0], name)? {
                Part::Number(x) => Complex { re: Part::Number(cosines(&[x])[0]), im: Some(Part::Number(sines(&[x])[0])) },
                Part::Array(x) => {
                    let (sines, cosines) = circulars(&x);
                    Complex { re: Part::Array(Rc::new(cosines)), im: Some(Part::Array(Rc::new(sines))) }
                }
            }),
            "select" => {
                let c = self.real(&arguments[0], name)?;
                if let Part::Number(c) = c {
                    return self.evaluate(&arguments[if c != 0.0 { 1 } else { 2 }]);
                }
                let (x, y) = (self.evaluate(&arguments[1])?, self.evaluate(&arguments[2])?);
                let n = self.block.len();
                let choose = |x: &Part, y: &Part| Part::Array(Rc::new((0..n).map(|k| if c.at(k) != 0.0 { x.at(k) } else { y.at(k) }).collect()));
                let zero = Part::Number(0.0);
                let im = (x.im.is_some() || y.im.is_some()).then(|| choose(x.im.as_ref().unwrap_or(&zero), y.im.as_ref().unwrap_or(&zero)));
                Ok(Complex { re: choose(&x.re, &y.re), im })
            }
            "single" => {
                let x = self.evaluate(&arguments[0])?;
                let nearest = |part: &Part| part.map(|a| f64::from(a as f32));
                Ok(Complex { re: nearest(&x.re), im: x.im.as_ref().map(nearest) })
            }
            "re" | "im" | "conj" | "abs" => {
                let x = self.evaluate(&arguments[0])?;
                Ok(match name {
                    "re" => real(x.re),
                    "im" => real(x.im.unwrap_or(Part::Number(0.0))),
                    "conj" => Complex { re: x.re, im: x.im.map(|im| im.map(|a| -a)) },
                    _ => real(match x.im {
                        None => x.re.map(f64::abs),
                        Some(im) => x.re.zip(&im, f64::hypot),
                    }),
                })
            }
            _ => {
                // Results over the whole grid are kept by the address of the argument, beside the argument itself.
                let plain = self.shift == (0.0, 0.0);
                let key = address(&arguments[0]) ^ RESULT;
                if plain
                    && name != "at"
                    && let Some(value) = self.wholes.get(&key).cloned()
                {
                    return Ok(self.block_of(&value));
                }
                let x = self.whole(&arguments[0])?;
                let n = self.bank.H * self.bank.W;
                let value = match name {
                    "total" => Complex { re: Part::Number(x.re.total(n)), im: x.im.map(|im| Part::Number(im.total(n))) },
                    "at" => {
                        let (r, c) = (self.integer(&arguments[1], name)?, self.integer(&arguments[2], name)?);
                        if r < 0 || c < 0 || r as usize >= H || c as usize >= W {
                            return Err(self.fail(format!("`at` needs an entry of {H} x {W}, found ({r}, {c})")));
                        }
                        let k = r as usize * W + c as usize;
                        Complex { re: Part::Number(x.re.at(k)), im: x.im.map(|im| Part::Number(im.at(k))) }
                    }
                    "until_minimum" => {
                        let mut samples = x.re.samples(n);
                        for row in samples.chunks_exact_mut(W) {
                            if let Some(k) = (1..W.saturating_sub(1)).find(|k| row[*k] < row[k - 1] && row[*k] < row[k + 1]) {
                                row[k + 1..].fill(0.0);
                            }
                        }
                        real(Part::Array(Rc::new(samples)))
                    }
                    _ => {
                        let mut re = x.re.samples(n);
                        let mut im = x.im.map_or_else(|| vec![0.0; n], |im| im.samples(n));
                        self.transform.fourier(H, W, name == "inverse", &mut re, &mut im);
                        Complex { re: Part::Array(Rc::new(re)), im: Some(Part::Array(Rc::new(im))) }
                    }
                };
                if plain && name != "at" {
                    self.wholes.insert(key, value.clone());
                }
                Ok(self.block_of(&value))
            }
        }
    }
}
