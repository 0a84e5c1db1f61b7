//! Rules of the repository as ordinary tests: crate edges, documentation and filetests of every op, no debug prints, stated reasons for unsafe code.

mod support;

use scatterc::Source;
use scatterc::ir::Linear;
use scatterc::ir::notation;
use scatterc::ir::ops::pointwise_table;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{FileTest, files, root};

/// Crates each crate may depend on: data flows in a straight line, and compiler and runtime meet only in the plan.
const EDGES: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("kernels", &[]),
    ("macros", &["scatterc-ir"]),
    ("compiler", &["scatterc-ir", "scatterc-kernels"]),
    ("runtime", &["scatterc-ir", "scatterc-kernels"]),
    (".", &["scatterc-compiler", "scatterc-ir", "scatterc-kernels", "scatterc-macros", "scatterc-runtime"]),
    ("capi", &["scatterc-ir", "scatterc-runtime"]),
    ("cli", &["scatterc"]),
];

/// Source folders of the libraries; the command line is the only one that may print.
const LIBRARIES: &[&str] = &["ir/src", "kernels/src", "macros/src", "compiler/src", "runtime/src", "capi/src", "src"];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Lines of code with their 1-based numbers: no comments, nothing from the first test module on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(k, line)| (k + 1, line));
    lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]")).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn crates_depend_only_on_those_below() {
    let mut faults = Vec::new();
    for (folder, allowed) in EDGES {
        let manifest = root().join(folder).join("Cargo.toml");
        let mut section = String::new();
        for line in read(&manifest).lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_string();
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = dependency == "scatterc" || dependency.starts_with("scatterc-");
            let stands = matches!(section.as_str(), "dependencies" | "build-dependencies") || section.starts_with("target.");
            if stands && ours && !allowed.contains(&dependency) {
                faults.push(format!("{}: `{dependency}` is not allowed; allowed are {allowed:?}", shown(&manifest)));
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn the_intermediate_representation_does_no_input_or_output_and_libraries_never_print() {
    let mut faults = Vec::new();
    for folder in LIBRARIES {
        for path in files(&root().join(folder), &[".rs"]) {
            let text = read(&path);
            for (number, line) in code(&text) {
                for word in ["println!", "print!(", "dbg!", "todo!", "unimplemented!"] {
                    // `eprintln!` contains `println!`.
                    if line.contains(word) && !line.contains("\"") {
                        faults.push(format!("{}:{number}: `{word}` in a library", shown(&path)));
                    }
                }
                if *folder == "ir/src" && (line.contains("std::fs") || line.contains("std::net") || line.contains("std::process")) {
                    faults.push(format!("{}:{number}: the intermediate representation does no input or output", shown(&path)));
                }
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn nothing_is_unwrapped_in_a_library() {
    let mut faults = Vec::new();
    for folder in LIBRARIES.iter().chain(&["cli/src"]) {
        for path in files(&root().join(folder), &[".rs"]) {
            for (number, line) in code(&read(&path)) {
                if line.contains(".unwrap()") {
                    faults.push(format!("{}:{number}: `unwrap`; return an error, or `expect` with the broken invariant", shown(&path)));
                }
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn every_unsafe_block_states_its_reason() {
    let mut faults = Vec::new();
    for folder in LIBRARIES.iter().chain(&["cli/src", "benches", "examples"]) {
        for path in files(&root().join(folder), &[".rs"]) {
            let text = read(&path);
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in code(&text) {
                if !line.contains("unsafe {") && !line.contains("unsafe impl") {
                    continue;
                }
                // The reason stands above the statement, which may begin a few lines before the block.
                let above = &lines[number.saturating_sub(12)..number];
                if !above.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                    faults.push(format!("{}:{number}: an unsafe block without `// SAFETY:` above it", shown(&path)));
                }
            }
        }
    }
    assert_no_faults(&faults);
}

/// Generated code is called in the runtime only; vector code needs unsafe blocks in the kernels, and the command asks the system for its memory.
#[test]
fn unsafe_code_stays_in_kernels_and_runtime() {
    let mut faults = Vec::new();
    for folder in ["ir/src", "macros/src", "compiler/src", "src"] {
        for path in files(&root().join(folder), &[".rs"]) {
            for (number, line) in code(&read(&path)) {
                if line.contains("unsafe {") || line.contains("unsafe impl") || line.contains("unsafe fn") {
                    faults.push(format!("{}:{number}: unsafe code outside kernels and runtime", shown(&path)));
                }
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn every_op_is_documented() {
    let mut faults = Vec::new();
    let mut documented = BTreeMap::new();
    for (name, text) in Linear::documentation() {
        // The shortest useful row states domain and range.
        if !text.contains("->") || !text.ends_with('.') && !text.ends_with(')') {
            faults.push(format!("{name}: the row must state domain -> range and end as a sentence, found `{text}`"));
        }
        documented.insert(name, text);
    }
    for name in Linear::SPELLINGS {
        if !documented.contains_key(name) {
            faults.push(format!("{name}: no documentation"));
        }
    }
    for row in pointwise_table() {
        if row.doc.is_empty() {
            faults.push(format!("{}: no documentation", row.name));
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn every_op_has_a_filetest() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for file in FileTest::all(".graph") {
        if file.asks("run") {
            seen.extend(file.graph().nodes.iter().map(|node| scatterc::ir::text::spelling(&node.op).trim_end_matches("^H").to_string()));
        }
    }
    let names = Linear::SPELLINGS.iter().copied().chain(pointwise_table().iter().map(|row| row.name)).chain([
        "concat",
        "constant",
        "input",
        "parameter",
        "map",
    ]);
    let faults: Vec<String> = names.filter(|name| !seen.contains(*name)).map(|name| format!("no filetest for {name}")).collect();
    assert_no_faults(&faults);
}

#[test]
fn every_filetest_has_a_snapshot_and_every_snapshot_a_filetest() {
    let folder = root().join("tests/snapshots");
    let found: BTreeSet<String> = files(&folder, &[".snap"]).iter().map(|p| shown(p).replace("tests/snapshots/", "")).collect();
    let expected: BTreeSet<String> = [".graph", ".scat"]
        .iter()
        .flat_map(|ending| FileTest::all(ending))
        .map(|file| {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("{}@{name}.snap", file.path.extension().unwrap_or_default().to_string_lossy())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_statistic_of_the_repository_parses_checks_and_round_trips() {
    let mut count = 0;
    for folder in ["statistics", "examples", "tests/filetests"] {
        for path in files(&root().join(folder), &[".scat"]) {
            let (text, name) = (read(&path), shown(&path));
            let source = Source::from_text(&text, &name).unwrap_or_else(|e| panic!("{e}"));
            let checked = &source.checked;
            assert!(!(checked.statistics.is_empty() && checked.losses.is_empty() && checked.filters.is_empty()), "{name}: nothing is declared");
            let program = notation::parse(&text, &name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let printed = program.to_string();
            assert_eq!(notation::parse(&printed, &name).as_ref(), Ok(&program), "{name}");
            assert_eq!(notation::parse(&printed, &name).map(|p| p.to_string()), Ok(printed), "{name}: the canonical text is not its own");
            count += 1;
        }
    }
    assert!(count > 2, "found {count} statistics");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    // Written in two parts, so that this file does not contain them.
    let words = [concat!("/", "work/"), concat!("/tmp/", "target"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let endings = [".rs", ".toml", ".md", ".scat", ".graph", ".snap", ".clif", ".py", ".sh", ".yml", ".json", "run"];
    let mut faults = Vec::new();
    for path in files(&root(), &endings) {
        for (number, line) in String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: names `{word}`", shown(&path), number + 1));
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn the_documents_exist() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/ir.md", "docs/numerics.md", "docs/notation.md", "docs/add-an-op.md"] {
        let length = std::fs::metadata(root().join(name)).map_or(0, |m| m.len());
        assert!(length > 200, "{name} is missing or empty");
    }
    let readme = read(&root().join("README.md"));
    let example = readme.lines().position(|line| line.starts_with("```"));
    assert!(example.is_some_and(|k| k < 30), "README.md: the first example must be near the top");
}

#[test]
fn golden_values_stay_small_and_say_where_they_come_from() {
    let folder = root().join("tests/golden");
    let total: u64 = files(&folder, &[""]).iter().filter_map(|p| std::fs::metadata(p).ok()).map(|m| m.len()).sum();
    assert!(total < 800_000, "tests/golden has {total} bytes, at most 800000 are allowed");
    let readme = read(&folder.join("README.md"));
    assert!(readme.contains("Producer") && readme.contains("Tolerance"), "tests/golden/README.md must state producer and tolerance");
}
