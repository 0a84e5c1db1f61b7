//! Wavelets and changes of resolution on HEALPix maps against recorded lists of weights, and their adjoints.
#![allow(non_snake_case)]

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use scatterc_kernels::Serial;
use scatterc_kernels::gather::{Downgrade, Sums, Wavelets};
use scatterc_kernels::healpix::nested_ring_table;
use scatterc_kernels::stencil::{Pixels, Rows, coarse_cells, downgrade, upgrade, wavelets};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// The recorded file, if it is at hand.
fn recorded(name: &str) -> Option<NpzReader<File>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for folder in ["../../shared/reference/foscat", "tests/golden"] {
        if let Ok(file) = File::open(root.join(folder).join(format!("{name}.npz"))) {
            return Some(NpzReader::new(file).expect("a recorded file is a readable npz"));
        }
    }
    println!("{name}: not at hand, skipped");
    None
}

fn real(file: &mut NpzReader<File>, name: &str) -> Vec<f64> {
    let array: ArrayD<f64> = file.by_name(name).expect("a recorded array of real numbers");
    array.into_iter().collect()
}

fn whole(file: &mut NpzReader<File>, name: &str) -> Vec<usize> {
    if let Ok(array) = file.by_name::<ndarray::OwnedRepr<i32>, IxDyn>(name) {
        return array.into_iter().map(|k| k as usize).collect();
    }
    let array: ArrayD<i8> = file.by_name(name).expect("a recorded array of whole numbers");
    array.into_iter().map(|k| k as usize).collect()
}

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1e-300, |m, x| x.abs().max(m))
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest(expected)
}

fn all(pixels: &Pixels) -> Vec<usize> {
    (0..pixels.len()).collect()
}

/// Weights by (row, orientation and part, column).
fn entries(rows: &Rows) -> BTreeMap<(usize, usize, usize), f64> {
    let mut out = BTreeMap::new();
    rows.each(|r, column, weights| {
        for (o, w) in weights.iter().enumerate() {
            *out.entry((r, o, column)).or_insert(0.0) += w;
        }
    });
    out
}

fn compare(found: &BTreeMap<(usize, usize, usize), f64>, expected: &BTreeMap<(usize, usize, usize), f64>) -> f64 {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let scale = expected.values().fold(0.0f64, |m, x| m.max(x.abs()));
    keys.into_iter().map(|k| (found.get(k).unwrap_or(&0.0) - expected.get(k).unwrap_or(&0.0)).abs()).fold(0.0, f64::max) / scale
}

#[test]
fn weights_equal_the_recorded_lists() {
    for (nside, K) in [(1, 3), (2, 3), (4, 3), (8, 3), (1, 5), (2, 5), (4, 5)] {
        let Some(mut file) = recorded(&format!("op_n{nside}_k{K}")) else { continue };
        let pixels = Pixels::new(nside).expect("a valid nside");
        let rows = wavelets(&pixels, K, 4, &all(&pixels), &[], 1).expect("valid sizes");
        let mut expected = BTreeMap::new();
        let (from, to, orientation) = (whole(&mut file, "f64_wave_in"), whole(&mut file, "f64_wave_out"), whole(&mut file, "f64_wave_orient"));
        let (re, im) = (real(&mut file, "f64_wave_re"), real(&mut file, "f64_wave_im"));
        for k in 0..from.len() {
            *expected.entry((to[k], 2 * orientation[k], from[k])).or_insert(0.0) += re[k];
            *expected.entry((to[k], 2 * orientation[k] + 1, from[k])).or_insert(0.0) += im[k];
        }
        let error = compare(&entries(&rows), &expected);
        assert!(error < 1e-11, "nside {nside}, K {K}: wavelets differ by {error:e}");
        let x = real(&mut file, "x");
        let fine = Pixels::new(2 * nside).expect("a valid nside");
        let up = Sums::new(upgrade(&fine, &pixels).expect("valid sizes"), false);
        let mut y = vec![0.0; fine.len()];
        up.apply(&Serial, &[&x], &mut [&mut y]);
        let error = distance(&y, &real(&mut file, "f64_up"));
        assert!(error < 1e-12, "nside {nside}: the up-grade differs by {error:e}");
        if nside == 1 {
            continue;
        }
        let coarse = Pixels::new(nside / 2).expect("a valid nside");
        let down = downgrade(&pixels, &coarse, &all(&coarse), &[]).expect("valid sizes");
        let mut expected = BTreeMap::new();
        let (from, to, weight) = (whole(&mut file, "f64_down_in"), whole(&mut file, "f64_down_out"), real(&mut file, "f64_down_w"));
        (0..from.len()).for_each(|k| *expected.entry((to[k], 0, from[k])).or_insert(0.0) += weight[k]);
        let error = compare(&entries(&down), &expected);
        assert!(error < 1e-12, "nside {nside}: the down-grade differs by {error:e}");
    }
}

/// Rows read entry by entry, without turns.
fn plainly(rows: &Rows, L: usize, x: &[f64]) -> Vec<f64> {
    let n = rows.len();
    let mut y = vec![0.0; 2 * L * n];
    rows.each(|r, column, weights| (0..2 * L).for_each(|o| y[o * n + r] += weights[o] * x[column]));
    y
}

/// Cells of a patch with a hole, spread over three faces.
fn patch(nside: usize) -> Vec<usize> {
    let face = nside * nside;
    (face / 2..3 * face).filter(|p| p % 7 != 3).collect()
}

#[test]
fn turned_rows_equal_plain_ones_and_adjoints_are_transposes() {
    for (nside, K, L, part) in
        [(1, 3, 4, false), (2, 5, 4, false), (8, 3, 4, false), (8, 7, 3, false), (4, 3, 6, false), (4, 5, 1, false), (8, 3, 4, true)]
    {
        let pixels = Pixels::new(nside).expect("a valid nside");
        let cells = if part { patch(nside) } else { vec![] };
        let targets = if part { cells.clone() } else { all(&pixels) };
        let rows = wavelets(&pixels, K, L, &targets, &cells, 1).expect("valid sizes");
        let n = targets.len();
        let forth = Wavelets::new(nside, K, L, &cells, false).expect("valid sizes");
        let back = Wavelets::new(nside, K, L, &cells, true).expect("valid sizes");
        let mut scratch = vec![0.0; back.scratch_len(7)];
        let fields: Vec<Vec<f64>> = (0..7).map(|k| random(n, k + 1)).collect();
        let inputs: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
        let mut results = vec![vec![0.0; 2 * L * n]; 7];
        let mut outputs: Vec<&mut [f64]> = results.iter_mut().map(Vec::as_mut_slice).collect();
        forth.apply(&Serial, &inputs, &mut outputs, &mut []);
        let cotangents: Vec<Vec<f64>> = (0..7).map(|k| random(2 * L * n, k + 11)).collect();
        let inputs: Vec<&[f64]> = cotangents.iter().map(Vec::as_slice).collect();
        let mut adjoint = vec![vec![0.0; n]; 7];
        let mut outputs: Vec<&mut [f64]> = adjoint.iter_mut().map(Vec::as_mut_slice).collect();
        back.apply(&Serial, &inputs, &mut outputs, &mut scratch);
        for k in 0..7 {
            let error = distance(&results[k], &plainly(&rows, L, &fields[k]));
            assert!(error < 1e-12, "nside {nside}, K {K}, L {L}, patch {part}: {error:e}");
            let left: f64 = results[k].iter().zip(&cotangents[k]).map(|(a, b)| a * b).sum();
            let right: f64 = fields[k].iter().zip(&adjoint[k]).map(|(a, b)| a * b).sum();
            assert!((left - right).abs() < 1e-12 * n as f64, "nside {nside}, K {K}, L {L}, patch {part}: {left} against {right}");
        }
    }
}

/// Rows made while they are applied act as rows that are kept, and both changes of resolution as the plain one.
#[test]
fn made_rows_equal_kept_ones() {
    for (nside, K, L) in [(1, 3, 4), (2, 3, 4), (2, 7, 3), (4, 5, 4), (8, 3, 4), (16, 7, 2), (32, 5, 1), (64, 3, 4)] {
        let n = 12 * nside * nside;
        for adjoint in [false, true] {
            let kept = Wavelets::new(nside, K, L, &[], adjoint).expect("valid sizes");
            let made = Wavelets::within(nside, K, L, &[], adjoint, 0).expect("valid sizes");
            assert!(made.bytes() < kept.bytes() && made.scratch_len(3) == 0);
            let (from, to) = if adjoint { (2 * L * n, n) } else { (n, 2 * L * n) };
            let fields: Vec<Vec<f64>> = (0..3).map(|k| random(from, k + 1)).collect();
            let inputs: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
            let run = |map: &Wavelets| {
                let (mut results, mut scratch) = (vec![vec![0.0; to]; 3], vec![0.0; map.scratch_len(3)]);
                let mut outputs: Vec<&mut [f64]> = results.iter_mut().map(Vec::as_mut_slice).collect();
                map.apply(&Serial, &inputs, &mut outputs, &mut scratch);
                results.concat()
            };
            let error = distance(&run(&made), &run(&kept));
            assert!(error < 1e-13, "nside {nside}, K {K}, L {L}, adjoint {adjoint}: {error:e}");
        }
        if nside == 1 {
            continue;
        }
        let (fine, coarse) = (Pixels::new(nside).expect("a valid nside"), Pixels::new(nside / 2).expect("a valid nside"));
        let rows = downgrade(&fine, &coarse, &all(&coarse), &[]).expect("valid sizes");
        for adjoint in [false, true] {
            let plain = Sums::new(rows.clone(), adjoint);
            let (from, to) = plain.lengths();
            let x = random(from, 5);
            let mut expected = vec![0.0; to];
            plain.apply(&Serial, &[&x], &mut [&mut expected]);
            for bytes in [0, usize::MAX] {
                let map = Downgrade::within(nside, adjoint, bytes).expect("valid sizes");
                assert_eq!(map.lengths(), (from, to));
                let mut y = vec![0.0; to];
                map.apply(&Serial, &[&x], &mut [&mut y]);
                let error = distance(&y, &expected);
                assert!(error < 1e-13, "nside {nside}, adjoint {adjoint}, at most {bytes} bytes: {error:e}");
            }
        }
    }
}

#[test]
fn pixel_numbers_follow_the_table() {
    for nside in [1, 2, 4, 8, 32, 128] {
        let pixels = Pixels::new(nside).expect("a valid nside");
        let table = nested_ring_table(nside).expect("a valid nside");
        assert!(table.iter().enumerate().all(|(p, ring)| pixels.ring_number(p) == *ring), "nside {nside}");
        // A centre is interpolated from its own pixel alone.
        for p in 0..pixels.len() {
            let (theta, phi) = pixels.centre(p);
            let found: f64 = pixels.interpolation(theta, phi).iter().filter(|(q, _)| *q == p).map(|(_, w)| w).sum();
            assert!((found - 1.0).abs() < 1e-8, "nside {nside}, pixel {p}: {found}");
        }
    }
}

#[test]
fn constants_have_no_wavelets_and_survive_changes_of_resolution() {
    let (pixels, coarse) = (Pixels::new(8).expect("a valid nside"), Pixels::new(4).expect("a valid nside"));
    let cells = patch(8);
    for (targets, cells, n) in [(all(&pixels), vec![], pixels.len()), (cells.clone(), cells.clone(), cells.len())] {
        let rows = wavelets(&pixels, 5, 4, &targets, &cells, 1).expect("valid sizes");
        let leak = largest(&plainly(&rows, 4, &vec![1.0; n]));
        assert!(leak < 1e-14, "{} cells: {leak:e}", cells.len());
        let few = if cells.is_empty() { all(&coarse) } else { coarse_cells(&cells) };
        let down = downgrade(&pixels, &coarse, &few, &cells).expect("valid sizes");
        let mut y = vec![0.0; few.len()];
        Sums::new(down, false).apply(&Serial, &[&vec![1.0; n]], &mut [&mut y]);
        assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-14));
    }
}

#[test]
fn the_pyramid_equals_the_recorded_one() {
    let Some(mut file) = recorded("op_pyramid_n32") else { return };
    let mut x = real(&mut file, "x");
    let mut nside = 32;
    while nside > 1 {
        let (fine, coarse) = (Pixels::new(nside).expect("a valid nside"), Pixels::new(nside / 2).expect("a valid nside"));
        let down = Sums::new(downgrade(&fine, &coarse, &all(&coarse), &[]).expect("valid sizes"), false);
        let back = Sums::new(downgrade(&fine, &coarse, &all(&coarse), &[]).expect("valid sizes"), true);
        let mut y = vec![0.0; coarse.len()];
        down.apply(&Serial, &[&x], &mut [&mut y]);
        let mut z = vec![0.0; fine.len()];
        back.apply(&Serial, &[&y], &mut [&mut z]);
        let (left, right): (f64, f64) = (y.iter().map(|y| y * y).sum(), x.iter().zip(&z).map(|(x, z)| x * z).sum());
        assert!((left - right).abs() < 1e-12 * left);
        nside /= 2;
        let error = distance(&y, &real(&mut file, &format!("f64_map_{nside}")));
        assert!(error < 1e-12, "nside {nside}: {error:e}");
        x = y;
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let pixels = Pixels::new(8).expect("a valid nside");
    assert_eq!(Pixels::new(12).expect_err("no power of two").to_string(), "`nside` must be a power of two from 1 to 8192, found 12");
    let refused = |K: usize, L: usize, cells: &[usize]| wavelets(&pixels, K, L, cells, cells, 1).expect_err("refused").to_string();
    assert_eq!(refused(4, 4, &[]), "`K` must be 3, 5 or 7, the sizes of the stencil, found 4");
    assert_eq!(refused(3, 0, &[]), "`L` must be from 1 to 32 orientations, found 0");
    assert_eq!(refused(3, 4, &[1, 3, 2]), "`cells` must be pixel numbers in ascending order, found 3 then 2");
    assert_eq!(refused(3, 4, &[1, 1]), "`cells` must be pixel numbers once, found 1 then 1");
    assert_eq!(refused(3, 4, &[768]), "`cells` must be pixels below 12 nside^2 = 768, found 768");
}
