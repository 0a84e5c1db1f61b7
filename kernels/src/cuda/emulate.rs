//! Runs CUDA C without a GPU: the text is compiled by `g++` against `emulate.h`, where every CUDA thread is a fiber, and loaded.
//!
//! It is meant for tests and for trying a plan on a machine without a device; it says nothing about time. Barriers that not all threads reach, accesses outside the
//! arena and shared memory read before it is written are found. Two things are not: orders of memory accesses that a GPU may exchange, and races between the lanes of
//! one instruction.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// What every source is compiled against.
const HEADER: &str = include_str!("../../cuda/emulate.h");

/// Why CUDA text does not run on the CPU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulationError {
    /// There is no compiler.
    #[error("emulation needs a C++ compiler: `{compiler}` does not start ({cause}); install g++ or name another compiler")]
    Compiler {
        /// The command.
        compiler: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The text is no CUDA C.
    #[error("the CUDA text does not compile:\n{messages}")]
    Text {
        /// What the compiler says.
        messages: String,
    },
    /// A file of the cache cannot be written or is not ours.
    #[error("`{path}`: expected {expected}, found {found}")]
    Cache {
        /// The file or folder.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What the system says.
        found: String,
    },
    /// The compiled text cannot be loaded.
    #[error("the compiled text cannot be loaded: {cause}")]
    Load {
        /// What the loader says.
        cause: libloading::Error,
    },
    /// The text has no such kernel.
    #[error("the CUDA text has no kernel `{name}`")]
    Kernel {
        /// As asked for.
        name: String,
    },
    /// The arena does not lie on a multiple of 16 bytes or a table is missing.
    #[error("kernel `{name}`: {what} must be {expected}, found {found}")]
    Argument {
        /// The kernel.
        name: String,
        /// Which argument.
        what: &'static str,
        /// Its domain.
        expected: String,
        /// The value received.
        found: String,
    },
    /// The kernel does something that no GPU allows.
    #[error("kernel `{name}`: {message}")]
    Run {
        /// The kernel.
        name: String,
        /// Block, thread and what happened.
        message: String,
    },
}

/// The order in which threads of a block, and blocks, run between barriers. Results of correct kernels do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// By number.
    #[default]
    Forward,
    /// By number, backwards.
    Reversed,
    /// Another order after every barrier, from a seed.
    Random(u64),
}

/// A C++ compiler and where its results are kept.
#[derive(Debug, Clone)]
pub struct Emulator {
    compiler: String,
    folder: PathBuf,
    schedule: Schedule,
    guarded: bool,
}

impl Emulator {
    /// `g++`, with results in a folder of this user among the system's temporary files.
    ///
    /// Error: the folder cannot be made or belongs to somebody else.
    pub fn new() -> Result<Self, EmulationError> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let fault = |path: &Path, expected, found: &dyn std::fmt::Display| EmulationError::Cache {
            path: path.display().to_string(),
            expected,
            found: found.to_string(),
        };
        // A new file has the owner of this process; that is how the user is known without a system library.
        let own = std::env::temp_dir().join(format!("scatterc-emulate-owner-{}", std::process::id()));
        let owner = std::fs::File::create(&own).and_then(|file| file.metadata()).map_err(|e| fault(&own, "a new file", &e))?.uid();
        // The file has served; whoever removes it first is right.
        drop(std::fs::remove_file(&own));
        let folder = std::env::temp_dir().join(format!("scatterc-emulate-{owner}"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| fault(&folder, "a folder", &e))?;
        let metadata = std::fs::symlink_metadata(&folder).map_err(|e| fault(&folder, "a folder", &e))?;
        if !metadata.is_dir() || metadata.uid() != owner || metadata.mode() & 0o022 != 0 {
            return Err(fault(&folder, "a folder that only this user writes", &format!("owner {} and mode {:o}", metadata.uid(), metadata.mode())));
        }
        Ok(Self::in_folder(folder))
    }

    /// `g++`, with results in a folder of the caller, which nobody else may write.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { compiler: "g++".into(), folder: folder.into(), schedule: Schedule::Forward, guarded: false }
    }

    /// The same with another compiler, which must understand the options of g++.
    #[must_use]
    pub fn with_compiler(mut self, compiler: &str) -> Self {
        self.compiler = compiler.into();
        self
    }

    /// The same with another order of threads.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The same, where kernels work on a copy of the arena between memory that cannot be touched: an access outside is an error that names block and thread.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Compiles a whole translation unit, or finds it compiled.
    ///
    /// Error: no compiler, a text that does not compile, a folder that cannot be written. Cost: about 0.2 s for a new text.
    pub fn compile(&self, source: &str) -> Result<Module, EmulationError> {
        let mut flags =
            vec!["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w", "-fno-exceptions", "-fno-strict-aliasing", "-x", "c++"];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("fma") {
            // The same numbers as the library's fma, without a call.
            flags.push("-mfma");
        }
        let text = format!("{HEADER}\n#line 1 \"kernel.cu\"\n{source}");
        let name: String = [0u8, 1]
            .iter()
            .map(|seed| {
                let mut hasher = DefaultHasher::new();
                hasher.write_u8(*seed);
                flags.iter().chain([&self.compiler.as_str(), &text.as_str()]).for_each(|part| hasher.write(part.as_bytes()));
                format!("{:016x}", hasher.finish())
            })
            .collect();
        let path = self.folder.join(format!("{name}.so"));
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match loaded.get(&path).and_then(Weak::upgrade) {
            Some(library) => library,
            None => {
                if !path.exists() {
                    self.build(&flags, &text, &path)?;
                }
                // SAFETY: the file was made from text that is our header and kernels; it has no initialisers.
                let library = unsafe { libloading::Library::new(&path) }.map_err(|cause| EmulationError::Load { cause })?;
                let library = Arc::new(Library { library, running: Mutex::new(()) });
                loaded.insert(path, Arc::downgrade(&library));
                library
            }
        };
        Ok(Module { library, schedule: self.schedule, guarded: self.guarded })
    }

    fn build(&self, flags: &[&str], text: &str, path: &Path) -> Result<(), EmulationError> {
        let missing = |cause| EmulationError::Compiler { compiler: self.compiler.clone(), cause };
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let mut child = Command::new(&self.compiler)
            .args(flags)
            .arg("-o")
            .arg(&partial)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(missing)?;
        // A compiler that ends before it has read everything says why itself.
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
        let output = child.wait_with_output().map_err(missing)?;
        if !output.status.success() {
            return Err(EmulationError::Text { messages: String::from_utf8_lossy(&output.stderr).into_owned() });
        }
        written.map_err(missing)?;
        std::fs::rename(&partial, path).map_err(|e| EmulationError::Cache {
            path: path.display().to_string(),
            expected: "a folder that can be written",
            found: e.to_string(),
        })
    }
}

/// Libraries in use: the loader gives one library for one file, whose variables one launch at a time may use.
static LOADED: LazyLock<Mutex<HashMap<PathBuf, Weak<Library>>>> = LazyLock::new(Mutex::default);

/// Handlers of faults belong to the whole process: one guarded launch at a time.
static GUARDED: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct Library {
    library: libloading::Library,
    running: Mutex<()>,
}

/// A kernel as the host sees it.
type Entry = unsafe extern "C" fn(*mut c_void, *const *const c_void);

/// `scatterc_emulate` of the header.
type Launcher =
    unsafe extern "C" fn(Entry, c_uint, c_uint, c_uint, *mut c_void, usize, *const *const c_void, c_int, u64, c_int, *mut c_char, usize) -> c_int;

/// A compiled translation unit.
#[derive(Debug, Clone)]
pub struct Module {
    library: Arc<Library>,
    schedule: Schedule,
    guarded: bool,
}

impl Module {
    /// The same with another order of threads.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Runs `kernel<<<grid, block, shared>>>(arena, tables)` to its end.
    ///
    /// - `shared`: bytes of dynamic shared memory
    /// - `arena`: begins on a multiple of 16 bytes
    ///
    /// Error: an unknown kernel, a wrong argument, a barrier that not all threads reach, with [`Emulator::guarded`] an access outside the arena.
    ///
    /// # Safety
    ///
    /// The kernel must stay inside the arena, the tables and its shared memory, and write no table; every table must be as long as the kernel reads.
    pub unsafe fn launch(
        &self,
        name: &str,
        grid: u32,
        block: u32,
        shared: u32,
        arena: &mut [u8],
        tables: &[*const u8],
    ) -> Result<(), EmulationError> {
        let argument = |what, expected: &str, found: String| EmulationError::Argument { name: name.into(), what, expected: expected.into(), found };
        if !(arena.as_ptr() as usize).is_multiple_of(16) {
            return Err(argument("the arena's address", "a multiple of 16", format!("{:p}", arena.as_ptr())));
        }
        // SAFETY: the symbols are those of the header and of a kernel, whose signature every kernel of a unit shares.
        let (launcher, entry) = unsafe {
            let launcher = self.library.library.get::<Launcher>(b"scatterc_emulate\0").map_err(|cause| EmulationError::Load { cause })?;
            let symbol = [name.as_bytes(), b"\0"].concat();
            let entry = self.library.library.get::<Entry>(symbol.as_slice()).map_err(|_| EmulationError::Kernel { name: name.into() })?;
            (*launcher, *entry)
        };
        let (order, seed) = match self.schedule {
            Schedule::Forward => (0, 0),
            Schedule::Reversed => (1, 0),
            Schedule::Random(seed) => (2, seed),
        };
        let _one = self.library.running.lock().unwrap_or_else(PoisonError::into_inner);
        let _guarded = self.guarded.then(|| GUARDED.lock().unwrap_or_else(PoisonError::into_inner));
        let mut message = [0 as c_char; 512];
        // SAFETY: the caller promises that the kernel keeps to arena and tables; one launch at a time uses the library's variables.
        let result = unsafe {
            launcher(
                entry,
                grid,
                block,
                shared,
                arena.as_mut_ptr().cast(),
                arena.len(),
                tables.as_ptr().cast(),
                order,
                seed,
                c_int::from(self.guarded),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the launcher writes at most the length of the message, with its end; it was zero before.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
        Err(EmulationError::Run { name: name.into(), message })
    }
}
