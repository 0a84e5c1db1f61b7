//! The transforms of [`crate::harmonic`] and [`crate::fourier`] as written in their definitions: direct sums over natural
//! layouts, one (ell, m, n, theta, phi) at a time. Reference for tests and small runs (L up to 64 in about a second).
//!
//! - coefficients: as [`crate::layout`] (interleaved, m-major)
//! - grid: `[L][2L - 1]`; channels: `[N][L][2L - 1]`
//! - rings: `[L (theta)][M (m >= 0)][re, im]`; channels: `[N]` of these
//!
//! Adjoints are those of the real inner product of the stored numbers. Nothing here uses the symmetries that `harmonic` uses:
//! both signs of m and all rings come from the Wigner functions themselves.

use std::collections::HashMap;
use std::f64::consts::PI;

use crate::KernelError;
use crate::layout::{coefficient_index, coefficients_len};
use crate::sampling::gauss_legendre;
use crate::wavelets::Windows;
use crate::wigner::wigner_d;

/// Wigner functions already computed, shared between calls.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// // One set of Wigner functions for the map and its adjoint.
/// let map = harmonic_inverse(&mut tables, 4, 4, &[0.0; 20])?;
/// assert_eq!(harmonic_inverse_adjoint(&mut tables, 4, 4, &map)?, [0.0; 20]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tables {
    nodes: HashMap<usize, (Vec<f64>, Vec<f64>)>,
    /// (L of the grid, degrees, m, n) to `[theta][degree - max(|m|, |n|)]`.
    wigner: HashMap<(usize, usize, isize, isize), Vec<Vec<f64>>>,
}

impl Tables {
    /// Colatitudes and Gauss-Legendre weights of bandlimit L.
    ///
    /// ```
    /// # use scatterc_kernels::naive::*;
    /// # use scatterc_kernels::wavelets::Windows;
    /// # let mut tables = Tables::default();
    /// # let windows = Windows::wavelet(4, 4, 2, 2)?;
    /// let (theta, weights) = tables.nodes(4);
    /// assert!(theta.len() == 4 && (weights.iter().sum::<f64>() - 2.0).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn nodes(&mut self, L: usize) -> (Vec<f64>, Vec<f64>) {
        self.nodes.entry(L).or_insert_with(|| gauss_legendre(L)).clone()
    }

    fn d(&mut self, L: usize, degrees: usize, m: isize, n: isize) -> Result<&[Vec<f64>], KernelError> {
        if !self.wigner.contains_key(&(L, degrees, m, n)) {
            let rows: Result<Vec<_>, _> = self.nodes(L).0.iter().map(|theta| wigner_d(degrees, m, n, *theta)).collect();
            self.wigner.insert((L, degrees, m, n), rows?);
        }
        Ok(&self.wigner[&(L, degrees, m, n)])
    }
}

type Complex = rustfft::num_complex::Complex<f64>;

fn get(values: &[f64], index: usize) -> Complex {
    Complex::new(values[2 * index], values[2 * index + 1])
}

fn add(values: &mut [f64], index: usize, value: Complex) {
    values[2 * index] += value.re;
    values[2 * index + 1] += value.im;
}

/// conj(psi) / |psi|: 1 for odd N, -i for even N.
fn conj_nu(N: usize) -> Complex {
    if N % 2 == 1 { Complex::new(1.0, 0.0) } else { Complex::new(0.0, -1.0) }
}

/// The Legendre stage of `windows`: rings `[N][L][M = L]` of the real channels.
///
/// F_n(m) = sum_l d^l_{mn} f_lm conj(psi_ln) for both signs of m > 0, f_{l,-m} = (-1)^m conj f_lm;
/// B_m = (F_n(m) + conj F_n(-m)) / 2, C_m = (F_n(m) - conj F_n(-m)) / 2i; at m = 0 Re and Im of F_n(0).
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// // Two channels of four rings with four complex orders.
/// assert_eq!(synthesis(&mut tables, &windows, 4, &[1.0; 20])?.len(), 2 * 4 * 4 * 2);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn synthesis(tables: &mut Tables, windows: &Windows, L_in: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    let (L, N) = (windows.L, windows.N);
    check_len("coefficients", coefficients.len(), coefficients_len(L_in))?;
    let mut out = vec![0.0; N * L * L * 2];
    let mut channel = 0;
    for window in &windows.windows {
        let n = window.n as isize;
        let degrees = window.filter.len();
        let channels = if n == 0 { 1 } else { 2 };
        for m in 0..degrees {
            let l0 = m.max(window.n);
            let u: Vec<Complex> = (l0..degrees).map(|l| get(coefficients, coefficient_index(L_in, l, m)) * window.filter[l] * conj_nu(N)).collect();
            let plus: Vec<Vec<f64>> = tables.d(L, degrees, m as isize, n)?.to_vec();
            let minus = tables.d(L, degrees, -(m as isize), n)?;
            for t in 0..L {
                let at = |c: usize| ((channel + c) * L + t) * L + m;
                let f_plus: Complex = plus[t].iter().zip(&u).map(|(d, u)| u * *d).sum();
                if m == 0 {
                    out[2 * at(0)] = f_plus.re;
                    if n > 0 {
                        out[2 * at(1)] = f_plus.im;
                    }
                    continue;
                }
                // conj F_n(-m) = (-1)^m sum d^l_{-m,n} f_lm psi_ln; psi = u's factor conjugated.
                let parity = if m % 2 == 1 { -1.0 } else { 1.0 };
                let turn = conj_nu(N).conj() * conj_nu(N).conj() * parity;
                let f_minus_conj: Complex = minus[t].iter().zip(&u).map(|(d, u)| u * *d).sum::<Complex>() * turn;
                add(&mut out, at(0), (f_plus + f_minus_conj) * 0.5);
                if n > 0 {
                    add(&mut out, at(1), (f_plus - f_minus_conj) * Complex::new(0.0, -0.5));
                }
            }
        }
        channel += channels;
    }
    Ok(out)
}

/// Adjoint of [`synthesis`]: rings `[N][L][M]` (orders at and above M count as zero) to coefficients.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(20, 1.1), numbers(64, 0.7));
/// let (forth, back) = (synthesis(&mut tables, &windows, 4, &x)?, synthesis_adjoint(&mut tables, &windows, 4, &y, 4)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn synthesis_adjoint(tables: &mut Tables, windows: &Windows, L_in: usize, rings: &[f64], M: usize) -> Result<Vec<f64>, KernelError> {
    let (L, N) = (windows.L, windows.N);
    check_len("rings", rings.len(), N * L * M * 2)?;
    let mut out = vec![0.0; coefficients_len(L_in)];
    let mut channel = 0;
    for window in &windows.windows {
        let n = window.n as isize;
        let degrees = window.filter.len();
        for m in 0..degrees.min(M) {
            let l0 = m.max(window.n);
            let plus: Vec<Vec<f64>> = tables.d(L, degrees, m as isize, n)?.to_vec();
            let minus = tables.d(L, degrees, -(m as isize), n)?;
            let parity = if m % 2 == 1 { -1.0 } else { 1.0 };
            let turn = conj_nu(N).conj() * conj_nu(N).conj() * parity;
            for t in 0..L {
                let at = |c: usize| ((channel + c) * L + t) * M + m;
                let b = get(rings, at(0));
                let c = if n > 0 { get(rings, at(1)) } else { Complex::new(0.0, 0.0) };
                // The real adjoint of multiplication by a complex number is multiplication by its conjugate.
                let (g_plus, g_minus) = if m == 0 {
                    (Complex::new(b.re, c.re), Complex::new(0.0, 0.0))
                } else {
                    let i_c = c * Complex::new(0.0, 0.5);
                    (b * 0.5 + i_c, (b * 0.5 - i_c) * turn.conj())
                };
                for l in l0..degrees {
                    let mut g = g_plus * plus[t][l - l0];
                    if m > 0 {
                        g += g_minus * minus[t][l - l0];
                    }
                    add(&mut out, coefficient_index(L_in, l, m), g * window.filter[l] * conj_nu(N).conj());
                }
            }
        }
        channel += if n == 0 { 1 } else { 2 };
    }
    Ok(out)
}

/// a_lm = sqrt((2l + 1) / 4 pi) sum_t w_t 2 pi / (2L - 1) d^l_{m0}(theta_t) F_m(t), l < L_out, m < min(M, L_out).
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// // Half spectra of the constant 1, which sum over 7 samples.
/// let rings: Vec<f64> = (0..4 * 4 * 2).map(|k| if k % 8 == 0 { 7.0 } else { 0.0 }).collect();
/// assert!((analysis(&mut tables, 4, 4, 4, &rings)?[0] - (4.0 * std::f64::consts::PI).sqrt()).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn analysis(tables: &mut Tables, L: usize, L_out: usize, M: usize, rings: &[f64]) -> Result<Vec<f64>, KernelError> {
    check_len("rings", rings.len(), L * M * 2)?;
    let weights = tables.nodes(L).1;
    let mut out = vec![0.0; coefficients_len(L_out)];
    for m in 0..M.min(L_out) {
        let d = tables.d(L, L_out, m as isize, 0)?;
        for l in m..L_out {
            let norm = ((2 * l + 1) as f64 / (4.0 * PI)).sqrt() * 2.0 * PI / (2 * L - 1) as f64;
            for t in 0..L {
                let mut value = get(rings, t * M + m) * (weights[t] * norm * d[t][l - m]);
                if m == 0 {
                    value.im = 0.0;
                }
                add(&mut out, coefficient_index(L_out, l, m), value);
            }
        }
    }
    Ok(out)
}

/// Adjoint of [`analysis`]: coefficients to rings `[L][M]`.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(32, 1.1), numbers(20, 0.7));
/// let (forth, back) = (analysis(&mut tables, 4, 4, 4, &x)?, analysis_adjoint(&mut tables, 4, 4, 4, &y)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn analysis_adjoint(tables: &mut Tables, L: usize, L_out: usize, M: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    check_len("coefficients", coefficients.len(), coefficients_len(L_out))?;
    let weights = tables.nodes(L).1;
    let mut out = vec![0.0; L * M * 2];
    for m in 0..M.min(L_out) {
        let d = tables.d(L, L_out, m as isize, 0)?;
        for l in m..L_out {
            let norm = ((2 * l + 1) as f64 / (4.0 * PI)).sqrt() * 2.0 * PI / (2 * L - 1) as f64;
            let mut value = get(coefficients, coefficient_index(L_out, l, m));
            if m == 0 {
                value.im = 0.0;
            }
            for t in 0..L {
                add(&mut out, t * M + m, value * (weights[t] * norm * d[t][l - m]));
            }
        }
    }
    Ok(out)
}

fn phase(L: usize, m: usize, p: usize) -> Complex {
    let n_phi = 2 * L - 1;
    let angle = 2.0 * PI * ((m * p) % n_phi) as f64 / n_phi as f64;
    Complex::new(angle.cos(), angle.sin())
}

/// value(phi_p) = Re F_0 + 2 Re sum_{m>0} F_m e^{i m phi_p}: rings `[L][M]` to a grid.
///
/// ```
/// use scatterc_kernels::naive::ring_inverse;
///
/// // F_1 = 1/2 on one ring of L = 1.. of two: cos(phi).
/// let map = ring_inverse(2, 2, &[0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])?;
/// assert!((map[0] - 1.0).abs() < 1e-15 && (map[1] + 0.5).abs() < 1e-15 && map[3..] == [0.0; 3]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn ring_inverse(L: usize, M: usize, rings: &[f64]) -> Result<Vec<f64>, KernelError> {
    check_len("rings", rings.len(), L * M * 2)?;
    let mut grid = vec![0.0; L * (2 * L - 1)];
    for t in 0..L {
        for p in 0..2 * L - 1 {
            for m in 0..M {
                let factor = if m == 0 { 1.0 } else { 2.0 };
                let value = if m == 0 { rings[2 * t * M] } else { (get(rings, t * M + m) * phase(L, m, p)).re };
                grid[t * (2 * L - 1) + p] += factor * value;
            }
        }
    }
    Ok(grid)
}

/// Adjoint of [`ring_inverse`]: a grid to rings `[L][M]`.
///
/// ```
/// use scatterc_kernels::naive::{ring_inverse, ring_inverse_adjoint};
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
///
/// let (x, y) = (numbers(8, 1.1), numbers(6, 0.7));
/// assert!((dot(&ring_inverse(2, 2, &x)?, &y) - dot(&x, &ring_inverse_adjoint(2, 2, &y)?)).abs() < 1e-14);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn ring_inverse_adjoint(L: usize, M: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    let mut rings = ring_forward(L, M, grid)?;
    for (i, value) in rings.iter_mut().enumerate() {
        if (i / 2) % M > 0 {
            *value *= 2.0;
        }
    }
    Ok(rings)
}

/// F_m = sum_p value_p e^{-i m phi_p}, m < M: a grid to rings `[L][M]`; Im F_0 = 0.
///
/// ```
/// use scatterc_kernels::naive::ring_forward;
///
/// assert_eq!(ring_forward(2, 1, &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0])?, [6.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn ring_forward(L: usize, M: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    check_len("grid", grid.len(), L * (2 * L - 1))?;
    let mut rings = vec![0.0; L * M * 2];
    for t in 0..L {
        for m in 0..M {
            for p in 0..2 * L - 1 {
                add(&mut rings, t * M + m, phase(L, m, p).conj() * grid[t * (2 * L - 1) + p]);
            }
        }
    }
    Ok(rings)
}

/// Adjoint of [`ring_forward`]: rings `[L][M]` to a grid.
///
/// ```
/// use scatterc_kernels::naive::{ring_forward, ring_forward_adjoint};
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
///
/// let (x, y) = (numbers(6, 1.1), numbers(8, 0.7));
/// assert!((dot(&ring_forward(2, 2, &x)?, &y) - dot(&x, &ring_forward_adjoint(2, 2, &y)?)).abs() < 1e-14);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn ring_forward_adjoint(L: usize, M: usize, rings: &[f64]) -> Result<Vec<f64>, KernelError> {
    check_len("rings", rings.len(), L * M * 2)?;
    let mut grid = vec![0.0; L * (2 * L - 1)];
    for t in 0..L {
        for p in 0..2 * L - 1 {
            for m in 0..M {
                grid[t * (2 * L - 1) + p] += if m == 0 { rings[2 * t * M] } else { (get(rings, t * M + m) * phase(L, m, p)).re };
            }
        }
    }
    Ok(grid)
}

/// The N channel maps `[N][L][2L - 1]` of any windows.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// assert_eq!(windowed(&mut tables, &windows, 4, &[1.0; 20])?, directional(&mut tables, 4, 4, 2, 2, &[1.0; 20])?);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn windowed(tables: &mut Tables, windows: &Windows, L_in: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    let L = windows.L;
    let rings = synthesis(tables, windows, L_in, coefficients)?;
    let mut out = Vec::new();
    for channel in rings.chunks_exact(L * L * 2) {
        out.extend(ring_inverse(L, L, channel)?);
    }
    Ok(out)
}

/// Adjoint of [`windowed`].
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(20, 1.1), numbers(2 * 4 * 7, 0.7));
/// let (forth, back) = (windowed(&mut tables, &windows, 4, &x)?, windowed_adjoint(&mut tables, &windows, 4, &y)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn windowed_adjoint(tables: &mut Tables, windows: &Windows, L_in: usize, channels: &[f64]) -> Result<Vec<f64>, KernelError> {
    let L = windows.L;
    check_len("channels", channels.len(), windows.N * L * (2 * L - 1))?;
    let mut rings = Vec::new();
    for grid in channels.chunks_exact(L * (2 * L - 1)) {
        rings.extend(ring_inverse_adjoint(L, L, grid)?);
    }
    synthesis_adjoint(tables, windows, L_in, &rings, L)
}

/// Directional transform of scale j: the N channel maps on the grid of bandlimit L_j.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// // Wavelets have no mean.
/// let mut constant = [0.0; 20];
/// constant[0] = 1.0;
/// assert!(directional(&mut tables, 4, 4, 2, 2, &constant)?.iter().all(|w| *w == 0.0));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn directional(tables: &mut Tables, L_in: usize, L_total: usize, N: usize, j: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed(tables, &Windows::wavelet(L_in, L_total, N, j)?, L_in, coefficients)
}

/// Adjoint of [`directional`].
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(20, 1.1), numbers(2 * 4 * 7, 0.7));
/// let (forth, back) = (directional(&mut tables, 4, 4, 2, 2, &x)?, directional_adjoint(&mut tables, 4, 4, 2, 2, &y)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn directional_adjoint(tables: &mut Tables, L_in: usize, L_total: usize, N: usize, j: usize, channels: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed_adjoint(tables, &Windows::wavelet(L_in, L_total, N, j)?, L_in, channels)
}

/// Scalar inverse transform on the grid of bandlimit L.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// let mut constant = [0.0; 20];
/// constant[0] = (4.0 * std::f64::consts::PI).sqrt();
/// assert!(harmonic_inverse(&mut tables, 4, 4, &constant)?.iter().all(|f| (f - 1.0).abs() < 1e-14));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn harmonic_inverse(tables: &mut Tables, L_in: usize, L: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed(tables, &Windows::plain(L_in, L)?, L_in, coefficients)
}

/// Adjoint of [`harmonic_inverse`].
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(20, 1.1), numbers(28, 0.7));
/// let (forth, back) = (harmonic_inverse(&mut tables, 4, 4, &x)?, harmonic_inverse_adjoint(&mut tables, 4, 4, &y)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn harmonic_inverse_adjoint(tables: &mut Tables, L_in: usize, L: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed_adjoint(tables, &Windows::plain(L_in, L)?, L_in, grid)
}

/// Scalar forward transform of a grid of bandlimit L, coefficients of bandlimit `L_out`.
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// let a = harmonic_forward(&mut tables, 4, 4, &[1.0; 28])?;
/// assert!((a[0] - (4.0 * std::f64::consts::PI).sqrt()).abs() < 1e-13 && a[1..].iter().all(|a| a.abs() < 1e-13));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn harmonic_forward(tables: &mut Tables, L: usize, L_out: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    let M = L.min(L_out);
    let rings = ring_forward(L, M, grid)?;
    analysis(tables, L, L_out, M, &rings)
}

/// Adjoint of [`harmonic_forward`].
///
/// ```
/// # use scatterc_kernels::naive::*;
/// # use scatterc_kernels::wavelets::Windows;
/// # let mut tables = Tables::default();
/// # let windows = Windows::wavelet(4, 4, 2, 2)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// let (x, y) = (numbers(28, 1.1), numbers(20, 0.7));
/// let (forth, back) = (harmonic_forward(&mut tables, 4, 4, &x)?, harmonic_forward_adjoint(&mut tables, 4, 4, &y)?);
/// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-13);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn harmonic_forward_adjoint(tables: &mut Tables, L: usize, L_out: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    let M = L.min(L_out);
    let rings = analysis_adjoint(tables, L, L_out, M, coefficients)?;
    ring_forward_adjoint(L, M, &rings)
}

fn check_len(name: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::parameter(name, format!("{expected} numbers"), found)) }
}
