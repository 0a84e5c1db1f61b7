//! Memory budgets: five of them, the same values for all, the predicted peak within 10 % of what the process holds.

use scatterc::runtime::Cache;
use scatterc::{Compiler, Error, Goal, InputKind, Source, Sphere};
use std::sync::Arc;

const L: usize = 256;

fn field() -> Vec<f64> {
    (0..2 * L * L).map(|k| if (k / 2) % L <= k / 2 / L { ((k * 7919) % 1009) as f64 / 1009.0 - 0.5 } else { 0.0 }).collect()
}

/// The other side of the measurement: a process of its own that loads a saved plan, runs it and tells by how much its resident set grew.
#[test]
fn a_fresh_process_measures_one_plan() {
    let Ok(path) = std::env::var("SCATTERC_TEST_PLAN") else { return };
    let text = std::fs::read_to_string(path).expect("the parent wrote the plan");
    let plan = scatterc::ir::plan::parse(&text).expect("a printed plan parses");
    let x = field();
    let others: Vec<(String, Vec<f64>)> = plan.inputs.iter().filter(|p| p.name != "x").map(|p| (p.name.clone(), vec![0.01; p.ty.len()])).collect();
    let mut given: Vec<(&str, &[f64])> = vec![("x", &x)];
    given.extend(others.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
    // What a process pays once, whatever it runs: threads, their stacks, the code generator.
    let source = Source::find("s2scat").expect("built in");
    let small = Sphere::new(8, 3, 0, InputKind::Half).expect("valid sizes");
    let mut encoder = Compiler::new(&source, &small).threads(2).cache(Arc::new(Cache::in_memory())).encoder().expect("compiles");
    encoder.encode(&vec![0.1; 2 * 8 * 8]).expect("runs");
    let before = resident();
    let options = scatterc::runtime::Options { threads: 2, cache: Some(Arc::new(Cache::in_memory())), ..Default::default() };
    let mut executable = scatterc::runtime::Executable::load(&plan, &options).expect("the plan loads");
    executable.run(&given).expect("the plan runs");
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("grew by {}", after - before);
    }
}

/// Growth of a fresh process that runs the plan; `None` where the system does not tell.
fn measured(plan: &scatterc::ir::Plan, percent: usize) -> Option<f64> {
    resident()?;
    let path = std::env::temp_dir().join(format!("scatterc-memory-{}-{percent}.plan", std::process::id()));
    std::fs::write(&path, plan.to_string()).ok()?;
    let output = std::process::Command::new(std::env::current_exe().ok()?)
        .args(["--exact", "a_fresh_process_measures_one_plan", "--nocapture", "--test-threads", "1"])
        .env("SCATTERC_TEST_PLAN", &path)
        // What the allocator keeps of freed tables is not held by the plan: large blocks go back to the system.
        .envs([("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536")])
        .output();
    std::fs::remove_file(&path).ok();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    text.lines().find_map(|line| line.split("grew by ").nth(1)?.trim().parse().ok())
}

/// Resident bytes of this process; `None` where the system does not tell.
fn resident() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(4096.0 * statm.split_whitespace().nth(1)?.parse::<f64>().ok()?)
}

#[test]
fn five_budgets_give_the_same_values_and_keep_their_promise() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(L, 3, 0, InputKind::Half)?;
    let x = field();
    let cache = Arc::new(Cache::in_memory());
    // Without the harmonic route the fields of the second layer are stored, so there is something to give up.
    let compiler = |memory| {
        let compiler = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).disable(&["harmonic".to_string()]);
        compiler.threads(2).cache(cache.clone()).memory(memory)
    };
    let unlimited = compiler(Some(usize::MAX)).compile()?;
    let note = |plan: &scatterc::ir::Plan| plan.note("peak_bytes").and_then(|b| b.parse::<usize>().ok()).expect("a budgeted plan states its peak");
    let full = note(unlimited.plan());
    let targets: Vec<(String, Vec<f64>)> =
        unlimited.bound.outputs.iter().map(|o| (format!("T.{}", o.name), vec![0.01; o.index.rows.len()])).collect();
    let mut given: Vec<(&str, &[f64])> = vec![("x", &x)];
    given.extend(targets.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
    let fixed = full - 8 * unlimited.plan().arena;
    let mut reference: Option<Vec<(String, Vec<f64>)>> = None;
    for percent in [100, 97, 94, 91, 89] {
        let budget = fixed + 8 * unlimited.plan().arena * percent / 100;
        let compiled = compiler(Some(budget)).compile()?;
        let predicted = note(compiled.plan());
        assert!(predicted <= budget, "{percent} %: predicted {predicted} exceeds the budget {budget}");
        let mut executable = compiled.load(2, Some(cache.clone()))?;
        let results = executable.run(&given)?;
        let memory = executable.memory();
        assert_eq!(memory.arena + memory.tables + memory.scratch, predicted, "{percent} %: the runtime holds what was predicted");
        if let Some(grown) = measured(compiled.plan(), percent) {
            println!("{percent} %: predicted {:.1} MB, measured {:.1} MB", predicted as f64 * 1e-6, grown * 1e-6);
            let error = (grown - predicted as f64).abs() / predicted as f64;
            assert!(error <= 0.1, "{percent} %: measured {grown} bytes, predicted {predicted}");
        }
        match &reference {
            None => reference = Some(results),
            Some(expected) => {
                for ((name, a), (_, b)) in results.iter().zip(expected) {
                    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    let worst = a.iter().zip(b).fold(0.0f64, |m, (p, q)| m.max((p - q).abs()));
                    assert!(worst <= 1e-13 * scale, "{percent} %: `{name}` differs by {worst:e} of {scale:e}");
                }
            }
        }
    }
    // The default plan, which stores no second layer.
    let harmonic =
        Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).threads(2).cache(cache.clone()).memory(Some(usize::MAX)).compile()?;
    let predicted = note(harmonic.plan());
    if let Some(grown) = measured(harmonic.plan(), 0) {
        println!("harmonic: predicted {:.1} MB, measured {:.1} MB", predicted as f64 * 1e-6, grown * 1e-6);
        assert!((grown - predicted as f64).abs() <= 0.1 * predicted as f64, "harmonic: measured {grown} bytes, predicted {predicted}");
    }
    let tiny = compiler(Some(1000)).compile();
    assert!(matches!(tiny, Err(Error::Memory { .. })), "a budget of 1000 bytes is refused");
    Ok(())
}
