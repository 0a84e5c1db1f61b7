//! What holds for every statistic on the plane and the line: both devices agree, passes, fusion, threads and batches change nothing, derivatives are derivatives, users' filters work.

mod support;

use scatterc::compiler::gradient;
use scatterc::{Boundary, Compiler, Device, Element, Error, Fusion, Goal, Plane, Source, with_numbers};
use support::*;

/// Statistic, its variant and numbers, and a small domain for it.
struct Subject {
    name: &'static str,
    variant: Option<&'static str>,
    plane: Plane,
}

fn subjects() -> Result<Vec<Subject>, Error> {
    let filter = |statistic: &str, name: &str| Source::find(statistic)?.filter(name);
    let plane =
        |H, W, J, L, name: &str, boundary, cut| -> Result<Plane, Error> { Ok(Plane::new(H, W, J, L, &filter("cheng", name)?, boundary, cut)?) };
    let voices = with_numbers(&filter("kymatio1d", "kymatio1d")?, &[("Q1".into(), 2.0)])?;
    let of = |name, variant, plane| Subject { name, variant, plane };
    Ok(vec![
        of("cheng", None, plane(16, 18, 2, 2, "morlet", Boundary::Periodic, false)?),
        of("cheng", Some("isotropic_P11"), plane(17, 16, 2, 3, "bump", Boundary::Periodic, false)?),
        of("cheng", None, plane(18, 16, 2, 2, "gaussian_harmonic", Boundary::Periodic, true)?),
        of("cheng_coefficients", None, plane(16, 17, 2, 2, "gaussian", Boundary::Periodic, false)?),
        of("wph", Some("auto"), plane(16, 16, 2, 2, "phase_harmonics", Boundary::Periodic, false)?),
        of("spectra", None, Plane::line(24, 2, 1, &filter("spectra", "battle_lemarie")?, Boundary::Symmetric)?),
        of("spectra", None, Plane::line(25, 2, 2, &filter("spectra", "spectra_bump")?, Boundary::Periodic)?),
        of("kymatio1d", Some("global"), Plane::cascade(40, 3, 8, &voices)?),
        of("kymatio1d", None, Plane::cascade(33, 3, 4, &voices)?),
        of("kymatio2d", None, plane(16, 19, 2, 2, "kymatio2d", Boundary::Reflect, false)?),
    ])
}

fn compiler<'a>(source: &'a Source, subject: &'a Subject) -> Compiler<'a> {
    let compiler = Compiler::new(source, &subject.plane).variant(subject.variant).threads(1);
    if subject.name == "wph" { compiler.number("J", 2.0).number("dn", 1.0) } else { compiler }
}

/// Results of a goal for random inputs and parameters.
fn run(compiler: &Compiler, goal: Goal, threads: usize) -> Result<Arrays, Error> {
    let compiled = compiler.clone().goal(goal).compile()?;
    let inputs = given(&compiled.graph);
    Ok(on_cpu(compiled.plan(), threads, &inputs))
}

#[test]
fn other_elements_and_cuda_on_the_emulation_give_the_same_numbers() -> Result<(), Error> {
    for subject in subjects()? {
        let source = Source::find(subject.name)?;
        let compiler = compiler(&source, &subject).goal(Goal::VectorJacobian);
        let compiled = compiler.compile()?;
        let inputs = given(&compiled.graph);
        let expected = on_cpu(compiled.plan(), 1, &inputs);
        let single = on_cpu(compiler.clone().device(Device::Cpu(Element::F32)).compile()?.plan(), 1, &inputs);
        assert_equal(&single, &expected, 1e-3, &format!("{} {:?} f32 on the CPU", subject.name, subject.variant));
        for (element, tolerance) in [(Element::F64, 1e-12), (Element::F32, 1e-3)] {
            let found = on_emulation(compiler.clone().device(Device::EmulatedCuda(element)).compile()?.plan(), &inputs);
            assert_equal(&found, &expected, tolerance, &format!("{} {:?} {element}", subject.name, subject.variant));
        }
    }
    Ok(())
}

#[test]
fn passes_fusion_threads_and_devices_change_nothing() -> Result<(), Error> {
    for subject in subjects()? {
        let source = Source::find(subject.name)?;
        let compiler = compiler(&source, &subject);
        let what = format!("{} {:?}", subject.name, subject.variant);
        let plain = compiler.clone().compile()?;
        let inputs = given(&plain.graph);
        let expected = on_reference(&plain.bound.graph, &inputs);
        assert_equal(&on_cpu(plain.plan(), 1, &inputs), &expected, 1e-12, &what);
        let text = plain.plan().to_string();
        assert_eq!(scatterc::ir::plan::parse(&text).as_ref(), Ok(plain.plan()), "{what}: the text of the plan");
        let text = plain.graph.to_string();
        assert_eq!(scatterc::ir::text::parse(&text).as_ref(), Ok(&plain.graph), "{what}: the text of the graph");
        let gradient = run(&compiler, Goal::VectorJacobian, 1)?;
        assert_equal(&run(&compiler, Goal::VectorJacobian, 3)?, &gradient, 0.0, &format!("{what}, threads"));
        for pass in scatterc::compiler::pass::PASSES {
            let without = compiler.clone().disable(&[pass.name.to_string()]);
            assert_equal(&run(&without, Goal::VectorJacobian, 1)?, &gradient, 1e-12, &format!("{what} without {}", pass.name));
        }
        for fusion in [Fusion::None, Fusion::Loops, Fusion::Gram] {
            assert_equal(&run(&compiler.clone().fusion(fusion), Goal::VectorJacobian, 1)?, &gradient, 1e-12, &format!("{what} {fusion:?}"));
        }
    }
    Ok(())
}

#[test]
fn filtered_spectra_of_contractions_are_never_stored() -> Result<(), Error> {
    let source = Source::find("cheng")?;
    let plane = Plane::new(32, 32, 3, 2, &source.filter("morlet")?, Boundary::Periodic, false)?;
    for (goal, wanted) in [(Goal::Statistics, &["filter_gram"][..]), (Goal::Gradient("l2".into()), &["filter_gram", "filter_mix"])] {
        let compiler = Compiler::new(&source, &plane).goal(goal).threads(1);
        let counts = step_counts(compiler.compile()?.plan());
        assert!(wanted.iter().all(|kind| counts.contains_key(*kind)), "{counts:?}");
        assert!(!counts.keys().any(|kind| kind.starts_with("spectral_filter")), "{counts:?}");
        let stored = compiler.clone().fusion(Fusion::Gram).compile()?;
        let counts = step_counts(stored.plan());
        assert!(counts.contains_key("spectral_filter") && !counts.contains_key("filter_gram"), "{counts:?}");
        assert!(compiler.compile()?.plan().arena < stored.plan().arena, "weighing in cache saves memory");
    }
    Ok(())
}

#[test]
fn masks_weigh_averages_on_every_grid() -> Result<(), Error> {
    let source = Source::find("cheng")?;
    for (H, W, cut) in [(16, 18, false), (17, 16, false), (18, 16, true)] {
        let plane = Plane::new(H, W, 2, 2, &source.filter("morlet")?, Boundary::Periodic, cut)?.mask();
        let compiler = Compiler::new(&source, &plane).variant(Some("raw")).threads(1);
        let compiled = compiler.compile()?;
        let mut inputs = given(&compiled.graph);
        let (x, mask) = (random(3, H * W), random(5, H * W).into_iter().map(f64::abs).collect::<Vec<f64>>());
        for (name, values) in &mut inputs {
            values.clone_from(if name == "mask" { &mask } else { &x });
        }
        let found = on_cpu(compiled.plan(), 1, &inputs);
        assert_equal(&found, &on_reference(&compiled.bound.graph, &inputs), 1e-12, "masked");
        // The mean is that of its definition.
        let (_, mean) = found.iter().find(|(name, _)| name == "mean").expect("the mean");
        let expected = x.iter().zip(&mask).map(|(x, m)| x * m).sum::<f64>() / mask.iter().sum::<f64>();
        assert!((mean[0] - expected).abs() <= 1e-13, "{} expected {expected}", mean[0]);
    }
    Ok(())
}

#[test]
fn derivatives_are_derivatives() -> Result<(), Error> {
    for subject in subjects()? {
        let source = Source::find(subject.name)?;
        let compiler = compiler(&source, &subject);
        let n = subject.plane.H * subject.plane.W;
        let (x, t) = (random(3, n), random(4, n));
        let (_, mut forward) = compiler.clone().executable()?;
        let (compiled, mut tangent) = compiler.clone().goal(Goal::JacobianVector).executable()?;
        let name = gradient::inputs(&compiled.bound.graph)[0].1.clone();
        let at = |executable: &mut scatterc::runtime::Executable, h: f64| -> Result<Arrays, Error> {
            let moved: Vec<f64> = x.iter().zip(&t).map(|(x, t)| x + h * t).collect();
            Ok(executable.run(&[(name.as_str(), moved.as_slice())])?)
        };
        let h = 1e-4;
        let shifted = [at(&mut forward, h)?, at(&mut forward, -h)?, at(&mut forward, 2.0 * h)?, at(&mut forward, -2.0 * h)?];
        let exact = tangent.run(&[(name.as_str(), x.as_slice()), (&format!("tangent.{name}"), t.as_slice())])?;
        for (k, (output, _)) in shifted[0].iter().enumerate() {
            let (_, found) = exact.iter().find(|(other, _)| *other == format!("tangent.{output}")).expect("a tangent per output");
            // Fourth order in h; moduli near zero limit the order, and cancellation the small entries.
            let numeric: Vec<f64> = (0..found.len())
                .map(|i| (8.0 * (shifted[0][k].1[i] - shifted[1][k].1[i]) - (shifted[2][k].1[i] - shifted[3][k].1[i])) / (12.0 * h))
                .collect();
            // Real and imaginary parts share their scale: one of them may vanish.
            let stem = output.trim_end_matches(".re").trim_end_matches(".im");
            let same = |name: &str| name.trim_start_matches("tangent.").trim_end_matches(".re").trim_end_matches(".im") == stem;
            let related = exact.iter().chain(&shifted[0]).filter(|(name, _)| same(name)).flat_map(|(_, values)| values);
            let scale = related.fold(0.0f64, |m, x| m.max(x.abs()));
            let worst = found.iter().zip(&numeric).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
            assert!(worst <= 1e-4, "{} {:?} {output}: {worst:e}", subject.name, subject.variant);
        }
    }
    Ok(())
}

#[test]
fn losses_of_images_have_gradients() -> Result<(), Error> {
    for subject in subjects()? {
        let source = Source::find(subject.name)?;
        let compiler = compiler(&source, &subject);
        let n = subject.plane.H * subject.plane.W;
        let (x, y, t) = (random(7, n), random(8, n), random(9, n));
        let target = compiler.encoder()?.encode(&y)?;
        let targets = scatterc::sensitivity::parameter_arrays("T", &target);
        let (_, mut executable) = compiler.clone().goal(Goal::Gradient("l2".into())).executable()?;
        let mut at = |h: f64| -> Result<(f64, Vec<f64>), Error> {
            let moved: Vec<f64> = x.iter().zip(&t).map(|(x, t)| x + h * t).collect();
            let mut given: Vec<(&str, &[f64])> = vec![("x", &moved)];
            given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
            let mut results = executable.run(&given)?;
            let gradient = results.pop().map(|r| r.1).unwrap_or_default();
            Ok((results[0].1[0], gradient))
        };
        let h = 1e-5;
        let numeric = (at(h)?.0 - at(-h)?.0) / (2.0 * h);
        let exact: f64 = at(0.0)?.1.iter().zip(&t).map(|(g, t)| g * t).sum();
        assert!(
            (numeric - exact).abs() <= 1e-5 * exact.abs().max(1e-3),
            "{} {:?}: {exact}, differences give {numeric}",
            subject.name,
            subject.variant
        );
        // A batch sums over its members; the target has no batch axis.
        let (_, mut both) = compiler.clone().batch(Some(2)).goal(Goal::Gradient("l2".into())).executable()?;
        let pair = [x.clone(), y.clone()].concat();
        let mut given: Vec<(&str, &[f64])> = vec![("x", &pair)];
        given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
        let values = both.run(&given)?[0].1.clone();
        let alone = at(0.0)?.0;
        assert!(
            (values[0] - alone).abs() <= 1e-12 * alone && values[1].abs() <= 1e-20 * alone.max(1.0),
            "{}: {values:?}, alone {alone}",
            subject.name
        );
    }
    Ok(())
}

#[test]
fn a_member_of_a_batch_equals_a_single_run() -> Result<(), Error> {
    for subject in subjects()? {
        let source = Source::find(subject.name)?;
        let n = subject.plane.H * subject.plane.W;
        let (x, y) = (random(5, n), random(6, n));
        let both = compiler(&source, &subject).batch(Some(2)).encoder()?.encode(&[x, y.clone()].concat())?;
        let one = compiler(&source, &subject).encoder()?.encode(&y)?;
        for (all, own) in both.arrays.iter().zip(&one.arrays) {
            let expected = vec![("a".to_string(), own.re.clone())];
            assert_equal(&vec![("a".to_string(), all.re[own.re.len()..].to_vec())], &expected, 1e-13, &format!("{} {}", subject.name, own.name));
        }
    }
    Ok(())
}

#[test]
fn filters_of_a_text_are_used_and_their_faults_are_shown() -> Result<(), Error> {
    let text = "filter rings { k = 2 * pi * sqrt((row / H)^2 + (column / W)^2); width = 0.5;
        psi = over_rows(over_columns(exp(-(k * 2^j - 2)^2 / width) * max(cos(atan2(column, row) - l * pi / L), 0)^2, -1, 0), -1, 0);
        wavelet = select(row + column, psi, 0); }
        statistic first(x) { W[j, l] = wavelet(x, j, l); P[j, l] = power(W[j, l]); return P; }";
    let source = Source::from_text(text, "rings.scat")?;
    let found = |filter: &scatterc::ir::notation::Filter| -> Result<Vec<f64>, Error> {
        let plane = Plane::new(16, 16, 2, 2, filter, Boundary::Periodic, false)?;
        Ok(Compiler::new(&source, &plane).encoder()?.encode(&random(1, 256))?.arrays[0].re.clone())
    };
    let filter = source.filter("rings")?;
    let plain = found(&filter)?;
    assert!(plain.iter().all(|p| *p > 0.0));
    assert_ne!(plain, found(&with_numbers(&filter, &[("width".into(), 0.25)])?)?);
    let refused = |text: &str| match Source::from_text(text, "f.scat") {
        Ok(_) => "accepted".to_string(),
        Err(error) => error.to_string(),
    };
    for (text, words) in [
        ("filter f { wavelet = rows; }", "`rows` is not defined; did you mean `row`?"),
        ("filter f { wavelet = fourrier(row); }", "`fourrier` is not a function of filters; did you mean `fourier`?"),
        ("filter f { wavelet = greater(row); }", "`greater` takes 2 arguments, found 1"),
        ("filter f { psi = row; }", "the filter `f` has no `wavelet`"),
        ("filter f { H = 2; wavelet = row; }", "`H` is already a name of the filter"),
    ] {
        let error = refused(text);
        words.split("; ").for_each(|part| assert!(error.contains(part), "{text}: {error}"));
    }
    // Plans from elsewhere may hold any text: recursion and endless sums are refused.
    for (text, words) in [
        ("filter f { wavelet = wavelet + 1; }", "`wavelet` is not defined"),
        ("filter f { wavelet = over_rows(row, -1000, 1000); }", "sums at most 128 terms"),
        ("statistic s(x) { A = mean(x); return A; }", "holds no filter"),
    ] {
        let bank = scatterc::ir::Bank { text: text.into(), ..scatterc::ir::Bank::sample() };
        let map = scatterc::ir::Linear::Smooth { H: 4, W: 6, j: 0, bank: bank.clone() };
        let map = if text.contains("over_rows") { scatterc::ir::Linear::Filter { H: 4, W: 6, j: 0, power: 1, real: 1, bank } } else { map };
        let space = scatterc::ir::Space::RealSpectrum { H: 4, W: 6 };
        let ty = scatterc::ir::Type::new([], space);
        let error = scatterc::runtime::reference::apply(&map, false, &ty, &random(1, ty.len())).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{text}: {error}");
    }
    // A formula without value somewhere is refused when the plan is loaded.
    let bad = Source::from_text(&text.replace("select(row + column, psi, 0)", "psi / row"), "bad.scat")?;
    let plane = Plane::new(16, 16, 2, 2, &bad.filter("rings")?, Boundary::Periodic, false).map_err(Error::from);
    let error = plane.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("filter `rings`") && error.contains("not finite"), "{error}");
    Ok(())
}

/// The radial profile of the sphere's wavelets as a filter of the plane: kappa(ell / 2^j) at ell = |k| - 1/2, with k in radians^-1 on a square of side `side`, scale 0 for j = `finest`.
fn harmonic_profile(side: f64, finest: usize) -> String {
    // kappa_j(ell) depends on ell / 2^j alone: a large scale tabulates it. Hats of width 1/64 interpolate linearly between x = 1/2 and 2.
    let table = scatterc::kernels::wavelets::kappa_of_scale(4096, 10);
    let hats: Vec<String> = (1..96).map(|k| format!("{:.9} * max(0, 1 - abs(64 * x - {}))", table[512 + 16 * k], 32 + k)).collect();
    let blocks: Vec<String> = hats.chunks(24).map(|block| block.join(" + ")).collect();
    let sums: String = blocks.iter().enumerate().map(|(k, block)| format!("    h{k} = {block};\n")).collect();
    let total = (0..blocks.len()).map(|k| format!("h{k}")).collect::<Vec<_>>().join(" + ");
    format!(
        "filter harmonic_profile {{\n    r = row - H * greater(row, H / 2);\n    c = column - W * greater(column, W / 2);\n    x = (2 * pi / {side} * sqrt(r^2 + c^2) - 0.5) / 2^({finest} - j);\n{sums}    wavelet = {total};\n}}\n"
    )
}

#[test]
fn a_small_patch_of_the_sphere_is_a_plane() -> Result<(), Error> {
    // The same statistic, and the same field, a bump of Gaussian width s: on the sphere f_l0 = sqrt((2l + 1) / 4 pi) exp(-(l + 1/2)^2 s^2 / 2), whose planar limit is
    // exp(-r^2 / 2 s^2) / (2 pi s^2). N, divided by the area of the domain, is the integral of (psi_j * W_i^2)^2 over the square of that of W_i^2: no area and no amplitude is left in it but the
    // factor 1 / (2 pi) of the sphere's psi^2. With two octaves between i and j the quadrature of the grid of scale i has no error that counts here.
    let text = "statistic layers(x) {
        W[j]    = wavelet(x, j, 0);
        N[i, j] = power(wavelet(W[i]^2, j, 0)) / power(W[i])^2 where depth(i) < depth(j);
        return N;
    }\n";
    // Angles up to 3 from the middle of the bump: the coarsest response has died away there, and on the sphere before the other pole.
    let (L, width, side, n, finest) = (128, 0.03, 6.0, 256, 5);
    let mut coefficients = vec![0.0; 2 * L * L];
    for l in 0..L {
        let k = l as f64 + 0.5;
        coefficients[2 * l * L] = (k / std::f64::consts::TAU).sqrt() * (-0.5 * (k * width).powi(2)).exp();
    }
    let at = |k: usize| (k as f64 - (n / 2) as f64) * side / n as f64;
    let image: Vec<f64> = (0..n * n).map(|p| (-0.5 * (at(p / n).powi(2) + at(p % n).powi(2)) / (width * width)).exp()).collect();
    let source = Source::from_text(&format!("{text}{}", harmonic_profile(side, finest)), "layers")?;
    let sphere = scatterc::Sphere::new(L, 1, 2, scatterc::InputKind::Half)?;
    let plane = Plane::new(n, n, 4, 1, &source.filter("harmonic_profile")?, Boundary::Periodic, false)?;
    let round = Compiler::new(&source, &sphere).threads(1).encoder()?.encode(&coefficients)?;
    let flat = Compiler::new(&source, &plane).threads(1).encoder()?.encode(&image)?;
    let of = |s: &scatterc::Statistics, i: usize, j: usize| {
        let array = s.get("N").expect("an output");
        array.re[array.index.rows.iter().position(|row| row[..] == [i as i64, j as i64]).expect("scales")]
    };
    let areas = 4.0 * std::f64::consts::PI / (side * side);
    let difference = |i: usize, j: usize| std::f64::consts::TAU * of(&round, i, j) / of(&flat, finest - i, finest - j) / areas - 1.0;
    // A response of scale j has the size 2^-j, over which a sphere bends by a part of its square: P_l(cos theta) is J_0((l + 1/2) theta) up to theta^2 / 24.
    let (coarse, fine) = (difference(4, 2), difference(5, 3));
    assert!(coarse.abs() <= 1.0 / 16.0 / 4f64.powi(2), "scales 4 and 2: {coarse:e}");
    assert!(fine.abs() <= 1.0 / 16.0 / 4f64.powi(3), "scales 5 and 3: {fine:e}");
    assert!(fine.abs() < coarse.abs() / 3.0, "an octave finer the curvature counts a quarter: {coarse:e}, {fine:e}");
    Ok(())
}
