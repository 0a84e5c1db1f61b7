//! Golden cases: the reference folder where present, else the small copies in the repository.

#![allow(dead_code, non_snake_case)]

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};

/// One recorded case.
pub struct Case {
    pub name: String,
    pub L: usize,
    pub N: usize,
    pub J_min: usize,
    pub real: bool,
    names: Vec<String>,
    reader: RefCell<NpzReader<File>>,
}

/// Folder of the recorded cases.
pub fn folder() -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/s2scat");
    if shared.is_dir() {
        return shared;
    }
    println!("reference values: only the small cases in tests/golden, since ../shared/reference/s2scat is absent");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All recorded cases with L up to a limit, sorted by name. A case's name states its sizes: `L16_N3_J0_real`.
pub fn cases(largest: usize) -> Vec<Case> {
    let mut out: Vec<Case> = std::fs::read_dir(folder())
        .expect("the folder of golden values is readable")
        .filter_map(|entry| Case::open(&entry.ok()?.path()))
        .filter(|case| case.L <= largest)
        .collect();
    out.sort_by_key(|case| (case.L, case.name.clone()));
    assert!(!out.is_empty(), "no golden case found in {}", folder().display());
    out
}

impl Case {
    fn open(path: &Path) -> Option<Case> {
        let name = path.file_name()?.to_str()?.strip_suffix(".npz")?.to_string();
        let mut parts = name.split('_');
        let number = |text: Option<&str>, letter: char| text?.strip_prefix(letter)?.parse::<usize>().ok();
        let (L, N, J_min) = (number(parts.next(), 'L')?, number(parts.next(), 'N')?, number(parts.next(), 'J')?);
        let real = !name.ends_with("cplx");
        let mut reader = NpzReader::new(File::open(path).ok()?).ok()?;
        let names = reader.names().ok()?.into_iter().map(|n| n.trim_end_matches(".npy").to_string()).collect();
        Some(Case { name, L, N, J_min, real, names, reader: RefCell::new(reader) })
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Prefixes of the recorded variants; the empty one is the plain case.
    pub fn prefixes(&self) -> Vec<String> {
        let mut out: Vec<String> =
            self.names.iter().filter_map(|n| n.strip_suffix("_C01").map(str::to_string)).filter(|p| p != "grad_target").collect();
        out.push(String::new());
        out.sort();
        out
    }

    /// An array; complex numbers as interleaved pairs.
    pub fn array(&self, name: &str) -> Vec<f64> {
        match self.read(name) {
            Ok(real) => real,
            Err(complex) => complex.iter().flat_map(|z| [z.re, z.im]).collect(),
        }
    }

    /// An array that is real or stored as complex with zero imaginary part.
    pub fn real_array(&self, name: &str) -> Vec<f64> {
        match self.read(name) {
            Ok(real) => real,
            Err(complex) => complex.iter().map(|z| z.re).collect(),
        }
    }

    /// Real numbers, or complex ones as the error.
    fn read(&self, name: &str) -> Result<Vec<f64>, Vec<Complex64>> {
        let mut reader = self.reader.borrow_mut();
        let key = reader
            .names()
            .expect("names")
            .into_iter()
            .find(|n| n.trim_end_matches(".npy") == name)
            .unwrap_or_else(|| panic!("{}: no array {name}", self.name));
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(&key) {
            return Ok(a.iter().copied().collect());
        }
        let a: ArrayD<Complex64> = reader.by_name(&key).expect("a real or complex array");
        Err(a.iter().copied().collect())
    }
}
