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
const LINES: usize = 8;

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

/// The change of basis of one order, in the caller's scratch.
pub(super) struct Basis<'a> {
    factors: &'a Factors,
    m: usize,
    /// Degrees m..m + count are read.
    count: usize,
    pairs: usize,
    /// eps_{m+i}; alpha_k (eps_{m+2k+1}, same, 1, 1); alpha_k (eps_{m+2k+2}, same, 0, 0).
    epsilon: *mut f64,
    this: *mut f64,
    next: *mut f64,
    work: [*mut f64; 5],
    line: usize,
}

impl<'a> Basis<'a> {
    /// Prepares order m with `pairs` rows; `scratch` holds [`scratch_len`] f64.
    #[inline(always)]
    pub(super) unsafe fn new<V: Lanes>(grid: &Grid, factors: &'a Factors, m: usize, L_degrees: usize, pairs: usize, scratch: *mut f64) -> Self {
        let line = line_len(L_degrees);
        // SAFETY: the caller's promise; every line is written from its left margin to its end before it is read.
        unsafe {
            for l in 0..3 {
                zero::<V>(scratch.add(l * line), line);
            }
            let at = |l: usize| scratch.add(l * line + MARGIN);
            let basis = Self {
                factors,
                m,
                count: L_degrees - m,
                pairs,
                epsilon: at(0),
                this: at(1),
                next: at(2),
                work: [at(3), at(4), at(5), at(6), at(7)],
                line,
            };
            const ONES: [f64; 2] = [1.0; 2];
            let ones = ONES.as_ptr();
            let epsilon = grid.epsilon(m);
            let alpha = &grid.alpha[grid.offset[m]..];
            for k in 0..pairs {
                let (e1, e2, alpha) = (epsilon[2 * k + 1], epsilon[2 * k + 2], alpha[k]);
                V::scale_two(alpha * e1, ones, basis.this.add(4 * k));
                V::scale_two(alpha, ones, basis.this.add(4 * k + 2));
                V::scale_two(alpha * e2, ones, basis.next.add(4 * k));
            }
            if factors.raised.is_some() {
                // Neighbours reach two degrees beyond those read.
                for i in 0..(basis.count + 4).min(epsilon.len()) {
                    V::scale_two(epsilon[i], ones, basis.epsilon.add(2 * i));
                }
            }
            basis
        }
    }

    /// f64s of the interleaved lines that rows read or write, in whole vectors.
    fn used(&self) -> usize {
        (4 * self.pairs + 8).next_multiple_of(LANES)
    }

    /// The column of coefficients from degree m on, with zeros around it.
    #[inline(always)]
    unsafe fn copy<V: Lanes>(&self, column: *const f64, to: *mut f64) {
        let len = 2 * self.count;
        let whole = len / LANES * LANES;
        // SAFETY: the column has `count` complex entries; the line is longer.
        unsafe {
            V::zero().store(to.sub(MARGIN));
            for v in (0..whole).step_by(LANES) {
                V::load(column.add(v)).store(to.add(v));
            }
            zero::<V>(to.add(whole), self.line - 2 * MARGIN - whole);
            for v in whole..len {
                *to.add(v) = *column.add(v);
            }
        }
    }

    /// Line to rows: `rows[k]` (stride f64s apart) := `this_k line[4k..] + next_k line[4k + 4..]`.
    #[inline(always)]
    unsafe fn line_to_rows<V: Lanes>(&self, line: *const f64, rows: *mut f64, stride: usize) {
        // SAFETY: lines reach beyond `used`; rows have room for one more than `pairs`.
        unsafe {
            for k in (0..self.pairs).step_by(2) {
                let own = V::load(self.this.add(4 * k)).mul(V::load(line.add(4 * k)));
                let row = V::load(self.next.add(4 * k)).fma(V::load(line.add(4 * k + 4)), own);
                row.store_halves(rows.add(k * stride), rows.add((k + 1) * stride));
            }
        }
    }

    /// Adjoint of [`Self::line_to_rows`].
    #[inline(always)]
    unsafe fn rows_to_line<V: Lanes>(&self, rows: *const f64, stride: usize, line: *mut f64) {
        // SAFETY: as above; rows up to `pairs` + 2 are readable and finite, and multiplied by zero beyond `pairs`.
        unsafe {
            V::zero().store(line.sub(MARGIN));
            let mut before = rows;
            for k in (0..self.pairs + 1).step_by(2) {
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

    /// Coefficients to the rows of A, and of B and C.
    ///
    /// `column` starts at degree m; `rows` gives place and stride of the rows of each channel.
    #[inline(always)]
    pub(super) unsafe fn to_rows<V: Lanes>(&self, column: *const f64, rows: [(*mut f64, usize); 3]) {
        let [f, work, y, b, c] = self.work;
        let at = 2 * self.m;
        // SAFETY: all lines have margins of eight f64 and reach two vectors beyond `used`; factors reach as far.
        unsafe {
            self.copy::<V>(column, f);
            let end = self.used();
            let plain = self.factors.plain.as_ptr().add(at);
            for v in (0..end + LANES).step_by(LANES) {
                V::load(plain.add(v)).mul(V::load(f.add(v))).store(work.add(v));
            }
            self.line_to_rows::<V>(work, rows[0].0, rows[0].1);
            let Some(r) = &self.factors.raised else { return };
            if self.m < 2 {
                for (place, stride) in &rows[1..] {
                    for k in (0..self.pairs).step_by(2) {
                        V::zero().store_halves(place.add(k * stride), place.add((k + 1) * stride));
                    }
                }
                return;
            }
            let table = |table: &Aligned| table.as_ptr().add(at);
            let (up, down, own, eigenvalue) = (table(&r.up), table(&r.down), table(&r.own), table(&r.eigenvalue));
            let (side_up, side_down) = (table(&r.side_up), table(&r.side_down));
            let double_m = V::splat(2.0 * self.m as f64);
            V::zero().store(y.sub(MARGIN));
            for v in (0..end + LANES).step_by(LANES) {
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
            for v in (0..end + LANES).step_by(LANES) {
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

    /// Adjoint of [`Self::to_rows`], written over the column.
    #[inline(always)]
    pub(super) unsafe fn from_rows<V: Lanes>(&self, rows: [(*const f64, usize); 3], column: *mut f64) {
        let [sum, a, y, b, c] = self.work;
        let at = 2 * self.m;
        // SAFETY: as `to_rows`.
        unsafe {
            self.rows_to_line::<V>(rows[0].0, rows[0].1, a);
            let end = self.used();
            let plain = self.factors.plain.as_ptr().add(at);
            let count = 2 * self.count;
            match &self.factors.raised {
                Some(r) if self.m >= 2 => {
                    self.rows_to_line::<V>(rows[1].0, rows[1].1, b);
                    self.rows_to_line::<V>(rows[2].0, rows[2].1, c);
                    V::zero().store(y.sub(MARGIN));
                    for v in (0..end).step_by(LANES) {
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
                    for v in (0..count).step_by(LANES) {
                        let (e0, e1) = (V::load(self.epsilon.add(v)), V::load(self.epsilon.add(v + 2)));
                        let own = V::load(own.add(v)).mul(twice.sub(V::load(eigenvalue.add(v))));
                        let mut s = V::load(plain.add(v)).mul(V::load(a.add(v)));
                        s = own.fma(V::load(b.add(v)), s);
                        s = V::load(up.add(v)).fma(e1.mul(V::load(y.add(v + 2))), s);
                        s = V::load(down.add(v)).fma(e0.mul(V::load(y.add(v).sub(2))), s);
                        s = V::load(side_up.add(v)).mul(double_m).fma(e1.mul(V::load(c.add(v + 2))), s);
                        s = V::load(side_down.add(v)).mul(double_m).fnma(e0.mul(V::load(c.add(v).sub(2))), s);
                        s.store(sum.add(v));
                    }
                }
                _ => {
                    for v in (0..count).step_by(LANES) {
                        V::load(plain.add(v)).mul(V::load(a.add(v))).store(sum.add(v));
                    }
                }
            }
            let whole = count / LANES * LANES;
            for v in (0..whole).step_by(LANES) {
                V::load(sum.add(v)).store(column.add(v));
            }
            for v in whole..count {
                *column.add(v) = *sum.add(v);
            }
        }
    }
}

#[inline(always)]
unsafe fn zero<V: Lanes>(to: *mut f64, len: usize) {
    // SAFETY: the caller promises `len` f64, a multiple of eight.
    unsafe {
        for v in (0..len).step_by(LANES) {
            V::zero().store(to.add(v));
        }
    }
}
