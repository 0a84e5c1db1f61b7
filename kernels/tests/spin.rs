//! Wavelets of fields with spin: neighbours, rows, refusals.

#![allow(non_snake_case)]

use scatterc_kernels::spin::{nearest, spin_wavelets};
use scatterc_kernels::stencil::Pixels;
use scatterc_kernels::{KernelError, Serial};

#[test]
fn neighbours_come_nearest_first() -> Result<(), KernelError> {
    for (nside, count) in [(1, 12), (2, 30), (4, 169), (8, 36)] {
        let pixels = Pixels::new(nside)?;
        let vector = |p: usize| {
            let (theta, phi) = pixels.centre(p);
            [theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()]
        };
        let distance = |p: usize, q: usize| (0..3).map(|k| (vector(p)[k] - vector(q)[k]).powi(2)).sum::<f64>();
        for (p, list) in nearest(nside, count)?.iter().enumerate() {
            assert_eq!((list[0], list.len()), (p, count), "nside {nside}");
            // Centres are rounded to single precision.
            assert!(list.windows(2).all(|w| distance(p, w[0]) <= distance(p, w[1]) + 1e-6), "nside {nside}, pixel {p}");
            let last = distance(p, list[count - 1]);
            let closer = (0..pixels.len()).filter(|q| distance(p, *q) < last - 1e-6).count();
            assert!(closer <= count && (0..pixels.len()).filter(|q| distance(p, *q) < last + 1e-6).count() >= count, "nside {nside}, pixel {p}");
        }
    }
    assert!(matches!(nearest(2, 49), Err(KernelError::Parameter { name: "count", .. })));
    Ok(())
}

/// A turn of (Q, U) by the angle that swaps E and B swaps the parts: the field i f has the E part of f as its B part.
#[test]
fn a_turned_pair_swaps_gradient_and_curl() -> Result<(), KernelError> {
    let (nside, L) = (2, 2);
    let n = 12 * nside * nside;
    for spin in [1, 2] {
        let rows = spin_wavelets(&Serial, nside, 3, L, spin)?;
        assert_eq!((rows.len(), rows.n_columns, rows.width), (n, 2 * n, 4 * L));
        let apply = |q: &dyn Fn(usize) -> f64, u: &dyn Fn(usize) -> f64| {
            let mut out = vec![0.0; n * 4 * L];
            rows.each(|r, column, weights| {
                let x = if column < n { q(column) } else { u(column - n) };
                weights.iter().enumerate().for_each(|(o, w)| out[r * 4 * L + o] += w * x);
            });
            out
        };
        let (q, u) = (|p: usize| (p as f64).sin(), |p: usize| (3.0 * p as f64 + 1.0).cos());
        let plain = apply(&q, &u);
        let turned = apply(&|p| -u(p), &q);
        for (plain, turned) in plain.chunks(4 * L).zip(turned.chunks(4 * L)) {
            for o in 0..2 * L {
                // i (E + i B) = -B + i E.
                assert!((turned[2 * L + o] - plain[o]).abs() < 1e-14 && (turned[o] + plain[2 * L + o]).abs() < 1e-14, "spin {spin}");
            }
        }
    }
    assert!(matches!(spin_wavelets(&Serial, 2, 3, 2, 3), Err(KernelError::Parameter { name: "spin", .. })));
    assert!(matches!(spin_wavelets(&Serial, 2, 4, 2, 2), Err(KernelError::Parameter { name: "K", .. })));
    Ok(())
}
