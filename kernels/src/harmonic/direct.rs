//! Direction orders n > 0 through their own recursions: all of them but n = 2, and n = 2 near the poles and at m < 2.
//!
//! With u_l = p_l f_lm / 2 and d^l_{mn}(pi - theta) = (-1)^{l+m} d^l_{m,-n}(theta), d_{-m,n} = (-1)^{l+n} d_{mn}(pi - theta), the
//! even and odd sums
//!
//! ```text
//! De, Do = sum of d^l_{m,n}(theta) u_l,   Ee, Eo = sum of d^l_{m,-n}(theta) u_l      over l - l0 even, odd; l0 = max(m, n)
//! P_north = De + Do          sQ_north = (-1)^n (Ee + Eo)
//! P_south = t (Ee - Eo)      sQ_south = t (-1)^n (De - Do)              t = (-1)^{l0+m}
//! X = P + sQ,  Y = -i (P - sQ);     N odd: B = X, C = Y;     N even: B = Y, C = -X
//! ```
//!
//! give north and south, +m and -m from two recursions over northern rings. At m = 0 both streams agree up to sign and
//! the definition reads F_n(0) = conj(nu) P with the possibly complex f_l0 as it stands: B_0 = Re F_n(0), C_0 = Im F_n(0).
//!
//! Each (m, +-n) is one *stream*: Q_k = d^{l0+k} / alpha_k with alpha chosen so that Q_{k+1} = (b_k - a_k y) Q_k - Q_{k-1}: two
//! fused multiply-adds per degree for eight rings.

use super::analysis::ToCoefficients;
use super::grid::{Climb, Grid, Sectoral, Seeds, find_seeds};
use super::synthesis::ToRings;
use super::{HarmonicTransform, MAX_CHUNK};
use crate::layout::coefficient_index;
use crate::simd::{LANES, Lanes};
use crate::wavelets::Window;

/// Pairs of degrees per step of an analysis.
const TILE_PAIRS: usize = 4;
/// Most blocks of rings per sweep of an analysis.
const GROUP_BLOCKS: usize = 32;

/// One recursion per order m: d^l_{m,n} with a signed n; starts count pairs of degrees.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stream {
    pub seeds: Seeds,
    /// Per pair of degrees (2p, 2p + 1): (-a, b) of the steps to 2p + 2 and 2p + 3.
    steps: Vec<[f64; 4]>,
}

/// Everything for one direction order n > 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub n: usize,
    /// Channels of lower orders.
    channel: usize,
    /// Blocks from the pole that are summed here at m >= n.
    blocks: usize,
    n_pairs: usize,
    /// Per m (and one more): first pair of degrees in `steps`; twice this is the place in `window`. Orders without active blocks
    /// have no pairs.
    offset: Vec<usize>,
    /// filter times alpha / 2, zero-padded to pairs.
    window: Vec<f64>,
    plus: Stream,
    minus: Stream,
}

/// alpha_k (d^{l0+k} = alpha_k Q_k) and a_k with Q_{k+1} = a_k (1 - m n / (l (l+1)) - y) Q_k - Q_{k-1}.
fn recursion(m: usize, n: usize, l0: usize, count: usize, alpha: &mut Vec<f64>, a: &mut Vec<f64>) {
    let (m2, n2) = ((m * m) as f64, (n * n) as f64);
    // d^{l+1} c_{l+1} = (2l + 1) (..) d^l - c_l d^{l-1}: unit last coefficient needs alpha_{k+1} = alpha_{k-1} c_l / c_{l+1}.
    let c = |l: usize| {
        let l = l as f64;
        ((l * l - m2) * (l * l - n2)).sqrt() / l
    };
    alpha.clear();
    a.clear();
    alpha.push(1.0);
    let mut c_current = 0.0;
    for k in 0..count + 1 {
        let l = l0 + k;
        let c_next = c(l + 1);
        let next = if k == 0 { 1.0 } else { alpha[k - 1] * (c_current / c_next) };
        a.push((2 * l + 1) as f64 * alpha[k] / (c_next * next));
        alpha.push(next);
        c_current = c_next;
    }
}

impl Order {
    pub(super) fn new(window: &Window, channel: usize, L_degrees: usize, grid: &Grid, blocks: usize) -> Self {
        let n = window.n;
        let n_pairs = grid.n_pairs;
        let first = window.filter.iter().position(|p| *p != 0.0).unwrap_or(L_degrees);
        let mut order = Self { n, channel, blocks, n_pairs, offset: vec![0], window: Vec::new(), plus: Stream::default(), minus: Stream::default() };
        let angles = [&grid.angles[..], &grid.angles[..blocks * LANES]];
        let sectoral = |n: isize| angles.map(|angles| Sectoral::new(n, angles));
        let mut sectoral = [sectoral(n as isize), sectoral(-(n as isize))];
        let kind = vec![0; n_pairs];
        let (mut alpha, mut a) = (Vec::new(), Vec::new());
        let (mut slopes, mut constants) = (Vec::new(), Vec::new());
        let mut ended = false;
        for m in 0..L_degrees {
            let l0 = m.max(n);
            let count = L_degrees.saturating_sub(l0);
            let blocks = order.blocks(m);
            let mut pairs = if ended { 0 } else { count.div_ceil(2) };
            if pairs > 0 {
                recursion(m, n, l0, count, &mut alpha, &mut a);
            }
            for (sign, sectoral) in [1isize, -1].into_iter().zip(&mut sectoral) {
                let stream = if sign > 0 { &mut order.plus } else { &mut order.minus };
                // Full rings at m < n, the polar ones above; the narrow products run along from the start.
                let narrow = blocks < n_pairs;
                if !ended {
                    if !narrow {
                        sectoral[0].advance(angles[0]);
                    }
                    if order.blocks < n_pairs {
                        sectoral[1].advance(angles[1]);
                    }
                }
                // At m = 0 the two signs of n agree up to sign; only one stream is kept.
                if pairs == 0 || (m == 0 && sign < 0) {
                    stream.seeds.skip(n_pairs);
                    continue;
                }
                slopes.clear();
                constants.clear();
                let step = |k: usize| {
                    let l = (l0 + k) as f64;
                    let shift = if m == 0 { 0.0 } else { sign as f64 * (m as f64 * n as f64) / (l * (l + 1.0)) };
                    [-a[k], a[k] * (1.0 - shift)]
                };
                for k in 0..count {
                    let [slope, constant] = step(k + 1);
                    slopes.push(slope);
                    constants.push(constant);
                }
                let [slope, constant] = step(0);
                let own = &sectoral[usize::from(narrow)];
                let climb = Climb {
                    first: [slope, constant, constant],
                    a: &slopes,
                    b: [&constants, &constants],
                    t: &grid.versine,
                    kind: &kind,
                    mantissa: &own.mantissa,
                    exponent: &own.exponent,
                    count,
                    earliest: first.saturating_sub(l0),
                    stride: 2,
                    blocks,
                };
                find_seeds(&climb, &mut stream.seeds);
                for p in 0..pairs {
                    let step = |k: usize| if k + 2 < count { [slopes[k], constants[k]] } else { [0.0; 2] };
                    let ([a0, b0], [a1, b1]) = (step(2 * p), step(2 * p + 1));
                    stream.steps.push([a0, b0, a1, b1]);
                }
            }
            if pairs > 0 && m > n && order.plus.seeds.is_idle(m, blocks) && order.minus.seeds.is_idle(m, blocks) {
                // Functions fall with m near the poles: none of the following orders has an active block.
                ended = true;
                for stream in [&mut order.plus, &mut order.minus] {
                    stream.steps.truncate(order.offset[m]);
                }
                pairs = 0;
            }
            order.offset.push(order.offset[m] + pairs);
            if pairs == 0 {
                continue;
            }
            if m == 0 {
                // The second stream keeps its places although it is not used.
                order.minus.steps.resize(pairs, [0.0; 4]);
            }
            for k in 0..2 * pairs {
                let p = if k < count { window.filter.get(l0 + k).copied().unwrap_or(0.0) } else { 0.0 };
                order.window.push(p * 0.5 * alpha[k]);
            }
        }
        for stream in [&mut order.plus, &mut order.minus] {
            stream.seeds.shrink();
            stream.steps.shrink_to_fit();
        }
        order.window.shrink_to_fit();
        order
    }

    /// Blocks from the pole that are summed here.
    pub(super) fn blocks(&self, m: usize) -> usize {
        if m < self.n { self.n_pairs } else { self.blocks }
    }

    fn pairs(&self, m: usize) -> usize {
        self.offset[m + 1] - self.offset[m]
    }

    pub(super) fn bytes(&self) -> usize {
        let stream = |s: &Stream| s.seeds.bytes() + s.steps.len() * 32;
        (self.window.len() + self.offset.len()) * 8 + stream(&self.plus) + stream(&self.minus)
    }

    /// (degree, ring) cells of both recursions.
    pub(super) fn cells(&self) -> f64 {
        let mut cells = 0;
        for stream in [&self.plus, &self.minus] {
            for m in 0..stream.seeds.first_block.len() {
                for start in &stream.seeds.starts[stream.seeds.offset[m]..stream.seeds.offset[m + 1]] {
                    cells += (2 * self.pairs(m)).saturating_sub(2 * *start as usize) * LANES;
                }
            }
        }
        cells as f64
    }
}

/// f64s of scratch for `orders` orders.
pub(super) fn scratch_len(t: &HarmonicTransform, orders: usize) -> usize {
    let packed = packed_len(t, MAX_CHUNK);
    let synthesis = orders * t.orders.len() * packed;
    let tile = TILE_PAIRS * GROUP_BLOCKS * 2 * LANES;
    let values = 2 * t.grid.n_pairs * MAX_CHUNK * 4 * LANES;
    let analysis = orders * t.orders.len() * values + t.grid.n_pairs * 2 * LANES + packed + 2 * LANES + tile;
    synthesis.max(analysis)
}

fn packed_len(t: &HarmonicTransform, n_fields: usize) -> usize {
    (t.L_degrees + 4) * 2 * n_fields
}

fn sign(power: usize) -> f64 {
    if power % 2 == 1 { -1.0 } else { 1.0 }
}

// ------------------------------------------------------------------------------------------------ coefficients to rings

/// NF fields from `from` on, orders m0..m1.
#[inline(always)]
pub(super) unsafe fn direct_to_rings<V: Lanes<Element = f64>, const NF: usize>(
    task: &ToRings<'_>,
    m0: usize,
    m1: usize,
    from: usize,
    scratch: *mut f64,
) {
    let t = task.transform;
    let packed_len = packed_len(t, NF);
    // SAFETY: `scratch` holds the packed coefficients of all direction orders and m (`scratch_len`).
    unsafe {
        for (i, order) in t.orders.iter().enumerate() {
            for m in m0..m1.min(t.L_degrees) {
                if order.pairs(m) > 0 {
                    pack::<V, NF>(task, order, m, from, scratch.add((i * (m1 - m0) + m - m0) * packed_len));
                }
            }
        }
        let mut block = t.grid.n_pairs;
        while block > 0 {
            let NB = if block >= 2 { 2 } else { 1 };
            block -= NB;
            for (i, order) in t.orders.iter().enumerate() {
                for m in m0..m1 {
                    let packed = scratch.add((i * (m1 - m0) + m - m0) * packed_len);
                    let end = (block + NB).min(order.blocks(m));
                    // Two blocks side by side hide the latency of the recursion where few fields leave it exposed.
                    if NF <= 2 && end == block + 2 {
                        blocks_to_rings::<V, NF, 2>(task, order, m, from, block, packed);
                    } else {
                        for block in block..end {
                            blocks_to_rings::<V, NF, 1>(task, order, m, from, block, packed);
                        }
                    }
                }
            }
        }
    }
}

/// Filtered coefficients of order m, `[k][f][re, im]`, with a zero where the number of degrees is odd.
#[inline(always)]
unsafe fn pack<V: Lanes<Element = f64>, const NF: usize>(task: &ToRings<'_>, order: &Order, m: usize, from: usize, packed: *mut f64) {
    let t = task.transform;
    let l0 = m.max(order.n);
    let count = t.L_degrees - l0;
    // SAFETY: column m of the fields has L_in - m >= count entries from l0; `packed` holds count + 1 degrees.
    unsafe {
        let window = order.window.as_ptr().add(2 * order.offset[m]);
        let mut source = [std::ptr::null(); NF];
        for f in 0..NF {
            source[f] = task.fields[from + f].as_ptr().add(2 * coefficient_index(t.L_in, l0, m));
        }
        for k in 0..count {
            let w = *window.add(k);
            for f in 0..NF {
                V::scale_two(w, source[f].add(2 * k), packed.add((k * NF + f) * 2));
            }
        }
        for i in 0..2 * NF {
            *packed.add(count * 2 * NF + i) = 0.0;
        }
    }
}

/// Both channels of one direction order and order m, NB blocks from `block` on.
#[inline(always)]
unsafe fn blocks_to_rings<V: Lanes<Element = f64>, const NF: usize, const NB: usize>(
    task: &ToRings<'_>,
    order: &Order,
    m: usize,
    from: usize,
    block: usize,
    packed: *const f64,
) {
    let t = task.transform;
    let n = order.n;
    let channel_len = 2 * t.grid.n_pairs * task.M * 2 * LANES;
    let south = task.M * 2 * LANES;
    let odd = t.N % 2 == 1;
    let l0 = m.max(n);
    let negative = |v: V| V::zero().sub(v);
    // SAFETY: ring offsets stay inside the lengths checked by the caller; `packed` was packed by the caller.
    unsafe {
        let empty = m >= t.L_degrees || order.pairs(m) == 0;
        let zero = [[[V::zero(); 4]; NF]; NB];
        let y = t.grid.versine.as_ptr().add(block * LANES);
        let d = if empty { zero } else { sums::<V, NF, NB>(&order.plus, order, m, block, y, packed) };
        let e = if empty || m == 0 { zero } else { sums::<V, NF, NB>(&order.minus, order, m, block, y, packed) };
        let s1 = V::splat(sign(n));
        let s2 = V::splat(sign(l0 + m));
        let s3 = s1.mul(s2);
        for b in 0..NB {
            for f in 0..NF {
                let at = (2 * (block + b) * task.M + m) * 2 * LANES;
                let first = task.out[from + f].get().add(order.channel * channel_len + at);
                let second = first.add(channel_len);
                let (d, e) = (d[b][f], e[b][f]);
                if m == 0 {
                    // F_n(0) = conj(nu) P; the window holds half the filter.
                    let two = V::splat(2.0);
                    let north = [d[0].add(d[2]).mul(two), d[1].add(d[3]).mul(two)];
                    let mirror = [d[0].sub(d[2]).mul(two), d[1].sub(d[3]).mul(two)];
                    let zero = V::zero();
                    if odd {
                        store_pair(first, north[0], zero);
                        store_pair(second, north[1], zero);
                        store_pair(first.add(south), mirror[0], zero);
                        store_pair(second.add(south), mirror[1], zero);
                    } else {
                        store_pair(first, north[1], zero);
                        store_pair(second, negative(north[0]), zero);
                        store_pair(first.add(south), mirror[1], zero);
                        store_pair(second.add(south), negative(mirror[0]), zero);
                    }
                    continue;
                }
                // P and sQ, northern and southern.
                let p = [[d[0].add(d[2]), d[1].add(d[3])], [e[0].sub(e[2]).mul(s2), e[1].sub(e[3]).mul(s2)]];
                let q = [[e[0].add(e[2]).mul(s1), e[1].add(e[3]).mul(s1)], [d[0].sub(d[2]).mul(s3), d[1].sub(d[3]).mul(s3)]];
                for side in 0..2 {
                    let (p, q) = (p[side], q[side]);
                    let x = [p[0].add(q[0]), p[1].add(q[1])];
                    // Y = -i (P - sQ).
                    let y = [p[1].sub(q[1]), q[0].sub(p[0])];
                    let at = side * south;
                    if odd {
                        store_pair(first.add(at), x[0], x[1]);
                        store_pair(second.add(at), y[0], y[1]);
                    } else {
                        store_pair(first.add(at), y[0], y[1]);
                        store_pair(second.add(at), negative(x[0]), negative(x[1]));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn store_pair<V: Lanes<Element = f64>>(to: *mut f64, re: V, im: V) {
    // SAFETY: the caller promises sixteen writable f64.
    unsafe {
        re.store(to);
        im.store(to.add(LANES));
    }
}

/// (even re, even im, odd re, odd im) of one stream over NB blocks from `block` on.
#[inline(always)]
unsafe fn sums<V: Lanes<Element = f64>, const NF: usize, const NB: usize>(
    stream: &Stream,
    order: &Order,
    m: usize,
    block: usize,
    versine: *const f64,
    packed: *const f64,
) -> [[[V; 4]; NF]; NB] {
    let mut s = [[[V::zero(); 4]; NF]; NB];
    let entry = stream.seeds.entry(m);
    let first = entry.first;
    // Blocks before the first active one have nothing; its successors are all active.
    let skip = first.saturating_sub(block);
    if skip >= NB {
        return s;
    }
    // SAFETY: starts are below `pairs`, seeds belong to the active blocks, `packed` holds `pairs` pairs of degrees.
    unsafe {
        let pairs = order.pairs(m);
        let steps: *const f64 = stream.steps.as_ptr().add(order.offset[m]).cast();
        let active = block + skip - first;
        let starts = entry.starts.add(active);
        let seeds = entry.seeds.add(2 * active * LANES);
        let seed = |i: usize| [V::load(seeds.add(2 * i * LANES)), V::load(seeds.add((2 * i + 1) * LANES))];
        let last = NB - 1;
        let mut q = [seed(last - skip)];
        let mut one = [[[V::zero(); 4]; NF]];
        let start = *starts.add(last - skip) as usize;
        let join = if skip == 0 && NB == 2 { *starts as usize } else { pairs };
        accumulate::<V, NF, 1>(steps, packed, start, join, [V::load(versine.add(last * LANES))], &mut q, &mut one);
        s[last] = one[0];
        if skip == 0 && NB == 2 {
            let mut both = [seed(0); NB];
            both[last] = q[0];
            let mut y = [V::load(versine); NB];
            y[last] = V::load(versine.add(last * LANES));
            accumulate::<V, NF, NB>(steps, packed, join, pairs, y, &mut both, &mut s);
        }
    }
    s
}

/// The inner loop: pairs of degrees `from..to` of NB blocks and NF fields, all sums in registers.
#[inline(always)]
unsafe fn accumulate<V: Lanes<Element = f64>, const NF: usize, const NB: usize>(
    steps: *const f64,
    packed: *const f64,
    from: usize,
    to: usize,
    y: [V; NB],
    q: &mut [[V; 2]; NB],
    s: &mut [[[V; 4]; NF]; NB],
) {
    // SAFETY: the caller promises `to` pairs of steps and of packed coefficients.
    unsafe {
        let mut qs = *q;
        let mut sums = *s;
        let mut step = steps.add(4 * from);
        let mut coefficient = packed.add(4 * NF * from);
        for _ in from..to {
            for f in 0..NF {
                let (re, im) = (V::broadcast(coefficient.add(2 * f)), V::broadcast(coefficient.add(2 * f + 1)));
                for b in 0..NB {
                    sums[b][f][0] = qs[b][0].fma(re, sums[b][f][0]);
                    sums[b][f][1] = qs[b][0].fma(im, sums[b][f][1]);
                }
            }
            for f in 0..NF {
                let odd = coefficient.add(2 * (NF + f));
                let (re, im) = (V::broadcast(odd), V::broadcast(odd.add(1)));
                for b in 0..NB {
                    sums[b][f][2] = qs[b][1].fma(re, sums[b][f][2]);
                    sums[b][f][3] = qs[b][1].fma(im, sums[b][f][3]);
                }
            }
            let (a0, b0) = (V::broadcast(step), V::broadcast(step.add(1)));
            let (a1, b1) = (V::broadcast(step.add(2)), V::broadcast(step.add(3)));
            for b in 0..NB {
                qs[b][0] = a0.fma(y[b], b0).fms(qs[b][1], qs[b][0]);
                qs[b][1] = a1.fma(y[b], b1).fms(qs[b][0], qs[b][1]);
            }
            step = step.add(4);
            coefficient = coefficient.add(4 * NF);
        }
        *q = qs;
        *s = sums;
    }
}

// ------------------------------------------------------------------------------------------------ rings to coefficients

/// NF fields from `from` on, orders m0..m1, added to the coefficients.
#[inline(always)]
pub(super) unsafe fn direct_to_coefficients<V: Lanes<Element = f64>, const NF: usize>(
    task: &ToCoefficients<'_>,
    m0: usize,
    m1: usize,
    from: usize,
    scratch: *mut f64,
) {
    let t = task.transform;
    let n_pairs = t.grid.n_pairs;
    let values_len = n_pairs * NF * 4 * LANES;
    let n_streams = 2 * t.orders.len();
    // SAFETY: `scratch` holds the values of all streams and m, the recursion state and the unscaled coefficients
    // (`scratch_len`); coefficient offsets stay inside the lengths checked by the caller.
    unsafe {
        // Block by block, so that each ring's spectrum is read in one run over the task's orders.
        for block in 0..n_pairs {
            for (i, order) in t.orders.iter().enumerate() {
                for m in m0..m1 {
                    if order.pairs(m) > 0 && block < order.blocks(m) {
                        let plus = scratch.add(((m - m0) * n_streams + 2 * i) * values_len + block * NF * 4 * LANES);
                        gather::<V, NF>(task, order, m, from, block, plus, plus.add(values_len));
                    }
                }
            }
        }
        let state = scratch.add((m1 - m0) * n_streams * values_len);
        let packed = state.add(n_pairs * 2 * LANES);
        for m in m0..m1 {
            for (i, order) in t.orders.iter().enumerate() {
                let pairs = order.pairs(m);
                if pairs == 0 {
                    continue;
                }
                let l0 = m.max(order.n);
                let plus = scratch.add(((m - m0) * n_streams + 2 * i) * values_len);
                for i in 0..pairs * 4 * NF + LANES {
                    *packed.add(i) = 0.0;
                }
                let y = t.grid.versine.as_ptr();
                let (offset, blocks) = (order.offset[m], order.blocks(m));
                analysis_stream::<V, NF>(&order.plus, m, offset, pairs, blocks, y, plus, state, packed);
                if m > 0 {
                    let minus = plus.add(values_len);
                    analysis_stream::<V, NF>(&order.minus, m, offset, pairs, blocks, y, minus, state, packed);
                }
                let window = order.window.as_ptr().add(2 * offset);
                let mut column = [std::ptr::null_mut(); NF];
                for f in 0..NF {
                    column[f] = task.out[from + f].get().add(2 * coefficient_index(t.L_in, l0, m));
                }
                for k in 0..t.L_degrees - l0 {
                    let w = *window.add(k);
                    for f in 0..NF {
                        V::add_scaled_two(w, packed.add((k * NF + f) * 2), column[f].add(2 * k));
                    }
                }
            }
        }
    }
}

/// The adjoint of the combinations of `blocks_to_rings`: (even re, even im, odd re, odd im) values of one block for the streams of
/// one direction order, `plus` and `minus` (untouched at m = 0).
#[inline(always)]
unsafe fn gather<V: Lanes<Element = f64>, const NF: usize>(
    task: &ToCoefficients<'_>,
    order: &Order,
    m: usize,
    from: usize,
    block: usize,
    plus: *mut f64,
    minus: *mut f64,
) {
    let t = task.transform;
    let n = order.n;
    let channel_len = 2 * t.grid.n_pairs * task.M * 2 * LANES;
    let south = task.M * 2 * LANES;
    let odd = t.N % 2 == 1;
    let l0 = m.max(n);
    let s1 = V::splat(sign(n));
    let s2 = V::splat(sign(l0 + m));
    let s3 = s1.mul(s2);
    // SAFETY: ring offsets stay inside the lengths checked by the caller; `plus` and `minus` hold NF times four vectors.
    unsafe {
        for f in 0..NF {
            let b = task.rings[from + f].as_ptr().add(order.channel * channel_len + (2 * block * task.M + m) * 2 * LANES);
            let p = plus.add(f * 4 * LANES);
            let c = b.add(channel_len);
            let negative = |v: V| V::zero().sub(v);
            if m == 0 {
                let two = V::splat(2.0);
                let (b_north, b_south) = (V::load(b).mul(two), V::load(b.add(south)).mul(two));
                let (c_north, c_south) = (V::load(c).mul(two), V::load(c.add(south)).mul(two));
                let mut north = [b_north, c_north];
                let mut mirror = [b_south, c_south];
                if !odd {
                    north = [negative(c_north), b_north];
                    mirror = [negative(c_south), b_south];
                }
                store_pair(p, north[0].add(mirror[0]), north[1].add(mirror[1]));
                store_pair(p.add(2 * LANES), north[0].sub(mirror[0]), north[1].sub(mirror[1]));
                continue;
            }
            let e = minus.add(f * 4 * LANES);
            // Cotangents of P and sQ, northern and southern.
            let mut gp = [[V::zero(); 2]; 2];
            let mut gq = [[V::zero(); 2]; 2];
            for side in 0..2 {
                let at = side * south;
                let first = [V::load(b.add(at)), V::load(b.add(at + LANES))];
                let second = [V::load(c.add(at)), V::load(c.add(at + LANES))];
                let (mut x, mut y) = (first, second);
                if !odd {
                    x = [negative(second[0]), negative(second[1])];
                    y = first;
                }
                // Y = -i Z: the cotangent of Z is (-y_im, y_re).
                gp[side] = [x[0].sub(y[1]), x[1].add(y[0])];
                gq[side] = [x[0].add(y[1]), x[1].sub(y[0])];
            }
            for part in 0..2 {
                let d_south = gq[1][part].mul(s3);
                gp[0][part].add(d_south).store(p.add(part * LANES));
                gp[0][part].sub(d_south).store(p.add((2 + part) * LANES));
                let e_north = gq[0][part].mul(s1);
                let e_south = gp[1][part].mul(s2);
                e_north.add(e_south).store(e.add(part * LANES));
                e_north.sub(e_south).store(e.add((2 + part) * LANES));
            }
        }
    }
}

/// `packed[k][f]` += sum over rings of Q_k times the (even or odd) values of one stream.
#[inline(always)]
unsafe fn analysis_stream<V: Lanes<Element = f64>, const NF: usize>(
    stream: &Stream,
    m: usize,
    offset: usize,
    pairs: usize,
    blocks: usize,
    versine: *const f64,
    values: *const f64,
    state: *mut f64,
    packed: *mut f64,
) {
    // SAFETY: starts are below `pairs`, seeds belong to the active blocks, `packed` holds `pairs` pairs of degrees and a line.
    unsafe {
        let entry = stream.seeds.entry(m);
        let (first, starts, seeds) = (entry.first, entry.starts, entry.seeds);
        let steps: *const f64 = stream.steps.as_ptr().add(offset).cast();
        let tile = packed.add(((pairs + 1) * 4 * NF + LANES).next_multiple_of(LANES));
        // A group's values (256 NF bytes per block) should stay in half of the first-level cache.
        let group = (96 / NF).min(GROUP_BLOCKS);
        let mut end = blocks;
        while end > first {
            let begin = first.max(end.saturating_sub(group));
            let mut active = end;
            let mut pair = *starts.add(end - 1 - first) as usize;
            while pair < pairs {
                while active > begin && *starts.add(active - 1 - first) as usize <= pair {
                    active -= 1;
                    let i = active - first;
                    V::load(seeds.add(2 * i * LANES)).store(state.add(2 * active * LANES));
                    V::load(seeds.add((2 * i + 1) * LANES)).store(state.add((2 * active + 1) * LANES));
                }
                let next = if active > begin { *starts.add(active - 1 - first) as usize } else { pairs };
                project::<V, NF>(steps, pair, next, active, end, versine, values, state, packed, tile);
                pair = next;
            }
            end = begin;
        }
    }
}

/// Pairs of degrees `from..to` over blocks `begin..end`, TILE_PAIRS at a time: first Q for all blocks, then the sums over blocks.
/// Two phases keep the stores of the recursion away from the loads of the sums.
#[inline(always)]
unsafe fn project<V: Lanes<Element = f64>, const NF: usize>(
    steps: *const f64,
    from: usize,
    to: usize,
    begin: usize,
    end: usize,
    versine: *const f64,
    values: *const f64,
    state: *mut f64,
    packed: *mut f64,
    tile: *mut f64,
) {
    let n_blocks = end - begin;
    // SAFETY: the caller promises `to` pairs of steps and of packed sums, values and state of the blocks, and a tile of
    // TILE_PAIRS x GROUP_BLOCKS pairs of vectors.
    unsafe {
        let mut pair = from;
        while pair < to {
            let count = TILE_PAIRS.min(to - pair);
            for block in begin..end {
                let q = state.add(2 * block * LANES);
                let (mut q0, mut q1) = (V::load(q), V::load(q.add(LANES)));
                let y = V::load(versine.add(block * LANES));
                let mut place = tile.add((block - begin) * 2 * LANES);
                let mut step = steps.add(4 * pair);
                for _ in 0..count {
                    store_pair(place, q0, q1);
                    q0 = V::broadcast(step).fma(y, V::broadcast(step.add(1))).fms(q1, q0);
                    q1 = V::broadcast(step.add(2)).fma(y, V::broadcast(step.add(3))).fms(q0, q1);
                    place = place.add(n_blocks * 2 * LANES);
                    step = step.add(4);
                }
                store_pair(q, q0, q1);
            }
            let value = values.add(begin * NF * 4 * LANES);
            let mut i = 0;
            // Few fields leave registers for several pairs, which then share the loads of the values.
            if NF == 1 {
                while i + 4 <= count {
                    project_tile::<V, NF, 4>(tile, i, n_blocks, value, packed.add((pair + i) * 4 * NF));
                    i += 4;
                }
            }
            if NF <= 2 {
                while i + 2 <= count {
                    project_tile::<V, NF, 2>(tile, i, n_blocks, value, packed.add((pair + i) * 4 * NF));
                    i += 2;
                }
            }
            while i < count {
                project_tile::<V, NF, 1>(tile, i, n_blocks, value, packed.add((pair + i) * 4 * NF));
                i += 1;
            }
            pair += count;
        }
    }
}

/// KP pairs of degrees from the i-th of the tile: 4 NF KP sums over blocks in registers, then over lanes.
#[inline(always)]
unsafe fn project_tile<V: Lanes<Element = f64>, const NF: usize, const KP: usize>(
    tile: *const f64,
    i: usize,
    n_blocks: usize,
    values: *const f64,
    out: *mut f64,
) {
    // SAFETY: the caller promises the tile, the values of n_blocks blocks and KP pairs (and a line) of sums.
    unsafe {
        let mut even = [[[V::zero(); 2]; NF]; KP];
        let mut odd = [[[V::zero(); 2]; NF]; KP];
        let mut q = tile.add(i * n_blocks * 2 * LANES);
        let mut value = values;
        for _ in 0..n_blocks {
            let mut qs = [[V::zero(); 2]; KP];
            for k in 0..KP {
                let at = q.add(k * n_blocks * 2 * LANES);
                qs[k] = [V::load(at), V::load(at.add(LANES))];
            }
            for f in 0..NF {
                let v = value.add(f * 4 * LANES);
                for part in 0..2 {
                    let (e, o) = (V::load(v.add(part * LANES)), V::load(v.add((2 + part) * LANES)));
                    for k in 0..KP {
                        even[k][f][part] = qs[k][0].fma(e, even[k][f][part]);
                        odd[k][f][part] = qs[k][1].fma(o, odd[k][f][part]);
                    }
                }
            }
            q = q.add(2 * LANES);
            value = value.add(NF * 4 * LANES);
        }
        let mut all = [V::zero(); 4 * MAX_CHUNK + 4];
        for k in 0..KP {
            for f in 0..NF {
                for part in 0..2 {
                    all[k * 4 * NF + 2 * f + part] = even[k][f][part];
                    all[k * 4 * NF + 2 * (NF + f) + part] = odd[k][f][part];
                }
            }
        }
        // The last group may reach into the next pair; it adds zeros there.
        for g in 0..(KP * NF).div_ceil(2) {
            let eight = [all[8 * g], all[8 * g + 1], all[8 * g + 2], all[8 * g + 3], all[8 * g + 4], all[8 * g + 5], all[8 * g + 6], all[8 * g + 7]];
            let at = out.add(8 * g);
            V::sum8(eight).add(V::load(at)).store(at);
        }
    }
}
