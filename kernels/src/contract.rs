//! Bilinear contractions and linear mixtures of rows: flat arrays of equal layout.
//!
//! A row is cut into tiles of [`TILE`] elements, so that the tiles of all rows stay in the second-level cache, and into at
//! most [`CHUNKS`] chunks of whole tiles. A task computes one chunk; the chunks' partial sums are added in order, so that results do not
//! depend on the number of threads.

use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, Real, dispatch};
use std::collections::HashMap;

/// Elements per tile.
///
/// ```
/// assert!(scatterc_kernels::contract::TILE.is_power_of_two());
/// ```
pub const TILE: usize = 512;
/// Partial sums per result.
///
/// ```
/// use scatterc_kernels::contract::{CHUNKS, TILE};
///
/// // Rows of up to a tile have one partial sum, long ones sixteen.
/// assert_eq!((10usize.div_ceil(TILE).min(CHUNKS), 1_000_000usize.div_ceil(TILE).min(CHUNKS)), (1, 16));
/// ```
pub const CHUNKS: usize = 16;

/// Pairs of rows arranged for [`gram`]: dense groups of rows are multiplied four by four in registers.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::contract::*;
/// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
/// # let weights = [1.0, 1.0, 0.5];
/// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
/// let plan = GramPlan::new(2, &[(0, 0), (0, 1)]);
/// let mut out = [0.0; 2];
/// plan.run(&Serial, &[&a, &b], &weights, &mut out);
/// assert_eq!(out, [9.5, 23.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GramPlan {
    n_rows: usize,
    blocks: Vec<Block>,
    /// Per requested pair: its sum among the 16 per block.
    slots: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq)]
struct Block {
    a: [u32; 4],
    b: [u32; 4],
    /// A lone pair (a[0], b[0]) rather than all sixteen.
    single: bool,
}

impl GramPlan {
    /// Arranges `pairs` of row indices. Panics if an index is not below `n_rows`.
    ///
    /// Rows connected through pairs are kept together; a block of 4 x 4 is formed where at least five of its products are
    /// wanted, which is where it becomes cheaper than single products.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::contract::*;
    /// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    /// # let weights = [1.0, 1.0, 0.5];
    /// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
    /// // All pairs, in any order; products are symmetric.
    /// let plan = GramPlan::new(2, &[(1, 0), (0, 1), (1, 1)]);
    /// let mut out = [0.0; 3];
    /// plan.run(&Serial, &[&a, &b], &weights, &mut out);
    /// assert!(out[0] == out[1] && out[2] == 59.0);
    /// ```
    pub fn new(n_rows: usize, pairs: &[(u32, u32)]) -> Self {
        let mut parent: Vec<u32> = (0..n_rows as u32).collect();
        fn root(parent: &mut [u32], mut row: u32) -> u32 {
            while parent[row as usize] != row {
                parent[row as usize] = parent[parent[row as usize] as usize];
                row = parent[row as usize];
            }
            row
        }
        let mut used = vec![false; n_rows];
        for (a, b) in pairs {
            assert!((*a as usize) < n_rows && (*b as usize) < n_rows, "pair ({a}, {b}) names a row beyond {n_rows}");
            used[*a as usize] = true;
            used[*b as usize] = true;
            let (ra, rb) = (root(&mut parent, *a), root(&mut parent, *b));
            parent[ra.max(rb) as usize] = ra.min(rb);
        }
        let mut order: Vec<u32> = (0..n_rows as u32).filter(|row| used[*row as usize]).collect();
        let roots: Vec<u32> = (0..n_rows as u32).map(|row| root(&mut parent, row)).collect();
        order.sort_by_key(|row| (roots[*row as usize], *row));
        // Quads of rows never span two components.
        let mut quads: Vec<[u32; 4]> = Vec::new();
        let mut place = vec![(0u32, 0u32); n_rows];
        for component in order.chunk_by(|a, b| roots[*a as usize] == roots[*b as usize]) {
            for four in component.chunks(4) {
                let quad = std::array::from_fn(|i| four[i.min(four.len() - 1)]);
                for (i, row) in four.iter().enumerate() {
                    place[*row as usize] = (quads.len() as u32, i as u32);
                }
                quads.push(quad);
            }
        }
        // Both orders of a pair share one product.
        let canonical: Vec<((u32, u32), (u32, u32))> = pairs
            .iter()
            .map(|(a, b)| {
                let (pa, pb) = (place[*a as usize], place[*b as usize]);
                if pa <= pb { (pa, pb) } else { (pb, pa) }
            })
            .collect();
        let mut wanted: Vec<_> = canonical.iter().map(|((qa, ia), (qb, ib))| (*qa, *qb, *ia, *ib)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut blocks = Vec::new();
        let mut slot = std::collections::HashMap::new();
        for group in wanted.chunk_by(|x, y| (x.0, x.1) == (y.0, y.1)) {
            let (qa, qb) = (quads[group[0].0 as usize], quads[group[0].1 as usize]);
            if group.len() >= 5 {
                for key in group {
                    slot.insert(*key, (16 * blocks.len()) as u32 + 4 * key.2 + key.3);
                }
                blocks.push(Block { a: qa, b: qb, single: false });
            } else {
                for key in group {
                    slot.insert(*key, (16 * blocks.len()) as u32);
                    let (a, b) = (qa[key.2 as usize], qb[key.3 as usize]);
                    blocks.push(Block { a: [a; 4], b: [b; 4], single: true });
                }
            }
        }
        let slots = canonical.iter().map(|((qa, ia), (qb, ib))| slot[&(*qa, *qb, *ia, *ib)]).collect();
        Self { n_rows, blocks, slots }
    }

    /// `out[p]` := sum_e weights\[e\] rows\[a_p\]\[e\] rows\[b_p\]\[e\] for the planned pairs. Panics if a length is wrong.
    ///
    /// Cost: for dense groups 16 multiply-adds and 4 multiplications per 16 products and element.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::contract::*;
    /// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    /// # let weights = [1.0, 1.0, 0.5];
    /// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
    /// let mut out = [0.0];
    /// GramPlan::new(2, &[(0, 1)]).run(&Serial, &[&a, &b], &weights, &mut out);
    /// assert_eq!(out, [4.0 + 10.0 + 9.0]);
    /// ```
    pub fn run<T: Real>(&self, par: &dyn Parallel, rows: &[&[T]], weights: &[T], out: &mut [T]) {
        assert_eq!(rows.len(), self.n_rows, "the plan was made for {} rows", self.n_rows);
        assert_eq!(out.len(), self.slots.len(), "one output per pair");
        for row in rows {
            assert_eq!(row.len(), weights.len(), "rows and weights have equal lengths");
        }
        let n = weights.len();
        let chunk = n.div_ceil(CHUNKS).next_multiple_of(TILE);
        let n_chunks = n.div_ceil(chunk.max(1));
        let sums = 16 * self.blocks.len();
        let mut partial = vec![0.0f64; sums * n_chunks];
        let shared = Shared::new(&mut partial);
        par.for_each(n_chunks, &|c| {
            let mut lanes = crate::simd::Aligned::zeros(sums * LANES);
            let (from, to) = (c * chunk, n.min((c + 1) * chunk));
            // SAFETY: rows and weights have n elements; chunk c writes its own part of `partial`.
            unsafe {
                gram_chunk(&self.blocks, rows, weights, from, to, lanes.as_mut_ptr(), shared.get().add(c * sums));
            }
        });
        for (value, slot) in out.iter_mut().zip(&self.slots) {
            *value = T::of((0..n_chunks).map(|c| partial[c * sums + *slot as usize]).sum());
        }
    }
}

/// `out[p]` := sum_e w\[e\] a_p\[e\] b_p\[e\] over many pairs among few rows. `pairs` are row indices; see [`GramPlan`] to reuse
/// the arrangement.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::contract::*;
/// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
/// # let weights = [1.0, 1.0, 0.5];
/// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
/// let mut out = [0.0];
/// gram(&Serial, &[&a, &b], &weights, &[(1, 1)], &mut out);
/// assert_eq!(out, [16.0 + 25.0 + 18.0]);
/// ```
pub fn gram<T: Real>(par: &dyn Parallel, rows: &[&[T]], weights: &[T], pairs: &[(u32, u32)], out: &mut [T]) {
    GramPlan::new(rows.len(), pairs).run(par, rows, weights, out);
}

dispatch! {
    fn gram_chunk<T> = gram_chunk_lanes(
        blocks: &[Block], rows: &[&[T]], weights: &[T], from: usize, to: usize, lanes: *mut f64, out: *mut f64
    )
}

#[inline(always)]
unsafe fn gram_chunk_lanes<V: Lanes>(
    blocks: &[Block],
    rows: &[&[V::Element]],
    weights: &[V::Element],
    from: usize,
    to: usize,
    lanes: *mut f64,
    out: *mut f64,
) {
    let full = from + (to - from) / LANES * LANES;
    // SAFETY: from <= to <= the length of every row; `lanes` and `out` hold 16 sums per block.
    unsafe {
        let w = weights.as_ptr();
        let mut tile = from;
        while tile < full {
            let end = full.min(tile + TILE);
            for (i, block) in blocks.iter().enumerate() {
                let sums = lanes.add(16 * i * LANES);
                if block.single {
                    let (a, b) = (rows[block.a[0] as usize].as_ptr(), rows[block.b[0] as usize].as_ptr());
                    let mut s = [V::zero(); 2];
                    let mut e = tile;
                    while e + 2 * LANES <= end {
                        s[0] = V::load(w.add(e)).mul(V::load(a.add(e))).fma(V::load(b.add(e)), s[0]);
                        let g = e + LANES;
                        s[1] = V::load(w.add(g)).mul(V::load(a.add(g))).fma(V::load(b.add(g)), s[1]);
                        e += 2 * LANES;
                    }
                    if e < end {
                        s[0] = V::load(w.add(e)).mul(V::load(a.add(e))).fma(V::load(b.add(e)), s[0]);
                    }
                    s[0].add(s[1]).add_to(sums);
                    continue;
                }
                let a = [
                    rows[block.a[0] as usize].as_ptr(),
                    rows[block.a[1] as usize].as_ptr(),
                    rows[block.a[2] as usize].as_ptr(),
                    rows[block.a[3] as usize].as_ptr(),
                ];
                let b = [
                    rows[block.b[0] as usize].as_ptr(),
                    rows[block.b[1] as usize].as_ptr(),
                    rows[block.b[2] as usize].as_ptr(),
                    rows[block.b[3] as usize].as_ptr(),
                ];
                let mut s = [[V::zero(); 4]; 4];
                let mut e = tile;
                while e < end {
                    let weight = V::load(w.add(e));
                    let mut left = [V::zero(); 4];
                    for x in 0..4 {
                        left[x] = weight.mul(V::load(a[x].add(e)));
                    }
                    for y in 0..4 {
                        let right = V::load(b[y].add(e));
                        for x in 0..4 {
                            s[x][y] = left[x].fma(right, s[x][y]);
                        }
                    }
                    e += LANES;
                }
                for x in 0..4 {
                    for y in 0..4 {
                        s[x][y].add_to(sums.add((4 * x + y) * LANES));
                    }
                }
            }
            tile = end;
        }
        for (i, block) in blocks.iter().enumerate() {
            let sums = lanes.add(16 * i * LANES);
            let count = if block.single { 1 } else { 16 };
            for s in 0..count {
                let lane = |k: usize| *sums.add(s * LANES + k);
                let value = ((lane(0) + lane(4)) + (lane(2) + lane(6))) + ((lane(1) + lane(5)) + (lane(3) + lane(7)));
                let (a, b) = (rows[block.a[s / 4] as usize], rows[block.b[s % 4] as usize]);
                let mut total = value;
                for e in full..to {
                    total += (weights[e] * a[e] * b[e]).wide();
                }
                *out.add(16 * i + s) = total;
            }
        }
    }
}

/// `out[r][e]` := w\[e\] sum_k coefficients\[c_k\] rows\[k\]\[e\] with `terms[r]` = \[(row, index into `coefficients`)\].
///
/// Outputs with the same list of rows are computed four at a time. Panics if a length or index is wrong.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::contract::*;
/// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
/// # let weights = [1.0, 1.0, 0.5];
/// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
/// // w (10 a + 20 b).
/// let mut out = [0.0; 3];
/// mix(&Serial, &[&a, &b], Some(&weights), &[vec![(0, 0), (1, 1)]], &[10.0, 20.0], &mut [&mut out]);
/// assert_eq!(out, [90.0, 120.0, 75.0]);
/// ```
pub fn mix<T: Real>(par: &dyn Parallel, rows: &[&[T]], weights: Option<&[T]>, terms: &[Vec<(u32, u32)>], coefficients: &[T], out: &mut [&mut [T]]) {
    MixPlan::new(rows.len(), terms).run(par, rows, weights, coefficients, out);
}

/// [`mix`] that adds to `out`.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::contract::*;
/// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
/// # let weights = [1.0, 1.0, 0.5];
/// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
/// let mut out = [1.0; 3];
/// mix_add(&Serial, &[&a, &b], None, &[vec![(0, 0)]], &[2.0], &mut [&mut out]);
/// assert_eq!(out, [3.0, 5.0, 7.0]);
/// ```
pub fn mix_add<T: Real>(
    par: &dyn Parallel,
    rows: &[&[T]],
    weights: Option<&[T]>,
    terms: &[Vec<(u32, u32)>],
    coefficients: &[T],
    out: &mut [&mut [T]],
) {
    MixPlan::new(rows.len(), terms).run_into(par, rows, weights, coefficients, out, true);
}

/// Terms arranged for [`mix`]: outputs that read the same rows share their loads, four by four, and coefficients of one row are added up first.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::contract::*;
/// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
/// # let weights = [1.0, 1.0, 0.5];
/// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
/// // Two outputs, 2 a and 2 b + 3 a.
/// let plan = MixPlan::new(2, &[vec![(0, 0)], vec![(1, 0), (0, 1)]]);
/// let (mut p, mut q) = ([0.0; 3], [0.0; 3]);
/// plan.run(&Serial, &[&a, &b], None, &[2.0, 3.0], &mut [&mut p, &mut q]);
/// assert_eq!((p, q), ([2.0, 4.0, 6.0], [11.0, 16.0, 21.0]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MixPlan {
    n_rows: usize,
    n_outputs: usize,
    n_coefficients: usize,
    groups: Vec<Grouped>,
}

#[derive(Debug, Clone, PartialEq)]
struct Grouped {
    outputs: Vec<usize>,
    rows: Vec<u32>,
    /// For every (row, output) how many coefficients are added.
    counts: Vec<u32>,
    /// Which.
    sources: Vec<u32>,
}

impl MixPlan {
    /// Arranges the terms (row, coefficient) of every output. Panics if a row is not below `n_rows`.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::contract::*;
    /// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    /// # let weights = [1.0, 1.0, 0.5];
    /// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
    /// // The adjoint of a bilinear sum: coefficient 0 times b.
    /// let mut out = [0.0; 3];
    /// MixPlan::new(2, &[vec![(1, 0)]]).run(&Serial, &[&a, &b], Some(&weights), &[1.0], &mut [&mut out]);
    /// assert_eq!(out, [4.0, 5.0, 3.0]);
    /// ```
    pub fn new(n_rows: usize, terms: &[Vec<(u32, u32)>]) -> Self {
        let mut groups: Vec<Grouped> = Vec::new();
        let mut open: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut lists: Vec<Vec<(u32, u32)>> = terms.to_vec();
        // A stable sort: coefficients of one row keep their order, so sums are the same every time.
        lists.iter_mut().for_each(|list| list.sort_by_key(|term| term.0));
        for (r, list) in lists.iter().enumerate() {
            let mut names: Vec<u32> = list.iter().map(|term| term.0).collect();
            names.dedup();
            assert!(names.iter().all(|row| (*row as usize) < n_rows), "a term names a row beyond {n_rows}");
            match open.get(&names) {
                Some(k) if groups[*k].outputs.len() < 4 => groups[*k].outputs.push(r),
                _ => {
                    open.insert(names.clone(), groups.len());
                    groups.push(Grouped { outputs: vec![r], rows: names, counts: Vec::new(), sources: Vec::new() });
                }
            }
        }
        for group in &mut groups {
            for row in &group.rows {
                for r in &group.outputs {
                    let list = &lists[*r];
                    let from = list.partition_point(|term| term.0 < *row);
                    let to = list.partition_point(|term| term.0 <= *row);
                    group.counts.push((to - from) as u32);
                    group.sources.extend(list[from..to].iter().map(|term| term.1));
                }
            }
        }
        let n_coefficients = terms.iter().flatten().map(|term| term.1 as usize + 1).max().unwrap_or(0);
        MixPlan { n_rows, n_outputs: terms.len(), n_coefficients, groups }
    }

    /// Flops of one element of all outputs.
    ///
    /// ```
    /// use scatterc_kernels::contract::MixPlan;
    ///
    /// assert!(MixPlan::new(2, &[vec![(0, 0), (1, 1)]]).flops() >= 2);
    /// ```
    pub fn flops(&self) -> usize {
        self.groups.iter().map(|g| 2 * g.rows.len() * g.outputs.len()).sum()
    }

    /// `out_r[e]` := `w[e]` sum over the terms of r of `coefficients[c] rows[row][e]`. Panics if counts or lengths do not fit the plan.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::contract::*;
    /// # let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    /// # let weights = [1.0, 1.0, 0.5];
    /// // Rows a = [1, 2, 3] and b = [4, 5, 6], weights [1, 1, 1/2].
    /// let mut out = [0.0; 3];
    /// MixPlan::new(1, &[vec![(0, 0)]]).run(&Serial, &[&a], None, &[-1.0], &mut [&mut out]);
    /// assert_eq!(out, [-1.0, -2.0, -3.0]);
    /// ```
    pub fn run<T: Real>(&self, par: &dyn Parallel, rows: &[&[T]], weights: Option<&[T]>, coefficients: &[T], out: &mut [&mut [T]]) {
        self.run_into(par, rows, weights, coefficients, out, false);
    }

    fn run_into<T: Real>(&self, par: &dyn Parallel, rows: &[&[T]], weights: Option<&[T]>, coefficients: &[T], out: &mut [&mut [T]], add: bool) {
        assert_eq!(self.n_outputs, out.len(), "one list of terms per output");
        assert_eq!(self.n_rows, rows.len(), "as many rows as planned");
        assert!(coefficients.len() >= self.n_coefficients, "a term names a coefficient beyond {}", coefficients.len());
        let n = out.first().map_or(0, |row| row.len());
        assert!(out.iter().all(|row| row.len() == n), "outputs have equal lengths");
        assert!(rows.iter().all(|row| row.len() == n), "rows are as long as outputs");
        assert!(weights.is_none_or(|w| w.len() == n), "weights are as long as outputs");
        let groups: Vec<MixGroup<T>> = self
            .groups
            .iter()
            .map(|group| {
                let mut sources = group.sources.iter();
                let sum = |count: &u32| sources.by_ref().take(*count as usize).map(|c| coefficients[*c as usize]).sum();
                MixGroup { outputs: &group.outputs, rows: &group.rows, coefficients: group.counts.iter().map(sum).collect() }
            })
            .collect();
        let out = Shared::all(out);
        let task = MixTask { rows, weights, groups: &groups, out: &out, add };
        par.for_each(n.div_ceil(TILE), &|tile| {
            // SAFETY: lengths and indices were checked; the task writes only its tile of the outputs.
            unsafe { mix_tile(&task, tile * TILE, n.min((tile + 1) * TILE)) }
        });
    }
}

/// Outputs of one group and their coefficients, `[row][output]`.
struct MixGroup<'a, T> {
    outputs: &'a [usize],
    rows: &'a [u32],
    coefficients: Vec<T>,
}

struct MixTask<'a, T> {
    rows: &'a [&'a [T]],
    weights: Option<&'a [T]>,
    groups: &'a [MixGroup<'a, T>],
    out: &'a [Shared<T>],
    add: bool,
}

dispatch! {
    fn mix_tile<T> = mix_tile_lanes(task: &MixTask<'_, T>, from: usize, to: usize)
}

#[inline(always)]
unsafe fn mix_tile_lanes<V: Lanes>(task: &MixTask<'_, V::Element>, from: usize, to: usize) {
    for group in task.groups {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match group.outputs.len() {
                1 => mix_group::<V, 1>(task, group, from, to),
                2 => mix_group::<V, 2>(task, group, from, to),
                3 => mix_group::<V, 3>(task, group, from, to),
                _ => mix_group::<V, 4>(task, group, from, to),
            }
        }
    }
}

#[inline(always)]
unsafe fn mix_group<V: Lanes, const R: usize>(task: &MixTask<'_, V::Element>, group: &MixGroup<'_, V::Element>, from: usize, to: usize) {
    let full = from + (to - from) / (2 * LANES) * (2 * LANES);
    let n_terms = group.rows.len();
    // SAFETY: from..to lies inside every row and output; groups hold R outputs and n_terms R coefficients.
    unsafe {
        let mut e = from;
        while e < full {
            let mut s = [[V::zero(); 2]; R];
            let mut coefficient = group.coefficients.as_ptr();
            for k in 0..n_terms {
                let row = task.rows.get_unchecked(*group.rows.get_unchecked(k) as usize).as_ptr().add(e);
                let x = [V::load(row), V::load(row.add(LANES))];
                for r in 0..R {
                    let c = V::broadcast(coefficient.add(r));
                    s[r][0] = c.fma(x[0], s[r][0]);
                    s[r][1] = c.fma(x[1], s[r][1]);
                }
                coefficient = coefficient.add(R);
            }
            for half in 0..2 {
                let at = e + half * LANES;
                for r in 0..R {
                    let out = task.out[group.outputs[r]].get().add(at);
                    let mut value = s[r][half];
                    if let Some(w) = task.weights {
                        value = value.mul(V::load(w.as_ptr().add(at)));
                    }
                    if task.add {
                        value = V::load(out).add(value);
                    }
                    value.store(out);
                }
            }
            e += 2 * LANES;
        }
        for e in full..to {
            for r in 0..R {
                let mut value = V::Element::default();
                for k in 0..n_terms {
                    value += group.coefficients[k * R + r] * task.rows[group.rows[k] as usize][e];
                }
                if let Some(w) = task.weights {
                    value *= w[e];
                }
                let out = task.out[group.outputs[r]].get().add(e);
                *out = if task.add { *out + value } else { value };
            }
        }
    }
}
