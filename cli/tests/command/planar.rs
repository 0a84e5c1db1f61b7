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

/// A TIFF file of pages of one channel, as a writer without compression makes it.
fn tiff(pages: &[(u32, u32, Vec<u16>)]) -> Vec<u8> {
    let mut bytes = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for (H, W, pixels) in pages {
        let strip = bytes.len() as u32;
        pixels.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        let directory = bytes.len() as u32;
        bytes[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        // Tag, type (3: short, 4: long), value: sizes, 16 bits, no compression, black is zero, one strip.
        let entries =
            [(256, 4, *W), (257, 4, *H), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, strip), (277, 3, 1), (278, 4, *H), (279, 4, 2 * H * W)];
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, value) in entries {
            bytes.extend((tag as u16).to_le_bytes());
            bytes.extend((kind as u16).to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        link = bytes.len();
        bytes.extend([0; 4]);
    }
    bytes
}

#[test]
fn tiff_pictures_are_read_page_by_page() {
    let folder = Folder::new();
    let pixels = |seed: u64| noise(32 * 24, seed).iter().map(|x| (32768.0 + 8000.0 * x).clamp(0.0, 65535.0) as u16).collect::<Vec<u16>>();
    let (a, b) = (pixels(1), pixels(2));
    let file = folder.at("pages.tif");
    std::fs::write(&file, tiff(&[(32, 24, a.clone()), (32, 24, b.clone())])).expect("a file");
    let values: Vec<f64> = a.iter().chain(&b).map(|x| f64::from(*x) / 65535.0).collect();
    let array = folder.npy("same.npy", &real(&[2, 32, 24], values));
    let options = ["--domain", "plane", "--statistic", "cheng", "--scales", "2"];
    let (from_tiff, from_npy) = (folder.at("a.npz"), folder.at("b.npz"));
    succeed(&[&["encode", &file, "-o", &from_tiff], &options[..]].concat());
    succeed(&[&["encode", &array, "-o", &from_npy], &options[..]].concat());
    assert_eq!(numbers(&npz(&from_tiff)["C11"]), numbers(&npz(&from_npy)["C11"]));
    let out = folder.at("out.npz");
    let unequal = folder.at("unequal.tif");
    std::fs::write(&unequal, tiff(&[(32, 24, a.clone()), (24, 32, b)])).expect("a file");
    refused(&folder, &[&["encode", &unequal, "-o", &out], &options[..]].concat(), &["pages of one size", "24 x 32 on page 2"]);
    let cut = folder.at("cut.tif");
    let bytes = tiff(&[(32, 24, a)]);
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("a file");
    refused(&folder, &[&["encode", &cut, "-o", &out], &options[..]].concat(), &["a TIFF picture"]);
}

#[test]
fn masks_weigh_averages_and_may_not_empty_a_scale() {
    let folder = Folder::new();
    let x = image(32, 32, 1);
    let file = folder.npy("x.npy", &real(&[32, 32], x.clone()));
    let options = ["--domain", "plane", "--statistic", "cheng", "--scales", "2"];
    let ones = folder.npy("ones.npy", &real(&[32, 32], vec![2.0; 1024]));
    let (plain, masked) = (folder.at("plain.npz"), folder.at("masked.npz"));
    succeed(&[&["encode", &file, "-o", &plain], &options[..]].concat());
    succeed(&[&["encode", &file, "-o", &masked, "--mask", &ones], &options[..]].concat());
    let (plain, masked) = (npz(&plain), npz(&masked));
    // Equal weights are those of no mask; the variance alone counts samples by their weight.
    for name in ["P00", "S1", "C01", "C11"] {
        let ((a, b), (c, d)) = (numbers(&plain[name]), numbers(&masked[name]));
        assert!(difference(&a, &c) < 1e-12 && (b.is_empty() || difference(&b, &d) < 1e-12), "{name}");
    }
    let out = folder.at("out.npz");
    let encode = |mask: &str, words: &[&str]| refused(&folder, &[&["encode", &file, "-o", &out, "--mask", mask], &options[..]].concat(), words);
    // Only an odd sample has weight, and the coarse grid has none of those.
    let mut few = vec![0.0; 1024];
    few[33] = 1.0;
    encode(&folder.npy("few.npy", &real(&[32, 32], few)), &["leaves nothing", "scale 1", "16 x 16"]);
    encode(&folder.npy("none.npy", &real(&[32, 32], vec![0.0; 1024])), &["leaves nothing", "scale 0"]);
    encode(&folder.npy("negative.npy", &real(&[32, 32], vec![-1.0; 1024])), &["weights from 0 on"]);
    encode(&folder.npy("small.npy", &real(&[16, 16], vec![1.0; 256])), &["32 x 32 weights", "16 x 16"]);
    let mut holes = vec![1.0; 1024];
    holes[5] = f64::INFINITY;
    encode(&folder.npy("holes.npy", &real(&[32, 32], holes)), &["not finite"]);
}

#[test]
fn syntheses_go_through_resolutions_and_go_on_from_checkpoints() {
    let folder = Folder::new();
    let file = folder.npy("t.npy", &real(&[64, 64], image(64, 64, 5)));
    let options = ["--domain", "plane", "--scales", "3", "--levels", "2", "--seed", "3"];
    let run = |out: &str, more: &[&str]| succeed(&[&["synthesise", &file, "-o", out], &options[..], more].concat());
    let read = |path: &str| match io::read_npy(Path::new(path)) {
        Ok(NamedArray::F64 { data, .. }) => data,
        other => panic!("{other:?}"),
    };
    let (whole, part, rest, state) = (folder.at("whole.npy"), folder.at("part.npy"), folder.at("rest.npy"), folder.at("state"));
    run(&whole, &["--steps", "6"]);
    // The run ends in the middle of the last resolution, and goes on there with the same bits.
    run(&part, &["--steps", "6", "--checkpoint", &state]);
    run(&rest, &["--steps", "6", "--resume", &state]);
    assert_eq!(read(&whole), read(&part));
    assert_eq!(read(&whole), read(&rest));
    let out = folder.at("out.npy");
    let refuse = |more: &[&str], words: &[&str]| {
        refused(&folder, &[&["synthesise", &file, "-o", &out, "--domain", "plane", "--scales", "3"], more].concat(), words)
    };
    refuse(&["--levels", "2", "--seed", "4", "--resume", &state], &["checkpoint"]);
    refuse(&["--levels", "4"], &["4 levels", "from 1 to"]);
    refuse(&["--levels", "0"], &["0 levels"]);
    refuse(&["--count", "2", "--checkpoint", &state], &["--count", "--first-member"]);
    // A series.
    let series = folder.npy("s.npy", &real(&[256], noise(256, 9)));
    let (out, picture) = (folder.at("s_new.npy"), folder.at("s_new.png"));
    succeed(&["synthesise", &series, "-o", &out, "--domain", "line", "--scales", "4", "--levels", "2", "--steps", "3", "--plot", &picture]);
}

#[test]
fn files_of_unequal_sizes_are_refused() {
    let folder = Folder::new();
    let (a, b) = (folder.npy("a.npy", &real(&[32, 32], image(32, 32, 1))), folder.npy("b.npy", &real(&[16, 32], image(16, 32, 1))));
    let out = folder.at("out.npz");
    let options = ["--domain", "plane", "--statistic", "cheng_cross", "--scales", "2"];
    refused(&folder, &[&["encode", &a, &b, "-o", &out], &options[..]].concat(), &["as the first file", "16 x 32"]);
    refused(
        &folder,
        &["gradient", &a, "--target", &b, "-o", &out, "--domain", "plane", "--statistic", "cheng", "--scales", "2"],
        &["32 x 32", "16 x 32"],
    );
    let text = folder.text("x.csv", "1,2\n3,nan\n");
    refused(&folder, &["encode", &text, "-o", &out, "--domain", "line", "--statistic", "spectra"], &["finite numbers", "line 2"]);
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
    let square = folder.npy("square.npy", &NamedArray::F64 { shape: vec![64, 64], data: noise(64 * 64, 4) });
    let hole = (0..64 * 64).map(|k| f64::from(u8::from(k / 64 > 20 || k % 64 > 20))).collect();
    let hole = folder.npy("hole.npy", &NamedArray::F64 { shape: vec![64, 64], data: hole });
    let covariance = ["--domain", "plane", "--statistic", "foscat_covariance", "--erode-mask"];
    succeed(&[&["encode", &square, "-o", &out, "--mask", &hole, "--scales", "2"], &covariance[..]].concat());
    assert_eq!(npz(&out)["S1"].shape(), [8]);
    let output = scatterc(&[&["encode", &square, "-o", &out, "--mask", &hole, "--scales", "5"], &covariance[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("leaves nothing"), "{stderr}");
    let output = scatterc(&[&["encode", &square, "-o", &out], &covariance[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("--mask"), "{stderr}");
    let refusals: [(&[&str], &[&str]); 4] = [
        (&["--mask", &empty], &["leaves nothing", "scale 0"]),
        (&["--kernel", "4"], &["--kernel", "odd"]),
        (&["--scales", "6"], &["--scales", "fewer"]),
        (&["--filters", "morlet", "--boundary", "zero"], &["--boundary", "stencils"]),
    ];
    for (more, words) in refusals {
        let output = scatterc(&[&["encode", &x, "-o", &out], &plane[..], more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {stderr}");
        words.iter().for_each(|word| assert!(stderr.contains(word), "{more:?}: `{word}` is not in: {stderr}"));
    }
}
