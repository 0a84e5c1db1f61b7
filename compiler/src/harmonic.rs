//! The harmonic route: averages of products of wavelet transforms as bilinear forms of their coefficients, and sums arranged so that mixtures of them fuse.

use crate::fuse::{Row, axis_terms, sum_of_products};
use crate::simplify::{copy, factors, prune, push};
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::ops::LARGEST_FRAME;
use scatterc_ir::scalar::{self, Binary, Scalar};
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use std::collections::HashMap;

/// Wavelets of one scale: bandlimit, azimuthal bandlimit, scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scale {
    /// Bandlimit.
    pub L: usize,
    /// Azimuthal bandlimit.
    pub N: usize,
    /// Scale.
    pub j: usize,
}

/// One bilinear form x_a . Q_g x_b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The wavelets.
    pub scale: Scale,
    /// First field.
    pub a: Row,
    /// Second field.
    pub b: Row,
    /// Direction.
    pub g: usize,
}

/// The scale of a `frame_operator`.
pub fn scale_of(map: &Linear) -> Option<Scale> {
    match map {
        Linear::FrameOperator { L, N, j, .. } => Some(Scale { L: *L, N: *N, j: *j }),
        _ => None,
    }
}

/// A row that passed through a frame operator: the row below it and the direction.
pub fn through(graph: &Graph, row: Row) -> Option<(Row, Scale, usize)> {
    match graph.linear(row.0) {
        Some((map, false)) => {
            let scale = scale_of(map)?;
            let G = 2 * scale.N - 1;
            Some(((graph.node(row.0).operands[0], row.1 / G), scale, row.1 % G))
        }
        _ => None,
    }
}

/// A factor of a product of half spectra: the steered wavelet transform it reads and, outermost last, the axis maps in between.
struct Factor {
    wavelet: Value,
    scale: Scale,
    chain: Vec<Value>,
    /// For every element of the factor's axes the element of the steered transform's.
    elements: Vec<usize>,
}

fn factor(graph: &Graph, value: Value) -> Option<Factor> {
    let mut chain = Vec::new();
    let mut base = value;
    while let Some((Linear::Reindex { .. } | Linear::Reshape { .. }, false)) = graph.linear(base) {
        chain.push(base);
        base = graph.node(base).operands[0];
    }
    chain.reverse();
    // With one direction steering changes nothing and was removed.
    let (wavelet, directions) = match graph.linear(base) {
        Some((Linear::Steer { N }, false)) => (graph.node(base).operands[0], 2 * N - 1),
        _ => (base, 1),
    };
    let Some((Linear::WignerInverse { L, N, j, .. }, false)) = graph.linear(wavelet) else { return None };
    if 2 * N - 1 != directions || *N > LARGEST_FRAME {
        return None;
    }
    let mut elements: Vec<usize> = (0..graph.ty(base).count()).collect();
    for v in &chain {
        let (map, adjoint) = graph.linear(*v)?;
        let terms = axis_terms(map, adjoint, elements.len(), graph.ty(*v).count());
        elements = terms.iter().map(|t| elements[t[0].1]).collect();
    }
    Some(Factor { wavelet, scale: Scale { L: *L, N: *N, j: *j }, chain, elements })
}

/// Both factors of an average over rings, if they are wavelet transforms of one scale that meet in equal directions.
fn bilinear(graph: &Graph, value: Value) -> Option<(Factor, Factor)> {
    let Some((Linear::RingMean { .. }, false)) = graph.linear(value) else { return None };
    let (x, y) = factors(graph, graph.node(value).operands[0])?;
    let (x, y) = (factor(graph, x)?, factor(graph, y)?);
    let G = 2 * x.scale.N - 1;
    (x.scale == y.scale && x.elements.iter().zip(&y.elements).all(|(a, b)| a % G == b % G)).then_some((x, y))
}

/// ring_mean(W_g[x] W_g[y]) = x . Q_g y: the fields of the scale are never formed, only their coefficients are read.
///
/// Legality: both factors are steered wavelet transforms of one scale, read through axis maps alone, and meet in equal directions; the quadrature integrates products of
/// two such fields exactly. Profit: at least one of the two transforms serves such averages only, so that it disappears.
pub fn harmonic(graph: &Graph) -> Result<Graph, TypeError> {
    let whole = graph;
    // Dead readers would keep a transform alive.
    let graph = &prune(graph)?;
    let users = graph.users();
    let mut found: HashMap<Value, (Factor, Factor)> = HashMap::new();
    for value in graph.values() {
        if let Some(both) = bilinear(graph, value) {
            found.insert(value, both);
        }
    }
    if found.is_empty() {
        return Ok(whole.clone());
    }
    let outputs: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    // A value is pure when only such averages read it.
    let mut pure = vec![false; graph.nodes.len()];
    for value in graph.values().collect::<Vec<_>>().into_iter().rev() {
        let readers = &users[value.index()];
        pure[value.index()] = !outputs.contains(&value)
            && !readers.is_empty()
            && readers.iter().all(|r| {
                let axis = graph.linear(*r).is_some_and(|(map, _)| map.acts_on_axes());
                let product = factors(graph, *r).is_some() && !users[r.index()].is_empty() && users[r.index()].iter().all(|m| found.contains_key(m));
                product || axis && pure[r.index()]
            });
    }
    let mut b = Builder::new(&graph.name);
    let mut map: Vec<Value> = Vec::with_capacity(graph.nodes.len());
    for value in graph.values() {
        let operands: Vec<Value> = graph.node(value).operands.iter().map(|v| map[v.index()]).collect();
        let new = match found.get(&value) {
            Some((x, y)) if pure[x.wavelet.index()] || pure[y.wavelet.index()] => {
                // The transform that disappears goes through the operator.
                let (x, y) = if pure[y.wavelet.index()] { (x, y) } else { (y, x) };
                let coefficients = |f: &Factor| map[graph.node(f.wavelet).operands[0].index()];
                let (below_x, below_y) = (coefficients(x), coefficients(y));
                let bandlimit = |b: &Builder, v: Value| match b.ty(v).space {
                    Space::Coefficients { L } => L,
                    _ => 0,
                };
                let Scale { L, N, j } = x.scale;
                let (L_in, L_out) = (bandlimit(&b, below_y), bandlimit(&b, below_x));
                let operated = b.linear(Linear::FrameOperator { L_in, L_out, L, N, j }, below_y)?;
                let lead = b.ty(below_x).axes.clone();
                let to: Vec<usize> = lead.iter().copied().chain([2 * N - 1]).collect();
                let rows = (0..lead.len()).map(|k| (0..=to.len()).map(|t| i64::from(t == k)).collect()).collect();
                let spread = b.linear(Linear::Reindex { from: lead, to, map: rows }, below_x)?;
                let mut ends = Vec::with_capacity(2);
                for (start, f) in [(spread, x), (operated, y)] {
                    let mut end = start;
                    for v in &f.chain {
                        end = copy(&mut b, graph, *v, &[end])?;
                    }
                    ends.push(end);
                }
                let product = b.pointwise(scalar::binary(Binary::Multiply, Scalar::Argument(0), Scalar::Argument(1)), &ends)?;
                b.linear(Linear::CoefficientSum { L: L_out }, product)?
            }
            _ => copy(&mut b, graph, value, &operands)?,
        };
        map.push(new);
    }
    for output in &graph.outputs {
        b.output(&output.name, map[output.value.index()]);
    }
    Ok(b.finish())
}

/// An addend of a sum node: a value, or the product of two.
#[derive(Clone, Copy)]
enum Addend {
    Value(Value),
    Product(Value, Value),
}

/// The addends of a sum of values and products of two values.
fn addends(graph: &Graph, value: Value) -> Option<Vec<Addend>> {
    let node = graph.node(value);
    let Op::Pointwise(f @ Scalar::Binary(..)) = &node.op else { return None };
    let mut list = Vec::new();
    if !sum_of_products(f, &mut list) {
        return None;
    }
    let addend = |(i, k): (usize, Option<usize>)| match k {
        None => Addend::Value(node.operands[i]),
        Some(k) => Addend::Product(node.operands[i], node.operands[k]),
    };
    Some(list.into_iter().map(addend).collect())
}

/// True for addends that one mixture of operated rows can hold.
fn is_frame_part(graph: &Graph, addend: Addend, depth: usize) -> bool {
    let weight = |v: Value| matches!(graph.linear(v), Some((Linear::CoefficientSum { .. } | Linear::SpectralSum { .. }, true)));
    let mut value = match addend {
        Addend::Product(x, y) => return weight(x) || weight(y),
        Addend::Value(value) => value,
    };
    loop {
        match graph.linear(value) {
            Some((Linear::FrameOperator { .. } | Linear::SpectralFilter { .. }, true)) => return true,
            Some((Linear::Reindex { .. }, true)) | Some((Linear::Reshape { .. }, _)) => value = graph.node(value).operands[0],
            _ => break,
        }
    }
    depth < 8 && addends(graph, value).is_some_and(|parts| parts.iter().all(|part| is_frame_part(graph, *part, depth + 1)))
}

/// Long sums of coefficients and of half spectra are re-associated so that the parts of one mixture of frame operators, or of weighed spectra, stand together.
///
/// Legality: addition; a sum inside a sum is opened only where nothing else reads it.
pub fn regroup(graph: &Graph) -> Result<Graph, TypeError> {
    let users = graph.users();
    let outputs: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    let sum = |v: Value| {
        matches!(graph.node(v).ty.space, Space::Coefficients { .. } | Space::RealSpectrum { .. })
            && addends(graph, v).is_some_and(|parts| parts.len() > 1)
    };
    let inner = |v: Value| sum(v) && !outputs.contains(&v) && users[v.index()].len() == 1 && users[v.index()].iter().all(|r| sum(*r));
    let mut b = Builder::new(&graph.name);
    let mut map: Vec<Value> = Vec::with_capacity(graph.nodes.len());
    for value in graph.values() {
        let operands: Vec<Value> = graph.node(value).operands.iter().map(|v| map[v.index()]).collect();
        let mut new = None;
        if sum(value) && !inner(value) {
            let mut leaves = Vec::new();
            let mut stack = vec![Addend::Value(value)];
            while let Some(addend) = stack.pop() {
                match addend {
                    Addend::Value(v) if v == value || inner(v) => stack.extend(addends(graph, v).into_iter().flatten().rev()),
                    leaf => leaves.push(leaf),
                }
            }
            let (mixed, others): (Vec<Addend>, Vec<Addend>) = leaves.into_iter().partition(|leaf| is_frame_part(graph, *leaf, 0));
            if mixed.len() > 1 && !others.is_empty() {
                let (mixed, others) = (total(&mut b, &map, &mixed)?, total(&mut b, &map, &others)?);
                new = Some(b.pointwise(scalar::binary(Binary::Add, Scalar::Argument(0), Scalar::Argument(1)), &[mixed, others])?);
            }
        }
        map.push(match new {
            Some(new) => new,
            None => copy(&mut b, graph, value, &operands)?,
        });
    }
    for output in &graph.outputs {
        b.output(&output.name, map[output.value.index()]);
    }
    Ok(b.finish())
}

/// One node that adds up.
fn total(b: &mut Builder, map: &[Value], addends: &[Addend]) -> Result<Value, TypeError> {
    let mut operands: Vec<Value> = Vec::new();
    let mut argument = |v: Value| push(&mut operands, map[v.index()]);
    let parts: Vec<Scalar> = addends
        .iter()
        .map(|addend| match addend {
            Addend::Value(v) => argument(*v),
            Addend::Product(x, y) => scalar::binary(Binary::Multiply, argument(*x), argument(*y)),
        })
        .collect();
    match parts.into_iter().reduce(|x, y| scalar::binary(Binary::Add, x, y)) {
        Some(Scalar::Argument(_)) => Ok(operands[0]),
        Some(sum) => b.pointwise(sum, &operands),
        None => b.add(Op::Constant(0.0), &[], None),
    }
}
