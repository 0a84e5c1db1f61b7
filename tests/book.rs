//! The book: its pages exist, its statistics compile on the domains it says with the right gradients, and its generated page and the editor grammar are current.
//!
//! `SCATTERC_ACCEPT=1 cargo test --test book` writes the generated files.

#![allow(non_snake_case)]

mod support;

use scatterc::compiler::pass::PASSES;
use scatterc::compiler::vocabulary;
use scatterc::ir::Linear;
use scatterc::ir::filter::{FUNCTIONS, RESULTS};
use scatterc::ir::notation::{INDEX_FUNCTIONS, REDUCTIONS, Signature};
use scatterc::ir::ops::pointwise_table;
use scatterc::statistics::{BUILT_IN, FILTERS, LOSSES};
use scatterc::{Boundary, Compiler, Domain, Error, Healpix, InputKind, Plane, Source, Sphere};
use std::collections::BTreeSet;
use std::fmt::Write;
use support::*;

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A generated file is what the tables say.
fn assert_current(name: &str, expected: &str) {
    if std::env::var_os("SCATTERC_ACCEPT").is_some() {
        std::fs::write(root().join(name), expected).expect("written");
    }
    let found = std::fs::read_to_string(root().join(name)).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(found.lines().count().min(expected.lines().count()));
    assert!(found == expected, "{name}: line {} is not current; SCATTERC_ACCEPT=1 cargo test --test book", line + 1);
}

/// Blocks of a page under a fence: the words behind ``` and the text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(words), false) => {
                out.push((words.trim().into(), String::new()));
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                if let Some((_, block)) = out.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            (None, false) => {}
        }
    }
    out
}

fn pages() -> Vec<(String, String)> {
    let folder = root().join("docs");
    files(&folder, &[".md"])
        .iter()
        .map(|p| (p.file_name().unwrap_or_default().to_string_lossy().into_owned(), std::fs::read_to_string(p).expect("a page")))
        .collect()
}

#[test]
fn the_book_has_every_page_and_every_link_leads_somewhere() {
    let summary = read("docs/SUMMARY.md");
    for (name, text) in pages() {
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "docs/SUMMARY.md has no link to {name}");
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.contains(' ');
            assert!(elsewhere || root().join("docs").join(target).exists(), "docs/{name}: `{target}` does not exist");
        }
    }
}

#[test]
fn statistics_of_the_book_compile_with_the_right_gradients() -> Result<(), Error> {
    let (mut texts, mut on_domains) = (0, 0);
    for (page, text) in pages() {
        for (words, block) in blocks(&text) {
            let words: Vec<&str> = words.split(' ').collect();
            if words.first() != Some(&"scat") {
                continue;
            }
            let source = Source::from_text(&block, &page)?;
            texts += 1;
            if words.contains(&"domains") {
                on_domains += 1;
                let domains: [Box<dyn Domain>; 3] = [
                    Box::new(Sphere::new(8, 2, 0, InputKind::Half)?),
                    Box::new(Healpix::new(4, 2, 3)?),
                    Box::new(Plane::new(16, 18, 3, 2, &source.filter("morlet")?, Boundary::Periodic, false)?),
                ];
                domains.iter().try_for_each(|domain| assert_sound(&source, &**domain, &page))?;
            }
        }
    }
    assert!(texts > 9 && on_domains > 7, "{texts} statistics, {on_domains} on domains");
    Ok(())
}

#[test]
fn faults_look_as_the_book_shows_them() -> Result<(), Error> {
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let mut count = 0;
    for (_, block) in blocks(&read("docs/notation.md")).into_iter().filter(|(_, block)| block.starts_with("error: ")) {
        let shown = block.split("\n\n").next().unwrap_or_default().trim_end();
        let line = shown.lines().find_map(|line| line.strip_prefix("1 | ")).expect("a line of a text");
        let file = shown.lines().nth(1).and_then(|line| line.trim().strip_prefix("--> ")?.split(':').next()).expect("a name");
        let said = match Source::from_text(line, file) {
            Err(error) => error.to_string(),
            Ok(source) => Compiler::new(&source, &sphere).bind().expect_err("a fault").to_string(),
        };
        assert!(said.starts_with(shown), "expected\n{shown}\nfound\n{said}");
        count += 1;
    }
    assert_eq!(count, 2);
    Ok(())
}

#[test]
fn files_of_the_book_are_the_texts_it_shows() {
    let shown = read("docs/statistics.md");
    for name in ["third", "shape", "nonlinearity", "profiles", "cross_fields"] {
        assert!(shown.contains(&format!("`{name}.scat`")) && root().join(format!("examples/statistics/{name}.scat")).exists(), "{name}");
    }
}

/// One line of a table: bars are escaped.
fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect::<Vec<_>>().join(" | "))
}

fn reference() -> String {
    let mut out = String::from(
        "# All functions and ops\n\nGenerated from the tables of the compiler; `tests/book.rs` fails where this page is not current. How they are used: [notation.md](notation.md).\n",
    );
    let kinds = [
        (Signature::FieldBuilder, "Fields from fields"),
        (Signature::WindowedAverage, "Averages, possibly within the window of a scale"),
        (Signature::DomainAverage, "Averages over the domain"),
        (Signature::IteratedAverage, "Averages found step by step"),
        (Signature::Pointwise, "Sample by sample, entry by entry"),
    ];
    let all = vocabulary();
    for (kind, title) in kinds {
        let _ = write!(out, "\n## {title}\n\n| function | arguments | is |\n|---|---|---|\n");
        for f in all.functions.iter().filter(|f| f.signature == kind) {
            let arity =
                if f.minimum_arity == f.maximum_arity { f.minimum_arity.to_string() } else { format!("{} to {}", f.minimum_arity, f.maximum_arity) };
            out.push_str(&row(&[&format!("`{}`", f.name), &arity, f.documentation]));
        }
    }
    out.push_str("\n## Reductions over indices\n\n| reduction | is |\n|---|---|\n");
    REDUCTIONS.iter().for_each(|r| out.push_str(&row(&[&format!("`{}{{..}}(..)`", r.name), r.documentation])));
    out.push_str("\n## Functions of a scale, in conditions\n\n| function | is |\n|---|---|\n");
    INDEX_FUNCTIONS.iter().for_each(|(name, text)| out.push_str(&row(&[&format!("`{name}`"), text])));
    out.push_str("\n## Built in\n\n");
    let names = |names: Vec<&str>| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let declared = |text: &str, word: &str| -> Vec<String> {
        text.lines()
            .filter_map(|l| l.strip_prefix(word))
            .filter_map(|l| l.split(['(', ' ', '{']).find(|w| !w.is_empty()))
            .map(str::to_string)
            .collect()
    };
    let (filters, losses) = (declared(FILTERS, "filter "), declared(LOSSES, "loss "));
    let _ = writeln!(out, "Statistics: {}.\n", names(BUILT_IN.iter().map(|(name, _)| *name).collect()));
    let _ = writeln!(out, "Filter banks: {}.\n", names(filters.iter().map(String::as_str).collect()));
    let _ = writeln!(out, "Losses: {}.\n", names(losses.iter().map(String::as_str).collect()));
    out.push_str("## Passes of the compiler, for `--disable` and `--after`\n\n| pass | does |\n|---|---|\n");
    PASSES.iter().for_each(|p| out.push_str(&row(&[&format!("`{}`", p.name), p.sentence])));
    out.push_str("\n## Linear maps of graphs\n\n| map | equation, domain -> range, constraints |\n|---|---|\n");
    Linear::documentation().iter().for_each(|(name, text)| out.push_str(&row(&[&format!("`{name}`"), text])));
    out.push_str("\n## Pointwise functions of graphs\n\n| function | operands | is |\n|---|---|---|\n");
    pointwise_table().iter().for_each(|r| out.push_str(&row(&[&format!("`{}`", r.name), &r.arity.to_string(), r.doc])));
    out
}

#[test]
fn the_reference_page_is_current() {
    assert_current("docs/reference.md", &reference());
}

/// Names of the functions of filter formulas.
fn filter_functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|row| row.0)
}

fn grammar() -> String {
    let all = vocabulary();
    let mut functions: BTreeSet<&str> = all.functions.iter().map(|f| f.name).collect();
    functions.extend(REDUCTIONS.iter().map(|r| r.name));
    functions.extend(INDEX_FUNCTIONS.iter().map(|(name, _)| *name));
    let filters: BTreeSet<&str> = filter_functions().filter(|f| !functions.contains(f)).collect();
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join("|");
    let value = serde_json::json!({
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "scatterc",
        "scopeName": "source.scat",
        "fileTypes": ["scat"],
        "patterns": [
            { "name": "comment.line.double-slash.scat", "match": "//.*$" },
            { "match": "\\b(statistic|loss|filter)\\s+([A-Za-z_][A-Za-z0-9_]*)",
              "captures": { "1": { "name": "keyword.declaration.scat" }, "2": { "name": "entity.name.function.scat" } } },
            { "name": "keyword.control.scat", "match": "\\b(return|where)\\b" },
            { "name": "constant.language.scat", "match": "\\b(inf|pi)\\b" },
            { "name": "support.function.scat", "match": format!("\\b({})(?=\\s*[({{])", list(&functions)) },
            { "name": "support.function.filter.scat", "match": format!("\\b({})(?=\\s*\\()", list(&filters)) },
            { "name": "support.variable.filter.scat", "match": format!("^\\s*({})(?=\\s*=)", RESULTS.join("|")) },
            { "name": "variable.other.definition.scat", "match": "\\b[A-Za-z_][A-Za-z0-9_]*(?=\\s*(\\[[^\\]]*\\])?\\s*=[^=])" },
            { "name": "constant.numeric.scat", "match": "\\b[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?\\b" },
            { "name": "keyword.operator.scat", "match": "<=|>=|==|!=|[-+*/^<>=]" },
            { "name": "punctuation.scat", "match": "[\\[\\](){},;:]" }
        ]
    });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a value"))
}

#[test]
fn the_editor_grammar_knows_the_vocabulary() {
    assert_current("editors/scatterc.tmLanguage.json", &grammar());
    for name in filter_functions() {
        assert!(read("docs/notation.md").contains(&format!("`{name}")), "{name} is not in docs/notation.md");
    }
}

#[test]
fn keywords_of_the_grammar_are_those_of_the_notation() {
    // Every keyword, where another stands, is a syntax error; so the list is what the parser knows.
    let text = "statistic a(x) { m = mean(x)^pi; return m; }\nloss l(S, T) = mean(abs(S - T));\nfilter f { wavelet = 1; }\nstatistic b(x; d = inf) { S[j] = mean(abs(wavelet(x, j, 0))) where j <= d; return S; }";
    assert!(Source::from_text(text, "keywords").is_ok(), "{:?}", Source::from_text(text, "keywords").err());
    // Words of the grammar's own lists, by their scopes.
    let grammar: serde_json::Value = serde_json::from_str(&grammar()).expect("JSON");
    let list = |scope: &str| -> Vec<String> {
        let patterns = grammar["patterns"].as_array().expect("patterns");
        let of = |p: &&serde_json::Value| p["name"] == scope || p["captures"]["1"]["name"] == scope;
        let text = patterns.iter().find(of).and_then(|p| p["match"].as_str()).expect("a pattern").to_string();
        let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a list").0.to_string();
        inside.split('|').map(str::to_string).collect()
    };
    assert_eq!(list("keyword.declaration.scat"), ["statistic", "loss", "filter"]);
    let reserved = [list("keyword.control.scat"), list("constant.language.scat")].concat();
    // A word is reserved where it cannot be a name: these, and no function or other word of the notation.
    let is_reserved = |word: &str| {
        let text = format!("statistic {word}(x) {{ m = mean(x); return m; }}");
        Source::from_text(&text, "word").err().is_some_and(|e| e.to_string().contains("reserved word"))
    };
    for word in &reserved {
        assert!(is_reserved(word), "`{word}` is a keyword of the grammar only");
    }
    let all = vocabulary();
    let others = all.functions.iter().map(|f| f.name).chain(REDUCTIONS.iter().map(|r| r.name)).chain(INDEX_FUNCTIONS.iter().map(|row| row.0));
    for word in others.chain(filter_functions()).chain(RESULTS.iter().copied()).chain(["statistic", "loss", "filter", "x", "inf_", "mean"]) {
        assert!(reserved.iter().any(|r| r == word) == is_reserved(word), "`{word}` is reserved, and no keyword of the grammar");
    }
    // What expects an item says which words begin one.
    let items = Source::from_text("3", "items").expect_err("a number is no item").to_string();
    assert!(items.contains("expected `statistic`, `loss` or `filter`"), "{items}");
}
