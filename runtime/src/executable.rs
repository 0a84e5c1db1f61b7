//! The front of all devices: a loaded plan that takes inputs by name and gives outputs by name, in logical layouts.

use crate::resident::{Variables, Vectors};
use crate::tables::Cache;
use crate::{LoadError, RunError, cpu, launches};
use scatterc_ir::Plan;
use scatterc_ir::plan::{Element, Port, Target};
use std::sync::Arc;

/// Where launches of a plan for CUDA run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MachineKind {
    /// The first CUDA device of the computer.
    #[default]
    Gpu,
    /// The CPU, which runs the same kernel text thread by thread: for tests, not for speed. Needs a C++ compiler.
    Emulation,
}

/// Where the functions of Legendre stages come from on the CPU.
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
    pub const BUDGET: usize = 64 << 20;
}

/// How to run a plan.
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
    pub fn load(plan: &Plan, options: &Options) -> Result<Self, LoadError> {
        Self::load_checked(plan, options, None)
    }

    /// As [`Self::load`], with vectors of an optimiser on the device; see [`Self::vectors`].
    ///
    /// Error: as [`Self::load`], a plan that is not for CUDA, variables that do not fit its inputs and outputs.
    pub fn load_resident(plan: &Plan, options: &Options, variables: &Variables) -> Result<Self, LoadError> {
        Self::load_checked(plan, options, Some(variables))
    }

    /// The vectors on the device. Error: the plan was loaded without.
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
    pub fn poison(&mut self) -> Result<(), RunError> {
        match &mut self.engine {
            Engine::Launches(engine) => engine.poison(),
            Engine::Cpu(_) => Ok(()),
        }
    }

    /// Free memory of the device in bytes, where it has memory of its own. Error: a device that fails.
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
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs of the plan, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the plan on inputs by name; returns outputs by name, in order, in logical layouts.
    ///
    /// Error: an input that is missing, unknown or of the wrong length; a device that fails.
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
    pub fn set_timing(&mut self, on: bool) {
        match &mut self.engine {
            Engine::Cpu(engine) => engine.set_timing(on),
            Engine::Launches(engine) => engine.set_timing(on),
        }
    }

    /// Seconds spent in every step of the plan since loading, while timing was on.
    pub fn times(&self) -> &[f64] {
        match &self.engine {
            Engine::Cpu(engine) => engine.times(),
            Engine::Launches(engine) => engine.times(),
        }
    }

    /// Bytes held.
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
