//! The command as a user runs it: results, golden values, and every refusal.
#![allow(non_snake_case)]

// The readers and writers of the command itself; the tests use a part of them.
#[allow(dead_code)]
#[path = "../../src/io.rs"]
mod io;

mod authors;
mod book;
mod faults;
mod golden;
mod healpix;
mod planar;
mod readers;
mod refusals;
mod work;

use io::NamedArray;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let path = std::env::temp_dir().join(format!("scatterc-cli-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Folder(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes an array and returns its path.
    fn npy(&self, name: &str, array: &NamedArray) -> String {
        io::write_npy_atomic(&self.0.join(name), array).expect("a written array");
        self.at(name)
    }

    /// Writes a text and returns its path.
    fn text(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("a written text");
        self.at(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the command with a table cache of its own.
fn scatterc(arguments: &[&str]) -> Output {
    let cache = std::env::temp_dir().join(format!("scatterc-cli-{}-cache", std::process::id()));
    Command::new(env!("CARGO_BIN_EXE_scatterc")).args(arguments).env("SCATTERC_CACHE_DIR", cache).output().expect("the command starts")
}

/// Runs the command, which must succeed; returns stdout.
fn succeed(arguments: &[&str]) -> String {
    let output = scatterc(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {:?}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn npz(path: &str) -> BTreeMap<String, NamedArray> {
    io::read_npz(Path::new(path)).expect("an archive")
}

/// Real and imaginary parts of an array; the latter empty for a real one.
fn numbers(array: &NamedArray) -> (Vec<f64>, Vec<f64>) {
    match array {
        NamedArray::F64 { data, .. } => (data.clone(), vec![]),
        NamedArray::C128 { data, .. } => (data.iter().step_by(2).copied().collect(), data.iter().skip(1).step_by(2).copied().collect()),
        other => panic!("{} holds no numbers", other.describe()),
    }
}

/// Largest difference of real parts, relative to the largest number of `b`.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest
}

/// Noise from -1 to 1.
fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Half-plane coefficients of a real field: nothing above the diagonal, real at m = 0.
fn half(L: usize, seed: u64) -> Vec<f64> {
    let mut data = noise(2 * L * L, seed);
    for ell in 0..L {
        for m in 0..L {
            let k = 2 * (ell * L + m);
            let scale = if m > ell { 0.0 } else { 1.0 / (1.0 + ell as f64) };
            data[k] *= scale;
            data[k + 1] *= if m == 0 { 0.0 } else { scale };
        }
    }
    data
}

fn half_array(L: usize, seed: u64) -> NamedArray {
    NamedArray::C128 { shape: vec![L, L], data: half(L, seed) }
}
