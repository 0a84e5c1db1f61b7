//! Wavelet transform, modulus and analysis against fields recorded from S2SCAT (see `golden/README.md`).

use scatterc_ir::types::scale_bandlimit;
use scatterc_ir::{Linear, Space, Type};
use scatterc_runtime::reference;

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-13 * scale, "{what}: [{k}] is {a}, expected {b}");
    }
}

fn apply(map: Linear, ty: &Type, x: &[f64]) -> Vec<f64> {
    reference::apply(&map, false, ty, x).expect("valid")
}

fn check(bytes: &[u8], L: usize, N: usize, scales: &[usize]) {
    let data = numbers(bytes);
    let (flm, mut rest) = data.split_at(2 * L * L);
    let packed = apply(Linear::HermitianPack { L }, &Type::new([], Space::Half { L }), flm);
    for &j in scales {
        let (L_j, G) = (scale_bandlimit(L, j), 2 * N - 1);
        let rings = apply(Linear::WignerInverse { L_in: L, L, N, j }, &Type::new([], Space::Coefficients { L }), &packed);
        let channels = apply(Linear::RingInverse { L: L_j, M: L_j }, &Type::new([N], Space::Rings { L: L_j, M: L_j }), &rings);
        let W = apply(Linear::Steer { N }, &Type::new([N], Space::Map { L: L_j }), &channels);
        assert_close(&W, &rest[..W.len()], &format!("W_{j}"));
        rest = &rest[W.len()..];
        let modulus: Vec<f64> = W.iter().map(|w| w.abs()).collect();
        let spectra = apply(Linear::RingForward { L: L_j, M: L_j }, &Type::new([G], Space::Map { L: L_j }), &modulus);
        let forward = Linear::HarmonicForward { L: L_j, M: L_j, L_out: L_j };
        let coefficients = apply(forward, &Type::new([G], Space::Rings { L: L_j, M: L_j }), &spectra);
        // The recorded coefficients are full planes; the half with m >= 0 says it all.
        let recorded: Vec<f64> = (0..G)
            .flat_map(|g| (0..L_j).flat_map(move |m| (m..L_j).map(move |ell| 2 * ((g * L_j + ell) * (2 * L_j - 1) + L_j - 1 + m))))
            .flat_map(|i| [rest[i], rest[i + 1]])
            .collect();
        assert_close(&coefficients, &recorded, &format!("M_{j}"));
        rest = &rest[G * L_j * (2 * L_j - 1) * 2..];
    }
    assert!(rest.is_empty());
}

#[test]
fn odd_directions() {
    check(include_bytes!("golden/L8_N3_J0_real.f64"), 8, 3, &[0, 1, 2, 3]);
}

#[test]
fn even_directions() {
    check(include_bytes!("golden/L8_N2_J0_real.f64"), 8, 2, &[0, 1, 2, 3]);
}

#[test]
fn imaginary_parts_at_m_0_enter_as_recorded() {
    check(include_bytes!("golden/L16_N3_J0_junk.f64"), 16, 3, &[2]);
}
