//! Sparse maps of pixels applied: wavelets of several orientations at once, and sums, with exact adjoints.
//!
//! Rows of [`crate::stencil`] are read in one order by the map and, transposed, by its adjoint, so that both gather and every number has one writer.
//!
//! On the whole sphere a turn by a quarter about the poles moves pixels to pixels and orientations to orientations, psi_l to psi_{l + L/2}, where psi_{l + L} is the conjugate
//! of psi_l. Rows are therefore kept for one quarter (one half for odd L) of the sphere and serve all of them in one pass.

use crate::error::KernelError;
use crate::made::{self, Columns, PART};
use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, Real, dispatch};
use crate::stencil::{self, Pixels, Rows};

/// Rows one task computes.
const TASK: usize = 256;
/// Numbers of a result from which on it is written past the caches, which it would only sweep.
const LARGE: usize = 1 << 19;
/// Most fields whose sums are kept together.
const FIELDS: usize = 4;

/// Bytes of a table up to which rows are kept; above, they are made anew in every pass, a part of the sphere at a time.
const LARGEST_TABLE: usize = 3 << 29;
/// The same for changes of resolution, whose rows are made faster.
const LARGEST_SUMS: usize = 1 << 28;

/// How the turns about the poles act on pixel numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turns {
    /// Turns that make the sphere: 4, 2, or 1 without symmetry.
    pub(crate) count: usize,
    /// Pixels of a face; the whole list on a patch.
    face: usize,
    /// log2 of `face`, for the face of a pixel; too large to find any on a patch.
    shift: u32,
    /// What turn k adds to a pixel number, by its face: `[count][12]`.
    steps: Vec<isize>,
}

impl Turns {
    fn none(n: usize) -> Self {
        Turns { count: 1, face: n, shift: usize::BITS - 1, steps: vec![0; 12] }
    }

    /// `count` turns by 4 / count faces.
    fn new(nside: usize, count: usize) -> Self {
        let (face, by) = (nside * nside, 4 / count);
        let step = |k: usize, f: usize| ((f % 4 + k * by) % 4) as isize - (f % 4) as isize;
        let steps = (0..count).flat_map(|k| (0..12).map(move |f| step(k, f) * face as isize)).collect();
        Turns { count, face, shift: face.trailing_zeros(), steps }
    }

    /// Pixel numbers of the part of the sphere from which the turns make the rest, in ascending order.
    fn base(&self, n: usize) -> Vec<usize> {
        (0..n).filter(|p| self.quarter(*p) == 0).collect()
    }

    /// Which turn of the base a pixel lies in.
    pub(crate) fn quarter(&self, pixel: usize) -> usize {
        (pixel >> self.shift) % 4 / (4 / self.count)
    }

    /// Place of a pixel among those of the base.
    fn place(&self, pixel: usize) -> usize {
        if self.count == 1 {
            return pixel;
        }
        let face = pixel >> self.shift;
        (face / 4 * (4 / self.count) + face % 4) * self.face + (pixel & (self.face - 1))
    }

    /// The pixel after `k` turns.
    #[inline(always)]
    pub(crate) fn turned(&self, pixel: usize, k: usize) -> usize {
        pixel.wrapping_add_signed(self.steps[12 * k + (pixel >> self.shift)])
    }

    /// First pixel and length of the runs of consecutive base pixels.
    fn runs(&self, n: usize) -> Vec<(usize, usize)> {
        if self.count == 1 {
            return vec![(0, n)];
        }
        (0..12).filter(|f| f % 4 < 4 / self.count).map(|f| (f * self.face, self.face)).collect()
    }

    /// The runs cut into tasks of `size`: (first row, first pixel, count).
    fn tasks(&self, n: usize, size: usize) -> Vec<(usize, usize, usize)> {
        let mut row = 0;
        let mut out = Vec::new();
        for (first, len) in self.runs(n) {
            for start in (0..len).step_by(size) {
                let count = size.min(len - start);
                out.push((row, first + start, count));
                row += count;
            }
        }
        out
    }
}

/// Wavelets of all orientations: pixels to `[L, 2]` pixels, real and imaginary parts.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::gather::*;
/// # use scatterc_kernels::stencil::{self, Pixels, Rows};
/// // Two orientations at nside 4; wavelets of a constant map vanish.
/// let wavelets: Wavelets = Wavelets::new(4, 3, 2, &[], false)?;
/// let (map, mut out) = (vec![1.0; 192], vec![0.0; 2 * 2 * 192]);
/// let mut scratch = vec![0.0; wavelets.scratch_len(1)];
/// wavelets.apply(&Serial, &[&map], &mut [&mut out], &mut scratch);
/// assert!(out.iter().all(|w| w.abs() < 1e-12));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Wavelets<T = f64> {
    n: usize,
    L: usize,
    turns: Turns,
    /// Rows of the base pixels, or, for the adjoint, their columns.
    rows: Rows<T>,
    /// What makes the rows, where they are not kept.
    maker: Option<made::Wavelets>,
    adjoint: bool,
}

impl<T: Real> Wavelets<T> {
    /// Tables of the K x K stencil with L orientations, or of its adjoint; `cells` as for [`stencil::wavelets`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Wavelets::<f64>::new(4, 3, 2, &[], true).is_ok() && Wavelets::<f64>::new(4, 4, 2, &[], true).is_err());
    /// ```
    pub fn new(nside: usize, K: usize, L: usize, cells: &[usize], adjoint: bool) -> Result<Self, KernelError> {
        Self::within(nside, K, L, cells, adjoint, LARGEST_TABLE)
    }

    /// As [`Self::new`]; on the whole sphere, rows are kept if they take at most so many bytes, else made while they are applied.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// // Without memory for rows they are made as they are applied.
    /// let made: Wavelets = Wavelets::within(8, 3, 2, &[], false, 0)?;
    /// assert!(made.bytes() < Wavelets::<f64>::new(8, 3, 2, &[], false)?.bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn within(nside: usize, K: usize, L: usize, cells: &[usize], adjoint: bool, bytes: usize) -> Result<Self, KernelError> {
        let pixels = Pixels::new(nside)?;
        let (turns, n) = if cells.is_empty() {
            (Turns::new(nside, if L.is_multiple_of(2) { 4 } else { 2 }), pixels.len())
        } else {
            (Turns::none(cells.len()), cells.len())
        };
        let width = (2 * L).next_multiple_of(LANES);
        if cells.is_empty() && n / turns.count * stencil_entries(K) * (size_of::<T>() * width + 4) > bytes {
            // No row, but all checks.
            let rows = stencil::wavelets(&pixels, K, L, &[], &[], LANES)?.rounded();
            return Ok(Wavelets { n, L, turns, rows, maker: Some(made::Wavelets::new(pixels, K, L)), adjoint });
        }
        let base = turns.base(n);
        let targets: Vec<usize> = if cells.is_empty() { base.clone() } else { cells.to_vec() };
        let mut rows = stencil::wavelets(&pixels, K, L, &targets, cells, LANES)?.rounded();
        if adjoint {
            rows = transposed(&turns, &base, &rows);
        }
        Ok(Wavelets { n, L, turns, rows, maker: None, adjoint })
    }

    /// Bytes of the tables.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Wavelets::<f32>::new(4, 3, 2, &[], false)?.bytes() < Wavelets::<f64>::new(4, 3, 2, &[], false)?.bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.maker.as_ref().map_or(0, made::Wavelets::bytes)
    }

    /// f64 of shared scratch memory that [`Self::apply`] needs for so many fields.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// let wavelets: Wavelets = Wavelets::new(4, 3, 2, &[], false)?;
    /// assert!(wavelets.scratch_len(2) >= wavelets.scratch_len(1));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self, fields: usize) -> usize {
        if self.adjoint && self.maker.is_none() { fields.min(FIELDS) * self.n * self.rows.width } else { 0 }
    }

    /// Operations for one field, nominal.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Wavelets::<f64>::new(4, 5, 2, &[], false)?.flops() > Wavelets::<f64>::new(4, 3, 2, &[], false)?.flops());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        let kept = self.rows.values.len() * self.turns.count;
        2.0 * if self.maker.is_some() { self.n * stencil_entries(3) * self.rows.width } else { kept } as f64
    }

    /// The map, or its adjoint, on fields: `[n]` to `[L, 2, n]` each, or back.
    ///
    /// Panics if a length is wrong. Every sum runs in the order of the table, whatever the number of threads.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// // <A x, y> = <x, A^H y>.
    /// let (forward, adjoint): (Wavelets, Wavelets) = (Wavelets::new(4, 3, 2, &[], false)?, Wavelets::new(4, 3, 2, &[], true)?);
    /// let (x, y) = (numbers(192, 1.1), numbers(4 * 192, 0.7));
    /// let (mut forth, mut back) = (vec![0.0; y.len()], vec![0.0; x.len()]);
    /// forward.apply(&Serial, &[&x], &mut [&mut forth], &mut vec![0.0; forward.scratch_len(1)]);
    /// adjoint.apply(&Serial, &[&y], &mut [&mut back], &mut vec![0.0; adjoint.scratch_len(1)]);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]], scratch: &mut [T]) {
        let (from, to) = if self.adjoint { (2 * self.L * self.n, self.n) } else { (self.n, 2 * self.L * self.n) };
        assert!(inputs.iter().all(|x| x.len() == from) && outputs.iter().all(|y| y.len() == to), "fields of {from} and {to} numbers");
        assert!(inputs.len() == outputs.len() && scratch.len() >= self.scratch_len(inputs.len()), "as many results as fields, and scratch memory");
        let (mut inputs, mut outputs) = (inputs, outputs);
        while !inputs.is_empty() {
            let count = if inputs.len() >= FIELDS { FIELDS } else { 1 << inputs.len().ilog2() };
            let (x, more) = inputs.split_at(count);
            let (y, rest) = outputs.split_at_mut(count);
            if self.adjoint {
                self.back(par, x, y, scratch)
            } else {
                self.forth(par, x, y)
            }
            (inputs, outputs) = (more, rest);
        }
    }

    /// Runs of base pixels cut into tasks: (first row, first pixel, count).
    fn tasks(&self) -> Vec<(usize, usize, usize)> {
        self.turns.tasks(self.n, if self.maker.is_some() { PART } else { TASK })
    }

    /// The map with other rows.
    fn with(&self, rows: Rows<T>) -> Self {
        Wavelets { n: self.n, L: self.L, turns: self.turns.clone(), rows, maker: None, adjoint: self.adjoint }
    }

    fn forth(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let shared = Shared::all(outputs);
        let tasks = self.tasks();
        par.for_each(tasks.len(), &|t| {
            let results: Vec<*mut T> = shared.iter().map(|s| s.get()).collect();
            let (row, first, count) = tasks[t];
            let part = self.maker.as_ref().map(|maker| self.with(maker.rows(&(first..first + count).collect::<Vec<_>>()).rounded()));
            let (map, row) = part.as_ref().map_or((self, row), |part| (part, 0));
            // SAFETY: lengths were checked; tasks write the pixels of their own rows, turned, which no other task has.
            unsafe { forth_task(map, (row, first, count), inputs, &results) };
        });
    }

    fn back(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]], scratch: &mut [T]) {
        let (width, tasks) = (self.rows.width, self.tasks());
        if let Some(maker) = &self.maker {
            let shared = Shared::all(outputs);
            return par.for_each(tasks.len(), &|t| {
                let results: Vec<*mut T> = shared.iter().map(|s| s.get()).collect();
                let (_, first, count) = tasks[t];
                let Columns { pixels, rows } = maker.columns(&self.turns, first, count);
                let columns = (pixels, rows.rounded());
                // SAFETY: as for the map.
                unsafe { part_task(self, &columns, (first, count), inputs, &results) };
            });
        }
        let local = Shared::new(scratch);
        par.for_each(tasks.len(), &|t| {
            // SAFETY: the scratch memory holds `width` numbers per pixel and field; tasks fill the pixels of their own rows, turned.
            unsafe { interleave_task(self, tasks[t], inputs, local.get()) };
        });
        let scratch: &[T] = &scratch[..inputs.len() * self.n * width];
        let shared = Shared::all(outputs);
        par.for_each(tasks.len(), &|t| {
            let results: Vec<*mut T> = shared.iter().map(|s| s.get()).collect();
            // SAFETY: as for the map.
            unsafe { back_task(self, tasks[t], scratch, &results) };
        });
    }

    /// For number `o` of a pixel's block after `k` turns: its plane, and whether the turn conjugates it. `None` for what fills the block up.
    #[inline(always)]
    fn plane(&self, o: usize, k: usize) -> Option<(usize, bool)> {
        if o >= 2 * self.L {
            return None;
        }
        // All turns together are two rounds of the orientations.
        let a = o / 2 + k * (2 * self.L / self.turns.count) * usize::from(self.turns.count > 1);
        Some((2 * (a % self.L) + o % 2, o % 2 == 1 && a / self.L % 2 == 1))
    }
}

/// Rows by base column: a row's weights stay as they are in the orientations of its own quarter.
fn transposed<T: Real>(turns: &Turns, base: &[usize], rows: &Rows<T>) -> Rows<T> {
    let back = |pixel: usize, q: usize| turns.turned(pixel, (turns.count - q) % turns.count);
    flipped(rows, base.len(), |r, column| {
        let q = turns.quarter(column);
        (turns.place(back(column, q)), back(base[r], q))
    })
}

/// The entries sorted by new row: `f(row, column)` says where an entry goes and which column it reads there.
fn flipped<T: Real>(rows: &Rows<T>, n_rows: usize, f: impl Fn(usize, usize) -> (usize, usize)) -> Rows<T> {
    let mut starts = vec![0usize; n_rows + 1];
    rows.each(|r, column, _| starts[f(r, column).0 + 1] += 1);
    for k in 0..n_rows {
        starts[k + 1] += starts[k];
    }
    let mut next = starts.clone();
    let width = rows.width;
    let (mut columns, mut values) = (vec![0; rows.columns.len()], vec![T::default(); rows.values.len()]);
    rows.each(|r, column, weights| {
        let (row, column) = f(r, column);
        let e = next[row];
        next[row] += 1;
        columns[e] = column as u32;
        values[e * width..][..width].copy_from_slice(weights);
    });
    Rows { n_columns: rows.n_columns, width, starts, columns, values }
}

/// Entries of a row of a stencil, about.
fn stencil_entries(K: usize) -> usize {
    (2 * K + 1).pow(2) / 2
}

dispatch! {
    fn part_task<T> = part_lanes(map: &Wavelets<T>, columns: &(Vec<usize>, Rows<T>), part: (usize, usize), inputs: &[&[T]], outputs: &[*mut T])
}

/// The adjoint for a part whose rows were made: what they read is brought together first, pixel by pixel.
#[inline(always)]
unsafe fn part_lanes<V: Lanes>(
    map: &Wavelets<V::Element>,
    (pixels, rows): &(Vec<usize>, Rows<V::Element>),
    (first, count): (usize, usize),
    inputs: &[&[V::Element]],
    outputs: &[*mut V::Element],
) {
    let (turns, n) = (&map.turns, map.n);
    let (width, reads) = (rows.width, pixels.len());
    let mut local = vec![V::Element::default(); turns.count * reads * width];
    for (input, output) in inputs.iter().zip(outputs) {
        for k in 0..turns.count {
            for (block, pixel) in local[k * reads * width..].chunks_exact_mut(width).zip(pixels) {
                let pixel = turns.turned(*pixel, k);
                let own = turns.quarter(pixel);
                for (o, number) in block.iter_mut().enumerate().take(2 * map.L) {
                    let Some((place, conjugate)) = map.plane(o, own) else { continue };
                    let value = input[place * n + pixel];
                    *number = if conjugate { -value } else { value };
                }
            }
        }
        for t in 0..count {
            let mut acc = [V::zero(); 4];
            for e in rows.starts[t]..rows.starts[t + 1] {
                let column = rows.columns[e] as usize;
                for part in (0..width).step_by(LANES) {
                    // SAFETY: blocks of weights and of what they meet have `width` numbers, a multiple of the lanes; a column names one of the pixels read.
                    unsafe {
                        let weights = V::load(rows.values.as_ptr().add(e * width + part));
                        for (k, acc) in acc.iter_mut().enumerate().take(turns.count) {
                            *acc = weights.fma(V::load(local.as_ptr().add((k * reads + column) * width + part)), *acc);
                        }
                    }
                }
            }
            for (k, acc) in acc.into_iter().enumerate().take(turns.count) {
                // SAFETY: the caller's promise: results hold n pixels, and those of the part are this task's.
                unsafe { *output.add(turns.turned(first + t, k)) = acc.sum() };
            }
        }
    }
}

dispatch! {
    fn forth_task<T> = forth_lanes(map: &Wavelets<T>, task: (usize, usize, usize), inputs: &[&[T]], outputs: &[*mut T])
}

dispatch! {
    fn interleave_task<T> = interleave_lanes(map: &Wavelets<T>, task: (usize, usize, usize), inputs: &[&[T]], scratch: *mut T)
}

dispatch! {
    fn back_task<T> = back_lanes(map: &Wavelets<T>, task: (usize, usize, usize), scratch: &[T], outputs: &[*mut T])
}

#[inline(always)]
unsafe fn forth_lanes<V: Lanes>(map: &Wavelets<V::Element>, task: (usize, usize, usize), inputs: &[&[V::Element]], outputs: &[*mut V::Element]) {
    // SAFETY: the caller's promise, passed on; the constants are the numbers of turns and fields.
    unsafe {
        match (map.turns.count, inputs.len()) {
            (4, 1) => forth_block::<V, 4, 1>(map, task, inputs, outputs),
            (4, 2) => forth_block::<V, 4, 2>(map, task, inputs, outputs),
            (4, _) => forth_block::<V, 4, 4>(map, task, inputs, outputs),
            (2, 1) => forth_block::<V, 2, 1>(map, task, inputs, outputs),
            (2, 2) => forth_block::<V, 2, 2>(map, task, inputs, outputs),
            (2, _) => forth_block::<V, 2, 4>(map, task, inputs, outputs),
            (_, 1) => forth_block::<V, 1, 1>(map, task, inputs, outputs),
            (_, 2) => forth_block::<V, 1, 2>(map, task, inputs, outputs),
            (_, _) => forth_block::<V, 1, 4>(map, task, inputs, outputs),
        }
    }
}

#[inline(always)]
unsafe fn forth_block<V: Lanes, const Q: usize, const F: usize>(
    map: &Wavelets<V::Element>,
    (row, first, count): (usize, usize, usize),
    inputs: &[&[V::Element]],
    outputs: &[*mut V::Element],
) {
    let (rows, turns, width, n) = (&map.rows, &map.turns, map.rows.width, map.n);
    let fields: [*const V::Element; F] = std::array::from_fn(|f| inputs[f].as_ptr());
    let mut sums = [[[V::Element::default(); LANES * LANES]; F]; Q];
    let beyond = 2 * map.L * n * F > LARGE;
    // SAFETY: columns are pixels of the map, turned ones too; every block has eight lanes; planes hold n pixels.
    unsafe {
        for block in (0..count).step_by(LANES) {
            let size = LANES.min(count - block);
            for part in (0..width).step_by(LANES) {
                for pixel in 0..size {
                    let r = row + block + pixel;
                    let mut acc = [[V::zero(); F]; Q];
                    let (from, to) = (*rows.starts.get_unchecked(r), *rows.starts.get_unchecked(r + 1));
                    for e in from..to {
                        let weights = V::load(rows.values.as_ptr().add(e * width + part));
                        let column = *rows.columns.get_unchecked(e) as usize;
                        for k in 0..Q {
                            let at = if Q == 1 { column } else { turned(turns, column, k) };
                            for f in 0..F {
                                acc[k][f] = weights.fma(V::broadcast(fields[f].add(at)), acc[k][f]);
                            }
                        }
                    }
                    for k in 0..Q {
                        for f in 0..F {
                            acc[k][f].store(sums[k][f].as_mut_ptr().add(LANES * pixel));
                        }
                    }
                }
                for k in 0..Q {
                    let target = if Q == 1 { first + block } else { turned(turns, first + block, k) };
                    for f in 0..F {
                        let sums = sums[k][f].as_ptr();
                        let planes = V::transpose8(std::array::from_fn(|i| V::load(sums.add(LANES * i))));
                        for (lane, plane) in planes.into_iter().enumerate() {
                            let Some((place, conjugate)) = map.plane(part + lane, k) else { continue };
                            let plane = if conjugate { V::zero().sub(plane) } else { plane };
                            let out = outputs[f].add(place * n + target);
                            if size == LANES && beyond && out.align_offset(64) == 0 {
                                plane.stream(out);
                            } else if size == LANES {
                                plane.store(out);
                            } else {
                                let mut few = [V::Element::default(); LANES];
                                plane.store(few.as_mut_ptr());
                                std::ptr::copy_nonoverlapping(few.as_ptr(), out, size);
                            }
                        }
                    }
                }
            }
        }
    }
    V::settle();
}

/// [`Turns::turned`] without checks of the table's length.
#[inline(always)]
unsafe fn turned(turns: &Turns, pixel: usize, k: usize) -> usize {
    // SAFETY: the caller's pixel lies on the sphere, so that it has one of twelve faces, and k is below the number of turns.
    pixel.wrapping_add_signed(unsafe { *turns.steps.get_unchecked(12 * k + (pixel >> turns.shift)) })
}

#[inline(always)]
unsafe fn interleave_lanes<V: Lanes>(
    map: &Wavelets<V::Element>,
    (_, first, count): (usize, usize, usize),
    inputs: &[&[V::Element]],
    scratch: *mut V::Element,
) {
    let (turns, width, n) = (&map.turns, map.rows.width, map.n);
    // SAFETY: planes hold n pixels, the scratch memory `width` numbers per pixel and field.
    unsafe {
        for (f, input) in inputs.iter().enumerate() {
            for k in 0..turns.count {
                for block in (0..count).step_by(LANES) {
                    let size = LANES.min(count - block);
                    let pixel = turned(turns, first + block, k);
                    for part in (0..width).step_by(LANES) {
                        let mut planes = [V::zero(); LANES];
                        for (lane, plane) in planes.iter_mut().enumerate() {
                            let Some((place, conjugate)) = map.plane(part + lane, k) else { continue };
                            let from = input.as_ptr().add(place * n + pixel);
                            let value = if size == LANES {
                                V::load(from)
                            } else {
                                let mut few = [V::Element::default(); LANES];
                                std::ptr::copy_nonoverlapping(from, few.as_mut_ptr(), size);
                                V::load(few.as_ptr())
                            };
                            *plane = if conjugate { V::zero().sub(value) } else { value };
                        }
                        for (i, lanes) in V::transpose8(planes).into_iter().take(size).enumerate() {
                            lanes.store(scratch.add((f * n + pixel + i) * width + part));
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn back_lanes<V: Lanes>(map: &Wavelets<V::Element>, task: (usize, usize, usize), scratch: &[V::Element], outputs: &[*mut V::Element]) {
    // SAFETY: the caller's promise, passed on; the constants are the numbers of turns and fields.
    unsafe {
        match (map.turns.count, outputs.len()) {
            (4, 1) => back_block::<V, 4, 1>(map, task, scratch, outputs),
            (4, 2) => back_block::<V, 4, 2>(map, task, scratch, outputs),
            (4, _) => back_block::<V, 4, 4>(map, task, scratch, outputs),
            (2, 1) => back_block::<V, 2, 1>(map, task, scratch, outputs),
            (2, 2) => back_block::<V, 2, 2>(map, task, scratch, outputs),
            (2, _) => back_block::<V, 2, 4>(map, task, scratch, outputs),
            (_, 1) => back_block::<V, 1, 1>(map, task, scratch, outputs),
            (_, 2) => back_block::<V, 1, 2>(map, task, scratch, outputs),
            (_, _) => back_block::<V, 1, 4>(map, task, scratch, outputs),
        }
    }
}

#[inline(always)]
unsafe fn back_block<V: Lanes, const Q: usize, const F: usize>(
    map: &Wavelets<V::Element>,
    (row, first, count): (usize, usize, usize),
    scratch: &[V::Element],
    outputs: &[*mut V::Element],
) {
    let (rows, turns, width, n) = (&map.rows, &map.turns, map.rows.width, map.n);
    let fields: [*const V::Element; F] = std::array::from_fn(|f| scratch[f * n * width..].as_ptr());
    // SAFETY: as for the map.
    unsafe {
        for pixel in 0..count {
            let r = row + pixel;
            let mut acc = [[V::zero(); F]; Q];
            let (from, to) = (*rows.starts.get_unchecked(r), *rows.starts.get_unchecked(r + 1));
            for e in from..to {
                let column = *rows.columns.get_unchecked(e) as usize;
                for part in (0..width).step_by(LANES) {
                    let weights = V::load(rows.values.as_ptr().add(e * width + part));
                    for k in 0..Q {
                        let at = if Q == 1 { column } else { turned(turns, column, k) };
                        for f in 0..F {
                            acc[k][f] = weights.fma(V::load(fields[f].add(at * width + part)), acc[k][f]);
                        }
                    }
                }
            }
            for k in 0..Q {
                let target = if Q == 1 { first + pixel } else { turned(turns, first + pixel, k) };
                for f in 0..F {
                    *outputs[f].add(target) = acc[k][f].sum();
                }
            }
        }
    }
}

/// A sparse map of pixels to pixels, such as a change of resolution, and its adjoint.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::gather::*;
/// # use scatterc_kernels::stencil::{self, Pixels, Rows};
/// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
/// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
/// let mut y = [0.0; 2];
/// Sums::new(rows, false).apply(&Serial, &[&[1.0, 10.0, 100.0]], &mut [&mut y]);
/// assert_eq!(y, [201.0, 50.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Sums<T = f64> {
    rows: Rows<T>,
    n_from: usize,
}

impl<T: Real> Sums<T> {
    /// The rows, or their transpose.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    /// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
    /// let mut x = [0.0; 3];
    /// Sums::new(rows, true).apply(&Serial, &[&[1.0, 1.0]], &mut [&mut x]);
    /// assert_eq!(x, [1.0, 5.0, 2.0]);
    /// ```
    pub fn new(rows: Rows<T>, adjoint: bool) -> Self {
        if !adjoint {
            return Sums { n_from: rows.n_columns, rows };
        }
        let n = rows.len();
        Sums { n_from: n, rows: flipped(&rows, rows.n_columns, |r, column| (column, r)) }
    }

    /// Bytes of the table.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    /// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
    /// assert!(Sums::new(rows, false).bytes() >= 3 * 12);
    /// ```
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Operations for one field, nominal.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    /// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
    /// assert_eq!(Sums::new(rows, false).flops(), 2.0 * 3.0);
    /// ```
    pub fn flops(&self) -> f64 {
        2.0 * self.rows.values.len() as f64
    }

    /// Lengths of a field before and after.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    /// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
    /// assert_eq!((Sums::new(rows.clone(), false).lengths(), Sums::new(rows, true).lengths()), ((3, 2), (2, 3)));
    /// ```
    pub fn lengths(&self) -> (usize, usize) {
        (self.n_from, self.rows.len())
    }

    /// The map on fields. Panics if a length is wrong.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// # let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    /// // y_0 = x_0 + 2 x_2, y_1 = 5 x_1.
    /// let (mut p, mut q) = ([0.0; 2], [0.0; 2]);
    /// Sums::new(rows, false).apply(&Serial, &[&[1.0; 3], &[2.0; 3]], &mut [&mut p, &mut q]);
    /// assert_eq!((p, q), ([3.0, 5.0], [6.0, 10.0]));
    /// ```
    pub fn apply(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (from, to) = self.lengths();
        assert!(inputs.iter().all(|x| x.len() == from) && outputs.iter().all(|y| y.len() == to), "fields of {from} and {to} numbers");
        let shared = Shared::all(outputs);
        par.for_each(to.div_ceil(TASK), &|t| {
            for r in t * TASK..to.min((t + 1) * TASK) {
                let entries = self.rows.starts[r]..self.rows.starts[r + 1];
                let (columns, values) = (&self.rows.columns[entries.clone()], &self.rows.values[entries]);
                for (x, y) in inputs.iter().zip(&shared) {
                    let sum: T = columns.iter().zip(values).map(|(column, weight)| *weight * x[*column as usize]).sum();
                    // SAFETY: r is below the length of every result, and rows belong to one task.
                    unsafe { *y.get().add(r) = sum };
                }
            }
        });
    }
}

/// The change of the whole sphere to half the nside, or its adjoint. Rows are kept for a quarter of the sphere.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::gather::*;
/// # use scatterc_kernels::stencil::{self, Pixels, Rows};
/// let down: Downgrade = Downgrade::new(4, false)?;
/// let mut coarse = vec![0.0; 48];
/// down.apply(&Serial, &[&[3.0; 192]], &mut [&mut coarse]);
/// assert!(coarse.iter().all(|x| (x - 3.0).abs() < 1e-12));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Downgrade<T = f64> {
    /// Turns of the map that is read and of the one that is written.
    turns: [Turns; 2],
    lengths: (usize, usize),
    rows: Rows<T>,
    maker: Option<made::Downgrade>,
    adjoint: bool,
}

impl<T: Real> Downgrade<T> {
    /// Tables from `nside` to half of it. Error: an nside that is no power of two in range, or 1.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Downgrade::<f64>::new(4, true).is_ok() && Downgrade::<f64>::new(1, false).is_err());
    /// ```
    pub fn new(nside: usize, adjoint: bool) -> Result<Self, KernelError> {
        Self::within(nside, adjoint, LARGEST_SUMS)
    }

    /// As [`Self::new`]; rows are kept if they take at most so many bytes, else made while they are applied.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Downgrade::<f64>::within(8, false, 0)?.bytes() < Downgrade::<f64>::new(8, false)?.bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn within(nside: usize, adjoint: bool, bytes: usize) -> Result<Self, KernelError> {
        let (fine, coarse) = (Pixels::new(nside)?, Pixels::new(nside / 2)?);
        let turns = [Turns::new(nside, 4), Turns::new(nside / 2, 4)];
        let (from, to) = (fine.len(), coarse.len());
        let (mut rows, mut maker) = (Rows { n_columns: from, width: 1, starts: vec![0], columns: vec![], values: vec![] }, None);
        if to / 4 * 36 * (size_of::<T>() + 4) > bytes {
            maker = Some(made::Downgrade::new(fine, coarse));
        } else {
            let base = turns[1].base(to);
            rows = stencil::downgrade(&fine, &coarse, &base, &[])?.rounded();
            if adjoint {
                let [fine, coarse] = &turns;
                let back = |turns: &Turns, pixel: usize, q: usize| turns.turned(pixel, (4 - q) % 4);
                rows = flipped(&rows, from / 4, |r, column| {
                    let q = fine.quarter(column);
                    (fine.place(back(fine, column, q)), back(coarse, base[r], q))
                });
            }
        }
        let [fine, coarse] = turns;
        Ok(if adjoint {
            Downgrade { turns: [coarse, fine], lengths: (to, from), rows, maker, adjoint }
        } else {
            Downgrade { turns: [fine, coarse], lengths: (from, to), rows, maker, adjoint }
        })
    }

    /// Bytes of the table.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Downgrade::<f64>::new(4, false)?.bytes() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.maker.as_ref().map_or(0, made::Downgrade::bytes)
    }

    /// Operations for one field, nominal.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert!(Downgrade::<f64>::new(4, false)?.flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        72.0 * self.lengths.0.min(self.lengths.1) as f64
    }

    /// Lengths of a field before and after.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// assert_eq!((Downgrade::<f64>::new(4, false)?.lengths(), Downgrade::<f64>::new(4, true)?.lengths()), ((192, 48), (48, 192)));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn lengths(&self) -> (usize, usize) {
        self.lengths
    }

    /// The map on fields. Panics if a length is wrong.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::gather::*;
    /// # use scatterc_kernels::stencil::{self, Pixels, Rows};
    /// // The adjoint of averages spreads ones to weights whose sum is the number of coarse pixels.
    /// let mut fine = vec![0.0; 192];
    /// Downgrade::<f64>::new(4, true)?.apply(&Serial, &[&[1.0; 48]], &mut [&mut fine]);
    /// assert!((fine.iter().sum::<f64>() - 48.0).abs() < 1e-10);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (from, to) = self.lengths;
        assert!(inputs.iter().all(|x| x.len() == from) && outputs.iter().all(|y| y.len() == to), "fields of {from} and {to} numbers");
        let [read, written] = &self.turns;
        let shared = Shared::all(outputs);
        let tasks = written.tasks(to, PART);
        par.for_each(tasks.len(), &|t| {
            let (row, first, count) = tasks[t];
            let made = self.maker.as_ref().map(|maker| self.part(maker, first, count));
            let (rows, row) = made.as_ref().map_or((&self.rows, row), |rows| (rows, 0));
            let mut places: Vec<[usize; 4]> = Vec::new();
            for r in 0..count {
                let entries = rows.starts[row + r]..rows.starts[row + r + 1];
                let (columns, values) = (&rows.columns[entries.clone()], &rows.values[entries]);
                places.clear();
                places.extend(columns.iter().map(|column| std::array::from_fn(|k| read.turned(*column as usize, k % written.count))));
                for (x, y) in inputs.iter().zip(&shared) {
                    // The sums of all turns side by side: none waits for another.
                    let mut sums = [T::default(); 4];
                    for (place, weight) in places.iter().zip(values) {
                        for (sum, place) in sums.iter_mut().zip(place) {
                            *sum += *weight * x[*place];
                        }
                    }
                    for (k, sum) in sums.iter().take(written.count).enumerate() {
                        // SAFETY: the pixel is below the length of every result; rows, turned, belong to one task.
                        unsafe { *y.get().add(written.turned(first + r, k)) = *sum };
                    }
                }
            }
        });
    }

    /// Rows of a part.
    fn part(&self, maker: &made::Downgrade, first: usize, count: usize) -> Rows<T> {
        if !self.adjoint {
            return maker.rows(&(first..first + count).collect::<Vec<_>>()).rounded();
        }
        let [coarse, fine] = &self.turns;
        let Columns { pixels, mut rows } = maker.columns([fine, coarse], first, count);
        rows.columns.iter_mut().for_each(|column| *column = pixels[*column as usize] as u32);
        rows.rounded()
    }
}
