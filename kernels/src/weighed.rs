//! Bilinear sums of half spectra with the weights of filters, and their adjoint mixtures; what is weighed never leaves the cache.
//!
//! For complex rows x, y of one length, a filter with real weights e_l (even part) and o_l (odd part) and every direction l
//!
//! ```text
//! plain    sum_k e_l(k) Re(x_k conj y_k)          turned   sum_k o_l(k) Im(x_k conj y_k)
//! ```
//!
//! are Hermitian forms: the spectra of real images need half of the frequencies, e_l = h(k) + h(-k), o_l = h(k) - h(-k). Both products of a pair are formed once for all
//! directions, so a direction costs two multiply-adds per frequency. Rows are cut into tiles of [`TILE`] frequencies: of each, real and imaginary parts of all rows are taken
//! apart once and stay in cache, and so do the weights, which lie tile by tile ([`Weights`]).
//!
//! Sums are added in a fixed order: chunk by chunk, whatever the number of threads.

use crate::contract::CHUNKS;
use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, Real, dispatch, with_scratch};
use std::collections::BTreeMap;

/// Frequencies per tile.
///
/// ```
/// assert_eq!(scatterc_kernels::weighed::TILE, 128);
/// ```
pub const TILE: usize = 128;

/// Directions whose sums are kept in registers at a time.
const GROUP: usize = 4;

/// Weights of one filter: `[tile][direction][e, o][TILE]`, zeros behind the last frequency.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::weighed::*;
/// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
/// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
/// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
/// assert_eq!(weights.directions(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Weights<T = f64> {
    directions: usize,
    len: usize,
    numbers: Vec<T>,
}

impl<T: Real> Weights<T> {
    /// From `[directions][e, o][len]`. Panics if the length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// assert_eq!(weights.numbers(), 2 * TILE, "zeros behind the last frequency");
    /// ```
    pub fn new(directions: usize, len: usize, weights: &[T]) -> Self {
        assert_eq!(weights.len(), 2 * directions * len, "two weights per direction and frequency");
        let mut numbers = vec![T::default(); len.div_ceil(TILE) * 2 * directions * TILE];
        for (k, tile) in numbers.chunks_exact_mut(2 * directions * TILE).enumerate() {
            let range = k * TILE..len.min((k + 1) * TILE);
            for (row, tile) in weights.chunks_exact(len).zip(tile.chunks_exact_mut(TILE)) {
                tile[..range.len()].copy_from_slice(&row[range.clone()]);
            }
        }
        Weights { directions, len, numbers }
    }

    /// Number of directions.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// assert_eq!(weights.directions(), 1);
    /// ```
    pub fn directions(&self) -> usize {
        self.directions
    }

    /// Numbers held.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// assert_eq!(weights.numbers() % TILE, 0);
    /// ```
    pub fn numbers(&self) -> usize {
        self.numbers.len()
    }
}

/// One form: which filter, rows a and b, direction, and whether b is turned by i.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::weighed::*;
/// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
/// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
/// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
/// // sum e Re(x conj y) = 1 * 3 + 2 * 1.
/// let form = Form { filter: 0, a: 0, b: 1, l: 0, turned: false };
/// let mut out = [0.0];
/// WeighedGram::new(2, &[form]).run(&Serial, &[&x, &y], &[&weights], 1.0, &mut out);
/// assert_eq!(out, [5.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Index of the filter.
    pub filter: u32,
    /// First row.
    pub a: u32,
    /// Second row.
    pub b: u32,
    /// Direction.
    pub l: u32,
    /// Whether the imaginary part is meant.
    pub turned: bool,
}

/// Forms arranged for [`WeighedGram::run`].
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::weighed::*;
/// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
/// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
/// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
/// // sum o Im(x conj y) = 10 * (-1) + 20 * (-2).
/// let plan = WeighedGram::new(2, &[Form { filter: 0, a: 0, b: 1, l: 0, turned: true }]);
/// let mut out = [0.0];
/// plan.run(&Serial, &[&x, &y], &[&weights], 1.0, &mut out);
/// assert_eq!(out, [-50.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeighedGram {
    n_rows: usize,
    units: Vec<Unit>,
    sums: usize,
    /// Per form its sum and sign.
    places: Vec<(u32, f64)>,
}

/// Sums of one pair of rows and up to four directions: plain ones, then turned ones.
#[derive(Debug, Clone, PartialEq)]
struct Unit {
    filter: u32,
    a: u32,
    b: u32,
    l: [u32; GROUP],
    n: usize,
    turned: bool,
    first: usize,
}

impl WeighedGram {
    /// Arranges forms among `n_rows` rows. Panics if a row does not exist.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// assert!(WeighedGram::new(2, &[Form { filter: 0, a: 0, b: 1, l: 0, turned: true }]).flops() > 0);
    /// ```
    pub fn new(n_rows: usize, forms: &[Form]) -> Self {
        // Pairs of rows in either order share their products: turned sums change their sign.
        let mut pairs: BTreeMap<(u32, u32, u32), BTreeMap<u32, bool>> = BTreeMap::new();
        for form in forms {
            assert!((form.a.max(form.b) as usize) < n_rows, "a form names a row beyond {n_rows}");
            let key = (form.filter, form.a.min(form.b), form.a.max(form.b));
            *pairs.entry(key).or_default().entry(form.l).or_default() |= form.turned;
        }
        let (mut units, mut sums) = (Vec::new(), 0);
        let mut place: BTreeMap<(u32, u32, u32, u32), (usize, usize)> = BTreeMap::new();
        for ((filter, a, b), directions) in pairs {
            let list: Vec<(u32, bool)> = directions.into_iter().collect();
            for group in list.chunks(GROUP) {
                let mut l = [group[0].0; GROUP];
                for (k, (direction, _)) in group.iter().enumerate() {
                    l[k] = *direction;
                    place.insert((filter, a, b, *direction), (sums + k, group.len()));
                }
                let turned = group.iter().any(|(_, turned)| *turned);
                units.push(Unit { filter, a, b, l, n: group.len(), turned, first: sums });
                sums += if turned { 2 * group.len() } else { group.len() };
            }
        }
        let places = forms
            .iter()
            .map(|form| {
                let (sum, n) = place[&(form.filter, form.a.min(form.b), form.a.max(form.b), form.l)];
                let sign = if form.turned && form.a > form.b { -1.0 } else { 1.0 };
                ((if form.turned { sum + n } else { sum }) as u32, sign)
            })
            .collect();
        WeighedGram { n_rows, units, sums, places }
    }

    /// Flops per frequency.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// let form = Form { filter: 0, a: 0, b: 1, l: 0, turned: false };
    /// assert!(WeighedGram::new(2, &[form, Form { turned: true, ..form }]).flops() > WeighedGram::new(2, &[form]).flops());
    /// ```
    pub fn flops(&self) -> usize {
        self.units.iter().map(|unit| if unit.turned { 6 + 4 * unit.n } else { 3 + 2 * unit.n }).sum()
    }

    /// `out[f]` := factor times the form f of the rows. Panics if a length or a filter does not fit.
    ///
    /// - `rows`: `[len]` complex each
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// // Powers: sum e |x|^2 = 1 + 2 * 5, halved.
    /// let mut out = [0.0];
    /// WeighedGram::new(1, &[Form { filter: 0, a: 0, b: 0, l: 0, turned: false }]).run(&Serial, &[&x], &[&weights], 0.5, &mut out);
    /// assert_eq!(out, [5.5]);
    /// ```
    pub fn run<T: Real>(&self, par: &dyn Parallel, rows: &[&[T]], filters: &[&Weights<T>], factor: f64, out: &mut [f64]) {
        assert_eq!((rows.len(), out.len()), (self.n_rows, self.places.len()), "rows and forms are those of the plan");
        let len = rows.first().map_or(0, |row| row.len() / 2);
        check(rows, filters, len);
        for unit in &self.units {
            let directions = filters[unit.filter as usize].directions;
            assert!(unit.l.iter().all(|l| (*l as usize) < directions), "a form names a direction beyond {directions}");
        }
        let chunk = len.div_ceil(CHUNKS).next_multiple_of(TILE);
        let n_chunks = len.div_ceil(chunk.max(1));
        let mut partial = vec![0.0; self.sums * n_chunks];
        let shared = Shared::new(&mut partial);
        par.for_each(n_chunks, &|c| {
            with_scratch(2 * TILE * self.n_rows + LANES * self.sums, |work: *mut f64| {
                // SAFETY: rows and filters were checked; chunk c writes its own sums; the scratch memory holds parts of all rows and the sums in lanes.
                unsafe { gram(self, rows, filters, c * chunk, len.min((c + 1) * chunk), work, shared.get().add(c * self.sums)) }
            });
        });
        for (value, (place, sign)) in out.iter_mut().zip(&self.places) {
            let total: f64 = (0..n_chunks).map(|c| partial[c * self.sums + *place as usize]).sum();
            *value = sign * factor * total;
        }
    }
}

fn check<T: Real>(rows: &[&[T]], filters: &[&Weights<T>], len: usize) {
    assert!(rows.iter().all(|row| row.len() == 2 * len), "rows of one length");
    assert!(filters.iter().all(|filter| filter.len == len), "weights are as long as the rows");
}

/// Real and imaginary parts of a tile of all rows, `[row][re, im][TILE]`, zeros behind the last frequency.
#[inline(always)]
unsafe fn take_apart<V: Lanes>(rows: &[&[V::Element]], from: usize, to: usize, parts: *mut V::Element) {
    let count = to - from;
    let whole = count / LANES * LANES;
    for (r, row) in rows.iter().enumerate() {
        // SAFETY: from <= to <= the length of every row, and at most TILE frequencies lie between; the caller promises room for all rows.
        unsafe {
            let (x, re) = (row.as_ptr().add(2 * from), parts.add(2 * TILE * r));
            let im = re.add(TILE);
            for k in (0..whole).step_by(LANES) {
                let [a, b] = V::load_complex(x.add(2 * k));
                a.store(re.add(k));
                b.store(im.add(k));
            }
            if whole < count {
                V::zero().store(re.add(whole));
                V::zero().store(im.add(whole));
                for k in whole..count {
                    (*re.add(k), *im.add(k)) = (*x.add(2 * k), *x.add(2 * k + 1));
                }
            }
        }
    }
}

dispatch! {
    /// Sums of all units over the frequencies from .. to, a chunk.
    fn gram<T> = gram_lanes(plan: &WeighedGram, rows: &[&[T]], filters: &[&Weights<T>], from: usize, to: usize, work: *mut f64, out: *mut f64)
}

#[inline(always)]
unsafe fn gram_lanes<V: Lanes>(
    plan: &WeighedGram,
    rows: &[&[V::Element]],
    filters: &[&Weights<V::Element>],
    from: usize,
    to: usize,
    work: *mut f64,
    out: *mut f64,
) {
    // SAFETY: the caller promises lengths, rooms and that the chunk starts with a tile.
    unsafe {
        // Sums of tiles are added up in f64.
        let (lanes, parts) = (work, work.add(LANES * plan.sums).cast::<V::Element>());
        std::slice::from_raw_parts_mut(lanes, LANES * plan.sums).fill(0.0);
        let mut tile = from;
        while tile < to {
            let end = to.min(tile + TILE);
            take_apart::<V>(rows, tile, end, parts);
            let n = (end - tile).div_ceil(LANES);
            for unit in &plan.units {
                let filter = filters.get_unchecked(unit.filter as usize);
                let weights = filter.numbers.as_ptr().add(tile / TILE * 2 * filter.directions * TILE);
                let (a, b) = (parts.add(2 * TILE * unit.a as usize), parts.add(2 * TILE * unit.b as usize));
                // Sums of few directions at a time where registers are few.
                let step = if V::SUMS >= 2 * GROUP { GROUP } else { 2 };
                let mut k = 0;
                while k < unit.n {
                    let count = step.min(unit.n - k);
                    let l = unit.l.as_ptr().add(k);
                    let (plain, turned) = (lanes.add((unit.first + k) * LANES), lanes.add((unit.first + unit.n + k) * LANES));
                    match (count, unit.turned) {
                        (1, false) => sums::<V, 1, false>(a, b, weights, l, n, plain, turned),
                        (2, false) => sums::<V, 2, false>(a, b, weights, l, n, plain, turned),
                        (3, false) => sums::<V, 3, false>(a, b, weights, l, n, plain, turned),
                        (_, false) => sums::<V, 4, false>(a, b, weights, l, n, plain, turned),
                        (1, true) => sums::<V, 1, true>(a, b, weights, l, n, plain, turned),
                        (2, true) => sums::<V, 2, true>(a, b, weights, l, n, plain, turned),
                        (3, true) => sums::<V, 3, true>(a, b, weights, l, n, plain, turned),
                        (_, true) => sums::<V, 4, true>(a, b, weights, l, n, plain, turned),
                    }
                    k += count;
                }
            }
            tile = end;
        }
        for k in 0..plan.sums {
            let v = std::slice::from_raw_parts(lanes.add(k * LANES), LANES);
            *out.add(k) = ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
        }
    }
}

/// Adds to the sums of `N` directions what `n` vectors of frequencies give.
#[inline(always)]
unsafe fn sums<V: Lanes, const N: usize, const TURNED: bool>(
    a: *const V::Element,
    b: *const V::Element,
    weights: *const V::Element,
    l: *const u32,
    n: usize,
    plain: *mut f64,
    turned: *mut f64,
) {
    // SAFETY: the caller promises `N` directions, tiles of both rows and of all weights, and `N` sums of either kind (plain ones alone unless `TURNED`).
    unsafe {
        let mut weight = [weights; N];
        let (mut s, mut t) = ([V::zero(); N], [V::zero(); N]);
        for k in 0..N {
            weight[k] = weights.add(2 * TILE * *l.add(k) as usize);
        }
        for e in (0..n * LANES).step_by(LANES) {
            let (ar, ai) = (V::load(a.add(e)), V::load(a.add(TILE + e)));
            let (br, bi) = (V::load(b.add(e)), V::load(b.add(TILE + e)));
            let p = ar.fma(br, ai.mul(bi));
            for k in 0..N {
                s[k] = V::load(weight[k].add(e)).fma(p, s[k]);
            }
            if TURNED {
                let q = ai.fms(br, ar.mul(bi));
                for k in 0..N {
                    t[k] = V::load(weight[k].add(TILE + e)).fma(q, t[k]);
                }
            }
        }
        for k in 0..N {
            s[k].add_to(plain.add(k * LANES));
            if TURNED {
                t[k].add_to(turned.add(k * LANES));
            }
        }
    }
}

/// One term of a mixture.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::weighed::*;
/// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
/// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
/// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
/// let term = Term { filter: 0, row: 0, l: 0, turned: 0, coefficient: 0 };
/// let mut out = [0.0; 4];
/// WeighedMix::new(1, &[1], &[vec![term]]).run(&Serial, &[&x], &[&weights], &[3.0], 1.0, &mut [&mut out]);
/// assert_eq!(out, [3.0, 0.0, 12.0, 6.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Index of the filter.
    pub filter: u32,
    /// The row that is weighed.
    pub row: u32,
    /// Direction.
    pub l: u32,
    /// 0: weights e_l; 1: i o_l; 2: -i o_l.
    pub turned: u32,
    /// Index of its coefficient.
    pub coefficient: u32,
}

/// Terms arranged for [`WeighedMix::run`]: weights of one target and source are added up before the source is touched.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::weighed::*;
/// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
/// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
/// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
/// // i o x: turned by a quarter.
/// let plan = WeighedMix::new(1, &[1], &[vec![Term { filter: 0, row: 0, l: 0, turned: 1, coefficient: 0 }]]);
/// let mut out = [0.0; 4];
/// plan.run(&Serial, &[&x], &[&weights], &[1.0], 1.0, &mut [&mut out]);
/// assert_eq!(out, [0.0, 10.0, -20.0, 40.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeighedMix {
    n_rows: usize,
    n_coefficients: usize,
    /// Per target its sources: filter, row, first sum.
    targets: Vec<Vec<(u32, u32, usize)>>,
    /// Per term its sum (a source has one for e and one for o of every direction), its coefficient and its sign.
    terms: Vec<(u32, u32, f64)>,
    sums: usize,
}

impl WeighedMix {
    /// Arranges the terms of every target; filters have `directions`. Panics if a row, filter or direction does not exist.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// assert!(WeighedMix::new(1, &[1], &[vec![Term { filter: 0, row: 0, l: 0, turned: 1, coefficient: 0 }]]).flops() > 0);
    /// ```
    pub fn new(n_rows: usize, directions: &[usize], targets: &[Vec<Term>]) -> Self {
        let mut plan = WeighedMix { n_rows, n_coefficients: 0, targets: Vec::new(), terms: Vec::new(), sums: 0 };
        for terms in targets {
            let mut sources: BTreeMap<(u32, u32), usize> = BTreeMap::new();
            for term in terms {
                let all = directions[term.filter as usize];
                assert!((term.row as usize) < n_rows && (term.l as usize) < all, "a term names a row beyond {n_rows} or a direction beyond {all}");
                let sums = &mut plan.sums;
                let first = *sources.entry((term.filter, term.row)).or_insert_with(|| {
                    *sums += 2 * all;
                    *sums - 2 * all
                });
                let (odd, sign) = match term.turned {
                    0 => (0, 1.0),
                    1 => (1, 1.0),
                    _ => (1, -1.0),
                };
                plan.terms.push(((first + 2 * term.l as usize + odd) as u32, term.coefficient, sign));
                plan.n_coefficients = plan.n_coefficients.max(term.coefficient as usize + 1);
            }
            plan.targets.push(sources.into_iter().map(|((filter, row), first)| (filter, row, first)).collect());
        }
        plan
    }

    /// Flops per frequency.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// let term = Term { filter: 0, row: 0, l: 0, turned: 0, coefficient: 0 };
    /// assert!(WeighedMix::new(1, &[1], &[vec![term], vec![term]]).flops() > WeighedMix::new(1, &[1], &[vec![term]]).flops());
    /// ```
    pub fn flops(&self) -> usize {
        2 * self.sums + 8 * self.targets.iter().map(Vec::len).sum::<usize>()
    }

    /// `out_t` := factor times the sum over the terms of t of coefficient times weighed row. Panics if a count or length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::weighed::*;
    /// # let weights = Weights::new(1, 2, &[1.0, 2.0, 10.0, 20.0]);
    /// # let (x, y) = ([1.0, 0.0, 2.0, 1.0], [3.0, 1.0, 0.0, 1.0]);
    /// // One direction with e = [1, 2] and o = [10, 20]; x = [1, 2 + i], y = [3 + i, i].
    /// // Two terms of one target: coefficients 1 of x and 2 of y.
    /// let term = Term { filter: 0, row: 0, l: 0, turned: 0, coefficient: 0 };
    /// let mut out = [0.0; 4];
    /// let plan = WeighedMix::new(2, &[1], &[vec![term, Term { row: 1, coefficient: 1, ..term }]]);
    /// plan.run(&Serial, &[&x, &y], &[&weights], &[1.0, 2.0], 1.0, &mut [&mut out]);
    /// assert_eq!(out, [7.0, 2.0, 4.0, 6.0]);
    /// ```
    pub fn run<T: Real>(&self, par: &dyn Parallel, rows: &[&[T]], filters: &[&Weights<T>], coefficients: &[T], factor: f64, out: &mut [&mut [T]]) {
        assert_eq!((rows.len(), out.len()), (self.n_rows, self.targets.len()), "rows and targets are those of the plan");
        assert!(coefficients.len() >= self.n_coefficients, "a term names a coefficient beyond {}", coefficients.len());
        let len = out.first().map_or(0, |row| row.len() / 2);
        check(rows, filters, len);
        assert!(out.iter().all(|row| row.len() == 2 * len), "rows of one length");
        let mut sums = vec![0.0; self.sums];
        for (sum, coefficient, sign) in &self.terms {
            sums[*sum as usize] += sign * factor * coefficients[*coefficient as usize].wide();
        }
        let sums = T::all_of(sums);
        let out = Shared::all(out);
        par.for_each(len.div_ceil(TILE), &|tile| {
            with_scratch(2 * TILE * self.n_rows, |work: *mut T| {
                // SAFETY: lengths were checked, and by `new` rows and directions; the task writes only its tile of the targets.
                unsafe { mix(self, rows, filters, &sums, tile * TILE, len.min((tile + 1) * TILE), work, &out) }
            });
        });
    }
}

dispatch! {
    /// One tile of all targets.
    fn mix<T> = mix_lanes(plan: &WeighedMix, rows: &[&[T]], filters: &[&Weights<T>], sums: &[T], from: usize, to: usize, work: *mut T, out: &[Shared<T>])
}

#[inline(always)]
unsafe fn mix_lanes<V: Lanes>(
    plan: &WeighedMix,
    rows: &[&[V::Element]],
    filters: &[&Weights<V::Element>],
    sums: &[V::Element],
    from: usize,
    to: usize,
    work: *mut V::Element,
    out: &[Shared<V::Element>],
) {
    // SAFETY: the caller's promise, passed on; the last vector of a tile reads zeros behind the last frequency.
    unsafe {
        take_apart::<V>(rows, from, to, work);
        let wide = V::SUMS >= 2 * GROUP;
        for (sources, out) in plan.targets.iter().zip(out) {
            let out = out.get().add(2 * from);
            let mut e = 0;
            while wide && e + 2 * LANES <= to - from {
                let z = mixed::<V, 2>(sources, filters, sums, from / TILE, work, e);
                V::store_complex(z[0], out.add(2 * e));
                V::store_complex(z[1], out.add(2 * (e + LANES)));
                e += 2 * LANES;
            }
            while e + LANES <= to - from {
                V::store_complex(mixed::<V, 1>(sources, filters, sums, from / TILE, work, e)[0], out.add(2 * e));
                e += LANES;
            }
            if e < to - from {
                let mut last = [V::Element::default(); 2 * LANES];
                V::store_complex(mixed::<V, 1>(sources, filters, sums, from / TILE, work, e)[0], last.as_mut_ptr());
                std::ptr::copy_nonoverlapping(last.as_ptr(), out.add(2 * e), 2 * (to - from - e));
            }
        }
    }
}

/// `K` vectors of a target, from frequency `e` of the tile on.
#[inline(always)]
unsafe fn mixed<V: Lanes, const K: usize>(
    sources: &[(u32, u32, usize)],
    filters: &[&Weights<V::Element>],
    sums: &[V::Element],
    tile: usize,
    parts: *const V::Element,
    e: usize,
) -> [[V; 2]; K] {
    let mut z = [[V::zero(); 2]; K];
    for (filter, row, first) in sources {
        // SAFETY: `new` checked what sources name; the caller promises K vectors of the tile.
        unsafe {
            let filter = filters.get_unchecked(*filter as usize);
            let weights = filter.numbers.as_ptr().add(tile * 2 * filter.directions * TILE + e);
            let coefficients = sums.as_ptr().add(*first);
            let mut m = [[V::zero(); 2]; K];
            for l in 0..filter.directions {
                let (c, d) = (V::broadcast(coefficients.add(2 * l)), V::broadcast(coefficients.add(2 * l + 1)));
                let weight = weights.add(2 * TILE * l);
                for k in 0..K {
                    m[k][0] = c.fma(V::load(weight.add(k * LANES)), m[k][0]);
                    m[k][1] = d.fma(V::load(weight.add(TILE + k * LANES)), m[k][1]);
                }
            }
            let x = parts.add(2 * TILE * *row as usize + e);
            for k in 0..K {
                let (re, im) = (V::load(x.add(k * LANES)), V::load(x.add(TILE + k * LANES)));
                z[k][0] = m[k][1].fnma(im, m[k][0].fma(re, z[k][0]));
                z[k][1] = m[k][1].fma(re, m[k][0].fma(im, z[k][1]));
            }
        }
    }
    z
}
