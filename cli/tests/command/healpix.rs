//! HEALPix pixels: every command, and what they refuse.

use super::*;

fn real(shape: &[usize], data: Vec<f64>) -> NamedArray {
    NamedArray::F64 { shape: shape.to_vec(), data }
}

const OPTIONS: [&str; 4] = ["--domain", "healpix", "--orientations", "2"];

fn refused(folder: &Folder, arguments: &[&str], words: &[&str]) {
    let before = folder.names();
    let output = scatterc(&[arguments, &OPTIONS[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{arguments:?}: `{word}` is not in: {stderr}"));
    assert_eq!(folder.names(), before, "{arguments:?} left something behind");
}

#[test]
fn maps_and_masks_are_encoded_in_either_order() {
    let folder = Folder::new();
    let (a, b) = (noise(192, 1), noise(192, 2));
    let ring = scatterc::kernels::healpix::nested_to_ring(4, &b).expect("a map");
    let weights: Vec<f64> = (0..192).map(|p| f64::from(u8::from(p % 4 != 1))).collect();
    let two = folder.npy("two.npy", &real(&[2, 192], [a, b].concat()));
    let rings = folder.npy("rings.npy", &real(&[192], ring));
    let masks = folder.npy("masks.npy", &real(&[2, 192], [vec![1.0; 192], weights].concat()));
    let (all, one, masked) = (folder.at("all.npz"), folder.at("one.npz"), folder.at("masked.npz"));
    succeed(&[&["encode", &two, "-o", &all], &OPTIONS[..]].concat());
    succeed(&[&["encode", &rings, "-o", &one, "--ordering", "ring"], &OPTIONS[..]].concat());
    succeed(&[&["encode", &rings, "-o", &masked, "--ordering", "ring", "--mask", &masks, "--scales", "2"], &OPTIONS[..]].concat());
    let (all, one, masked) = (npz(&all), npz(&one), npz(&masked));
    for name in ["S0", "S1", "S2", "S3", "S4"] {
        let ((re, _), (all_re, _)) = (numbers(&one[name]), numbers(&all[name]));
        assert!(difference(&all_re[re.len()..], &re) < 1e-13, "{name}");
    }
    // J = 3: three scales, six pairs and ten triples of them.
    assert_eq!((all["S1"].shape(), all["S3"].shape(), all["S4"].shape()), (vec![2, 6], vec![2, 24], vec![2, 80]));
    // An axis of masks; the first one weighs all alike.
    assert_eq!((masked["S1"].shape(), masked["S4"].shape()), (vec![2, 4], vec![2, 32]));
    let ((re, _), (plain, _)) = (numbers(&masked["S1"]), numbers(&one["S1"]));
    assert!(difference(&re[..4], &plain[..4]) < 1e-13);
}

#[test]
fn pairs_of_maps_with_spin_are_encoded() {
    let folder = Folder::new();
    let pair = folder.npy("pair.npy", &real(&[2, 48], noise(96, 1)));
    let (out, gradient) = (folder.at("out.npz"), folder.at("gradient.npz"));
    succeed(&[&["encode", &pair, "-o", &out, "--spin", "2"], &OPTIONS[..]].concat());
    let found = npz(&out);
    assert_eq!((found["S0"].shape(), found["S1"].shape(), found["S3"].shape()), (vec![2], vec![2, 4], vec![2, 12]));
    succeed(&[&["gradient", &pair, "--target", &pair, "-o", &gradient, "--spin", "1"], &OPTIONS[..]].concat());
    assert_eq!(npz(&gradient)["gradient"].shape(), [2, 48]);
    let (made, picture) = (folder.at("made.npz"), folder.at("made.png"));
    succeed(&[&["synthesise", &pair, "-o", &made, "--spin", "2", "--steps", "2", "--count", "2", "--plot", &picture], &OPTIONS[..]].concat());
    assert_eq!((npz(&made)["fields"].shape(), npz(&made)["start"].shape()), (vec![2, 2, 48], vec![2, 2, 48]));
}

#[test]
fn gradients_and_syntheses_run_and_pictures_are_drawn() {
    let folder = Folder::new();
    let target = noise(192, 1);
    let x = folder.npy("x.npy", &real(&[192], noise(192, 2)));
    let t = folder.npy("t.npy", &real(&[192], target.clone()));
    let free: Vec<f64> = (0..192).map(|p| f64::from(u8::from(p < 50))).collect();
    let free = folder.npy("free.npy", &real(&[192], free));
    let (gradient, made, picture) = (folder.at("g.npz"), folder.at("made.npy"), folder.at("map.png"));
    succeed(&[&["gradient", &x, "--target", &t, "-o", &gradient], &OPTIONS[..]].concat());
    assert_eq!(npz(&gradient)["gradient"].shape(), [192]);
    succeed(&[&["synthesise", &t, "-o", &made, "--steps", "4", "--levels", "2", "--free", &free, "--plot", &picture], &OPTIONS[..]].concat());
    let NamedArray::F64 { data, .. } = io::read_npy(Path::new(&made)).expect("a map") else { panic!("real numbers") };
    assert!((0..192).all(|p| (data[p] == target[p]) == (p >= 50)));
    succeed(&["plot", &made, "-o", &picture, "--domain", "healpix"]);
    succeed(&["bench", "--domain", "healpix", "--nside", "4", "--reps", "1", "--json"]);
    let cells: Vec<i64> = (30..130).collect();
    let cells = folder.npy("cells.npy", &NamedArray::I64 { shape: vec![100], data: cells });
    let patch = folder.npy("patch.npy", &real(&[100], noise(100, 3)));
    let out = folder.at("patch.npz");
    succeed(&[&["encode", &patch, "-o", &out, "--cells", &cells, "--nside", "4"], &OPTIONS[..]].concat());
    assert_eq!(npz(&out)["S1"].shape(), [4]);
}

/// Files as healpy writes them: values are half the NESTED number of their pixel.
#[test]
fn files_of_healpy_are_encoded() {
    let folder = Folder::new();
    let fixture = |name: &str| format!("{}/src/fixtures/healpy_nside4_{name}.fits.gz", env!("CARGO_MANIFEST_DIR"));
    let ramp = folder.npy("ramp.npy", &real(&[192], (0..192).map(|p| f64::from(p) / 2.0).collect()));
    let encode = |input: &str, name: &str, more: &[&str]| {
        let out = folder.at(name);
        succeed(&[&["encode", input, "-o", &out], more, &OPTIONS[..]].concat());
        npz(&out)
    };
    let same = |a: &BTreeMap<String, NamedArray>, b: &BTreeMap<String, NamedArray>| {
        for name in ["S0", "S1", "S2", "S3", "S4"] {
            assert!(difference(&numbers(&a[name]).0, &numbers(&b[name]).0) < 1e-12, "{name}");
        }
    };
    let plain = encode(&ramp, "plain.npz", &[]);
    same(&plain, &encode(&fixture("nested"), "nested.npz", &[]));
    same(&plain, &encode(&fixture("ring"), "ring.npz", &[]));
    // Parts of the sphere, in either order, are patches; columns are a batch.
    let cells: Vec<i64> = (20..52).chain(130..149).collect();
    let patch = folder.npy("patch.npy", &real(&[51], cells.iter().map(|p| *p as f64 / 2.0).collect()));
    let cells = folder.npy("cells.npy", &NamedArray::I64 { shape: vec![51], data: cells });
    let part = encode(&patch, "part.npz", &["--cells", &cells, "--nside", "4"]);
    for order in ["nested", "ring"] {
        same(&part, &encode(&fixture(&format!("partial_{order}")), "partial.npz", &[]));
    }
    let both = encode(&fixture("partial_ring"), "both.npz", &["--column", "I_STOKES,U_STOKES"]);
    assert_eq!(both["S1"].shape(), [2, 2]);
    assert!(difference(&numbers(&both["S1"]).0[..2], &numbers(&part["S1"]).0) < 1e-12);
    // Pixels that were not observed weigh nothing.
    let mut holes: Vec<f64> = vec![1.0; 192];
    [3, 7, 90].iter().for_each(|p| holes[*p] = 0.0);
    let mean = (0..192).filter(|p| holes[*p] > 0.0).map(|p| p as f64 / 2.0).sum::<f64>() / 189.0;
    let filled = folder.npy("filled.npy", &real(&[192], (0..192).map(|p| if holes[p] > 0.0 { p as f64 / 2.0 } else { mean }).collect()));
    let holes = folder.npy("holes.npy", &real(&[192], holes));
    same(&encode(&filled, "filled.npz", &["--mask", &holes]), &encode(&fixture("unseen"), "unseen.npz", &[]));
    let picture = folder.at("part.png");
    succeed(&["plot", &fixture("partial_nested"), "-o", &picture, "--domain", "healpix", "--gnomonic", "45,41,60"]);
    let out = folder.at("out.npz");
    refused(&folder, &["encode", &fixture("ring"), "-o", &out, "--ordering", "nested"], &["ordering", "RING in the header"]);
    refused(&folder, &["encode", &fixture("partial_ring"), "-o", &out, "--nside", "8"], &["--nside 8", "nside 4"]);
    refused(&folder, &["encode", &fixture("partial_ring"), "-o", &out, "--mask", &ramp], &["51 weights", "192"]);
}

#[test]
fn larger_maps_are_synthesised() {
    let folder = Folder::new();
    let t = folder.npy("t.npy", &real(&[192], noise(192, 1)));
    let made = folder.at("made.npy");
    succeed(&[&["synthesise", &t, "-o", &made, "--steps", "4", "--upsample", "1", "--also", "variances=0.5"], &OPTIONS[..]].concat());
    assert_eq!(io::read_npy(Path::new(&made)).expect("a map").shape(), [768]);
    let free = folder.npy("free.npy", &real(&[192], vec![1.0; 192]));
    refused(&folder, &["synthesise", &t, "-o", &made, "--upsample", "1", "--free", &free], &["1 doublings", "at most 0"]);
    refused(&folder, &["synthesise", &t, "-o", &made, "--also", "variances=-1"], &["--also", "positive factor"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let x = folder.npy("x.npy", &real(&[192], noise(192, 1)));
    let odd = folder.npy("odd.npy", &real(&[190], noise(190, 1)));
    let empty = folder.npy("empty.npy", &real(&[192], vec![0.0; 192]));
    let cells = folder.npy("cells.npy", &NamedArray::I64 { shape: vec![3], data: vec![3, 2, 1] });
    let out = folder.at("out.npz");
    refused(&folder, &["encode", &odd, "-o", &out], &["12 nside^2 pixels", "190"]);
    refused(&folder, &["encode", &x, "-o", &out, "--nside", "8"], &["--nside 8"]);
    refused(&folder, &["encode", &x, "-o", &out, "--kernel", "4"], &["--kernel", "3, 5 or 7"]);
    refused(&folder, &["encode", &x, "-o", &out, "--mask", &empty], &["the mask is empty at scale 0"]);
    refused(&folder, &["encode", &x, "-o", &out, "--cells", &cells, "--nside", "4"], &["in ascending order", "3 then 2"]);
    refused(&folder, &["encode", &x, "-o", &out, "--scales", "9"], &["--scales", "from 1 to 3"]);
    refused(&folder, &["synthesise", &x, "-o", &out, "--levels", "9"], &["9 levels"]);
    let twice = folder.npy("twice.npy", &NamedArray::I64 { shape: vec![3], data: vec![3, 5, 5] });
    refused(&folder, &["encode", &x, "-o", &out, "--cells", &twice, "--nside", "4"], &["once", "5 then 5"]);
    refused(&folder, &["encode", &x, "-o", &out, "--spin", "2"], &["pairs of maps", "1 maps"]);
    let pair = folder.npy("pair.npy", &real(&[2, 192], noise(384, 1)));
    refused(&folder, &["encode", &pair, "-o", &out, "--spin", "3"], &["spin", "1 or 2"]);
}
