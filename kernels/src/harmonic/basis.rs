//! Coefficients of one order <-> rows of the shared functions Q_k: filter, raising to n = 2, change of basis, and their adjoints.
//!
//! With u_l = p_l f_lm, the scalar channel is sum u_l lambda_l / sqrt(2l + 1). For n = 2, with the operators "times cos theta",
//! (C u)_l = eps_l u_{l-1} + eps_{l+1} u_{l+1}, and "sin theta d/dtheta", sin^2 theta d^l_{m,+-2} is F_l (b +- c), where
//!
//! ```text
//! F_l = ((l - 1) l (l + 1) (l + 2))^{-1/2}
//! y = eps_l [l' (l' - 1) v_{l'}] (l' = l - 1) + eps_{l+1} [(l' + 1) (l' + 2) v_{l'}] (l' = l + 1),   v_l = F_l p_l f_lm / sqrt(2l + 1)
//! b = C y + (2 m^2 - l (l + 1)) v,        c = 2 m (eps_l [(l' - 1) v_{l'}] - eps_{l+1} [(l' + 2) v_{l'}])
//! ```
//!
//! so that B = sum b_l lambda_l / sin^2 and C = -i sum c_l lambda_l / sin^2: rational in l, and one pass over interleaved numbers for
//! each line. A row k of the shared basis holds (even re, even im, odd re, odd im):
//! even_k = alpha_k (eps_{m+2k+1} u_{m+2k} + eps_{m+2k+2} u_{m+2k+2}), odd_k = alpha_k u_{m+2k+1}.

use super::grid::Grid;
use crate::simd::{Aligned, LANES, Lanes};
use crate::wavelets::Window;

/// f64s left and right of a line that hold zeros or are never used.
const MARGIN: usize = 8;

/// Lines of interleaved numbers that one order needs.
const LINES: usize = 7;

/// f64s of each line beyond those of the rows.
const BEYOND: usize = 4 * LANES;

/// Factors by degree alone, each twice in a row as interleaved numbers need them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factors {
    /// p_l / sqrt(2l + 1) of n = 0.
    pub plain: Aligned,
    /// The factors of n = 2, if it is there.
    pub raised: Option<Raised>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Raised {
    own: Aligned,
    up: Aligned,
    down: Aligned,
    side_up: Aligned,
    side_down: Aligned,
    /// l (l + 1).
    eigenvalue: Aligned,
}

impl Factors {
    pub(super) fn new(plain: &Window, raised: Option<&Window>, L_degrees: usize) -> Self {
        let expand = |factor: &dyn Fn(f64) -> f64, filter: Option<&[f64]>| {
            let mut out = Aligned::default();
            for from in (0..L_degrees + 48).step_by(4) {
                out.push(std::array::from_fn(|i| {
                    let ell = from + i / 2;
                    let p = filter.map_or(1.0, |filter| filter.get(ell).copied().filter(|_| ell < L_degrees).unwrap_or(0.0));
                    if p == 0.0 { 0.0 } else { p * factor(ell as f64) }
                }));
            }
            out
        };
        let raised = raised.map(|window| {
            let filter = Some(&window.filter[..]);
            let own = |l: f64| if l < 2.0 { 0.0 } else { 1.0 / ((2.0 * l + 1.0) * (l - 1.0) * l * (l + 1.0) * (l + 2.0)).sqrt() };
            Raised {
                own: expand(&own, filter),
                up: expand(&|l| own(l) * (l * (l - 1.0)), filter),
                down: expand(&|l| own(l) * ((l + 1.0) * (l + 2.0)), filter),
                side_up: expand(&|l| own(l) * (l - 1.0), filter),
                side_down: expand(&|l| own(l) * (l + 2.0), filter),
                eigenvalue: expand(&|l| l * (l + 1.0), None),
            }
        });
        Self { plain: expand(&|l| 1.0 / (2.0 * l + 1.0).sqrt(), Some(&plain.filter)), raised }
    }

    pub(super) fn bytes(&self) -> usize {
        let lines = self.plain.lines().len();
        64 * if self.raised.is_some() { 7 * lines } else { lines }
    }
}

/// Number of f64 of the scratch of [`Basis`].
pub(super) fn scratch_len(L_degrees: usize) -> usize {
    LINES * line_len(L_degrees)
}

fn line_len(L_degrees: usize) -> usize {
    (2 * L_degrees + 64).next_multiple_of(LANES) + 2 * MARGIN
}

/// f64s of the interleaved lines of `pairs` rows, in whole vectors.
fn used(pairs: usize) -> usize {
    (4 * pairs + 8).next_multiple_of(LANES)
}

/// The three lines of every order of a grid, each with its margin, and where those of each order begin, in f64.
pub(super) fn lines(grid: &Grid) -> (Vec<usize>, Aligned) {
    let mut at = Vec::new();
    let mut total = 0;
    for m in 0..grid.offset.len() - 1 {
        at.push(total);
        total += 3 * (MARGIN + used(grid.offset[m + 1] - grid.offset[m]) + BEYOND);
    }
    let mut all = Aligned::zeros(total);
    for (m, at) in at.iter().enumerate() {
        // SAFETY: the lines were counted with the lengths that `write_lines` writes.
        unsafe { write_lines::<crate::simd::Portable<f64>>(grid, m, grid.offset[m + 1] - grid.offset[m], all.as_mut_ptr().add(*at)) };
    }
    (at, all)
}

/// Writes eps_{m+i}; alpha_k (eps_{m+2k+1}, same, 1, 1); alpha_k (eps_{m+2k+2}, same, 0, 0), zeros around them.
#[inline(always)]
unsafe fn write_lines<V: Lanes<Element = f64>>(grid: &Grid, m: usize, pairs: usize, to: *mut f64) -> [*const f64; 3] {
    const ONES: [f64; 2] = [1.0; 2];
    let ones = ONES.as_ptr();
    let len = used(pairs) + BEYOND;
    let epsilon = grid.epsilon(m);
    let alpha = &grid.alpha[grid.offset[m]..];
    // SAFETY: the caller promises three lines of `len` f64 and a margin.
    unsafe {
        let line = |l: usize| to.add(l * (MARGIN + len) + MARGIN);
        let (epsilons, this, next) = (line(0), line(1), line(2));
        let known = (2 * pairs + 4).min(epsilon.len());
        for (line, written) in [(epsilons, 2 * known), (this, 4 * pairs), (next, 0)] {
            V::zero().store(line.sub(MARGIN));
            let written = written / LANES * LANES;
            zero::<V>(line.add(written), len - written);
        }
        for i in 0..known {
            V::scale_two(epsilon[i], ones, epsilons.add(2 * i));
        }
        for k in 0..pairs {
            let (e1, e2, alpha) = (epsilon[2 * k + 1], epsilon[2 * k + 2], alpha[k]);
            V::scale_two(alpha * e1, ones, this.add(4 * k));
            V::scale_two(alpha, ones, this.add(4 * k + 2));
            V::scale_two(alpha * e2, ones, next.add(4 * k));
        }
        [epsilons.cast_const(), this.cast_const(), next.cast_const()]
    }
}

/// The change of basis of one order, in the caller's scratch.
pub(super) struct Basis<'a> {
    factors: &'a Factors,
    m: usize,
    /// Degrees m..m + count are read.
    count: usize,
    pairs: usize,
    /// First row that matters, even: the filters are zero below it.
    first: usize,
    epsilon: *const f64,
    this: *const f64,
    next: *const f64,
    work: [*mut f64; 4],
}

impl<'a> Basis<'a> {
    /// Prepares order m with `pairs` rows, of which those below `first` do not matter; `scratch` holds [`scratch_len`] f64.
    #[inline(always)]
    pub(super) unsafe fn new<V: Lanes<Element = f64>>(
        grid: &Grid,
        factors: &'a Factors,
        m: usize,
        L_degrees: usize,
        pairs: usize,
        first: usize,
        scratch: *mut f64,
    ) -> Self {
        let line = line_len(L_degrees);
        // SAFETY: the caller's promise; every line is written as far as it is read. Stored lines may know more rows than `pairs`:
        // what they add is multiplied by zeros beyond the last degree, or not stored.
        unsafe {
            let at = |l: usize| scratch.add(l * line + MARGIN);
            let [epsilon, this, next] = match &grid.lines {
                Some((places, lines)) => {
                    let len = used(grid.offset[m + 1] - grid.offset[m]) + BEYOND;
                    let to = lines.as_ptr().add(places[m]);
                    std::array::from_fn(|l| to.add(l * (MARGIN + len) + MARGIN))
                }
                None => write_lines::<V>(grid, m, pairs, scratch),
            };
            Self { factors, m, count: L_degrees - m, pairs, first: first / 2 * 2, epsilon, this, next, work: [at(3), at(4), at(5), at(6)] }
        }
    }

    /// f64s of the interleaved lines that rows read or write, in whole vectors.
    fn used(&self) -> usize {
        used(self.pairs)
    }

    /// The column of coefficients from f64 `from` on, with zeros around it.
    #[inline(always)]
    unsafe fn copy<V: Lanes<Element = f64>>(&self, column: *const f64, from: usize, to: *mut f64) {
        let len = 2 * self.count;
        let whole = len / LANES * LANES;
        // SAFETY: the column has `count` complex entries; the line is longer.
        unsafe {
            V::zero().store(to.add(from).sub(MARGIN));
            for v in (from..whole).step_by(LANES) {
                V::load(column.add(v)).store(to.add(v));
            }
            zero::<V>(to.add(whole), self.used() + 2 * LANES - whole);
            for v in whole..len {
                *to.add(v) = *column.add(v);
            }
        }
    }

    /// Line to rows: `rows[k]` (stride f64s apart) := `this_k line[4k..] + next_k line[4k + 4..]`.
    #[inline(always)]
    unsafe fn line_to_rows<V: Lanes<Element = f64>>(&self, line: *const f64, rows: *mut f64, stride: usize) {
        // SAFETY: lines reach beyond `used`; rows have room for one more than `pairs`.
        unsafe {
            for k in (self.first..self.pairs).step_by(2) {
                let own = V::load(self.this.add(4 * k)).mul(V::load(line.add(4 * k)));
                let row = V::load(self.next.add(4 * k)).fma(V::load(line.add(4 * k + 4)), own);
                row.store_halves(rows.add(k * stride), rows.add((k + 1) * stride));
            }
        }
    }

    /// Adjoint of [`Self::line_to_rows`].
    #[inline(always)]
    unsafe fn rows_to_line<V: Lanes<Element = f64>>(&self, rows: *const f64, stride: usize, line: *mut f64) {
        // SAFETY: as above; rows up to `pairs` + 2 are readable and finite, and multiplied by zero beyond `pairs`.
        unsafe {
            V::zero().store(line.add(4 * self.first).sub(MARGIN));
            let mut before = rows.add(self.first * stride);
            for k in (self.first..self.pairs + 1).step_by(2) {
                let (row, after) = (rows.add(k * stride), rows.add((k + 1) * stride));
                let own = V::load(self.this.add(4 * k)).mul(V::load_halves(row, after));
                let sum = V::load(self.next.add(4 * k).sub(4)).fma(V::load_halves(before, row), own);
                sum.store(line.add(4 * k));
                before = after;
            }
            let end = (4 * (self.pairs + 1)).next_multiple_of(LANES);
            zero::<V>(line.add(end), self.used() + 2 * LANES - end);
        }
    }

    /// [`Self::rows_to_column`] of several fields of A alone in one pass: the rows that field f names to the column that starts at `columns[f]`.
    #[inline(always)]
    pub(super) unsafe fn rows_to_columns<V: Lanes<Element = f64>>(&self, rows: &[(*const f64, usize)], columns: &[*mut f64]) {
        let count = 2 * self.count;
        let from = 4 * self.first;
        // SAFETY: as `rows_to_line`; columns have `count` numbers.
        unsafe {
            let plain = self.factors.plain.as_ptr().add(2 * self.m);
            for column in columns {
                zero::<V>(*column, from.min(count) / LANES * LANES);
            }
            for v in (from..count).step_by(LANES) {
                let k = v / 4;
                let (this, next, factor) = (V::load(self.this.add(v)), V::load(self.next.add(v).sub(4)), V::load(plain.add(v)));
                for ((rows, stride), column) in rows.iter().zip(columns) {
                    let row = rows.add(k * stride);
                    // Nothing comes from below the first row.
                    let before = if v > from { row.sub(*stride) } else { row };
                    let own = this.mul(V::load_halves(row, row.add(*stride)));
                    let sum = next.fma(V::load_halves(before, row), own).mul(factor);
                    if v + LANES <= count {
                        sum.store(column.add(v));
                    } else {
                        sum.store(self.work[0]);
                        for i in 0..count - v {
                            *column.add(v + i) = *self.work[0].add(i);
                        }
                    }
                }
            }
        }
    }

    /// Coefficients to the rows of A, and of B and C.
    ///
    /// `column` starts at degree m; `rows` gives place and stride of the rows of each channel.
    #[inline(always)]
    pub(super) unsafe fn column_to_rows<V: Lanes<Element = f64>>(&self, column: *const f64, rows: [(*mut f64, usize); 3]) {
        let [f, y, b, c] = self.work;
        let at = 2 * self.m;
        // SAFETY: all lines have margins of eight f64 and reach two vectors beyond `used`; factors reach as far.
        unsafe {
            let end = self.used();
            let from = 4 * self.first;
            let plain = self.factors.plain.as_ptr().add(at);
            // A alone reads the column where it lies, up to its last vectors.
            let inside = if self.factors.raised.is_some() { from } else { (2 * self.count).saturating_sub(12).max(from) / LANES * LANES };
            self.copy::<V>(column, inside, f);
            let (place, stride) = rows[0];
            for k in (self.first..self.pairs).step_by(2) {
                let v = 4 * k;
                let source = if v < inside { column.add(v) } else { f.add(v).cast_const() };
                let own = V::load(plain.add(v)).mul(V::load(source));
                let after = V::load(plain.add(v + 4)).mul(V::load(source.add(4)));
                let row = V::load(self.next.add(v)).fma(after, V::load(self.this.add(v)).mul(own));
                row.store_halves(place.add(k * stride), place.add((k + 1) * stride));
            }
            let Some(r) = &self.factors.raised else { return };
            if self.m < 2 {
                for (place, stride) in &rows[1..] {
                    for k in (self.first..self.pairs).step_by(2) {
                        V::zero().store_halves(place.add(k * stride), place.add((k + 1) * stride));
                    }
                }
                return;
            }
            let table = |table: &Aligned| table.as_ptr().add(at);
            let (up, down, own, eigenvalue) = (table(&r.up), table(&r.down), table(&r.own), table(&r.eigenvalue));
            let (side_up, side_down) = (table(&r.side_up), table(&r.side_down));
            let double_m = V::splat(2.0 * self.m as f64);
            V::zero().store(y.add(from).sub(MARGIN));
            for v in (from..end + LANES).step_by(LANES) {
                let (e0, e1) = (V::load(self.epsilon.add(v)), V::load(self.epsilon.add(v + 2)));
                let (left, right) = (V::load(f.add(v).sub(2)), V::load(f.add(v + 2)));
                let lower = e0.mul(V::load(up.add(v).sub(2)).mul(left));
                e1.fma(V::load(down.add(v + 2)).mul(right), lower).store(y.add(v));
                let lower = e0.mul(V::load(side_up.add(v).sub(2)).mul(left));
                let side = e1.fnma(V::load(side_down.add(v + 2)).mul(right), lower).mul(double_m);
                side.minus_i().store(c.add(v));
            }
            V::zero().store(y.add(end + LANES));
            let twice = V::splat(2.0 * (self.m * self.m) as f64);
            for v in (from..end + LANES).step_by(LANES) {
                let (e0, e1) = (V::load(self.epsilon.add(v)), V::load(self.epsilon.add(v + 2)));
                let own = V::load(own.add(v)).mul(V::load(f.add(v)));
                let sum = twice.sub(V::load(eigenvalue.add(v))).mul(own);
                let sum = e0.fma(V::load(y.add(v).sub(2)), sum);
                e1.fma(V::load(y.add(v + 2)), sum).store(b.add(v));
            }
            self.line_to_rows::<V>(b, rows[1].0, rows[1].1);
            self.line_to_rows::<V>(c, rows[2].0, rows[2].1);
        }
    }

    /// Adjoint of [`Self::column_to_rows`], written over the column.
    #[inline(always)]
    pub(super) unsafe fn rows_to_column<V: Lanes<Element = f64>>(&self, rows: [(*const f64, usize); 3], column: *mut f64) {
        let [a, y, b, c] = self.work;
        let at = 2 * self.m;
        // SAFETY: as `column_to_rows`.
        unsafe {
            let r = match &self.factors.raised {
                Some(r) if self.m >= 2 => r,
                _ => return self.rows_to_columns::<V>(&rows[..1], &[column]),
            };
            let end = self.used();
            let from = 4 * self.first;
            let plain = self.factors.plain.as_ptr().add(at);
            let count = 2 * self.count;
            self.rows_to_line::<V>(rows[0].0, rows[0].1, a);
            self.rows_to_line::<V>(rows[1].0, rows[1].1, b);
            self.rows_to_line::<V>(rows[2].0, rows[2].1, c);
            V::zero().store(y.add(from).sub(MARGIN));
            for v in (from..end).step_by(LANES) {
                let (e0, e1) = (V::load(self.epsilon.add(v)), V::load(self.epsilon.add(v + 2)));
                e1.fma(V::load(b.add(v + 2)), e0.mul(V::load(b.add(v).sub(2)))).store(y.add(v));
                // The adjoint of -i is i.
                V::zero().sub(V::load(c.add(v)).minus_i()).store(c.add(v));
            }
            V::zero().store(y.add(end));
            let table = |table: &Aligned| table.as_ptr().add(at);
            let (up, down, own, eigenvalue) = (table(&r.up), table(&r.down), table(&r.own), table(&r.eigenvalue));
            let (side_up, side_down) = (table(&r.side_up), table(&r.side_down));
            let double_m = V::splat(2.0 * self.m as f64);
            let twice = V::splat(2.0 * (self.m * self.m) as f64);
            // The sums take the place of the line of A, which is read just before.
            for v in (from..count).step_by(LANES) {
                let (e0, e1) = (V::load(self.epsilon.add(v)), V::load(self.epsilon.add(v + 2)));
                let own = V::load(own.add(v)).mul(twice.sub(V::load(eigenvalue.add(v))));
                let mut s = V::load(plain.add(v)).mul(V::load(a.add(v)));
                s = own.fma(V::load(b.add(v)), s);
                s = V::load(up.add(v)).fma(e1.mul(V::load(y.add(v + 2))), s);
                s = V::load(down.add(v)).fma(e0.mul(V::load(y.add(v).sub(2))), s);
                s = V::load(side_up.add(v)).mul(double_m).fma(e1.mul(V::load(c.add(v + 2))), s);
                s = V::load(side_down.add(v)).mul(double_m).fnma(e0.mul(V::load(c.add(v).sub(2))), s);
                s.store(a.add(v));
            }
            let whole = (count / LANES * LANES).max(from);
            zero::<V>(column, from.min(count) / LANES * LANES);
            for v in (from..whole).step_by(LANES) {
                V::load(a.add(v)).store(column.add(v));
            }
            for v in whole..count {
                *column.add(v) = *a.add(v);
            }
        }
    }
}

#[inline(always)]
unsafe fn zero<V: Lanes<Element = f64>>(to: *mut f64, len: usize) {
    // SAFETY: the caller promises `len` f64, a multiple of eight.
    unsafe {
        for v in (0..len).step_by(LANES) {
            V::zero().store(to.add(v));
        }
    }
}
