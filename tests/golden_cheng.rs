//! Every recorded case of planar scattering covariances and coefficients: filters, all normalisations, edges, odd and rectangular sizes, gradients.
//!
//! Tolerance: 1e-8 of each array's maximum, as the project asks; 1e-12 is what is found.

mod planar;

use planar::*;
use scatterc::{Boundary, Compiler, Encoder, Error, Plane, Source};

fn plane(H: usize, W: usize, J: usize, L: usize, filters: &str, cut: bool) -> Result<Plane, Error> {
    let source = Source::find("cheng")?;
    Ok(Plane::new(H, W, J, L, &source.filter(filters)?, Boundary::Periodic, cut)?)
}

fn encoder(statistic: &str, plane: &Plane, variant: Option<&str>) -> Result<Encoder, Error> {
    let source = Source::find(statistic)?;
    Compiler::new(&source, plane).variant(variant).threads(1).encoder()
}

#[test]
fn filters_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("scfilters_32x24_J3_L4") else { return Ok(()) };
    let names = [("morlet", "morlet"), ("bump", "BS"), ("gaussian", "gau"), ("shannon", "shannon"), ("gaussian_harmonic", "gau_harmonic")];
    for (ours, theirs) in names {
        let plane = plane(32, 24, 3, 4, ours, false)?;
        let found: Vec<(f64, f64)> = (0..3).map(|j| sampled(&plane.bank, j, false)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        println!("{ours}: {:.1e}", difference(&found, &case.array(theirs), ours));
    }
    case.complete();
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
        let variants: [(Option<&str>, &[(&str, &str)]); 6] = [
            (Some("raw"), &[("mean", "mean"), ("variance", "var"), ("P00", "P00"), ("S1", "S1"), ("c11", "C11_pre_norm"), ("P11", "P11")]),
            (None, &[("C01", "C01"), ("C11", "C11")]),
            (Some("isotropic_raw"), &[("P00", "P00_iso"), ("S1", "S1_iso"), ("c11", "C11_pre_norm_iso"), ("P11", "P11_iso")]),
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
                let (values, places) = flattened(&found, !suffix.is_empty());
                worst = worst.max(difference(&values, &expected, &format!("{} {vector}", setting.name)));
                let table = case.array(&format!("index_{vector}"));
                let recorded = |n: usize| -> Vec<i64> { (0..7).map(|row| table.re[row * table.shape[1] + n] as i64).collect() };
                for (n, (name, imaginary, entry)) in places.iter().enumerate() {
                    let row = label(name, *imaginary, &output(&found, name).index.rows[*entry], variant.is_some_and(|v| v.starts_with("isotropic")));
                    assert_eq!(row, recorded(n), "{} {vector}: label of entry {n}", setting.name);
                }
            }
        }
        case.complete();
        println!("{}: {worst:.1e}", setting.name);
    }
    Ok(())
}

/// The recorded label of an entry: (type, j1, j2, j3, l1, l2, l3), -1 where there is none; isotropic entries have no first direction.
fn label(name: &str, imaginary: bool, row: &[i64], isotropic: bool) -> Vec<i64> {
    let (kind, scales) = match name {
        "mean" => (0, 0),
        "P00" => (1, 1),
        "S1" => (2, 1),
        "C01" => (3 + i64::from(imaginary), 2),
        "C11" => (5 + i64::from(imaginary), 3),
        "P11" => (7, 2),
        other => panic!("{other} has no type"),
    };
    let mut out = vec![-1; 7];
    out[0] = kind;
    out[1..=scales].copy_from_slice(&row[..scales]);
    let first = 4 + usize::from(isotropic);
    out[first..first + row.len() - scales].copy_from_slice(&row[scales..]);
    out
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

#[test]
fn coefficients_equal_the_recorded_ones() -> Outcome {
    for (name, J) in [("sccoef_n64_J5_L4", 5), ("sccoef_63x50_J3_L4", 3)] {
        let Some(case) = case(name) else { continue };
        let x = case.array("x");
        let plane = plane(x.shape[1], x.shape[2], J, 4, "morlet", false)?;
        let mut worst: f64 = 0.0;
        for (variant, suffix) in [(None, ""), (Some("isotropic"), "_iso")] {
            let mut encoder = encoder("cheng_coefficients", &plane, variant)?;
            for k in 0..x.shape[0] {
                let found = encoder.encode(&x.at(k).re)?;
                for ours in ["s21", "s22"].into_iter().filter(|_| variant.is_some()) {
                    let expected = case.array(ours).at(k);
                    worst = worst.max(difference(&dense(output(&found, ours), &expected.shape), &expected, &format!("{name} {ours}")));
                }
                for ours in ["S0", "S1", "P00", "S2", "P11"] {
                    let theirs = if ours == "S0" { "S0".to_string() } else { format!("{ours}{suffix}") };
                    let expected = case.array(&theirs).at(k);
                    worst = worst.max(difference(&dense(output(&found, ours), &expected.shape), &expected, &format!("{name} {theirs}")));
                }
            }
        }
        case.complete();
        println!("{name}: {worst:.1e}");
    }
    Ok(())
}

#[test]
fn covariances_of_two_images_equal_the_recorded_ones() -> Outcome {
    let Some(case) = case("sc2_n64_J3_L4") else { return Ok(()) };
    let plane = plane(64, 64, 3, 4, "morlet", false)?;
    let (x, y) = (case.array("x_a").at(0), case.array("x_b").at(0));
    let mut worst: f64 = 0.0;
    let variants = [
        (None, ""),
        (Some("P11"), "_normP11"),
        (Some("raw"), "raw"),
        (Some("isotropic"), "_iso"),
        (Some("isotropic_P11"), "_iso_normP11"),
        (Some("isotropic_raw"), "_iso"),
    ];
    for (variant, suffix) in variants {
        let found = encoder("cheng_cross", &plane, variant)?.encode_fields(&[&x.re, &y.re])?;
        let mut check = |ours: &str, theirs: &str, part: Option<usize>| {
            let expected = case.array(theirs).at(0);
            let expected = part.map_or(expected.clone(), |k| expected.at(k));
            worst = worst.max(difference(&dense(output(&found, ours), &expected.shape), &expected, &format!("{theirs} {part:?}")));
        };
        if variant == Some("raw") {
            ["P00_a", "P00_b", "P11_a", "P11_b"].iter().zip(["P00x", "P00y", "P11x", "P11y"]).for_each(|(theirs, ours)| check(ours, theirs, None));
        } else if matches!(variant, None | Some("isotropic")) {
            check("Corr00", &format!("Corr00{suffix}"), None);
        }
        for (k, pair) in ["xx", "yy", "xy", "yx"].iter().enumerate() {
            if matches!(variant, Some("raw" | "isotropic_raw")) {
                check(&format!("C11{pair}"), &format!("C11{}", suffix.trim_start_matches("raw")), Some(k));
            } else {
                check(&format!("C01{pair}"), &format!("C01{suffix}"), Some(k));
                check(&format!("C11{pair}"), &format!("Corr11{suffix}"), Some(k));
            }
        }
    }
    case.complete();
    println!("sc2: {worst:.1e}");
    Ok(())
}

#[test]
fn harmonic_packing_equals_the_recorded_one() -> Outcome {
    let Some(case) = case("scharm_n32_J3_L4") else { return Ok(()) };
    let plane = plane(32, 32, 3, 4, "morlet", false)?;
    let found = encoder("cheng_harmonic", &plane, None)?.encode(&case.array("x").at(0).re)?;
    let (labels, values) = (case.array("labels"), case.array("values").at(0));
    let mut ours = Vec::new();
    for label in labels.re.chunks_exact(7) {
        let label: Vec<i64> = label.iter().map(|x| *x as i64).collect();
        // Types 0..3 are Im C01, Re C01, Im C11, Re C11; rows are (type, o, a, -b, p..).
        let name = ["C01im", "C01re", "C11im", "C11re"][label[0] as usize];
        let row = if label[0] < 2 {
            vec![label[1], label[2], label[4], label[5]]
        } else {
            vec![label[1], label[2], -label[3], label[4], label[5], label[6]]
        };
        let array = output(&found, name);
        let k = array.index.rows.iter().position(|r| *r == row).unwrap_or_else(|| panic!("{name} has no row {row:?}"));
        ours.push((array.re[k], 0.0));
    }
    println!("scharm: {:.1e}", difference(&ours, &values, "scharm"));
    case.complete();
    Ok(())
}

#[test]
fn gradients_equal_the_recorded_ones() -> Outcome {
    use scatterc::Goal;
    let Some(case) = case("scgrad_n64_J4_L4") else { return Ok(()) };
    let plane = plane(64, 64, 4, 4, "morlet", false)?;
    let (x, reference) = (case.array("x").at(0).re, case.array("x_ref").at(0).re);
    let power = encoder("cheng", &plane, Some("raw"))?.encode(&reference)?;
    let power = output(&power, "P00").re.clone();
    let source = Source::find("cheng")?;
    for (vector, variant, normed) in [
        ("for_synthesis", None, false),
        ("for_synthesis", Some("reference"), true),
        ("for_synthesis_iso", Some("isotropic"), false),
        ("for_synthesis_iso", Some("isotropic_reference"), true),
    ] {
        let mut compiler = Compiler::new(&source, &plane).variant(variant).threads(1);
        if normed {
            compiler = compiler.array("P");
        }
        let mut encoder = compiler.encoder()?;
        if normed {
            encoder.set("P", &power)?;
        }
        let found = encoder.encode(&x)?;
        let suffix = if normed { "_refnorm" } else { "" };
        let (values, places) = flattened(&found, false);
        let forward = difference(&values, &case.array(&format!("{vector}{suffix}")).at(0), &format!("{vector}{suffix}"));
        // The recorded cotangent, sorted into the outputs.
        let cotangent = case.array(&format!("{vector}_cotangent")).at(0).re;
        let mut given: Vec<(String, Vec<f64>)> = Vec::new();
        for ((name, imaginary, k), value) in places.iter().zip(&cotangent) {
            let array = output(&found, name);
            let part = if array.im.is_none() {
                ""
            } else if *imaginary {
                ".im"
            } else {
                ".re"
            };
            let name = format!("cotangent.{name}{part}");
            if !given.iter().any(|g| g.0 == name) {
                given.push((name.clone(), vec![0.0; array.re.len()]));
            }
            let place = given.iter_mut().find(|g| g.0 == name).expect("it was pushed");
            place.1[*k] = *value;
        }
        let (_, mut executable) = compiler.clone().goal(Goal::VectorJacobian).executable()?;
        let mut inputs: Vec<(&str, &[f64])> = vec![("x", &x)];
        if normed {
            inputs.push(("P", &power));
        }
        inputs.extend(given.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let results = executable.run(&inputs)?;
        let (_, gradient) = results.iter().find(|(name, _)| name == "gradient.x").expect("the gradient");
        let kind = if normed { "refnorm" } else { "selfnorm" };
        let expected = case.array(&format!("{vector}_{kind}_vjp")).at(0);
        let pairs: Vec<(f64, f64)> = gradient.iter().map(|g| (*g, 0.0)).collect();
        let backward = difference(&pairs, &expected, &format!("{vector} {kind}"));
        // Forward mode: <cotangent, J t> = <vjp, t>.
        let tangent = case.array("jvp_tangent").at(0).re;
        let (_, mut executable) = compiler.goal(Goal::JacobianVector).executable()?;
        let mut inputs: Vec<(&str, &[f64])> = vec![("x", &x), ("tangent.x", &tangent)];
        if normed {
            inputs.push(("P", &power));
        }
        let results = executable.run(&inputs)?;
        let along: f64 = given
            .iter()
            .map(|(name, values)| {
                let wanted = name.replace("cotangent.", "tangent.");
                let (_, found) = results.iter().find(|r| r.0 == wanted).expect("a tangent");
                found.iter().zip(values).map(|(a, b)| a * b).sum::<f64>()
            })
            .sum();
        let other: f64 = gradient.iter().zip(&tangent).map(|(a, b)| a * b).sum();
        let size: f64 = gradient.iter().zip(&tangent).map(|(a, b)| (a * b).abs()).sum();
        assert!((along - other).abs() <= 1e-12 * size, "{vector} {kind}: {along} and {other}");
        println!("{vector} {kind}: forward {forward:.1e}, gradient {backward:.1e}, forward mode {:.1e}", (along - other).abs() / size);
    }
    case.complete();
    Ok(())
}
