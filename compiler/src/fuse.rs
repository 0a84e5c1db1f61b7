//! Fuse: which nodes share a kernel. Legality first, then cost.
//!
//! - A *contraction* is a weighted average of a product of two broadcast values: it becomes rows of a Gram matrix and the broadcast product is never formed.
//! - A *mixture* is its adjoint: a sum of broadcast products scaled by the weights.
//! - Everything pointwise, steering and re-indexing between library maps runs in loops over one space; values needed by library maps, outputs or other spaces are stored,
//!   the rest lives in registers and is recomputed by every loop that needs it.

use crate::harmonic::{Form, Scale, scale_of, through};
use crate::loops::{Body, BodyBuilder, Id, Instruction};
use scatterc_ir::ops::reindex_table;
use scatterc_ir::scalar::{Binary, Scalar, Unary};
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use scatterc_kernels::wavelets::steering_matrix;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// How much to fuse; `--fuse none|loops|ring|gram|all`.
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
/// let steps = |fusion| schedule(&graph, fusion).map(|scheduled| scheduled.plan.steps.len());
/// assert!(steps(Fusion::All)? < steps(Fusion::None)?);
/// # Ok::<(), ScheduleError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fusion {
    /// Every node is its own launch.
    None,
    /// Loops, but no tiles and no contractions.
    Loops,
    /// Loops and ring tiles, but no contractions.
    Ring,
    /// Contractions of stored rows, too.
    Gram,
    /// Everything legal.
    #[default]
    All,
}

impl Fusion {
    /// Whether ring transforms and loops share launches.
    ///
    /// ```
    /// use scatterc_compiler::fuse::Fusion;
    ///
    /// assert!(Fusion::Ring.tiles() && !Fusion::Loops.tiles());
    /// ```
    pub fn tiles(self) -> bool {
        matches!(self, Fusion::Ring | Fusion::Gram | Fusion::All)
    }

    /// Whether averages of products are contractions.
    ///
    /// ```
    /// use scatterc_compiler::fuse::Fusion;
    ///
    /// assert!(Fusion::All.contracts() && !Fusion::Ring.contracts());
    /// ```
    pub fn contracts(self) -> bool {
        matches!(self, Fusion::Gram | Fusion::All)
    }
}

/// An element of the axes of a value: one row of samples.
pub(crate) type Row = (Value, usize);

/// A value as the result of a contraction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contraction {
    /// The reduction whose weights apply.
    pub(crate) weights: Linear,
    /// Rows multiplied, per element of the result.
    pub(crate) pairs: Vec<(Row, Row)>,
}

/// A value as a mixture of rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixture {
    /// The reduction whose weights apply.
    pub(crate) weights: Linear,
    /// Per row of the result: (row, coefficient) terms; a coefficient is an element of a point value.
    pub(crate) terms: Vec<Vec<(Row, Row)>>,
}

/// Role of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// Given by the caller.
    Given,
    /// The same number everywhere.
    Literal(f64),
    /// The same numbers as another value, from an offset on.
    Alias(Value, usize),
    /// A launch of its own.
    Library,
    /// Runs in loops; stored only where something outside needs it.
    Loop,
    /// A weighted sum at the end of a loop.
    Reduction,
    /// See [`Contraction`].
    Contraction(Contraction),
    /// See [`Mixture`].
    Mixture(Mixture),
    /// Bilinear forms of coefficients through frame operators, per element of the result; the operated fields are never stored.
    FrameContraction(Vec<Form>),
    /// Their adjoint: per field of the result its terms.
    FrameMixture(Vec<Vec<FrameTerm>>),
    /// Bilinear forms of half spectra with the weights of filters, per element of the result; the filtered spectra are never stored.
    FilterContraction(Vec<FilterForm>),
    /// Their adjoint: per row of the result its terms.
    FilterMixture(Vec<Vec<FilterTerm>>),
}

/// Which of the spectra that a `spectral_filter` makes of one: the node, a direction, and plain (0), turned by i (1) or, in adjoints, turned back (2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weighing {
    /// The `spectral_filter`.
    pub(crate) filter: Value,
    /// Direction.
    pub(crate) l: usize,
    /// 0, 1 or 2.
    pub(crate) turned: usize,
}

/// One sum over the frequencies of a half spectrum times another one, weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterForm {
    /// The weights.
    pub(crate) weighing: Weighing,
    /// First row.
    pub(crate) a: Row,
    /// Second row, the one that is weighed.
    pub(crate) b: Row,
}

/// One term of a mixture of weighed half spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterTerm {
    /// The weights.
    pub(crate) weighing: Weighing,
    /// The half spectrum.
    pub(crate) row: Row,
    /// The coefficient, an element of a point value.
    pub(crate) coefficient: Row,
}

/// A row of what a `spectral_filter` makes: the row it is made of, and how.
fn weighed(graph: &Graph, row: Row) -> Option<(Row, Weighing)> {
    match graph.linear(row.0) {
        Some((Linear::SpectralFilter { bank, .. }, false)) => {
            let weighing = Weighing { filter: row.0, l: row.1 / 2 % bank.L, turned: row.1 % 2 };
            Some(((graph.node(row.0).operands[0], row.1 / (2 * bank.L)), weighing))
        }
        _ => None,
    }
}

/// `z Q_g x`: one term of a mixture of frame operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameTerm {
    /// The wavelets.
    pub(crate) scale: Scale,
    /// The field x.
    pub(crate) row: Row,
    /// The direction g.
    pub(crate) g: usize,
    /// The coefficient z, an element of a point value.
    pub(crate) coefficient: Row,
}

/// Most rows a loop unrolls; wider re-indexing is a launch of its own.
const WIDEST: usize = 64;

/// Rows of values that the body of a loop computes at most: the time of code generators grows faster than the body.
const LARGEST_BODY: usize = 512;

/// True for a linear map from samples to a point whose weights are a table.
pub(crate) fn is_reduction(map: &Linear) -> bool {
    matches!(
        map,
        Linear::Mean { .. }
            | Linear::RingMean { .. }
            | Linear::HalfPower { .. }
            | Linear::FullPower { .. }
            | Linear::CoefficientPower { .. }
            | Linear::Average { .. }
            | Linear::SpectralSum { .. }
            | Linear::PixelMean { .. }
            | Linear::CoefficientSum { .. }
    )
}

/// True for reductions whose products of rows are contractions, and their adjoints mixtures.
fn is_average(map: &Linear) -> bool {
    matches!(
        map,
        Linear::Mean { .. }
            | Linear::RingMean { .. }
            | Linear::CoefficientSum { .. }
            | Linear::Average { .. }
            | Linear::SpectralSum { .. }
            | Linear::PixelMean { .. }
    )
}

/// True when the expression has primitives that cost tens of operations.
fn is_dear(f: &Scalar) -> bool {
    match f {
        Scalar::Argument(_) | Scalar::Constant(_) => false,
        Scalar::Unary(op, a) => matches!(op, Unary::Exponential | Unary::Logarithm | Unary::Sine | Unary::Cosine) || is_dear(a),
        Scalar::Binary(op, a, b) => matches!(op, Binary::Power | Binary::ArcTangent) || is_dear(a) || is_dear(b),
    }
}

/// For every element of the axes after an axis map, the elements before it (with factors).
pub(crate) fn axis_terms(map: &Linear, adjoint: bool, operand_count: usize, result_count: usize) -> Vec<Vec<(f64, usize)>> {
    match map {
        Linear::Scale { by } => (0..result_count).map(|k| vec![(*by, k)]).collect(),
        Linear::Reshape { .. } => (0..result_count).map(|k| vec![(1.0, k)]).collect(),
        Linear::Steer { N } => {
            let (G, matrix) = (2 * N - 1, steering_matrix(*N));
            let (inner_in, inner_out) = if adjoint { (G, *N) } else { (*N, G) };
            (0..result_count)
                .map(|k| {
                    let (lead, o) = (k / inner_out, k % inner_out);
                    (0..inner_in)
                        .map(|i| {
                            let factor = if adjoint { matrix[i * N + o] } else { matrix[o * N + i] };
                            (factor, lead * inner_in + i)
                        })
                        .collect()
                })
                .collect()
        }
        Linear::Reindex { from, to, map } => {
            let table = reindex_table(from, to, map);
            let (size_from, size_to) = (from.iter().product::<usize>(), to.iter().product::<usize>());
            if adjoint {
                let mut out = vec![Vec::new(); result_count];
                for k in 0..operand_count {
                    let (lead, o) = (k / size_to, k % size_to);
                    out[lead * size_from + table[o]].push((1.0, k));
                }
                out
            } else {
                (0..result_count).map(|k| vec![(1.0, (k / size_to) * size_from + table[k % size_to])]).collect()
            }
        }
        _ => vec![Vec::new(); result_count],
    }
}

/// Roles of all nodes.
pub(crate) fn roles(graph: &Graph, fusion: Fusion) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::with_capacity(graph.nodes.len());
    for value in graph.values() {
        let node = graph.node(value);
        let point = node.ty.space == Space::Point;
        let role = match &node.op {
            Op::Input(_) | Op::Parameter(_) => Role::Given,
            Op::Constant(x) => Role::Literal(*x),
            Op::Concat => Role::Library,
            Op::Pointwise(f) => match f {
                Scalar::Constant(x) => Role::Literal(*x),
                f => {
                    let literals: Option<Vec<f64>> = node
                        .operands
                        .iter()
                        .map(|v| match roles[v.index()] {
                            Role::Literal(x) => Some(x),
                            _ => None,
                        })
                        .collect();
                    literals.map_or(Role::Loop, |x| Role::Literal(f.evaluate(&x)))
                }
            },
            Op::Linear { map, adjoint } => {
                let operand = node.operands[0];
                let operand_ty = graph.ty(operand);
                match (map, &roles[operand.index()]) {
                    (Linear::Reindex { .. } | Linear::Reshape { .. } | Linear::Spread { .. }, Role::Literal(x)) if !adjoint => Role::Literal(*x),
                    (Linear::Scale { by }, Role::Literal(x)) => Role::Literal(by * x),
                    (Linear::Reshape { .. }, _) => Role::Alias(operand, 0),
                    (Linear::Slice { start, .. }, _) if !adjoint && operand_ty.axes.len() == 1 => Role::Alias(operand, *start),
                    (Linear::Scale { .. }, _) => Role::Loop,
                    (Linear::Spread { .. }, _) if !adjoint && fusion != Fusion::None => Role::Loop,
                    (map, _) if is_reduction(map) && !adjoint => Role::Reduction,
                    (map, _) if is_reduction(map) && fusion != Fusion::None => Role::Loop,
                    (Linear::Steer { .. } | Linear::Reindex { .. }, _) if !point && fusion != Fusion::None => {
                        let width = map.signature().map_or(usize::MAX, |s| s.domain.0.iter().product::<usize>().max(s.range.0.iter().product()));
                        if width <= WIDEST { Role::Loop } else { Role::Library }
                    }
                    _ => Role::Library,
                }
            }
        };
        roles.push(role);
    }
    if fusion.contracts() {
        find_contractions(graph, &mut roles, fusion == Fusion::All);
    }
    roles
}

/// Follows re-indexing down to the value it reads: for every element of the axes, a row of that value.
fn rows_of(graph: &Graph, value: Value) -> (Vec<Row>, bool) {
    let mut chain = Vec::new();
    let mut base = value;
    while let Some((Linear::Reindex { .. } | Linear::Reshape { .. }, false)) = graph.linear(base) {
        chain.push(base);
        base = graph.node(base).operands[0];
    }
    let mut rows: Vec<usize> = (0..graph.ty(base).count()).collect();
    let moved = chain.iter().any(|v| matches!(graph.linear(*v), Some((Linear::Reindex { .. }, _))));
    for v in chain.into_iter().rev() {
        if let Some((map, adjoint)) = graph.linear(v) {
            let terms = axis_terms(map, adjoint, rows.len(), graph.ty(v).count());
            rows = terms.iter().map(|t| rows[t[0].1]).collect();
        }
    }
    (rows.into_iter().map(|k| (base, k)).collect(), moved)
}

/// A mixture under construction: per element of the axes its (row, coefficient) terms, the weights they share, and whether anything is broadcast or summed over axes.
struct Terms {
    weights: Linear,
    rows: Vec<Vec<Term>>,
    moved: bool,
}

/// A row times a coefficient; the row may have passed through an operator.
#[derive(Clone, Copy)]
struct Term {
    row: Row,
    through: Option<Through>,
    coefficient: Row,
}

#[derive(Clone, Copy)]
enum Through {
    /// A frame operator and a direction.
    Frame(Scale, usize),
    /// The weights of a filter.
    Filter(Weighing),
}

/// Splits an expression into addends: arguments and products of two arguments.
pub(crate) fn sum_of_products(f: &Scalar, out: &mut Vec<(usize, Option<usize>)>) -> bool {
    match f {
        Scalar::Argument(k) => {
            out.push((*k, None));
            true
        }
        Scalar::Binary(Binary::Add, a, b) => sum_of_products(a, out) && sum_of_products(b, out),
        Scalar::Binary(Binary::Multiply, a, b) => match (&**a, &**b) {
            (Scalar::Argument(i), Scalar::Argument(k)) => {
                out.push((*i, Some(*k)));
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// For every value whether its nodes have the shape of a mixture: what [`mixture`] asks first, without building any terms.
fn shaped_as_mixtures(graph: &Graph, weighs_in_cache: bool) -> Vec<bool> {
    let mut shaped = vec![false; graph.nodes.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let is = |k: usize| shaped[node.operands[k].index()];
        let weighs = |k: usize| reduction_weights(graph, node.operands[k]).is_some();
        shaped[value.index()] = match &node.op {
            Op::Linear { map: Linear::Reindex { .. }, adjoint: true } | Op::Linear { map: Linear::Reshape { .. }, .. } => is(0),
            Op::Linear { map, adjoint: true } => {
                (scale_of(map).is_some() || weighs_in_cache && matches!(map, Linear::SpectralFilter { .. })) && is(0)
            }
            Op::Pointwise(f) => {
                let mut list = Vec::new();
                sum_of_products(f, &mut list) && list.iter().all(|(i, k)| k.map_or_else(|| is(*i), |k| weighs(*i) != weighs(k)))
            }
            _ => false,
        };
    }
    shaped
}

/// The weights of an adjoint reduction to a point.
fn reduction_weights(graph: &Graph, value: Value) -> Option<Linear> {
    match graph.linear(value) {
        Some((map, true)) if is_average(map) => Some(map.clone()),
        _ => None,
    }
}

/// Reads a value as a mixture: sums of reindex^H (reduction^H(c) * reindex(y)), in any nesting of sums and re-indexings.
fn mixture(graph: &Graph, value: Value, weighs: bool, depth: usize) -> Option<Terms> {
    if depth > 64 {
        return None;
    }
    let node = graph.node(value);
    match &node.op {
        Op::Linear { map: map @ (Linear::Reindex { .. } | Linear::Reshape { .. }), adjoint } if *adjoint || matches!(map, Linear::Reshape { .. }) => {
            let inner = mixture(graph, node.operands[0], weighs, depth + 1)?;
            let next = axis_terms(map, *adjoint, inner.rows.len(), node.ty.count());
            let rows = next.iter().map(|list| list.iter().flat_map(|(_, k)| inner.rows[*k].iter().copied()).collect()).collect();
            Some(Terms { rows, moved: true, ..inner })
        }
        Op::Linear { map: Linear::SpectralFilter { bank, .. }, adjoint: true } if weighs => {
            // The adjoint weighs alike, and turns back what was turned.
            let inner = mixture(graph, node.operands[0], weighs, depth + 1)?;
            if inner.rows.iter().flatten().any(|term| term.through.is_some()) {
                return None;
            }
            let operated = |(k, term): (usize, &Term)| {
                let weighing = Weighing { filter: value, l: k / 2, turned: 2 * (k % 2) };
                Term { through: Some(Through::Filter(weighing)), ..*term }
            };
            let rows = inner
                .rows
                .chunks(2 * bank.L)
                .map(|rows| rows.iter().enumerate().flat_map(|(k, row)| row.iter().map(move |term| operated((k, term)))).collect());
            Some(Terms { rows: rows.collect(), weights: inner.weights, moved: true })
        }
        Op::Linear { map, adjoint: true } => {
            // Frame operators are symmetric: their adjoint on a mixture of rows is a mixture of operated rows.
            let scale = scale_of(map)?;
            let inner = mixture(graph, node.operands[0], weighs, depth + 1)?;
            if inner.rows.iter().flatten().any(|term| term.through.is_some()) {
                return None;
            }
            let Space::Coefficients { L } = node.ty.space else { return None };
            let G = 2 * scale.N - 1;
            let operated = |(k, term): (usize, &Term)| Term { through: Some(Through::Frame(scale, k % G)), ..*term };
            let rows = inner
                .rows
                .chunks(G)
                .map(|rows| rows.iter().enumerate().flat_map(|(g, row)| row.iter().map(move |term| operated((g, term)))).collect());
            Some(Terms { rows: rows.collect(), weights: Linear::CoefficientSum { L }, moved: true })
        }
        Op::Pointwise(f) => {
            let mut list = Vec::new();
            if !sum_of_products(f, &mut list) {
                return None;
            }
            let mut total: Option<Terms> = None;
            for (i, k) in list {
                let part = match k {
                    None => mixture(graph, node.operands[i], weighs, depth + 1)?,
                    Some(k) => product_term(graph, node.operands[i], node.operands[k], weighs)?,
                };
                total = Some(match total {
                    None => part,
                    Some(mut sum) if sum.weights == part.weights => {
                        for (row, more) in sum.rows.iter_mut().zip(part.rows) {
                            row.extend(more);
                        }
                        sum.moved |= part.moved;
                        sum
                    }
                    Some(_) => return None,
                });
            }
            total
        }
        _ => None,
    }
}

/// reduction^H(c) * reindex(y), in either order.
fn product_term(graph: &Graph, x: Value, y: Value, weighs: bool) -> Option<Terms> {
    let (weights, coefficients, factor) = match (reduction_weights(graph, x), reduction_weights(graph, y)) {
        (Some(w), None) => (w, graph.node(x).operands[0], y),
        (None, Some(w)) => (w, graph.node(y).operands[0], x),
        _ => return None,
    };
    let (rows, moved) = rows_of(graph, factor);
    let term = |(k, row): (usize, Row)| {
        let (row, through) = match (through(graph, row), weighed(graph, row).filter(|_| weighs)) {
            (Some((below, scale, g)), _) => (below, Some(Through::Frame(scale, g))),
            (None, Some((below, weighing))) => (below, Some(Through::Filter(weighing))),
            (None, None) => (row, None),
        };
        vec![Term { row, through, coefficient: (coefficients, k) }]
    };
    let operated = rows.first().is_some_and(|row| through(graph, *row).is_some() || weighs && weighed(graph, *row).is_some());
    Some(Terms { weights, rows: rows.into_iter().enumerate().map(term).collect(), moved: moved || operated })
}

/// Contractions and mixtures. With `weighs`, half spectra that a `spectral_filter` makes for them are weighed in the kernel that reads them: legal where every product has
/// exactly one weighed factor, whatever the statistic.
fn find_contractions(graph: &Graph, roles: &mut [Role], weighs: bool) {
    let users = graph.users();
    let shaped = shaped_as_mixtures(graph, weighs);
    let outputs: BTreeSet<Value> = graph.outputs.iter().map(|o| o.value).collect();
    // Values that only mixtures read are part of them; nothing asks for their own terms. Readers come first in this order.
    let mut mixed = vec![false; graph.nodes.len()];
    for value in graph.values().collect::<Vec<_>>().into_iter().rev() {
        let node = graph.node(value);
        if let Op::Linear { map: Linear::CoefficientSum { .. }, adjoint: false } = &node.op
            && let Some((x, y)) = crate::simplify::factors(graph, node.operands[0])
        {
            let ((a, _), (b, _)) = (rows_of(graph, x), rows_of(graph, y));
            let form = |(a, b): (&Row, &Row)| match (through(graph, *a), through(graph, *b)) {
                (None, Some((b, scale, g))) => Some(Form { scale, a: *a, b, g }),
                (Some((a, scale, g)), None) => Some(Form { scale, a, b: *b, g }),
                _ => None,
            };
            let forms: Option<Vec<Form>> = a.iter().zip(&b).map(form).collect();
            if let Some(forms) = forms {
                roles[value.index()] = Role::FrameContraction(forms);
            }
            continue;
        }
        if let Op::Linear { map, adjoint: false } = &node.op
            && is_average(map)
            && let Some((x, y)) = crate::simplify::factors(graph, node.operands[0])
        {
            let ((a, moved_a), (b, moved_b)) = (rows_of(graph, x), rows_of(graph, y));
            let form = |(a, b): (&Row, &Row)| match (weighed(graph, *a), weighed(graph, *b)) {
                (None, Some((b, weighing))) => Some(FilterForm { weighing, a: *a, b }),
                (Some((a, weighing)), None) => Some(FilterForm { weighing, a: *b, b: a }),
                _ => None,
            };
            if weighs && let Some(forms) = a.iter().zip(&b).map(form).collect::<Option<Vec<_>>>() {
                roles[value.index()] = Role::FilterContraction(forms);
                continue;
            }
            if moved_a || moved_b {
                let pairs = a.into_iter().zip(b).collect();
                roles[value.index()] = Role::Contraction(Contraction { weights: map.clone(), pairs });
            }
            continue;
        }
        if node.ty.space == Space::Point || !matches!(roles[value.index()], Role::Loop | Role::Library) {
            continue;
        }
        if !shaped[value.index()] {
            continue;
        }
        let readers = &users[value.index()];
        let addend = |r: &Value| {
            let mut list = Vec::new();
            let reader = graph.node(*r);
            let factor = |k: usize| reader.operands[k] == value;
            !matches!(&reader.op, Op::Pointwise(f) if sum_of_products(f, &mut list) && list.iter().any(|(i, k)| k.is_some_and(|k| factor(*i) || factor(k))))
        };
        if !readers.is_empty() && !outputs.contains(&value) && readers.iter().all(|r| mixed[r.index()] && addend(r)) {
            mixed[value.index()] = true;
            continue;
        }
        if let Some(Terms { weights, rows, moved: true }) = mixture(graph, value, weighs, 0) {
            mixed[value.index()] = true;
            let plain: Option<Vec<Vec<(Row, Row)>>> =
                rows.iter().map(|row| row.iter().map(|t| t.through.is_none().then_some((t.row, t.coefficient))).collect()).collect();
            let operated = || -> Option<Vec<Vec<FrameTerm>>> {
                let term = |t: &Term| match t.through {
                    Some(Through::Frame(scale, g)) => Some(FrameTerm { scale, row: t.row, g, coefficient: t.coefficient }),
                    _ => None,
                };
                rows.iter().map(|row| row.iter().map(term).collect()).collect()
            };
            let filtered = || -> Option<Vec<Vec<FilterTerm>>> {
                let term = |t: &Term| match t.through {
                    Some(Through::Filter(weighing)) => Some(FilterTerm { weighing, row: t.row, coefficient: t.coefficient }),
                    _ => None,
                };
                rows.iter().map(|row| row.iter().map(term).collect()).collect()
            };
            if let Some(terms) = plain {
                roles[value.index()] = Role::Mixture(Mixture { weights, terms });
            } else if let Some(terms) = operated() {
                roles[value.index()] = Role::FrameMixture(terms);
            } else if let Some(terms) = filtered() {
                roles[value.index()] = Role::FilterMixture(terms);
            } else {
                mixed[value.index()] = false;
            }
        }
    }
}

/// What a loop group computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// Space it runs over; `Point` for flat arrays of numbers.
    pub(crate) space: Space,
    /// Leading axes iterated outside.
    pub(crate) outer: usize,
    /// Values stored or summed.
    pub(crate) roots: Vec<Value>,
}

/// Nodes to be stored, in node order, with the leaves each loop root reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// Values that get a buffer and a launch.
    pub(crate) stored: BTreeSet<Value>,
    /// Operands of every stored value (buffers it reads).
    pub(crate) reads: BTreeMap<Value, BTreeSet<Value>>,
}

/// Resolves aliases.
pub(crate) fn storage(roles: &[Role], mut value: Value) -> (Value, usize) {
    let mut offset = 0;
    while let Role::Alias(target, more) = &roles[value.index()] {
        offset += more;
        value = *target;
    }
    (value, offset)
}

/// True when a loop over the readers' space stops at `value` and reads it from memory.
fn is_leaf(graph: &Graph, roles: &[Role], users: &[Vec<Value>], value: Value, space: Space) -> bool {
    match &roles[value.index()] {
        Role::Loop => {
            let node = graph.node(value);
            node.ty.space != space || matches!(&node.op, Op::Pointwise(f) if is_dear(f) && users[value.index()].len() > 1)
        }
        Role::Literal(_) => false,
        // An alias of a loop value is seen through; of anything else it is read from memory.
        Role::Alias(target, 0) => graph.ty(value).space != space || space == Space::Point || is_leaf(graph, roles, users, *target, space),
        _ => true,
    }
}

/// What the loop for `root` reads from memory, and the rows its body computes besides. With the product of the axes that are iterated outside, bodies end at [`LARGEST_BODY`]: what lies
/// further away is read too; without it they do not end, and all axes count.
fn body_reads(graph: &Graph, roles: &[Role], users: &[Vec<Value>], root: Value, fusion: Fusion, outer: Option<usize>) -> (BTreeSet<Value>, usize) {
    let node = graph.node(root);
    let space = if roles[root.index()] == Role::Reduction { graph.ty(node.operands[0]).space } else { node.ty.space };
    let mut reads = BTreeSet::new();
    // The nearest first, so that a body that is too large ends far from its root.
    let mut inner: VecDeque<Value> = node.operands.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let mut rows = 0;
    while let Some(operand) = inner.pop_front() {
        if !seen.insert(operand) || matches!(roles[operand.index()], Role::Literal(_)) {
            continue;
        }
        // Numbers are rows of one loop over all of them.
        let more = if space == Space::Point { 1 } else { graph.ty(operand).count() / outer.unwrap_or(1) };
        let is_large = outer.is_some() && rows + more > LARGEST_BODY && matches!(roles[operand.index()], Role::Loop);
        if fusion == Fusion::None || is_large || is_leaf(graph, roles, users, operand, space) {
            reads.insert(operand);
        } else {
            rows += more;
            inner.extend(graph.node(operand).operands.iter().copied());
        }
    }
    (reads, rows)
}

/// Which values are stored, starting from the outputs.
pub(crate) fn demand(graph: &Graph, roles: &[Role], fusion: Fusion) -> Demand {
    let users = graph.users();
    let mut demand = Demand::default();
    let mut stack: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    while let Some(value) = stack.pop() {
        let (value, _) = storage(roles, value);
        if !demand.stored.insert(value) {
            continue;
        }
        let node = graph.node(value);
        let mut reads = BTreeSet::new();
        match &roles[value.index()] {
            Role::Given | Role::Literal(_) => {}
            Role::Alias(..) => {}
            Role::Library => reads.extend(node.operands.iter().copied()),
            Role::Contraction(c) => reads.extend(c.pairs.iter().flat_map(|(a, b)| [a.0, b.0])),
            Role::Mixture(m) => reads.extend(m.terms.iter().flatten().flat_map(|(row, c)| [row.0, c.0])),
            Role::FrameContraction(forms) => reads.extend(forms.iter().flat_map(|form| [form.a.0, form.b.0])),
            Role::FrameMixture(terms) => reads.extend(terms.iter().flatten().flat_map(|term| [term.row.0, term.coefficient.0])),
            Role::FilterContraction(forms) => reads.extend(forms.iter().flat_map(|form| [form.a.0, form.b.0])),
            Role::FilterMixture(terms) => reads.extend(terms.iter().flatten().flat_map(|term| [term.row.0, term.coefficient.0])),
            Role::Loop | Role::Reduction => {
                let rows;
                (reads, rows) = body_reads(graph, roles, &users, value, fusion, None);
                if rows > LARGEST_BODY {
                    let whole: BTreeSet<Value> = reads.iter().map(|v| storage(roles, *v).0).collect();
                    demand.reads.insert(value, whole);
                    let outer = node.ty.axes[..free_axes(graph, roles, &demand, value)].iter().product();
                    (reads, _) = body_reads(graph, roles, &users, value, fusion, Some(outer));
                }
            }
        }
        let reads: BTreeSet<Value> = reads.into_iter().map(|v| storage(roles, v).0).collect();
        stack.extend(reads.iter().copied());
        demand.reads.insert(value, reads);
    }
    demand
}

/// Leading axes of a loop root that no node of its body touches.
pub(crate) fn free_axes(graph: &Graph, roles: &[Role], demand: &Demand, root: Value) -> usize {
    let node = graph.node(root);
    let reduction = roles[root.index()] == Role::Reduction;
    if !reduction && node.ty.space == Space::Point {
        return 0;
    }
    let space = if reduction { graph.ty(node.operands[0]).space } else { node.ty.space };
    let reads = &demand.reads[&root];
    let mut free = node.ty.axes.len();
    let mut inner = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(value) = inner.pop() {
        if !seen.insert(value) || matches!(roles[value.index()], Role::Literal(_)) {
            continue;
        }
        let node = graph.node(value);
        free = free.min(node.ty.axes.len());
        if value != root && reads.contains(&storage(roles, value).0) {
            continue;
        }
        if let Op::Linear { map, adjoint } = &node.op
            && let Ok(signature) = map.signature()
        {
            // The axes in front are those of the operand, too.
            let own = if *adjoint { &signature.domain.0 } else { &signature.range.0 };
            free = free.min(node.ty.axes.len() - own.len());
        }
        inner.extend(node.operands.iter().filter(|v| graph.ty(**v).space == space).copied());
    }
    free
}

/// Streams and body of a group.
pub(crate) struct Built {
    /// The body.
    pub(crate) body: Body,
    /// Buffers by stream: value, written.
    pub(crate) streams: Vec<(Value, bool)>,
    /// Reductions whose weights are tables.
    pub(crate) tables: Vec<Linear>,
    /// For every reduction root: first sum and number of sums.
    pub(crate) sums: Vec<(Value, usize, usize)>,
}

struct Expansion<'a> {
    graph: &'a Graph,
    roles: &'a [Role],
    reads: BTreeSet<Value>,
    space: Space,
    /// f64 between rows of a value.
    element: &'a dyn Fn(Value) -> usize,
    /// Product of the leading axes iterated outside.
    outer: usize,
    builder: BodyBuilder,
    streams: Vec<(Value, bool)>,
    tables: Vec<Linear>,
    memo: HashMap<Row, Id>,
    axis_memo: HashMap<Value, std::rc::Rc<Vec<Vec<(f64, usize)>>>>,
}

impl Expansion<'_> {
    fn stream(&mut self, value: Value, written: bool) -> usize {
        self.streams.iter().position(|s| *s == (value, written)).unwrap_or_else(|| {
            self.streams.push((value, written));
            self.streams.len() - 1
        })
    }

    /// Elements of the axes of a value inside one outer iteration.
    fn inner_count(&self, value: Value) -> usize {
        self.graph.ty(value).count() / self.outer
    }

    fn weight(&mut self, map: &Linear) -> Id {
        let table = self.tables.iter().position(|t| t == map).unwrap_or_else(|| {
            self.tables.push(map.clone());
            self.tables.len() - 1
        });
        self.builder.add(Instruction::Weight { table })
    }

    fn uniform(&mut self, value: Value, row: usize) -> Id {
        if let Role::Literal(x) = self.roles[value.index()] {
            return self.builder.constant(x);
        }
        // Streams are named by the value read, aliases included, so that outer iterations step by its own size.
        let stream = self.stream(value, false);
        self.builder.add(Instruction::Uniform { stream, offset: row })
    }

    /// Row `row` (inside the outer iteration) of a value in the loop's space.
    fn row(&mut self, value: Value, row: usize, is_root: bool) -> Id {
        if let Some(id) = self.memo.get(&(value, row))
            && !is_root
        {
            return *id;
        }
        if let Role::Literal(x) = self.roles[value.index()] {
            return self.builder.constant(x);
        }
        let (target, _) = storage(self.roles, value);
        let id = if !is_root && self.reads.contains(&target) && self.graph.ty(value).space == self.space {
            let stream = self.stream(value, false);
            self.builder.add(Instruction::Load { stream, offset: row * (self.element)(target) })
        } else {
            self.compute(value, row)
        };
        self.memo.insert((value, row), id);
        id
    }

    fn compute(&mut self, value: Value, row: usize) -> Id {
        let node = self.graph.node(value);
        match &node.op {
            Op::Pointwise(f) => {
                let arguments: Vec<Id> = node.operands.iter().map(|v| self.row(*v, row, false)).collect();
                self.builder.scalar(f, &arguments)
            }
            Op::Linear { map, adjoint: true } if is_reduction(map) => {
                let c = self.uniform(node.operands[0], row);
                let w = self.weight(map);
                self.builder.multiply(w, c)
            }
            Op::Linear { map: Linear::Spread { .. }, adjoint: false } => self.uniform(node.operands[0], row),
            Op::Linear { map, adjoint } => {
                let terms = match self.axis_memo.get(&value) {
                    Some(terms) => terms.clone(),
                    None => {
                        let (operand, result) = (self.inner_count(node.operands[0]), self.inner_count(value));
                        let terms = std::rc::Rc::new(axis_terms(map, *adjoint, operand, result));
                        self.axis_memo.insert(value, terms.clone());
                        terms
                    }
                };
                let parts: Vec<(f64, Id)> = terms[row].iter().map(|(factor, k)| (*factor, self.row(node.operands[0], *k, false))).collect();
                self.builder.combination(&parts)
            }
            Op::Input(_) | Op::Parameter(_) | Op::Constant(_) | Op::Concat => self.builder.constant(f64::NAN),
        }
    }
}

/// Builds the body of a group, or of one row of each of its roots. `element`: f64 between rows of a stored value (1 for `Point`, whose rows are the trip).
pub(crate) fn build(graph: &Graph, roles: &[Role], demand: &Demand, group: &Group, only: Option<usize>, element: &dyn Fn(Value) -> usize) -> Built {
    let reads: BTreeSet<Value> = group.roots.iter().flat_map(|r| demand.reads[r].iter().copied()).collect();
    let mut e = Expansion {
        graph,
        roles,
        reads,
        space: group.space,
        element,
        outer: group.outer,
        builder: BodyBuilder::default(),
        streams: vec![],
        tables: vec![],
        memo: HashMap::new(),
        axis_memo: HashMap::new(),
    };
    let mut sums = Vec::new();
    for root in &group.roots {
        let node = graph.node(*root);
        if let (Role::Reduction, Op::Linear { map, .. }) = (&roles[root.index()], &node.op) {
            let first = e.builder.body.sums.len();
            let operand = node.operands[0];
            for row in only.map_or(0..e.inner_count(operand), |row| row..row + 1) {
                let id = e.row(operand, row, false);
                let weight = e.weight(map);
                e.builder.body.sums.push((Some(weight), id));
            }
            sums.push((*root, first, e.builder.body.sums.len() - first));
            continue;
        }
        // A flat array of numbers is one row whose trip is its length.
        let rows = if group.space == Space::Point { 1 } else { e.inner_count(*root) };
        for row in only.map_or(0..rows, |row| row..row + 1) {
            let id = e.row(*root, row, true);
            let stream = e.stream(*root, true);
            e.builder.body.stores.push((stream, row * element(*root), id));
        }
    }
    let mut body = e.builder.body;
    body.streams = e.streams.len();
    body.tables = e.tables.len();
    Built { body: body.ordered(), streams: e.streams, tables: e.tables, sums }
}
