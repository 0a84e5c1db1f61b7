//! Every family of CUDA text, run by the emulator, against the definitions in `naive` and the kernels of the CPU; adjoints; three schedules.
#![cfg(unix)]
#![allow(non_snake_case)]

use scatterc_kernels::cuda::contract::{GramItem, MixItem, gram, gram_scratch, mix};
use scatterc_kernels::cuda::emulate::{EmulationError, Emulator, Schedule};
use scatterc_kernels::cuda::fourier::{PlanarItem, PlanarMap, RingItem, RingMap, planar, planar_scratch, ring_scratch, rings};
use scatterc_kernels::cuda::frame::{self, FrameGramItem, FrameMixItem, FrameTerm};
use scatterc_kernels::cuda::legendre::{LegendreItem, LegendreMap, to_coefficients, to_rings};
use scatterc_kernels::cuda::sparse::{CopyItem, ProductItem, copies, fills, products};
use scatterc_kernels::cuda::vectors::{self, AdamVectors, MeasuresPlace, ProductsPlace, VariablesItem, VectorSpace};
use scatterc_kernels::cuda::{Element, Family, Kernel, Table, library, unit};
use scatterc_kernels::frame::{FrameGramPlan, FrameMixPlan, FrameOperator};
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::coefficients_len;
use scatterc_kernels::naive;
use scatterc_kernels::planar::PlanarFft;
use scatterc_kernels::wavelets::{self, Windows};
use scatterc_kernels::wigner::wigner_d;
use scatterc_kernels::{KernelError, Serial};
use std::sync::Arc;

const SCHEDULES: [Schedule; 3] = [Schedule::Forward, Schedule::Reversed, Schedule::Random(11)];

/// Numbers between -1 and 1.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Bytes on a multiple of 16.
struct Bytes(Vec<u128>, usize);

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(16).max(1)];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(16)) {
            let mut all = [0; 16];
            all[..chunk.len()].copy_from_slice(chunk);
            *word = u128::from_ne_bytes(all);
        }
        Self(words, bytes.len())
    }

    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: u128 are plain bytes; the length is that of the bytes they were made of.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.1) }
    }
}

fn encode(element: Element, values: &[f64]) -> Vec<u8> {
    match element {
        Element::F64 => values.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        Element::F32 => values.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
    }
}

fn decode(element: Element, bytes: &[u8]) -> Vec<f64> {
    match element {
        Element::F64 => bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().expect("eight bytes"))).collect(),
        Element::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes(b.try_into().expect("four bytes")))).collect(),
    }
}

/// Tables in order of first use; before them, tables of the caller.
#[derive(Default)]
struct Plan {
    own: Vec<Vec<u8>>,
    tables: Vec<Table>,
}

impl Plan {
    fn number(&mut self, table: Table) -> usize {
        let known = self.tables.iter().position(|t| *t == table);
        let known = known.unwrap_or_else(|| {
            self.tables.push(table);
            self.tables.len() - 1
        });
        known + self.own.len()
    }

    /// Runs the kernels one after another under every schedule, whose results must be the same bits.
    fn run(&self, element: Element, kernels: &[Kernel], arena: &[f64]) -> Vec<f64> {
        decode(element, &self.run_bytes(element, kernels, &encode(element, arena)))
    }

    /// The same on an arena of any contents.
    fn run_bytes(&self, element: Element, kernels: &[Kernel], arena: &[u8]) -> Vec<u8> {
        let emulator = Emulator::new().expect("a folder for results").guarded();
        let module = emulator.compile(&unit(element, kernels)).unwrap_or_else(|e| panic!("{e}"));
        let made = self.tables.iter().map(|t| t.values().expect("valid sizes"));
        let mut tables: Vec<Bytes> = self.own.iter().cloned().chain(made).map(|t| Bytes::new(&t)).collect();
        let pointers: Vec<*const u8> = tables.iter_mut().map(|t| t.as_mut().as_ptr()).collect();
        let mut results: Vec<Vec<u8>> = Vec::new();
        for schedule in SCHEDULES {
            let module = module.clone().with_schedule(schedule);
            let mut bytes = Bytes::new(arena);
            for kernel in kernels {
                assert!(kernel.tables.iter().all(|t| self.tables.contains(t)));
                // SAFETY: the emulator is guarded, and tables have the lengths that their kernels read.
                unsafe { module.launch(&kernel.name, kernel.grid, kernel.block, kernel.shared, bytes.as_mut(), &pointers) }
                    .unwrap_or_else(|e| panic!("{e}"));
            }
            results.push(bytes.as_mut().to_vec());
        }
        assert!(results.iter().all(|r| *r == results[0]), "the schedule changes the result");
        results.swap_remove(0)
    }
}

fn tolerance(element: Element) -> f64 {
    match element {
        Element::F64 => 1e-12,
        Element::F32 => 1e-4,
    }
}

/// Largest difference relative to the largest expected number.
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1e-30f64, |a, x| a.max(x.abs()));
    found.iter().zip(expected).fold(0.0, |a: f64, (x, y)| if x.is_nan() { f64::INFINITY } else { a.max((x - y).abs() / size) })
}

fn assert_close(found: &[f64], expected: &[f64], element: Element, what: &str) {
    let error = relative(found, expected);
    assert!(error < tolerance(element), "{what} {element:?}: {error:e}");
}

#[test]
fn ring_transforms_of_all_lengths_equal_their_definition() {
    // 2L - 1 = 1, 3, 7, 15, 11 x 3, 13 x 3, 7 x 17, 127, 3 x 5 x 17, 59 (direct); 131, 3 x 137 (chirps).
    for element in [Element::F64, Element::F32] {
        let mut plan = Plan::default();
        let mut items = Vec::new();
        let mut arena = Vec::new();
        let mut expected: Vec<(usize, Vec<f64>, String)> = Vec::new();
        for L in [1usize, 2, 4, 8, 17, 20, 30, 60, 64, 66, 128, 206] {
            for (map, M, fields) in [
                (RingMap::Inverse, L, 2),
                (RingMap::Inverse, L.div_ceil(2), 1),
                (RingMap::InverseAdjoint, L, 1),
                (RingMap::Forward, L.div_ceil(3), 3),
                (RingMap::ForwardAdjoint, L, 1),
            ] {
                let (rings, map_len) = (2 * L * M, L * (2 * L - 1));
                let to_map = matches!(map, RingMap::Inverse | RingMap::ForwardAdjoint);
                let (n_from, n_to) = if to_map { (rings, map_len) } else { (map_len, rings) };
                // Strides leave gaps, and complex numbers begin at even places.
                let strides = [n_from, n_to].map(|n| n.next_multiple_of(2) + 4);
                let from = arena.len();
                let x = numbers(fields * strides[0], L as u64);
                arena.extend(&x);
                let to = arena.len();
                arena.extend(vec![7.0; fields * strides[1]]);
                for f in 0..fields {
                    let x = &x[f * strides[0]..][..n_from];
                    let y = match map {
                        RingMap::Inverse => naive::ring_inverse(L, M, x),
                        RingMap::InverseAdjoint => naive::ring_inverse_adjoint(L, M, x),
                        RingMap::Forward => naive::ring_forward(L, M, x),
                        RingMap::ForwardAdjoint => naive::ring_forward_adjoint(L, M, x),
                    };
                    expected.push((to + f * strides[1], y.expect("valid sizes"), format!("{map:?} L {L} M {M}")));
                }
                assert_eq!(ring_scratch(element, L, fields).expect("valid"), 0);
                items.push(RingItem { map, L, M, fields, from: (from, strides[0]), to: (to, strides[1]), scratch: 0 });
            }
        }
        let kernel = rings("rings", element, &items, &mut |t| plan.number(t)).expect("valid items");
        let out = plan.run(element, &[kernel], &arena);
        for (at, y, what) in expected {
            assert_close(&out[at..at + y.len()], &y, element, &what);
            assert_eq!(out[at + y.len()], 7.0, "{what}: the gap is written");
        }
    }
}

#[test]
fn planar_transforms_equal_those_of_the_cpu_and_adjoints_are_transposes() {
    let sizes = [(1, 1), (1, 9), (1, 40), (7, 1), (5, 6), (6, 5), (8, 34), (32, 32), (3, 131), (29, 12)];
    for element in [Element::F64, Element::F32] {
        for forward in [true, false] {
            let mut plan = Plan::default();
            let (mut items, mut arena, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            let maps = if forward {
                [PlanarMap::Fourier, PlanarMap::RealAdjoint, PlanarMap::InverseAdjoint]
            } else {
                [PlanarMap::FourierAdjoint, PlanarMap::Real, PlanarMap::Inverse]
            };
            for (H, W) in sizes {
                for map in maps {
                    let fft = PlanarFft::new(H, W).expect("valid sizes");
                    let count = 3;
                    let complex = matches!(map, PlanarMap::Inverse | PlanarMap::InverseAdjoint);
                    let (image, spectrum) = if complex { (2 * H * W, 2 * H * W) } else { (H * W, 2 * H * fft.half()) };
                    let (n_from, n_to) = if forward { (image, spectrum) } else { (spectrum, image) };
                    let mut place = |values: Vec<f64>| {
                        let at = arena.len();
                        let odd = values.len() % 2;
                        arena.extend(values);
                        arena.extend(vec![0.0; odd]);
                        at
                    };
                    let x = numbers(count * n_from, (H * W) as u64);
                    let from = place(x.clone());
                    let to = place(vec![f64::NAN; count * n_to]);
                    let scratch = place(vec![f64::NAN; planar_scratch(element, map, H, W, count).expect("valid sizes")]);
                    let mut y = vec![0.0; count * n_to];
                    let scale = 1.0 / (H * W) as f64;
                    match map {
                        PlanarMap::Fourier => fft.real_forward(&Serial, &x, &mut y),
                        PlanarMap::FourierAdjoint => fft.real_inverse(&Serial, &x, &mut y, false, 1.0),
                        PlanarMap::Real => fft.real_inverse(&Serial, &x, &mut y, true, scale),
                        PlanarMap::RealAdjoint => fft.real_inverse_adjoint(&Serial, &x, &mut y),
                        PlanarMap::Inverse => fft.inverse(&Serial, &x, &mut y),
                        PlanarMap::InverseAdjoint => fft.inverse_adjoint(&Serial, &x, &mut y),
                    }
                    expected.push((to, y, format!("{map:?} {H} x {W}")));
                    items.push(PlanarItem { map, H, W, count, from, to, scratch });
                }
            }
            let kernels = planar("planar", element, &items, &mut |t| plan.number(t)).expect("valid items");
            let out = plan.run(element, &kernels, &arena);
            for (at, y, what) in expected {
                assert_close(&out[at..at + y.len()], &y, element, &what);
            }
        }
    }
}

#[test]
fn a_ring_too_long_for_shared_memory_uses_the_arena() {
    // 2L - 1 = 4001 is prime: a convolution of length 8000 or more.
    let (element, L, M) = (Element::F64, 2001, 3);
    let scratch = ring_scratch(element, L, 1).expect("valid");
    assert!(scratch > 0);
    let (rings_len, map_len) = (2 * L * M, (L * (2 * L - 1)).next_multiple_of(2));
    let mut x = vec![0.0; rings_len];
    x[..12].copy_from_slice(&numbers(12, 3));
    let last = rings_len - 12;
    x[last..].copy_from_slice(&numbers(12, 4));
    let mut arena = x.clone();
    arena.resize(rings_len + map_len + scratch, f64::NAN);
    let item = RingItem { map: RingMap::Inverse, L, M, fields: 1, from: (0, 0), to: (rings_len, 0), scratch: rings_len + map_len };
    let mut plan = Plan::default();
    let kernel = rings("rings", element, &[item], &mut |t| plan.number(t)).expect("valid item");
    assert!(kernel.shared == 0);
    let emulator = Emulator::new().expect("a folder").guarded();
    let module = emulator.compile(&unit(element, std::slice::from_ref(&kernel))).unwrap_or_else(|e| panic!("{e}"));
    let mut tables: Vec<Bytes> = plan.tables.iter().map(|t| Bytes::new(&t.values().expect("valid sizes"))).collect();
    let pointers: Vec<*const u8> = tables.iter_mut().map(|t| t.as_mut().as_ptr()).collect();
    // Four pairs of 1001 are enough: a grid of one block of many does every 132nd.
    let mut bytes = Bytes::new(&encode(element, &arena));
    // SAFETY: guarded, tables have the lengths that the kernel reads.
    unsafe { module.launch(&kernel.name, 1, kernel.block, 0, bytes.as_mut(), &pointers) }.unwrap_or_else(|e| panic!("{e}"));
    let out = decode(element, bytes.as_mut());
    let n = 2 * L - 1;
    for t in [0, L - 1] {
        for p in [0, 1, 17, n - 1] {
            let value: f64 = (0..M)
                .map(|m| {
                    let (sin, cos) = (2.0 * std::f64::consts::PI * (m * p % n) as f64 / n as f64).sin_cos();
                    let at = 2 * (t * M + m);
                    if m == 0 { x[at] } else { 2.0 * (x[at] * cos - x[at + 1] * sin) }
                })
                .sum();
            let found = out[rings_len + t * n + p];
            assert!((found - value).abs() < 1e-12, "{t} {p}: {found}, expected {value}");
        }
    }
}

/// Rings of a map's sizes: grid bandlimit, stored orders, channels, bandlimit of the coefficients.
fn sizes_of(map: LegendreMap) -> (usize, usize, usize, usize) {
    match map {
        LegendreMap::WignerInverse { L_in, L, N, j } => (wavelets::bandlimit(L, j), wavelets::bandlimit(L, j), N, L_in),
        LegendreMap::HarmonicInverse { L_in, L } => (L, L, 1, L_in),
        LegendreMap::ScalingInverse { L_in, L, j } => (wavelets::bandlimit(L, j), wavelets::bandlimit(L, j), 1, L_in),
        LegendreMap::HarmonicForward { L, M, L_out } => (L, M, 1, L_out),
    }
}

/// The definition: coefficients to rings, or rings to coefficients.
fn legendre_by_definition(tables: &mut naive::Tables, map: LegendreMap, rings: bool, x: &[f64]) -> Result<Vec<f64>, KernelError> {
    let (L, M, _, L_in) = sizes_of(map);
    let windows = match map {
        LegendreMap::WignerInverse { L_in, L, N, j } => Windows::wavelet(L_in, L, N, j)?,
        LegendreMap::HarmonicInverse { L_in, L } => Windows::plain(L_in, L)?,
        LegendreMap::ScalingInverse { L_in, L, j } => Windows::scaling(L_in, L, j)?,
        LegendreMap::HarmonicForward { .. } if rings => return naive::analysis_adjoint(tables, L, L_in, M, x),
        LegendreMap::HarmonicForward { .. } => return naive::analysis(tables, L, L_in, M, x),
    };
    if rings { naive::synthesis(tables, &windows, L_in, x) } else { naive::synthesis_adjoint(tables, &windows, L_in, x, M) }
}

fn check_legendre(element: Element, maps: &[(LegendreMap, usize)], tables: &mut naive::Tables) {
    for rings in [true, false] {
        let mut plan = Plan::default();
        let (mut items, mut arena, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (map, fields)) in maps.iter().enumerate() {
            let (L, M, channels, L_in) = sizes_of(*map);
            let (n_coefficients, n_rings) = (coefficients_len(L_in), channels * 2 * L * M);
            let (n_from, n_to) = if rings { (n_coefficients, n_rings) } else { (n_rings, n_coefficients) };
            let from = arena.len();
            let x = numbers(fields * n_from, i as u64 + 5);
            arena.extend(&x);
            let to = arena.len();
            arena.extend(vec![f64::NAN; fields * n_to]);
            for f in 0..*fields {
                let y = legendre_by_definition(tables, *map, rings, &x[f * n_from..][..n_from]).expect("valid sizes");
                expected.push((to + f * n_to, y, format!("{map:?} rings {rings} field {f} of {fields}")));
            }
            let (coefficients, ring_place) = if rings { ((from, n_from), (to, n_to)) } else { ((to, n_to), (from, n_from)) };
            items.push(LegendreItem { map: *map, fields: *fields, coefficients, rings: ring_place, orders: None, adds: false });
        }
        let launch = if rings { to_rings } else { to_coefficients };
        let kernel = launch("legendre_stage", element, &items, &mut |t| plan.number(t)).expect("valid items");
        let out = plan.run(element, &[kernel], &arena);
        for (at, y, what) in expected {
            assert_close(&out[at..at + y.len()], &y, element, &what);
        }
    }
}

#[test]
fn legendre_stages_of_every_n_equal_their_definition() {
    let mut tables = naive::Tables::default();
    for element in [Element::F64, Element::F32] {
        let mut maps = Vec::new();
        for N in 1..=8 {
            for (L_in, L, j) in [(16, 16, 4), (13, 13, 2), (9, 20, 3), (20, 20, 0)] {
                maps.push((LegendreMap::WignerInverse { L_in, L, N, j }, 1 + N % 3));
            }
        }
        for (L_in, L) in [(1, 1), (2, 2), (5, 9), (9, 5), (33, 33)] {
            maps.push((LegendreMap::HarmonicInverse { L_in, L }, 7));
        }
        maps.push((LegendreMap::ScalingInverse { L_in: 16, L: 16, j: 1 }, 2));
        for (L, M, L_out) in [(1, 1, 1), (8, 8, 8), (21, 21, 11), (21, 9, 11), (40, 5, 40)] {
            maps.push((LegendreMap::HarmonicForward { L, M, L_out }, 5));
        }
        check_legendre(element, &maps, &mut tables);
    }
}

#[test]
fn contractions_and_mixtures_equal_their_sums() {
    for element in [Element::F64, Element::F32] {
        let (row_len, n_rows) = (9000, 11);
        let weights = numbers(row_len, 1);
        let plan = Plan { own: vec![encode(Element::F64, &weights)], ..Plan::default() };
        let mut arena = numbers(n_rows * row_len, 2);
        let row = |r: usize| r * row_len;
        let pairs: Vec<(usize, usize)> = (0..n_rows).flat_map(|a| [(a, a), (a, (a * 3 + 1) % n_rows), (10, a)]).collect();
        let places: Vec<usize> = (0..40).map(|k| (k * 7) % pairs.len()).collect();
        let at = arena.len();
        arena.resize(at + 40 + 2 * 9 * row_len, f64::NAN);
        let scratch = arena.len();
        arena.resize(scratch + 2 * gram_scratch(row_len, &pairs), f64::NAN);
        let rows: Vec<usize> = (0..n_rows).map(row).collect();
        let whole = GramItem {
            weights: Some(0),
            row_len,
            rows,
            pairs: pairs.clone(),
            places: places[..25].to_vec(),
            outputs: vec![(at, 10), (at + 10, 15)],
            scratch,
        };
        let scratch = scratch + gram_scratch(row_len, &pairs);
        let plain = GramItem { weights: None, row_len: 100, places: places[25..].to_vec(), outputs: vec![(at + 25, 15)], scratch, ..whole.clone() };
        let [sums, spread] = gram("gram", &[whole, plain]).expect("valid items");
        // Coefficients are what the contraction has written; one row occurs twice.
        let outputs: Vec<(usize, Vec<(usize, usize)>)> =
            (0..9).map(|r| (at + 40 + r * row_len, (0..4 * (r / 2)).map(|t| (row((t + r) % 4), at + t)).collect())).collect();
        let items = [true, false].map(|weighted| MixItem {
            weights: weighted.then_some(0),
            row_len,
            outputs: outputs.iter().map(|(to, terms)| (to + if weighted { 0 } else { 9 * row_len }, terms.clone())).collect(),
        });
        let mixture = mix("mixture", element, &items).expect("valid items");
        let out = plan.run(element, &[sums, spread, mixture], &arena);
        let x = |r: usize, e: usize| arena[row(r) + e];
        let expected: Vec<f64> = (0..40)
            .map(|k| {
                let ((a, b), (n, weighted)) = (pairs[places[k]], if k < 25 { (row_len, true) } else { (100, false) });
                (0..n).map(|e| if weighted { weights[e] } else { 1.0 } * x(a, e) * x(b, e)).sum()
            })
            .collect();
        assert_close(&out[at..at + 40], &expected, element, "gram");
        for (i, item) in items.iter().enumerate() {
            for (to, terms) in &item.outputs {
                let y: Vec<f64> = (0..row_len)
                    .map(|e| terms.iter().map(|(r, c)| out[*c] * arena[r + e]).sum::<f64>() * if i == 0 { weights[e] } else { 1.0 })
                    .collect();
                assert_close(&out[*to..to + row_len], &y, element, "mix");
            }
        }
    }
}

#[test]
fn sparse_products_copies_and_fills() {
    for element in [Element::F64, Element::F32] {
        let integers = |values: &[i32]| values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
        // Five rows of 0, 1, 7, 2, 3 entries among 9 columns, and one row of 700.
        let starts = [0, 0, 1, 8, 10, 13];
        let columns: Vec<i32> = (0..13).map(|k| k * 5 % 9).collect();
        let values = numbers(13, 4);
        let long_columns: Vec<i32> = (0..700).map(|k| k % 9).collect();
        let own = vec![integers(&starts), integers(&columns), encode(Element::F64, &values), integers(&[0, 700]), integers(&long_columns)];
        let plan = Plan { own, ..Plan::default() };
        let (width, fields) = (3, 2);
        let mut arena = numbers(fields * 9 * width, 5);
        let at = arena.len();
        arena.resize(at + 100, f64::NAN);
        let short = ProductItem { x: (0, 27), y: (at, 15), width, rows: 5, entries: 13, fields, starts: 0, columns: 1, values: Some(2) };
        let ones = ProductItem { x: (0, 27), y: (at + 30, 3), width, rows: 1, entries: 700, fields, starts: 3, columns: 4, values: None };
        let kernels = [
            products("products", &[short, ones]).expect("valid items"),
            copies("copies", &[CopyItem { from: (1, 9), to: (at + 40, 4), run: 4, count: 3 }]).expect("valid items"),
            fills("fills", &[((at + 60, 20), -1.5), ((at + 80, 20), 0.0)]).expect("valid items"),
        ];
        let out = plan.run(element, &kernels, &arena);
        let x = |f: usize, c: i32, i: usize| arena[f * 27 + c as usize * width + i];
        for f in 0..fields {
            let expected: Vec<f64> = (0..5 * width)
                .map(|k| (starts[k / width]..starts[k / width + 1]).map(|e| values[e as usize] * x(f, columns[e as usize], k % width)).sum())
                .collect();
            assert_close(&out[at + 15 * f..][..15], &expected, element, "short rows");
            let expected: Vec<f64> = (0..width).map(|i| long_columns.iter().map(|c| x(f, *c, i)).sum()).collect();
            assert_close(&out[at + 30 + 3 * f..][..3], &expected, element, "long rows");
        }
        for k in 0..3 {
            assert_close(&out[at + 40 + 4 * k..][..4], &arena[1 + 9 * k..][..4], element, "copies");
        }
        assert!(out[at + 60..at + 80].iter().all(|v| *v == -1.5) && out[at + 80..].iter().all(|v| *v == 0.0));
        assert!(fills("fills", &[((0, 1), f64::NAN)]).is_err());
    }
}

#[test]
fn starts_of_recursions_keep_their_digits_up_to_order_4096() {
    let (L, N) = (4096, 8);
    let mut plan = Plan::default();
    let (angles, starts) = (plan.number(Table::HalfAngles { L }), plan.number(Table::Starts { degrees: L, N }));
    let orders: Vec<usize> = vec![0, 1, 3, 5, 7, 100, 1023, 2048, 3500, 4000, 4095];
    let list: Vec<String> = orders.iter().map(usize::to_string).collect();
    let text = format!(
        "__device__ const int orders[] = {{{}}};
extern \"C\" __global__ void starts(real* __restrict__ arena, const void* const* __restrict__ tables) {{
    const int ring = blockIdx.x * 2048 / 16, m = orders[threadIdx.x / 8], n = 2 * (threadIdx.x / 2 % 4) + 1, sign = threadIdx.x % 2 ? -1 : 1;
    int exponent;
    const double* table = static_cast<const double*>(tables[{starts}]) + 4ll * (n / 2 * {L} + m);
    arena[2 * (blockIdx.x * blockDim.x + threadIdx.x)] = legendre::start(static_cast<const legendre::Angle*>(tables[{angles}])[ring], table, m, n, sign, exponent);
    arena[2 * (blockIdx.x * blockDim.x + threadIdx.x) + 1] = exponent;
}}
",
        list.join(", ")
    );
    let block = 8 * orders.len() as u32;
    let kernel = Kernel { name: "starts".into(), family: Family::Legendre, text, grid: 16, block, shared: 0, tables: vec![] };
    let out = plan.run(Element::F64, &[kernel], &vec![f64::NAN; 2 * 16 * block as usize]);
    let theta = scatterc_kernels::sampling::gauss_legendre(L).0;
    let mut compared = 0;
    for (i, pair) in out.chunks_exact(2).enumerate() {
        let (ring, thread) = (i / block as usize * 2048 / 16, i % block as usize);
        let (m, n, sign) = (orders[thread / 8], 2 * (thread / 2 % 4) + 1, if thread % 2 == 1 { -1 } else { 1 });
        let d = wigner_d(m.max(n) + 1, m as isize, sign * n as isize, theta[ring]).expect("valid")[0];
        // Exponents from -2 on are in the range of f64; smaller numbers are zero here.
        let value = if pair[1] < -2.0 { 0.0 } else { (0..-pair[1] as i32).fold(pair[0], |value, _| value * 2f64.powi(-400)) };
        if d.abs() > 1e-280 {
            let error = (value - d).abs() / d.abs();
            assert!(error < 1e-15, "m {m} n {n} ring {ring}: {value:e}, expected {d:e}, {error:e}");
            compared += 1;
        } else {
            assert!(value.abs() < 1e-279, "m {m} n {n} ring {ring}: {value:e}");
        }
    }
    assert!(compared > 500, "{compared}");
    assert!(library(Element::F64, &[Family::Legendre, Family::Legendre]).matches("namespace legendre {").count() == 1);
}

#[test]
fn the_recursion_keeps_its_digits_at_large_bandlimits() {
    // The first blocks hold order 0: all degrees, where rounding has most steps to grow.
    let (L, N) = (2048, 3);
    let mut plan = Plan::default();
    let map = LegendreMap::WignerInverse { L_in: L, L, N, j: 11 };
    let len = coefficients_len(L);
    let item = LegendreItem { map, fields: 1, coefficients: (0, len), rings: (len, 0), orders: None, adds: false };
    let kernel = to_rings("large", Element::F64, &[item], &mut |t| plan.number(t)).expect("valid item");
    let mut x = vec![0.0; len + N * 2 * L * L];
    x[..2 * L].copy_from_slice(&numbers(2 * L, 9));
    let emulator = Emulator::new().expect("a folder");
    let module = emulator.compile(&unit(Element::F64, std::slice::from_ref(&kernel))).unwrap_or_else(|e| panic!("{e}"));
    let mut tables: Vec<Bytes> = plan.tables.iter().map(|t| Bytes::new(&t.values().expect("valid sizes"))).collect();
    let pointers: Vec<*const u8> = tables.iter_mut().map(|t| t.as_mut().as_ptr()).collect();
    let mut bytes = Bytes::new(&encode(Element::F64, &x));
    // n = 2 comes first, as it has more work: four tiles of rings.
    // SAFETY: the arena holds all coefficients and rings, tables have the lengths that the kernel reads.
    unsafe { module.launch("large", 4, kernel.block, kernel.shared, bytes.as_mut(), &pointers) }.unwrap_or_else(|e| panic!("{e}"));
    let out = decode(Element::F64, bytes.as_mut());
    let windows = Windows::wavelet(L, L, N, 11).expect("valid");
    let theta = scatterc_kernels::sampling::gauss_legendre(L).0;
    for t in [0, 1, 5, 300, 1023, 1024, 2000, 2046, 2047] {
        let d = wigner_d(L, 0, 2, theta[t]).expect("valid");
        let (mut sums, mut size) = ([0.0; 2], 0.0);
        for (k, d) in d.iter().enumerate() {
            let p = windows.windows[1].filter[k + 2];
            for (part, sum) in sums.iter_mut().enumerate() {
                *sum += p * d * x[2 * (k + 2) + part];
            }
            size += p.abs();
        }
        for (part, sum) in sums.iter().enumerate() {
            let found = out[len + 2 * ((part + 1) * L + t) * L];
            assert!((found - sum).abs() < 1e-13 * size, "ring {t}: {found}, expected {sum}, difference {:e} of {size}", found - sum);
        }
    }
}

#[test]
fn adjoints_are_transposes() {
    let element = Element::F64;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
    let mut cases: Vec<LegendreMap> = (1..=8).map(|N| LegendreMap::WignerInverse { L_in: 40, L: 40, N, j: 5 }).collect();
    cases.extend([LegendreMap::ScalingInverse { L_in: 40, L: 40, j: 3 }, LegendreMap::HarmonicForward { L: 37, M: 30, L_out: 33 }]);
    // Two and four pairs of rings per thread, and two tiles of them; few orders.
    cases.extend([(500, 3, 2), (1021, 1, 50), (1100, 2, 20)].map(|(L, M, L_out)| LegendreMap::HarmonicForward { L, M, L_out }));
    for map in cases {
        let (L, M, channels, L_in) = sizes_of(map);
        let (n_coefficients, n_rings) = (coefficients_len(L_in), channels * 2 * L * M);
        let (x, y) = (numbers(n_coefficients, 1), numbers(n_rings, 2));
        let item =
            |coefficients, rings| LegendreItem { map, fields: 1, coefficients: (coefficients, 0), rings: (rings, 0), orders: None, adds: false };
        let [from, to] = [n_coefficients + n_rings, 2 * n_coefficients + n_rings];
        let mut arena = [x.clone(), y.clone()].concat();
        arena.resize(2 * (n_coefficients + n_rings), f64::NAN);
        let mut plan = Plan::default();
        let kernels = [
            to_rings("forth", element, &[item(0, to)], &mut |t| plan.number(t)).expect("valid"),
            to_coefficients("back", element, &[item(from, n_coefficients)], &mut |t| plan.number(t)).expect("valid"),
        ];
        let out = plan.run(element, &kernels, &arena);
        let (ax, aty) = (&out[to..], &out[from..to]);
        let scale = (dot(ax, ax) * dot(&y, &y)).sqrt();
        assert!((dot(ax, &y) - dot(&x, aty)).abs() < 1e-14 * scale, "{map:?}");
    }
}

/// Operators of the scales.
fn operators(L: usize, N: usize, scales: &[usize]) -> Vec<Arc<FrameOperator>> {
    let operator = |j: &usize| {
        let wavelets = Arc::new(HarmonicTransform::wavelet(L, L, N, *j).expect("valid sizes"));
        Arc::new(FrameOperator::new(L, N, *j, wavelets).expect("valid sizes"))
    };
    scales.iter().map(operator).collect()
}

#[test]
fn bilinear_forms_and_their_mixtures_equal_those_of_the_cpu() {
    for (element, L, orders) in [(Element::F64, 13, 1..=8), (Element::F64, 40, 3..=3), (Element::F32, 16, 3..=3)] {
        for N in orders {
            let scales: Vec<usize> = (0..=wavelets::j_max(L)).collect();
            let operators = operators(L, N, &scales);
            let G = 2 * N - 1;
            // Bandlimits of a decaying pyramid, one of them below every window but the lowest.
            let bandlimits = [L, L, L / 2 + 1, L, 2, L - 1, L];
            let fields: Vec<Vec<f64>> = bandlimits.iter().enumerate().map(|(k, L)| numbers(coefficients_len(*L), k as u64 + 3)).collect();
            let mut arena = Vec::new();
            let mut placed = Vec::new();
            for (field, L) in fields.iter().zip(bandlimits) {
                placed.push((arena.len(), L));
                arena.extend(field);
            }
            let views: Vec<&[f64]> = fields.iter().map(Vec::as_slice).collect();
            let mut forms = Vec::new();
            for s in 0..scales.len() {
                // The last two fields meet each other alone.
                for (a, b) in [(0, 0), (1, 0), (0, 2), (3, 4), (2, 3), (1, 1), (5, 6), (6, 6)] {
                    forms.extend((0..G).filter(|g| (g + s) % 2 == 0).map(|g| [s, a, b, g]));
                }
            }
            let places: Vec<usize> = (0..forms.len() + 9).map(|k| k * 5 % forms.len()).collect();
            let out = arena.len();
            arena.resize((out + places.len()).next_multiple_of(2), f64::NAN);
            let scratch = arena.len();
            let mut plan = Plan::default();
            let outputs = vec![(out, 7), (out + 7, places.len() - 7)];
            let item = FrameGramItem {
                L,
                N,
                scales: scales.clone(),
                fields: placed.clone(),
                forms: forms.clone(),
                places: places.clone(),
                outputs,
                scratch,
            };
            let (kernels, length) = frame::gram("gram", element, &item, &mut |t| plan.number(t)).expect("valid item");
            arena.resize(scratch + length, f64::NAN);
            let found = plan.run(element, &kernels, &arena);
            let of_scale = |s: usize| forms.iter().filter(|f| f[0] == s).map(|f| (f[1] as u32, f[2] as u32, f[3] as u32)).collect();
            let cpu = FrameGramPlan::new(operators.iter().enumerate().map(|(s, op)| (op.clone(), of_scale(s))).collect());
            let mut values = vec![0.0; forms.len()];
            cpu.run(&Serial, &views, &bandlimits, &mut values);
            let expected: Vec<f64> = places.iter().map(|p| values[*p]).collect();
            assert_close(&found[out..out + places.len()], &expected, element, &format!("frame_gram N {N}"));

            // The adjoint: coefficients are what lies at `out`.
            let bandlimits_out = [L, L / 2, 3, L, L];
            let terms: Vec<FrameTerm> = (forms.iter().enumerate())
                .map(|(k, f)| FrameTerm {
                    target: (f[1] + f[3]) % 5,
                    scale: f[0],
                    field: f[2],
                    direction: f[3],
                    coefficient: (k % 4 > 0).then_some(out + k),
                })
                .collect();
            arena.truncate(out);
            let coefficients = numbers(forms.len(), 77);
            arena.extend(&coefficients);
            arena.resize(arena.len().next_multiple_of(2), 0.0);
            let mut targets = Vec::new();
            for L in bandlimits_out {
                targets.push((arena.len(), L));
                arena.resize(arena.len() + coefficients_len(L), f64::NAN);
            }
            let scratch = arena.len();
            let mut plan = Plan::default();
            let item = FrameMixItem { L, N, scales: scales.clone(), fields: placed, targets: targets.clone(), terms: terms.clone(), scratch };
            let (kernels, length) = frame::mix("mix", element, &item, &mut |t| plan.number(t)).expect("valid item");
            arena.resize(scratch + length, f64::NAN);
            let found = plan.run(element, &kernels, &arena);
            let z: Vec<f64> = coefficients.iter().enumerate().map(|(k, z)| if k % 4 > 0 { *z } else { 1.0 }).collect();
            let of_scale = |s: usize| {
                let own = terms.iter().enumerate().filter(|(_, t)| t.scale == s);
                own.map(|(k, t)| (t.target as u32, t.field as u32, t.direction as u32, k as u32)).collect()
            };
            let cpu = FrameMixPlan::new(5, operators.iter().enumerate().map(|(s, op)| (op.clone(), of_scale(s))).collect());
            let mut values: Vec<Vec<f64>> = bandlimits_out.iter().map(|L| vec![0.0; coefficients_len(*L)]).collect();
            let mut views_out: Vec<&mut [f64]> = values.iter_mut().map(Vec::as_mut_slice).collect();
            cpu.run(&Serial, &views, &bandlimits, &z, &mut views_out, &bandlimits_out);
            for ((place, L), expected) in targets.iter().zip(&values) {
                assert_close(&found[*place..place + coefficients_len(*L)], expected, element, &format!("frame_mix N {N} L_out {L}"));
            }
        }
    }
}

#[test]
fn text_that_misbehaves_is_refused_with_a_reason() {
    let emulator = Emulator::new().expect("a folder").guarded();
    let kernel = |body: &str| {
        format!(
            "typedef double real;\nextern \"C\" __global__ void k(real* __restrict__ arena, const void* const* __restrict__ tables) {{ {body} }}\n"
        )
    };
    let mut bytes = Bytes::new(&[0; 64]);
    let mut fault = |emulator: &Emulator, body: &str| {
        let module = emulator.compile(&kernel(body)).expect("compiles");
        // SAFETY: guarded; these kernels touch the arena alone, or are stopped.
        unsafe { module.launch("k", 2, 64, 64, bytes.as_mut(), &[]) }.expect_err("misbehaves").to_string()
    };
    assert!(fault(&emulator, "if (threadIdx.x < 32) __syncthreads();").contains("waits forever at the barrier"));
    assert!(fault(&emulator, "if (threadIdx.x < 32) { __syncthreads(); } else {\n __syncthreads(); }").contains("others wait"));
    assert!(fault(&emulator, "arena[8 + threadIdx.x] = 1;").contains("thread 0 touches memory outside the arena"));
    assert!(fault(&emulator, "arena[-1000] = 1;").contains("outside the arena"));
    assert!(fault(&emulator, "arena[-1] = 1;").contains("before the start of the arena"));
    assert!(fault(&emulator, "reinterpret_cast<double*>(dynamic_shared)[8] = 1;").contains("the end of shared memory"));
    let deep = "volatile char room[200000]; for (int i = 199999; i >= 0; i--) room[i] = 1; arena[threadIdx.x % 8] = room[threadIdx.x];";
    assert!(fault(&emulator, deep).contains("stack"));
    assert!(matches!(emulator.compile("nonsense"), Err(EmulationError::Text { .. })));
    let missing = Emulator::new().expect("a folder").with_compiler("no-such-compiler");
    assert!(matches!(missing.compile("int x;"), Err(EmulationError::Compiler { .. })));
    let module = emulator.compile(&kernel("")).expect("compiles");
    // SAFETY: there is no such kernel.
    let unknown = unsafe { module.launch("other", 1, 1, 0, bytes.as_mut(), &[]) };
    assert!(matches!(unknown, Err(EmulationError::Kernel { .. })));
    // Shared memory that was not written is no number.
    let module = emulator.compile(&kernel("arena[threadIdx.x] = reinterpret_cast<double*>(dynamic_shared)[threadIdx.x];")).expect("compiles");
    // SAFETY: guarded, inside the arena.
    unsafe { module.launch("k", 1, 8, 64, bytes.as_mut(), &[]) }.expect("stays inside");
    assert!(decode(Element::F64, bytes.as_mut()).iter().all(|x| x.is_nan()));
}

/// Vectors of an optimiser in an arena: numbers of the element first, then f64.
struct Optimiser {
    space: VectorSpace,
    bytes: Vec<u8>,
}

impl Optimiser {
    fn put(&mut self, byte: usize, values: &[f64]) {
        self.bytes[byte..byte + 8 * values.len()].copy_from_slice(&encode(Element::F64, values));
    }

    fn get(&self, byte: usize, count: usize) -> Vec<f64> {
        decode(Element::F64, &self.bytes[byte..byte + 8 * count])
    }

    fn vector(&self, member: usize, vector: usize) -> usize {
        self.space.place * self.space.element.size_bytes() + 8 * (member * self.space.vectors + vector) * self.space.stride()
    }
}

/// Every launch on vectors once, in two members of which only the second is asked for all of it, against plain loops.
#[test]
fn vectors_of_an_optimiser_follow_plain_loops() {
    for (element, n) in [(Element::F64, 5), (Element::F64, 37), (Element::F64, 1024), (Element::F64, 2603), (Element::F32, 1030)] {
        let (members, count, size, most, words) = (2, 7, element.size_bytes(), 4, 1 + 2 * 2 + 2 * 4);
        // Input and gradient of the plan, then two values per member.
        let width = n + 3;
        let (gradient_at, values_at) = (members * width, 2 * members * width);
        let mut end = ((values_at + 2 * members) * size).next_multiple_of(256);
        let mut reserve = |count: usize| {
            let begin = end;
            end += (8 * count).next_multiple_of(256);
            begin
        };
        let mut space = VectorSpace { element, place: 0, members, vectors: count, n };
        let (control, lists, steps) = (reserve(members * words), reserve(members * (5 + most)), reserve(members * vectors::ADAM_WORDS));
        let (sums, chunks) = (reserve(members * most * 3), reserve(members * space.chunks() * most * 3));
        let (measured, measured_chunks, copies) = (reserve(members * 3), reserve(members * space.chunks() * 3), reserve(members * 2));
        let at = reserve(space.len());
        space.place = at / size;
        let mut own = Optimiser { space, bytes: vec![0; end] };
        let plan_numbers = numbers(values_at + 2 * members, 3);
        own.bytes[..plan_numbers.len() * size].copy_from_slice(&encode(element, &plan_numbers));
        let plan_numbers = decode(element, &encode(element, &plan_numbers));
        let mut v: Vec<Vec<Vec<f64>>> = (0..members).map(|k| (0..count).map(|i| numbers(n, (10 * k + i) as u64)).collect()).collect();
        for (k, member) in v.iter_mut().enumerate() {
            // The second moment of Adam is no negative number.
            member[6].iter_mut().for_each(|x| *x = x.abs());
            for (i, values) in member.iter().enumerate() {
                let place = own.vector(k, i);
                own.put(place, values);
            }
        }
        // Two statements, the second with what the first made: v3 = 0.5 v0 - 2 v1 + v4, v0 = v3.
        own.put(control + 8 * words, &[2.0, 3.0, 3.0, 0.0, 0.5, 1.0, -2.0, 4.0, 1.0, 0.0, 1.0, 3.0, 1.0]);
        own.put(lists + 8 * (5 + most), &[2.0, 3.0, 4.0, 0.0, 4.0, 0.0, 3.0, 4.0, 5.0]);
        let (rate, beta1, beta2, eps, bias1, bias2) = (0.1, 0.9, 0.99, 1e-3, 0.3, 0.2);
        let pairs = n % 2 == 0;
        own.put(steps, &[1.0, f64::from(u8::from(pairs)), rate, beta1, beta2, eps, bias1, bias2]);
        own.put(steps + 8 * vectors::ADAM_WORDS, &[3.0, f64::from(u8::from(pairs)), rate, beta1, beta2, eps, bias1, bias2]);

        let groups: Vec<usize> = (0..n).map(|k| k * k % 5 % n).collect();
        let places: Vec<usize> = (0..n).map(|k| 1 + (n - 1 - k)).collect();
        let scales: Vec<f64> = (0..n).map(|k| if k % 7 == 3 { 0.0 } else { 0.5 + k as f64 / n as f64 }).collect();
        let shifts: Vec<f64> = (0..n).map(|k| if k % 3 == 0 { 0.0 } else { 0.1 * k as f64 / n as f64 }).collect();
        let total = groups.iter().max().map_or(0, |last| last + 1);
        let lists_of: Vec<Vec<usize>> = (0..total).map(|group| (0..n).filter(|k| groups[*k] == group).collect()).collect();
        let starts: Vec<i32> = (0..=total).map(|group| lists_of[..group].iter().map(Vec::len).sum::<usize>() as i32).collect();
        let bytes = |list: Vec<i32>| list.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
        let order = lists_of.concat().iter().map(|k| *k as i32).collect();
        let places_of = bytes(places.iter().map(|k| *k as i32).collect());
        let tables = vec![bytes(starts), bytes(order), places_of, encode(Element::F64, &scales), encode(Element::F64, &shifts)];
        let plan = Plan { own: tables, ..Plan::default() };
        let item = VariablesItem { numbers: (0, width), point: 1, gradient: 2, tables: [0, 1, 2, 3, 4], groups: total, held: true };
        let back = VariablesItem { numbers: (gradient_at, width), held: false, ..item.clone() };
        let held = VariablesItem { numbers: (gradient_at, width), gradient: 4, ..item.clone() };
        let place = |byte: usize| byte / size;
        let products = ProductsPlace { control: place(lists), most, partial: place(chunks), results: place(sums) };
        let measures = MeasuresPlace {
            gradient: 2,
            direction: 5,
            partial: place(measured_chunks),
            results: place(measured),
            values: (values_at, 2),
            copies: place(copies),
        };
        let adam = AdamVectors { point: 0, trial: 1, gradient: 2, mean: 5, square: 6, results: place(measured), values: (place(copies), 2) };
        let mut kernels = vec![
            vectors::expand("a", &space, &item).expect("fits"),
            vectors::pull_back("b", &space, &back).expect("fits"),
            vectors::pull_back("c", &space, &held).expect("fits"),
        ];
        kernels.extend(vectors::measures("d", &space, &measures).expect("fits"));
        kernels.push(vectors::combine("e", &space, place(control), words).expect("fits"));
        kernels.extend(vectors::products("f", &space, &products).expect("fits"));
        kernels.push(vectors::adam("g", &space, place(steps), &adam).expect("fits"));
        own.bytes = plan.run_bytes(element, &kernels, &own.bytes);

        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (k, v) in v.iter_mut().enumerate() {
            let length = |group: usize| lists_of[group].iter().filter(|i| scales[**i] != 0.0).map(|i| v[1][*i] * v[1][*i]).sum::<f64>().sqrt();
            let lengths: Vec<f64> = (0..total).map(length).collect();
            let mut input = plan_numbers[k * width..(k + 1) * width].to_vec();
            let divided = |x: f64, group: usize| if lengths[group] > 0.0 { x / lengths[group] } else { 0.0 };
            (0..n).for_each(|i| input[places[i]] = divided(v[1][i] * scales[i], groups[i]) + shifts[i]);
            let found = decode(element, &own.bytes[k * width * size..(k + 1) * width * size]);
            assert!(relative(&found, &input) < if element == Element::F64 { 1e-13 } else { 1e-7 }, "expansion of member {k}, n = {n}");
            let free: Vec<f64> = (0..n).map(|i| plan_numbers[gradient_at + k * width + places[i]] * scales[i]).collect();
            let along: Vec<f64> = lists_of.iter().map(|list| list.iter().map(|i| free[*i] * v[1][*i]).sum()).collect();
            let across = |i: usize| divided(free[i] - v[1][i] * divided(divided(along[groups[i]], groups[i]), groups[i]), groups[i]);
            v[4] = (0..n).map(across).collect();
            v[2] = free;
            let largest = v[2].iter().fold(0.0f64, |a, x| a.max(x.abs()));
            assert!(relative(&own.get(measured + 24 * k, 3), &[largest, 0.0, dot(&v[2], &v[5])]) < 1e-12, "measures of member {k}, n = {n}");
            assert_eq!(own.get(copies + 16 * k, 2), plan_numbers[values_at + 2 * k..values_at + 2 * k + 2], "values of member {k}, n = {n}");
            if k == 1 {
                v[3] = (0..n).map(|e| 0.5 * v[0][e] - 2.0 * v[1][e] + v[4][e]).collect();
                v[0] = v[3].clone();
                let rights = [0, 3, 4, 5];
                let expected: Vec<f64> = rights.iter().flat_map(|r| [dot(&v[3], &v[*r]), dot(&v[4], &v[*r])]).collect();
                let found = own.get(sums + 8 * most * 3, most * 3);
                let found: Vec<f64> = found.chunks_exact(3).flat_map(|row| [row[0], row[1]]).collect();
                assert!(relative(&found, &expected) < 1e-12, "products, n = {n}");
                assert_eq!(found[3].to_bits(), found[4].to_bits(), "a product has one value, n = {n}");
                v[0] = v[1].clone();
            }
            let entry = if pairs { 2 } else { 1 };
            for (i, e) in (0..n).step_by(entry).enumerate() {
                if k == 1 {
                    let square: f64 = (e..e + entry).map(|e| v[2][e] * v[2][e]).sum();
                    (e..e + entry).for_each(|e| v[5][e] = (1.0 - beta1) * v[2][e] + beta1 * v[5][e]);
                    v[6][i] = (1.0 - beta2) * square + beta2 * v[6][i];
                }
                let scale = (v[6][i] / bias2).sqrt() + eps;
                (e..e + entry).for_each(|e| v[1][e] = v[0][e] - rate * (v[5][e] / bias1 / scale));
            }
            for (i, expected) in v.iter().enumerate() {
                let found = own.get(own.vector(k, i), n);
                assert!(relative(&found, expected) < 1e-12, "vector {i} of member {k}, n = {n}");
            }
        }
    }
}

/// What is not finite is counted and does not hide the largest modulus; places between f64 are refused.
#[test]
fn measures_count_what_is_not_finite() {
    let n = 1500;
    let space = VectorSpace { element: Element::F64, place: 512, members: 1, vectors: 2, n };
    let measures = MeasuresPlace { gradient: 0, direction: 1, partial: 64, results: 0, values: (40, 1), copies: 48 };
    let kernels = vectors::measures("m", &space, &measures).expect("fits").to_vec();
    let mut arena = vec![0.0; 512 + space.len()];
    arena[512..512 + n].copy_from_slice(&numbers(n, 1));
    arena[512 + 1499] = f64::NEG_INFINITY;
    arena[512 + 3] = f64::NAN;
    arena[512 + 700] = -7.5;
    let found = Plan::default().run(Element::F64, &kernels, &arena);
    assert_eq!(found[..2], [7.5, 2.0]);
    // A step of Adam that would absorb this gradient does nothing, one that only proposes a point goes on.
    for (mode, moves) in [(3.0, false), (2.0, false), (1.0, true)] {
        let adam = AdamVectors { point: 0, trial: 1, gradient: 0, mean: 0, square: 0, results: 0, values: (48, 1) };
        let mut arena = found.clone();
        arena[56..64].copy_from_slice(&[mode, 0.0, 0.1, 0.9, 0.99, 1e-3, 0.3, 0.2]);
        let kernels = [kernels.clone(), vec![vectors::adam("a", &space, 56, &adam).expect("fits")]].concat();
        let after = Plan::default().run(Element::F64, &kernels, &arena);
        assert_eq!(after[512 + space.stride() + 5] != arena[512 + space.stride() + 5], moves, "mode {mode}");
    }
    let odd = VectorSpace { element: Element::F32, place: 3, ..space };
    assert!(vectors::combine("m", &odd, 0, 9).is_err());
}

#[test]
fn texts_are_read_back_and_bad_ones_refused() {
    let tables = [Table::Roots { n: 7 }, Table::WaveletFilters { L_in: 16, L: 16, N: 3, j: 2 }, Table::Starts { degrees: 4, N: 2 }];
    for table in tables {
        assert_eq!(table.to_string().parse::<Table>().expect("its own text"), table);
    }
    for text in ["roots", "roots {}", "roots {m=3}", "roots {n=-1}", "root {n=3}", "roots {n=3, m=4}"] {
        assert!(text.parse::<Table>().is_err(), "{text}");
    }
    assert!(Table::Roots { n: 0 }.values().is_err());
    assert_eq!(Table::Roots { n: 4 }.to_string(), "roots {n=4}");
}

#[test]
fn roots_lie_on_the_circle() {
    for n in [1, 2, 3, 8, 12, 97] {
        let roots = Table::Roots { n }.numbers().expect("valid");
        for k in 0..n {
            let (sin, cos) = (2.0 * std::f64::consts::PI * k as f64 / n as f64).sin_cos();
            assert!((roots[2 * k] - cos).abs() < 1e-15 && (roots[2 * k + 1] - sin).abs() < 1e-15, "{k} of {n}");
        }
    }
}
