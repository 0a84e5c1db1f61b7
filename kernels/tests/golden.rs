//! Agreement with recorded values: quadrature, Wigner functions, wavelets, transforms, fields of the small S2SCAT cases.
#![allow(non_snake_case)]

mod common;

use common::{golden, max_abs, pack, relative};
use ndarray::ArrayD;
use num_complex::Complex64;
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::{RingLayout, coefficient_index, coefficients_len};
use scatterc_kernels::wavelets::{self, steering_matrix};
use scatterc_kernels::{Serial, contract, naive, sampling, wigner};

#[test]
fn gauss_legendre() {
    let Some(mut file) = golden("gauss_legendre") else { return };
    for L in [4, 8, 16, 20, 37, 64, 90, 128, 256, 512] {
        let (theta, weights) = sampling::gauss_legendre(L);
        let expected = file.real(&format!("theta_{L}")).expect("recorded");
        let error = theta.iter().zip(&expected).fold(0.0f64, |e, (a, b)| e.max((a - b).abs()));
        assert!(error <= 1e-15, "theta, L = {L}: {error:e}");
        let expected = file.real(&format!("w_{L}")).expect("recorded");
        let error = relative(&weights, expected.as_slice().expect("contiguous"));
        assert!(error <= 7e-15, "weights, L = {L}: {error:e}");
    }
    for n in [1, 2, 3, 5, 1000, 2049] {
        let (theta, weights) = sampling::gauss_legendre(n);
        assert!((weights.iter().sum::<f64>() - 2.0).abs() < 1e-13, "{n}");
        assert!(theta.windows(2).all(|pair| pair[0] < pair[1]), "{n}");
        let square: f64 = theta.iter().zip(&weights).map(|(t, w)| w * t.cos().powi(2)).sum();
        assert!(n == 1 || (square - 2.0 / 3.0).abs() < 1e-13, "{n}");
    }
}

#[test]
fn wigner_functions() {
    let Some(mut file) = golden("wigner_d") else { return };
    let table = file.real("table").expect("recorded");
    let mut rows: Vec<[f64; 5]> = table.rows().into_iter().map(|r| [r[1], r[2], r[3], r[0], r[4]]).collect();
    rows.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    let mut worst = 0.0f64;
    for group in rows.chunk_by(|a, b| a[..3] == b[..3]) {
        let (m, n, beta) = (group[0][0] as isize, group[0][1] as isize, group[0][2]);
        let top = group.iter().fold(0.0f64, |l, row| l.max(row[3])) as usize;
        let d = wigner::wigner_d(top + 1, m, n, beta).expect("valid");
        let l0 = top + 1 - d.len();
        for row in group {
            let error = (d[row[3] as usize - l0] - row[4]).abs();
            if error > 5e-13 {
                println!("{row:?}: {error:e}");
            }
            worst = worst.max(error);
        }
    }
    assert!(worst < 1e-12, "wigner_d: worst {worst:e}");
}

#[test]
fn wavelet_filters() {
    let Some(mut file) = golden("wavelets") else { return };
    for L in [8, 16, 20, 32, 40, 64, 90, 128, 256] {
        let expected = file.real(&format!("kappa_{L}")).expect("recorded");
        let found: Vec<f64> = wavelets::kappa(L).concat();
        let error = relative(&found, expected.as_slice().expect("contiguous"));
        assert!(error < 1e-13, "kappa, L = {L}: {error:e}");
        for J_min in [0, 2] {
            let expected = file.real(&format!("phi_{L}_J{J_min}")).expect("recorded");
            let error = relative(&wavelets::scaling(L, J_min), expected.as_slice().expect("contiguous"));
            assert!(error < 1e-13, "phi, L = {L}: {error:e}");
        }
    }
    for L in [8, 16, 20] {
        for N in 1..=5 {
            let expected = file.complex(&format!("s_{L}_{N}")).expect("recorded");
            for ell in 0..L {
                for n in 0..2 * N - 1 {
                    let s = wavelets::directionality(L, N, ell, n as isize - (N as isize - 1));
                    let nu = if N % 2 == 1 { Complex64::new(1.0, 0.0) } else { Complex64::new(0.0, 1.0) };
                    assert!((expected[[ell, n]] - nu * s).norm() < 1e-14, "L = {L}, N = {N}, {ell}, {n}");
                }
            }
        }
    }
    for (name, N) in [("L8_N1_J0_real", 1), ("L8_N2_J0_real", 2), ("L64_N3_J0_real", 3), ("L16_N5_J0_quirk", 5)] {
        let Some(mut file) = golden(name) else { continue };
        let psi = file.complex("psi_jln").expect("recorded");
        let L = psi.shape()[1];
        let expected: Vec<f64> = psi.iter().map(|z| if N % 2 == 1 { z.re } else { z.im }).collect();
        let error = relative(&wavelets::wavelet(L, N), &expected);
        assert!(error < 1e-13, "psi, {name}: {error:e}");
    }
}

/// Channel maps mixed to directions, in the natural layout `[2N - 1][L][2L - 1]`.
fn directional(transform: &HarmonicTransform, coefficients: &[f64]) -> Vec<f64> {
    let (L, N) = (transform.L(), transform.n_channels());
    let layout = RingLayout::new(L).expect("valid");
    let fft = RingFft::new(L).expect("valid");
    let mut rings = vec![0.0; transform.rings_len(L)];
    transform.synthesis(&Serial, &[coefficients], &mut [&mut rings]);
    let mut channels = vec![vec![0.0; layout.map_len()]; N];
    let per_channel: Vec<&[f64]> = rings.chunks_exact(layout.rings_len(L)).collect();
    let mut maps: Vec<&mut [f64]> = channels.iter_mut().map(|map| &mut map[..]).collect();
    fft.inverse(&Serial, &per_channel, L, &mut maps);
    let rows: Vec<&[f64]> = channels.iter().map(|map| &map[..]).collect();
    let terms: Vec<Vec<(u32, u32)>> = (0..2 * N - 1).map(|g| (0..N).map(|c| (c as u32, (g * N + c) as u32)).collect()).collect();
    let mut mixed = vec![vec![0.0; layout.map_len()]; 2 * N - 1];
    let mut out: Vec<&mut [f64]> = mixed.iter_mut().map(|map| &mut map[..]).collect();
    contract::mix(&Serial, &rows, None, &terms, &steering_matrix(N), &mut out);
    let mut natural = vec![0.0; (2 * N - 1) * L * (2 * L - 1)];
    for (map, grid) in mixed.iter().zip(natural.chunks_exact_mut(L * (2 * L - 1))) {
        layout.map_to_grid(map, grid);
    }
    natural
}

/// The half plane m >= 0 of `[ell, m + L - 1]` as packed coefficients.
fn half_plane(plane: &ArrayD<Complex64>) -> Vec<f64> {
    let L = plane.shape()[0];
    let mut out = vec![0.0; coefficients_len(L)];
    for m in 0..L {
        for ell in m..L {
            let at = 2 * coefficient_index(L, ell, m);
            out[at] = plane[[ell, m + L - 1]].re;
            out[at + 1] = plane[[ell, m + L - 1]].im;
        }
    }
    out
}

#[test]
fn fields_of_small_cases() {
    for (name, N, compare_second) in
        [("L8_N1_J0_real", 1, true), ("L8_N2_J0_real", 2, true), ("L8_N3_J0_real", 3, true), ("L16_N3_J0_real", 3, true), ("L16_N3_J0_junk", 3, true)]
    {
        let Some(mut file) = golden(name) else { continue };
        let flm = file.complex("flm").expect("recorded");
        let L = flm.shape()[0];
        let coefficients = pack(&flm);
        let J = wavelets::j_max(L);
        for j in 0..=J {
            let expected = file.real(&format!("W_{j}")).expect("recorded");
            let expected = expected.as_slice().expect("contiguous");
            let transform = HarmonicTransform::wavelet(L, L, N, j).expect("valid");
            if expected.len() != (2 * N - 1) * transform.L() * (2 * transform.L() - 1) {
                continue; // scales with fewer directions
            }
            let error = relative(&directional(&transform, &coefficients), expected);
            assert!(error < 1e-11, "{name}, W_{j}: {error:e}");
            if !compare_second {
                continue;
            }
            // M_j: analysis of |W_j|, one direction at a time; then N_{j1 j}.
            let Some(moments) = file.complex(&format!("M_{j}")) else { continue };
            let Lj = transform.L();
            let layout = RingLayout::new(Lj).expect("valid");
            let fft = RingFft::new(Lj).expect("valid");
            let forward = HarmonicTransform::for_analysis(Lj, Lj).expect("valid");
            for g in 0..2 * N - 1 {
                let grid: Vec<f64> = expected[g * Lj * (2 * Lj - 1)..][..Lj * (2 * Lj - 1)].iter().map(|w| w.abs()).collect();
                let mut map = vec![0.0; layout.map_len()];
                layout.grid_to_map(&grid, &mut map);
                let mut rings = vec![0.0; layout.rings_len(Lj)];
                fft.forward(&Serial, &[&map], Lj, &mut [&mut rings]);
                let mut found = vec![0.0; coefficients_len(Lj)];
                forward.analysis(&Serial, &[&rings], Lj, &mut [&mut found]);
                let plane = moments.index_axis(ndarray::Axis(0), g).to_owned();
                let recorded = half_plane(&plane);
                let error = relative(&found, &recorded);
                assert!(error < 1e-11, "{name}, M_{j}[{g}]: {error:e}");
                for j1 in 0..j {
                    let Some(second) = file.real(&format!("N_{j1}_{j}")) else { continue };
                    let second = second.index_axis(ndarray::Axis(0), g).to_owned();
                    let transform = HarmonicTransform::wavelet(Lj, L, N, j1).expect("valid");
                    let error = relative(&directional(&transform, &recorded), second.as_slice().expect("contiguous"));
                    assert!(error < 1e-11, "{name}, N_{j1}_{j}[{g}]: {error:e}");
                }
            }
        }
    }
}

#[test]
fn scalar_transform_at_64() {
    let Some(mut file) = golden("sht_L64_gl") else { return };
    let L = 64;
    let flm = file.complex("flm_s0").expect("recorded");
    let f = file.complex("f_s0").expect("recorded");
    let g = file.complex("g_s0").expect("recorded");
    let glm = file.complex("glm_s0").expect("recorded");
    // The recorded signals are complex; their real and imaginary parts are two real fields.
    let split = |plane: &ArrayD<Complex64>, imaginary: bool| {
        let mut half = plane.clone();
        for ell in 0..L {
            for m in 0..L {
                let parity = if m % 2 == 1 { -1.0 } else { 1.0 };
                let mirror = plane[[ell, L - 1 - m]].conj() * parity;
                half[[ell, L - 1 + m]] =
                    if imaginary { (plane[[ell, L - 1 + m]] - mirror) * Complex64::new(0.0, -0.5) } else { (plane[[ell, L - 1 + m]] + mirror) * 0.5 };
            }
        }
        half_plane(&half)
    };
    let inverse = HarmonicTransform::plain(L, L).expect("valid");
    let forward = HarmonicTransform::for_analysis(L, L).expect("valid");
    let layout = RingLayout::new(L).expect("valid");
    let fft = RingFft::new(L).expect("valid");
    for imaginary in [false, true] {
        let part = |z: &Complex64| if imaginary { z.im } else { z.re };
        let expected: Vec<f64> = f.iter().map(part).collect();
        let coefficients = split(&flm, imaginary);
        let mut rings = vec![0.0; inverse.rings_len(L)];
        inverse.synthesis(&Serial, &[&coefficients], &mut [&mut rings]);
        let mut map = vec![0.0; layout.map_len()];
        fft.inverse(&Serial, &[&rings], L, &mut [&mut map]);
        let mut grid = vec![0.0; expected.len()];
        layout.map_to_grid(&map, &mut grid);
        assert!(relative(&grid, &expected) < 1e-12, "inverse {:e}", relative(&grid, &expected));

        let samples: Vec<f64> = g.iter().map(part).collect();
        layout.grid_to_map(&samples, &mut map);
        fft.forward(&Serial, &[&map], L, &mut [&mut rings]);
        let mut found = vec![0.0; coefficients_len(L)];
        forward.analysis(&Serial, &[&rings], L, &mut [&mut found]);
        let expected = split(&glm, imaginary);
        assert!(relative(&found, &expected) < 1e-12, "forward {:e}", relative(&found, &expected));

        let mut tables = naive::Tables::default();
        let slow = naive::harmonic_inverse(&mut tables, L, L, &coefficients).expect("valid");
        assert!(relative(&slow, &grid) < 1e-12);
        let slow = naive::harmonic_forward(&mut tables, L, L, &samples).expect("valid");
        assert!(relative(&slow, &expected) < 1e-12);
    }
}

/// The recorded inverse Wigner transform, summed directly from this crate's nodes and functions.
#[test]
fn inverse_wigner() {
    let Some(mut file) = golden("wigner_inverse_L12_N3") else { return };
    let flmn = file.complex("flmn").expect("recorded");
    let f = file.complex("f").expect("recorded");
    let (L, N) = (12usize, 3usize);
    let (theta, _) = sampling::gauss_legendre(L);
    let mut found = vec![Complex64::new(0.0, 0.0); f.len()];
    let n_phi = 2 * L - 1;
    for n in -(N as isize - 1)..N as isize {
        for m in -(L as isize - 1)..L as isize {
            for (t, theta) in theta.iter().enumerate() {
                let d = wigner::wigner_d(L, m, n, *theta).expect("valid");
                let l0 = L - d.len();
                let sum: Complex64 = (l0..L)
                    .map(|ell| {
                        let norm = (2 * ell + 1) as f64 / (8.0 * std::f64::consts::PI.powi(2));
                        flmn[[(n + 2) as usize, ell, (m + L as isize - 1) as usize]] * norm * d[ell - l0]
                    })
                    .sum();
                for g in 0..2 * N - 1 {
                    for p in 0..n_phi {
                        let angle = 2.0 * std::f64::consts::PI * (m as f64 * p as f64 / n_phi as f64 + n as f64 * g as f64 / (2 * N - 1) as f64);
                        found[(g * L + t) * n_phi + p] += sum * Complex64::from_polar(1.0, angle);
                    }
                }
            }
        }
    }
    let parts = |values: &mut dyn Iterator<Item = Complex64>| values.flat_map(|z| [z.re, z.im]).collect::<Vec<_>>();
    let expected = parts(&mut f.iter().copied());
    let error = relative(&parts(&mut found.into_iter()), &expected);
    assert!(error < 1e-12 && max_abs(&expected) > 0.0, "{error:e}");
}
