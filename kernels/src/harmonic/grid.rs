//! What depends on the grid and the order m alone: the recursion that all scalar-like channels share, its seeds, ring factors.
//!
//! For lambda_l = sqrt(2l + 1) d^l_{m0}, x = cos theta and x lambda_l = eps_{l+1} lambda_{l+1} + eps_l lambda_{l-1}, the functions
//! Q_k = lambda_{m+2k+1} / (alpha_k x) depend on x^2 only and serve both parities of l - m:
//!
//! ```text
//! lambda_{m+2k+1} = alpha_k x Q_k,   lambda_{m+2k} = eps_{m+2k+1} alpha_k Q_k + eps_{m+2k} alpha_{k-1} Q_{k-1}
//! Q_{k+1} = (a_k t + b_k) Q_k - Q_{k-1}
//! ```
//!
//! with t = -sin^2 where sin^2 < 1/2 and t = cos^2 elsewhere, so that the argument keeps its relative accuracy, and alpha chosen
//! for the last coefficient to be 1. Source: Ishioka (2018), J. Meteorol. Soc. Japan 96, 241; the choice of argument is measured.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::KernelError;
use crate::layout::RingLayout;
use crate::simd::{Aligned, LANES, Lanes, dispatch};
use crate::wigner::{HalfAngle, STEP, Scaled, start_below, start_ratio, two_to};

/// Functions below this power of two in all eight rings of a block are not summed; d is at most 1.
const NEGLIGIBLE: i32 = -84;

/// Where the functions of each order begin to matter, and their values there.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seeds {
    /// Per m: first block whose values are not negligible everywhere (the number of blocks if none).
    pub first_block: Vec<u32>,
    /// Per m (and one more): where its entries of `starts` begin.
    pub offset: Vec<usize>,
    /// Per active block: first index, not increasing from pole to equator.
    pub starts: Vec<u32>,
    /// Per active block: the function there and at the next index, `[2][8]`.
    pub values: Aligned,
}

/// The entries of one order: start and seeds of block b are at b - first.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub first: usize,
    pub starts: *const u32,
    pub seeds: *const f64,
}

impl Seeds {
    pub(super) fn entry(&self, m: usize) -> Entry {
        let at = self.offset[m];
        debug_assert!(at <= self.starts.len(), "offsets count entries");
        // SAFETY: offsets are at most the number of entries, and each entry has two lines of values.
        unsafe {
            Entry { first: self.first_block[m] as usize, starts: self.starts.as_ptr().add(at), seeds: self.values.as_ptr().add(2 * at * LANES) }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.lines().len() * 64 + self.starts.len() * 4 + self.first_block.len() * 4 + self.offset.len() * 8
    }

    pub(super) fn shrink(&mut self) {
        self.starts.shrink_to_fit();
        self.values.shrink();
    }

    /// An order without entries.
    pub(super) fn skip(&mut self, n_blocks: usize) {
        if self.offset.is_empty() {
            self.offset.push(0);
        }
        self.close(n_blocks);
    }

    /// Whether order m has no active block among `blocks`.
    pub(super) fn is_idle(&self, m: usize, blocks: usize) -> bool {
        self.first_block[m] as usize >= blocks
    }

    /// Ends an order.
    fn close(&mut self, first_block: usize) {
        self.first_block.push(first_block as u32);
        self.offset.push(self.starts.len());
    }
}

/// One recursion Q_{k+1} = (a t + b) Q_k - Q_{k-1} of one order, for [`find_seeds`].
pub(super) struct Climb<'a> {
    /// (a, b for each kind of argument) of the step from 0 to 1.
    pub first: [f64; 3],
    /// a of the step to k + 2 from k and k + 1.
    pub a: &'a [f64],
    /// b of the same steps, for each kind of argument.
    pub b: [&'a [f64]; 2],
    /// Argument, `[blocks][8]`.
    pub t: &'a Aligned,
    /// Kind of argument per block.
    pub kind: &'a [u8],
    /// Values at k = 0 and their exponents in units of [`STEP`], `[blocks][8]`.
    pub mantissa: &'a Aligned,
    pub exponent: &'a Aligned,
    /// Number of functions; `a` and `b` hold `count` steps (the last two are not used).
    pub count: usize,
    /// Indices below this are not wanted.
    pub earliest: usize,
    /// Indices per stored start: starts are multiples of it, stored divided by it.
    pub stride: usize,
    /// Blocks from the pole that are searched.
    pub blocks: usize,
}

dispatch! {
    /// Appends the entries of one order to `out`. The lengths are as described at [`Climb`].
    fn find_seeds_of = find_seeds_lanes(climb: &Climb<'_>, out: &mut Seeds)
}

/// Appends the entries of one order: per block the first index at which one of eight rings is relevant.
pub(super) fn find_seeds(climb: &Climb<'_>, out: &mut Seeds) {
    let lanes = climb.blocks * LANES;
    assert!(climb.t.lines().len() * LANES >= lanes && climb.mantissa.lines().len() * LANES >= lanes, "a value for every ring");
    assert!(climb.exponent.lines().len() * LANES >= lanes && climb.kind.len() >= climb.blocks, "a value for every ring");
    assert!(climb.a.len() >= climb.count && climb.b.iter().all(|b| b.len() >= climb.count), "a step for every index");
    if out.offset.is_empty() {
        out.offset.push(0);
    }
    // SAFETY: the lengths were checked.
    unsafe { find_seeds_of(climb, out) }
}

#[inline(always)]
unsafe fn find_seeds_lanes<V: Lanes<Element = f64>>(climb: &Climb<'_>, out: &mut Seeds) {
    let mut limit = usize::MAX;
    let mut first_block = climb.blocks;
    for block in 0..climb.blocks {
        // SAFETY: the caller's promise.
        if let Some((start, seeds)) = unsafe { climb_block::<V>(climb, block, limit) } {
            first_block = first_block.min(block);
            limit = start;
            out.starts.push((start / climb.stride) as u32);
            out.values.push(seeds[0]);
            out.values.push(seeds[1]);
        }
    }
    out.close(first_block);
}

/// Climbs until one of eight rings is relevant (or `limit`): the index reached and the functions there.
#[inline(always)]
unsafe fn climb_block<V: Lanes<Element = f64>>(climb: &Climb<'_>, block: usize, limit: usize) -> Option<(usize, [[f64; LANES]; 2])> {
    let shrink = two_to(-STEP);
    let kind = climb.kind[block] as usize;
    let mut exponent = climb.exponent.lines()[block].0;
    let early = |k: usize| k + climb.stride <= climb.earliest;
    // A lane asks for attention when it becomes relevant or, still far from that, when it should be scaled.
    let bound = |exponent: &[f64; LANES], early: bool| {
        exponent.map(|e| match (early, e) {
            (true, 0.0) => f64::INFINITY,
            (false, 0.0) => two_to(NEGLIGIBLE),
            (false, -1.0) => two_to(NEGLIGIBLE + STEP),
            _ => two_to(STEP),
        })
    };
    // SAFETY: all reads are below `count` steps and inside line `block`.
    unsafe {
        let t = V::load(climb.t.as_ptr().add(block * LANES));
        let mut q0 = V::load(climb.mantissa.as_ptr().add(block * LANES));
        let mut q1 = V::splat(climb.first[0]).fma(t, V::splat(climb.first[1 + kind])).mul(q0);
        if climb.count == 1 {
            q1 = V::zero();
        }
        let (a, b) = (climb.a.as_ptr(), climb.b[kind].as_ptr());
        let mut attention = V::load(bound(&exponent, early(0)).as_ptr());
        let mut k = 0;
        while k < climb.count {
            if k >= limit || q0.any_above(attention) || q1.any_above(attention) {
                let mut values = [[0.0; LANES]; 2];
                q0.store(values[0].as_mut_ptr());
                q1.store(values[1].as_mut_ptr());
                let mut relevant = k >= limit;
                for lane in 0..LANES {
                    let size = values[0][lane].abs().max(values[1][lane].abs());
                    if exponent[lane] >= -1.0 {
                        relevant |= size * if exponent[lane] == 0.0 { 1.0 } else { shrink } > two_to(NEGLIGIBLE);
                    }
                    if exponent[lane] < 0.0 && size > two_to(STEP) {
                        exponent[lane] += 1.0;
                        values[0][lane] *= shrink;
                        values[1][lane] *= shrink;
                    }
                }
                if relevant && !early(k) {
                    for lane in 0..LANES {
                        // Lanes 2^-600 below the relevant ones stay irrelevant at every degree; zero avoids subnormals.
                        let scale = if exponent[lane] < -3.0 { 0.0 } else { two_to(STEP * exponent[lane] as i32) };
                        values[0][lane] *= scale;
                        values[1][lane] *= scale;
                    }
                    return Some((k, values));
                }
                q0 = V::load(values[0].as_ptr());
                q1 = V::load(values[1].as_ptr());
                attention = V::load(bound(&exponent, early(k)).as_ptr());
                // A lane may have become relevant by the scaling.
                if !relevant && (q0.any_above(attention) || q1.any_above(attention)) {
                    continue;
                }
            }
            for i in k..k + climb.stride {
                if i + 2 < climb.count {
                    let next = V::broadcast(a.add(i)).fma(t, V::broadcast(b.add(i))).fms(q1, q0);
                    (q0, q1) = (q1, next);
                } else {
                    (q0, q1) = (q1, V::zero());
                }
            }
            k += climb.stride;
            if early(k - climb.stride) != early(k) {
                attention = V::load(bound(&exponent, false).as_ptr());
            }
        }
    }
    None
}

/// Products of sectoral factors: d^m_{m,n} of all rings for ascending m.
pub(super) struct Sectoral {
    n: isize,
    factors: Vec<crate::double::Double>,
    running: Vec<Scaled>,
    /// The next order and the values there.
    m: usize,
    pub mantissa: Aligned,
    pub exponent: Aligned,
}

impl Sectoral {
    pub(super) fn new(n: isize, angles: &[HalfAngle]) -> Self {
        let factors = angles.iter().map(|angle| angle.s.mul(angle.c).neg()).collect();
        let lanes = angles.len();
        Self { n, factors, running: Vec::new(), m: 0, mantissa: Aligned::zeros(lanes), exponent: Aligned::zeros(lanes) }
    }

    /// Advances to the next order (0 at the first call): the functions at l0 = max(m, |n|).
    pub(super) fn advance(&mut self, angles: &[HalfAngle]) {
        let q = self.n.unsigned_abs();
        if self.m <= q {
            self.running = angles.iter().map(|angle| start_below(self.m, self.n, *angle)).collect();
        } else {
            let ratio = start_ratio(self.m - 1, self.n);
            for (value, factor) in self.running.iter_mut().zip(&self.factors) {
                *value = value.times(ratio.mul(*factor));
            }
        }
        self.m += 1;
        for (line, values) in self.running.chunks_exact(LANES).enumerate() {
            self.mantissa.set(line, std::array::from_fn(|lane| values[lane].mantissa.hi));
            self.exponent.set(line, std::array::from_fn(|lane| f64::from(values[lane].exponent)));
        }
    }
}

/// Rings and the shared recursion of one grid, for orders below `degrees` - 2.
#[derive(Debug, PartialEq)]
pub(super) struct Grid {
    pub L: usize,
    /// Functions of degrees below this exist.
    pub degrees: usize,
    pub n_pairs: usize,
    pub angles: Vec<HalfAngle>,
    /// t of the recursion, `[n_pairs][8]`, and per block which of its two forms.
    pub argument: Aligned,
    pub kind: Vec<u8>,
    pub cosine: Aligned,
    pub inverse_sine2: Aligned,
    /// 2 sin^2(theta / 2), the argument of the direct recursions.
    pub versine: Aligned,
    /// Quadrature weights of the rings, `[2 n_pairs][8]`.
    pub weights: Aligned,
    /// Per m (and one more): its first place in the arrays by k.
    pub offset: Vec<usize>,
    /// Step to k + 2 from k and k + 1.
    pub a: Vec<f64>,
    pub b: [Vec<f64>; 2],
    pub alpha: Vec<f64>,
    /// eps_{m+i}, i < 2 pairs + 4.
    pub epsilon: Vec<f64>,
    /// The lines of [`super::basis::Basis`] of every order, where storing them costs little.
    pub lines: Option<(Vec<usize>, Aligned)>,
    pub seeds: Seeds,
}

/// Grids in use, so that transforms of one grid share their tables.
static GRIDS: Mutex<Vec<Weak<Grid>>> = Mutex::new(Vec::new());

impl Grid {
    /// The grid of bandlimit L with functions of degrees below `degrees` (orders below `degrees` - 2), shared with whoever uses it.
    pub(super) fn shared(L: usize, degrees: usize) -> Result<Arc<Self>, KernelError> {
        let find = |grids: &mut Vec<Weak<Self>>| {
            grids.retain(|grid| grid.strong_count() > 0);
            grids.iter().filter_map(Weak::upgrade).find(|grid| grid.L == L && grid.degrees == degrees)
        };
        if let Some(grid) = find(&mut GRIDS.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(grid);
        }
        // Built outside the lock: other grids need not wait, and a twin built meanwhile wins.
        let built = Arc::new(Self::build(L, degrees)?);
        let mut grids = GRIDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grid) = find(&mut grids) {
            return Ok(grid);
        }
        grids.push(Arc::downgrade(&built));
        Ok(built)
    }

    fn build(L: usize, degrees: usize) -> Result<Self, KernelError> {
        let layout = RingLayout::new(L)?;
        let n_pairs = layout.n_pairs();
        let mut grid = Self {
            L,
            degrees,
            n_pairs,
            angles: Vec::with_capacity(n_pairs * LANES),
            argument: Aligned::default(),
            kind: Vec::new(),
            cosine: Aligned::default(),
            inverse_sine2: Aligned::default(),
            versine: Aligned::default(),
            weights: Aligned::default(),
            offset: vec![0],
            a: Vec::new(),
            b: [Vec::new(), Vec::new()],
            alpha: Vec::new(),
            epsilon: Vec::new(),
            lines: None,
            seeds: Seeds::default(),
        };
        for pair in 0..n_pairs {
            grid.angles.extend((0..LANES).map(|lane| HalfAngle::new(layout.theta(2 * pair, lane))));
        }
        for block in 0..n_pairs {
            let angle = |lane: usize| grid.angles[block * LANES + lane];
            let sine2 = |lane: usize| {
                let sine = angle(lane).s.mul(angle(lane).c).scale(2.0);
                sine.mul(sine).hi
            };
            // Blocks are handled in twos from the equator, which must agree.
            let leader = n_pairs - 1 - (n_pairs - 1 - block) / 2 * 2;
            let kind = u8::from(grid.angles[leader * LANES].s.hi.powi(2) >= 0.146);
            grid.kind.push(kind);
            let cosine = |lane: usize| angle(lane).c.mul(angle(lane).c).add(angle(lane).s.mul(angle(lane).s).neg());
            grid.argument.push(std::array::from_fn(|lane| if kind == 0 { -sine2(lane) } else { cosine(lane).mul(cosine(lane)).hi }));
            grid.cosine.push(std::array::from_fn(|lane| cosine(lane).hi));
            grid.inverse_sine2.push(std::array::from_fn(|lane| 1.0 / sine2(lane)));
            grid.versine.push(std::array::from_fn(|lane| angle(lane).versine()));
        }
        for block in layout.weights().chunks_exact(LANES) {
            grid.weights.push(std::array::from_fn(|lane| block[lane]));
        }
        grid.steps();
        // Two thirds of the time to make them is saved at small L; at large L they would be the largest table.
        if L <= 512 {
            grid.lines = Some(super::basis::lines(&grid));
        }
        Ok(grid)
    }

    pub(super) fn epsilon(&self, m: usize) -> &[f64] {
        &self.epsilon[2 * self.offset[m] + 4 * m..2 * self.offset[m + 1] + 4 * (m + 1)]
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = self.a.len() + self.b[0].len() + self.b[1].len() + self.alpha.len() + self.epsilon.len() + self.offset.len();
        let lines = self.lines.as_ref().map_or(0, |(at, lines)| at.len() * 8 + lines.lines().len() * 64);
        numbers * 8 + lines + self.seeds.bytes() + self.n_pairs * (LANES * std::mem::size_of::<HalfAngle>() + 7 * 64)
    }

    /// The recursion of every order and its seeds.
    fn steps(&mut self) {
        let orders = self.degrees - 2;
        let total: usize = (0..orders).map(|m| (self.degrees - m).div_ceil(2)).sum();
        for values in [&mut self.a, &mut self.alpha] {
            values.reserve_exact(total);
        }
        for values in &mut self.b {
            values.reserve_exact(total);
        }
        self.epsilon.reserve_exact(2 * total + 4 * orders);
        let mut sectoral = Sectoral::new(0, &self.angles);
        for m in 0..orders {
            let pairs = (self.degrees - m).div_ceil(2);
            let from = self.a.len();
            let m2 = (m * m) as f64;
            // eps up to one step beyond those stored, which the last recursion step reads.
            let epsilon: Vec<f64> = (0..2 * pairs + 6)
                .map(|i| {
                    let l2 = ((m + i) * (m + i)) as f64;
                    if i == 0 { 0.0 } else { ((l2 - m2) / (4.0 * l2 - 1.0)).sqrt() }
                })
                .collect();
            self.epsilon.extend_from_slice(&epsilon[..2 * pairs + 4]);
            let product = |k: usize| epsilon[2 * k] * epsilon[2 * k + 1];
            let mut alpha = ((2 * m + 1) as f64).sqrt() / epsilon[1];
            let mut alpha_before = alpha;
            let mut first = [0.0; 3];
            for k in 0..pairs + 1 {
                // alpha_{k+1} g_{k+1} = alpha_{k-1} g_k, g_k = eps_{m+2k} eps_{m+2k+1}, makes the last coefficient 1.
                let alpha_next = if k == 0 { alpha } else { alpha_before * (product(k) / product(k + 1)) };
                let a = alpha / (alpha_next * product(k + 1));
                let c = epsilon[2 * k + 2] * epsilon[2 * k + 2] + epsilon[2 * k + 1] * epsilon[2 * k + 1];
                let step = [a, a * (1.0 - c), -a * c];
                if k == 0 {
                    first = step;
                } else {
                    self.a.push(step[0]);
                    self.b[0].push(step[1]);
                    self.b[1].push(step[2]);
                }
                if k < pairs {
                    self.alpha.push(alpha);
                }
                (alpha_before, alpha) = (alpha, alpha_next);
            }
            self.offset.push(from + pairs);
            sectoral.advance(&self.angles);
            let climb = Climb {
                first,
                a: &self.a[from..],
                b: [&self.b[0][from..], &self.b[1][from..]],
                t: &self.argument,
                kind: &self.kind,
                mantissa: &sectoral.mantissa,
                exponent: &sectoral.exponent,
                count: pairs,
                earliest: 0,
                stride: 1,
                blocks: self.n_pairs,
            };
            find_seeds(&climb, &mut self.seeds);
        }
        self.seeds.shrink();
    }

    /// Seeds for orders m < `first` - `reach` of transforms whose filters begin at degree `first`: the recursion is run past the
    /// degrees that are not read once, here. Filters reach `reach` degrees down. Empty where nothing is skipped.
    pub(super) fn late_seeds(&self, first: usize, reach: usize, orders: usize) -> Seeds {
        let mut late = Seeds { offset: vec![0], ..Seeds::default() };
        for m in 0..orders {
            let earliest = first.saturating_sub(reach + m) / 2;
            if earliest == 0 {
                break;
            }
            let at = self.offset[m];
            let entry = self.seeds.entry(m);
            for block in entry.first..self.n_pairs {
                let i = self.seeds.offset[m] + block - entry.first;
                let start = self.seeds.starts[i] as usize;
                let (mut q0, mut q1) = (self.seeds.values.lines()[2 * i].0, self.seeds.values.lines()[2 * i + 1].0);
                let b = &self.b[self.kind[block] as usize];
                let t = self.argument.lines()[block].0;
                for k in start..earliest {
                    for lane in 0..LANES {
                        let next = (self.a[at + k] * t[lane] + b[at + k]) * q1[lane] - q0[lane];
                        (q0[lane], q1[lane]) = (q1[lane], next);
                    }
                }
                late.starts.push(start.max(earliest) as u32);
                late.values.push(q0);
                late.values.push(q1);
            }
            late.close(entry.first);
        }
        late.shrink();
        late
    }
}
