//! `scatterc gradient`: value and gradient of a loss between the statistics of a field and a target.

use crate::args::{self, CliError, DeviceOptions, DomainOptions, FieldOptions, Fields, Global, Progress, Runner, StatisticOptions, Stored};
use crate::io::{NamedArray, check_writable, write_npz_atomic};
use scatterc::{Array, Domain, Goal, InputKind, Source, Statistics, sensitivity};
use std::path::{Path, PathBuf};

/// Value and gradient of a loss between the statistics of a field and those of a target.
///
/// The gradient has the layout of the field and JAX's convention, dL/dRe - i dL/dIm; the loss falls along minus its conjugate.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The field, or a batch of fields: .npy, .npz, .fits or .fits.gz.
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// The target: a result of `encode` (its normalisation is used), or a field whose statistics are taken.
    #[arg(long, value_name = "TARGET")]
    pub target: PathBuf,
    /// Where `value` and `gradient` go, an .npz file.
    #[arg(long, short, value_name = "OUT.npz")]
    pub output: PathBuf,
    /// The loss, a function of the statistics and the target `T`.
    #[arg(long, value_name = "NAME", default_value = "l2")]
    pub loss: String,
    /// Weights of averages, one per sample of images, series and HEALPix pixels; one mask.
    #[arg(long, value_name = "M")]
    pub mask: Option<PathBuf>,
    /// Domain.
    #[command(flatten)]
    pub domain: DomainOptions,
    /// Statistic.
    #[command(flatten)]
    pub statistic: StatisticOptions,
    /// Input.
    #[command(flatten)]
    pub field: FieldOptions,
    /// Device.
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// Runs the command. What can be refused without reading data is refused first.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    args.device.without_target()?;
    args.device.check()?;
    args.statistic.numbers()?;
    if args.domain.is_healpix() {
        return super::healpix::gradient(args, global);
    }
    if args.domain.is_planar() {
        return super::planar::gradient(args, global);
    }
    if let Some(mask) = &args.mask {
        return Err(CliError::option("--mask", mask.display(), "nothing: masks belong to the domains plane, line and healpix"));
    }
    let source = args.statistic.source()?;
    source.loss(&args.loss)?;
    let statistic = &source.statistic(args.statistic.name())?.statistic;
    let [name] = statistic.fields.as_slice() else {
        return Err(CliError::option(
            "--statistic",
            format!("{} with {} fields", statistic.name.name, statistic.fields.len()),
            "a statistic of one field",
        ));
    };
    check_writable(&args.output)?;
    let inputs = args::load_field(&args.input, &args.domain, &args.field, &args.device, global)?;
    let sphere = &inputs.sphere;
    let stored = args::read_stored(&args.target)?;
    let mut compiler = args::compiler(&source, sphere, &args.statistic, &args.device)?;
    let mut norms = args::norms(&args.statistic, &inputs, &args.field, &args.device, global)?.map(|n| (n.by, n.values));
    if let Some(given) = stored.as_ref().and_then(|s| s.normalised().map(|by| (by.to_string(), s))) {
        let (by, stored) = given;
        if norms.is_some() {
            return Err(fault(
                &args.target,
                "normalisation",
                "statistics that are not normalised, as `--normalise-by` is given".into(),
                format!("normalised by {by}"),
            ));
        }
        let Some(NamedArray::F64 { shape, data }) = stored.arrays.get("normalisation") else {
            return Err(fault(&args.target, "normalisation", "the array `normalisation` of norms".into(), "none".into()));
        };
        crate::io::check_finite(&args.target, shape, 1, data)?;
        norms = Some((by, vec![data.clone()]));
        compiler = compiler.array("P");
    }
    if let Some((_, values)) = &norms
        && values.len() != 1
    {
        return Err(CliError::option(
            "--normalise-by",
            "self for several fields",
            "one field or one `encode` result: the norms are constants of the loss",
        ));
    }
    let norms = norms.and_then(|(_, values)| values.into_iter().next());
    // A statistic or a variant that does not divide by P has no such parameter.
    let plain = Runner::new(&compiler, &args.device)?;
    let norms = match norms {
        Some(values) => match plain.compiled.bound.parameters.iter().find(|p| p.name == "P") {
            Some(p) if p.index.rows.len() == values.len() => Some(values),
            Some(p) => return Err(fault(&args.target, "normalisation", format!("{} norms", p.index.rows.len()), values.len().to_string())),
            None => None,
        },
        None => None,
    };
    let target = match &stored {
        Some(stored) => stored_target(&args.target, stored, &plain, &source, args, sphere)?,
        None => field_target(plain, args, sphere, &name.name, norms.as_deref(), global)?,
    };
    let mut runner = Runner::new(&compiler.clone().goal(Goal::Gradient(args.loss.clone())), &args.device)?;
    let mut fixed: Vec<(String, &[f64])> = sensitivity::parameter_arrays("T", &target);
    fixed.extend(norms.as_deref().map(|values| ("P".to_string(), values)));

    let mut values = Vec::with_capacity(inputs.fields.len());
    let mut gradients = Vec::with_capacity(inputs.fields.len());
    let mut progress = Progress::new(global, inputs.fields.len() as u64, "fields");
    let gradient_name = format!("gradient.{}", name.name);
    for (k, field) in inputs.fields.iter().enumerate() {
        let mut given: Vec<(&str, &[f64])> = vec![(&name.name, field)];
        given.extend(fixed.iter().map(|(name, values)| (name.as_str(), *values)));
        for (name, numbers) in runner.run(&given)? {
            if name == "value" {
                values.extend(numbers);
            } else if name == gradient_name {
                gradients.extend(numbers);
            }
        }
        progress.at(k as u64 + 1, "");
    }
    progress.finish();

    let L = sphere.L;
    let batch: Vec<usize> = inputs.batch().into_iter().collect();
    let shape = |last: usize| [batch.as_slice(), &[L, last]].concat();
    let gradient = match sphere.input {
        InputKind::Grid => NamedArray::F64 { shape: shape(2 * L - 1), data: gradients },
        kind => {
            sensitivity::to_jax(&mut gradients);
            NamedArray::C128 { shape: shape(if kind == InputKind::Half { L } else { 2 * L - 1 }), data: gradients }
        }
    };
    let mut metadata = args::metadata(&source, sphere, &args.statistic, &args.device, None, &args.input)?;
    metadata["loss"] = serde_json::json!(args.loss);
    metadata["target"] = serde_json::json!(args::file_name(&args.target));
    metadata["normalised"] = serde_json::json!(norms.is_some());
    metadata["gradient_convention"] = serde_json::json!("dL/dRe - i dL/dIm");
    let text = match values.as_slice() {
        [value] => format!("value {value:.12e}"),
        values => format!("{} values", values.len()),
    };
    let out = [
        ("value".to_string(), NamedArray::F64 { shape: batch.clone(), data: values }),
        ("gradient".to_string(), gradient),
        ("metadata".to_string(), NamedArray::Text(metadata.to_string())),
    ];
    write_npz_atomic(&args.output, &out)?;
    global.note(&format!("{}: {text}", args.output.display()));
    Ok(())
}

fn fault(path: &Path, what: &str, expected: String, found: String) -> CliError {
    CliError::Stored { path: path.into(), what: what.into(), expected, found }
}

/// Statistics of a target field.
fn field_target(
    mut runner: Runner,
    args: &Args,
    sphere: &scatterc::Sphere,
    name: &str,
    norms: Option<&[f64]>,
    global: &Global,
) -> Result<Statistics, CliError> {
    let domain = DomainOptions { bandlimit: Some(sphere.L), directions: sphere.N, min_scale: sphere.J_min, ..DomainOptions::default() };
    let target: Fields = args::load_field(&args.target, &domain, &args.field, &args.device, global)?;
    let one = |found: String| CliError::Field {
        path: args.target.clone(),
        expected: format!("one field on {}, as INPUT has it", sphere.describe()),
        found,
    };
    let [field] = target.fields.as_slice() else {
        return Err(one(format!("{} fields", target.fields.len())));
    };
    if target.sphere != *sphere {
        return Err(one(target.sphere.describe()));
    }
    let mut given: Vec<(&str, &[f64])> = vec![(name, field)];
    given.extend(norms.map(|values| ("P", values)));
    let results = runner.run(&given)?;
    Ok(runner.statistics(results))
}

/// Statistics that `encode` wrote, checked against the options of this run.
fn stored_target(
    path: &Path,
    stored: &Stored,
    runner: &Runner,
    source: &Source,
    args: &Args,
    sphere: &scatterc::Sphere,
) -> Result<Statistics, CliError> {
    // The layout of the field that was encoded does not matter, its sizes do.
    let sizes = |text: &str| text.split(" input=").next().unwrap_or_default().to_string();
    let own = args::metadata(source, sphere, &args.statistic, &args.device, None, &args.input)?;
    let text =
        |value: &serde_json::Value, key: &str| value.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string)).unwrap_or_default();
    for key in ["domain", "statistic", "variant", "parameters"] {
        let (expected, found) = (sizes(&text(&own, key)), sizes(&text(&stored.metadata, key)));
        if expected != found {
            return Err(fault(path, key, expected, found));
        }
    }
    let mut arrays = Vec::new();
    for info in &runner.compiled.bound.outputs {
        let n = info.index.rows.len();
        let wrong = |found: String| {
            fault(path, &info.name, format!("{} {n} numbers of one field", if info.complex { "complex128" } else { "float64" }), found)
        };
        let (re, im, shape) = match stored.arrays.get(&info.name) {
            Some(NamedArray::F64 { shape, data }) if !info.complex && data.len() == n => (data.clone(), None, shape),
            Some(NamedArray::C128 { shape, data }) if info.complex && data.len() == 2 * n => {
                (data.iter().step_by(2).copied().collect(), Some(data.iter().skip(1).step_by(2).copied().collect()), shape)
            }
            Some(other) => return Err(wrong(other.describe())),
            None => return Err(wrong("no such array".into())),
        };
        crate::io::check_finite(path, shape, 1, &re)?;
        arrays.push(Array { name: info.name.clone(), re, im, index: info.index.clone(), axes: info.axes.clone() });
    }
    Ok(Statistics { batch: None, arrays })
}
