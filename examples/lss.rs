//! Maps with the statistics of a large-scale-structure map: L-BFGS from white noise, the experiment of FOSCAT's demonstration.
//!
//! ```text
//! cargo run --release --example lss -- LSS_map_nside128.npy [nside=32] [steps=300] [seeds=8] [first=0] [pairs=100] [levels=1] [precondition=0] [also=0] [sigma=sigma_compatible] [out=FILE.npy]
//! ```
//!
//! The map is degraded by plain means of children. `also` weighs the further loss of the variances of all down-graded maps, `precondition` descends in variables on all resolutions. Per seed: FOSCAT's loss at the
//! start and at the end, the distance of the statistics from the target's in units of their norm (the sum of squares of all coefficients) and by how much it fell, the ratio of standard
//! deviations, the ratio of power below and above degree 2 nside, the correlation with the target pixel by pixel, processor time.

use ndarray_npy::read_npy;
use scatterc::kernels::Serial;
use scatterc::kernels::healpix::{analysis, nested_to_ring};
use scatterc::optimise::{Control, Lbfgs, Method};
use scatterc::pixels::{Affine, Descent, Measure, Options, Term, synthesise};
use scatterc::{Healpix, Statistics};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

/// sum (2 ell + 1) C_ell over the degrees from `from` to `to`, the last one excluded.
fn power(nside: usize, map: &[f64], ranges: &[(usize, usize)]) -> Result<Vec<f64>, Box<dyn Error>> {
    let L = 3 * nside;
    let ring = nested_to_ring(nside, map)?;
    let found = analysis(&Serial, nside, &ring, L, 3)?;
    let spectrum: Vec<f64> = (0..L)
        .map(|ell| {
            (0..=ell)
                .map(|m| {
                    let k = 2 * scatterc::kernels::healpix::index(L, ell, m);
                    let square = found.coefficients[k].powi(2) + found.coefficients[k + 1].powi(2);
                    if m == 0 { square } else { 2.0 * square }
                })
                .sum()
        })
        .collect();
    Ok(ranges.iter().map(|(from, to)| spectrum[*from..*to].iter().sum()).collect())
}

fn moments(map: &[f64]) -> (f64, f64) {
    let mean = map.iter().sum::<f64>() / map.len() as f64;
    (mean, (map.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / map.len() as f64).sqrt())
}

/// Distance of statistics in units of the norm of the second.
fn distance(a: &Statistics, b: &Statistics) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (x, y) in a.arrays.iter().zip(&b.arrays) {
        let parts = x.re.iter().zip(&y.re).chain(x.im.iter().flatten().zip(y.im.iter().flatten()));
        for (p, q) in parts {
            difference += (p - q) * (p - q);
            norm += q * q;
        }
    }
    (difference / norm).sqrt()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected the path of a NESTED map, an .npy file")?;
    let given: BTreeMap<String, String> = arguments.filter_map(|text| text.split_once('=').map(|(a, b)| (a.to_string(), b.to_string()))).collect();
    let number = |name: &str, default: f64| given.get(name).map_or(Ok(default), |text| text.parse());
    let whole = |name: &str, default: usize| given.get(name).map_or(Ok(default), |text| text.parse());
    let (nside, steps, seeds, first) = (whole("nside", 32)?, whole("steps", 300)?, whole("seeds", 8)?, whole("first", 0)?);
    let (history, levels, precondition, also) = (whole("pairs", 100)?, whole("levels", 1)?, whole("precondition", 0)? == 1, number("also", 0.0)?);
    let sigma = given.get("sigma").map_or("sigma_compatible", String::as_str);
    let fine: Vec<f64> = match read_npy::<_, ndarray::Array1<f32>>(&path) {
        Ok(map) => map.iter().map(|x| f64::from(*x)).collect(),
        Err(_) => read_npy::<_, ndarray::Array1<f64>>(&path)?.to_vec(),
    };
    let children = fine.len() / (12 * nside * nside);
    let target: Vec<f64> = fine.chunks_exact(children).map(|c| c.iter().sum::<f64>() / children as f64).collect();
    let domain = Healpix::new(nside, 4, 3)?;
    let (mean, deviation) = moments(&target);
    let ranges = [(2, nside), (nside, 2 * nside), (2, 2 * nside), (2 * nside, 3 * nside)];
    let wanted = power(nside, &target, &ranges)?;
    let measure = Measure { sigma: Some(sigma.into()), threads: 1, ..Measure::new("foscat")? };
    let variances = Measure { threads: 1, ..Measure::new("variances")? };
    let (statistics, weights) = measure.measure(&domain, &[&target], None)?;
    let mut judge = Term::new(&measure, &domain, vec![Affine::unknown()], &statistics, weights.as_ref(), None, 1.0)?;
    for seed in first as u64..(first + seeds) as u64 {
        let descent = Descent { method: Method::Lbfgs(Lbfgs { history, ..Lbfgs::default() }), steps, tolerance: 0.0 };
        let options = Options {
            seed,
            descent,
            levels,
            precondition,
            also: if also > 0.0 { vec![(variances.clone(), also)] } else { vec![] },
            ..Options::default()
        };
        let start = Instant::now();
        let mut reached = Vec::new();
        let made = synthesise(&measure, &domain, &target, &options, &mut |p| {
            if [25, 50, 100, 200].contains(&p.iteration) {
                reached.push(format!("{:.2}", p.values[0]));
            }
            Control::Continue
        })?;
        let elapsed = start.elapsed().as_secs_f64();
        let mut scratch = vec![0.0; target.len()];
        // A start of a coarser level has no statistics of the finest map; white noise of its variance stands for it.
        let white: Vec<f64> = if levels == 1 {
            made.start.clone()
        } else {
            scatterc::random::samples(target.len(), seed, 0).into_iter().map(|x| mean + deviation * x).collect()
        };
        let before = judge.evaluate(&white, &mut scratch)?;
        let after = judge.evaluate(&made.map, &mut scratch)?;
        let off = distance(&measure.measure(&domain, &[&made.map], None)?.0, &statistics);
        let off_before = distance(&measure.measure(&domain, &[&white], None)?.0, &statistics);
        let own = power(nside, &made.map, &ranges)?;
        let ratios: Vec<String> = own.iter().zip(&wanted).map(|(a, b)| format!("{:.3}", a / b)).collect();
        let (own_mean, own) = moments(&made.map);
        let covariance = made.map.iter().zip(&target).map(|(a, b)| (a - own_mean) * (b - mean)).sum::<f64>() / target.len() as f64;
        let evaluations: Vec<usize> = made.levels.iter().map(|l| l.outcome.evaluations[0]).collect();
        println!(
            "seed {seed}: loss {before:.1} -> {after:.3} (by {:.2} %; {}), error {off_before:.3} -> {off:.5} (by {:.2} %), deviation {:.4}, power {}, correlation {:+.3}, {evaluations:?} evaluations, {elapsed:.1} s",
            100.0 * (1.0 - after / before),
            reached.join(" "),
            100.0 * (1.0 - off / off_before),
            own / deviation,
            ratios.join(" "),
            covariance / (own * deviation),
        );
        if let Some(path) = given.get("out").filter(|_| seed == first as u64) {
            ndarray_npy::write_npy(path, &ndarray::arr1(&[&target[..], &made.start[..], &made.map[..]].concat()))?;
        }
    }
    Ok(())
}
