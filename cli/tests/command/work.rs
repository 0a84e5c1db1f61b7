//! What the commands do on small inputs.

use crate::io::NamedArray;
use crate::{Folder, difference, half, half_array, noise, npz, numbers, scatterc, succeed};
use scatterc::kernels::Serial;
use scatterc::kernels::healpix::{index, synthesis, synthesis_grid};
use scatterc::kernels::sampling::gauss_legendre;
use serde_json::Value;

const OUTPUTS: [&str; 6] = ["mean", "variance", "S1", "S2", "S3", "S4"];

fn triangular(L: usize, half: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; L * (L + 1)];
    for ell in 0..L {
        for m in 0..=ell {
            let (from, to) = (2 * (ell * L + m), 2 * index(L, ell, m));
            out[to..to + 2].copy_from_slice(&half[from..from + 2]);
        }
    }
    out
}

/// The same arrays up to `tolerance` of each one's maximum.
fn same(a: &str, b: &str, tolerance: f64) {
    let (a, b) = (npz(a), npz(b));
    for name in OUTPUTS {
        let error = difference(&numbers(&a[name]).0, &numbers(&b[name]).0);
        assert!(error <= tolerance, "{name}: {error:e}");
    }
}

#[test]
fn encode_writes_arrays_tables_and_metadata() {
    let folder = Folder::new();
    let (input, out) = (folder.npy("field.npy", &half_array(8, 1)), folder.at("out.npz"));
    succeed(&["encode", &input, "-o", &out, "--delta-j", "2"]);
    let arrays = npz(&out);
    assert_eq!(arrays["mean"].shape(), Vec::<usize>::new());
    assert_eq!(arrays["S1"].shape(), [20]);
    assert_eq!(arrays["S4_index"].shape()[1], 6);
    assert_eq!(arrays["S4_index"].shape()[0], arrays["S4"].shape()[0]);
    assert_eq!(arrays["S3_index_columns"], NamedArray::Texts(["j", "i", "h", "g"].map(String::from).to_vec()));
    let NamedArray::Text(text) = &arrays["metadata"] else { panic!("metadata is a text") };
    let metadata: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(metadata["name"], "s2scat");
    assert_eq!(metadata["input"], "field.npy");
    assert_eq!(metadata["parameters"]["delta"], 2.0);
    assert_eq!(metadata["normalised"], Value::Null);
    assert_eq!(metadata["domain"], "sphere L=8 N=3 J_min=0 input=half");
    assert!(metadata["statistic"].as_str().is_some_and(|s| s.contains("S4")));
    assert!(!text.contains(&folder.at("")), "no paths in results");
    assert_eq!(folder.names(), ["field.npy", "out.npz"]);
}

#[test]
fn a_batch_is_its_members() {
    let folder = Folder::new();
    let fields: Vec<Vec<f64>> = (0..5).map(|k| half(8, k + 10)).collect();
    let batch = folder.npy("batch.npy", &NamedArray::C128 { shape: vec![5, 8, 8], data: fields.concat() });
    for options in [&[][..], &["--memory", "3MB"], &["--normalise-by", "self"]] {
        let all = folder.at("all.npz");
        succeed(&[&["encode", &batch, "-o", &all], options].concat());
        let all = npz(&all);
        assert_eq!(all["mean"].shape(), [5]);
        assert_eq!(all["S1"].shape(), [5, 20]);
        for (k, field) in fields.iter().enumerate() {
            let one = folder.npy("one.npy", &NamedArray::C128 { shape: vec![8, 8], data: field.clone() });
            let out = folder.at("one.npz");
            let options = if options.first() == Some(&"--memory") { &[][..] } else { options };
            succeed(&[&["encode", &one, "-o", &out], options].concat());
            let one = npz(&out);
            for name in OUTPUTS {
                let (all, one) = (numbers(&all[name]).0, numbers(&one[name]).0);
                let error = difference(&all[k * one.len()..(k + 1) * one.len()], &one);
                assert!(error < 1e-12, "{name} of {k}: {error:e}");
            }
        }
    }
    // One field with a batch axis keeps it.
    let single = folder.npy("single.npy", &NamedArray::C128 { shape: vec![1, 8, 8], data: fields[0].clone() });
    succeed(&["encode", &single, "-o", &folder.at("single.npz")]);
    assert_eq!(npz(&folder.at("single.npz"))["S1"].shape(), [1, 20]);
}

#[test]
fn grids_planes_pixels_and_cut_coefficients_agree() {
    let folder = Folder::new();
    let L = 8;
    let half = half(L, 3);
    let input = folder.npy("half.npy", &NamedArray::C128 { shape: vec![L, L], data: half.clone() });
    let expected = folder.at("half.npz");
    succeed(&["encode", &input, "-o", &expected]);

    let mut full = vec![0.0; 2 * L * (2 * L - 1)];
    for ell in 0..L {
        for m in 0..=ell {
            let (re, im) = (half[2 * (ell * L + m)], half[2 * (ell * L + m) + 1]);
            let sign = if m % 2 == 0 { 1.0 } else { -1.0 };
            let row = ell * (2 * L - 1) + L - 1;
            (full[2 * (row - m)], full[2 * (row - m) + 1]) = (sign * re, -sign * im);
            (full[2 * (row + m)], full[2 * (row + m) + 1]) = (re, im);
        }
    }
    let out = folder.at("full.npz");
    succeed(&["encode", &folder.npy("full.npy", &NamedArray::C128 { shape: vec![L, 2 * L - 1], data: full }), "-o", &out]);
    same(&out, &expected, 1e-11);

    let (nodes, _) = gauss_legendre(L);
    let mut theta: Vec<f64> = nodes.clone();
    // Nodes are colatitudes, or cosines in any order.
    if nodes.iter().any(|x| *x < 0.0) {
        theta = nodes.iter().map(|x| x.acos()).collect();
    }
    theta.sort_by(f64::total_cmp);
    let grid = synthesis_grid(&Serial, L, &triangular(L, &half), &theta, 2 * L - 1).expect("a grid");
    let out = folder.at("grid.npz");
    succeed(&["encode", &folder.npy("grid.npy", &NamedArray::F64 { shape: vec![L, 2 * L - 1], data: grid }), "-o", &out]);
    same(&out, &expected, 1e-11);

    let map = synthesis(&Serial, 8, L, &triangular(L, &half)).expect("a map");
    let pixels = folder.npy("pixels.npy", &NamedArray::F64 { shape: vec![map.len()], data: map });
    let out = folder.at("pixels.npz");
    let printed = scatterc(&["encode", &pixels, "-o", &out, "--bandlimit", "8", "--ordering", "ring", "--iterations", "12"]);
    assert!(printed.status.success());
    assert!(String::from_utf8_lossy(&printed.stderr).contains("residual"));
    same(&out, &expected, 1e-8);

    let cut: Vec<f64> = (0..4).flat_map(|ell| half[2 * ell * L..2 * (ell * L + 4)].to_vec()).collect();
    succeed(&["encode", &folder.npy("cut.npy", &NamedArray::C128 { shape: vec![4, 4], data: cut }), "-o", &folder.at("cut.npz")]);
    succeed(&["encode", &input, "-o", &folder.at("short.npz"), "--bandlimit", "4"]);
    same(&folder.at("short.npz"), &folder.at("cut.npz"), 0.0);
}

#[test]
fn norms_come_from_a_field_or_a_result() {
    let folder = Folder::new();
    let (input, reference) = (folder.npy("a.npy", &half_array(8, 1)), folder.npy("b.npy", &half_array(8, 2)));
    succeed(&["encode", &reference, "-o", &folder.at("b.npz")]);
    succeed(&["encode", &input, "-o", &folder.at("field.npz"), "--normalise-by", &reference]);
    succeed(&["encode", &input, "-o", &folder.at("result.npz"), "--normalise-by", &folder.at("b.npz")]);
    same(&folder.at("field.npz"), &folder.at("result.npz"), 1e-13);
    let arrays = npz(&folder.at("result.npz"));
    assert_eq!(arrays["normalisation"].shape(), [20]);
    assert!(matches!(&arrays["metadata"], NamedArray::Text(t) if t.contains("\"normalised\":\"b.npz\"")));
    let (plain, power) = (npz(&folder.at("b.npz")), numbers(&arrays["normalisation"]).0);
    assert_eq!(numbers(&plain["S2"]).0.len(), power.len());
}

#[test]
fn a_floor_replaces_missing_power() {
    let folder = Folder::new();
    // Power at degree 6 only: scales 0 and 1 have none.
    let mut data = vec![0.0; 128];
    data[2 * (6 * 8 + 2)] = 1.0;
    let input = folder.npy("ring.npy", &NamedArray::C128 { shape: vec![8, 8], data });
    let out = folder.at("out.npz");
    let output = scatterc(&["encode", &input, "-o", &out, "--normalise-by", "self", "--floor", "1e-6"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("raised to"));
    for name in OUTPUTS {
        assert!(numbers(&npz(&out)[name]).0.iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn a_text_of_ones_own() {
    let folder = Folder::new();
    let text = "statistic first(x) { W[j, g] = wavelet(x, j, g); S1[j, g] = mean(abs(W[j, g])); V[j] = mean(W[j, 0]^2); return S1, V; }\n\
                statistic second(x, y) { W[j, g] = wavelet(x, j, g); V[j, g] = wavelet(y, j, g); C[j, g] = mean(W[j, g] * V[j, g]); return C; }";
    let text = folder.text("own.scat", text);
    let (a, b, out) = (folder.npy("a.npy", &half_array(8, 1)), folder.npy("b.npy", &half_array(8, 2)), folder.at("out.npz"));
    succeed(&["encode", &a, "-o", &out, "--statistic", &format!("{text}:first")]);
    assert_eq!(npz(&out)["S1"].shape(), [20]);
    succeed(&["encode", &a, &b, "-o", &out, "--statistic", &format!("{text}:second")]);
    assert_eq!(npz(&out)["C"].shape(), [20]);
    assert!(succeed(&["check", &text]).contains("statistic second of x, y"));
}

#[test]
fn explain_names_stages_and_launches() {
    let text = succeed(&["explain", "s2scat", "--bandlimit", "8"]);
    for word in ["stages", "bind", "parseval", "prune", "launches", "wigner_inverse", "arena", "compiled in"] {
        assert!(text.contains(word), "{word}");
    }
    assert!(succeed(&["explain", "s2scat", "--bandlimit", "8", "--measure"]).contains("measured ms"));
    let object: Value = serde_json::from_str(&succeed(&["explain", "s2scat", "--bandlimit", "8", "--json"])).expect("JSON");
    assert!(object["stages"].as_array().is_some_and(|s| s.len() > 4) && object["launches"].as_array().is_some_and(|l| !l.is_empty()));
    assert!(succeed(&["explain", "s2scat", "--bandlimit", "8", "--goal", "gradient"]).contains("gradient"));
}

#[test]
fn emit_prints_every_stage() {
    let emit = |options: &[&str]| succeed(&[&["emit", "s2scat", "--bandlimit", "8"], options].concat());
    assert!(emit(&[]).starts_with("graph s2scat {"));
    assert_ne!(emit(&["--after", "share"]), emit(&["--after", "prune"]));
    assert_eq!(emit(&["--emit", "bind"]), emit(&["--after", "bind"]));
    assert!(emit(&["--emit", "dot"]).starts_with("digraph"));
    assert!(emit(&["--emit", "clif"]).contains("function"));
    // A heading for each kernel and the way back from each.
    let (clif, asm) = (emit(&["--emit", "clif"]), emit(&["--emit", "asm"]));
    let headings = |text: &str| text.lines().filter(|line| line.starts_with("; k")).map(String::from).collect::<Vec<_>>();
    assert_eq!(headings(&clif), headings(&asm));
    assert!(asm.matches("ret").count() >= headings(&asm).len(), "{asm}");
    assert!(emit(&["--emit", "loops"]).contains("write"));
    assert!(emit(&["--emit", "plan"]).starts_with("plan s2scat {"));
}

/// CUDA C needs nothing; PTX and machine code come from NVRTC, or its absence is said.
#[cfg(feature = "cuda")]
#[test]
fn emit_compiles_for_cuda_where_nvrtc_is() {
    let folder = Folder::new();
    let emit = |kind: &str, path: &str| {
        let common = ["emit", "s2scat", "--bandlimit", "8", "--device", "cuda", "--emit", kind, "-o", path];
        scatterc(&[&common[..], if kind == "cuda" { &[] } else { &["--arch", "sm_80"] }].concat())
    };
    let (text, ptx, cubin) = (folder.at("s.cu"), folder.at("s.ptx"), folder.at("s.cubin"));
    assert!(emit("cuda", &text).status.success());
    assert!(std::fs::read_to_string(&text).expect("written").contains("extern \"C\" __global__"));
    let output = emit("ptx", &ptx);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(std::env::var_os("SCATTERC_REQUIRE_NVRTC").is_none() && stderr.contains("NVRTC") && stderr.contains("pip install"), "{stderr}");
        assert!(!folder.names().contains(&"s.ptx".to_string()));
        eprintln!("\n*** NOTHING WAS COMPILED BY NVRTC: it was not found\n");
        return;
    }
    let found = std::fs::read_to_string(&ptx).expect("written");
    assert!(found.contains(".target sm_80") && found.contains(".visible .entry k"), "{}", &found[..400.min(found.len())]);
    assert!(emit("cubin", &cubin).status.success());
    assert!(std::fs::read(&cubin).expect("written").starts_with(b"\x7fELF"));
}

#[test]
fn a_saved_plan_gives_the_same_bits() {
    let folder = Folder::new();
    let (input, plan, a, b) = (folder.npy("x.npy", &half_array(8, 4)), folder.at("s.plan"), folder.at("a.npz"), folder.at("b.npz"));
    succeed(&["emit", "s2scat", "--bandlimit", "8", "--emit", "plan", "-o", &plan]);
    succeed(&["run", &plan, &input, "-o", &a]);
    succeed(&["encode", &input, "-o", &b]);
    same(&a, &b, 0.0);
    succeed(&["run", &plan, &format!("x={input}"), "-o", &a]);
    same(&a, &b, 0.0);
}

#[test]
fn pictures_of_every_kind() {
    let folder = Folder::new();
    let inputs = [
        folder.npy("half.npy", &half_array(8, 1)),
        folder.npy("batch.npy", &NamedArray::C128 { shape: vec![2, 8, 8], data: [half(8, 1), half(8, 2)].concat() }),
        folder.npy("full.npy", &NamedArray::C128 { shape: vec![8, 15], data: noise(240, 1) }),
        folder.npy("grid.npy", &NamedArray::F64 { shape: vec![8, 15], data: noise(120, 1) }),
        folder.npy("pixels.npy", &NamedArray::F64 { shape: vec![192], data: noise(192, 1) }),
        format!("{}/src/fixtures/healpy_nside4_nested.fits.gz", env!("CARGO_MANIFEST_DIR")),
    ];
    for (input, colours) in inputs.iter().zip(["viridis", "planck", "diverging"].iter().cycle()) {
        let out = folder.at("map.png");
        succeed(&["plot", input, "-o", &out, "--colours", colours]);
        assert!(std::fs::read(&out).expect("a picture").starts_with(b"\x89PNG"));
    }
}

#[test]
fn the_demonstration_runs() {
    let folder = Folder::new();
    let text = succeed(&["demo", "--bandlimit", "16", "--out", &folder.at("demo"), "--quiet"]);
    assert!(text.contains("non-Gaussianity"));
    let arrays = npz(&folder.at("demo/demo.npz"));
    assert_eq!(arrays["web_flm"].shape(), [16, 16]);
    // Twins have the same power per scale, by construction.
    let power = |name: &str| numbers(&arrays[name]).0;
    let sums = |x: Vec<f64>| x.chunks(5).map(|row| row.iter().sum::<f64>()).collect::<Vec<f64>>();
    assert!(difference(&sums(power("twin_normalisation")), &sums(power("web_normalisation"))) < 1e-12);
    assert!(std::fs::read(folder.at("demo/demo.png")).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn measurements_are_one_object() {
    let object: Value = serde_json::from_str(&succeed(&["bench", "--bandlimit", "8", "--reps", "2", "--json"])).expect("JSON");
    for key in ["compile_ms", "forward_ms", "gradient_ms", "flops", "bytes", "threads", "peak_rss_mb"] {
        assert!(object[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {}", object[key]);
    }
    assert!(object["shapes"].is_object());
    assert!(succeed(&["bench", "--bandlimit", "8", "--reps", "1"]).contains("| forward |"));
}

#[test]
fn the_suite_checks_a_device() {
    let text = succeed(&["bench", "--suite", "--largest", "0", "--threads", "2"]);
    let object: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(object["device"], "cpu");
    assert_eq!(object["faults"].as_array().map(Vec::len), Some(0), "{}", object["faults"]);
    let golden = object["golden"].as_object().expect("golden cases");
    assert!(golden.len() == 2 && golden.values().all(|case| case["ok"] == true), "{golden:?}");
    assert!(object["agreement"].as_object().is_some_and(|cases| cases.len() >= 13), "{}", object["agreement"]);
    assert_eq!((&object["memory"]["f64"]["second_run_same_bits"], &object["memory"]["f64"]["poisoned_same_bits"]), (&true.into(), &true.into()));
}

/// The suite of a GPU from end to end at small sizes: kernels run on the processor, so its times mean nothing, but every part runs and is in the object.
#[test]
fn the_suite_of_a_gpu_runs_on_the_emulation() {
    let text = succeed(&["bench", "--suite", "--device", "emulate", "--largest", "16", "--threads", "2"]);
    let object: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(object["faults"].as_array().map(Vec::len), Some(0), "{}", object["faults"]);
    for (part, least) in [("golden", 4), ("agreement", 13), ("memory", 2), ("times", 4), ("synthesis", 2)] {
        assert!(object[part].as_object().is_some_and(|cases| cases.len() >= least), "{part}: {}", object[part]);
    }
    for case in ["L=16 f64", "L=16 f32", "L=16 batch=8 f64", "L=16 batch=8 f32"] {
        for goal in ["forward", "gradient"] {
            assert!(object["times"][case][goal]["run_ms"].is_number() && object["times"][case][goal]["launches"].is_array(), "{case} {goal}");
        }
    }
    assert_eq!(object["memory"]["f32"]["poisoned_same_bits"], true);
}

#[test]
fn small_commands() {
    let doctor = succeed(&["doctor"]);
    assert!(doctor.contains("devices    cpu, reference"), "{doctor}");
    // Driver and compiler are there, or the line says where they come from.
    assert!(doctor.contains("\n  driver   ") && doctor.contains("\n  nvrtc    ") || doctor.contains("built without CUDA"), "{doctor}");
    let ops = succeed(&["ops"]);
    assert!(ops.contains("wigner_inverse") && ops.contains("softplus"));
    assert!(succeed(&["check", "s2scat"]).contains("output S4[j: scale"));
    assert!(succeed(&["check", "s2scat", "--bandlimit", "16"]).contains("3750 entries"));
    succeed(&["cache", "list"]);
    assert!(succeed(&["cache", "verify"]).contains("checked, 0 damaged"));
    assert!(succeed(&["--help"]).contains("encode"));
}
