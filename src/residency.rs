//! Optimisers on a plan for CUDA: what [`optimise::resident`](crate::optimise::resident) asks of a device, done by the runtime's vectors.

use crate::optimise::ObjectiveError;
use crate::optimise::resident::{
    AdamStep, Capacity, DIRECTION, GRADIENT, MEAN, Measured, POINT, Products, Round, SQUARE, Statement, TRIAL, Vector, Vectors,
};
use scatterc_runtime::resident::{self as device, Measure, Roles, Variables};

/// What vectors are for.
///
/// ```
/// use scatterc::optimise::resident::{GRADIENT, TRIAL};
/// use scatterc::residency::ROLES;
///
/// // The plan is evaluated at the trial point, and its gradient is one more vector.
/// assert_eq!((ROLES.trial, ROLES.gradient), (TRIAL, GRADIENT));
/// ```
pub const ROLES: Roles = Roles { point: POINT, trial: TRIAL, gradient: GRADIENT, direction: DIRECTION, mean: MEAN, square: SQUARE };

/// Variables of a plan of value and gradient in one input, with all variables of scale 1 in their order; places, scales and groups are for the caller to change.
///
/// ```
/// use scatterc::optimise::{Adam, Method, resident::Capacity};
/// use scatterc::residency::variables;
///
/// // Two members with three variables each.
/// let all = variables("x", 2, 3, Capacity::of(&Method::Adam(Adam::default())));
/// assert_eq!((all.gradient.as_str(), all.places, all.scales), ("gradient.x", vec![0, 1, 2], vec![1.0; 3]));
/// ```
pub fn variables(input: &str, members: usize, n: usize, capacity: Capacity) -> Variables {
    let Capacity { vectors, statements, terms, rights } = capacity;
    Variables {
        input: input.into(),
        value: "value".into(),
        gradient: format!("gradient.{input}"),
        members,
        places: (0..n).collect(),
        scales: vec![1.0; n],
        shifts: None,
        groups: None,
        vectors,
        statements,
        terms,
        rights,
        roles: ROLES,
    }
}

impl Vectors for device::Vectors<'_> {
    fn shape(&self) -> (usize, usize) {
        device::Vectors::shape(self)
    }

    fn write(&mut self, member: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::write(self, member, vector, values)?)
    }

    fn read(&mut self, member: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::read(self, member, vector, values)?)
    }

    fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::combine(self, &programs.iter().map(|list| program(list)).collect::<Vec<_>>())?)
    }

    fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::products(self, &lists.iter().map(pairs).collect::<Vec<_>>(), out)?)
    }

    fn adam(&mut self, steps: &[Option<AdamStep>]) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::adam(self, &steps.iter().map(numbers).collect::<Vec<_>>())?)
    }

    fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError> {
        if rounds.iter().any(|round| round.adam.is_some()) {
            let steps: Vec<_> = rounds.iter().map(|round| numbers(&round.adam)).collect();
            return Ok(self.start_adam(&steps)?);
        }
        let before: Vec<device::Program> = rounds.iter().map(|round| program(&round.before)).collect();
        let after: Vec<device::Program> = rounds.iter().map(|round| program(&round.after)).collect();
        let lists: Vec<device::Pairs> = rounds.iter().map(|round| pairs(&round.products)).collect();
        Ok(self.start_search(&before, &after, &lists)?)
    }

    fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
        let mut found = vec![Measure { value: f64::NAN, largest: None, slope: f64::NAN }; measured.len()];
        device::Vectors::finish(self, &mut found, products)?;
        measured.iter_mut().zip(found).for_each(|(out, Measure { value, largest, slope })| *out = Measured { value, norm: largest, slope });
        Ok(())
    }

    fn forget(&mut self) -> Result<(), ObjectiveError> {
        Ok(device::Vectors::forget(self)?)
    }
}

/// Statements as the runtime takes them.
fn program(list: &[Statement]) -> device::Program<'_> {
    list.iter().map(|s| (s.out, s.terms.as_slice())).collect()
}

fn pairs(list: &Products) -> device::Pairs<'_> {
    (&list.lefts, &list.rights)
}

fn numbers(step: &Option<AdamStep>) -> [f64; 8] {
    let Some(AdamStep { absorb, propose, rate, beta1, beta2, eps, bias1, bias2, pairs }) = *step else { return [0.0; 8] };
    [f64::from(2 * u8::from(absorb) + u8::from(propose)), f64::from(u8::from(pairs)), rate, beta1, beta2, eps, bias1, bias2]
}
