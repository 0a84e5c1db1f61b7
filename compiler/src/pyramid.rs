//! Images and series on a pyramid of resolutions: wavelets as small stencils, one for all scales.
//!
//! Scale j lives on the image whose blocks of 2^j x 2^j samples are averaged: a field is averaged until it is there and then filtered by the same stencils at every scale, or by
//! those that the filter's formula gives for scale j. Fields of finer scales than the one asked for can therefore be filtered, coarser ones cannot. `mean(f, j)` leaves out the
//! samples that stencils reach from beyond the edges, where the domain cuts them; averages may be weighted by a mask, a parameter that goes down the same pyramid.

use crate::domain::{Domain, DomainError, Field, Numbers, missing};
use crate::healpix::MASK;
use crate::lowering::{apply, component, filtered, kept_above, parts, power, repeated, weighted_average};
use crate::plane::{Boundary, LARGEST_SIZE, LONGEST_SERIES, MOST_DIRECTIONS};
use scatterc_ir::filter::{Bank, Evaluation, Transform};
use scatterc_ir::graph::Builder;
use scatterc_ir::notation::Filter;
use scatterc_ir::{Linear, Space, Type, Value};
use scatterc_kernels::Serial;
use scatterc_kernels::images::{Blocks, Enlarged};

/// Largest side of a stencil.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::Boundary;
/// # use scatterc_compiler::pyramid::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
/// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
/// assert!(Pyramid::new(64, 64, 1, 1, LARGEST_STENCIL, &edges, Boundary::Zero).is_ok());
/// assert!(Pyramid::new(64, 64, 1, 1, LARGEST_STENCIL + 2, &edges, Boundary::Zero).is_err());
/// ```
pub const LARGEST_STENCIL: usize = 31;

/// An image or series domain of stencils bound to its sizes.
///
/// ```
/// use scatterc_compiler::domain::Domain;
/// use scatterc_compiler::plane::Boundary;
/// use scatterc_compiler::pyramid::Pyramid;
/// use scatterc_ir::notation::{Item, parse};
///
/// let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
/// let Some(Item::Filter(edges)) = parse(text, "edges").expect("a filter").items.pop() else { panic!("a filter") };
/// // Two scales of an image, one direction, stencils of 5 x 5 samples.
/// let pyramid = Pyramid::new(32, 32, 2, 1, 5, &edges, Boundary::Zero)?;
/// assert_eq!(pyramid.scales(), 0..=1);
/// # Ok::<(), scatterc_compiler::domain::DomainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pyramid {
    /// Rows of the input; 1 for a series.
    pub H: usize,
    /// Columns of the input.
    pub W: usize,
    /// Number of scales.
    pub J: usize,
    /// Number of orientations.
    pub L: usize,
    /// True for a series.
    pub line: bool,
    /// What stencils find beyond the edges.
    pub boundary: Boundary,
    /// True when `mean(f, j)` leaves out the samples whose stencils reach beyond the edges.
    pub cut_edges: bool,
    /// True when fields are enlarged twice before scale 0.
    pub enlarged: bool,
    /// True when averages are weighted by the parameter `mask`, one number per sample of the input.
    pub masked: bool,
    /// What of a mask on a coarse image does not exceed this is set to zero.
    pub threshold: Option<f64>,
    /// Stencils; its sizes are theirs.
    pub bank: Bank,
}

/// Formulas of stencils that ask for a Fourier transform would find none; they are refused with their result.
struct NoTransform;

impl Transform for NoTransform {
    fn fourier(&self, _H: usize, _W: usize, _inverse: bool, re: &mut [f64], _im: &mut [f64]) {
        re.fill(f64::NAN);
    }
}

fn fault<T>(option: &'static str, found: impl ToString, expected: impl Into<String>) -> Result<T, DomainError> {
    Err(DomainError::Option { option, found: found.to_string(), expected: expected.into() })
}

fn unusable(error: scatterc_ir::filter::FilterError) -> DomainError {
    DomainError::Unsupported(error.to_string())
}

/// True for filters that are given sample by sample, as `stencil`, and not by their frequencies.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::Boundary;
/// # use scatterc_compiler::pyramid::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
/// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
/// assert!(is_stencil(&edges));
/// ```
pub fn is_stencil(filter: &Filter) -> bool {
    filter.definitions.iter().any(|d| d.name.name == "stencil")
}

/// Number of scales that leaves a few samples of the coarsest: log2(n - K), one less for stencils of more than 3 samples.
///
/// ```
/// use scatterc_compiler::pyramid::usual_scales;
///
/// assert_eq!((usual_scales(64, 3), usual_scales(64, 5)), (5, 4));
/// ```
pub fn usual_scales(shorter: usize, K: usize) -> usize {
    (shorter.saturating_sub(K).max(1).ilog2() as usize).saturating_sub(usize::from(K > 3)).max(1)
}

impl Pyramid {
    /// Images of `H` x `W` with `J` scales and `L` orientations of K x K stencils.
    ///
    /// Error: a filter without `stencil`; K even or beyond [`LARGEST_STENCIL`]; scales, of which the coarsest image is smaller than a stencil reaches; sizes beyond the limits.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// let pyramid = Pyramid::new(32, 32, 2, 1, 5, &edges, Boundary::Zero)?;
    /// assert_eq!((pyramid.scales(), pyramid.len()), (0..=1, 32 * 32));
    /// assert!(Pyramid::new(32, 32, 2, 1, 4, &edges, Boundary::Zero).is_err(), "stencils have a middle");
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn new(H: usize, W: usize, J: usize, L: usize, K: usize, filter: &Filter, boundary: Boundary) -> Result<Self, DomainError> {
        for (option, n) in [("height", H), ("width", W)] {
            if !(2..=LARGEST_SIZE).contains(&n) {
                return fault(option, n, format!("from 2 to {LARGEST_SIZE} pixels"));
            }
        }
        Pyramid::bound(H, W, J, L, [K, K], false, filter, boundary)
    }

    /// Series of `T` samples with `J` scales and `L` stencils of K samples.
    ///
    /// Error: as for [`Pyramid::new`].
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// let series = Pyramid::line(64, 3, 1, 5, &edges, Boundary::Periodic)?;
    /// assert_eq!((series.H, series.W, series.bank.H, series.bank.W), (1, 64, 1, 5));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn line(T: usize, J: usize, L: usize, K: usize, filter: &Filter, boundary: Boundary) -> Result<Self, DomainError> {
        if !(2..=LONGEST_SERIES).contains(&T) {
            return fault("length", T, format!("from 2 to {LONGEST_SERIES} samples"));
        }
        Pyramid::bound(1, T, J, L, [1, K], true, filter, boundary)
    }

    fn bound(
        H: usize,
        W: usize,
        J: usize,
        L: usize,
        [h, w]: [usize; 2],
        line: bool,
        filter: &Filter,
        boundary: Boundary,
    ) -> Result<Self, DomainError> {
        if !is_stencil(filter) {
            return fault("filters", &filter.name.name, "a filter that defines `stencil`");
        }
        if w % 2 == 0 || w > LARGEST_STENCIL {
            return fault("kernel", w, format!("an odd number up to {LARGEST_STENCIL}, the side of the stencil"));
        }
        if L == 0 || L > MOST_DIRECTIONS {
            return fault("orientations", L, format!("from 1 to {MOST_DIRECTIONS}"));
        }
        if J == 0 || J > 40 {
            return fault("scales", J, "from 1 to 40");
        }
        let bank = Bank { H: h, W: w, J, L, folded: false, real: false, text: filter.one_line().into() };
        for j in 0..J {
            for l in 0..L {
                Evaluation::new(filter, &bank, j, l, &NoTransform).array("stencil").map_err(unusable)?;
            }
        }
        let pyramid = Pyramid { H, W, J, L, line, boundary, cut_edges: false, enlarged: false, masked: false, threshold: None, bank };
        pyramid.checked()
    }

    /// Leaves out of `mean(f, j)` the samples whose stencils reach beyond the edges.
    ///
    /// Error: nothing is left at the coarsest scale.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// assert!(Pyramid::new(32, 32, 2, 1, 5, &edges, Boundary::Zero)?.cut_edges()?.cut_edges);
    /// // Stencils of five samples leave nothing of a coarsest image of four.
    /// assert!(Pyramid::new(8, 8, 2, 1, 5, &edges, Boundary::Zero)?.cut_edges().is_err());
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn cut_edges(mut self) -> Result<Self, DomainError> {
        self.cut_edges = true;
        self.checked()
    }

    /// Enlarges fields twice before scale 0; the number of scales stays.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// assert_eq!(Pyramid::new(16, 16, 2, 1, 3, &edges, Boundary::Zero)?.enlarged().sizes(0), (32, 32));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn enlarged(mut self) -> Self {
        self.enlarged = true;
        self
    }

    /// Weights averages by the parameter `mask`; of its coarse versions, what does not exceed the threshold counts nothing.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// assert_eq!(Pyramid::new(16, 16, 2, 1, 3, &edges, Boundary::Zero)?.mask(None).parameters(), ["mask"]);
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn mask(mut self, threshold: Option<f64>) -> Self {
        self.masked = true;
        self.threshold = threshold;
        self
    }

    /// Number of samples of an input.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// assert_eq!(Pyramid::new(16, 12, 2, 1, 3, &edges, Boundary::Zero)?.len(), 16 * 12);
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.H * self.W
    }

    /// Never: there are at least two samples.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// assert!(!Pyramid::new(16, 16, 2, 1, 3, &edges, Boundary::Zero)?.is_empty());
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first scale at which nothing is left of a mask, one weight per sample of the input.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// let pyramid = Pyramid::new(16, 16, 2, 1, 3, &edges, Boundary::Zero)?.mask(Some(0.5));
    /// assert_eq!(pyramid.empty_scale(&[1.0; 256]), None);
    /// // One sample in four is not enough for a coarse one.
    /// let few: Vec<f64> = (0..256).map(|k| if k / 16 % 2 == 0 && k % 2 == 0 { 1.0 } else { 0.0 }).collect();
    /// assert_eq!(pyramid.empty_scale(&few), Some(1));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn empty_scale(&self, mask: &[f64]) -> Option<usize> {
        let mut weights = mask.to_vec();
        if self.enlarged {
            let enlarged = Enlarged { H: self.H, W: self.W, rows: if self.line { 1 } else { 2 }, columns: 2 };
            let mut larger = vec![0.0; weights.len() * enlarged.rows * enlarged.columns];
            enlarged.apply(&Serial, &weights, &mut larger);
            weights = larger;
        }
        for j in 0..self.J {
            let (H, W) = self.sizes(j);
            if j > 0 {
                let (above, columns) = self.sizes(j - 1);
                let blocks = Blocks { H: above, W: columns, h: if self.line { 1 } else { 2 }, w: 2 };
                let mut smaller = vec![0.0; H * W];
                blocks.apply(&Serial, &weights, &mut smaller);
                if let Some(t) = self.threshold {
                    smaller.iter_mut().filter(|w| **w <= t).for_each(|w| *w = 0.0);
                }
                weights = smaller;
            }
            let (e, f) = if self.cut_edges { self.reach() } else { (0, 0) };
            let inside = |k: usize| (e..H - e).contains(&(k / W)) && (f..W - f).contains(&(k % W));
            (0..H * W).filter(|k| !inside(*k)).for_each(|k| weights[k] = 0.0);
            if weights.iter().sum::<f64>() <= 0.0 {
                return Some(j);
            }
        }
        None
    }

    /// Rows and columns of scale j.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Boundary;
    /// # use scatterc_compiler::pyramid::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter edges { x = column - (W - 1) / 2; stencil = x * exp(-x^2); }";
    /// # let edges: Filter = parse(text, "edges").expect("a filter").filters().next().cloned().unwrap();
    /// let pyramid = Pyramid::new(16, 12, 2, 1, 3, &edges, Boundary::Zero)?;
    /// assert_eq!((pyramid.sizes(0), pyramid.sizes(1)), ((16, 12), (8, 6)));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn sizes(&self, j: usize) -> (usize, usize) {
        let factor = if self.enlarged { 2 } else { 1 };
        let rows = if self.line { 1 } else { (factor * self.H) >> j };
        (rows, (factor * self.W) >> j)
    }

    /// Samples that a stencil reaches in rows and columns.
    fn reach(&self) -> (usize, usize) {
        (self.bank.H / 2, self.bank.W / 2)
    }

    fn checked(self) -> Result<Self, DomainError> {
        let (H, W) = self.sizes(self.J - 1);
        let least = |reach: usize| match (self.cut_edges, self.boundary) {
            (true, _) => 2 * reach + 1,
            (false, Boundary::Reflect) => reach + 1,
            (false, _) => reach.max(1),
        };
        let (e, f) = self.reach();
        if H < least(e) || W < least(f) {
            return fault(
                "scales",
                self.J,
                format!("fewer: {H} x {W} samples are left at the coarsest scale, of which stencils need {} x {}", least(e), least(f)),
            );
        }
        Ok(self)
    }

    /// Scale of a value, from its size.
    fn level(&self, b: &Builder, value: Value) -> Result<usize, DomainError> {
        match b.ty(value).space {
            Space::Image { H, W } if let Some(j) = (0..self.J).find(|j| self.sizes(*j) == (H, W)) => Ok(j),
            space => Err(DomainError::Unsupported(format!("a value on {space} has no scale of {}", self.describe()))),
        }
    }

    /// The value at scale j.
    fn down(&self, b: &mut Builder, mut value: Value, j: usize) -> Result<Value, DomainError> {
        let from = self.level(b, value)?;
        if from > j {
            let ((H, W), (h, w)) = (self.sizes(from), self.sizes(j));
            return Err(DomainError::Unsupported(format!(
                "a field of scale {from} ({H} x {W}) has no samples at scale {j} ({h} x {w}); let `where` keep the scale of the field below that of the filter"
            )));
        }
        for k in from..j {
            let (H, W) = self.sizes(k);
            value = b.linear(Linear::BlockMean { H, W, h: if self.line { 1 } else { 2 }, w: 2 }, value)?;
        }
        Ok(value)
    }

    fn whole(&self, j: usize) -> Linear {
        let (H, W) = self.sizes(j);
        Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }
    }

    /// The average over what cut edges leave at scale j, and the number of samples it counts.
    fn window(&self, j: usize) -> (Linear, usize) {
        let ((H, W), (e, f)) = (self.sizes(j), self.reach());
        (Linear::Average { H, W, top: e, bottom: e, left: f, right: f }, (H - 2 * e) * (W - 2 * f))
    }

    /// The mask at scale j; `windowed` when edges are cut at every scale on the way.
    fn weights(&self, b: &mut Builder, j: usize, windowed: bool) -> Result<Value, DomainError> {
        let mut value = b.parameter(MASK, self.input_type())?;
        if self.enlarged {
            value = b.linear(Linear::Enlarge { H: self.H, W: self.W, rows: if self.line { 1 } else { 2 }, columns: 2 }, value)?;
        }
        for k in 0..=j {
            value = self.down(b, value, k)?;
            if let (Some(t), true) = (self.threshold, k > 0) {
                let t = b.constant(t)?;
                let (H, W) = self.sizes(k);
                let t = self.spread(b, t, Space::Image { H, W })?;
                value = kept_above(b, value, t)?;
            }
            if windowed && self.cut_edges {
                // The adjoint of an average is 1/n where it counts and zero elsewhere.
                let (window, n) = self.window(k);
                let one = b.constant(n as f64)?;
                let inside = b.adjoint(window, one)?;
                value = apply(b, "mul", &[value, inside])?;
            }
        }
        Ok(value)
    }

    /// Average of one real value.
    fn average(&self, b: &mut Builder, value: Value, windowed: bool) -> Result<Value, DomainError> {
        let j = self.level(b, value)?;
        let mean = self.whole(j);
        if !self.masked {
            return Ok(b.linear(if windowed && self.cut_edges { self.window(j).0 } else { mean }, value)?);
        }
        let weights = self.weights(b, j, windowed)?;
        weighted_average(b, mean, weights, value)
    }

    fn averages(&self, b: &mut Builder, field: &Field, windowed: bool) -> Result<Numbers, DomainError> {
        let im = field.im.map(|im| self.average(b, im, windowed)).transpose()?;
        Ok(Numbers { re: self.average(b, field.re, windowed)?, im })
    }

    /// Sum of the weights of a field's samples.
    fn total(&self, b: &mut Builder, field: &Field, windowed: bool) -> Result<Option<Value>, DomainError> {
        if !self.masked {
            return Ok(None);
        }
        let j = self.level(b, field.re)?;
        let (H, W) = self.sizes(j);
        let weights = self.weights(b, j, windowed)?;
        let mean = b.linear(self.whole(j), weights)?;
        let total = b.linear(Linear::Scale { by: (H * W) as f64 }, mean)?;
        Ok(Some(repeated(b, total, field.re)?))
    }
}

impl Domain for Pyramid {
    fn describe(&self) -> String {
        let filter = self.bank.text.split_whitespace().nth(1).unwrap_or("filter");
        let sizes = if self.line { format!("line T={}", self.W) } else { format!("plane H={} W={}", self.H, self.W) };
        let edges = if self.cut_edges { " edges=cut" } else { "" };
        let enlarged = if self.enlarged { " enlarged" } else { "" };
        let mask = match (self.masked, self.threshold) {
            (false, _) => String::new(),
            (true, None) => " mask".into(),
            (true, Some(t)) => format!(" mask threshold={t}"),
        };
        format!("{sizes} J={} L={} stencils={filter} K={} boundary={}{edges}{enlarged}{mask}", self.J, self.L, self.bank.W, self.boundary.name())
    }

    fn scales(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.J - 1
    }

    fn directions(&self) -> usize {
        self.L
    }

    fn measure(&self) -> f64 {
        self.len() as f64
    }

    fn input_type(&self) -> Type {
        Type::new([], Space::Image { H: self.H, W: self.W })
    }

    fn parameters(&self) -> Vec<String> {
        if self.masked { vec![MASK.into()] } else { vec![] }
    }

    fn field(&self, b: &mut Builder, input: Value) -> Result<Field, DomainError> {
        let enlarge = Linear::Enlarge { H: self.H, W: self.W, rows: if self.line { 1 } else { 2 }, columns: 2 };
        let re = if self.enlarged { b.linear(enlarge, input)? } else { input };
        Ok(Field { re, im: None, labels: vec![], raw: None })
    }

    fn samples(&self, _b: &mut Builder, field: &Field) -> Result<Field, DomainError> {
        Ok(field.clone())
    }

    fn wavelet(&self, b: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError> {
        let (H, W) = self.sizes(scale);
        let edge = match self.boundary {
            Boundary::Periodic => 0,
            Boundary::Reflect => 1,
            Boundary::Symmetric => 2,
            Boundary::Zero => 3,
        };
        let stencil = Linear::ImageStencil { H, W, j: scale, edge, bank: self.bank.clone() };
        filtered(b, field, label, |b, value| {
            let value = self.down(b, value, scale)?;
            let both = b.linear(stencil.clone(), value)?;
            Ok((b.linear(component(0), both)?, b.linear(component(1), both)?))
        })
    }

    fn lowpass(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError> {
        parts(field, |value| self.down(b, value, scale))
    }

    fn build(&self, b: &mut Builder, function: &str, field: &Field, scale: Option<usize>) -> Result<Field, DomainError> {
        match (function, scale) {
            ("band", Some(scale)) => self.lowpass(b, field, scale),
            _ => Err(missing(function, &self.describe())),
        }
    }

    fn mean(&self, b: &mut Builder, field: &Field) -> Result<Numbers, DomainError> {
        self.averages(b, field, false)
    }

    fn windowed_mean(&self, b: &mut Builder, field: &Field, _scale: usize) -> Result<Numbers, DomainError> {
        self.averages(b, field, true)
    }

    fn power(&self, b: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError> {
        power(b, field, centred, |b, value| self.average(b, value, false), |b, number, like| self.spread(b, number, like))
    }

    fn weight(&self, b: &mut Builder, field: &Field) -> Result<Option<Value>, DomainError> {
        self.total(b, field, false)
    }

    fn windowed_weight(&self, b: &mut Builder, field: &Field, _scale: usize) -> Result<Option<Value>, DomainError> {
        self.total(b, field, true)
    }

    fn windowed_size(&self, b: &Builder, field: &Field, _scale: usize) -> usize {
        match self.level(b, field.re) {
            Ok(j) if self.cut_edges => self.window(j).1,
            _ => self.size(b, field),
        }
    }

    fn spread(&self, b: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError> {
        let Space::Image { H, W } = like else {
            return Err(DomainError::Unsupported(format!("numbers combine with samples, not with values on {like}")));
        };
        // Every weight of the average is 1/HW, so its adjoint spreads.
        let spread = b.adjoint(Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }, number)?;
        Ok(b.linear(Linear::Scale { by: (H * W) as f64 }, spread)?)
    }

    fn coarsest(&self) -> usize {
        self.J - 1
    }
}
