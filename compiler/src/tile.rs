//! Ring tiles: which ring transforms and loops run together on one pair of blocks of rings after another.
//!
//! A ring transform mixes the samples of one ring, a loop the rows at one sample: both stay inside a pair of blocks (eight northern rings and their mirrors). A *tile* is a set of
//! stored values of one grid that are computed pair by pair; what only its members read lives in scratch memory of the cache's size and is never stored.
//!
//! Legality: the members' grid and outer iterations agree, and no member depends on another through a launch outside or through a sum over all pairs.

use crate::fuse::{Demand, Fusion, Group, Role, build, free_axes, storage};
use crate::schedule::device_len;
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use scatterc_kernels::layout;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most f64 of local values of one pair: beyond a few times a core's second-level cache, samples are no closer in scratch memory than in the arena.
const MOST_LOCAL: usize = 1 << 20;

/// Most roots of one loop.
pub const MOST_ROOTS: usize = 24;

/// What a tile does with a pair of blocks, one stage after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// A ring transform that computes this value, or one row of it.
    Rings(Value, Option<usize>),
    /// A loop, or the part of it that computes one row of each root.
    Loop(Group, Option<usize>),
}

/// Stored values computed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Bandlimit of the grid.
    pub L: usize,
    /// Leading axes iterated outside, their product.
    pub outer: usize,
    /// All values, in node order.
    pub members: BTreeSet<Value>,
    /// Members that nothing outside reads: they live in scratch memory.
    pub local: BTreeSet<Value>,
    /// Local values of which one row exists at a time.
    pub one_row: BTreeSet<Value>,
    /// What happens to a pair.
    pub stages: Vec<Stage>,
}

/// Bandlimit of the grid of rings and maps.
fn grid(space: Space) -> Option<usize> {
    match space {
        Space::Map { L } | Space::Rings { L, .. } => Some(L),
        Space::Point
        | Space::Half { .. }
        | Space::Full { .. }
        | Space::Grid { .. }
        | Space::Coefficients { .. }
        | Space::Image { .. }
        | Space::Spectrum { .. }
        | Space::RealSpectrum { .. }
        | Space::Pixels { .. }
        | Space::Any => None,
    }
}

/// Pairs of blocks of the grid of bandlimit L.
pub fn n_pairs(L: usize) -> usize {
    layout::rings_len(L, 1) / (4 * scatterc_kernels::simd::LANES)
}

/// f64 that one pair of blocks has of one row of a space.
pub fn share(space: Space) -> usize {
    grid(space).map_or(0, |L| device_len(space) / n_pairs(L))
}

/// A stored value that can be computed pair by pair.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    L: usize,
    /// Outer iterations of a loop; a ring transform goes with any.
    outer: Option<usize>,
    /// Space that a loop runs over.
    space: Option<Space>,
    /// A sum over all pairs of blocks.
    reduction: bool,
}

fn candidate(graph: &Graph, roles: &[Role], demand: &Demand, value: Value) -> Option<Candidate> {
    let node = graph.node(value);
    match &roles[value.index()] {
        Role::Library => match &node.op {
            Op::Linear { map: Linear::RingInverse { L, .. } | Linear::RingForward { L, .. }, .. } => {
                Some(Candidate { L: *L, outer: None, space: None, reduction: false })
            }
            _ => None,
        },
        role @ (Role::Loop | Role::Reduction) => {
            let reduction = *role == Role::Reduction;
            let space = if reduction { graph.ty(node.operands[0]).space } else { node.ty.space };
            let outer = node.ty.axes[..free_axes(graph, roles, demand, value)].iter().product();
            grid(space).map(|L| Candidate { L, outer: Some(outer), space: Some(space), reduction })
        }
        Role::Given
        | Role::Literal(_)
        | Role::Alias(..)
        | Role::Contraction(_)
        | Role::Mixture(_)
        | Role::FrameContraction(_)
        | Role::FrameMixture(_)
        | Role::FilterContraction(_)
        | Role::FilterMixture(_) => None,
    }
}

/// A set of values under construction.
#[derive(Clone, Debug)]
struct Cluster {
    L: usize,
    outer: Option<usize>,
    members: BTreeSet<Value>,
    /// f64 of all members for all pairs and outer iterations.
    numbers: usize,
}

struct Clusters<'a> {
    candidates: BTreeMap<Value, Candidate>,
    readers: BTreeMap<Value, Vec<Value>>,
    clusters: Vec<Cluster>,
    of: HashMap<Value, usize>,
    graph: &'a Graph,
}

impl Clusters<'_> {
    /// Joins the sets of a value and of a reader where that is legal.
    fn join(&mut self, from: Value, reader: Value) {
        let (a, b) = (self.of[&from], self.of[&reader]);
        if a == b {
            return;
        }
        let (x, y) = (&self.clusters[a], &self.clusters[b]);
        let outer = match (x.outer, y.outer) {
            (Some(n), Some(m)) if n != m => return,
            (n, m) => n.or(m),
        };
        // The outer iterations of a loop must be those of every ring transform: equal rows for each.
        let members: BTreeSet<Value> = x.members.union(&y.members).copied().collect();
        let rows = |v: &Value| self.graph.ty(*v).count();
        if outer.is_some_and(|n| members.iter().any(|v| !rows(v).is_multiple_of(n.max(1)))) {
            return;
        }
        let numbers = x.numbers + y.numbers;
        if x.L != y.L || numbers / (n_pairs(x.L) * outer.unwrap_or(1)).max(1) > MOST_LOCAL || self.is_cyclic(&members) {
            return;
        }
        for v in &self.clusters[b].members {
            self.of.insert(*v, a);
        }
        self.clusters[b].members.clear();
        self.clusters[a] = Cluster { L: self.clusters[a].L, outer, members, numbers };
    }

    /// True when a member depends on another one through something outside, or through a sum.
    fn is_cyclic(&self, members: &BTreeSet<Value>) -> bool {
        let mut seen: BTreeSet<Value> = BTreeSet::new();
        let mut stack: Vec<Value> = Vec::new();
        for m in members {
            let reduction = self.candidates[m].reduction;
            for reader in self.readers.get(m).into_iter().flatten() {
                match members.contains(reader) {
                    true if reduction => return true,
                    true => {}
                    false => stack.push(*reader),
                }
            }
        }
        while let Some(value) = stack.pop() {
            if members.contains(&value) {
                return true;
            }
            if !seen.insert(value) {
                continue;
            }
            // A set already formed runs as a whole: whatever reads one of its members waits for all of them.
            match self.of.get(&value) {
                Some(k) => {
                    for m in &self.clusters[*k].members {
                        seen.insert(*m);
                        stack.extend(self.readers.get(m).into_iter().flatten());
                    }
                }
                None => stack.extend(self.readers.get(&value).into_iter().flatten()),
            }
        }
        false
    }
}

/// The tiles of a graph: sets of at least two members joined along values of the grid that they hand to each other. Values in `late` are computed for readers long after
/// their operands, which they do not join.
pub fn tiles(graph: &Graph, roles: &[Role], demand: &Demand, fusion: Fusion, late: &BTreeSet<Value>) -> Vec<Tile> {
    if !fusion.tiles() {
        return vec![];
    }
    let candidates: BTreeMap<Value, Candidate> = demand.stored.iter().filter_map(|v| candidate(graph, roles, demand, *v).map(|c| (*v, c))).collect();
    let mut readers: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for value in &demand.stored {
        for read in demand.reads.get(value).into_iter().flatten() {
            readers.entry(*read).or_default().push(*value);
        }
    }
    let mut of = HashMap::new();
    let mut list = Vec::new();
    for (value, c) in &candidates {
        of.insert(*value, list.len());
        let ty = graph.ty(*value);
        list.push(Cluster { L: c.L, outer: c.outer, members: [*value].into(), numbers: ty.count() * device_len(ty.space) });
    }
    let mut clusters = Clusters { candidates, readers, clusters: list, of, graph };
    for value in &demand.stored {
        if !clusters.candidates.contains_key(value) {
            continue;
        }
        for read in demand.reads.get(value).into_iter().flatten() {
            let waits = late.contains(value) && !late.contains(read);
            if !waits && clusters.candidates.get(read).is_some_and(|c| !c.reduction) {
                clusters.join(*read, *value);
            }
        }
    }
    let kept: BTreeSet<Value> = graph.outputs.iter().map(|o| storage(roles, o.value).0).collect();
    let Clusters { candidates, readers, clusters, .. } = clusters;
    clusters
        .into_iter()
        .filter(|c| c.members.len() > 1)
        .map(|c| {
            let is_local = |v: &Value| {
                !candidates[v].reduction && !kept.contains(v) && readers.get(v).into_iter().flatten().all(|reader| c.members.contains(reader))
            };
            let local: BTreeSet<Value> = c.members.iter().copied().filter(is_local).collect();
            let whole = stages(roles, demand, &candidates, &c);
            let (stages, split) = by_rows(graph, roles, demand, whole);
            let one_row = split.intersection(&local).copied().collect();
            Tile { L: c.L, outer: c.outer.unwrap_or(1), local, one_row, stages, members: c.members }
        })
        .collect()
}

/// Stages in an order that respects reads; loops over one space at one depth that read common rows are one loop.
fn stages(roles: &[Role], demand: &Demand, candidates: &BTreeMap<Value, Candidate>, cluster: &Cluster) -> Vec<Stage> {
    let outer = cluster.outer.unwrap_or(1);
    let mut depth: HashMap<Value, usize> = HashMap::new();
    let mut stages: Vec<(usize, Stage, BTreeSet<Value>)> = Vec::new();
    for value in &cluster.members {
        let reads = &demand.reads[value];
        let below = reads.iter().filter_map(|v| depth.get(v)).max();
        let own = below.map_or(0, |n| n + 1);
        depth.insert(*value, own);
        let Some(space) = candidates[value].space else {
            stages.push((own, Stage::Rings(*value, None), BTreeSet::new()));
            continue;
        };
        debug_assert!(matches!(roles[value.index()], Role::Loop | Role::Reduction), "only loops run over a space");
        let joined = stages.iter_mut().find_map(|(at, stage, rows)| match stage {
            Stage::Loop(group, _) if *at == own && group.space == space && group.roots.len() < MOST_ROOTS && !rows.is_disjoint(reads) => {
                Some((group, rows))
            }
            _ => None,
        });
        match joined {
            Some((group, rows)) => {
                group.roots.push(*value);
                rows.extend(reads);
            }
            None => stages.push((own, Stage::Loop(Group { space, outer, roots: vec![*value] }, None), reads.clone())),
        }
    }
    // Stable: stages of equal depth stay in node order.
    stages.sort_by_key(|s| s.0);
    stages.into_iter().map(|s| s.1).collect()
}

/// Most operations that row by row may take, relative to all rows at once: rows that share much are computed together.
const MOST_REPEATED: f64 = 1.25;

/// Loops whose results only ring transforms read run row by row, each row followed by its transforms, so that one row exists at a time. Also returns the values concerned.
fn by_rows(graph: &Graph, roles: &[Role], demand: &Demand, stages: Vec<Stage>) -> (Vec<Stage>, BTreeSet<Value>) {
    let mut out = Vec::new();
    let mut split = BTreeSet::new();
    let mut done: BTreeSet<Value> = BTreeSet::new();
    for (k, stage) in stages.iter().enumerate() {
        let Stage::Loop(group, None) = stage else {
            if !matches!(stage, Stage::Rings(value, _) if done.contains(value)) {
                out.push(stage.clone());
            }
            continue;
        };
        let rows_of = |v: &Value| graph.ty(*v).count() / group.outer;
        let rows = rows_of(&group.roots[0]);
        let stored: BTreeSet<Value> = group.roots.iter().copied().filter(|v| roles[v.index()] != Role::Reduction).collect();
        let mut transforms = Vec::new();
        let mut others = false;
        for later in &stages[k + 1..] {
            match later {
                Stage::Rings(value, _) if !demand.reads[value].is_disjoint(&stored) => transforms.push(*value),
                Stage::Rings(..) => {}
                Stage::Loop(next, _) => others |= next.roots.iter().any(|v| !demand.reads[v].is_disjoint(&stored)),
            }
        }
        let operations = |only: Option<usize>| build(graph, roles, demand, group, only, &|_| 1).body.flops();
        let fits = rows > 1 && group.roots.iter().all(|v| rows_of(v) == rows) && !transforms.is_empty() && !others;
        if !fits || (0..rows).map(|row| operations(Some(row))).sum::<usize>() as f64 > MOST_REPEATED * operations(None) as f64 {
            out.push(stage.clone());
            continue;
        }
        for row in 0..rows {
            out.push(Stage::Loop(group.clone(), Some(row)));
            out.extend(transforms.iter().map(|value| Stage::Rings(*value, Some(row))));
        }
        done.extend(transforms);
        split.extend(stored);
    }
    (out, split)
}
