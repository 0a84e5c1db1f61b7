//! Schedule: stored values become launches in order, buffers share one arena, loops become kernels, and the whole becomes a plan.

use crate::emit::{clif, cuda};
use crate::fuse::{
    Built, Contraction, Demand, FilterForm, FilterTerm, FrameTerm, Fusion, Group, Mixture, Role, Row, build, demand, free_axes, roles, storage,
};
use crate::harmonic::{Form, Scale};
use crate::loops::Body;
use crate::planar;
use crate::tile::{self, MOST_ROOTS, Tile, Unit};
use scatterc_ir::ops::pixels;
use scatterc_ir::plan::{Element, Kernel, Place, Plan, Port, Slot, Step, Stream, Table, Target, TileStream};
use scatterc_ir::text::spelling;
use scatterc_ir::types::scale_bandlimit;
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use scatterc_kernels::layout;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// A graph that cannot be scheduled.
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
/// let refused = schedule_within(&graph, Fusion::All, 3, scatterc_ir::plan::Element::F64);
/// assert!(matches!(refused, Err(ScheduleError::Memory { limit: 24, .. })));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A fault of the compiler.
    #[error("cannot schedule {node}: {message}")]
    Node {
        /// The node.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// A memory budget that cannot be met.
    #[error("the buffers need at least {needed} bytes, the budget leaves {limit}")]
    Memory {
        /// Smallest arena found, in bytes.
        needed: usize,
        /// What the budget leaves for it, in bytes.
        limit: usize,
    },
    /// A graph whose buffers exceed what can be addressed.
    #[error("the plan needs {needed} numbers, more than {limit}")]
    Size {
        /// f64 needed.
        needed: usize,
        /// Largest arena.
        limit: usize,
    },
}

/// The target whose tiles work on such pairs.
fn target_of(unit: Unit) -> Target {
    match unit {
        Unit::Blocks => Target::Cpu,
        Unit::Rings(_) => Target::Cuda,
    }
}

/// Stored length of a space on the target: on the CPU rings and maps are lane-blocked, everything else is as it is.
fn stored_len(space: Space, target: Target) -> usize {
    match target {
        Target::Cpu => device_len(space),
        Target::Cuda => space.len(),
    }
}

/// Length of a space on the CPU in f64: rings and maps are lane-blocked, everything else is as it is.
pub(crate) fn device_len(space: Space) -> usize {
    match space {
        Space::Map { L } => layout::map_len(L),
        Space::Rings { L, M } => layout::rings_len(L, M),
        other => other.len(),
    }
}

/// Stored length of a value.
fn value_len(graph: &Graph, value: Value, target: Target) -> usize {
    let ty = graph.ty(value);
    ty.count() * stored_len(ty.space, target)
}

/// What a launch does, and how much work it is.
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
/// // Every sample is squared, weighed and added.
/// assert!(scheduled.launches[0].flops >= 3.0 * 8.0 * 15.0 && scheduled.launches[0].bytes > 0.0);
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// One line: the kernel and what it computes.
    pub summary: String,
    /// Floating point operations, nominal.
    pub flops: f64,
    /// Bytes read and written at least once.
    pub bytes: f64,
    /// Number of values it computes.
    pub values: usize,
}

/// A plan and what `explain` says about it.
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
/// assert_eq!((scheduled.plan.steps.len(), scheduled.launches.len(), scheduled.recomputed.len()), (1, 1, 0));
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// The plan.
    pub plan: Plan,
    /// One entry per step.
    pub launches: Vec<Launch>,
    /// What is computed a second time to stay within a memory budget.
    pub recomputed: Vec<Recomputed>,
}

/// A value that is computed again for its late readers rather than kept.
///
/// ```
/// use scatterc_compiler::schedule::Recomputed;
///
/// let again = Recomputed { value: "wigner_inverse %7".into(), ty: "[2] rings(8,8)".into(), bytes: 4096, limit: 65536 };
/// assert!(again.to_string().contains("wigner_inverse %7"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recomputed {
    /// The op, with its node in the scheduled graph.
    pub value: String,
    /// Its type.
    pub ty: String,
    /// Bytes that the first copy gives back between its last early reader and its late ones.
    pub bytes: usize,
    /// Largest arena that was asked for, in bytes: the reason.
    pub limit: usize,
}

impl std::fmt::Display for Recomputed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} : {} is computed again for its late readers: it would lie idle with {} bytes where most is alive, and the arena may have {} bytes",
            self.value, self.ty, self.bytes, self.limit
        )
    }
}

/// A launch before buffers are placed.
enum Proto {
    Linear { map: Linear, adjoint: bool, items: Vec<(Value, Value)> },
    Loop { group: Group },
    Tile(Tile),
    Gram { weights: Linear, results: Vec<Value> },
    Mix { weights: Linear, results: Vec<Value> },
    FrameGram { results: Vec<Value> },
    FrameMix { results: Vec<Value> },
    FilterGram { results: Vec<Value> },
    FilterMix { results: Vec<Value> },
    Concat(Value),
    Fill(Value, f64),
}

struct Task {
    proto: Proto,
    reads: BTreeSet<Value>,
    writes: Vec<Value>,
}

/// The attributes that decide which launches may be joined: everything but the operand's bandlimit.
fn joined(map: &Linear) -> Linear {
    match map.clone() {
        Linear::WignerInverse { L, N, j, .. } => Linear::WignerInverse { L_in: 1, L, N, j },
        Linear::HarmonicInverse { L, .. } => Linear::HarmonicInverse { L_in: 1, L },
        Linear::ScalingInverse { L, j, .. } => Linear::ScalingInverse { L_in: 1, L, j },
        other => other,
    }
}

/// Bandlimit of the operand, for maps that may differ in it.
fn input_bandlimit(map: &Linear) -> Option<usize> {
    match map {
        Linear::WignerInverse { L_in, .. } | Linear::HarmonicInverse { L_in, .. } | Linear::ScalingInverse { L_in, .. } => Some(*L_in),
        _ => None,
    }
}

/// True for transforms whose operands share one recursion when launched together.
fn is_transform(map: &Linear) -> bool {
    input_bandlimit(map).is_some()
        || matches!(
            map,
            Linear::HarmonicForward { .. }
                | Linear::RingInverse { .. }
                | Linear::RingForward { .. }
                | Linear::Stencil { .. }
                | Linear::Downgrade { .. }
                | Linear::ImageStencil { .. }
                | Linear::BlockMean { .. }
        )
}

/// Depth of every stored value: launches of equal depth do not depend on each other. A tile has one depth. Values in `late` (recomputed ones) get the largest depth their
/// readers allow.
fn levels(demand: &Demand, late: &BTreeSet<Value>, tiles: &[Tile]) -> HashMap<Value, usize> {
    let mut units: Vec<Vec<Value>> = tiles.iter().map(|t| t.members.iter().copied().collect()).collect();
    let mut unit_of: HashMap<Value, usize> = units.iter().enumerate().flat_map(|(k, members)| members.iter().map(move |v| (*v, k))).collect();
    for value in &demand.stored {
        unit_of.entry(*value).or_insert_with(|| {
            units.push(vec![*value]);
            units.len() - 1
        });
    }
    let reads: Vec<BTreeSet<usize>> = units
        .iter()
        .enumerate()
        .map(|(k, members)| members.iter().flat_map(|v| demand.reads.get(v).into_iter().flatten()).map(|v| unit_of[v]).filter(|u| *u != k).collect())
        .collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
    let mut waiting: Vec<usize> = reads.iter().map(BTreeSet::len).collect();
    for (k, list) in reads.iter().enumerate() {
        list.iter().for_each(|u| readers[*u].push(k));
    }
    let mut levels = vec![0; units.len()];
    let mut order: Vec<usize> = (0..units.len()).filter(|k| waiting[*k] == 0).collect();
    let mut next = 0;
    while let Some(k) = order.get(next).copied() {
        next += 1;
        for r in &readers[k] {
            levels[*r] = levels[*r].max(levels[k] + 1);
            waiting[*r] -= 1;
            if waiting[*r] == 0 {
                order.push(*r);
            }
        }
    }
    debug_assert_eq!(order.len(), units.len(), "tiles make no cycles");
    if !late.is_empty() {
        for k in order.iter().rev() {
            let earliest = readers[*k].iter().map(|r| levels[*r]).min();
            if let Some(reader) = earliest
                && units[*k].iter().all(|v| late.contains(v))
            {
                levels[*k] = levels[*k].max(reader - 1);
            }
        }
    }
    unit_of.into_iter().map(|(value, k)| (value, levels[k])).collect()
}

fn tasks(graph: &Graph, roles: &[Role], demand: &Demand, fusion: Fusion, late: &BTreeSet<Value>, unit: Unit) -> Vec<Task> {
    let target = target_of(unit);
    let tiles = tile::tiles(graph, roles, demand, fusion, late, unit);
    let levels = levels(demand, late, &tiles);
    let mut tasks: Vec<Task> = tiles
        .iter()
        .map(|tile| {
            let reads = tile.members.iter().flat_map(|v| &demand.reads[v]).filter(|v| !tile.members.contains(v)).copied().collect();
            Task { proto: Proto::Tile(tile.clone()), reads, writes: tile.members.difference(&tile.local).copied().collect() }
        })
        .collect();
    let tiled: BTreeSet<Value> = tiles.into_iter().flat_map(|t| t.members).collect();
    let mut open: HashMap<String, Vec<usize>> = HashMap::new();
    for value in demand.stored.difference(&tiled) {
        let node = graph.node(*value);
        let reads = demand.reads.get(value).cloned().unwrap_or_default();
        let level = levels[value];
        let key;
        let proto = match &roles[value.index()] {
            Role::Given | Role::Alias(..) => continue,
            Role::Literal(x) => {
                key = String::new();
                Proto::Fill(*value, *x)
            }
            Role::Library => match &node.op {
                Op::Linear { map, adjoint } => {
                    key = if is_transform(map) && fusion.contracts() { format!("{:?} {adjoint} {level}", joined(map)) } else { String::new() };
                    Proto::Linear { map: map.clone(), adjoint: *adjoint, items: vec![(node.operands[0], *value)] }
                }
                _ => {
                    key = String::new();
                    Proto::Concat(*value)
                }
            },
            Role::Contraction(c) => {
                key = format!("gram {:?} {level} {:?}", c.weights, apart(graph, &reads, target));
                Proto::Gram { weights: c.weights.clone(), results: vec![*value] }
            }
            Role::Mixture(m) => {
                let own = (target == Target::Cpu && value_len(graph, *value, target) >= LARGE).then_some(*value);
                key = format!("mix {:?} {level} {own:?}", m.weights);
                Proto::Mix { weights: m.weights.clone(), results: vec![*value] }
            }
            Role::FrameContraction(forms) => {
                key = format!("frame gram {:?} {level}", forms.first().map(|form| (form.scale.L, form.scale.N)));
                Proto::FrameGram { results: vec![*value] }
            }
            Role::FrameMixture(terms) => {
                key = format!("frame mix {:?} {level}", terms.iter().flatten().next().map(|term| (term.scale.L, term.scale.N)));
                Proto::FrameMix { results: vec![*value] }
            }
            Role::FilterContraction(forms) => {
                key = format!("filter gram {:?} {level}", forms.first().map(|form| graph.ty(form.a.0).space));
                Proto::FilterGram { results: vec![*value] }
            }
            Role::FilterMixture(_) => {
                let own = (value_len(graph, *value, target) >= LARGE).then_some(*value);
                key = format!("filter mix {} {level} {own:?}", node.ty.space);
                Proto::FilterMix { results: vec![*value] }
            }
            Role::Loop | Role::Reduction => {
                let space = if roles[value.index()] == Role::Reduction { graph.ty(node.operands[0]).space } else { node.ty.space };
                let free = if fusion == Fusion::None { node.ty.axes.len() } else { free_axes(graph, roles, demand, *value) };
                let outer = if space == Space::Point { 1 } else { node.ty.axes[..free].iter().product() };
                key = if fusion == Fusion::None {
                    String::new()
                } else if space == Space::Point {
                    format!("loop {space} {} {level}", node.ty.count())
                } else {
                    format!("loop {space} {outer} {level}")
                };
                Proto::Loop { group: Group { space, outer, roots: vec![*value] } }
            }
        };
        // What is computed for late readers does not make others wait.
        let key = if key.is_empty() || !late.contains(value) { key } else { format!("late {key}") };
        let mut merged = false;
        if !key.is_empty() {
            for k in open.get(&key).into_iter().flatten() {
                let task = &mut tasks[*k];
                match (&mut task.proto, &proto) {
                    (Proto::Linear { items, .. }, Proto::Linear { items: more, .. }) => items.extend(more),
                    (Proto::Gram { results, .. }, Proto::Gram { results: more, .. }) => results.extend(more),
                    (Proto::Mix { results, .. }, Proto::Mix { results: more, .. }) => results.extend(more),
                    (Proto::FrameGram { results }, Proto::FrameGram { results: more }) => results.extend(more),
                    (Proto::FrameMix { results }, Proto::FrameMix { results: more }) => results.extend(more),
                    (Proto::FilterGram { results }, Proto::FilterGram { results: more }) => results.extend(more),
                    (Proto::FilterMix { results }, Proto::FilterMix { results: more }) => results.extend(more),
                    (Proto::Loop { group }, Proto::Loop { .. }) => {
                        // Loops join when they read common rows, so that the join saves traffic.
                        if task.reads.is_disjoint(&reads) || group.roots.len() >= MOST_ROOTS {
                            continue;
                        }
                        group.roots.push(*value);
                    }
                    _ => continue,
                }
                task.reads.extend(reads.iter().copied());
                task.writes.push(*value);
                merged = true;
                break;
            }
        }
        if !merged {
            open.entry(key).or_default().push(tasks.len());
            tasks.push(Task { proto, reads, writes: vec![*value] });
        }
    }
    tasks
}

/// Buffers of this many f64 (1 MB) and more decide in which order launches run, and which are joined.
const LARGE: usize = 1 << 17;

/// An operand that is large and four times as large as any other: launches that read it run by themselves, so that it need not live together with those of other launches.
fn apart(graph: &Graph, reads: &BTreeSet<Value>, target: Target) -> Option<Value> {
    let mut lens: Vec<(usize, Value)> = reads.iter().map(|v| (value_len(graph, *v, target), *v)).collect();
    lens.sort_unstable();
    let (len, largest) = lens.pop()?;
    let next = lens.last().map_or(0, |(len, _)| *len);
    (target == Target::Cpu && len >= LARGE && len >= 4 * next).then_some(largest)
}

/// Topological order; among launches that are ready, one that gives back a large buffer and takes less, else the one whose last result comes first in the graph.
fn ordered(graph: &Graph, tasks: Vec<Task>, target: Target) -> Vec<Task> {
    let mut producer: HashMap<Value, usize> = HashMap::new();
    for (k, task) in tasks.iter().enumerate() {
        for value in &task.writes {
            producer.insert(*value, k);
        }
    }
    let mut waiting: Vec<usize> = vec![0; tasks.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (k, task) in tasks.iter().enumerate() {
        let before: BTreeSet<usize> = task.reads.iter().filter_map(|v| producer.get(v).copied()).collect();
        waiting[k] = before.len();
        for b in before {
            readers[b].push(k);
        }
    }
    let priority = |task: &Task| std::cmp::Reverse(task.writes.iter().max().copied());
    let mut ready: BinaryHeap<(std::cmp::Reverse<Option<Value>>, std::cmp::Reverse<usize>)> = BinaryHeap::new();
    for (k, task) in tasks.iter().enumerate() {
        if waiting[k] == 0 {
            ready.push((priority(task), std::cmp::Reverse(k)));
        }
    }
    // Launches that have yet to read a large buffer, and those of them that are ready.
    let len = |v: &Value| value_len(graph, *v, target);
    let mut left: HashMap<Value, usize> = HashMap::new();
    for value in tasks.iter().flat_map(|task| &task.reads).filter(|v| producer.contains_key(v) && len(v) >= LARGE) {
        *left.entry(*value).or_default() += 1;
    }
    // Results live to the end, so reading them gives nothing back; one more reader stands for that.
    graph.outputs.iter().for_each(|output| {
        left.entry(output.value).and_modify(|n| *n += 1);
    });
    let mut freeing: BTreeSet<usize> = BTreeSet::new();
    let large: Vec<bool> = tasks.iter().map(|task| task.reads.iter().any(|v| left.contains_key(v))).collect();
    freeing.extend((0..tasks.len()).filter(|k| waiting[*k] == 0 && large[*k]));
    let mut done = vec![false; tasks.len()];
    let mut order = Vec::with_capacity(tasks.len());
    loop {
        let gives_back = |k: &&usize| {
            let task: &Task = &tasks[**k];
            let freed: usize = task.reads.iter().filter(|v| left.get(v) == Some(&1)).map(len).sum();
            freed >= LARGE && freed > task.writes.iter().map(len).sum()
        };
        let k = match freeing.iter().find(gives_back) {
            Some(k) => *k,
            None => match ready.pop() {
                Some((_, std::cmp::Reverse(k))) if done[k] => continue,
                Some((_, std::cmp::Reverse(k))) => k,
                None => break,
            },
        };
        done[k] = true;
        freeing.remove(&k);
        order.push(k);
        tasks[k].reads.iter().for_each(|v| {
            left.entry(*v).and_modify(|n| *n -= 1);
        });
        for r in &readers[k] {
            waiting[*r] -= 1;
            if waiting[*r] == 0 {
                ready.push((priority(&tasks[*r]), std::cmp::Reverse(*r)));
                if large[*r] {
                    freeing.insert(*r);
                }
            }
        }
    }
    let mut slots: Vec<Option<Task>> = tasks.into_iter().map(Some).collect();
    order.into_iter().filter_map(|k| slots[k].take()).collect()
}

/// A buffer to be placed: f64 and the launches during which it must not be touched by others.
pub(crate) struct Item {
    pub(crate) len: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Offsets for all items and the length of the arena: the largest first, each at the lowest offset free during its life.
pub(crate) fn place(items: &[Item], start: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|k| (std::cmp::Reverse(items[*k].len), items[*k].first, *k));
    let mut offsets = vec![0; items.len()];
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    let mut end = start;
    for k in order {
        let item = &items[k];
        let len = item.len.next_multiple_of(8);
        let mut offset = start;
        // `placed` is sorted by offset.
        for (from, to, other) in &placed {
            let other = &items[*other];
            if other.last < item.first || item.last < other.first {
                continue;
            }
            if offset + len <= *from {
                break;
            }
            offset = offset.max(*to);
        }
        offsets[k] = offset;
        end = end.max(offset + len);
        let position = placed.partition_point(|p| p.0 <= offset);
        placed.insert(position, (offset, offset + len, k));
    }
    (offsets, end)
}

/// Reductions of a loop or tile, and its outer iterations.
fn reductions(roles: &[Role], proto: &Proto) -> (Vec<Value>, usize) {
    let of = |values: &mut dyn Iterator<Item = &Value>| values.filter(|r| roles[r.index()] == Role::Reduction).copied().collect();
    match proto {
        Proto::Loop { group } => (of(&mut group.roots.iter()), group.outer),
        Proto::Tile(tile) => (of(&mut tile.members.iter()), tile.outer),
        Proto::Linear { .. }
        | Proto::Gram { .. }
        | Proto::Mix { .. }
        | Proto::FrameGram { .. }
        | Proto::FrameMix { .. }
        | Proto::FilterGram { .. }
        | Proto::FilterMix { .. }
        | Proto::Concat(_)
        | Proto::Fill(..) => (vec![], 1),
    }
}

/// Elements of one task of a loop: small enough to balance threads, large enough to hide the call.
const GRAIN: usize = 8192;

/// Joins maps that one kernel of the CPU does together.
fn joined_maps(graph: &Graph, fusion: Fusion) -> Result<Graph, ScheduleError> {
    let joined = if fusion == Fusion::All { planar::joined(graph) } else { Ok(graph.clone()) };
    joined.map_err(|error| ScheduleError::Node { node: graph.name.clone(), message: error.to_string() })
}

/// Builds the plan of a graph for the CPU in f64.
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
/// let plan = schedule(&graph, Fusion::All)?.plan;
/// assert!(scatterc_ir::plan::verify(&plan).is_ok() && plan.outputs[0].name == "S");
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn schedule(graph: &Graph, fusion: Fusion) -> Result<Scheduled, ScheduleError> {
    schedule_cpu(graph, fusion, Element::F64)
}

/// Builds the plan of a graph for the CPU.
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
/// use scatterc_ir::plan::Element;
///
/// assert_eq!(schedule_cpu(&graph, Fusion::All, Element::F32)?.plan.element, Element::F32);
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn schedule_cpu(graph: &Graph, fusion: Fusion, element: Element) -> Result<Scheduled, ScheduleError> {
    let graph = &joined_maps(graph, fusion)?;
    Ok(plan_of(graph, fusion, &BTreeSet::new(), Target::Cpu, element)?.0)
}

/// Builds the plan of a graph for CUDA: logical layouts, launches of one level of the graph joined, one translation unit for all kernels.
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
/// use scatterc_ir::plan::{Element, Step};
///
/// let plan = schedule_cuda(&graph, Fusion::All, Element::F64)?.plan;
/// assert!(plan.steps.iter().all(|step| matches!(step, Step::Launch { .. })));
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn schedule_cuda(graph: &Graph, fusion: Fusion, element: Element) -> Result<Scheduled, ScheduleError> {
    // The device's kernels read stored rows, so filtered spectra are stored.
    let fusion = if fusion == Fusion::All { Fusion::Gram } else { fusion };
    let (scheduled, bodies) = plan_of(graph, fusion, &BTreeSet::new(), Target::Cuda, element)?;
    cuda::lower(scheduled, &bodies, element)
}

/// Most rounds of recomputation tried.
const ROUNDS: usize = 60;

/// Builds a plan for the CPU whose arena holds at most `limit` numbers, recomputing values for their late readers where storing them to the peak is what costs.
///
/// Each round finds the launch at which most is alive and gives up, cheapest first, values that lie idle there; they are computed again right before their next reader.
/// Values never change: the same operations run, some of them twice. Error: the smallest arena reached, when the limit cannot be met.
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
/// use scatterc_ir::plan::Element;
///
/// let free = schedule(&graph, Fusion::All)?.plan.arena;
/// let (same, bounded) = schedule_within(&graph, Fusion::All, free, Element::F64)?;
/// assert!(same == graph && bounded.plan.arena <= free);
/// # Ok::<(), ScheduleError>(())
/// ```
pub fn schedule_within(graph: &Graph, fusion: Fusion, limit: usize, element: Element) -> Result<(Graph, Scheduled), ScheduleError> {
    let mut graph = joined_maps(graph, fusion)?;
    let mut late = BTreeSet::new();
    let mut best = usize::MAX;
    for _ in 0..ROUNDS {
        let mut scheduled = plan_of(&graph, fusion, &late, Target::Cpu, element)?.0;
        if scheduled.plan.arena <= limit {
            let of = |v: &Value| Recomputed {
                value: format!("%{} {}", v.index(), scatterc_ir::text::spelling(&graph.node(*v).op)),
                ty: graph.ty(*v).to_string(),
                bytes: element.bytes() * value_len(&graph, *v, Target::Cpu),
                limit: element.bytes() * limit,
            };
            scheduled.recomputed = late.iter().map(of).collect();
            return Ok((graph, scheduled));
        }
        best = best.min(scheduled.plan.arena);
        match recomputed(&graph, fusion, &late, scheduled.plan.arena, limit) {
            Some((next, more)) => (graph, late) = (next, more),
            None => break,
        }
    }
    Err(ScheduleError::Memory { needed: element.bytes() * best, limit: element.bytes() * limit })
}

/// One round: the graph with some values computed a second time for the readers after the peak.
fn recomputed(graph: &Graph, fusion: Fusion, late: &BTreeSet<Value>, arena: usize, limit: usize) -> Option<(Graph, BTreeSet<Value>)> {
    let roles = roles(graph, fusion);
    let demand = demand(graph, &roles, fusion);
    let tasks = ordered(graph, tasks(graph, &roles, &demand, fusion, late, Unit::Blocks), Target::Cpu);
    let mut made: HashMap<Value, usize> = HashMap::new();
    let mut uses: HashMap<Value, Vec<usize>> = HashMap::new();
    for (k, task) in tasks.iter().enumerate() {
        made.extend(task.writes.iter().map(|v| (*v, k)));
        task.reads.iter().for_each(|v| uses.entry(*v).or_default().push(k));
    }
    let local: BTreeSet<Value> =
        tasks.iter().flat_map(|t| if let Proto::Tile(tile) = &t.proto { tile.local.clone() } else { BTreeSet::new() }).collect();
    let kept: BTreeSet<Value> = graph.outputs.iter().map(|o| storage(&roles, o.value).0).collect();
    let last = |v: &Value| if kept.contains(v) { usize::MAX } else { uses.get(v).and_then(|u| u.last().copied()).unwrap_or(0) };
    // What is alive at every launch.
    let mut change = vec![0isize; tasks.len() + 1];
    for (value, first) in &made {
        let len = value_len(graph, *value, Target::Cpu) as isize;
        change[*first] += len;
        change[last(value).max(*first).min(tasks.len() - 1) + 1] -= len;
    }
    let mut alive = 0;
    let mut peak = (0, 0);
    for (k, delta) in change.iter().take(tasks.len()).enumerate() {
        alive += delta;
        if alive > peak.1 {
            peak = (k, alive);
        }
    }
    let at = peak.0;
    // Values that lie idle at the peak, with what giving them up saves and costs. An operand that is dead by then is recomputed too, unless it is small enough to stay.
    let mut idle: Vec<(f64, usize, Vec<Value>)> = Vec::new();
    for (value, first) in &made {
        let used = uses.get(value).map_or(&[][..], Vec::as_slice);
        if *first >= at || last(value) <= at || used.contains(&at) || kept.contains(value) || matches!(roles[value.index()], Role::Literal(_)) {
            continue;
        }
        let own = value_len(graph, *value, Target::Cpu);
        let (mut chain, mut extended, mut cost) = (vec![*value], 0, 0.0);
        let mut k = 0;
        while k < chain.len() && chain.len() < 12 {
            cost += match graph.linear(chain[k]) {
                Some((map, _)) if is_transform(map) => linear_flops(map, graph.ty(chain[k]).count()),
                _ => value_len(graph, chain[k], Target::Cpu) as f64,
            };
            for read in &demand.reads[&chain[k]] {
                // What a tile keeps to itself is gone after it.
                let kept = if made.contains_key(read) { last(read) >= at } else { !local.contains(read) };
                if chain.contains(read) || kept {
                    continue;
                }
                if made.contains_key(read) && value_len(graph, *read, Target::Cpu) * 8 <= own {
                    extended += value_len(graph, *read, Target::Cpu)
                } else {
                    chain.push(*read)
                }
            }
            k += 1;
        }
        if k == chain.len() && own > extended {
            idle.push((cost / (own - extended) as f64, own - extended, chain));
        }
    }
    idle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
    // The arena exceeds what is alive by its gaps; both must come down.
    let wanted = arena.saturating_sub(limit).max((peak.1 as usize).saturating_sub(limit)).max(1);
    let mut given_up: BTreeSet<Value> = BTreeSet::new();
    let mut saved = 0;
    for (_, part, chain) in idle {
        if saved >= wanted {
            break;
        }
        saved += part;
        given_up.extend(chain);
    }
    if given_up.is_empty() {
        return None;
    }
    // Local values of a tile see their operands from the side of their launch, too.
    let after: BTreeSet<Value> = tasks
        .iter()
        .skip(at + 1)
        .flat_map(|t| match &t.proto {
            Proto::Tile(tile) => tile.members.iter().copied().collect::<Vec<_>>(),
            _ => t.writes.clone(),
        })
        .collect();
    let mut copier = Copier {
        graph,
        roles: &roles,
        demand: &demand,
        given_up: &given_up,
        nodes: Vec::new(),
        maps: [HashMap::new(), HashMap::new()],
        late: BTreeSet::new(),
    };
    for value in graph.values() {
        let stored = demand.stored.contains(&value) || matches!(roles[value.index()], Role::Given);
        if stored {
            let new = copier.copy(value, after.contains(&value));
            if late.contains(&value) {
                copier.late.insert(new);
            }
        }
    }
    let outputs: Vec<_> = graph.outputs.iter().map(|o| scatterc_ir::Output { name: o.name.clone(), value: copier.operand(o.value, false) }).collect();
    let Copier { nodes, late, .. } = copier;
    Some((Graph { name: graph.name.clone(), nodes, outputs }, late))
}

/// Copies a graph; readers after the peak see second copies of the values given up.
struct Copier<'a> {
    graph: &'a Graph,
    roles: &'a [Role],
    demand: &'a Demand,
    given_up: &'a BTreeSet<Value>,
    nodes: Vec<scatterc_ir::Node>,
    /// New values as readers before and after the peak see them.
    maps: [HashMap<Value, Value>; 2],
    late: BTreeSet<Value>,
}

impl Copier<'_> {
    /// Adds a stored value, its operands seen from its own side of the peak.
    fn copy(&mut self, value: Value, after: bool) -> Value {
        if let Some(new) = self.maps[0].get(&value) {
            return *new;
        }
        let new = self.node(value, after);
        self.maps[0].insert(value, new);
        if !self.given_up.contains(&value) {
            self.maps[1].insert(value, new);
        }
        new
    }

    fn node(&mut self, value: Value, after: bool) -> Value {
        let node = self.graph.node(value);
        let operands: Vec<Value> = node.operands.iter().map(|v| self.operand(*v, after)).collect();
        self.nodes.push(scatterc_ir::Node { op: node.op.clone(), operands, ty: node.ty.clone() });
        Value(self.nodes.len() as u32 - 1)
    }

    /// A value as a reader on one side sees it; what is not stored is copied per side.
    fn operand(&mut self, value: Value, after: bool) -> Value {
        if let Some(new) = self.maps[usize::from(after)].get(&value) {
            return *new;
        }
        let stored = self.demand.stored.contains(&value) || matches!(self.roles[value.index()], Role::Given);
        if stored && !self.given_up.contains(&value) {
            return self.copy(value, after);
        }
        let new = self.node(value, after);
        if stored {
            self.late.insert(new);
        }
        self.maps[usize::from(after)].insert(value, new);
        new
    }
}

/// How many launches must come before each: those of one depth do not depend on each other.
fn depths(tasks: &[Task]) -> Vec<usize> {
    let mut made: HashMap<Value, usize> = HashMap::new();
    tasks
        .iter()
        .map(|task| {
            let depth = task.reads.iter().filter_map(|v| made.get(v)).map(|d| d + 1).max().unwrap_or(0);
            made.extend(task.writes.iter().map(|v| (*v, depth)));
            depth
        })
        .collect()
}

/// The plan, and the bodies of its kernels. On the CPU kernels are CLIF; for CUDA their texts are left to [`cuda::lower`].
fn plan_of(graph: &Graph, fusion: Fusion, late: &BTreeSet<Value>, target: Target, element: Element) -> Result<(Scheduled, Vec<Body>), ScheduleError> {
    let unit = match target {
        Target::Cpu => Unit::Blocks,
        Target::Cuda => Unit::Rings(element),
    };
    let roles = roles(graph, fusion);
    let demand = demand(graph, &roles, fusion);
    let mut tasks = ordered(graph, tasks(graph, &roles, &demand, fusion, late, unit), target);
    // When a launch runs, for the lives of buffers. Launches of one depth run together on CUDA, so they may not take each other's buffers.
    let mut times: Vec<usize> = (0..tasks.len()).collect();
    if target == Target::Cuda {
        let mut by_depth: Vec<(usize, Task)> = depths(&tasks).into_iter().zip(tasks).collect();
        by_depth.sort_by_key(|(depth, _)| *depth);
        (times, tasks) = by_depth.into_iter().unzip();
    }

    // Results stay to the end; given values too, so that a plan can be run again without filling them all.
    let mut last: HashMap<Value, usize> = HashMap::new();
    for (time, task) in times.iter().zip(&tasks) {
        for value in &task.reads {
            last.insert(*value, *time);
        }
    }
    for output in &graph.outputs {
        last.insert(storage(&roles, output.value).0, usize::MAX);
    }
    let mut slots: HashMap<Value, Slot> = HashMap::new();
    let mut plan = Plan { name: graph.name.clone(), target, element, ..Plan::default() };
    let mut start = 0;
    for value in graph.values() {
        if let Op::Input(name) | Op::Parameter(name) = &graph.node(value).op {
            let len = value_len(graph, value, target);
            let slot = Slot { offset: start, len };
            start += len.next_multiple_of(8);
            slots.insert(value, slot);
            plan.inputs.push(Port { name: name.clone(), slot, ty: graph.ty(value).clone() });
        }
    }
    let mut items = Vec::new();
    // What each buffer holds: a value, or the sums of a launch.
    let mut owners: Vec<Result<Value, usize>> = Vec::new();
    for (k, (task, time)) in tasks.iter().zip(&times).enumerate() {
        let end = |value: &Value| last.get(value).copied().unwrap_or(*time);
        let (reductions, outer) = reductions(&roles, &task.proto);
        let sums: usize = reductions.iter().map(|r| graph.ty(*r).count()).sum();
        // Sums of one launch lie together and live as long as the last of them; several outer iterations are copied apart at once.
        let shared = sums > 0 && outer == 1;
        if sums > 0 {
            let until = if shared { reductions.iter().map(end).max().unwrap_or(*time) } else { *time };
            items.push(Item { len: sums, first: *time, last: until });
            owners.push(Err(k));
        }
        for value in &task.writes {
            if shared && roles[value.index()] == Role::Reduction {
                continue;
            }
            items.push(Item { len: value_len(graph, *value, target), first: *time, last: end(value) });
            owners.push(Ok(*value));
        }
    }
    let total = items.iter().fold(start, |sum, item| sum.saturating_add(item.len.saturating_add(8)));
    if total > 1 << 50 {
        return Err(ScheduleError::Size { needed: total, limit: 1 << 50 });
    }
    let (offsets, end) = place(&items, start);
    if end > 1 << 40 {
        return Err(ScheduleError::Size { needed: end, limit: 1 << 40 });
    }
    let mut sums: HashMap<usize, Slot> = HashMap::new();
    for ((item, owner), offset) in items.iter().zip(&owners).zip(&offsets) {
        let slot = Slot { offset: *offset, len: item.len };
        let earlier = match owner {
            Ok(value) => slots.insert(*value, slot),
            Err(task) => sums.insert(*task, slot),
        };
        debug_assert!(earlier.is_none(), "every buffer is placed once");
    }
    let mut launches = Vec::new();
    let mut kernels: HashMap<String, usize> = HashMap::new();
    let mut bodies = Vec::new();
    for (k, task) in tasks.iter().enumerate() {
        let sums = sums.get(&k).copied().unwrap_or(Slot { offset: 0, len: 0 });
        let mut emit = Emit {
            graph,
            target,
            unit,
            roles: &roles,
            demand: &demand,
            slots: &mut slots,
            plan: &mut plan,
            kernels: &mut kernels,
            bodies: &mut bodies,
        };
        launches.extend(emit.task(task, sums)?);
    }
    for output in &graph.outputs {
        let (value, offset) = storage(&roles, output.value);
        let slot = slots[&value];
        let slot = Slot { offset: slot.offset + offset, len: value_len(graph, output.value, target) };
        plan.outputs.push(Port { name: output.name.clone(), slot, ty: graph.ty(output.value).clone() });
    }
    plan.arena = end;
    // Launches count f64.
    launches.iter_mut().for_each(|launch: &mut Launch| launch.bytes *= element.bytes() as f64 / 8.0);
    Ok((Scheduled { plan, launches, recomputed: vec![] }, bodies))
}

struct Emit<'a> {
    graph: &'a Graph,
    target: Target,
    unit: Unit,
    roles: &'a [Role],
    demand: &'a Demand,
    slots: &'a mut HashMap<Value, Slot>,
    plan: &'a mut Plan,
    kernels: &'a mut HashMap<String, usize>,
    bodies: &'a mut Vec<Body>,
}

impl Emit<'_> {
    /// The buffer placed for a value.
    fn allocate(&self, value: Value) -> Slot {
        self.slots.get(&value).copied().expect("every written value was placed")
    }

    /// Where a value is, aliases resolved.
    fn slot(&self, value: Value) -> Result<Slot, ScheduleError> {
        let (target, offset) = storage(self.roles, value);
        match self.slots.get(&target) {
            Some(slot) => Ok(Slot { offset: slot.offset + offset, len: value_len(self.graph, value, self.target) }),
            None => Err(ScheduleError::Node { node: value.to_string(), message: format!("{target} has no buffer") }),
        }
    }

    fn table(&mut self, map: &Linear) -> usize {
        let table = Table::Weights(map.clone());
        self.plan.tables.iter().position(|t| *t == table).unwrap_or_else(|| {
            self.plan.tables.push(table);
            self.plan.tables.len() - 1
        })
    }

    fn task(&mut self, task: &Task, sums: Slot) -> Result<Vec<Launch>, ScheduleError> {
        match &task.proto {
            Proto::Linear { map, adjoint, items } => {
                let mut pairs = Vec::new();
                let mut bandlimits = Vec::new();
                let (mut flops, mut bytes) = (0.0, 0.0);
                for (operand, result) in items {
                    let from = self.slot(*operand)?;
                    let to = self.allocate(*result);
                    pairs.extend(per_field(self.graph, map, *adjoint, *operand, from, to));
                    if let Some((own, _)) = self.graph.linear(*result) {
                        bandlimits.extend(input_bandlimit(own));
                        let count = self.graph.ty(*result).count().max(self.graph.ty(*operand).count());
                        flops += linear_flops(own, count);
                    }
                    bytes += 8.0 * (from.len + to.len) as f64;
                }
                let name = format!("{}{}", map.spelling(), if *adjoint { "^H" } else { "" });
                let fields: usize = items.iter().map(|i| self.graph.ty(i.0).count()).sum();
                let summary = format!("{name} of {fields} field{}, {}", if fields == 1 { "" } else { "s" }, self.graph.ty(items[0].1).space);
                self.plan.steps.push(Step::Linear { map: map.clone(), adjoint: *adjoint, pairs, bandlimits });
                Ok(vec![Launch { summary, flops, bytes, values: items.len() }])
            }
            Proto::Concat(value) => {
                let node = self.graph.node(*value);
                let inputs = node.operands.iter().map(|v| self.slot(*v)).collect::<Result<Vec<_>, _>>()?;
                let output = self.allocate(*value);
                let rows = node.ty.count() / node.ty.axes.last().copied().unwrap_or(1).max(1);
                self.plan.steps.push(Step::Concat { rows, inputs, output });
                Ok(vec![Launch { summary: format!("concat of {}", node.operands.len()), flops: 0.0, bytes: 16.0 * output.len as f64, values: 1 }])
            }
            Proto::Fill(value, x) => {
                let output = self.allocate(*value);
                self.plan.steps.push(Step::Fill { value: *x, output });
                Ok(vec![Launch { summary: format!("fill with {x}"), flops: 0.0, bytes: 8.0 * output.len as f64, values: 1 }])
            }
            Proto::Gram { weights, results } => self.gram(weights, results),
            Proto::Mix { weights, results } => self.mix(weights, results),
            Proto::FrameGram { results } => self.frame_gram(results),
            Proto::FrameMix { results } => self.frame_mix(results),
            Proto::FilterGram { results } => self.filter_gram(results),
            Proto::FilterMix { results } => self.filter_mix(results),
            Proto::Loop { group } => self.fused_loop(group, sums),
            Proto::Tile(tile) => self.tile(tile, sums),
        }
    }

    /// Bandlimit of a value of coefficients.
    fn bandlimit(&self, value: Value) -> usize {
        match self.graph.ty(value).space {
            Space::Coefficients { L } => L,
            _ => 0,
        }
    }

    /// Buffers of the rows that appear, their bandlimits, and the number of the first row of each.
    fn coefficient_buffers(&self, rows: impl Iterator<Item = Row>) -> Result<(Vec<Slot>, Vec<usize>, HashMap<Value, usize>), ScheduleError> {
        let values: Vec<Row> = rows.collect();
        let (slots, first) = self.row_buffers(values.iter().copied())?;
        let mut order: Vec<(usize, Value)> = first.iter().map(|(value, k)| (*k, *value)).collect();
        order.sort_unstable();
        Ok((slots, order.into_iter().map(|(_, value)| self.bandlimit(value)).collect(), first))
    }

    fn frame_gram(&mut self, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let all: Vec<&Form> = results
            .iter()
            .filter_map(|value| match &self.roles[value.index()] {
                Role::FrameContraction(forms) => Some(forms),
                _ => None,
            })
            .flatten()
            .collect();
        let Some(Scale { L, N, .. }) = all.first().map(|form| form.scale) else { return Ok(vec![]) };
        let (rows, bandlimits, first) = self.coefficient_buffers(all.iter().flat_map(|form| [form.a, form.b]))?;
        let scales: Vec<usize> = all.iter().map(|form| form.scale.j).collect::<BTreeSet<_>>().into_iter().collect();
        // x . Q y = y . Q x: every unordered pair is summed once.
        let mut known: HashMap<[usize; 4], usize> = HashMap::new();
        let (mut places, mut forms) = (Vec::new(), Vec::new());
        for form in &all {
            let (a, b) = (first[&form.a.0] + form.a.1, first[&form.b.0] + form.b.1);
            let scale = scales.partition_point(|j| *j < form.scale.j);
            let key = [scale, a.min(b), a.max(b), form.g];
            let place = *known.entry(key).or_insert_with(|| {
                forms.extend(key);
                forms.len() / 4 - 1
            });
            places.push(place);
        }
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let mut work = FrameWork::default();
        for (s, j) in scales.iter().enumerate() {
            let fields: BTreeSet<usize> = forms.chunks(4).filter(|f| f[0] == s).flat_map(|f| [f[1], f[2]]).collect();
            let pairs: BTreeSet<(usize, usize)> = forms.chunks(4).filter(|f| f[0] == s).map(|f| (f[1], f[2])).collect();
            work.add(L, N, *j, fields.len(), pairs.len());
        }
        let launch = Launch {
            summary: format!("harmonic gram of {} forms of {} scales", forms.len() / 4, scales.len()),
            flops: work.flops,
            bytes: 8.0 * rows.iter().map(|s| s.len).sum::<usize>() as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs });
        Ok(vec![launch])
    }

    fn frame_mix(&mut self, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let all: Vec<&Vec<Vec<FrameTerm>>> = results
            .iter()
            .filter_map(|value| match &self.roles[value.index()] {
                Role::FrameMixture(terms) => Some(terms),
                _ => None,
            })
            .collect();
        let every = || all.iter().flat_map(|m| m.iter()).flatten();
        let Some(Scale { L, N, .. }) = every().next().map(|term| term.scale) else { return Ok(vec![]) };
        let (rows, bandlimits, first) = self.coefficient_buffers(every().map(|term| term.row))?;
        let scales: Vec<usize> = every().map(|term| term.scale.j).collect::<BTreeSet<_>>().into_iter().collect();
        let (coefficients, first_coefficient) = self.number_buffers(every().map(|term| term.coefficient.0))?;
        let (mut counts, mut terms) = (Vec::new(), Vec::new());
        let mut products: BTreeSet<(usize, usize, usize)> = BTreeSet::new();
        for (target, list) in all.iter().flat_map(|m| m.iter()).enumerate() {
            counts.push(list.len());
            for term in list {
                let (scale, row) = (scales.partition_point(|j| *j < term.scale.j), first[&term.row.0] + term.row.1);
                products.insert((scale, target, row));
                terms.extend([scale, row, term.g, first_coefficient[&term.coefficient.0] + term.coefficient.1]);
            }
        }
        let mut work = FrameWork::default();
        for (s, j) in scales.iter().enumerate() {
            let own: Vec<_> = products.iter().filter(|p| p.0 == s).collect();
            let sources: BTreeSet<usize> = own.iter().map(|p| p.2).collect();
            work.add(L, N, *j, sources.len(), own.len());
        }
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let bandlimits_out: Vec<usize> = results.iter().map(|v| self.bandlimit(*v)).collect();
        let launch = Launch {
            summary: format!("harmonic mix of {} terms into {} fields", terms.len() / 4, counts.len()),
            flops: work.flops,
            bytes: 8.0 * rows.iter().chain(&outputs).map(|s| s.len).sum::<usize>() as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs });
        Ok(vec![launch])
    }

    /// Numbers the filters that appear, in order of first use; equal maps are one.
    fn filter_numbers(&self, nodes: impl Iterator<Item = Value>) -> (Vec<Linear>, HashMap<Value, usize>) {
        let (mut filters, mut numbers) = (Vec::new(), HashMap::new());
        for node in nodes {
            if let std::collections::hash_map::Entry::Vacant(entry) = numbers.entry(node)
                && let Some((map, _)) = self.graph.linear(node)
            {
                entry.insert(push_unique(&mut filters, map));
            }
        }
        (filters, numbers)
    }

    fn filter_gram(&mut self, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let all: Vec<&FilterForm> = results
            .iter()
            .filter_map(|value| match &self.roles[value.index()] {
                Role::FilterContraction(forms) => Some(forms),
                _ => None,
            })
            .flatten()
            .collect();
        let (rows, first) = self.row_buffers(all.iter().flat_map(|form| [form.a, form.b]))?;
        let (filters, number) = self.filter_numbers(all.iter().map(|form| form.weighing.filter));
        // Weighed plainly, both orders of a pair are one form.
        let mut known: HashMap<[usize; 5], usize> = HashMap::new();
        let (mut places, mut forms) = (Vec::new(), Vec::new());
        for form in &all {
            let (a, b) = (first[&form.a.0] + form.a.1, first[&form.b.0] + form.b.1);
            let (a, b) = if form.weighing.turned == 0 { (a.min(b), a.max(b)) } else { (a, b) };
            let key = [number[&form.weighing.filter], a, b, form.weighing.l, form.weighing.turned];
            let place = *known.entry(key).or_insert_with(|| {
                forms.extend(key);
                forms.len() / 5 - 1
            });
            places.push(place);
        }
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let row_len = rows_len(self.graph, self.target, all.first().map(|form| form.a.0));
        // Products of a pair are formed once for all its filters; each sum then takes one multiply-add per frequency.
        let pairs: BTreeSet<[usize; 3]> = forms.chunks_exact(5).map(|f| [f[0], f[1].min(f[2]), f[1].max(f[2])]).collect();
        let launch = Launch {
            summary: format!(
                "gram of {} pairs of {} rows, {} sums weighed in cache",
                pairs.len(),
                rows.iter().map(|s| s.len / row_len.max(1)).sum::<usize>(),
                forms.len() / 5
            ),
            flops: ((4 * pairs.len() + forms.len() / 5) * row_len) as f64,
            bytes: 8.0 * (rows.iter().map(|s| s.len).sum::<usize>() + self.weights_of(&filters)) as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::FilterGram { filters, forms, places, rows, outputs });
        Ok(vec![launch])
    }

    /// f64 of the weights of filters.
    fn weights_of(&self, filters: &[Linear]) -> usize {
        let of = |map: &Linear| if let Linear::SpectralFilter { H, W, bank, .. } = map { 2 * bank.L * H * (W / 2 + 1) } else { 0 };
        filters.iter().map(of).sum()
    }

    fn filter_mix(&mut self, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let all: Vec<&Vec<Vec<FilterTerm>>> = results
            .iter()
            .filter_map(|value| match &self.roles[value.index()] {
                Role::FilterMixture(terms) => Some(terms),
                _ => None,
            })
            .collect();
        let every = || all.iter().flat_map(|m| m.iter()).flatten();
        let (rows, first) = self.row_buffers(every().map(|term| term.row))?;
        let (filters, number) = self.filter_numbers(every().map(|term| term.weighing.filter));
        let (coefficients, first_coefficient) = self.number_buffers(every().map(|term| term.coefficient.0))?;
        let (mut counts, mut terms) = (Vec::new(), Vec::new());
        // Weights of one target and source are added up before the source is touched.
        let (mut sums, mut products): (BTreeSet<[usize; 5]>, BTreeSet<[usize; 2]>) = (BTreeSet::new(), BTreeSet::new());
        for (target, list) in all.iter().flat_map(|m| m.iter()).enumerate() {
            counts.push(list.len());
            for term in list {
                let (filter, row) = (number[&term.weighing.filter], first[&term.row.0] + term.row.1);
                products.insert([target, row]);
                sums.insert([target, row, filter, term.weighing.l, usize::from(term.weighing.turned > 0)]);
                terms.extend([filter, row, term.weighing.l, term.weighing.turned, first_coefficient[&term.coefficient.0] + term.coefficient.1]);
            }
        }
        let row_len = rows_len(self.graph, self.target, results.first().copied());
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let launch = Launch {
            summary: format!("mix of {} terms into {} rows, weighed in cache", terms.len() / 5, counts.len()),
            flops: ((sums.len() + 4 * products.len()) * row_len) as f64,
            bytes: 8.0 * (rows.iter().chain(&outputs).map(|s| s.len).sum::<usize>() + self.weights_of(&filters)) as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::FilterMix { filters, counts, terms, coefficients, rows, outputs });
        Ok(vec![launch])
    }

    /// Numbers the elements of point values, in order of first use.
    fn number_buffers(&self, values: impl Iterator<Item = Value>) -> Result<(Vec<Slot>, HashMap<Value, usize>), ScheduleError> {
        let mut buffers = Vec::new();
        let mut first = HashMap::new();
        let mut total = 0;
        for value in values {
            if let std::collections::hash_map::Entry::Vacant(entry) = first.entry(value) {
                entry.insert(total);
                let slot = self.slot(value)?;
                total += slot.len;
                buffers.push(slot);
            }
        }
        Ok((buffers, first))
    }

    /// Numbers the rows of the values that appear, in order of first use.
    fn row_buffers(&self, rows: impl Iterator<Item = Row>) -> Result<(Vec<Slot>, HashMap<Value, usize>), ScheduleError> {
        let mut buffers = Vec::new();
        let mut first: HashMap<Value, usize> = HashMap::new();
        let mut count = 0;
        for (value, _) in rows {
            if first.contains_key(&value) {
                continue;
            }
            first.insert(value, count);
            count += self.graph.ty(value).count();
            buffers.push(self.slot(value)?);
        }
        Ok((buffers, first))
    }

    fn gram(&mut self, weights: &Linear, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let contraction = |value: &Value| -> Option<&Contraction> {
            match &self.roles[value.index()] {
                Role::Contraction(c) => Some(c),
                _ => None,
            }
        };
        let all: Vec<&Contraction> = results.iter().filter_map(contraction).collect();
        let (rows, first) = self.row_buffers(all.iter().flat_map(|c| c.pairs.iter()).flat_map(|(a, b)| [*a, *b]))?;
        // a b = b a: every unordered pair is summed once.
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        let mut places = Vec::new();
        let mut pairs = Vec::new();
        for (a, b) in all.iter().flat_map(|c| c.pairs.iter()) {
            let (a, b) = (first[&a.0] + a.1, first[&b.0] + b.1);
            let key = (a.min(b), a.max(b));
            let place = *known.entry(key).or_insert_with(|| {
                pairs.extend([key.0, key.1]);
                pairs.len() / 2 - 1
            });
            places.push(place);
        }
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let row_len = rows_len(self.graph, self.target, all.iter().flat_map(|c| c.pairs.iter()).map(|p| p.0.0).next());
        let table = self.table(weights);
        let count = pairs.len() / 2;
        let launch = Launch {
            summary: format!("gram of {count} pairs of {} rows", rows.iter().map(|s| s.len / row_len.max(1)).sum::<usize>()),
            flops: 2.0 * (count * row_len) as f64,
            bytes: 8.0 * rows.iter().map(|s| s.len).sum::<usize>() as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::Gram { table, row_len, rows, pairs, places, outputs });
        Ok(vec![launch])
    }

    fn mix(&mut self, weights: &Linear, results: &[Value]) -> Result<Vec<Launch>, ScheduleError> {
        let mixture = |value: &Value| -> Option<&Mixture> {
            match &self.roles[value.index()] {
                Role::Mixture(m) => Some(m),
                _ => None,
            }
        };
        let all: Vec<&Mixture> = results.iter().filter_map(mixture).collect();
        let terms_of = || all.iter().flat_map(|m| m.terms.iter()).flatten();
        let (rows, first) = self.row_buffers(terms_of().map(|t| t.0))?;
        let (coefficients, first_coefficient) = self.number_buffers(terms_of().map(|(_, (value, _))| *value))?;
        let mut counts = Vec::new();
        let mut terms = Vec::new();
        // Coefficients of one row are added up before the rows are touched, so only distinct rows cost work.
        let mut products = 0;
        for row in all.iter().flat_map(|m| m.terms.iter()) {
            counts.push(row.len());
            products += row.iter().map(|(r, _)| *r).collect::<BTreeSet<Row>>().len();
            for (r, c) in row {
                terms.extend([first[&r.0] + r.1, first_coefficient[&c.0] + c.1]);
            }
        }
        let row_len = rows_len(self.graph, self.target, results.first().copied());
        let outputs: Vec<Slot> = results.iter().map(|v| self.allocate(*v)).collect();
        let table = self.table(weights);
        let launch = Launch {
            summary: format!("mix of {} terms into {} rows", terms.len() / 2, counts.len()),
            flops: 2.0 * (products * row_len) as f64,
            bytes: 8.0 * rows.iter().chain(&outputs).map(|s| s.len).sum::<usize>() as f64,
            values: results.len(),
        };
        self.plan.steps.push(Step::Mix { table, row_len, rows, coefficients, counts, terms, outputs });
        Ok(vec![launch])
    }

    fn fused_loop(&mut self, group: &Group, sums_slot: Slot) -> Result<Vec<Launch>, ScheduleError> {
        let point = group.space == Space::Point;
        let element = if point { 1 } else { stored_len(group.space, self.target) };
        let Built { body, streams, tables, sums } = build(self.graph, self.roles, self.demand, group, None, &|_| element);
        let trip = if point { self.graph.ty(group.roots[0]).count() } else { element };
        let mut plan_streams = Vec::new();
        let mut bytes = 0.0;
        for (k, (value, written)) in streams.iter().enumerate() {
            let slot = if *written { self.allocate(*value) } else { self.slot(*value)? };
            let stride = if group.outer == 1 { 0 } else { slot.len / group.outer };
            let extent = stream_extent(&body, k, trip);
            if !is_uniform(&body, k) {
                bytes += 8.0 * slot.len as f64;
            }
            plan_streams.push(Stream { slot, stride, extent, written: *written });
        }
        let tables: Vec<usize> = tables.iter().map(|map| self.table(map)).collect();
        let summary = self.loop_summary(group);
        let kernel = self.kernel(&body, trip, &summary);
        self.plan.steps.push(Step::Loop { kernel, trip, outer: group.outer, grain: GRAIN, streams: plan_streams, tables, sums: sums_slot });
        let flops = (body.flops() * trip * group.outer) as f64;
        let mut launches = vec![Launch { summary, flops, bytes, values: group.roots.len() }];
        launches.extend(self.place_sums(&sums, body.sums.len(), group.outer, sums_slot));
        Ok(launches)
    }

    fn loop_summary(&self, group: &Group) -> String {
        let names: Vec<String> = group.roots.iter().map(|v| spelling(&self.graph.node(*v).op)).collect();
        format!("loop over {} for {}", group.space, counted(&names))
    }

    /// Number of a kernel; equal texts are one kernel.
    fn kernel(&mut self, body: &Body, trip: usize, summary: &str) -> usize {
        let text = match self.target {
            Target::Cpu => clif::emit(body, trip, self.plan.element),
            Target::Cuda => body.to_string(),
        };
        if let Some(k) = self.kernels.get(&text) {
            return *k;
        }
        let k = self.plan.kernels.len();
        self.plan.kernels.push(Kernel { name: format!("k{k}"), summary: summary.to_string(), text: text.clone() });
        self.bodies.push(body.clone());
        self.kernels.insert(text, k);
        k
    }

    /// Sums of one outer iteration lie together; each root (value, first sum, number of sums) gets its part.
    fn place_sums(&mut self, sums: &[(Value, usize, usize)], per_outer: usize, outer: usize, slot: Slot) -> Vec<Launch> {
        let mut launches = Vec::new();
        for (root, start, length) in sums.iter().copied() {
            if outer == 1 {
                self.slots.insert(root, Slot { offset: slot.offset + start, len: length });
                continue;
            }
            let to = self.allocate(root);
            let map = Linear::Slice { n: per_outer, start, length };
            self.plan.steps.push(Step::Linear { map, adjoint: false, pairs: vec![(slot, to)], bandlimits: vec![] });
            launches.push(Launch { summary: "slice of sums".into(), flops: 0.0, bytes: 16.0 * to.len as f64, values: 0 });
        }
        launches
    }

    fn tile(&mut self, tile: &Tile, sums_slot: Slot) -> Result<Vec<Launch>, ScheduleError> {
        let unit = self.unit;
        // Of a value that exists row by row, the slot is that of the row at hand.
        let (local, scratch) = tile.local_slots(self.graph, self.demand, unit);
        let pairs = unit.pairs(tile.L);
        let place = |emit: &Self, value: Value| -> Result<Place, ScheduleError> {
            match local.get(&storage(emit.roles, value).0) {
                Some(slot) => Ok(Place::Local(*slot)),
                None => Ok(Place::Arena(emit.slot(value)?)),
            }
        };
        let mut stages = Vec::new();
        // Each reduction with its first sum and their number.
        let mut sums: Vec<(Value, usize, usize)> = Vec::new();
        let mut per_outer = 0;
        for root in tile.members.iter().filter(|v| self.roles[v.index()] == Role::Reduction) {
            let length = self.graph.ty(*root).count() / tile.outer;
            sums.push((*root, per_outer, length));
            per_outer += length;
        }
        let (mut flops, mut names) = (0.0, Vec::new());
        let mut touched: BTreeSet<(usize, usize)> = BTreeSet::new();
        // f64 that stay in scratch memory instead of being written and read once more by each reader.
        let mut kept = 0.0;
        let mut count = |place: &Place| match place {
            Place::Arena(slot) => {
                touched.insert((slot.offset, slot.len));
            }
            Place::Local(slot) => kept += (slot.len * pairs * tile.outer) as f64,
        };
        for stage in &tile.stages {
            match stage {
                tile::Stage::Rings(value, row) => {
                    let Some((map, adjoint)) = self.graph.linear(*value) else { continue };
                    let map = map.clone();
                    let operand = self.graph.node(*value).operands[0];
                    let (from, to) = (place(self, operand)?, place(self, *value)?);
                    count(&from);
                    count(&to);
                    let all = self.graph.ty(*value).count() / tile.outer;
                    let (first, rows) = row.map_or((0, all), |row| (row, 1));
                    flops += linear_flops(&map, rows * tile.outer);
                    if first == 0 {
                        names.push(format!("{}{} of {}", map.spelling(), if adjoint { "^H" } else { "" }, all * tile.outer));
                    }
                    stages.push(scatterc_ir::plan::Stage::Rings { map, adjoint, first, rows, from, to });
                }
                tile::Stage::Loop(group, row) => {
                    let (trip, share) = (stored_len(group.space, self.target), unit.share(group.space));
                    let is_local = |value: Value| local.contains_key(&storage(self.roles, value).0);
                    let element = |value: Value| match is_local(value) {
                        true if tile.one_row.contains(&value) => 0,
                        true => share,
                        false => trip,
                    };
                    let Built { body, streams, tables, sums: roots } = build(self.graph, self.roles, self.demand, group, *row, &element);
                    let mut plan_streams = Vec::new();
                    for (k, (value, written)) in streams.iter().enumerate() {
                        let place = place(self, *value)?;
                        let (stride, width) = match place {
                            Place::Arena(slot) => (if tile.outer == 1 { 0 } else { slot.len / tile.outer }, trip),
                            Place::Local(_) => (0, share),
                        };
                        let extent = stream_extent(&body, k, width);
                        if !is_uniform(&body, k) {
                            count(&place);
                        }
                        plan_streams.push(TileStream { place, stride, extent, written: *written });
                    }
                    let summary = format!("{} in a tile", self.loop_summary(group));
                    flops += (body.flops() * trip * tile.outer) as f64;
                    if row.unwrap_or(0) == 0 {
                        names.push(self.loop_summary(group));
                    }
                    // Sums of the body follow one another root by root.
                    let first_of = |root: &Value| sums.iter().find(|s| s.0 == *root).map_or(0, |s| s.1 + row.unwrap_or(0));
                    let places: Vec<usize> = roots.iter().flat_map(|(root, _, length)| (0..*length).map(move |k| first_of(root) + k)).collect();
                    let tables: Vec<usize> = tables.iter().map(|map| self.table(map)).collect();
                    let kernel = self.kernel(&body, share, &summary);
                    stages.push(scatterc_ir::plan::Stage::Loop { kernel, trip, sums: places, tables, streams: plan_streams });
                }
            }
        }
        let bytes = touched.iter().map(|(_, len)| 8.0 * *len as f64).sum();
        let memory = if self.target == Target::Cpu { "cache" } else { "shared memory" };
        let summary = format!("tile over map({}): {}; {:.3} MB stay in {memory}", tile.L, names.join(", "), 8.0 * kept / 1e6);
        self.plan.steps.push(Step::Tile { L: tile.L, outer: tile.outer, scratch, sums: sums_slot, stages });
        let mut launches = vec![Launch { summary, flops, bytes, values: tile.members.len() }];
        launches.extend(self.place_sums(&sums, per_outer, tile.outer, sums_slot));
        Ok(launches)
    }
}

/// True for a stream of numbers that do not depend on the loop index.
fn is_uniform(body: &Body, stream: usize) -> bool {
    body.instructions.iter().any(|i| matches!(i, crate::loops::Instruction::Uniform { stream: s, .. } if *s == stream))
}

/// Nominal work of harmonic forms: per coefficient of the window and field two scans, per pair of fields a multiply-add per channel and part.
#[derive(Default)]
struct FrameWork {
    flops: f64,
}

impl FrameWork {
    fn add(&mut self, L: usize, N: usize, j: usize, fields: usize, pairs: usize) {
        let (first, last) = (1usize << j.max(1).saturating_sub(1).min(40), scale_bandlimit(L, j));
        let cells: usize = (0..last).map(|m| last - first.max(m).min(last)).sum();
        // Running sums: 4 flops per state and part; channels: 4 per term and part, each twice; diagonals.
        let (states, terms): (usize, usize) = (N * (N - 1) / 2, (1..N).map(|r| r * (N - r)).sum());
        self.flops += (cells * (fields * (16 * states + 16 * terms + 4 * N) + pairs * 4 * (2 * N - 1))) as f64;
    }
}

/// Axis maps know no leading axes: one pair of slots per index of these.
fn per_field(graph: &Graph, map: &Linear, adjoint: bool, operand: Value, from: Slot, to: Slot) -> Vec<(Slot, Slot)> {
    if !matches!(map, Linear::Steer { .. } | Linear::Reindex { .. }) {
        return vec![(from, to)];
    }
    let Ok(signature) = map.signature() else { return vec![(from, to)] };
    let axes = if adjoint { signature.range.0 } else { signature.domain.0 };
    let fields = graph.ty(operand).count() / axes.iter().product::<usize>();
    let part = |s: Slot, k: usize| Slot { offset: s.offset + k * (s.len / fields), len: s.len / fields };
    (0..fields).map(|k| (part(from, k), part(to, k))).collect()
}

/// f64 of a stream that one outer iteration may touch.
fn stream_extent(body: &Body, stream: usize, trip: usize) -> usize {
    use crate::loops::Instruction::{Load, Uniform};
    let loads = body.instructions.iter().filter_map(|i| match i {
        Load { stream: s, offset } if *s == stream => Some(offset + trip),
        Uniform { stream: s, offset } if *s == stream => Some(offset + 1),
        _ => None,
    });
    let stores = body.stores.iter().filter(|s| s.0 == stream).map(|s| s.1 + trip);
    loads.chain(stores).max().unwrap_or(0)
}

/// The place of a map in a list, added where it is new.
fn push_unique(list: &mut Vec<Linear>, map: &Linear) -> usize {
    list.iter().position(|known| known == map).unwrap_or_else(|| {
        list.push(map.clone());
        list.len() - 1
    })
}

fn rows_len(graph: &Graph, target: Target, value: Option<Value>) -> usize {
    value.map_or(0, |v| stored_len(graph.ty(v).space, target))
}

/// `abs, 2 mean` for [abs, mean, mean].
fn counted(names: &[String]) -> String {
    let mut counts: Vec<(&String, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|c| c.0 == name) {
            Some(c) => c.1 += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.iter().map(|(n, c)| if *c == 1 { n.to_string() } else { format!("{c} {n}") }).collect::<Vec<_>>().join(", ")
}

/// Nominal flops of all transforms and frame operators that outputs need. Frame operators that differ only in the degrees they return are one scan.
pub(crate) fn transform_flops(graph: &Graph) -> f64 {
    let mut live = vec![false; graph.nodes.len()];
    graph.outputs.iter().for_each(|o| live[o.value.index()] = true);
    let mut scans: BTreeSet<(Value, Scale)> = BTreeSet::new();
    let mut total = 0.0;
    for (k, node) in graph.nodes.iter().enumerate().rev() {
        if !live[k] {
            continue;
        }
        node.operands.iter().for_each(|v| live[v.index()] = true);
        let Op::Linear { map, .. } = &node.op else { continue };
        let count = node.ty.count().max(node.operands.iter().map(|v| graph.ty(*v).count()).max().unwrap_or(0));
        match crate::harmonic::scale_of(map) {
            Some(scale) if scans.insert((node.operands[0], scale)) => total += linear_flops(map, count),
            Some(_) => {}
            None if is_transform(map) => total += linear_flops(map, count),
            None => {}
        }
    }
    total
}

/// Pixels that a row of a stencil of K x K places reads on a sphere of `nside`, on average: every place is interpolated between four of them, which neighbours share. Counted from the rows
/// themselves (`tests/flops.rs`).
fn stencil_weights(K: usize, nside: usize) -> f64 {
    let by_resolution = match K {
        3 => [11.0, 15.3, 17.4, 17.45],
        5 => [12.0, 30.2, 37.2, 38.5],
        _ => [12.0, 44.8, 62.0, 68.0],
    };
    by_resolution[(nside.max(1).ilog2() as usize).min(3)]
}

/// Nominal flops of a library map on `count` rows of its larger side.
///
/// Legendre stages: per (l, m) pair and northern ring 2 multiply-adds of recursion per function and 2 per real field; rings: 2.5 n log2 n per real row.
fn linear_flops(map: &Linear, count: usize) -> f64 {
    let legendre = |L_in: usize, L: usize, N: usize, first: usize, fields: usize| {
        let top = L_in.min(L);
        let pairs: usize = (0..top).map(|m| top - first.max(m).min(top)).sum();
        let rings = L.div_ceil(2);
        let (plain, paired) = (N % 2, N / 2);
        let per_pair = plain * (4 + 4 * fields) + paired * (8 + 8 * fields);
        (pairs * rings * per_pair) as f64
    };
    match map {
        Linear::WignerInverse { L_in, L, N, j } => {
            let first = 1usize << (*j).max(1).saturating_sub(1).min(40);
            legendre(*L_in, scale_bandlimit(*L, *j), *N, first, count / N)
        }
        Linear::HarmonicInverse { L_in, L } => legendre(*L_in, *L, 1, 0, count),
        Linear::ScalingInverse { L_in, L, j } => legendre(*L_in, scale_bandlimit(*L, *j), 1, 0, count),
        Linear::HarmonicForward { L, L_out, .. } => legendre(*L_out, *L, 1, 0, count),
        Linear::RingInverse { L, .. } | Linear::RingForward { L, .. } => {
            let n = (2 * L - 1) as f64;
            count as f64 * *L as f64 * 2.5 * n * n.log2().max(1.0)
        }
        Linear::Steer { N } => 2.0 * (count * N) as f64,
        // A real transform costs half of a complex one; an inverse one has two images.
        Linear::Fourier { H, W } | Linear::FourierReal { H, W } | Linear::FourierInverse { H, W } => {
            let n = (H * W) as f64;
            2.5 * count as f64 * n * n.log2().max(1.0)
        }
        // Images, and a spectrum read for each.
        Linear::FilterInverse { H, W, h, w, .. } => {
            let n = (h * w) as f64;
            2.5 * count as f64 * n * n.log2().max(1.0) + (count * H * W) as f64
        }
        Linear::Filter { H, W, .. } | Linear::FilterEach { H, W, .. } => 2.0 * (count * H * W) as f64,
        Linear::Stencil { nside, K, cells, .. } => 2.0 * stencil_weights(*K, *nside) * (pixels(*nside, cells) * count) as f64,
        // A down-grade reads nine times four.
        Linear::Downgrade { nside, cells } => 72.0 * (count * pixels(*nside, cells).div_ceil(4)) as f64,
        Linear::ImageStencil { H, W, bank, .. } => 2.0 * (count * H * W * bank.H * bank.W) as f64,
        Linear::BlockMean { H, W, .. } => (count * H * W) as f64,
        Linear::FrameOperator { L, N, j, .. } => {
            let mut work = FrameWork::default();
            work.add(*L, *N, *j, count / (2 * N - 1).max(1), count);
            work.flops
        }
        _ => count as f64,
    }
}
