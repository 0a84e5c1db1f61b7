//! Work that `explain` reports against counts by hand, within 5 %: every count is a loop over what the launch touches, with the operations of one step beside it.
//!
//! Conventions: a multiply-add is two operations, a root or a quotient one; a complex transform of n samples has 5 n log2 n, a real one half.

#![allow(non_snake_case)]

use scatterc::compiler::explain;
use scatterc::kernels::stencil::{Pixels, downgrade, wavelets};
use scatterc::{Boundary, Compiled, Compiler, Domain, Error, Fusion, Healpix, InputKind, Plane, Pyramid, Source, Sphere};

fn compiled(text: &str, domain: &dyn Domain, fusion: Fusion) -> Result<Compiled, Error> {
    Compiler::new(&Source::from_text(text, "flops")?, domain).fusion(fusion).compile()
}

/// Flops of the launches whose summaries contain a word.
fn reported(compiled: &Compiled, word: &str) -> f64 {
    let own: Vec<f64> = compiled.scheduled.launches.iter().filter(|l| l.summary.contains(word)).map(|l| l.flops).collect();
    let all: Vec<&str> = compiled.scheduled.launches.iter().map(|l| l.summary.as_str()).collect();
    assert!(!own.is_empty(), "no launch of `{word}` among {all:#?}");
    own.iter().sum()
}

fn assert_near(compiled: &Compiled, word: &str, by_hand: f64) {
    let found = reported(compiled, word);
    let domain = compiled.plan().note("domain").unwrap_or_default();
    assert!((found - by_hand).abs() <= 0.05 * by_hand, "{word} on {domain}: explain counts {found}, by hand {by_hand}");
}

/// n log2 n.
fn n_log_n(n: usize) -> f64 {
    n as f64 * (n as f64).log2()
}

const FIRST: &str = "statistic first(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); return S; }";

#[test]
fn a_statistic_of_images() -> Result<(), Error> {
    let (H, W, J, L) = (16, 32, 2, 3);
    let source = Source::find("cheng")?;
    let plane = Plane::new(H, W, J, L, &source.filter("morlet")?, Boundary::Periodic, false)?;
    let compiled = compiled(FIRST, &plane, Fusion::All)?;
    // The spectrum of the real image: half of 5 n log2 n.
    assert_near(&compiled, "fourier of", 2.5 * n_log_n(H * W));
    // Per scale and direction a complex image from its filtered spectrum: one real weight times a complex number per frequency, then 5 n log2 n.
    let mut inverse = 0.0;
    for _scale in 0..J {
        for _direction in 0..L {
            inverse += (2 * H * W) as f64 + 5.0 * n_log_n(H * W);
        }
    }
    assert_near(&compiled, "filter_inverse", inverse);
    // Modulus and average: re re, + im im, root, and a multiply-add of the weighted sum, per sample of every scale and direction.
    let per_sample = 1 + 2 + 1 + 2;
    assert_near(&compiled, "loop over", (J * L * H * W * per_sample) as f64);
    // Totals of the report are the sums of its launches.
    let total: f64 = compiled.scheduled.launches.iter().map(|l| l.flops).sum();
    let report: serde_json::Value =
        serde_json::from_str(&explain::json(&compiled.trace, &compiled.scheduled, &explain::Facts::default())).expect("JSON");
    assert_eq!(report["totals"]["flops"].as_f64(), Some(total));
    Ok(())
}

#[test]
fn averages_of_products_of_images() -> Result<(), Error> {
    let (H, W, J, L) = (16, 16, 2, 4);
    let source = Source::find("cheng")?;
    let plane = Plane::new(H, W, J, L, &source.filter("morlet")?, Boundary::Periodic, false)?;
    let text = "statistic second(x) { U[j, g] = abs(wavelet(x, j, g)); C[j, g, h] = mean(U[j, g] * U[j, h]); return C; }";
    let compiled = compiled(text, &plane, Fusion::All)?;
    // Every unordered pair of directions once, one multiply-add per sample.
    let pairs: usize = (0..L).map(|g| L - g).sum();
    assert_near(&compiled, "gram of", (J * pairs * H * W * 2) as f64);
    Ok(())
}

#[test]
fn a_statistic_of_the_sphere() -> Result<(), Error> {
    // Rings of L = 32 fill whole blocks of vectors, so that nothing is padding.
    let (L, N) = (32, 1);
    let sphere = Sphere::new(L, N, 4, InputKind::Half)?;
    let compiled = compiled(FIRST, &sphere, Fusion::None)?;
    // Scales 4 and 5: degrees from 2^(j-1) to min(2^(j+1), L), both on grids of all 32 rings, mirrored across the equator. Per degree, order and northern ring two
    // multiply-adds of the recursion for the function, and one for the real and one for the imaginary part of the coefficient.
    let mut legendre = 0;
    for j in [4usize, 5] {
        for m in 0..L {
            for _ell in m.max(1 << (j - 1))..L.min(1 << (j + 1)) {
                legendre += (L / 2) * (2 * 2 + 2 * 2);
            }
        }
    }
    assert_near(&compiled, "wigner_inverse", legendre as f64);
    // Each ring is a real transform of 2L - 1 samples.
    assert_near(&compiled, "ring_inverse", 2.0 * L as f64 * 2.5 * n_log_n(2 * L - 1));
    // Fused, the modulus of the real wavelets and its average: |W|, and a multiply-add with the weight of the ring.
    let fused = self::compiled(FIRST, &sphere, Fusion::Loops)?;
    assert_near(&fused, "loop over", (2 * L * (2 * L - 1) * (1 + 2)) as f64);
    Ok(())
}

#[test]
fn a_gram_of_the_sphere() -> Result<(), Error> {
    // Degrees from 4 on: the grids of scales 3 and 4 have all 16 rings.
    let (L, N) = (16, 2);
    let sphere = Sphere::new(L, N, 3, InputKind::Half)?;
    let text = "statistic second(x) { U[j, g] = abs(wavelet(x, j, g)); C[j, g, h] = mean(U[j, g] * U[j, h]); return C; }";
    let compiled = compiled(text, &sphere, Fusion::All)?;
    let pairs: usize = (0..2 * N - 1).map(|g| 2 * N - 1 - g).sum();
    assert_near(&compiled, "gram of", (2 * pairs * L * (2 * L - 1) * 2) as f64);
    Ok(())
}

#[test]
fn a_statistic_of_healpix_pixels() -> Result<(), Box<dyn std::error::Error>> {
    for (nside, K) in [(8, 3), (32, 3), (8, 5), (8, 7)] {
        let L = 2;
        let healpix = Healpix::new(nside, L, K)?;
        let compiled = compiled(FIRST, &healpix, Fusion::None)?;
        // Stencils are rows of weights: one multiply-add per neighbour, direction and part. Larger stencils work on maps of twice the resolution.
        let finest = if K == 3 { nside } else { 2 * nside };
        let (mut gathers, mut means) = (0, 0);
        for j in 0..=finest.ilog2() {
            let pixels = Pixels::new(finest >> j)?;
            let all: Vec<usize> = (0..pixels.len()).collect();
            gathers += wavelets(&pixels, K, L, &all, &[], 1)?.columns.len() * 2 * L * 2;
            if j < finest.ilog2() {
                let coarse = Pixels::new(finest >> (j + 1))?;
                let all: Vec<usize> = (0..coarse.len()).collect();
                means += downgrade(&pixels, &coarse, &all, &[])?.columns.len() * 2;
            }
        }
        assert_near(&compiled, "stencil of", gathers as f64);
        assert_near(&compiled, "downgrade of", means as f64);
    }
    Ok(())
}

#[test]
fn a_statistic_of_stencils_on_images() -> Result<(), Error> {
    let (H, W, J, L, K) = (16, 32, 2, 3, 5);
    let pyramid = Pyramid::new(H, W, J, L, K, &Source::find("foscat_plane")?.filter("foscat_plane")?, Boundary::Periodic)?;
    let compiled = compiled(FIRST, &pyramid, Fusion::None)?;
    // Scale j has a sample for each block of 2^j x 2^j: K x K multiply-adds for the real and the imaginary part of every direction.
    let samples: usize = (0..J).map(|j| (H >> j) * (W >> j)).sum();
    assert_near(&compiled, "image_stencil of", (samples * 2 * L * K * K * 2) as f64);
    // Means over blocks: every sample of the finer scale is read once.
    assert_near(&compiled, "block_mean of", (0..J - 1).map(|j| (H >> j) * (W >> j)).sum::<usize>() as f64);
    Ok(())
}
