//! Errors in units of the largest number, as L grows, as two Markdown tables: the harmonic transform against sums in double-double, up to L = 4096, and statistics and gradients.
//! `cargo run --release --example accuracy [LARGEST_L [LARGEST_L_OF_STATISTICS]]`.
#![allow(non_snake_case)]

#[allow(dead_code)]
#[path = "../kernels/src/double.rs"]
mod double;

use double::Double;
use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::schedule::schedule_cpu;
use scatterc::ir::{Builder, Linear, Space, Type};
use scatterc::random::samples;
use scatterc::runtime::{Executable, Options, reference};
use scatterc::{Compiler, Device, Element, Error, Goal, InputKind, Source, Sphere};

fn error(found: &[f64], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / scale
}

/// P_n and P_{n-1} at x.
fn legendre(n: usize, x: Double) -> (Double, Double) {
    let (mut last, mut p) = (Double::ONE, x);
    for k in 2..=n {
        let k = k as f64;
        let next = x.mul(p).scale(2.0 * k - 1.0).add(last.scale(1.0 - k)).div(Double::new(k));
        (last, p) = (p, next);
    }
    (p, last)
}

/// cos and sin of the colatitude of ring t of L, to some 30 digits: the root of P_L, from Tricomi's start.
fn node(L: usize, t: usize) -> (Double, Double) {
    let n = L as f64;
    let mut x = Double::new((1.0 - (n - 1.0) / (8.0 * n.powi(3))) * (std::f64::consts::PI * (4.0 * t as f64 + 3.0) / (4.0 * n + 2.0)).cos());
    let sine_squared = |x: Double| Double::ONE.add(x.neg()).mul(Double::ONE.add(x));
    for _ in 0..5 {
        let (p, last) = legendre(L, x);
        let slope = last.add(x.mul(p).neg()).scale(n).div(sine_squared(x));
        x = x.add(p.div(slope).neg());
    }
    (x, sine_squared(x).sqrt())
}

/// sum over l of f_lm Y_lm(theta, 0), by the recursion in l in double-double with an exponent of its own, so that nothing underflows.
fn ring_sum(L: usize, m: usize, (cosine, sine): (Double, Double), coefficient: impl Fn(usize) -> (f64, f64)) -> (f64, f64) {
    const BIG: f64 = 1.157_920_892_373_162e77; // 2^256
    let mut exponent = 0i32;
    let pi = Double { hi: std::f64::consts::PI, lo: 1.224_646_799_147_353_2e-16 };
    let mut p = Double::ONE.div(pi.scale(4.0)).sqrt();
    for k in 1..=m {
        let k = k as f64;
        p = p.mul(sine).mul(Double::new(2.0 * k + 1.0).div(Double::new(2.0 * k)).sqrt()).neg();
        if p.hi.abs() < 1.0 / BIG {
            p = p.times_power_of_two(BIG);
            exponent -= 1;
        }
    }
    let mut last = Double::new(0.0);
    let (mut re, mut im) = (Double::new(0.0), Double::new(0.0));
    let square = |l: usize| Double::new((l * l - m * m) as f64);
    for l in m..L {
        if l > m {
            // a_l x P_{l-1} - a_l / a_{l-1} P_{l-2}
            let a = |l: usize| Double::new((4 * l * l - 1) as f64).div(square(l)).sqrt();
            let mut next = a(l).mul(cosine).mul(p);
            if l > m + 1 {
                next = next.add(a(l).div(a(l - 1)).mul(last).neg());
            }
            (last, p) = (p, next);
            if p.hi.abs() > BIG {
                (last, p) = (last.times_power_of_two(1.0 / BIG), p.times_power_of_two(1.0 / BIG));
                exponent += 1;
            }
        }
        if exponent >= -3 {
            let y = p.times_power_of_two(BIG.powi(exponent));
            let (a, b) = coefficient(l);
            re = re.add(y.scale(a));
            im = im.add(y.scale(b));
        }
    }
    (re.hi, im.hi)
}

/// Errors of the rings of the harmonic transform against double-double: over all chosen rings and orders, and on the two polar rings, of the largest number there.
fn rings(L: usize, element: Element) -> Result<(f64, f64), Error> {
    let mut b = Builder::new("rings");
    let x = b.input("x", Type::new([], Space::Coefficients { L }))?;
    let y = b.linear(Linear::HarmonicInverse { L_in: L, L }, x)?;
    b.output("y", y);
    let plan = schedule_cpu(&b.finish(), Fusion::All, element)?.plan;
    // Numbers that f32 holds, so that both elements see the same.
    let x: Vec<f64> = samples(L * (L + 1), 1, 0).into_iter().map(|x| f64::from(x as f32)).collect();
    let found = Executable::load(&plan, &Options::default())?.run(&[("x", &x)])?;
    let found = &found[0].1;
    let orders: Vec<usize> = [0, 1, 2, 3, 4, 7, 20, L / 8, L / 3, L / 2, L - 2, L - 1].into_iter().filter(|m| *m < L).collect();
    let some: Vec<usize> = [0, 1, 2, 5, L / 100, L / 10, L / 4, L / 3, L / 2, 2 * L / 3, L - 2, L - 1].into_iter().filter(|t| *t < L).collect();
    let (mut all, mut polar) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
    for t in some {
        let at = node(L, t);
        for m in &orders {
            let place = |l: usize| 2 * (m * (2 * L - 1 - m) / 2 + l);
            let (re, im) = ring_sum(L, *m, at, |l| (x[place(l)], if *m == 0 { 0.0 } else { x[place(l) + 1] }));
            let k = 2 * (t * L + m);
            let difference = (found[k] - re).abs().max(if *m == 0 { 0.0 } else { (found[k + 1] - im).abs() });
            let size = re.abs().max(im.abs());
            all = (all.0.max(difference), all.1.max(size));
            if t == 0 || t == L - 1 {
                polar = (polar.0.max(difference), polar.1.max(size));
            }
        }
    }
    Ok((all.0 / all.1, polar.0 / polar.1))
}

/// Coefficients -> samples -> coefficients on the grid of bandlimit L.
fn round_trip(L: usize, element: Element) -> Result<f64, Error> {
    let mut b = Builder::new("round_trip");
    let x = b.input("x", Type::new([], Space::Coefficients { L }))?;
    let steps = [
        Linear::HarmonicInverse { L_in: L, L },
        Linear::RingInverse { L, M: L },
        Linear::RingForward { L, M: L },
        Linear::HarmonicForward { L, M: L, L_out: L },
    ];
    let mut y = x;
    for map in steps {
        y = b.linear(map, y)?;
    }
    b.output("y", y);
    let plan = schedule_cpu(&b.finish(), Fusion::All, element)?.plan;
    let mut x = samples(L * (L + 1), 1, 0);
    // The imaginary parts at m = 0, the first L numbers, describe nothing.
    x[..2 * L].iter_mut().skip(1).step_by(2).for_each(|x| *x = 0.0);
    let found = Executable::load(&plan, &Options::default())?.run(&[("x", &x)])?;
    Ok(error(&found[0].1, &x))
}

/// Outputs of a goal by device; a gradient is compared as one array.
fn outputs(L: usize, goal: Goal, element: Option<Element>) -> Result<Vec<f64>, Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(L, 3, 0, InputKind::Half)?;
    let compiler = Compiler::new(&source, &sphere).goal(goal).device(Device::Cpu(element.unwrap_or(Element::F64)));
    let (compiled, mut executable) = compiler.executable()?;
    let inputs: Vec<(String, Vec<f64>)> = executable
        .inputs()
        .iter()
        .enumerate()
        .map(|(k, port)| {
            let mut values = samples(port.ty.len(), k as u64 + 1, 0);
            if port.ty.space == Space::Point {
                values.iter_mut().for_each(|x| *x = 1.0 + 0.1 * *x);
            }
            (port.name.clone(), values)
        })
        .collect();
    let given: Vec<(&str, &[f64])> = inputs.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    let results = if element.is_none() { reference::run(&compiled.bound.graph, &given)? } else { executable.run(&given)? };
    Ok(results.into_iter().flat_map(|(_, values)| values).collect())
}

fn main() -> Result<(), Error> {
    let given = |k: usize, default: usize| std::env::args().nth(k).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (largest, largest_statistics) = (given(1, 4096), given(2, 512));
    println!("| L | rings f64 | polar rings f64 | rings f32 | polar rings f32 | round trip f64 | round trip f32 |\n|---|---|---|---|---|---|---|");
    for L in (3..).map(|k| 1usize << k).take_while(|L| *L <= largest) {
        let ((double, double_polar), (single, single_polar)) = (rings(L, Element::F64)?, rings(L, Element::F32)?);
        let (there, there_single) = (round_trip(L, Element::F64)?, round_trip(L, Element::F32)?);
        println!("| {L} | {double:.1e} | {double_polar:.1e} | {single:.1e} | {single_polar:.1e} | {there:.1e} | {there_single:.1e} |");
    }
    println!("\n| L | statistics f64 against the reference | statistics f32 against f64 | gradient f32 against f64 |\n|---|---|---|---|");
    for L in (3..).map(|k| 1usize << k).take_while(|L| *L <= largest_statistics) {
        let own = outputs(L, Goal::Statistics, Some(Element::F64))?;
        let slow = if L <= 32 { format!("{:.1e}", error(&own, &outputs(L, Goal::Statistics, None)?)) } else { String::new() };
        let single = error(&outputs(L, Goal::Statistics, Some(Element::F32))?, &own);
        let gradient = Goal::Gradient("l2".into());
        let slope = error(&outputs(L, gradient.clone(), Some(Element::F32))?, &outputs(L, gradient, Some(Element::F64))?);
        println!("| {L} | {slow} | {single:.1e} | {slope:.1e} |");
    }
    Ok(())
}
