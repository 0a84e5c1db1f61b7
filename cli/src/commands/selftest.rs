//! `scatterc selftest`: whether this installation computes correctly, in seconds, without files: recorded values and the reference device, for every instruction set that the processor
//! and this build have, and for CUDA where it is.

use crate::args::{CliError, DeviceKind, DeviceOptions, Global, print};
use crate::commands::doctor;
use crate::commands::suite::{GOLDEN, Suite, tolerance};
use crate::measure::{given, inputs};
use scatterc::kernels::simd::{Level, limit_level};
use scatterc::runtime::Cache;
use scatterc::{Boundary, Compiler, Domain, Element, Error, Goal, Healpix, InputKind, Plane, Source, Sphere};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

/// Checks this installation in less than half a minute.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Bound of the same bits.
const SAME: f64 = 0.0;
/// Largest difference between two instruction sets, in units of the largest number of an array: sums are taken in other orders.
const BETWEEN_LEVELS: f64 = 1e-12;

struct Row {
    what: String,
    on: String,
    error: f64,
    bound: f64,
    seconds: f64,
    fault: Option<String>,
}

impl Row {
    /// A comparison that a NaN fails.
    fn ok(&self) -> bool {
        self.fault.is_none() && self.error <= self.bound
    }
}

/// Runs one check.
fn check(rows: &mut Vec<Row>, what: &str, on: &str, bound: f64, body: impl FnOnce() -> Result<f64, String>) {
    let start = Instant::now();
    let outcome = body();
    let (error, fault) = match outcome {
        Ok(error) => (error, None),
        Err(fault) => (f64::INFINITY, Some(fault)),
    };
    rows.push(Row { what: what.into(), on: on.into(), error, bound, seconds: start.elapsed().as_secs_f64(), fault });
}

fn message(error: Error) -> String {
    error.to_string()
}

/// The instruction sets that this processor and this build have, the best last.
fn levels() -> Vec<(Level, &'static str)> {
    let all = [(Level::Portable, "portable"), (Level::Avx2, "avx2"), (Level::Avx512, "avx512"), (Level::Neon, "neon")];
    let has = |(level, _): &(Level, &str)| limit_level(*level) == *level;
    all.into_iter().filter(has).collect()
}

/// Small domains with a statistic each.
fn subjects() -> Result<Vec<(&'static str, Box<dyn Domain>, Vec<(&'static str, f64)>)>, Error> {
    let filter = |name: &str, filter: &str| Source::find(name).and_then(|source| source.filter(filter));
    Ok(vec![
        ("s2scat", Box::new(Sphere::new(13, 3, 0, InputKind::Half)?) as Box<dyn Domain>, vec![]),
        ("cheng", Box::new(Plane::new(16, 20, 2, 2, &filter("cheng", "morlet")?, Boundary::Periodic, false)?), vec![]),
        ("foscat", Box::new(Healpix::new(4, 4, 3)?), vec![("L", 4.0)]),
    ])
}

/// Statistics of noise, all outputs one after another.
fn values(threads: usize, cache: &Arc<Cache>) -> Result<Vec<f64>, Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(32, 3, 0, InputKind::Half)?;
    let (_, mut executable) = Compiler::new(&source, &sphere).goal(Goal::Statistics).threads(threads).cache(cache.clone()).executable()?;
    let numbers = inputs(&executable);
    Ok(executable.run(&given(&numbers))?.into_iter().flat_map(|(_, values)| values).collect())
}

fn different(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).filter(|(x, y)| x.to_bits() != y.to_bits()).count() as f64
}

fn on_cpu(rows: &mut Vec<Row>, global: &Global) -> Result<(), CliError> {
    let mut first: Option<Vec<f64>> = None;
    for (level, name) in levels() {
        limit_level(level);
        // Tables depend on the level: each has its own.
        let cache = Arc::new(Cache::in_memory());
        let options = DeviceOptions::default();
        let suite = Suite { options: &options, global, cache: cache.clone(), ceiling: Value::Null, faults: vec![] };
        check(rows, &format!("transform round trip L={}", doctor::L), name, doctor::LARGEST_ERROR, || {
            doctor::round_trip().map_err(|e| e.to_string())
        });
        for (case, L, N, bytes) in GOLDEN {
            for element in [Element::F64, Element::F32] {
                check(rows, &format!("recorded {case} {element}"), name, tolerance(element, false), || {
                    let errors = suite.golden_errors(case, L, N, bytes, element).map_err(message)?;
                    Ok(errors.values().copied().fold(0.0, f64::max))
                });
            }
        }
        for (statistic, domain, numbers) in subjects()? {
            for gradient in [false, true] {
                let what = format!("{statistic}{} against the reference", if gradient { " gradient" } else { "" });
                check(rows, &what, name, tolerance(Element::F64, gradient), || {
                    suite.difference(statistic, &numbers, domain.as_ref(), true, Element::F64, gradient).map_err(message)
                });
            }
        }
        let alone = values(1, &cache).map_err(CliError::from)?;
        check(rows, "one, two and three threads, and again: numbers with other bits", name, SAME, || {
            let mut count = 0.0;
            for threads in [1, 2, 3] {
                count += different(&alone, &values(threads, &cache).map_err(message)?);
            }
            Ok(count)
        });
        if let Some(first) = &first {
            check(rows, "against the portable instance", name, BETWEEN_LEVELS, || {
                let scale = first.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
                Ok(first.iter().zip(&alone).fold(0.0f64, |m, (x, y)| if (x - y).is_nan() { f64::INFINITY } else { m.max((x - y).abs()) }) / scale)
            });
        }
        first.get_or_insert(alone);
    }
    limit_level(Level::Neon);
    Ok(())
}

fn on_cuda(rows: &mut Vec<Row>, global: &Global) {
    let options = DeviceOptions { device: DeviceKind::Cuda, ..DeviceOptions::default() };
    let suite = Suite { options: &options, global, cache: Cache::global(), ceiling: Value::Null, faults: vec![] };
    for (case, L, N, bytes) in GOLDEN {
        for element in [Element::F64, Element::F32] {
            check(rows, &format!("recorded {case} {element}"), "cuda", tolerance(element, false), || {
                let errors = suite.golden_errors(case, L, N, bytes, element).map_err(message)?;
                Ok(errors.values().copied().fold(0.0, f64::max))
            });
        }
    }
}

/// Runs the command. Error: a check that fails, which the table names.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let start = Instant::now();
    let mut rows = vec![];
    on_cpu(&mut rows, global)?;
    let cuda = scatterc::runtime::cuda::report::report(Cache::global());
    if cuda.usable {
        on_cuda(&mut rows, global);
    }
    let absent = (!cuda.usable).then(|| cuda.lines.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; "));
    let faults: Vec<String> = rows
        .iter()
        .filter(|row| !row.ok())
        .map(|row| match &row.fault {
            Some(fault) => format!("{} on {}: {fault}", row.what, row.on),
            None => format!("{} on {}: {:.1e}, expected at most {:.0e}", row.what, row.on, row.error, row.bound),
        })
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let number = |x: f64| if x.is_finite() { json!(x) } else { json!("not finite") };
        let list: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({ "check": row.what, "on": row.on, "error": number(row.error), "bound": row.bound, "ok": row.ok(), "seconds": row.seconds, "fault": row.fault })
            })
            .collect();
        let whole = json!({
            "selftest": env!("CARGO_PKG_VERSION"),
            "processor": doctor::processor(),
            "levels": levels().iter().map(|(_, name)| *name).collect::<Vec<_>>(),
            "cuda": absent.as_ref().map_or(json!("checked"), |why| json!(format!("not checked: {why}"))),
            "seconds": seconds,
            "ok": faults.is_empty(),
            "checks": list,
        });
        limit_level(Level::Neon);
        print(&format!("{}\n", serde_json::to_string_pretty(&whole).unwrap_or_default()))?;
    } else {
        let mut text = format!("{:<66} {:<9} {:>9} {:>9}  {:>6}\n", "check", "on", "error", "bound", "s");
        for row in &rows {
            let verdict = if row.ok() { "ok" } else { "FAILED" };
            let _ = writeln!(text, "{:<66} {:<9} {:>9.1e} {:>9.0e}  {:>6.2}  {verdict}", row.what, row.on, row.error, row.bound, row.seconds);
        }
        if let Some(why) = &absent {
            let _ = writeln!(text, "cuda       not checked: {why}");
        }
        let _ = writeln!(text, "{} checks, {} failed, {seconds:.1} s on {}", rows.len(), faults.len(), doctor::processor());
        print(&text)?;
    }
    if faults.is_empty() { Ok(()) } else { Err(CliError::Suite { faults }) }
}
