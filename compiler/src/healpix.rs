//! HEALPix maps in NESTED order: wavelets as stencils on a pyramid of resolutions.
//!
//! Scale j lives on the map of nside / 2^j: a field is down-graded until it is there and then filtered by the same small kernel at every scale. Fields of finer scales than the
//! one asked for can therefore be filtered, coarser ones cannot. Averages may be weighted by a mask, a parameter that goes down the same pyramid.

use crate::domain::{Domain, DomainError, Field, Numbers};
use scatterc_ir::graph::Builder;
use scatterc_ir::ops::pointwise;
use scatterc_ir::{Linear, Space, Type, Value};
use scatterc_kernels::stencil::{MOST_ORIENTATIONS, check_cells, coarse_cells};

/// Largest nside accepted.
pub const LARGEST_NSIDE: usize = 2048;

/// Name of the parameter that holds the mask.
pub const MASK: &str = "mask";

/// A sphere or patch of HEALPix pixels bound to its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Healpix {
    /// Resolution of the input.
    pub nside: usize,
    /// Number of scales.
    pub J: usize,
    /// Number of orientations.
    pub L: usize,
    /// Side of the stencil: 3, 5 or 7.
    pub K: usize,
    /// True when averages are weighted by the parameter `mask`, one number per pixel of the input.
    pub masked: bool,
    /// What of a down-graded mask does not exceed this is set to zero.
    pub threshold: Option<f64>,
    /// Cells of the patch at every scale; empty lists for the whole sphere.
    cells: Vec<Vec<usize>>,
    /// Resolution of scale 0: twice that of the input for stencils of 5 and 7 on the whole sphere, whose nodes would overlap on the coarsest maps.
    finest: usize,
}

fn fault<T>(option: &'static str, found: impl ToString, expected: impl Into<String>) -> Result<T, DomainError> {
    Err(DomainError::Option { option, found: found.to_string(), expected: expected.into() })
}

impl Healpix {
    /// The whole sphere at `nside` with L orientations of the K x K stencil, at all scales down to twelve pixels.
    ///
    /// Error: nside no power of two up to [`LARGEST_NSIDE`], K not 3, 5 or 7, no orientation or more than 32.
    pub fn new(nside: usize, L: usize, K: usize) -> Result<Self, DomainError> {
        check(nside, L, K)?;
        let finest = if K == 3 { nside } else { 2 * nside };
        let J = finest.ilog2() as usize + 1;
        Ok(Healpix { nside, J, L, K, masked: false, threshold: None, cells: vec![vec![]; J], finest })
    }

    /// The cells `cells` of a sphere at `nside`, in ascending order.
    ///
    /// Scales: as many as the whole sphere has, at most log4(cells) - 1. Error: as [`Self::new`]; cells unsorted, repeated or not on the map; fewer than 16 of them.
    pub fn patch(nside: usize, L: usize, K: usize, cells: &[usize]) -> Result<Self, DomainError> {
        check(nside, L, K)?;
        check_cells(nside, cells).or_else(|e| fault("cells", "a list that is none of a patch", e.to_string()))?;
        if cells.len() < 16 {
            return fault("cells", format!("{} pixels", cells.len()), "at least 16, those of one scale");
        }
        let J = (nside.ilog2() as usize + 1).min(cells.len().ilog2() as usize / 2 - 1).max(1);
        let mut all = vec![cells.to_vec()];
        for j in 1..J {
            all.push(coarse_cells(&all[j - 1]));
        }
        Ok(Healpix { nside, J, L, K, masked: false, threshold: None, cells: all, finest: nside })
    }

    /// The first `J` scales only, counted on the map of the input: a sphere with a larger stencil has one more, as its scale 0 is finer.
    ///
    /// Error: no scale, or more than there are.
    pub fn scales_kept(mut self, J: usize) -> Result<Self, DomainError> {
        let more = usize::from(self.finest != self.nside);
        if J == 0 || J + more > self.J {
            return fault("scales", J, format!("from 1 to {}", self.J - more));
        }
        self.J = J + more;
        self.cells.truncate(self.J);
        Ok(self)
    }

    /// Weights averages by the parameter `mask`; of its down-graded versions, what does not exceed the threshold counts nothing.
    pub fn mask(mut self, threshold: Option<f64>) -> Self {
        self.masked = true;
        self.threshold = threshold;
        self
    }

    /// Number of pixels of an input.
    pub fn len(&self) -> usize {
        if self.cells[0].is_empty() { 12 * self.nside * self.nside } else { self.cells[0].len() }
    }

    /// Never: a patch has at least sixteen pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cells of the patch at scale j; empty for the whole sphere.
    pub fn cells(&self, j: usize) -> &[usize] {
        self.cells.get(j).map_or(&[], Vec::as_slice)
    }

    /// True when scale 0 is twice as fine as the input.
    pub fn is_upgraded(&self) -> bool {
        self.finest != self.nside
    }

    /// Scale of a value, from its resolution.
    fn level(&self, b: &Builder, value: Value) -> Result<usize, DomainError> {
        match b.ty(value).space {
            Space::Pixels { nside, .. } if nside <= self.finest => Ok((self.finest / nside).ilog2() as usize),
            space => Err(DomainError::Unsupported(format!("a value on {space} has no pixels"))),
        }
    }

    fn space(&self, j: usize) -> Space {
        let nside = self.finest >> j;
        let cells = self.cells(j);
        Space::Pixels { nside, n: if cells.is_empty() { 12 * nside * nside } else { cells.len() } }
    }

    /// The value at scale j.
    fn down(&self, b: &mut Builder, mut value: Value, j: usize) -> Result<Value, DomainError> {
        let from = self.level(b, value)?;
        if from > j {
            return Err(DomainError::Unsupported(format!(
                "a field of scale {from} (nside {}) has no samples at scale {j} (nside {}); let `where` keep the scale of the field below that of the filter",
                self.finest >> from,
                self.finest >> j
            )));
        }
        for k in from..j {
            value = b.linear(Linear::Downgrade { nside: self.finest >> k, cells: self.cells(k).to_vec() }, value)?;
        }
        Ok(value)
    }

    /// The mask at scale j.
    fn weights(&self, b: &mut Builder, j: usize) -> Result<Value, DomainError> {
        let mut value = b.parameter(MASK, self.input_type())?;
        if self.is_upgraded() {
            value = b.linear(Linear::Upgrade { nside: self.nside }, value)?;
        }
        for k in 0..j {
            value = self.down(b, value, k + 1)?;
            if let Some(t) = self.threshold {
                let t = b.constant(t)?;
                let t = self.spread(b, t, self.space(k + 1))?;
                let above = apply(b, "sub", &[value, t])?;
                let sign = apply(b, "sign", &[above])?;
                let kept = apply(b, "relu", &[sign])?;
                value = apply(b, "mul", &[value, kept])?;
            }
        }
        Ok(value)
    }

    /// A value without axes, repeated along those of `like`.
    fn repeated(&self, b: &mut Builder, value: Value, like: Value) -> Result<Value, DomainError> {
        let to = b.ty(like).axes.clone();
        Ok(if to.is_empty() { value } else { b.linear(Linear::Reindex { from: vec![], to, map: vec![] }, value)? })
    }

    fn parts(&self, field: &Field, mut f: impl FnMut(Value) -> Result<Value, DomainError>) -> Result<Field, DomainError> {
        let im = field.im.map(&mut f).transpose()?;
        Ok(Field { re: f(field.re)?, im, labels: field.labels.clone(), raw: None })
    }

    /// Average of one real value.
    fn average(&self, b: &mut Builder, value: Value) -> Result<Value, DomainError> {
        let j = self.level(b, value)?;
        let Space::Pixels { nside, n } = b.ty(value).space else {
            return Err(DomainError::Unsupported("an average needs pixels".into()));
        };
        let mean = Linear::PixelMean { nside, n };
        if !self.masked {
            return Ok(b.linear(mean, value)?);
        }
        let weights = self.weights(b, j)?;
        let total = b.linear(mean.clone(), weights)?;
        let weights = self.repeated(b, weights, value)?;
        let product = apply(b, "mul", &[weights, value])?;
        let sum = b.linear(mean, product)?;
        let total = self.repeated(b, total, sum)?;
        apply(b, "div", &[sum, total])
    }
}

fn check(nside: usize, L: usize, K: usize) -> Result<(), DomainError> {
    if !nside.is_power_of_two() || nside > LARGEST_NSIDE {
        return fault("nside", nside, format!("a power of two from 1 to {LARGEST_NSIDE}"));
    }
    if L == 0 || L > MOST_ORIENTATIONS {
        return fault("orientations", L, format!("from 1 to {MOST_ORIENTATIONS}"));
    }
    if ![3, 5, 7].contains(&K) {
        return fault("kernel", K, "3, 5 or 7, the sides of the stencil");
    }
    Ok(())
}

fn apply(b: &mut Builder, name: &str, operands: &[Value]) -> Result<Value, DomainError> {
    let row = pointwise(name).expect("the row exists in the op table");
    Ok(b.pointwise(row.expression.clone(), operands)?)
}

/// Real or imaginary part of the stencil's result.
fn component(c: i64) -> Linear {
    Linear::Reindex { from: vec![2], to: vec![], map: vec![vec![c]] }
}

impl Domain for Healpix {
    fn describe(&self) -> String {
        let cells = if self.cells[0].is_empty() { String::new() } else { format!(" cells={}", self.cells[0].len()) };
        let mask = match (self.masked, self.threshold) {
            (false, _) => String::new(),
            (true, None) => " mask".into(),
            (true, Some(t)) => format!(" mask threshold={t}"),
        };
        format!("healpix nside={} J={} L={} K={}{cells}{mask}", self.nside, self.J, self.L, self.K)
    }

    fn scales(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.J - 1
    }

    fn directions(&self) -> usize {
        self.L
    }

    fn measure(&self) -> f64 {
        4.0 * std::f64::consts::PI * self.len() as f64 / (12 * self.nside * self.nside) as f64
    }

    fn input_type(&self) -> Type {
        Type::new([], Space::Pixels { nside: self.nside, n: self.len() })
    }

    fn parameters(&self) -> Vec<String> {
        if self.masked { vec![MASK.into()] } else { vec![] }
    }

    fn field(&self, b: &mut Builder, input: Value) -> Result<Field, DomainError> {
        let re = if self.is_upgraded() { b.linear(Linear::Upgrade { nside: self.nside }, input)? } else { input };
        Ok(Field { re, im: None, labels: vec![], raw: None })
    }

    fn samples(&self, _b: &mut Builder, field: &Field) -> Result<Field, DomainError> {
        Ok(field.clone())
    }

    fn wavelet(&self, b: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError> {
        let stencil = Linear::Stencil { nside: self.finest >> scale, K: self.K, L: self.L, cells: self.cells(scale).to_vec() };
        let mut filtered = |value: Value| -> Result<(Value, Value), DomainError> {
            let value = self.down(b, value, scale)?;
            let both = b.linear(stencil.clone(), value)?;
            Ok((b.linear(component(0), both)?, b.linear(component(1), both)?))
        };
        let (mut re, mut im) = filtered(field.re)?;
        if let Some(own) = field.im {
            let (turned_re, turned_im) = filtered(own)?;
            re = apply(b, "sub", &[re, turned_im])?;
            im = apply(b, "add", &[im, turned_re])?;
        }
        Ok(Field { re, im: Some(im), labels: field.labels.iter().cloned().chain([label.to_string()]).collect(), raw: None })
    }

    fn lowpass(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError> {
        self.parts(field, |value| self.down(b, value, scale))
    }

    fn build(&self, b: &mut Builder, function: &str, field: &Field, scale: Option<usize>) -> Result<Field, DomainError> {
        match (function, scale) {
            ("band", Some(scale)) => self.lowpass(b, field, scale),
            _ => Err(DomainError::Unsupported(format!("`{function}` is not available on {}", self.describe()))),
        }
    }

    fn mean(&self, b: &mut Builder, field: &Field) -> Result<Numbers, DomainError> {
        let im = field.im.map(|im| self.average(b, im)).transpose()?;
        Ok(Numbers { re: self.average(b, field.re)?, im })
    }

    fn power(&self, b: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError> {
        let mut total: Option<Value> = None;
        for value in [Some(field.re), field.im].into_iter().flatten() {
            let value = if centred {
                let mean = self.average(b, value)?;
                let everywhere = self.spread(b, mean, b.ty(value).space)?;
                apply(b, "sub", &[value, everywhere])?
            } else {
                value
            };
            let squares = apply(b, "square", &[value])?;
            let part = self.average(b, squares)?;
            total = Some(match total {
                Some(sum) => apply(b, "add", &[sum, part])?,
                None => part,
            });
        }
        total.ok_or_else(|| DomainError::Unsupported("a field without parts".into()))
    }

    fn weight(&self, b: &mut Builder, field: &Field) -> Result<Option<Value>, DomainError> {
        let Space::Pixels { nside, n } = b.ty(field.re).space else { return Ok(None) };
        if !self.masked {
            return Ok(None);
        }
        let j = self.level(b, field.re)?;
        let weights = self.weights(b, j)?;
        let mean = b.linear(Linear::PixelMean { nside, n }, weights)?;
        let total = b.linear(Linear::Scale { by: n as f64 }, mean)?;
        Ok(Some(self.repeated(b, total, field.re)?))
    }

    fn spread(&self, b: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError> {
        let Space::Pixels { nside, n } = like else {
            return Err(DomainError::Unsupported(format!("numbers combine with samples, not with values on {like}")));
        };
        // Every weight of the mean is 1/n, so its adjoint spreads.
        let spread = b.adjoint(Linear::PixelMean { nside, n }, number)?;
        Ok(b.linear(Linear::Scale { by: n as f64 }, spread)?)
    }

    fn coarsest(&self) -> usize {
        self.J - 1
    }
}
