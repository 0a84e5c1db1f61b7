//! NVIDIA's run-time compiler: where it is, how it is called, what it says about kernels, and the cubins that it made before.
//!
//! The library is opened by its absolute path, so that the one that was chosen is the one that compiles, and only when a cubin is not in the cache. It needs neither a
//! device nor a driver. Text is compiled to cubins, machine code of one architecture, and never to PTX: a driver loads the cubins of every compiler of its major
//! version, but PTX of no newer one.
//!
//! Contractions to fused multiply-adds are off: the text writes `fma` where it means one, so that kernels give the same numbers as their emulation.

use super::CudaError;
use crate::tables::{Cache, Key, State};
use libloading::Library;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// The oldest major version that compiles the emitted text.
const OLDEST_MAJOR: u32 = 12;
/// Stack of a thread that compiles: the compiler recurses over long functions. Untouched parts cost nothing.
const COMPILE_STACK: usize = 64 << 20;
/// Texts of failed programs that are kept for inspection.
const FAILED_LIMIT: usize = 16;
/// Result codes of NVRTC that mean something here.
const SUCCESS: c_int = 0;
const COMPILATION: c_int = 6;

/// A version of CUDA.
///
/// ```
/// use scatterc_runtime::cuda::nvrtc::Version;
///
/// let version = Version { major: 13, minor: 0 };
/// assert!(version.to_string() == "13.0" && version > Version { major: 12, minor: 9 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 13 in 13.0.
    pub major: u32,
    /// 0 in 13.0.
    pub minor: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Version { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What programs are compiled for.
///
/// ```
/// use scatterc_runtime::cuda::nvrtc::Options;
///
/// let options = Options { line_info: true, ..Options::new(90) };
/// assert_eq!((options.capability, options.prelude.as_str()), (90, ""));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Compute capability of the device: major version times 10 plus minor version.
    pub capability: u32,
    /// Text that stands before every program.
    pub prelude: String,
    /// Line numbers in the cubin, for profilers.
    pub line_info: bool,
    /// Threads that compile; 0 means all cores.
    pub threads: usize,
}

impl Options {
    /// For devices of that compute capability (90 for 9.0), without a prelude.
    ///
    /// ```
    /// assert_eq!(scatterc_runtime::cuda::nvrtc::Options::new(80).capability, 80);
    /// ```
    pub fn new(capability: u32) -> Self {
        Options { capability, prelude: String::new(), line_info: false, threads: 0 }
    }
}

/// What one thread, or one block, of a kernel needs.
///
/// ```
/// use scatterc_runtime::cuda::nvrtc::Resources;
///
/// let resources = Resources { kernel: "k0".into(), registers: 40, ..Resources::default() };
/// assert_eq!(resources.spill_stores, 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Resources {
    /// Name of the kernel.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that a thread stores to memory because there are too few.
    pub spill_stores: u32,
    /// Bytes that it reads back.
    pub spill_loads: u32,
    /// Bytes of local memory of a thread, spilled registers and indexed arrays.
    pub stack: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
    /// Named barriers of a block.
    pub barriers: u32,
}

/// A compiled program.
///
/// ```no_run
/// # use scatterc_runtime::Cache;
/// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
/// # use std::sync::Arc;
/// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
/// # let cache = Arc::new(Cache::in_memory());
/// // `text` holds a kernel that doubles numbers.
/// let cubin = &Compiler::find(cache, None)?.compile(&[text], &Options::new(90))?[0];
/// assert_eq!((cubin.kernels[0].kernel.as_str(), cubin.kernels[0].spill_stores), ("twice", 0));
/// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// What the driver loads.
    pub bytes: Vec<u8>,
    /// What the compiler said.
    pub log: String,
    /// Its kernels, by name.
    pub kernels: Vec<Resources>,
    /// Whether it was in the cache.
    pub cached: bool,
}

impl Cubin {
    fn new(bytes: Vec<u8>, log: String, cached: bool) -> Self {
        let kernels = resources(&log);
        Cubin { bytes, log, kernels, cached }
    }

    /// Length of the log, log, bytes.
    fn encode(&self) -> Vec<u8> {
        let mut out = (self.log.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(self.log.as_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (length, rest) = stored.split_first_chunk::<8>()?;
        let (log, bytes) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Cubin::new(bytes.to_vec(), std::str::from_utf8(log).ok()?.to_string(), true))
    }
}

/// Registers, spills, stack and shared memory of the kernels, sorted by name, from the log of `ptxas -v`. Functions that kernels call have frames of their own, which
/// count to no kernel.
fn resources(log: &str) -> Vec<Resources> {
    let mut out: BTreeMap<String, Resources> = BTreeMap::new();
    let (mut kernel, mut function) = (None::<String>, None::<String>);
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default().to_string();
            out.insert(name.clone(), Resources { kernel: name.clone(), ..Resources::default() });
            kernel = Some(name);
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            function = Some(name.trim().to_string());
        } else if line.contains("bytes stack frame") {
            let Some(found) = function.take().and_then(|name| out.get_mut(&name)) else { continue };
            found.stack = number_before(line, "bytes stack frame").unwrap_or(0);
            found.spill_stores = number_before(line, "bytes spill stores").unwrap_or(0);
            found.spill_loads = number_before(line, "bytes spill loads").unwrap_or(0);
        } else if line.contains("Used ") && line.contains(" registers") {
            let Some(found) = kernel.take().and_then(|name| out.get_mut(&name)) else { continue };
            found.registers = number_before(line, "registers").unwrap_or(0);
            found.barriers = number_before(line, "barriers").unwrap_or(0);
            found.shared = number_before(line, "bytes smem").unwrap_or(0);
        }
    }
    out.into_values().collect()
}

/// The number that stands before these words.
fn number_before(line: &str, words: &str) -> Option<u32> {
    line[..line.find(words)?].split_whitespace().last()?.parse().ok()
}

/// NVRTC's handle of a program.
type Program = *mut c_void;

/// The functions of the library, as `nvrtc.h` declares them.
struct Api {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    count_architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    create: unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ptx_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    ptx: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
}

/// An open library. It is never closed: it keeps threads and exit handlers of its own.
struct Open {
    api: Api,
    version: Version,
    architectures: Vec<u32>,
    _library: ManuallyDrop<Library>,
    _builtins: Option<ManuallyDrop<Library>>,
}

/// Looks up one function of the library.
fn symbol<F: Copy>(library: &Library, path: &Path, name: &'static str) -> Result<F, CudaError> {
    // SAFETY: the field that the result goes to has the type that `nvrtc.h` gives the function; the library is never closed.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|f| *f).map_err(|e| CudaError::Nvrtc { path: path.into(), call: name, message: reasons(&e) })
}

/// An error with what lies behind it.
fn reasons(error: &dyn std::error::Error) -> String {
    let inner = error.source().map_or_else(String::new, |inner| format!(": {}", reasons(inner)));
    format!("{error}{inner}")
}

impl Open {
    fn new(path: &Path) -> Result<Self, CudaError> {
        let fail = |call, message| CudaError::Nvrtc { path: path.into(), call, message };
        // SAFETY: the initialisers of NVIDIA's library have no requirements.
        let library = unsafe { Library::new(path) }.map_err(|e| fail("open", reasons(&e)))?;
        let library = ManuallyDrop::new(library);
        let api = Api {
            version: symbol(&library, path, "nvrtcVersion")?,
            error_string: symbol(&library, path, "nvrtcGetErrorString")?,
            count_architectures: symbol(&library, path, "nvrtcGetNumSupportedArchs")?,
            architectures: symbol(&library, path, "nvrtcGetSupportedArchs")?,
            create: symbol(&library, path, "nvrtcCreateProgram")?,
            destroy: symbol(&library, path, "nvrtcDestroyProgram")?,
            compile: symbol(&library, path, "nvrtcCompileProgram")?,
            cubin_size: symbol(&library, path, "nvrtcGetCUBINSize")?,
            cubin: symbol(&library, path, "nvrtcGetCUBIN")?,
            ptx_size: symbol(&library, path, "nvrtcGetPTXSize")?,
            ptx: symbol(&library, path, "nvrtcGetPTX")?,
            log_size: symbol(&library, path, "nvrtcGetProgramLogSize")?,
            log: symbol(&library, path, "nvrtcGetProgramLog")?,
        };
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the arguments are places for one integer each.
        let code = unsafe { (api.version)(&mut major, &mut minor) };
        if code != SUCCESS {
            return Err(fail("nvrtcVersion", format!("code {code}")));
        }
        // SAFETY: as above.
        let code = unsafe { (api.count_architectures)(&mut count) };
        if code != SUCCESS || !(0..10_000).contains(&count) {
            return Err(fail("nvrtcGetNumSupportedArchs", format!("code {code}, {count} architectures")));
        }
        let mut architectures = vec![0; count as usize];
        // SAFETY: the array has as many places as the library says that it needs.
        let code = unsafe { (api.architectures)(architectures.as_mut_ptr()) };
        if code != SUCCESS {
            return Err(fail("nvrtcGetSupportedArchs", format!("code {code}")));
        }
        let version = Version { major: major as u32, minor: minor as u32 };
        // The compiler opens its built-in functions by their bare name when it first compiles; the wheels of version 13.0 have no run path, so that it finds them only
        // where they are open already.
        let builtins = path.with_file_name(format!("libnvrtc-builtins.so.{version}"));
        // SAFETY: as for the library itself.
        let builtins = unsafe { Library::new(builtins) }.ok().map(ManuallyDrop::new);
        let architectures = architectures.into_iter().map(|a| a as u32).collect();
        Ok(Open { api, version, architectures, _library: library, _builtins: builtins })
    }

    /// What a result code means.
    fn explain(&self, code: c_int) -> String {
        // SAFETY: the library accepts every code and returns a text that lives as long as itself, or nothing.
        let text = unsafe { (self.api.error_string)(code) };
        if text.is_null() {
            return format!("code {code}");
        }
        // SAFETY: not null, and ended by a zero as `nvrtc.h` promises.
        let text = unsafe { CStr::from_ptr(text) };
        format!("{} (code {code})", text.to_string_lossy())
    }

    /// The architecture whose machine code runs on a device of that capability: the device's own, or the newest older one of the same major version.
    fn architecture(&self, capability: u32) -> Result<u32, CudaError> {
        let fits = |a: &&u32| **a / 10 == capability / 10 && **a <= capability;
        self.architectures.iter().filter(fits).max().copied().ok_or_else(|| CudaError::Architecture {
            found: capability,
            expected: self.architectures.clone(),
            version: self.version.to_string(),
        })
    }
}

/// A program that is destroyed with its holder.
struct Handle<'a> {
    open: &'a Open,
    program: Program,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle was made by `create` and is destroyed once. There is nobody to tell about a failure.
        unsafe { (self.open.api.destroy)(&mut self.program) };
    }
}

/// What is wanted of a compilation.
#[derive(Clone, Copy)]
enum Product {
    Cubin,
    Ptx,
}

/// What one compilation gives: the product and a log, or only a log.
enum Outcome {
    Done(Vec<u8>, String),
    Refused(String),
}

/// The compiler that was found. Cheap to make: the library itself is opened when something is to be compiled, or to ask it for its version once.
///
/// ```no_run
/// # use scatterc_runtime::Cache;
/// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
/// # use std::sync::Arc;
/// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
/// # let cache = Arc::new(Cache::in_memory());
/// // `text` holds a kernel that doubles numbers.
/// let compiler = Compiler::find(cache, None)?;
/// assert!(!compiler.compile(&[text], &Options::new(90))?[0].bytes.is_empty());
/// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
/// ```
pub struct Compiler {
    /// The library; absent when none is here but the cache knows cubins of one that was.
    path: Option<PathBuf>,
    version: Version,
    looked: Vec<String>,
    cache: Arc<Cache>,
    open: OnceLock<Result<Arc<Open>, CudaError>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("path", &self.path).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Compiler {
    /// Looks for the library, in this order: `SCATTERC_NVRTC_DIR` (and then nowhere else), `CUDA_HOME`, `CUDA_PATH`, `CONDA_PREFIX`, the folder `nvrtc` of the cache directory, Python
    /// packages of the environments and interpreters on the path, the usual places of the toolkit, the system's own search.
    ///
    /// - `driver`: the CUDA version that the driver supports; the compiler must not be of a newer major version
    ///
    /// Where no library is found but cubins of one are in the cache, the result compiles nothing and finds those. Error: [`CudaError::NoNvrtc`]; a library that does
    /// not open.
    ///
    /// ```
    /// use scatterc_runtime::Cache;
    /// use scatterc_runtime::cuda::nvrtc::Compiler;
    ///
    /// // Where there is no library, the error says how to get it.
    /// match Compiler::find(std::sync::Arc::new(Cache::in_memory()), None) {
    ///     Ok(compiler) => assert!(compiler.version().major >= 12),
    ///     Err(error) => assert!(error.to_string().contains("NVRTC")),
    /// }
    /// ```
    pub fn find(cache: Arc<Cache>, driver: Option<Version>) -> Result<Self, CudaError> {
        let mut looked = Vec::new();
        for path in candidates(&cache, &mut looked) {
            match identify(&cache, &path) {
                Ok((version, open)) if version.major < OLDEST_MAJOR => {
                    drop(open);
                    looked.push(format!("{} (version {version}, expected {OLDEST_MAJOR}.0 or newer)", path.display()));
                }
                Ok((version, _)) if driver.is_some_and(|driver| version.major > driver.major) => {
                    let supported = driver.map_or_else(String::new, |driver| driver.to_string());
                    looked.push(format!("{} (version {version}, but the driver supports CUDA {supported})", path.display()));
                }
                Ok((version, open)) => {
                    cache.store(&last_version_key(), version.to_string().into_bytes());
                    let cell = OnceLock::new();
                    if let Some(open) = open {
                        let _ = cell.set(Ok(open));
                    }
                    return Ok(Compiler { path: Some(path), version, looked, cache, open: cell });
                }
                // A bare name that the dynamic loader does not know was never seen, and the search is in the list.
                Err(_) if path.is_relative() => {}
                Err(e) => looked.push(e.to_string()),
            }
        }
        let known = cache.find(&last_version_key()).and_then(|text| Version::parse(std::str::from_utf8(&text).ok()?));
        match known {
            Some(version) if driver.is_none_or(|driver| version.major <= driver.major) => {
                Ok(Compiler { path: None, version, looked, cache, open: OnceLock::new() })
            }
            _ => Err(CudaError::NoNvrtc { looked }),
        }
    }

    /// The library, when there is one.
    ///
    /// ```no_run
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
    /// # use std::sync::Arc;
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let cache = Arc::new(Cache::in_memory());
    /// // `text` holds a kernel that doubles numbers.
    /// println!("{:?}", Compiler::find(cache, None)?.path());
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Its version.
    ///
    /// ```no_run
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
    /// # use std::sync::Arc;
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let cache = Arc::new(Cache::in_memory());
    /// // `text` holds a kernel that doubles numbers.
    /// assert!(Compiler::find(cache, None)?.version().major >= 12);
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn version(&self) -> Version {
        self.version
    }

    /// Architectures that it compiles for. Error: no library, or one that does not open.
    ///
    /// ```no_run
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
    /// # use std::sync::Arc;
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let cache = Arc::new(Cache::in_memory());
    /// // `text` holds a kernel that doubles numbers.
    /// assert!(Compiler::find(cache, None)?.architectures()?.contains(&90));
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn architectures(&self) -> Result<Vec<u32>, CudaError> {
        Ok(self.library()?.architectures.clone())
    }

    fn library(&self) -> Result<Arc<Open>, CudaError> {
        let open = || {
            let path = self.path.as_ref().ok_or_else(|| CudaError::NoNvrtc { looked: self.looked.clone() })?;
            Open::new(path).map(Arc::new)
        };
        self.open.get_or_init(open).clone()
    }

    /// Compiles every source to a cubin, or takes it from the cache; several threads work on several sources. The result has the order of the sources.
    ///
    /// Error: text that does not compile (the first such source, whatever the number of threads), an architecture the compiler does not know, no library where one is
    /// needed.
    ///
    /// ```no_run
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
    /// # use std::sync::Arc;
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let cache = Arc::new(Cache::in_memory());
    /// // `text` holds a kernel that doubles numbers.
    /// let compiler = Compiler::find(cache, None)?;
    /// assert!(!compiler.compile(&[text.clone()], &Options::new(90))?[0].cached);
    /// assert!(compiler.compile(&[text], &Options::new(90))?[0].cached);
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn compile(&self, sources: &[String], options: &Options) -> Result<Vec<Cubin>, CudaError> {
        let results: Vec<Mutex<Option<Result<Cubin, CudaError>>>> = sources.iter().map(|_| Mutex::default()).collect();
        let mut missing = Vec::new();
        for (unit, source) in sources.iter().enumerate() {
            match self.cache.find(&self.key(source, options)).and_then(|stored| Cubin::decode(&stored)) {
                Some(found) => *lock(&results[unit]) = Some(Ok(found)),
                None => missing.push(unit),
            }
        }
        if !missing.is_empty() {
            let library = self.library()?;
            let architecture = library.architecture(options.capability)?;
            // The longest first, so that no thread is left alone with it at the end.
            missing.sort_by_key(|unit| (std::cmp::Reverse(sources[*unit].len()), *unit));
            let cores = if options.threads == 0 { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { options.threads };
            let next = AtomicUsize::new(0);
            let work = || {
                while let Some(unit) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    *lock(&results[*unit]) = Some(self.build(&library, architecture, *unit, &sources[*unit], options));
                }
            };
            std::thread::scope(|scope| {
                let spawn = |_| std::thread::Builder::new().stack_size(COMPILE_STACK).spawn_scoped(scope, work).is_ok();
                // Where the system gives no thread at all, this one does the work.
                if (0..cores.min(missing.len())).filter(|k| spawn(*k)).count() == 0 {
                    work();
                }
            });
        }
        results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()).expect("every source was found or built")).collect()
    }

    /// The PTX of one source, for people to read; it is neither cached nor run. Error: as [`Compiler::compile`].
    ///
    /// ```no_run
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::cuda::nvrtc::{Compiler, Options};
    /// # use std::sync::Arc;
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let cache = Arc::new(Cache::in_memory());
    /// // `text` holds a kernel that doubles numbers.
    /// assert!(Compiler::find(cache, None)?.ptx(&text, &Options::new(90))?.contains(".entry twice"));
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn ptx(&self, source: &str, options: &Options) -> Result<String, CudaError> {
        let library = self.library()?;
        let architecture = library.architecture(options.capability)?;
        let text = format!("{}{source}", options.prelude);
        let call = || self.call(&library, "program-0.cu", &text, &flags(architecture, options.line_info), Product::Ptx);
        let outcome = std::thread::scope(|scope| match std::thread::Builder::new().stack_size(COMPILE_STACK).spawn_scoped(scope, call) {
            Ok(thread) => thread.join().expect("the compiler's thread does not panic"),
            Err(_) => call(),
        });
        match outcome? {
            // The library ends the text with a zero byte.
            Outcome::Done(bytes, _) => Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()),
            Outcome::Refused(log) => Err(CudaError::Compile { unit: 0, log, source_file: save_failed(&self.cache, &text) }),
        }
    }

    /// Everything that a cubin depends on.
    fn key(&self, source: &str, options: &Options) -> Key {
        let version = self.version.to_string();
        let flags = flags(options.capability, options.line_info).join(" ");
        Key::of_texts("cubin", &[&version, &flags, &options.prelude, source])
    }

    fn build(&self, library: &Open, architecture: u32, unit: usize, source: &str, options: &Options) -> Result<Cubin, CudaError> {
        let text = format!("{}{source}", options.prelude);
        match self.call(library, &format!("program-{unit}.cu"), &text, &flags(architecture, options.line_info), Product::Cubin)? {
            Outcome::Done(bytes, log) => {
                let cubin = Cubin::new(bytes, log, false);
                self.cache.store(&self.key(source, options), cubin.encode());
                Ok(cubin)
            }
            Outcome::Refused(log) => Err(CudaError::Compile { unit, log, source_file: save_failed(&self.cache, &text) }),
        }
    }

    /// One program through the library.
    fn call(&self, library: &Open, name: &str, text: &str, flags: &[String], product: Product) -> Result<Outcome, CudaError> {
        let path = self.path.clone().unwrap_or_default();
        let fail = |call, message: String| CudaError::Nvrtc { path: path.clone(), call, message };
        let check = |call, code| if code == SUCCESS { Ok(()) } else { Err(fail(call, library.explain(code))) };
        let zero = |_| fail("nvrtcCreateProgram", "the text contains a zero byte".into());
        let (text, name) = (CString::new(text).map_err(zero)?, CString::new(name).map_err(zero)?);
        let flags = flags.iter().map(|flag| CString::new(flag.as_str()).map_err(zero)).collect::<Result<Vec<_>, _>>()?;
        let flags: Vec<*const c_char> = flags.iter().map(|flag| flag.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: text and name end in a zero and outlive the call, which copies them; there are no headers.
        let code = unsafe { (library.api.create)(&mut program, text.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null()) };
        check("nvrtcCreateProgram", code)?;
        let program = Handle { open: library, program };
        // SAFETY: a program just created; the flags end in zeros and are as many as is said.
        let compiled = unsafe { (library.api.compile)(program.program, flags.len() as c_int, flags.as_ptr()) };
        let mut size = 0;
        // SAFETY: a place for one size.
        check("nvrtcGetProgramLogSize", unsafe { (library.api.log_size)(program.program, &mut size) })?;
        let mut log = vec![0u8; size];
        if size > 0 {
            // SAFETY: as many bytes as the library says that it writes.
            check("nvrtcGetProgramLog", unsafe { (library.api.log)(program.program, log.as_mut_ptr().cast()) })?;
        }
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_string();
        match compiled {
            SUCCESS => {}
            COMPILATION => return Ok(Outcome::Refused(log)),
            code => return Err(fail("nvrtcCompileProgram", format!("{}: {}", library.explain(code), log.trim()))),
        }
        let (size_call, size_of, call, get) = match product {
            Product::Cubin => ("nvrtcGetCUBINSize", library.api.cubin_size, "nvrtcGetCUBIN", library.api.cubin),
            Product::Ptx => ("nvrtcGetPTXSize", library.api.ptx_size, "nvrtcGetPTX", library.api.ptx),
        };
        // SAFETY: a place for one size.
        check(size_call, unsafe { size_of(program.program, &mut size) })?;
        let mut bytes = vec![0u8; size];
        if size == 0 {
            return Err(fail(size_call, "the result is empty".into()));
        }
        // SAFETY: as many bytes as the library says that it writes.
        check(call, unsafe { get(program.program, bytes.as_mut_ptr().cast()) })?;
        Ok(Outcome::Done(bytes, log))
    }
}

/// Flags of every compilation.
fn flags(architecture: u32, line_info: bool) -> Vec<String> {
    let mut out: Vec<String> = vec![
        format!("--gpu-architecture=sm_{architecture}"),
        "--std=c++17".into(),
        // A product and a sum stay two roundings; the text says `fma` where it means one.
        "--fmad=false".into(),
        // Registers and spills of every kernel, in the log.
        "--ptxas-options=-v".into(),
    ];
    if line_info {
        out.push("--generate-line-info".into());
    }
    out
}

/// A lock that survives a panic of another holder: a slot is written in one statement.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where the cache remembers the version that was used last.
fn last_version_key() -> Key {
    Key::of_texts("nvrtc-version", &["last"])
}

/// Version of a library, remembered by path, size and time of change, so that a warm start need not open 100 MB; the open library when it had to be asked.
fn identify(cache: &Cache, path: &Path) -> Result<(Version, Option<Arc<Open>>), CudaError> {
    let remembered = fs::metadata(path).ok().and_then(|metadata| {
        let changed = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let path = fs::canonicalize(path).ok()?;
        let stamp = format!("{} {}", metadata.len(), changed.as_nanos());
        Some(Key::of_texts("nvrtc-version", &[&path.to_string_lossy(), &stamp]))
    });
    let known = |key: &Key| cache.find(key).and_then(|text| Version::parse(std::str::from_utf8(&text).ok()?));
    if let Some(version) = remembered.as_ref().and_then(known) {
        return Ok((version, None));
    }
    let open = Arc::new(Open::new(path)?);
    if let Some(key) = &remembered {
        cache.store(key, open.version.to_string().into_bytes());
    }
    Ok((open.version, Some(open)))
}

/// Saves text that does not compile, beside the cache or else among temporary files, under the hash of its content; the oldest go when there are many.
fn save_failed(cache: &Cache, text: &str) -> Option<PathBuf> {
    let base = match cache.state() {
        State::Disk(directory) => directory.join("failed"),
        State::Memory { .. } => std::env::temp_dir().join("scatterc-failed"),
    };
    fs::create_dir_all(&base).ok()?;
    let stem = blake3::hash(text.as_bytes()).to_hex().to_string();
    let path = base.join(format!("{}.cu", &stem[..16]));
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let partial = base.join(format!("{}-{}-{}.partial", &stem[..16], std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)).ok()?;
    let mut kept: Vec<_> = fs::read_dir(&base)
        .ok()?
        .flatten()
        .filter(|entry| entry.path() != path)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    for (_, old) in kept.iter().take(kept.len().saturating_sub(FAILED_LIMIT - 1)) {
        let _ = fs::remove_file(old);
    }
    Some(path)
}

/// Libraries that might do, best first; every place that was looked in is noted.
fn candidates(cache: &Cache, looked: &mut Vec<String>) -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut out = Vec::new();
    if let Some(directory) = set("SCATTERC_NVRTC_DIR") {
        looked.push(format!("{} (SCATTERC_NVRTC_DIR)", directory.display()));
        out.extend(libraries_in(&directory));
        return out;
    }
    let mut places: Vec<(PathBuf, &str)> = Vec::new();
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = set(name) {
            let target = format!("targets/{}-linux/lib", std::env::consts::ARCH);
            places.extend(["lib64", "lib", &target].map(|folder| (home.join(folder), name)));
        }
    }
    if let Some(prefix) = set("CONDA_PREFIX") {
        places.push((prefix.join("lib"), "CONDA_PREFIX"));
    }
    if let State::Disk(directory) = cache.state() {
        places.push((directory.join("nvrtc"), "the cache directory"));
    }
    let packages = python_packages();
    for packages in &packages {
        places.push((packages.join("nvidia/cu13/lib"), "Python"));
        places.push((packages.join("nvidia/cuda_nvrtc/lib"), "Python"));
    }
    let mut toolkits = vec![PathBuf::from("/usr/local/cuda"), PathBuf::from("/opt/cuda")];
    let versioned = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda-"));
    let mut found: Vec<PathBuf> = children(Path::new("/usr/local")).into_iter().filter(versioned).collect();
    found.reverse();
    toolkits.extend(found);
    places.extend(toolkits.into_iter().map(|toolkit| (toolkit.join("lib64"), "usual")));
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    places.extend([multiarch.as_str(), "/usr/lib64", "/usr/lib"].map(|folder| (PathBuf::from(folder), "usual")));
    for (directory, why) in places {
        let found = libraries_in(&directory);
        match why {
            _ if !found.is_empty() => {}
            // There may be dozens of them, two for each interpreter; they are named together below.
            "Python" => {}
            "usual" => looked.push(directory.display().to_string()),
            why => looked.push(format!("{} ({why})", directory.display())),
        }
        out.extend(found);
    }
    if !packages.is_empty() {
        let packages: Vec<String> = packages.iter().map(|path| path.display().to_string()).collect();
        looked.push(format!("nvidia/cu13/lib and nvidia/cuda_nvrtc/lib of the Python packages in {}", packages.join(" and ")));
    }
    // Bare names: the dynamic loader searches LD_LIBRARY_PATH and its own cache.
    looked.push("the dynamic loader's search (LD_LIBRARY_PATH)".into());
    out.extend(["libnvrtc.so.13", "libnvrtc.so.12"].map(PathBuf::from));
    out
}

/// Entries of a folder, sorted; none where it cannot be read.
fn children(directory: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
    out.sort();
    out
}

/// `libnvrtc.so.<major>` of a folder, newest first.
fn libraries_in(directory: &Path) -> Vec<PathBuf> {
    let major = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("libnvrtc.so.")?.parse::<u32>().ok();
    let mut out: Vec<(u32, PathBuf)> = children(directory).into_iter().filter_map(|path| Some((major(&path)?, path))).collect();
    out.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    out.into_iter().map(|(_, path)| path).collect()
}

/// Folders of Python packages: of the active environments, of the interpreters on the path (which are not run), and of the user.
fn python_packages() -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = Vec::new();
    prefixes.extend(["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os).map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path) {
        let Some(prefix) = directory.parent() else { continue };
        // pyenv puts small scripts on the path; its interpreters lie beside them.
        if directory.ends_with("shims") {
            prefixes.extend(children(&prefix.join("versions")));
        } else if directory.join("python3").exists() {
            prefixes.push(prefix.into());
        }
    }
    if let Some(home) = std::env::home_dir() {
        prefixes.push(home.join(".local"));
    }
    let mut out: Vec<PathBuf> = Vec::new();
    for prefix in prefixes {
        for version in children(&prefix.join("lib")) {
            if !version.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")) {
                continue;
            }
            for folder in ["site-packages", "dist-packages"] {
                // One folder may be on the path under several names.
                let Ok(packages) = fs::canonicalize(version.join(folder)) else { continue };
                if !out.contains(&packages) {
                    out.push(packages);
                }
            }
        }
    }
    out
}
