//! The Legendre stage: coefficients <-> half spectra of rings, for scalar and directional transforms, and their adjoints.
//!
//! # Equations
//!
//! For a real field f_{l,-m} = (-1)^m conj f_lm and a direction order n, with real filter p_l and nu = 1 (N odd) or i (N even),
//! `F_n(m) = sum_l d^l_{mn}(theta) f_lm conj(nu) p_l`. The real channels are B = Re H_n and C = Im H_n of
//! H_n(phi) = sum_m F_n(m) e^{i m phi}; n = 0 has one channel, A = H_0 (its real part).
//!
//! # Method
//!
//! ```text
//! grid        the recursion in steps of two degrees that n = 0 and n = 2 share (A, B, C of N = 3), its seeds and ring factors
//! basis       coefficients <-> rows of that recursion: filter, n = 2 from n = 0, change of basis
//! synthesis   rows -> rings, sums in registers         analysis   rings -> rows, a matrix product
//! direct      the other orders n, and n = 2 where dividing by sin^2 would lose digits, with a recursion for each of +-n
//! table       the shared functions stored instead of recurred
//! ```
//!
//! Near the poles the functions are negligible up to some degree; a plan-time table of the first relevant index and the values
//! there (the *seeds*) replaces all run-time scaling. Fields of a call share the recursions.

mod analysis;
mod basis;
mod direct;
mod grid;
mod synthesis;
mod table;

use std::sync::Arc;

use crate::layout::{coefficient_index, coefficients_len};
use crate::parallel::{Parallel, Shared};
use crate::simd::{LANES, Lanes, dispatch, with_scratch};
use crate::wavelets::Windows;
use crate::{KernelError, wavelets};
use analysis::ToCoefficients;
use basis::Factors;
use grid::{Entry, Grid, Seeds};
use synthesis::ToRings;
use table::Table;

/// Fields that share one pass where direction orders have their own recursions; more are handled in equal chunks.
const MAX_CHUNK: usize = 5;
/// Scalar fields that share one pass.
const MAX_SCALAR_CHUNK: usize = 16;

/// Synthesis and adjoint, or analysis and adjoint, of one grid, filter and set of direction orders.
///
/// N channels per field, contiguous. N odd: channel 0 is A = Re H_0, then B_n, C_n for n = 2, 4, ..; N even: B_n, C_n for
/// n = 1, 3, ... A map is value(phi) = F_0 + 2 Re sum_{m>0} F_m e^{i m phi}.
///
/// Transforms of one grid share its tables while any of them lives.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::harmonic::HarmonicTransform;
/// # let plain = HarmonicTransform::plain(8, 8)?;
/// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
/// # let forward = HarmonicTransform::for_analysis(8, 8)?;
/// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
/// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
/// // Synthesis and analysis on one grid are inverse to each other, with FFTs along the rings between them.
/// let fft: scatterc_kernels::fourier::RingFft = scatterc_kernels::fourier::RingFft::new(8)?;
/// let mut x = numbers(plain.coefficients_len(), 1.1);
/// (0..8).for_each(|ell| x[2 * ell + 1] = 0.0); // Im f_l0 of a real field
/// let (mut rings, mut map, mut back) = (vec![0.0; plain.rings_len(8)], vec![0.0; fft.map_len()], vec![0.0; x.len()]);
/// plain.synthesis(&Serial, &[&x], &mut [&mut rings]);
/// fft.inverse(&Serial, &[&rings], 8, &mut [&mut map]);
/// fft.forward(&Serial, &[&map], 8, &mut [&mut rings]);
/// forward.analysis(&Serial, &[&rings], 8, &mut [&mut back]);
/// assert!(x.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-12));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HarmonicTransform {
    analysis: bool,
    L_in: usize,
    L: usize,
    N: usize,
    /// Degrees and orders below this are summed.
    L_degrees: usize,
    grid: Arc<Grid>,
    /// Filters of the channels that share a recursion; none for even N.
    factors: Option<Factors>,
    /// Seeds at the first degree of the filter, for orders where it lies above the grid's own starts.
    late: Seeds,
    /// Blocks from the pole where n = 2 has its own recursion.
    polar_blocks: usize,
    orders: Vec<direct::Order>,
    table: Option<Table>,
}

impl HarmonicTransform {
    /// psi^j of bandlimit `L_total` and azimuthal bandlimit `N` on the grid of bandlimit L_j = `bandlimit(L_total, j)`.
    ///
    /// Coefficients have bandlimit `L_in`; degrees l0_j <= ell < min(L_in, L_j) are read, missing ones count as zero.
    ///
    /// ```
    /// use scatterc_kernels::harmonic::HarmonicTransform;
    ///
    /// // Scale 2 of L = 32 lives on the grid of bandlimit 8.
    /// let wavelet = HarmonicTransform::wavelet(32, 32, 3, 2)?;
    /// assert_eq!((wavelet.L(), wavelet.n_channels()), (8, 3));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn wavelet(L_in: usize, L_total: usize, N: usize, j: usize) -> Result<Self, KernelError> {
        let windows = Windows::wavelet(L_in, L_total, N, j)?;
        Self::build(false, L_in, &windows)
    }

    /// Scalar inverse transform f = sum f_lm Y_lm on the grid of bandlimit `L`; reads ell < min(L_in, L).
    ///
    /// ```
    /// use scatterc_kernels::harmonic::HarmonicTransform;
    ///
    /// assert_eq!(HarmonicTransform::plain(8, 16)?.coefficients_len(), 8 * 9);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn plain(L_in: usize, L: usize) -> Result<Self, KernelError> {
        Self::build(false, L_in, &Windows::plain(L_in, L)?)
    }

    /// Low-pass phi of `J_min` on the grid of bandlimit L_{J_min}; one channel.
    ///
    /// ```
    /// use scatterc_kernels::harmonic::HarmonicTransform;
    ///
    /// assert_eq!(HarmonicTransform::scaling(16, 16, 1)?.L(), 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scaling(L_in: usize, L_total: usize, J_min: usize) -> Result<Self, KernelError> {
        Self::build(false, L_in, &Windows::scaling(L_in, L_total, J_min)?)
    }

    /// Scalar forward transform from the grid of bandlimit `L` to coefficients of bandlimit `L_out`; for [`Self::analysis`]
    /// and [`Self::analysis_adjoint`] only, as the other constructors' transforms are for `synthesis` and its adjoint.
    ///
    /// ```
    /// use scatterc_kernels::harmonic::HarmonicTransform;
    ///
    /// let forward = HarmonicTransform::for_analysis(16, 8)?;
    /// assert_eq!((forward.L(), forward.L_coefficients(), forward.is_analysis()), (16, 8, true));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn for_analysis(L: usize, L_out: usize) -> Result<Self, KernelError> {
        let windows = analysis_windows(L, L_out)?;
        Self::build(true, L_out, &windows)
    }

    fn build(analysis: bool, L_in: usize, windows: &Windows) -> Result<Self, KernelError> {
        let (L, N) = (windows.L, windows.N);
        let used = |filter: &[f64]| filter.iter().rposition(|p| *p != 0.0).map_or(0, |ell| ell + 1);
        let first = |filter: &[f64]| filter.iter().position(|p| *p != 0.0).unwrap_or(filter.len());
        let L_degrees = windows.windows.iter().map(|window| used(&window.filter)).max().unwrap_or(0);
        // n = 2 reaches two degrees up; sharing the larger tables costs n = 0 nothing.
        let grid = Grid::shared(L, L.max(L_degrees) + 2)?;
        let plain = windows.windows.iter().find(|window| window.n == 0);
        let raised = windows.windows.iter().find(|window| window.n == 2 && plain.is_some());
        let factors = plain.map(|plain| Factors::new(plain, raised, L_degrees));
        let late = match plain {
            Some(_) => {
                let lowest = windows.windows.iter().filter(|w| w.n == 0 || w.n == 2).map(|w| first(&w.filter)).min().unwrap_or(0);
                grid.late_seeds(lowest, 4, L_degrees)
            }
            None => Seeds::default(),
        };
        let polar_blocks = polar_blocks(L).min(grid.n_pairs);
        let mut orders = Vec::new();
        let mut channel = 0;
        for window in &windows.windows {
            if window.n > 0 {
                let blocks = if window.n == 2 && raised.is_some() { polar_blocks } else { grid.n_pairs };
                orders.push(direct::Order::new(window, channel, L_degrees, &grid, blocks));
            }
            channel += if window.n == 0 { 1 } else { 2 };
        }
        Ok(Self { analysis, L_in, L, N, L_degrees, grid, factors, late, polar_blocks, orders, table: None })
    }

    /// The same transform with the functions of the shared recursion stored, if they fit into `budget` bytes.
    ///
    /// Results agree to rounding. Reading a function costs eight bytes per ring where the recursion costs two multiply-adds, so on
    /// processors the recursion wins unless the table stays in a near cache; see [`Self::prefers_tables`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(plain.clone().with_tables(1 << 20).has_tables() && !plain.with_tables(0).has_tables());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn with_tables(mut self, budget: usize) -> Self {
        if self.factors.is_some() && self.table.is_none() && Table::bytes_for(&self) <= budget {
            self.table = Some(Table::new(&self));
        }
        self
    }

    /// Whether stored functions are expected to be faster than the recursion for calls of `n_fields` fields within `budget` bytes.
    ///
    /// Per function and eight rings, recursion costs two of 2 + 4 c multiply-adds at two per cycle (c channels share it), a
    /// stored one 64 bytes at about 16 per cycle from the second-level cache and 4 from beyond.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(!plain.prefers_tables(1, 0), "nothing fits into no bytes");
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn prefers_tables(&self, n_fields: usize, budget: usize) -> bool {
        const NEAR: usize = 1 << 18;
        let bytes = Table::bytes_for(self);
        let channels = (n_fields * self.shared_channels()).clamp(1, 6) as f64;
        let recursion = (2.0 + 4.0 * channels) / 2.0;
        let stored = (2.0 * channels).max(64.0 / if bytes <= NEAR { 16.0 } else { 4.0 });
        self.factors.is_some() && bytes <= budget && stored < recursion
    }

    /// Whether the shared functions are stored.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(!plain.has_tables());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn has_tables(&self) -> bool {
        self.table.is_some()
    }

    /// Whether it was made by [`Self::for_analysis`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(forward.is_analysis() && !plain.is_analysis());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn is_analysis(&self) -> bool {
        self.analysis
    }

    /// Channels per field.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert_eq!((plain.n_channels(), wavelet.n_channels()), (1, 2));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_channels(&self) -> usize {
        self.N
    }

    /// Bandlimit of the grid.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert_eq!(plain.L(), 8);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn L(&self) -> usize {
        self.L
    }

    /// Bandlimit of the coefficients.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert_eq!(HarmonicTransform::plain(4, 8)?.L_coefficients(), 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn L_coefficients(&self) -> usize {
        self.L_in
    }

    /// Number of f64 of the coefficients of one field.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert_eq!(plain.coefficients_len(), 8 * 9);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn coefficients_len(&self) -> usize {
        coefficients_len(self.L_in)
    }

    /// Number of f64 of the rings of one field, all channels, with M orders (`synthesis` writes M = L).
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert_eq!(wavelet.rings_len(8), 2 * plain.rings_len(8));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn rings_len(&self, M: usize) -> usize {
        self.N * 2 * self.grid.n_pairs * M * 2 * LANES
    }

    /// Number of f64 of scratch memory each thread keeps.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(plain.scratch_len() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        let orders = self.group(self.L);
        let shared = match self.factors {
            Some(_) => synthesis::scratch_len(self, self.chunk(), orders).max(analysis::scratch_len(self, self.chunk(), orders)),
            None => 0,
        };
        let direct = if self.orders.is_empty() { 0 } else { direct::scratch_len(self, orders) };
        shared.max(direct)
    }

    /// Most fields per pass.
    fn chunk(&self) -> usize {
        if self.orders.is_empty() { MAX_SCALAR_CHUNK } else { MAX_CHUNK }
    }

    /// Orders per task. Neighbouring orders are neighbours in a ring's spectrum, so a task that handles several touches memory
    /// in runs of 128 bytes times this instead of isolated cache lines at power-of-two distances; its packed data should
    /// stay in the second-level cache, and small transforms should still make eight tasks.
    fn group(&self, M: usize) -> usize {
        let weight = self.orders.len() + usize::from(self.factors.is_some());
        (8192 / (self.L * weight.max(1))).clamp(1, 8).min(M.div_ceil(8)).max(1)
    }

    /// Channels of a field that share the recursion of `grid`.
    fn shared_channels(&self) -> usize {
        self.factors.as_ref().map_or(0, |factors| if factors.raised.is_some() { 3 } else { 1 })
    }

    fn factors(&self) -> &Factors {
        self.factors.as_ref().expect("only transforms with shared channels ask for their filters")
    }

    /// Rows of the shared recursion at order m.
    fn rows(&self, m: usize) -> usize {
        let reach = if self.shared_channels() == 3 { 2 } else { 0 };
        (self.L_degrees + reach).saturating_sub(m).div_ceil(2)
    }

    /// Whether channels B and C of n = 2 come from the shared recursion there.
    fn is_raised(&self, m: usize, block: usize) -> bool {
        m >= 2 && block >= self.polar_blocks
    }

    fn seeds(&self, m: usize) -> &Seeds {
        if m < self.late.first_block.len() { &self.late } else { &self.grid.seeds }
    }

    fn entry(&self, m: usize) -> Entry {
        self.seeds(m).entry(m)
    }

    /// The lowest row that any block uses; an upper bound of the rows if none does.
    fn first_row(&self, m: usize) -> usize {
        let seeds = self.seeds(m);
        let (from, to) = (seeds.offset[m], seeds.offset[m + 1]);
        if from == to { self.rows(m) } else { (seeds.starts[to - 1] as usize).min(self.rows(m)) }
    }

    /// First row of an active block.
    fn start(&self, m: usize, block: usize) -> usize {
        let seeds = self.seeds(m);
        seeds.starts[seeds.offset[m] + block - seeds.first_block[m] as usize] as usize
    }

    /// Size of the plan-time tables in bytes, without those that transforms of one grid share; see [`Self::grid_bytes`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(plain.clone().with_tables(1 << 20).table_bytes() > plain.table_bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn table_bytes(&self) -> usize {
        self.late.bytes()
            + self.factors.as_ref().map_or(0, Factors::bytes)
            + self.orders.iter().map(direct::Order::bytes).sum::<usize>()
            + self.table.as_ref().map_or(0, Table::bytes)
    }

    /// Address and size in bytes of the tables shared by the transforms of one grid, so that they can be counted once.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// // Transforms of one grid share their tables.
    /// assert_eq!(plain.grid_bytes(), HarmonicTransform::plain(8, 8)?.grid_bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn grid_bytes(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.grid) as usize, self.grid.bytes())
    }

    /// Floating-point operations of one `synthesis` or adjoint of `n_fields` fields as executed in the inner loops with eight-lane
    /// registers: per row of the shared recursion and ring four for the recursion (once per six channels) and eight per channel,
    /// per degree of the others four for each recursion (once per five fields) and four per field.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// assert!(plain.flops(2) > plain.flops(1));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self, n_fields: usize) -> f64 {
        let mut shared = 0;
        if self.factors.is_some() {
            for m in 0..self.L_degrees {
                for block in self.seeds(m).first_block[m] as usize..self.grid.n_pairs {
                    shared += self.rows(m).saturating_sub(self.start(m, block));
                }
            }
        }
        let total = n_fields * self.shared_channels();
        let direct: f64 = self.orders.iter().map(direct::Order::cells).sum();
        (shared * LANES * (4 * total.div_ceil(6) + 8 * total)) as f64 + direct * 4.0 * (n_fields.div_ceil(MAX_CHUNK) + n_fields) as f64
    }

    /// Legendre stage of the synthesis: `out[f]` := rings of `fields[f]`, `[N][2 n_pairs][L][16]` (see [`crate::layout`]).
    ///
    /// A_0, B_0, C_0 have zero imaginary part; padding lanes repeat their ring.
    /// Panics if a slice has the wrong length or the transform was made for analysis: the caller's plan is broken then.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// // sqrt(4 pi) Y_00 = 1: F_0 = 1 on every ring.
    /// let mut x = vec![0.0; plain.coefficients_len()];
    /// x[0] = (4.0 * std::f64::consts::PI).sqrt();
    /// let mut rings = vec![0.0; plain.rings_len(8)];
    /// plain.synthesis(&Serial, &[&x], &mut [&mut rings]);
    /// assert!(rings[..8].iter().all(|f| (f - 1.0).abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn synthesis(&self, par: &dyn Parallel, fields: &[&[f64]], out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis needs a synthesis transform");
        self.to_rings(par, fields, self.L, out);
    }

    /// Exact adjoint of [`Self::synthesis`] under the real inner product of the stored numbers: `out[f]` := coefficients.
    ///
    /// `rings[f]` has `M` <= L orders per ring, absent ones count as zero. Padding lanes must hold zeros. Panics as `synthesis`.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// // L = 8 has four northern rings, so half of the lanes are padding, whose cotangents are zero.
    /// let layout = scatterc_kernels::layout::RingLayout::new(8)?;
    /// let x = numbers(plain.coefficients_len(), 1.1);
    /// let mut y = numbers(plain.rings_len(8), 0.7);
    /// (0..y.len()).filter(|k| layout.is_padding(k / (8 * 16), k % 8)).for_each(|k| y[k] = 0.0);
    /// let (mut forth, mut back) = (vec![0.0; y.len()], vec![0.0; x.len()]);
    /// plain.synthesis(&Serial, &[&x], &mut [&mut forth]);
    /// plain.synthesis_adjoint(&Serial, &[&y], 8, &mut [&mut back]);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn synthesis_adjoint(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_adjoint needs a synthesis transform");
        self.to_coefficients(par, rings, M, out);
    }

    /// Legendre stage of the forward transform:
    /// a_lm = sqrt((2l + 1) / 4 pi) sum_t w_t 2 pi / (2L - 1) d^l_{m0}(theta_t) F_m(t), l < L_out, m < min(M, L_out), from
    /// F_m = sum_p f_p e^{-i m phi_p}. Coefficients with m >= M are zero. Padding weighs zero but must be finite.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// // Half spectra of the constant 1, which sum over 15 samples.
    /// let mut rings = vec![0.0; forward.rings_len(8)];
    /// rings.chunks_exact_mut(8 * 16).for_each(|block| block[..8].fill(15.0));
    /// let mut a = vec![0.0; forward.coefficients_len()];
    /// forward.analysis(&Serial, &[&rings], 8, &mut [&mut a]);
    /// assert!((a[0] - (4.0 * std::f64::consts::PI).sqrt()).abs() < 1e-13 && a[1..].iter().all(|a| a.abs() < 1e-13));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn analysis(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(self.is_analysis(), "analysis needs a transform from `for_analysis`");
        self.to_coefficients(par, rings, M, out);
    }

    /// Exact adjoint of [`Self::analysis`]: coefficient cotangents to ring cotangents with `M` orders; padding gets zeros.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// let (x, y) = (numbers(forward.rings_len(8), 1.1), numbers(forward.coefficients_len(), 0.7));
    /// let (mut forth, mut back) = (vec![0.0; y.len()], vec![0.0; x.len()]);
    /// forward.analysis(&Serial, &[&x], 8, &mut [&mut forth]);
    /// forward.analysis_adjoint(&Serial, &[&y], 8, &mut [&mut back]);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn analysis_adjoint(&self, par: &dyn Parallel, fields: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(self.is_analysis(), "analysis_adjoint needs a transform from `for_analysis`");
        self.to_rings(par, fields, M, out);
    }

    /// Number of f64 of the coefficients of one field with orders below M: the first ones of the layout.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// // m = 0 has eight degrees, m = 1 seven.
    /// assert_eq!((plain.orders_len(1), plain.orders_len(2)), (2 * 8, 2 * 15));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn orders_len(&self, M: usize) -> usize {
        2 * (0..M.min(self.L_in)).map(|m| self.L_in - m).sum::<usize>()
    }

    /// [`Self::synthesis`] of the orders below `M` alone: `fields[f]` is `[orders_len(M)]`, `out[f]` is `[N][2 n_pairs][M][16]`.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// // The orders below 2 are those of the whole synthesis.
    /// let x = numbers(plain.coefficients_len(), 1.1);
    /// let (mut all, mut few) = (vec![0.0; plain.rings_len(8)], vec![0.0; plain.rings_len(2)]);
    /// plain.synthesis(&Serial, &[&x], &mut [&mut all]);
    /// plain.synthesis_of_orders(&Serial, &[&x[..plain.orders_len(2)]], 2, &mut [&mut few]);
    /// assert!((few[16] - all[16]).abs() < 1e-13);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn synthesis_of_orders(&self, par: &dyn Parallel, fields: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_of_orders needs a synthesis transform");
        self.orders_to_rings(par, fields, self.orders_len(M), M, out);
    }

    /// Exact adjoint of [`Self::synthesis_of_orders`]. Padding lanes must hold zeros.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// let mut back = vec![1.0; plain.orders_len(2)];
    /// plain.synthesis_of_orders_adjoint(&Serial, &[&vec![0.0; plain.rings_len(2)]], 2, &mut [&mut back]);
    /// assert!(back.iter().all(|x| *x == 0.0));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn synthesis_of_orders_adjoint(&self, par: &dyn Parallel, rings: &[&[f64]], M: usize, out: &mut [&mut [f64]]) {
        assert!(!self.is_analysis(), "synthesis_of_orders_adjoint needs a synthesis transform");
        self.rings_to_orders(par, rings, M, M.min(self.L_in), out);
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

/// Blocks of eight rings from the pole where n = 2 keeps its own recursion: dividing by sin^2 multiplies rounding by about
/// (L / ring)^2 there. At L = 2048 the loss is below 1e-12 of the largest function from ring 15 on; up to L = 64 it is everywhere.
fn polar_blocks(L: usize) -> usize {
    match L {
        0..=64 => 0,
        65..=256 => 1,
        257..=1024 => 2,
        _ => 4,
    }
}

/// The part of `total` things in `parts` balanced parts that holds thing `s`, its first thing and its end.
fn balanced(total: usize, parts: usize, s: usize) -> (usize, usize, usize) {
    let bound = |part: usize| part * total / parts;
    let part = (0..parts).find(|part| s < bound(part + 1)).expect("things are numbered below their total");
    (part, bound(part), bound(part + 1))
}

dispatch! {
    /// All fields of orders m0..m1. The caller checked the lengths in `task` and gives `scratch_len` f64 of scratch.
    fn to_rings = to_rings_lanes(task: &ToRings<'_>, m0: usize, m1: usize, scratch: *mut f64)
}

#[inline(always)]
unsafe fn to_rings_lanes<V: Lanes<Element = f64>>(task: &ToRings<'_>, m0: usize, m1: usize, scratch: *mut f64) {
    let t = task.transform;
    let n_fields = task.fields.len();
    let chunks = n_fields.div_ceil(t.chunk());
    for chunk in 0..chunks {
        let (from, to) = (chunk * n_fields / chunks, (chunk + 1) * n_fields / chunks);
        // SAFETY: the caller's promise, passed on; each chunk is at most `chunk` fields.
        unsafe {
            if t.factors.is_some() {
                synthesis::shared_to_rings::<V>(task, m0, m1, from, to, scratch);
            }
            if t.orders.is_empty() {
                continue;
            }
            match to - from {
                1 => direct::direct_to_rings::<V, 1>(task, m0, m1, from, scratch),
                2 => direct::direct_to_rings::<V, 2>(task, m0, m1, from, scratch),
                3 => direct::direct_to_rings::<V, 3>(task, m0, m1, from, scratch),
                4 => direct::direct_to_rings::<V, 4>(task, m0, m1, from, scratch),
                _ => direct::direct_to_rings::<V, 5>(task, m0, m1, from, scratch),
            }
        }
    }
}

dispatch! {
    /// All fields of orders m0..m1. The caller checked the lengths in `task` and gives `scratch_len` f64 of scratch.
    fn to_coefficients = to_coefficients_lanes(task: &ToCoefficients<'_>, m0: usize, m1: usize, scratch: *mut f64)
}

#[inline(always)]
unsafe fn to_coefficients_lanes<V: Lanes<Element = f64>>(task: &ToCoefficients<'_>, m0: usize, m1: usize, scratch: *mut f64) {
    let t = task.transform;
    let n_fields = task.rings.len();
    let summed = m1.min(task.M).min(t.L_degrees).max(m0);
    for m in m0..m1 {
        // The shared recursion writes all degrees below `L_degrees`, the direct ones add to them.
        let degrees = if m < summed && t.factors.is_some() { t.L_degrees } else { m };
        for out in task.out {
            // SAFETY: column m of the coefficients starts at (m, m) and has L_in - m entries.
            let column = unsafe { out.get().add(2 * coefficient_index(t.L_in, 0, m)) };
            for i in 2 * degrees..2 * t.L_in {
                // SAFETY: as above; degrees >= m.
                unsafe { *column.add(i) = 0.0 };
            }
        }
    }
    if summed == m0 {
        return;
    }
    let m1 = summed;
    let chunks = n_fields.div_ceil(t.chunk());
    for chunk in 0..chunks {
        let (from, to) = (chunk * n_fields / chunks, (chunk + 1) * n_fields / chunks);
        // SAFETY: as in `to_rings_lanes`.
        unsafe {
            if t.factors.is_some() {
                analysis::shared_to_coefficients::<V>(task, m0, m1, from, to, scratch);
            }
            if t.orders.is_empty() {
                continue;
            }
            match to - from {
                1 => direct::direct_to_coefficients::<V, 1>(task, m0, m1, from, scratch),
                2 => direct::direct_to_coefficients::<V, 2>(task, m0, m1, from, scratch),
                3 => direct::direct_to_coefficients::<V, 3>(task, m0, m1, from, scratch),
                4 => direct::direct_to_coefficients::<V, 4>(task, m0, m1, from, scratch),
                _ => direct::direct_to_coefficients::<V, 5>(task, m0, m1, from, scratch),
            }
        }
    }
}

impl HarmonicTransform {
    /// The direction mixture of this transform's channels; see [`wavelets::steering_matrix`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::harmonic::HarmonicTransform;
    /// # let plain = HarmonicTransform::plain(8, 8)?;
    /// # let wavelet = HarmonicTransform::wavelet(8, 8, 2, 3)?;
    /// # let forward = HarmonicTransform::for_analysis(8, 8)?;
    /// // Three directions from two channels.
    /// assert_eq!(wavelet.steering_matrix().len(), 3 * 2);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn steering_matrix(&self) -> Vec<f64> {
        wavelets::steering_matrix(self.N)
    }
}
