//! HEALPix pixels and their spherical harmonic transforms: ring geometry, the two orderings, analysis and synthesis.
//!
//! Holds scalar (spin 0) transforms of real maps on full skies, and synthesis on any list of colatitudes, which is what pictures need.
//! Refuses masks, partial skies and file formats; those belong to whoever reads the map.
//!
//! Conventions: orthonormal Y_lm with the Condon-Shortley phase; a real field is given by its coefficients with m >= 0,
//! stored triangularly with m slowest, `index(ell, m) = m (2L - 1 - m) / 2 + ell`, re and im interleaved.
//!
//! Source of the pixelisation: Gorski et al. (2005), ApJ 622, 759, section 5.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex};

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::Parallel;

/// Rings handled together by one Legendre recursion: one AVX-512 register, two AVX2 registers.
const LANES: usize = 8;

/// Values below 2^-SCALE_HALF are kept as mantissa times 2^(SCALE_STEP * scale) with scale < 0, and do not contribute to sums.
const SCALE_STEP: i64 = 400;
const SCALE_HALF: i64 = 200;

/// The largest resolution whose pixel numbers and coefficients are addressed safely here.
const NSIDE_MAX: usize = 1 << 14;

/// What the HEALPix transforms refuse.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// assert_eq!(nested_ring_table(3), Err(HealpixError::NsidePowerOfTwo { found: 3 }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HealpixError {
    /// The resolution parameter is out of range.
    #[error("nside = {found}; expected 1 <= nside <= {NSIDE_MAX}")]
    Nside {
        /// The resolution that was asked for.
        found: usize,
    },
    /// NESTED ordering exists only for powers of two.
    #[error("nside = {found} in NESTED ordering; expected a power of two (RING ordering takes any nside)")]
    NsidePowerOfTwo {
        /// The resolution that was asked for.
        found: usize,
    },
    /// The map does not have 12 nside^2 pixels.
    #[error("the map has {found} pixels; nside = {nside} expects {expected}")]
    MapLength {
        /// The resolution.
        nside: usize,
        /// 12 nside^2.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// The coefficients do not have L (L + 1) / 2 complex values.
    #[error("the coefficients have {found} real numbers; L = {L} expects {expected} (L (L + 1) / 2 complex values)")]
    CoefficientLength {
        /// Bandlimit.
        L: usize,
        /// L (L + 1).
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// The bandlimit is not resolved by the pixels.
    #[error("L = {found} at nside = {nside}; expected 1 <= L <= {max} (4 nside; 3 nside - 1 or less is advisable)")]
    Bandlimit {
        /// The resolution.
        nside: usize,
        /// Largest bandlimit accepted.
        max: usize,
        /// The bandlimit that was asked for.
        found: usize,
    },
    /// A grid needs colatitudes in [0, pi] and at least one longitude.
    #[error("grid entry {index}: colatitude {value}; expected a number in [0, pi], and n_phi >= 1 (n_phi = {n_phi})")]
    Grid {
        /// Position in the list of colatitudes.
        index: usize,
        /// The colatitude, printed.
        value: String,
        /// Longitudes per ring.
        n_phi: usize,
    },
}

/// One ring of equally spaced pixels at a common colatitude.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let first = ring_geometry(2)[0];
/// assert!(first.n == 4 && (first.z - (1.0 - 1.0 / 12.0)).abs() < 1e-15 && (first.phi0 - std::f64::consts::FRAC_PI_4).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    /// cos theta.
    pub z: f64,
    /// sin theta, accurate near the poles, where sqrt(1 - z^2) would lose digits.
    pub sin_theta: f64,
    /// Longitude of the first pixel, radians.
    pub phi0: f64,
    /// Pixels in the ring; their longitudes are phi0 + 2 pi k / n.
    pub n: usize,
    /// Index of the first pixel in RING ordering.
    pub start: usize,
}

/// Number of pixels, 12 nside^2.
///
/// ```
/// assert_eq!(scatterc_kernels::healpix::n_pixels(4), 192);
/// ```
pub fn n_pixels(nside: usize) -> usize {
    12 * nside * nside
}

/// The nside of a map of `n` pixels, if there is one.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// assert_eq!((nside_of(192), nside_of(193)), (Some(4), None));
/// ```
pub fn nside_of(n: usize) -> Option<usize> {
    if n == 0 || !n.is_multiple_of(12) {
        return None;
    }
    let nside = (n / 12).isqrt();
    (n_pixels(nside) == n).then_some(nside)
}

/// Position of (ell, m) in triangular coefficients of bandlimit `L`, in complex values.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// // L = 3: (0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2).
/// assert_eq!((index(3, 1, 1), index(3, 2, 2)), (3, 5));
/// ```
#[inline]
pub fn index(L: usize, ell: usize, m: usize) -> usize {
    m * (2 * L - 1 - m) / 2 + ell
}

/// The 4 nside - 1 rings from north to south.
///
/// Polar ring i < nside has 4 i pixels at z = 1 - i^2 / (3 nside^2); the equatorial rings have 4 nside at z = 4/3 - 2 i / (3 nside).
/// Source: Gorski et al. (2005), eqs. 4-9.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let rings = ring_geometry(4);
/// assert_eq!((rings.len(), rings.iter().map(|ring| ring.n).sum::<usize>()), (15, 192));
/// ```
pub fn ring_geometry(nside: usize) -> Vec<Ring> {
    let mut rings = Vec::with_capacity((4 * nside).saturating_sub(1));
    let mut start = 0;
    for i in 1..4 * nside {
        // Counted from the nearer pole, so that both hemispheres get the same bits.
        let north = i.min(4 * nside - i);
        let (z, sin_theta, n, shifted) = if north < nside {
            let h = (north * north) as f64 / (3 * nside * nside) as f64;
            (1.0 - h, (h * (2.0 - h)).sqrt(), 4 * north, true)
        } else {
            let z = 2.0 * (2 * nside - north) as f64 / (3 * nside) as f64;
            (z, ((1.0 - z) * (1.0 + z)).sqrt(), 4 * nside, (north - nside).is_multiple_of(2))
        };
        let z = if i > 2 * nside { -z } else { z };
        let phi0 = if shifted { PI / n as f64 } else { 0.0 };
        rings.push(Ring { z, sin_theta, phi0, n, start });
        start += n;
    }
    rings
}

/// RING number of the pixel that contains a direction.
///
/// - `theta`: radians, outside [0, pi], or not finite, there is no pixel
/// - `phi`: radians, any turn
///
/// Source: Gorski et al. (2005), section 4.1: pixel edges are straight in (z, phi) between the caps and in (sigma, phi) on them.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let ring = ring_geometry(4)[5];
/// assert_eq!(pixel_at(4, ring.z.acos(), ring.phi0 + 1e-6), Some(ring.start));
/// assert_eq!(pixel_at(4, -1.0, 0.0), None);
/// ```
pub fn pixel_at(nside: usize, theta: f64, phi: f64) -> Option<usize> {
    if !(0.0..=PI).contains(&theta) || !phi.is_finite() || nside == 0 {
        return None;
    }
    let z = theta.cos();
    // Longitude in quarter turns, 0 <= turn < 4.
    let turn = (phi / (0.5 * PI)).rem_euclid(4.0) % 4.0;
    let side = nside as f64;
    if z.abs() <= 2.0 / 3.0 {
        // Numbers of the ascending and descending edge lines.
        let up = (side * (0.5 + turn - 0.75 * z)).floor() as i64;
        let down = (side * (0.5 + turn + 0.75 * z)).floor() as i64;
        let nside = nside as i64;
        let row = nside + 1 + up - down;
        let shift = 1 - (row & 1);
        let column = ((up + down - nside + shift + 1) >> 1).rem_euclid(4 * nside);
        Some((2 * nside * (nside - 1) + (row - 1) * 4 * nside + column) as usize)
    } else {
        let inside = turn.fract();
        // sqrt(3 (1 - |z|)) without the cancellation near the poles.
        let sigma = side * 6f64.sqrt() * (0.5 * theta.min(PI - theta)).sin();
        let up = (inside * sigma) as usize;
        let down = ((1.0 - inside) * sigma) as usize;
        let row = (up + down + 1).min(nside);
        let column = ((turn * row as f64) as usize).min(4 * row - 1);
        Some(if z > 0.0 { 2 * row * (row - 1) + column } else { n_pixels(nside) - 2 * row * (row + 1) + column })
    }
}

/// Row of the southernmost corner and column of each of the twelve base faces, in units of nside rings and half steps of longitude.
const FACE_ROW: [i64; 12] = [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4];
const FACE_COLUMN: [i64; 12] = [1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7];

/// Gathers the even bits of `x` into the low half.
pub(crate) fn compact_bits(x: u64) -> u64 {
    let mut x = x & 0x5555_5555_5555_5555;
    x = (x | (x >> 1)) & 0x3333_3333_3333_3333;
    x = (x | (x >> 2)) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | (x >> 4)) & 0x00ff_00ff_00ff_00ff;
    x = (x | (x >> 8)) & 0x0000_ffff_0000_ffff;
    (x | (x >> 16)) & 0x0000_0000_ffff_ffff
}

/// RING number of the NESTED pixel `nested`; `nside` is a power of two and `nested < 12 nside^2`.
fn ring_index(nside: usize, nested: usize) -> usize {
    let per_face = nside * nside;
    let face = nested / per_face;
    let inside = (nested % per_face) as u64;
    let ix = compact_bits(inside) as i64;
    let iy = compact_bits(inside >> 1) as i64;
    let side = nside as i64;

    let row = FACE_ROW[face] * side - ix - iy - 1;
    // `width` is a quarter of the ring's pixels, `shift` is 1 on equatorial rings that start at longitude zero.
    let (width, before, shift) = if row < side {
        (row, 2 * row * (row - 1), 0)
    } else if row > 3 * side {
        let south = 4 * side - row;
        (south, 12 * side * side - 2 * (south + 1) * south, 0)
    } else {
        (side, 2 * side * (side - 1) + (row - side) * 4 * side, (row - side) & 1)
    };
    let column = (FACE_COLUMN[face] * width + ix - iy + 1 + shift) / 2 - 1;
    (before + column.rem_euclid(4 * width)) as usize
}

/// For each NESTED pixel number, its RING number.
///
/// Error: [`HealpixError::NsidePowerOfTwo`], [`HealpixError::Nside`]. Exact integer arithmetic.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// // The first base pixel at nside 2: its northern corner is the first pixel of the first ring.
/// assert_eq!(nested_ring_table(2)?[..4], [13, 5, 4, 0]);
/// # Ok::<(), HealpixError>(())
/// ```
pub fn nested_ring_table(nside: usize) -> Result<Vec<usize>, HealpixError> {
    check_nside(nside)?;
    if !nside.is_power_of_two() {
        return Err(HealpixError::NsidePowerOfTwo { found: nside });
    }
    Ok((0..n_pixels(nside)).map(|p| ring_index(nside, p)).collect())
}

/// Reorders a NESTED map into RING order: `out[ring(p)] = map[p]`.
///
/// - `map`: `[12 nside^2]`, any units, NESTED; result the same, RING
///
/// Error: wrong length, or nside not a power of two.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let map: Vec<f64> = (0..48).map(f64::from).collect();
/// assert_eq!(nested_to_ring(2, &map)?[0], 3.0);
/// # Ok::<(), HealpixError>(())
/// ```
pub fn nested_to_ring(nside: usize, map: &[f64]) -> Result<Vec<f64>, HealpixError> {
    let table = nested_ring_table(nside)?;
    check_map(nside, map)?;
    let mut out = vec![0.0; map.len()];
    for (value, &ring) in map.iter().zip(&table) {
        out[ring] = *value;
    }
    Ok(out)
}

/// Reorders a RING map into NESTED order, the inverse of [`nested_to_ring`].
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let map: Vec<f64> = (0..48).map(f64::from).collect();
/// assert_eq!(ring_to_nested(2, &nested_to_ring(2, &map)?)?, map);
/// # Ok::<(), HealpixError>(())
/// ```
pub fn ring_to_nested(nside: usize, map: &[f64]) -> Result<Vec<f64>, HealpixError> {
    let table = nested_ring_table(nside)?;
    check_map(nside, map)?;
    Ok(table.iter().map(|&ring| map[ring]).collect())
}

fn check_nside(nside: usize) -> Result<(), HealpixError> {
    if nside == 0 || nside > NSIDE_MAX {
        return Err(HealpixError::Nside { found: nside });
    }
    Ok(())
}

fn check_map(nside: usize, map: &[f64]) -> Result<(), HealpixError> {
    let expected = n_pixels(nside);
    if map.len() != expected {
        return Err(HealpixError::MapLength { nside, expected, found: map.len() });
    }
    Ok(())
}

fn check_bandlimit(nside: usize, L: usize) -> Result<(), HealpixError> {
    check_nside(nside)?;
    if L == 0 || L > 4 * nside {
        return Err(HealpixError::Bandlimit { nside, max: 4 * nside, found: L });
    }
    Ok(())
}

fn check_coefficients(L: usize, coefficients: &[f64]) -> Result<(), HealpixError> {
    let expected = L * (L + 1);
    if L == 0 || coefficients.len() != expected {
        return Err(HealpixError::CoefficientLength { L, expected, found: coefficients.len() });
    }
    Ok(())
}

/// What [`analysis`] returns.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let found: Analysis = analysis(&Serial, 4, &[1.0; 192], 8, 2)?;
/// assert_eq!((found.coefficients.len(), found.residuals.len()), (8 * 9, 3));
/// # Ok::<(), HealpixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Triangular coefficients, `[L (L + 1) / 2]` complex interleaved, units of the map.
    pub coefficients: Vec<f64>,
    /// ||f - synthesis(a)|| / ||f|| before each refinement step and after the last, so `iterations + 1` numbers.
    ///
    /// They never grow beyond rounding. The last one is the part of the map that the returned coefficients do not describe; of a map with power
    /// beyond the bandlimit it stays as large as that power.
    pub residuals: Vec<f64>,
}

impl Analysis {
    /// The relative residual of the returned coefficients.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::healpix::*;
    /// assert!(analysis(&Serial, 4, &[1.0; 192], 8, 3)?.residual() < 1e-6);
    /// # Ok::<(), HealpixError>(())
    /// ```
    pub fn residual(&self) -> f64 {
        self.residuals.last().copied().unwrap_or(0.0)
    }
}

/// Harmonic coefficients of a real full-sky map in RING order.
///
/// a_lm = sum_p (4 pi / (12 nside^2)) f_p conj Y_lm(p), followed by `iterations` refinement steps. A step costs one synthesis and one
/// analysis, as the usual a += analysis(f - synthesis(a)) does, and tends to the same coefficients, those of least squares over the
/// pixels; but it takes the conjugate-gradient direction and length, which gains one to two digits a step where the plain one gains
/// less than one, and cannot diverge at large L.
///
/// - `ring_map`: `[12 nside^2]`, any units
/// - result: `[L (L + 1) / 2]` complex interleaved, units of the map; coefficients of the orthonormal Y_lm, so the mean is a_00 / sqrt(4 pi)
///
/// Error: random coefficients of equal size, L = 2 nside, three steps: the largest error over the largest coefficient is 9.4e-7 or less at
/// nside = 16 to 128 (3.5e-7 at 128) and 3e-6 at nside = 3 and 8 (`tests/healpix.rs`). At L = 3 nside the pixels barely determine the
/// highest degrees and more steps are needed. A map that is not finite gives coefficients that are not finite.
/// Cost: (2 iterations + 2) transforms of O(nside L^2). Source: Gorski et al. (2005); Hestenes and Stiefel (1952) for the steps.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// // The mean of a map is a_00 / sqrt(4 pi).
/// let found = analysis(&Serial, 4, &[2.0; 192], 8, 3)?;
/// assert!((found.coefficients[0] / (4.0 * std::f64::consts::PI).sqrt() - 2.0).abs() < 1e-6);
/// # Ok::<(), HealpixError>(())
/// ```
pub fn analysis(parallel: &dyn Parallel, nside: usize, ring_map: &[f64], L: usize, iterations: usize) -> Result<Analysis, HealpixError> {
    Transform::new(nside, L)?.analysis(parallel, ring_map, iterations)
}

/// The real RING map of triangular coefficients, f(p) = sum_lm a_lm Y_lm(p) with a_{l,-m} = (-1)^m conj a_lm.
///
/// - `coefficients`: `[L (L + 1) / 2]` complex interleaved; the imaginary parts at m = 0 describe no real field and are not read
/// - result: `[12 nside^2]`
///
/// Error: relative 1e-13 of the map's maximum at L = 256. Cost: O(nside L^2).
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let mut coefficients = vec![0.0; 4 * 5];
/// coefficients[0] = (4.0 * std::f64::consts::PI).sqrt();
/// assert!(synthesis(&Serial, 2, 4, &coefficients)?.iter().all(|f| (f - 1.0).abs() < 1e-13));
/// # Ok::<(), HealpixError>(())
/// ```
pub fn synthesis(parallel: &dyn Parallel, nside: usize, L: usize, coefficients: &[f64]) -> Result<Vec<f64>, HealpixError> {
    Transform::new(nside, L)?.synthesis(parallel, coefficients)
}

/// The field of triangular coefficients on any colatitudes, with `n_phi` longitudes 2 pi k / n_phi on each.
///
/// - `theta`: `[n_theta]`, radians, 0 <= theta <= pi, in any order
/// - result: `[n_theta, n_phi]`, longitude fastest
///
/// Orders above n_phi / 2 alias as sampling makes them alias. Cost: O(n_theta L^2).
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// // Y_10 = sqrt(3 / 4 pi) cos(theta).
/// let mut coefficients = vec![0.0; 2 * 3];
/// coefficients[2 * index(2, 1, 0)] = (4.0 * std::f64::consts::PI / 3.0).sqrt();
/// let map = synthesis_grid(&Serial, 2, &coefficients, &[0.0, 1.0], 3)?;
/// assert!((map[0] - 1.0).abs() < 1e-13 && (map[5] - 1f64.cos()).abs() < 1e-13);
/// # Ok::<(), HealpixError>(())
/// ```
pub fn synthesis_grid(parallel: &dyn Parallel, L: usize, coefficients: &[f64], theta: &[f64], n_phi: usize) -> Result<Vec<f64>, HealpixError> {
    check_coefficients(L, coefficients)?;
    for (index, &value) in theta.iter().enumerate() {
        if !(0.0..=PI).contains(&value) || n_phi == 0 {
            return Err(HealpixError::Grid { index, value: value.to_string(), n_phi });
        }
    }
    let pairs = theta
        .iter()
        .enumerate()
        .map(|(row, &theta)| Pair { z: theta.cos(), sin_theta: theta.sin(), shifted: false, n: n_phi, north: row * n_phi, south: None })
        .collect();
    let mut out = vec![0.0; theta.len() * n_phi];
    Rings::new(pairs, L).synthesis(parallel, coefficients, &mut out);
    Ok(out)
}

/// Tables of the transforms at one (nside, L), for several maps.
///
/// ```
/// # use scatterc_kernels::Serial;
/// # use scatterc_kernels::healpix::*;
/// let transform = Transform::new(4, 8)?;
/// let mut a = vec![0.0; 8 * 9];
/// a[2 * index(8, 3, 2)] = 1.0;
/// let back = transform.analysis(&Serial, &transform.synthesis(&Serial, &a)?, 3)?;
/// assert!(a.iter().zip(&back.coefficients).all(|(a, b)| (a - b).abs() < 1e-4));
/// # Ok::<(), HealpixError>(())
/// ```
pub struct Transform {
    nside: usize,
    L: usize,
    rings: Rings,
}

impl Transform {
    /// Plans the ring FFTs. Error: nside or L out of range.
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::healpix::*;
    /// assert!(Transform::new(4, 8).is_ok() && Transform::new(4, 17).is_err());
    /// ```
    pub fn new(nside: usize, L: usize) -> Result<Transform, HealpixError> {
        check_bandlimit(nside, L)?;
        let rings = ring_geometry(nside);
        let pairs = (0..2 * nside)
            .map(|i| {
                let north = &rings[i];
                let south = rings.len() - 1 - i;
                Pair {
                    z: north.z,
                    sin_theta: north.sin_theta,
                    shifted: north.phi0 != 0.0,
                    n: north.n,
                    north: north.start,
                    south: (south != i).then(|| rings[south].start),
                }
            })
            .collect();
        Ok(Transform { nside, L, rings: Rings::new(pairs, L) })
    }

    /// See [`synthesis`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::healpix::*;
    /// assert_eq!(Transform::new(4, 8)?.synthesis(&Serial, &[0.0; 8 * 9])?, [0.0; 192]);
    /// # Ok::<(), HealpixError>(())
    /// ```
    pub fn synthesis(&self, parallel: &dyn Parallel, coefficients: &[f64]) -> Result<Vec<f64>, HealpixError> {
        check_coefficients(self.L, coefficients)?;
        let mut map = vec![0.0; n_pixels(self.nside)];
        self.rings.synthesis(parallel, coefficients, &mut map);
        Ok(map)
    }

    /// See [`analysis`].
    ///
    /// ```
    /// # use scatterc_kernels::Serial;
    /// # use scatterc_kernels::healpix::*;
    /// assert_eq!(Transform::new(4, 8)?.analysis(&Serial, &[0.0; 192], 1)?.coefficients, [0.0; 8 * 9]);
    /// # Ok::<(), HealpixError>(())
    /// ```
    pub fn analysis(&self, parallel: &dyn Parallel, ring_map: &[f64], iterations: usize) -> Result<Analysis, HealpixError> {
        check_map(self.nside, ring_map)?;
        let (L, rings) = (self.L, &self.rings);
        let area = 4.0 * PI / n_pixels(self.nside) as f64;
        let norm = norm(ring_map);
        if norm == 0.0 || !norm.is_finite() {
            // A zero map has zero coefficients. One that is not finite has none: the sums say so with NaN, and steps would not help.
            let mut coefficients = vec![0.0; L * (L + 1)];
            rings.accumulate(parallel, ring_map, area, &mut coefficients);
            return Ok(Analysis { coefficients, residuals: vec![if norm == 0.0 { 0.0 } else { f64::NAN }; iterations + 1] });
        }

        let mut coefficients = vec![0.0; L * (L + 1)];
        rings.accumulate(parallel, ring_map, area, &mut coefficients);
        let mut image = vec![0.0; ring_map.len()];
        rings.synthesis(parallel, &coefficients, &mut image);
        let mut rest: Vec<f64> = ring_map.iter().zip(&image).map(|(f, g)| f - g).collect();
        let mut residuals = vec![self::norm(&rest) / norm];

        let mut direction = vec![0.0; L * (L + 1)];
        let mut last = 0.0;
        for step in 0..iterations {
            let mut gradient = vec![0.0; L * (L + 1)];
            rings.accumulate(parallel, &rest, area, &mut gradient);
            let size = square(L, &gradient);
            // Below this the gradient is rounding, and a step along it would be noise.
            if size.sqrt() <= 4.0 * f64::EPSILON * square(L, &coefficients).sqrt() {
                residuals.resize(iterations + 1, residuals[step]);
                break;
            }
            let beta = if step == 0 { 0.0 } else { size / last };
            for (d, g) in direction.iter_mut().zip(&gradient) {
                *d = g + beta * *d;
            }
            last = size;
            rings.synthesis(parallel, &direction, &mut image);
            let alpha = size / (area * self::norm(&image).powi(2));
            for (c, d) in coefficients.iter_mut().zip(&direction) {
                *c += alpha * d;
            }
            for (r, g) in rest.iter_mut().zip(&image) {
                *r -= alpha * g;
            }
            residuals.push(self::norm(&rest) / norm);
        }
        Ok(Analysis { coefficients, residuals })
    }
}

/// Squared norm of a real field's coefficients over all m: those with m > 0 stand for two.
fn square(L: usize, coefficients: &[f64]) -> f64 {
    let zero: f64 = coefficients[..2 * L].iter().map(|c| c * c).sum();
    let rest: f64 = coefficients[2 * L..].iter().map(|c| c * c).sum();
    zero + 2.0 * rest
}

/// Euclidean norm; scaled by the maximum, so that large and small units survive the squares.
fn norm(values: &[f64]) -> f64 {
    let top = values.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    if top == 0.0 {
        return 0.0;
    }
    top * values.iter().map(|v| (v / top).powi(2)).sum::<f64>().sqrt()
}

/// A ring and, where there is one, its mirror image in the south.
struct Pair {
    z: f64,
    sin_theta: f64,
    /// The first pixel is at pi / n instead of 0.
    shifted: bool,
    n: usize,
    north: usize,
    south: Option<usize>,
}

/// Legendre starting values of one lane group at one m: mantissas, exponents, and cos theta.
struct Lanes {
    z: [f64; LANES],
    value: [f64; LANES],
    scale: [i64; LANES],
}

/// Per-m factors of the recursion, from ell = m + 1 on: lambda_l = a z lambda_{l-1} - b lambda_{l-2}.
struct Recursion {
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Recursion {
    /// a_l = sqrt((4 l^2 - 1) / (l^2 - m^2)), b_l = a_l / a_{l-1}; b_{m+1} multiplies zero.
    fn new(L: usize, m: usize) -> Recursion {
        let m2 = (m as f64) * (m as f64);
        let mut a = Vec::with_capacity(L - m);
        let mut b = Vec::with_capacity(L - m);
        let mut last = 1.0;
        for ell in m + 1..L {
            let l2 = (ell as f64) * (ell as f64);
            let now = ((4.0 * l2 - 1.0) / (l2 - m2)).sqrt();
            a.push(now);
            b.push(if ell == m + 1 { 0.0 } else { now / last });
            last = now;
        }
        Recursion { a, b }
    }
}

/// Receives lambda_{m + k, m} of one lane group, k = 0, 1, 2, .. in order; even and odd k apart because their parity in z differs.
trait Visitor {
    fn even(&mut self, k: usize, lambda: &[f64; LANES]);
    fn odd(&mut self, k: usize, lambda: &[f64; LANES]);
}

/// Runs the three-term recursion over ell for one lane group.
///
/// As long as a lane is below 2^-200 it carries a power of 2^400 and visits with zero; the loop without bookkeeping
/// starts when the last lane has left that region.
#[inline(always)]
fn recurse(recursion: &Recursion, lanes: &Lanes, visitor: &mut impl Visitor) {
    let big = 2.0f64.powi(SCALE_HALF as i32);
    let down = 2.0f64.powi(-SCALE_STEP as i32);
    let a = &recursion.a[..];
    let b = &recursion.b[..a.len()];
    let count = a.len() + 1;
    let z = lanes.z;
    let mut scale = lanes.scale;
    let mut before = [0.0; LANES];
    let mut now = lanes.value;
    let mut k: usize = 0;

    while scale.iter().any(|&s| s < 0) {
        let mut seen = [0.0; LANES];
        let mut any = false;
        for lane in 0..LANES {
            if scale[lane] == 0 {
                seen[lane] = now[lane];
                any = true;
            }
        }
        if any {
            if k.is_multiple_of(2) {
                visitor.even(k, &seen);
            } else {
                visitor.odd(k, &seen);
            }
        }
        if k + 1 == count {
            return;
        }
        for lane in 0..LANES {
            let next = a[k] * z[lane] * now[lane] - b[k] * before[lane];
            before[lane] = now[lane];
            now[lane] = next;
            if scale[lane] < 0 && next.abs() > big {
                now[lane] *= down;
                before[lane] *= down;
                scale[lane] += 1;
            }
        }
        k += 1;
    }

    if k % 2 == 1 {
        visitor.odd(k, &now);
        if k + 1 == count {
            return;
        }
        step(a[k], b[k], &z, &mut before, &mut now);
        k += 1;
    }
    while k + 2 < count {
        visitor.even(k, &now);
        step(a[k], b[k], &z, &mut before, &mut now);
        visitor.odd(k + 1, &now);
        step(a[k + 1], b[k + 1], &z, &mut before, &mut now);
        k += 2;
    }
    visitor.even(k, &now);
    if k + 1 < count {
        step(a[k], b[k], &z, &mut before, &mut now);
        visitor.odd(k + 1, &now);
    }
}

/// One step of the recursion; no fused multiply-add, so that every processor gives the same bits.
#[inline(always)]
fn step(a: f64, b: f64, z: &[f64; LANES], before: &mut [f64; LANES], now: &mut [f64; LANES]) {
    for lane in 0..LANES {
        let next = a * z[lane] * now[lane] - b * before[lane];
        before[lane] = now[lane];
        now[lane] = next;
    }
}

/// Sums a_lm lambda_lm over ell, the even and the odd part apart.
struct Sum<'a> {
    /// Coefficients of one m, interleaved.
    coefficients: &'a [f64],
    /// re and im of the even part, then of the odd part.
    parts: [[f64; LANES]; 4],
}

impl Visitor for Sum<'_> {
    #[inline(always)]
    fn even(&mut self, k: usize, lambda: &[f64; LANES]) {
        let (re, im) = (self.coefficients[2 * k], self.coefficients[2 * k + 1]);
        for lane in 0..LANES {
            self.parts[0][lane] += re * lambda[lane];
            self.parts[1][lane] += im * lambda[lane];
        }
    }

    #[inline(always)]
    fn odd(&mut self, k: usize, lambda: &[f64; LANES]) {
        let (re, im) = (self.coefficients[2 * k], self.coefficients[2 * k + 1]);
        for lane in 0..LANES {
            self.parts[2][lane] += re * lambda[lane];
            self.parts[3][lane] += im * lambda[lane];
        }
    }
}

/// The adjoint of [`Sum`]: adds lambda_lm times the ring values to lane-wise accumulators.
struct Spread<'a> {
    /// re and im of north + south, then of north - south.
    parts: [[f64; LANES]; 4],
    /// `[ell - m]` of re and im, a lane each; lanes are added up once at the end.
    out: &'a mut [[[f64; LANES]; 2]],
}

impl Visitor for Spread<'_> {
    #[inline(always)]
    fn even(&mut self, k: usize, lambda: &[f64; LANES]) {
        let out = &mut self.out[k];
        for lane in 0..LANES {
            out[0][lane] += self.parts[0][lane] * lambda[lane];
            out[1][lane] += self.parts[1][lane] * lambda[lane];
        }
    }

    #[inline(always)]
    fn odd(&mut self, k: usize, lambda: &[f64; LANES]) {
        let out = &mut self.out[k];
        for lane in 0..LANES {
            out[0][lane] += self.parts[2][lane] * lambda[lane];
            out[1][lane] += self.parts[3][lane] * lambda[lane];
        }
    }
}

/// Defines a function once for the baseline and, on x86-64, again for AVX2 and AVX-512 with a choice at run time.
macro_rules! dispatched {
    ($(#[$doc:meta])* fn $name:ident($recursion:ident, $lanes:ident, $visitor:ident: $visitor_type:ty)) => {
        $(#[$doc])*
        fn $name($recursion: &Recursion, $lanes: &Lanes, $visitor: &mut $visitor_type) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($recursion: &Recursion, $lanes: &Lanes, $visitor: &mut $visitor_type) {
                    recurse($recursion, $lanes, $visitor);
                }
                #[target_feature(enable = "avx2")]
                fn avx2($recursion: &Recursion, $lanes: &Lanes, $visitor: &mut $visitor_type) {
                    recurse($recursion, $lanes, $visitor);
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor was just asked whether it has AVX-512F.
                    return unsafe { avx512($recursion, $lanes, $visitor) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just asked whether it has AVX2.
                    return unsafe { avx2($recursion, $lanes, $visitor) };
                }
            }
            recurse($recursion, $lanes, $visitor);
        }
    };
}

dispatched! {
    /// Legendre sums of synthesis for one lane group.
    fn recurse_sum(recursion, lanes, visitor: Sum<'_>)
}
dispatched! {
    /// Legendre sums of analysis for one lane group.
    fn recurse_spread(recursion, lanes, visitor: Spread<'_>)
}

/// Rings with their FFT plans and the Legendre starting factors.
struct Rings {
    pairs: Vec<Pair>,
    L: usize,
    /// sqrt of (1 / 4 pi) prod_{k <= m} (2 k + 1) / (2 k), with the sign (-1)^m.
    start: Vec<f64>,
    forward: BTreeMap<usize, Arc<dyn Fft<f64>>>,
    inverse: BTreeMap<usize, Arc<dyn Fft<f64>>>,
}

impl Rings {
    fn new(pairs: Vec<Pair>, L: usize) -> Rings {
        let mut planner = FftPlanner::new();
        let mut forward = BTreeMap::new();
        let mut inverse = BTreeMap::new();
        for pair in &pairs {
            forward.entry(pair.n).or_insert_with(|| planner.plan_fft_forward(pair.n));
            inverse.entry(pair.n).or_insert_with(|| planner.plan_fft_inverse(pair.n));
        }
        let mut start = Vec::with_capacity(L);
        let mut factor = (1.0 / (4.0 * PI)).sqrt();
        for m in 0..L {
            if m > 0 {
                factor *= -((2 * m + 1) as f64 / (2 * m) as f64).sqrt();
            }
            start.push(factor);
        }
        Rings { pairs, L, start, forward, inverse }
    }

    /// Starting values of lane group `group` at order m; lanes past the last ring are zero everywhere.
    fn lanes(&self, group: usize, m: usize) -> Lanes {
        let mut lanes = Lanes { z: [0.0; LANES], value: [0.0; LANES], scale: [0; LANES] };
        for lane in 0..LANES {
            let Some(pair) = self.pairs.get(group * LANES + lane) else {
                break;
            };
            let (mantissa, exponent) = power(pair.sin_theta, m);
            let mantissa = mantissa * self.start[m];
            lanes.z[lane] = pair.z;
            if mantissa == 0.0 {
                continue;
            }
            let scale = if exponent >= -SCALE_HALF { 0 } else { (exponent + SCALE_HALF).div_euclid(SCALE_STEP) };
            lanes.scale[lane] = scale;
            lanes.value[lane] = mantissa * 2.0f64.powi((exponent - SCALE_STEP * scale) as i32);
        }
        lanes
    }

    /// e^{i m phi0} of a pair.
    fn phase(pair: &Pair, m: usize) -> Complex<f64> {
        if !pair.shifted {
            return Complex::new(1.0, 0.0);
        }
        // The angle is reduced in integers: m pi / n for large m would lose digits.
        let (sin, cos) = (PI * (m % (2 * pair.n)) as f64 / pair.n as f64).sin_cos();
        Complex::new(cos, sin)
    }

    /// Writes the field into `map`, whose rings lie where the pairs say.
    fn synthesis(&self, parallel: &dyn Parallel, coefficients: &[f64], map: &mut [f64]) {
        let n_pairs = self.pairs.len();
        let L = self.L;
        // Per m and pair: F_m of the north and of the south ring.
        let mut phases = vec![0.0f64; L * n_pairs * 4];
        {
            // One lock per row is never contended; it states to the compiler that tasks write disjoint rows.
            let rows: Vec<Mutex<&mut [f64]>> = phases.chunks_mut((n_pairs * 4).max(1)).map(Mutex::new).collect();
            parallel.for_each(rows.len(), &|m| {
                let mut row = rows[m].lock().expect("a row belongs to one task");
                let recursion = Recursion::new(L, m);
                let first = 2 * index(L, m, m);
                let mut own = coefficients[first..first + 2 * (L - m)].to_vec();
                if m == 0 {
                    // The order-zero part of a real field is real.
                    own.iter_mut().skip(1).step_by(2).for_each(|im| *im = 0.0);
                }
                for group in 0..n_pairs.div_ceil(LANES) {
                    let mut sum = Sum { coefficients: &own, parts: [[0.0; LANES]; 4] };
                    recurse_sum(&recursion, &self.lanes(group, m), &mut sum);
                    let [even_re, even_im, odd_re, odd_im] = sum.parts;
                    for (lane, out) in row[group * LANES * 4..].chunks_exact_mut(4).take(LANES).enumerate() {
                        out[0] = even_re[lane] + odd_re[lane];
                        out[1] = even_im[lane] + odd_im[lane];
                        out[2] = even_re[lane] - odd_re[lane];
                        out[3] = even_im[lane] - odd_im[lane];
                    }
                }
            });
        }

        // Every ring of the map once, so that a task can own its two.
        let mut starts: Vec<(usize, usize, bool)> = Vec::with_capacity(2 * n_pairs);
        for (i, pair) in self.pairs.iter().enumerate() {
            starts.push((pair.north, i, false));
            if let Some(south) = pair.south {
                starts.push((south, i, true));
            }
        }
        starts.sort_unstable();
        let mut owned: Vec<(Option<&mut [f64]>, Option<&mut [f64]>)> = (0..n_pairs).map(|_| (None, None)).collect();
        let mut rest = map;
        for (_, i, is_south) in starts {
            let (ring, tail) = rest.split_at_mut(self.pairs[i].n);
            rest = tail;
            if is_south {
                owned[i].1 = Some(ring);
            } else {
                owned[i].0 = Some(ring);
            }
        }
        let owned: Vec<Mutex<_>> = owned.into_iter().map(Mutex::new).collect();
        parallel.for_each(n_pairs, &|i| {
            let pair = &self.pairs[i];
            let n = pair.n;
            // North and south share one complex FFT: the spectrum of north + i south.
            let mut bins = vec![Complex::new(0.0, 0.0); n];
            for m in 0..L {
                let at = (m * n_pairs + i) * 4;
                let phase = Rings::phase(pair, m);
                let north = Complex::new(phases[at], phases[at + 1]) * phase;
                let south = Complex::new(phases[at + 2], phases[at + 3]) * phase;
                let turn = Complex::new(-south.im, south.re);
                bins[m % n] += north + turn;
                if m > 0 {
                    let turn = Complex::new(south.im, south.re);
                    bins[(n - m % n) % n] += north.conj() + turn;
                }
            }
            self.inverse[&n].process(&mut bins);
            let mut rings = owned[i].lock().expect("a ring belongs to one task");
            if let Some(north) = rings.0.as_deref_mut() {
                for (pixel, bin) in north.iter_mut().zip(&bins) {
                    *pixel = bin.re;
                }
            }
            if let Some(south) = rings.1.as_deref_mut() {
                for (pixel, bin) in south.iter_mut().zip(&bins) {
                    *pixel = bin.im;
                }
            }
        });
    }

    /// Adds weight * sum_p f_p conj Y_lm(p) to `coefficients`.
    fn accumulate(&self, parallel: &dyn Parallel, map: &[f64], weight: f64, coefficients: &mut [f64]) {
        let n_pairs = self.pairs.len();
        let L = self.L;
        // Per pair and m: the weighted ring sums, north + south and north - south.
        let mut phases = vec![0.0f64; n_pairs * L * 4];
        {
            let rows: Vec<Mutex<&mut [f64]>> = phases.chunks_mut(L * 4).map(Mutex::new).collect();
            parallel.for_each(n_pairs, &|i| {
                let pair = &self.pairs[i];
                let n = pair.n;
                let north = &map[pair.north..pair.north + n];
                let mut bins: Vec<Complex<f64>> = match pair.south {
                    Some(south) => north.iter().zip(&map[south..south + n]).map(|(&a, &b)| Complex::new(a, b)).collect(),
                    None => north.iter().map(|&a| Complex::new(a, 0.0)).collect(),
                };
                self.forward[&n].process(&mut bins);
                let mut row = rows[i].lock().expect("a row belongs to one task");
                for (m, out) in row.chunks_exact_mut(4).enumerate() {
                    let up = bins[m % n];
                    let down = bins[(n - m % n) % n].conj();
                    let phase = Rings::phase(pair, m).conj() * (0.5 * weight);
                    let north = (up + down) * phase;
                    let difference = up - down;
                    let south = Complex::new(difference.im, -difference.re) * phase;
                    out[0] = north.re + south.re;
                    out[1] = north.im + south.im;
                    out[2] = north.re - south.re;
                    out[3] = north.im - south.im;
                }
            });
        }

        let mut rows = Vec::with_capacity(L);
        let mut rest = coefficients;
        for m in 0..L {
            let (row, tail) = rest.split_at_mut(2 * (L - m));
            rows.push(Mutex::new(row));
            rest = tail;
        }
        parallel.for_each(L, &|m| {
            let recursion = Recursion::new(L, m);
            let mut sums = vec![[[0.0; LANES]; 2]; L - m];
            for group in 0..n_pairs.div_ceil(LANES) {
                let mut parts = [[0.0; LANES]; 4];
                for lane in 0..LANES.min(n_pairs - group * LANES) {
                    let at = ((group * LANES + lane) * L + m) * 4;
                    for part in 0..4 {
                        parts[part][lane] = phases[at + part];
                    }
                }
                let mut spread = Spread { parts, out: &mut sums };
                recurse_spread(&recursion, &self.lanes(group, m), &mut spread);
            }
            let mut row = rows[m].lock().expect("a row belongs to one task");
            for (out, sum) in row.chunks_exact_mut(2).zip(&sums) {
                out[0] += sum[0].iter().sum::<f64>();
                if m > 0 {
                    out[1] += sum[1].iter().sum::<f64>();
                }
            }
        });
    }
}

/// x^m as (mantissa, exponent of two) for 0 <= x <= 1, by squaring, without underflow.
fn power(x: f64, m: usize) -> (f64, i64) {
    let (mut base, mut base_exponent) = split(x);
    let (mut value, mut exponent) = (1.0, 0i64);
    let mut m = m;
    while m > 0 {
        if m & 1 == 1 {
            let (mantissa, shift) = split(value * base);
            value = mantissa;
            exponent += base_exponent + shift;
        }
        let (mantissa, shift) = split(base * base);
        base = mantissa;
        base_exponent = 2 * base_exponent + shift;
        m >>= 1;
    }
    (value, exponent)
}

/// A normal number as mantissa in [1, 2) and exponent; zero and subnormals, which only the poles give, as zero.
fn split(x: f64) -> (f64, i64) {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64;
    if exponent == 0 {
        return (0.0, 0);
    }
    let mantissa = f64::from_bits((bits & 0x800f_ffff_ffff_ffff) | (1023u64 << 52));
    (mantissa, exponent - 1023)
}
