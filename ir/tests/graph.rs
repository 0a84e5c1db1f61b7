//! Graphs: types, builder, text and the verifier's rules.

mod common;

use common::Random;
use scatterc_ir::graph::{Node, Output};
use scatterc_ir::ops::{Attribute, pointwise, pointwise_table};
use scatterc_ir::scalar::Scalar;
use scatterc_ir::text::parse;
use scatterc_ir::types::{finest_scale, scale_bandlimit};
use scatterc_ir::verify::verify;
use scatterc_ir::{Builder, Graph, Linear, Op, Space, Type, Value};

const EXAMPLE: &str = "\
graph example {
  %0 = input x : [2] half(8)
  %1 = parameter P : [5] point
  %2 = hermitian_pack(%0) {L=8} : [2] coefficients(8)
  %3 = wigner_inverse(%2) {L_in=8, L=8, N=3, j=2} : [2,3] rings(8,8)
  %4 = ring_inverse(%3) {L=8, M=8} : [2,3] map(8)
  %5 = steer(%4) {N=3} : [2,5] map(8)
  %6 = abs(%5) : [2,5] map(8)
  %7 = mean(%6) {L=8} : [2,5] point
  %8 = reindex(%1) {from=[5], to=[2,5], map=[[0,1,0]]} : [2,5] point
  %9 = map(%7, %8) {f=div(a, sqrt(b))} : [2,5] point
  %10 = gather(%9) {n=5, table=[0,1,1,1,1,1,0..4]} : [2,10] point
  %11 = gather^H(%10) {n=5, table=[0,1,1,1,1,1,0..4]} : [2,5] point
  %12 = scale(%11) {by=-2.5e-3} : [2,5] point
  %13 = constant() {value=0.1} : [] point
  %14 = reindex(%13) {from=[], to=[2,3], map=[]} : [2,3] point
  %15 = concat(%12, %14) : [2,8] point
  return S1 = %9
  return all = %15
}
";

fn example() -> Graph {
    parse(EXAMPLE).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn text_round_trips_and_verifies() {
    let graph = example();
    assert_eq!(verify(&graph), Ok(()));
    let printed = graph.to_string();
    assert_eq!(parse(&printed), Ok(graph));
    assert_eq!(parse(&printed).map(|g| g.to_string()), Ok(printed.clone()));
    // Lists are printed with runs, whichever way they were written.
    assert!(printed.contains("table=[0,1*5,0..4]"), "{printed}");
}

#[test]
fn comments_spaces_and_empty_lines_do_not_matter() {
    let spaced: String = EXAMPLE.lines().map(|line| format!("   {line}   ; a comment\n\n; another\n")).collect();
    assert_eq!(parse(&spaced), Ok(example()));
}

#[test]
fn every_row_prints_and_parses() {
    for map in Linear::samples() {
        let signature = map.signature().expect("samples are valid");
        for adjoint in [false, true] {
            let side = if adjoint { &signature.range } else { &signature.domain };
            let space = if side.1 == Space::Any { Space::Map { L: 3 } } else { side.1 };
            let mut b = Builder::new("row");
            let x = b.input("x", Type::new([&[2], side.0.as_slice()].concat(), space)).expect("inputs type");
            let y = b.add(Op::Linear { map: map.clone(), adjoint }, &[x], None).unwrap_or_else(|e| panic!("{map:?}: {e}"));
            b.output("y", y);
            let graph = b.finish();
            assert_eq!(verify(&graph), Ok(()));
            assert_eq!(parse(&graph.to_string()), Ok(graph.clone()), "{graph}");
        }
        let given: Vec<(String, Attribute)> = map.attributes().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        assert_eq!(Linear::from_attributes(map.spelling(), &given), Some(Ok(map.clone())));
        assert!(Linear::SPELLINGS.contains(&map.spelling()));
        if let Some((name, _)) = given.first() {
            let missing = Linear::from_attributes(map.spelling(), &given[1..]).expect("the row exists").expect_err("an attribute is missing");
            assert!(missing.contains(map.spelling()) && missing.contains(name.as_str()), "{missing}");
        }
    }
    assert_eq!(Linear::from_attributes("no_such_row", &[]), None);
    for row in pointwise_table() {
        let mut b = Builder::new("row");
        let operands: Vec<Value> = (0..row.arity).map(|k| b.input(&format!("x{k}"), Type::new([3], Space::Point)).expect("inputs type")).collect();
        let y = b.add(Op::Pointwise(row.expression.clone()), &operands, None).expect("equal types");
        b.output("y", y);
        let graph = b.finish();
        assert!(graph.to_string().contains(&format!("= {}(", row.name)), "{graph}");
        assert_eq!(parse(&graph.to_string()), Ok(graph.clone()), "{graph}");
        assert_eq!(pointwise(row.name), Some(row));
    }
}

/// A graph with one line, the fault's line number in the text and what is said.
fn fault(line: &str, message: &str) {
    let text = format!("graph g {{\n  %0 = input x : [3] point\n  {line}\n}}\n");
    let error = parse(&text).expect_err(line);
    assert!(error.line == 3 && error.message.contains(message), "`{line}`: {error}");
    assert!(error.to_string().starts_with("line 3: "), "{error}");
}

#[test]
fn every_fault_of_a_text_names_its_line_and_what_was_expected() {
    fault("%1 = frobnicate(%0) : [3] point", "`frobnicate` is no op");
    fault("%2 = abs(%0) : [3] point", "expected %1, found %2");
    fault("%1 = abs(%1) : [3] point", "%1 is used before it is defined");
    fault("%1 = abs(%0 : [3] point", "expected `)`");
    fault("%1 = abs(0) : [3] point", "expected `%`");
    fault("%1 = abs(%x) : [3] point", "expected a number");
    fault("%1 = abs(%0) [3] point", "expected `:`");
    fault("%1 = abs(%0) : 3 point", "expected `[`");
    fault("%1 = abs(%0) : [3] plane(2)", "found `plane` with 1 sizes");
    fault("%1 = abs(%0) : [3] map", "found `map` with 0 sizes");
    fault("%1 = abs(%0) : [3] map(2,3)", "found `map` with 2 sizes");
    fault("%1 = abs(%0) : [0] point", "an axis must be from 1 to 2^31");
    fault("%1 = abs(%0) : [-3] point", "an axis must be from 1 to 2^31");
    fault("%1 = abs(%0) : [3] map(0)", "a bandlimit or size must be from 1 to 2^20");
    fault("%1 = abs(%0) : [3] map(99999999)", "a bandlimit or size must be from 1 to 2^20");
    fault("%1 = abs(%0) : [2000000000,2000000000] point", "is too large");
    fault("%1 = abs(%0) : [3] point junk", "unexpected `junk`");
    fault("%1 = abs^H(%0) : [3] point", "`abs` is not linear and has no adjoint");
    fault("%1 = scale(%0) {bye=2.0} : [3] point", "`scale` has no attribute `bye`; it has by");
    fault("%1 = scale(%0) : [3] point", "`scale` needs the attribute `by`");
    fault(
        "%1 = slice(%0) {n=3, start=-1, length=1} : [1] point",
        "attribute `start` of `slice`: expected a whole number from 0 to 2^31 - 1, found -1",
    );
    fault("%1 = gather(%0) {n=3, table=2} : [1] point", "expected a list of whole numbers, found 2");
    fault("%1 = gather(%0) {n=3, table=[0,-1]} : [2] point", "expected a list of whole numbers");
    fault("%1 = gather(%0) {n=3, table=[5..2]} : [2] point", "is empty or too long");
    fault("%1 = gather(%0) {n=3, table=[0..99999999999]} : [2] point", "is empty or too long");
    fault("%1 = gather(%0) {n=3, table=[0*99999999999]} : [2] point", "is too long");
    fault("%1 = gather(%0) {n=3, table=[1 2]} : [2] point", "expected `]`");
    fault("%1 = scale(%0) {by=x} : [3] point", "expected a number");
    fault("%1 = scale(%0) {by=2.0 : [3] point", "expected `}`");
    fault("%1 = constant() {value=[1]} : [] point", "`constant` needs the attribute `value`");
    fault("%1 = map(%0) {f=foo(a)} : [3] point", "`foo` is no scalar primitive");
    fault("%1 = map(%0) {g=a} : [3] point", "expected `f=`");
    fault("%1 = map(%0) {f=abs(a) : [3] point", "scalar expression");
    fault("%1 = input : [3] point", "expected a name");
    fault("return y", "expected `=`");
    fault("return y = %7", "%7 is used before it is defined");
    fault("nonsense", "expected `%`");
}

#[test]
fn a_graph_needs_its_head_and_its_end() {
    for (text, line, message) in [
        ("", 0, "does not end"),
        ("graph g {\n", 1, "does not end"),
        ("tree g {\n}\n", 1, "expected `graph`"),
        ("graph {\n}\n", 1, "expected a name"),
        ("graph g\n}\n", 1, "expected `{`"),
        ("graph g {\n}\nmore\n", 3, "after the closing brace"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.line == line && error.message.contains(message), "`{text}`: {error}");
    }
}

/// Rules broken by a graph, in order.
fn rules(graph: &Graph) -> Vec<&'static str> {
    verify(graph).err().unwrap_or_default().iter().map(|fault| fault.rule).collect()
}

#[test]
fn v1_operands_precede_users() {
    let mut graph = example();
    graph.nodes[6].operands[0] = Value(6);
    assert!(rules(&graph).contains(&"V1"), "{:?}", verify(&graph));
    graph.nodes[6].operands[0] = Value(4_000_000_000);
    assert!(rules(&graph).contains(&"V1"), "{:?}", verify(&graph));
}

#[test]
fn v2_the_type_of_a_node_is_what_its_op_makes_of_its_operands() {
    let mut graph = example();
    graph.nodes[7].ty = Type::new([2, 4], Space::Point);
    assert_eq!(rules(&graph)[0], "V2");
    let fault = verify(&graph).expect_err("the type is wrong").remove(0);
    assert_eq!(fault.to_string(), "V2 at %7: type is [2,4] point, expected [2,5] point");
    // Constraints of the op table.
    for (row, line) in [
        ("harmonic_forward C1", "harmonic_forward(%0) {L=4, M=4, L_out=5} : [] coefficients(5)"),
        ("reshape C1", "reshape(%0) {from=[2], to=[3]} : [3] point"),
        ("gather C1", "gather(%0) {n=2, table=[2]} : [1] point"),
        ("slice C1", "slice(%0) {n=2, start=1, length=2} : [2] point"),
        ("reindex", "reindex(%0) {from=[2], to=[2], map=[]} : [2] point"),
        ("wigner_inverse", "wigner_inverse(%0) {L_in=4, L=4, N=0, j=1} : [] rings(4,4)"),
        ("bandlimit", "mean(%0) {L=0} : [] point"),
        ("ring_inverse", "ring_inverse(%0) {L=4, M=5} : [] map(4)"),
        ("one operand", "mean(%0, %0) {L=4} : [] point"),
        ("at least one operand", "concat() : [2] point"),
    ] {
        let graph = parse(&format!("graph g {{\n%0 = input x : [2] point\n%1 = {line}\n}}")).unwrap_or_else(|e| panic!("{e}"));
        let faults = verify(&graph).expect_err(line);
        assert!(faults[0].rule == "V2" && faults[0].message.contains(row), "`{line}`: {}", faults[0]);
    }
}

#[test]
fn v3_inputs_have_no_operands_and_unique_names() {
    let mut graph = example();
    graph.nodes[1].op = Op::Parameter("x".into());
    assert_eq!(rules(&graph), ["V3"]);
    let mut graph = example();
    graph.nodes[1].operands = vec![Value(0)];
    assert_eq!(rules(&graph), ["V3"]);
}

#[test]
fn v4_outputs_exist_and_have_unique_names() {
    let mut graph = example();
    graph.outputs.push(Output { name: "more".into(), value: Value(99) });
    assert_eq!(rules(&graph), ["V4"]);
    let mut graph = example();
    graph.outputs[1].name = "S1".into();
    assert_eq!(rules(&graph), ["V4"]);
}

#[test]
fn v5_a_pointwise_node_has_the_operands_its_expression_needs() {
    let mut graph = example();
    graph.nodes[9].operands.pop();
    assert_eq!(rules(&graph), ["V5"]);
}

#[test]
fn v6_no_value_is_too_large() {
    let mut b = Builder::new("large");
    b.input("x", Type::new([1 << 30, 1 << 20], Space::Point)).expect("inputs state their type");
    b.input("y", Type::new([usize::MAX, usize::MAX], Space::Map { L: 8 })).expect("inputs state their type");
    assert_eq!(rules(&b.finish()), ["V6", "V6"]);
}

#[test]
fn the_verifier_collects_all_faults() {
    let mut graph = example();
    graph.nodes[1].op = Op::Parameter("x".into());
    graph.nodes[6].ty = Type::number();
    graph.outputs.push(Output { name: "more".into(), value: Value(99) });
    let found = rules(&graph);
    assert!(["V2", "V3", "V4"].iter().all(|rule| found.contains(rule)), "{found:?}");
}

#[test]
fn the_builder_shares_equal_nodes_and_drops_what_an_expression_does_not_use() {
    let mut b = Builder::new("shared");
    let ty = Type::new([3], Space::Point);
    let (x, y) = (b.input("x", ty.clone()).expect("types"), b.input("y", ty.clone()).expect("types"));
    let absolute = pointwise("abs").expect("a row").expression.clone();
    let first = b.pointwise(absolute.clone(), &[x]).expect("types");
    assert_eq!(b.pointwise(absolute, &[x]), Ok(first));
    let f = scatterc_ir::scalar::parse("add(mul(0.0, b), mul(a, c))").expect("parses");
    let product = b.pointwise(f, &[x, y, x]).expect("types");
    assert_eq!(
        b.graph().node(product),
        &Node { op: Op::Pointwise(pointwise("square").expect("a row").expression.clone()), operands: vec![x], ty: ty.clone() }
    );
    assert_eq!(b.pointwise(Scalar::Argument(1), &[x, y]), Ok(y));
    let constant = b.pointwise(Scalar::Constant(2.0), &[x]).expect("types");
    assert_eq!(b.ty(constant), &ty);
    assert_eq!(b.concat(&[x]), Ok(x));
    let error = b.pointwise(pointwise("add").expect("a row").expression.clone(), &[x, constant]);
    assert!(error.is_ok());
    let number = b.constant(1.0).expect("types");
    let error = b.pointwise(pointwise("add").expect("a row").expression.clone(), &[x, number]).expect_err("types differ");
    assert!(error.to_string().contains("[] point") && error.to_string().contains("[3] point"), "{error}");
}

#[test]
fn users_are_listed_once_and_in_order() {
    let graph = parse("graph g {\n%0 = input x : [3] point\n%1 = abs(%0) : [3] point\n%2 = mul(%0, %0) : [3] point\n}").expect("parses");
    assert_eq!(graph.users(), [vec![Value(1), Value(2)], vec![], vec![]]);
}

#[test]
fn lengths_and_scales_follow_their_formulas() {
    for L in 1..20 {
        let index = |ell: usize, m: usize| m * (2 * L - 1 - m) / 2 + ell;
        assert_eq!(Space::Coefficients { L }.len(), 2 * (index(L - 1, L - 1) + 1));
        assert_eq!(Space::Map { L }.len(), L * (2 * L - 1));
        assert_eq!(Space::Full { L }.len(), 2 * L * (2 * L - 1));
        // Every degree below L lies below the bandlimit of the finest scale.
        assert_eq!(scale_bandlimit(L, finest_scale(L)), L);
    }
    assert_eq!([1, 2, 3, 4, 5, 8, 9, 256, 257].map(finest_scale), [0, 1, 2, 2, 3, 3, 4, 8, 9]);
    assert_eq!([0, 1, 2, 3, 200].map(|j| scale_bandlimit(100, j)), [4, 4, 8, 16, 100]);
}

#[test]
fn mutated_texts_never_panic() {
    let mut random = Random(5);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let text = random.mutated(EXAMPLE);
        if let Ok(graph) = parse(&text) {
            accepted += 1;
            let faults = verify(&graph);
            // What is printed is read back, NaN aside, which equals nothing.
            let printed = graph.to_string();
            if faults.is_ok() {
                assert_eq!(parse(&printed).map(|g| g.to_string()), Ok(printed), "{text}");
            }
        }
    }
    assert!(accepted > 100, "only {accepted} mutated texts are graphs; the mutations are too coarse");
}

/// Found by fuzzing: the axes of a reshape multiplied to more than a whole number holds.
#[test]
fn sizes_whose_product_overflows_are_faults() {
    let reshape =
        |to: &str| format!("graph g {{\n  %0 = input x : [2,2] point\n  %1 = reshape(%0) {{from=[2,2], to={to}}} : [4] point\n  return y = %1\n}}\n");
    for to in ["[40*65536]", "[65536, 65536, 65536, 65536]", "[5]"] {
        let graph = scatterc_ir::text::parse(&reshape(to)).expect("a graph");
        let faults = scatterc_ir::verify::verify(&graph).expect_err("no such reshape");
        assert!(faults.iter().any(|fault| fault.to_string().contains("different products")), "{faults:?}");
    }
    assert!(scatterc_ir::types::Type::new([1 << 40, 1 << 40], scatterc_ir::Space::Full { L: 1 << 31 }).len() == usize::MAX);
}
