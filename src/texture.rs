//! Images and series with the statistics of a target, by descent on their samples; inpainting where only some samples are free.
//!
//! ```text
//! target -> standardised -> norms P, targets T -> one plan: value and gradient of the loss -> L-BFGS over free samples -> field
//! ```
//!
//! A statistic with the array parameter `P` (and `P0`) is normalised by the powers of the target's wavelets (and of its low-pass part), so that scales weigh alike.

use crate::optimise::resident::{Capacity, resume_resident};
use crate::optimise::{self, CheckpointError, Control, Method, Objective, ObjectiveError, OptimiseError, Outcome, Progress, State};
use crate::residency::variables;
use crate::sensitivity::parameter_arrays;
use crate::{Compiled, Compiler, Device, Encoder, Error, Goal, Plane, Pyramid, Source, Statistics, random};
use scatterc_compiler::domain::{Domain, DomainError};
use scatterc_compiler::gradient;
use scatterc_compiler::healpix::MASK;
use scatterc_kernels::planar::PlanarFft;
use scatterc_runtime::Executable;
use scatterc_runtime::resident::Variables;
use std::collections::BTreeMap;

/// A domain of images or series.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(32, 32, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(1024, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let flat: &dyn Flat = &plane;
/// assert_eq!((flat.sizes(), flat.n_scales(), flat.is_series(), flat.is_masked()), ((32, 32), 2, false, false));
/// assert_eq!(flat.coarser(1)?.sizes(), (16, 16));
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub trait Flat: Domain {
    /// Rows and columns of the input; a series has one row.
    ///
    /// ```
    /// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
    /// # let source = Source::find("cheng")?;
    /// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
    /// # let target = random::samples(256, 1, 0);
    /// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
    /// assert_eq!(Flat::sizes(&plane), (16, 16));
    /// # Ok::<(), scatterc::texture::TextureError>(())
    /// ```
    fn sizes(&self) -> (usize, usize);
    /// True for a series.
    ///
    /// ```
    /// # use scatterc::{Boundary, Plane, Source, texture::Flat};
    /// # let filter = Source::find("cheng")?.filter("morlet")?;
    /// assert!(Plane::line(64, 2, 1, &filter, Boundary::Periodic)?.is_series());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    fn is_series(&self) -> bool;
    /// Number of scales.
    ///
    /// ```
    /// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
    /// # let source = Source::find("cheng")?;
    /// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
    /// # let target = random::samples(256, 1, 0);
    /// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
    /// assert_eq!(plane.n_scales(), 2);
    /// # Ok::<(), scatterc::texture::TextureError>(())
    /// ```
    fn n_scales(&self) -> usize;
    /// True when averages are weighted by a mask.
    ///
    /// ```
    /// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
    /// # let source = Source::find("cheng")?;
    /// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
    /// # let target = random::samples(256, 1, 0);
    /// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
    /// assert!(!plane.is_masked() && plane.mask().is_masked());
    /// # Ok::<(), scatterc::texture::TextureError>(())
    /// ```
    fn is_masked(&self) -> bool {
        self.parameters().iter().any(|name| name == MASK)
    }
    /// The same wavelets on half the size, `k` times over, with as many scales fewer. Error: sizes or filters that do not allow it.
    ///
    /// ```
    /// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
    /// # let source = Source::find("cheng")?;
    /// # let plane = Plane::new(32, 32, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
    /// # let target = random::samples(1024, 1, 0);
    /// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
    /// let coarser = Flat::coarser(&plane, 1)?;
    /// assert_eq!((coarser.sizes(), coarser.n_scales()), ((16, 16), 1));
    /// assert!(Flat::coarser(&plane, 2).is_err());
    /// # Ok::<(), scatterc::texture::TextureError>(())
    /// ```
    fn coarser(&self, k: usize) -> Result<Box<dyn Flat>, TextureError>;
    /// Refuses weights of which a grid that the domain averages on keeps nothing; their number and signs were checked.
    ///
    /// ```
    /// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
    /// # let source = Source::find("cheng")?;
    /// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
    /// # let target = random::samples(256, 1, 0);
    /// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
    /// let plane = plane.mask();
    /// assert!(plane.check_kept(&[1.0; 256]).is_ok() && plane.check_kept(&[0.0; 256]).is_err());
    /// # Ok::<(), scatterc::texture::TextureError>(())
    /// ```
    fn check_kept(&self, mask: &[f64]) -> Result<(), TextureError>;
}

impl Flat for Plane {
    fn sizes(&self) -> (usize, usize) {
        (self.H, self.W)
    }
    fn is_series(&self) -> bool {
        self.line
    }
    fn n_scales(&self) -> usize {
        self.J
    }
    fn coarser(&self, k: usize) -> Result<Box<dyn Flat>, TextureError> {
        Ok(Box::new(coarser(self, k)?))
    }
    fn check_kept(&self, mask: &[f64]) -> Result<(), TextureError> {
        match self.empty_grid(mask) {
            Some((scale, H, W)) => Err(TextureError::EmptyMask { scale, H, W }),
            None => Ok(()),
        }
    }
}

impl Flat for Pyramid {
    fn sizes(&self) -> (usize, usize) {
        (self.H, self.W)
    }
    fn is_series(&self) -> bool {
        self.line
    }
    fn n_scales(&self) -> usize {
        self.J
    }
    fn coarser(&self, k: usize) -> Result<Box<dyn Flat>, TextureError> {
        match k {
            0 => Ok(Box::new(self.clone())),
            _ => Err(TextureError::Levels { found: k + 1, expected: "1: stencils start on the grid itself".into() }),
        }
    }
    fn check_kept(&self, mask: &[f64]) -> Result<(), TextureError> {
        match self.empty_scale(mask) {
            Some(scale) => Err(TextureError::EmptyMask { scale, H: self.H >> scale, W: self.W >> scale }),
            None => Ok(()),
        }
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
///
/// ```
/// use scatterc::texture::{TextureError, check};
///
/// assert!(matches!(check("target", &[1.0, f64::NAN], 2), Err(TextureError::NotFinite { index: 1, .. })));
/// ```
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
    /// A weight below zero.
    #[error("the mask has {found} at position {index}; expected weights from 0 on")]
    Weight {
        /// Position.
        index: usize,
        /// The weight.
        found: f64,
    },
    /// Weights of averages that vanish on the grid of a scale.
    #[error("the mask leaves nothing of the {H} x {W} samples of scale {scale}; use fewer scales or a larger mask")]
    EmptyMask {
        /// The scale.
        scale: usize,
        /// Rows of its grid.
        H: usize,
        /// Columns of its grid.
        W: usize,
    },
    /// Resolutions that do not exist.
    #[error("{found} levels, expected {expected}")]
    Levels {
        /// What was asked.
        found: usize,
        /// What would be right.
        expected: String,
    },
    /// A checkpoint that does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl From<DomainError> for TextureError {
    fn from(error: DomainError) -> Self {
        TextureError::Program(error.into())
    }
}

/// Choices of a synthesis.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// // Only the upper half is free; the lower one keeps its bits.
/// let free: Vec<bool> = (0..256).map(|k| k < 128).collect();
/// let made = synthesise(&source, &plane, &target, &Options { free: Some(free), ..options }, &mut |_| Control::Continue)?;
/// assert!(made.field[..128] != target[..128]);
/// assert!(made.field[128..] == target[128..]);
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
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
    /// Weights of averages, of the target and of the field, for a domain with a mask.
    pub mask: Option<Vec<f64>>,
    /// Resolutions that the descent runs through, from coarse to fine, each of twice the size and one scale more than the one before.
    pub levels: usize,
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
            mask: None,
            levels: 1,
            method: Method::Lbfgs(optimise::Lbfgs::default()),
            steps: 300,
            tolerance: 1e-8,
            device: Device::default(),
            threads: 0,
        }
    }
}

/// A synthesised field.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let made = synthesise(&source, &plane, &target, &options, &mut |_| Control::Continue)?;
/// assert_eq!((made.field.len(), made.start.len(), made.outcome.iterations[0]), (256, 256, 3));
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
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
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let encoder = normalised(Compiler::new(&source, &plane).variant(Some("reference")), &source, None)?.encoder()?;
/// let norms = norms(&encoder, &plane, &target, None, 1)?;
/// // Two scales with four directions.
/// assert!(norms[0].0 == "P" && norms[0].1.len() == 8);
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn norms(
    encoder: &Encoder,
    plane: &dyn Flat,
    field: &[f64],
    mask: Option<&[f64]>,
    threads: usize,
) -> Result<Vec<(String, Vec<f64>)>, TextureError> {
    let source = Source::from_text(POWERS, "powers")?;
    let mut out = Vec::new();
    for (name, variant) in [("P", None), ("P0", Some("low"))] {
        if !encoder.compiled().bound.parameters.iter().any(|p| p.name == name) {
            continue;
        }
        let mut own = Compiler::new(&source, plane).variant(variant).threads(threads).encoder()?;
        if let Some(mask) = mask.filter(|_| plane.is_masked()) {
            own.set(MASK, mask)?;
        }
        let found = own.encode(field)?;
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
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let compiler = normalised(Compiler::new(&source, &plane).variant(Some("reference")), &source, None)?;
/// assert!(compiler.bind()?.parameters.iter().any(|parameter| parameter.name == "P"));
/// # Ok::<(), scatterc::Error>(())
/// ```
pub fn normalised<'a>(compiler: Compiler<'a>, source: &Source, statistic: Option<&str>) -> Result<Compiler<'a>, Error> {
    let parameters = &source.statistic(statistic)?.statistic.parameters;
    Ok(["P", "P0"].iter().filter(|name| parameters.iter().any(|p| p.name.name == **name)).fold(compiler, |compiler, name| compiler.array(name)))
}

/// Checks a field: its length, its numbers.
///
/// ```
/// use scatterc::texture::check;
///
/// assert!(check("target", &[1.0, 2.0], 2).is_ok());
/// assert_eq!(check("target", &[1.0], 2).unwrap_err().to_string(), "the target has 1 samples, expected 2");
/// ```
pub fn check(what: &'static str, field: &[f64], expected: usize) -> Result<(), TextureError> {
    if field.len() != expected {
        return Err(TextureError::Length { what, expected, found: field.len() });
    }
    match field.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(TextureError::NotFinite { what, index, found: field[index] }),
        None => Ok(()),
    }
}

/// Checks weights of averages: their number, that none is below zero, and that every grid on which the domain averages keeps some.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let plane = plane.mask();
/// assert!(check_mask(&plane, &[1.0; 256]).is_ok());
/// assert!(matches!(check_mask(&plane, &[-1.0; 256]), Err(TextureError::Weight { index: 0, .. })));
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn check_mask(plane: &dyn Flat, mask: &[f64]) -> Result<(), TextureError> {
    let (H, W) = plane.sizes();
    check("mask", mask, H * W)?;
    if let Some(index) = mask.iter().position(|x| *x < 0.0) {
        return Err(TextureError::Weight { index, found: mask[index] });
    }
    plane.check_kept(mask)
}

/// Spectrum of a field, real and imaginary parts.
fn spectrum(H: usize, W: usize, field: &[f64]) -> Result<(Vec<f64>, Vec<f64>), TextureError> {
    let (mut re, mut im) = (field.to_vec(), vec![0.0; field.len()]);
    transform(H, W, false, &mut re, &mut im)?;
    Ok((re, im))
}

fn transform(H: usize, W: usize, inverse: bool, re: &mut [f64], im: &mut [f64]) -> Result<(), TextureError> {
    let fft = PlanarFft::new(H, W).map_err(|e| TextureError::Program(DomainError::Unsupported(e.to_string()).into()))?;
    fft.in_place(inverse, re, im);
    Ok(())
}

/// Frequencies that grids of n <= N samples share, whole pairs k and -k: places on both.
fn shared(n: usize, N: usize) -> Vec<(usize, usize)> {
    if n == N {
        return (0..n).map(|k| (k, k)).collect();
    }
    let most = n.div_ceil(2);
    (0..most).map(|k| (k, k)).chain((1..most).map(|k| (n - k, N - k))).collect()
}

/// A field on a coarser grid, or a finer one, by its frequencies; those that only the other grid has are left at zero, or as `rest` has them.
fn resampled(from: (usize, usize), to: (usize, usize), field: &[f64], rest: Option<&[f64]>) -> Result<Vec<f64>, TextureError> {
    let (re, im) = spectrum(from.0, from.1, field)?;
    let (mut out_re, mut out_im) = match rest {
        Some(rest) => spectrum(to.0, to.1, rest)?,
        None => (vec![0.0; to.0 * to.1], vec![0.0; to.0 * to.1]),
    };
    let scale = (to.0 * to.1) as f64 / (from.0 * from.1) as f64;
    let pairs = |from: usize, to: usize| -> Vec<(usize, usize)> {
        if from <= to { shared(from, to) } else { shared(to, from).into_iter().map(|(a, b)| (b, a)).collect() }
    };
    for (r, p) in pairs(from.0, to.0) {
        for (c, q) in pairs(from.1, to.1) {
            let (k, n) = (r * from.1 + c, p * to.1 + q);
            (out_re[n], out_im[n]) = (scale * re[k], scale * im[k]);
        }
    }
    transform(to.0, to.1, true, &mut out_re, &mut out_im)?;
    Ok(out_re)
}

/// A plane of half the size, `k` times over, with as many scales fewer.
fn coarser(plane: &Plane, k: usize) -> Result<Plane, TextureError> {
    if k == 0 {
        return Ok(plane.clone());
    }
    let levels = |expected: String| TextureError::Levels { found: k + 1, expected };
    let fits = |n: usize| n.is_multiple_of(1 << k);
    if plane.J <= k || plane.bank.folded || !fits(plane.W) || !(plane.line || fits(plane.H)) {
        let most = plane.J.min(plane.W.trailing_zeros() as usize + 1).min(if plane.line { 64 } else { plane.H.trailing_zeros() as usize + 1 });
        let most = if plane.bank.folded { 1 } else { most };
        return Err(levels(format!("from 1 to {most} for {}", plane.describe())));
    }
    let filter = plane.bank.filter().map_err(|e| DomainError::Unsupported(e.to_string()))?;
    let made = if plane.line {
        Plane::line(plane.W >> k, plane.J - k, plane.L, &filter, plane.boundary)
    } else {
        Plane::new(plane.H >> k, plane.W >> k, plane.J - k, plane.L, &filter, plane.boundary, plane.cut_edges)
    };
    let made = made.map_err(|e| levels(format!("fewer: {e}")))?;
    let made = if plane.even_edges { made.even_edges()? } else { made };
    Ok(match (plane.masked, plane.eroded) {
        (false, _) => made,
        (true, false) => made.mask(),
        (true, true) => made.eroded_mask()?,
    })
}

/// Where a synthesis stood: how many resolutions were still to come, and the optimiser at this one.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// # let print = fingerprint(&source, &plane, &target, &options);
/// # let mut checkpoint = Vec::new();
/// # let whole = synthesise_from(&source, &plane, &target, &options, None, &mut |level, progress| {
/// #     if progress.iteration == 1 {
/// #         checkpoint = to_bytes(level, &progress.state().expect("vectors of the host"), &print);
/// #     }
/// #     Control::Continue
/// # })?;
/// // `checkpoint` was written after the first step.
/// let resumed: Resumed = from_bytes(&checkpoint, &print)?;
/// assert_eq!((resumed.level, resumed.state.iterations()), (0, vec![1]));
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub struct Resumed {
    /// Resolutions to come.
    pub level: usize,
    /// The optimiser.
    pub state: State,
}

/// Identifies a synthesis for checkpoints: plan, target, and where the field comes from. Steps and tolerance may change.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let first = fingerprint(&source, &plane, &target, &options);
/// assert_eq!(first, fingerprint(&source, &plane, &target, &Options { steps: 300, ..options.clone() }));
/// assert_ne!(first, fingerprint(&source, &plane, &target, &Options { seed: 1, ..options }));
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn fingerprint(source: &Source, plane: &dyn Flat, target: &[f64], options: &Options) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    let mut text = |part: &str| {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    };
    text(&source.text);
    text(&format!("{plane:?}"));
    let Options { statistic, variant, numbers, loss, seed, member, method, levels, .. } = options;
    text(&format!("{statistic:?} {variant:?} {numbers:?} {loss} {seed} {member} {method:?} {levels}"));
    for list in [Some(target), options.start.as_deref(), options.mask.as_deref()].into_iter().flatten() {
        hash.update(&(list.len() as u64).to_le_bytes());
        for x in list {
            hash.update(&x.to_le_bytes());
        }
    }
    for free in options.free.iter().flatten() {
        hash.update(&[u8::from(*free)]);
    }
    *hash.finalize().as_bytes()
}

/// Bytes of a checkpoint; see [`fingerprint`].
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// let state = scatterc::optimise::State::new(&options.method, vec![0.0; 256], 1)?;
/// let bytes = to_bytes(2, &state, &[7; 32]);
/// assert_eq!(from_bytes(&bytes, &[7; 32])?.level, 2);
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn to_bytes(level: usize, state: &State, fingerprint: &[u8; 32]) -> Vec<u8> {
    let mut bytes = (level as u64).to_le_bytes().to_vec();
    bytes.extend(state.to_bytes(fingerprint));
    bytes
}

/// Reads a checkpoint. Error: bytes that are none, damaged, or of another synthesis.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// # let print = fingerprint(&source, &plane, &target, &options);
/// # let mut checkpoint = Vec::new();
/// # let whole = synthesise_from(&source, &plane, &target, &options, None, &mut |level, progress| {
/// #     if progress.iteration == 1 {
/// #         checkpoint = to_bytes(level, &progress.state().expect("vectors of the host"), &print);
/// #     }
/// #     Control::Continue
/// # })?;
/// // `checkpoint` was written after the first step.
/// assert!(from_bytes(&checkpoint, &print).is_ok());
/// assert!(from_bytes(&checkpoint, &[0; 32]).is_err() && from_bytes(&checkpoint[..20], &print).is_err());
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn from_bytes(bytes: &[u8], fingerprint: &[u8; 32]) -> Result<Resumed, TextureError> {
    let (head, rest) = bytes.split_at_checked(8).unwrap_or((&[], bytes));
    let state = State::from_bytes(rest, fingerprint)?;
    let level = head.iter().rev().fold(0u64, |sum, byte| sum.wrapping_mul(256) + u64::from(*byte));
    Ok(Resumed { level: usize::try_from(level).unwrap_or(usize::MAX), state })
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
    synthesise_from(source, plane, target, options, None, &mut |_, progress| observer(progress))
}

/// [`synthesise`] from a checkpoint on, if there is one; the observer also sees how many resolutions are to come.
///
/// ```
/// # use scatterc::{Boundary, Compiler, Plane, Source, optimise::Control, random, texture::*};
/// # let source = Source::find("cheng")?;
/// # let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet")?, Boundary::Periodic, false)?;
/// # let target = random::samples(256, 1, 0);
/// # let options = Options { variant: Some("reference".into()), steps: 3, threads: 1, ..Options::default() };
/// # let print = fingerprint(&source, &plane, &target, &options);
/// # let mut checkpoint = Vec::new();
/// # let whole = synthesise_from(&source, &plane, &target, &options, None, &mut |level, progress| {
/// #     if progress.iteration == 1 {
/// #         checkpoint = to_bytes(level, &progress.state().expect("vectors of the host"), &print);
/// #     }
/// #     Control::Continue
/// # })?;
/// // `checkpoint` was written after the first step of the run that gave `whole`.
/// let resumed = from_bytes(&checkpoint, &print)?;
/// let made = synthesise_from(&source, &plane, &target, &options, Some(resumed), &mut |_, _| Control::Continue)?;
/// assert_eq!(made.field, whole.field);
/// # Ok::<(), scatterc::texture::TextureError>(())
/// ```
pub fn synthesise_from(
    source: &Source,
    plane: &dyn Flat,
    target: &[f64],
    options: &Options,
    mut resumed: Option<Resumed>,
    observer: &mut dyn FnMut(usize, &Progress<'_>) -> Control,
) -> Result<Texture, TextureError> {
    let full = plane.sizes();
    let n = full.0 * full.1;
    check("target", target, n)?;
    let J = plane.n_scales();
    if options.levels == 0 || options.levels > J {
        return Err(TextureError::Levels { found: options.levels, expected: format!("from 1 to the {J} scales") });
    }
    plane.coarser(options.levels - 1)?;
    for (what, given) in [("mask", options.mask.as_deref()), ("start", options.start.as_deref())] {
        given.map_or(Ok(()), |given| check(what, given, n))?;
    }
    if let Some(free) = &options.free
        && free.len() != n
    {
        return Err(TextureError::Length { what: "mask", expected: n, found: free.len() });
    }
    let first = resumed.as_ref().map_or(options.levels - 1, |resumed| resumed.level.min(options.levels - 1));
    let mut coarse: Option<((usize, usize), Vec<f64>)> = None;
    let (mut stopped, mut texture) = (false, None);
    for level in (0..=first).rev() {
        let own = plane.coarser(level)?;
        let size = own.sizes();
        let thinned =
            |list: &[f64]| -> Result<Vec<f64>, TextureError> { if level == 0 { Ok(list.to_vec()) } else { resampled(full, size, list, None) } };
        // A coarse sample is free where one of its fine ones is, and weighs what they weigh together.
        let block = |pick: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let (p, q) = (full.0 / size.0, full.1 / size.1);
            let sum = |k: usize| (0..p * q).map(|i| pick((k / size.1 * p + i / q) * full.1 + k % size.1 * q + i % q)).sum::<f64>() / (p * q) as f64;
            (0..size.0 * size.1).map(sum).collect()
        };
        let start = match (&coarse, &options.start) {
            // What a coarser resolution found, with noise of the target's spectrum of variance one beyond its frequencies.
            (Some((from, field)), _) => {
                let noise = scaled_noise(&thinned(target)?, options);
                Some(resampled(*from, size, field, Some(&noise))?)
            }
            (None, Some(start)) => Some(thinned(start)?),
            (None, None) => None,
        };
        let choices = Options {
            start,
            free: options.free.as_ref().map(|free| block(&|k| f64::from(u8::from(free[k]))).into_iter().map(|x| x > 0.0).collect()),
            mask: options.mask.as_ref().map(|mask| block(&|k| mask[k])),
            ..options.clone()
        };
        let state = resumed.take().map(|resumed| resumed.state);
        let mut watch = |progress: &Progress<'_>| {
            let control = observer(level, progress);
            stopped |= matches!(control, Control::Stop);
            control
        };
        let made = at_resolution(source, &*own, &thinned(target)?, &choices, state, &mut watch)?;
        if level == 0 || stopped {
            // An interrupted coarse run is shown on the grid that was asked for.
            let field = if level == 0 { made.field.clone() } else { resampled(size, full, &made.field, None)? };
            let start = if level == 0 { made.start.clone() } else { resampled(size, full, &made.start, None)? };
            texture = Some(Texture { field, start, outcome: made.outcome });
            break;
        }
        coarse = Some((size, made.field));
    }
    texture.ok_or_else(|| TextureError::Levels { found: options.levels, expected: "at least 1".into() })
}

/// White noise with the mean and the variance of a field.
fn scaled_noise(target: &[f64], options: &Options) -> Vec<f64> {
    let n = target.len() as f64;
    let mean = target.iter().sum::<f64>() / n;
    let deviation = (target.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    random::samples(target.len(), options.seed, options.member).into_iter().map(|x| mean + deviation * x).collect()
}

fn at_resolution(
    source: &Source,
    plane: &dyn Flat,
    target: &[f64],
    options: &Options,
    resumed: Option<State>,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Texture, TextureError> {
    let (H, W) = plane.sizes();
    let n = H * W;
    check("target", target, n)?;
    if let Some(mask) = &options.mask {
        check_mask(plane, mask)?;
    }
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
    let norms = norms(&encoder, plane, &unit, options.mask.as_deref(), options.threads)?;
    let mut norms = norms;
    norms.extend(options.mask.iter().filter(|_| plane.is_masked()).map(|mask| (MASK.to_string(), mask.clone())));
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
    let state = match resumed {
        Some(state) if state.dimension() == x0.len() && state.batch() == 1 => state,
        Some(state) => return Err(TextureError::Length { what: "checkpoint", expected: x0.len(), found: state.dimension() }),
        None => State::new(&options.method, x0, 1)?,
    };
    let outcome = if options.device.is_cuda() {
        let mut vectors = problem.executable.vectors().map_err(Error::from)?;
        resume_resident(state, &mut vectors, &limits, observer)?
    } else {
        optimise::resume(state, &mut problem, &limits, observer)?
    };
    let mut field = start.clone();
    problem.free.iter().zip(&outcome.x).for_each(|(k, x)| field[*k] = *x);
    // Samples that are not free keep their bits.
    let is_free = |k: usize| options.free.as_ref().is_none_or(|free| free[k]);
    let own = |x: &[f64]| x.iter().enumerate().map(|(k, x)| if is_free(k) { mean + deviation * x } else { target[k] }).collect();
    Ok(Texture { field: own(&field), start: own(&start), outcome })
}
