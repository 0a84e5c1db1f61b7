//! Canonical text: `Display` of every node. A parsed tree prints to text that parses back to an equal tree.

use std::fmt::{Display, Formatter, Result};

use super::{
    BinaryOperator, Comparison, Condition, Definition, Expr, ExprKind, Filter, Ident, IndexExpr, Item, Loss, Output, Parameter, Program, Return,
    Statistic,
};

/// How tightly the unary minus binds, on the scale of [`BinaryOperator::precedence`].
pub(super) const NEGATE_PRECEDENCE: u8 = 3;

impl BinaryOperator {
    /// How tightly it binds: sums 1, products 2, powers 4; the unary minus lies between products and powers.
    pub(super) fn precedence(self) -> u8 {
        match self {
            BinaryOperator::Add | BinaryOperator::Subtract => 1,
            BinaryOperator::Multiply | BinaryOperator::Divide => 2,
            BinaryOperator::Power => 4,
        }
    }
}

impl Display for BinaryOperator {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            BinaryOperator::Add => "+",
            BinaryOperator::Subtract => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::Power => "^",
        })
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        })
    }
}

/// Writes the nodes with `, ` between them.
fn list<T: Display>(f: &mut Formatter<'_>, nodes: &[T]) -> Result {
    for (place, node) in nodes.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        node.fmt(f)?;
    }
    Ok(())
}

/// Writes `[a, b]`, or nothing for no indices.
fn brackets<T: Display>(f: &mut Formatter<'_>, nodes: &[T]) -> Result {
    if nodes.is_empty() {
        return Ok(());
    }
    f.write_str("[")?;
    list(f, nodes)?;
    f.write_str("]")
}

/// Writes the documentation as a comment block, or nothing.
fn comment(f: &mut Formatter<'_>, docs: &str) -> Result {
    if docs.is_empty() {
        return Ok(());
    }
    for line in docs.split('\n') {
        if line.is_empty() {
            writeln!(f, "//")?;
        } else {
            writeln!(f, "// {line}")?;
        }
    }
    Ok(())
}

impl Display for Ident {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.name)
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (place, item) in self.items.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Item::Statistic(statistic) => statistic.fmt(f),
            Item::Loss(loss) => loss.fmt(f),
            Item::Filter(filter) => filter.fmt(f),
        }
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        comment(f, &self.docs)?;
        writeln!(f, "filter {} {{", self.name)?;
        for definition in &self.definitions {
            writeln!(f, "    {definition}")?;
        }
        f.write_str("}\n")
    }
}

impl Display for Statistic {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        comment(f, &self.docs)?;
        write!(f, "statistic {}(", self.name)?;
        list(f, &self.fields)?;
        if !self.parameters.is_empty() {
            f.write_str("; ")?;
            list(f, &self.parameters)?;
        }
        f.write_str(") {\n")?;
        for definition in &self.definitions {
            writeln!(f, "    {definition}")?;
        }
        for outputs in &self.returns {
            writeln!(f, "    {outputs}")?;
        }
        f.write_str("}\n")
    }
}

impl Display for Parameter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.name.fmt(f)?;
        brackets(f, &self.indices)?;
        match &self.default {
            Some(default) => write!(f, " = {default}"),
            None => Ok(()),
        }
    }
}

impl Display for Definition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.name.fmt(f)?;
        brackets(f, &self.indices)?;
        write!(f, " = {}", self.value)?;
        if !self.conditions.is_empty() {
            f.write_str(" where ")?;
            list(f, &self.conditions)?;
        }
        f.write_str(";")
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} {}", self.left, self.comparison, self.right)
    }
}

impl Display for Return {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("return ")?;
        if let Some(variant) = &self.variant {
            write!(f, "{variant}: ")?;
        }
        list(f, &self.outputs)?;
        f.write_str(";")
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.name.fmt(f)?;
        if self.name != self.definition {
            write!(f, " = {}", self.definition)?;
        }
        Ok(())
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        comment(f, &self.docs)?;
        write!(f, "loss {}(", self.name)?;
        list(f, &self.parameters)?;
        writeln!(f, ") = {};", self.value)
    }
}

impl Display for IndexExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (place, term) in self.terms.iter().enumerate() {
            let negative = term.coefficient < 0;
            match (place, negative) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            match term.coefficient.unsigned_abs() {
                1 => {}
                magnitude => write!(f, "{magnitude}*")?,
            }
            match &term.function {
                None => term.name.fmt(f)?,
                Some(function) => write!(f, "{function}({})", term.name)?,
            }
        }
        if self.terms.is_empty() {
            return write!(f, "{}", self.constant);
        }
        match self.constant {
            0 => Ok(()),
            constant if constant < 0 => write!(f, " - {}", constant.unsigned_abs()),
            constant => write!(f, " + {constant}"),
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            ExprKind::Number(value) => number(f, *value),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Access { name, indices } => {
                name.fmt(f)?;
                brackets(f, indices)
            }
            ExprKind::Call { function, arguments } => {
                write!(f, "{function}(")?;
                list(f, arguments)?;
                f.write_str(")")
            }
            ExprKind::Reduce { function, indices, argument } => {
                write!(f, "{function}{{")?;
                list(f, indices)?;
                write!(f, "}}({argument})")
            }
            ExprKind::Negate(operand) => {
                f.write_str("-")?;
                operand_text(f, operand, NEGATE_PRECEDENCE)
            }
            ExprKind::Binary { operator, left, right } => {
                let precedence = operator.precedence();
                if *operator == BinaryOperator::Power {
                    // Only an atom may stand on the left; a minus or another power may stand on the right.
                    operand_text(f, left, precedence + 1)?;
                    f.write_str("^")?;
                    operand_text(f, right, NEGATE_PRECEDENCE)
                } else {
                    operand_text(f, left, precedence)?;
                    write!(f, " {operator} ")?;
                    operand_text(f, right, precedence + 1)
                }
            }
        }
    }
}

/// Writes an operand, in brackets when it binds less tightly than `minimum`.
fn operand_text(f: &mut Formatter<'_>, operand: &Expr, minimum: u8) -> Result {
    let precedence = match &operand.kind {
        ExprKind::Binary { operator, .. } => operator.precedence(),
        ExprKind::Negate(_) => NEGATE_PRECEDENCE,
        ExprKind::Number(_) | ExprKind::Name(_) | ExprKind::Access { .. } | ExprKind::Call { .. } | ExprKind::Reduce { .. } => u8::MAX,
    };
    if precedence < minimum { write!(f, "({operand})") } else { operand.fmt(f) }
}

/// Writes the shortest text that reads back to the same number.
fn number(f: &mut Formatter<'_>, value: f64) -> Result {
    if value == std::f64::consts::PI {
        f.write_str("pi")
    } else if value.fract() == 0.0 && value.abs() < 1e15 {
        write!(f, "{value}")
    } else {
        write!(f, "{value:?}")
    }
}
