//! `scatterc synthesise`: new fields with the statistics of a target.

use crate::args::{self, CliError, DeviceKind, DeviceOptions, DomainOptions, FieldOptions, Fields, Global, StatisticOptions};
use crate::figure::{self, ColourMap, Field, Panel, Plot, Series, Style};
use crate::io::{NamedArray, check_writable, write_bytes_atomic, write_npy_atomic, write_npz_atomic};
use crate::transforms;
use clap::ValueEnum;
use scatterc::optimise::{Control, Lbfgs, Method, Progress, State, Stopped};
use scatterc::synthesis::{self, Generator, Options, Start, Synthesis, SynthesisError, Validation, validation_table};
use scatterc::{InputKind, Sphere};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Largest files read as checkpoints, in bytes.
const LARGEST_CHECKPOINT: u64 = 1 << 36;

/// Time between checkpoints.
pub(super) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(20);

/// Synthesises fields with the statistics of a target field, from noise.
///
/// The same seed gives the same noise on every machine. Ctrl-C leaves a checkpoint, from which `--resume` goes on.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The target field: .npy, .npz, .fits or .fits.gz.
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Where the fields go: .npy with complex [K, L, L] (m >= 0), [L, L] for one field; .npz adds start, history and report.
    #[arg(long, short, value_name = "OUT.npy")]
    pub output: PathBuf,
    /// Number K of fields.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub count: usize,
    /// Seed of the noise; member k depends on the seed and k only.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Number of the first member, to continue a series of fields.
    #[arg(long, value_name = "M", default_value_t = 0)]
    pub first_member: usize,
    /// Largest number of steps.
    #[arg(long, value_name = "STEPS", default_value_t = 300)]
    pub steps: usize,
    /// Ends a field when the root of its loss relative to that of a field without statistics falls below this; 0 never does.
    #[arg(long, value_name = "T", default_value_t = 1e-5)]
    pub tolerance: f64,
    /// Optimiser; `adam` takes S2SCAT's steps.
    #[arg(long, value_enum, default_value = "lbfgs")]
    pub optimiser: OptimiserKind,
    /// Step size of Adam, in standard deviations of the target. Default: 0.01.
    #[arg(long, value_name = "R")]
    pub learning_rate: Option<f64>,
    /// Start from noise with the target's spectrum, from white noise, or from the field or fields of a file.
    #[arg(long, value_name = "spectrum|white|FILE", default_value = "spectrum")]
    pub start: String,
    /// A picture: maps of target, start and synthesis, spectra, histograms, loss.
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Saves the state of the optimiser here now and then, and at the end.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Goes on from a checkpoint of the same target and options; `--steps` counts from the beginning.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Loss of every field after every step: .csv, or .json.
    #[arg(long, value_name = "FILE.csv|FILE.json")]
    pub history: Option<PathBuf>,
    /// The comparison with the target and all options, as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Raises powers below this part of the largest to it, instead of refusing to normalise.
    #[arg(long, value_name = "F")]
    pub floor: Option<f64>,
    /// Images and series: the samples to be replaced, not zero in this file; the others stay as the target has them. HEALPix pixels: weights of averages, of target and synthesis.
    #[arg(long, value_name = "M")]
    pub mask: Option<PathBuf>,
    /// HEALPix pixels: those to be replaced, not zero in this file; the others stay as the target has them.
    #[arg(long, value_name = "F")]
    pub free: Option<PathBuf>,
    /// Images and series: weights of averages, of target and synthesis, one per sample.
    #[arg(long, value_name = "M")]
    pub weights: Option<PathBuf>,
    /// HEALPix pixels: a second map; its cross statistics with the target are matched.
    #[arg(long, value_name = "MAP")]
    pub second: Option<PathBuf>,
    /// Images, series and HEALPix pixels: resolutions that the descent runs through, from coarse to fine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub levels: usize,
    /// HEALPix pixels: doublings of the resolution after the last level; the larger map has at its first scales the statistics that the target has.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub upsample: usize,
    /// HEALPix pixels: a further statistic whose loss is added, times a factor; `variances` holds the power.
    #[arg(long, value_name = "NAME[=FACTOR]")]
    pub also: Vec<String>,
    /// HEALPix pixels: descends in variables on all resolutions, not in the pixels themselves.
    #[arg(long)]
    pub precondition: bool,
    /// HEALPix pixels: pairs of steps and gradients that L-BFGS remembers [default: 100].
    #[arg(long, value_name = "M")]
    pub pairs: Option<usize>,
    /// HEALPix pixels: makes the target Gaussian by rank first, and the result like the target again.
    #[arg(long, alias = "gaussianize")]
    pub gaussianise: bool,
    /// HEALPix pixels: weighs coefficients by FOSCAT's formula for their sigmas.
    #[arg(long)]
    pub compatible: bool,
    /// Lets the power move within the wavelets' octaves. Default: held at the target's for L-BFGS from `spectrum`.
    #[arg(long)]
    pub free_spectrum: bool,
    /// Keeps the target's units: mean and variance enter the loss as they are.
    #[arg(long)]
    pub keep_units: bool,
    /// A built-in statistic, or a .scat file (FILE.scat:NAME where it holds several).
    #[arg(long, value_name = "NAME|FILE.scat", default_value = "s2scat", help_heading = "Statistic")]
    pub statistic: String,
    /// The variant named `isotropic`: directions summed.
    #[arg(long, conflicts_with = "variant", help_heading = "Statistic")]
    pub isotropic: bool,
    /// A named `return` of the statistic.
    #[arg(long, value_name = "NAME", help_heading = "Statistic")]
    pub variant: Option<String>,
    /// Largest distance between scales; short for `--parameter delta=D`.
    #[arg(long, value_name = "D", help_heading = "Statistic")]
    pub delta_j: Option<usize>,
    /// A number parameter of the statistic.
    #[arg(long = "parameter", value_name = "NAME=VALUE", help_heading = "Statistic")]
    pub parameters: Vec<String>,
    /// The loss, a function of the statistics and the target `T`.
    #[arg(long, value_name = "NAME", default_value = "l2", help_heading = "Statistic")]
    pub loss: String,
    /// Domain.
    #[command(flatten)]
    pub domain: DomainOptions,
    /// Input.
    #[command(flatten)]
    pub field: FieldOptions,
    /// Device.
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimiserKind {
    /// Quasi-Newton steps with a line search, on variables scaled by the target's spectrum.
    Lbfgs,
    /// First-order steps on coefficients, as S2SCAT makes them.
    Adam,
}

/// Set by Ctrl-C.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C asks the run to end at its next step; a second one ends the process.
pub(super) fn listen() {
    static ONCE: OnceLock<bool> = OnceLock::new();
    ONCE.get_or_init(|| {
        ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        // Without a handler Ctrl-C ends the process as it always does.
        .is_ok()
    });
}

/// A fault of the synthesis in the words of the command line.
pub(super) fn fault(path: &Path, error: SynthesisError) -> CliError {
    match error {
        SynthesisError::Program(error) => error.into(),
        SynthesisError::Option { option, found, expected } => CliError::option(&format!("--{option}"), found, expected),
        SynthesisError::Optimise(error) => CliError::Unavailable(error.to_string()),
        other => CliError::Text { path: path.into(), message: other.to_string() },
    }
}

/// Runs the command. What can be refused without reading data is refused first.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    args.device.without_target()?;
    args.device.check()?;
    if args.device.device == DeviceKind::Reference {
        return Err(CliError::option("--device", "reference", "cpu: synthesis runs compiled gradients"));
    }
    if args.domain.is_healpix() {
        return super::healpix::synthesise(args, global);
    }
    for (option, given) in [
        ("--free", args.free.is_some()),
        ("--second", args.second.is_some()),
        ("--upsample", args.upsample != 0),
        ("--also", !args.also.is_empty()),
        ("--precondition", args.precondition),
        ("--pairs", args.pairs.is_some()),
        ("--compatible", args.compatible),
        ("--gaussianise", args.gaussianise),
    ] {
        if given {
            return Err(CliError::Unavailable(format!("`{option}` is available on HEALPix pixels only")));
        }
    }
    if args.domain.is_planar() {
        return super::planar::synthesise(args, global);
    }
    for (option, given) in [("--levels", args.levels != 1), ("--weights", args.weights.is_some())] {
        if given {
            return Err(CliError::Unavailable(format!("`{option}` is not available on the sphere")));
        }
    }
    if let Some(mask) = &args.mask {
        return Err(CliError::Unavailable(format!("masks are not available on the sphere yet: cannot use `--mask {}`", mask.display())));
    }
    let statistic = StatisticOptions {
        statistic: args.statistic.clone(),
        normalise_by: None,
        floor: args.floor,
        isotropic: args.isotropic,
        variant: args.variant.clone(),
        delta_j: args.delta_j,
        parameters: args.parameters.clone(),
    };
    let method = match args.optimiser {
        OptimiserKind::Adam => Options::adam(args.learning_rate.unwrap_or(0.01)),
        OptimiserKind::Lbfgs if args.learning_rate.is_some() => {
            return Err(CliError::option(
                "--learning-rate",
                "given with --optimiser lbfgs",
                "--optimiser adam: the line search finds the steps of L-BFGS",
            ));
        }
        OptimiserKind::Lbfgs => Method::Lbfgs(Lbfgs::default()),
    };
    if args.learning_rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return Err(CliError::option("--learning-rate", args.learning_rate.unwrap_or_default(), "a positive number"));
    }
    let numbers = statistic.numbers()?;
    let source = statistic.source()?;
    source.statistic(statistic.name())?;
    source.loss(&args.loss)?;
    let as_json = match args.history.as_deref().map(|path| path.extension().and_then(|e| e.to_str())) {
        None | Some(Some("csv")) => false,
        Some(Some("json")) => true,
        Some(_) => {
            return Err(CliError::option(
                "--history",
                args.history.as_deref().unwrap_or(Path::new("")).display(),
                "a file name that ends in .csv or .json",
            ));
        }
    };
    // An interrupted run without a place for its checkpoint still leaves one beside its output.
    let checkpoint = args.checkpoint.clone().or_else(|| args.resume.clone()).unwrap_or_else(|| beside(&args.output, "checkpoint"));
    for path in [Some(&args.output), args.plot.as_ref(), args.history.as_ref(), args.report.as_ref(), Some(&checkpoint)].into_iter().flatten() {
        check_writable(path)?;
    }
    let saved = args.resume.as_deref().map(read_checkpoint).transpose()?;

    let (sphere, target) = one_field(&args.target, &args.domain, args, global)?;
    let start = match args.start.as_str() {
        "spectrum" => Start::Spectrum,
        "white" => Start::White,
        file => Start::Given(starts(Path::new(file), &sphere, args, global)?),
    };
    let options = Options {
        statistic: statistic.name().map(str::to_string),
        variant: statistic.variant().map(str::to_string),
        numbers,
        floor: args.floor,
        loss: args.loss.clone(),
        count: args.count,
        first_member: args.first_member,
        seed: args.seed,
        start,
        method,
        steps: args.steps,
        tolerance: args.tolerance,
        standardise: !args.keep_units,
        hold_spectrum: args.free_spectrum.then_some(false),
        fusion: args.device.fuse.into(),
        disable: args.device.disable.clone(),
        device: args.device.device(),
        threads: args.device.threads,
        memory: args.device.budget(),
        ..Options::default()
    };
    let mut generator = Generator::new(&source, &sphere, &target, options).map_err(|e| fault(&args.target, e))?;
    if let Some((name, norms, replaced)) = generator.norms()
        && replaced > 0
    {
        global.note(&format!("{replaced} of {} norms `{name}` of the target were raised to the floor", norms.len()));
    }
    let state = match (&saved, &args.resume) {
        (Some(bytes), Some(path)) => Some(generator.state(bytes).map_err(|e| fault(path, e))?),
        _ => None,
    };
    let synthesis = optimise(&mut generator, state, &checkpoint, args, global)?;
    let report = generator.validate(&synthesis).map_err(|e| fault(&args.target, e))?;
    write_outputs(&generator, &synthesis, &report, &source_text(&source, &statistic)?, args, as_json)?;
    args::print(&validation_table(&report))?;
    for (member, stopped) in report.iter().zip(&synthesis.outcome.stopped) {
        global.note(&format!("member {}: {}", member.member, reason(*stopped)));
    }
    Ok(())
}

/// `out.npy` and `checkpoint` to `out.npy.checkpoint`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn source_text(source: &scatterc::Source, statistic: &StatisticOptions) -> Result<String, CliError> {
    Ok(source.statistic(statistic.name())?.statistic.to_string())
}

pub(super) fn reason(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Gradient => "the gradient vanished",
        Stopped::ValueChange => "the loss no longer fell",
        Stopped::Target => "the tolerance was reached",
        Stopped::MaxSteps => "the number of steps was reached",
        Stopped::LineSearch => "no step lowered the loss any further",
        Stopped::NotFinite => "a step led to a loss that is not finite; the point before it is kept",
        _ => "stopped",
    }
}

pub(super) fn read_checkpoint(path: &Path) -> Result<Vec<u8>, CliError> {
    let fail = |message: String| CliError::Text { path: path.into(), message };
    let length = std::fs::metadata(path).map_err(|e| fail(format!("cannot read the checkpoint: {e}")))?.len();
    if length > LARGEST_CHECKPOINT {
        return Err(fail(format!("the file has {length} bytes, expected a checkpoint of at most {LARGEST_CHECKPOINT}")));
    }
    std::fs::read(path).map_err(|e| fail(format!("cannot read the checkpoint: {e}")))
}

/// Half-plane coefficients of fields in any layout.
fn halves(path: &Path, fields: &Fields, args: &Args) -> Result<Vec<Vec<f64>>, CliError> {
    let L = fields.sphere.L;
    let convert = |field: &Vec<f64>| {
        if fields.sphere.input == InputKind::Half {
            // Left as it is, so that coefficients no real field has are refused and not dropped.
            return Ok(field.clone());
        }
        if fields.sphere.input == InputKind::Full {
            check_hermitian(path, L, field)?;
        }
        Ok(transforms::half_of_triangular(L, &transforms::triangular(fields.sphere.input, L, field, args.device.thread_count())?))
    };
    fields.fields.iter().map(convert).collect()
}

/// Refuses coefficients of fields that are not real.
fn check_hermitian(path: &Path, L: usize, full: &[f64]) -> Result<(), CliError> {
    let noise = 1e-10 * full.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    let at = |ell: usize, m: usize, negative: bool| 2 * (ell * (2 * L - 1) + if negative { L - 1 - m } else { L - 1 + m });
    for ell in 0..L {
        for m in 0..=ell {
            let (p, q) = (at(ell, m, false), at(ell, m, true));
            let sign = if m % 2 == 0 { 1.0 } else { -1.0 };
            if (full[p] - sign * full[q]).abs() > noise || (full[p + 1] + sign * full[q + 1]).abs() > noise {
                let expected = "coefficients of a real field, f_{l,-m} = (-1)^m conj f_lm".to_string();
                return Err(CliError::Field { path: path.into(), expected, found: format!("a complex field (see ell = {ell}, m = {m})") });
            }
        }
    }
    Ok(())
}

/// The target as half-plane coefficients, and its sphere.
fn one_field(path: &Path, domain: &DomainOptions, args: &Args, global: &Global) -> Result<(Sphere, Vec<f64>), CliError> {
    let fields = args::load_field(path, domain, &args.field, &args.device, global)?;
    let sphere = Sphere { input: InputKind::Half, ..fields.sphere.clone() };
    let mut halves = halves(path, &fields, args)?;
    match (halves.pop(), halves.len()) {
        (Some(field), 0) => Ok((sphere, field)),
        _ => Err(CliError::Field { path: path.into(), expected: "one field".into(), found: format!("{} fields", fields.fields.len()) }),
    }
}

/// Fields to start from: one, or one per member.
fn starts(path: &Path, sphere: &Sphere, args: &Args, global: &Global) -> Result<Vec<f64>, CliError> {
    let domain = DomainOptions { bandlimit: Some(sphere.L), directions: sphere.N, min_scale: sphere.J_min, ..DomainOptions::default() };
    let fields = args::load_field(path, &domain, &args.field, &args.device, global)?;
    if fields.fields.len() != 1 && fields.fields.len() != args.count {
        let expected = if args.count == 1 { "one field to start from".to_string() } else { format!("1 or {} fields to start from", args.count) };
        return Err(CliError::Field { path: path.into(), expected, found: format!("{} fields", fields.fields.len()) });
    }
    Ok(halves(path, &fields, args)?.concat())
}

/// Runs the optimiser under the eyes of the user, with checkpoints.
fn optimise(generator: &mut Generator, state: Option<State>, checkpoint: &Path, args: &Args, global: &Global) -> Result<Synthesis, CliError> {
    listen();
    let fingerprint = *generator.fingerprint();
    let periodic = args.checkpoint.is_some() || args.resume.is_some();
    let mut bar = args::Progress::new(global, args.steps as u64, "steps");
    let mut saved = Instant::now();
    let mut failed: Option<CliError> = None;
    let mut interrupted = false;
    let mut observer = |progress: &Progress<'_>| {
        let worst = progress.values.iter().copied().fold(0.0, f64::max);
        bar.at(progress.iteration as u64, &format!("loss {worst:.4e}"));
        let ended = progress.ended;
        interrupted = !ended && INTERRUPTED.load(Ordering::SeqCst);
        if interrupted || periodic && (ended || saved.elapsed() > CHECKPOINT_INTERVAL) {
            let written = match progress.state() {
                Ok(state) => write_bytes_atomic(checkpoint, &state.to_bytes(&fingerprint)).map_err(CliError::from),
                Err(error) => Err(CliError::Unavailable(error.to_string())),
            };
            if let Err(error) = written {
                failed = Some(error);
                return Control::Stop;
            }
            saved = Instant::now();
        }
        if interrupted { Control::Stop } else { Control::Continue }
    };
    let synthesis = match state {
        Some(state) => generator.resume(state, &mut observer),
        None => generator.generate(&mut observer),
    };
    bar.finish();
    if let Some(error) = failed {
        return Err(error);
    }
    if interrupted {
        args::complain(&format!("the state is in {}; go on with the same options and --resume {}", checkpoint.display(), checkpoint.display()));
        return Err(CliError::Interrupted);
    }
    synthesis.map_err(|e| fault(&args.target, e))
}

fn write_outputs(
    generator: &Generator,
    synthesis: &Synthesis,
    report: &[Validation],
    text: &str,
    args: &Args,
    as_json: bool,
) -> Result<(), CliError> {
    let (L, count) = (generator.L(), args.count);
    let history = &synthesis.outcome.history;
    let metadata = serde_json::json!({
        "scatterc": env!("CARGO_PKG_VERSION"),
        "target": args::file_name(&args.target),
        "statistic": text,
        "domain": generator.compiled().plan().note("domain"),
        "variant": generator.options().variant,
        "parameters": generator.options().numbers.iter().map(|(name, x)| (name.clone(), x.to_string())).collect::<std::collections::BTreeMap<_, _>>(),
        "loss": args.loss,
        "optimiser": if args.optimiser == OptimiserKind::Adam { "adam" } else { "lbfgs" },
        "seed": args.seed,
        "start": if let Start::Given(_) = generator.options().start { args::file_name(Path::new(&args.start)) } else { args.start.clone() },
        "floor": args.floor,
        "standardised": !args.keep_units,
        "spectrum_held": generator.spectrum_held(),
        "steps": synthesis.outcome.iterations,
        "evaluations": synthesis.outcome.evaluations,
        "stopped": synthesis.outcome.stopped.iter().map(|s| reason(*s)).collect::<Vec<_>>(),
        "validation": report,
    });
    let shape = if count == 1 { vec![L, L] } else { vec![count, L, L] };
    let fields = NamedArray::C128 { shape: shape.clone(), data: synthesis.fields.clone() };
    if args.output.extension().is_some_and(|e| e == "npz") {
        let arrays = [
            ("flm".to_string(), fields),
            ("start".to_string(), NamedArray::C128 { shape, data: synthesis.start.clone() }),
            ("target".to_string(), NamedArray::C128 { shape: vec![L, L], data: generator.target().to_vec() }),
            ("history".to_string(), NamedArray::F64 { shape: vec![history.len(), count], data: history.concat() }),
            ("metadata".to_string(), NamedArray::Text(metadata.to_string())),
        ];
        write_npz_atomic(&args.output, &arrays)?;
    } else {
        write_npy_atomic(&args.output, &fields)?;
    }
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&metadata).unwrap_or_else(|_| metadata.to_string());
        write_bytes_atomic(path, text.as_bytes())?;
    }
    if let Some(path) = &args.history {
        let text = if as_json {
            serde_json::json!({ "loss": history }).to_string()
        } else {
            let header: String = report.iter().map(|member| format!(",loss_{}", member.member)).collect();
            let rows = history.iter().enumerate().map(|(step, row)| format!("{step}{}\n", row.iter().map(|x| format!(",{x:e}")).collect::<String>()));
            format!("step{header}\n{}", rows.collect::<String>())
        };
        write_bytes_atomic(path, text.as_bytes())?;
    }
    if let Some(path) = &args.plot {
        picture(path, generator, synthesis, &args.target)?;
    }
    Ok(())
}

/// Maps of target, start and up to four members; spectra, histograms and losses.
pub fn picture(path: &Path, generator: &Generator, synthesis: &Synthesis, target_path: &Path) -> Result<(), CliError> {
    let (L, width) = (generator.L(), 2 * generator.L() * generator.L());
    let wrong = |e| fault(target_path, e);
    let shown = synthesis.fields.chunks_exact(width).take(4);
    let mut named: Vec<(String, &[f64])> = vec![("Target".into(), generator.target()), ("Start".into(), &synthesis.start[..width])];
    named.extend(shown.enumerate().map(|(k, field)| {
        (if generator.options().count == 1 { "Synthesis".into() } else { format!("Synthesis {}", k + generator.options().first_member) }, field)
    }));
    let triangles: Vec<Vec<f64>> = named.iter().map(|(_, half)| synthesis::triangular(L, half)).collect();
    let maps: Vec<Vec<f64>> = named.iter().map(|(_, half)| synthesis::grid(L, half)).collect::<Result<_, _>>().map_err(wrong)?;
    // One range for all maps, without the outermost samples of the target.
    let mut sorted = maps[0].clone();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let (low, high) = (quantile(0.002), quantile(0.998));
    let panel = |((name, _), coefficients): (&(String, &[f64]), &'_ Vec<f64>)| (name.clone(), coefficients.clone());
    let owned: Vec<(String, Vec<f64>)> = named.iter().zip(&triangles).map(panel).collect();
    let panels: Vec<Panel> = owned
        .iter()
        .map(|(name, coefficients)| {
            Panel::new(name.clone(), Field::Coefficients { L, data: coefficients }).colours(ColourMap::Viridis).range(low, high)
        })
        .collect();
    let style = |k: usize| if k == 1 { Style::Dashed } else { Style::Line };
    let spectrum = |(k, (name, half)): (usize, &(String, &[f64]))| {
        let power = |(ell, c): (usize, f64)| (ell as f64, c * (ell * (ell + 1)) as f64 / std::f64::consts::TAU);
        let points: Vec<(f64, f64)> = synthesis::power_spectrum(L, half).into_iter().enumerate().skip(1).map(power).collect();
        // Empty degrees hold rounding noise, which would squeeze everything else against the top.
        let largest = points.iter().map(|p| p.1).fold(0.0, f64::max);
        Series::new(name.clone(), style(k), points.into_iter().filter(|p| p.1 > 1e-10 * largest).collect())
    };
    let bins = 60;
    let histogram = |(k, (name, map)): (usize, (&String, &Vec<f64>))| {
        let style = if k == 0 { Style::Steps } else { style(k) };
        Series::new(name.clone(), style, figure::histogram(map, bins))
    };
    let loss = |k: usize| {
        let points = synthesis.outcome.history.iter().enumerate().map(|(step, row)| (step as f64, row[k])).collect();
        Series::line(
            if generator.options().count == 1 { String::new() } else { format!("Synthesis {}", k + generator.options().first_member) },
            points,
        )
    };
    let plots = [
        Plot {
            title: "Power spectra".into(),
            x_label: "Degree ℓ".into(),
            y_label: "ℓ(ℓ+1)C_{ℓ}/2π".into(),
            log_x: true,
            log_y: true,
            series: named.iter().enumerate().map(spectrum).collect(),
        },
        Plot {
            title: "Histograms of samples".into(),
            x_label: "Value".into(),
            y_label: "Density".into(),
            log_x: false,
            log_y: true,
            series: named.iter().map(|(name, _)| name).zip(&maps).enumerate().map(histogram).collect(),
        },
        Plot {
            title: "Loss".into(),
            x_label: "Step".into(),
            y_label: "Loss".into(),
            log_x: false,
            log_y: true,
            series: (0..generator.options().count.min(4)).map(loss).collect(),
        },
    ];
    Ok(figure::report(path, &panels, &plots)?)
}
