//! The device: context, modules, one arena, tables, and a fixed list of launches that is replayed as a CUDA graph.
//!
//! All work goes to one stream of its own, so launches run in order and nothing waits for other users of the device. The launches are captured once, those of each procedure
//! too; a run is one call of the driver. Transfers go through two page-locked buffers, so that copying on the host and the bus overlap. Device memory is held by address, never by the
//! driver library's safe slices: those record events of their own, which a capture refuses.
//!
//! Written against the documentation of the driver API, `https://docs.nvidia.com/cuda/cuda-driver-api/`.

use super::nvrtc::{Compiler, Cubin, Options, Resources, Version};
use super::{CudaError, Launch, Machine, MachineMemory, Settings, in_arena, is_procedure};
use crate::tables::Cache;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_void};
use std::sync::{Arc, OnceLock};

/// The oldest driver that has all functions used here, but the newest form of event times.
const OLDEST_DRIVER: Version = Version { major: 12, minor: 0 };
/// Size of each of the two transfer buffers.
const STAGE_BYTES: usize = 4 << 20;
/// Tables begin at multiples of this; it is also what the allocator of the driver gives.
const TABLE_ALIGN: usize = 256;
/// Shared memory, static and dynamic, that a block may have without asking.
const UNASKED_SHARED: u32 = 48 << 10;

/// Functions of the driver used here. The bindings look each up when it is first called and panic where it is missing, so all are asked for before.
const FUNCTIONS: &[&str] = &[
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventRecordWithFlags",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// Codes after which a context is of no use any more: every later call returns the same.
const LOST: &[sys::CUresult] = &[
    sys::CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE,
    sys::CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
    sys::CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE,
    sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    sys::CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
    sys::CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    sys::CUresult::CUDA_ERROR_ASSERT,
    sys::CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
    sys::CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    sys::CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    sys::CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    sys::CUresult::CUDA_ERROR_INVALID_PC,
    sys::CUresult::CUDA_ERROR_LAUNCH_FAILED,
    sys::CUresult::CUDA_ERROR_EXTERNAL_DEVICE,
    sys::CUresult::CUDA_ERROR_UNKNOWN,
];

/// Names the driver's code and says what it means.
fn fail(call: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |DriverError(code)| {
        let explanation = DriverError(code).error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let message = format!("{code:?}: {explanation}");
        if LOST.contains(&code) { CudaError::DeviceLost { call, message } } else { CudaError::Driver { call, message } }
    }
}

/// As [`fail`], but says what did not fit when memory is exhausted.
fn fail_to_get(call: &'static str, what: &'static str, bytes: usize) -> impl Fn(DriverError) -> CudaError {
    move |error| {
        if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return fail(call)(error);
        }
        let (free_bytes, total_bytes) = result::mem_get_info().unwrap_or((0, 0));
        CudaError::OutOfMemory { what, bytes, free_bytes, total_bytes }
    }
}

/// A device as the driver describes it.
///
/// ```
/// use scatterc_runtime::cuda::driver::devices;
///
/// for device in devices().unwrap_or_default() {
///     assert!(device.multiprocessors > 0 && device.total_bytes > 0, "{device:?}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability: major version times 10 plus minor version.
    pub capability: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Memory.
    pub total_bytes: u64,
    /// Second-level cache.
    pub l2_bytes: u64,
    /// Shared memory that a block can ask for.
    pub shared_bytes: u32,
}

/// The CUDA version that the driver supports, after it was found to have all functions and was initialised. Error: none, too old, broken.
///
/// ```
/// use scatterc_runtime::cuda::driver::driver_version;
///
/// // Where there is no driver, the error says what to do.
/// match driver_version() {
///     Ok(version) => assert!(version.major >= 12),
///     Err(error) => assert!(!error.to_string().is_empty()),
/// }
/// ```
pub fn driver_version() -> Result<Version, CudaError> {
    static VERSION: OnceLock<Result<Version, CudaError>> = OnceLock::new();
    VERSION.get_or_init(initialise).clone()
}

fn initialise() -> Result<Version, CudaError> {
    // SAFETY: opens the library to see whether it is there; its initialisers have no requirements.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    // SAFETY: the library is present, so this does not panic.
    let library = unsafe { sys::culib() };
    // SAFETY: only looked up, not called.
    let has = |name: &str| unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok();
    let mut number = 0;
    if has("cuDriverGetVersion") {
        // SAFETY: a place for one integer; this call needs no initialisation.
        unsafe { sys::cuDriverGetVersion(&mut number) }.result().map_err(fail("cuDriverGetVersion"))?;
    }
    // 13000 is 13.0, 12080 is 12.8.
    let number = number.unsigned_abs();
    let version = Version { major: number / 1000, minor: number % 1000 / 10 };
    let too_old = |why: String| CudaError::OldDriver { found: version.to_string(), expected: OLDEST_DRIVER.to_string(), why };
    if version < OLDEST_DRIVER {
        return Err(too_old("captured graphs are used".into()));
    }
    if let Some(missing) = FUNCTIONS.iter().find(|name| !has(name)) {
        return Err(too_old(format!("it has no {missing}")));
    }
    match result::init() {
        Ok(()) => Ok(version),
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Err(CudaError::NoDevice { ordinal: 0, found: 0 }),
        Err(e) => Err(fail("cuInit")(e)),
    }
}

/// All devices. Error: as [`driver_version`].
///
/// ```
/// use scatterc_runtime::cuda::driver::devices;
///
/// let ordinals: Vec<usize> = devices().unwrap_or_default().iter().map(|device| device.ordinal).collect();
/// assert_eq!(ordinals, (0..ordinals.len()).collect::<Vec<_>>());
/// ```
pub fn devices() -> Result<Vec<Description>, CudaError> {
    driver_version()?;
    (0..count()?).map(describe).collect()
}

fn count() -> Result<usize, CudaError> {
    Ok(usize::try_from(result::device::get_count().map_err(fail("cuDeviceGetCount"))?).unwrap_or(0))
}

fn handle(ordinal: usize) -> Result<sys::CUdevice, CudaError> {
    result::device::get(i32::try_from(ordinal).unwrap_or(i32::MAX)).map_err(fail("cuDeviceGet"))
}

fn describe(ordinal: usize) -> Result<Description, CudaError> {
    use sys::CUdevice_attribute as Attribute;
    let device = handle(ordinal)?;
    // SAFETY: a handle that the driver gave.
    let get = |attribute| unsafe { result::device::get_attribute(device, attribute) }.map_err(fail("cuDeviceGetAttribute"));
    let get = |attribute| get(attribute).map(i32::unsigned_abs);
    Ok(Description {
        ordinal,
        name: result::device::get_name(device).map_err(fail("cuDeviceGetName"))?,
        capability: 10 * get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        multiprocessors: get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        // SAFETY: a handle that the driver gave.
        total_bytes: unsafe { result::device::total_mem(device) }.map_err(fail("cuDeviceTotalMem"))? as u64,
        l2_bytes: u64::from(get(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        shared_bytes: get(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    })
}

/// An open device: its primary context, which other users of the device in this process share.
///
/// ```no_run
/// use scatterc_runtime::cuda::driver::Device;
///
/// let device = Device::open(0)?;
/// println!("{}, CUDA {}", device.description().name, device.driver());
/// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
/// ```
#[derive(Debug)]
pub struct Device {
    description: Description,
    driver: Version,
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: a context may be used from any thread that makes it current, which every call here does first.
unsafe impl Send for Device {}
// SAFETY: as above; nothing is changed after opening.
unsafe impl Sync for Device {}

impl Device {
    /// Opens a device. Error: none, a driver that is absent or too old, a device that refuses.
    ///
    /// ```
    /// use scatterc_runtime::cuda::driver::Device;
    ///
    /// assert!(Device::open(1 << 20).is_err(), "no computer has that many");
    /// ```
    pub fn open(ordinal: usize) -> Result<Arc<Device>, CudaError> {
        let driver = driver_version()?;
        let found = count()?;
        if ordinal >= found {
            return Err(CudaError::NoDevice { ordinal, found });
        }
        let (description, device) = (describe(ordinal)?, handle(ordinal)?);
        // SAFETY: a handle that the driver gave; released when the device is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(fail_to_get("cuDevicePrimaryCtxRetain", "a context", 0))?;
        Ok(Arc::new(Device { description, driver, device, context }))
    }

    /// What it is.
    ///
    /// ```no_run
    /// use scatterc_runtime::cuda::driver::Device;
    ///
    /// assert_eq!(Device::open(0)?.description().ordinal, 0);
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The CUDA version that its driver supports.
    ///
    /// ```no_run
    /// use scatterc_runtime::cuda::driver::{Device, driver_version};
    ///
    /// assert_eq!(Device::open(0)?.driver(), driver_version()?);
    /// # Ok::<(), scatterc_runtime::cuda::CudaError>(())
    /// ```
    pub fn driver(&self) -> Version {
        self.driver
    }

    /// Makes its context that of the calling thread.
    fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(fail("cuCtxSetCurrent"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`; whatever was made in the context holds an `Arc` of this. There is nobody to tell about a failure.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// A launch with its function looked up and checked.
struct Prepared {
    launch: Launch,
    function: sys::CUfunction,
    resources: Resources,
}

/// A page-locked buffer, and the event of the last transfer that uses it.
struct Stage {
    buffer: *mut u8,
    event: sys::CUevent,
}

/// A page-locked buffer for one copy out of the arena, its size, the event behind the copy, and how long that is.
struct Fetch {
    buffer: *mut u8,
    room: usize,
    event: sys::CUevent,
    len: usize,
}

/// What one launch occupies, for reports.
///
/// ```no_run
/// # use scatterc_runtime::cuda::driver::CudaMachine;
/// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
/// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
/// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
/// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
/// let mut machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
/// let report = &machine.launches()?[0];
/// println!("{}: {} registers, {} blocks per multiprocessor", report.launch.kernel, report.resources.registers, report.resident_blocks);
/// # Ok::<(), CudaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchReport {
    /// The launch.
    pub launch: Launch,
    /// What the compiler says about its kernel.
    pub resources: Resources,
    /// Blocks that one multiprocessor holds at a time.
    pub resident_blocks: u32,
}

/// Launches and the graph that replays them; null where there is none.
struct Procedure {
    launches: Vec<Prepared>,
    graph: sys::CUgraphExec,
}

/// A device with an arena, tables and launches.
///
/// ```no_run
/// # use scatterc_runtime::cuda::driver::CudaMachine;
/// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
/// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
/// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
/// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
/// let mut machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
/// machine.upload(0, &1.5f64.to_le_bytes())?;
/// machine.run()?;
/// let mut bytes = [0; 8];
/// machine.download(0, &mut bytes)?;
/// assert_eq!(f64::from_le_bytes(bytes), 3.0);
/// # Ok::<(), CudaError>(())
/// ```
pub struct CudaMachine {
    device: Arc<Device>,
    stream: sys::CUstream,
    arena: sys::CUdeviceptr,
    arena_bytes: usize,
    tables: sys::CUdeviceptr,
    tables_bytes: usize,
    modules: Vec<sys::CUmodule>,
    /// The launches of the plan.
    main: Procedure,
    procedures: Vec<Procedure>,
    /// Those of the plan with an event before and after every launch; made when it is first asked for.
    timed_graph: sys::CUgraphExec,
    events: Vec<sys::CUevent>,
    stages: Vec<Stage>,
    /// Copies on their way, oldest first, and buffers for further ones.
    fetches: VecDeque<Fetch>,
    spare: Vec<Fetch>,
    compiler: Version,
    /// Set when the device failed; every later call says so again.
    lost: Option<CudaError>,
}

// SAFETY: the handles belong to the device's context, which each method makes current on its thread; methods that use them take `&mut self` or only read.
unsafe impl Send for CudaMachine {}

impl std::fmt::Debug for CudaMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaMachine").field("device", &self.device.description).field("launches", &self.main.launches.len()).finish_non_exhaustive()
    }
}

impl CudaMachine {
    /// As [`super::open`], without procedures.
    ///
    /// ```no_run
    /// # use scatterc_runtime::cuda::driver::CudaMachine;
    /// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
    /// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
    /// let machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
    /// assert_eq!(machine.memory()?.arena_bytes, 32);
    /// # Ok::<(), CudaError>(())
    /// ```
    pub fn new(
        sources: &[String],
        launches: &[Launch],
        arena_bytes: usize,
        tables: &[Vec<u8>],
        settings: &Settings,
    ) -> Result<CudaMachine, CudaError> {
        Self::with_procedures(sources, launches, &[], arena_bytes, tables, settings)
    }

    /// As [`super::open`]. Device time is spent only after everything that can be checked without it was.
    ///
    /// ```no_run
    /// # use scatterc_runtime::cuda::driver::CudaMachine;
    /// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
    /// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
    /// // Nothing runs with the plan; procedure 0 doubles.
    /// let mut machine = CudaMachine::with_procedures(&[text], &[], &[vec![launch]], 32, &[], &Settings::default())?;
    /// machine.start(0)?;
    /// # Ok::<(), CudaError>(())
    /// ```
    pub fn with_procedures(
        sources: &[String],
        launches: &[Launch],
        procedures: &[Vec<Launch>],
        arena_bytes: usize,
        tables: &[Vec<u8>],
        settings: &Settings,
    ) -> Result<CudaMachine, CudaError> {
        let device = Device::open(settings.device)?;
        let cache = settings.cache.clone().unwrap_or_else(Cache::global);
        let compiler = Compiler::find(cache, Some(device.driver))?;
        let options = Options { line_info: settings.line_info, threads: settings.threads, ..Options::new(device.description.capability) };
        let cubins = compiler.compile(sources, &options)?;
        let homes = homes(&cubins)?;
        let lists: Vec<&[Launch]> = std::iter::once(launches).chain(procedures.iter().map(Vec::as_slice)).collect();
        lists.iter().try_for_each(|list| check(list, &homes, &cubins, &device.description))?;
        let mut machine = CudaMachine::empty(device, compiler.version())?;
        let mut prepared = machine.load(&cubins, &lists, &homes)?.into_iter();
        machine.allocate(arena_bytes, tables)?;
        machine.main.launches = prepared.next().unwrap_or_default();
        machine.main.graph = machine.capture(&machine.main.launches, &[])?;
        for launches in prepared {
            let graph = machine.capture(&launches, &[])?;
            machine.procedures.push(Procedure { launches, graph });
        }
        machine.synchronize()?;
        Ok(machine)
    }

    /// A machine with a stream and transfer buffers; what is added later is released with it.
    fn empty(device: Arc<Device>, compiler: Version) -> Result<CudaMachine, CudaError> {
        let mut machine = CudaMachine {
            device,
            stream: std::ptr::null_mut(),
            arena: 0,
            arena_bytes: 0,
            tables: 0,
            tables_bytes: 0,
            modules: Vec::new(),
            main: Procedure { launches: Vec::new(), graph: std::ptr::null_mut() },
            procedures: Vec::new(),
            timed_graph: std::ptr::null_mut(),
            events: Vec::new(),
            stages: Vec::new(),
            fetches: VecDeque::new(),
            spare: Vec::new(),
            compiler,
            lost: None,
        };
        machine.device.make_current()?;
        machine.stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(fail("cuStreamCreate"))?;
        for _ in 0..2 {
            // SAFETY: no flags; freed when the machine is dropped.
            let buffer = unsafe { result::malloc_host(STAGE_BYTES, 0) };
            let buffer = buffer.map_err(fail_to_get("cuMemHostAlloc", "a page-locked transfer buffer", STAGE_BYTES))?.cast();
            machine.stages.push(Stage { buffer, event: std::ptr::null_mut() });
            let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fail("cuEventCreate"))?;
            machine.stages.last_mut().expect("pushed above").event = event;
        }
        Ok(machine)
    }

    /// Loads all programs, looks the functions up and allows them their shared memory.
    fn load(&mut self, cubins: &[Cubin], lists: &[&[Launch]], homes: &BTreeMap<String, usize>) -> Result<Vec<Vec<Prepared>>, CudaError> {
        use sys::CUfunction_attribute as Attribute;
        for cubin in cubins {
            // SAFETY: a whole cubin; the driver copies what it needs before it returns.
            let module = unsafe { result::module::load_data(cubin.bytes.as_ptr().cast()) };
            self.modules.push(module.map_err(fail_to_get("cuModuleLoadData", "machine code", cubin.bytes.len()))?);
        }
        let mut shared: BTreeMap<&str, u32> = BTreeMap::new();
        for launch in lists.iter().copied().flatten() {
            let most = shared.entry(&launch.kernel).or_default();
            *most = launch.shared.max(*most);
        }
        let mut functions: BTreeMap<&str, (sys::CUfunction, Resources, u32)> = BTreeMap::new();
        for (kernel, most) in shared {
            let home = homes[kernel];
            let name = CString::new(kernel).expect("a name from the compiler's log holds no zero");
            // SAFETY: a module loaded above that has the kernel.
            let function = unsafe { result::module::get_function(self.modules[home], name) }.map_err(fail("cuModuleGetFunction"))?;
            // Asking for an attribute also loads a function that the driver would otherwise load at its first launch, where a capture would refuse it.
            // SAFETY: a function just looked up.
            let threads = unsafe { result::function::get_function_attribute(function, Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) };
            let threads = threads.map_err(fail("cuFuncGetAttribute"))?.unsigned_abs();
            let resources = cubins[home].kernels.iter().find(|r| r.kernel == kernel).cloned().unwrap_or_default();
            if most + resources.shared > UNASKED_SHARED {
                let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: as above; the size was checked against what the device has.
                unsafe { result::function::set_function_attribute(function, attribute, most as i32) }.map_err(fail("cuFuncSetAttribute"))?;
            }
            functions.insert(kernel, (function, resources, threads));
        }
        let prepare = |(position, launch): (usize, &Launch)| {
            let (function, resources, threads) = functions[launch.kernel.as_str()].clone();
            if launch.block > threads {
                let what = "threads of a block with the registers of this kernel";
                return Err(refuse(position, launch, what, format!("at most {threads}"), launch.block));
            }
            Ok(Prepared { launch: launch.clone(), function, resources })
        };
        lists.iter().map(|list| list.iter().enumerate().map(prepare).collect()).collect()
    }

    /// The arena, and one block of memory that begins with the addresses of the tables.
    fn allocate(&mut self, arena_bytes: usize, tables: &[Vec<u8>]) -> Result<(), CudaError> {
        let size = arena_bytes.max(TABLE_ALIGN);
        // SAFETY: freed when the machine is dropped.
        self.arena = unsafe { result::malloc_sync(size) }.map_err(fail_to_get("cuMemAlloc", "the arena", size))?;
        self.arena_bytes = arena_bytes;
        // SAFETY: the whole of the memory just had.
        unsafe { result::memset_d8_async(self.arena, 0, size, self.stream) }.map_err(fail("cuMemsetD8Async"))?;
        let (offsets, total) = table_offsets(tables);
        // SAFETY: freed when the machine is dropped.
        self.tables = unsafe { result::malloc_sync(total) }.map_err(fail_to_get("cuMemAlloc", "the tables", total))?;
        self.tables_bytes = total;
        let addresses: Vec<u8> = offsets.iter().flat_map(|offset| (self.tables + *offset as u64).to_le_bytes()).collect();
        self.send(self.tables, &addresses)?;
        for (offset, table) in offsets.iter().zip(tables) {
            self.send(self.tables + *offset as u64, table)?;
        }
        Ok(())
    }

    /// Captures launches, and records of the events around them where there are any, as a graph that is ready to run; null for no launch. Nothing runs.
    fn capture(&self, launches: &[Prepared], events: &[sys::CUevent]) -> Result<sys::CUgraphExec, CudaError> {
        if launches.is_empty() {
            return Ok(std::ptr::null_mut());
        }
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: a stream of our own that is not being captured.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(fail("cuStreamBeginCapture"))?;
        let captured = self.launch_all(launches, events);
        // The capture must end whatever happened in it.
        // SAFETY: the capture begun above, on the same thread.
        let ended = unsafe { result::stream::end_capture(self.stream) };
        let graph = match (captured, ended) {
            (Ok(()), Ok(graph)) => graph,
            (Ok(()), Err(e)) => return Err(fail("cuStreamEndCapture")(e)),
            (Err(e), ended) => {
                if let Ok(graph) = ended {
                    // SAFETY: what was captured before the failure. The failure is what is reported.
                    let _ = unsafe { result::graph::destroy(graph) };
                }
                return Err(e);
            }
        };
        let mut executable = std::ptr::null_mut();
        // SAFETY: the graph just captured, and a place for its executable form. No flags.
        let instantiated = unsafe { sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0) }.result();
        // SAFETY: the executable form is a copy; the graph is used no more. A graph that cannot be destroyed harms nobody.
        let _ = unsafe { result::graph::destroy(graph) };
        instantiated.map_err(fail_to_get("cuGraphInstantiate", "the graph of launches", 0))?;
        // SAFETY: the executable graph and the stream that it will run on.
        let uploaded = unsafe { result::graph::upload(executable, self.stream) };
        uploaded.map(|()| executable).map_err(|e| {
            // SAFETY: made above and known to nobody else.
            let _ = unsafe { result::graph::exec_destroy(executable) };
            fail("cuGraphUpload")(e)
        })
    }

    /// All launches onto the stream; where there are events, the first is recorded before and one after each launch.
    fn launch_all(&self, launches: &[Prepared], events: &[sys::CUevent]) -> Result<(), CudaError> {
        // Within a capture an event is a node of the graph only if it is declared external; else it would merely order work.
        let external = sys::CUevent_record_flags::CU_EVENT_RECORD_EXTERNAL as u32;
        // SAFETY: event and stream are our own.
        let record = |event| unsafe { sys::cuEventRecordWithFlags(event, self.stream, external) }.result().map_err(fail("cuEventRecordWithFlags"));
        events.first().map_or(Ok(()), |event| record(*event))?;
        for (position, prepared) in launches.iter().enumerate() {
            self.launch(prepared)?;
            events.get(position + 1).map_or(Ok(()), |event| record(*event))?;
        }
        Ok(())
    }

    fn launch(&self, prepared: &Prepared) -> Result<(), CudaError> {
        let Launch { grid, block, shared, .. } = prepared.launch;
        let (mut arena, mut tables) = (self.arena, self.tables);
        let mut arguments: [*mut c_void; 2] = [(&raw mut arena).cast(), (&raw mut tables).cast()];
        // SAFETY: every kernel takes two addresses; the driver copies them before it returns. Sizes were checked when the machine was made. That kernels stay within
        // arena and tables is the promise of whoever wrote them.
        unsafe { result::launch_kernel(prepared.function, (grid, 1, 1), (block, 1, 1), shared, self.stream, &mut arguments) }
            .map_err(fail("cuLaunchKernel"))
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: a stream of our own.
        unsafe { result::stream::synchronize(self.stream) }.map_err(fail("cuStreamSynchronize"))
    }

    /// Copies to the device, in order with everything else on the stream; may return before the copy is done, but not before `bytes` is free again.
    fn send(&mut self, to: sys::CUdeviceptr, bytes: &[u8]) -> Result<(), CudaError> {
        for (k, chunk) in bytes.chunks(STAGE_BYTES).enumerate() {
            let stage = &self.stages[k % self.stages.len()];
            // SAFETY: an event of our own; one that was never recorded is past.
            unsafe { result::event::synchronize(stage.event) }.map_err(fail("cuEventSynchronize"))?;
            // SAFETY: the buffer has STAGE_BYTES bytes, at least those of the chunk, and no transfer uses it.
            let staged = unsafe {
                std::ptr::copy_nonoverlapping(chunk.as_ptr(), stage.buffer, chunk.len());
                std::slice::from_raw_parts(stage.buffer, chunk.len())
            };
            let at = to + (k * STAGE_BYTES) as u64;
            // SAFETY: the caller's range lies in an allocation of ours; the buffer is not touched before its event is past.
            unsafe { result::memcpy_htod_async(at, staged, self.stream) }.map_err(fail("cuMemcpyHtoDAsync"))?;
            // SAFETY: event and stream are our own.
            unsafe { result::event::record(stage.event, self.stream) }.map_err(fail("cuEventRecord"))?;
        }
        Ok(())
    }

    /// Copies from the device, after everything on the stream; while one chunk is on the bus, the one before is copied out.
    fn receive(&mut self, bytes: &mut [u8], from: sys::CUdeviceptr) -> Result<(), CudaError> {
        let count = bytes.len().div_ceil(STAGE_BYTES);
        for k in 0..=count {
            if k < count {
                let stage = &self.stages[k % self.stages.len()];
                let length = STAGE_BYTES.min(bytes.len() - k * STAGE_BYTES);
                // SAFETY: the buffer has STAGE_BYTES bytes; what was in it was copied out a round ago, or is ordered before this on the stream.
                let staged = unsafe { std::slice::from_raw_parts_mut(stage.buffer, length) };
                // SAFETY: the caller's range lies in an allocation of ours.
                unsafe { result::memcpy_dtoh_async(staged, from + (k * STAGE_BYTES) as u64, self.stream) }.map_err(fail("cuMemcpyDtoHAsync"))?;
                // SAFETY: event and stream are our own.
                unsafe { result::event::record(stage.event, self.stream) }.map_err(fail("cuEventRecord"))?;
            }
            if k > 0 {
                let stage = &self.stages[(k - 1) % self.stages.len()];
                // SAFETY: an event of our own.
                unsafe { result::event::synchronize(stage.event) }.map_err(fail("cuEventSynchronize"))?;
                let chunk = bytes.chunks_mut(STAGE_BYTES).nth(k - 1).expect("one chunk per round");
                // SAFETY: the transfer into the buffer is done, and it was as long as the chunk.
                unsafe { std::ptr::copy_nonoverlapping(stage.buffer, chunk.as_mut_ptr(), chunk.len()) };
            }
        }
        Ok(())
    }

    /// Starts a copy from the arena into a buffer of its own.
    fn fetch_from(&mut self, byte_offset: usize, len: usize) -> Result<(), CudaError> {
        let place = match self.spare.iter().position(|fetch| fetch.room >= len) {
            Some(place) => place,
            None => {
                let room = len.next_multiple_of(4096).max(4096);
                // SAFETY: no flags; freed when the machine is dropped.
                let buffer = unsafe { result::malloc_host(room, 0) };
                let buffer = buffer.map_err(fail_to_get("cuMemHostAlloc", "a page-locked transfer buffer", room))?.cast();
                self.spare.push(Fetch { buffer, room, event: std::ptr::null_mut(), len: 0 });
                let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fail("cuEventCreate"))?;
                self.spare.last_mut().expect("pushed above").event = event;
                self.spare.len() - 1
            }
        };
        let Fetch { buffer, event, .. } = self.spare[place];
        // SAFETY: the buffer has `room` bytes, at least `len`, and no transfer uses it: what was in it was collected.
        let staged = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
        // SAFETY: the caller's range lies in the arena; the buffer is not touched before its event is past.
        unsafe { result::memcpy_dtoh_async(staged, self.arena + byte_offset as u64, self.stream) }.map_err(fail("cuMemcpyDtoHAsync"))?;
        // SAFETY: event and stream are our own.
        unsafe { result::event::record(event, self.stream) }.map_err(fail("cuEventRecord"))?;
        let fetch = self.spare.swap_remove(place);
        self.fetches.push_back(Fetch { len, ..fetch });
        Ok(())
    }

    /// Waits for the oldest copy and hands it over.
    fn collect_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), CudaError> {
        bytes.clear();
        let Some(fetch) = self.fetches.front() else { return Ok(()) };
        // SAFETY: an event of our own.
        unsafe { result::event::synchronize(fetch.event) }.map_err(fail("cuEventSynchronize"))?;
        // SAFETY: the transfer of `len` bytes into the buffer is done.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(fetch.buffer, fetch.len) });
        self.spare.extend(self.fetches.pop_front());
        Ok(())
    }

    /// Starts a graph; nothing where there is none.
    fn begin(&self, graph: sys::CUgraphExec) -> Result<(), CudaError> {
        if graph.is_null() {
            return Ok(());
        }
        // SAFETY: an executable graph of our own; it runs on one stream, so it never runs twice at a time.
        unsafe { result::graph::launch(graph, self.stream) }.map_err(fail("cuGraphLaunch"))
    }

    /// Runs a graph and waits for it.
    fn replay(&self, graph: sys::CUgraphExec) -> Result<(), CudaError> {
        self.begin(graph)?;
        self.synchronize()
    }

    /// The events are nodes of a second graph, so that no time of the host lies between them.
    fn timed(&mut self) -> Result<Vec<f64>, CudaError> {
        if self.main.launches.is_empty() {
            return Ok(Vec::new());
        }
        while self.events.len() <= self.main.launches.len() {
            self.events.push(result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(fail("cuEventCreate"))?);
        }
        if self.timed_graph.is_null() {
            self.timed_graph = self.capture(&self.main.launches, &self.events)?;
        }
        self.replay(self.timed_graph)?;
        self.events.windows(2).map(|pair| elapsed(pair[0], pair[1])).collect()
    }

    /// Does something on the device, unless it is lost; notes when it gets lost.
    fn guarded<T>(&mut self, action: impl FnOnce(&mut Self) -> Result<T, CudaError>) -> Result<T, CudaError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let done = self.device.make_current().and_then(|()| action(self));
        if let Err(lost @ CudaError::DeviceLost { .. }) = &done {
            self.lost = Some(lost.clone());
        }
        done
    }

    /// The device.
    ///
    /// ```no_run
    /// # use scatterc_runtime::cuda::driver::CudaMachine;
    /// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
    /// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
    /// let machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
    /// assert_eq!(machine.device().description().ordinal, 0);
    /// # Ok::<(), CudaError>(())
    /// ```
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Version of the compiler that made the machine code.
    ///
    /// ```no_run
    /// # use scatterc_runtime::cuda::driver::CudaMachine;
    /// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
    /// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
    /// let machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
    /// assert!(machine.compiler().major <= machine.device().driver().major);
    /// # Ok::<(), CudaError>(())
    /// ```
    pub fn compiler(&self) -> Version {
        self.compiler
    }

    /// Registers, spills, shared memory and occupancy of every launch. Error: a lost device.
    ///
    /// ```no_run
    /// # use scatterc_runtime::cuda::driver::CudaMachine;
    /// # use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings};
    /// # let text = r#"extern "C" __global__ void twice(double* arena, const void* const* tables) { arena[threadIdx.x] *= 2.0; }"#.to_string();
    /// # let launch = Launch { kernel: "twice".into(), grid: 1, block: 4, shared: 0 };
    /// // `text` holds a kernel that doubles four numbers, `launch` runs it once.
    /// let mut machine = CudaMachine::new(&[text], &[launch], 32, &[], &Settings::default())?;
    /// assert!(machine.launches()?.iter().all(|report| report.resources.spill_stores == 0));
    /// # Ok::<(), CudaError>(())
    /// ```
    pub fn launches(&mut self) -> Result<Vec<LaunchReport>, CudaError> {
        self.guarded(|machine| machine.main.launches.iter().map(report).collect())
    }
}

fn report(prepared: &Prepared) -> Result<LaunchReport, CudaError> {
    let Prepared { launch, function, resources } = prepared;
    // SAFETY: a function of a loaded module.
    let blocks = unsafe { result::occupancy::max_active_block_per_multiprocessor(*function, launch.block as i32, launch.shared as usize) };
    let resident_blocks = blocks.map_err(fail("cuOccupancyMaxActiveBlocksPerMultiprocessor"))?.unsigned_abs();
    Ok(LaunchReport { launch: launch.clone(), resources: resources.clone(), resident_blocks })
}

impl Machine for CudaMachine {
    fn name(&self) -> String {
        let Description { name, capability, multiprocessors, total_bytes, .. } = &self.device.description;
        let gib = *total_bytes as f64 / (1u64 << 30) as f64;
        format!("{name} (sm_{capability}, {multiprocessors} multiprocessors, {gib:.1} GiB)")
    }

    fn upload(&mut self, byte_offset: usize, bytes: &[u8]) -> Result<(), CudaError> {
        in_arena("upload", byte_offset, bytes.len(), self.arena_bytes)?;
        self.guarded(|machine| machine.send(machine.arena + byte_offset as u64, bytes))
    }

    fn download(&mut self, byte_offset: usize, bytes: &mut [u8]) -> Result<(), CudaError> {
        in_arena("download", byte_offset, bytes.len(), self.arena_bytes)?;
        self.guarded(|machine| machine.receive(bytes, machine.arena + byte_offset as u64))
    }

    fn fetch(&mut self, byte_offset: usize, len: usize) -> Result<(), CudaError> {
        in_arena("fetch", byte_offset, len, self.arena_bytes)?;
        self.guarded(|machine| machine.fetch_from(byte_offset, len))
    }

    fn collect(&mut self, bytes: &mut Vec<u8>) -> Result<(), CudaError> {
        self.guarded(|machine| machine.collect_into(bytes))
    }

    fn start(&mut self, procedure: usize) -> Result<(), CudaError> {
        is_procedure(procedure, self.procedures.len())?;
        self.guarded(|machine| machine.begin(machine.procedures[procedure].graph))
    }

    fn run(&mut self) -> Result<(), CudaError> {
        self.guarded(|machine| machine.replay(machine.main.graph))
    }

    fn run_timed(&mut self) -> Result<Vec<f64>, CudaError> {
        self.guarded(CudaMachine::timed)
    }

    fn memory(&self) -> Result<MachineMemory, CudaError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        self.device.make_current()?;
        let (free, total) = result::mem_get_info().map_err(fail("cuMemGetInfo"))?;
        Ok(MachineMemory {
            arena_bytes: self.arena_bytes as u64,
            tables_bytes: self.tables_bytes as u64,
            staging_bytes: (self.stages.len() * STAGE_BYTES + self.fetches.iter().chain(&self.spare).map(|fetch| fetch.room).sum::<usize>()) as u64,
            free_bytes: Some(free as u64),
            total_bytes: Some(total as u64),
        })
    }
}

impl Drop for CudaMachine {
    fn drop(&mut self) {
        // Failures have nobody to be told to: a lost device gives everything back when the process ends.
        if self.device.make_current().is_err() {
            return;
        }
        if !self.stream.is_null() {
            let _ = self.synchronize();
        }
        // SAFETY: each handle was made by this machine, is released once, and nothing on the stream uses it any more.
        unsafe {
            let graphs = self.procedures.iter().map(|procedure| procedure.graph);
            for graph in graphs.chain([self.main.graph, self.timed_graph]).filter(|graph| !graph.is_null()) {
                let _ = result::graph::exec_destroy(graph);
            }
            let fetches = || self.fetches.iter().chain(&self.spare);
            let events = self.events.iter().copied().chain(self.stages.iter().map(|stage| stage.event)).chain(fetches().map(|fetch| fetch.event));
            for event in events.filter(|event| !event.is_null()) {
                let _ = result::event::destroy(event);
            }
            for buffer in self.stages.iter().map(|stage| stage.buffer).chain(fetches().map(|fetch| fetch.buffer)) {
                let _ = result::free_host(buffer.cast());
            }
            for memory in [self.arena, self.tables].into_iter().filter(|memory| *memory != 0) {
                let _ = result::free_sync(memory);
            }
            for module in &self.modules {
                let _ = result::module::unload(*module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
        }
    }
}

/// Time between two events that are past, in milliseconds. Drivers before 12.8 know the function by its first name only.
fn elapsed(from: sys::CUevent, to: sys::CUevent) -> Result<f64, CudaError> {
    type Function = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
    static FUNCTION: OnceLock<Option<Function>> = OnceLock::new();
    let function = *FUNCTION.get_or_init(|| {
        // SAFETY: a machine exists, so the library is present; both functions have this type.
        let look_up = |name: &str| unsafe { sys::culib().get::<Function>(name.as_bytes()).ok().map(|f| *f) };
        look_up("cuEventElapsedTime_v2").or_else(|| look_up("cuEventElapsedTime"))
    });
    let missing = || CudaError::Driver { call: "cuEventElapsedTime", message: "the driver does not have it".into() };
    let function = function.ok_or_else(missing)?;
    let mut milliseconds = 0.0;
    // SAFETY: a place for one number, and two events that were recorded with timing.
    unsafe { function(&mut milliseconds, from, to) }.result().map_err(fail("cuEventElapsedTime"))?;
    Ok(f64::from(milliseconds))
}

/// Which program has each kernel. Error: two have it.
fn homes(cubins: &[Cubin]) -> Result<BTreeMap<String, usize>, CudaError> {
    let mut out = BTreeMap::new();
    for (second, cubin) in cubins.iter().enumerate() {
        for Resources { kernel, .. } in &cubin.kernels {
            if let Some(first) = out.insert(kernel.clone(), second) {
                return Err(CudaError::TwoKernels { kernel: kernel.clone(), first, second });
            }
        }
    }
    Ok(out)
}

fn refuse(launch: usize, which: &Launch, what: &'static str, expected: String, found: impl Into<u64>) -> CudaError {
    CudaError::Launch { launch, kernel: which.kernel.clone(), what, expected, found: found.into() }
}

/// Checks launches against the programs and the device.
fn check(launches: &[Launch], homes: &BTreeMap<String, usize>, cubins: &[Cubin], device: &Description) -> Result<(), CudaError> {
    for (position, launch) in launches.iter().enumerate() {
        let Some(home) = homes.get(&launch.kernel) else {
            return Err(CudaError::NoKernel { kernel: launch.kernel.clone(), found: homes.keys().cloned().collect() });
        };
        if !(1..=i32::MAX as u32).contains(&launch.grid) {
            return Err(refuse(position, launch, "blocks", format!("1 to {}", i32::MAX), launch.grid));
        }
        if !(1..=1024).contains(&launch.block) {
            return Err(refuse(position, launch, "threads of a block", "1 to 1024".into(), launch.block));
        }
        let fixed = cubins[*home].kernels.iter().find(|r| r.kernel == launch.kernel).map_or(0, |r| r.shared);
        let shared = u64::from(launch.shared) + u64::from(fixed);
        if shared > u64::from(device.shared_bytes) {
            let expected = format!("at most {}, of which the kernel has {fixed} by itself", device.shared_bytes);
            return Err(refuse(position, launch, "bytes of shared memory", expected, shared));
        }
    }
    Ok(())
}

/// Where tables begin behind the array of their addresses, and the size of all.
fn table_offsets(tables: &[Vec<u8>]) -> (Vec<usize>, usize) {
    let mut total = (8 * tables.len()).next_multiple_of(TABLE_ALIGN).max(TABLE_ALIGN);
    let mut offsets = Vec::with_capacity(tables.len());
    for table in tables {
        offsets.push(total);
        total += table.len().next_multiple_of(TABLE_ALIGN);
    }
    (offsets, total)
}
