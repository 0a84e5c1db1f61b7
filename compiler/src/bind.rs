//! Bind: a checked statistic and a domain become a graph.
//!
//! Fields are evaluated per tuple of scales, with direction axes; numbers are flat arrays over all index tuples of their definition (scale tuples in lexicographic order,
//! then directions), so that arithmetic on coefficients costs a few nodes whatever the number of scales.

use crate::domain::{Domain, DomainError, Field, Numbers};
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::notation::{
    BinaryOperator, CheckedStatistic, Condition, Expr, ExprKind, Ident, IndexExpr, IndexKind, NotationError, NotationErrorKind, Span, ValueKind,
};
use scatterc_ir::ops::pointwise;
use scatterc_ir::scalar::{self, Binary, Scalar, Unary};
use scatterc_ir::{Graph, Linear, Op, Space, Type, Value};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// A statistic that cannot be bound to its domain.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// let options = BindOptions { variant: Some("other".into()), ..BindOptions::default() };
/// let refused = bind(&checked.statistics[0], &sphere, &options).unwrap_err();
/// assert!(matches!(&refused, BindError::Variant { found, .. } if found == "other"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A fault at a place of the text, with what was expected, what was found and, where possible, what would be right.
    #[error(transparent)]
    At(Box<NotationError>),
    /// A fault of the domain that no place of the text is to blame for.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A parameter without a value, or a value without a parameter.
    #[error("{0}")]
    Parameter(String),
    /// No such return variant.
    #[error("statistic `{statistic}` has no variant `{found}`; it has {expected}")]
    Variant {
        /// The statistic.
        statistic: String,
        /// What was asked.
        found: String,
        /// What it has.
        expected: String,
    },
}

impl BindError {
    /// The fault as [`NotationError::render`] shows it: the line of `source`, the text that was checked, with a caret, where a place is known.
    ///
    /// ```
    /// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
    /// # use scatterc_compiler::domain::{Domain, InputKind};
    /// # use scatterc_compiler::{sphere::Sphere, vocabulary};
    /// # use scatterc_ir::notation::check_source;
    /// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
    /// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
    /// // Scale 9 does not exist for L = 8.
    /// let text = "statistic s(x) {\n    S = mean(abs(wavelet(x, 9, 0)));\n    return S;\n}\n";
    /// let checked = check_source(text, "s.scat", &vocabulary()).expect("right without a domain");
    /// let shown = bind(&checked.statistics[0], &sphere, &BindOptions::default()).unwrap_err().render(text, "s.scat");
    /// assert!(shown.contains(" --> s.scat:2:") && shown.contains("^"));
    /// ```
    pub fn render(&self, source: &str, origin: &str) -> String {
        match self {
            BindError::At(fault) => fault.render(source, origin),
            other => format!("error: {other}\n --> {origin}\n"),
        }
    }

    /// What a domain refuses, at the place of the expression it refuses.
    fn placed(self, span: Span) -> BindError {
        match self {
            BindError::Domain(error) => at(span, error.to_string()),
            other => other,
        }
    }
}

impl From<TypeError> for BindError {
    fn from(error: TypeError) -> Self {
        BindError::Domain(DomainError::Type(error))
    }
}

/// Choices made when a statistic is bound.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// // Norms are given at run time, and two fields are processed together.
/// let options = BindOptions { arrays: vec!["P".into()], batch: Some(2), ..BindOptions::default() };
/// let bound = bind(&checked.statistics[0], &sphere, &options)?;
/// assert_eq!((bound.parameters[0].name.as_str(), bound.batch), ("P", Some(2)));
/// # Ok::<(), BindError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// Which `return`; the unnamed one if absent.
    pub variant: Option<String>,
    /// Values of scalar parameters.
    pub numbers: BTreeMap<String, f64>,
    /// Parameters given at run time although they have a default; numbers among them are arrays of one entry.
    pub arrays: Vec<String>,
    /// Number of maps processed together; a leading axis of every input and output.
    pub batch: Option<usize>,
}

/// The index tuples of an array: what each entry is.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// # let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default())?;
/// assert_eq!(*bound.outputs[0].index, Index { columns: vec!["j".into(), "g".into()], rows: (0..4).map(|j| vec![j, 0]).collect() });
/// # Ok::<(), BindError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Index {
    /// Names of the indices, in the order of the declaration.
    pub columns: Vec<String>,
    /// One tuple per entry.
    pub rows: Vec<Vec<i64>>,
}

/// An output array of a bound statistic.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// # let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default())?;
/// let OutputInfo { name, complex, index, axes } = &bound.outputs[0];
/// assert_eq!((name.as_str(), *complex, index.rows.len(), axes.len()), ("S2", false, 4, 0));
/// # Ok::<(), BindError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OutputInfo {
    /// Exported name. A complex output is two graph outputs, `name.re` and `name.im`.
    pub name: String,
    /// True for a complex output.
    pub complex: bool,
    /// What each entry is; empty for field-valued outputs. Shared, since results carry it too.
    pub index: Arc<Index>,
    /// Leading axes, after that of a batch: masks, and components of a field.
    pub axes: Vec<usize>,
}

/// An array parameter of a bound statistic, given at run time.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// let options = BindOptions { arrays: vec!["P".into()], ..BindOptions::default() };
/// let ParameterInfo { name, index, len } = &bind(&checked.statistics[0], &sphere, &options)?.parameters[0];
/// assert_eq!((name.as_str(), index.columns.len(), *len), ("P", 2, 4));
/// # Ok::<(), BindError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterInfo {
    /// Its name.
    pub name: String,
    /// What each entry is; empty for samples of the domain, such as a mask.
    pub index: Index,
    /// Number of entries.
    pub len: usize,
}

/// A statistic bound to a domain.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// # let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default())?;
/// assert_eq!(bound.graph.outputs[0].name, "S2");
/// assert!(scatterc_ir::verify::verify(&bound.graph).is_ok());
/// # Ok::<(), BindError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The graph.
    pub graph: Graph,
    /// Its outputs.
    pub outputs: Vec<OutputInfo>,
    /// Its run-time parameters.
    pub parameters: Vec<ParameterInfo>,
    /// Number of maps processed together: the leading axis of every input and output.
    pub batch: Option<usize>,
}

/// A part of a complex value: a node or a literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Value(Value),
    Literal(f64),
}

/// A real or complex value under construction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) re: Part,
    pub(crate) im: Option<Part>,
}

impl Cell {
    fn literal(x: f64) -> Cell {
        Cell { re: Part::Literal(x), im: None }
    }
}

/// Applies a scalar expression to parts; literals fold.
pub(crate) fn apply(b: &mut Builder, f: &Scalar, parts: &[Part]) -> Result<Part, TypeError> {
    let mut operands = Vec::new();
    let mut arguments = Vec::new();
    for part in parts {
        match part {
            Part::Literal(x) => arguments.push(Scalar::Constant(*x)),
            Part::Value(v) => {
                arguments.push(Scalar::Argument(operands.len()));
                operands.push(*v);
            }
        }
    }
    match f.substitute(&arguments) {
        Scalar::Constant(x) => Ok(Part::Literal(x)),
        f => Ok(Part::Value(b.pointwise(f, &operands)?)),
    }
}

fn argument(k: usize) -> Scalar {
    Scalar::Argument(k)
}

fn two(op: Binary) -> Scalar {
    scalar::binary(op, argument(0), argument(1))
}

fn named(name: &str) -> Scalar {
    pointwise(name).expect("the row exists in the op table").expression.clone()
}

/// Complex arithmetic on cells.
pub(crate) fn arithmetic(b: &mut Builder, operator: BinaryOperator, x: Cell, y: Cell) -> Result<Cell, String> {
    let zero = Part::Literal(0.0);
    let fail = |e: TypeError| e.to_string();
    let mut real = |op: Binary, p: Part, q: Part| apply(b, &two(op), &[p, q]).map_err(fail);
    match operator {
        BinaryOperator::Add | BinaryOperator::Subtract => {
            let op = if operator == BinaryOperator::Add { Binary::Add } else { Binary::Subtract };
            let re = real(op, x.re, y.re)?;
            let im = match (x.im, y.im) {
                (None, None) => None,
                (p, q) => Some(real(op, p.unwrap_or(zero), q.unwrap_or(zero))?),
            };
            Ok(Cell { re, im })
        }
        BinaryOperator::Multiply => Ok(match (x.im, y.im) {
            (None, None) => Cell { re: real(Binary::Multiply, x.re, y.re)?, im: None },
            (Some(xi), None) => Cell { re: real(Binary::Multiply, x.re, y.re)?, im: Some(real(Binary::Multiply, xi, y.re)?) },
            (None, Some(yi)) => Cell { re: real(Binary::Multiply, x.re, y.re)?, im: Some(real(Binary::Multiply, x.re, yi)?) },
            (Some(xi), Some(yi)) => {
                let (rr, ii) = (real(Binary::Multiply, x.re, y.re)?, real(Binary::Multiply, xi, yi)?);
                let (ri, ir) = (real(Binary::Multiply, x.re, yi)?, real(Binary::Multiply, xi, y.re)?);
                Cell { re: real(Binary::Subtract, rr, ii)?, im: Some(real(Binary::Add, ri, ir)?) }
            }
        }),
        BinaryOperator::Divide => match y.im {
            None => Ok(Cell { re: real(Binary::Divide, x.re, y.re)?, im: x.im.map(|xi| real(Binary::Divide, xi, y.re)).transpose()? }),
            Some(yi) => {
                let (rr, ii) = (real(Binary::Multiply, y.re, y.re)?, real(Binary::Multiply, yi, yi)?);
                let norm = real(Binary::Add, rr, ii)?;
                let (re, im) = (real(Binary::Divide, y.re, norm)?, real(Binary::Divide, yi, norm)?);
                let minus = real(Binary::Subtract, zero, im)?;
                arithmetic(b, BinaryOperator::Multiply, x, Cell { re, im: Some(minus) })
            }
        },
        BinaryOperator::Power => match (x.im, y.im, y.re) {
            (None, None, _) => Ok(Cell { re: real(Binary::Power, x.re, y.re)?, im: None }),
            (Some(_), None, Part::Literal(k)) if k.fract() == 0.0 && (1.0..=16.0).contains(&k) => {
                let mut out = x;
                for _ in 1..k as usize {
                    out = arithmetic(b, BinaryOperator::Multiply, out, x)?;
                }
                Ok(out)
            }
            _ => Err("a complex number can be raised to the whole powers 1 to 16 only; take re, im or abs first".into()),
        },
    }
}

/// Calls a pointwise function of the vocabulary on cells.
pub(crate) fn call(b: &mut Builder, name: &str, x: &[Cell]) -> Result<Cell, String> {
    let fail = |e: TypeError| e.to_string();
    let complex = x.iter().any(|c| c.im.is_some());
    let real = |re: Part| Cell { re, im: None };
    match (name, x) {
        ("complex", [a, b]) if !complex => Ok(Cell { re: a.re, im: Some(b.re) }),
        ("re", [z]) => Ok(real(z.re)),
        ("im", [z]) => Ok(real(z.im.unwrap_or(Part::Literal(0.0)))),
        ("conj", [z]) => {
            let im = z.im.map(|v| apply(b, &scalar::unary(Unary::Negate, argument(0)), &[v])).transpose().map_err(fail)?;
            Ok(Cell { re: z.re, im })
        }
        ("abs", [z]) => Ok(real(match z.im {
            None => apply(b, &named("abs"), &[z.re]).map_err(fail)?,
            Some(im) => apply(b, &named("modulus"), &[z.re, im]).map_err(fail)?,
        })),
        ("arg", [z]) => Ok(real(apply(b, &named("angle"), &[z.im.unwrap_or(Part::Literal(0.0)), z.re]).map_err(fail)?)),
        ("square", [z]) => arithmetic(b, BinaryOperator::Multiply, *z, *z),
        ("exp", [z]) if complex => {
            let modulus = real(apply(b, &named("exp"), &[z.re]).map_err(fail)?);
            let im = z.im.unwrap_or(Part::Literal(0.0));
            let phase = Cell { re: apply(b, &named("cos"), &[im]).map_err(fail)?, im: Some(apply(b, &named("sin"), &[im]).map_err(fail)?) };
            arithmetic(b, BinaryOperator::Multiply, modulus, phase)
        }
        ("harmonic", [z, k]) => {
            let (Part::Literal(order), None) = (k.re, k.im) else {
                return Err(
                    "the order of `harmonic(z, k)` must be a number known when the statistic is bound; a number or a number parameter is one".into(),
                );
            };
            let modulus = call(b, "abs", &[*z])?;
            let phase = call(b, "arg", &[*z])?;
            let angle = arithmetic(b, BinaryOperator::Multiply, phase, Cell::literal(order))?;
            let (cos, sin) = (call(b, "cos", &[angle])?, call(b, "sin", &[angle])?);
            arithmetic(b, BinaryOperator::Multiply, modulus, Cell { re: cos.re, im: Some(sin.re) })
        }
        _ if complex => Err(format!("`{name}` needs real arguments; take re, im or abs first")),
        _ => {
            let row = pointwise(name).ok_or_else(|| format!("`{name}` has no row in the op table"))?;
            let parts: Vec<Part> = x.iter().map(|c| c.re).collect();
            if parts.len() != row.arity {
                return Err(format!("`{name}` takes {} arguments, found {}", row.arity, parts.len()));
            }
            Ok(real(apply(b, &row.expression, &parts).map_err(fail)?))
        }
    }
}

/// Which entries an array of numbers has.
#[derive(Clone, Debug, PartialEq)]
struct IndexSpace {
    /// Scale and direction names in declared order.
    columns: Vec<(String, IndexKind)>,
    /// Existing tuples of the scale indices, lexicographic.
    tuples: Vec<Vec<usize>>,
    /// Directions.
    G: usize,
}

impl IndexSpace {
    fn names(&self, kind: IndexKind) -> Vec<String> {
        self.columns.iter().filter(|(_, k)| *k == kind).map(|(n, _)| n.clone()).collect()
    }

    fn block(&self) -> usize {
        self.G.pow(self.names(IndexKind::Direction).len() as u32)
    }

    fn len(&self) -> usize {
        self.tuples.len() * self.block()
    }

    /// Calls `f(row, scales, directions)` for every entry in order.
    fn each(&self, mut f: impl FnMut(usize, &[usize], &[usize])) {
        let n = self.names(IndexKind::Direction).len();
        let mut row = 0;
        for tuple in &self.tuples {
            let mut digits = vec![0; n];
            for _ in 0..self.block() {
                f(row, tuple, &digits);
                row += 1;
                for digit in digits.iter_mut().rev() {
                    *digit += 1;
                    if *digit < self.G {
                        break;
                    }
                    *digit = 0;
                }
            }
        }
    }

    fn index(&self) -> Index {
        let mut rows = Vec::with_capacity(self.len());
        self.each(|_, scales, directions| {
            let (mut s, mut d) = (scales.iter(), directions.iter());
            let row = self.columns.iter().map(|(_, kind)| {
                let next = if *kind == IndexKind::Scale { s.next() } else { d.next() };
                next.map_or(0, |x| *x as i64)
            });
            rows.push(row.collect());
        });
        Index { columns: self.columns.iter().map(|(n, _)| n.clone()).collect(), rows }
    }
}

type Scales = BTreeMap<String, usize>;

/// Functions that build fields from a field and, some of them, a scale.
const BUILDERS: &[&str] = &["lowpass", "band", "cut", "decimate", "fourier", "pad", "unpad"];

/// True for functions whose value is a field whatever their arguments are, and whose second argument, if any, is a scale.
fn builds_field(name: &str) -> bool {
    name == "wavelet" || name == "shift" || BUILDERS.contains(&name)
}

/// Functions that make numbers from fields.
const AVERAGES: &[&str] = &["mean", "median", "cov", "var", "power", "integral", "size"];

/// Steps of `median(f)` at most, and the change below which it ends.
const MEDIAN: (usize, f64) = (100, 1e-6);

/// Most steps of `median(f, n, t)`.
const MOST_STEPS: usize = 400;

/// An evaluated field expression: samples or coefficients with labelled axes, or plain numbers with labelled axes.
#[derive(Clone, Debug)]
enum Evaluated {
    Field(Field),
    /// Numbers `[leading.., G..]` with the labels of their axes.
    Numbers(Cell, Vec<String>),
}

struct Binder<'a> {
    checked: &'a CheckedStatistic,
    domain: &'a dyn Domain,
    options: &'a BindOptions,
    b: Builder,
    fields: HashMap<String, Field>,
    parameters: HashMap<String, (Cell, Rc<IndexSpace>)>,
    used_parameters: Vec<ParameterInfo>,
    spaces: Vec<Rc<IndexSpace>>,
    field_memo: HashMap<(usize, Vec<usize>), Field>,
    number_memo: HashMap<usize, Cell>,
}

/// Binds a checked statistic to a domain.
///
/// ```
/// # use scatterc_compiler::bind::{BindError, BindOptions, Bound, Index, OutputInfo, ParameterInfo, bind};
/// # use scatterc_compiler::domain::{Domain, InputKind};
/// # use scatterc_compiler::{sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x; P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2) / P[j, g]; return S2; return same: S2; }";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default())?;
/// assert_eq!(bound.graph.ty(bound.graph.outputs[0].value).to_string(), "[4] point");
/// # Ok::<(), BindError>(())
/// ```
pub fn bind(checked: &CheckedStatistic, domain: &dyn Domain, options: &BindOptions) -> Result<Bound, BindError> {
    let statistic = &checked.statistic;
    if options.batch == Some(0) {
        return Err(BindError::Parameter("a batch must hold at least one map, found 0".into()));
    }
    for name in options.numbers.keys() {
        if !statistic.parameters.iter().any(|p| p.name.name == *name && p.indices.is_empty()) {
            let known: Vec<&str> = statistic.parameters.iter().filter(|p| p.indices.is_empty()).map(|p| p.name.name.as_str()).collect();
            return Err(BindError::Parameter(format!(
                "statistic `{}` has no number parameter `{name}`; it has [{}]",
                statistic.name.name,
                known.join(", ")
            )));
        }
    }
    for name in &options.arrays {
        if !statistic.parameters.iter().any(|p| p.name.name == *name) {
            let known: Vec<&str> = statistic.parameters.iter().map(|p| p.name.name.as_str()).collect();
            return Err(BindError::Parameter(format!(
                "statistic `{}` has no array parameter `{name}`; it has [{}]",
                statistic.name.name,
                known.join(", ")
            )));
        }
    }
    let chosen = statistic.returns.iter().find(|r| r.variant.as_ref().map(|v| &v.name) == options.variant.as_ref());
    let Some(chosen) = chosen else {
        let variants: Vec<&str> = statistic.returns.iter().filter_map(|r| r.variant.as_ref().map(|v| v.name.as_str())).collect();
        let expected = if variants.is_empty() { "no variants".into() } else { variants.join(", ") };
        let found = options.variant.clone().unwrap_or_default();
        return Err(BindError::Variant { statistic: statistic.name.name.clone(), found, expected });
    };
    let mut binder = Binder {
        checked,
        domain,
        options,
        b: Builder::new(&statistic.name.name),
        fields: HashMap::new(),
        parameters: HashMap::new(),
        used_parameters: vec![],
        spaces: vec![],
        field_memo: HashMap::new(),
        number_memo: HashMap::new(),
    };
    for field in &statistic.fields {
        let mut ty = domain.input_type();
        if let Some(batch) = options.batch {
            ty.axes.insert(0, batch);
        }
        let input = binder.b.input(&field.name, ty)?;
        let field_value = domain.field(&mut binder.b, input)?;
        binder.fields.insert(field.name.clone(), field_value);
    }
    for k in 0..statistic.definitions.len() {
        let space = binder.index_space(k)?;
        binder.spaces.push(Rc::new(space));
    }
    let mut outputs = Vec::new();
    for output in &chosen.outputs {
        let k = binder.definition(&output.definition)?;
        let space = binder.spaces[k].clone();
        let name = output.name.name.clone();
        if space.len() == 0 {
            let message = format!("output `{name}` has no entries: no index tuple satisfies its conditions on {}", domain.describe());
            let help = binder.ranges();
            // The conditions are at the definition, not where it is returned.
            return Err(helped(statistic.definitions[k].name.span, message, help));
        }
        if checked.value_kinds[k] == ValueKind::Field {
            for tuple in &space.tuples {
                let field = binder.defined_field(k, tuple)?;
                let field = domain.samples(&mut binder.b, &field)?;
                let suffix: String = tuple.iter().map(|j| format!("_{j}")).collect();
                let name = format!("{name}{suffix}");
                binder.b.output(&if field.im.is_some() { format!("{name}.re") } else { name.clone() }, field.re);
                if let Some(im) = field.im {
                    binder.b.output(&format!("{name}.im"), im);
                }
                let axes = domain.input_type().axes;
                outputs.push(OutputInfo { name, complex: field.im.is_some(), index: Arc::default(), axes });
            }
            continue;
        }
        let cell = binder.defined_number(k)?;
        let re = binder.array(cell.re, space.len())?;
        match cell.im {
            None => binder.b.output(&name, re),
            Some(im) => {
                let im = binder.array(im, space.len())?;
                binder.b.output(&format!("{name}.re"), re);
                binder.b.output(&format!("{name}.im"), im);
            }
        }
        outputs.push(OutputInfo { name, complex: cell.im.is_some(), index: Arc::new(space.index()), axes: domain.number_axes() });
    }
    let mut parameters = binder.used_parameters;
    let graph = binder.b.finish();
    for node in &graph.nodes {
        if let Op::Parameter(name) = &node.op
            && domain.parameters().contains(name)
        {
            parameters.push(ParameterInfo { name: name.clone(), index: Index::default(), len: node.ty.len() });
        }
    }
    Ok(Bound { graph, outputs, parameters, batch: options.batch })
}

/// A fault; what stands behind a semicolon is what would be right.
pub(crate) fn fault(span: Span, message: String) -> NotationError {
    match message.split_once("; ") {
        Some((message, help)) => NotationError::new(NotationErrorKind::Domain, span, message).help(help),
        None => NotationError::new(NotationErrorKind::Domain, span, message),
    }
}

/// A fault as [`fault`] makes it.
fn at(span: Span, message: impl Into<String>) -> BindError {
    BindError::At(Box::new(fault(span, message.into())))
}

/// A fault with what would be right.
fn helped(span: Span, message: impl Into<String>, help: impl Into<String>) -> BindError {
    BindError::At(Box::new(NotationError::new(NotationErrorKind::Domain, span, message).help(help)))
}

/// Value of a scale index; `None` below zero.
fn scale_value(index: &IndexExpr, scales: &Scales) -> Option<usize> {
    let mut sum = index.constant;
    for term in &index.terms {
        sum += term.coefficient * *scales.get(&term.name.name)? as i64;
    }
    usize::try_from(sum).ok()
}

impl Binder<'_> {
    /// Leading axes of every number: the batch, and those of the domain.
    fn leading_axes(&self) -> Vec<usize> {
        self.options.batch.into_iter().chain(self.domain.number_axes()).collect()
    }

    /// What indices run over.
    fn ranges(&self) -> String {
        let (scales, G) = (self.domain.scales(), self.domain.directions());
        format!("scales are {} .. {}, directions 0 .. {}", scales.start(), scales.end(), G.saturating_sub(1))
    }

    fn definition(&self, name: &Ident) -> Result<usize, BindError> {
        let position = self.checked.statistic.definitions.iter().position(|d| d.name.name == name.name);
        position.ok_or_else(|| at(name.span, format!("`{}` is not defined", name.name)))
    }

    fn parameter_number(&self, name: &str) -> Option<f64> {
        let parameter = self.checked.statistic.parameters.iter().find(|p| p.name.name == name && p.indices.is_empty())?;
        self.options.numbers.get(name).copied().or_else(|| parameter.default.as_ref()?.constant_value())
    }

    /// Tuples of a definition: those in range for which its conditions hold and everything it uses exists.
    fn index_space(&self, k: usize) -> Result<IndexSpace, BindError> {
        let definition = &self.checked.statistic.definitions[k];
        let kinds = &self.checked.definition_kinds[k];
        let columns: Vec<(String, IndexKind)> = definition.indices.iter().map(|i| i.name.clone()).zip(kinds.iter().copied()).collect();
        let names: Vec<String> = columns.iter().filter(|c| c.1 == IndexKind::Scale).map(|c| c.0.clone()).collect();
        let mut tuples = Vec::new();
        for tuple in self.products(names.len()) {
            let scales: Scales = names.iter().cloned().zip(tuple.iter().copied()).collect();
            let mut holds = true;
            for condition in &definition.conditions {
                holds &= self.holds(condition, &scales)?;
            }
            if holds && self.exists(&definition.value, &scales, k)? {
                tuples.push(tuple);
            }
        }
        Ok(IndexSpace { columns, tuples, G: self.domain.directions() })
    }

    /// All tuples of `n` scales, lexicographic.
    fn products(&self, n: usize) -> Vec<Vec<usize>> {
        let mut out = vec![vec![]];
        for _ in 0..n {
            out =
                out.into_iter().flat_map(|tuple: Vec<usize>| self.domain.scales().map(move |j| tuple.iter().copied().chain([j]).collect())).collect();
        }
        out
    }

    fn holds(&self, condition: &Condition, scales: &Scales) -> Result<bool, BindError> {
        let side = |index: &IndexExpr| -> Result<f64, BindError> {
            let mut sum = index.constant as f64;
            for term in &index.terms {
                let name = &term.name.name;
                let value = match &term.function {
                    None => scales.get(name).map(|j| *j as f64).or_else(|| self.parameter_number(name)),
                    Some(function) => scales.get(name).and_then(|j| self.domain.index_function(&function.name, *j)).map(|x| x as f64),
                };
                let value = value.ok_or_else(|| {
                    let message = format!("`{name}` has no value here: conditions compare scales and number parameters");
                    match self.checked.statistic.parameters.iter().any(|p| p.name.name == *name) {
                        true => helped(term.name.span, message, given(name)),
                        false => at(term.name.span, message),
                    }
                })?;
                sum += term.coefficient as f64 * value;
            }
            Ok(sum)
        };
        let (left, right) = (side(&condition.left)?, side(&condition.right)?);
        Ok(condition.comparison.holds(left, right))
    }

    /// Whether everything the expression uses exists at these scales.
    fn exists(&self, expr: &Expr, scales: &Scales, k: usize) -> Result<bool, BindError> {
        Ok(match &expr.kind {
            ExprKind::Number(_) | ExprKind::Name(_) => true,
            ExprKind::Reduce { indices, argument, .. } => {
                // A reduction exists where at least one of its terms does.
                let kinds = &self.checked.bound_kinds[k];
                let is_scale = |name: &str| kinds.iter().any(|(n, kind)| n == name && *kind == IndexKind::Scale);
                let bound: Vec<String> = indices.iter().filter(|i| is_scale(&i.name)).map(|i| i.name.clone()).collect();
                for tuple in self.products(bound.len()) {
                    let mut inner = scales.clone();
                    inner.extend(bound.iter().cloned().zip(tuple));
                    if self.exists(argument, &inner, k)? {
                        return Ok(true);
                    }
                }
                false
            }
            ExprKind::Negate(operand) => self.exists(operand, scales, k)?,
            ExprKind::Binary { left, right, .. } => self.exists(left, scales, k)? && self.exists(right, scales, k)?,
            ExprKind::Access { name, indices } => {
                let wanted: Option<Vec<usize>> = match self.checked.statistic.definitions[..k].iter().position(|d| d.name.name == name.name) {
                    Some(d) => {
                        let kinds = &self.checked.definition_kinds[d];
                        let tuple: Option<Vec<usize>> =
                            indices.iter().zip(kinds).filter(|(_, kind)| **kind == IndexKind::Scale).map(|(i, _)| scale_value(i, scales)).collect();
                        tuple.filter(|t| self.spaces[d].tuples.contains(t))
                    }
                    None => {
                        let p = self.checked.statistic.parameters.iter().position(|p| p.name.name == name.name);
                        let kinds = p.map_or(&[][..], |p| &self.checked.parameter_kinds[p]);
                        let tuple: Option<Vec<usize>> =
                            indices.iter().zip(kinds).filter(|(_, kind)| **kind == IndexKind::Scale).map(|(i, _)| scale_value(i, scales)).collect();
                        tuple.filter(|t| t.iter().all(|j| self.domain.scales().contains(j)))
                    }
                };
                wanted.is_some()
            }
            ExprKind::Call { function, arguments } => match function.name.as_str() {
                name if builds_field(name) => {
                    let in_range = match arguments.get(1).and_then(Expr::as_index) {
                        Some(index) => scale_value(&index, scales).is_some_and(|j| self.domain.scales().contains(&j)),
                        None => arguments.len() < 2,
                    };
                    in_range && self.exists(&arguments[0], scales, k)?
                }
                _ => {
                    for argument in arguments {
                        if !self.exists(argument, scales, k)? {
                            return Ok(false);
                        }
                    }
                    true
                }
            },
        })
    }

    /// A number part as an array of n entries.
    fn array(&mut self, part: Part, n: usize) -> Result<Value, BindError> {
        match part {
            Part::Value(value) => Ok(value),
            Part::Literal(x) => {
                let constant = self.b.constant(x)?;
                let mut to = self.leading_axes();
                to.push(n);
                let map = vec![];
                Ok(self.b.linear(Linear::Reindex { from: vec![], to, map }, constant)?)
            }
        }
    }

    /// A constant array.
    fn literal_array(&mut self, values: &[f64]) -> Result<Part, BindError> {
        let mut distinct: Vec<f64> = Vec::new();
        let mut table = Vec::with_capacity(values.len());
        for x in values {
            let position = distinct.iter().position(|y| y == x).unwrap_or_else(|| {
                distinct.push(*x);
                distinct.len() - 1
            });
            table.push(position);
        }
        if let [only] = distinct.as_slice() {
            return Ok(Part::Literal(*only));
        }
        let pieces = distinct.iter().map(|x| self.array(Part::Literal(*x), 1)).collect::<Result<Vec<_>, _>>()?;
        let joined = self.b.concat(&pieces)?;
        Ok(Part::Value(self.b.linear(Linear::Gather { n: distinct.len(), table }, joined)?))
    }

    fn gather(&mut self, part: Part, n: usize, table: &[usize]) -> Result<Part, BindError> {
        match part {
            Part::Literal(x) => Ok(Part::Literal(x)),
            Part::Value(v) if table.len() == n && table.iter().enumerate().all(|(k, t)| k == *t) => Ok(Part::Value(v)),
            Part::Value(v) => Ok(Part::Value(self.b.linear(Linear::Gather { n, table: table.to_vec() }, v)?)),
        }
    }

    fn gather_cell(&mut self, cell: Cell, n: usize, table: &[usize]) -> Result<Cell, BindError> {
        let re = self.gather(cell.re, n, table)?;
        let im = cell.im.map(|p| self.gather(p, n, table)).transpose()?;
        Ok(Cell { re, im })
    }

    fn defined_number(&mut self, k: usize) -> Result<Cell, BindError> {
        if let Some(cell) = self.number_memo.get(&k) {
            return Ok(*cell);
        }
        let checked = self.checked;
        let space = self.spaces[k].clone();
        let cell = self.number(&checked.statistic.definitions[k].value, &space, k)?;
        self.number_memo.insert(k, cell);
        Ok(cell)
    }

    fn defined_field(&mut self, k: usize, tuple: &[usize]) -> Result<Field, BindError> {
        if let Some(field) = self.field_memo.get(&(k, tuple.to_vec())) {
            return Ok(field.clone());
        }
        let checked = self.checked;
        let definition = &checked.statistic.definitions[k];
        let space = self.spaces[k].clone();
        let scales: Scales = space.names(IndexKind::Scale).into_iter().zip(tuple.iter().copied()).collect();
        let order = space.names(IndexKind::Direction);
        let field = match self.field(&definition.value, &scales, &order, k)? {
            Evaluated::Field(field) => field,
            Evaluated::Numbers(..) => return Err(at(definition.name.span, format!("`{}` is no field", definition.name.name))),
        };
        let field = self.aligned(&field, &order)?;
        self.field_memo.insert((k, tuple.to_vec()), field.clone());
        Ok(field)
    }

    /// Field with axes `labels`, in this order; missing ones are broadcast.
    fn aligned(&mut self, field: &Field, labels: &[String]) -> Result<Field, BindError> {
        if field.labels == labels {
            return Ok(field.clone());
        }
        let G = self.domain.directions();
        let map: Vec<Vec<i64>> = field
            .labels
            .iter()
            .map(|label| {
                let mut row: Vec<i64> = labels.iter().map(|l| i64::from(l == label)).collect();
                row.push(0);
                row
            })
            .collect();
        let reindex = Linear::Reindex { from: vec![G; field.labels.len()], to: vec![G; labels.len()], map };
        let re = self.b.linear(reindex.clone(), field.re)?;
        let im = field.im.map(|v| self.b.linear(reindex, v)).transpose()?;
        Ok(Field { re, im, labels: labels.to_vec(), raw: None })
    }

    /// Numbers `[leading.., G..]` with axes `from` as axes `labels`.
    fn aligned_numbers(&mut self, cell: Cell, from: &[String], labels: &[String]) -> Result<Cell, BindError> {
        let mut part = |p: Part| match p {
            Part::Literal(x) => Ok(Part::Literal(x)),
            Part::Value(v) => {
                let field = Field { re: v, im: None, labels: from.to_vec(), raw: None };
                Ok::<Part, BindError>(Part::Value(self.aligned(&field, labels)?.re))
            }
        };
        Ok(Cell { re: part(cell.re)?, im: cell.im.map(&mut part).transpose()? })
    }

    /// Applies direction indices to a field whose axes are named `$0`, `$1`, ..: relabels, shifts, selects, takes diagonals.
    fn indexed(&mut self, field: &Field, indices: &[IndexExpr], order: &[String]) -> Result<Field, BindError> {
        let plain: Option<Vec<String>> = indices
            .iter()
            .map(|i| match i.terms.as_slice() {
                [term] if term.coefficient == 1 && i.constant == 0 => Some(term.name.name.clone()),
                _ => None,
            })
            .collect();
        if let Some(names) = plain
            && (1..names.len()).all(|k| !names[..k].contains(&names[k]))
        {
            return Ok(Field { labels: names, ..field.clone() });
        }
        let used: Vec<String> = order.iter().filter(|name| indices.iter().any(|i| i.terms.iter().any(|t| t.name.name == **name))).cloned().collect();
        let G = self.domain.directions();
        let map: Vec<Vec<i64>> = indices
            .iter()
            .map(|i| {
                let coefficient =
                    |name: &String| i.terms.iter().filter(|t| t.name.name == *name).map(|t| t.coefficient).sum::<i64>().rem_euclid(G as i64);
                let mut row: Vec<i64> = used.iter().map(coefficient).collect();
                row.push(i.constant.rem_euclid(G as i64));
                row
            })
            .collect();
        let reindex = Linear::Reindex { from: vec![G; indices.len()], to: vec![G; used.len()], map };
        let re = self.b.linear(reindex.clone(), field.re)?;
        let im = field.im.map(|v| self.b.linear(reindex, v)).transpose()?;
        Ok(Field { re, im, labels: used, raw: None })
    }

    fn is_field(&self, expr: &Expr, k: usize) -> bool {
        match &expr.kind {
            ExprKind::Number(_) => false,
            ExprKind::Name(name) | ExprKind::Access { name: Ident { name, .. }, .. } => {
                self.fields.contains_key(name)
                    || self.checked.statistic.definitions[..k]
                        .iter()
                        .position(|d| d.name.name == *name)
                        .is_some_and(|d| self.checked.value_kinds[d] == ValueKind::Field)
            }
            ExprKind::Call { function, arguments } => match function.name.as_str() {
                name if builds_field(name) => true,
                name if AVERAGES.contains(&name) => false,
                _ => arguments.iter().any(|a| self.is_field(a, k)),
            },
            ExprKind::Reduce { argument, .. } => self.is_field(argument, k),
            ExprKind::Negate(operand) => self.is_field(operand, k),
            ExprKind::Binary { left, right, .. } => self.is_field(left, k) || self.is_field(right, k),
        }
    }

    /// Direction names of `order` that the expression uses.
    fn directions_used(&self, expr: &Expr, order: &[String]) -> Vec<String> {
        let mut names = Vec::new();
        collect_names(expr, &mut names);
        order.iter().filter(|name| names.contains(name)).cloned().collect()
    }

    /// Evaluates an expression at given scales; `order` lists the direction names in scope. What the domain refuses is a fault at the innermost expression that it refuses.
    fn field(&mut self, expr: &Expr, scales: &Scales, order: &[String], k: usize) -> Result<Evaluated, BindError> {
        self.field_here(expr, scales, order, k).map_err(|error| error.placed(expr.span))
    }

    fn field_here(&mut self, expr: &Expr, scales: &Scales, order: &[String], k: usize) -> Result<Evaluated, BindError> {
        if !self.is_field(expr, k) {
            // A number inside a field expression: an array over the directions it uses.
            let used = self.directions_used(expr, order);
            let columns: Vec<(String, IndexKind)> =
                scales.keys().map(|n| (n.clone(), IndexKind::Scale)).chain(used.iter().map(|n| (n.clone(), IndexKind::Direction))).collect();
            let space = Rc::new(IndexSpace { columns, tuples: vec![scales.values().copied().collect()], G: self.domain.directions() });
            let cell = self.number(expr, &space, k)?;
            let G = self.domain.directions();
            let reshape = Linear::Reshape { from: vec![space.len()], to: vec![G; used.len()] };
            let mut part = |p: Part| match p {
                Part::Literal(x) => Ok::<Part, BindError>(Part::Literal(x)),
                Part::Value(v) => Ok(Part::Value(self.b.linear(reshape.clone(), v)?)),
            };
            return Ok(Evaluated::Numbers(Cell { re: part(cell.re)?, im: cell.im.map(&mut part).transpose()? }, used));
        }
        match &expr.kind {
            ExprKind::Number(x) => Ok(Evaluated::Numbers(Cell::literal(*x), vec![])),
            ExprKind::Name(name) => match self.fields.get(name) {
                Some(field) => Ok(Evaluated::Field(field.clone())),
                None => {
                    let d = self.definition(&Ident { name: name.clone(), span: expr.span })?;
                    Ok(Evaluated::Field(self.defined_field(d, &[])?))
                }
            },
            ExprKind::Access { name, indices } => {
                let d = self.definition(name)?;
                let kinds = self.checked.definition_kinds[d].clone();
                let mut tuple = Vec::new();
                let mut directions = Vec::new();
                for (index, kind) in indices.iter().zip(kinds) {
                    match kind {
                        IndexKind::Scale => tuple.push(scale_value(index, scales).ok_or_else(|| at(index.span, "scale below zero"))?),
                        IndexKind::Direction => directions.push(index.clone()),
                    }
                }
                if !self.spaces[d].tuples.contains(&tuple) {
                    return Err(at(name.span, format!("`{}` does not exist at scales {tuple:?}", name.name)));
                }
                let field = self.defined_field(d, &tuple)?;
                Ok(Evaluated::Field(self.indexed(&field, &directions, order)?))
            }
            ExprKind::Call { function, arguments } => match function.name.as_str() {
                "wavelet" => {
                    let inner = self.as_field(&arguments[0], scales, order, k)?;
                    let scale = arguments[1].as_index().and_then(|i| scale_value(&i, scales)).filter(|j| self.domain.scales().contains(j));
                    let scale = scale.ok_or_else(|| self.no_scale(&arguments[1], scales))?;
                    let direction = arguments[2].as_index().ok_or_else(|| at(arguments[2].span, "expected a direction index"))?;
                    if let [term] = direction.terms.as_slice()
                        && (term.coefficient, direction.constant) == (1, 0)
                        && let Some(axis) = inner.labels.iter().position(|label| *label == term.name.name)
                        && let Some(filtered) = self.domain.wavelet_along(&mut self.b, &inner, scale, axis)?
                    {
                        return Ok(Evaluated::Field(filtered));
                    }
                    let filtered = self.domain.wavelet(&mut self.b, &inner, scale, "$")?;
                    let mut indices: Vec<IndexExpr> = inner.labels.iter().map(|l| plain_index(l)).collect();
                    indices.push(direction);
                    Ok(Evaluated::Field(self.indexed(&filtered, &indices, order)?))
                }
                "shift" => {
                    let inner = self.as_field(&arguments[0], scales, order, k)?;
                    let scale = self.scale_argument(&arguments[1], scales)?;
                    let directions = arguments[2].as_index().zip(arguments[3].as_index());
                    let (new, own) = directions.ok_or_else(|| at(arguments[2].span, "expected direction indices"))?;
                    let axis = match own.terms.as_slice() {
                        [term] if (term.coefficient, own.constant) == (1, 0) => inner.labels.iter().position(|label| *label == term.name.name),
                        _ => None,
                    };
                    let axis = axis.ok_or_else(|| {
                        at(arguments[3].span, "expected a direction index of the field itself; the fourth argument names the direction that moves it")
                    })?;
                    let moved = self.domain.shift(&mut self.b, &inner, scale, axis, "$")?;
                    let mut indices: Vec<IndexExpr> = moved.labels[..inner.labels.len()].iter().map(|l| plain_index(l)).collect();
                    indices.push(new);
                    Ok(Evaluated::Field(self.indexed(&moved, &indices, order)?))
                }
                name if BUILDERS.contains(&name) => {
                    let inner = self.as_field(&arguments[0], scales, order, k)?;
                    let scale = arguments.get(1).map(|scale| self.scale_argument(scale, scales)).transpose()?;
                    Ok(Evaluated::Field(match name {
                        "lowpass" => self.domain.lowpass(&mut self.b, &inner, scale.unwrap_or(self.domain.coarsest()))?,
                        _ => self.domain.build(&mut self.b, name, &inner, scale)?,
                    }))
                }
                name => {
                    let values = arguments.iter().map(|a| self.field(a, scales, order, k)).collect::<Result<Vec<_>, _>>()?;
                    self.combine(values, order, expr.span, |b, cells| call(b, name, cells))
                }
            },
            ExprKind::Negate(operand) => {
                let value = self.field(operand, scales, order, k)?;
                self.combine(vec![value], order, expr.span, |b, cells| arithmetic(b, BinaryOperator::Multiply, Cell::literal(-1.0), cells[0]))
            }
            ExprKind::Binary { operator, left, right } => {
                let values = vec![self.field(left, scales, order, k)?, self.field(right, scales, order, k)?];
                self.combine(values, order, expr.span, |b, cells| arithmetic(b, *operator, cells[0], cells[1]))
            }
            ExprKind::Reduce { function, indices, argument } => {
                let kinds = &self.checked.bound_kinds[k];
                let kind_of = |name: &str| kinds.iter().find(|(n, _)| n == name).map_or(IndexKind::Direction, |(_, kind)| *kind);
                let bound_scales: Vec<String> = indices.iter().filter(|i| kind_of(&i.name) == IndexKind::Scale).map(|i| i.name.clone()).collect();
                let bound_directions: Vec<String> =
                    indices.iter().filter(|i| kind_of(&i.name) == IndexKind::Direction).map(|i| i.name.clone()).collect();
                let mut inner_order = order.to_vec();
                inner_order.extend(bound_directions.iter().cloned());
                let mut total: Option<Evaluated> = None;
                let mut count = 0usize;
                for tuple in self.products(bound_scales.len()) {
                    let mut inner = scales.clone();
                    inner.extend(bound_scales.iter().cloned().zip(tuple));
                    if !self.exists(argument, &inner, k)? {
                        continue;
                    }
                    count += 1;
                    let value = self.field(argument, &inner, &inner_order, k)?;
                    total = Some(match total {
                        None => value,
                        Some(sum) => self
                            .combine(vec![sum, value], &inner_order, expr.span, |b, cells| arithmetic(b, BinaryOperator::Add, cells[0], cells[1]))?,
                    });
                }
                let Some(Evaluated::Field(field)) = total else {
                    return Err(helped(expr.span, "nothing to reduce: no index tuple exists", self.ranges()));
                };
                let field = self.domain.samples(&mut self.b, &field)?;
                let all: Vec<String> = inner_order.iter().filter(|l| field.labels.contains(l) || bound_directions.contains(l)).cloned().collect();
                let field = self.aligned(&field, &all)?;
                let kept: Vec<String> = all.iter().filter(|l| !bound_directions.contains(l)).cloned().collect();
                let G = self.domain.directions();
                let map: Vec<Vec<i64>> = kept.iter().map(|label| all.iter().map(|l| i64::from(l == label)).chain([0]).collect()).collect();
                let spread = Linear::Reindex { from: vec![G; kept.len()], to: vec![G; all.len()], map };
                let factor = match function.name.as_str() {
                    "sum" => 1.0,
                    "mean" => 1.0 / (count * G.pow(bound_directions.len() as u32)) as f64,
                    other => return Err(helped(function.span, format!("`{other}` over indices is not available for fields"), "use sum or mean")),
                };
                let mut part = |v: Value| -> Result<Value, BindError> {
                    let sum = self.b.adjoint(spread.clone(), v)?;
                    if factor == 1.0 { Ok(sum) } else { Ok(self.b.linear(Linear::Scale { by: factor }, sum)?) }
                };
                let re = part(field.re)?;
                let im = field.im.map(&mut part).transpose()?;
                Ok(Evaluated::Field(Field { re, im, labels: kept, raw: None }))
            }
        }
    }

    /// The scale that an argument names.
    fn scale_argument(&self, argument: &Expr, scales: &Scales) -> Result<usize, BindError> {
        let scale = argument.as_index().and_then(|i| scale_value(&i, scales)).filter(|j| self.domain.scales().contains(j));
        scale.ok_or_else(|| self.no_scale(argument, scales))
    }

    fn no_scale(&self, argument: &Expr, scales: &Scales) -> BindError {
        let range = self.domain.scales();
        let found = argument.as_index().map_or_else(String::new, |index| {
            let terms = index.terms.iter().filter_map(|t| Some((t, *scales.get(&t.name.name)? as i64)));
            let value = terms.fold(index.constant, |sum, (t, j)| sum + t.coefficient * j);
            if index.terms.is_empty() { format!(", found {value}") } else { format!(", found `{index}` = {value}") }
        });
        helped(argument.span, format!("expected a scale from {} to {}{found}", range.start(), range.end()), "leave such tuples out with `where`")
    }

    fn as_field(&mut self, expr: &Expr, scales: &Scales, order: &[String], k: usize) -> Result<Field, BindError> {
        match self.field(expr, scales, order, k)? {
            Evaluated::Field(field) => Ok(field),
            Evaluated::Numbers(..) => Err(at(expr.span, "expected a field, found numbers")),
        }
    }

    /// Brings operands to common axes and space, then applies `f`.
    fn combine(
        &mut self,
        values: Vec<Evaluated>,
        order: &[String],
        span: Span,
        f: impl FnOnce(&mut Builder, &[Cell]) -> Result<Cell, String>,
    ) -> Result<Evaluated, BindError> {
        let mut used: Vec<String> = Vec::new();
        for value in &values {
            let labels = match value {
                Evaluated::Field(field) => &field.labels,
                Evaluated::Numbers(_, labels) => labels,
            };
            used.extend(labels.iter().filter(|l| !used.contains(l)).cloned().collect::<Vec<_>>());
        }
        let labels: Vec<String> = order.iter().filter(|l| used.contains(l)).cloned().collect();
        let mut space: Option<Space> = None;
        let mut sampled = Vec::new();
        for value in values {
            sampled.push(match value {
                Evaluated::Field(field) => {
                    let field = self.domain.samples(&mut self.b, &field)?;
                    let own = self.b.ty(field.re).space;
                    if let Some(other) = space
                        && other != own
                    {
                        let message = format!("fields on different grids, {other} and {own}, cannot be combined sample by sample");
                        return Err(helped(span, message, "filter both at one scale first, or take their averages"));
                    }
                    space = Some(own);
                    Evaluated::Field(self.aligned(&field, &labels)?)
                }
                numbers => numbers,
            });
        }
        let mut cells = Vec::new();
        for value in sampled {
            cells.push(match value {
                Evaluated::Field(field) => Cell { re: Part::Value(field.re), im: field.im.map(Part::Value) },
                Evaluated::Numbers(cell, own) => {
                    let axes = self.domain.number_axes();
                    let varies = [Some(cell.re), cell.im].into_iter().flatten().any(|p| matches!(p, Part::Value(_)));
                    if space.is_some() && varies && axes != self.domain.input_type().axes {
                        let masks = axes[0];
                        let message = format!("a number here differs between {masks} masks, so that no field can be made of it");
                        return Err(helped(span, message, "give one mask"));
                    }
                    let aligned = self.aligned_numbers(cell, &own, &labels)?;
                    let mut part = |p: Part| match (p, space) {
                        (Part::Value(v), Some(like)) => Ok::<Part, BindError>(Part::Value(self.domain.spread(&mut self.b, v, like)?)),
                        (p, _) => Ok(p),
                    };
                    Cell { re: part(aligned.re)?, im: aligned.im.map(&mut part).transpose()? }
                }
            });
        }
        let cell = f(&mut self.b, &cells).map_err(|message| at(span, message))?;
        let value = |p: Part| match p {
            Part::Value(v) => Some(v),
            Part::Literal(_) => None,
        };
        match value(cell.re) {
            Some(re) => {
                let im = match cell.im {
                    None => None,
                    Some(Part::Value(v)) => Some(v),
                    Some(Part::Literal(x)) => Some(self.b.pointwise(Scalar::Constant(x), &[re])?),
                };
                Ok(Evaluated::Field(Field { re, im, labels, raw: None }))
            }
            None => {
                // A constant field, such as im(W) of a real W.
                let Some(Cell { re: Part::Value(like), .. }) = cells.iter().find(|c| matches!(c.re, Part::Value(_))) else {
                    return Ok(Evaluated::Numbers(cell, labels));
                };
                let like = *like;
                let mut part = |p: Part| match p {
                    Part::Value(v) => Ok::<Value, BindError>(v),
                    Part::Literal(x) => Ok(self.b.pointwise(Scalar::Constant(x), &[like])?),
                };
                let re = part(cell.re)?;
                let im = cell.im.map(&mut part).transpose()?;
                Ok(Evaluated::Field(Field { re, im, labels, raw: None }))
            }
        }
    }

    /// Evaluates a number expression for all entries of `space`.
    fn number(&mut self, expr: &Expr, space: &Rc<IndexSpace>, k: usize) -> Result<Cell, BindError> {
        self.number_here(expr, space, k).map_err(|error| error.placed(expr.span))
    }

    fn number_here(&mut self, expr: &Expr, space: &Rc<IndexSpace>, k: usize) -> Result<Cell, BindError> {
        match &expr.kind {
            ExprKind::Number(x) => Ok(Cell::literal(*x)),
            ExprKind::Name(name) => {
                if let Some(position) = space.columns.iter().position(|(n, _)| n == name) {
                    let index = space.index();
                    let values: Vec<f64> = index.rows.iter().map(|row| row[position] as f64).collect();
                    return Ok(Cell { re: self.literal_array(&values)?, im: None });
                }
                // A number that was asked for at run time is an array of one entry.
                if self.options.arrays.contains(name) {
                    let (cell, _) = self.array_parameter(&Ident { name: name.clone(), span: expr.span })?;
                    return self.gather_cell(cell, 1, &vec![0; space.len()]);
                }
                if let Some(x) = self.parameter_number(name) {
                    return Ok(Cell::literal(x));
                }
                if self.checked.statistic.parameters.iter().any(|p| p.name.name == *name) {
                    return Err(helped(expr.span, format!("parameter `{name}` has no default and was not given"), given(name)));
                }
                let d = self.definition(&Ident { name: name.clone(), span: expr.span })?;
                let cell = self.defined_number(d)?;
                self.gather_cell(cell, 1, &vec![0; space.len()])
            }
            ExprKind::Access { name, indices } => {
                let defined = self.checked.statistic.definitions[..k].iter().position(|d| d.name.name == name.name);
                let (cell, target) = match defined {
                    Some(d) => (self.defined_number(d)?, self.spaces[d].clone()),
                    None => self.array_parameter(name)?,
                };
                if let (Part::Literal(_), None | Some(Part::Literal(_))) = (cell.re, cell.im) {
                    return Ok(cell);
                }
                let table = access_table(&target, indices, space)
                    .ok_or_else(|| at(name.span, format!("`{}` has no entry for some of the index tuples", name.name)))?;
                self.gather_cell(cell, target.len(), &table)
            }
            ExprKind::Negate(operand) => {
                let cell = self.number(operand, space, k)?;
                arithmetic(&mut self.b, BinaryOperator::Multiply, Cell::literal(-1.0), cell).map_err(|m| at(expr.span, m))
            }
            ExprKind::Binary { operator, left, right } => {
                let (x, y) = (self.number(left, space, k)?, self.number(right, space, k)?);
                arithmetic(&mut self.b, *operator, x, y).map_err(|m| at(expr.span, m))
            }
            ExprKind::Reduce { function, indices, argument } => self.reduce(function, indices, argument, space, k),
            ExprKind::Call { function, arguments } => match function.name.as_str() {
                name if AVERAGES.contains(&name) => self.average(&function.name, arguments, expr.span, space, k),
                name => {
                    let cells = arguments.iter().map(|a| self.number(a, space, k)).collect::<Result<Vec<_>, _>>()?;
                    call(&mut self.b, name, &cells).map_err(|m| at(expr.span, m))
                }
            },
        }
    }

    fn array_parameter(&mut self, name: &Ident) -> Result<(Cell, Rc<IndexSpace>), BindError> {
        if let Some(found) = self.parameters.get(&name.name) {
            return Ok(found.clone());
        }
        let statistic = &self.checked.statistic;
        let Some(p) = statistic.parameters.iter().position(|p| p.name.name == name.name) else {
            return Err(at(name.span, format!("`{}` is not defined", name.name)));
        };
        let parameter = &statistic.parameters[p];
        let columns: Vec<(String, IndexKind)> =
            parameter.indices.iter().map(|i| i.name.clone()).zip(self.checked.parameter_kinds[p].iter().copied()).collect();
        let n_scales = columns.iter().filter(|c| c.1 == IndexKind::Scale).count();
        let space = Rc::new(IndexSpace { columns, tuples: self.products(n_scales), G: self.domain.directions() });
        let default = parameter.default.as_ref().and_then(Expr::constant_value).filter(|_| !self.options.arrays.contains(&name.name));
        let cell = match default {
            Some(x) => Cell::literal(x),
            None => {
                let own: Vec<usize> = self.domain.number_axes().into_iter().chain([space.len()]).collect();
                let value = self.b.parameter(&name.name, Type::new(own.clone(), Space::Point))?;
                self.used_parameters.push(ParameterInfo { name: name.name.clone(), index: space.index(), len: own.iter().product() });
                let value = match self.options.batch {
                    None => value,
                    Some(batch) => {
                        let n = own.len();
                        let map = (0..n).map(|k| (0..n + 2).map(|o| i64::from(o == k + 1)).collect()).collect();
                        let to = [batch].into_iter().chain(own.iter().copied()).collect();
                        self.b.linear(Linear::Reindex { from: own, to, map }, value)?
                    }
                };
                Cell { re: Part::Value(value), im: None }
            }
        };
        self.parameters.insert(name.name.clone(), (cell, space.clone()));
        Ok((cell, space))
    }

    /// An average over the domain: evaluated once per scale tuple and direction axis it depends on, then distributed to the entries of `space`.
    fn average(&mut self, function: &str, arguments: &[Expr], span: Span, space: &Rc<IndexSpace>, k: usize) -> Result<Cell, BindError> {
        let mut names = Vec::new();
        arguments.iter().for_each(|a| collect_names(a, &mut names));
        let all_scales = space.names(IndexKind::Scale);
        let used_scales: Vec<usize> = (0..all_scales.len()).filter(|i| names.contains(&all_scales[*i])).collect();
        let order = space.names(IndexKind::Direction);
        let used_directions: Vec<String> = order.iter().filter(|n| names.contains(n)).cloned().collect();
        let mut tuples: Vec<Vec<usize>> = Vec::new();
        let mut positions: HashMap<Vec<usize>, usize> = HashMap::new();
        for tuple in &space.tuples {
            let part: Vec<usize> = used_scales.iter().map(|i| tuple[*i]).collect();
            positions.entry(part.clone()).or_insert_with(|| {
                tuples.push(part);
                tuples.len() - 1
            });
        }
        let G = self.domain.directions();
        let block = G.pow(used_directions.len() as u32);
        let mut pieces: Vec<Cell> = Vec::new();
        for tuple in &tuples {
            let scales: Scales = used_scales.iter().map(|i| all_scales[*i].clone()).zip(tuple.iter().copied()).collect();
            let cell = self.average_at(function, arguments, &scales, &order, span, k)?;
            let (cell, labels) = cell;
            let cell = self.aligned_numbers(cell, &labels, &used_directions)?;
            let reshape = Linear::Reshape { from: vec![G; used_directions.len()], to: vec![block] };
            let mut part = |p: Part| -> Result<Part, BindError> {
                let value = match p {
                    Part::Value(v) => self.b.linear(reshape.clone(), v)?,
                    Part::Literal(x) => self.array(Part::Literal(x), block)?,
                };
                Ok(Part::Value(value))
            };
            pieces.push(Cell { re: part(cell.re)?, im: cell.im.map(&mut part).transpose()? });
        }
        let complex = pieces.iter().any(|c| c.im.is_some());
        let mut join = |select: &dyn Fn(&Cell) -> Part| -> Result<Part, BindError> {
            let values = pieces.iter().map(|c| self.array(select(c), block)).collect::<Result<Vec<_>, _>>()?;
            Ok(Part::Value(self.b.concat(&values)?))
        };
        let re = join(&|c| c.re)?;
        let im = if complex { Some(join(&|c| c.im.unwrap_or(Part::Literal(0.0)))?) } else { None };
        let mut table = Vec::with_capacity(space.len());
        let digits: Vec<usize> = (0..order.len()).filter(|i| used_directions.contains(&order[*i])).collect();
        space.each(|_, scales, directions| {
            let part: Vec<usize> = used_scales.iter().map(|i| scales[*i]).collect();
            let inner = digits.iter().fold(0, |sum, i| sum * G + directions[*i]);
            table.push(positions[&part] * block + inner);
        });
        let mean = Cell { re, im };
        // integral(f) = measure * mean(f), once for all entries.
        let measure = Cell::literal(self.domain.measure());
        let all = match function {
            "integral" => arithmetic(&mut self.b, BinaryOperator::Multiply, measure, mean).map_err(|m| at(span, m))?,
            _ => mean,
        };
        self.gather_cell(all, tuples.len() * block, &table)
    }

    fn average_at(
        &mut self,
        function: &str,
        arguments: &[Expr],
        scales: &Scales,
        order: &[String],
        span: Span,
        k: usize,
    ) -> Result<(Cell, Vec<String>), BindError> {
        let cell = |n: Numbers| Cell { re: Part::Value(n.re), im: n.im.map(Part::Value) };
        let fail = |m: String| at(span, m);
        match function {
            "var" | "power" => {
                let field = self.as_field(&arguments[0], scales, order, k)?;
                let value = self.domain.power(&mut self.b, &field, function == "var")?;
                Ok((Cell { re: Part::Value(value), im: None }, field.labels))
            }
            "cov" => {
                let (x, y) = (self.field(&arguments[0], scales, order, k)?, self.field(&arguments[1], scales, order, k)?);
                let product = self.combine(vec![x.clone(), y.clone()], order, span, |b, c| {
                    let conjugate = call(b, "conj", &[c[1]])?;
                    arithmetic(b, BinaryOperator::Multiply, c[0], conjugate)
                })?;
                let (second, labels) = self.mean_of(product)?;
                let (mx, lx) = self.mean_of(x)?;
                let (my, ly) = self.mean_of(y)?;
                let (mx, my) = (self.aligned_numbers(mx, &lx, &labels)?, self.aligned_numbers(my, &ly, &labels)?);
                let conjugate = call(&mut self.b, "conj", &[my]).map_err(fail)?;
                let first = arithmetic(&mut self.b, BinaryOperator::Multiply, mx, conjugate).map_err(fail)?;
                Ok((arithmetic(&mut self.b, BinaryOperator::Subtract, second, first).map_err(fail)?, labels))
            }
            "median" => {
                let field = self.as_field(&arguments[0], scales, order, k)?;
                let (steps, tolerance) = (self.known(arguments.get(1), k)?, self.known(arguments.get(2), k)?);
                let steps = match steps {
                    None => MEDIAN.0,
                    Some(n) if n.fract() == 0.0 && (1.0..=MOST_STEPS as f64).contains(&n) => n as usize,
                    Some(n) => return Err(at(arguments[1].span, format!("expected a whole number of steps from 1 to {MOST_STEPS}, found {n}"))),
                };
                let tolerance = match tolerance {
                    None => MEDIAN.1,
                    Some(t) if t >= 0.0 => t,
                    Some(t) => return Err(at(arguments[2].span, format!("expected a tolerance from 0 on, found {t}"))),
                };
                Ok((cell(self.domain.median(&mut self.b, &field, steps, tolerance)?), field.labels))
            }
            "size" => {
                let field = self.as_field(&arguments[0], scales, order, k)?;
                let (weight, size) = match arguments.get(1) {
                    None => (self.domain.weight(&mut self.b, &field)?, self.domain.size(&self.b, &field)),
                    Some(scale) => {
                        let scale = self.scale_argument(scale, scales)?;
                        (self.domain.windowed_weight(&mut self.b, &field, scale)?, self.domain.windowed_size(&self.b, &field, scale))
                    }
                };
                let size = weight.map_or(Part::Literal(size as f64), Part::Value);
                Ok((Cell { re: size, im: None }, field.labels))
            }
            _ => {
                let field = self.as_field(&arguments[0], scales, order, k)?;
                let mean = match arguments.get(1) {
                    None => self.domain.mean(&mut self.b, &field)?,
                    Some(scale) => {
                        let scale = self.scale_argument(scale, scales)?;
                        self.domain.windowed_mean(&mut self.b, &field, scale)?
                    }
                };
                Ok((cell(mean), field.labels))
            }
        }
    }

    /// A number known when the statistic is bound.
    fn known(&mut self, argument: Option<&Expr>, k: usize) -> Result<Option<f64>, BindError> {
        let Some(argument) = argument else { return Ok(None) };
        let one = Rc::new(IndexSpace { columns: vec![], tuples: vec![vec![]], G: self.domain.directions() });
        match self.number(argument, &one, k)? {
            Cell { re: Part::Literal(x), im: None } => Ok(Some(x)),
            _ => Err(at(argument.span, "expected a number known when the statistic is bound; a number or a number parameter is one")),
        }
    }

    fn mean_of(&mut self, value: Evaluated) -> Result<(Cell, Vec<String>), BindError> {
        match value {
            Evaluated::Numbers(cell, labels) => Ok((cell, labels)),
            Evaluated::Field(field) => {
                let n = self.domain.mean(&mut self.b, &field)?;
                Ok((Cell { re: Part::Value(n.re), im: n.im.map(Part::Value) }, field.labels))
            }
        }
    }

    fn reduce(&mut self, function: &Ident, indices: &[Ident], argument: &Expr, space: &Rc<IndexSpace>, k: usize) -> Result<Cell, BindError> {
        let kinds = self.checked.bound_kinds[k].clone();
        let kind_of = |name: &str| kinds.iter().find(|(n, _)| n == name).map_or(IndexKind::Direction, |(_, kind)| *kind);
        let bound: Vec<(String, IndexKind)> = indices.iter().map(|i| (i.name.clone(), kind_of(&i.name))).collect();
        let n_scales = bound.iter().filter(|b| b.1 == IndexKind::Scale).count();
        let names: Vec<String> =
            space.names(IndexKind::Scale).into_iter().chain(bound.iter().filter(|b| b.1 == IndexKind::Scale).map(|b| b.0.clone())).collect();
        let mut tuples = Vec::new();
        let mut owners = Vec::new();
        for (position, tuple) in space.tuples.iter().enumerate() {
            for extra in self.products(n_scales) {
                let full: Vec<usize> = tuple.iter().copied().chain(extra).collect();
                let scales: Scales = names.iter().cloned().zip(full.iter().copied()).collect();
                if self.exists(argument, &scales, k)? {
                    tuples.push(full);
                    owners.push(position);
                }
            }
        }
        if tuples.is_empty() {
            return Err(helped(function.span, "nothing to reduce: no index tuple exists", self.ranges()));
        }
        let columns: Vec<(String, IndexKind)> = space.columns.iter().cloned().chain(bound.iter().cloned()).collect();
        let extended = Rc::new(IndexSpace { columns, tuples, G: space.G });
        let cell = self.number(argument, &extended, k)?;
        let outer_digits = space.names(IndexKind::Direction).len();
        let block = extended.block();
        let mut table = Vec::with_capacity(extended.len());
        let mut counts = vec![0usize; space.len()];
        extended.each(|row, _, directions| {
            let inner = directions[..outer_digits].iter().fold(0, |sum, d| sum * space.G + d);
            let target = owners[row / block] * space.block() + inner;
            counts[target] += 1;
            table.push(target);
        });
        let gather = Linear::Gather { n: space.len(), table };
        let mut part = |p: Part| -> Result<Part, BindError> {
            let value = self.array(p, extended.len())?;
            Ok(Part::Value(self.b.adjoint(gather.clone(), value)?))
        };
        let sum = Cell { re: part(cell.re)?, im: cell.im.map(&mut part).transpose()? };
        match function.name.as_str() {
            "sum" => Ok(sum),
            "mean" => {
                let inverse: Vec<f64> = counts.iter().map(|n| 1.0 / (*n).max(1) as f64).collect();
                let factor = Cell { re: self.literal_array(&inverse)?, im: None };
                arithmetic(&mut self.b, BinaryOperator::Multiply, factor, sum).map_err(|m| at(function.span, m))
            }
            other => Err(helped(function.span, format!("`{other}` over indices is not available for numbers"), "use sum or mean")),
        }
    }
}

/// Help for a number that must be given.
fn given(name: &str) -> String {
    format!("give it: `--parameter {name}=..`, `Compiler::number`")
}

fn plain_index(name: &str) -> IndexExpr {
    let name = Ident { name: name.into(), span: Span::default() };
    IndexExpr { terms: vec![scatterc_ir::notation::IndexTerm { coefficient: 1, function: None, name }], constant: 0, span: Span::default() }
}

/// Row of `target` for every entry of `space`; `None` when one does not exist.
fn access_table(target: &IndexSpace, indices: &[IndexExpr], space: &IndexSpace) -> Option<Vec<usize>> {
    let positions: HashMap<&[usize], usize> = target.tuples.iter().enumerate().map(|(k, t)| (t.as_slice(), k)).collect();
    let (scale_names, direction_names) = (space.names(IndexKind::Scale), space.names(IndexKind::Direction));
    let mut table = Vec::with_capacity(space.len());
    let mut complete = true;
    space.each(|_, scales, directions| {
        let mut tuple = Vec::new();
        let mut inner = 0usize;
        for (index, (_, kind)) in indices.iter().zip(&target.columns) {
            let mut sum = index.constant;
            for term in &index.terms {
                let name = &term.name.name;
                let value = scale_names
                    .iter()
                    .position(|n| n == name)
                    .map(|p| scales[p])
                    .or_else(|| direction_names.iter().position(|n| n == name).map(|p| directions[p]));
                sum += term.coefficient * value.unwrap_or(0) as i64;
            }
            match kind {
                IndexKind::Scale => tuple.push(usize::try_from(sum).unwrap_or(usize::MAX)),
                IndexKind::Direction => inner = inner * target.G + sum.rem_euclid(target.G as i64) as usize,
            }
        }
        match positions.get(tuple.as_slice()) {
            Some(position) => table.push(position * target.block() + inner),
            None => complete = false,
        }
    });
    complete.then_some(table)
}

/// Every name an expression mentions.
fn collect_names(expr: &Expr, names: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Number(_) => {}
        ExprKind::Name(name) => names.push(name.clone()),
        ExprKind::Access { indices, .. } => names.extend(indices.iter().flat_map(|i| i.terms.iter().map(|t| t.name.name.clone()))),
        ExprKind::Call { arguments, .. } => arguments.iter().for_each(|a| collect_names(a, names)),
        ExprKind::Reduce { argument, .. } => collect_names(argument, names),
        ExprKind::Negate(operand) => collect_names(operand, names),
        ExprKind::Binary { left, right, .. } => {
            collect_names(left, names);
            collect_names(right, names);
        }
    }
}
