//! Wavelets of fields of spin 1 and 2 on HEALPix maps: gradient and curl parts of a pair of maps, as sparse rows.
//!
//! ```text
//! spin_wavelets   [2] pixels(nside) -> [2, L, 2] pixels(nside)      (Q, U) -> (E, B), orientations, real and imaginary parts
//! nearest         the pixels around every pixel, nearest first
//! ```
//!
//! Source: FOSCAT 2026.6.1 (Delouis et al. 2022, A&A 668, A122), whose choice among pixels at equal distance follows a search tree over centres in single precision; [`nearest`] makes
//! the same choice.

use crate::error::KernelError;
use crate::healpix::{Ring, Transform, index, n_pixels, ring_geometry};
use crate::parallel::{Parallel, Shared};
use crate::stencil::{self, COLUMNS, Pixels, ROWS, Rows, place_on_face};
use crate::wigner::wigner_d;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Refinements of an analysis, a += analysis(f - synthesis(a)).
const ITERATIONS: usize = 3;

/// Rows of the wavelets of L orientations of a pair of maps of spin 1 or 2: entry blocks hold, for E and then B, (re, im) per orientation, `width` = 4 L.
///
/// The response of the scalar wavelets to an impulse at pixel n, r_l(m) = W_l(m, n), is analysed (bandlimit 3 nside, three refinements, each part by itself) and synthesised as the field of
/// spin s that has these coefficients as its E part, and as the one that has them as its B part:
///
///   Q + iU = - sum_lm (E_lm + i B_lm) sY_lm
///
/// Their values at the 4 K^2 pixels nearest to n are the weights with which E_l(n) and B_l(n) read Q and U. Impulses share an analysis when neither is among the (4 K + 1)^2 pixels nearest
/// to the other.
///
/// - result: columns are the pixels of the first map, then those of the second
///
/// Error: as for [`stencil::wavelets`]; a spin that is not 1 or 2. Cost: about a hundred analyses per orientation and part.
///
/// ```
/// use scatterc_kernels::{Serial, spin::spin_wavelets};
///
/// // Two parts, one orientation, real and imaginary: blocks of four.
/// let rows = spin_wavelets(&Serial, 1, 3, 1, 2)?;
/// assert_eq!((rows.len(), rows.n_columns, rows.width), (12, 2 * 12, 4));
/// assert!(spin_wavelets(&Serial, 1, 3, 1, 3).is_err());
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn spin_wavelets(parallel: &dyn Parallel, nside: usize, K: usize, L: usize, spin: usize) -> Result<Rows, KernelError> {
    if spin == 0 || spin > 2 {
        return Err(KernelError::parameter("spin", "1 or 2", spin));
    }
    let pixels = Pixels::new(nside)?;
    let n = pixels.len();
    let all: Vec<usize> = (0..n).collect();
    let scalar = stencil::wavelets(&pixels, K, L, &all, &[], 1)?;
    let far = nearest(nside, ((4 * K + 1) * (4 * K + 1)).min(n))?;
    let count = (4 * K * K).min(n);
    let transform = Transform::new(nside, 3 * nside).map_err(|e| KernelError::parameter("nside", e, nside))?;
    let synthesis = Synthesis::new(nside, 3 * nside, spin)?;
    // Responses by column: the pixels that an impulse reaches.
    let mut reached: Vec<Vec<(u32, usize)>> = vec![vec![]; n];
    let mut entry = 0;
    scalar.each(|r, column, _| {
        reached[column].push((r as u32, entry));
        entry += 1;
    });
    let width = 4 * L;
    let mut columns = vec![0u32; n * 2 * count];
    let mut values = vec![0.0; n * 2 * count * width];
    let shared = Shared::new(&mut values);
    for group in groups(&far, n) {
        // Every (orientation, part) writes numbers of its own.
        parallel.for_each(2 * L, &|t| {
            let (l, part) = (t / 2, t % 2);
            let mut map = vec![0.0; n];
            for target in &group {
                for (pixel, entry) in &reached[*target] {
                    map[pixels.ring_number(*pixel as usize)] += scalar.values[entry * scalar.width + 2 * l + part];
                }
            }
            let coefficients = refined(&transform, &map);
            let spectra = synthesis.spectra(&coefficients);
            for target in &group {
                for (k, pixel) in far[*target][..count].iter().enumerate() {
                    let (q, u) = synthesis.value(&spectra, pixels.ring_number(*pixel));
                    let (first, second) = ((target * 2 * count + k) * width, (target * 2 * count + count + k) * width);
                    for (at, value) in [(first, q), (second, u), (first + 2 * L, -u), (second + 2 * L, q)] {
                        // SAFETY: `at` and 2 l + part below 2 L stay in the block of the entry, and no other task has this (l, part).
                        unsafe { *shared.get().add(at + 2 * l + part) = value };
                    }
                }
            }
        });
    }
    for (target, far) in far.iter().enumerate() {
        for (k, pixel) in far[..count].iter().enumerate() {
            columns[target * 2 * count + k] = *pixel as u32;
            columns[target * 2 * count + count + k] = (n + pixel) as u32;
        }
    }
    Ok(Rows { n_columns: 2 * n, width, starts: (0..=n).map(|r| r * 2 * count).collect(), columns, values })
}

/// Coefficients of a RING map after [`ITERATIONS`] refinements.
fn refined(transform: &Transform, map: &[f64]) -> Vec<f64> {
    let plain = |map: &[f64]| transform.analysis(&crate::Serial, map, 0).expect("a map of the transform's length").coefficients;
    let mut coefficients = plain(map);
    for _ in 0..ITERATIONS {
        let image = transform.synthesis(&crate::Serial, &coefficients).expect("coefficients of the transform's length");
        let rest: Vec<f64> = map.iter().zip(&image).map(|(f, g)| f - g).collect();
        coefficients.iter_mut().zip(plain(&rest)).for_each(|(a, b)| *a += b);
    }
    coefficients
}

/// Pixels in groups, in which none is among those around another: each group takes, in order, what is left and not around what it has.
fn groups(far: &[Vec<usize>], n: usize) -> Vec<Vec<usize>> {
    let mut taken = vec![false; n];
    let mut out = Vec::new();
    while taken.iter().any(|t| !t) {
        let mut covered = vec![false; n];
        let mut group = Vec::new();
        for p in 0..n {
            if !covered[p] && !taken[p] {
                far[p].iter().for_each(|q| covered[*q] = true);
                taken[p] = true;
                group.push(p);
            }
        }
        out.push(group);
    }
    out
}

/// Synthesis of the E part of spin s at single pixels.
struct Synthesis {
    L: usize,
    rings: Vec<Ring>,
    /// Ring of every pixel in RING order.
    ring_of: Vec<u32>,
    /// For every ring and order m >= 0, -(+-1)^s sqrt((2l+1)/4pi) d^l_{m,-s}, then d^l_{m,s} with the same factor, from l = max(m, s) on.
    functions: Vec<[Vec<Vec<f64>>; 2]>,
    spin: usize,
}

impl Synthesis {
    fn new(nside: usize, L: usize, spin: usize) -> Result<Self, KernelError> {
        let rings = ring_geometry(nside);
        let mut ring_of = vec![0; n_pixels(nside)];
        let mut functions = Vec::with_capacity(rings.len());
        for (i, ring) in rings.iter().enumerate() {
            ring_of[ring.start..ring.start + ring.n].fill(i as u32);
            let theta = ring.sin_theta.atan2(ring.z);
            let table = |s: isize| -> Result<Vec<Vec<f64>>, KernelError> {
                (0..L)
                    .map(|m| {
                        let first = m.max(spin);
                        let d = if first < L { wigner_d(L, m as isize, s, theta)? } else { vec![] };
                        let norm = |k: usize| ((2 * (first + k) + 1) as f64 / (4.0 * PI)).sqrt();
                        Ok(d.into_iter().enumerate().map(|(k, d)| -d * norm(k)).collect())
                    })
                    .collect()
            };
            functions.push([table(-(spin as isize))?, table(spin as isize)?]);
        }
        Ok(Synthesis { L, rings, ring_of, functions, spin })
    }

    /// For every ring, the factors of e^{i m phi} and e^{-i m phi} in Q + iU.
    fn spectra(&self, coefficients: &[f64]) -> Vec<Vec<[f64; 4]>> {
        // Orders below zero have (-1)^m conj a and d^l_{-m,-s} = (-1)^{m-s} d^l_{m,s}.
        let sign = if self.spin == 1 { -1.0 } else { 1.0 };
        self.functions
            .iter()
            .map(|[plus, minus]| {
                (0..self.L)
                    .map(|m| {
                        let first = m.max(self.spin);
                        let mut sums = [0.0; 4];
                        for (k, (p, q)) in plus[m].iter().zip(&minus[m]).enumerate() {
                            let at = 2 * index(self.L, first + k, m);
                            let (re, im) = (coefficients[at], coefficients[at + 1]);
                            sums[0] += p * re;
                            sums[1] += p * im;
                            sums[2] += q * re;
                            sums[3] -= q * im;
                        }
                        [sign * sums[0], sign * sums[1], sums[2], sums[3]]
                    })
                    .collect()
            })
            .collect()
    }

    /// Q and U at a pixel in RING order.
    fn value(&self, spectra: &[Vec<[f64; 4]>], pixel: usize) -> (f64, f64) {
        let i = self.ring_of[pixel] as usize;
        let ring = &self.rings[i];
        let phi = ring.phi0 + TAU * (pixel - ring.start) as f64 / ring.n as f64;
        let (step_im, step_re) = phi.sin_cos();
        let (mut re, mut im) = (1.0, 0.0);
        let (mut q, mut u) = (0.0, 0.0);
        for (m, [a, b, c, d]) in spectra[i].iter().enumerate() {
            q += a * re - b * im;
            u += a * im + b * re;
            if m > 0 {
                q += c * re + d * im;
                u += d * re - c * im;
            }
            (re, im) = (re * step_re - im * step_im, re * step_im + im * step_re);
        }
        (q, u)
    }
}

/// The `count` pixels nearest to every pixel in NESTED order, nearest first, itself included: distances between centres whose coordinates are rounded to single precision; pixels at equal
/// distance come in the order in which a balanced k-d tree with leaves of 16 meets them.
///
/// Error: nside is no power of two in range; count is not from 1 to 12 nside^2. Source: cKDTree of SciPy 1.17, of which this follows build and search.
///
/// ```
/// use scatterc_kernels::spin::nearest;
///
/// let near = nearest(2, 5)?;
/// assert!(near.iter().enumerate().all(|(p, list)| list[0] == p && list.len() == 5));
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn nearest(nside: usize, count: usize) -> Result<Vec<Vec<usize>>, KernelError> {
    let n = n_pixels(nside);
    if count == 0 || count > n {
        return Err(KernelError::parameter("count", format!("from 1 to {n}"), count));
    }
    let points: Vec<[f64; 3]> = Pixels::new(nside).map(|_| (0..n).map(|p| centre(nside, p).map(|x| f64::from(x as f32))).collect())?;
    let tree = Tree::new(&points);
    Ok(points.iter().map(|x| tree.nearest(x, count)).collect())
}

/// Unit vector of a pixel's centre, by the arithmetic of the HEALPix library, whose last bits decide between pixels.
fn centre(nside: usize, pixel: usize) -> [f64; 3] {
    let (face, x, y) = place_on_face(nside, pixel);
    let side = nside as i64;
    let second = 4.0 / n_pixels(nside) as f64;
    let first = (2 * side) as f64 * second;
    let row = ROWS[face] * side - x - y - 1;
    let cap = |n: i64| (n * n) as f64 * second;
    let (n, z, sine) = if row < side {
        let t = cap(row);
        (row, 1.0 - t, (1.0 - t > 0.99).then(|| (t * (2.0 - t)).sqrt()))
    } else if row > 3 * side {
        let n = 4 * side - row;
        let t = cap(n);
        (n, t - 1.0, (t - 1.0 < -0.99).then(|| (t * (2.0 - t)).sqrt()))
    } else {
        (side, (2 * side - row) as f64 * first, None)
    };
    let mut column = COLUMNS[face] * n + x - y;
    if column < 0 {
        column += 8 * n;
    }
    let phi = if n == side { 0.75 * FRAC_PI_2 * column as f64 * first } else { 0.5 * FRAC_PI_2 * column as f64 / n as f64 };
    let sine = sine.unwrap_or_else(|| ((1.0 - z) * (1.0 + z)).sqrt());
    [sine * phi.cos(), sine * phi.sin(), z]
}

/// A balanced k-d tree.
struct Tree<'a> {
    points: &'a [[f64; 3]],
    order: Vec<usize>,
    nodes: Vec<Node>,
}

enum Node {
    Leaf { from: usize, to: usize },
    Split { axis: usize, at: f64, below: usize, above: usize },
}

/// Points of a leaf at most.
const LEAF: usize = 16;

impl<'a> Tree<'a> {
    fn new(points: &'a [[f64; 3]]) -> Self {
        let mut tree = Tree { points, order: (0..points.len()).collect(), nodes: vec![] };
        tree.build(0, points.len());
        tree
    }

    /// Least and largest coordinates of a range.
    fn bounds(&self, from: usize, to: usize) -> ([f64; 3], [f64; 3]) {
        self.order[from..to].iter().fold(([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]), |(low, high), p| {
            let x = self.points[*p];
            (std::array::from_fn(|k| low[k].min(x[k])), std::array::from_fn(|k| high[k].max(x[k])))
        })
    }

    /// Splits a range at the median along its longest side; the number of the node.
    fn build(&mut self, from: usize, to: usize) -> usize {
        let own = self.nodes.len();
        self.nodes.push(Node::Leaf { from, to });
        if to - from <= LEAF {
            return own;
        }
        let (low, high) = self.bounds(from, to);
        let (mut axis, mut size) = (0, 0.0);
        for k in 0..3 {
            if high[k] - low[k] > size {
                (axis, size) = (k, high[k] - low[k]);
            }
        }
        if size == 0.0 {
            return own;
        }
        let middle = from + (to - from) / 2;
        self.select(from, middle, to, axis);
        let mut at = self.at(middle, axis);
        let mut cut = self.partition(from, middle, axis, at);
        if cut == from {
            // Nothing lies below the median.
            at = low[axis].next_up();
            cut = self.partition(from, to, axis, at);
        }
        let below = self.build(from, cut);
        let above = self.build(cut, to);
        self.nodes[own] = Node::Split { axis, at, below, above };
        own
    }

    fn at(&self, place: usize, axis: usize) -> f64 {
        self.points[self.order[place]][axis]
    }

    /// Brings the range to the order in which the entry at `nth` is the one of a sorted range: quick selection with the median of three, as the C++ library of GCC does it.
    fn select(&mut self, mut from: usize, nth: usize, mut to: usize, axis: usize) {
        let mut left = 2 * (to - from).ilog2();
        while to - from > 3 && left > 0 {
            left -= 1;
            let (a, b, c) = (from + 1, from + (to - from) / 2, to - 1);
            let less = |tree: &Self, i: usize, j: usize| tree.at(i, axis) < tree.at(j, axis);
            let median = match (less(self, a, b), less(self, b, c), less(self, a, c)) {
                (true, true, _) | (false, false, false) => b,
                (true, false, true) | (false, true, false) => c,
                _ => a,
            };
            self.order.swap(from, median);
            let pivot = self.at(from, axis);
            let (mut i, mut j) = (from + 1, to);
            loop {
                while self.at(i, axis) < pivot {
                    i += 1;
                }
                j -= 1;
                while pivot < self.at(j, axis) {
                    j -= 1;
                }
                if i >= j {
                    break;
                }
                self.order.swap(i, j);
                i += 1;
            }
            if i <= nth {
                from = i;
            } else {
                to = i;
            }
        }
        // A stable sort of what is left.
        let points = self.points;
        self.order[from..to].sort_by(|p, q| points[*p][axis].partial_cmp(&points[*q][axis]).unwrap_or(std::cmp::Ordering::Equal));
    }

    /// Moves what lies below `at` to the front of a range; where the rest begins.
    fn partition(&mut self, mut from: usize, mut to: usize, axis: usize, at: f64) -> usize {
        loop {
            while from < to && self.at(from, axis) < at {
                from += 1;
            }
            if from == to {
                return from;
            }
            to -= 1;
            while from < to && self.at(to, axis) >= at {
                to -= 1;
            }
            if from == to {
                return from;
            }
            self.order.swap(from, to);
            from += 1;
        }
    }

    fn nearest(&self, x: &[f64; 3], count: usize) -> Vec<usize> {
        let (low, high) = self.bounds(0, self.points.len());
        let mut sides: [f64; 3] = std::array::from_fn(|k| (x[k] - high[k]).max(low[k] - x[k]).max(0.0).powi(2));
        let mut least: f64 = sides[0] + sides[1] + sides[2];
        let mut node = 0;
        let mut waiting: Heap<(usize, [f64; 3])> = Heap(vec![]);
        let mut found: Heap<usize> = Heap(vec![]);
        let mut bound = f64::INFINITY;
        loop {
            match &self.nodes[node] {
                Node::Leaf { from, to } => {
                    for p in &self.order[*from..*to] {
                        let y = self.points[*p];
                        let distance = (0..3).fold(0.0, |sum, k| sum + (x[k] - y[k]) * (x[k] - y[k]));
                        if distance < bound {
                            if found.0.len() == count {
                                found.pop();
                            }
                            found.push(-distance, *p);
                            if found.0.len() == count {
                                bound = -found.0[0].0;
                            }
                        }
                    }
                    let Some((distance, (next, own))) = waiting.pop() else { break };
                    (least, node, sides) = (distance, next, own);
                }
                Node::Split { axis, at, below, above } => {
                    if least > bound {
                        break;
                    }
                    let (near, other) = if x[*axis] < *at { (*below, *above) } else { (*above, *below) };
                    let beyond = (x[*axis] - at).powi(2);
                    let mut own = sides;
                    let distance = least + (beyond - own[*axis]);
                    own[*axis] = beyond;
                    let (mut far, mut far_distance, mut far_sides) = (other, distance, own);
                    node = near;
                    if least > far_distance {
                        std::mem::swap(&mut node, &mut far);
                        std::mem::swap(&mut least, &mut far_distance);
                        std::mem::swap(&mut sides, &mut far_sides);
                    }
                    if far_distance <= bound {
                        waiting.push(far_distance, (far, far_sides));
                    }
                }
            }
        }
        let mut out: Vec<usize> = std::iter::from_fn(|| found.pop().map(|(_, p)| p)).collect();
        out.reverse();
        out
    }
}

/// A binary heap with the least key on top; equal keys leave it in the order of the classic sifts.
struct Heap<T>(Vec<(f64, T)>);

impl<T> Heap<T> {
    fn push(&mut self, key: f64, value: T) {
        self.0.push((key, value));
        let mut i = self.0.len() - 1;
        while i > 0 && self.0[i].0 < self.0[(i - 1) / 2].0 {
            self.0.swap(i, (i - 1) / 2);
            i = (i - 1) / 2;
        }
    }

    fn pop(&mut self) -> Option<(f64, T)> {
        if self.0.is_empty() {
            return None;
        }
        let top = self.0.swap_remove(0);
        let n = self.0.len();
        let mut i = 0;
        loop {
            let (j, k) = (2 * i + 1, 2 * i + 2);
            let below = |c: usize, heap: &Self| c < n && heap.0[i].0 > heap.0[c].0;
            if !below(j, self) && !below(k, self) {
                return Some(top);
            }
            let least = if k < n && self.0[j].0 > self.0[k].0 { k } else { j };
            self.0.swap(least, i);
            i = least;
        }
    }
}
