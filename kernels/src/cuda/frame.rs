//! Launches of frame operators: bilinear forms x . Q_g y of coefficients, and their adjoint mixtures; see [`crate::frame`].
//!
//! Orders m >= N - 1 are scans (`frame.cu`). Lower ones are synthesised on the rings of the scale, where forms are weighted sums of products ([`super::contract`]) and
//! mixtures are mixtures of rows, which are analysed again.

use super::contract::{self, GramItem};
use super::legendre::{LegendreItem, LegendreMap, to_coefficients, to_rings};
use super::{Element, Family, Form, Kernel, Part, Table, Tables, launch, list, sparse, whole};
use crate::KernelError;
use crate::frame::{channels, compact, components, terms, window};
use crate::layout::coefficients_len;
use crate::wavelets;
use std::collections::BTreeMap;

/// Threads of a block.
const THREADS: usize = 128;
/// Most fields of one block: a thread for each part of each.
const MOST_FIELDS: usize = THREADS / 2;
/// Most blocks that share the orders of one scale.
const MOST_PARTS: usize = 512;
/// Bytes of shared memory up to which chunks grow, and that they may need at least.
const SHARED: [usize; 2] = [96 << 10, 200 << 10];

/// The step `frame_gram` of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameGramItem {
    /// Bandlimit of the wavelets.
    pub L: usize,
    /// Azimuthal bandlimit, at most 8.
    pub N: usize,
    /// Scales.
    pub scales: Vec<usize>,
    /// First number and bandlimit of every field of coefficients.
    pub fields: Vec<(usize, usize)>,
    /// Forms: position in `scales`, fields a and b, direction g.
    pub forms: Vec<[usize; 4]>,
    /// For every output number, which form it is.
    pub places: Vec<usize>,
    /// Output buffers, (first number, length), filled one after another from `places`.
    pub outputs: Vec<(usize, usize)>,
    /// First number of scratch, even.
    pub scratch: usize,
}

/// One term of a mixture: z Q_g x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTerm {
    /// Which target.
    pub target: usize,
    /// Position in the scales.
    pub scale: usize,
    /// Which field.
    pub field: usize,
    /// Direction g.
    pub direction: usize,
    /// Place of the coefficient z; none: one.
    pub coefficient: Option<usize>,
}

/// The step `frame_mix` of a plan, and with coefficients of one the map `frame_operator` and its adjoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameMixItem {
    /// Bandlimit of the wavelets.
    pub L: usize,
    /// Azimuthal bandlimit, at most 8.
    pub N: usize,
    /// Scales.
    pub scales: Vec<usize>,
    /// First number and bandlimit of every field of coefficients.
    pub fields: Vec<(usize, usize)>,
    /// First number and bandlimit of every target, which overlaps no field.
    pub targets: Vec<(usize, usize)>,
    /// Terms of all targets.
    pub terms: Vec<FrameTerm>,
    /// First number of scratch, even.
    pub scratch: usize,
}

/// Sizes of one scale.
#[derive(Clone, Copy)]
struct Scale {
    L: usize,
    N: usize,
    j: usize,
    L_j: usize,
    first: usize,
    last: usize,
    low: usize,
}

impl Scale {
    fn new(L: usize, N: usize, j: usize) -> Result<Self, KernelError> {
        let [first, last, low] = window(L, N, j)?;
        Ok(Self { L, N, j, L_j: wavelets::bandlimit(L, j), first, last, low })
    }

    /// Numbers of one channel of the rings of low orders.
    fn row_len(&self) -> usize {
        2 * self.L_j * self.low
    }

    /// Orders of the scans.
    fn orders(&self) -> usize {
        self.last.saturating_sub(self.low)
    }

    /// Bytes of `frame::Room` with T degrees and F fields.
    fn room(&self, T: usize, F: usize) -> usize {
        let N = self.N;
        // As `frame::segment` divides the degrees.
        let most = if N > 4 { 1 } else { (THREADS / (2 * F)).min(T / 4).max(1) };
        let segments = T.div_ceil(T.div_ceil(most).next_multiple_of(2));
        let sums = (segments + 2) * N * (N - 1) / 2 * 4 * F + segments;
        8 * (2 * T * F * (1 + channels(N)) + T + 1 + T * (2 * N - 1 + terms(N)) + sums)
    }

    /// Degrees of a chunk for F fields.
    fn chunk(&self, F: usize) -> Result<usize, KernelError> {
        let fitting = [32, 16, 8].into_iter().find(|T| self.room(*T, F) <= SHARED[0]).unwrap_or(8);
        if self.room(fitting, F) <= SHARED[1] { Ok(fitting) } else { Err(KernelError::parameter("fields", "fewer in one block", F)) }
    }

    /// The descriptor `frame::Scale`.
    fn descriptor(&self, lists: &str, F: usize, chunk: usize, tables: &mut Tables<'_>) -> String {
        let Scale { L, N, j, first, last, low, .. } = *self;
        let (factors, kernels) = (tables.number(Table::FrameFactors { L, N, j }), tables.number(Table::FrameKernels { L, N, j }));
        format!("{{{lists}_fields, {lists}_bandlimits, {F}, {first}, {last}, {low}, {chunk}, {factors}, {kernels}}}")
    }

    /// Transforms of the low orders between fields of coefficients and rings that follow one another from `rings` on; neighbours with one bandlimit run together.
    fn low_items(&self, fields: &[(usize, usize)], rings: usize, adds: bool) -> Vec<LegendreItem> {
        let ring_stride = self.N * self.row_len();
        let mut items: Vec<LegendreItem> = Vec::new();
        for (i, (place, L_in)) in fields.iter().enumerate() {
            let map = LegendreMap::WignerInverse { L_in: *L_in, L: self.L, N: self.N, j: self.j };
            if let Some(last) = items.last_mut().filter(|last| last.map == map) {
                let stride = if last.fields == 1 { place.saturating_sub(last.coefficients.0) } else { last.coefficients.1 };
                if stride > 0 && *place == last.coefficients.0 + last.fields * stride {
                    last.coefficients.1 = stride;
                    last.fields += 1;
                    continue;
                }
            }
            let rings = (rings + i * ring_stride, ring_stride);
            items.push(LegendreItem { map, fields: 1, coefficients: (*place, 0), rings, orders: Some(self.low), adds });
        }
        items
    }
}

/// Hands out scratch.
struct Scratch {
    next: usize,
}

impl Scratch {
    fn take(&mut self, numbers: usize) -> usize {
        let at = self.next;
        self.next += numbers.next_multiple_of(2);
        at
    }
}

fn check_fields(name: &'static str, fields: &[(usize, usize)]) -> Result<(), KernelError> {
    match fields.iter().find(|(place, L)| *L == 0 || !place.is_multiple_of(2)) {
        Some((place, L)) => Err(KernelError::parameter(name, "a positive bandlimit at an even place", format!("{L} at {place}"))),
        None => Ok(()),
    }
}

fn check_below(name: &'static str, value: usize, bound: usize) -> Result<(), KernelError> {
    if value < bound { Ok(()) } else { Err(KernelError::parameter(name, format!("below {bound}"), value)) }
}

fn form(item: &'static str, constants: String, shared: usize) -> Form {
    Form { family: Family::Frame, item, constants, block: THREADS, shared }
}

/// Bilinear forms: the launches, to run one after another, and how many numbers of scratch they use.
///
/// - `number`: the number that a table has in the plan
///
/// Error: sizes outside their domain, a form without its fields, outputs that do not fit.
pub fn gram(name: &str, element: Element, item: &FrameGramItem, number: &mut dyn FnMut(Table) -> usize) -> Result<(Vec<Kernel>, usize), KernelError> {
    let (N, C) = (item.N, channels(item.N.max(1)));
    check_fields("fields", &item.fields)?;
    for [s, a, b, g] in &item.forms {
        check_below("scale", *s, item.scales.len())?;
        check_below("field", *a.max(b), item.fields.len())?;
        check_below("direction", *g, C)?;
    }
    for place in &item.places {
        check_below("place", *place, item.forms.len())?;
    }
    let count: usize = item.outputs.iter().map(|(_, len)| len).sum();
    if count != item.places.len() {
        return Err(KernelError::parameter("places", format!("{count} of them, as the outputs"), item.places.len()));
    }
    let mut scratch = Scratch { next: item.scratch };
    let (mut low_items, mut products) = (Vec::new(), Vec::new());
    let (mut parts, mut constants, mut shared) = (Vec::new(), String::new(), 0);
    let mut tables = Tables::new(&mut *number);
    let mut ring_weights = Vec::new();
    // Of every form: partial, stride, low, parts, direction.
    let mut places = vec![[0i64, 0, -1, 0, 0]; item.forms.len()];
    for (s, j) in item.scales.iter().enumerate() {
        let scale = Scale::new(item.L, N, *j)?;
        let own: Vec<(usize, u32, u32, usize)> =
            (item.forms.iter().enumerate()).filter(|(_, form)| form[0] == s).map(|(k, form)| (k, form[1] as u32, form[2] as u32, form[3])).collect();
        for set in components(&own, |form| [u64::from(form.1), u64::from(form.2)]) {
            let (fields, local) = compact(set.iter().flat_map(|form| [form.1, form.2]));
            let pair = |a: u32, b: u32| (local[&a].min(local[&b]) as usize, local[&a].max(local[&b]) as usize);
            for (k, _, _, g) in &set {
                places[*k][4] = *g as i64;
            }
            if scale.low > 0 {
                let operands: Vec<(usize, usize)> = fields.iter().map(|f| item.fields[*f as usize]).collect();
                let rings = scratch.take(operands.len() * N * scale.row_len());
                low_items.extend(scale.low_items(&operands, rings, false));
                let mut pairs: BTreeMap<(usize, usize), usize> = BTreeMap::new();
                for (_, a, b, _) in &set {
                    let next = pairs.len();
                    pairs.entry(pair(*a, *b)).or_insert(next);
                }
                let mut by_place: Vec<(usize, usize)> = vec![(0, 0); pairs.len()];
                pairs.iter().for_each(|(pair, place)| by_place[*place] = *pair);
                let rows = (0..operands.len() * N).map(|r| rings + r * scale.row_len()).collect();
                let row_pairs: Vec<(usize, usize)> =
                    by_place.iter().flat_map(|(a, b)| (0..N * N).map(move |c| (a * N + c / N, b * N + c % N))).collect();
                let out = scratch.take(row_pairs.len());
                let partial = scratch.take(contract::gram_scratch(scale.row_len(), &row_pairs));
                ring_weights.push(Table::RingWeights { L: scale.L_j, orders: scale.low });
                products.push(GramItem {
                    weights: None,
                    row_len: scale.row_len(),
                    rows,
                    places: (0..row_pairs.len()).collect(),
                    outputs: vec![(out, row_pairs.len())],
                    pairs: row_pairs,
                    scratch: partial,
                });
                for (k, a, b, _) in &set {
                    places[*k][2] = (out + pairs[&pair(*a, *b)] * N * N) as i64;
                }
            }
            if scale.orders() == 0 {
                continue;
            }
            // Tiles of two fields and two fields, some for each block.
            let mut tiles: BTreeMap<(usize, usize), Vec<(usize, usize)>> = BTreeMap::new();
            for (k, a, b, _) in &set {
                let (a, b) = pair(*a, *b);
                tiles.entry((a / 2, b / 2)).or_default().push((*k, 2 * (a % 2) + b % 2));
            }
            let mut rest = tiles.iter().peekable();
            while rest.peek().is_some() {
                let mut twos: Vec<usize> = Vec::new();
                let mut chosen = Vec::new();
                while let Some(((a, b), forms)) = rest.peek() {
                    let new = usize::from(!twos.contains(a)) + usize::from(a != b && !twos.contains(b));
                    if chosen.len() == THREADS || 2 * (twos.len() + new) > MOST_FIELDS {
                        break;
                    }
                    for two in [a, b] {
                        if !twos.contains(two) {
                            twos.push(*two);
                        }
                    }
                    let at = |two: &usize| twos.iter().position(|t| t == two).expect("just put there");
                    chosen.push((at(a), at(b), *forms));
                    rest.next();
                }
                let F = 2 * twos.len();
                let lists = format!("{name}_{}", parts.len());
                // A field without a partner stands twice.
                let operands: Vec<(usize, usize)> =
                    twos.iter().flat_map(|two| [2 * two, 2 * two + 1]).map(|f| item.fields[fields[f.min(fields.len() - 1)] as usize]).collect();
                constants += &list("long long", &format!("{lists}_fields"), operands.iter().map(|f| f.0));
                constants += &list("int", &format!("{lists}_bandlimits"), operands.iter().map(|f| f.1));
                constants += &list("int", &format!("{lists}_tiles"), chosen.iter().flat_map(|(a, b, _)| [a, b]));
                let blocks = scale.orders().min(MOST_PARTS);
                let size = chosen.len() * 4 * C;
                let partial = scratch.take(blocks * size);
                for (tile, (_, _, forms)) in chosen.iter().enumerate() {
                    for (k, product) in *forms {
                        let place = &mut places[*k];
                        (place[0], place[1], place[3]) = ((partial + (tile * 4 + product) * C) as i64, size as i64, blocks as i64);
                    }
                }
                let chunk = scale.chunk(F)?;
                // Sums of groups of threads use the same memory at the end.
                shared = shared.max(scale.room(chunk, F)).max(THREADS * 4 * C * 8);
                parts.push(Part {
                    blocks,
                    work: (scale.orders() * (scale.last - scale.first)) as f64 * (F * 40 + chosen.len() * 16 * C) as f64,
                    descriptor: format!("{}, {lists}_tiles, {partial}, {}, {blocks}", scale.descriptor(&lists, F, chunk, &mut tables), chosen.len()),
                    call: format!("frame::gram<{N}>"),
                });
            }
        }
    }
    let used = std::mem::take(&mut tables.used);
    let mut kernels = Vec::new();
    if !low_items.is_empty() {
        kernels.push(to_rings(&format!("{name}_rings"), element, &low_items, number)?);
        for (product, weights) in products.iter_mut().zip(ring_weights) {
            product.weights = Some(number(weights));
        }
        kernels.extend(contract::gram(&format!("{name}_low"), &products)?);
    }
    if !parts.is_empty() {
        kernels.push(launch(&format!("{name}_scans"), form("frame::Gram", constants, shared), parts, used)?);
    }
    let mut tables = Tables::new(number);
    let (directions, steering) = (tables.number(Table::FrameDirections { N }), tables.number(Table::Steering { N }));
    let mut first = vec![0];
    first.extend(item.outputs.iter().scan(0, |at, (_, len)| {
        *at += len;
        Some(*at)
    }));
    let forms = places.iter().map(|[partial, stride, low, parts, direction]| format!("{{{partial}, {stride}, {low}, {parts}, {direction}}}"));
    let constants = [
        list("frame::Form", &format!("{name}_forms"), forms),
        list("int", &format!("{name}_places"), &item.places),
        list("int", &format!("{name}_first_output"), first),
        list("long long", &format!("{name}_buffers"), item.outputs.iter().map(|(at, _)| at)),
    ];
    let part = Part {
        blocks: count.div_ceil(THREADS),
        work: count as f64,
        descriptor: format!(
            "{name}_forms, {name}_places, {name}_first_output, {name}_buffers, {count}, {}, {N}, {directions}, {steering}",
            item.outputs.len()
        ),
        call: "frame::finish".into(),
    };
    kernels.push(launch(&format!("{name}_finish"), form("frame::Finish", constants.concat(), 0), vec![part], tables.used)?);
    Ok((kernels, scratch.next - item.scratch))
}

/// One set of sources and targets of a scale.
struct Set {
    scale: Scale,
    sources: Vec<(usize, usize)>,
    targets: Vec<usize>,
    /// Place of the coefficients of the channels.
    weights: usize,
    /// Rings of the targets.
    rings: usize,
}

/// Mixtures: the launches, to run one after another, and how many numbers of scratch they use.
///
/// - `number`: the number that a table has in the plan
///
/// Error: sizes outside their domain, a term without its field or target. All coefficients of every target are written.
pub fn mix(name: &str, element: Element, item: &FrameMixItem, number: &mut dyn FnMut(Table) -> usize) -> Result<(Vec<Kernel>, usize), KernelError> {
    let (N, C) = (item.N, channels(item.N.max(1)));
    check_fields("fields", &item.fields)?;
    check_fields("targets", &item.targets)?;
    for term in &item.terms {
        check_below("scale", term.scale, item.scales.len())?;
        check_below("field", term.field, item.fields.len())?;
        check_below("target", term.target, item.targets.len())?;
        check_below("direction", term.direction, C)?;
    }
    let mut scratch = Scratch { next: item.scratch };
    let zeros: Vec<((usize, usize), f64)> = item.targets.iter().map(|(place, L)| ((*place, coefficients_len(*L)), 0.0)).collect();
    let mut kernels = vec![sparse::fills(&format!("{name}_zeros"), &zeros)?];
    let mut tables = Tables::new(&mut *number);
    let (directions, steering) = (tables.number(Table::FrameDirections { N }), tables.number(Table::Steering { N }));
    let (mut weight_parts, mut constants) = (Vec::new(), String::new());
    let (mut low_items, mut ring_parts) = (Vec::new(), Vec::new());
    let mut sets: Vec<Set> = Vec::new();
    for (s, j) in item.scales.iter().enumerate() {
        let scale = Scale::new(item.L, N, *j)?;
        let own: Vec<FrameTerm> = item.terms.iter().filter(|term| term.scale == s).copied().collect();
        for set in components(&own, |term| [(term.target as u64) << 1, (term.field as u64) << 1 | 1]) {
            let (all_sources, _) = compact(set.iter().map(|term| term.field as u32));
            for sources in all_sources.chunks(MOST_FIELDS) {
                let set: Vec<FrameTerm> = set.iter().filter(|term| sources.contains(&(term.field as u32))).copied().collect();
                let (targets, local_targets) = compact(set.iter().map(|term| term.target as u32));
                let (S, T) = (sources.len(), targets.len());
                let mut by_place: Vec<Vec<i64>> = vec![Vec::new(); S * T * C];
                for term in &set {
                    let source = sources.iter().position(|f| *f == term.field as u32).expect("chosen for it");
                    let target = local_targets[&(term.target as u32)] as usize;
                    by_place[(source * T + target) * C + term.direction].push(term.coefficient.map_or(-1, |place| place as i64));
                }
                let lists = format!("{name}_weights_{}", sets.len());
                let mut first = vec![0];
                first.extend(by_place.iter().scan(0, |at, places| {
                    *at += places.len();
                    Some(*at)
                }));
                constants += &list("int", &format!("{lists}_first"), first);
                constants += &list("long long", &format!("{lists}_coefficients"), by_place.iter().flatten());
                let weights = scratch.take(S * C * T);
                let low = scratch.take(S * N * N * T);
                let numbers = whole("terms", S * T * (C + N * N))? as usize;
                weight_parts.push(Part {
                    blocks: numbers.div_ceil(THREADS),
                    work: numbers as f64,
                    descriptor: format!("{lists}_first, {lists}_coefficients, {weights}, {low}, {S}, {T}, {N}, {directions}, {steering}"),
                    call: "frame::weights".into(),
                });
                let operands: Vec<(usize, usize)> = sources.iter().map(|f| item.fields[*f as usize]).collect();
                let mut rings = 0;
                if scale.low > 0 {
                    let from = scratch.take(S * N * scale.row_len());
                    rings = scratch.take(T * N * scale.row_len());
                    low_items.extend(scale.low_items(&operands, from, false));
                    let (K, chunks) = (scale.row_len(), scale.row_len().div_ceil(THREADS));
                    let weights = tables.number(Table::RingWeights { L: scale.L_j, orders: scale.low });
                    ring_parts.push(Part {
                        blocks: T * chunks,
                        work: (S * T * N * N * K) as f64,
                        descriptor: format!("{from}, {rings}, {low}, {S}, {T}, {K}, {chunks}, {weights}"),
                        call: format!("frame::mix_rings<{N}>"),
                    });
                }
                let targets = targets.into_iter().map(|t| t as usize).collect();
                sets.push(Set { scale, sources: operands, targets, weights, rings });
            }
        }
    }
    if sets.is_empty() {
        return Ok((kernels, 0));
    }
    let is_ring_weight = |table: &Table| matches!(table, Table::RingWeights { .. });
    let (low_tables, used) = std::mem::take(&mut tables.used).into_iter().partition(is_ring_weight);
    kernels.push(launch(&format!("{name}_weights"), form("frame::Weights", constants, 0), weight_parts, used)?);
    if !low_items.is_empty() {
        kernels.push(to_rings(&format!("{name}_rings"), element, &low_items, number)?);
        kernels.push(launch(&format!("{name}_low"), form("frame::Rings", String::new(), 0), ring_parts, low_tables)?);
    }
    // Sets that may write the same coefficients run one after another.
    let mut turns: Vec<Vec<&Set>> = Vec::new();
    for set in &sets {
        let meets = |other: &&Set| {
            let overlap = set.scale.first < other.scale.last && other.scale.first < set.scale.last;
            overlap && set.targets.iter().any(|t| other.targets.contains(t))
        };
        match turns.iter_mut().find(|turn| !turn.iter().any(meets)) {
            Some(turn) => turn.push(set),
            None => turns.push(vec![set]),
        }
    }
    for (turn, sets) in turns.iter().enumerate() {
        let targets_of = |set: &Set| set.targets.iter().map(|t| item.targets[*t]).collect::<Vec<_>>();
        let mut tables = Tables::new(&mut *number);
        let (mut parts, mut constants, mut shared) = (Vec::new(), String::new(), 0);
        for (i, set) in sets.iter().enumerate().filter(|(_, set)| set.scale.orders() > 0) {
            let (scale, F, targets) = (set.scale, set.sources.len(), targets_of(set));
            let lists = format!("{name}_{turn}_{i}");
            constants += &list("long long", &format!("{lists}_fields"), set.sources.iter().map(|f| f.0));
            constants += &list("int", &format!("{lists}_bandlimits"), set.sources.iter().map(|f| f.1));
            constants += &list("long long", &format!("{lists}_targets"), targets.iter().map(|t| t.0));
            constants += &list("int", &format!("{lists}_target_bandlimits"), targets.iter().map(|t| t.1));
            let chunk = scale.chunk(F)?;
            shared = shared.max(scale.room(chunk, F));
            parts.push(Part {
                blocks: scale.orders(),
                work: (scale.orders() * (scale.last - scale.first)) as f64 * (F * 40 + F * targets.len() * 4 * C) as f64,
                descriptor: format!(
                    "{}, {lists}_targets, {lists}_target_bandlimits, {}, {}",
                    scale.descriptor(&lists, F, chunk, &mut tables),
                    set.weights,
                    targets.len()
                ),
                call: format!("frame::mix<{N}>"),
            });
        }
        let used = std::mem::take(&mut tables.used);
        if !parts.is_empty() {
            kernels.push(launch(&format!("{name}_scans_{turn}"), form("frame::Mix", constants, shared), parts, used)?);
        }
        let low: Vec<LegendreItem> =
            sets.iter().filter(|set| set.scale.low > 0).flat_map(|set| set.scale.low_items(&targets_of(set), set.rings, true)).collect();
        if !low.is_empty() {
            kernels.push(to_coefficients(&format!("{name}_analysis_{turn}"), element, &low, number)?);
        }
    }
    Ok((kernels, scratch.next - item.scratch))
}
