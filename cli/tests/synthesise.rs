//! `scatterc synthesise` and `scatterc gradient` as a user runs them: results, pictures, checkpoints, and what is refused.

#![allow(non_snake_case)]

// The readers and writers of the command itself; the tests use a part of them.
#[allow(dead_code)]
#[path = "../src/io.rs"]
mod io;

use io::NamedArray;
use scatterc::random;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const L: usize = 16;

/// A directory of one test, removed at its end, with a target `t.npy` in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("scatterc-synthesise-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        let place = Place(path);
        place.save("t.npy", &target(1));
        place
    }

    fn save(&self, name: &str, field: &[f64]) {
        let fields = field.len() / (2 * L * L);
        let shape = if fields == 1 { vec![L, L] } else { vec![fields, L, L] };
        io::write_npy_atomic(&self.0.join(name), &NamedArray::C128 { shape, data: field.to_vec() }).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_scatterc")).args(arguments).current_dir(&self.0).output().expect("the command starts")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The command must refuse with exit code 2, say `words`, and leave no file that was not there.
    fn refuse(&self, arguments: &[&str], words: &str) {
        let before = self.files();
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: expected `{words}` in: {text}");
        assert_eq!(self.files(), before, "{arguments:?}");
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.0).expect("readable").filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn complex(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        complex(io::read_npy(&self.path(name)).expect("an array"))
    }

    fn archive(&self, name: &str) -> BTreeMap<String, NamedArray> {
        io::read_npz(&self.path(name)).expect("an archive")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn target(seed: u64) -> Vec<f64> {
    let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.0)).collect();
    random::gaussian_with_spectrum(L, &spectrum, seed, 0)
}

/// Shape and interleaved numbers.
fn complex(array: NamedArray) -> (Vec<usize>, Vec<f64>) {
    match array {
        NamedArray::C128 { shape, data } => (shape, data),
        other => panic!("expected complex numbers, found {}", other.describe()),
    }
}

const SHORT: [&str; 6] = ["--directions", "2", "--min-scale", "1", "--steps", "12"];

fn synthesise<'a>(further: &[&'a str]) -> Vec<&'a str> {
    ["synthesise", "t.npy", "-o", "o.npy"].into_iter().chain(SHORT).chain(further.iter().copied()).collect()
}

#[test]
fn results_history_report_and_picture() {
    let place = Place::new("results");
    let table = place.succeed(&synthesise(&["--count", "2", "--seed", "5", "--plot", "p.png", "--history", "h.csv", "--report", "r.json"]));
    assert!(table.contains("statistics error, end") && table.contains("member 1"), "{table}");
    let (shape, both) = place.complex("o.npy");
    assert_eq!(shape, [2, L, L]);
    assert!(std::fs::read(place.path("p.png")).expect("a picture").starts_with(b"\x89PNG"));
    let history = std::fs::read_to_string(place.path("h.csv")).expect("a history");
    assert_eq!(history.lines().next(), Some("step,loss_0,loss_1"));
    assert_eq!(history.lines().count(), 14);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(place.path("r.json")).expect("a report")).expect("JSON");
    assert_eq!(report["validation"].as_array().map(Vec::len), Some(2));
    // Member 1 alone; the American spelling; an archive.
    place.succeed(&[
        "synthesize",
        "t.npy",
        "-o",
        "a.npz",
        "--directions",
        "2",
        "--min-scale",
        "1",
        "--steps",
        "12",
        "--seed",
        "5",
        "--first-member",
        "1",
        "-q",
    ]);
    let (shape, alone) = complex(place.archive("a.npz").remove("flm").expect("flm"));
    assert_eq!(shape, [L, L]);
    let largest = alone.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    let difference = alone.iter().zip(&both[2 * L * L..]).fold(0.0f64, |a, (x, y)| a.max((x - y).abs()));
    assert!(difference <= 1e-12 * largest, "{difference:e}");
}

/// The emulation of CUDA keeps the optimiser's vectors as a device would.
#[test]
fn the_emulated_device_makes_the_fields_of_the_cpu() {
    let place = Place::new("emulate");
    let run = ["synthesise", "t.npy", "--directions", "2", "--min-scale", "2", "-q", "--count", "2"];
    place.succeed(&[&run[..], &["--steps", "5", "-o", "cpu.npy"]].concat());
    let ((shape, cpu), more) = (place.complex("cpu.npy"), ["--device", "emulate", "-o", "cuda.npy"]);
    place.succeed(&[&run[..], &more, &["--steps", "5"]].concat());
    let (found_shape, whole) = place.complex("cuda.npy");
    assert_eq!(found_shape, shape);
    let largest = cpu.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    let difference = cpu.iter().zip(&whole).fold(0.0f64, |a, (x, y)| a.max((x - y).abs()));
    assert!(difference <= 1e-8 * largest, "{difference:e}");
    place.succeed(&[&run[..], &more, &["--steps", "2", "--checkpoint", "c"]].concat());
    place.succeed(&[&run[..], &more, &["--steps", "5", "--resume", "c"]].concat());
    assert_eq!(place.complex("cuda.npy").1, whole);
}

#[test]
fn a_checkpoint_goes_on_where_it_stopped() {
    let place = Place::new("checkpoint");
    for optimiser in ["lbfgs", "adam"] {
        place.succeed(&synthesise(&["--optimiser", optimiser, "-q"]));
        let whole = place.complex("o.npy");
        let half = ["synthesise", "t.npy", "-o", "o.npy", "--directions", "2", "--min-scale", "1", "--optimiser", optimiser, "-q"];
        place.succeed(&[&half[..], &["--steps", "5", "--checkpoint", "c"]].concat());
        assert_ne!(place.complex("o.npy"), whole);
        place.succeed(&[&half[..], &["--steps", "12", "--resume", "c"]].concat());
        assert_eq!(place.complex("o.npy"), whole, "{optimiser}");
    }
}

#[cfg(unix)]
#[test]
fn interrupting_leaves_a_checkpoint() {
    let place = Place::new("interrupt");
    let child = Command::new(env!("CARGO_BIN_EXE_scatterc"))
        .args(["synthesise", "t.npy", "-o", "o.npy", "--steps", "1000000", "--optimiser", "adam", "--checkpoint", "c"])
        .current_dir(&place.0)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(Duration::from_secs(2));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill exists");
    assert!(sent.success());
    let start = Instant::now();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(!place.path("o.npy").exists());
    // The checkpoint is one: a run whose steps are used up already ends at once.
    place.succeed(&["synthesise", "t.npy", "-o", "o.npy", "--steps", "1", "--optimiser", "adam", "--resume", "c", "-q"]);
}

#[test]
fn bad_input_is_refused() {
    let place = Place::new("refused");
    let mut field = target(1);
    field[20] = f64::NAN;
    place.save("nan.npy", &field);
    place.save("constant.npy", &[&[1.0][..], &vec![0.0; 2 * L * L - 1]].concat());
    let mut field = target(1);
    field[2 * L * 3 + 1] = 1.0;
    place.save("complex.npy", &field);
    place.save("two.npy", &[target(1), target(2)].concat());
    place.save("other.npy", &target(9));
    let dipole: Vec<f64> = target(1).iter().enumerate().map(|(k, x)| if k < 4 * L { 0.0 } else { *x }).collect();
    place.save("empty.npy", &dipole);
    std::fs::write(place.path("junk"), b"junk").expect("written");
    let run = |file: &'static str, further: &[&'static str]| {
        [&["synthesise", file, "-o", "o.npy", "--directions", "2", "--steps", "3"][..], further].concat()
    };
    for (file, further, words) in [
        ("nan.npy", &[][..], "finite"),
        ("constant.npy", &[], "variance"),
        ("complex.npy", &[], "not a real field"),
        ("two.npy", &[], "one field"),
        ("empty.npy", &[], "no power at scale 0"),
        ("t.npy", &["--mask", "m.npy"], "masks are not available on the sphere yet"),
        ("t.npy", &["--resume", "junk"], "not a checkpoint"),
        ("t.npy", &["--resume", "absent"], "cannot read the checkpoint"),
        ("t.npy", &["--start", "two.npy"], "one field to start from"),
        ("t.npy", &["--start", "nan.npy"], "finite"),
        ("t.npy", &["--count", "0"], "--count"),
        ("t.npy", &["--floor", "2"], "--floor"),
        ("t.npy", &["--tolerance=-1"], "--tolerance"),
        ("t.npy", &["--learning-rate", "1"], "--optimiser adam"),
        ("t.npy", &["--optimiser", "adam", "--learning-rate=-1"], "positive"),
        ("t.npy", &["--history", "h.txt"], ".csv or .json"),
        ("t.npy", &["--loss", "none"], "no loss `none`"),
        ("t.npy", &["--device", "cuda"], "cuda"),
        ("t.npy", &["--device", "reference"], "cpu"),
        ("t.npy", &["--memory", "1kB"], "memory budget"),
        ("t.npy", &["--plot", "no/where.png"], "no/where.png"),
        ("t.npy", &["--checkpoint", "no/where"], "no/where"),
    ] {
        place.refuse(&run(file, further), words);
    }
    place.refuse(&["synthesise", "t.npy", "-o", "no/where.npy"], "no/where.npy");
    // Checkpoints of another seed, of another target, and cut short.
    place.succeed(&run("t.npy", &["--checkpoint", "c", "-q"]));
    std::fs::remove_file(place.path("o.npy")).expect("it exists");
    let bytes = std::fs::read(place.path("c")).expect("a checkpoint");
    std::fs::write(place.path("cut"), &bytes[..bytes.len() / 2]).expect("written");
    place.refuse(&run("t.npy", &["--resume", "c", "--seed", "1"]), "another problem");
    place.refuse(&run("other.npy", &["--resume", "c"]), "another problem");
    place.refuse(&run("t.npy", &["--resume", "cut"]), "truncated");
    assert_eq!(std::fs::read(place.path("c")).expect("a checkpoint"), bytes, "a refused checkpoint stays as it is");
    // An empty scale with a floor, and without the scale.
    place.succeed(&run("empty.npy", &["--floor", "1e-3", "-q"]));
    place.succeed(&run("empty.npy", &["--min-scale", "1", "-q"]));
}

#[test]
fn gradient_of_a_field_and_of_its_statistics_agree() {
    let place = Place::new("gradient");
    place.save("x.npy", &target(2));
    place.save("two.npy", &[target(2), target(3)].concat());
    let sizes = ["--directions", "2"];
    let run = |arguments: &[&str]| [arguments, &sizes].concat().iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let succeed = |arguments: &[&str]| place.succeed(&run(arguments).iter().map(String::as_str).collect::<Vec<_>>());
    succeed(&["encode", "t.npy", "-o", "t.npz", "--normalise-by", "self"]);
    succeed(&["gradient", "x.npy", "--target", "t.npz", "-o", "a.npz"]);
    succeed(&["gradient", "x.npy", "--target", "t.npy", "--normalise-by", "t.npy", "-o", "b.npz"]);
    succeed(&["gradient", "two.npy", "--target", "t.npz", "-o", "two.npz"]);
    let read = |name: &str| {
        let mut arrays = place.archive(name);
        let Some(NamedArray::F64 { shape, data }) = arrays.remove("value") else { panic!("no value") };
        ((shape, data), complex(arrays.remove("gradient").expect("a gradient")))
    };
    let ((value, gradient), (other, again), (values, gradients)) = (read("a.npz"), read("b.npz"), read("two.npz"));
    assert!(value.0.is_empty() && gradient.0 == [L, L] && values.0 == [2] && gradients.0 == [2, L, L]);
    assert_eq!((&value, &gradient), (&other, &again));
    assert_eq!(gradients.1[..2 * L * L], gradient.1);
    assert_eq!(values.1[0], value.1[0]);
    // Along -conj(gradient) the loss falls by |gradient|^2 per unit of step, to first order.
    let norm: f64 = gradient.1.iter().map(|x| x * x).sum();
    let step = 1e-6 / norm.sqrt();
    let conjugate = |k: usize, g: &f64| if k.is_multiple_of(2) { *g } else { -g };
    let moved: Vec<f64> = target(2).iter().zip(gradient.1.iter().enumerate()).map(|(x, (k, g))| x - step * conjugate(k, g)).collect();
    place.save("moved.npy", &moved);
    succeed(&["gradient", "moved.npy", "--target", "t.npz", "-o", "moved.npz"]);
    let fall = (value.1[0] - read("moved.npz").0.1[0]) / step;
    assert!((fall / norm - 1.0).abs() < 1e-4, "{fall} {norm}");

    let refuse = |arguments: &[&str], words: &str| place.refuse(&run(arguments).iter().map(String::as_str).collect::<Vec<_>>(), words);
    refuse(&["gradient", "x.npy", "--target", "t.npz", "-o", "o.npz", "--min-scale", "1"], "t.npz");
    refuse(&["gradient", "x.npy", "--target", "t.npz", "-o", "o.npz", "--isotropic"], "isotropic");
    refuse(&["gradient", "x.npy", "--target", "t.npz", "-o", "o.npz", "--normalise-by", "t.npy"], "not normalised");
    refuse(&["gradient", "x.npy", "--target", "two.npy", "-o", "o.npz"], "one field");
    refuse(&["gradient", "x.npy", "--target", "absent.npy", "-o", "o.npz"], "absent.npy");
    refuse(&["gradient", "x.npy", "--target", "t.npy", "-o", "o.npz", "--loss", "none"], "no loss `none`");
    refuse(&["gradient", "x.npy", "--target", "t.npy", "-o", "no/where.npz"], "no/where.npz");
}
