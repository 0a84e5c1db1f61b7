//! Discrete Fourier transforms of images and series: real and complex, both directions, and adjoints.
//!
//! An image is `[H][W]`; a series is an image of one row. Spectra are complex, interleaved, frequency 0 first; the spectrum of a real image keeps the columns
//! 0 ..= W/2. Rows are transformed by `rustfft` and `realfft`, columns in blocks that are gathered so that every transform runs on consecutive numbers.

use crate::KernelError;
use crate::parallel::{Parallel, Shared};
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::cell::RefCell;
use std::sync::Arc;

/// Columns gathered at a time: one cache line of complex numbers is four of them.
const COLUMNS: usize = 16;

/// Largest number of rows or columns.
const LARGEST: usize = 1 << 20;

type C = Complex<f64>;

/// Transforms of one size.
pub struct PlanarFft {
    H: usize,
    W: usize,
    row: [Arc<dyn Fft<f64>>; 2],
    column: [Arc<dyn Fft<f64>>; 2],
    to_complex: Arc<dyn RealToComplex<f64>>,
    to_real: Arc<dyn ComplexToReal<f64>>,
    scratch: usize,
}

impl std::fmt::Debug for PlanarFft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlanarFft({} x {})", self.H, self.W)
    }
}

/// Buffers of one thread: a spectrum, gathered columns, scratch of the row transforms, a row of reals.
#[derive(Default)]
struct Buffers {
    spectrum: Vec<C>,
    columns: Vec<C>,
    scratch: Vec<C>,
    row: Vec<C>,
    reals: Vec<f64>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

/// The same numbers as complex pairs.
fn complex(values: &[f64]) -> &[C] {
    assert!(values.len().is_multiple_of(2), "complex numbers are pairs");
    // SAFETY: `Complex<f64>` is two f64 in a row (repr(C)) with the alignment of f64; the length is even.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len() / 2) }
}

/// The same numbers as complex pairs, to be written.
fn complex_mut(values: &mut [f64]) -> &mut [C] {
    assert!(values.len().is_multiple_of(2), "complex numbers are pairs");
    // SAFETY: as in `complex`; the borrow is unique.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len() / 2) }
}

fn grown(buffer: &mut Vec<C>, len: usize) -> &mut [C] {
    if buffer.len() < len {
        buffer.resize(len, C::default());
    }
    &mut buffer[..len]
}

impl PlanarFft {
    /// Plans transforms of `H` rows and `W` columns, each from 1 to 2^20.
    pub fn new(H: usize, W: usize) -> Result<Self, KernelError> {
        for (name, n) in [("H", H), ("W", W)] {
            if n == 0 || n > LARGEST {
                return Err(KernelError::parameter(name, format!("from 1 to {LARGEST}"), n));
            }
        }
        let mut planner = FftPlanner::new();
        let row = [planner.plan_fft_forward(W), planner.plan_fft_inverse(W)];
        let column = [planner.plan_fft_forward(H), planner.plan_fft_inverse(H)];
        let mut planner = RealFftPlanner::new();
        let (to_complex, to_real) = (planner.plan_fft_forward(W), planner.plan_fft_inverse(W));
        let scratch = row.iter().chain(&column).map(|fft| fft.get_inplace_scratch_len()).max().unwrap_or(0);
        let scratch = scratch.max(to_complex.get_scratch_len()).max(to_real.get_scratch_len());
        Ok(PlanarFft { H, W, row, column, to_complex, to_real, scratch })
    }

    /// Columns of the spectrum of a real image.
    pub fn half(&self) -> usize {
        self.W / 2 + 1
    }

    /// Operations of one complex transform, nominal; a real one costs half.
    pub fn flops(&self) -> f64 {
        let n = (self.H * self.W) as f64;
        5.0 * n * n.log2().max(1.0)
    }

    /// f64 of one thread's buffers.
    pub fn scratch_len(&self) -> usize {
        2 * (self.H * self.W + COLUMNS * self.H + self.scratch + self.W + 1)
    }

    /// Transforms every column of `[H][width]`, in place.
    fn columns(&self, inverse: bool, data: &mut [C], width: usize, columns: &mut Vec<C>, scratch: &mut [C]) {
        if self.H == 1 {
            return;
        }
        let (H, fft) = (self.H, &self.column[usize::from(inverse)]);
        let block = grown(columns, COLUMNS * H);
        for first in (0..width).step_by(COLUMNS) {
            let n = COLUMNS.min(width - first);
            for r in 0..H {
                let row = &data[r * width + first..][..n];
                for (c, x) in row.iter().enumerate() {
                    block[c * H + r] = *x;
                }
            }
            fft.process_with_scratch(&mut block[..n * H], scratch);
            for r in 0..H {
                let row = &mut data[r * width + first..][..n];
                for (c, x) in row.iter_mut().enumerate() {
                    *x = block[c * H + r];
                }
            }
        }
    }

    /// F_kl = sum_pq f_pq e^{-2 pi i (k p / H + l q / W)}, l <= W/2, of consecutive images.
    ///
    /// - `images`: `[n][H][W]`
    /// - `spectra`: `[n][H][W/2+1]` complex
    ///
    /// Error: eps log2(HW) relative to the norm. Panics if a length does not fit.
    pub fn real_forward(&self, par: &dyn Parallel, images: &[f64], spectra: &mut [f64]) {
        let (size, half) = (self.H * self.W, self.half());
        self.each(par, images, size, spectra, 2 * self.H * half, |image, out, buffers| {
            let Buffers { columns, scratch, reals, .. } = buffers;
            let scratch = grown(scratch, self.scratch);
            let out = complex_mut(out);
            for (x, y) in image.chunks_exact(self.W).zip(out.chunks_exact_mut(half)) {
                reals.clear();
                reals.extend_from_slice(x);
                self.to_complex.process_with_scratch(reals, y, scratch).expect("lengths are those of the plan");
            }
            self.columns(false, out, half, columns, scratch);
        });
    }

    /// f_pq = sum over stored columns of m_l Re(F_kl e^{2 pi i ..}), times `factor`; m_l is 2 for columns 0 < l < W/2 when `whole`, and 1 otherwise.
    ///
    /// With `whole` and `factor` = 1/(HW) this is the inverse of [`Self::real_forward`]; without and with 1 its transpose.
    pub fn real_inverse(&self, par: &dyn Parallel, spectra: &[f64], images: &mut [f64], whole: bool, factor: f64) {
        let (size, half) = (self.H * self.W, self.half());
        // The row transform counts inner columns twice.
        let (inner, outer) = if whole { (factor, factor) } else { (0.5 * factor, factor) };
        self.each(par, spectra, 2 * self.H * half, images, size, |spectrum, image, buffers| {
            let Buffers { spectrum: data, columns, scratch, row, .. } = buffers;
            let scratch = grown(scratch, self.scratch);
            let data = grown(data, self.H * half);
            data.copy_from_slice(complex(spectrum));
            self.columns(true, data, half, columns, scratch);
            let row = grown(row, half);
            for (x, y) in data.chunks_exact(half).zip(image.chunks_exact_mut(self.W)) {
                row.iter_mut().zip(x).for_each(|(row, x)| *row = x * inner);
                // Only the real part of the self-conjugate columns counts.
                row[0] = C::new(x[0].re * outer, 0.0);
                if self.W.is_multiple_of(2) {
                    row[half - 1] = C::new(x[half - 1].re * outer, 0.0);
                }
                self.to_real.process_with_scratch(row, y, scratch).expect("self-conjugate columns are real");
            }
        });
    }

    /// Transpose of [`Self::real_inverse`] with `whole` and 1/(HW): the forward transform with m_l / (HW).
    pub fn real_inverse_adjoint(&self, par: &dyn Parallel, images: &[f64], spectra: &mut [f64]) {
        self.real_forward(par, images, spectra);
        let (half, outer) = (self.half(), 1.0 / (self.H * self.W) as f64);
        for row in complex_mut(spectra).chunks_exact_mut(half) {
            for (l, x) in row.iter_mut().enumerate() {
                let own = l == 0 || 2 * l == self.W;
                *x *= if own { outer } else { 2.0 * outer };
            }
        }
    }

    /// Real and imaginary parts of (1/HW) sum_kl F_kl e^{2 pi i ..} of consecutive spectra.
    ///
    /// - `spectra`: `[n][H][W]` complex
    /// - `images`: `[n][2][H][W]`
    pub fn inverse(&self, par: &dyn Parallel, spectra: &[f64], images: &mut [f64]) {
        let size = self.H * self.W;
        let factor = 1.0 / size as f64;
        self.each(par, spectra, 2 * size, images, 2 * size, |spectrum, image, buffers| {
            let Buffers { spectrum: data, columns, scratch, .. } = buffers;
            let scratch = grown(scratch, self.scratch);
            let data = grown(data, size);
            data.copy_from_slice(complex(spectrum));
            self.columns(true, data, self.W, columns, scratch);
            let (re, im) = image.split_at_mut(size);
            for ((x, re), im) in data.chunks_exact_mut(self.W).zip(re.chunks_exact_mut(self.W)).zip(im.chunks_exact_mut(self.W)) {
                self.row[1].process_with_scratch(x, scratch);
                for ((x, re), im) in x.iter().zip(re).zip(im) {
                    *re = factor * x.re;
                    *im = factor * x.im;
                }
            }
        });
    }

    /// Transpose of [`Self::inverse`]: the forward transform of re + i im, times 1/(HW).
    pub fn inverse_adjoint(&self, par: &dyn Parallel, images: &[f64], spectra: &mut [f64]) {
        let size = self.H * self.W;
        let factor = 1.0 / size as f64;
        self.each(par, images, 2 * size, spectra, 2 * size, |image, out, buffers| {
            let Buffers { columns, scratch, .. } = buffers;
            let scratch = grown(scratch, self.scratch);
            let (re, im) = image.split_at(size);
            let out = complex_mut(out);
            for ((x, re), im) in out.chunks_exact_mut(self.W).zip(re.chunks_exact(self.W)).zip(im.chunks_exact(self.W)) {
                x.iter_mut().zip(re.iter().zip(im)).for_each(|(x, (re, im))| *x = C::new(factor * re, factor * im));
                self.row[0].process_with_scratch(x, scratch);
            }
            self.columns(false, out, self.W, columns, scratch);
        });
    }

    /// Transform of separate real and imaginary parts in place, for tables.
    pub fn in_place(&self, inverse: bool, re: &mut [f64], im: &mut [f64]) {
        let mut data: Vec<C> = re.iter().zip(im.iter()).map(|(re, im)| C::new(*re, *im)).collect();
        let mut scratch = vec![C::default(); self.scratch];
        data.chunks_exact_mut(self.W).for_each(|row| self.row[usize::from(inverse)].process_with_scratch(row, &mut scratch));
        self.columns(inverse, &mut data, self.W, &mut Vec::new(), &mut scratch);
        let factor = if inverse { 1.0 / (self.H * self.W) as f64 } else { 1.0 };
        for (x, (re, im)) in data.iter().zip(re.iter_mut().zip(im)) {
            *re = factor * x.re;
            *im = factor * x.im;
        }
    }

    /// Runs `task(input, output, buffers)` for consecutive fields, one task each.
    fn each(
        &self,
        par: &dyn Parallel,
        inputs: &[f64],
        from: usize,
        outputs: &mut [f64],
        to: usize,
        task: impl Fn(&[f64], &mut [f64], &mut Buffers) + Sync,
    ) {
        let n = inputs.len() / from;
        assert_eq!((inputs.len(), outputs.len()), (n * from, n * to), "whole fields of {} x {}", self.H, self.W);
        let out = Shared::new(outputs);
        par.for_each(n, &|k| {
            // SAFETY: task k writes its own field of an output that outlives the tasks; lengths were checked.
            let output = unsafe { std::slice::from_raw_parts_mut(out.get().add(k * to), to) };
            BUFFERS.with_borrow_mut(|buffers| task(&inputs[k * from..][..from], output, buffers));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Serial;

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
            })
            .collect()
    }

    fn naive(H: usize, W: usize, f: &[f64], k: usize, l: usize) -> C {
        let mut sum = C::default();
        for p in 0..H {
            for q in 0..W {
                let angle = -2.0 * std::f64::consts::PI * ((k * p % H) as f64 / H as f64 + (l * q % W) as f64 / W as f64);
                sum += f[p * W + q] * C::new(angle.cos(), angle.sin());
            }
        }
        sum
    }

    const SIZES: [(usize, usize); 7] = [(1, 1), (1, 8), (1, 9), (5, 6), (6, 5), (8, 34), (7, 1)];

    #[test]
    fn transforms_equal_their_definition_and_invert() {
        for (H, W) in SIZES {
            let fft = PlanarFft::new(H, W).expect("valid sizes");
            let f = numbers(H * W, 3);
            let half = fft.half();
            let mut F = vec![0.0; 2 * H * half];
            fft.real_forward(&Serial, &f, &mut F);
            for k in 0..H {
                for l in 0..half {
                    let (x, y) = (complex(&F)[k * half + l], naive(H, W, &f, k, l));
                    assert!((x - y).norm() <= 1e-13 * (H * W) as f64, "{H} x {W} at ({k}, {l}): {x}, expected {y}");
                }
            }
            let mut back = vec![0.0; H * W];
            fft.real_inverse(&Serial, &F, &mut back, true, 1.0 / (H * W) as f64);
            let error = back.iter().zip(&f).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(error <= 1e-14, "{H} x {W}: {error:e}");
            // A complex image and back.
            let g = numbers(2 * H * W, 5);
            let mut G = vec![0.0; 2 * H * W];
            fft.inverse_adjoint(&Serial, &g, &mut G);
            G.iter_mut().for_each(|x| *x *= (H * W) as f64);
            let mut back = vec![0.0; 2 * H * W];
            fft.inverse(&Serial, &G, &mut back);
            let error = back.iter().zip(&g).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(error <= 1e-14, "{H} x {W}: {error:e}");
        }
    }

    #[test]
    fn adjoints_are_transposes() {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
        for (H, W) in SIZES {
            let fft = PlanarFft::new(H, W).expect("valid sizes");
            let (f, F) = (numbers(H * W, 3), numbers(2 * H * fft.half(), 4));
            let (mut a, mut b) = (vec![0.0; F.len()], vec![0.0; f.len()]);
            fft.real_forward(&Serial, &f, &mut a);
            fft.real_inverse(&Serial, &F, &mut b, false, 1.0);
            assert!((dot(&a, &F) - dot(&f, &b)).abs() <= 1e-12 * (H * W) as f64, "{H} x {W}");
            fft.real_inverse(&Serial, &F, &mut b, true, 1.0 / (H * W) as f64);
            fft.real_inverse_adjoint(&Serial, &f, &mut a);
            assert!((dot(&a, &F) - dot(&f, &b)).abs() <= 1e-12 * (H * W) as f64, "{H} x {W}");
        }
    }
}
