//! Binding of the built-in statistic: shapes, counts, text round trip, passes that keep the verifier happy.

use scatterc_compiler::bind::{BindOptions, bind};
use scatterc_compiler::domain::InputKind;
use scatterc_compiler::loss::with_loss;
use scatterc_compiler::pass::run_passes;
use scatterc_compiler::sphere::Sphere;
use scatterc_compiler::{gradient, vocabulary};
use scatterc_ir::notation::{Checked, check_source};
use scatterc_ir::{text, verify::verify};

fn checked(source: &str) -> Checked {
    check_source(source, "test", &vocabulary()).unwrap_or_else(|e| panic!("{}", e.render(source, "test")))
}

const S2SCAT: &str = include_str!("../../statistics/s2scat.scat");
const LOSSES: &str = include_str!("../../statistics/losses.scat");

#[test]
fn the_built_in_statistic_binds_and_has_the_lengths_of_the_specification() {
    let checked = checked(S2SCAT);
    let sphere = Sphere::new(256, 3, 2, InputKind::Half).expect("valid sizes");
    let bound = bind(&checked.statistics[0], &sphere, &BindOptions::default()).expect("binds");
    let lengths: Vec<usize> = bound.outputs.iter().map(|o| o.index.rows.len()).collect();
    assert_eq!(lengths, [1, 1, 35, 35, 525, 11375]);
    let isotropic = BindOptions { variant: Some("isotropic".into()), ..BindOptions::default() };
    let bound = bind(&checked.statistics[0], &sphere, &isotropic).expect("binds");
    let lengths: Vec<usize> = bound.outputs.iter().map(|o| o.index.rows.len()).collect();
    assert_eq!(lengths, [1, 1, 35, 35, 21, 91]);
}

#[test]
fn passes_gradient_and_text_round_trip() {
    let statistics = checked(S2SCAT);
    let losses = checked(LOSSES);
    for input in [InputKind::Half, InputKind::Full, InputKind::Grid] {
        for batch in [None, Some(2)] {
            let sphere = Sphere::new(8, 3, 0, input).expect("valid sizes");
            let options = BindOptions { batch, arrays: vec!["P".into()], ..BindOptions::default() };
            let bound = bind(&statistics.statistics[0], &sphere, &options).expect("binds");
            verify(&bound.graph).expect("a bound graph is valid");
            let mut trace = Vec::new();
            let simple = run_passes(bound.graph.clone(), &[], &mut trace).expect("passes");
            assert_eq!(text::parse(&simple.to_string()).expect("parses"), simple);
            let loss = with_loss(&bound, &losses.losses[0]).expect("loss");
            let loss = run_passes(loss, &[], &mut trace).expect("passes");
            let gradient = gradient::value_and_gradient(&loss).expect("differentiates");
            let gradient = run_passes(gradient, &[], &mut trace).expect("passes");
            assert_eq!(text::parse(&gradient.to_string()).expect("parses"), gradient);
            if std::env::var("SHOW").is_ok() && batch.is_none() && input == InputKind::Half {
                println!("{simple}\n{gradient}");
            }
        }
    }
}
