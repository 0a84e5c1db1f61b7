//! The frame operator against averages over rings: both sides of <W_g[x] W_g[y]> = x . Q_g y.
#![allow(non_snake_case)]

use scatterc_kernels::Serial;
use scatterc_kernels::frame::{FrameGramPlan, FrameMixPlan, FrameOperator};
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::{RingLayout, coefficients_len};
use scatterc_kernels::simd::{LANES, Level, limit_level};
use scatterc_kernels::wavelets::{bandlimit, j_max, steering_matrix};
use std::sync::Arc;
use std::sync::Mutex;

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
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut worst = 0.0f64;
    for N in 1..=8 {
        for L in [8, 13, 16, 33, 64] {
            if N > L {
                continue;
            }
            for j in 0..=j_max(L) {
                worst = worst.max(error_of_gram(L, N, j));
            }
        }
    }
    // 6.5e-15 measured.
    assert!(worst < 1e-13, "{worst:.1e}");
}

/// The level is global to the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_instance_agrees() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for bound in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(bound) == bound {
            for N in [1, 2, 3, 5] {
                let error = error_of_gram(48, N, 4);
                assert!(error < 1e-13, "{bound:?} N={N}: {error:.1e}");
            }
        }
    }
}

/// Mixtures are the exact adjoint of bilinear forms: sum z (x_a . Q_g x_b) = x_a . (sum z Q_g x_b), several scales and bandlimits at once.
#[test]
fn mixtures_are_the_adjoint_of_forms() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (L, N) in [(16, 3), (33, 2), (40, 1), (32, 4)] {
        let scales: Vec<usize> = (0..=j_max(L)).collect();
        let bandlimits = [L, L, (L / 2).max(2), L, 5, L, L, L, L - 1];
        let fields: Vec<Vec<f64>> = bandlimits.iter().enumerate().map(|(k, L)| noise(70 + k as u64, coefficients_len(*L))).collect();
        let views: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
        let targets = [(0usize, L), (2, bandlimits[2]), (8, bandlimits[8])];
        let (mut forms, mut mixes) = (Vec::new(), Vec::new());
        for j in &scales {
            let op = operator(L, N, *j);
            let (mut pairs, mut terms) = (Vec::new(), Vec::new());
            for (t, (a, _)) in targets.iter().enumerate() {
                for b in 0..fields.len() as u32 {
                    for g in 0..2 * N as u32 - 1 {
                        pairs.push((*a as u32, b, g));
                        terms.push((t as u32, b, g, (7 * b + g + *j as u32) % 11));
                    }
                }
            }
            forms.push((op.clone(), pairs));
            mixes.push((op, terms));
        }
        let z = noise(5, 11);
        let count = forms.iter().map(|f| f.1.len()).sum();
        let mut values = vec![0.0; count];
        FrameGramPlan::new(forms).run(&Serial, &views, &bandlimits, &mut values);
        let mut expected = vec![0.0; targets.len()];
        for ((t, _, _, c), value) in mixes.iter().flat_map(|m| &m.1).zip(&values) {
            expected[*t as usize] += z[*c as usize] * value;
        }
        let mut out: Vec<Vec<f64>> = targets.iter().map(|(_, L)| vec![f64::NAN; coefficients_len(*L)]).collect();
        let bandlimits_out: Vec<usize> = targets.iter().map(|t| t.1).collect();
        let mut views_out: Vec<&mut [f64]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        FrameMixPlan::new(targets.len(), mixes).run(&Serial, &views, &bandlimits, &z, &mut views_out, &bandlimits_out);
        for ((target, expected), out) in targets.iter().zip(expected).zip(&out) {
            let found: f64 = out.iter().zip(&fields[target.0]).map(|(a, b)| a * b).sum();
            assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "L={L} N={N} target {}: {found} {expected}", target.0);
        }
    }
}

/// The operator by itself: x . Q_g y = <W_g[x] W_g[y]>, and its adjoint.
#[test]
fn applied_operators_agree_with_forms() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (L, N, j, L_in, L_out) = (24, 3, 3, 24, 13);
    let op = operator(L, N, j);
    let (x, y) = (noise(1, coefficients_len(L_out)), noise(2, coefficients_len(L_in)));
    let (rows_x, weights) = directions(L, N, j, L_out, &x);
    let (rows_y, _) = directions(L, N, j, L_in, &y);
    let mut out = vec![vec![0.0; coefficients_len(L_out)]; 5];
    op.apply(&Serial, &y, L_in, &mut out.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), L_out);
    for g in 0..5 {
        let form: f64 = out[g].iter().zip(&x).map(|(a, b)| a * b).sum();
        let expected = average(&weights, &rows_x[g], &rows_y[g]);
        assert!((form - expected).abs() < 1e-13 * expected.abs().max(1e-3), "{g}: {form} {expected}");
    }
    let cotangents: Vec<Vec<f64>> = (0..5).map(|g| noise(20 + g, coefficients_len(L_out))).collect();
    let mut back = vec![0.0; coefficients_len(L_in)];
    op.apply_adjoint(&Serial, &cotangents.iter().map(Vec::as_slice).collect::<Vec<_>>(), L_out, &mut back, L_in);
    let left: f64 = back.iter().zip(&y).map(|(a, b)| a * b).sum();
    let right: f64 = out.iter().flatten().zip(cotangents.iter().flatten()).map(|(a, b)| a * b).sum();
    assert!((left - right).abs() < 1e-13 * right.abs().max(1.0), "{left} {right}");
}
