//! Images and series with the statistics of a target, by descent on their samples; inpainting where only some samples are free.
//!
//! ```text
//! target -> standardised -> norms P, targets T -> one plan: value and gradient of the loss -> L-BFGS over free samples -> field
//! ```
//!
//! A statistic with the array parameter `P` (and `P0`) is normalised by the powers of the target's wavelets (and of its low-pass part), so that scales weigh alike.

use crate::optimise::resident::{Capacity, minimise_resident};
use crate::optimise::{self, Control, Method, Objective, ObjectiveError, OptimiseError, Outcome, Progress};
use crate::residency::variables;
use crate::sensitivity::parameter_arrays;
use crate::{Compiled, Compiler, Device, Domain, Encoder, Error, Goal, Plane, Pyramid, Source, Statistics, random};
use scatterc_compiler::domain::DomainError;
use scatterc_compiler::gradient;
use scatterc_runtime::Executable;
use scatterc_runtime::resident::Variables;
use std::collections::BTreeMap;

/// A domain of images or series.
pub trait Flat: Domain {
    /// Rows and columns of the input; a series has one row.
    fn sizes(&self) -> (usize, usize);
    /// True for a series.
    fn is_series(&self) -> bool;
    /// The first scale at which nothing is left of a mask; none where averages are not weighted.
    fn empty_scale(&self, _mask: &[f64]) -> Option<usize> {
        None
    }
}

impl Flat for Plane {
    fn sizes(&self) -> (usize, usize) {
        (self.H, self.W)
    }
    fn is_series(&self) -> bool {
        self.line
    }
}

impl Flat for Pyramid {
    fn sizes(&self) -> (usize, usize) {
        (self.H, self.W)
    }
    fn is_series(&self) -> bool {
        self.line
    }
    fn empty_scale(&self, mask: &[f64]) -> Option<usize> {
        Pyramid::empty_scale(self, mask)
    }
}

/// Powers of the wavelets of a field, and of its low-pass part, on any Fourier domain.
const POWERS: &str = "statistic powers(x) {
    P[j, l] = mean(abs(unpad(wavelet(pad(x), j, l)))^2, j);
    P0      = power(unpad(lowpass(pad(x))));
    return P;
    return low: P0;
}";

/// Synthesis that cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextureError {
    /// The statistic, its compilation or its run.
    #[error(transparent)]
    Program(#[from] Error),
    /// The optimiser.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// An array of the wrong length.
    #[error("the {what} has {found} samples, expected {expected}")]
    Length {
        /// Which array.
        what: &'static str,
        /// Right length.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A sample that is no number.
    #[error("the {what} has {found} at position {index}; expected finite numbers")]
    NotFinite {
        /// Which array.
        what: &'static str,
        /// Position.
        index: usize,
        /// The sample.
        found: f64,
    },
    /// A target without texture.
    #[error("the target has variance {found:.1e}; expected a field that varies")]
    ZeroVariance {
        /// Its variance.
        found: f64,
    },
    /// Wavelets of the target without power.
    #[error("the target has no power at scale {scale} (power {found:.1e}): its statistics cannot be normalised there; use fewer scales")]
    NoPower {
        /// The scale.
        scale: i64,
        /// Its power.
        found: f64,
    },
    /// A mask that frees nothing.
    #[error("the mask frees none of {found} samples")]
    Mask {
        /// Samples of the mask.
        found: usize,
    },
}

impl From<DomainError> for TextureError {
    fn from(error: DomainError) -> Self {
        TextureError::Program(error.into())
    }
}

/// Choices of a synthesis.
#[derive(Clone, Debug)]
pub struct Options {
    /// One of several statistics of the source.
    pub statistic: Option<String>,
    /// A named `return`.
    pub variant: Option<String>,
    /// Number parameters.
    pub numbers: BTreeMap<String, f64>,
    /// The loss.
    pub loss: String,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the field: other noise of the same seed.
    pub member: usize,
    /// The start in the target's units; white noise of the target's mean and variance when absent.
    pub start: Option<Vec<f64>>,
    /// Free samples; all when absent.
    pub free: Option<Vec<bool>>,
    /// Optimiser.
    pub method: Method,
    /// Largest number of steps.
    pub steps: usize,
    /// Ends when the loss falls below this part of its first value.
    pub tolerance: f64,
    /// What computes statistics and gradients; on CUDA the vectors of the optimiser stay there. Default: the CPU.
    pub device: Device,
    /// Threads; 0 means all cores.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            statistic: None,
            variant: None,
            numbers: BTreeMap::new(),
            loss: "l2".into(),
            seed: 0,
            member: 0,
            start: None,
            free: None,
            method: Method::Lbfgs(optimise::Lbfgs::default()),
            steps: 300,
            tolerance: 1e-8,
            device: Device::Cpu,
            threads: 0,
        }
    }
}

/// A synthesised field.
#[derive(Clone, Debug, PartialEq)]
pub struct Texture {
    /// The field, in the target's units.
    pub field: Vec<f64>,
    /// Where it started.
    pub start: Vec<f64>,
    /// What the optimiser says; values of the loss per step are in `history`.
    pub outcome: Outcome,
}

/// The free samples as variables.
struct Problem {
    executable: Executable,
    name: String,
    fixed: Vec<(String, Vec<f64>)>,
    field: Vec<f64>,
    free: Vec<usize>,
}

impl Objective for Problem {
    fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
        self.free.iter().zip(x).for_each(|(k, x)| self.field[*k] = *x);
        let mut given: Vec<(&str, &[f64])> = vec![(&self.name, &self.field)];
        given.extend(self.fixed.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let mut value = f64::NAN;
        let wanted = format!("gradient.{}", self.name);
        for (name, numbers) in self.executable.run(&given)? {
            if name == "value" {
                value = numbers.iter().sum();
            } else if name == wanted {
                self.free.iter().zip(&mut *gradient).for_each(|(k, g)| *g = numbers[*k]);
            }
        }
        Ok(value)
    }
}

/// Norms that a compiled statistic asks for, taken from a field: the arrays `P` and `P0`.
///
/// Error: a scale without power (below 1e-20 of the largest).
pub fn norms(encoder: &Encoder, plane: &dyn Flat, field: &[f64], threads: usize) -> Result<Vec<(String, Vec<f64>)>, TextureError> {
    let source = Source::from_text(POWERS, "powers")?;
    let mut out = Vec::new();
    for (name, variant) in [("P", None), ("P0", Some("low"))] {
        if !encoder.compiled().bound.parameters.iter().any(|p| p.name == name) {
            continue;
        }
        let found = Compiler::new(&source, plane).variant(variant).threads(threads).encoder()?.encode(field)?;
        let Some(array) = found.arrays.into_iter().next() else { continue };
        let largest = array.re.iter().copied().fold(0.0, f64::max);
        for (power, row) in array.re.iter().zip(&array.index.rows) {
            // Written to catch powers that are not numbers too.
            let enough = *power > 1e-20 * largest;
            if !enough {
                return Err(TextureError::NoPower { scale: row.first().copied().unwrap_or(*plane.scales().end() as i64 + 1), found: *power });
            }
        }
        out.push((name.to_string(), array.re));
    }
    Ok(out)
}

/// A compiler of the statistic with every array parameter of norms given at run time.
pub fn normalised<'a>(compiler: Compiler<'a>, source: &Source, statistic: Option<&str>) -> Result<Compiler<'a>, Error> {
    let parameters = &source.statistic(statistic)?.statistic.parameters;
    Ok(["P", "P0"].iter().filter(|name| parameters.iter().any(|p| p.name.name == **name)).fold(compiler, |compiler, name| compiler.array(name)))
}

/// Checks a field: its length, its numbers.
pub fn check(what: &'static str, field: &[f64], expected: usize) -> Result<(), TextureError> {
    if field.len() != expected {
        return Err(TextureError::Length { what, expected, found: field.len() });
    }
    match field.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(TextureError::NotFinite { what, index, found: field[index] }),
        None => Ok(()),
    }
}

/// Synthesises one field with the statistics of `target`; see [`Options`].
///
/// ```
/// use scatterc::{Boundary, Plane, Source, optimise::Control, random, texture};
///
/// let source = Source::find("cheng")?;
/// let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// let target = random::samples(256, 1, 0);
/// let options = texture::Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Default::default() };
/// let made = texture::synthesise(&source, &plane, &target, &options, &mut |_| Control::Continue)?;
/// assert!(made.outcome.values[0] < made.outcome.history[0][0]);
/// # Ok::<(), texture::TextureError>(())
/// ```
pub fn synthesise(
    source: &Source,
    plane: &dyn Flat,
    target: &[f64],
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Texture, TextureError> {
    let (H, W) = plane.sizes();
    let n = H * W;
    check("target", target, n)?;
    let mean = target.iter().sum::<f64>() / n as f64;
    let variance = target.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
    if variance <= f64::EPSILON * mean * mean || variance == 0.0 {
        return Err(TextureError::ZeroVariance { found: variance });
    }
    let deviation = variance.sqrt();
    let standard = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| (x - mean) / deviation).collect() };
    let unit = standard(target);
    let mut compiler = Compiler::new(source, plane).variant(options.variant.as_deref()).device(options.device).threads(options.threads);
    if let Some(name) = &options.statistic {
        compiler = compiler.statistic(name);
    }
    for (name, value) in &options.numbers {
        compiler = compiler.number(name, *value);
    }
    let compiler = normalised(compiler, source, options.statistic.as_deref())?;
    let mut encoder = compiler.encoder()?;
    let norms = norms(&encoder, plane, &unit, options.threads)?;
    for (name, values) in &norms {
        encoder.set(name, values)?;
    }
    let statistics: Statistics = encoder.encode(&unit)?;
    let mut fixed: Vec<(String, Vec<f64>)> = parameter_arrays("T", &statistics).into_iter().map(|(name, values)| (name, values.to_vec())).collect();
    fixed.extend(norms);
    let noise = random::samples(n, options.seed, options.member);
    let mut field = match &options.start {
        Some(start) => {
            check("start", start, n)?;
            standard(start)
        }
        None => noise,
    };
    let free: Vec<usize> = match &options.free {
        None => (0..n).collect(),
        Some(mask) if mask.len() != n => return Err(TextureError::Length { what: "mask", expected: n, found: mask.len() }),
        Some(mask) => {
            field.iter_mut().zip(&unit).zip(mask).filter(|(_, free)| !**free).for_each(|((x, own), _)| *x = *own);
            (0..n).filter(|k| mask[*k]).collect()
        }
    };
    if free.is_empty() {
        return Err(TextureError::Mask { found: n });
    }
    let start = field.clone();
    let input = |compiled: &Compiled| gradient::inputs(&compiled.bound.graph).first().map(|(_, name)| name.clone()).unwrap_or_default();
    let compiler = compiler.goal(Goal::Gradient(options.loss.clone()));
    let (compiled, executable) = if options.device.is_cuda() {
        let known = |compiled: &Compiled| variables(&input(compiled), 1, free.len(), Capacity::of(&options.method));
        compiler.resident(&|compiled| Variables { places: free.clone(), ..known(compiled) })?
    } else {
        compiler.executable()?
    };
    let x0: Vec<f64> = free.iter().map(|k| field[*k]).collect();
    let mut problem = Problem { executable, name: input(&compiled), fixed, field, free };
    let mut gradient = vec![0.0; x0.len()];
    // On a device this also gives it the samples that are not free, and the targets.
    let first = problem.evaluate(&x0, &mut gradient).map_err(|source| OptimiseError::Objective { evaluation: 0, source })?;
    let limits = optimise::Options { max_steps: options.steps, target_value: Some(first * options.tolerance), ..optimise::Options::default() };
    let outcome = if options.device.is_cuda() {
        let mut vectors = problem.executable.vectors().map_err(Error::from)?;
        minimise_resident(&options.method, x0, &mut vectors, &limits, observer)?
    } else {
        optimise::minimise(&options.method, x0, 1, &mut problem, &limits, observer)?
    };
    let mut field = start.clone();
    problem.free.iter().zip(&outcome.x).for_each(|(k, x)| field[*k] = *x);
    let own = |x: &[f64]| x.iter().map(|x| mean + deviation * x).collect();
    Ok(Texture { field: own(&field), start: own(&start), outcome })
}
