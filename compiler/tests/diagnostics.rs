//! A catalogue of what binding and losses refuse: one row per message, with the line, the token, what was expected and found, and what would be right. What the text
//! alone tells is in `ir/tests/notation.rs`, what has no place in the text in `faults.rs`.

#![allow(non_snake_case)]

use scatterc_compiler::bind::{BindOptions, bind};
use scatterc_compiler::domain::{Domain, InputKind};
use scatterc_compiler::healpix::Healpix;
use scatterc_compiler::loss::with_loss;
use scatterc_compiler::plane::{Boundary, Plane};
use scatterc_compiler::pyramid::Pyramid;
use scatterc_compiler::sphere::Sphere;
use scatterc_compiler::vocabulary;
use scatterc_ir::notation::{Checked, Filter, check_source};

fn checked(source: &str) -> Checked {
    check_source(source, "s.scat", &vocabulary()).unwrap_or_else(|e| panic!("{}", e.render(source, "s.scat")))
}

fn filter(name: &str) -> Filter {
    let all = checked(include_str!("../../statistics/filters.scat")).filters;
    all.into_iter().find(|f| f.name.name == name).expect("a built-in filter")
}

#[derive(Clone, Copy, Debug)]
enum On {
    Sphere,
    Healpix,
    Masks,
    Plane,
    Padded,
    Cut,
    Stencils,
    Line,
}

fn domain(on: On) -> Box<dyn Domain> {
    let plane = |boundary, cut| Box::new(Plane::new(16, 18, 3, 2, &filter("morlet"), boundary, cut).expect("valid sizes"));
    match on {
        On::Sphere => Box::new(Sphere::new(8, 2, 0, InputKind::Half).expect("valid sizes")),
        On::Healpix => Box::new(Healpix::new(4, 2, 3).expect("valid sizes")),
        On::Masks => Box::new(Healpix::new(4, 2, 3).and_then(|h| h.masks(2, None)).expect("valid sizes")),
        On::Plane => plane(Boundary::Periodic, false),
        On::Padded => plane(Boundary::Reflect, false),
        On::Cut => plane(Boundary::Periodic, true),
        On::Stencils => Box::new(Pyramid::new(16, 18, 2, 2, 5, &filter("foscat_plane"), Boundary::Periodic).expect("valid sizes")),
        On::Line => Box::new(Plane::line(32, 3, 1, &filter("battle_lemarie"), Boundary::Periodic).expect("valid sizes")),
    }
}

/// What binding says of a statistic, as the user sees it.
fn said(on: On, text: &str) -> String {
    match bind(&checked(text).statistics[0], &*domain(on), &BindOptions::default()) {
        Ok(_) => "it binds\n".into(),
        Err(error) => error.render(text, "s.scat"),
    }
}

/// A statistic of a field and its wavelets; the statement is line 3.
fn body(statement: &str) -> String {
    format!("statistic s(x; p, d = 2) {{\n    W[j, g] = wavelet(x, j, g);\n    {statement}\n    return S;\n}}\n")
}

/// Place, token, message and help of a fault as it is shown.
fn parts(rendered: &str) -> String {
    let lines: Vec<&str> = rendered.lines().collect();
    match lines.as_slice() {
        [message, place, _, line, carets] => {
            let (start, end) = (carets.find('^').expect("a caret"), carets.rfind('^').expect("a caret") + 1);
            let token: String = line.chars().take(end).skip(start).collect();
            let help = carets[end..].trim();
            let place = place.trim_start_matches(" --> s.scat:");
            format!(
                "{place} `{token}` {}{}",
                message.trim_start_matches("error: "),
                if help.is_empty() { String::new() } else { format!(" | {help}") }
            )
        }
        _ => rendered.into(),
    }
}

#[test]
fn every_message_points_at_its_token() {
    let mut faults = Vec::new();
    for (on, statement, expected) in CATALOGUE {
        let found = parts(&said(*on, &body(statement)));
        if found != *expected {
            faults.push(format!("({on:?}) {statement}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A loss that does not fit a statistic is shown with its own line, here the second.
#[test]
fn every_message_about_a_loss_points_at_its_token() {
    let mut faults = Vec::new();
    for (output, loss, expected) in LOSSES {
        let text = format!("statistic s(x) {{ m = {output}; return m; }}\n{loss}\n");
        let checked = checked(&text);
        let bound = bind(&checked.statistics[0], &*domain(On::Sphere), &BindOptions::default()).expect("binds");
        let found = match with_loss(&bound, &checked.losses[0]) {
            Ok(_) => "it fits".into(),
            Err(error) => parts(&error.render(&text, "s.scat")),
        };
        if found != *expected {
            faults.push(format!("{loss}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Definition of the output `m`, the loss, and place, token, message and help.
const LOSSES: &[(&str, &str, &str)] = &[
    ("mean(x)", "loss l(S, T) = 3;", "2:16 `3` the loss is the constant 3"),
    (
        "mean(x)",
        "loss l(S, T) = max(abs(S - T));",
        "2:16 `max` `max` over entries has no smooth gradient, with the output `m` | use mean or sum of a power",
    ),
    // What the text alone does not tell: it depends on the output.
    ("mean(harmonic(x, 1))", "loss l(S, T) = mean(S - T);", "2:16 `mean(S - T)` the loss is complex, with the output `m` | take re, im or abs"),
    (
        "mean(harmonic(x, 1))",
        "loss l(S, T) = mean(sqrt(S - T));",
        "2:21 `sqrt(S - T)` `sqrt` needs real arguments, with the output `m` | take re, im or abs first",
    ),
    ("lowpass(x, 1)", "loss l(S, T) = mean(abs(S - T));", "2:8 `S` output `m` has type [] map(4) | a loss needs arrays of numbers or images"),
];

/// Domain, line 3 of the text, and place, token, message and help.
const CATALOGUE: &[(On, &str, &str)] = &[
    // Indices out of range.
    (
        On::Sphere,
        "S[j, g] = mean(abs(W[j, g])) where j > 40;",
        "3:5 `S` output `S` has no entries: no index tuple satisfies its conditions on sphere L=8 N=2 J_min=0 input=half | scales are 0 .. 3, directions 0 .. 2",
    ),
    (
        On::Sphere,
        "S[j] = mean(wavelet(x, j + 9, 0));",
        "3:5 `S` output `S` has no entries: no index tuple satisfies its conditions on sphere L=8 N=2 J_min=0 input=half | scales are 0 .. 3, directions 0 .. 2",
    ),
    (
        On::Sphere,
        "A[j] = mean(W[j, 0]) where j > 40; t = sum{j}(A[j]); S = 2 * t;",
        "3:44 `sum` nothing to reduce: no index tuple exists | scales are 0 .. 3, directions 0 .. 2",
    ),
    (
        On::Sphere,
        "A[j] = W[j, 0] where j > 40; t = sum{j}(A[j]); S = mean(abs(t));",
        "3:38 `sum{j}(A[j])` nothing to reduce: no index tuple exists | scales are 0 .. 3, directions 0 .. 2",
    ),
    (On::Cut, "S[j] = mean(W[j, 0], j + 7);", "3:26 `j + 7` expected a scale from 0 to 2, found `j + 7` = 7 | leave such tuples out with `where`"),
    (On::Cut, "S[j] = size(W[j, 0], 5);", "3:26 `5` expected a scale from 0 to 2, found 5 | leave such tuples out with `where`"),
    // Parameters without a value.
    (
        On::Sphere,
        "S[j] = mean(abs(W[j, 0])^p);",
        "3:30 `p` parameter `p` has no default and was not given | give it: `--parameter p=..`, `Compiler::number`",
    ),
    (
        On::Sphere,
        "S[j] = mean(abs(W[j, 0])) where j <= p;",
        "3:42 `p` `p` has no value here: conditions compare scales and number parameters | give it: `--parameter p=..`, `Compiler::number`",
    ),
    // Fields and numbers that do not go together.
    (
        On::Sphere,
        "S[j] = mean(lowpass(x, j) * x);",
        "3:17 `lowpass(x, j) * x` fields on different grids, map(4) and map(8), cannot be combined sample by sample | filter both at one scale first, or take their averages",
    ),
    (
        On::Plane,
        "S[j] = mean(band(x, 2) * x) + 0 * mean(W[j, 0]);",
        "3:17 `band(x, 2) * x` fields on different grids, image(16,16) and image(16,18), cannot be combined sample by sample | filter both at one scale first, or take their averages",
    ),
    (
        On::Masks,
        "S[j] = mean(W[j, 0] - mean(W[j, 0]));",
        "3:17 `W[j, 0] - mean(W[j, 0])` a number here differs between 2 masks, so that no field can be made of it | give one mask",
    ),
    (
        On::Masks,
        "S[j] = mean(abs(W[j, 0]) - mean(abs(W[j, 0])));",
        "3:17 `abs(W[j, 0]) - mean(abs(W[j, 0]))` a number here differs between 2 masks, so that no field can be made of it | give one mask",
    ),
    // Reductions.
    (On::Sphere, "S[j] = max{g}(mean(W[j, g]));", "3:12 `max` `max` over indices is not available for numbers | use sum or mean"),
    (On::Sphere, "S[j] = mean(min{g}(abs(W[j, g])));", "3:17 `min` `min` over indices is not available for fields | use sum or mean"),
    // Complex values.
    (
        On::Sphere,
        "S[j] = mean(sqrt(harmonic(W[j, 0], 2)));",
        "3:17 `sqrt(harmonic(W[j, 0], 2))` `sqrt` needs real arguments | take re, im or abs first",
    ),
    (
        On::Sphere,
        "S[j] = mean(harmonic(W[j, 0], 2)^0.5);",
        "3:17 `harmonic(W[j, 0], 2)^0.5` a complex number can be raised to the whole powers 1 to 16 only | take re, im or abs first",
    ),
    (
        On::Sphere,
        "S[j] = sqrt(mean(harmonic(W[j, 0], 2)));",
        "3:12 `sqrt(mean(harmonic(W[j, 0], 2)))` `sqrt` needs real arguments | take re, im or abs first",
    ),
    (
        On::Sphere,
        "S[j] = mean(harmonic(W[j, 0], re(mean(x))));",
        "3:17 `harmonic(W[j, 0], re(mean(x)))` the order of `harmonic(z, k)` must be a number known when the statistic is bound | a number or a number parameter is one",
    ),
    // Functions that the domain does not have.
    (
        On::Sphere,
        "S[j] = median(W[j, 0]);",
        "3:12 `median(W[j, 0])` `median` is not available on sphere L=8 N=2 J_min=0 input=half | it is on HEALPix pixels",
    ),
    (
        On::Sphere,
        "S[j] = mean(cut(W[j, 0], j));",
        "3:17 `cut(W[j, 0], j)` `cut` is not available on sphere L=8 N=2 J_min=0 input=half | it is on the plane",
    ),
    (
        On::Sphere,
        "S[j] = mean(band(x, j));",
        "3:17 `band(x, j)` `band` is not available on sphere L=8 N=2 J_min=0 input=half | it is on HEALPix pixels, the plane and the line",
    ),
    (
        On::Sphere,
        "S[j] = mean(abs(fourier(W[j, 0])));",
        "3:21 `fourier(W[j, 0])` `fourier` is not available on sphere L=8 N=2 J_min=0 input=half | it is on the plane and the line with filters of frequencies",
    ),
    (
        On::Sphere,
        "S[j, a] = mean(shift(W[j, 0], j, a, a));",
        "3:41 `a` expected a direction index of the field itself | the fourth argument names the direction that moves it",
    ),
    (
        On::Sphere,
        "S[j, a, g] = mean(shift(W[j, g], j, a, g));",
        "3:23 `shift(W[j, g], j, a, g)` `shift` is not available on sphere L=8 N=2 J_min=0 input=half | it is on the plane",
    ),
    (
        On::Healpix,
        "S[j] = mean(decimate(W[j, 0], j));",
        "3:17 `decimate(W[j, 0], j)` `decimate` is not available on healpix nside=4 J=3 L=2 K=3 | it is on the plane and the line with filters of frequencies",
    ),
    (
        On::Healpix,
        "S[j] = mean(pad(x)) + mean(W[j, 0]);",
        "3:17 `pad(x)` `pad` is not available on healpix nside=4 J=3 L=2 K=3 | it is on the plane and the line with filters of frequencies",
    ),
    (
        On::Stencils,
        "S[j] = mean(unpad(W[j, 0]));",
        "3:17 `unpad(W[j, 0])` `unpad` is not available on plane H=16 W=18 J=2 L=2 stencils=foscat_plane K=5 boundary=periodic | it is on the plane and the line with filters of frequencies",
    ),
    (
        On::Line,
        "S[j, a, g] = mean(shift(W[j, g], j, a, g));",
        "3:23 `shift(W[j, g], j, a, g)` `shift` needs directions, which a series does not have | it is on the plane",
    ),
    // Resolutions and sizes.
    (
        On::Healpix,
        "S[j, i] = mean(abs(wavelet(W[i, 0], j, 0))) where j < i;",
        "3:24 `wavelet(W[i, 0], j, 0)` a field of scale 1 (nside 2) has no samples at scale 0 (nside 4) | let `where` keep the scale of the field below that of the filter",
    ),
    (
        On::Stencils,
        "S[j, i] = mean(abs(wavelet(W[i, 0], j, 0))) where j < i;",
        "3:24 `wavelet(W[i, 0], j, 0)` a field of scale 1 (8 x 9) has no samples at scale 0 (16 x 18) | let `where` keep the scale of the field below that of the filter",
    ),
    (
        On::Padded,
        "S[j] = mean(wavelet(pad(pad(x)), j, 0));",
        "3:25 `pad(pad(x))` `pad` takes 16 x 18 samples, found 32 x 32 | it pads fields on the grid of the input, once",
    ),
    (
        On::Padded,
        "S[j] = mean(decimate(x)) + 0 * mean(wavelet(pad(x), j, 0));",
        "3:17 `decimate(x)` 16 x 18 samples cannot be thinned to 4 x 4 | `pad` the field first",
    ),
    // Medians.
    (On::Healpix, "S[j] = median(abs(W[j, 0]), 2.5, 0);", "3:33 `2.5` expected a whole number of steps from 1 to 400, found 2.5"),
    (On::Healpix, "S[j] = median(abs(W[j, 0]), 3, -1);", "3:36 `-1` expected a tolerance from 0 on, found -1"),
    (
        On::Healpix,
        "S[j] = median(abs(W[j, 0]), mean(x), 0);",
        "3:33 `mean(x)` expected a number known when the statistic is bound | a number or a number parameter is one",
    ),
];
