//! Fisher forecasts: how well parameters of a simulator are measured by a statistic, from simulations and their derivatives.
//!
//! With a Gaussian likelihood of the statistics S whose mean depends on the parameters,
//!
//! ```text
//! F_ab = E[dS/da]^T C^-1 E[dS/db],   dS/da = J(x) dx/da,   C = Cov[S]
//! ```
//!
//! E and C are taken over simulations x; dx/da is the derivative of a simulation at fixed random numbers, and J dx/da a Jacobian-vector product, so that no step size is chosen and
//! the noise of differences of simulations does not enter.

use crate::compile::{Compiler, Encoder};
use crate::sensitivity::{Covariance, Pushforward, SensitivityError, fisher, flatten};

/// Sums over simulations.
///
/// ```
/// use scatterc::forecast::Forecast;
/// use scatterc::{Compiler, InputKind, Source, Sphere, random};
///
/// // The amplitude A of white noise, x = A n with dx/dA = n, from the power at every scale.
/// let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let mut forecast = Forecast::new(&Compiler::new(&source, &sphere), &["A"])?;
/// for seed in 0..20 {
///     let x = random::white(8, seed, 0);
///     forecast.add(&x, &[&x])?;
/// }
/// let result = forecast.fisher()?;
/// assert!(result.errors[0] > 0.0 && result.simulations == 20);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
pub struct Forecast {
    pushforward: Pushforward,
    encoder: Encoder,
    parameters: Vec<String>,
    count: usize,
    /// Means of the statistics, and sums of products of their deviations, lower triangle and diagonal included.
    mean: Vec<f64>,
    products: Vec<f64>,
    /// Means of the derivatives, `[parameters][n]`, and of how many.
    derivatives: Vec<Vec<f64>>,
    derivative_count: usize,
}

/// What a forecast says.
///
/// ```
/// # use scatterc::forecast::Forecast;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
/// let mut forecast = Forecast::new(&compiler, &["A"])?;
/// for seed in 0..10 {
///     let x = random::white(8, seed, 0);
///     forecast.add(&x, &[&x])?;
/// }
/// let fisher = forecast.fisher()?;
/// // One parameter: its error is the inverse root of the information.
/// assert!((fisher.errors[0] - 1.0 / fisher.information[0].sqrt()).abs() < 1e-12);
/// assert_eq!((fisher.parameters, fisher.numbers), (vec!["A".to_string()], 4));
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fisher {
    /// Names of the parameters.
    pub parameters: Vec<String>,
    /// `[parameters, parameters]`, in inverse units of the parameters, with the factor of [`Forecast::fisher`].
    pub information: Vec<f64>,
    /// Standard deviation of every parameter, the others unknown: sqrt((F^-1)_aa).
    pub errors: Vec<f64>,
    /// Simulations that the covariance was taken from.
    pub simulations: usize,
    /// Numbers of the statistic.
    pub numbers: usize,
}

impl Forecast {
    /// Compiles the statistic and its Jacobian-vector product; one field, no batch.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let forecast = Forecast::new(&compiler, &["A", "tilt"])?;
    /// assert!(forecast.fisher().is_err(), "nothing was simulated yet");
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn new(compiler: &Compiler, parameters: &[&str]) -> Result<Forecast, SensitivityError> {
        Ok(Forecast {
            pushforward: Pushforward::new(compiler)?,
            encoder: compiler.encoder()?,
            parameters: parameters.iter().map(ToString::to_string).collect(),
            count: 0,
            mean: vec![],
            products: vec![],
            derivatives: vec![vec![]; parameters.len()],
            derivative_count: 0,
        })
    }

    /// Sets an array parameter of the statistic, such as the norms `P`.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?.with_outputs(None, &["S1"])?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut forecast = Forecast::new(&Compiler::new(&source, &sphere).array("P"), &["A"])?;
    /// forecast.set("P", &[1.0; 4])?;
    /// assert!(forecast.set("P", &[1.0; 5]).is_err());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), SensitivityError> {
        self.pushforward.set(name, values)?;
        Ok(self.encoder.set(name, values)?)
    }

    /// A simulation at the fiducial parameters and its derivative along every one of them, all in the layout of the field.
    ///
    /// Error: wrong lengths.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &["A"])?;
    /// let x = random::white(8, 1, 0);
    /// forecast.add(&x, &[&x])?;
    /// // S2 is quadratic in the amplitude: dS2/dA = 2 S2 at A = 1.
    /// assert!((forecast.derivative(0).unwrap()[3] - 2.0 * forecast.mean()[3]).abs() < 1e-12);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn add(&mut self, field: &[f64], derivatives: &[&[f64]]) -> Result<(), SensitivityError> {
        if derivatives.len() != self.parameters.len() {
            return Err(SensitivityError::Length { name: "derivatives".into(), expected: self.parameters.len(), found: derivatives.len() });
        }
        let mut statistics = None;
        self.derivative_count += 1;
        let weight = 1.0 / self.derivative_count as f64;
        for (a, tangent) in derivatives.iter().enumerate() {
            let (values, along) = self.pushforward.apply(field, tangent)?;
            let along = flatten(&along);
            let mean = &mut self.derivatives[a];
            mean.resize(along.len(), 0.0);
            mean.iter_mut().zip(&along).for_each(|(m, x)| *m += weight * (x - *m));
            statistics = Some(flatten(&values));
        }
        match statistics {
            Some(statistics) => self.count_in(&statistics),
            None => self.add_for_covariance(field)?,
        }
        Ok(())
    }

    /// A further simulation for the covariance alone, which needs more of them than the derivatives do.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &["A"])?;
    /// let x = random::white(8, 0, 0);
    /// forecast.add(&x, &[&x])?;
    /// for seed in 1..10 {
    ///     forecast.add_for_covariance(&random::white(8, seed, 0))?;
    /// }
    /// assert_eq!(forecast.fisher()?.simulations, 10);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn add_for_covariance(&mut self, field: &[f64]) -> Result<(), SensitivityError> {
        let statistics = flatten(&self.encoder.encode(field)?);
        self.count_in(&statistics);
        Ok(())
    }

    /// Welford's update of means and products.
    fn count_in(&mut self, statistics: &[f64]) {
        let n = statistics.len();
        self.mean.resize(n, 0.0);
        self.products.resize(n * n, 0.0);
        self.count += 1;
        let before: Vec<f64> = statistics.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        self.mean.iter_mut().zip(&before).for_each(|(m, d)| *m += d / self.count as f64);
        let after: Vec<f64> = statistics.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        for i in 0..n {
            for j in 0..=i {
                // (before after^T) is symmetric in exact arithmetic.
                self.products[i * n + j] += 0.5 * (before[i] * after[j] + before[j] * after[i]);
            }
        }
    }

    /// Mean of the statistics so far, in the order of [`flatten`].
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &[])?;
    /// let (a, b) = (random::white(8, 0, 0), random::white(8, 1, 0));
    /// forecast.add_for_covariance(&a)?;
    /// forecast.add_for_covariance(&b)?;
    /// let mut encoder = compiler.encoder()?;
    /// let expected = (encoder.encode(&a)?.arrays[0].re[3] + encoder.encode(&b)?.arrays[0].re[3]) / 2.0;
    /// assert!((forecast.mean()[3] - expected).abs() < 1e-12);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Mean derivative of the statistics along a parameter; `None` beyond the last.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &["A"])?;
    /// let x = random::white(8, 1, 0);
    /// forecast.add(&x, &[&x])?;
    /// assert!(forecast.derivative(0).is_some_and(|d| d.len() == 4) && forecast.derivative(1).is_none());
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn derivative(&self, parameter: usize) -> Option<&[f64]> {
        self.derivatives.get(parameter).map(Vec::as_slice)
    }

    /// Covariance of the statistics, `[n, n]`, with the divisor simulations - 1.
    ///
    /// Error: fewer than two simulations.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &[])?;
    /// forecast.add_for_covariance(&random::white(8, 0, 0))?;
    /// assert!(forecast.covariance().is_err());
    /// forecast.add_for_covariance(&random::white(8, 1, 0))?;
    /// let c = forecast.covariance()?;
    /// assert!(c.len() == 16 && c[1] == c[4] && c[0] > 0.0);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn covariance(&self) -> Result<Vec<f64>, SensitivityError> {
        if self.count < 2 {
            return Err(SensitivityError::Length { name: "simulations".into(), expected: 2, found: self.count });
        }
        let n = self.mean.len();
        let at = |i: usize, j: usize| self.products[i.max(j) * n + i.min(j)] / (self.count - 1) as f64;
        Ok((0..n * n).map(|k| at(k / n, k % n)).collect())
    }

    /// The Fisher matrix, C^-1 multiplied by (s - n - 2) / (s - 1) for s simulations of n numbers, which makes it unbiased (Hartlap, Simon & Schneider 2007).
    ///
    /// Error: n + 3 simulations are the fewest; a covariance or an information that is not positive definite: numbers of the statistic that depend on each other, parameters
    /// that the statistic does not tell apart.
    ///
    /// ```
    /// # use scatterc::forecast::Forecast;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    /// let mut forecast = Forecast::new(&compiler, &["A"])?;
    /// for seed in 0..6 {
    ///     let x = random::white(8, seed, 0);
    ///     forecast.add(&x, &[&x])?;
    /// }
    /// // Six simulations of four numbers are one too few.
    /// assert!(forecast.fisher().is_err());
    /// let x = random::white(8, 6, 0);
    /// forecast.add(&x, &[&x])?;
    /// assert!(forecast.fisher()?.information[0] > 0.0);
    /// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
    /// ```
    pub fn fisher(&self) -> Result<Fisher, SensitivityError> {
        let (n, s) = (self.mean.len(), self.count);
        if s < n + 3 {
            return Err(SensitivityError::Length { name: "simulations".into(), expected: n + 3, found: s });
        }
        let factor = (s - n - 2) as f64 / (s - 1) as f64;
        let information: Vec<f64> = fisher(&self.derivatives, Covariance::Full(&self.covariance()?))?.into_iter().map(|x| factor * x).collect();
        let p = self.parameters.len();
        // (F^-1)_aa = e_a^T F^-1 e_a, which is a Fisher matrix with F as covariance.
        let units: Vec<Vec<f64>> = (0..p).map(|a| (0..p).map(|b| f64::from(u8::from(a == b))).collect()).collect();
        let inverse = fisher(&units, Covariance::Full(&information))?;
        let errors = (0..p).map(|a| inverse[a * p + a].sqrt()).collect();
        Ok(Fisher { parameters: self.parameters.clone(), information, errors, simulations: s, numbers: n })
    }
}
