//! Launches of weighted bilinear sums and mixtures of rows.

use super::{Element, Family, Form, Kernel, Part, launch, list, whole};
use crate::KernelError;
use std::collections::BTreeMap;

/// Threads of a block.
const THREADS: usize = 256;
/// Most bytes of shared memory.
const MOST_SHARED: usize = 200 << 10;
/// Elements of a chunk of a contraction and of a mixture.
const CHUNKS: [usize; 2] = [4096, 1024];

/// `out[k] = sum_e w[e] rows[a_k][e] rows[b_k][e]`, as the step `gram` of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GramItem {
    /// Number of the table of weights, `row_len` f64; none: ones.
    pub weights: Option<usize>,
    /// Numbers of a row.
    pub row_len: usize,
    /// First numbers of rows.
    pub rows: Vec<usize>,
    /// Pairs of rows.
    pub pairs: Vec<(usize, usize)>,
    /// For every output number, which pair it is.
    pub places: Vec<usize>,
    /// Output buffers, (first number, length), filled one after another from `places`.
    pub outputs: Vec<(usize, usize)>,
    /// First of [`gram_scratch`] numbers.
    pub scratch: usize,
}

/// `out_r[e] = w[e] sum_t coefficient_t rows[row_t][e]`, as the step `mix` of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixItem {
    /// Number of the table of weights, `row_len` f64; none: ones.
    pub weights: Option<usize>,
    /// Numbers of a row.
    pub row_len: usize,
    /// First numbers of outputs, and their terms: first number of a row, place of its coefficient.
    pub outputs: Vec<(usize, Vec<(usize, usize)>)>,
}

/// Tiles of four rows and four rows that hold all pairs: per tile its rows, per pair its tile and product.
fn tiles(pairs: &[(usize, usize)]) -> (Vec<[usize; 8]>, Vec<usize>) {
    // Rows by number: pairs of a statistic are dense in blocks.
    let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut tiles = Vec::new();
    let mut places = Vec::new();
    let largest = pairs.iter().map(|(a, b)| *a.max(b)).max().unwrap_or(0);
    for (a, b) in pairs {
        let (a, b) = (*a.min(b), *a.max(b));
        let key = (a / 4, b / 4);
        let tile = *known.entry(key).or_insert_with(|| {
            // Rows beyond the last repeat it; their products are not read.
            tiles.push(std::array::from_fn(|i| (4 * if i < 4 { key.0 } else { key.1 } + i % 4).min(largest)));
            tiles.len() - 1
        });
        places.push(16 * tile + 4 * (a % 4) + b % 4);
    }
    (tiles, places)
}

/// Numbers of scratch of a [`GramItem`]: partial sums.
pub fn gram_scratch(row_len: usize, pairs: &[(usize, usize)]) -> usize {
    16 * tiles(pairs).0.len() * row_len.div_ceil(CHUNKS[0])
}

/// Two launches of bilinear sums, to run one after the other: partial sums of chunks, then their sums in order.
///
/// Error: an empty list, a pair or place without its row or pair.
pub fn gram(name: &str, items: &[GramItem]) -> Result<[Kernel; 2], KernelError> {
    let (mut sums, mut spreads) = (Vec::new(), Vec::new());
    let (mut constants, mut spread_constants) = (String::new(), String::new());
    for (i, item) in items.iter().enumerate() {
        if let Some((a, b)) = item.pairs.iter().find(|(a, b)| *a.max(b) >= item.rows.len()) {
            return Err(KernelError::parameter("pairs", format!("below {}", item.rows.len()), format!("{a}, {b}")));
        }
        if let Some(place) = item.places.iter().find(|place| **place >= item.pairs.len()) {
            return Err(KernelError::parameter("places", format!("below {}", item.pairs.len()), place));
        }
        let count: usize = item.outputs.iter().map(|(_, len)| len).sum();
        if count != item.places.len() {
            return Err(KernelError::parameter("places", format!("{count} of them, as the outputs"), item.places.len()));
        }
        let (tiles, places) = tiles(&item.pairs);
        let chunks = item.row_len.div_ceil(CHUNKS[0]);
        constants += &list("long long", &format!("{name}_rows_{i}"), &item.rows);
        constants += &list("int", &format!("{name}_tiles_{i}"), tiles.iter().flatten());
        let weights = item.weights.map_or("-1".into(), |w| w.to_string());
        sums.push(Part {
            blocks: whole("blocks", tiles.len() * chunks)? as usize,
            work: (tiles.len() * item.row_len) as f64,
            descriptor: format!("{name}_rows_{i}, {name}_tiles_{i}, {}, {}, {}, {chunks}, {weights}", item.row_len, item.scratch, CHUNKS[0]),
            call: "contract::gram".into(),
        });
        let mut first = vec![0];
        first.extend(item.outputs.iter().scan(0, |at, (_, len)| {
            *at += len;
            Some(*at)
        }));
        spread_constants += &list("int", &format!("{name}_first_output_{i}"), &first);
        spread_constants += &list("long long", &format!("{name}_buffers_{i}"), item.outputs.iter().map(|(at, _)| at));
        spread_constants += &list("int", &format!("{name}_places_{i}"), item.places.iter().map(|place| places[*place]));
        spreads.push(Part {
            blocks: count.div_ceil(THREADS),
            work: (count * chunks) as f64,
            descriptor: format!(
                "{name}_first_output_{i}, {name}_buffers_{i}, {name}_places_{i}, {}, {count}, {}, {chunks}",
                item.scratch,
                item.outputs.len()
            ),
            call: "contract::spread".into(),
        });
    }
    let shared = 16 * THREADS / 32 * 8;
    let form = |item, constants, shared| Form { family: Family::Contract, item, constants, block: THREADS, shared };
    Ok([
        launch(&format!("{name}_sums"), form("contract::Gram", constants, shared), sums, vec![])?,
        launch(&format!("{name}_spread"), form("contract::Spread", spread_constants, 0), spreads, vec![])?,
    ])
}

/// One launch of mixtures.
///
/// Error: an empty list, more rows of one output than fit in shared memory.
pub fn mix(name: &str, element: Element, items: &[MixItem]) -> Result<Kernel, KernelError> {
    let mut parts = Vec::new();
    let (mut constants, mut most) = (String::new(), 0);
    for (i, item) in items.iter().enumerate() {
        let by_row = |terms: &[(usize, usize)]| {
            let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            terms.iter().for_each(|(row, coefficient)| rows.entry(*row).or_default().push(*coefficient));
            rows
        };
        let outputs: Vec<(usize, BTreeMap<usize, Vec<usize>>)> = item.outputs.iter().map(|(at, terms)| (*at, by_row(terms))).collect();
        let (mut targets, mut terms, mut coefficients) = (Vec::new(), Vec::new(), Vec::<usize>::new());
        let mut rest = &outputs[..];
        while let Some((_, rows)) = rest.first() {
            // Neighbours that read the same rows share their loads.
            let count = rest.iter().take(4).take_while(|(_, other)| rows.keys().eq(other.keys())).count();
            let (group, tail) = rest.split_at(count);
            rest = tail;
            let first = terms.len();
            for row in rows.keys() {
                let mut bounds = [coefficients.len(); 5];
                for (o, (_, rows)) in group.iter().enumerate() {
                    coefficients.extend(&rows[row]);
                    bounds[o + 1..].fill(coefficients.len());
                }
                let bounds: Vec<String> = bounds.iter().map(usize::to_string).collect();
                terms.push(format!("{{{row}, {{{}}}}}", bounds.join(", ")));
            }
            most = most.max(rows.len());
            let places: Vec<String> = (0..4).map(|o| group.get(o).map_or(0, |(at, _)| *at).to_string()).collect();
            targets.push(format!("{{{{{}}}, {count}, {first}, {}}}", places.join(", "), terms.len()));
        }
        let chunks = item.row_len.div_ceil(CHUNKS[1]);
        let (blocks, work) = (targets.len() * chunks, ((terms.len() + item.outputs.len()) * item.row_len) as f64);
        // An empty list still needs a value of its type.
        terms.extend(terms.is_empty().then(|| "{0, {0, 0, 0, 0, 0}}".to_string()));
        constants += &list("contract::Target", &format!("{name}_targets_{i}"), targets);
        constants += &list("contract::Term", &format!("{name}_terms_{i}"), terms);
        constants += &list("long long", &format!("{name}_coefficients_{i}"), coefficients);
        let weights = item.weights.map_or("-1".into(), |w| w.to_string());
        parts.push(Part {
            blocks: whole("blocks", blocks)? as usize,
            work,
            descriptor: format!(
                "{name}_targets_{i}, {name}_terms_{i}, {name}_coefficients_{i}, {}, {}, {chunks}, {weights}",
                item.row_len, CHUNKS[1]
            ),
            call: "contract::mix".into(),
        });
    }
    let shared = 4 * most * element.size_bytes();
    if shared > MOST_SHARED {
        return Err(KernelError::parameter("terms", format!("at most {} rows of one output", MOST_SHARED / (4 * element.size_bytes())), most));
    }
    let form = Form { family: Family::Contract, item: "contract::Mix", constants, block: THREADS, shared };
    launch(name, form, parts, vec![])
}
