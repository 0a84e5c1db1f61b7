//! Optimises the pixels of a map, not its coefficients: samples on the Gauss-Legendre grid that take on the statistics of a target map.
//!
//! ```text
//! cargo run --release --example pixels
//! ```

use scatterc::optimise::{Control, Lbfgs, Method, ObjectiveError, Options, minimise};
use scatterc::sensitivity::LossGradient;
use scatterc::{Compiler, InputKind, Source, Sphere, random, synthesis};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let L = 32;
    let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.5)).collect();
    let map = |seed| synthesis::grid(L, &random::gaussian_with_spectrum(L, &spectrum, seed, 0));
    // A log-normal target: exponentiated Gaussian noise.
    let target: Vec<f64> = map(1)?.iter().map(|x| (2.0 * x).exp()).collect();

    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(L, 3, 2, InputKind::Grid)?;
    let compiler = Compiler::new(&source, &sphere).variant(Some("isotropic"));
    let mut gradient = LossGradient::new(&compiler, "l2")?;
    gradient.set_target(&compiler.encoder()?.encode(&target)?)?;

    let mut objective = |pixels: &[f64], g: &mut [f64]| -> Result<f64, ObjectiveError> {
        let (values, gradients) = gradient.value_and_gradient(pixels)?;
        g.copy_from_slice(&gradients);
        Ok(values[0])
    };
    let options = Options { max_steps: 100, ..Options::default() };
    let outcome = minimise(&Method::Lbfgs(Lbfgs::default()), map(2)?, 1, &mut objective, &options, &mut |_| Control::Continue)?;
    let (start, end) = (outcome.history[0][0], outcome.values[0]);
    println!("{} pixels, {} rounds of evaluations: loss {start:.3e} -> {end:.3e}", outcome.x.len(), outcome.rounds);
    if end > 0.01 * start {
        return Err(format!("the loss fell only from {start} to {end}").into());
    }
    Ok(())
}
