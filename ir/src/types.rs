//! Element, space and shape of every value in a graph.
//!
//! Every value is an array of f64: some *axes* (directions, batches, flattened indices), then the samples of one *space*. Complex numbers are stored as
//! pairs (re, im) inside a space, or as two values. The lengths here are the *logical* ones; a device may pad or block them.

use std::fmt;

/// What the innermost part of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// One number.
    Point,
    /// Harmonic coefficients as a user gives them for a real field: `[L, L]` complex, row `ell`, column `m >= 0`.
    Half {
        /// Bandlimit.
        L: usize,
    },
    /// Harmonic coefficients of a complex field: `[L, 2L-1]` complex, row `ell`, column `m + L - 1`.
    Full {
        /// Bandlimit.
        L: usize,
    },
    /// Samples as a user gives them on the Gauss-Legendre grid: `[L, 2L-1]`, theta ascending.
    Grid {
        /// Bandlimit.
        L: usize,
    },
    /// Coefficients of a real field without zeros: complex, `m`-major, `index(ell, m) = m (2L - 1 - m) / 2 + ell`, `ell >= m >= 0`.
    Coefficients {
        /// Bandlimit.
        L: usize,
    },
    /// Half spectrum of every ring: `[theta][m]` complex, `m < M`; the field is `F_0 + 2 Re sum_{m>0} F_m e^{i m phi}`.
    Rings {
        /// Bandlimit of the grid.
        L: usize,
        /// Orders kept.
        M: usize,
    },
    /// Samples on the Gauss-Legendre grid: `[theta][phi]`.
    Map {
        /// Bandlimit of the grid.
        L: usize,
    },
    /// Samples of an image, `[H][W]`; a series is an image of one row.
    Image {
        /// Rows.
        H: usize,
        /// Columns.
        W: usize,
    },
    /// Discrete Fourier transform of a complex image: `[H][W]` complex, frequency 0 first.
    Spectrum {
        /// Rows.
        H: usize,
        /// Columns.
        W: usize,
    },
    /// Discrete Fourier transform of a real image: `[H][W/2+1]` complex, the columns of non-negative frequency.
    RealSpectrum {
        /// Rows.
        H: usize,
        /// Columns of the image.
        W: usize,
    },
    /// Samples of a HEALPix map in NESTED order: all 12 nside^2 pixels, or the `n` cells of a patch in ascending order.
    Pixels {
        /// Resolution.
        nside: usize,
        /// Number of pixels.
        n: usize,
    },
    /// The space of the operand, whichever it is (only in op signatures).
    Any,
}

impl Space {
    /// Logical number of f64 values.
    pub fn len(self) -> usize {
        match self {
            Space::Point => 1,
            Space::Half { L } => 2 * L * L,
            Space::Full { L } => (2 * L).saturating_mul(2 * L - 1),
            Space::Grid { L } | Space::Map { L } => L * (2 * L - 1),
            Space::Coefficients { L } => L * (L + 1),
            Space::Rings { L, M } => 2 * L * M,
            Space::Image { H, W } => H * W,
            Space::Spectrum { H, W } => 2 * H * W,
            Space::RealSpectrum { H, W } => 2 * H * (W / 2 + 1),
            Space::Pixels { n, .. } => n,
            Space::Any => 0,
        }
    }

    /// True for the wildcard, which has no samples of its own.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Space::Point => write!(f, "point"),
            Space::Half { L } => write!(f, "half({L})"),
            Space::Full { L } => write!(f, "full({L})"),
            Space::Grid { L } => write!(f, "grid({L})"),
            Space::Coefficients { L } => write!(f, "coefficients({L})"),
            Space::Rings { L, M } => write!(f, "rings({L},{M})"),
            Space::Map { L } => write!(f, "map({L})"),
            Space::Image { H, W } => write!(f, "image({H},{W})"),
            Space::Spectrum { H, W } => write!(f, "spectrum({H},{W})"),
            Space::RealSpectrum { H, W } => write!(f, "real_spectrum({H},{W})"),
            Space::Pixels { nside, n } => write!(f, "pixels({nside},{n})"),
            Space::Any => write!(f, "any"),
        }
    }
}

/// Shape of a value: axes outside, space inside; elements are f64.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Sizes of the axes, outermost first.
    pub axes: Vec<usize>,
    /// What one element of the axes is.
    pub space: Space,
}

impl Type {
    /// A type from its parts.
    pub fn new(axes: impl Into<Vec<usize>>, space: Space) -> Self {
        Type { axes: axes.into(), space }
    }

    /// A single number.
    pub fn number() -> Self {
        Type::new([], Space::Point)
    }

    /// Product of the axes.
    pub fn count(&self) -> usize {
        self.axes.iter().fold(1, |n: usize, axis| n.saturating_mul(*axis))
    }

    /// Logical number of f64 values.
    pub fn len(&self) -> usize {
        self.count().saturating_mul(self.space.len())
    }

    /// True when the value holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (k, n) in self.axes.iter().enumerate() {
            write!(f, "{}{n}", if k > 0 { "," } else { "" })?;
        }
        write!(f, "] {}", self.space)
    }
}

/// Bandlimit L_j = min(2^(max(j,1)+1), L) of wavelet scale `j`.
///
/// Source: S2SCAT specification, section 4.1.
pub fn scale_bandlimit(L: usize, j: usize) -> usize {
    let exponent = j.max(1) + 1;
    if exponent >= usize::BITS as usize - 1 { L } else { (1usize << exponent).min(L) }
}

/// Finest scale J = ceil(log2 L); 0 for L = 1.
pub fn finest_scale(L: usize) -> usize {
    if L <= 1 { 0 } else { (usize::BITS - (L - 1).leading_zeros()) as usize }
}
