//! Steps on frame operators: bilinear forms of coefficients, their adjoint mixtures, and the operator by itself.

use crate::arena::Arena;
use crate::threads::Threads;
use crate::wide::Wide;
use scatterc_ir::plan::{Slot, Step};
use scatterc_kernels::frame::{FrameGramPlan, FrameMixPlan, FrameOperator};
use scatterc_kernels::layout::coefficients_len;
use scatterc_kernels::simd::Real;
use std::sync::Arc;

/// A step, prepared.
pub(crate) enum FrameStep {
    Gram { plan: FrameGramPlan, fields: Fields, values: Vec<f64>, places: Vec<usize>, outputs: Vec<Slot> },
    Mix { plan: FrameMixPlan, fields: Fields, coefficients: Vec<Slot>, gathered: Vec<f64>, outputs: Fields },
    Apply { operator: Arc<FrameOperator>, adjoint: bool, bandlimits: [usize; 2], pairs: Vec<(Slot, Slot)> },
}

/// Fields of coefficients with their bandlimits.
pub(crate) struct Fields {
    slots: Vec<Slot>,
    bandlimits: Vec<usize>,
}

impl Fields {
    /// Consecutive fields of buffers of one bandlimit each.
    fn new(buffers: &[Slot], bandlimits: &[usize]) -> Self {
        let mut fields = Fields { slots: vec![], bandlimits: vec![] };
        for (buffer, L) in buffers.iter().zip(bandlimits) {
            let len = coefficients_len(*L);
            for k in 0..buffer.len / len {
                fields.slots.push(Slot { offset: buffer.offset + k * len, len });
                fields.bandlimits.push(*L);
            }
        }
        fields
    }
}

impl FrameStep {
    /// The step of a plan; `operator` makes the operator of a scale. `None` for other steps.
    pub(crate) fn new<E>(step: &Step, mut operator: impl FnMut(usize, usize, usize) -> Result<Arc<FrameOperator>, E>) -> Result<Option<Self>, E> {
        Ok(Some(match step {
            Step::FrameGram { L, N, scales, bandlimits, forms, places, rows, outputs } => {
                let mut order: Vec<usize> = (0..forms.len() / 4).collect();
                order.sort_by_key(|k| forms[4 * k]);
                // Values come scale by scale; places follow them.
                let mut position = vec![0; order.len()];
                order.iter().enumerate().for_each(|(new, old)| position[*old] = new);
                let mut scaled = Vec::with_capacity(scales.len());
                for (s, j) in scales.iter().enumerate() {
                    let own = order.iter().map(|k| &forms[4 * k..4 * k + 4]).filter(|f| f[0] == s);
                    scaled.push((operator(*L, *N, *j)?, own.map(|f| (f[1] as u32, f[2] as u32, f[3] as u32)).collect()));
                }
                FrameStep::Gram {
                    plan: FrameGramPlan::new(scaled),
                    fields: Fields::new(rows, bandlimits),
                    values: vec![0.0; order.len()],
                    places: places.iter().map(|p| position[*p]).collect(),
                    outputs: outputs.clone(),
                }
            }
            Step::FrameMix { L, N, scales, bandlimits, bandlimits_out, counts, terms, coefficients, rows, outputs } => {
                let targets = counts.iter().enumerate().flat_map(|(target, n)| std::iter::repeat_n(target as u32, *n));
                let all: Vec<(u32, &[usize])> = targets.zip(terms.chunks_exact(4)).collect();
                let mut scaled = Vec::with_capacity(scales.len());
                for (s, j) in scales.iter().enumerate() {
                    let own = all.iter().filter(|(_, t)| t[0] == s);
                    scaled.push((operator(*L, *N, *j)?, own.map(|(target, t)| (*target, t[1] as u32, t[2] as u32, t[3] as u32)).collect()));
                }
                FrameStep::Mix {
                    plan: FrameMixPlan::new(counts.len(), scaled),
                    fields: Fields::new(rows, bandlimits),
                    coefficients: coefficients.clone(),
                    gathered: vec![0.0; coefficients.iter().map(|slot| slot.len).sum()],
                    outputs: Fields::new(outputs, bandlimits_out),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Flops of one run.
    pub(crate) fn work(&self) -> f64 {
        match self {
            FrameStep::Gram { plan, .. } => plan.flops(),
            FrameStep::Mix { plan, .. } => plan.flops(),
            FrameStep::Apply { operator, pairs, .. } => {
                let G = operator.n_directions() as f64;
                pairs.len() as f64 * (operator.scan_flops() + G * operator.pair_flops())
            }
        }
    }

    /// Numbers of all operands and results of one call.
    pub(crate) fn numbers(&self) -> usize {
        let total = |slots: &[Slot]| slots.iter().map(|slot| slot.len).sum::<usize>();
        match self {
            FrameStep::Gram { fields, .. } => total(&fields.slots),
            FrameStep::Mix { fields, outputs, .. } => total(&fields.slots) + total(&outputs.slots),
            FrameStep::Apply { pairs, .. } => pairs.iter().map(|(a, b)| a.len + b.len).max().unwrap_or(0),
        }
    }

    /// Bytes of values kept between runs, and f64 of scratch per thread.
    pub(crate) fn memory(&self) -> (usize, usize) {
        match self {
            FrameStep::Gram { plan, values, places, .. } => {
                (8 * (values.len() + places.len() + plan.partial_len()) + plan.list_bytes(), plan.scratch_len())
            }
            FrameStep::Mix { plan, gathered, .. } => (8 * (gathered.len() + plan.partial_len()) + plan.list_bytes(), plan.scratch_len()),
            FrameStep::Apply { .. } => (0, 0),
        }
    }

    /// Runs the step.
    ///
    /// # Safety
    ///
    /// Nothing else may touch the step's slots meanwhile, and what it writes may overlap nothing it reads.
    pub(crate) unsafe fn run<T: Real>(&mut self, arena: &Arena<T>, wide: &mut Wide, threads: &Threads) {
        let work = self.work();
        // SAFETY: the caller promises that no slot read here is written meanwhile.
        let read = |slot: &Slot| unsafe { arena.read(*slot) };
        // SAFETY: the caller promises that no slot written here is touched by anything else.
        let write = |slot: &Slot| unsafe { arena.write(*slot) };
        match self {
            FrameStep::Gram { plan, fields, values, places, outputs } => {
                let rows: Vec<&[T]> = fields.slots.iter().map(read).collect();
                wide.run(threads.of(work), &rows, &mut [], |rows, _| plan.run(threads.of(work), rows, &fields.bandlimits, values));
                let mut places = places.iter();
                for output in outputs.iter() {
                    write(output).iter_mut().zip(&mut places).for_each(|(out, place)| *out = T::of(values[*place]));
                }
            }
            FrameStep::Mix { plan, fields, coefficients, gathered, outputs } => {
                let rows: Vec<&[T]> = fields.slots.iter().map(read).collect();
                let mut rest = gathered.as_mut_slice();
                for slot in coefficients.iter() {
                    let (head, tail) = rest.split_at_mut(slot.len);
                    head.iter_mut().zip(read(slot)).for_each(|(to, from)| *to = from.wide());
                    rest = tail;
                }
                let mut targets: Vec<&mut [T]> = outputs.slots.iter().map(write).collect();
                wide.run(threads.of(work), &rows, &mut targets, |rows, targets| {
                    plan.run(threads.of(work), rows, &fields.bandlimits, gathered, targets, &outputs.bandlimits);
                });
            }
            FrameStep::Apply { operator, adjoint, bandlimits: [L_in, L_out], pairs } => {
                for (input, output) in pairs.iter() {
                    wide.run(threads.of(work), &[read(input)], &mut [write(output)], |x, y| {
                        if *adjoint {
                            let x: Vec<&[f64]> = x[0].chunks_exact(coefficients_len(*L_out)).collect();
                            operator.apply_adjoint(threads.of(work), &x, *L_out, y[0], *L_in);
                        } else {
                            let mut y: Vec<&mut [f64]> = y[0].chunks_exact_mut(coefficients_len(*L_out)).collect();
                            operator.apply(threads.of(work), x[0], *L_in, &mut y, *L_out);
                        }
                    });
                }
            }
        }
    }
}
