//! Transforms of images of many sizes, at every vector width, against their definition.
#![allow(non_snake_case)]

use num_complex::Complex64 as C;
use scatterc_kernels::Serial;
use scatterc_kernels::planar::{Factors, PlanarFft, Synthesis};
use std::f64::consts::TAU;
use std::sync::Arc;

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

/// Single rows and columns too.
const THIN: [(usize, usize); 7] = [(1, 1), (1, 8), (1, 9), (5, 6), (6, 5), (8, 34), (7, 1)];

#[test]
fn transforms_equal_their_definition_and_invert() {
    for (H, W) in THIN {
        let fft = PlanarFft::new(H, W).expect("valid sizes");
        let f = numbers(H * W, 3);
        let half = fft.half();
        let mut F = vec![0.0; 2 * H * half];
        fft.real_forward(&Serial, &f, &mut F);
        for k in 0..H {
            for l in 0..half {
                let (x, y) = (C::new(F[2 * (k * half + l)], F[2 * (k * half + l) + 1]), naive(H, W, &f, k, l));
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

/// Filters of which some frequencies, whole rows and whole strips are zero.
fn filters(n: usize, H: usize, W: usize, seed: u64) -> Vec<f64> {
    let mut values = numbers(n * H * W, seed);
    for (k, x) in values.iter_mut().enumerate() {
        let (l, r, c) = (k / (H * W), k / W % H, k % W);
        if r == l + 1 || (c + 5 * l) % 48 > 20 || (r * c) % 7 == 3 {
            *x = 0.0;
        }
    }
    values
}

#[test]
fn filtered_images_equal_their_definition_and_the_transpose_follows() {
    for ((H, W), (h, w), half) in [
        ((12, 20), (6, 5), false),
        ((12, 20), (12, 20), true),
        ((8, 96), (4, 48), true),
        ((9, 33), (3, 11), true),
        ((1, 64), (1, 16), true),
        ((1, 30), (1, 30), false),
        ((16, 96), (2, 96), false),
    ] {
        for complex_filters in [false, true] {
            let (L, n) = (2, 2);
            let synthesis = Synthesis::<f64>::new(Arc::new(PlanarFft::new(h, w).expect("valid sizes")), H, W, half, L).expect("valid sizes");
            let (re, im) = (filters(L, H, W, 3), filters(L, H, W, 4));
            let factors = Factors { re: &re, im: complex_filters.then_some(im.as_slice()) };
            let support = synthesis.support(&factors);
            let stride = if half { W / 2 + 1 } else { W };
            let spectra = numbers(n * 2 * H * stride, 5);
            let mut images = vec![f64::NAN; n * L * 2 * h * w];
            synthesis.apply(&Serial, &factors, &support, &spectra, &mut images);
            let at = |k: usize, r: usize, c: usize| {
                let x = |r: usize, c: usize| C::new(spectra[2 * ((k * H + r) * stride + c)], spectra[2 * ((k * H + r) * stride + c) + 1]);
                if c < stride { x(r, c) } else { x((H - r) % H, W - c).conj() }
            };
            for (k, l, p, q) in (0..n * L * h * w).map(|i| (i / (L * h * w), i / (h * w) % L, i / w % h, i % w)) {
                let mut sum = C::default();
                for (r, c) in (0..H * W).map(|i| (i / W, i % W)) {
                    let f = C::new(re[(l * H + r) * W + c], if complex_filters { im[(l * H + r) * W + c] } else { 0.0 });
                    let angle = 2.0 * std::f64::consts::PI * ((r * p % h) as f64 / h as f64 + (c * q % w) as f64 / w as f64);
                    sum += f * at(k, r, c) * C::new(angle.cos(), angle.sin()) / (H * W) as f64;
                }
                let place = ((k * L + l) * 2 * h + p) * w + q;
                let found = C::new(images[place], images[place + h * w]);
                assert!((found - sum).norm() <= 1e-14, "{H} x {W} to {h} x {w}, half {half}: {found}, expected {sum}");
            }
            let y = numbers(images.len(), 6);
            let mut back = vec![f64::NAN; spectra.len()];
            synthesis.adjoint(&Serial, &factors, &support, &y, &mut back);
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
            let error = (dot(&images, &y) - dot(&spectra, &back)).abs();
            assert!(error <= 1e-13, "{H} x {W} to {h} x {w}, half {half}: {error:e}");
        }
    }
}

#[test]
fn adjoints_are_transposes() {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
    for (H, W) in THIN {
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

/// Working memory is not cleared between transforms: after numbers that are not finite, every size gives what it gives in a thread of its own, bit for bit.
#[test]
fn what_working_memory_held_does_not_matter() {
    let run = |H: usize, W: usize| -> Vec<u64> {
        let fft = PlanarFft::new(H, W).expect("valid sizes");
        let f = numbers(2 * H * W, 3);
        let (mut half, mut back) = (vec![0.0; 2 * H * fft.half()], vec![0.0; H * W]);
        fft.real_forward(&Serial, &f[..H * W], &mut half);
        fft.real_inverse(&Serial, &half, &mut back, true, 1.0);
        let (mut whole, mut images) = (vec![0.0; 2 * H * W], vec![0.0; 2 * H * W]);
        fft.inverse_adjoint(&Serial, &f, &mut whole);
        fft.inverse(&Serial, &whole, &mut images);
        [half, back, whole, images].concat().into_iter().map(f64::to_bits).collect()
    };
    for (H, W) in (1..=34).flat_map(|H| [1, 4, 7, 9, 18].map(|W| (H, W))) {
        let clean = std::thread::spawn(move || run(H, W)).join().expect("no panic");
        let large = PlanarFft::new(48, 48).expect("valid sizes");
        let mut images = vec![0.0; 2 * 48 * 48];
        large.inverse(&Serial, &vec![f64::NAN; 2 * 48 * 48], &mut images);
        assert_eq!(run(H, W), clean, "{H} x {W}");
    }
}
