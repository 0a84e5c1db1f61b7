//! What a domain supplies: its filter banks as linear maps, its averages, its lowering of `wavelet`, `lowpass`, `mean`. Nothing else in the compiler knows which domain it compiles.

use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::{Space, Type, Value};

/// A field on the domain, at bind time: one or two real values and the names of their axes.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
/// # use scatterc_compiler::sphere::Sphere;
/// # use scatterc_ir::{Builder, Space, Type};
/// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
/// # let mut builder = Builder::new("example");
/// # let input = builder.input("x", sphere.input_type())?;
/// # let field = sphere.field(&mut builder, input)?;
/// // Two directions axes of maps, of scales 3 and 1.
/// let one = sphere.wavelet(&mut builder, &field, 3, "g")?;
/// let two = sphere.wavelet(&mut builder, &one, 1, "h")?;
/// assert_eq!((two.labels.join(" "), builder.ty(two.re)), ("g h".into(), &Type::new([3, 3], Space::Map { L: 4 })));
/// # Ok::<(), DomainError>(())
/// ```
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
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
/// # use scatterc_compiler::sphere::Sphere;
/// # use scatterc_ir::{Builder, Space, Type};
/// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
/// # let mut builder = Builder::new("example");
/// # let input = builder.input("x", sphere.input_type())?;
/// # let field = sphere.field(&mut builder, input)?;
/// let wavelet = sphere.wavelet(&mut builder, &field, 3, "g")?;
/// let Numbers { re, im } = sphere.mean(&mut builder, &wavelet)?;
/// assert_eq!((builder.ty(re), im), (&Type::new([3], Space::Point), None));
/// # Ok::<(), DomainError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Real part.
    pub re: Value,
    /// Imaginary part.
    pub im: Option<Value>,
}

/// A statistic that does not fit its domain.
///
/// ```
/// use scatterc_compiler::{domain::{DomainError, InputKind}, sphere::Sphere};
///
/// let refused = Sphere::new(8, 2, 3, InputKind::Half).unwrap_err();
/// assert!(matches!(&refused, DomainError::Option { option: "min-scale", .. }));
/// ```
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
///
/// ```
/// use scatterc_compiler::{domain::{Domain, InputKind}, sphere::Sphere};
///
/// let of = |kind| Sphere::new(4, 1, 0, kind).map(|sphere| sphere.input_type().to_string());
/// assert_eq!(of(InputKind::Half)?, "[] half(4)");
/// assert_eq!((of(InputKind::Full)?, of(InputKind::Grid)?), ("[] full(4)".into(), "[] grid(4)".into()));
/// # Ok::<(), scatterc_compiler::domain::DomainError>(())
/// ```
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
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
/// # use scatterc_compiler::sphere::Sphere;
/// # use scatterc_ir::{Builder, Space, Type};
/// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
/// let domain: &dyn Domain = &sphere;
/// assert_eq!((domain.describe().as_str(), domain.scales(), domain.directions()), ("sphere L=8 N=2 J_min=0 input=half", 0..=3, 3));
/// # Ok::<(), DomainError>(())
/// ```
pub trait Domain: std::fmt::Debug {
    /// One line that names the domain and all its sizes; part of cache keys and plan notes.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.describe(), "sphere L=8 N=2 J_min=0 input=half");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn describe(&self) -> String;
    /// Scales, first to last.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.scales(), 0..=3);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn scales(&self) -> std::ops::RangeInclusive<usize>;
    /// Number of directions of every scale.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.directions(), 2 * 2 - 1);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn directions(&self) -> usize;
    /// Total measure of the domain: `integral(f) = measure * mean(f)`.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.measure(), 4.0 * std::f64::consts::PI);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn measure(&self) -> f64;
    /// Type of an input.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.input_type(), Type::new([], Space::Half { L: 8 }));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn input_type(&self) -> Type;
    /// Leading axes of every number, after that of a batch: masks, then the components that fields have as well.
    ///
    /// ```
    /// use scatterc_compiler::{domain::Domain, healpix::Healpix};
    ///
    /// // Two masks: two of every number.
    /// assert_eq!(Healpix::new(4, 2, 3)?.masks(2, None)?.number_axes(), [2]);
    /// # Ok::<(), scatterc_compiler::domain::DomainError>(())
    /// ```
    fn number_axes(&self) -> Vec<usize> {
        self.input_type().axes
    }
    /// The field that an input value is.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert_eq!((builder.ty(field.re), field.im), (&Type::new([], Space::Coefficients { L: 8 }), None));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn field(&self, builder: &mut Builder, input: Value) -> Result<Field, DomainError>;
    /// The field as samples, on which pointwise functions act.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let samples = sphere.samples(&mut builder, &field)?;
    /// assert_eq!(builder.ty(samples.re), &Type::new([], Space::Map { L: 8 }));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn samples(&self, builder: &mut Builder, field: &Field) -> Result<Field, DomainError>;
    /// Samples of the field filtered at one scale; a direction axis, named `label`, is appended.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// // Scale 1 lives on the grid of bandlimit 4.
    /// let wavelet = sphere.wavelet(&mut builder, &field, 1, "g")?;
    /// assert_eq!((builder.ty(wavelet.re), wavelet.labels), (&Type::new([3], Space::Map { L: 4 }), vec!["g".to_string()]));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn wavelet(&self, builder: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError>;
    /// Samples of the low-passed field.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let smooth = sphere.lowpass(&mut builder, &field, 1)?;
    /// assert_eq!(builder.ty(smooth.re), &Type::new([], Space::Map { L: 4 }));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn lowpass(&self, builder: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError>;
    /// Average over the domain.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let mean = sphere.mean(&mut builder, &field)?;
    /// assert_eq!(builder.ty(mean.re), &Type::number());
    /// # Ok::<(), DomainError>(())
    /// ```
    fn mean(&self, builder: &mut Builder, field: &Field) -> Result<Numbers, DomainError>;
    /// Average of |f|^2, or of |f - mean f|^2 when `centred`.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let (power, variance) = (sphere.power(&mut builder, &field, false)?, sphere.power(&mut builder, &field, true)?);
    /// assert_eq!((builder.ty(power), builder.ty(variance)), (&Type::number(), &Type::number()));
    /// # Ok::<(), DomainError>(())
    /// ```
    fn power(&self, builder: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError>;
    /// Samples of a field with a direction axis, position `axis` among its labels, each filtered by the wavelet of its own direction; `None` where the domain has no short way.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// // The sphere has no short way.
    /// let wavelet = sphere.wavelet(&mut builder, &field, 3, "g")?;
    /// assert_eq!(sphere.wavelet_along(&mut builder, &wavelet, 1, 0)?, None);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn wavelet_along(&self, _builder: &mut Builder, _field: &Field, _scale: usize, _axis: usize) -> Result<Option<Field>, DomainError> {
        Ok(None)
    }
    /// A field built by one of the functions `band`, `cut`, `decimate`, `fourier`, `pad`, `unpad`.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert!(sphere.build(&mut builder, "pad", &field, None).is_err(), "the sphere has no edges");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn build(&self, _builder: &mut Builder, function: &str, _field: &Field, _scale: Option<usize>) -> Result<Field, DomainError> {
        Err(missing(function, &self.describe()))
    }
    /// Samples of a field read 2^scale samples further (where they are for scale 0), along the angle of its own direction, position `axis` among its labels, less that of a
    /// new direction axis, named `label`.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let wavelet = sphere.wavelet(&mut builder, &field, 3, "g")?;
    /// assert!(sphere.shift(&mut builder, &wavelet, 1, 0, "t").is_err(), "only images are shifted");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn shift(&self, _builder: &mut Builder, _field: &Field, _scale: usize, _axis: usize, _label: &str) -> Result<Field, DomainError> {
        Err(missing("shift", &self.describe()))
    }
    /// Average over what the edges of the domain leave of a field at a scale; all of it where there are no edges.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// // Without edges it is the mean.
    /// assert_eq!(sphere.windowed_mean(&mut builder, &field, 1)?, sphere.mean(&mut builder, &field)?);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn windowed_mean(&self, builder: &mut Builder, field: &Field, _scale: usize) -> Result<Numbers, DomainError> {
        self.mean(builder, field)
    }
    /// Geometric median: the number y with the smallest weighted sum of |f - y|, from the mean by at most `steps` steps of Weiszfeld's iteration, which end when no entry of y moves further
    /// than `tolerance`. Samples count where their weight is positive.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert!(sphere.median(&mut builder, &field, 100, 1e-6).is_err(), "pixels and images have medians");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn median(&self, _builder: &mut Builder, _field: &Field, _steps: usize, _tolerance: f64) -> Result<Numbers, DomainError> {
        Err(missing("median", &self.describe()))
    }
    /// Number of samples that [`Self::windowed_mean`] counts.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert_eq!(sphere.windowed_size(&builder, &field, 1), 8 * 15);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn windowed_size(&self, builder: &Builder, field: &Field, _scale: usize) -> usize {
        self.size(builder, field)
    }
    /// Sum of the weights that [`Self::windowed_mean`] gives samples, per element of the axes, where they are given at run time.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert_eq!(sphere.windowed_weight(&mut builder, &field, 1)?, None, "no mask");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn windowed_weight(&self, builder: &mut Builder, field: &Field, _scale: usize) -> Result<Option<Value>, DomainError> {
        self.weight(builder, field)
    }
    /// Parameters that the domain itself asks for at run time, such as a mask.
    ///
    /// ```
    /// use scatterc_compiler::{domain::Domain, healpix::Healpix};
    ///
    /// let healpix = Healpix::new(4, 2, 3)?;
    /// assert_eq!((healpix.parameters().len(), healpix.mask(None).parameters()), (0, vec!["mask".to_string()]));
    /// # Ok::<(), scatterc_compiler::domain::DomainError>(())
    /// ```
    fn parameters(&self) -> Vec<String> {
        vec![]
    }
    /// Sum of the weights of a field's samples, per element of its axes, where they are given at run time; `size` is then this sum.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// assert_eq!(sphere.weight(&mut builder, &field)?, None, "no mask");
    /// # Ok::<(), DomainError>(())
    /// ```
    fn weight(&self, _builder: &mut Builder, _field: &Field) -> Result<Option<Value>, DomainError> {
        Ok(None)
    }
    /// Number of samples of a field.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// // L rings of 2 L - 1 samples.
    /// assert_eq!(sphere.size(&builder, &field), 8 * 15);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn size(&self, builder: &Builder, field: &Field) -> usize {
        match builder.ty(field.re).space {
            Space::Half { L } | Space::Full { L } | Space::Coefficients { L } | Space::Rings { L, .. } => L * (2 * L - 1),
            Space::Spectrum { H, W } | Space::RealSpectrum { H, W } => H * W,
            space => space.len(),
        }
    }
    /// Value of a function of a scale index in conditions; `None` for scales that do not exist.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// // `depth` counts octaves from the finest scale.
    /// assert_eq!((sphere.index_function("octave", 2), sphere.index_function("depth", 2)), (Some(2), Some(1)));
    /// assert_eq!(sphere.index_function("octave", 9), None);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn index_function(&self, function: &str, scale: usize) -> Option<i64> {
        let value = if function == "layer" { 1 } else { scale as i64 };
        self.scales().contains(&scale).then_some(value)
    }
    /// The scale that `lowpass(f)` smooths at.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// assert_eq!(sphere.coarsest(), 0);
    /// # Ok::<(), DomainError>(())
    /// ```
    fn coarsest(&self) -> usize {
        *self.scales().start()
    }
    /// A number per axis element, as samples of the same space as `like`.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError, Field, InputKind, Numbers};
    /// # use scatterc_compiler::sphere::Sphere;
    /// # use scatterc_ir::{Builder, Space, Type};
    /// # let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    /// # let mut builder = Builder::new("example");
    /// # let input = builder.input("x", sphere.input_type())?;
    /// # let field = sphere.field(&mut builder, input)?;
    /// let mean = sphere.mean(&mut builder, &field)?;
    /// let everywhere = sphere.spread(&mut builder, mean.re, Space::Map { L: 8 })?;
    /// assert_eq!(builder.ty(everywhere).space, Space::Map { L: 8 });
    /// # Ok::<(), DomainError>(())
    /// ```
    fn spread(&self, builder: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError>;
}
