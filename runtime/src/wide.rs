//! Kernels that compute in f64 whatever the element of the plan: Legendre stages and frame operators, whose recursions f32 does not carry.

use crate::threads::Shared;
use scatterc_kernels::Parallel;
use scatterc_kernels::simd::Real;

/// Numbers that one task converts.
const PIECE: usize = 1 << 16;

/// Copies of operands and results in f64; empty where the element is f64.
#[derive(Default)]
pub(crate) struct Wide {
    numbers: Vec<f64>,
}

impl Wide {
    /// Room for calls with at most `len` numbers in all operands and results.
    pub(crate) fn with_len(len: usize) -> Self {
        Wide { numbers: vec![0.0; len] }
    }

    /// Runs `body` on the operands and results, or on copies of them in f64; results are rounded once.
    pub(crate) fn run<T: Real>(
        &mut self,
        par: &dyn Parallel,
        inputs: &[&[T]],
        outputs: &mut [&mut [T]],
        body: impl FnOnce(&[&[f64]], &mut [&mut [f64]]),
    ) {
        let plain: Option<Vec<&[f64]>> = inputs.iter().map(|x| T::as_f64(x)).collect();
        let plain_out: Option<Vec<&mut [f64]>> = outputs.iter_mut().map(|y| T::as_f64_mut(y)).collect();
        if let (Some(inputs), Some(mut outputs)) = (plain, plain_out) {
            return body(&inputs, &mut outputs);
        }
        let total = inputs.iter().map(|x| x.len()).sum::<usize>() + outputs.iter().map(|y| y.len()).sum::<usize>();
        if self.numbers.len() < total {
            self.numbers.resize(total, 0.0);
        }
        let mut rest = self.numbers.as_mut_slice();
        let mut take = |len: usize| {
            let (own, more) = std::mem::take(&mut rest).split_at_mut(len);
            rest = more;
            own
        };
        let mut wide_inputs: Vec<&[f64]> = Vec::with_capacity(inputs.len());
        for x in inputs {
            let own = take(x.len());
            convert(par, x, own, |x| x.wide());
            wide_inputs.push(own);
        }
        let mut wide_outputs: Vec<&mut [f64]> = outputs.iter().map(|y| take(y.len())).collect();
        body(&wide_inputs, &mut wide_outputs);
        for (y, own) in outputs.iter_mut().zip(&wide_outputs) {
            convert(par, own, y, |x| T::of(x));
        }
    }
}

/// `to[i]` := f(from\[i\]), in pieces.
fn convert<A: Copy + Sync, B: Send>(par: &dyn Parallel, from: &[A], to: &mut [B], f: impl Fn(A) -> B + Sync) {
    let n = from.len().min(to.len());
    let shared = Shared(to.as_mut_ptr());
    par.for_each(n.div_ceil(PIECE), &|piece| {
        let start = piece * PIECE;
        let len = PIECE.min(n - start);
        // SAFETY: pieces are disjoint and lie in `to`, which outlives the tasks.
        let to = unsafe { std::slice::from_raw_parts_mut(shared.get().add(start), len) };
        to.iter_mut().zip(&from[start..]).for_each(|(to, from)| *to = f(*from));
    });
}
