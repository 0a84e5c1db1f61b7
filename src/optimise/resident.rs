//! Optimisers whose vectors stay on a device: only scalars come to the host.
//!
//! ```text
//! host    coefficients --> direction, trial -->                                    <-- value, slope, max |g|, inner products --> decision
//! device               combine ------------> evaluate -> combine, inner products -->
//! ```
//!
//! A round of a line search is one block of numbers down, one launch and one block of numbers up: the pair (s, y) and the inner products that an accepted point needs are
//! computed with every evaluation, before anybody knows whether it will be accepted; a line search seldom refuses. A step of Adam decides nothing, so the next step and its
//! evaluation are started before the results of the last one are read: the device never waits. What a step absorbs it absorbs only where the evaluation was finite.
//!
//! L-BFGS is the vector-free form of Chen, Wang & Zhou (2014, *Large-scale L-BFGS using MapReduce*, algorithm 3): the direction is a combination
//! of the stored s and y and of the gradient, whose coefficients follow from their inner products. A step changes three of the vectors, so it costs
//! 3 (2 m + 3) new products, one pass over the vectors on the device, and as many numbers on their way to the host.
//!
//! Decisions (line searches, limits, stopping rules, restarts) are those of the host's driver. Trajectories agree with it up to the order of sums, which the device
//! fixes, so that a resumed run has the bits of the uninterrupted one here too.
//!
//! Vectors of a member are known by number; what they are for is fixed by the constants here, beyond which the pairs of L-BFGS follow: all s, then all y.

use super::{
    Adam, Bench, Control, Lbfgs, Method, ObjectiveError, OptimiseError, Options, Outcome, Pair, Progress, Search, State, Work, curvature, descends,
    drive, next_place, power, require_finite,
};
use std::borrow::Cow;

/// Number of a vector of a member.
pub type Vector = usize;

/// The current point.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, GRADIENT, POINT, TRIAL};
///
/// assert_eq!([POINT, TRIAL, GRADIENT, DIRECTION], [0, 1, 2, 3]);
/// ```
pub const POINT: Vector = 0;
/// The point to be evaluated.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, POINT, Statement, TRIAL};
///
/// // The trial point of a line search with step 0.5.
/// let step = Statement::new(TRIAL, [(1.0, POINT), (0.5, DIRECTION)]);
/// assert_eq!(step.out, TRIAL);
/// ```
pub const TRIAL: Vector = 1;
/// The gradient there, which [`Vectors::start`] writes.
///
/// ```
/// use scatterc::optimise::resident::{GRADIENT, Products};
///
/// // |g|^2.
/// let norm = Products { lefts: vec![GRADIENT], rights: vec![GRADIENT] };
/// assert_eq!(norm.lefts, norm.rights);
/// ```
pub const GRADIENT: Vector = 2;
/// The direction of a line search; [`Vectors::start`] measures the slope along it.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, GRADIENT, Statement};
///
/// // Steepest descent.
/// assert_eq!(Statement::new(DIRECTION, [(-1.0, GRADIENT)]).terms, [(-1.0, GRADIENT)]);
/// ```
pub const DIRECTION: Vector = 3;
/// The mean gradient of Adam.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, MEAN};
///
/// // Adam has no line search, so its mean lies where L-BFGS has its direction.
/// assert_eq!(MEAN, DIRECTION);
/// ```
pub const MEAN: Vector = 3;
/// The mean squared modulus of Adam; with pairs, half as many numbers.
///
/// ```
/// use scatterc::optimise::{Adam, Method, resident::{Capacity, SQUARE}};
///
/// // The last vector of Adam.
/// assert_eq!(Capacity::of(&Method::Adam(Adam::default())).vectors, SQUARE + 1);
/// ```
pub const SQUARE: Vector = 4;
/// The gradient at the current point, for L-BFGS.
const ANCHOR: Vector = 4;
/// The first s.
const FIRST: Vector = 5;

/// `out = sum_k c_k v_k`, element by element, the terms from first to last.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, POINT, Statement, TRIAL};
///
/// let step = Statement { out: TRIAL, terms: vec![(1.0, POINT), (0.5, DIRECTION)] };
/// let (point, direction) = (2.0, 4.0);
/// let value: f64 = step.terms.iter().map(|(c, vector)| c * if *vector == POINT { point } else { direction }).sum();
/// assert_eq!(value, 4.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The vector that is written; it may be among the terms.
    pub out: Vector,
    /// Coefficients and vectors; at least one.
    pub terms: Vec<(f64, Vector)>,
}

impl Statement {
    /// A statement.
    ///
    /// ```
    /// use scatterc::optimise::resident::{POINT, Statement, TRIAL};
    ///
    /// assert_eq!(Statement::new(POINT, [(1.0, TRIAL)]), Statement { out: POINT, terms: vec![(1.0, TRIAL)] });
    /// ```
    pub fn new(out: Vector, terms: impl Into<Vec<(f64, Vector)>>) -> Self {
        Statement { out, terms: terms.into() }
    }
}

/// Inner products of every vector of one list with every vector of another.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, GRADIENT, Products};
///
/// // The products <g, g> and <g, d>, in this order.
/// let list = Products { lefts: vec![GRADIENT], rights: vec![GRADIENT, DIRECTION] };
/// assert_eq!(list.lefts.len() * list.rights.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Products {
    /// At most three vectors; none: nothing is computed.
    pub lefts: Vec<Vector>,
    /// At most [`Capacity::rights`] vectors.
    pub rights: Vec<Vector>,
}

/// What Adam does to a member, see [`Adam`]: first absorption, then proposal.
///
/// ```
/// use scatterc::optimise::resident::AdamStep;
///
/// // The first proposal: t = 1.
/// let (beta1, beta2) = (0.9, 0.999);
/// let step = AdamStep { absorb: true, propose: true, rate: 1e-3, beta1, beta2, eps: 1e-8, bias1: 1.0 - beta1, bias2: 1.0 - beta2, pairs: false };
/// // With mu = (1 - beta1) g and nu = (1 - beta2) g^2 it moves by the rate, whatever the gradient.
/// let g: f64 = 7.0;
/// let (mu, nu) = ((1.0 - step.beta1) * g, (1.0 - step.beta2) * g * g);
/// assert!((step.rate * (mu / step.bias1) / ((nu / step.bias2).sqrt() + step.eps) - 1e-3).abs() < 1e-9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The trial point becomes the current one, and the moments take the gradient there.
    pub absorb: bool,
    /// A new trial point follows from the moments.
    pub propose: bool,
    /// The method.
    pub rate: f64,
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean square.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// 1 - beta1^t of the proposal.
    pub bias1: f64,
    /// 1 - beta2^t of the proposal.
    pub bias2: f64,
    /// Whether entries are pairs (re, im) with a common second moment.
    pub pairs: bool,
}

/// What a member does in a round, in this order: statements, a step of Adam, the joint evaluation, statements, inner products.
///
/// The members of a round either all have statements and products or all have steps of Adam, as their method is the same.
///
/// ```
/// use scatterc::optimise::resident::{DIRECTION, GRADIENT, POINT, Products, Round, Statement, TRIAL};
///
/// // Moves the trial point along the direction, evaluates there, and asks for |g|^2.
/// let round = Round {
///     before: vec![Statement::new(TRIAL, [(1.0, POINT), (1.0, DIRECTION)])],
///     products: Products { lefts: vec![GRADIENT], rights: vec![GRADIENT] },
///     ..Round::default()
/// };
/// assert!(round.adam.is_none() && round.after.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Round {
    /// Statements before the evaluation.
    pub before: Vec<Statement>,
    /// A step of Adam.
    pub adam: Option<AdamStep>,
    /// Statements after the evaluation.
    pub after: Vec<Statement>,
    /// Inner products after these.
    pub products: Products,
}

/// What an evaluation tells of a member.
///
/// ```
/// use scatterc::optimise::resident::Measured;
///
/// // A line search that fell: the slope along its direction is negative.
/// let measured = Measured { value: 0.5, norm: Some(1.0), slope: -0.25 };
/// assert!(measured.norm.is_some_and(|norm| norm.is_finite()) && measured.slope < 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The value at the trial point.
    pub value: f64,
    /// max |g_i| there; none where a number is not finite.
    pub norm: Option<f64>,
    /// The inner product of the gradient there with [`DIRECTION`].
    pub slope: f64,
}

/// What a method needs of a device, per member.
///
/// ```
/// use scatterc::optimise::{Adam, Lbfgs, Method, resident::Capacity};
///
/// let adam = Capacity::of(&Method::Adam(Adam::default()));
/// let lbfgs = Capacity::of(&Method::Lbfgs(Lbfgs { history: 10, ..Lbfgs::default() }));
/// // Point, trial, gradient and two moments; L-BFGS has eleven pairs (s, y) beside its own five.
/// assert_eq!((adam.vectors, lbfgs.vectors), (5, 5 + 2 * 11));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Vectors.
    pub vectors: usize,
    /// Most statements of one call of [`Vectors::combine`].
    pub statements: usize,
    /// Most terms of all of them.
    pub terms: usize,
    /// Most right vectors of one call of [`Vectors::products`].
    pub rights: usize,
}

impl Capacity {
    /// What a method needs.
    ///
    /// ```
    /// use scatterc::optimise::{Lbfgs, Method, resident::Capacity};
    ///
    /// let of = |history| Capacity::of(&Method::Lbfgs(Lbfgs { history, ..Lbfgs::default() }));
    /// assert_eq!(of(6).vectors - of(5).vectors, 2);
    /// ```
    pub fn of(method: &Method) -> Self {
        match method {
            Method::Adam(_) => Capacity { vectors: SQUARE + 1, statements: 1, terms: 1, rights: 1 },
            // One pair more than is stored: a new one is written before its curvature is known.
            Method::Lbfgs(Lbfgs { history: m, .. }) => {
                Capacity { vectors: FIRST + 2 * (m + 1), statements: 4, terms: 2 * m + 5, rights: 2 * (m + 1) + 1 }
            }
        }
    }
}

/// K members with vectors of n numbers on a device, and an objective there.
///
/// Calls take effect in their order; those that return no numbers may return before they are done. Lists have one entry per member.
///
/// Sums have a fixed order, and a product does not depend on what else is computed with it, nor on which of its vectors is left and which is right.
///
/// ```
/// use scatterc::optimise::resident::*;
/// use scatterc::optimise::{Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped};
/// use std::collections::VecDeque;
/// /// One member, in memory, with the objective sum_e (x_e - 1)^2.
/// struct Plain {
///     v: Vec<Vec<f64>>,
///     results: VecDeque<(Measured, Vec<f64>)>,
/// }
/// fn dot(a: &[f64], b: &[f64]) -> f64 {
///     a.iter().zip(b).map(|(a, b)| a * b).sum()
/// }
/// impl Vectors for Plain {
///     fn shape(&self) -> (usize, usize) {
///         (1, self.v[POINT].len())
///     }
///     fn write(&mut self, _: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError> {
///         Ok(self.v[vector][..values.len()].copy_from_slice(values))
///     }
///     fn read(&mut self, _: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError> {
///         Ok(values.copy_from_slice(&self.v[vector][..values.len()]))
///     }
///     fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError> {
///         for Statement { out, terms } in &programs[0] {
///             self.v[*out] = (0..self.shape().1).map(|e| terms.iter().map(|(c, k)| c * self.v[*k][e]).sum()).collect();
///         }
///         Ok(())
///     }
///     fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
///         let Products { lefts, rights } = &lists[0];
///         Ok(out[0] = lefts.iter().flat_map(|a| rights.iter().map(|b| dot(&self.v[*a], &self.v[*b]))).collect())
///     }
///     fn adam(&mut self, _: &[Option<AdamStep>]) -> Result<(), ObjectiveError> {
///         Err("this device is for L-BFGS".into())
///     }
///     fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError> {
///         self.combine(&[rounds[0].before.clone()])?;
///         let gradient: Vec<f64> = self.v[TRIAL].iter().map(|x| 2.0 * (x - 1.0)).collect();
///         let (value, norm) = (dot(&gradient, &gradient) / 4.0, gradient.iter().fold(0.0, |a: f64, g| a.max(g.abs())));
///         let measured = Measured { value, norm: Some(norm), slope: dot(&gradient, &self.v[DIRECTION]) };
///         self.v[GRADIENT] = gradient;
///         self.combine(&[rounds[0].after.clone()])?;
///         let mut products = [vec![]];
///         self.products(&[rounds[0].products.clone()], &mut products)?;
///         Ok(self.results.push_back((measured, products[0].clone())))
///     }
///     fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
///         (measured[0], products[0]) = self.results.pop_front().ok_or("nothing was started")?;
///         Ok(())
///     }
///     fn forget(&mut self) -> Result<(), ObjectiveError> {
///         Ok(self.results.clear())
///     }
/// }
/// let method = Method::Lbfgs(Lbfgs::default());
/// let mut device = Plain { v: vec![vec![0.0; 3]; Capacity::of(&method).vectors], results: VecDeque::new() };
/// let outcome = minimise_resident(&method, vec![0.0; 3], &mut device, &Options::default(), &mut |_| Control::Continue)?;
/// assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-6));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
pub trait Vectors {
    /// K and n.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// fn numbers(vectors: &dyn Vectors) -> usize {
    ///     let (members, n) = vectors.shape();
    ///     members * n
    /// }
    /// ```
    fn shape(&self) -> (usize, usize);

    /// Writes the first numbers of a vector. Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// fn start_at_zero(vectors: &mut dyn Vectors) -> Result<(), ObjectiveError> {
    ///     let (members, n) = vectors.shape();
    ///     (0..members).try_for_each(|member| vectors.write(member, POINT, &vec![0.0; n]))
    /// }
    /// ```
    fn write(&mut self, member: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError>;

    /// Reads the first numbers of a vector. Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// fn gradient(vectors: &mut dyn Vectors, member: usize) -> Result<Vec<f64>, ObjectiveError> {
    ///     let mut values = vec![0.0; vectors.shape().1];
    ///     vectors.read(member, GRADIENT, &mut values)?;
    ///     Ok(values)
    /// }
    /// ```
    fn read(&mut self, member: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError>;

    /// Executes statements one after another. Error: more than the capacity, a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// // Steepest descent: point - step * gradient, for every member.
    /// fn descend(vectors: &mut dyn Vectors, step: f64) -> Result<(), ObjectiveError> {
    ///     let statement = Statement::new(TRIAL, [(1.0, POINT), (-step, GRADIENT)]);
    ///     vectors.combine(&vec![vec![statement]; vectors.shape().0])
    /// }
    /// ```
    fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError>;

    /// Fills `out[member]` with the products, `[left][right]`. Error: more than the capacity, a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// // |g|^2 of every member.
    /// fn squares(vectors: &mut dyn Vectors) -> Result<Vec<f64>, ObjectiveError> {
    ///     let members = vectors.shape().0;
    ///     let mut out = vec![vec![]; members];
    ///     vectors.products(&vec![Products { lefts: vec![GRADIENT], rights: vec![GRADIENT] }; members], &mut out)?;
    ///     Ok(out.concat())
    /// }
    /// ```
    fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError>;

    /// Moves members as Adam does; a step that absorbs does nothing where the last evaluation was not finite. Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// // The first member alone moves.
    /// fn first(vectors: &mut dyn Vectors, step: AdamStep) -> Result<(), ObjectiveError> {
    ///     let mut steps = vec![None; vectors.shape().0];
    ///     steps[0] = Some(step);
    ///     vectors.adam(&steps)
    /// }
    /// ```
    fn adam(&mut self, steps: &[Option<AdamStep>]) -> Result<(), ObjectiveError>;

    /// Starts a round, whose evaluation is that of all members at [`TRIAL`] and writes [`GRADIENT`]. May return before anything is done.
    ///
    /// Error: more than the capacity, a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// // An evaluation at the trial points, and nothing else.
    /// fn evaluate(vectors: &mut dyn Vectors) -> Result<(), ObjectiveError> {
    ///     vectors.start(&vec![Round::default(); vectors.shape().0])
    /// }
    /// ```
    fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError>;

    /// Results of the oldest round that was started and not finished: measures, and `products[member]` as `[left][right]`. Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// fn values(vectors: &mut dyn Vectors) -> Result<Vec<f64>, ObjectiveError> {
    ///     let members = vectors.shape().0;
    ///     let mut measured = vec![Measured { value: f64::NAN, norm: None, slope: f64::NAN }; members];
    ///     vectors.finish(&mut measured, &mut vec![vec![]; members])?;
    ///     Ok(measured.iter().map(|member| member.value).collect())
    /// }
    /// ```
    fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError>;

    /// Forgets the results of rounds that were started and not finished. Error: a device that fails.
    ///
    /// ```
    /// # use scatterc::optimise::ObjectiveError;
    /// # use scatterc::optimise::resident::*;
    /// fn abandon(vectors: &mut dyn Vectors) -> Result<(), ObjectiveError> {
    ///     vectors.forget()
    /// }
    /// ```
    fn forget(&mut self) -> Result<(), ObjectiveError>;
}

/// As [`super::minimise`], with vectors on a device.
///
/// - `x0`: `[K][n]`, finite; K and n are those of the device
///
/// ```
/// # use scatterc::optimise::resident::*;
/// # use scatterc::optimise::{Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped};
/// # use std::collections::VecDeque;
/// # /// One member, in memory, with the objective sum_e (x_e - 1)^2.
/// # struct Plain {
/// #     v: Vec<Vec<f64>>,
/// #     results: VecDeque<(Measured, Vec<f64>)>,
/// # }
/// # fn dot(a: &[f64], b: &[f64]) -> f64 {
/// #     a.iter().zip(b).map(|(a, b)| a * b).sum()
/// # }
/// # impl Vectors for Plain {
/// #     fn shape(&self) -> (usize, usize) {
/// #         (1, self.v[POINT].len())
/// #     }
/// #     fn write(&mut self, _: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError> {
/// #         Ok(self.v[vector][..values.len()].copy_from_slice(values))
/// #     }
/// #     fn read(&mut self, _: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError> {
/// #         Ok(values.copy_from_slice(&self.v[vector][..values.len()]))
/// #     }
/// #     fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError> {
/// #         for Statement { out, terms } in &programs[0] {
/// #             self.v[*out] = (0..self.shape().1).map(|e| terms.iter().map(|(c, k)| c * self.v[*k][e]).sum()).collect();
/// #         }
/// #         Ok(())
/// #     }
/// #     fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
/// #         let Products { lefts, rights } = &lists[0];
/// #         Ok(out[0] = lefts.iter().flat_map(|a| rights.iter().map(|b| dot(&self.v[*a], &self.v[*b]))).collect())
/// #     }
/// #     fn adam(&mut self, _: &[Option<AdamStep>]) -> Result<(), ObjectiveError> {
/// #         Err("this device is for L-BFGS".into())
/// #     }
/// #     fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError> {
/// #         self.combine(&[rounds[0].before.clone()])?;
/// #         let gradient: Vec<f64> = self.v[TRIAL].iter().map(|x| 2.0 * (x - 1.0)).collect();
/// #         let (value, norm) = (dot(&gradient, &gradient) / 4.0, gradient.iter().fold(0.0, |a: f64, g| a.max(g.abs())));
/// #         let measured = Measured { value, norm: Some(norm), slope: dot(&gradient, &self.v[DIRECTION]) };
/// #         self.v[GRADIENT] = gradient;
/// #         self.combine(&[rounds[0].after.clone()])?;
/// #         let mut products = [vec![]];
/// #         self.products(&[rounds[0].products.clone()], &mut products)?;
/// #         Ok(self.results.push_back((measured, products[0].clone())))
/// #     }
/// #     fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
/// #         (measured[0], products[0]) = self.results.pop_front().ok_or("nothing was started")?;
/// #         Ok(())
/// #     }
/// #     fn forget(&mut self) -> Result<(), ObjectiveError> {
/// #         Ok(self.results.clear())
/// #     }
/// # }
/// # let method = Method::Lbfgs(Lbfgs::default());
/// # let mut device = Plain { v: vec![vec![0.0; 3]; Capacity::of(&method).vectors], results: VecDeque::new() };
/// // `device` holds one member of three numbers, with the objective sum_e (x_e - 1)^2; see [`Vectors`].
/// let outcome = minimise_resident(&method, vec![4.0, 0.0, -2.0], &mut device, &Options::default(), &mut |_| Control::Continue)?;
/// assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-6));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
pub fn minimise_resident(
    method: &Method,
    x0: Vec<f64>,
    vectors: &mut dyn Vectors,
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Outcome, OptimiseError> {
    resume_resident(State::new(method, x0, vectors.shape().0)?, vectors, options, observer)
}

/// As [`super::resume`], with vectors on a device: with the bits of the uninterrupted run if that ran on a device too.
///
/// ```
/// # use scatterc::optimise::resident::*;
/// # use scatterc::optimise::{Control, Lbfgs, Method, ObjectiveError, Options, State, Stopped};
/// # use std::collections::VecDeque;
/// # /// One member, in memory, with the objective sum_e (x_e - 1)^2.
/// # struct Plain {
/// #     v: Vec<Vec<f64>>,
/// #     results: VecDeque<(Measured, Vec<f64>)>,
/// # }
/// # fn dot(a: &[f64], b: &[f64]) -> f64 {
/// #     a.iter().zip(b).map(|(a, b)| a * b).sum()
/// # }
/// # impl Vectors for Plain {
/// #     fn shape(&self) -> (usize, usize) {
/// #         (1, self.v[POINT].len())
/// #     }
/// #     fn write(&mut self, _: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError> {
/// #         Ok(self.v[vector][..values.len()].copy_from_slice(values))
/// #     }
/// #     fn read(&mut self, _: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError> {
/// #         Ok(values.copy_from_slice(&self.v[vector][..values.len()]))
/// #     }
/// #     fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError> {
/// #         for Statement { out, terms } in &programs[0] {
/// #             self.v[*out] = (0..self.shape().1).map(|e| terms.iter().map(|(c, k)| c * self.v[*k][e]).sum()).collect();
/// #         }
/// #         Ok(())
/// #     }
/// #     fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
/// #         let Products { lefts, rights } = &lists[0];
/// #         Ok(out[0] = lefts.iter().flat_map(|a| rights.iter().map(|b| dot(&self.v[*a], &self.v[*b]))).collect())
/// #     }
/// #     fn adam(&mut self, _: &[Option<AdamStep>]) -> Result<(), ObjectiveError> {
/// #         Err("this device is for L-BFGS".into())
/// #     }
/// #     fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError> {
/// #         self.combine(&[rounds[0].before.clone()])?;
/// #         let gradient: Vec<f64> = self.v[TRIAL].iter().map(|x| 2.0 * (x - 1.0)).collect();
/// #         let (value, norm) = (dot(&gradient, &gradient) / 4.0, gradient.iter().fold(0.0, |a: f64, g| a.max(g.abs())));
/// #         let measured = Measured { value, norm: Some(norm), slope: dot(&gradient, &self.v[DIRECTION]) };
/// #         self.v[GRADIENT] = gradient;
/// #         self.combine(&[rounds[0].after.clone()])?;
/// #         let mut products = [vec![]];
/// #         self.products(&[rounds[0].products.clone()], &mut products)?;
/// #         Ok(self.results.push_back((measured, products[0].clone())))
/// #     }
/// #     fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
/// #         (measured[0], products[0]) = self.results.pop_front().ok_or("nothing was started")?;
/// #         Ok(())
/// #     }
/// #     fn forget(&mut self) -> Result<(), ObjectiveError> {
/// #         Ok(self.results.clear())
/// #     }
/// # }
/// # let method = Method::Lbfgs(Lbfgs::default());
/// # let mut device = Plain { v: vec![vec![0.0; 3]; Capacity::of(&method).vectors], results: VecDeque::new() };
/// // `device` holds one member of three numbers, with the objective sum_e (x_e - 1)^2; see [`Vectors`].
/// let state = State::new(&method, vec![4.0, 0.0, -2.0], 1)?;
/// let outcome = resume_resident(state, &mut device, &Options { max_steps: 1, ..Options::default() }, &mut |_| Control::Continue)?;
/// assert_eq!((outcome.stopped[0], outcome.iterations[0]), (Stopped::MaxSteps, 1));
/// # Ok::<(), scatterc::optimise::OptimiseError>(())
/// ```
pub fn resume_resident(
    mut state: State,
    vectors: &mut dyn Vectors,
    options: &Options,
    observer: &mut dyn FnMut(&Progress<'_>) -> Control,
) -> Result<Outcome, OptimiseError> {
    let (members, n) = vectors.shape();
    for (name, expected, found) in [("batch", members, state.batch()), ("length of a member", n, state.dimension())] {
        if expected != found {
            return Err(OptimiseError::Shape { name, expected: format!("{expected}, as on the device"), found });
        }
    }
    let evaluation = state.rounds as usize;
    let mut bench = Device::new(&mut state, vectors).map_err(|source| OptimiseError::Objective { evaluation, source })?;
    drive(state, &mut bench, options, observer)
}

/// What the host knows of the vectors of a member.
#[derive(Clone, Debug)]
struct Shadow {
    /// Pairs that fit, one more than are stored.
    room: usize,
    /// Where each stored pair lies on the device.
    places: Vec<usize>,
    /// Inner products of all s, all y and the gradient, `[2 room + 1][2 room + 1]`; only those that were asked for are right.
    gram: Vec<f64>,
    /// Whether the trial point has been proposed already.
    proposed: bool,
    /// What is to be done before anything else.
    due: Vec<Statement>,
    /// The place of the pair that the running evaluation makes.
    made: usize,
}

impl Shadow {
    fn new(method: &Method) -> Self {
        let room = match method {
            Method::Adam(_) => 0,
            Method::Lbfgs(rules) => rules.history + 1,
        };
        Shadow { room, places: Vec::new(), gram: vec![0.0; (2 * room + 1) * (2 * room + 1)], proposed: false, due: Vec::new(), made: 0 }
    }

    fn s(&self, place: usize) -> Vector {
        FIRST + place
    }

    fn y(&self, place: usize) -> Vector {
        FIRST + self.room + place
    }

    /// A place for a new pair.
    fn spare(&self) -> usize {
        (0..self.room).find(|place| !self.places.contains(place)).expect("one place more than pairs")
    }

    /// Row of a vector in the matrix of products; the gradient of an accepted point is about to become the anchor.
    fn row(&self, vector: Vector) -> usize {
        if vector == ANCHOR || vector == GRADIENT { 2 * self.room } else { vector - FIRST }
    }

    fn product(&self, a: Vector, b: Vector) -> f64 {
        self.gram[self.row(a) * (2 * self.room + 1) + self.row(b)]
    }

    /// The stored vectors.
    fn stored(&self) -> impl Iterator<Item = Vector> {
        self.places.iter().flat_map(|place| [self.s(*place), self.y(*place)])
    }

    /// What follows an evaluation: the pair that its acceptance would make, for a search of that step length, and the products that it would need.
    fn expected(&mut self, step: Option<f64>) -> (Vec<Statement>, Products) {
        let Some(step) = step else { return (vec![], Products { lefts: vec![GRADIENT], rights: self.stored().chain([GRADIENT]).collect() }) };
        self.made = self.spare();
        let (s, y) = (self.s(self.made), self.y(self.made));
        let statements = vec![Statement::new(s, [(step, DIRECTION)]), Statement::new(y, [(1.0, GRADIENT), (-1.0, ANCHOR)])];
        (statements, Products { lefts: vec![s, y, GRADIENT], rights: self.stored().chain([s, y, GRADIENT]).collect() })
    }

    /// Takes products, which hold in both orders.
    fn note(&mut self, list: &Products, products: &[f64]) {
        let width = 2 * self.room + 1;
        let pairs = list.lefts.iter().flat_map(|a| list.rights.iter().map(move |b| (*a, *b)));
        for ((a, b), product) in pairs.zip(products) {
            let (a, b) = (self.row(a), self.row(b));
            self.gram[a * width + b] = *product;
            self.gram[b * width + a] = *product;
        }
    }

    /// The direction `-H g` as a combination, and its slope: the two-loop recursion (Nocedal & Wright algorithm 7.4) on coefficients.
    fn direction(&self, pairs: &[Pair], oldest: usize) -> (Vec<(f64, Vector)>, f64) {
        let count = pairs.len();
        // From the oldest to the newest pair.
        let order: Vec<usize> = (0..count).map(|k| (oldest + k) % count).collect();
        let mut terms = vec![(-1.0, ANCHOR)];
        terms.extend(order.iter().map(|k| (0.0, self.y(self.places[*k]))));
        terms.extend(order.iter().map(|k| (0.0, self.s(self.places[*k]))));
        let along = |terms: &[(f64, Vector)], v: Vector| terms.iter().filter(|term| term.0 != 0.0).map(|(c, b)| c * self.product(*b, v)).sum::<f64>();
        let mut alphas = vec![0.0; count];
        for (age, k) in order.iter().enumerate().rev() {
            alphas[age] = pairs[*k].rho * along(&terms, self.s(self.places[*k]));
            terms[1 + age].0 = -alphas[age];
        }
        if let Some(newest) = order.last() {
            let y = self.y(self.places[*newest]);
            let scale = 1.0 / (pairs[*newest].rho * self.product(y, y));
            terms.iter_mut().for_each(|term| term.0 *= scale);
        }
        for (age, k) in order.iter().enumerate() {
            let beta = pairs[*k].rho * along(&terms, self.y(self.places[*k]));
            terms[1 + count + age].0 = alphas[age] - beta;
        }
        let slope = along(&terms, ANCHOR);
        (terms, slope)
    }
}

/// Vectors on a device; those of the state are empty.
struct Device<'a> {
    vectors: &'a mut dyn Vectors,
    shadows: Vec<Shadow>,
    measured: Vec<Measured>,
    /// Products of the last round, and what was asked for.
    found: Vec<Vec<f64>>,
    lists: Vec<Products>,
    /// Whether the next round has been started already.
    ahead: bool,
}

impl<'a> Device<'a> {
    /// Moves the vectors of a state to the device.
    fn new(state: &mut State, vectors: &'a mut dyn Vectors) -> Result<Self, ObjectiveError> {
        let State { method, n, x, members, .. } = state;
        vectors.forget()?;
        let mut shadows = vec![Shadow::new(method); members.len()];
        for (k, ((member, x), shadow)) in members.iter_mut().zip(x.chunks_exact(*n)).zip(&mut shadows).enumerate() {
            for vector in [POINT, TRIAL] {
                vectors.write(k, vector, x)?;
            }
            match &mut member.work {
                Work::Adam { mu, nu } => {
                    vectors.write(k, MEAN, &std::mem::take(mu))?;
                    vectors.write(k, SQUARE, &std::mem::take(nu))?;
                }
                Work::Lbfgs { gradient, direction, pairs, .. } => {
                    vectors.write(k, ANCHOR, &std::mem::take(gradient))?;
                    vectors.write(k, DIRECTION, &std::mem::take(direction))?;
                    shadow.places = (0..pairs.len()).collect();
                    for (place, pair) in pairs.iter_mut().enumerate() {
                        vectors.write(k, shadow.s(place), &std::mem::take(&mut pair.s))?;
                        vectors.write(k, shadow.y(place), &std::mem::take(&mut pair.y))?;
                    }
                }
            }
        }
        x.clear();
        let measured = vec![Measured { value: f64::NAN, norm: None, slope: f64::NAN }; members.len()];
        let (found, lists) = (vec![Vec::new(); members.len()], vec![Products::default(); members.len()]);
        let mut device = Device { vectors, shadows, measured, found, lists, ahead: false };
        if matches!(method, Method::Lbfgs(_)) {
            let most = device.shadows.iter().map(|shadow| shadow.places.len()).max().unwrap_or(0);
            for place in 0..most.max(1) {
                let lists = device.shadows.iter().map(|shadow| {
                    let own = shadow.places.get(place).map(|place| [shadow.s(*place), shadow.y(*place)]);
                    Products { lefts: own.into_iter().flatten().chain([ANCHOR]).collect(), rights: shadow.stored().chain([ANCHOR]).collect() }
                });
                device.lists = lists.collect();
                device.vectors.products(&device.lists, &mut device.found)?;
                (0..device.shadows.len()).for_each(|k| device.note(k));
            }
        }
        Ok(device)
    }

    /// Takes the products found for a member.
    fn note(&mut self, member: usize) {
        self.shadows[member].note(&self.lists[member], &self.found[member]);
    }

    /// Does what is due.
    fn settle(&mut self) -> Result<(), ObjectiveError> {
        let programs: Vec<Vec<Statement>> = self.shadows.iter_mut().map(|shadow| std::mem::take(&mut shadow.due)).collect();
        if programs.iter().all(Vec::is_empty) { Ok(()) } else { self.vectors.combine(&programs) }
    }

    /// Current points of all members.
    fn read_points(&mut self, n: usize) -> Result<Vec<f64>, ObjectiveError> {
        self.settle()?;
        let mut x = vec![0.0; n * self.shadows.len()];
        for (k, x) in x.chunks_exact_mut(n).enumerate() {
            self.vectors.read(k, POINT, x)?;
        }
        Ok(x)
    }

    /// Has the trial points of active members made and evaluated.
    fn start(&mut self, state: &mut State, active: &[bool]) -> Result<(), ObjectiveError> {
        let mut rounds = vec![Round::default(); active.len()];
        for (k, (member, shadow)) in state.members.iter_mut().zip(&mut self.shadows).enumerate() {
            let round = &mut rounds[k];
            round.before = std::mem::take(&mut shadow.due);
            if !active[k] {
                continue;
            }
            let first = member.history.is_empty();
            let iteration = member.iterations() + 1;
            let value = member.value;
            match (&mut member.work, &state.method) {
                // The start is the trial point since the vectors came here.
                (Work::Lbfgs { .. }, _) if first => (round.after, round.products) = shadow.expected(None),
                (Work::Lbfgs { pairs, oldest, search, .. }, Method::Lbfgs(_)) => {
                    let search = search.get_or_insert_with(|| {
                        let (mut terms, mut slope) = shadow.direction(pairs, *oldest);
                        if !descends(slope) && !pairs.is_empty() {
                            pairs.clear();
                            shadow.places.clear();
                            *oldest = 0;
                            (terms, slope) = shadow.direction(pairs, *oldest);
                        }
                        let step = if pairs.is_empty() { 1.0 / shadow.product(ANCHOR, ANCHOR).sqrt() } else { 1.0 };
                        round.before.push(Statement::new(DIRECTION, terms));
                        Search::new(value, slope, step)
                    });
                    round.before.push(Statement::new(TRIAL, [(1.0, POINT), (search.step, DIRECTION)]));
                    (round.after, round.products) = shadow.expected(Some(search.step));
                }
                (Work::Adam { .. }, Method::Adam(adam)) if !first && !std::mem::take(&mut shadow.proposed) => {
                    round.adam = Some(adam_step(adam, iteration, false, true));
                }
                (Work::Adam { .. }, Method::Adam(_)) => {}
                _ => unreachable!("members are made for the method of their state"),
            }
        }
        if matches!(state.method, Method::Adam(_)) {
            self.settle_before(&mut rounds)?;
        }
        self.vectors.start(&rounds)?;
        self.lists = rounds.into_iter().map(|round| round.products).collect();
        Ok(())
    }

    /// Rounds of Adam have no statements: these go before.
    fn settle_before(&mut self, rounds: &mut [Round]) -> Result<(), ObjectiveError> {
        self.shadows.iter_mut().zip(rounds).for_each(|(shadow, round)| shadow.due = std::mem::take(&mut round.before));
        self.settle()
    }

    /// Starts the next round of Adam while the running one is under way, unless limits will end all members with it.
    fn start_next(&mut self, state: &State, active: &[bool], options: &Options) -> Result<(), ObjectiveError> {
        let Method::Adam(adam) = &state.method else { return Ok(()) };
        // Members have as many steps behind them as values, once that of the running evaluation is there.
        let goes_on = |k: &usize| {
            let member = &state.members[*k];
            active[*k]
                && member.history.len() < options.max_steps
                && options.max_evaluations.is_none_or(|most| (member.evaluations as usize) + 1 < most)
        };
        if !(0..active.len()).any(|k| goes_on(&k)) {
            return Ok(());
        }
        let step = |k: usize| active[k].then(|| adam_step(adam, state.members[k].history.len() as u64 + 1, true, goes_on(&k)));
        let rounds: Vec<Round> = (0..active.len()).map(|k| Round { adam: step(k), ..Round::default() }).collect();
        self.vectors.start(&rounds)?;
        self.ahead = true;
        Ok(())
    }

    /// Names what is not finite at the start of a member.
    fn require_finite(&mut self, n: usize, member: usize, measured: Measured, evaluation: usize) -> Result<(), OptimiseError> {
        require_finite(member, "value", &[measured.value])?;
        if measured.norm.is_none() {
            let mut gradient = vec![0.0; n];
            self.vectors.read(member, GRADIENT, &mut gradient).map_err(|source| OptimiseError::Objective { evaluation, source })?;
            require_finite(member, "gradient", &gradient)?;
        }
        Ok(())
    }

    /// Decides what the evaluation leads to, and has moved what it moves, at the latest before the next one.
    fn absorb(&mut self, state: &mut State, active: &[bool], options: &Options) -> Result<(), ObjectiveError> {
        let mut steps = vec![None; active.len()];
        for k in (0..active.len()).filter(|k| active[*k]) {
            let member = &mut state.members[k];
            let Measured { value, norm, slope } = self.measured[k];
            let norm = norm.filter(|_| value.is_finite());
            let decision = member.decide(&state.method, value, norm, slope);
            member.conclude(&state.method, &decision, value, norm, options);
            let ended = member.stopped.is_some();
            match (&mut member.work, &state.method) {
                (Work::Lbfgs { pairs, oldest, .. }, Method::Lbfgs(rules)) => {
                    if decision.moved {
                        self.note(k);
                        let shadow = &mut self.shadows[k];
                        shadow.due.push(Statement::new(ANCHOR, [(1.0, GRADIENT)]));
                        shadow.due.push(Statement::new(POINT, [(1.0, TRIAL)]));
                    }
                    let shadow = &mut self.shadows[k];
                    // A decision keeps the pairs or forgets them all.
                    shadow.places.truncate(pairs.len());
                    if decision.pair.is_some() {
                        let (s, y) = (shadow.s(shadow.made), shadow.y(shadow.made));
                        if let Some(rho) = curvature(shadow.product(s, y), shadow.product(s, s).sqrt(), shadow.product(y, y).sqrt()) {
                            let position = next_place(pairs, oldest, rules.history, 0);
                            pairs[position].rho = rho;
                            shadow.places.resize(pairs.len(), shadow.made);
                            shadow.places[position] = shadow.made;
                        }
                    }
                }
                (Work::Adam { .. }, Method::Adam(adam)) if decision.moved => {
                    // A round that was started ahead has absorbed the gradient and proposed the next point.
                    self.shadows[k].proposed = self.ahead && !ended;
                    steps[k] = (!self.ahead).then(|| adam_step(adam, member.iterations() + 1, true, false));
                }
                _ => {}
            }
            // From now on the joint evaluation sees the final point of a member that has ended.
            if ended {
                self.shadows[k].due.push(Statement::new(TRIAL, [(1.0, POINT)]));
            }
        }
        if steps.iter().all(Option::is_none) { Ok(()) } else { self.vectors.adam(&steps) }
    }
}

fn adam_step(adam: &Adam, iteration: u64, absorb: bool, propose: bool) -> AdamStep {
    let Adam { learning_rate, beta1, beta2, eps, pairs } = *adam;
    let (bias1, bias2) = (1.0 - power(beta1, iteration), 1.0 - power(beta2, iteration));
    AdamStep { absorb, propose, rate: learning_rate, beta1, beta2, eps, bias1, bias2, pairs }
}

impl Bench for Device<'_> {
    fn round(&mut self, state: &mut State, active: &[bool], options: &Options) -> Result<(), OptimiseError> {
        let evaluation = state.rounds as usize;
        let failed = |source| OptimiseError::Objective { evaluation, source };
        if !std::mem::take(&mut self.ahead) {
            self.start(state, active).map_err(failed)?;
        }
        self.start_next(state, active, options).map_err(failed)?;
        self.vectors.finish(&mut self.measured, &mut self.found).map_err(failed)?;
        state.rounds += 1;
        for k in (0..active.len()).filter(|k| active[*k]) {
            if state.members[k].history.is_empty() {
                self.require_finite(state.n, k, self.measured[k], evaluation)?;
            }
        }
        self.absorb(state, active, options).map_err(failed)
    }

    fn whole<'a>(&mut self, state: &'a State) -> Result<Cow<'a, State>, ObjectiveError> {
        let mut whole = State { x: self.read_points(state.n)?, ..state.clone() };
        let n = whole.n;
        for (k, (member, shadow)) in whole.members.iter_mut().zip(&self.shadows).enumerate() {
            let mut read = |vector: Vector, n: usize| -> Result<Vec<f64>, ObjectiveError> {
                let mut values = vec![0.0; n];
                self.vectors.read(k, vector, &mut values)?;
                Ok(values)
            };
            match (&mut member.work, &whole.method) {
                (Work::Adam { mu, nu }, Method::Adam(adam)) => {
                    *mu = read(MEAN, n)?;
                    *nu = read(SQUARE, if adam.pairs { n / 2 } else { n })?;
                }
                (Work::Lbfgs { gradient, direction, pairs, .. }, Method::Lbfgs(_)) => {
                    *gradient = read(ANCHOR, n)?;
                    *direction = read(DIRECTION, n)?;
                    for (pair, place) in pairs.iter_mut().zip(&shadow.places) {
                        pair.s = read(shadow.s(*place), n)?;
                        pair.y = read(shadow.y(*place), n)?;
                    }
                }
                _ => unreachable!("members are made for the method of their state"),
            }
        }
        Ok(Cow::Owned(whole))
    }

    fn points(&mut self, state: &mut State) -> Result<Vec<f64>, ObjectiveError> {
        let points = self.read_points(state.n)?;
        self.vectors.forget()?;
        Ok(points)
    }
}
