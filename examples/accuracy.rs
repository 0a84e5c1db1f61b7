//! Errors in units of the largest number, as L grows, as a Markdown table. `cargo run --release --example accuracy [LARGEST_L]`.
#![allow(non_snake_case)]

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
    let largest: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(512);
    println!(
        "| L | round trip f64 | round trip f32 | statistics f64 against the reference | statistics f32 against f64 | gradient f32 against f64 |\n|---|---|---|---|---|---|"
    );
    let mut L = 8;
    while L <= largest {
        let own = outputs(L, Goal::Statistics, Some(Element::F64))?;
        let slow = if L <= 32 { format!("{:.1e}", error(&own, &outputs(L, Goal::Statistics, None)?)) } else { String::new() };
        let single = error(&outputs(L, Goal::Statistics, Some(Element::F32))?, &own);
        let gradient = Goal::Gradient("l2".into());
        let slope = error(&outputs(L, gradient.clone(), Some(Element::F32))?, &outputs(L, gradient, Some(Element::F64))?);
        println!("| {L} | {:.1e} | {:.1e} | {slow} | {single:.1e} | {slope:.1e} |", round_trip(L, Element::F64)?, round_trip(L, Element::F32)?);
        L *= 2;
    }
    Ok(())
}
