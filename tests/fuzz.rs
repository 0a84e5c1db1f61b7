//! The bounded run of the fuzz targets: the checks of `fuzz/src` with fixed seeds, in seconds. `SCATTERC_FUZZ_ROUNDS` multiplies the iterations.
#![allow(non_snake_case)]

#[path = "../fuzz/src/graphs.rs"]
mod graphs;
#[allow(dead_code)]
#[path = "../fuzz/src/random.rs"]
mod random;
#[path = "../fuzz/src/states.rs"]
mod states;
mod support;
#[path = "../fuzz/src/texts.rs"]
mod texts;

use random::Random;
use scatterc::{Compiler, Goal, InputKind, Source, Sphere};
use support::{files, root};

/// Iterations: a few where nothing is asked.
fn rounds(few: usize) -> usize {
    few * std::env::var("SCATTERC_FUZZ_ROUNDS").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1)
}

/// Small files of the repository with one of these endings.
fn seeds(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let all = files(&root().join(folder), &[ending]);
    all.into_iter().map(|path| std::fs::read(path).expect("a file")).filter(|bytes| bytes.len() < 4000).collect()
}

/// Damages seeds; returns how many were taken.
fn run(target: fn(&[u8]) -> bool, seeds: &[Vec<u8>], seed: u64, count: usize) -> usize {
    let mut random = Random(seed);
    (0..count)
        .filter(|_| {
            let mut data = random.pick(seeds).expect("seeds").clone();
            random.damage(&mut data);
            target(&data)
        })
        .count()
}

/// Plans of several kinds of steps.
fn plans() -> Vec<Vec<u8>> {
    let source = Source::find("s2scat").expect("built in");
    let mut out = vec![];
    for (L, N, goal) in [(4, 1, Goal::Statistics), (6, 2, Goal::Statistics), (5, 2, Goal::Gradient("l2".into()))] {
        let sphere = Sphere::new(L, N, 0, InputKind::Half).expect("valid sizes");
        out.push(Compiler::new(&source, &sphere).goal(goal).compile().expect("compiles").plan().to_string().into_bytes());
    }
    out
}

#[test]
fn texts_are_refused_or_read() {
    let scat = seeds("statistics", ".scat");
    assert!(run(texts::notation, &scat, 1, rounds(400)) > 10);
    let graph = seeds("tests/filetests", ".graph");
    assert!(run(texts::graph, &graph, 2, rounds(2000)) > 10);
    assert!(run(texts::plan, &plans(), 3, rounds(300)) > 10);
}

#[test]
fn states_are_refused_or_work() {
    assert!(run(states::checkpoint, &states::checkpoint_seeds(), 4, rounds(2000)) > 10);
    run(states::cache, &[states::cache_seed()], 5, rounds(300));
}

/// Damaged plans are refused, or their machine code runs inside their buffers.
#[test]
fn plans_from_elsewhere_are_refused_or_run() {
    let ran = run(states::load, &plans(), 6, rounds(300));
    println!("{ran} damaged plans ran");
    assert!(ran > 0);
}

/// Seeds for which a target's devices disagree or a plan is refused; more than half of the graphs must say something.
fn random_graphs_agree(target: fn(&[u8]) -> graphs::Verdict, seed: u64, count: usize) {
    let mut random = Random(seed);
    let (mut made, mut findings) = (0, vec![]);
    for _ in 0..count {
        let seed = random.bits().to_le_bytes();
        match std::panic::catch_unwind(|| target(&seed)) {
            Ok(graphs::Verdict::Agrees) => made += 1,
            Ok(graphs::Verdict::Refused(what)) => findings.push(format!("{seed:?}: {what}")),
            Ok(graphs::Verdict::Empty) => {}
            Err(_) => findings.push(format!("{seed:?}: devices disagree")),
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(made > count / 2, "only {made} graphs agree");
}

#[test]
fn random_graphs_agree_on_all_devices() {
    random_graphs_agree(graphs::differential, 7, rounds(25));
}

#[test]
fn random_graphs_agree_on_emulated_cuda() {
    random_graphs_agree(graphs::emulated, 8, rounds(3));
}

/// Graphs whose plans were refused: averages and tiles of fields that no buffer holds.
#[test]
fn fields_that_no_buffer_holds_are_no_fault() {
    for seed in [[89, 92, 112, 47, 0, 0, 0, 0], [10, 66, 145, 55, 0, 0, 0, 0], [14, 147, 117, 32, 0, 0, 0, 0], [155, 169, 170, 28, 0, 0, 0, 0]] {
        assert_eq!(graphs::differential(&seed), graphs::Verdict::Agrees, "{seed:?}");
    }
}
