//! Statistics on HEALPix pixels: the compiled plan against the reference device, whatever is fused, left out or threaded; gradients against differences; what is refused.

#![allow(non_snake_case)]

use scatterc::optimise::Control;
use scatterc::pixels::{self, Affine, Descent, Measure, Options, PixelError, Term};
use scatterc::runtime::reference;
use scatterc::{Compiler, Device, Element, Error, Fusion, Goal, Healpix, Source, random};

type Outcome = Result<(), PixelError>;

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1e-300, |m, x| x.abs().max(m))
}

fn near(found: &[(String, Vec<f64>)], expected: &[(String, Vec<f64>)], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, a), (other, b)) in found.iter().zip(expected) {
        assert_eq!((name, a.len()), (other, b.len()), "{what}");
        let error = a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest(b);
        assert!(error <= tolerance, "{what}: {name}: {error:e}");
    }
}

/// Domains of every kind: sizes of stencils, even and odd numbers of orientations, patches, masks, a batch.
fn domains() -> Result<Vec<(Healpix, Option<usize>)>, Error> {
    let cells: Vec<usize> = (20..150).filter(|p| p % 5 != 2).collect();
    Ok(vec![
        (Healpix::new(4, 2, 3)?, None),
        (Healpix::new(2, 3, 5)?, None),
        (Healpix::new(4, 4, 3)?.scales_kept(2)?, Some(2)),
        (Healpix::new(2, 2, 3)?.mask(None), Some(2)),
        (Healpix::new(4, 2, 3)?.scales_kept(2)?.mask(Some(0.4)), None),
        (Healpix::patch(4, 2, 3, &cells)?, None),
        (Healpix::new(4, 2, 3)?.scales_kept(2)?.masks(2, None)?, Some(2)),
        (Healpix::new(2, 2, 3)?.spin(2)?.masks(3, None)?, None),
    ])
}

#[test]
fn plans_equal_the_reference_whatever_is_left_out() -> Result<(), Error> {
    let mut cases: Vec<(&str, Healpix, Option<usize>)> = domains()?.into_iter().map(|(domain, batch)| ("foscat", domain, batch)).collect();
    cases.push(("foscat_oriented", Healpix::new(2, 3, 3)?, None));
    cases.push(("foscat_median", Healpix::new(2, 2, 3)?.masks(2, None)?, None));
    cases.push(("foscat_median", Healpix::new(2, 2, 3)?, Some(2)));
    for (name, domain, batch) in cases {
        let source = Source::find(name)?;
        for goal in [Goal::Statistics, Goal::Gradient("l2".into())] {
            let sized = |compiler| if name == "foscat_median" { Compiler::number(compiler, "n", 2.0) } else { compiler.number("L", domain.L as f64) };
            let compiler = || sized(Compiler::new(&source, &domain)).batch(batch).threads(1).goal(goal.clone());
            let off = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
            let plain = compiler().disable(&off(&["share", "fold", "products", "prune"])).fusion(Fusion::None).compile()?;
            let inputs: Vec<(String, Vec<f64>)> = plain
                .plan()
                .inputs
                .iter()
                .enumerate()
                .map(|(k, port)| {
                    let values = random::samples(port.ty.len(), 7, k);
                    // Masks are weights, of which a part is zero.
                    let values = if port.name == "mask" { values.into_iter().map(|x| x.max(0.0)).collect() } else { values };
                    (port.name.clone(), values)
                })
                .collect();
            let given: Vec<(&str, &[f64])> = inputs.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
            let expected = reference::run(&plain.graph, &given)?;
            let what = format!("{name} {} {goal:?}", scatterc::Domain::describe(&domain));
            for (compiler, fused, threads) in [
                (compiler().disable(&off(&["share", "fold", "products", "prune"])).fusion(Fusion::None), "nothing", 1),
                (compiler().fusion(Fusion::Loops), "loops", 1),
                (compiler().disable(&off(&["products"])), "all but products", 1),
                (compiler(), "all", 1),
                (compiler().device(Device::EmulatedCuda(Element::F64)), "cuda", 1),
            ] {
                let found = compiler.compile()?.load(threads, None)?.run(&given)?;
                near(&found, &expected, if name == "foscat_median" { 1e-11 } else { 1e-12 }, &format!("{what} {fused}"));
            }
            let found = compiler().device(Device::Cpu(Element::F32)).compile()?.load(1, None)?.run(&given)?;
            near(&found, &expected, if goal == Goal::Statistics { 1e-4 } else { 1e-3 }, &format!("{what} f32"));
            let one = compiler().compile()?.load(1, None)?.run(&given)?;
            let three = compiler().compile()?.load(3, None)?.run(&given)?;
            assert_eq!(one, three, "{what}: the number of threads changes bits");
        }
    }
    Ok(())
}

#[test]
fn a_level_has_one_gram_and_moduli_share_their_stencils() -> Result<(), Error> {
    let (source, domain) = (Source::find("foscat")?, Healpix::new(8, 4, 3)?);
    let compiled = Compiler::new(&source, &domain).threads(1).compile()?;
    let count = |word: &str| compiled.scheduled.launches.iter().filter(|l| l.summary.starts_with(word)).count();
    // Per scale one stencil of the field, one of all moduli and one Gram matrix of all orientations; per change of scale one of the field and one of all moduli.
    assert_eq!((domain.J, count("stencil"), count("gram"), count("downgrade")), (4, 8, 4, 6));
    Ok(())
}

/// Gradients through the steps of a median, and through turned wavelets of a map whose structure is given.
#[test]
fn gradients_of_medians_and_of_turned_wavelets_are_those_of_their_values() -> Outcome {
    let domain = Healpix::new(2, 4, 3)?;
    let n = domain.len();
    let (x, y, direction) = (random::samples(n, 1, 0), random::samples(n, 1, 1), random::samples(n, 1, 2));
    for name in ["foscat_median", "foscat_oriented"] {
        let source = Source::find(name)?;
        let mut compiler = Compiler::new(&source, &domain).threads(1);
        if name == "foscat_median" {
            // Few steps: later ones come close to samples, where a difference of values tells nothing.
            compiler = compiler.number("n", 2.0).number("t", 0.0);
        }
        let fields = |x: &[f64]| if name == "foscat_median" { vec![x.to_vec()] } else { vec![x.to_vec(), y.clone()] };
        let maps = fields(&y);
        let target = compiler.encoder()?.encode_fields(&maps.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let (_, mut executable) = compiler.clone().goal(Goal::Gradient("l2".into())).executable()?;
        let targets = scatterc::sensitivity::parameter_arrays("T", &target);
        let mut evaluate = |x: &[f64]| -> Result<(f64, Vec<f64>), Error> {
            let maps = fields(x);
            let mut given: Vec<(&str, &[f64])> = ["x", "y"].into_iter().zip(maps.iter().map(Vec::as_slice)).collect();
            given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
            let results = executable.run(&given)?;
            let find = |wanted: &str| results.iter().find(|(name, _)| name == wanted).map(|(_, values)| values.clone()).unwrap_or_default();
            Ok((find("value")[0], find("gradient.x")))
        };
        let (_, gradient) = evaluate(&x)?;
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let step = 1e-6;
        let moved = |by: f64| x.iter().zip(&direction).map(|(x, d)| x + by * d).collect::<Vec<f64>>();
        let difference = (evaluate(&moved(step))?.0 - evaluate(&moved(-step))?.0) / (2.0 * step);
        assert!((slope - difference).abs() < 1e-5 * slope.abs(), "{name}: {slope} against {difference}");
    }
    Ok(())
}

fn measure(sigma: Option<&str>) -> Result<Measure, Error> {
    Ok(Measure { sigma: sigma.map(str::to_string), threads: 1, ..Measure::new("foscat")? })
}

#[test]
fn gradients_of_sums_of_terms_are_those_of_their_values() -> Outcome {
    let domain = Healpix::new(4, 2, 3)?;
    let n = domain.len();
    let (measure, u, noise) = (measure(Some("sigma"))?, random::samples(n, 1, 0), random::samples(n, 1, 1));
    let (target, sigma) = measure.measure(&domain, &[&random::samples(n, 1, 2)], None)?;
    let inputs = [Affine::unknown(), Affine { factor: -0.5, offset: Some(noise) }];
    let mut terms = inputs
        .into_iter()
        .map(|input| Term::new(&measure, &domain, vec![input], &target, sigma.as_ref(), None, 0.7))
        .collect::<Result<Vec<_>, _>>()?;
    let mut evaluate = |u: &[f64]| -> Result<(f64, Vec<f64>), Error> {
        let mut gradient = vec![0.0; n];
        let mut value = 0.0;
        for term in &mut terms {
            value += term.evaluate(u, &mut gradient)?;
        }
        Ok((value, gradient))
    };
    let (_, gradient) = evaluate(&u)?;
    let direction = random::samples(n, 1, 3);
    let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
    let step = 1e-5;
    let moved = |by: f64| u.iter().zip(&direction).map(|(u, d)| u + by * d).collect::<Vec<f64>>();
    let difference = (evaluate(&moved(step))?.0 - evaluate(&moved(-step))?.0) / (2.0 * step);
    assert!((slope - difference).abs() < 1e-6 * slope.abs(), "{slope} against {difference}");
    Ok(())
}

#[test]
fn inpainting_keeps_given_pixels_and_masked_ones_do_not_count() -> Outcome {
    let domain = Healpix::new(4, 2, 3)?;
    let n = domain.len();
    let target = random::samples(n, 3, 0);
    let free: Vec<bool> = (0..n).map(|p| p % 3 == 0).collect();
    let descent = Descent { steps: 5, ..Descent::default() };
    for (levels, gaussianise) in [(1, false), (2, false), (1, true)] {
        let options = Options { free: Some(free.clone()), levels, gaussianise, descent: descent.clone(), ..Options::default() };
        let made = pixels::synthesise(&measure(Some("sigma"))?, &domain, &target, &options, &mut |_| Control::Continue)?;
        assert_eq!(made.levels.len(), levels);
        for p in 0..n {
            assert_eq!(made.map[p].to_bits() == target[p].to_bits(), !free[p], "pixel {p}");
        }
        for level in &made.levels {
            assert!(level.outcome.values[0] < level.outcome.history[0][0]);
        }
    }
    // A mean weighted by a mask does not see what the mask hides.
    let mask: Vec<f64> = (0..n).map(|p| if p < n / 2 { 1.0 } else { 0.0 }).collect();
    let (found, _) = measure(None)?.measure(&domain, &[&target], Some(&mask))?;
    let expected = target[..n / 2].iter().sum::<f64>() / (n / 2) as f64;
    assert!((found.get("S0").expect("an output").re[0] - expected).abs() < 1e-14);
    Ok(())
}

#[test]
fn pairs_of_maps_with_spin_are_synthesised_alone_and_beside_a_second_pair() -> Outcome {
    let domain = Healpix::new(4, 2, 3)?.spin(2)?;
    let n = domain.len();
    let (target, second) = (random::samples(2 * n, 1, 0), random::samples(2 * n, 2, 0));
    let free: Vec<bool> = (0..n).map(|p| p % 3 != 0).collect();
    for (statistic, second) in [("foscat", None), ("foscat_cross", Some(second))] {
        let measure = Measure { sigma: None, threads: 1, ..Measure::new(statistic)? };
        let descent = Descent { steps: 25, ..Descent::default() };
        let options = Options { free: Some(free.clone()), second, descent, seed: 3, ..Options::default() };
        let made = pixels::synthesise(&measure, &domain, &target, &options, &mut |_| Control::Continue)?;
        let outcome = &made.levels[0].outcome;
        let (first, last) = (outcome.history[0][0], outcome.values[0]);
        assert!(last < 0.05 * first, "{statistic}: {first} -> {last}");
        assert_eq!((made.map.len(), made.start.len()), (2 * n, 2 * n));
        assert!(
            made.map.iter().zip(&target).enumerate().all(|(p, (x, own))| (x == own) != free[p % n]),
            "{statistic}: pixels that are not free keep their bits"
        );
    }
    let refused = Options { levels: 2, ..Options::default() };
    let refused = pixels::synthesise(&Measure::new("foscat")?, &domain, &target, &refused, &mut |_| Control::Continue).expect_err("two levels");
    assert_eq!(
        refused.to_string(),
        "a descent from coarse to fine is not available for maps with spin 2; expected a synthesis on the pixels of one resolution"
    );
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_by_name() -> Outcome {
    let message = |result: Result<Healpix, scatterc::compiler::domain::DomainError>| result.expect_err("refused").to_string();
    assert_eq!(message(Healpix::new(8, 4, 4)), "`kernel` is 4, expected 3, 5 or 7, the sides of the stencil");
    assert_eq!(message(Healpix::new(12, 4, 3)), "`nside` is 12, expected a power of two from 1 to 2048");
    assert_eq!(message(Healpix::new(8, 0, 3)), "`orientations` is 0, expected from 1 to 32");
    assert_eq!(message(Healpix::new(8, 4, 3)?.scales_kept(5)), "`scales` is 5, expected from 1 to 4");
    let cells: Vec<usize> = (0..40).rev().collect();
    assert!(message(Healpix::patch(8, 4, 3, &cells)).contains("in ascending order, found 39 then 38"));
    assert!(message(Healpix::patch(8, 4, 3, &[3; 20])).contains("pixel numbers once, found 3 then 3"));
    assert!(message(Healpix::patch(8, 4, 3, &[1, 2, 3])).contains("at least 16"));
    assert_eq!(message(Healpix::new(8, 4, 3)?.masks(0, None)), "`masks` is 0, expected from 1 to 64");
    assert_eq!(message(Healpix::new(8, 4, 3)?.spin(3)), "`spin` is 3, expected 1 or 2");
    assert_eq!(message(Healpix::new(128, 4, 3)?.spin(2)), "`nside` is 128, expected at most 64 with spin");
    assert_eq!(message(Healpix::patch(8, 4, 3, &(0..40).collect::<Vec<_>>())?.spin(2)), "`spin` is 2 on a patch, expected the whole sphere");
    let source = Source::from_text("statistic wrong(x) { D[j] = lowpass(x, j) - mean(x); return D; }", "wrong")?;
    let refused = Compiler::new(&source, &Healpix::new(2, 2, 3)?.masks(2, None)?).compile().map(|_| ()).expect_err("numbers per mask").to_string();
    assert!(refused.contains("differs between 2 masks"), "{refused}");
    for (text, words) in [
        ("statistic wrong(x) { S = median(x, 0, 1); return S; }", "a whole number of steps from 1 to 400, found 0"),
        ("statistic wrong(x) { S = median(x, 2, 0 - 1); return S; }", "a tolerance from 0 on, found -1"),
        ("statistic wrong(x) { S = median(x, mean(x), 1); return S; }", "a number known when the statistic is bound"),
    ] {
        let source = Source::from_text(text, "wrong")?;
        let refused = Compiler::new(&source, &Healpix::new(2, 2, 3)?).compile().map(|_| ()).expect_err("no such median").to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let domain = Healpix::new(8, 2, 3)?.mask(Some(0.9));
    let lonely: Vec<f64> = (0..domain.len()).map(|p| if p == 77 { 1.0 } else { 0.0 }).collect();
    let refused = pixels::check_mask(&domain, &lonely).expect_err("nothing exceeds the threshold").to_string();
    assert!(refused.starts_with("the mask is empty at scale 1 (nside 4)"), "{refused}");
    let refused = pixels::check_mask(&domain, &vec![-1.0; domain.len()]).expect_err("negative").to_string();
    assert_eq!(refused, "the mask has -1 at pixel 0; expected weights from 0 on");
    let options = Options { levels: 5, ..Options::default() };
    let target = random::samples(domain.len(), 1, 0);
    let refused = pixels::synthesise(&measure(None)?, &Healpix::new(8, 2, 3)?, &target, &options, &mut |_| Control::Continue);
    assert_eq!(refused.expect_err("too many").to_string(), "5 levels are asked for, expected from 1 to 4");
    let source = Source::from_text(
        "statistic wrong(x) { W[j, l] = wavelet(x, j, l); S[i, j, k, l] = mean(abs(wavelet(abs(W[i, k]), j, l))); return S; }",
        "wrong",
    )?;
    let refused = Compiler::new(&source, &domain).compile().map(|_| ()).expect_err("finer filters of coarser fields").to_string();
    assert!(refused.contains("has no samples at scale 0"), "{refused}");
    Ok(())
}
