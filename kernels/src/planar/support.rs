//! Filters where they are not zero: folding and its transpose row by row, on the runs of frequencies that a filter has.
//!
//! ```text
//! spectrum --runs of row r, times the filter, added to row r mod h--> folded [h][re: w, im: w] --strips of 8 columns that are not zero--> transform
//! ```
//!
//! Rows are read and written one after another, aliases of one folded row in turn, so that memory is walked in order however far apart the aliases lie. Filters of coarse
//! scales have few frequencies; the others are neither read nor multiplied.

use super::Factors;
use crate::simd::{LANES, Lanes, Real, dispatch};

/// Zeros between two runs that are not worth a second one.
const GAP: usize = 2 * LANES;

/// Where each of several filters on a grid `H` x `W` is not zero, and which strips of eight folded columns that gives.
///
/// ```
/// use scatterc_kernels::planar::{Factors, Support};
///
/// // Narrow filters hold less than broad ones.
/// let (mut narrow, broad) = (vec![0.0; 32], vec![1.0; 32]);
/// narrow[1] = 1.0;
/// let of = |re: &[f64]| Support::new(&Factors { re, im: None }, (4, 8), (2, 4), false);
/// assert!(of(&narrow).bytes() < of(&broad).bytes());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    H: usize,
    W: usize,
    h: usize,
    w: usize,
    half: bool,
    /// Runs of all rows of all filters, first and last column (excluded); none crosses a multiple of w, or the last stored column.
    runs: Vec<(u32, u32)>,
    /// First run of every row of every filter, and the end.
    first: Vec<u32>,
    /// Whether a strip of a filter has anything, `[filter][strip]`.
    strips: Vec<bool>,
}

impl Support {
    /// Of filters `[n][H][W]` whose spectra are folded to `h` x `w`, stored up to column W/2 where `half`. Panics if a size does not divide.
    ///
    /// ```
    /// use scatterc_kernels::planar::{Factors, Support};
    ///
    /// let ones = [1.0; 32];
    /// let support = Support::new(&Factors { re: &ones, im: None }, (4, 8), (2, 4), false);
    /// assert!(support.folded_len() >= 2 * 2 * 4);
    /// ```
    pub fn new<T: Real>(factors: &Factors<T>, (H, W): (usize, usize), (h, w): (usize, usize), half: bool) -> Self {
        assert!(h > 0 && w > 0 && H.is_multiple_of(h) && W.is_multiple_of(w), "{h} x {w} divides {H} x {W}");
        let stride = if half { W / 2 + 1 } else { W };
        let n = factors.re.len() / (H * W);
        let n_strips = w.div_ceil(LANES);
        let mut support = Support { H, W, h, w, half, runs: vec![], first: vec![0], strips: vec![false; n * n_strips] };
        for row in 0..n * H {
            let zero = |c: usize| factors.re[row * W + c].wide() == 0.0 && factors.im.is_none_or(|im| im[row * W + c].wide() == 0.0);
            let mut c = 0;
            while c < W {
                if zero(c) {
                    c += 1;
                    continue;
                }
                let (start, mut end) = (c, c + 1);
                let mut k = end;
                while k < W && k < end + GAP {
                    if !zero(k) {
                        end = k + 1;
                    }
                    k += 1;
                }
                // Cut where the place in memory jumps.
                let mut from = start;
                while from < end {
                    let next = (from / w + 1) * w;
                    let to = end.min(next).min(if from < stride { stride } else { W });
                    support.runs.push((from as u32, to as u32));
                    for strip in from % w / LANES..=(to - 1) % w / LANES {
                        support.strips[row / H * n_strips + strip] = true;
                    }
                    from = to;
                }
                c = end;
            }
            support.first.push(support.runs.len() as u32);
        }
        support
    }

    /// Whether any frequency of filter `l` comes to the strip.
    pub(super) fn has(&self, l: usize, strip: usize) -> bool {
        self.strips[l * self.w.div_ceil(LANES) + strip]
    }

    /// Numbers of one folded spectrum, whole vectors behind every row.
    ///
    /// ```
    /// use scatterc_kernels::planar::{Factors, Support};
    ///
    /// let ones = [1.0; 32];
    /// let of = |h| Support::new(&Factors { re: &ones, im: None }, (4, 8), (h, 4), false).folded_len();
    /// assert_eq!(of(4), 2 * of(2));
    /// ```
    pub fn folded_len(&self) -> usize {
        2 * self.h * self.row_len()
    }

    fn row_len(&self) -> usize {
        self.w.next_multiple_of(LANES)
    }

    /// Bytes held.
    ///
    /// ```
    /// use scatterc_kernels::planar::{Factors, Support};
    ///
    /// let ones = [1.0; 32];
    /// assert!(Support::new(&Factors { re: &ones, im: None }, (4, 8), (2, 4), false).bytes() > 0);
    /// ```
    pub fn bytes(&self) -> usize {
        8 * self.runs.len() + 4 * self.first.len() + self.strips.len()
    }

    fn row(&self, l: usize, r: usize) -> &[(u32, u32)] {
        &self.runs[self.first[l * self.H + r] as usize..self.first[l * self.H + r + 1] as usize]
    }
}

/// One filter of a bank and one spectrum.
#[derive(Clone, Copy)]
pub(super) struct Folding<'a, T> {
    pub support: &'a Support,
    /// All filters.
    pub factors: Factors<'a, T>,
    /// Which of them.
    pub l: usize,
    pub scale: f64,
}

impl<T: Real> Folding<'_, T> {
    /// Filtered and folded rows, `[h][re: w, im: w]`.
    ///
    /// # Safety
    ///
    /// `spectrum` holds a spectrum of the grid, `folded` has room for `folded_len` numbers.
    pub(super) unsafe fn fold(&self, spectrum: *const T, folded: *mut T) {
        // SAFETY: the caller's promise, passed on.
        unsafe { fold(self, spectrum, folded) }
    }

    /// The transpose of [`Self::fold`], added to the spectrum.
    ///
    /// # Safety
    ///
    /// As for [`Self::fold`], with the spectrum writable and the strips of `folded` that the filter has written.
    pub(super) unsafe fn unfold(&self, folded: *const T, spectrum: *mut T) {
        // SAFETY: the caller's promise, passed on.
        unsafe { unfold(self, folded, spectrum) }
    }
}

impl Support {
    /// Columns `first` .. `first + 8` of a folded spectrum, `[h][re: 8, im: 8]`.
    ///
    /// # Safety
    ///
    /// `folded` holds a folded spectrum, `data` has room for h elements of eight lanes, `first` is a multiple of eight below w.
    pub(super) unsafe fn strip<T: Real>(&self, folded: *const T, first: usize, data: *mut T) {
        // SAFETY: the caller's promise, passed on.
        unsafe { strip(self, folded, first, data) }
    }

    /// The transpose of [`Self::strip`].
    ///
    /// # Safety
    ///
    /// As for [`Self::strip`], with the folded spectrum writable.
    pub(super) unsafe fn strip_back<T: Real>(&self, data: *const T, first: usize, folded: *mut T) {
        // SAFETY: the caller's promise, passed on.
        unsafe { strip_back(self, data, first, folded) }
    }
}

dispatch! {
    /// Filtered and folded rows, `[h][re: w, im: w]`.
    ///
    /// `spectrum` holds a spectrum of the grid, `folded` has room for `folded_len` numbers.
    fn fold<T> = fold_lanes(folding: &Folding<'_, T>, spectrum: *const T, folded: *mut T)
}

#[inline(always)]
unsafe fn fold_lanes<V: Lanes>(folding: &Folding<'_, V::Element>, spectrum: *const V::Element, folded: *mut V::Element) {
    let Folding { support, factors, l, scale } = *folding;
    let (H, W, w) = (support.H, support.W, support.w);
    let stride = if support.half { W / 2 + 1 } else { W };
    let width = support.row_len();
    let (scale, scales) = (V::Element::of(scale), V::constant(scale));
    // SAFETY: runs lie in a row of the grid, on one side of the last stored column and in one alias; the caller promises the rest.
    unsafe {
        for row in 0..support.h {
            let (re, im) = (folded.add(2 * row * width), folded.add((2 * row + 1) * width));
            (0..width).step_by(LANES).for_each(|c| {
                V::zero().store(re.add(c));
                V::zero().store(im.add(c));
            });
            for r in (row..H).step_by(support.h) {
                let at = (l * H + r) * W;
                let (f, g) = (factors.re.as_ptr().add(at), factors.im.map(|im| im.as_ptr().add(at)));
                for (from, to) in support.row(l, r) {
                    let (from, to) = (*from as usize, *to as usize);
                    let mirrored = from >= stride;
                    let line = if mirrored { (H - r) % H } else { r } * stride;
                    let mut c = from;
                    while c + LANES <= to {
                        let [x, y] = if mirrored {
                            let [x, y] = V::load_complex(spectrum.add(2 * (line + W - c - (LANES - 1))));
                            [x.reversed(), V::zero().sub(y.reversed())]
                        } else {
                            V::load_complex(spectrum.add(2 * (line + c)))
                        };
                        let a = V::load(f.add(c)).mul(scales);
                        let (re, im) = (re.add(c % w), im.add(c % w));
                        match g {
                            None => {
                                a.fma(x, V::load(re)).store(re);
                                a.fma(y, V::load(im)).store(im);
                            }
                            Some(g) => {
                                let b = V::load(g.add(c)).mul(scales);
                                b.fnma(y, a.fma(x, V::load(re))).store(re);
                                b.fma(x, a.fma(y, V::load(im))).store(im);
                            }
                        }
                        c += LANES;
                    }
                    for c in c..to {
                        let (place, sign) = if mirrored { (line + W - c, V::Element::of(-1.0)) } else { (line + c, V::Element::of(1.0)) };
                        let (x, y) = (*spectrum.add(2 * place), sign * *spectrum.add(2 * place + 1));
                        let (a, b) = (scale * *f.add(c), g.map_or(V::Element::default(), |g| scale * *g.add(c)));
                        *re.add(c % w) += a * x - b * y;
                        *im.add(c % w) += a * y + b * x;
                    }
                }
            }
        }
    }
}

dispatch! {
    /// The transpose of [`fold`], added to the spectrum.
    fn unfold<T> = unfold_lanes(folding: &Folding<'_, T>, folded: *const T, spectrum: *mut T)
}

#[inline(always)]
unsafe fn unfold_lanes<V: Lanes>(folding: &Folding<'_, V::Element>, folded: *const V::Element, spectrum: *mut V::Element) {
    let Folding { support, factors, l, scale } = *folding;
    let (H, W, w) = (support.H, support.W, support.w);
    let stride = if support.half { W / 2 + 1 } else { W };
    let width = support.row_len();
    let (scale, scales) = (V::Element::of(scale), V::constant(scale));
    // SAFETY: as in `fold_lanes`, with the spectrum writable.
    unsafe {
        for r in 0..H {
            let row = r % support.h;
            let (re, im) = (folded.add(2 * row * width), folded.add((2 * row + 1) * width));
            let at = (l * H + r) * W;
            let (f, g) = (factors.re.as_ptr().add(at), factors.im.map(|im| im.as_ptr().add(at)));
            for (from, to) in support.row(l, r) {
                let (from, to) = (*from as usize, *to as usize);
                let mirrored = from >= stride;
                let line = if mirrored { (H - r) % H } else { r } * stride;
                let mut c = from;
                while c + LANES <= to {
                    let (x, y) = (V::load(re.add(c % w)), V::load(im.add(c % w)));
                    let a = V::load(f.add(c)).mul(scales);
                    let mut z = [a.mul(x), a.mul(y)];
                    if let Some(g) = g {
                        let b = V::load(g.add(c)).mul(scales);
                        z = [b.fma(y, z[0]), b.fnma(x, z[1])];
                    }
                    let to = if mirrored {
                        z = [z[0].reversed(), V::zero().sub(z[1].reversed())];
                        spectrum.add(2 * (line + W - c - (LANES - 1)))
                    } else {
                        spectrum.add(2 * (line + c))
                    };
                    let [p, q] = V::load_complex(to);
                    V::store_complex([p.add(z[0]), q.add(z[1])], to);
                    c += LANES;
                }
                for c in c..to {
                    let (x, y) = (*re.add(c % w), *im.add(c % w));
                    let (a, b) = (scale * *f.add(c), g.map_or(V::Element::default(), |g| scale * *g.add(c)));
                    let (place, sign) = if mirrored { (line + W - c, V::Element::of(-1.0)) } else { (line + c, V::Element::of(1.0)) };
                    *spectrum.add(2 * place) += a * x + b * y;
                    *spectrum.add(2 * place + 1) += sign * (a * y - b * x);
                }
            }
        }
    }
}

dispatch! {
    /// Columns `first` .. `first + 8` of a folded spectrum, `[h][re: 8, im: 8]`.
    fn strip<T> = strip_lanes(support: &Support, folded: *const T, first: usize, data: *mut T)
}

#[inline(always)]
unsafe fn strip_lanes<V: Lanes>(support: &Support, folded: *const V::Element, first: usize, data: *mut V::Element) {
    let width = support.row_len();
    // SAFETY: rows are whole vectors long; the caller promises room for h elements of eight lanes.
    unsafe {
        for row in 0..support.h {
            let from = folded.add(2 * row * width + first);
            V::load(from).store(data.add(2 * LANES * row));
            V::load(from.add(width)).store(data.add(2 * LANES * row + LANES));
        }
    }
}

dispatch! {
    /// The transpose of [`strip`].
    fn strip_back<T> = strip_back_lanes(support: &Support, data: *const T, first: usize, folded: *mut T)
}

#[inline(always)]
unsafe fn strip_back_lanes<V: Lanes>(support: &Support, data: *const V::Element, first: usize, folded: *mut V::Element) {
    let width = support.row_len();
    // SAFETY: as in `strip_lanes`, with the folded spectrum writable.
    unsafe {
        for row in 0..support.h {
            let to = folded.add(2 * row * width + first);
            V::load(data.add(2 * LANES * row)).store(to);
            V::load(data.add(2 * LANES * row + LANES)).store(to.add(width));
        }
    }
}
