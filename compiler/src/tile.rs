//! Ring tiles: which ring transforms and loops run together on one pair of blocks of rings after another.
//!
//! A ring transform mixes the samples of one ring, a loop the rows at one sample: both stay inside a pair of blocks (eight northern rings and their mirrors). A *tile* is a set of
//! stored values of one grid that are computed pair by pair; what only its members read lives in scratch memory of the cache's size and is never stored.
//!
//! On CUDA a pair is a northern ring and its mirror, a tile is one launch with a block per pair and outer iteration, and local values lie in its shared memory: see [`Unit`].
//!
//! Legality: the members' grid and outer iterations agree, no member depends on another through a launch outside or through a sum over all pairs, and what is local to a pair
//! fits the memory there is for it. What does not fit stays a launch of its own.

use crate::fuse::{Demand, Fusion, Group, Role, build, free_axes, storage};
use crate::schedule::{Item, device_len, place};
use scatterc_ir::plan::{Element, Slot};
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use scatterc_kernels::cuda::fourier::PairBuffers;
use scatterc_kernels::{cuda, layout};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most f64 of local values of one pair on the CPU: beyond a few times a core's second-level cache, samples are no closer in scratch memory than in the arena.
const MOST_LOCAL: usize = 1 << 20;

/// What a tile works on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The CPU: a pair of blocks of eight rings.
    Blocks,
    /// CUDA: a ring and its mirror, numbers of that element.
    Rings(Element),
}

impl Unit {
    /// Pairs of the grid of bandlimit L.
    pub fn pairs(self, L: usize) -> usize {
        match self {
            Unit::Blocks => layout::rings_len(L, 1) / (4 * scatterc_kernels::simd::LANES),
            Unit::Rings(_) => L.div_ceil(2),
        }
    }

    /// Numbers that one pair has of one row of a space.
    pub fn share(self, space: Space) -> usize {
        match self {
            Unit::Blocks => grid(space).map_or(0, |L| device_len(space) / self.pairs(L)),
            Unit::Rings(_) => grid(space).map_or(0, |L| 2 * space.len() / L.max(1)),
        }
    }
}

/// The element as the kernel library names it.
pub fn number(element: Element) -> cuda::Element {
    match element {
        Element::F64 => cuda::Element::F64,
        Element::F32 => cuda::Element::F32,
    }
}

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
    /// Outputs of the graph, which stay.
    kept: BTreeSet<Value>,
    graph: &'a Graph,
    roles: &'a [Role],
    demand: &'a Demand,
    unit: Unit,
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
        let joined = Cluster { L: x.L, outer, members, numbers: x.numbers + y.numbers };
        if x.L != y.L || self.is_cyclic(&joined.members) || !self.fits(&joined) {
            return;
        }
        for v in &self.clusters[b].members {
            self.of.insert(*v, a);
        }
        self.clusters[b].members.clear();
        self.clusters[a] = joined;
    }

    /// Whether what a pair keeps to itself fits the memory there is for it.
    fn fits(&self, cluster: &Cluster) -> bool {
        match self.unit {
            Unit::Blocks => cluster.numbers / (self.unit.pairs(cluster.L) * cluster.outer.unwrap_or(1)).max(1) <= MOST_LOCAL,
            Unit::Rings(element) => {
                let tile = self.tile(cluster);
                let (_, local) = tile.local_slots(self.graph, self.demand, self.unit);
                PairBuffers::new(number(element), cluster.L, local, tile.needs_two(self.graph, self.demand)).is_ok_and(|buffers| buffers.fits())
            }
        }
    }

    /// The tile that a set is.
    fn tile(&self, c: &Cluster) -> Tile {
        let is_local = |v: &Value| {
            let stay = |reader: &Value| c.members.contains(reader);
            !self.candidates[v].reduction && !self.kept.contains(v) && self.readers.get(v).into_iter().flatten().all(stay)
        };
        let local: BTreeSet<Value> = c.members.iter().copied().filter(is_local).collect();
        let whole = stages(self.roles, self.demand, &self.candidates, c);
        let (stages, split) = by_rows(self.graph, self.roles, self.demand, &local, whole);
        let one_row = split.intersection(&local).copied().collect();
        Tile { L: c.L, outer: c.outer.unwrap_or(1), local, one_row, stages, members: c.members.clone() }
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
pub fn tiles(graph: &Graph, roles: &[Role], demand: &Demand, fusion: Fusion, late: &BTreeSet<Value>, unit: Unit) -> Vec<Tile> {
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
    let kept: BTreeSet<Value> = graph.outputs.iter().map(|o| storage(roles, o.value).0).collect();
    let mut clusters = Clusters { candidates, readers, clusters: list, of, kept, graph, roles, demand, unit };
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
    clusters.clusters.iter().filter(|c| c.members.len() > 1).map(|c| clusters.tile(c)).filter(|tile| tile.pays(unit)).collect()
}

impl Tile {
    /// Loops alone gain nothing from a block per pair on CUDA.
    fn pays(&self, unit: Unit) -> bool {
        unit == Unit::Blocks || self.stages.iter().any(|stage| matches!(stage, Stage::Rings(..)))
    }

    /// Whether a transform cannot leave its result in its own place, or take its operand there: on CUDA it then needs two buffers instead of one.
    fn needs_two(&self, graph: &Graph, demand: &Demand) -> bool {
        let reads = |stage: &Stage, v: &Value| match stage {
            Stage::Rings(value, _) => demand.reads[value].contains(v),
            Stage::Loop(group, _) => group.roots.iter().any(|root| demand.reads[root].contains(v)),
        };
        self.stages.iter().enumerate().any(|(k, stage)| {
            let Stage::Rings(value, row) = stage else { return false };
            let operand = demand.reads[value].iter().next().copied().unwrap_or(graph.node(*value).operands[0]);
            let (samples, is_result) = if matches!(graph.ty(*value).space, Space::Map { .. }) { (*value, true) } else { (operand, false) };
            // What exists row by row is made again for the next row.
            let later = |next: &&Stage| !self.one_row.contains(&samples) || matches!(next, Stage::Rings(_, own) | Stage::Loop(_, own) if own == row);
            !self.local.contains(&samples) || !is_result && self.stages[k + 1..].iter().filter(later).any(|next| reads(next, &samples))
        })
    }

    /// Ranges of scratch memory for the local values, by the stages that use them, and its length.
    pub fn local_slots(&self, graph: &Graph, demand: &Demand, unit: Unit) -> (HashMap<Value, Slot>, usize) {
        let mut lives: BTreeMap<Value, (usize, usize)> = BTreeMap::new();
        // A local value may take the place of one that its loop is the last to read: row lies on row, and a loop loads an element of all rows before it stores any.
        let mut instead: HashMap<Value, Value> = HashMap::new();
        for (k, stage) in self.stages.iter().enumerate() {
            let roots = match stage {
                Stage::Rings(value, _) => std::slice::from_ref(value),
                Stage::Loop(group, _) => &group.roots,
            };
            for root in roots {
                lives.entry(*root).or_insert((k, k)).1 = k;
                for read in &demand.reads[root] {
                    if let Some(life) = lives.get_mut(read) {
                        life.1 = k;
                    }
                }
            }
        }
        let count = |v: Value| if self.one_row.contains(&v) { 1 } else { graph.ty(v).count() / self.outer };
        for (k, stage) in self.stages.iter().enumerate() {
            let Stage::Loop(group, None) = stage else { continue };
            for root in group.roots.iter().filter(|v| self.local.contains(v)) {
                let free = self.local.iter().copied().find(|v| {
                    let (space, own) = (graph.ty(*v).space, lives[v]);
                    let place = graph.ty(*root).space == space && space == group.space && count(*v) >= count(*root);
                    place && own.0 < k && own.1 == k && !self.one_row.contains(v) && !instead.values().any(|taken| taken == v)
                });
                if let Some(free) = free {
                    instead.insert(*root, free);
                }
            }
        }
        let home = |mut v: Value| {
            while let Some(earlier) = instead.get(&v) {
                v = *earlier;
            }
            v
        };
        let mut homes: BTreeMap<Value, Item> = BTreeMap::new();
        for v in &self.local {
            let (first, last) = lives[v];
            let len = count(*v) * unit.share(graph.ty(*v).space);
            let item = homes.entry(home(*v)).or_insert(Item { len, first, last });
            (item.len, item.first, item.last) = (item.len.max(len), item.first.min(first), item.last.max(last));
        }
        let (names, items): (Vec<Value>, Vec<Item>) = homes.into_iter().unzip();
        let (offsets, end) = place(&items, 0);
        let offset_of: HashMap<Value, usize> = names.into_iter().zip(offsets).collect();
        let slot = |v: &Value| Slot { offset: offset_of[&home(*v)], len: count(*v) * unit.share(graph.ty(*v).space) };
        (self.local.iter().map(|v| (*v, slot(v))).collect(), end)
    }
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

/// Loops whose results only ring transforms read run row by row, each row followed by its transforms, so that one row exists at a time; what these transforms make is stored outside the tile, because a
/// local range is written as a whole. Also returns the values concerned.
fn by_rows(graph: &Graph, roles: &[Role], demand: &Demand, local: &BTreeSet<Value>, stages: Vec<Stage>) -> (Vec<Stage>, BTreeSet<Value>) {
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
        let fits = rows > 1
            && group.roots.iter().all(|v| rows_of(v) == rows)
            && !transforms.is_empty()
            && transforms.iter().all(|v| !local.contains(v))
            && !others;
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
