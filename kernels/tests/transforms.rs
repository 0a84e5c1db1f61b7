//! Lane kernels against the direct sums, adjoint identities, independence of threads, stored transforms; at all SIMD levels.
#![allow(non_snake_case)]

mod common;

use std::sync::Mutex;

use common::{Random, Threads, adjoint_error, channels_to_lanes, relative, rings_to_lanes};
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::{RingLayout, coefficient_index, coefficients_len};
use scatterc_kernels::simd::{Level, limit_level};
use scatterc_kernels::wavelets::{Window, Windows, j_max, steering_matrix};
use scatterc_kernels::wigner::wigner_d;
use scatterc_kernels::{Serial, contract, naive};

const SIZES: [usize; 10] = [1, 2, 3, 4, 5, 8, 17, 24, 33, 64];

/// The level is global to the process, so tests that set it take turns.
static TURN: Mutex<()> = Mutex::new(());

fn at_all_levels(test: impl Fn(&str)) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for bound in [Level::Portable, Level::Avx2, Level::Avx512] {
        let level = limit_level(bound);
        if level == bound {
            test(&format!("{level:?}"));
        }
    }
}

fn refs(rows: &[Vec<f64>]) -> Vec<&[f64]> {
    rows.iter().map(|row| &row[..]).collect()
}

fn muts(rows: &mut [Vec<f64>]) -> Vec<&mut [f64]> {
    rows.iter_mut().map(|row| &mut row[..]).collect()
}

/// Synthesis and adjoint of one transform against the naive forms, several fields at once.
fn check_synthesis(level: &str, transform: &HarmonicTransform, windows: &Windows, L_in: usize, n_fields: usize) {
    let (L, N) = (windows.L, windows.N);
    let mut random = Random(0x1234_5678 + (L * 64 + N) as u64);
    let layout = RingLayout::new(L).expect("valid");
    let mut tables = naive::Tables::default();
    let fields: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(coefficients_len(L_in))).collect();
    let mut out = vec![vec![f64::NAN; transform.rings_len(L)]; n_fields];
    transform.synthesis(&Serial, &refs(&fields), &mut muts(&mut out));
    for f in [0, n_fields - 1] {
        let natural = naive::synthesis(&mut tables, windows, L_in, &fields[f]).expect("valid");
        let expected = channels_to_lanes(&layout, L, &natural, false);
        let error = relative(&out[f], &expected);
        assert!(error < 1e-12 || common::max_abs(&expected) == 0.0, "{level} L {L} N {N} L_in {L_in} field {f}: {error:e}");
    }
    for M in [1, L.div_ceil(2), L] {
        let natural: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(N * L * M * 2)).collect();
        let lanes: Vec<Vec<f64>> = natural.iter().map(|rings| channels_to_lanes(&layout, M, rings, true)).collect();
        let mut back = vec![vec![f64::NAN; coefficients_len(L_in)]; n_fields];
        transform.synthesis_adjoint(&Serial, &refs(&lanes), M, &mut muts(&mut back));
        let f = n_fields - 1;
        let expected = naive::synthesis_adjoint(&mut tables, windows, L_in, &natural[f], M).expect("valid");
        let error = relative(&back[f], &expected);
        assert!(error < 1e-12 || common::max_abs(&expected) == 0.0, "{level} adjoint L {L} N {N} M {M}: {error:e}");
        if M == L {
            for f in 0..n_fields {
                let error = adjoint_error((&out[f], &lanes[f]), (&fields[f], &back[f]));
                assert!(error < 1e-12, "{level} identity L {L} N {N}: {error:e}");
            }
        }
    }
}

#[test]
fn wavelet_transforms() {
    at_all_levels(|level| {
        for L in SIZES {
            for N in 1..=8 {
                let n_fields = [1, 2, 3, 4, 5, 7, 11, 6][N - 1];
                let J = j_max(L);
                for j in [0, J / 2, J] {
                    if L > 32 && j == J / 2 && N > 3 {
                        continue;
                    }
                    let windows = Windows::wavelet(L, L, N, j).expect("valid");
                    let transform = HarmonicTransform::wavelet(L, L, N, j).expect("valid");
                    check_synthesis(level, &transform, &windows, L, n_fields);
                }
            }
        }
    });
}

#[test]
fn inputs_of_other_bandlimits() {
    at_all_levels(|level| {
        for (L_in, L) in [(5, 12), (12, 5), (1, 9), (16, 16)] {
            let windows = Windows::plain(L_in, L).expect("valid");
            check_synthesis(level, &HarmonicTransform::plain(L_in, L).expect("valid"), &windows, L_in, 2);
        }
        for (L_in, j) in [(3, 2), (6, 3), (20, 1), (40, 2)] {
            let windows = Windows::wavelet(L_in, 24, 3, j).expect("valid");
            check_synthesis(level, &HarmonicTransform::wavelet(L_in, 24, 3, j).expect("valid"), &windows, L_in, 3);
        }
        for J_min in 0..=4 {
            let windows = Windows::scaling(24, 24, J_min).expect("valid");
            check_synthesis(level, &HarmonicTransform::scaling(24, 24, J_min).expect("valid"), &windows, 24, 1);
        }
    });
}

#[test]
fn analysis() {
    at_all_levels(|level| {
        for L in SIZES {
            for (L_out, M) in [(L, L), (L.div_ceil(2), L), (L, L.div_ceil(2)), (L + 3, L)] {
                let n_fields = 1 + L % 6;
                let mut random = Random(99 + L as u64);
                let layout = RingLayout::new(L).expect("valid");
                let transform = HarmonicTransform::for_analysis(L, L_out).expect("valid");
                let mut tables = naive::Tables::default();
                let natural: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(L * M * 2)).collect();
                let lanes: Vec<Vec<f64>> = natural.iter().map(|r| rings_to_lanes(&layout, M, r, false)).collect();
                let mut out = vec![vec![f64::NAN; coefficients_len(L_out)]; n_fields];
                transform.analysis(&Serial, &refs(&lanes), M, &mut muts(&mut out));
                let expected = naive::analysis(&mut tables, L, L_out, M, &natural[0]).expect("valid");
                assert!(relative(&out[0], &expected) < 1e-12, "{level} L {L} {:e}", relative(&out[0], &expected));
                let fields: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(coefficients_len(L_out))).collect();
                let mut back = vec![vec![f64::NAN; layout.rings_len(M)]; n_fields];
                transform.analysis_adjoint(&Serial, &refs(&fields), M, &mut muts(&mut back));
                let expected = naive::analysis_adjoint(&mut tables, L, L_out, M, &fields[0]).expect("valid");
                let expected = rings_to_lanes(&layout, M, &expected, true);
                assert!(relative(&back[0], &expected) < 1e-12, "{level} L {L} {:e}", relative(&back[0], &expected));
                for f in 0..n_fields {
                    let error = adjoint_error((&out[f], &fields[f]), (&lanes[f], &back[f]));
                    assert!(error < 1e-12, "{level} L {L} {error:e}");
                }
            }
        }
    });
}

#[test]
fn ring_transforms() {
    at_all_levels(|level| {
        // 53, 60, 67: a prime, 7 x 17, 7 x 19; 70: a prime beyond the direct passes; 92: 3 x 61; 128: 3 x 5 x 17. The others: every prime that runs as a
        // cyclic convolution, alone, with another factor before it, and twice (31 x 31).
        let cyclic = [16, 34, 36, 37, 40, 45, 64, 66, 47, 78, 101, 481];
        for L in SIZES.into_iter().chain([7, 14, 23, 32, 41, 53, 60, 67, 70, 92, 128]).chain(cyclic) {
            let layout = RingLayout::new(L).expect("valid");
            let fft = RingFft::new(L).expect("valid");
            let mut random = Random(5 + L as u64);
            for M in if L < 200 { [1, L.div_ceil(2), L] } else { [1, 2, 4] } {
                let natural = [random.vec(L * M * 2), random.vec(L * M * 2)];
                let lanes: Vec<Vec<f64>> = natural.iter().map(|r| rings_to_lanes(&layout, M, r, false)).collect();
                let mut maps = vec![vec![f64::NAN; layout.map_len()]; 2];
                fft.inverse(&Serial, &refs(&lanes), M, &mut muts(&mut maps));
                let slow = naive::ring_inverse(L, M, &natural[1]).expect("valid");
                let mut expected = vec![0.0; layout.map_len()];
                layout.grid_to_map(&slow, &mut expected);
                assert!(relative(&maps[1], &expected) < 1e-12, "{level} {fft:?} {:e}", relative(&maps[1], &expected));

                let grids = [random.vec(L * (2 * L - 1)), random.vec(L * (2 * L - 1))];
                let mut samples = vec![vec![0.0; layout.map_len()]; 2];
                for (grid, map) in grids.iter().zip(&mut samples) {
                    layout.grid_to_map(grid, map);
                }
                let mut rings = vec![vec![f64::NAN; layout.rings_len(M)]; 2];
                fft.forward(&Serial, &refs(&samples), M, &mut muts(&mut rings));
                let slow = naive::ring_forward(L, M, &grids[1]).expect("valid");
                let expected = rings_to_lanes(&layout, M, &slow, false);
                assert!(relative(&rings[1], &expected) < 1e-12, "{level} {fft:?}");

                let mut back = vec![vec![f64::NAN; layout.rings_len(M)]; 2];
                fft.inverse_adjoint(&Serial, &refs(&samples), M, &mut muts(&mut back));
                assert!(adjoint_error((&maps[0], &samples[0]), (&lanes[0], &back[0])) < 1e-12, "{level} {fft:?}");
                let mut back = vec![vec![f64::NAN; layout.map_len()]; 2];
                fft.forward_adjoint(&Serial, &refs(&lanes), M, &mut muts(&mut back));
                assert!(adjoint_error((&rings[0], &lanes[0]), (&samples[0], &back[0])) < 1e-12, "{level} {fft:?}");
            }
        }
    });
}

#[test]
fn naive_adjoints() {
    for (L, N, j) in [(6, 3, 1), (8, 2, 2), (9, 4, 3), (5, 1, 2)] {
        let mut tables = naive::Tables::default();
        let mut random = Random(31);
        let x = random.vec(coefficients_len(L));
        let y = naive::directional(&mut tables, L, L, N, j, &x).expect("valid");
        let g = random.vec(y.len());
        let back = naive::directional_adjoint(&mut tables, L, L, N, j, &g).expect("valid");
        assert!(adjoint_error((&y, &g), (&x, &back)) < 1e-13);
        let grid = random.vec(L * (2 * L - 1));
        let a = naive::harmonic_forward(&mut tables, L, L + 1, &grid).expect("valid");
        let g = random.vec(a.len());
        let back = naive::harmonic_forward_adjoint(&mut tables, L, L + 1, &g).expect("valid");
        assert!(adjoint_error((&a, &g), (&grid, &back)) < 1e-13);
        let f = naive::harmonic_inverse(&mut tables, L, L, &x).expect("valid");
        let back = naive::harmonic_inverse_adjoint(&mut tables, L, L, &grid).expect("valid");
        assert!(adjoint_error((&f, &grid), (&x, &back)) < 1e-13);
        let mut masked = x.clone();
        for ell in 0..L {
            masked[2 * ell + 1] = 0.0;
        }
        let f = naive::harmonic_inverse(&mut tables, L, L, &masked).expect("valid");
        let again = naive::harmonic_forward(&mut tables, L, L, &f).expect("valid");
        assert!(relative(&again, &masked) < 1e-13);
    }
}

#[test]
fn threads_do_not_change_results() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (L, N) = (40, 3);
    let mut random = Random(7);
    let transform = HarmonicTransform::wavelet(L, L, N, 5).expect("valid");
    let fft = RingFft::new(L).expect("valid");
    let fields: Vec<Vec<f64>> = (0..7).map(|_| random.vec(coefficients_len(L))).collect();
    let run = |par: &dyn scatterc_kernels::Parallel| {
        let mut rings = vec![vec![0.0; transform.rings_len(L)]; 7];
        transform.synthesis(par, &refs(&fields), &mut muts(&mut rings));
        let channels: Vec<&[f64]> = rings.iter().flat_map(|r| r.chunks_exact(fft.rings_len(L))).collect();
        let mut maps = vec![vec![0.0; fft.map_len()]; channels.len()];
        fft.inverse(par, &channels, L, &mut muts(&mut maps));
        let mut back = vec![vec![0.0; fft.rings_len(L)]; channels.len()];
        fft.forward(par, &refs(&maps), L, &mut muts(&mut back));
        let joined: Vec<Vec<f64>> = back.chunks_exact(N).map(|c| c.concat()).collect();
        let mut out = vec![vec![0.0; coefficients_len(L)]; 7];
        transform.synthesis_adjoint(par, &refs(&joined), L, &mut muts(&mut out));
        let weights = RingLayout::new(L).expect("valid").map_weights();
        let pairs: Vec<(u32, u32)> = (0..21).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
        let mut sums = vec![0.0; pairs.len()];
        contract::gram(par, &refs(&maps), &weights, &pairs, &mut sums);
        out.push(sums);
        out
    };
    assert_eq!(run(&Serial), run(&Threads(3)));
}

/// Odd and composite bandlimits beyond the small ones, at the widest level.
#[test]
fn medium_bandlimits() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    limit_level(Level::Avx512);
    for (L, N, n_fields) in [(100, 3, 6), (129, 3, 2), (90, 5, 1), (91, 4, 3), (255, 1, 7), (300, 1, 1)] {
        let J = j_max(L);
        let windows = Windows::wavelet(L, L, N, J).expect("valid");
        check_synthesis("widest", &HarmonicTransform::wavelet(L, L, N, J).expect("valid"), &windows, L, n_fields);
    }
}

/// Stored functions give what the recursion gives.
#[test]
fn stored_functions() {
    at_all_levels(|level| {
        for L in [3, 17, 33, 64, 100] {
            let J = j_max(L);
            for transform in [
                HarmonicTransform::wavelet(L, L, 3, J),
                HarmonicTransform::wavelet(L, L, 3, J.saturating_sub(1)),
                HarmonicTransform::wavelet(L, L, 5, J),
                HarmonicTransform::plain(L, L),
                HarmonicTransform::for_analysis(L, L.div_ceil(2)),
            ] {
                let transform = transform.expect("valid");
                if transform.flops(1) == 0.0 {
                    continue; // a scale without degrees
                }
                assert!(!transform.clone().with_tables(0).has_tables(), "no budget");
                let stored = transform.clone().with_tables(usize::MAX);
                assert!(stored.has_tables() && stored.table_bytes() > transform.table_bytes());
                assert!(!transform.prefers_tables(1, 0));
                for n_fields in [1, 3, 6] {
                    let mut random = Random(17 + L as u64);
                    let (grid, M) = (transform.L(), transform.L());
                    let layout = RingLayout::new(grid).expect("valid");
                    let fields: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(transform.coefficients_len())).collect();
                    let natural: Vec<Vec<f64>> = (0..n_fields).map(|_| random.vec(transform.n_channels() * grid * M * 2)).collect();
                    let lanes: Vec<Vec<f64>> = natural.iter().map(|rings| channels_to_lanes(&layout, M, rings, true)).collect();
                    let run = |t: &HarmonicTransform| {
                        let mut rings = vec![vec![f64::NAN; t.rings_len(M)]; n_fields];
                        let mut back = vec![vec![f64::NAN; t.coefficients_len()]; n_fields];
                        if t.is_analysis() {
                            t.analysis_adjoint(&Serial, &refs(&fields), M, &mut muts(&mut rings));
                            t.analysis(&Serial, &refs(&lanes), M, &mut muts(&mut back));
                        } else {
                            t.synthesis(&Serial, &refs(&fields), &mut muts(&mut rings));
                            t.synthesis_adjoint(&Serial, &refs(&lanes), M, &mut muts(&mut back));
                        }
                        [rings.concat(), back.concat()]
                    };
                    for (found, expected) in run(&stored).iter().zip(&run(&transform)) {
                        let error = relative(found, expected);
                        assert!(error < 1e-12 || common::max_abs(expected) == 0.0, "{level} L {L} fields {n_fields}: {error:e}");
                    }
                }
            }
        }
    });
}

/// Seeds, skipped polar rings and the recursion at bandlimits where sin(theta)^m underflows: against Wigner functions.
#[test]
fn large_bandlimit() {
    compare_with_wigner(900, [0, 1, 2, 3, 40, 300, 700, 898], &[0, 1, 2, 3, 4, 10, 11], 1e-12);
}

/// As above, with the blocks next to the polar ones, where rounding errors of n = 2 from n = 0 would show first.
///
/// The recursion itself loses up to 2.8e-12 of the largest function at this bandlimit (fused; the portable instance rounds twice), so
/// 4e-12 is what any f64 recursion of 1024 steps can promise.
#[test]
fn largest_bandlimit() {
    compare_with_wigner(2048, [0, 1, 2, 3, 17, 150, 900, 2040], &[0, 1, 2, 6, 8, 9, 10, 16, 80, 254], 4e-12);
}

fn compare_with_wigner(L: usize, chosen: [usize; 8], blocks: &[usize], tolerance: f64) {
    let mut random = Random(77);
    let mut coefficients = vec![0.0; coefficients_len(L)];
    for m in chosen {
        for ell in m..L {
            let at = 2 * coefficient_index(L, ell, m);
            coefficients[at] = random.next();
            coefficients[at + 1] = if m == 0 { 0.0 } else { random.next() };
        }
    }
    let layout = RingLayout::new(L).expect("valid");
    let windows = Windows::wavelet(L, L, 3, j_max(L)).expect("valid");
    at_all_levels(|level| {
        let transform = HarmonicTransform::wavelet(L, L, 3, j_max(L)).expect("valid");
        let mut rings = vec![0.0; transform.rings_len(L)];
        transform.synthesis(&Serial, &[&coefficients], &mut [&mut rings]);
        let scale = common::max_abs(&rings);
        let mut worst = 0.0f64;
        for block in blocks.iter().copied().chain([layout.n_blocks() - 1]) {
            for lane in [0, 1, 2, 5, 7] {
                let theta = layout.theta(block, lane);
                for m in chosen {
                    let sum = |window: usize, m_signed: isize| {
                        let Window { n, filter } = &windows.windows[window];
                        let d = wigner_d(filter.len(), m_signed, *n as isize, theta).expect("valid");
                        let l0 = filter.len() - d.len();
                        (l0..filter.len()).fold([0.0; 2], |[re, im], ell| {
                            let at = 2 * coefficient_index(L, ell, m);
                            let p = filter[ell] * d[ell - l0];
                            [re + p * coefficients[at], im + p * coefficients[at + 1]]
                        })
                    };
                    let parity = if m % 2 == 1 { -1.0 } else { 1.0 };
                    let (a, p, q) = (sum(0, m as isize), sum(1, m as isize), sum(1, -(m as isize)));
                    let q = q.map(|x| x * parity);
                    let expected = if m == 0 {
                        [a, [p[0], 0.0], [p[1], 0.0]]
                    } else {
                        // B = (P + Q) / 2, C = (P - Q) / 2i.
                        [a, [(p[0] + q[0]) / 2.0, (p[1] + q[1]) / 2.0], [(p[1] - q[1]) / 2.0, (q[0] - p[0]) / 2.0]]
                    };
                    for (channel, expected) in expected.iter().enumerate() {
                        for part in 0..2 {
                            let at = channel * layout.rings_len(L) + ((block * L + m) * 2 + part) * 8 + lane;
                            worst = worst.max((rings[at] - expected[part]).abs() / scale);
                        }
                    }
                }
            }
        }
        assert!(worst < tolerance, "{level}: {worst:e}");
        println!("{level}: {worst:e}");
        // Padding lanes, if there are any; their products are left out of the adjoint identity.
        let mut left = rings.clone();
        for channel in left.chunks_exact_mut(layout.rings_len(L)) {
            for block in 0..layout.n_blocks() {
                for lane in (0..8).filter(|lane| layout.is_padding(block, *lane)) {
                    for m in 0..2 * L {
                        channel[(block * 2 * L + m) * 8 + lane] = 0.0;
                    }
                }
            }
        }
        let masked: Vec<f64> = left.iter().map(|x| if *x == 0.0 { 0.0 } else { x.signum() * 0.5 }).collect();
        let mut back = vec![0.0; coefficients_len(L)];
        transform.synthesis_adjoint(&Serial, &[&masked], L, &mut [&mut back]);
        let error = adjoint_error((&left, &masked), (&coefficients, &back));
        assert!(error < tolerance, "{level}: {error:e}");
    });
}

#[test]
fn refused_parameters() {
    assert!(HarmonicTransform::wavelet(0, 8, 1, 0).is_err());
    assert!(HarmonicTransform::wavelet(8, 8, 0, 0).is_err());
    assert!(HarmonicTransform::wavelet(8, 8, 1, 4).is_err());
    assert!(HarmonicTransform::plain(8, 0).is_err());
    assert!(HarmonicTransform::for_analysis(0, 8).is_err());
    assert!(RingFft::<f64>::new(0).is_err());
    assert!(RingLayout::new(0).is_err());
    assert!(scatterc_kernels::wigner::wigner_d(4, 0, 0, 4.0).is_err());
    assert!(scatterc_kernels::wigner::wigner_d(4, 0, 0, f64::NAN).is_err());
}

#[test]
fn contractions() {
    at_all_levels(|level| {
        for n in [0, 1, 7, 8, 40, 511, 513, 12_345] {
            let mut random = Random(3 + n as u64);
            let rows: Vec<Vec<f64>> = (0..11).map(|_| random.vec(n)).collect();
            let weights = random.vec(n);
            // A dense group of seven, a sparse chain, a lone square, both orders of one pair.
            let mut pairs: Vec<(u32, u32)> = (0..7).flat_map(|a| (0..7).map(move |b| (a, b))).collect();
            pairs.extend([(7, 8), (8, 9), (10, 10), (8, 7)]);
            let mut out = vec![f64::NAN; pairs.len()];
            contract::gram(&Serial, &refs(&rows), &weights, &pairs, &mut out);
            for (found, (a, b)) in out.iter().zip(&pairs) {
                let (a, b) = (&rows[*a as usize], &rows[*b as usize]);
                let expected: f64 = (0..n).map(|e| weights[e] * a[e] * b[e]).sum();
                assert!((found - expected).abs() <= 1e-13 * n as f64, "{level} {n}: {found} {expected}");
            }
            let terms = vec![vec![(0, 0), (1, 1), (3, 2)], vec![(0, 2), (1, 0), (3, 1)], vec![], vec![(5, 3)]];
            let coefficients = [0.5, -2.0, 3.0, 7.0];
            for weighted in [None, Some(&weights[..])] {
                let mut out: Vec<Vec<f64>> = (0..4).map(|_| random.vec(n)).collect();
                let before = out.clone();
                contract::mix_add(&Serial, &refs(&rows), weighted, &terms, &coefficients, &mut muts(&mut out));
                let mut plain = vec![vec![f64::NAN; n]; 4];
                contract::mix(&Serial, &refs(&rows), weighted, &terms, &coefficients, &mut muts(&mut plain));
                for r in 0..4 {
                    for e in 0..n {
                        let sum: f64 = terms[r].iter().map(|(k, c)| coefficients[*c as usize] * rows[*k as usize][e]).sum();
                        let expected = sum * weighted.map_or(1.0, |w| w[e]);
                        assert!((plain[r][e] - expected).abs() < 1e-13, "{level}");
                        assert!((out[r][e] - before[r][e] - expected).abs() < 1e-13, "{level}");
                    }
                }
            }
        }
    });
}

#[test]
fn steering() {
    assert_eq!(steering_matrix(1), [1.0]);
    let two = steering_matrix(2);
    assert_eq!(two.len(), 6);
    assert!((two[2] + 1.0).abs() < 1e-15 && (two[3] + 3f64.sqrt()).abs() < 1e-15);
}

#[test]
fn grids_and_maps() {
    for L in SIZES {
        let layout = RingLayout::new(L).expect("valid");
        assert!((layout.weights().iter().sum::<f64>() - 2.0).abs() < 1e-14);
        let total: f64 = layout.map_weights().iter().sum();
        assert!((total - 4.0 * std::f64::consts::PI).abs() < 1e-12);
        let grid = Random(8).vec(L * (2 * L - 1));
        let mut map = vec![f64::NAN; layout.map_len()];
        layout.grid_to_map(&grid, &mut map);
        let mut back = vec![f64::NAN; grid.len()];
        layout.map_to_grid(&map, &mut back);
        assert_eq!(grid, back);
        let g = Random(9).vec(layout.map_len());
        let mut cotangent = vec![f64::NAN; map.len()];
        layout.map_to_grid_adjoint(&grid, &mut cotangent);
        let mut natural = vec![0.0; grid.len()];
        layout.map_to_grid(&g, &mut natural);
        assert!(adjoint_error((&natural, &grid), (&g, &cotangent)) < 1e-15);
    }
}
