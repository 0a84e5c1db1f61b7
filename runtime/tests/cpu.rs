//! Hand-written plans on the CPU device, compared with the reference device.

use scatterc_ir::plan::{self, Kernel, Place, Plan, Port, Slot, Stage, Step, Table};
use scatterc_ir::{Builder, Linear, Space, Type};
use scatterc_runtime::maps::{device_len, weights};
use scatterc_runtime::{Cache, Executable, LoadError, Options, RunError, reference};
use std::sync::Arc;

const EXAMPLE: &str = include_str!("kernels/example.clif");

/// Reproducible numbers in -1..1.
fn random(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn options(threads: usize) -> Options {
    Options { threads, cache: Some(Arc::new(Cache::in_memory())), ..Options::default() }
}

fn load(plan: &Plan) -> Executable {
    Executable::load(plan, &options(1)).unwrap_or_else(|e| panic!("{e}\n{plan}"))
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-300f64, |a, b| a.max(b.abs()));
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}: [{k}] is {a}, expected {b} (scale {scale})");
    }
}

/// Places slots one after another, eight apart.
#[derive(Default)]
struct Layout(usize);

impl Layout {
    fn slot(&mut self, len: usize) -> Slot {
        let offset = self.0;
        self.0 = (offset + len).next_multiple_of(8);
        Slot { offset, len }
    }

    fn port(&mut self, name: &str, ty: &Type) -> Port {
        Port { name: name.into(), slot: self.slot(ty.count() * device_len(ty.space)), ty: ty.clone() }
    }
}

/// Types of a map's operand and result with leading axes; maps on axes act on the given space.
fn types(map: &Linear, adjoint: bool, leading: &[usize], any: Space) -> (Type, Type) {
    let signature = map.signature().expect("samples are valid");
    let side = |(axes, space): &(Vec<usize>, Space)| Type::new([leading, axes].concat(), if *space == Space::Any { any } else { *space });
    let (domain, range) = (side(&signature.domain), side(&signature.range));
    if adjoint { (range, domain) } else { (domain, range) }
}

fn linear_plan(map: &Linear, adjoint: bool, from: &Type, to: &Type, bandlimits: Vec<usize>) -> Plan {
    let mut layout = Layout::default();
    let (input, output) = (layout.port("x", from), layout.port("y", to));
    let pairs = vec![(input.slot, output.slot)];
    Plan {
        name: "linear".into(),
        arena: layout.0,
        inputs: vec![input],
        outputs: vec![output],
        steps: vec![Step::Linear { map: map.clone(), adjoint, pairs, bandlimits }],
        ..Plan::default()
    }
}

fn compare_linear(map: &Linear, any: Space, leading: &[usize]) {
    for adjoint in [false, true] {
        let (from, to) = types(map, adjoint, leading, any);
        let x = random(from.len() as u64 + 7, from.len());
        let expected = reference::apply(map, adjoint, &from, &x).expect("samples are valid");
        let plan = linear_plan(map, adjoint, &from, &to, vec![]);
        let text = plan.to_string();
        assert_eq!(plan::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), plan);
        let found = load(&plan).run(&[("x", &x)]).expect("names and lengths fit");
        let what = format!("{}{} {map:?} {from}", map.spelling(), if adjoint { "^H" } else { "" });
        assert_close(&found[0].1, &expected, 1e-13, &what);
    }
}

#[test]
fn every_linear_row_agrees_with_the_reference() {
    for map in Linear::samples() {
        if map.acts_on_axes() {
            // One pair is one field; a leading axis would be separate pairs.
            for any in [Space::Point, Space::Map { L: 3 }, Space::Rings { L: 4, M: 2 }, Space::Coefficients { L: 3 }] {
                compare_linear(&map, any, &[]);
            }
        } else {
            compare_linear(&map, Space::Point, &[]);
            compare_linear(&map, Space::Point, &[2, 3]);
        }
    }
}

/// Sizes at which blocks of eight columns lie straight, mirrored, across the middle and beyond the end.
#[test]
fn images_of_many_sizes_agree_with_the_reference() {
    let mut maps = Vec::new();
    for (H, W, h, w) in [(16, 48, 8, 24), (12, 40, 4, 20), (9, 35, 3, 7), (16, 16, 16, 16), (1, 48, 1, 12), (3, 26, 1, 13)] {
        maps.extend([Linear::Fourier { H, W }, Linear::FourierReal { H, W }, Linear::FourierInverse { H, W }]);
        let bank = scatterc_ir::Bank { H, W, ..scatterc_ir::Bank::sample() };
        for real in [0, 1] {
            maps.push(Linear::Fold { H, W, h, w, real });
            maps.push(Linear::FilterInverse { H, W, h, w, j: 1, power: 1, real, bank: bank.clone() });
        }
        maps.push(Linear::SpectralFilter { H, W, h: H, w: W, j: 1, power: 1, bank });
    }
    for map in maps {
        compare_linear(&map, Space::Point, &[2]);
    }
}

#[test]
fn transforms_of_many_sizes_agree_with_the_reference() {
    let mut maps = Vec::new();
    for L in [1, 2, 3, 5, 8, 16, 17, 24] {
        maps.extend([Linear::RingInverse { L, M: L }, Linear::RingForward { L, M: L.div_ceil(2) }, Linear::GridToMap { L }, Linear::Mean { L }]);
        maps.extend([
            Linear::HarmonicInverse { L_in: L, L },
            Linear::HarmonicInverse { L_in: L + 2, L },
            Linear::HarmonicInverse { L_in: L.div_ceil(2), L },
        ]);
        maps.extend([Linear::HarmonicForward { L, M: L, L_out: L }, Linear::HarmonicForward { L, M: L.div_ceil(2), L_out: L.div_ceil(3) }]);
        maps.extend([Linear::RingMean { L, M: L }, Linear::Spread { L }]);
    }
    for (L, N) in [(4, 1), (8, 2), (12, 3), (16, 4), (17, 5), (20, 6)] {
        for j in 0..=scatterc_ir::types::finest_scale(L) {
            maps.extend([Linear::WignerInverse { L_in: L, L, N, j }, Linear::WignerInverse { L_in: L.div_ceil(2), L, N, j }]);
            maps.push(Linear::ScalingInverse { L_in: L, L, j });
        }
    }
    for map in maps {
        compare_linear(&map, Space::Point, &[2]);
    }
}

#[test]
fn pairs_may_have_their_own_bandlimits() {
    let (L, N, j) = (16, 3, 2);
    let row = |L_in| Linear::WignerInverse { L_in, L, N, j };
    for adjoint in [false, true] {
        let mut layout = Layout::default();
        let (mut inputs, mut outputs, mut pairs) = (vec![], vec![], vec![]);
        let bandlimits = vec![16, 8, 16, 5];
        for (k, L_in) in bandlimits.iter().enumerate() {
            let (from, to) = types(&row(*L_in), adjoint, &[], Space::Point);
            inputs.push(layout.port(&format!("x{k}"), &from));
            outputs.push(layout.port(&format!("y{k}"), &to));
            pairs.push((inputs[k].slot, outputs[k].slot));
        }
        let steps = vec![Step::Linear { map: row(16), adjoint, pairs, bandlimits: bandlimits.clone() }];
        let plan = Plan { name: "mixed".into(), arena: layout.0, inputs, outputs, steps, ..Plan::default() };
        let given: Vec<Vec<f64>> = plan.inputs.iter().map(|port| random(3, port.ty.len())).collect();
        let named: Vec<(&str, &[f64])> = plan.inputs.iter().zip(&given).map(|(port, x)| (port.name.as_str(), x.as_slice())).collect();
        let found = load(&plan).run(&named).expect("names and lengths fit");
        for (k, L_in) in bandlimits.iter().enumerate() {
            let expected = reference::apply(&row(*L_in), adjoint, &plan.inputs[k].ty, &given[k]).expect("valid");
            assert_close(&found[k].1, &expected, 1e-13, &format!("pair {k} adjoint {adjoint}"));
        }
    }
}

/// x, w -> y = 1.5 |x|, z = sign(x) exp(x) + sqrt(|x|), sums = (sum x w, sum x^2), with three outer iterations of a map of bandlimit L.
fn loop_plan(L: usize, grain: usize) -> Plan {
    let mut layout = Layout::default();
    let (map, outer) = (Space::Map { L }, 3);
    let trip = device_len(map);
    let x = layout.port("x", &Type::new([outer], map));
    let y = layout.port("y", &Type::new([outer], map));
    let z = layout.port("z", &Type::new([outer], map));
    let sums = layout.port("sums", &Type::new([outer, 2], Space::Point));
    let stream = |port: &Port, written| plan::Stream { slot: port.slot, stride: trip, extent: trip, written };
    Plan {
        name: "loops".into(),
        notes: vec![("source".into(), "by hand".into())],
        arena: layout.0,
        tables: vec![Table::Weights(Linear::Mean { L })],
        kernels: vec![Kernel { name: "k0".into(), summary: "three values of x".into(), text: EXAMPLE.into() }],
        steps: vec![Step::Loop {
            kernel: 0,
            trip,
            outer,
            grain,
            streams: vec![stream(&x, false), stream(&y, true), stream(&z, true)],
            tables: vec![0],
            sums: sums.slot,
        }],
        inputs: vec![x],
        outputs: vec![y, z, sums],
        ..Plan::default()
    }
}

#[test]
fn loops_compute_streams_and_sums_for_every_grain_and_thread_count() {
    let L = 33;
    let x = random(1, 3 * L * (2 * L - 1));
    let mut bits: Option<Vec<u64>> = None;
    for (grain, threads) in [(1 << 20, 1), (256, 1), (256, 2), (256, 5), (7, 1), (7, 3)] {
        let plan = loop_plan(L, grain);
        assert_eq!(plan::parse(&plan.to_string()).expect("plans round-trip"), plan);
        let mut executable = Executable::load(&plan, &options(threads)).expect("valid");
        executable.set_timing(true);
        let found = executable.run(&[("x", &x)]).expect("names and lengths fit");
        assert!(executable.times()[0] > 0.0 && executable.memory().arena > 0);
        let map = Type::new([3], Space::Map { L });
        let means = reference::apply(&Linear::Mean { L }, false, &map, &x).expect("valid");
        assert_close(&found[0].1, &x.iter().map(|x| 1.5 * x.abs()).collect::<Vec<_>>(), 1e-15, "y");
        assert_close(&found[1].1, &x.iter().map(|x| x.signum() * x.exp() + x.abs().sqrt()).collect::<Vec<_>>(), 1e-15, "z");
        assert_close(&found[2].1.iter().copied().step_by(2).collect::<Vec<_>>(), &means, 1e-13, "sums");
        if grain == 256 {
            let all: Vec<u64> = found.iter().flat_map(|(_, values)| values.iter().map(|x| x.to_bits())).collect();
            assert_eq!(*bits.get_or_insert_with(|| all.clone()), all, "{threads} threads");
        }
    }
}

/// The loop of [`loop_plan`] between an inverse and a forward transform of three fields: y stays in scratch memory, z is stored.
fn tile_plan(L: usize, M: usize) -> Plan {
    let mut layout = Layout::default();
    let (map, outer) = (Space::Map { L }, 3);
    let trip = device_len(map);
    // One pair of blocks has sixteen rings.
    let share = trip / L.div_ceil(2).div_ceil(8);
    let a = layout.port("a", &Type::new([outer], Space::Rings { L, M: L }));
    let b = layout.port("b", &Type::new([outer], Space::Rings { L, M }));
    let z = layout.port("z", &Type::new([outer], map));
    let sums = layout.port("sums", &Type::new([outer, 2], Space::Point));
    let local = |k: usize| Place::Local(Slot { offset: k * share, len: share });
    let stream = |place: Place, stride: usize, extent: usize, written: bool| plan::TileStream { place, stride, extent, written };
    let rings = |map: Linear, from: Place, to: Place| Stage::Rings { map, adjoint: false, first: 0, rows: 1, from, to };
    Plan {
        name: "tile".into(),
        arena: layout.0,
        tables: vec![Table::Weights(Linear::Mean { L })],
        kernels: vec![Kernel { name: "k0".into(), summary: "three values of x".into(), text: EXAMPLE.into() }],
        steps: vec![Step::Tile {
            L,
            outer,
            scratch: 2 * share,
            sums: sums.slot,
            stages: vec![
                rings(Linear::RingInverse { L, M: L }, Place::Arena(a.slot), local(0)),
                Stage::Loop {
                    kernel: 0,
                    trip,
                    sums: vec![1, 0],
                    tables: vec![0],
                    streams: vec![
                        stream(local(0), 0, share, false),
                        stream(local(1), 0, share, true),
                        stream(Place::Arena(z.slot), trip, trip, true),
                    ],
                },
                rings(Linear::RingForward { L, M }, local(1), Place::Arena(b.slot)),
            ],
        }],
        inputs: vec![a],
        outputs: vec![b, z, sums],
        ..Plan::default()
    }
}

#[test]
fn tiles_agree_with_the_reference_for_every_size_and_thread_count() {
    for (L, M) in [(1, 1), (2, 1), (7, 4), (16, 16), (33, 20), (64, 64), (100, 3)] {
        let plan = tile_plan(L, M);
        assert_eq!(plan::parse(&plan.to_string()).expect("plans round-trip"), plan);
        let (rings, map) = (Type::new([3], Space::Rings { L, M: L }), Type::new([3], Space::Map { L }));
        let mut a = random(L as u64, rings.len());
        // The imaginary part of order 0 is no part of a field.
        a.chunks_exact_mut(2 * L).for_each(|ring| ring[1] = 0.0);
        let x = reference::apply(&Linear::RingInverse { L, M: L }, false, &rings, &a).expect("valid");
        let y: Vec<f64> = x.iter().map(|x| 1.5 * x.abs()).collect();
        let z: Vec<f64> = x.iter().map(|x| x.signum() * x.exp() + x.abs().sqrt()).collect();
        let b = reference::apply(&Linear::RingForward { L, M }, false, &map, &y).expect("valid");
        let means = reference::apply(&Linear::Mean { L }, false, &map, &x).expect("valid");
        let mut first: Option<Vec<(String, Vec<f64>)>> = None;
        for threads in [1, 2, 3] {
            let found = Executable::load(&plan, &options(threads)).expect("valid").run(&[("a", &a)]).expect("names and lengths fit");
            assert_close(&found[0].1, &b, 1e-12, "b");
            assert_close(&found[1].1, &z, 1e-12, "z");
            assert_close(&found[2].1.iter().copied().skip(1).step_by(2).collect::<Vec<_>>(), &means, 1e-12, "sums");
            assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "{threads} threads");
        }
    }
}

#[test]
fn tiles_that_do_not_fit_are_refused() {
    type Edit<'a> = &'a dyn Fn(&mut Plan, &mut usize, &mut usize, &mut Vec<Stage>);
    let refused = |change: Edit, part: &str| {
        let mut plan = tile_plan(16, 16);
        let Step::Tile { L, outer, mut scratch, sums, mut stages } = plan.steps.remove(0) else { panic!("the plan is one tile") };
        let mut grid = L;
        change(&mut plan, &mut grid, &mut scratch, &mut stages);
        plan.steps.push(Step::Tile { L: grid, outer, scratch, sums, stages });
        match Executable::load(&plan, &options(1)) {
            Ok(_) => panic!("accepted, expected `{part}`\n{plan}"),
            Err(error) => assert!(error.to_string().contains(part), "{error} does not contain {part}"),
        }
    };
    let grid = |stages: &mut [Stage], L: usize| {
        for stage in stages {
            if let Stage::Rings { map, .. } = stage {
                *map = Linear::RingInverse { L, M: L };
            }
        }
    };
    refused(&|_, L, _, _| *L = 17, "P4");
    refused(&|_, L, _, stages| (*L = 1 << 19, grid(stages, 1 << 19)).0, "ring_inverse");
    refused(&|_, L, _, stages| (*L = 1 << 21, grid(stages, 1 << 21)).0, "at most 1048576");
    refused(&|_, _, scratch, _| *scratch = 1 << 30, "64 times");
    let first = |change: fn(&mut usize, &mut Place)| {
        move |stages: &mut Vec<Stage>| {
            if let Stage::Rings { first, from, .. } = &mut stages[0] {
                change(first, from);
            }
        }
    };
    refused(&|_, _, _, stages| first(|first, _| *first = 1)(stages), "rows 1+1");
    refused(&|_, _, _, stages| first(|_, from| *from = Place::Arena(Slot { offset: 0, len: 100 }))(stages), "rows 0+1");
    refused(
        &|_, _, _, stages| {
            if let Stage::Loop { trip, .. } = &mut stages[1] {
                *trip += 1;
            }
        },
        "trip",
    );
    refused(&|plan, _, _, _| plan.tables[0] = Table::Weights(Linear::Mean { L: 4 }), "at least trip");
}

#[test]
fn run_into_writes_where_it_is_told() {
    let L = 4;
    let x = random(2, 3 * L * (2 * L - 1));
    let mut executable = load(&loop_plan(L, 64));
    let all = executable.run(&[("x", &x)]).expect("names and lengths fit");
    let (mut sums, mut y) = (vec![0.0; 6], vec![0.0; x.len()]);
    executable.run_into(&[("x", &x)], &mut [("sums", &mut sums), ("y", &mut y)]).expect("names and lengths fit");
    assert_eq!((&all[2].1, &all[0].1), (&sums, &y));
    let error = executable.run_into(&[("x", &x)], &mut [("t", &mut sums)]).expect_err("no such output");
    assert!(matches!(error, RunError::UnknownOutput { .. }));
    let error = executable.run_into(&[("x", &x)], &mut [("y", &mut sums)]).expect_err("too short");
    assert_eq!(error, RunError::Length { name: "y".into(), expected: x.len(), found: 6 });
    assert!(matches!(executable.run(&[]), Err(RunError::MissingInput { .. })));
    assert!(matches!(executable.run(&[("x", &x), ("q", &x)]), Err(RunError::UnknownInput { .. })));
    assert!(matches!(executable.run(&[("x", &x), ("x", &x)]), Err(RunError::UnknownInput { .. })));
    assert_eq!(executable.run(&[("x", &x[1..])]), Err(RunError::Length { name: "x".into(), expected: x.len(), found: x.len() - 1 }));
}

#[test]
fn gram_mix_concat_and_fill() {
    let L = 9;
    let table = Linear::Mean { L };
    let map = Space::Map { L };
    let mut layout = Layout::default();
    let (a, b) = (layout.port("a", &Type::new([3], map)), layout.port("b", &Type::new([2], map)));
    let c = layout.port("c", &Type::new([4], Space::Point));
    let (p, q) = (layout.port("p", &Type::new([4], Space::Point)), layout.port("q", &Type::new([1], Space::Point)));
    let (r, s) = (layout.port("r", &Type::new([2], map)), layout.port("s", &Type::new([2, 3], Space::Point)));
    let row_len = device_len(map);
    let fill = layout.port("fill", &Type::new([2], Space::Point));
    let plan = Plan {
        name: "contractions".into(),
        arena: layout.0,
        tables: vec![Table::Weights(table.clone())],
        steps: vec![
            Step::Gram {
                table: 0,
                row_len,
                rows: vec![a.slot, b.slot],
                pairs: vec![0, 3, 1, 1, 4, 2],
                places: vec![0, 2, 1, 0, 2],
                outputs: vec![p.slot, q.slot],
            },
            Step::Mix {
                table: 0,
                row_len,
                rows: vec![b.slot, a.slot],
                coefficients: vec![c.slot, q.slot],
                counts: vec![2, 1],
                terms: vec![0, 3, 4, 4, 2, 0],
                outputs: vec![r.slot],
            },
            Step::Fill { value: 2.5, output: fill.slot },
            Step::Concat { rows: 2, inputs: vec![c.slot, fill.slot], output: s.slot },
        ],
        inputs: vec![a, b, c],
        outputs: vec![p, q, r, s],
        ..Plan::default()
    };
    assert_eq!(plan::parse(&plan.to_string()).expect("plans round-trip"), plan);
    let n = L * (2 * L - 1);
    let (a, b, c) = (random(1, 3 * n), random(2, 2 * n), random(3, 4));
    let found = load(&plan).run(&[("a", &a), ("b", &b), ("c", &c)]).expect("names and lengths fit");
    let mean = |x: &[f64]| reference::apply(&table, false, &Type::new([], map), x).expect("valid")[0];
    let rows: Vec<&[f64]> = a.chunks_exact(n).chain(b.chunks_exact(n)).collect();
    let product = |x: usize, y: usize| mean(&rows[x].iter().zip(rows[y]).map(|(x, y)| x * y).collect::<Vec<_>>());
    let pairs = [product(0, 3), product(1, 1), product(4, 2)];
    assert_close(&found[0].1, &[pairs[0], pairs[2], pairs[1], pairs[0]], 1e-13, "p");
    assert_close(&found[1].1, &[pairs[2]], 1e-13, "q");
    let spread = reference::apply(&table, true, &Type::new([], Space::Point), &[1.0]).expect("valid");
    let mixed: Vec<f64> =
        (0..n).map(|e| spread[e] * (c[3] * rows[3][e] + pairs[2] * rows[2][e])).chain((0..n).map(|e| spread[e] * c[0] * rows[0][e])).collect();
    assert_close(&found[2].1, &mixed, 1e-13, "r");
    assert_eq!(found[3].1, [c[0], c[1], 2.5, c[2], c[3], 2.5]);
}

#[test]
fn a_whole_statistic_agrees_with_its_graph() {
    // Mean of 1.5 |W| and the covariance-like mean of W^2 for one scale.
    let (L, N, j) = (12, 3, 2);
    let wigner = Linear::WignerInverse { L_in: L, L, N, j };
    let L_j = scatterc_ir::types::scale_bandlimit(L, j);
    let (rings, map) = (Space::Rings { L: L_j, M: L_j }, Space::Map { L: L_j });
    let mut b = Builder::new("s1");
    let x = b.input("x", Type::new([], Space::Half { L })).expect("valid");
    let packed = b.linear(Linear::HermitianPack { L }, x).expect("valid");
    let spectrum = b.linear(wigner.clone(), packed).expect("valid");
    let channels = b.linear(Linear::RingInverse { L: L_j, M: L_j }, spectrum).expect("valid");
    let directions = b.linear(Linear::Steer { N }, channels).expect("valid");
    let modulus = b.pointwise(scatterc_ir::scalar::parse("mul(1.5, abs(a))").expect("valid"), &[directions]).expect("valid");
    let mean = b.linear(Linear::Mean { L: L_j }, modulus).expect("valid");
    b.output("mean", mean);
    let graph = b.finish();
    let mut layout = Layout::default();
    let input = layout.port("x", &Type::new([], Space::Half { L }));
    let packed = layout.slot(device_len(Space::Coefficients { L }));
    let spectrum = layout.slot(N * device_len(rings));
    let channels = layout.slot(N * device_len(map));
    let directions = layout.slot(5 * device_len(map));
    let (modulus, other) = (layout.slot(5 * device_len(map)), layout.slot(5 * device_len(map)));
    let sums = layout.slot(10);
    let output = layout.port("mean", &Type::new([5], Space::Point));
    let step = |map: Linear, from: Slot, to: Slot| Step::Linear { map, adjoint: false, pairs: vec![(from, to)], bandlimits: vec![] };
    let trip = device_len(map);
    let stream = |slot: Slot, written| plan::Stream { slot, stride: trip, extent: trip, written };
    let plan = Plan {
        name: "s1".into(),
        arena: layout.0,
        tables: vec![Table::Weights(Linear::Mean { L: L_j })],
        kernels: vec![Kernel { name: "k0".into(), summary: String::new(), text: EXAMPLE.into() }],
        steps: vec![
            step(Linear::HermitianPack { L }, input.slot, packed),
            step(wigner, packed, spectrum),
            step(Linear::RingInverse { L: L_j, M: L_j }, spectrum, channels),
            step(Linear::Steer { N }, channels, directions),
            Step::Loop {
                kernel: 0,
                trip,
                outer: 5,
                grain: 100,
                streams: vec![stream(directions, false), stream(modulus, true), stream(other, true)],
                tables: vec![0],
                sums,
            },
            step(Linear::Mean { L: L_j }, modulus, output.slot),
        ],
        inputs: vec![input],
        outputs: vec![output],
        ..Plan::default()
    };
    let x = random(5, 2 * L * L);
    let expected = reference::run(&graph, &[("x", &x)]).expect("valid");
    for threads in [1, 3] {
        let found = Executable::load(&plan, &options(threads)).expect("valid").run(&[("x", &x)]).expect("names and lengths fit");
        assert_close(&found[0].1, &expected[0].1, 1e-13, "mean");
    }
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let good = loop_plan(4, 64);
    assert!(Executable::load(&good, &options(1)).is_ok());
    let refused = |change: &dyn Fn(&mut Plan), part: &str| {
        let mut plan = loop_plan(4, 64);
        change(&mut plan);
        match Executable::load(&plan, &options(1)) {
            Ok(_) => panic!("accepted, expected `{part}`\n{plan}"),
            Err(error) => assert!(error.to_string().contains(part), "{error} does not contain {part}"),
        }
    };
    refused(&|p| p.arena = 10, "P1");
    refused(&|p| p.inputs[0].slot.len -= 1, "port `x`");
    refused(&|p| p.inputs[0].ty = Type::new([3], Space::Map { L: 1 << 30 }), "bandlimit");
    refused(&|p| p.inputs[0].ty = Type::new([usize::MAX, 2], Space::Map { L: 4 }), "port `x`");
    refused(&|p| p.outputs[1].name = "y".into(), "once");
    refused(&|p| p.kernels[0].text = p.kernels[0].text.replace("v49 = fma", "v49 = frobnicate"), "kernel `k0`, line 42");
    refused(&|p| p.kernels[0].text.clear(), "kernel `k0`");
    refused(&|p| p.tables[0] = Table::Weights(Linear::Mean { L: 2 }), "trip");
    refused(&|p| p.tables[0] = Table::Weights(Linear::Steer { N: 3 }), "reduction");
    refused(&|p| p.tables[0] = Table::Weights(Linear::Mean { L: 1 << 20 }), "bytes of memory");
    let step = |p: &mut Plan, change: &dyn Fn(&mut usize, &mut usize, &mut usize, &mut Slot)| {
        if let Step::Loop { trip, outer, grain, sums, .. } = &mut p.steps[0] {
            change(trip, outer, grain, sums);
        }
    };
    refused(&|p| step(p, &|trip, _, _, _| *trip += 1), "trip");
    refused(&|p| step(p, &|_, outer, _, _| *outer += 1), "P4");
    refused(&|p| step(p, &|_, _, grain, _| *grain = 0), "P4");
    refused(&|p| step(p, &|_, _, _, sums| sums.len -= 1), "sums");
    let linear = |map: Linear, input: usize, output: usize, bandlimits: Vec<usize>| {
        move |p: &mut Plan| {
            let pairs = vec![(Slot { offset: 0, len: input }, Slot { offset: input, len: output })];
            p.arena = 4096;
            p.steps.push(Step::Linear { map: map.clone(), adjoint: false, pairs, bandlimits: bandlimits.clone() });
        }
    };
    refused(&linear(Linear::HermitianPack { L: 4 }, 32, 21, vec![]), "step 1: hermitian_pack");
    refused(&linear(Linear::HermitianPack { L: 4 }, 64, 20, vec![]), "fields");
    refused(&linear(Linear::HermitianPack { L: 4 }, 32, 20, vec![4]), "bandlimits");
    refused(&linear(Linear::HarmonicInverse { L_in: 4, L: 4 }, 20, 128, vec![5]), "fields");
    refused(&linear(Linear::HarmonicInverse { L_in: 1 << 30, L: 1 << 30 }, 20, 128, vec![]), "L_in from 1");
    refused(&linear(Linear::WignerInverse { L_in: 4, L: 4, N: 1, j: 9 }, 20, 128, vec![]), "`j`");
    refused(&linear(Linear::Reindex { from: vec![1 << 31; 3], to: vec![1], map: vec![vec![0, 0]; 3] }, 20, 128, vec![]), "2^40");
    let gram = |row_len: usize, len: usize| {
        move |p: &mut Plan| {
            let (rows, outputs) = (vec![Slot { offset: 0, len }], vec![Slot { offset: 1000, len: 1 }]);
            p.steps.push(Step::Gram { table: 0, row_len, rows, pairs: vec![0, 0], places: vec![0], outputs });
        }
    };
    refused(&gram(100, 112), "row_len");
    refused(&gram(112, 113), "rows");
    assert!(matches!(Executable::load(&Plan { arena: 1 << 50, ..Plan::default() }, &options(1)), Err(LoadError::Plan { .. })));
    // Without fields, no table is made, however large the attributes.
    let mut empty = loop_plan(4, 64);
    linear(Linear::Reindex { from: vec![1 << 20; 2], to: vec![1 << 20; 2], map: vec![vec![1, 0, 0], vec![0, 1, 0]] }, 0, 0, vec![])(&mut empty);
    linear(Linear::HarmonicInverse { L_in: 1 << 20, L: 1 << 20 }, 0, 0, vec![])(&mut empty);
    assert!(Executable::load(&empty, &options(1)).is_ok());
    assert!(Executable::load(&Plan::default(), &options(1)).expect("an empty plan does nothing").run(&[]).expect("nothing").is_empty());
}

/// The step's output at an operand without numbers is zero, not what was there before.
#[test]
fn adjoint_of_an_empty_selection_is_zero() {
    for map in [Linear::Gather { n: 3, table: vec![] }, Linear::Slice { n: 3, start: 1, length: 0 }] {
        let (from, to) = types(&map, true, &[], Space::Point);
        let mut plan = linear_plan(&map, true, &from, &to, vec![]);
        plan.steps.insert(0, Step::Fill { value: 7.0, output: plan.outputs[0].slot });
        assert_eq!(load(&plan).run(&[("x", &[])]).expect("names and lengths fit")[0].1, [0.0; 3]);
    }
}

#[test]
fn weights_sum_what_their_map_sums() {
    for map in Linear::samples() {
        let made = weights(&map).expect("samples are valid");
        let reduction = map.signature().is_ok_and(|s| s.range == (vec![], Space::Point) && s.domain.1 != Space::Point);
        assert_eq!(made.is_some(), reduction, "{map:?}");
        if let Some(made) = made {
            let space = map.signature().expect("valid").domain.1;
            let ones = vec![1.0; space.len()];
            let expected = reference::apply(&map, false, &Type::new([], space), &ones).expect("valid")[0];
            assert!((made.iter().sum::<f64>() - expected).abs() < 1e-13, "{map:?}");
        }
    }
}

/// A plan whose buffers, partial sums or local memory exceed what there is: refused before anything is allocated, with both numbers.
#[test]
fn plans_larger_than_memory_are_refused() {
    let refused = |plan: &Plan, limit: u64| match Executable::load(plan, &Options { memory: Some(limit), ..options(2) }) {
        Err(LoadError::Memory { needed, limit: found }) => {
            assert_eq!(found, limit);
            assert!(needed > u128::from(limit));
        }
        other => panic!("{:?}", other.map(|_| "loaded")),
    };
    let plan = loop_plan(16, 64);
    assert!(Executable::load(&plan, &Options { memory: Some(1 << 20), ..options(1) }).is_ok());
    refused(&plan, 1 << 10);
    // A terabyte of buffers on this machine.
    let large = Plan { arena: 1 << 40, ..plan.clone() };
    assert!(matches!(Executable::load(&large, &options(1)), Err(LoadError::Memory { .. })));
    // Partial sums of tasks of four elements, and memory of threads.
    let mut many = plan.clone();
    if let Step::Loop { grain, .. } = &mut many.steps[0] {
        *grain = 1;
    }
    refused(&many, 8 * plan.arena as u64 + 8 * device_len(Space::Map { L: 16 }) as u64);
    let mut tile = tile_plan(16, 8);
    if let Step::Tile { scratch, .. } = &mut tile.steps[0] {
        *scratch = 60 * tile.arena;
    }
    refused(&tile, 20 * 8 * tile.arena as u64);
}

/// Steps that do not fit what their kernel touches: refused by step and kernel before anything is compiled.
#[test]
fn kernels_that_leave_their_arrays_are_refused() {
    let refused = |plan: &Plan, part: &str| match Executable::load(plan, &options(2)) {
        Err(error @ LoadError::Step { .. }) => assert!(error.to_string().contains("kernel `k0`") && error.to_string().contains(part), "{error}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("loaded; expected {part}"),
    };
    let change = |change: &dyn Fn(&mut Vec<plan::Stream>, &mut Vec<usize>, &mut Slot)| {
        let mut plan = loop_plan(16, 64);
        plan.arena += 16;
        if let Step::Loop { streams, tables, sums, .. } = &mut plan.steps[0] {
            change(streams, tables, sums);
        }
        plan
    };
    assert!(Executable::load(&change(&|_, _, _| {}), &options(1)).is_ok());
    refused(&change(&|streams, _, _| streams[0].extent -= 1), "stream 0");
    refused(&change(&|streams, _, _| streams[1].written = false), "only reads of stream 1");
    refused(&change(&|streams, _, _| streams.truncate(2)), "the addresses of the streams");
    refused(&change(&|_, tables, _| tables.clear()), "the addresses of the tables");
    refused(&change(&|_, _, sums| sums.len = 3), "the sums");
    refused(&change(&|_, _, sums| sums.len = 9), "no store of sum 2");
    // In a tile: a local range that is shorter than the elements of a pair.
    let mut tile = tile_plan(16, 8);
    if let Step::Tile { stages, .. } = &mut tile.steps[0]
        && let Stage::Loop { streams, .. } = &mut stages[1]
    {
        streams[0].extent -= 2;
    }
    refused(&tile, "stream 0");
    // Text that cannot be followed is a fault of the kernel.
    let mut loaded = loop_plan(16, 64);
    loaded.kernels[0].text = loaded.kernels[0].text.replace("v41 = iadd v10, v40", "v41 = load.i64 notrap v10");
    assert!(matches!(Executable::load(&loaded, &options(1)), Err(LoadError::Kernel { message, .. }) if message.contains("the address is not")));
}
