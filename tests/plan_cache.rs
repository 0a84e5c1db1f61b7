//! Plans kept between starts: the same values, never the wrong plan, damaged entries made again.
#![allow(non_snake_case)]

use scatterc::compiler::fuse::Fusion;
use scatterc::runtime::Cache;
use scatterc::{Compiler, Error, Goal, InputKind, Source, Sphere};
use std::sync::Arc;

/// Values of the statistic on a fixed field.
fn values(compiler: &Compiler, L: usize) -> Result<Vec<(String, Vec<f64>)>, Error> {
    let (_, mut executable) = compiler.executable()?;
    let x: Vec<f64> = (0..2 * L * L).map(|k| ((k * k + 3 * k) % 17) as f64 / 17.0 - 0.4).collect();
    Ok(executable.run(&[("x", &x)])?)
}

fn plan_files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| std::fs::read(p).is_ok_and(|bytes| bytes.windows(7).any(|w| w == b"s2scat "))).collect()
}

#[test]
fn a_stored_plan_gives_the_same_values_and_a_damaged_one_is_made_again() -> Result<(), Error> {
    let L = 32;
    let directory = std::env::temp_dir().join(format!("scatterc-plans-{}", std::process::id()));
    let (source, sphere) = (Source::find("s2scat")?, Sphere::new(L, 3, 0, InputKind::Half)?);
    let compiler = || Compiler::new(&source, &sphere).threads(1).cache(Arc::new(Cache::at(&directory, 1 << 30)));
    let first = values(&compiler(), L)?;
    assert_eq!(plan_files(&directory).len(), 1, "one plan was stored");
    // Another cache object reads the file; its stages are not there, its values are.
    let warm = compiler();
    assert!(warm.executable()?.0.trace.is_empty(), "the plan came from the cache");
    assert_eq!(values(&warm, L)?, first);
    // Every other choice is another plan.
    for other in [
        compiler().goal(Goal::Gradient("l2".into())),
        compiler().fusion(Fusion::Loops),
        compiler().disable(&["harmonic".to_string()]),
        compiler().batch(Some(2)),
        compiler().number("delta", 1.0),
        compiler().variant(Some("isotropic")),
        compiler().array("P"),
        compiler().memory(Some(1 << 32)),
    ] {
        assert!(!other.executable()?.0.trace.is_empty(), "a plan of other choices was taken");
    }
    let small = Sphere::new(L, 3, 1, InputKind::Half)?;
    let (compiled, _) = Compiler::new(&source, &small).threads(1).cache(Arc::new(Cache::at(&directory, 1 << 30))).executable()?;
    assert!(!compiled.trace.is_empty(), "the plan of another domain was taken");
    for path in plan_files(&directory) {
        let mut bytes = std::fs::read(&path).expect("the file was just listed");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("the directory can be written");
    }
    let repaired = compiler();
    assert!(!repaired.executable()?.0.trace.is_empty(), "a damaged plan was taken");
    assert_eq!(values(&compiler(), L)?, first);
    std::fs::remove_dir_all(&directory).ok();
    Ok(())
}
