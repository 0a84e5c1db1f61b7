//! Every family of CUDA text, run by the emulator, against the definitions in `naive` and the kernels of the CPU; adjoints; three schedules.
#![allow(non_snake_case)]

use scatterc_kernels::cuda::emulate::{EmulationError, Emulator, Schedule};
use scatterc_kernels::cuda::fourier::{PlanarItem, PlanarMap, RingItem, RingMap, planar, planar_scratch, ring_scratch, rings};
use scatterc_kernels::cuda::legendre::{LegendreItem, LegendreMap, to_coefficients, to_rings};
use scatterc_kernels::cuda::{Element, Kernel, Table, unit};
use scatterc_kernels::layout::coefficients_len;
use scatterc_kernels::naive;
use scatterc_kernels::planar::PlanarFft;
use scatterc_kernels::wavelets::{self, Windows};
use scatterc_kernels::{KernelError, Serial};

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

/// Tables in order of first use.
#[derive(Default)]
struct Plan {
    tables: Vec<Table>,
}

impl Plan {
    fn number(&mut self, table: Table) -> usize {
        let known = self.tables.iter().position(|t| *t == table);
        known.unwrap_or_else(|| {
            self.tables.push(table);
            self.tables.len() - 1
        })
    }

    /// Runs the kernels one after another under every schedule, whose results must be the same bits.
    fn run(&self, element: Element, kernels: &[Kernel], arena: &[f64]) -> Vec<f64> {
        let emulator = Emulator::new().expect("a folder for results").guarded();
        let module = emulator.compile(&unit(element, kernels)).unwrap_or_else(|e| panic!("{e}"));
        let mut tables: Vec<Bytes> = self.tables.iter().map(|t| Bytes::new(&t.values().expect("valid sizes"))).collect();
        let pointers: Vec<*const u8> = tables.iter_mut().map(|t| t.as_mut().as_ptr()).collect();
        let mut results: Vec<Vec<u8>> = Vec::new();
        for schedule in SCHEDULES {
            let module = module.clone().with_schedule(schedule);
            let mut bytes = Bytes::new(&encode(element, arena));
            for kernel in kernels {
                assert!(kernel.tables.iter().all(|t| self.tables.contains(t)));
                // SAFETY: the emulator is guarded, and tables have the lengths that their kernels read.
                unsafe { module.launch(&kernel.name, kernel.grid, kernel.block, kernel.shared, bytes.as_mut(), &pointers) }
                    .unwrap_or_else(|e| panic!("{e}"));
            }
            results.push(bytes.as_mut().to_vec());
        }
        assert!(results.iter().all(|r| *r == results[0]), "the schedule changes the result");
        decode(element, &results[0])
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
            items.push(LegendreItem { map: *map, fields: *fields, coefficients, rings: ring_place });
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
