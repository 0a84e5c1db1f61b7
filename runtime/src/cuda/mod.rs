//! The CUDA runtime below the plan: compile text, keep cubins, open a device, replay launches.
//!
//! ```text
//! text of kernels --nvrtc::Compiler--> cubins (kept on disk) --driver::CudaMachine--> one arena, tables, one CUDA graph --run--> numbers in the arena
//! ```
//!
//! - [`Machine`]: what a plan needs of something that runs kernels; the emulation on the processor implements it as well.
//! - `nvrtc`: finds NVIDIA's run-time compiler and compiles text to cubins, with registers and spills of every kernel.
//! - `driver`: the device itself.
//! - [`ceiling`]: kernels that measure what a device can do at best.
//! - [`report`](mod@report): what is present, for `scatterc doctor`.
//!
//! Every kernel has the signature
//!
//! ```text
//! extern "C" __global__ void NAME(real* __restrict__ arena, const void* const* __restrict__ tables)
//! ```
//!
//! with all sizes and offsets in its text. Nothing of NVIDIA is linked: libraries are looked for at run time, and their absence is an error that says where they were
//! looked for. Without the feature `cuda` the trait, the kernels of [`ceiling`] and the errors remain, and [`open`] says [`CudaError::NotBuilt`].
//!
//! This module knows no plan and no op.

pub mod ceiling;
#[cfg(feature = "cuda")]
pub mod driver;
mod error;
#[cfg(feature = "cuda")]
pub mod nvrtc;
pub mod report;

pub use error::CudaError;

use crate::tables::Cache;
use std::sync::Arc;

/// One launch of a kernel: a one-dimensional grid of one-dimensional blocks.
///
/// ```
/// use scatterc_runtime::cuda::Launch;
///
/// let launch = Launch { kernel: "k0".into(), grid: 132, block: 256, shared: 0 };
/// assert_eq!(launch.grid * launch.block, 33_792, "threads");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// Name of the kernel in the text.
    pub kernel: String,
    /// Number of blocks.
    pub grid: u32,
    /// Threads of a block.
    pub block: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
}

/// Bytes that a machine holds, and what its device has.
///
/// ```
/// use scatterc_runtime::cuda::MachineMemory;
///
/// let memory = MachineMemory { arena_bytes: 1 << 20, tables_bytes: 1 << 10, ..MachineMemory::default() };
/// assert_eq!(memory.free_bytes, None, "no device of its own");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineMemory {
    /// The arena.
    pub arena_bytes: u64,
    /// The tables and the array of their addresses.
    pub tables_bytes: u64,
    /// Page-locked memory of the host, through which uploads and downloads go.
    pub staging_bytes: u64,
    /// Free memory of the device; absent where the machine is no device of its own.
    pub free_bytes: Option<u64>,
    /// All memory of the device.
    pub total_bytes: Option<u64>,
}

/// Something that holds an arena and tables and runs a fixed list of launches on them, and further lists, the *procedures*, one at a time.
///
/// ```
/// use scatterc_runtime::cuda::{CudaError, Machine, MachineMemory, in_arena, is_procedure};
/// use std::collections::VecDeque;
/// /// An arena without kernels.
/// #[derive(Default)]
/// struct Still {
///     arena: Vec<u8>,
///     fetched: VecDeque<Vec<u8>>,
/// }
/// impl Machine for Still {
///     fn name(&self) -> String {
///         "a machine that does nothing".into()
///     }
///     fn upload(&mut self, byte_offset: usize, bytes: &[u8]) -> Result<(), CudaError> {
///         in_arena("upload", byte_offset, bytes.len(), self.arena.len())?;
///         Ok(self.arena[byte_offset..][..bytes.len()].copy_from_slice(bytes))
///     }
///     fn download(&mut self, byte_offset: usize, bytes: &mut [u8]) -> Result<(), CudaError> {
///         in_arena("download", byte_offset, bytes.len(), self.arena.len())?;
///         Ok(bytes.copy_from_slice(&self.arena[byte_offset..][..bytes.len()]))
///     }
///     fn fetch(&mut self, byte_offset: usize, len: usize) -> Result<(), CudaError> {
///         in_arena("download", byte_offset, len, self.arena.len())?;
///         Ok(self.fetched.push_back(self.arena[byte_offset..][..len].to_vec()))
///     }
///     fn collect(&mut self, bytes: &mut Vec<u8>) -> Result<(), CudaError> {
///         Ok(*bytes = self.fetched.pop_front().unwrap_or_default())
///     }
///     fn start(&mut self, procedure: usize) -> Result<(), CudaError> {
///         is_procedure(procedure, 0)
///     }
///     fn run(&mut self) -> Result<(), CudaError> {
///         Ok(())
///     }
///     fn run_timed(&mut self) -> Result<Vec<f64>, CudaError> {
///         Ok(vec![])
///     }
///     fn memory(&self) -> Result<MachineMemory, CudaError> {
///         Ok(MachineMemory { arena_bytes: self.arena.len() as u64, ..MachineMemory::default() })
///     }
/// }
/// let mut machine = Still { arena: vec![0; 16], ..Still::default() };
/// machine.upload(8, &[7])?;
/// machine.fetch(8, 1)?;
/// machine.upload(8, &[9])?;
/// // What was fetched does not change any more.
/// let mut bytes = vec![];
/// machine.collect(&mut bytes)?;
/// assert_eq!(bytes, [7]);
/// # Ok::<(), CudaError>(())
/// ```
pub trait Machine: Send {
    /// What it is, for people.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn heading(machine: &dyn Machine) -> String {
    ///     format!("on {}", machine.name())
    /// }
    /// ```
    fn name(&self) -> String;

    /// Copies bytes into the arena. Error: a range outside of it, a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn set(machine: &mut dyn Machine, place: usize, value: f64) -> Result<(), CudaError> {
    ///     machine.upload(8 * place, &value.to_ne_bytes())
    /// }
    /// ```
    fn upload(&mut self, byte_offset: usize, bytes: &[u8]) -> Result<(), CudaError>;

    /// Copies bytes out of the arena. Error: a range outside of it, a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn get(machine: &mut dyn Machine, place: usize) -> Result<f64, CudaError> {
    ///     let mut bytes = [0; 8];
    ///     machine.download(8 * place, &mut bytes)?;
    ///     Ok(f64::from_ne_bytes(bytes))
    /// }
    /// ```
    fn download(&mut self, byte_offset: usize, bytes: &mut [u8]) -> Result<(), CudaError>;

    /// Starts a copy of bytes out of the arena, in order with what was started before, and may return before it is done; work that is started later does not change them.
    ///
    /// Error: a range outside of the arena, a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// // Asks for eight bytes, runs, and takes what they were before the run.
    /// fn before(machine: &mut dyn Machine) -> Result<Vec<u8>, CudaError> {
    ///     let mut bytes = vec![];
    ///     machine.fetch(0, 8)?;
    ///     machine.run()?;
    ///     machine.collect(&mut bytes)?;
    ///     Ok(bytes)
    /// }
    /// ```
    fn fetch(&mut self, byte_offset: usize, len: usize) -> Result<(), CudaError>;

    /// Waits for the oldest copy that was started and not collected, for nothing that was started later; replaces `bytes`, by none where there is no such copy.
    ///
    /// Error: a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn oldest(machine: &mut dyn Machine) -> Result<Option<Vec<u8>>, CudaError> {
    ///     let mut bytes = vec![];
    ///     machine.collect(&mut bytes)?;
    ///     Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    /// }
    /// ```
    fn collect(&mut self, bytes: &mut Vec<u8>) -> Result<(), CudaError>;

    /// Starts a procedure and may return before it is done; transfers and other work come after it.
    ///
    /// Error: a number that is not below that of the procedures, a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn twice(machine: &mut dyn Machine, procedure: usize) -> Result<(), CudaError> {
    ///     machine.start(procedure)?;
    ///     machine.start(procedure)
    /// }
    /// ```
    fn start(&mut self, procedure: usize) -> Result<(), CudaError>;

    /// Runs all launches in order and waits for them. Error: a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn repeat(machine: &mut dyn Machine, times: usize) -> Result<(), CudaError> {
    ///     (0..times).try_for_each(|_| machine.run())
    /// }
    /// ```
    fn run(&mut self) -> Result<(), CudaError>;

    /// Runs all launches in order, one by one, and returns the time of each in milliseconds. Error: a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn total_ms(machine: &mut dyn Machine) -> Result<f64, CudaError> {
    ///     Ok(machine.run_timed()?.iter().sum())
    /// }
    /// ```
    fn run_timed(&mut self) -> Result<Vec<f64>, CudaError>;

    /// Memory held now. Error: a lost device.
    ///
    /// ```
    /// # use scatterc_runtime::cuda::{CudaError, Machine};
    /// fn held_bytes(machine: &dyn Machine) -> Result<u64, CudaError> {
    ///     let memory = machine.memory()?;
    ///     Ok(memory.arena_bytes + memory.tables_bytes)
    /// }
    /// ```
    fn memory(&self) -> Result<MachineMemory, CudaError>;
}

/// Choices of a machine that do not change its numbers.
///
/// ```
/// use scatterc_runtime::Cache;
/// use scatterc_runtime::cuda::Settings;
/// use std::sync::Arc;
///
/// let settings = Settings { cache: Some(Arc::new(Cache::in_memory())), line_info: true, ..Settings::default() };
/// assert_eq!(settings.device, 0, "the first");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which device, counted as the driver does; 0 is the first.
    pub device: usize,
    /// Where cubins are kept; [`Cache::global`] when absent.
    pub cache: Option<Arc<Cache>>,
    /// Threads that compile; 0 means all cores.
    pub threads: usize,
    /// Line numbers in cubins, for profilers.
    pub line_info: bool,
}

/// Opens a device, compiles the programs (each a translation unit of its own), uploads the tables, and prepares the launches.
///
/// - `sources`: text of programs; a kernel's name appears in one of them
/// - `launches`: in the order in which they run
/// - `procedures`: further lists of launches
/// - `arena_bytes`: size of the arena, which begins as zeros
/// - `tables`: contents of the tables, in the order in which kernels count them; each begins at a multiple of 256 bytes
///
/// Error: everything that [`CudaError`] lists but the use of a machine.
///
/// ```
/// use scatterc_runtime::cuda::{Settings, open};
///
/// // No computer has that many devices.
/// assert!(open(&[], &[], &[], 0, &[], &Settings { device: 1 << 20, ..Settings::default() }).is_err());
/// ```
#[cfg(feature = "cuda")]
pub fn open(
    sources: &[String],
    launches: &[Launch],
    procedures: &[Vec<Launch>],
    arena_bytes: usize,
    tables: &[Vec<u8>],
    settings: &Settings,
) -> Result<Box<dyn Machine>, CudaError> {
    Ok(Box::new(driver::CudaMachine::with_procedures(sources, launches, procedures, arena_bytes, tables, settings)?))
}

/// Says that this program was built without the feature `cuda`.
///
/// ```
/// use scatterc_runtime::cuda::{Settings, open};
///
/// // No computer has that many devices.
/// assert!(open(&[], &[], &[], 0, &[], &Settings { device: 1 << 20, ..Settings::default() }).is_err());
/// ```
#[cfg(not(feature = "cuda"))]
pub fn open(
    _sources: &[String],
    _launches: &[Launch],
    _procedures: &[Vec<Launch>],
    _arena_bytes: usize,
    _tables: &[Vec<u8>],
    _settings: &Settings,
) -> Result<Box<dyn Machine>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// Checks the number of a procedure, for those who write machines. Error: [`CudaError::NoProcedure`].
///
/// ```
/// use scatterc_runtime::cuda::{CudaError, is_procedure};
///
/// assert_eq!(is_procedure(3, 2), Err(CudaError::NoProcedure { found: 3, count: 2 }));
/// ```
pub fn is_procedure(found: usize, count: usize) -> Result<(), CudaError> {
    if found < count { Ok(()) } else { Err(CudaError::NoProcedure { found, count }) }
}

/// Checks a transfer (`what`: "upload" or "download") against the arena, for those who write machines. Error: [`CudaError::Range`].
///
/// ```
/// use scatterc_runtime::cuda::in_arena;
///
/// assert!(in_arena("upload", 8, 8, 16).is_ok() && in_arena("upload", 8, 9, 16).is_err());
/// ```
pub fn in_arena(what: &'static str, offset: usize, bytes: usize, arena_bytes: usize) -> Result<(), CudaError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= arena_bytes => Ok(()),
        _ => Err(CudaError::Range { what, offset, bytes, arena_bytes }),
    }
}
