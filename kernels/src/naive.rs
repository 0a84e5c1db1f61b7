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
#[derive(Debug, Clone, Default)]
pub struct Tables {
    nodes: HashMap<usize, (Vec<f64>, Vec<f64>)>,
    /// (L of the grid, degrees, m, n) to `[theta][degree - max(|m|, |n|)]`.
    wigner: HashMap<(usize, usize, isize, isize), Vec<Vec<f64>>>,
}

impl Tables {
    /// Colatitudes and Gauss-Legendre weights of bandlimit L.
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
pub fn directional(tables: &mut Tables, L_in: usize, L_total: usize, N: usize, j: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed(tables, &Windows::wavelet(L_in, L_total, N, j)?, L_in, coefficients)
}

/// Adjoint of [`directional`].
pub fn directional_adjoint(tables: &mut Tables, L_in: usize, L_total: usize, N: usize, j: usize, channels: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed_adjoint(tables, &Windows::wavelet(L_in, L_total, N, j)?, L_in, channels)
}

/// Scalar inverse transform on the grid of bandlimit L.
pub fn harmonic_inverse(tables: &mut Tables, L_in: usize, L: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed(tables, &Windows::plain(L_in, L)?, L_in, coefficients)
}

/// Adjoint of [`harmonic_inverse`].
pub fn harmonic_inverse_adjoint(tables: &mut Tables, L_in: usize, L: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    windowed_adjoint(tables, &Windows::plain(L_in, L)?, L_in, grid)
}

/// Scalar forward transform of a grid of bandlimit L, coefficients of bandlimit `L_out`.
pub fn harmonic_forward(tables: &mut Tables, L: usize, L_out: usize, grid: &[f64]) -> Result<Vec<f64>, KernelError> {
    let M = L.min(L_out);
    let rings = ring_forward(L, M, grid)?;
    analysis(tables, L, L_out, M, &rings)
}

/// Adjoint of [`harmonic_forward`].
pub fn harmonic_forward_adjoint(tables: &mut Tables, L: usize, L_out: usize, coefficients: &[f64]) -> Result<Vec<f64>, KernelError> {
    let M = L.min(L_out);
    let rings = analysis_adjoint(tables, L, L_out, M, coefficients)?;
    ring_forward_adjoint(L, M, &rings)
}

fn check_len(name: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::parameter(name, format!("{expected} numbers"), found)) }
}
