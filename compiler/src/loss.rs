//! Losses: a checked loss applied to every output of a bound statistic, summed.
//!
//! `loss l2(S, T) = mean(abs(S - T)^2)` becomes sum over outputs of the mean over entries; targets (and weights) are run-time parameters `T.<output>`, `w.<output>`,
//! so changing a target recompiles nothing.

use crate::bind::{Bound, Cell, Part, arithmetic, call, fault};
use crate::gradient::imported;
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::notation::{BinaryOperator, CheckedLoss, Expr, ExprKind, NotationError, Span};
use scatterc_ir::scalar::{self, Binary, Scalar};
use scatterc_ir::{Graph, Linear, Space, Type, Value};

/// A loss that cannot be applied.
///
/// ```
/// # use scatterc_compiler::bind::{BindOptions, bind};
/// # use scatterc_compiler::loss::{LossError, parameter_name, with_loss};
/// # use scatterc_compiler::{domain::InputKind, sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; } loss l2(S, T) = mean(abs(S - T)^2);";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// # let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default()).expect("the statistic fits the sphere");
/// let fields = check_source("statistic f(x) { W[j, g] = wavelet(x, j, g); return W; }", "f.scat", &vocabulary()).expect("the text is right");
/// let bound = bind(&fields.statistics[0], &sphere, &BindOptions::default()).expect("fields may be returned");
/// // But a loss compares numbers.
/// let refused = with_loss(&bound, &checked.losses[0]).unwrap_err();
/// assert!(refused.to_string().starts_with("loss `l2`: output `W"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A fault at a place of the loss, with what was expected, what was found and, where possible, what would be right.
    #[error("loss `{loss}`: {}", fault.text())]
    At {
        /// Name of the loss.
        loss: String,
        /// The fault.
        fault: Box<NotationError>,
    },
    /// A node that does not type.
    #[error(transparent)]
    Type(#[from] TypeError),
}

impl LossError {
    /// The fault as [`NotationError::render`] shows it: the line of `source`, the text that declares the loss, with a caret, where a place is known.
    ///
    /// ```
    /// # use scatterc_compiler::bind::{BindOptions, bind};
    /// # use scatterc_compiler::loss::with_loss;
    /// # use scatterc_compiler::{domain::InputKind, sphere::Sphere, vocabulary};
    /// # use scatterc_ir::notation::check_source;
    /// let text = "statistic level(x) { m = mean(x); return m; }\nloss l(S, T) = 3;\n";
    /// let checked = check_source(text, "s.scat", &vocabulary()).expect("right without a domain");
    /// let sphere = Sphere::new(8, 1, 0, InputKind::Full).expect("the sizes are right");
    /// let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default()).expect("the statistic fits the sphere");
    /// let shown = with_loss(&bound, &checked.losses[0]).unwrap_err().render(text, "s.scat");
    /// assert!(shown.contains(" --> s.scat:2:16\n") && shown.contains("2 | loss l(S, T) = 3;"));
    /// ```
    pub fn render(&self, source: &str, origin: &str) -> String {
        match self {
            LossError::At { fault, .. } => fault.render(source, origin),
            LossError::Type(error) => format!("error: {error}\n --> {origin}\n"),
        }
    }
}

/// Name of the run-time parameter that holds argument `argument` of the loss for an output: `T.S1`; a complex output has `T.m.re` and `T.m.im`.
///
/// ```
/// use scatterc_compiler::loss::parameter_name;
///
/// assert_eq!(parameter_name("T", "S2"), "T.S2");
/// ```
pub fn parameter_name(argument: &str, output: &str) -> String {
    format!("{argument}.{output}")
}

/// Entries of the output at hand and the loss's arguments for it.
struct Scope<'a> {
    names: Vec<(&'a str, Cell)>,
    like: Value,
    entries: usize,
    /// Rows and columns of an output whose entries are images, and their axes without the batch.
    images: Option<(usize, usize, Vec<usize>)>,
}

/// A loss expression has entries (an array as long as the output) or is a number per map.
#[derive(Clone, Copy)]
enum Shaped {
    Entries(Cell),
    Number(Cell),
}

/// The graph of the loss: one output `value`, a number per map. Targets and weights are parameters as long as one map's output.
///
/// ```
/// # use scatterc_compiler::bind::{BindOptions, bind};
/// # use scatterc_compiler::loss::{LossError, parameter_name, with_loss};
/// # use scatterc_compiler::{domain::InputKind, sphere::Sphere, vocabulary};
/// # use scatterc_ir::notation::check_source;
/// # let text = "statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; } loss l2(S, T) = mean(abs(S - T)^2);";
/// # let checked = check_source(text, "power.scat", &vocabulary()).expect("the text is right");
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("the sizes are right");
/// # let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default()).expect("the statistic fits the sphere");
/// let graph = with_loss(&bound, &checked.losses[0])?;
/// assert_eq!(graph.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["value"]);
/// assert!(graph.to_string().contains("parameter T.S2 : [4] point"));
/// # Ok::<(), LossError>(())
/// ```
pub fn with_loss(bound: &Bound, loss: &CheckedLoss) -> Result<Graph, LossError> {
    let (mut b, map) = imported(&bound.graph)?;
    let fail = |span: Span, message: String| LossError::At { loss: loss.loss.name.name.clone(), fault: Box::new(fault(span, message)) };
    // What stands for the output.
    let argument = loss.loss.parameters.first().map_or(loss.loss.name.span, |parameter| parameter.span);
    let mut total: Option<Value> = None;
    let batch = bound.batch;
    for info in &bound.outputs {
        let find = |name: &str| bound.graph.outputs.iter().find(|o| o.name == name).map(|o| map[o.value.index()]);
        let mut parts: Vec<(String, Value)> = if info.complex {
            [format!("{}.re", info.name), format!("{}.im", info.name)].into_iter().filter_map(|n| find(&n).map(|v| (n, v))).collect()
        } else {
            find(&info.name).map(|v| (info.name.clone(), v)).into_iter().collect()
        };
        // Masks and components count like further entries.
        for (_, value) in &mut parts {
            let axes = b.ty(*value).axes[usize::from(batch.is_some())..].to_vec();
            if axes.len() > 1 && b.ty(*value).space == Space::Point {
                let to = vec![axes.iter().product()];
                *value = b.linear(Linear::Reshape { from: axes, to }, *value)?;
            }
        }
        let Some((_, first)) = parts.first().cloned() else {
            return Err(fail(argument, format!("output `{}` is not in the graph", info.name)));
        };
        let ty = b.ty(first).clone();
        let own: Vec<usize> = ty.axes.iter().skip(usize::from(batch.is_some())).copied().collect();
        let images = match ty.space {
            Space::Image { H, W } => Some((H, W, own.clone())),
            Space::Point if !ty.axes.is_empty() => None,
            _ => return Err(fail(argument, format!("output `{}` has type {ty}; a loss needs arrays of numbers or images", info.name))),
        };
        // Images count one by one: their samples are averaged or summed first.
        let entries = if images.is_some() { own.iter().product() } else { ty.axes[ty.axes.len() - 1] };
        let mut names: Vec<(&str, Cell)> = Vec::new();
        for (k, argument) in loss.loss.parameters.iter().enumerate() {
            let mut cells = Vec::new();
            // The first argument is the output itself, the second its target (complex as the output is), further ones are real weights.
            let count = if k < 2 { parts.len() } else { 1 };
            for (name, value) in parts.iter().take(count) {
                cells.push(if k == 0 {
                    *value
                } else {
                    let name = if k < 2 { name.as_str() } else { info.name.as_str() };
                    let given = b.parameter(&parameter_name(&argument.name, name), Type::new(own.clone(), ty.space))?;
                    if own == ty.axes {
                        given
                    } else {
                        let n = own.len();
                        let map = (0..n).map(|k| (0..n + 2).map(|o| i64::from(o == k + 1)).collect()).collect();
                        b.linear(Linear::Reindex { from: own.clone(), to: ty.axes.clone(), map }, given)?
                    }
                });
            }
            names.push((&argument.name, Cell { re: Part::Value(cells[0]), im: cells.get(1).map(|v| Part::Value(*v)) }));
        }
        let scope = Scope { names, like: first, entries, images };
        // A loss may fit one output and not another.
        let unfit = |(span, message): Fault| match message.split_once("; ") {
            Some((message, help)) => fail(span, format!("{message}, with the output `{}`; {help}", info.name)),
            None => fail(span, format!("{message}, with the output `{}`", info.name)),
        };
        let whole = loss.loss.value.span;
        let value = match evaluate(&mut b, &loss.loss.value, &scope).map_err(unfit)? {
            Shaped::Number(Cell { re: Part::Value(v), im: None }) => v,
            Shaped::Number(Cell { re: Part::Literal(x), im: None }) => return Err(fail(whole, format!("the loss is the constant {x}"))),
            Shaped::Number(_) => return Err(unfit((whole, "the loss is complex; take re, im or abs".into()))),
            Shaped::Entries(_) => return Err(fail(whole, "the loss is an array; reduce it with mean or sum".into())),
        };
        total = Some(match total {
            None => value,
            Some(sum) => b.pointwise(scalar::binary(Binary::Add, Scalar::Argument(0), Scalar::Argument(1)), &[sum, value])?,
        });
    }
    let Some(total) = total else { return Err(fail(argument, "the statistic has no outputs".into())) };
    b.output("value", total);
    Ok(b.finish())
}

/// What is wrong, and where.
type Fault = (Span, String);

fn evaluate(b: &mut Builder, expr: &Expr, scope: &Scope) -> Result<Shaped, Fault> {
    let here = |message: String| (expr.span, message);
    match &expr.kind {
        ExprKind::Number(x) => Ok(Shaped::Number(Cell { re: Part::Literal(*x), im: None })),
        ExprKind::Name(name) => match scope.names.iter().find(|(n, _)| n == name) {
            Some((_, cell)) => Ok(Shaped::Entries(*cell)),
            None => Err(here(format!("`{name}` is not an argument of the loss"))),
        },
        ExprKind::Access { name, .. } => Err((name.span, format!("`{}` cannot be indexed in a loss", name.name))),
        ExprKind::Reduce { function, .. } => Err((function.span, "a loss reduces over entries with mean(..) or sum(..), without indices".into())),
        ExprKind::Negate(operand) => {
            let minus = Shaped::Number(Cell { re: Part::Literal(-1.0), im: None });
            let value = evaluate(b, operand, scope)?;
            pair(b, scope, minus, value, |b, x, y| arithmetic(b, BinaryOperator::Multiply, x, y)).map_err(here)
        }
        ExprKind::Binary { operator, left, right } => {
            let (x, y) = (evaluate(b, left, scope)?, evaluate(b, right, scope)?);
            pair(b, scope, x, y, |b, x, y| arithmetic(b, *operator, x, y)).map_err(here)
        }
        ExprKind::Call { function, arguments } => match (function.name.as_str(), arguments.as_slice()) {
            (name @ ("mean" | "sum"), [argument]) => {
                let Shaped::Entries(cell) = evaluate(b, argument, scope)? else {
                    return Err(here(format!("`{name}` in a loss needs an array, found a number")));
                };
                let n = scope.entries;
                let spread = Linear::Reindex { from: vec![], to: vec![n], map: vec![] };
                let mut part = |p: Part| -> Result<Part, String> {
                    let v = match p {
                        Part::Value(v) => v,
                        Part::Literal(x) => b.pointwise(Scalar::Constant(x), &[scope.like]).map_err(|e| e.to_string())?,
                    };
                    let fail = |e: TypeError| e.to_string();
                    let (v, samples) = match &scope.images {
                        None => (v, 1),
                        Some((H, W, own)) => {
                            let average = Linear::Average { H: *H, W: *W, top: 0, bottom: 0, left: 0, right: 0 };
                            let v = b.linear(average, v).map_err(fail)?;
                            (b.linear(Linear::Reshape { from: own.clone(), to: vec![n] }, v).map_err(fail)?, H * W)
                        }
                    };
                    let sum = b.adjoint(spread.clone(), v).map_err(fail)?;
                    let by = if name == "mean" { 1.0 / n as f64 } else { samples as f64 };
                    Ok(Part::Value(if by == 1.0 { sum } else { b.linear(Linear::Scale { by }, sum).map_err(fail)? }))
                };
                let re = part(cell.re).map_err(here)?;
                Ok(Shaped::Number(Cell { re, im: cell.im.map(&mut part).transpose().map_err(here)? }))
            }
            ("max", [_]) => Err((function.span, "`max` over entries has no smooth gradient; use mean or sum of a power".into())),
            (name, [x]) => match evaluate(b, x, scope)? {
                Shaped::Entries(cell) => Ok(Shaped::Entries(call(b, name, &[cell]).map_err(here)?)),
                Shaped::Number(cell) => Ok(Shaped::Number(call(b, name, &[cell]).map_err(here)?)),
            },
            (name, [x, y]) => {
                let (x, y) = (evaluate(b, x, scope)?, evaluate(b, y, scope)?);
                pair(b, scope, x, y, |b, x, y| call(b, name, &[x, y])).map_err(here)
            }
            (name, _) => Err(here(format!("`{name}` is not available in a loss with {} arguments", arguments.len()))),
        },
    }
}

/// Applies `f` to two values after broadcasting a number over the entries where the other is an array.
fn pair(
    b: &mut Builder,
    scope: &Scope,
    x: Shaped,
    y: Shaped,
    f: impl FnOnce(&mut Builder, Cell, Cell) -> Result<Cell, String>,
) -> Result<Shaped, String> {
    match (x, y) {
        (Shaped::Number(x), Shaped::Number(y)) => Ok(Shaped::Number(f(b, x, y)?)),
        (Shaped::Entries(x), Shaped::Entries(y)) => Ok(Shaped::Entries(f(b, x, y)?)),
        (Shaped::Number(x), Shaped::Entries(y)) => {
            let x = broadcast(b, scope, x)?;
            Ok(Shaped::Entries(f(b, x, y)?))
        }
        (Shaped::Entries(x), Shaped::Number(y)) => {
            let y = broadcast(b, scope, y)?;
            Ok(Shaped::Entries(f(b, x, y)?))
        }
    }
}

fn broadcast(b: &mut Builder, scope: &Scope, cell: Cell) -> Result<Cell, String> {
    let fail = |e: TypeError| e.to_string();
    let own = scope.images.as_ref().map_or_else(|| vec![scope.entries], |images| images.2.clone());
    let spread = Linear::Reindex { from: vec![], to: own, map: vec![] };
    let mut part = |p: Part| match p {
        Part::Literal(x) => Ok::<Part, String>(Part::Literal(x)),
        Part::Value(v) => {
            let v = b.linear(spread.clone(), v).map_err(fail)?;
            Ok(Part::Value(match &scope.images {
                None => v,
                Some((H, W, _)) => {
                    let v = b.adjoint(Linear::Average { H: *H, W: *W, top: 0, bottom: 0, left: 0, right: 0 }, v).map_err(fail)?;
                    b.linear(Linear::Scale { by: (H * W) as f64 }, v).map_err(fail)?
                }
            }))
        }
    };
    Ok(Cell { re: part(cell.re)?, im: cell.im.map(&mut part).transpose()? })
}
