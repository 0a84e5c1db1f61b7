//! Exponential, sine and cosine of many numbers at once, without branches, so that compilers turn the loops into vector code.
//!
//! Filters are evaluated at hundreds of thousands of points; the functions of the standard library take one number at a time and most of that time.

/// Added to and taken from a number below 2^51, it leaves the nearest integer, which then stands in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The nearest integer to `x`, as a number and as bits; |x| < 2^51.
#[inline(always)]
fn nearest(x: f64) -> (f64, i64) {
    let shifted = x + ROUND;
    (shifted - ROUND, (shifted.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64))
}

/// 2^k for -1022 <= k <= 1023.
#[inline(always)]
fn power_of_two(k: i64) -> f64 {
    f64::from_bits((k.wrapping_add(1023) as u64) << 52)
}

/// Below, e^x is a subnormal number or zero. Processors take a hundred cycles for each subnormal result, so they are zeros here.
pub(crate) const LEAST: f64 = -708.0;

/// e^x. Relative error 4e-16; 0 below [`LEAST`], infinity above 709.8, NaN of NaN.
#[inline(always)]
fn exponential(given: f64) -> f64 {
    let x = if given > 710.0 { 710.0 } else { given };
    let x = if x < LEAST { LEAST } else { x };
    let (k, bits) = nearest(x * std::f64::consts::LOG2_E);
    // ln 2 in two parts, the first with so few digits that its multiples are exact.
    let r = (x - k * 6.931_471_803_691_238e-1) - k * 1.908_214_929_270_587_7e-10;
    // Taylor's series; |r| < 0.35, so that what is left out is below 1e-17.
    let mut sum = 1.0 / 6_227_020_800.0;
    for n in [479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0] {
        sum = sum * r + 1.0 / n;
    }
    let value = 1.0 + (r + r * r * sum);
    // In two steps, as 2^k itself may be too small or too large for a number.
    let half = bits >> 1;
    let value = value * power_of_two(half) * power_of_two(bits.wrapping_sub(half));
    if given < LEAST { 0.0 } else { value }
}

/// Sine and cosine for |x| <= 1e5. Error 2e-16.
#[inline(always)]
fn circular(x: f64) -> (f64, f64) {
    let (q, bits) = nearest(x * std::f64::consts::FRAC_2_PI);
    // A quarter turn in three parts, the first two with so few digits that their multiples are exact.
    let r = ((x - q * 1.570_796_326_734_125_6) - q * 6.077_100_506_303_966e-11) - q * 2.022_266_248_795_950_6e-21;
    let z = r * r;
    // Taylor's series; |r| < 0.79.
    let mut sine = 1.0 / 355_687_428_096_000.0;
    for n in [-1_307_674_368_000.0, 6_227_020_800.0, -39_916_800.0, 362_880.0, -5_040.0, 120.0, -6.0] {
        sine = sine * z + 1.0 / n;
    }
    let sine = r + r * z * sine;
    let mut cosine = 1.0 / 20_922_789_888_000.0;
    for n in [-87_178_291_200.0, 479_001_600.0, -3_628_800.0, 40_320.0, -720.0, 24.0] {
        cosine = cosine * z + 1.0 / n;
    }
    let cosine = (1.0 - 0.5 * z) + z * z * cosine;
    let (s, c) = if bits & 1 == 0 { (sine, cosine) } else { (cosine, sine) };
    let s = if bits & 2 == 0 { s } else { -s };
    let c = if bits.wrapping_add(1) & 2 == 0 { c } else { -c };
    (s, c)
}

/// e^x of every number.
pub(crate) fn exponentials(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| exponential(*x)).collect()
}

/// Sines and cosines of all numbers.
pub(crate) fn circulars(x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    // Beyond, the reduction loses digits, and NaN is no number to reduce.
    if !x.iter().all(|x| x.abs() <= 1e5) {
        return x.iter().map(|x| x.sin_cos()).unzip();
    }
    let (mut sines, mut cosines) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    x.iter().zip(&mut sines).zip(&mut cosines).for_each(|((x, sine), cosine)| (*sine, *cosine) = circular(*x));
    (sines, cosines)
}

/// Sine of every number.
pub(crate) fn sines(x: &[f64]) -> Vec<f64> {
    circulars(x).0
}

/// Cosine of every number.
pub(crate) fn cosines(x: &[f64]) -> Vec<f64> {
    circulars(x).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_those_of_the_standard_library() {
        let x: Vec<f64> = (-74_500..71_000).map(|k| k as f64 * 0.01 + 0.003_7).collect();
        for (x, y) in x.iter().zip(exponentials(&x)) {
            let expected = x.exp();
            assert!(y == expected || (y - expected).abs() <= 5e-16 * expected + 4e-308, "exp({x}) = {y:e}, expected {expected:e}");
        }
        let x: Vec<f64> = (-200_000..200_000).map(|k| k as f64 * 0.017 + 1e-5).chain([1e5, -1e5, 0.0, 99_999.123]).collect();
        for (x, (s, c)) in x.iter().zip(sines(&x).into_iter().zip(cosines(&x))) {
            assert!((s - x.sin()).abs() <= 3e-16 && (c - x.cos()).abs() <= 3e-16, "({s}, {c}) at {x}, expected ({}, {})", x.sin(), x.cos());
        }
    }

    #[test]
    fn what_is_no_finite_number_stays_so() {
        assert_eq!(exponentials(&[f64::NEG_INFINITY, -1e300, f64::INFINITY, 1e300, 0.0]), [0.0, 0.0, f64::INFINITY, f64::INFINITY, 1.0]);
        assert!(exponentials(&[f64::NAN])[0].is_nan() && sines(&[f64::NAN])[0].is_nan() && cosines(&[f64::INFINITY])[0].is_nan());
    }
}
