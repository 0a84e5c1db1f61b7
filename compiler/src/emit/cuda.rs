//! Plan for CUDA: every step becomes part of a launch, launches of one level are joined, and all kernels are text of one translation unit with sizes and offsets written out.
//!
//! ```text
//! steps over logical layouts --levels--> groups of one family --generate--> kernels as CUDA C, launches, tables
//! ```
//!
//! Every kernel has the signature `(real* arena, const void* const* tables)`; `real` is the element of the plan. Loops are written here from their bodies, transforms and contractions come from the kernel
//! families of `scatterc_kernels::cuda`, and every other linear map is a sparse matrix whose entries the runtime takes from the reference device: a new map runs on CUDA without new code.
//! Sums have a fixed order: blocks add their elements in a tree, and a second kernel adds the blocks in order.

use crate::loops::{Body, Id, Instruction};
use crate::schedule::{Launch, ScheduleError, Scheduled};
use scatterc_ir::ops::Attribute;
use scatterc_ir::plan::{Element, Kernel, Place, Plan, Slot, SparsePart, Stage, Step, Stream, Table};
use scatterc_ir::scalar::{Binary, Unary};
use scatterc_ir::{Linear, Space};
use scatterc_kernels::KernelError;
use scatterc_kernels::cuda as device;
use scatterc_kernels::cuda::fourier::{PairBuffers, SUMS_AT_ONCE};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Threads of a block of a loop.
const BLOCK: usize = 128;

/// Elements of a block of a loop: few enough to fill a device with a small map, enough to pay for the sums of a block.
const GRAIN: usize = 1024;

/// Most loops joined in one kernel, which needs the registers of the largest.
const MOST_LOOPS: usize = 16;

/// A literal that gives the same number in every compiler.
fn literal(x: f64) -> String {
    // No header says what infinity is.
    if x.is_nan() {
        return "(real)(0.0 * (0x1p1023 * 2.0))".into();
    }
    if x.is_infinite() {
        return format!("(real)({}0x1p1023 * 2.0)", if x < 0.0 { "-" } else { "" });
    }
    let bits = x.to_bits();
    let sign = if bits >> 63 == 1 { "-" } else { "" };
    let (exponent, mantissa) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    match (exponent, mantissa) {
        (0, 0) => format!("(real){sign}0.0"),
        (0, _) => format!("(real){sign}0x0.{mantissa:013x}p-1022"),
        (_, 0) => format!("(real){sign}0x1p{}", exponent as i64 - 1023),
        _ => format!("(real){sign}0x1.{mantissa:013x}p{}", exponent as i64 - 1023),
    }
}

fn unary(op: Unary, a: &str) -> String {
    match op {
        Unary::Negate => format!("-{a}"),
        Unary::Absolute => format!("fabs({a})"),
        Unary::SquareRoot => format!("sqrt({a})"),
        // NaN stays NaN.
        Unary::Sign => format!("{a} > (real)0.0 ? (real)1.0 : {a} < (real)0.0 ? (real)-1.0 : {a} * (real)0.0"),
        Unary::Exponential => format!("exp({a})"),
        Unary::Logarithm => format!("log({a})"),
        Unary::Sine => format!("sin({a})"),
        Unary::Cosine => format!("cos({a})"),
    }
}

fn binary(op: Binary, a: &str, b: &str) -> String {
    match op {
        Binary::Add => format!("{a} + {b}"),
        Binary::Subtract => format!("{a} - {b}"),
        Binary::Multiply => format!("{a} * {b}"),
        Binary::Divide => format!("{a} / {b}"),
        Binary::SafeDivide => format!("{b} == (real)0.0 ? (real)0.0 : {a} / {b}"),
        Binary::Power => format!("pow({a}, {b})"),
        Binary::ArcTangent => format!("atan2({a}, {b})"),
        Binary::Minimum => format!("{a} < {b} ? {a} : {b}"),
        Binary::Maximum => format!("{a} > {b} ? {a} : {b}"),
        Binary::Greater => format!("{a} > {b} ? (real)1.0 : (real)0.0"),
    }
}

/// One loop of a plan: sizes and buffers.
struct Loop<'a> {
    body: &'a Body,
    trip: usize,
    outer: usize,
    streams: &'a [Stream],
    tables: &'a [usize],
    sums: Slot,
}

impl Loop<'_> {
    fn chunks(&self) -> usize {
        self.trip.div_ceil(GRAIN)
    }

    fn blocks(&self) -> usize {
        self.outer * self.chunks()
    }

    /// A device function `name(block, arena, tables)`; partial sums of block b go to `partial + b * sums`.
    fn text(&self, name: &str, partial: usize) -> String {
        let mut out = String::new();
        let chunks = self.chunks();
        let _ = writeln!(
            out,
            "static __device__ __forceinline__ void {name}(const int block, real* __restrict__ arena, const void* const* __restrict__ tables) {{"
        );
        let _ = writeln!(out, "    const int o = block / {chunks}, begin = (block % {chunks}) * {GRAIN};");
        let _ = writeln!(out, "    const int end = begin + {GRAIN} < {0} ? begin + {GRAIN} : {0};", self.trip);
        for (k, stream) in self.streams.iter().enumerate() {
            let constant = if stream.written { "" } else { "const " };
            let _ = writeln!(out, "    {constant}real* s{k} = arena + {}LL + (long long)o * {}LL;", stream.slot.offset, stream.stride);
        }
        for (k, table) in self.tables.iter().enumerate() {
            let _ = writeln!(out, "    const double* t{k} = (const double*)tables[{table}];");
        }
        begin_body(self.body, &mut out);
        let _ = writeln!(out, "    for (int i = begin + (int)threadIdx.x; i < end; i += {BLOCK}) {{");
        let at_once = |stream: usize| !self.streams.iter().any(|s| !s.written && s.slot.overlaps(&self.streams[stream].slot));
        element(self.body, &|stream, offset| format!("s{stream}[i + {offset}LL]"), "i", &at_once, &mut out);
        out.push_str("    }\n");
        let per = self.body.sums.len();
        let place = |k: usize| format!("arena[{}LL + (long long)block * {per}]", partial + k);
        block_sums(per, &|n| format!("__shared__ double room[{}];", n * BLOCK / 32), &place, &mut out);
        out.push_str("}\n");
        out
    }
}

/// What stands before the loop over a body's elements: literals, numbers that are the same for all, sums.
fn begin_body(body: &Body, out: &mut String) {
    let keeps_numbers = body.keeps_numbers();
    for (k, instruction) in body.instructions.iter().enumerate() {
        match instruction {
            Instruction::Constant(x) => {
                let _ = writeln!(out, "    const real v{k} = {};", literal(*x));
            }
            Instruction::Uniform { stream, offset } if keeps_numbers => {
                let _ = writeln!(out, "    const real v{k} = s{stream}[{offset}];");
            }
            _ => {}
        }
    }
    for k in 0..body.sums.len() {
        let _ = writeln!(out, "    real a{k} = (real)0.0;");
    }
}

/// A body for one element. What it computes is stored and added at once where that changes nothing that is read after it, so that few values live at a time.
///
/// - `at`: the place of a stream's row for the element, from the number of the stream and the numbers before the row
/// - `weight`: the index of its weight
/// - `at_once`: whether nothing that the body reads is in the memory of a written stream
fn element(body: &Body, at: &dyn Fn(usize, usize) -> String, weight: &str, at_once: &dyn Fn(usize) -> bool, out: &mut String) {
    let store = |out: &mut String, stream: usize, offset: usize, id: Id| {
        let _ = writeln!(out, "        {} = v{};", at(stream, offset), id.0);
    };
    let add = |out: &mut String, sum: usize| {
        let (weight, id) = body.sums[sum];
        let _ = match weight {
            Some(w) => writeln!(out, "        a{sum} = mad(v{}, v{}, a{sum});", w.0, id.0),
            None => writeln!(out, "        a{sum} += v{};", id.0),
        };
    };
    // Stores and sums by the instruction after which they can be done.
    let mut stores: BTreeMap<Id, Vec<(usize, usize)>> = BTreeMap::new();
    for (stream, offset, id) in body.stores.iter().filter(|s| at_once(s.0)) {
        stores.entry(*id).or_default().push((*stream, *offset));
    }
    let mut sums = body.sums_by_instruction();
    let keeps_numbers = body.keeps_numbers();
    if !keeps_numbers {
        // Or the compiler reads the numbers before the loop after all, and spills them.
        out.push_str("        asm volatile(\"\" ::: \"memory\");\n");
    }
    for (k, instruction) in body.instructions.iter().enumerate() {
        let name = |id: &Id| format!("v{}", id.0);
        let value = match instruction {
            Instruction::Constant(_) => None,
            Instruction::Uniform { stream, offset } => (!keeps_numbers).then(|| format!("s{stream}[{offset}]")),
            Instruction::Load { stream, offset } => Some(at(*stream, *offset)),
            Instruction::Weight { table } => Some(format!("(real)t{table}[{weight}]")),
            Instruction::Unary(op, a) => Some(unary(*op, &name(a))),
            Instruction::Binary(op, a, b) => Some(binary(*op, &name(a), &name(b))),
            Instruction::MultiplyAdd(a, b, c) => Some(format!("mad({}, {}, {})", name(a), name(b), name(c))),
        };
        if let Some(value) = value {
            let _ = writeln!(out, "        const real v{k} = {value};");
        }
        let id = Id(k as u32);
        for (stream, offset) in stores.remove(&id).into_iter().flatten() {
            store(out, stream, offset, id);
        }
        for sum in sums.remove(&id).into_iter().flatten() {
            add(out, sum);
        }
    }
    for (stream, offset, id) in body.stores.iter().filter(|s| !at_once(s.0)) {
        store(out, *stream, *offset, *id);
    }
}

/// The sums of a block, some at a time.
///
/// - `room`: declares `room` for that many sums
/// - `place`: where a sum belongs
fn block_sums(count: usize, room: &dyn Fn(usize) -> String, place: &dyn Fn(usize) -> String, out: &mut String) {
    for first in (0..count).step_by(SUMS_AT_ONCE) {
        let n = SUMS_AT_ONCE.min(count - first);
        let list: Vec<String> = (first..first + n).map(|k| format!("(double)a{k}")).collect();
        let _ = writeln!(out, "    {{\n        {}", room(n));
        let _ = writeln!(out, "        double all[{n}] = {{{}}};\n        block_sums<{n}>(all, room);", list.join(", "));
        for k in 0..n {
            let _ = writeln!(out, "        if (threadIdx.x == {k}) {} = (real)all[{k}];", place(first + k));
        }
        out.push_str("    }\n");
    }
}

/// One tile of a plan: a block does all stages for a ring and its mirror in one outer iteration.
struct Pairs<'a> {
    L: usize,
    outer: usize,
    stages: &'a [Stage],
    bodies: &'a [Body],
    buffers: PairBuffers,
    /// Rows transformed at a time.
    rows: usize,
    /// Sums of one outer iteration.
    per: usize,
}

/// Whether a place is scratch memory that shares a number with a range of it.
fn meets(a: &Place, b: &Slot) -> bool {
    matches!(a, Place::Local(s) if s.overlaps(b))
}

/// Whether a transform leaves its result in its own place, or takes its operand there: the samples are local, and nothing reads an operand after it.
fn works_in_place(stages: &[Stage], k: usize) -> bool {
    let Stage::Rings { map, adjoint, from, to, .. } = &stages[k] else { return false };
    let result = to_samples(map, *adjoint);
    let Place::Local(samples) = (if result { to } else { from }) else { return false };
    if result {
        return true;
    }
    for stage in &stages[k + 1..] {
        let (reads, writes) = stage.places();
        if reads.iter().any(|place| meets(place, samples)) {
            return false;
        }
        if writes.iter().any(|place| meets(place, samples)) {
            break;
        }
    }
    true
}

/// Whether a ring transform makes samples.
fn to_samples(map: &Linear, adjoint: bool) -> bool {
    matches!(map, Linear::RingInverse { .. }) != adjoint
}

impl<'a> Pairs<'a> {
    fn new(
        element: device::Element,
        L: usize,
        outer: usize,
        local: usize,
        per: usize,
        stages: &'a [Stage],
        bodies: &'a [Body],
    ) -> Result<Self, KernelError> {
        let is_rings = |k: &usize| matches!(stages[*k], Stage::Rings { .. });
        let two = (0..stages.len()).filter(is_rings).any(|k| !works_in_place(stages, k));
        let buffers = PairBuffers::new(element, L, local, two)?;
        let most = stages.iter().map(|stage| if let Stage::Rings { rows, .. } = stage { *rows } else { 1 }).max().unwrap_or(1);
        let rows = buffers.rows(most);
        Ok(Pairs { L, outer, stages, bodies, buffers, rows, per })
    }

    fn pairs(&self) -> usize {
        self.L.div_ceil(2)
    }

    fn blocks(&self) -> usize {
        self.outer * self.pairs()
    }

    /// A device function `name(block, arena, tables)`; partial sums of block b go to `partial + b * per`.
    fn text(&self, name: &str, partial: usize, number: &mut dyn FnMut(device::Table) -> usize) -> Result<String, KernelError> {
        let mut out = String::new();
        let (L, pairs) = (self.L, self.pairs());
        let _ = writeln!(
            out,
            "static __device__ __forceinline__ void {name}(const int block, real* __restrict__ arena, const void* const* __restrict__ tables) {{"
        );
        let _ = writeln!(out, "    typedef {} S;", self.buffers.spelling());
        let _ = writeln!(out, "    const int o = block / {pairs}, north = block % {pairs}, south = {} - north;", L - 1);
        let _ = writeln!(out, "    const bool both = south != north;");
        let _ = writeln!(out, "    real* numbers = reinterpret_cast<real*>(dynamic_shared);");
        let _ = writeln!(out, "    complex* a = reinterpret_cast<complex*>(numbers + {});", self.buffers.begin());
        let _ = writeln!(out, "    complex* b = reinterpret_cast<complex*>(numbers + {});", self.buffers.begin() + self.buffers.buffer(self.rows));
        let _ = writeln!(out, "    const fourier::Roots roots = {};", self.buffers.roots(number));
        let mut k = 0;
        while k < self.stages.len() {
            // Rows of one loop with the transforms that follow each: one text for all of these.
            let rows = self.rows_from(k);
            if let Some((rows, transforms)) = rows {
                let each = 1 + transforms;
                let _ = writeln!(out, "    #pragma unroll 1\n    for (int row = 0; row < {rows}; row++) {{\n    switch (row) {{");
                for row in 0..rows {
                    let _ = writeln!(out, "    case {row}: {{");
                    self.loop_text(&self.stages[k + row * each], partial, &mut out);
                    out.push_str("    break;\n    }\n");
                }
                out.push_str("    }\n    __syncthreads();\n");
                for t in 0..transforms {
                    self.rings_text(k + 1 + t, "row", "1", &mut out)?;
                }
                out.push_str("    }\n");
                k += rows * each;
                continue;
            }
            match &self.stages[k] {
                stage @ Stage::Loop { .. } => {
                    out.push_str("    {\n");
                    self.loop_text(stage, partial, &mut out);
                    out.push_str("    }\n    __syncthreads();\n");
                }
                Stage::Rings { first, rows, .. } => {
                    let (end, step) = (first + rows, self.rows.min(*rows));
                    let _ = writeln!(out, "    #pragma unroll 1\n    for (int row = {first}; row < {end}; row += {step}) {{");
                    let _ = writeln!(out, "    const int count = row + {step} < {end} ? {step} : {end} - row;");
                    self.rings_text(k, "row", "count", &mut out)?;
                    out.push_str("    }\n");
                }
            }
            k += 1;
        }
        out.push_str("}\n");
        Ok(out)
    }

    /// How many rows a loop has that runs row by row from stage k on, and how many transforms follow each; all rows are equal but for their numbers.
    fn rows_from(&self, k: usize) -> Option<(usize, usize)> {
        let is_row = |stage: &Stage, row: usize| matches!(stage, Stage::Rings { first, rows: 1, .. } if *first == row);
        if !matches!(self.stages.get(k), Some(Stage::Loop { .. })) {
            return None;
        }
        let transforms = self.stages[k + 1..].iter().take_while(|stage| is_row(stage, 0)).count();
        let alike = |row: usize, t: usize| match (&self.stages[k + 1 + t], self.stages.get(k + row * (1 + transforms) + 1 + t)) {
            (Stage::Rings { map, adjoint, from, to, .. }, Some(Stage::Rings { map: m, adjoint: h, first, rows: 1, from: f, to: g })) => {
                (map, adjoint, from, to, row) == (m, h, f, g, *first)
            }
            _ => false,
        };
        let is_loop = |row: usize| matches!(self.stages.get(k + row * (1 + transforms)), Some(Stage::Loop { .. }));
        let rows = (0..).take_while(|row| is_loop(*row) && (0..transforms).all(|t| alike(*row, t))).count();
        (transforms > 0 && rows > 1).then_some((rows, transforms))
    }

    fn loop_text(&self, stage: &Stage, partial: usize, out: &mut String) {
        let Stage::Loop { kernel, trip, sums, tables, streams } = stage else { return };
        let (body, width) = (&self.bodies[*kernel], trip / self.L);
        for (k, stream) in streams.iter().enumerate() {
            let constant = if stream.written { "" } else { "const " };
            let _ = match stream.place {
                Place::Arena(slot) => writeln!(out, "    {constant}real* s{k} = arena + {}LL + (long long)o * {}LL;", slot.offset, stream.stride),
                Place::Local(slot) => writeln!(out, "    {constant}real* s{k} = numbers + {};", slot.offset),
            };
        }
        for (k, table) in tables.iter().enumerate() {
            let _ = writeln!(out, "    const double* t{k} = (const double*)tables[{table}];");
        }
        begin_body(body, out);
        let _ = writeln!(out, "    for (int e = (int)threadIdx.x; e < {}; e += (int)blockDim.x) {{", 2 * width);
        // Samples of both rings alternate in scratch memory, as a complex sequence does; half spectra follow one another.
        let _ = match width % 2 {
            1 => writeln!(out, "        const bool second = e & 1;\n        const int i = e >> 1;"),
            _ => writeln!(out, "        const bool second = e >= {width};\n        const int i = second ? e - {width} : e;"),
        };
        let local = |stream: usize| matches!(streams[stream].place, Place::Local(_));
        out.push_str("        if (second && !both) {\n");
        for (stream, offset, _) in body.stores.iter().filter(|store| local(store.0)) {
            let _ = writeln!(out, "            s{stream}[e + {offset}] = (real)0.0;");
        }
        let _ = writeln!(out, "            continue;\n        }}\n        const long long g = (long long)(second ? south : north) * {width} + i;");
        let at = |stream: usize, offset: usize| if local(stream) { format!("s{stream}[e + {offset}]") } else { format!("s{stream}[g + {offset}LL]") };
        let meet = |a: &Place, b: &Place| match (a, b) {
            (Place::Arena(a), Place::Arena(b)) | (Place::Local(a), Place::Local(b)) => a.overlaps(b),
            _ => false,
        };
        let at_once = |stream: usize| !streams.iter().any(|s| !s.written && meet(&s.place, &streams[stream].place));
        element(body, &at, "g", &at_once, out);
        out.push_str("    }\n");
        let room = |_| format!("double* room = reinterpret_cast<double*>(numbers + {});", self.buffers.sums(self.rows));
        let place = |k: usize| format!("arena[{}LL + (long long)block * {}]", partial + sums[k], self.per);
        block_sums(body.sums.len(), &room, &place, out);
    }

    /// A transform of `count` rows from `row` on, and the barriers behind its parts.
    fn rings_text(&self, k: usize, row: &str, count: &str, out: &mut String) -> Result<(), KernelError> {
        let Stage::Rings { map, adjoint, first, rows, from, to } = &self.stages[k] else { return Ok(()) };
        let (Linear::RingInverse { M, .. } | Linear::RingForward { M, .. }) = map else { return Ok(()) };
        let (L, M, n) = (self.L, *M, 2 * self.L - 1);
        let back = to_samples(map, *adjoint);
        // As in `device::fourier::rings`.
        let inner = match (back, adjoint) {
            (_, false) => 1.0,
            (true, true) => 0.5,
            (false, true) => 2.0,
        };
        let (rings, samples) = if back { (from, to) } else { (to, from) };
        // Row of a local range, which may hold the rows of this stage alone.
        let local_row = |slot: &Slot, share: usize| if slot.len == rows * share { format!("({row} - {first})") } else { row.to_string() };
        let one_row = |slot: &Slot, share: usize| slot.len == share;
        let (north, south, stride) = match rings {
            Place::Arena(slot) => {
                device::complex_place("rings", slot.offset)?;
                let base = format!("reinterpret_cast<complex*>(arena + {}LL + (long long)o * {}LL)", slot.offset, slot.len / self.outer);
                let of = |ring: &str| format!("{base} + ((long long){row} * {L} + {ring}) * {M}");
                (of("north"), of("south"), L * M)
            }
            Place::Local(slot) => {
                let at = if one_row(slot, 4 * M) { "0".to_string() } else { local_row(slot, 4 * M) };
                let base = format!("reinterpret_cast<complex*>(numbers + {}) + {at} * {}", slot.offset, 2 * M);
                (base.clone(), format!("{base} + {M}"), 2 * M)
            }
        };
        out.push_str("    {\n");
        let _ = writeln!(out, "    const fourier::Pair rings = {{{north}, {south}, {stride}, {M}, both, (real){inner:?}, (real)1.0}};");
        let home = match samples {
            Place::Arena(slot) => {
                let base = format!("arena + {}LL + (long long)o * {}LL", slot.offset, slot.len / self.outer);
                let of = |ring: &str| format!("{base} + ((long long){row} * {L} + {ring}) * {n}");
                let _ = writeln!(out, "    const fourier::Samples samples = {{{}, {}, {}, both}};", of("north"), of("south"), L * n);
                None
            }
            Place::Local(slot) => {
                let at = if one_row(slot, 2 * n) { "0".to_string() } else { local_row(slot, 2 * n) };
                let _ = writeln!(out, "    complex* home = reinterpret_cast<complex*>(numbers + {}) + {at} * {n};", slot.offset);
                Some(())
            }
        };
        let in_place = self.buffers.in_place() && works_in_place(self.stages, k);
        out.push_str(&match (back, in_place, home) {
            (true, true, _) => format!("    fourier::pair_to_home<S>(rings, home, a, {count}, roots);\n"),
            (false, true, _) => format!("    fourier::buffer_to_pair<S>(rings, home, a, {count}, roots);\n"),
            (true, false, Some(())) => {
                let move_on = format!("fourier::copy_sequences(z, S::padded, home, {n}, {n}, {count});");
                format!("    const complex* z = fourier::pair_to_buffer<S>(rings, a, b, {count}, roots);\n    {move_on}\n")
            }
            (true, false, None) => {
                let move_on = format!("fourier::store_samples<S>(samples, z, {count});");
                format!("    const complex* z = fourier::pair_to_buffer<S>(rings, a, b, {count}, roots);\n    {move_on}\n")
            }
            (false, false, Some(())) => {
                let take = format!("fourier::copy_sequences(home, {n}, a, S::padded, {n}, {count});");
                format!("    {take}\n    __syncthreads();\n    fourier::buffer_to_pair<S>(rings, a, b, {count}, roots);\n")
            }
            (false, false, None) => {
                let take = format!("fourier::load_samples<S>(samples, a, {count});");
                format!("    {take}\n    __syncthreads();\n    fourier::buffer_to_pair<S>(rings, a, b, {count}, roots);\n")
            }
        });
        out.push_str("    }\n    __syncthreads();\n");
        Ok(())
    }
}

/// What a step becomes part of: steps of one level and one family share launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Fill,
    Copy,
    Sparse,
    Loop,
    Tile,
    Gram,
    Mix,
    ToRings,
    ToCoefficients,
    Rings,
    ToSpectrum,
    ToImage,
    Frame,
    FrameGram,
    FrameMix,
}

/// The level of every step: one more than that of any earlier step that it must follow, because it reads what that writes, or writes what that reads or writes.
fn levels(steps: &[Step]) -> Vec<usize> {
    // Ranges with the level of the last step that wrote, or read, them.
    let mut written: Vec<(Slot, usize)> = Vec::new();
    let mut read: Vec<(Slot, usize)> = Vec::new();
    let covers = |a: &Slot, b: &Slot| a.offset <= b.offset && b.offset + b.len <= a.offset + a.len;
    steps
        .iter()
        .map(|step| {
            let (reads, writes) = Plan::traffic(step);
            let after_writes = reads.iter().chain(&writes).flat_map(|s| written.iter().filter(|w| w.0.overlaps(s))).map(|w| w.1 + 1);
            let after_reads = writes.iter().flat_map(|s| read.iter().filter(|r| r.0.overlaps(s))).map(|r| r.1 + 1);
            let level = after_writes.chain(after_reads).max().unwrap_or(0);
            // What is written over needs no memory of its own any more.
            for slot in &writes {
                written.retain(|w| !covers(slot, &w.0));
                read.retain(|r| !covers(slot, &r.0));
                written.push((*slot, level));
            }
            for slot in reads {
                match read.iter_mut().find(|r| r.0 == slot) {
                    Some(earlier) => earlier.1 = earlier.1.max(level),
                    None => read.push((slot, level)),
                }
            }
            level
        })
        .collect()
}

/// A launch with its kernel, what it reads and writes, and what it costs.
#[derive(Clone)]
struct Emitted {
    name: String,
    text: String,
    family: Option<device::Family>,
    grid: usize,
    block: usize,
    shared: usize,
    reads: Vec<Slot>,
    writes: Vec<Slot>,
    launch: Launch,
}

/// Partial sums to be added: `to[row][k] = sum over chunks of from[row][chunk][k]`.
struct Fold {
    from: usize,
    to: usize,
    rows: usize,
    chunks: usize,
    width: usize,
}

/// Builds the plan.
struct Lowering<'a> {
    plan: Plan,
    bodies: &'a [Body],
    element: Element,
    /// First number behind the buffers of the graph: partial sums and the scratch memory of kernels. Levels follow one another, so they share it.
    free: usize,
    /// Most numbers of it that a level takes.
    most: usize,
    /// Numbers of it that the current level has taken.
    taken: usize,
}

/// What several steps cost together.
fn joined(members: &[(&Step, &Launch)]) -> Launch {
    let mut names: Vec<(&str, usize)> = Vec::new();
    for (_, launch) in members {
        match names.iter_mut().find(|(name, _)| *name == launch.summary) {
            Some(known) => known.1 += 1,
            None => names.push((&launch.summary, 1)),
        }
    }
    let names: Vec<String> = names.into_iter().map(|(name, n)| if n == 1 { name.to_string() } else { format!("{n} x {name}") }).collect();
    Launch {
        summary: names.join("; "),
        flops: members.iter().map(|m| m.1.flops).sum(),
        bytes: members.iter().map(|m| m.1.bytes).sum(),
        values: members.iter().map(|m| m.1.values).sum(),
    }
}

impl<'a> Lowering<'a> {
    /// A range of scratch memory for the current level.
    fn scratch(&mut self, len: usize) -> Slot {
        let slot = Slot { offset: self.free + self.taken, len };
        self.taken += len.next_multiple_of(8);
        self.most = self.most.max(self.taken);
        slot
    }

    fn table(&mut self, table: Table) -> usize {
        self.plan.tables.iter().position(|t| *t == table).unwrap_or_else(|| {
            self.plan.tables.push(table);
            self.plan.tables.len() - 1
        })
    }

    /// Loops of one level as one kernel, and the launch that adds their partial sums.
    fn loops(&mut self, members: &[(&'a Step, &Launch)], name: &str) -> Vec<Emitted> {
        let (mut functions, mut calls) = (String::new(), String::new());
        let (mut reads, mut writes, mut folds) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (k, (step, _)) in members.iter().enumerate() {
            let Step::Loop { kernel, trip, outer, streams, tables, sums, .. } = step else { continue };
            let one = Loop { body: &self.bodies[*kernel], trip: *trip, outer: *outer, streams, tables, sums: *sums };
            let per = one.body.sums.len();
            // With one block per outer iteration the sums are in their place at once.
            let partial = match (per, one.chunks()) {
                (0, _) => Slot { offset: 0, len: 0 },
                (_, 1) => one.sums,
                _ => {
                    let partial = self.scratch(one.blocks() * per);
                    folds.push(Fold { from: partial.offset, to: one.sums.offset, rows: one.outer, chunks: one.chunks(), width: per });
                    partial
                }
            };
            functions.push_str(&one.text(&format!("{name}_{k}"), partial.offset));
            let otherwise = if k == 0 { "" } else { "else " };
            let _ = writeln!(calls, "    {otherwise}if (block < {}) {name}_{k}(block - {first}, arena, tables);", first + one.blocks());
            first += one.blocks();
            reads.extend(one.streams.iter().filter(|s| !s.written).map(|s| s.slot));
            writes.extend(one.streams.iter().filter(|s| s.written).map(|s| s.slot));
            if per > 0 {
                writes.push(partial);
            }
        }
        let text = format!("{functions}{}    const int block = (int)blockIdx.x;\n{calls}}}\n", head(name, BLOCK));
        let emitted = Emitted { name: name.into(), text, family: None, grid: first, block: BLOCK, shared: 0, reads, writes, launch: joined(members) };
        let mut out = vec![emitted];
        if !folds.is_empty() {
            out.push(fold(&format!("{name}_fold"), &folds));
        }
        out
    }

    /// Tiles of one level as one kernel, large ones first, and the launch that adds their partial sums.
    fn tiles(&mut self, members: &[(&'a Step, &Launch)], name: &str) -> Result<Vec<Emitted>, KernelError> {
        let element = self.element();
        let (mut functions, mut calls) = (String::new(), String::new());
        let (mut reads, mut writes, mut folds) = (Vec::new(), Vec::new(), Vec::new());
        let (mut first, mut block, mut shared) = (0, 32, 0);
        let mut order: Vec<&(&Step, &Launch)> = members.iter().collect();
        order.sort_by_key(|(step, _)| if let Step::Tile { L, .. } = step { std::cmp::Reverse(*L) } else { std::cmp::Reverse(0) });
        for (k, (step, _)) in order.into_iter().enumerate() {
            let Step::Tile { L, outer, scratch, sums, stages } = step else { continue };
            let per = sums.len / outer;
            let tile = Pairs::new(element, *L, *outer, *scratch, per, stages, self.bodies)?;
            let partial = match (per, tile.pairs()) {
                (0, _) => Slot { offset: 0, len: 0 },
                (_, 1) => *sums,
                (_, chunks) => {
                    let partial = self.scratch(tile.blocks() * per);
                    folds.push(Fold { from: partial.offset, to: sums.offset, rows: *outer, chunks, width: per });
                    partial
                }
            };
            functions.push_str(&tile.text(&format!("{name}_{k}"), partial.offset, &mut |table| self.library(table))?);
            let otherwise = if k == 0 { "" } else { "else " };
            let _ = writeln!(calls, "    {otherwise}if (block < {}) {name}_{k}(block - {first}, arena, tables);", first + tile.blocks());
            first += tile.blocks();
            (block, shared) = (block.max(tile.buffers.threads()), shared.max(tile.buffers.bytes(tile.rows)));
            let (from, to) = Plan::traffic(step);
            reads.extend(from);
            // Sums are written by the launch behind this one, where there are several pairs.
            writes.extend(to.into_iter().filter(|slot| per == 0 || slot != sums));
            writes.extend((per > 0).then_some(partial));
        }
        let text = format!("{functions}{}    const int block = (int)blockIdx.x;\n{calls}}}\n", head(name, block));
        let family = Some(device::Family::Fourier);
        let mut out = vec![Emitted { name: name.into(), text, family, grid: first, block, shared, reads, writes, launch: joined(members) }];
        if !folds.is_empty() {
            out.push(fold(&format!("{name}_fold"), &folds));
        }
        Ok(out)
    }
}

fn head(name: &str, block: usize) -> String {
    format!("extern \"C\" __global__ void __launch_bounds__({block}) {name}(real* __restrict__ arena, const void* const* __restrict__ tables) {{\n")
}

/// One launch that adds partial sums: a block for every sum, its threads take every `BLOCK`-th chunk.
fn fold(name: &str, folds: &[Fold]) -> Emitted {
    let mut text = head(name, BLOCK);
    text.push_str("    int k = (int)blockIdx.x;\n    __shared__ double room[4];\n    double all[1] = {0.0};\n    long long from = 0, to = 0;\n    int chunks = 0, width = 0;\n");
    let mut grid = 0;
    for Fold { from, to, rows, chunks, width } in folds {
        let n = rows * width;
        let _ = writeln!(
            text,
            "    if (k >= 0 && k < {n}) {{ from = {from}LL + (long long)(k / {width}) * {} + k % {width}; to = {to}LL + k; chunks = {chunks}; width = {width}; }}\n    k -= {n};",
            chunks * width
        );
        grid += n;
    }
    let _ = writeln!(text, "    for (int c = (int)threadIdx.x; c < chunks; c += {BLOCK}) all[0] += (double)arena[from + (long long)c * width];");
    text.push_str("    block_sums<1>(all, room);\n    if (threadIdx.x == 0) arena[to] = (real)all[0];\n}\n");
    let slot = |offset: usize, len: usize| Slot { offset, len };
    let (reads, writes) = folds.iter().map(|f| (slot(f.from, f.rows * f.chunks * f.width), slot(f.to, f.rows * f.width))).unzip();
    let numbers: usize = folds.iter().map(|f| f.rows * f.chunks * f.width).sum();
    let launch = Launch { summary: "sums of blocks".into(), flops: numbers as f64, bytes: 8.0 * numbers as f64, values: 0 };
    Emitted { name: name.into(), text, family: None, grid, block: BLOCK, shared: 0, reads, writes, launch }
}

fn family(step: &Step) -> Option<Family> {
    Some(match step {
        Step::Loop { .. } => Family::Loop,
        Step::Gram { .. } => Family::Gram,
        Step::Mix { .. } => Family::Mix,
        Step::FrameGram { .. } => Family::FrameGram,
        Step::FrameMix { .. } => Family::FrameMix,
        // Not planned for CUDA, where filtered spectra are stored.
        Step::FilterGram { .. } | Step::FilterMix { .. } => return None,
        Step::Concat { .. } => Family::Copy,
        Step::Fill { .. } => Family::Fill,
        Step::Linear { map, adjoint, .. } => match (map, adjoint) {
            (Linear::WignerInverse { .. } | Linear::HarmonicInverse { .. } | Linear::ScalingInverse { .. }, false)
            | (Linear::HarmonicForward { .. }, true) => Family::ToRings,
            (Linear::WignerInverse { .. } | Linear::HarmonicInverse { .. } | Linear::ScalingInverse { .. }, true)
            | (Linear::HarmonicForward { .. }, false) => Family::ToCoefficients,
            (Linear::RingInverse { .. } | Linear::RingForward { .. }, _) => Family::Rings,
            (Linear::Fourier { .. }, false) | (Linear::FourierReal { .. } | Linear::FourierInverse { .. }, true) => Family::ToSpectrum,
            (Linear::Fourier { .. }, true) | (Linear::FourierReal { .. } | Linear::FourierInverse { .. }, false) => Family::ToImage,
            (Linear::Reshape { .. } | Linear::GridToMap { .. }, _) => Family::Copy,
            (Linear::FrameOperator { .. }, _) => Family::Frame,
            _ => Family::Sparse,
        },
        Step::Tile { .. } => Family::Tile,
        Step::Launch { .. } => return None,
    })
}

/// A row of a linear step with the bandlimit of one of its pairs.
fn own_map(map: &Linear, bandlimit: Option<&usize>) -> Linear {
    match (map.clone(), bandlimit) {
        (Linear::WignerInverse { L, N, j, .. }, Some(L_in)) => Linear::WignerInverse { L_in: *L_in, L, N, j },
        (Linear::HarmonicInverse { L, .. }, Some(L_in)) => Linear::HarmonicInverse { L_in: *L_in, L },
        (Linear::ScalingInverse { L, j, .. }, Some(L_in)) => Linear::ScalingInverse { L_in: *L_in, L, j },
        (map, _) => map,
    }
}

/// Numbers of one field of operand and result.
fn field_lens(map: &Linear, adjoint: bool) -> Option<(usize, usize)> {
    let signature = map.signature().ok()?;
    let len = |(axes, space): (Vec<usize>, Space)| axes.iter().product::<usize>() * if space == Space::Any { 1 } else { space.len() };
    let (domain, range) = (len(signature.domain), len(signature.range));
    Some(if adjoint { (range, domain) } else { (domain, range) })
}

/// One pair of a linear step: the map, its operand, its result and its fields.
struct Pair {
    map: Linear,
    adjoint: bool,
    from: Slot,
    to: Slot,
    fields: usize,
    lens: (usize, usize),
}

/// All pairs of linear steps.
fn pairs(members: &[(&Step, &Launch)]) -> Vec<Pair> {
    let mut out = Vec::new();
    for (step, _) in members {
        let Step::Linear { map, adjoint, pairs, bandlimits } = step else { continue };
        for (k, (from, to)) in pairs.iter().enumerate() {
            let map = own_map(map, bandlimits.get(k));
            let Some(lens) = field_lens(&map, *adjoint).filter(|lens| lens.0 > 0 && lens.1 > 0 && from.len > 0) else { continue };
            out.push(Pair { fields: from.len / lens.0, map, adjoint: *adjoint, from: *from, to: *to, lens });
        }
    }
    out
}

/// First numbers of consecutive rows of several buffers.
fn rows_of(slots: &[Slot], row_len: usize) -> Vec<usize> {
    slots.iter().flat_map(|slot| (0..slot.len / row_len.max(1)).map(move |r| slot.offset + r * row_len)).collect()
}

/// Places of the numbers of several buffers.
fn numbers_of(slots: &[Slot]) -> Vec<usize> {
    slots.iter().flat_map(|slot| slot.offset..slot.offset + slot.len).collect()
}

impl<'a> Lowering<'a> {
    /// Numbers of the three tables of a sparse matrix.
    fn sparse(&mut self, map: &Linear, adjoint: bool) -> [usize; 3] {
        [SparsePart::Rows, SparsePart::Columns, SparsePart::Values].map(|part| self.table(Table::Sparse { map: map.clone(), adjoint, part }))
    }

    fn element(&self) -> device::Element {
        crate::tile::number(self.element)
    }

    /// Launches of one level and family.
    fn group(&mut self, family: Family, members: &[(&'a Step, &Launch)], name: &str) -> Result<Vec<Emitted>, KernelError> {
        let element = self.element();
        let launch = joined(members);
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (step, _) in members {
            let (from, to) = Plan::traffic(step);
            reads.extend(from);
            writes.extend(to);
        }
        let pairs = pairs(members);
        let kernels = match family {
            Family::Loop => {
                let parts: Vec<_> = members.chunks(MOST_LOOPS).enumerate().collect();
                return Ok(parts.into_iter().flat_map(|(k, part)| self.loops(part, &format!("{name}_{k}"))).collect());
            }
            Family::Tile => {
                let parts: Vec<_> = members.chunks(MOST_LOOPS).enumerate().collect();
                let tiles = parts.into_iter().map(|(k, part)| self.tiles(part, &format!("{name}_{k}")));
                return Ok(tiles.collect::<Result<Vec<_>, _>>()?.concat());
            }
            Family::ToRings | Family::ToCoefficients => {
                let items: Vec<device::legendre::LegendreItem> = pairs.iter().filter_map(legendre_item).collect();
                let number = &mut |table| self.library(table);
                vec![match family {
                    Family::ToRings => device::legendre::to_rings(name, element, &items, number)?,
                    _ => device::legendre::to_coefficients(name, element, &items, number)?,
                }]
            }
            Family::Rings => {
                let mut items = Vec::new();
                for pair in &pairs {
                    use device::fourier::RingMap::{Forward, ForwardAdjoint, Inverse, InverseAdjoint};
                    let (map, L, M) = match (&pair.map, pair.adjoint) {
                        (Linear::RingInverse { L, M }, false) => (Inverse, *L, *M),
                        (Linear::RingInverse { L, M }, true) => (InverseAdjoint, *L, *M),
                        (Linear::RingForward { L, M }, false) => (Forward, *L, *M),
                        (Linear::RingForward { L, M }, true) => (ForwardAdjoint, *L, *M),
                        _ => continue,
                    };
                    let scratch = self.scratch(device::fourier::ring_scratch(element, L, pair.fields)?);
                    writes.extend((scratch.len > 0).then_some(scratch));
                    let (from, to) = ((pair.from.offset, pair.lens.0), (pair.to.offset, pair.lens.1));
                    items.push(device::fourier::RingItem { map, L, M, fields: pair.fields, from, to, scratch: scratch.offset });
                }
                vec![device::fourier::rings(name, element, &items, &mut |table| self.library(table))?]
            }
            Family::ToSpectrum | Family::ToImage => {
                let mut items = Vec::new();
                for pair in &pairs {
                    use device::fourier::PlanarMap::{Fourier, FourierAdjoint, Inverse, InverseAdjoint, Real, RealAdjoint};
                    let (map, H, W) = match (&pair.map, pair.adjoint) {
                        (Linear::Fourier { H, W }, false) => (Fourier, *H, *W),
                        (Linear::Fourier { H, W }, true) => (FourierAdjoint, *H, *W),
                        (Linear::FourierReal { H, W }, false) => (Real, *H, *W),
                        (Linear::FourierReal { H, W }, true) => (RealAdjoint, *H, *W),
                        (Linear::FourierInverse { H, W }, false) => (Inverse, *H, *W),
                        (Linear::FourierInverse { H, W }, true) => (InverseAdjoint, *H, *W),
                        _ => continue,
                    };
                    let scratch = self.scratch(device::fourier::planar_scratch(element, map, H, W, pair.fields)?);
                    writes.extend((scratch.len > 0).then_some(scratch));
                    let (count, from, to) = (pair.fields, pair.from.offset, pair.to.offset);
                    items.push(device::fourier::PlanarItem { map, H, W, count, from, to, scratch: scratch.offset });
                }
                device::fourier::planar(name, element, &items, &mut |table| self.library(table))?
            }
            Family::Fill => {
                let fills = members.iter().filter_map(|(step, _)| match step {
                    Step::Fill { value, output } => Some(((output.offset, output.len), *value)),
                    _ => None,
                });
                vec![device::sparse::fills(name, &fills.collect::<Vec<_>>())?]
            }
            Family::Copy => {
                let mut items = Vec::new();
                for (step, _) in members {
                    let Step::Concat { rows, inputs, output } = step else { continue };
                    let stride = output.len / rows;
                    let mut start = output.offset;
                    for input in inputs.iter().filter(|input| input.len > 0) {
                        let run = input.len / rows;
                        items.push(device::sparse::CopyItem { from: (input.offset, run), to: (start, stride), run, count: *rows });
                        start += run;
                    }
                }
                items.extend(pairs.iter().map(|pair| {
                    let run = pair.from.len;
                    device::sparse::CopyItem { from: (pair.from.offset, run), to: (pair.to.offset, run), run, count: 1 }
                }));
                vec![device::sparse::copies(name, &items)?]
            }
            Family::Sparse => {
                let mut items = Vec::new();
                for pair in &pairs {
                    // Maps on axes have one field, as wide as the slot says.
                    let (width, fields) = if pair.map.acts_on_axes() { (pair.from.len / pair.lens.0, 1) } else { (1, pair.fields) };
                    let [starts, columns, values] = self.sparse(&pair.map, pair.adjoint);
                    items.push(device::sparse::ProductItem {
                        x: (pair.from.offset, pair.lens.0 * width),
                        y: (pair.to.offset, pair.lens.1 * width),
                        width,
                        rows: pair.lens.1,
                        // About: it only says whether rows are long.
                        entries: pair.lens.0.max(pair.lens.1),
                        fields,
                        starts,
                        columns,
                        values: Some(values),
                    });
                }
                vec![device::sparse::products(name, &items)?]
            }
            Family::Gram => {
                let mut items = Vec::new();
                for (step, _) in members {
                    let Step::Gram { table, row_len, rows, pairs, places, outputs } = step else { continue };
                    let pairs: Vec<(usize, usize)> = pairs.chunks_exact(2).map(|p| (p[0], p[1])).collect();
                    let scratch = self.scratch(device::contract::gram_scratch(*row_len, &pairs));
                    writes.push(scratch);
                    items.push(device::contract::GramItem {
                        weights: Some(*table),
                        row_len: *row_len,
                        rows: rows_of(rows, *row_len),
                        pairs,
                        places: places.clone(),
                        outputs: outputs.iter().map(|slot| (slot.offset, slot.len)).collect(),
                        scratch: scratch.offset,
                    });
                }
                device::contract::gram(name, &items)?.into()
            }
            Family::Mix => {
                let items = members.iter().filter_map(|(step, _)| match step {
                    Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs } => {
                        let (rows, numbers) = (rows_of(rows, *row_len), numbers_of(coefficients));
                        let mut rest = terms.chunks_exact(2).map(|t| (rows[t[0]], numbers[t[1]]));
                        let outputs = rows_of(outputs, *row_len).into_iter().zip(counts).map(|(row, n)| (row, rest.by_ref().take(*n).collect()));
                        Some(device::contract::MixItem { weights: Some(*table), row_len: *row_len, outputs: outputs.collect() })
                    }
                    _ => None,
                });
                vec![device::contract::mix(name, element, &items.collect::<Vec<_>>())?]
            }
            Family::Frame | Family::FrameGram | Family::FrameMix => {
                let mut kernels = Vec::new();
                for (k, (step, _)) in members.iter().enumerate() {
                    for (i, item) in frame_items(step).into_iter().enumerate() {
                        let (scratch, name) = (self.free + self.taken, format!("{name}_{k}_{i}"));
                        let number = &mut |table| self.library(table);
                        let (some, numbers) = match item {
                            FrameItem::Gram(item) => device::frame::gram(&name, element, &device::frame::FrameGramItem { scratch, ..item }, number)?,
                            FrameItem::Mix(item) => device::frame::mix(&name, element, &device::frame::FrameMixItem { scratch, ..item }, number)?,
                        };
                        kernels.extend(some);
                        writes.extend((numbers > 0).then(|| self.scratch(numbers)));
                    }
                }
                kernels
            }
        };
        // Several kernels of one group run one after another on the same buffers; the first stands for their cost.
        let mut launches = std::iter::once(launch.clone()).chain(std::iter::repeat(Launch { flops: 0.0, bytes: 0.0, values: 0, ..launch }));
        Ok(kernels
            .into_iter()
            .map(|kernel| Emitted {
                name: kernel.name,
                text: kernel.text,
                family: Some(kernel.family),
                grid: kernel.grid as usize,
                block: kernel.block as usize,
                shared: kernel.shared as usize,
                reads: reads.clone(),
                writes: writes.clone(),
                launch: launches.next().unwrap_or_else(|| joined(&[])),
            })
            .collect())
    }

    /// Number of a table of the kernel library.
    fn library(&mut self, table: device::Table) -> usize {
        let attributes = table.attributes().into_iter().map(|(name, value)| (name.to_string(), Attribute::Integer(value as i64))).collect();
        self.table(Table::Library { name: table.spelling().into(), attributes })
    }
}

/// A launch of frame operators, its scratch memory still open.
enum FrameItem {
    Gram(device::frame::FrameGramItem),
    Mix(device::frame::FrameMixItem),
}

/// First number and bandlimit of consecutive fields of coefficients.
fn fields_of(slots: &[Slot], bandlimits: &[usize]) -> Vec<(usize, usize)> {
    let each = |(slot, L): (&Slot, &usize)| rows_of(&[*slot], L * (L + 1)).into_iter().map(|at| (at, *L)).collect::<Vec<_>>();
    slots.iter().zip(bandlimits).flat_map(each).collect()
}

/// What a step of frame operators is to the kernel library.
fn frame_items(step: &Step) -> Vec<FrameItem> {
    use device::frame::{FrameGramItem, FrameMixItem, FrameTerm};
    match step {
        Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs } => vec![FrameItem::Gram(FrameGramItem {
            L: *L,
            N: *N,
            scales: scales.clone(),
            fields: fields_of(rows, bandlimits),
            forms: forms.as_chunks::<4>().0.to_vec(),
            places: places.clone(),
            outputs: outputs.iter().map(|slot| (slot.offset, slot.len)).collect(),
            scratch: 0,
        })],
        Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs } => {
            let numbers = numbers_of(coefficients);
            let targets = counts.iter().enumerate().flat_map(|(target, n)| std::iter::repeat_n(target, *n));
            let term =
                |(target, t): (usize, &[usize; 4])| FrameTerm { target, scale: t[0], field: t[1], direction: t[2], coefficient: Some(numbers[t[3]]) };
            vec![FrameItem::Mix(FrameMixItem {
                L: *L,
                N: *N,
                scales: scales.clone(),
                fields: fields_of(rows, bandlimits),
                targets: fields_of(outputs, bandlimits_out),
                terms: targets.zip(terms.as_chunks::<4>().0).map(term).collect(),
                scratch: 0,
            })]
        }
        // The operator itself is a mixture with coefficients of one.
        Step::Linear { map: Linear::FrameOperator { L_in, L_out, L, N, j }, adjoint, pairs, .. } => {
            let directions = 2 * N - 1;
            let (from, to) = if *adjoint { (*L_out, *L_in) } else { (*L_in, *L_out) };
            let mix = |(input, output): &(Slot, Slot)| {
                let fields = fields_of(&[*input], &[from]);
                let targets = fields_of(&[*output], &[to]);
                let term = |k: usize| {
                    let (field, target) = if *adjoint { (k, k / directions) } else { (k / directions, k) };
                    FrameTerm { target, scale: 0, field, direction: k % directions, coefficient: None }
                };
                let terms = (0..fields.len().max(targets.len())).map(term).collect();
                FrameItem::Mix(FrameMixItem { L: *L, N: *N, scales: vec![*j], fields, targets, terms, scratch: 0 })
            };
            pairs.iter().filter(|(input, _)| input.len > 0).map(mix).collect()
        }
        _ => vec![],
    }
}

/// What a pair of a Legendre map is to the kernel library.
fn legendre_item(pair: &Pair) -> Option<device::legendre::LegendreItem> {
    use device::legendre::{LegendreItem, LegendreMap};
    let map = match pair.map {
        Linear::WignerInverse { L_in, L, N, j } => LegendreMap::WignerInverse { L_in, L, N, j },
        Linear::HarmonicInverse { L_in, L } => LegendreMap::HarmonicInverse { L_in, L },
        Linear::ScalingInverse { L_in, L, j } => LegendreMap::ScalingInverse { L_in, L, j },
        Linear::HarmonicForward { L, M, L_out } => LegendreMap::HarmonicForward { L, M, L_out },
        _ => return None,
    };
    let (from, to) = ((pair.from.offset, pair.lens.0), (pair.to.offset, pair.lens.1));
    // Synthesis reads coefficients, analysis writes them.
    let reads_coefficients = matches!(pair.map, Linear::HarmonicForward { .. }) == pair.adjoint;
    let (coefficients, rings) = if reads_coefficients { (from, to) } else { (to, from) };
    Some(LegendreItem { map, fields: pair.fields, coefficients, rings, orders: None, adds: false })
}

/// The plan of launches for a plan of steps in logical layouts.
///
/// Error: sizes that no kernel takes.
pub(crate) fn lower(scheduled: Scheduled, bodies: &[Body], element: Element) -> Result<Scheduled, ScheduleError> {
    let Scheduled { mut plan, launches, recomputed } = scheduled;
    let steps = std::mem::take(&mut plan.steps);
    plan.kernels.clear();
    plan.element = element;
    let mut groups: BTreeMap<(usize, Family), Vec<(&Step, &Launch)>> = BTreeMap::new();
    for ((step, launch), level) in steps.iter().zip(&launches).zip(levels(&steps)) {
        if let Some(family) = family(step) {
            groups.entry((level, family)).or_default().push((step, launch));
        }
    }
    let mut lowering = Lowering { free: plan.arena.next_multiple_of(8), plan, bodies, element, most: 0, taken: 0 };
    let (mut families, mut launches, mut level) = (Vec::new(), Vec::new(), 0);
    for (k, ((at, family), members)) in groups.into_iter().enumerate() {
        if at != level {
            (level, lowering.taken) = (at, 0);
        }
        let emitted = lowering
            .group(family, &members, &format!("k{k}"))
            .map_err(|e| ScheduleError::Node { node: joined(&members).summary, message: e.to_string() })?;
        for one in emitted {
            families.extend(one.family);
            let kernel = lowering.plan.kernels.len();
            lowering.plan.kernels.push(Kernel { name: one.name, summary: one.launch.summary.clone(), text: one.text });
            lowering.plan.steps.push(Step::Launch {
                kernel,
                grid: one.grid,
                block: one.block,
                shared: one.shared,
                reads: one.reads,
                writes: one.writes,
            });
            launches.push(one.launch);
        }
    }
    let prelude = device::library(lowering.element(), &families);
    let plan = Plan { prelude, arena: lowering.free + lowering.most, ..lowering.plan };
    Ok(Scheduled { plan, launches, recomputed })
}
