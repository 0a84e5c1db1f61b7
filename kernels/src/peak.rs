//! The arithmetic peak of one thread, measured: what fractions of a roofline refer to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::simd::{Lanes, Real, dispatch};

/// Rounds of one measurement, some tens of microseconds.
const ROUNDS: usize = 4_000;

dispatch! {
    /// Independent chains of fused multiply-adds in registers, enough of them to hide the latency of two units; writes flops and a sum.
    fn chains<T> = chains_lanes(flops: &mut f64, sum: &mut T)
}

#[inline(always)]
unsafe fn chains_lanes<V: Lanes>(flops: &mut f64, sum: &mut V::Element) {
    // Eight lanes of f64 take two registers where vectors are narrow, and there are fewer of them.
    if V::SUMS >= 24 {
        chains_of::<V, 16>(flops, sum);
    } else if V::SUMS >= 12 {
        chains_of::<V, 12>(flops, sum);
    } else {
        chains_of::<V, 6>(flops, sum);
    }
}

#[inline(always)]
fn chains_of<V: Lanes, const C: usize>(flops: &mut f64, sum: &mut V::Element) {
    let (a, b) = (V::constant(black_box(0.5)), V::constant(black_box(1e-9)));
    let mut sums = [V::zero(); C];
    for _ in 0..ROUNDS {
        for chain in &mut sums {
            *chain = chain.fma(a, b);
        }
    }
    *flops = (ROUNDS * C * 16) as f64;
    *sum = sums.iter().map(|chain| chain.sum()).sum();
}

/// Floating-point operations per second of fused multiply-adds on registers at the level in use, the best of many short runs within `duration`.
///
/// ```
/// use scatterc_kernels::peak::flops_per_s;
///
/// assert!(flops_per_s::<f64>(std::time::Duration::from_millis(5)) > 1e6);
/// ```
pub fn flops_per_s<T: Real>(duration: Duration) -> f64 {
    let start = Instant::now();
    let mut best = 0.0f64;
    while start.elapsed() < duration {
        let (mut flops, mut sum) = (0.0, T::default());
        let one = Instant::now();
        // SAFETY: the instance is that of the level in use and touches nothing but its two results.
        unsafe { chains::<T>(&mut flops, &mut sum) };
        black_box(sum);
        best = best.max(flops / one.elapsed().as_secs_f64().max(1e-9));
    }
    best
}
