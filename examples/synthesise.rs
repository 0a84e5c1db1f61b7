//! Two new fields with the scattering covariances of a target, and how close they come.
//!
//! ```text
//! cargo run --release --example synthesise
//! ```

use scatterc::optimise::Control;
use scatterc::synthesis::{Generator, Options, SynthesisError, validation_table};
use scatterc::{InputKind, Source, Sphere, random};

fn main() -> Result<(), SynthesisError> {
    // A stand-in for a map: red noise whose coefficients were made intermittent.
    let L = 32;
    let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.5)).collect();
    let mut target = random::gaussian_with_spectrum(L, &spectrum, 1, 0);
    target.iter_mut().skip(8 * L).step_by(3).for_each(|x| *x *= 1.8);
    for ell in 0..L {
        target[2 * ell * L + 1] = 0.0;
    }

    let sphere = Sphere::new(L, 3, 1, InputKind::Half)?;
    // Summed over directions, the statistics are fewer than the coefficients and can be matched closely.
    let options = Options { count: 2, seed: 7, steps: 200, variant: Some("isotropic".into()), ..Options::default() };
    let mut generator = Generator::new(&Source::find("s2scat")?, &sphere, &target, options)?;
    let synthesis = generator.generate(&mut |progress| {
        if progress.iteration.is_multiple_of(20) {
            println!("step {:4}: losses {:.3e}", progress.iteration, progress.values.iter().copied().fold(0.0, f64::max));
        }
        Control::Continue
    })?;
    print!("{}", validation_table(&generator.validate(&synthesis)?));
    Ok(())
}
