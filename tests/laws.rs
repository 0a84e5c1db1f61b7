//! Laws that hold for every row of the op table and every statistic: adjoints, derivatives, texts, devices.
//!
//! The tests loop over the tables, so a new row is tested without a new test.

#![allow(non_snake_case)]

mod support;

use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::schedule::schedule;
use scatterc::ir::graph::Builder;
use scatterc::ir::ops::pointwise_table;
use scatterc::ir::scalar::{self, BINARY, Scalar, UNARY};
use scatterc::ir::verify::verify;
use scatterc::ir::{Graph, Linear, Space, Type, plan, text};
use scatterc::runtime::reference;
use scatterc::{Goal, InputKind};
use support::*;

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// Operand types on which a map is tested: axis maps act on any space.
fn domains(map: &Linear, leading: &[usize]) -> Vec<(Type, Type)> {
    let signature = map.signature().expect("samples are valid");
    let spaces = if signature.domain.1 == Space::Any {
        vec![Space::Point, Space::Map { L: 2 }, Space::Rings { L: 3, M: 2 }]
    } else {
        vec![signature.domain.1]
    };
    let side = |(axes, space): &(Vec<usize>, Space), any: Space| Type::new([leading, axes].concat(), if *space == Space::Any { any } else { *space });
    spaces.into_iter().map(|any| (side(&signature.domain, any), side(&signature.range, any))).collect()
}

#[test]
fn every_linear_row_and_its_adjoint_are_transposes() {
    for (k, map) in Linear::samples().into_iter().enumerate() {
        for leading in [&[][..], &[3], &[2, 3]] {
            for (domain, range) in domains(&map, leading) {
                let (x, y) = (random(k as u64 + 1, domain.len()), random(k as u64 + 101, range.len()));
                let ax = reference::apply(&map, false, &domain, &x).expect("samples are valid");
                let ay = reference::apply(&map, true, &range, &y).expect("samples are valid");
                assert_eq!((ax.len(), ay.len()), (range.len(), domain.len()), "{map:?}");
                let error = (dot(&ax, &y) - dot(&x, &ay)).abs() / (norm(&ax) * norm(&y)).max(norm(&x) * norm(&ay));
                // Rounding of a sum of n products: eps sqrt(n), n below 10^4.
                assert!(error <= 1e-12, "{map:?} on {domain}: <Ax, y> and <x, A^H y> differ by {error:e}");
            }
        }
    }
}

#[test]
fn synthesis_and_analysis_of_bandlimited_fields_are_inverse() {
    for L in [2, 3, 5, 8, 13] {
        let mut b = Builder::new("inverse");
        let ty = Type::new([], Space::Coefficients { L });
        let x = b.input("x", ty.clone()).expect("inputs type");
        let steps = [
            Linear::HarmonicInverse { L_in: L, L },
            Linear::RingInverse { L, M: L },
            Linear::RingForward { L, M: L },
            Linear::HarmonicForward { L, M: L, L_out: L },
        ];
        let y = steps.into_iter().fold(x, |v, map| b.linear(map, v).expect("the chain types"));
        b.output("y", y);
        let graph = b.finish();
        let mut inputs = given(&graph);
        // A real field has real coefficients at m = 0, the first L complex numbers.
        inputs[0].1[..2 * L].iter_mut().skip(1).step_by(2).for_each(|x| *x = 0.0);
        let expected = vec![("y".to_string(), inputs[0].1.clone())];
        assert_equal(&on_reference(&graph, &inputs), &expected, 1e-12, &format!("reference, L={L}"));
        assert_equal(&on_cpu(&schedule(&graph, Fusion::All).expect("schedules").plan, 1, &inputs), &expected, 1e-12, &format!("cpu, L={L}"));
    }
}

/// Points at which the rows are smooth and defined: positive where a logarithm, root or power needs it.
fn points(name: &str, arity: usize, seed: u64) -> Vec<f64> {
    let positive = matches!(name, "log" | "sqrt" | "pow" | "div");
    random(seed, arity).into_iter().map(|x| if positive { 1.5 + x } else { x + 0.05 * x.signum() }).collect()
}

#[test]
fn every_pointwise_row_has_its_derivative() {
    for row in pointwise_table() {
        assert!(row.expression.arity() <= row.arity, "{}: the expression uses more than {} operands", row.name, row.arity);
        for trial in 0..20 {
            let at = points(row.name, row.arity, trial + 1);
            for k in 0..row.arity {
                let h = 1e-5;
                let shifted = |by: f64| {
                    let mut at = at.clone();
                    at[k] += by;
                    row.expression.evaluate(&at)
                };
                // Fourth order: the truncation is h^4, rounding eps / h.
                let numeric = (8.0 * (shifted(h) - shifted(-h)) - (shifted(2.0 * h) - shifted(-2.0 * h))) / (12.0 * h);
                let exact = row.expression.derivative(k).evaluate(&at);
                assert!(
                    (numeric - exact).abs() <= 1e-8 * exact.abs().max(1.0),
                    "d {} / d {k} at {at:?}: {exact}, differences give {numeric}",
                    row.name
                );
            }
        }
    }
}

/// `y = f(..)` over arrays of n numbers.
fn pointwise_graph(f: &Scalar, arity: usize, n: usize, space: Space) -> Graph {
    let mut b = Builder::new("pointwise");
    let ty = if space == Space::Point { Type::new([n], space) } else { Type::new([2], space) };
    let operands: Vec<_> = (0..arity).map(|k| b.input(&format!("x{k}"), ty.clone()).expect("inputs type")).collect();
    let y = b.pointwise(f.clone(), &operands).expect("equal types");
    b.output("y", y);
    b.finish()
}

/// Compiles the expression and compares it with `Scalar::evaluate`; special values follow the same rules.
fn assert_compiled(f: &Scalar, name: &str, arity: usize, n: usize, space: Space, arguments: impl Fn(usize) -> Vec<f64>) {
    let graph = pointwise_graph(f, arity, n, space);
    let len = graph.nodes[0].ty.len();
    let columns: Vec<Vec<f64>> = (0..len).map(&arguments).collect();
    let inputs: Arrays = (0..arity).map(|k| (format!("x{k}"), columns.iter().map(|c| c[k]).collect())).collect();
    let inputs: Arrays = inputs.into_iter().filter(|(name, _)| graph.nodes.iter().any(|n| n.op == scatterc::ir::Op::Input(name.clone()))).collect();
    let found = on_cpu(&schedule(&graph, Fusion::All).expect("schedules").plan, 1, &inputs);
    for (column, found) in columns.iter().zip(&found[0].1) {
        let expected = f.evaluate(column);
        let close = (found - expected).abs() <= 1e-14 * expected.abs().max(1e-300);
        assert!(close || *found == expected || found.is_nan() && expected.is_nan(), "{name} of {column:?}, n={n}: {found}, expected {expected}");
    }
}

#[test]
fn machine_code_of_every_pointwise_row_equals_its_expression() {
    let special = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-300, 1e300, -1e300, 40.0, -40.0];
    for row in pointwise_table() {
        // Odd and even lengths, shorter and longer than the widest vectors.
        for n in [1, 2, 7, 8, 33] {
            assert_compiled(&row.expression, row.name, row.arity, n, Space::Point, |k| points(row.name, row.arity, k as u64 + 7));
        }
        assert_compiled(&row.expression, row.name, row.arity, 0, Space::Map { L: 5 }, |k| points(row.name, row.arity, k as u64 + 7));
        let n = special.len().pow(row.arity as u32);
        assert_compiled(&row.expression, row.name, row.arity, n, Space::Point, |k| {
            (0..row.arity).map(|i| special[k / special.len().pow(i as u32) % special.len()]).collect()
        });
    }
}

/// A random expression of three arguments; its values stay moderate, so that rounding does too.
fn random_expression(state: &mut u64, depth: usize) -> Scalar {
    let mut next = |n: usize| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % n
    };
    if depth == 0 {
        return if next(4) == 0 { Scalar::Constant(next(7) as f64 / 2.0 - 1.5) } else { Scalar::Argument(next(3)) };
    }
    if next(3) == 0 {
        let op = UNARY[next(UNARY.len())].1;
        Scalar::Unary(op, Box::new(random_expression(state, depth - 1)))
    } else {
        let op = BINARY[next(BINARY.len())].1;
        let (a, b) = (random_expression(state, depth - 1), random_expression(state, depth - 1));
        Scalar::Binary(op, Box::new(a), Box::new(b))
    }
}

#[test]
fn machine_code_of_random_expressions_equals_the_expression() {
    let mut state = 7;
    for trial in 0..60 {
        let f = random_expression(&mut state, 1 + trial % 4);
        assert_eq!(scalar::parse(&f.to_string()).as_ref(), Ok(&f), "text of an expression");
        // The builder simplifies; simplification must keep finite values, so the compiled form is compared with the simplified one exactly and with the original loosely.
        let simple = f.simplified();
        let values = random(trial as u64 + 1, 3);
        let (a, b) = (f.evaluate(&values), simple.evaluate(&values));
        assert!(!a.is_finite() || (a - b).abs() <= 1e-12 * a.abs().max(1.0), "{f} = {a}, simplified {simple} = {b} at {values:?}");
        let graph = pointwise_graph(&f, 3, 9, Space::Point);
        let inputs = given(&graph);
        let (found, expected) = (on_cpu(&schedule(&graph, Fusion::All).expect("schedules").plan, 1, &inputs), on_reference(&graph, &inputs));
        for (x, y) in found[0].1.iter().zip(&expected[0].1) {
            assert!((x - y).abs() <= 1e-12 * y.abs().max(1.0) || x == y || x.is_nan() && y.is_nan(), "{f}: {x}, expected {y}");
        }
    }
}

#[test]
fn damaged_plans_are_refused_or_loaded_but_never_panic() {
    let compiled = Subject::new(&SAMPLES[0], 4, 1).compile(Goal::Statistics);
    let text = compiled.plan().to_string();
    let bytes: Vec<char> = text.chars().collect();
    let mut state = 11u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut loaded = 0;
    for _ in 0..1500 {
        let mut damaged = bytes.clone();
        let digits: Vec<usize> = (0..bytes.len()).filter(|k| bytes[*k].is_ascii_digit()).collect();
        for _ in 0..1 + next(3) {
            // Numbers and names in the text are what a reader trusts; most damages hit a digit.
            let k = if next(4) > 0 { digits[next(digits.len())] } else { next(bytes.len()) };
            damaged[k] = bytes[next(bytes.len())];
        }
        let Ok(plan) = plan::parse(&damaged.into_iter().collect::<String>()) else { continue };
        let options = scatterc::runtime::Options { threads: 1, cache: Some(cache()), ..Default::default() };
        loaded += usize::from(scatterc::runtime::Executable::load(&plan, &options).is_ok());
    }
    assert!(loaded > 10, "only {loaded} damaged plans load; the damages are too coarse");
}

/// All samples and the built-in statistic, at sizes that keep the reference device quick.
fn subjects() -> Vec<Subject> {
    let mut out: Vec<Subject> = SAMPLES.iter().map(|s| Subject::new(s, 8, 2)).collect();
    out.push(Subject::new(&SAMPLES[0], 6, 1));
    out.push(Subject::s2scat(8, 3, InputKind::Half, true));
    out.push(Subject::s2scat(6, 2, InputKind::Full, false));
    out
}

fn goals(subject: &Subject) -> Vec<Goal> {
    let mut out = vec![Goal::Statistics, Goal::VectorJacobian, Goal::JacobianVector];
    if subject.loss {
        out.extend([Goal::Loss("l2".into()), Goal::Gradient("l2".into()), Goal::HessianVector("l2".into())]);
    }
    out
}

#[test]
fn texts_of_graphs_and_plans_round_trip_and_verify() {
    for subject in subjects() {
        for goal in goals(&subject) {
            let compiled = subject.compile(goal.clone());
            for stage in &compiled.trace {
                let printed = stage.graph.to_string();
                let parsed = text::parse(&printed).unwrap_or_else(|e| panic!("{} {goal:?} after {}: {e}", subject.name, stage.name));
                assert_eq!(parsed, stage.graph, "{} {goal:?} after {}", subject.name, stage.name);
                assert_eq!(parsed.to_string(), printed, "{} {goal:?} after {}", subject.name, stage.name);
                assert_eq!(verify(&stage.graph), Ok(()), "{} {goal:?} after {}", subject.name, stage.name);
            }
            let printed = compiled.plan().to_string();
            let parsed = plan::parse(&printed).unwrap_or_else(|e| panic!("{} {goal:?}: {e}", subject.name));
            assert_eq!(&parsed, compiled.plan(), "{} {goal:?}", subject.name);
            assert_eq!(plan::verify(&parsed), Ok(()), "{} {goal:?}", subject.name);
            // The same bytes every time.
            if goal == Goal::VectorJacobian {
                assert_eq!(subject.compile(goal.clone()).plan().to_string(), printed, "{} {goal:?}: compiled twice", subject.name);
            }
        }
    }
}

#[test]
fn both_devices_agree_on_every_statistic_and_its_derivatives() {
    for subject in subjects() {
        for goal in goals(&subject) {
            let compiled = subject.compile(goal.clone());
            let inputs = given(&compiled.graph);
            let expected = on_reference(&compiled.graph, &inputs);
            assert_equal(&on_cpu(compiled.plan(), 1, &inputs), &expected, 1e-12, &format!("{} {goal:?}", subject.name));
        }
    }
}

/// Field inputs with their directions, as the programs name them.
fn shifted(inputs: &Arrays, tangents: &Arrays, by: f64) -> Arrays {
    let direction = |name: &str| tangents.iter().find(|(n, _)| n == &format!("tangent.{name}"));
    inputs
        .iter()
        .map(|(name, values)| match direction(name) {
            Some((_, t)) => (name.clone(), values.iter().zip(t).map(|(x, t)| x + by * t).collect()),
            None => (name.clone(), values.clone()),
        })
        .collect()
}

/// Derivative of the outputs along the tangents by central differences, and its error bound's scale.
fn difference(graph: &Graph, inputs: &Arrays, tangents: &Arrays, h: f64) -> Arrays {
    let (plus, minus) = (on_reference(graph, &shifted(inputs, tangents, h)), on_reference(graph, &shifted(inputs, tangents, -h)));
    let slope = |(x, y): (&f64, &f64)| (x - y) / (2.0 * h);
    plus.iter().zip(&minus).map(|((name, p), (_, m))| (name.clone(), p.iter().zip(m).map(slope).collect())).collect()
}

#[test]
fn derivatives_agree_with_differences_and_with_each_other() {
    // Rounding eps / h and truncation h^2 both lie below 1e-9 of the value; the slopes may be smaller than the values.
    let h = 1e-6;
    for subject in subjects() {
        let statistics = subject.compile(Goal::Statistics);
        let inputs = given(&statistics.bound.graph);
        let forward = subject.compile(Goal::JacobianVector);
        let reverse = subject.compile(Goal::VectorJacobian);
        let tangents: Arrays = given(&forward.graph).into_iter().filter(|(name, _)| name.starts_with("tangent.")).collect();

        // Forward mode against differences.
        let slopes = difference(&statistics.bound.graph, &inputs, &tangents, h);
        let found = on_cpu(forward.plan(), 1, &given(&forward.graph));
        let found: Arrays = found.into_iter().filter_map(|(name, values)| Some((name.strip_prefix("tangent.")?.to_string(), values))).collect();
        assert_equal(&found, &slopes, 1e-6, &format!("{}: JVP against differences", subject.name));

        // Reverse mode against forward mode: <c, J t> = <J^H c, t>.
        let inputs = given(&reverse.graph);
        let back = on_cpu(reverse.plan(), 1, &inputs);
        let left: f64 = found.iter().map(|(name, values)| dot(values, array(&inputs, &format!("cotangent.{name}")))).sum();
        let right: f64 = tangents.iter().map(|(name, t)| dot(t, array(&back, &name.replacen("tangent", "gradient", 1)))).sum();
        let scale: f64 = found.iter().map(|(name, values)| norm(values) * norm(array(&inputs, &format!("cotangent.{name}")))).sum();
        assert!((left - right).abs() <= 1e-11 * scale, "{}: JVP gives {left}, VJP gives {right}", subject.name);

        if !subject.loss {
            continue;
        }
        // Gradient against differences of the loss, Hessian-vector product against differences of the gradient.
        let loss = subject.compile(Goal::Loss("l2".into()));
        let inputs = given(&loss.graph);
        let gradient = subject.compile(Goal::Gradient("l2".into()));
        let found = on_cpu(gradient.plan(), 1, &inputs);
        assert_equal(&vec![found[0].clone()], &on_reference(&loss.graph, &inputs), 1e-12, &format!("{}: value", subject.name));
        let slope = difference(&loss.graph, &inputs, &tangents, h)[0].1[0];
        let product: f64 = tangents.iter().map(|(name, t)| dot(t, array(&found, &name.replacen("tangent", "gradient", 1)))).sum();
        assert!((slope - product).abs() <= 1e-6 * product.abs(), "{}: <gradient, t> = {product}, differences give {slope}", subject.name);

        let hessian = subject.compile(Goal::HessianVector("l2".into()));
        let products = on_cpu(hessian.plan(), 1, &given(&hessian.graph));
        let slopes: Arrays =
            difference(&gradient.graph, &inputs, &tangents, h).into_iter().filter(|(name, _)| name.starts_with("gradient.")).collect();
        let products: Arrays = slopes.iter().map(|(name, _)| (name.clone(), array(&products, &format!("tangent.{name}")).to_vec())).collect();
        assert_equal(&products, &slopes, 1e-5, &format!("{}: HVP against differences of gradients", subject.name));
    }
}
