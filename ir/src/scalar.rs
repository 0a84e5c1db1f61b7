//! Scalar expressions: what a pointwise node does to the numbers at one sample.
//!
//! About fifteen primitives; every pointwise op is an expression of them, every backend knows only them. Evaluate, differentiate, simplify, print and parse live here.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Primitive of one argument.
///
/// ```
/// use scatterc_ir::scalar::Unary;
///
/// assert_eq!((Unary::Negate.evaluate(2.0), Unary::SquareRoot.evaluate(9.0)), (-2.0, 3.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// -a
    Negate,
    /// |a|
    Absolute,
    /// -1, 0 or 1
    Sign,
    /// square root
    SquareRoot,
    /// e^a
    Exponential,
    /// natural logarithm
    Logarithm,
    /// sine
    Sine,
    /// cosine
    Cosine,
}

/// Primitive of two arguments.
///
/// ```
/// use scatterc_ir::scalar::Binary;
///
/// assert_eq!((Binary::SafeDivide.evaluate(1.0, 0.0), Binary::Greater.evaluate(2.0, 1.0)), (0.0, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Subtract,
    /// a b
    Multiply,
    /// a / b
    Divide,
    /// a / b, and 0 where b = 0
    SafeDivide,
    /// a^b
    Power,
    /// smaller of both
    Minimum,
    /// larger of both
    Maximum,
    /// 1 where a > b, else 0
    Greater,
    /// angle of (b, a), in radians
    ArcTangent,
}

/// Spelling of every primitive, used by printer and parser.
///
/// ```
/// use scatterc_ir::scalar::{UNARY, Unary};
///
/// assert!(UNARY.contains(&("sqrt", Unary::SquareRoot)));
/// ```
pub const UNARY: &[(&str, Unary)] = &[
    ("neg", Unary::Negate),
    ("abs", Unary::Absolute),
    ("sign", Unary::Sign),
    ("sqrt", Unary::SquareRoot),
    ("exp", Unary::Exponential),
    ("log", Unary::Logarithm),
    ("sin", Unary::Sine),
    ("cos", Unary::Cosine),
];

/// Spelling of every primitive, used by printer and parser.
///
/// ```
/// use scatterc_ir::scalar::{BINARY, Binary};
///
/// assert!(BINARY.contains(&("safe_div", Binary::SafeDivide)));
/// ```
pub const BINARY: &[(&str, Binary)] = &[
    ("add", Binary::Add),
    ("sub", Binary::Subtract),
    ("mul", Binary::Multiply),
    ("div", Binary::Divide),
    ("safe_div", Binary::SafeDivide),
    ("pow", Binary::Power),
    ("min", Binary::Minimum),
    ("max", Binary::Maximum),
    ("greater", Binary::Greater),
    ("atan2", Binary::ArcTangent),
];

/// A scalar expression over arguments `a`, `b`, `c`, ...
///
/// ```
/// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
/// // |a| b + 1.
/// let f = parse("add(mul(abs(a), b), 1.0)")?;
/// assert_eq!((f.evaluate(&[-2.0, 3.0]), f.arity(), f.cost()), (7.0, 2, 3));
/// assert_eq!(f.derivative(1).to_string(), "abs(a)");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// The k-th operand of the node.
    Argument(usize),
    /// A literal.
    Constant(f64),
    /// A primitive of one argument.
    Unary(Unary, Box<Scalar>),
    /// A primitive of two arguments.
    Binary(Binary, Box<Scalar>, Box<Scalar>),
}

use Scalar::{Argument, Constant};

impl Unary {
    /// Value of the primitive.
    ///
    /// ```
    /// use scatterc_ir::scalar::Unary;
    ///
    /// assert_eq!([-2.0, 0.0, 5.0].map(|a| Unary::Sign.evaluate(a)), [-1.0, 0.0, 1.0]);
    /// ```
    pub fn evaluate(self, a: f64) -> f64 {
        match self {
            Unary::Negate => -a,
            Unary::Absolute => a.abs(),
            Unary::Sign => {
                if a > 0.0 {
                    1.0
                } else if a < 0.0 {
                    -1.0
                } else {
                    a * 0.0
                }
            }
            Unary::SquareRoot => a.sqrt(),
            Unary::Exponential => a.exp(),
            Unary::Logarithm => a.ln(),
            Unary::Sine => a.sin(),
            Unary::Cosine => a.cos(),
        }
    }
}

impl Binary {
    /// Value of the primitive.
    ///
    /// ```
    /// use scatterc_ir::scalar::Binary;
    ///
    /// assert_eq!((Binary::Power.evaluate(2.0, 10.0), Binary::Minimum.evaluate(2.0, 10.0)), (1024.0, 2.0));
    /// ```
    pub fn evaluate(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Subtract => a - b,
            Binary::Multiply => a * b,
            Binary::Divide => a / b,
            Binary::SafeDivide => {
                if b == 0.0 {
                    0.0
                } else {
                    a / b
                }
            }
            Binary::Power => a.powf(b),
            Binary::Minimum => {
                if a < b {
                    a
                } else {
                    b
                }
            }
            Binary::Maximum => {
                if a > b {
                    a
                } else {
                    b
                }
            }
            Binary::Greater => {
                if a > b {
                    1.0
                } else {
                    0.0
                }
            }
            Binary::ArcTangent => a.atan2(b),
        }
    }
}

/// Builds a unary expression, simplified.
///
/// ```
/// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
/// let a = Scalar::Argument(0);
/// assert_eq!(unary(Unary::Negate, unary(Unary::Negate, a.clone())), a);
/// assert_eq!(unary(Unary::SquareRoot, Scalar::Constant(4.0)), Scalar::Constant(2.0));
/// ```
pub fn unary(op: Unary, a: Scalar) -> Scalar {
    match (op, &a) {
        (_, Constant(x)) => Constant(op.evaluate(*x)),
        (Unary::Negate, Scalar::Unary(Unary::Negate, inner)) => (**inner).clone(),
        (Unary::Absolute, Scalar::Unary(Unary::Absolute, _)) => a,
        (Unary::Absolute, Scalar::Unary(Unary::Negate, inner)) => unary(Unary::Absolute, (**inner).clone()),
        _ => Scalar::Unary(op, Box::new(a)),
    }
}

/// True for powers of two whose reciprocal is one as well, so that dividing and multiplying by the reciprocal round alike.
fn has_exact_reciprocal(y: f64) -> bool {
    const FRACTION: u64 = (1 << 52) - 1;
    y.is_normal() && y.to_bits() & FRACTION == 0 && (1.0 / y).is_normal()
}

/// Builds a binary expression, simplified by the rules that change no finite value.
///
/// ```
/// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
/// let a = Scalar::Argument(0);
/// // |a|^2 = a a, and a * 0 = 0.
/// assert_eq!(binary(Binary::Power, unary(Unary::Absolute, a.clone()), Scalar::Constant(2.0)).to_string(), "mul(a, a)");
/// assert_eq!(binary(Binary::Multiply, a, Scalar::Constant(0.0)), Scalar::Constant(0.0));
/// ```
pub fn binary(op: Binary, a: Scalar, b: Scalar) -> Scalar {
    use Binary::*;
    match (op, &a, &b) {
        (_, Constant(x), Constant(y)) => Constant(op.evaluate(*x, *y)),
        (Add, Constant(x), _) if *x == 0.0 => b,
        (Add | Subtract, _, Constant(y)) if *y == 0.0 => a,
        (Subtract, Constant(x), _) if *x == 0.0 => unary(Unary::Negate, b),
        (Multiply, Constant(x), _) if *x == 1.0 => b,
        (Multiply | Divide | Power, _, Constant(y)) if *y == 1.0 => a,
        (Multiply, Constant(x), _) if *x == 0.0 => Constant(0.0),
        (Multiply, _, Constant(y)) if *y == 0.0 => Constant(0.0),
        (Multiply, _, Constant(_)) => binary(Multiply, b, a),
        (Multiply, Constant(x), Scalar::Binary(Multiply, c, d)) => match **c {
            Constant(y) => binary(Multiply, Constant(x * y), (**d).clone()),
            _ => Scalar::Binary(op, Box::new(a), Box::new(b)),
        },
        (Divide, Constant(x), _) if *x == 0.0 => Constant(0.0),
        (Divide, _, Constant(y)) if has_exact_reciprocal(*y) => binary(Multiply, Constant(1.0 / y), a),
        (Power, _, Constant(y)) if *y == 2.0 => binary(Multiply, a.clone(), a),
        // |z|^2 = z^2: the modulus of a real number disappears.
        (Multiply, Scalar::Unary(Unary::Absolute, x), Scalar::Unary(Unary::Absolute, y)) if x == y => binary(Multiply, (**x).clone(), (**y).clone()),
        (Multiply, Scalar::Unary(Unary::SquareRoot, x), Scalar::Unary(Unary::SquareRoot, y)) if x == y => (**x).clone(),
        (Power, _, Constant(y)) if *y == 0.5 => unary(Unary::SquareRoot, a),
        (Power, _, Constant(y)) if *y == 0.0 => Constant(1.0),
        (Power, _, Constant(y)) if *y == -1.0 => binary(Divide, Constant(1.0), a),
        (Power, _, Constant(y)) if y.fract() == 0.0 && (3.0..=8.0).contains(y) => {
            let rest = binary(Power, a.clone(), Constant(y - 1.0));
            binary(Multiply, a, rest)
        }
        _ => Scalar::Binary(op, Box::new(a), Box::new(b)),
    }
}

impl Scalar {
    /// Feeds the expression to a hash; equal bits give equal hashes.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let hash = |text: &str| {
    ///     let mut state = DefaultHasher::new();
    ///     parse(text).expect("an expression").digest(&mut state);
    ///     state.finish()
    /// };
    /// assert!(hash("mul(a, b)") == hash("mul(a, b)") && hash("mul(a, b)") != hash("mul(b, a)"));
    /// ```
    pub fn digest(&self, state: &mut impl Hasher) {
        std::mem::discriminant(self).hash(state);
        match self {
            Argument(k) => k.hash(state),
            Constant(x) => x.to_bits().hash(state),
            Scalar::Unary(op, a) => {
                op.hash(state);
                a.digest(state);
            }
            Scalar::Binary(op, a, b) => {
                op.hash(state);
                a.digest(state);
                b.digest(state);
            }
        }
    }

    /// Value at the given arguments.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// assert_eq!(parse("sqrt(add(mul(a, a), mul(b, b)))")?.evaluate(&[3.0, 4.0]), 5.0);
    /// # Ok::<(), String>(())
    /// ```
    pub fn evaluate(&self, arguments: &[f64]) -> f64 {
        match self {
            Argument(k) => arguments[*k],
            Constant(x) => *x,
            Scalar::Unary(op, a) => op.evaluate(a.evaluate(arguments)),
            Scalar::Binary(op, a, b) => op.evaluate(a.evaluate(arguments), b.evaluate(arguments)),
        }
    }

    /// Number of arguments: one more than the largest index used.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// assert_eq!((parse("mul(a, c)")?.arity(), parse("1.0")?.arity()), (3, 0));
    /// # Ok::<(), String>(())
    /// ```
    pub fn arity(&self) -> usize {
        match self {
            Argument(k) => k + 1,
            Constant(_) => 0,
            Scalar::Unary(_, a) => a.arity(),
            Scalar::Binary(_, a, b) => a.arity().max(b.arity()),
        }
    }

    /// Number of primitives, the flop count of one sample.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// assert_eq!(parse("add(mul(a, b), 1.0)")?.cost(), 2);
    /// # Ok::<(), String>(())
    /// ```
    pub fn cost(&self) -> usize {
        match self {
            Argument(_) | Constant(_) => 0,
            Scalar::Unary(_, a) => 1 + a.cost(),
            Scalar::Binary(_, a, b) => 1 + a.cost() + b.cost(),
        }
    }

    /// True when the value depends on argument `k`.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// let f = parse("mul(a, c)")?;
    /// assert!(f.uses(0) && !f.uses(1) && f.uses(2));
    /// # Ok::<(), String>(())
    /// ```
    pub fn uses(&self, k: usize) -> bool {
        match self {
            Argument(i) => *i == k,
            Constant(_) => false,
            Scalar::Unary(_, a) => a.uses(k),
            Scalar::Binary(_, a, b) => a.uses(k) || b.uses(k),
        }
    }

    /// Replaces argument `k` by `arguments[k]`, simplifying on the way.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// let f = parse("mul(a, b)")?;
    /// assert_eq!(f.substitute(&[parse("exp(a)")?, Scalar::Constant(1.0)]).to_string(), "exp(a)");
    /// # Ok::<(), String>(())
    /// ```
    pub fn substitute(&self, arguments: &[Scalar]) -> Scalar {
        match self {
            Argument(k) => arguments[*k].clone(),
            Constant(x) => Constant(*x),
            Scalar::Unary(op, a) => unary(*op, a.substitute(arguments)),
            Scalar::Binary(op, a, b) => binary(*op, a.substitute(arguments), b.substitute(arguments)),
        }
    }

    /// Rebuilds the expression through the simplifying constructors.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// assert_eq!(parse("add(mul(a, 1.0), 0.0)")?.simplified(), Scalar::Argument(0));
    /// # Ok::<(), String>(())
    /// ```
    pub fn simplified(&self) -> Scalar {
        let own: Vec<Scalar> = (0..self.arity()).map(Argument).collect();
        self.substitute(&own)
    }

    /// Partial derivative with respect to argument `k`.
    ///
    /// Conventions: d|a| = sign(a), 0 at 0; d sqrt = 0 at 0 (so the modulus of a complex number has derivative 0 at 0); sign and greater are constants.
    ///
    /// ```
    /// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
    /// assert_eq!(parse("sin(a)")?.derivative(0).to_string(), "cos(a)");
    /// // The modulus of a complex number has derivative 0 at 0.
    /// assert_eq!(parse("sqrt(add(mul(a, a), mul(b, b)))")?.derivative(0).evaluate(&[0.0, 0.0]), 0.0);
    /// # Ok::<(), String>(())
    /// ```
    pub fn derivative(&self, k: usize) -> Scalar {
        use Binary::*;
        match self {
            Argument(i) => Constant(if *i == k { 1.0 } else { 0.0 }),
            Constant(_) => Constant(0.0),
            _ if !self.uses(k) => Constant(0.0),
            Scalar::Unary(op, a) => {
                let inner = a.derivative(k);
                let a = (**a).clone();
                let outer = match op {
                    Unary::Negate => Constant(-1.0),
                    Unary::Absolute => unary(Unary::Sign, a),
                    Unary::Sign => Constant(0.0),
                    Unary::SquareRoot => {
                        // inner / (2 sqrt(a)), written so that 0 / 0 counts as 0.
                        let half = binary(Multiply, Constant(0.5), inner);
                        return binary(SafeDivide, half, self.clone());
                    }
                    Unary::Exponential => self.clone(),
                    Unary::Logarithm => binary(Divide, Constant(1.0), a),
                    Unary::Sine => unary(Unary::Cosine, a),
                    Unary::Cosine => unary(Unary::Negate, unary(Unary::Sine, a)),
                };
                binary(Multiply, outer, inner)
            }
            Scalar::Binary(op, a, b) => {
                let (da, db) = (a.derivative(k), b.derivative(k));
                let (a, b) = ((**a).clone(), (**b).clone());
                match op {
                    Add => binary(Add, da, db),
                    Subtract => binary(Subtract, da, db),
                    Multiply => binary(Add, binary(Multiply, da, b), binary(Multiply, a, db)),
                    Divide | SafeDivide => {
                        let first = binary(*op, da, b.clone());
                        let second = binary(Multiply, binary(*op, self.clone(), b), db);
                        binary(Subtract, first, second)
                    }
                    Power => {
                        let lowered = binary(Power, a.clone(), binary(Subtract, b.clone(), Constant(1.0)));
                        let first = binary(Multiply, binary(Multiply, b, lowered), da);
                        let second = if matches!(db, Constant(x) if x == 0.0) {
                            Constant(0.0)
                        } else {
                            binary(Multiply, binary(Multiply, self.clone(), unary(Unary::Logarithm, a)), db)
                        };
                        binary(Add, first, second)
                    }
                    Minimum | Maximum => {
                        let greater = binary(Greater, a.clone(), b.clone());
                        let smaller = binary(Subtract, Constant(1.0), greater.clone());
                        let (wa, wb) = if *op == Maximum { (greater, smaller) } else { (smaller, greater) };
                        binary(Add, binary(Multiply, wa, da), binary(Multiply, wb, db))
                    }
                    Greater => Constant(0.0),
                    ArcTangent => {
                        let norm = binary(Add, binary(Multiply, a.clone(), a.clone()), binary(Multiply, b.clone(), b.clone()));
                        let top = binary(Subtract, binary(Multiply, b, da), binary(Multiply, a, db));
                        binary(SafeDivide, top, norm)
                    }
                }
            }
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument(k) if *k < 26 => write!(f, "{}", (b'a' + *k as u8) as char),
            Argument(k) => write!(f, "a{k}"),
            Constant(x) => write!(f, "{x:?}"),
            Scalar::Unary(op, a) => {
                let name = UNARY.iter().find(|(_, o)| o == op).map_or("?", |(n, _)| n);
                write!(f, "{name}({a})")
            }
            Scalar::Binary(op, a, b) => {
                let name = BINARY.iter().find(|(_, o)| o == op).map_or("?", |(n, _)| n);
                write!(f, "{name}({a}, {b})")
            }
        }
    }
}

/// Parses the text `Display` prints, without simplifying; the error says what was expected where.
///
/// ```
/// # use scatterc_ir::scalar::{Binary, Scalar, Unary, binary, parse, unary};
/// assert_eq!(parse("add(a, 2.0)")?.to_string(), "add(a, 2.0)");
/// assert!(parse("add(a").is_err() && parse("tan(a)").is_err());
/// # Ok::<(), String>(())
/// ```
pub fn parse(text: &str) -> Result<Scalar, String> {
    let mut rest = text.trim();
    let value = parse_term(&mut rest, 0)?;
    if rest.trim().is_empty() { Ok(value) } else { Err(format!("unexpected `{}` after the scalar expression", rest.trim())) }
}

fn parse_term(rest: &mut &str, depth: usize) -> Result<Scalar, String> {
    if depth > 200 {
        return Err("scalar expression is nested more than 200 deep".into());
    }
    *rest = rest.trim_start();
    let end = rest.find(|c: char| matches!(c, '(' | ')' | ',') || c.is_whitespace()).unwrap_or(rest.len());
    let word = &rest[..end];
    *rest = rest[end..].trim_start();
    if rest.starts_with('(') {
        *rest = &rest[1..];
        let first = parse_term(rest, depth + 1)?;
        if let Some((_, op)) = UNARY.iter().find(|(name, _)| *name == word) {
            expect(rest, ')')?;
            return Ok(Scalar::Unary(*op, Box::new(first)));
        }
        let Some((_, op)) = BINARY.iter().find(|(name, _)| *name == word) else {
            return Err(format!("`{word}` is no scalar primitive"));
        };
        expect(rest, ',')?;
        let second = parse_term(rest, depth + 1)?;
        expect(rest, ')')?;
        return Ok(Scalar::Binary(*op, Box::new(first), Box::new(second)));
    }
    if let Ok(x) = word.parse::<f64>()
        && !word.starts_with(|c: char| c.is_ascii_alphabetic() && !matches!(word, "inf" | "NaN"))
    {
        return Ok(Constant(x));
    }
    let bytes = word.as_bytes();
    match bytes {
        [c @ b'a'..=b'z'] => Ok(Argument((c - b'a') as usize)),
        [b'a', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            word[1..].parse().ok().filter(|k| *k < 4096).map(Argument).ok_or_else(|| format!("`{word}` is no argument"))
        }
        _ => Err(format!("expected a number, an argument or a primitive, found `{word}`")),
    }
}

fn expect(rest: &mut &str, c: char) -> Result<(), String> {
    *rest = rest.trim_start();
    match rest.strip_prefix(c) {
        Some(r) => {
            *rest = r;
            Ok(())
        }
        None => Err(format!("expected `{c}` in a scalar expression, found `{}`", rest.chars().take(12).collect::<String>())),
    }
}
