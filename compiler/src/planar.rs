//! Rewrites for Fourier domains that keep all values: filters one after another become one, transforms there and back disappear, and averages of products are taken
//! from spectra.

use crate::simplify::{prune, rewrite};
use scatterc_ir::filter::Bank;
use scatterc_ir::graph::{Builder, TypeError};
use scatterc_ir::scalar::{self, Binary, Scalar, Unary};
use scatterc_ir::{Graph, Linear, Op, Space, Value};
use std::collections::{BTreeSet, HashMap};

/// `filter_each` of a `filter` of the same scale raises its power; a transform of what was just transformed back is the spectrum itself, and the other way round.
///
/// `fourier(fourier_real(F))` equals F only where F is the spectrum of a real image, so it is replaced only where F is made by maps that keep that.
pub fn filters(graph: &Graph) -> Result<Graph, TypeError> {
    rewrite(graph, |b, value, operands| {
        let Some((map, false)) = graph.linear(value) else { return Ok(None) };
        let inner = b.graph().linear(operands[0]).map(|(map, adjoint)| (map.clone(), adjoint));
        let source = || b.graph().node(operands[0]).operands[0];
        Ok(match (map, inner) {
            (Linear::FilterEach { j, bank, .. }, Some((Linear::Filter { H, W, j: own, power, real, bank: same }, false)))
                if *j == own && *bank == same =>
            {
                let source = source();
                Some(b.linear(Linear::Filter { H, W, j: own, power: power + 1, real, bank: same }, source)?)
            }
            (Linear::FourierReal { .. }, Some((Linear::Fourier { .. }, false))) => Some(source()),
            (Linear::Fourier { .. }, Some((Linear::FourierReal { .. }, false))) if is_hermitian(b.graph(), source()) => Some(source()),
            _ => None,
        })
    })
}

/// Inverse transforms of filtered and folded spectra, and their adjoints, as one map each, so that a filtered spectrum is never stored: the kernel filters and folds while it
/// reads. Filters whose results others read as well are applied again, which costs less than reading them.
pub fn joined(graph: &Graph) -> Result<Graph, TypeError> {
    let joined = rewrite(graph, |b, value, operands| {
        let Some((map, adjoint)) = graph.linear(value) else { return Ok(None) };
        // From the map that was met last back to the first one.
        let mut chain = vec![map.clone()];
        let mut source = operands[0];
        while chain.len() < 3
            && let Some((before, same)) = b.graph().linear(source)
            && same == adjoint
            && matches!(before, Linear::Filter { .. } | Linear::Fold { real: 0, .. } | Linear::FourierInverse { .. })
        {
            chain.push(before.clone());
            source = b.graph().node(source).operands[0];
            if matches!(chain.last(), Some(Linear::Filter { .. })) && !adjoint {
                break;
            }
            if matches!(chain.last(), Some(Linear::FourierInverse { .. })) && adjoint {
                break;
            }
        }
        if adjoint {
            chain.reverse();
        }
        let (filter, (h, w)) = match chain.as_slice() {
            [Linear::FourierInverse { H, W }, filter] | [Linear::FourierInverse { H, W }, Linear::Fold { .. }, filter] => (filter.clone(), (*H, *W)),
            _ => return Ok(None),
        };
        let Linear::Filter { H, W, j, power, real, bank } = filter else { return Ok(None) };
        let one = Linear::FilterInverse { H, W, h, w, j, power, real, bank };
        Ok(Some(if adjoint { b.adjoint(one, source)? } else { b.linear(one, source)? }))
    })?;
    prune(&joined)
}

/// True when a real spectrum comes from a real image by maps that keep it one.
fn is_hermitian(graph: &Graph, mut value: Value) -> bool {
    while let Some((map, false)) = graph.linear(value) {
        match map {
            Linear::Fourier { .. } => return true,
            Linear::Smooth { .. } | Linear::Clip { .. } => {}
            Linear::Fold { real: 1, .. } => {}
            map if map.acts_on_axes() => {}
            _ => return false,
        }
        value = graph.node(value).operands[0];
    }
    false
}

/// One factor of a product under an average: a component of an inverse transform, or a real image, behind maps on axes.
#[derive(Clone, Debug, PartialEq)]
struct Factor {
    base: Value,
    component: Option<i64>,
    /// Maps on axes from the base outwards.
    maps: Vec<Linear>,
}

/// A factor and its sign: negations stand anywhere in the chain of maps.
fn factor(graph: &Graph, mut value: Value) -> Option<(f64, Factor)> {
    let mut maps = Vec::new();
    let mut sign = 1.0;
    loop {
        match &graph.node(value).op {
            Op::Linear { map: map @ Linear::Reindex { .. }, adjoint: false } => maps.push(map.clone()),
            Op::Pointwise(Scalar::Unary(Unary::Negate, inner)) if **inner == Scalar::Argument(0) => sign = -sign,
            _ => break,
        }
        value = graph.node(value).operands[0];
    }
    maps.reverse();
    match graph.linear(value) {
        Some((Linear::FourierInverse { .. }, false)) => match maps.first() {
            Some(Linear::Reindex { from, to, map }) if from == &[2] && to.is_empty() => {
                let component = map.first().and_then(|row| row.first()).copied();
                maps.remove(0);
                component.map(|k| (sign, Factor { base: value, component: Some(k), maps }))
            }
            _ => None,
        },
        _ => matches!(graph.ty(value).space, Space::Image { .. }).then_some((sign, Factor { base: value, component: None, maps })),
    }
}

/// A value as a sum of signed products of two factors.
fn products(graph: &Graph, value: Value, sign: f64, out: &mut Vec<(f64, Factor, Factor)>) -> bool {
    let Op::Pointwise(f) = &graph.node(value).op else { return false };
    expand(graph, f, &graph.node(value).operands, sign, out)
}

fn expand(graph: &Graph, f: &Scalar, operands: &[Value], sign: f64, out: &mut Vec<(f64, Factor, Factor)>) -> bool {
    if out.len() > 4 {
        return false;
    }
    match f {
        Scalar::Binary(Binary::Add, a, b) => expand(graph, a, operands, sign, out) && expand(graph, b, operands, sign, out),
        Scalar::Binary(Binary::Subtract, a, b) => expand(graph, a, operands, sign, out) && expand(graph, b, operands, -sign, out),
        Scalar::Unary(Unary::Negate, a) => expand(graph, a, operands, -sign, out),
        Scalar::Binary(Binary::Multiply, a, b) => {
            let (Some((s, x)), Some((t, y))) = (signed(graph, a, operands), signed(graph, b, operands)) else { return false };
            out.push((sign * s * t, x, y));
            true
        }
        Scalar::Argument(k) => products(graph, operands[*k], sign, out),
        Scalar::Constant(_) | Scalar::Unary(..) | Scalar::Binary(..) => false,
    }
}

/// A factor and its sign.
fn signed(graph: &Graph, f: &Scalar, operands: &[Value]) -> Option<(f64, Factor)> {
    match f {
        Scalar::Argument(k) => factor(graph, operands[*k]),
        Scalar::Unary(Unary::Negate, a) => signed(graph, a, operands).map(|(sign, factor)| (-sign, factor)),
        Scalar::Constant(_) | Scalar::Unary(..) | Scalar::Binary(..) => None,
    }
}

/// An average of x conj(y): which part of it, x and y, where y is filtered.
struct Match {
    x: Factor,
    y: Factor,
    imaginary: bool,
    sign: f64,
    set: (usize, usize),
    filter: (usize, usize, Bank),
}

fn matched(graph: &Graph, value: Value) -> Option<Match> {
    let Some((Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }, false)) = graph.linear(value) else { return None };
    let mut terms = Vec::new();
    if !products(graph, graph.node(value).operands[0], 1.0, &mut terms) {
        return None;
    }
    // y is the filtered one; products may name it first or second.
    for swap in [false, true] {
        let oriented: Vec<(f64, &Factor, &Factor)> = terms.iter().map(|(s, a, b)| if swap { (*s, b, a) } else { (*s, a, b) }).collect();
        let (_, x, y) = *oriented.first()?;
        let Some((set, filter)) = filtered(graph, y) else { continue };
        if set != (*H, *W) || !plain(graph, x, set) {
            continue;
        }
        let base = |f: &Factor| (f.base, f.maps.clone());
        let mut components = Vec::new();
        for (s, a, b) in &oriented {
            // Either orientation within one sum.
            let (a, b) = if (base(a), base(b)) == (base(x), base(y)) { (*a, *b) } else { (*b, *a) };
            if (base(a), base(b)) != (base(x), base(y)) {
                components.clear();
                break;
            }
            components.push((*s, a.component, b.component?));
        }
        components.sort_by_key(|c| (c.1, c.2));
        let (imaginary, sign) = match components.as_slice() {
            [(s, None, 0)] => (false, *s),
            [(s, None, 1)] => (true, -*s),
            [(s, Some(0), 0), (t, Some(1), 1)] if s == t => (false, *s),
            [(s, Some(0), 1), (t, Some(1), 0)] if *s == -*t => (true, *t),
            _ => continue,
        };
        return Some(Match { x: x.clone(), y: y.clone(), imaginary, sign, set, filter });
    }
    None
}

/// For a component of the inverse transform of a filtered spectrum of a real image: the frequencies it has, scale and power of the filter.
fn filtered(graph: &Graph, y: &Factor) -> Option<((usize, usize), (usize, usize, Bank))> {
    y.component?;
    let spectrum = graph.node(y.base).operands[0];
    let Some((Linear::Filter { H, W, j, power, real, bank }, false)) = graph.linear(spectrum) else { return None };
    if bank.folded || !bank.real {
        return None;
    }
    if *real == 0 && !matches!(graph.linear(graph.node(spectrum).operands[0]), Some((Linear::Truncate { real: 1, .. }, false))) {
        return None;
    }
    Some(((*H, *W), (*j, *power, bank.clone())))
}

/// True for a real image, or a component of a truncated one, on that grid.
fn plain(graph: &Graph, x: &Factor, set: (usize, usize)) -> bool {
    match x.component {
        None => graph.ty(x.base).space == Space::Image { H: set.0, W: set.1 },
        Some(_) => matches!(graph.linear(graph.node(x.base).operands[0]), Some((Linear::Truncate { real: 1, h, w, .. }, false)) if (*h, *w) == set),
    }
}

/// mean(x conj(y psi^p)) of real images x, y and real filters = sum over half of the frequencies (Plancherel, and F(-k) = conj F(k)), so that neither the filtered spectrum
/// nor its inverse transform is formed. Where the grid is truncated, all but its own frequencies have weight zero.
pub fn plancherel(graph: &Graph) -> Result<Graph, TypeError> {
    let averaged = rewrite(graph, |b, value, operands| {
        let Some(found) = matched(graph, value) else { return Ok(None) };
        // The copies of the nodes that were matched: they are found again from the average's own operand.
        let Some(copy) = matched_copy(b.graph(), operands[0]) else { return Ok(None) };
        let (x, y) = copy;
        filtered_mean(b, &found, &x, &y)
    })?;
    nested(&averaged)
}

/// Spectra clipped to several grids are clipped one after another, largest first: each reads less, and adjoints add up small spectra before they are put into large ones.
fn nested(graph: &Graph) -> Result<Graph, TypeError> {
    let mut sizes: HashMap<Value, BTreeSet<(usize, usize)>> = HashMap::new();
    for value in graph.values() {
        if let Some((Linear::Clip { h, w, .. }, false)) = graph.linear(value) {
            sizes.entry(graph.node(value).operands[0]).or_default().insert((*h, *w));
        }
    }
    rewrite(graph, |b, value, operands| {
        let Some((Linear::Clip { H, W, h, w }, false)) = graph.linear(value) else { return Ok(None) };
        let all = &sizes[&graph.node(value).operands[0]];
        let mut chain: Vec<(usize, usize)> = all.iter().copied().filter(|(p, q)| p >= h && q >= w).collect();
        // Sizes that do not lie inside one another stay apart.
        if chain.len() < 2 || chain.windows(2).any(|pair| pair[0].1 > pair[1].1) {
            return Ok(None);
        }
        let (mut from, mut source) = ((*H, *W), operands[0]);
        while let Some((p, q)) = chain.pop() {
            source = b.linear(Linear::Clip { H: from.0, W: from.1, h: p, w: q }, source)?;
            from = (p, q);
        }
        Ok(Some(source))
    })
}

/// Bases of x and y among the nodes built so far, by the operand of the average.
fn matched_copy(graph: &Graph, product: Value) -> Option<(Vec<Factor>, Vec<Factor>)> {
    let mut terms = Vec::new();
    if !products(graph, product, 1.0, &mut terms) {
        return None;
    }
    Some(terms.into_iter().map(|(_, x, y)| (x, y)).unzip())
}

fn filtered_mean(b: &mut Builder, found: &Match, xs: &[Factor], ys: &[Factor]) -> Result<Option<Value>, TypeError> {
    // Maps and components tell which copies are x and y; they are the same on both sides.
    let is_y = |f: &&Factor| {
        f.component.is_some()
            && filtered(b.graph(), f).is_some_and(|(set, filter)| set == found.set && filter == found.filter)
            && f.maps == found.y.maps
    };
    let all = || xs.iter().chain(ys);
    let Some(y) = all().find(is_y).cloned() else { return Ok(None) };
    let Some(x) = all()
        .find(|f| {
            f.maps == found.x.maps && f.component.is_some() == found.x.component.is_some() && f.base != y.base && plain(b.graph(), f, found.set)
        })
        .cloned()
    else {
        return Ok(None);
    };
    let (h, w) = found.set;
    let A = match x.component {
        Some(_) => {
            let truncated = b.graph().node(x.base).operands[0];
            b.graph().node(truncated).operands[0]
        }
        None => match b.graph().linear(x.base) {
            Some((Linear::FourierReal { .. }, false)) if is_hermitian(b.graph(), b.graph().node(x.base).operands[0]) => {
                b.graph().node(x.base).operands[0]
            }
            _ => b.linear(Linear::Fourier { H: h, W: w }, x.base)?,
        },
    };
    let filter = b.graph().node(y.base).operands[0];
    let source = b.graph().node(filter).operands[0];
    let B = match b.graph().linear(source) {
        Some((Linear::Truncate { real: 1, .. }, false)) => b.graph().node(source).operands[0],
        _ => source,
    };
    let (Some(A), Some(B)) = (clipped(b, A, h, w)?, clipped(b, B, h, w)?) else { return Ok(None) };
    let Space::RealSpectrum { H, W } = b.ty(A).space else { return Ok(None) };
    if b.ty(B).space != b.ty(A).space {
        return Ok(None);
    }
    let (j, power, bank) = found.filter.clone();
    let filtered = b.linear(Linear::SpectralFilter { H, W, h, w, j, power, bank }, B)?;
    let part = b.linear(Linear::Reindex { from: vec![2], to: vec![], map: vec![vec![i64::from(found.imaginary)]] }, filtered)?;
    let (x, y) = (outward(b, A, &x.maps)?, outward(b, part, &y.maps)?);
    let product = b.pointwise(scalar::binary(Binary::Multiply, Scalar::Argument(0), Scalar::Argument(1)), &[x, y])?;
    let mean = b.linear(Linear::SpectralSum { H, W }, product)?;
    Ok(Some(if found.sign < 0.0 { b.pointwise(scalar::unary(Unary::Negate, Scalar::Argument(0)), &[mean])? } else { mean }))
}

/// Frequencies up to those of an h x w grid, Hermitian pairs kept whole.
fn clipped(b: &mut Builder, value: Value, h: usize, w: usize) -> Result<Option<Value>, TypeError> {
    let Space::RealSpectrum { H, W } = b.ty(value).space else { return Ok(None) };
    let whole = |small: usize, large: usize| if small == large { large } else { 2 * (small / 2) + 1 };
    let (p, q) = (whole(h, H), whole(w, W));
    if p > H || q > W {
        return Ok(None);
    }
    Ok(Some(if (p, q) == (H, W) { value } else { b.linear(Linear::Clip { H, W, h: p, w: q }, value)? }))
}

fn outward(b: &mut Builder, value: Value, maps: &[Linear]) -> Result<Value, TypeError> {
    maps.iter().try_fold(value, |value, map| b.linear(map.clone(), value))
}
