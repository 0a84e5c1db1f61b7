//! The plane and the line: wavelets as filters of the discrete Fourier transform, on images and series.
//!
//! A series is an image of one row. Fields stay spectra as long as they can: `wavelet`, `lowpass`, `band` and `decimate` act on frequencies, samples are made where a
//! pointwise function needs them. Filters are formulas of the notation ([`scatterc_ir::filter`]).

use crate::domain::{Domain, DomainError, Field, Numbers, missing};
use crate::healpix::MASK;
use crate::lowering::{apply, component, power, repeated, weighted_average};
use scatterc_ir::filter::{Bank, Evaluation, LARGEST_GRID, Transform};
use scatterc_ir::graph::Builder;
use scatterc_ir::notation::Filter;
use scatterc_ir::ops::Indices;
use scatterc_ir::{Linear, Op, Space, Type, Value};
use scatterc_kernels::planar::PlanarFft;

/// Largest number of rows or columns accepted.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
/// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
/// assert!(Plane::new(LARGEST_SIZE + 1, 16, 1, 1, &filter, Boundary::Periodic, false).is_err());
/// ```
pub const LARGEST_SIZE: usize = 1 << 15;
/// Longest series accepted.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
/// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
/// assert!(Plane::line(LONGEST_SERIES + 1, 1, 1, &filter, Boundary::Periodic).is_err());
/// ```
pub const LONGEST_SERIES: usize = 1 << 19;
/// Most directions or voices.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
/// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
/// assert!(Plane::new(16, 16, 2, MOST_DIRECTIONS, &filter, Boundary::Periodic, false).is_ok());
/// assert!(Plane::new(16, 16, 2, MOST_DIRECTIONS + 1, &filter, Boundary::Periodic, false).is_err());
/// ```
pub const MOST_DIRECTIONS: usize = 64;

/// How `pad` continues a field beyond its edges.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
/// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
/// let padding = |boundary| Plane::new(16, 16, 2, 1, &filter, boundary, false).map(|plane| plane.padding);
/// assert_eq!(padding(Boundary::Periodic)?, [0; 4]);
/// assert!(padding(Boundary::Reflect)?.iter().all(|samples| *samples > 0));
/// # Ok::<(), DomainError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The field is periodic: nothing is added.
    #[default]
    Periodic,
    /// Reflected without repeating the edge sample, to the sizes that decimation by 2^J needs.
    Reflect,
    /// Reflected with the edge sample repeated, to twice the length.
    Symmetric,
    /// Zeros beyond the edges, for stencils.
    Zero,
}

impl Boundary {
    /// Its word in descriptions and options.
    ///
    /// ```
    /// use scatterc_compiler::plane::Boundary;
    ///
    /// assert_eq!((Boundary::Periodic.name(), Boundary::Reflect.name()), ("periodic", "reflect"));
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Boundary::Periodic => "periodic",
            Boundary::Reflect => "reflect",
            Boundary::Symmetric => "symmetric",
            Boundary::Zero => "zero",
        }
    }
}

/// An image or series domain bound to its sizes.
///
/// ```
/// use scatterc_compiler::domain::Domain;
/// use scatterc_compiler::plane::{Boundary, Plane};
/// use scatterc_ir::notation::{Item, parse};
///
/// // Rings of frequencies an octave apart, in a formula of one's own.
/// let text = "filter rings { k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-log(max(k, 1e-9) * 2^j)^2); }";
/// let Some(Item::Filter(rings)) = parse(text, "rings").expect("a filter").items.pop() else { panic!("a filter") };
/// let plane = Plane::new(32, 64, 3, 1, &rings, Boundary::Periodic, false)?;
/// assert_eq!((plane.scales(), plane.input_type().len()), (0..=2, 32 * 64));
/// let line = Plane::line(128, 3, 1, &rings, Boundary::Periodic)?;
/// assert_eq!(line.input_type().len(), 128);
/// # Ok::<(), scatterc_compiler::domain::DomainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Rows of the input; 1 for a series.
    pub H: usize,
    /// Columns of the input.
    pub W: usize,
    /// Number of octaves.
    pub J: usize,
    /// Number of directions, or of voices per octave.
    pub L: usize,
    /// True for a series.
    pub line: bool,
    /// Continuation beyond the edges.
    pub boundary: Boundary,
    /// True when averages leave out what the edges of the image reach.
    pub cut_edges: bool,
    /// True when averages are weighted by the parameter `mask`, one number per sample of the input.
    pub masked: bool,
    /// True when the mask shrinks with the scale and weighs only averages over cut edges.
    pub eroded: bool,
    /// True when cut edges are as wide below and on the right as above and on the left, not one sample narrower.
    pub even_edges: bool,
    /// log2 of the largest spacing that `decimate` gives.
    pub coarsest: usize,
    /// Filters on the padded grid.
    pub bank: Bank,
    /// Samples added above, below, left and right by `pad`.
    pub padding: [usize; 4],
    /// Octave and layer of every wavelet, where the filters say so.
    wavelets: Option<Vec<(i64, i64)>>,
}

/// Transforms for the formulas of filters.
struct Transforms;

impl Transform for Transforms {
    fn fourier(&self, H: usize, W: usize, inverse: bool, re: &mut [f64], im: &mut [f64]) {
        // Sizes were checked when the domain was made.
        if let Ok(fft) = PlanarFft::new(H, W) {
            fft.in_place(inverse, re, im);
        }
    }
}

fn fault<T>(option: &'static str, found: impl ToString, expected: impl Into<String>) -> Result<T, DomainError> {
    Err(DomainError::Option { option, found: found.to_string(), expected: expected.into() })
}

/// A filter with some of its definitions replaced by numbers.
///
/// ```
/// # use scatterc_compiler::domain::{Domain, DomainError};
/// # use scatterc_compiler::plane::*;
/// # use scatterc_ir::notation::{Filter, parse};
/// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
/// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
/// let wide = with_numbers(&filter, &[("width".into(), 2.0)])?;
/// assert!(wide.one_line().contains("width = 2;"));
/// assert!(with_numbers(&filter, &[("k".into(), 2.0)]).is_err(), "a formula, no number");
/// # Ok::<(), DomainError>(())
/// ```
pub fn with_numbers(filter: &Filter, numbers: &[(String, f64)]) -> Result<Filter, DomainError> {
    let mut filter = filter.clone();
    for (name, value) in numbers {
        let known: Vec<&str> = filter.definitions.iter().filter(|d| d.value.constant_value().is_some()).map(|d| d.name.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            let expected = if known.is_empty() { "no parameters: the filter has none".into() } else { format!("one of {}", known.join(", ")) };
            return fault("filter-parameter", name, expected);
        }
        if let Some(definition) = filter.definitions.iter_mut().find(|d| d.name.name == *name) {
            let magnitude = scatterc_ir::notation::Expr { kind: scatterc_ir::notation::ExprKind::Number(value.abs()), span: definition.value.span };
            definition.value = if *value < 0.0 {
                scatterc_ir::notation::Expr { kind: scatterc_ir::notation::ExprKind::Negate(Box::new(magnitude)), span: definition.value.span }
            } else {
                magnitude
            };
        }
    }
    Ok(filter)
}

impl Plane {
    /// Images of `H` x `W` with `J` scales and `L` directions.
    ///
    /// Error: sizes too small for J (2^J must not exceed the shorter side; truncated grids need 16 samples), no scale, no direction, sizes beyond the limits.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// let plane = Plane::new(16, 32, 2, 1, &filter, Boundary::Periodic, false)?;
    /// assert_eq!((plane.scales(), plane.describe().contains("16")), (0..=1, true));
    /// assert!(Plane::new(16, 32, 5, 1, &filter, Boundary::Periodic, false).is_err(), "2^5 exceeds 16");
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn new(H: usize, W: usize, J: usize, L: usize, filter: &Filter, boundary: Boundary, cut_edges: bool) -> Result<Self, DomainError> {
        for (option, n) in [("height", H), ("width", W)] {
            if !(16..=LARGEST_SIZE).contains(&n) {
                return fault(option, n, format!("from 16 to {LARGEST_SIZE} pixels"));
            }
        }
        check_scales(J, H.min(W))?;
        check_directions(L)?;
        if cut_edges && (H % 2 == 1 || W % 2 == 1) {
            return fault("edges", format!("cut for an image of {H} x {W}"), "even sizes where edges are cut");
        }
        let padding = match boundary {
            Boundary::Periodic => [0; 4],
            Boundary::Reflect => {
                let (top, bottom) = kymatio_padding(H, J);
                let (left, right) = kymatio_padding(W, J);
                if top.max(bottom) >= H || left.max(right) >= W {
                    return fault("scales", J, format!("fewer: an image of {H} x {W} cannot be reflected by 2^{J} pixels"));
                }
                [top, bottom, left, right]
            }
            Boundary::Symmetric => [0, H, 0, W],
            Boundary::Zero => return fault("boundary", "zero", "periodic, reflect or symmetric for filters of frequencies; `zero` needs stencils"),
        };
        Plane::bound(H, W, J, L, false, filter, boundary, cut_edges, J, padding, false)
    }

    /// Series of `T` samples with `J` octaves of `L` voices.
    ///
    /// Error: as for [`Plane::new`].
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// let line = Plane::line(64, 3, 1, &filter, Boundary::Periodic)?;
    /// assert_eq!((line.H, line.W, line.line, line.scales()), (1, 64, true, 0..=2));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn line(T: usize, J: usize, L: usize, filter: &Filter, boundary: Boundary) -> Result<Self, DomainError> {
        if !(16..=LONGEST_SERIES).contains(&T) {
            return fault("length", T, format!("from 16 to {LONGEST_SERIES} samples"));
        }
        check_scales(J, T)?;
        check_directions(L)?;
        let padding = match boundary {
            Boundary::Periodic => [0; 4],
            Boundary::Symmetric => [0, 0, 0, T],
            Boundary::Zero => return fault("boundary", "zero", "symmetric or periodic for filters of frequencies; `zero` needs stencils"),
            Boundary::Reflect => {
                return fault("boundary", "reflect", "symmetric or periodic for filters with voices; reflect with `Plane::cascade`");
            }
        };
        Plane::bound(1, T, J, L, true, filter, boundary, false, J, padding, false)
    }

    /// Series of `T` samples with a list of wavelets instead of octaves and voices: the filter says how many (`count`) and of which `octave` and `layer` each is.
    /// Filters come to coarser grids by summing aliases; `stride` is the largest power of two that `decimate` leaves between samples.
    ///
    /// The padding is three times the length after which the tail of the low-pass filter, made on T samples, sums to at most 1e-3.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::Plane;
    /// # use scatterc_ir::notation::parse;
    /// // Three wavelets, one per octave.
    /// let text = "filter octaves {
    ///     f       = min(column, W - column) / W;
    ///     count   = 3;
    ///     octave  = j;
    ///     wavelet = exp(-(8 * 2^j * f - 2)^2);
    ///     lowpass = exp(-(16 * f)^2);
    /// }";
    /// let filter = parse(text, "octaves").expect("a filter").filters().next().cloned().unwrap();
    /// let series = Plane::cascade(64, 3, 8, &filter)?;
    /// assert_eq!((series.scales(), series.bank.folded), (0..=2, true));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn cascade(T: usize, J: usize, stride: usize, filter: &Filter) -> Result<Self, DomainError> {
        if !(16..=LONGEST_SERIES / 4).contains(&T) {
            return fault("length", T, format!("from 16 to {} samples", LONGEST_SERIES / 4));
        }
        check_scales(J, T)?;
        if !stride.is_power_of_two() || stride > T {
            return fault("stride", stride, format!("a power of two up to {T}"));
        }
        let bank = Bank { H: 1, W: T, J, L: 1, folded: true, real: true, text: filter.one_line().into() };
        let low = Evaluation::new(filter, &bank, 0, 0, &Transforms).array("lowpass").map_err(unusable)?;
        let (mut re, mut im) = (low.re, low.im.unwrap_or_else(|| vec![0.0; T]));
        Transforms.fourier(1, T, true, &mut re, &mut im);
        let mut tail = 0.0;
        let mut needed = T / 2;
        for k in (0..T / 2).rev() {
            tail += re[k].hypot(im[k]);
            if tail > 1e-3 {
                break;
            }
            needed = k + 1;
        }
        let longest = (3 * T - 2).ilog2();
        let padded = 1usize << (T + 6 * needed).next_power_of_two().ilog2().min(longest);
        let left = (padded - T) / 2;
        let right = padded - T - left;
        Plane::bound(1, T, J, 1, true, filter, Boundary::Reflect, false, stride.ilog2() as usize, [0, 0, left, right], true)
    }

    fn bound(
        H: usize,
        W: usize,
        J: usize,
        L: usize,
        line: bool,
        filter: &Filter,
        boundary: Boundary,
        cut_edges: bool,
        coarsest: usize,
        padding: [usize; 4],
        folded: bool,
    ) -> Result<Self, DomainError> {
        let [top, bottom, left, right] = padding;
        let points = (H + top + bottom) * (W + left + right);
        if points > LARGEST_GRID {
            return fault("size", format!("{points} points with padding"), format!("at most {LARGEST_GRID}"));
        }
        let text = filter.one_line();
        let mut bank = Bank { H: H + top + bottom, W: W + left + right, J, L, folded, real: true, text: text.into() };
        // Whether wavelets are real is the same on every grid, so a small one tells.
        let small = Bank { H: if line { 1 } else { 8 }, W: 32, ..bank.clone() };
        let mut first = Evaluation::new(filter, &small, 0, 0, &Transforms);
        bank.real = first.array("wavelet").map_err(unusable)?.im.is_none();
        let mut wavelets = None;
        if first.has("count") {
            let count = Evaluation::new(filter, &bank, 0, 0, &Transforms).number("count").map_err(unusable)?;
            if !(1.0..=4096.0).contains(&count) || count.fract() != 0.0 {
                return fault("filters", format!("a bank of {count} wavelets"), "from 1 to 4096");
            }
            let mut list = Vec::with_capacity(count as usize);
            for n in 0..count as usize {
                let mut evaluation = Evaluation::new(filter, &bank, n, 0, &Transforms);
                let octave = if evaluation.has("octave") { evaluation.number("octave").map_err(unusable)? } else { n as f64 };
                let layer = if evaluation.has("layer") { evaluation.number("layer").map_err(unusable)? } else { 1.0 };
                list.push((octave as i64, layer as i64));
            }
            wavelets = Some(list);
        }
        Ok(Plane { H, W, J, L, line, boundary, cut_edges, even_edges: false, masked: false, eroded: false, coarsest, bank, padding, wavelets })
    }

    /// Cuts edges of the same width on both sides.
    ///
    /// Error: edges that are not cut.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// assert!(Plane::new(32, 32, 2, 1, &filter, Boundary::Periodic, true)?.even_edges()?.even_edges);
    /// assert!(Plane::new(32, 32, 2, 1, &filter, Boundary::Periodic, false)?.even_edges().is_err());
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn even_edges(mut self) -> Result<Self, DomainError> {
        if !self.cut_edges {
            return fault("edges", "whole", "cut edges, which may then be even");
        }
        self.even_edges = true;
        Ok(self)
    }

    /// Weights averages by the parameter `mask`; averages on coarser grids take its nearest samples.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// assert_eq!(Plane::new(16, 16, 2, 1, &filter, Boundary::Periodic, false)?.mask().parameters(), ["mask"]);
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn mask(mut self) -> Self {
        self.masked = true;
        self
    }

    /// Weights averages over cut edges, `mean(f, j)` and `mean(cut(f, j))`, by what erosion leaves of the parameter `mask`: FOSCAT's `in_mask`. Other averages have no weights.
    ///
    /// On the grid of an average a sample counts when every sample within r steps along rows and columns has a positive weight, what is outside of the image counting as zero. With e the width of
    /// the edges at scale j, r is 1 + e for `mean(cut(f, j))`, and the sum of 1 + e over the scales up to j for `mean(f, j)`.
    ///
    /// Error: edges that are not cut evenly.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// let plane = Plane::new(32, 32, 2, 1, &filter, Boundary::Periodic, true)?.even_edges()?.eroded_mask()?;
    /// assert!(plane.masked && plane.eroded);
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn eroded_mask(mut self) -> Result<Self, DomainError> {
        if !self.even_edges {
            return fault("erode-mask", "edges that are whole or uneven", "even edges, which the mask is cut with");
        }
        (self.masked, self.eroded) = (true, true);
        Ok(self)
    }

    /// Rows and columns of the mask that weigh the samples of an `H` x `W` grid.
    pub(crate) fn mask_samples(&self, H: usize, W: usize) -> (Vec<usize>, Vec<usize>) {
        if let Some((h, w, [e, f])) = self.cut_grid(H, W) {
            let (rows, columns) = self.mask_samples(h, w);
            return (rows[e..h - e].to_vec(), columns[f..w - f].to_vec());
        }
        let nearest = |n: usize, own: usize| (0..n).map(|k| (k * own + n / 2) / n % own).collect::<Vec<usize>>();
        let thinned = |n: usize, all: Vec<usize>| all.iter().step_by((all.len() / n).max(1)).copied().collect();
        let padded =
            (H, W) != (self.H, self.W) && self.boundary != Boundary::Periodic && self.bank.H.is_multiple_of(H) && self.bank.W.is_multiple_of(W);
        if !padded {
            return (nearest(H, self.H), nearest(W, self.W));
        }
        let [top, bottom, left, right] = self.padding;
        let repeat = self.boundary == Boundary::Symmetric;
        (thinned(H, reflected(self.H, top, bottom, repeat)), thinned(W, reflected(self.W, left, right, repeat)))
    }

    /// The first scale, with its grid, of which a mask keeps nothing.
    ///
    /// ```
    /// # use scatterc_compiler::domain::{Domain, DomainError};
    /// # use scatterc_compiler::plane::*;
    /// # use scatterc_ir::notation::{Filter, parse};
    /// # let text = "filter rings { width = 1; k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); wavelet = exp(-(log(max(k, 1e-9) * 2^j) / width)^2); }";
    /// # let filter: Filter = parse(text, "rings").expect("a filter").filters().next().cloned().unwrap();
    /// let plane = Plane::new(16, 16, 2, 1, &filter, Boundary::Periodic, false)?.mask();
    /// assert_eq!(plane.empty_grid(&[1.0; 256]), None);
    /// assert_eq!(plane.empty_grid(&[0.0; 256]).map(|(scale, ..)| scale), Some(0));
    /// # Ok::<(), DomainError>(())
    /// ```
    pub fn empty_grid(&self, mask: &[f64]) -> Option<(usize, usize, usize)> {
        let empty = |scale: usize| {
            if !self.eroded {
                return self.grids(scale).into_iter().find(|(H, W)| {
                    let (rows, columns) = self.mask_samples(*H, *W);
                    !rows.iter().any(|r| columns.iter().any(|c| mask[r * self.W + c] > 0.0))
                });
            }
            let (whole, coarse) = ((self.H, self.W), self.truncated(scale, self.H, self.W));
            let [e, f] = self.coarse_edges(scale, coarse.0, coarse.1);
            let steps = [(whole, self.reach(whole.0, whole.1, scale)), (coarse, 1 + e.max(f))];
            let found = steps.into_iter().find(|(grid, reach)| self.depth(mask, *grid).is_some_and(|depth| depth <= *reach));
            found.map(|(grid, _)| grid)
        };
        // Averages that are not eroded may be taken of the low-pass part, at scale J.
        let scales = self.J + usize::from(!self.eroded);
        (0..scales).find_map(|scale| empty(scale).map(|(H, W)| (scale, H, W)))
    }

    /// Largest distance, in steps along rows and columns, from a block of the mask with a positive weight to one without or to the outside. None for a grid that no blocks make.
    fn depth(&self, mask: &[f64], (H, W): (usize, usize)) -> Option<usize> {
        if !self.H.is_multiple_of(H) || !self.W.is_multiple_of(W) {
            return None;
        }
        let (h, w) = (self.H / H, self.W / W);
        let counts = |r: usize, c: usize| (0..h * w).any(|k| mask[(r * h + k / w) * self.W + c * w + k % w] > 0.0);
        let mut steps: Vec<usize> = (0..H * W).map(|k| if counts(k / W, k % W) { H + W } else { 0 }).collect();
        for pass in 0..2 {
            for k in 0..H * W {
                let (r, c) = if pass == 0 { (k / W, k % W) } else { (H - 1 - k / W, W - 1 - k % W) };
                let at = |inside: bool, r: usize, c: usize| if inside { steps[r * W + c] } else { 0 };
                let (row, column) = if pass == 0 {
                    (at(r > 0, r.wrapping_sub(1), c), at(c > 0, r, c.wrapping_sub(1)))
                } else {
                    (at(r + 1 < H, r + 1, c), at(c + 1 < W, r, c + 1))
                };
                steps[r * W + c] = steps[r * W + c].min(1 + row.min(column));
            }
        }
        steps.into_iter().max()
    }

    /// Sizes of the grids on which averages of a scale may be taken: the whole one, the truncated one, and the thinned one.
    fn grids(&self, scale: usize) -> Vec<(usize, usize)> {
        let mut out = vec![(self.H, self.W), self.truncated(scale, self.H, self.W)];
        let spacing = scale.min(self.coarsest);
        let (h, w) = (if self.line { 1 } else { self.H >> spacing }, self.W >> spacing);
        if h > 0 && w > 0 {
            out.push((h, w));
        }
        out
    }

    /// Weights of an average over a grid: over the window of a scale, or over all of it.
    fn weights(&self, b: &mut Builder, H: usize, W: usize, scale: Option<usize>) -> Result<Option<Value>, DomainError> {
        if !self.masked {
            return Ok(None);
        }
        let mask = b.parameter(MASK, self.input_type())?;
        if self.eroded {
            return match (scale, self.cut_grid(H, W)) {
                (Some(j), _) => self.erode(b, mask, H, W, self.reach(H, W, j)).map(Some),
                (None, Some((h, w, [e, f]))) => {
                    let left = self.erode(b, mask, h, w, 1 + e.max(f))?;
                    Ok(Some(b.linear(inside(h, w, e, f), left)?))
                }
                (None, None) => Ok(None),
            };
        }
        if (H, W) == (self.H, self.W) {
            return Ok(Some(mask));
        }
        let (rows, columns) = self.mask_samples(H, W);
        Ok(Some(b.linear(Linear::Pick { H: self.H, W: self.W, rows: rows.into(), columns: columns.into() }, mask)?))
    }

    /// Steps by which the mask is eroded for the window of a scale.
    fn reach(&self, H: usize, W: usize, scale: usize) -> usize {
        (0..=scale).map(|j| self.cut(H, W, j)).map(|[e, _, f, _]| 1 + e.max(f)).sum()
    }

    /// 1 where all blocks of the mask within `radius` steps have a positive weight, 0 elsewhere; what is outside counts as zero.
    fn erode(&self, b: &mut Builder, mask: Value, H: usize, W: usize, radius: usize) -> Result<Value, DomainError> {
        if !self.H.is_multiple_of(H) || !self.W.is_multiple_of(W) {
            let expected = format!("sizes that are multiples of {H} x {W}, the grid of a coarse average");
            return fault("erode-mask", format!("an image of {} x {}", self.H, self.W), expected);
        }
        let (h, w) = (self.H / H, self.W / W);
        let blocks = if (h, w) == (1, 1) { mask } else { b.linear(Linear::BlockMean { H: self.H, W: self.W, h, w }, mask)? };
        let positive = apply(b, "sign", &[blocks])?;
        let shifted = |b: &mut Builder, value: Value, down: isize, right: isize| {
            let moved = |n: usize, by: isize| (0..n as isize).map(|k| (k + by).rem_euclid(n as isize) as usize).collect::<Indices>();
            b.linear(Linear::Pick { H, W, rows: moved(H, down), columns: moved(W, right) }, value)
        };
        // Points within k + s steps are those within k steps of points s <= k steps away along a row or column. What comes in from the opposite side is zero: the first step leaves zeros at the rim.
        let mut left = positive;
        let mut done = 0;
        while done < radius {
            let step = done.clamp(1, radius - done) as isize;
            let mut next = if done == 0 { Some(left) } else { None };
            for (down, right) in [(step, 0), (-step, 0), (0, step), (0, -step)] {
                let neighbour = shifted(b, left, down, right)?;
                next = Some(match next {
                    Some(all) => apply(b, "mul", &[all, neighbour])?,
                    None => neighbour,
                });
            }
            left = next.unwrap_or(left);
            if done == 0 {
                let inner = inside(H, W, 1, 1);
                let kept = b.linear(inner.clone(), left)?;
                left = b.adjoint(inner, kept)?;
            }
            done += step as usize;
        }
        Ok(left)
    }

    /// Weighted average of one real value over the window of a scale, or over all samples.
    fn averaged(&self, b: &mut Builder, value: Value, scale: Option<usize>) -> Result<Value, DomainError> {
        let (H, W) = image(b, value)?;
        let map = self.window(H, W, scale);
        match self.weights(b, H, W, scale)? {
            None => Ok(b.linear(map, value)?),
            Some(weights) => weighted_average(b, map, weights, value),
        }
    }

    /// The average over the window of a scale, or over all samples.
    fn window(&self, H: usize, W: usize, scale: Option<usize>) -> Linear {
        let [top, bottom, left, right] = scale.filter(|_| self.cut_edges).map_or([0; 4], |j| self.cut(H, W, j));
        Linear::Average { H, W, top, bottom, left, right }
    }

    /// Sum of the weights of an average, for each of a field's entries.
    fn total_weight(&self, b: &mut Builder, field: &Field, scale: Option<usize>) -> Result<Option<Value>, DomainError> {
        let (H, W) = size_of(b, field)?;
        let Some(weights) = self.weights(b, H, W, scale)? else { return Ok(None) };
        let map = self.window(H, W, scale);
        let count = match map {
            Linear::Average { top, bottom, left, right, .. } => (H - top - bottom) * (W - left - right),
            _ => H * W,
        };
        let mean = b.linear(map, weights)?;
        let total = b.linear(Linear::Scale { by: count as f64 }, mean)?;
        Ok(Some(repeated(b, total, field.re)?))
    }

    /// Octave of a wavelet.
    pub(crate) fn octave(&self, scale: usize) -> usize {
        match &self.wavelets {
            Some(list) => list.get(scale).map_or(0, |w| w.0.max(0) as usize),
            None => scale,
        }
    }

    /// Sizes of the truncated grid of scale j, for a grid of the same parity as `(H, W)`: max(8, min(ceil(n / 2^j), n / 2)) frequencies on either side.
    fn truncated(&self, scale: usize, H: usize, W: usize) -> (usize, usize) {
        let half = |n: usize| 8.max(n.div_ceil(1 << scale.min(40)).min(n / 2));
        let rows = if self.line { 1 } else { 2 * half(self.H) + H % 2 };
        (rows.min(H), (2 * half(self.W) + W % 2).min(W))
    }

    /// Rows and columns left out above, below, left and right where edges are cut.
    fn cut(&self, H: usize, W: usize, scale: usize) -> [usize; 4] {
        let edge = |n: usize| (n / 4).min(1 << scale.min(40));
        let (e, f) = (edge(H), edge(W));
        let less = usize::from(!self.even_edges);
        [e, e - less, f, f - less]
    }

    /// Rows and columns that `cut` leaves out on either side of a coarse grid: 2^j times the size of the grid over that of the image, at most 4.
    fn coarse_edges(&self, scale: usize, H: usize, W: usize) -> [usize; 2] {
        let edge = |n: usize, base: usize| 4.min(((n << scale.min(20)) as f64 / base as f64) as usize);
        [edge(H, self.H), edge(W, self.W)]
    }

    /// The coarse grid, with its edges, of which `cut` leaves `H` x `W` samples.
    fn cut_grid(&self, H: usize, W: usize) -> Option<(usize, usize, [usize; 2])> {
        let grids = self.scales().map(|j| (j, self.truncated(j, self.H, self.W))).filter(|_| self.cut_edges);
        let mut cut = grids.map(|(j, (h, w))| (h, w, self.coarse_edges(j, h, w)));
        cut.find(|(h, w, [e, f])| *h == H + 2 * e && *w == W + 2 * f)
    }

    /// Applies `f` to the real part and, if there is one, to the imaginary part.
    fn parts(&self, field: &Field, mut f: impl FnMut(Value) -> Result<Value, DomainError>) -> Result<Field, DomainError> {
        Ok(Field { re: f(field.re)?, im: field.im.map(&mut f).transpose()?, labels: field.labels.clone(), raw: None })
    }

    /// The spectrum of a field as one value: of a real image where the field is real.
    fn spectrum(&self, b: &mut Builder, field: &Field) -> Result<Value, DomainError> {
        let samples = match (b.ty(field.re).space, field.im) {
            (Space::RealSpectrum { .. } | Space::Spectrum { .. }, None) => return Ok(field.re),
            (Space::Image { H, W }, None) => return Ok(b.linear(Linear::Fourier { H, W }, field.re)?),
            _ => self.samples(b, field)?,
        };
        let (Space::Image { H, W }, Some(im)) = (b.ty(samples.re).space, samples.im) else {
            return Err(DomainError::Unsupported(format!("a value on {} has no spectrum", b.ty(field.re).space)));
        };
        let re = b.adjoint(component(0), samples.re)?;
        let im = b.adjoint(component(1), im)?;
        let both = apply(b, "add", &[re, im])?;
        let spectrum = b.adjoint(Linear::FourierInverse { H, W }, both)?;
        Ok(b.linear(Linear::Scale { by: (H * W) as f64 }, spectrum)?)
    }

    fn average(&self, b: &mut Builder, field: &Field, scale: Option<usize>) -> Result<Numbers, DomainError> {
        let field = self.samples(b, field)?;
        Ok(Numbers { re: self.averaged(b, field.re, scale)?, im: field.im.map(|im| self.averaged(b, im, scale)).transpose()? })
    }
}

fn unusable(error: scatterc_ir::filter::FilterError) -> DomainError {
    DomainError::Unsupported(error.to_string())
}

fn check_scales(J: usize, shorter: usize) -> Result<(), DomainError> {
    if J == 0 || J > 40 || 1usize << J > shorter {
        return fault("scales", J, format!("from 1 to {}, so that 2^J fits the shorter side of {shorter} samples", shorter.ilog2()));
    }
    Ok(())
}

fn check_directions(L: usize) -> Result<(), DomainError> {
    if L == 0 || L > MOST_DIRECTIONS { fault("orientations", L, format!("from 1 to {MOST_DIRECTIONS}")) } else { Ok(()) }
}

/// Samples added before and after `n`, so that the length is a multiple of 2^J with at least one coarse sample on either side.
fn kymatio_padding(n: usize, J: usize) -> (usize, usize) {
    let q = 1usize << J;
    let added = ((n + q) / q + 1) * q - n;
    (added / 2, added.div_ceil(2))
}

fn image(b: &Builder, value: Value) -> Result<(usize, usize), DomainError> {
    match b.ty(value).space {
        Space::Image { H, W } => Ok((H, W)),
        space => Err(DomainError::Unsupported(format!("a value on {space} has no samples"))),
    }
}

/// What is left of an image without `e` rows above and below, and `f` columns on either side.
fn inside(H: usize, W: usize, e: usize, f: usize) -> Linear {
    Linear::Pick { H, W, rows: (e..H - e).collect(), columns: (f..W - f).collect() }
}

/// Samples `-before .. n + after` of a sequence of n continued by reflection, with the edge repeated or not.
fn reflected(n: usize, before: usize, after: usize, repeat: bool) -> Vec<usize> {
    let (n, before, after) = (n as i64, before as i64, after as i64);
    let period = if repeat { 2 * n } else { (2 * n - 2).max(1) };
    let at = |k: i64| {
        let k = k.rem_euclid(period);
        if k < n {
            k as usize
        } else if repeat {
            (2 * n - 1 - k) as usize
        } else {
            (2 * n - 2 - k) as usize
        }
    };
    (-before..n + after).map(at).collect()
}

impl Domain for Plane {
    fn describe(&self) -> String {
        let boundary = self.boundary.name();
        let filter = self.bank.text.split_whitespace().nth(1).unwrap_or("filter");
        let sizes = if self.line { format!("line T={}", self.W) } else { format!("plane H={} W={}", self.H, self.W) };
        let edges = match (self.cut_edges, self.even_edges) {
            (false, _) => "",
            (true, false) => " edges=cut",
            (true, true) => " edges=even",
        };
        let stride = if self.coarsest == self.J { String::new() } else { format!(" stride={}", 1usize << self.coarsest.min(60)) };
        let mask = match (self.masked, self.eroded) {
            (false, _) => "",
            (true, false) => " mask",
            (true, true) => " mask=eroded",
        };
        format!("{sizes} J={} L={} filters={filter} boundary={boundary}{edges}{stride}{mask}", self.J, self.L)
    }

    fn scales(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.wavelets.as_ref().map_or(self.J, Vec::len) - 1
    }

    fn directions(&self) -> usize {
        self.L
    }

    fn measure(&self) -> f64 {
        (self.H * self.W) as f64
    }

    fn input_type(&self) -> Type {
        Type::new([], Space::Image { H: self.H, W: self.W })
    }

    fn parameters(&self) -> Vec<String> {
        if self.masked { vec![MASK.into()] } else { vec![] }
    }

    fn weight(&self, b: &mut Builder, field: &Field) -> Result<Option<Value>, DomainError> {
        self.total_weight(b, field, None)
    }

    fn windowed_weight(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Option<Value>, DomainError> {
        self.total_weight(b, field, Some(scale))
    }

    fn field(&self, _b: &mut Builder, input: Value) -> Result<Field, DomainError> {
        Ok(Field { re: input, im: None, labels: vec![], raw: Some(input) })
    }

    fn samples(&self, b: &mut Builder, field: &Field) -> Result<Field, DomainError> {
        match (b.ty(field.re).space, field.im) {
            (Space::Spectrum { H, W }, None) => {
                let both = b.linear(Linear::FourierInverse { H, W }, field.re)?;
                let (re, im) = (b.linear(component(0), both)?, b.linear(component(1), both)?);
                Ok(Field { re, im: Some(im), labels: field.labels.clone(), raw: None })
            }
            (Space::RealSpectrum { H, W }, _) => self.parts(field, |v| Ok(b.linear(Linear::FourierReal { H, W }, v)?)),
            _ => Ok(field.clone()),
        }
    }

    fn wavelet(&self, b: &mut Builder, field: &Field, scale: usize, label: &str) -> Result<Field, DomainError> {
        let spectrum = self.spectrum(b, field)?;
        let (H, W, real) = match b.ty(spectrum).space {
            Space::RealSpectrum { H, W } => (H, W, 1),
            Space::Spectrum { H, W } => (H, W, 0),
            space => return Err(DomainError::Unsupported(format!("a value on {space} cannot be filtered"))),
        };
        self.bank.fits(H, W).map_err(|message| DomainError::Unsupported(format!("{message}; `pad` the field first")))?;
        let re = b.linear(Linear::Filter { H, W, j: scale, power: 1, real, bank: self.bank.clone() }, spectrum)?;
        let labels = field.labels.iter().cloned().chain([label.to_string()]).collect();
        Ok(Field { re, im: None, labels, raw: None })
    }

    fn wavelet_along(&self, b: &mut Builder, field: &Field, scale: usize, axis: usize) -> Result<Option<Field>, DomainError> {
        let Space::Spectrum { H, W } = b.ty(field.re).space else { return Ok(None) };
        if axis + 1 != field.labels.len() {
            return Ok(None);
        }
        let re = b.linear(Linear::FilterEach { H, W, j: scale, bank: self.bank.clone() }, field.re)?;
        Ok(Some(Field { re, raw: None, ..field.clone() }))
    }

    fn lowpass(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Field, DomainError> {
        // The low-pass filter is real in space, so parts are smoothed one by one.
        let field = if matches!(b.ty(field.re).space, Space::Spectrum { .. }) { self.samples(b, field)? } else { field.clone() };
        self.parts(&field, |v| {
            let spectrum = match b.ty(v).space {
                Space::Image { H, W } => b.linear(Linear::Fourier { H, W }, v)?,
                _ => v,
            };
            let Space::RealSpectrum { H, W } = b.ty(spectrum).space else {
                return Err(DomainError::Unsupported(format!("a value on {} cannot be smoothed", b.ty(v).space)));
            };
            self.bank.fits(H, W).map_err(|message| DomainError::Unsupported(format!("{message}; `pad` the field first")))?;
            Ok(b.linear(Linear::Smooth { H, W, j: scale, bank: self.bank.clone() }, spectrum)?)
        })
    }

    fn mean(&self, b: &mut Builder, field: &Field) -> Result<Numbers, DomainError> {
        self.average(b, field, None)
    }

    fn windowed_mean(&self, b: &mut Builder, field: &Field, scale: usize) -> Result<Numbers, DomainError> {
        self.average(b, field, self.cut_edges.then_some(scale))
    }

    fn windowed_size(&self, b: &Builder, field: &Field, scale: usize) -> usize {
        match size_of(b, field) {
            Ok((H, W)) if self.cut_edges => {
                let [top, bottom, left, right] = self.cut(H, W, scale);
                (H - top - bottom) * (W - left - right)
            }
            _ => self.size(b, field),
        }
    }

    fn power(&self, b: &mut Builder, field: &Field, centred: bool) -> Result<Value, DomainError> {
        let field = self.samples(b, field)?;
        power(b, &field, centred, |b, value| self.averaged(b, value, None), |b, number, like| self.spread(b, number, like))
    }

    fn spread(&self, b: &mut Builder, number: Value, like: Space) -> Result<Value, DomainError> {
        let Space::Image { H, W } = like else {
            return Err(DomainError::Unsupported(format!("numbers combine with samples, not with values on {like}")));
        };
        // Every weight of the average is 1/HW, so its adjoint spreads.
        let average = Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 };
        let spread = b.add(Op::Linear { map: average, adjoint: true }, &[number], None)?;
        Ok(b.linear(Linear::Scale { by: (H * W) as f64 }, spread)?)
    }

    fn build(&self, b: &mut Builder, function: &str, field: &Field, scale: Option<usize>) -> Result<Field, DomainError> {
        match function {
            "band" => {
                let (H, W) = size_of(b, field)?;
                let (h, w) = self.truncated(scale.unwrap_or(0), H, W);
                if (h, w) == (H, W) {
                    return Ok(field.clone());
                }
                let spectrum = self.spectrum(b, field)?;
                let real = usize::from(matches!(b.ty(spectrum).space, Space::RealSpectrum { .. }));
                let re = b.linear(Linear::Truncate { H, W, h, w, real }, spectrum)?;
                Ok(Field { re, im: None, labels: field.labels.clone(), raw: None })
            }
            "fourier" => {
                let spectrum = self.spectrum(b, field)?;
                let whole = match b.ty(spectrum).space {
                    // All frequencies of a real image.
                    Space::RealSpectrum { H, W } => b.linear(Linear::Truncate { H, W, h: H, w: W, real: 1 }, spectrum)?,
                    _ => spectrum,
                };
                let (H, W) = size_of(b, field)?;
                let both = b.linear(Linear::SpectrumParts { H, W }, whole)?;
                let (re, im) = (b.linear(component(0), both)?, b.linear(component(1), both)?);
                Ok(Field { re, im: Some(im), labels: field.labels.clone(), raw: None })
            }
            "cut" if !self.cut_edges => Ok(field.clone()),
            "cut" => {
                let field = self.samples(b, field)?;
                let (H, W) = image(b, field.re)?;
                let [e, f] = self.coarse_edges(scale.unwrap_or(0), H, W);
                if 2 * e >= H || 2 * f >= W {
                    return fault("edges", format!("cut to nothing at scale {}", scale.unwrap_or(0)), "larger images or fewer scales");
                }
                self.parts(&field, |v| Ok(b.linear(inside(H, W, e, f), v)?))
            }
            "decimate" => {
                let spacing = scale.map_or(self.coarsest, |j| self.octave(j).min(self.coarsest));
                let (H, W) = size_of(b, field)?;
                let (h, w) = (if self.line { 1 } else { (self.bank.H >> spacing).min(H) }, (self.bank.W >> spacing).min(W));
                if (h, w) == (H, W) {
                    return Ok(field.clone());
                }
                if h == 0 || w == 0 || H % h != 0 || W % w != 0 {
                    return Err(DomainError::Unsupported(format!("{H} x {W} samples cannot be thinned to {h} x {w}; `pad` the field first")));
                }
                match b.ty(field.re).space {
                    Space::Image { .. } => {
                        let (rows, columns) = ((0..H).step_by(H / h).collect::<Indices>(), (0..W).step_by(W / w).collect::<Indices>());
                        self.parts(field, |v| Ok(b.linear(Linear::Pick { H, W, rows: rows.clone(), columns: columns.clone() }, v)?))
                    }
                    space => {
                        let real = usize::from(matches!(space, Space::RealSpectrum { .. }));
                        self.parts(field, |v| Ok(b.linear(Linear::Fold { H, W, h, w, real }, v)?))
                    }
                }
            }
            "pad" => {
                if self.boundary == Boundary::Periodic {
                    return Ok(field.clone());
                }
                let field = self.samples(b, field)?;
                let (H, W) = image(b, field.re)?;
                if (H, W) != (self.H, self.W) {
                    return Err(DomainError::Unsupported(format!(
                        "`pad` takes {} x {} samples, found {H} x {W}; it pads fields on the grid of the input, once",
                        self.H, self.W
                    )));
                }
                let [top, bottom, left, right] = self.padding;
                let repeat = self.boundary == Boundary::Symmetric;
                let (rows, columns) = (Indices::from(reflected(H, top, bottom, repeat)), Indices::from(reflected(W, left, right, repeat)));
                self.parts(&field, |v| Ok(b.linear(Linear::Pick { H, W, rows: rows.clone(), columns: columns.clone() }, v)?))
            }
            "unpad" => {
                if self.boundary == Boundary::Periodic {
                    return Ok(field.clone());
                }
                let field = self.samples(b, field)?;
                let (H, W) = image(b, field.re)?;
                let [top, _, left, _] = self.padding;
                // On a coarse grid the samples that lie in the image; a plane leaves out a last one that does so in part.
                let range = |n: usize, base: usize, before: usize, own: usize| {
                    let k = (base / n).max(1);
                    let first = before.div_ceil(k);
                    let end = if self.line { (before + own).div_ceil(k) } else { first + own / k };
                    (first..end.min(n)).collect::<Indices>()
                };
                let rows = if self.line { Indices::from(vec![0]) } else { range(H, self.bank.H, top, self.H) };
                let columns = range(W, self.bank.W, left, self.W);
                self.parts(&field, |v| Ok(b.linear(Linear::Pick { H, W, rows: rows.clone(), columns: columns.clone() }, v)?))
            }
            other => Err(missing(other, &self.describe())),
        }
    }

    fn shift(&self, b: &mut Builder, field: &Field, scale: usize, axis: usize, label: &str) -> Result<Field, DomainError> {
        if self.line {
            return Err(DomainError::Unsupported("`shift` needs directions, which a series does not have; it is on the plane".into()));
        }
        let mut field = self.samples(b, field)?;
        let (H, W) = image(b, field.re)?;
        let n = field.labels.len();
        if axis + 1 != n {
            // The map moves the innermost axis, so the direction comes last.
            let order: Vec<usize> = (0..n).filter(|k| *k != axis).chain([axis]).collect();
            let map = (0..n).map(|k| (0..=n).map(|o| i64::from(order.get(o) == Some(&k))).collect()).collect();
            let moved = Linear::Reindex { from: vec![self.L; n], to: vec![self.L; n], map };
            field = Field {
                labels: order.iter().map(|k| field.labels[*k].clone()).collect(),
                ..self.parts(&field, |v| Ok(b.linear(moved.clone(), v)?))?
            };
        }
        let distance = if scale == 0 { 0.0 } else { f64::powi(2.0, scale.min(30) as i32) };
        let angle = |k: usize| std::f64::consts::PI / self.L as f64 * ((k / self.L) as f64 - (k % self.L) as f64);
        let offset = |x: f64, n: usize| ((distance * x).round_ties_even() as i64).rem_euclid(n as i64) as usize;
        let rows = (0..self.L * self.L).map(|k| offset(angle(k).sin(), H)).collect();
        let columns = (0..self.L * self.L).map(|k| offset(angle(k).cos(), W)).collect();
        let roll = Linear::Roll { H, W, rows, columns, count: self.L };
        let moved = self.parts(&field, |v| Ok(b.linear(roll.clone(), v)?))?;
        Ok(Field { labels: field.labels.iter().cloned().chain([label.to_string()]).collect(), ..moved })
    }

    fn index_function(&self, function: &str, scale: usize) -> Option<i64> {
        let own = self.wavelets.as_ref().and_then(|list| list.get(scale)).copied();
        let (octave, layer) = own.unwrap_or((scale as i64, 1));
        self.scales().contains(&scale).then_some(if function == "layer" { layer } else { octave })
    }

    fn coarsest(&self) -> usize {
        *self.scales().end()
    }
}

/// Rows and columns of a field, whatever holds it.
fn size_of(b: &Builder, field: &Field) -> Result<(usize, usize), DomainError> {
    match b.ty(field.re).space {
        Space::Image { H, W } | Space::Spectrum { H, W } | Space::RealSpectrum { H, W } => Ok((H, W)),
        space => Err(DomainError::Unsupported(format!("a value on {space} has no samples"))),
    }
}
