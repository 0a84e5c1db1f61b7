//! Recorded arrays, random numbers and comparisons shared by the tests.
#![allow(dead_code)]

use std::fs::File;
use std::path::PathBuf;

use ndarray::ArrayD;
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use scatterc_kernels::layout::RingLayout;

/// A recorded file: from the complete set beside the workspace if present, else from the copies here.
pub struct Golden(NpzReader<File>);

pub fn golden(name: &str) -> Option<Golden> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for folder in ["../../shared/reference/s2scat", "tests/golden"] {
        let path = root.join(folder).join(format!("{name}.npz"));
        if let Ok(file) = File::open(&path) {
            return Some(Golden(NpzReader::new(file).expect("a recorded file is a readable npz")));
        }
    }
    eprintln!("SKIPPED: recording {name}.npz is not present");
    None
}

impl Golden {
    pub fn real(&mut self, name: &str) -> Option<ArrayD<f64>> {
        self.0.by_name(name).ok()
    }

    pub fn complex(&mut self, name: &str) -> Option<ArrayD<Complex64>> {
        self.0.by_name(name).ok()
    }
}

/// A small deterministic generator, uniform in -1..1.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn vec(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.next()).collect()
    }
}

pub fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// Largest difference relative to the largest expected value.
pub fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = max_abs(expected).max(1e-300);
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| {
        let difference = (a - b).abs();
        assert!(difference.is_finite(), "found {a}, expected {b}");
        difference.max(worst)
    }) / scale
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// |a - b| relative to the product of norms, the scale of rounding in an inner product.
pub fn adjoint_error(left: (&[f64], &[f64]), right: (&[f64], &[f64])) -> f64 {
    let norm = |v: &[f64]| dot(v, v).sqrt();
    let scale = (norm(left.0) * norm(left.1)).max(norm(right.0) * norm(right.1)).max(1e-300);
    (dot(left.0, left.1) - dot(right.0, right.1)).abs() / scale
}

/// `[L, L]` half plane x[ell, m] to m-major interleaved coefficients of the same bandlimit.
pub fn pack(x: &ArrayD<Complex64>) -> Vec<f64> {
    let L = x.shape()[0];
    let mut out = Vec::new();
    for m in 0..L {
        for ell in m..L {
            out.extend([x[[ell, m]].re, x[[ell, m]].im]);
        }
    }
    out
}

/// Runs on several threads, each taking every n-th task from the other end: any dependence on order would show.
pub struct Threads(pub usize);

impl scatterc_kernels::Parallel for Threads {
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                scope.spawn(move || {
                    for i in (0..n).rev().filter(|i| i % self.0 == thread) {
                        task(i);
                    }
                });
            }
        });
    }

    fn threads(&self) -> usize {
        self.0
    }
}

/// Natural rings `[L][M][2]` of one channel to lanes; padding repeats its ring, or is zero for cotangents.
pub fn rings_to_lanes(layout: &RingLayout, M: usize, natural: &[f64], cotangent: bool) -> Vec<f64> {
    let mut out = vec![0.0; layout.rings_len(M)];
    for block in 0..layout.n_blocks() {
        for lane in 0..8 {
            if cotangent && layout.is_padding(block, lane) {
                continue;
            }
            for m in 0..M {
                for part in 0..2 {
                    out[((block * M + m) * 2 + part) * 8 + lane] = natural[(layout.ring(block, lane) * M + m) * 2 + part];
                }
            }
        }
    }
    out
}

/// [`rings_to_lanes`] of all channels.
pub fn channels_to_lanes(layout: &RingLayout, M: usize, natural: &[f64], cotangent: bool) -> Vec<f64> {
    natural.chunks_exact(layout.L() * M * 2).flat_map(|c| rings_to_lanes(layout, M, c, cotangent)).collect()
}
