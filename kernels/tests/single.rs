//! Kernels in f32 against the same kernels in f64, at every vector width.
//!
//! Tolerance: 4e-6 of the largest number of a result, some forty roundings of f32; both run the same operations in the same order.
#![allow(non_snake_case)]

use scatterc_kernels::Serial;
use scatterc_kernels::contract::{GramPlan, MixPlan};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::gather::{Sums, Wavelets};
use scatterc_kernels::planar::{Factors, Fold, PlanarFft, Synthesis, turned, turned_adjoint};
use scatterc_kernels::simd::{Level, Real, limit_level};
use scatterc_kernels::stencil::{Pixels, downgrade};
use std::sync::Arc;

fn numbers<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Rounded to f32, so that both elements start from the same numbers.
            T::of(f64::from(((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) as f32))
        })
        .collect()
}

fn zeros<T: Real>(n: usize) -> Vec<T> {
    vec![T::default(); n]
}

/// What a kernel gives for either element, at every level this processor has.
fn compare(what: &str, single: impl Fn() -> Vec<f32>, double: impl Fn() -> Vec<f64>) {
    limit_level(Level::Avx512);
    let expected = double();
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for bound in [Level::Portable, Level::Avx2, Level::Avx512] {
        let level = limit_level(bound);
        let found = single();
        assert_eq!(found.len(), expected.len(), "{what}");
        let error = found.iter().zip(&expected).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0.0, f64::max);
        assert!(largest > 0.0 && error <= 4e-6 * largest, "{what} at {level:?}: {error:e} of {largest:e}");
    }
    limit_level(Level::Avx512);
}

#[test]
fn ring_transforms() {
    // One sample, small and wide radices, split sequences, and a prime that goes row by row.
    for L in [1, 3, 8, 16, 64, 70, 100] {
        fn run<T: Real>(L: usize) -> Vec<T> {
            let fft = RingFft::<T>::new(L).expect("valid");
            let M = L.div_ceil(2).max(1);
            let rings = numbers::<T>(fft.rings_len(M), 3);
            let (mut map, mut back) = (zeros::<T>(fft.map_len()), zeros::<T>(fft.rings_len(M)));
            fft.inverse(&Serial, &[&rings], M, &mut [&mut map]);
            let moduli: Vec<T> = map.iter().map(|x| T::of(x.wide().abs())).collect();
            fft.forward(&Serial, &[&moduli], M, &mut [&mut back]);
            map.extend(back);
            map
        }
        compare(&format!("rings of L = {L}"), || run::<f32>(L), || run::<f64>(L));
    }
}

#[test]
fn images() {
    for (H, W) in [(1, 8), (1, 9), (1, 300), (2, 2), (8, 16), (16, 24), (17, 19), (20, 66), (64, 10), (9, 137)] {
        fn run<T: Real>(H: usize, W: usize) -> Vec<T> {
            let fft = Arc::new(PlanarFft::<T>::new(H, W).expect("valid"));
            let image = numbers::<T>(2 * H * W, 7);
            let (mut spectrum, mut half) = (zeros::<T>(2 * H * W), zeros::<T>(2 * H * fft.half()));
            fft.inverse_adjoint(&Serial, &image, &mut spectrum);
            fft.real_forward(&Serial, &image[..H * W], &mut half);
            let (mut back, mut real) = (zeros::<T>(2 * H * W), zeros::<T>(H * W));
            fft.inverse(&Serial, &spectrum, &mut back);
            fft.real_inverse(&Serial, &half, &mut real, true, 1.0 / (H * W) as f64);
            // Every part counts in its own scale.
            let scale = T::of((H * W) as f64);
            spectrum.iter_mut().for_each(|x| *x *= scale);
            back.iter_mut().for_each(|x| *x *= scale * scale);
            real.iter_mut().for_each(|x| *x *= scale);
            [spectrum, half, back, real].concat()
        }
        compare(&format!("{H} x {W}"), || run::<f32>(H, W), || run::<f64>(H, W));
    }
}

#[test]
fn filtered_and_folded_images() {
    for (H, W, h, w, half, complex) in
        [(16, 24, 8, 12, true, false), (17, 21, 17, 7, false, true), (1, 64, 1, 16, true, true), (8, 9, 8, 9, true, true)]
    {
        fn run<T: Real>(H: usize, W: usize, h: usize, w: usize, half: bool, complex: bool) -> Vec<T> {
            let synthesis = Synthesis::<T>::new(Arc::new(PlanarFft::new(h, w).expect("valid")), H, W, half, 3).expect("valid");
            let stored = if half { W / 2 + 1 } else { W };
            let (re, im) = (numbers::<T>(3 * H * W, 1), numbers::<T>(3 * H * W, 2));
            let factors = Factors { re: &re, im: complex.then_some(im.as_slice()) };
            let spectrum = numbers::<T>(2 * H * stored, 3);
            let (mut images, mut back) = (zeros::<T>(3 * 2 * h * w), zeros::<T>(2 * H * stored));
            let support = synthesis.support(&factors);
            synthesis.apply(&Serial, &factors, &support, &spectrum, &mut images);
            synthesis.adjoint(&Serial, &factors, &support, &images, &mut back);
            let fold = Fold { from: (H, W), to: (h, w), half };
            let width = if half { w / 2 + 1 } else { w };
            let (mut folded, mut unfolded) = (zeros::<T>(2 * h * width), zeros::<T>(2 * H * stored));
            fold.apply(&Serial, &spectrum, &mut folded);
            fold.adjoint(&Serial, &folded, &mut unfolded);
            let scale = T::of((H * W) as f64);
            images.iter_mut().for_each(|x| *x *= scale);
            back.iter_mut().for_each(|x| *x *= scale * scale);
            [images, back, folded, unfolded].concat()
        }
        let what = format!("{H} x {W} to {h} x {w}, half {half}, complex {complex}");
        compare(&what, || run::<f32>(H, W, h, w, half, complex), || run::<f64>(H, W, h, w, half, complex));
    }
    fn run<T: Real>() -> Vec<T> {
        let len = 37;
        let (weights, spectra) = (numbers::<T>(2 * 2 * len, 1), numbers::<T>(2 * len, 2));
        let (mut out, mut back) = (zeros::<T>(2 * 4 * len), zeros::<T>(2 * len));
        turned(&Serial, &weights, len, &spectra, &mut out);
        turned_adjoint(&Serial, &weights, len, &out, &mut back);
        [out, back].concat()
    }
    compare("weighed half spectra", run::<f32>, run::<f64>);
}

#[test]
fn contractions_keep_long_sums() {
    fn run<T: Real>() -> Vec<T> {
        // So long that a running sum of f32 would lose three digits: every product is positive.
        let n = 200_003;
        let rows: Vec<Vec<T>> = (0..6).map(|k| numbers::<T>(n, k + 1).iter().map(|x| T::of(1.0 + x.wide())).collect()).collect();
        let rows: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
        let weights = vec![T::of(1.0); n];
        let pairs: Vec<(u32, u32)> = (0..6).flat_map(|a| (a..6).map(move |b| (a, b))).collect();
        let mut sums = zeros::<T>(pairs.len());
        GramPlan::new(6, &pairs).run(&Serial, &rows, &weights, &mut sums);
        sums
    }
    compare("gram", run::<f32>, run::<f64>);
    fn mixed<T: Real>() -> Vec<T> {
        let n = 1_003;
        let rows: Vec<Vec<T>> = (0..4).map(|k| numbers::<T>(n, k + 1)).collect();
        let rows: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
        let (weights, coefficients) = (numbers::<T>(n, 9), numbers::<T>(5, 10));
        let mut out = [zeros::<T>(n), zeros::<T>(n), zeros::<T>(n)];
        let terms = vec![vec![(0, 0), (2, 3)], vec![(0, 1), (2, 4)], vec![(1, 2)]];
        let mut targets: Vec<&mut [T]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        MixPlan::new(4, &terms).run(&Serial, &rows, Some(&weights), &coefficients, &mut targets);
        out.concat()
    }
    compare("mix", mixed::<f32>, mixed::<f64>);
}

#[test]
fn stencils() {
    for (nside, K, L) in [(4, 3, 4), (8, 3, 3), (4, 5, 2)] {
        fn run<T: Real>(nside: usize, K: usize, L: usize) -> Vec<T> {
            let n = 12 * nside * nside;
            let maps: Vec<Vec<T>> = (0..3).map(|k| numbers::<T>(n, k + 1)).collect();
            let maps: Vec<&[T]> = maps.iter().map(Vec::as_slice).collect();
            let forth = Wavelets::<T>::new(nside, K, L, &[], false).expect("valid");
            let mut waves = vec![zeros::<T>(2 * L * n); 3];
            forth.apply(&Serial, &maps, &mut waves.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), &mut zeros::<T>(forth.scratch_len(3)));
            let back = Wavelets::<T>::new(nside, K, L, &[], true).expect("valid");
            let mut out = vec![zeros::<T>(n); 3];
            let inputs: Vec<&[T]> = waves.iter().map(Vec::as_slice).collect();
            back.apply(&Serial, &inputs, &mut out.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), &mut zeros::<T>(back.scratch_len(3)));
            let (fine, coarse) = (Pixels::new(nside).expect("valid"), Pixels::new(nside / 2).expect("valid"));
            let targets: Vec<usize> = (0..coarse.len()).collect();
            let sums = Sums::new(downgrade(&fine, &coarse, &targets, &[]).expect("valid").rounded::<T>(), false);
            let mut small = zeros::<T>(coarse.len());
            sums.apply(&Serial, &maps[..1], &mut [&mut small]);
            [waves.concat(), out.concat(), small].concat()
        }
        compare(&format!("nside {nside}, K = {K}, L = {L}"), || run::<f32>(nside, K, L), || run::<f64>(nside, K, L));
    }
}
