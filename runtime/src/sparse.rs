//! Sparse maps of HEALPix pixels on the CPU: wavelets and changes of resolution.

use crate::tables::{Cache, Key};
use scatterc_ir::Linear;
use scatterc_ir::ops::pixels;
use scatterc_kernels::gather::{Downgrade, Sums, Wavelets};
use scatterc_kernels::simd::Real;
use scatterc_kernels::stencil::{self, Pixels, Rows};
use scatterc_kernels::{KernelError, Parallel, Serial};

/// Rows of the whole matrix, row by row of one plane of the result; what every device's tables are made from.
///
/// Error: parameters the kernels refuse, and maps that are not sparse.
pub fn rows(map: &Linear) -> Result<Rows, KernelError> {
    let all = |n: usize| (0..n).collect::<Vec<_>>();
    match map {
        Linear::Stencil { nside, K, L, cells } => {
            let pixels = Pixels::new(*nside)?;
            let targets = if cells.is_empty() { all(pixels.len()) } else { cells.clone() };
            stencil::wavelets(&pixels, *K, *L, &targets, cells, 1)
        }
        Linear::SpinStencil { nside, K, L, spin } => scatterc_kernels::spin::spin_wavelets(&Serial, *nside, *K, *L, *spin),
        Linear::Downgrade { nside, cells } => {
            let (fine, coarse) = (Pixels::new(*nside)?, Pixels::new(nside / 2)?);
            let targets = if cells.is_empty() { all(coarse.len()) } else { stencil::coarse_cells(cells) };
            stencil::downgrade(&fine, &coarse, &targets, cells)
        }
        Linear::Upgrade { nside } => stencil::upgrade(&Pixels::new(2 * nside)?, &Pixels::new(*nside)?),
        other => Err(KernelError::from_expectation("map", "a sparse map of pixels", other.spelling())),
    }
}

/// Rows that take seconds to make, from the cache or made and stored.
fn kept(map: &Linear, cache: &Cache) -> Result<Rows, KernelError> {
    let key = Key::of_texts("rows", &[&format!("{map:?}")]);
    if let Some(found) = cache.find(&key).and_then(|bytes| unpacked(&bytes)) {
        return Ok(found);
    }
    let made = rows(map)?;
    cache.store(&key, packed(&made));
    Ok(made)
}

/// Sizes, first entries, columns and weights as little-endian numbers.
fn packed(rows: &Rows) -> Vec<u8> {
    let sizes = [rows.n_columns, rows.width, rows.starts.len(), rows.columns.len()];
    let mut out: Vec<u8> = sizes.iter().chain(&rows.starts).flat_map(|k| (*k as u64).to_le_bytes()).collect();
    out.extend(rows.columns.iter().flat_map(|column| column.to_le_bytes()));
    out.extend(rows.values.iter().flat_map(|value| value.to_le_bytes()));
    out
}

/// What [`packed`] made; `None` for bytes that it did not make.
fn unpacked(bytes: &[u8]) -> Option<Rows> {
    let number = |k: usize| Some(u64::from_le_bytes(bytes.get(8 * k..8 * k + 8)?.try_into().ok()?) as usize);
    let (n_columns, width, n_starts, n) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let columns_at = 8usize.checked_mul(n_starts.checked_add(4)?)?;
    let values_at = columns_at.checked_add(n.checked_mul(4)?)?;
    if values_at.checked_add(n.checked_mul(width)?.checked_mul(8)?)? != bytes.len() {
        return None;
    }
    let starts: Vec<usize> = (4..4 + n_starts).map(number).collect::<Option<_>>()?;
    let columns: Vec<u32> = bytes[columns_at..values_at].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let values = bytes[values_at..].chunks_exact(8).map(|b| f64::from_le_bytes(std::array::from_fn(|k| b[k]))).collect();
    let sound = starts.first() == Some(&0)
        && starts.last() == Some(&n)
        && starts.windows(2).all(|w| w[0] <= w[1])
        && columns.iter().all(|column| (*column as usize) < n_columns);
    sound.then_some(Rows { n_columns, width, starts, columns, values })
}

/// A prepared map or adjoint.
#[derive(Debug)]
pub(crate) enum Sparse<T> {
    Wavelets { map: Wavelets<T>, lengths: (usize, usize) },
    Downgrade(Downgrade<T>),
    Sums(Sums<T>),
}

impl<T: Real> Sparse<T> {
    pub(crate) fn new(map: &Linear, adjoint: bool, cache: &Cache) -> Result<Sparse<T>, KernelError> {
        Ok(match map {
            Linear::Stencil { nside, K, L, cells } => {
                let n = pixels(*nside, cells);
                let lengths = if adjoint { (2 * L * n, n) } else { (n, 2 * L * n) };
                Sparse::Wavelets { map: Wavelets::new(*nside, *K, *L, cells, adjoint)?, lengths }
            }
            Linear::Downgrade { nside, cells } if cells.is_empty() => Sparse::Downgrade(Downgrade::new(*nside, adjoint)?),
            // Numbers of the result one by one, plane after plane.
            spin @ Linear::SpinStencil { .. } => Sparse::Sums(Sums::new(kept(spin, cache)?.planes().rounded(), adjoint)),
            other => Sparse::Sums(Sums::new(rows(other)?.rounded(), adjoint)),
        })
    }

    /// Everything the tables depend on.
    pub(crate) fn key(map: &Linear, adjoint: bool) -> Key {
        Key::of_texts("sparse", &[&format!("{map:?} {adjoint} {}", size_of::<T>())])
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Sparse::Wavelets { map, .. } => map.bytes(),
            Sparse::Downgrade(map) => map.bytes(),
            Sparse::Sums(map) => map.bytes(),
        }
    }

    /// f64 of one field before and after.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        match self {
            Sparse::Wavelets { lengths, .. } => *lengths,
            Sparse::Downgrade(map) => map.lengths(),
            Sparse::Sums(map) => map.lengths(),
        }
    }

    /// f64 of scratch memory for a call with so many fields.
    pub(crate) fn scratch_len(&self, fields: usize) -> usize {
        match self {
            Sparse::Wavelets { map, .. } => map.scratch_len(fields),
            Sparse::Downgrade(_) | Sparse::Sums(_) => 0,
        }
    }

    /// Operations for one field, nominal.
    pub(crate) fn flops(&self) -> f64 {
        match self {
            Sparse::Wavelets { map, .. } => map.flops(),
            Sparse::Downgrade(map) => map.flops(),
            Sparse::Sums(map) => map.flops(),
        }
    }

    pub(crate) fn apply(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]], scratch: &mut [T]) {
        match self {
            Sparse::Wavelets { map, .. } => map.apply(par, inputs, outputs, scratch),
            Sparse::Downgrade(map) => map.apply(par, inputs, outputs),
            Sparse::Sums(map) => map.apply(par, inputs, outputs),
        }
    }
}
