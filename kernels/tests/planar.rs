//! Transforms of images of many sizes, at every vector width, against their definition.
#![allow(non_snake_case)]

use scatterc_kernels::Serial;
use scatterc_kernels::planar::PlanarFft;
use std::f64::consts::TAU;

fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
        .collect()
}

/// Radices 2, 4, 8 and odd ones, whole and split sequences, partial blocks of rows and columns, and a prime too large for a pass of its own.
const SIZES: [(usize, usize); 10] = [(2, 2), (4, 12), (8, 16), (16, 24), (17, 19), (20, 66), (33, 128), (64, 10), (9, 137), (137, 2)];

#[test]
fn transforms_equal_sums_over_samples() {
    for (H, W) in SIZES {
        let fft = PlanarFft::new(H, W).expect("valid sizes");
        let f = numbers(2 * H * W, 7);
        let mut F = vec![0.0; 2 * H * W];
        fft.inverse_adjoint(&Serial, &f, &mut F);
        let mut half = vec![0.0; 2 * H * fft.half()];
        fft.real_forward(&Serial, &f[..H * W], &mut half);
        for (k, l) in (0..H).flat_map(|k| (0..W).map(move |l| (k, l))).step_by(H * W / 50 + 1) {
            let (mut complex, mut real) = ((0.0, 0.0), (0.0, 0.0));
            for (p, q) in (0..H).flat_map(|p| (0..W).map(move |q| (p, q))) {
                let (sin, cos) = (TAU * ((k * p % H) as f64 / H as f64 + (l * q % W) as f64 / W as f64)).sin_cos();
                let (re, im) = (f[p * W + q], f[H * W + p * W + q]);
                complex = (complex.0 + re * cos + im * sin, complex.1 + im * cos - re * sin);
                real = (real.0 + re * cos, real.1 - re * sin);
            }
            let n = (H * W) as f64;
            let at = 2 * (k * W + l);
            let error = (n * F[at] - complex.0).hypot(n * F[at + 1] - complex.1);
            assert!(error <= 1e-13 * n, "{H} x {W} at ({k}, {l}): {error:e}");
            if l < fft.half() {
                let at = 2 * (k * fft.half() + l);
                let error = (half[at] - real.0).hypot(half[at + 1] - real.1);
                assert!(error <= 1e-13 * n, "{H} x {W}, real, at ({k}, {l}): {error:e}");
            }
        }
    }
}

#[test]
fn inverses_undo_transforms() {
    for (H, W) in SIZES {
        let fft = PlanarFft::new(H, W).expect("valid sizes");
        let n = (H * W) as f64;
        let f = numbers(2 * H * W, 3);
        let (mut F, mut back) = (vec![0.0; 2 * H * W], vec![0.0; 2 * H * W]);
        fft.inverse_adjoint(&Serial, &f, &mut F);
        F.iter_mut().for_each(|x| *x *= n);
        fft.inverse(&Serial, &F, &mut back);
        let error = back.iter().zip(&f).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(error <= 1e-14, "{H} x {W}: {error:e}");
        let (mut F, mut back) = (vec![0.0; 2 * H * fft.half()], vec![0.0; H * W]);
        fft.real_forward(&Serial, &f[..H * W], &mut F);
        fft.real_inverse(&Serial, &F, &mut back, true, 1.0 / n);
        let error = back.iter().zip(&f).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(error <= 1e-14, "{H} x {W}, real: {error:e}");
    }
}

/// A column of zeros is skipped, but one that holds a NaN or a tiny number is not.
#[test]
fn only_zeros_are_skipped() {
    let fft = PlanarFft::new(8, 16).expect("valid sizes");
    for value in [f64::NAN, 1e-240] {
        let mut F = vec![0.0; 2 * 8 * 16];
        F[2 * 11] = value;
        let mut f = vec![0.0; 2 * 8 * 16];
        fft.inverse(&Serial, &F, &mut f);
        assert!(f.iter().any(|x| *x != 0.0), "{value} disappeared");
    }
}
