//! Every recorded case of planar scattering covariances and coefficients: filters, all normalisations, edges, odd and rectangular sizes, gradients.
//!
//! Tolerance: 1e-8 of each array's maximum, as the project asks; 1e-12 is what is found.

mod planar;

use planar::*;
use scatterc::ir::{Bank, Linear, Space, Type};
use scatterc::runtime::reference;
use scatterc::{Boundary, Compiler, Encoder, Error, Plane, Source};

fn plane(H: usize, W: usize, J: usize, L: usize, filters: &str, cut: bool) -> Result<Plane, Error> {
    let source = Source::find("cheng")?;
    Ok(Plane::new(H, W, J, L, &source.filter(filters)?, Boundary::Periodic, cut)?)
}

fn encoder(statistic: &str, plane: &Plane, variant: Option<&str>) -> Result<Encoder, Error> {
    let source = Source::find(statistic)?;
    Compiler::new(&source, plane).variant(variant).threads(1).encoder()
}

/// Values of a bank on the base grid: what it makes of a spectrum of ones.
fn sampled(bank: &Bank, j: usize) -> Vec<(f64, f64)> {
    let (H, W) = (bank.H, bank.W);
    let ones: Vec<f64> = (0..2 * H * W).map(|k| if k % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let map = Linear::Filter { H, W, j, power: 1, real: 0, bank: bank.clone() };
    let out = reference::apply(&map, false, &Type::new([], Space::Spectrum { H, W }), &ones).expect("the bank is valid");
    out.chunks_exact(2).map(|z| (z[0], z[1])).collect()
}

#[test]
fn filters_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("scfilters_32x24_J3_L4") else { return Ok(()) };
    let names = [("morlet", "morlet"), ("bump", "BS"), ("gaussian", "gau"), ("shannon", "shannon"), ("gaussian_harmonic", "gau_harmonic")];
    for (ours, theirs) in names {
        let plane = plane(32, 24, 3, 4, ours, false)?;
        let found: Vec<(f64, f64)> = (0..3).flat_map(|j| sampled(&plane.bank, j)).collect();
        println!("{ours}: {:.1e}", difference(&found, &case.array(theirs), ours));
    }
    Ok(())
}

struct Setting {
    name: &'static str,
    J: usize,
    L: usize,
    filters: &'static str,
    cut: bool,
}

const CASES: [Setting; 7] = [
    Setting { name: "sc_n64_J4_L4", J: 4, L: 4, filters: "morlet", cut: false },
    Setting { name: "sc_n128_J5_L4", J: 5, L: 4, filters: "morlet", cut: false },
    Setting { name: "sc_63x50_J3_L4", J: 3, L: 4, filters: "morlet", cut: false },
    Setting { name: "sc_n32_J3_L6", J: 3, L: 6, filters: "morlet", cut: false },
    Setting { name: "sc_n64_J4_L4_edge", J: 4, L: 4, filters: "morlet", cut: true },
    Setting { name: "sc_n64_J3_L4_BS", J: 3, L: 4, filters: "bump", cut: false },
    Setting { name: "sc_n64_J3_L4_gauharm", J: 3, L: 4, filters: "gaussian_harmonic", cut: false },
];

#[test]
fn covariances_equal_the_recorded_ones() -> Outcome {
    for setting in CASES {
        let Some(case) = case(setting.name) else { continue };
        let x = case.array("x");
        let (n, H, W) = (x.shape[0], x.shape[1], x.shape[2]);
        let plane = plane(H, W, setting.J, setting.L, setting.filters, setting.cut)?;
        let mut worst: f64 = 0.0;
        let variants: [(Option<&str>, &[(&str, &str)]); 5] = [
            (Some("raw"), &[("mean", "mean"), ("variance", "var"), ("P00", "P00"), ("S1", "S1"), ("c11", "C11_pre_norm"), ("P11", "P11")]),
            (None, &[("C01", "C01"), ("C11", "C11")]),
            (Some("isotropic"), &[("C01", "C01_iso"), ("C11", "C11_iso")]),
            (Some("P11"), &[("C01", "C01_normP11"), ("C11", "C11_normP11")]),
            (Some("isotropic_P11"), &[("C01", "C01_iso_normP11"), ("C11", "C11_iso_normP11")]),
        ];
        for (variant, arrays) in variants {
            if arrays.iter().all(|(_, theirs)| !case.has(theirs)) {
                continue;
            }
            let mut encoder = encoder("cheng", &plane, variant)?;
            for k in 0..n {
                let found = encoder.encode(&x.at(k).re)?;
                for (ours, theirs) in arrays.iter().filter(|(_, theirs)| case.has(theirs)) {
                    let expected = case.array(theirs).at(k);
                    let what = format!("{} {variant:?} {theirs}", setting.name);
                    worst = worst.max(difference(&dense(output(&found, ours), &expected.shape), &expected, &what));
                }
                let suffix = if variant.is_some_and(|v| v.ends_with("P11")) { "_normP11" } else { "" };
                let vector = match variant {
                    None | Some("P11") => format!("for_synthesis{suffix}"),
                    Some("isotropic" | "isotropic_P11") => format!("for_synthesis_iso{suffix}"),
                    _ => continue,
                };
                let expected = case.array(&vector).at(k);
                worst = worst.max(difference(&flattened(&found, suffix != "").0, &expected, &format!("{} {vector}", setting.name)));
            }
        }
        println!("{}: {worst:.1e}", setting.name);
    }
    Ok(())
}

/// The vector `for_synthesis` and, for each entry, output, part and position of it.
fn flattened(found: &scatterc::Statistics, second_norm: bool) -> (Vec<(f64, f64)>, Vec<(String, bool, usize)>) {
    let mut out = Vec::new();
    let mut places = Vec::new();
    for array in &found.arrays {
        let mut parts: Vec<(&Vec<f64>, bool)> = vec![(&array.re, false)];
        parts.extend(array.im.iter().map(|im| (im, true)));
        for (part, imaginary) in parts {
            for (k, x) in part.iter().enumerate() {
                let row = &array.index.rows[k];
                // The products of a wavelet with itself are 1 and left out; isotropic rows have their angle at 3.
                let own = second_norm && array.name == "C11" && row[0] == row[1] && if row.len() == 5 { row[3] == 0 } else { row[3] == row[4] };
                if !own {
                    out.push((*x, 0.0));
                    places.push((array.name.clone(), imaginary, k));
                }
            }
        }
    }
    (out, places)
}
