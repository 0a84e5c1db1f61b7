//! Coefficients to rings through the shared functions: all channels of n = 0 and n = 2 at once.

use super::basis::{self, Basis};
use super::{HarmonicTransform, balanced};
use crate::layout::coefficient_index;
use crate::parallel::Shared;
use crate::simd::{LANES, Lanes};

/// What one call of `synthesis` or `analysis_adjoint` does.
pub(super) struct ToRings<'a> {
    pub transform: &'a HarmonicTransform,
    pub fields: &'a [&'a [f64]],
    pub out: &'a [Shared],
    pub M: usize,
}

/// Blocks per sweep over the orders of a task; even.
const SWEEP: usize = 4;

/// Channels whose sums over two blocks (one, where registers are few) fit the registers.
pub(super) const fn group_len<V: Lanes<Element = f64>>() -> usize {
    if V::SUMS >= 24 { 3 } else { 1 }
}

/// f64s of scratch for `n_fields` fields of `orders` orders.
pub(super) fn scratch_len(t: &HarmonicTransform, n_fields: usize, orders: usize) -> usize {
    basis::scratch_len(t.L_degrees) + orders * packed_len(t, n_fields)
}

fn packed_len(t: &HarmonicTransform, n_fields: usize) -> usize {
    (t.rows(0) + 2) * 4 * t.shared_channels() * n_fields
}

/// Fields `from..to` of orders m0..m1.
#[inline(always)]
pub(super) unsafe fn shared_to_rings<V: Lanes<Element = f64>>(task: &ToRings<'_>, m0: usize, m1: usize, from: usize, to: usize, scratch: *mut f64) {
    let t = task.transform;
    let channels = t.shared_channels();
    let total = (to - from) * channels;
    let groups = total.div_ceil(group_len::<V>());
    let packed_len = packed_len(t, to - from);
    // SAFETY: `scratch` holds the lines of a basis and the rows of every order (`scratch_len`).
    unsafe {
        let packed = scratch.add(basis::scratch_len(t.L_degrees));
        for m in m0..m1.min(t.L_degrees) {
            let pairs = t.rows(m);
            let basis = Basis::new::<V>(&t.grid, t.factors(), m, t.L_degrees, pairs, t.first_row(m), scratch);
            // Where the rows of channel s begin, and how far apart they are.
            let place = |s: usize| {
                let (group, begin, end) = balanced(total, groups, s);
                let stride = 4 * (end - begin);
                debug_assert!(group < groups, "every channel has a group");
                (packed.add((m - m0) * packed_len + begin * 4 * (pairs + 2) + 4 * (s - begin)), stride)
            };
            for f in 0..to - from {
                let column = task.fields[from + f].as_ptr().add(2 * coefficient_index(t.L_in, m, m));
                let rows = std::array::from_fn(|c| if c < channels { place(f * channels + c) } else { (std::ptr::null_mut(), 0) });
                basis.column_to_rows::<V>(column, rows);
            }
        }
        let mut end = t.grid.n_pairs;
        while end > 0 {
            // The rows of one group stay in the first-level cache while they are used for several blocks.
            let stop = end.saturating_sub(SWEEP);
            for m in m0..m1 {
                for group in 0..groups {
                    let (begin, last) = (group * total / groups, (group + 1) * total / groups);
                    let rows = packed.add((m - m0) * packed_len + begin * 4 * (t.rows(m) + 2));
                    let mut block = end;
                    while block > stop {
                        let NB = if block >= 2 { 2 } else { 1 };
                        block -= NB;
                        let job = Job { task, m, from, begin, block, rows };
                        match last - begin {
                            1 if V::SUMS < 24 => job.singly::<V, 1>(NB),
                            1 => job.jointly::<V, 1>(NB),
                            2 if V::SUMS >= 24 => job.jointly::<V, 2>(NB),
                            3 if V::SUMS >= 24 => job.jointly::<V, 3>(NB),
                            _ => unreachable!("groups have at most `group_len` channels"),
                        }
                    }
                }
            }
            end = stop;
        }
    }
}

/// G channels of one order and a block or two.
struct Job<'a> {
    task: &'a ToRings<'a>,
    m: usize,
    from: usize,
    /// First channel, counted over all fields from `from` on.
    begin: usize,
    block: usize,
    rows: *const f64,
}

impl Job<'_> {
    /// Two blocks side by side hide the latency of the recursion and share the loads of the rows.
    #[inline(always)]
    unsafe fn jointly<V: Lanes<Element = f64>, const G: usize>(&self, NB: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if NB == 2 {
                let sums = self.sums::<V, G, 2>(self.block);
                self.write::<V, G>(self.block + 1, sums[1]);
                self.write::<V, G>(self.block, sums[0]);
            } else {
                self.write::<V, G>(self.block, self.sums::<V, G, 1>(self.block)[0]);
            }
        }
    }

    #[inline(always)]
    unsafe fn singly<V: Lanes<Element = f64>, const G: usize>(&self, NB: usize) {
        for block in (self.block..self.block + NB).rev() {
            // SAFETY: the caller's promise.
            unsafe { self.write::<V, G>(block, self.sums::<V, G, 1>(block)[0]) };
        }
    }

    /// (even re, even im, odd re, odd im) of G channels over NB blocks from `block` on.
    #[inline(always)]
    unsafe fn sums<V: Lanes<Element = f64>, const G: usize, const NB: usize>(&self, block: usize) -> [[[V; 4]; G]; NB] {
        let t = self.task.transform;
        let mut s = [[[V::zero(); 4]; G]; NB];
        if self.m >= t.L_degrees {
            return s;
        }
        let entry = t.entry(self.m);
        let pairs = t.rows(self.m);
        // Blocks before the first active one have nothing; its successors are all active.
        let skip = entry.first.saturating_sub(block);
        if skip >= NB {
            return s;
        }
        // SAFETY: starts are at most `pairs`, seeds belong to the active blocks, `rows` holds `pairs` rows.
        unsafe {
            let active = block + skip - entry.first;
            let start = |i: usize| (*entry.starts.add(active + i) as usize).min(pairs);
            let last = NB - 1;
            let join = if skip == 0 && NB == 2 { start(0) } else { pairs };
            let source = |b: usize| {
                let i = b - skip;
                let values = entry.seeds.add(2 * (active + i) * LANES);
                let argument = V::load(t.grid.argument.as_ptr().add((block + b) * LANES));
                [V::load(values), V::load(values.add(LANES)), argument]
            };
            if let Some(table) = &t.table {
                let rows = |b: usize| table.rows(self.m, block + b);
                let mut one = [[[V::zero(); 4]; G]];
                stored::<V, G, 1>([rows(last)], self.rows, start(last - skip), join, &mut one);
                s[last] = one[0];
                if skip == 0 && NB == 2 {
                    stored::<V, G, NB>(std::array::from_fn(rows), self.rows, join, pairs, &mut s);
                }
                return s;
            }
            let (a, b) =
                (t.grid.a.as_ptr().add(t.grid.offset[self.m]), t.grid.b[t.grid.kind[block + last] as usize].as_ptr().add(t.grid.offset[self.m]));
            let [q0, q1, argument] = source(last);
            let mut q = [[q0, q1]];
            let mut one = [[[V::zero(); 4]; G]];
            recurred::<V, G, 1>(a, b, self.rows, start(last - skip), join, [argument], &mut q, &mut one);
            s[last] = one[0];
            if skip == 0 && NB == 2 {
                let [q0, q1, first_argument] = source(0);
                let mut both = [[q0, q1]; NB];
                both[last] = q[0];
                let mut arguments = [first_argument; NB];
                arguments[last] = argument;
                recurred::<V, G, NB>(a, b, self.rows, join, pairs, arguments, &mut both, &mut s);
            }
        }
        s
    }

    /// North E + x O and south E - x O of every channel to its rings; n = 2 leaves the polar blocks to its own recursion.
    #[inline(always)]
    unsafe fn write<V: Lanes<Element = f64>, const G: usize>(&self, block: usize, sums: [[V; 4]; G]) {
        let (task, t) = (self.task, self.task.transform);
        let channels = t.shared_channels();
        let channel_len = 2 * t.grid.n_pairs * task.M * 2 * LANES;
        let south = task.M * 2 * LANES;
        // SAFETY: ring offsets stay inside the lengths checked by the caller.
        unsafe {
            let x = V::load(t.grid.cosine.as_ptr().add(block * LANES));
            let (mut field, mut channel) = (self.from + self.begin / channels, self.begin % channels);
            for g in 0..G {
                let [e0, e1, o0, o1] = sums[g];
                let mut v = [x.fma(o0, e0), x.fma(o1, e1), x.fnma(o0, e0), x.fnma(o1, e1)];
                let to = task.out[field].get().add(channel * channel_len + (2 * block * task.M + self.m) * 2 * LANES);
                let mut store = true;
                if channel == 0 {
                    if self.m == 0 {
                        v[1] = V::zero();
                        v[3] = V::zero();
                    }
                    if t.is_analysis() {
                        let w = t.grid.weights.as_ptr().add(2 * block * LANES);
                        let (wn, ws) = (V::load(w), V::load(w.add(LANES)));
                        v = [v[0].mul(wn), v[1].mul(wn), v[2].mul(ws), v[3].mul(ws)];
                    }
                } else {
                    let factor = V::load(t.grid.inverse_sine2.as_ptr().add(block * LANES));
                    v = [v[0].mul(factor), v[1].mul(factor), v[2].mul(factor), v[3].mul(factor)];
                    store = t.is_raised(self.m, block);
                }
                if store {
                    v[0].store(to);
                    v[1].store(to.add(LANES));
                    v[2].store(to.add(south));
                    v[3].store(to.add(south + LANES));
                }
                channel += 1;
                if channel == channels {
                    (field, channel) = (field + 1, 0);
                }
            }
        }
    }
}

/// The inner loop: rows `from..to` for NB blocks and G channels, all sums in registers.
#[inline(always)]
unsafe fn recurred<V: Lanes<Element = f64>, const G: usize, const NB: usize>(
    a: *const f64,
    b: *const f64,
    rows: *const f64,
    from: usize,
    to: usize,
    t: [V; NB],
    q: &mut [[V; 2]; NB],
    s: &mut [[[V; 4]; G]; NB],
) {
    // SAFETY: the caller promises `to` steps and rows.
    unsafe {
        let mut qs = *q;
        let mut sums = *s;
        let mut row = rows.add(4 * G * from);
        for k in from..to {
            add::<V, G, NB>(row, std::array::from_fn(|i| qs[i][0]), &mut sums);
            let (a, b) = (V::broadcast(a.add(k)), V::broadcast(b.add(k)));
            for i in 0..NB {
                let next = a.fma(t[i], b).fms(qs[i][1], qs[i][0]);
                qs[i] = [qs[i][1], next];
            }
            row = row.add(4 * G);
        }
        *q = qs;
        *s = sums;
    }
}

/// The inner loop with stored functions, `[k][8]` per block.
#[inline(always)]
unsafe fn stored<V: Lanes<Element = f64>, const G: usize, const NB: usize>(
    q: [*const f64; NB],
    rows: *const f64,
    from: usize,
    to: usize,
    s: &mut [[[V; 4]; G]; NB],
) {
    // SAFETY: the caller promises `to` rows and functions.
    unsafe {
        let mut sums = *s;
        for k in from..to {
            add::<V, G, NB>(rows.add(4 * G * k), std::array::from_fn(|i| V::load(q[i].add(k * LANES))), &mut sums);
        }
        *s = sums;
    }
}

#[inline(always)]
unsafe fn add<V: Lanes<Element = f64>, const G: usize, const NB: usize>(row: *const f64, q: [V; NB], sums: &mut [[[V; 4]; G]; NB]) {
    for g in 0..G {
        for part in 0..4 {
            // SAFETY: a row holds 4 G f64.
            let c = unsafe { V::broadcast(row.add(4 * g + part)) };
            for i in 0..NB {
                sums[i][g][part] = q[i].fma(c, sums[i][g][part]);
            }
        }
    }
}
