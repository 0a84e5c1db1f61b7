//! The frame operator against averages over rings: both sides of <W_g[x] W_g[y]> = x . Q_g y.
#![allow(non_snake_case)]

use scatterc_kernels::Serial;
use scatterc_kernels::frame::{FrameGramPlan, FrameMixPlan, FrameOperator};
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::{RingLayout, coefficients_len};
use scatterc_kernels::simd::{LANES, Level, limit_level};
use scatterc_kernels::wavelets::{bandlimit, j_max, steering_matrix};
use std::sync::Arc;

fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn operator(L: usize, N: usize, j: usize) -> Arc<FrameOperator> {
    let wavelets = Arc::new(HarmonicTransform::wavelet(L, L, N, j).expect("sizes are valid"));
    Arc::new(FrameOperator::new(L, N, j, wavelets).expect("sizes are valid"))
}

/// Steered half spectra of one field, `[2N - 1][rings]`, and the weights of the average of a product.
fn directions(L: usize, N: usize, j: usize, L_in: usize, x: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let transform = HarmonicTransform::wavelet(L_in, L, N, j).expect("sizes are valid");
    let L_j = bandlimit(L, j);
    let mut rings = vec![0.0; transform.rings_len(L_j)];
    transform.synthesis(&Serial, &[x], &mut [&mut rings]);
    let n = rings.len() / N;
    let steering = steering_matrix(N);
    let rows = (0..2 * N - 1).map(|g| (0..n).map(|k| (0..N).map(|c| steering[g * N + c] * rings[c * n + k]).sum()).collect()).collect();
    let layout = RingLayout::new(L_j).expect("sizes are valid");
    let mut weights = Vec::new();
    for block in layout.weights().chunks_exact(LANES) {
        for m in 0..L_j {
            for part in 0..2 {
                let factor = if m == 0 { 0.5 * (1 - part) as f64 } else { 1.0 };
                weights.extend(block.iter().map(|w| factor * w));
            }
        }
    }
    (rows, weights)
}

fn average(weights: &[f64], a: &[f64], b: &[f64]) -> f64 {
    weights.iter().zip(a).zip(b).map(|((w, a), b)| w * a * b).sum()
}

/// Worst error of all pairs and directions against the rings, relative to the largest value.
fn error_of_gram(L: usize, N: usize, j: usize) -> f64 {
    let op = operator(L, N, j);
    let bandlimits = [L, L, bandlimit(L, j), (bandlimit(L, j) * 3 / 4).max(1), L, L, L, L, L, L];
    let fields: Vec<Vec<f64>> = bandlimits.iter().enumerate().map(|(k, L)| noise(7 + k as u64, coefficients_len(*L))).collect();
    let (G, B) = (2 * N as u32 - 1, fields.len() as u32);
    let pairs: Vec<(u32, u32, u32)> = (0..B).flat_map(|a| (0..B).flat_map(move |b| (0..G).map(move |g| (a, b, g)))).collect();
    let plan = FrameGramPlan::new(vec![(op, pairs.clone())]);
    let mut out = vec![0.0; pairs.len()];
    let views: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
    plan.run(&Serial, &views, &bandlimits, &mut out);
    let rows: Vec<_> = fields.iter().zip(bandlimits).map(|(x, L_in)| directions(L, N, j, L_in, x)).collect();
    let expected: Vec<f64> =
        pairs.iter().map(|(a, b, g)| average(&rows[0].1, &rows[*a as usize].0[*g as usize], &rows[*b as usize].0[*g as usize])).collect();
    let most = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    out.iter().zip(&expected).map(|(a, b)| (a - b).abs() / most.max(1e-300)).fold(0.0, f64::max)
}

#[test]
fn bilinear_forms_equal_averages_over_rings() {
    let mut worst = 0.0f64;
    for N in 1..=8 {
        for L in [8, 13, 16, 33, 64] {
            if N > L {
                continue;
            }
            for j in 0..=j_max(L) {
                let error = error_of_gram(L, N, j);
                if error > 1e-13 { println!("L={L} N={N} j={j}: {error:.1e}"); }
                worst = worst.max(error);
            }
        }
    }
    println!("worst {worst:.1e}");
    assert!(worst < 1e-12, "{worst:.1e}");
}
