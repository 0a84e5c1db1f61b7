//! `scatterc compare`: one statistic compiled in several ways, checked against each other and timed in turn.

use super::explain::Common;
use crate::args::{self, CliError, FuseKind, Global};
use crate::figure::{Plot, Series, Style, curves};
use crate::io::{check_writable, write_bytes_atomic};
use crate::measure;
use clap::ValueEnum;
use scatterc::compiler::picture::live_bytes;
use scatterc::ir::difference;
use scatterc::ir::plan::{Plan, Target};
use scatterc::runtime::Executable;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Largest difference of a value between variants, relative to the largest of its output, in f64; in f32 a billion times as much.
const TOLERANCE: f64 = 1e-12;

/// Compiles a statistic with every degree of fusion, checks that the values are equal and times them in turn.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Statistic, domain, goal.
    #[command(flatten)]
    pub common: Common,
    /// Compares the degrees of fusion; the only comparison there is, and the default.
    #[arg(long)]
    pub variants: bool,
    /// Timed rounds; each runs every variant once.
    #[arg(long, value_name = "K", default_value_t = 11)]
    pub reps: usize,
    /// A bar chart, .svg or .png.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// One way to compile.
struct Variant {
    name: String,
    plan: Plan,
    executable: Executable,
    flops: f64,
    bytes: f64,
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    difference: f64,
}

impl Variant {
    fn wall(&self) -> f64 {
        measure::median(&mut self.wall_ms.clone())
    }

    fn cpu(&self) -> Option<f64> {
        (!self.cpu_ms.is_empty()).then(|| measure::median(&mut self.cpu_ms.clone()))
    }

    fn live_mb(&self) -> f64 {
        live_bytes(&self.plan).into_iter().max().unwrap_or(0) as f64 / 1e6
    }
}

/// Largest difference over all outputs, each relative to its largest number.
fn difference_of(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) -> f64 {
    let one = |x: &[f64], y: &[f64]| {
        let largest = y.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        x.iter().zip(y).fold(0.0f64, |m, (p, q)| if (p - q).is_nan() { f64::INFINITY } else { m.max((p - q).abs()) }) / largest
    };
    a.iter().zip(b).fold(0.0, |m, ((_, x), (_, y))| m.max(one(x, y)))
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    args.common.device.without_target()?;
    args.common.device.check()?;
    if args.reps == 0 {
        return Err(CliError::option("--reps", 0, "at least 1"));
    }
    if let Some(path) = &args.plot {
        if !["svg", "png"].iter().any(|ending| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))) {
            return Err(CliError::option("--plot", path.display(), "a file that ends in .svg or .png"));
        }
        check_writable(path)?;
    }
    let (mut variants, mut same): (Vec<Variant>, Vec<(String, String)>) = (vec![], vec![]);
    let mut reference: Vec<(String, Vec<f64>)> = vec![];
    let mut inputs: Vec<(String, Vec<f64>)> = vec![];
    for kind in FuseKind::value_variants() {
        let name = kind.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
        let mut common = args.common.clone();
        common.device.fuse = *kind;
        let compiled = common.compile(global)?;
        // Plans that do the same are one variant: not every choice differs on every domain.
        if let Some(other) = variants.iter_mut().find(|v| difference::plans(&v.plan, compiled.plan()).is_empty()) {
            same.push((name, other.name.clone()));
            continue;
        }
        let mut executable = compiled.load(args.common.device.threads, None)?;
        if variants.is_empty() {
            inputs = measure::inputs(&executable);
        }
        // The first run touches all memory for the first time; it is not counted.
        let values = executable.run(&measure::given(&inputs))?;
        if variants.is_empty() {
            reference = values.clone();
        }
        variants.push(Variant {
            name,
            plan: compiled.plan().clone(),
            executable,
            flops: compiled.scheduled.launches.iter().map(|l| l.flops).sum(),
            bytes: compiled.scheduled.launches.iter().map(|l| l.bytes).sum(),
            wall_ms: vec![],
            cpu_ms: vec![],
            difference: difference_of(&values, &reference),
        });
    }
    let tolerance = if args.common.device.precision == args::Precision::F32 { 1e9 * TOLERANCE } else { TOLERANCE };
    if let Some(v) = variants.iter().find(|v| !v.difference.le(&tolerance)) {
        return Err(CliError::Suite {
            faults: vec![format!(
                "--fuse {}: values differ by {:e} of the largest from `--fuse none`, expected at most {tolerance:e}",
                v.name, v.difference
            )],
        });
    }
    for _ in 0..args.reps {
        for v in &mut variants {
            let (start, begun) = (Instant::now(), measure::processor_seconds());
            v.executable.rerun().map_err(scatterc::Error::from)?;
            v.wall_ms.push(start.elapsed().as_secs_f64() * 1e3);
            v.cpu_ms.extend(measure::processor_seconds().zip(begun).map(|(end, begun)| (end - begun) * 1e3));
        }
    }
    let title = format!(
        "{}, {}, {} threads, median of {} rounds",
        args.common.statistic,
        variants[0].plan.note("domain").unwrap_or("no domain"),
        args.common.device.thread_count(),
        args.reps
    );
    if let Some(path) = &args.plot {
        plot(path, &title, &variants)?;
    }
    if variants.iter().any(|v| v.plan.target == Target::Cuda) {
        global.note("processor times are those of the host");
    }
    args::print(&if args.json { object(args, &title, &variants, &same) } else { table(&title, &variants, &same) })
}

fn object(args: &Args, title: &str, variants: &[Variant], same: &[(String, String)]) -> String {
    let one = |v: &Variant| {
        json!({
            "fuse": v.name, "launches": v.plan.steps.len(), "kernels": v.plan.kernels.len(), "arena_bytes": v.plan.element.bytes() * v.plan.arena,
            "live_bytes": live_bytes(&v.plan).into_iter().max().unwrap_or(0), "flops": v.flops, "bytes": v.bytes, "wall_ms": v.wall(),
            "cpu_ms": v.cpu(), "difference": v.difference,
        })
    };
    let variants: Vec<_> = variants.iter().map(one).collect();
    let same: serde_json::Map<String, serde_json::Value> = same.iter().map(|(a, b)| (a.clone(), json!(b))).collect();
    json!({ "title": title, "statistic": args.common.statistic, "reps": args.reps, "variants": variants, "same": same }).to_string()
}

fn table(title: &str, variants: &[Variant], same: &[(String, String)]) -> String {
    let mut out = format!(
        "{title}\n\n| fuse | launches | kernels | arena MB | live MB | Mflop | MB moved | wall ms | processor ms | none / this | difference |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    let first = variants[0].wall();
    for v in variants {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.4} | {} | {:.2} | {:.1e} |",
            v.name,
            v.plan.steps.len(),
            v.plan.kernels.len(),
            (v.plan.element.bytes() * v.plan.arena) as f64 / 1e6,
            v.live_mb(),
            v.flops / 1e6,
            v.bytes / 1e6,
            v.wall(),
            v.cpu().map_or("-".into(), |ms| format!("{ms:.4}")),
            first / v.wall().max(1e-9),
            v.difference
        );
    }
    for (name, other) in same {
        let _ = writeln!(out, "\n`{name}` gives the plan of `{other}`.");
    }
    out
}

/// Bars of wall and processor time, one group per variant.
fn plot(path: &Path, title: &str, variants: &[Variant]) -> Result<(), CliError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg")) {
        return Ok(write_bytes_atomic(path, svg(title, variants).as_bytes())?);
    }
    let names: Vec<String> = variants.iter().enumerate().map(|(k, v)| format!("{}: {}", k + 1, v.name)).collect();
    let points = |of: &dyn Fn(&Variant) -> f64| variants.iter().enumerate().map(|(k, v)| ((k + 1) as f64, of(v))).collect::<Vec<_>>();
    let plot = Plot {
        title: title.into(),
        x_label: names.join(", "),
        y_label: "ms".into(),
        series: vec![
            Series::new("wall", Style::Bars, points(&|v| v.wall())),
            Series::new("processor", Style::Bars, points(&|v| v.cpu().unwrap_or(0.0))),
        ],
        ..Plot::default()
    };
    Ok(curves(&[plot], path)?)
}

fn svg(title: &str, variants: &[Variant]) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (left, width, row) = (90.0, 560.0, 46.0);
    let most = variants.iter().map(|v| v.wall().max(v.cpu().unwrap_or(0.0))).fold(f64::MIN_POSITIVE, f64::max);
    let height = 70.0 + row * variants.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height:.0}\" viewBox=\"0 0 760 {height:.0}\" font-family=\"DejaVu Sans, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"16\" y=\"22\">{}</text>\n\
         <rect x=\"90\" y=\"34\" width=\"10\" height=\"10\" fill=\"#4e79a7\"/><text x=\"104\" y=\"43\">wall</text>\
         <rect x=\"150\" y=\"34\" width=\"10\" height=\"10\" fill=\"#f28e2b\"/><text x=\"164\" y=\"43\">processor</text>\n",
        escape(title)
    );
    for (k, v) in variants.iter().enumerate() {
        let y = 58.0 + row * k as f64;
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", left - 8.0, y + 20.0, escape(&v.name));
        for (n, (time, fill)) in [(Some(v.wall()), "#4e79a7"), (v.cpu(), "#f28e2b")].into_iter().enumerate() {
            let Some(time) = time else { continue };
            let (y, long) = (y + 17.0 * n as f64, width * time / most);
            let _ = writeln!(
                out,
                "<rect class=\"bar\" x=\"{left}\" y=\"{y}\" width=\"{long:.1}\" height=\"15\" fill=\"{fill}\"/><text x=\"{:.1}\" y=\"{}\">{time:.4} ms</text>",
                left + long + 4.0,
                y + 12.0
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
