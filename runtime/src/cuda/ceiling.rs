//! What a device can do at best: memory bandwidth and multiply-add rates, measured by kernels of our own, for roofline fractions.
//!
//! The kernels are ordinary launches of a [`Machine`], so they are compiled, cached and timed as those of a plan are.

use super::{CudaError, Launch, Machine};
use std::fmt::Write;

/// Threads of a block.
const BLOCK: u32 = 256;
/// Blocks per multiprocessor: enough for 2048 threads.
const BLOCKS: u32 = 8;
/// Independent multiply-adds in flight per thread.
const CHAINS: usize = 8;
/// Multiply-adds of one chain.
const STEPS: usize = 4096;
/// Elements of one of the three arrays of the bandwidth kernels that suit devices of today: 512 MiB, many times any second-level cache.
///
/// ```
/// use scatterc_runtime::cuda::ceiling::ELEMENTS;
///
/// assert_eq!(8 * ELEMENTS, 512 << 20, "bytes");
/// ```
pub const ELEMENTS: usize = 64 << 20;
/// Timed rounds; the best counts, since what disturbs only slows down.
const ROUNDS: usize = 5;

/// Measured ceilings of a device.
///
/// ```
/// use scatterc_runtime::cuda::ceiling::Ceiling;
///
/// let ceiling = Ceiling { copy_gbytes: 4000.0, triad_gbytes: 4100.0, f64_gflops: 33_000.0, f32_gflops: 66_000.0 };
/// // Operations per byte from which arithmetic is what limits a kernel.
/// assert!((ceiling.f64_gflops / ceiling.triad_gbytes - 8.05).abs() < 0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// y = x: bytes read and written, in GB/s.
    pub copy_gbytes: f64,
    /// z = x + a y: bytes read and written, in GB/s.
    pub triad_gbytes: f64,
    /// Multiply-adds of f64, two operations each, in Gflop/s.
    pub f64_gflops: f64,
    /// Multiply-adds of f32, in Gflop/s.
    pub f32_gflops: f64,
}

/// Text and launches of the kernels, and the size of their arena in bytes.
///
/// - `multiprocessors`: of the device
/// - `elements`: f64 of each of three arrays
///
/// ```
/// use scatterc_runtime::cuda::ceiling::program;
///
/// let (text, launches, bytes) = program(132, 1000);
/// assert!(launches.iter().all(|launch| text.contains(&format!("{}(", launch.kernel))) && bytes >= 3 * 8 * 1000);
/// ```
pub fn program(multiprocessors: u32, elements: usize) -> (String, Vec<Launch>, usize) {
    let elements = elements.next_multiple_of(2);
    let mut text = format!(
        r#"extern "C" __global__ void __launch_bounds__({BLOCK}) ceiling_copy(double* __restrict__ arena, const void* const* __restrict__ tables) {{
    const double2* x = (const double2*)arena;
    double2* y = (double2*)(arena + {elements});
    for (long long k = (long long)blockIdx.x * {BLOCK} + threadIdx.x; k < {half}; k += (long long)gridDim.x * {BLOCK}) y[k] = x[k];
}}
extern "C" __global__ void __launch_bounds__({BLOCK}) ceiling_triad(double* __restrict__ arena, const void* const* __restrict__ tables) {{
    const double2* x = (const double2*)arena;
    const double2* y = (const double2*)(arena + {elements});
    double2* z = (double2*)(arena + {twice});
    for (long long k = (long long)blockIdx.x * {BLOCK} + threadIdx.x; k < {half}; k += (long long)gridDim.x * {BLOCK}) {{
        double2 a = x[k], b = y[k];
        z[k] = make_double2(fma(0.5, b.x, a.x), fma(0.5, b.y, a.y));
    }}
}}
"#,
        half = elements / 2,
        twice = 2 * elements,
    );
    for (name, real, fma) in [("ceiling_f64", "double", "fma"), ("ceiling_f32", "float", "fmaf")] {
        // The factors come from memory, so that nothing is known at compile time, and the sum goes back, so that nothing is left out.
        let _ = write!(
            text,
            r#"extern "C" __global__ void __launch_bounds__({BLOCK}) {name}(double* __restrict__ arena, const void* const* __restrict__ tables) {{
    {real} a = ({real})arena[0], b = ({real})arena[1], x[{CHAINS}];
#pragma unroll
    for (int k = 0; k < {CHAINS}; k++) x[k] = ({real})(threadIdx.x + k);
#pragma unroll 8
    for (int step = 0; step < {STEPS}; step++) {{
#pragma unroll
        for (int k = 0; k < {CHAINS}; k++) x[k] = {fma}(x[k], a, b);
    }}
    {real} sum = 0;
#pragma unroll
    for (int k = 0; k < {CHAINS}; k++) sum += x[k];
    arena[2 + blockIdx.x * {BLOCK} + threadIdx.x] = (double)sum;
}}
"#
        );
    }
    let grid = multiprocessors.max(1) * BLOCKS;
    let launch = |kernel: &str| Launch { kernel: kernel.into(), grid, block: BLOCK, shared: 0 };
    let launches = ["ceiling_copy", "ceiling_triad", "ceiling_f64", "ceiling_f32"].map(launch).to_vec();
    let doubles = (3 * elements).max(2 + (grid * BLOCK) as usize);
    (text, launches, 8 * doubles)
}

/// Measures. `multiprocessors` and `elements` are those of [`program`], with [`ELEMENTS`] where the device has 1.5 GiB to spare; `open` makes a machine of sources, launches, arena size and tables, as [`super::open`] does.
///
/// Error: those of `open` and of the machine.
///
/// ```
/// use scatterc_runtime::cuda::{CudaError, ceiling::measure};
///
/// // Without a device there is nothing to be measured.
/// assert_eq!(measure(132, 1000, |_, _, _| Err(CudaError::NotBuilt)), Err(CudaError::NotBuilt));
/// ```
pub fn measure(
    multiprocessors: u32,
    elements: usize,
    open: impl FnOnce(&[String], &[Launch], usize) -> Result<Box<dyn Machine>, CudaError>,
) -> Result<Ceiling, CudaError> {
    let (text, launches, bytes) = program(multiprocessors, elements);
    let threads = f64::from(launches[0].grid) * f64::from(BLOCK);
    let mut machine = open(&[text], &launches, bytes)?;
    let mut best = vec![f64::INFINITY; launches.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        let times = machine.run_timed()?;
        for (best, time) in best.iter_mut().zip(times).filter(|_| round > 0) {
            *best = best.min(time);
        }
    }
    // Milliseconds to rates in 1e9 per second.
    let rate = |amount: f64, time_ms: f64| amount / time_ms.max(f64::MIN_POSITIVE) * 1e-6;
    let array = 8.0 * elements.next_multiple_of(2) as f64;
    let flops = 2.0 * threads * (CHAINS * STEPS) as f64;
    Ok(Ceiling {
        copy_gbytes: rate(2.0 * array, best[0]),
        triad_gbytes: rate(3.0 * array, best[1]),
        f64_gflops: rate(flops, best[2]),
        f32_gflops: rate(flops, best[3]),
    })
}
