//! Filetests: graphs and statistics as files, the results as snapshots.
//!
//! The first line of a file names its tests:
//!
//! - `print`: the text of the graph (of a statistic: bound and after all passes)
//! - `verify`: broken rules
//! - `grad`: the reverse pass after all passes; of a statistic: of the loss `l2`
//! - `fuse`: the plan's steps
//! - `run`: the numbers of the reference device
//!
//! Lines `; expect fuse { loop 3, gram 1 }` state how many steps of a kind the plan has, whatever the snapshot says: fusion that stops happening fails a test though
//! the numbers are right. Accept changed snapshots with `cargo insta review`.

#![allow(non_snake_case)]

mod support;

use scatterc::Goal;
use scatterc::compiler::gradient;
use scatterc::compiler::pass::run_passes;
use scatterc::compiler::schedule::{Scheduled, schedule};
use scatterc::ir::{Graph, text, verify::verify};
use std::fmt::Write;
use support::*;

fn passes(graph: Graph) -> Graph {
    run_passes(graph, &[], &mut vec![]).unwrap_or_else(|e| panic!("{e}"))
}

/// At most this many numbers of an output are shown.
const SHOWN: usize = 6;

/// Outputs with seven digits, enough to see a change and few enough to hide rounding; numbers below 1e-12 of the largest count as zero.
fn numbers(outputs: &Arrays) -> String {
    let mut out = String::new();
    for (name, values) in outputs {
        let largest = values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let shown: Vec<String> =
            values.iter().take(SHOWN).map(|x| if x.abs() <= 1e-12 * largest { "0".into() } else { format!("{x:.6e}") }).collect();
        let rest = if values.len() > SHOWN { format!(" .. ({} numbers)", values.len()) } else { String::new() };
        let _ = writeln!(out, "{name} = {}{rest}", shown.join(" "));
    }
    out
}

/// Steps of a plan by kind and one by one; checks the `expect` lines.
fn steps(file: &FileTest, scheduled: &Scheduled) -> String {
    let counts = step_counts(&scheduled.plan);
    for (kind, expected) in &file.expected {
        assert_eq!(kind, "fuse", "{}: only `expect fuse {{ .. }}` is known", file.name());
        for part in expected.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (step, n) = part.split_once(' ').unwrap_or((part, ""));
            let n: usize = n.trim().parse().unwrap_or_else(|_| panic!("{}: `{part}` is no step and number", file.name()));
            let found = counts.get(step).copied().unwrap_or(0);
            assert_eq!(found, n, "{}: the plan has {found} steps `{step}`, expected {n}; all steps: {counts:?}", file.name());
        }
    }
    let mut out = format!("{}\n", counts.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", "));
    // Summaries, not the plan's own lines: these change with every choice of the buffers' places.
    for launch in &scheduled.launches {
        let _ = writeln!(out, "{}", launch.summary);
    }
    out
}

fn section(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "---- {name}\n{}", text.trim_end());
}

fn assert_snapshot(file: &FileTest, report: String) {
    assert!(
        report.lines().count() <= 140,
        "{}: a snapshot of {} lines is read by nobody; make the input smaller",
        file.name(),
        report.lines().count()
    );
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    let ending = file.path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    settings.bind(|| insta::assert_snapshot!(ending, report));
}

fn graph_report(file: &FileTest) -> String {
    let graph = file.graph();
    let mut out = String::new();
    let printed = graph.to_string();
    assert_eq!(text::parse(&printed), Ok(graph.clone()), "{}: the text does not round-trip", file.name());
    if file.asks("print") {
        section(&mut out, "print", &printed);
    }
    if file.asks("verify") {
        let faults = match verify(&graph) {
            Ok(()) => "no rule is broken".into(),
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        section(&mut out, "verify", &faults);
    }
    if file.asks("grad") {
        let reverse = gradient::vector_jacobian(&passes(graph.clone())).unwrap_or_else(|e| panic!("{}: {e}", file.name()));
        section(&mut out, "grad", &passes(reverse).to_string());
    }
    if file.asks("fuse") {
        let scheduled = schedule(&passes(graph.clone()), scatterc::Fusion::All).unwrap_or_else(|e| panic!("{}: {e}", file.name()));
        section(&mut out, "fuse", &steps(file, &scheduled));
    }
    if file.asks("run") {
        section(&mut out, "run", &numbers(&on_reference(&graph, &given(&graph))));
    }
    out
}

fn statistic_report(file: &FileTest) -> String {
    let subject = file.subject();
    let compiled = subject.compile(Goal::Statistics);
    let mut out = String::new();
    if file.asks("print") {
        section(&mut out, "print", &compiled.bound.graph.to_string());
        section(&mut out, "print after all passes", &compiled.graph.to_string());
    }
    if file.asks("verify") {
        section(&mut out, "verify", &format!("{:?}", verify(&compiled.graph)));
    }
    if file.asks("grad") {
        section(&mut out, "grad", &subject.compile(Goal::Gradient("l2".into())).graph.to_string());
    }
    if file.asks("fuse") {
        section(&mut out, "fuse", &steps(file, &compiled.scheduled));
    }
    if file.asks("run") {
        let inputs = given(&compiled.bound.graph);
        section(&mut out, "run", &numbers(&on_reference(&compiled.bound.graph, &inputs)));
    }
    out
}

#[test]
fn graphs() {
    insta::glob!("filetests/**/*.graph", |path| {
        let file = FileTest::read(path);
        assert_snapshot(&file, graph_report(&file));
    });
}

#[test]
fn statistics() {
    insta::glob!("filetests/**/*.scat", |path| {
        let file = FileTest::read(path);
        assert_snapshot(&file, statistic_report(&file));
    });
}
