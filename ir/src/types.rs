//! Element, space and shape of every value in a graph.
//!
//! Every value is an array of f64: some *axes* (directions, batches, flattened indices), then the samples of one *space*. Complex numbers are stored as
//! pairs (re, im) inside a space, or as two values. The lengths here are the *logical* ones; a device may pad or block them.

use std::fmt;

/// What the innermost part of a value is.
///
/// ```
/// use scatterc_ir::Space;
///
/// // A real field of bandlimit 4: 16 complex numbers as a user gives them, 10 without the zeros at m > ell.
/// assert_eq!((Space::Half { L: 4 }.len(), Space::Coefficients { L: 4 }.len()), (32, 20));
/// assert_eq!(Space::Image { H: 3, W: 5 }.to_string(), "image(3,5)");
/// ```
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
    ///
    /// ```
    /// use scatterc_ir::Space;
    ///
    /// assert_eq!(Space::Map { L: 4 }.len(), 4 * 7);
    /// assert_eq!(Space::RealSpectrum { H: 4, W: 6 }.len(), 2 * 4 * 4);
    /// ```
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
    ///
    /// ```
    /// use scatterc_ir::Space;
    ///
    /// assert!(Space::Any.is_empty() && !Space::Point.is_empty());
    /// ```
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
///
/// ```
/// use scatterc_ir::{Space, Type};
///
/// // Five directions of a map.
/// let ty = Type::new([5], Space::Map { L: 4 });
/// assert_eq!((ty.len(), ty.to_string().as_str()), (5 * 28, "[5] map(4)"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Sizes of the axes, outermost first.
    pub axes: Vec<usize>,
    /// What one element of the axes is.
    pub space: Space,
}

impl Type {
    /// A type from its parts.
    ///
    /// ```
    /// use scatterc_ir::{Space, Type};
    ///
    /// assert_eq!(Type::new([2, 3], Space::Point).axes, [2, 3]);
    /// ```
    pub fn new(axes: impl Into<Vec<usize>>, space: Space) -> Self {
        Type { axes: axes.into(), space }
    }

    /// A single number.
    ///
    /// ```
    /// use scatterc_ir::Type;
    ///
    /// assert_eq!((Type::number().len(), Type::number().to_string().as_str()), (1, "[] point"));
    /// ```
    pub fn number() -> Self {
        Type::new([], Space::Point)
    }

    /// Product of the axes.
    ///
    /// ```
    /// use scatterc_ir::{Space, Type};
    ///
    /// assert_eq!(Type::new([2, 3], Space::Map { L: 4 }).count(), 6);
    /// ```
    pub fn count(&self) -> usize {
        self.axes.iter().fold(1, |n: usize, axis| n.saturating_mul(*axis))
    }

    /// Logical number of f64 values.
    ///
    /// ```
    /// use scatterc_ir::{Space, Type};
    ///
    /// assert_eq!(Type::new([2, 3], Space::Half { L: 4 }).len(), 6 * 32);
    /// ```
    pub fn len(&self) -> usize {
        self.count().saturating_mul(self.space.len())
    }

    /// True when the value holds nothing.
    ///
    /// ```
    /// use scatterc_ir::{Space, Type};
    ///
    /// assert!(Type::new([0], Space::Point).is_empty() && !Type::number().is_empty());
    /// ```
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
///
/// ```
/// use scatterc_ir::types::scale_bandlimit;
///
/// assert_eq!([0, 1, 2, 3, 4].map(|j| scale_bandlimit(10, j)), [4, 4, 8, 10, 10]);
/// ```
pub fn scale_bandlimit(L: usize, j: usize) -> usize {
    let exponent = j.max(1) + 1;
    if exponent >= usize::BITS as usize - 1 { L } else { (1usize << exponent).min(L) }
}

/// Finest scale J = ceil(log2 L); 0 for L = 1.
///
/// ```
/// use scatterc_ir::types::finest_scale;
///
/// assert_eq!([1, 2, 8, 9].map(finest_scale), [0, 1, 3, 4]);
/// ```
pub fn finest_scale(L: usize) -> usize {
    if L <= 1 { 0 } else { (usize::BITS - (L - 1).leading_zeros()) as usize }
}
