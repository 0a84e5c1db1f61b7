//! What the CUDA runtime can refuse.

use std::path::PathBuf;

/// How to get NVIDIA's run-time compiler.
pub(crate) const INSTALL_NVRTC: &str = "install it with `pip install nvidia-cuda-nvrtc==13.0.88` (drivers from 580 on) or `pip install nvidia-cuda-nvrtc-cu12` \
     (drivers from 525 on), or set SCATTERC_NVRTC_DIR to the folder that holds libnvrtc.so";

/// Why something cannot be compiled for, loaded on, or run on a CUDA device.
///
/// ```
/// use scatterc_runtime::cuda::{CudaError, in_arena};
///
/// assert_eq!(in_arena("upload", 8, 16, 20).unwrap_err().to_string(), "upload of 16 bytes at byte 8: expected within the arena of 20 bytes");
/// assert!(CudaError::NotBuilt.to_string().contains("feature `cuda`"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The program was built without the feature `cuda`.
    #[error("this program was built without CUDA; build it with the feature `cuda`")]
    NotBuilt,
    /// The emulation on the CPU.
    #[error("{message}")]
    Emulation {
        /// What it said.
        message: String,
    },
    /// No library of NVRTC.
    #[error("NVRTC, NVIDIA's run-time compiler, was not found; looked in {}; {}", looked.join(", "), INSTALL_NVRTC)]
    NoNvrtc {
        /// The places, in the order in which they were looked in, with what spoke against what was found there.
        looked: Vec<String>,
    },
    /// A library of NVRTC that does not do what it must.
    #[error("NVRTC in {}: {call}: {message}", path.display())]
    Nvrtc {
        /// The library.
        path: PathBuf,
        /// What was called.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// An architecture that the compiler does not know.
    #[error("NVRTC {version} cannot compile for sm_{found}, expected one of {expected:?}; a device newer than the compiler needs a newer NVRTC")]
    Architecture {
        /// What was asked for: major version of the compute capability times 10 plus the minor one.
        found: u32,
        /// What the compiler knows.
        expected: Vec<u32>,
        /// Its version.
        version: String,
    },
    /// Text that does not compile.
    #[error("program {unit} does not compile{}:\n{log}", source_note(source_file))]
    Compile {
        /// Position of the program in the list that was given.
        unit: usize,
        /// What the compiler said.
        log: String,
        /// Where the text was saved for inspection; absent when nothing could be written.
        source_file: Option<PathBuf>,
    },
    /// No driver on this machine.
    #[error(
        "the CUDA driver (libcuda.so.1) was not found; it comes with NVIDIA's display driver, version 525 or newer, and is not part of the toolkit"
    )]
    NoDriver,
    /// A driver that is too old for this program, or for the compiler found.
    #[error("the CUDA driver supports CUDA {found}, expected {expected} or newer ({why}); update NVIDIA's display driver")]
    OldDriver {
        /// Version of CUDA that the driver supports.
        found: String,
        /// The oldest that does.
        expected: String,
        /// What needs it.
        why: String,
    },
    /// No such device.
    #[error("CUDA device {ordinal} is not there, found {found} devices{}", if *found == 0 { " (is CUDA_VISIBLE_DEVICES set?)" } else { "" })]
    NoDevice {
        /// The device asked for, counted from 0.
        ordinal: usize,
        /// How many there are.
        found: usize,
    },
    /// Memory of the device, or page-locked memory of the host, is exhausted.
    #[error(
        "{what} of {bytes} bytes do not fit: {free_bytes} of {total_bytes} bytes of the device are free; a memory budget (--memory) makes the arena smaller"
    )]
    OutOfMemory {
        /// What was asked for.
        what: &'static str,
        /// How many bytes.
        bytes: usize,
        /// Free bytes of the device; 0 when they cannot be had.
        free_bytes: usize,
        /// All bytes of the device.
        total_bytes: usize,
    },
    /// The device failed while it worked; this process cannot use it any more.
    #[error("the device is lost: {call}: {message}; this process cannot use it any more")]
    DeviceLost {
        /// The call that noticed it.
        call: &'static str,
        /// Name and explanation of the driver's code.
        message: String,
    },
    /// Any other error of the driver.
    #[error("CUDA driver: {call}: {message}")]
    Driver {
        /// What was called.
        call: &'static str,
        /// Name and explanation of the driver's code.
        message: String,
    },
    /// A launch of a kernel that no program has.
    #[error("kernel `{kernel}` is in none of the programs; there are {}", found.join(", "))]
    NoKernel {
        /// The kernel asked for.
        kernel: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// One kernel name in two programs.
    #[error("kernel `{kernel}` is in program {first} and in program {second}, expected in one")]
    TwoKernels {
        /// The name.
        kernel: String,
        /// Position of one program.
        first: usize,
        /// Position of the other.
        second: usize,
    },
    /// A launch that the device cannot do.
    #[error("launch {launch} of kernel `{kernel}`: {what}: expected {expected}, found {found}")]
    Launch {
        /// Position in the list of launches.
        launch: usize,
        /// The kernel.
        kernel: String,
        /// What does not fit.
        what: &'static str,
        /// What would.
        expected: String,
        /// What it is.
        found: u64,
    },
    /// A procedure that a machine does not have.
    #[error("procedure {found}: expected a number below {count}")]
    NoProcedure {
        /// The number asked for.
        found: usize,
        /// How many there are.
        count: usize,
    },
    /// A transfer outside the arena.
    #[error("{what} of {bytes} bytes at byte {offset}: expected within the arena of {arena_bytes} bytes")]
    Range {
        /// Upload or download.
        what: &'static str,
        /// First byte.
        offset: usize,
        /// How many bytes.
        bytes: usize,
        /// Size of the arena.
        arena_bytes: usize,
    },
}

fn source_note(file: &Option<PathBuf>) -> String {
    file.as_ref().map_or_else(String::new, |file| format!(" (its text is in {})", file.display()))
}
