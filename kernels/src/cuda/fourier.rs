//! Launches of Fourier transforms: rings of spherical grids, rows and columns of images.

use super::{Element, Family, Form, Kernel, Part, Table, Tables, complex_place, launch, table::circle, whole};
use crate::KernelError;
use std::fmt::Write;

/// Threads of a block.
const THREADS: usize = 256;
/// Bytes of shared memory of a block: below this the two buffers of a transform are there, above they are in the arena.
const MOST_SHARED: usize = 200 << 10;
/// Bytes up to which sequences are put together in a block.
const SMALL_SHARED: usize = 64 << 10;
/// Largest prime that is multiplied out.
const LARGEST_DIRECT: usize = 127;
/// Blocks of an item whose buffers lie in the arena: one for each multiprocessor.
const ARENA_BLOCKS: usize = 132;
/// Largest length.
const LARGEST: usize = 1 << 20;

/// Which map between rings `[L][M]` and a map `[L][2L - 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingMap {
    /// Rings to map: Re F_0 + 2 Re sum F_m e^{i m phi}.
    Inverse,
    /// Its adjoint, map to rings.
    InverseAdjoint,
    /// Map to rings: sum f e^{-i m phi}.
    Forward,
    /// Its adjoint, rings to map.
    ForwardAdjoint,
}

/// Fields of one grid to be transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingItem {
    /// Which map.
    pub map: RingMap,
    /// Bandlimit of the grid.
    pub L: usize,
    /// Orders of the rings, 1 to L.
    pub M: usize,
    /// Fields.
    pub fields: usize,
    /// First number of the first input, and numbers from one to the next.
    pub from: (usize, usize),
    /// The same of the outputs, which overlap no input.
    pub to: (usize, usize),
    /// First of [`ring_scratch`] numbers.
    pub scratch: usize,
}

/// Which map of images `[H][W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanarMap {
    /// Real images to half spectra `[H][W/2 + 1]`.
    Fourier,
    /// Its adjoint.
    FourierAdjoint,
    /// Half spectra to real images.
    Real,
    /// Its adjoint.
    RealAdjoint,
    /// Spectra `[H][W]` to real and imaginary parts `[2][H][W]`.
    Inverse,
    /// Its adjoint.
    InverseAdjoint,
}

/// Consecutive images to be transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanarItem {
    /// Which map.
    pub map: PlanarMap,
    /// Rows.
    pub H: usize,
    /// Columns.
    pub W: usize,
    /// Images.
    pub count: usize,
    /// First number of the input.
    pub from: usize,
    /// First number of the output, which does not overlap the input.
    pub to: usize,
    /// First of [`planar_scratch`] numbers.
    pub scratch: usize,
}

/// How a length is transformed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Length {
    n: usize,
    /// Numbers per sequence of a buffer: n, or the length of the convolution.
    padded: usize,
    factors: Vec<usize>,
}

/// Factors of passes: large primes first, while columns are many; `None` if a prime is too large.
fn factors(mut n: usize) -> Option<Vec<usize>> {
    let mut out = Vec::new();
    for radix in [8, 4, 2, 3, 5, 7, 11, 13].into_iter().chain((17..=LARGEST_DIRECT).step_by(2)) {
        while n.is_multiple_of(radix) {
            out.push(radix);
            n /= radix;
        }
    }
    out.reverse();
    (n == 1).then_some(out)
}

impl Length {
    fn new(n: usize) -> Result<Self, KernelError> {
        if n == 0 || n > LARGEST {
            return Err(KernelError::parameter("length", format!("from 1 to {LARGEST}"), n));
        }
        if let Some(factors) = factors(n) {
            return Ok(Self { n, padded: n, factors });
        }
        let smooth = |n: &usize| factors(*n).is_some_and(|factors| factors.iter().all(|r| *r <= 5 || *r == 8));
        let padded = (2 * n - 1..).find(smooth).expect("powers of two are smooth");
        Ok(Self { n, padded, factors: factors(padded).expect("chosen for its factors") })
    }

    /// The type of the device text.
    fn spelling(&self) -> String {
        let factors: String = self.factors.iter().map(|r| format!(", {r}")).collect();
        let inner = format!("fourier::Length<{}{factors}>", self.padded);
        if self.padded == self.n { inner } else { format!("fourier::Chirp<{}, {inner}>", self.n) }
    }

    /// Bytes of the two buffers of one sequence.
    fn bytes(&self, element: Element) -> usize {
        4 * self.padded * element.size_bytes()
    }

    fn in_shared(&self, element: Element) -> bool {
        self.bytes(element) <= MOST_SHARED
    }

    /// Sequences per block for `total` of them.
    fn batch(&self, element: Element, total: usize, wanted: usize) -> usize {
        if !self.in_shared(element) {
            return 1;
        }
        (SMALL_SHARED / self.bytes(element)).min(wanted).min(total).max(1)
    }

    /// Numbers of the arena for the buffers.
    fn scratch(&self, element: Element, total: usize) -> usize {
        if self.in_shared(element) { 0 } else { 4 * self.padded * ARENA_BLOCKS.min(total) }
    }

    /// Flops of one sequence, about.
    fn flops(&self) -> f64 {
        let passes = if self.padded == self.n { 1.0 } else { 2.0 };
        passes * self.padded as f64 * self.factors.iter().map(|r| 4.0 * *r as f64).sum::<f64>().max(1.0)
    }

    fn tables(&self, tables: &mut Tables<'_>) -> [usize; 3] {
        let roots = tables.number(Table::Roots { n: self.padded });
        if self.padded == self.n {
            return [roots; 3];
        }
        let chirp = tables.number(Table::Chirp { n: self.n });
        [roots, chirp, tables.number(Table::ChirpSpectrum { n: self.n, padded: self.padded })]
    }
}

/// Straight code for odd radices, which the device text leaves to be written.
pub(super) fn butterflies() -> String {
    let mut text = "\nnamespace fourier {\n".to_string();
    for R in [3usize, 5, 7, 11, 13] {
        let half = R / 2;
        let sum = |part: &str, letter: char, table: &dyn Fn(usize) -> f64, start: String| {
            (1..=half).fold(start, |sum, k| format!("mad({letter}{k}.{part}, static_cast<real>({:?}), {sum})", table(k)))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "template <int SIGN>\nstruct Butterfly<{R}, SIGN> {{\n    static __device__ __forceinline__ void run(complex* x) {{");
        for k in 1..=half {
            let _ = writeln!(text, "        const complex a{k} = plus(x[{k}], x[{}]), b{k} = minus(x[{k}], x[{}]);", R - k, R - k);
        }
        let _ = writeln!(text, "        const complex zero = x[0];");
        let total: String = (1..=half).rev().fold("zero".into(), |sum, k| format!("plus(a{k}, {sum})"));
        let _ = writeln!(text, "        x[0] = {total};");
        for j in 1..=half {
            let (cos, sin) = (|k: usize| circle(j * k, R).0, |k: usize| circle(j * k, R).1);
            let even = ["re", "im"].map(|part| sum(part, 'a', &cos, format!("zero.{part}")));
            let odd = ["re", "im"].map(|part| sum(part, 'b', &sin, "static_cast<real>(0)".into()));
            let _ = writeln!(text, "        const complex e{j} = {{{}, {}}};", even[0], even[1]);
            let _ = writeln!(text, "        const complex o{j} = quarter<SIGN>({{{}, {}}});", odd[0], odd[1]);
            let _ = writeln!(text, "        x[{j}] = plus(e{j}, o{j});\n        x[{}] = minus(e{j}, o{j});", R - j);
        }
        text += "    }\n};\n";
    }
    text += "}  // namespace fourier\n";
    text
}

/// What a descriptor of `fourier::Item` holds, in its order.
struct Descriptor {
    from: usize,
    to: usize,
    strides: (usize, usize),
    scratch: usize,
    inner: f64,
    outer: f64,
    rows: usize,
    width: usize,
    fields: usize,
    /// Sequences of one step of a block, steps, sequences.
    batch: usize,
    steps: usize,
    total: usize,
}

/// One part: `function` with the length's type filled in for `S`.
fn part(element: Element, length: &Length, function: &str, d: Descriptor, tables: &mut Tables<'_>) -> Result<(Part, usize), KernelError> {
    let shared = length.in_shared(element);
    let blocks = if shared { d.steps } else { ARENA_BLOCKS.min(d.steps) };
    let scratch = if shared { "-1".to_string() } else { complex_place("scratch", d.scratch)?.to_string() };
    let [roots, chirp, spectrum] = length.tables(tables);
    for (name, value) in [("rows", d.rows), ("width", d.width), ("fields", d.fields), ("sequences", d.total * length.padded.max(d.width))] {
        whole(name, value)?;
    }
    let descriptor = format!(
        "{}, {}, {}, {}, {scratch}, {:?}, {:?}, {}, {}, {}, {}, {blocks}, {roots}, {chirp}, {spectrum}",
        d.from, d.to, d.strides.0, d.strides.1, d.inner, d.outer, d.rows, d.width, d.fields, d.batch
    );
    let call = format!("fourier::{}", function.replace('S', &length.spelling()));
    let bytes = if shared { d.batch * length.bytes(element) } else { 0 };
    Ok((Part { blocks, work: length.flops() * d.total as f64, descriptor, call }, bytes))
}

fn kernel(name: &str, parts: Vec<(Part, usize)>, tables: Tables<'_>) -> Result<Kernel, KernelError> {
    let shared = parts.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let form = Form { family: Family::Fourier, item: "fourier::Item", constants: String::new(), block: THREADS, shared };
    launch(name, form, parts.into_iter().map(|(part, _)| part).collect(), tables.used)
}

/// Bytes of shared memory up to which a multiprocessor of 228 KiB holds two blocks.
const TWO_BLOCKS: usize = 112 << 10;

/// Sums of a block that are added together, in f64.
pub const SUMS_AT_ONCE: usize = 8;

/// Shared memory of a block that works on a ring and its mirror: local numbers, then one or two buffers of sequences, then room for sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairBuffers {
    element: Element,
    length: Length,
    local: usize,
    two: bool,
}

impl PairBuffers {
    /// For the grid of bandlimit L.
    ///
    /// - `local`: numbers of local values, a multiple of 8
    /// - `two`: whether some transform needs two buffers, as it cannot work in the place of its samples
    ///
    /// Error: a bandlimit outside its domain.
    pub fn new(element: Element, L: usize, local: usize, two: bool) -> Result<Self, KernelError> {
        let length = Length::new(2 * L.max(1) - 1)?;
        // A convolution is longer than its sequences.
        let two = two || length.padded != length.n;
        Ok(Self { element, length, local: local.next_multiple_of(8), two })
    }

    /// Whether a transform works in the place of its samples where these may be overwritten.
    pub fn in_place(&self) -> bool {
        self.length.padded == self.length.n
    }

    /// Numbers of a buffer of some rows.
    pub fn buffer(&self, rows: usize) -> usize {
        (2 * self.length.padded * rows).next_multiple_of(8)
    }

    /// Where the first buffer begins, in numbers; the second follows it.
    pub fn begin(&self) -> usize {
        self.local
    }

    /// Where the room for sums begins, in numbers.
    pub fn sums(&self, rows: usize) -> usize {
        self.local + if self.two { 2 } else { 1 } * self.buffer(rows)
    }

    /// All bytes, for buffers of some rows.
    pub fn bytes(&self, rows: usize) -> usize {
        self.sums(rows) * self.element.size_bytes() + 8 * SUMS_AT_ONCE * THREADS / 32
    }

    /// Whether one row at a time fits.
    pub fn fits(&self) -> bool {
        self.bytes(1) <= MOST_SHARED
    }

    /// Rows transformed at a time, at most `wanted`: as many as leave room for a second block, or one.
    pub fn rows(&self, wanted: usize) -> usize {
        (1..=wanted).rev().find(|rows| self.bytes(*rows) <= TWO_BLOCKS).unwrap_or(1)
    }

    /// Threads that have something to do.
    pub fn threads(&self) -> usize {
        self.length.n.next_power_of_two().clamp(64, THREADS)
    }

    /// The length as a type of the device text.
    pub fn spelling(&self) -> String {
        self.length.spelling()
    }

    /// The value of `fourier::Roots` for this length.
    pub fn roots(&self, number: &mut dyn FnMut(Table) -> usize) -> String {
        let numbers = self.length.tables(&mut Tables::new(number)).map(|table| format!("(const pair*)tables[{table}]"));
        format!("{{{}}}", numbers.join(", "))
    }
}

/// Numbers of scratch of a [`RingItem`]: none where the buffers of a ring fit in shared memory.
///
/// Error: a bandlimit outside its domain.
pub fn ring_scratch(element: Element, L: usize, fields: usize) -> Result<usize, KernelError> {
    Ok(Length::new(2 * L.max(1) - 1)?.scratch(element, L.div_ceil(2) * fields))
}

/// One launch of ring transforms of any grids.
///
/// - `number`: the number that a table has in the plan
///
/// Error: an empty list, sizes outside their domain.
pub fn rings(name: &str, element: Element, items: &[RingItem], number: &mut dyn FnMut(Table) -> usize) -> Result<Kernel, KernelError> {
    let mut tables = Tables::new(number);
    let mut parts = Vec::new();
    for item in items {
        if item.M == 0 || item.M > item.L {
            return Err(KernelError::parameter("M", format!("from 1 to {}", item.L), item.M));
        }
        let length = Length::new(2 * item.L - 1)?;
        let total = item.L.div_ceil(2) * item.fields;
        // Short rings share a block, as long as there is a block for every multiprocessor.
        let batch = length.batch(element, total, (1024usize.div_ceil(length.n)).min(total.div_ceil(ARENA_BLOCKS)));
        let (function, inner) = match item.map {
            RingMap::Inverse => ("rings_to_map<S>", 1.0),
            RingMap::ForwardAdjoint => ("rings_to_map<S>", 0.5),
            RingMap::Forward => ("map_to_rings<S>", 1.0),
            RingMap::InverseAdjoint => ("map_to_rings<S>", 2.0),
        };
        let rings = if matches!(item.map, RingMap::Inverse | RingMap::ForwardAdjoint) { item.from } else { item.to };
        complex_place("rings", rings.0)?;
        complex_place("rings", rings.1)?;
        let (from, to, strides) = (item.from.0, item.to.0, (item.from.1, item.to.1));
        let d = Descriptor {
            from,
            to,
            strides,
            scratch: item.scratch,
            inner,
            outer: 1.0,
            rows: item.L,
            width: item.M,
            fields: item.fields,
            batch,
            steps: total.div_ceil(batch),
            total,
        };
        parts.push(part(element, &length, function, d, &mut tables)?);
    }
    kernel(name, parts, tables)
}

/// Numbers of scratch of a [`PlanarItem`]: a spectrum between columns and rows, and buffers that do not fit in shared memory.
///
/// Error: sizes outside their domain.
pub fn planar_scratch(element: Element, map: PlanarMap, H: usize, W: usize, count: usize) -> Result<usize, KernelError> {
    let (_, buffers) = planar_scratch_parts(element, map, H, W, count)?;
    Ok(buffers + spectrum_between(map, H, W, count))
}

/// Numbers of the spectrum that stands between the columns and the rows.
fn spectrum_between(map: PlanarMap, H: usize, W: usize, count: usize) -> usize {
    match map {
        _ if H == 1 => 0,
        PlanarMap::FourierAdjoint | PlanarMap::Real => 2 * count * H * (W / 2 + 1),
        PlanarMap::Inverse => 2 * count * H * W,
        _ => 0,
    }
}

/// Sequences of the rows, and numbers for buffers of rows or columns, whichever run.
fn planar_scratch_parts(element: Element, map: PlanarMap, H: usize, W: usize, count: usize) -> Result<(usize, usize), KernelError> {
    let complex = matches!(map, PlanarMap::Inverse | PlanarMap::InverseAdjoint);
    let sequences = if complex { count * H } else { (count * H).div_ceil(2) };
    let columns = count * if complex { W } else { W / 2 + 1 };
    Ok((sequences, Length::new(W)?.scratch(element, sequences).max(Length::new(H)?.scratch(element, columns))))
}

/// Launches of transforms of images of any sizes, to run one after another: rows, and columns where there are several rows.
///
/// - `number`: the number that a table has in the plan
///
/// Error: an empty list, sizes outside their domain. All items go the same way: from samples to spectra or back.
pub fn planar(name: &str, element: Element, items: &[PlanarItem], number: &mut dyn FnMut(Table) -> usize) -> Result<Vec<Kernel>, KernelError> {
    let to_spectrum = |map: PlanarMap| matches!(map, PlanarMap::Fourier | PlanarMap::RealAdjoint | PlanarMap::InverseAdjoint);
    let forward = items.first().is_some_and(|item| to_spectrum(item.map));
    if items.iter().any(|item| to_spectrum(item.map) != forward) {
        return Err(KernelError::parameter("items", "maps that go the same way", "both ways"));
    }
    let mut row_parts = Vec::new();
    let mut column_parts = Vec::new();
    let mut row_tables = Tables::new(&mut *number);
    let mut columns_of = Vec::new();
    for item in items {
        let (H, W, count) = (item.H, item.W, item.count);
        let (rows, columns) = (Length::new(W)?, Length::new(H)?);
        let (sequences, _) = planar_scratch_parts(element, item.map, H, W, count)?;
        let complex = matches!(item.map, PlanarMap::Inverse | PlanarMap::InverseAdjoint);
        let width = if complex { W } else { W / 2 + 1 };
        let whole = (H * W) as f64;
        let (function, inner, outer) = match item.map {
            PlanarMap::Fourier => ("rows_to_half<S>", 1.0, 1.0),
            PlanarMap::FourierAdjoint => ("half_to_rows<S>", 0.5, 1.0),
            PlanarMap::Real => ("half_to_rows<S>", 1.0 / whole, 1.0 / whole),
            PlanarMap::RealAdjoint => ("rows_to_half<S>", 2.0 / whole, 1.0 / whole),
            PlanarMap::Inverse => ("planes<S, 1>", 1.0, 1.0 / whole),
            PlanarMap::InverseAdjoint => ("planes<S, -1>", 1.0, 1.0 / whole),
        };
        // Columns are transformed in place behind the rows, or into the scratch before them.
        let between = item.scratch;
        let buffers = item.scratch + spectrum_between(item.map, H, W, count);
        let spectrum = if forward { item.to } else { item.from };
        complex_place("spectrum", spectrum)?;
        complex_place("scratch", item.scratch)?;
        let from = if forward || H == 1 { item.from } else { between };
        let batch = rows.batch(element, sequences, 1024usize.div_ceil(W).min(sequences.div_ceil(ARENA_BLOCKS)));
        let real_rows = if complex { H } else { count * H };
        let d = Descriptor {
            from,
            to: item.to,
            strides: (0, 0),
            scratch: buffers,
            inner,
            outer,
            rows: real_rows,
            width,
            fields: if complex { count } else { 1 },
            batch,
            steps: sequences.div_ceil(batch),
            total: sequences,
        };
        row_parts.push(part(element, &rows, function, d, &mut row_tables)?);
        if H > 1 {
            let (from, to) = if forward { (item.to, item.to) } else { (item.from, between) };
            columns_of.push((columns, width, count, from, to, buffers));
        }
    }
    let row_kernel = kernel(&format!("{name}_rows"), row_parts, row_tables)?;
    if columns_of.is_empty() {
        return Ok(vec![row_kernel]);
    }
    let mut column_tables = Tables::new(number);
    for (columns, width, count, from, to, scratch) in columns_of {
        // Eight neighbours fill the memory's sectors.
        let batch = columns.batch(element, width, 8);
        let (steps, total) = (count * width.div_ceil(batch), count * width);
        let function = if forward { "columns<S, -1>" } else { "columns<S, 1>" };
        let rows = columns.n;
        let d = Descriptor { from, to, strides: (0, 0), scratch, inner: 1.0, outer: 1.0, rows, width, fields: count, batch, steps, total };
        column_parts.push(part(element, &columns, function, d, &mut column_tables)?);
    }
    let column_kernel = kernel(&format!("{name}_columns"), column_parts, column_tables)?;
    Ok(if forward { vec![row_kernel, column_kernel] } else { vec![column_kernel, row_kernel] })
}
