//! Prints the plan of the built-in statistic's gradient: `cargo run --example plan -- 8 3 0`.

use scatterc::{Compiler, Error, Goal, InputKind, Source, Sphere};

fn main() -> Result<(), Error> {
    let mut sizes = std::env::args().skip(1).map(|a| a.parse().unwrap_or(8));
    let (L, N, J_min) = (sizes.next().unwrap_or(8), sizes.next().unwrap_or(3), sizes.next().unwrap_or(0));
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(L, N, J_min, InputKind::Half)?;
    let compiled = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).compile()?;
    println!("{}", compiled.plan());
    Ok(())
}
