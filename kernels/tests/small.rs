//! The families of kernels at small sizes against plain loops and the direct sums, quick enough for an interpreter (`docs/trust.md`).
#![allow(non_snake_case)]

mod common;

use common::{Random, Threads, adjoint_error, channels_to_lanes, dot, relative};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::frame::{FrameGramPlan, FrameMixPlan, FrameOperator};
use scatterc_kernels::gather::Sums;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::healpix::{self, index, n_pixels, ring_geometry};
use scatterc_kernels::images::{Blocks, Edge, Stencils};
use scatterc_kernels::layout::{RingLayout, coefficients_len};
use scatterc_kernels::planar::PlanarFft;
use scatterc_kernels::stencil::Rows;
use scatterc_kernels::wavelets::{Windows, steering_matrix};
use scatterc_kernels::weighed::{Form, Term, WeighedGram, WeighedMix, Weights};
use scatterc_kernels::{Parallel, Serial, contract, naive};
use std::f64::consts::{PI, TAU};
use std::sync::Arc;

#[test]
fn sums_of_products_and_mixtures() {
    let mut random = Random(1);
    for n in [1, 9, 40] {
        let rows: Vec<Vec<f64>> = (0..5).map(|_| random.vec(n)).collect();
        let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
        let (weights, coefficients) = (random.vec(n), random.vec(2));
        let pairs: Vec<(u32, u32)> = (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).collect();
        let mut found = vec![f64::NAN; pairs.len()];
        contract::gram(&Serial, &rows, &weights, &pairs, &mut found);
        let sum = |(a, b): &(u32, u32)| (0..n).map(|e| weights[e] * rows[*a as usize][e] * rows[*b as usize][e]).sum();
        assert!(relative(&found, &pairs.iter().map(sum).collect::<Vec<f64>>()) < 1e-14);
        let terms = [vec![(0, 0), (3, 1)], vec![(4, 1)]];
        let mixed = |k: usize, e: usize| weights[e] * terms[k].iter().map(|(row, c)| rows[*row as usize][e] * coefficients[*c as usize]).sum::<f64>();
        let (mut first, mut second) = (vec![f64::NAN; n], vec![f64::NAN; n]);
        contract::mix(&Serial, &rows, Some(&weights), &terms, &coefficients, &mut [&mut first, &mut second]);
        for (k, found) in [first, second].iter().enumerate() {
            assert!(relative(found, &(0..n).map(|e| mixed(k, e)).collect::<Vec<f64>>()) < 1e-14);
        }
    }
}

#[test]
fn coefficients_and_rings() {
    let mut random = Random(2);
    let mut tables = naive::Tables::default();
    for (L, transform, windows) in [
        (3, HarmonicTransform::plain(3, 3), Windows::plain(3, 3)),
        (5, HarmonicTransform::wavelet(5, 5, 2, 2), Windows::wavelet(5, 5, 2, 2)),
        (4, HarmonicTransform::scaling(4, 4, 1), Windows::scaling(4, 4, 1)),
    ] {
        let (transform, windows) = (transform.expect("valid"), windows.expect("valid"));
        let layout = RingLayout::new(windows.L).expect("valid");
        let x = random.vec(coefficients_len(L));
        let mut rings = vec![f64::NAN; transform.rings_len(windows.L)];
        transform.synthesis(&Serial, &[&x], &mut [&mut rings]);
        let natural = naive::synthesis(&mut tables, &windows, L, &x).expect("valid");
        assert!(relative(&rings, &channels_to_lanes(&layout, windows.L, &natural, false)) < 1e-13);
        let y = random.vec(rings.len());
        let mut back = vec![f64::NAN; x.len()];
        transform.synthesis_adjoint(&Serial, &[&y], windows.L, &mut [&mut back]);
        assert!(adjoint_error((&rings, &y), (&x, &back)) < 1e-13);
    }
    let L = 4;
    let transform = HarmonicTransform::for_analysis(L, L).expect("valid");
    let natural = random.vec(L * L * 2);
    let rings = channels_to_lanes(&RingLayout::new(L).expect("valid"), L, &natural, false);
    let mut found = vec![f64::NAN; coefficients_len(L)];
    transform.analysis(&Serial, &[&rings], L, &mut [&mut found]);
    assert!(relative(&found, &naive::analysis(&mut tables, L, L, L, &natural).expect("valid")) < 1e-13);
    let x = random.vec(found.len());
    let mut back = vec![f64::NAN; rings.len()];
    transform.analysis_adjoint(&Serial, &[&x], L, &mut [&mut back]);
    assert!(adjoint_error((&found, &x), (&rings, &back)) < 1e-13);
}

#[test]
fn rings_and_maps() {
    let mut random = Random(3);
    // 31 samples, a prime, run as a cyclic convolution.
    for (L, M) in [(2, 2), (5, 5), (16, 3)] {
        let fft = RingFft::new(L).expect("valid");
        let layout = RingLayout::new(L).expect("valid");
        let natural = random.vec(L * M * 2);
        let rings = channels_to_lanes(&layout, M, &natural, false);
        let mut map = vec![f64::NAN; fft.map_len()];
        fft.inverse(&Serial, &[&rings], M, &mut [&mut map]);
        let mut expected = vec![f64::NAN; map.len()];
        layout.grid_to_map(&naive::ring_inverse(L, M, &natural).expect("valid"), &mut expected);
        assert!(relative(&map, &expected) < 1e-13);
        let (mut forward, cotangent) = (vec![f64::NAN; rings.len()], random.vec(rings.len()));
        fft.forward(&Serial, &[&map], M, &mut [&mut forward]);
        let mut back = vec![f64::NAN; map.len()];
        fft.forward_adjoint(&Serial, &[&cotangent], M, &mut [&mut back]);
        assert!(adjoint_error((&forward, &cotangent), (&map, &back)) < 1e-13);
        let y = random.vec(map.len());
        let mut back = vec![f64::NAN; rings.len()];
        fft.inverse_adjoint(&Serial, &[&y], M, &mut [&mut back]);
        assert!(adjoint_error((&map, &y), (&rings, &back)) < 1e-13);
    }
}

#[test]
fn images_and_spectra() {
    let mut random = Random(4);
    for (H, W) in [(2, 3), (4, 5), (1, 6)] {
        let fft = PlanarFft::new(H, W).expect("valid");
        let image = random.vec(H * W);
        let mut half = vec![f64::NAN; 2 * H * fft.half()];
        fft.real_forward(&Serial, &image, &mut half);
        let mut expected = Vec::new();
        for (k, l) in (0..H).flat_map(|k| (0..fft.half()).map(move |l| (k, l))) {
            let angle = |e: usize| TAU * ((k * (e / W)) as f64 / H as f64 + (l * (e % W)) as f64 / W as f64);
            expected.push(image.iter().enumerate().map(|(e, x)| x * angle(e).cos()).sum());
            expected.push(image.iter().enumerate().map(|(e, x)| -x * angle(e).sin()).sum());
        }
        assert!(relative(&half, &expected) < 1e-13);
        let (x, y) = (random.vec(2 * H * W), random.vec(2 * H * W));
        let (mut there, mut back) = (vec![f64::NAN; x.len()], vec![f64::NAN; x.len()]);
        fft.inverse(&Serial, &x, &mut there);
        fft.inverse_adjoint(&Serial, &y, &mut back);
        assert!(adjoint_error((&there, &y), (&x, &back)) < 1e-13);
    }
}

#[test]
fn stencils_blocks_and_sparse_sums() {
    let mut random = Random(5);
    let (H, W) = (5, 6);
    for edge in [Edge::Cyclic, Edge::Reflect, Edge::Repeat, Edge::Zero] {
        let (image, weights) = (random.vec(H * W), random.vec(3 * 9));
        let stencils = Stencils::new(H, W, 3, 3, edge, &weights).expect("valid");
        let (mut found, y) = (vec![f64::NAN; 3 * H * W], random.vec(3 * H * W));
        stencils.apply(&Serial, &image, &mut found);
        let mut back = vec![f64::NAN; image.len()];
        stencils.adjoint(&Serial, &y, &mut back);
        assert!(adjoint_error((&found, &y), (&image, &back)) < 1e-13);
    }
    let blocks = Blocks { H, W, h: 2, w: 3 };
    let (image, y) = (random.vec(H * W), random.vec(4));
    let (mut means, mut back) = (vec![f64::NAN; 4], vec![f64::NAN; H * W]);
    blocks.apply(&Serial, &image, &mut means);
    blocks.adjoint(&Serial, &y, &mut back);
    assert!(adjoint_error((&means, &y), (&image, &back)) < 1e-13);
    let rows = Rows { n_columns: 3, width: 1, starts: vec![0, 2, 3], columns: vec![0, 2, 1], values: vec![1.0, 2.0, 5.0] };
    let (mut there, mut back) = (vec![f64::NAN; 2], vec![f64::NAN; 3]);
    Sums::new(rows.clone(), false).apply(&Serial, &[&[1.0, 10.0, 100.0]], &mut [&mut there]);
    Sums::new(rows, true).apply(&Serial, &[&[1.0, 1.0]], &mut [&mut back]);
    assert_eq!((there, back), (vec![201.0, 50.0], vec![1.0, 5.0, 2.0]));
}

/// Steered half spectra `[2N - 1][L][L][2]` of scale j, by the direct sums.
fn directions(tables: &mut naive::Tables, windows: &Windows, L_in: usize, x: &[f64]) -> Vec<Vec<f64>> {
    let rings = naive::synthesis(tables, windows, L_in, x).expect("valid");
    let (N, n) = (windows.N, rings.len() / windows.N);
    let steering = steering_matrix(N);
    (0..2 * N - 1).map(|g| (0..n).map(|k| (0..N).map(|c| steering[g * N + c] * rings[c * n + k]).sum()).collect()).collect()
}

#[test]
fn covariances_of_frames() {
    let mut random = Random(6);
    let mut tables = naive::Tables::default();
    for (L, N, j) in [(3, 1, 1), (4, 2, 1), (4, 3, 2), (5, 4, 2)] {
        let wavelets = Arc::new(HarmonicTransform::wavelet(L, L, N, j).expect("valid"));
        let op = Arc::new(FrameOperator::new(L, N, j, wavelets).expect("valid"));
        let bandlimits = [L, L - 1];
        let fields: Vec<Vec<f64>> = bandlimits.iter().map(|L| random.vec(coefficients_len(*L))).collect();
        let views: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
        let mut rows = Vec::new();
        for (x, L_in) in fields.iter().zip(bandlimits) {
            rows.push(directions(&mut tables, &Windows::wavelet(L_in, L, N, j).expect("valid"), L_in, x));
        }
        let L_j = Windows::wavelet(L, L, N, j).expect("valid").L;
        let weights = tables.nodes(L_j).1;
        // The sphere average of a product: order 0 counts half of the others, the weights sum to 2.
        let weight = |k: usize| weights[k / (2 * L_j)] * [0.5, 0.0, 1.0][(k % (2 * L_j)).min(2)];
        let G = 2 * N as u32 - 1;
        let pairs: Vec<(u32, u32, u32)> = (0..2).flat_map(|a| (0..2).flat_map(move |b| (0..G).map(move |g| (a, b, g)))).collect();
        let average = |(a, b, g): &(u32, u32, u32)| {
            let (x, y) = (&rows[*a as usize][*g as usize], &rows[*b as usize][*g as usize]);
            x.iter().zip(y).enumerate().map(|(k, (x, y))| weight(k) * x * y).sum()
        };
        let expected: Vec<f64> = pairs.iter().map(average).collect();
        let z = random.vec(3);
        let coefficient = |k: usize| k % 3;
        let executors: &[&dyn Parallel] = if N == 2 { &[&Serial, &Threads(2)] } else { &[&Serial] };
        for parallel in executors {
            let mut forms = vec![f64::NAN; pairs.len()];
            FrameGramPlan::new(vec![(op.clone(), pairs.clone())]).run(*parallel, &views, &bandlimits, &mut forms);
            assert!(relative(&forms, &expected) < 1e-13);
            // Mixtures: x_a . (sum z Q_g x_b) are sums of forms.
            let terms = pairs.iter().enumerate().map(|(k, (a, b, g))| (*a, *b, *g, coefficient(k) as u32)).collect();
            let mut mixed: Vec<Vec<f64>> = fields.iter().map(|x| vec![f64::NAN; x.len()]).collect();
            let mut targets: Vec<&mut [f64]> = mixed.iter_mut().map(Vec::as_mut_slice).collect();
            FrameMixPlan::new(2, vec![(op.clone(), terms)]).run(*parallel, &views, &bandlimits, &z, &mut targets, &bandlimits);
            let found: Vec<f64> = mixed.iter().zip(&fields).map(|(x, y)| dot(x, y)).collect();
            let sum =
                |a: usize| expected.iter().enumerate().skip(a * 2 * G as usize).take(2 * G as usize).map(|(k, form)| z[coefficient(k)] * form).sum();
            assert!(relative(&found, &[sum(0), sum(1)]) < 1e-13);
        }
    }
}

#[test]
fn weighed_sums() {
    let mut random = Random(7);
    for (len, L) in [(1, 1), (5, 3), (17, 2)] {
        let rows: Vec<Vec<f64>> = (0..3).map(|_| random.vec(2 * len)).collect();
        let views: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let table = random.vec(2 * L * len);
        let weights = Weights::new(L, len, &table);
        // e x, i o x or -i o x.
        let weighed = |l: u32, turned: u32, row: u32| -> Vec<f64> {
            let (even, odd) = table[2 * l as usize * len..][..2 * len].split_at(len);
            let value = |k: usize| match (turned, rows[row as usize][2 * k], rows[row as usize][2 * k + 1]) {
                (0, re, im) => [even[k] * re, even[k] * im],
                (1, re, im) => [-odd[k] * im, odd[k] * re],
                (_, re, im) => [odd[k] * im, -odd[k] * re],
            };
            (0..len).flat_map(value).collect()
        };
        let pairs = || (0..3u32).flat_map(|a| (0..3u32).flat_map(move |b| (0..L as u32).map(move |l| (a, b, l))));
        let forms: Vec<Form> = pairs().map(|(a, b, l)| Form { filter: 0, a, b, l, turned: (a + l).is_multiple_of(2) }).collect();
        let sum = |f: &Form| 0.5 * dot(&rows[f.a as usize], &weighed(f.l, u32::from(f.turned), f.b));
        let terms: Vec<Term> = (0..5).map(|k| Term { filter: 0, row: k % 3, l: k % L as u32, turned: k % 3, coefficient: k }).collect();
        let (targets, z) = ([vec![], terms], random.vec(5));
        let mut expected = vec![0.0; 2 * len];
        for t in &targets[1] {
            expected.iter_mut().zip(weighed(t.l, t.turned, t.row)).for_each(|(sum, y)| *sum += 2.0 * z[t.coefficient as usize] * y);
        }
        for parallel in [&Serial as &dyn Parallel, &Threads(2)] {
            let mut found = vec![f64::NAN; forms.len()];
            WeighedGram::new(3, &forms).run(parallel, &views, &[&weights], 0.5, &mut found);
            assert!(relative(&found, &forms.iter().map(sum).collect::<Vec<f64>>()) < 1e-13);
            let (mut first, mut second) = (vec![f64::NAN; 2 * len], vec![f64::NAN; 2 * len]);
            WeighedMix::new(3, &[L], &targets).run(parallel, &views, &[&weights], &z, 2.0, &mut [&mut first, &mut second]);
            assert!(first.iter().all(|x| *x == 0.0) && relative(&second, &expected) < 1e-13);
        }
    }
}

/// The real field of triangular coefficients of L = 3 at cos(theta) = z and sin(theta) = s, from the formulas of Y_lm.
fn field(coefficients: &[f64], (z, s): (f64, f64), phi: f64) -> f64 {
    let parts = [
        (0, 0, 1.0),
        (1, 0, 3f64.sqrt() * z),
        (2, 0, 5f64.sqrt() * (1.5 * z * z - 0.5)),
        (1, 1, -1.5f64.sqrt() * s),
        (2, 1, -7.5f64.sqrt() * s * z),
        (2, 2, 1.875f64.sqrt() * s * s),
    ];
    let term = |(ell, m, part): &(usize, usize, f64)| {
        let at = 2 * index(3, *ell, *m);
        let (sin, cos) = (*m as f64 * phi).sin_cos();
        part * (coefficients[at] * cos - coefficients[at + 1] * sin) * if *m == 0 { 1.0 } else { 2.0 }
    };
    parts.iter().map(term).sum::<f64>() / (4.0 * PI).sqrt()
}

#[test]
fn pixels_of_the_sphere() {
    let mut random = Random(8);
    let L = 3;
    let mut coefficients = random.vec(L * (L + 1));
    (0..L).for_each(|ell| coefficients[2 * index(L, ell, 0) + 1] = 0.0);
    for nside in [1, 2] {
        let pixels =
            |ring: &healpix::Ring| (0..ring.n).map(|k| ((ring.z, ring.sin_theta), ring.phi0 + TAU * k as f64 / ring.n as f64)).collect::<Vec<_>>();
        let centres: Vec<((f64, f64), f64)> = ring_geometry(nside).iter().flat_map(pixels).collect();
        let expected: Vec<f64> = centres.iter().map(|(z, phi)| field(&coefficients, *z, *phi)).collect();
        for (k, ((z, s), phi)) in centres.iter().enumerate() {
            assert_eq!(healpix::pixel_at(nside, s.atan2(*z), *phi), Some(k));
        }
        let nested = healpix::ring_to_nested(nside, &expected).expect("valid");
        assert_eq!(healpix::nested_to_ring(nside, &nested).expect("valid"), expected);
        for parallel in [&Serial as &dyn Parallel, &Threads(2)] {
            let map = healpix::synthesis(parallel, nside, L, &coefficients).expect("valid");
            assert!(relative(&map, &expected) < 1e-13);
            // Without steps the analysis is the adjoint times the area; a product counts the orders above 0 twice.
            let other = random.vec(map.len());
            let found = healpix::analysis(parallel, nside, &other, L, 0).expect("valid").coefficients;
            let twice = |(k, x): (usize, &f64)| if k < 2 * L { *x } else { 2.0 * x };
            let scaled: Vec<f64> = found.iter().enumerate().map(twice).map(|x| x * n_pixels(nside) as f64 / (4.0 * PI)).collect();
            assert!(adjoint_error((&map, &other), (&coefficients, &scaled)) < 1e-13);
            assert!(healpix::analysis(parallel, nside, &map, L, 8).expect("valid").residual() < 1e-6);
        }
    }
    let theta = [0.0, 1.0, PI];
    let grid = healpix::synthesis_grid(&Serial, L, &coefficients, &theta, 5).expect("valid");
    let expected = |k: usize| field(&coefficients, (theta[k / 5].cos(), theta[k / 5].sin()), TAU * (k % 5) as f64 / 5.0);
    assert!(relative(&grid, &(0..15).map(expected).collect::<Vec<f64>>()) < 1e-13);
}
