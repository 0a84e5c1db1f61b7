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
    succeed(&[&["encode", &rings, "-o", &masked, "--ordering", "nested", "--mask", &masks, "--scales", "2"], &OPTIONS[..]].concat());
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
