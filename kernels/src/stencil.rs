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
use crate::healpix::{compact_bits, n_pixels, nested_ring_table, ring_geometry};
use crate::simd::Real;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Largest nside accepted, so that pixel numbers fit 32 bits.
pub const LARGEST_NSIDE: usize = 8192;
/// Most orientations of a wavelet.
pub const MOST_ORIENTATIONS: usize = 32;

/// Sparse rows: row r reads the columns `columns[starts[r]..starts[r + 1]]`, each with a block of `width` weights, one per number of the result's pixel.
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
    pub fn rounded<T: Real>(self) -> Rows<T> {
        Rows { n_columns: self.n_columns, width: self.width, starts: self.starts, columns: self.columns, values: T::all_of(self.values) }
    }
}

impl<T: Copy> Rows<T> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        8 * self.starts.len() + size_of::<T>() * self.values.len() + 4 * self.columns.len()
    }

    /// Calls `f(row, column, weights)` for every entry in order.
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

/// Geometry of the pixels of one nside.
#[derive(Debug, Clone)]
pub struct Pixels {
    nside: usize,
    /// Rings 1 to 4 nside - 1; the first entry stands for the pole and is not read.
    circles: Vec<Circle>,
    /// NESTED number by RING number.
    nested: Vec<u32>,
    /// RING number by NESTED number.
    rings: Vec<u32>,
}

impl Pixels {
    /// Tables of that nside. Error: `nside` is no power of two from 1 to [`LARGEST_NSIDE`].
    pub fn new(nside: usize) -> Result<Self, KernelError> {
        if !nside.is_power_of_two() || nside > LARGEST_NSIDE {
            return Err(KernelError::parameter("nside", format!("a power of two from 1 to {LARGEST_NSIDE}"), nside));
        }
        let rings = nested_ring_table(nside).map_err(|e| KernelError::parameter("nside", e.to_string(), nside))?;
        let mut nested = vec![0u32; rings.len()];
        rings.iter().enumerate().for_each(|(p, ring)| nested[*ring] = p as u32);
        let pole = Circle { theta: 0.0, n: 1, start: 0, half: 0.0 };
        let circles = std::iter::once(pole)
            .chain(ring_geometry(nside).into_iter().map(|ring| Circle {
                theta: ring.sin_theta.atan2(ring.z),
                n: ring.n,
                start: ring.start,
                half: if ring.phi0 == 0.0 { 0.0 } else { 0.5 },
            }))
            .collect();
        Ok(Pixels { nside, circles, nested, rings: rings.into_iter().map(|r| r as u32).collect() })
    }

    /// Number of pixels.
    pub fn len(&self) -> usize {
        self.nested.len()
    }

    /// Never: a map has at least twelve pixels.
    pub fn is_empty(&self) -> bool {
        self.nested.is_empty()
    }

    /// Ring and place in it of a NESTED pixel.
    fn place(&self, pixel: usize) -> (&Circle, usize) {
        let ring = self.rings[pixel] as usize;
        let i = self.circles[1..].partition_point(|c| c.start <= ring);
        (&self.circles[i], ring - self.circles[i].start)
    }

    /// Colatitude and longitude of a pixel's centre, radians.
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
    pub fn interpolation(&self, theta: f64, phi: f64) -> [(usize, f64); 4] {
        let nside = self.nside;
        let mut phi = phi.rem_euclid(TAU);
        if phi >= TAU {
            phi = 0.0;
        }
        let z = theta.cos();
        let above = if z.abs() <= 2.0 / 3.0 {
            (nside as f64 * (2.0 - 1.5 * z)) as usize
        } else {
            // sqrt(3 (1 - |z|)) without the cancellation near the poles.
            let t = (nside as f64 * 6f64.sqrt() * (0.5 * theta.min(PI - theta)).sin()) as usize;
            if z > 0.0 { t } else { 4 * nside - t - 1 }
        };
        let pair = |ring: usize| {
            let c = &self.circles[ring];
            let u = phi * (c.n as f64 / TAU) - c.half;
            let floor = u.floor();
            let first = (floor as i64).rem_euclid(c.n as i64) as usize;
            (c.start + first, c.start + if first + 1 == c.n { 0 } else { first + 1 }, u - floor)
        };
        let total = self.len();
        let ring = if above == 0 {
            let (a, b, w) = pair(1);
            let q = theta / self.circles[1].theta;
            let pole = 0.25 * (1.0 - q);
            [((a + 2) & 3, pole), ((b + 2) & 3, pole), (a, (1.0 - w) * q + pole), (b, w * q + pole)]
        } else if above >= 4 * nside - 1 {
            let last = 4 * nside - 1;
            let (a, b, w) = pair(last);
            let from = self.circles[last].theta;
            let q = (theta - from) / (PI - from);
            let pole = 0.25 * q;
            let across = |k: usize| ((k + 2) & 3) + total - 4;
            [(a, (1.0 - w) * (1.0 - q) + pole), (b, w * (1.0 - q) + pole), (across(a), pole), (across(b), pole)]
        } else {
            let ((a, b, w), (c, d, v)) = (pair(above), pair(above + 1));
            let (from, to) = (self.circles[above].theta, self.circles[above + 1].theta);
            let q = (theta - from) / (to - from);
            [(a, (1.0 - w) * (1.0 - q)), (b, w * (1.0 - q)), (c, (1.0 - v) * q), (d, v * q)]
        };
        ring.map(|(k, w)| (self.nested[k] as usize, w))
    }

    /// Neighbours SW, W, NW, N, NE, E, SE, S; a corner of the sphere where three faces meet lacks one.
    pub fn neighbours(&self, pixel: usize) -> [Option<usize>; 8] {
        let side = self.nside as i64;
        let per_face = self.nside * self.nside;
        let (face, inside) = (pixel / per_face, (pixel % per_face) as u64);
        let (x, y) = (compact_bits(inside) as i64, compact_bits(inside >> 1) as i64);
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
        let k = match self.columns.iter().position(|c| *c == column) {
            Some(k) => k,
            None => {
                self.columns.push(column);
                self.values.resize(self.values.len() + self.width, 0.0);
                self.columns.len() - 1
            }
        };
        self.values[k * self.width + at] += value;
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
pub fn wavelets(pixels: &Pixels, K: usize, L: usize, targets: &[usize], cells: &[usize], multiple: usize) -> Result<Rows, KernelError> {
    let kernel = planar_kernel(K)?;
    if L == 0 || L > MOST_ORIENTATIONS {
        return Err(KernelError::parameter("L", format!("from 1 to {MOST_ORIENTATIONS} orientations"), L));
    }
    check_cells(pixels.nside, cells)?;
    let side = (PI / 3.0).sqrt() / pixels.nside as f64;
    let polar: Vec<(f64, f64, f64)> = nodes(K)
        .map(|(x, y)| {
            let (s, c) = (x.hypot(y) * side).sin_cos();
            (s, c, y.atan2(x))
        })
        .collect();
    let width = (2 * L).next_multiple_of(multiple);
    let mut rows = Rows::new(if cells.is_empty() { pixels.len() } else { cells.len() }, width);
    // About as many as the most common stencil has, so that large maps do not grow their lists many times.
    let expected = targets.len() * (2 * K + 1).pow(2) / 2;
    rows.starts.reserve(targets.len());
    rows.columns.reserve(expected);
    rows.values.reserve(expected * width);
    let mut row = Accumulator { columns: vec![], values: vec![], width };
    let mut corners = vec![[(0usize, 0.0); 4]; K * K];
    for target in targets {
        let (theta, phi) = pixels.centre(*target);
        let (s, c) = theta.sin_cos();
        // The equator's pixels follow the rule of the north; their colatitude may round either way.
        let south = theta > FRAC_PI_2 + 1e-12;
        for l in 0..L {
            let turn = l as f64 * PI / L as f64;
            let alpha = if south { phi - turn } else { turn - phi };
            for ((sin_d, cos_d, azimuth), corner) in polar.iter().zip(&mut corners) {
                let (sin, cos) = (azimuth + alpha).sin_cos();
                let (x, y, z) = (sin_d * cos, sin_d * sin, *cos_d);
                let (x, z) = (x * c + z * s, z * c - x * s);
                *corner = pixels.interpolation(x.hypot(y).atan2(z), phi + y.atan2(x));
            }
            if !cells.is_empty() {
                restrict(&mut corners, cells);
            }
            for ((re, im), corner) in kernel.iter().zip(&corners) {
                for (column, weight) in corner.iter().filter(|(_, weight)| *weight != 0.0) {
                    row.add(*column as u32, 2 * l, re * weight);
                    row.add(*column as u32, 2 * l + 1, im * weight);
                }
            }
        }
        row.flush(&mut rows);
    }
    Ok(rows)
}

/// Corners inside a patch that weigh less than this together are rounding errors of weights that are zero.
const NO_WEIGHT: f64 = 1e-9;

/// Nodes of a stencil on a patch: pixel numbers become positions in it, corners outside weigh nothing, a node without corners takes those of the centre.
fn restrict(corners: &mut [[(usize, f64); 4]], cells: &[usize]) {
    let inside = |corner: [(usize, f64); 4]| {
        let kept = corner.map(|(pixel, weight)| cells.binary_search(&pixel).map_or((0, 0.0), |k| (k, weight)));
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        (total > NO_WEIGHT).then(|| kept.map(|(k, weight)| (k, weight / total)))
    };
    // The centre is the target, a cell of the patch, so that it has a corner.
    let centre = inside(corners[corners.len() / 2]).unwrap_or([(0, 0.0); 4]);
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
pub fn downgrade(fine: &Pixels, coarse: &Pixels, targets: &[usize], cells: &[usize]) -> Result<Rows, KernelError> {
    check_cells(fine.nside, cells)?;
    let side = (PI / 3.0).sqrt() / coarse.nside as f64;
    let mut rows = Rows::new(if cells.is_empty() { fine.len() } else { cells.len() }, 1);
    let mut row = Accumulator { columns: vec![], values: vec![], width: 1 };
    for target in targets {
        let own = coarse.vector(*target);
        let mut before = *target;
        let mut parents = [*target; 9];
        for (parent, neighbour) in parents[1..].iter_mut().zip(coarse.neighbours(*target)) {
            *parent = neighbour.unwrap_or(before);
            before = *parent;
        }
        let mut total = 0.0;
        for parent in parents {
            for child in 4 * parent..4 * parent + 4 {
                let column = if cells.is_empty() { Some(child) } else { cells.binary_search(&child).ok() };
                let Some(column) = column else { continue };
                let v = fine.vector(child);
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
