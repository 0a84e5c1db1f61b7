//! `scatterc explain`, `emit` and `check`: what the compiler makes of a statistic.

use crate::args::{self, CliError, DeviceOptions, DomainOptions, Global, StatisticOptions};
use crate::io::{check_writable, write_bytes_atomic};
use crate::measure;
use clap::ValueEnum;
use scatterc::compiler::explain::{self, Facts, Resources, Roofline};
use scatterc::compiler::picture;
use scatterc::ir::Plan;
use scatterc::ir::notation::{CheckedStatistic, ValueKind};
use scatterc::ir::plan::Target;
use scatterc::runtime::cuda::CudaError;
use scatterc::{Compiled, Goal, InputKind, Source};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Bandlimit where none is given.
const DEFAULT_BANDLIMIT: usize = 64;

/// What is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GoalKind {
    /// The statistics.
    #[value(alias = "values")]
    Statistics,
    /// Value and gradient of a loss.
    Gradient,
    /// The value of a loss.
    Loss,
}

/// How the input is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutKind {
    /// Coefficients of a real field, m >= 0.
    Half,
    /// Coefficients of a complex field.
    Full,
    /// Samples.
    Grid,
}

impl From<LayoutKind> for InputKind {
    fn from(kind: LayoutKind) -> InputKind {
        match kind {
            LayoutKind::Half => InputKind::Half,
            LayoutKind::Full => InputKind::Full,
            LayoutKind::Grid => InputKind::Grid,
        }
    }
}

/// Statistic, domain and goal.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// A built-in statistic, or a .scat file.
    #[arg(value_name = "FILE.scat|NAME")]
    pub statistic: String,
    /// Domain.
    #[command(flatten)]
    pub domain: DomainOptions,
    /// The isotropic variant.
    #[arg(long, conflicts_with = "variant")]
    pub isotropic: bool,
    /// A named `return` of the statistic.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Largest distance between scales; short for `--parameter delta=D`.
    #[arg(long, value_name = "D")]
    pub delta_j: Option<usize>,
    /// A number parameter of the statistic.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// What is compiled.
    #[arg(long, value_enum, default_value = "statistics")]
    pub goal: GoalKind,
    /// The loss of the goals `loss` and `gradient`.
    #[arg(long, default_value = "l2")]
    pub loss: String,
    /// Layout of the input.
    #[arg(long, value_enum, default_value = "half")]
    pub input: LayoutKind,
    /// Fields processed together.
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// Device.
    #[command(flatten)]
    pub device: DeviceOptions,
}

impl Common {
    fn statistic(&self) -> StatisticOptions {
        StatisticOptions {
            statistic: self.statistic.clone(),
            isotropic: self.isotropic,
            variant: self.variant.clone(),
            delta_j: self.delta_j,
            parameters: self.parameters.clone(),
            ..StatisticOptions::default()
        }
    }

    fn goal(&self) -> Goal {
        match self.goal {
            GoalKind::Statistics => Goal::Statistics,
            GoalKind::Gradient => Goal::Gradient(self.loss.clone()),
            GoalKind::Loss => Goal::Loss(self.loss.clone()),
        }
    }

    /// What an export is called: the plan's name, with the goal where it is not the statistic itself.
    pub fn export_name(&self, plan: &str) -> String {
        match self.goal {
            GoalKind::Statistics => plan.into(),
            GoalKind::Gradient => format!("{plan}_gradient"),
            GoalKind::Loss => format!("{plan}_loss"),
        }
    }

    /// The compiled statistic.
    pub fn compile(&self, global: &Global) -> Result<Compiled, CliError> {
        let options = self.statistic();
        let source = options.source()?;
        if self.domain.is_healpix() {
            let domain = super::healpix::sized(&self.domain)?;
            return Ok(args::compiler(&source, &domain, &options, &self.device)?.goal(self.goal()).batch(self.batch).compile()?);
        }
        if self.domain.is_planar() {
            let plane = super::planar::sized(&self.domain, &source, &self.statistic)?;
            return Ok(args::compiler(&source, &*plane, &options, &self.device)?.goal(self.goal()).batch(self.batch).compile()?);
        }
        let L = self.domain.bandlimit.unwrap_or_else(|| {
            global.note(&format!("no `--bandlimit`: L = {DEFAULT_BANDLIMIT} is used"));
            DEFAULT_BANDLIMIT
        });
        let sphere = self.domain.sphere(L, self.input.into())?;
        Ok(args::compiler(&source, &sphere, &options, &self.device)?.goal(self.goal()).batch(self.batch).compile()?)
    }
}

/// Every stage of the compiler, the launches, their work and time.
#[derive(Clone, Debug, clap::Args)]
pub struct Explain {
    /// Statistic, domain, goal.
    #[command(flatten)]
    pub common: Common,
    /// Run the plan on noise and print measured times beside predicted ones.
    #[arg(long)]
    pub measure: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    pub format: ReportFormat,
    /// One JSON object; short for `--format json`.
    #[arg(long)]
    pub json: bool,
    /// For `dot` and `svg`: the graph after the last run of this pass instead of the launches.
    #[arg(long, value_name = "PASS")]
    pub after: Option<String>,
    /// A file instead of the terminal.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A report to read.
    Text,
    /// One object.
    Json,
    /// Input of graphviz: launches and buffers, or a graph.
    Dot,
    /// A picture: the arena over launches with live sets and work, or a graph.
    Svg,
}

/// Runs `explain`.
pub fn explain(args: &Explain, global: &Global) -> Result<(), CliError> {
    args.common.device.check()?;
    let format = if args.json { ReportFormat::Json } else { args.format };
    if args.after.is_some() && !matches!(format, ReportFormat::Dot | ReportFormat::Svg) {
        return Err(CliError::option("--after", "given with a report of all stages", "`--format dot` or `--format svg`"));
    }
    if let Some(path) = &args.output {
        check_writable(path)?;
    }
    let compiled = args.common.compile(global)?;
    if let Some(name) = &args.after {
        let graph = stage(&compiled, name)?;
        return show(args.output.as_deref(), &if format == ReportFormat::Dot { explain::dot(graph) } else { picture::graph_svg(graph) });
    }
    let mut facts = Facts { compile_s: Some(compiled.compile_s), ..Facts::default() };
    if compiled.plan().target == Target::Cuda {
        facts.roofline = Roofline::h200(compiled.plan().element);
        facts.resources = resources(compiled.plan(), global);
    }
    if args.measure {
        if compiled.plan().target == Target::Cpu {
            facts.roofline = measure::roofline(args.common.device.thread_count(), compiled.plan().element);
        }
        let mut executable = compiled.load(args.common.device.threads, None)?;
        let inputs = measure::inputs(&executable);
        let given = measure::given(&inputs);
        // The first run touches all memory for the first time; it is not counted.
        executable.run(&given).map_err(scatterc::Error::from)?;
        executable.set_timing(true);
        let before = executable.times().to_vec();
        let runs = 3;
        for _ in 0..runs {
            executable.run(&given).map_err(scatterc::Error::from)?;
        }
        facts.measured_s = Some(executable.times().iter().zip(&before).map(|(a, b)| (a - b) / f64::from(runs)).collect());
    }
    let scheduled = &compiled.scheduled;
    let text = match format {
        ReportFormat::Text => explain::report_with(&compiled.trace, scheduled, &facts),
        ReportFormat::Json => explain::json(&compiled.trace, scheduled, &facts),
        ReportFormat::Dot => picture::launches_dot(scheduled, &facts),
        ReportFormat::Svg => picture::launches_svg(scheduled, &facts),
    };
    show(args.output.as_deref(), &text)
}

/// The graph after a stage. Error: the stages there are.
fn stage<'a>(made: &'a Compiled, name: &str) -> Result<&'a scatterc::ir::Graph, CliError> {
    picture::stage(&made.trace, name).map_err(|names| CliError::option("--after", format!("`{name}`"), format!("one of {}", names.join(", "))))
}

/// Text into a file, or to the terminal.
fn show(path: Option<&Path>, text: &str) -> Result<(), CliError> {
    match path {
        Some(path) => Ok(write_bytes_atomic(path, text.as_bytes())?),
        None => args::print(text),
    }
}

/// Compute capability of the device found, or else 9.0.
#[cfg(feature = "cuda")]
fn capability() -> u32 {
    scatterc::runtime::cuda::driver::devices().ok().and_then(|devices| devices.first().map(|d| d.capability)).unwrap_or(90)
}

/// NVRTC, for the driver found if there is one.
#[cfg(feature = "cuda")]
fn nvrtc() -> Result<scatterc::runtime::cuda::nvrtc::Compiler, CudaError> {
    use scatterc::runtime::cuda::{driver, nvrtc};
    nvrtc::Compiler::find(scatterc::runtime::Cache::global(), driver::driver_version().ok())
}

/// The kernels of a plan as PTX, or as a cubin, for an architecture.
#[cfg(feature = "cuda")]
fn compiled(kind: EmitKind, plan: &Plan, arch: Option<u32>) -> Result<Vec<u8>, CudaError> {
    use scatterc::runtime::cuda::nvrtc::Options;
    let (unit, options) = (explain::cuda(plan), Options::new(arch.unwrap_or_else(capability)));
    match kind {
        EmitKind::Ptx => Ok(nvrtc()?.ptx(&unit, &options)?.into_bytes()),
        _ => Ok(nvrtc()?.compile(&[unit], &options)?.swap_remove(0).bytes),
    }
}

/// Without the feature `cuda` nothing compiles kernels.
#[cfg(not(feature = "cuda"))]
fn compiled(_kind: EmitKind, _plan: &Plan, _arch: Option<u32>) -> Result<Vec<u8>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// Registers and spills of the kernels, compiled for the device found or else for compute capability 9.0; empty, with a note, where there is no NVRTC.
#[cfg(feature = "cuda")]
fn resources(plan: &Plan, global: &Global) -> BTreeMap<String, Resources> {
    use scatterc::runtime::cuda::nvrtc::{self, Options};
    let unit = explain::cuda(plan);
    let compiled = self::nvrtc().and_then(|compiler| compiler.compile(&[unit], &Options::new(capability())));
    match compiled {
        Ok(cubins) => {
            let of = |k: &nvrtc::Resources| Resources { registers: k.registers, spilled_bytes: k.spill_stores, shared_bytes: k.shared };
            cubins.iter().flat_map(|cubin| &cubin.kernels).map(|k| (k.kernel.clone(), of(k))).collect()
        }
        Err(e) => {
            global.note(&format!("registers and spills are not known: {e}"));
            BTreeMap::new()
        }
    }
}

/// Without the feature `cuda` nothing compiles the kernels.
#[cfg(not(feature = "cuda"))]
fn resources(_plan: &Plan, _global: &Global) -> BTreeMap<String, Resources> {
    BTreeMap::new()
}

/// What `emit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmitKind {
    /// The graph of a stage.
    Graph,
    /// The graph right after binding.
    Bind,
    /// Fused loops.
    Loops,
    /// Kernels as Cranelift text.
    Clif,
    /// Kernels as CUDA C, one translation unit; needs `--device cuda` or `emulate`, but no such device.
    Cuda,
    /// Kernels as PTX, compiled by NVRTC; needs no device.
    Ptx,
    /// Kernels as machine code of a CUDA device, compiled by NVRTC, for `--output`; needs no device.
    Cubin,
    /// Kernels as assembler text for this processor.
    Asm,
    /// The plan, for `scatterc run`.
    Plan,
    /// The graph for graphviz.
    Dot,
}

/// One stage as text.
#[derive(Clone, Debug, clap::Args)]
pub struct Emit {
    /// Statistic, domain, goal.
    #[command(flatten)]
    pub common: Common,
    /// Graph after the last run of this pass; default: the final one.
    #[arg(long, value_name = "PASS")]
    pub after: Option<String>,
    /// What is printed.
    #[arg(long, value_enum, default_value = "graph")]
    pub emit: EmitKind,
    /// Architecture of `ptx` and `cubin`, such as sm_90; default: that of the device found, else sm_90.
    #[arg(long, value_name = "sm_XX", value_parser = parse_arch)]
    pub arch: Option<u32>,
    /// A file instead of the terminal.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl EmitKind {
    /// Whether it is kernel text for CUDA, or made of it.
    fn is_cuda(self) -> bool {
        matches!(self, EmitKind::Cuda | EmitKind::Ptx | EmitKind::Cubin)
    }
}

/// `sm_90`, `90` or `9.0`.
fn parse_arch(text: &str) -> Result<u32, String> {
    let digits: String = text.trim_start_matches("sm_").chars().filter(|c| *c != '.').collect();
    digits.parse().ok().filter(|n| (50..1000).contains(n)).ok_or_else(|| format!("expected an architecture such as sm_90, found `{text}`"))
}

/// Runs `emit`.
pub fn emit(args: &Emit, global: &Global) -> Result<(), CliError> {
    args.common.device.check()?;
    if args.after.is_some() && !matches!(args.emit, EmitKind::Graph | EmitKind::Dot) {
        return Err(CliError::option("--after", "given with another kind of text", "`--emit graph` or `--emit dot`"));
    }
    let wants_cuda = args.emit.is_cuda();
    if wants_cuda != args.common.device.device().is_cuda() && (wants_cuda || matches!(args.emit, EmitKind::Clif | EmitKind::Asm)) {
        return Err(CliError::option("--emit", args.common.device.name(), "clif or asm for `--device cpu`, cuda, ptx or cubin for `--device cuda`"));
    }
    let wants_nvrtc = matches!(args.emit, EmitKind::Ptx | EmitKind::Cubin);
    if args.arch.is_some() && !wants_nvrtc {
        return Err(CliError::option("--arch", "given with another kind of text", "`--emit ptx` or `--emit cubin`"));
    }
    if args.emit == EmitKind::Cubin && args.output.is_none() {
        return Err(CliError::option("--output", "absent", "a file, as machine code is no text"));
    }
    if let Some(path) = &args.output {
        check_writable(path)?;
    }
    let made = args.common.compile(global)?;
    let graph = match &args.after {
        Some(name) => stage(&made, name)?,
        None => &made.graph,
    };
    if wants_nvrtc {
        let bytes = compiled(args.emit, made.plan(), args.arch).map_err(CliError::Cuda)?;
        return match &args.output {
            Some(path) => Ok(write_bytes_atomic(path, &bytes)?),
            None => args::print(&String::from_utf8_lossy(&bytes)),
        };
    }
    let text = match args.emit {
        EmitKind::Graph => graph.to_string(),
        EmitKind::Bind => stage(&made, "bind")?.to_string(),
        EmitKind::Loops => explain::loops(&made.scheduled),
        EmitKind::Clif => explain::kernels(&made.scheduled),
        EmitKind::Cuda => explain::cuda(made.plan()),
        EmitKind::Plan => made.plan().to_string(),
        EmitKind::Dot => explain::dot(graph),
        EmitKind::Asm => scatterc::runtime::assembly(&made.plan().kernels)?,
        EmitKind::Ptx | EmitKind::Cubin => String::new(),
    };
    show(args.output.as_deref(), &text)
}

/// Parses and checks; with domain options also binds.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// Statistic, domain.
    #[command(flatten)]
    pub common: Common,
}

/// Runs `check`.
pub fn check(args: &Check, global: &Global) -> Result<(), CliError> {
    let options = args.common.statistic();
    let source = options.source()?;
    args::print(&describe(&source))?;
    if args.common.domain.bandlimit.is_none() {
        return Ok(());
    }
    let compiled = args.common.compile(global)?;
    let mut text = String::from("bound:\n");
    for output in &compiled.bound.outputs {
        let kind = if output.complex { "complex" } else { "real" };
        let columns = if output.index.columns.is_empty() { String::new() } else { format!(" ({})", output.index.columns.join(", ")) };
        let entries = if output.index.rows.is_empty() { "samples".to_string() } else { format!("{} entries", output.index.rows.len()) };
        let _ = writeln!(text, "  output {:10} {entries}{columns}, {kind}", output.name);
    }
    for parameter in &compiled.bound.parameters {
        let _ = writeln!(text, "  parameter {:7} {} entries ({})", parameter.name, parameter.index.rows.len(), parameter.index.columns.join(", "));
    }
    args::print(&text)
}

/// Statistics and losses of a text, with the kinds the checker found.
fn describe(source: &Source) -> String {
    let mut text = format!("{}: ok\n", source.origin);
    let indices = |names: &[String]| if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) };
    for checked in &source.checked.statistics {
        let statistic = &checked.statistic;
        let fields: Vec<&str> = statistic.fields.iter().map(|f| f.name.as_str()).collect();
        let _ = writeln!(text, "statistic {} of {}", statistic.name.name, fields.join(", "));
        for (parameter, kinds) in statistic.parameters.iter().zip(&checked.parameter_kinds) {
            let names: Vec<String> = parameter.indices.iter().zip(kinds).map(|(i, k)| format!("{}: {k}", i.name)).collect();
            let default = if parameter.default.is_some() { "has a default" } else { "must be given" };
            let _ = writeln!(text, "  parameter {}{}, {default}", parameter.name.name, indices(&names));
        }
        for choice in &statistic.returns {
            let variant = choice.variant.as_ref().map(|v| format!(" ({})", v.name)).unwrap_or_default();
            for output in &choice.outputs {
                let _ = writeln!(text, "  output{variant} {}{}", output.name.name, kinds(checked, &output.definition.name));
            }
        }
    }
    for checked in &source.checked.losses {
        let arguments: Vec<&str> = checked.loss.parameters.iter().map(|p| p.name.as_str()).collect();
        let _ = writeln!(text, "loss {}({})", checked.loss.name.name, arguments.join(", "));
    }
    text
}

/// `[j: scale, g: direction], numbers` of a definition.
fn kinds(checked: &CheckedStatistic, definition: &str) -> String {
    let Some(k) = checked.statistic.definitions.iter().position(|d| d.name.name == definition) else {
        return String::new();
    };
    let names: Vec<String> =
        checked.statistic.definitions[k].indices.iter().zip(&checked.definition_kinds[k]).map(|(i, kind)| format!("{}: {kind}", i.name)).collect();
    let list = if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) };
    let kind = if checked.value_kinds[k] == ValueKind::Field { "a field" } else { "a number" };
    format!("{list}, {kind} each")
}
