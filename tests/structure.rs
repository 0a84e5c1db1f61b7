//! Every built-in statistic keeps its fusion and its values: the steps of its plans are those of `filetests/built_in.expect`, and no pass, left out, changes a number.
//!
//! A line of the file is `; expect fuse NAME GOAL { loop 3, gram 1 }`. Fusion that stops happening fails the first test though the numbers are right. Where a change is meant,
//! `SCATTERC_ACCEPT=1 cargo test --test structure` writes the file; read the difference before committing it.

#![allow(non_snake_case)]

mod support;

use scatterc::compiler::pass::PASSES;
use scatterc::statistics::BUILT_IN;
use scatterc::{Boundary, Compiler, Domain, Error, Goal, Healpix, InputKind, Plane, Pyramid, Source, Sphere, with_numbers};
use std::fmt::Write;
use support::*;

/// A small domain for a built-in statistic, and the numbers that it needs there.
fn domain(name: &str, source: &Source) -> Result<(Box<dyn Domain>, Vec<(&'static str, f64)>), Error> {
    let morlet = source.filter("morlet")?;
    let L = ("L", 2.0);
    Ok(match name {
        "s2scat" => (Box::new(Sphere::new(8, 2, 0, InputKind::Half)?), vec![]),
        "cheng" | "cheng_cross" => (Box::new(Plane::new(16, 18, 2, 2, &morlet, Boundary::Periodic, false)?), vec![]),
        "cheng_coefficients" => (Box::new(Plane::new(16, 18, 2, 2, &morlet, Boundary::Periodic, false)?), vec![L]),
        "cheng_harmonic" => (Box::new(Plane::new(16, 18, 2, 2, &morlet, Boundary::Periodic, false)?), vec![L, ("J", 2.0)]),
        "foscat" => (Box::new(Healpix::new(4, 2, 3)?), vec![L]),
        "foscat_cross" | "variances" => (Box::new(Healpix::new(4, 2, 3)?), vec![]),
        "foscat_median" => (Box::new(Healpix::new(2, 2, 3)?), vec![("n", 3.0)]),
        "foscat_oriented" => (Box::new(Healpix::new(2, 2, 3)?), vec![L]),
        "foscat_covariance" => (Box::new(Plane::new(16, 18, 2, 2, &source.filter("foscat_morlet")?, Boundary::Periodic, false)?), vec![L]),
        "foscat_covariance_cross" => (Box::new(Plane::new(16, 18, 2, 2, &source.filter("foscat_morlet")?, Boundary::Periodic, false)?), vec![]),
        "foscat_plane" => (Box::new(Pyramid::new(24, 26, 2, 2, 5, &source.filter("foscat_plane")?, Boundary::Reflect)?), vec![L]),
        "foscat_plane_cross" => (Box::new(Pyramid::new(24, 26, 2, 2, 5, &source.filter("foscat_plane")?, Boundary::Reflect)?), vec![]),
        "kymatio1d" => (Box::new(Plane::cascade(40, 3, 8, &with_numbers(&source.filter("kymatio1d")?, &[("Q1".into(), 2.0)])?)?), vec![]),
        "kymatio2d" => (Box::new(Plane::new(16, 19, 2, 2, &source.filter("kymatio2d")?, Boundary::Reflect, false)?), vec![]),
        "spectra" => (Box::new(Plane::line(24, 2, 1, &source.filter("battle_lemarie")?, Boundary::Symmetric)?), vec![]),
        "wph" => (Box::new(Plane::new(16, 16, 2, 2, &source.filter("phase_harmonics")?, Boundary::Periodic, false)?), vec![("J", 2.0), ("dn", 1.0)]),
        other => panic!("`{other}` has no domain here: add one"),
    })
}

fn compiler<'a>(source: &'a Source, domain: &'a dyn Domain, numbers: &[(&str, f64)]) -> Compiler<'a> {
    numbers.iter().fold(Compiler::new(source, domain).threads(1).cache(cache()), |compiler, (name, value)| compiler.number(name, *value))
}

#[test]
fn fusion_of_every_built_in_statistic_is_pinned() -> Result<(), Error> {
    let path = root().join("tests/filetests/built_in.expect");
    let mut found = String::from("; Steps of the plans of the built-in statistics on the small domains of tests/structure.rs.\n");
    for (name, _) in BUILT_IN {
        let source = Source::find(name)?;
        let (domain, numbers) = domain(name, &source)?;
        for (what, goal) in [("values", Goal::Statistics), ("gradient", Goal::VectorJacobian)] {
            let counts = step_counts(compiler(&source, &*domain, &numbers).goal(goal).compile()?.plan());
            let counts: Vec<String> = counts.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
            let _ = writeln!(found, "; expect fuse {name} {what} {{ {} }}", counts.join(", "));
        }
    }
    if std::env::var_os("SCATTERC_ACCEPT").is_some() {
        std::fs::write(&path, &found).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (a, b) in found.lines().zip(expected.lines()) {
        assert_eq!(a, b, "found, expected");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{}: one line per statistic and goal", path.display());
    Ok(())
}

#[test]
fn no_pass_changes_a_value_of_a_built_in_statistic() -> Result<(), Error> {
    for (name, _) in BUILT_IN {
        let source = Source::find(name)?;
        let (domain, numbers) = domain(name, &source)?;
        let compiler = compiler(&source, &*domain, &numbers);
        let whole = compiler.compile()?;
        let inputs = given(&whole.graph);
        let expected = on_reference(&whole.bound.graph, &inputs);
        // Medians are found step by step, which multiplies rounding.
        let tolerance = if *name == "foscat_median" { 1e-10 } else { 1e-12 };
        assert_equal(&on_cpu(whole.plan(), 1, &inputs), &expected, tolerance, name);
        for pass in PASSES {
            let without = compiler.clone().disable(&[pass.name.to_string()]).compile()?;
            assert_equal(&on_cpu(without.plan(), 1, &inputs), &expected, tolerance, &format!("{name} without {}", pass.name));
        }
    }
    Ok(())
}
