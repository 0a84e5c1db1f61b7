//! The plan: buffers, tables, kernels as text and steps in order. Compiler and runtime meet only here; a plan is a text file that can be saved, read, edited and run.
//!
//! All buffers are ranges of one arena of f64. Buffers of `rings` and `map` values are in the device's lane-blocked layout, all others in the logical one. A value of type
//! `[a,b] space` is `a * b` consecutive blocks of the space's device length.
//!
//! ```text
//! plan covariance {
//!   note domain = "sphere L=8 N=3 J_min=0 input=half"
//!   arena 4096
//!   input x = 0+128 : [] half(8)
//!   output S1 = 128+20 : [20] point
//!   table weights mean {L=8}
//!   kernel k0 "loop over map(8) for abs, mean"
//!     | function u0:0(i64, i64, i64, i64, i64) system_v { ..
//!   step linear wigner_inverse {L_in=8, L=8, N=3, j=2} bandlimits=[8] (256+72 -> 384+768)
//!   step loop 0 trip=240 outer=1 grain=8192 sums=4000+5 tables=[0] (read 1152+720/0/720, write 1872+1200/0/1200)
//!   step tile L=8 outer=1 scratch=1920 sums=4000+5 [rings ring_inverse {L=8, M=8} first=0 rows=3 (384+768 -> local 0+720); loop 0 trip=240 sums=[0..5] tables=[0] (read local 0+720/0/720, write local 720+1200/0/1200); rings ring_forward {L=8, M=4} first=0 rows=5 (local 720+1200 -> 1152+640)]
//! }
//! ```

use crate::ops::{Attribute, Linear};
use crate::text::{Allowance, Cursor, TextError};
use crate::types::Type;
use std::fmt;

/// A range of the arena, in f64.
///
/// ```
/// use scatterc_ir::plan::Slot;
///
/// assert_eq!(Slot { offset: 128, len: 20 }.to_string(), "128+20");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// First f64.
    pub offset: usize,
    /// Number of f64.
    pub len: usize,
}

impl Slot {
    /// Whether both ranges have a number in common.
    ///
    /// ```
    /// use scatterc_ir::plan::Slot;
    ///
    /// let slot = Slot { offset: 10, len: 5 };
    /// assert!(slot.overlaps(&Slot { offset: 14, len: 1 }) && !slot.overlaps(&Slot { offset: 15, len: 1 }));
    /// ```
    pub fn overlaps(&self, other: &Slot) -> bool {
        self.len > 0 && other.len > 0 && self.offset < other.offset.saturating_add(other.len) && other.offset < self.offset.saturating_add(self.len)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.len)
    }
}

/// An array the caller fills or reads.
///
/// ```
/// use scatterc_ir::plan::{Plan, Port, Slot};
/// use scatterc_ir::{Space, Type};
///
/// let plan = Plan {
///     arena: 32,
///     inputs: vec![Port { name: "x".into(), slot: Slot { offset: 0, len: 32 }, ty: Type::new([], Space::Half { L: 4 }) }],
///     ..Plan::default()
/// };
/// assert!(plan.to_string().contains("input x = 0+32 : [] half(4)"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub slot: Slot,
    /// Its type.
    pub ty: Type,
}

/// What the steps of a plan run on.
///
/// ```
/// use scatterc_ir::plan::{Plan, Target};
///
/// assert_eq!(Plan::default().target, Target::Cpu);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Target {
    /// Library kernels and loops as CLIF; rings and maps are lane-blocked.
    #[default]
    Cpu,
    /// Launches of kernels as CUDA C; every buffer is in its logical layout.
    Cuda,
}

/// The numbers of an arena.
///
/// ```
/// use scatterc_ir::plan::Element;
///
/// assert_eq!((Element::default(), Element::F32.to_string().as_str()), (Element::F64, "f32"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Element {
    /// 64-bit.
    #[default]
    F64,
    /// 32-bit; geometry, recursions and their seeds stay 64-bit.
    F32,
}

impl Element {
    /// Bytes of one number.
    ///
    /// ```
    /// use scatterc_ir::plan::Element;
    ///
    /// assert_eq!((Element::F64.bytes(), Element::F32.bytes()), (8, 4));
    /// ```
    pub fn bytes(self) -> usize {
        match self {
            Element::F64 => 8,
            Element::F32 => 4,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F64 => "f64",
            Element::F32 => "f32",
        })
    }
}

/// A part of a sparse matrix, rows one after another.
///
/// ```
/// use scatterc_ir::Linear;
/// use scatterc_ir::plan::{SparsePart, Table};
///
/// let part = Table::Sparse { map: Linear::Mean { L: 4 }, adjoint: false, part: SparsePart::Values };
/// assert!(part.to_string().contains(&SparsePart::Values.to_string()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SparsePart {
    /// First entry of every row and the end of the last, i32.
    Rows,
    /// Column of every entry, i32.
    Columns,
    /// Value of every entry, f64.
    Values,
}

impl SparsePart {
    const NAMES: [(&'static str, SparsePart); 3] = [("rows", SparsePart::Rows), ("columns", SparsePart::Columns), ("values", SparsePart::Values)];
}

impl fmt::Display for SparsePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SparsePart::Rows => "rows",
            SparsePart::Columns => "columns",
            SparsePart::Values => "values",
        })
    }
}

/// A constant array, made when the plan is loaded.
///
/// ```
/// use scatterc_ir::Linear;
/// use scatterc_ir::plan::Table;
///
/// assert_eq!(Table::Weights(Linear::Mean { L: 4 }).to_string(), "weights mean {L=4}");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// Weights of a linear reduction to a point (`mean`, `ring_mean`, `half_power`, ..), one per stored number.
    Weights(Linear),
    /// One field of a linear map, or of its adjoint, as a sparse matrix. Maps on axes have no width of their own: their entries are those of points.
    Sparse {
        /// The row.
        map: Linear,
        /// Its adjoint.
        adjoint: bool,
        /// Which array of the matrix.
        part: SparsePart,
    },
    /// An array of a kernel family of the device, by its name there.
    Library {
        /// Its name.
        name: String,
        /// What it depends on.
        attributes: Vec<(String, Attribute)>,
    },
}

impl Table {
    /// The reduction whose weights it holds.
    ///
    /// ```
    /// use scatterc_ir::Linear;
    /// use scatterc_ir::plan::Table;
    ///
    /// assert_eq!(Table::Weights(Linear::Mean { L: 4 }).weights(), Some(&Linear::Mean { L: 4 }));
    /// assert_eq!(Table::Library { name: "nodes".into(), attributes: vec![] }.weights(), None);
    /// ```
    pub fn weights(&self) -> Option<&Linear> {
        match self {
            Table::Weights(map) => Some(map),
            Table::Sparse { .. } | Table::Library { .. } => None,
        }
    }
}

/// A fused loop as kernel text.
///
/// ```
/// use scatterc_ir::plan::{Kernel, Plan};
///
/// let kernel = Kernel { name: "k0".into(), summary: "loop over map(4) for abs".into(), text: "function %k0() {\n}\n".into() };
/// let plan = Plan { kernels: vec![kernel], ..Plan::default() };
/// assert!(plan.to_string().contains("kernel k0 \"loop over map(4) for abs\"\n    | function %k0() {"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Its name, `k0` ..
    pub name: String,
    /// One comment line: what it computes.
    pub summary: String,
    /// On the CPU: CLIF of one function `(streams: i64, tables: i64, sums: i64, begin: i64, end: i64)`; streams, tables: arrays of pointers; elements begin..end of the trip; sums: overwritten with the
    /// partial sums. For CUDA: device functions and one `extern "C" __global__ void name(real* arena, const void* const* tables)`.
    pub text: String,
}

/// A stream of a loop: a buffer read or written at the trip index plus fixed channel offsets.
///
/// ```
/// use scatterc_ir::plan::{Slot, Stream};
///
/// // Two outer iterations, 20 numbers each.
/// let stream = Stream { slot: Slot { offset: 200, len: 40 }, stride: 20, extent: 20, written: false };
/// assert_eq!(stream.slot.offset + stream.stride + stream.extent, 240);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The part of the buffer one outer iteration may touch starts at `slot.offset + outer * stride`; `slot` is the whole buffer.
    pub slot: Slot,
    /// f64 between outer iterations.
    pub stride: usize,
    /// f64 one outer iteration may touch, for bounds checks.
    pub extent: usize,
    /// True when the loop writes it.
    pub written: bool,
}

/// Where a stage of a tile finds or leaves its rows.
///
/// ```
/// use scatterc_ir::plan::{Place, Slot};
///
/// let slot = Slot { offset: 8, len: 4 };
/// assert_eq!((Place::Arena(slot).to_string(), Place::Local(slot).to_string()), ("8+4".into(), "local 8+4".into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A whole buffer of the arena: `outer` times the rows, each as long as its space.
    Arena(Slot),
    /// A range of the scratch memory of the thread that works on the pair of blocks: the rows, each as long as the pair's part of its space.
    Local(Slot),
}

impl Place {
    /// The range, of the arena or of the scratch memory.
    ///
    /// ```
    /// use scatterc_ir::plan::{Place, Slot};
    ///
    /// let slot = Slot { offset: 8, len: 4 };
    /// assert_eq!((Place::Arena(slot).slot(), Place::Local(slot).slot()), (slot, slot));
    /// ```
    pub fn slot(&self) -> Slot {
        match self {
            Place::Arena(slot) | Place::Local(slot) => *slot,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Arena(slot) => write!(f, "{slot}"),
            Place::Local(slot) => write!(f, "local {slot}"),
        }
    }
}

/// A stream of a loop inside a tile.
///
/// ```
/// use scatterc_ir::plan::{Place, Slot, TileStream};
///
/// // Scratch memory of a thread has no outer iterations.
/// let stream = TileStream { place: Place::Local(Slot { offset: 0, len: 720 }), stride: 0, extent: 720, written: true };
/// assert_eq!(stream.place.slot().len, stream.extent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileStream {
    /// Its buffer.
    pub place: Place,
    /// f64 between outer iterations in the arena; 0 for a local range.
    pub stride: usize,
    /// f64 one outer iteration may touch, over all pairs of blocks in the arena, of one pair in a local range.
    pub extent: usize,
    /// True when the loop writes it.
    pub written: bool,
}

/// What a tile does with one pair of blocks, one stage after another.
///
/// ```
/// use scatterc_ir::Linear;
/// use scatterc_ir::plan::{Place, Slot, Stage};
///
/// let (from, to) = (Place::Arena(Slot { offset: 0, len: 96 }), Place::Local(Slot { offset: 0, len: 112 }));
/// let stage = Stage::Rings { map: Linear::RingInverse { L: 4, M: 4 }, adjoint: false, first: 0, rows: 1, from, to };
/// assert_eq!(stage.to_string(), "rings ring_inverse {L=4, M=4} first=0 rows=1 (0+96 -> local 0+112)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// A ring transform of consecutive rows.
    Rings {
        /// `ring_inverse` or `ring_forward`.
        map: Linear,
        /// Its adjoint.
        adjoint: bool,
        /// First row of one outer iteration in buffers of the arena.
        first: usize,
        /// Number of rows; a local range holds just these.
        rows: usize,
        /// Operand.
        from: Place,
        /// Result.
        to: Place,
    },
    /// A fused loop.
    Loop {
        /// Index into `Plan::kernels`.
        kernel: usize,
        /// Elements of one outer iteration over all pairs of blocks; a pair has its equal share of consecutive ones.
        trip: usize,
        /// Where each sum of the kernel belongs among the sums of one outer iteration.
        sums: Vec<usize>,
        /// Indices into `Plan::tables`, each of `trip` f64.
        tables: Vec<usize>,
        /// Buffers.
        streams: Vec<TileStream>,
    },
}

impl Stage {
    /// Places read and places written.
    ///
    /// ```
    /// use scatterc_ir::Linear;
    /// use scatterc_ir::plan::{Place, Slot, Stage};
    ///
    /// let (from, to) = (Place::Arena(Slot { offset: 0, len: 96 }), Place::Local(Slot { offset: 0, len: 112 }));
    /// let stage = Stage::Rings { map: Linear::RingInverse { L: 4, M: 4 }, adjoint: false, first: 0, rows: 1, from, to };
    /// assert_eq!(stage.places(), (vec![from], vec![to]));
    /// ```
    pub fn places(&self) -> (Vec<Place>, Vec<Place>) {
        match self {
            Stage::Rings { from, to, .. } => (vec![*from], vec![*to]),
            Stage::Loop { streams, .. } => {
                let of = |written: bool| streams.iter().filter(|s| s.written == written).map(|s| s.place).collect();
                (of(false), of(true))
            }
        }
    }
}

/// One launch.
///
/// ```
/// use scatterc_ir::plan::{Slot, Step};
///
/// let step = Step::Fill { value: 0.5, output: Slot { offset: 34, len: 2 } };
/// assert_eq!(step.to_string(), "fill value=0.5 -> 34+2");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A library map applied to several operands of equal type; all share one recursion where the kernel can.
    Linear {
        /// The row.
        map: Linear,
        /// Its adjoint.
        adjoint: bool,
        /// (input, output) pairs; each slot holds a whole number of fields, one after another. Attribute values that differ between pairs are allowed for `L_in` only.
        pairs: Vec<(Slot, Slot)>,
        /// Rows of the pairs that differ in `L_in` (empty: all equal to the one in `map`).
        bandlimits: Vec<usize>,
    },
    /// A fused loop.
    Loop {
        /// Index into `Plan::kernels`.
        kernel: usize,
        /// Elements of one outer iteration.
        trip: usize,
        /// Outer iterations.
        outer: usize,
        /// Elements per task; partial sums are added in task order.
        grain: usize,
        /// Buffers.
        streams: Vec<Stream>,
        /// Indices into `Plan::tables`, each of `trip` f64.
        tables: Vec<usize>,
        /// Results of the reductions: `sums_per_outer` f64 per outer iteration.
        sums: Slot,
    },
    /// Ring transforms and loops that share the grid of bandlimit `L`: all stages run on one pair of blocks (eight northern rings and their mirrors) before the next, so
    /// that what only they read never leaves the cache.
    Tile {
        /// Bandlimit of the grid.
        L: usize,
        /// Outer iterations, each with all pairs of blocks.
        outer: usize,
        /// f64 of local ranges, per thread.
        scratch: usize,
        /// Results of the reductions, of one outer iteration after another. Partial sums of the pairs are added in order.
        sums: Slot,
        /// What happens to a pair.
        stages: Vec<Stage>,
    },
    /// Weighted contractions: `out[k] = sum_e w[e] rows[a_k][e] rows[b_k][e]`.
    Gram {
        /// Weights, index into `Plan::tables`.
        table: usize,
        /// f64 per row.
        row_len: usize,
        /// Buffers whose consecutive rows are numbered one after another.
        rows: Vec<Slot>,
        /// Distinct pairs of rows, flattened a, b.
        pairs: Vec<usize>,
        /// For every output element, which pair it is.
        places: Vec<usize>,
        /// Output buffers, filled one after another from `places`.
        outputs: Vec<Slot>,
    },
    /// Weighted mixtures: `out_r[e] = w[e] sum_t c[coefficient_t] rows[row_t][e]`, the adjoint of `Gram`.
    Mix {
        /// Weights, index into `Plan::tables`.
        table: usize,
        /// f64 per row.
        row_len: usize,
        /// Buffers whose consecutive rows are numbered one after another.
        rows: Vec<Slot>,
        /// Buffers whose f64 are the coefficients, numbered one after another.
        coefficients: Vec<Slot>,
        /// Number of terms of every output row.
        counts: Vec<usize>,
        /// Terms, flattened row, coefficient.
        terms: Vec<usize>,
        /// Output buffers, whose consecutive rows are numbered one after another.
        outputs: Vec<Slot>,
    },
    /// Bilinear forms of coefficients: `out[k] = x_a . Q_g x_b` with the frame operators of several scales.
    FrameGram {
        /// Bandlimit of the wavelets.
        L: usize,
        /// Azimuthal bandlimit.
        N: usize,
        /// Scales.
        scales: Vec<usize>,
        /// Bandlimit of the coefficients of every buffer.
        bandlimits: Vec<usize>,
        /// Distinct forms, flattened: position in `scales`, rows a and b, direction g.
        forms: Vec<usize>,
        /// For every output element, which form it is.
        places: Vec<usize>,
        /// Buffers whose consecutive fields are numbered one after another.
        rows: Vec<Slot>,
        /// Output buffers, filled one after another from `places`.
        outputs: Vec<Slot>,
    },
    /// Mixtures `out_t = sum z Q_g x_s`, the adjoint of `FrameGram`.
    FrameMix {
        /// Bandlimit of the wavelets.
        L: usize,
        /// Azimuthal bandlimit.
        N: usize,
        /// Scales.
        scales: Vec<usize>,
        /// Bandlimit of the coefficients of every buffer of `rows`.
        bandlimits: Vec<usize>,
        /// Bandlimit of the coefficients of every output.
        bandlimits_out: Vec<usize>,
        /// Number of terms of every output field.
        counts: Vec<usize>,
        /// Terms, flattened: position in `scales`, row, direction g, coefficient.
        terms: Vec<usize>,
        /// Buffers whose f64 are the coefficients z, numbered one after another.
        coefficients: Vec<Slot>,
        /// Buffers whose consecutive fields are numbered one after another.
        rows: Vec<Slot>,
        /// Output buffers, whose consecutive fields are numbered one after another.
        outputs: Vec<Slot>,
    },
    /// Bilinear forms of half spectra: `out[k] = 1/(HW)^2 sum_e x_a[e] (F_l x_b)[e]` over all numbers e of a row, where F_l multiplies by the weights that a
    /// `spectral_filter` has for direction l: plain, or turned by i. What is filtered is never stored.
    FilterGram {
        /// Filters of one grid of spectra, `spectral_filter`.
        filters: Vec<Linear>,
        /// Distinct forms, flattened: filter, rows a and b, direction l, 0 for plain or 1 for turned.
        forms: Vec<usize>,
        /// For every output element, which form it is.
        places: Vec<usize>,
        /// Buffers whose consecutive rows are numbered one after another.
        rows: Vec<Slot>,
        /// Output buffers, filled one after another from `places`.
        outputs: Vec<Slot>,
    },
    /// Mixtures `out_t = 1/(HW)^2 sum z F_l x_s`, the adjoint of `FilterGram`.
    FilterMix {
        /// Filters of one grid of spectra, `spectral_filter`.
        filters: Vec<Linear>,
        /// Number of terms of every output row.
        counts: Vec<usize>,
        /// Terms, flattened: filter, row, direction l, 0 for plain or 1 for turned or 2 for turned back, coefficient.
        terms: Vec<usize>,
        /// Buffers whose f64 are the coefficients z, numbered one after another.
        coefficients: Vec<Slot>,
        /// Buffers whose consecutive rows are numbered one after another.
        rows: Vec<Slot>,
        /// Output buffers, whose consecutive rows are numbered one after another.
        outputs: Vec<Slot>,
    },
    /// Joins: output row o is the o-th row of every input, one after another.
    Concat {
        /// Rows.
        rows: usize,
        /// Inputs.
        inputs: Vec<Slot>,
        /// The joined buffer.
        output: Slot,
    },
    /// Fills a buffer with one number.
    Fill {
        /// The number.
        value: f64,
        /// The buffer.
        output: Slot,
    },
    /// A launch of a CUDA kernel, whose text holds all sizes and offsets.
    Launch {
        /// Index into `Plan::kernels`.
        kernel: usize,
        /// Blocks.
        grid: usize,
        /// Threads of a block.
        block: usize,
        /// Bytes of dynamic shared memory.
        shared: usize,
        /// Buffers it reads.
        reads: Vec<Slot>,
        /// Buffers it writes.
        writes: Vec<Slot>,
    },
}

/// A compiled program as data.
///
/// ```
/// # use scatterc_ir::plan::*;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let text = "plan level {
/// #   note domain = \"sphere L=4\"
/// #   arena 40
/// #   input x = 0+32 : [] half(4)
/// #   output m = 34+2 : [2] point
/// #   step fill value=0.5 -> 34+2
/// # }
/// # ";
/// let plan = parse(text)?;
/// assert_eq!((plan.name.as_str(), plan.arena, plan.inputs[0].ty.len(), plan.steps.len()), ("level", 40, 32, 1));
/// assert_eq!(plan.to_string(), text);
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// Name of the statistic.
    pub name: String,
    /// Where it came from: domain, source, passes; keys are unique.
    pub notes: Vec<(String, String)>,
    /// What it runs on.
    pub target: Target,
    /// Numbers of the arena.
    pub element: Element,
    /// Length of the arena in numbers.
    pub arena: usize,
    /// Fields and parameters to be given, in order.
    pub inputs: Vec<Port>,
    /// Results, in order.
    pub outputs: Vec<Port>,
    /// Constants.
    pub tables: Vec<Table>,
    /// Device text that all kernels share; empty on the CPU.
    pub prelude: String,
    /// Fused loops; for CUDA, all kernels.
    pub kernels: Vec<Kernel>,
    /// Launches in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Note of that key.
    ///
    /// ```
    /// # use scatterc_ir::plan::*;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let text = "plan level {
    /// #   note domain = \"sphere L=4\"
    /// #   arena 40
    /// #   input x = 0+32 : [] half(4)
    /// #   output m = 34+2 : [2] point
    /// #   step fill value=0.5 -> 34+2
    /// # }
    /// # ";
    /// let plan = parse(text)?;
    /// assert_eq!((plan.note("domain"), plan.note("author")), (Some("sphere L=4"), None));
    /// # Ok::<(), scatterc_ir::text::TextError>(())
    /// ```
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Slots a step reads and writes.
    ///
    /// ```
    /// use scatterc_ir::plan::{Plan, Slot, Step};
    ///
    /// let slot = |offset, len| Slot { offset, len };
    /// let step = Step::Concat { rows: 1, inputs: vec![slot(0, 2), slot(4, 3)], output: slot(8, 5) };
    /// assert_eq!(Plan::traffic(&step), (vec![slot(0, 2), slot(4, 3)], vec![slot(8, 5)]));
    /// ```
    pub fn traffic(step: &Step) -> (Vec<Slot>, Vec<Slot>) {
        match step {
            Step::Linear { pairs, .. } => (pairs.iter().map(|p| p.0).collect(), pairs.iter().map(|p| p.1).collect()),
            Step::Loop { streams, sums, .. } => {
                let reads = streams.iter().filter(|s| !s.written).map(|s| s.slot).collect();
                let mut writes: Vec<Slot> = streams.iter().filter(|s| s.written).map(|s| s.slot).collect();
                if sums.len > 0 {
                    writes.push(*sums);
                }
                (reads, writes)
            }
            Step::Tile { stages, sums, .. } => {
                // What a stage reads from an earlier one is no operand of the step.
                let (mut reads, mut writes): (Vec<Slot>, Vec<Slot>) = (vec![], vec![]);
                for stage in stages {
                    let (from, to) = stage.places();
                    let arena = |places: Vec<Place>| places.into_iter().filter(|p| matches!(p, Place::Arena(_))).map(|p| p.slot());
                    let new: Vec<Slot> = arena(from).filter(|slot| !writes.contains(slot) && !reads.contains(slot)).collect();
                    reads.extend(new);
                    // Stages may write a buffer row by row.
                    let new: Vec<Slot> = arena(to).filter(|slot| !writes.contains(slot)).collect();
                    writes.extend(new);
                }
                if sums.len > 0 {
                    writes.push(*sums);
                }
                (reads, writes)
            }
            Step::Gram { rows, outputs, .. } => (rows.clone(), outputs.clone()),
            Step::Mix { rows, coefficients, outputs, .. } => ([rows.clone(), coefficients.clone()].concat(), outputs.clone()),
            Step::FrameGram { rows, outputs, .. } => (rows.clone(), outputs.clone()),
            Step::FrameMix { rows, coefficients, outputs, .. } => ([rows.clone(), coefficients.clone()].concat(), outputs.clone()),
            Step::FilterGram { rows, outputs, .. } => (rows.clone(), outputs.clone()),
            Step::FilterMix { rows, coefficients, outputs, .. } => ([rows.clone(), coefficients.clone()].concat(), outputs.clone()),
            Step::Concat { inputs, output, .. } => (inputs.clone(), vec![*output]),
            Step::Fill { output, .. } => (vec![], vec![*output]),
            Step::Launch { reads, writes, .. } => (reads.clone(), writes.clone()),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn whole(items: &[usize]) -> Attribute {
    Attribute::List(items.iter().map(|k| *k as i64).collect())
}

fn braces(map: &Linear) -> String {
    let inner: Vec<String> = map.attributes().iter().map(|(name, a)| format!("{name}={a}")).collect();
    format!("{{{}}}", inner.join(", "))
}

fn maps(items: &[Linear]) -> String {
    items.iter().map(|map| format!("{} {}", map.spelling(), braces(map))).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Linear { map, adjoint, pairs, bandlimits } => {
                let arrows: Vec<String> = pairs.iter().map(|(a, b)| format!("{a} -> {b}")).collect();
                write!(
                    f,
                    "linear {}{} {} bandlimits={} ({})",
                    map.spelling(),
                    if *adjoint { "^H" } else { "" },
                    braces(map),
                    whole(bandlimits),
                    arrows.join(", ")
                )
            }
            Step::Loop { kernel, trip, outer, grain, streams, tables, sums } => {
                let streams: Vec<String> =
                    streams.iter().map(|s| format!("{} {}/{}/{}", if s.written { "write" } else { "read" }, s.slot, s.stride, s.extent)).collect();
                write!(f, "loop {kernel} trip={trip} outer={outer} grain={grain} sums={sums} tables={} ({})", whole(tables), streams.join(", "))
            }
            Step::Tile { L, outer, scratch, sums, stages } => {
                let stages: Vec<String> = stages.iter().map(Stage::to_string).collect();
                write!(f, "tile L={L} outer={outer} scratch={scratch} sums={sums} [{}]", stages.join("; "))
            }
            Step::Gram { table, row_len, rows, pairs, places, outputs } => {
                write!(
                    f,
                    "gram table={table} row_len={row_len} pairs={} places={} ({} -> {})",
                    whole(pairs),
                    whole(places),
                    list(rows),
                    list(outputs)
                )
            }
            Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs } => write!(
                f,
                "mix table={table} row_len={row_len} counts={} terms={} coefficients=({}) ({} -> {})",
                whole(counts),
                whole(terms),
                list(coefficients),
                list(rows),
                list(outputs)
            ),
            Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs } => write!(
                f,
                "frame_gram L={L} N={N} scales={} bandlimits={} forms={} places={} ({} -> {})",
                whole(scales),
                whole(bandlimits),
                whole(forms),
                whole(places),
                list(rows),
                list(outputs)
            ),
            Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs } => write!(
                f,
                "frame_mix L={L} N={N} scales={} bandlimits={} bandlimits_out={} counts={} terms={} coefficients=({}) ({} -> {})",
                whole(scales),
                whole(bandlimits),
                whole(bandlimits_out),
                whole(counts),
                whole(terms),
                list(coefficients),
                list(rows),
                list(outputs)
            ),
            Step::FilterGram { filters, forms, places, rows, outputs } => {
                write!(f, "filter_gram [{}] forms={} places={} ({} -> {})", maps(filters), whole(forms), whole(places), list(rows), list(outputs))
            }
            Step::FilterMix { filters, counts, terms, coefficients, rows, outputs } => write!(
                f,
                "filter_mix [{}] counts={} terms={} coefficients=({}) ({} -> {})",
                maps(filters),
                whole(counts),
                whole(terms),
                list(coefficients),
                list(rows),
                list(outputs)
            ),
            Step::Concat { rows, inputs, output } => write!(f, "concat rows={rows} ({} -> {output})", list(inputs)),
            Step::Fill { value, output } => write!(f, "fill value={value:?} -> {output}"),
            Step::Launch { kernel, grid, block, shared, reads, writes } => {
                write!(f, "launch {kernel} grid={grid} block={block} shared={shared} ({} -> {})", list(reads), list(writes))
            }
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Rings { map, adjoint, first, rows, from, to } => {
                write!(f, "rings {}{} {} first={first} rows={rows} ({from} -> {to})", map.spelling(), if *adjoint { "^H" } else { "" }, braces(map))
            }
            Stage::Loop { kernel, trip, sums, tables, streams } => {
                let streams: Vec<String> =
                    streams.iter().map(|s| format!("{} {}/{}/{}", if s.written { "write" } else { "read" }, s.place, s.stride, s.extent)).collect();
                write!(f, "loop {kernel} trip={trip} sums={} tables={} ({})", whole(sums), whole(tables), streams.join(", "))
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table::Weights(map) => write!(f, "weights {} {}", map.spelling(), braces(map)),
            Table::Sparse { map, adjoint, part } => write!(f, "sparse {part} {}{} {}", map.spelling(), if *adjoint { "^H" } else { "" }, braces(map)),
            Table::Library { name, attributes } => {
                let inner: Vec<String> = attributes.iter().map(|(name, a)| format!("{name}={a}")).collect();
                write!(f, "library {name} {{{}}}", inner.join(", "))
            }
        }
    }
}

/// Kernel text, one marked line each.
fn text_lines(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.lines().try_for_each(|line| writeln!(f, "    | {line}"))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} {{", self.name)?;
        for (key, value) in &self.notes {
            writeln!(f, "  note {key} = {value:?}")?;
        }
        match self.target {
            Target::Cuda => writeln!(f, "  target cuda {}", self.element)?,
            // What a plan that says nothing is for.
            Target::Cpu if self.element == Element::F64 => {}
            Target::Cpu => writeln!(f, "  target cpu {}", self.element)?,
        }
        writeln!(f, "  arena {}", self.arena)?;
        for port in &self.inputs {
            writeln!(f, "  input {} = {} : {}", port.name, port.slot, port.ty)?;
        }
        for port in &self.outputs {
            writeln!(f, "  output {} = {} : {}", port.name, port.slot, port.ty)?;
        }
        for table in &self.tables {
            writeln!(f, "  table {table}")?;
        }
        if !self.prelude.is_empty() {
            writeln!(f, "  prelude")?;
            text_lines(f, &self.prelude)?;
        }
        for kernel in &self.kernels {
            writeln!(f, "  kernel {} {:?}", kernel.name, kernel.summary)?;
            text_lines(f, &kernel.text)?;
        }
        for step in &self.steps {
            writeln!(f, "  step {step}")?;
        }
        writeln!(f, "}}")
    }
}

fn slot(c: &mut Cursor) -> Result<Slot, TextError> {
    let offset = c.number()?;
    c.expect("+")?;
    Ok(Slot { offset, len: c.number()? })
}

/// Slots separated by commas up to `close`.
fn slots(c: &mut Cursor, close: &str) -> Result<Vec<Slot>, TextError> {
    let mut out = Vec::new();
    while !c.accept(close) {
        out.push(slot(c)?);
        if !c.accept(",") {
            c.expect(close)?;
            break;
        }
    }
    Ok(out)
}

/// `rows -> outputs )`.
fn flow(c: &mut Cursor) -> Result<(Vec<Slot>, Vec<Slot>), TextError> {
    c.expect("(")?;
    let from = slots(c, "->")?;
    Ok((from, slots(c, ")")?))
}

fn field<T: std::str::FromStr>(c: &mut Cursor, name: &str) -> Result<T, TextError> {
    c.expect(name)?;
    c.expect("=")?;
    c.number()
}

fn whole_list(c: &mut Cursor, name: &str) -> Result<Vec<usize>, TextError> {
    c.expect(name)?;
    c.expect("=")?;
    let given = c.bare_attribute()?;
    match crate::ops::AttributeValue::from_attribute(&given) {
        Ok(list) => Ok(list),
        Err(expected) => c.error(format!("`{name}`: expected {expected}, found {given}")),
    }
}

fn linear(c: &mut Cursor) -> Result<(Linear, bool), TextError> {
    let name = c.word()?;
    let adjoint = c.accept("^H");
    let given = c.attributes()?;
    match Linear::from_attributes(name, &given) {
        Some(Ok(map)) => match map.signature() {
            Ok(_) => Ok((map, adjoint)),
            Err(message) => c.error(message),
        },
        Some(Err(message)) => c.error(message),
        None => c.error(format!("`{name}` is no linear op")),
    }
}

/// `[spectral_filter {..}; ..]`.
fn filters(c: &mut Cursor) -> Result<Vec<Linear>, TextError> {
    c.expect("[")?;
    let mut out = Vec::new();
    while !c.accept("]") {
        match linear(c)? {
            (map @ Linear::SpectralFilter { .. }, false) => out.push(map),
            (map, _) => return c.error(format!("expected `spectral_filter`, found `{}`", map.spelling())),
        }
        if !c.accept(";") {
            c.expect("]")?;
            break;
        }
    }
    Ok(out)
}

/// `0+72` or `local 0+72`.
fn place(c: &mut Cursor) -> Result<Place, TextError> {
    Ok(if c.accept("local") { Place::Local(slot(c)?) } else { Place::Arena(slot(c)?) })
}

/// `(read PLACE/stride/extent, write ..)`.
fn streams(c: &mut Cursor) -> Result<Vec<TileStream>, TextError> {
    c.expect("(")?;
    let mut out = Vec::new();
    while !c.accept(")") {
        let written = match c.word()? {
            "read" => false,
            "write" => true,
            other => return c.error(format!("expected `read` or `write`, found `{other}`")),
        };
        let place = place(c)?;
        c.expect("/")?;
        let stride = c.number()?;
        c.expect("/")?;
        out.push(TileStream { place, stride, extent: c.number()?, written });
        if !c.accept(",") {
            c.expect(")")?;
            break;
        }
    }
    Ok(out)
}

fn stage(c: &mut Cursor) -> Result<Stage, TextError> {
    match c.word()? {
        "rings" => {
            let (map, adjoint) = linear(c)?;
            let (first, rows) = (field(c, "first")?, field(c, "rows")?);
            c.expect("(")?;
            let from = place(c)?;
            c.expect("->")?;
            let to = place(c)?;
            c.expect(")")?;
            Ok(Stage::Rings { map, adjoint, first, rows, from, to })
        }
        "loop" => {
            let kernel = c.number()?;
            let trip = field(c, "trip")?;
            let (sums, tables) = (whole_list(c, "sums")?, whole_list(c, "tables")?);
            Ok(Stage::Loop { kernel, trip, sums, tables, streams: streams(c)? })
        }
        other => c.error(format!("`{other}` is no stage of a tile; expected `rings` or `loop`")),
    }
}

fn step(c: &mut Cursor) -> Result<Step, TextError> {
    let kind = c.word()?;
    match kind {
        "linear" => {
            let (map, adjoint) = linear(c)?;
            let bandlimits = whole_list(c, "bandlimits")?;
            c.expect("(")?;
            let mut pairs = Vec::new();
            while !c.accept(")") {
                let from = slot(c)?;
                c.expect("->")?;
                pairs.push((from, slot(c)?));
                if !c.accept(",") {
                    c.expect(")")?;
                    break;
                }
            }
            Ok(Step::Linear { map, adjoint, pairs, bandlimits })
        }
        "loop" => {
            let kernel = c.number()?;
            let (trip, outer, grain) = (field(c, "trip")?, field(c, "outer")?, field(c, "grain")?);
            c.expect("sums=")?;
            let sums = slot(c)?;
            let tables = whole_list(c, "tables")?;
            let mut whole = Vec::new();
            for s in streams(c)? {
                match s.place {
                    Place::Arena(slot) => whole.push(Stream { slot, stride: s.stride, extent: s.extent, written: s.written }),
                    Place::Local(slot) => return c.error(format!("`local {slot}` stands outside a tile")),
                }
            }
            let streams = whole;
            Ok(Step::Loop { kernel, trip, outer, grain, streams, tables, sums })
        }
        "tile" => {
            let (L, outer, scratch) = (field(c, "L")?, field(c, "outer")?, field(c, "scratch")?);
            c.expect("sums=")?;
            let sums = slot(c)?;
            c.expect("[")?;
            let mut stages = Vec::new();
            while !c.accept("]") {
                stages.push(stage(c)?);
                if !c.accept(";") {
                    c.expect("]")?;
                    break;
                }
            }
            Ok(Step::Tile { L, outer, scratch, sums, stages })
        }
        "gram" => {
            let (table, row_len) = (field(c, "table")?, field(c, "row_len")?);
            let (pairs, places) = (whole_list(c, "pairs")?, whole_list(c, "places")?);
            let (rows, outputs) = flow(c)?;
            Ok(Step::Gram { table, row_len, rows, pairs, places, outputs })
        }
        "mix" => {
            let (table, row_len) = (field(c, "table")?, field(c, "row_len")?);
            let (counts, terms) = (whole_list(c, "counts")?, whole_list(c, "terms")?);
            c.expect("coefficients=")?;
            c.expect("(")?;
            let coefficients = slots(c, ")")?;
            let (rows, outputs) = flow(c)?;
            Ok(Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs })
        }
        "frame_gram" => {
            let (L, N) = (field(c, "L")?, field(c, "N")?);
            let (scales, bandlimits) = (whole_list(c, "scales")?, whole_list(c, "bandlimits")?);
            let (forms, places) = (whole_list(c, "forms")?, whole_list(c, "places")?);
            let (rows, outputs) = flow(c)?;
            Ok(Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs })
        }
        "frame_mix" => {
            let (L, N) = (field(c, "L")?, field(c, "N")?);
            let (scales, bandlimits) = (whole_list(c, "scales")?, whole_list(c, "bandlimits")?);
            let bandlimits_out = whole_list(c, "bandlimits_out")?;
            let (counts, terms) = (whole_list(c, "counts")?, whole_list(c, "terms")?);
            c.expect("coefficients=")?;
            c.expect("(")?;
            let coefficients = slots(c, ")")?;
            let (rows, outputs) = flow(c)?;
            Ok(Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs })
        }
        "filter_gram" => {
            let filters = filters(c)?;
            let (forms, places) = (whole_list(c, "forms")?, whole_list(c, "places")?);
            let (rows, outputs) = flow(c)?;
            Ok(Step::FilterGram { filters, forms, places, rows, outputs })
        }
        "filter_mix" => {
            let filters = filters(c)?;
            let (counts, terms) = (whole_list(c, "counts")?, whole_list(c, "terms")?);
            c.expect("coefficients=")?;
            c.expect("(")?;
            let coefficients = slots(c, ")")?;
            let (rows, outputs) = flow(c)?;
            Ok(Step::FilterMix { filters, counts, terms, coefficients, rows, outputs })
        }
        "concat" => {
            let rows = field(c, "rows")?;
            let (inputs, outputs) = flow(c)?;
            match outputs.as_slice() {
                [output] => Ok(Step::Concat { rows, inputs, output: *output }),
                _ => c.error("`concat` has one output"),
            }
        }
        "fill" => {
            let value = field(c, "value")?;
            c.expect("->")?;
            Ok(Step::Fill { value, output: slot(c)? })
        }
        "launch" => {
            let kernel = c.number()?;
            let (grid, block, shared) = (field(c, "grid")?, field(c, "block")?, field(c, "shared")?);
            let (reads, writes) = flow(c)?;
            Ok(Step::Launch { kernel, grid, block, shared, reads, writes })
        }
        other => c.error(format!("`{other}` is no step")),
    }
}

fn table(c: &mut Cursor) -> Result<Table, TextError> {
    match c.word()? {
        "weights" => Ok(Table::Weights(linear(c)?.0)),
        "sparse" => {
            let name = c.word()?;
            let Some((_, part)) = SparsePart::NAMES.iter().find(|(known, _)| *known == name) else {
                return c.error(format!("`{name}` is no part of a sparse matrix; expected rows, columns or values"));
            };
            let (map, adjoint) = linear(c)?;
            Ok(Table::Sparse { map, adjoint, part: *part })
        }
        "library" => Ok(Table::Library { name: c.word()?.to_string(), attributes: c.attributes()? }),
        other => c.error(format!("`{other}` is no table; expected weights, sparse or library")),
    }
}

/// Reads a plan. The text is data: run [`verify`] before loading a plan from elsewhere.
///
/// ```
/// # use scatterc_ir::plan::*;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let text = "plan level {
/// #   note domain = \"sphere L=4\"
/// #   arena 40
/// #   input x = 0+32 : [] half(4)
/// #   output m = 34+2 : [2] point
/// #   step fill value=0.5 -> 34+2
/// # }
/// # ";
/// assert_eq!(parse(text)?.outputs[0].slot, Slot { offset: 34, len: 2 });
/// assert_eq!(parse(&text.replace("arena 40", "arena forty")).unwrap_err().line, 3);
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
pub fn parse(text: &str) -> Result<Plan, TextError> {
    let mut plan = Plan::default();
    let allowance = Allowance::of(text);
    let mut state = 0;
    let mut in_prelude = false;
    for (k, line) in text.lines().enumerate() {
        let mut c = Cursor { rest: line, line: k + 1, allowance: &allowance };
        c.skip();
        if c.rest.is_empty() || c.rest.starts_with(';') {
            continue;
        }
        match state {
            0 => {
                c.expect("plan")?;
                plan.name = c.word()?.to_string();
                c.expect("{")?;
                state = 1;
            }
            1 if c.accept("}") => state = 2,
            1 if c.accept("|") => {
                let text = match plan.kernels.last_mut() {
                    Some(kernel) => &mut kernel.text,
                    None if in_prelude => &mut plan.prelude,
                    None => return c.error("kernel text without a kernel"),
                };
                text.push_str(c.rest.strip_prefix(' ').unwrap_or(c.rest));
                text.push('\n');
                continue;
            }
            1 => match c.word()? {
                "note" => {
                    let key = c.word()?.to_string();
                    c.expect("=")?;
                    plan.notes.push((key, c.quoted()?));
                }
                "target" => {
                    plan.target = match c.word()? {
                        "cpu" => Target::Cpu,
                        "cuda" => Target::Cuda,
                        other => return c.error(format!("`{other}` is no target; expected cpu or cuda")),
                    };
                    plan.element = match c.word()? {
                        "f64" => Element::F64,
                        "f32" => Element::F32,
                        other => return c.error(format!("`{other}` is no element; expected f64 or f32")),
                    };
                }
                "prelude" => in_prelude = true,
                "arena" => plan.arena = c.number()?,
                kind @ ("input" | "output") => {
                    let name = c.word()?.to_string();
                    c.expect("=")?;
                    let slot = slot(&mut c)?;
                    c.expect(":")?;
                    let port = Port { name, slot, ty: c.ty()? };
                    if kind == "input" { plan.inputs.push(port) } else { plan.outputs.push(port) }
                }
                "table" => {
                    let table = table(&mut c)?;
                    plan.tables.push(table);
                }
                "kernel" => {
                    let name = c.word()?.to_string();
                    plan.kernels.push(Kernel { name, summary: c.quoted()?, text: String::new() });
                }
                "step" => {
                    let step = step(&mut c)?;
                    plan.steps.push(step);
                }
                other => return c.error(format!("expected note, target, arena, input, output, table, prelude, kernel or step, found `{other}`")),
            },
            _ => return c.error("text after the closing brace"),
        }
        c.skip();
        if !c.rest.is_empty() {
            return c.error(format!("unexpected `{}`", c.rest));
        }
    }
    if state == 2 { Ok(plan) } else { Err(TextError { line: text.lines().count(), message: "the plan does not end with `}`".into() }) }
}

/// Fields of coefficients in buffers of one bandlimit each; `None` where a buffer holds no whole number of fields.
fn field_count(rows: &[Slot], bandlimits: &[usize]) -> Option<usize> {
    if rows.len() != bandlimits.len() {
        return None;
    }
    rows.iter().zip(bandlimits).try_fold(0usize, |total, (slot, L)| {
        let len = L.checked_mul(L.checked_add(1)?)?;
        (len > 0 && slot.len % len == 0).then(|| total.saturating_add(slot.len / len))
    })
}

/// Length of a row of the half spectra that all filters take, and their directions; `None` where one is no `spectral_filter` or takes others.
fn filter_rows(filters: &[Linear]) -> Option<(usize, Vec<usize>)> {
    let size = |map: &Linear| match map {
        Linear::SpectralFilter { H, W, bank, .. } => Some(((*H, *W), bank.L)),
        _ => None,
    };
    let ((H, W), _) = size(filters.first()?)?;
    let directions = filters.iter().map(|map| size(map).filter(|(own, _)| *own == (H, W)).map(|(_, L)| L)).collect::<Option<Vec<_>>>()?;
    Some((H.checked_mul(W / 2 + 1)?.checked_mul(2).filter(|n| *n > 0)?, directions))
}

/// Numbers of several ranges together.
fn total_len(slots: &[Slot]) -> usize {
    slots.iter().fold(0usize, |sum, s| sum.saturating_add(s.len))
}

/// What is wrong with a tile beyond the slots it names, as `RULE: text`.
fn tile_faults(plan: &Plan, L: usize, outer: usize, scratch: usize, sums: Slot, stages: &[Stage]) -> Vec<String> {
    let mut faults = Vec::new();
    if L == 0 || outer == 0 || stages.is_empty() {
        faults.push(format!("P4: L={L}, outer={outer} or the number of stages is zero"));
    }
    let mut places: Vec<usize> = Vec::new();
    let mut known: Vec<Slot> = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let (reads, writes) = stage.places();
        for place in reads.iter().chain(&writes) {
            if let Place::Local(s) = place
                && s.offset.checked_add(s.len).is_none_or(|end| end > scratch)
            {
                faults.push(format!("P4: stage {i}: {place} leaves the scratch memory of {scratch}"));
            }
        }
        for place in &reads {
            if let Place::Local(s) = place
                && !known.contains(s)
            {
                faults.push(format!("P4: stage {i}: nothing wrote {place} before"));
            }
        }
        for (n, to) in writes.iter().enumerate() {
            let Place::Local(own) = to else { continue };
            let shared = |other: &Place| matches!(other, Place::Local(s) if own.overlaps(s));
            // A loop loads all rows of an element before it stores any, so it may write where it reads if rows lie on rows.
            let in_place = |other: &Place| matches!(stage, Stage::Loop { .. }) && other.slot().offset == own.offset;
            if reads.iter().any(|other| shared(other) && !in_place(other)) || writes[n + 1..].iter().any(shared) {
                faults.push(format!("P3: stage {i}: output {to} overlaps another operand"));
            }
            // What a range held is lost where it is written again.
            known.retain(|s| !own.overlaps(s));
            known.push(*own);
        }
        match stage {
            Stage::Rings { map, rows, .. } => {
                if !matches!(map, Linear::RingInverse { L: own, .. } | Linear::RingForward { L: own, .. } if *own == L) || *rows == 0 {
                    faults.push(format!(
                        "P4: stage {i}: expected rows of a ring transform with L={L}, found {rows} of {} {}",
                        map.spelling(),
                        braces(map)
                    ));
                }
            }
            Stage::Loop { kernel, trip, sums, tables, streams } => {
                if *kernel >= plan.kernels.len() || tables.iter().any(|t| *t >= plan.tables.len()) {
                    faults.push(format!("P2: stage {i}: kernel {kernel} or one of its tables does not exist"));
                }
                let fits = |s: &TileStream| {
                    let last = match s.place {
                        Place::Arena(_) => outer.saturating_sub(1).checked_mul(s.stride).and_then(|x| x.checked_add(s.extent)),
                        Place::Local(_) => (s.stride == 0).then_some(s.extent),
                    };
                    last.is_some_and(|end| end <= s.place.slot().len)
                };
                if *trip == 0 || !streams.iter().all(fits) {
                    faults.push(format!("P4: stage {i}: a stream leaves its slot, or trip is zero"));
                }
                places.extend(sums);
            }
        }
    }
    places.sort_unstable();
    if places.iter().enumerate().any(|(k, place)| k != *place) {
        faults.push(format!("P2: the {} sums of the loops do not have one place each", places.len()));
    }
    if places.len().checked_mul(outer) != Some(sums.len) {
        faults.push(format!("P4: expected {} sums for each of {outer} outer iterations, found {}", places.len(), sums.len));
    }
    faults
}

/// Checks that every slot lies in the arena and every index exists; all faults are collected. Lengths against the device's layouts are checked by the runtime, which knows them.
///
/// - P1: slots lie in the arena, the arena is below 2^40 f64.
/// - P2: kernels, tables, rows, pairs, coefficients and places exist.
/// - P3: outputs of a step overlap none of its inputs and each other.
/// - P4: loop streams stay inside their slots, grain is positive; local ranges of a tile lie in its scratch memory, and what is read of it was written by an earlier stage.
/// - P5: plans for CUDA consist of launches, plans for the CPU have none.
///
/// ```
/// # use scatterc_ir::plan::*;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let text = "plan level {
/// #   note domain = \"sphere L=4\"
/// #   arena 40
/// #   input x = 0+32 : [] half(4)
/// #   output m = 34+2 : [2] point
/// #   step fill value=0.5 -> 34+2
/// # }
/// # ";
/// assert!(verify(&parse(text)?).is_ok());
/// // An arena that does not hold its buffers breaks P1.
/// let faults = verify(&parse(&text.replace("arena 40", "arena 35"))?).unwrap_err();
/// assert!(faults[0].starts_with("P1"));
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
pub fn verify(plan: &Plan) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    if plan.arena > 1 << 40 {
        faults.push(format!("P1: the arena has {} numbers, expected at most 2^40", plan.arena));
    }
    let inside = |s: &Slot| s.offset.checked_add(s.len).is_some_and(|end| end <= plan.arena);
    for port in plan.inputs.iter().chain(&plan.outputs) {
        if !inside(&port.slot) {
            faults.push(format!("P1: port `{}` at {} leaves the arena of {}", port.name, port.slot, plan.arena));
        }
    }
    for (k, step) in plan.steps.iter().enumerate() {
        let (reads, writes) = Plan::traffic(step);
        // Sums of no numbers are no traffic, but their place is looked up all the same.
        let empty = match step {
            Step::Loop { sums, .. } | Step::Tile { sums, .. } => Some(sums).filter(|sums| sums.len == 0),
            _ => None,
        };
        for s in reads.iter().chain(&writes).chain(empty) {
            if !inside(s) {
                faults.push(format!("P1: step {k}: slot {s} leaves the arena of {}", plan.arena));
            }
        }
        if reads.iter().all(inside) && writes.iter().all(inside) {
            for (i, w) in writes.iter().enumerate() {
                if reads.iter().chain(&writes[i + 1..]).any(|other| w.overlaps(other)) {
                    faults.push(format!("P3: step {k}: output {w} overlaps another operand"));
                }
            }
        }
        let row_count =
            |rows: &[Slot], row_len: usize| rows.iter().fold(0usize, |sum, s| sum.saturating_add(s.len.checked_div(row_len).unwrap_or(0)));
        match step {
            Step::Loop { kernel, trip, outer, grain, streams, tables, .. } => {
                if *kernel >= plan.kernels.len() || tables.iter().any(|t| *t >= plan.tables.len()) {
                    faults.push(format!("P2: step {k}: kernel {kernel} or one of its tables does not exist"));
                }
                let fits = |s: &Stream| {
                    let last = outer.saturating_sub(1).checked_mul(s.stride).and_then(|x| x.checked_add(s.extent));
                    last.is_some_and(|end| end <= s.slot.len)
                };
                if *grain == 0 || *trip == 0 || *outer == 0 || !streams.iter().all(fits) {
                    faults.push(format!("P4: step {k}: a stream leaves its slot, or trip, outer or grain is zero"));
                }
            }
            Step::Tile { L, outer, scratch, sums, stages } => {
                for fault in tile_faults(plan, *L, *outer, *scratch, *sums, stages) {
                    let (rule, text) = fault.split_once(": ").unwrap_or(("P4", &fault));
                    faults.push(format!("{rule}: step {k}: {text}"));
                }
            }
            Step::Gram { table, row_len, rows, pairs, places, outputs } => {
                let n = row_count(rows, *row_len);
                let total = total_len(outputs);
                if *table >= plan.tables.len() || pairs.iter().any(|r| *r >= n) || pairs.len() % 2 != 0 {
                    faults.push(format!("P2: step {k}: the table or a row of a pair does not exist"));
                }
                if places.iter().any(|p| *p >= pairs.len() / 2) || places.len() != total {
                    faults.push(format!("P2: step {k}: {} places for {total} outputs, or a pair that does not exist", places.len()));
                }
            }
            Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs } => {
                let (n, out) = (row_count(rows, *row_len), row_count(outputs, *row_len));
                let m = total_len(coefficients);
                let total = counts.iter().try_fold(0usize, |a, b| a.checked_add(*b));
                if *table >= plan.tables.len() || terms.chunks(2).any(|t| t[0] >= n || t.get(1).is_none_or(|c| *c >= m)) {
                    faults.push(format!("P2: step {k}: the table, a row or a coefficient does not exist"));
                }
                if counts.len() != out || total.is_none_or(|n| n.checked_mul(2) != Some(terms.len())) {
                    faults.push(format!("P2: step {k}: {} counts for {out} output rows, {} terms", counts.len(), terms.len() / 2));
                }
            }
            Step::FrameGram { N, scales, bandlimits, forms, places, rows, outputs, .. } => {
                let total = total_len(outputs);
                let n = field_count(rows, bandlimits);
                let fits = |f: &[usize]| matches!(f, [scale, a, b, g] if *scale < scales.len() && n.is_some_and(|n| *a < n && *b < n) && *g < (*N).max(1).saturating_mul(2) - 1);
                if n.is_none() || !forms.chunks(4).all(fits) {
                    faults.push(format!(
                        "P2: step {k}: a form names a scale, field or direction that does not exist, or a buffer holds no whole fields"
                    ));
                }
                if places.iter().any(|p| *p >= forms.len() / 4) || places.len() != total {
                    faults.push(format!("P2: step {k}: {} places for {total} outputs, or a form that does not exist", places.len()));
                }
            }
            Step::FrameMix { N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs, .. } => {
                let (n, out) = (field_count(rows, bandlimits), field_count(outputs, bandlimits_out));
                let m = total_len(coefficients);
                let fits = |t: &[usize]| matches!(t, [scale, a, g, c] if *scale < scales.len() && n.is_some_and(|n| *a < n) && *g < (*N).max(1).saturating_mul(2) - 1 && *c < m);
                if n.is_none() || !terms.chunks(4).all(fits) {
                    faults.push(format!(
                        "P2: step {k}: a term names a scale, field, direction or coefficient that does not exist, or a buffer holds no whole fields"
                    ));
                }
                let total = counts.iter().try_fold(0usize, |a, b| a.checked_add(*b));
                if Some(counts.len()) != out || total.is_none_or(|n| n.checked_mul(4) != Some(terms.len())) {
                    faults.push(format!("P2: step {k}: {} counts for {} output fields, {} terms", counts.len(), out.unwrap_or(0), terms.len() / 4));
                }
            }
            Step::FilterGram { filters, forms, places, rows, outputs } => {
                let total = total_len(outputs);
                let whole = filter_rows(filters).filter(|(len, _)| rows.iter().all(|s| s.len % len == 0));
                let fits = |f: &[usize]| {
                    let Some((len, L)) = &whole else { return false };
                    let n = row_count(rows, *len);
                    matches!(f, [filter, a, b, l, turned] if L.get(*filter).is_some_and(|L| l < L) && *a < n && *b < n && *turned < 2)
                };
                if whole.is_none() || !forms.chunks(5).all(fits) {
                    faults
                        .push(format!("P2: step {k}: a form names a filter, row or direction that does not exist, or a buffer holds no whole rows"));
                }
                if places.iter().any(|p| *p >= forms.len() / 5) || places.len() != total {
                    faults.push(format!("P2: step {k}: {} places for {total} outputs, or a form that does not exist", places.len()));
                }
            }
            Step::FilterMix { filters, counts, terms, coefficients, rows, outputs } => {
                let whole = filter_rows(filters).filter(|(len, _)| rows.iter().chain(outputs).all(|s| s.len % len == 0));
                let m = total_len(coefficients);
                let (n, out) = whole.as_ref().map_or((0, 0), |(len, _)| (row_count(rows, *len), row_count(outputs, *len)));
                let fits = |t: &[usize]| {
                    let Some((_, L)) = &whole else { return false };
                    matches!(t, [filter, row, l, turned, c] if L.get(*filter).is_some_and(|L| l < L) && *row < n && *turned < 3 && *c < m)
                };
                if whole.is_none() || !terms.chunks(5).all(fits) {
                    faults.push(format!(
                        "P2: step {k}: a term names a filter, row, direction or coefficient that does not exist, or a buffer holds no whole rows"
                    ));
                }
                let total = counts.iter().try_fold(0usize, |a, b| a.checked_add(*b));
                if counts.len() != out || total.is_none_or(|n| n.checked_mul(5) != Some(terms.len())) {
                    faults.push(format!("P2: step {k}: {} counts for {out} output rows, {} terms", counts.len(), terms.len() / 5));
                }
            }
            Step::Concat { rows, inputs, output } => {
                let total = total_len(inputs);
                if *rows == 0 || total != output.len || inputs.iter().any(|s| s.len % rows != 0) {
                    faults.push(format!("P4: step {k}: inputs of {total} numbers in {rows} rows do not fill {output}"));
                }
            }
            Step::Linear { pairs, bandlimits, .. } => {
                if !bandlimits.is_empty() && bandlimits.len() != pairs.len() {
                    faults.push(format!("P2: step {k}: {} bandlimits for {} operands", bandlimits.len(), pairs.len()));
                }
            }
            Step::Launch { kernel, grid, block, .. } => {
                if *kernel >= plan.kernels.len() {
                    faults.push(format!("P2: step {k}: kernel {kernel} does not exist"));
                }
                if *grid == 0 || *grid >= 1 << 31 || *block == 0 || *block > 1024 {
                    faults.push(format!("P4: step {k}: expected 1 to 2^31 - 1 blocks of 1 to 1024 threads, found {grid} of {block}"));
                }
            }
            Step::Fill { .. } => {}
        }
        if matches!(step, Step::Launch { .. }) != (plan.target == Target::Cuda) {
            faults.push(format!("P5: step {k} does not run on the target of the plan"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
