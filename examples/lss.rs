//! Maps with the statistics of a large-scale-structure map: L-BFGS from white noise, the experiment of FOSCAT's demonstration.
//!
//! ```text
//! cargo run --release --example lss -- LSS_map_nside128.npy [nside] [steps] [seeds] [stored pairs]
//! ```
//!
//! The map is degraded by plain means of children. Per seed: losses, the ratio of standard deviations, the correlation with the target pixel by pixel, and by how much the
//! error of the statistics (root mean square in units of their sigmas) fell.

use ndarray_npy::read_npy;
use scatterc::Healpix;
use scatterc::optimise::{Control, Lbfgs, Method};
use scatterc::pixels::{Descent, Measure, Options, synthesise};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected the path of a NESTED map, an .npy file")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (nside, steps, seeds, history) = (number(32)?, number(300)?, number(3)?, number(10)?);
    let fine: Vec<f64> = match read_npy::<_, ndarray::Array1<f32>>(&path) {
        Ok(map) => map.iter().map(|x| f64::from(*x)).collect(),
        Err(_) => read_npy::<_, ndarray::Array1<f64>>(&path)?.to_vec(),
    };
    let children = fine.len() / (12 * nside * nside);
    let target: Vec<f64> = fine.chunks_exact(children).map(|c| c.iter().sum::<f64>() / children as f64).collect();
    let domain = Healpix::new(nside, 4, 3)?;
    let moments = |map: &[f64]| {
        let mean = map.iter().sum::<f64>() / map.len() as f64;
        (mean, (map.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / map.len() as f64).sqrt())
    };
    let (mean, deviation) = moments(&target);
    for sigma in ["sigma_compatible", "sigma"] {
        let measure = Measure { sigma: Some(sigma.into()), threads: 1, ..Measure::new("foscat")? };
        for seed in 0..seeds as u64 {
            let descent = Descent { method: Method::Lbfgs(Lbfgs { history, ..Lbfgs::default() }), steps, tolerance: 0.0 };
            let start = Instant::now();
            let made = synthesise(&measure, &domain, &target, &Options { seed, descent, ..Options::default() }, &mut |_| Control::Continue)?;
            let outcome = &made.levels[0].outcome;
            let (own_mean, own) = moments(&made.map);
            let covariance = made.map.iter().zip(&target).map(|(a, b)| (a - own_mean) * (b - mean)).sum::<f64>() / target.len() as f64;
            println!(
                "{sigma}, seed {seed}: loss {:.2} -> {:.4}, deviation ratio {:.4}, correlation {:+.4}, error less by {:.2} %, {} evaluations, {:.2} s",
                outcome.history[0][0],
                outcome.values[0],
                own / deviation,
                covariance / (own * deviation),
                100.0 * (1.0 - (outcome.values[0] / outcome.history[0][0]).sqrt()),
                outcome.evaluations[0],
                start.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}
