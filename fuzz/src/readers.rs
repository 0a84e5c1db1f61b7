//! Readers of files: `.npy`, `.npz`, FITS. They answer or refuse; the module `io` of the command is at the root of whatever crate includes this.

use crate::io::{self, InputOptions, NamedArray};
use std::path::Path;

/// Any array or archive. True where it is one.
pub fn arrays(data: &[u8]) -> bool {
    let path = Path::new("data");
    let npz = io::parse_npz(path, data);
    let npy = io::parse_npy(path, data);
    if let Ok(array) = &npy {
        let n: usize = array.shape().iter().product();
        let held = match array {
            NamedArray::F64 { data, .. } => data.len(),
            NamedArray::I64 { data, .. } => data.len(),
            NamedArray::C128 { data, .. } => data.len() / 2,
            NamedArray::Text(_) => 1,
            NamedArray::Texts(texts) => texts.len(),
        };
        assert_eq!(held, n, "an array has as many numbers as its shape says");
    }
    npz.is_ok() || npy.is_ok()
}

/// Small arrays of every type, and an archive of them, as the command writes them.
pub fn array_seeds() -> Vec<Vec<u8>> {
    let numbers = |n: usize| (0..n).map(|k| ((k * 7919) % 101) as f64 / 50.0 - 1.0).collect();
    let named = [
        ("f", NamedArray::F64 { shape: vec![4, 7], data: numbers(28) }),
        ("i", NamedArray::I64 { shape: vec![3], data: vec![1, -2, 3] }),
        ("c", NamedArray::C128 { shape: vec![4, 4], data: numbers(32) }),
        ("t", NamedArray::Text("Grüße".into())),
        ("l", NamedArray::Texts(vec!["a".into(), "bc".into()])),
    ];
    let path = std::env::temp_dir().join(format!("scatterc-fuzz-arrays-{}", std::process::id()));
    let written = || std::fs::read(&path).expect("written");
    let mut out: Vec<Vec<u8>> = named
        .iter()
        .map(|(_, array)| {
            io::write_npy_atomic(&path, array).expect("the directory can be written");
            written()
        })
        .collect();
    io::write_npz_atomic(&path, &named.map(|(name, array)| (name.to_string(), array))).expect("the directory can be written");
    out.push(written());
    let _ = std::fs::remove_file(&path);
    out
}

/// A field in any format. True where it is one.
pub fn fields(data: &[u8]) -> bool {
    io::parse_input(Path::new("data"), data, &InputOptions::default()).is_ok()
}

/// HEALPix tables of FITS files, all columns. True where it is one.
pub fn fits(data: &[u8]) -> bool {
    let options = InputOptions { column: Some("all".into()), ..InputOptions::default() };
    io::parse_healpix_table(Path::new("data"), data, &options).is_ok()
}

/// A small FITS file with a HEALPix map of nside 2, as healpy writes one.
pub fn fits_seed() -> Vec<u8> {
    fits_map(2, &(0..48).map(|k| f64::from(k) * 0.5).collect::<Vec<_>>())
}

/// A FITS file with a map in NESTED order: a primary header and a table of one column of doubles, in blocks of 2880 bytes.
pub fn fits_map(nside: usize, map: &[f64]) -> Vec<u8> {
    let number = |key: &str, n: usize| format!("{key:<8}= {n:>20}");
    let block = |cards: &[&str]| {
        let mut text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
        text.push_str(&format!("{:<80}", "END"));
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
        bytes
    };
    let mut out = block(&[
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "EXTEND  =                    T",
    ]);
    out.extend(block(&[
        "XTENSION= 'BINTABLE'",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
        "NAXIS1  =                    8",
        &number("NAXIS2", map.len()),
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "TFIELDS =                    1",
        "TTYPE1  = 'T'",
        "TFORM1  = 'D'",
        "PIXTYPE = 'HEALPIX'",
        "ORDERING= 'NESTED'",
        &number("NSIDE", nside),
        "INDXSCHM= 'IMPLICIT'",
    ]));
    let mut data: Vec<u8> = map.iter().flat_map(|x| x.to_be_bytes()).collect();
    data.resize(data.len().div_ceil(2880) * 2880, 0);
    out.extend(data);
    out
}
