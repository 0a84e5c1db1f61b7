//! Sparse maps of HEALPix pixels on the CPU: wavelets and changes of resolution.

use crate::tables::Key;
use scatterc_ir::Linear;
use scatterc_kernels::gather::{Sums, Wavelets};
use scatterc_kernels::simd::Real;
use scatterc_kernels::stencil::{self, Pixels, Rows};
use scatterc_kernels::{KernelError, Parallel};

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
        Linear::Downgrade { nside, cells } => {
            let (fine, coarse) = (Pixels::new(*nside)?, Pixels::new(nside / 2)?);
            let targets = if cells.is_empty() { all(coarse.len()) } else { stencil::coarse_cells(cells) };
            stencil::downgrade(&fine, &coarse, &targets, cells)
        }
        Linear::Upgrade { nside } => stencil::upgrade(&Pixels::new(2 * nside)?, &Pixels::new(*nside)?),
        other => Err(KernelError::from_expectation("map", "a sparse map of pixels", other.spelling())),
    }
}

/// A prepared map or adjoint.
#[derive(Debug)]
pub(crate) enum Sparse<T> {
    Wavelets { map: Wavelets<T>, lengths: (usize, usize) },
    Sums(Sums<T>),
}

impl<T: Real> Sparse<T> {
    pub(crate) fn new(map: &Linear, adjoint: bool) -> Result<Sparse<T>, KernelError> {
        Ok(match map {
            Linear::Stencil { nside, K, L, cells } => {
                let n = if cells.is_empty() { 12 * nside * nside } else { cells.len() };
                let lengths = if adjoint { (2 * L * n, n) } else { (n, 2 * L * n) };
                Sparse::Wavelets { map: Wavelets::new(*nside, *K, *L, cells, adjoint)?, lengths }
            }
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
            Sparse::Sums(map) => map.bytes(),
        }
    }

    /// f64 of one field before and after.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        match self {
            Sparse::Wavelets { lengths, .. } => *lengths,
            Sparse::Sums(map) => map.lengths(),
        }
    }

    /// f64 of scratch memory for a call with so many fields.
    pub(crate) fn scratch_len(&self, fields: usize) -> usize {
        match self {
            Sparse::Wavelets { map, .. } => map.scratch_len(fields),
            Sparse::Sums(_) => 0,
        }
    }

    /// Operations for one field, nominal.
    pub(crate) fn flops(&self) -> f64 {
        match self {
            Sparse::Wavelets { map, .. } => map.flops(),
            Sparse::Sums(map) => map.flops(),
        }
    }

    pub(crate) fn apply(&self, par: &dyn Parallel, inputs: &[&[T]], outputs: &mut [&mut [T]], scratch: &mut [T]) {
        match self {
            Sparse::Wavelets { map, .. } => map.apply(par, inputs, outputs, scratch),
            Sparse::Sums(map) => map.apply(par, inputs, outputs),
        }
    }
}
