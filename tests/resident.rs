//! Optimisers whose vectors stay on a device: against the host's, in plain loops and on the emulation of CUDA, with batches, checkpoints, faults and syntheses.

#![allow(non_snake_case)]

mod support;

use std::collections::VecDeque;

use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::gradient::value_and_gradient;
use scatterc::compiler::schedule::{schedule, schedule_cuda};
use scatterc::ir::plan::Plan;
use scatterc::ir::text;
use scatterc::optimise::resident::{
    AdamStep, Capacity, DIRECTION, GRADIENT, MEAN, Measured, POINT, Products, Round, SQUARE, Statement, TRIAL, Vector, Vectors, minimise_resident,
    resume_resident,
};
use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, OptimiseError, Options, Outcome, State, Stopped};
use scatterc::residency::variables;
use scatterc::runtime::resident::Variables;
use scatterc::runtime::{Executable, LoadError, MachineKind, RunError};
use scatterc::synthesis::{self, Generator};
use scatterc::{Boundary, Device, Element, Healpix, InputKind, Plane, Source, Sphere, pixels, random, texture};
use support::cache;

fn go(_: &optimise::Progress<'_>) -> Control {
    Control::Continue
}

fn lbfgs(history: usize) -> Method {
    Method::Lbfgs(Lbfgs { history, ..Lbfgs::default() })
}

fn adam(pairs: bool) -> Method {
    Method::Adam(Adam { learning_rate: 0.05, pairs, ..Adam::default() })
}

fn steps(max_steps: usize) -> Options {
    Options { max_steps, ..Options::default() }
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| if (a - b).is_nan() { f64::INFINITY } else { worst.max((a - b).abs()) })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A device in plain loops: what the trait says, word by word.
struct Plain<F> {
    n: usize,
    members: Vec<Vec<Vec<f64>>>,
    /// What the last evaluation said, and results that nobody has read.
    last: Vec<Measured>,
    results: VecDeque<(Vec<Measured>, Vec<Vec<f64>>)>,
    /// Rounds that were started, those of them before the results of the last one were read, and other calls that could wait.
    rounds: usize,
    ahead: usize,
    waits: usize,
    objective: F,
}

impl<F: FnMut(usize, &[f64], &mut [f64]) -> f64> Plain<F> {
    fn new(method: &Method, members: usize, n: usize, objective: F) -> Self {
        let last = vec![Measured { value: f64::NAN, norm: None, slope: f64::NAN }; members];
        let members = vec![vec![vec![0.0; n]; Capacity::of(method).vectors]; members];
        Plain { n, members, last, results: VecDeque::new(), rounds: 0, ahead: 0, waits: 0, objective }
    }
}

impl<F: FnMut(usize, &[f64], &mut [f64]) -> f64> Vectors for Plain<F> {
    fn shape(&self) -> (usize, usize) {
        (self.members.len(), self.n)
    }

    fn write(&mut self, member: usize, vector: Vector, values: &[f64]) -> Result<(), ObjectiveError> {
        self.members[member][vector][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read(&mut self, member: usize, vector: Vector, values: &mut [f64]) -> Result<(), ObjectiveError> {
        self.waits += 1;
        values.copy_from_slice(&self.members[member][vector][..values.len()]);
        Ok(())
    }

    fn combine(&mut self, programs: &[Vec<Statement>]) -> Result<(), ObjectiveError> {
        for (v, program) in self.members.iter_mut().zip(programs) {
            for Statement { out, terms } in program {
                v[*out] = (0..self.n).map(|e| terms.iter().map(|(c, k)| c * v[*k][e]).sum()).collect();
            }
        }
        Ok(())
    }

    fn products(&mut self, lists: &[Products], out: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
        self.waits += 1;
        for ((v, list), out) in self.members.iter().zip(lists).zip(out) {
            *out = list.lefts.iter().flat_map(|a| list.rights.iter().map(|b| dot(&v[*a], &v[*b]))).collect();
        }
        Ok(())
    }

    fn adam(&mut self, steps: &[Option<AdamStep>]) -> Result<(), ObjectiveError> {
        for ((v, step), last) in self.members.iter_mut().zip(steps).zip(&self.last) {
            let Some(s) = step else { continue };
            if s.absorb && (last.norm.is_none() || !last.value.is_finite()) {
                continue;
            }
            let entry = if s.pairs { 2 } else { 1 };
            for (k, e) in (0..self.n).step_by(entry).enumerate() {
                if s.absorb {
                    let square: f64 = (e..e + entry).map(|e| v[GRADIENT][e] * v[GRADIENT][e]).sum();
                    for e in e..e + entry {
                        v[POINT][e] = v[TRIAL][e];
                        v[MEAN][e] = (1.0 - s.beta1) * v[GRADIENT][e] + s.beta1 * v[MEAN][e];
                    }
                    v[SQUARE][k] = (1.0 - s.beta2) * square + s.beta2 * v[SQUARE][k];
                }
                if s.propose {
                    let scale = (v[SQUARE][k] / s.bias2).sqrt() + s.eps;
                    (e..e + entry).for_each(|e| v[TRIAL][e] = v[POINT][e] - s.rate * (v[MEAN][e] / s.bias1 / scale));
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, rounds: &[Round]) -> Result<(), ObjectiveError> {
        self.rounds += 1;
        self.ahead += usize::from(!self.results.is_empty());
        let programs = |of: fn(&Round) -> &Vec<Statement>| rounds.iter().map(|round| of(round).clone()).collect::<Vec<_>>();
        self.combine(&programs(|round| &round.before))?;
        self.adam(&rounds.iter().map(|round| round.adam).collect::<Vec<_>>())?;
        for (k, (v, out)) in self.members.iter_mut().zip(&mut self.last).enumerate() {
            let mut gradient = vec![0.0; self.n];
            let value = (self.objective)(k, &v[TRIAL], &mut gradient);
            let finite = gradient.iter().all(|g| g.is_finite());
            let norm = finite.then(|| gradient.iter().fold(0.0, |a: f64, g| a.max(g.abs())));
            *out = Measured { value, norm, slope: dot(&gradient, &v[DIRECTION]) };
            v[GRADIENT] = gradient;
        }
        self.combine(&programs(|round| &round.after))?;
        let mut found = vec![Vec::new(); rounds.len()];
        self.products(&rounds.iter().map(|round| round.products.clone()).collect::<Vec<_>>(), &mut found)?;
        self.waits -= 1;
        self.results.push_back((self.last.clone(), found));
        Ok(())
    }

    fn finish(&mut self, measured: &mut [Measured], products: &mut [Vec<f64>]) -> Result<(), ObjectiveError> {
        let (found, sums) = self.results.pop_front().ok_or("nothing was started")?;
        measured.copy_from_slice(&found);
        products.clone_from_slice(&sums);
        Ok(())
    }

    fn forget(&mut self) -> Result<(), ObjectiveError> {
        self.results.clear();
        Ok(())
    }
}

/// Chained Rosenbrock function; minimum 0 at (1, 1, ..).
fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
    gradient.fill(0.0);
    let mut value = 0.0;
    for k in 0..x.len() - 1 {
        let (a, b) = (1.0 - x[k], x[k + 1] - x[k] * x[k]);
        value += a * a + 100.0 * b * b;
        gradient[k] -= 2.0 * a + 400.0 * x[k] * b;
        gradient[k + 1] += 200.0 * b;
    }
    value
}

/// Problems of all kinds, by member: smooth, stiff, with a wall behind which nothing is finite, with kinks.
fn mixed(member: usize, x: &[f64], gradient: &mut [f64]) -> f64 {
    match member % 4 {
        0 => rosenbrock(x, gradient),
        1 => {
            let mut value = 0.0;
            for k in 0..x.len() {
                let weight = 1e3f64.powf(k as f64 / (x.len() - 1) as f64);
                gradient[k] = weight * (x[k] - 1.0);
                value += 0.5 * gradient[k] * (x[k] - 1.0);
            }
            value
        }
        2 => {
            let mut value = 0.0;
            for k in 0..x.len() {
                gradient[k] = 1.0 - 0.5 / (x[k] + 1.3);
                value += x[k] - 0.5 * (x[k] + 1.3).ln();
            }
            value
        }
        _ => {
            let mut value = 0.0;
            for k in 0..x.len() {
                gradient[k] = (k + 1) as f64 * (x[k] - 1.0).signum();
                value += (k + 1) as f64 * (x[k] - 1.0).abs();
            }
            value
        }
    }
}

fn mixed_start(members: usize, n: usize) -> Vec<f64> {
    (0..members * n).map(|k| if k % 2 == 0 { -1.2 } else { 1.0 }).collect()
}

/// The host's driver on the problems of [`mixed`].
fn on_host(method: &Method, x0: &[f64], members: usize, options: &Options) -> Outcome {
    struct Host(usize);
    impl optimise::Objective for Host {
        fn evaluate(&mut self, _: &[f64], _: &mut [f64]) -> Result<f64, ObjectiveError> {
            Err("evaluated as a batch only".into())
        }
        fn evaluate_batch(&mut self, x: &[f64], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
            let problems = x.chunks_exact(self.0).zip(gradient.chunks_exact_mut(self.0)).zip(values);
            problems.enumerate().for_each(|(k, ((x, gradient), value))| *value = mixed(k, x, gradient));
            Ok(())
        }
    }
    optimise::minimise(method, x0.to_vec(), members, &mut Host(x0.len() / members), options, &mut go).expect("starts are finite")
}

#[test]
fn decisions_are_those_of_the_host() {
    let (members, n) = (4, 6);
    let x0 = mixed_start(members, n);
    for method in [lbfgs(3), lbfgs(10), adam(false), adam(true)] {
        let mut device = Plain::new(&method, members, n, mixed);
        let first = minimise_resident(&method, x0.clone(), &mut device, &steps(10), &mut go).expect("starts are finite");
        let expected = on_host(&method, &x0, members, &steps(10));
        assert_eq!(
            (&first.iterations, &first.evaluations, &first.stopped),
            (&expected.iterations, &expected.evaluations, &expected.stopped),
            "{method:?}"
        );
        assert!(largest_difference(&first.x, &expected.x) < 1e-8, "{method:?}: {:e}", largest_difference(&first.x, &expected.x));
        for (found, expected) in first.history.iter().zip(&expected.history) {
            assert!(largest_difference(found, expected) < 1e-8 * expected.iter().fold(1.0, |a, x| x.abs().max(a)), "{method:?}");
        }
    }
    // To the end: the smooth problems are solved, the kinks end where they do on the host, and no member runs into the limit.
    let method = lbfgs(10);
    let mut device = Plain::new(&method, members, n, mixed);
    let outcome = minimise_resident(&method, x0.clone(), &mut device, &steps(2000), &mut go).expect("starts are finite");
    let expected = on_host(&method, &x0, members, &steps(2000));
    assert!(outcome.stopped.iter().all(|stopped| *stopped != Stopped::MaxSteps), "{:?}", outcome.stopped);
    for k in 0..3 {
        assert!(largest_difference(&outcome.x[k * n..(k + 1) * n], &expected.x[k * n..(k + 1) * n]) < 1e-6, "member {k}");
    }
    assert_eq!((outcome.stopped[3], outcome.values[3] <= outcome.history[0][3]), (expected.stopped[3], true));
}

/// What a step costs in waiting: one block of results per evaluation, and for Adam not even that.
#[test]
fn a_round_is_one_wait_and_adam_runs_ahead() {
    let (members, n) = (2, 6);
    let x0 = mixed_start(members, n);
    let method = lbfgs(5);
    let mut device = Plain::new(&method, members, n, |_, x: &[f64], gradient: &mut [f64]| rosenbrock(x, gradient));
    minimise_resident(&method, x0.clone(), &mut device, &steps(30), &mut go).expect("finite");
    // Products of the start, which has none, and the points at the end.
    assert_eq!((device.waits, device.ahead), (1 + members, 0), "of {} rounds", device.rounds);
    let method = adam(false);
    let mut device = Plain::new(&method, members, n, |_, x: &[f64], gradient: &mut [f64]| rosenbrock(x, gradient));
    let outcome = minimise_resident(&method, x0, &mut device, &steps(30), &mut go).expect("finite");
    // Every round but the first is started before the results of the one before are read, and none is wasted at the limit.
    assert_eq!((device.waits, device.rounds, device.ahead), (members, 31, 30));
    assert_eq!(outcome.evaluations, vec![31; members]);
}

#[test]
fn starts_that_are_not_finite_are_named() {
    let method = lbfgs(4);
    let error = |gradient_at: usize, bad: f64, value: f64| {
        let mut device = Plain::new(&method, 2, 3, move |k, _: &[f64], gradient: &mut [f64]| {
            gradient.fill(1.0);
            if k == 1 && gradient_at < 3 {
                gradient[gradient_at] = bad;
            }
            if k == 1 { value } else { 0.0 }
        });
        minimise_resident(&method, vec![0.0; 6], &mut device, &steps(3), &mut go).expect_err("not finite")
    };
    assert!(
        matches!(error(2, f64::INFINITY, 0.0), OptimiseError::StartNotFinite { member: 1, quantity: "gradient", found } if found == f64::INFINITY)
    );
    assert!(matches!(error(9, 0.0, f64::NAN), OptimiseError::StartNotFinite { member: 1, quantity: "value", .. }));
    let mut device = Plain::new(&method, 2, 3, mixed);
    let shape = minimise_resident(&method, vec![0.0; 8], &mut device, &steps(3), &mut go);
    assert!(matches!(shape, Err(OptimiseError::Shape { name: "length of a member", found: 4, .. })), "{shape:?}");
}

/// A graph of K chained Rosenbrock functions of n variables, with the ones as a parameter, as a plan for CUDA.
fn plan(members: usize, n: usize, element: Option<Element>) -> Plan {
    let m = n - 1;
    let pick = |shift: usize| format!("{{from=[{members}, {n}], to=[{members}, {m}], map=[[1,0,0], [0,1,{shift}]]}} : [{members},{m}] point");
    let graph = text::parse(&format!(
        "graph rosenbrock {{
  %0 = input x : [{members},{n}] point
  %1 = parameter one : [{members},{m}] point
  %2 = reindex(%0) {}
  %3 = reindex(%0) {}
  %4 = square(%2) : [{members},{m}] point
  %5 = sub(%3, %4) : [{members},{m}] point
  %6 = square(%5) : [{members},{m}] point
  %7 = scale(%6) {{by=100.0}} : [{members},{m}] point
  %8 = sub(%1, %2) : [{members},{m}] point
  %9 = square(%8) : [{members},{m}] point
  %10 = add(%7, %9) : [{members},{m}] point
  %11 = reindex^H(%10) {{from=[{members}], to=[{members}, {m}], map=[[1,0,0]]}} : [{members}] point
  return value = %11
}}",
        pick(0),
        pick(1)
    ));
    let graph = value_and_gradient(&graph.unwrap_or_else(|e| panic!("{e}"))).expect("differentiable");
    let scheduled = match element {
        Some(element) => schedule_cuda(&graph, Fusion::All, element),
        None => schedule(&graph, Fusion::All),
    };
    scheduled.expect("fits").plan
}

fn runtime() -> scatterc::runtime::Options {
    scatterc::runtime::Options { threads: 1, cache: Some(cache()), machine: MachineKind::Emulation, ..Default::default() }
}

fn on_emulation(method: &Method, members: usize, n: usize, element: Element) -> Executable {
    let known = variables("x", members, n, Capacity::of(method));
    let mut executable = Executable::load_resident(&plan(members, n, Some(element)), &runtime(), &known).unwrap_or_else(|e| panic!("{e}"));
    executable.vectors().expect("loaded with variables").set("one", &vec![1.0; members * (n - 1)]).expect("an input");
    executable
}

fn rosenbrock_on_host(method: &Method, x0: &[f64], members: usize, options: &Options) -> Outcome {
    let n = x0.len() / members;
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> { Ok(rosenbrock(x, gradient)) };
    let mut outcome = optimise::minimise(method, x0.to_vec(), members, &mut objective, options, &mut go).expect("finite");
    outcome.x.truncate(members * n);
    outcome
}

#[test]
fn the_emulation_follows_the_host_and_reaches_the_minimum() {
    let (members, n) = (2, 9);
    let mut x0 = mixed_start(members, n);
    x0[n..].iter_mut().for_each(|x| *x *= 0.4);
    for method in [lbfgs(4), adam(false)] {
        let mut executable = on_emulation(&method, members, n, Element::F64);
        let outcome = minimise_resident(&method, x0.clone(), &mut executable.vectors().expect("loaded"), &steps(10), &mut go).expect("finite");
        let expected = rosenbrock_on_host(&method, &x0, members, &steps(10));
        let difference = largest_difference(&outcome.x, &expected.x);
        let tolerance = if matches!(method, Method::Adam(_)) { 1e-12 } else { 1e-8 };
        assert!(difference < tolerance, "{method:?}: {difference:e}");
        assert_eq!(outcome.evaluations, expected.evaluations, "{method:?}");
    }
    let method = lbfgs(6);
    let mut executable = on_emulation(&method, members, n, Element::F64);
    let outcome = minimise_resident(&method, x0.clone(), &mut executable.vectors().expect("loaded"), &steps(500), &mut go).expect("finite");
    assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-6), "{:?} {:?}", outcome.x, outcome.stopped);
    // In single precision the plan is coarser, the vectors are not.
    let method = Method::Lbfgs(Lbfgs { history: 6, value_noise: 1e-6, gradient_tolerance: 1e-5, ..Lbfgs::default() });
    let mut executable = on_emulation(&method, members, n, Element::F32);
    let outcome = minimise_resident(&method, x0, &mut executable.vectors().expect("loaded"), &steps(500), &mut go).expect("finite");
    assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-2), "{:?} {:?}", outcome.x, outcome.stopped);
}

#[test]
fn resumed_runs_on_a_device_have_the_bits_of_uninterrupted_ones() {
    let (members, n) = (2, 6);
    let x0 = mixed_start(members, n);
    for (method, element) in [(lbfgs(3), Element::F64), (adam(true), Element::F64), (lbfgs(3), Element::F32)] {
        let mut executable = on_emulation(&method, members, n, element);
        let mut vectors = executable.vectors().expect("loaded");
        let mut saved = Vec::new();
        let mut keep = |progress: &optimise::Progress<'_>| {
            saved.push(progress.state().expect("readable").to_bytes(&[7; 32]));
            Control::Continue
        };
        let whole = minimise_resident(&method, x0.clone(), &mut vectors, &steps(12), &mut keep).expect("finite");
        assert!(saved.len() > 8, "{}", saved.len());
        for k in [0, 3, 7] {
            let state = State::from_bytes(&saved[k], &[7; 32]).expect("a checkpoint");
            assert_eq!(state.to_bytes(&[7; 32]), saved[k]);
            let mut other = on_emulation(&method, members, n, element);
            let resumed = resume_resident(state, &mut other.vectors().expect("loaded"), &steps(12), &mut go).expect("finite");
            assert_eq!(resumed, whole, "{method:?} from checkpoint {k}");
        }
        // Limits inside a search: every evaluation may be the last.
        let limited = |most| Options { max_evaluations: Some(most), ..steps(12) };
        let mut state = State::new(&method, x0.clone(), members).expect("finite");
        for most in 1..40 {
            let mut last = None;
            let mut keep = |progress: &optimise::Progress<'_>| {
                last = Some(progress.state().expect("readable").into_owned());
                Control::Continue
            };
            let outcome = resume_resident(state.clone(), &mut vectors, &limited(most), &mut keep).expect("finite");
            state = last.unwrap_or(state);
            if outcome.stopped.iter().all(|stopped| *stopped != Stopped::MaxEvaluations) {
                assert_eq!((&outcome.x, &outcome.history), (&whole.x, &whole.history), "{method:?}");
                break;
            }
            assert!(most < 39, "{method:?} never ends");
        }
    }
}

#[test]
fn members_of_a_batch_on_a_device_equal_single_runs() {
    let n = 6;
    let mut x0 = mixed_start(2, n);
    x0[n..].iter_mut().for_each(|x| *x *= 0.3);
    let method = lbfgs(4);
    let run = |x0: &[f64], members: usize| {
        let mut executable = on_emulation(&method, members, n, Element::F64);
        minimise_resident(&method, x0.to_vec(), &mut executable.vectors().expect("loaded"), &steps(25), &mut go).expect("finite")
    };
    let together = run(&x0, 2);
    for k in 0..2 {
        let alone = run(&x0[k * n..(k + 1) * n], 1);
        assert_eq!(alone.x, together.x[k * n..(k + 1) * n], "member {k}");
    }
}

#[test]
fn what_does_not_fit_is_a_typed_error() {
    let (method, options) = (lbfgs(4), runtime());
    let known = variables("x", 2, 6, Capacity::of(&method));
    let plan = |element| plan(2, 6, element);
    let refused = |plan: &Plan, variables: Variables| match Executable::load_resident(plan, &options, &variables) {
        Err(LoadError::Variables { what, .. }) => what,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    };
    let cuda = plan(Some(Element::F64));
    assert_eq!(refused(&plan(None), known.clone()), "vectors on the device");
    assert_eq!(refused(&cuda, Variables { input: "y".into(), ..known.clone() }), "input");
    assert_eq!(refused(&cuda, Variables { gradient: "value".into(), ..known.clone() }), "numbers of the gradient");
    assert_eq!(refused(&cuda, Variables { places: vec![0, 1, 2, 3, 4, 4], ..known.clone() }), "place of a variable");
    assert_eq!(refused(&cuda, Variables { scales: vec![1.0; 5], ..known.clone() }), "scales");
    assert_eq!(refused(&cuda, Variables { groups: Some(vec![9; 6]), ..known.clone() }), "group of a variable");
    assert_eq!(refused(&cuda, Variables { vectors: 3, ..known.clone() }), "vector");
    assert!(refused(&cuda, Variables { members: 5, ..known.clone() }).starts_with("members"));
    let mut plain = Executable::load(&cuda, &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(plain.vectors().map(drop), Err(RunError::NotResident)));
    let mut host = Executable::load(&plan(None), &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(host.vectors().map(drop), Err(RunError::NotResident)));
    let mut executable = on_emulation(&method, 2, 6, Element::F64);
    let mut vectors = executable.vectors().expect("loaded");
    let statement = [(1.0, 0)];
    assert!(matches!(vectors.write(2, 0, &[0.0]), Err(RunError::Vectors { what: "member", .. })));
    assert!(matches!(vectors.read(0, 99, &mut [0.0]), Err(RunError::Vectors { what: "vector", .. })));
    assert!(matches!(vectors.write(0, 0, &[0.0; 7]), Err(RunError::Vectors { what: "numbers of a vector", .. })));
    assert!(matches!(vectors.combine(&[vec![]]), Err(RunError::Vectors { what: "lists, one per member", .. })));
    assert!(matches!(vectors.combine(&[vec![(0, &statement[..]); 9], vec![]]), Err(RunError::Vectors { what: "statements", .. })));
    assert!(matches!(vectors.combine(&[vec![(0, &statement[..0])], vec![]]), Err(RunError::Vectors { what: "terms", .. })));
    assert!(matches!(vectors.set("one", &[0.0]), Err(RunError::Length { expected: 10, .. })));
    assert!(matches!(vectors.set("two", &[0.0]), Err(RunError::UnknownInput { .. })));
}

/// All launches on vectors, for the architectures of the data centre.
#[test]
fn kernels_on_vectors_compile_without_spills() {
    use scatterc::kernels::cuda::vectors::{self, AdamVectors, MeasuresPlace, ProductsPlace, VariablesItem, VectorSpace};
    use scatterc::kernels::cuda::{self, Kernel};
    use scatterc::runtime::cuda::nvrtc;
    let compiler = match nvrtc::Compiler::find(std::sync::Arc::new(scatterc::runtime::Cache::in_memory()), None) {
        Ok(compiler) => compiler,
        Err(e) => {
            assert!(std::env::var_os("SCATTERC_REQUIRE_NVRTC").is_none(), "SCATTERC_REQUIRE_NVRTC is set, but {e}");
            eprintln!("\n*** KERNELS WERE NOT COMPILED BY NVRTC: {e}\n");
            return;
        }
    };
    for element in [cuda::Element::F64, cuda::Element::F32] {
        let space = VectorSpace { element, place: 1 << 20, members: 2, vectors: 27, n: 131_072 };
        let item = VariablesItem { numbers: (0, 131_072), point: 1, gradient: 2, tables: [0, 1, 2, 3, 4], groups: 256, held: true };
        let products = ProductsPlace { control: 0, most: 23, partial: 1024, results: 2048 };
        let measures = MeasuresPlace { gradient: 2, direction: 3, partial: 0, results: 512, values: (5, 1), copies: 1024 };
        let adam = AdamVectors { point: 0, trial: 1, gradient: 2, mean: 3, square: 4, results: 512, values: (1024, 1) };
        let make = || -> Result<Vec<Kernel>, scatterc::kernels::KernelError> {
            let mut kernels = vec![vectors::combine("a", &space, 0, 57)?, vectors::adam("b", &space, 64, &adam)?];
            kernels.extend([vectors::expand("c", &space, &item)?, vectors::pull_back("d", &space, &item)?]);
            kernels.extend(vectors::products("e", &space, &products)?.into_iter().chain(vectors::measures("f", &space, &measures)?));
            Ok(kernels)
        };
        let kernels = make().expect("fits");
        for capability in [80, 90] {
            let source = cuda::unit(element, &kernels);
            let cubins = compiler.compile(&[source], &nvrtc::Options::new(capability)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(cubins[0].kernels.len(), kernels.len());
            for kernel in &cubins[0].kernels {
                // Divisions and roots have a slow path that saves a few registers.
                assert!(kernel.spill_stores.max(kernel.spill_loads) <= 32, "sm_{capability}: {kernel:?}");
            }
        }
    }
}

fn target(L: usize) -> Vec<f64> {
    let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.5)).collect();
    random::gaussian_with_spectrum(L, &spectrum, 3, 0)
}

#[test]
fn syntheses_on_the_sphere_follow_the_host() {
    let L = 8;
    let sphere = Sphere::new(L, 2, 0, InputKind::Half).expect("sizes");
    let source = Source::find("s2scat").expect("built in");
    let generator = |device: Device, options: &synthesis::Options| {
        let options = synthesis::Options { device, threads: 1, ..options.clone() };
        Generator::new(&source, &sphere, &target(L), options).unwrap_or_else(|e| panic!("{e}"))
    };
    let plain = synthesis::Options { count: 2, seed: 4, steps: 10, ..Default::default() };
    // Held and free spectra, L-BFGS and Adam with pairs of real and imaginary parts.
    let cases = [
        (plain.clone(), 1e-8),
        (synthesis::Options { hold_spectrum: Some(false), count: 1, ..plain.clone() }, 1e-8),
        (synthesis::Options { method: synthesis::Options::adam(0.02), ..plain.clone() }, 1e-10),
    ];
    for (options, tolerance) in cases {
        let expected = generator(Device::default(), &options).generate(&mut go).expect("finite");
        let found = generator(Device::EmulatedCuda(Element::F64), &options).generate(&mut go).expect("finite");
        let size = expected.fields.iter().fold(0.0f64, |a, x| a.max(x.abs()));
        let difference = largest_difference(&found.fields, &expected.fields) / size;
        assert!(difference < tolerance, "{:?}: {difference:e}", options.method);
        assert_eq!(found.outcome.iterations, expected.outcome.iterations);
        assert_eq!(found.outcome.evaluations, expected.outcome.evaluations);
    }
    let mut whole = generator(Device::EmulatedCuda(Element::F64), &plain);
    let fingerprint = *whole.fingerprint();
    let mut saved = Vec::new();
    let expected = whole.generate(&mut |progress| {
        if progress.iteration == 4 {
            saved = progress.state().expect("readable").to_bytes(&fingerprint);
        }
        Control::Continue
    });
    let mut other = generator(Device::EmulatedCuda(Element::F64), &plain);
    let state = other.state(&saved).expect("of this run");
    let resumed = other.resume(state, &mut go).expect("finite");
    assert_eq!(resumed.fields, expected.expect("finite").fields);
}

#[test]
fn textures_with_fixed_samples_follow_the_host() {
    let source = Source::find("cheng").expect("built in");
    let plane = Plane::new(16, 16, 2, 4, &source.filter("morlet").expect("declared"), Boundary::Periodic, false).expect("sizes");
    let target = random::samples(256, 1, 0);
    let free: Vec<bool> = (0..256).map(|k| k % 5 != 2).collect();
    let run = |device: Device| {
        let variant = Some("reference".to_string());
        let options = texture::Options { variant, free: Some(free.clone()), steps: 6, threads: 1, device, ..Default::default() };
        texture::synthesise(&source, &plane, &target, &options, &mut go).unwrap_or_else(|e| panic!("{e}"))
    };
    let (expected, found) = (run(Device::default()), run(Device::EmulatedCuda(Element::F64)));
    assert!(largest_difference(&found.field, &expected.field) < 1e-8, "{:e}", largest_difference(&found.field, &expected.field));
    assert!(found.outcome.values[0] < found.outcome.history[0][0]);
    for (k, _) in free.iter().enumerate().filter(|(_, free)| !**free) {
        assert!((found.field[k] - target[k]).abs() < 1e-12, "sample {k} is fixed");
    }
}

#[test]
fn pixels_follow_the_host() {
    let domain = Healpix::new(4, 2, 3).expect("sizes");
    let target = random::samples(domain.len(), 1, 0);
    // Free pixels, of which a coarse level frees some in part; masked averages; two levels.
    let free: Vec<bool> = (0..domain.len()).map(|k| k % 7 != 2).collect();
    let mask: Vec<f64> = (0..domain.len()).map(|k| 0.25 + 0.75 * (k % 3) as f64).collect();
    let run = |device: Device, method: Method| {
        let measure = pixels::Measure { threads: 1, device, ..pixels::Measure::new("foscat").expect("built in") };
        let descent = pixels::Descent { steps: 5, method, ..Default::default() };
        let options = pixels::Options { free: Some(free.clone()), mask: Some(mask.clone()), levels: 2, descent, seed: 3, ..Default::default() };
        pixels::synthesise(&measure, &domain, &target, &options, &mut go).unwrap_or_else(|e| panic!("{e}"))
    };
    for (method, tolerance) in [(lbfgs(10), 1e-7), (adam(false), 1e-11)] {
        let (expected, found) = (run(Device::default(), method.clone()), run(Device::EmulatedCuda(Element::F64), method));
        let difference = largest_difference(&found.map, &expected.map);
        assert!(difference < tolerance, "{difference:e}");
        assert!(found.levels.iter().all(|level| level.outcome.values[0] < level.outcome.history[0][0]));
        assert!((0..target.len()).filter(|k| !free[*k]).all(|k| found.map[k] == target[k]), "fixed pixels keep their bits");
    }
}
