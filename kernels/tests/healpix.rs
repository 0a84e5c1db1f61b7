//! HEALPix geometry, orderings and transforms against explicit formulas and against each other.
#![allow(non_snake_case)]

use std::f64::consts::PI;

use scatterc_kernels::Serial;
use scatterc_kernels::healpix::{
    HealpixError, analysis, index, n_pixels, nested_ring_table, nested_to_ring, nside_of, pixel_at, ring_geometry, ring_to_nested, synthesis,
    synthesis_grid,
};

/// A small generator with reproducible numbers in (-1, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 11) as f64 / (1u64 << 53) as f64) * 2.0 - 1.0
    }
}

/// (z, phi) of every RING pixel, from the ring table.
fn ring_centres(nside: usize) -> Vec<(f64, f64)> {
    ring_geometry(nside)
        .iter()
        .flat_map(|ring| (0..ring.n).map(|k| (ring.z, (ring.phi0 + 2.0 * PI * k as f64 / ring.n as f64) % (2.0 * PI))))
        .collect()
}

/// (z, phi) of a NESTED pixel from its position inside its base face, without rings: the projection's own formulas.
fn nested_centre(nside: usize, pixel: usize) -> (f64, f64) {
    let face = pixel / (nside * nside);
    let inside = pixel % (nside * nside);
    let (mut ix, mut iy) = (0, 0);
    for bit in 0..20 {
        ix |= ((inside >> (2 * bit)) & 1) << bit;
        iy |= ((inside >> (2 * bit + 1)) & 1) << bit;
    }
    let u = (ix as f64 + 0.5) / nside as f64;
    let v = (iy as f64 + 0.5) / nside as f64;
    // The plane of the HEALPix projection: x in units of pi / 4, y in units of pi / 4 with |y| <= 2.
    let (column, row) = ((face % 4) as f64, face / 4);
    let (x0, y0) = match row {
        0 => (2.0 * column + 1.0, 0.0),
        1 => (2.0 * column, -1.0),
        _ => (2.0 * column + 1.0, -2.0),
    };
    let (x, y) = (x0 + u - v, y0 + u + v);
    let (z, phi) = if y.abs() <= 1.0 {
        (2.0 * y / 3.0, x * PI / 4.0)
    } else {
        let sigma = 2.0 - y.abs();
        let middle = 2.0 * (x / 2.0).floor() + 1.0;
        let z = (1.0 - sigma * sigma / 3.0).copysign(y);
        (z, (middle + (x - middle) / sigma) * PI / 4.0)
    };
    (z, phi.rem_euclid(2.0 * PI))
}

#[test]
fn rings_cover_the_sphere() {
    for nside in [1, 2, 3, 4, 5, 16, 100] {
        let rings = ring_geometry(nside);
        assert_eq!(rings.len(), 4 * nside - 1);
        let last = rings[rings.len() - 1];
        assert_eq!(last.start + last.n, n_pixels(nside));
        for (north, south) in rings.iter().zip(rings.iter().rev()) {
            assert_eq!(north.z, -south.z);
            assert_eq!(north.phi0, south.phi0);
        }
        for ring in &rings {
            assert!((ring.z * ring.z + ring.sin_theta * ring.sin_theta - 1.0).abs() < 4e-16);
        }
        assert_eq!(nside_of(n_pixels(nside)), Some(nside));
    }
    assert_eq!(nside_of(13), None);
    assert_eq!(nside_of(0), None);
}

#[test]
fn orderings_agree_on_pixel_centres() {
    for nside in [1, 2, 4, 8, 32] {
        let centres = ring_centres(nside);
        let table = nested_ring_table(nside).expect("a power of two");
        let mut seen = vec![false; table.len()];
        for (nested, &ring) in table.iter().enumerate() {
            assert!(!std::mem::replace(&mut seen[ring], true), "RING {ring} twice");
            let (z, phi) = nested_centre(nside, nested);
            let (z_ring, phi_ring) = centres[ring];
            let turn = (phi - phi_ring).abs();
            assert!((z - z_ring).abs() < 1e-14, "nside {nside} pixel {nested}: {z} {z_ring}");
            assert!(turn.min(2.0 * PI - turn) < 1e-13, "nside {nside} pixel {nested}: {phi} {phi_ring}");
        }
    }
}

#[test]
fn directions_find_their_pixel() {
    for nside in [1, 2, 3, 4, 7, 32] {
        let rings = ring_geometry(nside);
        for ring in &rings {
            let theta = ring.sin_theta.atan2(ring.z);
            for k in 0..ring.n {
                let phi = ring.phi0 + 2.0 * PI * k as f64 / ring.n as f64;
                for (d, e) in [(0.0, 0.0), (0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1)] {
                    let step = 1.0 / nside as f64;
                    let found = pixel_at(nside, theta + d * step, phi + e * step - 2.0 * PI);
                    assert_eq!(found, Some(ring.start + k), "nside {nside} theta {theta} phi {phi}");
                }
            }
        }
        assert_eq!(pixel_at(nside, 0.0, 0.1), Some(0));
        assert_eq!(pixel_at(nside, PI, 6.2), Some(n_pixels(nside) - 1));
    }
    assert_eq!(pixel_at(4, f64::NAN, 0.0), None);
    assert_eq!(pixel_at(4, 1.0, f64::INFINITY), None);
}

#[test]
fn orderings_are_inverse() {
    let nside = 16;
    let mut random = Random(3);
    let map: Vec<f64> = (0..n_pixels(nside)).map(|_| random.next()).collect();
    let ring = nested_to_ring(nside, &map).expect("valid");
    assert_eq!(ring_to_nested(nside, &ring).expect("valid"), map);
}

#[test]
fn single_harmonics_match_their_formulas() {
    let (nside, L) = (8, 12);
    let quarter = 1.0 / (4.0 * PI);
    type Formula = fn(f64, f64) -> f64;
    // Theta parts of Y_lm with the Condon-Shortley phase, as functions of (cos, sin), over sqrt(1 / 4 pi).
    let cases: [(usize, usize, Formula); 8] = [
        (0, 0, |_, _| 1.0),
        (1, 0, |z, _| 3f64.sqrt() * z),
        (1, 1, |_, s| -1.5f64.sqrt() * s),
        (2, 0, |z, _| 5f64.sqrt() * (1.5 * z * z - 0.5)),
        (2, 1, |z, s| -7.5f64.sqrt() * s * z),
        (2, 2, |_, s| 1.875f64.sqrt() * s * s),
        (3, 1, |z, s| -(21.0f64 / 16.0).sqrt() * s * (5.0 * z * z - 1.0)),
        (5, 5, |_, s| -(693.0f64 / 256.0).sqrt() * s.powi(5)),
    ];
    let centres = ring_centres(nside);
    for (ell, m, theta_part) in cases {
        let mut coefficients = vec![0.0; L * (L + 1)];
        let (re, im) = (0.7, if m == 0 { 0.0 } else { -0.4 });
        coefficients[2 * index(L, ell, m)] = re;
        coefficients[2 * index(L, ell, m) + 1] = im;
        let map = synthesis(&Serial, nside, L, &coefficients).expect("valid");
        for (value, &(z, phi)) in map.iter().zip(&centres) {
            let y = quarter.sqrt() * theta_part(z, (1.0 - z * z).sqrt());
            let turn = re * (m as f64 * phi).cos() - im * (m as f64 * phi).sin();
            let expected = if m == 0 { y * re } else { 2.0 * y * turn };
            assert!((value - expected).abs() < 2e-14, "({ell}, {m}): {value} {expected}");
        }
    }
}

#[test]
fn high_orders_do_not_underflow() {
    // lambda_{lm}(pi / 2) for l = m is the largest; sin^m near the poles underflows without scaling.
    let (L, m) = (2048, 1000);
    let mut coefficients = vec![0.0; L * (L + 1)];
    for ell in m..L {
        coefficients[2 * index(L, ell, m)] = 1.0;
    }
    let theta = [0.0, 0.2, 0.5, 1.0, PI / 2.0, PI];
    let n_phi = 4096;
    let map = synthesis_grid(&Serial, L, &coefficients, &theta, n_phi).expect("valid");
    assert!(map.iter().all(|v| v.is_finite()));
    assert!(map[..n_phi].iter().all(|v| *v == 0.0));
    // Sum over l of lambda_lm, by a recursion in logarithms that needs no scaling.
    for (row, &theta) in theta.iter().enumerate().take(5).skip(1) {
        let expected = 2.0 * slow_sum(L, m, theta);
        let found = map[row * n_phi];
        assert!((found - expected).abs() < 1e-10 * expected.abs().max(1.0), "theta {theta}: {found} {expected}");
    }
}

/// sum_l lambda_lm(theta), each value carried as a ratio to its predecessor's magnitude with a running logarithm.
fn slow_sum(L: usize, m: usize, theta: f64) -> f64 {
    let (z, s) = (theta.cos(), theta.sin());
    let mut log = 0.5 * (1.0 / (4.0 * PI)).ln() + m as f64 * s.ln();
    for k in 1..=m {
        log += 0.5 * ((2 * k + 1) as f64 / (2 * k) as f64).ln();
    }
    let (mut before, mut now, mut total) = (0.0f64, 1.0f64, 0.0f64);
    let a = |ell: usize| {
        let (l2, m2) = ((ell * ell) as f64, (m * m) as f64);
        ((4.0 * l2 - 1.0) / (l2 - m2)).sqrt()
    };
    for ell in m..L {
        total += now * log.exp();
        let next = if ell == m { a(ell + 1) * z * now } else { a(ell + 1) * (z * now - before / a(ell)) };
        before = now;
        now = next;
        let size = now.abs().max(before.abs());
        if size > 1e100 {
            now /= size;
            before /= size;
            log += size.ln();
        }
    }
    total
}

#[test]
fn round_trip_at_twice_nside() {
    for nside in [1, 3, 8, 16, 32, 64, 128] {
        let L = 2 * nside;
        let mut random = Random(nside as u64);
        let mut coefficients: Vec<f64> = (0..L * (L + 1)).map(|_| random.next()).collect();
        for ell in 0..L {
            coefficients[2 * index(L, ell, 0) + 1] = 0.0;
        }
        let map = synthesis(&Serial, nside, L, &coefficients).expect("valid");
        let result = analysis(&Serial, nside, &map, L, 3).expect("valid");
        let error = result.coefficients.iter().zip(&coefficients).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
        println!("nside {nside}: error {error:.2e}, residuals {:?}", result.residuals);
        assert_eq!(result.residuals.len(), 4);
        // Few rings make a worse quadrature; the bound that matters is the one at useful resolutions.
        let bound = if nside < 16 { 5e-6 } else { 1e-6 };
        assert!(error < bound, "nside {nside}: {error}");
        assert!(result.residual() < bound);
        assert!(result.residuals.windows(2).all(|w| w[1] <= w[0]));
    }
}

#[test]
fn steps_stop_at_rounding() {
    let (nside, L) = (4, 6);
    let mut random = Random(5);
    let coefficients: Vec<f64> = (0..L * (L + 1)).map(|_| random.next()).collect();
    let map = synthesis(&Serial, nside, L, &coefficients).expect("valid");
    let result = analysis(&Serial, nside, &map, L, 40).expect("valid");
    assert_eq!(result.residuals.len(), 41);
    assert!(result.residual() < 1e-14);
    let zero = analysis(&Serial, nside, &vec![0.0; n_pixels(nside)], L, 3).expect("valid");
    assert_eq!(zero.residual(), 0.0);
    assert!(zero.coefficients.iter().all(|c| *c == 0.0));
}

#[test]
fn grid_and_pixels_agree() {
    let (nside, L) = (4, 8);
    let mut random = Random(9);
    let coefficients: Vec<f64> = (0..L * (L + 1)).map(|_| random.next()).collect();
    let map = synthesis(&Serial, nside, L, &coefficients).expect("valid");
    let rings = ring_geometry(nside);
    let theta: Vec<f64> = rings.iter().map(|r| r.z.acos()).collect();
    // 128 longitudes contain those of every ring with a power of two of pixels.
    let n_phi = 128;
    let grid = synthesis_grid(&Serial, L, &coefficients, &theta, n_phi).expect("valid");
    for (row, ring) in rings.iter().enumerate().filter(|(_, r)| r.n.is_power_of_two()) {
        for k in 0..ring.n {
            let phi = ring.phi0 + 2.0 * PI * k as f64 / ring.n as f64;
            let column = (phi * n_phi as f64 / (2.0 * PI)).round() as usize % n_phi;
            let (a, b) = (map[ring.start + k], grid[row * n_phi + column]);
            assert!((a - b).abs() < 1e-12, "ring {row} pixel {k}: {a} {b}");
        }
    }
}

#[test]
fn wrong_input_is_refused() {
    assert_eq!(nested_to_ring(3, &[0.0; 108]), Err(HealpixError::NsidePowerOfTwo { found: 3 }));
    assert!(matches!(nested_to_ring(2, &[0.0; 12]), Err(HealpixError::MapLength { expected: 48, found: 12, .. })));
    assert!(matches!(analysis(&Serial, 2, &[0.0; 48], 9, 0), Err(HealpixError::Bandlimit { max: 8, found: 9, .. })));
    assert!(matches!(synthesis(&Serial, 0, 1, &[0.0; 2]), Err(HealpixError::Nside { found: 0 })));
    assert!(matches!(synthesis(&Serial, 2, 2, &[0.0; 5]), Err(HealpixError::CoefficientLength { expected: 6, found: 5, .. })));
    assert!(matches!(synthesis_grid(&Serial, 1, &[0.0; 2], &[4.0], 4), Err(HealpixError::Grid { index: 0, .. })));
}

/// The large-scale-structure map, where the directory named by SCATTERC_DATA holds it; otherwise there is nothing to test.
#[test]
fn a_real_map_has_finite_power() {
    let Ok(folder) = std::env::var("SCATTERC_DATA") else {
        return;
    };
    let path = std::path::Path::new(&folder).join("LSS_map_nside128.npy");
    let Ok(bytes) = std::fs::read(path) else {
        return;
    };
    let (nside, L) = (128, 256);
    let data = &bytes[bytes.len() - 4 * n_pixels(nside)..];
    let map: Vec<f64> = data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    let ring = nested_to_ring(nside, &map).expect("valid");
    let result = analysis(&Serial, nside, &ring, L, 3).expect("valid");
    let mean = result.coefficients[0] / (4.0 * PI).sqrt();
    assert!(mean.abs() < 1e-3, "mean {mean}");
    assert!(result.coefficients.iter().all(|c| c.is_finite()));
    assert!(result.residual() < 1.0);
}
