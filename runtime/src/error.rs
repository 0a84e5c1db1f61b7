//! What loading and running can refuse.

use crate::cuda::CudaError;
use scatterc_ir::filter::FilterError;
use scatterc_kernels::KernelError;

/// Why a plan cannot be loaded.
///
/// ```
/// # use scatterc_runtime::{Cache, Executable, LoadError, Memory, Options, RunError};
/// # use std::sync::Arc;
/// # let plan = scatterc_ir::plan::parse("plan twice {
/// #   arena 16
/// #   input x = 0+4 : [4] point
/// #   output y = 8+4 : [4] point
/// #   step linear scale {by=2.0} bandlimits=[] (0+4 -> 8+4)
/// # }
/// # ").expect("a plan");
/// # let options = Options { threads: 1, cache: Some(Arc::new(Cache::in_memory())), ..Options::default() };
/// // A plan with one step, y = 2 x for four numbers.
/// let small = Options { memory: Some(10), ..options };
/// assert!(matches!(Executable::load(&plan, &small), Err(LoadError::Memory { limit: 10, .. })));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The plan breaks the rules of `scatterc_ir::plan::verify`.
    #[error("the plan is not valid: {}", faults.join("; "))]
    Plan {
        /// All faults found.
        faults: Vec<String>,
    },
    /// A length or a type does not fit the layouts of this device.
    #[error("step {step}: {what}: expected {expected}, found {found}")]
    Step {
        /// Position in `Plan::steps`.
        step: usize,
        /// What does not fit.
        what: String,
        /// What would.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A table that cannot be made for this plan.
    #[error("table {table}: expected {expected}, found {found}")]
    Table {
        /// Position in `Plan::tables`.
        table: usize,
        /// What would do.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A port does not fit its slot or its type is not supported.
    #[error("port `{port}`: expected {expected}, found {found}")]
    Port {
        /// Name of the port.
        port: String,
        /// What would fit.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Kernel text that is not accepted.
    #[error("kernel `{kernel}`, line {line}: {message}")]
    Kernel {
        /// Name of the kernel.
        kernel: String,
        /// 1-based line of its text; 0 when the fault has no line.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The code generator does not work on this machine.
    #[error("code generator: {message}")]
    Code {
        /// What it said.
        message: String,
    },
    /// A transform or table cannot be made.
    #[error("step {step}: {source}")]
    Transform {
        /// Position in `Plan::steps`.
        step: usize,
        /// Why.
        source: KernelError,
    },
    /// A filter bank that cannot be evaluated.
    #[error(transparent)]
    Filter {
        /// Why.
        #[from]
        source: FilterError,
    },
    /// Weights cannot be made.
    #[error("table {table}: {source}")]
    Weights {
        /// Position in `Plan::tables`.
        table: usize,
        /// Why.
        source: KernelError,
    },
    /// The grid of a port cannot be made.
    #[error("port `{port}`: {source}")]
    Layout {
        /// Name of the port.
        port: String,
        /// Why.
        source: KernelError,
    },
    /// The arena, or the threads, could not be had from the system.
    #[error("{what}: the system refused {found}")]
    Resources {
        /// What was asked for.
        what: &'static str,
        /// How much.
        found: String,
    },
    /// A plan that needs more memory than there is.
    #[error("the plan needs {needed} bytes of memory, expected at most {limit}, what this process can use")]
    Memory {
        /// Bytes of buffers, weights and scratch.
        needed: u128,
        /// Bytes there are.
        limit: u64,
    },
    /// Variables of an optimisation that do not fit the plan.
    #[error("variables of an optimisation: {what}: expected {expected}, found {found}")]
    Variables {
        /// What does not fit.
        what: String,
        /// What would.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The CUDA device, its compiler or its emulation.
    #[error("{source}")]
    Cuda {
        /// Why.
        source: Box<CudaError>,
    },
}

/// Why a run fails.
///
/// ```
/// # use scatterc_runtime::{Cache, Executable, LoadError, Memory, Options, RunError};
/// # use std::sync::Arc;
/// # let plan = scatterc_ir::plan::parse("plan twice {
/// #   arena 16
/// #   input x = 0+4 : [4] point
/// #   output y = 8+4 : [4] point
/// #   step linear scale {by=2.0} bandlimits=[] (0+4 -> 8+4)
/// # }
/// # ").expect("a plan");
/// # let options = Options { threads: 1, cache: Some(Arc::new(Cache::in_memory())), ..Options::default() };
/// // A plan with one step, y = 2 x for four numbers.
/// # let mut executable = Executable::load(&plan, &options)?;
/// assert_eq!(executable.run(&[]), Err(RunError::MissingInput { name: "x".into(), expected: 4 }));
/// assert_eq!(executable.run(&[("x", &[1.0])]), Err(RunError::Length { name: "x".into(), expected: 4, found: 1 }));
/// # Ok::<(), LoadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input of the program is not given.
    #[error("input `{name}` is missing, expected {expected} numbers")]
    MissingInput {
        /// Its name.
        name: String,
        /// How many numbers it has.
        expected: usize,
    },
    /// A name that is no input of the program, or is given twice.
    #[error("`{name}` is no input, or is given twice; expected {expected}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The inputs of the program.
        expected: String,
    },
    /// A name that is no output of the program, or is given twice.
    #[error("`{name}` is no output, or is given twice; expected {expected}")]
    UnknownOutput {
        /// The name given.
        name: String,
        /// The outputs of the program.
        expected: String,
    },
    /// An array of the wrong length.
    #[error("`{name}` has {found} numbers, expected {expected}")]
    Length {
        /// Name of the input, output or op.
        name: String,
        /// Numbers expected.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// A plan without vectors of an optimiser.
    #[error("the plan holds no vectors of an optimiser: it was not loaded with variables, which needs a plan for CUDA")]
    NotResident,
    /// A call on vectors that does not fit what was announced.
    #[error("vectors of an optimiser: {what}: expected {expected}, found {found}")]
    Vectors {
        /// What does not fit.
        what: &'static str,
        /// What would.
        expected: String,
        /// What it is.
        found: usize,
    },
    /// The CUDA device or its emulation failed.
    #[error("{source}")]
    Cuda {
        /// Why.
        source: Box<CudaError>,
    },
    /// A graph whose values need more memory than there is.
    #[error("the values of the graph need {needed} bytes of memory, expected at most {limit}, what this process can use")]
    Memory {
        /// Bytes of the values alive at one time.
        needed: u128,
        /// Bytes there are.
        limit: u64,
    },
    /// A graph that breaks its rules.
    #[error("the graph is not valid: {}", faults.join("; "))]
    Graph {
        /// All faults found.
        faults: Vec<String>,
    },
}
