//! Scalar expressions: values, derivatives, simplification and text.

mod common;

use common::Random;
use scatterc_ir::scalar::{self, BINARY, Binary, Scalar, UNARY, Unary, binary, parse, unary};

use Scalar::{Argument, Constant};

/// A random expression of three arguments.
fn expression(random: &mut Random, depth: usize) -> Scalar {
    if depth == 0 || random.below(6) == 0 {
        return if random.below(3) == 0 { Constant((random.below(17) as f64 - 8.0) / 4.0) } else { Argument(random.below(3)) };
    }
    if random.below(3) == 0 {
        Scalar::Unary(UNARY[random.below(UNARY.len())].1, Box::new(expression(random, depth - 1)))
    } else {
        let op = BINARY[random.below(BINARY.len())].1;
        Scalar::Binary(op, Box::new(expression(random, depth - 1)), Box::new(expression(random, depth - 1)))
    }
}

#[test]
fn text_round_trips() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let f = expression(&mut random, 5);
        assert_eq!(parse(&f.to_string()), Ok(f));
    }
    for x in [0.0, -0.0, 1e300, -1e-300, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1.0 / 3.0, f64::MIN_POSITIVE, 5e-324] {
        let f = Constant(x);
        assert_eq!(parse(&f.to_string()).map(|f| f.to_string()), Ok(f.to_string()));
    }
    assert_eq!(parse("a30"), Ok(Argument(30)));
    // The last letter, the first number, the last number.
    for k in [25, 26, 30, 4095] {
        assert_eq!(parse(&Argument(k).to_string()), Ok(Argument(k)));
    }
    assert_eq!(parse(" add( a ,b ) "), Ok(Scalar::Binary(Binary::Add, Box::new(Argument(0)), Box::new(Argument(1)))));
}

#[test]
fn faults_of_text_say_what_was_expected() {
    let faults = [
        ("", "expected a number, an argument or a primitive, found ``"),
        ("add(a)", "expected `,`"),
        ("add(a, b", "expected `)`"),
        ("sqrt(a, b)", "expected `)`"),
        ("frobnicate(a)", "`frobnicate` is no scalar primitive"),
        ("a b", "unexpected `b`"),
        ("a9999999", "is no argument"),
        ("a4096", "is no argument"),
        ("a+5", "expected a number"),
        ("infinity", "expected a number"),
        ("add(, b)", "expected a number"),
    ];
    for (text, expected) in faults {
        let found = parse(text).expect_err(text);
        assert!(found.contains(expected), "`{text}`: {found}");
    }
    for (open, close) in [("neg(", ")"), ("add(", ", a)"), ("add(a, ", ")")] {
        let nested = |depth: usize| parse(&format!("{}a{}", open.repeat(depth), close.repeat(depth)));
        assert!(nested(200).is_ok(), "{open}");
        for depth in [201, 5000] {
            assert!(nested(depth).expect_err("too deep").contains("200 deep"), "{open}");
        }
    }
}

#[test]
fn junk_never_panics() {
    let mut random = Random(2);
    for k in 0..20_000 {
        let f = expression(&mut random, 4).to_string();
        let text = random.mutated(&f);
        if let Ok(f) = parse(&text) {
            // What is accepted prints and parses again.
            let printed = f.to_string();
            assert_eq!(parse(&printed).map(|f| f.to_string()), Ok(printed), "{k}: {text}");
        }
    }
}

#[test]
fn values_follow_the_definitions() {
    let at = |text: &str, x: &[f64]| parse(text).expect(text).evaluate(x);
    assert_eq!(at("sub(mul(a, b), div(a, b))", &[6.0, 2.0]), 9.0);
    assert_eq!(at("safe_div(a, b)", &[6.0, 0.0]), 0.0);
    assert_eq!(at("safe_div(a, b)", &[6.0, -0.0]), 0.0);
    assert_eq!(at("div(a, b)", &[6.0, 0.0]), f64::INFINITY);
    assert_eq!(at("add(sign(a), mul(10.0, sign(b)))", &[-2.0, 0.0]), -1.0);
    assert_eq!(at("greater(a, b)", &[1.0, 1.0]), 0.0);
    assert_eq!(at("add(min(a, b), mul(10.0, max(a, b)))", &[1.0, 2.0]), 21.0);
    assert_eq!(at("atan2(a, b)", &[1.0, 0.0]), std::f64::consts::FRAC_PI_2);
    assert_eq!(at("pow(a, b)", &[2.0, -2.0]), 0.25);
    assert!(at("sign(a)", &[f64::NAN]).is_nan());
    // Zero keeps its sign; of equal numbers the second is taken.
    assert!(at("sign(a)", &[-0.0]).is_sign_negative());
    assert!(at("min(a, b)", &[0.0, -0.0]).is_sign_negative() && at("max(a, b)", &[0.0, -0.0]).is_sign_negative());
    assert_eq!(parse("neg(exp(a))").expect("parses").cost(), 2);
    let f = parse("add(c, mul(2.0, c))").expect("parses");
    assert_eq!((f.arity(), f.cost(), f.uses(2), f.uses(0)), (3, 2, true, false));
}

/// True where every part of the expression is finite and not zero: simplification may change the sign of a zero, on which division and angles depend.
fn regular(f: &Scalar, x: &[f64]) -> bool {
    let value = f.evaluate(x);
    value.is_finite()
        && value != 0.0
        && match f {
            Argument(_) | Constant(_) => true,
            Scalar::Unary(_, a) => regular(a, x),
            Scalar::Binary(_, a, b) => regular(a, x) && regular(b, x),
        }
}

#[test]
fn simplification_keeps_every_finite_value() {
    let mut random = Random(3);
    let mut compared = 0;
    for _ in 0..4000 {
        let f = expression(&mut random, 4);
        let simple = f.simplified();
        assert!(simple.cost() <= 2 * f.cost() + 8, "{f} became {simple}");
        let x: Vec<f64> = (0..3).map(|_| random.number()).collect();
        let (a, b) = (f.evaluate(&x), simple.evaluate(&x));
        if regular(&f, &x) {
            // Reordered constants round differently; the functions between them magnify that by moderate factors.
            assert!((a - b).abs() <= 1e-11 * a.abs().max(1.0), "{f} = {a}, {simple} = {b} at {x:?}");
            compared += 1;
        }
    }
    assert!(compared > 1000, "only {compared} expressions were regular");
}

#[test]
fn simplifications_that_fusion_relies_on() {
    let simple = |text: &str| parse(text).expect(text).simplified().to_string();
    for (given, expected) in [
        ("pow(abs(a), 2.0)", "mul(a, a)"),
        ("mul(abs(a), abs(a))", "mul(a, a)"),
        ("mul(abs(a), abs(b))", "mul(abs(a), abs(b))"),
        ("mul(sqrt(a), sqrt(a))", "a"),
        ("mul(sqrt(a), sqrt(b))", "mul(sqrt(a), sqrt(b))"),
        ("pow(sqrt(add(mul(a, a), mul(b, b))), 2.0)", "add(mul(a, a), mul(b, b))"),
        ("pow(a, 0.5)", "sqrt(a)"),
        ("pow(a, 1.0)", "a"),
        ("pow(a, 0.0)", "1.0"),
        ("pow(a, -1.0)", "div(1.0, a)"),
        ("pow(a, 3.0)", "mul(a, mul(a, a))"),
        ("pow(a, 2.0)", "mul(a, a)"),
        ("pow(a, -3.0)", "pow(a, -3.0)"),
        ("pow(a, 2.5)", "pow(a, 2.5)"),
        ("pow(a, 9.0)", "pow(a, 9.0)"),
        ("mul(a, 1.0)", "a"),
        ("mul(1.0, a)", "a"),
        ("mul(a, 2.0)", "mul(2.0, a)"),
        ("sub(0.0, a)", "neg(a)"),
        ("add(0.0, a)", "a"),
        ("sub(a, 0.0)", "a"),
        ("mul(0.0, exp(a))", "0.0"),
        ("mul(exp(a), 0.0)", "0.0"),
        ("div(0.0, a)", "0.0"),
        ("mul(2.0, mul(3.0, a))", "mul(6.0, a)"),
        ("div(a, 4.0)", "mul(0.25, a)"),
        ("div(a, 3.0)", "div(a, 3.0)"),
        // The reciprocal would round, or overflow.
        ("div(a, 16.000000000000004)", "div(a, 16.000000000000004)"),
        ("div(a, 5e-324)", "div(a, 5e-324)"),
        ("abs(abs(neg(a)))", "abs(a)"),
        ("neg(neg(a))", "a"),
        ("add(1.0, exp(0.0))", "2.0"),
    ] {
        assert_eq!(simple(given), expected, "{given}");
    }
}

#[test]
fn derivatives_agree_with_differences() {
    let smooth = [Unary::Negate, Unary::Exponential, Unary::Sine, Unary::Cosine, Unary::Absolute, Unary::SquareRoot, Unary::Logarithm];
    for op in smooth {
        check(&Scalar::Unary(op, Box::new(Argument(0))), &[0.7]);
    }
    for (_, op) in BINARY {
        let f = Scalar::Binary(*op, Box::new(Argument(0)), Box::new(Argument(1)));
        check(&f, &[0.7, 1.3]);
        check(&f, &[1.3, 0.7]);
    }
    let composed = [
        "mul(exp(sin(a)), pow(add(1.0, mul(b, b)), a))",
        "atan2(mul(a, b), add(2.0, cos(c)))",
        "sqrt(add(mul(a, a), mul(b, b)))",
        "safe_div(log(a), max(b, c))",
    ];
    let mut random = Random(4);
    for text in composed {
        for _ in 0..20 {
            let x: Vec<f64> = (0..3).map(|_| 1.5 + random.number()).collect();
            check(&parse(text).expect(text), &x);
        }
    }
}

/// All partial derivatives against central differences of fourth order.
fn check(f: &Scalar, x: &[f64]) {
    let h = 1e-4;
    for k in 0..f.arity() {
        let at = |by: f64| {
            let mut y = x.to_vec();
            y[k] += by;
            f.evaluate(&y)
        };
        let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        let exact = f.derivative(k).evaluate(x);
        assert!((numeric - exact).abs() <= 1e-9 * exact.abs().max(1.0), "d({f})/d{k} at {x:?} is {exact}, differences give {numeric}");
    }
    assert_eq!(f.derivative(f.arity()), Constant(0.0), "{f} does not depend on argument {}", f.arity());
}

#[test]
fn derivatives_at_the_corners_are_those_documented() {
    let slope = |text: &str, x: &[f64]| parse(text).expect(text).derivative(0).evaluate(x);
    assert_eq!(slope("abs(a)", &[0.0]), 0.0);
    assert_eq!(slope("sqrt(a)", &[0.0]), 0.0);
    assert_eq!(slope("sqrt(add(mul(a, a), mul(b, b)))", &[0.0, 0.0]), 0.0);
    assert_eq!(slope("sign(a)", &[0.0]), 0.0);
    assert_eq!(slope("greater(a, b)", &[1.0, 0.0]), 0.0);
    assert_eq!(slope("atan2(a, b)", &[0.0, 0.0]), 0.0);
    assert_eq!(slope("max(a, 0.0)", &[-1.0]), 0.0);
    assert_eq!(slope("max(a, 0.0)", &[1.0]), 1.0);
}

#[test]
fn constructors_fold_constants() {
    assert_eq!(unary(Unary::SquareRoot, Constant(4.0)), Constant(2.0));
    assert_eq!(binary(Binary::Power, Constant(2.0), Constant(3.0)), Constant(8.0));
    let f = scalar::parse("add(mul(a, b), c)").expect("parses");
    assert_eq!(f.substitute(&[Constant(2.0), Argument(0), Constant(0.0)]).to_string(), "mul(2.0, a)");
}
