//! Plans for CUDA: tables in the layouts of the device, kernels compiled, launches on a [`Machine`]: a GPU or its emulation.

use crate::cuda::{self, CudaError, Launch, Machine, Settings};
use crate::emulation;
use crate::resident::{Layout, Variables};
use crate::{LoadError, MachineKind, Memory, Options, RunError, reference};
use scatterc_ir::ops::Attribute;
use scatterc_ir::plan::{Element, Plan, Port, SparsePart, Step, Table};
use scatterc_ir::{Linear, Space};
use scatterc_kernels::cuda as device;

/// Programs that several threads compile: many small ones balance better than one each.
const PROGRAMS: usize = 16;

/// A loaded plan.
pub(crate) struct Engine {
    machine: Box<dyn Machine>,
    element: Element,
    timing: bool,
    seconds: Vec<f64>,
    memory: Memory,
    /// Bytes on their way to or from the machine.
    staging: Vec<u8>,
    /// Vectors of an optimiser behind the plan.
    layout: Option<Layout>,
}

/// Numbers as they are stored.
fn encode(element: Element, values: &[f64], out: &mut Vec<u8>) {
    out.clear();
    match element {
        Element::F64 => values.iter().for_each(|x| out.extend(x.to_ne_bytes())),
        Element::F32 => values.iter().for_each(|x| out.extend((*x as f32).to_ne_bytes())),
    }
}

fn decode(element: Element, bytes: &[u8], out: &mut [f64]) {
    match element {
        Element::F64 => out.iter_mut().zip(bytes.as_chunks::<8>().0).for_each(|(x, b)| *x = f64::from_ne_bytes(*b)),
        Element::F32 => out.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(x, b)| *x = f64::from(f32::from_ne_bytes(*b))),
    }
}

/// Rows of one field of a map or its adjoint; maps on axes count points.
fn rows(map: &Linear, adjoint: bool) -> Result<usize, String> {
    let signature = map.signature()?;
    let (axes, space) = if adjoint { signature.domain } else { signature.range };
    Ok(axes.iter().product::<usize>() * if space == Space::Any { 1 } else { space.len() })
}

/// A sparse matrix: first entry of every row and the end of the last, columns, values.
type Matrix = (Vec<i32>, Vec<i32>, Vec<f64>);

/// Makes the tables of a plan, one after another.
struct TableMaker<'a> {
    plan: &'a Plan,
    /// The matrix made last: its arrays are tables that follow one another.
    last: Option<((&'a Linear, bool), Matrix)>,
}

impl<'a> TableMaker<'a> {
    /// The matrix of one field of a map or its adjoint, for table `k`.
    fn matrix(&mut self, k: usize, map: &'a Linear, adjoint: bool) -> Result<&Matrix, LoadError> {
        let fault = |found: String| LoadError::Table { table: k, expected: "a map with entries".into(), found };
        let made = match self.last.take() {
            Some((key, made)) if key == (map, adjoint) => made,
            _ => {
                let (to, from) = (rows(map, adjoint).map_err(fault)?, rows(map, !adjoint).map_err(fault)?);
                // A matrix belongs to values in the arena, so a larger one is a mistake or an attack on memory. A value that is reduced need not lie there: loops compute it where they
                // read it.
                let n = to.max(from);
                let reduction = matches!(self.plan.tables[k], Table::Weights(_));
                if n > self.plan.arena && !reduction || n > i32::MAX as usize {
                    return Err(LoadError::Table { table: k, expected: "at most as many numbers as the arena".into(), found: n.to_string() });
                }
                Options::default().check_memory(n as u128 * size_of::<(u32, u32, f64)>() as u128)?;
                reference::matrix(map, adjoint, to, 1).map_err(|e| fault(e.to_string()))?
            }
        };
        Ok(&self.last.insert(((map, adjoint), made)).1)
    }

    /// The bytes of table `k`.
    fn bytes(&mut self, k: usize) -> Result<Vec<u8>, LoadError> {
        let integers = |numbers: &[i32]| numbers.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
        let numbers = |numbers: &[f64]| numbers.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
        let plan = self.plan;
        match &plan.tables[k] {
            Table::Weights(map) => {
                let (_, columns, values) = self.matrix(k, map, false)?;
                let mut weights = vec![0.0; rows(map, true).unwrap_or(0)];
                columns.iter().zip(values).for_each(|(column, value)| weights[*column as usize] = *value);
                Ok(numbers(&weights))
            }
            Table::Sparse { map, adjoint, part } => {
                let (starts, columns, values) = self.matrix(k, map, *adjoint)?;
                Ok(match part {
                    SparsePart::Rows => integers(starts),
                    SparsePart::Columns => integers(columns),
                    SparsePart::Values => numbers(values),
                })
            }
            Table::Library { name, attributes } => {
                let fault = |expected: &str, found: String| LoadError::Table { table: k, expected: expected.into(), found };
                let whole = |a: &Attribute| if let Attribute::Integer(n) = a { usize::try_from(*n).ok() } else { None };
                let given: Option<Vec<(String, usize)>> = attributes.iter().map(|(name, a)| Some((name.clone(), whole(a)?))).collect();
                let unknown = || fault("a table of the kernel library", plan.tables[k].to_string());
                let table = given.and_then(|given| device::Table::from_attributes(name, &given)).ok_or_else(unknown)?;
                table.values().map_err(|e| fault("sizes of the kernel library", e.to_string()))
            }
        }
    }
}

/// Programs that together hold all kernels: consecutive ones of about equal length, so that they compile side by side.
pub(crate) fn programs(plan: &Plan, parts: usize) -> Vec<String> {
    let total: usize = plan.kernels.iter().map(|kernel| kernel.text.len()).sum();
    let share = total.div_ceil(parts.max(1)).max(1);
    let mut programs: Vec<String> = Vec::new();
    let mut done = 0;
    for kernel in &plan.kernels {
        if programs.is_empty() || done >= share * programs.len() {
            programs.push(plan.prelude.clone());
        }
        if let Some(program) = programs.last_mut() {
            program.push_str(&kernel.text);
        }
        done += kernel.text.len();
    }
    programs
}

impl Engine {
    /// Makes the tables, compiles the kernels and opens the machine, with vectors where variables are given; the plan was verified.
    pub(crate) fn load(plan: &Plan, options: &Options, variables: Option<&Variables>) -> Result<Self, LoadError> {
        for port in plan.inputs.iter().chain(&plan.outputs) {
            let len = port.ty.axes.iter().try_fold(port.ty.space.len(), |len, n| len.checked_mul(*n));
            if len != Some(port.slot.len) {
                let expected = len.map_or("fewer numbers".into(), |len| len.to_string());
                return Err(LoadError::Port { port: port.name.clone(), expected, found: port.slot.len.to_string() });
            }
        }
        if options.machine == MachineKind::Emulation {
            options.check_memory(plan.arena as u128 * plan.element.bytes() as u128)?;
        }
        let mut maker = TableMaker { plan, last: None };
        let mut tables: Vec<Vec<u8>> = (0..plan.tables.len()).map(|k| maker.bytes(k)).collect::<Result<_, _>>()?;
        let launches: Vec<Launch> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Launch { kernel, grid, block, shared, .. } => {
                    Some(Launch { kernel: plan.kernels[*kernel].name.clone(), grid: *grid as u32, block: *block as u32, shared: *shared as u32 })
                }
                _ => None,
            })
            .collect();
        let threads = if options.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { options.threads };
        let (mut arena_bytes, mut procedures, mut layout, mut extra) = (plan.arena * plan.element.bytes(), vec![], None, None);
        if let Some(variables) = variables {
            let extension = variables.extend(plan, &launches, tables.len())?;
            tables.extend(extension.tables);
            (arena_bytes, procedures, layout, extra) = (extension.arena_bytes, extension.procedures, Some(extension.layout), Some(extension.source));
        }
        let sources = |parts| programs(plan, parts).into_iter().chain(extra).collect::<Vec<_>>();
        let machine: Box<dyn Machine> = match options.machine {
            MachineKind::Gpu => {
                let settings = Settings { cache: options.cache.clone(), threads, ..Settings::default() };
                cuda::open(&sources(if threads == 1 { 1 } else { PROGRAMS }), &launches, &procedures, arena_bytes, &tables, &settings)?
            }
            MachineKind::Emulation => emulation::open(&sources(1), &launches, &procedures, arena_bytes, &tables)?,
        };
        let memory = Memory { arena: arena_bytes, tables: tables.iter().map(Vec::len).sum(), scratch: 0 };
        Ok(Engine { machine, element: plan.element, timing: false, seconds: vec![0.0; plan.steps.len()], memory, staging: vec![], layout })
    }

    /// Where the vectors of an optimiser are.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// Copies an input in; its length was checked.
    pub(crate) fn give(&mut self, port: &Port, values: &[f64]) -> Result<(), RunError> {
        encode(self.element, values, &mut self.staging);
        Ok(self.machine.upload(port.slot.offset * self.element.bytes(), &self.staging)?)
    }

    /// Copies f64 to a byte of the arena.
    pub(crate) fn upload_numbers(&mut self, byte: usize, values: &[f64]) -> Result<(), RunError> {
        encode(Element::F64, values, &mut self.staging);
        Ok(self.machine.upload(byte, &self.staging)?)
    }

    /// Copies f64 from a byte of the arena.
    pub(crate) fn download_numbers(&mut self, byte: usize, values: &mut [f64]) -> Result<(), RunError> {
        self.staging.resize(8 * values.len(), 0);
        self.machine.download(byte, &mut self.staging)?;
        decode(Element::F64, &self.staging, values);
        Ok(())
    }

    /// Starts a copy of f64 from a byte of the arena.
    pub(crate) fn fetch_numbers(&mut self, byte: usize, count: usize) -> Result<(), RunError> {
        Ok(self.machine.fetch(byte, 8 * count)?)
    }

    /// Waits for the oldest copy that was started; fewer numbers are written where it had fewer.
    pub(crate) fn collect_numbers(&mut self, values: &mut [f64]) -> Result<(), RunError> {
        self.machine.collect(&mut self.staging)?;
        decode(Element::F64, &self.staging, values);
        Ok(())
    }

    /// Writes NaN of either element all over the arena.
    pub(crate) fn poison(&mut self) -> Result<(), RunError> {
        Ok(self.machine.upload(0, &vec![0xff; self.memory.arena])?)
    }

    /// Free memory of the device.
    pub(crate) fn free_bytes(&self) -> Result<Option<u64>, RunError> {
        Ok(self.machine.memory()?.free_bytes)
    }

    /// Starts a procedure.
    pub(crate) fn start(&mut self, procedure: usize) -> Result<(), RunError> {
        Ok(self.machine.start(procedure)?)
    }

    /// Copies the inputs in and runs all launches; lengths and names were checked.
    pub(crate) fn execute(&mut self, inputs: &[(&Port, &[f64])]) -> Result<(), RunError> {
        for (port, given) in inputs {
            self.give(port, given)?;
        }
        if !self.timing {
            return Ok(self.machine.run()?);
        }
        for (sum, milliseconds) in self.seconds.iter_mut().zip(self.machine.run_timed()?) {
            *sum += 1e-3 * milliseconds;
        }
        Ok(())
    }

    /// Copies an output out.
    pub(crate) fn fetch(&mut self, port: &Port, out: &mut [f64]) -> Result<(), RunError> {
        self.staging.resize(out.len() * self.element.bytes(), 0);
        self.machine.download(port.slot.offset * self.element.bytes(), &mut self.staging)?;
        decode(self.element, &self.staging, out);
        Ok(())
    }

    pub(crate) fn set_timing(&mut self, on: bool) {
        self.timing = on;
    }

    pub(crate) fn times(&self) -> &[f64] {
        &self.seconds
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }
}

impl From<CudaError> for LoadError {
    fn from(source: CudaError) -> Self {
        LoadError::Cuda { source: Box::new(source) }
    }
}

impl From<CudaError> for RunError {
    fn from(source: CudaError) -> Self {
        RunError::Cuda { source: Box::new(source) }
    }
}
