//! Loop nests, the kernel-level form: a straight-line body over the elements of a space, with loads, stores and weighted sums. Backends turn it into text.

use scatterc_ir::scalar::{Binary, Scalar, Unary};
use std::collections::HashMap;
use std::fmt;

/// Id of an instruction of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u32);

/// One instruction; operands precede users.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// Element of a stream at the loop index, plus `offset` f64 (the channel).
    Load {
        /// Stream.
        stream: usize,
        /// f64 from the start of the stream.
        offset: usize,
    },
    /// A number that does not depend on the loop index.
    Uniform {
        /// Stream.
        stream: usize,
        /// f64 from the start of the stream.
        offset: usize,
    },
    /// Weight of the element.
    Weight {
        /// Table.
        table: usize,
    },
    /// A literal.
    Constant(f64),
    /// A primitive of one operand.
    Unary(Unary, Id),
    /// A primitive of two operands.
    Binary(Binary, Id, Id),
    /// a b + c in one rounding.
    MultiplyAdd(Id, Id, Id),
}

/// A loop body.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Body {
    /// Instructions.
    pub instructions: Vec<Instruction>,
    /// Stores: stream, offset, value.
    pub stores: Vec<(usize, usize, Id)>,
    /// Sums over the trip: factors whose product is added (weight and value).
    pub sums: Vec<(Option<Id>, Id)>,
    /// Number of streams.
    pub streams: usize,
    /// Number of tables.
    pub tables: usize,
}

/// Builds a body; equal instructions are shared.
#[derive(Default)]
pub struct BodyBuilder {
    /// The body so far.
    pub body: Body,
    seen: HashMap<Key, Id>,
}

/// What an instruction is, as something that can be hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Load(usize, usize),
    Uniform(usize, usize),
    Weight(usize),
    Constant(u64),
    Unary(Unary, Id),
    Binary(Binary, Id, Id),
    MultiplyAdd(Id, Id, Id),
}

impl Key {
    fn new(instruction: &Instruction) -> Key {
        match *instruction {
            Instruction::Load { stream, offset } => Key::Load(stream, offset),
            Instruction::Uniform { stream, offset } => Key::Uniform(stream, offset),
            Instruction::Weight { table } => Key::Weight(table),
            Instruction::Constant(x) => Key::Constant(x.to_bits()),
            Instruction::Unary(op, a) => Key::Unary(op, a),
            Instruction::Binary(op, a, b) => Key::Binary(op, a, b),
            Instruction::MultiplyAdd(a, b, c) => Key::MultiplyAdd(a, b, c),
        }
    }
}

impl BodyBuilder {
    /// Adds an instruction unless an equal one exists.
    pub fn add(&mut self, instruction: Instruction) -> Id {
        let key = Key::new(&instruction);
        if let Some(id) = self.seen.get(&key) {
            return *id;
        }
        let id = Id(self.body.instructions.len() as u32);
        self.body.instructions.push(instruction);
        self.seen.insert(key, id);
        id
    }

    /// A literal.
    pub fn constant(&mut self, x: f64) -> Id {
        self.add(Instruction::Constant(x))
    }

    fn literal(&self, id: Id) -> Option<f64> {
        match self.body.instructions[id.0 as usize] {
            Instruction::Constant(x) => Some(x),
            _ => None,
        }
    }

    /// a b.
    pub fn multiply(&mut self, a: Id, b: Id) -> Id {
        match (self.literal(a), self.literal(b)) {
            (Some(x), Some(y)) => self.constant(x * y),
            (Some(1.0), _) => b,
            (_, Some(1.0)) => a,
            _ => self.add(Instruction::Binary(Binary::Multiply, a.min(b), a.max(b))),
        }
    }

    /// Sum of products with literal factors, one multiply-add each.
    pub fn combination(&mut self, terms: &[(f64, Id)]) -> Id {
        let mut sum: Option<Id> = None;
        for (factor, id) in terms.iter().filter(|t| t.0 != 0.0) {
            sum = Some(match sum {
                None if *factor == 1.0 => *id,
                None => {
                    let c = self.constant(*factor);
                    self.multiply(c, *id)
                }
                Some(s) if *factor == 1.0 => self.add(Instruction::Binary(Binary::Add, s, *id)),
                Some(s) => {
                    let c = self.constant(*factor);
                    self.add(Instruction::MultiplyAdd(c, *id, s))
                }
            });
        }
        sum.unwrap_or_else(|| self.constant(0.0))
    }

    /// A scalar expression on given arguments.
    pub fn scalar(&mut self, f: &Scalar, arguments: &[Id]) -> Id {
        match f {
            Scalar::Argument(k) => arguments[*k],
            Scalar::Constant(x) => self.constant(*x),
            Scalar::Unary(op, a) => {
                let a = self.scalar(a, arguments);
                self.add(Instruction::Unary(*op, a))
            }
            Scalar::Binary(Binary::Add, a, b) => {
                // a + x y as one multiply-add.
                if let Scalar::Binary(Binary::Multiply, x, y) = &**b {
                    let (x, y, a) = (self.scalar(x, arguments), self.scalar(y, arguments), self.scalar(a, arguments));
                    return self.add(Instruction::MultiplyAdd(x, y, a));
                }
                if let Scalar::Binary(Binary::Multiply, x, y) = &**a {
                    let (x, y, b) = (self.scalar(x, arguments), self.scalar(y, arguments), self.scalar(b, arguments));
                    return self.add(Instruction::MultiplyAdd(x, y, b));
                }
                let (a, b) = (self.scalar(a, arguments), self.scalar(b, arguments));
                self.add(Instruction::Binary(Binary::Add, a.min(b), a.max(b)))
            }
            Scalar::Binary(Binary::Multiply, a, b) => {
                let (a, b) = (self.scalar(a, arguments), self.scalar(b, arguments));
                self.multiply(a, b)
            }
            Scalar::Binary(op, a, b) => {
                let (a, b) = (self.scalar(a, arguments), self.scalar(b, arguments));
                self.add(Instruction::Binary(*op, a, b))
            }
        }
    }
}

impl Body {
    /// Floating point operations per element (a multiply-add counts two).
    pub fn flops(&self) -> usize {
        let inner: usize = self
            .instructions
            .iter()
            .map(|i| match i {
                Instruction::Load { .. } | Instruction::Uniform { .. } | Instruction::Weight { .. } | Instruction::Constant(_) => 0,
                Instruction::MultiplyAdd(..) => 2,
                _ => 1,
            })
            .sum();
        inner + 2 * self.sums.len()
    }

    /// f64 loaded and stored per element.
    pub fn traffic(&self) -> usize {
        let loads = self.instructions.iter().filter(|i| matches!(i, Instruction::Load { .. } | Instruction::Weight { .. })).count();
        loads + self.stores.len()
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, instruction) in self.instructions.iter().enumerate() {
            match instruction {
                Instruction::Load { stream, offset } => writeln!(f, "  {k} = s{stream}[i + {offset}]")?,
                Instruction::Uniform { stream, offset } => writeln!(f, "  {k} = s{stream}[{offset}]")?,
                Instruction::Weight { table } => writeln!(f, "  {k} = w{table}[i]")?,
                Instruction::Constant(x) => writeln!(f, "  {k} = {x:?}")?,
                Instruction::Unary(op, a) => writeln!(f, "  {k} = {op:?}({})", a.0)?,
                Instruction::Binary(op, a, b) => writeln!(f, "  {k} = {op:?}({}, {})", a.0, b.0)?,
                Instruction::MultiplyAdd(a, b, c) => writeln!(f, "  {k} = {} * {} + {}", a.0, b.0, c.0)?,
            }
        }
        for (stream, offset, id) in &self.stores {
            writeln!(f, "  s{stream}[i + {offset}] = {}", id.0)?;
        }
        for (k, (weight, id)) in self.sums.iter().enumerate() {
            match weight {
                Some(w) => writeln!(f, "  sum{k} += {} * {}", w.0, id.0)?,
                None => writeln!(f, "  sum{k} += {}", id.0)?,
            }
        }
        Ok(())
    }
}
