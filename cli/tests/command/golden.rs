//! `encode` against recorded statistics of the reference implementation.

use crate::{Folder, difference, npz, numbers, succeed};
use std::path::PathBuf;

/// The recorded cases, where this checkout has them.
fn case(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/s2scat").join(format!("{name}.npz"));
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path.to_string_lossy().into_owned())
}

/// Encodes the `flm` of a case and compares all outputs to 1e-10 of each array's maximum.
fn compare(name: &str, prefix: &str, options: &[&str]) {
    let Some(path) = case(name) else { return };
    let folder = Folder::new();
    let out = folder.at("out.npz");
    succeed(&[&["encode", &path, "-o", &out, "--quiet"], options].concat());
    let (expected, found) = (npz(&path), npz(&out));
    for (ours, theirs) in [("mean", "mean"), ("variance", "var"), ("S1", "S1"), ("S2", "P00"), ("S3", "C01"), ("S4", "C11")] {
        let theirs = format!("{prefix}{theirs}");
        let error = difference(&numbers(&found[ours]).0, &numbers(&expected[&theirs]).0);
        assert!(error < 1e-10, "{name}: {theirs}: {error:e}");
    }
}

#[test]
fn plain_normalised_isotropic_and_limited() {
    compare("L16_N3_J0_real", "", &[]);
    compare("L16_N3_J0_real", "normed_", &["--normalise-by", "self"]);
    compare("L16_N3_J0_real", "iso_", &["--isotropic"]);
    compare("L16_N3_J0_real", "dj1_", &["--delta-j", "1"]);
    compare("L16_N3_J0_real", "dj2_iso_normed_", &["--variant", "isotropic", "--parameter", "delta=2", "--normalise-by", "self"]);
}

#[test]
fn complex_fields_and_junk() {
    compare("L8_N3_J0_cplx", "", &[]);
    compare("L8_N3_J0_cplx", "normed_", &["--normalise-by", "self"]);
    compare("L16_N3_J0_junk", "", &[]);
    compare("L16_N2_J2_cplx", "", &["--directions", "2", "--min-scale", "2"]);
}

#[test]
fn all_devices_and_fusions() {
    compare("L8_N2_J0_real", "", &["--directions", "2", "--device", "reference"]);
    compare("L8_N2_J0_real", "", &["--directions", "2", "--fuse", "none", "--threads", "1"]);
    compare("L8_N2_J0_real", "", &["--directions", "2", "--fuse", "loops", "--disable", "parseval", "--disable", "bandlimit"]);
}
