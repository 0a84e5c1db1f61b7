//! The shared functions stored instead of recurred.

use super::HarmonicTransform;
use super::analysis::TILE;
use crate::simd::{Aligned, LANES};

/// Q_k of every order and active block, `[k][8]` from the block's start on, with zeros before and after: a tile that touches the rows may begin at any of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    values: Aligned,
    /// Per m and block: where Q_0 would lie, in lines; the lines before the start belong to others.
    origin: Vec<isize>,
    n_pairs: usize,
}

impl Table {
    pub(super) fn bytes_for(t: &HarmonicTransform) -> usize {
        let mut lines = 0;
        for m in 0..t.L_degrees {
            let end = t.rows(m) + TILE;
            for block in t.seeds(m).first_block[m] as usize..t.grid.n_pairs {
                lines += end.saturating_sub(t.start(m, block).saturating_sub(TILE));
            }
        }
        lines * LANES * 8 + t.L_degrees * t.grid.n_pairs * 8
    }

    pub(super) fn new(t: &HarmonicTransform) -> Self {
        let n_pairs = t.grid.n_pairs;
        let mut table = Self { values: Aligned::default(), origin: vec![0; t.L_degrees * n_pairs], n_pairs };
        for m in 0..t.L_degrees {
            let pairs = t.rows(m);
            let end = pairs + TILE;
            let seeds = t.seeds(m);
            let first = seeds.first_block[m] as usize;
            let at = t.grid.offset[m];
            for block in first..n_pairs {
                let start = t.start(m, block);
                let from = start.saturating_sub(TILE);
                table.origin[m * n_pairs + block] = table.values.lines().len() as isize - from as isize;
                let i = seeds.offset[m] + block - first;
                let (mut q0, mut q1) = (seeds.values.lines()[2 * i].0, seeds.values.lines()[2 * i + 1].0);
                let b = &t.grid.b[t.grid.kind[block] as usize];
                let argument = t.grid.argument.lines()[block].0;
                for k in from..end {
                    if k < start || k >= pairs {
                        table.values.push([0.0; LANES]);
                        continue;
                    }
                    table.values.push(q0);
                    for lane in 0..LANES {
                        let next = (t.grid.a[at + k] * argument[lane] + b[at + k]) * q1[lane] - q0[lane];
                        (q0[lane], q1[lane]) = (q1[lane], next);
                    }
                }
            }
        }
        table.values.shrink();
        table
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.lines().len() * 64 + self.origin.len() * 8
    }

    /// Where Q_0 of that order and block would lie; readable from a tile before the start to a tile after the end.
    #[inline(always)]
    pub(super) fn rows(&self, m: usize, block: usize) -> *const f64 {
        self.values.as_ptr().wrapping_offset(self.origin[m * self.n_pairs + block] * LANES as isize)
    }
}
