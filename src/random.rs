//! Reproducible Gaussian fields: the same numbers on every machine, in any order, with any number of threads.
//!
//! Every coefficient is a function of (seed, member, ell, m): a counter-based generator needs no state, so member 5 of a run of ten is the only member of a run
//! that starts at 5, and a larger bandlimit keeps the coefficients of a smaller one. Integers are exact; logarithm and circular functions come from the crate
//! `libm`, written in Rust, so that no platform's mathematical library enters.
//!
//! Source: Salmon et al. (2011), Philox4x32-10; Box & Muller (1958).

use std::f64::consts::PI;

/// Multipliers and key increments of Philox4x32.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The last word of the counter: what the numbers are for. Other uses take other values.
const HARMONIC: u32 = 1;
/// Samples of images and series.
const SAMPLES: u32 = 2;

/// Ten rounds of Philox4x32: 128 random bits of a counter under a key.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let products = [u64::from(MULTIPLIERS[0]) * u64::from(counter[0]), u64::from(MULTIPLIERS[1]) * u64::from(counter[2])];
        let [(high0, low0), (high1, low1)] = products.map(|p| ((p >> 32) as u32, p as u32));
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Two independent standard normal numbers of (seed, member, ell, m).
fn normal_pair(seed: u64, member: u32, ell: u32, m: u32) -> (f64, f64) {
    pair(seed, [ell, m, member, HARMONIC])
}

/// Two independent standard normal numbers of a seed and a counter.
///
/// Resolution 2^-53, so no number exceeds 8.6 in modulus.
fn pair(seed: u64, counter: [u32; 4]) -> (f64, f64) {
    let words = philox(counter, [seed as u32, (seed >> 32) as u32]);
    let integer = |high: u32, low: u32| ((u64::from(high) << 32 | u64::from(low)) >> 11) as f64;
    let step = 1.0 / (1u64 << 53) as f64;
    // In (0, 1], so that the logarithm exists.
    let u = (integer(words[0], words[1]) + 1.0) * step;
    let angle = 2.0 * PI * (integer(words[2], words[3]) * step);
    let radius = (-2.0 * libm::log(u)).sqrt();
    let (sine, cosine) = libm::sincos(angle);
    (radius * cosine, radius * sine)
}

/// White Gaussian noise of unit variance: samples of an image or a series, two per counter.
///
/// ```
/// let noise = scatterc::random::samples(5, 7, 0);
/// assert_eq!(noise[..3], scatterc::random::samples(3, 7, 0)[..]);
/// ```
pub fn samples(n: usize, seed: u64, member: usize) -> Vec<f64> {
    let pairs = (0..n.div_ceil(2)).map(|k| pair(seed, [k as u32, (k >> 32) as u32, member as u32, SAMPLES]));
    let mut noise: Vec<f64> = pairs.flat_map(|(a, b)| [a, b]).collect();
    noise.truncate(n);
    noise
}

/// White Gaussian noise: coefficients of a real field with C_ell = 1.
///
/// f_l0 is normal with variance 1, f_lm (m > 0) has independent real and imaginary parts of variance 1/2, so that E |f_lm|^2 = 1.
///
/// - result: `[L, L]` complex interleaved, row `ell`, column `m`; zero where m > ell, real where m = 0
///
/// Source: Philox4x32-10 and the Box-Muller transform, one counter per coefficient.
///
/// ```
/// let small = scatterc::random::white(4, 7, 0);
/// let large = scatterc::random::white(8, 7, 0);
/// assert_eq!(small[2 * (3 * 4 + 2)], large[2 * (3 * 8 + 2)]);
/// ```
pub fn white(L: usize, seed: u64, member: usize) -> Vec<f64> {
    gaussian(L, seed, member, |_| 1.0)
}

/// A Gaussian field with a given angular power spectrum: `sqrt(C_ell)` times [`white`].
///
/// - `spectrum`: `[>= L]`, C_ell in units of the field squared; degrees beyond its end have no power, negative values count as zero
/// - result: `[L, L]` complex interleaved, as [`white`]
///
/// ```
/// let field = scatterc::random::gaussian_with_spectrum(4, &[0.0, 1.0, 0.25, 0.0], 1, 0);
/// assert_eq!(field[0], 0.0);
/// assert_ne!(field[2 * 4], 0.0);
/// assert!(field[2 * 12..].iter().all(|x| *x == 0.0));
/// ```
pub fn gaussian_with_spectrum(L: usize, spectrum: &[f64], seed: u64, member: usize) -> Vec<f64> {
    gaussian(L, seed, member, |ell| spectrum.get(ell).map_or(0.0, |c| c.max(0.0).sqrt()))
}

fn gaussian(L: usize, seed: u64, member: usize, amplitude: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut out = vec![0.0; 2 * L * L];
    for ell in 0..L {
        let amplitude = amplitude(ell);
        for m in 0..=ell {
            let (re, im) = normal_pair(seed, member as u32, ell as u32, m as u32);
            let place = 2 * (ell * L + m);
            if m == 0 {
                out[place] = amplitude * re;
            } else {
                let part = amplitude * std::f64::consts::FRAC_1_SQRT_2;
                (out[place], out[place + 1]) = (part * re, part * im);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// The bits are part of the contract: a change of them breaks every recorded seed.
    #[test]
    fn white_noise_keeps_its_bits() {
        let field = white(32, 20_240_607, 3);
        let hash = blake3::hash(&field.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect::<Vec<u8>>());
        assert_eq!(&hash.to_hex()[..16], "fefa45a83d4d8775");
    }

    #[test]
    fn white_noise_has_unit_power_and_is_real() {
        let L = 256;
        let field = white(L, 1, 0);
        let (mut sum, mut fourth, mut n) = (0.0, 0.0, 0.0);
        for ell in 0..L {
            assert_eq!(field[2 * ell * L + 1], 0.0);
            for m in 0..L {
                let (re, im) = (field[2 * (ell * L + m)], field[2 * (ell * L + m) + 1]);
                if m > ell {
                    assert_eq!((re, im), (0.0, 0.0));
                } else if m > 0 {
                    for x in [re, im] {
                        sum += 2.0 * x * x;
                        fourth += 4.0 * x.powi(4);
                        n += 1.0;
                    }
                }
            }
        }
        assert!((sum / n - 1.0).abs() < 0.02, "{}", sum / n);
        assert!((fourth / n - 3.0).abs() < 0.15, "{}", fourth / n);
    }
}
