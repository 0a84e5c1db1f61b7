//! The oracle's own laws and a few values known in closed form.

use scatterc_ir::{Builder, Linear, Space, Type, scalar};
use scatterc_runtime::{RunError, reference};
use std::f64::consts::PI;

fn random(seed: u64, n: usize) -> Vec<f64> {
    (0..n).map(|k| ((k as f64 + 1.0) * 12.9898 + seed as f64 * 78.233).sin()).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Types of operand and result, with a leading axis.
fn types(map: &Linear) -> (Type, Type) {
    let signature = map.signature().expect("samples are valid");
    let side = |(axes, space): (Vec<usize>, Space)| {
        Type::new([vec![2], axes].concat(), if space == Space::Any { Space::Rings { L: 2, M: 1 } } else { space })
    };
    (side(signature.domain), side(signature.range))
}

#[test]
fn adjoints_are_transposes() {
    for map in Linear::samples() {
        let (domain, range) = types(&map);
        let (x, y) = (random(1, domain.len()), random(2, range.len()));
        let forward = reference::apply(&map, false, &domain, &x).expect("samples are valid");
        let backward = reference::apply(&map, true, &range, &y).expect("samples are valid");
        assert_eq!((forward.len(), backward.len()), (range.len(), domain.len()));
        let (a, b) = (dot(&forward, &y), dot(&x, &backward));
        assert!((a - b).abs() <= 1e-13 * (a.abs() + 1.0), "{map:?}: {a} {b}");
    }
}

#[test]
fn forward_undoes_inverse() {
    for L in [1, 2, 5, 12] {
        let coefficients = Type::new([], Space::Coefficients { L });
        let mut x = random(3, coefficients.len());
        // A real field has real coefficients at m = 0.
        (0..L).for_each(|ell| x[2 * ell + 1] = 0.0);
        let rings = Type::new([], Space::Rings { L, M: L });
        let f = reference::apply(&Linear::HarmonicInverse { L_in: L, L }, false, &coefficients, &x).expect("valid");
        let f = reference::apply(&Linear::RingInverse { L, M: L }, false, &rings, &f).expect("valid");
        let F = reference::apply(&Linear::RingForward { L, M: L }, false, &Type::new([], Space::Map { L }), &f).expect("valid");
        let back = reference::apply(&Linear::HarmonicForward { L, M: L, L_out: L }, false, &rings, &F).expect("valid");
        for (a, b) in x.iter().zip(&back) {
            assert!((a - b).abs() < 1e-13, "L={L}: {a} {b}");
        }
        let mean = reference::apply(&Linear::Mean { L }, false, &Type::new([], Space::Map { L }), &f).expect("valid");
        let same = reference::apply(&Linear::CoefficientMean { L }, false, &coefficients, &x).expect("valid");
        assert!((mean[0] - same[0]).abs() < 1e-13);
    }
}

#[test]
fn half_spectra_keep_the_mean_of_products() {
    // Parseval: the mean of f g is the ring mean of the product of half spectra.
    let L = 6;
    let coefficients = Type::new([2], Space::Coefficients { L });
    let mut x = random(4, coefficients.len());
    for field in x.chunks_exact_mut(L * (L + 1)) {
        (0..L).for_each(|ell| field[2 * ell + 1] = 0.0);
    }
    let rings = Type::new([2], Space::Rings { L, M: L });
    let F = reference::apply(&Linear::HarmonicInverse { L_in: L, L }, false, &coefficients, &x).expect("valid");
    let f = reference::apply(&Linear::RingInverse { L, M: L }, false, &rings, &F).expect("valid");
    let half = f.len() / 2;
    let product: Vec<f64> = f[..half].iter().zip(&f[half..]).map(|(a, b)| a * b).collect();
    let spectra: Vec<f64> = F[..2 * L * L].iter().zip(&F[2 * L * L..]).map(|(a, b)| a * b).collect();
    let a = reference::apply(&Linear::Mean { L }, false, &Type::new([], Space::Map { L }), &product).expect("valid")[0];
    let b = reference::apply(&Linear::RingMean { L, M: L }, false, &Type::new([], Space::Rings { L, M: L }), &spectra).expect("valid")[0];
    assert!((a - b).abs() < 1e-13, "{a} {b}");
}

#[test]
fn wavelets_and_scaling_function_keep_the_energy() {
    // Admissibility: sum over scales and directions of the mean of W^2 times 8 pi^2 / (2N - 1) .. is the power above the low-pass.
    for N in [1, 2, 3, 4] {
        let L = 8;
        let coefficients = Type::new([], Space::Coefficients { L });
        let mut x = random(5, coefficients.len());
        (0..L).for_each(|ell| x[2 * ell + 1] = 0.0);
        x[0] = 0.0;
        let squares: Vec<f64> = x.iter().map(|x| x * x).collect();
        let power = Linear::CoefficientPower { L, skip_mean: 0 };
        let expected = reference::apply(&power, false, &coefficients, &squares).expect("valid")[0];
        let mut found = 0.0;
        for j in 0..=3 {
            let L_j = scatterc_ir::types::scale_bandlimit(L, j);
            let map = Type::new([N], Space::Map { L: L_j });
            let F = reference::apply(&Linear::WignerInverse { L_in: L, L, N, j }, false, &coefficients, &x).expect("valid");
            let f = reference::apply(&Linear::RingInverse { L: L_j, M: L_j }, false, &Type::new([N], Space::Rings { L: L_j, M: L_j }), &F)
                .expect("valid");
            let w = reference::apply(&Linear::Steer { N }, false, &map, &f).expect("valid");
            let w: Vec<f64> = w.iter().map(|w| w * w).collect();
            let means = reference::apply(&Linear::Mean { L: L_j }, false, &Type::new([2 * N - 1], Space::Map { L: L_j }), &w).expect("valid");
            // Integral over the rotation group: 8 pi^2 times the average over sphere and directions; a field's norm is 4 pi times its average square.
            found += means.iter().sum::<f64>() / (2 * N - 1) as f64 * 8.0 * PI * PI / (4.0 * PI);
        }
        let ratio = found / expected;
        assert!((ratio - 1.0).abs() < 1e-12, "N={N}: {ratio}");
    }
}

#[test]
fn graphs_run_by_name() {
    let mut b = Builder::new("graph");
    let x = b.input("x", Type::new([2, 2], Space::Point)).expect("valid");
    let p = b.parameter("p", Type::new([2, 1], Space::Point)).expect("valid");
    let y = b.pointwise(scalar::parse("mul(a, a)").expect("valid"), &[x]).expect("valid");
    let z = b.concat(&[y, p]).expect("valid");
    let r = b.linear(Linear::Reindex { from: vec![3], to: vec![2], map: vec![vec![-1, 0]] }, z).expect("valid");
    b.output("z", z);
    b.output("r", r);
    let graph = b.finish();
    let (x, p) = ([1.0, 2.0, 3.0, 4.0], [9.0, 8.0]);
    let out = reference::run(&graph, &[("p", &p), ("x", &x)]).expect("valid");
    assert_eq!(out[0], ("z".to_string(), vec![1.0, 4.0, 9.0, 9.0, 16.0, 8.0]));
    assert_eq!(out[1], ("r".to_string(), vec![1.0, 9.0, 9.0, 8.0]));
    assert_eq!(reference::run_all(&graph, &[("p", &p), ("x", &x)]).expect("valid")[2], [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(reference::run(&graph, &[("x", &x)]), Err(RunError::MissingInput { name: "p".into(), expected: 2 }));
    assert!(matches!(reference::run(&graph, &[("p", &p), ("x", &x), ("y", &x)]), Err(RunError::UnknownInput { .. })));
    assert!(matches!(reference::run(&graph, &[("p", &p), ("x", &p)]), Err(RunError::Length { .. })));
    let mut broken = graph.clone();
    broken.nodes[2].operands[0] = scatterc_ir::Value(7);
    assert!(matches!(reference::run(&broken, &[]), Err(RunError::Graph { .. })));
}
