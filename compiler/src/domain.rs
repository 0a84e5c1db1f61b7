//! What a domain supplies: its filter banks as linear maps, its averages, its lowering of `wavelet`, `lowpass`, `mean`. Nothing else in the compiler knows which domain it compiles.

use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::{Space, Type, Value};

/// A field on the domain, at bind time: one or two real values and the names of their axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Real part.
    pub re: Value,
    /// Imaginary part; absent for a real field.
    pub im: Option<Value>,
    /// Names of the direction axes, in the order of the value's axes (a leading batch axis has no name).
    pub labels: Vec<String>,
    /// The input the field is, in the user's layout, when it is one: averages of an input count all its entries.
    pub raw: Option<Value>,
}

/// A number per axis element, complex as a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Real part.
    pub re: Value,
    /// Imaginary part.
    pub im: Option<Value>,
}

/// A statistic that does not fit its domain.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// An option outside its range.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Something the domain cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// A node that does not type; a fault of the lowering.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// What a domain says of a function that it does not have: where it exists.
pub(crate) fn missing(function: &str, domain: &str) -> DomainError {
    let exists = match function {
        "median" => "on HEALPix pixels",
        "band" => "on HEALPix pixels, the plane and the line",
        "shift" | "cut" => "on the plane",
        _ => "on the plane and the line with filters of frequencies",
    };
    DomainError::Unsupported(format!("`{function}` is not available on {domain}; it is {exists}"))
}

/// How the caller stores the input field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Coefficients m >= 0 of a real field, `[L, L]` complex.
    Half,
    /// Coefficients of a complex field, `[L, 2L-1]` complex.
    Full,
    /// Samples of a real field on the domain's own grid.
    Grid,
}

/// A domain bound to its sizes.
pub trait Domain: std::fmt::Debug {
    /// One line that names the domain and all its sizes; part of cache keys and plan notes.
    fn describe(&self) -> String;
    /// Scales, first to last.
    fn scales(&self) -> std::ops::RangeInclusive<usize>;
    /// Number of directions of every scale.
    fn directions(&self) -> usize;
    /// Total measure of the domain: `integral(f) = measure * mean(f)`.
    fn measure(&self) -> f64;
    /// Type of an input.
    fn input_type(&self) -> Type;
    /// Leading axes of every number, after that of a batch: masks, then the components that fields have as well.
    fn number_axes(&self) -> Vec<usize> {
        self.input_type().axes
    }
    /// The field that an input value is.
    fn field(&self, builder: &mut Builder, input: Value) -> Result<Field, DomainError>;
    /// The field as samples, on which pointwise functions act.
    fn samples(&self, builder: &mut Builder, field: &Field) -> Result<Field, DomainError>;
    /// Samples of the field filtered at one scale; a direction axis, named `label`, is appended.
    fn wavelet(&self, builder: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError>;
    /// Samples of the low-passed field.
    fn lowpass(&self, builder: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError>;
    /// Average over the domain.
    fn mean(&self, builder: &mut Builder, field: &Field) -> Result<Numbers, DomainError>;
    /// Average of |f|^2, or of |f - mean f|^2 when `centred`.
    fn power(&self, builder: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError>;
    /// Samples of a field with a direction axis, position `axis` among its labels, each filtered by the wavelet of its own direction; `None` where the domain has no short way.
    fn wavelet_along(&self, _builder: &mut Builder, _field: &Field, _scale: usize, _axis: usize) -> Result<Option<Field>, DomainError> {
        Ok(None)
    }
    /// A field built by one of the functions `band`, `cut`, `decimate`, `fourier`, `pad`, `unpad`.
    fn build(&self, _builder: &mut Builder, function: &str, _field: &Field, _scale: Option<usize>) -> Result<Field, DomainError> {
        Err(missing(function, &self.describe()))
    }
    /// Samples of a field read 2^scale samples further (where they are for scale 0), along the angle of its own direction, position `axis` among its labels, less that of a
    /// new direction axis, named `label`.
    fn shift(&self, _builder: &mut Builder, _field: &Field, _scale: usize, _axis: usize, _label: &str) -> Result<Field, DomainError> {
        Err(missing("shift", &self.describe()))
    }
    /// Average over what the edges of the domain leave of a field at a scale; all of it where there are no edges.
    fn windowed_mean(&self, builder: &mut Builder, field: &Field, _scale: usize) -> Result<Numbers, DomainError> {
        self.mean(builder, field)
    }
    /// Geometric median: the number y with the smallest weighted sum of |f - y|, from the mean by at most `steps` steps of Weiszfeld's iteration, which end when no entry of y moves further
    /// than `tolerance`. Samples count where their weight is positive.
    fn median(&self, _builder: &mut Builder, _field: &Field, _steps: usize, _tolerance: f64) -> Result<Numbers, DomainError> {
        Err(missing("median", &self.describe()))
    }
    /// Number of samples that [`Self::windowed_mean`] counts.
    fn windowed_size(&self, builder: &Builder, field: &Field, _scale: usize) -> usize {
        self.size(builder, field)
    }
    /// Sum of the weights that [`Self::windowed_mean`] gives samples, per element of the axes, where they are given at run time.
    fn windowed_weight(&self, builder: &mut Builder, field: &Field, _scale: usize) -> Result<Option<Value>, DomainError> {
        self.weight(builder, field)
    }
    /// Parameters that the domain itself asks for at run time, such as a mask.
    fn parameters(&self) -> Vec<String> {
        vec![]
    }
    /// Sum of the weights of a field's samples, per element of its axes, where they are given at run time; `size` is then this sum.
    fn weight(&self, _builder: &mut Builder, _field: &Field) -> Result<Option<Value>, DomainError> {
        Ok(None)
    }
    /// Number of samples of a field.
    fn size(&self, builder: &Builder, field: &Field) -> usize {
        match builder.ty(field.re).space {
            Space::Half { L } | Space::Full { L } | Space::Coefficients { L } | Space::Rings { L, .. } => L * (2 * L - 1),
            Space::Spectrum { H, W } | Space::RealSpectrum { H, W } => H * W,
            space => space.len(),
        }
    }
    /// Value of a function of a scale index in conditions; `None` for scales that do not exist.
    fn index_function(&self, function: &str, scale: usize) -> Option<i64> {
        let value = if function == "layer" { 1 } else { scale as i64 };
        self.scales().contains(&scale).then_some(value)
    }
    /// The scale that `lowpass(f)` smooths at.
    fn coarsest(&self) -> usize {
        *self.scales().start()
    }
    /// A number per axis element, as samples of the same space as `like`.
    fn spread(&self, builder: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError>;
}
