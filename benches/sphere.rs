//! How long do declare-to-callable, forward and gradient take on the sphere?
//!
//! `cargo bench --bench sphere -- [--threads T] [--steps] L L L ..` prints one JSON line per bandlimit (N = 3, J_min = 0, real fields, f64): compile_ms (declare to loaded, tables cold
//! in memory), forward_ms, gradient_ms (value and gradient of l2), medians; flops and bytes are nominal. `--steps` adds the time of every launch of the gradient plan.
//!
//! Cost sketch, L = 128: Legendre stages 0.06 GFLOP forward, ring FFTs 0.02, contractions 0.02; floor at 70 GFLOP/s a core: 1.5 ms. Answer: see `results/`.

use scatterc::{Compiler, Error, Goal, InputKind, Source, Sphere};
use std::time::Instant;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn field(L: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    };
    let mut x = vec![0.0; 2 * L * L];
    for ell in 0..L {
        for m in 0..=ell {
            x[2 * (ell * L + m)] = next() / (1 + ell) as f64;
            x[2 * (ell * L + m) + 1] = if m > 0 { next() / (1 + ell) as f64 } else { 0.0 };
        }
    }
    x
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let threads = arguments.iter().position(|a| a == "--threads").and_then(|k| arguments.get(k + 1)?.parse().ok()).unwrap_or(0);
    let steps = arguments.iter().any(|a| a == "--steps");
    let mut bandlimits: Vec<usize> = arguments.iter().filter_map(|a| a.parse().ok()).filter(|L| *L > 16).collect();
    if bandlimits.is_empty() {
        bandlimits = vec![64, 128, 256];
    }
    let source = Source::find("s2scat")?;
    for L in bandlimits {
        let sphere = Sphere::new(L, 3, 0, InputKind::Half)?;
        let x = field(L);
        let cache = || std::sync::Arc::new(scatterc::runtime::Cache::in_memory());
        let start = Instant::now();
        let compiler = Compiler::new(&source, &sphere).threads(threads).cache(cache());
        let mut encoder = compiler.encoder()?;
        let compile_ms = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let statistics = encoder.encode(&x)?;
        let first_ms = start.elapsed().as_secs_f64() * 1e3;
        let reps = if L <= 128 { 15 } else { 5 };
        let mut forward = Vec::new();
        for _ in 0..reps {
            let start = Instant::now();
            encoder.encode(&x)?;
            forward.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let compiler = compiler.goal(Goal::Gradient("l2".into()));
        let start = Instant::now();
        let (compiled, mut executable) = compiler.executable()?;
        let compile_gradient_ms = start.elapsed().as_secs_f64() * 1e3;
        let targets: Vec<(String, Vec<f64>)> =
            statistics.arrays.iter().map(|a| (format!("T.{}", a.name), a.re.iter().map(|v| 0.9 * v).collect())).collect();
        let mut given: Vec<(&str, &[f64])> = vec![("x", &x)];
        given.extend(targets.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
        executable.run(&given)?;
        executable.set_timing(steps);
        let mut gradient = Vec::new();
        for _ in 0..reps {
            let start = Instant::now();
            executable.run(&given)?;
            gradient.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let flops = |s: &scatterc::compiler::schedule::Scheduled| s.launches.iter().map(|l| l.flops).sum::<f64>() / 1e6;
        println!(
            "{{\"L\":{L},\"N\":3,\"J_min\":0,\"threads\":{threads},\"compile_ms\":{compile_ms:.1},\"first_ms\":{first_ms:.2},\"forward_ms\":{:.3},\"compile_gradient_ms\":{compile_gradient_ms:.1},\"gradient_ms\":{:.3},\"mflop\":{:.1},\"gradient_mflop\":{:.1},\"arena_mb\":{:.1},\"gradient_arena_mb\":{:.1}}}",
            median(forward),
            median(gradient),
            flops(&encoder.compiled().scheduled),
            flops(&compiled.scheduled),
            encoder.compiled().plan().arena as f64 * 8e-6,
            compiled.plan().arena as f64 * 8e-6,
        );
        if steps {
            let mut rows: Vec<(f64, &scatterc::compiler::schedule::Launch)> =
                executable.times().iter().map(|t| t * 1e3 / reps as f64).zip(&compiled.scheduled.launches).collect();
            rows.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (ms, launch) in rows.iter().take(40) {
                println!("  {ms:8.3} ms {:8.1} GFLOP/s  {}", launch.flops / ms / 1e6, launch.summary);
            }
        }
    }
    Ok(())
}
