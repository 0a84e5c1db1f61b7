//! Tiles: ring transforms and loops on one pair of blocks at a time, from the first transform to the last while the samples are in cache.
//!
//! ```text
//! for every outer iteration, for every pair of blocks (one task):
//!     rings in the arena --inverse--> samples in scratch --loop--> samples in scratch --forward--> rings in the arena
//!                                                          \--> partial sums of the pair, added in the order of the pairs
//! ```
//!
//! A row in the arena holds all pairs, a local row that of the task. Loops index elements of the whole row, so a local range is handed to them as the address
//! that its row would start at if it held the pairs before, too.

use crate::arena::Arena;
use crate::jit::Entry;
use crate::threads::Shared;
use scatterc_ir::Linear;
use scatterc_ir::plan::{Place, Slot};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::simd::{Real, with_scratch};
use scatterc_kernels::{Parallel, layout};
use std::sync::Arc;

/// Where the rows of a stage lie.
#[derive(Clone, Copy)]
enum Rows<T> {
    /// First f64 in the arena, f64 between outer iterations.
    Arena { start: *mut T, stride: usize },
    /// f64 from the start of the thread's scratch memory.
    Local { offset: usize },
}

enum Stage<T> {
    Rings {
        inverse: bool,
        M: usize,
        /// Factors of order 0 and of the others, which make an adjoint of a transform in the other direction.
        scales: (f64, f64),
        rows: usize,
        from: Field<T>,
        to: Field<T>,
    },
    Loop {
        entry: Entry<T>,
        /// Elements per pair of blocks.
        share: usize,
        streams: Vec<Rows<T>>,
        tables: Vec<*const T>,
        /// Where its sums belong.
        sums: Vec<usize>,
    },
}

/// Rows of a ring transform: where, f64 between rows, f64 of one pair.
struct Field<T> {
    rows: Rows<T>,
    row: usize,
    share: usize,
}

impl<T> Field<T> {
    /// First f64 of the pair of blocks in a row.
    ///
    /// # Safety
    ///
    /// The row and the pair exist, and `scratch` points at the local ranges.
    unsafe fn at(&self, outer: usize, row: usize, pair: usize, scratch: *mut T) -> *mut T {
        // SAFETY: the caller's promise; lengths were checked when the plan was loaded.
        unsafe {
            match self.rows {
                Rows::Arena { start, stride } => start.add(outer * stride + row * self.row + pair * self.share),
                Rows::Local { offset } => scratch.add(offset + row * self.share),
            }
        }
    }
}

/// A tile ready to run.
pub(crate) struct Tile<T: Real> {
    fft: Arc<RingFft<T>>,
    outer: usize,
    stages: Vec<Stage<T>>,
    /// f64 of local ranges.
    local: usize,
    /// Most streams and most sums of a loop.
    most_streams: usize,
    most_sums: usize,
    sums: Slot,
    /// `[outer][pairs][sums per outer]`.
    partial: Vec<T>,
    work: f64,
}

// SAFETY: the pointers lead into the arena, the tables and the code owned by the same executable, whose `&mut self` methods are the only users.
unsafe impl<T: Real> Send for Tile<T> {}
// SAFETY: as above; tasks touch disjoint pairs of blocks, except for reads.
unsafe impl<T: Real> Sync for Tile<T> {}

/// What a tile is made of, beside its stages.
pub(crate) struct Parts<'a, T: Real> {
    pub(crate) arena: &'a Arena<T>,
    pub(crate) tables: &'a [Vec<T>],
    pub(crate) entry: &'a dyn Fn(usize) -> Entry<T>,
    pub(crate) fft: Arc<RingFft<T>>,
}

impl<T: Real> Tile<T> {
    /// Addresses and factors of all stages; their lengths were checked by [`fault`].
    pub(crate) fn new(parts: Parts<'_, T>, outer: usize, local: usize, sums: Slot, stages: &[scatterc_ir::plan::Stage]) -> Tile<T> {
        let Parts { arena, tables, entry, fft } = parts;
        let n_pairs = fft.n_pairs();
        let rows_of = |place: Place, stride: usize| match place {
            Place::Arena(slot) => Rows::Arena { start: arena.at(slot.offset), stride },
            Place::Local(slot) => Rows::Local { offset: slot.offset },
        };
        let mut prepared = Vec::with_capacity(stages.len());
        let (mut total_sums, mut work, mut most_streams, mut most_sums) = (0, 0.0, 0, 0);
        for stage in stages {
            prepared.push(match stage {
                scatterc_ir::plan::Stage::Rings { map, adjoint, first, rows, from, to } => {
                    let (M, is_inverse) = match map {
                        Linear::RingInverse { M, .. } => (*M, true),
                        Linear::RingForward { M, .. } => (*M, false),
                        other => unreachable!("`{}` was refused by the plan's rule P4", other.spelling()),
                    };
                    let inverse = is_inverse != *adjoint;
                    // Stored orders m > 0 stand for m and -m: the adjoint of either direction carries the factor that the other lacks.
                    let scale = match (inverse, adjoint) {
                        (_, false) => 1.0,
                        (true, true) => 0.5,
                        (false, true) => 2.0,
                    };
                    let (rings, map) = (fft.rings_len(M), fft.map_len());
                    let (from_len, to_len) = if inverse { (rings, map) } else { (map, rings) };
                    let field = |place: Place, len: usize| {
                        let rows = match place {
                            Place::Arena(slot) => Rows::Arena { start: arena.at(slot.offset + first * len), stride: slot.len / outer },
                            Place::Local(slot) => Rows::Local { offset: slot.offset },
                        };
                        Field { rows, row: len, share: len / n_pairs }
                    };
                    work += fft.flops() * (rows * outer) as f64;
                    Stage::Rings { inverse, M, scales: (1.0, scale), rows: *rows, from: field(*from, from_len), to: field(*to, to_len) }
                }
                scatterc_ir::plan::Stage::Loop { kernel, trip, sums, tables: used, streams } => {
                    total_sums += sums.len();
                    most_sums = most_sums.max(sums.len());
                    most_streams = most_streams.max(streams.len());
                    work += 4.0 * (trip * outer * (streams.len() + used.len()).max(1)) as f64;
                    Stage::Loop {
                        entry: entry(*kernel),
                        share: trip / n_pairs,
                        streams: streams.iter().map(|s| rows_of(s.place, s.stride)).collect(),
                        tables: used.iter().map(|t| tables[*t].as_ptr()).collect(),
                        sums: sums.clone(),
                    }
                }
            });
        }
        let partial = vec![T::default(); outer * n_pairs * total_sums];
        Tile { fft, outer, stages: prepared, local, most_streams, most_sums, sums, partial, work }
    }

    /// f64 of scratch memory each thread keeps.
    pub(crate) fn scratch_len(&self) -> usize {
        self.fft.scratch_len().next_multiple_of(16) + self.local.next_multiple_of(16) + self.addresses_len() + self.most_sums
    }

    /// Numbers as long as the addresses of the widest loop.
    fn addresses_len(&self) -> usize {
        self.most_streams * size_of::<*mut T>() / size_of::<T>()
    }

    /// Bytes of partial sums.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<T>() * self.partial.len()
    }

    /// Floating-point operations, roughly.
    pub(crate) fn work(&self) -> f64 {
        self.work
    }

    /// Runs all stages on all pairs of blocks.
    ///
    /// # Safety
    ///
    /// Nothing else may touch the tile's slots meanwhile, and what it writes may overlap nothing it reads from other steps.
    pub(crate) unsafe fn run(&mut self, arena: &Arena<T>, par: &dyn Parallel) {
        let n_pairs = self.fft.n_pairs();
        let per_task = self.partial.len() / (self.outer * n_pairs).max(1);
        let partial = Shared(self.partial.as_mut_ptr());
        let tile = &*self;
        par.for_each(self.outer * n_pairs, &|task| {
            let (outer, pair) = (task / n_pairs, task % n_pairs);
            with_scratch(tile.scratch_len(), |scratch| {
                // SAFETY: the task works on its own pair of blocks, its thread's scratch memory and its own partial sums; lengths were checked when the plan was
                // loaded, and kernels were proven to stay inside the extents of their streams.
                unsafe { tile.pair(outer, pair, scratch, partial.get().add(task * per_task)) };
            });
        });
        if per_task > 0 {
            // SAFETY: the caller promises that nothing else touches the step's slots.
            let sums = unsafe { arena.write(self.sums) };
            // Always in the order of the pairs, so that the number of threads does not matter.
            for (sums, partial) in sums.chunks_exact_mut(per_task).zip(self.partial.chunks_exact(per_task * n_pairs)) {
                add_up(partial, sums);
            }
        }
    }

    /// # Safety
    ///
    /// `scratch` has [`Self::scratch_len`] f64, `sums` as many as the tile has per outer iteration, and no other task works on this pair.
    unsafe fn pair(&self, outer: usize, pair: usize, scratch: *mut T, sums: *mut T) {
        // SAFETY: the scratch memory holds what the transform needs, then the local ranges, the addresses of streams, on whole cache lines, and the sums of a loop.
        let (local, addresses, own_sums) = unsafe {
            let local = scratch.add(self.fft.scratch_len().next_multiple_of(16));
            let addresses = local.add(self.local.next_multiple_of(16));
            (local, addresses.cast::<*mut T>(), addresses.add(self.addresses_len()))
        };
        for stage in &self.stages {
            match stage {
                Stage::Rings { inverse, M, scales, rows, from, to } => {
                    for row in 0..*rows {
                        // SAFETY: rows and pair exist; source, target and scratch are apart by the plan's rules P3 and P4.
                        unsafe {
                            let samples = if *inverse { to } else { from };
                            let cached = matches!(samples.rows, Rows::Local { .. });
                            let (from, to) = (from.at(outer, row, pair, local), to.at(outer, row, pair, local));
                            if *inverse {
                                self.fft.inverse_blocks(from, *M, to, scratch, *scales, cached);
                            } else {
                                self.fft.forward_blocks(from, *M, to, scratch, *scales, cached);
                            }
                        }
                    }
                }
                Stage::Loop { entry, share, streams, tables, sums: places } => {
                    let begin = pair * share;
                    for (k, rows) in streams.iter().enumerate() {
                        let start = match rows {
                            // SAFETY: every outer iteration stays in the slot by the plan's rule P4.
                            Rows::Arena { start, stride } => unsafe { start.add(outer * stride) },
                            // The kernel adds its element back.
                            Rows::Local { offset } => local.wrapping_add(*offset).wrapping_sub(begin),
                        };
                        // SAFETY: there is room for the addresses of the widest loop.
                        unsafe { addresses.add(k).write(start) };
                    }
                    // SAFETY: streams, tables and sums are as many as the stage names, and hold elements `begin..begin + share`.
                    unsafe { entry(addresses, tables.as_ptr(), own_sums, begin as i64, (begin + share) as i64) };
                    for (k, place) in places.iter().enumerate() {
                        // SAFETY: the plan's rule P2 gives every sum a place among those of the tile.
                        unsafe { sums.add(*place).write(*own_sums.add(k)) };
                    }
                }
            }
        }
    }
}

/// Sums over consecutive parts of equal length, in their order and in f64.
pub(crate) fn add_up<T: Real>(parts: &[T], sums: &mut [T]) {
    let width = sums.len();
    for (k, sum) in sums.iter_mut().enumerate() {
        *sum = T::of(parts.iter().skip(k).step_by(width).map(|x| x.wide()).sum());
    }
}

/// Pairs of blocks of the grid of that bandlimit; at least one.
pub(crate) fn pairs(L: usize) -> usize {
    layout::rings_len(L, 1) / (4 * scatterc_kernels::simd::LANES)
}

/// Why a verified tile does not fit the device's layouts: what, expected, found.
pub(crate) fn fault(
    arena: usize,
    table_len: &dyn Fn(usize) -> usize,
    L: usize,
    outer: usize,
    scratch: usize,
    stages: &[scatterc_ir::plan::Stage],
) -> Option<(String, String, String)> {
    let what = |what: &str, expected: String, found: String| Some((what.to_string(), expected, found));
    let n_pairs = pairs(L);
    let tasks = outer.checked_mul(n_pairs).filter(|n| *n <= 1 << 32);
    if tasks.is_none() {
        return what("outer", "at most 2^32 pairs of blocks".into(), outer.to_string());
    }
    for stage in stages {
        match stage {
            scatterc_ir::plan::Stage::Rings { map, adjoint, first, rows, from, to } => {
                let (Linear::RingInverse { M, .. } | Linear::RingForward { M, .. }) = map else {
                    return what("rings", "a ring transform".into(), map.spelling().into());
                };
                if *M == 0 || *M > L {
                    return what("M", format!("1 to L={L}"), M.to_string());
                }
                let (rings, samples) = (layout::rings_len(L, *M), layout::map_len(L));
                let inverse = matches!(map, Linear::RingInverse { .. }) != *adjoint;
                let lens = if inverse { [rings, samples] } else { [samples, rings] };
                for (place, len) in [from, to].into_iter().zip(lens) {
                    let found = place.slot().len;
                    let fits = match place {
                        Place::Arena(_) => {
                            let total = outer.checked_mul(len).filter(|n| found.is_multiple_of(*n)).map_or(0, |n| found / n);
                            first.checked_add(*rows).is_some_and(|end| end <= total)
                        }
                        Place::Local(_) => rows.checked_mul(len / n_pairs) == Some(found),
                    };
                    if !fits {
                        return what(map.spelling(), format!("rows {first}+{rows} of {len} numbers each, {outer} times"), place.to_string());
                    }
                }
            }
            scatterc_ir::plan::Stage::Loop { trip, tables, streams, .. } => {
                // Two elements at a time, so pairs begin at even elements.
                if !trip.is_multiple_of(2 * n_pairs) || *trip > 1 << 40 {
                    return what("trip", format!("a multiple of {}, the same for each pair of blocks", 2 * n_pairs), trip.to_string());
                }
                if let Some(t) = tables.iter().find(|t| table_len(**t) < *trip) {
                    return what(&format!("table {t}"), format!("at least trip={trip} numbers"), table_len(*t).to_string());
                }
                if streams.len() > 1 << 20 {
                    return what("streams", "at most 2^20".into(), streams.len().to_string());
                }
            }
        }
    }
    // Rings of one order make samples of sixteen times their length; nothing a compiler writes comes near this limit.
    // A field that is made and read in the tile lies nowhere in the arena; all of it together counts as memory when the plan is loaded.
    let most = arena.max(layout::rings_len(L, L)).saturating_mul(64);
    if scratch > most {
        return what("scratch", format!("at most {most} numbers, 64 times the arena or the grid"), scratch.to_string());
    }
    None
}
