//! Linear maps of images and spectra on the CPU: transforms, filters from formulas, changes of grid. Layouts are the logical ones.

use crate::tables::{Cache, Key};
use scatterc_ir::Linear;
use scatterc_ir::filter::{Bank, Evaluation, FilterError, Sampled, Transform};
use scatterc_ir::notation::Filter;
use scatterc_ir::ops::Indices;
use scatterc_kernels::images::{Blocks, Edge, Enlarged, Stencils};
use scatterc_kernels::planar::{self, Fold, PlanarFft, Support, Synthesis};
use scatterc_kernels::simd::Real;
use scatterc_kernels::weighed::Weights;
use scatterc_kernels::{KernelError, Parallel};
use std::collections::HashMap;
use std::sync::Arc;

/// Why a map of images cannot be prepared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum PlanarError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl From<PlanarError> for KernelError {
    fn from(error: PlanarError) -> Self {
        match error {
            PlanarError::Kernel(error) => error,
            PlanarError::Filter(error) => KernelError::from_expectation("bank", "filters that can be evaluated", &error.to_string()),
        }
    }
}

/// Transforms and filter tables met so far, shared by the steps of a plan.
pub(crate) struct PlanarTables<T = f64> {
    /// Where evaluated filters are kept from one plan to the next.
    cache: Option<Arc<Cache>>,
    ffts: HashMap<(usize, usize), Arc<PlanarFft<T>>>,
    /// Filters of all directions on the base grid; `usize::MAX` directions stand for the low-pass filter.
    filters: HashMap<(Bank, usize, bool), Arc<Vec<Sampled>>>,
    restricted: HashMap<(Bank, usize, bool, usize, usize, usize), Arc<Factors<T>>>,
    in_tiles: HashMap<Tiled, Arc<Weights<T>>>,
    bytes: usize,
    /// Threads that evaluate filters.
    threads: usize,
}

/// Bank, scale, power, grid of the spectra and grid of the filter.
type Tiled = (Bank, usize, usize, (usize, usize), (usize, usize));

impl<T> Default for PlanarTables<T> {
    fn default() -> Self {
        PlanarTables {
            cache: None,
            ffts: HashMap::new(),
            filters: HashMap::new(),
            restricted: HashMap::new(),
            in_tiles: HashMap::new(),
            bytes: 0,
            threads: 1,
        }
    }
}

/// Factors of `[n][H][W]` spectra.
pub(crate) struct Factors<T> {
    re: Vec<T>,
    im: Option<Vec<T>>,
}

impl<T: Real> Factors<T> {
    fn new((re, im): (Vec<f64>, Option<Vec<f64>>)) -> Self {
        Factors { re: T::all_of(re), im: im.map(T::all_of) }
    }

    fn borrowed(&self) -> planar::Factors<'_, T> {
        planar::Factors { re: &self.re, im: self.im.as_deref() }
    }
}

impl<T: Real> Transform for PlanarTables<T> {
    fn fourier(&self, H: usize, W: usize, inverse: bool, re: &mut [f64], im: &mut [f64]) {
        // Sizes come from a bank, which bounds them as the transform does.
        if let Ok(fft) = PlanarFft::<f64>::new(H, W) {
            fft.in_place(inverse, re, im);
        }
    }
}

/// Values below this part of the largest one are zero: those of a filter made by a transform are its rounding errors, and where a whole column of frequencies is zero the
/// inverse transform skips it.
const NEGLIGIBLE: f64 = 1.0 / (1u64 << 54) as f64;

/// One after another: whether there are imaginary parts, then real parts and these, per filter.
fn to_bytes(filters: &[Sampled]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for filter in filters {
        bytes.extend(u64::from(filter.im.is_some()).to_le_bytes());
        filter.re.iter().chain(filter.im.iter().flatten()).for_each(|x| bytes.extend(x.to_le_bytes()));
    }
    bytes
}

/// `None` for bytes that are not `count` filters of `n` numbers.
fn from_bytes(mut bytes: &[u8], count: usize, n: usize) -> Option<Vec<Sampled>> {
    let mut numbers = |n: usize| -> Option<Vec<f64>> {
        let (head, rest) = bytes.split_at_checked(8 * n)?;
        bytes = rest;
        Some(head.chunks_exact(8).map(|x| f64::from_le_bytes([x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]])).collect())
    };
    let mut filters = Vec::with_capacity(count);
    for _ in 0..count {
        let complex = numbers(1)?[0].to_bits() == 1;
        let re = numbers(n)?;
        filters.push(Sampled { re, im: if complex { Some(numbers(n)?) } else { None } });
    }
    bytes.is_empty().then_some(filters)
}

impl<T: Real> PlanarTables<T> {
    /// Tables that keep evaluated filters in `cache` and evaluate them on several threads.
    pub(crate) fn new(cache: Arc<Cache>, threads: usize) -> Self {
        PlanarTables { cache: Some(cache), threads, ..PlanarTables::default() }
    }

    /// The transform of that size.
    pub(crate) fn fft(&mut self, H: usize, W: usize) -> Result<Arc<PlanarFft<T>>, KernelError> {
        if let Some(fft) = self.ffts.get(&(H, W)) {
            return Ok(fft.clone());
        }
        let fft = Arc::new(PlanarFft::new(H, W)?);
        self.ffts.insert((H, W), fft.clone());
        Ok(fft)
    }

    /// Bytes of the factors made since the last call.
    pub(crate) fn take_bytes(&mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }

    /// Filters of scale j on the base grid.
    fn filters(&mut self, bank: &Bank, j: usize, lowpass: bool) -> Result<Arc<Vec<Sampled>>, FilterError> {
        let key = (bank.clone(), j, lowpass);
        if let Some(found) = self.filters.get(&key) {
            return Ok(found.clone());
        }
        let filter = bank.filter()?;
        let name = if lowpass { "lowpass" } else { "wavelet" };
        let directions = if lowpass { 1 } else { bank.L };
        let stored = Key::of_texts("filters", &[&bank.to_string(), name, &j.to_string()]);
        let known = self.cache.as_ref().and_then(|cache| cache.find(&stored)).and_then(|bytes| from_bytes(&bytes, directions, bank.H * bank.W));
        let made = match known {
            Some(made) => made,
            None => {
                let mut made = self.evaluated(&filter, bank, j, directions, name)?;
                made.iter_mut().for_each(clean);
                if let Some(cache) = &self.cache {
                    cache.store(&stored, to_bytes(&made));
                }
                made
            }
        };
        let made = Arc::new(made);
        self.filters.insert(key, made.clone());
        Ok(made)
    }

    /// The filters of one scale, evaluated on as many threads as are allowed.
    fn evaluated(&self, filter: &Filter, bank: &Bank, j: usize, directions: usize, name: &str) -> Result<Vec<Sampled>, FilterError> {
        let share = directions.div_ceil(self.threads.max(1));
        let some = |first: usize| -> Result<Vec<Sampled>, FilterError> {
            (first..directions.min(first + share)).map(|l| Evaluation::new(filter, bank, j, l, self).array(name)).collect()
        };
        if share >= directions {
            return some(0);
        }
        let parts: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..directions).step_by(share).map(|first| scope.spawn(move || some(first))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        Ok(parts.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Filters of scale j on a grid of `H` x `W`, each to a power.
    pub(crate) fn factors(&mut self, bank: &Bank, j: usize, lowpass: bool, power: usize, H: usize, W: usize) -> Result<Arc<Factors<T>>, FilterError> {
        let key = (bank.clone(), j, lowpass, power, H, W);
        if let Some(found) = self.restricted.get(&key) {
            return Ok(found.clone());
        }
        let factors = Factors::new(self.sampled(bank, j, lowpass, power, H, W)?);
        self.bytes += size_of::<T>() * (factors.re.len() + factors.im.as_ref().map_or(0, Vec::len));
        let factors = Arc::new(factors);
        self.restricted.insert(key, factors.clone());
        Ok(factors)
    }

    /// Real and imaginary parts of [`Self::factors`].
    fn sampled(
        &mut self,
        bank: &Bank,
        j: usize,
        lowpass: bool,
        power: usize,
        H: usize,
        W: usize,
    ) -> Result<(Vec<f64>, Option<Vec<f64>>), FilterError> {
        let filters = self.filters(bank, j, lowpass)?;
        let complex = filters.iter().any(|f| f.im.is_some());
        let (mut re, mut im) = (Vec::with_capacity(filters.len() * H * W), Vec::new());
        for filter in filters.iter() {
            re.extend(restrict(bank, &filter.re, H, W));
            if complex {
                match &filter.im {
                    Some(part) => im.extend(restrict(bank, part, H, W)),
                    None => im.resize(re.len(), 0.0),
                }
            }
        }
        let im = if complex {
            let (first_re, first_im) = (re.clone(), im.clone());
            for _ in 1..power {
                for ((a, b), (c, d)) in re.iter_mut().zip(&mut im).zip(first_re.iter().zip(&first_im)) {
                    (*a, *b) = (*a * c - *b * d, *a * d + *b * c);
                }
            }
            Some(im)
        } else {
            if power > 1 {
                re.iter_mut().for_each(|x| *x = x.powi(power as i32));
            }
            None
        };
        Ok((re, im))
    }

    /// Stencils of scale j for images of `H` x `W`, real and imaginary parts in turn.
    fn stencils(&mut self, bank: &Bank, j: usize, edge: usize, H: usize, W: usize) -> Result<Stencils<T>, PlanarError> {
        let filter = bank.filter()?;
        let mut values = Vec::with_capacity(2 * bank.L * bank.H * bank.W);
        for l in 0..bank.L {
            let Sampled { re, im } = Evaluation::new(&filter, bank, j, l, &*self).array("stencil")?;
            let n = re.len();
            values.extend(re);
            values.extend(im.unwrap_or_else(|| vec![0.0; n]));
        }
        let stencils = Stencils::new(H, W, bank.H, bank.W, Edge::from_index(edge)?, &values)?;
        self.bytes += stencils.bytes();
        Ok(stencils)
    }

    /// Even part of the low-pass filter on the stored half of `H` x `W`: (h(k) + conj h(-k)) / 2.
    fn even(&mut self, bank: &Bank, j: usize, H: usize, W: usize) -> Result<Factors<T>, FilterError> {
        let (whole_re, whole_im) = self.sampled(bank, j, true, 1, H, W)?;
        let half = W / 2 + 1;
        let opposite = |r: usize, c: usize| (H - r) % H * W + (W - c) % W;
        let places = || (0..H).flat_map(move |r| (0..half).map(move |c| (r, c)));
        let re = places().map(|(r, c)| 0.5 * (whole_re[r * W + c] + whole_re[opposite(r, c)])).collect();
        let im = whole_im.as_ref().map(|im| places().map(|(r, c)| 0.5 * (im[r * W + c] - im[opposite(r, c)])).collect());
        Ok(Factors::new((re, im)))
    }

    /// Weights that gather a filtered average from the stored half: `[L][2][H][W/2+1]`, for the real and for the imaginary part.
    fn halves(&mut self, bank: &Bank, j: usize, power: usize, (H, W): (usize, usize), (h, w): (usize, usize)) -> Result<Vec<T>, PlanarError> {
        let (factors, im) = self.sampled(bank, j, false, power, h, w)?;
        if im.is_some() {
            return Err(KernelError::from_expectation("bank", "real filters, spectral_filter C1", "complex filters").into());
        }
        let half = W / 2 + 1;
        let mut weights = vec![0.0; bank.L * 2 * H * half];
        for (both, filter) in weights.chunks_exact_mut(2 * H * half).zip(factors.chunks_exact(h * w)) {
            let (even, odd) = both.split_at_mut(H * half);
            for r in 0..h {
                for c in 0..w {
                    // A frequency of the upper half is stored at its opposite, conjugated.
                    let (p, q) = (signed(h, r), signed(w, c));
                    let (p, q, sign) = if q >= 0 { (p, q, 1.0) } else { (-p, -q, -1.0) };
                    let place = p.rem_euclid(H as i64) as usize * half + q as usize;
                    even[place] += filter[r * w + c];
                    odd[place] += sign * filter[r * w + c];
                }
            }
        }
        self.bytes += size_of::<T>() * weights.len();
        Ok(T::all_of(weights))
    }

    /// [`Self::halves`] for kernels that apply them in cache.
    pub(crate) fn weights_in_tiles(
        &mut self,
        bank: &Bank,
        j: usize,
        power: usize,
        (H, W): (usize, usize),
        (h, w): (usize, usize),
    ) -> Result<Arc<Weights<T>>, PlanarError> {
        let key = (bank.clone(), j, power, (H, W), (h, w));
        if let Some(found) = self.in_tiles.get(&key) {
            return Ok(found.clone());
        }
        let before = self.bytes;
        let weights = Arc::new(Weights::new(bank.L, H * (W / 2 + 1), &self.halves(bank, j, power, (H, W), (h, w))?));
        // What they were made from is gone.
        self.bytes = before + size_of::<T>() * weights.numbers();
        self.in_tiles.insert(key, weights.clone());
        Ok(weights)
    }

    /// Weights of `average` and `spectral_sum`; `None` for other maps.
    pub(crate) fn weights(&mut self, map: &Linear) -> Result<Option<Vec<f64>>, PlanarError> {
        match map {
            Linear::Average { H, W, top, bottom, left, right } => {
                let n = ((H - top - bottom) * (W - left - right)) as f64;
                let inside = |r: usize, c: usize| r >= *top && r < H - bottom && c >= *left && c < W - right;
                Ok(Some((0..H * W).map(|k| if inside(k / W, k % W) { 1.0 / n } else { 0.0 }).collect()))
            }
            Linear::SpectralSum { H, W } => Ok(Some(vec![1.0 / (*H as f64 * *W as f64).powi(2); 2 * H * (W / 2 + 1)])),
            _ => Ok(None),
        }
    }
}

/// Sets what is negligible to zero.
fn clean(filter: &mut Sampled) {
    let parts = || filter.re.iter().chain(filter.im.iter().flatten());
    let limit = NEGLIGIBLE * parts().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    filter.re.iter_mut().chain(filter.im.iter_mut().flatten()).filter(|x| x.abs() < limit).for_each(|x| *x = 0.0);
}

/// Frequency from -floor(n/2) on that sits at `k` of `n`.
fn signed(n: usize, k: usize) -> i64 {
    if k < n.div_ceil(2) { k as i64 } else { k as i64 - n as i64 }
}

/// A filter on a smaller grid: its lowest frequencies, or the sum over aliases.
fn restrict(bank: &Bank, filter: &[f64], H: usize, W: usize) -> Vec<f64> {
    if !bank.folded {
        return (0..H * W).map(|k| filter[Bank::kept(bank.H, H, k / W) * bank.W + Bank::kept(bank.W, W, k % W)]).collect();
    }
    let mut out = vec![0.0; H * W];
    for (k, x) in filter.iter().enumerate() {
        out[(k / bank.W % H) * W + k % bank.W % W] += x;
    }
    out
}

/// A prepared map.
pub(crate) enum Planar<T> {
    Fourier(Arc<PlanarFft<T>>),
    FourierReal {
        fft: Arc<PlanarFft<T>>,
        factor: f64,
    },
    FourierInverse(Arc<PlanarFft<T>>),
    /// One spectrum to L; `real` when the operand is the spectrum of a real image.
    Filter {
        H: usize,
        W: usize,
        L: usize,
        real: bool,
        factors: Arc<Factors<T>>,
    },
    /// One spectrum to L images of filtered ones.
    FilterInverse {
        synthesis: Synthesis<T>,
        factors: Arc<Factors<T>>,
        support: Support,
    },
    /// Every stored complex number times its factor, for `n` fields of `len` complex numbers.
    Each {
        factors: Arc<Factors<T>>,
    },
    Truncate {
        H: usize,
        W: usize,
        h: usize,
        w: usize,
        real: bool,
    },
    Clip {
        H: usize,
        W: usize,
        h: usize,
        w: usize,
    },
    Fold(Fold),
    Pick {
        H: usize,
        W: usize,
        rows: Indices,
        columns: Indices,
    },
    Roll {
        H: usize,
        W: usize,
        rows: Vec<usize>,
        columns: Vec<usize>,
        count: usize,
    },
    /// Pairs of so many complex numbers to their real and their imaginary parts.
    Parts {
        n: usize,
    },
    /// One image to the real and imaginary parts of L filtered ones.
    Stencils(Stencils<T>),
    Blocks(Blocks),
    Enlarged(Enlarged),
    /// One half spectrum to L filtered ones, plain and turned by i.
    Spectral {
        weights: Vec<T>,
        len: usize,
    },
}

impl<T: Real> Planar<T> {
    /// `None` for maps that are none of images.
    pub(crate) fn new(map: &Linear, tables: &mut PlanarTables<T>) -> Result<Option<Planar<T>>, PlanarError> {
        Ok(Some(match map {
            Linear::Fourier { H, W } => Planar::Fourier(tables.fft(*H, *W)?),
            Linear::FourierReal { H, W } => Planar::FourierReal { fft: tables.fft(*H, *W)?, factor: 1.0 / (H * W) as f64 },
            Linear::FourierInverse { H, W } => Planar::FourierInverse(tables.fft(*H, *W)?),
            Linear::Filter { H, W, j, power, real, bank } => {
                Planar::Filter { H: *H, W: *W, L: bank.L, real: *real == 1, factors: tables.factors(bank, *j, false, *power, *H, *W)? }
            }
            Linear::FilterInverse { H, W, h, w, j, power, real, bank } => {
                let synthesis = Synthesis::new(tables.fft(*h, *w)?, *H, *W, *real == 1, bank.L)?;
                let factors = tables.factors(bank, *j, false, *power, *H, *W)?;
                let support = synthesis.support(&factors.borrowed());
                tables.bytes += support.bytes();
                Planar::FilterInverse { synthesis, factors, support }
            }
            Linear::FilterEach { H, W, j, bank } => Planar::Each { factors: tables.factors(bank, *j, false, 1, *H, *W)? },
            Linear::Smooth { H, W, j, bank } => Planar::Each { factors: Arc::new(tables.even(bank, *j, *H, *W)?) },
            Linear::Truncate { H, W, h, w, real } => Planar::Truncate { H: *H, W: *W, h: *h, w: *w, real: *real == 1 },
            Linear::Clip { H, W, h, w } => Planar::Clip { H: *H, W: *W, h: *h, w: *w },
            Linear::Fold { H, W, h, w, real } => Planar::Fold(Fold { from: (*H, *W), to: (*h, *w), half: *real == 1 }),
            Linear::Pick { H, W, rows, columns } => Planar::Pick { H: *H, W: *W, rows: rows.clone(), columns: columns.clone() },
            Linear::Roll { H, W, rows, columns, count } => Planar::Roll { H: *H, W: *W, rows: rows.clone(), columns: columns.clone(), count: *count },
            Linear::ImageStencil { H, W, j, edge, bank } => Planar::Stencils(tables.stencils(bank, *j, *edge, *H, *W)?),
            Linear::SpectrumParts { H, W } => Planar::Parts { n: H * W },
            Linear::BlockMean { H, W, h, w } => Planar::Blocks(Blocks { H: *H, W: *W, h: *h, w: *w }),
            Linear::Enlarge { H, W, rows, columns } => Planar::Enlarged(Enlarged { H: *H, W: *W, rows: *rows, columns: *columns }),
            Linear::SpectralFilter { H, W, h, w, j, power, bank } => {
                Planar::Spectral { weights: tables.halves(bank, *j, *power, (*H, *W), (*h, *w))?, len: H * (W / 2 + 1) }
            }
            _ => return Ok(None),
        }))
    }

    /// Operations for `len` f64 of the larger side, nominal.
    pub(crate) fn work(&self, len: usize) -> f64 {
        match self {
            Planar::Fourier(fft) | Planar::FourierReal { fft, .. } | Planar::FourierInverse(fft) => {
                2.5 * len as f64 * (fft.flops() / 5.0).max(2.0).log2()
            }
            Planar::FilterInverse { synthesis, .. } => 2.5 * len as f64 * synthesis.points().max(2.0).log2(),
            Planar::Stencils(stencils) => stencils.flops() * (len / stencils.len().max(1)) as f64,
            _ => 2.0 * len as f64,
        }
    }

    /// f64 one thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match self {
            Planar::Fourier(fft) | Planar::FourierReal { fft, .. } | Planar::FourierInverse(fft) => fft.scratch_len(),
            Planar::FilterInverse { synthesis, .. } => synthesis.scratch_len(),
            Planar::Stencils(stencils) => stencils.scratch_len(),
            _ => 0,
        }
    }

    /// The map, or its adjoint, on consecutive fields.
    pub(crate) fn apply(&self, par: &dyn Parallel, adjoint: bool, x: &[T], y: &mut [T]) {
        match (self, adjoint) {
            (Planar::Fourier(fft), false) => fft.real_forward(par, x, y),
            (Planar::Fourier(fft), true) => fft.real_inverse(par, x, y, false, 1.0),
            (Planar::FourierReal { fft, factor }, false) => fft.real_inverse(par, x, y, true, *factor),
            (Planar::FourierReal { fft, .. }, true) => fft.real_inverse_adjoint(par, x, y),
            (Planar::FourierInverse(fft), false) => fft.inverse(par, x, y),
            (Planar::FourierInverse(fft), true) => fft.inverse_adjoint(par, x, y),
            (Planar::Filter { H, W, L, real, factors }, _) => {
                let one = if *real { 2 * H * (W / 2 + 1) } else { 2 * H * W };
                let all = 2 * L * H * W;
                let (from, to) = if adjoint { (all, one) } else { (one, all) };
                for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
                    if adjoint { filter_adjoint(*H, *W, *real, factors, x, y) } else { filter(*H, *W, *real, factors, x, y) }
                }
            }
            (Planar::FilterInverse { synthesis, factors, support }, false) => synthesis.apply(par, &factors.borrowed(), support, x, y),
            (Planar::FilterInverse { synthesis, factors, support }, true) => synthesis.adjoint(par, &factors.borrowed(), support, x, y),
            (Planar::Each { factors }, _) => {
                let n = 2 * factors.re.len();
                let sign = T::of(if adjoint { -1.0 } else { 1.0 });
                for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
                    multiply(factors, 0, sign, x, y);
                }
            }
            (Planar::Truncate { H, W, h, w, real }, _) => {
                let half = if *real { W / 2 + 1 } else { *W };
                let scale = T::of((h * w) as f64 / (H * W) as f64);
                let (large, small) = (2 * H * half, 2 * h * w);
                let (from, to) = if adjoint { (small, large) } else { (large, small) };
                for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
                    if adjoint {
                        y.fill(T::default());
                    }
                    for r in 0..*h {
                        for c in 0..*w {
                            let (k, sign) = stored::<T>(*H, *W, *real, Bank::kept(*H, *h, r), Bank::kept(*W, *w, c));
                            let i = r * w + c;
                            if adjoint {
                                y[2 * k] += scale * x[2 * i];
                                y[2 * k + 1] += sign * scale * x[2 * i + 1];
                            } else {
                                y[2 * i] = scale * x[2 * k];
                                y[2 * i + 1] = sign * scale * x[2 * k + 1];
                            }
                        }
                    }
                }
            }
            (Planar::Clip { H, W, h, w }, _) => {
                let (large, small) = (2 * H * (W / 2 + 1), 2 * h * (w / 2 + 1));
                let scale = T::of((h * w) as f64 / (H * W) as f64);
                let (from, to) = if adjoint { (small, large) } else { (large, small) };
                let width = 2 * (w / 2 + 1);
                for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
                    if adjoint {
                        y.fill(T::default());
                    }
                    for r in 0..*h {
                        let row = Bank::kept(*H, *h, r) * 2 * (W / 2 + 1);
                        let (out, source) = if adjoint {
                            (&mut y[row..][..width], &x[r * width..][..width])
                        } else {
                            (&mut y[r * width..][..width], &x[row..][..width])
                        };
                        out.iter_mut().zip(source).for_each(|(y, x)| *y = scale * *x);
                    }
                }
            }
            (Planar::Fold(fold), false) => fold.apply(par, x, y),
            (Planar::Fold(fold), true) => fold.adjoint(par, x, y),
            (Planar::Pick { H, W, rows, columns }, _) => {
                let (large, small) = (H * W, rows.len() * columns.len());
                let (from, to) = if adjoint { (small, large) } else { (large, small) };
                for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
                    if adjoint {
                        y.fill(T::default());
                        for (r, x) in rows.iter().zip(x.chunks_exact(columns.len())) {
                            let row = &mut y[r * W..][..*W];
                            columns.iter().zip(x).for_each(|(c, x)| row[*c] += *x);
                        }
                    } else {
                        for (r, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
                            let row = &x[r * W..][..*W];
                            columns.iter().zip(y).for_each(|(c, y)| *y = row[*c]);
                        }
                    }
                }
            }
            (Planar::Roll { H, W, rows, columns, count }, _) => {
                let size = H * W;
                let (one, all) = (rows.len() / count * size, rows.len() * size);
                let (from, to) = if adjoint { (all, one) } else { (one, all) };
                for (x, y) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)) {
                    if adjoint {
                        y.fill(T::default());
                    }
                    for (k, (row, column)) in rows.iter().zip(columns).enumerate() {
                        for r in 0..*H {
                            // Row r of the moved image is row `source` of the given one, from `column` on.
                            let source = (k / count) * size + (r + row) % H * W;
                            let moved = k * size + r * W;
                            if adjoint {
                                let (tail, head) = x[moved..][..*W].split_at(W - column);
                                y[source + column..][..tail.len()].iter_mut().zip(tail).for_each(|(y, x)| *y += *x);
                                y[source..][..head.len()].iter_mut().zip(head).for_each(|(y, x)| *y += *x);
                            } else {
                                let (head, tail) = x[source..][..*W].split_at(*column);
                                y[moved..][..tail.len()].copy_from_slice(tail);
                                y[moved + tail.len()..][..head.len()].copy_from_slice(head);
                            }
                        }
                    }
                }
            }
            (Planar::Stencils(stencils), false) => stencils.apply(par, x, y),
            (Planar::Stencils(stencils), true) => stencils.adjoint(par, x, y),
            (Planar::Parts { n }, _) => {
                for (x, y) in x.chunks_exact(2 * n).zip(y.chunks_exact_mut(2 * n)) {
                    if adjoint {
                        let (re, im) = x.split_at(*n);
                        y.chunks_exact_mut(2).zip(re.iter().zip(im)).for_each(|(z, (a, b))| (z[0], z[1]) = (*a, *b));
                    } else {
                        let (re, im) = y.split_at_mut(*n);
                        x.chunks_exact(2).zip(re.iter_mut().zip(im)).for_each(|(z, (a, b))| (*a, *b) = (z[0], z[1]));
                    }
                }
            }
            (Planar::Blocks(blocks), false) => blocks.apply(par, x, y),
            (Planar::Blocks(blocks), true) => blocks.adjoint(par, x, y),
            (Planar::Enlarged(enlarged), false) => enlarged.apply(par, x, y),
            (Planar::Enlarged(enlarged), true) => enlarged.adjoint(par, x, y),
            (Planar::Spectral { weights, len }, false) => planar::turned(par, weights, *len, x, y),
            (Planar::Spectral { weights, len }, true) => planar::turned_adjoint(par, weights, *len, x, y),
        }
    }
}

/// Where frequency (r, c) of the whole spectrum is stored, and the sign of its imaginary part.
fn stored<T: Real>(H: usize, W: usize, real: bool, r: usize, c: usize) -> (usize, T) {
    let half = W / 2 + 1;
    match real {
        false => (r * W + c, T::of(1.0)),
        true if c < half => (r * half + c, T::of(1.0)),
        true => ((H - r) % H * half + W - c, T::of(-1.0)),
    }
}

/// y := f x, complex numbers from entry `first` of the factors on; conj f for a negative sign.
fn multiply<T: Real>(factors: &Factors<T>, first: usize, sign: T, x: &[T], y: &mut [T]) {
    let pairs = y.chunks_exact_mut(2).zip(x.chunks_exact(2));
    match &factors.im {
        None => pairs.zip(&factors.re[first..]).for_each(|((y, x), f)| {
            y[0] = *f * x[0];
            y[1] = *f * x[1];
        }),
        Some(im) => pairs.zip(factors.re[first..].iter().zip(&im[first..])).for_each(|((y, x), (a, b))| {
            y[0] = *a * x[0] - sign * *b * x[1];
            y[1] = *a * x[1] + sign * *b * x[0];
        }),
    }
}

/// L filtered spectra of one.
fn filter<T: Real>(H: usize, W: usize, real: bool, factors: &Factors<T>, x: &[T], y: &mut [T]) {
    let half = W / 2 + 1;
    for (l, y) in y.chunks_exact_mut(2 * H * W).enumerate() {
        if !real {
            multiply(factors, l * H * W, T::of(1.0), x, y);
            continue;
        }
        for (r, y) in y.chunks_exact_mut(2 * W).enumerate() {
            let first = (l * H + r) * W;
            let (stored, opposite) = y.split_at_mut(2 * half);
            multiply(factors, first, T::of(1.0), &x[2 * r * half..][..2 * half], stored);
            // Columns above W/2 are the conjugates of the opposite frequencies.
            let row = &x[2 * ((H - r) % H) * half..][..2 * half];
            for (k, y) in opposite.chunks_exact_mut(2).enumerate() {
                let c = half + k;
                let (a, b) = (row[2 * (W - c)], -row[2 * (W - c) + 1]);
                let (f, g) = (factors.re[first + c], factors.im.as_ref().map_or(T::default(), |im| im[first + c]));
                y[0] = f * a - g * b;
                y[1] = f * b + g * a;
            }
        }
    }
}

/// The transpose of [`filter`].
fn filter_adjoint<T: Real>(H: usize, W: usize, real: bool, factors: &Factors<T>, x: &[T], y: &mut [T]) {
    let half = W / 2 + 1;
    let stride = if real { half } else { W };
    y.fill(T::default());
    for (l, x) in x.chunks_exact(2 * H * W).enumerate() {
        for (r, x) in x.chunks_exact(2 * W).enumerate() {
            let first = (l * H + r) * W;
            let row = &mut y[2 * r * stride..][..2 * stride];
            for (c, (x, y)) in x.chunks_exact(2).zip(row.chunks_exact_mut(2)).enumerate() {
                let (f, g) = (factors.re[first + c], factors.im.as_ref().map_or(T::default(), |im| im[first + c]));
                y[0] += f * x[0] + g * x[1];
                y[1] += f * x[1] - g * x[0];
            }
            if real {
                let row = &mut y[2 * ((H - r) % H) * half..][..2 * half];
                for (k, x) in x[2 * half..].chunks_exact(2).enumerate() {
                    let c = half + k;
                    let (f, g) = (factors.re[first + c], factors.im.as_ref().map_or(T::default(), |im| im[first + c]));
                    row[2 * (W - c)] += f * x[0] + g * x[1];
                    row[2 * (W - c) + 1] -= f * x[1] - g * x[0];
                }
            }
        }
    }
}
