//! The optimisers on problems whose answers are known: trajectories, ends, batches, checkpoints and faults.

use scatterc::optimise::{
    Adam, CheckpointError, Control, Lbfgs, Method, Objective, ObjectiveError, OptimiseError, Options, Outcome, State, Stopped, minimise, resume,
};

type Value = Result<f64, ObjectiveError>;

fn go(_: &scatterc::optimise::Progress<'_>) -> Control {
    Control::Continue
}

fn run(method: &Method, x0: Vec<f64>, batch: usize, objective: &mut dyn Objective, max_steps: usize) -> Outcome {
    let options = Options { max_steps, ..Options::default() };
    minimise(method, x0, batch, objective, &options, &mut go).expect("the problem is well posed")
}

fn lbfgs() -> Method {
    Method::Lbfgs(Lbfgs::default())
}

/// Deterministic pseudo-random numbers in -1..1 (splitmix64).
fn random(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / 2f64.powi(63) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Chained Rosenbrock function; minimum 0 at (1, 1, ..).
fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> Value {
    gradient.fill(0.0);
    let mut value = 0.0;
    for k in 0..x.len() - 1 {
        let (a, b) = (1.0 - x[k], x[k + 1] - x[k] * x[k]);
        value += a * a + 100.0 * b * b;
        gradient[k] -= 2.0 * a + 400.0 * x[k] * b;
        gradient[k + 1] += 200.0 * b;
    }
    Ok(value)
}

fn rosenbrock_start(n: usize) -> Vec<f64> {
    (0..n).map(|k| if k % 2 == 0 { -1.2 } else { 1.0 }).collect()
}

/// sum_k w_k (x_k - 1)^2 / 2 with w from 1 to `condition`, evenly in the logarithm.
fn quadratic(condition: f64) -> impl FnMut(&[f64], &mut [f64]) -> Value {
    move |x: &[f64], gradient: &mut [f64]| {
        let mut value = 0.0;
        for k in 0..x.len() {
            let weight = condition.powf(k as f64 / (x.len() - 1) as f64);
            gradient[k] = weight * (x[k] - 1.0);
            value += 0.5 * gradient[k] * (x[k] - 1.0);
        }
        Ok(value)
    }
}

#[test]
fn adam_follows_the_written_out_loop() {
    for pairs in [false, true] {
        let n = 6;
        let x0 = random(1, n);
        let mut objective = quadratic(50.0);
        let (lr, beta1, beta2, eps) = (0.05, 0.9, 0.999, 1e-8);
        let (mut x, mut mu, mut nu, mut g) = (x0.clone(), vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let mut values = vec![objective(&x, &mut g).expect("finite")];
        for t in 1..=300 {
            for k in 0..n {
                let square = if pairs { g[k & !1].powi(2) + g[k | 1].powi(2) } else { g[k] * g[k] };
                mu[k] = beta1 * mu[k] + (1.0 - beta1) * g[k];
                nu[k] = beta2 * nu[k] + (1.0 - beta2) * square;
            }
            for k in 0..n {
                let mu_hat = mu[k] / (1.0 - beta1.powi(t));
                let nu_hat: f64 = nu[k] / (1.0 - beta2.powi(t));
                x[k] -= lr * mu_hat / (nu_hat.sqrt() + eps);
            }
            values.push(objective(&x, &mut g).expect("finite"));
        }
        let method = Method::Adam(Adam { learning_rate: lr, pairs, ..Adam::default() });
        let outcome = run(&method, x0, 1, &mut objective, 300);
        assert_eq!((outcome.iterations[0], outcome.evaluations[0], outcome.stopped[0]), (300, 301, Stopped::MaxSteps));
        assert_eq!(outcome.history.len(), values.len());
        for k in 0..n {
            assert!((outcome.x[k] - x[k]).abs() < 1e-12, "{} {}", outcome.x[k], x[k]);
        }
        for (row, value) in outcome.history.iter().zip(values) {
            assert!((row[0] - value).abs() <= 1e-11 * (1.0 + value));
        }
    }
}

#[test]
fn lbfgs_solves_rosenbrock() {
    let outcome = run(&lbfgs(), rosenbrock_start(100), 1, &mut rosenbrock, 5000);
    println!("rosenbrock-100: {} steps, {} evaluations, value {:e}", outcome.iterations[0], outcome.evaluations[0], outcome.values[0]);
    assert_eq!(outcome.stopped[0], Stopped::Gradient);
    assert!(outcome.evaluations[0] <= 700, "{}", outcome.evaluations[0]);
    assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-4));
    assert!(outcome.history.windows(2).all(|pair| pair[1][0] <= pair[0][0] * (1.0 + 1e-13)));
    let outcome = run(&lbfgs(), vec![-1.2, 1.0], 1, &mut rosenbrock, 5000);
    println!("rosenbrock-2: {} evaluations, value {:e}", outcome.evaluations[0], outcome.values[0]);
    assert!(outcome.values[0] < 1e-12 && outcome.evaluations[0] < 80);
}

#[test]
fn lbfgs_solves_an_ill_conditioned_quadratic() {
    for condition in [1e3, 1e4] {
        let outcome = run(&lbfgs(), random(3, 1000), 1, &mut quadratic(condition), 5000);
        println!(
            "quadratic, condition {condition:e}: {} steps, {} evaluations, {:?}, value {:e}, gradient {:e}",
            outcome.iterations[0], outcome.evaluations[0], outcome.stopped[0], outcome.values[0], outcome.gradient_norms[0]
        );
        assert_eq!(outcome.stopped[0], Stopped::Gradient);
        assert!(outcome.evaluations[0] <= 900, "{}", outcome.evaluations[0]);
        assert!(outcome.values[0] < 1e-6);
    }
}

#[test]
fn lbfgs_reaches_the_rounding_floor() {
    // Values of about 1 hide changes below 1e-16, so the last digits of x come from the slopes.
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        let value = quadratic(100.0)(x, gradient)?;
        Ok(value + 1.0)
    };
    let method = Method::Lbfgs(Lbfgs { gradient_tolerance: 1e-12, value_tolerance: 0.0, ..Lbfgs::default() });
    let outcome = run(&method, random(4, 50), 1, &mut objective, 500);
    assert_eq!(outcome.stopped[0], Stopped::Gradient);
    assert!(outcome.x.iter().all(|x| (x - 1.0).abs() < 1e-9));
}

#[test]
fn lbfgs_ends_on_nonsmooth_sums() {
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x.signum());
        Ok(x.iter().map(|x| x.abs()).sum())
    };
    for seed in 0..20 {
        let outcome = run(&lbfgs(), random(seed, 30), 1, &mut objective, 2000);
        let (first, last) = (outcome.history[0][0], outcome.values[0]);
        println!("sum |x|: {first:.3} -> {last:.3e}, {} evaluations, {:?}", outcome.evaluations[0], outcome.stopped[0]);
        assert!(last < 0.9 * first && outcome.stopped[0] != Stopped::MaxSteps);
        assert_eq!(last, outcome.x.iter().map(|x| x.abs()).sum::<f64>());
    }
}

/// Four problems with different ends: a long one, one at its minimum, one that fails and a short one.
struct Mixed {
    calls: Vec<Vec<bool>>,
}

fn mixed(member: usize, x: &[f64], gradient: &mut [f64]) -> Value {
    match member {
        0 => rosenbrock(x, gradient),
        1 => quadratic(10.0)(x, gradient),
        2 => {
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x.signum());
            Ok(x.iter().map(|x| x.abs()).sum())
        }
        _ => quadratic(300.0)(x, gradient),
    }
}

impl Objective for Mixed {
    fn evaluate(&mut self, _: &[f64], _: &mut [f64]) -> Value {
        Err("only batches".into())
    }

    fn evaluate_active(&mut self, x: &[f64], active: &[bool], gradient: &mut [f64], values: &mut [f64]) -> Result<(), ObjectiveError> {
        self.calls.push(active.to_vec());
        let n = x.len() / values.len();
        for (k, value) in values.iter_mut().enumerate() {
            // Members that have ended get nonsense, which must not be read.
            *value = f64::NAN;
            gradient[k * n..(k + 1) * n].fill(f64::NAN);
            if active[k] {
                *value = mixed(k, &x[k * n..(k + 1) * n], &mut gradient[k * n..(k + 1) * n])?;
            }
        }
        Ok(())
    }
}

fn mixed_start(n: usize) -> Vec<f64> {
    [rosenbrock_start(n), vec![1.0; n], random(8, n), random(9, n)].concat()
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|a| a.to_bits()).collect()
}

#[test]
fn members_of_a_batch_equal_single_runs() {
    let n = 19;
    for method in [lbfgs(), Method::Adam(Adam { learning_rate: 0.02, ..Adam::default() })] {
        let mut objective = Mixed { calls: Vec::new() };
        let joint = run(&method, mixed_start(n), 4, &mut objective, 150);
        println!("{:?} {:?} {:?}", joint.stopped, joint.iterations, joint.evaluations);
        assert_eq!(joint.rounds, objective.calls.len());
        assert_eq!(Some(&joint.rounds), joint.evaluations.iter().max());
        for k in 0..4 {
            let x0 = mixed_start(n)[k * n..(k + 1) * n].to_vec();
            let single = run(&method, x0, 1, &mut |x: &[f64], gradient: &mut [f64]| mixed(k, x, gradient), 150);
            assert_eq!(bits(&joint.x[k * n..(k + 1) * n]), bits(&single.x));
            assert_eq!(joint.values[k].to_bits(), single.values[0].to_bits());
            assert_eq!((joint.iterations[k], joint.evaluations[k]), (single.iterations[0], single.evaluations[0]));
            assert_eq!(joint.stopped[k], single.stopped[0]);
            assert_eq!(objective.calls.iter().filter(|active| active[k]).count(), single.evaluations[0]);
            let rows = single.history.len();
            for (row, history) in joint.history.iter().enumerate() {
                assert_eq!(history[k].to_bits(), single.history[row.min(rows - 1)][0].to_bits());
            }
        }
    }
}

#[test]
fn resumed_runs_equal_uninterrupted_ones() {
    let n = 12;
    let fingerprint = [3; 32];
    for method in [lbfgs(), Method::Adam(Adam { learning_rate: 0.05, pairs: true, ..Adam::default() })] {
        let options = Options { max_steps: 60, ..Options::default() };
        let mut saved = Vec::new();
        let mut iterations = Vec::new();
        let whole = minimise(&method, mixed_start(n), 4, &mut Mixed { calls: Vec::new() }, &options, &mut |progress| {
            saved.push(progress.state().expect("on the host").to_bytes(&fingerprint));
            iterations.push(progress.iteration);
            Control::Continue
        })
        .expect("finite");
        assert_eq!(iterations[0], 0);
        assert!(iterations[..iterations.len() - 1].windows(2).all(|pair| pair[0] < pair[1]));
        for (k, bytes) in saved.iter().enumerate() {
            let state = State::from_bytes(bytes, &fingerprint).expect("own checkpoint");
            assert_eq!(&state.to_bytes(&fingerprint), bytes);
            let mut seen = Vec::new();
            let part = resume(state, &mut Mixed { calls: Vec::new() }, &options, &mut |progress| {
                seen.push(progress.state().expect("on the host").to_bytes(&fingerprint));
                Control::Continue
            })
            .expect("finite");
            assert_eq!(part, whole);
            assert_eq!(bits(&part.x), bits(&whole.x));
            assert!(seen == saved[k + 1..], "the checkpoints after {k} differ");
        }
        // A limit is not part of the state: stopping at 25 steps and going on to 60 is the same run.
        let mut last = Vec::new();
        let short = Options { max_steps: 25, ..Options::default() };
        minimise(&method, mixed_start(n), 4, &mut Mixed { calls: Vec::new() }, &short, &mut |progress| {
            last = progress.state().expect("on the host").to_bytes(&fingerprint);
            Control::Continue
        })
        .expect("finite");
        let state = State::from_bytes(&last, &fingerprint).expect("own checkpoint");
        assert!(state.stopped().iter().all(Option::is_some));
        let part = resume(state, &mut Mixed { calls: Vec::new() }, &options, &mut go).expect("finite");
        assert_eq!(bits(&part.x), bits(&whole.x));
        assert_eq!((part.history, part.evaluations), (whole.history, whole.evaluations));
    }
}

#[test]
fn evaluation_limits_stop_inside_a_search_and_resume() {
    let whole = run(&lbfgs(), rosenbrock_start(20), 1, &mut rosenbrock, 80);
    for limit in 1..60 {
        let options = Options { max_steps: 80, max_evaluations: Some(limit), ..Options::default() };
        let mut last = None;
        let part = minimise(&lbfgs(), rosenbrock_start(20), 1, &mut rosenbrock, &options, &mut |progress| {
            last = Some(progress.state().expect("on the host").into_owned());
            Control::Continue
        })
        .expect("finite");
        assert_eq!((part.evaluations[0], part.stopped[0]), (limit, Stopped::MaxEvaluations));
        let options = Options { max_steps: 80, ..Options::default() };
        let part = resume(last.expect("observed"), &mut rosenbrock, &options, &mut go).expect("finite");
        assert_eq!(part, whole);
    }
}

#[test]
fn target_value_ends_a_run() {
    let options = Options { target_value: Some(1.0), ..Options::default() };
    for method in [lbfgs(), Method::Adam(Adam { learning_rate: 0.05, ..Adam::default() })] {
        let outcome = minimise(&method, random(5, 10), 1, &mut quadratic(10.0), &options, &mut go).expect("finite");
        assert_eq!(outcome.stopped[0], Stopped::Target);
        assert!(outcome.values[0] <= 1.0 && outcome.history[outcome.iterations[0] - 1][0] > 1.0);
    }
}

#[test]
fn a_still_value_ends_a_run() {
    // exp(-x) falls for ever with a gradient that never passes the tolerance asked for.
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        gradient[0] = -(-x[0]).exp() - 1e-9;
        Ok(5.0 + (-x[0]).exp() - 1e-9 * x[0])
    };
    let method = Method::Lbfgs(Lbfgs { gradient_tolerance: 0.0, value_tolerance: 1e-2, value_window: 3, ..Lbfgs::default() });
    let outcome = run(&method, vec![0.0], 1, &mut objective, 500);
    assert_eq!(outcome.stopped[0], Stopped::ValueChange);
}

#[test]
fn non_finite_trials_shorten_the_step() {
    // The logarithmic barrier is not a number outside the unit box; the first step of length 1 leaves it.
    let mut refused = 0;
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        let mut value = 0.0;
        for k in 0..x.len() {
            gradient[k] = 1.0 / (1.0 - x[k]) - 3.0 / x[k];
            value += -(1.0 - x[k]).ln() - 3.0 * x[k].ln();
        }
        refused += usize::from(!value.is_finite());
        Ok(value)
    };
    let outcome = run(&lbfgs(), vec![0.5; 3], 1, &mut objective, 200);
    assert!(outcome.x.iter().all(|x| (x - 0.75).abs() < 1e-6), "{:?}", outcome.x);
    assert!(refused > 0);
    // An infinite gradient with a finite value is refused as well.
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        gradient[0] = if x[0] > 0.9 { f64::NAN } else { 2.0 * (x[0] - 0.5) };
        Ok((x[0] - 0.5).powi(2))
    };
    let outcome = run(&lbfgs(), vec![0.0], 1, &mut objective, 200);
    assert!((outcome.x[0] - 0.5).abs() < 1e-6);
}

#[test]
fn faults_at_the_start_are_typed() {
    let options = Options::default();
    let mut bad_value = |x: &[f64], gradient: &mut [f64]| -> Value {
        gradient.fill(1.0);
        Ok(if x[0] > 0.0 { f64::NAN } else { 1.0 })
    };
    let mut bad_gradient = |_: &[f64], gradient: &mut [f64]| -> Value {
        gradient.fill(f64::INFINITY);
        Ok(1.0)
    };
    for method in [lbfgs(), Method::Adam(Adam::default())] {
        let error = minimise(&method, vec![-1.0, 1.0], 2, &mut bad_value, &options, &mut go).expect_err("NaN");
        assert!(matches!(error, OptimiseError::StartNotFinite { member: 1, quantity: "value", .. }), "{error}");
        let error = minimise(&method, vec![-1.0, 1.0], 1, &mut bad_gradient, &options, &mut go).expect_err("infinite");
        assert!(matches!(error, OptimiseError::StartNotFinite { member: 0, quantity: "gradient", .. }), "{error}");
        let error = minimise(&method, vec![f64::NAN], 1, &mut bad_value, &options, &mut go).expect_err("NaN");
        assert!(matches!(error, OptimiseError::StartNotFinite { quantity: "point", .. }), "{error}");
        let mut broken = |_: &[f64], _: &mut [f64]| -> Value { Err("no memory".into()) };
        let error = minimise(&method, vec![1.0], 1, &mut broken, &options, &mut go).expect_err("broken");
        assert_eq!(error.to_string(), "the objective failed in joint evaluation 0: no memory");
        for (x0, batch) in [(vec![], 1), (vec![1.0; 3], 2), (vec![1.0], 0)] {
            let error = minimise(&method, x0, batch, &mut bad_value, &options, &mut go).expect_err("shape");
            assert!(matches!(error, OptimiseError::Shape { .. }), "{error}");
        }
    }
    let odd = Method::Adam(Adam { pairs: true, ..Adam::default() });
    assert!(matches!(State::new(&odd, vec![0.0; 6], 2), Err(OptimiseError::Shape { found: 3, .. })));
    let wrong = Method::Adam(Adam { beta2: 1.0, ..Adam::default() });
    assert!(matches!(State::new(&wrong, vec![0.0; 6], 2), Err(OptimiseError::Parameter { name: "beta2", .. })));
    let wrong = Method::Lbfgs(Lbfgs { c2: f64::NAN, ..Lbfgs::default() });
    assert!(matches!(State::new(&wrong, vec![0.0; 6], 2), Err(OptimiseError::Parameter { name: "c2", .. })));
}

#[test]
fn adam_keeps_the_last_finite_point() {
    let mut objective = |x: &[f64], gradient: &mut [f64]| -> Value {
        gradient[0] = 1.0;
        Ok(if x[0] < -0.045 { f64::NAN } else { x[0] })
    };
    let outcome = run(&Method::Adam(Adam { learning_rate: 0.01, ..Adam::default() }), vec![0.0], 1, &mut objective, 100);
    assert_eq!((outcome.stopped[0], outcome.iterations[0], outcome.evaluations[0]), (Stopped::NotFinite, 4, 6));
    assert!((outcome.x[0] + 0.04).abs() < 1e-9 && outcome.values[0] == outcome.x[0]);
}

#[test]
fn observers_can_cancel() {
    for method in [lbfgs(), Method::Adam(Adam::default())] {
        let mut saved = None;
        let options = Options { max_steps: 40, ..Options::default() };
        let part = minimise(&method, rosenbrock_start(10), 1, &mut rosenbrock, &options, &mut |progress| {
            assert_eq!(progress.values, progress.state().expect("on the host").values());
            assert_eq!(progress.gradient_norms.len(), 1);
            if progress.iteration < 7 {
                return Control::Continue;
            }
            saved = Some(progress.state().expect("on the host").into_owned());
            Control::Stop
        })
        .expect("finite");
        assert_eq!((part.stopped[0], part.iterations[0], part.history.len()), (Stopped::Cancelled, 7, 8));
        let whole = run(&method, rosenbrock_start(10), 1, &mut rosenbrock, 40);
        let rest = resume(saved.expect("cancelled"), &mut rosenbrock, &options, &mut go).expect("finite");
        assert_eq!(rest, whole);
    }
}

#[test]
fn foreign_and_damaged_checkpoints_are_named() {
    let bytes = State::new(&lbfgs(), vec![1.0; 4], 2).expect("valid").to_bytes(&[1; 32]);
    assert!(State::from_bytes(&bytes, &[1; 32]).is_ok());
    let error = State::from_bytes(&bytes, &[2; 32]).expect_err("foreign");
    assert_eq!(error, CheckpointError::ForeignFingerprint { expected: [2; 32], found: [1; 32] });
    assert!(error.to_string().contains(&"02".repeat(32)));
    for length in 0..bytes.len() {
        match State::from_bytes(&bytes[..length], &[1; 32]) {
            Err(CheckpointError::NotCheckpoint { .. }) => assert_eq!(length, 0),
            Err(CheckpointError::Truncated { found, .. }) => assert_eq!(found, length as u64),
            other => panic!("{length} bytes: {other:?}"),
        }
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let error = State::from_bytes(&bytes, &[1; 32]).expect_err("one bit is wrong");
            match at {
                0..8 => assert!(matches!(error, CheckpointError::NotCheckpoint { .. })),
                8..12 => assert!(matches!(error, CheckpointError::Version { expected: 1, .. })),
                20..28 => {
                    assert!(matches!(error, CheckpointError::Truncated { .. } | CheckpointError::Overlong { .. }))
                }
                _ => assert!(matches!(error, CheckpointError::Damaged { .. })),
            }
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(State::from_bytes(&longer, &[1; 32]), Err(CheckpointError::Overlong { .. })));
    assert!(matches!(State::from_bytes(b"SIMPLE  = T", &[1; 32]), Err(CheckpointError::NotCheckpoint { .. })));
}
