//! The Legendre stage: coefficients <-> half spectra of rings, for scalar and directional transforms, and their adjoints.
//!
//! # Equations
//!
//! For a real field f_{l,-m} = (-1)^m conj f_lm and a direction order n, with real filter p_l and nu = 1 (N odd) or i (N even),
//! `F_n(m) = sum_l d^l_{mn}(theta) f_lm conj(nu) p_l`. The real channels are B = Re H_n and C = Im H_n of
//! H_n(phi) = sum_m F_n(m) e^{i m phi}; n = 0 has one channel, A = H_0 (its real part). With u_l = p_l f_lm / 2 and
//! d^l_{mn}(pi - theta) = (-1)^{l+m} d^l_{m,-n}(theta), d_{-m,n} = (-1)^{l+n} d_{mn}(pi - theta), the even and odd sums
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
//! # Method
//!
//! Each (m, +-n) is one *stream*: Q_k = d^{l0+k} / alpha_k with alpha chosen so that Q_{k+1} = (b_k - a_k y) Q_k - Q_{k-1}: two
//! fused multiply-adds for eight rings. Near the poles d is negligible up to some degree; a plan-time table of the first
//! relevant k and the two values there (the *seeds*) replaces all run-time scaling. All fields of a call share a recursion.

use crate::layout::{RingLayout, coefficient_index, coefficients_len};
use crate::parallel::{Parallel, Shared};
use crate::simd::{Aligned, LANES, Lanes, dispatch, with_scratch};
use crate::wavelets::{Window, Windows};
use crate::wigner::{HalfAngle, STEP, Scaled, start_below, start_ratio, two_to};
use crate::{KernelError, wavelets};

/// Fields that share one pass of a recursion; more are handled in equal chunks.
const MAX_CHUNK: usize = 5;
/// Pairs of degrees per step of an analysis.
const TILE_PAIRS: usize = 4;
/// Most blocks of rings per sweep of an analysis.
const GROUP_BLOCKS: usize = 32;
/// Functions below this in all eight rings of a block are not summed; d is at most 1.
const NEGLIGIBLE: i32 = -100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wavelet { L_total: usize, j: usize },
    Plain,
    Scaling { L_total: usize, J_min: usize },
    Analysis { L_out: usize },
}

/// One recursion per order m: d^l_{m,n} with a signed n.
#[derive(Debug, Clone, PartialEq, Default)]
struct Stream {
    /// Per m: first block whose values are not negligible everywhere (`n_pairs` if none).
    first_block: Vec<u32>,
    /// Per m: where its entries of `starts` begin.
    offset: Vec<usize>,
    /// Per active block: first pair of degrees, not increasing from pole to equator.
    starts: Vec<u32>,
    /// Per active block: Q at the first two degrees, `[2][8]`.
    seeds: Aligned,
    /// Per pair of degrees (2p, 2p + 1): (-a, b) of the steps to 2p + 2 and 2p + 3.
    steps: Vec<[f64; 4]>,
}

/// Everything for one direction order n >= 0.
#[derive(Debug, Clone, PartialEq)]
struct Order {
    n: usize,
    /// Per m (and one more): first pair of degrees in `steps`; twice this is the place in `window`.
    offset: Vec<usize>,
    /// filter times alpha (times 1/2 for n > 0), zero-padded to pairs.
    window: Vec<f64>,
    plus: Stream,
    minus: Stream,
}

/// Synthesis and adjoint, or analysis and adjoint, of one grid, filter and set of direction orders.
///
/// N channels per field, contiguous. N odd: channel 0 is A = Re H_0, then B_n, C_n for n = 2, 4, ..; N even: B_n, C_n for
/// n = 1, 3, ... A map is value(phi) = F_0 + 2 Re sum_{m>0} F_m e^{i m phi}.
#[derive(Debug, Clone, PartialEq)]
pub struct HarmonicTransform {
    kind: Kind,
    L_in: usize,
    L: usize,
    N: usize,
    /// Degrees and orders below this are summed.
    L_degrees: usize,
    n_pairs: usize,
    orders: Vec<Order>,
    /// 2 sin^2(theta / 2) of the northern rings, `[n_pairs][8]`.
    versine: Aligned,
    /// Quadrature weights of the rings, `[2 n_pairs][8]`.
    weights: Aligned,
}

impl HarmonicTransform {
    /// psi^j of bandlimit `L_total` and azimuthal bandlimit `N` on the grid of bandlimit L_j = `bandlimit(L_total, j)`.
    ///
    /// Coefficients have bandlimit `L_in`; degrees l0_j <= ell < min(L_in, L_j) are read, missing ones count as zero.
    pub fn wavelet(L_in: usize, L_total: usize, N: usize, j: usize) -> Result<Self, KernelError> {
        let windows = Windows::wavelet(L_in, L_total, N, j)?;
        Self::build(Kind::Wavelet { L_total, j }, L_in, windows, None)
    }

    /// Scalar inverse transform f = sum f_lm Y_lm on the grid of bandlimit `L`; reads ell < min(L_in, L).
    pub fn plain(L_in: usize, L: usize) -> Result<Self, KernelError> {
        Self::build(Kind::Plain, L_in, Windows::plain(L_in, L)?, None)
    }

    /// Low-pass phi of `J_min` on the grid of bandlimit L_{J_min}; one channel.
    pub fn scaling(L_in: usize, L_total: usize, J_min: usize) -> Result<Self, KernelError> {
        Self::build(Kind::Scaling { L_total, J_min }, L_in, Windows::scaling(L_in, L_total, J_min)?, None)
    }

    /// Scalar forward transform from the grid of bandlimit `L` to coefficients of bandlimit `L_out`; for [`Self::analysis`]
    /// and [`Self::analysis_adjoint`] only, as the other constructors' transforms are for `synthesis` and its adjoint.
    pub fn for_analysis(L: usize, L_out: usize) -> Result<Self, KernelError> {
        let windows = analysis_windows(L, L_out)?;
        Self::build(Kind::Analysis { L_out }, L_out, windows, None)
    }

    fn build(kind: Kind, L_in: usize, windows: Windows, mut stored: Option<&mut Reader<'_>>) -> Result<Self, KernelError> {
        let Windows { L, N, windows } = windows;
        let layout = RingLayout::new(L)?;
        let n_pairs = layout.n_pairs();
        let used = |window: &Window| window.filter.iter().rposition(|p| *p != 0.0).map_or(0, |ell| ell + 1);
        let L_degrees = windows.iter().map(used).max().unwrap_or(0);
        let mut angles = Vec::with_capacity(n_pairs * LANES);
        let mut versine = Aligned::default();
        let mut weights = Aligned::default();
        for pair in 0..n_pairs {
            let mut line = [0.0; LANES];
            for (lane, y) in line.iter_mut().enumerate() {
                let angle = HalfAngle::new(layout.theta(2 * pair, lane));
                *y = angle.versine();
                angles.push(angle);
            }
            versine.push(line);
        }
        for block in layout.weights().chunks_exact(LANES) {
            weights.push(std::array::from_fn(|lane| block[lane]));
        }
        let mut orders = Vec::with_capacity(windows.len());
        for window in &windows {
            orders.push(Order::build(window, L_degrees, n_pairs, &angles, &versine, stored.as_deref_mut())?);
        }
        // The streams grew by pushing; what they reserved beyond their length would be held as long as the transform.
        for stream in orders.iter_mut().flat_map(|o: &mut Order| [&mut o.plus, &mut o.minus]) {
            stream.starts.shrink_to_fit();
            stream.seeds.shrink();
            stream.steps.shrink_to_fit();
        }
        Ok(Self { kind, L_in, L, N, L_degrees, n_pairs, orders, versine, weights })
    }

    /// Channels per field.
    pub fn n_channels(&self) -> usize {
        self.N
    }

    /// Bandlimit of the grid.
    pub fn L(&self) -> usize {
        self.L
    }

    /// Bandlimit of the coefficients.
    pub fn L_coefficients(&self) -> usize {
        self.L_in
    }

    /// Number of f64 of the coefficients of one field.
    pub fn coefficients_len(&self) -> usize {
        coefficients_len(self.L_in)
    }

    /// Number of f64 of the rings of one field, all channels, with M orders (`synthesis` writes M = L).
    pub fn rings_len(&self, M: usize) -> usize {
        self.N * 2 * self.n_pairs * M * 2 * LANES
    }

    /// Number of f64 of scratch memory each thread keeps.
    pub fn scratch_len(&self) -> usize {
        let group = self.group(self.L);
        let packed = (self.L_degrees + 4) * 2 * MAX_CHUNK + 2 * LANES;
        let synthesis = group * self.orders.len() * packed;
        let tile = TILE_PAIRS * GROUP_BLOCKS * 2 * LANES;
        let analysis = group * self.n_streams() * self.values_len() + self.n_pairs * 2 * LANES + packed + tile;
        synthesis.max(analysis)
    }

    /// Orders per task. Neighbouring orders are neighbours in a ring's spectrum, so a task that handles several touches memory
    /// in runs of 128 bytes times this instead of isolated cache lines at power-of-two distances; its packed data should
    /// stay in the second-level cache, and small transforms should still make eight tasks.
    fn group(&self, M: usize) -> usize {
        (8192 / (self.L * self.orders.len().max(1))).clamp(1, 8).min(M.div_ceil(8)).max(1)
    }

    fn n_streams(&self) -> usize {
        self.orders.iter().map(|order| if order.n == 0 { 1 } else { 2 }).sum()
    }

    /// Number of f64 of the even and odd ring values of one stream at one order.
    fn values_len(&self) -> usize {
        self.n_pairs * MAX_CHUNK * 4 * LANES
    }

    /// Size of the plan-time tables in bytes.
    pub fn table_bytes(&self) -> usize {
        let stream = |s: &Stream| s.seeds.lines().len() * 64 + s.starts.len() * 4 + s.steps.len() * 32;
        self.orders.iter().map(|o| o.window.len() * 8 + stream(&o.plus) + stream(&o.minus)).sum()
    }

    /// Floating-point operations of one `synthesis` or adjoint of `n_fields` fields as executed in the inner loops: per stream,
    /// degree and ring two multiply-adds for the recursion (once per chunk of fields) and two per field.
    pub fn flops(&self, n_fields: usize) -> f64 {
        let mut cells = 0.0;
        for order in &self.orders {
            for stream in [&order.plus, &order.minus] {
                for m in 0..stream.first_block.len() {
                    let degrees = 2 * (order.offset[m + 1] - order.offset[m]);
                    for start in &stream.starts[stream.offset[m]..stream.offset[m + 1]] {
                        cells += (degrees - 2 * *start as usize) as f64;
                    }
                }
            }
        }
        cells * LANES as f64 * 4.0 * (n_fields.div_ceil(MAX_CHUNK) + n_fields) as f64
    }

    /// Legendre stage of the synthesis: `out[f]` := rings of `fields[f]`, `[N][2 n_pairs][L][16]` (see [`crate::layout`]).
    ///
    /// A_0, B_0, C_0 have zero imaginary part; padding lanes repeat their ring.
    /// Panics if a slice has the wrong length or the transform was made for analysis: the caller's plan is broken then.
    pub fn synthesis(&self, par: &dyn Parallel, fields: &[&[f64]], out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis needs a synthesis transform");
        self.to_rings(par, fields, self.L, out);
    }

    /// Exact adjoint of [`Self::synthesis`] under the real inner product of the stored numbers: `out[f]` := coefficients.
    ///
    /// `rings[f]` has `M` <= L orders per ring, absent ones count as zero. Padding lanes must hold zeros. Panics as `synthesis`.
    pub fn synthesis_adjoint(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_adjoint needs a synthesis transform");
        self.to_coefficients(par, rings, M, out);
    }

    /// Legendre stage of the forward transform:
    /// a_lm = sqrt((2l + 1) / 4 pi) sum_t w_t 2 pi / (2L - 1) d^l_{m0}(theta_t) F_m(t), l < L_out, m < min(M, L_out), from
    /// F_m = sum_p f_p e^{-i m phi_p}. Coefficients with m >= M are zero. Padding weighs zero but must be finite.
    pub fn analysis(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(self.is_analysis(), "analysis needs a transform from `for_analysis`");
        self.to_coefficients(par, rings, M, out);
    }

    /// Exact adjoint of [`Self::analysis`]: coefficient cotangents to ring cotangents with `M` orders; padding gets zeros.
    pub fn analysis_adjoint(&self, par: &dyn Parallel, fields: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(self.is_analysis(), "analysis_adjoint needs a transform from `for_analysis`");
        self.to_rings(par, fields, M, out);
    }

    /// Number of f64 of the coefficients of one field with orders below M: the first ones of the layout.
    pub fn orders_len(&self, M: usize) -> usize {
        2 * (0..M.min(self.L_in)).map(|m| self.L_in - m).sum::<usize>()
    }

    /// [`Self::synthesis`] of the orders below `M` alone: `fields[f]` is `[orders_len(M)]`, `out[f]` is `[N][2 n_pairs][M][16]`.
    pub fn synthesis_of_orders(&self, par: &dyn Parallel, fields: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_of_orders needs a synthesis transform");
        self.orders_to_rings(par, fields, self.orders_len(M), M, out);
    }

    /// Exact adjoint of [`Self::synthesis_of_orders`]. Padding lanes must hold zeros.
    pub fn synthesis_of_orders_adjoint(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_of_orders_adjoint needs a synthesis transform");
        self.rings_to_orders(par, rings, M, M.min(self.L_in), out);
    }

    fn is_analysis(&self) -> bool {
        matches!(self.kind, Kind::Analysis { .. })
    }

    fn to_rings(&self, par: &dyn Parallel, fields: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        self.orders_to_rings(par, fields, self.coefficients_len(), M, out);
    }

    fn orders_to_rings(&self, par: &dyn Parallel, fields: &[&[f64]], len: usize, M: usize, out: &mut [&mut [f64]]) {
        assert_eq!(fields.len(), out.len(), "one output per field");
        assert!(M <= self.L, "rings hold at most L = {} orders, found {M}", self.L);
        for (field, rings) in fields.iter().zip(out.iter()) {
            assert_eq!(field.len(), len, "coefficients have bandlimit {}", self.L_in);
            assert_eq!(rings.len(), self.rings_len(M), "rings are [N][2 n_pairs][M][16]");
        }
        let out = Shared::all(out);
        let task = ToRings { transform: self, fields, out: &out, M };
        let group = self.group(M);
        par.for_each(M.div_ceil(group), &|i| {
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: lengths were checked above; the task writes only elements of its orders.
                unsafe { to_rings(&task, i * group, M.min((i + 1) * group), scratch) }
            });
        });
    }

    fn to_coefficients(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        self.rings_to_orders(par, rings, M, self.L_in, out);
    }

    fn rings_to_orders(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, orders: usize, out: &mut [&mut [f64]]) {
        assert_eq!(rings.len(), out.len(), "one output per field");
        assert!(M <= self.L, "rings hold at most L = {} orders, found {M}", self.L);
        for (rings, field) in rings.iter().zip(out.iter()) {
            assert_eq!(field.len(), self.orders_len(orders), "coefficients have bandlimit {}", self.L_in);
            assert_eq!(rings.len(), self.rings_len(M), "rings are [N][2 n_pairs][M][16]");
        }
        let out = Shared::all(out);
        let task = ToCoefficients { transform: self, rings, out: &out, M };
        let group = self.group(M);
        par.for_each(orders.div_ceil(group), &|i| {
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: lengths were checked above; the task writes only coefficients of its orders.
                unsafe { to_coefficients(&task, i * group, orders.min((i + 1) * group), scratch) }
            });
        });
    }
}

fn analysis_windows(L: usize, L_out: usize) -> Result<Windows, KernelError> {
    // Both bandlimits are checked here; the filter of `plain` ends at the smaller one, an analysis has L_out degrees.
    let mut windows = Windows::plain(L_out, L)?;
    let step = 2.0 * std::f64::consts::PI / (2 * L - 1) as f64;
    let norm = |ell: usize| ((2 * ell + 1) as f64 / (4.0 * std::f64::consts::PI)).sqrt();
    windows.windows[0].filter = (0..L_out).map(|ell| norm(ell) * step).collect();
    Ok(windows)
}

// ------------------------------------------------------------------------------------------------ plan

impl Order {
    fn build(
        window: &Window,
        L_degrees: usize,
        n_pairs: usize,
        angles: &[HalfAngle],
        versine: &Aligned,
        mut stored: Option<&mut Reader<'_>>,
    ) -> Result<Self, KernelError> {
        let n = window.n;
        let first = window.filter.iter().position(|p| *p != 0.0).unwrap_or(L_degrees);
        let half = if n > 0 { 0.5 } else { 1.0 };
        let mut order = Self { n, offset: vec![0], window: Vec::new(), plus: Stream::default(), minus: Stream::default() };
        let mut a = Vec::new();
        let mut alpha = Vec::new();
        for m in 0..L_degrees {
            let l0 = m.max(n);
            let count = L_degrees.saturating_sub(l0);
            let pairs = count.div_ceil(2);
            order.offset.push(order.offset[m] + pairs);
            recursion(m, n, l0, count, &mut alpha, &mut a);
            for k in 0..2 * pairs {
                let p = if k < count { window.filter.get(l0 + k).copied().unwrap_or(0.0) } else { 0.0 };
                order.window.push(p * half * alpha.get(k).copied().unwrap_or(0.0));
            }
            let signs: &[isize] = if n == 0 { &[1] } else { &[1, -1] };
            for sign in signs {
                let stream = if *sign > 0 { &mut order.plus } else { &mut order.minus };
                for p in 0..pairs {
                    let step = |k: usize| {
                        if k + 1 < count { step_factors(a[k], m, *sign * n as isize, l0 + k) } else { [0.0; 2] }
                    };
                    let ([a0, b0], [a1, b1]) = (step(2 * p + 1), step(2 * p + 2));
                    stream.steps.push([a0, b0, a1, b1]);
                }
            }
        }
        let mut streams = vec![(n as isize, &mut order.plus)];
        if n > 0 {
            streams.push((-(n as isize), &mut order.minus));
        }
        for (signed, stream) in streams {
            match stored.as_deref_mut() {
                Some(reader) => stream.read_seeds(reader, &order.offset, L_degrees, n_pairs)?,
                None => stream.find_seeds(signed, first, L_degrees, n_pairs, angles, versine),
            }
        }
        Ok(order)
    }
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
    for k in 0..count.saturating_sub(1) {
        let l = l0 + k;
        let c_next = c(l + 1);
        let next = if k == 0 { 1.0 } else { alpha[k - 1] * (c_current / c_next) };
        a.push((2 * l + 1) as f64 * alpha[k] / (c_next * next));
        alpha.push(next);
        c_current = c_next;
    }
}

/// (-a, b) of the step Q_{k+1} = (b - a y) Q_k - Q_{k-1}.
fn step_factors(a: f64, m: usize, n: isize, l: usize) -> [f64; 2] {
    let shift = if m == 0 || n == 0 { 0.0 } else { (m as f64 * n as f64) / (l as f64 * (l + 1) as f64) };
    [-a, a * (1.0 - shift)]
}

impl Stream {
    fn find_seeds(&mut self, n: isize, first_degree: usize, L_degrees: usize, n_pairs: usize, angles: &[HalfAngle], versine: &Aligned) {
        let q = n.unsigned_abs();
        let mut running: Vec<Scaled> = Vec::new();
        let factors: Vec<_> = angles.iter().map(|angle| angle.s.mul(angle.c).neg()).collect();
        let mut steps: Vec<[f64; 2]> = Vec::new();
        let (mut alpha, mut a) = (Vec::new(), Vec::new());
        for m in 0..L_degrees {
            self.offset.push(self.starts.len());
            let l0 = m.max(q);
            let count = L_degrees.saturating_sub(l0);
            // At m = 0 the two signs of n agree up to sign; only one stream is kept.
            if count == 0 || (m == 0 && n < 0) {
                self.first_block.push(n_pairs as u32);
                continue;
            }
            if m <= q {
                running = angles.iter().map(|angle| start_below(m, n, *angle)).collect();
            } else {
                if running.is_empty() {
                    running = angles.iter().map(|angle| start_below(q, n, *angle)).collect();
                }
                let ratio = start_ratio(m - 1, n);
                for (value, factor) in running.iter_mut().zip(&factors) {
                    *value = value.times(ratio.mul(*factor));
                }
            }
            recursion(m, q, l0, count, &mut alpha, &mut a);
            steps.clear();
            steps.extend((0..count - 1).map(|k| step_factors(a[k], m, n, l0 + k)));
            let earliest = first_degree.saturating_sub(l0) / 2;
            let mut limit = u32::MAX;
            let mut first_block = n_pairs;
            for block in 0..n_pairs {
                let starts: [Scaled; LANES] = std::array::from_fn(|lane| running[block * LANES + lane]);
                if let Some((pair, seeds)) = climb(&starts, &steps, &versine.lines()[block].0, earliest, limit) {
                    first_block = first_block.min(block);
                    limit = pair;
                    self.starts.push(pair);
                    self.seeds.push(seeds[0]);
                    self.seeds.push(seeds[1]);
                }
            }
            self.first_block.push(first_block as u32);
        }
        self.offset.push(self.starts.len());
    }
}

/// Climbs from l0 until one of eight rings is relevant (or `limit` pairs): the pair reached and Q there.
fn climb(start: &[Scaled; LANES], steps: &[[f64; 2]], y: &[f64; LANES], earliest: usize, limit: u32) -> Option<(u32, [[f64; LANES]; 2])> {
    let count = steps.len() + 1;
    let mut exponent: [f64; LANES] = std::array::from_fn(|lane| start[lane].exponent as f64);
    let mut before = [0.0; LANES];
    let mut current: [f64; LANES] = std::array::from_fn(|lane| start[lane].mantissa.hi);
    let (shrink, large, relevant) = (two_to(-STEP), two_to(STEP), two_to(NEGLIGIBLE));
    for pair in 0..count.div_ceil(2) {
        let k = 2 * pair;
        let mut next = [0.0; LANES];
        if k + 1 < count {
            let [a, b] = steps[k];
            for lane in 0..LANES {
                next[lane] = (b + a * y[lane]) * current[lane] - before[lane];
            }
        }
        if pair >= earliest {
            let mut largest = 0.0f64;
            for lane in 0..LANES {
                let scale = if exponent[lane] == 0.0 {
                    1.0
                } else if exponent[lane] == -1.0 {
                    shrink
                } else {
                    0.0
                };
                largest = largest.max(current[lane].abs().max(next[lane].abs()) * scale);
            }
            if pair as u32 >= limit || largest > relevant {
                let mut seeds = [[0.0; LANES]; 2];
                for lane in 0..LANES {
                    // Lanes 2^-600 below the relevant ones stay irrelevant at every degree; zero avoids subnormals.
                    let scale = if exponent[lane] < -3.0 { 0.0 } else { two_to(STEP * exponent[lane] as i32) };
                    seeds[0][lane] = current[lane] * scale;
                    seeds[1][lane] = next[lane] * scale;
                }
                return Some((pair as u32, seeds));
            }
        }
        if k + 2 >= count {
            break;
        }
        let [a, b] = steps[k + 1];
        for lane in 0..LANES {
            let after = (b + a * y[lane]) * next[lane] - current[lane];
            let big = after.abs().max(next[lane].abs()) > large;
            let scale = if big { shrink } else { 1.0 };
            exponent[lane] += if big { 1.0 } else { 0.0 };
            before[lane] = next[lane] * scale;
            current[lane] = after * scale;
        }
    }
    None
}

// ------------------------------------------------------------------------------------------------ coefficients to rings

struct ToRings<'a> {
    transform: &'a HarmonicTransform,
    fields: &'a [&'a [f64]],
    out: &'a [Shared],
    M: usize,
}

dispatch! {
    /// All fields of orders m0..m1. The caller checked the lengths in `task` and gives `scratch_len` f64 of scratch.
    fn to_rings = to_rings_lanes(task: &ToRings<'_>, m0: usize, m1: usize, scratch: *mut f64)
}

#[inline(always)]
unsafe fn to_rings_lanes<V: Lanes>(task: &ToRings<'_>, m0: usize, m1: usize, scratch: *mut f64) {
    let n_fields = task.fields.len();
    let chunks = n_fields.div_ceil(MAX_CHUNK);
    for chunk in 0..chunks {
        let (from, to) = (chunk * n_fields / chunks, (chunk + 1) * n_fields / chunks);
        // SAFETY: the caller's promise, passed on; each chunk is at most MAX_CHUNK fields. Two blocks side by side hide the
        // latency of the recursion where few fields leave it exposed.
        unsafe {
            match to - from {
                1 => to_rings_chunk::<V, 1, 2>(task, m0, m1, from, scratch),
                2 => to_rings_chunk::<V, 2, 2>(task, m0, m1, from, scratch),
                3 => to_rings_chunk::<V, 3, 1>(task, m0, m1, from, scratch),
                4 => to_rings_chunk::<V, 4, 1>(task, m0, m1, from, scratch),
                _ => to_rings_chunk::<V, 5, 1>(task, m0, m1, from, scratch),
            }
        }
    }
}

#[inline(always)]
unsafe fn to_rings_chunk<V: Lanes, const NF: usize, const NB: usize>(task: &ToRings<'_>, m0: usize, m1: usize, from: usize, scratch: *mut f64) {
    let t = task.transform;
    let packed_len = (t.L_degrees + 4) * 2 * NF;
    // SAFETY: `scratch` holds the packed coefficients of all direction orders and m (`scratch_len`).
    unsafe {
        for (i, order) in t.orders.iter().enumerate() {
            for m in m0..m1.min(t.L_degrees) {
                let packed = scratch.add((i * (m1 - m0) + m - m0) * packed_len);
                pack::<V, NF>(task, order, m, from, packed);
            }
        }
        let mut block = t.n_pairs;
        while block >= NB {
            block -= NB;
            blocks_to_rings::<V, NF, NB>(task, m0, m1, from, block, scratch);
        }
        while block > 0 {
            block -= 1;
            blocks_to_rings::<V, NF, 1>(task, m0, m1, from, block, scratch);
        }
    }
}

/// Filtered coefficients of order m, `[k][f][re, im]`, with a zero where the number of degrees is odd.
#[inline(always)]
unsafe fn pack<V: Lanes, const NF: usize>(task: &ToRings<'_>, order: &Order, m: usize, from: usize, packed: *mut f64) {
    let t = task.transform;
    let l0 = m.max(order.n);
    if l0 >= t.L_degrees {
        return;
    }
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

/// All channels of NB blocks from `block` on, orders m0..m1.
#[inline(always)]
unsafe fn blocks_to_rings<V: Lanes, const NF: usize, const NB: usize>(
    task: &ToRings<'_>,
    m0: usize,
    m1: usize,
    from: usize,
    block: usize,
    scratch: *const f64,
) {
    let t = task.transform;
    let channel_len = 2 * t.n_pairs * task.M * 2 * LANES;
    let south = task.M * 2 * LANES;
    let packed_len = (t.L_degrees + 4) * 2 * NF;
    let odd = t.N % 2 == 1;
    // SAFETY: ring offsets stay inside the lengths checked by the caller; `scratch` was packed by the caller.
    unsafe {
        let mut channel = 0;
        for (i, order) in t.orders.iter().enumerate() {
            let n = order.n;
            for m in m0..m1 {
                let l0 = m.max(n);
                let packed = scratch.add((i * (m1 - m0) + m - m0) * packed_len);
                let empty = l0 >= t.L_degrees;
                let zero = [[[V::zero(); 4]; NF]; NB];
                let y = t.versine.as_ptr().add(block * LANES);
                let d = if empty { zero } else { sums::<V, NF, NB>(&order.plus, order, m, block, y, packed) };
                let e = if empty || m == 0 || n == 0 { zero } else { sums::<V, NF, NB>(&order.minus, order, m, block, y, packed) };
                let s1 = V::splat(sign(n));
                let s2 = V::splat(sign(l0 + m));
                for b in 0..NB {
                    for f in 0..NF {
                        let at = (2 * (block + b) * task.M + m) * 2 * LANES;
                        let first = task.out[from + f].get().add(channel * channel_len + at);
                        let d = d[b][f];
                        if n == 0 {
                            let mut v = [d[0].add(d[2]), d[1].add(d[3]), d[0].sub(d[2]), d[1].sub(d[3])];
                            if m == 0 {
                                v[1] = V::zero();
                                v[3] = V::zero();
                            }
                            if t.is_analysis() {
                                let w = t.weights.as_ptr().add(2 * (block + b) * LANES);
                                let (wn, ws) = (V::load(w), V::load(w.add(LANES)));
                                v = [v[0].mul(wn), v[1].mul(wn), v[2].mul(ws), v[3].mul(ws)];
                            }
                            store_pair(first, v[0], v[1]);
                            store_pair(first.add(south), v[2], v[3]);
                            continue;
                        }
                        let second = first.add(channel_len);
                        let e = e[b][f];
                        let negative = |v: V| V::zero().sub(v);
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
                        let s3 = s1.mul(s2);
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
            channel += if n == 0 { 1 } else { 2 };
        }
    }
}

#[inline(always)]
unsafe fn store_pair<V: Lanes>(to: *mut f64, re: V, im: V) {
    // SAFETY: the caller promises sixteen writable f64.
    unsafe {
        re.store(to);
        im.store(to.add(LANES));
    }
}

fn sign(power: usize) -> f64 {
    if power % 2 == 1 { -1.0 } else { 1.0 }
}

/// (even re, even im, odd re, odd im) of one stream over NB blocks from `block` on.
#[inline(always)]
unsafe fn sums<V: Lanes, const NF: usize, const NB: usize>(
    stream: &Stream,
    order: &Order,
    m: usize,
    block: usize,
    versine: *const f64,
    packed: *const f64,
) -> [[[V; 4]; NF]; NB] {
    let mut s = [[[V::zero(); 4]; NF]; NB];
    let first = stream.first_block[m] as usize;
    // Blocks before the first active one have nothing; its successors are all active.
    let skip = first.saturating_sub(block);
    if skip >= NB {
        return s;
    }
    // SAFETY: starts are below `pairs`, seeds belong to the active blocks, `packed` holds `pairs` pairs of degrees.
    unsafe {
        let pairs = order.offset[m + 1] - order.offset[m];
        let steps: *const f64 = stream.steps.as_ptr().add(order.offset[m]).cast();
        let active = stream.offset[m] + block + skip - first;
        let starts = stream.starts.as_ptr().add(active);
        let seeds = stream.seeds.as_ptr().add(2 * active * LANES);
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
unsafe fn accumulate<V: Lanes, const NF: usize, const NB: usize>(
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

struct ToCoefficients<'a> {
    transform: &'a HarmonicTransform,
    rings: &'a [&'a [f64]],
    out: &'a [Shared],
    M: usize,
}

dispatch! {
    /// All fields of orders m0..m1. The caller checked the lengths in `task` and gives `scratch_len` f64 of scratch.
    fn to_coefficients = to_coefficients_lanes(task: &ToCoefficients<'_>, m0: usize, m1: usize, scratch: *mut f64)
}

#[inline(always)]
unsafe fn to_coefficients_lanes<V: Lanes>(task: &ToCoefficients<'_>, m0: usize, m1: usize, scratch: *mut f64) {
    let t = task.transform;
    let n_fields = task.rings.len();
    // SAFETY: the caller's promise, passed on; column m of the coefficients starts at (m, m) and has L_in - m entries.
    unsafe {
        for m in m0..m1 {
            for f in 0..n_fields {
                // The lowest direction order, which has the most degrees, writes l0..L_degrees; the others add to it.
                let column = task.out[f].get().add(2 * coefficient_index(t.L_in, 0, m));
                let summed = m < task.M && l0_first(t, m) < t.L_degrees;
                let (from, to) = if summed { (l0_first(t, m), t.L_degrees) } else { (t.L_in, t.L_in) };
                for ell in (m..from).chain(to..t.L_in) {
                    *column.add(2 * ell) = 0.0;
                    *column.add(2 * ell + 1) = 0.0;
                }
            }
        }
        let m1 = m1.min(task.M).min(t.L_degrees);
        if m0 >= m1 {
            return;
        }
        let chunks = n_fields.div_ceil(MAX_CHUNK);
        for chunk in 0..chunks {
            let (from, to) = (chunk * n_fields / chunks, (chunk + 1) * n_fields / chunks);
            match to - from {
                1 => to_coefficients_chunk::<V, 1>(task, m0, m1, from, scratch),
                2 => to_coefficients_chunk::<V, 2>(task, m0, m1, from, scratch),
                3 => to_coefficients_chunk::<V, 3>(task, m0, m1, from, scratch),
                4 => to_coefficients_chunk::<V, 4>(task, m0, m1, from, scratch),
                _ => to_coefficients_chunk::<V, 5>(task, m0, m1, from, scratch),
            }
        }
    }
}

/// The lowest degree at order m of the lowest direction order.
#[inline(always)]
fn l0_first(t: &HarmonicTransform, m: usize) -> usize {
    if t.orders.is_empty() { t.L_degrees } else { m.max(t.orders[0].n) }
}

#[inline(always)]
unsafe fn to_coefficients_chunk<V: Lanes, const NF: usize>(task: &ToCoefficients<'_>, m0: usize, m1: usize, from: usize, scratch: *mut f64) {
    let t = task.transform;
    let n_pairs = t.n_pairs;
    let values_len = n_pairs * NF * 4 * LANES;
    let n_streams = t.n_streams();
    // SAFETY: `scratch` holds the values of all streams and m, the recursion state and the unscaled coefficients
    // (`scratch_len`); coefficient offsets stay inside the lengths checked by the caller.
    unsafe {
        // Block by block, so that each ring's spectrum is read in one run over the task's orders.
        for block in 0..n_pairs {
            let (mut stream, mut channel) = (0, 0);
            for order in &t.orders {
                for m in m0..m1 {
                    if m.max(order.n) < t.L_degrees {
                        let plus = scratch.add(((m - m0) * n_streams + stream) * values_len + block * NF * 4 * LANES);
                        gather::<V, NF>(task, order.n, m, from, channel, block, plus, plus.add(values_len));
                    }
                }
                stream += if order.n == 0 { 1 } else { 2 };
                channel += if order.n == 0 { 1 } else { 2 };
            }
        }
        let state = scratch.add((m1 - m0) * n_streams * values_len);
        let packed = state.add(n_pairs * 2 * LANES);
        let y = t.versine.as_ptr();
        for m in m0..m1 {
            let mut stream = 0;
            for order in &t.orders {
                let l0 = m.max(order.n);
                let plus = scratch.add(((m - m0) * n_streams + stream) * values_len);
                let is_first = stream == 0;
                stream += if order.n == 0 { 1 } else { 2 };
                if l0 >= t.L_degrees {
                    continue;
                }
                let offset = order.offset[m];
                let pairs = order.offset[m + 1] - offset;
                for i in 0..pairs * 4 * NF + LANES {
                    *packed.add(i) = 0.0;
                }
                analysis_stream::<V, NF>(&order.plus, m, offset, pairs, n_pairs, y, plus, state, packed);
                if order.n > 0 && m > 0 {
                    let minus = plus.add(values_len);
                    analysis_stream::<V, NF>(&order.minus, m, offset, pairs, n_pairs, y, minus, state, packed);
                }
                let window = order.window.as_ptr().add(2 * offset);
                let mut column = [std::ptr::null_mut(); NF];
                for f in 0..NF {
                    column[f] = task.out[from + f].get().add(2 * coefficient_index(t.L_in, l0, m));
                }
                for k in 0..t.L_degrees - l0 {
                    let w = *window.add(k);
                    for f in 0..NF {
                        let (sum, to) = (packed.add((k * NF + f) * 2), column[f].add(2 * k));
                        if is_first {
                            V::scale_two(w, sum, to);
                        } else {
                            V::add_scaled_two(w, sum, to);
                        }
                    }
                }
            }
        }
    }
}

/// The adjoint of the combinations of `blocks_to_rings`: (even re, even im, odd re, odd im) values of one block for the streams of
/// order n, `plus` and `minus` (untouched for n = 0 or m = 0).
#[inline(always)]
unsafe fn gather<V: Lanes, const NF: usize>(
    task: &ToCoefficients<'_>,
    n: usize,
    m: usize,
    from: usize,
    channel: usize,
    block: usize,
    plus: *mut f64,
    minus: *mut f64,
) {
    let t = task.transform;
    let channel_len = 2 * t.n_pairs * task.M * 2 * LANES;
    let south = task.M * 2 * LANES;
    let odd = t.N % 2 == 1;
    let l0 = m.max(n);
    let s1 = V::splat(sign(n));
    let s2 = V::splat(sign(l0 + m));
    let s3 = s1.mul(s2);
    // SAFETY: ring offsets stay inside the lengths checked by the caller; `plus` and `minus` hold NF times four vectors.
    unsafe {
        for f in 0..NF {
            let b = task.rings[from + f].as_ptr().add(channel * channel_len + (2 * block * task.M + m) * 2 * LANES);
            let p = plus.add(f * 4 * LANES);
            if n == 0 {
                let mut v = [V::load(b), V::load(b.add(LANES)), V::load(b.add(south)), V::load(b.add(south + LANES))];
                if m == 0 {
                    v[1] = V::zero();
                    v[3] = V::zero();
                }
                if t.is_analysis() {
                    let w = t.weights.as_ptr().add(2 * block * LANES);
                    let (wn, ws) = (V::load(w), V::load(w.add(LANES)));
                    v = [v[0].mul(wn), v[1].mul(wn), v[2].mul(ws), v[3].mul(ws)];
                }
                store_pair(p, v[0].add(v[2]), v[1].add(v[3]));
                store_pair(p.add(2 * LANES), v[0].sub(v[2]), v[1].sub(v[3]));
                continue;
            }
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
unsafe fn analysis_stream<V: Lanes, const NF: usize>(
    stream: &Stream,
    m: usize,
    offset: usize,
    pairs: usize,
    n_pairs: usize,
    versine: *const f64,
    values: *const f64,
    state: *mut f64,
    packed: *mut f64,
) {
    // SAFETY: starts are below `pairs`, seeds belong to the active blocks, `packed` holds `pairs` pairs of degrees and a line.
    unsafe {
        let first = stream.first_block[m] as usize;
        let steps: *const f64 = stream.steps.as_ptr().add(offset).cast();
        let base = stream.offset[m];
        let starts = stream.starts.as_ptr().add(base);
        let seeds = stream.seeds.as_ptr().add(base * 2 * LANES);
        let tile = packed.add(((pairs + 1) * 4 * NF + LANES).next_multiple_of(LANES));
        // A group's values (256 NF bytes per block) should stay in half of the first-level cache.
        let group = (96 / NF).min(GROUP_BLOCKS);
        let mut end = n_pairs;
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
unsafe fn project<V: Lanes, const NF: usize>(
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
unsafe fn project_tile<V: Lanes, const NF: usize, const KP: usize>(tile: *const f64, i: usize, n_blocks: usize, values: *const f64, out: *mut f64) {
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

// ------------------------------------------------------------------------------------------------ bytes

const MAGIC: u64 = 0x7363_6174_7465_7263;
const VERSION: u64 = 1;

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], KernelError> {
        if self.bytes.len() < len {
            return Err(KernelError::bytes(what, format!("{len} bytes"), self.bytes.len()));
        }
        let (head, tail) = self.bytes.split_at(len);
        self.bytes = tail;
        Ok(head)
    }

    fn word(&mut self, what: &'static str) -> Result<u64, KernelError> {
        let bytes = self.take(what, 8)?;
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    fn count(&mut self, what: &'static str) -> Result<usize, KernelError> {
        let word = self.word(what)?;
        usize::try_from(word).map_err(|_| KernelError::bytes(what, "a count", word))
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    // FNV-1a over words: the tables are megabytes, so one multiplication per eight bytes.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    hash
}

impl Stream {
    fn write_seeds(&self, out: &mut Vec<u8>) {
        out.extend((self.starts.len() as u64).to_le_bytes());
        for (m, block) in self.first_block.iter().enumerate() {
            out.extend(u64::from(*block).to_le_bytes());
            out.extend((self.offset[m] as u64).to_le_bytes());
        }
        for start in &self.starts {
            out.extend(u64::from(*start).to_le_bytes());
        }
        for line in self.seeds.lines() {
            for value in line.0 {
                out.extend(value.to_le_bytes());
            }
        }
    }

    fn read_seeds(&mut self, reader: &mut Reader<'_>, pair_offset: &[usize], L_degrees: usize, n_pairs: usize) -> Result<(), KernelError> {
        let total = reader.count("number of seeds")?;
        if total > L_degrees * n_pairs {
            return Err(KernelError::bytes("number of seeds", format!("at most {}", L_degrees * n_pairs), total));
        }
        for _ in 0..L_degrees {
            let block = reader.count("first block")?;
            if block > n_pairs {
                return Err(KernelError::bytes("first block", format!("at most {n_pairs}"), block));
            }
            self.first_block.push(block as u32);
            self.offset.push(reader.count("seed offset")?);
        }
        self.offset.push(total);
        for m in 0..L_degrees {
            let active = n_pairs - self.first_block[m] as usize;
            if m == 0 && self.offset[0] != 0 || self.offset[m].checked_add(active) != Some(self.offset[m + 1]) {
                return Err(KernelError::bytes("seed offset", format!("{active} active blocks"), self.offset[m]));
            }
        }
        for m in 0..L_degrees {
            let pairs = pair_offset[m + 1] - pair_offset[m];
            let mut limit = pairs;
            for i in self.offset[m]..self.offset[m + 1] {
                let start = reader.count("start")?;
                if start >= pairs || (i > self.offset[m] && start > limit) {
                    return Err(KernelError::bytes("start", format!("below {pairs}, not increasing"), start));
                }
                limit = start;
                self.starts.push(start as u32);
            }
        }
        for _ in 0..2 * total {
            let mut line = [0.0; LANES];
            for value in &mut line {
                *value = f64::from_bits(reader.word("seed")?);
                if !value.is_finite() {
                    return Err(KernelError::bytes("seed", "a finite number", *value));
                }
            }
            self.seeds.push(line);
        }
        Ok(())
    }
}

impl HarmonicTransform {
    /// The parameters and seeds, from which [`Self::from_bytes`] makes the same transform without the climb to the seeds.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, a, b) = match self.kind {
            Kind::Wavelet { L_total, j } => (0, L_total, j),
            Kind::Plain => (1, 0, 0),
            Kind::Scaling { L_total, J_min } => (2, L_total, J_min),
            Kind::Analysis { L_out } => (3, L_out, 0),
        };
        let mut out = Vec::new();
        for word in [MAGIC, VERSION, kind, a as u64, b as u64, self.L_in as u64, self.L as u64, self.N as u64] {
            out.extend(word.to_le_bytes());
        }
        for order in &self.orders {
            order.plus.write_seeds(&mut out);
            if order.n > 0 {
                order.minus.write_seeds(&mut out);
            }
        }
        let sum = checksum(&out);
        out.extend(sum.to_le_bytes());
        out
    }

    /// Reads what [`Self::to_bytes`] wrote. Every length, index and number is checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KernelError> {
        let body_len = bytes.len().checked_sub(8).ok_or_else(|| KernelError::bytes("length", "a header", bytes.len()))?;
        let (body, tail) = bytes.split_at(body_len);
        let stored = Reader { bytes: tail }.word("checksum")?;
        let found = checksum(body);
        if stored != found {
            return Err(KernelError::bytes("checksum", format!("{stored:x}"), format!("{found:x}")));
        }
        let mut reader = Reader { bytes: body };
        for (what, expected) in [("magic number", MAGIC), ("version", VERSION)] {
            let word = reader.word(what)?;
            if word != expected {
                return Err(KernelError::bytes(what, format!("{expected:x}"), format!("{word:x}")));
            }
        }
        let kind = reader.word("kind")?;
        let (a, b) = (reader.count("first parameter")?, reader.count("second parameter")?);
        let (L_in, L, N) = (reader.count("L_in")?, reader.count("L")?, reader.count("N")?);
        let (kind, windows) = match kind {
            0 => (Kind::Wavelet { L_total: a, j: b }, Windows::wavelet(L_in, a, N, b)?),
            1 => (Kind::Plain, Windows::plain(L_in, L)?),
            2 => (Kind::Scaling { L_total: a, J_min: b }, Windows::scaling(L_in, a, b)?),
            3 => (Kind::Analysis { L_out: a }, analysis_windows(L, a)?),
            other => return Err(KernelError::bytes("kind", "0, 1, 2 or 3", other)),
        };
        if (windows.L, windows.N) != (L, N) {
            return Err(KernelError::bytes("grid", format!("L = {}, N = {}", windows.L, windows.N), format!("{L}, {N}")));
        }
        if matches!(kind, Kind::Analysis { L_out } if L_out != L_in) {
            return Err(KernelError::bytes("L_out", L_in, a));
        }
        let transform = Self::build(kind, L_in, windows, Some(&mut reader))?;
        if !reader.bytes.is_empty() {
            return Err(KernelError::bytes("length", "no bytes after the seeds", reader.bytes.len()));
        }
        Ok(transform)
    }

    /// The direction mixture of this transform's channels; see [`wavelets::steering_matrix`].
    pub fn steering_matrix(&self) -> Vec<f64> {
        wavelets::steering_matrix(self.N)
    }
}
