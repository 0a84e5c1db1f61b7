//! Random well-typed graphs: the reference device against the CPU with every fusion, with disabled passes, within budgets and with several threads, and against emulated CUDA; values and gradients.

use crate::random::Random;
use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::gradient;
use scatterc::compiler::pass::{PASSES, run_passes};
use scatterc::compiler::schedule::{ScheduleError, schedule_cpu, schedule_cuda, schedule_within};
use scatterc::ir::graph::Builder;
use scatterc::ir::plan::Element;
use scatterc::ir::scalar::{Binary, Scalar, Unary};
use scatterc::ir::{Graph, Linear, Op, Plan, Space, Type, Value, text, types};
use scatterc::runtime::{Cache, Executable, MachineKind, Options, reference};
use std::sync::{Arc, OnceLock};

/// Arrays by name.
type Arrays = Vec<(String, Vec<f64>)>;

/// Largest value of a graph, in numbers.
const LARGEST: usize = 3000;

/// Beyond this largest number rounding decides, not the compiler.
const TAME: f64 = 1e8;

/// One graph in this many also runs on emulated CUDA, where a C++ compiler takes seconds for it.
const EMULATED: usize = 64;

/// A chain of choices that makes a graph with inputs, and one number of them as its output.
///
/// All pointwise functions are smooth and of moderate growth, so that rounding is not magnified and derivatives exist everywhere.
pub fn graph(random: &mut Random) -> Graph {
    let mut b = Builder::new("random");
    let mut values: Vec<Value> = vec![];
    for k in 0..1 + random.below(2) {
        let ty = first_type(random, if k == 0 { None } else { values.first().map(|v| b.ty(*v)) });
        values.extend(b.input(&format!("x{k}"), ty));
    }
    for _ in 0..3 + random.below(12) {
        let made = match random.below(10) {
            0..6 => linear(&mut b, random, &values),
            6..9 => pointwise(&mut b, random, &values),
            _ => concat(&mut b, random, &values),
        };
        // Later values are chosen more often, so that chains grow.
        if let Some(value) = made.filter(|v| b.ty(*v).len() <= LARGEST) {
            values.push(value);
        }
    }
    let loss = total(&mut b, random, &values);
    if let Some(loss) = loss {
        b.output("loss", loss);
    }
    b.finish()
}

/// The type of an input: now and then that of another, so that they can be combined.
fn first_type(random: &mut Random, other: Option<&Type>) -> Type {
    if let Some(other) = other
        && random.below(2) == 0
    {
        return other.clone();
    }
    let L = 2 + random.below(8);
    let (H, W) = (1 + random.below(9), 2 + random.below(9));
    let space = match random.below(12) {
        0 | 1 => Space::Half { L },
        2 => Space::Full { L },
        3 => Space::Grid { L },
        4 | 5 => Space::Coefficients { L },
        6 => Space::Map { L },
        7 | 8 => Space::Image { H, W },
        9 => Space::RealSpectrum { H, W },
        10 => Space::Pixels { nside: 2, n: 48 },
        _ => Space::Point,
    };
    let axes = match (space, random.below(4)) {
        (Space::Point, _) => vec![1 + random.below(12)],
        (_, 0) => vec![1 + random.below(3)],
        _ => vec![],
    };
    Type::new(axes, space)
}

fn recent(random: &mut Random, values: &[Value]) -> Value {
    let back = random.below(values.len()).min(random.below(values.len()));
    values[values.len() - 1 - back]
}

/// A map for a value of this space, with sizes of its own.
fn rows_for(random: &mut Random, ty: &Type) -> Vec<(Linear, bool)> {
    let mut rows: Vec<(Linear, bool)> = vec![(Linear::Scale { by: random.number() * 2.0 }, random.below(2) == 0)];
    match ty.space {
        Space::Half { L } => {
            rows.extend([(Linear::HermitianPack { L }, false), (Linear::HermitianPack { L }, false), (Linear::HalfPower { L, skip_mean: 1 }, false)])
        }
        Space::Full { L } => {
            rows.extend([(Linear::FullReal { L }, false), (Linear::FullImaginary { L }, false), (Linear::FullPower { L, skip_mean: 0 }, false)])
        }
        Space::Grid { L } => rows.push((Linear::GridToMap { L }, false)),
        Space::Coefficients { L } => {
            let (N, j) = (1 + random.below(3), random.below(types::finest_scale(L) + 1));
            rows.extend([
                (Linear::WignerInverse { L_in: L, L, N, j }, false),
                (Linear::WignerInverse { L_in: L, L, N, j }, false),
                (Linear::HarmonicInverse { L_in: L, L }, false),
                (Linear::ScalingInverse { L_in: L, L, j }, false),
                (Linear::CoefficientMean { L }, false),
                (Linear::CoefficientPower { L, skip_mean: random.below(2) }, false),
                (Linear::CoefficientSum { L }, false),
                (Linear::FrameOperator { L_in: L, L_out: L, L, N, j }, false),
                (Linear::HermitianPack { L }, true),
                (Linear::HarmonicForward { L, M: L, L_out: L }, true),
            ]);
        }
        Space::Rings { L, M } => {
            rows.extend([
                (Linear::RingInverse { L, M }, false),
                (Linear::RingInverse { L, M }, false),
                (Linear::HarmonicForward { L, M, L_out: 1 + random.below(L) }, false),
                (Linear::RingMean { L, M }, false),
                (Linear::RingForward { L, M }, true),
            ]);
        }
        Space::Map { L } => rows.extend([
            (Linear::RingForward { L, M: 1 + random.below(L) }, false),
            (Linear::RingForward { L, M: L }, false),
            (Linear::Mean { L }, false),
            (Linear::RingInverse { L, M: L }, true),
            (Linear::GridToMap { L }, true),
        ]),
        Space::Image { H, W } => {
            let (h, w) = (1 + random.below(H), 1 + random.below(W));
            rows.extend([
                (Linear::Fourier { H, W }, false),
                (Linear::FourierReal { H, W }, true),
                (Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }, false),
                (Linear::BlockMean { H, W, h, w }, false),
                (Linear::Enlarge { H, W, rows: 1 + random.below(2), columns: 1 + random.below(2) }, false),
            ]);
        }
        Space::RealSpectrum { H, W } => rows.extend([
            (Linear::FourierReal { H, W }, false),
            (Linear::SpectralSum { H, W }, false),
            (Linear::Truncate { H, W, h: H, w: W, real: 1 }, false),
            (Linear::Fold { H, W, h: H, w: W, real: 1 }, false),
            (Linear::Fourier { H, W }, true),
        ]),
        Space::Spectrum { H, W } => rows.extend([(Linear::FourierInverse { H, W }, false), (Linear::SpectrumParts { H, W }, false)]),
        Space::Pixels { nside, n } if n == 12 * nside * nside => {
            rows.push((Linear::Stencil { nside, K: 3, L: 1 + random.below(3), cells: vec![] }, false));
            rows.push((Linear::PixelMean { nside, n }, false));
            if nside > 1 {
                rows.push((Linear::Downgrade { nside, cells: vec![] }, false));
            } else {
                rows.push((Linear::Upgrade { nside }, false));
            }
        }
        Space::Pixels { .. } | Space::Point | Space::Any => {}
    }
    if let Some(last) = ty.axes.last() {
        let k = random.below(*last);
        rows.push((Linear::Reindex { from: vec![*last], to: vec![1 + random.below(4)], map: vec![vec![random.below(3) as i64, k as i64]] }, false));
        // Sums over the last axis, and its diagonal with another.
        rows.push((Linear::Reindex { from: vec![], to: vec![*last], map: vec![] }, true));
        if *last % 2 == 1 && *last < 8 {
            rows.push((Linear::Steer { N: last.div_ceil(2) }, true));
        }
        if *last < 5 {
            rows.push((Linear::Steer { N: *last }, false));
            rows.push((Linear::Steer { N: *last }, false));
        }
    } else {
        rows.push((Linear::Reindex { from: vec![], to: vec![1 + random.below(3)], map: vec![] }, false));
    }
    if ty.space == Space::Point
        && let Some(n) = ty.axes.last().copied()
    {
        rows.push((Linear::Gather { n, table: (0..1 + random.below(5)).map(|_| random.below(n)).collect() }, false));
        let start = random.below(n);
        rows.push((Linear::Slice { n, start, length: 1 + random.below(n - start) }, false));
        rows.push((Linear::Spread { L: 2 + random.below(4) }, false));
    }
    rows
}

fn linear(b: &mut Builder, random: &mut Random, values: &[Value]) -> Option<Value> {
    let value = recent(random, values);
    let ty = b.ty(value).clone();
    let mut rows = rows_for(random, &ty);
    // The samples of the table, where they fit, so that no row is forgotten.
    for map in Linear::samples() {
        for adjoint in [false, true] {
            if scatterc::ir::graph::infer(&Op::Linear { map: map.clone(), adjoint }, &[&ty]).is_ok() && !map.acts_on_axes() {
                rows.push((map.clone(), adjoint));
            }
        }
    }
    let (map, adjoint) = random.pick(&rows)?.clone();
    b.add(Op::Linear { map, adjoint }, &[value], None).ok()
}

fn pointwise(b: &mut Builder, random: &mut Random, values: &[Value]) -> Option<Value> {
    let first = recent(random, values);
    let alike: Vec<Value> = values.iter().copied().filter(|v| b.ty(*v) == b.ty(first)).collect();
    let second = *random.pick(&alike)?;
    let (a, c) = (Scalar::Argument(0), Scalar::Argument(1));
    let unary = |op, x: Scalar| Scalar::Unary(op, Box::new(x));
    let binary = |op, x: Scalar, y: Scalar| Scalar::Binary(op, Box::new(x), Box::new(y));
    let square = |x: &Scalar| binary(Binary::Multiply, x.clone(), x.clone());
    let one = Scalar::Constant(1.0);
    let f = match random.below(9) {
        0 => square(&a),
        1 => binary(Binary::Multiply, a, c),
        2 => binary(Binary::Add, a, binary(Binary::Multiply, c, Scalar::Constant(random.number()))),
        3 => binary(Binary::Subtract, a, c),
        // A smooth modulus of two parts.
        4 => unary(Unary::SquareRoot, binary(Binary::Add, one, binary(Binary::Add, square(&a), square(&c)))),
        5 => unary(Unary::Sine, a),
        6 => binary(Binary::Divide, a, binary(Binary::Add, one, square(&c))),
        7 => unary(Unary::Cosine, binary(Binary::Multiply, a, c)),
        _ => unary(Unary::Logarithm, binary(Binary::Add, one, square(&a))),
    };
    b.pointwise(f, &[first, second]).ok()
}

fn concat(b: &mut Builder, random: &mut Random, values: &[Value]) -> Option<Value> {
    let points: Vec<Value> = values.iter().copied().filter(|v| b.ty(*v).space == Space::Point && !b.ty(*v).axes.is_empty()).collect();
    let first = *random.pick(&points)?;
    let outer = b.ty(first).axes[..b.ty(first).axes.len() - 1].to_vec();
    let joined: Vec<Value> = points.into_iter().filter(|v| b.ty(*v).axes[..b.ty(*v).axes.len() - 1] == outer[..]).take(3).collect();
    if joined.len() < 2 { None } else { b.concat(&joined).ok() }
}

/// One number of a few values: their averages or sums, squared and added.
fn total(b: &mut Builder, random: &mut Random, values: &[Value]) -> Option<Value> {
    let mut sum: Option<Value> = None;
    for _ in 0..1 + random.below(3) {
        let mut value = recent(random, values);
        if random.below(2) == 0 {
            value = b.pointwise(Scalar::Binary(Binary::Multiply, Box::new(Scalar::Argument(0)), Box::new(Scalar::Argument(0))), &[value]).ok()?;
        }
        value = match b.ty(value).space {
            Space::Point | Space::Any => value,
            Space::Half { L } => b.linear(Linear::HalfPower { L, skip_mean: 0 }, value).ok()?,
            Space::Full { L } => b.linear(Linear::FullPower { L, skip_mean: 0 }, value).ok()?,
            Space::Grid { L } => {
                let map = b.linear(Linear::GridToMap { L }, value).ok()?;
                b.linear(Linear::Mean { L }, map).ok()?
            }
            Space::Coefficients { L } => b.linear(Linear::CoefficientSum { L }, value).ok()?,
            Space::Rings { L, M } => b.linear(Linear::RingMean { L, M }, value).ok()?,
            Space::Map { L } => b.linear(Linear::Mean { L }, value).ok()?,
            Space::Image { H, W } => b.linear(Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }, value).ok()?,
            Space::RealSpectrum { H, W } => b.linear(Linear::SpectralSum { H, W }, value).ok()?,
            Space::Spectrum { H, W } => {
                let parts = b.linear(Linear::SpectrumParts { H, W }, value).ok()?;
                b.linear(Linear::Average { H, W, top: 0, bottom: 0, left: 0, right: 0 }, parts).ok()?
            }
            Space::Pixels { nside, n } => b.linear(Linear::PixelMean { nside, n }, value).ok()?,
        };
        let axes = b.ty(value).axes.clone();
        if !axes.is_empty() {
            let count = axes.iter().product::<usize>();
            let flat = b.linear(Linear::Reshape { from: axes, to: vec![count] }, value).ok()?;
            value = b.adjoint(Linear::Reindex { from: vec![], to: vec![count], map: vec![] }, flat).ok()?;
        }
        let f = Scalar::Unary(Unary::Sine, Box::new(Scalar::Argument(0)));
        let bounded = b.pointwise(f, &[value]).ok()?;
        sum = Some(match sum {
            None => bounded,
            Some(sum) => {
                b.pointwise(Scalar::Binary(Binary::Add, Box::new(Scalar::Argument(0)), Box::new(Scalar::Argument(1))), &[sum, bounded]).ok()?
            }
        });
    }
    sum
}

fn borrowed(arrays: &Arrays) -> Vec<(&str, &[f64])> {
    arrays.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect()
}

/// Numbers for the inputs that a graph still has.
fn given(graph: &Graph, random: &mut Random) -> Arrays {
    let mut out = Arrays::new();
    for node in &graph.nodes {
        if let Op::Input(name) | Op::Parameter(name) = &node.op {
            out.push((name.clone(), (0..node.ty.len()).map(|_| random.number()).collect()));
        }
    }
    out
}

fn cache() -> Arc<Cache> {
    static CACHE: OnceLock<Arc<Cache>> = OnceLock::new();
    CACHE.get_or_init(|| Arc::new(Cache::in_memory())).clone()
}

fn on_cpu(plan: &Plan, threads: usize, inputs: &Arrays) -> Result<Arrays, String> {
    on_machine(plan, MachineKind::default(), threads, inputs)
}

fn on_machine(plan: &Plan, machine: MachineKind, threads: usize, inputs: &Arrays) -> Result<Arrays, String> {
    let options = Options { threads, cache: Some(cache()), machine, ..Options::default() };
    let mut executable = Executable::load(plan, &options).map_err(|e| e.to_string())?;
    let known: Vec<String> = executable.inputs().iter().map(|p| p.name.clone()).collect();
    let inputs: Vec<(&str, &[f64])> = borrowed(inputs).into_iter().filter(|(name, _)| known.iter().any(|k| k == name)).collect();
    executable.run(&inputs).map_err(|e| e.to_string())
}

/// Largest difference beyond `tolerance` of the largest number that the reference device met.
fn compare(found: &Arrays, expected: &Arrays, scale: f64, tolerance: f64, what: &str, graph: &Graph) {
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!((name, found.len()), (other, expected.len()), "{what}\n{graph}");
        for (k, (x, y)) in found.iter().zip(expected).enumerate() {
            let close = (x - y).abs() <= tolerance * scale;
            assert!(close || !y.is_finite(), "{what}: {name}[{k}] is {x:e}, the reference device gives {y:e}; largest number {scale:e}\n{graph}");
        }
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// The inputs that a graph has.
fn inputs_of(graph: &Graph, inputs: &Arrays) -> Arrays {
    let has = |name: &String| graph.nodes.iter().any(|n| matches!(&n.op, Op::Input(x) | Op::Parameter(x) if x == name));
    inputs.iter().filter(|(name, _)| has(name)).cloned().collect()
}

/// The outputs on the reference device, and the largest number that it met.
fn on_reference(graph: &Graph, inputs: &Arrays) -> (Arrays, f64) {
    let all = reference::run_all(graph, &borrowed(inputs)).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let scale = all.iter().flatten().fold(1.0f64, |m, x| m.max(x.abs()));
    (graph.outputs.iter().map(|o| (o.name.clone(), all[o.value.index()].clone())).collect(), scale)
}

/// What every CPU plan must agree on, for a graph and whatever passes make of it.
fn check(graph: &Graph, inputs: &Arrays, random: &mut Random) -> Result<(), String> {
    let inputs = &inputs_of(graph, inputs);
    let printed = graph.to_string();
    assert_eq!(text::parse(&printed).as_ref(), Ok(graph), "a graph is its text\n{printed}");
    let (expected, scale) = on_reference(graph, inputs);
    if scale >= TAME {
        return Ok(());
    }
    let disabled: Vec<String> = PASSES.iter().filter(|_| random.below(3) == 0).map(|p| p.name.to_string()).collect();
    let variants = [vec![], disabled];
    for (k, disabled) in variants.iter().enumerate() {
        let passed = run_passes(graph.clone(), disabled, &mut vec![]).unwrap_or_else(|e| panic!("passes without {disabled:?}: {e}\n{graph}"));
        let inputs = inputs_of(&passed, inputs);
        let again = reference::run(&passed, &borrowed(&inputs)).unwrap_or_else(|e| panic!("{e}\n{passed}"));
        compare(&again, &expected, scale, 1e-10, &format!("passes without {disabled:?}"), graph);
        let fusions = [Fusion::All, [Fusion::None, Fusion::Loops, Fusion::Ring, Fusion::Gram][random.below(4)]];
        for fusion in &fusions[k.min(1)..] {
            let scheduled = schedule_cpu(&passed, *fusion, Element::F64).unwrap_or_else(|e| panic!("{fusion:?}: {e}\n{passed}"));
            let threads = 1 + random.below(3);
            let what = format!("cpu, {fusion:?}, {threads} threads, without {disabled:?}");
            let found = on_cpu(&scheduled.plan, threads, &inputs).map_err(|e| format!("{what}: {e}"))?;
            compare(&found, &expected, scale, 1e-10, &what, graph);
            let alone = on_cpu(&scheduled.plan, 1, &inputs).map_err(|e| format!("{what}: {e}"))?;
            assert_eq!(alone, found, "{what}: one thread gives other bits\n{graph}");
        }
        if k == 0 {
            let scheduled = schedule_cpu(&passed, Fusion::All, Element::F64).unwrap_or_else(|e| panic!("{e}\n{passed}"));
            match schedule_within(&passed, Fusion::All, scheduled.plan.arena * 3 / 4, Element::F64) {
                Ok((recomputed, within)) => {
                    let found = on_cpu(&within.plan, 1, &inputs).map_err(|e| format!("budget: {e}\n{recomputed}"))?;
                    compare(&found, &expected, scale, 1e-10, "within three quarters of the arena", graph);
                }
                Err(ScheduleError::Memory { .. }) => {}
                Err(e) => panic!("budget: {e}\n{passed}"),
            }
            let single = schedule_cpu(&passed, Fusion::All, Element::F32).unwrap_or_else(|e| panic!("f32: {e}\n{passed}"));
            let found = on_cpu(&single.plan, 1, &inputs).map_err(|e| format!("f32: {e}"))?;
            // Sines of large numbers lose them; values alone are compared where nothing is large.
            if scale < 100.0 {
                compare(&found, &expected, scale, 3e-3, "cpu f32", graph);
            }
        }
    }
    Ok(())
}

/// Emulated CUDA in f64 with two fusions, and in f32, against the reference device.
fn check_emulated(graph: &Graph, inputs: &Arrays, random: &mut Random) -> Result<(), String> {
    let (expected, scale) = on_reference(graph, &inputs_of(graph, inputs));
    if scale >= TAME {
        return Ok(());
    }
    let passed = run_passes(graph.clone(), &[], &mut vec![]).unwrap_or_else(|e| panic!("passes: {e}\n{graph}"));
    let inputs = inputs_of(&passed, inputs);
    let other = [Fusion::None, Fusion::Loops, Fusion::Ring, Fusion::Gram][random.below(4)];
    for (fusion, element) in [(Fusion::All, Element::F64), (other, Element::F64), (Fusion::All, Element::F32)] {
        let what = format!("emulated CUDA, {fusion:?}, {element:?}");
        let scheduled = schedule_cuda(&passed, fusion, element).unwrap_or_else(|e| panic!("{what}: {e}\n{passed}"));
        let found = on_machine(&scheduled.plan, MachineKind::Emulation, 1, &inputs).map_err(|e| format!("{what}: {e}\n{graph}"))?;
        match element {
            Element::F64 => compare(&found, &expected, scale, 1e-10, &what, graph),
            Element::F32 if scale < 100.0 => compare(&found, &expected, scale, 3e-3, &what, graph),
            Element::F32 => {}
        }
    }
    Ok(())
}

/// What became of a graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All devices agree.
    Agrees,
    /// It has no number to differentiate.
    Empty,
    /// The runtime refuses the plan that the compiler makes of it: no wrong number, but a fault of the compiler.
    Refused(String),
}

/// One graph by its seed: values, and value and gradient, on every CPU plan and now and then on emulated CUDA; the gradient also against differences of the reference device.
pub fn differential(data: &[u8]) -> Verdict {
    both(data, |graph, inputs, random| {
        check(graph, inputs, random)?;
        if random.below(EMULATED) == 0 { check_emulated(graph, inputs, random) } else { Ok(()) }
    })
}

/// One graph by its seed, values and gradient, on emulated CUDA.
pub fn emulated(data: &[u8]) -> Verdict {
    both(data, check_emulated)
}

/// A check of a graph and of its gradient.
fn both(data: &[u8], check: fn(&Graph, &Arrays, &mut Random) -> Result<(), String>) -> Verdict {
    let mut random = Random::of(data);
    let graph = graph(&mut random);
    if graph.outputs.is_empty() {
        return Verdict::Empty;
    }
    let inputs = given(&graph, &mut random);
    if let Err(what) = check(&graph, &inputs, &mut random) {
        return Verdict::Refused(what);
    }
    let Ok(derived) = gradient::value_and_gradient(&graph) else { panic!("no gradient\n{graph}") };
    if let Err(what) = check(&derived, &inputs, &mut random) {
        return Verdict::Refused(what);
    }
    differences(&graph, &derived, &inputs, &mut random);
    Verdict::Agrees
}

/// The slope along a random direction, from the gradient and from differences.
fn differences(graph: &Graph, derived: &Graph, inputs: &Arrays, random: &mut Random) {
    let known = |arrays: &Arrays, of: &Graph| -> Arrays {
        arrays.iter().filter(|(name, _)| of.nodes.iter().any(|n| matches!(&n.op, Op::Input(x) if x == name))).cloned().collect()
    };
    let all = reference::run_all(derived, &borrowed(&known(inputs, derived))).unwrap_or_else(|e| panic!("{e}\n{derived}"));
    let scale = all.iter().flatten().fold(1.0f64, |m, x| m.max(x.abs()));
    // Curvature grows with the numbers; only tame graphs can be checked by differences.
    if scale >= 1e3 {
        return;
    }
    let directions: Arrays = inputs.iter().map(|(name, values)| (name.clone(), values.iter().map(|_| random.number()).collect())).collect();
    let at = |h: f64| -> f64 {
        let moved: Arrays =
            inputs.iter().zip(&directions).map(|((name, x), (_, d))| (name.clone(), x.iter().zip(d).map(|(x, d)| x + h * d).collect())).collect();
        reference::run(graph, &borrowed(&known(&moved, graph))).map_or(f64::NAN, |out| out[0].1[0])
    };
    let h = 1e-5;
    let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
    let exact: f64 = derived
        .outputs
        .iter()
        .filter_map(|o| Some((o.name.strip_prefix("gradient.")?, &all[o.value.index()])))
        .filter_map(|(name, g)| Some(directions.iter().find(|(n, _)| n == name)?.1.iter().zip(g).map(|(d, g)| d * g).sum::<f64>()))
        .sum();
    let size = exact.abs().max(scale).max(1.0);
    assert!((numeric - exact).abs() <= 1e-4 * size || !numeric.is_finite(), "differences give {numeric}, the gradient {exact}\n{graph}");
}
