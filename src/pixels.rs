//! HEALPix maps with the statistics of others, by descent on their pixels: synthesis from coarse to fine, inpainting, denoising.
//!
//! ```text
//! target, mask -> statistics T, sigmas -> terms: value and gradient of the weighted loss of a u + b -> L-BFGS over free pixels -> next finer map
//! ```
//!
//! The loss of a term is the mean over all N coefficients of |S - T|^2 / sigma^2. Masks weigh averages, of the target and of the candidate alike. Several terms add, value and
//! gradient alike. On CUDA the vectors of the optimiser stay on the device where one term depends on the unknown map through one field, as in a synthesis; sums of terms come
//! together on the host.

use crate::gaussian::{GaussianError, Gaussianised};
use crate::optimise::resident::{Capacity, minimise_resident};
use crate::optimise::{self, Control, Method, Objective, ObjectiveError, OptimiseError, Outcome, Progress};
use crate::residency::variables;
use crate::sensitivity::parameter_arrays;
use crate::{Compiled, Compiler, Device, Encoder, Error, Goal, Healpix, MASK, Source, Statistics, random};
use scatterc_compiler::domain::{Domain, DomainError};
use scatterc_compiler::healpix::LARGEST_NSIDE;
use scatterc_kernels::gather::Sums;
use scatterc_kernels::stencil::{self, Pixels};
use scatterc_kernels::{KernelError, Serial};
use scatterc_runtime::Executable;
use scatterc_runtime::resident::Variables;
use std::collections::BTreeMap;

/// Work on maps that cannot be done.
///
/// ```
/// use scatterc::Healpix;
/// use scatterc::pixels::{PixelError, check_mask};
///
/// let domain = Healpix::new(4, 2, 3)?;
/// assert!(matches!(check_mask(&domain, &[1.0; 5]), Err(PixelError::Length { what: "mask", expected: 192, found: 5 })));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PixelError {
    /// The statistic, its compilation or its run.
    #[error(transparent)]
    Program(#[from] Error),
    /// The optimiser.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// A target that cannot be made Gaussian.
    #[error(transparent)]
    Gaussian(#[from] GaussianError),
    /// Geometry that the kernels refuse.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An array of the wrong length.
    #[error("the {what} has {found} pixels, expected {expected}")]
    Length {
        /// Which array.
        what: &'static str,
        /// Right length.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A pixel that is no number, or a negative weight.
    #[error("the {what} has {found} at pixel {index}; expected {expected}")]
    Value {
        /// Which array.
        what: &'static str,
        /// Position.
        index: usize,
        /// What was expected.
        expected: &'static str,
        /// The pixel.
        found: f64,
    },
    /// A mask of which a coarse map keeps nothing.
    #[error("the mask is empty at scale {scale} (nside {nside}); use fewer scales, a smaller threshold, or a larger mask")]
    EmptyMask {
        /// The scale.
        scale: usize,
        /// Its resolution.
        nside: usize,
    },
    /// A target without structure.
    #[error("the target has variance {found:.1e}; expected a map that varies")]
    ZeroVariance {
        /// Its variance.
        found: f64,
    },
    /// A coefficient without spread, by which the loss would divide.
    #[error("entry {entry} of `{output}` has sigma {found:.1e}; expected a positive one: weigh coefficients alike instead, or change the map")]
    NoSpread {
        /// The output.
        output: String,
        /// Position in it.
        entry: usize,
        /// Its sigma.
        found: f64,
    },
    /// Levels that a map does not have.
    #[error("{found} levels are asked for, expected from 1 to {most}")]
    Levels {
        /// What was asked.
        found: usize,
        /// How many there are.
        most: usize,
    },
    /// Doublings of the resolution that are too many, or of a map that is not free and whole.
    #[error("{found} doublings of the resolution are asked for, expected at most {most}; masks, free pixels, second maps and patches allow none")]
    Upsample {
        /// What was asked.
        found: usize,
        /// How many are possible.
        most: usize,
    },
    /// Choices that pairs of maps do not have.
    #[error("{what} is not available for maps with spin {spin}; expected a synthesis on the pixels of one resolution")]
    Spin {
        /// Spin of the maps.
        spin: usize,
        /// What was asked.
        what: &'static str,
    },
    /// A mask that frees nothing.
    #[error("none of {found} pixels is free")]
    NothingFree {
        /// Pixels of the mask.
        found: usize,
    },
    /// A statistic with another number of fields.
    #[error("the statistic has {expected} fields, found {found} maps")]
    Fields {
        /// Fields of the statistic.
        expected: usize,
        /// Maps given.
        found: usize,
    },
}

impl From<DomainError> for PixelError {
    fn from(error: DomainError) -> Self {
        PixelError::Program(error.into())
    }
}

/// What is measured, and how coefficients weigh.
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// let (statistics, sigmas) = measure.measure(&domain, &[&target], None)?;
/// let sigmas = sigmas.expect("foscat has a variant `sigma`");
/// assert!(statistics.arrays.iter().zip(&sigmas.arrays).all(|(s, sigma)| s.re.len() == sigma.re.len()));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Measure {
    /// Text of the statistic.
    pub source: Source,
    /// One of several statistics of the source.
    pub statistic: Option<String>,
    /// A named `return`.
    pub variant: Option<String>,
    /// The variant that gives the sigma of every output; all coefficients weigh alike when absent.
    pub sigma: Option<String>,
    /// Number parameters.
    pub numbers: BTreeMap<String, f64>,
    /// Threads; 0 means all cores.
    pub threads: usize,
    /// What runs the statistic and its gradient; on CUDA the vectors of the optimiser stay there, too.
    pub device: Device,
}

impl Measure {
    /// A built-in statistic or file, weighted by its variant `sigma`, which `foscat` has.
    ///
    /// ```
    /// use scatterc::pixels::Measure;
    ///
    /// assert_eq!(Measure::new("foscat")?.sigma.as_deref(), Some("sigma"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn new(statistic: &str) -> Result<Self, Error> {
        let source = Source::find(statistic)?;
        Ok(Measure {
            source,
            statistic: None,
            variant: None,
            sigma: Some("sigma".into()),
            numbers: BTreeMap::new(),
            threads: 0,
            device: Device::default(),
        })
    }

    fn compiler<'a>(&'a self, domain: &'a Healpix, variant: Option<&str>) -> Compiler<'a> {
        let mut compiler = Compiler::new(&self.source, domain).variant(variant).threads(self.threads).device(self.device);
        if let Some(name) = &self.statistic {
            compiler = compiler.statistic(name);
        }
        self.numbers.iter().fold(compiler, |compiler, (name, value)| compiler.number(name, *value))
    }

    fn run(&self, domain: &Healpix, variant: Option<&str>, maps: &[&[f64]], mask: Option<&[f64]>) -> Result<Statistics, PixelError> {
        let mut encoder: Encoder = self.compiler(domain, variant).encoder()?;
        if let Some(mask) = mask {
            encoder.set(MASK, mask)?;
        }
        Ok(encoder.encode_fields(maps)?)
    }

    /// Statistics of maps, one per field of the statistic, and their sigmas.
    ///
    /// Error: maps or mask of the wrong length, a mask that is empty at some scale, a sigma that is not positive.
    ///
    /// ```
    /// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
    /// # let domain = Healpix::new(4, 2, 3)?;
    /// # let target = random::samples(domain.len(), 1, 0);
    /// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
    /// // A mask of ones weighs like none.
    /// let plain = measure.measure(&domain, &[&target], None)?.0;
    /// let masked = measure.measure(&domain, &[&target], Some(&vec![1.0; domain.len()]))?.0;
    /// for (a, b) in plain.arrays[0].re.iter().zip(&masked.arrays[0].re) {
    ///     assert!((a - b).abs() < 1e-10 * a.abs().max(1.0));
    /// }
    /// # Ok::<(), scatterc::pixels::PixelError>(())
    /// ```
    pub fn measure(&self, domain: &Healpix, maps: &[&[f64]], mask: Option<&[f64]>) -> Result<(Statistics, Option<Statistics>), PixelError> {
        for map in maps {
            check("map", map, domain.input_type().len())?;
        }
        if let Some(mask) = mask {
            check_mask(domain, mask)?;
        }
        let domain = masked(domain, mask);
        let found = self.run(&domain, self.variant.as_deref(), maps, mask)?;
        let Some(variant) = &self.sigma else { return Ok((found, None)) };
        let sigma = self.run(&domain, Some(variant), maps, mask)?;
        for array in &sigma.arrays {
            if let Some(entry) = array.re.iter().position(|s| s.is_nan() || *s <= 0.0) {
                return Err(PixelError::NoSpread { output: array.name.clone(), entry, found: array.re[entry] });
            }
        }
        Ok((found, Some(sigma)))
    }
}

/// The domain with averages weighted if there is a mask.
fn masked(domain: &Healpix, mask: Option<&[f64]>) -> Healpix {
    let mut domain = domain.clone();
    domain.masked = mask.is_some();
    domain
}

fn check(what: &'static str, map: &[f64], expected: usize) -> Result<(), PixelError> {
    if map.len() != expected {
        return Err(PixelError::Length { what, expected, found: map.len() });
    }
    match map.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(PixelError::Value { what, index, expected: "finite numbers", found: map[index] }),
        None => Ok(()),
    }
}

/// Checks a mask: its length, its weights, and that something is left of it at every scale of the domain.
///
/// ```
/// use scatterc::{Healpix, pixels::check_mask};
///
/// let domain = Healpix::new(4, 2, 3)?;
/// let mut mask = vec![1.0; domain.len()];
/// assert!(check_mask(&domain, &mask).is_ok());
/// mask[7] = -1.0;
/// assert!(check_mask(&domain, &mask).unwrap_err().to_string().contains("pixel 7"));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
pub fn check_mask(domain: &Healpix, mask: &[f64]) -> Result<(), PixelError> {
    check("mask", mask, domain.len())?;
    if let Some(index) = mask.iter().position(|x| *x < 0.0) {
        return Err(PixelError::Value { what: "mask", index, expected: "weights from 0 on", found: mask[index] });
    }
    let mut nside = domain.nside;
    let mut weights = mask.to_vec();
    if domain.is_upgraded() {
        weights = upgraded(nside, &weights)?;
        nside *= 2;
    }
    for scale in 0..domain.J {
        if scale > 0 {
            weights = downgraded(nside, domain.cells(scale - 1), &weights)?;
            nside /= 2;
            if let Some(t) = domain.threshold {
                weights.iter_mut().filter(|w| **w <= t).for_each(|w| *w = 0.0);
            }
        }
        if weights.iter().sum::<f64>() <= 0.0 {
            return Err(PixelError::EmptyMask { scale, nside });
        }
    }
    Ok(())
}

/// A map of half the nside: weighted means over the children of every pixel and of its neighbours.
///
/// - `cells`: the patch, in ascending order; the whole sphere when empty
///
/// ```
/// use scatterc::pixels::downgraded;
///
/// // Rows of weights sum to one.
/// let coarse = downgraded(4, &[], &[3.0; 12 * 4 * 4])?;
/// assert!(coarse.len() == 12 * 2 * 2 && coarse.iter().all(|x| (x - 3.0).abs() < 1e-12));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
pub fn downgraded(nside: usize, cells: &[usize], map: &[f64]) -> Result<Vec<f64>, PixelError> {
    let (fine, coarse) = (Pixels::new(nside)?, Pixels::new(nside / 2)?);
    let targets = if cells.is_empty() { (0..coarse.len()).collect() } else { stencil::coarse_cells(cells) };
    let sums = Sums::new(stencil::downgrade(&fine, &coarse, &targets, cells)?, false);
    apply(&sums, map)
}

/// A map of the whole sphere of twice the nside.
///
/// ```
/// use scatterc::pixels::upgraded;
///
/// let fine = upgraded(2, &[3.0; 12 * 2 * 2])?;
/// assert!(fine.len() == 12 * 4 * 4 && fine.iter().all(|x| (x - 3.0).abs() < 1e-12));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
pub fn upgraded(nside: usize, map: &[f64]) -> Result<Vec<f64>, PixelError> {
    let sums = Sums::new(stencil::upgrade(&Pixels::new(2 * nside)?, &Pixels::new(nside)?)?, false);
    apply(&sums, map)
}

fn apply(sums: &Sums, map: &[f64]) -> Result<Vec<f64>, PixelError> {
    let (from, to) = sums.lengths();
    check("map", map, from)?;
    let mut out = vec![0.0; to];
    sums.apply(&Serial, &[map], &mut [&mut out]);
    Ok(out)
}

/// A map that depends on the unknown one, u: `factor` u + `offset`.
///
/// ```
/// use scatterc::pixels::Affine;
///
/// // A map of which u is half: 0.5 u + 1.
/// let affine = Affine { factor: 0.5, offset: Some(vec![1.0; 12]) };
/// assert!(affine != Affine::unknown());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// How much of u.
    pub factor: f64,
    /// What is added; nothing when absent.
    pub offset: Option<Vec<f64>>,
}

impl Affine {
    /// The unknown map itself.
    ///
    /// ```
    /// use scatterc::pixels::Affine;
    ///
    /// assert_eq!(Affine::unknown(), Affine { factor: 1.0, offset: None });
    /// ```
    pub fn unknown() -> Self {
        Affine { factor: 1.0, offset: None }
    }

    /// A map that does not change.
    ///
    /// ```
    /// use scatterc::pixels::Affine;
    ///
    /// assert_eq!(Affine::given(&[1.0, 2.0]), Affine { factor: 0.0, offset: Some(vec![1.0, 2.0]) });
    /// ```
    pub fn given(map: &[f64]) -> Self {
        Affine { factor: 0.0, offset: Some(map.to_vec()) }
    }
}

/// One loss: statistics of maps that depend on u, compared with given ones.
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// let (statistics, sigma) = measure.measure(&domain, &[&target], None)?;
/// let term = Term::new(&measure, &domain, vec![Affine::unknown()], &statistics, sigma.as_ref(), None, 1.0)?;
/// let descent = Descent { steps: 3, ..Descent::default() };
/// let (map, outcome) = minimise(vec![term], &random::samples(domain.len(), 2, 0), None, &descent, &mut |_| Control::Continue)?;
/// assert!(map.len() == domain.len() && outcome.values[0] < outcome.history[0][0]);
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
pub struct Term {
    compiled: Compiled,
    /// Loaded when it is first run, for CUDA with or without the vectors of an optimiser.
    executable: Option<Executable>,
    threads: usize,
    names: Vec<String>,
    inputs: Vec<Affine>,
    maps: Vec<Vec<f64>>,
    fixed: Vec<(String, Vec<f64>)>,
    factor: f64,
}

impl Term {
    /// The loss `factor` / N sum |S(inputs) - target|^2 / sigma^2 over all N coefficients.
    ///
    /// - `inputs`: one per field of the statistic
    /// - `target`, `sigma`: from [`Measure::measure`]; without sigmas coefficients weigh alike
    ///
    /// ```
    /// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
    /// # let domain = Healpix::new(4, 2, 3)?;
    /// # let target = random::samples(domain.len(), 1, 0);
    /// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
    /// let statistics = measure.measure(&domain, &[&target], None)?.0;
    /// assert!(Term::new(&measure, &domain, vec![Affine::unknown()], &statistics, None, None, 1.0).is_ok());
    /// // The statistic has one field.
    /// assert!(matches!(Term::new(&measure, &domain, vec![], &statistics, None, None, 1.0), Err(PixelError::Fields { expected: 1, found: 0 })));
    /// # Ok::<(), scatterc::pixels::PixelError>(())
    /// ```
    pub fn new(
        measure: &Measure,
        domain: &Healpix,
        inputs: Vec<Affine>,
        target: &Statistics,
        sigma: Option<&Statistics>,
        mask: Option<&[f64]>,
        factor: f64,
    ) -> Result<Self, PixelError> {
        let domain = masked(domain, mask);
        let goal = Goal::Gradient("weighted".into());
        let compiler = measure.compiler(&domain, measure.variant.as_deref()).goal(goal);
        let (compiled, executable) = if measure.device.is_cuda() {
            (compiler.planned()?, None)
        } else {
            let (compiled, executable) = compiler.executable()?;
            (compiled, Some(executable))
        };
        let names: Vec<String> = scatterc_compiler::gradient::inputs(&compiled.bound.graph).into_iter().map(|(_, name)| name).collect();
        if names.len() != inputs.len() {
            return Err(PixelError::Fields { expected: names.len(), found: inputs.len() });
        }
        for offset in inputs.iter().filter_map(|i| i.offset.as_ref()) {
            check("offset", offset, domain.input_type().len())?;
        }
        let mut fixed: Vec<(String, Vec<f64>)> = parameter_arrays("T", target).into_iter().map(|(name, values)| (name, values.to_vec())).collect();
        let total: usize = target.arrays.iter().map(|a| a.re.len()).sum();
        for array in &target.arrays {
            // The loss takes means output by output; this makes them one mean over all.
            let share = array.re.len() as f64 / total as f64;
            let sigma = sigma.and_then(|s| s.get(&array.name));
            let weights = match sigma {
                Some(sigma) => sigma.re.iter().map(|s| share / (s * s)).collect(),
                None => vec![share; array.re.len()],
            };
            fixed.push((format!("w.{}", array.name), weights));
        }
        fixed.extend(mask.map(|mask| (MASK.to_string(), mask.to_vec())));
        let empty = || vec![0.0; domain.input_type().len()];
        let maps = inputs.iter().map(|i| i.offset.clone().unwrap_or_else(empty)).collect();
        Ok(Term { compiled, executable, threads: measure.threads, names, inputs, maps, fixed, factor })
    }

    /// The field through which alone the loss depends on u, where the plan is for CUDA and the loss is that of the plan.
    fn only_input(&self) -> Option<usize> {
        let mut unknown = (0..self.inputs.len()).filter(|k| self.inputs[*k].factor != 0.0);
        let first = unknown.next();
        let is_cuda = self.compiled.plan().target == scatterc_ir::plan::Target::Cuda;
        first.filter(|_| unknown.next().is_none() && is_cuda && self.factor == 1.0)
    }

    /// Loads the plan with the vectors of an optimiser for the free pixels (p, g) of u = (1 - g) fixed + g v.
    fn load_resident(&mut self, input: usize, free: &[(usize, f64)], fixed: &[f64], method: &Method) -> Result<(), Error> {
        let Affine { factor, offset } = &self.inputs[input];
        let shift = |(p, g): &(usize, f64)| factor * ((1.0 - g) * fixed[*p]) + offset.as_ref().map_or(0.0, |offset| offset[*p]);
        let variables = Variables {
            places: free.iter().map(|(p, _)| *p).collect(),
            scales: free.iter().map(|(_, g)| factor * g).collect(),
            shifts: Some(free.iter().map(shift).collect()),
            ..variables(&self.names[input], 1, free.len(), Capacity::of(method))
        };
        self.executable = Some(self.compiled.load_resident(self.threads, None, &variables)?);
        Ok(())
    }

    /// Value at u; its gradient is added to `gradient`.
    ///
    /// ```
    /// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
    /// # let domain = Healpix::new(4, 2, 3)?;
    /// # let target = random::samples(domain.len(), 1, 0);
    /// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
    /// let statistics = measure.measure(&domain, &[&target], None)?.0;
    /// let mut term = Term::new(&measure, &domain, vec![Affine::unknown()], &statistics, None, None, 1.0)?;
    /// let mut gradient = vec![0.0; domain.len()];
    /// // At the target itself there is no loss.
    /// assert!(term.evaluate(&target, &mut gradient)? < 1e-20);
    /// assert!(term.evaluate(&random::samples(domain.len(), 2, 0), &mut gradient)? > 0.0 && gradient.iter().any(|g| *g != 0.0));
    /// # Ok::<(), scatterc::pixels::PixelError>(())
    /// ```
    pub fn evaluate(&mut self, u: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
        for (input, map) in self.inputs.iter().zip(&mut self.maps).filter(|(input, _)| input.factor != 0.0) {
            match &input.offset {
                None => map.iter_mut().zip(u).for_each(|(m, u)| *m = input.factor * u),
                Some(offset) => map.iter_mut().zip(u).zip(offset).for_each(|((m, u), b)| *m = input.factor * u + b),
            }
        }
        let mut given: Vec<(&str, &[f64])> = self.names.iter().map(String::as_str).zip(self.maps.iter().map(Vec::as_slice)).collect();
        given.extend(self.fixed.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let mut value = f64::NAN;
        let executable = match &mut self.executable {
            Some(executable) => executable,
            none => none.insert(self.compiled.load(self.threads, None)?),
        };
        for (name, numbers) in executable.run(&given)? {
            if name == "value" {
                value = numbers.iter().sum();
            } else if let Some(k) = self.names.iter().position(|n| name == format!("gradient.{n}")) {
                let factor = self.factor * self.inputs[k].factor;
                gradient.iter_mut().zip(numbers).for_each(|(g, x)| *g += factor * x);
            }
        }
        Ok(self.factor * value)
    }
}

/// Variables on all resolutions of a map, which make coarse structure as easy to move as fine: w = v_0 + U_1 (s_1 v_1 + U_2 (s_2 v_2 + ..)), where U_j is linear interpolation to the
/// next finer map, the transpose of the down-grade with rows that sum to one, and s_j the deviation of the target's structure at scale j, in units of that at scale 0.
///
/// A descent in these variables is one in the pixels with the metric sum_j s_j^2 U..U U^T..U^T, about the inverse of the target's power per mode.
struct Basis {
    steps: Vec<BasisStep>,
}

/// From one map to the next coarser one.
struct BasisStep {
    down: Sums,
    up: Sums,
    /// Sums of the columns of `down`.
    columns: Vec<f64>,
    scale: f64,
}

impl Basis {
    /// The variables for maps like `target` on the domain.
    fn new(domain: &Healpix, target: &[f64]) -> Result<Self, PixelError> {
        check("target", target, domain.len())?;
        let (mut nside, mut cells, mut map) = (domain.nside, domain.cells(0).to_vec(), target.to_vec());
        let (mut steps, mut deviations) = (Vec::new(), Vec::new());
        while nside > 1 && map.len() >= 16 {
            let (fine, coarse) = (Pixels::new(nside)?, Pixels::new(nside / 2)?);
            let targets: Vec<usize> = if cells.is_empty() { (0..coarse.len()).collect() } else { stencil::coarse_cells(&cells) };
            let rows = stencil::downgrade(&fine, &coarse, &targets, &cells)?;
            let (down, up) = (Sums::new(rows.clone(), false), Sums::new(rows, true));
            let mut columns = vec![0.0; map.len()];
            up.apply(&Serial, &[&vec![1.0; targets.len()]], &mut [&mut columns]);
            let mut smaller = vec![0.0; targets.len()];
            down.apply(&Serial, &[&map], &mut [&mut smaller]);
            let mut smooth = vec![0.0; map.len()];
            up.apply(&Serial, &[&smaller], &mut [&mut smooth]);
            let detail: f64 = map.iter().zip(&smooth).zip(&columns).map(|((x, y), c)| (x - y / c.max(f64::MIN_POSITIVE)).powi(2)).sum();
            deviations.push((detail / map.len() as f64).sqrt());
            steps.push(BasisStep { down, up, columns, scale: 1.0 });
            cells = if cells.is_empty() { vec![] } else { targets };
            (nside, map) = (nside / 2, smaller);
        }
        let mean = map.iter().sum::<f64>() / map.len() as f64;
        deviations.push((map.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / map.len() as f64).sqrt());
        let first = deviations.first().copied().filter(|s| *s > 0.0).unwrap_or(1.0);
        for (step, deviation) in steps.iter_mut().zip(&deviations[1..]) {
            step.scale = deviation / first;
        }
        Ok(Basis { steps })
    }

    /// Number of variables beyond the pixels of the map itself.
    fn coarse(&self) -> usize {
        self.steps.iter().map(|step| step.down.lengths().1).sum()
    }

    /// What coarse variables add to the map.
    fn spread(&self, v: &[f64]) -> Vec<f64> {
        let mut sum: Vec<f64> = Vec::new();
        let mut end = v.len();
        for step in self.steps.iter().rev() {
            let (fine, n) = step.down.lengths();
            let own = &v[end - n..end];
            end -= n;
            if sum.is_empty() {
                sum = vec![0.0; n];
            }
            sum.iter_mut().zip(own).for_each(|(s, v)| *s += step.scale * v);
            let mut finer = vec![0.0; fine];
            step.up.apply(&Serial, &[&sum], &mut [&mut finer]);
            finer.iter_mut().zip(&step.columns).for_each(|(x, c)| *x /= c.max(f64::MIN_POSITIVE));
            sum = finer;
        }
        sum
    }

    /// The transpose of [`Self::spread`].
    fn gather(&self, gradient: &[f64], out: &mut [f64]) {
        let mut own = gradient.to_vec();
        let mut start = 0;
        for step in &self.steps {
            own.iter_mut().zip(&step.columns).for_each(|(x, c)| *x /= c.max(f64::MIN_POSITIVE));
            let n = step.down.lengths().1;
            let mut coarser = vec![0.0; n];
            step.down.apply(&Serial, &[&own], &mut [&mut coarser]);
            out[start..start + n].iter_mut().zip(&coarser).for_each(|(g, x)| *g = step.scale * x);
            start += n;
            own = coarser;
        }
    }
}

/// A sum of terms as a function of the free part of a map: u = (1 - g) fixed + g w, with w the variables themselves or what a basis makes of them.
struct Problem {
    terms: Vec<Term>,
    fixed: Vec<f64>,
    free: Vec<(usize, f64)>,
    basis: Option<Basis>,
    map: Vec<f64>,
    gradient: Vec<f64>,
}

impl Problem {
    /// The map that variables stand for; where g is 0 it has the bits of the fixed map.
    fn place(&mut self, v: &[f64]) {
        let coarse = self.basis.as_ref().map(|basis| basis.spread(&v[self.free.len()..])).filter(|coarse| !coarse.is_empty());
        for ((p, g), v) in self.free.iter().zip(v) {
            let w = coarse.as_ref().map_or(*v, |coarse| v + coarse[*p]);
            self.map[*p] = if *g == 1.0 { w } else { (1.0 - g) * self.fixed[*p] + g * w };
        }
    }
}

impl Objective for Problem {
    fn evaluate(&mut self, v: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
        self.place(v);
        self.gradient.fill(0.0);
        let mut value = 0.0;
        for term in &mut self.terms {
            value += term.evaluate(&self.map, &mut self.gradient)?;
        }
        let n = self.free.len();
        self.free.iter().zip(&mut *gradient).for_each(|((p, g), out)| *out = g * self.gradient[*p]);
        if let Some(basis) = &self.basis {
            let mut all = vec![0.0; self.map.len()];
            self.free.iter().zip(&*gradient).for_each(|((p, _), g)| all[*p] = *g);
            basis.gather(&all, &mut gradient[n..]);
        }
        Ok(value)
    }
}

/// How far and with what a descent goes.
///
/// ```
/// use scatterc::optimise::Method;
/// use scatterc::pixels::Descent;
///
/// let descent = Descent { steps: 50, tolerance: 1e-4, ..Descent::default() };
/// assert!(matches!(descent.method, Method::Lbfgs(_)));
/// ```
#[derive(Clone, Debug)]
pub struct Descent {
    /// Optimiser.
    pub method: Method,
    /// Largest number of steps, of every level.
    pub steps: usize,
    /// Ends when the loss falls below this part of its first value.
    pub tolerance: f64,
}

impl Default for Descent {
    fn default() -> Self {
        Descent { method: Method::Lbfgs(optimise::Lbfgs::default()), steps: 300, tolerance: 0.0 }
    }
}

/// The map that minimises a sum of terms, from `start`; pixels that are not free keep their bits.
///
/// - `free`: all pixels when absent
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// let statistics = measure.measure(&domain, &[&target], None)?.0;
/// let term = Term::new(&measure, &domain, vec![Affine::unknown()], &statistics, None, None, 1.0)?;
/// // One pixel is free; the others keep their bits.
/// let start = random::samples(domain.len(), 2, 0);
/// let free: Vec<bool> = (0..domain.len()).map(|p| p == 5).collect();
/// let (map, _) = minimise(vec![term], &start, Some(&free), &Descent { steps: 2, ..Descent::default() }, &mut |_| Control::Continue)?;
/// assert!(map[5] != start[5] && map[6..] == start[6..]);
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
pub fn minimise(
    terms: Vec<Term>,
    start: &[f64],
    free: Option<&[bool]>,
    descent: &Descent,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<(Vec<f64>, Outcome), PixelError> {
    let soft: Option<Vec<f64>> = free.map(|free| free.iter().map(|f| f64::from(u8::from(*f))).collect());
    descend(terms, start, start, soft.as_deref(), None, descent, observer)
}

fn descend(
    terms: Vec<Term>,
    start: &[f64],
    fixed: &[f64],
    soft: Option<&[f64]>,
    basis: Option<Basis>,
    descent: &Descent,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<(Vec<f64>, Outcome), PixelError> {
    let n = start.len();
    let free: Vec<(usize, f64)> = match soft {
        None => (0..n).map(|p| (p, 1.0)).collect(),
        Some(g) if g.len() != n => return Err(PixelError::Length { what: "mask of free pixels", expected: n, found: g.len() }),
        Some(g) => (0..n).filter(|p| g[*p] > 0.0).map(|p| (p, g[p])).collect(),
    };
    if free.is_empty() {
        return Err(PixelError::NothingFree { found: n });
    }
    let coarse = basis.as_ref().map_or(0, Basis::coarse);
    let variables: Vec<f64> = free.iter().map(|(p, _)| start[*p]).chain(std::iter::repeat_n(0.0, coarse)).collect();
    let mut problem = Problem { terms, fixed: fixed.to_vec(), free, basis, map: fixed.to_vec(), gradient: vec![0.0; n] };
    let mut gradient = vec![0.0; variables.len()];
    let resident = if let [term] = &mut problem.terms[..]
        && problem.basis.is_none()
        && let Some(input) = term.only_input()
    {
        term.load_resident(input, &problem.free, fixed, &descent.method)?;
        true
    } else {
        false
    };
    // Where vectors are on the device this also gives it the pixels that are not free, and the targets.
    let first = problem.evaluate(&variables, &mut gradient).map_err(|source| OptimiseError::Objective { evaluation: 0, source })?;
    let target_value = (descent.tolerance > 0.0).then_some(first * descent.tolerance);
    let limits = optimise::Options { max_steps: descent.steps, target_value, ..optimise::Options::default() };
    let outcome = match &mut problem.terms[..] {
        [Term { executable: Some(executable), .. }] if resident => {
            let mut vectors = executable.vectors().map_err(Error::from)?;
            minimise_resident(&descent.method, variables, &mut vectors, &limits, observer)?
        }
        _ => optimise::minimise(&descent.method, variables, 1, &mut problem, &limits, observer)?,
    };
    problem.place(&outcome.x);
    Ok((problem.map, outcome))
}

/// Choices of a synthesis.
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// // Two resolutions, the same noise for the same seed.
/// let options = Options { levels: 2, seed: 3, descent: Descent { steps: 2, ..Descent::default() }, ..Options::default() };
/// let made = synthesise(&measure, &domain, &target, &options, &mut |_| Control::Continue)?;
/// assert_eq!(made.levels.iter().map(|level| level.nside).collect::<Vec<_>>(), [2, 4]);
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the map: other noise of the same seed.
    pub member: usize,
    /// The start, on the map of the coarsest level; white noise of the target's mean and variance when absent, with spin of each of its two maps.
    pub start: Option<Vec<f64>>,
    /// Weights of pixels in averages, of the target and of the candidate; invalid pixels have weight 0.
    pub mask: Option<Vec<f64>>,
    /// Free pixels; all when absent. Others keep the bits of the target.
    pub free: Option<Vec<bool>>,
    /// Maps of increasing resolution that the descent runs through, the last one the target's: 0 and 1 mean one.
    pub levels: usize,
    /// A second map for cross statistics, of the target and of the candidate.
    pub second: Option<Vec<f64>>,
    /// Makes the target Gaussian by rank first (where the mask counts) and the result like the target again; `start` is then a Gaussian map.
    pub gaussianise: bool,
    /// Descends in variables on all resolutions, which make coarse structure as easy to move as fine, not in the pixels themselves.
    /// Vectors stay on the host then.
    pub precondition: bool,
    /// Further losses, each the mean over the entries of another statistic of |S - T|^2 / sigma^2, times a factor.
    pub also: Vec<(Measure, f64)>,
    /// Doublings of the resolution after the last level: larger maps whose first scales have the statistics that the target's have.
    pub upsample: usize,
    /// The optimiser.
    pub descent: Descent,
}

/// One level of a synthesis.
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// let options = Options { descent: Descent { steps: 2, ..Descent::default() }, ..Options::default() };
/// let made = synthesise(&measure, &domain, &target, &options, &mut |_| Control::Continue)?;
/// assert_eq!((made.levels[0].nside, made.levels[0].outcome.iterations[0]), (4, 2));
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Its resolution.
    pub nside: usize,
    /// What the optimiser says; values of the loss per step are in `history`.
    pub outcome: Outcome,
}

/// A synthesised map.
///
/// ```
/// # use scatterc::{Healpix, optimise::Control, pixels::*, random};
/// # let domain = Healpix::new(4, 2, 3)?;
/// # let target = random::samples(domain.len(), 1, 0);
/// # let measure = Measure { threads: 1, ..Measure::new("foscat")? };
/// let options = Options { descent: Descent { steps: 2, ..Descent::default() }, ..Options::default() };
/// let made = synthesise(&measure, &domain, &target, &options, &mut |_| Control::Continue)?;
/// assert!(made.map.len() == domain.len() && made.start.len() == domain.len() && made.map != made.start);
/// # Ok::<(), scatterc::pixels::PixelError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Synthesised {
    /// The map.
    pub map: Vec<f64>,
    /// Where the first level started.
    pub start: Vec<f64>,
    /// Levels, coarsest first.
    pub levels: Vec<Level>,
}

/// What one level works on.
struct Stage {
    domain: Healpix,
    target: Vec<f64>,
    mask: Option<Vec<f64>>,
    free: Option<Vec<f64>>,
    second: Option<Vec<f64>>,
}

impl Stage {
    /// The same at half the resolution.
    fn coarser(&self) -> Result<Self, PixelError> {
        let (nside, cells) = (self.domain.nside, self.domain.cells(0).to_vec());
        let down = |map: &Option<Vec<f64>>| map.as_ref().map(|map| downgraded(nside, &cells, map)).transpose();
        let (L, K, scales) = (self.domain.L, self.domain.K, self.domain.J - 1 - usize::from(self.domain.is_upgraded()));
        let domain = if cells.is_empty() { Healpix::new(nside / 2, L, K)? } else { Healpix::patch(nside / 2, L, K, &stencil::coarse_cells(&cells))? };
        let most = domain.J - usize::from(domain.is_upgraded());
        let mut domain = domain.scales_kept(scales.min(most))?;
        domain.threshold = self.domain.threshold;
        Ok(Stage {
            domain,
            target: downgraded(nside, &cells, &self.target)?,
            mask: down(&self.mask)?,
            free: down(&self.free)?,
            second: down(&self.second)?,
        })
    }
}

/// Maps of ever higher resolution from one with the statistics of `target`: interpolated, then descended on with the same references at scales 0 to J - 1 of the larger map.
fn enlarged(
    measure: &Measure,
    domain: &Healpix,
    target: &[f64],
    mut map: Vec<f64>,
    options: &Options,
    made: &mut Vec<Level>,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Vec<f64>, PixelError> {
    let plain = options.mask.is_none() && options.free.is_none() && options.second.is_none() && domain.cells(0).is_empty();
    let most = (LARGEST_NSIDE / domain.nside).ilog2() as usize;
    if !plain || options.upsample > most {
        return Err(PixelError::Upsample { found: options.upsample, most: if plain { most } else { 0 } });
    }
    let scales = domain.J - usize::from(domain.is_upgraded());
    let reference = measure.measure(domain, &[target], None)?;
    let also = options.also.iter().map(|(also, _)| also.measure(domain, &[target], None)).collect::<Result<Vec<_>, _>>()?;
    for k in 1..=options.upsample {
        let larger = Healpix::new(domain.nside << k, domain.L, domain.K)?.scales_kept(scales)?;
        map = upgraded(domain.nside << (k - 1), &map)?;
        let term = |measure: &Measure, (found, sigma): &(Statistics, Option<Statistics>), factor: f64| {
            Term::new(measure, &larger, vec![Affine::unknown()], found, sigma.as_ref(), None, factor)
        };
        let mut terms = vec![term(measure, &reference, 1.0)?];
        for ((also, factor), reference) in options.also.iter().zip(&also) {
            terms.push(term(also, reference, *factor)?);
        }
        let basis = options.precondition.then(|| Basis::new(&larger, &map)).transpose()?;
        let (next, outcome) = descend(terms, &map, &map, None, basis, &options.descent, observer)?;
        made.push(Level { nside: larger.nside, outcome });
        map = next;
    }
    Ok(map)
}

/// A map with the statistics of `target`; see [`Options`].
///
/// ```
/// use scatterc::{Healpix, optimise::Control, pixels, random};
///
/// let domain = Healpix::new(4, 2, 3)?;
/// let target = random::samples(domain.len(), 1, 0);
/// let mut measure = pixels::Measure::new("foscat")?;
/// measure.threads = 1;
/// let options = pixels::Options { descent: pixels::Descent { steps: 3, ..Default::default() }, ..Default::default() };
/// let made = pixels::synthesise(&measure, &domain, &target, &options, &mut |_| Control::Continue)?;
/// assert!(made.levels[0].outcome.values[0] < made.levels[0].outcome.history[0][0]);
/// # Ok::<(), pixels::PixelError>(())
/// ```
pub fn synthesise(
    measure: &Measure,
    domain: &Healpix,
    target: &[f64],
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Synthesised, PixelError> {
    let components = domain.components();
    check("target", target, domain.input_type().len())?;
    if let Some(mask) = &options.mask {
        check_mask(domain, mask)?;
    }
    if let Some(second) = &options.second {
        check("second map", second, domain.input_type().len())?;
    }
    let refused = [
        (options.gaussianise, "a target made Gaussian"),
        (options.levels > 1, "a descent from coarse to fine"),
        (options.precondition, "a descent in variables on all resolutions"),
        (options.upsample > 0, "a larger map"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(asked, _)| *asked && components > 1) {
        return Err(PixelError::Spin { spin: domain.spin, what });
    }
    if let Some(free) = options.free.as_ref().filter(|free| free.len() != domain.len()) {
        return Err(PixelError::Length { what: "mask of free pixels", expected: domain.len(), found: free.len() });
    }
    if options.gaussianise {
        let counts = options.mask.as_ref().map(|mask| |p: usize| mask[p] > 0.0);
        let gaussian = Gaussianised::new(target, counts.as_ref().map(|counts| counts as &dyn Fn(usize) -> bool))?;
        let plain = Options { gaussianise: false, ..options.clone() };
        let mut made = synthesise(measure, domain, &gaussian.field, &plain, observer)?;
        made.map = gaussian.back(&made.map);
        if let Some(free) = &options.free {
            made.map.iter_mut().zip(target).zip(free).filter(|(_, free)| !**free).for_each(|((x, own), _)| *x = *own);
        }
        return Ok(made);
    }
    let levels = options.levels.max(1);
    let scales = domain.J - usize::from(domain.is_upgraded());
    let most = if domain.cells(0).is_empty() { scales } else { 1 };
    if levels > most {
        return Err(PixelError::Levels { found: levels, most });
    }
    let free = options.free.as_ref().map(|free| free.repeat(components).iter().map(|f| f64::from(u8::from(*f))).collect());
    let mut stages =
        vec![Stage { domain: domain.clone(), target: target.to_vec(), mask: options.mask.clone(), free, second: options.second.clone() }];
    for k in 1..levels {
        let coarser = stages[k - 1].coarser()?;
        stages.push(coarser);
    }
    let mut made: Vec<Level> = Vec::new();
    let mut map: Option<Vec<f64>> = None;
    let mut first = Vec::new();
    for stage in stages.iter().rev() {
        let n = stage.domain.len();
        let mut start = match (map.take(), &options.start) {
            (Some(coarse), _) => upgraded(stage.domain.nside / 2, &coarse)?,
            (None, Some(start)) => {
                check("start", start, stage.target.len())?;
                start.clone()
            }
            (None, None) => {
                let mut noise = random::samples(stage.target.len(), options.seed, options.member);
                for (own, target) in noise.chunks_exact_mut(n).zip(stage.target.chunks_exact(n)) {
                    let weight = |p: usize| stage.mask.as_ref().map_or(1.0, |m| m[p]);
                    let total: f64 = (0..n).map(weight).sum();
                    let mean = (0..n).map(|p| weight(p) * target[p]).sum::<f64>() / total;
                    let variance = (0..n).map(|p| weight(p) * (target[p] - mean).powi(2)).sum::<f64>() / total;
                    if variance <= f64::EPSILON * mean * mean || variance == 0.0 {
                        return Err(PixelError::ZeroVariance { found: variance });
                    }
                    own.iter_mut().for_each(|x| *x = mean + variance.sqrt() * *x);
                }
                noise
            }
        };
        if let Some(free) = &stage.free {
            start.iter_mut().zip(free).zip(&stage.target).filter(|((_, g), _)| **g == 0.0).for_each(|((x, _), own)| *x = *own);
        }
        if made.is_empty() {
            first = start.clone();
        }
        let mask = stage.mask.as_deref();
        let fields: Vec<&[f64]> = std::iter::once(stage.target.as_slice()).chain(stage.second.as_deref()).collect();
        let (found, sigma) = measure.measure(&stage.domain, &fields, mask)?;
        let inputs = std::iter::once(Affine::unknown()).chain(stage.second.as_deref().map(Affine::given)).collect();
        let mut terms = vec![Term::new(measure, &stage.domain, inputs, &found, sigma.as_ref(), mask, 1.0)?];
        for (also, factor) in &options.also {
            let (found, sigma) = also.measure(&stage.domain, &[&stage.target], mask)?;
            terms.push(Term::new(also, &stage.domain, vec![Affine::unknown()], &found, sigma.as_ref(), mask, *factor)?);
        }
        let basis = options.precondition.then(|| Basis::new(&stage.domain, &stage.target)).transpose()?;
        let (next, outcome) = descend(terms, &start, &stage.target, stage.free.as_deref(), basis, &options.descent, observer)?;
        made.push(Level { nside: stage.domain.nside, outcome });
        map = Some(next);
    }
    if options.upsample > 0 {
        map = Some(enlarged(measure, domain, target, map.unwrap_or_default(), options, &mut made, observer)?);
    }
    Ok(Synthesised { map: map.unwrap_or_default(), start: first, levels: made })
}
