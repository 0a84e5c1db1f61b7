//! The device's layouts, its weight tables, and the small linear maps as plain loops in that layout: the unfused fallback of the compiler.
//!
//! Rings and maps are lane-blocked (`scatterc_kernels::layout`); every other space is as `scatterc_ir::types` documents it. Padding lanes of a value repeat a
//! valid ring, padding lanes of a cotangent are never read.

use crate::planar::PlanarTables;
use scatterc_ir::ops::reindex_table;
use scatterc_ir::{Linear, Space};
use scatterc_kernels::KernelError;
use scatterc_kernels::layout::{self, RingLayout};
use scatterc_kernels::simd::{LANES, Real};
use scatterc_kernels::wavelets::steering_matrix;
use std::f64::consts::PI;

/// Number of numbers one value of this space occupies in a plan's buffers. 0 for [`Space::Any`].
///
/// ```
/// use scatterc_ir::Space;
/// use scatterc_runtime::maps::device_len;
///
/// // The four rings of L = 4, and what fills their two blocks of eight lanes.
/// assert_eq!((device_len(Space::Image { H: 4, W: 4 }), device_len(Space::Map { L: 4 })), (16, 2 * 7 * 8));
/// ```
pub fn device_len(space: Space) -> usize {
    match space {
        Space::Rings { L, M } => layout::rings_len(L, M),
        Space::Map { L } => layout::map_len(L),
        Space::Point
        | Space::Half { .. }
        | Space::Full { .. }
        | Space::Grid { .. }
        | Space::Coefficients { .. }
        | Space::Image { .. }
        | Space::Spectrum { .. }
        | Space::RealSpectrum { .. }
        | Space::Pixels { .. }
        | Space::Any => space.len(),
    }
}

/// Converts consecutive fields of one space from the logical layout to the device's; padding repeats its ring.
///
/// Panics if the lengths do not fit: callers check them against the plan.
///
/// ```
/// use scatterc_ir::Space;
/// use scatterc_runtime::maps::{device_len, from_device, to_device};
///
/// let space = Space::Map { L: 4 };
/// let samples: Vec<f64> = (0..28).map(f64::from).collect();
/// let (mut device, mut back) = (vec![0.0f64; device_len(space)], vec![0.0; 28]);
/// to_device(space, &samples, &mut device)?;
/// from_device(space, &device, &mut back)?;
/// assert_eq!(back, samples);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn to_device<T: Real>(space: Space, logical: &[f64], device: &mut [T]) -> Result<(), KernelError> {
    to_device_with(space, blocked(space)?.as_ref(), logical, device);
    Ok(())
}

/// Converts consecutive fields of one space from the device's layout to the logical one; padding is not read.
///
/// Panics if the lengths do not fit: callers check them against the plan.
///
/// ```
/// use scatterc_ir::Space;
/// use scatterc_runtime::maps::from_device;
///
/// // Single precision on the device, double outside.
/// let mut logical = [0.0; 2];
/// from_device(Space::Point, &[0.5f32, 0.25], &mut logical)?;
/// assert_eq!(logical, [0.5, 0.25]);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn from_device<T: Real>(space: Space, device: &[T], logical: &mut [f64]) -> Result<(), KernelError> {
    from_device_with(space, blocked(space)?.as_ref(), device, logical);
    Ok(())
}

/// The grid of a space that is stored in lane blocks.
pub(crate) fn blocked(space: Space) -> Result<Option<RingLayout>, KernelError> {
    match space {
        Space::Rings { L, .. } | Space::Map { L } => RingLayout::new(L).map(Some),
        Space::Point
        | Space::Half { .. }
        | Space::Full { .. }
        | Space::Grid { .. }
        | Space::Coefficients { .. }
        | Space::Image { .. }
        | Space::Spectrum { .. }
        | Space::RealSpectrum { .. }
        | Space::Pixels { .. }
        | Space::Any => Ok(None),
    }
}

/// [`to_device`] with the grid at hand; without one the layouts are the same.
pub(crate) fn to_device_with<T: Real>(space: Space, layout: Option<&RingLayout>, logical: &[f64], device: &mut [T]) {
    match layout {
        Some(layout) if blocks(space) => convert(space, layout, logical.len(), device.len(), |from, to, _| device[to] = T::of(logical[from])),
        _ => match T::as_f64_mut(device) {
            Some(device) => device.copy_from_slice(logical),
            None => device.iter_mut().zip(logical).for_each(|(to, from)| *to = T::of(*from)),
        },
    }
}

/// [`from_device`] with the grid at hand; without one the layouts are the same.
pub(crate) fn from_device_with<T: Real>(space: Space, layout: Option<&RingLayout>, device: &[T], logical: &mut [f64]) {
    match layout {
        Some(layout) if blocks(space) => convert(space, layout, logical.len(), device.len(), |to, from, padding| {
            if !padding {
                logical[to] = device[from].wide();
            }
        }),
        _ => logical.iter_mut().zip(device).for_each(|(to, from)| *to = from.wide()),
    }
}

fn blocks(space: Space) -> bool {
    matches!(space, Space::Rings { .. } | Space::Map { .. })
}

/// Calls `place(logical index, device index, is padding)` for every stored number; padding comes with the ring it repeats.
fn convert(space: Space, layout: &RingLayout, logical_len: usize, device_total: usize, mut place: impl FnMut(usize, usize, bool)) {
    let (width, device) = (space.len().max(1), device_len(space).max(1));
    let count = logical_len / width;
    assert_eq!((logical_len, device_total), (count * width, count * device), "lengths of {count} fields of {space}");
    // Rings are rows of re and im per order, maps are rows of one number per sample.
    let (rows, parts) = match space {
        Space::Rings { M, .. } => (M, 2),
        _ => (layout.n_phi(), 1),
    };
    for field in 0..count {
        for block in 0..layout.n_blocks() {
            for row in 0..rows {
                for part in 0..parts {
                    for lane in 0..LANES {
                        let logical = field * width + (layout.ring(block, lane) * rows + row) * parts + part;
                        let stored = field * device + ((block * rows + row) * parts + part) * LANES + lane;
                        place(logical, stored, layout.is_padding(block, lane));
                    }
                }
            }
        }
    }
}

/// The weight with which a reduction to a point sums every stored f64 of its operand; 0 in padding. `None` for maps that are no such reduction.
///
/// ```
/// use scatterc_ir::Linear;
/// use scatterc_runtime::maps::weights;
///
/// // Quadrature weights of an average sum to 1; padding has none.
/// let mean = weights(&Linear::Mean { L: 4 })?.unwrap();
/// assert!((mean.iter().sum::<f64>() - 1.0).abs() < 1e-14);
/// assert_eq!(weights(&Linear::Steer { N: 3 })?, None);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn weights(map: &Linear) -> Result<Option<Vec<f64>>, KernelError> {
    let mut out = Vec::new();
    match map {
        Linear::Mean { L } => {
            let (layout, n_phi) = (RingLayout::new(*L)?, 2 * L - 1);
            out.reserve_exact(layout.weights().len() * n_phi);
            for block in layout.weights().chunks_exact(LANES) {
                for _ in 0..n_phi {
                    out.extend(block.iter().map(|w| w / (2 * n_phi) as f64));
                }
            }
        }
        Linear::RingMean { L, M } => {
            let layout = RingLayout::new(*L)?;
            out.reserve_exact(2 * layout.weights().len() * M);
            for block in layout.weights().chunks_exact(LANES) {
                for m in 0..*M {
                    out.extend(block.iter().map(|w| 0.5 * w * multiplicity(m)));
                    out.extend(block.iter().map(|w| if m == 0 { 0.0 } else { *w }));
                }
            }
        }
        Linear::HalfPower { L, skip_mean } => {
            out.reserve_exact(2 * L * L);
            for ell in 0..*L {
                for m in 0..*L {
                    let weight = if (ell, m) == (0, 0) && *skip_mean == 1 { 0.0 } else { multiplicity(m) / (4.0 * PI) };
                    out.extend([weight; 2]);
                }
            }
        }
        Linear::FullPower { L, skip_mean } => {
            out.resize(2 * L * (2 * L - 1), 1.0 / (4.0 * PI));
            if *skip_mean == 1 {
                // Row 0, column L - 1 is (0, 0).
                out[2 * (L - 1)..2 * L].fill(0.0);
            }
        }
        Linear::CoefficientPower { L, skip_mean } => {
            out.reserve_exact(L * (L + 1));
            for m in 0..*L {
                out.extend(std::iter::repeat_n(multiplicity(m) / (4.0 * PI), 2 * (L - m)));
            }
            if *skip_mean == 1 {
                out[..2].fill(0.0);
            }
        }
        Linear::CoefficientSum { L } => out.resize(L * (L + 1), 1.0),
        Linear::FrameOperator { .. }
        | Linear::HermitianPack { .. }
        | Linear::FullReal { .. }
        | Linear::FullImaginary { .. }
        | Linear::GridToMap { .. }
        | Linear::CoefficientMean { .. }
        | Linear::WignerInverse { .. }
        | Linear::HarmonicInverse { .. }
        | Linear::ScalingInverse { .. }
        | Linear::HarmonicForward { .. }
        | Linear::RingInverse { .. }
        | Linear::RingForward { .. }
        | Linear::Steer { .. }
        | Linear::Reindex { .. }
        | Linear::Reshape { .. }
        | Linear::Gather { .. }
        | Linear::Slice { .. }
        | Linear::Spread { .. }
        | Linear::Fourier { .. }
        | Linear::FourierReal { .. }
        | Linear::FourierInverse { .. }
        | Linear::Filter { .. }
        | Linear::FilterInverse { .. }
        | Linear::FilterEach { .. }
        | Linear::Smooth { .. }
        | Linear::Truncate { .. }
        | Linear::Clip { .. }
        | Linear::Fold { .. }
        | Linear::Pick { .. }
        | Linear::Roll { .. }
        | Linear::SpectrumParts { .. }
        | Linear::ImageStencil { .. }
        | Linear::BlockMean { .. }
        | Linear::Enlarge { .. }
        | Linear::SpectralFilter { .. }
        | Linear::Stencil { .. }
        | Linear::SpinStencil { .. }
        | Linear::Downgrade { .. }
        | Linear::Upgrade { .. }
        | Linear::Scale { .. } => return Ok(None),
        Linear::PixelMean { n, .. } => out.resize(*n, 1.0 / *n as f64),
        Linear::Average { .. } | Linear::SpectralSum { .. } => return PlanarTables::<f64>::default().weights(map).map_err(KernelError::from),
    }
    Ok(Some(out))
}

/// Place of the real part of coefficient (ell, m) in m-major order.
fn packed(L: usize, ell: usize, m: usize) -> usize {
    2 * (m * (2 * L - 1 - m) / 2 + ell)
}

/// How often order m >= 0 occurs among all orders of a real field.
fn multiplicity(m: usize) -> f64 {
    if m == 0 { 1.0 } else { 2.0 }
}

/// A small map with what it needs prepared.
pub(crate) enum Small {
    /// `y[to] += value x[from]`, reading in one direction or the other.
    Sparse { entries: Vec<(u32, u32, f64)> },
    /// Half plane to packed coefficients.
    Pack { L: usize },
    /// Full plane to packed coefficients of the real or the imaginary part.
    Full { L: usize, imaginary: bool },
    /// Weighted sum to one number.
    Reduce { weights: Vec<f64> },
    /// User grid to map.
    Grid { layout: RingLayout },
    /// One number to every sample.
    Spread { layout: RingLayout },
    /// `y[o] = x[table[o]]` for blocks of equal width.
    Reindex { from: usize, table: Vec<usize> },
    /// Mixture of blocks of equal width by a dense matrix `[to][from]`.
    Steer { N: usize, matrix: Vec<f64> },
    /// Multiplication by a number (1 for a copy).
    Scale { by: f64 },
}

impl Small {
    /// `None` for the transforms, which have kernels of their own.
    pub(crate) fn new(map: &Linear) -> Result<Option<Small>, KernelError> {
        let mut entries = Vec::new();
        Ok(Some(match map {
            Linear::HermitianPack { L } => Small::Pack { L: *L },
            Linear::FullReal { L } => Small::Full { L: *L, imaginary: false },
            Linear::FullImaginary { L } => Small::Full { L: *L, imaginary: true },
            Linear::CoefficientMean { .. } => {
                let value = 0.5 / PI.sqrt();
                Small::Sparse { entries: vec![(0, 0, value), (1, 1, value)] }
            }
            Linear::Gather { table, .. } => {
                entries.extend(table.iter().enumerate().map(|(k, i)| (k as u32, *i as u32, 1.0)));
                Small::Sparse { entries }
            }
            Linear::Slice { start, length, .. } => {
                entries.extend((0..*length).map(|k| (k as u32, (start + k) as u32, 1.0)));
                Small::Sparse { entries }
            }
            Linear::Mean { .. }
            | Linear::RingMean { .. }
            | Linear::HalfPower { .. }
            | Linear::FullPower { .. }
            | Linear::CoefficientPower { .. }
            | Linear::PixelMean { .. }
            | Linear::CoefficientSum { .. } => Small::Reduce { weights: weights(map)?.unwrap_or_default() },
            Linear::GridToMap { L } => Small::Grid { layout: RingLayout::new(*L)? },
            Linear::Spread { L } => Small::Spread { layout: RingLayout::new(*L)? },
            Linear::Reindex { from, to, map } => Small::Reindex { from: from.iter().product(), table: reindex_table(from, to, map) },
            Linear::Steer { N } => Small::Steer { N: *N, matrix: steering_matrix(*N) },
            Linear::Reshape { .. } => Small::Scale { by: 1.0 },
            Linear::Scale { by } => Small::Scale { by: *by },
            Linear::WignerInverse { .. }
            | Linear::HarmonicInverse { .. }
            | Linear::ScalingInverse { .. }
            | Linear::HarmonicForward { .. }
            | Linear::FrameOperator { .. }
            | Linear::RingInverse { .. }
            | Linear::RingForward { .. }
            | Linear::Fourier { .. }
            | Linear::FourierReal { .. }
            | Linear::FourierInverse { .. }
            | Linear::Filter { .. }
            | Linear::FilterInverse { .. }
            | Linear::FilterEach { .. }
            | Linear::Smooth { .. }
            | Linear::Truncate { .. }
            | Linear::Clip { .. }
            | Linear::Fold { .. }
            | Linear::Pick { .. }
            | Linear::Roll { .. }
            | Linear::SpectrumParts { .. }
            | Linear::ImageStencil { .. }
            | Linear::BlockMean { .. }
            | Linear::Enlarge { .. }
            | Linear::SpectralFilter { .. }
            | Linear::Average { .. }
            | Linear::Stencil { .. }
            | Linear::SpinStencil { .. }
            | Linear::Downgrade { .. }
            | Linear::Upgrade { .. }
            | Linear::SpectralSum { .. } => return Ok(None),
        }))
    }

    /// Bytes of its tables.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Small::Sparse { entries } => 16 * entries.len(),
            Small::Reduce { weights } => 8 * weights.len(),
            Small::Reindex { table, .. } => 8 * table.len(),
            Small::Steer { matrix, .. } => 8 * matrix.len(),
            Small::Grid { layout } | Small::Spread { layout } => 16 * layout.weights().len(),
            Small::Pack { .. } | Small::Full { .. } | Small::Scale { .. } => 0,
        }
    }

    /// The map, or its adjoint, on one field in the device's layout; lengths were checked when the plan was loaded.
    pub(crate) fn apply<T: Real>(&self, adjoint: bool, x: &[T], y: &mut [T]) {
        let zero = T::default();
        match self {
            Small::Sparse { entries } => {
                y.fill(zero);
                if adjoint {
                    entries.iter().for_each(|(o, i, value)| y[*i as usize] += T::of(*value) * x[*o as usize]);
                } else {
                    entries.iter().for_each(|(o, i, value)| y[*o as usize] += T::of(*value) * x[*i as usize]);
                }
            }
            Small::Pack { L } => {
                if adjoint {
                    y.fill(zero);
                }
                // Four orders at a time share the cache lines of a row.
                for first in (0..*L).step_by(4) {
                    for ell in first..*L {
                        for m in first..(first + 4).min(ell + 1).min(*L) {
                            let (k, i) = (packed(*L, ell, m), 2 * (ell * L + m));
                            if adjoint {
                                y[i..i + 2].copy_from_slice(&x[k..k + 2]);
                            } else {
                                y[k..k + 2].copy_from_slice(&x[i..i + 2]);
                            }
                        }
                    }
                }
            }
            Small::Full { L, imaginary } => {
                if adjoint {
                    y.fill(zero);
                }
                for m in 0..*L {
                    let (half, s) = (T::of(0.5), T::of(if m % 2 == 0 { 0.5 } else { -0.5 }));
                    for ell in m..*L {
                        let k = packed(*L, ell, m);
                        let row = ell * (2 * L - 1) + L - 1;
                        let (a, b) = (2 * (row + m), 2 * (row - m));
                        // (f_m + s conj f_-m) / 2, or (f_m - s conj f_-m) / 2i; at m = 0 both are one entry, so the adjoint adds.
                        match (imaginary, adjoint) {
                            (false, false) => {
                                y[k] = half * x[a] + s * x[b];
                                y[k + 1] = half * x[a + 1] - s * x[b + 1];
                            }
                            (true, false) => {
                                y[k] = half * x[a + 1] + s * x[b + 1];
                                y[k + 1] = s * x[b] - half * x[a];
                            }
                            (false, true) => {
                                y[a] += half * x[k];
                                y[b] += s * x[k];
                                y[a + 1] += half * x[k + 1];
                                y[b + 1] -= s * x[k + 1];
                            }
                            (true, true) => {
                                y[a + 1] += half * x[k];
                                y[b + 1] += s * x[k];
                                y[a] -= half * x[k + 1];
                                y[b] += s * x[k + 1];
                            }
                        }
                    }
                }
            }
            Small::Reduce { weights } => {
                if adjoint {
                    let x = x[0].wide();
                    y.iter_mut().zip(weights).for_each(|(y, w)| *y = T::of(w * x));
                } else {
                    y[0] = T::of(weighted_sum(x, weights));
                }
            }
            Small::Grid { layout } => {
                if adjoint {
                    layout.grid_to_map_adjoint(x, y);
                } else {
                    layout.grid_to_map(x, y);
                }
            }
            Small::Spread { layout } => {
                if !adjoint {
                    y.fill(x[0]);
                    return;
                }
                let mut sum = 0.0f64;
                for (block, samples) in x.chunks_exact(layout.n_phi() * LANES).enumerate() {
                    for lane in (0..LANES).filter(|lane| !layout.is_padding(block, *lane)) {
                        sum += samples.iter().skip(lane).step_by(LANES).map(|x| x.wide()).sum::<f64>();
                    }
                }
                y[0] = T::of(sum);
            }
            Small::Reindex { from, table } => {
                let width = if adjoint { y.len() / from } else { x.len() / from };
                if adjoint {
                    y.fill(zero);
                    for (x, i) in x.chunks_exact(width.max(1)).zip(table) {
                        y[i * width..][..width].iter_mut().zip(x).for_each(|(y, x)| *y += *x);
                    }
                } else {
                    for (y, i) in y.chunks_exact_mut(width.max(1)).zip(table) {
                        y.copy_from_slice(&x[i * width..][..width]);
                    }
                }
            }
            Small::Steer { N, matrix } => {
                let (rows, columns) = if adjoint { (*N, 2 * N - 1) } else { (2 * N - 1, *N) };
                let width = y.len() / rows;
                for (row, y) in y.chunks_exact_mut(width.max(1)).enumerate() {
                    y.fill(zero);
                    for column in 0..columns {
                        let value = T::of(if adjoint { matrix[column * N + row] } else { matrix[row * N + column] });
                        y.iter_mut().zip(&x[column * width..]).for_each(|(y, x)| *y += value * *x);
                    }
                }
            }
            Small::Scale { by } => {
                let by = T::of(*by);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = by * *x);
            }
        }
    }
}

/// sum x w in eight partial sums, which the compiler turns into vector instructions.
fn weighted_sum<T: Real>(x: &[T], weights: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (head, tail) = (x.chunks_exact(8), x.chunks_exact(8).remainder());
    let n = x.len() - tail.len();
    for (x, w) in head.zip(weights.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += x[lane].wide() * w[lane];
        }
    }
    sums.iter().sum::<f64>() + tail.iter().zip(&weights[n..]).map(|(x, w)| x.wide() * w).sum::<f64>()
}
