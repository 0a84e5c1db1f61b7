//! Images on a pyramid of resolutions: small stencils in several orientations, means over blocks, linear enlargement, and their adjoints.
//!
//! An image is `[H][W]`; a series is an image of one row. A stencil is applied as a correlation, row by row, with all its orientations in registers at once; what lies beyond the
//! image is decided by [`Edge`]. The adjoint gathers too: it correlates with zeros around, on an image with a border, and folds the border back.

use crate::KernelError;
use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, Real, dispatch, with_scratch};

/// What lies beyond an image.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::images::*;
/// // What stands before the first of four samples.
/// assert_eq!([Edge::Cyclic, Edge::Reflect, Edge::Repeat, Edge::Zero].map(|edge| edge.place(4, -1)), [Some(3), Some(1), Some(0), None]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The other side.
    Cyclic,
    /// The reflection that does not repeat the edge sample.
    Reflect,
    /// The reflection that repeats the edge sample.
    Repeat,
    /// Zeros.
    Zero,
}

impl Edge {
    /// The edge by its number, in the order above.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// assert_eq!(Edge::from_index(1)?, Edge::Reflect);
    /// assert!(Edge::from_index(4).is_err());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn from_index(index: usize) -> Result<Self, KernelError> {
        match index {
            0 => Ok(Edge::Cyclic),
            1 => Ok(Edge::Reflect),
            2 => Ok(Edge::Repeat),
            3 => Ok(Edge::Zero),
            _ => Err(KernelError::parameter("edge", "0, 1, 2 or 3", index)),
        }
    }

    /// Which of `n` samples stands at position k, from -n to 2n; none where zeros stand.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// assert_eq!((Edge::Cyclic.place(4, 5), Edge::Zero.place(4, 5), Edge::Zero.place(4, 3)), (Some(1), None, Some(3)));
    /// ```
    pub fn place(self, n: usize, k: i64) -> Option<usize> {
        let n = n as i64;
        let inside = match self {
            _ if (0..n).contains(&k) => k,
            Edge::Zero => return None,
            Edge::Cyclic => k.rem_euclid(n),
            Edge::Reflect if k < 0 => -k,
            Edge::Reflect => 2 * n - 2 - k,
            Edge::Repeat if k < 0 => -1 - k,
            Edge::Repeat => 2 * n - 1 - k,
        };
        (0..n).contains(&inside).then_some(inside as usize)
    }
}

/// Stencils that are tried together, two chunks of columns at a time.
const GROUP: usize = 8;
/// Chunks of columns of the adjoint.
const CHUNKS: usize = 4;

/// Stencils of `h` x `w` applied to images of `H` x `W`: `[H][W]` to `[n][H][W]`.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::images::*;
/// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
/// // x[c + 1] - x[c - 1] of series of four samples.
/// let mut y = [0.0; 4];
/// difference.apply(&Serial, &[1.0, 2.0, 4.0, 8.0], &mut y);
/// assert_eq!(y, [2.0, 3.0, 6.0, -4.0]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stencils<T = f64> {
    H: usize,
    W: usize,
    h: usize,
    w: usize,
    n: usize,
    edge: Edge,
    /// `[groups][h][w][GROUP]`, zero beyond the last stencil.
    weights: Vec<T>,
}

impl<T: Real> Stencils<T> {
    /// `n` stencils, `[n][h][w]`, with odd sides that reach no further than the image is wide.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// assert!(Stencils::<f64>::new(8, 8, 3, 3, Edge::Cyclic, &[0.0; 2 * 9]).is_ok());
    /// assert!(Stencils::<f64>::new(8, 8, 2, 3, Edge::Cyclic, &[0.0; 6]).is_err(), "even sides have no middle");
    /// ```
    pub fn new(H: usize, W: usize, h: usize, w: usize, edge: Edge, stencils: &[f64]) -> Result<Self, KernelError> {
        for (name, side, size) in [("h", h, H), ("w", w, W)] {
            if side % 2 == 0 || side / 2 > size || (edge == Edge::Reflect && side > 1 && side / 2 >= size) {
                return Err(KernelError::parameter(name, format!("odd, reaching less far than {size} samples"), side));
            }
        }
        if stencils.is_empty() || !stencils.len().is_multiple_of(h * w) {
            return Err(KernelError::parameter("stencils", format!("whole stencils of {} numbers", h * w), stencils.len()));
        }
        let n = stencils.len() / (h * w);
        let mut weights = vec![T::default(); n.div_ceil(GROUP) * h * w * GROUP];
        for (q, stencil) in stencils.chunks_exact(h * w).enumerate() {
            for (k, x) in stencil.iter().enumerate() {
                weights[(q / GROUP * h * w + k) * GROUP + q % GROUP] = T::of(*x);
            }
        }
        Ok(Stencils { H, W, h, w, n, edge, weights })
    }

    /// Numbers of the result for one image, n H W.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// assert_eq!(Stencils::<f64>::new(8, 8, 3, 3, Edge::Cyclic, &[0.0; 2 * 9])?.len(), 2 * 64);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.n * self.H * self.W
    }

    /// Never: there is at least one stencil.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// assert!(!difference.is_empty());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Operations for one image, nominal.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// assert!(difference.flops() >= 4.0 * 3.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        2.0 * (self.H * self.W * self.h * self.w * self.n) as f64
    }

    /// Bytes of the tables.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// assert!(difference.bytes() >= 3 * 8);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn bytes(&self) -> usize {
        size_of::<T>() * self.weights.len()
    }

    /// Columns of a row with its border, and room for whole vectors.
    fn stride(&self) -> usize {
        (self.W + 2 * (self.w - 1)).next_multiple_of(LANES) + CHUNKS * LANES
    }

    /// f64 of one thread's buffers.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// assert!(difference.scratch_len() >= 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        let rows = self.H + 2 * (self.h - 1);
        (self.n + 1) * rows * self.stride()
    }

    /// y_q[r, c] = sum_ab s_q[a, b] x[r + a - h/2, c + b - w/2] of consecutive images.
    ///
    /// - `x`: `[fields][H][W]`
    /// - `y`: `[fields][n][H][W]`
    ///
    /// Panics if a length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// // Two images, one after the other.
    /// let mut y = [0.0; 8];
    /// difference.apply(&Serial, &[1.0, 2.0, 4.0, 8.0, 0.0, 0.0, 0.0, 1.0], &mut y);
    /// assert_eq!(y[4..], [0.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply(&self, par: &dyn Parallel, x: &[T], y: &mut [T]) {
        let (from, to) = (self.H * self.W, self.n * self.H * self.W);
        let fields = x.len() / from;
        assert_eq!((x.len(), y.len()), (fields * from, fields * to), "whole images of {} x {}", self.H, self.W);
        let out = Shared::new(y);
        par.for_each(fields, &|k| {
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: task k writes its own images; lengths were checked; the scratch memory is that of `scratch_len`.
                unsafe {
                    self.bordered(&x[k * from..][..from], scratch);
                    forth(self, scratch, out.get().add(k * to));
                }
            });
        });
    }

    /// The transpose of [`Self::apply`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// # let difference: Stencils = Stencils::new(1, 4, 1, 3, Edge::Zero, &[-1.0, 0.0, 1.0])?;
    /// // x[c + 1] - x[c - 1] of series of four samples.
    /// // A sample is read with -1 by the next and with 1 by the one before.
    /// let mut x = [0.0; 4];
    /// difference.adjoint(&Serial, &[0.0, 1.0, 0.0, 0.0], &mut x);
    /// assert_eq!(x, [-1.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn adjoint(&self, par: &dyn Parallel, y: &[T], x: &mut [T]) {
        let (from, to) = (self.n * self.H * self.W, self.H * self.W);
        let fields = x.len() / to;
        assert_eq!((x.len(), y.len()), (fields * to, fields * from), "whole images of {} x {}", self.H, self.W);
        let out = Shared::new(x);
        par.for_each(fields, &|k| {
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: task k writes its own image; lengths were checked; the scratch memory is that of `scratch_len`.
                unsafe {
                    back(self, &y[k * from..][..from], scratch);
                    self.folded(scratch, std::slice::from_raw_parts_mut(out.get().add(k * to), to));
                }
            });
        });
    }

    /// The image with its border of h/2 rows and w/2 columns.
    ///
    /// # Safety
    ///
    /// `to` holds `scratch_len()` f64.
    unsafe fn bordered(&self, x: &[T], to: *mut T) {
        let (stride, reach) = (self.stride(), (self.w / 2) as i64);
        for R in 0..self.H + self.h - 1 {
            // SAFETY: rows with their border are shorter than the stride, and as many fit.
            let row = unsafe { std::slice::from_raw_parts_mut(to.add(R * stride), stride) };
            let Some(r) = self.edge.place(self.H, R as i64 - (self.h / 2) as i64) else {
                row.fill(Default::default());
                continue;
            };
            let own = &x[r * self.W..][..self.W];
            row[self.w / 2..][..self.W].copy_from_slice(own);
            row[self.W + self.w - 1..].fill(Default::default());
            for k in 1..=reach {
                let at = |k: i64| self.edge.place(self.W, k).map_or(T::default(), |c| own[c]);
                row[(reach - k) as usize] = at(-k);
                row[(reach + self.W as i64 - 1 + k) as usize] = at(self.W as i64 - 1 + k);
            }
        }
    }

    /// Adds the border of an image to the samples that it repeats.
    ///
    /// # Safety
    ///
    /// `from` holds `scratch_len()` f64, of which the first rows are an image with its border.
    unsafe fn folded(&self, from: *const T, x: &mut [T]) {
        x.fill(Default::default());
        let (stride, reach) = (self.stride(), (self.w / 2) as i64);
        for R in 0..self.H + self.h - 1 {
            let Some(r) = self.edge.place(self.H, R as i64 - (self.h / 2) as i64) else { continue };
            // SAFETY: as in `bordered`.
            let row = unsafe { std::slice::from_raw_parts(from.add(R * stride), stride) };
            let own = &mut x[r * self.W..][..self.W];
            own.iter_mut().zip(&row[self.w / 2..]).for_each(|(x, y)| *x += *y);
            for k in 1..=reach {
                if let Some(c) = self.edge.place(self.W, -k) {
                    own[c] += row[(reach - k) as usize];
                }
                if let Some(c) = self.edge.place(self.W, self.W as i64 - 1 + k) {
                    own[c] += row[(reach + self.W as i64 - 1 + k) as usize];
                }
            }
        }
    }
}

dispatch! {
    fn forth<T> = forth_lanes(map: &Stencils<T>, bordered: *const T, out: *mut T)
}

dispatch! {
    fn back<T> = back_lanes(map: &Stencils<T>, y: &[T], scratch: *mut T)
}

/// Eight numbers, of which `count` are stored.
#[inline(always)]
unsafe fn store_some<V: Lanes>(value: V, to: *mut V::Element, count: usize) {
    // SAFETY: the caller promises `count` writable f64.
    unsafe {
        if count >= LANES {
            value.store(to);
        } else {
            let mut few = [V::Element::default(); LANES];
            value.store(few.as_mut_ptr());
            std::ptr::copy_nonoverlapping(few.as_ptr(), to, count);
        }
    }
}

#[inline(always)]
unsafe fn forth_lanes<V: Lanes>(map: &Stencils<V::Element>, bordered: *const V::Element, out: *mut V::Element) {
    let (H, W, h, w, stride) = (map.H, map.W, map.h, map.w, map.stride());
    // SAFETY: reads of a row end within its stride, which has room for a last pair of vectors; writes stay within rows of W.
    unsafe {
        for group in 0..map.n.div_ceil(GROUP) {
            let weights = map.weights.as_ptr().add(group * h * w * GROUP);
            let count = GROUP.min(map.n - group * GROUP);
            for r in 0..H {
                for c in (0..W).step_by(2 * LANES) {
                    let mut sums = [[V::zero(); GROUP]; 2];
                    for a in 0..h {
                        let row = bordered.add((r + a) * stride + c);
                        for b in 0..w {
                            let (x, y) = (V::load(row.add(b)), V::load(row.add(b + LANES)));
                            let own = weights.add((a * w + b) * GROUP);
                            for q in 0..GROUP {
                                let weight = V::broadcast(own.add(q));
                                sums[0][q] = weight.fma(x, sums[0][q]);
                                sums[1][q] = weight.fma(y, sums[1][q]);
                            }
                        }
                    }
                    for q in 0..count {
                        let to = out.add(((group * GROUP + q) * H + r) * W + c);
                        store_some(sums[0][q], to, W - c);
                        if W > c + LANES {
                            store_some(sums[1][q], to.add(LANES), W - c - LANES);
                        }
                    }
                }
            }
        }
    }
}

/// The image with its border, from images with zeros around them; it ends at the start of the scratch memory.
#[inline(always)]
unsafe fn back_lanes<V: Lanes>(map: &Stencils<V::Element>, y: &[V::Element], scratch: *mut V::Element) {
    let (H, W, h, w, stride) = (map.H, map.W, map.h, map.w, map.stride());
    let rows = H + 2 * (h - 1);
    // SAFETY: the scratch memory holds n + 1 images of `rows` rows; reads of a row end within its stride, which has room for a last group of vectors.
    unsafe {
        let around = scratch.add(rows * stride);
        for q in 0..map.n {
            for R in 0..rows {
                let row = std::slice::from_raw_parts_mut(around.add((q * rows + R) * stride), stride);
                match R.checked_sub(h - 1).filter(|r| *r < H) {
                    None => row.fill(Default::default()),
                    Some(r) => {
                        row[..w - 1].fill(Default::default());
                        row[w - 1..][..W].copy_from_slice(&y[(q * H + r) * W..][..W]);
                        row[w - 1 + W..].fill(Default::default());
                    }
                }
            }
        }
        for R in 0..H + h - 1 {
            for c in (0..W + w - 1).step_by(CHUNKS * LANES) {
                let mut sums = [V::zero(); CHUNKS];
                for q in 0..map.n {
                    for a in 0..h {
                        // Row R - a of the image stands h - 1 rows further down, column C - b as many columns.
                        let row = around.add((q * rows + R + h - 1 - a) * stride + c + w - 1);
                        for b in 0..w {
                            let weight = V::broadcast(map.weights.as_ptr().add(((q / GROUP * h + a) * w + b) * GROUP + q % GROUP));
                            for (k, sum) in sums.iter_mut().enumerate() {
                                *sum = weight.fma(V::load(row.sub(b).add(k * LANES)), *sum);
                            }
                        }
                    }
                }
                for (k, sum) in sums.into_iter().enumerate() {
                    if c + k * LANES < W + w - 1 {
                        sum.store(scratch.add(R * stride + c + k * LANES));
                    }
                }
            }
        }
    }
}

/// Means over blocks of h x w samples; the last rows and columns that fill none are left out.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::images::*;
/// let mut y = [0.0; 2];
/// Blocks { H: 2, W: 4, h: 2, w: 2 }.apply(&Serial, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &mut y);
/// assert_eq!(y, [3.5, 5.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Rows of the image.
    pub H: usize,
    /// Columns of the image.
    pub W: usize,
    /// Rows of a block.
    pub h: usize,
    /// Columns of a block.
    pub w: usize,
}

impl Blocks {
    /// `[H][W]` to `[H/h][W/w]` for consecutive images. Panics if a length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// let mut y = [0.0; 2];
    /// Blocks { H: 1, W: 5, h: 1, w: 2 }.apply(&Serial, &[1.0, 3.0, 5.0, 7.0, 100.0], &mut y);
    /// assert_eq!(y, [2.0, 6.0]);
    /// ```
    pub fn apply<T: Real>(&self, par: &dyn Parallel, x: &[T], y: &mut [T]) {
        let (rows, columns) = (self.H / self.h, self.W / self.w);
        let factor = T::of(1.0 / (self.h * self.w) as f64);
        self.each(par, x.len(), self.H * self.W, y, rows * columns, |k, y| {
            let x = &x[k * self.H * self.W..][..self.H * self.W];
            for (r, y) in y.chunks_exact_mut(columns).enumerate() {
                y.fill(Default::default());
                for row in x[r * self.h * self.W..].chunks_exact(self.W).take(self.h) {
                    y.iter_mut().zip(row.chunks_exact(self.w)).for_each(|(y, x)| *y += x.iter().copied().sum::<T>());
                }
                y.iter_mut().for_each(|y| *y *= factor);
            }
        });
    }

    /// The transpose of [`Self::apply`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// let mut x = [0.0; 4];
    /// Blocks { H: 1, W: 4, h: 1, w: 2 }.adjoint(&Serial, &[1.0, 3.0], &mut x);
    /// assert_eq!(x, [0.5, 0.5, 1.5, 1.5]);
    /// ```
    pub fn adjoint<T: Real>(&self, par: &dyn Parallel, y: &[T], x: &mut [T]) {
        let (rows, columns) = (self.H / self.h, self.W / self.w);
        let factor = T::of(1.0 / (self.h * self.w) as f64);
        self.each(par, y.len(), rows * columns, x, self.H * self.W, |k, x| {
            x.fill(Default::default());
            let y = &y[k * rows * columns..][..rows * columns];
            for (r, row) in x.chunks_exact_mut(self.W).enumerate().take(rows * self.h) {
                let y = &y[r / self.h * columns..][..columns];
                row.chunks_exact_mut(self.w).zip(y).for_each(|(x, y)| x.fill(factor * *y));
            }
        });
    }

    fn each<T: Real>(&self, par: &dyn Parallel, given: usize, from: usize, result: &mut [T], to: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        fields(par, given, from, result, to, &format!("{self:?}"), task);
    }
}

/// Linear interpolation between the centres of samples: an image of `H` x `W` with `rows` times as many rows and `columns` times as many columns, each 1 or 2; beyond the
/// outermost centres the image stays as it is there.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::images::*;
/// // Twice as many columns, interpolated between the centres of samples.
/// let mut y = [0.0; 4];
/// Enlarged { H: 1, W: 2, rows: 1, columns: 2 }.apply(&Serial, &[0.0, 4.0], &mut y);
/// assert_eq!(y, [0.0, 1.0, 3.0, 4.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enlarged {
    /// Rows of the image.
    pub H: usize,
    /// Columns of the image.
    pub W: usize,
    /// How many rows become of one.
    pub rows: usize,
    /// How many columns become of one.
    pub columns: usize,
}

/// The two samples of `n` that position k of `factor` n reads, and their weights.
fn between(n: usize, factor: usize, k: usize) -> [(usize, f64); 2] {
    if factor == 1 {
        return [(k, 1.0), (k, 0.0)];
    }
    let own = k / 2;
    let other = if k.is_multiple_of(2) { own.saturating_sub(1) } else { (own + 1).min(n - 1) };
    [(own, 0.75), (other, 0.25)]
}

impl Enlarged {
    /// `[H][W]` to `[rows H][columns W]` for consecutive images. Panics if a length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// let mut y = [0.0; 8];
    /// Enlarged { H: 1, W: 2, rows: 2, columns: 2 }.apply(&Serial, &[0.0, 4.0], &mut y);
    /// assert_eq!(y[..4], y[4..]);
    /// ```
    pub fn apply<T: Real>(&self, par: &dyn Parallel, x: &[T], y: &mut [T]) {
        let (H, W) = (self.rows * self.H, self.columns * self.W);
        fields(par, x.len(), self.H * self.W, y, H * W, &format!("{self:?}"), |k, y| {
            let x = &x[k * self.H * self.W..][..self.H * self.W];
            for (r, y) in y.chunks_exact_mut(W).enumerate() {
                let rows = between(self.H, self.rows, r);
                for (c, y) in y.iter_mut().enumerate() {
                    let columns = between(self.W, self.columns, c);
                    *y = rows.iter().map(|(r, v)| T::of(*v) * columns.iter().map(|(c, w)| T::of(*w) * x[r * self.W + c]).sum::<T>()).sum();
                }
            }
        });
    }

    /// The transpose of [`Self::apply`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::images::*;
    /// let mut x = [0.0; 2];
    /// Enlarged { H: 1, W: 2, rows: 1, columns: 2 }.adjoint(&Serial, &[0.0, 1.0, 0.0, 0.0], &mut x);
    /// assert_eq!(x, [0.75, 0.25]);
    /// ```
    pub fn adjoint<T: Real>(&self, par: &dyn Parallel, y: &[T], x: &mut [T]) {
        let (H, W) = (self.rows * self.H, self.columns * self.W);
        fields(par, y.len(), H * W, x, self.H * self.W, &format!("{self:?}"), |k, x| {
            x.fill(Default::default());
            for (r, y) in y[k * H * W..][..H * W].chunks_exact(W).enumerate() {
                for (row, v) in between(self.H, self.rows, r) {
                    for (c, y) in y.iter().enumerate() {
                        between(self.W, self.columns, c).iter().for_each(|(column, w)| x[row * self.W + column] += T::of(v * w) * *y);
                    }
                }
            }
        });
    }
}

/// Runs `task(k, result)` for every field.
fn fields<T: Real>(par: &dyn Parallel, given: usize, from: usize, result: &mut [T], to: usize, what: &str, task: impl Fn(usize, &mut [T]) + Sync) {
    let n = given / from;
    assert_eq!((given, result.len()), (n * from, n * to), "whole images of {what}");
    let shared = Shared::new(result);
    par.for_each(n, &|k| {
        // SAFETY: task k writes its own field of a result whose length was checked.
        task(k, unsafe { std::slice::from_raw_parts_mut(shared.get().add(k * to), to) });
    });
}
