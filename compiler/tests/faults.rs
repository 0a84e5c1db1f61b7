//! What binding, losses and domains refuse, and in which words.

#![allow(non_snake_case)]

use scatterc_compiler::bind::{BindError, BindOptions, Bound, bind};
use scatterc_compiler::domain::InputKind;
use scatterc_compiler::loss::with_loss;
use scatterc_compiler::sphere::Sphere;
use scatterc_compiler::{gradient, vocabulary};
use scatterc_ir::notation::{Checked, check_source};

fn checked(source: &str) -> Checked {
    check_source(source, "test", &vocabulary()).unwrap_or_else(|e| panic!("{}", e.render(source, "test")))
}

fn bound_with(source: &str, options: &BindOptions) -> Result<Bound, BindError> {
    let sphere = Sphere::new(8, 2, 0, InputKind::Half).expect("valid sizes");
    bind(&checked(source).statistics[0], &sphere, options)
}

fn refused(source: &str, options: &BindOptions, expected: &str) {
    match bound_with(source, options) {
        Ok(_) => panic!("`{source}` binds, expected `{expected}`"),
        Err(error) => assert!(error.to_string().contains(expected), "`{source}`: {error}"),
    }
}

const SIMPLE: &str =
    "statistic s(x; d = 1, P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])) / P[j, g]; return S; return iso: S; }";

#[test]
fn options_that_name_nothing_are_refused() {
    let number = |name: &str| BindOptions { numbers: [(name.to_string(), 1.0)].into(), ..BindOptions::default() };
    let array = |name: &str| BindOptions { arrays: vec![name.into()], ..BindOptions::default() };
    let variant = |name: &str| BindOptions { variant: Some(name.into()), ..BindOptions::default() };
    refused(SIMPLE, &number("e"), "statistic `s` has no number parameter `e`; it has [d]");
    refused(SIMPLE, &number("P"), "has no number parameter `P`");
    refused(SIMPLE, &array("Q"), "statistic `s` has no array parameter `Q`; it has [d, P]");
    // A number may be given at run time too.
    assert!(bound_with(SIMPLE, &array("d")).is_ok());
    refused(SIMPLE, &variant("isotropic"), "statistic `s` has no variant `isotropic`; it has iso");
    refused(SIMPLE, &BindOptions { batch: Some(0), ..BindOptions::default() }, "a batch must hold at least one map, found 0");
    assert!(bound_with(SIMPLE, &variant("iso")).is_ok());
    assert!(bound_with(SIMPLE, &number("d")).is_ok());
}

#[test]
fn statistics_that_do_not_fit_the_domain_are_refused_with_their_place() {
    let none = BindOptions::default();
    refused("statistic s(x; p) {\n    S[j] = mean(abs(lowpass(x, j))^p);\n    return S;\n}", &none, "parameter `p` has no default and was not given");
    refused("statistic s(x) {\n    S[j] = mean(wavelet(x, j, 0)) where j > 40;\n    return S;\n}", &none, "has no entries");
    refused("statistic s(x) {\n    S[j] = mean(lowpass(x, j) * x);\n    return S;\n}", &none, "different grids");
    refused(
        "statistic s(x) {\n    S[j, g] = max{g}(mean(wavelet(x, j, g)));\n    return S;\n}".replace("S[j, g]", "S[j]").as_str(),
        &none,
        "use sum or mean",
    );
    let error = bound_with("statistic s(x) {\n    S[j] = mean(lowpass(x, j) * x);\n    return S;\n}", &none).expect_err("the grids differ");
    assert!(matches!(&error, BindError::At(fault) if (fault.span.line, fault.span.column) == (2, 17)), "{error:?}");
}

#[test]
fn an_array_parameter_without_default_is_given_at_run_time() {
    let bound =
        bound_with("statistic s(x; P[j, g]) { S[j, g] = mean(abs(wavelet(x, j, g))) / P[j, g]; return S; }", &BindOptions::default()).expect("binds");
    assert_eq!(bound.parameters.len(), 1);
    assert_eq!((bound.parameters[0].name.as_str(), bound.parameters[0].index.rows.len()), ("P", 4 * 3));
    assert_eq!(bound.parameters[0].index.rows[4], [1, 1]);
}

#[test]
fn sizes_that_make_no_sphere_are_refused() {
    for (L, N, J_min, expected) in [
        (0, 1, 0, "`bandlimit` is 0, expected from 2 to 8192"),
        (1, 1, 0, "`bandlimit` is 1"),
        (8193, 1, 0, "`bandlimit` is 8193"),
        (8, 0, 0, "`directions` is 0, expected N from 1 to 8"),
        (8, 9, 0, "`directions` is 9"),
        (64, 17, 0, "`directions` is 17, expected N from 1 to 16"),
        (8, 2, 3, "`min-scale` is 3, expected below the finest scale J = ceil(log2 L) = 3"),
    ] {
        let error = Sphere::new(L, N, J_min, InputKind::Half).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    for L in [2, 3, 8192] {
        assert!(Sphere::new(L, 2, 0, InputKind::Half).is_ok());
    }
}

/// What the checker says, or, where the text alone tells too little, what applying the loss says.
fn loss_error(loss: &str) -> String {
    let source = format!("{SIMPLE}\n{loss}");
    match check_source(&source, "test", &vocabulary()) {
        Err(errors) => errors.render(&source, "test"),
        Ok(checked) => {
            let bound = bound_with(&source, &BindOptions::default()).expect("binds");
            with_loss(&bound, &checked.losses[0]).expect_err(loss).to_string()
        }
    }
}

#[test]
fn losses_that_are_no_number_per_map_are_refused() {
    for (loss, expected) in [
        ("loss l(S, T) = S - T;", "the loss `l` is an array; a loss is a number"),
        ("loss l(S, T) = 3;", "the loss is the constant 3"),
        ("loss l(S, T) = max(abs(S - T));", "no smooth gradient"),
        ("loss l(S, T) = mean(3);", "array"),
    ] {
        let found = loss_error(loss);
        assert!(found.contains(expected), "`{loss}`: {found}");
    }
    // A complex loss is no value to descend on.
    let source = "statistic s(x) { m = mean(harmonic(x, 1)); return m; } loss l(S, T) = mean(S - T);";
    let sphere = Sphere::new(4, 1, 0, InputKind::Full).expect("valid sizes");
    let bound = bind(&checked(source).statistics[0], &sphere, &BindOptions::default()).expect("binds");
    let error = with_loss(&bound, &checked(source).losses[0]).expect_err("complex").to_string();
    assert!(error.contains("complex"), "{error}");
}

#[test]
fn a_loss_of_a_field_is_refused() {
    let source = "statistic s(x) { A = lowpass(x, 1); return A; } loss l(S, T) = mean(abs(S - T));";
    let bound = bound_with(source, &BindOptions::default()).expect("binds");
    let error = with_loss(&bound, &checked(source).losses[0]).expect_err("a field").to_string();
    assert!(error.contains("output `A` has type") && error.contains("a loss needs arrays of numbers"), "{error}");
}

#[test]
fn gradients_need_one_output_of_numbers() {
    let bound = bound_with("statistic s(x) { m = mean(x); v = var(x); return m, v; }", &BindOptions::default()).expect("binds");
    let error = gradient::value_and_gradient(&bound.graph).expect_err("several outputs").to_string();
    assert!(error.contains("a gradient needs one output, found"), "{error}");
    let bound = bound_with("statistic s(x) { A = lowpass(x, 1); return A; }", &BindOptions::default()).expect("binds");
    let error = gradient::value_and_gradient(&bound.graph).expect_err("a field").to_string();
    assert!(error.contains("a gradient needs a number per map"), "{error}");
}
