//! Recorded cases of FOSCAT on pixels, images and series: the reference folder where present, else the small copies in the repository.

#![allow(dead_code, non_snake_case)]

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use scatterc::{Array, Statistics};
use std::cell::RefCell;
use std::fs::File;
use std::path::Path;

/// Arrays of one recorded case.
pub struct Case {
    pub name: String,
    reader: RefCell<NpzReader<File>>,
}

/// Shape, and entries with imaginary parts (zero for real arrays).
pub struct Golden {
    pub shape: Vec<usize>,
    pub values: Vec<(f64, f64)>,
}

/// The case of that name; `None`, with a line that says so, where it is not at hand.
pub fn case(name: &str) -> Option<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared/reference/foscat");
    let folder = if shared.is_dir() { shared } else { root.join("tests/golden/foscat") };
    match File::open(folder.join(format!("{name}.npz"))) {
        Ok(file) => Some(Case { name: name.into(), reader: RefCell::new(NpzReader::new(file).expect("a recorded archive")) }),
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

    pub fn array(&self, name: &str) -> Golden {
        let mut reader = self.reader.borrow_mut();
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(name) {
            return Golden { shape: a.shape().to_vec(), values: a.iter().map(|x| (*x, 0.0)).collect() };
        }
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<i64>, IxDyn>(name) {
            return Golden { shape: a.shape().to_vec(), values: a.iter().map(|x| (*x as f64, 0.0)).collect() };
        }
        let a: ArrayD<Complex64> = reader.by_name(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name));
        Golden { shape: a.shape().to_vec(), values: a.iter().map(|z| (z.re, z.im)).collect() }
    }

    pub fn real(&self, name: &str) -> Vec<f64> {
        self.array(name).values.iter().map(|v| v.0).collect()
    }
}

pub fn entries(array: &Array) -> Vec<(f64, f64)> {
    array.re.iter().enumerate().map(|(k, x)| (*x, array.im.as_ref().map_or(0.0, |im| im[k]))).collect()
}

pub fn output<'a>(found: &'a Statistics, name: &str) -> &'a Array {
    found.get(name).unwrap_or_else(|| panic!("no output {name}"))
}

/// Largest distance in units of the largest entry; more than `tolerance` fails.
pub fn difference(found: &[(f64, f64)], expected: &[(f64, f64)], tolerance: f64, what: &str) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let scale = expected.iter().map(|(a, b)| a.hypot(*b)).fold(f64::MIN_POSITIVE, f64::max);
    let worst = found.iter().zip(expected).map(|((a, b), (x, y))| (a - x).hypot(b - y)).fold(0.0, f64::max) / scale;
    assert!(worst <= tolerance, "{what}: error {worst:e}");
    worst
}

/// Entries of outputs that make up the last axis of a recorded array, in this order; each is a result and a name.
pub fn stacked(parts: &[(&Statistics, String)]) -> Vec<(f64, f64)> {
    let parts: Vec<Vec<(f64, f64)>> = parts.iter().map(|(found, name)| entries(output(found, name))).collect();
    (0..parts[0].len()).flat_map(|i| parts.iter().map(move |part| part[i])).collect()
}
