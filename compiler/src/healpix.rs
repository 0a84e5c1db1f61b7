//! HEALPix maps in NESTED order: wavelets as stencils on a pyramid of resolutions.
//!
//! Scale j lives on the map of nside / 2^j: a field is down-graded until it is there and then filtered by the same small kernel at every scale. Fields of finer scales than the
//! one asked for can therefore be filtered, coarser ones cannot. Averages may be weighted by a mask, a parameter that goes down the same pyramid.

use crate::domain::{Domain, DomainError, Field, Numbers, missing};
use crate::lowering::{apply, component, filtered, kept_above, parts, power, repeated, weighted_average};
use scatterc_ir::graph::Builder;
use scatterc_ir::ops::pixels;
use scatterc_ir::{Linear, Space, Type, Value};
use scatterc_kernels::stencil::{MOST_ORIENTATIONS, check_cells, coarse_cells};

/// Largest nside accepted.
///
/// ```
/// use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE};
///
/// assert!(Healpix::new(LARGEST_NSIDE, 4, 3).is_ok() && Healpix::new(2 * LARGEST_NSIDE, 4, 3).is_err());
/// ```
pub const LARGEST_NSIDE: usize = 2048;

/// Name of the parameter that holds the mask.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
/// assert_eq!(Healpix::new(4, 2, 3)?.mask(None).parameters(), [MASK]);
/// # Ok::<(), DomainError>(())
/// ```
pub const MASK: &str = "mask";

/// Distances from a median count as at least this.
const CLOSEST: f64 = 1e-12;

/// Most masks of one plan.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
/// assert!(Healpix::new(4, 2, 3)?.masks(MOST_MASKS, None).is_ok() && Healpix::new(4, 2, 3)?.masks(MOST_MASKS + 1, None).is_err());
/// # Ok::<(), DomainError>(())
/// ```
pub const MOST_MASKS: usize = 64;

/// Largest nside of maps with spin: their stencils come from harmonic transforms of many impulses.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
/// assert!(Healpix::new(LARGEST_SPIN_NSIDE, 2, 3)?.spin(2).is_ok() && Healpix::new(2 * LARGEST_SPIN_NSIDE, 2, 3)?.spin(2).is_err());
/// # Ok::<(), DomainError>(())
/// ```
pub const LARGEST_SPIN_NSIDE: usize = 64;

/// A sphere or patch of HEALPix pixels bound to its sizes.
///
/// ```
/// use scatterc_compiler::domain::Domain;
/// use scatterc_compiler::healpix::Healpix;
///
/// // nside 8, four orientations, stencils of 3 x 3 pixels: scales 0 (finest) to 3.
/// let healpix = Healpix::new(8, 4, 3)?;
/// assert_eq!((healpix.scales(), healpix.input_type().len()), (0..=3, 12 * 8 * 8));
/// assert!(Healpix::new(6, 4, 3).is_err());
/// # Ok::<(), scatterc_compiler::domain::DomainError>(())
/// ```
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
    /// Number of masks of which every average has one value each, an axis of all numbers; one mask without an axis when absent.
    pub masks: Option<usize>,
    /// Spin of the input, 1 or 2: a pair of maps, whose wavelets are gradient and curl parts; 0 for one map.
    pub spin: usize,
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
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// let healpix = Healpix::new(8, 4, 3)?;
    /// assert_eq!((healpix.scales(), healpix.directions()), (0..=3, 4));
    /// assert!(Healpix::new(8, 4, 4).is_err(), "stencils have 3, 5 or 7 pixels a side");
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn new(nside: usize, L: usize, K: usize) -> Result<Self, DomainError> {
        check(nside, L, K)?;
        let finest = if K == 3 { nside } else { 2 * nside };
        let J = finest.ilog2() as usize + 1;
        Ok(Healpix { nside, J, L, K, masked: false, masks: None, spin: 0, threshold: None, cells: vec![vec![]; J], finest })
    }

    /// The cells `cells` of a sphere at `nside`, in ascending order.
    ///
    /// Scales: as many as the whole sphere has, at most log4(cells) - 1. Error: as [`Self::new`]; cells unsorted, repeated or not on the map; fewer than 16 of them.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// // One of the twelve base pixels.
    /// let cells: Vec<usize> = (0..64).collect();
    /// let patch = Healpix::patch(8, 4, 3, &cells)?;
    /// assert_eq!((patch.len(), patch.scales()), (64, 0..=1));
    /// # Ok::<(), DomainError>(())
    /// ```
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
        Ok(Healpix { nside, J, L, K, masked: false, masks: None, spin: 0, threshold: None, cells: all, finest: nside })
    }

    /// The first `J` scales only, counted on the map of the input: a sphere with a larger stencil has one more, as its scale 0 is finer.
    ///
    /// Error: no scale, or more than there are.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// assert_eq!(Healpix::new(8, 4, 3)?.scales_kept(2)?.scales(), 0..=1);
    /// assert!(Healpix::new(8, 4, 3)?.scales_kept(5).is_err());
    /// # Ok::<(), DomainError>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// let healpix = Healpix::new(4, 2, 3)?.mask(Some(0.5));
    /// assert!(healpix.masked && healpix.threshold == Some(0.5));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn mask(mut self, threshold: Option<f64>) -> Self {
        self.masked = true;
        self.threshold = threshold;
        self
    }

    /// Weights averages by `count` masks: the parameter `mask` is then `[count, pixels]`, and every number has an axis of masks before all others but the batch.
    ///
    /// Error: no mask, or more than [`MOST_MASKS`].
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// let healpix = Healpix::new(4, 2, 3)?.masks(3, None)?;
    /// assert_eq!((healpix.masks, healpix.number_axes()), (Some(3), vec![3]));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn masks(mut self, count: usize, threshold: Option<f64>) -> Result<Self, DomainError> {
        if count == 0 || count > MOST_MASKS {
            return fault("masks", count, format!("from 1 to {MOST_MASKS}"));
        }
        self.masks = Some(count);
        Ok(self.mask(threshold))
    }

    /// Inputs that are a pair of maps of spin 1 (two components of a vector along the meridian and the parallel) or 2 (Q and U). Fields and numbers have an axis of two: the wavelets of an
    /// input are those of its gradient part E and of its curl part B, anything else acts on both alike.
    ///
    /// Error: another spin, a patch, or an nside above [`LARGEST_SPIN_NSIDE`].
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// let polarised = Healpix::new(4, 2, 3)?.spin(2)?;
    /// assert_eq!(polarised.input_type().axes, [2], "Q and U");
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn spin(mut self, spin: usize) -> Result<Self, DomainError> {
        if spin == 0 || spin > 2 {
            return fault("spin", spin, "1 or 2");
        }
        if !self.cells[0].is_empty() {
            return fault("spin", format!("{spin} on a patch"), "the whole sphere");
        }
        if self.finest > LARGEST_SPIN_NSIDE {
            return fault("nside", self.finest, format!("at most {LARGEST_SPIN_NSIDE} with spin"));
        }
        self.spin = spin;
        Ok(self)
    }

    /// Maps of an input: two with spin, one without.
    ///
    /// ```
    /// # use scatterc_compiler::domain::DomainError;
    /// # use scatterc_compiler::healpix::Healpix;
    /// assert_eq!((Healpix::new(4, 2, 3)?.components(), Healpix::new(4, 2, 3)?.spin(2)?.components()), (1, 2));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn components(&self) -> usize {
        if self.spin > 0 { 2 } else { 1 }
    }

    /// Number of pixels of an input, of each map of a pair.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// assert_eq!(Healpix::new(4, 2, 3)?.len(), 12 * 4 * 4);
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn len(&self) -> usize {
        if self.cells[0].is_empty() { 12 * self.nside * self.nside } else { self.cells[0].len() }
    }

    /// Never: a patch has at least sixteen pixels.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// assert!(!Healpix::new(4, 2, 3)?.is_empty());
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cells of the patch at scale j; empty for the whole sphere.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// let cells: Vec<usize> = (0..64).collect();
    /// assert_eq!(Healpix::patch(8, 4, 3, &cells)?.cells(1), (0..16).collect::<Vec<_>>());
    /// assert!(Healpix::new(8, 4, 3)?.cells(1).is_empty(), "the whole sphere");
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn cells(&self, j: usize) -> &[usize] {
        self.cells.get(j).map_or(&[], Vec::as_slice)
    }

    /// True when scale 0 is twice as fine as the input.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::healpix::{Healpix, LARGEST_NSIDE, LARGEST_SPIN_NSIDE, MASK, MOST_MASKS};
    /// assert!(Healpix::new(4, 2, 5)?.is_upgraded() && !Healpix::new(4, 2, 3)?.is_upgraded());
    /// # Ok::<(), DomainError>(())
    /// ```
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
        Space::Pixels { nside, n: pixels(nside, self.cells(j)) }
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

    /// Mask `m` at scale j.
    fn weights(&self, b: &mut Builder, j: usize, m: usize) -> Result<Value, DomainError> {
        let axes: Vec<usize> = self.masks.into_iter().collect();
        let mut value = b.parameter(MASK, Type::new(axes, Space::Pixels { nside: self.nside, n: self.len() }))?;
        if let Some(count) = self.masks {
            value = b.linear(Linear::Reindex { from: vec![count], to: vec![], map: vec![vec![m as i64]] }, value)?;
        }
        if self.is_upgraded() {
            value = b.linear(Linear::Upgrade { nside: self.nside }, value)?;
        }
        for k in 0..j {
            value = self.down(b, value, k + 1)?;
            if let Some(t) = self.threshold {
                let t = b.constant(t)?;
                let t = self.spread(b, t, self.space(k + 1))?;
                value = kept_above(b, value, t)?;
            }
        }
        Ok(value)
    }

    /// What `f` gives for every mask, joined along an axis of masks where there is one; `axes` are those of one result that the axis stands before.
    fn per_mask(
        &self,
        b: &mut Builder,
        axes: usize,
        mut f: impl FnMut(&mut Builder, usize) -> Result<Value, DomainError>,
    ) -> Result<Value, DomainError> {
        let Some(count) = self.masks else { return f(b, 0) };
        let mut rows = Vec::with_capacity(count);
        let mut own = vec![];
        for m in 0..count {
            let value = f(b, m)?;
            let all = b.ty(value).axes.clone();
            own = all[all.len() - axes..].to_vec();
            rows.push(b.linear(Linear::Reshape { from: own.clone(), to: vec![own.iter().product()] }, value)?);
        }
        let joined = b.concat(&rows)?;
        let to: Vec<usize> = [count].into_iter().chain(own).collect();
        Ok(b.linear(Linear::Reshape { from: vec![to.iter().product()], to }, joined)?)
    }

    /// Real and imaginary part of the geometric median under mask `m`; `axes` counts those of the field that are not the batch.
    fn median_of(
        &self,
        b: &mut Builder,
        field: &Field,
        axes: usize,
        steps: usize,
        tolerance: f64,
        m: usize,
    ) -> Result<(Value, Option<Value>), DomainError> {
        let parts: Vec<Value> = [Some(field.re), field.im].into_iter().flatten().collect();
        let space = b.ty(field.re).space;
        let Space::Pixels { nside, n } = space else {
            return Err(DomainError::Unsupported("a median needs pixels".into()));
        };
        let mean = Linear::PixelMean { nside, n };
        let counted = if self.masked {
            let j = self.level(b, field.re)?;
            let weights = self.weights(b, j, m)?;
            let sign = apply(b, "sign", &[weights])?;
            Some(repeated(b, sign, field.re)?)
        } else {
            None
        };
        // Sums of w f over sums of w, of all parts.
        let centre = |b: &mut Builder, weights: Option<Value>| -> Result<Vec<Value>, DomainError> {
            let total = weights.map(|w| b.linear(mean.clone(), w)).transpose()?;
            parts
                .iter()
                .map(|v| {
                    let product = weights.map_or(Ok(*v), |w| apply(b, "mul", &[w, *v]))?;
                    let sum = b.linear(mean.clone(), product)?;
                    total.map_or(Ok(sum), |total| apply(b, "div", &[sum, total]))
                })
                .collect()
        };
        let length = |b: &mut Builder, parts: &[Value]| match parts {
            [x] => apply(b, "abs", &[*x]),
            parts => apply(b, "modulus", parts),
        };
        let mut y = centre(b, counted)?;
        let own = b.ty(y[0]).axes[b.ty(y[0]).axes.len() - axes..].to_vec();
        let all = Linear::Reindex { from: vec![], to: own, map: vec![] };
        let filled = |b: &mut Builder, x: f64, like: Value| -> Result<Value, DomainError> {
            let x = b.constant(x)?;
            repeated(b, x, like)
        };
        let mut live: Option<Value> = None;
        for step in 0..steps {
            let mut away = Vec::with_capacity(parts.len());
            for (v, y) in parts.iter().zip(&y) {
                let everywhere = self.spread(b, *y, space)?;
                away.push(apply(b, "sub", &[*v, everywhere])?);
            }
            let distance = length(b, &away)?;
            let least = filled(b, CLOSEST, y[0])?;
            let least = self.spread(b, least, space)?;
            let distance = apply(b, "max", &[distance, least])?;
            let one = filled(b, 1.0, y[0])?;
            let numerator = match counted {
                Some(counted) => counted,
                None => self.spread(b, one, space)?,
            };
            let weights = apply(b, "div", &[numerator, distance])?;
            let next = centre(b, Some(weights))?;
            let moved: Vec<Value> = next.iter().zip(&y).map(|(z, y)| apply(b, "sub", &[*z, *y])).collect::<Result<_, _>>()?;
            for (y, moved) in y.iter_mut().zip(&moved) {
                let moved = live.map_or(Ok(*moved), |live| apply(b, "mul", &[live, *moved]))?;
                *y = apply(b, "add", &[*y, moved])?;
            }
            if step + 1 < steps {
                // 1 while an entry has just moved further than the tolerance.
                let far = length(b, &moved)?;
                let limit = filled(b, tolerance, far)?;
                let above = apply(b, "sub", &[far, limit])?;
                let sign = apply(b, "sign", &[above])?;
                let above = apply(b, "relu", &[sign])?;
                let above = live.map_or(Ok(above), |live| apply(b, "mul", &[live, above]))?;
                let count = b.adjoint(all.clone(), above)?;
                let any = apply(b, "sign", &[count])?;
                live = Some(b.linear(all.clone(), any)?);
            }
        }
        Ok((y[0], y.get(1).copied()))
    }

    /// Axes of a field's values that are not the batch.
    fn axes(&self, field: &Field) -> usize {
        field.labels.len() + usize::from(self.spin > 0)
    }

    /// Average of one real value, weighted by mask `m`.
    fn average(&self, b: &mut Builder, value: Value, m: usize) -> Result<Value, DomainError> {
        let j = self.level(b, value)?;
        let Space::Pixels { nside, n } = b.ty(value).space else {
            return Err(DomainError::Unsupported("an average needs pixels".into()));
        };
        let mean = Linear::PixelMean { nside, n };
        if !self.masked {
            return Ok(b.linear(mean, value)?);
        }
        let weights = self.weights(b, j, m)?;
        weighted_average(b, mean, weights, value)
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

impl Domain for Healpix {
    fn describe(&self) -> String {
        let cells = if self.cells[0].is_empty() { String::new() } else { format!(" cells={}", self.cells[0].len()) };
        let mask = match (self.masked, self.masks) {
            (false, _) => String::new(),
            (true, None) => " mask".into(),
            (true, Some(count)) => format!(" masks={count}"),
        };
        let threshold = self.threshold.filter(|_| self.masked).map_or(String::new(), |t| format!(" threshold={t}"));
        let spin = if self.spin > 0 { format!(" spin={}", self.spin) } else { String::new() };
        format!("healpix nside={} J={} L={} K={}{cells}{spin}{mask}{threshold}", self.nside, self.J, self.L, self.K)
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
        let components: Vec<usize> = (self.spin > 0).then_some(2).into_iter().collect();
        Type::new(components, Space::Pixels { nside: self.nside, n: self.len() })
    }

    fn number_axes(&self) -> Vec<usize> {
        self.masks.filter(|_| self.masked).into_iter().chain(self.input_type().axes).collect()
    }

    fn parameters(&self) -> Vec<String> {
        if self.masked { vec![MASK.into()] } else { vec![] }
    }

    fn field(&self, b: &mut Builder, input: Value) -> Result<Field, DomainError> {
        let re = if self.is_upgraded() { b.linear(Linear::Upgrade { nside: self.nside }, input)? } else { input };
        Ok(Field { re, im: None, labels: vec![], raw: (self.spin > 0).then_some(input) })
    }

    fn samples(&self, _b: &mut Builder, field: &Field) -> Result<Field, DomainError> {
        Ok(field.clone())
    }

    fn wavelet(&self, b: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError> {
        let (nside, K, L) = (self.finest >> scale, self.K, self.L);
        // The inputs themselves are those fields that remember what was given.
        let stencil = match (self.spin, field.raw) {
            (spin @ 1.., Some(_)) => Linear::SpinStencil { nside, K, L, spin },
            _ => Linear::Stencil { nside, K, L, cells: self.cells(scale).to_vec() },
        };
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
        let axes = self.axes(field);
        let mut average = |value: Value| self.per_mask(b, axes, |b, m| self.average(b, value, m));
        let im = field.im.map(&mut average).transpose()?;
        Ok(Numbers { re: average(field.re)?, im })
    }

    fn median(&self, b: &mut Builder, field: &Field, steps: usize, tolerance: f64) -> Result<Numbers, DomainError> {
        // Both parts of a complex median come from one iteration, so each mask makes a pair.
        let axes = self.axes(field);
        let mut pairs = Vec::new();
        for m in 0..self.masks.unwrap_or(1) {
            pairs.push(self.median_of(b, field, axes, steps, tolerance, m)?);
        }
        let im = match field.im {
            None => None,
            Some(_) => Some(self.per_mask(b, axes, |_, m| pairs[m].1.ok_or_else(|| DomainError::Unsupported("a median without its parts".into())))?),
        };
        Ok(Numbers { re: self.per_mask(b, axes, |_, m| Ok(pairs[m].0))?, im })
    }

    fn power(&self, b: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError> {
        self.per_mask(b, self.axes(field), |b, m| {
            power(b, field, centred, |b, value| self.average(b, value, m), |b, number, like| self.spread(b, number, like))
        })
    }

    fn weight(&self, b: &mut Builder, field: &Field) -> Result<Option<Value>, DomainError> {
        let Space::Pixels { nside, n } = b.ty(field.re).space else { return Ok(None) };
        if !self.masked {
            return Ok(None);
        }
        let j = self.level(b, field.re)?;
        let total = self.per_mask(b, self.axes(field), |b, m| {
            let weights = self.weights(b, j, m)?;
            let mean = b.linear(Linear::PixelMean { nside, n }, weights)?;
            let total = b.linear(Linear::Scale { by: n as f64 }, mean)?;
            repeated(b, total, field.re)
        })?;
        Ok(Some(total))
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
