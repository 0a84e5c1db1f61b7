//! What authors of statistics and students of kernels use: differences of plans, reports, variants, tables, exports.

use super::*;
use serde_json::Value;

/// Runs the command; exit status and stdout.
fn status(arguments: &[&str]) -> (Option<i32>, String) {
    let output = scatterc(arguments);
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn saved(folder: &Folder, name: &str, options: &[&str]) -> String {
    let path = folder.at(name);
    succeed(&[&["emit", "s2scat", "--bandlimit", "8", "-o", &path], options].concat());
    path
}

#[test]
fn diff_names_the_first_difference_of_plans() {
    let folder = Folder::new();
    let plan = saved(&folder, "a.plan", &["--emit", "plan"]);
    assert_eq!(status(&["diff", &plan, &plan, "--quiet"]), (Some(0), String::new()));
    let text = std::fs::read_to_string(&plan).expect("a plan");
    let edited = folder.text("b.plan", &text.replacen(" fmul ", " fadd ", 1));
    let (code, out) = status(&["diff", &plan, &edited]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("kernels, kernel k") && out.contains("fmul") && out.contains("fadd"), "{out}");
    let other = saved(&folder, "c.plan", &["--emit", "plan", "--fuse", "none"]);
    let (code, out) = status(&["diff", &plan, &other, "--json"]);
    let object: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &object["equal"], &object["first"]["field"]), (Some(1), &Value::from(false), &Value::from("arena")), "{out}");
    assert!(object["sections"].as_array().is_some_and(|s| s.iter().any(|d| d["section"] == "steps")), "{out}");
}

#[test]
fn diff_compares_graphs_and_refuses_mixtures() {
    let folder = Folder::new();
    let (bound, last, plan) =
        (saved(&folder, "a", &["--emit", "bind"]), saved(&folder, "b", &["--emit", "graph"]), saved(&folder, "c", &["--emit", "plan"]));
    let (code, out) = status(&["diff", &bound, &last]);
    assert!(code == Some(1) && out.contains("first difference: nodes, %"), "{out}");
    assert_eq!(status(&["diff", &last, &last, "--json"]).0, Some(0));
    let refused = scatterc(&["diff", &bound, &plan]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expected a graph, found a plan"));
    let missing = scatterc(&["diff", &bound, &folder.at("none")]);
    assert_eq!(missing.status.code(), Some(2));
}

/// What two lists of elements of a picture have in common: every tag that is opened is closed.
fn balanced(svg: &str) {
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    let count = |tag: &str| svg.matches(tag).count();
    assert_eq!(count("<text "), count("</text>"));
    assert_eq!(count("<title>"), count("</title>"));
}

#[test]
fn explain_draws_launches_and_graphs() {
    let explain = |options: &[&str]| succeed(&[&["explain", "s2scat", "--bandlimit", "8", "--goal", "gradient"], options].concat());
    let object: Value = serde_json::from_str(&explain(&["--format", "json"])).expect("JSON");
    assert!(object["live_bytes"].as_u64().is_some_and(|n| n > 0 && n <= object["arena_bytes"].as_u64().expect("a number")));
    let launches = object["launches"].as_array().expect("launches");
    assert!(launches.iter().all(|l| l["live_bytes"].as_u64() > Some(0) && !l["writes"].as_array().expect("slots").is_empty()));
    let dot = explain(&["--format", "dot"]);
    assert!(dot.starts_with("digraph") && dot.matches("Mflop").count() == launches.len() && dot.contains("live ") && dot.contains(" -> o0"));
    let svg = explain(&["--format", "svg", "--measure"]);
    balanced(&svg);
    assert!(svg.matches("class=\"buffer\"").count() > launches.len() / 2 && svg.contains("class=\"live\"") && svg.contains("measured"));
    assert!(explain(&["--format", "dot", "--after", "share"]).contains("wigner_inverse"));
    let folder = Folder::new();
    let file = folder.at("g.svg");
    explain(&["--format", "svg", "--after", "bind", "-o", &file]);
    let picture = std::fs::read_to_string(file).expect("a picture");
    balanced(&picture);
    let bound = succeed(&["emit", "s2scat", "--bandlimit", "8", "--emit", "bind"]);
    assert_eq!(picture.matches("class=\"node\"").count(), bound.lines().filter(|l| l.trim_start().starts_with('%')).count());
}

#[test]
fn explain_says_what_was_recomputed_and_why() {
    let explain =
        |options: &[&str]| succeed(&[&["explain", "s2scat", "--bandlimit", "32", "--goal", "gradient", "--fuse", "none"], options].concat());
    let whole: Value = serde_json::from_str(&explain(&["--json"])).expect("JSON");
    assert_eq!(whole["recomputed"].as_array().map(Vec::len), Some(0));
    let text = explain(&["--memory", "44MB"]);
    assert!(text.contains("recomputed\n") && text.contains("is computed again for its late readers"), "{text}");
}

#[test]
fn compare_times_fusions_of_equal_values() {
    let folder = Folder::new();
    for (domain, fewest) in
        [(&["s2scat", "--bandlimit", "8", "--goal", "gradient"][..], 3), (&["cheng", "--domain", "plane", "--size", "32x32", "--scales", "3"][..], 3)]
    {
        let (svg, png) = (folder.at("bars.svg"), folder.at("bars.png"));
        let compare = |plot: &str| succeed(&[&["compare"], domain, &["--variants", "--reps", "3", "--json", "--plot", plot]].concat());
        let object: Value = serde_json::from_str(&compare(&svg)).expect("JSON");
        let variants = object["variants"].as_array().expect("variants");
        assert!(variants.len() >= fewest && variants.len() + object["same"].as_object().map_or(0, |s| s.len()) == 5, "{object}");
        assert!(variants.iter().all(|v| v["difference"].as_f64().is_some_and(|d| d <= 1e-12) && v["wall_ms"].as_f64() > Some(0.0)), "{object}");
        let picture = std::fs::read_to_string(&svg).expect("a chart");
        assert_eq!(picture.matches("class=\"bar\"").count(), 2 * variants.len());
        compare(&png);
        assert!(std::fs::read(&png).expect("a chart").starts_with(b"\x89PNG"));
    }
    let text = succeed(&["compare", "s2scat", "--bandlimit", "8", "--reps", "1"]);
    assert!(text.contains("| none |") && text.contains("`all` gives the plan of `gram`"), "{text}");
    assert_eq!(scatterc(&["compare", "s2scat", "--plot", "bars.gif"]).status.code(), Some(2));
}

/// The field of `examples/c/encode.c`.
fn made_up(L: usize) -> Vec<f64> {
    let (mut state, mut x) = (7u64, vec![0.0; 2 * L * L]);
    for ell in 0..L {
        for m in 0..=ell {
            for part in 0..if m == 0 { 1 } else { 2 } {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                x[2 * (ell * L + m) + part] = ((state >> 11) as f64 / 4503599627370496.0 - 1.0) / (1 + ell) as f64;
            }
        }
    }
    x
}

/// A hexadecimal double as C prints it.
fn hexadecimal(text: &str) -> f64 {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let (digits, exponent) = text.trim_start_matches("0x").split_once('p').expect("an exponent");
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let value = u64::from_str_radix(&format!("{whole}{part}"), 16).expect("digits") as f64;
    sign * value * 2f64.powi(exponent.parse::<i32>().expect("a number") - 4 * part.len() as i32)
}

/// Compiles and runs the C example; `None`, loudly, without a compiler.
fn run_in_c(folder: &Folder, lib: &str) -> Option<String> {
    if !Command::new("cc").arg("--version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: there is no C compiler `cc`; the exported library was not called from C");
        return None;
    }
    let (source, program) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/c/encode.c"), folder.at("encode"));
    let cc = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", &format!("-I{lib}")])
        .arg(source)
        .args(["-o", &program, &format!("-L{lib}"), "-ls2scat", &format!("-Wl,-rpath,{lib}")])
        .output()
        .expect("cc runs");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    let output = Command::new(&program).env_clear().output().expect("the example runs");
    assert!(output.status.success(), "{:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn an_exported_library_gives_identical_bits_in_c() {
    let folder = Folder::new();
    let (L, lib) = (8, folder.at("lib"));
    let made = succeed(&["export", "s2scat", "--bandlimit", "8", "--goal", "values", "--out", &lib, "--threads", "1"]);
    assert!(made.contains("libs2scat") && made.contains("s2scat.h"), "{made}");
    let header = std::fs::read_to_string(folder.0.join("lib/s2scat.h")).expect("a header");
    for word in [
        "#define S2SCAT_x_LENGTH 128",
        "static inline int s2scat_run(s2scat *program, const double *x, double *",
        "s2scat_S1_index[20][2]",
        "shared between threads",
    ] {
        assert!(header.contains(word), "{word}\n{header}");
    }
    let Some(printed) = run_in_c(&folder, &lib) else { return };
    // The same plan in Rust.
    let (input, plan, out) =
        (folder.npy("x.npy", &NamedArray::C128 { shape: vec![L, L], data: made_up(L) }), folder.at("s.plan"), folder.at("s.npz"));
    succeed(&["emit", "s2scat", "--bandlimit", "8", "--emit", "plan", "-o", &plan]);
    succeed(&["run", &plan, &input, "-o", &out, "--threads", "1"]);
    let mut expected = Vec::new();
    for (name, array) in npz(&out).iter().filter(|(name, _)| *name != "metadata") {
        let (re, im) = numbers(array);
        for (suffix, values) in if im.is_empty() { vec![("", re)] } else { vec![(".re", re), (".im", im)] } {
            expected.extend(values.iter().enumerate().map(|(k, x)| (format!("{name}{suffix}"), k, x.to_bits())));
        }
    }
    let mut found: Vec<(String, usize, u64)> = printed
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|parts| (parts[0].to_string(), parts[1].parse().expect("a number"), hexadecimal(parts[2]).to_bits()))
        .collect();
    expected.sort();
    found.sort();
    assert!(found.len() > 100 && found == expected, "{} numbers from C, {} expected", found.len(), expected.len());
}

#[test]
fn exports_refuse_what_they_cannot_do() {
    let folder = Folder::new();
    let refused = |options: &[&str]| {
        let output = scatterc(&[&["export", "s2scat", "--bandlimit", "8", "--out", &folder.at("lib")], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(refused(&["--device", "cuda"]).contains("emit --emit cuda"));
    assert!(refused(&["--name", "a-b"]).contains("a_b"));
    assert!(refused(&["--library", &folder.text("lib.so", "nothing")]).contains("scatterc_open"));
    assert!(!folder.0.join("lib").exists());
}

#[test]
fn encode_writes_every_format_of_tables() {
    use scatterc::table::Table;
    let folder = Folder::new();
    let text = folder.text("h.scat", "statistic h(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); H[j, g] = mean(harmonic(W[j, g], 2) * conj(W[j, g])); m = re(mean(x)); return S, H, m; }");
    let input = folder.npy("x.npy", &half_array(8, 3));
    let encode = |name: &str, options: &[&str]| {
        let out = folder.at(name);
        succeed(&[&["encode", &input, "-o", &out, "--statistic", &text], options].concat());
        Table::read(Path::new(&out)).unwrap_or_else(|e| panic!("{e}"))
    };
    let npz = encode("a.npz", &[]);
    assert_eq!(
        npz.outputs.iter().map(|o| (o.name.as_str(), o.shape.len(), o.im.is_some())).collect::<Vec<_>>(),
        [("S", 1, false), ("H", 1, true), ("m", 0, false)]
    );
    assert_eq!(npz.outputs[0].index.columns, ["j", "g"]);
    for name in ["a.json", "a.csv", "a.safetensors"] {
        assert_eq!(encode(name, &[]), npz, "{name}");
    }
    assert_eq!(encode("b.dat", &["--format", "csv"]), npz);
    let plain = std::fs::read_to_string(folder.at("a.csv")).expect("text");
    assert_eq!(plain.lines().nth(1), Some("output,place,j,g,re,im"));
}

#[test]
fn table_selects_reduces_and_converts() {
    use scatterc::table::Table;
    let folder = Folder::new();
    let (input, out) = (folder.npy("x.npy", &half_array(8, 3)), folder.at("s.npz"));
    succeed(&["encode", &input, "-o", &out, "--directions", "2"]);
    let read = |name: &str| Table::read(Path::new(&folder.at(name))).unwrap_or_else(|e| panic!("{e}"));
    let whole = read("s.npz");
    // Through every format and back.
    let mut last = out.clone();
    for name in ["a.json", "b.csv", "c.safetensors", "d.npz"] {
        succeed(&["table", &last, "-o", &folder.at(name)]);
        assert_eq!(read(name), whole, "{name}");
        last = folder.at(name);
    }
    // What the library does.
    succeed(&[
        "table",
        &out,
        "-o",
        &folder.at("e.csv"),
        "--outputs",
        "S1,S3",
        "--select",
        "j < 2",
        "--isotropic",
        "h,g",
        "--fourier",
        "g",
        "--cosine",
        "j",
    ]);
    let reduced = read("e.csv");
    let names: Vec<(&str, String)> = reduced.outputs.iter().map(|o| (o.name.as_str(), o.index.columns.join(","))).collect();
    assert_eq!(names, [("S1", "j,g".into()), ("S3", "j,i,h".into())]);
    let s1 = whole.get("S1").and_then(|s| s.select(|e| e.get("j") < Some(2)).fourier("g")).and_then(|s| s.cosine("j")).expect("a transform");
    assert_eq!(reduced.outputs[0], s1);
    assert_eq!(reduced.metadata["steps"], serde_json::json!(["select j < 2", "isotropic h,g", "fourier g", "cosine j"]));
    assert_eq!(reduced.metadata["name"], "s2scat");
    let printed = succeed(&["table", &out, "--outputs", "S1", "--mean", "j,g"]);
    let number: f64 = printed.lines().nth(2).and_then(|l| l.split(',').nth(2)).expect("a number").parse().expect("a number");
    let mean = whole.get("S1").map(|s| s.re.iter().sum::<f64>() / s.re.len() as f64).expect("an output");
    assert!((number - mean).abs() < 1e-14 * mean.abs(), "{printed}");
    assert!(succeed(&["table", &out, "--outputs", "S1", "--format", "json", "--max", "g"]).starts_with('{'));
    for (options, part) in [
        (&["--select", "j <"][..], "selection `j <`: expected an expression"),
        (&["--mean", "q"], "no output has the indices [q]; mean has []"),
        (&["--outputs", "S9"], "there is no output `S9`; there are [mean, variance, S1"),
        (&["--difference", "j"], "`--difference` is j; expected two indices, such as i,j"),
        (&["--format", "npz"], "`--output` is absent; expected a file, as npz is no text"),
        (&["--outputs", "S3", "--fourier", "i"], "expected consecutive values from 0"),
    ] {
        let refused = scatterc(&[&["table", &out], options].concat());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && text.contains(part), "{options:?}: {text}");
    }
    assert_eq!(scatterc(&["table", &input]).status.code(), Some(2));
}

#[test]
fn a_target_error_chooses_the_precision() {
    let folder = Folder::new();
    let explain = |error: &str| succeed(&["explain", "s2scat", "--bandlimit", "8", "--directions", "2", "--error", error]);
    let (rough, exact) = (explain("1e-2"), explain("1e-10"));
    let line = |text: &str| text.lines().find_map(|l| l.strip_prefix("precision: ")).map(str::to_string).expect("a line");
    assert!(line(&rough).starts_with("f32 for a target error of 1e-2; in f32 the probe has mean "), "{rough}");
    assert!(line(&exact).starts_with("f64 for a target error of 1e-10; ") && line(&exact).contains("S4 "), "{exact}");
    let json: Value = serde_json::from_str(&succeed(&["explain", "s2scat", "--bandlimit", "8", "--error", "1e-2", "--json"])).expect("JSON");
    assert!(json["precision"].as_str().is_some_and(|text| text.starts_with("f32")), "{json}");
    // Results say it, and are those of the precision that was chosen.
    let (input, chosen, given) = (folder.npy("x.npy", &half_array(8, 3)), folder.at("a.json"), folder.at("b.json"));
    succeed(&["encode", &input, "-o", &chosen, "--error", "1e-2"]);
    succeed(&["encode", &input, "-o", &given, "--precision", "f32"]);
    let read = |path: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(path).expect("a file")).expect("JSON");
    let (chosen, given) = (read(&chosen), read(&given));
    assert_eq!(chosen["outputs"], given["outputs"]);
    assert_eq!((&chosen["metadata"]["precision"], &given["metadata"]["precision"]), (&Value::from("f32"), &Value::from("f32")));
    assert!(chosen["metadata"]["probe"].as_str().is_some_and(|text| text.contains("target error")));
    for (options, part) in [
        (&["explain", "s2scat", "--error", "2"][..], "`--error` is 2; expected a number from 1e-12 to below 1"),
        (&["explain", "s2scat", "--error", "-1"], "`--error` is -1; expected a number from 1e-12"),
        (&["explain", "s2scat", "--error", "1e-14"], "expected a number from 1e-12"),
        (&["explain", "s2scat", "--error", "NaN"], "`--error` is NaN"),
        (&["explain", "s2scat", "--error", "1e-3", "--device", "reference"], "the device reference computes in f64"),
        (&["explain", "s2scat", "--error", "1e-3", "--precision", "f32"], "cannot be used with"),
        (&["bench", "--error", "1e-3"], "`--precision` in this command"),
        (&["compare", "s2scat", "--error", "1e-3"], "`--precision` in this command"),
    ] {
        let refused = scatterc(options);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && text.contains(part), "{options:?}: {text}");
    }
}

#[test]
fn faults_of_a_statistic_on_its_domain_show_the_line() {
    let folder = Folder::new();
    let text = "// Two lines.\nstatistic s(x) {\n    S[j] = mean(lowpass(x, j) * x);\n    return S;\n}\n";
    let path = folder.text("s.scat", text);
    let refused = scatterc(&["check", &path, "--bandlimit", "8"]);
    let expected = format!(
        "error: fields on different grids, map(4) and map(8), cannot be combined sample by sample\n --> {path}:3:17\n  |\n3 |     S[j] = mean(lowpass(x, j) * x);\n  |                 ^^^^^^^^^^^^^^^^^ filter both at one scale first, or take their averages\n"
    );
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), expected);
}
