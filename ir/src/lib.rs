//! Nouns of scatterc: statistics, graphs and plans as plain data, with text that round-trips. No device, no numerics, no IO.
//!
//! ```text
//! notation::Program --(compiler)--> graph::Graph --(compiler)--> plan::Plan --(runtime)--> numbers
//! ```
//!
//! - [`notation`]: index notation, its parser and checker.
//! - [`ops`]: the op table, single source of printer, parser, builder, verifier and laws.
//! - [`types`], [`scalar`], [`graph`], [`text`], [`verify`]: the graph and its rules.
//! - [`filter`]: filter banks as formulas over a grid.
//! - [`plan`]: what the compiler hands to the runtime.
//! - [`difference`]: where two graphs or plans differ first.

pub mod difference;
mod elementary;
pub mod filter;
pub mod graph;
pub mod notation;
pub mod ops;
pub mod plan;
pub mod scalar;
pub mod text;
pub mod types;
pub mod verify;

pub use filter::Bank;
pub use graph::{Builder, Graph, Node, Op, Output, Value};
pub use ops::Linear;
pub use plan::Plan;
pub use types::{Space, Type};
