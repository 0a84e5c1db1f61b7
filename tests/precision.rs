//! Precision from a target error: what a probe measures is what other fields have, and it chooses as it says.

#![allow(non_snake_case)]

use scatterc::precision::{check, probe};
use scatterc::{Boundary, Compiler, Device, Domain, Element, Error, Goal, Healpix, InputKind, Plane, Source, Sphere, random};

#[test]
fn probes_measure_the_error_of_single_precision() -> Result<(), Error> {
    let text = "statistic s(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); H[j, g] = mean(harmonic(W[j, g], 2) * conj(W[j, g])); return S, H; }";
    let source = Source::from_text(text, "s")?;
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let healpix = Healpix::new(4, 2, 3)?;
    let plane = Plane::new(16, 18, 2, 2, &source.filter("morlet")?, Boundary::Periodic, false)?;
    let fields = [random::white(8, 5, 0), random::samples(192, 5, 0), random::samples(16 * 18, 5, 0)];
    for (domain, field) in [&sphere as &dyn Domain, &healpix, &plane].into_iter().zip(&fields) {
        let compiler = Compiler::new(&source, domain).threads(1);
        let device = Device::default();
        let found = probe(&compiler, device, 1e-3)?;
        let names: Vec<&str> = found.errors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["S", "H"], "both parts of a complex output are one");
        // Rounding of single precision, 6e-8, times what sums and transforms make of it.
        assert!(found.errors.iter().all(|(_, e)| (1e-9..1e-4).contains(e)), "{}: {found}", domain.describe());
        assert_eq!(found.element, Element::F32);
        // A target between the errors of two precisions; the largest error decides.
        for (target, element) in [(found.largest() * 1.01, Element::F32), (found.largest() * 0.99, Element::F64)] {
            let compiled = compiler.clone().within(target).compile()?;
            assert_eq!(compiled.plan().element, element, "{}: {target:e}", domain.describe());
            assert_eq!(compiled.plan().note("precision"), Some(probe(&compiler, device, target)?.to_string().as_str()));
        }
        // Another white field has errors of the same size.
        let run = |element: Element| compiler.clone().device(device.with(element)).encoder()?.encode(field);
        let (double, single) = (run(Element::F64)?, run(Element::F32)?);
        for (a, b) in double.arrays.iter().zip(&single.arrays) {
            let parts = |s: &scatterc::Array| s.re.iter().chain(s.im.iter().flatten()).copied().collect::<Vec<f64>>();
            let (a, b) = (parts(a), parts(b));
            let (difference, largest) = a.iter().zip(&b).fold((0.0f64, 0.0f64), |(d, m), (x, y)| (d.max((x - y).abs()), m.max(x.abs())));
            assert!(difference <= 30.0 * found.largest() * largest, "{}: {difference:e} of {largest:e}, the probe has {found}", domain.describe());
        }
    }
    Ok(())
}

#[test]
fn gradients_batches_and_numbers_that_overflow_are_probed_too() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    let compiler = Compiler::new(&source, &sphere).threads(1).goal(Goal::Gradient("l2".into()));
    let found = probe(&compiler.clone().batch(Some(2)), Device::default(), 1e-2)?;
    let names: Vec<&str> = found.errors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, found.element), (vec!["value", "gradient.x"], Element::F32));
    // 1e60 is no number of single precision.
    let large = Source::from_text("statistic large(x) { S = power(x) * 1e60; return S; }", "large")?;
    let compiler = Compiler::new(&large, &sphere).threads(1);
    let found = probe(&compiler, Device::default(), 0.5)?;
    assert!(found.element == Element::F64 && found.largest() == f64::INFINITY, "{found}");
    assert_eq!(compiler.within(0.5).compile()?.plan().element, Element::F64);
    Ok(())
}

#[test]
fn targets_out_of_range_are_refused() {
    let source = Source::find("s2scat").expect("built in");
    let sphere = Sphere::new(8, 1, 0, InputKind::Half).expect("a sphere");
    for target in [0.0, -1.0, 1.0, 1e-13, f64::NAN, f64::INFINITY] {
        assert!(check(target).is_err());
        let error = Compiler::new(&source, &sphere).within(target).compile().expect_err("refused");
        assert!(matches!(&error, Error::Option { .. }), "{error}");
        assert!(
            error.to_string().starts_with("the target error is ") && error.to_string().contains("expected a number from 1e-12 to below 1"),
            "{error}"
        );
    }
    assert!(check(1e-12).is_ok() && check(0.999).is_ok());
}
