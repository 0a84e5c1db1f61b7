//! Double-double arithmetic, which only the crate itself uses.

#[allow(dead_code)]
#[path = "../src/double.rs"]
mod double;

use double::{Double, sin_cos};

#[test]
fn squares_sum_to_one() {
    for i in 0..200 {
        let x = 1e-6 + i as f64 * 0.0157;
        let (s, c) = sin_cos(x);
        assert!((s.hi - x.sin()).abs() < 2e-16 && (c.hi - x.cos()).abs() < 2e-16, "{x}");
        let one = s.mul(s).add(c.mul(c)).add(Double::new(-1.0));
        assert!(one.hi.abs() < 1e-29, "{x} {}", one.hi);
    }
}
