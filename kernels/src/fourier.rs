//! The Fourier stage: half spectra of rings <-> maps, eight rings per vector.
//!
//! A block of eight northern rings and the block of their mirrors form one complex sequence z = north + i south, so the
//! transform of two real rings is one complex transform of odd length n = 2L - 1. It runs for eight lanes at once with
//! one program: n = a b is split into transforms of length a, twiddle factors and transforms of length b, each of which fits
//! the cache closest to the core, so that a pair of blocks is swept twice whatever its factors. Packing half spectra into z
//! happens inside the first sweep of an inverse, taking them apart inside the last one of a forward transform. The short transforms are
//! self-sorting mixed radix (decimation in frequency), odd radices r by the (r - 1) / 2 cosine and sine products of
//! symmetric and antisymmetric parts, some large primes by a cyclic convolution ([`Cyclic`]): 127 in 1.0 in place of 2.3 us for eight lanes, 7 x 73 in 4.8 in place
//! of 7.8 us, 23 x 89 in 27 in place of 39 us (Zen 5, packing included). The inverse is the forward program with real and imaginary parts exchanged.
//! Lengths with a prime factor above [`LARGEST_PRIME`] go row by row through `rustfft`.
//! `LaneFft` is the same program for eight sequences of any length, even ones included, which images use.

use std::sync::Arc;

use rustfft::num_complex::Complex;

use crate::KernelError;
use crate::layout::RingLayout;
use crate::parallel::{Parallel, Shared};
use crate::simd::{Aligned, LANES, Lanes, Real, dispatch, with_scratch};

/// Prime factors up to this run as one direct pass; its quadratic cost then meets that of Bluestein's method.
///
/// ```
/// use scatterc_kernels::fourier::LARGEST_PRIME;
///
/// assert_eq!(LARGEST_PRIME, 131);
/// ```
pub const LARGEST_PRIME: usize = 131;

/// Most outputs of a direct pass that share a sweep: 24 sums in registers.
const WIDEST: usize = 6;

/// FFT along the rings of one grid.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
/// # let fft: RingFft = RingFft::new(4)?;
/// // Rings of 2 L - 1 samples, there and back: forward sums, so the way back divides.
/// let map: Vec<f64> = (0..fft.map_len()).map(|k| (k / 8) as f64).collect();
/// let (mut rings, mut back) = (vec![0.0; fft.rings_len(4)], vec![0.0; fft.map_len()]);
/// fft.forward(&Serial, &[&map], 4, &mut [&mut rings]);
/// fft.inverse_scaled(&Serial, &[&rings], 4, &mut [&mut back], 1.0 / 7.0, 1.0 / 7.0);
/// assert!(map.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-13));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Clone)]
pub struct RingFft<T: Real = f64> {
    L: usize,
    n: usize,
    n_pairs: usize,
    method: Method<T>,
}

#[derive(Clone)]
enum Method<T> {
    /// L = 1: one sample per ring.
    Copy,
    Split(Arc<Split<T>>),
    Rows(Arc<dyn rustfft::Fft<T>>),
}

impl<T: Real> std::fmt::Debug for RingFft<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let method = match &self.method {
            Method::Copy => "copy".to_string(),
            Method::Split(split) => {
                let radices = |passes: &[Pass<T>]| passes.iter().map(|p| p.radix).collect::<Vec<_>>();
                format!("{:?} {:?}", radices(&split.columns), radices(&split.rows))
            }
            Method::Rows(_) => "rustfft".to_string(),
        };
        f.debug_struct("RingFft").field("L", &self.L).field("method", &method).finish()
    }
}

/// n = a b: b transforms of length a, twiddle factors, a transforms of length b.
struct Split<T> {
    a: usize,
    b: usize,
    /// Passes of the transforms of length a; none where a = 1.
    columns: Vec<Pass<T>>,
    /// e^{-2 pi i u i / n} for i < b, u < a: `[b][a][2]`; empty where a = 1.
    twiddles: Vec<T>,
    /// Passes of the transforms of length b.
    rows: Vec<Pass<T>>,
}

/// Longest transform that runs as one: its buffers then take half of the cache closest to the core.
const LONGEST_WHOLE: usize = 63;

impl<T: Real> Split<T> {
    /// n from its factors; a <= b with the least b, so that both fit the cache closest to the core.
    fn new(n: usize, factors: &[usize]) -> Self {
        let mut chosen = 0u32;
        if n > LONGEST_WHOLE {
            let product = |subset: u32| factors.iter().enumerate().filter(|(k, _)| subset >> k & 1 == 1).map(|(_, p)| p).product::<usize>();
            let fits = |subset: &u32| product(*subset).pow(2) <= n;
            chosen = (0..1 << factors.len()).filter(fits).max_by_key(|subset| product(*subset)).unwrap_or(0);
        }
        let part = |of_columns: bool| -> Vec<usize> {
            factors.iter().enumerate().filter(|(k, _)| (chosen >> k & 1 == 1) == of_columns).map(|(_, p)| *p).collect()
        };
        let a: usize = part(true).iter().product();
        let b = n / a;
        let mut twiddles = Vec::new();
        if a > 1 {
            for i in 0..b {
                for u in 0..a {
                    let (c, s) = unit(u * i, n);
                    twiddles.extend([c, -s].map(T::of));
                }
            }
        }
        Self { a, b, columns: passes_of(&part(true)), twiddles, rows: passes_of(&part(false)) }
    }

    fn passes(&self) -> impl Iterator<Item = &Pass<T>> {
        self.columns.iter().chain(&self.rows)
    }
}

/// One radix: n = before * radix * inner.
struct Pass<T> {
    radix: usize,
    before: usize,
    inner: usize,
    /// e^{-2 pi i u i before / n} for i < inner, 1 <= u < radix: `[inner][radix - 1][2]`.
    twiddles: Vec<T>,
    /// Outputs that share one sweep over the inputs.
    width: usize,
    /// cos, sin of 2 pi j u / radix: `[ceil(h / width)][h (j)][width (u)][2]`, h = (radix - 1) / 2, zero-padded in u; empty with `cyclic`.
    trigonometric: Vec<T>,
    /// In the last pass, for primes where that is cheaper than h^2 products.
    cyclic: Option<Cyclic<T>>,
}

impl<T> Pass<T> {
    /// Floating-point operations of one butterfly and its twiddles in one lane.
    fn flops(&self) -> usize {
        // Symmetric and antisymmetric parts of an odd number of complex numbers.
        let odd = |n: usize, width: usize| 8 * (n / 2) * (n / 2).next_multiple_of(width) + 10 * (n / 2);
        let butterfly = match cyclic_lengths(self.radix) {
            Some((a, b)) if self.cyclic.is_some() => {
                let even = if a == 8 { 56 } else { 2 * odd(a / 2, 1) + 2 * a };
                2 * (b * even + a * odd(b, 1)) + 6 * a * b
            }
            _ => odd(self.radix, self.width),
        };
        butterfly + if self.inner > 1 { 6 * (self.radix - 1) } else { 0 }
    }
}

/// A prime radix p as a cyclic convolution (C. Rader, Proc. IEEE 56, 1107, 1968): with a generator g of the residues,
/// X_{g^-q} = x_0 + sum_r x_{g^r} w^{g^(r - q)}, w = e^{-2 pi i / p}, and X_0 is the sum. The length p - 1 = a b with a, b coprime, so r and q are pairs of
/// residues, the convolution is one in each of them (I. J. Good, J. R. Stat. Soc. B 20, 361, 1958), and no factors stand between the short transforms.
struct Cyclic<T> {
    /// g^r by r mod b, then r mod a.
    inputs: Vec<usize>,
    /// g^-q by q mod b, then q mod a.
    outputs: Vec<usize>,
    /// Transform of w^{g^-q} over p - 1 by frequencies of q mod a, then of q mod b: `[a][b][2]`.
    kernel: Vec<T>,
}

/// a b = p - 1 for the primes that run as [`Cyclic`]: h^2 products take longer there.
const fn cyclic_lengths(p: usize) -> Option<(usize, usize)> {
    match p {
        31 => Some((6, 5)),
        67 => Some((6, 11)),
        71 => Some((10, 7)),
        73 => Some((8, 9)),
        79 => Some((6, 13)),
        89 => Some((8, 11)),
        127 => Some((14, 9)),
        131 => Some((10, 13)),
        _ => None,
    }
}

impl<T: Real> Cyclic<T> {
    fn new(p: usize, a: usize, b: usize) -> Self {
        let n = p - 1;
        let powers_of = |g: usize| std::iter::successors(Some(1), move |x| Some(x * g % p)).take(n);
        let generates = |g: &usize| powers_of(*g).skip(1).all(|x| x != 1);
        let powers: Vec<usize> = powers_of((2..p).find(generates).unwrap_or(1)).collect();
        let mut places = vec![0; n];
        for r in 0..n {
            places[r % b * a + r % a] = r;
        }
        let mut kernel = Vec::with_capacity(2 * n);
        for k in 0..n {
            let (mut re, mut im) = (0.0, 0.0);
            for q in 0..n {
                // e^{-i x} e^{-i y}, with one frequency for each of the two residues.
                let turns = (k / b * (q % a) * b + k % b * (q % b) * a) % n;
                let ((c, s), (turn_c, turn_s)) = (unit(powers[(n - q) % n], p), unit(turns, n));
                re += c * turn_c - s * turn_s;
                im -= c * turn_s + s * turn_c;
            }
            kernel.extend([re / n as f64, im / n as f64].map(T::of));
        }
        let inputs = places.iter().map(|r| powers[*r]).collect();
        let outputs = places.iter().map(|q| powers[(n - q) % n]).collect();
        Self { inputs, outputs, kernel }
    }
}

/// One pass after another.
fn passes_of<T: Real>(radices: &[usize]) -> Vec<Pass<T>> {
    let length = radices.iter().product();
    let mut before = 1;
    let pass = |radix: &usize| {
        let pass = Pass::new(length, *radix, before);
        before *= radix;
        pass
    };
    radices.iter().map(pass).collect()
}

/// cos and sin of 2 pi k / n, reduced exactly to the first octant.
fn unit(k: usize, n: usize) -> (f64, f64) {
    let eighths = 8 * (k % n);
    let octant = eighths / n;
    let angle = |r: usize| std::f64::consts::TAU * r as f64 / (8 * n) as f64;
    // The rest is the distance to the nearer multiple of a quarter turn, times 8 n / (2 pi).
    let quarter = octant.div_ceil(2);
    let rest = eighths as isize - (2 * quarter * n) as isize;
    let (c, s) = (angle(rest.unsigned_abs()).cos(), angle(rest.unsigned_abs()).sin());
    let s = if rest < 0 { -s } else { s };
    match quarter % 4 {
        0 => (c, s),
        1 => (-s, c),
        2 => (-c, -s),
        _ => (s, -c),
    }
}

impl<T: Real> Pass<T> {
    fn new(n: usize, radix: usize, before: usize) -> Self {
        let inner = n / (radix * before);
        let mut twiddles = Vec::with_capacity(inner * (radix - 1) * 2);
        for i in 0..inner {
            for u in 1..radix {
                let (c, s) = unit(u * i * before, n);
                twiddles.extend([c, -s].map(T::of));
            }
        }
        let h = (radix - 1) / 2;
        let width = match h {
            1..=6 => h,
            // The fewest padded outputs, then the widest sweep.
            _ => [6, 5, 4].into_iter().min_by_key(|w| h.next_multiple_of(*w)).unwrap_or(4),
        };
        let cyclic = cyclic_lengths(radix).filter(|_| inner == 1).map(|(a, b)| Cyclic::new(radix, a, b));
        let mut trigonometric = Vec::new();
        if cyclic.is_none() {
            trigonometric.reserve_exact(h.next_multiple_of(width) * h * 2);
            for first in (1..=h).step_by(width) {
                for j in 1..=h {
                    for u in first..first + width {
                        let (c, s) = if u <= h { unit(j * u, radix) } else { (0.0, 0.0) };
                        trigonometric.extend([c, s].map(T::of));
                    }
                }
            }
        }
        Self { radix, before, inner, twiddles, width, trigonometric, cyclic }
    }
}

/// Radices of n: powers of two as 8 and 4 where they can be, then odd primes.
fn radices(mut n: usize) -> Vec<usize> {
    let mut factors = Vec::new();
    let mut twos = n.trailing_zeros();
    n >>= twos;
    while twos > 0 {
        let part = if twos == 3 || twos > 4 { 3 } else { twos.min(2) };
        factors.push(1 << part);
        twos -= part;
    }
    let mut p = 3;
    while n > 1 {
        while n.is_multiple_of(p) {
            factors.push(p);
            n /= p;
        }
        p += 2;
        if p * p > n && n > 1 {
            factors.push(n);
            break;
        }
    }
    factors
}

impl<T: Real> RingFft<T> {
    /// The transform of the grid of bandlimit L, rings of n = 2L - 1 samples. Error: L = 0 or above 2^20.
    ///
    /// ```
    /// use scatterc_kernels::fourier::RingFft;
    ///
    /// assert!(RingFft::<f32>::new(4).is_ok() && RingFft::<f64>::new(0).is_err());
    /// ```
    pub fn new(L: usize) -> Result<Self, KernelError> {
        if L == 0 || L > 1 << 20 {
            return Err(KernelError::parameter("L", "in 1..=2^20", L));
        }
        let n = 2 * L - 1;
        let factors = radices(n);
        let method = if n == 1 {
            Method::Copy
        } else if factors.iter().all(|p| *p <= LARGEST_PRIME) {
            Method::Split(Arc::new(Split::new(n, &factors)))
        } else {
            Method::Rows(rustfft::FftPlanner::new().plan_fft_forward(n))
        };
        Ok(Self { L, n, n_pairs: L.div_ceil(2).div_ceil(LANES), method })
    }

    /// Bandlimit of the grid.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.L(), 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn L(&self) -> usize {
        self.L
    }

    /// Samples per ring.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.n_phi(), 7);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_phi(&self) -> usize {
        self.n
    }

    /// Number of numbers of one map.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.map_len(), 2 * 7 * 8);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn map_len(&self) -> usize {
        2 * self.n_pairs * self.n * LANES
    }

    /// Number of numbers of the rings of one map with M orders.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.rings_len(3), 2 * 3 * 16);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn rings_len(&self, M: usize) -> usize {
        2 * self.n_pairs * M * 2 * LANES
    }

    /// Number of numbers of scratch memory each thread keeps.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert!(fft.scratch_len() >= fft.map_len() / fft.n_pairs());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn scratch_len(&self) -> usize {
        match &self.method {
            Method::Copy => 0,
            // Two sequences, two short ones, and the workspace of the widest radix.
            Method::Split(split) => {
                let radix = split.passes().map(|p| p.radix).max().unwrap_or(1);
                (2 * self.n + 2 * split.b) * 2 * LANES + radix * 2 * LANES + 4 * WIDEST * LANES
            }
            Method::Rows(_) => 2 * self.n * 2 * LANES,
        }
    }

    /// Size of the plan-time tables in bytes (without those of `rustfft`).
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert!(fft.table_bytes() > 0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn table_bytes(&self) -> usize {
        match &self.method {
            Method::Split(split) => {
                let of_cyclic = |c: &Cyclic<T>| size_of::<T>() * c.kernel.len() + size_of::<usize>() * (c.inputs.len() + c.outputs.len());
                let of_pass = |p: &Pass<T>| size_of::<T>() * (p.twiddles.len() + p.trigonometric.len()) + p.cyclic.as_ref().map_or(0, of_cyclic);
                size_of::<T>() * split.twiddles.len() + split.passes().map(of_pass).sum::<usize>()
            }
            Method::Copy | Method::Rows(_) => 0,
        }
    }

    /// Floating-point operations executed for one map (all lanes of all block pairs), without packing.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert!(fft.flops() > 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn flops(&self) -> f64 {
        let per_sequence: f64 = match &self.method {
            Method::Copy => 0.0,
            Method::Split(split) => {
                let passes: f64 = split.passes().map(|p| (self.n / p.radix * p.flops()) as f64).sum();
                passes + 3.0 * split.twiddles.len() as f64
            }
            Method::Rows(_) => 5.0 * self.n as f64 * (self.n as f64).log2() * 4.0,
        };
        per_sequence * (LANES * self.n_pairs) as f64
    }

    /// `maps[f]`: value(phi_p) = F_0 + 2 Re sum_{0<m<M} F_m e^{i m phi_p}, phi_p = 2 pi p / n; only Re F_0 is used.
    ///
    /// `rings[f]` is `[2 n_pairs][M][16]`, M <= L; `maps[f]` is `[2 n_pairs][n][8]`. Panics if a length is wrong.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// // F_0 = 1 alone is the constant 1.
    /// let mut rings = vec![0.0; fft.rings_len(1)];
    /// rings.chunks_exact_mut(16).for_each(|order| order[..8].fill(1.0));
    /// let mut map = vec![0.0; fft.map_len()];
    /// fft.inverse(&Serial, &[&rings], 1, &mut [&mut map]);
    /// assert!(map.iter().all(|value| (value - 1.0).abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn inverse(&self, par: &dyn Parallel, rings: &[&[T]], M: usize, maps: &mut [&mut [T]]) {
        self.inverse_scaled(par, rings, M, maps, 1.0, 1.0);
    }

    /// [`Self::inverse`] of `scale_0` F_0 and `scale` F_m, m > 0.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// let mut rings = vec![0.0; fft.rings_len(1)];
    /// rings.chunks_exact_mut(16).for_each(|order| order[..8].fill(1.0));
    /// let mut map = vec![0.0; fft.map_len()];
    /// fft.inverse_scaled(&Serial, &[&rings], 1, &mut [&mut map], 3.0, 1.0);
    /// assert!(map.iter().all(|value| (value - 3.0).abs() < 1e-14));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn inverse_scaled(&self, par: &dyn Parallel, rings: &[&[T]], M: usize, maps: &mut [&mut [T]], scale_0: f64, scale: f64) {
        self.check(rings.len(), maps.len(), M);
        for (rings, map) in rings.iter().zip(maps.iter()) {
            assert_eq!(rings.len(), self.rings_len(M), "rings are [2 n_pairs][M][16]");
            assert_eq!(map.len(), self.map_len(), "a map is [2 n_pairs][2L - 1][8]");
        }
        let maps = Shared::all(maps);
        par.for_each(rings.len() * self.n_pairs, &|i| {
            let (f, pair) = (i / self.n_pairs, i % self.n_pairs);
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: lengths were checked above; the task writes only the two blocks of its pair.
                unsafe {
                    let rings = rings[f].as_ptr().add(2 * pair * M * 2 * LANES);
                    let map = maps[f].get().add(2 * pair * self.n * LANES);
                    inverse_pair(self, rings, M, map, scratch, (scale_0, scale), false);
                }
            });
        });
    }

    /// `rings[f]`: F_m = sum_p value_p e^{-i m phi_p} for m < M <= L; Im F_0 = 0. Layouts and panics as [`Self::inverse`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// let map = vec![1.0; fft.map_len()];
    /// let mut rings = vec![0.0; fft.rings_len(2)];
    /// fft.forward(&Serial, &[&map], 2, &mut [&mut rings]);
    /// // F_0 is the sum over the seven samples of a ring.
    /// assert!((rings[0] - 7.0).abs() < 1e-14 && rings[16].abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn forward(&self, par: &dyn Parallel, maps: &[&[T]], M: usize, rings: &mut [&mut [T]]) {
        self.forward_scaled(par, maps, M, rings, 1.0, 1.0);
    }

    /// [`Self::forward`] with F_0 times `scale_0` and F_m, m > 0, times `scale`.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// let map = vec![1.0; fft.map_len()];
    /// let mut rings = vec![0.0; fft.rings_len(1)];
    /// fft.forward_scaled(&Serial, &[&map], 1, &mut [&mut rings], 1.0 / 7.0, 1.0);
    /// assert!((rings[0] - 1.0).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn forward_scaled(&self, par: &dyn Parallel, maps: &[&[T]], M: usize, rings: &mut [&mut [T]], scale_0: f64, scale: f64) {
        self.check(rings.len(), maps.len(), M);
        for (rings, map) in rings.iter().zip(maps.iter()) {
            assert_eq!(rings.len(), self.rings_len(M), "rings are [2 n_pairs][M][16]");
            assert_eq!(map.len(), self.map_len(), "a map is [2 n_pairs][2L - 1][8]");
        }
        let rings = Shared::all(rings);
        par.for_each(maps.len() * self.n_pairs, &|i| {
            let (f, pair) = (i / self.n_pairs, i % self.n_pairs);
            with_scratch(self.scratch_len(), |scratch| {
                // SAFETY: lengths were checked above; the task writes only the two blocks of its pair.
                unsafe {
                    let map = maps[f].as_ptr().add(2 * pair * self.n * LANES);
                    let rings = rings[f].get().add(2 * pair * M * 2 * LANES);
                    forward_pair(self, map, M, rings, scratch, (scale_0, scale), false);
                }
            });
        });
    }

    /// Exact adjoint of [`Self::inverse`] under the real inner product of stored numbers: map cotangents to ring cotangents.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// // <A x, y> = <x, A^H y>.
    /// let (x, y) = (numbers(fft.rings_len(4), 1.1), numbers(fft.map_len(), 0.7));
    /// let (mut forth, mut back) = (vec![0.0; y.len()], vec![0.0; x.len()]);
    /// fft.inverse(&Serial, &[&x], 4, &mut [&mut forth]);
    /// fft.inverse_adjoint(&Serial, &[&y], 4, &mut [&mut back]);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn inverse_adjoint(&self, par: &dyn Parallel, maps: &[&[T]], M: usize, rings: &mut [&mut [T]]) {
        self.forward_scaled(par, maps, M, rings, 1.0, 2.0);
    }

    /// Exact adjoint of [`Self::forward`]: ring cotangents to map cotangents.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// # let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    /// # let numbers = |n: usize, s: f64| (0..n).map(|k| (s * (k + 1) as f64).sin()).collect::<Vec<f64>>();
    /// let (x, y) = (numbers(fft.map_len(), 1.1), numbers(fft.rings_len(4), 0.7));
    /// let (mut forth, mut back) = (vec![0.0; y.len()], vec![0.0; x.len()]);
    /// fft.forward(&Serial, &[&x], 4, &mut [&mut forth]);
    /// fft.forward_adjoint(&Serial, &[&y], 4, &mut [&mut back]);
    /// assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-12);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn forward_adjoint(&self, par: &dyn Parallel, rings: &[&[T]], M: usize, maps: &mut [&mut [T]]) {
        self.inverse_scaled(par, rings, M, maps, 1.0, 0.5);
    }

    /// Pairs of blocks of one map.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.n_pairs(), 1);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_pairs(&self) -> usize {
        self.n_pairs
    }

    /// [`Self::inverse_scaled`] of one pair of blocks of one field, for callers that keep a pair in cache: `rings` `[2][M][16]`, `map` `[2][n][8]`,
    /// `scales` of order 0 and of the others. `cached`: whether the map is in cache, which decides in which order it is walked.
    ///
    /// # Safety
    ///
    /// `rings` is readable for `rings_len(M) / n_pairs` numbers, `map` writable for `map_len() / n_pairs` and `scratch`, which starts on a cache line, for
    /// `scratch_len()`; they do not overlap, and 1 <= M <= L.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// let pair = |len: usize| len / fft.n_pairs();
    /// let (rings, mut map) = (vec![0.0; pair(fft.rings_len(4))], vec![1.0; pair(fft.map_len())]);
    /// scatterc_kernels::simd::with_scratch(fft.scratch_len(), |scratch: *mut f64| {
    ///     // SAFETY: lengths are those of one pair, the scratch memory starts on a cache line, and nothing overlaps.
    ///     unsafe { fft.inverse_blocks(rings.as_ptr(), 4, map.as_mut_ptr(), scratch, (1.0, 1.0), true) }
    /// });
    /// assert!(map.iter().all(|value| *value == 0.0));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub unsafe fn inverse_blocks(&self, rings: *const T, M: usize, map: *mut T, scratch: *mut T, scales: (f64, f64), cached: bool) {
        debug_assert!(M >= 1 && M <= self.L);
        // SAFETY: the caller's promise, passed on.
        unsafe { inverse_pair(self, rings, M, map, scratch, scales, cached) }
    }

    /// [`Self::forward_scaled`] of one pair of blocks of one field: `map` `[2][n][8]`, `rings` `[2][M][16]`.
    ///
    /// # Safety
    ///
    /// As for [`Self::inverse_blocks`], with `map` readable and `rings` writable.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// let pair = |len: usize| len / fft.n_pairs();
    /// let (map, mut rings) = (vec![1.0; pair(fft.map_len())], vec![0.0; pair(fft.rings_len(4))]);
    /// scatterc_kernels::simd::with_scratch(fft.scratch_len(), |scratch: *mut f64| {
    ///     // SAFETY: lengths are those of one pair, the scratch memory starts on a cache line, and nothing overlaps.
    ///     unsafe { fft.forward_blocks(map.as_ptr(), 4, rings.as_mut_ptr(), scratch, (1.0, 1.0), true) }
    /// });
    /// assert!((rings[0] - 7.0).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub unsafe fn forward_blocks(&self, map: *const T, M: usize, rings: *mut T, scratch: *mut T, scales: (f64, f64), cached: bool) {
        debug_assert!(M >= 1 && M <= self.L);
        // SAFETY: the caller's promise, passed on.
        unsafe { forward_pair(self, map, M, rings, scratch, scales, cached) }
    }

    fn check(&self, n_rings: usize, n_maps: usize, M: usize) {
        assert_eq!(n_rings, n_maps, "one map per set of rings");
        assert!(M >= 1 && M <= self.L, "rings hold 1..=L = {} orders, found {M}", self.L);
    }

    /// The grid this transform belongs to.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::fourier::{LARGEST_PRIME, RingFft};
    /// # let fft: RingFft = RingFft::new(4)?;
    /// assert_eq!(fft.layout().L(), 4);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn layout(&self) -> RingLayout {
        RingLayout::new(self.L).expect("L was checked by the constructor")
    }
}

/// A complex sequence of eight lanes: element i has its parts at `re + stride i`, `im + stride i`.
#[derive(Clone, Copy)]
struct View<T> {
    re: *mut T,
    im: *mut T,
    stride: usize,
}

impl<T: Real> View<T> {
    /// n elements, parts of one element side by side.
    #[inline(always)]
    unsafe fn side_by_side(at: *mut T) -> Self {
        // SAFETY: the caller promises n elements.
        Self { re: at, im: unsafe { at.add(LANES) }, stride: 2 * LANES }
    }

    /// Elements `first`, `first + step`, ..
    #[inline(always)]
    unsafe fn every(self, first: usize, step: usize) -> Self {
        // SAFETY: the caller promises that element `first` exists.
        unsafe { Self { re: self.re.add(self.stride * first), im: self.im.add(self.stride * first), stride: self.stride * step } }
    }

    #[inline(always)]
    unsafe fn load<V: Lanes<Element = T>>(self, i: usize) -> [V; 2] {
        // SAFETY: the caller promises that element i exists.
        unsafe { [V::load(self.re.add(self.stride * i)), V::load(self.im.add(self.stride * i))] }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes<Element = T>>(self, i: usize, re: V, im: V) {
        // SAFETY: the caller promises that element i exists and is writable.
        unsafe {
            re.store(self.re.add(self.stride * i));
            im.store(self.im.add(self.stride * i));
        }
    }
}

dispatch! {
    /// One pair of blocks: `rings` and `map` point at its northern block, the southern one follows.
    fn inverse_pair<T> = inverse_pair_lanes(
        fft: &RingFft<T>, rings: *const T, M: usize, map: *mut T, scratch: *mut T, scales: (f64, f64), cached: bool
    )
}

/// The half spectra of a pair of blocks as one complex sequence.
#[derive(Clone, Copy)]
struct HalfSpectra<V: Lanes> {
    north: *mut V::Element,
    south: *mut V::Element,
    M: usize,
    n: usize,
    scale_0: V,
    scale: V,
}

impl<V: Lanes> HalfSpectra<V> {
    #[inline(always)]
    unsafe fn new(rings: *mut V::Element, M: usize, n: usize, scale_0: f64, scale: f64) -> Self {
        // SAFETY: the caller promises the rings of a northern and a southern block with M orders.
        Self { north: rings, south: unsafe { rings.add(M * 2 * LANES) }, M, n, scale_0: V::constant(scale_0), scale: V::constant(scale) }
    }

    /// Element i of the spectrum of z = north + i south.
    #[inline(always)]
    unsafe fn load(&self, i: usize) -> [V; 2] {
        // SAFETY: orders below M exist.
        unsafe {
            if i == 0 {
                return [V::load(self.north).mul(self.scale_0), V::load(self.south).mul(self.scale_0)];
            }
            let (m, mirrored) = if i < self.M { (i, false) } else { (self.n - i, true) };
            if m >= self.M {
                return [V::zero(), V::zero()];
            }
            let (north, south) = (self.north.add(m * 2 * LANES), self.south.add(m * 2 * LANES));
            let (n_re, n_im) = (V::load(north).mul(self.scale), V::load(north.add(LANES)).mul(self.scale));
            let (s_re, s_im) = (V::load(south).mul(self.scale), V::load(south.add(LANES)).mul(self.scale));
            if mirrored { [n_re.add(s_im), s_re.sub(n_im)] } else { [n_re.sub(s_im), n_im.add(s_re)] }
        }
    }

    /// Order 0 of both rings from element 0 of the spectrum.
    #[inline(always)]
    unsafe fn store_mean(&self, z: [V; 2]) {
        // SAFETY: order 0 exists.
        unsafe {
            z[0].mul(self.scale_0).store(self.north);
            V::zero().store(self.north.add(LANES));
            z[1].mul(self.scale_0).store(self.south);
            V::zero().store(self.south.add(LANES));
        }
    }

    /// Order m > 0 of both rings from elements m and n - m of the spectrum; orders from M on are dropped.
    #[inline(always)]
    unsafe fn store(&self, m: usize, a: View<V::Element>, a_at: usize, b: View<V::Element>, b_at: usize) {
        if m >= self.M {
            return;
        }
        // SAFETY: order m exists, and the caller promises both elements.
        unsafe {
            let ([a_re, a_im], [b_re, b_im]) = (a.load::<V>(a_at), b.load::<V>(b_at));
            let (north, south) = (self.north.add(m * 2 * LANES), self.south.add(m * 2 * LANES));
            a_re.add(b_re).mul(self.scale).store(north);
            a_im.sub(b_im).mul(self.scale).store(north.add(LANES));
            a_im.add(b_im).mul(self.scale).store(south);
            b_re.sub(a_re).mul(self.scale).store(south.add(LANES));
        }
    }
}

/// Scratch memory of the split transform.
#[derive(Clone, Copy)]
struct Workspace<T> {
    /// n elements between the two sweeps.
    between: View<T>,
    /// n elements for what lies in memory far from the core: sweeps walk it in steps, which only the cache serves quickly, so it is read or written in order.
    staged: View<T>,
    /// Short sequences for intermediate results of passes.
    temporary: [View<T>; 2],
    /// Of the widest radix.
    wide: *mut T,
}

impl<T: Real> Workspace<T> {
    #[inline(always)]
    unsafe fn new(scratch: *mut T, n: usize, b: usize) -> Self {
        // SAFETY: the caller gives `scratch_len` numbers.
        unsafe {
            let short = |k: usize| View::side_by_side(scratch.add((2 * n + k * b) * 2 * LANES));
            Self {
                between: View::side_by_side(scratch),
                staged: View::side_by_side(scratch.add(n * 2 * LANES)),
                temporary: [short(0), short(1)],
                wide: scratch.add((2 * n + 2 * b) * 2 * LANES),
            }
        }
    }
}

#[inline(always)]
unsafe fn inverse_pair_lanes<V: Lanes>(
    fft: &RingFft<V::Element>,
    rings: *const V::Element,
    M: usize,
    map: *mut V::Element,
    scratch: *mut V::Element,
    scales: (f64, f64),
    cached: bool,
) {
    let n = fft.n;
    // SAFETY: the caller checked the lengths and gives `scratch_len` numbers of scratch; rings are only read.
    unsafe {
        let spectrum = HalfSpectra::<V>::new(rings.cast_mut(), M, n, scales.0, scales.1);
        // Real and imaginary parts are exchanged on both sides.
        let target = View { re: map.add(n * LANES), im: map, stride: LANES };
        match &fft.method {
            Method::Copy => {
                let [re, im] = spectrum.load(0);
                target.store(0, im, re);
            }
            Method::Split(split) => {
                let (a, b) = (split.a, split.b);
                let work = Workspace::new(scratch, n, b);
                // Orders lie in memory far from the core, so they are read in order.
                let (packed, last) = (work.between, if cached { target } else { work.staged });
                for i in 0..n {
                    let [re, im] = spectrum.load(i);
                    packed.store(i, im, re);
                }
                for i in 0..if a > 1 { b } else { 0 } {
                    column::<V>(split, i, packed.every(i, b), &work);
                }
                for k in 0..a {
                    short_transform(&split.rows, packed.every(b * k, 1), last.every(k, a), std::ptr::null(), &work);
                }
                if !cached {
                    for i in 0..n {
                        let [re, im] = last.load::<V>(i);
                        target.store(i, re, im);
                    }
                }
            }
            Method::Rows(row) => {
                let (packed, out) = (View::side_by_side(scratch), View::side_by_side(scratch.add(n * 2 * LANES)));
                for i in 0..n {
                    let [re, im] = spectrum.load(i);
                    packed.store(i, im, re);
                }
                rows::<V>(row.as_ref(), n, packed, target, out);
            }
        }
    }
}

dispatch! {
    /// One pair of blocks: `map` and `rings` point at its northern block, the southern one follows.
    fn forward_pair<T> = forward_pair_lanes(
        fft: &RingFft<T>, map: *const T, M: usize, rings: *mut T, scratch: *mut T, scales: (f64, f64), cached: bool
    )
}

#[inline(always)]
unsafe fn forward_pair_lanes<V: Lanes>(
    fft: &RingFft<V::Element>,
    map: *const V::Element,
    M: usize,
    rings: *mut V::Element,
    scratch: *mut V::Element,
    scales: (f64, f64),
    cached: bool,
) {
    let n = fft.n;
    // SAFETY: the caller checked the lengths and gives `scratch_len` numbers of scratch; `source` is only read.
    unsafe {
        let source = View { re: map.cast_mut(), im: map.cast_mut().add(n * LANES), stride: LANES };
        let spectrum = HalfSpectra::<V>::new(rings, M, n, scales.0, 0.5 * scales.1);
        match &fft.method {
            Method::Copy => spectrum.store_mean(source.load(0)),
            Method::Split(split) => {
                let (a, b) = (split.a, split.b);
                let work = Workspace::new(scratch, n, b);
                let mut from = source;
                if !cached {
                    from = work.between;
                    for i in 0..n {
                        let [re, im] = source.load::<V>(i);
                        from.store(i, re, im);
                    }
                }
                for i in 0..if a > 1 { b } else { 0 } {
                    column::<V>(split, i, from.every(i, b), &work);
                }
                if a > 1 {
                    from = work.between;
                }
                for k in 0..a {
                    short_transform(&split.rows, from.every(b * k, 1), work.staged.every(k, a), std::ptr::null(), &work);
                }
                let z = work.staged;
                spectrum.store_mean(z.load(0));
                for m in 1..M {
                    spectrum.store(m, z, m, z, n - m);
                }
            }
            Method::Rows(row) => {
                let (z, out) = (View::side_by_side(scratch), View::side_by_side(scratch.add(n * 2 * LANES)));
                rows::<V>(row.as_ref(), n, source, z, out);
                spectrum.store_mean(z.load(0));
                for m in 1..M {
                    spectrum.store(m, z, m, z, n - m);
                }
            }
        }
    }
}

/// The transform of length a of column i, times its twiddle factors, to every b-th element between the sweeps, where the source may lie, too: all
/// elements of a butterfly are loaded before any is stored, and with several passes the first one writes elsewhere.
#[inline(always)]
unsafe fn column<V: Lanes>(split: &Split<V::Element>, i: usize, source: View<V::Element>, work: &Workspace<V::Element>) {
    // SAFETY: i < b; views hold the elements that the split names.
    unsafe {
        let twiddles = split.twiddles.as_ptr().add(2 * split.a * i);
        short_transform(&split.columns, source, work.between.every(i, split.b), twiddles, work);
    }
}

dispatch! {
    /// All passes of a short transform; the source may be the first temporary sequence, the target neither of them. Element u of the result is multiplied by
    /// `factors[u]` (complex), unless `factors` is null.
    ///
    /// Not part of the functions that call it, each of which would hold all radices: a call costs a hundredth of what it does.
    fn short_transform<T> = short_lanes(passes: &[Pass<T>], source: View<T>, target: View<T>, factors: *const T, work: &Workspace<T>)
}

#[inline(always)]
unsafe fn short_lanes<V: Lanes>(
    passes: &[Pass<V::Element>],
    source: View<V::Element>,
    target: View<V::Element>,
    factors: *const V::Element,
    work: &Workspace<V::Element>,
) {
    let mut from = source;
    for (i, pass) in passes.iter().enumerate() {
        // The source is read by the first pass only, so both temporaries are free from then on.
        let (to, factors) = if i + 1 == passes.len() { (target, factors) } else { (work.temporary[(i + 1) % 2], std::ptr::null()) };
        // SAFETY: views hold as many elements as the passes transform.
        unsafe {
            match (pass.radix - 1) / 2 {
                _ if pass.radix == 2 => even_pass::<V, 2>(pass, from, to, factors),
                _ if pass.radix == 4 => even_pass::<V, 4>(pass, from, to, factors),
                _ if pass.radix == 8 => even_pass::<V, 8>(pass, from, to, factors),
                1 => small_pass::<V, 1>(pass, from, to, factors),
                2 => small_pass::<V, 2>(pass, from, to, factors),
                3 => small_pass::<V, 3>(pass, from, to, factors),
                5 => small_pass::<V, 5>(pass, from, to, factors),
                6 => small_pass::<V, 6>(pass, from, to, factors),
                _ if let Some(cyclic) = &pass.cyclic => cyclic_pass(pass, cyclic, from, to, work.wide, factors),
                _ => match pass.width {
                    4 if V::SUMS >= 24 => wide_pass::<V, 4>(pass, from, to, work.wide, factors),
                    5 if V::SUMS >= 24 => wide_pass::<V, 5>(pass, from, to, work.wide, factors),
                    _ if V::SUMS >= 24 => wide_pass::<V, 6>(pass, from, to, work.wide, factors),
                    _ if V::SUMS >= 12 => narrow_pass::<V, 2>(pass, from, to, work.wide, factors),
                    _ => narrow_pass::<V, 1>(pass, from, to, work.wide, factors),
                },
            }
        }
        from = to;
    }
}

/// Radix 2, 4 or 8 with everything in registers.
#[inline(always)]
unsafe fn even_pass<V: Lanes, const R: usize>(
    pass: &Pass<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    factors: *const V::Element,
) {
    let (before, inner) = (pass.before, pass.inner);
    // SAFETY: the indices enumerate the n = before * radix * inner elements; tables have the shapes of `Pass`.
    unsafe {
        for k in 0..before {
            for i in 0..inner {
                let at = i + inner * R * k;
                let mut x = [[V::zero(); 2]; R];
                for (j, x) in x.iter_mut().enumerate() {
                    *x = source.load(at + inner * j);
                }
                let x = butterfly::<V, R>(x);
                let to = i + inner * k;
                let own = pass.twiddles.as_ptr().add(if inner > 1 { i * (R - 1) * 2 } else { 0 });
                for u in 0..R {
                    let element = to + inner * before * u;
                    let mut y = x[u];
                    if inner > 1 && u > 0 {
                        y = times(y, own.add(2 * u - 2));
                    } else if !factors.is_null() {
                        y = times(y, factors.add(2 * element));
                    }
                    target.store(element, y[0], y[1]);
                }
            }
        }
    }
}

#[inline(always)]
fn plus<V: Lanes>(a: [V; 2], b: [V; 2]) -> [V; 2] {
    [a[0].add(b[0]), a[1].add(b[1])]
}

#[inline(always)]
fn minus<V: Lanes>(a: [V; 2], b: [V; 2]) -> [V; 2] {
    [a[0].sub(b[0]), a[1].sub(b[1])]
}

/// a - i b.
#[inline(always)]
fn minus_i<V: Lanes>(a: [V; 2], b: [V; 2]) -> [V; 2] {
    [a[0].add(b[1]), a[1].sub(b[0])]
}

/// a + i b.
#[inline(always)]
fn plus_i<V: Lanes>(a: [V; 2], b: [V; 2]) -> [V; 2] {
    [a[0].sub(b[1]), a[1].add(b[0])]
}

/// The transform of four numbers.
#[inline(always)]
fn four<V: Lanes>(x: [[V; 2]; 4]) -> [[V; 2]; 4] {
    let (a, b, c, d) = (plus(x[0], x[2]), minus(x[0], x[2]), plus(x[1], x[3]), minus(x[1], x[3]));
    [plus(a, c), minus_i(b, d), minus(a, c), plus_i(b, d)]
}

/// The transform of two, four or eight numbers.
#[inline(always)]
fn butterfly<V: Lanes, const R: usize>(x: [[V; 2]; R]) -> [[V; 2]; R] {
    let mut y = x;
    match R {
        2 => (y[0], y[1]) = (plus(x[0], x[1]), minus(x[0], x[1])),
        4 => y.copy_from_slice(&four([x[0], x[1], x[2], x[3]])),
        _ => {
            let (even, odd) = (four([x[0], x[2], x[4], x[6]]), four([x[1], x[3], x[5], x[7]]));
            // Odd outputs turn by eighths: (1 - i) / sqrt 2 and its cube.
            let half = V::constant(std::f64::consts::FRAC_1_SQRT_2);
            let turn = |z: [V; 2]| [z[0].add(z[1]).mul(half), z[1].sub(z[0]).mul(half)];
            let (first, third) = (turn(odd[1]), turn(odd[3]));
            (y[0], y[4]) = (plus(even[0], odd[0]), minus(even[0], odd[0]));
            (y[1], y[5]) = (plus(even[1], first), minus(even[1], first));
            (y[2], y[6]) = (minus_i(even[2], odd[2]), plus_i(even[2], odd[2]));
            (y[3], y[7]) = (minus_i(even[3], third), plus_i(even[3], third));
        }
    }
    y
}

/// Transforms of eight sequences of one length at once.
pub(crate) struct LaneFft<T> {
    n: usize,
    method: Method<T>,
}

impl<T: Real> LaneFft<T> {
    /// The transform of sequences of `n` numbers, n >= 1.
    pub(crate) fn new(n: usize) -> Self {
        let factors = radices(n);
        let method = if n == 1 {
            Method::Copy
        } else if factors.iter().all(|p| *p <= LARGEST_PRIME) {
            Method::Split(Arc::new(Split::new(n, &factors)))
        } else {
            Method::Rows(rustfft::FftPlanner::new().plan_fft_forward(n))
        };
        Self { n, method }
    }

    /// Numbers of workspace that a transform needs beside its source and its target.
    pub(crate) fn scratch_len(&self) -> usize {
        match &self.method {
            Method::Copy => 0,
            Method::Split(split) => {
                let radix = split.passes().map(|p| p.radix).max().unwrap_or(1);
                2 * split.b * 2 * LANES + radix * 2 * LANES + 4 * WIDEST * LANES
            }
            Method::Rows(_) => self.n * 2 * LANES,
        }
    }

    /// sum_p x_p e^{-2 pi i k p / n} per lane, or with the opposite sign when `inverse`, without a factor.
    ///
    /// # Safety
    ///
    /// `data` and `out` hold n elements `[re: 8, im: 8]`, `scratch` holds `scratch_len()` numbers, all writable and apart from each other; `data` is destroyed.
    pub(crate) unsafe fn run(&self, inverse: bool, data: *mut T, out: *mut T, scratch: *mut T) {
        // SAFETY: the caller's promise, passed on.
        unsafe { sequences(self, inverse, data, out, scratch) }
    }
}

dispatch! {
    /// Eight sequences; see [`LaneFft::run`].
    fn sequences<T> = sequences_lanes(fft: &LaneFft<T>, inverse: bool, data: *mut T, out: *mut T, scratch: *mut T)
}

#[inline(always)]
unsafe fn sequences_lanes<V: Lanes>(fft: &LaneFft<V::Element>, inverse: bool, data: *mut V::Element, out: *mut V::Element, scratch: *mut V::Element) {
    // SAFETY: the caller of `LaneFft::run` promises the lengths.
    unsafe {
        let view = |at: *mut V::Element| {
            let plain = View::side_by_side(at);
            // The inverse is the forward program with real and imaginary parts exchanged.
            if inverse { View { re: plain.im, im: plain.re, ..plain } } else { plain }
        };
        let (source, target) = (view(data), view(out));
        match &fft.method {
            Method::Copy => std::ptr::copy_nonoverlapping(data, out, 2 * LANES),
            Method::Split(split) => {
                let (a, b) = (split.a, split.b);
                let short = |k: usize| View::side_by_side(scratch.add(k * b * 2 * LANES));
                let wide = scratch.add(2 * b * 2 * LANES);
                let work = Workspace { between: source, staged: target, temporary: [short(0), short(1)], wide };
                for i in 0..if a > 1 { b } else { 0 } {
                    column::<V>(split, i, source.every(i, b), &work);
                }
                for k in 0..a {
                    short_transform(&split.rows, source.every(b * k, 1), target.every(k, a), std::ptr::null(), &work);
                }
            }
            Method::Rows(row) => rows::<V>(row.as_ref(), fft.n, source, target, View::side_by_side(scratch)),
        }
    }
}

/// Row by row through rustfft: lanes are copied out and back.
#[inline(always)]
unsafe fn rows<V: Lanes>(row: &dyn rustfft::Fft<V::Element>, n: usize, source: View<V::Element>, target: View<V::Element>, out: View<V::Element>) {
    let mut values = vec![Complex::<V::Element>::default(); n];
    let mut scratch = vec![Complex::<V::Element>::default(); row.get_inplace_scratch_len()];
    // SAFETY: views hold n elements of eight lanes.
    unsafe {
        for lane in 0..LANES {
            for (i, value) in values.iter_mut().enumerate() {
                let at = source.stride * i + lane;
                *value = Complex::new(*source.re.add(at), *source.im.add(at));
            }
            row.process_with_scratch(&mut values, &mut scratch);
            for (i, value) in values.iter().enumerate() {
                let at = out.stride * i + lane;
                *out.re.add(at) = value.re;
                *out.im.add(at) = value.im;
            }
        }
        for i in 0..n {
            let [re, im] = out.load::<V>(i);
            target.store(i, re, im);
        }
    }
}

/// Radix 2H + 1 with everything in registers.
#[inline(always)]
unsafe fn small_pass<V: Lanes, const H: usize>(
    pass: &Pass<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    factors: *const V::Element,
) {
    let radix = 2 * H + 1;
    let (before, inner) = (pass.before, pass.inner);
    let trigonometric = pass.trigonometric.as_ptr();
    // SAFETY: the indices enumerate the n = before * radix * inner elements; tables have the shapes of `Pass`.
    unsafe {
        for k in 0..before {
            for i in 0..inner {
                let at = i + inner * radix * k;
                let x = source.load::<V>(at);
                let mut total = x;
                let mut plus = [[V::zero(); 2]; H];
                let mut minus = [[V::zero(); 2]; H];
                for j in 0..H {
                    let a = source.load::<V>(at + inner * (j + 1));
                    let b = source.load::<V>(at + inner * (radix - 1 - j));
                    for c in 0..2 {
                        plus[j][c] = a[c].add(b[c]);
                        minus[j][c] = a[c].sub(b[c]);
                        total[c] = total[c].add(plus[j][c]);
                    }
                }
                let to = i + inner * k;
                let twiddles = Factors { own: if inner > 1 { pass.twiddles.as_ptr().add(i * (radix - 1) * 2) } else { std::ptr::null() }, factors };
                let total = if factors.is_null() { total } else { times(total, factors.add(2 * to)) };
                target.store(to, total[0], total[1]);
                for u in 0..H {
                    let mut even = x;
                    let mut odd = [V::zero(); 2];
                    for j in 0..H {
                        let table = trigonometric.add((j * H + u) * 2);
                        let (c, s) = (V::broadcast(table), V::broadcast(table.add(1)));
                        for part in 0..2 {
                            even[part] = c.fma(plus[j][part], even[part]);
                            odd[part] = if j == 0 { s.mul(minus[j][part]) } else { s.fma(minus[j][part], odd[part]) };
                        }
                    }
                    finish::<V>(target, to, inner * before, u + 1, radix, twiddles, even, odd);
                }
            }
        }
    }
}

/// What the outputs of a butterfly are multiplied by.
#[derive(Clone, Copy)]
struct Factors<T> {
    /// Twiddles of the pass by output of the butterfly, from 1 on; null in the last pass.
    own: *const T,
    /// Factors by element of the result; null where there are none. Only the last pass has them.
    factors: *const T,
}

/// z times the complex number at `factor`.
#[inline(always)]
unsafe fn times<V: Lanes>(z: [V; 2], factor: *const V::Element) -> [V; 2] {
    // SAFETY: the caller promises a readable pair.
    let (c, s) = unsafe { (V::broadcast(factor), V::broadcast(factor.add(1))) };
    [z[0].mul(c).sub_product(z[1], s), z[1].mul(c).add_product(z[0], s)]
}

/// Outputs u and radix - u: (even -+ i odd) times their twiddles.
#[inline(always)]
unsafe fn finish<V: Lanes>(
    target: View<V::Element>,
    to: usize,
    stride: usize,
    u: usize,
    radix: usize,
    twiddles: Factors<V::Element>,
    even: [V; 2],
    odd: [V; 2],
) {
    // SAFETY: the caller promises elements to + stride u and to + stride (radix - u), and their twiddles.
    unsafe {
        let mut a = [even[0].add(odd[1]), even[1].sub(odd[0])];
        let mut b = [even[0].sub(odd[1]), even[1].add(odd[0])];
        let (at, mirror) = (to + stride * u, to + stride * (radix - u));
        if !twiddles.own.is_null() {
            a = times(a, twiddles.own.add(2 * u - 2));
            b = times(b, twiddles.own.add(2 * (radix - u) - 2));
        } else if !twiddles.factors.is_null() {
            a = times(a, twiddles.factors.add(2 * at));
            b = times(b, twiddles.factors.add(2 * mirror));
        }
        target.store(at, a[0], a[1]);
        target.store(mirror, b[0], b[1]);
    }
}

trait Products: Lanes {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        a.fma(b, self)
    }
    #[inline(always)]
    fn sub_product(self, a: Self, b: Self) -> Self {
        a.fnma(b, self)
    }
}
impl<V: Lanes> Products for V {}

/// Symmetric and antisymmetric parts of the inputs of one butterfly of any odd radix, as h elements of four vectors in `work`; the input that has no mirror image and the sum of all.
#[inline(always)]
unsafe fn halves<V: Lanes>(pass: &Pass<V::Element>, source: View<V::Element>, at: usize, work: *mut V::Element) -> ([V; 2], [V; 2]) {
    // SAFETY: the caller promises the inputs `at + inner j` and h elements of four vectors in `work`.
    unsafe {
        let x = source.load::<V>(at);
        let mut total = x;
        for j in 0..(pass.radix - 1) / 2 {
            let a = source.load::<V>(at + pass.inner * (j + 1));
            let b = source.load::<V>(at + pass.inner * (pass.radix - 1 - j));
            let plus = [a[0].add(b[0]), a[1].add(b[1])];
            total = [total[0].add(plus[0]), total[1].add(plus[1])];
            let w = work.add(j * 4 * LANES);
            plus[0].store(w);
            plus[1].store(w.add(LANES));
            a[0].sub(b[0]).store(w.add(2 * LANES));
            a[1].sub(b[1]).store(w.add(3 * LANES));
        }
        (x, total)
    }
}

/// Cosine and sine sums of W outputs over the parts in `work`; numbers of one part are `step` elements apart in `table`.
#[inline(always)]
unsafe fn sums<V: Lanes, const W: usize>(
    h: usize,
    x: [V; 2],
    work: *const V::Element,
    mut table: *const V::Element,
    step: usize,
) -> ([[V; 2]; W], [[V; 2]; W]) {
    let mut even = [x; W];
    let mut odd = [[V::zero(); 2]; W];
    // SAFETY: the caller promises h elements of four vectors in `work` and h rows of 2 W numbers in `table`.
    unsafe {
        for j in 0..h {
            let w = work.add(j * 4 * LANES);
            let plus = [V::load(w), V::load(w.add(LANES))];
            let minus = [V::load(w.add(2 * LANES)), V::load(w.add(3 * LANES))];
            for u in 0..W {
                let (c, s) = (V::broadcast(table.add(2 * u)), V::broadcast(table.add(2 * u + 1)));
                for part in 0..2 {
                    even[u][part] = c.fma(plus[part], even[u][part]);
                    odd[u][part] = s.fma(minus[part], odd[u][part]);
                }
            }
            table = table.add(step);
        }
    }
    (even, odd)
}

/// cos and sin of 2 pi k / R for odd R up to 13, by k up to R / 2.
const TURNS: [&[[f64; 2]]; 6] = [
    &[[1.0, 0.0], [-0.5, 0.8660254037844386]],
    &[[1.0, 0.0], [0.30901699437494745, 0.9510565162951535], [-0.8090169943749475, 0.5877852522924731]],
    &[[1.0, 0.0], [0.6234898018587335, 0.7818314824680298], [-0.2225209339563144, 0.9749279121818236], [-0.9009688679024191, 0.4338837391175581]],
    &[
        [1.0, 0.0],
        [0.766044443118978, 0.6427876096865394],
        [0.17364817766693036, 0.984807753012208],
        [-0.5, 0.8660254037844386],
        [-0.9396926207859084, 0.3420201433256687],
    ],
    &[
        [1.0, 0.0],
        [0.8412535328311812, 0.5406408174555976],
        [0.41541501300188644, 0.9096319953545183],
        [-0.14231483827328514, 0.9898214418809327],
        [-0.6548607339452851, 0.7557495743542583],
        [-0.9594929736144974, 0.28173255684142967],
    ],
    &[
        [1.0, 0.0],
        [0.8854560256532099, 0.46472317204376856],
        [0.5680647467311558, 0.8229838658936564],
        [0.12053668025532305, 0.992708874098054],
        [-0.3546048870425356, 0.9350162426854148],
        [-0.7485107481711011, 0.6631226582407952],
        [-0.970941817426052, 0.23931566428755777],
    ],
];

/// Runs a block for `$u` = 1 to `$H`, at most six, as that many blocks, so that `$u` is a number known to the compiler.
macro_rules! each {
    ($u:ident in 1 ..= $H:expr, $block:block) => {
        each!($u, $H, $block, 1, 2, 3, 4, 5, 6);
    };
    ($u:ident, $H:expr, $block:block, $($value:literal),+) => {
        $(if $H >= $value {
            let $u: usize = $value;
            $block
        })+
    };
}

/// The factor of output u and the pair of inputs j and R - j.
#[inline(always)]
fn turn<V: Lanes, const R: usize>(j: usize, u: usize) -> [V; 2] {
    let k = j * u % R;
    let [c, s] = TURNS[R / 2 - 1][if 2 * k > R { R - k } else { k }];
    [V::constant(c), V::constant(if 2 * k > R { -s } else { s })]
}

/// R = 2 H + 1 numbers as the one without a mirror image and symmetric and antisymmetric parts of the pairs.
#[derive(Clone, Copy)]
struct Halves<V, const R: usize, const H: usize> {
    first: [V; 2],
    even: [[V; 2]; H],
    odd: [[V; 2]; H],
}

impl<V: Lanes, const R: usize, const H: usize> Halves<V, R, H> {
    #[inline(always)]
    fn new(first: [V; 2]) -> Self {
        Self { first, even: [first; H], odd: [first; H] }
    }

    /// Numbers u and R - u.
    #[inline(always)]
    fn set(&mut self, u: usize, a: [V; 2], b: [V; 2]) {
        self.even[u - 1] = plus(a, b);
        self.odd[u - 1] = minus(a, b);
    }

    #[inline(always)]
    fn total(&self) -> [V; 2] {
        let mut sum = self.first;
        for j in 0..H {
            sum = plus(sum, self.even[j]);
        }
        sum
    }

    /// Outputs u and R - u of the transform.
    #[inline(always)]
    fn outputs(&self, u: usize) -> [[V; 2]; 2] {
        let mut c = self.first;
        let mut s = [V::zero(); 2];
        for j in 0..H {
            let [cosine, sine] = turn::<V, R>(j + 1, u);
            for part in 0..2 {
                c[part] = cosine.fma(self.even[j][part], c[part]);
                s[part] = if j == 0 { sine.mul(self.odd[j][part]) } else { sine.fma(self.odd[j][part], s[part]) };
            }
        }
        [minus_i(c, s), plus_i(c, s)]
    }
}

/// Where a codelet reads and writes. A trait, as closures would not be compiled for the instructions of the function around them.
trait Ends<V> {
    unsafe fn load(&self, i: usize) -> [V; 2];
    unsafe fn store(&self, i: usize, z: [V; 2]);
}

/// The transform of A numbers, where A is 8 or 2 R, R = 2 H + 1.
#[inline(always)]
unsafe fn even_codelet<V: Lanes, const A: usize, const R: usize, const H: usize>(ends: impl Ends<V>) {
    // SAFETY: the caller promises A numbers on both ends.
    unsafe {
        if A == 8 {
            let mut x = [[V::zero(); 2]; A];
            for i in 0..A {
                x[i] = ends.load(i);
            }
            let y = butterfly(x);
            for i in 0..A {
                ends.store(i, y[i]);
            }
            return;
        }
        // Residues modulo 2 and R on both sides: n = R n1 + 2 n2, and frequency k turns n1 by halves of k and n2 by k / R.
        let (mut one, mut other) = (Halves::<V, R, H>::new(ends.load(0)), Halves::<V, R, H>::new(ends.load(R)));
        each!(j in 1..=H, {
            one.set(j, ends.load(2 * j % A), ends.load(2 * (R - j) % A));
            other.set(j, ends.load((2 * j + R) % A), ends.load((2 * (R - j) + R) % A));
        });
        let (a, b) = (one.total(), other.total());
        ends.store(0, plus(a, b));
        ends.store(R, minus(a, b));
        each!(u in 1..=H, {
            let ([a, mirrored_a], [b, mirrored_b]) = (one.outputs(u), other.outputs(u));
            let [even, odd] = if u.is_multiple_of(2) { [u, u + R] } else { [u + R, u] };
            ends.store(even, plus(a, b));
            ends.store(odd, minus(a, b));
            let [even, odd] = if u % 2 == 1 { [R - u, 2 * R - u] } else { [2 * R - u, R - u] };
            ends.store(even, plus(mirrored_a, mirrored_b));
            ends.store(odd, minus(mirrored_a, mirrored_b));
        });
    }
}

#[inline(always)]
fn exchange<V: Lanes>(z: [V; 2]) -> [V; 2] {
    [z[1], z[0]]
}

dispatch! {
    /// A pass of a prime radix by its cyclic convolution; a function of its own, as [`short_transform`] is.
    fn cyclic_pass<T> = cyclic_lanes(pass: &Pass<T>, cyclic: &Cyclic<T>, source: View<T>, target: View<T>, work: *mut T, factors: *const T)
}

#[inline(always)]
unsafe fn cyclic_lanes<V: Lanes>(
    pass: &Pass<V::Element>,
    cyclic: &Cyclic<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    work: *mut V::Element,
    factors: *const V::Element,
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match cyclic_lengths(pass.radix) {
            Some((6, 5)) => by_residues::<V, 6, 3, 1, 5, 2>(pass, cyclic, source, target, work, factors),
            Some((6, 11)) => by_residues::<V, 6, 3, 1, 11, 5>(pass, cyclic, source, target, work, factors),
            Some((10, 7)) => by_residues::<V, 10, 5, 2, 7, 3>(pass, cyclic, source, target, work, factors),
            Some((8, 9)) => by_residues::<V, 8, 1, 0, 9, 4>(pass, cyclic, source, target, work, factors),
            Some((6, 13)) => by_residues::<V, 6, 3, 1, 13, 6>(pass, cyclic, source, target, work, factors),
            Some((8, 11)) => by_residues::<V, 8, 1, 0, 11, 5>(pass, cyclic, source, target, work, factors),
            Some((14, 9)) => by_residues::<V, 14, 7, 3, 9, 4>(pass, cyclic, source, target, work, factors),
            Some((10, 13)) => by_residues::<V, 10, 5, 2, 13, 6>(pass, cyclic, source, target, work, factors),
            _ => unreachable!("every pair of lengths has its codelets"),
        }
    }
}

/// From the inputs of a butterfly to a column of the grid of residues.
struct Gather<T> {
    source: View<T>,
    places: *const usize,
    column: View<T>,
}

impl<V: Lanes> Ends<V> for Gather<V::Element> {
    #[inline(always)]
    unsafe fn load(&self, i: usize) -> [V; 2] {
        // SAFETY: the caller promises places of inputs.
        unsafe { self.source.load(*self.places.add(i)) }
    }

    #[inline(always)]
    unsafe fn store(&self, i: usize, z: [V; 2]) {
        // SAFETY: the caller promises a column.
        unsafe { self.column.store(i, z[0], z[1]) }
    }
}

/// From a column of the grid, where real and imaginary parts are exchanged, to the outputs of a butterfly.
struct Scatter<T> {
    column: View<T>,
    places: *const usize,
    target: View<T>,
    /// Factors by output, or null.
    factors: *const T,
    stride: usize,
}

impl<V: Lanes> Ends<V> for Scatter<V::Element> {
    #[inline(always)]
    unsafe fn load(&self, i: usize) -> [V; 2] {
        // SAFETY: the caller promises a column.
        unsafe { self.column.load(i) }
    }

    #[inline(always)]
    unsafe fn store(&self, i: usize, z: [V; 2]) {
        let mut z = exchange(z);
        // SAFETY: the caller promises places of outputs and a number for each where there are any.
        unsafe {
            let u = *self.places.add(i);
            if !self.factors.is_null() {
                z = times(z, self.factors.add(2 * self.stride * u));
            }
            self.target.store(self.stride * u, z[0], z[1]);
        }
    }
}

/// A cyclic convolution over A B numbers; A as in [`even_codelet`], B = 2 HB + 1. The pass is the last one.
#[inline(always)]
unsafe fn by_residues<V: Lanes, const A: usize, const R: usize, const H: usize, const B: usize, const HB: usize>(
    pass: &Pass<V::Element>,
    cyclic: &Cyclic<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    work: *mut V::Element,
    factors: *const V::Element,
) {
    // SAFETY: the indices enumerate the before * radix elements; `work` holds A B elements.
    unsafe {
        let grid = View::side_by_side(work);
        for k in 0..pass.before {
            let input = source.every(pass.radix * k, 1);
            let x = input.load::<V>(0);
            for q in 0..B {
                let places = cyclic.inputs.as_ptr().add(q * A);
                even_codelet::<V, A, R, H>(Gather { source: input, places, column: grid.every(q, B) });
            }
            let mut all = x;
            for r in 0..A {
                let row = grid.every(r * B, 1);
                let kernel = cyclic.kernel.as_ptr().add(2 * r * B);
                let mut there = Halves::<V, B, HB>::new(row.load(0));
                each!(u in 1..=HB, { there.set(u, row.load(u), row.load(B - u)); });
                let sum = there.total();
                let mut start = times(sum, kernel);
                if r == 0 {
                    all = plus(all, sum);
                    start = plus(start, x);
                }
                // On the way back real and imaginary parts are exchanged.
                let mut back = Halves::<V, B, HB>::new(exchange(start));
                each!(u in 1..=HB, {
                    let [a, b] = there.outputs(u);
                    back.set(u, exchange(times(a, kernel.add(2 * u))), exchange(times(b, kernel.add(2 * (B - u)))));
                });
                let sum = back.total();
                row.store(0, sum[0], sum[1]);
                each!(u in 1..=HB, {
                    let [a, b] = back.outputs(u);
                    row.store(u, a[0], a[1]);
                    row.store(B - u, b[0], b[1]);
                });
            }
            let factors = if factors.is_null() { factors } else { factors.add(2 * k) };
            let output = target.every(k, 1);
            if !factors.is_null() {
                all = times(all, factors);
            }
            output.store(0, all[0], all[1]);
            for q in 0..B {
                let places = cyclic.outputs.as_ptr().add(q * A);
                even_codelet::<V, A, R, H>(Scatter { column: grid.every(q, B), places, target: output, factors, stride: pass.before });
            }
        }
    }
}

/// Any odd radix: symmetric and antisymmetric parts in `work`, then W outputs per sweep over them.
#[inline(always)]
unsafe fn wide_pass<V: Lanes, const W: usize>(
    pass: &Pass<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    work: *mut V::Element,
    factors: *const V::Element,
) {
    let radix = pass.radix;
    let h = (radix - 1) / 2;
    let (before, inner) = (pass.before, pass.inner);
    // SAFETY: the indices enumerate the n = before * radix * inner elements; `work` holds h elements of four vectors, and sums after them.
    unsafe {
        for k in 0..before {
            for i in 0..inner {
                let (x, total) = halves(pass, source, i + inner * radix * k, work);
                let to = i + inner * k;
                let twiddles = Factors { own: if inner > 1 { pass.twiddles.as_ptr().add(i * (radix - 1) * 2) } else { std::ptr::null() }, factors };
                let total = if factors.is_null() { total } else { times(total, factors.add(2 * to)) };
                target.store(to, total[0], total[1]);
                for first in (1..=h).step_by(W) {
                    let (even, odd) = sums::<V, W>(h, x, work, pass.trigonometric.as_ptr().add((first - 1) * h * 2), 2 * W);
                    if first + W <= h + 1 {
                        // A loop of constant length and without conditions, which the compiler unrolls.
                        for u in 0..W {
                            finish::<V>(target, to, inner * before, first + u, radix, twiddles, even[u], odd[u]);
                        }
                    } else {
                        // The sums leave their registers before the loop of variable length below: if that indexed them, the compiler
                        // would keep them in memory throughout the loop above, at a third of the speed.
                        let sums = work.add(h * 4 * LANES);
                        for u in 0..W {
                            for part in 0..2 {
                                even[u][part].store(sums.add((4 * u + part) * LANES));
                                odd[u][part].store(sums.add((4 * u + 2 + part) * LANES));
                            }
                        }
                        for u in 0..h + 1 - first {
                            let at = sums.add(4 * u * LANES);
                            let even = [V::load(at), V::load(at.add(LANES))];
                            let odd = [V::load(at.add(2 * LANES)), V::load(at.add(3 * LANES))];
                            finish::<V>(target, to, inner * before, first + u, radix, twiddles, even, odd);
                        }
                    }
                }
            }
        }
    }
}

/// As [`wide_pass`] with G outputs per sweep, for processors of sixteen registers, where the sums of more would live in memory; same tables, same bits.
#[inline(always)]
unsafe fn narrow_pass<V: Lanes, const G: usize>(
    pass: &Pass<V::Element>,
    source: View<V::Element>,
    target: View<V::Element>,
    work: *mut V::Element,
    factors: *const V::Element,
) {
    let radix = pass.radix;
    let h = (radix - 1) / 2;
    let (before, inner, width) = (pass.before, pass.inner, pass.width);
    // SAFETY: as for `wide_pass`.
    unsafe {
        for k in 0..before {
            for i in 0..inner {
                let (x, total) = halves(pass, source, i + inner * radix * k, work);
                let to = i + inner * k;
                let twiddles = Factors { own: if inner > 1 { pass.twiddles.as_ptr().add(i * (radix - 1) * 2) } else { std::ptr::null() }, factors };
                let total = if factors.is_null() { total } else { times(total, factors.add(2 * to)) };
                target.store(to, total[0], total[1]);
                for first in (1..=h).step_by(width) {
                    let table = pass.trigonometric.as_ptr().add((first - 1) * h * 2);
                    let count = width.min(h + 1 - first);
                    let mut u = 0;
                    while u + G <= count {
                        let (even, odd) = sums::<V, G>(h, x, work, table.add(2 * u), 2 * width);
                        for g in 0..G {
                            finish::<V>(target, to, inner * before, first + u + g, radix, twiddles, even[g], odd[g]);
                        }
                        u += G;
                    }
                    while G > 1 && u < count {
                        let (even, odd) = sums::<V, 1>(h, x, work, table.add(2 * u), 2 * width);
                        finish::<V>(target, to, inner * before, first + u, radix, twiddles, even[0], odd[0]);
                        u += 1;
                    }
                }
            }
        }
    }
}

// Scratch memory starts on a cache line, so that buffer elements never straddle two.
const _: () = assert!(std::mem::align_of::<crate::simd::Line>() == 64 && std::mem::size_of::<Aligned>() > 0);
