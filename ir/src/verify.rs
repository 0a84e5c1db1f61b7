//! The numbered rules every graph obeys. All faults are collected, not the first.
//!
//! - V1: operands precede users.
//! - V2: the type of a node is what its op makes of its operands (constraints C1, C2 .. of the op table included).
//! - V3: inputs and parameters have no operands and unique names.
//! - V4: outputs exist and have unique names.
//! - V5: every pointwise node uses as many operands as its expression needs.
//! - V6: no value is larger than 2^40 numbers.

use crate::graph::{Graph, Op, Value, infer};
use std::collections::HashSet;

/// One broken rule.
///
/// ```
/// use scatterc_ir::{Value, text::parse, verify::verify};
///
/// // A result of the wrong type breaks V2.
/// let graph = parse("graph g {\n  %0 = input x : [] map(4)\n  %1 = mean(%0) {L=4} : [2] point\n  return m = %1\n}\n")?;
/// let faults = verify(&graph).unwrap_err();
/// assert_eq!((faults[0].rule, faults[0].value), ("V2", Value(1)));
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{rule} at {value}: {message}")]
pub struct VerifyError {
    /// Number of the rule, `V1` ..
    pub rule: &'static str,
    /// Node at fault.
    pub value: Value,
    /// What was expected and found.
    pub message: String,
}

/// Checks all rules.
///
/// ```
/// use scatterc_ir::{text::parse, verify::verify};
///
/// assert!(verify(&parse("graph g {\n  %0 = input x : [] map(4)\n  return x = %0\n}\n")?).is_ok());
/// assert!(verify(&parse("graph g {\n  %0 = input x : [] map(4)\n  return x = %0\n  return x = %0\n}\n")?).is_err());
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    for (k, node) in graph.nodes.iter().enumerate() {
        let value = Value(k as u32);
        let mut fault = |rule, message: String| faults.push(VerifyError { rule, value, message });
        if let Some(operand) = node.operands.iter().find(|v| v.index() >= k) {
            fault("V1", format!("operand {operand} does not precede its user"));
            continue;
        }
        if node.ty.axes.iter().try_fold(node.ty.space.len(), |a, n| a.checked_mul(*n)).is_none_or(|n| n > 1 << 40) {
            fault("V6", format!("type {} is too large", node.ty));
        }
        match &node.op {
            Op::Input(name) | Op::Parameter(name) => {
                if !node.operands.is_empty() {
                    fault("V3", format!("`{name}` has {} operands, expected none", node.operands.len()));
                }
                if !names.insert(name.clone()) {
                    fault("V3", format!("`{name}` is declared twice"));
                }
            }
            op => {
                if let Op::Pointwise(f) = op
                    && f.arity() > node.operands.len()
                {
                    fault("V5", format!("expression `{f}` needs {} operands, found {}", f.arity(), node.operands.len()));
                    continue;
                }
                let types: Vec<_> = node.operands.iter().map(|v| graph.ty(*v)).collect();
                match infer(op, &types) {
                    Ok(ty) if ty == node.ty => {}
                    Ok(ty) => fault("V2", format!("type is {}, expected {ty}", node.ty)),
                    Err(error) => fault("V2", error.to_string()),
                }
            }
        }
    }
    let mut outputs = HashSet::new();
    for output in &graph.outputs {
        if output.value.index() >= graph.nodes.len() {
            faults.push(VerifyError { rule: "V4", value: output.value, message: format!("output `{}` does not exist", output.name) });
        }
        if !outputs.insert(&output.name) {
            faults.push(VerifyError { rule: "V4", value: output.value, message: format!("output `{}` is named twice", output.name) });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
