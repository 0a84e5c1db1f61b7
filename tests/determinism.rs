//! The same numbers, bit for bit: for any number of threads, in any place of a batch, in any run, from a saved plan; and between instruction sets to a stated bound.
#![allow(non_snake_case)]

mod support;

use scatterc::kernels::simd::{Level, limit_level};
use scatterc::runtime::{Cache, Executable, Options};
use scatterc::{Boundary, Compiler, Domain, Goal, Healpix, InputKind, Plane, Source, Sphere};
use std::sync::{Arc, Mutex, MutexGuard};
use support::random;

/// The instruction set belongs to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A statistic on a small domain, with the numbers of one field.
fn subjects() -> Vec<(&'static str, Box<dyn Domain>, Vec<(&'static str, f64)>, usize)> {
    let filter = |name: &str, filter: &str| Source::find(name).and_then(|source| source.filter(filter)).expect("built in");
    vec![
        ("s2scat", Box::new(Sphere::new(17, 3, 0, InputKind::Half).expect("valid")) as Box<dyn Domain>, vec![], 2 * 17 * 17),
        ("cheng", Box::new(Plane::new(16, 20, 2, 2, &filter("cheng", "morlet"), Boundary::Periodic, false).expect("valid")), vec![], 320),
        ("foscat", Box::new(Healpix::new(4, 4, 3).expect("valid")), vec![("L", 4.0)], 192),
    ]
}

fn compiler<'a>(source: &'a Source, domain: &'a dyn Domain, numbers: &[(&str, f64)], goal: Goal) -> Compiler<'a> {
    let compiler = Compiler::new(source, domain).goal(goal).cache(Arc::new(Cache::in_memory()));
    numbers.iter().fold(compiler, |compiler, (name, value)| compiler.number(name, *value))
}

/// Everything a plan gives for these fields; parameters lie near one.
fn outputs(executable: &mut Executable, x: &[f64]) -> Vec<u64> {
    let inputs: Vec<(String, Vec<f64>)> = executable
        .inputs()
        .iter()
        .map(|port| {
            let n = port.ty.len();
            (port.name.clone(), if n == x.len() { x.to_vec() } else { random(7, n).into_iter().map(|x| 1.0 + 0.1 * x).collect() })
        })
        .collect();
    let given: Vec<(&str, &[f64])> = inputs.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    executable.run(&given).expect("runs").into_iter().flat_map(|(_, values)| values).map(f64::to_bits).collect()
}

#[test]
fn threads_and_repetitions_do_not_change_a_bit() {
    let _alone = alone();
    for (name, domain, numbers, n) in subjects() {
        let source = Source::find(name).expect("built in");
        for goal in [Goal::Statistics, Goal::Gradient("l2".into())] {
            let compiled = compiler(&source, domain.as_ref(), &numbers, goal.clone()).compile().expect("compiles");
            let x = random(3, n);
            let mut first: Option<Vec<u64>> = None;
            for threads in [1, 2, 3, 8] {
                let mut executable = compiled.load(threads, Some(Arc::new(Cache::in_memory()))).expect("loads");
                for run in 0..3 {
                    let found = outputs(&mut executable, &x);
                    assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "{name} {goal:?}: {threads} threads, run {run}");
                }
            }
            // A plan is its text.
            let read = scatterc::ir::plan::parse(&compiled.plan().to_string()).expect("reads");
            let mut again =
                Executable::load(&read, &Options { threads: 1, cache: Some(Arc::new(Cache::in_memory())), ..Options::default() }).expect("loads");
            assert_eq!(first, Some(outputs(&mut again, &x)), "{name} {goal:?}: from text");
        }
    }
}

#[test]
fn a_field_gives_the_same_bits_in_any_place_of_a_batch() {
    let _alone = alone();
    for (name, domain, numbers, n) in subjects() {
        let source = Source::find(name).expect("built in");
        let x = random(3, n);
        let mut first: Option<Vec<u64>> = None;
        for (size, place) in [(1, 0), (2, 1), (5, 0), (5, 3), (8, 7)] {
            let compiled = compiler(&source, domain.as_ref(), &numbers, Goal::Statistics).batch(Some(size)).compile().expect("compiles");
            let mut batch = random(9, n * size);
            batch[place * n..][..n].copy_from_slice(&x);
            let mut executable = compiled.load(2, Some(Arc::new(Cache::in_memory()))).expect("loads");
            let given: Vec<(String, Vec<f64>)> = executable
                .inputs()
                .iter()
                .map(|port| (port.name.clone(), if port.ty.len() == batch.len() { batch.clone() } else { vec![1.0; port.ty.len()] }))
                .collect();
            let given: Vec<(&str, &[f64])> = given.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
            let results = executable.run(&given).expect("runs");
            let own: Vec<u64> = results
                .iter()
                .flat_map(|(_, values)| {
                    let width = values.len() / size;
                    values[place * width..][..width].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(*first.get_or_insert_with(|| own.clone()), own, "{name}: place {place} of {size}");
        }
    }
}

/// The bound that docs/trust.md states.
const BETWEEN_LEVELS: f64 = 1e-12;

#[test]
fn instruction_sets_agree_to_the_stated_bound() {
    let _alone = alone();
    for (name, domain, numbers, n) in subjects() {
        let source = Source::find(name).expect("built in");
        let x = random(3, n);
        let mut first: Option<Vec<f64>> = None;
        for level in [Level::Portable, Level::Avx2, Level::Avx512, Level::Neon] {
            if limit_level(level) != level {
                continue;
            }
            let (_, mut executable) =
                compiler(&source, domain.as_ref(), &numbers, Goal::Gradient("l2".into())).threads(1).executable().expect("loads");
            let found: Vec<f64> = outputs(&mut executable, &x).into_iter().map(f64::from_bits).collect();
            let expected = first.get_or_insert_with(|| found.clone());
            let scale = expected.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
            let worst = found.iter().zip(expected).fold(0.0f64, |m, (x, y)| m.max((*x - *y).abs())) / scale;
            assert!(worst <= BETWEEN_LEVELS, "{name} with {level:?}: {worst:e}");
        }
        limit_level(Level::Neon);
    }
}
