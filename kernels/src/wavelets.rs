//! Scale-discretised wavelets with dilation factor 2 (s2wav's, as S2SCAT uses them).
//!
//! psi^j_{ell n} = nu sqrt((2 ell + 1) / (8 pi^2)) kappa_j(ell) |s_{ell n}|, with nu = 1 for odd N and i for even N. This
//! module returns the real factor; [`crate::harmonic`] applies nu.

use crate::KernelError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest scale: ceil(log2 L).
///
/// ```
/// use scatterc_kernels::wavelets::j_max;
///
/// assert_eq!([1, 2, 8, 9].map(j_max), [0, 1, 3, 4]);
/// ```
pub fn j_max(L: usize) -> usize {
    L.next_power_of_two().trailing_zeros() as usize
}

/// Bandlimit of scale j: min(2^(max(j, 1) + 1), L).
///
/// ```
/// use scatterc_kernels::wavelets::bandlimit;
///
/// assert_eq!([0, 1, 2, 3].map(|j| bandlimit(10, j)), [4, 4, 8, 10]);
/// ```
pub fn bandlimit(L: usize, j: usize) -> usize {
    let exponent = j.max(1) + 1;
    if exponent >= usize::BITS as usize { L } else { L.min(1 << exponent) }
}

/// First degree that scale j transforms: 2^(max(j, 1) - 1).
///
/// ```
/// use scatterc_kernels::wavelets::first_degree;
///
/// assert_eq!([0, 1, 2, 3].map(first_degree), [1, 1, 2, 4]);
/// ```
pub fn first_degree(j: usize) -> usize {
    1usize.checked_shl(j.max(1) as u32 - 1).unwrap_or(usize::MAX)
}

/// The generator's 300-panel trapezium rule on [a, 1]. The number of panels and the left-to-right order of the additions are
/// part of the definition: kappa = sqrt(1 - k) turns one last bit of k into 1e-8.
fn tiling_integral(a: f64) -> f64 {
    const PANELS: usize = 300;
    if a == 1.0 {
        return 0.0;
    }
    let g = |t: f64| {
        let u = (t - 0.5) * 4.0 - 1.0;
        (-2.0 / (1.0 - u * u)).exp() / t
    };
    let h = (1.0 - a) / PANELS as f64;
    let mut sum = 0.0;
    for i in 0..PANELS {
        let t0 = a + i as f64 * h;
        let t1 = a + (i + 1) as f64 * h;
        if t0 == 0.5 || t0 == 1.0 || t1 == 0.5 || t1 == 1.0 {
            continue;
        }
        sum += ((g(t0) + g(t1)) * h) / 2.0;
    }
    sum
}

/// T(ell / 2^j) / T(1/2) for ell = ceil(2^(j-1)) ..= 2^j, made once per process: every scale of every bandlimit reads them.
fn transition(j: usize) -> Arc<[f64]> {
    static KNOWN: Mutex<BTreeMap<usize, Arc<[f64]>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(j)
        .or_insert_with(|| {
            let (top, norm) = (1usize << j, tiling_integral(0.5));
            (top.div_ceil(2)..=top).map(|ell| tiling_integral(ell as f64 / top as f64) / norm).collect()
        })
        .clone()
}

/// k_j(ell) for j = 0..=J + 1: 1 below 2^(j-1), 0 above 2^j, T(ell / 2^j) / T(1/2) between.
fn generating(L: usize, j: usize) -> Vec<f64> {
    // Degrees below 2^(j-1) only: nothing of the transition is read, however large j is.
    let Some(first) = 1usize.checked_shl(j as u32).map(|top| top.div_ceil(2)).filter(|first| *first < L && j < 63) else {
        return vec![1.0; L];
    };
    let between = transition(j);
    (0..L)
        .map(|ell| match ell.checked_sub(first) {
            None => 1.0,
            Some(k) => between.get(k).copied().unwrap_or(0.0),
        })
        .collect()
}

/// kappa_j(ell) = sqrt(max(k_{j+1}(ell) - k_j(ell), 0)), shape `[J + 1][L]`, dimensionless.
///
/// Error: 5e-14 of the recorded s2wav values at L <= 256 (`wavelets.npz`).
///
/// ```
/// use scatterc_kernels::wavelets::{kappa, scaling};
///
/// // Wavelets and scaling function together keep every degree: sum_j kappa_j^2 = 1 beyond those of the scaling function.
/// let all = kappa(16);
/// let sum: f64 = all.iter().map(|kappa| kappa[9].powi(2)).sum();
/// assert!((sum - 1.0).abs() < 1e-12 && scaling(16, 0)[9] == 0.0);
/// ```
pub fn kappa(L: usize) -> Vec<Vec<f64>> {
    let J = j_max(L);
    let k: Vec<Vec<f64>> = (0..J + 2).map(|j| generating(L, j)).collect();
    (0..=J).map(|j| k[j + 1].iter().zip(&k[j]).map(|(upper, lower)| (upper - lower).max(0.0).sqrt()).collect()).collect()
}

/// kappa_j(ell) of one scale, `[L]`.
///
/// ```
/// use scatterc_kernels::wavelets::{kappa, kappa_of_scale};
///
/// assert_eq!(kappa_of_scale(16, 2), kappa(16)[2]);
/// ```
pub fn kappa_of_scale(L: usize, j: usize) -> Vec<f64> {
    let (upper, lower) = (generating(L, j + 1), generating(L, j));
    upper.iter().zip(&lower).map(|(upper, lower)| (upper - lower).max(0.0).sqrt()).collect()
}

/// Scaling function phi_ell = sqrt((2 ell + 1) / (4 pi)) sqrt(k_{J_min}(ell)), `[L]`.
///
/// ```
/// use scatterc_kernels::wavelets::scaling;
///
/// // The mean passes: sqrt(1 / 4 pi).
/// assert!((scaling(16, 1)[0] - 0.28209479177387814).abs() < 1e-15);
/// ```
pub fn scaling(L: usize, J_min: usize) -> Vec<f64> {
    generating(L, J_min).iter().enumerate().map(|(ell, k)| ((2 * ell + 1) as f64 / (4.0 * std::f64::consts::PI)).sqrt() * k.sqrt()).collect()
}

/// |s_{ell n}| of the directionality component: sqrt(binomial(g, (g - n) / 2) / 2^g), g the largest integer <= min(N - 1, ell)
/// with the parity of N - 1; 0 for ell = 0, |n| > g or n of the other parity. The factor 1 (N odd) or i (N even) is left out.
///
/// ```
/// use scatterc_kernels::wavelets::directionality;
///
/// // Squares over all n sum to 1.
/// let sum: f64 = (-2..=2).map(|n| directionality(8, 3, 5, n).powi(2)).sum();
/// assert!((sum - 1.0).abs() < 1e-14 && directionality(8, 3, 5, 1) == 0.0);
/// ```
pub fn directionality(L: usize, N: usize, ell: usize, n: isize) -> f64 {
    if ell == 0 || ell >= L || N == 0 {
        return 0.0;
    }
    let mut g = (N - 1).min(ell);
    if (g + N - 1) % 2 == 1 {
        g -= 1;
    }
    let n = n.unsigned_abs();
    if n > g || (g - n) % 2 == 1 {
        return 0.0;
    }
    let mut binomial = 1.0;
    for i in 0..(g - n) / 2 {
        binomial = binomial * (g - i) as f64 / (i + 1) as f64;
    }
    (binomial / 2f64.powi(g as i32)).sqrt()
}

/// |psi^j_{ell n}| for j = 0..=J, ell < L and n = -(N-1)..=N-1, shape `[J + 1][L][2N - 1]` (index n + N - 1). The true
/// filter is this times nu = 1 (N odd) or i (N even).
///
/// ```
/// use scatterc_kernels::wavelets::wavelet;
///
/// assert_eq!(wavelet(8, 2).len(), 4 * 8 * 3);
/// ```
pub fn wavelet(L: usize, N: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for row in kappa(L) {
        for (ell, kappa) in row.iter().enumerate() {
            for n in 0..2 * N - 1 {
                let norm = ((2 * ell + 1) as f64 / (8.0 * std::f64::consts::PI.powi(2))).sqrt();
                out.push(kappa * norm * directionality(L, N, ell, n as isize - (N as isize - 1)));
            }
        }
    }
    out
}

/// The real channels' mixture for every direction: `[2N - 1][N]`, W(gamma_g) = sum_c `steer[g][c]` channel_c,
/// gamma_g = 2 pi g / (2N - 1). Columns: 1 for the channel of n = 0 (N odd), then (2 cos n gamma, -2 sin n gamma) per n > 0.
///
/// ```
/// use scatterc_kernels::wavelets::steering_matrix;
///
/// // N = 1: the one channel is the one direction.
/// assert_eq!((steering_matrix(1), steering_matrix(3).len()), (vec![1.0], 5 * 3));
/// ```
pub fn steering_matrix(N: usize) -> Vec<f64> {
    let n_gamma = 2 * N - 1;
    let mut out = Vec::with_capacity(n_gamma * N);
    for g in 0..n_gamma {
        for n in orders(N) {
            if n == 0 {
                out.push(1.0);
            } else {
                // The product n g is reduced first so that equal angles give equal bits.
                let angle = 2.0 * std::f64::consts::PI * ((n * g) % n_gamma) as f64 / n_gamma as f64;
                out.push(2.0 * angle.cos());
                out.push(-2.0 * angle.sin());
            }
        }
    }
    out
}

/// The direction orders n >= 0 that carry signal: the parity of N - 1, ascending.
pub(crate) fn orders(N: usize) -> impl Iterator<Item = usize> {
    ((N + 1) % 2..N).step_by(2)
}

/// One direction order n >= 0 and its real filter.
///
/// ```
/// use scatterc_kernels::wavelets::Windows;
///
/// let windows = Windows::wavelet(8, 8, 3, 2)?;
/// assert_eq!(windows.windows.iter().map(|window| window.n).collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Direction order.
    pub n: usize,
    /// Real filter per degree; degrees at and above its length are not transformed.
    pub filter: Vec<f64>,
}

/// The filters of one transform: grid, azimuthal bandlimit and one [`Window`] per direction order.
///
/// ```
/// use scatterc_kernels::wavelets::Windows;
///
/// let windows = Windows::wavelet(16, 16, 2, 1)?;
/// assert_eq!((windows.L, windows.N, windows.windows[0].n), (4, 2, 1));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Bandlimit of the grid.
    pub L: usize,
    /// Azimuthal bandlimit; N channels.
    pub N: usize,
    /// Per order n, ascending.
    pub windows: Vec<Window>,
}

impl Windows {
    /// psi^j of bandlimit `L_total` on the grid of bandlimit L_j, degrees l0_j <= ell < min(L_in, L_j).
    ///
    /// ```
    /// use scatterc_kernels::wavelets::Windows;
    ///
    /// assert!(Windows::wavelet(8, 8, 2, 3).is_ok() && Windows::wavelet(8, 8, 2, 4).is_err());
    /// ```
    pub fn wavelet(L_in: usize, L_total: usize, N: usize, j: usize) -> Result<Self, KernelError> {
        check(L_in, L_total)?;
        if N == 0 || N > 32 {
            return Err(KernelError::parameter("N", "in 1..=32", N));
        }
        if j > j_max(L_total) {
            return Err(KernelError::parameter("j", format!("at most {}", j_max(L_total)), j));
        }
        let kappa = kappa_of_scale(L_total, j);
        let L = bandlimit(L_total, j);
        let filter = |n: usize| {
            (0..L.min(L_in))
                .map(|ell| {
                    if ell < first_degree(j) {
                        return 0.0;
                    }
                    let norm = ((2 * ell + 1) as f64 / (8.0 * std::f64::consts::PI.powi(2))).sqrt();
                    kappa[ell] * norm * directionality(L_total, N, ell, n as isize)
                })
                .collect()
        };
        Ok(Self { L, N, windows: orders(N).map(|n| Window { n, filter: filter(n) }).collect() })
    }

    /// sqrt((2 ell + 1) / 4 pi): the scalar inverse transform.
    ///
    /// ```
    /// use scatterc_kernels::wavelets::Windows;
    ///
    /// let filter = &Windows::plain(4, 4)?.windows[0].filter;
    /// assert!((filter[1] - (3.0 / (4.0 * std::f64::consts::PI)).sqrt()).abs() < 1e-15);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn plain(L_in: usize, L: usize) -> Result<Self, KernelError> {
        check(L_in, L)?;
        let filter = (0..L.min(L_in)).map(|ell| ((2 * ell + 1) as f64 / (4.0 * std::f64::consts::PI)).sqrt()).collect();
        Ok(Self { L, N: 1, windows: vec![Window { n: 0, filter }] })
    }

    /// phi of `J_min` on the grid of bandlimit L_{J_min}.
    ///
    /// ```
    /// use scatterc_kernels::wavelets::Windows;
    ///
    /// assert_eq!(Windows::scaling(16, 16, 2)?.L, 8);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scaling(L_in: usize, L_total: usize, J_min: usize) -> Result<Self, KernelError> {
        check(L_in, L_total)?;
        if J_min > j_max(L_total) {
            return Err(KernelError::parameter("J_min", format!("at most {}", j_max(L_total)), J_min));
        }
        let L = bandlimit(L_total, J_min);
        let mut filter = scaling(L_total, J_min);
        filter.truncate(L.min(L_in));
        Ok(Self { L, N: 1, windows: vec![Window { n: 0, filter }] })
    }
}

fn check(L_in: usize, L: usize) -> Result<(), KernelError> {
    const MAX: usize = 1 << 15;
    for (name, value) in [("L_in", L_in), ("L", L)] {
        if value == 0 || value > MAX {
            return Err(KernelError::parameter(name, format!("in 1..={MAX}"), value));
        }
    }
    Ok(())
}
