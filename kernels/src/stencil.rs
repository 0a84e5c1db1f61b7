//! Wavelets and changes of resolution on HEALPix maps in NESTED order, as sparse rows: which pixels a pixel reads, and with which weights.
//!
//! ```text
//! Pixels      centres, bilinear weights, neighbours of one nside
//! wavelets    pixels(nside) -> [L, 2] pixels(nside)      K x K stencils turned by l pi / L
//! downgrade   pixels(nside) -> pixels(nside / 2)         36 children of a pixel and its neighbours
//! upgrade     pixels(nside) -> pixels(2 nside)           its transpose, normalised
//! ```
//!
//! A *patch* is a sorted list of cells; a map on it holds one number per cell. Applying the rows is the part of [`crate::gather`].
//!
//! Source: FOSCAT 2026.6.1 (Delouis et al. 2022, A&A 668, A122), with its geometry in double precision.

use crate::error::KernelError;
use crate::healpix::{compact_bits, n_pixels, ring_geometry};
use crate::simd::Real;
use std::collections::HashMap;
use std::f64::consts::{PI, TAU};

/// Largest nside accepted, so that pixel numbers fit 32 bits.
///
/// ```
/// use scatterc_kernels::stencil::{LARGEST_NSIDE, check_cells};
///
/// assert!(check_cells(LARGEST_NSIDE, &[0]).is_ok());
/// ```
pub const LARGEST_NSIDE: usize = 8192;
/// Most orientations of a wavelet.
///
/// ```
/// use scatterc_kernels::stencil::{MOST_ORIENTATIONS, Pixels, wavelets};
///
/// let pixels = Pixels::new(4)?;
/// assert!(wavelets(&pixels, 3, MOST_ORIENTATIONS, &[0], &[], 1).is_ok() && wavelets(&pixels, 3, MOST_ORIENTATIONS + 1, &[0], &[], 1).is_err());
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub const MOST_ORIENTATIONS: usize = 32;

/// Sparse rows: row r reads the columns `columns[starts[r]..starts[r + 1]]`, each with a block of `width` weights, one per number of the result's pixel.
///
/// ```
/// # use scatterc_kernels::stencil::Rows;
/// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
/// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
/// assert_eq!((rows.len(), rows.columns.len(), rows.width), (2, 3, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows<T = f64> {
    /// Columns of the whole matrix.
    pub n_columns: usize,
    /// Weights per entry.
    pub width: usize,
    /// First entry of every row, and the number of entries.
    pub starts: Vec<usize>,
    /// Columns of the entries.
    pub columns: Vec<u32>,
    /// Weights of the entries, `width` each.
    pub values: Vec<T>,
}

impl Rows {
    fn new(n_columns: usize, width: usize) -> Self {
        Rows { n_columns, width, starts: vec![0], columns: vec![], values: vec![] }
    }

    /// The same rows with weights rounded to another element.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// assert_eq!(rows.rounded::<f32>().values[1], 2.0f32);
    /// ```
    pub fn rounded<T: Real>(self) -> Rows<T> {
        Rows { n_columns: self.n_columns, width: self.width, starts: self.starts, columns: self.columns, values: T::all_of(self.values) }
    }

    /// The same map with one row per number of the result: all rows of the first number of the blocks, then all of the second, ..
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// let planes = rows.planes();
    /// assert_eq!((planes.len(), planes.width, planes.values), (4, 1, vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    /// ```
    pub fn planes(&self) -> Rows {
        let mut out = Rows::new(self.n_columns, 1);
        for o in 0..self.width {
            for r in 0..self.len() {
                for e in self.starts[r]..self.starts[r + 1] {
                    out.columns.push(self.columns[e]);
                    out.values.push(self.values[e * self.width + o]);
                }
                out.starts.push(out.columns.len());
            }
        }
        out
    }
}

impl<T: Copy> Rows<T> {
    /// Number of rows.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// assert_eq!(rows.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without rows.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// assert!(!rows.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// assert_eq!(rows.bytes(), 8 * 3 + 8 * 6 + 4 * 3);
    /// ```
    pub fn bytes(&self) -> usize {
        8 * self.starts.len() + size_of::<T>() * self.values.len() + 4 * self.columns.len()
    }

    /// Calls `f(row, column, weights)` for every entry in order.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::Rows;
    /// # let rows = Rows { n_columns: 3, width: 2, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    /// // Row 0 reads columns 0 and 2 with weights (1, 2) and (3, 4), row 1 reads column 1 with (5, 6).
    /// let mut all = vec![];
    /// rows.each(|row, column, weights| all.push((row, column, weights.to_vec())));
    /// assert_eq!(all[1], (0, 2, vec![3.0, 4.0]));
    /// ```
    pub fn each(&self, mut f: impl FnMut(usize, usize, &[T])) {
        for r in 0..self.len() {
            for e in self.starts[r]..self.starts[r + 1] {
                f(r, self.columns[e] as usize, &self.values[e * self.width..][..self.width]);
            }
        }
    }
}

/// Bits of `x` moved to even places.
fn spread_bits(x: u64) -> u64 {
    let mut x = x & 0xffff_ffff;
    x = (x | (x << 16)) & 0x0000_ffff_0000_ffff;
    x = (x | (x << 8)) & 0x00ff_00ff_00ff_00ff;
    x = (x | (x << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | (x << 2)) & 0x3333_3333_3333_3333;
    (x | (x << 1)) & 0x5555_5555_5555_5555
}

/// Steps to the neighbours SW, W, NW, N, NE, E, SE, S.
const STEPS: [(i64, i64); 8] = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)];

/// Face behind the edge of a face in direction (1 + dx) + 3 (1 + dy); -1 where a corner has no pixel.
const NEXT_FACE: [[i64; 12]; 9] = [
    [8, 9, 10, 11, -1, -1, -1, -1, 10, 11, 8, 9],
    [5, 6, 7, 4, 8, 9, 10, 11, 9, 10, 11, 8],
    [-1, -1, -1, -1, 5, 6, 7, 4, -1, -1, -1, -1],
    [4, 5, 6, 7, 11, 8, 9, 10, 11, 8, 9, 10],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    [1, 2, 3, 0, 0, 1, 2, 3, 5, 6, 7, 4],
    [-1, -1, -1, -1, 7, 4, 5, 6, -1, -1, -1, -1],
    [3, 0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7],
    [2, 3, 0, 1, -1, -1, -1, -1, 0, 1, 2, 3],
];

/// Change of coordinates on the way, by direction and third of the faces: 1 mirrors x, 2 mirrors y, 4 swaps both afterwards.
const TURN: [[u8; 3]; 9] = [[0, 0, 3], [0, 0, 6], [0, 0, 0], [0, 0, 5], [0, 0, 0], [5, 0, 0], [0, 0, 0], [6, 0, 0], [3, 0, 0]];

/// A ring as interpolation needs it.
#[derive(Debug, Clone, Copy)]
struct Circle {
    theta: f64,
    n: usize,
    start: usize,
    /// Half a step of longitude when the first pixel is not at longitude 0.
    half: f64,
}

/// Face of a NESTED pixel and its place (x, y) there.
pub(crate) fn place_on_face(nside: usize, pixel: usize) -> (usize, i64, i64) {
    let per_face = nside * nside;
    let inside = (pixel % per_face) as u64;
    (pixel / per_face, compact_bits(inside) as i64, compact_bits(inside >> 1) as i64)
}

/// Geometry of the pixels of one nside: 160 nside bytes.
///
/// ```
/// # use scatterc_kernels::stencil::*;
/// # let pixels = Pixels::new(4)?;
/// let (theta, phi) = pixels.centre(17);
/// let [(nearest, weight), ..] = pixels.interpolation(theta, phi);
/// assert!(pixels.interpolation(theta, phi).iter().any(|(p, w)| *p == 17 && *w > 0.99) && nearest < 192 && weight >= 0.0);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pixels {
    nside: usize,
    /// Rings 1 to 4 nside - 1; the first entry stands for the pole and is not read.
    circles: Vec<Circle>,
}

/// Row of the southernmost corner of every face in units of nside rings, and its column in units of half the pixels of a quarter ring.
pub(crate) const ROWS: [i64; 12] = [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4];
/// See [`ROWS`].
pub(crate) const COLUMNS: [i64; 12] = [1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7];

impl Pixels {
    /// Tables of that nside. Error: `nside` is no power of two from 1 to [`LARGEST_NSIDE`].
    ///
    /// ```
    /// use scatterc_kernels::stencil::Pixels;
    ///
    /// assert!(Pixels::new(8).is_ok() && Pixels::new(6).is_err());
    /// ```
    pub fn new(nside: usize) -> Result<Self, KernelError> {
        if !nside.is_power_of_two() || nside > LARGEST_NSIDE {
            return Err(KernelError::parameter("nside", format!("a power of two from 1 to {LARGEST_NSIDE}"), nside));
        }
        let pole = Circle { theta: 0.0, n: 1, start: 0, half: 0.0 };
        let circles = std::iter::once(pole)
            .chain(ring_geometry(nside).into_iter().map(|ring| Circle {
                theta: ring.sin_theta.atan2(ring.z),
                n: ring.n,
                start: ring.start,
                half: if ring.phi0 == 0.0 { 0.0 } else { 0.5 },
            }))
            .collect();
        Ok(Pixels { nside, circles })
    }

    /// Number of pixels.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// assert_eq!(pixels.len(), 192);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn len(&self) -> usize {
        n_pixels(self.nside)
    }

    /// Bytes held.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// assert!(pixels.bytes() < Pixels::new(8)?.bytes());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn bytes(&self) -> usize {
        self.circles.len() * size_of::<Circle>()
    }

    /// Never: a map has at least twelve pixels.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// assert!(!pixels.is_empty());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.circles.is_empty()
    }

    /// RING number of a NESTED pixel.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// assert_eq!(pixels.ring_number(5), scatterc_kernels::healpix::nested_ring_table(4).expect("a power of two")[5]);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn ring_number(&self, pixel: usize) -> usize {
        let (circle, k) = self.place(pixel);
        circle.start + k
    }

    /// Ring and place in it of a NESTED pixel.
    fn place(&self, pixel: usize) -> (&Circle, usize) {
        let (face, x, y) = place_on_face(self.nside, pixel);
        let side = self.nside as i64;
        let row = ROWS[face] * side - x - y - 1;
        let circle = &self.circles[row as usize];
        let quarter = (circle.n / 4) as i64;
        let odd = if quarter == side { (row - side) & 1 } else { 0 };
        let k = (COLUMNS[face] * quarter + x - y + 1 + odd).div_euclid(2) - 1;
        (circle, k.rem_euclid(4 * quarter) as usize)
    }

    /// NESTED number of pixel `k` of a ring, counted from 1 at the north.
    fn nested(&self, ring: usize, k: usize) -> usize {
        let side = self.nside as i64;
        let (row, quarter, k) = (ring as i64, (self.circles[ring].n / 4) as i64, k as i64);
        let (face, odd) = if row < side {
            (k / quarter, 0)
        } else if row > 3 * side {
            (k / quarter + 8, 0)
        } else {
            // Lines of constant x and of constant y through the pixel, counted in faces.
            let (up, down) = (k + 1 - (row - side + 1) / 2 + side - 1, k + 1 - (3 * side + 1 - row) / 2 + side - 1);
            let (m, p) = (up.div_euclid(side), down.div_euclid(side));
            (
                if p == m {
                    p | 4
                } else if p < m {
                    p
                } else {
                    m + 8
                },
                (row - side) & 1,
            )
        };
        let down = row - ROWS[face as usize] * side + 1;
        let mut along = 2 * (k + 1) - COLUMNS[face as usize] * quarter - odd - 1;
        if along >= 2 * side {
            along -= 8 * side;
        }
        let (x, y) = ((along - down) >> 1, (-along - down) >> 1);
        face as usize * self.nside * self.nside + (spread_bits(x as u64) | (spread_bits(y as u64) << 1)) as usize
    }

    /// Colatitude and longitude of a pixel's centre, radians.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// let (theta, phi) = pixels.centre(0);
    /// assert!(theta > 0.0 && (phi - std::f64::consts::FRAC_PI_4).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn centre(&self, pixel: usize) -> (f64, f64) {
        let (circle, k) = self.place(pixel);
        (circle.theta, (k as f64 + circle.half) * (TAU / circle.n as f64))
    }

    /// Unit vector of a pixel's centre.
    fn vector(&self, pixel: usize) -> [f64; 3] {
        let (theta, phi) = self.centre(pixel);
        let ((s, c), (sin, cos)) = (theta.sin_cos(), phi.sin_cos());
        [s * cos, s * sin, c]
    }

    /// The four pixels around a direction and their weights, which sum to 1: linear along the rings above and below and between them.
    ///
    /// - `theta`: 0 <= theta <= pi; `phi`: any turn; radians
    ///
    /// Beyond the first and the last ring the mean of the four polar pixels takes the place of the missing ring.
    /// Source: `get_interpol` of the HEALPix library (Gorski et al. 2005).
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// let weights: f64 = pixels.interpolation(1.0, 2.0).iter().map(|(_, w)| w).sum();
    /// assert!((weights - 1.0).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn interpolation(&self, theta: f64, phi: f64) -> [(usize, f64); 4] {
        self.around(theta.cos(), theta, phi)
    }

    /// [`Self::interpolation`] with z = cos theta at hand.
    fn around(&self, z: f64, theta: f64, phi: f64) -> [(usize, f64); 4] {
        let nside = self.nside;
        let mut phi = phi.rem_euclid(TAU);
        if phi >= TAU {
            phi = 0.0;
        }
        let above = if z.abs() <= 2.0 / 3.0 {
            (nside as f64 * (2.0 - 1.5 * z)) as usize
        } else {
            // sqrt(3 (1 - |z|)) without the cancellation near the poles.
            let t = (nside as f64 * 6f64.sqrt() * (0.5 * theta.min(PI - theta)).sin()) as usize;
            if z > 0.0 { t } else { 4 * nside - t - 1 }
        };
        // Places in a ring.
        let pair = |ring: usize| {
            let c = &self.circles[ring];
            let u = phi * (c.n as f64 / TAU) - c.half;
            let floor = u.floor();
            let first = (floor as i64).rem_euclid(c.n as i64) as usize;
            (first, if first + 1 == c.n { 0 } else { first + 1 }, u - floor)
        };
        // Beside a pole the pixels across it take part, which are two places further.
        let across = |k: usize| (k + 2) & 3;
        if above == 0 {
            let (a, b, w) = pair(1);
            let q = theta / self.circles[1].theta;
            let pole = 0.25 * (1.0 - q);
            let found = [(across(a), pole), (across(b), pole), (a, (1.0 - w) * q + pole), (b, w * q + pole)];
            found.map(|(k, w)| (self.nested(1, k), w))
        } else if above >= 4 * nside - 1 {
            let last = 4 * nside - 1;
            let (a, b, w) = pair(last);
            let from = self.circles[last].theta;
            let q = (theta - from) / (PI - from);
            let pole = 0.25 * q;
            // RING numbers of the last ring end with those of the map, so its places count from a multiple of four, as those of the first.
            let found = [(a, (1.0 - w) * (1.0 - q) + pole), (b, w * (1.0 - q) + pole), (across(a), pole), (across(b), pole)];
            found.map(|(k, w)| (self.nested(last, k), w))
        } else {
            let ((a, b, w), (c, d, v)) = (pair(above), pair(above + 1));
            let (from, to) = (self.circles[above].theta, self.circles[above + 1].theta);
            let q = (theta - from) / (to - from);
            let (north, south) = (|k: usize| self.nested(above, k), |k: usize| self.nested(above + 1, k));
            [(north(a), (1.0 - w) * (1.0 - q)), (north(b), w * (1.0 - q)), (south(c), (1.0 - v) * q), (south(d), v * q)]
        }
    }

    /// Neighbours SW, W, NW, N, NE, E, SE, S; a corner of the sphere where three faces meet lacks one.
    ///
    /// ```
    /// # use scatterc_kernels::stencil::*;
    /// # let pixels = Pixels::new(4)?;
    /// // A neighbour has its neighbour as neighbour.
    /// let north = pixels.neighbours(5)[4];
    /// assert!(pixels.neighbours(north.unwrap_or(5)).contains(&Some(5)) || north.is_none());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn neighbours(&self, pixel: usize) -> [Option<usize>; 8] {
        let side = self.nside as i64;
        let per_face = self.nside * self.nside;
        let (face, x, y) = place_on_face(self.nside, pixel);
        STEPS.map(|(dx, dy)| {
            let (mut x, mut y) = (x + dx, y + dy);
            let beyond = |k: i64| if k < 0 { -1 } else { i64::from(k >= side) };
            let (bx, by) = (beyond(x), beyond(y));
            let direction = (4 + bx + 3 * by) as usize;
            (x, y) = (x - bx * side, y - by * side);
            let next = usize::try_from(NEXT_FACE[direction][face]).ok()?;
            let turn = TURN[direction][face / 4];
            if turn & 1 != 0 {
                x = side - 1 - x;
            }
            if turn & 2 != 0 {
                y = side - 1 - y;
            }
            if turn & 4 != 0 {
                std::mem::swap(&mut x, &mut y);
            }
            Some(next * per_face + (spread_bits(x as u64) | (spread_bits(y as u64) << 1)) as usize)
        })
    }
}

/// Complex weights of the K x K stencil, row by row: a Gaussian times a plane wave along x, both parts without mean, divided by the sum of moduli.
///
/// Error: K is not 3, 5 or 7.
///
/// ```
/// use scatterc_kernels::stencil::planar_kernel;
///
/// let kernel = planar_kernel(3)?;
/// let (re, im) = kernel.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
/// assert!(kernel.len() == 9 && re.abs() < 1e-15 && im.abs() < 1e-15, "no mean");
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn planar_kernel(K: usize) -> Result<Vec<(f64, f64)>, KernelError> {
    let (a, b) = match K {
        3 => (std::f64::consts::FRAC_1_SQRT_2, 1.0),
        5 => (0.75, 0.5),
        7 => (0.5, 0.25),
        _ => return Err(KernelError::parameter("K", "3, 5 or 7, the sizes of the stencil", K)),
    };
    let mut kernel: Vec<(f64, f64)> = nodes(K)
        .map(|(x, y)| {
            let envelope = (-b * (x * x + y * y)).exp();
            let (sin, cos) = (a * PI * x).sin_cos();
            (envelope * cos, envelope * sin)
        })
        .collect();
    let n = kernel.len() as f64;
    let mean = kernel.iter().fold((0.0, 0.0), |m, k| (m.0 + k.0 / n, m.1 + k.1 / n));
    kernel.iter_mut().for_each(|k| *k = (k.0 - mean.0, k.1 - mean.1));
    let total: f64 = kernel.iter().map(|k| k.0.hypot(k.1)).sum();
    kernel.iter_mut().for_each(|k| *k = (k.0 / total, k.1 / total));
    Ok(kernel)
}

/// Places (x, y) of the K x K stencil, row by row, in pixel sides from its centre.
fn nodes(K: usize) -> impl Iterator<Item = (f64, f64)> {
    let half = (K / 2) as f64;
    (0..K * K).map(move |p| ((p % K) as f64 - half, (p / K) as f64 - half))
}

/// Checks a list of cells: sorted, distinct, on the map.
///
/// ```
/// use scatterc_kernels::stencil::check_cells;
///
/// assert!(check_cells(4, &[3, 4, 9]).is_ok() && check_cells(4, &[4, 3]).is_err() && check_cells(4, &[192]).is_err());
/// ```
pub fn check_cells(nside: usize, cells: &[usize]) -> Result<(), KernelError> {
    if let Some(k) = cells.windows(2).position(|w| w[0] >= w[1]) {
        let what = if cells[k] == cells[k + 1] { "once" } else { "in ascending order" };
        return Err(KernelError::parameter("cells", format!("pixel numbers {what}"), format!("{} then {}", cells[k], cells[k + 1])));
    }
    match cells.last() {
        Some(last) if *last >= n_pixels(nside) => {
            Err(KernelError::parameter("cells", format!("pixels below 12 nside^2 = {}", n_pixels(nside)), last))
        }
        _ => Ok(()),
    }
}

/// The cells of the map of half the nside that a patch covers at least in part.
///
/// ```
/// use scatterc_kernels::stencil::coarse_cells;
///
/// assert_eq!(coarse_cells(&[0, 1, 2, 3, 7, 20]), [0, 1, 5]);
/// ```
pub fn coarse_cells(cells: &[usize]) -> Vec<usize> {
    let mut coarse: Vec<usize> = cells.iter().map(|c| c / 4).collect();
    coarse.dedup();
    coarse
}

/// Adds a weight to the block of a column.
struct Accumulator {
    columns: Vec<u32>,
    values: Vec<f64>,
    width: usize,
}

impl Accumulator {
    fn add(&mut self, column: u32, at: usize, value: f64) {
        let k = self.block(column);
        self.values[k + at] += value;
    }

    /// Where the block of a column begins.
    fn block(&mut self, column: u32) -> usize {
        let k = match self.columns.iter().position(|c| *c == column) {
            Some(k) => k,
            None => {
                self.columns.push(column);
                self.values.resize(self.values.len() + self.width, 0.0);
                self.columns.len() - 1
            }
        };
        k * self.width
    }

    /// Appends the row in ascending order of columns.
    fn flush(&mut self, rows: &mut Rows) {
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_unstable_by_key(|k| self.columns[*k]);
        for k in order {
            rows.columns.push(self.columns[k]);
            rows.values.extend_from_slice(&self.values[k * self.width..][..self.width]);
        }
        rows.starts.push(rows.columns.len());
        self.columns.clear();
        self.values.clear();
    }
}

/// Rows of the wavelets of L orientations: entry blocks hold (re, im) per orientation, `width` = 2 L rounded up to `multiple`, zeros behind.
///
/// (x * psi_l)(n) = sum_p k_p f(u_p), where u_p are the nodes of the stencil around pixel n, moved to `Rz(phi) Ry(theta) Rz(alpha) v_p` with alpha = l pi / L - phi in the
/// north and phi - l pi / L in the south, a pixel side sqrt(pi/3) / nside apart, and f is interpolated between four pixels. Rows sum to zero.
///
/// - `targets`: pixels (cells of the patch) for which rows are made, in this order
/// - `cells`: the patch, sorted; the whole sphere when empty. Corners outside it are left out and the others scaled up; a node without any stands for the centre.
///
/// Error: K or L out of range, cells that are not sorted or not on the map.
///
/// ```
/// # use scatterc_kernels::stencil::*;
/// # let pixels = Pixels::new(4)?;
/// // Rows sum to zero.
/// let rows = wavelets(&pixels, 3, 2, &[0, 5], &[], 1)?;
/// let mut sum = vec![0.0; rows.width];
/// rows.each(|row, _, weights| if row == 1 { sum.iter_mut().zip(weights).for_each(|(s, w)| *s += w) });
/// assert!(rows.len() == 2 && sum.iter().all(|s| s.abs() < 1e-14));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn wavelets(pixels: &Pixels, K: usize, L: usize, targets: &[usize], cells: &[usize], multiple: usize) -> Result<Rows, KernelError> {
    let kernel = planar_kernel(K)?;
    if L == 0 || L > MOST_ORIENTATIONS {
        return Err(KernelError::parameter("L", format!("from 1 to {MOST_ORIENTATIONS} orientations"), L));
    }
    check_cells(pixels.nside, cells)?;
    let width = (2 * L).next_multiple_of(multiple);
    let mut rows = Rows::new(if cells.is_empty() { pixels.len() } else { cells.len() }, width);
    // About as many as the most common stencil has, so that large maps do not grow their lists many times.
    let expected = targets.len() * (2 * K + 1).pow(2) / 2;
    rows.starts.reserve(targets.len());
    rows.columns.reserve(expected);
    rows.values.reserve(expected * width);
    let mut row = Accumulator { columns: vec![], values: vec![], width };
    let hemispheres = [1.0, -1.0].map(|sign| Places::new(pixels.nside, K, L, &kernel, sign));
    let mut corners = Vec::new();
    for target in targets {
        let (circle, k) = pixels.place(*target);
        let (theta, phi) = (circle.theta, (k as f64 + circle.half) * (TAU / circle.n as f64));
        let (s, c) = theta.sin_cos();
        let (sin_phi, cos_phi) = phi.sin_cos();
        // The equator's pixels follow the rule of the north.
        let south = circle.start + k >= pixels.len() / 2 + 2 * pixels.nside;
        let places = &hemispheres[usize::from(south)];
        corners.clear();
        corners.extend(places.list.iter().map(|place| {
            // The turn of the stencil less that of the pixel's meridian.
            let (sin, cos) = if south {
                (place.sin * cos_phi + place.cos * sin_phi, place.cos * cos_phi - place.sin * sin_phi)
            } else {
                (place.sin * cos_phi - place.cos * sin_phi, place.cos * cos_phi + place.sin * sin_phi)
            };
            let (x, y, z) = (place.sin_d * cos, place.sin_d * sin, place.cos_d);
            let (x, z) = (x * c + z * s, z * c - x * s);
            pixels.around(z, x.hypot(y).atan2(z), phi + y.atan2(x))
        }));
        if !cells.is_empty() {
            restrict(&mut corners, places.centre, cells);
        }
        for (corner, place) in corners.iter().zip(&places.list) {
            for (column, weight) in corner.iter().filter(|(_, weight)| *weight != 0.0) {
                let block = row.block(*column as u32);
                for (l, re, im) in &place.readers {
                    row.values[block + 2 * l] += re * weight;
                    row.values[block + 2 * l + 1] += im * weight;
                }
            }
        }
        row.flush(&mut rows);
    }
    Ok(rows)
}

/// A place of a stencil's node, which several orientations may share.
struct Place {
    sin_d: f64,
    cos_d: f64,
    /// Sine and cosine of its direction.
    sin: f64,
    cos: f64,
    /// Orientations that read here, and the weights of their nodes.
    readers: Vec<(usize, f64, f64)>,
}

/// The places of all orientations of one hemisphere.
struct Places {
    list: Vec<Place>,
    /// Which is that of the pixel itself.
    centre: usize,
}

impl Places {
    /// `sign`: orientation l is turned by sign l pi / L.
    fn new(nside: usize, K: usize, L: usize, kernel: &[(f64, f64)], sign: f64) -> Self {
        let side = (PI / 3.0).sqrt() / nside as f64;
        let mut list: Vec<Place> = Vec::new();
        let mut known: Vec<(f64, f64)> = Vec::new();
        let mut centre = 0;
        for l in 0..L {
            for ((x, y), (re, im)) in nodes(K).zip(kernel) {
                let radius = x.hypot(y);
                let angle = if radius == 0.0 { 0.0 } else { (y.atan2(x) + sign * l as f64 * PI / L as f64).rem_euclid(TAU) };
                let same = |(r, a): &(f64, f64)| *r == radius && ((a - angle).abs() < 1e-9 || (a - angle).abs() > TAU - 1e-9);
                let k = known.iter().position(same).unwrap_or_else(|| {
                    let ((sin_d, cos_d), (sin, cos)) = ((radius * side).sin_cos(), angle.sin_cos());
                    known.push((radius, angle));
                    list.push(Place { sin_d, cos_d, sin, cos, readers: vec![] });
                    list.len() - 1
                });
                if radius == 0.0 {
                    centre = k;
                }
                list[k].readers.push((l, *re, *im));
            }
        }
        Places { list, centre }
    }
}

/// Corners inside a patch that weigh less than this together are rounding errors of weights that are zero.
const NO_WEIGHT: f64 = 1e-9;

/// Nodes of a stencil on a patch: pixel numbers become positions in it, corners outside weigh nothing, a node without corners takes those of the centre.
fn restrict(corners: &mut [[(usize, f64); 4]], centre: usize, cells: &[usize]) {
    let inside = |corner: [(usize, f64); 4]| {
        let kept = corner.map(|(pixel, weight)| cells.binary_search(&pixel).map_or((0, 0.0), |k| (k, weight)));
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        (total > NO_WEIGHT).then(|| kept.map(|(k, weight)| (k, weight / total)))
    };
    // The centre is the target, a cell of the patch, so that it has a corner.
    let centre = inside(corners[centre]).unwrap_or([(0, 0.0); 4]);
    corners.iter_mut().for_each(|corner| *corner = inside(*corner).unwrap_or(centre));
}

/// Rows of the change from nside to nside / 2: the 36 children of a pixel and its eight neighbours, with weights exp(-2 (distance / side)^2) that sum to 1, where side is that of a
/// coarse pixel; a missing neighbour is replaced by the one before it in the order of [`Pixels::neighbours`].
///
/// - `fine`, `coarse`: geometries of nside and nside / 2
/// - `targets`: coarse pixels for which rows are made
/// - `cells`: the patch at nside, sorted; the whole sphere when empty. Children outside it are left out.
///
/// Error: cells that are not sorted or not on the map.
///
/// ```
/// # use scatterc_kernels::stencil::*;
/// # let pixels = Pixels::new(4)?;
/// // Rows sum to one.
/// let rows = downgrade(&pixels, &Pixels::new(2)?, &[7], &[])?;
/// assert!((rows.values.iter().sum::<f64>() - 1.0).abs() < 1e-14);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn downgrade(fine: &Pixels, coarse: &Pixels, targets: &[usize], cells: &[usize]) -> Result<Rows, KernelError> {
    check_cells(fine.nside, cells)?;
    let side = (PI / 3.0).sqrt() / coarse.nside as f64;
    let mut rows = Rows::new(if cells.is_empty() { fine.len() } else { cells.len() }, 1);
    let mut row = Accumulator { columns: vec![], values: vec![], width: 1 };
    // Every child is met nine times.
    let mut children: HashMap<usize, [[f64; 3]; 4]> = HashMap::new();
    for target in targets {
        if children.len() > 1 << 15 {
            children.clear();
        }
        let own = coarse.vector(*target);
        let mut before = *target;
        let mut parents = [*target; 9];
        for (parent, neighbour) in parents[1..].iter_mut().zip(coarse.neighbours(*target)) {
            *parent = neighbour.unwrap_or(before);
            before = *parent;
        }
        let mut total = 0.0;
        for parent in parents {
            let vectors = *children.entry(parent).or_insert_with(|| std::array::from_fn(|k| fine.vector(4 * parent + k)));
            for (child, v) in (4 * parent..).zip(vectors) {
                let column = if cells.is_empty() { Some(child) } else { cells.binary_search(&child).ok() };
                let Some(column) = column else { continue };
                let chord = (0..3).map(|k| (v[k] - own[k]).powi(2)).sum::<f64>().sqrt();
                let distance = 2.0 * (0.5 * chord).min(1.0).asin();
                let weight = (-2.0 * (distance / side).powi(2)).exp();
                total += weight;
                row.add(column as u32, 0, weight);
            }
        }
        row.values.iter_mut().for_each(|weight| *weight /= total);
        row.flush(&mut rows);
    }
    Ok(rows)
}

/// Rows of the change from nside to 2 nside on the whole sphere: the transpose of [`downgrade`] from 2 nside, every row divided by its sum.
///
/// - `fine`, `coarse`: geometries of 2 nside and nside
///
/// ```
/// # use scatterc_kernels::stencil::*;
/// # let pixels = Pixels::new(4)?;
/// let rows = upgrade(&Pixels::new(8)?, &pixels)?;
/// assert_eq!((rows.len(), rows.n_columns), (768, 192));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn upgrade(fine: &Pixels, coarse: &Pixels) -> Result<Rows, KernelError> {
    let all: Vec<usize> = (0..coarse.len()).collect();
    let down = downgrade(fine, coarse, &all, &[])?;
    let mut lists: Vec<Vec<(u32, f64)>> = vec![vec![]; fine.len()];
    down.each(|r, column, weight| lists[column].push((r as u32, weight[0])));
    let mut rows = Rows::new(coarse.len(), 1);
    for list in lists {
        let total: f64 = list.iter().map(|(_, weight)| weight).sum();
        for (column, weight) in list {
            rows.columns.push(column);
            rows.values.push(weight / total);
        }
        rows.starts.push(rows.columns.len());
    }
    Ok(rows)
}
