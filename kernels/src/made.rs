//! Rows of maps of pixels made while they are applied, part by part of the sphere, where tables of all of them would not fit.
//!
//! A part is a run of base pixels in NESTED order, a square on a face. The adjoint of a map needs, for a part, the rows of all pixels that read from it: those of the part and of a rim around it.

use crate::gather::Turns;
use crate::simd::LANES;
use crate::stencil::{self, Pixels, Rows};
use std::collections::BTreeSet;

/// Base pixels of a part.
pub(crate) const PART: usize = 1024;

/// Entries of a part's transposed rows, and where they read.
pub(crate) struct Columns {
    /// Pixels that the entries read, which name them by their place in this list.
    pub(crate) pixels: Vec<usize>,
    /// Rows of the part's pixels.
    pub(crate) rows: Rows,
}

/// Makes rows of wavelets.
#[derive(Debug, Clone)]
pub(crate) struct Wavelets {
    pixels: Pixels,
    K: usize,
    L: usize,
}

impl Wavelets {
    /// The parameters were checked: K is 3, 5 or 7, L from 1 to 32.
    pub(crate) fn new(pixels: Pixels, K: usize, L: usize) -> Self {
        Wavelets { pixels, K, L }
    }

    pub(crate) fn rows(&self, targets: &[usize]) -> Rows {
        stencil::wavelets(&self.pixels, self.K, self.L, targets, &[], LANES).expect("parameters that were checked")
    }

    /// Rows of the adjoint for the base pixels `first..first + count`.
    pub(crate) fn columns(&self, turns: &Turns, first: usize, count: usize) -> Columns {
        // A node lies at most sqrt(2) (K / 2) sides away and its corners one pixel further; where pixels are narrow that is up to K of them.
        let pixels = with_rim(&self.pixels, (first..first + count).collect(), self.K);
        let back: Vec<usize> = pixels.iter().map(|p| turns.turned(*p, (turns.count - turns.quarter(*p)) % turns.count)).collect();
        let rows = self.rows(&back);
        transposed(&rows, &pixels, turns, turns, first, count)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.pixels.bytes()
    }
}

/// Makes rows of the change to half the nside.
#[derive(Debug, Clone)]
pub(crate) struct Downgrade {
    fine: Pixels,
    coarse: Pixels,
}

impl Downgrade {
    pub(crate) fn new(fine: Pixels, coarse: Pixels) -> Self {
        Downgrade { fine, coarse }
    }

    pub(crate) fn rows(&self, targets: &[usize]) -> Rows {
        stencil::downgrade(&self.fine, &self.coarse, targets, &[]).expect("the whole sphere needs no check of cells")
    }

    /// Rows of the adjoint for the fine base pixels `first..first + count`, whole families of four; `turns` of the fine and of the coarse map.
    pub(crate) fn columns(&self, turns: [&Turns; 2], first: usize, count: usize) -> Columns {
        let pixels = with_rim(&self.coarse, (first / 4..(first + count).div_ceil(4)).collect(), 1);
        let back: Vec<usize> = pixels.iter().map(|p| turns[1].turned(*p, (turns[1].count - turns[1].quarter(*p)) % turns[1].count)).collect();
        transposed(&self.rows(&back), &pixels, turns[0], turns[1], first, count)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.fine.bytes() + self.coarse.bytes()
    }
}

/// The pixels and all that can be reached from them in so many steps to neighbours, in ascending order.
fn with_rim(map: &Pixels, pixels: BTreeSet<usize>, steps: usize) -> Vec<usize> {
    let mut all = pixels.clone();
    let mut edge = pixels;
    for _ in 0..steps {
        let next: BTreeSet<usize> = edge.iter().flat_map(|p| map.neighbours(*p)).flatten().filter(|p| !all.contains(p)).collect();
        all.extend(&next);
        edge = next;
    }
    all.into_iter().collect()
}

/// Rows of base pixels, the pixels of which they stand for, and turns of columns and of rows; entries that meet `first..first + count` by column.
///
/// A row's weights stay as they are in the orientations of its own quarter.
fn transposed(rows: &Rows, pixels: &[usize], columns: &Turns, own: &Turns, first: usize, count: usize) -> Columns {
    let place = |r: usize, column: usize| {
        let t = columns.turned(column, own.quarter(pixels[r]));
        (first..first + count).contains(&t).then(|| t - first)
    };
    let mut starts = vec![0usize; count + 1];
    rows.each(|r, column, _| {
        if let Some(t) = place(r, column) {
            starts[t + 1] += 1;
        }
    });
    for t in 0..count {
        starts[t + 1] += starts[t];
    }
    let (mut next, width) = (starts.clone(), rows.width);
    let (mut reads, mut values) = (vec![0u32; starts[count]], vec![0.0; starts[count] * width]);
    rows.each(|r, column, weights| {
        if let Some(t) = place(r, column) {
            let e = next[t];
            next[t] += 1;
            reads[e] = r as u32;
            values[e * width..][..width].copy_from_slice(weights);
        }
    });
    Columns { pixels: pixels.to_vec(), rows: Rows { n_columns: pixels.len(), width, starts, columns: reads, values } }
}
