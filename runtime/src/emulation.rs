//! A [`Machine`] without a GPU: launches run on the CPU, thread by thread, from the same text.

use crate::cuda::{CudaError, Launch, Machine, MachineMemory, in_arena, is_procedure};
use scatterc_kernels::cuda::emulate::{EmulationError, Emulator, Module};
use std::collections::VecDeque;
use std::time::Instant;

struct Emulated {
    modules: Vec<Module>,
    /// Each launch with the module that has its kernel.
    launches: Vec<(usize, Launch)>,
    procedures: Vec<Vec<(usize, Launch)>>,
    /// 16-byte words, which is the alignment that kernels expect.
    arena: Vec<u128>,
    arena_bytes: usize,
    tables: Vec<Vec<u128>>,
    tables_bytes: usize,
    fetched: VecDeque<Vec<u8>>,
}

fn words(bytes: &[u8]) -> Vec<u128> {
    bytes
        .chunks(16)
        .map(|part| {
            let mut word = [0; 16];
            word[..part.len()].copy_from_slice(part);
            u128::from_ne_bytes(word)
        })
        .collect()
}

fn failed(source: EmulationError) -> CudaError {
    CudaError::Emulation { message: source.to_string() }
}

/// Compiles the programs with the host's C++ compiler. The arguments are those of [`crate::cuda::open`]. The text runs as it is: only texts of this compiler belong here.
///
/// Error: no compiler, text that does not compile.
pub(crate) fn open(
    sources: &[String],
    launches: &[Launch],
    procedures: &[Vec<Launch>],
    arena_bytes: usize,
    tables: &[Vec<u8>],
) -> Result<Box<dyn Machine>, CudaError> {
    let emulator = Emulator::new().map_err(failed)?;
    let modules = sources.iter().map(|source| emulator.compile(source).map_err(failed)).collect::<Result<Vec<_>, _>>()?;
    let of = |launch: &Launch| {
        let has = |source: &String| source.contains(&format!(" {}(", launch.kernel));
        sources.iter().position(has).ok_or_else(|| CudaError::NoKernel { kernel: launch.kernel.clone(), found: vec![] })
    };
    let found = |list: &[Launch]| list.iter().map(|launch| Ok((of(launch)?, launch.clone()))).collect::<Result<Vec<_>, CudaError>>();
    let (launches, procedures) = (found(launches)?, procedures.iter().map(|list| found(list)).collect::<Result<_, _>>()?);
    Ok(Box::new(Emulated {
        modules,
        launches,
        procedures,
        arena: vec![0; arena_bytes.div_ceil(16)],
        arena_bytes,
        tables_bytes: tables.iter().map(Vec::len).sum(),
        tables: tables.iter().map(|table| words(table)).collect(),
        fetched: VecDeque::new(),
    }))
}

impl Emulated {
    fn bytes(&mut self) -> &mut [u8] {
        let len = self.arena_bytes;
        // SAFETY: the words are initialised, hold at least `len` bytes, and any bytes are a value of them.
        unsafe { std::slice::from_raw_parts_mut(self.arena.as_mut_ptr().cast(), len) }
    }

    fn launch(&mut self, module: usize, launch: &Launch) -> Result<(), CudaError> {
        let tables: Vec<*const u8> = self.tables.iter().map(|table| table.as_ptr().cast()).collect();
        let module = self.modules[module].clone();
        // SAFETY: the text comes from the compiler of this program, whose kernels keep to the buffers and tables that the plan gives them.
        unsafe { module.launch(&launch.kernel, launch.grid, launch.block, launch.shared, self.bytes(), &tables) }.map_err(failed)
    }
}

impl Machine for Emulated {
    fn name(&self) -> String {
        "emulation of CUDA on the CPU".into()
    }

    fn upload(&mut self, byte_offset: usize, bytes: &[u8]) -> Result<(), CudaError> {
        in_arena("upload", byte_offset, bytes.len(), self.arena_bytes)?;
        self.bytes()[byte_offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn download(&mut self, byte_offset: usize, bytes: &mut [u8]) -> Result<(), CudaError> {
        in_arena("download", byte_offset, bytes.len(), self.arena_bytes)?;
        bytes.copy_from_slice(&self.bytes()[byte_offset..][..bytes.len()]);
        Ok(())
    }

    fn fetch(&mut self, byte_offset: usize, len: usize) -> Result<(), CudaError> {
        let mut bytes = vec![0; len];
        self.download(byte_offset, &mut bytes)?;
        self.fetched.push_back(bytes);
        Ok(())
    }

    fn collect(&mut self, bytes: &mut Vec<u8>) -> Result<(), CudaError> {
        *bytes = self.fetched.pop_front().unwrap_or_default();
        Ok(())
    }

    fn start(&mut self, procedure: usize) -> Result<(), CudaError> {
        is_procedure(procedure, self.procedures.len())?;
        self.procedures[procedure].clone().iter().try_for_each(|(module, launch)| self.launch(*module, launch))
    }

    fn run(&mut self) -> Result<(), CudaError> {
        self.launches.clone().iter().try_for_each(|(module, launch)| self.launch(*module, launch))
    }

    fn run_timed(&mut self) -> Result<Vec<f64>, CudaError> {
        let launches = self.launches.clone();
        let one = |(module, launch): &(usize, Launch)| {
            let start = Instant::now();
            self.launch(*module, launch)?;
            Ok(1e3 * start.elapsed().as_secs_f64())
        };
        launches.iter().map(one).collect()
    }

    fn memory(&self) -> Result<MachineMemory, CudaError> {
        Ok(MachineMemory { arena_bytes: self.arena_bytes as u64, tables_bytes: self.tables_bytes as u64, ..MachineMemory::default() })
    }
}
