//! Pictures of graphs and plans: buffers and their lives, live sets, and both as DOT and SVG.
//!
//! Pure functions from stages and plans to text. The lives are read off the plan, not off the schedule, so that an edited plan shows what it is.

use crate::explain::Facts;
use crate::pass::Trace;
use crate::schedule::Scheduled;
use scatterc_ir::plan::{Plan, Slot, Step};
use scatterc_ir::text::spelling;
use scatterc_ir::{Graph, Op};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A range of the arena from what writes it to its last reader.
///
/// ```
/// # use scatterc_compiler::picture::*;
/// # let plan = scatterc_ir::plan::parse("plan p {
/// #   arena 20
/// #   input x = 0+4 : [4] point
/// #   output y = 4+4 : [4] point
/// #   step concat rows=1 (0+4 -> 8+4)
/// #   step concat rows=1 (8+4 -> 4+4)
/// # }
/// # ").expect("a plan");
/// // x = 0+4, copied to 8+4 and from there to y = 4+4.
/// let middle = lives(&plan)[1];
/// assert_eq!((middle.slot.to_string(), middle.writer, middle.last), ("8+4".into(), Some(0), 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The range.
    pub slot: Slot,
    /// Step that writes it; `None` for inputs and parameters.
    pub writer: Option<usize>,
    /// Last step that reads it, the writer where none does, the number of steps for outputs.
    pub last: usize,
}

/// Every buffer of a plan with its life, in the order of their writers. A write ends the lives of all ranges that it overlaps.
///
/// ```
/// # use scatterc_compiler::picture::*;
/// # let plan = scatterc_ir::plan::parse("plan p {
/// #   arena 20
/// #   input x = 0+4 : [4] point
/// #   output y = 4+4 : [4] point
/// #   step concat rows=1 (0+4 -> 8+4)
/// #   step concat rows=1 (8+4 -> 4+4)
/// # }
/// # ").expect("a plan");
/// // x = 0+4, copied to 8+4 and from there to y = 4+4.
/// assert_eq!(lives(&plan).iter().map(|life| (life.writer, life.last)).collect::<Vec<_>>(), [(None, 0), (Some(0), 1), (Some(1), 2)]);
/// ```
pub fn lives(plan: &Plan) -> Vec<Life> {
    let mut all: Vec<Life> = Vec::new();
    // Lives that go on, by offset; they do not overlap.
    let mut current: BTreeMap<usize, usize> = BTreeMap::new();
    let overlapping = |current: &BTreeMap<usize, usize>, all: &[Life], slot: &Slot| -> Vec<usize> {
        let end = slot.offset.saturating_add(slot.len);
        let mut found: Vec<usize> = Vec::new();
        for (_, k) in current.range(..end).rev() {
            if all[*k].slot.offset.saturating_add(all[*k].slot.len) <= slot.offset {
                break;
            }
            found.push(*k);
        }
        found
    };
    let begin = |current: &mut BTreeMap<usize, usize>, all: &mut Vec<Life>, slot: Slot, writer: Option<usize>| {
        if slot.len == 0 {
            return;
        }
        for k in overlapping(current, all, &slot) {
            current.remove(&all[k].slot.offset);
        }
        current.insert(slot.offset, all.len());
        all.push(Life { slot, writer, last: writer.unwrap_or(0) });
    };
    plan.inputs.iter().for_each(|port| begin(&mut current, &mut all, port.slot, None));
    for (k, step) in plan.steps.iter().enumerate() {
        let (reads, writes) = Plan::traffic(step);
        for slot in &reads {
            for n in overlapping(&current, &all, slot) {
                all[n].last = all[n].last.max(k);
            }
        }
        writes.iter().for_each(|slot| begin(&mut current, &mut all, *slot, Some(k)));
    }
    for port in &plan.outputs {
        for n in overlapping(&current, &all, &port.slot) {
            all[n].last = plan.steps.len();
        }
    }
    all
}

/// Bytes alive during every step, its operands and results included.
///
/// ```
/// # use scatterc_compiler::picture::*;
/// # let plan = scatterc_ir::plan::parse("plan p {
/// #   arena 20
/// #   input x = 0+4 : [4] point
/// #   output y = 4+4 : [4] point
/// #   step concat rows=1 (0+4 -> 8+4)
/// #   step concat rows=1 (8+4 -> 4+4)
/// # }
/// # ").expect("a plan");
/// // x = 0+4, copied to 8+4 and from there to y = 4+4.
/// assert_eq!(live_bytes(&plan), [2 * 4 * 8, 2 * 4 * 8]);
/// ```
pub fn live_bytes(plan: &Plan) -> Vec<usize> {
    let steps = plan.steps.len();
    let mut change = vec![0isize; steps + 1];
    for life in lives(plan) {
        let (first, last) = (life.writer.unwrap_or(0).min(steps), life.last.min(steps.saturating_sub(1)));
        if first <= last {
            change[first] += life.slot.len as isize;
            change[last + 1] -= life.slot.len as isize;
        }
    }
    let mut alive = 0;
    change[..steps]
        .iter()
        .map(|delta| {
            alive += delta;
            plan.element.bytes() * usize::try_from(alive).unwrap_or(0)
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn bytes(n: f64) -> String {
    let (value, unit) =
        [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].into_iter().find(|(scale, _)| n >= *scale).map_or((n, "B"), |(scale, unit)| (n / scale, unit));
    if unit == "B" { format!("{value:.0} B") } else { format!("{value:.2} {unit}") }
}

/// The launches of a plan for graphviz: one box each with flops, bytes, least time and live set; an arrow per buffer from what writes it to what reads it.
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
/// assert!(launches_dot(&scheduled, &Facts::default()).starts_with("digraph \"power launches\" {"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn launches_dot(scheduled: &Scheduled, facts: &Facts) -> String {
    let plan = &scheduled.plan;
    let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let live = live_bytes(plan);
    let mut out = format!("digraph \"{} launches\" {{\n  node [fontname=\"sans-serif\", fontsize=10, shape=box];\n", quote(&plan.name));
    for (k, launch) in scheduled.launches.iter().enumerate() {
        let floor = facts.roofline.floor_s(launch.flops, launch.bytes) * 1e6;
        let measured = facts.measured_s.as_ref().and_then(|m| m.get(k)).map_or(String::new(), |s| format!(", measured {:.2} us", s * 1e6));
        let _ = writeln!(
            out,
            "  s{k} [label=\"{k}: {}\\n{:.4} Mflop, {}, at least {floor:.2} us{measured}\\nlive {}\"];",
            quote(&launch.summary),
            launch.flops / 1e6,
            bytes(launch.bytes),
            bytes(live.get(k).copied().unwrap_or(0) as f64)
        );
    }
    for (n, port) in plan.inputs.iter().enumerate() {
        let _ = writeln!(out, "  i{n} [label=\"{}\\n{}\", shape=oval];", quote(&port.name), port.slot);
    }
    for (n, port) in plan.outputs.iter().enumerate() {
        let _ = writeln!(out, "  o{n} [label=\"{}\\n{}\", shape=oval, style=bold];", quote(&port.name), port.slot);
    }
    // Who wrote each number last, by offset of the range.
    let mut owners: Vec<(Slot, String)> = plan.inputs.iter().enumerate().map(|(n, p)| (p.slot, format!("i{n}"))).collect();
    let overlaps = |a: &Slot, b: &Slot| a.offset < b.offset + b.len && b.offset < a.offset + a.len;
    let arrow = |out: &mut String, owners: &[(Slot, String)], slot: &Slot, to: &str| {
        for (own, from) in owners.iter().filter(|(own, _)| overlaps(own, slot)) {
            let _ = writeln!(out, "  {from} -> {to} [label=\"{own}\", fontsize=8];");
        }
    };
    for (k, step) in plan.steps.iter().enumerate() {
        let (reads, writes) = Plan::traffic(step);
        reads.iter().for_each(|slot| arrow(&mut out, &owners, slot, &format!("s{k}")));
        owners.retain(|(own, _)| !writes.iter().any(|slot| overlaps(own, slot)));
        owners.extend(writes.into_iter().filter(|slot| slot.len > 0).map(|slot| (slot, format!("s{k}"))));
    }
    plan.outputs.iter().enumerate().for_each(|(n, port)| arrow(&mut out, &owners, &port.slot, &format!("o{n}")));
    out.push_str("}\n");
    out
}

/// Colours of the kinds of steps.
fn colour(step: Option<&Step>) -> &'static str {
    match step {
        None => "#9e9e9e",
        Some(Step::Linear { .. }) => "#4e79a7",
        Some(Step::Loop { .. }) => "#f28e2b",
        Some(Step::Tile { .. }) => "#e15759",
        Some(Step::Gram { .. } | Step::FrameGram { .. } | Step::FilterGram { .. }) => "#76b7b2",
        Some(Step::Mix { .. } | Step::FrameMix { .. } | Step::FilterMix { .. }) => "#59a14f",
        Some(Step::Concat { .. } | Step::Fill { .. }) => "#edc948",
        Some(Step::Launch { .. }) => "#b07aa1",
    }
}

const KINDS: [(&str, &str); 8] = [
    ("input", "#9e9e9e"),
    ("linear map", "#4e79a7"),
    ("loop", "#f28e2b"),
    ("tile", "#e15759"),
    ("contraction", "#76b7b2"),
    ("mixture", "#59a14f"),
    ("join, fill", "#edc948"),
    ("launch", "#b07aa1"),
];

fn svg(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"DejaVu Sans, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"16\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(title)
    )
}

fn words(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
}

/// The launches of a plan as a picture: the arena with the life of every buffer (launch to the right, offset upwards) and the live set above it; below, a row per launch
/// with bars of flops, bytes and least time, and measured time where there is one.
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
/// assert!(launches_svg(&scheduled, &Facts::default()).starts_with("<svg"));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn launches_svg(scheduled: &Scheduled, facts: &Facts) -> String {
    let plan = &scheduled.plan;
    let (steps, live) = (plan.steps.len(), live_bytes(plan));
    let (left, top, high, row) = (80.0, 60.0, 260.0, 16.0);
    let step_width = (1100.0 / steps.max(1) as f64).clamp(6.0, 60.0);
    let wide = step_width * steps as f64;
    let width = (left + wide + 40.0).max(1240.0);
    let table = top + high + 60.0;
    let height = table + row * (scheduled.launches.len() as f64 + 2.0) + 30.0 + row * scheduled.recomputed.len() as f64;
    let mut out = svg(width, height, &format!("{}: {} launches, arena {}", plan.name, steps, bytes((plan.element.bytes() * plan.arena) as f64)));
    let (x, y) = (|k: f64| left + step_width * k, |offset: f64| top + high - high * offset / plan.arena.max(1) as f64);
    let _ = writeln!(out, "<rect x=\"{left}\" y=\"{top}\" width=\"{wide:.1}\" height=\"{high}\" fill=\"none\" stroke=\"#888\"/>");
    for life in lives(plan) {
        let (first, last) = (life.writer.unwrap_or(0) as f64, (life.last + 1).min(steps) as f64);
        let by = life.writer.map_or("given".into(), |k| format!("written by {k}: {}", scheduled.launches.get(k).map_or("", |l| l.summary.as_str())));
        let _ = writeln!(
            out,
            "<rect class=\"buffer\" x=\"{:.1}\" y=\"{:.2}\" width=\"{:.1}\" height=\"{:.2}\" fill=\"{}\" stroke=\"white\" stroke-width=\"0.3\"><title>{} ({}), {}, last read by {}</title></rect>",
            x(first),
            y((life.slot.offset + life.slot.len) as f64),
            step_width * (last - first).max(1.0),
            high * life.slot.len as f64 / plan.arena.max(1) as f64,
            colour(life.writer.and_then(|k| plan.steps.get(k))),
            life.slot,
            bytes((plan.element.bytes() * life.slot.len) as f64),
            escape(&by),
            if life.last >= steps { "the caller".to_string() } else { life.last.to_string() }
        );
    }
    let arena = (plan.element.bytes() * plan.arena).max(1) as f64;
    let points: Vec<String> = live
        .iter()
        .enumerate()
        .flat_map(|(k, n)| [(k, n), (k + 1, n)])
        .map(|(k, n)| format!("{:.1},{:.2}", x(k as f64), top + high - high * *n as f64 / arena))
        .collect();
    let _ = writeln!(out, "<polyline class=\"live\" points=\"{}\" fill=\"none\" stroke=\"black\" stroke-width=\"1.5\"/>", points.join(" "));
    words(&mut out, left - 6.0, top + 10.0, "end", &bytes(arena));
    words(&mut out, left - 6.0, top + high, "end", "0");
    words(
        &mut out,
        left,
        top - 8.0,
        "start",
        &format!("arena over launches; black: live set, at most {}", bytes(live.iter().copied().max().unwrap_or(0) as f64)),
    );
    for (n, (name, fill)) in KINDS.iter().enumerate() {
        let at = left + 115.0 * n as f64;
        let _ = writeln!(out, "<rect x=\"{at:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" fill=\"{fill}\"/>", top + high + 12.0);
        words(&mut out, at + 14.0, top + high + 21.0, "start", name);
    }
    let columns = [("flops", 120.0), ("bytes", 240.0), ("least time", 360.0), ("measured", 480.0), ("live", 600.0)];
    for (name, at) in columns {
        words(&mut out, at, table, "start", name);
    }
    words(&mut out, 700.0, table, "start", "kernel");
    let floors: Vec<f64> = scheduled.launches.iter().map(|l| facts.roofline.floor_s(l.flops, l.bytes)).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let flops = most(&mut scheduled.launches.iter().map(|l| l.flops));
    let moved = most(&mut scheduled.launches.iter().map(|l| l.bytes));
    let measured = facts.measured_s.as_deref();
    let time = most(&mut floors.iter().chain(measured.into_iter().flatten()).copied());
    for (k, launch) in scheduled.launches.iter().enumerate() {
        let y = table + row * (k + 1) as f64;
        let fill = colour(plan.steps.get(k));
        let mut bar = |at: f64, part: f64, text: String| {
            let _ = writeln!(
                out,
                "<rect x=\"{at}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{fill}\" fill-opacity=\"0.45\"/>",
                y - 10.0,
                110.0 * part.clamp(0.0, 1.0)
            );
            words(&mut out, at + 3.0, y, "start", &text);
        };
        bar(120.0, launch.flops / flops, format!("{:.4} M", launch.flops / 1e6));
        bar(240.0, launch.bytes / moved, bytes(launch.bytes));
        bar(360.0, floors[k] / time, format!("{:.2} us", floors[k] * 1e6));
        if let Some(s) = measured.and_then(|m| m.get(k)) {
            bar(480.0, s / time, format!("{:.2} us", s * 1e6));
        }
        words(&mut out, 600.0, y, "start", &bytes(live.get(k).copied().unwrap_or(0) as f64));
        words(&mut out, 110.0, y, "end", &k.to_string());
        words(&mut out, 700.0, y, "start", &launch.summary);
    }
    for (k, what) in scheduled.recomputed.iter().enumerate() {
        words(&mut out, 120.0, table + row * (scheduled.launches.len() + 2 + k) as f64, "start", &what.to_string());
    }
    let _ = writeln!(
        out,
        "<!-- roofline: {:.3e} flop/s, {:.3e} B/s, {} -->",
        facts.roofline.flops_per_s,
        facts.roofline.bytes_per_s,
        facts.roofline.source.replace("--", "-")
    );
    out.push_str("</svg>\n");
    out
}

/// A graph as a picture: a row per depth, from the inputs at the top to the outputs at the bottom.
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
/// let picture = graph_svg(&graph);
/// assert!(picture.starts_with("<svg") && picture.contains("%1 square"));
/// ```
pub fn graph_svg(graph: &Graph) -> String {
    let mut depth = vec![0usize; graph.nodes.len()];
    let mut readers = vec![0usize; graph.nodes.len()];
    for (k, node) in graph.nodes.iter().enumerate() {
        depth[k] = node.operands.iter().map(|v| depth[v.index()] + 1).max().unwrap_or(0);
        node.operands.iter().for_each(|v| readers[v.index()] += 1);
    }
    let label = |k: usize| match &graph.nodes[k].op {
        Op::Input(name) | Op::Parameter(name) => name.clone(),
        Op::Constant(x) => format!("{x:?}"),
        op => spelling(op),
    };
    let text: Vec<[String; 2]> = (0..graph.nodes.len()).map(|k| [format!("%{k} {}", label(k)), graph.nodes[k].ty.to_string()]).collect();
    let size = |k: usize| 14.0 + 6.4 * text[k].iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64;
    let layers = depth.iter().max().map_or(0, |d| d + 1);
    let mut rows: Vec<Vec<usize>> = vec![vec![]; layers];
    depth.iter().enumerate().for_each(|(k, d)| rows[*d].push(k));
    // Each row in the order of the middles of its operands, packed from the left.
    let mut middle = vec![0.0f64; graph.nodes.len()];
    let mut width = 400.0f64;
    for row in &mut rows {
        let wanted = |k: &usize, middle: &[f64]| {
            let operands = &graph.nodes[*k].operands;
            operands.iter().map(|v| middle[v.index()]).sum::<f64>() / operands.len().max(1) as f64
        };
        row.sort_by(|a, b| wanted(a, &middle).total_cmp(&wanted(b, &middle)).then(a.cmp(b)));
        let mut x = 16.0;
        for k in row.iter() {
            x = f64::max(x, wanted(k, &middle) - size(*k) / 2.0);
            middle[*k] = x + size(*k) / 2.0;
            x += size(*k) + 14.0;
        }
        width = width.max(x);
    }
    let step = 66.0;
    let y = |k: usize| 60.0 + step * depth[k] as f64;
    let mut out = svg(width + 16.0, 60.0 + step * (layers + 1) as f64, &format!("{}: {} nodes", graph.name, graph.nodes.len()));
    let curve = |out: &mut String, x0: f64, y0: f64, x1: f64, y1: f64| {
        let _ = writeln!(
            out,
            "<path class=\"edge\" d=\"M{x0:.1} {y0:.1} C{x0:.1} {:.1} {x1:.1} {:.1} {x1:.1} {y1:.1}\" fill=\"none\" stroke=\"#999\"/>",
            y0 + 16.0,
            y1 - 16.0
        );
    };
    for (k, node) in graph.nodes.iter().enumerate() {
        node.operands.iter().for_each(|v| curve(&mut out, middle[v.index()], y(v.index()) + 32.0, middle[k], y(k)));
    }
    for (k, node) in graph.nodes.iter().enumerate() {
        let (fill, round) = match node.op {
            Op::Input(_) | Op::Parameter(_) => ("#dddddd", 16),
            Op::Constant(_) => ("#ffffff", 0),
            Op::Linear { .. } => ("#d3e0ee", 2),
            Op::Pointwise(_) => ("#fbdcbf", 10),
            Op::Concat => ("#f7ecb8", 2),
        };
        let named: Vec<&str> = graph.outputs.iter().filter(|o| o.value.index() == k).map(|o| o.name.as_str()).collect();
        let stroke = if named.is_empty() { "#777" } else { "black\" stroke-width=\"2" };
        let _ = writeln!(
            out,
            "<rect class=\"node\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"32\" rx=\"{round}\" fill=\"{fill}\" stroke=\"{stroke}\"><title>{}</title></rect>",
            middle[k] - size(k) / 2.0,
            y(k),
            size(k),
            escape(&format!(
                "%{k} = {node}; {} readers{}",
                readers[k],
                if named.is_empty() { String::new() } else { format!("; returned as {}", named.join(", ")) }
            ))
        );
        words(&mut out, middle[k], y(k) + 13.0, "middle", &text[k][0]);
        words(&mut out, middle[k], y(k) + 27.0, "middle", &text[k][1]);
        if !named.is_empty() {
            words(&mut out, middle[k], y(k) + 46.0, "middle", &format!("return {}", named.join(", ")));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The last graph of that stage; the names that exist where there is none.
///
/// ```
/// use scatterc_compiler::{pass::Stage, picture::stage};
///
/// let trace = vec![Stage { name: "bind".into(), sentence: "The statistic on its domain.".into(), graph: scatterc_ir::Graph::default() }];
/// assert!(stage(&trace, "bind").is_ok());
/// assert_eq!(stage(&trace, "fold"), Err(vec!["bind"]));
/// ```
pub fn stage<'a>(trace: &'a Trace, name: &str) -> Result<&'a Graph, Vec<&'a str>> {
    trace.iter().rev().find(|s| s.name == name).map(|s| &s.graph).ok_or_else(|| {
        let mut names: Vec<&str> = Vec::new();
        for stage in trace {
            if !names.contains(&stage.name.as_str()) {
                names.push(&stage.name);
            }
        }
        names
    })
}
