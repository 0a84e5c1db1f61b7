//! Where coefficients, rings and maps lie in memory.
//!
//! - **Coefficients** of a real field, bandlimit L: complex, interleaved (re, im), m >= 0 only, m-major (HEALPix order):
//!   `index(ell, m) = m (2L - 1 - m) / 2 + ell`.
//! - **Rings** and **maps** on the Gauss-Legendre grid are lane-blocked: [`LANES`] rings per block. The (L + 1) / 2 northern
//!   rings (with the equator, if L is odd) fill blocks 0, 2, 4, .. from the pole; block 2b + 1 holds the mirrors (pi - theta)
//!   of block 2b in the same lanes. Lanes beyond the last ring, and the mirror of the equator, are *padding*: they repeat a
//!   valid ring, so their values are finite, and their quadrature weight is 0, so that no kernel needs a mask.
//!   - rings with M orders: `[2 n_pairs][M][re: 8 lanes, im: 8 lanes]`
//!   - map: `[2 n_pairs][n_phi = 2L - 1][8 lanes]`
//! - The **natural grid** of users: `[L][2L - 1]`, theta ascending.

use crate::{KernelError, sampling, simd::LANES, simd::Real};

/// Number of f64 of the coefficients of one real field of bandlimit L.
///
/// ```
/// assert_eq!(scatterc_kernels::layout::coefficients_len(4), 2 * (4 + 3 + 2 + 1));
/// ```
pub const fn coefficients_len(L: usize) -> usize {
    L * (L + 1)
}

/// Pairs of a northern and a southern block on the grid of bandlimit L.
const fn n_pairs(L: usize) -> usize {
    L.div_ceil(2).div_ceil(LANES)
}

/// Number of f64 of one map of bandlimit L in the lane-blocked layout.
///
/// ```
/// assert_eq!(scatterc_kernels::layout::map_len(5), 2 * 9 * 8);
/// ```
pub const fn map_len(L: usize) -> usize {
    2 * n_pairs(L) * (2 * L).saturating_sub(1) * LANES
}

/// Number of f64 of the half spectra, M orders, of one map of bandlimit L in the lane-blocked layout.
///
/// ```
/// assert_eq!(scatterc_kernels::layout::rings_len(5, 3), 2 * 3 * 16);
/// ```
pub const fn rings_len(L: usize, M: usize) -> usize {
    2 * n_pairs(L) * M * 2 * LANES
}

/// Position of the complex coefficient (ell, m), m <= ell < L; its f64s are at twice this.
///
/// ```
/// use scatterc_kernels::layout::coefficient_index;
///
/// // m-major: (0, 0), (1, 0), (2, 0), (1, 1), ..
/// assert_eq!((coefficient_index(3, 2, 0), coefficient_index(3, 1, 1)), (2, 3));
/// ```
pub const fn coefficient_index(L: usize, ell: usize, m: usize) -> usize {
    m * (2 * L - 1 - m) / 2 + ell
}

/// The lane-blocked Gauss-Legendre grid of one bandlimit.
///
/// ```
/// # use scatterc_kernels::layout::*;
/// # let layout = RingLayout::new(5)?;
/// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
/// let grid: Vec<f64> = (0..45).map(f64::from).collect();
/// let (mut map, mut back) = (vec![0.0; layout.map_len()], vec![0.0; 45]);
/// layout.grid_to_map(&grid, &mut map);
/// layout.map_to_grid(&map, &mut back);
/// assert_eq!(back, grid);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RingLayout {
    L: usize,
    n_pairs: usize,
    theta: Vec<f64>,
    weights: Vec<f64>,
}

impl RingLayout {
    /// The grid of bandlimit L: L rings of 2L - 1 samples. Error: L = 0.
    ///
    /// ```
    /// use scatterc_kernels::layout::RingLayout;
    ///
    /// assert!(RingLayout::new(1).is_ok() && RingLayout::new(0).is_err());
    /// ```
    pub fn new(L: usize) -> Result<Self, KernelError> {
        if L == 0 {
            return Err(KernelError::parameter("L", "at least 1", L));
        }
        let n_pairs = n_pairs(L);
        let mut layout = Self { L, n_pairs, theta: Vec::new(), weights: Vec::new() };
        let (theta, weights) = sampling::gauss_legendre(L);
        for block in 0..2 * n_pairs {
            for lane in 0..LANES {
                let ring = layout.ring(block, lane);
                layout.theta.push(theta[ring]);
                layout.weights.push(if layout.is_padding(block, lane) { 0.0 } else { weights[ring] });
            }
        }
        Ok(layout)
    }

    /// Bandlimit.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.L(), 5);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn L(&self) -> usize {
        self.L
    }

    /// Rings in the northern blocks: (L + 1) / 2, with the equator.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.n_north(), 3);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_north(&self) -> usize {
        self.L.div_ceil(2)
    }

    /// Pairs of a northern and a southern block.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!((layout.n_pairs(), RingLayout::new(17)?.n_pairs()), (1, 2));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_pairs(&self) -> usize {
        self.n_pairs
    }

    /// Blocks: twice the pairs.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.n_blocks(), 2);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_blocks(&self) -> usize {
        2 * self.n_pairs
    }

    /// Samples per ring, 2L - 1.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.n_phi(), 9);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn n_phi(&self) -> usize {
        2 * self.L - 1
    }

    /// Number of f64 of one map.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.map_len(), map_len(5));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn map_len(&self) -> usize {
        map_len(self.L)
    }

    /// Number of f64 of the half spectra of one map with M orders.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert_eq!(layout.rings_len(3), rings_len(5, 3));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn rings_len(&self, M: usize) -> usize {
        rings_len(self.L, M)
    }

    /// The ring (theta ascending) whose values lie in this lane; a padding lane names the ring it repeats.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// // The mirror of ring 1 is ring 3.
    /// assert_eq!((layout.ring(0, 1), layout.ring(1, 1)), (1, 3));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn ring(&self, block: usize, lane: usize) -> usize {
        let north = (block / 2 * LANES + lane).min(self.n_north() - 1);
        if block.is_multiple_of(2) { north } else { self.L - 1 - north }
    }

    /// Whether the lane only repeats a ring that is stored elsewhere.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert!(!layout.is_padding(0, 2) && layout.is_padding(1, 2) && layout.is_padding(0, 3), "the equator has no mirror");
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn is_padding(&self, block: usize, lane: usize) -> bool {
        let north = block / 2 * LANES + lane;
        north >= self.n_north() || (block % 2 == 1 && 2 * north + 1 == self.L)
    }

    /// Colatitude of a lane, radians.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert!((layout.theta(0, 2) - std::f64::consts::FRAC_PI_2).abs() < 1e-15);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn theta(&self, block: usize, lane: usize) -> f64 {
        self.theta[block * LANES + lane]
    }

    /// Gauss-Legendre weight of a lane; the weights of all lanes sum to 2. Padding weighs 0.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert!(layout.weight(0, 0) == layout.weight(1, 0) && layout.weight(0, 3) == 0.0);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn weight(&self, block: usize, lane: usize) -> f64 {
        self.weights[block * LANES + lane]
    }

    /// All weights, `[2 n_pairs][8 lanes]`.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert!((layout.weights().iter().sum::<f64>() - 2.0).abs() < 1e-14);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Quadrature weight of every sample of a map, `[map_len]`: weight times 2 pi / (2L - 1); they sum to 4 pi.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// assert!((layout.map_weights().iter().sum::<f64>() - 4.0 * std::f64::consts::PI).abs() < 1e-13);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn map_weights(&self) -> Vec<f64> {
        let scale = 2.0 * std::f64::consts::PI / self.n_phi() as f64;
        let mut out = Vec::with_capacity(self.map_len());
        for block in self.weights.chunks_exact(LANES) {
            for _ in 0..self.n_phi() {
                out.extend(block.iter().map(|weight| weight * scale));
            }
        }
        out
    }

    /// Natural grid `[L][2L - 1]` to map; padding repeats its ring.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// let mut map = vec![0.0; layout.map_len()];
    /// layout.grid_to_map(&(0..45).map(f64::from).collect::<Vec<_>>(), &mut map);
    /// // Sample 0 of the first two rings.
    /// assert_eq!(map[..2], [0.0, 9.0]);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn grid_to_map<T: Real>(&self, grid: &[T], map: &mut [T]) {
        self.check(grid, map);
        let n_phi = self.n_phi();
        for block in 0..self.n_blocks() {
            for lane in 0..LANES {
                let ring = &grid[self.ring(block, lane) * n_phi..][..n_phi];
                for (p, value) in ring.iter().enumerate() {
                    map[(block * n_phi + p) * LANES + lane] = *value;
                }
            }
        }
    }

    /// Map to natural grid `[L][2L - 1]`; padding is not read.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// let mut grid = vec![0.0; 45];
    /// layout.map_to_grid(&(0..layout.map_len()).map(|k| k as f64).collect::<Vec<_>>(), &mut grid);
    /// // Sample 0 and 1 of the first ring are eight lanes apart.
    /// assert_eq!(grid[..2], [0.0, 8.0]);
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn map_to_grid<T: Real>(&self, map: &[T], grid: &mut [T]) {
        self.check(grid, map);
        let n_phi = self.n_phi();
        for block in 0..self.n_blocks() {
            for lane in 0..LANES {
                if self.is_padding(block, lane) {
                    continue;
                }
                let ring = &mut grid[self.ring(block, lane) * n_phi..][..n_phi];
                for (p, value) in ring.iter_mut().enumerate() {
                    *value = map[(block * n_phi + p) * LANES + lane];
                }
            }
        }
    }

    /// Adjoint of [`Self::grid_to_map`] for cotangents whose padding is zero: a copy that ignores padding.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// let mut map = vec![0.0; layout.map_len()];
    /// map[1] = 1.0;
    /// let mut grid = vec![0.0; 45];
    /// layout.grid_to_map_adjoint(&map, &mut grid);
    /// assert_eq!(grid.iter().position(|x| *x == 1.0), Some(9));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn grid_to_map_adjoint<T: Real>(&self, map: &[T], grid: &mut [T]) {
        self.map_to_grid(map, grid);
    }

    /// Adjoint of [`Self::map_to_grid`]: a copy that leaves zeros in the padding.
    ///
    /// ```
    /// # use scatterc_kernels::layout::*;
    /// # let layout = RingLayout::new(5)?;
    /// // Five rings of nine samples: lanes 0, 1, 2 of block 0 are the northern ones with the equator.
    /// let mut map = vec![5.0; layout.map_len()];
    /// layout.map_to_grid_adjoint(&[1.0; 45], &mut map);
    /// assert_eq!(map.iter().sum::<f64>(), 45.0, "zeros in the padding");
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn map_to_grid_adjoint<T: Real>(&self, grid: &[T], map: &mut [T]) {
        self.check(grid, map);
        let n_phi = self.n_phi();
        for block in 0..self.n_blocks() {
            for lane in 0..LANES {
                let ring = &grid[self.ring(block, lane) * n_phi..][..n_phi];
                let padding = self.is_padding(block, lane);
                for (p, value) in ring.iter().enumerate() {
                    map[(block * n_phi + p) * LANES + lane] = if padding { T::default() } else { *value };
                }
            }
        }
    }

    fn check<T>(&self, grid: &[T], map: &[T]) {
        assert_eq!(grid.len(), self.L * self.n_phi(), "a grid of bandlimit {} is [L][2L - 1]", self.L);
        assert_eq!(map.len(), self.map_len(), "a map of bandlimit {} is [2 n_pairs][2L - 1][8]", self.L);
    }
}
