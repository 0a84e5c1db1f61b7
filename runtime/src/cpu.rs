//! The CPU device: a plan becomes an engine, which owns the arena, tables, machine code and threads, and runs the steps in order.
//!
//! ```text
//! Plan --verify, check lengths--> tables, transforms (cache), machine code (jit) --run--> numbers
//! ```
//!
//! What holds for every step:
//!
//! - A slot of a [`Step::Linear`] holds whole fields of the map's domain or range, one after another. Maps that act on axes alone (`steer`, `reindex`) know the
//!   width of their space only from the slot, so there one pair of slots is one field; leading axes are separate pairs.
//! - Sums have a fixed order: results do not depend on the number of threads.
//! - Padding lanes of cotangents are not read: where a kernel needs zeros there and finds others, a copy is cleaned first.

use crate::arena::Arena;
use crate::bounds::{Footprint, Given, Usage};
use crate::frame::FrameStep;
use crate::jit::{Code, Entry};
use crate::maps::{Small, blocked, device_len, from_device_with, to_device_with, weights};
use crate::planar::{Planar, PlanarError, PlanarTables};
use crate::sparse::Sparse;
use crate::tables::{Cache, Transform};
use crate::threads::{Shared, Threads};
use crate::tile::{self, Tile, add_up};
use crate::weighed::WeighedStep;
use crate::wide::Wide;
use crate::{Legendre, LoadError, Memory, Options};
use scatterc_ir::plan::{Port, Slot, Step, Stream};
use scatterc_ir::types::scale_bandlimit;
use scatterc_ir::{Linear, Plan, Space};
use scatterc_kernels::KernelError;
use scatterc_kernels::contract::{GramPlan, MixPlan};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::frame::FrameOperator;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::RingLayout;
use scatterc_kernels::simd::{LANES, Real};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Largest bandlimit the device takes; keeps every length below 2^48.
const LARGEST_BANDLIMIT: usize = 1 << 20;

/// A loaded plan of either element.
pub(crate) trait Device: Send {
    /// Starts or stops measuring every step.
    fn set_timing(&mut self, on: bool);
    /// Seconds spent in every step of the plan since loading, while timing was on.
    fn times(&self) -> &[f64];
    /// Bytes held.
    fn memory(&self) -> Memory;
    /// Copies the inputs in and runs all steps; lengths and names were checked.
    fn execute(&mut self, inputs: &[(&Port, &[f64])]);
    /// Copies an output out, in its logical layout.
    fn fetch(&self, port: &Port, out: &mut [f64]);
}

/// A loaded plan whose numbers are of one element.
pub(crate) struct Engine<T: Real> {
    /// Grids of the ports, by bandlimit.
    layouts: BTreeMap<usize, RingLayout>,
    steps: Vec<Prepared<T>>,
    tables: Vec<Vec<T>>,
    arena: Arena<T>,
    wide: Wide,
    /// Keeps the machine code alive that loops point into.
    _code: Code<T>,
    threads: Threads,
    timing: bool,
    seconds: Vec<f64>,
    memory: Memory,
}

/// Direction of a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Synthesis,
    SynthesisAdjoint,
    Analysis,
    AnalysisAdjoint,
    RingInverse,
    RingInverseAdjoint,
    RingForward,
    RingForwardAdjoint,
}

/// Consecutive fields of a transform.
struct Fields<T: Real> {
    transform: Kind<T>,
    stage: Stage,
    /// Orders of the rings.
    M: usize,
    pairs: Vec<(Slot, Slot)>,
    work: f64,
    /// Padding lanes of the last pair of blocks, as (block, lane); empty where none must be zero.
    padding: Vec<(usize, usize)>,
    clean: Vec<T>,
}

enum Kind<T: Real> {
    Harmonic(Arc<HarmonicTransform>),
    Ring(Arc<RingFft<T>>),
}

/// Addresses a loop's tasks need; precomputed, as the arena never moves.
struct Loop<T> {
    entry: Entry<T>,
    trip: usize,
    outer: usize,
    grain: usize,
    chunks: usize,
    n_streams: usize,
    streams: Vec<*mut T>,
    tables: Vec<*const T>,
    sums: Slot,
    /// `[outer][chunks][sums per outer]`; empty where a task can write its sums in place.
    partial: Vec<T>,
    work: f64,
}

// SAFETY: the pointers lead into the arena, the tables and the code owned by the same executable, whose `&mut self` methods are the only users.
unsafe impl<T: Real> Send for Loop<T> {}
// SAFETY: as above; tasks of one run touch disjoint elements, which the plan's P3 and the kernel's range guarantee.
unsafe impl<T: Real> Sync for Loop<T> {}

enum Prepared<T: Real> {
    Transforms(Vec<Fields<T>>),
    Planar { map: Planar<T>, adjoint: bool, pairs: Vec<(Slot, Slot)>, work: f64 },
    Sparse { map: Arc<Sparse<T>>, pairs: Vec<(Slot, Slot)>, work: f64, scratch: Vec<T> },
    Small { map: Small, adjoint: bool, pairs: Vec<(Slot, Slot)> },
    Loop(Loop<T>),
    Tile(Tile<T>),
    Gram { plan: GramPlan, table: usize, rows: Vec<Slot>, places: Vec<usize>, outputs: Vec<Slot>, values: Vec<T>, work: f64 },
    Mix { plan: MixPlan, table: usize, rows: Vec<Slot>, coefficients: Vec<Slot>, gathered: Vec<T>, outputs: Vec<Slot>, work: f64 },
    Frame(FrameStep),
    Weighed(WeighedStep<T>),
    Concat { rows: usize, inputs: Vec<Slot>, output: Slot },
    Fill { value: f64, output: Slot },
}

impl<T: Real> Engine<T> {
    /// Checks a plan, makes its tables and compiles its kernels.
    ///
    /// Error: everything in the plan that does not fit, kernel text that is not accepted, and memory or threads the system refuses.
    pub(crate) fn load(plan: &Plan, options: &Options) -> Result<Self, LoadError> {
        for port in plan.inputs.iter().chain(&plan.outputs) {
            check_port(port)?;
        }
        // Every length is checked before anything large is made from an attribute.
        for (k, table) in plan.tables.iter().enumerate() {
            let fault = |expected: String, found: String| LoadError::Table { table: k, expected, found };
            let map = table.weights().ok_or_else(|| fault("weights of a reduction".into(), table.to_string()))?;
            check_map(map).map_err(|(expected, found)| fault(expected, found))?;
            // The value that is reduced need not lie in the arena: loops compute it where they read it. The length counts as memory, below.
            weights_len(map).ok_or_else(|| fault("a reduction to a point".into(), map.spelling().into()))?;
        }
        for (k, step) in plan.steps.iter().enumerate() {
            check_step(plan, k, step)?;
        }
        let cache = options.cache.clone().unwrap_or_else(Cache::global);
        let threads = Threads::new(options.threads)?;
        options.check_memory(needed::<T>(plan, scatterc_kernels::Parallel::threads(&threads)))?;
        let arena = Arena::new(plan.arena)?;
        let code = Code::compile(&plan.kernels, &|footprints: &[Arc<Footprint>]| kernels_fit::<T>(plan, footprints))?;
        let mut memory = Memory { arena: size_of::<T>() * plan.arena, ..Memory::default() };
        let mut planar = PlanarTables::new(cache.clone(), scatterc_kernels::Parallel::threads(&threads));
        let mut tables = Vec::with_capacity(plan.tables.len());
        for (k, table) in plan.tables.iter().enumerate() {
            let Some(map) = table.weights() else { continue };
            let made = match planar.weights(map).map_err(|source| refused(k, source, |table, source| LoadError::Weights { table, source }))? {
                Some(made) => made,
                None => weights(map).map_err(|source| LoadError::Weights { table: k, source })?.unwrap_or_default(),
            };
            memory.tables += size_of::<T>() * made.len();
            tables.push(T::all_of(made));
        }
        let mut context = Context {
            cache: &cache,
            arena: &arena,
            tables: &tables,
            code: &code,
            legendre: options.legendre,
            rings: BTreeMap::new(),
            planar,
            frames: BTreeMap::new(),
            counted: BTreeSet::new(),
            memory,
            thread_scratch: 0,
            wide: 0,
        };
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (k, step) in plan.steps.iter().enumerate() {
            let prepared = context.prepare(step);
            steps.push(prepared.map_err(|source| refused(k, source, |step, source| LoadError::Transform { step, source }))?);
        }
        context.memory.tables += context.planar.take_bytes();
        let mut memory = context.memory;
        memory.scratch += 8 * context.thread_scratch * scatterc_kernels::Parallel::threads(&threads);
        // Operands and results of kernels that compute in f64 have copies.
        let wide = if T::as_f64(&[]).is_some() { 0 } else { context.wide };
        memory.scratch += 8 * wide;
        let mut layouts = BTreeMap::new();
        for port in plan.inputs.iter().chain(&plan.outputs) {
            if let Some(layout) = blocked(port.ty.space).map_err(|source| LoadError::Layout { port: port.name.clone(), source })? {
                layouts.insert(layout.L(), layout);
            }
        }
        Ok(Engine {
            layouts,
            seconds: vec![0.0; steps.len()],
            steps,
            tables,
            arena,
            wide: Wide::with_len(wide),
            _code: code,
            threads,
            timing: false,
            memory,
        })
    }

    fn run_steps(&mut self) {
        for (k, step) in self.steps.iter_mut().enumerate() {
            let start = self.timing.then(Instant::now);
            // SAFETY: steps run one after another, and the plan's rule P3 was verified: what a step writes overlaps nothing else it touches.
            unsafe { step.run(&self.arena, &self.tables, &mut self.wide, &self.threads) };
            if let Some(start) = start {
                self.seconds[k] += start.elapsed().as_secs_f64();
            }
        }
    }
}

impl<T: Real> Device for Engine<T> {
    fn set_timing(&mut self, on: bool) {
        self.timing = on;
    }

    fn times(&self) -> &[f64] {
        &self.seconds
    }

    fn memory(&self) -> Memory {
        self.memory
    }

    fn execute(&mut self, inputs: &[(&Port, &[f64])]) {
        for (port, given) in inputs {
            // SAFETY: no step runs now, so nothing else looks at the arena.
            let slot = unsafe { self.arena.write(port.slot) };
            to_device_with(port.ty.space, self.layouts.get(&bandlimit(port.ty.space)), given, slot);
        }
        match self.threads.pool() {
            Some(pool) => pool.install(|| self.run_steps()),
            None => self.run_steps(),
        }
    }

    fn fetch(&self, port: &Port, out: &mut [f64]) {
        // SAFETY: no step runs now, so nothing writes the arena.
        let slot = unsafe { self.arena.read(port.slot) };
        from_device_with(port.ty.space, self.layouts.get(&bandlimit(port.ty.space)), slot, out);
    }
}

/// Bytes of buffers, weights, partial sums and local ranges; what transforms keep beside them comes on top.
fn needed<T: Real>(plan: &Plan, threads: usize) -> u128 {
    let tables: u128 = plan.tables.iter().map(|t| t.weights().and_then(weights_len).unwrap_or(0) as u128).sum();
    let (mut scratch, mut addresses, mut local) = (0u128, 0u128, 0u128);
    for step in &plan.steps {
        match step {
            Step::Loop { trip, outer, grain, sums, streams, .. } => {
                let tasks = trip.div_ceil(task_len(*trip, *grain)) as u128;
                scratch += if tasks > 1 { tasks * sums.len as u128 } else { 0 };
                addresses += *outer as u128 * streams.len() as u128;
            }
            Step::Tile { L, scratch: own, sums, .. } => {
                scratch += tile::pairs(*L) as u128 * sums.len as u128;
                local = local.max(*own as u128);
            }
            Step::Gram { pairs, .. } => scratch += pairs.len() as u128,
            Step::Mix { coefficients, .. } => scratch += coefficients.iter().map(|s| s.len as u128).sum::<u128>(),
            _ => {}
        }
    }
    size_of::<T>() as u128 * (plan.arena as u128 + tables + scratch + local * threads as u128) + 8 * addresses
}

/// Elements of a task. Vector kernels take up to four at a time, so tasks begin at multiples of four.
fn task_len(trip: usize, grain: usize) -> usize {
    grain.min(trip).next_multiple_of(4)
}

/// Every access of every kernel stays inside the arrays of every step that runs it; the rest of the plan was checked.
fn kernels_fit<T: Real>(plan: &Plan, footprints: &[Arc<Footprint>]) -> Result<(), LoadError> {
    let tables = |used: &[usize]| used.iter().map(|t| plan.tables[*t].weights().and_then(weights_len).unwrap_or(0)).collect();
    let check = |step: usize, kernel: usize, usage: Usage| match footprints[kernel].fault(&usage) {
        None => Ok(()),
        Some((expected, found)) => Err(LoadError::Step { step, what: format!("kernel `{}`", plan.kernels[kernel].name), expected, found }),
    };
    for (k, step) in plan.steps.iter().enumerate() {
        match step {
            Step::Loop { kernel, trip, outer, grain, streams, tables: used, sums } => {
                let streams = streams.iter().map(|s| Given { numbers: s.extent, written: s.written, part: false }).collect();
                let (bytes, part, sums) = (size_of::<T>(), task_len(*trip, *grain), sums.len / outer);
                check(k, *kernel, Usage { bytes, trip: *trip, part, streams, tables: tables(used), sums })?;
            }
            Step::Tile { L, stages, .. } => {
                for stage in stages {
                    let scatterc_ir::plan::Stage::Loop { kernel, trip, sums, tables: used, streams } = stage else { continue };
                    let streams = streams
                        .iter()
                        .map(|s| Given { numbers: s.extent, written: s.written, part: matches!(s.place, scatterc_ir::plan::Place::Local(_)) })
                        .collect();
                    let (bytes, part) = (size_of::<T>(), trip / tile::pairs(*L));
                    check(k, *kernel, Usage { bytes, trip: *trip, part, streams, tables: tables(used), sums: sums.len() })?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The error of a table or step that cannot be made.
fn refused(k: usize, source: PlanarError, kernel: impl FnOnce(usize, KernelError) -> LoadError) -> LoadError {
    match source {
        PlanarError::Kernel(source) => kernel(k, source),
        PlanarError::Filter(source) => LoadError::Filter { source },
    }
}

fn bandlimit(space: Space) -> usize {
    match space {
        Space::Half { L } | Space::Full { L } | Space::Grid { L } | Space::Coefficients { L } | Space::Map { L } => L,
        Space::Rings { L, .. } => L,
        Space::Image { H, W } | Space::Spectrum { H, W } | Space::RealSpectrum { H, W } => H.max(W),
        Space::Pixels { nside, .. } => nside,
        Space::Point => 1,
        Space::Any => usize::MAX,
    }
}

fn check_port(port: &Port) -> Result<(), LoadError> {
    let fault = |expected: String, found: String| LoadError::Port { port: port.name.clone(), expected, found };
    let L = bandlimit(port.ty.space);
    let orders = if let Space::Rings { M, .. } = port.ty.space { M } else { 1 };
    if L == 0 || L > LARGEST_BANDLIMIT || orders > L {
        return Err(fault(format!("a bandlimit or sizes from 1 to {LARGEST_BANDLIMIT}"), port.ty.to_string()));
    }
    let len = port.ty.axes.iter().try_fold(device_len(port.ty.space), |len, n| len.checked_mul(*n));
    // The caller's array has the logical length, which is at most that of the slot.
    if len != Some(port.slot.len) {
        return Err(fault(format!("{} numbers for {}", len.map_or("fewer".into(), |len| len.to_string()), port.ty), port.slot.len.to_string()));
    }
    Ok(())
}

/// Attributes from which lengths are made are small enough for lengths not to overflow.
fn check_map(map: &Linear) -> Result<(), (String, String)> {
    for (name, attribute) in map.attributes() {
        if let ("L" | "L_in" | "L_out" | "M", scatterc_ir::ops::Attribute::Integer(k)) = (name, &attribute)
            && !(1..=LARGEST_BANDLIMIT as i64).contains(k)
        {
            return Err((format!("{name} from 1 to {LARGEST_BANDLIMIT}"), k.to_string()));
        }
    }
    if let Linear::Reindex { from, to, .. } | Linear::Reshape { from, to } = map {
        for sizes in [from, to] {
            if sizes.iter().try_fold(1usize, |product, n| product.checked_mul(*n)).is_none_or(|n| n > 1 << 40) {
                return Err(("axes of at most 2^40 elements".into(), format!("{sizes:?}")));
            }
        }
    }
    map.signature().map_err(|message| ("valid attributes".into(), message)).map(|_| ())
}

/// Length of the weights of a reduction, without making them.
fn weights_len(map: &Linear) -> Option<usize> {
    match map {
        Linear::Mean { .. }
        | Linear::RingMean { .. }
        | Linear::HalfPower { .. }
        | Linear::FullPower { .. }
        | Linear::CoefficientPower { .. }
        | Linear::Average { .. }
        | Linear::SpectralSum { .. }
        | Linear::PixelMean { .. }
        | Linear::CoefficientSum { .. } => map.signature().ok().map(|s| device_len(s.domain.1)),
        _ => None,
    }
}

/// The row with the pair's own `L_in`.
fn with_bandlimit(map: &Linear, L: usize) -> Option<Linear> {
    match map {
        Linear::WignerInverse { L: total, N, j, .. } => Some(Linear::WignerInverse { L_in: L, L: *total, N: *N, j: *j }),
        Linear::HarmonicInverse { L: grid, .. } => Some(Linear::HarmonicInverse { L_in: L, L: *grid }),
        Linear::ScalingInverse { L: total, j, .. } => Some(Linear::ScalingInverse { L_in: L, L: *total, j: *j }),
        _ => None,
    }
}

/// Device lengths of one field of operand and result, and for maps on axes of the number of blocks of unknown width.
fn field_lengths(map: &Linear, adjoint: bool) -> Option<(usize, usize)> {
    let signature = map.signature().ok()?;
    let len = |(axes, space): &(Vec<usize>, Space)| axes.iter().product::<usize>() * if *space == Space::Any { 1 } else { device_len(*space) };
    let (domain, range) = (len(&signature.domain), len(&signature.range));
    Some(if adjoint { (range, domain) } else { (domain, range) })
}

fn check_step(plan: &Plan, k: usize, step: &Step) -> Result<(), LoadError> {
    let fault = |what: &str, expected: String, found: String| Err(LoadError::Step { step: k, what: what.into(), expected, found });
    match step {
        Step::Linear { map, adjoint, pairs, bandlimits } => {
            for (i, (input, output)) in pairs.iter().enumerate() {
                let own = match bandlimits.get(i) {
                    Some(L) => match with_bandlimit(map, *L) {
                        Some(own) => own,
                        None => return fault("bandlimits", "none".into(), format!("{} for `{}`", bandlimits.len(), map.spelling())),
                    },
                    None => map.clone(),
                };
                if let Err((expected, found)) = check_map(&own) {
                    return fault(map.spelling(), expected, found);
                }
                let Some((from, to)) = field_lengths(&own, *adjoint) else {
                    return fault(map.spelling(), "valid attributes".into(), "others".into());
                };
                let whole = |slot: &Slot, width: usize| {
                    if width == 0 { (slot.len == 0).then_some(0) } else { slot.len.is_multiple_of(width).then(|| slot.len / width) }
                };
                if from != 0 && to != 0 && (whole(input, from).is_none() || whole(input, from) != whole(output, to)) {
                    return fault(
                        map.spelling(),
                        format!("as many fields of {from} numbers as of {to} in the output"),
                        format!("{} and {} numbers", input.len, output.len),
                    );
                }
                if (from == 0 || to == 0) && (input.len % from.max(1) != 0 || output.len % to.max(1) != 0) {
                    return fault(map.spelling(), "fields without numbers".into(), format!("{} and {} numbers", input.len, output.len));
                }
            }
        }
        Step::Loop { trip, outer, tables, sums, grain, streams, .. } => {
            if sums.len % outer != 0 {
                return fault("sums", format!("a multiple of outer={outer}"), sums.len.to_string());
            }
            // Limits that keep the address lists and partial sums of a plan from elsewhere in proportion.
            let tasks = trip.div_ceil(*grain).checked_mul(*outer).and_then(|n| n.checked_mul((sums.len / outer).max(1)));
            if *trip > 1 << 40 || tasks.is_none_or(|n| n > 1 << 32) || outer.checked_mul(streams.len().max(1)).is_none_or(|n| n > 1 << 32) {
                return fault("loop", "at most 2^32 partial sums and 2^40 elements".into(), format!("trip={trip} outer={outer} grain={grain}"));
            }
            for t in tables {
                let len = plan.tables[*t].weights().and_then(weights_len).unwrap_or(0);
                if len < *trip {
                    return fault(&format!("table {t}"), format!("at least trip={trip} numbers"), len.to_string());
                }
            }
        }
        Step::Tile { L, outer, scratch, stages, .. } => {
            if *L > LARGEST_BANDLIMIT {
                return fault("L", format!("at most {LARGEST_BANDLIMIT}"), L.to_string());
            }
            let table_len = |t: usize| plan.tables[t].weights().and_then(weights_len).unwrap_or(0);
            if let Some((what, expected, found)) = tile::fault(plan.arena, &table_len, *L, *outer, *scratch, stages) {
                return fault(&what, expected, found);
            }
        }
        Step::Gram { table, row_len, rows, outputs, .. } | Step::Mix { table, row_len, rows, outputs, .. } => {
            let len = plan.tables[*table].weights().and_then(weights_len).unwrap_or(0);
            if *row_len != len || *row_len == 0 {
                return fault("row_len", format!("{len}, the length of table {table}"), row_len.to_string());
            }
            let outputs: &[Slot] = if matches!(step, Step::Mix { .. }) { outputs } else { &[] };
            if let Some(slot) = rows.iter().chain(outputs).find(|slot| slot.len % row_len != 0) {
                return fault("rows", format!("whole rows of {row_len} numbers"), slot.len.to_string());
            }
        }
        Step::FrameGram { L, N, scales, bandlimits, .. } | Step::FrameMix { L, N, scales, bandlimits, .. } => {
            let out = if let Step::FrameMix { bandlimits_out, .. } = step { &bandlimits_out[..] } else { &[] };
            let (largest, N) = (bandlimits.iter().chain(out).copied().max().unwrap_or(1), *N);
            for j in scales {
                // The wavelets of a bandlimit far beyond that of the fields would be tables nobody can use.
                if *L > 2 * largest || *j > scatterc_ir::types::finest_scale(*L) {
                    return fault("scales", format!("a scale of L={L}, at most twice the fields' bandlimit {largest}"), j.to_string());
                }
                if let Err((expected, found)) = check_map(&Linear::FrameOperator { L_in: *L, L_out: *L, L: *L, N, j: *j }) {
                    return fault("frame operator", expected, found);
                }
            }
            if largest > LARGEST_BANDLIMIT {
                return fault("bandlimits", format!("at most {LARGEST_BANDLIMIT}"), largest.to_string());
            }
        }
        Step::FilterGram { filters, rows, .. } | Step::FilterMix { filters, rows, .. } => {
            let held: usize = rows.iter().map(|slot| slot.len).sum();
            for map in filters {
                if let Err((expected, found)) = check_map(map) {
                    return fault("filters", expected, found);
                }
                // Weights are as long as the rows; without rows nothing bounds them.
                let directions = if let Linear::SpectralFilter { bank, .. } = map { bank.L } else { 0 };
                if held == 0 || directions == 0 || directions > 1 << 16 {
                    return fault("filters", "1 to 65536 directions, and rows".into(), format!("{directions} directions, {held} numbers"));
                }
            }
        }
        Step::Concat { .. } | Step::Fill { .. } => {}
        Step::Launch { .. } => return fault("target", "a plan for the CPU".into(), "a launch of a CUDA kernel".into()),
    }
    Ok(())
}

/// What preparing a step needs.
struct Context<'a, T: Real> {
    cache: &'a Cache,
    arena: &'a Arena<T>,
    tables: &'a [Vec<T>],
    code: &'a Code<T>,
    legendre: Legendre,
    rings: BTreeMap<usize, Arc<RingFft<T>>>,
    planar: PlanarTables<T>,
    frames: BTreeMap<(usize, usize, usize), Arc<FrameOperator>>,
    memory: Memory,
    /// Addresses of the transforms whose tables were counted.
    counted: BTreeSet<usize>,
    thread_scratch: usize,
    /// Most numbers of all operands and results of a call of a kernel that computes in f64.
    wide: usize,
}

impl<T: Real> Context<'_, T> {
    fn prepare(&mut self, step: &Step) -> Result<Prepared<T>, PlanarError> {
        Ok(match step {
            // Without fields nothing is made, as no slot then bounds the attributes.
            Step::Linear { pairs, .. } if pairs.iter().all(|(input, output)| input.len == 0 && output.len == 0) => Prepared::Transforms(vec![]),
            Step::Linear { map: map @ (Linear::Average { .. } | Linear::SpectralSum { .. }), adjoint, pairs, .. } => {
                let weights = self.planar.weights(map)?.unwrap_or_default();
                let small = Small::Reduce { weights };
                self.memory.tables += small.bytes();
                Prepared::Small { pairs: small_pairs(map, *adjoint, pairs), map: small, adjoint: *adjoint }
            }
            Step::Linear { map: Linear::FrameOperator { L_in, L_out, L, N, j }, adjoint, pairs, .. } => {
                let operator = self.frame(*L, *N, *j)?;
                let (from, to) =
                    (scatterc_kernels::layout::coefficients_len(*L_in), (2 * N - 1) * scatterc_kernels::layout::coefficients_len(*L_out));
                let (from, to) = if *adjoint { (to, from) } else { (from, to) };
                let part = |slot: &Slot, f: usize, len: usize| Slot { offset: slot.offset + f * len, len };
                let pairs = pairs.iter().flat_map(|(a, b)| (0..a.len / from).map(move |f| (part(a, f, from), part(b, f, to)))).collect();
                let step = FrameStep::Apply { operator, adjoint: *adjoint, bandlimits: [*L_in, *L_out], pairs };
                self.wide = self.wide.max(step.numbers());
                Prepared::Frame(step)
            }
            Step::Linear {
                map: map @ (Linear::Stencil { .. } | Linear::SpinStencil { .. } | Linear::Downgrade { .. } | Linear::Upgrade { .. }),
                adjoint,
                pairs,
                ..
            } => {
                let map = self.cache.sparse(map, *adjoint)?;
                if self.counted.insert(Arc::as_ptr(&map) as usize) {
                    self.memory.tables += map.bytes();
                }
                let (from, to) = map.lengths();
                let part = |slot: &Slot, f: usize, len: usize| Slot { offset: slot.offset + f * len, len };
                let pairs: Vec<_> = pairs.iter().flat_map(|(a, b)| (0..a.len / from).map(move |f| (part(a, f, from), part(b, f, to)))).collect();
                let scratch = vec![T::default(); map.scratch_len(pairs.len())];
                self.memory.scratch += size_of::<T>() * scratch.len();
                Prepared::Sparse { work: map.flops() * pairs.len() as f64, map, pairs, scratch }
            }
            Step::Linear { map, adjoint, pairs, bandlimits } => match Small::new(map)? {
                Some(small) => {
                    self.memory.tables += small.bytes();
                    Prepared::Small { pairs: small_pairs(map, *adjoint, pairs), map: small, adjoint: *adjoint }
                }
                None if let Some(planar) = Planar::new(map, &mut self.planar)? => {
                    self.thread_scratch = self.thread_scratch.max(planar.scratch_len());
                    let work = pairs.iter().map(|(a, b)| planar.work(a.len.max(b.len))).sum();
                    Prepared::Planar { map: planar, adjoint: *adjoint, pairs: pairs.clone(), work }
                }
                None => {
                    // Pairs of one input bandlimit share one recursion.
                    let mut groups: BTreeMap<usize, Vec<(Slot, Slot)>> = BTreeMap::new();
                    for (k, pair) in pairs.iter().enumerate().filter(|(_, (input, _))| input.len > 0) {
                        groups.entry(bandlimits.get(k).copied().unwrap_or(0)).or_default().push(*pair);
                    }
                    let mut prepared = Vec::with_capacity(groups.len());
                    for (L, pairs) in groups {
                        let own = with_bandlimit(map, L).filter(|_| L > 0).unwrap_or_else(|| map.clone());
                        prepared.extend(self.transform(&own, *adjoint, &pairs)?);
                    }
                    Prepared::Transforms(prepared)
                }
            },
            Step::Loop { kernel, trip, outer, grain, streams, tables, sums } => {
                let grain = task_len(*trip, *grain);
                let chunks = trip.div_ceil(grain);
                let base = |stream: &Stream, o: usize| self.arena.at(stream.slot.offset + o * stream.stride);
                let partial = if chunks > 1 { vec![T::default(); outer * chunks * (sums.len / outer)] } else { vec![] };
                self.memory.scratch += size_of::<T>() * (partial.len() + outer * streams.len());
                Prepared::Loop(Loop {
                    entry: self.code.entry(*kernel),
                    trip: *trip,
                    outer: *outer,
                    grain,
                    chunks,
                    n_streams: streams.len(),
                    streams: (0..*outer).flat_map(|o| streams.iter().map(move |s| (s, o))).map(|(s, o)| base(s, o)).collect(),
                    tables: tables.iter().map(|t| self.tables[*t].as_ptr()).collect(),
                    sums: *sums,
                    partial,
                    // Every stream costs a load or a store and a few operations per element.
                    work: 4.0 * (*trip * *outer) as f64 * (streams.len() + tables.len()).max(1) as f64,
                })
            }
            Step::Tile { L, outer, scratch, sums, stages } => {
                let fft = self.ring_fft(*L)?;
                let entry = |k: usize| self.code.entry(k);
                let parts = tile::Parts { arena: self.arena, tables: self.tables, entry: &entry, fft };
                let tile = Tile::new(parts, *outer, *scratch, *sums, stages);
                self.memory.scratch += tile.bytes();
                self.thread_scratch = self.thread_scratch.max(tile.scratch_len());
                Prepared::Tile(tile)
            }
            Step::Gram { table, row_len, rows, pairs, places, outputs } => {
                let rows = split(rows, *row_len);
                let pairs: Vec<(u32, u32)> = pairs.chunks_exact(2).map(|p| (p[0] as u32, p[1] as u32)).collect();
                self.memory.scratch += 8 * pairs.len();
                Prepared::Gram {
                    plan: GramPlan::new(rows.len(), &pairs),
                    table: *table,
                    rows,
                    places: places.clone(),
                    outputs: outputs.clone(),
                    values: vec![T::default(); pairs.len()],
                    work: 2.0 * (pairs.len() * row_len) as f64,
                }
            }
            Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs } => {
                let mut rest = terms.chunks_exact(2).map(|t| (t[0] as u32, t[1] as u32));
                let gathered = vec![T::default(); coefficients.iter().map(|slot| slot.len).sum()];
                self.memory.scratch += 8 * gathered.len();
                let terms: Vec<Vec<(u32, u32)>> = counts.iter().map(|n| rest.by_ref().take(*n).collect()).collect();
                let rows = split(rows, *row_len);
                let plan = MixPlan::new(rows.len(), &terms);
                let work = (plan.flops() * row_len) as f64;
                Prepared::Mix { plan, table: *table, rows, coefficients: coefficients.clone(), gathered, outputs: split(outputs, *row_len), work }
            }
            Step::FrameGram { .. } | Step::FrameMix { .. } => match FrameStep::new(step, |L, N, j| self.frame(L, N, j))? {
                Some(prepared) => {
                    let (held, scratch) = prepared.memory();
                    self.memory.scratch += held;
                    self.wide = self.wide.max(prepared.numbers());
                    self.thread_scratch = self.thread_scratch.max(scratch);
                    Prepared::Frame(prepared)
                }
                None => unreachable!("the arm names the steps that `FrameStep` prepares"),
            },
            Step::FilterGram { .. } | Step::FilterMix { .. } => match WeighedStep::new(step, &mut self.planar)? {
                Some(prepared) => {
                    self.memory.scratch += prepared.bytes();
                    Prepared::Weighed(prepared)
                }
                None => unreachable!("the arm names the steps that `WeighedStep` prepares"),
            },
            Step::Concat { rows, inputs, output } => Prepared::Concat { rows: *rows, inputs: inputs.clone(), output: *output },
            Step::Fill { value, output } => Prepared::Fill { value: *value, output: *output },
            // `check_step` has refused it.
            Step::Launch { .. } => Prepared::Transforms(vec![]),
        })
    }

    /// Counts what a transform holds: steps of one transform and of its adjoint share its tables, transforms of one grid share more.
    fn count(&mut self, transform: &Arc<HarmonicTransform>) {
        let (grid, grid_bytes) = transform.grid_bytes();
        for (address, bytes) in [(Arc::as_ptr(transform) as usize, transform.table_bytes()), (grid, grid_bytes)] {
            if self.counted.insert(address) {
                self.memory.tables += bytes;
            }
        }
        self.thread_scratch = self.thread_scratch.max(transform.scratch_len());
    }

    /// The frame operator of a scale; its wavelet transform is the one that first layers use.
    fn frame(&mut self, L: usize, N: usize, j: usize) -> Result<Arc<FrameOperator>, KernelError> {
        if let Some(operator) = self.frames.get(&(L, N, j)) {
            return Ok(operator.clone());
        }
        let wavelets = self.cache.transform(Transform::Wavelet { L_in: L, L, N, j })?;
        self.count(&wavelets);
        let operator = Arc::new(FrameOperator::new(L, N, j, wavelets)?);
        self.memory.tables += operator.table_bytes();
        self.frames.insert((L, N, j), operator.clone());
        Ok(operator)
    }

    /// The ring transform of a grid, made once.
    fn ring_fft(&mut self, L: usize) -> Result<Arc<RingFft<T>>, KernelError> {
        if let Some(fft) = self.rings.get(&L) {
            return Ok(fft.clone());
        }
        let fft = Arc::new(RingFft::new(L)?);
        self.memory.tables += fft.table_bytes();
        self.rings.insert(L, fft.clone());
        Ok(fft)
    }

    /// A transform applied to consecutive fields; nothing where the range is empty.
    fn transform(&mut self, map: &Linear, adjoint: bool, pairs: &[(Slot, Slot)]) -> Result<Option<Fields<T>>, KernelError> {
        let Some((from, to)) = field_lengths(map, adjoint).filter(|(from, to)| *from > 0 && *to > 0) else { return Ok(None) };
        let fields: Vec<(Slot, Slot)> = pairs
            .iter()
            .flat_map(|(input, output)| {
                (0..input.len / from)
                    .map(move |f| (Slot { offset: input.offset + f * from, len: from }, Slot { offset: output.offset + f * to, len: to }))
            })
            .collect();
        let direct = |forward: Stage, backward: Stage| if adjoint { backward } else { forward };
        let (wanted, stage, M) = match map {
            Linear::WignerInverse { L_in, L, N, j } => {
                let wanted = Transform::Wavelet { L_in: *L_in, L: *L, N: *N, j: *j };
                (Ok(wanted), direct(Stage::Synthesis, Stage::SynthesisAdjoint), scale_bandlimit(*L, *j))
            }
            Linear::HarmonicInverse { L_in, L } => {
                (Ok(Transform::Plain { L_in: *L_in, L: *L }), direct(Stage::Synthesis, Stage::SynthesisAdjoint), *L)
            }
            Linear::ScalingInverse { L_in, L, j } => {
                let wanted = Transform::Scaling { L_in: *L_in, L: *L, j: *j };
                (Ok(wanted), direct(Stage::Synthesis, Stage::SynthesisAdjoint), scale_bandlimit(*L, *j))
            }
            Linear::HarmonicForward { L, M, L_out } => {
                (Ok(Transform::Analysis { L: *L, L_out: *L_out }), direct(Stage::Analysis, Stage::AnalysisAdjoint), *M)
            }
            Linear::RingInverse { L, M } => (Err(*L), direct(Stage::RingInverse, Stage::RingInverseAdjoint), *M),
            Linear::RingForward { L, M } => (Err(*L), direct(Stage::RingForward, Stage::RingForwardAdjoint), *M),
            Linear::HermitianPack { .. }
            | Linear::FullReal { .. }
            | Linear::FullImaginary { .. }
            | Linear::GridToMap { .. }
            | Linear::CoefficientMean { .. }
            | Linear::HalfPower { .. }
            | Linear::FullPower { .. }
            | Linear::CoefficientPower { .. }
            | Linear::CoefficientSum { .. }
            | Linear::FrameOperator { .. }
            | Linear::Steer { .. }
            | Linear::Mean { .. }
            | Linear::RingMean { .. }
            | Linear::Reindex { .. }
            | Linear::Reshape { .. }
            | Linear::Gather { .. }
            | Linear::Slice { .. }
            | Linear::Spread { .. }
            | Linear::Fourier { .. }
            | Linear::FourierReal { .. }
            | Linear::FourierInverse { .. }
            | Linear::Filter { .. }
            | Linear::FilterInverse { .. }
            | Linear::FilterEach { .. }
            | Linear::Smooth { .. }
            | Linear::Truncate { .. }
            | Linear::Clip { .. }
            | Linear::Fold { .. }
            | Linear::Pick { .. }
            | Linear::Roll { .. }
            | Linear::SpectrumParts { .. }
            | Linear::ImageStencil { .. }
            | Linear::BlockMean { .. }
            | Linear::Enlarge { .. }
            | Linear::SpectralFilter { .. }
            | Linear::Average { .. }
            | Linear::SpectralSum { .. }
            | Linear::Stencil { .. }
            | Linear::SpinStencil { .. }
            | Linear::Downgrade { .. }
            | Linear::Upgrade { .. }
            | Linear::PixelMean { .. }
            | Linear::Scale { .. } => return Ok(None),
        };
        let (transform, work, padding) = match wanted {
            Ok(wanted) => {
                let transform = self.cache.transform_for(wanted, self.legendre, fields.len())?;
                self.count(&transform);
                let padding = if stage == Stage::SynthesisAdjoint { padding(&RingLayout::new(transform.L())?) } else { vec![] };
                let work = transform.flops(fields.len());
                self.wide = self.wide.max(fields.iter().map(|(a, b)| a.len + b.len).sum());
                (Kind::Harmonic(transform), work, padding)
            }
            Err(L) => {
                let fft = self.ring_fft(L)?;
                self.thread_scratch = self.thread_scratch.max(fft.scratch_len());
                let work = fft.flops() * fields.len() as f64;
                (Kind::Ring(fft), work, vec![])
            }
        };
        Ok(Some(Fields { transform, stage, M, pairs: fields, work, padding, clean: vec![] }))
    }
}

/// Fields of a small map: one pair of slots per field. Maps on axes have one field per pair, as wide as the slot.
fn small_pairs(map: &Linear, adjoint: bool, pairs: &[(Slot, Slot)]) -> Vec<(Slot, Slot)> {
    let (from, to) = match field_lengths(map, adjoint) {
        Some((from, to)) if from > 0 && to > 0 && !map.acts_on_axes() => (from, to),
        _ => return pairs.to_vec(),
    };
    let part = |slot: &Slot, f: usize, len: usize| Slot { offset: slot.offset + f * len, len };
    pairs.iter().flat_map(|(a, b)| (0..a.len / from).map(move |f| (part(a, f, from), part(b, f, to)))).collect()
}

/// Consecutive rows of several buffers.
fn split(slots: &[Slot], row_len: usize) -> Vec<Slot> {
    slots.iter().flat_map(|slot| (0..slot.len / row_len).map(|r| Slot { offset: slot.offset + r * row_len, len: row_len })).collect()
}

/// Padding lanes, all of which lie in the last pair of blocks.
fn padding(layout: &RingLayout) -> Vec<(usize, usize)> {
    let n = layout.n_blocks();
    (n - 2..n).flat_map(|block| (0..LANES).map(move |lane| (block, lane))).filter(|(block, lane)| layout.is_padding(*block, *lane)).collect()
}

impl<T: Real> Prepared<T> {
    /// Runs the step.
    ///
    /// # Safety
    ///
    /// Nothing else may touch the step's slots meanwhile, and what it writes may overlap nothing it reads.
    unsafe fn run(&mut self, arena: &Arena<T>, tables: &[Vec<T>], wide: &mut Wide, threads: &Threads) {
        // SAFETY: the caller promises that no slot read here is written meanwhile.
        let read = |slot: &Slot| unsafe { arena.read(*slot) };
        // SAFETY: the caller promises that no slot written here is touched by anything else.
        let write = |slot: &Slot| unsafe { arena.write(*slot) };
        match self {
            Prepared::Transforms(groups) => {
                for fields in groups {
                    let (mut inputs, mut outputs): (Vec<&[T]>, Vec<&mut [T]>) = fields.pairs.iter().map(|(a, b)| (read(a), write(b))).unzip();
                    clean_padding(&mut inputs, &fields.padding, fields.M, &mut fields.clean);
                    let par = threads.of(fields.work);
                    match (&fields.transform, fields.stage) {
                        (Kind::Harmonic(t), stage) => wide.run(par, &inputs, &mut outputs, |inputs, outputs| match stage {
                            Stage::Synthesis => t.synthesis(par, inputs, outputs),
                            Stage::SynthesisAdjoint => t.synthesis_adjoint(par, inputs, fields.M, outputs),
                            Stage::Analysis => t.analysis(par, inputs, fields.M, outputs),
                            Stage::AnalysisAdjoint => t.analysis_adjoint(par, inputs, fields.M, outputs),
                            Stage::RingInverse | Stage::RingInverseAdjoint | Stage::RingForward | Stage::RingForwardAdjoint => {
                                unreachable!("`Context::transform` pairs every stage with its transform")
                            }
                        }),
                        (Kind::Ring(t), Stage::RingInverse) => t.inverse(par, &inputs, fields.M, &mut outputs),
                        (Kind::Ring(t), Stage::RingInverseAdjoint) => t.inverse_adjoint(par, &inputs, fields.M, &mut outputs),
                        (Kind::Ring(t), Stage::RingForward) => t.forward(par, &inputs, fields.M, &mut outputs),
                        (Kind::Ring(t), Stage::RingForwardAdjoint) => t.forward_adjoint(par, &inputs, fields.M, &mut outputs),
                        (Kind::Ring(_), Stage::Synthesis | Stage::SynthesisAdjoint | Stage::Analysis | Stage::AnalysisAdjoint) => {
                            unreachable!("`Context::transform` pairs every stage with its transform")
                        }
                    }
                }
            }
            Prepared::Planar { map, adjoint, pairs, work } => {
                for (input, output) in pairs.iter() {
                    map.apply(threads.of(*work), *adjoint, read(input), write(output));
                }
            }
            Prepared::Sparse { map, pairs, work, scratch } => {
                let (inputs, mut outputs): (Vec<&[T]>, Vec<&mut [T]>) = pairs.iter().map(|(a, b)| (read(a), write(b))).unzip();
                map.apply(threads.of(*work), &inputs, &mut outputs, scratch);
            }
            Prepared::Small { map, adjoint, pairs } => {
                for (input, output) in pairs.iter() {
                    map.apply(*adjoint, read(input), write(output));
                }
            }
            Prepared::Loop(task) => {
                let per = task.sums.len / task.outer;
                let sums = Shared(if task.chunks > 1 { task.partial.as_mut_ptr() } else { arena.at(task.sums.offset) });
                let shared = &*task;
                threads.of(task.work).for_each(task.outer * task.chunks, &|k| {
                    let (o, chunk) = (k / shared.chunks, k % shared.chunks);
                    let (begin, end) = (chunk * shared.grain, ((chunk + 1) * shared.grain).min(shared.trip));
                    let streams = &shared.streams[o * shared.n_streams..];
                    // SAFETY: streams, tables and sums are as many as the step names; the plan was verified to keep every stream in its slot; every task has its own
                    // elements and its own sums, and `kernels_fit` has proven that the kernel stays inside the extents.
                    unsafe { (shared.entry)(streams.as_ptr(), shared.tables.as_ptr(), sums.get().add(k * per), begin as i64, end as i64) };
                });
                if task.chunks > 1 && per > 0 {
                    // Always in the order of the chunks, so that the number of threads does not matter.
                    for (sums, partial) in write(&task.sums).chunks_exact_mut(per).zip(task.partial.chunks_exact(per * task.chunks)) {
                        add_up(partial, sums);
                    }
                }
            }
            Prepared::Tile(tile) => {
                let par = threads.of(tile.work());
                // SAFETY: the caller's promise, passed on.
                unsafe { tile.run(arena, par) };
            }
            Prepared::Gram { plan, table, rows, places, outputs, values, work } => {
                let rows: Vec<&[T]> = rows.iter().map(read).collect();
                plan.run(threads.of(*work), &rows, &tables[*table], values);
                let mut places = places.iter();
                for output in outputs.iter() {
                    write(output).iter_mut().zip(&mut places).for_each(|(out, place)| *out = values[*place]);
                }
            }
            Prepared::Mix { plan, table, rows, coefficients, gathered, outputs, work } => {
                let rows: Vec<&[T]> = rows.iter().map(read).collect();
                let mut rest = gathered.as_mut_slice();
                for slot in coefficients.iter() {
                    let (head, tail) = rest.split_at_mut(slot.len);
                    head.copy_from_slice(read(slot));
                    rest = tail;
                }
                let mut outputs: Vec<&mut [T]> = outputs.iter().map(write).collect();
                plan.run(threads.of(*work), &rows, Some(&tables[*table]), gathered, &mut outputs);
            }
            // SAFETY: the caller's promise, passed on.
            Prepared::Frame(step) => unsafe { step.run(arena, wide, threads) },
            // SAFETY: as above.
            Prepared::Weighed(step) => unsafe { step.run(arena, threads) },
            Prepared::Concat { rows, inputs, output } => {
                let joined = write(output);
                let stride = joined.len() / *rows;
                let mut start = 0;
                for input in inputs.iter() {
                    let width = input.len / *rows;
                    for (row, part) in read(input).chunks_exact(width.max(1)).enumerate() {
                        joined[row * stride + start..][..width].copy_from_slice(part);
                    }
                    start += width;
                }
            }
            Prepared::Fill { value, output } => write(output).fill(T::of(*value)),
        }
    }
}

/// Replaces fields whose padding is not zero by cleaned copies.
fn clean_padding<'a, T: Real>(inputs: &mut [&'a [T]], padding: &[(usize, usize)], M: usize, clean: &'a mut Vec<T>) {
    let (Some(first), Some((last_block, _))) = (inputs.first(), padding.last()) else { return };
    // Whole channels follow one another; the padding of each lies in its last pair of blocks.
    let n_blocks = (last_block | 1) + 1;
    let (width, block_len) = (first.len(), M * 2 * LANES);
    let channel = n_blocks * block_len;
    let lanes =
        move |c: usize| padding.iter().flat_map(move |(block, lane)| (0..2 * M).map(move |row| c * channel + block * block_len + row * LANES + lane));
    let dirty: Vec<usize> = (0..inputs.len()).filter(|f| (0..width / channel).any(|c| lanes(c).any(|i| inputs[*f][i] != T::default()))).collect();
    if dirty.is_empty() {
        return;
    }
    clean.resize(dirty.len() * width, T::default());
    for (copy, f) in clean.chunks_exact_mut(width).zip(&dirty) {
        copy.copy_from_slice(inputs[*f]);
        (0..width / channel).for_each(|c| lanes(c).for_each(|i| copy[i] = T::default()));
    }
    let clean: &'a [T] = clean;
    for (copy, f) in clean.chunks_exact(width).zip(dirty) {
        inputs[f] = copy;
    }
}
