//! Recorded runs of FOSCAT 2026.6.1 on HEALPix maps: statistics, masks, patches, cross statistics, angular reductions, sigmas, gradients, start points of L-BFGS.
//!
//! Tolerances: 1e-11 of each array's maximum for statistics, 1e-10 for sigmas of complex coefficients, 1e-9 for gradients.

#![allow(non_snake_case)]

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use num_complex::Complex64;
use scatterc::{Array, Compiler, Encoder, Error, Goal, Healpix, Source, Statistics};
use std::cell::RefCell;
use std::fs::File;
use std::path::Path;

type Outcome = Result<(), Error>;

struct Case {
    name: String,
    reader: RefCell<NpzReader<File>>,
}

/// Shape, and entries with imaginary parts (zero for real arrays).
struct Golden {
    shape: Vec<usize>,
    values: Vec<(f64, f64)>,
}

fn case(name: &str) -> Option<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared/reference/foscat");
    let folder = if shared.is_dir() { shared } else { root.join("tests/golden/foscat") };
    match File::open(folder.join(format!("{name}.npz"))) {
        Ok(file) => Some(Case { name: name.into(), reader: RefCell::new(NpzReader::new(file).expect("a recorded archive")) }),
        Err(_) => {
            println!("{name}: not at hand, skipped");
            None
        }
    }
}

impl Case {
    fn has(&self, name: &str) -> bool {
        self.reader.borrow_mut().names().expect("names").iter().any(|n| n.trim_end_matches(".npy") == name)
    }

    fn array(&self, name: &str) -> Golden {
        let mut reader = self.reader.borrow_mut();
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(name) {
            return Golden { shape: a.shape().to_vec(), values: a.iter().map(|x| (*x, 0.0)).collect() };
        }
        if let Ok(a) = reader.by_name::<ndarray::OwnedRepr<i64>, IxDyn>(name) {
            return Golden { shape: a.shape().to_vec(), values: a.iter().map(|x| (*x as f64, 0.0)).collect() };
        }
        let a: ArrayD<Complex64> = reader.by_name(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name));
        Golden { shape: a.shape().to_vec(), values: a.iter().map(|z| (z.re, z.im)).collect() }
    }

    fn real(&self, name: &str) -> Vec<f64> {
        self.array(name).values.iter().map(|v| v.0).collect()
    }
}

fn entries(array: &Array) -> Vec<(f64, f64)> {
    array.re.iter().enumerate().map(|(k, x)| (*x, array.im.as_ref().map_or(0.0, |im| im[k]))).collect()
}

fn output<'a>(found: &'a Statistics, name: &str) -> &'a Array {
    found.get(name).unwrap_or_else(|| panic!("no output {name}"))
}

fn difference(found: &[(f64, f64)], expected: &[(f64, f64)], tolerance: f64, what: &str) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let scale = expected.iter().map(|(a, b)| a.hypot(*b)).fold(f64::MIN_POSITIVE, f64::max);
    let worst = found.iter().zip(expected).map(|((a, b), (x, y))| (a - x).hypot(b - y)).fold(0.0, f64::max) / scale;
    assert!(worst <= tolerance, "{what}: error {worst:e}");
    worst
}

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
    Setting { threshold: Some(0.5), ..full("hpx_n8_k3_maskthres", 8, 3) },
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
