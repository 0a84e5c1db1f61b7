//! Loop nests, the kernel-level form: a straight-line body over the elements of a space, with loads, stores and weighted sums. Backends turn it into text.

use scatterc_ir::scalar::{Binary, Scalar, Unary};
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// Most numbers that a loop keeps in registers from its start; more are read where they are used, again for every element, because they would be spilled.
const MOST_KEPT: usize = 16;

/// Bodies of fewer instructions stay in the order in which they were built: their values fit in registers in any order.
const SMALLEST_ORDERED: usize = 128;

impl Instruction {
    /// The instructions whose values this one takes.
    fn operands(&self) -> impl Iterator<Item = Id> {
        let (a, b, c) = match *self {
            Instruction::Load { .. } | Instruction::Uniform { .. } | Instruction::Weight { .. } | Instruction::Constant(_) => (None, None, None),
            Instruction::Unary(_, a) => (Some(a), None, None),
            Instruction::Binary(_, a, b) => (Some(a), Some(b), None),
            Instruction::MultiplyAdd(a, b, c) => (Some(a), Some(b), Some(c)),
        };
        [a, b, c].into_iter().flatten()
    }

    fn with_operands(self, map: impl Fn(Id) -> Id) -> Instruction {
        match self {
            Instruction::Unary(op, a) => Instruction::Unary(op, map(a)),
            Instruction::Binary(op, a, b) => Instruction::Binary(op, map(a), map(b)),
            Instruction::MultiplyAdd(a, b, c) => Instruction::MultiplyAdd(map(a), map(b), map(c)),
            leaf => leaf,
        }
    }
}

/// A body while its order is chosen.
struct Order<'a> {
    body: &'a Body,
    /// What is already in order.
    done: Vec<bool>,
    order: Vec<Id>,
    /// Users of a value that are still to come.
    users: Vec<u32>,
}

impl Order<'_> {
    /// Instructions that a root still asks for, operands first.
    fn asked(&self, root: &[Id]) -> Vec<Id> {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        // An instruction with whether its operands are in order.
        let mut stack: Vec<(Id, bool)> = root.iter().rev().map(|id| (*id, false)).collect();
        while let Some((id, ready)) = stack.pop() {
            if ready {
                out.push(id);
            } else if !self.done[id.0 as usize] && seen.insert(id) {
                stack.push((id, true));
                let operands: Vec<Id> = self.body.instructions[id.0 as usize].operands().collect();
                stack.extend(operands.into_iter().rev().map(|operand| (operand, false)));
            }
        }
        out
    }

    /// How many values more (or fewer) are live after a root than before it.
    fn grows(&self, root: &[Id], asked: &[Id]) -> isize {
        let mut used: HashMap<Id, u32> = HashMap::new();
        for id in asked.iter().flat_map(|id| self.body.instructions[id.0 as usize].operands()).chain(root.iter().copied()) {
            *used.entry(id).or_default() += 1;
        }
        let lives = |id: &Id| !matches!(self.body.instructions[id.0 as usize], Instruction::Constant(_));
        let ends = used.iter().filter(|(id, n)| lives(id) && self.users[id.0 as usize] == **n).count();
        asked.iter().filter(|id| lives(id)).count() as isize - ends as isize
    }

    fn take(&mut self, root: &[Id], asked: Vec<Id>) {
        for id in &asked {
            self.done[id.0 as usize] = true;
            for operand in self.body.instructions[id.0 as usize].operands() {
                self.users[operand.0 as usize] -= 1;
            }
        }
        for id in root {
            self.users[id.0 as usize] -= 1;
        }
        self.order.extend(asked);
    }
}

impl Body {
    /// The same body with its instructions in an order in which few values are live at a time: from what is stored and summed, that comes next which leaves the fewest values live, of equal ones that which
    /// asks for the fewest instructions.
    pub fn ordered(self) -> Body {
        if self.instructions.len() < SMALLEST_ORDERED {
            return self;
        }
        let stores = self.stores.iter().map(|(_, _, id)| vec![*id]);
        let sums = self.sums.iter().map(|(weight, id)| weight.iter().copied().chain([*id]).collect());
        let mut roots: Vec<Vec<Id>> = stores.chain(sums).collect();
        let mut users = vec![0; self.instructions.len()];
        for id in self.instructions.iter().flat_map(Instruction::operands).chain(roots.iter().flatten().copied()) {
            users[id.0 as usize] += 1;
        }
        let mut order = Order { done: vec![false; self.instructions.len()], order: Vec::new(), users, body: &self };
        while let Some((next, asked)) =
            roots.iter().map(|root| order.asked(root)).enumerate().min_by_key(|(k, asked)| (order.grows(&roots[*k], asked), asked.len()))
        {
            let root = roots.remove(next);
            order.take(&root, asked);
        }
        let order = order.order;
        let mut places = vec![Id(0); self.instructions.len()];
        for (place, id) in order.iter().enumerate() {
            places[id.0 as usize] = Id(place as u32);
        }
        let moved = |id: Id| places[id.0 as usize];
        Body {
            instructions: order.iter().map(|id| self.instructions[id.0 as usize].clone().with_operands(moved)).collect(),
            stores: self.stores.iter().map(|(stream, offset, id)| (*stream, *offset, moved(*id))).collect(),
            sums: self.sums.iter().map(|(weight, id)| (weight.map(moved), moved(*id))).collect(),
            ..self
        }
    }

    /// The numbers of the sums by the instruction after which they can be added.
    pub fn sums_by_instruction(&self) -> BTreeMap<Id, Vec<usize>> {
        let mut out: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
        for (sum, (weight, id)) in self.sums.iter().enumerate() {
            out.entry(weight.map_or(*id, |weight| weight.max(*id))).or_default().push(sum);
        }
        out
    }

    /// Whether numbers that are the same for all elements are read before the loop.
    pub fn keeps_numbers(&self) -> bool {
        self.instructions.iter().filter(|i| matches!(i, Instruction::Uniform { .. })).count() <= MOST_KEPT
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of all stores and sums, of which a stream's element is its offset.
    fn values(body: &Body) -> Vec<f64> {
        let mut values: Vec<f64> = Vec::new();
        for instruction in &body.instructions {
            let at = |id: &Id| values[id.0 as usize];
            values.push(match instruction {
                Instruction::Load { offset, .. } | Instruction::Uniform { offset, .. } => *offset as f64,
                Instruction::Constant(x) => *x,
                Instruction::MultiplyAdd(a, b, c) => at(a) * at(b) + at(c),
                other => panic!("{other:?} is not in this test"),
            });
        }
        let sums = body.sums.iter().map(|(weight, id)| weight.map_or(1.0, |w| values[w.0 as usize]) * values[id.0 as usize]);
        body.stores.iter().map(|s| values[s.2.0 as usize]).chain(sums).collect()
    }

    #[test]
    fn order_keeps_values_and_brings_users_to_what_they_use() {
        // All loads first, as many as there are chains; then the chains, each of which needs two.
        let mut builder = BodyBuilder::default();
        let loads: Vec<Id> = (0..100).map(|k| builder.add(Instruction::Load { stream: 0, offset: k })).collect();
        let two = builder.constant(2.0);
        for k in 0..100 {
            let id = builder.add(Instruction::MultiplyAdd(loads[k], two, loads[(k + 37) % 100]));
            if k % 2 == 0 { builder.body.stores.push((1, k, id)) } else { builder.body.sums.push((Some(two), id)) }
        }
        let body = builder.body;
        let ordered = body.clone().ordered();
        assert_eq!(values(&ordered), values(&body));
        assert_eq!(ordered.instructions.len(), body.instructions.len());
        let last_load = ordered.instructions.iter().rposition(|i| matches!(i, Instruction::Load { .. }));
        let first_use = ordered.instructions.iter().position(|i| matches!(i, Instruction::MultiplyAdd(..)));
        assert!(first_use < Some(5) && last_load > Some(150), "{ordered}");
    }

    #[test]
    fn order_takes_next_what_ends_values() {
        let mut builder = BodyBuilder::default();
        let loads: Vec<Id> = (0..302).map(|k| builder.add(Instruction::Load { stream: 0, offset: k })).collect();
        let shared = [loads[300], loads[301]];
        for chain in loads[..300].chunks(6) {
            // Each store ends what the one before it read and begins something new; the first of a chain asks for one instruction only.
            let mut stored = vec![chain[0]];
            stored.extend(chain[..4].windows(2).map(|pair| builder.add(Instruction::MultiplyAdd(pair[0], pair[1], pair[0]))));
            // Many values are used here, and one begins.
            stored.push(builder.add(Instruction::MultiplyAdd(shared[0], shared[1], chain[4])));
            stored.push(builder.add(Instruction::MultiplyAdd(chain[4], chain[5], chain[4])));
            for id in stored {
                let place = builder.body.stores.len();
                builder.body.stores.push((1, place, id));
            }
        }
        let body = builder.body;
        let ordered = body.clone().ordered();
        assert_eq!(values(&ordered), values(&body));
        let is_shared = |id: &Id| matches!(ordered.instructions[id.0 as usize], Instruction::Load { offset: 300.., .. });
        for (place, instruction) in ordered.instructions.iter().enumerate() {
            for operand in instruction.operands().filter(|id| !is_shared(id)) {
                assert!(place - operand.0 as usize <= 5, "{place} reads {}: {ordered}", operand.0);
            }
        }
    }

    #[test]
    fn small_bodies_stay_as_they_were_built() {
        for (chains, stays) in [(63, true), (64, false)] {
            let mut builder = BodyBuilder::default();
            let loads: Vec<Id> = (0..chains).map(|k| builder.add(Instruction::Load { stream: 0, offset: k })).collect();
            for (k, load) in loads.iter().enumerate() {
                let id = builder.add(Instruction::MultiplyAdd(*load, *load, *load));
                builder.body.stores.push((1, k, id));
            }
            assert_eq!(builder.body.clone().ordered() == builder.body, stays, "{chains} chains");
        }
    }

    #[test]
    fn factors_that_are_known_need_no_instruction() {
        let mut builder = BodyBuilder::default();
        let [x, y] = [0, 1].map(|offset| builder.add(Instruction::Load { stream: 0, offset }));
        assert_eq!((builder.combination(&[(1.0, x)]), builder.body.instructions.len()), (x, 2));
        let [one, two, three, six] = [1.0, 2.0, 3.0, 6.0].map(|number| builder.constant(number));
        assert_eq!([builder.multiply(one, x), builder.multiply(y, one), builder.multiply(two, three)], [x, y, six]);
        assert_eq!(builder.combination(&[(0.0, x), (1.0, y)]), y);
        assert_eq!(builder.combination(&[]), builder.constant(0.0));
        let mut last = |terms: &[(f64, Id)]| {
            let id = builder.combination(terms);
            builder.body.instructions[id.0 as usize].clone()
        };
        assert_eq!(last(&[(2.0, x)]), Instruction::Binary(Binary::Multiply, x, two));
        assert_eq!(last(&[(1.0, x), (1.0, y)]), Instruction::Binary(Binary::Add, x, y));
        assert_eq!(last(&[(1.0, x), (2.0, y)]), Instruction::MultiplyAdd(two, y, x));
    }

    #[test]
    fn a_body_counts_its_operations_and_prints_them() {
        let mut builder = BodyBuilder::default();
        let x = builder.add(Instruction::Load { stream: 0, offset: 0 });
        let weight = builder.add(Instruction::Weight { table: 0 });
        let root = builder.add(Instruction::Unary(Unary::SquareRoot, x));
        let sum = builder.add(Instruction::MultiplyAdd(root, root, x));
        builder.body.stores.push((1, 0, sum));
        builder.body.sums = vec![(Some(weight), root), (None, sum), (Some(weight), x)];
        assert_eq!(builder.body.flops(), 1 + 2 + 2 * 3);
        let text = builder.body.to_string();
        assert!(text.starts_with("  0 = s0[i + 0]\n  1 = w0[i]\n") && text.ends_with("  sum1 += 3\n  sum2 += 1 * 0\n"), "{text}");
        // Weights are read once, wherever they come; 16 numbers are kept in registers.
        assert_eq!(builder.body.sums_by_instruction(), BTreeMap::from([(weight, vec![2]), (root, vec![0]), (sum, vec![1])]));
        for (numbers, kept) in [(16, true), (17, false)] {
            let mut builder = BodyBuilder::default();
            for offset in 0..numbers {
                builder.add(Instruction::Uniform { stream: 0, offset });
            }
            builder.add(Instruction::Load { stream: 0, offset: 0 });
            assert_eq!(builder.body.keeps_numbers(), kept, "{numbers}");
        }
    }
}
