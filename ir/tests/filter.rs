//! Filters against their formulas, written out in plain Rust.

#![allow(non_snake_case)]

use scatterc_ir::filter::{Bank, Evaluation, Transform};
use std::f64::consts::PI;

/// The definition of the discrete Fourier transform.
struct Plain;

impl Transform for Plain {
    fn fourier(&self, H: usize, W: usize, inverse: bool, re: &mut [f64], im: &mut [f64]) {
        let (sign, scale) = if inverse { (1.0, 1.0 / (H * W) as f64) } else { (-1.0, 1.0) };
        let (a, b) = (re.to_vec(), im.to_vec());
        for k in 0..H * W {
            let (mut x, mut y) = (0.0, 0.0);
            for p in 0..H * W {
                let turns = (k / W * (p / W) % H) as f64 / H as f64 + (k % W * (p % W) % W) as f64 / W as f64;
                let (s, c) = (sign * 2.0 * PI * turns).sin_cos();
                x += a[p] * c - b[p] * s;
                y += a[p] * s + b[p] * c;
            }
            (re[k], im[k]) = (scale * x, scale * y);
        }
    }
}

/// A slanted Gaussian times a plane wave, summed over 25 periods: as it stands, and as its transform.
const SLANTED: &str = "filter slanted { sigma = 0.7 * 2^j; theta = l * pi / L; u = cos(theta) * row + sin(theta) * column; v = cos(theta) * column - sin(theta) * row; \
    envelope = exp(-(u^2 + (v / 2)^2) / (2 * sigma^2)); wave = over_rows(over_columns(envelope * cis(u), -2, 2), -2, 2); \
    still = over_rows(over_columns(envelope, -2, 2), -2, 2); wavelet = re(fourier(wave - total(wave) / total(still) * still)); \
    lowpass = over_rows(over_columns(envelope, -2, 2), -2, 2); }";

fn bank(H: usize, W: usize) -> Bank {
    Bank { H, W, J: 3, L: 4, folded: true, real: true, text: SLANTED.into() }
}

/// (wave, still) on the grid, all periods.
fn sums(bank: &Bank, j: usize, l: usize) -> (Vec<[f64; 2]>, Vec<f64>) {
    let (sigma, theta) = (0.7 * f64::powi(2.0, j as i32), l as f64 * PI / bank.L as f64);
    let point = |row: f64, column: f64| {
        let (u, v) = (theta.cos() * row + theta.sin() * column, theta.cos() * column - theta.sin() * row);
        (u, (-(u * u + v * v / 4.0) / (2.0 * sigma * sigma)).exp())
    };
    let (mut wave, mut still) = (vec![], vec![]);
    for k in 0..bank.H * bank.W {
        let (mut z, mut s) = ([0.0; 2], 0.0);
        for (a, b) in (-2..=2).flat_map(|a| (-2..=2).map(move |b| (f64::from(a), f64::from(b)))) {
            let (u, envelope) = point((k / bank.W) as f64 + a * bank.H as f64, (k % bank.W) as f64 + b * bank.W as f64);
            z = [z[0] + envelope * u.cos(), z[1] + envelope * u.sin()];
            s += envelope;
        }
        wave.push(z);
        still.push(s);
    }
    (wave, still)
}

#[test]
fn sums_that_only_transforms_see_are_right_to_the_last_digits_of_their_largest_number() {
    let bank = bank(48, 40);
    let filter = bank.filter().expect("a filter");
    for (j, l) in [(0, 0), (0, 3), (1, 1), (2, 2)] {
        let found = Evaluation::new(&filter, &bank, j, l, &Plain).array("wavelet").expect("a wavelet");
        let (wave, still) = sums(&bank, j, l);
        let total = wave.iter().fold([0.0; 2], |t, z| [t[0] + z[0], t[1] + z[1]]);
        let weight: f64 = still.iter().sum();
        let (mut re, mut im): (Vec<f64>, Vec<f64>) =
            wave.iter().zip(&still).map(|(z, s)| (z[0] - total[0] / weight * s, z[1] - total[1] / weight * s)).unzip();
        Plain.fourier(bank.H, bank.W, false, &mut re, &mut im);
        let largest = re.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (k, (found, expected)) in found.re.iter().zip(&re).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-14 * largest,
                "j = {j}, l = {l}, entry {k}: {found:e}, expected {expected:e}, largest {largest:e}"
            );
        }
    }
}

#[test]
fn sums_that_are_results_are_right_to_their_own_last_digits() {
    let bank = bank(96, 80);
    let filter = bank.filter().expect("a filter");
    let found = Evaluation::new(&filter, &bank, 0, 1, &Plain).array("lowpass").expect("a low-pass");
    let (_, still) = sums(&bank, 0, 1);
    for (k, (found, expected)) in found.re.iter().zip(&still).enumerate() {
        assert!((found - expected).abs() <= 1e-12 * expected + 1e-300, "entry {k}: {found:e}, expected {expected:e}");
    }
    assert!(still.iter().any(|x| *x < 1e-100), "far from the centre the numbers are small");
}
