//! Weighed Gram matrices and mixtures against their definition.
#![allow(non_snake_case)]

mod common;

use common::Random;
use scatterc_kernels::Serial;
use scatterc_kernels::weighed::{Form, Term, WeighedGram, WeighedMix, Weights};

fn random(n: usize, seed: u64) -> Vec<f64> {
    Random(seed).vec(n)
}

/// (F_l x) of one direction: e x, i o x or -i o x.
fn weighed(weights: &[f64], len: usize, l: usize, turned: u32, x: &[f64]) -> Vec<f64> {
    let (e, o) = (&weights[2 * l * len..][..len], &weights[(2 * l + 1) * len..][..len]);
    let one = |k: usize| match turned {
        0 => [e[k] * x[2 * k], e[k] * x[2 * k + 1]],
        1 => [-o[k] * x[2 * k + 1], o[k] * x[2 * k]],
        _ => [o[k] * x[2 * k + 1], -o[k] * x[2 * k]],
    };
    (0..len).flat_map(one).collect()
}

#[test]
fn sums_equal_their_definition() {
    for (len, L) in [(1, 1), (5, 3), (45, 4), (128, 4), (1000, 6), (4097, 2)] {
        let (rows, n): (Vec<Vec<f64>>, u32) = ((0..5).map(|k| random(2 * len, 7 + k)).collect(), 5);
        let tables: Vec<Vec<f64>> = (0..2).map(|k| random(2 * L * len, 70 + k)).collect();
        let weights: Vec<Weights> = tables.iter().map(|table| Weights::new(L, len, table)).collect();
        let all = || (0..2u32).flat_map(|f| (0..n).flat_map(move |a| (0..n).flat_map(move |b| (0..L as u32).map(move |l| (f, a, b, l)))));
        let forms: Vec<Form> = all()
            .filter(|(f, a, b, l)| (f + a + 2 * b + l) % 3 != 1)
            .map(|(filter, a, b, l)| Form { filter, a, b, l, turned: (a + l) % 2 == 0 })
            .collect();
        let views: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let borrowed: Vec<&Weights> = weights.iter().collect();
        let mut out = vec![0.0; forms.len()];
        WeighedGram::new(5, &forms).run(&Serial, &views, &borrowed, 0.5, &mut out);
        for (form, value) in forms.iter().zip(&out) {
            let y = weighed(&tables[form.filter as usize], len, form.l as usize, u32::from(form.turned), &rows[form.b as usize]);
            let expected = 0.5 * rows[form.a as usize].iter().zip(&y).map(|(x, y)| x * y).sum::<f64>();
            assert!((value - expected).abs() <= 1e-14 * len as f64, "{len} frequencies, {form:?}: {value}, expected {expected}");
        }
    }
}

#[test]
fn mixtures_equal_their_definition() {
    for (len, L) in [(1, 1), (5, 3), (45, 4), (128, 4), (1000, 6)] {
        let rows: Vec<Vec<f64>> = (0..4).map(|k| random(2 * len, 7 + k)).collect();
        let table = random(2 * L * len, 70);
        let weights = Weights::new(L, len, &table);
        let term = |t: u32, k: u32| Term { filter: 0, row: (k + t) % 4, l: (k * t) % L as u32, turned: (k + t) % 3, coefficient: k };
        let targets: Vec<Vec<Term>> = (0..3).map(|t| (0..4 * t).map(|k| term(t, k)).collect()).collect();
        let z = random(12, 3);
        let mut out = vec![vec![1.0; 2 * len]; 3];
        let views: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let mut targets_out: Vec<&mut [f64]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        WeighedMix::new(4, &[L], &targets).run(&Serial, &views, &[&weights], &z, 2.0, &mut targets_out);
        for (terms, found) in targets.iter().zip(&out) {
            let mut expected = vec![0.0; 2 * len];
            for t in terms {
                let y = weighed(&table, len, t.l as usize, t.turned, &rows[t.row as usize]);
                expected.iter_mut().zip(y).for_each(|(sum, y)| *sum += 2.0 * z[t.coefficient as usize] * y);
            }
            let error = found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(error <= 1e-14, "{len} frequencies: {error:e}");
        }
    }
}
