//! Bad input: one clear message, exit code 2, nothing written.

use crate::io::NamedArray;
use crate::{Folder, half, half_array, scatterc, succeed};

/// The command must refuse, name all `words`, and leave the directory as it was.
fn refused(folder: &Folder, arguments: &[&str], words: &[&str]) {
    let before = folder.names();
    let output = scatterc(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{stderr}");
    assert!(stderr.contains("error") && !stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in:\n{stderr}");
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(folder.names(), before, "something was written");
}

/// A folder with a good input, and an output that must not appear.
fn start() -> (Folder, String, String) {
    let folder = Folder::new();
    let input = folder.npy("good.npy", &half_array(8, 1));
    let out = folder.at("out.npz");
    (folder, input, out)
}

#[test]
fn arrays_that_are_no_fields() {
    let (folder, _, out) = start();
    let shape = folder.npy("shape.npy", &NamedArray::C128 { shape: vec![8, 9], data: vec![0.5; 144] });
    refused(&folder, &["encode", &shape, "-o", &out], &["shape.npy", "complex128 [8, 9]"]);
    for bad in [f64::NAN, f64::INFINITY] {
        let mut data = half(8, 1);
        data[2 * (8 * 3 + 1)] = bad;
        let path = folder.npy("bad.npy", &NamedArray::C128 { shape: vec![8, 8], data });
        refused(&folder, &["encode", &path, "-o", &out], &["bad.npy", "not finite", "[3, 1]"]);
    }
    let whole = std::fs::read(folder.at("good.npy")).expect("the file");
    std::fs::write(folder.at("short.npy"), &whole[..whole.len() - 40]).expect("a file");
    refused(&folder, &["encode", &folder.at("short.npy"), "-o", &out], &["short.npy"]);
    let text = folder.text("text.npy", "no array at all");
    refused(&folder, &["encode", &text, "-o", &out], &["text.npy", "not a format"]);
    let empty = folder.text("empty.npy", "");
    refused(&folder, &["encode", &empty, "-o", &out], &["an empty file"]);
    refused(&folder, &["encode", &folder.at("absent.npy"), "-o", &out], &["absent.npy", "cannot read"]);
    refused(&folder, &["plot", &text, "-o", &folder.at("map.png")], &["text.npy"]);
}

#[test]
fn sizes_that_do_not_fit() {
    let (folder, input, out) = start();
    refused(&folder, &["encode", &input, "-o", &out, "--min-scale", "3"], &["min-scale", "below the finest scale J = ceil(log2 L) = 3"]);
    refused(&folder, &["encode", &input, "-o", &out, "--directions", "9"], &["directions", "9", "N <= L"]);
    refused(&folder, &["encode", &input, "-o", &out, "--directions", "0"], &["directions"]);
    refused(&folder, &["encode", &input, "-o", &out, "--bandlimit", "16"], &["bandlimit", "16", "8"]);
    refused(&folder, &["encode", &input, "-o", &out, "--bandlimit", "1"], &["bandlimit"]);
    let grid = folder.npy("grid.npy", &NamedArray::F64 { shape: vec![8, 15], data: vec![1.0; 120] });
    refused(&folder, &["encode", &grid, "-o", &out, "--bandlimit", "4"], &["not resampled"]);
    let pixels = folder.npy("pixels.npy", &NamedArray::F64 { shape: vec![192], data: vec![1.0; 192] });
    refused(&folder, &["encode", &pixels, "-o", &out, "--bandlimit", "12"], &["3 nside - 1 = 11"]);
    refused(&folder, &["encode", &input, "-o", &out, "--memory", "1kB"], &["memory budget", "1000"]);
    refused(&folder, &["encode", &input, "-o", &out, "--memory", "many"], &["--memory"]);
    refused(&folder, &["encode", &input, &input, "-o", &out], &["2 files", "1 for the fields"]);
}

#[test]
fn statistics_that_are_wrong() {
    let (folder, input, out) = start();
    refused(&folder, &["encode", &input, "-o", &out, "--statistic", "s3scat"], &["no statistic `s3scat`", "s2scat"]);
    refused(&folder, &["encode", &input, "-o", &out, "--statistic", &folder.at("absent.scat")], &["absent.scat"]);
    let syntax = folder.text("syntax.scat", "statistic bad(x) {\n  S = mean(x) + ;\n  return S;\n}\n");
    refused(&folder, &["encode", &input, "-o", &out, "--statistic", &syntax], &["syntax.scat", "2:", "^"]);
    refused(&folder, &["check", &syntax], &["^"]);
    let kinds = folder.text("kinds.scat", "statistic bad(x) {\n  W[j, g] = wavelet(x, j, g);\n  S[j] = mean(W[j, j]);\n  return S;\n}\n");
    refused(&folder, &["encode", &input, "-o", &out, "--statistic", &kinds], &["kinds.scat", "^"]);
    refused(&folder, &["encode", &input, "-o", &out, "--variant", "flat"], &["no variant `flat`", "isotropic"]);
    refused(&folder, &["encode", &input, "-o", &out, "--parameter", "epsilon=1"], &["epsilon", "delta"]);
    refused(&folder, &["encode", &input, "-o", &out, "--parameter", "delta"], &["NAME=VALUE"]);
    refused(&folder, &["encode", &input, "-o", &out, "--parameter", "delta=1", "--delta-j", "2"], &["given twice"]);
    refused(&folder, &["encode", &input, "-o", &out, "--disable", "magic"], &["no pass `magic`", "parseval"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--after", "magic"], &["--after", "prune"]);
    refused(&folder, &["explain", "s2scat", "--bandlimit", "8", "--goal", "loss", "--loss", "l7"], &["no loss `l7`", "l2"]);
    refused(&folder, &["ops", "magic"], &["magic"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let (folder, input, _) = start();
    let mut data = half(8, 1);
    data[0] = f64::NAN;
    let bad = folder.npy("nan.npy", &NamedArray::C128 { shape: vec![8, 8], data });
    // The output is looked at before the input: the message is about it.
    for input in [&input, &bad] {
        refused(&folder, &["encode", input, "-o", &folder.at("absent/out.npz")], &["absent/out.npz", "cannot write"]);
    }
    std::fs::create_dir(folder.at("directory")).expect("a directory");
    refused(&folder, &["encode", &input, "-o", &folder.at("directory")], &["directory", "cannot write"]);
    refused(&folder, &["plot", &input, "-o", &folder.at("absent/map.png")], &["cannot write"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "-o", &folder.at("absent/plan")], &["cannot write"]);
    refused(&folder, &["demo", "--bandlimit", "8", "--out", &folder.at("good.npy")], &["good.npy"]);
    refused(&folder, &["demo", "--bandlimit", "17", "--out", &folder.at("demo")], &["one above a power of two"]);
    refused(&folder, &["demo", "--bandlimit", "4", "--out", &folder.at("demo")], &["from 8"]);
}

/// A limit on the size of files stands for a full disk: writes fail in the middle.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_leaves_the_earlier_file() {
    let (folder, field, output) = start();
    std::fs::write(&output, "an earlier result").expect("the earlier file");
    let before = folder.names();
    let script = "ulimit -f 1; trap '' XFSZ; exec \"$0\" encode \"$1\" -o \"$2\" --quiet";
    let found = std::process::Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_scatterc"), &field, &output]).output().expect("a shell");
    let text = String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(2), "{text}");
    assert!(text.contains("error") && text.contains("cannot"), "{text}");
    assert_eq!(std::fs::read_to_string(&output).expect("the earlier file"), "an earlier result");
    assert_eq!(folder.names(), before, "nothing half-written is left");
}

#[test]
fn what_this_version_lacks() {
    let (folder, input, out) = start();
    refused(
        &folder,
        &["encode", &input, "-o", &out, "--precision", "f32", "--device", "reference"],
        &["the device reference computes in f64", "--device cpu"],
    );
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--emit", "cuda"], &["clif or asm for `--device cpu`"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--emit", "clif", "--device", "emulate"], &["cuda, ptx or cubin for `--device cuda`"]);
    refused(&folder, &["encode", &input, "-o", &out, "--domain", "healpix"], &["real numbers"]);
    refused(&folder, &["explain", "foscat", "--domain", "healpix", "--nside", "12"], &["--nside", "a power of two"]);
    refused(&folder, &["encode", &input, "-o", &out, "--mask", &input], &["masks belong to the domains plane, line and healpix"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--emit", "asm", "--device", "emulate"], &["cuda, ptx or cubin for `--device cuda`"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--emit", "ptx"], &["ptx or cubin for `--device cuda`"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--emit", "cubin", "--device", "cuda"], &["`--output`", "a file"]);
    refused(&folder, &["emit", "s2scat", "--bandlimit", "8", "--arch", "sm_90"], &["`--arch`", "ptx"]);
    refused(&folder, &["emit", "s2scat", "--emit", "ptx", "--device", "cuda", "--arch", "hopper"], &["such as sm_90", "hopper"]);
    refused(&folder, &["encode", &input, "-o", &out, "--domain", "torus"], &["torus"]);
}

#[test]
fn columns_and_orders_of_tables() {
    let (folder, _, out) = start();
    let fits = format!("{}/src/fixtures/healpy_nside4_nested.fits.gz", env!("CARGO_MANIFEST_DIR"));
    refused(&folder, &["encode", &fits, "-o", &out, "--column", "absent"], &["no column \"absent\""]);
    refused(&folder, &["encode", &fits, "-o", &out, "--column", "99"], &["no column"]);
    refused(&folder, &["encode", &fits, "-o", &out, "--ordering", "ring"], &["NESTED"]);
}

#[test]
fn norms_without_power() {
    let (folder, input, out) = start();
    let mut data = vec![0.0; 128];
    data[2 * (6 * 8 + 2)] = 1.0;
    let ring = folder.npy("ring.npy", &NamedArray::C128 { shape: vec![8, 8], data });
    refused(&folder, &["encode", &ring, "-o", &out, "--normalise-by", "self"], &["no power", "0, 1", "--min-scale 2"]);
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", &ring], &["no power", "ring.npy"]);
    let zero = folder.npy("zero.npy", &NamedArray::C128 { shape: vec![8, 8], data: vec![0.0; 128] });
    refused(&folder, &["encode", &zero, "-o", &out, "--normalise-by", "self", "--floor", "0.1"], &["no power", "constant"]);
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", "self", "--floor", "-1"], &["--floor"]);
    // One degree above a power of two: the finest scale is empty.
    let odd = folder.npy("odd.npy", &half_array(9, 1));
    refused(&folder, &["encode", &odd, "-o", &out, "--normalise-by", "self"], &["no power", "scale 4", "--bandlimit"]);
}

#[test]
fn norms_that_do_not_fit() {
    let (folder, input, out) = start();
    let encode = |name: &str, options: &[&str]| {
        let path = folder.at(name);
        succeed(&[&["encode", &input, "-o", &path], options].concat());
        path
    };
    let normalised = encode("normalised.npz", &["--normalise-by", "self"]);
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", &normalised], &["not normalised themselves"]);
    let other = encode("other.npz", &["--min-scale", "1"]);
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", &other], &["J_min=0", "J_min=1"]);
    let small = folder.npy("small.npy", &half_array(4, 1));
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", &small], &["small.npy", "bandlimit"]);
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", "selfie"], &["selfie"]);
    let batch = folder.npy("batch.npy", &NamedArray::C128 { shape: vec![2, 8, 8], data: [half(8, 1), half(8, 2)].concat() });
    refused(&folder, &["encode", &input, "-o", &out, "--normalise-by", &batch], &["one field"]);
    let own = folder.text("own.scat", "statistic first(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); return S; }");
    refused(&folder, &["encode", &input, "-o", &out, "--statistic", &own, "--normalise-by", "self"], &["no array parameter `P`"]);
}

#[test]
fn plans_that_are_wrong() {
    let (folder, input, out) = start();
    let plan = folder.at("good.plan");
    succeed(&["emit", "s2scat", "--bandlimit", "8", "--emit", "plan", "-o", &plan]);
    let text = std::fs::read_to_string(&plan).expect("the plan");
    refused(&folder, &["run", &folder.at("absent.plan"), &input, "-o", &out], &["absent.plan"]);
    let cut = folder.text("cut.plan", &text[..text.len() / 2]);
    refused(&folder, &["run", &cut, &input, "-o", &out], &["cut.plan"]);
    let arena = text.lines().find(|l| l.trim_start().starts_with("arena")).expect("a line");
    let small = folder.text("small.plan", &text.replace(arena, "  arena 100"));
    refused(&folder, &["run", &small, &input, "-o", &out], &["leaves the arena"]);
    let other = folder.npy("other.npy", &half_array(16, 1));
    refused(&folder, &["run", &plan, &other, "-o", &out], &["other.npy", "[8, 8]", "[16, 16]"]);
    refused(&folder, &["run", &plan, &input, &input, "-o", &out], &["given twice"]);
    refused(&folder, &["run", &plan, &format!("y={input}"), "-o", &out], &["good.npy"]);
}
