//! `scatterc doctor`: what this installation can do.

use crate::args::{CliError, Global, print};
use crate::commands::cache::place;
use crate::measure;
use crate::transforms::Sky;
use scatterc::runtime::Cache;
use std::fmt::Write;

/// Bandlimit of the test transform.
pub(super) const L: usize = 64;

/// Largest relative error of the test transform that is not reported as a fault.
pub(super) const LARGEST_ERROR: f64 = 1e-12;

/// Version, processor, cache, CUDA, and a test transform.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Name of the processor as the system has it.
pub(super) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_string()));
    name.unwrap_or_else(|| format!("unknown ({})", std::env::consts::ARCH))
}

/// Largest error of coefficients -> samples -> coefficients, relative to the largest coefficient.
pub(super) fn round_trip() -> Result<f64, CliError> {
    let mut coefficients = measure::noise(L * (L + 1), 1);
    // The imaginary parts at m = 0 come first, at odd places, and describe nothing.
    coefficients[..2 * L].iter_mut().skip(1).step_by(2).for_each(|x| *x = 0.0);
    let mut sky = Sky::new(L, 0)?;
    let map = sky.synthesis(&coefficients)?;
    let back = sky.analysis(&map)?;
    let largest = coefficients.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    Ok(coefficients.iter().zip(&back).fold(0.0f64, |a, (x, y)| a.max((x - y).abs())) / largest)
}

/// Runs the command. Error: a transform that fails or is inaccurate.
pub fn run(_args: &Args, _global: &Global) -> Result<(), CliError> {
    let cache = Cache::global();
    let entries = cache.list();
    let bytes: u64 = entries.iter().map(|e| e.bytes).sum();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = String::new();
    let _ = writeln!(text, "scatterc   {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "system     {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let _ = writeln!(text, "processor  {}", processor());
    let _ = writeln!(text, "vectors    {}", scatterc::kernels::simd::simd_level());
    let _ = writeln!(text, "threads    {threads}");
    let _ = writeln!(text, "cache      {}; {} tables, {:.3} MB", place(&cache.state()), entries.len(), bytes as f64 / 1e6);
    let cuda = scatterc::runtime::cuda::report::report(Cache::global());
    let _ = writeln!(text, "devices    cpu, reference{}", if cuda.usable { ", cuda" } else { "" });
    for (name, value) in &cuda.lines {
        let _ = writeln!(text, "  {name:<9}{value}");
    }
    let error = round_trip()?;
    let verdict = if error < LARGEST_ERROR { "ok" } else { "too large" };
    let _ = writeln!(text, "transform  round trip at L = {L}: relative error {error:.1e}, {verdict}");
    print(&text)?;
    // A comparison that a NaN fails.
    if error < LARGEST_ERROR {
        return Ok(());
    }
    Err(CliError::Unavailable(format!(
        "the test transform has a relative error of {error:e}, expected below {LARGEST_ERROR:e}: this installation does not compute correctly"
    )))
}
