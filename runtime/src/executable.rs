//! The front of all devices: a loaded plan that takes inputs by name and gives outputs by name, in logical layouts.

use crate::resident::{Variables, Vectors};
use crate::tables::Cache;
use crate::{LoadError, RunError, cpu, launches};
use scatterc_ir::Plan;
use scatterc_ir::plan::{Element, Port, Target};
use std::sync::Arc;

/// Where launches of a plan for CUDA run.
///
/// ```
/// use scatterc_runtime::{MachineKind, Options};
///
/// let options = Options { machine: MachineKind::Emulation, ..Options::default() };
/// assert_ne!(options.machine, MachineKind::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MachineKind {
    /// The first CUDA device of the computer.
    #[default]
    Gpu,
    /// The CPU, which runs the same kernel text thread by thread: for tests, not for speed. Needs a C++ compiler.
    Emulation,
}

/// Where the functions of Legendre stages come from on the CPU.
///
/// ```
/// use scatterc_runtime::{Legendre, Options};
///
/// assert_eq!(Options::default().legendre, Legendre::Auto);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Legendre {
    /// Stored where a cost model says that reading them is faster and they fit into [`Legendre::BUDGET`], recursion elsewhere.
    #[default]
    Auto,
    /// Recursion: nothing is stored.
    Recursion,
    /// Stored wherever a transform can be, whatever it costs.
    Tables,
}

impl Legendre {
    /// Bytes of stored functions of one transform that [`Legendre::Auto`] allows.
    ///
    /// ```
    /// assert_eq!(scatterc_runtime::Legendre::BUDGET, 64 * 1024 * 1024);
    /// ```
    pub const BUDGET: usize = 64 << 20;
}

/// How to run a plan.
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
/// // At most 1 MB, all cores.
/// let options = Options { memory: Some(1_000_000), threads: 0, ..options };
/// assert!(Executable::load(&plan, &options).is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Threads; 0 means all cores.
    pub threads: usize,
    /// Where tables are kept; [`Cache::global`] when absent.
    pub cache: Option<Arc<Cache>>,
    /// Where plans for CUDA run.
    pub machine: MachineKind,
    /// Where the functions of Legendre stages come from on the CPU.
    pub legendre: Legendre,
    /// Most bytes of buffers, weights and scratch together; [`crate::limits::machine_memory`] when absent. A plan that needs more is refused before memory is asked for.
    pub memory: Option<u64>,
}

impl Options {
    /// Refuses what does not fit into memory.
    pub(crate) fn check_memory(&self, needed: u128) -> Result<(), LoadError> {
        match self.memory.or_else(crate::limits::machine_memory) {
            Some(limit) if needed > u128::from(limit) => Err(LoadError::Memory { needed, limit }),
            _ => Ok(()),
        }
    }
}

/// Bytes an executable holds.
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
/// let Memory { arena, tables, .. } = executable.memory();
/// assert!(arena >= 16 * 8 && tables == 0);
/// # Ok::<(), LoadError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Buffers of the plan.
    pub arena: usize,
    /// Weights and transforms' tables; transforms shared between executables count in each.
    pub tables: usize,
    /// Partial sums, and what each thread's kernels need.
    pub scratch: usize,
}

/// A loaded plan.
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
/// let mut executable = Executable::load(&plan, &options)?;
/// let results = executable.run(&[("x", &[1.0, 2.0, 3.0, 4.0])]).expect("an input of the right length");
/// assert_eq!(results, [("y".to_string(), vec![2.0, 4.0, 6.0, 8.0])]);
/// # Ok::<(), LoadError>(())
/// ```
pub struct Executable {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    engine: Engine,
}

enum Engine {
    Cpu(Box<dyn cpu::Device>),
    Launches(Box<launches::Engine>),
}

impl Executable {
    /// Checks a plan, makes its tables and compiles its kernels.
    ///
    /// Error: everything in the plan that does not fit, kernel text that is not accepted, memory, threads or devices the system refuses.
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
    /// assert!(Executable::load(&plan, &options).is_ok());
    /// // An output outside of the arena.
    /// let broken = scatterc_ir::plan::parse("plan p {\n  arena 4\n  output y = 2+4 : [4] point\n}\n").expect("a plan");
    /// assert!(matches!(Executable::load(&broken, &options), Err(LoadError::Plan { .. })));
    /// ```
    pub fn load(plan: &Plan, options: &Options) -> Result<Self, LoadError> {
        Self::load_checked(plan, options, None)
    }

    /// As [`Self::load`], with vectors of an optimiser on the device; see [`Self::vectors`].
    ///
    /// Error: as [`Self::load`], a plan that is not for CUDA, variables that do not fit its inputs and outputs.
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
    /// # use scatterc_runtime::resident::{Roles, Variables};
    /// # let roles = Roles { point: 0, trial: 1, gradient: 2, direction: 3, mean: 3, square: 4 };
    /// # let variables = Variables {
    /// #     input: "x".into(), value: "y".into(), gradient: "gradient.x".into(), members: 1, places: vec![0, 1], scales: vec![1.0; 2],
    /// #     shifts: None, groups: None, vectors: 5, statements: 1, terms: 1, rights: 1, roles,
    /// # };
    /// // It is for the CPU, where nothing is resident.
    /// assert!(matches!(Executable::load_resident(&plan, &options, &variables), Err(LoadError::Variables { .. })));
    /// ```
    pub fn load_resident(plan: &Plan, options: &Options, variables: &Variables) -> Result<Self, LoadError> {
        Self::load_checked(plan, options, Some(variables))
    }

    /// The vectors on the device. Error: the plan was loaded without.
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
    /// assert!(matches!(executable.vectors(), Err(RunError::NotResident)));
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn vectors(&mut self) -> Result<Vectors<'_>, RunError> {
        match &mut self.engine {
            Engine::Launches(engine) => {
                let layout = engine.layout().cloned().ok_or(RunError::NotResident)?;
                Ok(Vectors::new(&self.inputs, engine, layout))
            }
            Engine::Cpu(_) => Err(RunError::NotResident),
        }
    }

    /// Fills the buffers of a plan for CUDA with NaN, inputs included, as a check that a run reads nothing that it has not written; elsewhere nothing is done.
    ///
    /// Error: a device that fails.
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
    /// // On the CPU nothing is done.
    /// assert_eq!(executable.poison(), Ok(()));
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn poison(&mut self) -> Result<(), RunError> {
        match &mut self.engine {
            Engine::Launches(engine) => engine.poison(),
            Engine::Cpu(_) => Ok(()),
        }
    }

    /// Free memory of the device in bytes, where it has memory of its own. Error: a device that fails.
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
    /// assert_eq!(executable.free_bytes(), Ok(None), "the CPU has no memory of its own");
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn free_bytes(&self) -> Result<Option<u64>, RunError> {
        match &self.engine {
            Engine::Launches(engine) => engine.free_bytes(),
            Engine::Cpu(_) => Ok(None),
        }
    }

    fn load_checked(plan: &Plan, options: &Options, variables: Option<&Variables>) -> Result<Self, LoadError> {
        scatterc_ir::plan::verify(plan).map_err(|faults| LoadError::Plan { faults })?;
        for ports in [&plan.inputs, &plan.outputs] {
            for (k, port) in ports.iter().enumerate() {
                if ports[..k].iter().any(|other| other.name == port.name) {
                    return Err(LoadError::Port { port: port.name.clone(), expected: "a name used once".into(), found: "a second port".into() });
                }
            }
        }
        let engine = match plan.target {
            Target::Cpu if variables.is_some() => {
                let expected = "a plan for CUDA".into();
                return Err(LoadError::Variables { what: "vectors on the device".into(), expected, found: "a plan for the CPU".into() });
            }
            Target::Cpu => Engine::Cpu(match plan.element {
                Element::F64 => Box::new(cpu::Engine::<f64>::load(plan, options)?),
                Element::F32 => Box::new(cpu::Engine::<f32>::load(plan, options)?),
            }),
            Target::Cuda => Engine::Launches(Box::new(launches::Engine::load(plan, options, variables)?)),
        };
        Ok(Executable { inputs: plan.inputs.clone(), outputs: plan.outputs.clone(), engine })
    }

    /// Inputs and parameters of the plan, in order.
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
    /// assert_eq!((executable.inputs()[0].name.as_str(), executable.inputs()[0].ty.len()), ("x", 4));
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs of the plan, in order.
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
    /// assert_eq!(executable.outputs()[0].name, "y");
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the plan on inputs by name; returns outputs by name, in order, in logical layouts.
    ///
    /// Error: an input that is missing, unknown or of the wrong length; a device that fails.
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
    /// assert_eq!(executable.run(&[("x", &[1.0; 4])]).map(|all| all[0].1.clone()), Ok(vec![2.0; 4]));
    /// assert!(executable.run(&[("z", &[1.0; 4])]).is_err());
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn run(&mut self, inputs: &[(&str, &[f64])]) -> Result<Vec<(String, Vec<f64>)>, RunError> {
        self.execute(inputs)?;
        let mut out = Vec::with_capacity(self.outputs.len());
        for port in &self.outputs {
            let mut values = vec![0.0; port.ty.len()];
            self.engine.fetch(port, &mut values)?;
            out.push((port.name.clone(), values));
        }
        Ok(out)
    }

    /// Runs the plan and copies the outputs asked for into the caller's arrays; allocates nothing large.
    ///
    /// Error: as [`Self::run`], and an output that is unknown, given twice or of the wrong length.
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
    /// let mut y = [0.0; 4];
    /// assert_eq!(executable.run_into(&[("x", &[1.0; 4])], &mut [("y", &mut y)]), Ok(()));
    /// assert_eq!(y, [2.0; 4]);
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn run_into(&mut self, inputs: &[(&str, &[f64])], outputs: &mut [(&str, &mut [f64])]) -> Result<(), RunError> {
        for k in 0..outputs.len() {
            let (name, array) = &outputs[k];
            let port = self.outputs.iter().find(|port| port.name == *name && !outputs[..k].iter().any(|(other, _)| other == name));
            let Some(port) = port else {
                return Err(RunError::UnknownOutput { name: name.to_string(), expected: names(&self.outputs) });
            };
            if array.len() != port.ty.len() {
                return Err(RunError::Length { name: name.to_string(), expected: port.ty.len(), found: array.len() });
            }
        }
        self.execute(inputs)?;
        for (name, array) in outputs {
            if let Some(port) = self.outputs.iter().find(|port| port.name == *name) {
                self.engine.fetch(port, array)?;
            }
        }
        Ok(())
    }

    /// Runs the plan again on the inputs it was last given; outputs stay on the device until the next [`Self::run`].
    ///
    /// Error: a device that fails.
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
    /// // As often as a benchmark wants, on the inputs of the last run.
    /// assert!(executable.run(&[("x", &[1.0; 4])]).is_ok() && executable.rerun().is_ok());
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn rerun(&mut self) -> Result<(), RunError> {
        match &mut self.engine {
            Engine::Cpu(engine) => {
                engine.execute(&[]);
                Ok(())
            }
            Engine::Launches(engine) => engine.execute(&[]),
        }
    }

    /// Starts or stops measuring every step.
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
    /// executable.set_timing(true);
    /// assert!(executable.run(&[("x", &[1.0; 4])]).is_ok() && executable.times()[0] > 0.0);
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn set_timing(&mut self, on: bool) {
        match &mut self.engine {
            Engine::Cpu(engine) => engine.set_timing(on),
            Engine::Launches(engine) => engine.set_timing(on),
        }
    }

    /// Seconds spent in every step of the plan since loading, while timing was on.
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
    /// assert!(executable.run(&[("x", &[1.0; 4])]).is_ok());
    /// assert_eq!(executable.times(), [0.0], "one step, whose time was not asked for");
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn times(&self) -> &[f64] {
        match &self.engine {
            Engine::Cpu(engine) => engine.times(),
            Engine::Launches(engine) => engine.times(),
        }
    }

    /// Bytes held.
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
    /// assert!(executable.memory().arena >= 16 * 8);
    /// # Ok::<(), LoadError>(())
    /// ```
    pub fn memory(&self) -> Memory {
        match &self.engine {
            Engine::Cpu(engine) => engine.memory(),
            Engine::Launches(engine) => engine.memory(),
        }
    }

    fn execute(&mut self, inputs: &[(&str, &[f64])]) -> Result<(), RunError> {
        for (k, (name, _)) in inputs.iter().enumerate() {
            if !self.inputs.iter().any(|port| port.name == *name) || inputs[..k].iter().any(|(other, _)| other == name) {
                return Err(RunError::UnknownInput { name: name.to_string(), expected: names(&self.inputs) });
            }
        }
        let mut given: Vec<(&Port, &[f64])> = Vec::with_capacity(self.inputs.len());
        for port in &self.inputs {
            let Some((_, values)) = inputs.iter().find(|(name, _)| *name == port.name) else {
                return Err(RunError::MissingInput { name: port.name.clone(), expected: port.ty.len() });
            };
            if values.len() != port.ty.len() {
                return Err(RunError::Length { name: port.name.clone(), expected: port.ty.len(), found: values.len() });
            }
            given.push((port, values));
        }
        match &mut self.engine {
            Engine::Cpu(engine) => {
                engine.execute(&given);
                Ok(())
            }
            Engine::Launches(engine) => engine.execute(&given),
        }
    }
}

impl Engine {
    fn fetch(&mut self, port: &Port, out: &mut [f64]) -> Result<(), RunError> {
        match self {
            Engine::Cpu(engine) => {
                engine.fetch(port, out);
                Ok(())
            }
            Engine::Launches(engine) => engine.fetch(port, out),
        }
    }
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_can_move_between_threads() {
        fn is_send<T: Send>() {}
        is_send::<Executable>();
    }
}
