//! What this machine can do, measured in some fifty milliseconds, and inputs to measure plans with.

use scatterc::Element;
use scatterc::compiler::explain::Roofline;
use scatterc::ir::Space;
use scatterc::kernels::peak;
use scatterc::runtime::Executable;
use std::time::{Duration, Instant};

/// How long each of the two rates is measured.
const DURATION: Duration = Duration::from_millis(25);

/// f64 of the array read for the bandwidth, per thread: larger than the caches close to a core.
const STREAM: usize = 1 << 22;

/// Processor time of this process, all threads together; `None` where the system does not say.
pub fn processor_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// Peak arithmetic on an element and memory bandwidth of `threads` threads together.
pub fn roofline(threads: usize, element: Element) -> Roofline {
    let total = |rate: fn() -> f64| -> f64 {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, rate).ok()).collect();
            let own = rate();
            own + others.into_iter().filter_map(|thread| thread.join().ok()).sum::<f64>()
        })
    };
    Roofline {
        flops_per_s: match element {
            Element::F64 => total(|| peak::flops_per_s::<f64>(DURATION)),
            Element::F32 => total(|| peak::flops_per_s::<f32>(DURATION)),
        },
        bytes_per_s: total(bandwidth),
        source: format!(
            "measured in {element} on {threads} thread{}{}",
            if threads == 1 { "" } else { "s" },
            if cfg!(debug_assertions) { ", too low: this build is not optimised" } else { "" }
        ),
    }
}

/// Bytes read per second by this thread.
fn bandwidth() -> f64 {
    let data = vec![1.0f64; STREAM];
    let start = Instant::now();
    let (mut best, mut last) = (f64::INFINITY, 0.0);
    while start.elapsed() < DURATION {
        let one = Instant::now();
        let mut sums = [0.0f64; 32];
        for block in std::hint::black_box(&data).chunks_exact(32) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += x;
            }
        }
        last += sums.iter().sum::<f64>();
        best = best.min(one.elapsed().as_secs_f64());
    }
    std::hint::black_box(last);
    (8 * STREAM) as f64 / best
}

/// The middle one of some values, which are sorted; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Numbers from -1 to 1, the same every time.
pub fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Every input and parameter of a plan: fields are noise, numbers lie near one, so that dividing by them is harmless.
pub fn inputs(executable: &Executable) -> Vec<(String, Vec<f64>)> {
    executable
        .inputs()
        .iter()
        .enumerate()
        .map(|(k, port)| {
            let mut values = noise(port.ty.len(), k as u64 + 1);
            if port.ty.space == Space::Point {
                values.iter_mut().for_each(|x| *x = 1.0 + 0.1 * *x);
            }
            (port.name.clone(), values)
        })
        .collect()
}

/// As the executable takes them.
pub fn given(inputs: &[(String, Vec<f64>)]) -> Vec<(&str, &[f64])> {
    inputs.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect()
}
