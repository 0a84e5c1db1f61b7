//! Minimisation of real functions of many variables: Adam and L-BFGS, in batches, with exact checkpoints.
//!
//! This module holds optimisers, their driver and their saved state. It knows nothing of graphs, plans or maps: a problem is
//! an [`Objective`] on slices of `f64`, in which complex entries are interleaved pairs (re, im). Where the vectors lie on a device
//! ([`resident`]), decisions are the same code; only sums and updates of vectors are done elsewhere.
//!
//! ```text
//!            +------------------------ one round ------------------------+
//!   State -> |  trial points  ->  one joint evaluation  ->  absorption   | -> State -> observer
//!            +-----------------------------------------------------------+
//! ```
//!
//! A batch of K independent problems shares only the joint evaluation: every member has its own moments, history, line search
//! and end, so that a member of a batch follows the bits of the same problem run alone, provided that the objective does.
//! Members advance asynchronously: one that needs three evaluations for a step does not make the others wait.
//!
//! Sums run over eight fixed lanes and powers by repeated squaring, so a trajectory does not depend on the vector width of the CPU.
//!
//! The crate `basin` (3.2.0) was examined for this purpose: it has exact solver checkpoints, observers and cancellation.
//! Its executor drives one problem with one parameter vector and has no joint evaluation of independent problems, and it has no Adam.
//! Its L-BFGS clones the parameter vector for the direction of every step and again for the trial points, so two of the five needs
//! (checkpoints, no copies, batches, callbacks, cancellation) and one of the two methods would have remained to be written.
//!
//! Sources: Kingma & Ba (2015), algorithm 1, with the modulus in the second moment of complex entries; Nocedal & Wright
//! (2006), algorithms 7.4 and 7.5 (L-BFGS), 3.5 and 3.6 (line search), eq. 3.59 (cubic interpolation); Hager & Zhang (2005),
//! eq. 4.1 (the approximate Wolfe condition at the rounding floor).

pub mod resident;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use thiserror::Error;

/// What an objective may fail with: any error that can cross threads.
pub type ObjectiveError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A real function to be minimised, with its gradient.
///
/// - `x`: `[n]`, complex entries as interleaved pairs (re, im)
/// - `gradient`: `[n]`, dL/dRe and dL/dIm interleaved in the same way, so that the loss falls along `-gradient`
///
/// Closures `FnMut(&[f64], &mut [f64]) -> Result<f64, ObjectiveError>` are objectives.
///
/// ```
/// use scatterc::optimise::{Objective, ObjectiveError};
///
/// /// sum_k w_k x_k^2.
/// struct Bowl(Vec<f64>);
/// impl Objective for Bowl {
///     fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
///         gradient.iter_mut().zip(x).zip(&self.0).for_each(|((g, x), w)| *g = 2.0 * w * x);
///         Ok(x.iter().zip(&self.0).map(|(x, w)| w * x * x).sum())
///     }
/// }
/// let (mut gradient, mut values) = ([0.0; 4], [0.0; 2]);
/// Bowl(vec![1.0, 3.0]).evaluate_batch(&[1.0, 1.0, 2.0, 0.0], &mut gradient, &mut values)?;
/// assert_eq!((values, gradient), ([4.0, 4.0], [2.0, 6.0, 4.0, 0.0]));
/// # Ok::<(), scatterc::optimise::ObjectiveError>(())
/// ```
pub trait Objective {
    /// Returns the value at `x` and overwrites `gradient`.
    ///
    /// A non-finite value is not an error here: a line search answers it with a shorter step.
    ///
    /// ```
    /// use scatterc::optimise::{Objective, ObjectiveError};
    ///
    /// let mut square = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
    ///     gradient[0] = 2.0 * x[0];
    ///     Ok(x[0] * x[0])
    /// };
    /// let mut gradient = [0.0];
    /// assert_eq!((square.evaluate(&[3.0], &mut gradient)?, gradient), (9.0, [6.0]));
    /// # Ok::<(), scatterc::optimise::ObjectiveError>(())
    /// ```
    fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError>;

    /// Evaluates K independent problems together; by default one after the other.
    ///
    /// - `x`, `gradient`: `[K][n]`
    /// - `values`: `[K]`
    ///
    /// ```
    /// use scatterc::optimise::{Objective, ObjectiveError};
    ///
    /// let mut square = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
    ///     gradient[0] = 2.0 * x[0];
    ///     Ok(x[0] * x[0])
    /// };
    /// let (mut gradient, mut values) = ([0.0; 3], [0.0; 3]);
    /// square.evaluate_batch(&[1.0, 2.0, 3.0], &mut gradient, &mut values)?;
    /// assert_eq!((values, gradient), ([1.0, 4.0, 9.0], [2.0, 4.0, 6.0]));
    /// # Ok::<(), scatterc::optimise::ObjectiveError>(())
    /// ```
    fn evaluate_batch(&mut self, x: &[f64], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
        if values.is_empty() || x.is_empty() {
            return Ok(());
        }
        let n = x.len() / values.len();
        for ((x, gradient), value) in x.chunks_exact(n).zip(gradient.chunks_exact_mut(n)).zip(values) {
            *value = self.evaluate(x, gradient)?;
        }
        Ok(())
    }

    /// As [`Objective::evaluate_batch`], with the members whose results will be read; by default all are evaluated.
    ///
    /// Finished members keep their last point in `x`, so a program compiled for a fixed K may ignore `active`. An objective
    /// that can leave members out overrides this method and saves their cost.
    ///
    /// ```
    /// use scatterc::optimise::{Objective, ObjectiveError};
    ///
    /// /// x^2, evaluated for the members that still run.
    /// struct Squares;
    /// impl Objective for Squares {
    ///     fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
    ///         gradient[0] = 2.0 * x[0];
    ///         Ok(x[0] * x[0])
    ///     }
    ///     fn evaluate_active(&mut self, x: &[f64], active: &[bool], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
    ///         for k in (0..x.len()).filter(|k| active[*k]) {
    ///             values[k] = self.evaluate(&x[k..=k], &mut gradient[k..=k])?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// let (mut gradient, mut values) = ([0.0; 2], [0.0; 2]);
    /// Squares.evaluate_active(&[1.0, 2.0], &[false, true], &mut gradient, &mut values)?;
    /// assert_eq!(values, [0.0, 4.0]);
    /// # Ok::<(), scatterc::optimise::ObjectiveError>(())
    /// ```
    fn evaluate_active(&mut self, x: &[f64], active: &[bool], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
        let _ = active;
        self.evaluate_batch(x, gradient, values)
    }
}

impl<F> Objective for F
where
    F: FnMut(&[f64], &mut [f64]) -> Result<f64, ObjectiveError>,
{
    fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
        self(x, gradient)
    }
}

/// Adam with bias correction and a constant rate.
///
/// ```text
/// mu = beta1 mu + (1 - beta1) g        nu = beta2 nu + (1 - beta2) |g|^2
/// x -= learning_rate (mu / (1 - beta1^t)) / (sqrt(nu / (1 - beta2^t)) + eps),   t = 1, 2, ..
/// ```
///
/// With `pairs`, `|g|^2` is the squared modulus of a complex entry, which gives Re and Im one common step size; without, every
/// number is an entry. There is no convergence test: a run ends at a limit of [`Options`] or at a non-finite value.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// let method = Method::Adam(Adam { learning_rate: 0.1, ..Adam::default() });
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options { max_steps: 500, ..Options::default() }, &mut |_| Control::Continue)?;
/// // The first step moves every variable by the rate.
/// assert!((outcome.history[0][0] - 41.0).abs() < 1e-12 && outcome.values[0] < 1e-3);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Step size, in units of x; 1e-3.
    pub learning_rate: f64,
    /// Decay of the mean gradient per step; 0.9.
    pub beta1: f64,
    /// Decay of the mean squared gradient per step; 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment, in units of the gradient; 1e-8.
    pub eps: f64,
    /// Whether x consists of interleaved (re, im) pairs; false.
    pub pairs: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, pairs: false }
    }
}

/// Limited-memory BFGS with a strong Wolfe line search (bracketing and zoom, safeguarded cubic interpolation).
///
/// Complex entries need no switch: the inner product of pairs is that of their real and imaginary parts.
///
/// A non-finite value or gradient inside a line search counts as a step that was too long. If a line search fails, the member
/// moves to the best point it has found, forgets its history and searches once along `-gradient`; if that fails too, it
/// ends with [`Stopped::LineSearch`] and keeps the best point. A search that succeeds restores the right to one such restart.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// let method = Method::Lbfgs(Lbfgs { gradient_tolerance: 1e-10, ..Lbfgs::default() });
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
/// assert!((outcome.x[0] - 1.0).abs() < 1e-8 && outcome.evaluations[0] < 20);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "BFGS")]
pub struct Lbfgs {
    /// Number m of stored pairs (s, y); 10. Memory: 2 m + 4 vectors of length n per member.
    pub history: usize,
    /// Ends a member when max |g_i| <= gradient_tolerance * max |g_i| at the start; 1e-8, 0 ends only at a zero gradient.
    pub gradient_tolerance: f64,
    /// Ends a member when the value fell by no more than `value_tolerance * |value|` over `value_window` steps; 1e-12, 0 switches
    /// the test off.
    pub value_tolerance: f64,
    /// Number of steps over which the change of the value is measured; 10.
    pub value_window: usize,
    /// Sufficient decrease: value(a) <= value(0) + c1 a slope(0); 1e-4.
    pub c1: f64,
    /// Curvature: |slope(a)| <= c2 |slope(0)|; 0.9.
    pub c2: f64,
    /// Evaluations that one line search may use; 20.
    pub max_search: usize,
    /// Relative rounding noise of the values; 1e-14, for an objective computed in f32 about 1e-6.
    ///
    /// A trial whose value lies within the noise of the start counts as a decrease if its slope shows one.
    pub value_noise: f64,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self {
            history: 10,
            gradient_tolerance: 1e-8,
            value_tolerance: 1e-12,
            value_window: 10,
            c1: 1e-4,
            c2: 0.9,
            max_search: 20,
            value_noise: 1e-14,
        }
    }
}

/// A minimisation method with its parameters.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// for method in [Method::Adam(Adam { learning_rate: 0.1, ..Adam::default() }), Method::Lbfgs(Lbfgs::default())] {
///     let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
///     assert!(outcome.values[0] < 1e-3);
/// }
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// First-order steps with adaptive size.
    Adam(Adam),
    /// Quasi-Newton steps with a line search.
    Lbfgs(Lbfgs),
}

/// Limits of a run. They are not part of a [`State`], so a resumed run may extend them.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let options = Options { target_value: Some(0.5), ..Options::default() };
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &options, &mut |_| Control::Continue)?;
/// assert!(outcome.stopped == [Stopped::Target] && outcome.values[0] <= 0.5);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Steps per member; 1000. The values at the start and after the last step are both evaluated.
    pub max_steps: usize,
    /// Evaluations per member; none.
    pub max_evaluations: Option<usize>,
    /// Ends a member as soon as its value is at most this; none.
    pub target_value: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_steps: 1000, max_evaluations: None, target_value: None }
    }
}

/// Why a member ended.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// // A batch of two: the second starts at the minimum.
/// let outcome = minimise(&method, vec![0.0, 0.0, 1.0, -2.0], 2, &mut bowl, &Options { max_steps: 1, ..Options::default() }, &mut |_| Control::Continue)?;
/// assert_eq!(outcome.stopped, [Stopped::MaxSteps, Stopped::Gradient]);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The gradient fell below its tolerance (L-BFGS).
    Gradient,
    /// The value no longer fell (L-BFGS).
    ValueChange,
    /// The value reached [`Options::target_value`].
    Target,
    /// [`Options::max_steps`] steps were made.
    MaxSteps,
    /// [`Options::max_evaluations`] evaluations were made.
    MaxEvaluations,
    /// Two line searches in a row found no acceptable step (L-BFGS); x is the best point found.
    LineSearch,
    /// A step led to a non-finite value or gradient (Adam); x is the point before that step.
    NotFinite,
    /// The observer answered [`Control::Stop`].
    Cancelled,
}

impl Stopped {
    /// Returns the number in the checkpoint format; 0 is reserved for members that still run.
    fn code(self) -> u8 {
        match self {
            Self::Gradient => 1,
            Self::ValueChange => 2,
            Self::Target => 3,
            Self::MaxSteps => 4,
            Self::MaxEvaluations => 5,
            Self::LineSearch => 6,
            Self::NotFinite => 7,
            Self::Cancelled => 8,
        }
    }

    /// Inverse of [`Stopped::code`].
    fn from_code(code: u8) -> Option<Self> {
        [Self::Gradient, Self::ValueChange, Self::Target, Self::MaxSteps, Self::MaxEvaluations, Self::LineSearch, Self::NotFinite, Self::Cancelled]
            .into_iter()
            .find(|stopped| stopped.code() == code)
    }

    /// Whether a resumed run examines the member again: the reason was a limit of the run, not a property of the point.
    fn is_limit(self) -> bool {
        matches!(self, Self::Target | Self::MaxSteps | Self::MaxEvaluations | Self::Cancelled)
    }
}

/// The observer's answer.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |progress| {
///     if progress.iteration == 2 { Control::Stop } else { Control::Continue }
/// })?;
/// assert_eq!((outcome.iterations[0], outcome.stopped[0]), (2, Stopped::Cancelled));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// End the run; members that still ran end with [`Stopped::Cancelled`].
    Stop,
}

/// What the observer sees.
///
/// The observer is called when every running member has completed one more step (`iteration` then grows, by more than one where
/// the slowest member has just ended), first at the start with `iteration` 0, and once when the last member ends, which may
/// repeat the last number. Faster members may be a few steps ahead.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let mut falls = Vec::new();
/// minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |progress| {
///     falls.push(progress.values[0]);
///     Control::Continue
/// })?;
/// assert!(falls[0] == 41.0 && falls.windows(2).all(|pair| pair[1] <= pair[0]));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[non_exhaustive]
pub struct Progress<'a> {
    /// Steps that all running members have completed; when none runs, the largest count.
    pub iteration: usize,
    /// Joint evaluations so far.
    pub evaluations: usize,
    /// Value at the current point, `[K]`.
    pub values: &'a [f64],
    /// max |g_i| at the current point, `[K]`.
    pub gradient_norms: &'a [f64],
    /// Whether every member has ended.
    pub ended: bool,
    state: &'a State,
    bench: RefCell<&'a mut dyn Bench>,
}

impl<'a> Progress<'a> {
    /// The state to be saved with [`State::to_bytes`]; [`resume`] continues from it exactly.
    ///
    /// Vectors that lie on a device are read from it now, 2 m + 4 of them per member for L-BFGS; those of the host are borrowed.
    ///
    /// Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
    /// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
    /// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
    /// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
    /// # };
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// let mut checkpoint = Vec::new();
    /// minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |progress| {
    ///     checkpoint = progress.state().expect("vectors of the host").to_bytes(&[7; 32]);
    ///     if progress.iteration == 2 { Control::Stop } else { Control::Continue }
    /// })?;
    /// assert_eq!(State::from_bytes(&checkpoint, &[7; 32]).map(|state| state.iterations()), Ok(vec![2]));
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn state(&self) -> Result<Cow<'a, State>, OptimiseError> {
        let failed = |source| OptimiseError::Objective { evaluation: self.state.rounds as usize, source };
        self.bench.borrow_mut().whole(self.state).map_err(failed)
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("iteration", &self.iteration)
            .field("evaluations", &self.evaluations)
            .field("values", &self.values)
            .field("gradient_norms", &self.gradient_norms)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Result of a run.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
/// assert_eq!(outcome.history.len(), outcome.iterations[0] + 1);
/// assert_eq!(outcome.history.last(), Some(&outcome.values));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Final points, `[K][n]`.
    pub x: Vec<f64>,
    /// Values at `x`, `[K]`.
    pub values: Vec<f64>,
    /// max |g_i| at `x`, `[K]`.
    pub gradient_norms: Vec<f64>,
    /// Steps, `[K]`.
    pub iterations: Vec<usize>,
    /// Evaluations that each member used, `[K]`.
    pub evaluations: Vec<usize>,
    /// Joint evaluations; at least the largest of `evaluations`.
    pub rounds: usize,
    /// `history[k][member]`: value after k steps, k = 0 at the start; members that ended earlier repeat their last value.
    pub history: Vec<Vec<f64>>,
    /// Why each member ended, `[K]`.
    pub stopped: Vec<Stopped>,
}

/// Faults of a run.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let refused = minimise(&method, vec![0.0, f64::NAN], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue);
/// let expected = "the point of member 0 at the start is not finite (found NaN); expected finite numbers";
/// assert_eq!(refused.unwrap_err().to_string(), expected);
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OptimiseError {
    /// Lengths that do not fit together.
    #[error("`{name}` is {found}; expected {expected}")]
    Shape {
        /// The quantity.
        name: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: usize,
    },
    /// A parameter of a method outside its range.
    #[error("parameter `{name}` is {found}; expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
    /// The start of a member is not usable.
    #[error("the {quantity} of member {member} at the start is not finite (found {found}); expected finite numbers")]
    StartNotFinite {
        /// Index of the member.
        member: usize,
        /// `point`, `value` or `gradient`.
        quantity: &'static str,
        /// The first offending number.
        found: f64,
    },
    /// The objective failed.
    #[error("the objective failed in joint evaluation {evaluation}: {source}")]
    Objective {
        /// Index of the joint evaluation, 0 at the start.
        evaluation: usize,
        /// Its error.
        source: ObjectiveError,
    },
}

/// Faults of a saved state.
///
/// ```
/// use scatterc::optimise::{Adam, CheckpointError, Method, State};
///
/// let mut bytes = State::new(&Method::Adam(Adam::default()), vec![1.0, 2.0], 1)?.to_bytes(&[0; 32]);
/// assert!(matches!(State::from_bytes(&bytes, &[1; 32]), Err(CheckpointError::ForeignFingerprint { .. })));
/// *bytes.last_mut().unwrap() ^= 1;
/// assert!(matches!(State::from_bytes(&bytes, &[0; 32]), Err(CheckpointError::Damaged { .. })));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes do not begin as a checkpoint does.
    #[error("not a checkpoint of an optimisation: expected it to begin with {expected:02x?}, found {found:02x?}")]
    NotCheckpoint {
        /// The mark of the format.
        expected: [u8; 8],
        /// The first bytes, at most eight.
        found: Vec<u8>,
    },
    /// Written by another version of the format.
    #[error("checkpoint of format version {found}; expected version {expected}")]
    Version {
        /// The version of this program.
        expected: u32,
        /// The version of the bytes.
        found: u32,
    },
    /// The bytes end too early.
    #[error("truncated checkpoint: expected {expected} bytes, found {found}")]
    Truncated {
        /// Length according to the header, in bytes.
        expected: u64,
        /// Length, in bytes.
        found: u64,
    },
    /// The bytes do not end where they should.
    #[error("overlong checkpoint: expected {expected} bytes, found {found}")]
    Overlong {
        /// Length according to the header, in bytes.
        expected: u64,
        /// Length, in bytes.
        found: u64,
    },
    /// The bytes have changed since they were written.
    #[error("damaged checkpoint: expected checksum {expected:016x}, found {found:016x}")]
    Damaged {
        /// The checksum in the header.
        expected: u64,
        /// The checksum of the bytes.
        found: u64,
    },
    /// Written for another problem.
    #[error("checkpoint of another problem: expected fingerprint {}, found {}", Hex(.expected), Hex(.found))]
    ForeignFingerprint {
        /// The fingerprint of the caller's problem.
        expected: [u8; 32],
        /// The fingerprint in the bytes.
        found: [u8; 32],
    },
    /// The checksum fits but the contents contradict each other.
    #[error("inconsistent checkpoint: `{name}` is {found}; expected {expected}")]
    Inconsistent {
        /// The field.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Prints a fingerprint as hexadecimal digits.
struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Everything that the rest of a run depends on, except the objective and the [`Options`].
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// // Stopped after one step, continued to the end: the bits of the run in one go.
/// let mut middle = None;
/// minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options { max_steps: 1, ..Options::default() }, &mut |progress| {
///     middle = progress.state().ok().map(|state| state.into_owned());
///     Control::Continue
/// })?;
/// let resumed = resume(middle.unwrap(), &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
/// assert_eq!(resumed.x, minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue)?.x);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    method: Method,
    n: usize,
    /// Last accepted points, `[K][n]`.
    x: Vec<f64>,
    members: Vec<Member>,
    rounds: u64,
}

/// One problem of a batch.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    /// Value at the accepted point.
    value: f64,
    /// max |g_i| at the accepted point.
    gradient_norm: f64,
    /// max |g_i| at the start.
    start_norm: f64,
    evaluations: u64,
    stopped: Option<Stopped>,
    /// Value after k steps; empty until the start has been evaluated.
    history: Vec<f64>,
    work: Work,
}

/// The part of a member that belongs to its method.
#[derive(Clone, Debug, PartialEq)]
enum Work {
    Adam {
        /// Mean gradient, `[n]`, not corrected for bias.
        mu: Vec<f64>,
        /// Mean squared modulus per entry, `[n]` or with pairs `[n / 2]`.
        nu: Vec<f64>,
    },
    Lbfgs {
        /// Gradient at the accepted point, `[n]`.
        gradient: Vec<f64>,
        /// Direction of the running search, `[n]`.
        direction: Vec<f64>,
        /// At most m pairs, a ring once it is full.
        pairs: Vec<Pair>,
        /// Index of the oldest pair.
        oldest: usize,
        /// Whether the previous search failed.
        restarted: bool,
        search: Option<Search>,
    },
}

/// Step, change of gradient, and 1 / (s . y).
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    rho: f64,
}

/// The objective along a search direction: step length, value, slope.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    step: f64,
    value: f64,
    slope: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Lengthening the step until an interval holds an acceptable one.
    Bracket,
    /// Shrinking the interval.
    Zoom,
    /// The search has failed; its best point is evaluated again because its gradient was not kept.
    Settle,
}

/// A running line search.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    stage: Stage,
    /// Evaluations so far.
    count: u64,
    /// Value and slope at step 0.
    start: Point,
    /// The best point with sufficient decrease, or step 0.
    lo: Point,
    /// The other end of the interval in `Zoom`; its value is infinite where the objective was not finite.
    hi: Point,
    /// The step to be evaluated next.
    step: f64,
    /// Interval lengths one and two evaluations ago.
    widths: [f64; 2],
}

/// What a search says to an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Again,
    Accept,
    Fail,
}

/// What an evaluation leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Decision {
    /// Whether the trial point becomes the current one.
    moved: bool,
    /// Length of the step whose pair (s, y) is to be stored.
    pair: Option<f64>,
    /// Why the member ends.
    last: Option<Stopped>,
}

/// The next step of a bracketing search grows by 1.1 to 9 times the last increment.
const GROWTH: (f64, f64) = (1.1, 9.0);
/// A zoom trial keeps this relative distance from the ends of its interval.
const MARGIN: f64 = 0.02;
/// A zoom interval that has not shrunk to this fraction within two evaluations is bisected (Moré & Thuente 1994, section 4).
const SHRINK: f64 = 0.66;
/// The part of the interval that is tried when its far end is not finite.
const RETREAT: f64 = 0.1;

impl Search {
    fn new(value: f64, slope: f64, step: f64) -> Self {
        let start = Point { step: 0.0, value, slope };
        Self { stage: Stage::Bracket, count: 0, start, lo: start, hi: start, step, widths: [f64::INFINITY; 2] }
    }

    /// Takes the evaluation at `self.step`; an infinite value with a NaN slope stands for anything non-finite.
    fn absorb(&mut self, value: f64, slope: f64, rules: &Lbfgs) -> Verdict {
        let start = self.start;
        let point = Point { step: self.step, value, slope };
        self.count += 1;
        // Near a minimum the decrease drowns in rounding; the slopes then still tell (Hager & Zhang 2005, eq. 4.1).
        let decrease = value <= start.value + rules.c1 * point.step * start.slope
            || (value <= start.value + rules.value_noise * start.value.abs() && slope <= (2.0 * rules.c1 - 1.0) * start.slope);
        if decrease && slope.abs() <= rules.c2 * start.slope.abs() {
            return Verdict::Accept;
        }
        let improves = decrease && (self.lo.step == 0.0 || value < self.lo.value);
        if self.stage == Stage::Bracket {
            let previous = self.lo;
            if !improves {
                self.hi = point;
                self.stage = Stage::Zoom;
            } else {
                self.lo = point;
                if slope >= 0.0 {
                    self.hi = previous;
                    self.stage = Stage::Zoom;
                } else {
                    let increment = point.step - previous.step;
                    let guess = cubic_minimum(previous, point).unwrap_or(f64::INFINITY);
                    // A cubic without a minimum beyond this point promises nothing, so the longest step is tried.
                    let guess = if guess > point.step { guess } else { f64::INFINITY };
                    self.step = guess.max(point.step + GROWTH.0 * increment).min(point.step + GROWTH.1 * increment);
                }
            }
        } else if !improves {
            self.hi = point;
        } else {
            if slope * (self.hi.step - self.lo.step) >= 0.0 {
                self.hi = self.lo;
            }
            self.lo = point;
        }
        if self.count >= rules.max_search as u64 {
            return Verdict::Fail;
        }
        if self.stage == Stage::Zoom {
            let width = self.hi.step - self.lo.step;
            let fraction = if !self.hi.value.is_finite() {
                RETREAT
            } else if width.abs() > SHRINK * self.widths[1] {
                0.5
            } else {
                let guess = cubic_minimum(self.lo, self.hi).map(|step| (step - self.lo.step) / width);
                guess.filter(|fraction| fraction.is_finite()).unwrap_or(0.5).clamp(MARGIN, 1.0 - MARGIN)
            };
            self.widths = [width.abs(), self.widths[0]];
            self.step = self.lo.step + fraction * width;
            if self.step == self.lo.step || self.step == self.hi.step {
                return Verdict::Fail;
            }
        }
        if self.step.is_finite() { Verdict::Again } else { Verdict::Fail }
    }
}

/// Whether a search along a direction of this slope can go down. Rounding can spoil a nearly singular history; -gradient always descends.
fn descends(slope: f64) -> bool {
    slope < 0.0 && slope.is_finite()
}

/// Minimiser of the cubic through two values and slopes; Nocedal & Wright eq. 3.59.
fn cubic_minimum(a: Point, b: Point) -> Option<f64> {
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let d2 = (b.step - a.step).signum() * (d1 * d1 - a.slope * b.slope).sqrt();
    let step = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    step.is_finite().then_some(step)
}

impl Member {
    fn new(method: &Method, n: usize) -> Self {
        let work = match method {
            Method::Adam(adam) => Work::Adam { mu: vec![0.0; n], nu: vec![0.0; if adam.pairs { n / 2 } else { n }] },
            Method::Lbfgs(_) => {
                Work::Lbfgs { gradient: vec![0.0; n], direction: vec![0.0; n], pairs: Vec::new(), oldest: 0, restarted: false, search: None }
            }
        };
        Self { value: f64::NAN, gradient_norm: f64::NAN, start_norm: f64::NAN, evaluations: 0, stopped: None, history: Vec::new(), work }
    }

    /// Number of completed steps.
    fn iterations(&self) -> u64 {
        self.history.len().saturating_sub(1) as u64
    }

    /// Writes the point to be evaluated next.
    fn propose(&mut self, method: &Method, x: &[f64], trial: &mut [f64]) {
        if self.history.is_empty() {
            trial.copy_from_slice(x);
            return;
        }
        let iteration = self.iterations() + 1;
        match (&mut self.work, method) {
            (Work::Adam { mu, nu }, Method::Adam(adam)) => {
                let bias1 = 1.0 - power(adam.beta1, iteration);
                let bias2 = 1.0 - power(adam.beta2, iteration);
                let entry = if adam.pairs { 2 } else { 1 };
                let points = trial.chunks_exact_mut(entry).zip(x.chunks_exact(entry));
                for ((trial, x), (mu, nu)) in points.zip(mu.chunks_exact(entry).zip(nu)) {
                    let scale = (*nu / bias2).sqrt() + adam.eps;
                    for ((trial, x), mu) in trial.iter_mut().zip(x).zip(mu) {
                        *trial = x - adam.learning_rate * (mu / bias1 / scale);
                    }
                }
            }
            (Work::Lbfgs { gradient, direction, pairs, oldest, search, .. }, Method::Lbfgs(_)) => {
                let search = search.get_or_insert_with(|| {
                    let mut slope = lbfgs_direction(gradient, pairs, *oldest, direction);
                    if !descends(slope) && !pairs.is_empty() {
                        pairs.clear();
                        *oldest = 0;
                        slope = lbfgs_direction(gradient, pairs, *oldest, direction);
                    }
                    let step = if pairs.is_empty() { 1.0 / norm(gradient) } else { 1.0 };
                    Search::new(self.value, slope, step)
                });
                for ((trial, x), d) in trial.iter_mut().zip(x).zip(direction.iter()) {
                    *trial = x + search.step * d;
                }
            }
            _ => unreachable!("members are made for the method of their state"),
        }
    }

    /// Takes the evaluation of the proposed point. The caller has refused a non-finite start.
    fn absorb(&mut self, method: &Method, x: &mut [f64], trial: &[f64], value: f64, new: &[f64], options: &Options) {
        let norm = max_norm(new).filter(|_| value.is_finite());
        let slope = match &self.work {
            Work::Lbfgs { direction, search: Some(_), .. } if norm.is_some() => dot(new, direction),
            _ => f64::NAN,
        };
        let decision = self.decide(method, value, norm, slope);
        match (&mut self.work, method) {
            (Work::Adam { mu, nu }, Method::Adam(adam)) if decision.moved => {
                let entry = if adam.pairs { 2 } else { 1 };
                for ((g, mu), nu) in new.chunks_exact(entry).zip(mu.chunks_exact_mut(entry)).zip(nu) {
                    let mut square = 0.0;
                    for (g, mu) in g.iter().zip(mu) {
                        *mu = (1.0 - adam.beta1) * g + adam.beta1 * *mu;
                        square += g * g;
                    }
                    *nu = (1.0 - adam.beta2) * square + adam.beta2 * *nu;
                }
            }
            (Work::Lbfgs { gradient, direction, pairs, oldest, .. }, Method::Lbfgs(rules)) => {
                if let Some(step) = decision.pair {
                    push_pair(pairs, oldest, rules.history, step, direction, new, gradient);
                }
                if decision.moved {
                    gradient.copy_from_slice(new);
                }
            }
            _ => {}
        }
        if decision.moved {
            x.copy_from_slice(trial);
        }
        self.conclude(method, &decision, value, norm, options);
    }

    /// Decides what an evaluation leads to; forgets the history if it is to be forgotten, and touches no other vector.
    ///
    /// - `norm`: max |g_i| at the trial point; none where value or gradient is not finite
    /// - `slope`: g . d at the trial point; read only in a search
    fn decide(&mut self, method: &Method, value: f64, norm: Option<f64>, slope: f64) -> Decision {
        self.evaluations += 1;
        let finite = norm.is_some();
        if self.history.is_empty() {
            self.start_norm = norm.unwrap_or(f64::NAN);
        }
        let mut decision = Decision { moved: true, pair: None, last: None };
        match (&mut self.work, method) {
            (Work::Adam { .. }, Method::Adam(_)) => {
                decision.moved = finite;
                decision.last = (!finite).then_some(Stopped::NotFinite);
            }
            (Work::Lbfgs { pairs, oldest, restarted, search, .. }, Method::Lbfgs(rules)) => {
                if let Some(running) = search {
                    let settled = running.stage == Stage::Settle;
                    let verdict = match (settled, finite) {
                        (true, true) => Verdict::Accept,
                        (true, false) => Verdict::Fail,
                        (false, true) => running.absorb(value, slope, rules),
                        (false, false) => running.absorb(f64::INFINITY, f64::NAN, rules),
                    };
                    let step = running.step;
                    if verdict == Verdict::Fail && !settled && running.lo.step != 0.0 && running.lo.value < running.start.value {
                        running.stage = Stage::Settle;
                        running.step = running.lo.step;
                    } else if verdict != Verdict::Again {
                        *search = None;
                        if verdict == Verdict::Accept && !settled {
                            *restarted = false;
                            decision.pair = Some(step);
                        } else {
                            // Without a history and without a move the same search would fail in the same way.
                            let hopeless = pairs.is_empty() && verdict == Verdict::Fail;
                            if *restarted || hopeless {
                                decision.last = Some(Stopped::LineSearch);
                            }
                            *restarted = true;
                            pairs.clear();
                            *oldest = 0;
                        }
                    }
                    decision.moved = verdict == Verdict::Accept;
                }
            }
            _ => unreachable!("members are made for the method of their state"),
        }
        decision
    }

    /// Notes a decision whose vectors have been moved, and ends the member where its rules or the limits say so.
    fn conclude(&mut self, method: &Method, decision: &Decision, value: f64, norm: Option<f64>, options: &Options) {
        let mut last = decision.last;
        if decision.moved {
            self.value = value;
            self.gradient_norm = norm.unwrap_or(f64::NAN);
            self.history.push(value);
            if let Method::Lbfgs(rules) = method {
                let window = self.history.len().checked_sub(rules.value_window + 1).map(|k| self.history[k]);
                let still = window.is_some_and(|old| old - value <= rules.value_tolerance * old.abs());
                if self.gradient_norm <= rules.gradient_tolerance * self.start_norm {
                    last = Some(Stopped::Gradient);
                } else if rules.value_tolerance > 0.0 && still && last.is_none() {
                    last = Some(Stopped::ValueChange);
                }
            }
        }
        self.stopped = last;
        self.apply_limits(options);
    }

    /// Ends a running member at the limits of the run. A running line search is finished before the limit on steps applies.
    fn apply_limits(&mut self, options: &Options) {
        if self.stopped.is_some() || self.history.is_empty() {
            return;
        }
        let searching = matches!(&self.work, Work::Lbfgs { search: Some(_), .. });
        if options.target_value.is_some_and(|target| self.value <= target) {
            self.stopped = Some(Stopped::Target);
        } else if !searching && self.iterations() >= options.max_steps as u64 {
            self.stopped = Some(Stopped::MaxSteps);
        } else if options.max_evaluations.is_some_and(|limit| self.evaluations >= limit as u64) {
            self.stopped = Some(Stopped::MaxEvaluations);
        }
    }
}

/// Writes `-H g` by the two-loop recursion (Nocedal & Wright algorithm 7.4) and returns its slope `g . d`.
fn lbfgs_direction(gradient: &[f64], pairs: &[Pair], oldest: usize, direction: &mut [f64]) -> f64 {
    for (d, g) in direction.iter_mut().zip(gradient) {
        *d = -g;
    }
    let count = pairs.len();
    let mut alphas = vec![0.0; count];
    for k in (0..count).rev() {
        let pair = &pairs[(oldest + k) % count];
        alphas[k] = pair.rho * dot(&pair.s, direction);
        add_scaled(direction, -alphas[k], &pair.y);
    }
    if count > 0 {
        let newest = &pairs[(oldest + count - 1) % count];
        // s . y / y . y estimates the size of the inverse Hessian along the last step.
        let scale = 1.0 / (newest.rho * dot(&newest.y, &newest.y));
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for k in 0..count {
        let pair = &pairs[(oldest + k) % count];
        let beta = pair.rho * dot(&pair.y, direction);
        add_scaled(direction, alphas[k] - beta, &pair.s);
    }
    dot(gradient, direction)
}

/// Stores the pair of an accepted step, in the place of the oldest one when all m are in use.
fn push_pair(pairs: &mut Vec<Pair>, oldest: &mut usize, history: usize, step: f64, direction: &[f64], new: &[f64], old: &[f64]) {
    // The products are formed first, so that a pair without curvature costs no stored one.
    let mut sy = [0.0; LANES];
    let mut yy = [0.0; LANES];
    for (k, ((d, a), b)) in direction.iter().zip(new).zip(old).enumerate() {
        sy[k % LANES] += step * d * (a - b);
        yy[k % LANES] += (a - b) * (a - b);
    }
    let (sy, yy): (f64, f64) = (sy.iter().sum(), yy.iter().sum());
    let Some(rho) = curvature(sy, step * norm(direction), yy.sqrt()) else { return };
    let place = next_place(pairs, oldest, history, old.len());
    let pair = &mut pairs[place];
    pair.rho = rho;
    for (s, d) in pair.s.iter_mut().zip(direction) {
        *s = step * d;
    }
    for ((y, a), b) in pair.y.iter_mut().zip(new).zip(old) {
        *y = a - b;
    }
}

/// Returns 1 / (s . y), or nothing for a pair with (nearly) no curvature, which would make the implied Hessian singular.
fn curvature(sy: f64, s_norm: f64, y_norm: f64) -> Option<f64> {
    let rho = 1.0 / sy;
    (sy > f64::EPSILON * s_norm * y_norm && rho.is_finite()).then_some(rho)
}

/// The place of the newest pair, whose vectors have n numbers: that of the oldest one when all m are in use.
fn next_place(pairs: &mut Vec<Pair>, oldest: &mut usize, history: usize, n: usize) -> usize {
    if pairs.len() < history {
        pairs.push(Pair { s: vec![0.0; n], y: vec![0.0; n], rho: f64::NAN });
        return pairs.len() - 1;
    }
    let place = *oldest;
    *oldest = (place + 1) % pairs.len();
    place
}

/// Lanes of a sum; fixed, so that a sum has the same bits on every CPU.
const LANES: usize = 8;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for k in 0..LANES {
            lanes[k] += a[k] * b[k];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add_scaled(out: &mut [f64], factor: f64, a: &[f64]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += factor * a;
    }
}

/// Returns max |a_i|, or nothing if an entry is not finite.
fn max_norm(a: &[f64]) -> Option<f64> {
    // `f64::max` passes over NaN, so a sum that every non-finite entry turns into NaN is carried along.
    let (norm, poison) = a.iter().fold((0.0f64, 0.0f64), |(norm, poison), a| (norm.max(a.abs()), poison + a * 0.0));
    (poison == 0.0).then_some(norm)
}

/// base^exponent by repeated squaring; the library's power may differ between platforms.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

/// Refuses parameters outside their range.
fn validate(method: &Method) -> Result<(), OptimiseError> {
    let check = |name, found: f64, valid: bool, expected| {
        if valid && found.is_finite() { Ok(()) } else { Err(OptimiseError::Parameter { name, expected, found }) }
    };
    let decay = |a: f64| (0.0..1.0).contains(&a);
    match method {
        Method::Adam(adam) => {
            check("learning_rate", adam.learning_rate, adam.learning_rate > 0.0, "a number > 0")?;
            check("beta1", adam.beta1, decay(adam.beta1), "0 <= beta1 < 1")?;
            check("beta2", adam.beta2, decay(adam.beta2), "0 <= beta2 < 1")?;
            check("eps", adam.eps, adam.eps >= 0.0, "a number >= 0")
        }
        Method::Lbfgs(lbfgs) => {
            check("history", lbfgs.history as f64, (1..=1000).contains(&lbfgs.history), "1 <= history <= 1000")?;
            check("gradient_tolerance", lbfgs.gradient_tolerance, lbfgs.gradient_tolerance >= 0.0, "a number >= 0")?;
            check("value_tolerance", lbfgs.value_tolerance, lbfgs.value_tolerance >= 0.0, "a number >= 0")?;
            let window = lbfgs.value_window;
            check("value_window", window as f64, (1..=1_000_000).contains(&window), "1 <= value_window <= 1000000")?;
            check("c1", lbfgs.c1, lbfgs.c1 > 0.0 && lbfgs.c1 < 0.5, "0 < c1 < 1/2")?;
            check("c2", lbfgs.c2, lbfgs.c2 > lbfgs.c1 && lbfgs.c2 < 1.0, "c1 < c2 < 1")?;
            check("max_search", lbfgs.max_search as f64, (1..=1000).contains(&lbfgs.max_search), "1 <= max_search <= 1000")?;
            check("value_noise", lbfgs.value_noise, lbfgs.value_noise >= 0.0, "a number >= 0")
        }
    }
}

/// Minimises K independent problems from `x0`.
///
/// - `x0`: `[K][n]`, finite
/// - `batch`: K >= 1, a divisor of the length of `x0`
///
/// Cost: per step and member one evaluation (Adam) or in the mean about 1.1 (L-BFGS), and beside it some 6 n (Adam) or
/// 8 m n (L-BFGS) multiply-adds. Buffers are allocated once (L-BFGS pairs as the history fills).
///
/// ```
/// use scatterc::optimise::{minimise, Control, Lbfgs, Method, ObjectiveError, Options};
///
/// let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
///     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
///     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// };
/// let method = Method::Lbfgs(Lbfgs::default());
/// let outcome = minimise(&method, vec![0.0; 2], 1, &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
/// assert!((outcome.x[0] - 1.0).abs() < 1e-6 && (outcome.x[1] + 2.0).abs() < 1e-6);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
pub fn minimise(
    method: &Method,
    x0: Vec<f64>,
    batch: usize,
    objective: &mut dyn Objective,
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Outcome, OptimiseError> {
    resume(State::new(method, x0, batch)?, objective, options, observer)
}

/// Continues from a state that an observer has seen, with the bits of the uninterrupted run.
///
/// Members that a limit or a cancellation had ended are examined again under the new `options`; members that had converged or
/// failed stay as they are.
///
/// ```
/// # use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped, minimise, resume};
/// # let mut bowl = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
/// #     gradient.copy_from_slice(&[2.0 * (x[0] - 1.0), 20.0 * (x[1] + 2.0)]);
/// #     Ok((x[0] - 1.0).powi(2) + 10.0 * (x[1] + 2.0).powi(2))
/// # };
/// # let method = Method::Lbfgs(Lbfgs::default());
/// let state = State::new(&method, vec![0.0; 2], 1)?;
/// let outcome = resume(state, &mut bowl, &Options::default(), &mut |_| Control::Continue)?;
/// assert!((outcome.x[1] + 2.0).abs() < 1e-6);
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
pub fn resume(
    state: State,
    objective: &mut dyn Objective,
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Outcome, OptimiseError> {
    let (total, batch) = (state.x.len(), state.members.len());
    let mut bench = Host { objective, trial: state.x.clone(), gradient: vec![0.0; total], values: vec![0.0; batch] };
    drive(state, &mut bench, options, observer)
}

/// Where the vectors of a run are.
trait Bench {
    /// Proposes a point for every active member, evaluates all together and absorbs the results.
    fn round(&mut self, state: &mut State, active: &[bool], options: &Options) -> Result<(), OptimiseError>;

    /// The state with all its vectors. Error: a device that fails.
    fn whole<'a>(&mut self, state: &'a State) -> Result<Cow<'a, State>, ObjectiveError>;

    /// Current points of all members, `[K][n]`, at the end of a run. Error: a device that fails.
    fn points(&mut self, state: &mut State) -> Result<Vec<f64>, ObjectiveError>;
}

/// Vectors in the state itself.
struct Host<'a> {
    objective: &'a mut dyn Objective,
    trial: Vec<f64>,
    gradient: Vec<f64>,
    values: Vec<f64>,
}

impl Bench for Host<'_> {
    fn round(&mut self, state: &mut State, active: &[bool], options: &Options) -> Result<(), OptimiseError> {
        let Host { objective, trial, gradient, values } = self;
        let State { method, n, x, members, rounds } = state;
        for (k, member) in members.iter_mut().enumerate().filter(|(k, _)| active[*k]) {
            let range = k * *n..(k + 1) * *n;
            member.propose(method, &x[range.clone()], &mut trial[range]);
        }
        objective
            .evaluate_active(trial, active, gradient, values)
            .map_err(|source| OptimiseError::Objective { evaluation: *rounds as usize, source })?;
        *rounds += 1;
        for (k, member) in members.iter_mut().enumerate().filter(|(k, _)| active[*k]) {
            let range = k * *n..(k + 1) * *n;
            let (x, trial, gradient) = (&mut x[range.clone()], &mut trial[range.clone()], &gradient[range]);
            if member.history.is_empty() {
                require_finite(k, "value", &values[k..=k])?;
                require_finite(k, "gradient", gradient)?;
            }
            member.absorb(method, x, trial, values[k], gradient, options);
            if member.stopped.is_some() {
                // From now on the joint evaluation sees the final point of this member.
                trial.copy_from_slice(x);
            }
        }
        Ok(())
    }

    fn whole<'a>(&mut self, state: &'a State) -> Result<Cow<'a, State>, ObjectiveError> {
        Ok(Cow::Borrowed(state))
    }

    fn points(&mut self, state: &mut State) -> Result<Vec<f64>, ObjectiveError> {
        Ok(std::mem::take(&mut state.x))
    }
}

/// Rounds until all members have ended, under the observer's eyes.
fn drive(
    mut state: State,
    bench: &mut dyn Bench,
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Outcome, OptimiseError> {
    for member in &mut state.members {
        if member.stopped.is_some_and(Stopped::is_limit) {
            member.stopped = None;
            member.apply_limits(options);
        }
    }
    let mut active: Vec<bool> = state.members.iter().map(|member| member.stopped.is_none()).collect();
    let mut reported = state.completed();
    while active.contains(&true) {
        bench.round(&mut state, &active, options)?;
        for (active, member) in active.iter_mut().zip(&state.members) {
            *active = member.stopped.is_none();
        }
        let completed = state.completed();
        if completed != reported || !active.contains(&true) {
            reported = completed;
            let progress = Progress {
                iteration: completed.unwrap_or(0) as usize,
                evaluations: state.rounds as usize,
                values: &state.values(),
                gradient_norms: &state.gradient_norms(),
                ended: !active.contains(&true),
                state: &state,
                bench: RefCell::new(&mut *bench),
            };
            if observer(&progress) == Control::Stop {
                for member in &mut state.members {
                    member.stopped.get_or_insert(Stopped::Cancelled);
                }
                break;
            }
        }
    }
    let x = bench.points(&mut state).map_err(|source| OptimiseError::Objective { evaluation: state.rounds as usize, source })?;
    Ok(State { x, ..state }.finish())
}

/// Names the first non-finite number of a start.
fn require_finite(member: usize, quantity: &'static str, numbers: &[f64]) -> Result<(), OptimiseError> {
    match numbers.iter().find(|a| !a.is_finite()) {
        Some(&found) => Err(OptimiseError::StartNotFinite { member, quantity, found }),
        None => Ok(()),
    }
}

impl State {
    /// Prepares a run of which nothing has been evaluated.
    ///
    /// - `x0`: `[K][n]`, finite
    ///
    /// ```
    /// use scatterc::optimise::{Adam, Method, State};
    ///
    /// let method = Method::Adam(Adam::default());
    /// assert_eq!(State::new(&method, vec![0.0; 6], 2)?.dimension(), 3);
    /// assert!(State::new(&method, vec![0.0; 6], 4).is_err());
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn new(method: &Method, x0: Vec<f64>, batch: usize) -> Result<Self, OptimiseError> {
        validate(method)?;
        if batch == 0 {
            return Err(OptimiseError::Shape { name: "batch", expected: "at least 1".into(), found: batch });
        }
        if x0.is_empty() || !x0.len().is_multiple_of(batch) {
            let expected = format!("a positive multiple of the batch, {batch}");
            return Err(OptimiseError::Shape { name: "length of x0", expected, found: x0.len() });
        }
        let n = x0.len() / batch;
        if matches!(method, Method::Adam(adam) if adam.pairs) && !n.is_multiple_of(2) {
            let expected = "even, because x holds pairs (re, im)".into();
            return Err(OptimiseError::Shape { name: "length of a member", expected, found: n });
        }
        for (k, x) in x0.chunks_exact(n).enumerate() {
            require_finite(k, "point", x)?;
        }
        let members = (0..batch).map(|_| Member::new(method, n)).collect();
        Ok(Self { method: method.clone(), n, x: x0, members, rounds: 0 })
    }

    /// The method with its parameters.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.method(), &method);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Number K of members.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.batch(), 2);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn batch(&self) -> usize {
        self.members.len()
    }

    /// Number n of variables of a member.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.dimension(), 3);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn dimension(&self) -> usize {
        self.n
    }

    /// Current points, `[K][n]`; inside a line search, the point from which it started.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.x()[3..], [3.0, 4.0, 5.0]);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Values at [`State::x`], `[K]`; NaN before the first evaluation.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert!(state.values().iter().all(|value| value.is_nan()));
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn values(&self) -> Vec<f64> {
        self.members.iter().map(|member| member.value).collect()
    }

    fn gradient_norms(&self) -> Vec<f64> {
        self.members.iter().map(|member| member.gradient_norm).collect()
    }

    /// Completed steps, `[K]`.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.iterations(), [0, 0]);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn iterations(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.iterations() as usize).collect()
    }

    /// Joint evaluations so far.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.evaluations(), 0);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn evaluations(&self) -> usize {
        self.rounds as usize
    }

    /// Why members have ended, `[K]`; none for those that run.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// assert_eq!(state.stopped(), [None, None]);
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn stopped(&self) -> Vec<Option<Stopped>> {
        self.members.iter().map(|member| member.stopped).collect()
    }

    /// Steps that all running members have completed, or the largest count if none runs; none before the first evaluation.
    fn completed(&self) -> Option<u64> {
        if self.members.iter().all(|member| member.history.is_empty()) {
            return None;
        }
        let running = self.members.iter().filter(|member| member.stopped.is_none()).map(Member::iterations).min();
        running.or_else(|| self.members.iter().map(Member::iterations).max())
    }

    fn finish(self) -> Outcome {
        let rows = self.members.iter().map(|member| member.history.len()).max().unwrap_or(0);
        let entry = |member: &Member, row: usize| member.history.get(row).copied().unwrap_or(member.value);
        Outcome {
            values: self.values(),
            gradient_norms: self.gradient_norms(),
            iterations: self.iterations(),
            evaluations: self.members.iter().map(|member| member.evaluations as usize).collect(),
            rounds: self.rounds as usize,
            history: (0..rows).map(|row| self.members.iter().map(|member| entry(member, row)).collect()).collect(),
            stopped: self.members.iter().map(|member| member.stopped.unwrap_or(Stopped::Cancelled)).collect(),
            x: self.x,
        }
    }
}

/// Mark of the checkpoint format.
const MAGIC: [u8; 8] = *b"SCATOPT\x1a";
/// Version of the checkpoint format.
const VERSION: u32 = 1;
/// Mark, version, checksum, payload length, fingerprint.
const HEADER: usize = 8 + 4 + 8 + 8 + 32;

/// Detects damage, not intent: FNV-1a taken over little-endian words, with a rotation so that two flipped top bits cannot cancel.
fn checksum(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| fold(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| fold(hash, u64::from(*byte)))
}

impl State {
    /// Writes a checkpoint: little-endian, with a version, a checksum and the caller's fingerprint of the problem.
    ///
    /// The fingerprint should cover what the state does not hold: the plan, the target and the options of the objective.
    /// Size: about 8 K n (4 + 2 m) bytes for L-BFGS and 24 K n for Adam.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// let bytes = state.to_bytes(&[7; 32]);
    /// assert_eq!(State::from_bytes(&bytes, &[7; 32]).map(|state| state.to_bytes(&[7; 32])), Ok(bytes));
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn to_bytes(&self, fingerprint: &[u8; 32]) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        out.0.extend_from_slice(&MAGIC);
        out.0.extend_from_slice(&VERSION.to_le_bytes());
        out.0.extend_from_slice(&[0; 16]);
        out.0.extend_from_slice(fingerprint);
        match &self.method {
            Method::Adam(adam) => {
                out.byte(1);
                out.numbers(&[adam.learning_rate, adam.beta1, adam.beta2, adam.eps]);
                out.byte(u8::from(adam.pairs));
            }
            Method::Lbfgs(lbfgs) => {
                out.byte(2);
                for size in [lbfgs.history, lbfgs.value_window, lbfgs.max_search] {
                    out.count(size as u64);
                }
                out.numbers(&[lbfgs.gradient_tolerance, lbfgs.value_tolerance, lbfgs.c1, lbfgs.c2, lbfgs.value_noise]);
            }
        }
        out.count(self.members.len() as u64);
        out.count(self.n as u64);
        out.count(self.rounds);
        out.numbers(&self.x);
        for member in &self.members {
            out.numbers(&[member.value, member.gradient_norm, member.start_norm]);
            out.count(member.evaluations);
            out.byte(member.stopped.map_or(0, Stopped::code));
            out.count(member.history.len() as u64);
            out.numbers(&member.history);
            match &member.work {
                Work::Adam { mu, nu } => {
                    out.numbers(mu);
                    out.numbers(nu);
                }
                Work::Lbfgs { gradient, direction, pairs, oldest, restarted, search } => {
                    out.numbers(gradient);
                    out.count(pairs.len() as u64);
                    out.count(*oldest as u64);
                    for pair in pairs {
                        out.number(pair.rho);
                        out.numbers(&pair.s);
                        out.numbers(&pair.y);
                    }
                    out.byte(u8::from(*restarted));
                    out.byte(u8::from(search.is_some()));
                    if let Some(search) = search {
                        out.numbers(direction);
                        out.byte(match search.stage {
                            Stage::Bracket => 0,
                            Stage::Zoom => 1,
                            Stage::Settle => 2,
                        });
                        out.count(search.count);
                        for point in [search.start, search.lo, search.hi] {
                            out.numbers(&[point.step, point.value, point.slope]);
                        }
                        out.number(search.step);
                        out.numbers(&search.widths);
                    }
                }
            }
        }
        let mut bytes = out.0;
        let length = (bytes.len() - HEADER) as u64;
        bytes[20..28].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&bytes[20..]);
        bytes[12..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a checkpoint written with the same fingerprint.
    ///
    /// ```
    /// # use scatterc::optimise::{Adam, Lbfgs, Method, State};
    /// # let method = Method::Lbfgs(Lbfgs::default());
    /// # let state = State::new(&method, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)?;
    /// let bytes = state.to_bytes(&[7; 32]);
    /// assert_eq!(State::from_bytes(&bytes, &[7; 32]).map(|state| state.x().to_vec()), Ok(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    /// assert!(State::from_bytes(&bytes[..40], &[7; 32]).unwrap_err().to_string().starts_with("truncated checkpoint"));
    /// # Ok::<(), scatterc::optimise::OptimiseError>(())
    /// ```
    pub fn from_bytes(bytes: &[u8], fingerprint: &[u8; 32]) -> Result<Self, CheckpointError> {
        let mark = &bytes[..bytes.len().min(8)];
        if !MAGIC.starts_with(mark) || bytes.is_empty() {
            return Err(CheckpointError::NotCheckpoint { expected: MAGIC, found: mark.to_vec() });
        }
        let found = bytes.len() as u64;
        let mut header = Reader(&bytes[mark.len()..]);
        let short = |_| CheckpointError::Truncated { expected: HEADER as u64, found };
        let version = u32::from_le_bytes(header.array().map_err(short)?);
        if version != VERSION {
            return Err(CheckpointError::Version { expected: VERSION, found: version });
        }
        let expected_sum = header.count().map_err(short)?;
        let length = header.count().map_err(short)?;
        let found_fingerprint: [u8; 32] = header.array().map_err(short)?;
        let expected = length.saturating_add(HEADER as u64);
        if found < expected {
            return Err(CheckpointError::Truncated { expected, found });
        }
        if found > expected {
            return Err(CheckpointError::Overlong { expected, found });
        }
        let found_sum = checksum(&bytes[20..]);
        if found_sum != expected_sum {
            return Err(CheckpointError::Damaged { expected: expected_sum, found: found_sum });
        }
        if found_fingerprint != *fingerprint {
            return Err(CheckpointError::ForeignFingerprint { expected: *fingerprint, found: found_fingerprint });
        }
        Self::read(&mut header)
    }

    /// Reads the payload. The checksum fits, so what is refused here was written by something else; it must still not panic.
    fn read(input: &mut Reader<'_>) -> Result<Self, CheckpointError> {
        let method = match input.byte()? {
            1 => Method::Adam(Adam {
                learning_rate: input.number()?,
                beta1: input.number()?,
                beta2: input.number()?,
                eps: input.number()?,
                pairs: input.flag("pairs")?,
            }),
            2 => Method::Lbfgs(Lbfgs {
                history: input.size("history")?,
                value_window: input.size("value_window")?,
                max_search: input.size("max_search")?,
                gradient_tolerance: input.number()?,
                value_tolerance: input.number()?,
                c1: input.number()?,
                c2: input.number()?,
                value_noise: input.number()?,
            }),
            code => return Err(inconsistent("method", "1 or 2", code)),
        };
        let invalid = |error: OptimiseError| inconsistent("method", "parameters in their range", error);
        validate(&method).map_err(invalid)?;
        let batch = input.size("batch")?;
        let n = input.size("n")?;
        let rounds = input.tally("rounds")?;
        let total = batch.checked_mul(n).ok_or_else(|| inconsistent("batch", "batch * n in memory", batch))?;
        let x = input.numbers(total)?;
        // A state without evaluations is the same as one from `new`, which knows what shapes and points are allowed.
        let mut state = State::new(&method, x, batch).map_err(|error| inconsistent("x", "finite numbers of a valid shape", error))?;
        state.rounds = rounds;
        for k in 0..batch {
            let mut member = Member::new(&method, n);
            member.value = input.number()?;
            member.gradient_norm = input.number()?;
            member.start_norm = input.number()?;
            member.evaluations = input.tally("evaluations")?;
            let code = input.byte()?;
            member.stopped = Stopped::from_code(code);
            if member.stopped.is_none() && code != 0 {
                return Err(inconsistent("stopped", "0..=8", code));
            }
            let rows = input.size("rows of the history")?;
            member.history = input.numbers(rows)?;
            if rows > 0 && [member.value, member.gradient_norm, member.start_norm].iter().any(|a| !a.is_finite()) {
                return Err(inconsistent("value", "finite after the start", member.value));
            }
            match &mut member.work {
                Work::Adam { mu, nu } => {
                    *mu = input.numbers(mu.len())?;
                    *nu = input.numbers(nu.len())?;
                }
                Work::Lbfgs { gradient, direction, pairs, oldest, restarted, search } => {
                    *gradient = input.numbers(n)?;
                    let count = input.size("pairs")?;
                    *oldest = input.size("oldest")?;
                    if let Method::Lbfgs(rules) = &method
                        && count > rules.history
                    {
                        return Err(inconsistent("pairs", "at most the history", count));
                    }
                    // A history that is not full has never wrapped around.
                    if *oldest != 0 && *oldest >= count {
                        return Err(inconsistent("oldest", "less than the number of pairs", *oldest));
                    }
                    for _ in 0..count {
                        let rho = input.number()?;
                        pairs.push(Pair { rho, s: input.numbers(n)?, y: input.numbers(n)? });
                    }
                    *restarted = input.flag("restarted")?;
                    if input.flag("search")? {
                        *direction = input.numbers(n)?;
                        *search = Some(input.search()?);
                        if rows == 0 {
                            return Err(inconsistent("search", "none before the start", rows));
                        }
                    }
                }
            }
            state.members[k] = member;
        }
        if !input.0.is_empty() {
            return Err(inconsistent("payload", "nothing after the last member", input.0.len()));
        }
        Ok(state)
    }
}

fn inconsistent(name: &'static str, expected: &'static str, found: impl fmt::Display) -> CheckpointError {
    CheckpointError::Inconsistent { name, expected, found: found.to_string() }
}

/// Appends numbers in little-endian order.
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, a: u8) {
        self.0.push(a);
    }

    fn count(&mut self, a: u64) {
        self.0.extend_from_slice(&a.to_le_bytes());
    }

    fn number(&mut self, a: f64) {
        self.count(a.to_bits());
    }

    fn numbers(&mut self, a: &[f64]) {
        self.0.reserve(8 * a.len());
        a.iter().for_each(|a| self.number(*a));
    }
}

/// Takes numbers from the front of its bytes. Lengths are compared with what is left before anything is allocated.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(|| self.exhausted(N as u64))?;
        self.0 = tail;
        Ok(*head)
    }

    fn exhausted(&self, wanted: u64) -> CheckpointError {
        inconsistent("payload", "as many bytes as its counts need", format!("{} bytes where {wanted} are due", self.0.len()))
    }

    fn byte(&mut self) -> Result<u8, CheckpointError> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, CheckpointError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            code => Err(inconsistent(name, "0 or 1", code)),
        }
    }

    fn count(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a number of events, small enough to be counted on from.
    fn tally(&mut self, name: &'static str) -> Result<u64, CheckpointError> {
        let count = self.count()?;
        if count < 1 << 53 { Ok(count) } else { Err(inconsistent(name, "less than 2^53", count)) }
    }

    fn size(&mut self, name: &'static str) -> Result<usize, CheckpointError> {
        let count = self.count()?;
        usize::try_from(count).map_err(|_| inconsistent(name, "a size of this machine", count))
    }

    fn number(&mut self) -> Result<f64, CheckpointError> {
        Ok(f64::from_bits(self.count()?))
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<f64>, CheckpointError> {
        let size = count.checked_mul(8).filter(|size| *size <= self.0.len());
        let size = size.ok_or_else(|| self.exhausted((count as u64).saturating_mul(8)))?;
        let (head, tail) = self.0.split_at(size);
        self.0 = tail;
        let (words, _) = head.as_chunks::<8>();
        Ok(words.iter().map(|word| f64::from_le_bytes(*word)).collect())
    }

    fn search(&mut self) -> Result<Search, CheckpointError> {
        let stage = match self.byte()? {
            0 => Stage::Bracket,
            1 => Stage::Zoom,
            2 => Stage::Settle,
            code => return Err(inconsistent("stage", "0..=2", code)),
        };
        let count = self.tally("count")?;
        let mut point = || -> Result<Point, CheckpointError> { Ok(Point { step: self.number()?, value: self.number()?, slope: self.number()? }) };
        let (start, lo, hi) = (point()?, point()?, point()?);
        let step = self.number()?;
        let widths = [self.number()?, self.number()?];
        if !step.is_finite() {
            return Err(inconsistent("step", "finite", step));
        }
        Ok(Search { stage, count, start, lo, hi, step, widths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bowl(x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
        let mut value = 0.0;
        for (k, (x, gradient)) in x.iter().zip(gradient).enumerate() {
            let weight = (k + 1) as f64;
            value += weight * (x - 1.0).powi(4);
            *gradient = 4.0 * weight * (x - 1.0).powi(3);
        }
        Ok(value)
    }

    /// Deterministic pseudo-random numbers (splitmix64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % bound as u64) as usize
        }
    }

    fn reseal(bytes: &mut [u8]) {
        if bytes.len() >= HEADER {
            let length = (bytes.len() - HEADER) as u64;
            bytes[20..28].copy_from_slice(&length.to_le_bytes());
            let sum = checksum(&bytes[20..]);
            bytes[12..20].copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// Mutated checkpoints never panic; those with a repaired checksum reach the parser, and what it accepts can be resumed.
    #[test]
    fn mutated_checkpoints_are_refused_or_run() {
        let mut random = Random(7);
        for method in [Method::Adam(Adam { pairs: true, ..Adam::default() }), Method::Lbfgs(Lbfgs { history: 3, ..Lbfgs::default() })] {
            let mut saved = Vec::new();
            let options = Options { max_steps: 9, ..Options::default() };
            minimise(&method, vec![3.0, -2.0, 0.5, 9.0, 1.5, -7.0, 0.1, 2.0], 2, &mut bowl, &options, &mut |progress| {
                saved.push(progress.state().expect("on the host").to_bytes(&[5; 32]));
                Control::Continue
            })
            .expect("the bowl is finite");
            let mut accepted = 0;
            for round in 0..20_000 {
                let mut bytes = saved[random.below(saved.len())].clone();
                for _ in 0..1 + random.below(3) {
                    match random.below(6) {
                        0 => bytes.truncate(random.below(bytes.len() + 1)),
                        1 => bytes.extend((0..random.below(20)).map(|k| k as u8)),
                        2 if !bytes.is_empty() => {
                            let at = random.below(bytes.len());
                            bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff);
                        }
                        _ if !bytes.is_empty() => {
                            let at = random.below(bytes.len());
                            bytes[at] ^= 1 << random.below(8);
                        }
                        _ => {}
                    }
                }
                if round % 2 == 0 {
                    reseal(&mut bytes);
                }
                match State::from_bytes(&bytes, &[5; 32]) {
                    Ok(state) => {
                        accepted += 1;
                        let mut calls = 0;
                        let mut objective = |x: &[f64], gradient: &mut [f64]| bowl(x, gradient);
                        // A forged state may not start from finite numbers; it must end with an outcome or an error.
                        let _ = resume(state, &mut objective, &Options { max_steps: 20, ..Options::default() }, &mut |_| {
                            calls += 1;
                            if calls > 50 { Control::Stop } else { Control::Continue }
                        });
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            assert!(accepted > 100, "{accepted}");
        }
    }

    #[test]
    fn powers() {
        for t in [1, 2, 3, 10, 999, 123_456] {
            assert!((power(0.999, t) / 0.999f64.powf(t as f64) - 1.0).abs() < 1e-11);
        }
    }

    #[test]
    fn max_norm_sees_every_fault() {
        assert_eq!(max_norm(&[1.0, -3.0, 2.0]), Some(3.0));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(max_norm(&[1.0, bad, 2.0]), None);
        }
    }
}
