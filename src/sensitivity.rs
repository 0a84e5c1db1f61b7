//! Derivatives of statistics as programs: value and gradient of a loss, products with the Jacobian and the Hessian, Jacobian rows, Fisher matrices.
//!
//! Every program is compiled once and run for any field; parameters (norms, targets, weights) are run-time arrays. This module holds callers of compiled graphs;
//! the differentiation itself is [`compiler::gradient`](crate::compiler::gradient).
//!
//! Complex entries count as pairs of real numbers (re, im) and the inner product is Re(x^H y). A gradient is therefore dL/dRe + i dL/dIm, along whose negative the
//! loss falls; JAX's convention is its conjugate, see [`to_jax`].

use crate::compile::statistics;
use crate::{Compiled, Compiler, Error, Goal, Statistics};
use scatterc_compiler::domain::DomainError;
use scatterc_compiler::gradient::inputs;
use scatterc_compiler::loss::parameter_name;
use scatterc_runtime::Executable;
use std::collections::BTreeMap;

/// Numbers of a statistic in one list: for every output its real parts, then its imaginary parts if it is complex.
///
/// Rows of [`jacobian`] and of covariances follow this order.
///
/// ```
/// use scatterc::sensitivity::flatten;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// let statistics = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// assert_eq!(flatten(&statistics), statistics.arrays[0].re);
/// # Ok::<(), scatterc::Error>(())
/// ```
pub fn flatten(statistics: &Statistics) -> Vec<f64> {
    statistics.arrays.iter().flat_map(|a| a.re.iter().chain(a.im.iter().flatten()).copied()).collect()
}

/// Conjugates interleaved complex numbers: our gradient dL/dRe + i dL/dIm to JAX's dL/dRe - i dL/dIm and back.
///
/// ```
/// let mut gradient = [1.0, 2.0, 3.0, 4.0];
/// scatterc::sensitivity::to_jax(&mut gradient);
/// assert_eq!(gradient, [1.0, -2.0, 3.0, -4.0]);
/// ```
pub fn to_jax(gradient: &mut [f64]) {
    gradient.iter_mut().skip(1).step_by(2).for_each(|im| *im = -*im);
}

/// Why a sensitivity cannot be computed.
///
/// ```
/// use scatterc::sensitivity::{Covariance, SensitivityError, fisher};
///
/// let refused = fisher(&[vec![1.0, 2.0]], Covariance::Full(&[1.0, 2.0, 2.0, 1.0]));
/// assert!(matches!(refused, Err(SensitivityError::Covariance { row: 1, .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SensitivityError {
    /// The program cannot be made or run.
    #[error(transparent)]
    Program(#[from] Error),
    /// An array that does not fit the others.
    #[error("`{name}` has {found} numbers, expected {expected}")]
    Length {
        /// Which array.
        name: String,
        /// Right length.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A covariance that is none.
    #[error("the covariance is not positive definite: pivot {row} is {found:e}, expected a positive number")]
    Covariance {
        /// Row at which the factorisation failed.
        row: usize,
        /// The pivot found.
        found: f64,
    },
}

impl From<DomainError> for SensitivityError {
    fn from(error: DomainError) -> Self {
        SensitivityError::Program(error.into())
    }
}

/// A compiled program with the arrays that stay from run to run.
struct Program {
    compiled: Compiled,
    executable: Executable,
    fixed: BTreeMap<String, Vec<f64>>,
    fields: Vec<String>,
}

impl Program {
    fn new(compiler: &Compiler, goal: Goal) -> Result<Program, Error> {
        let (compiled, executable) = compiler.clone().goal(goal).executable()?;
        let fields = inputs(&compiled.bound.graph).into_iter().map(|(_, name)| name).collect();
        Ok(Program { compiled, executable, fixed: BTreeMap::new(), fields })
    }

    /// Keeps an array for all further runs.
    fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        match self.executable.inputs().iter().find(|port| port.name == name) {
            Some(port) if port.ty.len() == values.len() => {
                self.fixed.insert(name.into(), values.to_vec());
                Ok(())
            }
            Some(port) => Err(Error::Length { name: name.into(), expected: port.ty.len(), found: values.len() }),
            None => {
                let known = self.executable.inputs().iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
                Err(Error::UnknownInput { found: name.into(), known })
            }
        }
    }

    /// The only field of the statistic.
    fn field(&self) -> Result<&str, Error> {
        match self.fields.as_slice() {
            [name] => Ok(name),
            _ => Err(Error::Length { name: "fields of the statistic".into(), expected: 1, found: self.fields.len() }),
        }
    }

    /// Runs on one field and further arrays; all outputs by name.
    fn run(&mut self, field: &[f64], further: &[(String, &[f64])]) -> Result<BTreeMap<String, Vec<f64>>, Error> {
        let name = self.field()?.to_string();
        let mut given: Vec<(&str, &[f64])> = vec![(&name, field)];
        given.extend(further.iter().map(|(name, values)| (name.as_str(), *values)));
        given.extend(self.fixed.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        Ok(self.executable.run(&given)?.into_iter().collect())
    }

    fn statistics(&self, results: &BTreeMap<String, Vec<f64>>, prefix: &str) -> Statistics {
        let named = results.iter().filter_map(|(name, values)| Some((name.strip_prefix(prefix)?.to_string(), values.clone()))).collect();
        statistics(&self.compiled.bound.outputs, self.compiled.bound.batch, named)
    }

    fn gradient(&self, results: &mut BTreeMap<String, Vec<f64>>, prefix: &str) -> Result<Vec<f64>, Error> {
        Ok(results.remove(&format!("{prefix}{}", self.field()?)).unwrap_or_default())
    }
}

/// Arrays of a statistic under the names of a program's parameters: `T.S1`, or `T.m.re` and `T.m.im` for a complex output.
///
/// ```
/// use scatterc::sensitivity::parameter_arrays;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// let target = compiler.encoder()?.encode(&random::white(8, 1, 0))?;
/// let arrays = parameter_arrays("T", &target);
/// assert_eq!((arrays[0].0.as_str(), arrays[0].1.len()), ("T.S2", 4));
/// # Ok::<(), scatterc::Error>(())
/// ```
pub fn parameter_arrays<'a>(argument: &str, statistics: &'a Statistics) -> Vec<(String, &'a [f64])> {
    let mut out: Vec<(String, &[f64])> = Vec::new();
    for array in &statistics.arrays {
        match &array.im {
            None => out.push((parameter_name(argument, &array.name), &array.re)),
            Some(im) => {
                out.push((parameter_name(argument, &format!("{}.re", array.name)), &array.re));
                out.push((parameter_name(argument, &format!("{}.im", array.name)), im));
            }
        }
    }
    out
}

/// Value and gradient of a loss of a statistic. Changing targets, norms or weights recompiles nothing.
///
/// ```
/// use scatterc::{Compiler, InputKind, Source, Sphere, sensitivity::LossGradient};
///
/// let source = Source::find("s2scat")?;
/// let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
/// let compiler = Compiler::new(&source, &sphere);
/// let target = compiler.encoder()?.encode(&scatterc::random::white(8, 1, 0))?;
/// let mut loss = LossGradient::new(&compiler, "l2")?;
/// loss.set_target(&target)?;
/// let (value, gradient) = loss.value_and_gradient(&scatterc::random::white(8, 2, 0))?;
/// assert!(value[0] > 0.0 && gradient.len() == 2 * 8 * 8);
/// # Ok::<(), scatterc::Error>(())
/// ```
#[doc(alias = "value_and_grad")]
pub struct LossGradient {
    program: Program,
}

impl LossGradient {
    /// Compiles value and gradient of the loss of that name for the compiler's statistic, domain, parameters and batch.
    ///
    /// ```
    /// use scatterc::sensitivity::LossGradient;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// assert!(LossGradient::new(&compiler, "l2").is_ok());
    /// let unknown = LossGradient::new(&compiler, "l3").err().unwrap().to_string();
    /// assert!(unknown.starts_with("there is no loss `l3`; known: l2, weighted, chi2"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn new(compiler: &Compiler, loss: &str) -> Result<Self, Error> {
        Ok(LossGradient { program: Program::new(compiler, Goal::Gradient(loss.into()))? })
    }

    /// Sets an array parameter: norms `P`, a target `T.S1`, a weight `w.S1`.
    ///
    /// ```
    /// use scatterc::sensitivity::LossGradient;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // mean(w |S - T|^2) with T = 0 is the mean of S^2 under the weights w.
    /// let x = random::white(8, 1, 0);
    /// let mut loss = LossGradient::new(&compiler, "weighted")?;
    /// loss.set("T.S2", &[0.0; 4])?;
    /// loss.set("w.S2", &[0.0, 0.0, 0.0, 4.0])?;
    /// let finest = compiler.encoder()?.encode(&x)?.arrays[0].re[3];
    /// assert!((loss.value_and_gradient(&x)?.0[0] - finest * finest).abs() < 1e-12);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        self.program.set(name, values)
    }

    /// Sets the target `T` of every output.
    ///
    /// ```
    /// use scatterc::sensitivity::LossGradient;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // At the target itself value and gradient vanish.
    /// let x = random::white(8, 1, 0);
    /// let mut loss = LossGradient::new(&compiler, "l2")?;
    /// loss.set_target(&compiler.encoder()?.encode(&x)?)?;
    /// let (value, gradient) = loss.value_and_gradient(&x)?;
    /// assert!(value[0] < 1e-25 && gradient.iter().all(|g| g.abs() < 1e-12));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set_target(&mut self, target: &Statistics) -> Result<(), Error> {
        parameter_arrays("T", target).into_iter().try_for_each(|(name, values)| self.program.set(&name, values))
    }

    /// Value per map, and dL/dRe + i dL/dIm of their sum in the layout of the field.
    ///
    /// ```
    /// use scatterc::sensitivity::LossGradient;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // The loss falls along the negative gradient.
    /// let mut x = random::white(8, 1, 0);
    /// let mut loss = LossGradient::new(&compiler, "l2")?;
    /// loss.set("T.S2", &[1.0; 4])?;
    /// let (value, gradient) = loss.value_and_gradient(&x)?;
    /// x.iter_mut().zip(&gradient).for_each(|(x, g)| *x -= 1e-3 * g);
    /// assert!(loss.value_and_gradient(&x)?.0[0] < value[0]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn value_and_gradient(&mut self, field: &[f64]) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let mut results = self.program.run(field, &[])?;
        let gradient = self.program.gradient(&mut results, "gradient.")?;
        Ok((results.remove("value").unwrap_or_default(), gradient))
    }

    /// The compiled program.
    ///
    /// ```
    /// use scatterc::sensitivity::LossGradient;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// let loss = LossGradient::new(&compiler, "l2")?;
    /// assert_eq!(loss.compiled().plan().inputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["x", "T.S2"]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn compiled(&self) -> &Compiled {
        &self.program.compiled
    }
}

/// Statistics and their directional derivative: J v (forward mode).
///
/// ```
/// use scatterc::sensitivity::Pushforward;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// // S2 is quadratic, so along the field itself its derivative is 2 S2.
/// let x = random::white(8, 1, 0);
/// let (s, along) = Pushforward::new(&compiler)?.apply(&x, &x)?;
/// assert!((along.arrays[0].re[3] - 2.0 * s.arrays[0].re[3]).abs() < 1e-12);
/// # Ok::<(), scatterc::Error>(())
/// ```
#[doc(alias = "jvp")]
pub struct Pushforward {
    program: Program,
}

impl Pushforward {
    /// Compiles the Jacobian-vector product.
    ///
    /// ```
    /// use scatterc::sensitivity::Pushforward;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// let mut pushforward = Pushforward::new(&compiler)?;
    /// let (_, along) = pushforward.apply(&random::white(8, 1, 0), &[0.0; 2 * 8 * 8])?;
    /// assert_eq!(along.arrays[0].re, [0.0; 4]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn new(compiler: &Compiler) -> Result<Self, Error> {
        Ok(Pushforward { program: Program::new(compiler, Goal::JacobianVector)? })
    }

    /// Sets an array parameter, such as the norms `P`.
    ///
    /// ```
    /// use scatterc::sensitivity::Pushforward;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let compiler = Compiler::new(&source, &sphere).array("P");
    ///
    /// let x = random::white(8, 1, 0);
    /// let mut pushforward = Pushforward::new(&compiler)?;
    /// pushforward.set("P", &[4.0; 4])?;
    /// // S1 is homogeneous of degree 1, whatever its norms: along x its derivative is S1.
    /// let (s, along) = pushforward.apply(&x, &x)?;
    /// assert!((along.get("S1").unwrap().re[3] - s.get("S1").unwrap().re[3]).abs() < 1e-12);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        self.program.set(name, values)
    }

    /// Statistics at `field` and their derivative along `tangent`, which has the layout of the field.
    ///
    /// ```
    /// use scatterc::sensitivity::{Pullback, Pushforward, flatten};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // <u, J v> = <J^H u, v>.
    /// let (x, v) = (random::white(8, 1, 0), random::white(8, 1, 1));
    /// let (u, along) = Pushforward::new(&compiler)?.apply(&x, &v)?;
    /// let (_, back) = Pullback::new(&compiler)?.apply(&x, &u)?;
    /// let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// assert!((dot(&flatten(&u), &flatten(&along)) - dot(&back, &v)).abs() < 1e-12);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn apply(&mut self, field: &[f64], tangent: &[f64]) -> Result<(Statistics, Statistics), Error> {
        let name = format!("tangent.{}", self.program.field()?);
        let results = self.program.run(field, &[(name, tangent)])?;
        Ok((self.program.statistics(&results, ""), self.program.statistics(&results, "tangent.")))
    }
}

/// Statistics and a combination of their gradients: J^H u (reverse mode).
///
/// ```
/// use scatterc::sensitivity::Pullback;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// // The gradient of one number, the power at the finest scale.
/// let mut pullback = Pullback::new(&compiler)?;
/// let mut u = pullback.zero_cotangents();
/// u.arrays[0].re[3] = 1.0;
/// let (_, gradient) = pullback.apply(&random::white(8, 1, 0), &u)?;
/// assert_eq!(gradient.len(), 2 * 8 * 8);
/// # Ok::<(), scatterc::Error>(())
/// ```
#[doc(alias = "vjp")]
pub struct Pullback {
    program: Program,
}

impl Pullback {
    /// Compiles the vector-Jacobian product.
    ///
    /// ```
    /// use scatterc::sensitivity::Pullback;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// let mut pullback = Pullback::new(&compiler)?;
    /// let zero = pullback.zero_cotangents();
    /// assert!(pullback.apply(&random::white(8, 1, 0), &zero)?.1.iter().all(|g| *g == 0.0));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn new(compiler: &Compiler) -> Result<Self, Error> {
        Ok(Pullback { program: Program::new(compiler, Goal::VectorJacobian)? })
    }

    /// Sets an array parameter, such as the norms `P`.
    ///
    /// ```
    /// use scatterc::sensitivity::Pullback;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// # let compiler = Compiler::new(&source, &sphere).array("P");
    ///
    /// // Norms are constants under every derivative: P = 4 divides S2 and its gradient by 4.
    /// let x = random::white(8, 1, 0);
    /// let mut pullback = Pullback::new(&compiler)?;
    /// let mut u = pullback.zero_cotangents();
    /// u.arrays.iter_mut().filter(|array| array.name == "S2").for_each(|array| array.re[3] = 1.0);
    /// pullback.set("P", &[1.0; 4])?;
    /// let one = pullback.apply(&x, &u)?.1;
    /// pullback.set("P", &[4.0; 4])?;
    /// assert!(pullback.apply(&x, &u)?.1.iter().zip(&one).all(|(a, b)| (a - b / 4.0).abs() < 1e-12));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        self.program.set(name, values)
    }

    /// Statistics at `field`, and J^H u in the layout of the field for cotangents u, one per number of the statistics.
    ///
    /// ```
    /// use scatterc::sensitivity::Pullback;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // <x, dS2_j/dx> = 2 S2_j, as S2 is quadratic.
    /// let x = random::white(8, 1, 0);
    /// let mut pullback = Pullback::new(&compiler)?;
    /// let mut u = pullback.zero_cotangents();
    /// u.arrays[0].re[3] = 1.0;
    /// let (s, gradient) = pullback.apply(&x, &u)?;
    /// let along: f64 = x.iter().zip(&gradient).map(|(x, g)| x * g).sum();
    /// assert!((along - 2.0 * s.arrays[0].re[3]).abs() < 1e-12);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn apply(&mut self, field: &[f64], cotangents: &Statistics) -> Result<(Statistics, Vec<f64>), Error> {
        let mut results = self.program.run(field, &parameter_arrays("cotangent", cotangents))?;
        let gradient = self.program.gradient(&mut results, "gradient.")?;
        Ok((self.program.statistics(&results, ""), gradient))
    }

    /// Statistics of zeros, to be filled as cotangents.
    ///
    /// ```
    /// use scatterc::sensitivity::Pullback;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// assert_eq!(Pullback::new(&compiler)?.zero_cotangents().get("S2").map(|s2| s2.re.clone()), Some(vec![0.0; 4]));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn zero_cotangents(&self) -> Statistics {
        let batch = self.program.compiled.bound.batch;
        let named =
            self.program.executable.outputs().iter().filter(|p| !p.name.starts_with("gradient.")).map(|p| (p.name.clone(), vec![0.0; p.ty.len()]));
        statistics(&self.program.compiled.bound.outputs, batch, named.collect())
    }
}

/// Value, gradient and Hessian-vector product of a loss (forward over reverse mode).
///
/// ```
/// use scatterc::sensitivity::Hessian;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// // Curvature of the loss along a direction.
/// let (x, v) = (random::white(8, 1, 0), random::white(8, 1, 1));
/// let mut hessian = Hessian::new(&compiler, "l2")?;
/// hessian.set("T.S2", &[0.0; 4])?;
/// let (_, product) = hessian.apply(&x, &v)?;
/// assert!(v.iter().zip(&product).map(|(v, h)| v * h).sum::<f64>() > 0.0);
/// # Ok::<(), scatterc::Error>(())
/// ```
#[doc(alias = "hvp")]
pub struct Hessian {
    program: Program,
}

impl Hessian {
    /// Compiles the Hessian-vector product of the loss of that name.
    ///
    /// ```
    /// use scatterc::sensitivity::Hessian;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// assert!(Hessian::new(&compiler, "chi2").is_ok() && Hessian::new(&compiler, "chi3").is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn new(compiler: &Compiler, loss: &str) -> Result<Self, Error> {
        Ok(Hessian { program: Program::new(compiler, Goal::HessianVector(loss.into()))? })
    }

    /// Sets an array parameter: norms, targets, weights.
    ///
    /// ```
    /// use scatterc::sensitivity::Hessian;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// let mut hessian = Hessian::new(&compiler, "l2")?;
    /// hessian.set("T.S2", &[1.0; 4])?;
    /// assert!(hessian.set("T.S2", &[1.0; 3]).is_err() && hessian.set("w.S2", &[1.0; 4]).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        self.program.set(name, values)
    }

    /// Sets the target `T` of every output.
    ///
    /// ```
    /// use scatterc::sensitivity::Hessian;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// let x = random::white(8, 1, 0);
    /// let mut hessian = Hessian::new(&compiler, "l2")?;
    /// hessian.set_target(&compiler.encoder()?.encode(&x)?)?;
    /// // A minimum: no gradient, and no negative curvature.
    /// let (gradient, product) = hessian.apply(&x, &x)?;
    /// assert!(gradient.iter().all(|g| g.abs() < 1e-12));
    /// assert!(x.iter().zip(&product).map(|(x, h)| x * h).sum::<f64>() > 0.0);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn set_target(&mut self, target: &Statistics) -> Result<(), Error> {
        parameter_arrays("T", target).into_iter().try_for_each(|(name, values)| self.program.set(&name, values))
    }

    /// Gradient and its derivative along `tangent`, both in the layout of the field.
    ///
    /// ```
    /// use scatterc::sensitivity::Hessian;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// # let compiler = Compiler::new(&source, &sphere);
    ///
    /// // With T = 0 the loss has degree 4 in x, so its gradient has degree 3: H x = 3 g.
    /// let x = random::white(8, 1, 0);
    /// let mut hessian = Hessian::new(&compiler, "l2")?;
    /// hessian.set("T.S2", &[0.0; 4])?;
    /// let (gradient, product) = hessian.apply(&x, &x)?;
    /// assert!(gradient.iter().zip(&product).all(|(g, h)| (h - 3.0 * g).abs() < 1e-12));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn apply(&mut self, field: &[f64], tangent: &[f64]) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let name = format!("tangent.{}", self.program.field()?);
        let mut results = self.program.run(field, &[(name, tangent)])?;
        let gradient = self.program.gradient(&mut results, "gradient.")?;
        Ok((gradient, self.program.gradient(&mut results, "tangent.gradient.")?))
    }
}

/// A Jacobian matrix: how every number of a statistic changes with every number of the field.
///
/// ```
/// use scatterc::sensitivity::jacobian;
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// let x = random::white(8, 1, 0);
/// let j = jacobian(&compiler, &[], &x, 4)?;
/// assert_eq!((j.rows, j.columns, j.values.len()), (4, 2 * 8 * 8, 4 * 2 * 8 * 8));
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Jacobian {
    /// Numbers of the statistic, in the order of [`flatten`].
    pub rows: usize,
    /// Numbers of the field in its own layout, complex entries as pairs.
    pub columns: usize,
    /// `[rows, columns]`.
    pub values: Vec<f64>,
}

/// The Jacobian of a statistic at a field, by reverse mode, `batch` rows per run.
///
/// - `parameters`: array parameters by name, such as the norms `P`
/// - `field`: one field in the domain's layout
/// - `batch`: rows computed together, at least 1; a leading axis of the compiled plan
///
/// Cost: rows / batch runs of a plan of `batch` maps, each at most about three forward passes. Fewer directions than rows are cheaper with [`Pushforward`].
///
/// ```
/// use scatterc::{Compiler, InputKind, Source, Sphere, sensitivity::jacobian};
///
/// let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// let sphere = Sphere::new(4, 1, 0, InputKind::Half)?;
/// let field = scatterc::random::white(4, 1, 0);
/// let rows = jacobian(&Compiler::new(&source, &sphere), &[], &field, 2)?;
/// assert_eq!((rows.rows, rows.columns), (3, 32));
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
pub fn jacobian(compiler: &Compiler, parameters: &[(&str, &[f64])], field: &[f64], batch: usize) -> Result<Jacobian, SensitivityError> {
    let batch = batch.max(1);
    let mut pullback = Pullback::new(&compiler.clone().batch(Some(batch)))?;
    for (name, values) in parameters {
        pullback.set(name, values)?;
    }
    let mut cotangents = pullback.zero_cotangents();
    // Where every row has its place: an array, its real or imaginary part, an entry of one map.
    let mut places = Vec::new();
    for (k, array) in cotangents.arrays.iter().enumerate() {
        let n = array.re.len() / batch;
        for imaginary in [false, true].into_iter().take(1 + usize::from(array.im.is_some())) {
            places.extend((0..n).map(|entry| (k, imaginary, n, entry)));
        }
    }
    let fields = field.repeat(batch);
    let columns = field.len();
    let mut values = Vec::with_capacity(places.len() * columns);
    for rows in places.chunks(batch) {
        let mark = |cotangents: &mut Statistics, value: f64| {
            for (member, (k, imaginary, n, entry)) in rows.iter().enumerate() {
                let array = &mut cotangents.arrays[*k];
                let part = if *imaginary { array.im.as_mut() } else { Some(&mut array.re) };
                part.expect("only complex outputs have rows of imaginary parts")[member * n + entry] = value;
            }
        };
        mark(&mut cotangents, 1.0);
        let (_, gradient) = pullback.apply(&fields, &cotangents)?;
        mark(&mut cotangents, 0.0);
        values.extend_from_slice(&gradient[..rows.len() * columns]);
    }
    Ok(Jacobian { rows: places.len(), columns, values })
}

/// Covariance of the numbers of a statistic.
///
/// ```
/// use scatterc::sensitivity::{Covariance, fisher};
///
/// // One parameter measured twice, with variances 1 and 4, correlated or not: 1 + 1/4, and [1, 1] C^-1 [1, 1]^T.
/// let derivative = [vec![1.0, 1.0]];
/// assert_eq!(fisher(&derivative, Covariance::Diagonal(&[1.0, 4.0]))?, [1.25]);
/// assert!((fisher(&derivative, Covariance::Full(&[1.0, 1.0, 1.0, 4.0]))?[0] - 1.0).abs() < 1e-15);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Covariance<'a> {
    /// Variances, `[n]`.
    Diagonal(&'a [f64]),
    /// `[n, n]`, symmetric; the lower triangle is read.
    Full(&'a [f64]),
}

/// Fisher matrix F_ab = J_a^T C^-1 J_b of a Gaussian likelihood whose mean depends on parameters.
///
/// - `derivatives`: `[parameters][n]`, the derivative of the statistics ([`flatten`]) with respect to every parameter
/// - `covariance`: of the n numbers
/// - result: `[parameters, parameters]`, in inverse units of the parameters
///
/// Error: wrong lengths, or a covariance that is not positive definite. Cost: n^3 / 6 + parameters n^2 multiply-adds.
///
/// ```
/// use scatterc::{Compiler, InputKind, Source, Sphere};
/// use scatterc::sensitivity::{Covariance, Pushforward, fisher, flatten};
///
/// // How well an amplitude A of x -> A x is measured by the wavelet power: dS/dA is the derivative along x.
/// let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let field = scatterc::random::white(8, 1, 0);
/// let (statistics, along) = Pushforward::new(&Compiler::new(&source, &sphere))?.apply(&field, &field)?;
/// let variances: Vec<f64> = flatten(&statistics).iter().map(|s| s * s).collect();
/// let information = fisher(&[flatten(&along)], Covariance::Diagonal(&variances))?;
/// // S2 is quadratic: dS2/dA = 2 S2, so every scale contributes 4.
/// assert!((information[0] - 16.0).abs() < 1e-9);
/// # Ok::<(), scatterc::sensitivity::SensitivityError>(())
/// ```
pub fn fisher(derivatives: &[Vec<f64>], covariance: Covariance) -> Result<Vec<f64>, SensitivityError> {
    let n = derivatives.first().map_or(0, Vec::len);
    for (k, row) in derivatives.iter().enumerate() {
        if row.len() != n {
            return Err(SensitivityError::Length { name: format!("derivatives[{k}]"), expected: n, found: row.len() });
        }
    }
    // With C = R R^T, F_ab = (R^-1 J_a) . (R^-1 J_b).
    let whitened: Vec<Vec<f64>> = match covariance {
        Covariance::Diagonal(variances) => {
            if variances.len() != n {
                return Err(SensitivityError::Length { name: "variances".into(), expected: n, found: variances.len() });
            }
            if let Some((row, found)) = variances.iter().enumerate().find(|(_, v)| v.is_nan() || **v <= 0.0) {
                return Err(SensitivityError::Covariance { row, found: *found });
            }
            derivatives.iter().map(|row| row.iter().zip(variances).map(|(x, v)| x / v.sqrt()).collect()).collect()
        }
        Covariance::Full(matrix) => {
            if matrix.len() != n * n {
                return Err(SensitivityError::Length { name: "covariance".into(), expected: n * n, found: matrix.len() });
            }
            let root = cholesky(matrix, n)?;
            derivatives.iter().map(|row| solve_lower(&root, row)).collect()
        }
    };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
    Ok(whitened.iter().flat_map(|a| whitened.iter().map(|b| dot(a, b)).collect::<Vec<f64>>()).collect())
}

/// Lower triangular R with C = R R^T, row by row.
fn cholesky(matrix: &[f64], n: usize) -> Result<Vec<f64>, SensitivityError> {
    let mut root = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| root[i * n + k] * root[j * n + k]).sum();
            let rest = matrix[i * n + j] - sum;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return Err(SensitivityError::Covariance { row: i, found: rest });
                }
                root[i * n + i] = rest.sqrt();
            } else {
                root[i * n + j] = rest / root[j * n + j];
            }
        }
    }
    Ok(root)
}

/// R^-1 b for lower triangular R.
fn solve_lower(root: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut x = vec![0.0; n];
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| root[i * n + k] * x[k]).sum();
        x[i] = (b[i] - sum) / root[i * n + i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_covariance_equals_its_inverse() -> Result<(), SensitivityError> {
        // C = [[4, 2], [2, 3]], C^-1 = [[3, -2], [-2, 4]] / 8.
        let found = fisher(&[vec![1.0, 0.0], vec![1.0, 2.0]], Covariance::Full(&[4.0, 2.0, 2.0, 3.0]))?;
        let expected = [0.375, -0.125, -0.125, (3.0 - 8.0 + 16.0) / 8.0];
        assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-15), "{found:?}");
        assert!(matches!(fisher(&[vec![1.0]], Covariance::Full(&[-1.0])), Err(SensitivityError::Covariance { row: 0, .. })));
        assert!(matches!(fisher(&[vec![1.0]], Covariance::Diagonal(&[1.0, 1.0])), Err(SensitivityError::Length { .. })));
        Ok(())
    }
}
