//! Explain: what every stage did and what the launches cost, as text, as JSON and as graphviz input.
//!
//! Pure functions from stages and plans to text; measuring is left to whoever can run.

use crate::pass::Trace;
use crate::picture::live_bytes;
use crate::schedule::{Recomputed, Scheduled, transform_flops};
use scatterc_ir::plan::{Element, Plan, Stage, Step, Table};
use scatterc_ir::text::spelling;
use scatterc_ir::{Graph, Op};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a machine can do at best.
///
/// ```
/// use scatterc_compiler::explain::Roofline;
///
/// let roofline = Roofline { flops_per_s: 1e9, bytes_per_s: 1e8, source: "a slow machine".into() };
/// // 1 Mflop on 1 MB: the bytes take longer.
/// assert_eq!(roofline.floor_s(1e6, 1e6), 1e-2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Floating-point operations per second.
    pub flops_per_s: f64,
    /// Bytes moved per second.
    pub bytes_per_s: f64,
    /// Where the two numbers come from.
    pub source: String,
}

impl Default for Roofline {
    /// One core with two 256-bit multiply-add units at 3 GHz, and a sixth of a desktop's memory channels.
    fn default() -> Self {
        Roofline { flops_per_s: 48e9, bytes_per_s: 16e9, source: "nominal core".into() }
    }
}

impl Roofline {
    /// The least time that much work takes: max(flops / peak, bytes / bandwidth), seconds.
    ///
    /// ```
    /// use scatterc_compiler::explain::Roofline;
    ///
    /// let roofline = Roofline::default();
    /// assert_eq!(roofline.floor_s(roofline.flops_per_s, 0.0), 1.0);
    /// ```
    pub fn floor_s(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops_per_s).max(bytes / self.bytes_per_s)
    }
}

/// How much longer than at the roofline a kind of launch takes on the CPU: times the time of its operations, times that of its bytes, and seconds beside.
///
/// Fitted to the ten heaviest launches of eighteen plans (`s2scat` from L = 64 to 512, `cheng`, `kymatio2d`, `spectra`, `foscat`; f64 and f32; gradients too) on one core with AVX-512:
/// 177 of 180 lie within a factor of two of the measured time. The two times are added, as kernels hide little of one behind the other.
fn slower(step: &Step) -> Option<(f64, f64, f64)> {
    Some(match step {
        Step::Linear { map, adjoint, .. } => match (map.spelling(), adjoint) {
            ("wigner_inverse" | "harmonic_inverse", false) => (0.8, 2.8, 0.0),
            ("wigner_inverse" | "harmonic_inverse", true) => (1.6, 2.5, 5e-6),
            ("wigner_forward" | "harmonic_forward", false) => (3.0, 2.2, 0.0),
            ("wigner_forward" | "harmonic_forward", true) => (3.0, 1.2, 0.0),
            ("filter_inverse", _) => (2.5, 8.8, 0.0),
            ("fourier" | "fourier_real" | "fourier_inverse", _) => (1.0, 7.0, 0.0),
            ("stencil", false) => (7.5, 1.0, 0.0),
            ("stencil", true) => (2.4, 11.0, 0.0),
            ("downgrade", _) => (1.0, 28.0, 0.0),
            _ => (3.0, 3.0, 0.0),
        },
        Step::Loop { .. } => (12.0, 1.0, 0.0),
        Step::Tile { .. } => (9.0, 1.0, 0.0),
        Step::Gram { .. } | Step::FilterGram { .. } => (2.0, 2.0, 0.0),
        Step::Mix { .. } | Step::FilterMix { .. } => (3.8, 1.0, 0.0),
        Step::FrameGram { .. } => (5.7, 5.0, 7e-5),
        Step::FrameMix { .. } => (6.2, 3.5, 2e-4),
        Step::Concat { .. } | Step::Fill { .. } => (0.0, 1.0, 0.0),
        Step::Launch { .. } => return None,
    })
}

/// The time that launch k is expected to take on the CPU, seconds; none for launches of CUDA, whose kinds have not been measured.
fn expected_s(scheduled: &Scheduled, k: usize, roofline: &Roofline) -> Option<f64> {
    let (launch, (operations, traffic, beside)) = (scheduled.launches.get(k)?, slower(scheduled.plan.steps.get(k)?)?);
    Some(operations * launch.flops / roofline.flops_per_s + traffic * launch.bytes / roofline.bytes_per_s + beside)
}

/// What a report may say beyond stages and plan.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// let facts = Facts { compile_s: Some(0.25), measured_s: Some(vec![1e-6; scheduled.launches.len()]), ..Facts::default() };
/// assert!(json(&vec![], &scheduled, &facts).contains("\"compile_s\":2.5e-1"));
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Facts {
    /// Peaks that the floor times follow from.
    pub roofline: Roofline,
    /// Seconds of compilation.
    pub compile_s: Option<f64>,
    /// Measured seconds of every step.
    pub measured_s: Option<Vec<f64>>,
    /// What the kernels of a plan for CUDA take, by name.
    pub resources: BTreeMap<String, Resources>,
}

/// What a kernel takes, as its compiler reports it.
///
/// ```
/// use scatterc_compiler::explain::{Facts, Resources};
///
/// let resources = [("k0".to_string(), Resources { registers: 40, ..Resources::default() })].into();
/// assert_eq!(Facts { resources, ..Facts::default() }.resources["k0"].spilled_bytes, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that a thread stores to memory because there are too few.
    pub spilled_bytes: u32,
    /// Bytes of shared memory of a block whose size the text fixes; a launch may ask for more.
    pub shared_bytes: u32,
}

impl Roofline {
    /// An H200 by its data sheet: 34 Tflop/s in f64 and 67 in f32 without tensor cores, 4.8 TB/s.
    ///
    /// ```
    /// use scatterc_compiler::explain::Roofline;
    /// use scatterc_ir::plan::Element;
    ///
    /// assert!(Roofline::h200(Element::F32).flops_per_s > Roofline::h200(Element::F64).flops_per_s);
    /// ```
    pub fn h200(element: Element) -> Self {
        let flops_per_s = match element {
            Element::F64 => 34e12,
            Element::F32 => 67e12,
        };
        Roofline { flops_per_s, bytes_per_s: 4.8e12, source: "H200, data sheet".into() }
    }
}

/// Grid, shared memory and registers of a launch of a CUDA kernel.
fn geometry(plan: &Plan, k: usize, facts: &Facts) -> Option<(String, usize, usize, usize, Option<Resources>)> {
    match plan.steps.get(k)? {
        Step::Launch { kernel, grid, block, shared, .. } => {
            let name = plan.kernels.get(*kernel)?.name.clone();
            let resources = facts.resources.get(&name).copied();
            Some((name, *grid, *block, *shared, resources))
        }
        _ => None,
    }
}

/// How often every op occurs.
fn histogram(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in &graph.nodes {
        *counts.entry(spelling(&node.op)).or_insert(0) += 1;
    }
    counts
}

/// `abs +2, mul -3`: how the histogram changed.
fn changes(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) -> Vec<(String, i64)> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let count = |counts: &BTreeMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0) as i64;
    names.into_iter().map(|name| (name.clone(), count(after, name) - count(before, name))).filter(|(_, change)| *change != 0).collect()
}

/// f64 of the tables of a plan, by the steps that read them.
fn table_count(scheduled: &Scheduled) -> usize {
    scheduled.plan.tables.len()
}

/// [`report_with`] at the nominal roofline, without measured times.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// assert!(report(&vec![], &scheduled).starts_with("power: no domain\n\nstages\n"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn report(trace: &Trace, scheduled: &Scheduled) -> String {
    report_with(trace, scheduled, &Facts::default())
}

/// Stages (name, sentence, nodes before and after, changes of the op histogram, nominal work of the transforms that outputs need), launches (values, Mflop, MB, floor time), totals.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// let slow = Roofline { flops_per_s: 1.0, bytes_per_s: 1.0, source: "pen and paper".into() };
/// let report = report_with(&vec![], &scheduled, &Facts { roofline: slow, ..Facts::default() });
/// assert!(report.contains("pen and paper"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn report_with(trace: &Trace, scheduled: &Scheduled, facts: &Facts) -> String {
    let mut out = String::new();
    let plan = &scheduled.plan;
    let _ = writeln!(out, "{}: {}", plan.name, plan.note("domain").unwrap_or("no domain"));
    if let Some(note) = plan.note("precision") {
        let _ = writeln!(out, "precision: {note}");
    }
    let _ = writeln!(out, "\nstages");
    let mut before: Option<(usize, BTreeMap<String, usize>)> = None;
    let mut work: Option<f64> = None;
    for stage in trace {
        let (nodes, ops) = (stage.graph.nodes.len(), histogram(&stage.graph));
        let transforms = transform_flops(&stage.graph);
        let count = match &before {
            Some((n, _)) => format!("{n} -> {nodes} nodes"),
            None => format!("{nodes} nodes"),
        };
        let _ = writeln!(out, "  {:<16} {:<18} {}", stage.name, count, stage.sentence);
        let difference = changes(&before.map(|(_, ops)| ops).unwrap_or_default(), &ops);
        for line in wrap(&difference.iter().map(|(name, change)| format!("{name} {change:+}")).collect::<Vec<_>>(), 100) {
            let _ = writeln!(out, "  {:<16} {line}", "");
        }
        if let Some(work) = work.filter(|work| (work - transforms).abs() > 1e-3 * work.max(transforms)) {
            let _ = writeln!(out, "  {:<16} transforms {:.3} -> {:.3} Mflop", "", work / 1e6, transforms / 1e6);
        }
        work = Some(transforms);
        before = Some((nodes, ops));
    }
    let roofline = &facts.roofline;
    let _ =
        writeln!(out, "\nlaunches (floor: {:.1} Gflop/s, {:.1} GB/s, {})", roofline.flops_per_s / 1e9, roofline.bytes_per_s / 1e9, roofline.source);
    let measured = facts.measured_s.as_deref();
    let header = if measured.is_some() { "  expected ms  measured ms  floor/meas" } else { "" };
    let _ = writeln!(out, "  {:>4} {:>7} {:>11} {:>10} {:>10} {:>10}{header}  kernel", "#", "values", "Mflop", "MB", "live MB", "floor ms");
    let live = live_bytes(plan);
    let (mut flops, mut bytes, mut floor, mut expected, mut time) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (k, launch) in scheduled.launches.iter().enumerate() {
        let least = roofline.floor_s(launch.flops, launch.bytes);
        let alive = live.get(k).copied().unwrap_or(0) as f64 / 1e6;
        let _ = write!(
            out,
            "  {k:>4} {:>7} {:>11.3} {:>10.3} {alive:>10.3} {:>10.4}",
            launch.values,
            launch.flops / 1e6,
            launch.bytes / 1e6,
            least * 1e3
        );
        if let Some(seconds) = measured.and_then(|m| m.get(k)) {
            let own = expected_s(scheduled, k, roofline);
            let text = own.map_or("-".to_string(), |s| format!("{:.4}", s * 1e3));
            let _ = write!(out, "  {text:>11}  {:>11.4}  {:>9.0}%", seconds * 1e3, percent(least, *seconds));
            expected += own.unwrap_or_default();
            time += seconds;
        }
        let _ = match geometry(plan, k, facts) {
            None => writeln!(out, "  {}", launch.summary),
            Some((name, grid, block, shared, resources)) => {
                let taken = resources.map_or(String::new(), |r| {
                    let spilled = if r.spilled_bytes > 0 { format!(", {} B spilled", r.spilled_bytes) } else { String::new() };
                    format!(", {} registers{spilled}, {} B shared", r.registers, shared + r.shared_bytes as usize)
                });
                writeln!(out, "  {name} <<<{grid}, {block}>>>{taken}: {}", launch.summary)
            }
        };
        flops += launch.flops;
        bytes += launch.bytes;
        floor += least;
    }
    let most = live.iter().copied().max().unwrap_or(0) as f64 / 1e6;
    let _ = write!(out, "  {:>4} {:>7} {:>11.3} {:>10.3} {most:>10.3} {:>10.4}", "all", "", flops / 1e6, bytes / 1e6, floor * 1e3);
    if measured.is_some() {
        let _ = write!(out, "  {:>11.4}  {:>11.4}  {:>9.0}%", expected * 1e3, time * 1e3, percent(floor, time));
    }
    let _ = writeln!(out, "  {} launches", scheduled.launches.len());
    if !scheduled.recomputed.is_empty() {
        let _ = writeln!(out, "\nrecomputed");
    }
    for what in &scheduled.recomputed {
        let _ = writeln!(out, "  {what}");
    }
    let _ = writeln!(out);
    let _ = writeln!(
        out,
        "arena {:.3} MB, {} tables, {} kernels, {} inputs, {} outputs",
        (plan.element.bytes() * plan.arena) as f64 / 1e6,
        table_count(scheduled),
        plan.kernels.len(),
        plan.inputs.len(),
        plan.outputs.len()
    );
    if let Some(seconds) = facts.compile_s {
        let _ = writeln!(out, "compiled in {:.1} ms", seconds * 1e3);
    }
    out
}

fn percent(floor: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { 100.0 * floor / seconds } else { 0.0 }
}

/// Words joined by commas into lines of at most `width` characters where words allow.
fn wrap(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + word.len() <= width => {
                line.push_str(", ");
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON number; JSON has none for what is not finite.
fn number(x: f64) -> String {
    if x.is_finite() { format!("{x:e}") } else { "null".into() }
}

/// What is computed twice, as a JSON object.
fn recomputed(what: &Recomputed) -> String {
    format!("{{\"value\":{},\"type\":{},\"bytes\":{},\"limit_bytes\":{}}}", quoted(&what.value), quoted(&what.ty), what.bytes, what.limit)
}

/// The report as one JSON object: `name`, `domain`, `stages`, `launches`, `totals`, `live_bytes` (the most alive at once), `recomputed`, `arena_bytes`, `tables`, `kernels`, `compile_s`, `roofline`.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// assert!(json(&vec![], &scheduled, &Facts::default()).starts_with("{\"name\":\"power\",\"domain\":null,"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn json(trace: &Trace, scheduled: &Scheduled, facts: &Facts) -> String {
    let plan = &scheduled.plan;
    let mut stages = Vec::new();
    let mut before: Option<usize> = None;
    for stage in trace {
        let ops: Vec<String> = histogram(&stage.graph).iter().map(|(name, n)| format!("{}:{n}", quoted(name))).collect();
        stages.push(format!(
            "{{\"name\":{},\"sentence\":{},\"nodes_before\":{},\"nodes\":{},\"transform_flops\":{},\"ops\":{{{}}}}}",
            quoted(&stage.name),
            quoted(&stage.sentence),
            before.map_or("null".into(), |n| n.to_string()),
            stage.graph.nodes.len(),
            number(transform_flops(&stage.graph)),
            ops.join(",")
        ));
        before = Some(stage.graph.nodes.len());
    }
    let measured = facts.measured_s.as_deref();
    let mut launches = Vec::new();
    let (mut flops, mut bytes, mut floor) = (0.0, 0.0, 0.0);
    let live = live_bytes(plan);
    let slots = |slots: &[scatterc_ir::plan::Slot]| slots.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(",");
    for (k, launch) in scheduled.launches.iter().enumerate() {
        let least = facts.roofline.floor_s(launch.flops, launch.bytes);
        let device = geometry(plan, k, facts).map_or(String::new(), |(name, grid, block, shared, resources)| {
            let taken = resources.map_or(String::new(), |r| format!("\"registers\":{},\"spilled_bytes\":{},", r.registers, r.spilled_bytes));
            format!("\"name\":{},\"grid\":{grid},\"block\":{block},\"shared_bytes\":{shared},{taken}", quoted(&name))
        });
        let (reads, writes) = plan.steps.get(k).map(Plan::traffic).unwrap_or_default();
        launches.push(format!(
            "{{\"kernel\":{},{}\"values\":{},\"flops\":{},\"bytes\":{},\"reads\":[{}],\"writes\":[{}],\"live_bytes\":{},\"floor_s\":{},\"expected_s\":{},\"measured_s\":{}}}",
            quoted(&launch.summary),
            device,
            launch.values,
            number(launch.flops),
            number(launch.bytes),
            slots(&reads),
            slots(&writes),
            live.get(k).copied().unwrap_or(0),
            number(least),
            expected_s(scheduled, k, &facts.roofline).map_or("null".into(), number),
            measured.and_then(|m| m.get(k)).map_or("null".into(), |s| number(*s))
        ));
        flops += launch.flops;
        bytes += launch.bytes;
        floor += least;
    }
    format!(
        "{{\"name\":{},\"domain\":{},\"precision\":{},\"stages\":[{}],\"launches\":[{}],\"totals\":{{\"flops\":{},\"bytes\":{},\"floor_s\":{},\"measured_s\":{}}},\"live_bytes\":{},\"recomputed\":[{}],\"arena_bytes\":{},\"tables\":{},\"kernels\":{},\"compile_s\":{},\"roofline\":{{\"flops_per_s\":{},\"bytes_per_s\":{},\"source\":{}}}}}",
        quoted(&plan.name),
        plan.note("domain").map_or("null".into(), quoted),
        plan.note("precision").map_or("null".into(), quoted),
        stages.join(","),
        launches.join(","),
        number(flops),
        number(bytes),
        number(floor),
        measured.map_or("null".into(), |m| number(m.iter().sum())),
        live.iter().copied().max().unwrap_or(0),
        scheduled.recomputed.iter().map(recomputed).collect::<Vec<_>>().join(","),
        plan.element.bytes() * plan.arena,
        table_count(scheduled),
        plan.kernels.len(),
        facts.compile_s.map_or("null".into(), number),
        number(facts.roofline.flops_per_s),
        number(facts.roofline.bytes_per_s),
        quoted(&facts.roofline.source)
    )
}

/// The fused loops and tiles of a plan: sizes, buffers and what each computes; [`kernels`] has their instructions.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// // The square is summed where it is made: one loop.
/// assert!(loops(&scheduled).contains("weights of mean"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn loops(scheduled: &Scheduled) -> String {
    let plan = &scheduled.plan;
    let mut out = String::new();
    for (k, step) in plan.steps.iter().enumerate() {
        match step {
            Step::Loop { kernel, trip, outer, grain, streams, tables, sums } => {
                let Some(kernel) = plan.kernels.get(*kernel) else { continue };
                let _ = writeln!(out, "step {k}: loop {} {{  // {}", kernel.name, kernel.summary);
                let _ = writeln!(out, "  for o in 0..{outer}, e in 0..{trip} by {grain} {{");
                for (n, stream) in streams.iter().enumerate() {
                    let verb = if stream.written { "write" } else { "read " };
                    let _ = writeln!(out, "    {verb} s{n} = arena[{} + {} o + ..{}]", stream.slot.offset, stream.stride, stream.extent);
                }
                name_tables(&mut out, plan, tables);
                if sums.len > 0 {
                    let _ = writeln!(out, "    sums -> arena[{} + {} o + ..{}]", sums.offset, sums.len / outer.max(&1), sums.len / outer.max(&1));
                }
                let _ = writeln!(out, "    // {} lines of CLIF\n  }}\n}}", kernel.text.lines().count());
            }
            Step::Tile { L, outer, scratch, sums, stages } => {
                let _ = writeln!(out, "step {k}: tile {{  // {} bytes of scratch memory per thread", plan.element.bytes() * scratch);
                let _ = writeln!(out, "  for o in 0..{outer}, every pair of blocks of map({L}) {{");
                for stage in stages {
                    match stage {
                        Stage::Rings { map, adjoint, first, rows, from, to } => {
                            let _ =
                                writeln!(out, "    {}{} of rows {first}+{rows}: {from} -> {to}", map.spelling(), if *adjoint { "^H" } else { "" });
                        }
                        Stage::Loop { kernel, streams, tables, .. } => {
                            let Some(kernel) = plan.kernels.get(*kernel) else { continue };
                            let _ = writeln!(out, "    loop {}  // {}, {} lines of CLIF", kernel.name, kernel.summary, kernel.text.lines().count());
                            for (n, stream) in streams.iter().enumerate() {
                                let _ = writeln!(out, "      {} s{n} = {}", if stream.written { "write" } else { "read " }, stream.place);
                            }
                            name_tables(&mut out, plan, tables);
                        }
                    }
                }
                if sums.len > 0 {
                    let _ = writeln!(out, "    sums -> arena[{} + {} o + ..{}]", sums.offset, sums.len / outer.max(&1), sums.len / outer.max(&1));
                }
                let _ = writeln!(out, "  }}\n}}");
            }
            Step::Linear { .. }
            | Step::Gram { .. }
            | Step::FrameGram { .. }
            | Step::FrameMix { .. }
            | Step::FilterGram { .. }
            | Step::FilterMix { .. }
            | Step::Mix { .. }
            | Step::Concat { .. }
            | Step::Launch { .. }
            | Step::Fill { .. } => {}
        }
    }
    out
}

fn name_tables(out: &mut String, plan: &Plan, tables: &[usize]) {
    for (n, table) in tables.iter().enumerate() {
        if let Some(Table::Weights(map)) = plan.tables.get(*table) {
            let _ = writeln!(out, "    table t{n} = weights of {}", map.spelling());
        }
    }
}

/// Text of all kernels, each under a comment with its name and what it computes.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// # let scheduled = schedule(&graph, Fusion::All)?;
/// assert!(kernels(&scheduled).starts_with("; k0: ") && kernels(&scheduled).contains("fmul"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn kernels(scheduled: &Scheduled) -> String {
    scheduled
        .plan
        .kernels
        .iter()
        .map(|kernel| format!("; {}: {}\n{}\n", kernel.name, kernel.summary, kernel.text.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The translation unit of a plan for CUDA.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// let scheduled = schedule_cuda(&graph, Fusion::All, scatterc_ir::plan::Element::F64)?;
/// assert!(cuda(&scheduled.plan).contains("extern \"C\" __global__"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn cuda(plan: &Plan) -> String {
    let kernels = plan.kernels.iter().map(|kernel| format!("\n// {}\n{}", kernel.summary, kernel.text));
    std::iter::once(plan.prelude.clone()).chain(kernels).collect()
}

/// The graph for graphviz: inputs as ovals, linear maps as boxes, pointwise functions rounded, outputs bold.
///
/// ```
/// # use scatterc_compiler::{explain::*, fuse::Fusion, picture::*, schedule::*};
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// // The mean of x^2: %1 = square(%0), %2 = mean(%1).
/// assert!(dot(&graph).contains("n1 [label=\"square\\n[] map(8)\", shape=box, style=rounded];"));
/// ```
pub fn dot(graph: &Graph) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n  node [fontname=\"sans-serif\", fontsize=10];\n", escape(&graph.name));
    for value in graph.values() {
        let node = graph.node(value);
        let shape = match node.op {
            Op::Input(_) | Op::Parameter(_) => "shape=oval",
            Op::Constant(_) => "shape=plaintext",
            Op::Linear { .. } => "shape=box",
            Op::Pointwise(_) => "shape=box, style=rounded",
            Op::Concat => "shape=house",
        };
        let label = match &node.op {
            Op::Input(name) | Op::Parameter(name) => name.clone(),
            Op::Constant(x) => format!("{x:?}"),
            op => spelling(op),
        };
        let _ = writeln!(out, "  n{} [label=\"{}\\n{}\", {shape}];", value.index(), escape(&label), escape(&node.ty.to_string()));
        for operand in &node.operands {
            let _ = writeln!(out, "  n{} -> n{};", operand.index(), value.index());
        }
    }
    for (k, output) in graph.outputs.iter().enumerate() {
        let _ = writeln!(out, "  o{k} [label=\"{}\", shape=oval, style=bold];\n  n{} -> o{k};", escape(&output.name), output.value.index());
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::Fusion;
    use crate::pass::{Stage, run_passes};
    use crate::schedule::schedule;
    use scatterc_ir::{Builder, Linear, Space, Type};

    fn example() -> (Trace, Scheduled) {
        let mut b = Builder::new("example \"quoted\"");
        let L = 8;
        let x = b.input("x", Type::new([], Space::Coefficients { L })).expect("an input");
        let rings = b.linear(Linear::HarmonicInverse { L_in: L, L }, x).expect("it types");
        let map = b.linear(Linear::RingInverse { L, M: L }, rings).expect("it types");
        let square = scatterc_ir::ops::pointwise("square").expect("a row").expression.clone();
        let square = b.pointwise(square, &[map]).expect("it types");
        let mean = b.linear(Linear::Mean { L }, square).expect("it types");
        b.output("power", mean);
        let graph = b.finish();
        let mut trace = vec![Stage { name: "bind".into(), sentence: "The statistic on its domain.".into(), graph: graph.clone() }];
        let graph = run_passes(graph, &[], &mut trace).expect("the passes run");
        let scheduled = schedule(&graph, Fusion::All).expect("it schedules");
        (trace, scheduled)
    }

    #[test]
    fn the_report_names_every_stage_and_launch() {
        let (trace, scheduled) = example();
        let facts = Facts { measured_s: Some(vec![1e-3; scheduled.launches.len()]), compile_s: Some(0.01), ..Facts::default() };
        let text = report_with(&trace, &scheduled, &facts);
        for stage in &trace {
            assert!(text.contains(&stage.name) && text.contains(&stage.sentence), "{}", stage.name);
        }
        for launch in &scheduled.launches {
            assert!(text.contains(&launch.summary), "{}", launch.summary);
        }
        assert!(text.contains("compiled in 10.0 ms") && text.contains("measured ms"));
        assert_eq!(report(&trace, &scheduled), report(&trace, &scheduled));
    }

    #[test]
    fn json_is_balanced_and_escaped() {
        let (trace, scheduled) = example();
        let text = json(&trace, &scheduled, &Facts::default());
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(text.contains("example \\\"quoted\\\"") && !text.contains('\n'));
    }

    #[test]
    fn dot_has_every_node_and_edge() {
        let (trace, _) = example();
        let graph = &trace[0].graph;
        let text = dot(graph);
        let edges: usize = graph.nodes.iter().map(|n| n.operands.len()).sum::<usize>() + graph.outputs.len();
        assert_eq!(text.matches(" -> ").count(), edges);
        assert!(text.starts_with("digraph") && text.trim_end().ends_with('}'));
    }

    #[test]
    fn floors_are_the_larger_of_both_times() {
        let roofline = Roofline { flops_per_s: 10.0, bytes_per_s: 5.0, source: String::new() };
        assert_eq!(roofline.floor_s(100.0, 5.0), 10.0);
        assert_eq!(roofline.floor_s(10.0, 50.0), 10.0);
    }
}
