//! Rings to coefficients through the shared functions: the adjoint of [`super::synthesis`], as a matrix product.
//!
//! Per order, S\[k\]\[c\] = sum over rings of Q_k(ring) V\[ring\]\[c\], where the columns c are (even re, even im, odd re, odd im) of
//! all channels. Columns lie in lanes, so that no sum runs over lanes: the rings' values are transposed once, Q is made for eight
//! indices and sixteen blocks at a time and then broadcast. Where the columns fill their vectors badly (one or three channels),
//! rings stay in lanes and the sums over lanes are taken for several indices together.

use super::basis::{self, Basis};
use super::{HarmonicTransform, MAX_SCALAR_CHUNK, balanced};
use crate::layout::coefficient_index;
use crate::parallel::Shared;
use crate::simd::{LANES, Lanes};

/// Indices k per tile of Q.
pub(super) const TILE: usize = 8;
/// Blocks of rings per tile.
const TILE_BLOCKS: usize = 16;

/// What one call of `synthesis_adjoint` or `analysis` does.
pub(super) struct ToCoefficients<'a> {
    pub transform: &'a HarmonicTransform,
    pub rings: &'a [&'a [f64]],
    pub out: &'a [Shared],
    pub M: usize,
}

/// How the channels of one pass are arranged.
#[derive(Clone, Copy)]
struct Shape {
    total: usize,
    /// Rings in lanes, all channels together.
    by_rings: bool,
    /// Groups of vectors of two channels.
    groups: usize,
}

impl Shape {
    fn new<V: Lanes<Element = f64>>(total: usize, n_pairs: usize) -> Self {
        let wide = V::SUMS >= 24;
        let by_rings = total == 1 || wide && total == 3 && n_pairs >= 12;
        let widest = if wide { 3 } else { 1 };
        Self { total, by_rings, groups: if by_rings { 1 } else { total.div_ceil(2).div_ceil(widest) } }
    }

    /// First and last vector of a group.
    fn vectors(&self, group: usize) -> (usize, usize) {
        let vectors = self.total.div_ceil(2);
        (group * vectors / self.groups, (group + 1) * vectors / self.groups)
    }
}

/// f64s of the sums of one order: rows of `width` f64, in whole tiles.
fn sums_len(t: &HarmonicTransform, width: usize) -> usize {
    (t.rows(0) + 2).next_multiple_of(TILE) * width + LANES
}

fn values_len(t: &HarmonicTransform, total: usize) -> usize {
    t.grid.n_pairs * LANES * LANES * total.div_ceil(2)
}

/// f64s of scratch for `n_fields` fields of `orders` orders.
pub(super) fn scratch_len(t: &HarmonicTransform, n_fields: usize, orders: usize) -> usize {
    let total = n_fields * t.shared_channels();
    basis::scratch_len(t.L_degrees)
        + orders * values_len(t, total)
        + t.grid.n_pairs * 2 * LANES
        + TILE * TILE_BLOCKS * LANES
        + sums_len(t, LANES * total.div_ceil(2))
}

/// Fields `from..to` of orders m0..m1, all below `L_degrees` and the rings' M.
#[inline(always)]
pub(super) unsafe fn shared_to_coefficients<V: Lanes<Element = f64>>(
    task: &ToCoefficients<'_>,
    m0: usize,
    m1: usize,
    from: usize,
    to: usize,
    scratch: *mut f64,
) {
    let t = task.transform;
    let channels = t.shared_channels();
    let total = (to - from) * channels;
    let shape = Shape::new::<V>(total, t.grid.n_pairs);
    let values_len = values_len(t, total);
    // SAFETY: `scratch` holds the lines of a basis, the values of every order, the state, a tile and the sums.
    unsafe {
        let values = scratch.add(basis::scratch_len(t.L_degrees));
        let state = values.add((m1 - m0) * values_len);
        let tile = state.add(t.grid.n_pairs * 2 * LANES);
        let sums = tile.add(TILE * TILE_BLOCKS * LANES);
        // Block by block, so that each ring's spectrum is read in one run over the task's orders.
        for block in 0..t.grid.n_pairs {
            for m in m0..m1 {
                gather::<V>(task, &shape, m, from, block, values.add((m - m0) * values_len));
            }
        }
        for m in m0..m1 {
            let pairs = t.rows(m);
            let width = if shape.by_rings { 4 * total } else { LANES * total.div_ceil(2) };
            let rows = (pairs + 2).next_multiple_of(TILE);
            for v in (0..rows * width + LANES).step_by(LANES) {
                V::zero().store(sums.add(v));
            }
            project::<V>(t, &shape, m, values.add((m - m0) * values_len), state, tile, sums);
            let basis = Basis::new::<V>(&t.grid, t.factors(), m, t.L_degrees, pairs, t.first_row(m), scratch);
            let place = |s: usize| {
                if shape.by_rings {
                    return (sums.add(4 * s).cast_const(), 4 * total);
                }
                let (group, _, _) = balanced(total.div_ceil(2), shape.groups, s / 2);
                let (begin, end) = shape.vectors(group);
                (sums.add(begin * LANES * rows + (s - 2 * begin) * 4).cast_const(), (end - begin) * LANES)
            };
            let column = |f: usize| task.out[from + f].get().add(2 * coefficient_index(t.L_in, m, m));
            if channels == 1 {
                let rows: [_; MAX_SCALAR_CHUNK] = std::array::from_fn(|f| place(f.min(total - 1)));
                let columns: [_; MAX_SCALAR_CHUNK] = std::array::from_fn(|f| column(f.min(total - 1)));
                basis.rows_to_columns::<V>(&rows[..total], &columns[..total]);
                continue;
            }
            for f in 0..to - from {
                let rows = std::array::from_fn(|c| if c < channels { place(f * channels + c) } else { (std::ptr::null(), 0) });
                basis.rows_to_column::<V>(rows, column(f));
            }
        }
    }
}

/// Even and odd values (times x) of one block of channel `s`, counted over all fields from `from` on.
#[inline(always)]
unsafe fn read<V: Lanes<Element = f64>>(task: &ToCoefficients<'_>, m: usize, from: usize, block: usize, s: usize) -> [V; 4] {
    let t = task.transform;
    let channels = t.shared_channels();
    let (field, channel) = (from + s / channels, s % channels);
    let channel_len = 2 * t.grid.n_pairs * task.M * 2 * LANES;
    let south = task.M * 2 * LANES;
    // SAFETY: ring offsets stay inside the lengths checked by the caller.
    unsafe {
        let at = task.rings[field].as_ptr().add(channel * channel_len + (2 * block * task.M + m) * 2 * LANES);
        let mut v = [V::load(at), V::load(at.add(LANES)), V::load(at.add(south)), V::load(at.add(south + LANES))];
        if channel == 0 {
            if m == 0 {
                v[1] = V::zero();
                v[3] = V::zero();
            }
            if t.is_analysis() {
                let w = t.grid.weights.as_ptr().add(2 * block * LANES);
                let (wn, ws) = (V::load(w), V::load(w.add(LANES)));
                v = [v[0].mul(wn), v[1].mul(wn), v[2].mul(ws), v[3].mul(ws)];
            }
        } else if t.is_raised(m, block) {
            let factor = V::load(t.grid.inverse_sine2.as_ptr().add(block * LANES));
            v = [v[0].mul(factor), v[1].mul(factor), v[2].mul(factor), v[3].mul(factor)];
        } else {
            v = [V::zero(); 4];
        }
        // The same lines of the next block follow at a distance that no processor guesses.
        for line in [at, at.add(LANES), at.add(south), at.add(south + LANES)] {
            V::prefetch_read(line.wrapping_add(2 * south));
        }
        let x = V::load(t.grid.cosine.as_ptr().add(block * LANES));
        [v[0].add(v[2]), v[1].add(v[3]), v[0].sub(v[2]).mul(x), v[1].sub(v[3]).mul(x)]
    }
}

/// Even and odd values of one block for all channels, in the order that `project` reads.
#[inline(always)]
unsafe fn gather<V: Lanes<Element = f64>>(task: &ToCoefficients<'_>, shape: &Shape, m: usize, from: usize, block: usize, values: *mut f64) {
    let t = task.transform;
    // SAFETY: `values` holds every channel of every ring.
    unsafe {
        if shape.by_rings {
            for s in 0..shape.total {
                let to = values.add((block * shape.total + s) * 4 * LANES);
                let v = read::<V>(task, m, from, block, s);
                for part in 0..4 {
                    v[part].store(to.add(part * LANES));
                }
            }
            return;
        }
        for group in 0..shape.groups {
            let (begin, end) = shape.vectors(group);
            let width = (end - begin) * LANES;
            let to = values.add(begin * LANES * LANES * t.grid.n_pairs + block * LANES * width);
            for vector in begin..end {
                let [a, b, c, d] = read::<V>(task, m, from, block, 2 * vector);
                let [e, f, g, h] = if 2 * vector + 1 < shape.total { read::<V>(task, m, from, block, 2 * vector + 1) } else { [V::zero(); 4] };
                let rings = V::transpose8([a, b, c, d, e, f, g, h]);
                for lane in 0..LANES {
                    rings[lane].store(to.add(lane * width + (vector - begin) * LANES));
                }
            }
        }
    }
}

/// `sums` += the projections of one order's values on the shared functions.
#[inline(always)]
unsafe fn project<V: Lanes<Element = f64>>(
    t: &HarmonicTransform,
    shape: &Shape,
    m: usize,
    values: *const f64,
    state: *mut f64,
    tile: *mut f64,
    sums: *mut f64,
) {
    let entry = t.entry(m);
    let n_pairs = t.grid.n_pairs;
    if entry.first >= n_pairs {
        return;
    }
    let pairs = t.rows(m);
    let rows = (pairs + 2).next_multiple_of(TILE);
    // SAFETY: starts and seeds belong to the active blocks; `state` has two lines per block.
    unsafe {
        let start = |block: usize| *entry.starts.add(block - entry.first) as usize;
        let (a, b) = (t.grid.a.as_ptr().add(t.grid.offset[m]), t.grid.b.each_ref().map(|b| b.as_ptr().add(t.grid.offset[m])));
        let vectors = if shape.by_rings { shape.total } else { shape.total.div_ceil(2) };
        let most = (48 / vectors).clamp(4, TILE_BLOCKS);
        let mut end = n_pairs;
        while end > entry.first {
            // The values of one sweep stay in the first-level cache for all tiles.
            let begin = entry.first.max(end.saturating_sub(most));
            let mut active = end;
            let mut from = start(end - 1);
            while from < pairs {
                let fresh = active;
                // The last tile may reach beyond the last row: its functions there are zero.
                let last = TILE.min(pairs - from);
                while active > begin && start(active - 1) < from + TILE {
                    active -= 1;
                }
                let mut q: [*const f64; TILE_BLOCKS] = [tile.cast_const(); TILE_BLOCKS];
                for block in active..end {
                    if let Some(table) = &t.table {
                        q[block - active] = table.rows(m, block).wrapping_add(from * LANES);
                        continue;
                    }
                    let to = tile.add((block - active) * TILE * LANES);
                    q[block - active] = to.cast_const();
                    let own = state.add(2 * block * LANES);
                    let mut first = 0;
                    if block < fresh {
                        // The first functions of a block that starts inside the tile are negligible.
                        first = start(block) - from.min(start(block));
                        let seeds = entry.seeds.add(2 * (block - entry.first) * LANES);
                        V::load(seeds).store(own);
                        V::load(seeds.add(LANES)).store(own.add(LANES));
                        for k in 0..first {
                            V::zero().store(to.add(k * LANES));
                        }
                    }
                    let (mut q0, mut q1) = (V::load(own), V::load(own.add(LANES)));
                    let argument = V::load(t.grid.argument.as_ptr().add(block * LANES));
                    let b = b[t.grid.kind[block] as usize];
                    for k in first..last {
                        q0.store(to.add(k * LANES));
                        let next = V::broadcast(a.add(from + k)).fma(argument, V::broadcast(b.add(from + k))).fms(q1, q0);
                        (q0, q1) = (q1, next);
                    }
                    for k in last..TILE {
                        V::zero().store(to.add(k * LANES));
                    }
                    q0.store(own);
                    q1.store(own.add(LANES));
                }
                let blocks = &q[..end - active];
                if shape.by_rings {
                    let value = values.add(active * shape.total * 4 * LANES);
                    let out = sums.add(from * 4 * shape.total);
                    match shape.total {
                        1 if V::SUMS >= 24 => by_rings::<V, 1, 4>(blocks, value, out, last),
                        3 if V::SUMS >= 24 => by_rings::<V, 3, 2>(blocks, value, out, last),
                        1 => by_rings::<V, 1, 2>(blocks, value, out, last),
                        _ => unreachable!("one or three channels"),
                    }
                } else {
                    for group in 0..shape.groups {
                        let (first, end) = shape.vectors(group);
                        let width = (end - first) * LANES;
                        let value = values.add(first * LANES * LANES * n_pairs + active * LANES * width);
                        let out = sums.add(first * LANES * rows + from * width);
                        match end - first {
                            1 if V::SUMS >= 24 => by_columns::<V, 1, 8>(blocks, value, out, last),
                            2 if V::SUMS >= 24 && last <= 4 => by_columns::<V, 2, 4>(blocks, value, out, last),
                            2 if V::SUMS >= 24 => by_columns::<V, 2, 8>(blocks, value, out, last),
                            3 if V::SUMS >= 24 && last <= 4 => by_columns::<V, 3, 4>(blocks, value, out, last),
                            3 if V::SUMS >= 24 => by_columns::<V, 3, 8>(blocks, value, out, last),
                            1 if V::SUMS >= 6 => by_columns::<V, 1, 4>(blocks, value, out, last),
                            1 => by_columns::<V, 1, 2>(blocks, value, out, last),
                            _ => unreachable!("groups have at most three vectors"),
                        }
                    }
                }
                from += TILE;
            }
            end = begin;
        }
    }
}

/// `rows` rows of CV vectors of columns, K at a time: K CV sums in registers over all rings of the blocks.
#[inline(always)]
unsafe fn by_columns<V: Lanes<Element = f64>, const CV: usize, const K: usize>(q: &[*const f64], values: *const f64, out: *mut f64, rows: usize) {
    // SAFETY: the caller promises TILE functions and eight rings of values per block, and TILE rows of sums.
    unsafe {
        for from in (0..rows).step_by(K) {
            let mut sums = [[V::zero(); CV]; K];
            let mut value = values;
            for q in q {
                let q = q.add(from * LANES);
                for ring in 0..LANES {
                    let mut row = [V::zero(); CV];
                    for c in 0..CV {
                        row[c] = V::load(value.add(c * LANES));
                    }
                    for k in 0..K {
                        let factor = V::broadcast(q.add(k * LANES + ring));
                        for c in 0..CV {
                            sums[k][c] = factor.fma(row[c], sums[k][c]);
                        }
                    }
                    value = value.add(CV * LANES);
                }
            }
            for k in 0..K {
                for c in 0..CV {
                    let at = out.add(((from + k) * CV + c) * LANES);
                    V::load(at).add(sums[k][c]).store(at);
                }
            }
        }
    }
}

/// `rows` rows of G channels, K at a time: 4 G K sums in registers over the blocks, then over lanes.
#[inline(always)]
unsafe fn by_rings<V: Lanes<Element = f64>, const G: usize, const K: usize>(q: &[*const f64], values: *const f64, out: *mut f64, rows: usize) {
    // SAFETY: as `by_columns`; 4 G K is 8, 16 or 24.
    unsafe {
        for from in (0..rows).step_by(K) {
            // Flat and unrolled: sums indexed by a variable would live in memory.
            let mut sums = [V::zero(); 24];
            let mut value = values;
            for q in q {
                let mut functions = [V::zero(); K];
                for k in 0..K {
                    functions[k] = V::load(q.add((from + k) * LANES));
                }
                for i in 0..4 * G {
                    let v = V::load(value.add(i * LANES));
                    for k in 0..K {
                        sums[k * 4 * G + i] = functions[k].fma(v, sums[k * 4 * G + i]);
                    }
                }
                value = value.add(4 * G * LANES);
            }
            let at = out.add(from * 4 * G);
            let s = &sums;
            V::load(at).add(V::sum8([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]])).store(at);
            if G * K > 2 {
                let at = at.add(8);
                V::load(at).add(V::sum8([s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]])).store(at);
            }
            if G * K > 4 {
                let at = at.add(16);
                V::load(at).add(V::sum8([s[16], s[17], s[18], s[19], s[20], s[21], s[22], s[23]])).store(at);
            }
        }
    }
}
