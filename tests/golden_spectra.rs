//! Every recorded case of the scattering spectra of series: filters, normalisations, voices, two channels, scale invariance, gradients.
//!
//! Tolerance: 1e-8 of each array's maximum.

mod planar;

use planar::*;
use scatterc::{Boundary, Compiler, Error, Goal, Plane, Source, Statistics};
use std::collections::BTreeMap;

fn line(T: usize, J: usize, Q: usize, filters: &str) -> Result<Plane, Error> {
    let source = Source::find("spectra")?;
    Ok(Plane::line(T, J, Q, &source.filter(filters)?, Boundary::Symmetric)?)
}

/// Where a recorded row is among our outputs: name and index. Rows are (type, nl, nr, jl, jr, j2); types 0 mean, 1 spars, 2 variance, 3 skewness, 4 kurtosis and 5, 6 invariant ones.
fn place(row: &[i64], J: i64, Q: i64) -> (&'static str, Vec<i64>) {
    let last = J * Q;
    let (j, q) = (|n: i64| n / Q, |n: i64| n % Q);
    match row {
        [0, ..] => ("mean", vec![]),
        [1, _, _, n, ..] => ("sparsity", vec![j(*n), q(*n)]),
        [2, _, _, n, ..] if *n == last => ("variance0", vec![]),
        [2, _, _, n, ..] => ("variance", vec![j(*n), q(*n)]),
        [3, _, _, n, m, _] if *n == last => ("skewness0", vec![j(*m), q(*m)]),
        [3, _, _, n, m, _] => ("skewness", vec![j(*m), j(*n), q(*m), q(*n)]),
        [4, _, _, n, m, k] if *k == last => ("kurtosis0", vec![j(*n), j(*m), q(*n), q(*m)]),
        [4, _, _, n, m, k] => ("kurtosis", vec![j(*n), j(*m), j(*k), q(*n), q(*m), q(*k)]),
        [5, a, ..] => ("skewness", vec![*a, 0, 0]),
        [6, a, b, ..] => ("kurtosis", vec![*a, -*b, 0, 0, 0]),
        other => panic!("an unknown row {other:?}"),
    }
}

fn rows(case: &Case) -> Vec<Vec<i64>> {
    let rows = case.array("rows");
    rows.re.chunks_exact(rows.shape[1]).map(|row| row.iter().map(|x| *x as i64).collect()).collect()
}

fn entry(found: &Statistics, (name, index): &(&str, Vec<i64>)) -> usize {
    let row = output(found, name).index.rows.iter().position(|row| row == index);
    row.unwrap_or_else(|| panic!("{name} has no row {index:?}"))
}

fn value(found: &Statistics, place: &(&str, Vec<i64>)) -> (f64, f64) {
    let (array, k) = (output(found, place.0), entry(found, place));
    (array.re[k], array.im.as_ref().map_or(0.0, |im| im[k]))
}

/// Powers of the wavelets and of the low-pass part of every series.
fn powers(line: &Plane, fields: &[Vec<f64>]) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let source = Source::find("spectra")?;
    let mut encoder = Compiler::new(&source, line).statistic("spectra").variant(Some("plain")).threads(1).encoder()?;
    let (mut bands, mut low) = (vec![0.0; line.J * line.L], vec![0.0]);
    for field in fields {
        let found = encoder.encode(field)?;
        for (sum, x) in bands.iter_mut().zip(&output(&found, "variance").re).chain(low.iter_mut().zip(&output(&found, "variance0").re)) {
            *sum += x / fields.len() as f64;
        }
    }
    Ok((bands, low))
}

/// The recorded bank: wavelets, then the low-pass filter.
fn compare_filters(case: &Case, line: &Plane) -> Outcome {
    let (J, W) = (line.J, line.bank.W);
    let found: Vec<(f64, f64)> = (0..J).map(|j| sampled(&line.bank, j, false)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let expected = case.array("filters_hat");
    let (bands, low) = expected.re.split_at(expected.re.len() - W);
    let part = |re: &[f64]| Golden { shape: vec![re.len() / W, W], re: re.to_vec(), im: None };
    let bands = difference(&found, &part(bands), "wavelets");
    println!("{}: wavelets {bands:.1e}, low-pass {:.1e}", case.name, difference(&sampled(&line.bank, J, true)?, &part(low), "low-pass"));
    Ok(())
}

#[test]
fn spectra_equal_the_recorded_ones() -> Outcome {
    let cases = [
        ("ss_n1024_J6", 6, 1, "battle_lemarie"),
        ("ss_n500_J4_Q2_morlet", 4, 2, "spectra_morlet"),
        ("ss_n512_J5_bump", 5, 1, "spectra_bump"),
        ("ssinv_n512_J5", 5, 1, "battle_lemarie"),
    ];
    let source = Source::find("spectra")?;
    for (name, J, Q, filters) in cases {
        let Some(case) = case(name) else { continue };
        let x = case.array("x");
        let line = line(x.shape[2], J, Q, filters)?;
        if case.has("filters_hat") {
            compare_filters(&case, &line)?;
        }
        let fields: Vec<Vec<f64>> = (0..x.shape[0]).map(|b| x.at(b).re).collect();
        let (bands, low) = powers(&line, &fields)?;
        let places: Vec<_> = rows(&case).iter().map(|row| place(row, J as i64, Q as i64)).collect();
        let (with_reference, invariant) = (if Q > 1 { "voices" } else { "reference" }, name.starts_with("ssinv"));
        let runs: &[(Option<&str>, &str)] = if invariant {
            &[(Some("invariant"), "y")]
        } else {
            &[(Some(with_reference), "y_batch_ps"), (None, "y_each_ps"), (Some("plain"), "y_None")]
        };
        let mut worst: f64 = 0.0;
        for (variant, array) in runs.iter().filter(|(_, array)| case.has(array)) {
            let mut compiler = Compiler::new(&source, &line).statistic("spectra").variant(*variant).threads(1);
            let given = matches!(*variant, Some("reference" | "voices" | "invariant"));
            if given {
                compiler = compiler.array("P").array("P0");
            }
            let mut encoder = compiler.encoder()?;
            if given {
                encoder.set("P", &bands)?;
                encoder.set("P0", &low)?;
            }
            for (b, field) in fields.iter().enumerate() {
                let found = encoder.encode(field)?;
                // Invariant rows keep what involves the low-pass part beside the averages.
                let ours: Vec<(f64, f64)> = places.iter().map(|place| value(&found, place)).collect();
                worst = worst.max(difference(&ours, &case.array(array).at(b), &format!("{name} {array}")));
            }
        }
        case.complete();
        println!("{name}: {worst:.1e}");
    }
    Ok(())
}

#[test]
fn spectra_of_two_channels_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("ss_n512_J5_N2") else { return Ok(()) };
    let (x, J) = (case.array("x"), 5);
    let line = line(512, J, 1, "battle_lemarie")?;
    let source = Source::find("spectra")?;
    let channel = |b: usize, n: usize| x.at(b).at(n).re;
    let all: Vec<(Vec<f64>, Vec<f64>)> = (0..2).map(|n| powers(&line, &[channel(0, n), channel(1, n)])).collect::<Result<_, _>>()?;
    let mut worst: f64 = 0.0;
    for (array, batch, plain) in [("y_batch_ps", true, false), ("y_each_ps", false, false), ("y_None", false, true)] {
        for b in 0..2 {
            let own: Vec<(Vec<f64>, Vec<f64>)> = (0..2).map(|n| powers(&line, &[channel(b, n)])).collect::<Result<_, _>>()?;
            let ones = (vec![1.0; J], vec![1.0]);
            let power = |n: usize| {
                if plain {
                    &ones
                } else if batch {
                    &all[n]
                } else {
                    &own[n]
                }
            };
            // One run per pair of channels, and one per channel for what it has alone.
            let mut pairs: BTreeMap<(i64, i64), Statistics> = BTreeMap::new();
            let mut singles: Vec<Statistics> = Vec::new();
            for l in 0..2usize {
                let mut encoder =
                    Compiler::new(&source, &line).statistic("spectra").variant(Some("reference")).array("P").array("P0").threads(1).encoder()?;
                encoder.set("P", &power(l).0)?;
                encoder.set("P0", &power(l).1)?;
                singles.push(encoder.encode(&channel(b, l))?);
                for r in 0..2usize {
                    let mut compiler = Compiler::new(&source, &line).statistic("spectra_pair").threads(1);
                    for name in ["Px", "Py", "Px0"] {
                        compiler = compiler.array(name);
                    }
                    let mut encoder = compiler.encoder()?;
                    encoder.set("Px", &power(l).0)?;
                    encoder.set("Py", &power(r).0)?;
                    encoder.set("Px0", &power(l).1)?;
                    pairs.insert((l as i64, r as i64), encoder.encode_fields(&[&channel(b, l), &channel(b, r)])?);
                }
            }
            let ours: Vec<(f64, f64)> = rows(&case)
                .iter()
                .map(|row| {
                    if row[0] < 2 {
                        value(&singles[row[1] as usize], &place(row, J as i64, 1))
                    } else {
                        value(&pairs[&(row[1], row[2])], &place(row, J as i64, 1))
                    }
                })
                .collect();
            worst = worst.max(difference(&ours, &case.array(array).at(b), &format!("two channels {array}")));
        }
    }
    case.complete();
    println!("ss_n512_J5_N2: {worst:.1e}");
    Ok(())
}

#[test]
fn gradients_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("ssgrad_n512_J5") else { return Ok(()) };
    // The rows are those of the case of one channel, five scales and the same filters.
    let Some(table) = self::case("ss_n512_J5_bump") else { return Ok(()) };
    let (x, J) = (case.array("x").at(0).re, 5);
    let line = line(512, J, 1, "battle_lemarie")?;
    let source = Source::find("spectra")?;
    let places: Vec<_> = rows(&table).iter().map(|row| place(row, J as i64, 1)).collect();
    let sigma = case.array("sigma2").re;
    let (bands, low) = powers(&line, &[case.array("x_for_sigma2").at(0).re])?;
    difference(&bands.into_iter().chain(low).map(|x| (x, 0.0)).collect::<Vec<_>>(), &case.array("sigma2"), "sigma2");
    let cotangent = case.array("cotangent").at(0);
    for (variant, forward, backward, given) in [("unit_reference", "y_fixed", "vjp_fixed", true), ("unit", "y_onthefly", "vjp_onthefly", false)] {
        let mut compiler = Compiler::new(&source, &line).statistic("spectra").variant(Some(variant)).threads(1);
        if given {
            compiler = compiler.array("P").array("P0");
        }
        let mut encoder = compiler.encoder()?;
        if given {
            encoder.set("P", &sigma[..J])?;
            encoder.set("P0", &sigma[J..])?;
        }
        let found = encoder.encode(&x)?;
        let ours: Vec<(f64, f64)> = places.iter().map(|place| value(&found, place)).collect();
        let values = difference(&ours, &case.array(forward).at(0), forward);
        let mut arrays: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for array in &found.arrays {
            let zeros = vec![0.0; array.re.len()];
            if array.im.is_some() {
                arrays.insert(format!("cotangent.{}.re", array.name), zeros.clone());
                arrays.insert(format!("cotangent.{}.im", array.name), zeros);
            } else {
                arrays.insert(format!("cotangent.{}", array.name), zeros);
            }
        }
        for (k, place) in places.iter().enumerate() {
            let row = entry(&found, place);
            let (re, im) = (cotangent.re[k], cotangent.im.as_ref().map_or(0.0, |im| im[k]));
            match arrays.get_mut(&format!("cotangent.{}", place.0)) {
                Some(real) => real[row] = re,
                None => {
                    arrays.get_mut(&format!("cotangent.{}.re", place.0)).expect("a complex output")[row] = re;
                    arrays.get_mut(&format!("cotangent.{}.im", place.0)).expect("a complex output")[row] = im;
                }
            }
        }
        let (_, mut executable) = compiler.goal(Goal::VectorJacobian).executable()?;
        let mut inputs: Vec<(&str, &[f64])> = vec![("x", &x)];
        if given {
            inputs.push(("P", &sigma[..J]));
            inputs.push(("P0", &sigma[J..]));
        }
        inputs.extend(arrays.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let results = executable.run(&inputs)?;
        let gradient: Vec<(f64, f64)> = results.iter().find(|r| r.0 == "gradient.x").expect("the gradient").1.iter().map(|g| (*g, 0.0)).collect();
        println!("{backward}: values {values:.1e}, gradient {:.1e}", difference(&gradient, &case.array(backward).at(0), backward));
    }
    case.complete();
    Ok(())
}
