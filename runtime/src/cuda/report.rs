//! What is present for CUDA, and what is missing and how to get it.

use crate::tables::Cache;
use std::sync::Arc;

/// What was found, as lines for people.
///
/// ```
/// use scatterc_runtime::cuda::report::Report;
///
/// let report = Report { lines: vec![("driver", "CUDA 13.0".into())], usable: true };
/// assert_eq!(report.lines[0].0, "driver");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name and value of each line.
    pub lines: Vec<(&'static str, String)>,
    /// Whether programs can be compiled and run.
    pub usable: bool,
}

/// Looks for driver, devices and compiler. Opens no device.
///
/// ```
/// use scatterc_runtime::{Cache, cuda::report::report};
///
/// assert!(!report(std::sync::Arc::new(Cache::in_memory())).lines.is_empty());
/// ```
#[cfg(feature = "cuda")]
pub fn report(cache: Arc<Cache>) -> Report {
    use super::{driver, nvrtc};
    let mut lines = Vec::new();
    let version = driver::driver_version();
    match &version {
        Ok(version) => lines.push(("driver", format!("{}CUDA {version}", kernel_module().map_or_else(String::new, |m| format!("{m}, "))))),
        Err(e) => lines.push(("driver", e.to_string())),
    }
    let mut usable = false;
    if version.is_ok() {
        match driver::devices() {
            Ok(devices) => {
                usable = !devices.is_empty();
                for d in devices {
                    let gib = d.total_bytes as f64 / (1u64 << 30) as f64;
                    let (major, minor) = (d.capability / 10, d.capability % 10);
                    let text = format!("{}, compute capability {major}.{minor}, {} multiprocessors, {gib:.1} GiB", d.name, d.multiprocessors);
                    lines.push(("device", format!("{}: {text}", d.ordinal)));
                }
            }
            Err(e) => lines.push(("device", e.to_string())),
        }
    }
    match nvrtc::Compiler::find(cache, version.ok()) {
        Ok(compiler) => match (compiler.path(), compiler.architectures()) {
            (Some(path), Ok(architectures)) => {
                let last = architectures.iter().max().copied().unwrap_or(0);
                let first = architectures.iter().min().copied().unwrap_or(0);
                lines.push(("nvrtc", format!("{}, version {}, sm_{first} to sm_{last}", path.display(), compiler.version())));
            }
            (None, _) => {
                usable = false;
                let version = compiler.version();
                let text = format!("none here; only cubins that version {version} left in the cache can run; {}", super::error::INSTALL_NVRTC);
                lines.push(("nvrtc", text));
            }
            (Some(_), Err(e)) => {
                usable = false;
                lines.push(("nvrtc", e.to_string()));
            }
        },
        Err(e) => {
            usable = false;
            lines.push(("nvrtc", e.to_string()));
        }
    }
    Report { lines, usable }
}

/// Says that this program was built without the feature `cuda`.
///
/// ```
/// use scatterc_runtime::{Cache, cuda::report::report};
///
/// assert!(!report(std::sync::Arc::new(Cache::in_memory())).lines.is_empty());
/// ```
#[cfg(not(feature = "cuda"))]
pub fn report(_cache: Arc<Cache>) -> Report {
    Report { lines: vec![("cuda", super::CudaError::NotBuilt.to_string())], usable: false }
}

/// Version of NVIDIA's kernel module, where the system tells it.
#[cfg(feature = "cuda")]
fn kernel_module() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_string)
}
