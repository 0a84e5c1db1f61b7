//! Derivatives and synthesis: S2SCAT's recorded gradients and Adam trajectories, laws of derivatives, and synthesis on small spheres.

#![allow(non_snake_case)]

mod common;

use common::{cases, folder};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use scatterc::optimise::{self, CheckpointError, Control, Method, ObjectiveError};
use scatterc::sensitivity::{Hessian, LossGradient, Pullback, Pushforward, flatten, jacobian, to_jax};
use scatterc::synthesis::{Generator, Options, Start, SynthesisError};
use scatterc::{Compiler, Error, InputKind, Source, Sphere, Statistics, random};
use std::fs::File;

const NAMES: [(&str, &str); 6] = [("mean", "mean"), ("variance", "var"), ("S1", "S1"), ("S2", "P00"), ("S3", "C01"), ("S4", "C11")];

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |a, v| a.max(v.abs()))
}

fn difference(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).fold(0.0, |a, (p, q)| a.max((p - q).abs()))
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

/// A steep spectrum, as maps of the sky have.
fn red(L: usize, seed: u64) -> Vec<f64> {
    let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.5)).collect();
    random::gaussian_with_spectrum(L, &spectrum, seed, 0)
}

/// A field with non-Gaussian structure: a red field plus its product with shifted copies of its phases.
fn lumpy(L: usize, seed: u64) -> Vec<f64> {
    let mut field = red(L, seed);
    let other = red(L, seed + 1000);
    for ell in 2..L {
        for m in 1..=ell {
            let p = 2 * (ell * L + m);
            let boost = 1.0 + 0.8 * (other[p] / (1e-12 + other[p].abs()));
            field[p] *= boost;
            field[p + 1] *= boost;
        }
    }
    field
}

#[test]
fn gradients_equal_s2scat() -> Result<(), Error> {
    let (mut worst, mut worst_value) = (0.0f64, 0.0f64);
    for case in cases(128).iter().filter(|case| case.has("grad")) {
        let source = Source::find("s2scat")?;
        let sphere = Sphere::new(case.L, case.N, case.J_min, if case.real { InputKind::Half } else { InputKind::Full })?;
        let normed = case.has(&format!("grad_norm_{}", case.J_min));
        // Isotropic cases have as many C01 as pairs of scales.
        let pairs = (sphere.J() - case.J_min) * (sphere.J() - case.J_min + 1) / 2;
        let isotropic = case.N > 1 && case.real_array("grad_target_C01").len() == pairs || case.name == "L32_N1_J2_real";
        let mut compiler = Compiler::new(&source, &sphere).variant(isotropic.then_some("isotropic"));
        if normed {
            compiler = compiler.array("P");
        }
        let mut loss = LossGradient::new(&compiler, "l2")?;
        for (ours, theirs) in NAMES {
            loss.set(&format!("T.{ours}"), &case.real_array(&format!("grad_target_{theirs}")))?;
        }
        if normed {
            let norms: Vec<f64> = (case.J_min..=sphere.J()).flat_map(|j| case.array(&format!("grad_norm_{j}"))).collect();
            loss.set("P", &norms)?;
        }
        let (value, mut gradient) = loss.value_and_gradient(&case.array("grad_start_flm"))?;
        to_jax(&mut gradient);
        let expected = case.array("grad");
        let (error, recorded) = (difference(&gradient, &expected) / largest(&expected), case.array("grad_loss")[0]);
        let value_error = (value[0] - recorded).abs() / recorded;
        println!("{}: gradient {error:.1e}, value {value_error:.1e}", case.name);
        assert!(error <= 1e-9, "{}: gradient differs by {error:e} of its maximum", case.name);
        assert!(value_error <= 1e-10, "{}: loss {} expected {recorded}", case.name, value[0]);
        worst = worst.max(error);
        worst_value = worst_value.max(value_error);
    }
    println!("worst: gradient {worst:.1e}, value {worst_value:.1e}");
    Ok(())
}

/// Arrays of an archive by name; complex ones interleaved.
fn archive(name: &str) -> Option<impl FnMut(&str) -> Vec<f64>> {
    let path = folder().join(name);
    let Ok(file) = File::open(&path) else {
        println!("skipped: {} is absent", path.display());
        return None;
    };
    let mut reader = NpzReader::new(file).expect("an npz archive");
    Some(move |key: &str| {
        let key = format!("{key}.npy");
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(&key) {
            return a.iter().copied().collect();
        }
        let a: ArrayD<Complex64> = reader.by_name(&key).expect("a real or complex array");
        a.iter().flat_map(|z| [z.re, z.im]).collect()
    })
}

#[test]
fn adam_trajectories_equal_s2scat() -> Result<(), Box<dyn std::error::Error>> {
    for (name, J_min, rate) in [("adam_L16_red.npz", 0, 1e-2), ("adam_L16_lss.npz", 2, 1e-3)] {
        let Some(mut array) = archive(name) else { continue };
        let source = Source::find("s2scat")?;
        let sphere = Sphere::new(16, 3, J_min, InputKind::Half)?;
        let mut loss = LossGradient::new(&Compiler::new(&source, &sphere).array("P"), "l2")?;
        for (ours, theirs) in NAMES {
            // The recorded variance is complex with zero imaginary part.
            let values = array(&format!("target_{theirs}"));
            loss.set(&format!("T.{ours}"), if theirs == "var" { &values[..1] } else { &values })?;
        }
        let norms: Vec<f64> = (J_min..=sphere.J()).flat_map(|j| array(&format!("norm_{j}"))).collect();
        loss.set("P", &norms)?;
        let mut objective = |x: &[f64], gradient: &mut [f64]| -> Result<f64, ObjectiveError> {
            let (value, g) = loss.value_and_gradient(x)?;
            gradient.copy_from_slice(&g);
            Ok(value[0])
        };
        let recorded = array("loss");
        let limits = optimise::Options { max_steps: recorded.len(), ..optimise::Options::default() };
        let method = Options::adam(rate);
        let outcome = optimise::minimise(&method, array("start_flm"), 1, &mut objective, &limits, &mut |_| Control::Continue)?;
        let start = array("loss_start")[0];
        assert!((outcome.history[0][0] - start).abs() <= 1e-10 * start, "{name}: {} expected {start}", outcome.history[0][0]);
        let mut worst = 0.0f64;
        for (k, (row, expected)) in outcome.history[1..].iter().zip(&recorded).enumerate() {
            worst = worst.max((row[0] - expected).abs() / expected);
            assert!((row[0] - expected).abs() <= 1e-8 * expected, "{name}: loss after step {}: {} expected {expected}", k + 1, row[0]);
        }
        let last = array("final_flm");
        let error = difference(&outcome.x, &last) / largest(&last);
        println!("{name}: losses {worst:.1e}, field {error:.1e}");
        assert!(error <= 1e-8, "{name}: final field differs by {error:e}");
    }
    Ok(())
}

#[test]
fn hessian_vector_product_equals_differences_of_gradients() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let compiler = Compiler::new(&source, &sphere);
    let target = compiler.encoder()?.encode(&red(8, 1))?;
    let (mut loss, mut hessian) = (LossGradient::new(&compiler, "l2")?, Hessian::new(&compiler, "l2")?);
    loss.set_target(&target)?;
    hessian.set_target(&target)?;
    for seed in 0..3 {
        let (x, v) = (red(8, 10 + seed), random::white(8, 20 + seed, 0));
        let (gradient, product) = hessian.apply(&x, &v)?;
        assert!(difference(&gradient, &loss.value_and_gradient(&x)?.1) <= 1e-12 * largest(&gradient));
        // The modulus bends near zeros of W: the best of several steps decides.
        let best = [1e-5, 3e-6, 1e-6, 3e-7]
            .into_iter()
            .map(|h| -> Result<f64, Error> {
                let shifted = |sign: f64| x.iter().zip(&v).map(|(a, b)| a + sign * h * b).collect::<Vec<f64>>();
                let (plus, minus) = (loss.value_and_gradient(&shifted(1.0))?.1, loss.value_and_gradient(&shifted(-1.0))?.1);
                let quotient: Vec<f64> = plus.iter().zip(&minus).map(|(p, m)| (p - m) / (2.0 * h)).collect();
                Ok(difference(&quotient, &product) / largest(&product))
            })
            .try_fold(f64::INFINITY, |best, error| error.map(|e| f64::min(best, e)))?;
        println!("seed {seed}: {best:.1e}");
        assert!(best <= 1e-6, "seed {seed}: {best:e}");
    }
    Ok(())
}

#[test]
fn forward_and_reverse_mode_are_adjoint() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    for (L, N, J_min, input) in [(8, 3, 0, InputKind::Half), (16, 2, 1, InputKind::Half), (8, 2, 0, InputKind::Full), (8, 2, 0, InputKind::Grid)] {
        let sphere = Sphere::new(L, N, J_min, input)?;
        let compiler = Compiler::new(&source, &sphere);
        let n = match input {
            InputKind::Half => 2 * L * L,
            InputKind::Full => 2 * L * (2 * L - 1),
            InputKind::Grid => L * (2 * L - 1),
        };
        let noise = |seed: u64| -> Vec<f64> { random::white(32, seed, 0).into_iter().filter(|x| *x != 0.0).take(n).collect() };
        let (x, v) = (noise(1), noise(2));
        let (mut forward, mut reverse) = (Pushforward::new(&compiler)?, Pullback::new(&compiler)?);
        let (statistics, along) = forward.apply(&x, &v)?;
        let mut cotangents = reverse.zero_cotangents();
        let mut k = 0.0f64;
        for value in cotangents.arrays.iter_mut().flat_map(|a| a.re.iter_mut().chain(a.im.iter_mut().flatten())) {
            k += 1.0;
            *value = (k * 1.7).sin();
        }
        let (again, pulled) = reverse.apply(&x, &cotangents)?;
        assert!(difference(&flatten(&statistics), &flatten(&again)) <= 1e-13 * largest(&flatten(&statistics)));
        let (left, right) = (dot(&flatten(&along), &flatten(&cotangents)), dot(&v, &pulled));
        let scale = largest(&flatten(&along)) * flatten(&along).len() as f64;
        println!("L={L} N={N} {input:?}: {left} {right}");
        assert!((left - right).abs() <= 1e-12 * scale, "L={L} N={N} {input:?}: {left} {right}");
    }
    Ok(())
}

#[test]
fn jacobian_rows_equal_directional_derivatives() -> Result<(), Box<dyn std::error::Error>> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(4, 2, 0, InputKind::Half)?;
    let compiler = Compiler::new(&source, &sphere);
    let (x, v) = (red(4, 3), random::white(4, 4, 0));
    // A batch that does not divide the number of rows.
    let rows = jacobian(&compiler, &[], &x, 7)?;
    let along = flatten(&Pushforward::new(&compiler)?.apply(&x, &v)?.1);
    assert_eq!((rows.rows, rows.columns), (along.len(), x.len()));
    let product: Vec<f64> = rows.values.chunks_exact(rows.columns).map(|row| dot(row, &v)).collect();
    assert!(difference(&product, &along) <= 1e-12 * largest(&along));
    Ok(())
}

fn all_finite(statistics: &Statistics) -> bool {
    flatten(statistics).iter().all(|x| x.is_finite())
}

#[test]
fn derivatives_are_finite_on_zero_and_half_zero_maps() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let L = 8;
    let noise: Vec<f64> = random::white(16, 5, 0).into_iter().filter(|x| *x != 0.0).take(L * (2 * L - 1)).collect();
    let half: Vec<f64> = noise.iter().enumerate().map(|(k, x)| if k < noise.len() / 2 { 0.0 } else { *x }).collect();
    let cases = [
        (InputKind::Half, vec![0.0; 2 * L * L]),
        (InputKind::Grid, vec![0.0; noise.len()]),
        (InputKind::Grid, half),
        // Every second degree is empty.
        (
            InputKind::Half,
            red(L, 6).chunks_exact(2 * L).enumerate().flat_map(|(ell, row)| row.iter().map(move |x| if ell % 2 == 0 { 0.0 } else { *x })).collect(),
        ),
    ];
    for (k, (input, x)) in cases.into_iter().enumerate() {
        let sphere = Sphere::new(L, 3, 0, input)?;
        let compiler = Compiler::new(&source, &sphere);
        let target = compiler.encoder()?.encode(&x.iter().map(|_| 0.3).collect::<Vec<f64>>())?;
        let v: Vec<f64> = (0..x.len()).map(|i| (i as f64).cos()).collect();
        let mut loss = LossGradient::new(&compiler, "l2")?;
        loss.set_target(&target)?;
        let (value, gradient) = loss.value_and_gradient(&x)?;
        assert!(value[0].is_finite() && gradient.iter().all(|g| g.is_finite()), "case {k}: gradient");
        let (statistics, along) = Pushforward::new(&compiler)?.apply(&x, &v)?;
        assert!(all_finite(&statistics) && all_finite(&along), "case {k}: forward mode");
        let mut hessian = Hessian::new(&compiler, "l2")?;
        hessian.set_target(&target)?;
        assert!(hessian.apply(&x, &v)?.1.iter().all(|h| h.is_finite()), "case {k}: Hessian");
    }
    Ok(())
}

fn generator(L: usize, N: usize, J_min: usize, target: &[f64], options: Options) -> Result<Generator, SynthesisError> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(L, N, J_min, InputKind::Half)?;
    Generator::new(&source, &sphere, target, options)
}

#[test]
fn synthesis_reaches_the_target() -> Result<(), SynthesisError> {
    // More coefficients than numbers to match: small spheres with all directional statistics have only the target as exact solution.
    let cases = [
        (16, 2, 1, Start::Spectrum, true),
        (16, 2, 1, Start::White, true),
        (32, 2, 2, Start::Spectrum, false),
        (32, 2, 2, Start::White, false),
        (32, 3, 1, Start::Spectrum, true),
    ];
    for (L, N, J_min, start, isotropic) in cases {
        // Units far from one: the standardisation has to see to them.
        let target: Vec<f64> = lumpy(L, 11).iter().map(|x| 1e-5 * x).collect();
        let variant = isotropic.then(|| "isotropic".to_string());
        let options = Options { start: start.clone(), seed: 3, steps: 600, variant, ..Options::default() };
        let mut generator = generator(L, N, J_min, &target, options)?;
        let synthesis = generator.generate(&mut |_| Control::Continue)?;
        let report = generator.validate(&synthesis)?;
        let member = &report[0];
        println!("L={L} N={N} {start:?} {:?}\n{}", synthesis.outcome.stopped, scatterc::synthesis::validation_table(&report));
        assert!(member.error_end <= 0.01 * member.error_start, "L={L} N={N} {start:?}: {:e} -> {:e}", member.error_start, member.error_end);
        assert!(member.loss_end <= 1e-2 * member.loss_start);
        assert!((member.std.1 / member.std.0 - 1.0).abs() < 0.02 && member.correlation.abs() < 0.6);
        if start == Start::Spectrum {
            assert!(member.power_ratio.iter().all(|band| band.ratio.is_none_or(|r| (r - 1.0).abs() < 1e-12)), "{:?}", member.power_ratio);
        }
        // The result is real: Im f_l0 = 0, nothing above the diagonal.
        for ell in 0..L {
            assert_eq!(synthesis.fields[2 * ell * L + 1], 0.0);
            assert!(synthesis.fields[2 * (ell * L + ell + 1)..2 * (ell + 1) * L].iter().all(|x| *x == 0.0));
        }
    }
    Ok(())
}

#[test]
fn adam_lowers_the_loss_too() -> Result<(), SynthesisError> {
    let options = Options { method: Options::adam(0.02), steps: 100, ..Options::default() };
    let mut generator = generator(16, 2, 0, &red(16, 11), options)?;
    let synthesis = generator.generate(&mut |_| Control::Continue)?;
    let report = generator.validate(&synthesis)?;
    assert!(report[0].loss_end <= 0.05 * report[0].loss_start, "{:e} -> {:e}", report[0].loss_start, report[0].loss_end);
    Ok(())
}

#[test]
fn resuming_repeats_the_bits() -> Result<(), SynthesisError> {
    for method in [Method::Lbfgs(Default::default()), Options::adam(0.01)] {
        let target = lumpy(16, 21);
        let options = Options { count: 2, seed: 9, steps: 30, method, ..Options::default() };
        let whole = generator(16, 2, 0, &target, options.clone())?.generate(&mut |_| Control::Continue)?;
        // Stopped in the middle, saved, and read by another generator.
        let mut first = generator(16, 2, 0, &target, options.clone())?;
        let fingerprint = *first.fingerprint();
        let mut saved = Vec::new();
        first.generate(&mut |progress| {
            if progress.iteration < 11 {
                return Control::Continue;
            }
            saved = progress.state().expect("on the host").to_bytes(&fingerprint);
            Control::Stop
        })?;
        let mut second = generator(16, 2, 0, &target, options)?;
        let state = second.state(&saved)?;
        let resumed = second.resume(state, &mut |_| Control::Continue)?;
        assert_eq!(whole.fields, resumed.fields);
        assert_eq!(whole.outcome.history, resumed.outcome.history);
    }
    Ok(())
}

#[test]
fn members_do_not_depend_on_their_batch() -> Result<(), SynthesisError> {
    let target = lumpy(16, 31);
    let options = Options { count: 3, seed: 4, steps: 25, ..Options::default() };
    let together = generator(16, 2, 0, &target, options.clone())?.generate(&mut |_| Control::Continue)?;
    let width = 2 * 16 * 16;
    for k in 0..3 {
        let alone = generator(16, 2, 0, &target, Options { count: 1, first_member: k, ..options.clone() })?.generate(&mut |_| Control::Continue)?;
        let member = &together.fields[k * width..(k + 1) * width];
        let error = difference(&alone.fields, member) / largest(member);
        println!("member {k}: {error:.1e}");
        assert!(error <= 1e-12, "member {k}: {error:e}");
    }
    Ok(())
}

#[test]
fn bad_targets_and_options_are_typed_errors() {
    let fail = |target: &[f64], options: Options| generator(16, 2, 0, target, options).err().expect("an error");
    let good = red(16, 1);
    let with = |place: usize, value: f64| good.iter().enumerate().map(|(k, x)| if k == place { value } else { *x }).collect::<Vec<f64>>();
    assert!(matches!(fail(&with(70, f64::NAN), Options::default()), SynthesisError::NotFinite { what: "target", index: 70, .. }));
    assert!(matches!(fail(&good[1..], Options::default()), SynthesisError::Length { expected: 512, found: 511, .. }));
    assert!(matches!(fail(&with(3, 1.0), Options::default()), SynthesisError::NotReal { ell: 0, m: 1, .. }));
    assert!(matches!(fail(&with(2 * 16 * 4 + 1, 1.0), Options::default()), SynthesisError::NotReal { ell: 4, m: 0, .. }));
    let constant: Vec<f64> = (0..512).map(|k| if k == 0 { 2.5 } else { 0.0 }).collect();
    assert!(matches!(fail(&constant, Options::default()), SynthesisError::ZeroVariance { .. }));
    assert!(matches!(fail(&vec![0.0; 512], Options::default()), SynthesisError::ZeroVariance { .. }));
    // Without l <= 2 scales 0 and 1 lose their power or nearly all of it; scale 0 is l = 1 alone.
    let empty: Vec<f64> = good.iter().enumerate().map(|(k, x)| if k < 2 * 16 * 2 { 0.0 } else { *x }).collect();
    match fail(&empty, Options::default()) {
        SynthesisError::NoPower { scales, suggestion, .. } => assert_eq!((scales, suggestion), (vec![0], 1)),
        other => panic!("{other}"),
    }
    assert!(generator(16, 2, 0, &empty, Options { floor: Some(1e-3), ..Options::default() }).is_ok());
    assert!(generator(16, 2, 1, &empty, Options::default()).is_ok());
    assert!(matches!(fail(&good, Options { count: 0, ..Options::default() }), SynthesisError::Option { option: "count", .. }));
    assert!(matches!(fail(&good, Options { floor: Some(-1.0), ..Options::default() }), SynthesisError::Option { option: "floor", .. }));
    assert!(matches!(fail(&good, Options { start: Start::Given(vec![0.0; 3]), ..Options::default() }), SynthesisError::Length { what: "start", .. }));
    assert!(matches!(fail(&good, Options { loss: "none".into(), ..Options::default() }), SynthesisError::Program(Error::UnknownLoss { .. })));
}

#[test]
fn foreign_and_damaged_checkpoints_are_refused() -> Result<(), SynthesisError> {
    let (target, options) = (red(16, 1), Options { steps: 2, ..Options::default() });
    let mut one = generator(16, 2, 0, &target, options.clone())?;
    let fingerprint = *one.fingerprint();
    let mut saved = Vec::new();
    one.generate(&mut |progress| {
        saved = progress.state().expect("on the host").to_bytes(&fingerprint);
        Control::Continue
    })?;
    let checkpoint = |bytes: &[u8], generator: &Generator| match generator.state(bytes) {
        Err(SynthesisError::Checkpoint(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(one.state(&saved).is_ok());
    assert!(matches!(checkpoint(&saved[..saved.len() / 2], &one), CheckpointError::Truncated { .. }));
    assert!(matches!(
        checkpoint(b"something else, longer than any header would be, and then a little more", &one),
        CheckpointError::NotCheckpoint { .. }
    ));
    let mut damaged = saved.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert!(matches!(checkpoint(&damaged, &one), CheckpointError::Damaged { .. }));
    for (other, options) in [
        (red(16, 2), options.clone()),
        (target.clone(), Options { seed: 1, ..options.clone() }),
        (target.clone(), Options { method: Options::adam(0.1), ..options.clone() }),
        (target.clone(), Options { start: Start::White, ..options.clone() }),
    ] {
        assert!(matches!(checkpoint(&saved, &generator(16, 2, 0, &other, options)?), CheckpointError::ForeignFingerprint { .. }));
    }
    // More steps are no other run.
    assert!(generator(16, 2, 0, &target, Options { steps: 9, ..options })?.state(&saved).is_ok());
    Ok(())
}

#[test]
fn starts_are_what_they_say() -> Result<(), SynthesisError> {
    let target = red(16, 1);
    let spectrum = scatterc::synthesis::power_spectrum(16, &target);
    let start = |start: Start, seed: u64| -> Result<Vec<f64>, SynthesisError> {
        Ok(generator(16, 2, 0, &target, Options { start, seed, ..Options::default() })?.start())
    };
    assert_eq!(start(Start::Given(target.clone()), 1)?, target);
    assert_eq!(start(Start::Spectrum, 1)?, start(Start::Spectrum, 1)?);
    assert_ne!(start(Start::Spectrum, 1)?, start(Start::Spectrum, 2)?);
    let high = |field: &[f64]| scatterc::synthesis::power_spectrum(16, field)[8..].iter().sum::<f64>();
    let same = scatterc::synthesis::power_spectrum(16, &start(Start::Spectrum, 1)?);
    assert!(difference(&same, &spectrum) <= 1e-14 * largest(&spectrum));
    assert!(high(&start(Start::White, 1)?) > 1.2 * spectrum[8..].iter().sum::<f64>());
    // A run that starts at the target is at its end.
    let mut generator = generator(16, 2, 0, &target, Options { start: Start::Given(target.clone()), tolerance: 1e-6, ..Options::default() })?;
    let synthesis = generator.generate(&mut |_| Control::Continue)?;
    assert!(synthesis.outcome.iterations[0] <= 1 && synthesis.outcome.values[0] < 1e-20);
    Ok(())
}

/// Large-scale structure as S2SCAT's authors distribute it, seconds per bandlimit.
#[test]
fn large_scale_structure() -> Result<(), SynthesisError> {
    let Some(mut array) = archive("lss_flm_L256.npz") else { return Ok(()) };
    let flm = array("flm");
    for L in [64, 128] {
        let target: Vec<f64> = (0..L).flat_map(|ell| flm[2 * ell * 256..2 * (ell * 256 + L)].to_vec()).collect();
        let mut generator = generator(L, 3, 2, &target, Options { seed: 1, steps: 100, ..Options::default() })?;
        let start = std::time::Instant::now();
        let synthesis = generator.generate(&mut |_| Control::Continue)?;
        let evaluations = synthesis.outcome.evaluations[0];
        let report = generator.validate(&synthesis)?;
        println!("L={L}: {evaluations} evaluations, {:.2} s\n{}", start.elapsed().as_secs_f64(), scatterc::synthesis::validation_table(&report));
        assert!(report[0].loss_end <= 0.005 * report[0].loss_start);
        assert!(report[0].correlation.abs() < 0.1);
        assert!(report[0].power_ratio.iter().all(|band| band.ratio.is_none_or(|r| (r - 1.0).abs() < 0.05)));
    }
    // Scales 0 and 1 of this map are empty.
    let target: Vec<f64> = (0..64).flat_map(|ell| flm[2 * ell * 256..2 * (ell * 256 + 64)].to_vec()).collect();
    match generator(64, 3, 0, &target, Options::default()).err() {
        Some(SynthesisError::NoPower { scales, suggestion, .. }) => assert_eq!((scales, suggestion), (vec![0, 1], 2)),
        other => panic!("{other:?}"),
    }
    Ok(())
}
