//! The graph: nodes in order, operands before users; and the builder that shares equal nodes.

use crate::ops::{Attribute, Linear};
use crate::scalar::Scalar;
use crate::types::{Space, Type};
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Id of a node and of the value it computes.
///
/// ```
/// use scatterc_ir::Value;
///
/// assert_eq!((Value(3).index(), Value(3).to_string().as_str()), (3, "%3"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// Position in `Graph::nodes`.
    ///
    /// ```
    /// assert_eq!(scatterc_ir::Value(7).index(), 7);
    /// ```
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// What a node computes.
///
/// ```
/// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
/// # use scatterc_ir::ops::pointwise;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let mut builder = Builder::new("power");
/// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// let mean = builder.linear(Linear::Mean { L: 4 }, x)?;
/// assert_eq!(builder.graph().node(x).op, Op::Input("x".into()));
/// assert_eq!(builder.graph().node(mean).op, Op::Linear { map: Linear::Mean { L: 4 }, adjoint: false });
/// # Ok::<(), TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A field or array the user gives, differentiable.
    Input(String),
    /// A number or array given at run time and held constant by every derivative: norms, targets, weights.
    Parameter(String),
    /// A literal number.
    Constant(f64),
    /// A linear map, or its adjoint under the real inner product of the stored numbers.
    Linear {
        /// The row.
        map: Linear,
        /// Conjugate transpose of it.
        adjoint: bool,
    },
    /// A scalar expression applied sample by sample to operands of one type.
    Pointwise(Scalar),
    /// Operands of type `[.., n_k] point` joined along the last axis.
    Concat,
}

/// One node.
///
/// ```
/// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
/// # use scatterc_ir::ops::pointwise;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let mut builder = Builder::new("power");
/// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// let mean = builder.linear(Linear::Mean { L: 4 }, x)?;
/// let node = builder.graph().node(mean);
/// assert_eq!((&node.operands[..], &node.ty), (&[x][..], &Type::number()));
/// assert_eq!(node.to_string(), "mean(%0) {L=4} : [] point");
/// # Ok::<(), TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// From which values.
    pub operands: Vec<Value>,
    /// Type of the result.
    pub ty: Type,
}

/// A named result.
///
/// ```
/// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
/// # use scatterc_ir::ops::pointwise;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let mut builder = Builder::new("power");
/// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// builder.output("sky", x);
/// let graph = builder.finish();
/// assert_eq!((graph.outputs[0].name.as_str(), graph.outputs[0].value), ("sky", x));
/// # Ok::<(), TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name the user sees.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A graph: plain data, nodes in order.
///
/// ```
/// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
/// # use scatterc_ir::ops::pointwise;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let mut builder = Builder::new("power");
/// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
/// let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
/// builder.output("S", mean);
/// let text = "graph power {
///   %0 = input x : [] map(4)
///   %1 = square(%0) : [] map(4)
///   %2 = mean(%1) {L=4} : [] point
///   return S = %2
/// }
/// ";
/// assert_eq!(builder.finish().to_string(), text);
/// # Ok::<(), TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// Name of the statistic.
    pub name: String,
    /// Nodes, operands before users.
    pub nodes: Vec<Node>,
    /// Results in order.
    pub outputs: Vec<Output>,
}

/// A node that cannot be built.
///
/// ```
/// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
/// # use scatterc_ir::ops::pointwise;
/// # use scatterc_ir::{Linear, Space, Type};
/// # let mut builder = Builder::new("power");
/// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// let refused = builder.linear(Linear::Mean { L: 8 }, x).unwrap_err();
/// assert_eq!(refused.to_string(), "`mean`: operand 0 has type [] map(4), expected [..] map(8)");
/// # Ok::<(), TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// Operand of the wrong type.
    #[error("`{op}`: operand {operand} has type {found}, expected {expected}")]
    Operand {
        /// Spelling of the op.
        op: String,
        /// Which operand.
        operand: usize,
        /// What would be right.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Attributes that fit together with nothing.
    #[error("{0}")]
    Attribute(String),
}

/// Type of the result of `op` on operands of the given types.
///
/// ```
/// use scatterc_ir::graph::{Op, infer};
/// use scatterc_ir::{Linear, Space, Type};
///
/// // Leading axes are carried along.
/// let map = Op::Linear { map: Linear::Mean { L: 4 }, adjoint: false };
/// assert_eq!(infer(&map, &[&Type::new([5], Space::Map { L: 4 })])?, Type::new([5], Space::Point));
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
pub fn infer(op: &Op, operands: &[&Type]) -> Result<Type, TypeError> {
    let wrong = |name: &str, operand: usize, expected: String, found: String| TypeError::Operand { op: name.into(), operand, expected, found };
    match op {
        Op::Input(_) | Op::Parameter(_) => Err(TypeError::Attribute("an input states its own type".into())),
        Op::Constant(_) => Ok(Type::number()),
        Op::Linear { map, adjoint } => {
            let signature = map.signature().map_err(TypeError::Attribute)?;
            let (domain, range) = if *adjoint { (signature.range, signature.domain) } else { (signature.domain, signature.range) };
            let [operand] = operands else {
                return Err(wrong(map.spelling(), 0, "one operand".into(), format!("{} operands", operands.len())));
            };
            let fits = operand.axes.ends_with(&domain.0) && (domain.1 == Space::Any || domain.1 == operand.space);
            if !fits {
                let list = domain.0.iter().map(|n| format!(",{n}")).collect::<String>();
                return Err(wrong(map.spelling(), 0, format!("[..{list}] {}", domain.1), operand.to_string()));
            }
            let mut axes = operand.axes[..operand.axes.len() - domain.0.len()].to_vec();
            axes.extend(range.0);
            Ok(Type::new(axes, if range.1 == Space::Any { operand.space } else { range.1 }))
        }
        Op::Pointwise(f) => {
            let Some(first) = operands.first() else {
                return Err(wrong("pointwise", 0, "at least one operand".into(), "none".into()));
            };
            if f.arity() > operands.len() {
                return Err(wrong("pointwise", 0, format!("{} operands", f.arity()), format!("{} operands", operands.len())));
            }
            match operands.iter().position(|t| t != first) {
                Some(k) => Err(wrong("pointwise", k, first.to_string(), operands[k].to_string())),
                None => Ok((*first).clone()),
            }
        }
        Op::Concat => {
            let Some(first) = operands.first() else {
                return Err(wrong("concat", 0, "at least one operand".into(), "none".into()));
            };
            let mut total = 0;
            for (k, t) in operands.iter().enumerate() {
                let leading = first.axes.len().saturating_sub(1);
                if t.space != Space::Point || t.axes.is_empty() || t.axes.len() != first.axes.len() || t.axes[..leading] != first.axes[..leading] {
                    return Err(wrong("concat", k, "[..,n] point with equal leading axes".into(), t.to_string()));
                }
                total += t.axes[leading];
            }
            let mut axes = first.axes.clone();
            if let Some(last) = axes.last_mut() {
                *last = total;
            }
            Ok(Type::new(axes, Space::Point))
        }
    }
}

impl Graph {
    /// Type of a value.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!((graph.ty(x).len(), graph.ty(mean)), (28, &Type::number()));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.index()].ty
    }

    /// Node of a value.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!(graph.node(square).operands, [x]);
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.index()]
    }

    /// Users of every node, in order.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!(graph.users(), [vec![square], vec![mean], vec![]]);
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn users(&self) -> Vec<Vec<Value>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (k, node) in self.nodes.iter().enumerate() {
            for operand in &node.operands {
                if users[operand.index()].last() != Some(&Value(k as u32)) {
                    users[operand.index()].push(Value(k as u32));
                }
            }
        }
        users
    }

    /// Values of all nodes in order.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!(graph.values().collect::<Vec<_>>(), [x, square, mean]);
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..self.nodes.len() as u32).map(Value)
    }

    /// The node's linear map and adjoint flag, if it is one.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!((graph.linear(square), graph.linear(mean)), (None, Some((&Linear::Mean { L: 4 }, false))));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn linear(&self, value: Value) -> Option<(&Linear, bool)> {
        match &self.node(value).op {
            Op::Linear { map, adjoint } => Some((map, *adjoint)),
            _ => None,
        }
    }
}

/// Builds graphs; equal nodes are shared as they are added.
///
/// ```
/// use scatterc_ir::graph::Builder;
/// use scatterc_ir::{Linear, Space, Type};
///
/// let mut builder = Builder::new("level");
/// let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
/// let mean = builder.linear(Linear::Mean { L: 4 }, x)?;
/// // Asked for again, an equal node is shared.
/// assert_eq!(builder.linear(Linear::Mean { L: 4 }, x)?, mean);
/// builder.output("m", mean);
/// assert_eq!(builder.finish().nodes.len(), 2);
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    graph: Graph,
    /// Nodes by the hash of what they are.
    seen: HashMap<u64, Vec<Value>>,
}

/// Hash of a node.
fn digest(op: &Op, operands: &[Value], ty: &Type) -> u64 {
    let mut state = DefaultHasher::new();
    std::mem::discriminant(op).hash(&mut state);
    match op {
        Op::Input(name) | Op::Parameter(name) => name.hash(&mut state),
        Op::Constant(x) => x.to_bits().hash(&mut state),
        Op::Linear { map, adjoint } => {
            adjoint.hash(&mut state);
            map.digest(&mut state);
        }
        Op::Pointwise(f) => f.digest(&mut state),
        Op::Concat => {}
    }
    operands.hash(&mut state);
    ty.hash(&mut state);
    state.finish()
}

impl Builder {
    /// An empty graph of that name.
    ///
    /// ```
    /// use scatterc_ir::Builder;
    ///
    /// assert_eq!(Builder::new("empty").finish().to_string(), "graph empty {\n}\n");
    /// ```
    pub fn new(name: &str) -> Self {
        Builder { graph: Graph { name: name.into(), ..Graph::default() }, seen: HashMap::new() }
    }

    /// Adds a node whose type is given (inputs) or inferred; an equal node already there is returned instead.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let mean = builder.add(Op::Linear { map: Linear::Mean { L: 4 }, adjoint: false }, &[x], None)?;
    /// assert_eq!(builder.ty(mean), &Type::number());
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn add(&mut self, op: Op, operands: &[Value], ty: Option<Type>) -> Result<Value, TypeError> {
        let ty = match ty {
            Some(ty) => ty,
            None => {
                let types: Vec<&Type> = operands.iter().map(|v| self.graph.ty(*v)).collect();
                infer(&op, &types)?
            }
        };
        let alike = self.seen.entry(digest(&op, operands, &ty)).or_default();
        let nodes = &self.graph.nodes;
        let equal = |value: &&Value| {
            let node = &nodes[value.index()];
            node.operands == operands && node.ty == ty && node.op == op
        };
        if let Some(value) = alike.iter().find(equal) {
            return Ok(*value);
        }
        let value = Value(nodes.len() as u32);
        alike.push(value);
        self.graph.nodes.push(Node { op, operands: operands.to_vec(), ty });
        Ok(value)
    }

    /// An input of the given type.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// assert_eq!(builder.graph().node(x).to_string(), "input x : [] map(4)");
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn input(&mut self, name: &str, ty: Type) -> Result<Value, TypeError> {
        self.add(Op::Input(name.into()), &[], Some(ty))
    }

    /// A run-time parameter of the given type.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let norms = builder.parameter("P", Type::new([4], Space::Point))?;
    /// assert_eq!(builder.graph().node(norms).to_string(), "parameter P : [4] point");
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn parameter(&mut self, name: &str, ty: Type) -> Result<Value, TypeError> {
        self.add(Op::Parameter(name.into()), &[], Some(ty))
    }

    /// A literal.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let half = builder.constant(0.5)?;
    /// assert_eq!(builder.graph().node(half).op, Op::Constant(0.5));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn constant(&mut self, value: f64) -> Result<Value, TypeError> {
        self.add(Op::Constant(value), &[], None)
    }

    /// A linear map.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let rings = builder.linear(Linear::RingForward { L: 4, M: 3 }, x)?;
    /// assert_eq!(builder.ty(rings), &Type::new([], Space::Rings { L: 4, M: 3 }));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn linear(&mut self, map: Linear, operand: Value) -> Result<Value, TypeError> {
        self.add(Op::Linear { map, adjoint: false }, &[operand], None)
    }

    /// The adjoint of a linear map.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let mean = builder.linear(Linear::Mean { L: 4 }, x)?;
    /// let spread = builder.adjoint(Linear::Mean { L: 4 }, mean)?;
    /// assert_eq!(builder.graph().node(spread).to_string(), "mean^H(%1) {L=4} : [] map(4)");
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn adjoint(&mut self, map: Linear, operand: Value) -> Result<Value, TypeError> {
        self.add(Op::Linear { map, adjoint: true }, &[operand], None)
    }

    /// A scalar expression; operands it does not use are dropped and equal operands merged.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// // a * a with equal operands is the square of one.
    /// let product = builder.pointwise(pointwise("mul").unwrap().expression.clone(), &[x, x])?;
    /// assert_eq!(builder.graph().node(product).to_string(), "square(%0) : [] map(4)");
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn pointwise(&mut self, f: Scalar, operands: &[Value]) -> Result<Value, TypeError> {
        let f = f.simplified();
        let mut kept: Vec<Value> = Vec::new();
        let mut renamed = vec![Scalar::Constant(0.0); operands.len()];
        for (k, operand) in operands.iter().enumerate() {
            if !f.uses(k) {
                continue;
            }
            let position = kept.iter().position(|v| v == operand).unwrap_or_else(|| {
                kept.push(*operand);
                kept.len() - 1
            });
            renamed[k] = Scalar::Argument(position);
        }
        let f = f.substitute(&renamed);
        if let (Scalar::Argument(0), [only]) = (&f, kept.as_slice()) {
            return Ok(*only);
        }
        if let Scalar::Constant(c) = f {
            // No operand is left: keep one to state the type.
            let ty = operands.first().map(|v| self.ty(*v).clone());
            return match ty {
                Some(ty) if ty != Type::number() => self.add(Op::Pointwise(Scalar::Constant(c)), &operands[..1], Some(ty)),
                _ => self.constant(c),
            };
        }
        self.add(Op::Pointwise(f), &kept, None)
    }

    /// Joins values along their last axis.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// let (p, q) = (builder.parameter("p", Type::new([2], Space::Point))?, builder.parameter("q", Type::new([3], Space::Point))?);
    /// let both = builder.concat(&[p, q])?;
    /// assert_eq!(builder.ty(both), &Type::new([5], Space::Point));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn concat(&mut self, operands: &[Value]) -> Result<Value, TypeError> {
        if let [only] = operands { Ok(*only) } else { self.add(Op::Concat, operands, None) }
    }

    /// Type of a value built so far.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// assert_eq!(builder.ty(x), &Type::new([], Space::Map { L: 4 }));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }

    /// The graph so far.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// assert_eq!(builder.graph().nodes.len(), 1);
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Names a result.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// builder.output("same", x);
    /// assert_eq!(builder.graph().outputs[0].value, x);
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn output(&mut self, name: &str, value: Value) {
        self.graph.outputs.push(Output { name: name.into(), value });
    }

    /// The finished graph.
    ///
    /// ```
    /// # use scatterc_ir::graph::{Builder, Op, TypeError, Value, infer};
    /// # use scatterc_ir::ops::pointwise;
    /// # use scatterc_ir::{Linear, Space, Type};
    /// # let mut builder = Builder::new("power");
    /// # let x = builder.input("x", Type::new([], Space::Map { L: 4 }))?;
    /// # let square = builder.pointwise(pointwise("square").unwrap().expression.clone(), &[x])?;
    /// # let mean = builder.linear(Linear::Mean { L: 4 }, square)?;
    /// # builder.output("S", mean);
    /// # let graph = builder.finish();
    /// // %0 = input x, %1 = square(%0), %2 = mean(%1).
    /// assert_eq!((graph.name.as_str(), graph.nodes.len(), graph.outputs.len()), ("power", 3, 1));
    /// # Ok::<(), TypeError>(())
    /// ```
    pub fn finish(self) -> Graph {
        self.graph
    }
}

/// Attributes of an op in the order they are printed.
///
/// ```
/// use scatterc_ir::graph::{Op, attributes};
/// use scatterc_ir::{Linear, ops::Attribute};
///
/// let map = Op::Linear { map: Linear::RingForward { L: 4, M: 3 }, adjoint: false };
/// assert_eq!(attributes(&map), [("L", Attribute::Integer(4)), ("M", Attribute::Integer(3))]);
/// ```
pub fn attributes(op: &Op) -> Vec<(&'static str, Attribute)> {
    match op {
        Op::Linear { map, .. } => map.attributes(),
        Op::Constant(x) => vec![("value", Attribute::Number(*x))],
        Op::Input(_) | Op::Parameter(_) | Op::Pointwise(_) | Op::Concat => vec![],
    }
}
