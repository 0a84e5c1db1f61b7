//! `scatterc encode`: fields in, statistics out.

use crate::args::{self, CliError, DeviceOptions, DomainOptions, FieldOptions, Fields, Global, Norms, Progress, Runner, StatisticOptions, TableKind};
use crate::io::{NamedArray, check_writable};
use scatterc::{Array, Compiler, Source};
use std::path::PathBuf;

/// Statistics of a field, or of a batch of fields.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The field: .npy, .npz, .fits or .fits.gz; one file per field of the statistic.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Where the statistics go: .npz, .json, .csv or .safetensors.
    #[arg(long, short, value_name = "OUT.npz")]
    pub output: PathBuf,
    /// Format of the output. Default: the one its name ends in, or else npz.
    #[arg(long, value_enum)]
    pub format: Option<TableKind>,
    /// Weights of averages, one per sample of images, series and HEALPix pixels; several HEALPix masks give statistics for each.
    #[arg(long, value_name = "M")]
    pub mask: Option<PathBuf>,
    /// Reads the fields of a .npy stack piece by piece and keeps what is done beside the output: memory does not grow with the number of fields.
    #[arg(long)]
    pub stream: bool,
    /// Goes on with a streamed run that was stopped.
    #[arg(long, requires = "stream")]
    pub resume: bool,
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
    args.device.check()?;
    args.statistic.numbers()?;
    if args.stream && (args.domain.is_healpix() || args.domain.is_planar()) {
        return Err(CliError::option("--stream", "another domain", "the sphere"));
    }
    if args.domain.is_healpix() {
        return super::healpix::encode(args, global);
    }
    if args.domain.is_planar() {
        return super::planar::encode(args, global);
    }
    if let Some(mask) = &args.mask {
        return Err(CliError::option("--mask", mask.display(), "nothing: masks belong to the domains plane, line and healpix"));
    }
    if args.stream {
        return super::stream::encode(args, global);
    }
    let source = args.statistic.source()?;
    let names: Vec<String> = source.statistic(args.statistic.name())?.statistic.fields.iter().map(|f| f.name.clone()).collect();
    if names.len() != args.inputs.len() {
        let expected = format!("{} for the fields of the statistic: {}", names.len(), names.join(", "));
        return Err(CliError::option("INPUT", format!("{} files", args.inputs.len()), expected));
    }
    check_writable(&args.output)?;
    let mut inputs: Vec<Fields> = Vec::with_capacity(names.len());
    for path in &args.inputs {
        let fields = args::load_field(path, &args.domain, &args.field, &args.device, global)?;
        if let Some(first) = inputs.first()
            && (fields.sphere != first.sphere || fields.batch() != first.batch())
        {
            let describe = |f: &Fields| format!("{} field(s), {}", f.fields.len(), scatterc::Domain::describe(&f.sphere));
            return Err(CliError::Field {
                path: path.clone(),
                expected: format!("{}, as the first file", describe(first)),
                found: describe(&fields),
            });
        }
        inputs.push(fields);
    }
    let Some(first) = inputs.first() else {
        return Err(CliError::option("INPUT", "no file", "a field"));
    };
    if args.statistic.normalise_by.as_deref() == Some("self") && inputs.len() > 1 {
        return Err(CliError::option("--normalise-by", "self", "a file: the statistic has several fields"));
    }
    let sphere = &first.sphere;
    let compiler = args::compiler(&source, sphere, &args.statistic, &args.device)?;
    if args.statistic.normalise_by.is_some() {
        // A text that does not fit the domain is refused before the norms are computed.
        compiler.bind()?;
    }
    let norms = args::norms(&args.statistic, first, &args.field, &args.device, global)?;
    let Encoded { runner, arrays } = encode(&compiler, &source, &inputs, &names, norms.as_ref(), args, global)?;
    let metadata = args::metadata(&source, sphere, &args.statistic, &args.device, norms.as_ref(), &args.inputs[0])?;
    let further = norms.as_ref().map(|norms| ("normalisation".to_string(), normalisation(norms))).into_iter().collect();
    args::write_statistics(&args.output, args.format, &runner.compiled, first.batch(), &arrays, &metadata, further)?;
    let lengths: Vec<String> = arrays.iter().map(|a| format!("{} {}", a.name, a.re.len() / first.fields.len().max(1))).collect();
    let fields = first.batch().map(|n| format!(" of {n} fields")).unwrap_or_default();
    global.note(&format!("{}: {}{fields}", args.output.display(), lengths.join(", ")));
    Ok(())
}

/// The norms as they are written: `[entries]`, or `[fields, entries]` where each field has its own.
fn normalisation(norms: &Norms) -> NamedArray {
    let n = norms.index.rows.len();
    let shape = if norms.values.len() == 1 { vec![n] } else { vec![norms.values.len(), n] };
    NamedArray::F64 { shape, data: norms.values.concat() }
}

struct Encoded {
    runner: Runner,
    arrays: Vec<Array>,
}

/// Runs all fields in pieces and joins the results along the batch axis.
fn encode(
    compiler: &Compiler,
    source: &Source,
    inputs: &[Fields],
    names: &[String],
    norms: Option<&Norms>,
    args: &Args,
    global: &Global,
) -> Result<Encoded, CliError> {
    let fields = &inputs[0].fields;
    let n = fields.len();
    // Norms of each field's own can only be given to one field at a time: `P` has no batch axis.
    let alone = !inputs[0].batched || norms.is_some_and(|p| p.values.len() > 1);
    let piece = if alone { 1 } else { args::chunk(compiler, &args.device, n)? };
    let checked = source.statistic(args.statistic.name())?;
    let given_norms = checked.statistic.parameters.iter().any(|p| p.name.name == "P");
    let mut runner = Runner::new(&compiler.clone().batch((!alone).then_some(piece)), &args.device)?;
    let mut progress = Progress::new(global, n as u64, "fields");
    let mut arrays: Vec<Array> = Vec::new();
    let mut done = 0;
    while done < n {
        let count = piece.min(n - done);
        // The last piece may be short: it is filled up with the last field, whose copies are then dropped.
        let buffers: Vec<Vec<f64>> =
            inputs.iter().map(|input| (0..piece).flat_map(|k| input.fields[(done + k).min(n - 1)].iter().copied()).collect()).collect();
        let mut given: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(buffers.iter().map(Vec::as_slice)).collect();
        if let Some(norms) = norms
            && given_norms
        {
            given.push(("P", if norms.values.len() == 1 { &norms.values[0] } else { &norms.values[done] }));
        }
        let results = runner.run(&given)?;
        for (k, array) in runner.statistics(results).arrays.into_iter().enumerate() {
            let keep = array.re.len() / piece * count;
            match arrays.get_mut(k) {
                None => {
                    let im = array.im.map(|im| im[..keep].to_vec());
                    arrays.push(Array { re: array.re[..keep].to_vec(), im, ..array });
                }
                Some(all) => {
                    all.re.extend_from_slice(&array.re[..keep]);
                    if let (Some(all), Some(im)) = (&mut all.im, &array.im) {
                        all.extend_from_slice(&im[..keep]);
                    }
                }
            }
        }
        done += count;
        progress.at(done as u64, "");
    }
    progress.finish();
    Ok(Encoded { runner, arrays })
}
