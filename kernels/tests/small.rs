//! The families of kernels at small sizes against plain loops and the direct sums, quick enough for an interpreter (`docs/trust.md`).
#![allow(non_snake_case)]

mod common;

use common::{Random, adjoint_error, relative};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::gather::Sums;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::images::{Blocks, Edge, Stencils};
use scatterc_kernels::layout::{RingLayout, coefficients_len};
use scatterc_kernels::planar::PlanarFft;
use scatterc_kernels::stencil::Rows;
use scatterc_kernels::wavelets::Windows;
use scatterc_kernels::{Serial, contract, naive};
use std::f64::consts::TAU;

/// Natural rings `[L][M][2]` of all channels in lanes; padding repeats its ring.
fn lanes(layout: &RingLayout, M: usize, natural: &[f64]) -> Vec<f64> {
    let mut out = Vec::new();
    for channel in natural.chunks_exact(layout.L() * M * 2) {
        for (block, m, part) in (0..layout.n_blocks()).flat_map(|b| (0..M).flat_map(move |m| [(b, m, 0), (b, m, 1)])) {
            out.extend((0..8).map(|lane| channel[(layout.ring(block, lane) * M + m) * 2 + part]));
        }
    }
    out
}

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
        assert!(relative(&rings, &lanes(&layout, windows.L, &natural)) < 1e-13);
        let y = random.vec(rings.len());
        let mut back = vec![f64::NAN; x.len()];
        transform.synthesis_adjoint(&Serial, &[&y], windows.L, &mut [&mut back]);
        assert!(adjoint_error((&rings, &y), (&x, &back)) < 1e-13);
    }
    let L = 4;
    let transform = HarmonicTransform::for_analysis(L, L).expect("valid");
    let natural = random.vec(L * L * 2);
    let rings = lanes(&RingLayout::new(L).expect("valid"), L, &natural);
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
    for L in [2, 5] {
        let fft = RingFft::new(L).expect("valid");
        let layout = RingLayout::new(L).expect("valid");
        let natural = random.vec(L * L * 2);
        let rings = lanes(&layout, L, &natural);
        let mut map = vec![f64::NAN; fft.map_len()];
        fft.inverse(&Serial, &[&rings], L, &mut [&mut map]);
        let mut expected = vec![f64::NAN; map.len()];
        layout.grid_to_map(&naive::ring_inverse(L, L, &natural).expect("valid"), &mut expected);
        assert!(relative(&map, &expected) < 1e-13);
        let (mut forward, cotangent) = (vec![f64::NAN; rings.len()], random.vec(rings.len()));
        fft.forward(&Serial, &[&map], L, &mut [&mut forward]);
        let mut back = vec![f64::NAN; map.len()];
        fft.forward_adjoint(&Serial, &[&cotangent], L, &mut [&mut back]);
        assert!(adjoint_error((&forward, &cotangent), (&map, &back)) < 1e-13);
        let y = random.vec(map.len());
        let mut back = vec![f64::NAN; rings.len()];
        fft.inverse_adjoint(&Serial, &[&y], L, &mut [&mut back]);
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
