//! Statistics of `examples/statistics`: the same text on several domains, plans against the reference device, gradients against differences; forecasts, Gauss-Newton, sampled paths.

#![allow(non_snake_case)]

mod support;

use scatterc::forecast::Forecast;
use scatterc::gauss_newton::{GaussNewton, Options, Stop};
use scatterc::paths::Paths;
use scatterc::sensitivity::SensitivityError;
use scatterc::{Boundary, Compiler, Domain, Error, Goal, Healpix, InputKind, Plane, Source, Sphere, random};
use support::*;

fn text(name: &str) -> Source {
    let path = root().join(format!("examples/statistics/{name}.scat"));
    Source::find(&path.to_string_lossy()).unwrap_or_else(|e| panic!("{e}"))
}

/// Small domains of all kinds; `profiles` brings filters of its own and runs on images and series.
fn domains(source: &Source, name: &str) -> Result<Vec<Box<dyn Domain>>, Error> {
    if name == "profiles" {
        let filter = source.filter("profiles")?;
        return Ok(vec![
            Box::new(Plane::new(16, 18, 3, 3, &filter, Boundary::Periodic, false)?),
            Box::new(Plane::line(40, 3, 1, &filter, Boundary::Periodic)?),
        ]);
    }
    let (morlet, bank) = (source.filter("morlet")?, source.filter("battle_lemarie")?);
    Ok(vec![
        Box::new(Sphere::new(8, 2, 0, InputKind::Half)?),
        Box::new(Healpix::new(4, 2, 3)?),
        Box::new(Plane::new(16, 18, 3, 2, &morlet, Boundary::Periodic, false)?),
        Box::new(Plane::line(32, 3, 1, &bank, Boundary::Periodic)?),
    ])
}

fn sound(name: &str) -> Result<(), Error> {
    let source = text(name);
    let domains = domains(&source, name)?;
    assert!(domains.len() >= 2);
    domains.iter().try_for_each(|domain| assert_sound(&source, &**domain, name))
}

#[test]
fn third_order_scattering() -> Result<(), Error> {
    sound("third")
}

#[test]
fn skewness_and_kurtosis() -> Result<(), Error> {
    sound("shape")?;
    // A field times a number keeps both; a Gaussian field has values near zero, its square does not.
    let source = text("shape");
    let plane = Plane::new(64, 64, 3, 2, &source.filter("morlet")?, Boundary::Periodic, false)?;
    let mut encoder = Compiler::new(&source, &plane).threads(1).encoder()?;
    let field = random::samples(64 * 64, 3, 0);
    let (first, second) = (encoder.encode(&field)?, encoder.encode(&field.iter().map(|x| 3.0 * x).collect::<Vec<_>>())?);
    let of = |s: &scatterc::Statistics, name: &str| s.get(name).map(|a| a.re.clone()).unwrap_or_default();
    for name in ["skewness", "kurtosis"] {
        assert!(of(&first, name).iter().zip(of(&second, name)).all(|(a, b)| (a - b).abs() < 1e-10), "{name}");
    }
    assert!(of(&first, "kurtosis")[..2].iter().all(|k| k.abs() < 0.3), "{:?}", of(&first, "kurtosis"));
    let cubed = encoder.encode(&field.iter().map(|x| x * x * x).collect::<Vec<_>>())?;
    assert!(of(&cubed, "kurtosis")[0] > 1.0, "{:?}", of(&cubed, "kurtosis"));
    Ok(())
}

#[test]
fn cross_covariances_of_fields() -> Result<(), Error> {
    sound("cross_fields")?;
    // A field with itself: every correlation of the first layer is 1.
    let source = text("cross_fields");
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let x = random::white(8, 1, 0);
    let statistics = Compiler::new(&source, &sphere).threads(1).encoder()?.encode_fields(&[&x, &x, &x])?;
    for name in ["xy", "xz", "yz"] {
        assert!(statistics.get(name).is_some_and(|a| a.re.iter().all(|c| (c - 1.0).abs() < 1e-12)), "{name}");
    }
    Ok(())
}

#[test]
fn a_nonlinearity_of_ones_own() -> Result<(), Error> {
    sound("nonlinearity")
}

#[test]
fn radial_and_angular_profiles_of_ones_own() -> Result<(), Error> {
    sound("profiles")
}

#[test]
fn depth_orders_scales_alike_on_every_domain() -> Result<(), Error> {
    let source = text("third");
    let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    let plane = Plane::new(16, 16, 3, 1, &source.filter("morlet")?, Boundary::Periodic, false)?;
    for (domain, finer_is_larger) in [(&sphere as &dyn Domain, true), (&plane, false)] {
        let compiled = Compiler::new(&source, domain).compile()?;
        let s3 = compiled.bound.outputs.iter().find(|o| o.name == "S3").expect("an output");
        assert!(
            s3.index.rows.iter().all(|r| if finer_is_larger { r[0] > r[1] && r[1] > r[2] } else { r[0] < r[1] && r[1] < r[2] }),
            "{:?}",
            s3.index
        );
    }
    Ok(())
}

/// Powers of two frequencies of sixteen samples: 1 (and 15), 8.
const SPECTRUM: &str = "
filter lines {
    wavelet = select(greater(j, 0.5), greater(0.5, abs(column - 8)), greater(0.5, abs(column - 1)) * sqrt(2));
}
statistic powers(x) { W[j] = wavelet(x, j, 0); P[j] = power(W[j]); return P; }";

#[test]
fn a_forecast_equals_the_analytic_one_of_gaussian_fields() -> Result<(), SensitivityError> {
    let source = Source::from_text(SPECTRUM, "powers")?;
    let line = Plane::line(16, 2, 1, &source.filter("lines")?, Boundary::Periodic)?;
    // x = sum_i s_i e_i n_i in an orthonormal basis of frequencies, n white. s_1 = A and s_2 = A exp(t / 2): an amplitude and a tilt.
    let wave = |p: usize, shift: f64| (std::f64::consts::TAU * p as f64 / 16.0 - shift).cos() / 8f64.sqrt();
    let basis: [Vec<f64>; 4] = [
        vec![0.25; 16],
        (0..16).map(|p| wave(p, 0.0)).collect(),
        (0..16).map(|p| wave(p, std::f64::consts::FRAC_PI_2)).collect(),
        (0..16).map(|p| if p % 2 == 0 { 0.25 } else { -0.25 }).collect(),
    ];
    let (A, t) = (1.3f64, 0.4f64);
    let high = A * (t / 2.0).exp();
    let scales = [1.0, A, A, high];
    let by_A = [0.0, 1.0, 1.0, high / A];
    let by_t = [0.0, 0.0, 0.0, high / 2.0];
    let field = |n: &[f64; 4], s: &[f64; 4]| (0..16).map(|p| (0..4).map(|i| n[i] * s[i] * basis[i][p]).sum()).collect::<Vec<f64>>();
    let mut forecast = Forecast::new(&Compiler::new(&source, &line).threads(1), &["A", "t"])?;
    // Simulations whose averages of products of up to five numbers are exactly those of a normal distribution: Gauss-Hermite nodes 0 (four times), -sqrt 3, sqrt 3 in every direction.
    let nodes = [0.0, 0.0, 0.0, 0.0, -(3.0f64.sqrt()), 3.0f64.sqrt()];
    for k in 0..6usize.pow(4) {
        let n = [nodes[k % 6], nodes[k / 6 % 6], nodes[k / 36 % 6], nodes[k / 216]];
        forecast.add(&field(&n, &scales), &[&field(&n, &by_A), &field(&n, &by_t)])?;
    }
    let found = forecast.fisher()?;
    // P_j = c_j sum_i of its frequencies (s_i n_i)^2: mean c_j k_j s^2, variance 2 c_j^2 k_j s^4, so that F_ab = sum_j k_j / 2 dlog(s^2)/da dlog(s^2)/db, k = 2 and 1.
    let log = [[2.0 / A, 2.0 / A], [0.0, 1.0]];
    let k = [2.0, 1.0];
    let s = found.simulations as f64;
    // The sample covariance has s - 1 for s, and the factor for its bias.
    let factor = (s - 4.0) / (s - 1.0) * (s - 1.0) / s;
    for a in 0..2 {
        for b in 0..2 {
            let expected: f64 = factor * (0..2).map(|j| k[j] / 2.0 * log[a][j] * log[b][j]).sum::<f64>();
            assert!(
                (found.information[2 * a + b] - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                "{a} {b}: {} expected {expected}",
                found.information[2 * a + b]
            );
        }
    }
    let determinant = found.information[0] * found.information[3] - found.information[1] * found.information[2];
    assert!((found.errors[0] - (found.information[3] / determinant).sqrt()).abs() < 1e-12 && found.numbers == 2);
    Ok(())
}

#[test]
fn forecasts_refuse_what_they_cannot_say() -> Result<(), SensitivityError> {
    let source = Source::from_text(SPECTRUM, "powers")?;
    let line = Plane::line(16, 2, 1, &source.filter("lines")?, Boundary::Periodic)?;
    let mut forecast = Forecast::new(&Compiler::new(&source, &line).threads(1), &["A"])?;
    let x = random::samples(16, 1, 0);
    assert!(matches!(forecast.add(&x, &[]), Err(SensitivityError::Length { .. })));
    assert!(matches!(forecast.fisher(), Err(SensitivityError::Length { .. })));
    for _ in 0..9 {
        forecast.add(&x, &[&x])?;
    }
    // The same simulation over and over has no covariance.
    assert!(matches!(forecast.fisher(), Err(SensitivityError::Covariance { .. })));
    assert!(forecast.add(&[1.0; 3], &[&x]).is_err());
    Ok(())
}

#[test]
fn gauss_newton_meets_the_statistics_of_a_target() -> Result<(), SensitivityError> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let cheng = Source::find("cheng")?;
    let plane = Plane::new(16, 16, 2, 2, &cheng.filter("morlet")?, Boundary::Periodic, false)?;
    let cases: [(&Source, &dyn Domain, Vec<f64>, Vec<f64>); 2] = [
        (&source, &sphere, random::white(8, 1, 0), random::white(8, 2, 0)),
        (&cheng, &plane, random::samples(256, 1, 0), random::samples(256, 2, 0)),
    ];
    for (source, domain, wanted, noise) in cases {
        // Near enough for the minimum that it finds to be the one with chi^2 = 0.
        let start: Vec<f64> = wanted.iter().zip(&noise).map(|(x, n)| x + 0.1 * n).collect();
        let compiler = Compiler::new(source, domain).threads(1);
        let target = compiler.encoder()?.encode(&wanted)?;
        let solution = GaussNewton::new(&compiler)?.solve(&target, &start, None, &Options { tolerance: 1e-8, ..Options::default() })?;
        let (first, last) = (solution.history[0], solution.history[solution.history.len() - 1]);
        assert!(solution.history.windows(2).all(|w| w[1] < w[0]), "{:?}", solution.history);
        assert!(
            solution.stop == Stop::Converged && last <= 1e-8 * first,
            "{}: {:?} after {} runs: {:?}",
            domain.describe(),
            solution.stop,
            solution.runs,
            solution.history
        );
    }
    Ok(())
}

#[test]
fn sampled_paths_have_the_full_gradient_as_expectation() -> Result<(), SensitivityError> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(8, 2, 0, InputKind::Half)?;
    let compiler = Compiler::new(&source, &sphere).threads(1);
    let (wanted, field) = (random::white(8, 1, 0), random::white(8, 2, 0));
    let target = compiler.encoder()?.encode(&wanted)?;
    let groups: &[(&[&str], f64)] = &[(&["mean", "variance", "S1"], 1.0), (&["S2"], 0.7), (&["S3"], 0.4), (&["S4"], 0.2)];
    let mut paths = Paths::new(&source, None, &sphere, "l2", groups)?;
    paths.set_target(&target)?;
    // The loss of everything in one plan.
    let mut whole = scatterc::sensitivity::LossGradient::new(&compiler, "l2")?;
    whole.set_target(&target)?;
    let (value, gradient) = whole.value_and_gradient(&field)?;
    let near = |a: &[f64], b: &[f64], what: &str| {
        let largest = b.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-12 * largest), "{what}");
    };
    let (full, slope) = paths.full(&field)?;
    near(&[full], &value, "value");
    near(&slope, &gradient, "gradient");
    // The expectation over all sixteen samples.
    let (mut mean, mut expectation, mut total) = (0.0, vec![0.0; field.len()], 0.0);
    for k in 0..1 << paths.len() {
        let sample: Vec<bool> = (0..paths.len()).map(|g| k >> g & 1 == 1).collect();
        let q = paths.probability(&sample);
        let (own, slope) = paths.value_and_gradient(&field, &sample)?;
        total += q;
        mean += q * own;
        expectation.iter_mut().zip(&slope).for_each(|(e, s)| *e += q * s);
    }
    assert!((total - 1.0).abs() < 1e-15);
    near(&[mean], &value, "expectation of the value");
    near(&expectation, &gradient, "expectation of the gradient");
    // Samples are drawn with their probabilities, the same for the same number.
    let drawn: Vec<usize> = (0..4).map(|g| (0..4000).filter(|n| paths.sample(*n)[g]).count()).collect();
    for (count, q) in drawn.iter().zip([1.0, 0.7, 0.4, 0.2]) {
        assert!((*count as f64 / 4000.0 - q).abs() < 0.03, "{drawn:?}");
    }
    assert_eq!(paths.sample(11), paths.sample(11));
    assert!(matches!(Paths::new(&source, None, &sphere, "l2", &[(&["S1"], 0.0)]), Err(SensitivityError::Program(Error::Option { .. }))));
    assert!(matches!(Paths::new(&source, None, &sphere, "l2", &[(&["S9"], 0.5)]), Err(SensitivityError::Program(Error::Option { .. }))));
    Ok(())
}

/// A statistic of no file of this repository, from the pages of the book alone: how much more intermittent a scale is than a Gaussian one, how its modulus to a power follows that of a finer
/// scale, and whether its peaks and troughs differ; one number per scale and angle, all without units.
const INTERMITTENCY: &str = "
statistic intermittency(x; q = 1.5) {
    W[j, g]       = wavelet(x, j, g);
    U[j, g]       = sqrt(abs(W[j, g])^2 + 0.01 * power(W[j, g]));
    flat[j, g]    = log(mean(U[j, g]^q)) - q / 2 * log(power(W[j, g]));
    E[i, h, j, g] = wavelet(U[i, h]^q, j, g)                                          where depth(i) < depth(j), depth(j) - depth(i) <= 2;
    T[j, i, g, h] = cov(U[j, g], abs(E[i, h, j, g])) / sqrt(var(U[j, g]) * power(E[i, h, j, g]));
    follow[j, i, d] = mean{g}(T[j, i, g, g + d]);
    tilt[j]       = mean{g}(mean(tanh(re(W[j, g]) / sqrt(power(W[j, g])))^3 * exp(-U[j, g] / sqrt(power(W[j, g])))));
    spread        = sum{j, g}(flat[j, g]^2);
    return flat, follow, tilt, spread;
}";

#[test]
fn a_statistic_from_the_book_alone_compiles_everywhere_with_the_right_gradient() -> Result<(), Error> {
    let source = Source::from_text(INTERMITTENCY, "intermittency")?;
    for domain in domains(&source, "intermittency")? {
        // The reference device, plans of two fusions, and the gradient of a loss against differences, all in f64.
        assert_sound(&source, &*domain, "intermittency")?;
        // The Jacobian forwards against differences, and <J t, c> = <t, J^T c> to rounding: the reverse pass is the transpose of the forward one.
        let compiler = Compiler::new(&source, &*domain).threads(1);
        let forward = compiler.clone().goal(Goal::JacobianVector).compile()?;
        let reverse = compiler.clone().goal(Goal::VectorJacobian).compile()?;
        let (there, back) = (given(&forward.graph), given(&reverse.graph));
        let (x, t) = (array(&there, "x").to_vec(), array(&there, "tangent.x").to_vec());
        let (jt, ty) = (on_cpu(forward.plan(), 1, &there), on_cpu(reverse.plan(), 1, &back));
        let names: Vec<String> = jt.iter().filter_map(|(name, _)| name.strip_prefix("tangent.").map(str::to_string)).collect();
        assert_eq!(names, ["flat", "follow", "tilt", "spread"]);
        assert_eq!(x, array(&back, "x"), "both run on the same field");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let left: f64 = names.iter().map(|name| dot(array(&jt, &format!("tangent.{name}")), array(&back, &format!("cotangent.{name}")))).sum();
        let right = dot(&t, array(&ty, "gradient.x"));
        assert!((left - right).abs() <= 1e-11 * left.abs().max(right.abs()), "{}: {left:e} and {right:e}", domain.describe());
        let plain = compiler.compile()?;
        let at = |by: f64| {
            let moved: Vec<f64> = x.iter().zip(&t).map(|(x, t)| x + by * t).collect();
            on_cpu(plain.plan(), 1, &vec![("x".into(), moved)])
        };
        let (h, largest) = (1e-6, |values: &[f64]| values.iter().fold(1e-300f64, |m, x| m.max(x.abs())));
        let (above, below) = (at(h), at(-h));
        for name in &names {
            let slope: Vec<f64> = array(&above, name).iter().zip(array(&below, name)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
            let found = array(&jt, &format!("tangent.{name}"));
            let worst = found.iter().zip(&slope).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-5 * largest(found), "{name} on {}: {worst:e} of {:e}", domain.describe(), largest(found));
        }
    }
    Ok(())
}
