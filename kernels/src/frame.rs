//! Covariances of wavelet transforms from harmonic coefficients alone: the frame operator of one scale.
//!
//! # Equations
//!
//! For a direction g, `W_g` takes coefficients to the wavelet transform at gamma_g = 2 pi g / (2N - 1). The *frame operator*
//! `Q_g = W_g^H W_g` (adjoint under the sphere average and the plain inner product of stored numbers) turns the average of a
//! product of two transforms into a bilinear form of their coefficients, without samples:
//!
//! ```text
//! <W_g[x] W_g[y]> = x . Q_g y = sum_m w_m / 2 sum_d Re( e^{i d gamma_g} x_m^T M_d conj(y_m) ),   w_0 = 1, w_m = 2
//! M_d[l, k] = sum over n - n' = d of p^n_l p^n'_k G^{n n'}_m[l, k],      G = integral d^l_{mn} d^k_{mn'} d cos(beta)
//! ```
//!
//! Both operands are bandlimited and the quadrature integrates such products exactly, so the two sides agree to rounding.
//! M_d and M_{-d} combine into one symmetric matrix S_d = 2 M_d on even l + k (times cos d gamma) and one antisymmetric
//! D_d = 2 M_d on odd l + k (times -sin d gamma): 2N - 1 real channels.
//!
//! # Method
//!
//! For m >= max(|n|, |n'|), d^l_{mn} is a Jacobi polynomial times half of its weight. With n = n' + 2r the product
//! d^l_{mn} d^k_{mn'} is that weight times P_l P_k ((1 - x) / (1 + x))^r, so polynomial division leaves, for l > k, only the
//! r poles at x = -1, and for l < k those at x = 1: G is diagonal plus a matrix of rank r on each side of the diagonal,
//!
//! ```text
//! G[l > k] = (-1)^{l+k} (E_l / E_k) (F^n_l / F^n'_k) K^{n n'}(Lambda_l, Lambda_k),      Lambda_l = l (l + 1)
//! G[l < k] =            (E_k / E_l) (F^n_l / F^n'_k) K^{-n' -n}(Lambda_k, Lambda_l)
//! K^{n n'}(u, v) = sum_{p=1}^r 2 (m+n-p)! / ((p-1)! (m+n')!) prod_{i=1}^{p-1} (u - Lambda_{m-i}) h_{r-p}(v)
//! h_t(v) = sum_{i+j=t} (-1)^i C(r, i) prod_{s<j} (Lambda_{m+s} - v) / ((m+n'+1)_j j!)
//! ```
//!
//! with E_l = sqrt((l-m)! / (l+m)!) and F^n_l = sqrt((l-n)! / (l+n)!). The r integrals are those of a Jacobi polynomial against
//! its weight divided by (1 + x)^p. Sums over k are prefix scans, up and down in l, in O(L) per order. The scans keep
//! sum_k (E_l / E_k) (Lambda_l - Lambda_k)^s x_k: powers of a difference are carried from l to l + 1 by positive coefficients, so
//! no digits cancel whatever the rank. Orders m < N - 1 lack the half weights; they are synthesised on the rings and averaged there.
//! Q is symmetric: the adjoint of a covariance is the same scan followed by a mixture.

use std::sync::Arc;

use crate::KernelError;
use crate::double::Double;
use crate::harmonic::HarmonicTransform;
use crate::layout::{RingLayout, coefficient_index};
use crate::parallel::{Parallel, Serial, Shared};
use crate::simd::{LANES, Lanes, Zeros, dispatch, with_scratch};
use crate::wavelets::{self, Windows};

/// Largest azimuthal bandlimit with an instance of the scans.
///
/// ```
/// assert_eq!(scatterc_kernels::frame::LARGEST_N, 8);
/// ```
pub const LARGEST_N: usize = 8;

/// Q_g of one scale for all 2N - 1 directions g.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::frame::*;
/// # use scatterc_kernels::harmonic::HarmonicTransform;
/// # use std::sync::Arc;
/// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
/// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
/// # let n = wavelets.coefficients_len();
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// # let (x, y) = (numbers(1.1), numbers(0.7));
/// // Q_g of scale 2 for L = 8 and N = 2: three directions.
/// // Q is symmetric.
/// let apply = |x: &[f64]| {
///     let mut all = vec![vec![0.0; n]; 3];
///     operator.apply(&Serial, x, 8, &mut all.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), 8);
///     all
/// };
/// assert!((dot(&apply(&x)[1], &y) - dot(&x, &apply(&y)[1])).abs() < 1e-12);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameOperator {
    L: usize,
    N: usize,
    j: usize,
    /// Degrees first..last carry the filter.
    first: usize,
    last: usize,
    /// Orders below this go through the rings.
    low: usize,
    /// Coefficients (l, m) with m >= low in the window of the scale.
    cells: usize,
    wavelets: Arc<HarmonicTransform>,
    /// Average over the sphere of products of half spectra with `low` orders, `[2 n_pairs][low][16]`.
    ring_weights: Vec<f64>,
    /// cos(d gamma_g), -sin(d gamma_g): `[2N - 1 (g)][2N - 1 (channel)]`.
    directions: Vec<f64>,
    /// p^n'_l / F^n'_l for n' = N - 3, N - 5, .., 1 - N: what the scans of order n' take in, `[N - 1][last - first]`.
    intake: Vec<f64>,
    /// 2 p^n_l F^n_l for n = N - 1, N - 3, .., 3 - N: `[N - 1][last - first]`.
    outflow: Vec<f64>,
    /// sum_n (p^n_l)^2 2 / (2l + 1), `[last - first]`.
    diagonal: Vec<f64>,
    /// The polynomial part of the diagonal of difference 2r: (-1)^r 4 / (2l + 1) sum p^n_l p^n'_l (ratio of norms), `[N - 1][last - first]`.
    polynomial: Vec<f64>,
    /// Coefficients in y = Lambda_l - Lambda_m of K's powers of the difference, upwards then downwards, per order m >= low.
    kernels: Vec<f64>,
}

/// Channels of N: the diagonal one, then (cos, sin) of every difference of direction orders.
pub(crate) const fn channels(N: usize) -> usize {
    2 * N - 1
}

/// Running sums of the scans: n' = N - 1 - 2i keeps i powers, i = 1 .. N - 1.
const fn states(N: usize) -> usize {
    N * (N - 1) / 2
}

/// Coefficients with which the channels read the running sums: difference 2r, i >= r, powers s < r.
pub(crate) const fn terms(N: usize) -> usize {
    let mut total = 0;
    let mut r = 1;
    while r < N {
        total += r * (N - r);
        r += 1;
    }
    total
}

/// Numbers of `kernels` per order: both directions, per term r - s coefficients.
const fn kernel_len(N: usize) -> usize {
    let mut total = 0;
    let mut r = 1;
    while r < N {
        total += (N - r) * r * (r + 1);
        r += 1;
    }
    total
}

/// Rows of the scan coefficients of one order: ratios, terms upwards and downwards, diagonals, Lambda_l - Lambda_m.
const fn coefficient_rows(N: usize) -> usize {
    1 + 2 * terms(N) + N - 1 + 1
}

/// A polynomial in two variables, `[power of y][power of the difference]`.
type Bivariate = Vec<Vec<Double>>;

/// a (c_0 + c_1 y + c_2 difference), both dense of one size.
fn times_linear(a: &Bivariate, constant: f64, y: f64, difference: f64) -> Bivariate {
    let n = a.len();
    let mut out = vec![vec![Double::new(0.0); n]; n];
    for (i, row) in a.iter().enumerate() {
        for (k, value) in row.iter().enumerate() {
            for (di, dk, factor) in [(0, 0, constant), (1, 0, y), (0, 1, difference)] {
                if factor != 0.0 && i + di < n && k + dk < n {
                    out[i + di][k + dk] = out[i + di][k + dk].add(value.scale(factor));
                }
            }
        }
    }
    out
}

/// K^{n n'} with n = n' + 2r at order m, in y and delta = |Lambda_l - Lambda_k|. `upwards`: l > k and y = Lambda_l - Lambda_m is
/// that of the larger degree; otherwise y is that of the smaller one.
fn pole_kernel(m: usize, n_prime: isize, r: usize, upwards: bool) -> Bivariate {
    let lambda = |i: isize| (i * (i + 1)) as f64;
    let mi = m as isize;
    let mut total = vec![vec![Double::new(0.0); r]; r];
    let one = || {
        let mut a = vec![vec![Double::new(0.0); r]; r];
        a[0][0] = Double::ONE;
        a
    };
    // The larger argument is u, the smaller v = u - delta; y is u's or v's.
    let (u_difference, v_difference) = if upwards { (0.0, -1.0) } else { (1.0, 0.0) };
    for p in 1..=r {
        let t = r - p;
        for j in 0..=t {
            let i = t - j;
            // 2 (m+n-p)! / (m+n')! / (m+n'+1)_j = 2 (m+n'+1+j) .. (m+n-p), and C(r, i) (-1)^i / (j! (p-1)!).
            let mut factor = Double::new(if i.is_multiple_of(2) { 2.0 } else { -2.0 });
            for s in 0..2 * r - p - j {
                factor = factor.scale((mi + n_prime + 1 + (j + s) as isize) as f64);
            }
            for s in 0..i {
                factor = factor.scale((r - s) as f64).div(Double::new((s + 1) as f64));
            }
            for s in 1..=j {
                factor = factor.div(Double::new(s as f64));
            }
            for s in 1..p {
                factor = factor.div(Double::new(s as f64));
            }
            let mut product = one();
            for s in 1..p as isize {
                product = times_linear(&product, lambda(mi) - lambda(mi - s), 1.0, u_difference);
            }
            for s in 0..j as isize {
                product = times_linear(&product, lambda(mi + s) - lambda(mi), -1.0, -v_difference);
            }
            for (sum, row) in total.iter_mut().zip(&product) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum = sum.add(value.mul(factor));
                }
            }
        }
    }
    total
}

/// sqrt((l - n)! / (l + n)!) for signed n, |n| <= l.
fn half_ratio(l: usize, n: isize) -> f64 {
    let q = n.unsigned_abs();
    let product: f64 = (l - q + 1..=l + q).map(|i| i as f64).product();
    if n >= 0 { 1.0 / product.sqrt() } else { product.sqrt() }
}

/// sqrt((l + n)! (l - n)!) / l!, even in n.
fn leading(l: usize, n: isize) -> f64 {
    (1..=n.unsigned_abs()).map(|i| (l + i) as f64 / (l + 1 - i) as f64).product::<f64>().sqrt()
}

/// The window of a scale: first degree with a filter, the one behind the last, the lowest order that the scans do.
pub(crate) fn window(L: usize, N: usize, j: usize) -> Result<[usize; 3], KernelError> {
    if N > LARGEST_N {
        return Err(KernelError::parameter("N", format!("at most {LARGEST_N}"), N));
    }
    let Windows { L: L_j, windows, .. } = Windows::wavelet(L, L, N, j)?;
    let carried = |l: &usize| windows.iter().any(|w| w.filter.get(*l).is_some_and(|p| *p != 0.0));
    let first = (0..L_j).find(carried).unwrap_or(0);
    let last = (0..L_j).rev().find(carried).map_or(first, |l| l + 1);
    Ok([first, last, (N - 1).min(L_j)])
}

/// What the scans of one scale read; see [`FrameOperator`].
#[derive(Debug)]
pub(crate) struct ScanTables {
    pub intake: Vec<f64>,
    pub outflow: Vec<f64>,
    pub diagonal: Vec<f64>,
    pub polynomial: Vec<f64>,
    pub kernels: Vec<f64>,
}

impl ScanTables {
    pub(crate) fn new(L: usize, N: usize, j: usize) -> Result<Self, KernelError> {
        let [first, last, low] = window(L, N, j)?;
        let windows = Windows::wavelet(L, L, N, j)?.windows;
        let width = last - first;
        let filter = |n: isize, l: usize| windows.iter().find(|w| w.n == n.unsigned_abs()).and_then(|w| w.filter.get(l)).copied().unwrap_or(0.0);
        // Direction orders by index i: n = N - 1 - 2i.
        let order = |i: usize| N as isize - 1 - 2 * i as isize;
        let scaled = |n: isize, l: usize, power: i32| {
            let p = filter(n, l);
            if p == 0.0 { 0.0 } else { p * half_ratio(l, n).powi(power) }
        };
        let mut intake = Vec::with_capacity((N - 1) * width);
        let mut outflow = Vec::with_capacity((N - 1) * width);
        for i in 1..N {
            intake.extend((first..last).map(|l| scaled(order(i), l, -1)));
            outflow.extend((first..last).map(|l| 2.0 * scaled(order(i - 1), l, 1)));
        }
        let weight = |l: usize| 2.0 / (2 * l + 1) as f64;
        let diagonal = (first..last).map(|l| weight(l) * (0..N).map(|i| filter(order(i), l).powi(2)).sum::<f64>()).collect();
        let mut polynomial = Vec::with_capacity((N - 1) * width);
        for r in 1..N {
            let sign = if r % 2 == 0 { 2.0 } else { -2.0 };
            polynomial.extend((first..last).map(|l| {
                let pair = |i: usize| match filter(order(i - r), l) * filter(order(i), l) {
                    0.0 => 0.0,
                    product => product * leading(l, order(i - r)) / leading(l, order(i)),
                };
                sign * weight(l) * (r..N).map(pair).sum::<f64>()
            }));
        }
        let mut kernels = Vec::with_capacity(kernel_len(N) * last.saturating_sub(low));
        for m in low..last {
            for upwards in [true, false] {
                for r in 1..N {
                    for i in r..N {
                        let (n, n_prime) = (order(i - r), order(i));
                        let kernel = pole_kernel(m, if upwards { n_prime } else { -n }, r, upwards);
                        for s in 0..r {
                            kernels.extend((0..r - s).map(|power| kernel[power][s].hi));
                        }
                    }
                }
            }
        }
        Ok(Self { intake, outflow, diagonal, polynomial, kernels })
    }
}

/// cos(d gamma_g), -sin(d gamma_g) of every direction: `[2N - 1 (g)][2N - 1 (channel)]`.
pub(crate) fn channel_directions(N: usize) -> Vec<f64> {
    let n_gamma = 2 * N - 1;
    let mut directions = Vec::with_capacity(n_gamma * n_gamma);
    for g in 0..n_gamma {
        directions.push(1.0);
        for r in 1..N {
            let angle = 2.0 * std::f64::consts::PI * ((2 * r * g) % n_gamma) as f64 / n_gamma as f64;
            directions.extend([angle.cos(), -angle.sin()]);
        }
    }
    directions
}

impl FrameOperator {
    /// The operator of scale j, bandlimit L, azimuthal bandlimit N; `wavelets` is the transform of the same scale with L_in = L.
    ///
    /// Error: N above [`LARGEST_N`], a transform of other sizes.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameOperator::new(8, 2, 2, wavelets.clone()).is_ok());
    /// assert!(FrameOperator::new(8, 3, 2, wavelets).is_err(), "a transform of another N");
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn new(L: usize, N: usize, j: usize, wavelets: Arc<HarmonicTransform>) -> Result<Self, KernelError> {
        let [first, last, low] = window(L, N, j)?;
        let L_j = wavelets::bandlimit(L, j);
        if (wavelets.L(), wavelets.L_coefficients(), wavelets.n_channels()) != (L_j, L, N) {
            let found = format!("{}, {}, {}", wavelets.L(), wavelets.L_coefficients(), wavelets.n_channels());
            return Err(KernelError::parameter("transform", format!("L_j = {L_j}, L_in = {L}, N = {N}"), found));
        }
        let ScanTables { intake, outflow, diagonal, polynomial, kernels } = ScanTables::new(L, N, j)?;
        let layout = RingLayout::new(L_j)?;
        let mut ring_weights = Vec::new();
        for block in layout.weights().chunks_exact(LANES) {
            for m in 0..low {
                for part in 0..2 {
                    let factor = if m == 0 { 0.5 * (1 - part) as f64 } else { 1.0 };
                    ring_weights.extend(block.iter().map(|w| factor * w));
                }
            }
        }
        let directions = channel_directions(N);
        let cells = (low..last).map(|m| last - first.max(m)).sum();
        Ok(Self { L, N, j, first, last, low, cells, wavelets, ring_weights, directions, intake, outflow, diagonal, polynomial, kernels })
    }
}

impl FrameOperator {
    /// Bandlimit, azimuthal bandlimit and scale.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert_eq!(operator.sizes(), (8, 2, 2));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.L, self.N, self.j)
    }

    /// Directions, 2N - 1.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert_eq!(operator.n_directions(), 3);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_directions(&self) -> usize {
        2 * self.N - 1
    }

    /// Size of the plan-time tables in bytes, without those of the wavelet transform.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(operator.table_bytes() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn table_bytes(&self) -> usize {
        let all = [&self.ring_weights, &self.directions, &self.intake, &self.outflow, &self.diagonal, &self.polynomial, &self.kernels];
        8 * all.iter().map(|table| table.len()).sum::<usize>()
    }

    /// The wavelet transform of the same scale.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert_eq!(operator.wavelets().n_channels(), 2);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn wavelets(&self) -> &Arc<HarmonicTransform> {
        &self.wavelets
    }

    /// Coefficients (l, m) with m >= N - 1 in the window of the scale.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(operator.cells() <= n / 2);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Flops of one pass of the scans over one field.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(operator.scan_flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scan_flops(&self) -> f64 {
        // Per state, parity and part one multiplication and a shift, twice (up and down); per term a multiply-add for either parity and part, twice.
        let per_cell = 2 * (2 * 2 * 2 * states(self.N)) + 2 * (2 * 2 * 2 * terms(self.N)) + 4 * self.N;
        (self.cells() * per_cell) as f64
    }

    /// Flops of one bilinear form (all channels) between two fields, or of one mixture of one field into another.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(operator.pair_flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn pair_flops(&self) -> f64 {
        (self.cells() * 4 * channels(self.N)) as f64
    }

    /// First degree at order m.
    fn start(&self, m: usize) -> usize {
        self.first.max(m)
    }

    /// Most degrees of one order.
    fn width(&self) -> usize {
        self.last - self.first
    }

    /// f64 of the scan coefficients of one order, and their stride.
    fn coefficient_rows(&self) -> (usize, usize) {
        (coefficient_rows(self.N), (self.width() + 1).next_multiple_of(LANES))
    }

    /// f64 of scratch for one order with `padded` fields: coefficients, fields, one chunk of channels, sums at the chunks' ends.
    fn scratch_len(&self, padded: usize) -> usize {
        self.scratch_parts(padded).iter().sum()
    }

    fn scratch_parts(&self, padded: usize) -> [usize; 5] {
        let (rows, stride) = self.coefficient_rows();
        let sums = if self.N <= 3 { states(self.N) } else { states(LARGEST_N) } * 4 * LANES;
        [rows * stride, (2 * self.width() + LANES) * padded, 2 * CHUNK * channels(self.N) * LANES, self.width().div_ceil(CHUNK) * sums, sums]
    }

    /// f64 of the coefficients in the window with orders below `low`.
    fn low_window(&self) -> usize {
        2 * (0..self.low).map(|m| self.last.saturating_sub(self.start(m))).sum::<usize>()
    }

    /// f64 that the lowest orders of `padded` sources and `targets` padded targets need for a while, with what their transforms need.
    fn low_scratch(&self, padded: usize, targets: usize) -> usize {
        let (K, G) = (self.low_len(), self.n_directions());
        G * K * (padded + targets) + LANES * (2 * self.wavelets.orders_len(self.low) + self.N * K + K) + self.wavelets.scratch_len()
    }

    /// Half spectra of one field with orders below `low`: numbers per channel.
    fn low_len(&self) -> usize {
        self.ring_weights.len()
    }
}

/// A field of coefficients: where it is and its bandlimit.
#[derive(Clone, Copy)]
struct Operand<'a> {
    values: &'a [f64],
    L: usize,
}

/// One order of one scale: degrees `start .. start + n`.
struct Order<'a> {
    operator: &'a FrameOperator,
    m: usize,
    start: usize,
    n: usize,
    /// `[coefficient_rows][stride]`.
    coefficients: *mut f64,
    stride: usize,
}

dispatch! {
    /// Ratios, terms and diagonals of one order.
    fn fill_coefficients = fill_coefficients_lanes(order: &Order<'_>)
}

#[inline(always)]
unsafe fn fill_coefficients_lanes<V: Lanes<Element = f64>>(order: &Order<'_>) {
    let op = order.operator;
    let (N, m, n, width) = (op.N, order.m, order.n, op.width());
    let shift = order.start - op.first;
    // SAFETY: `coefficients` holds `coefficient_rows`, and start + n <= last, so the tables hold `shift + n` entries per row.
    unsafe {
        let ratio = std::slice::from_raw_parts_mut(order.coefficients, order.stride);
        for (k, e) in ratio.iter_mut().enumerate() {
            let l = (order.start + k) as f64;
            *e = ((l - m as f64) / (l + m as f64)).sqrt();
        }
        let y = std::slice::from_raw_parts_mut(order.coefficients.add((coefficient_rows(N) - 1) * order.stride), n);
        let lambda_m = (m * (m + 1)) as f64;
        for (k, y) in y.iter_mut().enumerate() {
            let l = (order.start + k) as f64;
            *y = l * (l + 1.0) - lambda_m;
        }
        let y = &*y;
        let mut kernel = op.kernels.as_ptr().add((m - op.low) * kernel_len(N));
        let mut row = 1;
        let diagonals = 1 + 2 * terms(N);
        for r in 1..N {
            let out = std::slice::from_raw_parts_mut(order.coefficients.add((diagonals + r - 1) * order.stride), n);
            out.copy_from_slice(&op.polynomial[(r - 1) * width + shift..][..n]);
        }
        for upwards in [true, false] {
            for r in 1..N {
                for i in r..N {
                    let outflow = &op.outflow[(i - r) * width + shift..][..n];
                    for s in 0..r {
                        let out = std::slice::from_raw_parts_mut(order.coefficients.add(row * order.stride), n);
                        let polynomial = std::slice::from_raw_parts(kernel, r - s);
                        // Horner's rule coefficient by coefficient, so that degrees fill the vectors.
                        let (first, rest) = polynomial.split_last().unwrap_or((&0.0, &[]));
                        out.fill(*first);
                        for c in rest.iter().rev() {
                            out.iter_mut().zip(y).for_each(|(out, y)| *out = *out * y + c);
                        }
                        out.iter_mut().zip(outflow).for_each(|(out, flow)| *out *= flow);
                        if upwards && s == 0 {
                            let intake = &op.intake[(i - 1) * width + shift..][..n];
                            let sum = std::slice::from_raw_parts_mut(order.coefficients.add((diagonals + r - 1) * order.stride), n);
                            for ((sum, out), intake) in sum.iter_mut().zip(&*out).zip(intake) {
                                *sum += out * intake;
                            }
                        }
                        kernel = kernel.add(r - s);
                        row += 1;
                    }
                }
            }
        }
    }
}

dispatch! {
    /// All fields of one order, `[n][2][padded]`.
    fn gather = gather_lanes(fields: &[Operand<'_>], order: &Order<'_>, padded: usize, x: *mut f64)
}

#[inline(always)]
unsafe fn gather_lanes<V: Lanes<Element = f64>>(fields: &[Operand<'_>], order: &Order<'_>, padded: usize, x: *mut f64) {
    for group in 0..padded / LANES {
        // SAFETY: the caller's promise, passed on.
        unsafe { gather_group::<V>(fields, order, group, padded, x) }
    }
}

/// Eight fields of one order, `[n][2][padded]`, from column `8 group`; absent degrees are zero. Columns without a field repeat one: their sums are not read.
#[inline(always)]
unsafe fn gather_group<V: Lanes<Element = f64>>(fields: &[Operand<'_>], order: &Order<'_>, group: usize, padded: usize, x: *mut f64) {
    let (m, start) = (order.m, order.start);
    // SAFETY: `x` holds 2 n rows of `padded`, rounded up to whole vectors; every field holds the coefficients of its bandlimit.
    unsafe {
        let mut sources = [(std::ptr::null::<f64>(), 0usize); LANES];
        // Rows that may be read of every field, beyond the order where the field goes on.
        let mut common = usize::MAX;
        for (lane, source) in sources.iter_mut().enumerate() {
            let field = fields[(group * LANES + lane).min(fields.len() - 1)];
            if field.L <= start {
                common = 0;
                continue;
            }
            let count = 2 * (field.L.min(start + order.n) - start);
            let at = 2 * coefficient_index(field.L, start, m);
            *source = (field.values.as_ptr().add(at), count);
            common = common.min(if count == 2 * order.n { field.values.len() - at } else { count }) / LANES * LANES;
        }
        let x = x.add(group * LANES);
        let mut k = 0;
        while k < common.min(2 * order.n) {
            let rows: [V; 8] = std::array::from_fn(|lane| V::load(sources[lane].0.add(k)));
            for (i, column) in V::transpose8(rows).into_iter().enumerate() {
                column.store(x.add((k + i) * padded));
            }
            k += LANES;
        }
        while k < 2 * order.n {
            for (lane, (source, count)) in sources.iter().enumerate() {
                *x.add(k * padded + lane) = if k < *count { *source.add(k) } else { 0.0 };
            }
            k += 1;
        }
    }
}

/// Running sums: `[part][state][parity of the degree]`.
type Sums<V, const NS: usize> = [[[V; 2]; NS]; 2];

/// One group of eight fields at one order. The scans know N at compile time up to 3; N = 0 stands for any other, read from here.
struct Scan {
    N: usize,
    x: *const f64,
    padded: usize,
    coefficients: *const f64,
    stride: usize,
    intake: *const f64,
    diagonal: *const f64,
    width: usize,
    /// Channels of one chunk, `[degrees][2][channels][8]`.
    y: *mut f64,
    start: usize,
    n: usize,
    /// Sums at the upper end of every chunk.
    ends: *mut f64,
    /// Sums of the degrees below the chunk.
    below: *mut f64,
}

/// Carries the sums over one degree: powers of the difference grow by `step`, everything shrinks by `ratio`.
#[inline(always)]
fn carry<V: Lanes<Element = f64>, const NS: usize>(N: usize, sums: &mut Sums<V, NS>, step: V, ratio: V) {
    for part in 0..2 {
        for parity in 0..2 {
            for i in 1..N {
                let base = i * (i - 1) / 2;
                for pass in 1..i {
                    for s in (pass..i).rev() {
                        sums[part][base + s][parity] = step.fma(sums[part][base + s - 1][parity], sums[part][base + s][parity]);
                    }
                }
                for s in 0..i {
                    sums[part][base + s][parity] = sums[part][base + s][parity].mul(ratio);
                }
            }
        }
    }
}

/// What degrees below (or above) add to the channels of difference 2r at one degree; P is the degree's parity.
#[inline(always)]
unsafe fn emerge<V: Lanes<Element = f64>, const NS: usize, const P: usize>(
    N: usize,
    sums: &Sums<V, NS>,
    coefficients: *const f64,
    stride: usize,
    r: usize,
    term: usize,
) -> ([V; 2], [V; 2]) {
    let (mut even, mut odd) = ([V::zero(); 2], [V::zero(); 2]);
    let mut t = term;
    for i in r..N {
        for s in 0..r {
            // SAFETY: the caller promises the coefficients of all terms.
            let c = unsafe { V::broadcast(coefficients.add(t * stride)) };
            for part in 0..2 {
                even[part] = c.fma(sums[part][i * (i - 1) / 2 + s][P], even[part]);
                odd[part] = c.fma(sums[part][i * (i - 1) / 2 + s][1 - P], odd[part]);
            }
            t += 1;
        }
    }
    (even, odd)
}

impl Scan {
    #[inline(always)]
    fn N<const N: usize>(&self) -> usize {
        if N > 0 { N } else { self.N }
    }

    #[inline(always)]
    unsafe fn load<V: Lanes<Element = f64>>(&self, k: usize) -> [V; 2] {
        // SAFETY: k is below the number of degrees.
        unsafe { [V::load(self.x.add(2 * k * self.padded)), V::load(self.x.add((2 * k + 1) * self.padded))] }
    }

    /// Takes one degree in.
    #[inline(always)]
    unsafe fn absorb<V: Lanes<Element = f64>, const N: usize, const NS: usize, const P: usize>(&self, k: usize, sums: &mut Sums<V, NS>, x: [V; 2]) {
        for i in 1..self.N::<N>() {
            // SAFETY: N - 1 rows of intake of the operator's width.
            let g = unsafe { V::broadcast(self.intake.add((i - 1) * self.width + k)) };
            for part in 0..2 {
                let sum = &mut sums[part][i * (i - 1) / 2][P];
                *sum = g.fma(x[part], *sum);
            }
        }
    }

    /// One degree upwards: diagonal and what lies below; `place` is its position in the chunk.
    #[inline(always)]
    unsafe fn up<V: Lanes<Element = f64>, const N: usize, const NS: usize, const P: usize>(&self, k: usize, place: usize, sums: &mut Sums<V, NS>) {
        let N_ = self.N::<N>();
        // SAFETY: k is below the number of degrees, for which all tables, `x` and `y` hold their rows.
        unsafe {
            let x = self.load::<V>(k);
            let c = channels(N_);
            let y = self.y.add(2 * place * c * LANES);
            let at = |part: usize, channel: usize| y.add((part * c + channel) * LANES);
            let d = V::broadcast(self.diagonal.add(k));
            d.mul(x[0]).store(at(0, 0));
            d.mul(x[1]).store(at(1, 0));
            let coefficients = self.coefficients.add(k);
            let mut term = 1;
            for r in 1..N_ {
                let (even, odd) = emerge::<V, NS, P>(N_, sums, coefficients, self.stride, r, term);
                let d = V::broadcast(coefficients.add((2 * terms(N_) + r) * self.stride));
                for part in 0..2 {
                    d.fma(x[part], even[part]).store(at(part, 2 * r - 1));
                }
                // D = - odd here, as (-1)^(l + k) = -1; the channel is (-D Im x, D Re x).
                odd[1].store(at(0, 2 * r));
                V::zero().sub(odd[0]).store(at(1, 2 * r));
                term += r * (N_ - r);
            }
            self.absorb::<V, N, NS, P>(k, sums, x);
            carry::<V, NS>(N_, sums, V::splat(2.0 * (self.start + k + 1) as f64), V::broadcast(coefficients.add(1)));
        }
    }

    /// One degree downwards: what lies above is added.
    #[inline(always)]
    unsafe fn down<V: Lanes<Element = f64>, const N: usize, const NS: usize, const P: usize>(&self, k: usize, place: usize, sums: &mut Sums<V, NS>) {
        let N_ = self.N::<N>();
        // SAFETY: as `up`.
        unsafe {
            let c = channels(N_);
            let y = self.y.add(2 * place * c * LANES);
            let coefficients = self.coefficients.add(k);
            let add = |part: usize, channel: usize, value: V| {
                let at = y.add((part * c + channel) * LANES);
                V::load(at).add(value).store(at);
            };
            let mut term = 1 + terms(N_);
            for r in 1..N_ {
                let (even, odd) = emerge::<V, NS, P>(N_, sums, coefficients, self.stride, r, term);
                add(0, 2 * r - 1, even[0]);
                add(1, 2 * r - 1, even[1]);
                add(0, 2 * r, V::zero().sub(odd[1]));
                add(1, 2 * r, odd[0]);
                term += r * (N_ - r);
            }
            self.descend::<V, N, NS, P>(k, sums);
        }
    }

    /// One degree downwards, sums alone.
    #[inline(always)]
    unsafe fn descend<V: Lanes<Element = f64>, const N: usize, const NS: usize, const P: usize>(&self, k: usize, sums: &mut Sums<V, NS>) {
        // SAFETY: as `up`.
        unsafe {
            let x = self.load::<V>(k);
            self.absorb::<V, N, NS, P>(k, sums, x);
            carry::<V, NS>(self.N::<N>(), sums, V::splat(2.0 * (self.start + k) as f64), V::broadcast(self.coefficients.add(k)));
        }
    }
}

/// Degrees handled together: their channels, 640 bytes per degree for N = 3, stay in the first-level cache until they are used. Even.
const CHUNK: usize = 32;

dispatch! {
    /// The pass downwards that keeps the sums at the chunks' upper ends, and zero sums below the first chunk.
    fn find_ends = find_ends_lanes(scan: &Scan)
}

#[inline(always)]
unsafe fn find_ends_lanes<V: Lanes<Element = f64>>(scan: &Scan) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match scan.N {
            1 => {}
            2 => find_ends_of::<V, 2, 1>(scan),
            3 => find_ends_of::<V, 3, 3>(scan),
            _ => find_ends_of::<V, 0, { states(LARGEST_N) }>(scan),
        }
    }
}

#[inline(always)]
unsafe fn find_ends_of<V: Lanes<Element = f64>, const N: usize, const NS: usize>(scan: &Scan) {
    let size = NS * 4 * LANES;
    // SAFETY: the caller promises room for the sums of all chunks.
    unsafe {
        let mut sums: Sums<V, NS> = [[[V::zero(); 2]; NS]; 2];
        store_sums::<V, NS>(&sums, scan.below);
        if scan.n <= CHUNK {
            return store_sums::<V, NS>(&sums, scan.ends);
        }
        let mut k = scan.n;
        while k > 0 {
            if k.is_multiple_of(CHUNK) || k == scan.n {
                store_sums::<V, NS>(&sums, scan.ends.add((k - 1) / CHUNK * size));
            }
            if k % 2 == 1 {
                scan.descend::<V, N, NS, 0>(k - 1, &mut sums);
                k -= 1;
            } else {
                scan.descend::<V, N, NS, 1>(k - 1, &mut sums);
                scan.descend::<V, N, NS, 0>(k - 2, &mut sums);
                k -= 2;
            }
        }
    }
}

dispatch! {
    /// The channels of degrees from..to, one chunk: upwards from the sums below it, then downwards from those above.
    fn scan_chunk = scan_chunk_lanes(scan: &Scan, from: usize, to: usize)
}

#[inline(always)]
unsafe fn scan_chunk_lanes<V: Lanes<Element = f64>>(scan: &Scan, from: usize, to: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match scan.N {
            1 => scan_chunk_of::<V, 1, 0>(scan, from, to),
            2 => scan_chunk_of::<V, 2, 1>(scan, from, to),
            3 => scan_chunk_of::<V, 3, 3>(scan, from, to),
            _ => scan_chunk_of::<V, 0, { states(LARGEST_N) }>(scan, from, to),
        }
    }
}

#[inline(always)]
unsafe fn scan_chunk_of<V: Lanes<Element = f64>, const N: usize, const NS: usize>(scan: &Scan, from: usize, to: usize) {
    // SAFETY: the caller promises filled coefficients, the sums at the ends and room for the chunk.
    unsafe {
        let mut sums = load_sums::<V, NS>(scan.below);
        let mut k = from;
        while k + 2 <= to {
            scan.up::<V, N, NS, 0>(k, k - from, &mut sums);
            scan.up::<V, N, NS, 1>(k + 1, k + 1 - from, &mut sums);
            k += 2;
        }
        if k < to {
            scan.up::<V, N, NS, 0>(k, k - from, &mut sums);
        }
        if N == 1 {
            return;
        }
        store_sums::<V, NS>(&sums, scan.below);
        let mut sums = load_sums::<V, NS>(scan.ends.add(from / CHUNK * NS * 4 * LANES));
        let mut k = to;
        if k % 2 == 1 {
            k -= 1;
            scan.down::<V, N, NS, 0>(k, k - from, &mut sums);
        }
        while k > from {
            scan.down::<V, N, NS, 1>(k - 1, k - 1 - from, &mut sums);
            scan.down::<V, N, NS, 0>(k - 2, k - 2 - from, &mut sums);
            k -= 2;
        }
    }
}

#[inline(always)]
unsafe fn store_sums<V: Lanes<Element = f64>, const NS: usize>(sums: &Sums<V, NS>, to: *mut f64) {
    for (i, value) in sums.iter().flatten().flatten().enumerate() {
        // SAFETY: the caller promises room for all sums.
        unsafe { value.store(to.add(i * LANES)) }
    }
}

#[inline(always)]
unsafe fn load_sums<V: Lanes<Element = f64>, const NS: usize>(from: *const f64) -> Sums<V, NS> {
    let mut sums: Sums<V, NS> = [[[V::zero(); 2]; NS]; 2];
    for (i, value) in sums.iter_mut().flatten().flatten().enumerate() {
        // SAFETY: the caller promises all sums.
        *value = unsafe { V::load(from.add(i * LANES)) };
    }
    sums
}

/// Scratch of one task: scan coefficients, fields of one order, one chunk of channels, sums.
struct Work<'a> {
    operator: &'a FrameOperator,
    padded: usize,
    coefficients: *mut f64,
    x: *mut f64,
    y: *mut f64,
    ends: *mut f64,
    below: *mut f64,
    /// Behind everything else.
    rest: *mut f64,
}

impl<'a> Work<'a> {
    /// Divides `scratch_len(padded)` f64.
    unsafe fn new(operator: &'a FrameOperator, padded: usize, scratch: *mut f64) -> Self {
        let parts = operator.scratch_parts(padded);
        let mut at = scratch;
        let mut next = |len: usize| {
            let part = at;
            at = at.wrapping_add(len);
            part
        };
        let (coefficients, x, y, ends, below) = (next(parts[0]), next(parts[1]), next(parts[2]), next(parts[3]), next(parts[4]));
        Self { operator, padded, coefficients, x, y, ends, below, rest: at }
    }

    /// Fills the coefficients of one order and gathers all fields.
    unsafe fn order(&self, m: usize, fields: &[Operand<'_>]) -> Order<'a> {
        let start = self.operator.start(m);
        let (_, stride) = self.operator.coefficient_rows();
        let order = Order { operator: self.operator, m, start, n: self.operator.last - start, coefficients: self.coefficients, stride };
        // SAFETY: scratch was divided for this operator, low <= m < last.
        unsafe {
            fill_coefficients(&order);
            gather(fields, &order, self.padded, self.x);
        }
        order
    }

    /// Calls `user(from, to, channels)` for every chunk of one group of eight fields.
    unsafe fn channels(&self, order: &Order<'_>, group: usize, mut user: impl FnMut(usize, usize, *const f64)) {
        let op = self.operator;
        let shift = order.start - op.first;
        let scan = Scan {
            N: op.N,
            x: self.x.wrapping_add(group * LANES),
            padded: self.padded,
            coefficients: order.coefficients,
            stride: order.stride,
            intake: op.intake.as_ptr().wrapping_add(shift),
            diagonal: op.diagonal.as_ptr().wrapping_add(shift),
            width: op.width(),
            y: self.y,
            start: order.start,
            n: order.n,
            ends: self.ends,
            below: self.below,
        };
        // SAFETY: the order was filled and gathered.
        unsafe {
            find_ends(&scan);
            let mut from = 0;
            while from < order.n {
                let to = order.n.min(from + CHUNK);
                scan_chunk(&scan, from, to);
                user(from, to, self.y);
                from = to;
            }
        }
    }
}

/// sums\[c\]\[a\]\[8\] += sum over rows of x\[row\]\[a\] y\[row\]\[c\]\[8\] for A fields and C channels.
#[inline(always)]
unsafe fn outer<V: Lanes<Element = f64>, const A: usize, const C: usize>(
    rows: usize,
    x: *const f64,
    x_stride: usize,
    y: *const f64,
    y_stride: usize,
    sums: *mut f64,
    channel_stride: usize,
    field_stride: usize,
) {
    // SAFETY: the caller promises the rows and the sums.
    unsafe {
        let mut acc = [[V::zero(); C]; A];
        let (mut x, mut y) = (x, y);
        for _ in 0..rows {
            let mut ys = [V::zero(); C];
            for c in 0..C {
                ys[c] = V::load(y.add(c * LANES));
            }
            for a in 0..A {
                let value = V::broadcast(x.add(a));
                for c in 0..C {
                    acc[a][c] = value.fma(ys[c], acc[a][c]);
                }
            }
            x = x.add(x_stride);
            y = y.add(y_stride);
        }
        for a in 0..A {
            for c in 0..C {
                let at = sums.add(c * channel_stride + a * field_stride);
                V::load(at).add(acc[a][c]).store(at);
            }
        }
    }
}

dispatch! {
    /// All tiles of one group of eight second fields that the form wants; a tile is four first fields.
    fn outer_tiles = outer_tiles_lanes(form: &GramForm, rows: usize, x: *const f64, y: *const f64, n_channels: usize, group: usize, sums: *mut f64)
}

#[inline(always)]
unsafe fn outer_tiles_lanes<V: Lanes<Element = f64>>(
    form: &GramForm,
    rows: usize,
    x: *const f64,
    y: *const f64,
    n_channels: usize,
    group: usize,
    sums: *mut f64,
) {
    let (padded, n_fields, wanted) = (form.padded, form.fields.len(), &form.wanted);
    let tiles = padded / 4;
    // SAFETY: the caller promises `rows` rows of x and y and the sums of all channels and fields.
    unsafe {
        let mut next = 0;
        while next < tiles {
            let tile = next;
            next += 1;
            if !wanted[group * tiles + tile] {
                continue;
            }
            let a = 4 * tile;
            // The sums of one channel of one tile are too few to hide the latency of the additions.
            if n_channels == 1 && V::SUMS >= 24 && next < tiles && wanted[group * tiles + next] {
                outer::<V, 8, 1>(rows, x.add(a), padded, y, LANES, sums.add(a * padded + group * LANES), padded * padded, padded);
                next += 1;
                continue;
            }
            let mut c = 0;
            while c < n_channels {
                let at = sums.add((c * padded + a) * padded + group * LANES);
                let (x, y, ys) = (x.add(a), y.add(c * LANES), n_channels * LANES);
                let (cs, fs) = (padded * padded, padded);
                let left = n_channels - c;
                // As many sums as there are registers for.
                let one = V::SUMS < 24;
                match (left, n_fields - a) {
                    (_, 3..) if one => outer::<V, 4, 1>(rows, x, padded, y, ys, at, cs, fs),
                    (2.., _) if one => outer::<V, 2, 2>(rows, x, padded, y, ys, at, cs, fs),
                    _ if one => outer::<V, 2, 1>(rows, x, padded, y, ys, at, cs, fs),
                    (5.., 4..) => outer::<V, 4, 5>(rows, x, padded, y, ys, at, cs, fs),
                    (5.., 3) => outer::<V, 3, 5>(rows, x, padded, y, ys, at, cs, fs),
                    (5.., 2) => outer::<V, 2, 5>(rows, x, padded, y, ys, at, cs, fs),
                    (5.., _) => outer::<V, 1, 5>(rows, x, padded, y, ys, at, cs, fs),
                    (3..5, _) => outer::<V, 4, 3>(rows, x, padded, y, ys, at, cs, fs),
                    _ => outer::<V, 4, 1>(rows, x, padded, y, ys, at, cs, fs),
                }
                c += match left {
                    2.. if one && n_fields - a < 3 => 2,
                    _ if one => 1,
                    5.. => 5,
                    3.. => 3,
                    _ => 1,
                };
            }
        }
    }
}

/// One scale of a [`FrameGramPlan`].
#[derive(Debug, Clone)]
struct GramForm {
    operator: Arc<FrameOperator>,
    /// Which of the caller's fields.
    fields: Vec<u32>,
    padded: usize,
    /// `[group of 8][tile of 4]`.
    wanted: Vec<bool>,
    /// Per output: smaller and larger field, direction, place among all outputs.
    outputs: Vec<(u32, u32, u32, u32)>,
    /// Ranges of orders that are summed apart.
    chunks: Vec<(usize, usize)>,
}

/// Bilinear forms x_a . Q_g x_b of several scales among fields of coefficients.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::frame::*;
/// # use scatterc_kernels::harmonic::HarmonicTransform;
/// # use std::sync::Arc;
/// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
/// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
/// # let n = wavelets.coefficients_len();
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// # let (x, y) = (numbers(1.1), numbers(0.7));
/// // Q_g of scale 2 for L = 8 and N = 2: three directions.
/// // The wavelet power of x in direction 0, and the covariance of x and y in direction 1.
/// let plan = FrameGramPlan::new(vec![(operator.clone(), vec![(0, 0, 0), (0, 1, 1)])]);
/// let mut out = [0.0; 2];
/// plan.run(&Serial, &[&x, &y], &[8, 8], &mut out);
/// assert!(out[0] > 0.0);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameGramPlan {
    forms: Vec<GramForm>,
}

/// The wanted forms of one scale: (field a, field b, direction g).
pub type Pairs = Vec<(u32, u32, u32)>;

/// Items split into sets that share no node, each in its order: maps of a batch never meet, and what is computed for all pairs of fields stays small.
pub(crate) fn components<T: Copy>(items: &[T], nodes: impl Fn(&T) -> [u64; 2]) -> Vec<Vec<T>> {
    let mut parent: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
    fn root(parent: &mut std::collections::HashMap<u64, u64>, mut node: u64) -> u64 {
        loop {
            let above = *parent.entry(node).or_insert(node);
            if above == node {
                return node;
            }
            let next = parent.get(&above).copied().unwrap_or(above);
            parent.insert(node, next);
            node = next;
        }
    }
    for item in items {
        let [a, b] = nodes(item);
        let (a, b) = (root(&mut parent, a), root(&mut parent, b));
        parent.insert(a.max(b), a.min(b));
    }
    let mut sets: Vec<Vec<T>> = Vec::new();
    let mut known: std::collections::HashMap<u64, usize> = std::collections::HashMap::new();
    for item in items {
        let root = root(&mut parent, nodes(item)[0]);
        let set = *known.entry(root).or_insert_with(|| {
            sets.push(Vec::new());
            sets.len() - 1
        });
        sets[set].push(*item);
    }
    sets
}

/// Local numbers of the fields named, in order of first use.
pub(crate) fn compact(names: impl Iterator<Item = u32>) -> (Vec<u32>, std::collections::HashMap<u32, u32>) {
    let mut fields = Vec::new();
    let mut local = std::collections::HashMap::new();
    for name in names {
        local.entry(name).or_insert_with(|| {
            fields.push(name);
            fields.len() as u32 - 1
        });
    }
    (fields, local)
}

/// Contiguous ranges of orders of about equal work, few enough to add up quickly.
fn chunked(operator: &FrameOperator, padded: usize) -> Vec<(usize, usize)> {
    let work = |m: usize| operator.last - operator.start(m);
    let total: usize = (operator.low..operator.last).map(work).sum();
    let count = (total * padded / 30_000).clamp(1, 24);
    let mut out = Vec::new();
    let (mut from, mut sum) = (operator.low, 0);
    for m in operator.low..operator.last {
        sum += work(m);
        if sum * count >= total * (out.len() + 1) {
            out.push((from, m + 1));
            from = m + 1;
        }
    }
    if from < operator.last {
        out.push((from, operator.last));
    }
    out
}

impl FrameGramPlan {
    /// Arranges the forms; outputs follow in the order of `forms` and their pairs. Panics if a direction does not exist.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameGramPlan::new(vec![(operator, vec![(0, 0, 0)])]).flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn new(forms: Vec<(Arc<FrameOperator>, Pairs)>) -> Self {
        let mut count = 0;
        let mut arranged = Vec::new();
        for (operator, pairs) in forms {
            assert!(pairs.iter().all(|p| (p.2 as usize) < operator.n_directions()), "directions are below {}", operator.n_directions());
            let placed: Vec<(u32, u32, u32, u32)> = pairs.iter().enumerate().map(|(k, (a, b, g))| (*a, *b, *g, (count + k) as u32)).collect();
            count += pairs.len();
            for pairs in components(&placed, |p| [u64::from(p.0), u64::from(p.1)]) {
                let (fields, local) = compact(pairs.iter().flat_map(|p| [p.0, p.1]));
                let padded = fields.len().next_multiple_of(LANES);
                let tiles = padded / 4;
                let mut wanted = vec![false; padded / LANES * tiles];
                let mut outputs: Vec<(u32, u32, u32, u32)> = pairs
                    .iter()
                    .map(|(a, b, g, place)| {
                        // x . Q y = y . Q x: the smaller field is the row.
                        let (a, b) = (local[a].min(local[b]), local[a].max(local[b]));
                        wanted[b as usize / LANES * tiles + a as usize / 4] = true;
                        (a, b, *g, *place)
                    })
                    .collect();
                outputs.sort_unstable();
                let chunks = chunked(&operator, padded);
                arranged.push(GramForm { operator: operator.clone(), fields, padded, wanted, outputs, chunks });
            }
        }
        let forms = arranged;
        Self { forms }
    }

    /// Flops as executed.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// let flops = |pairs: Pairs| FrameGramPlan::new(vec![(operator.clone(), pairs)]).flops();
    /// assert!(flops(vec![(0, 0, 0), (0, 1, 0)]) >= flops(vec![(0, 0, 0)]));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        let form = |f: &GramForm| {
            let tiles = f.wanted.iter().filter(|w| **w).count();
            f.operator.scan_flops() * f.padded as f64 + f.operator.pair_flops() * (tiles * 4 * LANES) as f64
        };
        self.forms.iter().map(form).sum()
    }

    /// Number of f64 of scratch memory each thread keeps.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameGramPlan::new(vec![(operator, vec![(0, 0, 0)])]).scratch_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        self.forms.iter().map(|f| f.operator.scratch_len(f.padded).max(f.operator.low_scratch(f.padded, 0))).max().unwrap_or(0)
    }

    /// Number of f64 of the partial sums of one run.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameGramPlan::new(vec![(operator, vec![(0, 0, 0)])]).partial_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn partial_len(&self) -> usize {
        self.forms.iter().map(|f| (f.chunks.len() + 1) * f.operator.n_directions() * f.padded * f.padded).sum()
    }

    /// Bytes of the lists of forms.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameGramPlan::new(vec![(operator, vec![(0, 0, 0)])]).list_bytes() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn list_bytes(&self) -> usize {
        self.forms.iter().map(|f| 16 * f.outputs.len()).sum()
    }

    /// `out` := the wanted forms. `fields[f]` are the coefficients of bandlimit `bandlimits[f]`; degrees beyond count as zero. Panics if a length is wrong.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// // x . Q_g y, as `apply` has it.
    /// let mut out = [0.0];
    /// FrameGramPlan::new(vec![(operator.clone(), vec![(0, 1, 2)])]).run(&Serial, &[&x, &y], &[8, 8], &mut out);
    /// let mut all = vec![vec![0.0; n]; 3];
    /// operator.apply(&Serial, &y, 8, &mut all.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), 8);
    /// assert!((out[0] - dot(&x, &all[2])).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn run(&self, par: &dyn Parallel, fields: &[&[f64]], bandlimits: &[usize], out: &mut [f64]) {
        assert_eq!(out.len(), self.forms.iter().map(|f| f.outputs.len()).sum::<usize>(), "one output per pair");
        check(fields, bandlimits);
        let mut partial = Zeros::new(self.partial_len());
        let shared = Shared::new(&mut partial);
        // The largest first, so that the last tasks are small.
        let mut tasks = Vec::new();
        let mut at = 0;
        for form in &self.forms {
            let size = form.operator.n_directions() * form.padded * form.padded;
            for chunk in std::iter::once(None).chain(form.chunks.iter().map(Some)) {
                tasks.push((form, chunk, at));
                at += size;
            }
        }
        tasks.sort_by_key(|(form, chunk, at)| (std::cmp::Reverse(chunk.map_or(0, |_| form.operator.cells())), *at));
        par.for_each(tasks.len(), &|i| {
            let (form, chunk, at) = &tasks[i];
            let operands: Vec<Operand<'_>> =
                form.fields.iter().map(|f| Operand { values: fields[*f as usize], L: bandlimits[*f as usize] }).collect();
            // SAFETY: every task has its own part of `partial`.
            let sums = unsafe { shared.get().add(*at) };
            match chunk {
                Some((from, to)) => with_scratch(form.operator.scratch_len(form.padded), |scratch| {
                    // SAFETY: the fields hold their coefficients, scratch and sums have the lengths of the form.
                    unsafe { gram_orders(form, &operands, *from, *to, scratch, sums) }
                }),
                None => gram_low(form, &operands, sums),
            }
        });
        let mut at = 0;
        for form in &self.forms {
            let (G, padded) = (form.operator.n_directions(), form.padded);
            let size = G * padded * padded;
            let (low, chunks) = partial[at..at + (form.chunks.len() + 1) * size].split_at_mut(size);
            if let Some((total, rest)) = chunks.split_at_mut_checked(size) {
                for chunk in rest.chunks_exact(size) {
                    total.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
                }
            }
            // All directions of a pair read the same channels, which lie far apart.
            let mut channels = vec![0.0; if form.chunks.is_empty() { 0 } else { G }];
            let mut known = None;
            for (a, b, g, place_out) in &form.outputs {
                let place = *a as usize * padded + *b as usize;
                if known.replace(place) != Some(place) {
                    channels.iter_mut().enumerate().for_each(|(c, channel)| *channel = chunks[c * padded * padded + place]);
                }
                let row = &form.operator.directions[*g as usize * G..][..G];
                let harmonic: f64 = row.iter().zip(&channels).map(|(factor, channel)| factor * channel).sum();
                out[*place_out as usize] = harmonic + low[*g as usize * padded * padded + place];
            }
            at += (form.chunks.len() + 1) * size;
        }
    }
}

fn check(fields: &[&[f64]], bandlimits: &[usize]) {
    assert_eq!(fields.len(), bandlimits.len(), "one bandlimit per field");
    for (field, L) in fields.iter().zip(bandlimits) {
        assert_eq!(field.len(), crate::layout::coefficients_len(*L), "coefficients have bandlimit {L}");
    }
}

/// Adds up the forms of orders from..to.
unsafe fn gram_orders(form: &GramForm, fields: &[Operand<'_>], from: usize, to: usize, scratch: *mut f64, sums: *mut f64) {
    let operator = &*form.operator;
    let padded = form.padded;
    // SAFETY: the caller gives `scratch_len` f64 of scratch and the sums of all channels.
    unsafe {
        let work = Work::new(operator, padded, scratch);
        for m in from..to {
            let order = work.order(m, fields);
            if m == 0 {
                // Only N = 1 has m = 0 here: F_0 is real and counts half as often.
                for k in 0..order.n {
                    for f in 0..padded {
                        *work.x.add(2 * k * padded + f) *= std::f64::consts::FRAC_1_SQRT_2;
                        *work.x.add((2 * k + 1) * padded + f) = 0.0;
                    }
                }
            }
            for group in 0..padded / LANES {
                work.channels(&order, group, |from, to, y| {
                    outer_tiles(form, 2 * (to - from), work.x.add(2 * from * padded), y, channels(operator.N), group, sums);
                });
            }
        }
    }
}

/// Half spectra with orders below `low` in every direction, `[g][numbers][padded]`.
fn low_rows(operator: &FrameOperator, fields: &[Operand<'_>], padded: usize) -> Zeros {
    let (low, K, N, G) = (operator.low, operator.low_len(), operator.N, operator.n_directions());
    let mut rows = Zeros::new(G * K * padded);
    let prefix = operator.wavelets.orders_len(low);
    let mut packed = Zeros::new(LANES * prefix);
    let mut rings = Zeros::new(LANES * N * K);
    let steering = wavelets::steering_matrix(N);
    for (group, fields) in fields.chunks(LANES).enumerate() {
        packed.fill(0.0);
        for (field, packed) in fields.iter().zip(packed.chunks_exact_mut(prefix)) {
            for m in 0..low {
                let start = operator.start(m);
                let end = field.L.min(operator.last);
                if end > start {
                    let (from, to) = (2 * coefficient_index(field.L, start, m), 2 * coefficient_index(operator.L, start, m));
                    packed[to..to + 2 * (end - start)].copy_from_slice(&field.values[from..from + 2 * (end - start)]);
                }
            }
        }
        let inputs: Vec<&[f64]> = packed.chunks_exact(prefix).take(fields.len()).collect();
        let mut outputs: Vec<&mut [f64]> = rings.chunks_exact_mut(N * K).take(fields.len()).collect();
        operator.wavelets.synthesis_of_orders(&Serial, &inputs, low, &mut outputs);
        let pointers: Vec<*const f64> = rings.chunks_exact(N * K).take(fields.len()).map(<[f64]>::as_ptr).collect();
        // SAFETY: every pointer leads to N K numbers, rows hold G K padded.
        unsafe { steer_rows(&pointers, &steering, K, N, padded, rows.as_mut_ptr().wrapping_add(group * LANES)) };
    }
    rows
}

dispatch! {
    fn steer_rows = steer_rows_lanes(rings: &[*const f64], steering: &[f64], K: usize, N: usize, padded: usize, rows: *mut f64)
}

/// Channels of up to eight fields to directions, fields in lanes.
#[inline(always)]
unsafe fn steer_rows_lanes<V: Lanes<Element = f64>>(rings: &[*const f64], steering: &[f64], K: usize, N: usize, padded: usize, rows: *mut f64) {
    // SAFETY: the caller promises N K numbers per field and rows of all directions; K is a multiple of the lanes.
    unsafe {
        for g in 0..2 * N - 1 {
            for k in (0..K).step_by(LANES) {
                let mut values = [V::zero(); LANES];
                for (lane, ring) in rings.iter().enumerate() {
                    for c in 0..N {
                        values[lane] = V::splat(steering[g * N + c]).fma(V::load(ring.add(c * K + k)), values[lane]);
                    }
                }
                for (i, row) in V::transpose8(values).into_iter().enumerate() {
                    row.store(rows.add((g * K + k + i) * padded));
                }
            }
        }
    }
}

/// Adds up products of half spectra of the lowest orders, per direction.
fn gram_low(form: &GramForm, fields: &[Operand<'_>], sums: *mut f64) {
    if form.operator.low == 0 {
        return;
    }
    let rows = low_rows(&form.operator, fields, form.padded);
    with_scratch(form.operator.low_len() * LANES, |scratch| {
        // SAFETY: rows are those of the form, scratch holds one group of rows, sums those of all directions.
        unsafe { gram_rows(form, &rows, scratch, sums) }
    });
}

unsafe fn gram_rows(form: &GramForm, rows: &[f64], scratch: *mut f64, sums: *mut f64) {
    let (K, padded) = (form.operator.low_len(), form.padded);
    // SAFETY: the caller's promise.
    unsafe {
        for g in 0..form.operator.n_directions() {
            let x = rows.as_ptr().add(g * K * padded);
            for group in 0..padded / LANES {
                weigh_rows(&form.operator.ring_weights, x.add(group * LANES), padded, scratch);
                outer_tiles(form, K, x, scratch, 1, group, sums.add(g * padded * padded));
            }
        }
    }
}

dispatch! {
    /// y[row][8] := weight[row] x[row][8].
    fn weigh_rows = weigh_rows_lanes(weights: &[f64], x: *const f64, padded: usize, y: *mut f64)
}

#[inline(always)]
unsafe fn weigh_rows_lanes<V: Lanes<Element = f64>>(weights: &[f64], x: *const f64, padded: usize, y: *mut f64) {
    for (k, w) in weights.iter().enumerate() {
        // SAFETY: the caller promises one row per weight.
        unsafe { V::splat(*w).mul(V::load(x.add(k * padded))).store(y.add(k * LANES)) }
    }
}

// ------------------------------------------------------------------------------------------------ mixtures

/// One scale of a [`FrameMixPlan`].
#[derive(Debug, Clone)]
struct MixForm {
    operator: Arc<FrameOperator>,
    sources: Vec<u32>,
    targets: Vec<u32>,
    /// Sources and targets, padded to lanes.
    padded: usize,
    padded_targets: usize,
    /// (target, source, direction, coefficient).
    terms: Vec<(u32, u32, u32, u32)>,
}

/// Mixtures `out_t = sum z Q_g x_s` over several scales: the adjoint of [`FrameGramPlan`].
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::frame::*;
/// # use scatterc_kernels::harmonic::HarmonicTransform;
/// # use std::sync::Arc;
/// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
/// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
/// # let n = wavelets.coefficients_len();
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// # let (x, y) = (numbers(1.1), numbers(0.7));
/// // Q_g of scale 2 for L = 8 and N = 2: three directions.
/// // 3 Q_0 x - Q_2 y.
/// let plan = FrameMixPlan::new(1, vec![(operator, vec![(0, 0, 0, 0), (0, 1, 2, 1)])]);
/// let mut out = vec![0.0; n];
/// plan.run(&Serial, &[&x, &y], &[8, 8], &[3.0, -1.0], &mut [&mut out], &[8]);
/// assert!(out.iter().any(|z| *z != 0.0));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameMixPlan {
    forms: Vec<MixForm>,
    n_targets: usize,
}

/// The terms of one scale: (target, source, direction g, coefficient).
pub type MixTerms = Vec<(u32, u32, u32, u32)>;

impl FrameMixPlan {
    /// Arranges the terms. Panics if a direction or target does not exist.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameMixPlan::new(1, vec![(operator, vec![(0, 0, 0, 0)])]).flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn new(n_targets: usize, forms: Vec<(Arc<FrameOperator>, MixTerms)>) -> Self {
        let mut arranged = Vec::new();
        for (operator, terms) in forms {
            assert!(terms.iter().all(|t| (t.2 as usize) < operator.n_directions()), "directions are below {}", operator.n_directions());
            assert!(terms.iter().all(|t| (t.0 as usize) < n_targets), "targets are below {n_targets}");
            for terms in components(&terms, |t| [u64::from(t.0) << 1, u64::from(t.1) << 1 | 1]) {
                let (sources, local) = compact(terms.iter().map(|t| t.1));
                let (targets, local_targets) = compact(terms.iter().map(|t| t.0));
                let terms = terms.iter().map(|(t, s, g, c)| (local_targets[t], local[s], *g, *c)).collect();
                let (padded, padded_targets) = (sources.len().next_multiple_of(LANES), targets.len().next_multiple_of(LANES));
                arranged.push(MixForm { operator: operator.clone(), sources, targets, padded, padded_targets, terms });
            }
        }
        let forms = arranged;
        Self { forms, n_targets }
    }

    /// Flops as executed.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// let flops = |terms: MixTerms| FrameMixPlan::new(1, vec![(operator.clone(), terms)]).flops();
    /// assert!(flops(vec![(0, 0, 0, 0), (0, 1, 0, 0)]) >= flops(vec![(0, 0, 0, 0)]));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        let form = |f: &MixForm| f.operator.scan_flops() * f.padded as f64 + f.operator.pair_flops() * (f.padded * f.padded_targets) as f64;
        self.forms.iter().map(form).sum()
    }

    /// Number of f64 of scratch memory each thread keeps.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameMixPlan::new(1, vec![(operator, vec![(0, 0, 0, 0)])]).scratch_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        let form = |f: &MixForm| self.order_scratch(f).max(f.operator.low_scratch(f.padded, f.padded_targets));
        self.forms.iter().map(form).max().unwrap_or(0)
    }

    fn order_scratch(&self, f: &MixForm) -> usize {
        f.operator.scratch_len(f.padded) + (2 * f.operator.width() + LANES) * f.padded_targets
    }

    /// Number of f64 one run needs for all threads: coefficients by channel and direction, results of the lowest orders.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameMixPlan::new(1, vec![(operator, vec![(0, 0, 0, 0)])]).partial_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn partial_len(&self) -> usize {
        let form = |f: &MixForm| 2 * f.operator.n_directions() * f.padded * f.padded_targets + f.targets.len() * f.operator.low_window();
        self.forms.iter().map(form).sum()
    }

    /// Bytes of the lists of terms.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// assert!(FrameMixPlan::new(1, vec![(operator, vec![(0, 0, 0, 0)])]).list_bytes() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn list_bytes(&self) -> usize {
        self.forms.iter().map(|f| 16 * f.terms.len()).sum()
    }

    /// `out[t]` := sum of the terms of t, coefficients of bandlimit `out_bandlimits[t]`. Panics if a length is wrong.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// // The adjoint of a covariance: d(x . Q_g y)/dx = Q_g y.
    /// let mut out = vec![0.0; n];
    /// FrameMixPlan::new(1, vec![(operator.clone(), vec![(0, 0, 1, 0)])]).run(&Serial, &[&y], &[8], &[1.0], &mut [&mut out], &[8]);
    /// let mut form = [0.0];
    /// FrameGramPlan::new(vec![(operator, vec![(0, 1, 1)])]).run(&Serial, &[&x, &y], &[8, 8], &mut form);
    /// assert!((dot(&x, &out) - form[0]).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn run(
        &self,
        par: &dyn Parallel,
        fields: &[&[f64]],
        bandlimits: &[usize],
        coefficients: &[f64],
        out: &mut [&mut [f64]],
        out_bandlimits: &[usize],
    ) {
        check(fields, bandlimits);
        assert_eq!((out.len(), out_bandlimits.len()), (self.n_targets, self.n_targets), "one output and bandlimit per target");
        for (field, L) in out.iter().zip(out_bandlimits) {
            assert_eq!(field.len(), crate::layout::coefficients_len(*L), "coefficients have bandlimit {L}");
        }
        let tables: Vec<MixTables> = self.forms.iter().map(|form| MixTables::new(form, coefficients)).collect();
        // The lowest orders of every scale are mixed on the rings, each scale into its own memory.
        let mut low: Vec<Zeros> = self.forms.iter().map(|form| Zeros::new(form.targets.len() * form.operator.low_window())).collect();
        let low_shared: Vec<Shared> = low.iter_mut().map(|values| Shared::new(values)).collect();
        let largest = out_bandlimits.iter().copied().max().unwrap_or(0);
        let shared = Shared::all(out);
        let task = MixTask { plan: self, tables: &tables, fields, bandlimits, out: &shared, out_bandlimits };
        // Orders in groups of four: neighbours share cache lines of the targets.
        let groups = largest.div_ceil(ORDERS_PER_TASK);
        par.for_each(self.forms.len() + groups, &|i| match self.forms.get(i) {
            Some(form) => {
                let operands: Vec<Operand<'_>> =
                    form.sources.iter().map(|f| Operand { values: fields[*f as usize], L: bandlimits[*f as usize] }).collect();
                let len = form.targets.len() * form.operator.low_window();
                // SAFETY: every scale has its own memory, one part per target.
                let out = unsafe { std::slice::from_raw_parts_mut(low_shared[i].get(), len) };
                mix_low(form, &tables[i], &operands, out);
            }
            None => {
                let from = (i - self.forms.len()) * ORDERS_PER_TASK;
                let len = self.forms.iter().map(|form| self.order_scratch(form)).max().unwrap_or(0);
                with_scratch(len, |scratch| {
                    // SAFETY: lengths were checked; the task writes only its orders.
                    unsafe { mix_orders(&task, from, largest.min(from + ORDERS_PER_TASK), scratch) }
                });
            }
        });
        for (form, low) in self.forms.iter().zip(&low) {
            let window = form.operator.low_window();
            for (target, values) in form.targets.iter().zip(low.chunks_exact(window.max(1))) {
                let (L_out, out) = (out_bandlimits[*target as usize], &mut out[*target as usize]);
                let mut rest = values;
                for m in 0..form.operator.low {
                    let (start, last) = (form.operator.start(m), form.operator.last);
                    let (own, tail) = rest.split_at(2 * last.saturating_sub(start));
                    rest = tail;
                    if last.min(L_out) > start {
                        let at = 2 * coefficient_index(L_out, start, m);
                        out[at..].iter_mut().zip(&own[..2 * (last.min(L_out) - start)]).for_each(|(out, value)| *out += value);
                    }
                }
            }
        }
    }
}

const ORDERS_PER_TASK: usize = 4;

/// Coefficients of one scale by channel (harmonic orders) and direction (lowest orders).
struct MixTables {
    /// `[source][channel][padded targets]`.
    channels: Zeros,
    /// `[direction][source][padded targets]`.
    directions: Zeros,
}

impl MixTables {
    fn new(form: &MixForm, coefficients: &[f64]) -> Self {
        let (G, T) = (form.operator.n_directions(), form.padded_targets);
        let mut directions = Zeros::new(G * form.padded * T);
        for (target, source, g, c) in &form.terms {
            directions[(*g as usize * form.padded + *source as usize) * T + *target as usize] += coefficients[*c as usize];
        }
        let mut channels = Zeros::new(form.padded * G * T);
        for source in 0..form.sources.len() {
            for c in 0..G {
                let to = &mut channels[(source * G + c) * T..][..T];
                for g in 0..G {
                    let factor = form.operator.directions[g * G + c];
                    let from = &directions[(g * form.padded + source) * T..][..T];
                    to.iter_mut().zip(from).for_each(|(sum, z)| *sum += factor * z);
                }
            }
        }
        Self { channels, directions }
    }
}

struct MixTask<'a> {
    plan: &'a FrameMixPlan,
    tables: &'a [MixTables],
    fields: &'a [&'a [f64]],
    bandlimits: &'a [usize],
    out: &'a [Shared],
    out_bandlimits: &'a [usize],
}

/// Orders from..to of all targets.
unsafe fn mix_orders(task: &MixTask<'_>, from: usize, to: usize, scratch: *mut f64) {
    // SAFETY: the caller gives `scratch_len` f64 of scratch and targets whose orders from..to are this task's.
    unsafe {
        for (out, L) in task.out.iter().zip(task.out_bandlimits) {
            let (from, to) = (from.min(*L), to.min(*L));
            let begin = 2 * coefficient_index(*L, from, from);
            let end = if to == *L { crate::layout::coefficients_len(*L) } else { 2 * coefficient_index(*L, to, to) };
            if from < to {
                std::slice::from_raw_parts_mut(out.get().add(begin), end - begin).fill(0.0);
            }
        }
        for (form, tables) in task.plan.forms.iter().zip(task.tables) {
            let operator = &*form.operator;
            let fields: Vec<Operand<'_>> =
                form.sources.iter().map(|f| Operand { values: task.fields[*f as usize], L: task.bandlimits[*f as usize] }).collect();
            let work = Work::new(operator, form.padded, scratch);
            let (sums, T) = (work.rest, form.padded_targets);
            for m in from.max(operator.low)..to.min(operator.last) {
                let order = work.order(m, &fields);
                std::slice::from_raw_parts_mut(sums, 2 * order.n * T).fill(0.0);
                for group in 0..form.padded / LANES {
                    let z = tables.channels.as_ptr().add(group * LANES * channels(operator.N) * T);
                    work.channels(&order, group, |from, to, y| mix_rows(2 * (to - from), y, channels(operator.N), z, T, sums.add(2 * from * T)));
                }
                scatter(task, form, &order, sums);
            }
        }
    }
}

dispatch! {
    /// sums[row][targets] += sum over 8 sources s and channels c of y[row][c][s] z[s][c][targets].
    fn mix_rows = mix_rows_lanes(rows: usize, y: *const f64, n_channels: usize, z: *const f64, padded_targets: usize, sums: *mut f64)
}

#[inline(always)]
unsafe fn mix_rows_lanes<V: Lanes<Element = f64>>(
    rows: usize,
    y: *const f64,
    n_channels: usize,
    z: *const f64,
    padded_targets: usize,
    sums: *mut f64,
) {
    // SAFETY: the caller's promise, passed on. Distances between rows are constants where that matters, so that they need no arithmetic.
    unsafe {
        match n_channels {
            1 => mix_rows_of::<V, 1>(rows, y, 1, z, padded_targets, sums),
            3 => mix_rows_of::<V, 3>(rows, y, 3, z, padded_targets, sums),
            5 => mix_rows_of::<V, 5>(rows, y, 5, z, padded_targets, sums),
            _ => mix_rows_of::<V, 0>(rows, y, n_channels, z, padded_targets, sums),
        }
    }
}

#[inline(always)]
unsafe fn mix_rows_of<V: Lanes<Element = f64>, const C: usize>(
    rows: usize,
    y: *const f64,
    n_channels: usize,
    z: *const f64,
    padded_targets: usize,
    sums: *mut f64,
) {
    let n_channels = if C > 0 { C } else { n_channels };
    // SAFETY: the caller promises the rows of y and sums and the coefficients of eight sources.
    unsafe {
        let mut target = 0;
        while target < padded_targets {
            let two = target + 2 * LANES <= padded_targets;
            let mut row = 0;
            while row + 8 <= rows {
                let (y, z, sums) = (y.add(row * n_channels * LANES), z.add(target), sums.add(row * padded_targets + target));
                if two {
                    mix_tile::<V, C, 8, 2>(y, n_channels, z, padded_targets, sums);
                } else {
                    mix_tile::<V, C, 8, 1>(y, n_channels, z, padded_targets, sums);
                }
                row += 8;
            }
            while row < rows {
                let (y, z, sums) = (y.add(row * n_channels * LANES), z.add(target), sums.add(row * padded_targets + target));
                if two {
                    mix_tile::<V, C, 1, 2>(y, n_channels, z, padded_targets, sums);
                } else {
                    mix_tile::<V, C, 1, 1>(y, n_channels, z, padded_targets, sums);
                }
                row += 1;
            }
            target += if two { 2 * LANES } else { LANES };
        }
    }
}

/// R rows of T groups of eight targets.
#[inline(always)]
unsafe fn mix_tile<V: Lanes<Element = f64>, const C: usize, const R: usize, const T: usize>(
    y: *const f64,
    n_channels: usize,
    z: *const f64,
    padded_targets: usize,
    sums: *mut f64,
) {
    let n_channels = if C > 0 { C } else { n_channels };
    // SAFETY: the caller promises R rows.
    unsafe {
        let mut acc = [[V::zero(); T]; R];
        for r in 0..R {
            for t in 0..T {
                acc[r][t] = V::load(sums.add(r * padded_targets + t * LANES));
            }
        }
        for source in 0..LANES {
            for c in 0..n_channels {
                let z = z.add((source * n_channels + c) * padded_targets);
                let mut zs = [V::zero(); T];
                for t in 0..T {
                    zs[t] = V::load(z.add(t * LANES));
                }
                for r in 0..R {
                    let value = V::broadcast(y.add((r * n_channels + c) * LANES + source));
                    for t in 0..T {
                        acc[r][t] = value.fma(zs[t], acc[r][t]);
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                acc[r][t].store(sums.add(r * padded_targets + t * LANES));
            }
        }
    }
}

dispatch! {
    /// Adds the sums of one order to the targets.
    fn scatter = scatter_lanes(task: &MixTask<'_>, form: &MixForm, order: &Order<'_>, sums: *const f64)
}

#[inline(always)]
unsafe fn scatter_lanes<V: Lanes<Element = f64>>(task: &MixTask<'_>, form: &MixForm, order: &Order<'_>, sums: *const f64) {
    // SAFETY: targets hold the coefficients of their bandlimits; this task owns order m of each.
    unsafe {
        for (group, targets) in form.targets.chunks(LANES).enumerate() {
            let sums = sums.add(group * LANES);
            let places: Vec<(*mut f64, usize)> = targets
                .iter()
                .map(|t| {
                    let L = task.out_bandlimits[*t as usize];
                    if L <= order.start {
                        return (std::ptr::null_mut(), 0);
                    }
                    let at = task.out[*t as usize].get().add(2 * coefficient_index(L, order.start, order.m));
                    (at, 2 * (L.min(order.start + order.n) - order.start))
                })
                .collect();
            // Only N = 1 has m = 0 here; its imaginary part counts nothing and its real part half.
            let common = if order.m == 0 { 0 } else { places.iter().map(|p| p.1).min().unwrap_or(0) / LANES * LANES };
            for k in (0..common).step_by(LANES) {
                let rows: [V; 8] = std::array::from_fn(|i| V::load(sums.add((k + i) * form.padded_targets)));
                for ((at, _), value) in places.iter().zip(V::transpose8(rows)) {
                    V::load(at.add(k)).add(value).store(at.add(k));
                }
            }
            for (lane, (at, count)) in places.iter().enumerate() {
                for k in common..*count {
                    let factor = if order.m > 0 { 1.0 } else { 0.5 * (1 - k % 2) as f64 };
                    *at.add(k) += factor * *sums.add(k * form.padded_targets + lane);
                }
            }
        }
    }
}

/// The mixture on the lowest orders: rings of the sources, weighted and mixed per direction, back to coefficients.
fn mix_low(form: &MixForm, tables: &MixTables, fields: &[Operand<'_>], out: &mut [f64]) {
    let operator = &*form.operator;
    if operator.low_window() == 0 {
        return;
    }
    let (K, N, T) = (operator.low_len(), operator.N, form.padded_targets);
    let rows = low_rows(operator, fields, form.padded);
    let mut mixed = Zeros::new(operator.n_directions() * K * T);
    let mut weighted = Zeros::new(K * LANES);
    // SAFETY: rows, mixed and tables have the sizes of the form.
    unsafe { mix_low_rows(form, tables, &rows, weighted.as_mut_ptr(), mixed.as_mut_ptr()) };
    let steering = wavelets::steering_matrix(N);
    let prefix = operator.wavelets.orders_len(operator.low);
    let mut rings = Zeros::new(LANES * N * K);
    let mut whole = Zeros::new(LANES * prefix);
    let window = operator.low_window();
    for (group, out) in out.chunks_mut(LANES * window).enumerate() {
        let count = out.len() / window;
        // SAFETY: `mixed` holds every direction, `rings` eight fields of N K numbers.
        unsafe { unsteer_rows(mixed.as_ptr().add(group * LANES), &steering, K, N, T, rings.as_mut_ptr()) };
        let inputs: Vec<&[f64]> = rings.chunks_exact(N * K).take(count).collect();
        let mut outputs: Vec<&mut [f64]> = whole.chunks_exact_mut(prefix).take(count).collect();
        operator.wavelets.synthesis_of_orders_adjoint(&Serial, &inputs, operator.low, &mut outputs);
        for (out, whole) in out.chunks_exact_mut(window).zip(whole.chunks_exact(prefix)) {
            let mut rest = out;
            for m in 0..operator.low {
                let (start, n) = (operator.start(m), 2 * operator.last.saturating_sub(operator.start(m)));
                let (own, tail) = rest.split_at_mut(n);
                own.copy_from_slice(&whole[2 * coefficient_index(operator.L, start, m)..][..n]);
                rest = tail;
            }
        }
    }
}

unsafe fn mix_low_rows(form: &MixForm, tables: &MixTables, rows: &[f64], weighted: *mut f64, mixed: *mut f64) {
    let (K, T) = (form.operator.low_len(), form.padded_targets);
    // SAFETY: the caller's promise.
    unsafe {
        for g in 0..form.operator.n_directions() {
            for group in 0..form.padded / LANES {
                let x = rows.as_ptr().add(g * K * form.padded + group * LANES);
                weigh_rows(&form.operator.ring_weights, x, form.padded, weighted);
                let z = tables.directions.as_ptr().add((g * form.padded + group * LANES) * T);
                mix_rows(K, weighted, 1, z, T, mixed.add(g * K * T));
            }
        }
    }
}

dispatch! {
    fn unsteer_rows = unsteer_rows_lanes(rows: *const f64, steering: &[f64], K: usize, N: usize, padded: usize, rings: *mut f64)
}

/// Adjoint of `steer_rows`: directions of eight fields in lanes to their channels, one after another.
#[inline(always)]
unsafe fn unsteer_rows_lanes<V: Lanes<Element = f64>>(rows: *const f64, steering: &[f64], K: usize, N: usize, padded: usize, rings: *mut f64) {
    // SAFETY: the caller promises rows of all directions and room for eight fields; K is a multiple of the lanes.
    unsafe {
        for c in 0..N {
            for k in (0..K).step_by(LANES) {
                let mut values = [V::zero(); LANES];
                for g in 0..2 * N - 1 {
                    let factor = V::splat(steering[g * N + c]);
                    for i in 0..LANES {
                        values[i] = factor.fma(V::load(rows.add((g * K + k + i) * padded)), values[i]);
                    }
                }
                for (field, value) in V::transpose8(values).into_iter().enumerate() {
                    value.store(rings.add((field * N + c) * K + k));
                }
            }
        }
    }
}

impl FrameOperator {
    /// `out[g]` := Q_g x for all directions; x has bandlimit `L_in`, the outputs `L_out`.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// let mut all = vec![vec![0.0; n]; 3];
    /// operator.apply(&Serial, &x, 8, &mut all.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), 8);
    /// // A power is not negative.
    /// assert!(all.iter().all(|q| dot(&x, q) >= 0.0));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply(self: &Arc<Self>, par: &dyn Parallel, x: &[f64], L_in: usize, out: &mut [&mut [f64]], L_out: usize) {
        let G = self.n_directions();
        let terms = (0..G as u32).map(|g| (g, 0, g, 0)).collect();
        FrameMixPlan::new(G, vec![(self.clone(), terms)]).run(par, &[x], &[L_in], &[1.0], out, &vec![L_out; G]);
    }

    /// `out` := sum over directions of Q_g x\[g\], the adjoint of [`Self::apply`] with `L_in` and `L_out` exchanged.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::frame::*;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # use std::sync::Arc;
    /// # let wavelets = Arc::new(HarmonicTransform::wavelet(8, 8, 2, 2)?);
    /// # let operator = Arc::new(FrameOperator::new(8, 2, 2, wavelets.clone())?);
    /// # let n = wavelets.coefficients_len();
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// # let (x, y) = (numbers(1.1), numbers(0.7));
    /// // Q_g of scale 2 for L = 8 and N = 2: three directions.
    /// let mut all = vec![vec![0.0; n]; 3];
    /// operator.apply(&Serial, &x, 8, &mut all.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), 8);
    /// let (given, mut back) = ([&y[..], &x, &y], vec![0.0; n]);
    /// operator.apply_adjoint(&Serial, &given, 8, &mut back, 8);
    /// let forth: f64 = all.iter().zip(given).map(|(q, g)| dot(q, g)).sum();
    /// assert!((forth - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn apply_adjoint(self: &Arc<Self>, par: &dyn Parallel, x: &[&[f64]], L_in: usize, out: &mut [f64], L_out: usize) {
        let G = self.n_directions();
        let terms = (0..G as u32).map(|g| (0, g, g, 0)).collect();
        FrameMixPlan::new(1, vec![(self.clone(), terms)]).run(par, x, &vec![L_in; G], &[1.0], &mut [out], &[L_out]);
    }
}
