//! Every pass and every degree of fusion keeps all values; batches, threads and sizes do not matter.
//!
//! The oracle is the reference device on the graph without any pass. Tolerance: 1e-12 of the largest number of each output, the rounding of sums of 10^3 terms
//! taken in another order.

#![allow(non_snake_case)]

mod support;

use scatterc::compiler::pass::{PASSES, PassError};
use scatterc::runtime::{Executable, Options};
use scatterc::{Compiler, Error, Fusion, Goal, InputKind, Legendre, Sphere};
use support::*;

/// A way to compile: its name, the passes left out, the fusion.
type Variant = (String, Vec<String>, Fusion);

/// Each pass left out alone, all of them, and the lower degrees of fusion.
fn variants() -> Vec<Variant> {
    let mut out: Vec<Variant> = PASSES.iter().map(|p| (format!("without {}", p.name), vec![p.name.to_string()], Fusion::All)).collect();
    out.push(("without passes".into(), every_pass(), Fusion::All));
    out.push(("fusion of loops".into(), vec![], Fusion::Loops));
    out.push(("fusion of loops and tiles".into(), vec![], Fusion::Ring));
    out.push(("no fusion".into(), vec![], Fusion::None));
    out.push(("neither passes nor fusion".into(), every_pass(), Fusion::None));
    out
}

fn every_pass() -> Vec<String> {
    PASSES.iter().map(|p| p.name.to_string()).collect()
}

/// Values of the graph without any pass, on the reference device.
fn oracle(subject: &Subject, goal: &Goal, batch: Option<usize>) -> (Arrays, Arrays) {
    let compiled =
        subject.compiler().goal(goal.clone()).batch(batch).disable(&every_pass()).compile().unwrap_or_else(|e| panic!("{}: {e}", subject.name));
    let inputs = given(&compiled.graph);
    let outputs = on_reference(&compiled.graph, &inputs);
    (inputs, outputs)
}

fn compare(subject: &Subject, goal: &Goal, batch: Option<usize>, variants: &[Variant]) {
    let (inputs, expected) = oracle(subject, goal, batch);
    let default = [("default".to_string(), vec![], Fusion::All)];
    for (name, disabled, fusion) in default.iter().chain(variants) {
        let what = format!("{} {goal:?} batch {batch:?}, {name}", subject.name);
        let compiler = subject.compiler().goal(goal.clone()).batch(batch).disable(disabled).fusion(*fusion);
        let compiled = compiler.compile().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_equal(&on_cpu(compiled.plan(), 1, &inputs), &expected, 1e-12, &what);
    }
}

fn gradient() -> Goal {
    Goal::Gradient("l2".into())
}

#[test]
fn stored_functions_and_recursion_give_the_same_numbers() {
    let subject = Subject::new(&SAMPLES[0], 32, 3);
    for goal in [Goal::Statistics, gradient()] {
        let compiled = subject.compiler().goal(goal.clone()).compile().expect("compiles");
        let inputs = given(&compiled.graph);
        let with = |legendre: Legendre| {
            let options = Options { threads: 1, cache: Some(cache()), legendre, ..Options::default() };
            let mut executable = Executable::load(compiled.plan(), &options).expect("loads");
            (executable.run(&borrowed(&inputs)).expect("runs"), executable.memory().tables)
        };
        let (expected, recursion) = with(Legendre::Recursion);
        let (found, tables) = with(Legendre::Tables);
        assert_equal(&found, &expected, 1e-12, &format!("{goal:?}"));
        assert!(tables > recursion, "{tables} bytes of tables, {recursion} without");
        assert_equal(&with(Legendre::Auto).0, &expected, 1e-12, &format!("{goal:?}, by cost model"));
    }
}

#[test]
fn no_pass_changes_a_value_of_any_sample() {
    for sample in SAMPLES {
        let subject = Subject::new(sample, 8, 2);
        compare(&subject, &Goal::Statistics, None, &variants());
        if sample.loss {
            compare(&subject, &gradient(), None, &variants());
        }
    }
}

#[test]
fn no_pass_changes_the_built_in_statistic_at_any_size_and_input() {
    let variants = variants();
    let mut k = 0;
    for L in [8, 12] {
        for N in 1..=4 {
            for input in [InputKind::Half, InputKind::Full, InputKind::Grid] {
                for batch in [None, Some(2)] {
                    // Two variants per size, taken in turn: every variant meets every input, size and batch several times.
                    let chosen = [variants[k % variants.len()].clone(), variants[(k + 4) % variants.len()].clone()];
                    k += 1;
                    let subject = Subject::s2scat(L, N, input, k % 2 == 0);
                    compare(&subject, &Goal::Statistics, batch, &chosen);
                    if L == 8 && N < 4 || k % 5 == 0 {
                        compare(&subject, &gradient(), batch, &chosen[..1]);
                    }
                }
            }
        }
    }
}

/// Entries of one member of a batch; parameters have no batch axis.
fn member(arrays: &Arrays, k: usize, maps: usize, shared: &[&str]) -> Arrays {
    let part = |values: &Vec<f64>| values[k * values.len() / maps..(k + 1) * values.len() / maps].to_vec();
    let keep = |name: &str| shared.iter().any(|s| name == *s || name.starts_with("T."));
    arrays.iter().map(|(name, values)| (name.clone(), if keep(name) { values.clone() } else { part(values) })).collect()
}

#[test]
fn a_member_of_a_batch_equals_a_single_run() {
    let subjects = SAMPLES.iter().map(|s| Subject::new(s, 8, 2)).chain([Subject::s2scat(12, 3, InputKind::Half, true)]);
    for subject in subjects {
        for goal in [Goal::Statistics, gradient()] {
            if goal != Goal::Statistics && !subject.loss {
                continue;
            }
            let maps = 3;
            let batched = subject.compiler().goal(goal.clone()).batch(Some(maps)).compile().unwrap_or_else(|e| panic!("{}: {e}", subject.name));
            let inputs = given(&batched.graph);
            let all = on_cpu(batched.plan(), 1, &inputs);
            let single = subject.compile(goal.clone());
            for k in 0..maps {
                let one = on_cpu(single.plan(), 1, &member(&inputs, k, maps, &["P"]));
                assert_equal(&member(&all, k, maps, &[]), &one, 1e-13, &format!("{} {goal:?}, member {k}", subject.name));
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for (subject, goal) in [
        (Subject::s2scat(33, 3, InputKind::Half, true), Goal::Statistics),
        (Subject::s2scat(32, 2, InputKind::Half, false), gradient()),
        (Subject::new(&SAMPLES[3], 16, 2), gradient()),
    ] {
        let compiled = subject.compile(goal.clone());
        let inputs = given(&compiled.graph);
        let one = on_cpu(compiled.plan(), 1, &inputs);
        for threads in [2, 3] {
            // Sums have a fixed order, so the results are the same to the last bit.
            assert_equal(&on_cpu(compiled.plan(), threads, &inputs), &one, 0.0, &format!("{} {goal:?}, {threads} threads", subject.name));
        }
    }
}

#[test]
fn a_program_can_be_run_again_and_remembers_nothing() {
    let subject = Subject::s2scat(8, 3, InputKind::Half, true);
    let compiled = subject.compile(gradient());
    let mut executable = compiled.load(1, Some(cache())).expect("loads");
    let inputs = given(&compiled.graph);
    let first = executable.run(&borrowed(&inputs)).expect("runs");
    let others: Arrays = inputs.iter().map(|(name, values)| (name.clone(), values.iter().map(|x| 1.0 + x * x).collect())).collect();
    let second = executable.run(&borrowed(&others)).expect("runs");
    assert_ne!(first, second);
    assert_eq!(executable.run(&borrowed(&inputs)).expect("runs"), first);
}

#[test]
fn any_bandlimit_and_any_number_of_directions_work() {
    for (L, all) in [(2, 8), (3, 8), (5, 8), (12, 8), (24, 8), (33, 8), (48, 8), (100, 3), (257, 3)] {
        let first = if L >= 100 { all } else { 1 };
        for N in first..=all.min(L) {
            let subject = Subject::s2scat(L, N, InputKind::Half, false);
            let compiled = subject.compile(Goal::Statistics);
            let inputs = given(&compiled.bound.graph);
            let found = on_cpu(compiled.plan(), 0, &inputs);
            let finite = found.iter().all(|(_, values)| values.iter().all(|x| x.is_finite()) && !values.is_empty());
            assert!(finite, "{}: a statistic is missing or not finite", subject.name);
            // The reference device needs seconds for many directions at L = 24; small, even, odd and the largest N show every code path.
            if L <= 12 || L == 24 && matches!(N, 1..=4) {
                assert_equal(&found, &on_reference(&compiled.bound.graph, &inputs), 1e-12, &subject.name);
            }
        }
    }
}

#[test]
fn gradients_exist_at_the_smallest_and_at_odd_sizes() {
    for (L, N) in [(2, 1), (2, 2), (3, 3), (5, 4), (7, 7), (33, 2)] {
        for input in [InputKind::Half, InputKind::Full, InputKind::Grid] {
            let subject = Subject::s2scat(L, N, input, true);
            let compiled = subject.compile(gradient());
            let inputs = given(&compiled.graph);
            let found = on_cpu(compiled.plan(), 2, &inputs);
            if L < 8 {
                assert_equal(&found, &on_reference(&compiled.graph, &inputs), 1e-12, &subject.name);
            } else {
                assert!(found.iter().all(|(_, values)| values.iter().all(|x| x.is_finite())), "{}", subject.name);
            }
        }
    }
}

#[test]
fn every_coarsest_scale_works() {
    for J_min in 0..4 {
        let mut subject = Subject::s2scat(16, 2, InputKind::Half, false);
        subject.sphere = Sphere::new(16, 2, J_min, InputKind::Half).expect("J_min lies below J = 4");
        subject.name = format!("s2scat L=16 N=2 J_min={J_min}");
        // With one wavelet scale less than two there is no second layer, which the statistic's conditions must allow or refuse with words.
        match subject.compiler().compile() {
            Ok(_) => compare(&subject, &Goal::Statistics, None, &[]),
            Err(Error::Bind { error, .. }) => assert!(error.to_string().contains("no entries"), "{}: {error}", subject.name),
            Err(error) => panic!("{}: {error}", subject.name),
        }
    }
}

#[test]
fn an_unknown_pass_is_refused_by_name() {
    let subject = Subject::s2scat(8, 2, InputKind::Half, false);
    let error = Compiler::new(&subject.source, &subject.sphere).disable(&["shear".into()]).compile().expect_err("there is no such pass");
    let Error::Pass(PassError::Unknown { found, expected }) = error else { panic!("{error}") };
    assert_eq!(found, "shear");
    assert!(PASSES.iter().all(|p| expected.contains(p.name)), "{expected}");
}
