//! Recorded runs of FOSCAT 2026.6.1 on images and series: stencils, statistics, masks, edges, two fields, reductions, sigmas, gradients, and covariances by Fourier transforms.
//!
//! Tolerances: 1e-11 of each array's maximum for statistics, 1e-10 for sigmas of complex coefficients, 1e-9 for gradients. Images with flat areas have 1e-9: there FOSCAT's moduli are 1e-8 or 0,
//! as the order of a sum of rounding errors decides; 1e-8 with K = 3 or two fields.

#![allow(non_snake_case)]

mod foscat;

use foscat::*;
use scatterc::ir::{Linear, Space, Type};
use scatterc::runtime::reference;
use scatterc::{Boundary, Compiler, Encoder, Error, Goal, Plane, Pyramid, Source, Statistics, pyramid, with_numbers};

type Outcome = Result<(), Error>;

/// FOSCAT's images: stencils of K samples, reflected, edges cut unless said otherwise.
fn image(H: usize, W: usize, K: usize, lambda: f64, cut: bool) -> Result<Pyramid, Error> {
    let filter = with_numbers(&Source::find("foscat")?.filter("foscat_plane")?, &[("lambda".into(), lambda)])?;
    let domain = Pyramid::new(H, W, pyramid::usual_scales(H.min(W), K), 4, K, &filter, Boundary::Reflect)?;
    Ok(if cut { domain.cut_edges()? } else { domain })
}

/// FOSCAT's series: enlarged twice, zeros beyond the ends.
fn series(T: usize, cut: bool) -> Result<Pyramid, Error> {
    let filter = Source::find("foscat")?.filter("foscat_line")?;
    let domain = Pyramid::line(T, T.ilog2() as usize - 1, 1, 5, &filter, Boundary::Zero)?.enlarged();
    Ok(if cut { domain.cut_edges()? } else { domain })
}

fn encoder(statistic: &str, domain: &Pyramid, variant: Option<&str>) -> Result<Encoder, Error> {
    let source = Source::find(statistic)?;
    Compiler::new(&source, domain).variant(variant).threads(1).encoder()
}

#[test]
fn stencils_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("plane_kernels") else { return Ok(()) };
    let impulse = |domain: &Pyramid, H: usize, W: usize| {
        // A correlation with an impulse in the middle is the stencil turned by 180 degrees.
        let mut x = vec![0.0; H * W];
        x[H / 2 * W + W / 2] = 1.0;
        let map = Linear::ImageStencil { H, W, j: 0, edge: 3, bank: domain.bank.clone() };
        reference::apply(&map, false, &Type::new([], Space::Image { H, W }), &x).expect("the map is valid")
    };
    for (K, name) in [(3, "f64_k3"), (5, "f64_k5")] {
        let found = impulse(&image(64, 64, K, 1.2, false)?, K, K);
        let (re, im) = (case.real(&format!("{name}_re")), case.real(&format!("{name}_im")));
        let expected: Vec<(f64, f64)> =
            re.chunks(K * K).zip(im.chunks(K * K)).flat_map(|(a, b)| a.iter().chain(b).rev().map(|x| (*x, 0.0)).collect::<Vec<_>>()).collect();
        // Reversed pairs hold the imaginary stencil first.
        let swapped: Vec<(f64, f64)> =
            found.chunks(2 * K * K).flat_map(|p| p[K * K..].iter().chain(&p[..K * K]).map(|x| (*x, 0.0)).collect::<Vec<_>>()).collect();
        println!("{name}: {:.1e}", difference(&swapped, &expected, 1e-13, name));
    }
    let x1 = case.real("x1");
    let domain = series(32, false)?;
    let map = |map: Linear, H: usize, W: usize, x: &[f64]| {
        reference::apply(&map, false, &Type::new([], Space::Image { H, W }), x).expect("the map is valid")
    };
    let pairs = |x: &[f64]| -> Vec<(f64, f64)> { x.iter().map(|x| (*x, 0.0)).collect() };
    let line = map(Linear::ImageStencil { H: 1, W: 32, j: 0, edge: 3, bank: domain.bank.clone() }, 1, 32, &x1);
    let found: Vec<(f64, f64)> = line[..32].iter().copied().zip(line[32..].iter().copied()).collect();
    difference(&found, &case.array("f64_line_conv").values, 1e-13, "a series filtered");
    let up = map(Linear::Enlarge { H: 1, W: 32, rows: 1, columns: 2 }, 1, 32, &x1);
    difference(&pairs(&up), &case.array("f64_line_up").values, 1e-14, "a series enlarged");
    let x = case.real("x");
    difference(
        &pairs(&map(Linear::Enlarge { H: 16, W: 16, rows: 2, columns: 2 }, 16, 16, &x)),
        &case.array("f64_up").values,
        1e-14,
        "an image enlarged",
    );
    difference(&pairs(&map(Linear::BlockMean { H: 16, W: 16, h: 2, w: 2 }, 16, 16, &x)), &case.array("f64_down").values, 1e-14, "means over blocks");
    Ok(())
}

struct Setting {
    name: &'static str,
    K: usize,
    lambda: f64,
    cut: bool,
    tolerance: f64,
}

const fn setting(name: &'static str) -> Setting {
    Setting { name, K: 5, lambda: 1.2, cut: true, tolerance: 1e-11 }
}

const IMAGES: [Setting; 9] = [
    Setting { tolerance: 1e-9, ..setting("plane_64_turbu") },
    Setting { tolerance: 1e-9, ..setting("plane_128_turbu") },
    Setting { cut: false, tolerance: 1e-9, ..setting("plane_64_turbu_noedge") },
    Setting { K: 3, tolerance: 1e-8, ..setting("plane_64_k3") },
    Setting { lambda: 1.0, tolerance: 1e-9, ..setting("plane_64_lambda1") },
    Setting { tolerance: 1e-9, ..setting("plane_64_mask") },
    Setting { tolerance: 1e-8, ..setting("plane_64_cross") },
    setting("plane_64x48"),
    setting("plane_51x67"),
];

const SERIES: [Setting; 4] = [
    setting("line_1024"),
    Setting { cut: false, ..setting("line_1024_noedge") },
    setting("line_1024_mask"),
    Setting { tolerance: 1e-8, ..setting("line_1024_cross") },
];

/// Statistics and sigmas of all fields and masks of a case; the worst errors of both.
fn compare(case: &Case, setting: &Setting, domain: Pyramid, statistic: &str) -> Result<[f64; 2], Error> {
    let n = domain.len();
    let (x, second) = (case.real("x"), if case.has("image2") { case.real("image2") } else { vec![] });
    let masks = if case.has("mask") { case.real("mask") } else { vec![] };
    let (maps, n_masks) = (x.len() / n, (masks.len() / n).max(1));
    let domain = if masks.is_empty() { domain } else { domain.mask(None) };
    let mut worst = [0.0f64; 2];
    for (variant, prefix, kind, tolerance) in
        [(None, "f64_", 0, setting.tolerance), (Some("sigma_compatible"), "f64_sigma_", 1, setting.tolerance.max(1e-10))]
    {
        let mut encoder = encoder(statistic, &domain, variant)?;
        for map in 0..maps {
            for m in 0..n_masks {
                let mut fields = vec![&x[map * n..][..n]];
                if !second.is_empty() {
                    fields.push(&second[map * n..][..n]);
                }
                if !masks.is_empty() {
                    encoder.set("mask", &masks[m * n..][..n])?;
                }
                let found = encoder.encode_fields(&fields)?;
                for what in ["S0", "S1", "S2", "S3", "S3P", "S4"] {
                    let key = format!("{prefix}{what}");
                    if !case.has(&key) {
                        continue;
                    }
                    let expected = case.array(&key);
                    let block = expected.values.len() / (maps * n_masks);
                    // The S0 of series with several masks has all means first, then all errors.
                    let expected: Vec<(f64, f64)> = if what == "S0" && domain.line {
                        (0..2).map(|e| expected.values[(map * 2 + e) * n_masks + m]).collect()
                    } else {
                        expected.values[(map * n_masks + m) * block..][..block].to_vec()
                    };
                    let ours = if what == "S0" && kind == 0 {
                        [entries(output(&found, "S0")), entries(output(&found, "S0e"))].concat()
                    } else if what == "S0" {
                        entries(output(&found, "S0")).repeat(2)
                    } else {
                        entries(output(&found, what))
                    };
                    worst[kind] = worst[kind].max(difference(&ours, &expected, tolerance, &format!("{} {key} map {map} mask {m}", case.name)));
                }
            }
        }
    }
    Ok(worst)
}

#[test]
fn statistics_of_images_equal_the_recorded_ones() -> Outcome {
    for setting in IMAGES {
        let Some(case) = case(setting.name) else { continue };
        let shape = case.array("x").shape;
        let domain = image(shape[1], shape[2], setting.K, setting.lambda, setting.cut)?;
        let statistic = if case.has("image2") { "foscat_plane_cross" } else { "foscat_plane" };
        let worst = compare(&case, &setting, domain, statistic)?;
        println!("{}: {:.1e}, sigma {:.1e}", setting.name, worst[0], worst[1]);
    }
    Ok(())
}

/// Without orientations the fourth kind of statistic of images and of the sphere are one, so series have no variant of their own.
#[test]
fn statistics_of_series_equal_the_recorded_ones() -> Outcome {
    for setting in SERIES {
        let Some(case) = case(setting.name) else { continue };
        let T = case.array("x").shape[1];
        let statistic = if case.has("image2") { "foscat_cross" } else { "foscat" };
        let worst = compare(&case, &setting, series(T, setting.cut)?, statistic)?;
        println!("{}: {:.1e}, sigma {:.1e}", setting.name, worst[0], worst[1]);
    }
    Ok(())
}

/// The orientations of both layers meet once on either side: S4 of `foscat_plane` with equal orientations of the second layer is an entry of S4 of `foscat`.
#[test]
fn the_two_kinds_of_s4_meet() -> Outcome {
    let domain = image(32, 32, 5, 1.2, true)?;
    let x = scatterc::random::samples(domain.len(), 5, 0);
    let own = encoder("foscat", &domain, None)?.encode(&x)?;
    let compatible = encoder("foscat_plane", &domain, None)?.encode(&x)?;
    let (own, compatible) = (output(&own, "S4"), output(&compatible, "S4"));
    let mut met = 0;
    for (k, row) in compatible.index.rows.iter().enumerate().filter(|(_, row)| row[4] == row[5]) {
        let same = [row[0], row[1], row[2], row[3], row[3], row[5]];
        let i = own.index.rows.iter().position(|r| r[..] == same).expect("the entry exists");
        assert!((own.re[i] - compatible.re[k]).abs() <= 1e-13 * own.re[i].abs().max(1e-6), "{row:?}");
        met += 1;
    }
    assert_eq!(met, own.re.len() / 4);
    Ok(())
}

#[test]
fn reductions_of_images_equal_the_recorded_ones() -> Outcome {
    for (name, n) in [("plane_64_turbu", 64), ("plane_128_turbu", 128)] {
        let Some(case) = case(name) else { continue };
        let (domain, x) = (image(n, n, 5, 1.2, true)?, case.real("x"));
        for (variant, prefix, tolerance) in [("isotropic_compatible", "iso", 1e-9), ("deviation_compatible", "isostd", 1e-8)] {
            let found = encoder("foscat_plane", &domain, Some(variant))?.encode(&x)?;
            for what in ["S1", "S2", "S3", "S4"].into_iter().filter(|what| case.has(&format!("f64_{prefix}_{what}"))) {
                difference(
                    &entries(output(&found, what)),
                    &case.array(&format!("f64_{prefix}_{what}")).values,
                    tolerance,
                    &format!("{name} {prefix} {what}"),
                );
            }
        }
        for (variant, prefix, tolerance) in [("harmonics", "fft", 1e-9), ("harmonics_sigma_compatible", "sigfft", 1e-8)] {
            let found = encoder("foscat_plane", &domain, Some(variant))?.encode(&x)?;
            for what in ["S1", "S2", "S3", "S4"] {
                for (harmonics, suffixes) in [("h1_re", vec!["", "c"]), ("h1_im", vec!["", "c", "s"])] {
                    let key = format!("f64_{prefix}_{harmonics}_{what}");
                    assert!(case.has(&key), "{name} has {key}");
                    let parts: Vec<(&Statistics, String)> = suffixes.iter().map(|s| (&found, format!("{what}{s}"))).collect();
                    difference(&stacked(&parts), &case.array(&key).values, tolerance, &format!("{name} {key}"));
                }
            }
        }
    }
    Ok(())
}

/// Mean of |S|^2, and of |(ref - S)/sigma|^2, over all entries, with their gradients.
fn gradients(name: &str, statistic: &str, domain: &Pyramid) -> Outcome {
    let Some(case) = case(name) else { return Ok(()) };
    let x = case.real("x");
    let source = Source::find(statistic)?;
    let found = encoder(statistic, domain, None)?.encode(&x)?;
    let total: usize = found.arrays.iter().map(|a| a.re.len()).sum();
    let compiler = Compiler::new(&source, domain).threads(1).goal(Goal::Gradient("weighted".into()));
    let (_, mut executable) = compiler.executable()?;
    for what in ["plain", "notebook"] {
        let mut given: Vec<(String, Vec<f64>)> = vec![("x".into(), x.clone())];
        for array in &found.arrays {
            let (key, entry) = if array.name == "S0e" { ("S0", Some(1)) } else { (array.name.as_str(), (array.name == "S0").then_some(0)) };
            let pick = |values: Vec<(f64, f64)>| entry.map_or(values.clone(), |k: usize| vec![values[k]]);
            let n = array.re.len();
            let share = n as f64 / total as f64;
            let (target, weights) = if what == "plain" {
                (vec![(0.0, 0.0); n], vec![share; n])
            } else {
                let sigma = pick(case.array(&format!("f64_refsigma_{key}")).values);
                (pick(case.array(&format!("f64_ref_{key}")).values), sigma.iter().map(|s| share / (s.0 * s.0)).collect())
            };
            if array.im.is_some() {
                given.push((format!("T.{}.re", array.name), target.iter().map(|t| t.0).collect()));
                given.push((format!("T.{}.im", array.name), target.iter().map(|t| t.1).collect()));
            } else {
                given.push((format!("T.{}", array.name), target.iter().map(|t| t.0).collect()));
            }
            given.push((format!("w.{}", array.name), weights));
        }
        let given: Vec<(&str, &[f64])> = given.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let results = executable.run(&given)?;
        let value: f64 = results.iter().find(|r| r.0 == "value").expect("the value").1.iter().sum();
        let expected = case.real(&format!("f64_loss_{what}"))[0];
        assert!((value - expected).abs() <= 1e-10 * expected, "{name} {what}: value {value}, expected {expected}");
        let (_, gradient) = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient");
        let found: Vec<(f64, f64)> = gradient.iter().map(|g| (*g, 0.0)).collect();
        let error = difference(&found, &case.array(&format!("f64_grad_{what}")).values, 1e-9, &format!("{name} gradient {what}"));
        println!("{name} {what}: value {:.1e}, gradient {error:.1e}", (value - expected).abs() / expected);
    }
    Ok(())
}

#[test]
fn gradients_of_images_equal_the_recorded_ones() -> Outcome {
    gradients("grad_plane_32", "foscat_plane", &image(32, 32, 5, 1.2, true)?)
}

#[test]
fn gradients_of_series_equal_the_recorded_ones() -> Outcome {
    gradients("grad_line_256", "foscat", &series(256, true)?)
}

/// Means over blocks of 2 x 2 samples of a square image.
fn halved(x: &[f64]) -> Vec<f64> {
    let (n, W) = (x.len().isqrt() / 2, x.len().isqrt());
    (0..n * n).map(|k| 2 * (k / n) * W + 2 * (k % n)).map(|p| (x[p] + x[p + 1] + x[p + W] + x[p + W + 1]) / 4.0).collect()
}

/// The first value and gradient of both levels of FOSCAT's synthesis: mean |(S - T) / sigma|^2 with its own sigma.
#[test]
fn first_gradients_of_a_synthesis_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("synth_plane_32") else { return Ok(()) };
    let fine = case.real("x");
    let (sizes, losses) = (case.real("f64_eval_sizes"), case.real("f64_eval_losses"));
    for (n, target) in [(16, halved(&fine)), (32, fine.clone())] {
        let domain = image(n, n, 5, 1.2, true)?;
        let source = Source::find("foscat_plane")?;
        let reference = encoder("foscat_plane", &domain, None)?.encode(&target)?;
        let sigma = encoder("foscat_plane", &domain, Some("sigma_compatible"))?.encode(&target)?;
        let total: usize = reference.arrays.iter().map(|a| a.re.len()).sum();
        let mut given: Vec<(String, Vec<f64>)> = vec![("x".into(), case.real(&format!("f64_start_{}", n * n)))];
        for array in &reference.arrays {
            match &array.im {
                Some(im) => given.extend([(format!("T.{}.re", array.name), array.re.clone()), (format!("T.{}.im", array.name), im.clone())]),
                None => given.push((format!("T.{}", array.name), array.re.clone())),
            }
            // S0 and its error share one sigma.
            let own = output(&sigma, if array.name == "S0e" { "S0" } else { &array.name });
            given.push((format!("w.{}", array.name), own.re.iter().map(|s| 1.0 / (total as f64 * s * s) * array.re.len() as f64).collect()));
        }
        let (_, mut executable) = Compiler::new(&source, &domain).threads(1).goal(Goal::Gradient("weighted".into())).executable()?;
        let given: Vec<(&str, &[f64])> = given.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let results = executable.run(&given)?;
        let value: f64 = results.iter().find(|r| r.0 == "value").expect("the value").1.iter().sum();
        let first = sizes.iter().position(|s| *s == (n * n) as f64).expect("the level was run");
        assert!((value - losses[first]).abs() <= 1e-6 * losses[first], "{n}: value {value}, expected {}", losses[first]);
        let (_, gradient) = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient");
        let found: Vec<(f64, f64)> = gradient.iter().map(|g| (*g, 0.0)).collect();
        let error = difference(&found, &case.array(&format!("f64_start_grad_{}", n * n)).values, 1e-6, &format!("gradient of {n} x {n}"));
        println!("synth_plane_32 {n}: value {:.1e}, gradient {error:.1e}", (value - losses[first]).abs() / losses[first]);
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------- covariances by Fourier transforms

fn covariances(n: usize, J: usize, cut: bool) -> Result<Plane, Error> {
    let filter = Source::find("foscat_covariance")?.filter("foscat_morlet")?;
    let plane = Plane::new(n, n, J, 4, &filter, Boundary::Periodic, cut)?;
    Ok(if cut { plane.even_edges()? } else { plane })
}

/// `in_mask`, which FOSCAT shrinks with the scale: statistics, deviations and the flat vector.
#[test]
fn covariances_under_a_mask_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("scov_64_inmask_j2") else { return Ok(()) };
    let (x, mask) = (case.real("x"), case.real("mask"));
    let plane = covariances(64, 2, true)?.eroded_mask()?;
    assert_eq!(plane.empty_grid(&mask), None);
    let source = Source::find("foscat_covariance")?;
    let run = |variant: &str| {
        let mut encoder = Compiler::new(&source, &plane).variant(Some(variant)).threads(1).encoder()?;
        encoder.set("mask", &mask)?;
        encoder.encode(&x)
    };
    let (found, deviations) = (run("compatible")?, run("sigma_cut_compatible")?);
    for what in ["S1", "S2", "S3", "S4"] {
        let logarithm = what == "S1" || what == "S2";
        let ours = entries(output(&found, what)).into_iter().map(|(a, b)| if logarithm { (a.exp(), b) } else { (a, b) }).collect::<Vec<_>>();
        let error = difference(&ours, &case.array(&format!("f64_{what}")).values, 1e-11, &format!("{what} under a mask"));
        let sigma = difference(
            &entries(output(&deviations, what)),
            &case.array(&format!("f64_sigma_{what}_sigma")).values,
            1e-10,
            &format!("sigma {what} under a mask"),
        );
        println!("scov_64_inmask_j2 {what}: {error:.1e}, sigma {sigma:.1e}");
    }
    difference(&entries(output(&deviations, "deviation")), &case.array("f64_sigma_std_data").values, 1e-12, "the deviation of the image");
    difference(&vector(&found, &[]), &case.array("f64_vector").values, 1e-11, "the vector under a mask");

    // At the next scale erosion reaches the middle.
    let deeper = covariances(64, 5, true)?.eroded_mask()?;
    assert!(deeper.empty_grid(&mask).is_some_and(|(scale, ..)| scale >= 2), "{:?}", deeper.empty_grid(&mask));
    let odd = Plane::new(48, 40, 2, 4, &source.filter("foscat_morlet")?, Boundary::Periodic, true)?;
    assert!(odd.eroded_mask().unwrap_err().to_string().contains("even edges"));
    Ok(())
}

fn covariance(plane: &Plane, statistic: &str, variant: &str, fields: &[&[f64]]) -> Result<Statistics, Error> {
    let source = Source::find(statistic)?;
    Compiler::new(&source, plane).variant(Some(variant)).threads(1).encoder()?.encode_fields(fields)
}

#[test]
fn covariances_equal_the_recorded_ones() -> Outcome {
    for (name, variant, sigma, cut) in [
        ("scov_64_turbu", "compatible", "sigma_compatible", false),
        ("scov_128_turbu", "compatible", "sigma_compatible", false),
        ("scov_64_edge", "compatible", "sigma_cut_compatible", true),
        ("scov_64_p11", "P11", "sigma_P11_compatible", false),
        ("scov_32_batch", "compatible", "sigma_compatible", false),
        ("scov_64_useref", "compatible", "sigma_compatible", false),
    ] {
        let Some(case) = case(name) else { continue };
        let x = case.array("x");
        let (batch, n) = (x.shape[0], x.shape[1]);
        let plane = covariances(n, n.ilog2() as usize - 1, cut)?;
        let mut worst = [0.0f64; 2];
        let part = |key: &str, k: usize| {
            let all = case.array(key).values;
            let len = all.len() / batch;
            all[k * len..][..len].to_vec()
        };
        for k in 0..batch {
            let image: Vec<f64> = x.values[k * n * n..][..n * n].iter().map(|v| v.0).collect();
            let found = covariance(&plane, "foscat_covariance", variant, &[&image])?;
            let deviations = covariance(&plane, "foscat_covariance", sigma, &[&image])?;
            for what in ["S1", "S2", "S3", "S4"] {
                let logarithm = what == "S1" || what == "S2";
                let ours = entries(output(&found, what)).into_iter().map(|(a, b)| if logarithm { (a.exp(), b) } else { (a, b) }).collect::<Vec<_>>();
                worst[0] = worst[0].max(difference(&ours, &part(&format!("f64_{what}"), k), 1e-11, &format!("{name} {what}")));
                let ours = entries(output(&deviations, what));
                worst[1] = worst[1].max(difference(&ours, &part(&format!("f64_sigma_{what}_sigma"), k), 1e-10, &format!("{name} sigma {what}")));
            }
            let ours = entries(output(&deviations, "deviation"));
            difference(&ours, &part("f64_sigma_std_data", k), 1e-12, "the deviation of the image");
            difference(&vector(&found, &[]), &part("f64_vector", k), 1e-11, &format!("{name} vector"));
        }
        println!("{name}: {:.1e}, sigma {:.1e}", worst[0], worst[1]);
    }
    Ok(())
}

/// FOSCAT's flat vector: numbers, then real and imaginary parts of complex outputs, all harmonics of an entry together.
fn vector(found: &Statistics, harmonics: &[&str]) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for name in ["mean", "deviation", "S2", "S1", "S3", "S3P", "S4"].into_iter().filter(|name| found.get(name).is_some()) {
        let array = output(found, name);
        let parts: Vec<(&Statistics, String)> = if ["mean", "deviation"].contains(&name) {
            vec![(found, name.to_string())]
        } else {
            std::iter::once("").chain(harmonics.iter().copied()).map(|s| (found, format!("{name}{s}"))).collect()
        };
        let all = stacked(&parts);
        out.extend(all.iter().map(|z| (z.0, 0.0)));
        if array.im.is_some() {
            out.extend(all.iter().map(|z| (z.1, 0.0)));
        }
    }
    out
}

#[test]
fn reductions_of_covariances_equal_the_recorded_ones() -> Outcome {
    for (name, n) in [("scov_64_turbu", 64), ("scov_128_turbu", 128)] {
        let Some(case) = case(name) else { continue };
        let (plane, x) = (covariances(n, n.ilog2() as usize - 1, false)?, case.real("x"));
        for (variant, key, harmonics) in [
            ("isotropic_compatible", "f64_vector_iso", vec![]),
            ("harmonics_compatible", "f64_vector_fft_re", vec!["c"]),
            ("harmonics_compatible", "f64_vector_fft_im", vec!["c", "s"]),
        ] {
            let found = covariance(&plane, "foscat_covariance", variant, &[&x])?;
            println!("{name} {key}: {:.1e}", difference(&vector(&found, &harmonics), &case.array(key).values, 1e-11, &format!("{name} {key}")));
        }
    }
    Ok(())
}

#[test]
fn covariances_with_a_reference_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("scov_64_useref") else { return Ok(()) };
    let (plane, x, reference) = (covariances(64, 5, false)?, case.real("x"), case.real("xref"));
    let powers = output(&covariance(&plane, "foscat_covariance", "raw", &[&reference])?, "S2").re.clone();
    let source = Source::find("foscat_covariance")?;
    let mut encoder = Compiler::new(&source, &plane).variant(Some("reference_compatible")).array("P").threads(1).encoder()?;
    encoder.set("P", &powers)?;
    difference(&vector(&encoder.encode(&x)?, &[]), &case.array("f64_vector_useref").values, 1e-11, "use_ref");
    Ok(())
}

#[test]
fn covariances_of_two_images_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("scov_64_cross") else { return Ok(()) };
    let (plane, x, y) = (covariances(64, 5, false)?, case.real("x"), case.real("image2"));
    let found = covariance(&plane, "foscat_covariance_cross", "compatible", &[&x, &y])?;
    for what in ["S1", "S2", "S3", "S4"] {
        difference(&entries(output(&found, what)), &case.array(&format!("f64_{what}")).values, 1e-11, what);
    }
    // The vector begins with mean over deviation.
    let mut ours = vector(&found, &[]);
    let deviation = output(&found, "deviation").re[0];
    ours[0].0 /= deviation;
    println!("scov_64_cross: {:.1e}", difference(&ours, &case.array("f64_vector").values, 1e-11, "vector"));
    // Weakly related images have finite values by default.
    let z = scatterc::random::samples(64 * 64, 3, 0);
    let source = Source::find("foscat_covariance_cross")?;
    let found = Compiler::new(&source, &plane).threads(1).encoder()?.encode_fields(&[&x, &z])?;
    assert!(found.arrays.iter().all(|a| a.re.iter().chain(a.im.iter().flatten()).all(|v| v.is_finite())));
    Ok(())
}

/// Value and gradient at x of the loss of a synthesis with covariances: squares of differences in units of the target's deviations, logarithms of powers as they are.
fn covariance_loss(n: usize, x: Vec<f64>, target: &[f64]) -> Result<(f64, Vec<f64>), Error> {
    let plane = covariances(n, n.ilog2() as usize - 1, false)?;
    let powers = output(&covariance(&plane, "foscat_covariance", "raw", &[target])?, "S2").re.clone();
    let deviations = covariance(&plane, "foscat_covariance", "sigma_compatible", &[target])?;
    let source = Source::find("foscat_covariance")?;
    let compiler = Compiler::new(&source, &plane).variant(Some("descent_compatible")).array("P").threads(1);
    let mut encoder = compiler.encoder()?;
    encoder.set("P", &powers)?;
    let wanted = encoder.encode(target)?;
    let total: usize = wanted.arrays.iter().map(|a| a.re.len() * (1 + usize::from(a.im.is_some()))).sum();
    let mut given: Vec<(String, Vec<f64>)> = vec![("x".into(), x), ("P".into(), powers)];
    for array in &wanted.arrays {
        match &array.im {
            Some(im) => given.extend([(format!("T.{}.re", array.name), array.re.clone()), (format!("T.{}.im", array.name), im.clone())]),
            None => given.push((format!("T.{}", array.name), array.re.clone())),
        }
        let share = array.re.len() as f64 / total as f64;
        let sigma = match array.name.as_str() {
            "S1" | "S2" => vec![1.0; array.re.len()],
            "mean" | "deviation" => output(&deviations, "deviation").re.clone(),
            name => output(&deviations, name).re.clone(),
        };
        given.push((format!("w.{}", array.name), sigma.iter().map(|s| share / (s * s)).collect()));
    }
    let (_, mut executable) = compiler.goal(Goal::Gradient("weighted".into())).executable()?;
    let given: Vec<(&str, &[f64])> = given.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    let results = executable.run(&given)?;
    let value = results.iter().find(|r| r.0 == "value").expect("the value").1.iter().sum();
    let gradient = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient").1.clone();
    Ok((value, gradient))
}

#[test]
fn gradients_of_covariances_equal_the_recorded_ones() -> Outcome {
    let near = |what: &str, found: (f64, Vec<f64>), value: f64, gradient: &Golden, tolerance: f64| {
        assert!((found.0 - value).abs() <= tolerance * value, "{what}: value {}, expected {value}", found.0);
        let found: Vec<(f64, f64)> = found.1.iter().map(|g| (*g, 0.0)).collect();
        println!("{what}: {:.1e}", difference(&found, &gradient.values, tolerance, what));
    };
    if let Some(case) = case("grad_scov_32") {
        let found = covariance_loss(32, case.real("x"), &case.real("xref"))?;
        near("grad_scov_32", found, case.real("f64_loss")[0], &case.array("f64_grad"), 1e-9);
    }
    // The first value and gradient of both levels of FOSCAT's synthesis, whose optimiser rounds points to single precision.
    if let Some(case) = case("synth_plane_32_scov") {
        let (fine, sizes, losses) = (case.real("x"), case.real("f64_eval_sizes"), case.real("f64_eval_losses"));
        for (n, target) in [(16, halved(&fine)), (32, fine)] {
            let first = sizes.iter().position(|s| *s == (n * n) as f64).expect("the level was run");
            let found = covariance_loss(n, case.real(&format!("f64_start_{}", n * n)), &target)?;
            near(&format!("synth_plane_32_scov {n}"), found, losses[first], &case.array(&format!("f64_start_grad_{}", n * n)), 1e-6);
        }
    }
    Ok(())
}
