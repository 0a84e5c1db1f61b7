//! The oracle: walks a graph in f64 with one obvious loop per op, in the logical layouts of `scatterc_ir::types`. Slow on purpose; it shares no code with the
//! fast transforms except Wigner d, quadrature nodes and filters.
//!
//! The adjoint of every map is its exact transpose under the sum of products of all stored numbers. Maps whose transpose is not plain to see are written once, as
//! a list of matrix entries, and read in both directions.

mod planar;

use crate::RunError;
use scatterc_ir::graph::{Op, infer};
use scatterc_ir::ops::reindex_table;
use scatterc_ir::types::scale_bandlimit;
use scatterc_ir::{Graph, Linear, Space, Type, Value};
use scatterc_kernels::{sampling, wavelets, wigner};
use std::collections::HashMap;
use std::f64::consts::PI;
use std::rc::Rc;

/// Runs a graph: outputs by name, in order, in logical layouts.
///
/// - `inputs`: every input and parameter by name, in the logical layout of its type.
///
/// Error: a graph that breaks a rule, an input that is missing, unknown or of the wrong length. Values are freed after their last use.
///
/// ```
/// use scatterc_ir::text::parse;
/// use scatterc_runtime::reference::run;
///
/// let graph = parse("graph g {\n  %0 = input x : [3] point\n  %1 = square(%0) : [3] point\n  return y = %1\n}\n").expect("a graph");
/// assert_eq!(run(&graph, &[("x", &[1.0, -2.0, 3.0])])?, [("y".to_string(), vec![1.0, 4.0, 9.0])]);
/// # Ok::<(), scatterc_runtime::RunError>(())
/// ```
pub fn run(graph: &Graph, inputs: &[(&str, &[f64])]) -> Result<Vec<(String, Vec<f64>)>, RunError> {
    let mut last = vec![0usize; graph.nodes.len()];
    for (k, node) in graph.nodes.iter().enumerate() {
        for operand in &node.operands {
            if let Some(use_of) = last.get_mut(operand.index()) {
                *use_of = k;
            }
        }
    }
    for output in &graph.outputs {
        if let Some(use_of) = last.get_mut(output.value.index()) {
            *use_of = graph.nodes.len();
        }
    }
    let values = walk(graph, inputs, &last)?;
    Ok(graph.outputs.iter().map(|output| (output.name.clone(), values[output.value.index()].clone())).collect())
}

/// Runs a graph and keeps the value of every node, in order.
///
/// ```
/// use scatterc_ir::text::parse;
/// use scatterc_runtime::reference::run_all;
///
/// let text = "graph g {\n  %0 = input x : [2] point\n  %1 = abs(%0) : [2] point\n  %2 = square(%1) : [2] point\n  return y = %2\n}\n";
/// let graph = parse(text).expect("a graph");
/// assert_eq!(run_all(&graph, &[("x", &[1.0, -2.0])])?, [[1.0, -2.0], [1.0, 2.0], [1.0, 4.0]]);
/// # Ok::<(), scatterc_runtime::RunError>(())
/// ```
pub fn run_all(graph: &Graph, inputs: &[(&str, &[f64])]) -> Result<Vec<Vec<f64>>, RunError> {
    walk(graph, inputs, &vec![graph.nodes.len(); graph.nodes.len()])
}

/// Applies one linear map, or its adjoint, to an array of the given type; leading axes are carried along.
///
/// Error: a type the map does not accept, a wrong length.
///
/// ```
/// use scatterc_ir::{Linear, Space, Type};
/// use scatterc_runtime::reference::apply;
///
/// // The average over the sphere of a constant, and the adjoint, which spreads a number by the weights.
/// let (map, mean) = (Type::new([], Space::Map { L: 4 }), Linear::Mean { L: 4 });
/// assert!((apply(&mean, false, &map, &[3.0; 28])?[0] - 3.0).abs() < 1e-14);
/// assert!((apply(&mean, true, &Type::number(), &[1.0])?.iter().sum::<f64>() - 1.0).abs() < 1e-14);
/// # Ok::<(), scatterc_runtime::RunError>(())
/// ```
pub fn apply(map: &Linear, adjoint: bool, operand_type: &Type, x: &[f64]) -> Result<Vec<f64>, RunError> {
    apply_with(&mut Tables::default(), map, adjoint, operand_type, x)
}

/// Values of all nodes; `last[k]` is the last node that reads node k.
fn walk(graph: &Graph, inputs: &[(&str, &[f64])], last: &[usize]) -> Result<Vec<Vec<f64>>, RunError> {
    scatterc_ir::verify::verify(graph).map_err(|faults| RunError::Graph { faults: faults.iter().map(ToString::to_string).collect() })?;
    if let Some(limit) = crate::limits::machine_memory() {
        let needed = live_bytes(graph, last);
        if needed > u128::from(limit) {
            return Err(RunError::Memory { needed, limit });
        }
    }
    let names: Vec<&str> = graph.nodes.iter().filter_map(|node| input_name(&node.op)).collect();
    for (k, (name, _)) in inputs.iter().enumerate() {
        if !names.contains(name) || inputs[..k].iter().any(|(other, _)| other == name) {
            return Err(RunError::UnknownInput { name: name.to_string(), expected: names.join(", ") });
        }
    }
    let mut tables = Tables::default();
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes.len());
    for (k, node) in graph.nodes.iter().enumerate() {
        let operand = |i: usize| &values[node.operands[i].index()];
        let value = match &node.op {
            Op::Input(name) | Op::Parameter(name) => {
                let Some((_, given)) = inputs.iter().find(|(n, _)| n == name) else {
                    return Err(RunError::MissingInput { name: name.clone(), expected: node.ty.len() });
                };
                if given.len() != node.ty.len() {
                    return Err(RunError::Length { name: name.clone(), expected: node.ty.len(), found: given.len() });
                }
                given.to_vec()
            }
            Op::Constant(x) => vec![*x],
            Op::Linear { map, adjoint } => apply_with(&mut tables, map, *adjoint, graph.ty(node.operands[0]), operand(0))?,
            Op::Pointwise(f) => {
                let mut arguments = vec![0.0; node.operands.len()];
                (0..node.ty.len())
                    .map(|i| {
                        for (argument, value) in arguments.iter_mut().zip(&node.operands) {
                            *argument = values[value.index()][i];
                        }
                        f.evaluate(&arguments)
                    })
                    .collect()
            }
            Op::Concat => {
                let widths: Vec<usize> = node.operands.iter().map(|v| graph.ty(*v).axes.last().copied().unwrap_or(1)).collect();
                let rows = node.ty.len() / widths.iter().sum::<usize>().max(1);
                let mut out = Vec::with_capacity(node.ty.len());
                for row in 0..rows {
                    for (i, width) in widths.iter().enumerate() {
                        out.extend_from_slice(&operand(i)[row * width..][..*width]);
                    }
                }
                out
            }
        };
        values.push(value);
        for Value(operand) in &node.operands {
            if last[*operand as usize] == k {
                values[*operand as usize] = Vec::new();
            }
        }
    }
    Ok(values)
}

/// Most bytes of values that are alive at one time.
fn live_bytes(graph: &Graph, last: &[usize]) -> u128 {
    let bytes = |k: usize| 8 * graph.nodes[k].ty.len() as u128;
    let mut freed: Vec<Vec<usize>> = vec![vec![]; graph.nodes.len()];
    for (k, at) in last.iter().enumerate() {
        if let Some(list) = freed.get_mut(*at) {
            list.push(k);
        }
    }
    let (mut held, mut most) = (0, 0);
    for k in 0..graph.nodes.len() {
        held += bytes(k);
        most = most.max(held);
        held -= freed[k].iter().filter(|i| **i < k).map(|i| bytes(*i)).sum::<u128>();
    }
    most
}

fn input_name(op: &Op) -> Option<&str> {
    match op {
        Op::Input(name) | Op::Parameter(name) => Some(name),
        Op::Constant(_) | Op::Linear { .. } | Op::Pointwise(_) | Op::Concat => None,
    }
}

/// Quadrature nodes and Wigner functions met so far.
#[derive(Default)]
struct Tables {
    grids: HashMap<usize, Rc<(Vec<f64>, Vec<f64>)>>,
    /// kappa_j(ell) of all scales, by bandlimit.
    kappa: HashMap<usize, Rc<Vec<Vec<f64>>>>,
    /// (grid bandlimit, |m| sign, n) -> [theta][|m|] -> d^ell_{m n}, ell = max(|m|, n)..L.
    wigner: HashMap<(usize, bool, usize), Rc<Vec<Vec<Vec<f64>>>>>,
}

impl Tables {
    /// Colatitudes and weights of the Gauss-Legendre grid.
    fn grid(&mut self, L: usize) -> Rc<(Vec<f64>, Vec<f64>)> {
        self.grids.entry(L).or_insert_with(|| Rc::new(sampling::gauss_legendre(L))).clone()
    }

    /// d^ell_{m n}(theta_t) for m >= 0, or for -m.
    fn wigner(&mut self, L: usize, minus: bool, n: usize) -> Rc<Vec<Vec<Vec<f64>>>> {
        let grid = self.grid(L);
        let row = |theta: f64| {
            (0..L)
                .map(|m| {
                    wigner::wigner_d(L, if minus { -(m as isize) } else { m as isize }, n as isize, theta).expect("Gauss-Legendre nodes lie in 0..pi")
                })
                .collect()
        };
        self.wigner.entry((L, minus, n)).or_insert_with(|| Rc::new(grid.0.iter().map(|theta| row(*theta)).collect())).clone()
    }
}

fn apply_with(tables: &mut Tables, map: &Linear, adjoint: bool, operand_type: &Type, x: &[f64]) -> Result<Vec<f64>, RunError> {
    let op = Op::Linear { map: map.clone(), adjoint };
    let result = infer(&op, &[operand_type]).map_err(|e| RunError::Graph { faults: vec![e.to_string()] })?;
    if x.len() != operand_type.len() {
        return Err(RunError::Length { name: map.spelling().into(), expected: operand_type.len(), found: x.len() });
    }
    let signature = map.signature().map_err(|e| RunError::Graph { faults: vec![e] })?;
    // One field is the operand's trailing axes and space; everything outside is carried along.
    let size = |side: &(Vec<usize>, Space)| {
        let space = if side.1 == Space::Any { operand_type.space } else { side.1 };
        side.0.iter().product::<usize>() * space.len()
    };
    let (domain, range) = (size(&signature.domain), size(&signature.range));
    let (from, to) = if adjoint { (range, domain) } else { (domain, range) };
    let mut out = vec![0.0; result.len()];
    if from > 0 && to > 0 {
        for (x, y) in x.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            field(tables, map, adjoint, operand_type.space.len(), x, y)?;
        }
    }
    Ok(out)
}

/// Position of coefficient (ell, m) in m-major order.
fn packed(L: usize, ell: usize, m: usize) -> usize {
    m * (2 * L - 1 - m) / 2 + ell
}

/// The map on one field; `y` is zero on entry. `width` is the space's length, for maps that act on axes.
fn field(tables: &mut Tables, map: &Linear, adjoint: bool, width: usize, x: &[f64], y: &mut [f64]) -> Result<(), RunError> {
    if let Linear::FrameOperator { L_in, L_out, L, N, j } = map {
        frame_operator(tables, adjoint, [*L_in, *L_out], [*L, *N, *j], x, y);
        return Ok(());
    }
    // The forward matrix, read in either direction.
    entries(tables, map, width, &mut |output: usize, input: usize, value: f64| {
        if adjoint {
            y[input] += value * x[output];
        } else {
            y[output] += value * x[input];
        }
    })
}

/// Rows, columns and values of one field of a map, or of its adjoint, as a sparse matrix whose rows follow one another; entries of equal place are added. `width` as for a graph's maps on axes.
///
/// Error: a filter that cannot be evaluated. Frame operators, which have no entries of their own, give none.
pub(crate) fn matrix(map: &Linear, adjoint: bool, rows: usize, width: usize) -> Result<(Vec<i32>, Vec<i32>, Vec<f64>), RunError> {
    let mut list: Vec<(u32, u32, f64)> = Vec::new();
    entries(&mut Tables::default(), map, width, &mut |output: usize, input: usize, value: f64| {
        if value != 0.0 {
            list.push(if adjoint { (input as u32, output as u32, value) } else { (output as u32, input as u32, value) });
        }
    })?;
    // A stable sort keeps the order in which the map adds.
    list.sort_by_key(|(row, column, _)| (*row, *column));
    let (mut starts, mut columns, mut values) = (vec![0; rows + 1], Vec::<i32>::with_capacity(list.len()), Vec::<f64>::with_capacity(list.len()));
    let mut last = None;
    for (row, column, value) in list {
        if last == Some((row, column)) {
            if let Some(sum) = values.last_mut() {
                *sum += value;
            }
            continue;
        }
        last = Some((row, column));
        starts[row as usize + 1] += 1;
        columns.push(column as i32);
        values.push(value);
    }
    for k in 0..rows {
        starts[k + 1] += starts[k];
    }
    Ok((starts, columns, values))
}

/// Calls `entry(output, input, value)` for every entry of the matrix of one field.
fn entries(tables: &mut Tables, map: &Linear, width: usize, mut entry: &mut impl FnMut(usize, usize, f64)) -> Result<(), RunError> {
    match map {
        Linear::HermitianPack { L } => {
            for m in 0..*L {
                for ell in m..*L {
                    let (k, i) = (packed(*L, ell, m), ell * L + m);
                    entry(2 * k, 2 * i, 1.0);
                    entry(2 * k + 1, 2 * i + 1, 1.0);
                }
            }
        }
        Linear::FullReal { L } | Linear::FullImaginary { L } => {
            let real = matches!(map, Linear::FullReal { .. });
            for m in 0..*L {
                let sign = if m % 2 == 0 { 0.5 } else { -0.5 };
                for ell in m..*L {
                    let k = 2 * packed(*L, ell, m);
                    let (plus, minus) = (2 * (ell * (2 * L - 1) + L - 1 + m), 2 * (ell * (2 * L - 1) + L - 1 - m));
                    if real {
                        entry(k, plus, 0.5);
                        entry(k, minus, sign);
                        entry(k + 1, plus + 1, 0.5);
                        entry(k + 1, minus + 1, -sign);
                    } else {
                        entry(k, plus + 1, 0.5);
                        entry(k, minus + 1, sign);
                        entry(k + 1, plus, -0.5);
                        entry(k + 1, minus, sign);
                    }
                }
            }
        }
        Linear::GridToMap { L } => (0..L * (2 * L - 1)).for_each(|i| entry(i, i, 1.0)),
        Linear::CoefficientMean { .. } => {
            let value = 0.5 / PI.sqrt();
            entry(0, 0, value);
            entry(1, 1, value);
        }
        Linear::HalfPower { L, skip_mean } => {
            for ell in 0..*L {
                for m in 0..*L {
                    let value = if (ell, m) == (0, 0) && *skip_mean == 1 { 0.0 } else { multiplicity(m) / (4.0 * PI) };
                    entry(0, 2 * (ell * L + m), value);
                    entry(0, 2 * (ell * L + m) + 1, value);
                }
            }
        }
        Linear::FullPower { L, skip_mean } => {
            for i in 0..L * (2 * L - 1) {
                // The entry (0, 0) is in row 0, column L - 1.
                let value = if i == L - 1 && *skip_mean == 1 { 0.0 } else { 1.0 / (4.0 * PI) };
                entry(0, 2 * i, value);
                entry(0, 2 * i + 1, value);
            }
        }
        Linear::CoefficientPower { L, skip_mean } => {
            for m in 0..*L {
                for ell in m..*L {
                    let value = if ell == 0 && *skip_mean == 1 { 0.0 } else { multiplicity(m) / (4.0 * PI) };
                    entry(0, 2 * packed(*L, ell, m), value);
                    entry(0, 2 * packed(*L, ell, m) + 1, value);
                }
            }
        }
        Linear::WignerInverse { L_in, L, N, j } => wigner_inverse(tables, *L_in, *L, *N, *j, &mut entry),
        Linear::HarmonicInverse { L_in, L } => {
            let filter: Vec<f64> = (0..*L_in.min(L)).map(harmonic_norm).collect();
            scalar_inverse(tables, *L_in, *L, &filter, &mut entry);
        }
        Linear::ScalingInverse { L_in, L, j } => {
            let L_j = scale_bandlimit(*L, *j);
            let mut filter = wavelets::scaling(*L, *j);
            filter.truncate(L_j.min(*L_in));
            scalar_inverse(tables, *L_in, L_j, &filter, &mut entry);
        }
        Linear::HarmonicForward { L, M, L_out } => {
            let (grid, wigner) = (tables.grid(*L), tables.wigner(*L, false, 0));
            for t in 0..*L {
                let q = grid.1[t] * 2.0 * PI / (2 * L - 1) as f64;
                for m in 0..*M.min(L_out) {
                    for ell in m..*L_out {
                        let value = harmonic_norm(ell) * q * wigner[t][m][ell - m];
                        let (k, i) = (2 * packed(*L_out, ell, m), 2 * (t * M + m));
                        entry(k, i, value);
                        // A real field has a real F_0; its imaginary part is not read.
                        entry(k + 1, i + 1, if m == 0 { 0.0 } else { value });
                    }
                }
            }
        }
        Linear::RingInverse { L, M } => {
            let (n_phi, circle) = (2 * L - 1, circle(2 * L - 1));
            for t in 0..*L {
                for m in 0..*M {
                    for p in 0..n_phi {
                        let (sin, cos) = circle[m * p % n_phi];
                        entry(t * n_phi + p, 2 * (t * M + m), multiplicity(m) * cos);
                        entry(t * n_phi + p, 2 * (t * M + m) + 1, if m == 0 { 0.0 } else { -2.0 * sin });
                    }
                }
            }
        }
        Linear::RingForward { L, M } => {
            let (n_phi, circle) = (2 * L - 1, circle(2 * L - 1));
            for t in 0..*L {
                for m in 0..*M {
                    for p in 0..n_phi {
                        let (sin, cos) = circle[m * p % n_phi];
                        entry(2 * (t * M + m), t * n_phi + p, cos);
                        entry(2 * (t * M + m) + 1, t * n_phi + p, if m == 0 { 0.0 } else { -sin });
                    }
                }
            }
        }
        Linear::CoefficientSum { L } => (0..L * (L + 1)).for_each(|i| entry(0, i, 1.0)),
        // Its own factors are maps with entries; see `frame_operator`.
        Linear::FrameOperator { .. } => {}
        Linear::Steer { N } => {
            let matrix = wavelets::steering_matrix(*N);
            for g in 0..2 * N - 1 {
                for c in 0..*N {
                    (0..width).for_each(|i| entry(g * width + i, c * width + i, matrix[g * N + c]));
                }
            }
        }
        Linear::Mean { L } => {
            let (grid, n_phi) = (tables.grid(*L), 2 * L - 1);
            for t in 0..*L {
                (0..n_phi).for_each(|p| entry(0, t * n_phi + p, grid.1[t] / (2 * n_phi) as f64));
            }
        }
        Linear::RingMean { L, M } => {
            let grid = tables.grid(*L);
            for t in 0..*L {
                for m in 0..*M {
                    let value = 0.5 * grid.1[t] * multiplicity(m);
                    entry(0, 2 * (t * M + m), value);
                    entry(0, 2 * (t * M + m) + 1, if m == 0 { 0.0 } else { value });
                }
            }
        }
        Linear::Reindex { from, to, map } => {
            for (o, i) in reindex_table(from, to, map).into_iter().enumerate() {
                (0..width).for_each(|k| entry(o * width + k, i * width + k, 1.0));
            }
        }
        Linear::Reshape { from, .. } => (0..from.iter().product::<usize>() * width).for_each(|i| entry(i, i, 1.0)),
        Linear::Gather { table, .. } => table.iter().enumerate().for_each(|(k, i)| entry(k, *i, 1.0)),
        Linear::Slice { start, length, .. } => (0..*length).for_each(|k| entry(k, start + k, 1.0)),
        Linear::Spread { L } => (0..L * (2 * L - 1)).for_each(|i| entry(i, 0, 1.0)),
        Linear::Scale { by } => (0..width).for_each(|i| entry(i, i, *by)),
        Linear::Fourier { .. }
        | Linear::FourierReal { .. }
        | Linear::FourierInverse { .. }
        | Linear::Filter { .. }
        | Linear::FilterInverse { .. }
        | Linear::FilterEach { .. }
        | Linear::Smooth { .. }
        | Linear::Truncate { .. }
        | Linear::Clip { .. }
        | Linear::Fold { .. }
        | Linear::Pick { .. }
        | Linear::Roll { .. }
        | Linear::SpectrumParts { .. }
        | Linear::ImageStencil { .. }
        | Linear::BlockMean { .. }
        | Linear::Enlarge { .. }
        | Linear::Average { .. }
        | Linear::SpectralSum { .. }
        | Linear::SpectralFilter { .. } => {
            planar::entries(map, &mut entry)?;
        }
        Linear::Stencil { .. } | Linear::SpinStencil { .. } | Linear::Downgrade { .. } | Linear::Upgrade { .. } => {
            let rows = crate::sparse::rows(map).map_err(|e| RunError::Graph { faults: vec![e.to_string()] })?;
            // Blocks hold one number per plane of the result.
            let n = rows.len();
            rows.each(|r, column, weights| weights.iter().enumerate().for_each(|(o, weight)| entry(o * n + r, column, *weight)));
        }
        Linear::PixelMean { n, .. } => (0..*n).for_each(|i| entry(0, i, 1.0 / *n as f64)),
    }
    Ok(())
}

/// W_g^H W_g, spelled out: synthesis, steering, the weights of an average over rings, and the adjoints of the first two.
fn frame_operator(tables: &mut Tables, adjoint: bool, [L_in, L_out]: [usize; 2], [L, N, j]: [usize; 3], x: &[f64], y: &mut [f64]) {
    let (from, to) = if adjoint { (L_out, L_in) } else { (L_in, L_out) };
    let L_j = scale_bandlimit(L, j);
    let (width, G) = (2 * L_j * L_j, 2 * N - 1);
    let steering = wavelets::steering_matrix(N);
    let grid = tables.grid(L_j);
    for g in 0..G {
        let x = if adjoint { &x[g * from * (from + 1)..][..from * (from + 1)] } else { x };
        let mut channels = vec![0.0; N * width];
        wigner_inverse(tables, from, L, N, j, &mut |o, i, value| channels[o] += value * x[i]);
        let mut cotangents = vec![0.0; N * width];
        for i in 0..width {
            let (t, m, part) = (i / (2 * L_j), i / 2 % L_j, i % 2);
            let weight = if m == 0 { 0.5 * (1 - part) as f64 } else { 1.0 } * grid.1[t];
            let sample: f64 = (0..N).map(|c| steering[g * N + c] * channels[c * width + i]).sum();
            (0..N).for_each(|c| cotangents[c * width + i] = weight * steering[g * N + c] * sample);
        }
        let y = if adjoint { &mut *y } else { &mut y[g * to * (to + 1)..][..to * (to + 1)] };
        wigner_inverse(tables, to, L, N, j, &mut |o, i, value| y[i] += value * cotangents[o]);
    }
}

/// How often order m >= 0 occurs among all orders of a real field.
fn multiplicity(m: usize) -> f64 {
    if m == 0 { 1.0 } else { 2.0 }
}

/// sqrt((2 ell + 1) / 4 pi).
fn harmonic_norm(ell: usize) -> f64 {
    ((2 * ell + 1) as f64 / (4.0 * PI)).sqrt()
}

/// (sin, cos) of 2 pi k / n for k < n.
fn circle(n: usize) -> Vec<(f64, f64)> {
    (0..n).map(|k| (2.0 * PI * k as f64 / n as f64).sin_cos()).collect()
}

/// F_m(theta) = sum_ell filter_ell d^ell_{m0} f_lm; the imaginary part of F_0 is zero.
fn scalar_inverse(tables: &mut Tables, L_in: usize, L: usize, filter: &[f64], entry: &mut impl FnMut(usize, usize, f64)) {
    let wigner = tables.wigner(L, false, 0);
    for t in 0..L {
        for m in 0..filter.len() {
            for ell in m..filter.len() {
                let value = filter[ell] * wigner[t][m][ell - m];
                let (o, i) = (2 * (t * L + m), 2 * packed(L_in, ell, m));
                entry(o, i, value);
                entry(o + 1, i + 1, if m == 0 { 0.0 } else { value });
            }
        }
    }
}

/// Channels Re H_0 | Re H_n, Im H_n as half spectra: B_m = (F_n(m) + conj F_n(-m)) / 2, C_m = (F_n(m) - conj F_n(-m)) / 2i, where
/// F_n(m) = sum_ell d^ell_{mn} f_lm conj(psi_ln) and f_{l,-m} = (-1)^m conj f_lm; psi = nu p, nu = 1 (N odd) or i (N even).
fn wigner_inverse(tables: &mut Tables, L_in: usize, L: usize, N: usize, j: usize, entry: &mut impl FnMut(usize, usize, f64)) {
    let L_j = scale_bandlimit(L, j);
    let kappa = tables.kappa.entry(L).or_insert_with(|| Rc::new(wavelets::kappa(L))).clone();
    let Some(kappa) = kappa.get(j) else {
        // There is no such scale: the wavelet is zero.
        return;
    };
    let odd = N % 2 == 1;
    let mut channel = 0;
    for n in ((N + 1) % 2..N).step_by(2) {
        let (upper, lower) = (tables.wigner(L_j, false, n), tables.wigner(L_j, true, n));
        for t in 0..L_j {
            for m in 0..L_j.min(L_in) {
                for ell in m.max(n).max(wavelets::first_degree(j))..L_j.min(L_in) {
                    let p = kappa[ell] * ((2 * ell + 1) as f64 / (8.0 * PI * PI)).sqrt() * wavelets::directionality(L, N, ell, n as isize);
                    let start = m.max(n);
                    let plus = p * upper[t][m][ell - start];
                    let minus = p * lower[t][m][ell - start] * if m % 2 == 0 { 1.0 } else { -1.0 };
                    let i = 2 * packed(L_in, ell, m);
                    let place = |c: usize| 2 * ((c * L_j + t) * L_j + m);
                    let (b, c) = (place(channel), place(channel + 1));
                    match (n, m, odd) {
                        // A = Re H_0.
                        (0, 0, _) => entry(b, i, plus),
                        (0, _, _) => {
                            entry(b, i, plus);
                            entry(b + 1, i + 1, plus);
                        }
                        // F_n(0) = conj(nu) sum p d f: its real part goes to B_0, its imaginary part to C_0.
                        (_, 0, true) => {
                            entry(b, i, plus);
                            entry(c, i + 1, plus);
                        }
                        (_, 0, false) => {
                            entry(b, i + 1, plus);
                            entry(c, i, -plus);
                        }
                        // B_m = (plus + minus) / 2 f, C_m = -i (plus - minus) / 2 f.
                        (_, _, true) => {
                            entry(b, i, 0.5 * (plus + minus));
                            entry(b + 1, i + 1, 0.5 * (plus + minus));
                            entry(c, i + 1, 0.5 * (plus - minus));
                            entry(c + 1, i, -0.5 * (plus - minus));
                        }
                        // B_m = i (minus - plus) / 2 f, C_m = -(plus + minus) / 2 f.
                        (_, _, false) => {
                            entry(b, i + 1, -0.5 * (minus - plus));
                            entry(b + 1, i, 0.5 * (minus - plus));
                            entry(c, i, -0.5 * (plus + minus));
                            entry(c + 1, i + 1, -0.5 * (plus + minus));
                        }
                    }
                }
            }
        }
        channel += if n == 0 { 1 } else { 2 };
    }
}
