//! Averages of sums of products, taken apart so that each product is a row of a Gram matrix.

use crate::simplify::rewrite;
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::ops::pointwise;
use scatterc_ir::scalar::{self, Binary, Scalar, Unary};
use scatterc_ir::{Graph, Linear, Op, Space, Value};

/// A product of values and a factor.
type Monomial = (f64, Vec<Value>);

/// Most products one average is taken apart into.
const MOST_TERMS: usize = 4;
/// Most factors of a product: two rows, and a weight that they share.
const MOST_FACTORS: usize = 3;
/// Nodes below one another that are multiplied out.
const DEEPEST: usize = 8;

/// mean(a c + b d) of broadcast fields = mean(a c) + mean(b d), each of which is then a contraction; mean(w (a c + b d)) = mean((w a) c) + mean((w b) d) for a weight w without
/// axes, such as a mask, where w a is formed before a is broadcast.
///
/// Legality: averages are linear. Profit: products of broadcast fields are never formed.
pub fn products(graph: &Graph) -> Result<Graph, TypeError> {
    // Elsewhere averages of images are Gram matrices of spectra.
    let stencils = graph.nodes.iter().any(|node| matches!(node.op, Op::Linear { map: Linear::ImageStencil { .. }, .. }));
    rewrite(graph, |b, value, operands| {
        // A sign passes a broadcast, so that it ends among the numbers and not in a field of its own.
        if let Some((map @ (Linear::Reindex { .. } | Linear::Reshape { .. }), false)) = graph.linear(value)
            && (matches!(graph.node(value).ty.space, Space::Pixels { .. }) || stencils && matches!(graph.node(value).ty.space, Space::Image { .. }))
            && b.graph().node(operands[0]).op == Op::Pointwise(row("neg"))
        {
            let inner = b.graph().node(operands[0]).operands[0];
            let moved = b.linear(map.clone(), inner)?;
            return Ok(Some(b.pointwise(row("neg"), &[moved])?));
        }
        let map = match graph.linear(value) {
            Some((map @ Linear::PixelMean { .. }, false)) => map,
            Some((map @ Linear::Average { .. }, false)) if stencils => map,
            _ => return Ok(None),
        };
        // Through the operands where that leaves few factors, else with the operands as they stand.
        let mut found = None;
        for depth in [0, DEEPEST] {
            if let Some(terms) = expanded(b.graph(), operands[0], depth) {
                found = pairs(b, terms)?;
            }
            if found.is_some() {
                break;
            }
        }
        let Some(pairs) = found else { return Ok(None) };
        let mut sum = Scalar::Constant(0.0);
        let mut means = Vec::new();
        for (factor, (x, y)) in pairs {
            let product = b.pointwise(row("mul"), &[x, y])?;
            let mean = b.linear(map.clone(), product)?;
            let argument = Scalar::Argument(means.len());
            means.push(mean);
            sum = match (means.len(), factor) {
                (1, 1.0) => argument,
                (_, 1.0) => scalar::binary(Binary::Add, sum, argument),
                (_, -1.0) => scalar::binary(Binary::Subtract, sum, argument),
                (_, factor) => scalar::binary(Binary::Add, sum, scalar::binary(Binary::Multiply, Scalar::Constant(factor), argument)),
            };
        }
        Ok(Some(b.pointwise(sum, &means)?))
    })
}

/// Rows to be multiplied; `None` where they are found without help, or where nothing is broadcast.
fn pairs(b: &mut Builder, terms: Vec<Monomial>) -> Result<Option<Vec<(f64, (Value, Value))>>, TypeError> {
    let plain = terms.len() == 1 && terms[0].0 == 1.0 && terms[0].1.len() == 2;
    if plain || !terms.iter().any(|(_, factors)| factors.iter().any(|v| is_broadcast(b.graph(), *v))) {
        return Ok(None);
    }
    let mut pairs = Vec::new();
    for (factor, values) in terms {
        match rows(b, &values)? {
            Some(pair) => pairs.push((factor, pair)),
            None => return Ok(None),
        }
    }
    Ok(Some(pairs))
}

fn row(name: &str) -> Scalar {
    pointwise(name).expect("the row exists in the op table").expression.clone()
}

/// True for values that repeat what they read along an axis.
fn is_broadcast(graph: &Graph, mut value: Value) -> bool {
    while let Some((map @ (Linear::Reindex { .. } | Linear::Reshape { .. }), false)) = graph.linear(value) {
        if let Linear::Reindex { from, to, .. } = map
            && to.iter().product::<usize>() > from.iter().product()
        {
            return true;
        }
        value = graph.node(value).operands[0];
    }
    false
}

/// A polynomial of few terms as its monomials; values that are none are factors as they stand.
fn expanded(graph: &Graph, value: Value, depth: usize) -> Option<Vec<Monomial>> {
    let node = graph.node(value);
    match &node.op {
        Op::Pointwise(f) if depth <= DEEPEST && is_polynomial(f) => polynomial(graph, f, &node.operands, depth),
        _ => Some(vec![(1.0, vec![value])]),
    }
}

fn is_polynomial(f: &Scalar) -> bool {
    match f {
        Scalar::Argument(_) | Scalar::Constant(_) => true,
        Scalar::Unary(Unary::Negate, a) => is_polynomial(a),
        Scalar::Unary(..) => false,
        Scalar::Binary(Binary::Add | Binary::Subtract | Binary::Multiply, a, b) => is_polynomial(a) && is_polynomial(b),
        Scalar::Binary(..) => false,
    }
}

fn polynomial(graph: &Graph, f: &Scalar, operands: &[Value], depth: usize) -> Option<Vec<Monomial>> {
    let terms = match f {
        Scalar::Argument(k) => expanded(graph, operands[*k], depth + 1)?,
        Scalar::Constant(x) => vec![(*x, vec![])],
        Scalar::Unary(_, a) => polynomial(graph, a, operands, depth)?.into_iter().map(|(x, v)| (-x, v)).collect(),
        Scalar::Binary(op, a, b) => {
            let (a, b) = (polynomial(graph, a, operands, depth)?, polynomial(graph, b, operands, depth)?);
            match op {
                Binary::Multiply => {
                    a.iter().flat_map(|(x, v)| b.iter().map(move |(y, w)| (x * y, v.iter().chain(w).copied().collect::<Vec<_>>()))).collect()
                }
                _ => {
                    let sign = if *op == Binary::Subtract { -1.0 } else { 1.0 };
                    a.into_iter().chain(b.into_iter().map(|(y, w)| (sign * y, w))).collect()
                }
            }
        }
    };
    (terms.len() <= MOST_TERMS && terms.iter().all(|(_, v)| v.len() <= MOST_FACTORS)).then_some(terms)
}

/// Two rows whose product is that of the values; a weight that all axes share goes into the smaller one before it is broadcast.
fn rows(b: &mut Builder, values: &[Value]) -> Result<Option<(Value, Value)>, TypeError> {
    if let [x, y] = values {
        return Ok(Some((*x, *y)));
    }
    // Every entry of the result reads the same number of the operand.
    let place = |v: &Value| match b.graph().linear(*v) {
        Some((Linear::Reindex { from, map, .. }, false)) if map.iter().all(|row| row[..row.len() - 1].iter().all(|x| *x == 0)) => {
            Some((from.clone(), map.iter().map(|row| vec![row[row.len() - 1]]).collect::<Vec<_>>()))
        }
        _ => None,
    };
    let weight = values.iter().enumerate().find_map(|(k, v)| Some((k, place(v)?)));
    let (Some((weight, (from, map))), 3) = (weight, values.len()) else { return Ok(None) };
    let mut shared = b.graph().node(values[weight]).operands[0];
    if !from.is_empty() {
        shared = b.linear(Linear::Reindex { from, to: vec![], map }, shared)?;
    }
    let mut others: Vec<Value> = values.iter().enumerate().filter(|(k, _)| *k != weight).map(|(_, v)| *v).collect();
    let base = |graph: &Graph, mut value: Value| {
        let mut chain = Vec::new();
        while let Some((map @ (Linear::Reindex { .. } | Linear::Reshape { .. }), false)) = graph.linear(value) {
            chain.push(map.clone());
            value = graph.node(value).operands[0];
        }
        (value, chain)
    };
    others.sort_by_key(|v| b.ty(base(b.graph(), *v).0).count());
    let (mut value, chain) = base(b.graph(), others[0]);
    let (own, axes) = (b.ty(shared).axes.clone(), b.ty(value).axes.clone());
    if !axes.starts_with(&own) {
        return Ok(None);
    }
    let repeated =
        if axes == own { shared } else { b.linear(Linear::Reindex { from: vec![], to: axes[own.len()..].to_vec(), map: vec![] }, shared)? };
    value = b.pointwise(row("mul"), &[repeated, value])?;
    for map in chain.into_iter().rev() {
        value = b.linear(map, value)?;
    }
    Ok(Some((value, others[1])))
}
