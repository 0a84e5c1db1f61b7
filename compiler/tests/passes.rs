//! What each pass does to a small graph, and what none of them may do.

#![allow(non_snake_case)]

use scatterc_compiler::pass::{PASSES, PassError, known, run_passes};
use scatterc_compiler::simplify::{bandlimit, fold, parseval, prune, share};
use scatterc_ir::ops::LARGEST_FRAME;
use scatterc_ir::text::parse;
use scatterc_ir::{Graph, verify::verify};

fn graph(body: &str) -> Graph {
    let graph = parse(&format!("graph g {{\n{body}\n}}\n")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&graph), Ok(()));
    graph
}

/// Text of the nodes and outputs, without the frame.
fn body(graph: &Graph) -> String {
    assert_eq!(verify(graph), Ok(()), "{graph}");
    let text = graph.to_string();
    let lines: Vec<&str> = text.lines().collect();
    lines[1..lines.len() - 1].iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

#[test]
fn share_computes_equal_nodes_once() {
    let given = graph(
        "%0 = input x : [3] point
         %1 = abs(%0) : [3] point
         %2 = abs(%0) : [3] point
         %3 = mul(%1, %2) : [3] point
         return y = %3",
    );
    assert_eq!(
        body(&share(&given).expect("types")),
        "%0 = input x : [3] point\n%1 = abs(%0) : [3] point\n%2 = mul(%1, %1) : [3] point\nreturn y = %2"
    );
}

#[test]
fn prune_keeps_what_outputs_need_and_what_the_caller_gives() {
    let given = graph(
        "%0 = input x : [3] point
         %1 = input unused : [3] point
         %2 = parameter P : [3] point
         %3 = exp(%1) : [3] point
         %4 = abs(%0) : [3] point
         return y = %4",
    );
    let expected = "%0 = input x : [3] point\n%1 = input unused : [3] point\n%2 = parameter P : [3] point\n%3 = abs(%0) : [3] point\nreturn y = %3";
    assert_eq!(body(&prune(&given).expect("types")), expected);
}

#[test]
fn fold_composes_pointwise_functions_and_drops_identities() {
    let given = graph(
        "%0 = input x : [4] point
         %1 = abs(%0) : [4] point
         %2 = square(%1) : [4] point
         %3 = scale(%2) {by=2.0} : [4] point
         %4 = scale(%3) {by=0.5} : [4] point
         %5 = reshape(%4) {from=[4], to=[4]} : [4] point
         %6 = gather(%5) {n=4, table=[0..4]} : [4] point
         %7 = slice(%6) {n=4, start=0, length=4} : [4] point
         %8 = reindex(%7) {from=[4], to=[4], map=[[1,0]]} : [4] point
         return y = %8",
    );
    let simple = run_passes(given, &[], &mut vec![]).expect("passes");
    assert_eq!(body(&simple), "%0 = input x : [4] point\n%1 = square(%0) : [4] point\nreturn y = %1");
}

#[test]
fn fold_drops_maps_that_do_nothing_and_no_others() {
    for (map, drops) in [
        ("scale(%0) {by=1.0} : [4] point", true),
        ("scale(%0) {by=2.0} : [4] point", false),
        ("reshape(%0) {from=[4], to=[2,2]} : [2,2] point", false),
        ("slice(%0) {n=4, start=0, length=3} : [3] point", false),
        ("slice(%0) {n=4, start=1, length=3} : [3] point", false),
        ("gather(%0) {n=4, table=[0,1,2]} : [3] point", false),
        ("gather(%0) {n=4, table=[1,0,2,3]} : [4] point", false),
        ("reindex(%0) {from=[4], to=[4], map=[[0,0]]} : [4] point", false),
        ("reindex(%0) {from=[4], to=[2], map=[[1,0]]} : [2] point", false),
    ] {
        let folded = body(&fold(&graph(&format!("%0 = input x : [4] point\n%1 = {map}\nreturn y = %1"))).expect("types"));
        assert_eq!(folded.contains("return y = %0"), drops, "{map}: {folded}");
    }
    for (directions, drops) in [(1, true), (2, false)] {
        let text =
            format!("%0 = input x : [{directions}] map(4)\n%1 = steer(%0) {{N={directions}}} : [{}] map(4)\nreturn y = %1", 2 * directions - 1);
        let folded = body(&fold(&graph(&text)).expect("types"));
        assert_eq!(folded.contains("return y = %0"), drops, "{directions} directions: {folded}");
    }
}

#[test]
fn fold_does_not_repeat_dear_work_for_several_readers() {
    let given = graph(
        "%0 = input x : [4] point
         %1 = exp(%0) : [4] point
         %2 = mul(%1, %0) : [4] point
         %3 = add(%1, %0) : [4] point
         return y = %2
         return z = %3",
    );
    let folded = fold(&given).expect("types");
    assert_eq!(body(&folded).matches("exp(").count(), 1, "{folded}");
}

#[test]
fn fold_composes_for_several_readers_what_costs_no_more() {
    let given = graph("%0 = input x : [4] point\n%1 = abs(%0) : [4] point\n%2 = square(%1) : [4] point\nreturn a = %1\nreturn y = %2");
    assert!(body(&fold(&given).expect("types")).contains("square(%0)"));
}

#[test]
fn long_chains_of_functions_stay_small() {
    // Each softplus uses its operand twice: substituted without a bound, forty of them would have 2^40 terms.
    let mut text = "%0 = input x : [4] point\n".to_string();
    for k in 0..40 {
        text += &format!("%{} = softplus(%{k}) : [4] point\n", k + 1);
    }
    let simple = run_passes(graph(&format!("{text}return y = %40")), &[], &mut vec![]).expect("passes");
    let length = simple.to_string().len();
    assert!(length < 20_000, "{length} characters");
}

const PRODUCT: &str = "\
%0 = input x : [] coefficients(4)
%1 = harmonic_inverse(%0) {L_in=4, L=4} : [] rings(4,4)
%2 = ring_inverse(%1) {L=4, M=4} : [] map(4)
%3 = square(%2) : [] map(4)
%4 = mean(%3) {L=4} : [] point
return power = %4
";

#[test]
fn parseval_averages_products_from_half_spectra() {
    let simple = prune(&parseval(&graph(PRODUCT)).expect("types")).expect("types");
    let text = body(&simple);
    assert!(text.contains("ring_mean(") && !text.contains("ring_inverse("), "{text}");
}

#[test]
fn parseval_leaves_fields_alone_that_are_needed_as_samples() {
    let given = graph(&format!("{PRODUCT}\nreturn samples = %2"));
    assert_eq!(parseval(&given).expect("types"), given);
    // Nor those that stay because of another product's reader.
    let given = graph(&format!("{PRODUCT}\n%5 = abs(%3) : [] map(4)\n%6 = mean(%5) {{L=4}} : [] point\nreturn other = %6"));
    assert_eq!(parseval(&given).expect("types"), given);
    let given = graph(&format!("{PRODUCT}\n%5 = abs(%2) : [] map(4)\n%6 = mean(%5) {{L=4}} : [] point\nreturn other = %6"));
    assert_eq!(parseval(&given).expect("types"), given);
    // A product with a modulus is no product of two syntheses.
    let given = graph(&PRODUCT.replace("%3 = square(%2)", "%3 = map(%2) {f=mul(a, abs(a))}"));
    assert_eq!(parseval(&given).expect("types"), given);
}

#[test]
fn products_of_an_average_keep_their_factors() {
    let products = PASSES.iter().find(|pass| pass.name == "products").expect("a pass").run;
    for (f, expected) in [
        ("mul(a, b)", "return s = %4"),
        ("mul(-3.0, mul(a, b))", "{f=mul(-3.0, a)}"),
        ("neg(mul(a, b))", "neg(%"),
        ("sub(mul(a, b), mul(2.0, mul(b, b)))", "{f=add(a, mul(-2.0, b))}"),
    ] {
        let given = graph(&format!(
            "%0 = input x : [] pixels(2,48)
             %1 = input y : [2] pixels(2,48)
             %2 = reindex(%0) {{from=[], to=[2], map=[]}} : [2] pixels(2,48)
             %3 = map(%2, %1) {{f={f}}} : [2] pixels(2,48)
             %4 = pixel_mean(%3) {{nside=2, n=48}} : [2] point
             return s = %4"
        ));
        let text = body(&prune(&products(&given).expect("types")).expect("types"));
        assert!(text.contains(expected) && text.contains("mul(%2, %1)"), "{f}: {text}");
    }
}

/// A graph and what the pass `products` makes of it: the average of the last of some nodes, numbered from %5, on x, y, w and on x and w repeated, %0 to %4.
fn averaged(nodes: &[&str]) -> (String, String) {
    let products = PASSES.iter().find(|pass| pass.name == "products").expect("a pass").run;
    let fields = "[2] pixels(2,48)";
    let mut text = format!(
        "%0 = input x : [] pixels(2,48)
         %1 = input y : {fields}
         %2 = input w : [] pixels(2,48)
         %3 = reindex(%0) {{from=[], to=[2], map=[]}} : {fields}
         %4 = reindex(%2) {{from=[], to=[2], map=[]}} : {fields}\n"
    );
    for (k, node) in nodes.iter().enumerate() {
        text += &format!("%{} = {node} : {fields}\n", 5 + k);
    }
    let last = 4 + nodes.len();
    let given = graph(&format!("{text}%{} = pixel_mean(%{last}) {{nside=2, n=48}} : [2] point\nreturn s = %{}", last + 1, last + 1));
    (body(&given), body(&prune(&products(&given).expect("types")).expect("types")))
}

const FOUR: &str = "add(mul(a, b), add(mul(a, c), add(mul(b, c), mul(b, b))))";

#[test]
fn products_of_three_factors_weigh_before_anything_is_repeated() {
    for (nodes, weight) in [
        (&["map(%3, %1, %4) {f=mul(c, mul(a, b))}"][..], "%3 = mul(%2, %0) : [] pixels(2,48)"),
        // The weight is one entry of another value, the same for all.
        (
            &["reindex(%1) {from=[2], to=[2], map=[[0,1]]}", "map(%3, %1, %5) {f=mul(c, mul(a, b))}"],
            "%3 = reindex(%1) {from=[2], to=[], map=[[1]]} : [] pixels(2,48)\n%4 = mul(%3, %0) : [] pixels(2,48)",
        ),
    ] {
        let (_, found) = averaged(nodes);
        let last = found.lines().nth_back(1).unwrap_or_default();
        assert!(found.contains(weight) && last.contains("= pixel_mean("), "{found}");
    }
}

#[test]
fn products_are_taken_apart_up_to_four_terms_of_known_factors() {
    let four = format!("map(%3, %1, %4) {{f={FOUR}}}");
    let five = format!("map(%3, %1, %4) {{f=add(mul(c, c), {FOUR})}}");
    for (nodes, averages, end) in [
        (&[four.as_str()][..], 4, "{f=add(add(add(a, b), c), d)}"),
        (&["map(%3, %1) {f=mul(mul(2.0, a), mul(4.0, b))}"], 1, "{f=mul(8.0, a)}"),
        // What is no polynomial, or has too many terms, is a factor as it stands.
        (&["abs(%4)", "map(%3, %1, %5) {f=mul(-3.0, mul(a, c))}"], 1, "{f=mul(-3.0, a)}"),
        (&[five.as_str(), "map(%3, %5) {f=mul(-2.0, mul(a, b))}"], 1, "{f=mul(-2.0, a)}"),
    ] {
        let (_, found) = averaged(nodes);
        let last = found.lines().nth_back(1).unwrap_or_default();
        assert!(last.contains(end) && found.matches("pixel_mean(").count() == averages, "{found}");
    }
}

#[test]
fn other_averages_are_left_alone() {
    let five = format!("map(%3, %1, %4) {{f=add(mul(c, c), {FOUR})}}");
    for nodes in [
        &[five.as_str()][..],
        &["map(%3, %1) {f=mul(mul(2.0, a), abs(b))}"],
        // Four factors.
        &["map(%3, %1) {f=mul(b, mul(a, mul(b, a)))}"],
        // Axes turned round repeat nothing.
        &["reindex(%1) {from=[2], to=[2], map=[[-1,1]]}", "map(%1, %5) {f=mul(-2.0, mul(a, b))}"],
    ] {
        let (given, found) = averaged(nodes);
        assert_eq!(body(&prune(&graph(&given)).expect("types")), found);
    }
}

fn pass(name: &str, graph: &Graph) -> Graph {
    (PASSES.iter().find(|pass| pass.name == name).expect("a pass").run)(graph).expect("types")
}

/// The average of products of wavelet transforms of x and of y, of N azimuthal orders at L; further nodes read the steered transforms %4 and %5.
fn wavelets(L: usize, N: usize, more: &str) -> Graph {
    let G = 2 * N - 1;
    let wavelet = format!("{{L_in={L}, L={L}, N={N}, j={}}}", L.ilog2() + 1);
    graph(&format!(
        "%0 = input x : [] coefficients({L})
         %1 = input y : [2] coefficients({L})
         %2 = wigner_inverse(%0) {wavelet} : [{N}] rings({L},{L})
         %3 = wigner_inverse(%1) {wavelet} : [2,{N}] rings({L},{L})
         %4 = steer(%2) {{N={N}}} : [{G}] rings({L},{L})
         %5 = steer(%3) {{N={N}}} : [2,{G}] rings({L},{L})
         %6 = reindex(%4) {{from=[{G}], to=[2,{G}], map=[[0,1,0]]}} : [2,{G}] rings({L},{L})
         %7 = mul(%6, %5) : [2,{G}] rings({L},{L})
         %8 = ring_mean(%7) {{L={L}, M={L}}} : [2,{G}] point
         return c = %8
         {more}"
    ))
}

#[test]
fn harmonic_averages_products_of_wavelets_from_coefficients() {
    for (L, N) in [(4, 2), (4, 3), (LARGEST_FRAME, LARGEST_FRAME)] {
        let found = body(&prune(&pass("harmonic", &wavelets(L, N, ""))).expect("types"));
        assert!(found.contains("frame_operator(") && !found.contains("wigner_inverse("), "{found}");
    }
    // One of the transforms disappears.
    let more = "%9 = ring_inverse(%5) {L=4, M=4} : [2,5] map(4)\nreturn samples = %9";
    let found = body(&prune(&pass("harmonic", &wavelets(4, 3, more))).expect("types"));
    assert!(found.contains("frame_operator(%0)") && found.matches("wigner_inverse(").count() == 1, "{found}");
}

#[test]
fn harmonic_leaves_wavelets_alone_that_others_read() {
    for more in [
        "return x = %2\nreturn y = %3",
        "return x = %4\nreturn y = %5",
        "%9 = square(%4) : [5] rings(4,4)\n%10 = square(%5) : [2,5] rings(4,4)\nreturn x = %9\nreturn y = %10",
        "%9 = ring_inverse(%2) {L=4, M=4} : [3] map(4)\n%10 = ring_inverse(%3) {L=4, M=4} : [2,3] map(4)\nreturn x = %9\nreturn y = %10",
        "%9 = ring_inverse(%4) {L=4, M=4} : [5] map(4)\n%10 = ring_inverse(%5) {L=4, M=4} : [2,5] map(4)\nreturn x = %9\nreturn y = %10",
    ] {
        let given = wavelets(4, 3, more);
        assert_eq!(pass("harmonic", &given), given);
    }
    let given = wavelets(LARGEST_FRAME + 1, LARGEST_FRAME + 1, "");
    assert_eq!(pass("harmonic", &given), given);
    // Coefficients in azimuth are no directions.
    let given = graph(
        "%0 = input x : [] coefficients(4)
         %1 = wigner_inverse(%0) {L_in=4, L=4, N=2, j=1} : [2] rings(4,4)
         %2 = square(%1) : [2] rings(4,4)
         %3 = ring_mean(%2) {L=4, M=4} : [2] point
         return c = %3",
    );
    assert_eq!(pass("harmonic", &given), given);
}

/// What the pass `regroup` makes of nodes from %7 on, which read another sum (%0) and parts of a mixture: products (%4 and %5) and an operated one (%6).
fn regrouped(nodes: &str) -> (Graph, Graph) {
    let given = graph(&format!(
        "%0 = input o : [] coefficients(4)
         %1 = input x : [3] coefficients(4)
         %2 = input c : [3] point
         %3 = coefficient_sum^H(%2) {{L=4}} : [3] coefficients(4)
         %4 = mul(%1, %3) : [3] coefficients(4)
         %5 = reindex^H(%4) {{from=[], to=[3], map=[]}} : [] coefficients(4)
         %6 = frame_operator^H(%4) {{L_in=4, L_out=4, L=4, N=2, j=1}} : [] coefficients(4)
         {nodes}"
    ));
    let found = prune(&pass("regroup", &given)).expect("types");
    (given, found)
}
#[test]
fn regroup_brings_the_parts_of_a_mixture_together() {
    for (nodes, expected) in [
        (
            "%7 = reindex^H(%6) {from=[], to=[], map=[]} : [] coefficients(4)
             %8 = map(%7, %0, %6) {f=add(add(a, b), c)} : [] coefficients(4)
             return s = %8",
            "%7 = add(%6, %5) : [] coefficients(4)\n%8 = add(%7, %0)",
        ),
        // The sum inside is opened.
        (
            "%7 = add(%6, %0) : [] coefficients(4)
             %8 = frame_operator^H(%1) {L_in=4, L_out=4, L=4, N=2, j=0} : [] coefficients(4)
             %9 = add(%7, %8) : [] coefficients(4)
             return s = %9",
            "%7 = add(%5, %6) : [] coefficients(4)\n%8 = add(%7, %0)",
        ),
        (
            "%7 = reindex(%0) {from=[], to=[3], map=[]} : [3] coefficients(4)
             %8 = map(%1, %3, %7) {f=add(add(mul(a, b), c), mul(b, c))} : [3] coefficients(4)
             return s = %8",
            "%5 = map(%1, %3, %4) {f=add(mul(a, b), mul(b, c))} : [3] coefficients(4)\n%6 = add(%5, %4)",
        ),
        // Products that are nodes stay nodes.
        (
            "%7 = reindex(%0) {from=[], to=[3], map=[]} : [3] coefficients(4)
             %8 = mul(%3, %7) : [3] coefficients(4)
             %9 = map(%4, %7, %8) {f=add(add(a, b), c)} : [3] coefficients(4)
             return s = %9",
            "%7 = add(%4, %6) : [3] coefficients(4)\n%8 = add(%7, %5)",
        ),
    ] {
        let found = body(&regrouped(nodes).1);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn regroup_leaves_sums_alone_that_have_one_part_or_that_others_read() {
    let inner = "%7 = add(%6, %0) : [] coefficients(4)
                 %8 = frame_operator^H(%1) {L_in=4, L_out=4, L=4, N=2, j=0} : [] coefficients(4)
                 %9 = add(%7, %8) : [] coefficients(4)";
    for nodes in [
        "%7 = neg(%0) : [] coefficients(4)\n%8 = map(%0, %6, %7) {f=add(add(a, b), c)} : [] coefficients(4)\nreturn s = %8".to_string(),
        format!("{inner}\nreturn s = %9\nreturn inner = %7"),
        format!("{inner}\n%10 = neg(%7) : [] coefficients(4)\nreturn s = %9\nreturn other = %10"),
    ] {
        let (given, found) = regrouped(&nodes);
        assert_eq!(body(&prune(&given).expect("types")), body(&found));
    }
}

const BANK: &str = r#"bank="bank(H=8, W=12, J=2, L=2, folded=0, real=1) filter sample { wavelet = exp(-(row - 1 - j - l)^2 / 5 - (column - 2 + l)^2 / 7); lowpass = exp(-(row^2 + 2 * column^2) / 9); }""#;

#[test]
fn filters_of_one_scale_become_one() {
    let other = BANK.replace("/ 9", "/ 8");
    for (j, bank, joins) in [(1, BANK, true), (0, BANK, false), (1, &*other, false)] {
        let given = graph(&format!(
            "%0 = input x : [] image(8,12)
             %1 = fourier(%0) {{H=8, W=12}} : [] real_spectrum(8,12)
             %2 = filter(%1) {{H=8, W=12, j=1, power=2, real=1, {BANK}}} : [2] spectrum(8,12)
             %3 = filter_each(%2) {{H=8, W=12, j={j}, {bank}}} : [2] spectrum(8,12)
             return y = %3"
        ));
        let found = pass("filters", &given);
        assert_eq!((found.to_string().contains("power=3"), found == given), (joins, !joins), "{found}");
    }
}

#[test]
fn transforms_there_and_back_disappear_for_spectra_of_real_images() {
    let image = graph(
        "%0 = input x : [] image(4,6)
         %1 = fourier(%0) {H=4, W=6} : [] real_spectrum(4,6)
         %2 = fourier_real(%1) {H=4, W=6} : [] image(4,6)
         return y = %2",
    );
    assert!(body(&pass("filters", &image)).contains("return y = %0"));
    let fourier = "%1 = fourier(%0) {H=8, W=12} : [] real_spectrum(8,12)";
    let smooth = format!("%2 = smooth(%1) {{H=8, W=12, j=1, {BANK}}} : [] real_spectrum(8,12)");
    let filter = format!("%2 = spectral_filter(%1) {{H=8, W=12, h=8, w=12, j=1, power=1, {BANK}}} : [2,2] real_spectrum(8,12)");
    for (axes, (H, W), spectrum, drops) in [
        ("[]", (8, 12), format!("%0 = input x : [] image(8,12)\n{fourier}\n{smooth}"), true),
        (
            "[]",
            (4, 6),
            format!("%0 = input x : [] image(8,12)\n{fourier}\n%2 = fold(%1) {{H=8, W=12, h=4, w=6, real=1}} : [] real_spectrum(4,6)"),
            true,
        ),
        ("[]", (5, 7), format!("%0 = input x : [] image(8,12)\n{fourier}\n%2 = clip(%1) {{H=8, W=12, h=5, w=7}} : [] real_spectrum(5,7)"), true),
        (
            "[3]",
            (8, 12),
            format!("%0 = input x : [] image(8,12)\n{fourier}\n%2 = reindex(%1) {{from=[], to=[3], map=[]}} : [3] real_spectrum(8,12)"),
            true,
        ),
        // A spectrum that anyone may give, and one turned by i, belong to no real image.
        ("[]", (8, 12), format!("%0 = input s : [] real_spectrum(8,12)\n%1 = scale(%0) {{by=1.0}} : [] real_spectrum(8,12)\n{smooth}"), false),
        ("[2,2]", (8, 12), format!("%0 = input x : [] image(8,12)\n{fourier}\n{filter}"), false),
    ] {
        let given = graph(&format!(
            "{spectrum}
             %3 = fourier_real(%2) {{H={H}, W={W}}} : {axes} image({H},{W})
             %4 = fourier(%3) {{H={H}, W={W}}} : {axes} real_spectrum({H},{W})
             return y = %4"
        ));
        assert_eq!(body(&pass("filters", &given)).contains("return y = %2"), drops, "{given}");
    }
}

/// What the pass `plancherel` makes of an average of `f` of an image repeated (a) and the real and imaginary parts of its filtered ones (b, c); `more` names a node %7.
fn averaged_image(f: &str, more: &str) -> (Graph, String) {
    let given = graph(&format!(
        "%0 = input x : [] image(8,12)
         %1 = fourier(%0) {{H=8, W=12}} : [] real_spectrum(8,12)
         %2 = filter(%1) {{H=8, W=12, j=1, power=1, real=1, {BANK}}} : [2] spectrum(8,12)
         %3 = fourier_inverse(%2) {{H=8, W=12}} : [2,2] image(8,12)
         %4 = reindex(%3) {{from=[2], to=[], map=[[0]]}} : [2] image(8,12)
         %5 = reindex(%3) {{from=[2], to=[], map=[[1]]}} : [2] image(8,12)
         %6 = reindex(%0) {{from=[], to=[2], map=[]}} : [2] image(8,12)
         %7 = {more}
         %8 = map(%6, %4, %5, %7) {{f={f}}} : [2] image(8,12)
         %9 = average(%8) {{H=8, W=12, top=0, bottom=0, left=0, right=0}} : [2] point
         return s = %9"
    ));
    let found = prune(&pass("plancherel", &given)).expect("types");
    (given, body(&found))
}

/// The same for images on a coarser grid: real and imaginary parts of an image (a, b) and of its filtered ones (c, d).
fn averaged_coarse(f: &str) -> (Graph, String) {
    let given = graph(&format!(
        "%0 = input x : [] image(8,12)
         %1 = fourier(%0) {{H=8, W=12}} : [] real_spectrum(8,12)
         %2 = truncate(%1) {{H=8, W=12, h=4, w=6, real=1}} : [] spectrum(4,6)
         %3 = fourier_inverse(%2) {{H=4, W=6}} : [2] image(4,6)
         %4 = reindex(%3) {{from=[2], to=[], map=[[0]]}} : [] image(4,6)
         %5 = reindex(%3) {{from=[2], to=[], map=[[1]]}} : [] image(4,6)
         %6 = reindex(%4) {{from=[], to=[2], map=[]}} : [2] image(4,6)
         %7 = reindex(%5) {{from=[], to=[2], map=[]}} : [2] image(4,6)
         %8 = filter(%2) {{H=4, W=6, j=1, power=1, real=0, {BANK}}} : [2] spectrum(4,6)
         %9 = fourier_inverse(%8) {{H=4, W=6}} : [2,2] image(4,6)
         %10 = reindex(%9) {{from=[2], to=[], map=[[0]]}} : [2] image(4,6)
         %11 = reindex(%9) {{from=[2], to=[], map=[[1]]}} : [2] image(4,6)
         %12 = map(%6, %7, %10, %11) {{f={f}}} : [2] image(4,6)
         %13 = average(%12) {{H=4, W=6, top=0, bottom=0, left=0, right=0}} : [2] point
         return s = %13"
    ));
    let found = prune(&pass("plancherel", &given)).expect("types");
    (given, body(&found))
}

#[test]
fn plancherel_knows_sign_and_part_of_a_product() {
    let plain = "neg(%6) : [2] image(8,12)";
    let squared = "map(%6) {f=neg(mul(a, a))} : [2] image(8,12)";
    let fine = [
        ("mul(a, b)", plain, 0, 1.0),
        ("mul(b, a)", plain, 0, 1.0),
        ("mul(a, c)", plain, 1, -1.0),
        ("neg(mul(a, b))", plain, 0, -1.0),
        ("neg(mul(c, a))", plain, 1, 1.0),
        ("mul(neg(a), b)", plain, 0, -1.0),
        ("mul(b, d)", plain, 0, -1.0),
        ("neg(mul(neg(a), neg(b)))", plain, 0, -1.0),
        ("mul(b, d)", squared, 0, 1.0),
    ];
    let coarse = [
        ("add(mul(a, c), mul(b, d))", 0, 1.0),
        ("sub(neg(mul(a, c)), mul(b, d))", 0, -1.0),
        ("sub(mul(b, c), mul(a, d))", 1, 1.0),
        ("sub(mul(d, a), mul(c, b))", 1, -1.0),
    ];
    let fine = fine.map(|(f, more, part, sign)| (f, averaged_image(f, more).1, part, sign));
    for (f, found, part, sign) in fine.into_iter().chain(coarse.map(|(f, part, sign)| (f, averaged_coarse(f).1, part, sign))) {
        let taken = format!("{{from=[2], to=[], map=[[{part}]]}} : [2] real_spectrum(");
        let end = found.lines().nth_back(1).unwrap_or_default();
        assert!(found.contains(&taken) && !found.contains("fourier_inverse("), "{f}: {found}");
        assert_eq!((end.contains("= neg("), end.contains("= spectral_sum(")), (sign < 0.0, sign > 0.0), "{f}: {found}");
    }
    // A grid's own frequencies with their opposites.
    let (_, found) = averaged_coarse(coarse[0].0);
    assert!(found.contains("= clip(%1) {H=8, W=12, h=5, w=7}"), "{found}");
    // What is squared and negated is one image.
    let (_, found) = averaged_image("mul(b, d)", squared);
    assert!(found.contains("{f=neg(mul(a, a))} : [2] image(8,12)") && found.matches("= fourier(").count() == 2, "{found}");
}

#[test]
fn plancherel_leaves_other_averages_alone() {
    let plain = "neg(%6) : [2] image(8,12)";
    for f in ["mul(b, b)", "mul(b, c)", "add(mul(a, b), mul(a, c))", "sub(mul(a, b), mul(b, b))", "mul(a, a)", "abs(mul(a, b))", "mul(a, abs(b))"] {
        let (given, found) = averaged_image(f, plain);
        assert_eq!(body(&prune(&given).expect("types")), found, "{f}");
    }
    // Real and imaginary parts that change places are no component.
    let given = graph(&format!(
        "%0 = input x : [] image(8,12)
         %1 = fourier(%0) {{H=8, W=12}} : [] real_spectrum(8,12)
         %2 = filter(%1) {{H=8, W=12, j=1, power=1, real=1, {BANK}}} : [2] spectrum(8,12)
         %3 = fourier_inverse(%2) {{H=8, W=12}} : [2,2] image(8,12)
         %4 = reindex(%3) {{from=[2], to=[2], map=[[1,1]]}} : [2,2] image(8,12)
         %5 = reindex(%0) {{from=[], to=[2,2], map=[]}} : [2,2] image(8,12)
         %6 = mul(%5, %4) : [2,2] image(8,12)
         %7 = average(%6) {{H=8, W=12, top=0, bottom=0, left=0, right=0}} : [2,2] point
         return s = %7"
    ));
    assert_eq!(pass("plancherel", &given), given);
    for f in ["add(mul(a, d), mul(b, c))", "sub(mul(a, c), mul(b, d))", "mul(a, c)", "add(mul(a, c), mul(a, d))"] {
        let (given, found) = averaged_coarse(f);
        assert_eq!(body(&prune(&given).expect("types")), found, "{f}");
    }
}

#[test]
fn plancherel_reads_the_spectrum_of_a_real_image_where_there_is_one() {
    for (spectrum, transforms) in [("%1", 1), ("%2", 2)] {
        let given = graph(&format!(
            "%0 = input x : [] image(8,12)
             %1 = fourier(%0) {{H=8, W=12}} : [] real_spectrum(8,12)
             %2 = input s : [] real_spectrum(8,12)
             %3 = filter(%1) {{H=8, W=12, j=1, power=1, real=1, {BANK}}} : [2] spectrum(8,12)
             %4 = fourier_inverse(%3) {{H=8, W=12}} : [2,2] image(8,12)
             %5 = reindex(%4) {{from=[2], to=[], map=[[0]]}} : [2] image(8,12)
             %6 = smooth({spectrum}) {{H=8, W=12, j=1, {BANK}}} : [] real_spectrum(8,12)
             %7 = fourier_real(%6) {{H=8, W=12}} : [] image(8,12)
             %8 = reindex(%7) {{from=[], to=[2], map=[]}} : [2] image(8,12)
             %9 = mul(%8, %5) : [2] image(8,12)
             %10 = average(%9) {{H=8, W=12, top=0, bottom=0, left=0, right=0}} : [2] point
             return s = %10"
        ));
        let found = body(&prune(&pass("plancherel", &given)).expect("types"));
        assert!(found.contains("spectral_sum(") && found.matches("= fourier(").count() == transforms, "{spectrum}: {found}");
    }
}

#[test]
fn spectra_are_clipped_from_the_next_larger_ones() {
    for (sizes, from) in [
        (&[(5, 7)][..], (8, 12)),
        (&[(7, 9), (5, 7)], (7, 9)),
        (&[(7, 11), (5, 9), (3, 7)], (5, 9)),
        (&[(7, 9), (5, 9)], (7, 9)),
        (&[(5, 9), (5, 7)], (5, 9)),
        (&[(7, 5), (7, 9), (5, 7)], (7, 9)),
        // Neither lies inside the other.
        (&[(7, 7), (5, 9)], (8, 12)),
        (&[(5, 9), (7, 7)], (8, 12)),
        (&[(7, 7), (5, 9), (5, 7)], (8, 12)),
    ] {
        let mut text = "%0 = input x : [] real_spectrum(8,12)\n".to_string();
        for (k, (h, w)) in sizes.iter().enumerate() {
            text += &format!("%{} = clip(%0) {{H=8, W=12, h={h}, w={w}}} : [] real_spectrum({h},{w})\n", k + 1);
        }
        let (h, w) = sizes[sizes.len() - 1];
        let found = body(&pass("plancherel", &graph(&format!("{text}return y = %{}", sizes.len()))));
        let expected = format!("{{H={}, W={}, h={h}, w={w}}}", from.0, from.1);
        assert!(found.contains(&expected), "{sizes:?}: {found}");
    }
}

const LAYER: &str = "\
%0 = input x : [] map(8)
%1 = ring_forward(%0) {L=8, M=8} : [] rings(8,8)
%2 = harmonic_forward(%1) {L=8, M=8, L_out=8} : [] coefficients(8)
%3 = scaling_inverse(%2) {L_in=8, L=8, j=0} : [] rings(4,4)
return y = %3
";

#[test]
fn bandlimit_keeps_the_degrees_and_orders_that_are_read() {
    let expected = "\
%0 = input x : [] map(8)
%1 = ring_forward(%0) {L=8, M=4} : [] rings(8,4)
%2 = harmonic_forward(%1) {L=8, M=4, L_out=4} : [] coefficients(4)
%3 = scaling_inverse(%2) {L_in=4, L=8, j=0} : [] rings(4,4)
return y = %3";
    assert_eq!(body(&bandlimit(&graph(LAYER)).expect("types")), expected);
}

#[test]
fn bandlimit_knows_what_a_synthesis_on_a_coarser_grid_reads() {
    let given = LAYER.replace("scaling_inverse(%2) {L_in=8, L=8, j=0}", "harmonic_inverse(%2) {L_in=8, L=4}");
    let found = body(&bandlimit(&graph(&given)).expect("types"));
    assert!(found.contains("{L=8, M=4, L_out=4}") && found.contains("harmonic_inverse(%2) {L_in=4, L=4}"), "{found}");
}

#[test]
fn bandlimit_leaves_coefficients_alone_that_others_read() {
    for also in ["return all = %2", "%4 = coefficient_power(%2) {L=8, skip_mean=0} : [] point\nreturn p = %4"] {
        let given = graph(&format!("{LAYER}\n{also}"));
        assert_eq!(bandlimit(&given).expect("types"), given, "{also}");
    }
}

#[test]
fn every_pass_is_idempotent_on_its_own_result() {
    for text in [PRODUCT, LAYER] {
        let simple = run_passes(graph(text), &[], &mut vec![]).expect("passes");
        let again = run_passes(simple.clone(), &[], &mut vec![]).expect("passes");
        assert_eq!(again, simple);
    }
}

#[test]
fn the_trace_has_one_stage_per_pass_and_left_out_passes_do_not_run() {
    let mut trace = Vec::new();
    run_passes(graph(PRODUCT), &[], &mut trace).expect("passes");
    assert_eq!(trace.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), PASSES.iter().map(|p| p.name).collect::<Vec<_>>());
    assert!(trace.iter().all(|s| s.sentence.ends_with('.')));
    let mut trace = Vec::new();
    let simple = run_passes(graph(PRODUCT), &["parseval".to_string()], &mut trace).expect("passes");
    assert!(trace.iter().all(|s| s.name != "parseval") && simple.to_string().contains("ring_inverse"));
    assert!(matches!(known(&["parsival".to_string()]), Err(PassError::Unknown { found, .. }) if found == "parsival"));
}
