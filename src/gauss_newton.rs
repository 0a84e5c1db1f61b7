//! Gauss-Newton synthesis: fields with given statistics from Jacobian-vector and vector-Jacobian products.
//!
//! Minimises chi^2(x) = 1/2 sum_k w_k (S_k(x) - T_k)^2 by steps d that solve (J^T w J + lambda D) d = -J^T w (S - T) with conjugate gradients: each product with J^T w J is one
//! forward and one reverse mode run, no matrix is made. lambda follows Levenberg and Marquardt: it shrinks where a step keeps what the linear model promised and grows where
//! it does not. D is the identity in units of the mean curvature, so that lambda has no unit.
//!
//! It knows that the loss is a sum of squares, which pays near a solution; each inner iteration costs two runs. From far away it ends, like every descent, in the minimum that is near.

use crate::compile::{Compiler, Statistics};
use crate::sensitivity::{Pullback, Pushforward, SensitivityError, flatten};

/// When to stop, and how exact steps are.
///
/// ```
/// # use scatterc::gauss_newton::{GaussNewton, Options, Stop};
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
/// # let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// let options = Options { steps: 2, tolerance: 0.0, ..Options::default() };
/// let solution = GaussNewton::new(&compiler)?.solve(&target, &random::white(8, 2, 0), None, &options)?;
/// assert!(solution.stop == Stop::Steps && solution.history.len() <= 3);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Steps tried, accepted or not.
    pub steps: usize,
    /// Conjugate-gradient iterations of a step.
    pub inner: usize,
    /// A step ends its inner iterations where their residual is this part of the first.
    pub inner_tolerance: f64,
    /// Stops where chi^2 is this part of the first.
    pub tolerance: f64,
    /// First damping.
    pub damping: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { steps: 40, inner: 60, inner_tolerance: 1e-3, tolerance: 1e-12, damping: 1e-3 }
    }
}

/// Why it stopped.
///
/// ```
/// # use scatterc::gauss_newton::{GaussNewton, Options, Stop};
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
/// # let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// let options = Options { tolerance: 1e-3, ..Options::default() };
/// let solution = GaussNewton::new(&compiler)?.solve(&target, &random::white(8, 2, 0), None, &options)?;
/// assert_eq!(solution.stop, Stop::Converged);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// chi^2 is small enough.
    Converged,
    /// All steps are used.
    Steps,
    /// No damping makes a step that lowers chi^2: a minimum as far as rounding tells.
    Stuck,
}

/// What was found.
///
/// ```
/// # use scatterc::gauss_newton::{GaussNewton, Options, Stop};
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
/// # let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// let solution = GaussNewton::new(&compiler)?.solve(&target, &random::white(8, 2, 0), None, &Options::default())?;
/// let found = compiler.encoder()?.encode(&solution.field)?;
/// assert!((found.arrays[0].re[3] / target.arrays[0].re[3] - 1.0).abs() < 1e-3);
/// assert!(solution.runs >= 2 * (solution.history.len() - 1));
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The field, in its layout.
    pub field: Vec<f64>,
    /// chi^2 at the start and after every accepted step; it never grows.
    pub history: Vec<f64>,
    /// Runs of forward and reverse mode together.
    pub runs: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// A statistic with both of its products.
///
/// ```
/// use scatterc::gauss_newton::{GaussNewton, Options};
/// use scatterc::{Compiler, InputKind, Source, Sphere, random};
///
/// let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let compiler = Compiler::new(&source, &sphere);
/// let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// let solution = GaussNewton::new(&compiler)?.solve(&target, &random::white(8, 2, 0), None, &Options { steps: 5, ..Options::default() })?;
/// assert!(solution.history.windows(2).all(|w| w[1] < w[0]));
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
pub struct GaussNewton {
    forward: Pushforward,
    reverse: Pullback,
    runs: usize,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Numbers back into arrays of the same shape, in the order of [`flatten`].
fn unflatten(like: &Statistics, values: &[f64]) -> Statistics {
    let mut out = like.clone();
    let mut rest = values;
    for array in &mut out.arrays {
        for part in std::iter::once(&mut array.re).chain(array.im.as_mut()) {
            let (own, others) = rest.split_at(part.len().min(rest.len()));
            part[..own.len()].copy_from_slice(own);
            rest = others;
        }
    }
    out
}

impl GaussNewton {
    /// Compiles both products of a statistic of one field, without batch.
    ///
    /// ```
    /// # use scatterc::gauss_newton::{GaussNewton, Options, Stop};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// # let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
    /// assert!(GaussNewton::new(&compiler)?.solve(&target, &[0.0; 3], None, &Options::default()).is_err());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn new(compiler: &Compiler) -> Result<GaussNewton, SensitivityError> {
        Ok(GaussNewton { forward: Pushforward::new(compiler)?, reverse: Pullback::new(compiler)?, runs: 0 })
    }

    /// Sets an array parameter of the statistic, such as the norms `P`.
    ///
    /// ```
    /// # use scatterc::gauss_newton::GaussNewton;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?.with_outputs(None, &["S1"])?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut solver = GaussNewton::new(&Compiler::new(&source, &sphere).array("P"))?;
    /// solver.set("P", &[1.0; 4])?;
    /// assert!(solver.set("Q", &[1.0; 4]).is_err());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), SensitivityError> {
        self.forward.set(name, values)?;
        Ok(self.reverse.set(name, values)?)
    }

    /// J^T u at a field, and the statistics there.
    fn back(&mut self, field: &[f64], like: &Statistics, u: &[f64]) -> Result<(Vec<f64>, Vec<f64>), SensitivityError> {
        self.runs += 1;
        let (statistics, gradient) = self.reverse.apply(field, &unflatten(like, u))?;
        Ok((flatten(&statistics), gradient))
    }

    /// J v at a field.
    fn along(&mut self, field: &[f64], v: &[f64]) -> Result<Vec<f64>, SensitivityError> {
        self.runs += 1;
        Ok(flatten(&self.forward.apply(field, v)?.1))
    }

    /// From `start` to a field with the statistics `target`.
    ///
    /// - `weights`: one non-negative number per number of the statistics in the order of [`flatten`], such as inverse variances; `None` for 1 / (n max |T|^2)
    ///
    /// Error: arrays of the wrong length, a run that fails.
    ///
    /// ```
    /// # use scatterc::gauss_newton::{GaussNewton, Options, Stop};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// # let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
    /// // Weights of zero leave all but the finest scale free.
    /// let weights = [0.0, 0.0, 0.0, 1.0];
    /// let solution = GaussNewton::new(&compiler)?.solve(&target, &random::white(8, 2, 0), Some(&weights), &Options::default())?;
    /// let found = compiler.encoder()?.encode(&solution.field)?;
    /// assert!((found.arrays[0].re[3] / target.arrays[0].re[3] - 1.0).abs() < 1e-3);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn solve(&mut self, target: &Statistics, start: &[f64], weights: Option<&[f64]>, options: &Options) -> Result<Solution, SensitivityError> {
        let wanted = flatten(target);
        let n = wanted.len();
        let largest = wanted.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let uniform = vec![1.0 / (n.max(1) as f64 * largest * largest); n];
        let weights = weights.unwrap_or(&uniform);
        if weights.len() != n {
            return Err(SensitivityError::Length { name: "weights".into(), expected: n, found: weights.len() });
        }
        let zero = self.reverse.zero_cotangents();
        let expected = flatten(&zero).len();
        if n != expected {
            return Err(SensitivityError::Length { name: "target".into(), expected, found: n });
        }
        self.runs = 0;
        let mut x = start.to_vec();
        let residual = |s: &[f64]| s.iter().zip(&wanted).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let weighed = |r: &[f64]| r.iter().zip(weights).map(|(r, w)| w * r).collect::<Vec<f64>>();
        let chi = |r: &[f64]| 0.5 * dot(r, &weighed(r));
        let mut r = residual(&self.back(&x, &zero, &vec![0.0; n])?.0);
        let mut value = chi(&r);
        let mut history = vec![value];
        let mut damping = options.damping;
        let goal = options.tolerance * value;
        let mut unit = None;
        for _ in 0..options.steps {
            if value <= goal {
                return Ok(Solution { field: x, history, runs: self.runs, stop: Stop::Converged });
            }
            let gradient = self.back(&x, &zero, &weighed(&r))?.1;
            let square = dot(&gradient, &gradient);
            if square == 0.0 {
                break;
            }
            // Curvature along the gradient: the unit of the damping.
            let curvature = {
                let along = self.along(&x, &gradient)?;
                dot(&along, &weighed(&along)) / square
            };
            let scale = *unit.get_or_insert(curvature.max(f64::MIN_POSITIVE));
            let mut accepted = false;
            while damping < 1e12 && !accepted {
                let (step, curved) = self.step(&x, &zero, &gradient, weights, damping * scale, options)?;
                let moved: Vec<f64> = x.iter().zip(&step).map(|(a, b)| a + b).collect();
                let next = residual(&self.back(&moved, &zero, &vec![0.0; n])?.0);
                let after = chi(&next);
                // What the linear model promised: -g.d - d.H.d / 2.
                let promised = -dot(&gradient, &step) - 0.5 * curved;
                let kept = (value - after) / promised.max(f64::MIN_POSITIVE);
                if after.is_finite() && after < value && kept > 1e-4 {
                    (x, r, value) = (moved, next, after);
                    history.push(value);
                    damping = if kept > 0.75 {
                        (damping / 5.0).max(1e-15)
                    } else if kept < 0.25 {
                        damping * 2.0
                    } else {
                        damping
                    };
                    accepted = true;
                } else {
                    damping = damping.max(1e-12) * 4.0;
                }
            }
            if !accepted {
                return Ok(Solution { field: x, history, runs: self.runs, stop: Stop::Stuck });
            }
        }
        let stop = if value <= goal { Stop::Converged } else { Stop::Steps };
        Ok(Solution { field: x, history, runs: self.runs, stop })
    }

    /// The step, and its curvature d^T J^T w J d.
    fn step(
        &mut self,
        x: &[f64],
        zero: &Statistics,
        gradient: &[f64],
        weights: &[f64],
        damping: f64,
        options: &Options,
    ) -> Result<(Vec<f64>, f64), SensitivityError> {
        let mut d = vec![0.0; x.len()];
        let mut r: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut p = r.clone();
        let mut square = dot(&r, &r);
        let limit = options.inner_tolerance * options.inner_tolerance * square;
        // J^T w J d, kept along with d.
        let mut product = vec![0.0; x.len()];
        for _ in 0..options.inner.max(1) {
            let along = self.along(x, &p)?;
            let weighed: Vec<f64> = along.iter().zip(weights).map(|(a, w)| a * w).collect();
            let h = self.back(x, zero, &weighed)?.1;
            let curvature = dot(&p, &h) + damping * dot(&p, &p);
            if curvature <= 0.0 || !curvature.is_finite() {
                break;
            }
            let alpha = square / curvature;
            for k in 0..d.len() {
                d[k] += alpha * p[k];
                product[k] += alpha * h[k];
                r[k] -= alpha * (h[k] + damping * p[k]);
            }
            let next = dot(&r, &r);
            if next <= limit {
                break;
            }
            let beta = next / square;
            p.iter_mut().zip(&r).for_each(|(p, r)| *p = r + beta * *p);
            square = next;
        }
        let curved = dot(&d, &product);
        Ok((d, curved))
    }
}
