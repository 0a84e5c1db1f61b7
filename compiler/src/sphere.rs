//! The sphere: directional scale-discretised wavelets on the Gauss-Legendre grid, S2SCAT's conventions.
//!
//! Scale j of a bandlimit L lives on the grid of bandlimit L_j; every scale has 2N - 1 directions. Source: S2SCAT specification, sections 1 to 7.

use crate::domain::{Domain, DomainError, Field, InputKind, Numbers};
use crate::lowering::apply;
use scatterc_ir::graph::Builder;
use scatterc_ir::types::{finest_scale, scale_bandlimit};
use scatterc_ir::{Linear, Space, Type, Value};

/// Largest bandlimit accepted.
///
/// ```
/// use scatterc_compiler::{domain::InputKind, sphere::{LARGEST_BANDLIMIT, Sphere}};
///
/// assert!(Sphere::new(LARGEST_BANDLIMIT, 1, 0, InputKind::Half).is_ok() && Sphere::new(LARGEST_BANDLIMIT + 1, 1, 0, InputKind::Half).is_err());
/// ```
pub const LARGEST_BANDLIMIT: usize = 8192;
/// Largest azimuthal bandlimit accepted.
///
/// ```
/// use scatterc_compiler::{domain::InputKind, sphere::{LARGEST_AZIMUTHAL_BANDLIMIT, Sphere}};
///
/// assert!(Sphere::new(32, LARGEST_AZIMUTHAL_BANDLIMIT, 0, InputKind::Half).is_ok());
/// assert!(Sphere::new(32, LARGEST_AZIMUTHAL_BANDLIMIT + 1, 0, InputKind::Half).is_err());
/// ```
pub const LARGEST_AZIMUTHAL_BANDLIMIT: usize = 16;

/// Sizes of the sphere.
///
/// ```
/// use scatterc_compiler::domain::{Domain, InputKind};
/// use scatterc_compiler::sphere::Sphere;
///
/// // Degrees below 16, three azimuthal frequencies, scales from 1 on; coefficients of real fields.
/// let sphere = Sphere::new(16, 3, 1, InputKind::Half)?;
/// assert_eq!((sphere.scales(), sphere.directions()), (1..=4, 5));
/// assert_eq!(sphere.input_type().len(), 2 * 16 * 16);
/// # Ok::<(), scatterc_compiler::domain::DomainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sphere {
    /// Bandlimit: 0 <= ell < L.
    pub L: usize,
    /// Azimuthal bandlimit: 2N - 1 directions.
    pub N: usize,
    /// Coarsest scale kept.
    pub J_min: usize,
    /// Layout of the inputs.
    pub input: InputKind,
}

impl Sphere {
    /// Checks the sizes: 2 <= L <= 8192, 1 <= N <= min(L, 16), J_min < J = ceil(log2 L).
    ///
    /// ```
    /// use scatterc_compiler::{domain::InputKind, sphere::Sphere};
    ///
    /// let refused = Sphere::new(8, 9, 0, InputKind::Half).unwrap_err();
    /// assert!(refused.to_string().starts_with("`directions` is 9, expected"));
    /// ```
    pub fn new(L: usize, N: usize, J_min: usize, input: InputKind) -> Result<Self, DomainError> {
        let fault = |option, found: usize, expected: String| Err(DomainError::Option { option, found: found.to_string(), expected });
        if !(2..=LARGEST_BANDLIMIT).contains(&L) {
            return fault("bandlimit", L, format!("from 2 to {LARGEST_BANDLIMIT} (L = 1 holds only the mean: no wavelet scale fits)"));
        }
        if N == 0 || N > L || N > LARGEST_AZIMUTHAL_BANDLIMIT {
            return fault(
                "directions",
                N,
                format!("N from 1 to {} (N <= L and N <= {LARGEST_AZIMUTHAL_BANDLIMIT})", L.min(LARGEST_AZIMUTHAL_BANDLIMIT)),
            );
        }
        let J = finest_scale(L);
        if J_min >= J {
            return fault("min-scale", J_min, format!("below the finest scale J = ceil(log2 L) = {J}"));
        }
        Ok(Sphere { L, N, J_min, input })
    }

    /// Finest scale.
    ///
    /// ```
    /// use scatterc_compiler::{domain::InputKind, sphere::Sphere};
    ///
    /// // ceil(log2 L).
    /// assert_eq!((Sphere::new(16, 1, 0, InputKind::Half)?.J(), Sphere::new(17, 1, 0, InputKind::Half)?.J()), (4, 5));
    /// # Ok::<(), scatterc_compiler::domain::DomainError>(())
    /// ```
    pub fn J(&self) -> usize {
        finest_scale(self.L)
    }

    /// Coefficients of one real part, whatever holds it.
    fn coefficients(&self, b: &mut Builder, value: Value) -> Result<Value, DomainError> {
        match b.ty(value).space {
            Space::Coefficients { .. } => Ok(value),
            Space::Map { L } => {
                let rings = b.linear(Linear::RingForward { L, M: L }, value)?;
                Ok(b.linear(Linear::HarmonicForward { L, M: L, L_out: L }, rings)?)
            }
            space => Err(DomainError::Unsupported(format!("a value on {space} has no harmonic coefficients"))),
        }
    }

    /// Applies `f` to the real part and, if there is one, to the imaginary part.
    fn parts(&self, field: &Field, mut f: impl FnMut(Value) -> Result<Value, DomainError>, labels: Vec<String>) -> Result<Field, DomainError> {
        Ok(Field { re: f(field.re)?, im: field.im.map(&mut f).transpose()?, labels, raw: None })
    }
}

fn bandlimit_of(b: &Builder, coefficients: Value) -> usize {
    match b.ty(coefficients).space {
        Space::Coefficients { L } => L,
        _ => 0,
    }
}

impl Domain for Sphere {
    fn describe(&self) -> String {
        let input = match self.input {
            InputKind::Half => "half",
            InputKind::Full => "full",
            InputKind::Grid => "grid",
        };
        format!("sphere L={} N={} J_min={} input={input}", self.L, self.N, self.J_min)
    }

    fn scales(&self) -> std::ops::RangeInclusive<usize> {
        self.J_min..=self.J()
    }

    fn directions(&self) -> usize {
        2 * self.N - 1
    }

    /// The finest scale is the largest.
    fn index_function(&self, function: &str, scale: usize) -> Option<i64> {
        let value = match function {
            "depth" => (self.J().checked_sub(scale)?) as i64,
            "layer" => 1,
            _ => scale as i64,
        };
        self.scales().contains(&scale).then_some(value)
    }

    fn measure(&self) -> f64 {
        4.0 * std::f64::consts::PI
    }

    fn input_type(&self) -> Type {
        let L = self.L;
        Type::new(
            [],
            match self.input {
                InputKind::Half => Space::Half { L },
                InputKind::Full => Space::Full { L },
                InputKind::Grid => Space::Grid { L },
            },
        )
    }

    fn field(&self, b: &mut Builder, input: Value) -> Result<Field, DomainError> {
        let L = self.L;
        let (re, im) = match b.ty(input).space {
            Space::Half { .. } => (b.linear(Linear::HermitianPack { L }, input)?, None),
            Space::Full { .. } => (b.linear(Linear::FullReal { L }, input)?, Some(b.linear(Linear::FullImaginary { L }, input)?)),
            _ => (b.linear(Linear::GridToMap { L }, input)?, None),
        };
        Ok(Field { re, im, labels: vec![], raw: Some(input) })
    }

    fn samples(&self, b: &mut Builder, field: &Field) -> Result<Field, DomainError> {
        if matches!(b.ty(field.re).space, Space::Map { .. }) {
            return Ok(field.clone());
        }
        let convert = |value: Value| {
            let coefficients = self.coefficients(b, value)?;
            let L = bandlimit_of(b, coefficients);
            let rings = b.linear(Linear::HarmonicInverse { L_in: L, L }, coefficients)?;
            Ok(b.linear(Linear::RingInverse { L, M: L }, rings)?)
        };
        self.parts(field, convert, field.labels.clone())
    }

    fn wavelet(&self, b: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError> {
        let (L, N) = (self.L, self.N);
        let L_j = scale_bandlimit(L, scale);
        let convert = |value: Value| {
            let coefficients = self.coefficients(b, value)?;
            let L_in = bandlimit_of(b, coefficients);
            // The directional wavelets are real functions, so N real channels hold all 2N - 1 directions of a real field.
            let rings = b.linear(Linear::WignerInverse { L_in, L, N, j: scale }, coefficients)?;
            let channels = b.linear(Linear::RingInverse { L: L_j, M: L_j }, rings)?;
            Ok(b.linear(Linear::Steer { N }, channels)?)
        };
        let labels = field.labels.iter().cloned().chain([label.to_string()]).collect();
        self.parts(field, convert, labels)
    }

    fn lowpass(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError> {
        let L_j = scale_bandlimit(self.L, scale);
        let convert = |value: Value| {
            let coefficients = self.coefficients(b, value)?;
            let L_in = bandlimit_of(b, coefficients);
            let rings = b.linear(Linear::ScalingInverse { L_in, L: self.L, j: scale }, coefficients)?;
            Ok(b.linear(Linear::RingInverse { L: L_j, M: L_j }, rings)?)
        };
        self.parts(field, convert, field.labels.clone())
    }

    fn mean(&self, b: &mut Builder, field: &Field) -> Result<Numbers, DomainError> {
        if let Space::Map { L } = b.ty(field.re).space {
            let mean = Linear::Mean { L };
            return Ok(Numbers { re: b.linear(mean.clone(), field.re)?, im: field.im.map(|v| b.linear(mean, v)).transpose()? });
        }
        let mut part = |value: Value, k: i64| -> Result<Value, DomainError> {
            let L = bandlimit_of(b, value);
            let both = b.linear(Linear::CoefficientMean { L }, value)?;
            Ok(b.linear(Linear::Reindex { from: vec![2], to: vec![], map: vec![vec![k]] }, both)?)
        };
        let re = part(field.re, 0)?;
        // A real input may carry an imaginary f_00, which S2SCAT's |f_00| counts.
        let im = match field.im {
            Some(value) => Some(part(value, 0)?),
            None if field.raw.is_some() => Some(part(field.re, 1)?),
            None => None,
        };
        Ok(Numbers { re, im })
    }

    fn power(&self, b: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError> {
        let skip_mean = usize::from(centred);
        if let Some(raw) = field.raw {
            let map = match b.ty(raw).space {
                Space::Half { L } => Some(Linear::HalfPower { L, skip_mean }),
                Space::Full { L } => Some(Linear::FullPower { L, skip_mean }),
                _ => None,
            };
            if let Some(map) = map {
                let squares = apply(b, "square", &[raw])?;
                return Ok(b.linear(map, squares)?);
            }
        }
        let mut total: Option<Value> = None;
        for value in [Some(field.re), field.im].into_iter().flatten() {
            let squares = apply(b, "square", &[value])?;
            let part = match b.ty(value).space {
                Space::Coefficients { L } => b.linear(Linear::CoefficientPower { L, skip_mean }, squares)?,
                Space::Map { L } => {
                    let mean = Linear::Mean { L };
                    let second = b.linear(mean.clone(), squares)?;
                    if centred {
                        let first = b.linear(mean, value)?;
                        let first = apply(b, "square", &[first])?;
                        apply(b, "sub", &[second, first])?
                    } else {
                        second
                    }
                }
                space => return Err(DomainError::Unsupported(format!("no power is defined on {space}"))),
            };
            total = Some(match total {
                Some(sum) => apply(b, "add", &[sum, part])?,
                None => part,
            });
        }
        total.ok_or_else(|| DomainError::Unsupported("a field without parts".into()))
    }

    fn spread(&self, b: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError> {
        match like {
            Space::Map { L } => Ok(b.linear(Linear::Spread { L }, number)?),
            space => Err(DomainError::Unsupported(format!("numbers combine with samples, not with values on {space}"))),
        }
    }
}
