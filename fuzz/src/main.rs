//! Mutation loops without libFuzzer: `scatterc-fuzz TARGET SECONDS [SEED]`. Seeds are the texts of the repository; what a target takes joins the pool it mutates.

use scatterc_fuzz::random::Random;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files below the repository with one of these endings.
fn files(root: &Path, folders: &[&str], endings: &[&str]) -> Vec<Vec<u8>> {
    let mut todo: Vec<PathBuf> = folders.iter().map(|f| root.join(f)).collect();
    let mut out = vec![];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if endings.iter().any(|e| path.to_string_lossy().ends_with(e))
            && let Ok(bytes) = std::fs::read(&path)
            && bytes.len() < 10_000
        {
            out.push(bytes);
        }
    }
    out.sort();
    out
}

/// True where all devices agree; a plan that the runtime refuses is a fault of the compiler.
#[cfg(feature = "full")]
fn agrees(verdict: scatterc_fuzz::graphs::Verdict) -> bool {
    match verdict {
        scatterc_fuzz::graphs::Verdict::Refused(what) => panic!("refused: {what}"),
        verdict => verdict == scatterc_fuzz::graphs::Verdict::Agrees,
    }
}

type Target = fn(&[u8]) -> bool;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = arguments.first().map_or("", String::as_str);
    let (target, mut pool): (Target, Vec<Vec<u8>>) = match name {
        "notation" => (scatterc_fuzz::texts::notation, files(&root, &["statistics", "tests/filetests"], &[".scat"])),
        "graph" => (scatterc_fuzz::texts::graph, files(&root, &["tests/filetests"], &[".graph"])),
        "plan" => (scatterc_fuzz::texts::plan, files(&root, &["fuzz/corpus/plan"], &[".plan"])),
        #[cfg(feature = "full")]
        "arrays" => (scatterc_fuzz::readers::arrays, scatterc_fuzz::readers::array_seeds()),
        #[cfg(feature = "full")]
        "fields" => (scatterc_fuzz::readers::fields, scatterc_fuzz::readers::array_seeds()),
        #[cfg(feature = "full")]
        "fits" => (scatterc_fuzz::readers::fits, vec![scatterc_fuzz::readers::fits_seed()]),
        #[cfg(feature = "full")]
        "checkpoint" => (scatterc_fuzz::states::checkpoint, scatterc_fuzz::states::checkpoint_seeds()),
        #[cfg(feature = "full")]
        "cache" => (scatterc_fuzz::states::cache, vec![scatterc_fuzz::states::cache_seed()]),
        #[cfg(feature = "full")]
        "load" => (scatterc_fuzz::states::load, files(&root, &["fuzz/corpus/plan"], &[".plan"])),
        #[cfg(feature = "full")]
        "differential" => (|data| agrees(scatterc_fuzz::graphs::differential(data)), vec![vec![0; 8]]),
        #[cfg(feature = "full")]
        "emulated" => (|data| agrees(scatterc_fuzz::graphs::emulated(data)), vec![vec![0; 8]]),
        _ => {
            eprintln!("usage: scatterc-fuzz TARGET SECONDS [SEED]");
            eprintln!("targets: notation graph plan, and with --features full: arrays fields fits checkpoint cache load differential emulated");
            std::process::exit(2);
        }
    };
    let seconds: u64 = arguments.get(1).and_then(|s| s.parse().ok()).unwrap_or(10);
    let seed: u64 = arguments.get(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    assert!(!pool.is_empty(), "no seeds for {name}");
    let mut random = Random(seed);
    let (start, mut last) = (Instant::now(), Instant::now());
    let (mut runs, mut taken, first) = (0u64, 0u64, pool.len());
    while start.elapsed() < Duration::from_secs(seconds) {
        let seeded = matches!(name, "differential" | "emulated");
        for _ in 0..if seeded { 1 } else { 256 } {
            let mut data = pool[random.below(pool.len())].clone();
            random.damage(&mut data);
            if seeded {
                data = random.bits().to_le_bytes().to_vec();
            }
            runs += 1;
            let begun = Instant::now();
            let outcome = std::panic::catch_unwind(|| target(&data));
            if begun.elapsed() > Duration::from_secs(5) {
                let path = std::env::temp_dir().join(format!("scatterc-slow-{name}-{runs}"));
                let _ = std::fs::write(&path, &data);
                println!("slow: {:.1} s, {}", begun.elapsed().as_secs_f64(), path.display());
            }
            match outcome {
                Ok(true) => {
                    taken += 1;
                    // The pool stays small: a new member replaces a mutated one.
                    if data.len() > 10_000 {
                        continue;
                    }
                    if pool.len() < first + 512 {
                        pool.push(data);
                    } else {
                        let k = first + random.below(512);
                        pool[k] = data;
                    }
                }
                Ok(false) => {}
                Err(_) => {
                    let path = std::env::temp_dir().join(format!("scatterc-crash-{name}-{runs}"));
                    let _ = std::fs::write(&path, &data);
                    println!("FINDING: {}", path.display());
                }
            }
        }
        if last.elapsed() > Duration::from_secs(60) {
            last = Instant::now();
            println!("{name}: {runs} executions, {taken} accepted, {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    println!("{name}: {runs} executions, {taken} accepted, {:.0} s, seed {seed}", start.elapsed().as_secs_f64());
}
