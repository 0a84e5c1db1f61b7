//! Graphs of losses: how outputs of every kind are compared with their targets.

#![allow(non_snake_case)]

use scatterc_compiler::bind::{BindOptions, bind};
use scatterc_compiler::domain::{Domain, InputKind};
use scatterc_compiler::healpix::Healpix;
use scatterc_compiler::loss::with_loss;
use scatterc_compiler::plane::{Boundary, Plane};
use scatterc_compiler::sphere::Sphere;
use scatterc_compiler::vocabulary;
use scatterc_ir::notation::check_source;
use scatterc_ir::verify::verify;

/// The graph of a loss, as text.
fn text(statistic: &str, loss: &str, domain: &dyn Domain) -> String {
    let source = format!("{statistic}\n{loss}");
    let checked = check_source(&source, "test", &vocabulary()).unwrap_or_else(|e| panic!("{}", e.render(&source, "test")));
    let bound = bind(&checked.statistics[0], domain, &BindOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let graph = with_loss(&bound, &checked.losses[0]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&graph), Ok(()), "{graph}");
    graph.to_string()
}

const L2: &str = "loss l2(S, T) = mean(abs(S - T)^2);";

#[test]
fn losses_of_images_count_samples_in_sums_and_entries_in_means() {
    let filter = "filter f { wavelet = exp(-(row - 1 - j - l)^2 / 5 - (column - 2 + l)^2 / 7); lowpass = exp(-(row^2 + 2 * column^2) / 9); }";
    let checked = check_source(filter, "test", &vocabulary()).expect("a filter");
    let plane = Plane::new(16, 18, 1, 2, &checked.filters[0], Boundary::Periodic, false).expect("valid sizes");
    let images = "statistic f(x) { A[j, l] = abs(wavelet(x, j, l)); return A; }";
    let found = text(images, "loss s(S, T) = -sum(S * T) + mean(S * mean(T));", &plane);
    assert!(found.contains("parameter T.A_0 : [2] image(16,18)") && found.contains("{f=mul(-1.0, a)}"), "{found}");
    // The sum over two images of 288 samples, two means, and a mean that is repeated over samples.
    assert_eq!((found.matches("{by=288.0}").count(), found.matches("{by=0.5}").count()), (2, 2), "{found}");
}

#[test]
fn entries_of_masks_count_one_by_one() {
    let means = "statistic m(x) { S[j, l] = mean(abs(wavelet(x, j, l))); return S; }";
    let masked = Healpix::new(2, 1, 3).expect("valid sizes").masks(2, None).expect("two masks");
    let found = text(means, L2, &masked);
    let flat = found.lines().find(|line| line.contains("parameter T.S : ")).and_then(|line| line.split("T.S : ").nth(1)).expect("a target");
    assert!(found.contains(&format!("to={}}} : {flat}", flat.trim_end_matches(" point"))) && flat.starts_with('[') && !flat.contains(','), "{found}");
    // Where there is one axis there is nothing to be flattened.
    let sphere = Sphere::new(4, 1, 0, InputKind::Half).expect("valid sizes");
    let one = text("statistic m(x) { S[j, g] = mean(abs(wavelet(x, j, g))); return S; }", L2, &sphere);
    assert!(one.contains("parameter T.S : [3] point") && !one.contains("{from=[3], to=[3]}"), "{one}");
}

#[test]
fn targets_of_complex_outputs_are_complex_and_weights_are_real() {
    let statistic = "statistic m(x) { W[j, g] = wavelet(x, j, g); C[j, g, h] = mean(W[j, g] * conj(W[j, h])); return C; }";
    let sphere = Sphere::new(4, 2, 0, InputKind::Full).expect("valid sizes");
    let found = text(statistic, "loss w(S, T, w) = mean(w * abs(S - T)^2);", &sphere);
    let parameters: Vec<&str> = found.lines().filter_map(|line| line.trim().split_once(" = parameter ")).map(|(_, given)| given).collect();
    assert_eq!(parameters, ["T.C.re : [27] point", "T.C.im : [27] point", "w.C : [27] point"], "{found}");
}
