//! Recorded cases of planar and one-dimensional statistics: the reference folder where present, else the small copies in the repository.

#![allow(dead_code, non_snake_case)]

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use scatterc::ir::{Bank, Linear, Space, Type};
use scatterc::runtime::reference;
use scatterc::{Array, Error, Statistics};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Tolerance of the project, in units of each array's maximum.
pub const TOLERANCE: f64 = 1e-8;

/// Arrays of one recorded case.
pub struct Case {
    pub name: String,
    reader: RefCell<NpzReader<File>>,
    /// Arrays that were asked for.
    read: RefCell<BTreeSet<String>>,
}

/// A recorded array; complex numbers have imaginary parts.
#[derive(Clone, Debug)]
pub struct Golden {
    pub shape: Vec<usize>,
    pub re: Vec<f64>,
    pub im: Option<Vec<f64>>,
}

fn folder() -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/planar");
    if shared.is_dir() { shared } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/planar") }
}

/// The case of that name; `None`, with a line that says so, where it is not at hand.
pub fn case(name: &str) -> Option<Case> {
    let path = folder().join(format!("{name}.npz"));
    match File::open(&path) {
        Ok(file) => {
            let reader = RefCell::new(NpzReader::new(file).expect("a recorded archive"));
            Some(Case { name: name.into(), reader, read: RefCell::default() })
        }
        Err(_) => {
            println!("{name}: not at hand, skipped");
            None
        }
    }
}

impl Case {
    pub fn has(&self, name: &str) -> bool {
        self.reader.borrow_mut().names().expect("names").iter().any(|n| n.trim_end_matches(".npy") == name)
    }

    /// Fails where an array of the record was not compared.
    pub fn complete(&self) {
        let names = self.reader.borrow_mut().names().expect("names");
        let left: Vec<&str> = names.iter().map(|n| n.trim_end_matches(".npy")).filter(|n| !self.read.borrow().contains(*n)).collect();
        assert!(left.is_empty(), "{}: nothing was compared with {left:?}", self.name);
    }

    pub fn array(&self, name: &str) -> Golden {
        self.read.borrow_mut().insert(name.into());
        let mut reader = self.reader.borrow_mut();
        let key = reader.names().expect("names").into_iter().find(|n| n.trim_end_matches(".npy") == name);
        let key = key.unwrap_or_else(|| panic!("{}: no array {name}", self.name));
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(&key) {
            return Golden { shape: a.shape().to_vec(), re: a.iter().copied().collect(), im: None };
        }
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<i32>, IxDyn>(&key) {
            return Golden { shape: a.shape().to_vec(), re: a.iter().map(|x| f64::from(*x)).collect(), im: None };
        }
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<i16>, IxDyn>(&key) {
            return Golden { shape: a.shape().to_vec(), re: a.iter().map(|x| f64::from(*x)).collect(), im: None };
        }
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<i8>, IxDyn>(&key) {
            return Golden { shape: a.shape().to_vec(), re: a.iter().map(|x| f64::from(*x)).collect(), im: None };
        }
        let a: ArrayD<Complex64> = reader.by_name(&key).expect("a real, whole or complex array");
        Golden { shape: a.shape().to_vec(), re: a.iter().map(|z| z.re).collect(), im: Some(a.iter().map(|z| z.im).collect()) }
    }
}

impl Golden {
    /// Entry `k` of the first axis.
    pub fn at(&self, k: usize) -> Golden {
        let n = self.re.len() / self.shape[0];
        let part = |x: &Vec<f64>| x[k * n..][..n].to_vec();
        Golden { shape: self.shape[1..].to_vec(), re: part(&self.re), im: self.im.as_ref().map(part) }
    }

    pub fn largest(&self) -> f64 {
        let im = self.im.clone().unwrap_or_else(|| vec![0.0; self.re.len()]);
        self.re.iter().zip(&im).map(|(a, b)| a.hypot(*b)).filter(|x| x.is_finite()).fold(f64::MIN_POSITIVE, f64::max)
    }
}

/// Largest difference of numbers that are in both, in units of the recorded maximum; where the record has none (NaN) there must be no entry of ours.
pub fn difference(ours: &[(f64, f64)], expected: &Golden, what: &str) -> f64 {
    assert_eq!(ours.len(), expected.re.len(), "{what}: length");
    let scale = expected.largest();
    let im = expected.im.clone().unwrap_or_else(|| vec![0.0; expected.re.len()]);
    let mut worst: f64 = 0.0;
    for (k, ((a, b), (x, y))) in ours.iter().zip(expected.re.iter().zip(&im)).enumerate() {
        assert_eq!(a.is_nan(), x.is_nan(), "{what}[{k}]: {a}, expected {x}");
        if !x.is_nan() {
            worst = worst.max((a - x).hypot(b - y) / scale);
        }
    }
    assert!(worst <= TOLERANCE, "{what}: error {worst:e}");
    worst
}

/// An output as a dense array of the given shape, NaN where there is no entry; columns of the index are axes.
pub fn dense(array: &Array, shape: &[usize]) -> Vec<(f64, f64)> {
    let mut out = vec![(f64::NAN, f64::NAN); shape.iter().product()];
    for (k, row) in array.index.rows.iter().enumerate() {
        let place = row.iter().zip(shape).fold(0, |sum, (i, n)| sum * n + *i as usize);
        out[place] = (array.re[k], array.im.as_ref().map_or(0.0, |im| im[k]));
    }
    if array.index.rows.len() == 1 && array.index.columns.is_empty() {
        out[0] = (array.re[0], array.im.as_ref().map_or(0.0, |im| im[0]));
    }
    out
}

/// The output of that name.
pub fn output<'a>(statistics: &'a Statistics, name: &str) -> &'a Array {
    statistics.get(name).unwrap_or_else(|| panic!("no output {name}"))
}

pub type Outcome = Result<(), Error>;

/// Values of a bank on the base grid: what it makes of a spectrum of ones.
pub fn sampled(bank: &Bank, j: usize, lowpass: bool) -> Result<Vec<(f64, f64)>, Error> {
    let (H, W) = (bank.H, bank.W);
    if lowpass {
        // The low-pass filter acts on half spectra; it is even.
        let half = W / 2 + 1;
        let ones: Vec<f64> = (0..2 * H * half).map(|k| if k % 2 == 0 { 1.0 } else { 0.0 }).collect();
        let map = Linear::Smooth { H, W, j, bank: bank.clone() };
        let out = reference::apply(&map, false, &Type::new([], Space::RealSpectrum { H, W }), &ones).expect("the bank is valid");
        let at = |r: usize, c: usize| if c < half { (r * half + c, 1.0) } else { ((H - r) % H * half + W - c, -1.0) };
        return Ok((0..H * W).map(|k| at(k / W, k % W)).map(|(k, sign)| (out[2 * k], sign * out[2 * k + 1])).collect());
    }
    let ones: Vec<f64> = (0..2 * H * W).map(|k| if k % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let map = Linear::Filter { H, W, j, power: 1, real: 0, bank: bank.clone() };
    let out = reference::apply(&map, false, &Type::new([], Space::Spectrum { H, W }), &ones).expect("the bank is valid");
    Ok(out.chunks_exact(2).map(|z| (z[0], z[1])).collect())
}
