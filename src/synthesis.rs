//! Synthesis: new fields with the statistics of a target, by descent on harmonic coefficients. The analogue of S2SCAT's `build_generator`.
//!
//! ```text
//! target -> norms P = S2(target) -> targets T = statistics(target; P) -> one plan: value and gradient of the loss for K fields
//! noise(seed, member) -> start -> optimise over z, x_lm = s_lm z_lm -> fields, losses, validation
//! ```
//!
//! - The fields are real: the variables are the coefficients with m <= ell, and Im f_l0 stays zero, which S2SCAT's half plane does not enforce.
//! - The variables are scaled per degree (*preconditioned*) by the root of the target's power there, (2 ell + 1) C_ell. L-BFGS starts from a multiple of the
//!   identity, so this saves it the discovery of the spectrum. Adam takes S2SCAT's
//!   unscaled coefficients unless asked otherwise.
//! - The power of every degree can be *held* at the target's: x_l = s_l z_l / |z_l|. A wavelet statistic knows the power in its octaves only, so a free optimisation
//!   moves power within them, some percent where few degrees lie. S2SCAT leaves it free.
//! - The target is divided by its standard deviation first (*standardised*) and the results are multiplied by it, because mean and variance enter the loss
//!   without norms: in other units they would drown or be drowned.
//! - Norms, targets and fields are run-time arrays: another target needs no compilation of other code.
//!
//! The module refuses masks and complex fields. It writes no files: checkpoints are bytes.

use crate::optimise::resident::{Capacity, resume_resident};
use crate::optimise::{self, Adam, CheckpointError, Control, Lbfgs, Method, Objective, ObjectiveError, OptimiseError, Outcome, Progress, State};
use crate::residency::variables;
use crate::sensitivity::{flatten, parameter_arrays};
use crate::{Compiled, Compiler, Device, Encoder, Error, Fusion, Goal, InputKind, Source, Sphere, Statistics, random};
use scatterc_compiler::domain::DomainError;
use scatterc_compiler::gradient::inputs;
use scatterc_kernels::Serial;
use scatterc_kernels::healpix::synthesis_grid;
use scatterc_kernels::sampling::gauss_legendre;
use scatterc_runtime::Executable;
use scatterc_runtime::resident::Variables;
use serde::Serialize;
use std::collections::BTreeMap;

/// Relative power below which a scale counts as empty: norms of rounding noise make normalised statistics meaningless.
///
/// ```
/// use scatterc::synthesis::{SMALLEST_RELATIVE_POWER, guarded_norms};
///
/// assert!(guarded_norms(&[0, 1], &[1.0, SMALLEST_RELATIVE_POWER], None).is_ok());
/// assert!(guarded_norms(&[0, 1], &[1.0, SMALLEST_RELATIVE_POWER / 2.0], None).is_err());
/// ```
pub const SMALLEST_RELATIVE_POWER: f64 = 1e-20;

/// Why a synthesis cannot start or go on.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// let constant: Vec<f64> = (0..128).map(|k| if k == 0 { 1.0 } else { 0.0 }).collect();
/// let refused = Generator::new(&source, &sphere, &constant, options);
/// assert!(matches!(refused, Err(SynthesisError::ZeroVariance { .. })));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthesisError {
    /// Compiling or running the statistic failed.
    #[error(transparent)]
    Program(#[from] Error),
    /// The optimiser failed.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// A checkpoint that is not of this run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// NaN or infinity.
    #[error("the {what} has {found} at position {index}; expected finite numbers")]
    NotFinite {
        /// Target or start.
        what: &'static str,
        /// Position in the array of numbers.
        index: usize,
        /// The number.
        found: f64,
    },
    /// A field of the wrong length.
    #[error("the {what} has {found} numbers, expected {expected} (complex [L, L], m >= 0)")]
    Length {
        /// Target or start.
        what: &'static str,
        /// Right length.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// Coefficients that no real field has.
    #[error("the {what} is not a real field: coefficient (ell = {ell}, m = {m}) is {re:.3e} + {im:.3e} i; expected {expected}")]
    NotReal {
        /// Target or start.
        what: &'static str,
        /// Degree.
        ell: usize,
        /// Order.
        m: usize,
        /// Real part.
        re: f64,
        /// Imaginary part.
        im: f64,
        /// What a real field has there.
        expected: &'static str,
    },
    /// A constant target.
    #[error("the target has variance {found:.1e}; expected a field that varies (its statistics cannot be normalised)")]
    ZeroVariance {
        /// The variance.
        found: f64,
    },
    /// Scales of the target without power.
    #[error(
        "the target has no power at scale{} {} (relative power {found:.1e}, expected at least {SMALLEST_RELATIVE_POWER:e}): its statistics cannot be normalised there; \
         leave coarse scales out with --min-scale {suggestion}, or set a floor with --floor",
        if scales.len() == 1 { "" } else { "s" },
        scales.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
    )]
    NoPower {
        /// The scales.
        scales: Vec<usize>,
        /// Smallest relative power.
        found: f64,
        /// A coarsest scale that would do, as far as coarse scales are the cause.
        suggestion: usize,
    },
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
    /// Coordinates that cannot be made; a fault of the program.
    #[error("validation maps: {0}")]
    Maps(#[from] scatterc_kernels::healpix::HealpixError),
}

impl From<DomainError> for SynthesisError {
    fn from(error: DomainError) -> Self {
        SynthesisError::Program(error.into())
    }
}

/// What the optimisation starts from.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// // The start has the target's spectrum by default, or is what was given.
/// let generator = Generator::new(&source, &sphere, &target, Options { start: Start::Given(target.clone()), ..options })?;
/// assert_eq!(generator.start(), [&target[..], &target[..]].concat());
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Start {
    /// Gaussian noise, rescaled at every degree to the target's power there, with the target's mean: a field with its very spectrum and random phases.
    #[default]
    Spectrum,
    /// Gaussian noise of equal power at all degrees, with the target's variance and mean.
    White,
    /// Given fields in the target's units: one for all members, or one per member; `[L, L]` complex interleaved each.
    Given(Vec<f64>),
}

/// Choices of a synthesis.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// let options = Options { variant: Some("isotropic".into()), method: Options::adam(0.01), ..options };
/// let generator = Generator::new(&source, &sphere, &target, options)?;
/// assert!(!generator.spectrum_held(), "only L-BFGS holds it by default");
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// One of several statistics of the source.
    pub statistic: Option<String>,
    /// Named `return` of the statistic, such as `isotropic`.
    pub variant: Option<String>,
    /// Number parameters, such as `delta`.
    pub numbers: BTreeMap<String, f64>,
    /// Array parameter of norms and the output that fills it; without effect if the statistic has no such parameter. Default: `P` from `S2`.
    pub normalise: Option<(String, String)>,
    /// Replaces norms below this fraction of the largest one; default: they are an error.
    pub floor: Option<f64>,
    /// Name of the loss; it may use the target `T` only. Default: `l2`.
    pub loss: String,
    /// Number K of fields.
    pub count: usize,
    /// Number of the first member, so that a run can be split: member k depends on the seed and k only. Default: 0.
    pub first_member: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Where members start.
    pub start: Start,
    /// Optimiser.
    pub method: Method,
    /// Largest number of steps.
    pub steps: usize,
    /// A member ends when the root of its loss, relative to that of a field without statistics, falls below this. Default: 0, never.
    pub tolerance: f64,
    /// Divides the target by its standard deviation first. Default: true.
    pub standardise: bool,
    /// Scales the variables with the target's spectrum; default: for L-BFGS.
    pub precondition: Option<bool>,
    /// Holds the power of every degree at the target's. Default: for L-BFGS from [`Start::Spectrum`].
    pub hold_spectrum: Option<bool>,
    /// How much is fused.
    pub fusion: Fusion,
    /// Passes to leave out.
    pub disable: Vec<String>,
    /// What computes statistics and gradients; on CUDA the vectors of the optimiser stay there. Default: the CPU.
    pub device: Device,
    /// Threads; 0 means all cores.
    pub threads: usize,
    /// Budget in bytes of the gradient plan; see [`Compiler::memory`].
    pub memory: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            statistic: None,
            variant: None,
            numbers: BTreeMap::new(),
            normalise: Some(("P".into(), "S2".into())),
            floor: None,
            loss: "l2".into(),
            count: 1,
            first_member: 0,
            seed: 0,
            start: Start::Spectrum,
            method: Method::Lbfgs(Lbfgs::default()),
            steps: 400,
            tolerance: 0.0,
            standardise: true,
            precondition: None,
            hold_spectrum: None,
            fusion: Fusion::All,
            disable: vec![],
            device: Device::default(),
            threads: 0,
            memory: None,
        }
    }
}

impl Options {
    /// Adam as S2SCAT's `fit_optax` runs it, on complex coefficients.
    ///
    /// ```
    /// use scatterc::optimise::{Adam, Method};
    /// use scatterc::synthesis::Options;
    ///
    /// assert!(matches!(Options::adam(0.01), Method::Adam(Adam { learning_rate: 0.01, pairs: true, .. })));
    /// ```
    pub fn adam(learning_rate: f64) -> Method {
        Method::Adam(Adam { learning_rate, pairs: true, ..Adam::default() })
    }
}

/// A compiled synthesis of one target.
///
/// ```
/// use scatterc::synthesis::{Generator, Options};
/// use scatterc::{InputKind, Source, Sphere, optimise::Control, random};
///
/// let spectrum: Vec<f64> = (0..8).map(|ell| 1.0 / (1.0 + ell as f64)).collect();
/// let target = random::gaussian_with_spectrum(8, &spectrum, 1, 0);
/// let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
/// let options = Options { count: 2, steps: 20, seed: 5, ..Options::default() };
/// let mut generator = Generator::new(&Source::find("s2scat")?, &sphere, &target, options)?;
/// let synthesis = generator.generate(&mut |_| Control::Continue)?;
/// let report = generator.validate(&synthesis)?;
/// assert!(report.iter().all(|member| member.error_end < 0.2 * member.error_start));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[doc(alias = "build_generator")]
pub struct Generator {
    L: usize,
    options: Options,
    target: Vec<f64>,
    /// Units of the target: fields of the loss are target / unit.
    unit: f64,
    norms: Option<(String, Vec<f64>)>,
    floored: usize,
    targets: Statistics,
    encoder: Encoder,
    compiled: Compiled,
    problem: Problem,
    fingerprint: [u8; 32],
    loss_scale: f64,
}

/// Fields that a run made.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
/// let synthesis = generator.generate(&mut |_| Control::Continue)?;
/// assert_eq!((synthesis.fields.len(), synthesis.start.len(), synthesis.outcome.values.len()), (2 * 128, 2 * 128, 2));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Synthesis {
    /// Results in the target's units, `[K][L, L]` complex interleaved.
    pub fields: Vec<f64>,
    /// Starts in the target's units, in the same layout.
    pub start: Vec<f64>,
    /// Values, steps, evaluations and history.
    pub outcome: Outcome,
}

/// One member compared with the target. Averages are over the sphere, exact on the Gauss-Legendre grid.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
/// let synthesis = generator.generate(&mut |_| Control::Continue)?;
/// let report = generator.validate(&synthesis)?;
/// assert!(report[1].member == 1 && report[1].loss_end < report[1].loss_start);
/// // The power of every degree was held at the target's, and with it the variance.
/// assert!((report[1].std.1 - report[1].std.0).abs() < 1e-10);
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Number of the member.
    pub member: usize,
    /// Sphere averages and extremes on the grid: (target, synthesis), units of the target.
    pub mean: (f64, f64),
    /// Standard deviation over the sphere.
    pub std: (f64, f64),
    /// Smallest sample.
    pub min: (f64, f64),
    /// Largest sample.
    pub max: (f64, f64),
    /// Pearson's correlation of the two maps, weighted by area.
    pub correlation: f64,
    /// Power of the synthesis over that of the target, sum of (2 ell + 1) C_ell in the octave around a wavelet's peak; none where the target has no power.
    pub power_ratio: Vec<Band>,
    /// Relative distance of the normalised statistics, |S - T| / |T| over all numbers, at the start.
    pub error_start: f64,
    /// The same at the end.
    pub error_end: f64,
    /// The same for every output: (name, start, end).
    pub errors: Vec<(String, f64, f64)>,
    /// Loss at the start.
    pub loss_start: f64,
    /// Loss at the end.
    pub loss_end: f64,
}

/// Power in one octave of degrees.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
/// let synthesis = generator.generate(&mut |_| Control::Continue)?;
/// let bands = &generator.validate(&synthesis)?[0].power_ratio;
/// assert!(bands.iter().all(|band| band.first <= band.last && band.ratio.is_none_or(|ratio| (ratio - 1.0).abs() < 1e-10)));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    /// First degree.
    pub first: usize,
    /// Last degree.
    pub last: usize,
    /// Ratio of the powers.
    pub ratio: Option<f64>,
}

/// The loss over scaled triangular coefficients.
struct Problem {
    executable: Executable,
    fixed: Vec<(String, Vec<f64>)>,
    field: String,
    gradient_name: String,
    count: usize,
    /// Where every number of the variables lies in the half plane.
    places: Vec<usize>,
    /// Number of the half plane per unit of the variable; zero for Im f_l0.
    scales: Vec<f64>,
    /// Degree of every variable if the power of degrees is held: then only the direction of a degree's variables counts.
    degrees: Option<Vec<usize>>,
    L: usize,
    half: Vec<f64>,
    gradient: Vec<f64>,
}

impl Problem {
    fn n(&self) -> usize {
        self.places.len()
    }

    /// Length of the variables of every degree, or nothing if the power is free.
    fn lengths(&self, z: &[f64]) -> Option<Vec<f64>> {
        let degrees = self.degrees.as_ref()?;
        let mut squares = vec![0.0; self.L];
        for ((value, ell), scale) in z.iter().zip(degrees).zip(&self.scales) {
            if *scale != 0.0 {
                squares[*ell] += value * value;
            }
        }
        Some(squares.into_iter().map(f64::sqrt).collect())
    }

    /// Variables to half planes in units of the loss.
    fn expand(&self, z: &[f64], half: &mut [f64]) {
        let (n, width) = (self.n(), half.len() / self.count);
        for (z, half) in z.chunks_exact(n).zip(half.chunks_exact_mut(width)) {
            for ((value, place), scale) in z.iter().zip(&self.places).zip(&self.scales) {
                half[*place] = value * scale;
            }
            if let (Some(lengths), Some(degrees)) = (self.lengths(z), &self.degrees) {
                for (place, ell) in self.places.iter().zip(degrees) {
                    half[*place] = if lengths[*ell] > 0.0 { half[*place] / lengths[*ell] } else { 0.0 };
                }
            }
        }
    }

    /// Gradient in the variables from that in the half plane.
    fn pull_back(&self, z: &[f64], g: &[f64], out: &mut [f64]) {
        for ((out, place), scale) in out.iter_mut().zip(&self.places).zip(&self.scales) {
            *out = g[*place] * scale;
        }
        // x = s z / |z| changes only across z: the part of the gradient along z goes.
        if let (Some(lengths), Some(degrees)) = (self.lengths(z), &self.degrees) {
            let mut along = vec![0.0; self.L];
            for ((out, value), ell) in out.iter().zip(z).zip(degrees) {
                along[*ell] += out * value;
            }
            for ((out, value), ell) in out.iter_mut().zip(z).zip(degrees) {
                let r = lengths[*ell];
                *out = if r > 0.0 { (*out - value * along[*ell] / (r * r)) / r } else { 0.0 };
            }
        }
    }

    /// Half planes to variables.
    fn pack(&self, half: &[f64]) -> Vec<f64> {
        let width = half.len() / self.count;
        let mut z = Vec::with_capacity(self.count * self.n());
        for half in half.chunks_exact(width) {
            z.extend(self.places.iter().zip(&self.scales).map(|(place, scale)| if *scale == 0.0 { 0.0 } else { half[*place] / scale }));
        }
        z
    }
}

impl Objective for Problem {
    fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
        let mut value = [0.0];
        self.evaluate_batch(x, gradient, &mut value)?;
        Ok(value[0])
    }

    fn evaluate_batch(&mut self, x: &[f64], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
        let mut half = std::mem::take(&mut self.half);
        self.expand(x, &mut half);
        let mut given: Vec<(&str, &[f64])> = vec![(&self.field, &half)];
        given.extend(self.fixed.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let ran = self.executable.run_into(&given, &mut [("value", values), (&self.gradient_name, &mut self.gradient)]);
        self.half = half;
        ran?;
        let (n, width) = (self.n(), self.gradient.len() / self.count);
        for ((out, g), z) in gradient.chunks_exact_mut(n).zip(self.gradient.chunks_exact(width)).zip(x.chunks_exact(n)) {
            self.pull_back(z, g, out);
        }
        Ok(())
    }
}

/// Triangular coefficients, m slowest, of the coefficients `[L, L]` of a real field; the layout of [`kernels::healpix`](crate::kernels::healpix).
///
/// ```
/// use scatterc::synthesis::triangular;
///
/// // L = 2: (ell, m) = (0, 0), (1, 0), (1, 1).
/// let half = [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0, 4.0];
/// assert_eq!(triangular(2, &half), [1.0, 0.0, 2.0, 0.0, 3.0, 4.0]);
/// ```
pub fn triangular(L: usize, half: &[f64]) -> Vec<f64> {
    triangular_places(L).into_iter().map(|place| half[place]).collect()
}

/// Place in the half plane of every number of the triangular layout.
fn triangular_places(L: usize) -> Vec<usize> {
    (0..L).flat_map(|m| (m..L).flat_map(move |ell| [2 * (ell * L + m), 2 * (ell * L + m) + 1])).collect()
}

/// Angular power spectrum of a real field: C_ell = (|f_l0|^2 + 2 sum_{m>0} |f_lm|^2) / (2 ell + 1).
///
/// - `half`: `[L, L]` complex interleaved
/// - result: `[L]`, units of the field squared
///
/// ```
/// use scatterc::synthesis::power_spectrum;
///
/// let half = [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0, 4.0];
/// assert_eq!(power_spectrum(2, &half), [1.0, (4.0 + 2.0 * 25.0) / 3.0]);
/// ```
pub fn power_spectrum(L: usize, half: &[f64]) -> Vec<f64> {
    let power = |ell: usize, m: usize| half[2 * (ell * L + m)].powi(2) + half[2 * (ell * L + m) + 1].powi(2);
    (0..L).map(|ell| (power(ell, 0) + 2.0 * (1..=ell).map(|m| power(ell, m)).sum::<f64>()) / (2 * ell + 1) as f64).collect()
}

/// Samples of a real field on the Gauss-Legendre grid of its bandlimit, `[L, 2L - 1]`, theta ascending.
///
/// ```
/// use scatterc::synthesis::grid;
///
/// // Y_00 = 1 / sqrt(4 pi) everywhere.
/// let map = grid(2, &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])?;
/// assert!(map.len() == 6 && map.iter().all(|x| (x - 0.28209479177387814).abs() < 1e-15));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
pub fn grid(L: usize, half: &[f64]) -> Result<Vec<f64>, SynthesisError> {
    let (theta, _) = gauss_legendre(L);
    Ok(synthesis_grid(&Serial, L, &triangular(L, half), &theta, 2 * L - 1)?)
}

/// Norms fit for division.
///
/// A norm below [`SMALLEST_RELATIVE_POWER`] of the largest one (or no number at all) is an error that names its scales, or becomes `floor` times the largest one.
///
/// - `scales`: the scale of every norm
/// - result: the norms and how many were replaced
///
/// ```
/// use scatterc::synthesis::guarded_norms;
///
/// assert_eq!(guarded_norms(&[0, 1], &[2.0, 1.0], None)?, (vec![2.0, 1.0], 0));
/// assert_eq!(guarded_norms(&[0, 1], &[2.0, 0.0], Some(1e-3))?, (vec![2.0, 2e-3], 1));
/// assert!(guarded_norms(&[0, 1], &[2.0, 0.0], None).unwrap_err().to_string().starts_with("the target has no power at scale 1"));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
pub fn guarded_norms(scales: &[usize], norms: &[f64], floor: Option<f64>) -> Result<(Vec<f64>, usize), SynthesisError> {
    let largest = norms.iter().copied().fold(0.0, f64::max);
    let threshold = largest * floor.unwrap_or(0.0).max(SMALLEST_RELATIVE_POWER);
    let empty = |p: f64| p.is_nan() || p <= 0.0 || p < threshold;
    let Some(floor) = floor else {
        let mut without: Vec<usize> = scales.iter().zip(norms).filter(|(_, p)| empty(**p)).map(|(j, _)| *j).collect();
        without.sort_unstable();
        without.dedup();
        if without.is_empty() {
            return Ok((norms.to_vec(), 0));
        }
        let smallest = norms.iter().copied().filter(|p| p.is_finite()).fold(largest, f64::min);
        let found = if largest > 0.0 { smallest / largest } else { 0.0 };
        // Coarse scales can be left out; the first one from which all coarser ones are full or empty is suggested.
        let first = scales.iter().copied().min().unwrap_or(0);
        let suggestion = (first..).find(|j| !without.contains(j)).unwrap_or(first);
        return Err(SynthesisError::NoPower { scales: without, found, suggestion });
    };
    if largest <= 0.0 || largest.is_nan() {
        return Err(SynthesisError::ZeroVariance { found: largest });
    }
    let replaced = norms.iter().filter(|p| empty(**p)).count();
    Ok((norms.iter().map(|p| if empty(*p) { floor * largest } else { *p }).collect(), replaced))
}

/// Refuses what is no real field.
fn check_field(what: &'static str, L: usize, half: &[f64]) -> Result<(), SynthesisError> {
    if half.len() != 2 * L * L {
        return Err(SynthesisError::Length { what, expected: 2 * L * L, found: half.len() });
    }
    if let Some((index, found)) = half.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        return Err(SynthesisError::NotFinite { what, index, found: *found });
    }
    // Transforms of other codes leave rounding noise where a real field has zeros.
    let noise = 1e-10 * half.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    for ell in 0..L {
        for m in 0..L {
            let (re, im) = (half[2 * (ell * L + m)], half[2 * (ell * L + m) + 1]);
            if m > ell && (re.abs() > noise || im.abs() > noise) {
                return Err(SynthesisError::NotReal { what, ell, m, re, im, expected: "0, as m > ell" });
            }
            if m == 0 && im.abs() > noise {
                return Err(SynthesisError::NotReal { what, ell, m, re, im, expected: "a real number at m = 0" });
            }
        }
    }
    Ok(())
}

/// The field without the rounding noise that [`check_field`] tolerates.
fn cleaned(L: usize, half: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; half.len()];
    for place in triangular_places(L) {
        // Odd places of column 0 are imaginary parts at m = 0.
        if place % (2 * L) != 1 {
            out[place] = half[place];
        }
    }
    out
}

/// Scale of the variables per degree, from the target's spectrum: the root of the whole power of the degree.
///
/// The factor 2 ell + 1 makes up for the number of coefficients: a statistic that averages over many modes reacts little to each of them. On large-scale structure
/// it lowers the loss after 300 steps by a third against the root of C_ell alone.
///
/// A degree with much less power than its neighbourhood gets a share of theirs, so that no degree is frozen; degrees in an empty neighbourhood get the average power.
fn degree_scales(spectrum: &[f64]) -> Vec<f64> {
    let L = spectrum.len();
    let average = spectrum.iter().sum::<f64>() / L as f64;
    let largest = spectrum.iter().copied().fold(0.0, f64::max);
    (0..L)
        .map(|ell| {
            let (first, last) = (ell / 2, (2 * ell).min(L - 1).max(1));
            let around = spectrum[first..=last].iter().sum::<f64>() / (last - first + 1) as f64;
            let around = if around < 1e-12 * largest { average } else { around };
            (spectrum[ell].max(1e-2 * around) * (2 * ell + 1) as f64).sqrt()
        })
        .collect()
}

impl Generator {
    /// Takes the target's statistics and compiles value and gradient of the loss for `options.count` fields.
    ///
    /// - `source`: a program with one statistic of one field
    /// - `sphere`: sizes; fields are [`InputKind::Half`]
    /// - `target`: `[L, L]` complex interleaved, a real field
    ///
    /// Error: a target that is not finite, not real, constant or without power at a scale, and everything the compiler refuses.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// let generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!((generator.L(), generator.target()), (8, &target[..]));
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn new(source: &Source, sphere: &Sphere, target: &[f64], options: Options) -> Result<Self, SynthesisError> {
        let L = sphere.L;
        if sphere.input != InputKind::Half {
            return Err(SynthesisError::Option {
                option: "input",
                found: format!("{:?}", sphere.input),
                expected: "Half: synthesis moves coefficients of real fields".into(),
            });
        }
        if options.count == 0 {
            return Err(SynthesisError::Option { option: "count", found: "0".into(), expected: "at least one field".into() });
        }
        if let Some(floor) = options.floor.filter(|f| !(*f > 0.0 && *f <= 1.0)) {
            return Err(SynthesisError::Option {
                option: "floor",
                found: floor.to_string(),
                expected: "a fraction of the largest norm, above 0, at most 1".into(),
            });
        }
        if options.tolerance.is_nan() || options.tolerance < 0.0 {
            return Err(SynthesisError::Option {
                option: "tolerance",
                found: options.tolerance.to_string(),
                expected: "0 or a positive number".into(),
            });
        }
        check_field("target", L, target)?;
        let target = cleaned(L, target);
        let spectrum = power_spectrum(L, &target);
        let variance = spectrum.iter().enumerate().skip(1).map(|(ell, c)| (2 * ell + 1) as f64 * c).sum::<f64>() / (4.0 * std::f64::consts::PI);
        // A constant in other units leaves rounding noise at all degrees.
        if variance.is_nan() || variance <= 1e-24 * spectrum[0] || variance < f64::MIN_POSITIVE {
            return Err(SynthesisError::ZeroVariance { found: variance });
        }
        let unit = if options.standardise { variance.sqrt() } else { 1.0 };
        let scaled: Vec<f64> = target.iter().map(|x| x / unit).collect();

        let mut compiler = Compiler::new(source, sphere)
            .variant(options.variant.as_deref())
            .fusion(options.fusion)
            .memory(options.memory)
            .disable(&options.disable)
            .device(options.device)
            .threads(options.threads);
        if let Some(name) = &options.statistic {
            compiler = compiler.statistic(name);
        }
        for (name, value) in &options.numbers {
            compiler = compiler.number(name, *value);
        }
        let statistic = source.statistic(options.statistic.as_deref())?;
        let has = |name: &str| statistic.statistic.parameters.iter().any(|p| p.name.name == name && !p.indices.is_empty());
        let normalise = options.normalise.clone().filter(|(parameter, _)| has(parameter));
        if let Some((parameter, _)) = &normalise {
            compiler = compiler.array(parameter);
        }
        let mut encoder = compiler.encoder()?;
        let parameter = normalise.and_then(|(name, output)| {
            let known = encoder.compiled().bound.parameters.iter().find(|p| p.name == name);
            known.map(|p| (name, output, p.index.clone()))
        });
        let mut norms = None;
        let mut floored = 0;
        if let Some((name, output, index)) = parameter {
            encoder.set(&name, &vec![1.0; index.rows.len()])?;
            let plain = encoder.encode(&scaled)?;
            let values = plain.get(&output).filter(|a| a.im.is_none() && a.index.rows == index.rows).map(|a| a.re.clone());
            let Some(values) = values else {
                let expected = format!("a real output with the index of parameter `{name}` ({} entries)", index.rows.len());
                return Err(SynthesisError::Option { option: "normalise", found: output, expected });
            };
            let scales: Vec<usize> = index.rows.iter().map(|row| row.first().map_or(0, |j| *j as usize)).collect();
            let (values, replaced) = guarded_norms(&scales, &values, options.floor)?;
            encoder.set(&name, &values)?;
            floored = replaced;
            norms = Some((name, values));
        }
        let targets = encoder.encode(&scaled)?;
        if let Some((index, found)) = flatten(&targets).into_iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(SynthesisError::NotFinite { what: "target's statistics", index, found });
        }
        let newton = matches!(options.method, Method::Lbfgs(_));
        let hold = options.hold_spectrum.unwrap_or(newton && options.start == Start::Spectrum);
        let scales: Vec<f64> = if hold {
            spectrum.iter().enumerate().map(|(ell, c)| ((2 * ell + 1) as f64 * c).sqrt() / unit).collect()
        } else if options.precondition.unwrap_or(newton) {
            degree_scales(&spectrum).into_iter().map(|s| s / unit).collect()
        } else {
            vec![]
        };
        let mut places = Vec::with_capacity(L * (L + 1));
        let mut factors = Vec::with_capacity(L * (L + 1));
        let mut degrees = Vec::with_capacity(L * (L + 1));
        for m in 0..L {
            for ell in m..L {
                let place = 2 * (ell * L + m);
                let factor = match scales.get(ell) {
                    Some(s) if m == 0 => *s,
                    Some(s) => s * std::f64::consts::FRAC_1_SQRT_2,
                    None => 1.0,
                };
                places.extend([place, place + 1]);
                degrees.extend([ell, ell]);
                factors.extend([factor, if m == 0 { 0.0 } else { factor }]);
            }
        }
        let width = 2 * L * L;
        let count = options.count;
        let compiler = compiler.batch(Some(count)).goal(Goal::Gradient(options.loss.clone()));
        let fields = |compiled: &Compiled| inputs(&compiled.bound.graph).into_iter().map(|(_, name)| name).collect::<Vec<String>>();
        let (compiled, mut executable) = if options.device.is_cuda() {
            compiler.resident(&|compiled| {
                let field = fields(compiled).into_iter().next().unwrap_or_default();
                let known = variables(&field, count, places.len(), Capacity::of(&options.method));
                Variables { places: places.clone(), scales: factors.clone(), groups: hold.then(|| degrees.clone()), ..known }
            })?
        } else {
            compiler.executable()?
        };
        let mut fixed: Vec<(String, Vec<f64>)> = parameter_arrays("T", &targets).into_iter().map(|(name, values)| (name, values.to_vec())).collect();
        fixed.extend(norms.clone());
        // A loss without targets, or a variant without norms, has no such parameter.
        fixed.retain(|(name, _)| executable.inputs().iter().any(|port| port.name == *name));
        let names = fields(&compiled);
        let [field] = names.as_slice() else {
            return Err(SynthesisError::Option { option: "statistic", found: format!("{} fields", names.len()), expected: "one field".into() });
        };
        if options.device.is_cuda() {
            let mut vectors = executable.vectors().map_err(Error::from)?;
            fixed.iter().try_for_each(|(name, values)| vectors.set(name, values)).map_err(Error::from)?;
        }
        let problem = Problem {
            executable,
            fixed,
            gradient_name: format!("gradient.{field}"),
            field: field.clone(),
            count,
            places,
            scales: factors,
            degrees: hold.then_some(degrees),
            L,
            half: vec![0.0; count * width],
            gradient: vec![0.0; count * width],
        };
        let loss_scale = targets.arrays.iter().map(mean_square).sum();
        let mut generator =
            Generator { L, options, target, unit, norms, floored, targets, encoder, compiled, problem, fingerprint: [0; 32], loss_scale };
        generator.check_start()?;
        generator.fingerprint = generator.make_fingerprint();
        Ok(generator)
    }

    fn check_start(&self) -> Result<(), SynthesisError> {
        let Start::Given(fields) = &self.options.start else { return Ok(()) };
        let (width, count) = (2 * self.L * self.L, self.options.count);
        if fields.len() != width && fields.len() != count * width {
            return Err(SynthesisError::Length {
                what: "start",
                expected: width * if fields.len() > width { count } else { 1 },
                found: fields.len(),
            });
        }
        fields.chunks_exact(width).try_for_each(|field| check_field("start", self.L, field))
    }

    /// What a checkpoint must agree with: plan, target, method, and where members come from. The number of steps and the tolerance may change.
    fn make_fingerprint(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        let mut text = |label: &str, bytes: &[u8]| {
            hash.update(label.as_bytes());
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let numbers = |values: &[f64]| values.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect::<Vec<u8>>();
        text("plan", self.compiled.plan().to_string().as_bytes());
        text("target", &numbers(&self.target));
        text("scales", &numbers(&self.problem.scales));
        for (name, values) in &self.problem.fixed {
            text(name, &numbers(values));
        }
        text("spectrum", &[u8::from(self.problem.degrees.is_some())]);
        text("method", format!("{:?}", self.options.method).as_bytes());
        text("members", format!("{} {} {}", self.options.seed, self.options.first_member, self.options.count).as_bytes());
        match &self.options.start {
            Start::Given(fields) => text("given", &numbers(fields)),
            start => text("start", format!("{start:?}").as_bytes()),
        }
        *hash.finalize().as_bytes()
    }

    /// Identifies this run for checkpoints: `state.to_bytes(generator.fingerprint())`.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// // Another seed is another run.
    /// let first = *Generator::new(&source, &sphere, &target, options.clone())?.fingerprint();
    /// assert_ne!(&first, Generator::new(&source, &sphere, &target, Options { seed: 6, ..options })?.fingerprint());
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The target, `[L, L]` complex interleaved.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!(generator.target(), target);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn target(&self) -> &[f64] {
        &self.target
    }

    /// Whether the power of every degree is held at the target's.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// assert!(Generator::new(&source, &sphere, &target, options.clone())?.spectrum_held());
    /// assert!(!Generator::new(&source, &sphere, &target, Options { start: Start::White, ..options })?.spectrum_held());
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn spectrum_held(&self) -> bool {
        self.problem.degrees.is_some()
    }

    /// Bandlimit.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!(generator.L(), 8);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn L(&self) -> usize {
        self.L
    }

    /// Normalised statistics of the (standardised) target: what the loss compares with.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// // Normalised by its own power, S2 of the target is 1.
    /// assert!(generator.target_statistics().get("S2").unwrap().re.iter().all(|s2| (s2 - 1.0).abs() < 1e-12));
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn target_statistics(&self) -> &Statistics {
        &self.targets
    }

    /// Name and values of the norms, and how many of them the floor replaced.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// let (name, norms, floored) = generator.norms().unwrap();
    /// assert!(name == "P" && norms.iter().all(|p| *p > 0.0) && floored == 0);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn norms(&self) -> Option<(&str, &[f64], usize)> {
        self.norms.as_ref().map(|(name, values)| (name.as_str(), values.as_slice(), self.floored))
    }

    /// The compiled value and gradient.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!(generator.compiled().plan().outputs[0].name, "value");
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Bytes that the loaded plan of value and gradient holds.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert!(generator.memory().arena > 0);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn memory(&self) -> scatterc_runtime::Memory {
        self.problem.executable.memory()
    }

    /// The choices.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!((generator.options().count, generator.options().loss.as_str()), (2, "l2"));
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Root of a loss relative to that of a field without statistics; what `tolerance` is compared with.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert!(generator.relative(0.0) == 0.0 && generator.relative(4.0) == 2.0 * generator.relative(1.0));
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn relative(&self, loss: f64) -> f64 {
        if self.loss_scale > 0.0 { (loss / self.loss_scale).sqrt() } else { loss.sqrt() }
    }

    /// Where the members start, in the target's units, `[K][L, L]` complex interleaved.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// let start = generator.start();
    /// let (own, expected) = (power_spectrum(8, &start[..128]), power_spectrum(8, &target));
    /// assert!(own.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12));
    /// assert_ne!(start[..128], start[128..]);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn start(&self) -> Vec<f64> {
        let (L, width) = (self.L, 2 * self.L * self.L);
        let spectrum = match &self.options.start {
            Start::Given(fields) => {
                let copies = if fields.len() == width { self.options.count } else { 1 };
                return fields.chunks_exact(width).map(|field| cleaned(L, field)).collect::<Vec<_>>().concat().repeat(copies);
            }
            Start::Spectrum => power_spectrum(L, &self.target),
            Start::White => {
                let total: f64 = power_spectrum(L, &self.target).iter().enumerate().skip(1).map(|(ell, c)| (2 * ell + 1) as f64 * c).sum();
                vec![total / (L * L - 1) as f64; L]
            }
        };
        let mut out = Vec::with_capacity(self.options.count * width);
        for k in 0..self.options.count {
            let mut field = random::white(L, self.options.seed, self.options.first_member + k);
            let own = power_spectrum(L, &field);
            for ell in 0..L {
                // A draw of the spectrum would miss it by its sample variance, which the wavelets cannot see within their bands.
                let drawn = if self.options.start == Start::White { 1.0 } else { own[ell] };
                let factor = (spectrum[ell] / drawn).sqrt();
                field[2 * ell * L..2 * (ell + 1) * L].iter_mut().for_each(|x| *x *= factor);
            }
            // The statistics know |mean| only, so a start of the other sign would have to cross zero.
            field[0] = self.target[0];
            out.extend(field);
        }
        out
    }

    /// Normalised statistics of one field in the target's units.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// assert_eq!(&generator.statistics(&target)?, generator.target_statistics());
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn statistics(&mut self, field: &[f64]) -> Result<Statistics, SynthesisError> {
        let scaled: Vec<f64> = field.iter().map(|x| x / self.unit).collect();
        Ok(self.encoder.encode(&scaled)?)
    }

    /// Runs the optimisation from its start.
    ///
    /// The observer sees every step and may stop the run; `progress.state()` is what a checkpoint holds.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// let synthesis = generator.generate(&mut |_| Control::Continue)?;
    /// assert!(synthesis.outcome.values[0] < synthesis.outcome.history[0][0]);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn generate(&mut self, observer: &mut dyn FnMut(&Progress<'_>) -> Control) -> Result<Synthesis, SynthesisError> {
        let scaled: Vec<f64> = self.start().iter().map(|x| x / self.unit).collect();
        let mut z = self.problem.pack(&scaled);
        // Lengths do not matter where the power is held; one keeps the steps of all degrees alike.
        let n = self.problem.n();
        for member in z.chunks_exact_mut(n) {
            if let (Some(lengths), Some(degrees)) = (self.problem.lengths(member), &self.problem.degrees) {
                member.iter_mut().zip(degrees).for_each(|(z, ell)| *z = if lengths[*ell] > 0.0 { *z / lengths[*ell] } else { 0.0 });
            }
        }
        let state = State::new(&self.options.method, z, self.options.count)?;
        self.resume(state, observer)
    }

    /// Reads a checkpoint of this run.
    ///
    /// Error: bytes that are no checkpoint, cut short, damaged, or of another plan, target, seed or method.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// # let mut checkpoint = Vec::new();
    /// # let print = *generator.fingerprint();
    /// # let whole = generator.generate(&mut |progress| {
    /// #     if progress.iteration == 1 {
    /// #         checkpoint = progress.state().expect("vectors of the host").to_bytes(&print);
    /// #     }
    /// #     Control::Continue
    /// # })?;
    /// // `checkpoint` was written after the first step.
    /// assert_eq!(generator.state(&checkpoint)?.batch(), 2);
    /// assert!(generator.state(&checkpoint[1..]).is_err());
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn state(&self, checkpoint: &[u8]) -> Result<State, SynthesisError> {
        let state = State::from_bytes(checkpoint, &self.fingerprint)?;
        // The fingerprint has this covered; a forged file must still not reach the plan.
        if state.batch() != self.options.count || state.dimension() != self.problem.n() {
            let found = format!("{} fields of {} variables", state.batch(), state.dimension());
            return Err(SynthesisError::Option {
                option: "checkpoint",
                found,
                expected: format!("{} fields of {}", self.options.count, self.problem.n()),
            });
        }
        Ok(state)
    }

    /// Continues from a state, with the bits of the uninterrupted run.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// # let mut checkpoint = Vec::new();
    /// # let print = *generator.fingerprint();
    /// # let whole = generator.generate(&mut |progress| {
    /// #     if progress.iteration == 1 {
    /// #         checkpoint = progress.state().expect("vectors of the host").to_bytes(&print);
    /// #     }
    /// #     Control::Continue
    /// # })?;
    /// // `checkpoint` was written after the first step of the run that gave `whole`.
    /// let state = generator.state(&checkpoint)?;
    /// assert_eq!(generator.resume(state, &mut |_| Control::Continue)?.fields, whole.fields);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn resume(&mut self, state: State, observer: &mut dyn FnMut(&Progress<'_>) -> Control) -> Result<Synthesis, SynthesisError> {
        let target_value = (self.options.tolerance > 0.0).then(|| self.options.tolerance.powi(2) * self.loss_scale);
        let limits = optimise::Options { max_steps: self.options.steps, target_value, ..optimise::Options::default() };
        let outcome = if self.options.device.is_cuda() {
            let mut vectors = self.problem.executable.vectors().map_err(Error::from)?;
            resume_resident(state, &mut vectors, &limits, observer)?
        } else {
            optimise::resume(state, &mut self.problem, &limits, observer)?
        };
        Ok(Synthesis { fields: self.fields(&outcome.x), start: self.start(), outcome })
    }

    /// Fields in the target's units for the variables of a state or an outcome, `[K][L, L]` complex interleaved.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// let synthesis = generator.generate(&mut |_| Control::Continue)?;
    /// assert_eq!(generator.fields(&synthesis.outcome.x), synthesis.fields);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn fields(&self, variables: &[f64]) -> Vec<f64> {
        let mut half = vec![0.0; self.options.count * 2 * self.L * self.L];
        self.problem.expand(variables, &mut half);
        half.iter_mut().for_each(|x| *x *= self.unit);
        half
    }

    /// Compares every member with the target.
    ///
    /// ```
    /// # use scatterc::synthesis::*;
    /// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
    /// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let source = Source::find("s2scat")?;
    /// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
    /// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
    /// let synthesis = generator.generate(&mut |_| Control::Continue)?;
    /// let report = generator.validate(&synthesis)?;
    /// assert!(report.len() == 2 && report[0].error_end < report[0].error_start);
    /// # Ok::<(), scatterc::synthesis::SynthesisError>(())
    /// ```
    pub fn validate(&mut self, synthesis: &Synthesis) -> Result<Vec<Validation>, SynthesisError> {
        let (L, width) = (self.L, 2 * self.L * self.L);
        let target = Moments::new(L, &self.target)?;
        let target_spectrum = power_spectrum(L, &self.target);
        let mut out = Vec::with_capacity(self.options.count);
        for (k, (field, start)) in synthesis.fields.chunks_exact(width).zip(synthesis.start.chunks_exact(width)).enumerate() {
            let (before, after) = (self.statistics(start)?, self.statistics(field)?);
            let found = Moments::new(L, field)?;
            let errors: Vec<(String, f64, f64)> = self
                .targets
                .arrays
                .iter()
                .zip(before.arrays.iter().zip(&after.arrays))
                .map(|(t, (b, a))| (t.name.clone(), distance(&numbers(b), &numbers(t)), distance(&numbers(a), &numbers(t))))
                .collect();
            let targets = flatten(&self.targets);
            out.push(Validation {
                member: self.options.first_member + k,
                mean: (target.mean, found.mean),
                std: (target.std, found.std),
                min: (target.min, found.min),
                max: (target.max, found.max),
                correlation: target.correlation(&found),
                power_ratio: bands(&target_spectrum, &power_spectrum(L, field)),
                error_start: distance(&flatten(&before), &targets),
                error_end: distance(&flatten(&after), &targets),
                errors,
                loss_start: synthesis.outcome.history.first().and_then(|row| row.get(k)).copied().unwrap_or(f64::NAN),
                loss_end: synthesis.outcome.values.get(k).copied().unwrap_or(f64::NAN),
            });
        }
        Ok(out)
    }
}

/// Real and imaginary parts of an output.
fn numbers(array: &crate::Array) -> Vec<f64> {
    array.re.iter().chain(array.im.iter().flatten()).copied().collect()
}

/// Average of |x|^2 over entries.
fn mean_square(array: &crate::Array) -> f64 {
    let sum: f64 = array.re.iter().chain(array.im.iter().flatten()).map(|x| x * x).sum();
    if array.re.is_empty() { 0.0 } else { sum / array.re.len() as f64 }
}

/// |x - y| / |y|; the absolute distance where y is zero.
fn distance(x: &[f64], y: &[f64]) -> f64 {
    let difference = x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let norm = y.iter().map(|b| b * b).sum::<f64>().sqrt();
    if norm > 0.0 { difference / norm } else { difference }
}

/// Power ratios in octaves around the wavelets' peaks, ell = 2^j: 1, 2, 3..5, 6..11, 12..22, ..
fn bands(target: &[f64], found: &[f64]) -> Vec<Band> {
    let L = target.len();
    let power = |spectrum: &[f64], first: usize, last: usize| (first..=last).map(|ell| (2 * ell + 1) as f64 * spectrum[ell]).sum::<f64>();
    // ell >= 2^(j - 1/2) is 2 ell^2 >= 4^j, which integers decide exactly.
    let first = |j: u32| (1..).find(|ell| 2 * ell * ell >= 1usize << (2 * j)).unwrap_or(L);
    let edges: Vec<(usize, usize)> =
        (0..).map(|j| (first(j), first(j + 1) - 1)).take_while(|(first, _)| *first < L).map(|(a, b)| (a, b.min(L - 1))).collect();
    let largest = edges.iter().map(|(first, last)| power(target, *first, *last)).fold(0.0, f64::max);
    edges
        .into_iter()
        .map(|(first, last)| {
            let t = power(target, first, last);
            Band { first, last, ratio: (t > 1e-12 * largest).then(|| power(found, first, last) / t) }
        })
        .collect()
}

/// One-point numbers of a map.
struct Moments {
    map: Vec<f64>,
    weights: Vec<f64>,
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

impl Moments {
    fn new(L: usize, half: &[f64]) -> Result<Moments, SynthesisError> {
        let map = grid(L, half)?;
        let n_phi = 2 * L - 1;
        // Gauss-Legendre weights sum to 2.
        let weights: Vec<f64> = gauss_legendre(L).1.iter().map(|w| w / (2 * n_phi) as f64).collect();
        let average =
            |f: &dyn Fn(f64) -> f64| map.chunks_exact(n_phi).zip(&weights).map(|(ring, w)| w * ring.iter().map(|x| f(*x)).sum::<f64>()).sum::<f64>();
        let mean = average(&|x| x);
        let std = average(&|x| (x - mean).powi(2)).sqrt();
        let (min, max) = map.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        Ok(Moments { mean, std, min, max, map, weights })
    }

    fn correlation(&self, other: &Moments) -> f64 {
        let n_phi = self.map.len() / self.weights.len().max(1);
        let product = |(x, y): (&f64, &f64)| (x - self.mean) * (y - other.mean);
        let rings = self.map.chunks_exact(n_phi).zip(other.map.chunks_exact(n_phi)).zip(&self.weights);
        let covariance: f64 = rings.map(|((x, y), w)| w * x.iter().zip(y).map(product).sum::<f64>()).sum();
        covariance / (self.std * other.std)
    }
}

/// The comparison as a table of text, one column per member.
///
/// ```
/// # use scatterc::synthesis::*;
/// # use scatterc::{InputKind, Source, Sphere, optimise::{Control, Method}, random};
/// # let target = random::gaussian_with_spectrum(8, &[0.0, 1.0, 0.5, 0.25, 0.2, 0.2, 0.1, 0.1], 1, 0);
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let source = Source::find("s2scat")?;
/// # let options = Options { count: 2, steps: 3, seed: 5, threads: 1, ..Options::default() };
/// # let mut generator = Generator::new(&source, &sphere, &target, options)?;
/// let synthesis = generator.generate(&mut |_| Control::Continue)?;
/// let table = validation_table(&generator.validate(&synthesis)?);
/// assert!(table.lines().next().is_some_and(|header| header.contains("target") && header.contains("member 1")));
/// assert!(table.contains("correlation"));
/// # Ok::<(), scatterc::synthesis::SynthesisError>(())
/// ```
pub fn validation_table(report: &[Validation]) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let Some(first) = report.first() else { return String::new() };
    let number = |x: f64| if x == 0.0 || (1e-3..1e5).contains(&x.abs()) { format!("{x:.4}") } else { format!("{x:.3e}") };
    let mut pairs = |name: &str, get: &dyn Fn(&Validation) -> (f64, f64)| {
        rows.push((name.into(), [number(get(first).0)].into_iter().chain(report.iter().map(|v| number(get(v).1))).collect()));
    };
    pairs("mean", &|v| v.mean);
    pairs("std", &|v| v.std);
    pairs("min", &|v| v.min);
    pairs("max", &|v| v.max);
    let mut singles = |name: String, target: &str, get: &dyn Fn(&Validation) -> String| {
        rows.push((name, [target.to_string()].into_iter().chain(report.iter().map(get)).collect()));
    };
    singles("correlation".into(), "1", &|v| format!("{:.4}", v.correlation));
    for (k, band) in first.power_ratio.iter().enumerate() {
        let name = if band.first == band.last { format!("power ell {}", band.first) } else { format!("power ell {}..{}", band.first, band.last) };
        singles(name, if band.ratio.is_some() { "1" } else { "none" }, &|v| v.power_ratio[k].ratio.map_or("-".into(), |r| format!("{r:.4}")));
    }
    singles("statistics error, start".into(), "0", &|v| format!("{:.3e}", v.error_start));
    singles("statistics error, end".into(), "0", &|v| format!("{:.3e}", v.error_end));
    for (k, (name, ..)) in first.errors.iter().enumerate() {
        singles(format!("  {name}"), "0", &|v| format!("{:.1e} -> {:.1e}", v.errors[k].1, v.errors[k].2));
    }
    singles("loss, start".into(), "0", &|v| format!("{:.4e}", v.loss_start));
    singles("loss, end".into(), "0", &|v| format!("{:.4e}", v.loss_end));
    let header = ["target".to_string()].into_iter().chain(report.iter().map(|v| format!("member {}", v.member))).collect();
    rows.insert(0, (String::new(), header));
    let name_width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0);
    let width = rows.iter().flat_map(|r| r.1.iter().map(String::len)).max().unwrap_or(0);
    rows.iter().map(|(name, cells)| format!("{name:name_width$}{}\n", cells.iter().map(|c| format!("  {c:>width$}")).collect::<String>())).collect()
}
