//! Plans of small graphs: order, buffers, reports.

use scatterc_compiler::bind::{BindOptions, bind};
use scatterc_compiler::domain::InputKind;
use scatterc_compiler::explain;
use scatterc_compiler::fuse::Fusion;
use scatterc_compiler::loss::with_loss;
use scatterc_compiler::pass::run_passes;
use scatterc_compiler::schedule::{Scheduled, schedule};
use scatterc_compiler::sphere::Sphere;
use scatterc_compiler::{gradient, vocabulary};
use scatterc_ir::notation::{Checked, check_source};
use scatterc_ir::plan::{Plan, Slot, Step, parse, verify};
use scatterc_ir::{Graph, text};

fn checked(source: &str) -> Checked {
    check_source(source, "test", &vocabulary()).unwrap_or_else(|e| panic!("{}", e.render(source, "test")))
}

const S2SCAT: &str = include_str!("../../statistics/s2scat.scat");
const LOSSES: &str = include_str!("../../statistics/losses.scat");

/// The built-in statistic, its gradient and both derivatives, simplified.
fn graphs(batch: Option<usize>, input: InputKind) -> Vec<Graph> {
    let sphere = Sphere::new(8, 2, 0, input).expect("valid sizes");
    let options = BindOptions { batch, arrays: vec!["P".into()], ..BindOptions::default() };
    let bound = bind(&checked(S2SCAT).statistics[0], &sphere, &options).expect("binds");
    let passes = |graph: Graph| run_passes(graph, &[], &mut vec![]).expect("passes");
    let loss = with_loss(&bound, &checked(LOSSES).losses[0]).expect("a loss of its outputs");
    let value = passes(gradient::value_and_gradient(&passes(loss)).expect("differentiates"));
    vec![
        bound.graph.clone(),
        passes(bound.graph.clone()),
        value.clone(),
        passes(gradient::jacobian_vector(&value).expect("differentiates")),
        passes(gradient::vector_jacobian(&passes(bound.graph)).expect("differentiates")),
    ]
}

/// Walks a plan with a map of which f64 hold something: every slot read was written by an earlier step or given by the caller, and so is every output.
fn assert_reads_follow_writes(plan: &Plan) {
    let mut full = vec![false; plan.arena];
    let mark = |full: &mut Vec<bool>, s: &Slot| full[s.offset..s.offset + s.len].iter_mut().for_each(|x| *x = true);
    let holds = |full: &[bool], s: &Slot| full[s.offset..s.offset + s.len].iter().all(|x| *x);
    plan.inputs.iter().for_each(|port| mark(&mut full, &port.slot));
    for (k, step) in plan.steps.iter().enumerate() {
        let (reads, writes) = Plan::traffic(step);
        for slot in &reads {
            assert!(holds(&full, slot), "step {k} of {} reads {slot}, which nothing wrote: {step}", plan.name);
        }
        writes.iter().for_each(|slot| mark(&mut full, slot));
        for (a, slot) in writes.iter().enumerate() {
            for port in &plan.inputs {
                let apart = slot.offset + slot.len <= port.slot.offset || port.slot.offset + port.slot.len <= slot.offset;
                assert!(apart, "step {k} of {} writes {a} over the input {}", plan.name, port.name);
            }
        }
    }
    for port in &plan.outputs {
        assert!(holds(&full, &port.slot), "output {} of {} is never written", port.name, plan.name);
    }
}

#[test]
fn plans_verify_round_trip_and_read_only_what_was_written() {
    for input in [InputKind::Half, InputKind::Full, InputKind::Grid] {
        for batch in [None, Some(2)] {
            for graph in graphs(batch, input) {
                for fusion in [Fusion::All, Fusion::Ring, Fusion::Loops, Fusion::None] {
                    let scheduled = schedule(&graph, fusion).expect("schedules");
                    let plan = &scheduled.plan;
                    assert_eq!(verify(plan), Ok(()));
                    assert_eq!(parse(&plan.to_string()).as_ref(), Ok(plan));
                    assert_eq!(scheduled.launches.len(), plan.steps.len(), "one report line per step");
                    assert_reads_follow_writes(plan);
                }
            }
        }
    }
}

#[test]
fn fusion_makes_fewer_steps_and_a_smaller_arena() {
    for graph in &graphs(None, InputKind::Half)[1..] {
        let [all, loops, none] = [Fusion::All, Fusion::Loops, Fusion::None].map(|f| schedule(graph, f).expect("schedules").plan);
        let steps = [&all, &loops, &none].map(|plan| plan.steps.len());
        // Contractions save samples, not always steps.
        assert!(steps[0] < steps[2] && steps[1] < steps[2], "{}: {steps:?} steps with all fusion, with loops, without", graph.name);
        assert!(all.arena < none.arena, "{}: arena {} fused, {} not", graph.name, all.arena, none.arena);
        let grams = |plan: &Plan| plan.steps.iter().filter(|s| matches!(s, Step::Gram { .. } | Step::FrameGram { .. })).count();
        assert!(grams(&all) > 0, "{}", graph.name);
        assert_eq!((grams(&loops), grams(&none)), (0, 0), "contractions are part of full fusion only");
    }
}

#[test]
fn ring_transforms_and_loops_over_maps_share_launches() {
    use scatterc_ir::Linear;
    for graph in &graphs(None, InputKind::Half)[1..] {
        let tiles = |fusion: Fusion| {
            let plan = schedule(graph, fusion).expect("schedules").plan;
            let tiles = plan.steps.iter().filter(|s| matches!(s, Step::Tile { .. })).count();
            let alone = |s: &&Step| matches!(s, Step::Linear { map: Linear::RingInverse { .. } | Linear::RingForward { .. }, .. });
            (tiles, plan.steps.iter().filter(alone).count())
        };
        assert_eq!(tiles(Fusion::Loops).0, 0, "{}: tiles are part of `ring` and `all`", graph.name);
        let (together, alone) = tiles(Fusion::All);
        assert!(together > 0 && tiles(Fusion::Ring).0 >= together, "{}", graph.name);
        assert_eq!(alone, 0, "{}: no ring transform of this statistic stands alone", graph.name);
    }
}

/// A value that only a later launch's sum allows to be read keeps its two sides in two launches.
#[test]
fn what_depends_on_a_sum_over_all_rings_is_another_launch() {
    let source = "graph centred {
  %0 = input x : [] rings(8,8)
  %1 = ring_inverse(%0) {L=8, M=8} : [] map(8)
  %2 = abs(%1) : [] map(8)
  %3 = mean(%2) {L=8} : [] point
  %4 = spread(%3) {L=8} : [] map(8)
  %5 = map(%2, %4) {f=sub(a, b)} : [] map(8)
  %6 = ring_forward(%5) {L=8, M=8} : [] rings(8,8)
  return y = %6
}";
    let graph = text::parse(source).expect("parses");
    let plan = schedule(&graph, Fusion::All).expect("schedules").plan;
    assert_eq!(verify(&plan), Ok(()));
    assert_reads_follow_writes(&plan);
    let tiles: Vec<&Step> = plan.steps.iter().filter(|s| matches!(s, Step::Tile { .. })).collect();
    assert_eq!(tiles.len(), 2, "the mean is complete before it is subtracted:\n{plan}");
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    for graph in graphs(None, InputKind::Half) {
        let text = |g: &Graph| schedule(g, Fusion::All).expect("schedules").plan.to_string();
        assert_eq!(text(&graph), text(&graph));
        assert_eq!(text(&text::parse(&graph.to_string()).expect("parses")), text(&graph));
    }
}

#[test]
fn equal_kernels_are_written_once() {
    for graph in graphs(None, InputKind::Half) {
        let plan = schedule(&graph, Fusion::All).expect("schedules").plan;
        for (k, kernel) in plan.kernels.iter().enumerate() {
            assert!(plan.kernels[..k].iter().all(|other| other.text != kernel.text), "{} repeats an earlier kernel", kernel.name);
            assert!(!kernel.summary.is_empty() && kernel.text.starts_with("function"));
        }
    }
}

#[test]
fn buffers_are_reused_as_soon_as_their_last_reader_has_run() {
    // A chain of transforms needs two buffers beside input and output, however long it is.
    let chain = |n: usize| {
        let mut body = "%0 = input x : [] rings(8,8)\n".to_string();
        for k in 0..n {
            let (a, b) = (2 * k, 2 * k + 1);
            body += &format!("%{b} = ring_inverse(%{a}) {{L=8, M=8}} : [] map(8)\n%{} = ring_forward(%{b}) {{L=8, M=8}} : [] rings(8,8)\n", b + 1);
        }
        let graph = text::parse(&format!("graph chain {{\n{body}return y = %{}\n}}", 2 * n)).expect("parses");
        schedule(&graph, Fusion::All).expect("schedules").plan.arena
    };
    assert_eq!(chain(3), chain(10));
}

#[test]
fn reports_name_every_launch() {
    let graph = graphs(None, InputKind::Half).remove(2);
    let mut trace = Vec::new();
    run_passes(graph.clone(), &[], &mut trace).expect("passes");
    let scheduled: Scheduled = schedule(&graph, Fusion::All).expect("schedules");
    let report = explain::report(&trace, &scheduled);
    for launch in &scheduled.launches {
        assert!(launch.flops >= 0.0 && launch.bytes > 0.0, "{}", launch.summary);
        assert!(report.contains(launch.summary.split(',').next().unwrap_or_default()), "{} is not in the report", launch.summary);
    }
    let json = explain::json(&trace, &scheduled, &explain::Facts::default());
    assert!(json.starts_with('{') && json.matches('{').count() == json.matches('}').count());
    let dot = explain::dot(&graph);
    assert!(dot.starts_with("digraph") && dot.matches("->").count() >= graph.nodes.len() / 2);
    assert!(!explain::loops(&scheduled).is_empty() && explain::kernels(&scheduled).contains("function"));
}

#[test]
fn bodies_that_read_everything_twice_are_walked_once() {
    // Each value uses the one before it twice: walked along every path, thirty of them would be read 2^30 times.
    let mut lines = "%0 = input x : [4] map(2)\n".to_string();
    for k in 0..30 {
        lines += &format!("%{} = reindex(%{}) {{from=[4], to=[4], map=[[1,1]]}} : [4] map(2)\n", 2 * k + 1, 2 * k);
        lines += &format!("%{} = add(%{}, %{}) : [4] map(2)\n", 2 * k + 2, 2 * k, 2 * k + 1);
    }
    let graph = text::parse(&format!("graph deep {{\n{lines}return y = %60\n}}\n")).expect("a graph");
    let plan = schedule(&graph, Fusion::All).expect("schedules").plan;
    assert_eq!(plan.steps.len(), 1, "{plan}");
}
