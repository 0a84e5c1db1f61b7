//! Readers of files: `.npy`, `.npz`, FITS. They answer or refuse; the module `io` of the command is at the root of whatever crate includes this.

use crate::io::{self, InputOptions};
use std::path::Path;

/// Any array or archive. True where it is one.
pub fn arrays(data: &[u8]) -> bool {
    let path = Path::new("data");
    let npz = io::parse_npz(path, data);
    let npy = io::parse_npy(path, data);
    if let Ok(array) = &npy {
        let n: usize = array.shape().iter().product();
        let held = match array {
            io::NamedArray::F64 { data, .. } => data.len(),
            io::NamedArray::I64 { data, .. } => data.len(),
            io::NamedArray::C128 { data, .. } => data.len() / 2,
            io::NamedArray::Text(_) => 1,
            io::NamedArray::Texts(texts) => texts.len(),
        };
        assert_eq!(held, n, "an array has as many numbers as its shape says");
    }
    npz.is_ok() || npy.is_ok()
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
        "NAXIS2  =                   48",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "TFIELDS =                    1",
        "TTYPE1  = 'T'",
        "TFORM1  = 'D'",
        "PIXTYPE = 'HEALPIX'",
        "ORDERING= 'NESTED'",
        "NSIDE   =                    2",
        "INDXSCHM= 'IMPLICIT'",
    ]));
    let mut data: Vec<u8> = (0..48).flat_map(|k| (f64::from(k) * 0.5).to_be_bytes()).collect();
    data.resize(data.len().div_ceil(2880) * 2880, 0);
    out.extend(data);
    out
}
