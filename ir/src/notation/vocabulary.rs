//! The functions that a program may call, as tables.

/// What one argument of a function must be.
///
/// ```
/// use scatterc_ir::notation::{Argument, Vocabulary};
///
/// let wavelet = *Vocabulary::standard().function("wavelet").unwrap();
/// assert_eq!([0, 1, 2].map(|k| wavelet.signature.argument(k)), [Argument::Field, Argument::Scale, Argument::Direction]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Something that lives on the domain.
    Field,
    /// A field or a number.
    Value,
    /// A scale index, like `j` or `j + 1`.
    Scale,
    /// A direction index, like `g` or `g + d`.
    Direction,
}

/// What a function takes and gives.
///
/// ```
/// use scatterc_ir::notation::{Signature, Vocabulary};
///
/// let vocabulary = Vocabulary::standard();
/// let signature = |name| vocabulary.function(name).map(|function| function.signature);
/// assert_eq!((signature("abs"), signature("cov")), (Some(Signature::Pointwise), Some(Signature::DomainAverage)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// A field, then a scale, then directions; gives a field.
    FieldBuilder,
    /// Fields; gives a number.
    DomainAverage,
    /// A field, and possibly the scale whose window weighs it; gives a number.
    WindowedAverage,
    /// A field, then numbers known when the statistic is bound; gives a number.
    IteratedAverage,
    /// Fields or numbers, sample by sample; gives a field when any argument is one.
    Pointwise,
}

impl Signature {
    /// What the argument at `place` (from 0) must be.
    ///
    /// ```
    /// use scatterc_ir::notation::{Argument, Signature};
    ///
    /// assert_eq!(Signature::WindowedAverage.argument(1), Argument::Scale);
    /// ```
    pub fn argument(self, place: usize) -> Argument {
        match (self, place) {
            (Signature::FieldBuilder | Signature::WindowedAverage, 1) => Argument::Scale,
            (Signature::FieldBuilder, 2 | 3) => Argument::Direction,
            (Signature::IteratedAverage, 1..) | (Signature::Pointwise, _) => Argument::Value,
            (Signature::FieldBuilder | Signature::DomainAverage | Signature::WindowedAverage | Signature::IteratedAverage, _) => Argument::Field,
        }
    }
}

/// One row of the vocabulary.
///
/// ```
/// use scatterc_ir::notation::Vocabulary;
///
/// let lowpass = *Vocabulary::standard().function("lowpass").unwrap();
/// assert_eq!((lowpass.minimum_arity, lowpass.maximum_arity), (1, 2));
/// assert!(lowpass.documentation.starts_with("lowpass(f), lowpass(f, j): "));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its spelling.
    pub name: &'static str,
    /// Fewest arguments.
    pub minimum_arity: usize,
    /// Most arguments.
    pub maximum_arity: usize,
    /// What it takes and gives.
    pub signature: Signature,
    /// One line of documentation.
    pub documentation: &'static str,
}

/// A reduction over indices, `name{g, h}(..)`.
///
/// ```
/// use scatterc_ir::notation::REDUCTIONS;
///
/// assert_eq!(REDUCTIONS[0].name, "sum");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// Its spelling.
    pub name: &'static str,
    /// One line of documentation.
    pub documentation: &'static str,
}

/// The reductions over indices, `sum{g}(..)`; in a loss the same names reduce over the entries of an array, `sum(a)`.
///
/// ```
/// use scatterc_ir::notation::REDUCTIONS;
///
/// assert_eq!(REDUCTIONS.iter().map(|r| r.name).collect::<Vec<_>>(), ["sum", "mean", "min", "max"]);
/// ```
pub const REDUCTIONS: &[Reduction] = &[
    Reduction { name: "sum", documentation: "sum over the index tuples that exist" },
    Reduction { name: "mean", documentation: "sum over the index tuples that exist, divided by their number" },
    Reduction { name: "min", documentation: "smallest over the index tuples that exist" },
    Reduction { name: "max", documentation: "largest over the index tuples that exist" },
];

/// Functions that build fields from fields.
const FIELD_BUILDERS: &[(&str, usize, usize, &str)] = &[
    ("wavelet", 3, 3, "wavelet(f, j, g): f filtered by the wavelet of scale j and direction g"),
    ("lowpass", 1, 2, "lowpass(f), lowpass(f, j): f smoothed at the domain's coarsest scale, or at scale j"),
    ("band", 2, 2, "band(f, j): f on the coarse grid of scale j, from its lowest frequencies"),
    ("cut", 2, 2, "cut(f, j): what the edges leave of a field on the coarse grid of scale j"),
    ("decimate", 1, 2, "decimate(f), decimate(f, j): samples of f at every 2^J-th point, or at the spacing of scale j"),
    ("fourier", 1, 1, "fourier(f): the discrete Fourier transform of f, without a factor, as a complex field over its frequencies"),
    ("pad", 1, 1, "pad(f): f continued beyond its edges, as the domain's boundary says"),
    (
        "shift",
        4,
        4,
        "shift(f, n, a, t): f with an axis of directions t, read 2^n samples further (where it is for n = 0) along the angle of t less that of a",
    ),
    ("unpad", 1, 1, "unpad(f): the part of a padded field that belongs to the input"),
];

/// Averages over the domain, weighted by quadrature and mask, that may be restricted to the window of a scale.
const WINDOWED_AVERAGES: &[(&str, &str)] = &[
    ("mean", "mean(f), mean(f, j): average of f over the domain, or over what the edges leave of it at scale j"),
    ("size", "size(f), size(f, j): number of samples of f, or of those that mean(f, j) counts; the sum of their weights where a mask is given"),
];

/// Averages over the domain that are found step by step: name, most arguments, documentation.
const ITERATED_AVERAGES: &[(&str, usize, &str)] =
    &[("median", 3, "median(f), median(f, n, t): geometric median of f, by at most n steps (100) until no entry moves further than t (1e-6)")];

/// Averages over the domain, weighted by quadrature and mask.
const DOMAIN_AVERAGES: &[(&str, usize, &str)] = &[
    ("cov", 2, "cov(a, b): mean(a conj(b)) - mean(a) conj(mean(b))"),
    ("var", 1, "var(f): mean(|f - mean(f)|^2)"),
    ("power", 1, "power(f): mean(|f|^2)"),
    ("integral", 1, "integral(f): sum of f times the domain's quadrature weights, not divided by their sum"),
];

/// Pointwise functions of the standard vocabulary: name, number of arguments, documentation.
///
/// ```
/// use scatterc_ir::notation::POINTWISE;
///
/// assert!(POINTWISE.iter().any(|(name, arity, _)| (*name, *arity) == ("harmonic", 2)));
/// ```
pub const POINTWISE: &[(&str, usize, &str)] = &[
    ("abs", 1, "abs(z): modulus, with derivative 0 at z = 0"),
    ("re", 1, "re(z): real part"),
    ("im", 1, "im(z): imaginary part"),
    ("conj", 1, "conj(z): complex conjugate"),
    ("complex", 2, "complex(a, b): a + i b"),
    ("arg", 1, "arg(z): phase in radians, -pi < arg <= pi"),
    ("log", 1, "log(a): natural logarithm"),
    ("sqrt", 1, "sqrt(a): square root"),
    ("exp", 1, "exp(z): exponential"),
    ("sign", 1, "sign(a): -1, 0 or 1"),
    ("sin", 1, "sin(a): sine, a in radians"),
    ("cos", 1, "cos(a): cosine, a in radians"),
    ("min", 2, "min(a, b): smaller of two"),
    ("max", 2, "max(a, b): larger of two"),
    ("square", 1, "square(z): z^2"),
    ("relu", 1, "relu(a): max(a, 0)"),
    ("harmonic", 2, "harmonic(z, k): phase harmonic |z| exp(i k arg(z))"),
];

/// Functions of a scale index that conditions may compare, `octave(n) < octave(m)`: name, documentation.
///
/// ```
/// use scatterc_ir::notation::INDEX_FUNCTIONS;
///
/// assert_eq!(INDEX_FUNCTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["octave", "depth", "layer"]);
/// ```
pub const INDEX_FUNCTIONS: &[(&str, &str)] = &[
    ("octave", "octave(n): the octave of a wavelet; the scale itself where every scale is one octave"),
    ("depth", "depth(n): how coarse a scale is, in octaves from the finest; grows towards coarse scales on every domain"),
    ("layer", "layer(n): the layer of a cascade for which a wavelet is made, from 1"),
];

/// The callable functions, in the order of their documentation.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check, parse};
///
/// // A function that the standard vocabulary does not have.
/// let program = parse("statistic s(x) { m = mean(cube(x)); return m; }", "s.scat")?;
/// assert!(check(&program, &Vocabulary::standard()).is_err());
/// assert!(check(&program, &Vocabulary::new(&[("cube", 1, "cube(a): a^3")])).is_ok());
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The rows.
    pub functions: Vec<Function>,
}

impl Vocabulary {
    /// Field builders and domain averages of the notation, and the given pointwise functions (name, number of arguments, documentation).
    ///
    /// ```
    /// use scatterc_ir::notation::Vocabulary;
    ///
    /// let vocabulary = Vocabulary::new(&[("cube", 1, "cube(a): a^3")]);
    /// assert!(vocabulary.function("cube").is_some() && vocabulary.function("wavelet").is_some() && vocabulary.function("abs").is_none());
    /// ```
    pub fn new(pointwise: &[(&'static str, usize, &'static str)]) -> Vocabulary {
        let builders = FIELD_BUILDERS.iter().map(|&(name, minimum_arity, maximum_arity, documentation)| Function {
            name,
            minimum_arity,
            maximum_arity,
            signature: Signature::FieldBuilder,
            documentation,
        });
        let averages = DOMAIN_AVERAGES.iter().map(|row| (row, Signature::DomainAverage));
        let pointwise = pointwise.iter().map(|row| (row, Signature::Pointwise));
        let rest = averages.chain(pointwise).map(|(&(name, arity, documentation), signature)| Function {
            name,
            minimum_arity: arity,
            maximum_arity: arity,
            signature,
            documentation,
        });
        let windowed = WINDOWED_AVERAGES.iter().map(|&(name, documentation)| Function {
            name,
            minimum_arity: 1,
            maximum_arity: 2,
            signature: Signature::WindowedAverage,
            documentation,
        });
        let iterated = ITERATED_AVERAGES.iter().map(|&(name, maximum_arity, documentation)| Function {
            name,
            minimum_arity: 1,
            maximum_arity,
            signature: Signature::IteratedAverage,
            documentation,
        });
        Vocabulary { functions: builders.chain(windowed).chain(iterated).chain(rest).collect() }
    }

    /// The vocabulary with the pointwise functions of [`POINTWISE`].
    ///
    /// ```
    /// use scatterc_ir::notation::{POINTWISE, Vocabulary};
    ///
    /// assert!(POINTWISE.iter().all(|(name, ..)| Vocabulary::standard().function(name).is_some()));
    /// ```
    pub fn standard() -> Vocabulary {
        Vocabulary::new(POINTWISE)
    }

    /// The function of that name.
    ///
    /// ```
    /// use scatterc_ir::notation::Vocabulary;
    ///
    /// assert_eq!(Vocabulary::standard().function("cov").map(|f| f.documentation), Some("cov(a, b): mean(a conj(b)) - mean(a) conj(mean(b))"));
    /// ```
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}
