//! Wigner functions d^ell_{mn}, Varshalovich's phase: d^1_{1,0}(b) = -sin(b) / sqrt 2.
//!
//! The stable route for all needed functions (small |n|) is the upward three-term recursion in ell at fixed (m, n),
//!
//! ```text
//! a_{l+1} d^{l+1} = (2l + 1) (1 - m n / (l (l + 1)) - y) d^l - a_l d^{l-1},   y = 2 sin^2(b / 2),
//! a_l = sqrt((l^2 - m^2) (l^2 - n^2)) / l,
//! ```
//!
//! used for b <= pi / 2 only (the rest by symmetry), so that the argument keeps its relative accuracy near the poles. The
//! start d^{l0} is a product of powers of half-angle sines and cosines, computed in double-double with its own exponent.

use crate::KernelError;
use crate::double::{Double, sin_cos};

/// Starting values carry the factor 2^(STEP exponent), exponent <= 0.
pub(crate) const STEP: i32 = 200;

pub(crate) fn two_to(exponent: i32) -> f64 {
    2f64.powi(exponent)
}

/// A number far below the range of f64: mantissa times 2^(STEP exponent).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaled {
    pub mantissa: Double,
    pub exponent: i32,
}

impl Scaled {
    const ONE: Self = Self { mantissa: Double::ONE, exponent: 0 };

    pub(crate) fn times(self, factor: Double) -> Self {
        let mut mantissa = self.mantissa.mul(factor);
        let mut exponent = self.exponent;
        if mantissa.hi.abs() < two_to(-STEP) && mantissa.hi != 0.0 {
            mantissa = mantissa.times_power_of_two(two_to(STEP));
            exponent -= 1;
        }
        Self { mantissa, exponent }
    }
}

/// Sine and cosine of half an angle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HalfAngle {
    pub s: Double,
    pub c: Double,
}

impl HalfAngle {
    pub(crate) fn new(beta: f64) -> Self {
        let (s, c) = sin_cos(0.5 * beta);
        Self { s, c }
    }

    /// 2 sin^2(beta / 2) = 1 - cos beta.
    pub(crate) fn versine(self) -> f64 {
        self.s.mul(self.s).hi * 2.0
    }
}

/// d^{l0}_{mn} at l0 = |n| >= m >= 0.
pub(crate) fn start_below(m: usize, n: isize, angle: HalfAngle) -> Scaled {
    let q = n.unsigned_abs();
    // d_{mn} = (-1)^{m-n} d_{nm} brings n > 0 to cos^{n+m} sin^{n-m}; d_{m,-q} = d_{q,-m} brings n < 0 to cos^{q-m} (-sin)^{q+m}.
    let (cosines, sines, sign) = if n >= 0 { (q + m, q - m, 1.0) } else { (q - m, q + m, if (q + m) % 2 == 1 { -1.0 } else { 1.0 }) };
    let mut value = Scaled::ONE;
    for _ in 0..cosines {
        value = value.times(angle.c);
    }
    for _ in 0..sines {
        value = value.times(angle.s);
    }
    // binomial(2q, q - m) = product of (q + m + i) / i, i = 1..=q - m.
    for i in 1..=(q - m) {
        value = value.times(Double::new((q + m + i) as f64).div(Double::new(i as f64)).sqrt());
    }
    Scaled { mantissa: value.mantissa.scale(sign), ..value }
}

/// d^{m+1}_{m+1,n} / d^m_{m,n} for m >= |n|, without the trigonometric factor -sin(b/2) cos(b/2).
pub(crate) fn start_ratio(m: usize, n: isize) -> Double {
    let (m, n) = (m as f64, n as f64);
    let top = Double::new(2.0 * m + 1.0).mul(Double::new(2.0 * m + 2.0));
    let bottom = Double::new(m + 1.0 + n).mul(Double::new(m + 1.0 - n));
    top.div(bottom).sqrt()
}

/// Wigner d^ell_{mn}(beta) for ell = max(|m|, |n|)..L, at one (m, n) and one angle.
///
/// The three-term recursion in ell, written as d^{l+1} = g_l d^l + c_{l+1} with g_l the ratio at beta -> 0 and
/// c_{l+1} = a_l / (a_{l+1} g_{l-1}) c_l - (2l + 1) / a_{l+1} y d^l: near the poles the correction c is small and carries its own
/// relative accuracy. Started from mantissa and exponent and rescaled on the way up, so that nothing is lost to underflow.
/// Empty if max(|m|, |n|) >= L.
///
/// - `beta`: radians, 0 <= beta <= pi
/// - returns `[L - max(|m|, |n|)]`, dimensionless
///
/// Error: absolute 3e-13 at ell = 2047 (`wigner_d.npz`); fails if beta is outside 0..=pi or not a number.
/// Cost: 10 flop and two roots per value. Source: Varshalovich, Moskalev & Khersonskii (1988), section 4.8.
///
/// ```
/// use scatterc_kernels::wigner::wigner_d;
///
/// // d^1_{1,0}(b) = -sin(b) / sqrt 2, d^2_{1,0} follows.
/// let d = wigner_d(3, 1, 0, 0.5)?;
/// assert!(d.len() == 2 && (d[0] + 0.5f64.sin() / 2f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), scatterc_kernels::KernelError>(())
/// ```
pub fn wigner_d(L: usize, m: isize, n: isize, beta: f64) -> Result<Vec<f64>, KernelError> {
    if !(0.0..=std::f64::consts::PI).contains(&beta) {
        return Err(KernelError::parameter("beta", "in 0..=pi", beta));
    }
    let l0 = m.unsigned_abs().max(n.unsigned_abs());
    if l0 >= L {
        return Ok(Vec::new());
    }
    let mut sign = 1.0;
    let (mut mm, mut nn) = (m, n);
    if mm < 0 {
        // d_{mn} = (-1)^{m-n} d_{-m,-n}
        if (m - n).rem_euclid(2) == 1 {
            sign = -sign;
        }
        (mm, nn) = (-mm, -nn);
    }
    let mut angle = HalfAngle::new(beta);
    let south = beta > std::f64::consts::FRAC_PI_2;
    if south {
        // d^l_{mn}(b) = (-1)^{l+m} d^l_{m,-n}(pi - b); the half angles exchange sine and cosine, so pi - b is never rounded.
        nn = -nn;
        angle = HalfAngle { s: angle.c, c: angle.s };
    }
    let mu = mm as usize;
    let from = mu.min(nn.unsigned_abs());
    let mut start = if mu <= nn.unsigned_abs() { start_below(mu, nn, angle) } else { start_below(from, nn, angle) };
    let factor = angle.s.mul(angle.c).neg();
    for k in from..mu {
        if k >= nn.unsigned_abs() {
            start = start.times(start_ratio(k, nn).mul(factor));
        }
    }
    let y = angle.versine();
    let (m2, n2) = ((mm * mm) as f64, (nn * nn) as f64);
    let (difference, sum) = ((mm - nn).unsigned_abs() as f64, (mm + nn).unsigned_abs() as f64);
    let a = |l: f64| ((l * l - m2) * (l * l - n2)).sqrt() / l;
    let mut out = Vec::with_capacity(L - l0);
    let (mut change, mut current, mut exponent) = (0.0, start.mantissa.hi, start.exponent);
    // growth = lim d^{l+1} / d^l as beta -> 0; what is left of each step is proportional to y and small with it.
    let (mut a_current, mut growth_before) = (0.0, 1.0);
    for l in l0..L {
        let flip = if south && (l + mu) % 2 == 1 { -sign } else { sign };
        let scale = if exponent < -6 { 0.0 } else { two_to(STEP * exponent / 2) };
        out.push(flip * current * scale * scale);
        let ell = l as f64;
        let k = (l + 1 - l0) as f64;
        let a_next = a(ell + 1.0);
        let growth = ((k + difference + sum) / (k + sum) * ((k + difference) / k)).sqrt();
        change = a_current / (a_next * growth_before) * change - (2.0 * ell + 1.0) / a_next * y * current;
        current = growth * current + change;
        (a_current, growth_before) = (a_next, growth);
        if current.abs() > two_to(STEP) {
            current *= two_to(-STEP);
            change *= two_to(-STEP);
            exponent += 1;
        }
    }
    Ok(out)
}
