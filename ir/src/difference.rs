//! Where two graphs, or two plans, differ first: section, item, field and both values.
//!
//! Compares values, not lines: a list that differs in one entry is named by that entry, a kernel by its first line that differs.

use crate::graph::{Graph, Op, attributes};
use crate::ops::Linear;
use crate::plan::{Plan, Port, Stage, Step, Stream, Table, TileStream};
use crate::text::spelling;
use std::fmt::{self, Display};

/// The first difference of one section.
///
/// ```
/// use scatterc_ir::difference::Difference;
///
/// let difference = Difference { section: "steps", item: "step 4 tile".into(), field: "scratch".into(), left: "10".into(), right: "20".into() };
/// assert_eq!(difference.to_string(), "steps: step 4 tile: scratch: 10 | 20");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `header`, `notes`, `inputs`, `outputs`, `tables`, `prelude`, `kernels` or `steps` of a plan; `header`, `nodes` or `outputs` of a graph.
    pub section: &'static str,
    /// Which input, table, kernel, step or node: `step 4 tile`, `kernel k0`; empty in the header.
    pub item: String,
    /// Which field: `arena`, `slot`, `streams[1]`, `places.length`, `line 12`, ..
    pub field: String,
    /// What the first has.
    pub left: String,
    /// What the second has.
    pub right: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = if self.item.is_empty() { String::new() } else { format!("{}: ", self.item) };
        write!(f, "{}: {item}{}: {} | {}", self.section, self.field, self.left, self.right)
    }
}

/// What something without an entry shows.
const ABSENT: &str = "absent";

/// A named field with its entries; a plain value is one entry.
struct Field {
    name: String,
    entries: Vec<String>,
    list: bool,
}

fn one(name: &str, value: impl Display) -> Field {
    Field { name: name.into(), entries: vec![value.to_string()], list: false }
}

fn many<T: Display>(name: &str, values: &[T]) -> Field {
    Field { name: name.into(), entries: values.iter().map(T::to_string).collect(), list: true }
}

/// The first entry that differs: field, left, right.
fn fields(left: &[Field], right: &[Field]) -> Option<(String, String, String)> {
    for (k, a) in left.iter().enumerate() {
        let Some(b) = right.get(k).filter(|b| b.name == a.name) else {
            return Some((a.name.clone(), a.entries.join(", "), ABSENT.into()));
        };
        for (n, (x, y)) in a.entries.iter().zip(&b.entries).enumerate() {
            if x != y {
                return Some((if a.list { format!("{}[{n}]", a.name) } else { a.name.clone() }, x.clone(), y.clone()));
            }
        }
        if a.entries.len() != b.entries.len() {
            return Some((format!("{}.length", a.name), a.entries.len().to_string(), b.entries.len().to_string()));
        }
    }
    right.get(left.len()).map(|b| (b.name.clone(), ABSENT.into(), b.entries.join(", ")))
}

/// The first item of two lists that differs. `show` gives its name and its fields, the first of which says what it is.
fn items<T>(section: &'static str, left: &[T], right: &[T], show: impl Fn(usize, &T) -> (String, Vec<Field>)) -> Option<Difference> {
    for (k, (a, b)) in left.iter().zip(right).enumerate() {
        let ((item, own), (_, other)) = (show(k, a), show(k, b));
        if let Some((field, left, right)) = fields(&own, &other) {
            return Some(Difference { section, item, field, left, right });
        }
    }
    let rest = left.get(right.len()).or_else(|| right.get(left.len()))?;
    let shared = left.len().min(right.len());
    let (item, _) = show(shared, rest);
    let has = |list: &[T]| if list.len() == shared { ABSENT.to_string() } else { "present".to_string() };
    Some(Difference { section, item, field: format!("of {} | {}", left.len(), right.len()), left: has(left), right: has(right) })
}

fn header(pairs: Vec<(&str, String, String)>) -> Option<Difference> {
    let (field, left, right) = pairs.into_iter().find(|(_, a, b)| a != b)?;
    Some(Difference { section: "header", item: String::new(), field: field.into(), left, right })
}

fn text(section: &'static str, item: &str, left: &str, right: &str) -> Option<Difference> {
    let lines = |text: &str| text.lines().enumerate().map(|(k, line)| one(&format!("line {}", k + 1), line.trim_end())).collect::<Vec<_>>();
    let (field, left, right) = fields(&lines(left), &lines(right))?;
    Some(Difference { section, item: item.into(), field, left, right })
}

fn port(kind: &str, port: &Port) -> (String, Vec<Field>) {
    (format!("{kind} {}", port.name), vec![one("name", &port.name), one("slot", port.slot), one("type", &port.ty)])
}

/// Spelling and attributes of a linear map.
fn map(map: &Linear, adjoint: bool) -> Vec<Field> {
    let mut out = vec![one("map", format!("{}{}", map.spelling(), if adjoint { "^H" } else { "" }))];
    out.extend(map.attributes().iter().map(|(name, value)| one(name, value)));
    out
}

fn maps(filters: &[Linear]) -> Vec<Field> {
    let inner =
        |f: &Linear| map(f, false).into_iter().map(|field| format!("{}={}", field.name, field.entries.join(", "))).collect::<Vec<_>>().join(" ");
    vec![many("filters", &filters.iter().map(inner).collect::<Vec<_>>())]
}

fn stream(s: &Stream) -> String {
    format!("{} {} stride {} extent {}", if s.written { "write" } else { "read" }, s.slot, s.stride, s.extent)
}

fn tile_stream(s: &TileStream) -> String {
    format!("{} {} stride {} extent {}", if s.written { "write" } else { "read" }, s.place, s.stride, s.extent)
}

fn stage(k: usize, stage: &Stage) -> Vec<Field> {
    let own = match stage {
        Stage::Rings { map: row, adjoint, first, rows, from, to } => {
            let mut out = vec![one("kind", "rings")];
            out.extend(map(row, *adjoint));
            out.extend([one("first", first), one("rows", rows), one("from", from), one("to", to)]);
            out
        }
        Stage::Loop { kernel, trip, sums, tables, streams } => vec![
            one("kind", "loop"),
            one("kernel", kernel),
            one("trip", trip),
            many("sums", sums),
            many("tables", tables),
            many("streams", &streams.iter().map(tile_stream).collect::<Vec<_>>()),
        ],
    };
    own.into_iter().map(|field| Field { name: format!("stages[{k}].{}", field.name), ..field }).collect()
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Linear { .. } => "linear",
        Step::Loop { .. } => "loop",
        Step::Tile { .. } => "tile",
        Step::Gram { .. } => "gram",
        Step::Mix { .. } => "mix",
        Step::FrameGram { .. } => "frame_gram",
        Step::FrameMix { .. } => "frame_mix",
        Step::FilterGram { .. } => "filter_gram",
        Step::FilterMix { .. } => "filter_mix",
        Step::Concat { .. } => "concat",
        Step::Fill { .. } => "fill",
        Step::Launch { .. } => "launch",
    }
}

fn step(k: usize, step: &Step) -> (String, Vec<Field>) {
    let mut out = vec![one("kind", kind(step))];
    match step {
        Step::Linear { map: row, adjoint, pairs, bandlimits } => {
            out.extend(map(row, *adjoint));
            out.push(many("bandlimits", bandlimits));
            out.push(many("pairs", &pairs.iter().map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>()));
        }
        Step::Loop { kernel, trip, outer, grain, streams, tables, sums } => out.extend([
            one("kernel", kernel),
            one("trip", trip),
            one("outer", outer),
            one("grain", grain),
            one("sums", sums),
            many("tables", tables),
            many("streams", &streams.iter().map(stream).collect::<Vec<_>>()),
        ]),
        Step::Tile { L, outer, scratch, sums, stages } => {
            out.extend([one("L", L), one("outer", outer), one("scratch", scratch), one("sums", sums), one("stages.length", stages.len())]);
            out.extend(stages.iter().enumerate().flat_map(|(k, s)| stage(k, s)));
        }
        Step::Gram { table, row_len, rows, pairs, places, outputs } => out.extend([
            one("table", table),
            one("row_len", row_len),
            many("pairs", pairs),
            many("places", places),
            many("rows", rows),
            many("outputs", outputs),
        ]),
        Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs } => out.extend([
            one("table", table),
            one("row_len", row_len),
            many("counts", counts),
            many("terms", terms),
            many("coefficients", coefficients),
            many("rows", rows),
            many("outputs", outputs),
        ]),
        Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs } => out.extend([
            one("L", L),
            one("N", N),
            many("scales", scales),
            many("bandlimits", bandlimits),
            many("forms", forms),
            many("places", places),
            many("rows", rows),
            many("outputs", outputs),
        ]),
        Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs } => out.extend([
            one("L", L),
            one("N", N),
            many("scales", scales),
            many("bandlimits", bandlimits),
            many("bandlimits_out", bandlimits_out),
            many("counts", counts),
            many("terms", terms),
            many("coefficients", coefficients),
            many("rows", rows),
            many("outputs", outputs),
        ]),
        Step::FilterGram { filters, forms, places, rows, outputs } => {
            out.extend(maps(filters));
            out.extend([many("forms", forms), many("places", places), many("rows", rows), many("outputs", outputs)]);
        }
        Step::FilterMix { filters, counts, terms, coefficients, rows, outputs } => {
            out.extend(maps(filters));
            out.extend([many("counts", counts), many("terms", terms), many("coefficients", coefficients)]);
            out.extend([many("rows", rows), many("outputs", outputs)]);
        }
        Step::Concat { rows, inputs, output } => out.extend([one("rows", rows), many("inputs", inputs), one("output", output)]),
        Step::Fill { value, output } => out.extend([one("value", format!("{value:?}")), one("output", output)]),
        Step::Launch { kernel, grid, block, shared, reads, writes } => out.extend([
            one("kernel", kernel),
            one("grid", grid),
            one("block", block),
            one("shared", shared),
            many("reads", reads),
            many("writes", writes),
        ]),
    }
    (format!("step {k} {}", kind(step)), out)
}

/// The first difference of every section of two plans, in the order of their text; empty exactly when the plans are equal, but for spaces at the ends of lines of kernels.
///
/// Notes say where a plan came from and decide nothing; they are compared like everything else.
///
/// ```
/// use scatterc_ir::{Plan, difference::plans};
///
/// let (a, b) = (Plan { arena: 10, ..Plan::default() }, Plan { arena: 12, ..Plan::default() });
/// assert_eq!(plans(&a, &b)[0].to_string(), "header: arena: 10 | 12");
/// assert!(plans(&a, &a).is_empty());
/// ```
pub fn plans(a: &Plan, b: &Plan) -> Vec<Difference> {
    let note = |_: usize, (key, value): &(String, String)| (format!("note {key}"), vec![one("key", key), one("value", value)]);
    let table = |k: usize, table: &Table| (format!("table {k}"), vec![one("text", table)]);
    let mut out = Vec::new();
    out.extend(header(vec![
        ("name", a.name.clone(), b.name.clone()),
        ("target", format!("{:?}", a.target).to_lowercase(), format!("{:?}", b.target).to_lowercase()),
        ("element", a.element.to_string(), b.element.to_string()),
        ("arena", a.arena.to_string(), b.arena.to_string()),
    ]));
    out.extend(items("notes", &a.notes, &b.notes, note));
    out.extend(items("inputs", &a.inputs, &b.inputs, |_, p| port("input", p)));
    out.extend(items("outputs", &a.outputs, &b.outputs, |_, p| port("output", p)));
    out.extend(items("tables", &a.tables, &b.tables, table));
    out.extend(text("prelude", "", &a.prelude, &b.prelude));
    let named = a.kernels.iter().zip(&b.kernels).find_map(|(x, y)| {
        let name = |k: &crate::plan::Kernel| vec![one("name", &k.name), one("summary", &k.summary)];
        let item = format!("kernel {}", x.name);
        match fields(&name(x), &name(y)) {
            Some((field, left, right)) => Some(Difference { section: "kernels", item, field, left, right }),
            None => text("kernels", &item, &x.text, &y.text),
        }
    });
    out.extend(named.or_else(|| items("kernels", &a.kernels, &b.kernels, |_, k| (format!("kernel {}", k.name), vec![]))));
    out.extend(items("steps", &a.steps, &b.steps, step));
    out
}

/// The first difference of every section of two graphs, in the order of their text; empty exactly when the graphs are equal.
///
/// ```
/// use scatterc_ir::{difference::graphs, text::parse};
///
/// let of = |L: usize| parse(&format!("graph g {{\n  %0 = input x : [] map({L})\n  return x = %0\n}}\n"));
/// let found = graphs(&of(4)?, &of(5)?);
/// assert_eq!((found.len(), found[0].section), (1, "nodes"));
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
pub fn graphs(a: &Graph, b: &Graph) -> Vec<Difference> {
    let mut out = Vec::new();
    out.extend(header(vec![("name", a.name.clone(), b.name.clone())]));
    out.extend(items("nodes", &a.nodes, &b.nodes, |k, node| {
        let mut own = vec![one("op", spelling(&node.op))];
        match &node.op {
            Op::Input(name) | Op::Parameter(name) => own.push(one("name", name)),
            Op::Constant(value) => own.push(one("value", format!("{value:?}"))),
            Op::Pointwise(scalar) => own.push(one("f", scalar)),
            Op::Linear { .. } | Op::Concat => own.extend(attributes(&node.op).iter().map(|(name, value)| one(name, value))),
        }
        own.extend([many("operands", &node.operands), one("type", &node.ty)]);
        (format!("%{k} {}", spelling(&node.op)), own)
    }));
    out.extend(items("outputs", &a.outputs, &b.outputs, |k, o| (format!("output {k}"), vec![one("name", &o.name), one("value", o.value)])));
    out
}
