//! Pieces of graphs that several domains lower to.

use crate::domain::{DomainError, Field};
use scatterc_ir::graph::Builder;
use scatterc_ir::ops::pointwise;
use scatterc_ir::{Linear, Space, Value};

/// A pointwise row of the op table, by name.
pub(crate) fn apply(b: &mut Builder, name: &str, operands: &[Value]) -> Result<Value, DomainError> {
    let row = pointwise(name).expect("the row exists in the op table");
    Ok(b.pointwise(row.expression.clone(), operands)?)
}

/// Real (0) or imaginary (1) part of a map's result.
pub(crate) fn component(c: i64) -> Linear {
    Linear::Reindex { from: vec![2], to: vec![], map: vec![vec![c]] }
}

/// A value without axes, repeated along those of `like`.
pub(crate) fn repeated(b: &mut Builder, value: Value, like: Value) -> Result<Value, DomainError> {
    let to = b.ty(like).axes.clone();
    Ok(if to.is_empty() { value } else { b.linear(Linear::Reindex { from: vec![], to, map: vec![] }, value)? })
}

/// A field whose parts are what `f` makes of those of `field`.
pub(crate) fn parts(field: &Field, mut f: impl FnMut(Value) -> Result<Value, DomainError>) -> Result<Field, DomainError> {
    let im = field.im.map(&mut f).transpose()?;
    Ok(Field { re: f(field.re)?, im, labels: field.labels.clone(), raw: None })
}

/// A field filtered by complex stencils, with a further axis `label`; `filter` gives the real and imaginary part for a real value.
pub(crate) fn filtered(
    b: &mut Builder,
    field: &Field,
    label: &str,
    filter: impl Fn(&mut Builder, Value) -> Result<(Value, Value), DomainError>,
) -> Result<Field, DomainError> {
    let (mut re, mut im) = filter(b, field.re)?;
    if let Some(own) = field.im {
        let (turned_re, turned_im) = filter(b, own)?;
        re = apply(b, "sub", &[re, turned_im])?;
        im = apply(b, "add", &[im, turned_re])?;
    }
    Ok(Field { re, im: Some(im), labels: field.labels.iter().cloned().chain([label.to_string()]).collect(), raw: None })
}

/// sum w f / sum w, both sums taken by `mean`; the weights have no axes.
pub(crate) fn weighted_average(b: &mut Builder, mean: Linear, weights: Value, value: Value) -> Result<Value, DomainError> {
    let total = b.linear(mean.clone(), weights)?;
    let weights = repeated(b, weights, value)?;
    let product = apply(b, "mul", &[weights, value])?;
    let sum = b.linear(mean, product)?;
    let total = repeated(b, total, sum)?;
    apply(b, "div", &[sum, total])
}

/// Weights where they exceed what `limit` has everywhere, and 0 elsewhere.
pub(crate) fn kept_above(b: &mut Builder, weights: Value, limit: Value) -> Result<Value, DomainError> {
    let above = apply(b, "sub", &[weights, limit])?;
    let sign = apply(b, "sign", &[above])?;
    let kept = apply(b, "relu", &[sign])?;
    apply(b, "mul", &[weights, kept])
}

/// Average of |f|^2, or of |f - mean f|^2 when `centred`, from the average of a real value and from `spread`, which puts numbers on samples.
pub(crate) fn power(
    b: &mut Builder,
    field: &Field,
    centred: bool,
    average: impl Fn(&mut Builder, Value) -> Result<Value, DomainError>,
    spread: impl Fn(&mut Builder, Value, Space) -> Result<Value, DomainError>,
) -> Result<Value, DomainError> {
    let mut total: Option<Value> = None;
    for value in [Some(field.re), field.im].into_iter().flatten() {
        let value = if centred {
            let mean = average(b, value)?;
            let everywhere = spread(b, mean, b.ty(value).space)?;
            apply(b, "sub", &[value, everywhere])?
        } else {
            value
        };
        let squares = apply(b, "square", &[value])?;
        let part = average(b, squares)?;
        total = Some(match total {
            Some(sum) => apply(b, "add", &[sum, part])?,
            None => part,
        });
    }
    total.ok_or_else(|| DomainError::Unsupported("a field without parts".into()))
}
