//! Every recorded case of wavelet phase harmonics: filters, moments with translations, normalised and cross moments, gradients.
//!
//! Tolerance: 1e-8 of each array's maximum.

mod planar;

use planar::*;
use scatterc::ir::Bank;
use scatterc::{Boundary, Compiler, Error, Goal, Plane, Source, Statistics};
use std::collections::BTreeMap;

const CASES: [(&str, usize, usize, usize); 2] = [("wph_32x48_J3_L4_filters", 3, 4, 0), ("wph_n64_J4_L4_dn2", 4, 4, 2)];

fn plane(case: &Case, J: usize, L: usize) -> Result<Plane, Error> {
    let x = case.array("x");
    Ok(Plane::new(x.shape[0], x.shape[1], J, L, &Source::find("wph")?.filter("phase_harmonics")?, Boundary::Periodic, false)?)
}

/// Output and index of every recorded row (j1, t1, p1, j2, t2, p2, n, a), then of the scaling rows (j, p, q).
fn places(case: &Case, L: i64) -> Vec<(&'static str, Vec<i64>)> {
    let table = |name: &str| {
        let rows = case.array(name);
        rows.re.chunks_exact(rows.shape[1]).map(|row| row.iter().map(|x| *x as i64).collect::<Vec<i64>>()).collect::<Vec<_>>()
    };
    let mut out = Vec::new();
    for row in table("rows") {
        let [j, t, p, k, u, q, n, a] = row.as_slice() else { panic!("rows have eight columns") };
        // Translations by an angle more than pi are those of the other factor by the opposite one.
        let opposite = *a >= L;
        out.push(match (p, q, j == k) {
            (1, 1, true) => ("S11", vec![*j, *n, *t, *a]),
            (0, 0, true) => ("S00", vec![*j, *n, *t, *a]),
            (0, 1, true) => ("S01", vec![*j, *t]),
            (0, 1, false) if *n == 0 => ("C01", vec![*j, *k, *t, *u]),
            (0, 1, false) => (if opposite { "C01minus" } else { "C01plus" }, vec![*j, *k, *n, *t, *a % L]),
            (1, ..) => (if opposite { "phaseminus" } else { "phase" }, vec![*j, *k, *n, *t, *a % L]),
            other => panic!("an unknown row {other:?}"),
        });
    }
    for row in table("scaling_rows") {
        let name = match (row[1], row[2]) {
            (0, 0) => "L00",
            (0, 1) => "L01",
            _ => "L11",
        };
        out.push((name, vec![row[0] + 1]));
    }
    out
}

fn entries(found: &Statistics, places: &[(&str, Vec<i64>)]) -> Vec<usize> {
    let row = |(name, index): &(&str, Vec<i64>)| output(found, name).index.rows.iter().position(|row| row == index);
    places.iter().map(|place| row(place).unwrap_or_else(|| panic!("{} has no row {:?}", place.0, place.1))).collect()
}

fn values(found: &Statistics, places: &[(&str, Vec<i64>)]) -> Vec<(f64, f64)> {
    let rows = entries(found, places);
    places.iter().zip(rows).map(|((name, _), k)| (output(found, name).re[k], output(found, name).im.as_ref().map_or(0.0, |im| im[k]))).collect()
}

/// The recorded bank. The low-pass filter of scale j belongs to the octave below it.
fn compare_filters(case: &Case, bank: &Bank, J: usize) -> Outcome {
    let psi: Vec<(f64, f64)> = (0..J).map(|j| sampled(bank, j, false)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let expected = case.array("phi_hat");
    let phi: Vec<(f64, f64)> = (0..expected.shape[0])
        .map(|k| sampled(bank, J - 1 - expected.shape[0] + k, true))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    println!("psi_hat {:.1e}, phi_hat {:.1e}", difference(&psi, &case.array("psi_hat"), "psi_hat"), difference(&phi, &expected, "phi_hat"));
    Ok(())
}

#[test]
fn moments_equal_the_recorded_ones() -> Outcome {
    for (name, J, L, dn) in CASES {
        let Some(case) = case(name) else { continue };
        let (plane, source) = (plane(&case, J, L)?, Source::find("wph")?);
        if case.has("psi_hat") {
            compare_filters(&case, &plane.bank, J)?;
        }
        let (x, y) = (case.array("x").re, case.array("x_b").re);
        let places = places(&case, L as i64);
        let compiler = |statistic: &str, variant| {
            let compiler = Compiler::new(&source, &plane).statistic(statistic).variant(variant).threads(1);
            compiler.number("J", J as f64).number("dn", dn as f64)
        };
        let plain = compiler("wph", None).encoder()?.encode(&x)?;
        let a = difference(&values(&plain, &places), &case.array("coef_None"), "coef_None");
        let auto = compiler("wph", Some("auto")).encoder()?.encode(&x)?;
        let b = difference(&values(&auto, &places), &case.array("coef_auto"), "coef_auto");
        let cross = compiler("wph_cross", None).encoder()?.encode_fields(&[&x, &y])?;
        let c = difference(&values(&cross, &places), &case.array("coef_cross"), "coef_cross");
        // Means and deviations frozen at those of the second map.
        let moments = compiler("wph", Some("moments")).encoder()?.encode(&y)?;
        let frozen = moments.arrays.iter().fold(compiler("wph", Some("frozen")), |c, array| c.array(&array.name));
        let mut encoder = frozen.encoder()?;
        // A parameter has an entry for every pair of scales, the moments for those that exist.
        let mut norms: Vec<(String, Vec<f64>)> = Vec::new();
        for parameter in encoder.compiled().bound.parameters.clone() {
            let array = output(&moments, &parameter.name);
            let of = |row: &Vec<i64>| array.index.rows.iter().position(|r| r == row).map_or(1.0, |k| array.re[k]);
            norms.push((parameter.name.clone(), parameter.index.rows.iter().map(of).collect()));
        }
        for (name, values) in &norms {
            encoder.set(name, values)?;
        }
        let fixed = encoder.encode(&x)?;
        let f = difference(&values(&fixed, &places), &case.array("coef_frozen"), "coef_frozen");
        // The gradient of Re sum conj(cotangent) coefficients.
        let cotangent = case.array("cotangent");
        let mut arrays: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for array in &plain.arrays {
            let zeros = vec![0.0; array.re.len()];
            let suffixes: &[&str] = if array.im.is_some() { &[".re", ".im"] } else { &[""] };
            suffixes.iter().for_each(|s| drop(arrays.insert(format!("cotangent.{}{s}", array.name), zeros.clone())));
        }
        for (k, ((name, _), row)) in places.iter().zip(entries(&plain, &places)).enumerate() {
            let (re, im) = (cotangent.re[k], cotangent.im.as_ref().map_or(0.0, |im| im[k]));
            if let Some(real) = arrays.get_mut(&format!("cotangent.{name}")) {
                real[row] += re;
                continue;
            }
            arrays.get_mut(&format!("cotangent.{name}.re")).expect("a complex output")[row] += re;
            arrays.get_mut(&format!("cotangent.{name}.im")).expect("a complex output")[row] += im;
        }
        let mut backward = Vec::new();
        for (program, given, array) in [(compiler("wph", None), false, "vjp_None"), (frozen, true, "vjp_frozen")] {
            let (_, mut executable) = program.goal(Goal::VectorJacobian).executable()?;
            let mut inputs: Vec<(&str, &[f64])> = vec![("x", &x)];
            inputs.extend(arrays.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
            if given {
                inputs.extend(norms.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
            }
            let results = executable.run(&inputs)?;
            let gradient: Vec<(f64, f64)> = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient").1.iter().map(|g| (*g, 0.0)).collect();
            backward.push(difference(&gradient, &case.array(array), array));
        }
        println!("{name}: plain {a:.1e}, auto {b:.1e}, cross {c:.1e}, frozen {f:.1e}, gradients {:.1e} {:.1e}", backward[0], backward[1]);
        case.complete();
    }
    Ok(())
}
