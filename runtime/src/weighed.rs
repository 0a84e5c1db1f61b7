//! Steps on half spectra with the weights of filters: bilinear forms and their adjoint mixtures.

use crate::arena::Arena;
use crate::planar::{PlanarError, PlanarTables};
use crate::threads::Threads;
use scatterc_ir::Linear;
use scatterc_ir::plan::{Slot, Step};
use scatterc_kernels::KernelError;
use scatterc_kernels::simd::Real;
use scatterc_kernels::weighed::{Form, Term, WeighedGram, WeighedMix, Weights};
use std::sync::Arc;

/// A step, prepared.
pub(crate) struct WeighedStep<T> {
    filters: Vec<Arc<Weights<T>>>,
    rows: Vec<Slot>,
    /// 1 / (HW)^2, the weight of every frequency.
    factor: f64,
    kind: Kind<T>,
}

enum Kind<T> {
    Gram { plan: WeighedGram, places: Vec<usize>, values: Vec<f64>, outputs: Vec<Slot> },
    Mix { plan: WeighedMix, coefficients: Vec<Slot>, gathered: Vec<T>, outputs: Vec<Slot> },
}

/// Consecutive rows of several buffers.
fn split(slots: &[Slot], len: usize) -> Vec<Slot> {
    slots.iter().flat_map(|slot| (0..slot.len / len).map(move |r| Slot { offset: slot.offset + r * len, len })).collect()
}

impl<T: Real> WeighedStep<T> {
    /// The step of a plan; `None` for other steps.
    pub(crate) fn new(step: &Step, tables: &mut PlanarTables<T>) -> Result<Option<Self>, PlanarError> {
        let (Step::FilterGram { filters, rows, .. } | Step::FilterMix { filters, rows, .. }) = step else { return Ok(None) };
        let mut weights = Vec::with_capacity(filters.len());
        let (mut len, mut factor) = (1, 1.0);
        for map in filters {
            let Linear::SpectralFilter { H, W, h, w, j, power, bank } = map else {
                return Err(KernelError::from_expectation("filters", "spectral_filter", map.spelling()).into());
            };
            len = 2 * H * (W / 2 + 1);
            factor = 1.0 / (*H as f64 * *W as f64).powi(2);
            weights.push(tables.weights_in_tiles(bank, *j, *power, (*H, *W), (*h, *w))?);
        }
        let kind = match step {
            Step::FilterMix { counts, terms, coefficients, outputs, .. } => {
                let mut rest = terms.chunks_exact(5).map(|t| Term {
                    filter: t[0] as u32,
                    row: t[1] as u32,
                    l: t[2] as u32,
                    turned: t[3] as u32,
                    coefficient: t[4] as u32,
                });
                let targets: Vec<Vec<Term>> = counts.iter().map(|n| rest.by_ref().take(*n).collect()).collect();
                let directions: Vec<usize> = weights.iter().map(|w| w.directions()).collect();
                Kind::Mix {
                    plan: WeighedMix::new(rows.iter().map(|slot| slot.len / len).sum(), &directions, &targets),
                    gathered: vec![T::default(); coefficients.iter().map(|slot| slot.len).sum()],
                    coefficients: coefficients.clone(),
                    outputs: split(outputs, len),
                }
            }
            Step::FilterGram { forms, places, outputs, .. } => {
                let forms: Vec<Form> = forms
                    .chunks_exact(5)
                    .map(|f| Form { filter: f[0] as u32, a: f[1] as u32, b: f[2] as u32, l: f[3] as u32, turned: f[4] == 1 })
                    .collect();
                Kind::Gram {
                    plan: WeighedGram::new(rows.iter().map(|slot| slot.len / len).sum(), &forms),
                    places: places.clone(),
                    values: vec![0.0; forms.len()],
                    outputs: outputs.clone(),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(WeighedStep { filters: weights, rows: split(rows, len), factor, kind }))
    }

    /// Flops of one run.
    fn work(&self) -> f64 {
        let len = self.rows.first().map_or(0, |slot| slot.len / 2);
        let flops = match &self.kind {
            Kind::Gram { plan, .. } => plan.flops(),
            Kind::Mix { plan, .. } => plan.flops(),
        };
        (flops * len) as f64
    }

    /// Bytes of values kept between runs.
    pub(crate) fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Gram { places, values, .. } => 8 * (places.len() + values.len()),
            Kind::Mix { gathered, .. } => size_of::<T>() * gathered.len(),
        }
    }

    /// Runs the step.
    ///
    /// # Safety
    ///
    /// Nothing else may touch the step's slots meanwhile, and what it writes may overlap nothing it reads.
    pub(crate) unsafe fn run(&mut self, arena: &Arena<T>, threads: &Threads) {
        let par = threads.of(self.work());
        // SAFETY: the caller promises that no slot read here is written meanwhile.
        let read = |slot: &Slot| unsafe { arena.read(*slot) };
        // SAFETY: the caller promises that no slot written here is touched by anything else.
        let write = |slot: &Slot| unsafe { arena.write(*slot) };
        let rows: Vec<&[T]> = self.rows.iter().map(read).collect();
        let filters: Vec<&Weights<T>> = self.filters.iter().map(Arc::as_ref).collect();
        match &mut self.kind {
            Kind::Gram { plan, places, values, outputs } => {
                plan.run(par, &rows, &filters, self.factor, values);
                let mut places = places.iter();
                for output in outputs.iter() {
                    write(output).iter_mut().zip(&mut places).for_each(|(out, place)| *out = T::of(values[*place]));
                }
            }
            Kind::Mix { plan, coefficients, gathered, outputs } => {
                let mut rest = gathered.as_mut_slice();
                for slot in coefficients.iter() {
                    let (head, tail) = rest.split_at_mut(slot.len);
                    head.copy_from_slice(read(slot));
                    rest = tail;
                }
                let mut outputs: Vec<&mut [T]> = outputs.iter().map(write).collect();
                plan.run(par, &rows, &filters, gathered, self.factor, &mut outputs);
            }
        }
    }
}
