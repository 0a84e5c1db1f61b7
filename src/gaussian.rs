//! Maps made Gaussian by rank, and back: statistics of skewed fields are then matched on fields without tails.

/// What cannot be made Gaussian.
///
/// ```
/// use scatterc::gaussian::{GaussianError, Gaussianised};
///
/// assert_eq!(Gaussianised::new(&[1.0, 2.0, 3.0], None), Err(GaussianError::TooFew { found: 3 }));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GaussianError {
    /// Too few samples for a spline.
    #[error("{found} samples are to be made Gaussian, expected at least 4")]
    TooFew {
        /// Samples that count.
        found: usize,
    },
    /// A sample that is no number.
    #[error("sample {index} is {found}; expected finite numbers")]
    NotFinite {
        /// Position.
        index: usize,
        /// The sample.
        found: f64,
    },
}

/// Quantile of the standard normal distribution at 0 < p < 1.
///
/// Rational approximations in three ranges. Error: relative 1e-15. Source: Wichura (1988), algorithm AS 241.
///
/// ```
/// use scatterc::gaussian::quantile;
///
/// assert_eq!(quantile(0.5), 0.0);
/// assert!((quantile(0.975) - 1.959963984540054).abs() < 1e-14);
/// ```
pub fn quantile(p: f64) -> f64 {
    let ratio = |r: f64, numerator: [f64; 8], denominator: [f64; 8]| {
        let horner = |c: [f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * r + c);
        horner(numerator) / horner(denominator)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let numerator = [
            3.387_132_872_796_366_5,
            1.331_416_678_917_843_8e2,
            1.971_590_950_306_551_3e3,
            1.373_169_376_550_946e4,
            4.592_195_393_154_987e4,
            6.726_577_092_700_87e4,
            3.343_057_558_358_813e4,
            2.509_080_928_730_122_7e3,
        ];
        let denominator = [
            1.0,
            4.231_333_070_160_091e1,
            6.871_870_074_920_579e2,
            5.394_196_021_424_751e3,
            2.121_379_430_158_659_7e4,
            3.930_789_580_009_271e4,
            2.872_908_573_572_194_3e4,
            5.226_495_278_852_854e3,
        ];
        return q * ratio(0.180625 - q * q, numerator, denominator);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let tail = if r <= 5.0 {
        let numerator = [
            1.423_437_110_749_683_5,
            4.630_337_846_156_546,
            5.769_497_221_460_691,
            3.647_848_324_763_204_5,
            1.270_458_252_452_368_4,
            2.417_807_251_774_506e-1,
            2.272_384_498_926_918_4e-2,
            7.745_450_142_783_414e-4,
        ];
        let denominator = [
            1.0,
            2.053_191_626_637_759,
            1.676_384_830_183_803_8,
            6.897_673_349_851e-1,
            1.481_039_764_274_800_8e-1,
            1.519_866_656_361_645_7e-2,
            5.475_938_084_995_345e-4,
            1.050_750_071_644_416_8e-9,
        ];
        ratio(r - 1.6, numerator, denominator)
    } else {
        let numerator = [
            6.657_904_643_501_103,
            5.463_784_911_164_114,
            1.784_826_539_917_291_3,
            2.965_605_718_285_048_7e-1,
            2.653_218_952_657_612_4e-2,
            1.242_660_947_388_078_4e-3,
            2.711_555_568_743_487_6e-5,
            2.010_334_399_292_288_1e-7,
        ];
        let denominator = [
            1.0,
            5.998_322_065_558_88e-1,
            1.369_298_809_227_358e-1,
            1.487_536_129_085_061_5e-2,
            7.868_691_311_456_133e-4,
            1.846_318_317_510_054_8e-5,
            1.421_511_758_316_446e-7,
            2.044_263_103_389_939_8e-15,
        ];
        ratio(r - 5.0, numerator, denominator)
    };
    tail.copysign(q)
}

/// A field made Gaussian, and the way back: the cubic spline with not-a-knot ends through (Gaussian value, own value).
///
/// ```
/// use scatterc::gaussian::Gaussianised;
///
/// // Five samples with a tail, and five quantiles of a normal distribution.
/// let skewed = [0.1, 0.2, 20.0, 0.4, 1.5];
/// let made = Gaussianised::new(&skewed, None)?;
/// assert_eq!(made.field[3], 0.0, "the median");
/// assert!((made.field[2] + made.field[0]).abs() < 1e-14);
/// assert!((made.back(&made.field)[4] - 1.5).abs() < 1e-12);
/// # Ok::<(), scatterc::gaussian::GaussianError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussianised {
    /// The Gaussian field; 0 where samples do not count.
    pub field: Vec<f64>,
    knots: Vec<f64>,
    values: Vec<f64>,
    /// Second derivatives at the knots.
    bends: Vec<f64>,
}

impl Gaussianised {
    /// Replaces the i-th smallest of n samples by the quantile at (i - 1/2) / n; equal samples keep their order.
    ///
    /// - `counts`: which samples take part; all when absent. Error: a sample that is not finite, fewer than four that take part.
    ///
    /// ```
    /// use scatterc::gaussian::Gaussianised;
    ///
    /// let made = Gaussianised::new(&[3.0, 1.0, 7.0, 2.0, 9.0], Some(&|k| k != 2))?;
    /// assert_eq!(made.field[2], 0.0, "does not count");
    /// assert!(made.field[1] < made.field[3] && made.field[3] < made.field[0] && made.field[0] < made.field[4]);
    /// # Ok::<(), scatterc::gaussian::GaussianError>(())
    /// ```
    pub fn new(field: &[f64], counts: Option<&dyn Fn(usize) -> bool>) -> Result<Self, GaussianError> {
        if let Some(index) = field.iter().position(|x| !x.is_finite()) {
            return Err(GaussianError::NotFinite { index, found: field[index] });
        }
        let mut order: Vec<usize> = (0..field.len()).filter(|k| counts.is_none_or(|counts| counts(*k))).collect();
        let n = order.len();
        if n < 4 {
            return Err(GaussianError::TooFew { found: n });
        }
        order.sort_by(|a, b| field[*a].total_cmp(&field[*b]));
        let knots: Vec<f64> = (0..n).map(|i| quantile((i as f64 + 0.5) / n as f64)).collect();
        let values: Vec<f64> = order.iter().map(|k| field[*k]).collect();
        let mut gaussian = vec![0.0; field.len()];
        order.iter().zip(&knots).for_each(|(k, x)| gaussian[*k] = *x);
        let bends = second_derivatives(&knots, &values);
        Ok(Gaussianised { field: gaussian, knots, values, bends })
    }

    /// Own values of Gaussian ones, which are clipped to what the field had, less 1e-7 of its range at either end.
    ///
    /// ```
    /// use scatterc::gaussian::Gaussianised;
    ///
    /// let made = Gaussianised::new(&[1.0, 2.0, 4.0, 8.0, 16.0], None)?;
    /// // What lies beyond the tails of the field becomes its largest value.
    /// assert!((made.back(&[100.0])[0] - 16.0).abs() < 1e-4);
    /// # Ok::<(), scatterc::gaussian::GaussianError>(())
    /// ```
    pub fn back(&self, gaussian: &[f64]) -> Vec<f64> {
        let n = self.knots.len();
        let margin = 1e-7 * (self.knots[n - 1] - self.knots[0]);
        gaussian
            .iter()
            .map(|x| {
                let x = x.clamp(self.knots[0] + margin, self.knots[n - 1] - margin);
                let k = self.knots.partition_point(|knot| *knot <= x).clamp(1, n - 1);
                let h = self.knots[k] - self.knots[k - 1];
                let (a, b) = ((self.knots[k] - x) / h, (x - self.knots[k - 1]) / h);
                let bend = (a * a * a - a) * self.bends[k - 1] + (b * b * b - b) * self.bends[k];
                a * self.values[k - 1] + b * self.values[k] + bend * h * h / 6.0
            })
            .collect()
    }
}

/// Second derivatives of the cubic spline with not-a-knot ends, at least four points.
fn second_derivatives(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let h: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
    let slope: Vec<f64> = (0..n - 1).map(|k| (y[k + 1] - y[k]) / h[k]).collect();
    // Rows for the inner points; the outer two are lines through their neighbours' values.
    let m = n - 2;
    let (mut diagonal, mut upper, mut right) = (vec![0.0; m], vec![0.0; m], vec![0.0; m]);
    let mut lower = vec![0.0; m];
    for i in 0..m {
        lower[i] = h[i];
        diagonal[i] = 2.0 * (h[i] + h[i + 1]);
        upper[i] = h[i + 1];
        right[i] = 6.0 * (slope[i + 1] - slope[i]);
    }
    diagonal[0] += h[0] * (1.0 + h[0] / h[1]);
    upper[0] -= h[0] * h[0] / h[1];
    let (last, before) = (h[n - 2], h[n - 3]);
    diagonal[m - 1] += last * (1.0 + last / before);
    lower[m - 1] -= last * last / before;
    for i in 1..m {
        let factor = lower[i] / diagonal[i - 1];
        diagonal[i] -= factor * upper[i - 1];
        right[i] -= factor * right[i - 1];
    }
    let mut out = vec![0.0; n];
    for i in (0..m).rev() {
        let after = if i + 1 < m { upper[i] * out[i + 2] } else { 0.0 };
        out[i + 1] = (right[i] - after) / diagonal[i];
    }
    out[0] = out[1] + h[0] / h[1] * (out[1] - out[2]);
    out[n - 1] = out[n - 2] + last / before * (out[n - 2] - out[n - 3]);
    out
}
