//! Recorded runs of FOSCAT 2026.6.1 on HEALPix maps: statistics, masks, patches, cross statistics, angular reductions, sigmas, gradients, start points of L-BFGS.
//!
//! Tolerances: 1e-11 of each array's maximum for statistics, 1e-10 for sigmas of complex coefficients, 1e-9 for gradients.

#![allow(non_snake_case)]

mod foscat;

use foscat::*;
use scatterc::gaussian::Gaussianised;
use scatterc::optimise::{Control, Lbfgs, Method};
use scatterc::pixels::{self, Affine, Measure, PixelError, Term};
use scatterc::sensitivity::LossGradient;
use scatterc::{Compiler, Encoder, Error, Healpix, Source, Statistics};

type Outcome = Result<(), Error>;

fn encoder(statistic: &str, domain: &Healpix, variant: Option<&str>) -> Result<Encoder, Error> {
    let source = Source::find(statistic)?;
    let compiler = Compiler::new(&source, domain).variant(variant).threads(1);
    if statistic == "foscat" { compiler.number("L", domain.L as f64).encoder() } else { compiler.encoder() }
}

/// What a recorded case was run with.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    nside: usize,
    K: usize,
    L: usize,
    J: Option<usize>,
    threshold: Option<f64>,
}

const fn full(name: &'static str, nside: usize, K: usize) -> Setting {
    Setting { name, nside, K, L: 4, J: None, threshold: None }
}

impl Setting {
    fn domain(&self, case: &Case) -> Result<Healpix, Error> {
        let mut domain = if case.has("cell_ids") {
            let cells: Vec<usize> = case.real("cell_ids").into_iter().map(|x| x as usize).collect();
            Healpix::patch(self.nside, self.L, self.K, &cells)?
        } else {
            Healpix::new(self.nside, self.L, self.K)?
        };
        if let Some(J) = self.J {
            domain = domain.scales_kept(J)?;
        }
        Ok(if case.has("mask") { domain.mask(self.threshold) } else { domain })
    }
}

const CASES: [Setting; 27] = [
    full("hpx_n8_k3_lss", 8, 3),
    full("hpx_n8_k3_rand", 8, 3),
    full("hpx_n8_k5_lss", 8, 5),
    full("hpx_n8_k5_rand", 8, 5),
    full("hpx_n8_k7", 8, 7),
    full("hpx_n16_k3_lss", 16, 3),
    full("hpx_n16_k3_rand", 16, 3),
    full("hpx_n16_k5_lss", 16, 5),
    full("hpx_n16_k5_rand", 16, 5),
    full("hpx_n32_k3_lss", 32, 3),
    full("hpx_n32_k3_rand", 32, 3),
    full("hpx_n32_k5_lss", 32, 5),
    full("hpx_n32_k5_rand", 32, 5),
    Setting { L: 2, ..full("hpx_n8_k3_L2", 8, 3) },
    Setting { L: 6, ..full("hpx_n8_k3_L6", 8, 3) },
    Setting { J: Some(2), ..full("hpx_n16_k5_jmax2", 16, 5) },
    Setting { J: Some(3), ..full("hpx_n32_k3_jmax3", 32, 3) },
    full("hpx_n16_k3_mask", 16, 3),
    full("hpx_n16_k5_mask", 16, 5),
    Setting { J: Some(3), threshold: Some(0.3), ..full("hpx_n8_k3_maskthres", 8, 3) },
    full("hpx_n32_k3_local", 32, 3),
    full("hpx_n32_k3_local_mask", 32, 3),
    full("hpx_n32_k5_local", 32, 5),
    full("hpx_n16_k3_cross", 16, 3),
    full("hpx_n8_k5_cross_mask", 8, 5),
    full("hpx_n16_k3_ang", 16, 3),
    full("hpx_n16_k3_ang_cross", 16, 3),
];

/// Statistics of one map and mask, FOSCAT's S0 being a mean and its standard error.
fn statistics(encoder: &mut Encoder, fields: &[&[f64]], mask: Option<&[f64]>) -> Result<Statistics, Error> {
    if let Some(mask) = mask {
        encoder.set("mask", mask)?;
    }
    encoder.encode_fields(fields)
}

#[test]
fn statistics_and_sigmas_equal_the_recorded_ones() -> Outcome {
    for setting in CASES {
        let Some(case) = case(setting.name) else { continue };
        let domain = setting.domain(&case)?;
        let x = case.array("x");
        let n = domain.len();
        assert_eq!(x.values.len() % n, 0, "{}: {:?}", setting.name, x.shape);
        let maps = x.values.len() / n;
        let cross = case.has("image2");
        let name = if cross { "foscat_cross" } else { "foscat" };
        let second = if cross { case.real("image2") } else { vec![] };
        let x = case.real("x");
        let masks = if case.has("mask") { case.real("mask") } else { vec![] };
        let n_masks = (masks.len() / n).max(1);
        let mut worst = [0.0f64; 2];
        for (variant, prefix, kind, tolerance) in [(None, "f64_", 0, 1e-11), (Some("sigma_compatible"), "f64_sigma_", 1, 1e-10)] {
            let mut encoder = encoder(name, &domain, variant)?;
            for map in 0..maps {
                for m in 0..n_masks {
                    let mut fields = vec![&x[map * n..][..n]];
                    if cross {
                        fields.push(&second[map * n..][..n]);
                    }
                    let found = statistics(&mut encoder, &fields, masks.get(m * n..(m + 1) * n))?;
                    for what in ["S0", "S1", "S2", "S3", "S3P", "S4"] {
                        let key = format!("{prefix}{what}");
                        if !case.has(&key) {
                            continue;
                        }
                        let expected = case.array(&key);
                        let block = expected.values.len() / (maps * n_masks);
                        let expected = &expected.values[(map * n_masks + m) * block..][..block];
                        let ours = if what == "S0" && kind == 0 {
                            [entries(output(&found, "S0")), entries(output(&found, "S0e"))].concat()
                        } else if what == "S0" {
                            entries(output(&found, "S0")).repeat(2)
                        } else {
                            entries(output(&found, what))
                        };
                        worst[kind] = worst[kind].max(difference(&ours, expected, tolerance, &format!("{} {key} map {map} mask {m}", setting.name)));
                    }
                }
            }
        }
        println!("{}: {:.1e}, sigma {:.1e}", setting.name, worst[0], worst[1]);
    }
    Ok(())
}

/// Entries of a variant whose outputs make up the last axis of a recorded array, in this order.
fn stacked(found: &[&Statistics], names: &[(usize, String)]) -> Vec<(f64, f64)> {
    let parts: Vec<Vec<(f64, f64)>> = names.iter().map(|(k, name)| entries(output(found[*k], name))).collect();
    (0..parts[0].len()).flat_map(|i| parts.iter().map(move |part| part[i])).collect()
}

#[test]
fn angular_reductions_equal_the_recorded_ones() -> Outcome {
    let domain = Healpix::new(16, 4, 3)?;
    for (name, statistic) in [("hpx_n16_k3_ang", "foscat"), ("hpx_n16_k3_ang_cross", "foscat_cross")] {
        let Some(case) = case(name) else { continue };
        let x = case.real("x");
        let second = if case.has("image2") { case.real("image2") } else { vec![] };
        let fields: Vec<&[f64]> = if second.is_empty() { vec![&x] } else { vec![&x, &second] };
        let variants: &[(&str, &str, f64)] = if second.is_empty() {
            &[("isotropic_compatible", "iso", 1e-11), ("deviation_compatible", "isostd", 1e-10)]
        } else {
            &[("isotropic_compatible", "iso", 1e-11)]
        };
        for (variant, prefix, tolerance) in variants {
            let found = encoder(statistic, &domain, Some(variant))?.encode_fields(&fields)?;
            for what in ["S1", "S2", "S3", "S3P", "S4"].into_iter().filter(|what| found.get(what).is_some()) {
                let expected = case.array(&format!("f64_{prefix}_{what}"));
                difference(&entries(output(&found, what)), &expected.values, *tolerance, &format!("{name} {prefix} {what}"));
            }
        }
        if !second.is_empty() {
            continue;
        }
        for (variant, prefix, tolerance) in [("harmonics", "fft", 1e-11), ("harmonics_sigma_compatible", "sigfft", 1e-10)] {
            let source = Source::find("foscat")?;
            let mut found = Vec::new();
            for k in [1.0, 2.0] {
                found.push(Compiler::new(&source, &domain).variant(Some(variant)).number("k", k).threads(1).encoder()?.encode(&x)?);
            }
            let found: Vec<&Statistics> = found.iter().collect();
            for what in ["S1", "S2", "S3", "S4"] {
                let order = |suffix: &str, k: usize| (k, format!("{what}{suffix}"));
                for (harmonics, orders) in [
                    ("h1_re", vec![order("", 0), order("c", 0)]),
                    ("h1_im", vec![order("", 0), order("c", 0), order("s", 0)]),
                    ("h2_im", vec![order("", 0), order("c", 0), order("s", 0), order("c", 1), order("s", 1)]),
                ] {
                    let expected = case.array(&format!("f64_{prefix}_{harmonics}_{what}"));
                    difference(&stacked(&found, &orders), &expected.values, tolerance, &format!("{prefix} {harmonics} {what}"));
                }
            }
        }
    }
    Ok(())
}

/// What FOSCAT's normalisations do in effect: `self` nothing, `auto` divides S2 by the powers of the first call, which it also returns divided.
#[test]
fn normalisations_equal_the_recorded_ones() -> Outcome {
    let domain = Healpix::new(8, 4, 3)?;
    for (name, statistic) in [("hpx_n8_k3_norm", "foscat"), ("hpx_n8_k3_norm_cross", "foscat_cross")] {
        let Some(case) = case(name) else { continue };
        let cross = statistic == "foscat_cross";
        let second = if cross { case.real("image2") } else { vec![] };
        let source = Source::find(statistic)?;
        let powers = |x: &[f64]| -> Result<Vec<f64>, Error> { Ok(output(&encoder("foscat", &domain, None)?.encode(x)?, "S2").re.clone()) };
        let maps = [case.real("x"), case.real("x2")];
        let own = powers(&maps[0])?;
        let mut norms = vec![("P", own.clone())];
        if cross {
            norms.push(("R", powers(&second)?));
        }
        for (call, map) in maps.iter().enumerate() {
            for (norm, variant) in [("self", None), ("auto", Some("auto_compatible"))] {
                let mut compiler = Compiler::new(&source, &domain).variant(variant).threads(1);
                let divided = norm == "auto" && (cross || call == 0);
                for (parameter, _) in norms.iter().filter(|_| divided) {
                    compiler = compiler.array(parameter);
                }
                let mut encoder = compiler.encoder()?;
                for (parameter, values) in norms.iter().filter(|_| divided) {
                    encoder.set(parameter, values)?;
                }
                let fields: Vec<&[f64]> = if cross { vec![map, &second] } else { vec![map] };
                let found = encoder.encode_fields(&fields)?;
                for what in ["S1", "S2", "S3", "S3P", "S4"].into_iter().filter(|what| found.get(what).is_some()) {
                    let expected = case.array(&format!("f64_{norm}{}_{what}", call + 1));
                    difference(&entries(output(&found, what)), &expected.values, 1e-11, &format!("{name} {norm} call {call} {what}"));
                }
            }
        }
    }
    Ok(())
}

/// FOSCAT's measure with its own formula for sigma.
fn compatible(threads: usize) -> Result<Measure, Error> {
    Ok(Measure { sigma: Some("sigma_compatible".into()), threads, ..Measure::new("foscat")? })
}

#[test]
fn losses_and_gradients_equal_the_recorded_ones() -> Result<(), PixelError> {
    for (name, K) in [("grad_hpx_n8_k3", 3), ("grad_hpx_n8_k5", 5), ("grad_hpx_n8_k3_mask", 3)] {
        let Some(case) = case(name) else { continue };
        let domain = Healpix::new(8, 4, K)?;
        let mask = case.has("mask").then(|| case.real("mask"));
        let (x, reference) = (case.real("x"), case.real("xref"));
        let measure = compatible(1)?;
        // The loss divides by squares of sigmas that FOSCAT's formula makes small at random, so the recorded ones are taken.
        let (mut target, sigma) = measure.measure(&domain, &[&reference], mask.as_deref())?;
        let mut sigma = sigma.expect("the measure has sigmas");
        for (arrays, prefix) in [(&mut target.arrays, "ref"), (&mut sigma.arrays, "refsigma")] {
            for array in arrays.iter_mut() {
                let (name, entry) = if array.name == "S0e" { ("S0", Some(1)) } else { (array.name.as_str(), (array.name == "S0").then_some(0)) };
                let recorded = case.array(&format!("f64_{prefix}_{name}")).values;
                let recorded = entry.map_or(recorded.clone(), |k| vec![recorded[k]]);
                difference(&entries(array), &recorded, 1e-10, &format!("{prefix} {name}"));
                array.re = recorded.iter().map(|v| v.0).collect();
                array.im = array.im.as_ref().map(|_| recorded.iter().map(|v| v.1).collect());
            }
        }
        let mut nothing = target.clone();
        for array in &mut nothing.arrays {
            array.re.fill(0.0);
            array.im.iter_mut().for_each(|im| im.fill(0.0));
        }
        for (what, target, sigma, tolerance) in [("plain", &nothing, None, 1e-9), ("notebook", &target, Some(&sigma), 1e-9)] {
            let mut term = Term::new(&measure, &domain, vec![Affine::unknown()], target, sigma, mask.as_deref(), 1.0)?;
            let mut gradient = vec![0.0; domain.len()];
            let value = term.evaluate(&x, &mut gradient)?;
            let expected = case.real(&format!("f64_loss_{what}"))[0];
            assert!((value - expected).abs() < 1e-10 * expected, "{name} {what}: value {value}, expected {expected}");
            let found: Vec<(f64, f64)> = gradient.iter().map(|g| (*g, 0.0)).collect();
            let error = difference(&found, &case.array(&format!("f64_grad_{what}")).values, tolerance, &format!("{name} gradient {what}"));
            println!("{name} {what}: value {:.1e}, gradient {error:.1e}", (value - expected).abs() / expected);
        }
    }
    Ok(())
}

/// Means and distances of two maps over all coefficients, S0 and its error included.
#[test]
fn scalars_of_statistics_equal_the_recorded_ones() -> Result<(), PixelError> {
    let Some(case) = case("hpx_n8_k3_scalars") else { return Ok(()) };
    let (measure, domain) = (compatible(1)?, Healpix::new(8, 4, 3)?);
    let (own, sigma) = measure.measure(&domain, &[&case.real("x")], None)?;
    let (other, sigma) = (measure.measure(&domain, &[&case.real("x2")], None)?.0, sigma.expect("the measure has sigmas"));
    let all = |found: &Statistics| found.arrays.iter().flat_map(entries).collect::<Vec<_>>();
    let errors: Vec<f64> = own.arrays.iter().flat_map(|a| output(&sigma, if a.name == "S0e" { "S0" } else { &a.name }).re.clone()).collect();
    let mean = |terms: Vec<f64>| terms.iter().sum::<f64>() / terms.len() as f64;
    let (a, b) = (all(&own), all(&other));
    let distances: Vec<f64> = a.iter().zip(&b).map(|(p, q)| (p.0 - q.0).hypot(p.1 - q.1)).collect();
    for (name, found) in [
        ("f64_reduce_mean_abs", mean(distances.clone())),
        ("f64_reduce_mean_square", mean(distances.iter().zip(&errors).map(|(d, s)| (d / s).powi(2)).collect())),
        ("f64_reduce_distance", mean(distances.iter().map(|d| d * d).collect())),
        ("f64_reduce_distance_sigma", mean(distances.iter().zip(&errors).map(|(d, s)| (d / s).powi(2)).collect())),
    ] {
        let expected = case.real(name)[0];
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{name}: {found}, expected {expected}");
    }
    Ok(())
}

#[test]
fn descents_start_as_the_recorded_one() -> Result<(), PixelError> {
    let Some(case) = case("lbfgs_hpx_n8") else { return Ok(()) };
    let domain = Healpix::new(8, 4, 3)?;
    let (x, reference) = (case.real("x"), case.real("xref"));
    let measure = compatible(1)?;
    let (target, sigma) = measure.measure(&domain, &[&reference], None)?;
    let term = || Term::new(&measure, &domain, vec![Affine::unknown()], &target, sigma.as_ref(), None, 1.0);
    let points = case.real("f64_eval_x");
    let losses = case.real("f64_eval_losses");
    let mut first = term()?;
    let mut gradient = vec![0.0; 768];
    let value = first.evaluate(&x, &mut gradient)?;
    assert!((value - losses[0]).abs() < 1e-7 * value && losses[0] == losses[1]);
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let found: Vec<(f64, f64)> = x.iter().zip(&gradient).map(|(x, g)| (x - g / norm, 0.0)).collect();
    let expected: Vec<(f64, f64)> = points[2 * 768..3 * 768].iter().map(|x| (*x, 0.0)).collect();
    difference(&found, &expected, 1e-10, "the first step");
    assert!(points[..768] == x[..] && points[768..2 * 768] == x[..]);
    // The descent itself begins with the same step and, with other line searches, gets at least as far.
    let descent = pixels::Descent { method: Method::Lbfgs(Lbfgs::default()), steps: 8, tolerance: 0.0 };
    let (_, outcome) = pixels::minimise(vec![term()?], &x, None, &descent, &mut |_| Control::Continue)?;
    let last = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(outcome.values[0] < 1.05 * last, "{} after 8 steps, expected about {last}", outcome.values[0]);
    Ok(())
}

/// Ranks and the way back; FOSCAT's passes through single precision.
#[test]
fn fields_made_gaussian_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("gaussianise_64") else { return Ok(()) };
    let found = Gaussianised::new(&case.real("x"), None).expect("a field of numbers");
    let sorted = |values: &[f64]| {
        let mut values: Vec<(f64, f64)> = values.iter().map(|x| (*x, 0.0)).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values
    };
    // Equal samples may come in any order.
    let gaussian = case.real("f64_gauss");
    difference(&sorted(&found.field), &sorted(&gaussian), 1e-13, "quantiles");
    let shrunk: Vec<f64> = gaussian.iter().map(|x| 0.7 * x).collect();
    let back: Vec<(f64, f64)> = found.back(&shrunk).into_iter().map(|x| (x, 0.0)).collect();
    difference(&back, &case.array("f64_back").values, 1e-5, "the way back");
    let own = found.back(&found.field);
    let error = own.iter().zip(case.real("x")).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(error < 1e-4, "there and back: {error:e}");
    Ok(())
}

/// Both levels of a synthesis from coarse to fine: value and gradient of the loss where FOSCAT starts them.
#[test]
fn levels_of_a_synthesis_equal_the_recorded_ones() -> Result<(), PixelError> {
    let Some(case) = case("synth_hpx_n8") else { return Ok(()) };
    let target = case.real("x");
    let coarse = pixels::downgraded(8, &[], &target)?;
    let sizes = case.real("f64_eval_sizes");
    let losses = case.real("f64_eval_losses");
    for (nside, target) in [(4, coarse), (8, target)] {
        let n = 12 * nside * nside;
        let domain = Healpix::new(nside, 4, 3)?;
        let measure = compatible(1)?;
        let (found, sigma) = measure.measure(&domain, &[&target], None)?;
        let mut term = Term::new(&measure, &domain, vec![Affine::unknown()], &found, sigma.as_ref(), None, 1.0)?;
        let mut gradient = vec![0.0; n];
        let value = term.evaluate(&case.real(&format!("f64_start_{n}")), &mut gradient)?;
        let k = sizes.iter().position(|size| *size == n as f64).expect("the level was recorded");
        assert!((value - losses[k]).abs() < 1e-6 * value, "nside {nside}: {value}, expected {}", losses[k]);
        let found: Vec<(f64, f64)> = gradient.iter().map(|g| (*g, 0.0)).collect();
        difference(&found, &case.array(&format!("f64_start_grad_{n}")).values, 1e-6, &format!("gradient at nside {nside}"));
    }
    Ok(())
}

/// One plan with an axis of masks gives what a plan per mask gives, and its loss is the mean over masks.
#[test]
fn masks_of_one_plan_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("hpx_n16_k3_mask") else { return Ok(()) };
    let plain = Healpix::new(16, 4, 3)?;
    let (both, one) = (plain.clone().masks(2, None)?, plain.clone().mask(None));
    let (x, masks, n) = (case.real("x"), case.real("mask"), plain.len());
    for (variant, prefix, tolerance) in [(None, "f64_", 1e-11), (Some("sigma_compatible"), "f64_sigma_", 1e-10)] {
        let mut encoder = encoder("foscat", &both, variant)?;
        encoder.set("mask", &masks)?;
        for map in 0..2 {
            let found = encoder.encode(&x[map * n..][..n])?;
            for what in ["S1", "S2", "S3", "S4"] {
                let (ours, expected) = (output(&found, what), case.array(&format!("{prefix}{what}")).values);
                assert_eq!(ours.axes, [2]);
                let expected = &expected[map * expected.len() / 2..][..expected.len() / 2];
                difference(&entries(ours), expected, tolerance, &format!("{prefix}{what} map {map}"));
            }
        }
    }
    let source = Source::find("foscat")?;
    let target = encoder("foscat", &plain, None)?.encode(&x[n..])?;
    let gradient = |domain: &Healpix, masks: &[f64], count: usize| -> Result<(f64, Vec<f64>), Error> {
        let mut program = LossGradient::new(&Compiler::new(&source, domain).threads(1), "l2")?;
        program.set("mask", masks)?;
        let mut target = target.clone();
        for array in &mut target.arrays {
            array.re = array.re.repeat(count);
            array.im = array.im.as_ref().map(|im| im.repeat(count));
        }
        program.set_target(&target)?;
        let (values, gradient) = program.value_and_gradient(&x[..n])?;
        Ok((values[0], gradient))
    };
    let (value, joint) = gradient(&both, &masks, 2)?;
    let (first, second) = (gradient(&one, &masks[..n], 1)?, gradient(&one, &masks[n..], 1)?);
    assert!((value - 0.5 * (first.0 + second.0)).abs() < 1e-12 * value.abs());
    let mean: Vec<(f64, f64)> = first.1.iter().zip(&second.1).map(|(a, b)| (0.5 * (a + b), 0.0)).collect();
    let joint: Vec<(f64, f64)> = joint.into_iter().map(|g| (g, 0.0)).collect();
    difference(&joint, &mean, 1e-12, "gradient");
    Ok(())
}

/// FOSCAT rounds its orientation matrices to single precision.
#[test]
fn oriented_statistics_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("hpx_n8_k3_cmat") else { return Ok(()) };
    let (domain, x) = (Healpix::new(8, 4, 3)?, case.real("x"));
    let found = encoder("foscat_oriented", &domain, None)?.encode_fields(&[&x, &x])?;
    for what in ["S1", "S2", "S3", "S4"] {
        let error = difference(&entries(output(&found, what)), &case.array(&format!("f64_{what}")).values, 3e-7, what);
        println!("oriented {what}: {error:.1e}");
    }
    Ok(())
}

/// Iterations end by the size of the last step, so that results agree as far as that size.
#[test]
fn medians_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("hpx_n8_k3_median") else { return Ok(()) };
    let (domain, x) = (Healpix::new(8, 4, 3)?.scales_kept(2)?, case.real("x"));
    let found = encoder("foscat_median", &domain, None)?.encode(&x)?;
    for what in ["S0", "S1", "S2", "S3", "S4"] {
        let expected = case.array(&format!("f64_{what}")).values;
        let expected = if what == "S0" { &expected[..1] } else { &expected[..] };
        let error = difference(&entries(output(&found, what)), expected, 1e-4, what);
        println!("median {what}: {error:.1e}");
    }
    Ok(())
}

#[test]
fn statistics_with_spin_equal_the_recorded_ones() -> Outcome {
    for (name, spin) in [("hpx_n8_k3_spin1", 1), ("hpx_n8_k3_spin2", 2)] {
        let Some(case) = case(name) else { continue };
        let (domain, x) = (Healpix::new(8, 4, 3)?.spin(spin)?, case.real("x"));
        let mut worst = [0.0f64; 2];
        for (kind, variant, prefix) in [(0, None, "f64_"), (1, Some("sigma_compatible"), "f64_sigma_")] {
            let found = encoder("foscat", &domain, variant)?.encode(&x)?;
            for what in ["S0", "S1", "S2", "S3", "S4"] {
                let expected = case.array(&format!("{prefix}{what}")).values;
                let ours = match (what, kind) {
                    ("S0", 0) => [entries(output(&found, "S0")), entries(output(&found, "S0e"))].concat(),
                    ("S0", _) => entries(output(&found, "S0")).repeat(2),
                    _ => entries(output(&found, what)),
                };
                worst[kind] = worst[kind].max(difference(&ours, &expected, 1e-9, &format!("{name} {prefix}{what}")));
            }
        }
        println!("{name}: {:.1e}, sigma {:.1e}", worst[0], worst[1]);
    }
    Ok(())
}
