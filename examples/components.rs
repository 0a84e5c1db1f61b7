//! Noise taken out of a map, and a hole filled, by statistics on its HEALPix pixels.
//!
//! ```text
//! cargo run --release --example components -- LSS_map_nside128.npy [nside] [steps] [folder]
//! ```
//!
//! *Denoising* (after Delouis et al. 2022): the data are d = s + n with noise n whose statistics are known. A map u is sought such that u + n_i has the statistics of d for several
//! noise maps n_i, and d - u those of noise: sum_i |S(u + n_i) - S(d)|^2 / sigma^2 / 4 + |S(d - u) - S(n_5)|^2 / sigma^2, from u = 0.9 d. *Inpainting*: pixels of a disc are free, the others keep their bits; the statistics asked for are those of the
//! rest, by a mask, and averages of the candidate count all of it. It starts from white noise in the disc. Maps are written to the folder, if one is given.

use ndarray_npy::{read_npy, write_npy};
use scatterc::optimise::Control;
use scatterc::pixels::{Affine, Descent, Measure, Term, minimise};
use scatterc::{Healpix, kernels::stencil::Pixels, random};

fn difference(a: &[f64], b: &[f64], where_: impl Fn(usize) -> bool) -> f64 {
    let kept: Vec<usize> = (0..a.len()).filter(|p| where_(*p)).collect();
    (kept.iter().map(|p| (a[*p] - b[*p]).powi(2)).sum::<f64>() / kept.len() as f64).sqrt()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected the path of a NESTED map, an .npy file")?;
    let (nside, steps) = (arguments.next().map_or(Ok(32), |t| t.parse::<usize>())?, arguments.next().map_or(Ok(60), |t| t.parse::<usize>())?);
    let folder = arguments.next();
    let fine: Vec<f64> = match read_npy::<_, ndarray::Array1<f32>>(&path) {
        Ok(map) => map.iter().map(|x| f64::from(*x)).collect(),
        Err(_) => read_npy::<_, ndarray::Array1<f64>>(&path)?.to_vec(),
    };
    let children = fine.len() / (12 * nside * nside);
    let truth: Vec<f64> = fine.chunks_exact(children).map(|c| c.iter().sum::<f64>() / children as f64).collect();
    let (n, domain, measure) = (truth.len(), Healpix::new(nside, 4, 3)?, Measure { threads: 1, ..Measure::new("foscat")? });
    let save = |name: &str, map: &[f64]| -> Result<(), ndarray_npy::WriteNpyError> {
        folder.as_ref().map_or(Ok(()), |folder| write_npy(format!("{folder}/{name}.npy"), &ndarray::Array1::from(map.to_vec())))
    };
    let descent = Descent { steps, ..Descent::default() };

    let level = 0.5;
    let noise = |member: usize| random::samples(n, 11, member).into_iter().map(|x| level * x).collect::<Vec<f64>>();
    let data: Vec<f64> = truth.iter().zip(noise(0)).map(|(s, n)| s + n).collect();
    let (target, sigma) = measure.measure(&domain, &[&data], None)?;
    let (rest, spread) = measure.measure(&domain, &[&noise(5)], None)?;
    let mut terms = vec![Term::new(&measure, &domain, vec![Affine { factor: -1.0, offset: Some(data.clone()) }], &rest, spread.as_ref(), None, 1.0)?];
    for i in 1..=4 {
        let input = Affine { factor: 1.0, offset: Some(noise(i)) };
        terms.push(Term::new(&measure, &domain, vec![input], &target, sigma.as_ref(), None, 0.25)?);
    }
    let (clean, outcome) = minimise(terms, &data.iter().map(|x| 0.9 * x).collect::<Vec<_>>(), None, &descent, &mut |_| Control::Continue)?;
    println!("denoising: loss {:.3} -> {:.3} in {} steps", outcome.history[0][0], outcome.values[0], outcome.iterations[0]);
    println!(
        "  root mean square difference from the truth: {:.4} before, {:.4} after",
        difference(&data, &truth, |_| true),
        difference(&clean, &truth, |_| true)
    );
    let plain = Measure { sigma: None, ..measure.clone() };
    let powers = |map: &[f64]| -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let (found, _) = plain.measure(&domain, &[map], None)?;
        Ok(found.get("S2").ok_or("the statistic has S2")?.re.chunks_exact(4).map(|l| l.iter().sum::<f64>() / 4.0).collect())
    };
    for (name, map) in [("truth", &truth), ("data", &data), ("denoised", &clean)] {
        println!("  power per scale, {name}: {}", powers(map)?.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(" "));
    }
    for (name, map) in [("truth", &truth), ("data", &data), ("denoised", &clean)] {
        save(name, map)?;
    }

    // A disc of half a radian about a point of middle latitude.
    let pixels = Pixels::new(nside)?;
    let hole: Vec<bool> = (0..n)
        .map(|p| {
            let (theta, phi) = pixels.centre(p);
            theta.cos() * 0.8f64.cos() + theta.sin() * 0.8f64.sin() * (phi - 1.0).cos() > 0.5f64.cos()
        })
        .collect();
    let mask: Vec<f64> = hole.iter().map(|hole| if *hole { 0.0 } else { 1.0 }).collect();
    let rms = (truth.iter().map(|x| x * x).sum::<f64>() / n as f64).sqrt();
    let start: Vec<f64> = truth.iter().zip(noise(9)).zip(&hole).map(|((x, n), hole)| if *hole { rms / level * n } else { *x }).collect();
    let (target, sigma) = measure.measure(&domain, &[&start], Some(&mask))?;
    let term = Term::new(&measure, &domain, vec![Affine::unknown()], &target, sigma.as_ref(), None, 1.0)?;
    let (filled, outcome) = minimise(vec![term], &start, Some(&hole), &descent, &mut |_| Control::Continue)?;
    let deviation = |map: &[f64]| {
        (map.iter().zip(&hole).filter(|(_, h)| **h).map(|(x, _)| x * x).sum::<f64>() / hole.iter().filter(|h| **h).count() as f64).sqrt()
    };
    println!("inpainting {} of {n} pixels: loss {:.3} -> {:.4}", hole.iter().filter(|h| **h).count(), outcome.history[0][0], outcome.values[0]);
    println!(
        "  root mean square in the hole: {:.3}, of the truth {:.3}; other pixels differ by {:e}",
        deviation(&filled),
        deviation(&truth),
        difference(&filled, &truth, |p| !hole[p])
    );
    save("hole", &start)?;
    save("filled", &filled)?;
    Ok(())
}
