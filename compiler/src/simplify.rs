//! Rewrites that keep all values: sharing, pruning, composition, Parseval, band limits.

use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::scalar::{Binary, Scalar};
use scatterc_ir::types::scale_bandlimit;
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use std::collections::HashMap;

/// Rebuilds a graph node by node; `f` gets the new operands and may return any value. Equal nodes merge on the way.
pub(crate) fn rewrite(
    graph: &Graph,
    mut f: impl FnMut(&mut Builder, Value, &[Value]) -> Result<Option<Value>, TypeError>,
) -> Result<Graph, TypeError> {
    let mut b = Builder::new(&graph.name);
    let mut map: Vec<Value> = Vec::with_capacity(graph.nodes.len());
    for value in graph.values() {
        let node = graph.node(value);
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
        let new = match f(&mut b, value, &operands)? {
            Some(new) => new,
            None => copy(&mut b, graph, value, &operands)?,
        };
        map.push(new);
    }
    for output in &graph.outputs {
        b.output(&output.name, map[output.value.index()]);
    }
    Ok(b.finish())
}

/// The same node on new operands.
pub(crate) fn copy(b: &mut Builder, graph: &Graph, value: Value, operands: &[Value]) -> Result<Value, TypeError> {
    let node = graph.node(value);
    match &node.op {
        Op::Input(_) | Op::Parameter(_) => b.add(node.op.clone(), &[], Some(node.ty.clone())),
        op => b.add(op.clone(), operands, None),
    }
}

/// Equal nodes are computed once.
///
/// ```
/// use scatterc_compiler::simplify::share;
/// # use scatterc_ir::{graph::TypeError, text::parse};
/// # let graph = |body: &str| parse(&format!("graph g {{\n{body}\n}}\n")).expect("a graph");
///
/// let twice = graph("%0 = input x : [3] point\n%1 = abs(%0) : [3] point\n%2 = abs(%0) : [3] point\n%3 = mul(%1, %2) : [3] point\nreturn y = %3");
/// assert_eq!(share(&twice)?.nodes.len(), 3);
/// # Ok::<(), TypeError>(())
/// ```
pub fn share(graph: &Graph) -> Result<Graph, TypeError> {
    rewrite(graph, |_, _, _| Ok(None))
}

/// Drops nodes that no output needs. Inputs and parameters stay, so that the caller's side does not change.
///
/// ```
/// use scatterc_compiler::simplify::prune;
/// # use scatterc_ir::{graph::TypeError, text::parse};
/// # let graph = |body: &str| parse(&format!("graph g {{\n{body}\n}}\n")).expect("a graph");
///
/// let idle = graph("%0 = input x : [3] point\n%1 = parameter P : [3] point\n%2 = exp(%0) : [3] point\nreturn y = %0");
/// // The parameter stays.
/// assert_eq!(prune(&idle)?.nodes.len(), 2);
/// # Ok::<(), TypeError>(())
/// ```
pub fn prune(graph: &Graph) -> Result<Graph, TypeError> {
    let mut live = vec![false; graph.nodes.len()];
    for output in &graph.outputs {
        live[output.value.index()] = true;
    }
    for k in (0..graph.nodes.len()).rev() {
        if matches!(graph.nodes[k].op, Op::Input(_) | Op::Parameter(_)) {
            live[k] = true;
        }
        if live[k] {
            for operand in &graph.nodes[k].operands {
                live[operand.index()] = true;
            }
        }
    }
    let mut b = Builder::new(&graph.name);
    let mut map: HashMap<Value, Value> = HashMap::new();
    for value in graph.values().filter(|v| live[v.index()]) {
        let operands: Vec<Value> = graph.node(value).operands.iter().map(|v| map[v]).collect();
        map.insert(value, copy(&mut b, graph, value, &operands)?);
    }
    for output in &graph.outputs {
        b.output(&output.name, map[&output.value]);
    }
    Ok(b.finish())
}

/// True for a linear map that changes nothing.
fn is_identity(map: &Linear) -> bool {
    match map {
        Linear::Scale { by } => *by == 1.0,
        Linear::Reshape { from, to } => from == to,
        Linear::Slice { n, start, length } => *start == 0 && length == n,
        Linear::Gather { n, table } => table.len() == *n && table.iter().enumerate().all(|(k, t)| k == *t),
        Linear::Reindex { from, to, map } => {
            from == to && map.iter().enumerate().all(|(k, row)| row.iter().enumerate().all(|(t, c)| *c == i64::from(t == k)))
        }
        Linear::Steer { N } => *N == 1,
        _ => false,
    }
}

/// Composes pointwise functions where that costs nothing twice, merges neighbouring scalings, removes maps that do nothing.
///
/// A pointwise operand is inlined when it has one reader, or when the composition is no dearer than the reader alone (|z|^2 = z^2).
///
/// ```
/// use scatterc_compiler::simplify::{fold, prune};
/// # use scatterc_ir::{graph::TypeError, text::parse};
/// # let graph = |body: &str| parse(&format!("graph g {{\n{body}\n}}\n")).expect("a graph");
///
/// let powers = graph("%0 = input x : [3] point\n%1 = abs(%0) : [3] point\n%2 = square(%1) : [3] point\nreturn y = %2");
/// assert!(prune(&fold(&powers)?)?.to_string().contains("%1 = square(%0)"));
/// # Ok::<(), TypeError>(())
/// ```
pub fn fold(graph: &Graph) -> Result<Graph, TypeError> {
    let users = graph.users();
    let outputs: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    let mut readers: HashMap<Value, usize> = HashMap::new();
    rewrite(graph, |b, value, operands| {
        let node = graph.node(value);
        let result = match &node.op {
            Op::Linear { map, .. } if is_identity(map) => Some(operands[0]),
            Op::Linear { map: Linear::Scale { by }, .. } => match b.graph().linear(operands[0]) {
                Some((Linear::Scale { by: inner }, _)) => {
                    let (by, operand) = (by * inner, b.graph().node(operands[0]).operands[0]);
                    Some(if by == 1.0 { operand } else { b.linear(Linear::Scale { by }, operand)? })
                }
                _ => None,
            },
            Op::Pointwise(f) => {
                let mut all: Vec<Value> = Vec::new();
                let mut arguments = Vec::new();
                for operand in operands {
                    let inner = b.graph().node(*operand).clone();
                    let single = readers.get(operand).copied().unwrap_or(0) <= 1;
                    let Op::Pointwise(g) = &inner.op else {
                        arguments.push(push(&mut all, *operand));
                        continue;
                    };
                    let renamed: Vec<Scalar> = inner.operands.iter().map(|v| push(&mut all, *v)).collect();
                    let composed = g.substitute(&renamed);
                    // Inline alone, the others opaque, to see what this one costs.
                    let trial: Vec<Scalar> =
                        operands.iter().enumerate().map(|(k, o)| if o == operand { composed.clone() } else { Scalar::Argument(100 + k) }).collect();
                    if single && g.cost() + f.cost() <= 24 || f.substitute(&trial).cost() <= f.cost() {
                        arguments.push(composed);
                    } else {
                        arguments.push(push(&mut all, *operand));
                    }
                }
                Some(b.pointwise(f.substitute(&arguments), &all)?)
            }
            _ => None,
        };
        let new = match result {
            Some(new) => new,
            None => copy(b, graph, value, operands)?,
        };
        let count = users[value.index()].len() + outputs.iter().filter(|o| **o == value).count();
        *readers.entry(new).or_insert(0) += count;
        Ok(Some(new))
    })
}

/// The argument that stands for a value among `all`, which gets it if it is new.
pub(crate) fn push(all: &mut Vec<Value>, value: Value) -> Scalar {
    let position = all.iter().position(|v| *v == value).unwrap_or_else(|| {
        all.push(value);
        all.len() - 1
    });
    Scalar::Argument(position)
}

/// Follows maps that act on axes alone down to their source.
fn through_axes(graph: &Graph, mut value: Value) -> Value {
    while let Some((map, _)) = graph.linear(value)
        && map.acts_on_axes()
    {
        value = graph.node(value).operands[0];
    }
    value
}

/// The two factors of a product node.
pub(crate) fn factors(graph: &Graph, value: Value) -> Option<(Value, Value)> {
    let node = graph.node(value);
    match &node.op {
        Op::Pointwise(Scalar::Binary(Binary::Multiply, a, b)) => match (&**a, &**b) {
            (Scalar::Argument(i), Scalar::Argument(k)) => Some((node.operands[*i], node.operands[*k])),
            _ => None,
        },
        _ => None,
    }
}

/// mean(x y) of two synthesised fields = ring_mean of the product of their half spectra (Parseval in phi; exact because |m| <= L - 1 on 2L - 1 samples).
///
/// Legality: both factors are maps acting on axes alone, applied to `ring_inverse` of equal L and M. Profit: at least one factor is needed for such products only,
/// so that its ring transform disappears.
///
/// ```
/// use scatterc_compiler::simplify::parseval;
/// # use scatterc_ir::{graph::TypeError, text::parse};
/// # let graph = |body: &str| parse(&format!("graph g {{\n{body}\n}}\n")).expect("a graph");
///
/// let power = graph(
///     "%0 = input x : [] rings(8,8)
///      %1 = ring_inverse(%0) {L=8, M=8} : [] map(8)
///      %2 = square(%1) : [] map(8)
///      %3 = mean(%2) {L=8} : [] point
///      return S = %3",
/// );
/// assert!(parseval(&power)?.to_string().contains("ring_mean"));
/// # Ok::<(), TypeError>(())
/// ```
pub fn parseval(graph: &Graph) -> Result<Graph, TypeError> {
    let users = graph.users();
    let outputs: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    let source = |value: Value| {
        let source = through_axes(graph, value);
        match graph.linear(source) {
            Some((Linear::RingInverse { L, M }, false)) => Some((source, *L, *M)),
            _ => None,
        }
    };
    let mut candidate = vec![false; graph.nodes.len()];
    for value in graph.values() {
        if let Some((Linear::Mean { .. }, false)) = graph.linear(value)
            && let Some((x, y)) = factors(graph, graph.node(value).operands[0])
            && let (Some((_, L1, M1)), Some((_, L2, M2))) = (source(x), source(y))
            && (L1, M1) == (L2, M2)
        {
            candidate[value.index()] = true;
        }
    }
    // A value is pure when only such products read it.
    let mut pure = vec![false; graph.nodes.len()];
    for value in graph.values().collect::<Vec<_>>().into_iter().rev() {
        let readers = &users[value.index()];
        pure[value.index()] = !outputs.contains(&value)
            && !readers.is_empty()
            && readers.iter().all(|r| {
                let axis = graph.linear(*r).is_some_and(|(map, _)| map.acts_on_axes());
                let product = factors(graph, *r).is_some() && users[r.index()].iter().all(|m| candidate[m.index()]) && !users[r.index()].is_empty();
                product || axis && pure[r.index()]
            });
    }
    rewrite(graph, |b, value, _| {
        if !candidate[value.index()] {
            return Ok(None);
        }
        let Some((x, y)) = factors(graph, graph.node(value).operands[0]) else { return Ok(None) };
        let (Some((sx, L, M)), Some((sy, _, _))) = (source(x), source(y)) else { return Ok(None) };
        if !(pure[sx.index()] || pure[sy.index()]) {
            return Ok(None);
        }
        let mut done: HashMap<Value, Value> = HashMap::new();
        let (x, y) = (on_rings(b, graph, x, &mut done)?, on_rings(b, graph, y, &mut done)?);
        let product = b.pointwise(Scalar::Binary(Binary::Multiply, Box::new(Scalar::Argument(0)), Box::new(Scalar::Argument(1))), &[x, y])?;
        Ok(Some(b.linear(Linear::RingMean { L, M }, product)?))
    })
}

/// Rebuilds a chain of axis maps on the half spectra below its `ring_inverse`. Nodes below were already rebuilt, so they are found by sharing.
fn on_rings(b: &mut Builder, graph: &Graph, value: Value, done: &mut HashMap<Value, Value>) -> Result<Value, TypeError> {
    if let Some((Linear::RingInverse { .. }, false)) = graph.linear(value) {
        return rebuild(b, graph, graph.node(value).operands[0], done);
    }
    let inner = on_rings(b, graph, graph.node(value).operands[0], done)?;
    copy(b, graph, value, &[inner])
}

fn rebuild(b: &mut Builder, graph: &Graph, value: Value, done: &mut HashMap<Value, Value>) -> Result<Value, TypeError> {
    if let Some(new) = done.get(&value) {
        return Ok(*new);
    }
    // Operands precede users, so an explicit stack in index order needs no recursion.
    let mut needed = vec![value];
    let mut k = 0;
    while k < needed.len() {
        needed.extend(graph.node(needed[k]).operands.iter().filter(|v| !done.contains_key(v)).copied());
        k += 1;
    }
    needed.sort_unstable();
    needed.dedup();
    for v in needed {
        let operands: Vec<Value> = graph.node(v).operands.iter().map(|o| done[o]).collect();
        let new = copy(b, graph, v, &operands)?;
        done.insert(v, new);
    }
    Ok(done[&value])
}

/// Degrees a reader of coefficients uses.
fn degrees_read(map: &Linear) -> Option<usize> {
    match map {
        Linear::WignerInverse { L_in, L, j, .. } | Linear::ScalingInverse { L_in, L, j } => Some((*L_in).min(scale_bandlimit(*L, *j))),
        Linear::HarmonicInverse { L_in, L } => Some((*L_in).min(*L)),
        _ => None,
    }
}

/// `harmonic_forward` computes only the degrees and orders that its readers use, `ring_forward` only those orders. All readers must be syntheses.
///
/// ```
/// use scatterc_compiler::simplify::bandlimit;
/// # use scatterc_ir::{graph::TypeError, text::parse};
/// # let graph = |body: &str| parse(&format!("graph g {{\n{body}\n}}\n")).expect("a graph");
///
/// // Degrees from 4 on are made and never read.
/// let rough = graph(
///     "%0 = input x : [] rings(8,8)
///      %1 = harmonic_forward(%0) {L=8, M=8, L_out=8} : [] coefficients(8)
///      %2 = scaling_inverse(%1) {L_in=8, L=8, j=1} : [] rings(4,4)
///      return y = %2",
/// );
/// assert!(bandlimit(&rough)?.to_string().contains("L_out=4"));
/// # Ok::<(), TypeError>(())
/// ```
pub fn bandlimit(graph: &Graph) -> Result<Graph, TypeError> {
    let users = graph.users();
    let needed = |value: Value| -> Option<usize> {
        let readers = &users[value.index()];
        if readers.is_empty() || graph.outputs.iter().any(|o| o.value == value) {
            return None;
        }
        readers.iter().try_fold(1, |most, r| match graph.linear(*r) {
            Some((map, false)) => degrees_read(map).map(|n| n.max(most)),
            _ => None,
        })
    };
    // Orders wanted of every ring_forward: the largest of its readers.
    let mut orders: HashMap<Value, usize> = HashMap::new();
    for value in graph.values() {
        if let Some((Linear::RingForward { M, .. }, false)) = graph.linear(value) {
            let most = users[value.index()].iter().map(|r| match graph.linear(*r) {
                Some((Linear::HarmonicForward { L_out, M, .. }, false)) => needed(*r).unwrap_or(*L_out).min(*M),
                _ => *M,
            });
            let output = graph.outputs.iter().any(|o| o.value == value);
            orders.insert(value, if output { *M } else { most.max().unwrap_or(*M) });
        }
    }
    rewrite(graph, |b, value, operands| match graph.linear(value) {
        Some((Linear::RingForward { L, .. }, false)) => Ok(Some(b.linear(Linear::RingForward { L: *L, M: orders[&value] }, operands[0])?)),
        Some((Linear::HarmonicForward { L, L_out, .. }, false)) => {
            let Space::Rings { M, .. } = b.ty(operands[0]).space else { return Ok(None) };
            let L_out = needed(value).unwrap_or(*L_out).min(*L_out);
            Ok(Some(b.linear(Linear::HarmonicForward { L: *L, M, L_out }, operands[0])?))
        }
        Some((map, false)) if degrees_read(map).is_some() => {
            let Space::Coefficients { L: found } = b.ty(operands[0]).space else { return Ok(None) };
            let mut map = map.clone();
            match &mut map {
                Linear::WignerInverse { L_in, .. } | Linear::ScalingInverse { L_in, .. } | Linear::HarmonicInverse { L_in, .. } => *L_in = found,
                _ => {}
            }
            Ok(Some(b.linear(map, operands[0])?))
        }
        _ => Ok(None),
    })
}
