//! Differentiation as graph -> graph: reverse mode and forward mode.
//!
//! Reverse mode is two arms: flip the adjoint of a linear map; multiply by the scalar derivative of a pointwise function. Complex values are pairs of reals, the inner
//! product is Re(x^H y). Parameters and constants get no derivative.

use crate::simplify::copy;
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::scalar::{self, Binary, Scalar};
use scatterc_ir::{Graph, Linear, Op, Space, Type, Value};
use std::collections::HashMap;

/// Copies a graph into a fresh builder without its outputs; the second part maps old values to new ones.
pub(crate) fn imported(graph: &Graph) -> Result<(Builder, Vec<Value>), TypeError> {
    let mut b = Builder::new(&graph.name);
    let mut map = Vec::with_capacity(graph.nodes.len());
    for value in graph.values() {
        let operands: Vec<Value> = graph.node(value).operands.iter().map(|v: &Value| map[v.index()]).collect();
        map.push(copy(&mut b, graph, value, &operands)?);
    }
    Ok((b, map))
}

fn add(b: &mut Builder, x: Value, y: Value) -> Result<Value, TypeError> {
    b.pointwise(scalar::binary(Binary::Add, Scalar::Argument(0), Scalar::Argument(1)), &[x, y])
}

/// f_k'(operands) * factor as one node; `None` where the derivative is zero.
fn scaled_derivative(b: &mut Builder, f: &Scalar, operands: &[Value], k: usize, factor: Value) -> Result<Option<Value>, TypeError> {
    let derivative = f.derivative(k);
    if derivative == Scalar::Constant(0.0) {
        return Ok(None);
    }
    let product = scalar::binary(Binary::Multiply, derivative, Scalar::Argument(operands.len()));
    let all: Vec<Value> = operands.iter().copied().chain([factor]).collect();
    Ok(Some(b.pointwise(product, &all)?))
}

/// Which values depend on one of `sources`.
fn dependent(graph: &Graph, sources: &[Value]) -> Vec<bool> {
    let mut depends = vec![false; graph.nodes.len()];
    for value in graph.values() {
        depends[value.index()] = sources.contains(&value) || graph.node(value).operands.iter().any(|v| depends[v.index()]);
    }
    depends
}

/// Adds the reverse pass to the builder: cotangents of `sources`, given cotangents of `roots`. `None` where a source has no influence.
pub(crate) fn reverse(b: &mut Builder, roots: &[(Value, Value)], sources: &[Value]) -> Result<Vec<Option<Value>>, TypeError> {
    let graph = b.graph().clone();
    let depends = dependent(&graph, sources);
    let mut cotangents: HashMap<Value, Value> = HashMap::new();
    for (root, cotangent) in roots {
        let sum = match cotangents.get(root) {
            Some(other) => add(b, *other, *cotangent)?,
            None => *cotangent,
        };
        cotangents.insert(*root, sum);
    }
    for value in graph.values().collect::<Vec<_>>().into_iter().rev() {
        let Some(cotangent) = cotangents.get(&value).copied() else { continue };
        let node = graph.node(value);
        let mut contributions: Vec<(Value, Value)> = Vec::new();
        match &node.op {
            Op::Input(_) | Op::Parameter(_) | Op::Constant(_) => {}
            Op::Linear { map, adjoint } => {
                if depends[node.operands[0].index()] {
                    let flipped = b.add(Op::Linear { map: map.clone(), adjoint: !adjoint }, &[cotangent], None)?;
                    contributions.push((node.operands[0], flipped));
                }
            }
            Op::Pointwise(f) => {
                for (k, operand) in node.operands.iter().enumerate() {
                    if depends[operand.index()]
                        && let Some(part) = scaled_derivative(b, f, &node.operands, k, cotangent)?
                    {
                        contributions.push((*operand, part));
                    }
                }
            }
            Op::Concat => {
                let n = node.ty.axes.last().copied().unwrap_or(0);
                let mut start = 0;
                for operand in &node.operands {
                    let length = graph.ty(*operand).axes.last().copied().unwrap_or(0);
                    if depends[operand.index()] {
                        contributions.push((*operand, b.linear(Linear::Slice { n, start, length }, cotangent)?));
                    }
                    start += length;
                }
            }
        }
        for (operand, part) in contributions {
            let sum = match cotangents.get(&operand) {
                Some(other) => add(b, *other, part)?,
                None => part,
            };
            cotangents.insert(operand, sum);
        }
    }
    Ok(sources.iter().map(|s| cotangents.get(s).copied()).collect())
}

/// Adds the forward pass to the builder: tangents of `targets`, given tangents of some values. `None` where nothing flows.
pub(crate) fn forward(b: &mut Builder, seeds: &[(Value, Value)], targets: &[Value]) -> Result<Vec<Option<Value>>, TypeError> {
    let graph = b.graph().clone();
    let mut tangents: HashMap<Value, Value> = seeds.iter().copied().collect();
    for value in graph.values() {
        if tangents.contains_key(&value) {
            continue;
        }
        let node = graph.node(value);
        let tangent = match &node.op {
            Op::Input(_) | Op::Parameter(_) | Op::Constant(_) => None,
            Op::Linear { .. } => match tangents.get(&node.operands[0]) {
                Some(t) => Some(b.add(node.op.clone(), &[*t], None)?),
                None => None,
            },
            Op::Pointwise(f) => {
                let mut sum: Option<Value> = None;
                for (k, operand) in node.operands.iter().enumerate() {
                    if let Some(t) = tangents.get(operand).copied()
                        && let Some(part) = scaled_derivative(b, f, &node.operands, k, t)?
                    {
                        sum = Some(match sum {
                            Some(other) => add(b, other, part)?,
                            None => part,
                        });
                    }
                }
                sum
            }
            Op::Concat => {
                if node.operands.iter().any(|v| tangents.contains_key(v)) {
                    let mut parts = Vec::new();
                    for operand in &node.operands {
                        parts.push(match tangents.get(operand) {
                            Some(t) => *t,
                            None => zero_like(b, *operand)?,
                        });
                    }
                    Some(b.concat(&parts)?)
                } else {
                    None
                }
            }
        };
        if let Some(tangent) = tangent {
            tangents.insert(value, tangent);
        }
    }
    Ok(targets.iter().map(|t| tangents.get(t).copied()).collect())
}

/// A value of zeros with the type of `value`.
pub(crate) fn zero_like(b: &mut Builder, value: Value) -> Result<Value, TypeError> {
    b.pointwise(Scalar::Constant(0.0), &[value])
}

/// A value of ones of a point type.
pub(crate) fn ones(b: &mut Builder, ty: &Type) -> Result<Value, TypeError> {
    let one = b.constant(1.0)?;
    if ty.axes.is_empty() { Ok(one) } else { b.linear(Linear::Reindex { from: vec![], to: ty.axes.clone(), map: vec![] }, one) }
}

/// Inputs of a graph, in order.
///
/// ```
/// # use scatterc_compiler::gradient::*;
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// # let names = |graph: &scatterc_ir::Graph| graph.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
/// // S = mean(x^2).
/// assert_eq!(inputs(&graph), [(scatterc_ir::Value(0), "x".to_string())]);
/// ```
pub fn inputs(graph: &Graph) -> Vec<(Value, String)> {
    let name = |v: Value| match &graph.node(v).op {
        Op::Input(name) => Some((v, name.clone())),
        _ => None,
    };
    graph.values().filter_map(name).collect()
}

/// Value and gradient: the outputs `value` (a number per map) and `gradient.<input>` for every input.
///
/// The graph must have one output, of point type. The gradient is that of the sum over the batch, dL/dRe + i dL/dIm for complex entries.
///
/// ```
/// # use scatterc_compiler::gradient::*;
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// # let names = |graph: &scatterc_ir::Graph| graph.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
/// // S = mean(x^2).
/// let gradient = value_and_gradient(&graph)?;
/// assert_eq!(names(&gradient), ["S", "gradient.x"]);
/// // dS/dx = 2 x mean^H(1).
/// assert!(gradient.to_string().contains("mean^H"));
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
pub fn value_and_gradient(graph: &Graph) -> Result<Graph, TypeError> {
    let (mut b, map) = imported(graph)?;
    let [output] = graph.outputs.as_slice() else {
        return Err(TypeError::Attribute(format!("a gradient needs one output, found {}", graph.outputs.len())));
    };
    let value = map[output.value.index()];
    let ty = b.ty(value).clone();
    if ty.space != Space::Point {
        return Err(TypeError::Attribute(format!("a gradient needs a number per map, found {ty}")));
    }
    let seed = ones(&mut b, &ty)?;
    with_gradients(b, graph, &map, &[(value, seed)])
}

/// Vector-Jacobian product: adds a parameter `cotangent.<output>` for every output; the outputs are kept and `gradient.<input>` added.
///
/// ```
/// # use scatterc_compiler::gradient::*;
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// # let names = |graph: &scatterc_ir::Graph| graph.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
/// // S = mean(x^2).
/// let product = vector_jacobian(&graph)?;
/// assert_eq!(names(&product), ["S", "gradient.x"]);
/// assert!(product.to_string().contains("parameter cotangent.S : [] point"));
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
pub fn vector_jacobian(graph: &Graph) -> Result<Graph, TypeError> {
    let (mut b, map) = imported(graph)?;
    let mut roots = Vec::new();
    for output in &graph.outputs {
        let value = map[output.value.index()];
        let ty = b.ty(value).clone();
        roots.push((value, b.parameter(&format!("cotangent.{}", output.name), ty)?));
    }
    with_gradients(b, graph, &map, &roots)
}

/// Finishes a graph with its own outputs and, for given cotangents of them, `gradient.<input>`; zeros where an input has no influence.
fn with_gradients(mut b: Builder, graph: &Graph, map: &[Value], roots: &[(Value, Value)]) -> Result<Graph, TypeError> {
    let sources: Vec<(Value, String)> = inputs(graph).into_iter().map(|(v, name)| (map[v.index()], name)).collect();
    let wanted: Vec<Value> = sources.iter().map(|s| s.0).collect();
    let gradients = reverse(&mut b, roots, &wanted)?;
    for output in &graph.outputs {
        b.output(&output.name, map[output.value.index()]);
    }
    for ((source, name), gradient) in sources.into_iter().zip(gradients) {
        let gradient = match gradient {
            Some(g) => g,
            None => zero_like(&mut b, source)?,
        };
        b.output(&format!("gradient.{name}"), gradient);
    }
    Ok(b.finish())
}

/// Jacobian-vector product: adds a parameter `tangent.<input>` for every input; the outputs are kept and `tangent.<output>` added.
///
/// Applied to [`value_and_gradient`] it gives the Hessian-vector product `tangent.gradient.<input>` (forward over reverse).
///
/// ```
/// # use scatterc_compiler::gradient::*;
/// # let graph = scatterc_ir::text::parse("graph power {
/// #   %0 = input x : [] map(8)
/// #   %1 = square(%0) : [] map(8)
/// #   %2 = mean(%1) {L=8} : [] point
/// #   return S = %2
/// # }
/// # ").expect("a graph");
/// # let names = |graph: &scatterc_ir::Graph| graph.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
/// // S = mean(x^2).
/// let product = jacobian_vector(&graph)?;
/// assert_eq!(names(&product), ["S", "tangent.S"]);
/// // Forward over reverse.
/// let hessian = jacobian_vector(&value_and_gradient(&graph)?)?;
/// assert!(names(&hessian).contains(&"tangent.gradient.x".to_string()));
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
pub fn jacobian_vector(graph: &Graph) -> Result<Graph, TypeError> {
    let (mut b, map) = imported(graph)?;
    let mut seeds = Vec::new();
    for (input, name) in inputs(graph) {
        let ty = graph.ty(input).clone();
        seeds.push((map[input.index()], b.parameter(&format!("tangent.{name}"), ty)?));
    }
    let targets: Vec<Value> = graph.outputs.iter().map(|o| map[o.value.index()]).collect();
    let tangents = forward(&mut b, &seeds, &targets)?;
    for ((output, target), tangent) in graph.outputs.iter().zip(&targets).zip(tangents) {
        b.output(&output.name, *target);
        let tangent = match tangent {
            Some(t) => t,
            None => zero_like(&mut b, *target)?,
        };
        b.output(&format!("tangent.{}", output.name), tangent);
    }
    Ok(b.finish())
}
