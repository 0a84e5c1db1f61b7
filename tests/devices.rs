//! Every filetest that asks to be run, on every device; same inputs by seed.
//!
//! Tolerance: 1e-12 of the largest number of each output, the rounding of sums of 10^3 terms in another order; in f32 1e-4, for derivatives 1e-3.

#![allow(non_snake_case)]

mod support;

use scatterc::Element;
use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::pass::run_passes;
use scatterc::compiler::{gradient, schedule::schedule, schedule::schedule_cpu};
use scatterc::ir::{Graph, plan};
use support::*;

/// Devices that filetests may be run on, and whether this build has them.
const DEVICES: &[(&str, bool)] = &[("reference", true), ("cpu", true), ("cuda", false)];

fn compare(graph: &Graph, name: &str, single: f64) {
    let inputs = given(graph);
    let expected = on_reference(graph, &inputs);
    let simple = run_passes(graph.clone(), &[], &mut vec![]).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_equal(&on_reference(&simple, &inputs), &expected, 1e-12, &format!("{name} after all passes, reference"));
    for fusion in [Fusion::All, Fusion::Ring, Fusion::Loops, Fusion::None] {
        for (level, graph) in [("no passes", graph), ("all passes", &simple)] {
            let scheduled = schedule(graph, fusion).unwrap_or_else(|e| panic!("{name}: {e}"));
            for threads in [1, 2] {
                assert_equal(&on_cpu(&scheduled.plan, threads, &inputs), &expected, 1e-12, &format!("{name}, cpu, {level}, fusion {fusion:?}"));
            }
            let rounded = schedule_cpu(graph, fusion, Element::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
            let reread = plan::parse(&rounded.plan.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_equal(&on_cpu(&reread, 1, &inputs), &expected, single, &format!("{name}, cpu in f32, {level}, fusion {fusion:?}"));
            // A plan is a text file: what is read back runs alike.
            let reread = plan::parse(&scheduled.plan.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_equal(&on_cpu(&reread, 1, &inputs), &expected, 1e-12, &format!("{name}, cpu, plan read from text"));
        }
    }
}

#[test]
fn every_run_filetest_gives_the_same_numbers_on_every_device() {
    for (device, present) in DEVICES {
        if !present {
            println!("skipped: {device}, which this build does not have");
        }
    }
    let mut count = 0;
    for ending in [".graph", ".scat"] {
        for file in FileTest::all(ending).iter().filter(|file| file.asks("run")) {
            compare(&file.bound(), &file.name(), 1e-4);
            count += 1;
        }
    }
    assert!(count > 10, "only {count} filetests ask to be run");
}

#[test]
fn derivatives_of_every_filetest_are_the_same_on_every_device() {
    for ending in [".graph", ".scat"] {
        for file in FileTest::all(ending).iter().filter(|file| file.asks("grad")) {
            let graph = file.bound();
            let reverse = gradient::vector_jacobian(&graph).unwrap_or_else(|e| panic!("{}: {e}", file.name()));
            compare(&reverse, &format!("{}, reverse", file.name()), 1e-3);
            let forward = gradient::jacobian_vector(&graph).unwrap_or_else(|e| panic!("{}: {e}", file.name()));
            compare(&forward, &format!("{}, forward", file.name()), 1e-3);
        }
    }
}
