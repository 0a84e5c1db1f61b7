//! Every recorded case of kymatio's scattering in one and two dimensions: values, gradients, directional derivatives, odd and rectangular sizes.
//!
//! Tolerance: 1e-8 of each array's maximum, recorded directional derivatives (central differences of step 1e-6) included. Only `S_native_f32_filters` cannot be had to that: it was
//! made with a bank whose transforms ran in single precision, and their rounding errors, 1e-7 of a filter's maximum, follow from no formula.

mod planar;

use planar::*;
use scatterc::ir::filter::{Evaluation, Transform};
use scatterc::{Boundary, Compiler, Error, Goal, Plane, Source, Statistics, with_numbers};

/// What is compared: paths in the recorded order, as (output, offset of the first number, numbers).
struct Layout {
    paths: Vec<(String, usize, usize)>,
}

/// Numbers of a run in the recorded order.
fn flat(layout: &Layout, get: impl Fn(&str) -> Vec<f64>) -> Vec<(f64, f64)> {
    let mut cache: std::collections::HashMap<&str, Vec<f64>> = std::collections::HashMap::new();
    let mut out = Vec::new();
    for (name, start, count) in &layout.paths {
        let values = cache.entry(name).or_insert_with(|| get(name));
        out.extend(values[*start..start + count].iter().map(|x| (*x, 0.0)));
    }
    out
}

/// A cotangent in the recorded order, sorted into outputs.
fn unflat(layout: &Layout, values: &[f64], length: impl Fn(&str) -> usize) -> Vec<(String, Vec<f64>)> {
    let mut out: Vec<(String, Vec<f64>)> = Vec::new();
    let mut k = 0;
    for (name, start, count) in &layout.paths {
        if !out.iter().any(|o| o.0 == *name) {
            out.push((name.clone(), vec![0.0; length(name)]));
        }
        let array = out.iter_mut().find(|o| o.0 == *name).expect("it was pushed");
        array.1[*start..start + count].copy_from_slice(&values[k..k + count]);
        k += count;
    }
    out
}

fn length(statistics: &Statistics, name: &str) -> usize {
    output(statistics, name).re.len()
}

/// Values, and gradients and directional derivatives where they are recorded.
fn compare(case: &Case, compiler: &Compiler, layout: impl Fn(&Statistics) -> Layout, array: &str) -> Outcome {
    let x = case.array("x");
    let mut encoder = compiler.encoder()?;
    let mut worst: f64 = 0.0;
    let (mut backward, mut forward) = (0.0f64, 0.0f64);
    for b in 0..x.shape[0] {
        let field = x.at(b).re;
        let found = encoder.encode(&field)?;
        let layout = layout(&found);
        let expected = case.array(array).at(b);
        worst = worst.max(difference(&flat(&layout, |name| output(&found, name).re.clone()), &expected, &format!("{} {array}", case.name)));
        if !case.has("vjp_x") {
            continue;
        }
        let cotangents = unflat(&layout, &case.array("vjp_cotangent").at(b).re, |name| length(&found, name));
        let (_, mut executable) = compiler.clone().goal(Goal::VectorJacobian).executable()?;
        let names: Vec<String> = cotangents.iter().map(|(name, _)| format!("cotangent.{name}")).collect();
        let mut inputs: Vec<(&str, &[f64])> = vec![("x", &field)];
        inputs.extend(names.iter().zip(&cotangents).map(|(name, (_, values))| (name.as_str(), values.as_slice())));
        let results = executable.run(&inputs)?;
        let gradient: Vec<(f64, f64)> = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient").1.iter().map(|g| (*g, 0.0)).collect();
        backward = backward.max(difference(&gradient, &case.array("vjp_x").at(b), &format!("{} vjp", case.name)));
        let tangent = case.array("jvp_tangent").at(b).re;
        let (_, mut executable) = compiler.clone().goal(Goal::JacobianVector).executable()?;
        let results = executable.run(&[("x", &field), ("tangent.x", &tangent)])?;
        let get = |name: &str| results.iter().find(|r| r.0 == format!("tangent.{name}")).expect("a tangent").1.clone();
        let (along, expected) = (flat(&layout, get), case.array("jvp_fd").at(b));
        let scale = expected.largest();
        let error = along.iter().zip(&expected.re).map(|((a, _), b)| (a - b).abs() / scale).fold(0.0, f64::max);
        // Central differences of step 1e-6: rounding 1e-16 / 1e-6 and curvature 1e-12, both relative to moderate numbers.
        assert!(error <= TOLERANCE, "{} jvp: {error:e}", case.name);
        forward = forward.max(error);
    }
    if case.has("S_native_f32_filters") {
        // Single-precision filters of theirs against exact ones: what is left is their rounding.
        let (exact, native) = (case.array("S"), case.array("S_native_f32_filters"));
        let error = exact.re.iter().zip(&native.re).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / exact.largest();
        assert!((1e-10..1e-6).contains(&error), "{}: {error:e}", case.name);
    }
    case.complete();
    println!("{}: values {worst:.1e}, gradient {backward:.1e}, forward mode {forward:.1e}", case.name);
    Ok(())
}

#[test]
fn two_dimensional_scattering_equals_the_recorded_one() -> Outcome {
    let cases = [
        ("k2_n32_J2_L4_filters", 2, 4),
        ("k2_48x40_J3_L4", 3, 4),
        ("k2_37x50_J2_L6", 2, 6),
        ("k2_n64_J3_L8_textures", 3, 8),
        ("k2_n64_J4_L8_grad", 4, 8),
        ("k2_n128_J5_L4_order1", 5, 4),
    ];
    let source = Source::find("kymatio2d")?;
    for (name, J, L) in cases {
        let Some(case) = case(name) else { continue };
        let x = case.array("x");
        let plane = Plane::new(x.shape[1], x.shape[2], J, L, &source.filter("kymatio2d")?, Boundary::Reflect, false)?;
        let mut compiler = Compiler::new(&source, &plane).threads(1);
        if name.ends_with("order1") {
            compiler = compiler.variant(Some("first"));
        }
        let (paths, angles) = (case.array("path_j").re, case.array("path_theta").re);
        let layout = |found: &Statistics| {
            let n = length(found, "S0");
            let paths = paths.chunks_exact(2).zip(angles.chunks_exact(2)).map(|(j, l)| match (j[0] < 0.0, j[1] < 0.0) {
                (true, _) => ("S0".to_string(), 0, n),
                (false, true) => (format!("S1_{}", j[0]), l[0] as usize * n, n),
                (false, false) => (format!("S2_{}_{}", j[0], j[1]), (l[0] as usize * L + l[1] as usize) * n, n),
            });
            Layout { paths: paths.collect() }
        };
        if case.has("psi_hat") {
            let psi: Vec<(f64, f64)> = (0..J).map(|j| sampled(&plane.bank, j, false)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            difference(&psi, &case.array("psi_hat"), "psi_hat");
            difference(&sampled(&plane.bank, J, true)?, &case.array("phi_hat"), "phi_hat");
        }
        compare(&case, &compiler, layout, "S")?;
    }
    Ok(())
}

#[test]
fn one_dimensional_scattering_equals_the_recorded_one() -> Outcome {
    // Name, J, Q1, Q2, T (0 for 2^J), stride (0 for the largest power of two up to T), variant.
    let cases = [
        ("k1_n256_J4_Q1", 4, 1, 1, 0, 0, None),
        ("k1_n1024_J6_Q8", 6, 8, 1, 0, 0, None),
        ("k1_n1000_J5_Q4x2_T16", 5, 4, 2, 16, 0, None),
        ("k1_n777_J5_Q8_T32_stride8", 5, 8, 1, 32, 8, None),
        ("k1_n300_J5_Q2_T100", 5, 2, 1, 100, 0, None),
        ("k1_n512_J4_Q1_global", 4, 1, 1, 0, 512, Some("global")),
        ("k1_n512_J4_Q1_noavg", 4, 1, 1, 0, 512, Some("moduli")),
    ];
    let source = Source::find("kymatio1d")?;
    for (name, J, Q1, Q2, T, stride, variant) in cases {
        let Some(case) = case(name) else { continue };
        let x = case.array("x");
        let numbers: Vec<(String, f64)> = [("Q1", Q1), ("Q2", Q2), ("T", T)].iter().map(|(n, v)| (n.to_string(), f64::from(*v))).collect();
        let filter = with_numbers(&source.filter("kymatio1d")?, &numbers)?;
        let length_T: usize = if T == 0 { 1 << J } else { T as usize };
        let stride = if stride > 0 { stride } else { 1 << length_T.ilog2() };
        let line = Plane::cascade(x.shape[1], J, stride, &filter)?;
        let padding = case.array("padding").re;
        assert_eq!(vec![line.bank.W as f64, line.padding[2] as f64, line.padding[3] as f64], padding, "{name}: padding");
        let compiler = Compiler::new(&source, &line).variant(variant).threads(1);
        let first = case.array("xi_sigma_j_order1").shape[0];
        let octaves = wavelets(&case, &line, first)?;
        let paths = case.array("path_n").re;
        // Octaves of the wavelets of every path.
        for (n, j) in paths.chunks_exact(2).zip(case.array("path_j").re.chunks_exact(2)) {
            let own = |n: f64, first: usize| if n < 0.0 { -1.0 } else { octaves[n as usize + first] };
            assert_eq!([own(n[0], 0), own(n[1], first)], j, "{name}: octaves of path {n:?}");
        }
        let layout = |found: &Statistics| {
            let paths = paths.chunks_exact(2).map(|n| {
                let name = match (n[0] < 0.0, n[1] < 0.0) {
                    (true, _) => "S0".to_string(),
                    (false, true) => format!("S1_{}", n[0]),
                    // Wavelets of the second layer are numbered after those of the first.
                    (false, false) => format!("S2_{}_{}", n[0], n[1] as usize + first),
                };
                if variant == Some("global") {
                    // One number per path.
                    let order = name[..2].to_string();
                    let path: Vec<i64> = name[2..].split('_').filter(|part| !part.is_empty()).map(|part| part.parse().expect("a wavelet")).collect();
                    let row = output(found, &order).index.rows.iter().position(|row| *row == path).expect("the path exists");
                    return (order, row, 1);
                }
                let count = length(found, &name);
                (name, 0, count)
            });
            Layout { paths: paths.collect() }
        };
        if case.has("S_lengths") {
            let found = compiler.encoder()?.encode(&x.at(0).re)?;
            let lengths: Vec<f64> = layout(&found).paths.iter().map(|path| path.2 as f64).collect();
            assert_eq!(lengths, case.array("S_lengths").re, "{name}: lengths");
        }
        compare(&case, &compiler, layout, if variant == Some("moduli") { "S_flat" } else { "S" })?;
    }
    Ok(())
}

/// Centres, widths and octaves of all wavelets, which the filter's text defines, against the recorded ones; returns the octaves.
fn wavelets(case: &Case, line: &Plane, first: usize) -> Result<Vec<f64>, Error> {
    let filter = line.bank.filter().expect("a valid filter");
    let mut octaves = Vec::new();
    for (name, start) in [("xi_sigma_j_order1", 0), ("xi_sigma_j_order2", first)] {
        let expected = case.array(name);
        let mut ours = Vec::new();
        for n in start..start + expected.shape[0] {
            let mut evaluation = Evaluation::new(&filter, &line.bank, n, 0, &NoTransform);
            for word in ["xi", "sigma", "octave"] {
                ours.push((evaluation.number(word).expect("a number"), 0.0));
            }
            octaves.extend(ours.last().map(|octave| octave.0));
        }
        // Columns have sizes of their own.
        for column in 0..3 {
            let of = |x: &[(f64, f64)]| x.iter().skip(column).step_by(3).copied().collect::<Vec<_>>();
            let part = Golden { shape: vec![expected.shape[0]], re: expected.re.iter().skip(column).step_by(3).copied().collect(), im: None };
            difference(&of(&ours), &part, name);
        }
    }
    Ok(octaves)
}

/// For definitions that need no transform.
struct NoTransform;

impl Transform for NoTransform {
    fn fourier(&self, _: usize, _: usize, _: bool, _: &mut [f64], _: &mut [f64]) {}
}

#[test]
fn sizes_that_do_not_fit_are_refused() -> Outcome {
    let source = Source::find("kymatio2d")?;
    let filter = source.filter("kymatio2d")?;
    let refused = |H, W, J, L| match Plane::new(H, W, J, L, &filter, Boundary::Reflect, false) {
        Err(error) => error.to_string(),
        Ok(_) => "accepted".into(),
    };
    assert_eq!(refused(8, 64, 2, 4), "`height` is 8, expected from 16 to 32768 pixels");
    assert_eq!(refused(64, 32, 6, 4), "`scales` is 6, expected from 1 to 5, so that 2^J fits the shorter side of 32 samples");
    assert_eq!(refused(64, 64, 2, 0), "`orientations` is 0, expected from 1 to 64");
    assert_eq!(refused(64, 64, 6, 4), "`scales` is 6, expected fewer: an image of 64 x 64 cannot be reflected by 2^6 pixels");
    let odd = Plane::new(63, 64, 3, 4, &source.filter("morlet")?, Boundary::Periodic, true);
    assert_eq!(odd.map_err(|e| e.to_string()), Err("`edges` is cut for an image of 63 x 64, expected even sizes where edges are cut".to_string()));
    assert!(matches!(source.filter("morlett"), Err(Error::UnknownFilter { .. })));
    Ok(())
}
