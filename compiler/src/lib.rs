//! Verbs of scatterc: bind, simplify, differentiate, fuse, schedule, emit. Graph in, plan out; no device.
//!
//! ```text
//! notation -bind(domain)-> Graph -passes-> Graph -gradient-> Graph -passes-> Graph -fuse, schedule, emit-> Plan
//! ```

pub mod bind;
pub mod domain;
mod emit;
pub mod explain;
pub mod fuse;
pub mod gradient;
mod harmonic;
pub mod healpix;
mod loops;
pub mod loss;
mod lowering;
pub mod pass;
pub mod picture;
mod planar;
pub mod plane;
mod products;
pub mod pyramid;
pub mod schedule;
pub mod simplify;
pub mod sphere;
mod tile;

use scatterc_ir::notation::{POINTWISE, Vocabulary};
use scatterc_ir::ops::pointwise_table;

/// Functions a statistic may call: the notation's own and every row of the pointwise table that has no operator of its own.
///
/// ```
/// use scatterc_compiler::vocabulary;
///
/// let known = vocabulary();
/// // The notation's own, and every pointwise row that has no operator.
/// assert!(known.function("wavelet").is_some() && known.function("relu").is_some() && known.function("add").is_none());
/// ```
pub fn vocabulary() -> Vocabulary {
    let mut rows: Vec<(&'static str, usize, &'static str)> = POINTWISE.to_vec();
    for row in pointwise_table() {
        let operator = ["add", "sub", "mul", "div", "neg", "pow", "modulus", "angle"].contains(&row.name);
        if !operator && !rows.iter().any(|r| r.0 == row.name) {
            rows.push((row.name, row.arity, row.doc));
        }
    }
    Vocabulary::new(&rows)
}
