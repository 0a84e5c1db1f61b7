//! `scatterc bench`: compile time, run time, memory.

use crate::args::{self, CliError, DeviceKind, DeviceOptions, DomainOptions, Global, Precision, StatisticOptions, print};
use crate::measure::{self, median};
use scatterc::{Element, Goal, InputKind};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is not counted at the start of a measurement.
const WARM: Duration = Duration::from_millis(100);

/// Compile, forward and gradient times of a statistic on noise.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// Runs of which the median counts.
    #[arg(long, default_value_t = 7)]
    pub reps: usize,
    /// Fields processed together.
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// The whole suite: golden values, agreement with other devices, times of `s2scat` from L = 64 to `--largest`; one JSON object. Other options but those of the device are not used.
    #[arg(long)]
    pub suite: bool,
    /// Largest bandlimit of the suite.
    #[arg(long, value_name = "L", default_value_t = 2048, requires = "suite")]
    pub largest: usize,
    /// A file for the JSON object of the suite.
    #[arg(long, short, value_name = "FILE", requires = "suite")]
    pub output: Option<std::path::PathBuf>,
    /// The loss whose gradient is taken.
    #[arg(long, default_value = "l2")]
    pub loss: String,
    /// Domain.
    #[command(flatten)]
    pub domain: DomainOptions,
    /// Statistic.
    #[command(flatten)]
    pub statistic: StatisticOptions,
    /// Device.
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// Times of one goal, in milliseconds, and its work.
struct Measured {
    compile_ms: f64,
    load_ms: f64,
    run_ms: f64,
    /// The first run, which touches all memory for the first time.
    first_ms: f64,
    /// Processor time of a run, all threads.
    cpu_ms: Option<f64>,
    /// Processor time of compiling and loading.
    set_up_cpu_ms: Option<f64>,
    flops: f64,
    bytes: f64,
    held_bytes: usize,
    shapes: Value,
}

/// The largest resident set of this process so far, MB; 0 where the system does not say.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).map_or(0.0, |kib| kib * 1024.0 / 1e6)
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    args.device.without_target()?;
    args.device.check()?;
    if args.suite {
        return super::suite::run(&args.device, args.largest, args.output.as_deref(), global);
    }
    if args.reps == 0 {
        return Err(CliError::option("--reps", 0, "at least 1"));
    }
    let statistic = if args.domain.is_healpix() { super::healpix::statistic(&args.statistic) } else { args.statistic.clone() };
    let source = statistic.source()?;
    let bound: Box<dyn scatterc::Domain> = if args.domain.is_healpix() {
        Box::new(super::healpix::sized(&args.domain)?)
    } else if args.domain.is_planar() {
        super::planar::sized(&args.domain, &source, &statistic.statistic)?
    } else {
        Box::new(args.domain.sphere(args.domain.bandlimit.unwrap_or(64), InputKind::Half)?)
    };
    let compiler = args::compiler(&source, &*bound, &statistic, &args.device)?.batch(args.batch);
    let measure = |goal: Goal| -> Result<Measured, CliError> {
        let begun = measure::processor_seconds();
        let compiled = compiler.clone().goal(goal).compile()?;
        let start = Instant::now();
        let mut executable = compiled.load(args.device.threads, None)?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let since = |begun: Option<f64>| Some((measure::processor_seconds()? - begun?) * 1e3);
        let set_up_cpu_ms = since(begun);
        let inputs = measure::inputs(&executable);
        let given = measure::given(&inputs);
        let mut results: Vec<(String, Vec<f64>)> = executable.outputs().iter().map(|p| (p.name.clone(), vec![0.0; p.ty.len()])).collect();
        let (mut times, mut cpu_times) = (Vec::with_capacity(args.reps), Vec::with_capacity(args.reps));
        // Runs of the first tenth of a second touch all memory for the first time and wake the other processors; they are not counted.
        let mut first_ms = None;
        let warm = Instant::now();
        while times.len() < args.reps {
            let mut into: Vec<(&str, &mut [f64])> = results.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice())).collect();
            let (counted, start, begun) = (first_ms.is_some() && warm.elapsed() > WARM, Instant::now(), measure::processor_seconds());
            executable.run_into(&given, &mut into)?;
            let run_ms = start.elapsed().as_secs_f64() * 1e3;
            first_ms.get_or_insert(run_ms);
            if counted {
                times.push(run_ms);
                cpu_times.extend(since(begun));
            }
        }
        let memory = executable.memory();
        let shapes = compiled.plan().outputs.iter().map(|p| (p.name.clone(), json!(p.ty.to_string()))).collect::<serde_json::Map<_, _>>();
        Ok(Measured {
            compile_ms: compiled.compile_s * 1e3,
            load_ms,
            run_ms: median(&mut times),
            first_ms: first_ms.unwrap_or_default(),
            cpu_ms: (!cpu_times.is_empty()).then(|| median(&mut cpu_times)),
            set_up_cpu_ms,
            flops: compiled.scheduled.launches.iter().map(|l| l.flops).sum(),
            bytes: compiled.scheduled.launches.iter().map(|l| l.bytes).sum(),
            held_bytes: memory.arena + memory.tables + memory.scratch,
            shapes: Value::Object(shapes),
        })
    };
    let forward = measure(Goal::Statistics)?;
    let gradient = measure(Goal::Gradient(args.loss.clone()))?;
    let threads = args.device.thread_count();
    let element = if args.device.precision == Precision::F32 { Element::F32 } else { Element::F64 };
    // On the CPU in the same run; nothing is known of other devices here.
    let roofline = (args.device.device == DeviceKind::Cpu).then(|| measure::roofline(threads, element));
    let fraction = |m: &Measured| roofline.as_ref().map(|r| r.floor_s(m.flops, m.bytes) * 1e3 / m.run_ms.max(1e-9));
    let domain = bound.describe();
    if args.json {
        let object = json!({
            "statistic": statistic.statistic,
            "domain": domain,
            "batch": args.batch,
            "device": args.device.name(),
            "precision": args.device.precision_name(),
            "threads": threads,
            "simd": scatterc::kernels::simd::simd_level(),
            "reps": args.reps,
            "compile_ms": forward.compile_ms,
            "load_ms": forward.load_ms,
            "forward_ms": forward.run_ms,
            "forward_cpu_ms": forward.cpu_ms,
            "set_up_cpu_ms": forward.set_up_cpu_ms,
            "gradient_compile_ms": gradient.compile_ms,
            "gradient_load_ms": gradient.load_ms,
            "gradient_ms": gradient.run_ms,
            "gradient_cpu_ms": gradient.cpu_ms,
            "gradient_set_up_cpu_ms": gradient.set_up_cpu_ms,
            "peak_gflops": roofline.as_ref().map(|r| r.flops_per_s / 1e9),
            "read_gbytes": roofline.as_ref().map(|r| r.bytes_per_s / 1e9),
            "forward_roofline": fraction(&forward),
            "gradient_roofline": fraction(&gradient),
            "first_ms": forward.first_ms,
            "peak_rss_mb": peak_rss_mb(),
            "flops": forward.flops,
            "bytes": forward.bytes,
            "gradient_flops": gradient.flops,
            "gradient_bytes": gradient.bytes,
            "held_mb": forward.held_bytes as f64 / 1e6,
            "gradient_held_mb": gradient.held_bytes as f64 / 1e6,
            "shapes": forward.shapes,
            "version": env!("CARGO_PKG_VERSION"),
        });
        return print(&object.to_string());
    }
    let batch = args.batch.map(|b| format!(", batch {b}")).unwrap_or_default();
    let mut text = format!(
        "{} on {domain}{batch}, {threads} threads, {} vectors, median of {}\n\n",
        statistic.statistic,
        scatterc::kernels::simd::simd_level(),
        args.reps
    );
    text.push_str(
        "| | compile ms | load ms | run ms | processor ms | Gflop | Gflop/s | of the roofline | MB moved | MB held |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, m) in [("forward", &forward), ("gradient", &gradient)] {
        text.push_str(&format!(
            "| {name} | {:.1} | {:.1} | {:.3} | {} | {:.4} | {:.2} | {} | {:.2} | {:.1} |\n",
            m.compile_ms,
            m.load_ms,
            m.run_ms,
            m.cpu_ms.map_or("-".into(), |ms| format!("{ms:.3}")),
            m.flops / 1e9,
            m.flops / m.run_ms.max(1e-9) / 1e6,
            fraction(m).map_or("-".into(), |f| format!("{:.0} %", 100.0 * f)),
            m.bytes / 1e6,
            m.held_bytes as f64 / 1e6
        ));
    }
    if let Some(r) = &roofline {
        text.push_str(&format!("\nroofline {}: {:.1} Gflop/s, {:.1} GB/s\n", r.source, r.flops_per_s / 1e9, r.bytes_per_s / 1e9));
    }
    text.push_str(&format!("\npeak resident set {:.0} MB\n", peak_rss_mb()));
    print(&text)
}
