//! Discrete Fourier transforms of images and series: real and complex, both directions, and adjoints; with filters and folds of the spectrum on the way.
//!
//! An image is `[H][W]`; a series is an image of one row. Spectra are complex, interleaved, frequency 0 first; the spectrum of a real image keeps the columns
//! 0 ..= W/2.
//!
//! ```text
//! spectrum --gather 8 columns (fold)--> [H][re: 8, im: 8] --FFT, turn--> blocks of 8 rows [W][re: 8, im: 8] --FFT, turn--> image
//! image --8 or 16 rows, turned--> [W][re: 8, im: 8] --FFT, turn--> blocks of 8 columns [H][re: 8, im: 8] --FFT--scatter (unfold)--> spectrum
//! ```
//!
//! Filters are applied row by row before and after ([`Support`]). Eight rows or columns run in the lanes of a vector ([`crate::fourier`]); two real rows are one complex one. Blocks are turned in registers when a sweep ends, so no
//! image is transposed in memory. Columns of a spectrum that are zero are not transformed. A series has one row and so nothing to fill lanes with: it goes through
//! `rustfft` and `realfft`.

use crate::KernelError;
use crate::fourier::LaneFft;
use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, Real, dispatch, with_scratch};
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

mod support;

use support::Folding;
pub use support::Support;

/// Largest number of rows or columns.
const LARGEST: usize = 1 << 20;

/// Numbers of one element of a sequence of eight lanes.
const ELEMENT: usize = 2 * LANES;

/// Transforms of one size.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::planar::*;
/// # use std::sync::Arc;
/// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let image = numbers(24, 1.1);
/// let (mut spectrum, mut back) = (vec![0.0; 2 * 4 * fft.half()], vec![0.0; 24]);
/// fft.real_forward(&Serial, &image, &mut spectrum);
/// fft.real_inverse(&Serial, &spectrum, &mut back, true, 1.0 / 24.0);
/// assert!(image.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-14));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub struct PlanarFft<T = f64> {
    H: usize,
    W: usize,
    method: Method<T>,
}

enum Method<T> {
    Series(Series<T>),
    Lanes { rows: LaneFft<T>, columns: LaneFft<T> },
}

/// Transforms of one row.
struct Series<T> {
    complex: [Arc<dyn Fft<T>>; 2],
    to_complex: Arc<dyn RealToComplex<T>>,
    to_real: Arc<dyn ComplexToReal<T>>,
    scratch: usize,
}

impl<T> std::fmt::Debug for PlanarFft<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlanarFft({} x {})", self.H, self.W)
    }
}

/// The same numbers as complex pairs.
fn complex<T: Real>(values: &[T]) -> &[Complex<T>] {
    assert!(values.len().is_multiple_of(2), "complex numbers are pairs");
    // SAFETY: `Complex<T>` is two T in a row (repr(C)) with the alignment of T; the length is even.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len() / 2) }
}

/// The same numbers as complex pairs, to be written.
fn complex_mut<T: Real>(values: &mut [T]) -> &mut [Complex<T>] {
    assert!(values.len().is_multiple_of(2), "complex numbers are pairs");
    // SAFETY: as in `complex`; the borrow is unique.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len() / 2) }
}

/// Factors of the frequencies of a grid, `[H][W]`.
///
/// ```
/// use scatterc_kernels::planar::Factors;
///
/// // A real low-pass filter on a grid of 1 x 4.
/// let low = Factors { re: &[1.0, 0.5, 0.0, 0.5], im: None };
/// assert!(low.im.is_none() && low.re[2] == 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a, T = f64> {
    /// Real parts.
    pub re: &'a [T],
    /// Imaginary parts; absent for a real filter.
    pub im: Option<&'a [T]>,
}

/// How the spectrum that a transform reads or writes lies in memory: on a grid `H` x `W` whose aliases add up to the grid `h` x `w` of the transform.
#[derive(Clone, Copy)]
struct Outer {
    H: usize,
    W: usize,
    /// Whether only the columns 0 ..= W/2 are stored, the others being their conjugates.
    half: bool,
    h: usize,
    w: usize,
    /// Columns of the transform that are used.
    width: usize,
    scale: f64,
}

impl Outer {
    /// Complex numbers between rows.
    #[inline(always)]
    fn stride(&self) -> usize {
        if self.half { self.W / 2 + 1 } else { self.W }
    }

    /// f64 of one spectrum.
    fn len(&self) -> usize {
        2 * self.H * self.stride()
    }

    /// Where frequency (r, c) is stored, and the sign of its imaginary part.
    #[inline(always)]
    fn place<T: Real>(&self, r: usize, c: usize) -> (usize, T) {
        let stride = self.stride();
        if c < stride { (r * stride + c, T::of(1.0)) } else { ((self.H - r) % self.H * stride + self.W - c, T::of(-1.0)) }
    }
}

/// Working memory of one thread: blocks between the sweeps, a sequence before and after its transform, and the transform's own.
#[derive(Clone, Copy)]
struct Work<T> {
    blocks: *mut T,
    data: *mut T,
    out: *mut T,
    own: *mut T,
}

/// f64 of the longest sequence, whole blocks, and room to take half spectra apart.
fn sequence_len(H: usize, W: usize) -> usize {
    (H.max(W).next_multiple_of(LANES) + 2 * LANES) * ELEMENT
}

impl<T: Real> PlanarFft<T> {
    /// Plans transforms of `H` rows and `W` columns, each from 1 to 2^20.
    ///
    /// ```
    /// use scatterc_kernels::planar::PlanarFft;
    ///
    /// assert!(PlanarFft::<f32>::new(1, 6).is_ok() && PlanarFft::<f64>::new(0, 6).is_err());
    /// ```
    pub fn new(H: usize, W: usize) -> Result<Self, KernelError> {
        for (name, n) in [("H", H), ("W", W)] {
            if n == 0 || n > LARGEST {
                return Err(KernelError::parameter(name, format!("from 1 to {LARGEST}"), n));
            }
        }
        let method = if H == 1 {
            let mut planner = FftPlanner::new();
            let complex = [planner.plan_fft_forward(W), planner.plan_fft_inverse(W)];
            let mut planner = RealFftPlanner::new();
            let (to_complex, to_real) = (planner.plan_fft_forward(W), planner.plan_fft_inverse(W));
            let scratch = complex.iter().map(|fft| fft.get_inplace_scratch_len()).max().unwrap_or(0);
            let scratch = scratch.max(to_complex.get_scratch_len()).max(to_real.get_scratch_len());
            Method::Series(Series { complex, to_complex, to_real, scratch })
        } else {
            Method::Lanes { rows: LaneFft::new(W), columns: LaneFft::new(H) }
        };
        Ok(PlanarFft { H, W, method })
    }

    /// Columns of the spectrum of a real image.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// assert_eq!(fft.half(), 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn half(&self) -> usize {
        self.W / 2 + 1
    }

    /// Operations of one complex transform, nominal; a real one costs half.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// assert!(fft.flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        let n = (self.H * self.W) as f64;
        5.0 * n * n.log2().max(1.0)
    }

    /// Numbers of one thread's buffers.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// assert!(fft.scratch_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        match &self.method {
            Method::Series(series) => 4 * (self.W + series.scratch),
            Method::Lanes { rows, columns } => {
                let blocks = self.H.next_multiple_of(LANES) * self.W.next_multiple_of(LANES) * 2;
                blocks + 2 * sequence_len(self.H, self.W) + rows.scratch_len().max(columns.scratch_len())
            }
        }
    }

    /// F_kl = sum_pq f_pq e^{-2 pi i (k p / H + l q / W)}, l <= W/2, of consecutive images.
    ///
    /// - `images`: `[n][H][W]`
    /// - `spectra`: `[n][H][W/2+1]` complex
    ///
    /// Error: eps log2(HW) relative to the norm. Panics if a length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// let mut spectrum = vec![0.0; 2 * 4 * 4];
    /// fft.real_forward(&Serial, &[1.0; 24], &mut spectrum);
    /// assert!((spectrum[0] - 24.0).abs() < 1e-13 && spectrum[1..].iter().all(|f| f.abs() < 1e-13));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn real_forward(&self, par: &dyn Parallel, images: &[T], spectra: &mut [T]) {
        self.real_analysis(par, images, spectra, 1.0, 1.0);
    }

    /// [`Self::real_forward`] with columns 0 and W/2 times `outer`, the others times `inner`.
    fn real_analysis(&self, par: &dyn Parallel, images: &[T], spectra: &mut [T], inner: f64, outer: f64) {
        let to = self.own(true);
        self.each(par, images, self.H * self.W, spectra, to.len(), |image, out| match &self.method {
            Method::Series(series) => series.real_forward(image, out, inner, outer),
            Method::Lanes { .. } => self.with_work(|work| {
                // SAFETY: lengths were checked by `each`; the working memory is that of `scratch_len`.
                unsafe {
                    self.real_rows(image, work, inner, outer);
                    self.columns_out(&to, out.as_mut_ptr(), work, false);
                }
            }),
        });
    }

    /// f_pq = sum over stored columns of m_l Re(F_kl e^{2 pi i ..}), times `factor`; m_l is 2 for columns 0 < l < W/2 when `whole`, and 1 otherwise.
    ///
    /// With `whole` and `factor` = 1/(HW) this is the inverse of [`Self::real_forward`]; without and with 1 its transpose.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// // Without `whole` it is the transpose of the forward transform.
    /// let mut image = vec![0.0; 24];
    /// let mut spectrum = vec![0.0; 32];
    /// spectrum[0] = 1.0;
    /// fft.real_inverse(&Serial, &spectrum, &mut image, false, 1.0);
    /// assert!(image.iter().all(|x| (x - 1.0).abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn real_inverse(&self, par: &dyn Parallel, spectra: &[T], images: &mut [T], whole: bool, factor: f64) {
        self.real_synthesis(par, &self.own(true), spectra, images, if whole { factor } else { 0.5 * factor }, factor);
    }

    /// Inner columns count `inner` times, once for themselves and once for their conjugates; the others `outer` times.
    fn real_synthesis(&self, par: &dyn Parallel, from: &Outer, spectra: &[T], images: &mut [T], inner: f64, outer: f64) {
        self.each(par, spectra, from.len(), images, self.H * self.W, |spectrum, image| match &self.method {
            Method::Series(series) => gathered(from, spectrum, |spectrum| series.real_inverse(spectrum, image, inner, outer)),
            Method::Lanes { .. } => self.with_work(|work| {
                // SAFETY: lengths were checked by `each`; the working memory is that of `scratch_len`.
                unsafe {
                    self.columns_in(from, spectrum.as_ptr(), work);
                    self.real_rows_out(work, image, inner, outer);
                }
            }),
        });
    }

    /// Transpose of [`Self::real_inverse`] with `whole` and 1/(HW): the forward transform with m_l / (HW).
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// let (x, y) = (numbers(32, 1.1), numbers(24, 0.7));
    /// let (mut forth, mut back) = (vec![0.0; 24], vec![0.0; 32]);
    /// fft.real_inverse(&Serial, &x, &mut forth, true, 1.0 / 24.0);
    /// fft.real_inverse_adjoint(&Serial, &y, &mut back);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn real_inverse_adjoint(&self, par: &dyn Parallel, images: &[T], spectra: &mut [T]) {
        let outer = 1.0 / (self.H * self.W) as f64;
        self.real_analysis(par, images, spectra, 2.0 * outer, outer);
    }

    /// Real and imaginary parts of (1/HW) sum_kl F_kl e^{2 pi i ..} of consecutive spectra.
    ///
    /// - `spectra`: `[n][H][W]` complex
    /// - `images`: `[n][2][H][W]`
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// // Frequency 0 alone: a constant real part.
    /// let (mut spectrum, mut image) = (vec![0.0; 48], vec![0.0; 48]);
    /// spectrum[0] = 24.0;
    /// fft.inverse(&Serial, &spectrum, &mut image);
    /// assert!(image[..24].iter().all(|x| (x - 1.0).abs() < 1e-14) && image[24..].iter().all(|x| x.abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn inverse(&self, par: &dyn Parallel, spectra: &[T], images: &mut [T]) {
        let (from, size) = (self.own(false), self.H * self.W);
        self.each(par, spectra, from.len(), images, 2 * size, |spectrum, image| self.inverse_one(&from, spectrum, image, 1.0 / size as f64));
    }

    /// Transpose of [`Self::inverse`]: the forward transform of re + i im, times 1/(HW).
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// let (x, y) = (numbers(48, 1.1), numbers(48, 0.7));
    /// let (mut forth, mut back) = (vec![0.0; 48], vec![0.0; 48]);
    /// fft.inverse(&Serial, &x, &mut forth);
    /// fft.inverse_adjoint(&Serial, &y, &mut back);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn inverse_adjoint(&self, par: &dyn Parallel, images: &[T], spectra: &mut [T]) {
        let (to, size) = (self.own(false), self.H * self.W);
        self.each(par, images, 2 * size, spectra, to.len(), |image, out| self.forward_one(&to, image, out, 1.0 / size as f64, false));
    }

    /// Transform of separate real and imaginary parts in place, for tables.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// let (mut re, mut im) = (vec![1.0; 24], vec![0.0; 24]);
    /// fft.in_place(false, &mut re, &mut im);
    /// assert!((re[0] - 24.0).abs() < 1e-13);
    /// fft.in_place(true, &mut re, &mut im);
    /// assert!(re.iter().all(|x| (x - 1.0).abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn in_place(&self, inverse: bool, re: &mut [T], im: &mut [T]) {
        let size = self.H * self.W;
        let mut spectrum = vec![T::default(); 2 * size];
        let mut image = vec![T::default(); 2 * size];
        if inverse {
            spectrum.chunks_exact_mut(2).zip(re.iter().zip(&*im)).for_each(|(z, (a, b))| (z[0], z[1]) = (*a, *b));
            self.inverse_one(&self.own(false), &spectrum, &mut image, 1.0 / size as f64);
            re.copy_from_slice(&image[..size]);
            im.copy_from_slice(&image[size..]);
        } else {
            image[..size].copy_from_slice(re);
            image[size..].copy_from_slice(im);
            self.forward_one(&self.own(false), &image, &mut spectrum, 1.0, false);
            spectrum.chunks_exact(2).zip(re.iter_mut().zip(im)).for_each(|(z, (a, b))| (*a, *b) = (z[0], z[1]));
        }
    }

    /// The spectrum on the grid of the transform.
    fn own(&self, half: bool) -> Outer {
        let (H, W) = (self.H, self.W);
        Outer { H, W, half, h: H, w: W, width: if half { self.half() } else { W }, scale: 1.0 }
    }

    fn inverse_one(&self, from: &Outer, spectrum: &[T], image: &mut [T], factor: f64) {
        match &self.method {
            Method::Series(series) => gathered(from, spectrum, |spectrum| series.inverse(spectrum, image, factor)),
            Method::Lanes { rows, .. } => self.with_work(|work| {
                let (re, im) = image.split_at_mut(self.H * self.W);
                // SAFETY: callers checked the lengths; the working memory is that of `scratch_len`.
                unsafe {
                    self.columns_in(from, spectrum.as_ptr(), work);
                    let block = self.W.next_multiple_of(LANES) * ELEMENT;
                    for first in (0..self.H).step_by(LANES) {
                        rows.run(true, work.blocks.add(first / LANES * block), work.out, work.own);
                        let at = first * self.W;
                        let n = LANES.min(self.H - first);
                        store_rows(work.out, self.W, re.as_mut_ptr().add(at), n, im.as_mut_ptr().add(at), n, factor);
                    }
                }
            }),
        }
    }

    /// The forward transform of re + i im, times `factor`; added to what the spectrum holds when `more`.
    fn forward_one(&self, to: &Outer, image: &[T], spectrum: &mut [T], factor: f64, more: bool) {
        let (re, im) = image.split_at(self.H * self.W);
        match &self.method {
            Method::Series(series) => series.forward(to, re, im, spectrum, factor, more),
            Method::Lanes { rows, .. } => self.with_work(|work| {
                // SAFETY: callers checked the lengths; the working memory is that of `scratch_len`.
                unsafe {
                    let block = self.H.next_multiple_of(LANES) * ELEMENT;
                    for first in (0..self.H).step_by(LANES) {
                        let at = first * self.W;
                        let n = LANES.min(self.H - first);
                        load_rows(re.as_ptr().add(at), n, im.as_ptr().add(at), n, self.W, factor, work.data);
                        rows.run(false, work.data, work.out, work.own);
                        turn(work.out, self.W, work.blocks.add(first * ELEMENT), block);
                    }
                    self.columns_out(to, spectrum.as_mut_ptr(), work, more);
                }
            }),
        }
    }

    /// Columns of a spectrum, transformed, to blocks of eight rows.
    ///
    /// # Safety
    ///
    /// `spectrum` is readable for `from.len()` f64, `work` holds `scratch_len()`.
    unsafe fn columns_in(&self, from: &Outer, spectrum: *const T, work: Work<T>) {
        let Method::Lanes { columns, .. } = &self.method else { return };
        let block = self.W.next_multiple_of(LANES) * ELEMENT;
        for first in (0..from.width).step_by(LANES) {
            let mut zero = false;
            // SAFETY: the caller's promise; a column of H elements fits the buffers, and so do whole blocks of rows.
            unsafe {
                gather(from, spectrum, first, work.data, &raw mut zero);
                let to = work.blocks.add(first * ELEMENT);
                if zero {
                    (0..self.H.div_ceil(LANES)).for_each(|k| to.add(k * block).write_bytes(0, LANES * ELEMENT));
                } else {
                    columns.run(true, work.data, work.out, work.own);
                    // Rows below H are zeros, not what the memory held: in real transforms they share a sequence with rows of the image.
                    work.out.add(self.H * ELEMENT).write_bytes(0, (self.H.next_multiple_of(LANES) - self.H) * ELEMENT);
                    turn(work.out, self.H, to, block);
                }
            }
        }
    }

    /// Blocks of eight columns, transformed, to a spectrum; added to it when `more`.
    ///
    /// # Safety
    ///
    /// `spectrum` is writable for `to.len()` f64, `work` holds `scratch_len()`.
    unsafe fn columns_out(&self, to: &Outer, spectrum: *mut T, work: Work<T>, more: bool) {
        let Method::Lanes { columns, .. } = &self.method else { return };
        let block = self.H.next_multiple_of(LANES) * ELEMENT;
        for first in (0..to.width).step_by(LANES) {
            // SAFETY: the caller's promise; blocks were written by the sweep over rows.
            unsafe {
                columns.run(false, work.blocks.add(first / LANES * block), work.out, work.own);
                scatter(to, work.out, first, spectrum, more);
            }
        }
    }

    /// The inverse transform of a filtered and folded spectrum, real parts, then imaginary ones.
    fn inverse_filtered(&self, folding: &Folding<T>, spectrum: &[T], image: &mut [T]) {
        let support = folding.support;
        if let Method::Series(series) = &self.method {
            return series.with_folded(self.W, |folded, data, scratch| {
                // SAFETY: callers checked the lengths; `folded` is a folded spectrum of one row.
                unsafe { folding.fold(spectrum.as_ptr(), folded.as_mut_ptr()) };
                let (re, im) = folded.split_at(folded.len() / 2);
                data.iter_mut().zip(re.iter().zip(im)).for_each(|(z, (re, im))| *z = Complex::new(*re, *im));
                series.complex[1].process_with_scratch(data, scratch);
                let (re, im) = image.split_at_mut(data.len());
                data.iter().zip(re.iter_mut().zip(im)).for_each(|(z, (re, im))| (*re, *im) = (z.re, z.im));
            });
        }
        self.with_more(support.folded_len(), |work, folded| {
            // SAFETY: callers checked the lengths; the working memory is that of `scratch_len`, and behind it there is room for the folded spectrum.
            unsafe { folding.fold(spectrum.as_ptr(), folded) };
            match &self.method {
                Method::Series(_) => {}
                Method::Lanes { rows, columns } => {
                    let block = self.W.next_multiple_of(LANES) * ELEMENT;
                    for first in (0..self.W).step_by(LANES) {
                        // SAFETY: a column of H elements fits the buffers, and so do whole blocks of rows.
                        unsafe {
                            let to = work.blocks.add(first * ELEMENT);
                            if support.has(folding.l, first / LANES) {
                                support.strip(folded, first, work.data);
                                columns.run(true, work.data, work.out, work.own);
                                turn(work.out, self.H, to, block);
                            } else {
                                (0..self.H.div_ceil(LANES)).for_each(|k| to.add(k * block).write_bytes(0, LANES * ELEMENT));
                            }
                        }
                    }
                    let (re, im) = image.split_at_mut(self.H * self.W);
                    for first in (0..self.H).step_by(LANES) {
                        // SAFETY: as above; rows below H are written.
                        unsafe {
                            rows.run(true, work.blocks.add(first / LANES * block), work.out, work.own);
                            let (at, n) = (first * self.W, LANES.min(self.H - first));
                            store_rows(work.out, self.W, re.as_mut_ptr().add(at), n, im.as_mut_ptr().add(at), n, 1.0);
                        }
                    }
                }
            }
        });
    }

    /// The transpose of [`Self::inverse_filtered`], added to the spectrum.
    fn forward_filtered(&self, folding: &Folding<T>, image: &[T], spectrum: &mut [T]) {
        let support = folding.support;
        let (re, im) = image.split_at(self.H * self.W);
        if let Method::Series(series) = &self.method {
            return series.with_folded(self.W, |folded, data, scratch| {
                let (x, y) = folded.split_at_mut(folded.len() / 2);
                data.iter_mut().zip(re.iter().zip(im)).for_each(|(z, (re, im))| *z = Complex::new(*re, *im));
                series.complex[0].process_with_scratch(data, scratch);
                data.iter().zip(x.iter_mut().zip(y)).for_each(|(z, (re, im))| (*re, *im) = (z.re, z.im));
                // SAFETY: callers checked the lengths; `folded` is a folded spectrum of one row.
                unsafe { folding.unfold(folded.as_ptr(), spectrum.as_mut_ptr()) };
            });
        }
        self.with_more(support.folded_len(), |work, folded| {
            match &self.method {
                Method::Series(_) => {}
                Method::Lanes { rows, columns } => {
                    let block = self.H.next_multiple_of(LANES) * ELEMENT;
                    for first in (0..self.H).step_by(LANES) {
                        // SAFETY: rows below H are read; whole blocks fit the buffers.
                        unsafe {
                            let (at, n) = (first * self.W, LANES.min(self.H - first));
                            load_rows(re.as_ptr().add(at), n, im.as_ptr().add(at), n, self.W, 1.0, work.data);
                            rows.run(false, work.data, work.out, work.own);
                            turn(work.out, self.W, work.blocks.add(first * ELEMENT), block);
                        }
                    }
                    for first in (0..self.W).step_by(LANES).filter(|first| support.has(folding.l, first / LANES)) {
                        // SAFETY: blocks were written above; the strip lies in the folded spectrum.
                        unsafe {
                            columns.run(false, work.blocks.add(first / LANES * block), work.out, work.own);
                            support.strip_back(work.out, first, folded);
                        }
                    }
                }
            }
            // SAFETY: callers checked the lengths; every strip that the filter has was written.
            unsafe { folding.unfold(folded, spectrum.as_mut_ptr()) };
        });
    }

    /// Rows of a real image, sixteen at a time as eight complex ones, to blocks of eight columns.
    ///
    /// # Safety
    ///
    /// `work` holds `scratch_len()` f64.
    unsafe fn real_rows(&self, image: &[T], work: Work<T>, inner: f64, outer: f64) {
        let Method::Lanes { rows, .. } = &self.method else { return };
        let (W, half) = (self.W, self.half());
        let block = self.H.next_multiple_of(LANES) * ELEMENT;
        for first in (0..self.H).step_by(2 * LANES) {
            let (n, m) = (LANES.min(self.H - first), LANES.min(self.H.saturating_sub(first + LANES)));
            // SAFETY: rows below H are read; half spectra of two blocks of rows fit where the sequence was.
            unsafe {
                let at = image.as_ptr().add(first * W);
                load_rows(at, n, if m > 0 { at.add(LANES * W) } else { at }, m, W, 1.0, work.data);
                rows.run(false, work.data, work.out, work.own);
                let second = work.data.add(half * ELEMENT);
                take_apart(work.out, W, work.data, second, inner, outer);
                turn(work.data, half, work.blocks.add(first * ELEMENT), block);
                if m > 0 {
                    turn(second, half, work.blocks.add((first + LANES) * ELEMENT), block);
                }
            }
        }
    }

    /// Blocks of eight rows of a half spectrum to a real image.
    ///
    /// # Safety
    ///
    /// `work` holds `scratch_len()` f64.
    unsafe fn real_rows_out(&self, work: Work<T>, image: &mut [T], inner: f64, outer: f64) {
        let Method::Lanes { rows, .. } = &self.method else { return };
        let W = self.W;
        let block = W.next_multiple_of(LANES) * ELEMENT;
        for first in (0..self.H).step_by(2 * LANES) {
            let (n, m) = (LANES.min(self.H - first), LANES.min(self.H.saturating_sub(first + LANES)));
            // SAFETY: blocks of all rows were written by the sweep over columns; rows below H are written.
            unsafe {
                let own = work.blocks.add(first / LANES * block);
                put_together(own, if m > 0 { own.add(block) } else { std::ptr::null() }, W, work.data, inner, outer);
                rows.run(true, work.data, work.out, work.own);
                let at = image.as_mut_ptr().add(first * W);
                store_rows(work.out, W, at, n, if m > 0 { at.add(LANES * W) } else { at }, m, 1.0);
            }
        }
    }

    /// Runs `body` with this thread's working memory.
    fn with_work(&self, body: impl FnOnce(Work<T>)) {
        self.with_more(0, |work, _| body(work));
    }

    /// Runs `body` with this thread's working memory and `more` numbers behind it.
    fn with_more(&self, more: usize, body: impl FnOnce(Work<T>, *mut T)) {
        let blocks = self.H.next_multiple_of(LANES) * self.W.next_multiple_of(LANES) * 2;
        let sequence = sequence_len(self.H, self.W);
        let own = self.scratch_len().max(blocks + 2 * sequence).next_multiple_of(LANES);
        with_scratch(own + more, |at: *mut T| {
            // SAFETY: the offsets are those that `scratch_len` adds up, and what was asked for behind them.
            let part = |offset: usize| unsafe { at.add(offset) };
            body(Work { blocks: part(0), data: part(blocks), out: part(blocks + sequence), own: part(blocks + 2 * sequence) }, part(own));
        });
    }

    /// Runs `task(input, output)` for consecutive fields, one task each.
    fn each(&self, par: &dyn Parallel, inputs: &[T], from: usize, outputs: &mut [T], to: usize, task: impl Fn(&[T], &mut [T]) + Sync) {
        let n = inputs.len() / from;
        assert_eq!((inputs.len(), outputs.len()), (n * from, n * to), "whole fields of {} x {}", self.H, self.W);
        let out = Shared::new(outputs);
        par.for_each(n, &|k| {
            // SAFETY: task k writes its own field of an output that outlives the tasks; lengths were checked.
            let output = unsafe { std::slice::from_raw_parts_mut(out.get().add(k * to), to) };
            task(&inputs[k * from..][..from], output);
        });
    }
}

impl<T: Real> Series<T> {
    /// Runs `body` with `len` complex numbers, the scratch memory of the transforms and `len` real numbers.
    fn with_buffers(&self, len: usize, body: impl FnOnce(&mut [Complex<T>], &mut [Complex<T>], &mut [T])) {
        with_scratch(2 * (len + self.scratch) + len, |at: *mut T| {
            // SAFETY: the three parts lie one after another in memory of that length, whose contents are valid numbers.
            let (data, scratch, reals) = unsafe {
                let scratch = at.add(2 * len);
                let part = |at: *mut T, n: usize| std::slice::from_raw_parts_mut(at, n);
                (part(at, 2 * len), part(scratch, 2 * self.scratch), part(scratch.add(2 * self.scratch), len))
            };
            body(complex_mut(data), complex_mut(scratch), reals);
        });
    }

    fn real_forward(&self, row: &[T], spectrum: &mut [T], inner: f64, outer: f64) {
        let (inner, outer) = (T::of(inner), T::of(outer));
        self.with_buffers(row.len(), |_, scratch, reals| {
            reals.copy_from_slice(row);
            let out = complex_mut(spectrum);
            self.to_complex.process_with_scratch(reals, out, scratch).expect("lengths are those of the plan");
            for (l, x) in out.iter_mut().enumerate() {
                *x = *x * if l == 0 || 2 * l == row.len() { outer } else { inner };
            }
        });
    }

    fn real_inverse(&self, spectrum: &[T], row: &mut [T], inner: f64, outer: f64) {
        let (inner, outer) = (T::of(inner), T::of(outer));
        let (x, half) = (complex(spectrum), spectrum.len() / 2);
        self.with_buffers(half, |data, scratch, _| {
            data.iter_mut().zip(x).for_each(|(y, x)| *y = *x * inner);
            // Only the real part of the self-conjugate columns counts.
            data[0] = Complex::new(x[0].re * outer, T::default());
            if row.len().is_multiple_of(2) {
                data[half - 1] = Complex::new(x[half - 1].re * outer, T::default());
            }
            self.to_real.process_with_scratch(data, row, scratch).expect("self-conjugate columns are real");
        });
    }

    fn inverse(&self, spectrum: &[T], image: &mut [T], factor: f64) {
        let factor = T::of(factor);
        self.with_buffers(spectrum.len() / 2, |data, scratch, _| {
            data.copy_from_slice(complex(spectrum));
            self.complex[1].process_with_scratch(data, scratch);
            let (re, im) = image.split_at_mut(data.len());
            for (x, (re, im)) in data.iter().zip(re.iter_mut().zip(im)) {
                (*re, *im) = (factor * x.re, factor * x.im);
            }
        });
    }

    /// Runs `body` with a folded spectrum of one row of re and one of im, whole vectors long, `len` complex numbers, and the scratch memory of the transforms.
    fn with_folded(&self, len: usize, body: impl FnOnce(&mut [T], &mut [Complex<T>], &mut [Complex<T>])) {
        let width = len.next_multiple_of(LANES);
        with_scratch(2 * (width + len + self.scratch), |at: *mut T| {
            // SAFETY: the parts lie one after another in memory of that length, whose contents are valid numbers.
            let part = |offset: usize, n: usize| unsafe { std::slice::from_raw_parts_mut(at.add(offset), n) };
            let (data, scratch) = (part(2 * width, 2 * len), part(2 * (width + len), 2 * self.scratch));
            body(part(0, 2 * width), complex_mut(data), complex_mut(scratch));
        });
    }

    fn forward(&self, to: &Outer, re: &[T], im: &[T], spectrum: &mut [T], factor: f64, more: bool) {
        let factor = T::of(factor);
        self.with_buffers(re.len(), |data, scratch, _| {
            data.iter_mut().zip(re.iter().zip(im)).for_each(|(x, (re, im))| *x = Complex::new(factor * *re, factor * *im));
            self.complex[0].process_with_scratch(data, scratch);
            spread(to, data, spectrum, more);
        });
    }
}

/// A spectrum on the grid of the transform of a series, filtered and folded where that is asked for.
fn gathered<T: Real>(from: &Outer, spectrum: &[T], body: impl FnOnce(&[T])) {
    if from.scale == 1.0 && (from.H, from.W) == (from.h, from.w) && from.width == from.stride() {
        return body(spectrum);
    }
    let mut out = vec![T::default(); 2 * from.width];
    let mut lanes = [T::default(); ELEMENT];
    for (k, out) in out.chunks_mut(ELEMENT).enumerate() {
        let mut zero = false;
        // SAFETY: the spectrum holds `from.len()` f64, as callers check, and a series has one row of eight columns at a time.
        unsafe { gather(from, spectrum.as_ptr(), k * LANES, lanes.as_mut_ptr(), &raw mut zero) };
        out.chunks_exact_mut(2).enumerate().for_each(|(i, z)| z.copy_from_slice(&[lanes[i], lanes[LANES + i]]));
    }
    body(&out);
}

/// The transpose of [`gathered`].
fn spread<T: Real>(to: &Outer, data: &[Complex<T>], spectrum: &mut [T], more: bool) {
    let mut lanes = [T::default(); ELEMENT];
    for (k, x) in data[..to.width].chunks(LANES).enumerate() {
        x.iter().enumerate().for_each(|(i, x)| (lanes[i], lanes[LANES + i]) = (x.re, x.im));
        // SAFETY: as in `gathered`.
        unsafe { scatter(to, lanes.as_ptr(), k * LANES, spectrum.as_mut_ptr(), more) };
    }
}

/// Images of filtered spectra without storing what lies between: of one spectrum F on a grid `H` x `W` the inverse transforms of G_l F for filters l, folded to a grid
/// `h` x `w` by summing aliases; and the transpose.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::planar::*;
/// # use std::sync::Arc;
/// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
/// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
/// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
/// # let ones = vec![1.0; 32];
/// # let factors = Factors { re: &ones, im: None };
/// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
/// // Every second sample of the image whose only frequency is 0.
/// let (mut spectrum, mut images) = (vec![0.0; 64], vec![0.0; 16]);
/// spectrum[0] = 32.0;
/// synthesis.apply(&Serial, &factors, &synthesis.support(&factors), &spectrum, &mut images);
/// assert!(images[..8].iter().all(|x| (x - 1.0).abs() < 1e-14));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub struct Synthesis<T = f64> {
    fft: Arc<PlanarFft<T>>,
    H: usize,
    W: usize,
    half: bool,
    filters: usize,
}

impl<T> std::fmt::Debug for Synthesis<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Synthesis({} x {} to {:?}, {} filters)", self.H, self.W, self.fft, self.filters)
    }
}

impl<T: Real> Synthesis<T> {
    /// Of spectra on a grid `H` x `W`, stored up to column W/2 when `half`, to images of the size of `fft`.
    ///
    /// Error: sizes that are no multiples of those of the transform, or no filter.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// assert!(Synthesis::new(small.clone(), 4, 8, false, 3).is_ok() && Synthesis::new(small, 5, 8, false, 3).is_err());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn new(fft: Arc<PlanarFft<T>>, H: usize, W: usize, half: bool, filters: usize) -> Result<Self, KernelError> {
        for (name, large, small) in [("H", H, fft.H), ("W", W, fft.W)] {
            if large == 0 || !large.is_multiple_of(small) || large > LARGEST {
                return Err(KernelError::parameter(name, format!("a multiple of {small} up to {LARGEST}"), large));
            }
        }
        if filters == 0 {
            return Err(KernelError::parameter("filters", "at least 1", filters));
        }
        Ok(Synthesis { fft, H, W, half, filters })
    }

    /// Numbers of one thread's buffers.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
    /// # let ones = vec![1.0; 32];
    /// # let factors = Factors { re: &ones, im: None };
    /// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
    /// assert!(synthesis.scratch_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        self.fft.scratch_len() + 2 * self.fft.H * self.fft.W.next_multiple_of(LANES)
    }

    /// Samples of one image.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
    /// # let ones = vec![1.0; 32];
    /// # let factors = Factors { re: &ones, im: None };
    /// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
    /// assert_eq!(synthesis.points(), 8.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn points(&self) -> f64 {
        (self.fft.H * self.fft.W) as f64
    }

    /// Where filters `[filters][H][W]` are not zero; made once for [`Self::apply`] and [`Self::adjoint`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
    /// # let ones = vec![1.0; 32];
    /// # let factors = Factors { re: &ones, im: None };
    /// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
    /// let nothing = vec![0.0; 32];
    /// let empty = synthesis.support(&Factors { re: &nothing, im: None });
    /// assert!(empty.bytes() < synthesis.support(&factors).bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn support(&self, factors: &Factors<T>) -> Support {
        assert_eq!(factors.re.len(), self.filters * self.H * self.W, "as many filters as planned");
        Support::new(factors, (self.H, self.W), (self.fft.H, self.fft.W), self.half)
    }

    /// Numbers of one spectrum.
    fn spectrum_len(&self) -> usize {
        2 * self.H * if self.half { self.W / 2 + 1 } else { self.W }
    }

    fn folding<'a>(&self, factors: &Factors<'a, T>, support: &'a Support, l: usize) -> Folding<'a, T> {
        // The fold's hw / HW and the transform's 1 / hw.
        Folding { support, factors: *factors, l, scale: 1.0 / (self.H * self.W) as f64 }
    }

    /// - `spectra`: `[n][H][W]` complex, or `[n][H][W/2+1]`
    /// - `factors`: `[filters][H][W]`, and what [`Self::support`] says of them
    /// - `images`: `[n][filters][2][h][w]`, real and imaginary parts
    ///
    /// Panics if a length does not fit.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
    /// # let ones = vec![1.0; 32];
    /// # let factors = Factors { re: &ones, im: None };
    /// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
    /// let mut images = vec![1.0; 16];
    /// synthesis.apply(&Serial, &factors, &synthesis.support(&factors), &[0.0; 64], &mut images);
    /// assert!(images.iter().all(|x| *x == 0.0));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply(&self, par: &dyn Parallel, factors: &Factors<T>, support: &Support, spectra: &[T], images: &mut [T]) {
        let (from, to) = (self.spectrum_len(), 2 * self.fft.H * self.fft.W);
        let n = spectra.len() / from;
        assert_eq!((spectra.len(), images.len()), (n * from, n * self.filters * to), "whole fields of {self:?}");
        let out = Shared::new(images);
        par.for_each(n * self.filters, &|k| {
            // SAFETY: task k writes its own image; lengths were checked.
            let image = unsafe { std::slice::from_raw_parts_mut(out.get().add(k * to), to) };
            self.fft.inverse_filtered(&self.folding(factors, support, k % self.filters), &spectra[k / self.filters * from..][..from], image);
        });
    }

    /// The transpose of [`Self::apply`]: spectra from cotangents of images, summed over the filters in their order.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::planar::*;
    /// # use std::sync::Arc;
    /// # let fft: PlanarFft = PlanarFft::new(4, 6)?;
    /// # let small = Arc::new(PlanarFft::<f64>::new(2, 4)?);
    /// # let synthesis = Synthesis::new(small, 4, 8, false, 1)?;
    /// # let ones = vec![1.0; 32];
    /// # let factors = Factors { re: &ones, im: None };
    /// // Spectra on 4 x 8, folded to images of 2 x 4; the one filter is 1 everywhere.
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// let (x, y) = (numbers(64, 1.1), numbers(16, 0.7));
    /// let (mut forth, mut back) = (vec![0.0; 16], vec![0.0; 64]);
    /// let support = synthesis.support(&factors);
    /// synthesis.apply(&Serial, &factors, &support, &x, &mut forth);
    /// synthesis.adjoint(&Serial, &factors, &support, &y, &mut back);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn adjoint(&self, par: &dyn Parallel, factors: &Factors<T>, support: &Support, images: &[T], spectra: &mut [T]) {
        let (to, from) = (self.spectrum_len(), 2 * self.fft.H * self.fft.W);
        let n = spectra.len() / to;
        assert_eq!((spectra.len(), images.len()), (n * to, n * self.filters * from), "whole fields of {self:?}");
        let out = Shared::new(spectra);
        par.for_each(n, &|k| {
            // SAFETY: task k writes its own spectrum; lengths were checked.
            let spectrum = unsafe { std::slice::from_raw_parts_mut(out.get().add(k * to), to) };
            spectrum.fill(T::default());
            for l in 0..self.filters {
                let image = &images[(k * self.filters + l) * from..][..from];
                self.fft.forward_filtered(&self.folding(factors, support, l), image, spectrum);
            }
        });
    }
}

/// Means over aliases: spectra on a grid `H` x `W` to those of every H/h-th row and W/w-th column of the image.
///
/// ```
/// use scatterc_kernels::{Serial, planar::Fold};
///
/// // Frequencies 0 and 2 of four are one of two.
/// let mut y = [0.0; 4];
/// Fold { from: (1, 4), to: (1, 2), half: false }.apply(&Serial, &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0], &mut y);
/// assert_eq!(y, [2.0, 0.0, 3.0, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Rows and columns of the given grid.
    pub from: (usize, usize),
    /// Rows and columns of the result, divisors of the former.
    pub to: (usize, usize),
    /// Whether the spectra are those of real images, stored up to column W/2.
    pub half: bool,
}

impl Fold {
    fn outer(&self) -> Outer {
        let ((H, W), (h, w)) = (self.from, self.to);
        assert!(h > 0 && w > 0 && H.is_multiple_of(h) && W.is_multiple_of(w), "{h} x {w} divides {H} x {W}");
        let width = if self.half { w / 2 + 1 } else { w };
        Outer { H, W, half: self.half, h, w, width, scale: (h * w) as f64 / (H * W) as f64 }
    }

    /// y_{r,c} = (hw / HW) times the sum of x over the frequencies that equal (r, c) modulo h and w.
    ///
    /// - `x`: `[n][H][W]` or `[n][H][W/2+1]` complex
    /// - `y`: `[n][h][w]` or `[n][h][w/2+1]` complex
    ///
    /// Panics if a length does not fit.
    ///
    /// ```
    /// use scatterc_kernels::{Serial, planar::Fold};
    ///
    /// let mut y = [0.0; 2];
    /// Fold { from: (1, 2), to: (1, 1), half: false }.apply(&Serial, &[4.0, 0.0, 2.0, 2.0], &mut y);
    /// assert_eq!(y, [3.0, 1.0]);
    /// ```
    pub fn apply<T: Real>(&self, par: &dyn Parallel, x: &[T], y: &mut [T]) {
        let outer = self.outer();
        self.each(
            par,
            &outer,
            x.len(),
            y,
            |k, y, data| {
                let width = outer.width;
                for first in (0..width).step_by(LANES) {
                    let mut zero = false;
                    // SAFETY: the lengths were checked; `data` holds h elements of eight lanes.
                    unsafe { gather(&outer, x[k * outer.len()..].as_ptr(), first, data.as_mut_ptr(), &raw mut zero) };
                    for (row, z) in y.chunks_exact_mut(2 * width).zip(data.chunks_exact(ELEMENT)) {
                        let row = &mut row[2 * first..];
                        row.chunks_exact_mut(2).zip(z[..LANES].iter().zip(&z[LANES..])).for_each(|(y, (re, im))| (y[0], y[1]) = (*re, *im));
                    }
                }
            },
            false,
        );
    }

    /// The transpose of [`Self::apply`].
    ///
    /// ```
    /// use scatterc_kernels::{Serial, planar::Fold};
    ///
    /// let mut x = [0.0; 4];
    /// Fold { from: (1, 2), to: (1, 1), half: false }.adjoint(&Serial, &[3.0, 1.0], &mut x);
    /// assert_eq!(x, [1.5, 0.5, 1.5, 0.5]);
    /// ```
    pub fn adjoint<T: Real>(&self, par: &dyn Parallel, y: &[T], x: &mut [T]) {
        let outer = self.outer();
        self.each(
            par,
            &outer,
            y.len(),
            x,
            |k, x, data| {
                let width = outer.width;
                let y = &y[k * 2 * outer.h * width..][..2 * outer.h * width];
                x.fill(T::default());
                for first in (0..width).step_by(LANES) {
                    for (row, z) in y.chunks_exact(2 * width).zip(data.chunks_exact_mut(ELEMENT)) {
                        let (re, im) = z.split_at_mut(LANES);
                        row[2 * first..].chunks_exact(2).zip(re.iter_mut().zip(im)).for_each(|(y, (re, im))| (*re, *im) = (y[0], y[1]));
                    }
                    // SAFETY: as in `apply`.
                    unsafe { scatter(&outer, data.as_ptr(), first, x.as_mut_ptr(), true) };
                }
            },
            true,
        );
    }

    /// Runs `task(k, result, buffer)` for every field.
    fn each<T: Real>(
        &self,
        par: &dyn Parallel,
        outer: &Outer,
        given: usize,
        result: &mut [T],
        task: impl Fn(usize, &mut [T], &mut [T]) + Sync,
        adjoint: bool,
    ) {
        let (large, small) = (outer.len(), 2 * outer.h * outer.width);
        let (from, to) = if adjoint { (small, large) } else { (large, small) };
        let n = given / from;
        assert_eq!((given, result.len()), (n * from, n * to), "whole fields of {self:?}");
        let shared = Shared::new(result);
        par.for_each(n, &|k| {
            with_scratch(outer.h * ELEMENT, |data| {
                // SAFETY: task k writes its own field of a result whose length was checked, and scratch memory is its own.
                let (out, data) = unsafe {
                    (std::slice::from_raw_parts_mut(shared.get().add(k * to), to), std::slice::from_raw_parts_mut(data, outer.h * ELEMENT))
                };
                task(k, out, data);
            });
        });
    }
}

/// Half spectra times real weights, plain and turned by i: for x of `len` complex numbers and weights e_l, o_l the numbers e_l x and i o_l x.
///
/// - `weights`: `[filters][2][len]`, e_l and o_l
/// - `spectra`: `[n][len]` complex
/// - `out`: `[n][filters][2][len]` complex
///
/// Panics if a length does not fit.
///
/// ```
/// use scatterc_kernels::{Serial, planar::turned};
///
/// // e = 2 and o = 3 of x = 1 + 10 i: 2 + 20 i and i 3 (1 + 10 i).
/// let mut out = [0.0; 4];
/// turned(&Serial, &[2.0, 3.0], 1, &[1.0, 10.0], &mut out);
/// assert_eq!(out, [2.0, 20.0, -30.0, 3.0]);
/// ```
pub fn turned<T: Real>(par: &dyn Parallel, weights: &[T], len: usize, spectra: &[T], out: &mut [T]) {
    let (n, filters) = (spectra.len() / (2 * len), weights.len() / (2 * len));
    assert_eq!((weights.len(), spectra.len(), out.len()), (2 * len * filters, 2 * len * n, 4 * len * filters * n), "whole spectra of {len} numbers");
    let shared = Shared::new(out);
    par.for_each(n * filters, &|k| {
        let (weights, x) = (&weights[k % filters * 2 * len..], &spectra[k / filters * 2 * len..]);
        // SAFETY: task k writes its own two spectra of `len` numbers; lengths were checked.
        unsafe { weigh(weights.as_ptr(), len, x.as_ptr(), shared.get().add(k * 4 * len)) };
    });
}

/// The transpose of [`turned`], summed over the filters in their order.
///
/// ```
/// use scatterc_kernels::{Serial, planar::turned_adjoint};
///
/// let mut x = [0.0; 2];
/// turned_adjoint(&Serial, &[2.0, 3.0], 1, &[1.0, 0.0, 0.0, 1.0], &mut x);
/// assert_eq!(x, [2.0 + 3.0, 0.0]);
/// ```
pub fn turned_adjoint<T: Real>(par: &dyn Parallel, weights: &[T], len: usize, out: &[T], spectra: &mut [T]) {
    let (n, filters) = (spectra.len() / (2 * len), weights.len() / (2 * len));
    assert_eq!((weights.len(), spectra.len(), out.len()), (2 * len * filters, 2 * len * n, 4 * len * filters * n), "whole spectra of {len} numbers");
    let shared = Shared::new(spectra);
    par.for_each(n, &|k| {
        // SAFETY: task k writes its own spectrum of `len` numbers; lengths were checked.
        unsafe { weigh_adjoint(weights.as_ptr(), filters, len, out[k * 4 * len * filters..].as_ptr(), shared.get().add(k * 2 * len)) };
    });
}

dispatch! {
    /// One spectrum and one pair of weights of [`turned`].
    fn weigh<T> = weigh_lanes(weights: *const T, len: usize, x: *const T, out: *mut T)
}

#[inline(always)]
unsafe fn weigh_lanes<V: Lanes>(weights: *const V::Element, len: usize, x: *const V::Element, out: *mut V::Element) {
    let whole = len / LANES * LANES;
    // SAFETY: the caller promises `len` weights of either kind, `len` complex numbers, and room for twice as many.
    unsafe {
        let turned = out.add(2 * len);
        for k in (0..whole).step_by(LANES) {
            let (e, o) = (V::load(weights.add(k)), V::load(weights.add(len + k)));
            let [re, im] = V::load_complex(x.add(2 * k));
            V::store_complex([e.mul(re), e.mul(im)], out.add(2 * k));
            V::store_complex([V::zero().sub(o.mul(im)), o.mul(re)], turned.add(2 * k));
        }
        for k in whole..len {
            let (e, o) = (*weights.add(k), *weights.add(len + k));
            let (re, im) = (*x.add(2 * k), *x.add(2 * k + 1));
            (*out.add(2 * k), *out.add(2 * k + 1)) = (e * re, e * im);
            (*turned.add(2 * k), *turned.add(2 * k + 1)) = (-o * im, o * re);
        }
    }
}

dispatch! {
    /// One spectrum of [`turned_adjoint`].
    fn weigh_adjoint<T> = weigh_adjoint_lanes(weights: *const T, filters: usize, len: usize, parts: *const T, x: *mut T)
}

#[inline(always)]
unsafe fn weigh_adjoint_lanes<V: Lanes>(weights: *const V::Element, filters: usize, len: usize, parts: *const V::Element, x: *mut V::Element) {
    let whole = len / LANES * LANES;
    // SAFETY: the caller promises `filters` pairs of weights and of spectra, and room for `len` complex numbers.
    unsafe {
        for k in (0..whole).step_by(LANES) {
            let mut sum = [V::zero(); 2];
            for l in 0..filters {
                let (weights, plain) = (weights.add(2 * l * len + k), parts.add(4 * l * len + 2 * k));
                let (e, o) = (V::load(weights), V::load(weights.add(len)));
                let ([a, b], [c, d]) = (V::load_complex(plain), V::load_complex(plain.add(2 * len)));
                sum[0] = o.fma(d, e.fma(a, sum[0]));
                sum[1] = o.fnma(c, e.fma(b, sum[1]));
            }
            V::store_complex(sum, x.add(2 * k));
        }
        for k in whole..len {
            let (mut re, mut im) = (V::Element::default(), V::Element::default());
            for l in 0..filters {
                let (weights, plain) = (weights.add(2 * l * len + k), parts.add(4 * l * len + 2 * k));
                let (e, o, turned) = (*weights, *weights.add(len), plain.add(2 * len));
                re += e * *plain + o * *turned.add(1);
                im += e * *plain.add(1) - o * *turned;
            }
            (*x.add(2 * k), *x.add(2 * k + 1)) = (re, im);
        }
    }
}

/// How eight columns of the transform lie in the spectrum outside.
#[derive(Clone, Copy, PartialEq)]
enum Run {
    /// One after another.
    Straight,
    /// The conjugates of columns W - c, backwards.
    Mirrored,
    /// Some of both, or fewer than eight.
    Single,
}

impl Run {
    #[inline(always)]
    fn of(outer: &Outer, c: usize, lanes: usize) -> Run {
        let stride = outer.stride();
        if lanes == LANES && c + LANES <= stride {
            Run::Straight
        } else if lanes == LANES && c >= stride {
            Run::Mirrored
        } else {
            Run::Single
        }
    }
}

dispatch! {
    /// Columns `first` .. `first + 8` of the transform from the spectrum outside, to `[h][re: 8, im: 8]`; tells whether all is zero. Columns beyond the width are zero.
    fn gather<T> = gather_lanes(outer: &Outer, spectrum: *const T, first: usize, data: *mut T, zero: *mut bool)
}

#[inline(always)]
unsafe fn gather_lanes<V: Lanes>(outer: &Outer, spectrum: *const V::Element, first: usize, data: *mut V::Element, zero: *mut bool) {
    let lanes = LANES.min(outer.width - first);
    let (H, W, stride) = (outer.H, outer.W, outer.stride());
    let scale = V::constant(outer.scale);
    // Squares of numbers down to 1e-250 (1e-36 in f32) stay above zero with this factor, and an infinity or a NaN is not equal to zero either.
    let large = V::constant(if size_of::<V::Element>() == 4 { 2f64.powi(60) } else { 2f64.powi(300) });
    let mut any = V::zero();
    // SAFETY: frequencies (r, c) with r < H and c < W exist outside, and `data` holds h elements.
    unsafe {
        for alias in 0..W / outer.w {
            let c = first + alias * outer.w;
            let run = Run::of(outer, c, lanes);
            let mut row = 0;
            for r in 0..H {
                let mut z = match run {
                    Run::Straight => V::load_complex(spectrum.add(2 * (r * stride + c))),
                    Run::Mirrored => {
                        let opposite = if r == 0 { 0 } else { H - r };
                        let [re, im] = V::load_complex(spectrum.add(2 * (opposite * stride + W - c - (LANES - 1))));
                        [re.reversed(), V::zero().sub(im.reversed())]
                    }
                    Run::Single => {
                        let (mut re, mut im) = ([V::Element::default(); LANES], [V::Element::default(); LANES]);
                        for lane in 0..lanes {
                            let (place, sign) = outer.place::<V::Element>(r, c + lane);
                            (re[lane], im[lane]) = (*spectrum.add(2 * place), sign * *spectrum.add(2 * place + 1));
                        }
                        [V::load(re.as_ptr()), V::load(im.as_ptr())]
                    }
                };
                z = [z[0].mul(scale), z[1].mul(scale)];
                let to = data.add(row * ELEMENT);
                if alias > 0 || r >= outer.h {
                    z = [z[0].add(V::load(to)), z[1].add(V::load(to.add(LANES)))];
                }
                let (re, im) = (z[0].mul(large), z[1].mul(large));
                any = im.fma(im, re.fma(re, any));
                z[0].store(to);
                z[1].store(to.add(LANES));
                row += 1;
                if row == outer.h {
                    row = 0;
                }
            }
        }
        *zero = any.sum() == V::Element::default();
    }
}

/// The first `lanes` of eight numbers, zeros behind.
#[inline(always)]
unsafe fn lanes_of<V: Lanes>(from: *const V::Element, lanes: usize) -> V {
    // SAFETY: the caller promises `lanes` readable numbers.
    unsafe {
        if lanes == LANES {
            return V::load(from);
        }
        let mut part = [V::Element::default(); LANES];
        std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), lanes);
        V::load(part.as_ptr())
    }
}

dispatch! {
    /// The transpose of [`gather`]: columns `first` .. `first + 8`, `[h][re: 8, im: 8]`, to the spectrum outside; added to it when `more`.
    fn scatter<T> = scatter_lanes(outer: &Outer, data: *const T, first: usize, spectrum: *mut T, more: bool)
}

#[inline(always)]
unsafe fn scatter_lanes<V: Lanes>(outer: &Outer, data: *const V::Element, first: usize, spectrum: *mut V::Element, more: bool) {
    let lanes = LANES.min(outer.width - first);
    let (H, W, stride) = (outer.H, outer.W, outer.stride());
    let scale = V::constant(outer.scale);
    // SAFETY: as in `gather_lanes`, with the spectrum writable.
    unsafe {
        for alias in 0..W / outer.w {
            let c = first + alias * outer.w;
            let run = Run::of(outer, c, lanes);
            let mut row = 0;
            for r in 0..H {
                let from = data.add(row * ELEMENT);
                row += 1;
                if row == outer.h {
                    row = 0;
                }
                let mut z = [V::load(from).mul(scale), V::load(from.add(LANES)).mul(scale)];
                let to = match run {
                    Run::Straight => spectrum.add(2 * (r * stride + c)),
                    Run::Mirrored => {
                        z = [z[0].reversed(), V::zero().sub(z[1].reversed())];
                        let opposite = if r == 0 { 0 } else { H - r };
                        spectrum.add(2 * (opposite * stride + W - c - (LANES - 1)))
                    }
                    Run::Single => {
                        let (mut re, mut im) = ([V::Element::default(); LANES], [V::Element::default(); LANES]);
                        z[0].store(re.as_mut_ptr());
                        z[1].store(im.as_mut_ptr());
                        for lane in 0..lanes {
                            let (place, sign) = outer.place::<V::Element>(r, c + lane);
                            let to = spectrum.add(2 * place);
                            let old = if more { (*to, *to.add(1)) } else { (V::Element::default(), V::Element::default()) };
                            (*to, *to.add(1)) = (old.0 + re[lane], old.1 + sign * im[lane]);
                        }
                        continue;
                    }
                };
                if more {
                    let [re, im] = V::load_complex(to);
                    z = [z[0].add(re), z[1].add(im)];
                }
                V::store_complex(z, to);
            }
        }
    }
}

dispatch! {
    /// Blocks of eight elements with their lanes and elements exchanged: block k of `[n][re: 8, im: 8]` to `to + k stride`.
    fn turn<T> = turn_lanes(from: *const T, n: usize, to: *mut T, stride: usize)
}

#[inline(always)]
unsafe fn turn_lanes<V: Lanes>(from: *const V::Element, n: usize, to: *mut V::Element, stride: usize) {
    // SAFETY: the caller promises whole blocks on either side; elements from n on are whatever `from` holds there.
    unsafe {
        for block in 0..n.div_ceil(LANES) {
            let (from, to) = (from.add(block * LANES * ELEMENT), to.add(block * stride));
            for part in [0, LANES] {
                let mut v = [V::zero(); 8];
                for (i, v) in v.iter_mut().enumerate() {
                    *v = V::load(from.add(i * ELEMENT + part));
                }
                for (i, v) in V::transpose8(v).into_iter().enumerate() {
                    v.store(to.add(i * ELEMENT + part));
                }
            }
        }
    }
}

dispatch! {
    /// Up to eight rows each as real and as imaginary parts, times a factor, to `[W][re: 8, im: 8]`; missing rows are zero.
    fn load_rows<T> = load_rows_lanes(re: *const T, n_re: usize, im: *const T, n_im: usize, W: usize, factor: f64, data: *mut T)
}

#[inline(always)]
unsafe fn load_rows_lanes<V: Lanes>(
    re: *const V::Element,
    n_re: usize,
    im: *const V::Element,
    n_im: usize,
    W: usize,
    factor: f64,
    data: *mut V::Element,
) {
    let factor = V::constant(factor);
    // SAFETY: the caller promises the rows, and whole blocks of elements in `data`.
    unsafe {
        for first in (0..W).step_by(LANES) {
            let lanes = LANES.min(W - first);
            for (rows, n, part) in [(re, n_re, 0), (im, n_im, LANES)] {
                let mut v = [V::zero(); 8];
                for (i, v) in v.iter_mut().enumerate().take(n) {
                    *v = lanes_of::<V>(rows.add(i * W + first), lanes).mul(factor);
                }
                for (i, v) in V::transpose8(v).into_iter().enumerate() {
                    v.store(data.add((first + i) * ELEMENT + part));
                }
            }
        }
    }
}

dispatch! {
    /// The transpose of [`load_rows`], times a factor: `[W][re: 8, im: 8]` to up to eight rows of real and of imaginary parts.
    fn store_rows<T> = store_rows_lanes(data: *const T, W: usize, re: *mut T, n_re: usize, im: *mut T, n_im: usize, factor: f64)
}

#[inline(always)]
unsafe fn store_rows_lanes<V: Lanes>(
    data: *const V::Element,
    W: usize,
    re: *mut V::Element,
    n_re: usize,
    im: *mut V::Element,
    n_im: usize,
    factor: f64,
) {
    let factor = V::constant(factor);
    // SAFETY: the caller promises the rows, and whole blocks of elements in `data`.
    unsafe {
        for first in (0..W).step_by(LANES) {
            let lanes = LANES.min(W - first);
            for (rows, n, part) in [(re, n_re, 0), (im, n_im, LANES)] {
                let mut v = [V::zero(); 8];
                for (i, v) in v.iter_mut().enumerate() {
                    *v = V::load(data.add((first + i) * ELEMENT + part)).mul(factor);
                }
                for (i, v) in V::transpose8(v).into_iter().enumerate().take(n) {
                    let to = rows.add(i * W + first);
                    if lanes == LANES {
                        v.store(to);
                    } else {
                        let mut part = [V::Element::default(); LANES];
                        v.store(part.as_mut_ptr());
                        std::ptr::copy_nonoverlapping(part.as_ptr(), to, lanes);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Half spectra of two real rows per lane from that of row + i row, with columns 0 and W/2 times `outer`, the others times `inner`.
    fn take_apart<T> = take_apart_lanes(z: *const T, W: usize, a: *mut T, b: *mut T, inner: f64, outer: f64)
}

#[inline(always)]
unsafe fn take_apart_lanes<V: Lanes>(z: *const V::Element, W: usize, a: *mut V::Element, b: *mut V::Element, inner: f64, outer: f64) {
    // SAFETY: the caller promises W elements in `z`, W/2 + 1 in `a` and in `b`.
    unsafe {
        for l in 0..W / 2 + 1 {
            let own = l == 0 || 2 * l == W;
            let half = V::constant(0.5 * if own { outer } else { inner });
            let (x, y) = (z.add(l * ELEMENT), z.add((W - l) % W * ELEMENT));
            let (p, q, s, t) = (V::load(x), V::load(x.add(LANES)), V::load(y), V::load(y.add(LANES)));
            let (a, b) = (a.add(l * ELEMENT), b.add(l * ELEMENT));
            p.add(s).mul(half).store(a);
            q.sub(t).mul(half).store(a.add(LANES));
            q.add(t).mul(half).store(b);
            s.sub(p).mul(half).store(b.add(LANES));
        }
    }
}

dispatch! {
    /// The spectrum of row + i row from half spectra of two blocks of rows, the second of which may be null for zeros; columns weighed as by [`take_apart`].
    fn put_together<T> = put_together_lanes(a: *const T, b: *const T, W: usize, z: *mut T, inner: f64, outer: f64)
}

#[inline(always)]
unsafe fn put_together_lanes<V: Lanes>(a: *const V::Element, b: *const V::Element, W: usize, z: *mut V::Element, inner: f64, outer: f64) {
    let (inner, outer) = (V::constant(inner), V::constant(outer));
    // SAFETY: the caller promises W/2 + 1 elements in `a` and, unless it is null, in `b`, and W in `z`.
    unsafe {
        for l in 0..W / 2 + 1 {
            let at = a.add(l * ELEMENT);
            let (ar, ai) = (V::load(at), V::load(at.add(LANES)));
            let (br, bi) = if b.is_null() {
                (V::zero(), V::zero())
            } else {
                let at = b.add(l * ELEMENT);
                (V::load(at), V::load(at.add(LANES)))
            };
            let to = z.add(l * ELEMENT);
            if l == 0 || 2 * l == W {
                // Only the real part of the self-conjugate columns counts.
                ar.mul(outer).store(to);
                br.mul(outer).store(to.add(LANES));
            } else {
                let mirror = z.add((W - l) * ELEMENT);
                ar.sub(bi).mul(inner).store(to);
                ai.add(br).mul(inner).store(to.add(LANES));
                ar.add(bi).mul(inner).store(mirror);
                br.sub(ai).mul(inner).store(mirror.add(LANES));
            }
        }
    }
}
