//! Which memory the text of a kernel touches: proven from its instructions before it is compiled, or the text is refused.
//!
//! ```text
//! CLIF --follow addresses--> accesses (array, offset + scale * element, bytes) --with the sizes of a step--> inside the arrays, or refused
//! ```
//!
//! What is accepted is what a loop over elements looks like: addresses are an array's start, plus constants, plus constant multiples of the element number; there is at most one
//! loop, which counts the element number up from `begin` by a constant and runs while it is below `end`. Such a text always ends, and the extremes of its accesses are those of
//! the first and the last element. Anything else, such as an address that was loaded or computed from numbers, is refused by name.

use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, Function, Inst, InstructionData, MemFlagsData, Opcode, Type, Value, ValueDef, types};

/// Most instructions of a kernel: what they could spill fits the stack of any thread.
const MOST_INSTRUCTIONS: usize = 1 << 16;
/// Largest multiple of the element number and largest constant of an address; with at most 2^40 elements no address overflows.
const LARGEST_SCALE: i64 = 1 << 20;
const LARGEST_OFFSET: i64 = 1 << 60;
/// Most elements of a turn of the loop.
const LARGEST_STEP: i64 = 1 << 10;

/// An array that a kernel is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Array {
    /// The addresses of the streams.
    Streams,
    /// The addresses of the tables.
    Tables,
    /// The sums.
    Sums,
    /// A stream.
    Stream(usize),
    /// A table.
    Table(usize),
}

impl std::fmt::Display for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Array::Streams => f.write_str("the addresses of the streams"),
            Array::Tables => f.write_str("the addresses of the tables"),
            Array::Sums => f.write_str("the sums"),
            Array::Stream(k) => write!(f, "stream {k}"),
            Array::Table(k) => write!(f, "table {k}"),
        }
    }
}

/// Bytes `offset + scale * element ..` of an array, for every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    array: Array,
    offset: i64,
    scale: i64,
    bytes: u32,
    written: bool,
}

/// What a kernel touches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Footprint {
    accesses: Vec<Access>,
    /// Elements of a turn of the loop.
    step: u64,
}

/// An array as a step gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// Numbers that may be touched.
    pub(crate) numbers: usize,
    /// Whether they may be written.
    pub(crate) written: bool,
    /// The numbers are those of one part of the elements, and start at its first.
    pub(crate) part: bool,
}

/// The arrays and elements of a step.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// Bytes of a number.
    pub(crate) bytes: usize,
    /// Elements.
    pub(crate) trip: usize,
    /// Elements of a part that one call computes; the last may be shorter.
    pub(crate) part: usize,
    pub(crate) streams: Vec<Given>,
    /// Numbers of every table.
    pub(crate) tables: Vec<usize>,
    /// Sums of a call.
    pub(crate) sums: usize,
}

impl Footprint {
    /// What leaves the arrays of a step: expected and found.
    pub(crate) fn fault(&self, usage: &Usage) -> Option<(String, String)> {
        let width = usage.bytes as i128;
        // A turn that takes several elements may begin at the last of them, unless all parts have whole turns.
        let turn = if (usage.trip as u64).is_multiple_of(self.step.max(1))
            && (usage.part >= usage.trip || (usage.part as u64).is_multiple_of(self.step.max(1)))
        {
            self.step.max(1) as i128
        } else {
            1
        };
        for access in &self.accesses {
            let (numbers, may_write, part) = match access.array {
                Array::Streams => (usage.streams.len() * 8, false, false),
                Array::Tables => (usage.tables.len() * 8, false, false),
                Array::Sums => (usage.sums * usage.bytes, true, false),
                Array::Stream(k) => match usage.streams.get(k) {
                    Some(given) => (given.numbers.saturating_mul(usage.bytes), given.written, given.part),
                    None => (0, false, false),
                },
                Array::Table(k) => (usage.tables.get(k).map_or(0, |n| n.saturating_mul(usage.bytes)), false, false),
            };
            if access.written && !may_write {
                return Some((format!("only reads of {}", access.array), "a store".into()));
            }
            // Addresses of a part are those of the whole less the elements before it.
            if part && i128::from(access.scale) != width {
                return Some((format!("{} bytes between the elements of {}", usage.bytes, access.array), access.scale.to_string()));
            }
            let elements = if part { usage.part.min(usage.trip) } else { usage.trip } as i128;
            let last = (elements - turn).max(0) * i128::from(access.scale);
            let first = i128::from(access.offset) + last.min(0);
            let end = i128::from(access.offset) + last.max(0) + i128::from(access.bytes);
            if first < 0 || end > numbers as i128 {
                return Some((format!("accesses to bytes 0..{numbers} of {}", access.array), format!("{first}..{end}")));
            }
        }
        if let Some(k) = (0..usage.sums).find(|k| {
            let at = (k * usage.bytes) as i64;
            !self
                .accesses
                .iter()
                .any(|a| a.array == Array::Sums && a.written && a.offset <= at && at + usage.bytes as i64 <= a.offset + i64::from(a.bytes))
        }) {
            return Some((format!("{} sums stored", usage.sums), format!("no store of sum {k}")));
        }
        None
    }
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Nothing,
    Integer(i64),
    /// `offset + scale * element`.
    Element {
        offset: i64,
        scale: i64,
    },
    Address {
        array: Array,
        offset: i64,
        scale: i64,
    },
    Begin,
    End,
}

fn element(offset: i64, scale: i64) -> Known {
    if offset.abs() > LARGEST_OFFSET || scale.abs() > LARGEST_SCALE { Known::Nothing } else { Known::Element { offset, scale } }
}

fn address(array: Array, offset: i64, scale: i64) -> Known {
    if offset.abs() > LARGEST_OFFSET || scale.abs() > LARGEST_SCALE { Known::Nothing } else { Known::Address { array, offset, scale } }
}

fn sum(a: Known, b: Known) -> Option<Known> {
    use Known::{Address, Element, Integer};
    Some(match (a, b) {
        (Integer(a), Integer(b)) => Integer(a.checked_add(b)?),
        (Element { offset, scale }, Integer(n)) | (Integer(n), Element { offset, scale }) => element(offset.checked_add(n)?, scale),
        (Element { offset: a, scale: s }, Element { offset: b, scale: t }) => element(a.checked_add(b)?, s + t),
        (Address { array, offset, scale }, Integer(n)) | (Integer(n), Address { array, offset, scale }) => {
            address(array, offset.checked_add(n)?, scale)
        }
        (Address { array, offset: a, scale: s }, Element { offset: b, scale: t })
        | (Element { offset: b, scale: t }, Address { array, offset: a, scale: s }) => address(array, a.checked_add(b)?, s + t),
        _ => return None,
    })
}

fn product(a: Known, b: Known) -> Option<Known> {
    use Known::{Element, Integer};
    Some(match (a, b) {
        (Integer(a), Integer(b)) => Integer(a.checked_mul(b)?),
        (Element { offset, scale }, Integer(n)) | (Integer(n), Element { offset, scale }) => element(offset.checked_mul(n)?, scale.checked_mul(n)?),
        _ => return None,
    })
}

/// The loop of a kernel.
struct Loop {
    header: Block,
    /// The element number.
    index: Value,
    /// The block that runs only while the number is below `end`.
    body: Block,
}

/// Follows all addresses of a kernel of the signature `(streams, tables, sums, begin, end)`. Error: what cannot be followed.
pub(crate) fn footprint(function: &Function) -> Result<Footprint, String> {
    let count = function.layout.blocks().map(|block| function.layout.block_insts(block).count()).sum::<usize>();
    if count > MOST_INSTRUCTIONS {
        return Err(format!("{count} instructions, expected at most {MOST_INSTRUCTIONS}"));
    }
    let Some(entry) = function.layout.entry_block() else { return Err("no block".into()) };
    let graph = ControlFlowGraph::with_function(function);
    let tree = DominatorTree::with_function(function, &graph);
    let inner = loop_of(function, &graph, &tree, entry)?;
    let dfg = &function.dfg;
    let mut known: SecondaryMap<Value, Known> = SecondaryMap::with_default(Known::Nothing);
    let start = |array| Known::Address { array, offset: 0, scale: 0 };
    let given = [start(Array::Streams), start(Array::Tables), start(Array::Sums), Known::Begin, Known::End];
    for (value, fact) in dfg.block_params(entry).iter().zip(given) {
        known[*value] = fact;
    }
    if let Some(inner) = &inner {
        known[inner.index] = Known::Element { offset: 0, scale: 1 };
    }
    let mut out = Footprint { accesses: vec![], step: 1 };
    // In this order a definition comes before its uses, except for what the loop carries, of which nothing but the element number is known.
    for block in tree.cfg_rpo().copied() {
        let guarded = inner.as_ref().is_some_and(|inner| tree.block_dominates(inner.body, block));
        for inst in function.layout.block_insts(block) {
            let fact = |value: &Value| known[dfg.resolve_aliases(*value)];
            let found = match &dfg.insts[inst] {
                InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(Known::Integer(imm.bits())),
                InstructionData::Binary { opcode, args: [a, b] } => match opcode {
                    Opcode::Iadd => sum(fact(a), fact(b)),
                    Opcode::Isub => product(fact(b), Known::Integer(-1)).and_then(|b| sum(fact(a), b)),
                    Opcode::Imul => product(fact(a), fact(b)),
                    Opcode::Ishl => match fact(b) {
                        Known::Integer(n) if (0..=20).contains(&n) => product(fact(a), Known::Integer(1 << n)),
                        _ => None,
                    },
                    _ => None,
                },
                InstructionData::Load { arg, offset, .. } => {
                    let ty = dfg.value_type(dfg.first_result(inst));
                    access(function, inst, &mut out, fact(arg), i64::from(i32::from(*offset)), ty, false, guarded)?
                }
                InstructionData::Store { args: [value, to], offset, .. } => {
                    access(function, inst, &mut out, fact(to), i64::from(i32::from(*offset)), dfg.value_type(*value), true, guarded)?
                }
                _ => None,
            };
            if let Some(result) = dfg.inst_results(inst).first()
                && dfg.value_type(*result) == types::I64
            {
                known[*result] = found.unwrap_or(Known::Nothing);
            }
        }
    }
    if let Some(inner) = &inner {
        out.step = step(function, &graph, &tree, inner, &known)?;
    }
    out.accesses.sort_unstable();
    out.accesses.dedup();
    Ok(out)
}

/// Records a load or a store; what is loaded from the addresses of arrays is an address.
fn access(
    function: &Function,
    inst: Inst,
    out: &mut Footprint,
    at: Known,
    offset: i64,
    ty: Type,
    written: bool,
    guarded: bool,
) -> Result<Option<Known>, String> {
    let refused = |what: &str| Err(format!("`{}`: {what}", function.dfg.display_inst(inst)));
    let Known::Address { array, offset: start, scale } = at else {
        return refused("the address is not that of a stream, a table or the sums plus constants and multiples of the element number");
    };
    if scale != 0 && !guarded {
        return refused("the address depends on the element number where that may be past the end");
    }
    let flags = function.dfg.insts[inst].memflags_data(&function.dfg).unwrap_or(MemFlagsData::new());
    if flags.can_move() {
        return refused("`can_move` would let the access leave the loop that keeps it inside its array");
    }
    if flags.aligned() && ty.bytes() > 8 {
        return refused("arrays are aligned to their numbers, not to vectors");
    }
    let Some(offset) = start.checked_add(offset).filter(|n| n.abs() <= LARGEST_OFFSET) else { return refused("the offset is too large") };
    let mut found = None;
    if let Array::Streams | Array::Tables = array {
        if written || scale != 0 || ty != types::I64 || offset < 0 || offset % 8 != 0 {
            return refused(&format!("of {array} only whole ones can be loaded"));
        }
        let k = (offset / 8) as usize;
        found = Some(Known::Address { array: if array == Array::Streams { Array::Stream(k) } else { Array::Table(k) }, offset: 0, scale: 0 });
    }
    out.accesses.push(Access { array, offset, scale, bytes: ty.bytes(), written });
    Ok(found)
}

/// The loop, if there is one. Error: more than one, or one that does not count elements.
fn loop_of(function: &Function, graph: &ControlFlowGraph, tree: &DominatorTree, entry: Block) -> Result<Option<Loop>, String> {
    let dfg = &function.dfg;
    let order: Vec<Block> = tree.cfg_rpo().copied().collect();
    let mut place: SecondaryMap<Block, u32> = SecondaryMap::new();
    for (k, block) in order.iter().enumerate() {
        place[*block] = k as u32;
    }
    let mut header: Option<Block> = None;
    let mut back: Vec<Block> = vec![];
    for block in &order {
        for next in graph.succ_iter(*block) {
            if place[next] > place[*block] {
                continue;
            }
            if !tree.block_dominates(next, *block) {
                return Err(format!("{block} jumps into the middle of a loop"));
            }
            if header.is_some_and(|header| header != next) {
                return Err("more than one loop".into());
            }
            header = Some(next);
            back.push(*block);
        }
    }
    let Some(header) = header else { return Ok(None) };
    let form = || {
        format!(
            "{header}: expected a loop `block(v: i64, ..): .. icmp ult v, end; brif .., body, exit` that counts v up from `begin`, so that it ends and stays inside its arrays"
        )
    };
    let Some(last) = function.layout.last_inst(header) else { return Err(form()) };
    let InstructionData::Brif { arg, blocks: [then, otherwise], .. } = &dfg.insts[last] else { return Err(form()) };
    let condition = match dfg.value_def(dfg.resolve_aliases(*arg)) {
        ValueDef::Result(inst, 0) => &dfg.insts[inst],
        _ => return Err(form()),
    };
    let InstructionData::IntCompare { opcode: Opcode::Icmp, cond: IntCC::UnsignedLessThan | IntCC::SignedLessThan, args: [index, end] } = condition
    else {
        return Err(form());
    };
    let (index, end) = (dfg.resolve_aliases(*index), dfg.resolve_aliases(*end));
    let (body, exit) = (then.block(&dfg.value_lists), otherwise.block(&dfg.value_lists));
    let is_counter = matches!(dfg.value_def(index), ValueDef::Param(block, _) if block == header) && dfg.value_type(index) == types::I64;
    let only_while = body != exit && body != header && graph.pred_iter(body).count() == 1;
    if header == entry
        || !is_counter
        || dfg.block_params(entry).get(4) != Some(&end)
        || !only_while
        || !back.iter().all(|b| tree.block_dominates(body, *b))
    {
        return Err(form());
    }
    Ok(Some(Loop { header, index, body }))
}

/// The elements of a turn: every jump to the header from before the loop passes `begin`, every one from inside it the number plus one constant.
fn step(
    function: &Function,
    graph: &ControlFlowGraph,
    tree: &DominatorTree,
    inner: &Loop,
    known: &SecondaryMap<Value, Known>,
) -> Result<u64, String> {
    let dfg = &function.dfg;
    let Some(place) = dfg.block_params(inner.header).iter().position(|v| *v == inner.index) else { return Err("no element number".into()) };
    let mut found: Option<i64> = None;
    for from in graph.pred_iter(inner.header) {
        if !tree.is_reachable(from.block) {
            continue;
        }
        for call in dfg.insts[from.inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables) {
            if call.block(&dfg.value_lists) != inner.header {
                continue;
            }
            let passed = match call.args(&dfg.value_lists).nth(place) {
                Some(BlockArg::Value(value)) => known[dfg.resolve_aliases(value)],
                _ => Known::Nothing,
            };
            match (tree.block_dominates(inner.header, from.block), passed) {
                (false, Known::Begin) => {}
                (true, Known::Element { offset: n @ 1..=LARGEST_STEP, scale: 1 }) if found.is_none_or(|step| step == n) => found = Some(n),
                (false, _) => return Err(format!("{}: the element number does not start at `begin`", from.block)),
                (true, _) => return Err(format!("{}: the element number does not grow by a constant from 1 to {LARGEST_STEP}", from.block)),
            }
        }
    }
    found.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| "the loop never turns".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Function {
        cranelift_reader::parse_functions(text).expect("a function").pop().expect("one")
    }

    /// A kernel with the lines of a body that runs for every element `v30`, whose bytes are `v40`.
    fn text(body: &str) -> String {
        format!(
            "function u0:0(i64, i64, i64, i64, i64) system_v {{
block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64):
    v10 = load.i64 notrap aligned readonly v0
    v11 = load.i64 notrap aligned readonly v0+8
    v12 = load.i64 notrap aligned readonly v1
    v13 = f64const 0.0
    v14 = iconst.i64 3
    v15 = iconst.i64 1
    jump block1(v3)

block1(v30: i64):
    v31 = icmp ult v30, v4
    brif v31, block2, block3

block2:
    v40 = ishl v30, v14
    v41 = iadd v10, v40
    v42 = iadd v11, v40
    v43 = iadd v12, v40
{body}
    v90 = iadd v30, v15
    jump block1(v90)

block3:
    store notrap aligned v13, v2
    return
}}
"
        )
    }

    fn usage() -> Usage {
        let given = |written| Given { numbers: 10, written, part: false };
        Usage { bytes: 8, trip: 10, part: 10, streams: vec![given(false), given(true)], tables: vec![10], sums: 1 }
    }

    fn accepted(body: &str) {
        let found = footprint(&parsed(&text(body))).expect("provable");
        assert_eq!(found.fault(&usage()), None, "{body}");
    }

    fn leaves(body: &str, words: &str) {
        let found = footprint(&parsed(&text(body))).expect("provable").fault(&usage());
        assert!(found.as_ref().is_some_and(|(expected, found)| format!("{expected} {found}").contains(words)), "{body}: {found:?}");
    }

    fn refused(text: &str, words: &str) {
        match footprint(&parsed(text)) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(message) => assert!(message.contains(words), "{message} does not contain {words}"),
        }
    }

    #[test]
    fn loops_inside_their_arrays_are_accepted() {
        accepted("    v50 = load.f64 notrap v41\n    store notrap v50, v42");
        accepted("    v50 = load.f64 notrap v43\n    store notrap v50, v42");
        accepted("    v50 = load.f64 notrap v10+72\n    store notrap v50, v42");
        // Backwards through an array: 72 - 8 i.
        accepted("    v50 = iconst.i64 -8\n    v51 = imul v30, v50\n    v52 = iadd v10, v51\n    v53 = load.f64 notrap v52+72");
        accepted("    v50 = isub v40, v40\n    v51 = iadd v10, v50\n    v52 = load.f64 notrap v51+72");
    }

    #[test]
    fn accesses_outside_their_arrays_are_found() {
        leaves("    v50 = load.f64 notrap v41+8", "8..88");
        leaves("    v50 = load.f64 notrap v41-8", "-8..72");
        leaves("    v50 = load.f64x2 notrap v41", "0..88");
        leaves("    v50 = load.f64 notrap v10+80", "80..88");
        leaves("    v50 = load.f64 notrap v43+16", "table 0");
        leaves("    store notrap v13, v41", "only reads of stream 0");
        leaves("    store notrap v13, v43", "only reads of table 0");
        leaves("    store notrap v13, v2+8", "the sums");
        leaves("    v50 = load.i64 notrap v0+16", "the addresses of the streams");
        leaves("    v50 = load.i64 notrap v1+8", "the addresses of the tables");
        leaves("    v50 = iadd v40, v40\n    v51 = iadd v10, v50\n    v52 = load.f64 notrap v51", "0..152");
    }

    #[test]
    fn addresses_that_cannot_be_followed_are_refused() {
        let body = |lines: &str| text(lines);
        // Loaded, computed from numbers, chosen, masked, or an integer.
        refused(&body("    v50 = load.i64 notrap v41\n    v51 = load.f64 notrap v50"), "the address is not");
        refused(
            &body("    v50 = load.f64 notrap v41\n    v51 = bitcast.i64 v50\n    v52 = iadd v10, v51\n    v53 = load.f64 notrap v52"),
            "the address is not",
        );
        refused(&body("    v50 = select v31, v10, v11\n    v51 = load.f64 notrap v50"), "the address is not");
        refused(&body("    v50 = band v10, v14\n    v51 = load.f64 notrap v50"), "the address is not");
        refused(&body("    v50 = load.f64 notrap v14"), "the address is not");
        refused(&body("    v50 = iadd v10, v11\n    v51 = load.f64 notrap v50"), "the address is not");
        refused(&body("    v50 = imul v40, v40\n    v51 = iadd v10, v50\n    v52 = load.f64 notrap v51"), "the address is not");
        refused(&body("    v50 = ishl v40, v30\n    v51 = iadd v10, v50\n    v52 = load.f64 notrap v51"), "the address is not");
        refused(&body("    v50 = iconst.i64 0x7fff_ffff_ffff_ffff\n    v51 = iadd v41, v50\n    v52 = load.f64 notrap v51"), "the address is not");
        // A multiple that wraps around.
        refused(
            &body("    v50 = iconst.i64 0x2000_0000_0000_0001\n    v51 = imul v40, v50\n    v52 = iadd v10, v51\n    v53 = load.f64 notrap v52"),
            "the address is not",
        );
        refused(&body("    v50 = load.f64 notrap can_move v41"), "can_move");
        refused(&body("    v50 = load.f64x2 notrap aligned v41"), "aligned");
        refused(&body("    store notrap v30, v0"), "whole ones");
        refused(&body("    v50 = load.i64 notrap v0+4"), "whole ones");
        refused(&body("    v50 = load.i64 notrap v0-8"), "whole ones");
    }

    #[test]
    fn loops_that_do_not_count_are_refused() {
        let good = text("");
        // After the loop the number is past the end.
        refused(
            &good.replace("store notrap aligned v13, v2", "v95 = ishl v30, v14\n    v96 = iadd v10, v95\n    v97 = load.f64 notrap v96"),
            "past the end",
        );
        refused(&good.replace("jump block1(v90)", "jump block1(v30)"), "does not grow");
        refused(&good.replace("v15 = iconst.i64 1", "v15 = iconst.i64 0"), "does not grow");
        refused(&good.replace("v15 = iconst.i64 1", "v15 = iconst.i64 -1"), "does not grow");
        refused(&good.replace("jump block1(v3)", "jump block1(v14)"), "does not start");
        refused(&good.replace("icmp ult v30, v4", "icmp ult v30, v3"), "expected a loop");
        refused(&good.replace("icmp ult v30, v4", "icmp ne v30, v4"), "expected a loop");
        refused(&good.replace("brif v31, block2, block3", "brif v31, block3, block2"), "expected a loop");
        refused(&good.replace("    return", "    jump block3"), "more than one loop");
        refused(&good.replace("    return", "    jump block1(v3)"), "expected a loop");
        // Two loops, one after another.
        let two = good.replace("    return", "    jump block4(v3)\n\nblock4(v91: i64):\n    v92 = icmp ult v91, v4\n    brif v92, block5, block6\n\nblock5:\n    v93 = iadd v91, v15\n    jump block4(v93)\n\nblock6:\n    return");
        refused(&two, "more than one loop");
        // A jump into the middle.
        let middle = good.replace("jump block1(v3)", "brif v13x, block1(v3), block2").replace("v13x", "v15");
        assert!(footprint(&parsed(&middle)).is_err());
    }

    #[test]
    fn vectors_need_whole_turns() {
        let wide = text("    v50 = load.f64x2 notrap v41\n    store notrap v50, v42").replace("v15 = iconst.i64 1", "v15 = iconst.i64 2");
        let found = footprint(&parsed(&wide)).expect("provable");
        assert_eq!(found.step, 2);
        assert_eq!(found.fault(&usage()), None);
        let odd = |trip, part| Usage { trip, part, ..usage() };
        // Eleven elements have no whole turns; parts of five begin at odd ones.
        assert!(found.fault(&odd(11, 11)).is_some());
        assert!(found.fault(&odd(10, 5)).is_some());
        assert_eq!(found.fault(&odd(10, 4)), None);
    }

    #[test]
    fn parts_hold_their_own_elements() {
        let found = footprint(&parsed(&text("    v50 = load.f64 notrap v41\n    store notrap v50, v42"))).expect("provable");
        let part = |numbers| Usage {
            part: 5,
            streams: vec![Given { numbers, written: false, part: true }, Given { numbers: 10, written: true, part: false }],
            ..usage()
        };
        assert_eq!(found.fault(&part(5)), None);
        assert!(found.fault(&part(4)).is_some());
        let fixed = footprint(&parsed(&text("    v50 = load.f64 notrap v10"))).expect("provable");
        assert!(fixed.fault(&part(5)).is_some_and(|(expected, _)| expected.contains("between the elements")));
    }

    #[test]
    fn sums_must_all_be_stored() {
        let found = footprint(&parsed(&text(""))).expect("provable");
        assert_eq!(found.fault(&usage()), None);
        let two = Usage { sums: 2, ..usage() };
        assert!(found.fault(&two).is_some_and(|(_, found)| found.contains("sum 1")));
    }
}
