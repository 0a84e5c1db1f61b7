//! Every recorded gradient of S2SCAT's loss: value within 1e-10, gradient within 1e-9 of the array maximum (JAX's convention, dL/dRe - i dL/dIm).

mod common;

use common::cases;
use scatterc::{Compiler, Error, Goal, InputKind, Source, Sphere};

#[test]
fn gradients_equal_s2scat() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let mut count = 0;
    for case in cases(256) {
        if !case.has("grad") {
            continue;
        }
        let input = if case.real { InputKind::Half } else { InputKind::Full };
        let sphere = Sphere::new(case.L, case.N, case.J_min, input)?;
        let normed = case.has(&format!("grad_norm_{}", case.J_min));
        // The recorded targets tell whether the loss was that of the isotropic statistics.
        let isotropic = case.real_array("grad_target_C01").len() < case.real_array("C01").len();
        let mut compiler = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).variant(isotropic.then_some("isotropic"));
        if normed {
            compiler = compiler.array("P");
        }
        let (_, mut executable) = compiler.executable()?;
        let start = case.array("grad_start_flm");
        let norm: Vec<f64> = if normed { (case.J_min..=sphere.J()).flat_map(|j| case.array(&format!("grad_norm_{j}"))).collect() } else { vec![] };
        let targets: Vec<(String, Vec<f64>)> = [("mean", "mean"), ("variance", "var"), ("S1", "S1"), ("S2", "P00"), ("S3", "C01"), ("S4", "C11")]
            .iter()
            .map(|(ours, theirs)| (format!("T.{ours}"), case.real_array(&format!("grad_target_{theirs}"))))
            .collect();
        let mut given: Vec<(&str, &[f64])> = vec![("x", &start)];
        if normed {
            given.push(("P", &norm));
        }
        given.extend(targets.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let results = executable.run(&given)?;
        let value = results[0].1[0];
        let expected = case.real_array("grad_loss")[0];
        assert!((value - expected).abs() <= 1e-10 * expected.abs(), "{}: loss {value} expected {expected}", case.name);
        let expected = case.array("grad");
        let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let worst = results[1].1.iter().zip(&expected).enumerate().map(|(k, (x, y))| {
            let jax = if k % 2 == 1 { -x } else { *x };
            (jax - y).abs() / scale
        });
        let worst = worst.fold(0.0, f64::max);
        println!("{}: gradient error {worst:.1e}", case.name);
        assert!(worst <= 1e-9, "{}: gradient error {worst:e}", case.name);
        count += 1;
    }
    assert!(count > 0, "no golden gradient found");
    Ok(())
}

#[test]
fn value_and_gradient_cost_at_most_three_times_the_forward_pass() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    for (L, J_min) in [(32, 0), (64, 0), (64, 2), (128, 0)] {
        let sphere = Sphere::new(L, 3, J_min, InputKind::Half)?;
        let flops = |goal| -> Result<f64, Error> {
            Ok(Compiler::new(&source, &sphere).goal(goal).compile()?.scheduled.launches.iter().map(|l| l.flops).sum())
        };
        let (forward, gradient) = (flops(Goal::Statistics)?, flops(Goal::Gradient("l2".into()))?);
        println!("L={L} J_min={J_min}: {:.1} and {:.1} MFLOP, ratio {:.2}", forward * 1e-6, gradient * 1e-6, gradient / forward);
        assert!(gradient <= 3.0 * forward, "L={L}: ratio {}", gradient / forward);
    }
    Ok(())
}
