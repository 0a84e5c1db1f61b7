//! Images and series: every command on the plane and the line, and what they refuse.

use super::*;

/// A smooth texture with some noise.
fn image(H: usize, W: usize, seed: u64) -> Vec<f64> {
    let noise = noise(H * W, seed);
    (0..H * W).map(|k| ((k / W) as f64 * 0.7).sin() * ((k % W) as f64 * 0.4).cos() + 0.5 * noise[k]).collect()
}

fn real(shape: &[usize], data: Vec<f64>) -> NamedArray {
    NamedArray::F64 { shape: shape.to_vec(), data }
}

/// The command refuses with these words, exit code 2 and no output file.
fn refused(folder: &Folder, arguments: &[&str], words: &[&str]) {
    let before = folder.names();
    let output = scatterc(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{arguments:?}: `{word}` is not in: {stderr}"));
    assert_eq!(folder.names(), before, "{arguments:?} left something behind");
}

#[test]
fn images_are_encoded_alone_and_in_batches_from_npy_and_png() {
    let folder = Folder::new();
    let (a, b) = (image(32, 24, 1), image(32, 24, 2));
    let one = folder.npy("one.npy", &real(&[32, 24], b.clone()));
    let two = folder.npy("two.npy", &real(&[2, 32, 24], [a, b].concat()));
    let (single, batch) = (folder.at("single.npz"), folder.at("batch.npz"));
    let options = ["--domain", "plane", "--statistic", "cheng", "--scales", "3", "--orientations", "4"];
    succeed(&[&["encode", &one, "-o", &single], &options[..]].concat());
    succeed(&[&["encode", &two, "-o", &batch], &options[..]].concat());
    let (single, batch) = (npz(&single), npz(&batch));
    for name in ["mean", "P00", "S1", "C01", "C11"] {
        let ((re, im), (all_re, all_im)) = (numbers(&single[name]), numbers(&batch[name]));
        assert!(difference(&all_re[re.len()..], &re) < 1e-13, "{name}");
        assert!(im.is_empty() || difference(&all_im[im.len()..], &im) < 1e-13, "{name}");
        assert!(single.contains_key(&format!("{name}_index")));
    }
    assert_eq!(batch["C01"].shape(), [2, 6 * 16]);
    // A picture made by the command is an image again.
    let picture = folder.at("one.png");
    succeed(&["plot", &one, "-o", &picture, "--domain", "plane"]);
    let local = folder.at("local.npz");
    succeed(&["encode", &picture, "-o", &local, "--domain", "plane", "--statistic", "kymatio2d", "--scales", "2"]);
    let local = npz(&local);
    assert_eq!(local["S2_0_1"].shape()[..2], [4, 4]);
}

#[test]
fn series_are_encoded_from_npy_and_csv() {
    let folder = Folder::new();
    let (x, y) = (noise(256, 3), noise(256, 4));
    let file = folder.npy("x.npy", &real(&[2, 256], [x.clone(), y.clone()].concat()));
    let text: String = x.iter().zip(&y).map(|(a, b)| format!("{a:?},{b:?}\n")).collect();
    let table = folder.text("x.csv", &format!("first,second\n{text}"));
    let (from_npy, from_csv) = (folder.at("a.npz"), folder.at("b.npz"));
    let options = ["--domain", "line", "--statistic", "spectra", "--scales", "4"];
    succeed(&[&["encode", &file, "-o", &from_npy], &options[..]].concat());
    succeed(&[&["encode", &table, "-o", &from_csv], &options[..]].concat());
    let (a, b) = (npz(&from_npy), npz(&from_csv));
    assert_eq!(numbers(&a["kurtosis"]), numbers(&b["kurtosis"]));
    let cascade = folder.at("cascade.npz");
    succeed(&["encode", &file, "-o", &cascade, "--domain", "line", "--statistic", "kymatio1d", "--scales", "4", "--filter-parameter", "Q1=2"]);
    assert!(npz(&cascade).keys().any(|name| name.starts_with("S2_")));
}

#[test]
fn gradients_and_synthesis_work_on_images_and_inpainting_keeps_the_rest() {
    let folder = Folder::new();
    let target = image(32, 32, 5);
    let (file, start) = (folder.npy("t.npy", &real(&[32, 32], target.clone())), folder.npy("x.npy", &real(&[32, 32], noise(1024, 6))));
    let gradient = folder.at("g.npz");
    let options = ["--domain", "plane", "--scales", "2"];
    succeed(&[&["gradient", &start, "--target", &file, "-o", &gradient, "--statistic", "cheng_coefficients"], &options[..]].concat());
    let found = npz(&gradient);
    assert_eq!(found["gradient"].shape(), [32, 32]);
    assert!(numbers(&found["value"]).0[0] > 0.0);
    let mut mask = vec![0.0; 1024];
    mask[..256].fill(1.0);
    let mask = folder.npy("mask.npy", &real(&[32, 32], mask));
    let (out, picture) = (folder.at("new.npy"), folder.at("new.png"));
    let text = succeed(&[&["synthesise", &file, "-o", &out, "--mask", &mask, "--steps", "5", "--plot", &picture], &options[..]].concat());
    assert!(text.contains("loss"), "{text}");
    let Ok(NamedArray::F64 { data, .. }) = io::read_npy(Path::new(&out)) else { panic!("a real array") };
    let kept = data.iter().zip(&target).skip(256).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(kept < 1e-12, "{kept:e}");
    assert!(data.iter().zip(&target).take(256).any(|(a, b)| (a - b).abs() > 1e-3));
    // A series, with a picture.
    let series = folder.npy("s.npy", &real(&[128], noise(128, 9)));
    let (out, picture) = (folder.at("s_new.npy"), folder.at("s_new.png"));
    succeed(&["synthesise", &series, "-o", &out, "--domain", "line", "--scales", "3", "--steps", "3", "--plot", &picture]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let file = folder.npy("x.npy", &real(&[32, 32], image(32, 32, 1)));
    let out = folder.at("out.npz");
    let plane = |more: &[&'static str]| -> Vec<String> {
        let start = ["encode", &file, "-o", &out, "--domain", "plane", "--statistic", "cheng"];
        start.iter().chain(more).map(|s| s.to_string()).collect()
    };
    let check = |arguments: Vec<String>, words: &[&str]| refused(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    check(plane(&["--orientations", "0"]), &["--orientations", "0", "from 1 to 64"]);
    check(plane(&["--scales", "6"]), &["--scales", "from 1 to 5"]);
    check(plane(&["--filters", "morlett"]), &["there is no filter bank `morlett`", "morlet"]);
    check(plane(&["--filter-parameter", "Q1=8"]), &["--filter-parameter", "Q1"]);
    check(plane(&["--boundary", "reflect", "--scales", "5"]), &["cannot be reflected"]);
    let constant = folder.npy("constant.npy", &real(&[32, 32], vec![1.0; 1024]));
    refused(&folder, &["encode", &constant, "-o", &out, "--domain", "plane", "--statistic", "cheng"], &["statistics are finite"]);
    refused(&folder, &["synthesise", &constant, "-o", &out, "--domain", "plane"], &["variance"]);
    let mut holes = image(32, 32, 1);
    holes[77] = f64::NAN;
    let holes = folder.npy("holes.npy", &real(&[32, 32], holes));
    refused(&folder, &["encode", &holes, "-o", &out, "--domain", "plane", "--statistic", "cheng"], &["not finite", "[2, 13]"]);
    let small = folder.npy("small.npy", &real(&[8, 32], vec![0.0; 256]));
    refused(&folder, &["encode", &small, "-o", &out, "--domain", "plane", "--statistic", "cheng"], &["--height", "from 16"]);
    let mask = folder.npy("mask.npy", &real(&[32, 32], vec![0.0; 1024]));
    refused(&folder, &["synthesise", &file, "-o", &out, "--domain", "plane", "--mask", &mask], &["frees none"]);
    refused(&folder, &["encode", &file, "-o", &out, "--domain", "line", "--statistic", "kymatio1d", "--stride", "3"], &["--stride", "power of two"]);
    let ragged = folder.text("ragged.csv", "1,2\n3\n");
    refused(&folder, &["encode", &ragged, "-o", &out, "--domain", "line", "--statistic", "spectra"], &["2 columns in every line"]);
}

#[test]
fn programs_on_the_plane_are_explained_and_measured() {
    let explained = succeed(&["explain", "cheng", "--domain", "plane", "--size", "32x32", "--scales", "2"]);
    assert!(explained.contains("plancherel"), "{explained}");
    let measured = succeed(&["bench", "--domain", "plane", "--size", "32x32", "--scales", "2", "--statistic", "cheng", "--reps", "1", "--json"]);
    assert!(measured.contains("forward_ms"), "{measured}");
}

/// Stencils on images and series: statistics with masks, gradients, and what does not fit.
#[test]
fn stencils_run_on_images_and_series() {
    let folder = Folder::new();
    let image = |seed: u64| NamedArray::F64 { shape: vec![32, 24], data: noise(32 * 24, seed) };
    let (x, t) = (folder.npy("x.npy", &image(1)), folder.npy("t.npy", &image(2)));
    let masks = [vec![1.0; 768], (0..768).map(|k| f64::from(u8::from(k % 5 != 0))).collect()].concat();
    let masks = folder.npy("masks.npy", &NamedArray::F64 { shape: vec![2, 32, 24], data: masks });
    let out = folder.at("s.npz");
    let plane = ["--domain", "plane", "--statistic", "foscat", "--cut-edges"];
    succeed(&[&["encode", &x, "-o", &out, "--mask", &masks], &plane[..]].concat());
    // The shorter side of 24 leaves three scales of four orientations.
    assert_eq!((npz(&out)["S1"].shape(), npz(&out)["S3"].shape()), (vec![2, 12], vec![2, 96]));
    let gradient = folder.at("g.npz");
    succeed(&[&["gradient", &x, "--target", &t, "-o", &gradient], &plane[..]].concat());
    assert_eq!(npz(&gradient)["gradient"].shape(), [32, 24]);
    let series = folder.npy("series.npy", &NamedArray::F64 { shape: vec![128], data: noise(128, 3) });
    succeed(&["encode", &series, "-o", &out, "--domain", "line", "--statistic", "foscat", "--scales", "3"]);
    assert_eq!(npz(&out)["S4"].shape(), [10]);
    succeed(&["encode", &x, "-o", &out, "--domain", "plane", "--statistic", "foscat_covariance", "--even-edges", "--scales", "2"]);
    let empty = folder.npy("empty.npy", &NamedArray::F64 { shape: vec![32, 24], data: (0..768).map(|k| f64::from(u8::from(k < 24))).collect() });
    let refusals: [(&[&str], &[&str]); 5] = [
        (&["--mask", &empty], &["nothing at scale 0"]),
        (&["--kernel", "4"], &["--kernel", "odd"]),
        (&["--scales", "6"], &["--scales", "fewer"]),
        (&["--filters", "morlet", "--mask", &masks], &["--mask", "stencils"]),
        (&["--filters", "morlet", "--boundary", "zero"], &["--boundary", "stencils"]),
    ];
    for (more, words) in refusals {
        let output = scatterc(&[&["encode", &x, "-o", &out], &plane[..], more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {stderr}");
        words.iter().for_each(|word| assert!(stderr.contains(word), "{more:?}: `{word}` is not in: {stderr}"));
    }
}
