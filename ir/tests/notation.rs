//! The notation: what it accepts, what it says about the rest, and that its text round-trips.

use scatterc_ir::notation::NotationErrorKind::{self, Arity, Index, Limit, Name, Return, Syntax, Value};
use scatterc_ir::notation::{
    BinaryOperator, Checked, ExprKind, IndexKind, Item, MAXIMUM_DEPTH, MAXIMUM_SOURCE_BYTES, NotationErrors, Program, ValueKind, Vocabulary, check,
    check_source, parse, parse_checked, parse_conditions,
};

const S2SCAT: &str = "\
// Scattering covariances on the sphere, exactly as S2SCAT defines them.
statistic s2scat(x; delta = inf, P[j, g] = 1) {
    W[j, g]       = wavelet(x, j, g);
    N[i, h, j, g] = wavelet(abs(W[i, h]), j, g)               where j < i, i - j <= delta;
    mean          = abs(mean(x));
    variance      = var(x);
    S1[j, g]      = mean(abs(W[j, g])) / sqrt(P[j, g]);
    S2[j, g]      = mean(abs(W[j, g])^2) / P[j, g];
    S3[j, i, h, g] = re(integral(conj(N[i, h, j, g]) * W[j, g])) / (sqrt(P[j, h]) * sqrt(P[j, g]));
    S4[j, i, k, h, l, g] = re(integral(N[i, h, j, g] * conj(N[k, l, j, g]))) / (sqrt(P[j, h]) * sqrt(P[j, l]));
    S3iso[j, i]    = sum{h, g}(S3[j, i, h, g]);
    S4iso[j, i, k] = sum{h, l, g}(S4[j, i, k, h, l, g]);
    return mean, variance, S1, S2, S3, S4;
    return isotropic: mean, variance, S1, S2, S3 = S3iso, S4 = S4iso;
}
loss l2(S, T) = mean(abs(S - T)^2);
";

const S2SCAT_CANONICAL: &str = "\
// Scattering covariances on the sphere, exactly as S2SCAT defines them.
statistic s2scat(x; delta = inf, P[j, g] = 1) {
    W[j, g] = wavelet(x, j, g);
    N[i, h, j, g] = wavelet(abs(W[i, h]), j, g) where j < i, i - j <= delta;
    mean = abs(mean(x));
    variance = var(x);
    S1[j, g] = mean(abs(W[j, g])) / sqrt(P[j, g]);
    S2[j, g] = mean(abs(W[j, g])^2) / P[j, g];
    S3[j, i, h, g] = re(integral(conj(N[i, h, j, g]) * W[j, g])) / (sqrt(P[j, h]) * sqrt(P[j, g]));
    S4[j, i, k, h, l, g] = re(integral(N[i, h, j, g] * conj(N[k, l, j, g]))) / (sqrt(P[j, h]) * sqrt(P[j, l]));
    S3iso[j, i] = sum{h, g}(S3[j, i, h, g]);
    S4iso[j, i, k] = sum{h, l, g}(S4[j, i, k, h, l, g]);
    return mean, variance, S1, S2, S3, S4;
    return isotropic: mean, variance, S1, S2, S3 = S3iso, S4 = S4iso;
}

loss l2(S, T) = mean(abs(S - T)^2);
";

const COVARIANCE: &str = "\
// Scattering covariances of a field and their isotropic reduction.
statistic covariance(x) {
    W[j, g]        = wavelet(x, j, g);
    N[i, h, j, g]  = wavelet(abs(W[i, h]), j, g)                where j < i;
    S1[j, g]       = mean(abs(W[j, g]));
    S2[j, g]       = mean(abs(W[j, g])^2);
    S3[j, i, h, g] = cov(W[j, g], N[i, h, j, g]);
    S4[j, i, k, h, l, g] = cov(N[i, h, j, g], N[k, l, j, g]);
    S3iso[j, i, d] = mean{g}(S3[j, i, g + d, g]);               // cyclic direction arithmetic
    return S1, S2, S3iso, S4;
}
";

const EVERYTHING: &str = "\
/// Every construct at least once.
#[doc = \"  A second line.\"]
statistic all(x, y; delta, limit = 2 * -3, c = -inf, P[j, g] = pi / 2) {
    /// Not kept.
    W[j, g] = wavelet(x, j, g);
    V[j, d, g] = wavelet(abs(W[j + 1, g - d]) + relu(y), j, 2*g - d + 1)
        where j >= 0, j <= 3, j > delta - 1, 2*d != g, d == g, 0 < delta + j;
    low = lowpass(x);
    lower[j] = lowpass(abs(W[j, 0]), j - 1);
    scaling[j] = 2^-j * 2^(j^2)^3;
    smallest = min{j, g}(power(W[j, g]) * P[j, g]) + max{j}(scaling[j]);
    H[j, i, g] = cov(harmonic(W[j, g], 2^(i - j)), W[i, g]) - (1 - (2 - 3)) - -1 / (2 / 3) / 1.5e-30;
    return low, smallest;
    return rest: V, lower, H = H;
}

//  A loss with weights.
loss weighted(S, T, w) = sum(w * (S - T)^2) / sum(w) + max(abs(S)) * 1e-3;
";

fn standard(source: &str) -> Result<Checked, NotationErrors> {
    check_source(source, "", &Vocabulary::standard())
}

fn parsed(source: &str) -> Program {
    parse(source, "test").expect("the source parses")
}

/// A statement in a statistic with a field, a number, an array and wavelet coefficients; it starts at 3:5.
fn body(statement: &str) -> String {
    format!("statistic s(x; d = 2, P[j, g] = 1) {{\n    W[j, g] = wavelet(x, j, g);\n    {statement}\n    return W;\n}}\n")
}

/// A statement in a statistic with a field and wavelet coefficients; it starts at 3:5.
fn plain(statement: &str) -> String {
    format!("statistic s(x) {{\n    W[j, g] = wavelet(x, j, g);\n    {statement}\n    return W;\n}}\n")
}

/// The text that a caret of `render` underlines.
fn underlined(rendered: &str) -> String {
    let lines: Vec<&str> = rendered.lines().collect();
    let start = lines[4].find('^').expect("a fault with a place has a caret");
    let width = lines[4][start..].chars().take_while(|&character| character == '^').count();
    lines[3].chars().skip(start).take(width).collect()
}

fn assert_faults(source: impl AsRef<str>, expected: &[(NotationErrorKind, &str, &str)]) {
    let source = source.as_ref();
    let errors = standard(source).expect_err("the source has a fault").errors;
    let found: Vec<_> = errors.iter().map(|error| (error.kind, underlined(&error.render(source, "s.scat")), error.to_string())).collect();
    let found: Vec<_> = found.iter().map(|(kind, token, line)| (*kind, token.as_str(), line.as_str())).collect();
    assert_eq!(found, expected);
}

/// One test per row: a source, and for each fault its kind, the underlined text and the line that is shown.
macro_rules! faults {
    ($($name:ident: $source:expr => [$($fault:expr,)*];)*) => {
        mod faults {
            use super::*;
            $(
                #[test]
                fn $name() {
                    assert_faults($source, &[$($fault,)*]);
                }
            )*
        }
    };
}

#[test]
fn the_example_checks() {
    let checked = standard(S2SCAT).expect("the example is well formed");
    let statistic = &checked.statistics[0];
    use IndexKind::{Direction, Scale};
    assert_eq!(statistic.parameter_kinds, [vec![], vec![Scale, Direction]]);
    assert_eq!(statistic.definition_kinds[1], [Scale, Direction, Scale, Direction]);
    assert_eq!(statistic.definition_kinds[7], [Scale, Scale, Scale, Direction, Direction, Direction]);
    assert_eq!(statistic.definition_kinds[9], [Scale, Scale, Scale]);
    let bound = ["h", "l", "g"].map(|name| (name.to_owned(), Direction));
    assert_eq!(statistic.bound_kinds[9], bound);
    assert_eq!(statistic.value_kinds[..3], [ValueKind::Field, ValueKind::Field, ValueKind::Number]);
    assert_eq!(statistic.statistic.docs, "Scattering covariances on the sphere, exactly as S2SCAT defines them.");
    assert_eq!(checked.losses[0].loss.name.name, "l2");
}

#[test]
fn other_programs_check() {
    for source in [COVARIANCE, EVERYTHING, "", "// Nothing but a comment.\n", "//! About the file.\n/* and more */"] {
        if let Err(errors) = standard(source) {
            panic!("{}", errors.render(source, "test"));
        }
    }
}

#[test]
fn kinds_follow_from_later_use() {
    let source = plain("A[k] = 2^k; C[k, i] = A[k] where k < i; D[j, i] = C[j, i] * mean(W[j, 0]);");
    let checked = standard(&source).expect("the kind of k follows from D");
    assert_eq!(checked.statistics[0].definition_kinds[2], [IndexKind::Scale, IndexKind::Scale]);
}

#[test]
fn text_is_canonical() {
    assert_eq!(parsed(S2SCAT).to_string(), S2SCAT_CANONICAL);
    assert_eq!(parse_checked(S2SCAT_CANONICAL), parsed(S2SCAT));
}

#[test]
fn text_round_trips() {
    for source in [S2SCAT, COVARIANCE, EVERYTHING] {
        let program = parsed(source);
        let text = program.to_string();
        assert_eq!(parsed(&text), program, "{text}");
        assert_eq!(parsed(&text).to_string(), text);
    }
}

#[test]
fn expressions_round_trip_with_as_few_brackets_as_possible() {
    let expressions = [
        ("-x^2", "-x^2"),
        ("(-x)^2", "(-x)^2"),
        ("-(x^2)", "-x^2"),
        ("2^3^4", "2^3^4"),
        ("(2^3)^4", "(2^3)^4"),
        ("2^(3^4)", "2^3^4"),
        ("2^-x", "2^-x"),
        ("2^-x^2", "2^-x^2"),
        ("2^(-x)*y", "2^-x * y"),
        ("2^(x*y)", "2^(x * y)"),
        ("1-2-3", "1 - 2 - 3"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("1-(2+3)", "1 - (2 + 3)"),
        ("1/2/3", "1 / 2 / 3"),
        ("1/(2/3)", "1 / (2 / 3)"),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("1+2*3", "1 + 2 * 3"),
        ("--x", "--x"),
        ("-(a*b)", "-(a * b)"),
        ("-a*b", "-a * b"),
        ("a*-b", "a * -b"),
        ("a - -b", "a - -b"),
        ("a-(-b)", "a - -b"),
        ("((((x))))", "x"),
        ("inf - pi", "inf - pi"),
        ("3.141592653589793", "pi"),
        ("0.1", "0.1"),
        ("1_000.50", "1000.5"),
        ("1e300", "1e300"),
        ("2.5E-7", "2.5e-7"),
        ("123456789012345678", "1.2345678901234568e17"),
        ("1.", "1"),
        ("W[g + d - 1 - h, 0, -g, 1 + j, 2*(g - 3), g*2]", "W[g + d - h - 1, 0, -g, j + 1, 2*g - 6, 2*g]"),
        ("sum{ i , j }( x )", "sum{i, j}(x)"),
        ("f( x , y )", "f(x, y)"),
        ("(x + y)^(1/2)", "(x + y)^(1 / 2)"),
    ];
    for (source, canonical) in expressions {
        let program = parsed(&format!("loss l(S, T) = {source};"));
        assert_eq!(program.to_string(), format!("loss l(S, T) = {canonical};\n"));
        assert_eq!(parsed(&program.to_string()), program, "{source}");
    }
}

#[test]
fn power_binds_tighter_than_the_minus_on_its_left() {
    let program = parsed("loss l(S, T) = -S^2;");
    let Item::Loss(loss) = &program.items[0] else { panic!("a loss") };
    let ExprKind::Negate(power) = &loss.value.kind else { panic!("a minus: {:?}", loss.value) };
    assert!(matches!(&power.kind, ExprKind::Binary { operator: BinaryOperator::Power, .. }));
}

#[test]
fn comments_in_front_of_an_item_are_its_documentation() {
    let source = "// Not this one.\n\n  //  Two\n  //\n  // lines.   \n  statistic s(x) { }\n// Of l.\r\nloss l(S, T) = 1; loss m(S, T) = 1;\n\
                  // Not this one.\n/// But this,\n/** and\n this. */\nloss n(S, T) = 1;\n";
    let program = parsed(source);
    let docs: Vec<&str> = program
        .items
        .iter()
        .map(|item| match item {
            Item::Statistic(statistic) => statistic.docs.as_str(),
            Item::Loss(loss) => loss.docs.as_str(),
            Item::Filter(filter) => filter.docs.as_str(),
        })
        .collect();
    assert_eq!(docs, [" Two\n\nlines.", "Of l.", "", "But this,\nand\nthis."]);
    assert_eq!(parsed(&program.to_string()), program);
}

#[test]
fn numbers_of_defaults_are_folded() {
    let program = parsed(EVERYTHING);
    let statistic = program.statistics().next().expect("one statistic");
    let defaults: Vec<Option<f64>> =
        statistic.parameters.iter().map(|parameter| parameter.default.as_ref().and_then(|default| default.constant_value())).collect();
    assert_eq!(defaults, [None, Some(-6.0), Some(f64::NEG_INFINITY), Some(std::f64::consts::FRAC_PI_2)]);
}

#[test]
fn rendering_shows_the_line_and_a_caret() {
    let source = "// Two lines of comment,\nstatistic s2(x) {\n    W[j,g] = wavlet(x, j, g);\n    return W;\n}\n";
    let errors = standard(source).expect_err("wavlet is no function");
    let expected = "\
error: `wavlet` is not a function
 --> s2.scat:3:14
  |
3 |     W[j,g] = wavlet(x, j, g);
  |              ^^^^^^ did you mean `wavelet`?
";
    assert_eq!(errors.render(source, "s2.scat"), expected);
}

#[test]
fn rendering_keeps_tabs_wide_gutters_and_other_scripts_aligned() {
    let source = format!("{}statistic s(x) {{\n\tδ = é;\n}}\n", "\n".repeat(9));
    let errors = standard(&source).expect_err("é is not defined").errors;
    let expected = "error: `é` is not defined\n  --> a:11:6\n   |\n11 | \tδ = é;\n   | \t    ^ in scope: x\n";
    assert_eq!(errors[1].render(&source, "a"), expected);
}

#[test]
fn rendering_cuts_long_lines() {
    let source = format!("statistic s(x) {{ A = {}y; return A; }}", "x + ".repeat(100));
    let errors = standard(&source).expect_err("y is not defined");
    let rendered = errors.render(&source, "long");
    assert!(rendered.lines().all(|line| line.chars().count() < 180), "{rendered}");
    assert_eq!(underlined(&rendered), "y");
}

#[test]
fn the_origin_is_in_the_error() {
    let error = parse("statistic", "some/file.scat").expect_err("a name is missing");
    assert!(error.to_string().starts_with("some/file.scat:1:1: expected"), "{error}");
    let errors = check_source(&plain("A = B;"), "b.scat", &Vocabulary::standard()).expect_err("B is not defined");
    assert!(errors.to_string().starts_with("b.scat:3:9: `B` is not defined"), "{errors}");
}

#[test]
fn other_pointwise_functions_can_be_given() {
    let vocabulary = Vocabulary::new(&[("cube", 1, "cube(a): a^3")]);
    let program = parsed("statistic s(x) { A = mean(cube(x)); return A; }");
    assert!(check(&program, &vocabulary).is_ok());
    assert!(check(&program, &Vocabulary::standard()).is_err());
}

#[test]
fn every_function_is_documented_and_can_be_called() {
    for function in Vocabulary::standard().functions {
        assert!(function.documentation.starts_with(&format!("{}(", function.name)), "{}", function.name);
        for arity in function.minimum_arity..=function.maximum_arity {
            let arguments = ["x", "x", "0"];
            let arguments: Vec<&str> = (0..arity)
                .map(|place| match function.signature.argument(place) {
                    scatterc_ir::notation::Argument::Scale | scatterc_ir::notation::Argument::Direction => "0",
                    _ => arguments[place],
                })
                .collect();
            let call = format!("{}({})", function.name, arguments.join(", "));
            assert!(standard(&plain(&format!("A = {call};"))).is_ok(), "{call}");
        }
    }
}

#[test]
fn conditions_are_read_alone() {
    let text = |source: &str| parse_conditions(source, "c").map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(text("j<i , i-j<=2"), Ok(vec!["j < i".to_string(), "i - j <= 2".to_string()]));
    for (source, said) in [
        ("", "expected an expression, found the end of the text"),
        ("j", "expected a comparison like `<`, found the end of the text"),
        ("j < 2;", "expected `,` or an operator, found `;`"),
        ("j < 2 i < 3", "expected `,` or an operator, found `i`"),
        ("(j < 2", "`(` is never closed"),
        ("i < j < k", "a condition has one comparison; write `i < j, j < k` for a chain"),
    ] {
        assert_eq!(parse_conditions(source, "").expect_err(source).text(), said);
    }
    assert_eq!(parse_conditions(&"(".repeat(1000), "").expect_err("too deep").kind, Syntax);
    assert_eq!(parse_conditions(&" ".repeat(MAXIMUM_SOURCE_BYTES + 1), "").expect_err("too large").kind, Limit);
}

#[test]
fn indices_at_one_place_are_bounded() {
    let indices: Vec<String> = (0..10).map(|k| (0..31).map(|n| format!("a{k}_{n}")).collect::<Vec<_>>().join(", ")).collect();
    let text = indices.iter().fold("mean(W[0, 0])".to_string(), |inner, names| format!("sum{{{names}}}({inner})"));
    let errors = standard(&plain(&format!("A = {text};"))).expect_err("too many indices").errors;
    let limit = errors.iter().find(|error| error.kind == Limit).expect("a limit");
    assert!(limit.message.starts_with("more than ") && limit.message.ends_with(" indices at one place"), "{limit}");
}

/// Where a fault has a fix, it says it: these are all families of faults without one.
#[test]
fn faults_without_help_are_those_of_the_grammar_and_of_limits() {
    let table = include_str!("notation.rs").split("faults! {").last().expect("the table");
    let rows: Vec<&str> = table.lines().map(str::trim).filter(|line| line.starts_with('(') && line.ends_with("),")).collect();
    let without: Vec<&&str> = rows.iter().filter(|row| !row.starts_with("(Syntax") && !row.starts_with("(Limit") && !row.contains("; ")).collect();
    assert!(rows.len() > 130 && without.is_empty(), "{} rows, without help: {without:#?}", rows.len());
}

#[test]
fn large_texts_are_refused() {
    let source = " ".repeat(MAXIMUM_SOURCE_BYTES + 1);
    assert_eq!(parse(&source, "large").expect_err("too large").kind, Limit);
    assert!(parse(&source[1..], "largest").is_ok());
}

#[test]
fn deep_nesting_is_refused_and_the_limit_is_usable() {
    let depth = MAXIMUM_DEPTH as usize;
    let nested = |open: &str, close: &str, levels: usize| format!("loss l(S, T) = mean({}S{});", open.repeat(levels), close.repeat(levels));
    let forms = [("(", ")"), ("-", ""), ("2^", ""), ("S + ", ""), ("abs(", ")"), ("S*(1+2^", ")"), ("sum{i}(", ")"), ("W[", "]"), ("{", "}")];
    for (open, close) in forms {
        for levels in [depth, 10 * depth, 100 * depth] {
            let error = parse(&nested(open, close, levels), "deep");
            let kind = error.map(|_| ()).map_err(|error| error.kind);
            // Brackets that the grammar does not nest may be found out first.
            assert!(matches!(kind, Err(Limit | Syntax)), "{open} {levels}: {kind:?}");
        }
    }
    for (open, close) in [("(", ")"), ("-", ""), ("2^", ""), ("S + ", ""), ("abs(", ")"), ("(1+2^-", ")"), ("min(S, 1 - ", ")")] {
        let levels = if open.len() > 5 { depth / 3 } else { depth - 5 };
        let source = nested(open, close, levels);
        let program = parsed(&source);
        assert_eq!(parsed(&program.to_string()), program, "{open}");
        assert!(check(&program, &Vocabulary::standard()).is_ok(), "{open}");
    }
}

#[test]
fn long_names_are_refused() {
    let name = "a".repeat(256);
    assert_eq!(parse(&format!("statistic {name}(x) {{ }}"), "long").expect_err("too long").kind, Limit);
    assert!(parse(&format!("statistic {}(x) {{ }}", &name[1..]), "long").is_ok());
}

#[test]
fn faults_are_bounded_in_number_and_time() {
    let many = |statement: &dyn Fn(usize) -> String| plain(&(0..20_000).map(statement).collect::<String>());
    let sources = [
        many(&|number| format!("A{number} = mean(undefined{number});")),
        many(&|number| format!("return A{number};")),
        many(&|_| "A = abs(1);".to_owned()),
        plain(&format!("A = abs({}1);", "y, ".repeat(100_000))),
    ];
    for source in sources {
        assert_eq!(standard(&source).expect_err("many faults").errors.len(), 100);
    }
    // Many definitions without a fault.
    assert!(standard(&many(&|number| format!("A{number}[j, g] = mean(W[j, g]);"))).is_ok());
}

/// Texts near the examples: no input panics, and what parses round-trips.
#[test]
fn mutated_texts_neither_panic_nor_change_meaning() {
    let pieces = [
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        ";",
        "=",
        "==",
        "<",
        "-",
        "+",
        "*",
        "/",
        "^",
        "!",
        "#",
        "'",
        "\"",
        "\\",
        "//",
        "/*",
        "*/",
        "///",
        "\n",
        " ",
        "1",
        "0.5",
        "1e999",
        "2x",
        "inf",
        "pi",
        "where",
        "return",
        "statistic",
        "loss",
        "W",
        "j",
        "x",
        "mean",
        "sum{g}",
        "é",
        "\u{0}",
        "\u{200e}",
        "r#a",
        "_",
        ":",
        "::",
        "..",
        "\t",
        "\r",
    ];
    let sources = [S2SCAT, COVARIANCE, EVERYTHING];
    // A linear congruential generator (Knuth's MMIX constants) is enough, and gives the same texts every time.
    let mut state: u64 = 1;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut accepted = 0;
    for round in 0..3000 {
        let mut characters: Vec<char> = sources[round % sources.len()].chars().collect();
        for _ in 0..=random(3) {
            let start = random(characters.len());
            let end = (start + random(6)).min(characters.len());
            let piece = pieces[random(pieces.len())];
            characters.splice(start..end, piece.chars());
        }
        let source: String = characters.into_iter().collect();
        let program = match parse(&source, "mutated") {
            Ok(program) => program,
            Err(error) => {
                error.render(&source, "mutated");
                continue;
            }
        };
        let text = program.to_string();
        assert_eq!(parse(&text, "printed").as_ref(), Ok(&program), "{source}\n---\n{text}");
        match check(&program, &Vocabulary::standard()) {
            Ok(_) => accepted += 1,
            Err(errors) => errors.iter().for_each(|error| drop(error.render(&source, "mutated"))),
        }
    }
    assert!(accepted > 100, "the mutations are too rough to test anything: {accepted}");
}

faults! {
    example_of_the_house: "// Two lines of comment\nstatistic s2(x) {\n    W[j,g] = wavlet(x, j, g);\n    return W;\n}\n" => [
        (Name, "wavlet", "3:14: `wavlet` is not a function; did you mean `wavelet`?"),
    ];
    item: "statistics s(x) { }" => [
        (Syntax, "statistics", "1:1: expected `statistic`, `loss` or `filter`, found `statistics`"),
    ];
    item_number: "3" => [
        (Syntax, "3", "1:1: expected `statistic`, `loss` or `filter`, found `3`"),
    ];
    statistic_name: "statistic (x) { }" => [
        (Syntax, "(", "1:11: expected the name of the statistic, found `(`"),
    ];
    statistic_fields: "statistic s { }" => [
        (Syntax, "{", "1:13: expected `(` and the fields of the statistic, found `{`"),
    ];
    statistic_no_field: "statistic s() { }" => [
        (Syntax, ")", "1:13: expected the name of a field, found `)`"),
    ];
    field_number: "statistic s(x, 2) { }" => [
        (Syntax, "2", "1:16: expected the name of a field, found `2`"),
    ];
    field_end: "statistic s(x y) { }" => [
        (Syntax, "y", "1:15: expected `,`, `;` or `)`, found `y`"),
    ];
    parameter_name: "statistic s(x; ) { }" => [
        (Syntax, ")", "1:16: expected the name of a parameter, found `)`"),
    ];
    parameter_end: "statistic s(x; d = 1 e) { }" => [
        (Syntax, "e", "1:22: expected `,`, `)` or an operator, found `e`"),
    ];
    statistic_body: "statistic s(x)" => [
        (Syntax, "x", "1:13: expected `{` and the definitions, found the end of the text"),
    ];
    empty_text_after_statistic: "statistic" => [
        (Syntax, "statistic", "1:1: expected the name of the statistic, found the end of the text"),
    ];
    body_number: "statistic s(x) { 3; }" => [
        (Syntax, "3", "1:18: expected a definition, `return` or `}`, found `3`"),
    ];
    definition_equals: "statistic s(x) { A + 1; }" => [
        (Syntax, "+", "1:20: expected `[` or `=`, found `+`"),
    ];
    definition_equals_after_indices: "statistic s(x) { A[j] 1; }" => [
        (Syntax, "1", "1:23: expected `=`, found `1`"),
    ];
    definition_double_equals: "statistic s(x) { A == 1; }" => [
        (Syntax, "=", "1:21: expected an expression, found `=`"),
    ];
    definition_end: "statistic s(x) {\n    A = mean(x)\n    return A;\n}\n" => [
        (Syntax, "return", "3:5: expected `where`, `;` or an operator, found `return`"),
    ];
    definition_end_of_group: "statistic s(x) { A = mean(x) }" => [
        (Syntax, "}", "1:30: expected `where`, `;` or an operator, found `}`"),
    ];
    index_names_empty: "statistic s(x) { A[] = 1; }" => [
        (Syntax, "]", "1:20: expected the name of an index, found `]`"),
    ];
    index_names_number: "statistic s(x) { A[1] = 1; }" => [
        (Syntax, "1", "1:20: expected the name of an index, found `1`"),
    ];
    index_names_end: "statistic s(x) { A[j k] = 1; }" => [
        (Syntax, "k", "1:22: expected `,` or `]`, found `k`"),
    ];
    condition_comparison: body("A[j] = mean(abs(W[j, 0])) where j;") => [
        (Syntax, ";", "3:38: expected a comparison like `<`, found `;`"),
    ];
    condition_chain: body("A[j, i] = mean(W[j, 0] * W[i, 0]) where 0 < j < i;") => [
        (Syntax, "<", "3:51: a condition has one comparison; write `i < j, j < k` for a chain"),
    ];
    condition_end: body("A[j] = mean(abs(W[j, 0])) where j < 3 4;") => [
        (Syntax, "4", "3:43: expected `,`, `;` or an operator, found `4`"),
    ];
    condition_not_linear: body("A[j] = mean(abs(W[j, 0])) where j^2 < 3;") => [
        (Syntax, "j^2", "3:37: an index combines indices and whole numbers up to 2147483648; like `j`, `j + 1`, `octave(n)`, `2*g` or `0`"),
    ];
    return_name: "statistic s(x) { return 1; }" => [
        (Syntax, "1", "1:25: expected the name of an output, found `1`"),
    ];
    return_definition: "statistic s(x) { return A = 1; }" => [
        (Syntax, "1", "1:29: expected the name of a definition, found `1`"),
    ];
    return_end: "statistic s(x) { return A B; }" => [
        (Syntax, "B", "1:27: expected `,`, `=` or `;`, found `B`"),
    ];
    variant_output: "statistic s(x) { return a: ; }" => [
        (Syntax, ";", "1:28: expected the name of an output, found `;`"),
    ];
    loss_name: "loss = 3" => [
        (Syntax, "=", "1:6: expected the name of the loss, found `=`"),
    ];
    loss_arrays: "loss l = 3" => [
        (Syntax, "=", "1:8: expected `(` and the arrays of the loss, found `=`"),
    ];
    loss_one_array: "loss l(S) = 3;" => [
        (Syntax, ")", "1:9: expected `,` and the target of the loss, found `)`"),
    ];
    loss_equals: "loss l(S, T) 3;" => [
        (Syntax, "3", "1:14: expected `=`, found `3`"),
    ];
    loss_end: "loss l(S, T) = 3" => [
        (Syntax, "3", "1:16: expected `;` or an operator, found the end of the text"),
    ];
    loss_arrays_end: "loss l(S, T U) = 3;" => [
        (Syntax, "U", "1:13: expected `,` or `)`, found `U`"),
    ];
    expression: "statistic s(x) { A = ; }" => [
        (Syntax, ";", "1:22: expected an expression, found `;`"),
    ];
    expression_in_call: "statistic s(x) { A = mean(); }" => [
        (Syntax, ")", "1:27: expected an expression, found `)`"),
    ];
    expression_after_operator: "statistic s(x) { A = 1 + * 2; }" => [
        (Syntax, "*", "1:26: expected an expression, found `*`"),
    ];
    expression_string: r#"statistic s(x) { A = "one"; }"# => [
        (Syntax, r#""one""#, r#"1:22: expected an expression, found `"one"`"#),
    ];
    expression_brackets: "statistic s(x) { A = [1]; }" => [
        (Syntax, "[", "1:22: expected an expression, found `[`"),
    ];
    call_end: "statistic s(x) { A = mean(x x); }" => [
        (Syntax, "x", "1:29: expected `,`, `)` or an operator, found `x`"),
    ];
    brackets_end: "statistic s(x) { A = (1 2); }" => [
        (Syntax, "2", "1:25: expected `)` or an operator, found `2`"),
    ];
    access_end: "statistic s(x) { A = W[1 2]; }" => [
        (Syntax, "2", "1:26: expected `,`, `]` or an operator, found `2`"),
    ];
    reduce_argument: "statistic s(x) { A = mean{g} W; }" => [
        (Syntax, "W", "1:30: expected `(` and what is reduced, found `W`"),
    ];
    reduce_end: "statistic s(x) { A = mean{g h}(W); }" => [
        (Syntax, "h", "1:29: expected `,` or `}`, found `h`"),
    ];
    reduce_argument_end: "statistic s(x) { A = mean{g}(W, W); }" => [
        (Syntax, ",", "1:31: expected `)` or an operator, found `,`"),
    ];
    double_star: "statistic s(x) { A = 2**3; }" => [
        (Syntax, "*", "1:23: expected an expression, found a second `*`; a power is written `x^2`"),
    ];
    product_without_star: "statistic s(x) { A = 2x; }" => [
        (Syntax, "2x", "1:22: `2x` is not a decimal number; a product is written `2 * x`"),
    ];
    hexadecimal: "statistic s(x) { A = 0x1F; }" => [
        (Syntax, "0x1F", "1:22: `0x1F` is not a decimal number"),
    ];
    number_overflow: "statistic s(x) { A = 1e999; }" => [
        (Limit, "1e999", "1:22: `1e999` exceeds every f64; infinity is written `inf`"),
    ];
    index_quotient: "statistic s(x) { A = W[j/2]; }" => [
        (Syntax, "j/2", "1:24: an index combines indices and whole numbers up to 2147483648; like `j`, `j + 1`, `g + d`, `2*g` or `0`"),
    ];
    index_fraction: "statistic s(x) { A = W[0.5]; }" => [
        (Syntax, "0.5", "1:24: an index combines indices and whole numbers up to 2147483648; like `j`, `j + 1`, `g + d`, `2*g` or `0`"),
    ];
    index_too_large: "statistic s(x) { A = W[j + 9999999999]; }" => [
        (Syntax, "j + 9999999999", "1:24: an index combines indices and whole numbers up to 2147483648; like `j`, `j + 1`, `g + d`, `2*g` or `0`"),
    ];
    reserved_name: "statistic inf(x) { }" => [
        (Syntax, "inf", "1:11: expected the name of the statistic, found the reserved word `inf`"),
    ];
    raw_name: "statistic r#s(x) { }" => [
        (Syntax, "r#s", "1:11: `r#s` is not a name; names have no `r#`"),
    ];
    attribute: "#[inline] statistic s(x) { }" => [
        (Syntax, "inline", "1:3: expected `doc`, the only attribute, found `inline`"),
    ];
    attribute_text: "#[doc = 3] statistic s(x) { }" => [
        (Syntax, "3", "1:9: expected a string, found `3`"),
    ];
    never_closed: "statistic s(x) {\n    A = mean(x;\n" => [
        (Syntax, "(", "2:13: `(` is never closed"),
    ];
    closes_nothing: "statistic s(x) }" => [
        (Syntax, "}", "1:16: `}` closes no bracket that is open here"),
    ];
    wrong_close: "statistic s(x) { A = (1]; }" => [
        (Syntax, "]", "1:24: `]` closes no bracket that is open here"),
    ];
    character: r#"statistic s(x) { A = \; }"# => [
        (Syntax, r#"\"#, r#"1:22: `\` starts no word of the notation"#),
    ];
    open_comment: "statistic s(x) { /* A = 1; }" => [
        (Syntax, "/", "1:18: a comment is never closed"),
    ];
    open_string: r#"statistic s(x) { A = "; }"# => [
        (Syntax, r#"""#, "1:22: a string is never closed"),
    ];
    question_mark: "statistic s(x) { A = 1 ? 2; }" => [
        (Syntax, "?", "1:24: expected `where`, `;` or an operator, found `?`"),
    ];
    unknown_name: body("A = mean(xx);") => [
        (Name, "xx", "3:14: `xx` is not defined; did you mean `x`?"),
    ];
    unknown_name_far: body("A = mean(something);") => [
        (Name, "something", "3:14: `something` is not defined; in scope: x, d, P, W"),
    ];
    unknown_function: body("A = frobnicate(x);") => [
        (Name, "frobnicate", "3:9: `frobnicate` is not a function; functions: wavelet, lowpass, band, cut, decimate, fourier, pad, shift, unpad, mean, size, median, cov, var, power, integral, abs, re, im, conj, complex, arg, log, sqrt, exp, sign, sin, cos, min, max, .."),
    ];
    later_definition: body("A = B; B = mean(x);") => [
        (Name, "B", "3:9: `B` is defined only later (line 3, column 12); a definition uses earlier definitions only"),
    ];
    own_definition: body("A = A + 1;") => [
        (Name, "A", "3:9: `A` is defined by itself; a definition uses earlier definitions only"),
    ];
    function_as_value: body("A = abs + 1;") => [
        (Name, "abs", "3:9: `abs` is a function, not a value; write `abs(..)`"),
    ];
    definition_as_function: body("A[j, g] = mean(W(j, g)) + j + g;") => [
        (Name, "W", "3:20: `W` is a definition, not a function; indices stand in square brackets"),
    ];
    reduction_as_function: body("A = sum(x);") => [
        (Name, "sum", "3:9: `sum` reduces over indices; write `sum{g}(..)`"),
    ];
    unknown_reduction: body("A[j] = mena{g}(mean(W[j, g]));") => [
        (Name, "mena", "3:12: `mena` is not a reduction; did you mean `mean`?"),
    ];
    definition_twice: body("W = mean(x);") => [
        (Name, "W", "3:5: `W` is already a definition (line 2, column 5); choose another name"),
    ];
    field_twice: "statistic s(x, x) { A = mean(x); return A; }" => [
        (Name, "x", "1:16: `x` is already a field (line 1, column 13); choose another name"),
    ];
    parameter_like_field: "statistic s(x; x) { A = mean(x); return A; }" => [
        (Name, "x", "1:16: `x` is already a field (line 1, column 13); choose another name"),
    ];
    definition_like_parameter: body("d = mean(x);") => [
        (Name, "d", "3:5: `d` is already a parameter (line 1, column 16); choose another name"),
    ];
    default_not_constant: "statistic s(x; d = mean(x)) { A = mean(x); return A; }" => [
        (Value, "mean(x)", "1:20: the default of `d` is not a constant; numbers, `pi`, `inf` and arithmetic are"),
    ];
    statistic_twice: "statistic s(x) { A = mean(x); return A; } statistic s(x) { A = mean(x); return A; }" => [
        (Name, "s", "1:53: the statistic `s` is already declared at line 1, column 11; choose another name"),
    ];
    loss_twice: "loss l(S, T) = mean(S - T);\nloss l(S, T) = mean(S - T);\n" => [
        (Name, "l", "2:6: the loss `l` is already declared at line 1, column 6; choose another name"),
    ];
    index_twice: body("A[j, j] = mean(W[j, j]);") => [
        (Index, "j", "3:10: index `j` of `A` is listed twice; choose another name"),
        (Index, "j", "3:25: index `j` is a scale (line 2, column 26), but a direction stands here (line 2, column 29); give the direction an index of its own"),
    ];
    index_unused: body("A[j, k] = mean(W[j, 0]);") => [
        (Index, "k", "3:10: index `k` of `A` is never used; use it or leave it out"),
    ];
    index_unbound: body("A[j] = mean(W[j, h]);") => [
        (Index, "h", "3:22: index `h` is neither an index of `A` nor bound by a reduction; indices: j"),
    ];
    index_unbound_near: body("A[jj] = mean(W[j, 0]) + jj;") => [
        (Index, "j", "3:20: index `j` is neither an index of `A` nor bound by a reduction; did you mean `jj`?"),
    ];
    index_unbound_in_wavelet: body("A[j] = wavelet(x, j, g);") => [
        (Index, "g", "3:26: index `g` is neither an index of `A` nor bound by a reduction; indices: j"),
    ];
    index_is_parameter: body("A[j] = mean(W[j, d]);") => [
        (Index, "d", "3:22: `d` is a parameter, not an index; indices: j"),
    ];
    index_hides: body("A[x] = mean(W[x, 0]);") => [
        (Name, "x", "3:7: index `x` hides the field `x` (line 1, column 13); choose another name"),
    ];
    index_with_indices: body("A[j] = j[1] * mean(W[j, 0]);") => [
        (Arity, "j", "3:12: `j` is an index and has no indices; write `j`"),
    ];
    reduction_shadows: body("A[j, g] = mean{g}(mean(W[j, g]));") => [
        (Index, "g", "3:20: index `g` is already in use (line 3, column 10); a reduction binds new names"),
    ];
    reduction_index_twice: body("A[j] = sum{g, g}(mean(W[j, g]));") => [
        (Index, "g", "3:19: index `g` is already in use (line 3, column 16); a reduction binds new names"),
    ];
    reduction_index_unused: body("A[j] = sum{g}(mean(W[j, 0]));") => [
        (Index, "g", "3:16: index `g` of `sum` is never used; use it or leave it out"),
    ];
    kinds_conflict: body("A[j, g] = mean(W[j, g]) + mean(W[g, 0]);") => [
        (Index, "g", "3:38: index `g` is a direction (line 2, column 29), but a scale stands here (line 2, column 26); give the scale an index of its own"),
    ];
    kinds_conflict_in_wavelet: body("A[j] = wavelet(x, j, j);") => [
        (Index, "j", "3:26: index `j` is a scale (line 3, column 23), but a direction stands here; give the direction an index of its own"),
    ];
    kinds_mixed: body("A[j, g] = mean(W[j, g + j]);") => [
        (Index, "j", "3:29: index `j` is a scale (line 2, column 26), but a direction stands here (line 2, column 29); give the direction an index of its own"),
    ];
    kinds_compared: body("A[j, g] = mean(W[j, g]) where j < g;") => [
        (Index, "g", "3:39: index `g` is a direction (line 2, column 29), but a scale stands here (line 2, column 26); give the scale an index of its own"),
    ];
    kind_unknown: plain("A[k] = 2^k;") => [
        (Index, "k", "3:7: nothing tells whether index `k` of `A` is a scale or a direction; the places of `wavelet(field, scale, direction)` tell, directly or through other definitions"),
    ];
    kind_of_parameter_unknown: "statistic s(x; Q[k]) { A = mean(x); return A; }" => [
        (Index, "k", "1:18: nothing tells whether index `k` of `Q` is a scale or a direction; the places of `wavelet(field, scale, direction)` tell, directly or through other definitions"),
    ];
    kind_of_reduction_unknown: plain("A = sum{k}(2^k);") => [
        (Index, "k", "3:13: nothing tells whether index `k` of `A` is a scale or a direction; the places of `wavelet(field, scale, direction)` tell, directly or through other definitions"),
    ];
    scale_not_simple: plain("A[i, j] = mean(W[i + 2*j, 0]);") => [
        (Index, "i + 2*j", "3:22: `i + 2*j` is not a scale: a scale is a sum or difference of indices and a whole number; like `j`, `j + 1`, `j - i` or `0`"),
    ];
    scale_coefficient: plain("A[i] = mean(W[2*i, 0]);") => [
        (Index, "2*i", "3:19: `2*i` is not a scale: a scale is a sum or difference of indices and a whole number; like `j`, `j + 1`, `j - i` or `0`"),
    ];
    scale_coefficient_in_wavelet: plain("A[i] = wavelet(x, -i, 0);") => [
        (Index, "-i", "3:23: `-i` is not a scale: a scale is a sum or difference of indices and a whole number; like `j`, `j + 1`, `j - i` or `0`"),
    ];
    scale_expression: body("A[j] = wavelet(x, j / 2, 0);") => [
        (Index, "j / 2", "3:23: the scale of `wavelet` is an index, found an expression; like `j`, `j + 1` or `0`"),
    ];
    direction_expression: body("A[g] = wavelet(x, 0, abs(g));") => [
        (Index, "abs(g)", "3:26: the direction of `wavelet` is an index, found an expression; like `g`, `g + d` or `0`"),
    ];
    condition_unknown: body("A[j] = mean(W[j, 0]) where k < j;") => [
        (Index, "k", "3:32: `k` is not an index of `A`; indices: j"),
    ];
    condition_bound: body("A[j] = sum{g}(mean(W[j, g])) where g < 2;") => [
        (Index, "g", "3:40: `g` is not an index of `A`; indices: j"),
    ];
    condition_array: body("A[j] = mean(W[j, 0]) where j < P;") => [
        (Index, "P", "3:36: `P` is an array; a condition compares indices and numbers; indices: j"),
    ];
    condition_field: body("A[j] = mean(W[j, 0]) where j < x;") => [
        (Index, "x", "3:36: `x` is a field; a condition compares indices and numbers; indices: j"),
    ];
    condition_definition: body("A[j] = mean(W[j, 0]) where j < W;") => [
        (Index, "W", "3:36: `W` is a definition; a condition compares indices and numbers; indices: j"),
    ];
    condition_without_index: body("A[j] = mean(W[j, 0]) where 1 < 2;") => [
        (Index, "1 < 2", "3:32: the condition has no index; like `i < j` or `j <= 3`"),
    ];
    bare_indexed_name: body("A = mean(W);") => [
        (Arity, "W", "3:14: `W` has 2 indices, found none; write `W[j, g]`"),
    ];
    access_arity: body("A[j] = mean(W[j]);") => [
        (Arity, "W", "3:17: `W` has 2 indices, found 1; it is declared `W[j, g]`"),
    ];
    access_of_scalar: body("A[j] = d[j] + mean(W[j, 0]);") => [
        (Arity, "d", "3:12: the parameter `d` has no indices, found 1; write `d`"),
    ];
    access_of_field: body("A[j] = mean(x[j]) + mean(W[j, 0]);") => [
        (Arity, "x", "3:17: the field `x` has no indices, found 1; write `x`"),
    ];
    call_arity: body("A = cov(x);") => [
        (Arity, "cov", "3:9: `cov` takes 2 arguments, found 1; cov(a, b): mean(a conj(b)) - mean(a) conj(mean(b))"),
    ];
    call_arity_range: body("A = lowpass(x, 1, 2);") => [
        (Arity, "lowpass", "3:9: `lowpass` takes 1 to 2 arguments, found 3; lowpass(f), lowpass(f, j): f smoothed at the domain's coarsest scale, or at scale j"),
    ];
    field_expected: body("A = mean(mean(x));") => [
        (Value, "mean(x)", "3:14: `mean` takes a field, found a number; mean(f), mean(f, j): average of f over the domain, or over what the edges leave of it at scale j"),
    ];
    field_expected_of_parameter: body("A = wavelet(d, 0, 0);") => [
        (Value, "d", "3:17: `wavelet` takes a field, found a number; wavelet(f, j, g): f filtered by the wavelet of scale j and direction g"),
    ];
    no_return: "statistic s(x) { A = mean(x); }" => [
        (Return, "s", "1:11: `s` has no unnamed return; end it with `return S1, S2;`"),
    ];
    only_variant: "statistic s(x) { A = mean(x); return a: A; }" => [
        (Return, "s", "1:11: `s` has no unnamed return; end it with `return S1, S2;`"),
    ];
    two_returns: "statistic s(x) { A = mean(x); return A; return A; }" => [
        (Return, "A", "1:48: `s` has a second unnamed return; the first is at line 1, column 38; name a variant: `return short: ..`"),
    ];
    variant_twice: "statistic s(x) { A = mean(x); return A; return a: A; return a: A; }" => [
        (Return, "a", "1:61: the variant `a` is already returned (line 1, column 48); choose another name"),
    ];
    output_twice: "statistic s(x) { A = mean(x); return A, A; }" => [
        (Return, "A", "1:41: the output `A` is listed twice; name it: `other = definition`"),
    ];
    output_unknown: "statistic s(x) { S1 = mean(x); return S2; }" => [
        (Return, "S2", "1:39: `S2` is not a definition of `s`; did you mean `S1`?"),
    ];
    output_field: "statistic s(x) { S1 = mean(x); return x; }" => [
        (Return, "x", "1:39: `x` is a field; a return lists definitions; definitions: S1"),
    ];
    loss_array: "loss l(S, T) = abs(S - T);\n" => [
        (Value, "abs(S - T)", "1:16: the loss `l` is an array; a loss is a number; reduce it over its entries: `mean(..)` or `sum(..)`"),
    ];
    loss_unknown_name: "loss l(S, T) = mean(S - TT);\n" => [
        (Name, "TT", "1:25: `TT` is not defined; did you mean `T`?"),
    ];
    loss_unknown_function: "loss l(S, T) = mean(asb(S - T));\n" => [
        (Name, "asb", "1:21: `asb` is not a function; did you mean `abs`?"),
    ];
    loss_domain: "loss l(S, T) = var(S - T);\n" => [
        (Name, "var", "1:16: `var` needs a domain, which a loss does not have; call it in a statistic"),
    ];
    loss_access: "loss l(S, T) = mean(S[0] - T);\n" => [
        (Index, "S", "1:21: `S` is taken as a whole in a loss, without indices; write `S`"),
    ];
    loss_reduce: "loss l(S, T) = mean{j}(S - T);\n" => [
        (Index, "mean", "1:16: a loss has no indices to reduce over; `mean(..)` reduces over all entries"),
    ];
    loss_mean_of_number: "loss l(S, T) = mean(mean(S - T));\n" => [
        (Value, "mean(S - T)", "1:21: `mean` takes an array, found a number; one reduction over the entries is enough"),
    ];
    loss_mean_arity: "loss l(S, T) = mean(S, T);\n" => [
        (Arity, "mean", "1:16: `mean` takes 1 argument, found 2; it reduces one array over its entries"),
    ];
    loss_call_arity: "loss l(S, T) = mean(abs(S, T));\n" => [
        (Arity, "abs", "1:21: `abs` takes 1 argument, found 2; abs(z): modulus, with derivative 0 at z = 0"),
    ];
    loss_array_twice: "loss l(S, S) = mean(S);\n" => [
        (Name, "S", "1:11: `S` is already an array of the loss (line 1, column 8); choose another name"),
    ];
    two_faults: body("A = mean(xx); B = aps(x);") => [
        (Name, "xx", "3:14: `xx` is not defined; did you mean `x`?"),
        (Name, "aps", "3:23: `aps` is not a function; did you mean `abs`?"),
    ];
    many_indices: "statistic s(x) { A[j0, j1, j2, j3, j4, j5, j6, j7, j8, j9, j10, j11, j12, j13, j14, j15, j16, j17, j18, j19, j20, j21, j22, j23, j24, j25, j26, j27, j28, j29, j30, j31, j32] = 1; }" => [
        (Limit, "j32", "1:170: more than 32 indices"),
    ];
    many_access_indices: "statistic s(x) { A = W[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]; }" => [
        (Limit, "W", "1:22: more than 32 indices"),
    ];
    condition_function: body("A[j] = mean(W[j, 0]) where octav(j) < 2;") => [
        (Name, "octav", "3:32: `octav` is not a function of an index; did you mean `octave`?"),
    ];
    condition_function_index: body("A[j] = mean(W[j, 0]) where octave(k) < j;") => [
        (Index, "k", "3:39: `k` is not an index of `A`; `octave` takes a scale index"),
    ];
    condition_function_direction: body("A[j, g] = mean(W[j, g]) where octave(g) < 2;") => [
        (Index, "g", "3:42: index `g` is a direction (line 2, column 29), but a scale stands here; give the scale an index of its own"),
    ];
    output_parameter: body("return P;") => [
        (Return, "P", "3:12: `P` is a parameter; a return lists definitions; definitions: W"),
        (Return, "W", "4:12: `s` has a second unnamed return; the first is at line 3, column 12; name a variant: `return short: ..`"),
    ];
    attribute_bracket: "# doc statistic s(x) { }" => [
        (Syntax, "doc", "1:3: expected `[doc = \"..\"]`, found `doc`"),
    ];
    attribute_equals: "#[doc \"a\"] statistic s(x) { }" => [
        (Syntax, "\"a\"", "1:7: expected `=`, found `\"a\"`"),
    ];
    attribute_end: "#[doc = \"a\" b] statistic s(x) { }" => [
        (Syntax, "b", "1:13: expected `]`, found `b`"),
    ];
    filter_name: "filter { }" => [
        (Syntax, "{", "1:8: expected the name of the filter, found `{`"),
    ];
    filter_body: "filter f" => [
        (Syntax, "f", "1:8: expected `{` and the definitions, found the end of the text"),
    ];
    filter_definition: "filter f { 2 }" => [
        (Syntax, "2", "1:12: expected a definition or `}`, found `2`"),
    ];
    filter_equals: "filter f { wavelet[j] = 1; }" => [
        (Syntax, "[", "1:19: expected `=`, found `[`"),
    ];
    filter_definition_end: "filter f { wavelet = 1 }" => [
        (Syntax, "}", "1:24: expected `;` or an operator, found `}`"),
    ];
    filter_twice: "filter f { wavelet = 1; }\nfilter f { wavelet = 1; }\n" => [
        (Name, "f", "2:8: the filter `f` is already declared at line 1, column 8; choose another name"),
    ];
    filter_without_result: "filter f { psi = row; }" => [
        (Name, "f", "1:8: the filter `f` has no `wavelet`; define `wavelet = ..;`, or `stencil = ..;`"),
    ];
    filter_name_taken: "filter f { H = 2; wavelet = row; }" => [
        (Name, "H", "1:12: `H` is already a name of the filter; choose another name"),
    ];
    filter_unknown_name: "filter f { wavelet = rows; }" => [
        (Name, "rows", "1:22: `rows` is not defined; did you mean `row`?"),
    ];
    filter_access: "filter f { wavelet = row[j]; }" => [
        (Index, "row", "1:22: `row` has indices, which a filter does not have; scale and direction of a filter are the numbers `j` and `l`"),
    ];
    filter_reduction: "filter f { wavelet = sum{j}(row); }" => [
        (Index, "sum", "1:22: a filter has no indices to reduce over; sums over samples are `total(..)`, `over_rows(..)`, `over_columns(..)`"),
    ];
    filter_unknown_function: "filter f { wavelet = fourrier(row); }" => [
        (Name, "fourrier", "1:22: `fourrier` is not a function of filters; did you mean `fourier`?"),
    ];
    filter_arity: "filter f { wavelet = greater(row); }" => [
        (Arity, "greater", "1:22: `greater` takes 2 arguments, found 1; greater(a, b): 1 where a > b, else 0"),
    ];
}
