//! Images and series whose wavelets are stencils, on a pyramid of resolutions: the commands `encode` and `gradient`, and the domain for commands without a file.

use super::planar::{Samples, filter_numbers, load, malformed, usual};
use super::{encode, gradient};
use crate::args::{self, BoundaryKind, CliError, DomainKind, DomainOptions, FieldOptions, Global, Runner};
use crate::io::{NamedArray, check_writable, write_npz_atomic};
use scatterc::{Array, Boundary, Domain, Goal, MASK, Pyramid, Source, pyramid, sensitivity, with_numbers};
use std::path::Path;

/// The pyramid of these options, where their filters are stencils.
pub fn bound(domain: &DomainOptions, source: &Source, statistic: &str, H: usize, W: usize) -> Result<Option<Pyramid>, CliError> {
    let options = &domain.planar;
    let line = domain.domain == DomainKind::Line;
    let (own, ..) = usual(statistic.rsplit_once(".scat:").map_or(statistic, |(_, name)| name));
    let filters = options.filters.as_deref().unwrap_or(if line && own == "foscat_plane" { "foscat_line" } else { own });
    let filter = source.filter(filters)?;
    if !pyramid::is_stencil(&filter) {
        if options.enlarge == Some(true) {
            return Err(CliError::option("--enlarge", true, format!("false: the filters `{filters}` are no stencils")));
        }
        return Ok(None);
    }
    let filter = with_numbers(&filter, &filter_numbers(options)?)?;
    let (K, L) = (domain.healpix.kernel.unwrap_or(5), options.orientations.unwrap_or(if line { 1 } else { 4 }));
    let boundary = match options.boundary {
        Some(BoundaryKind::Periodic) => Boundary::Periodic,
        Some(BoundaryKind::Reflect) => Boundary::Reflect,
        Some(BoundaryKind::Symmetric) => Boundary::Symmetric,
        Some(BoundaryKind::Zero) => Boundary::Zero,
        None if line => Boundary::Zero,
        None => Boundary::Reflect,
    };
    let mut found = if line {
        Pyramid::line(W, options.scales.unwrap_or((W.max(4).ilog2() - 1) as usize), L, K, &filter, boundary)?
    } else {
        Pyramid::new(H, W, options.scales.unwrap_or(pyramid::usual_scales(H.min(W), K)), L, K, &filter, boundary)?
    };
    if options.enlarge.unwrap_or(line && filters == "foscat_line") {
        found = found.enlarged();
    }
    Ok(Some(if options.cut_edges || options.even_edges { found.cut_edges()? } else { found }))
}

/// Weights of averages, one list per mask of the file, of which every scale keeps something.
fn weights(file: Option<&Path>, domain: &mut Pyramid, options: &DomainOptions, field: &FieldOptions) -> Result<Vec<Vec<f64>>, CliError> {
    let Some(path) = file else { return Ok(vec![]) };
    let found = load(path, domain.line, &FieldOptions { array: None, ..field.clone() })?;
    if (found.H, found.W) != (domain.H, domain.W) {
        return Err(malformed(path, &format!("{} x {} weights, one per sample", domain.H, domain.W), format!("{} x {}", found.H, found.W)));
    }
    if let Some(weight) = found.fields.iter().flatten().find(|w| **w < 0.0) {
        return Err(malformed(path, "weights from 0 on", weight.to_string()));
    }
    *domain = domain.clone().mask(options.healpix.mask_threshold);
    match found.fields.iter().find_map(|mask| domain.empty_scale(mask)) {
        Some(scale) => Err(malformed(
            path,
            "a mask of which something is left at every scale",
            format!("nothing at scale {scale}: use fewer scales, a smaller threshold, or a larger mask"),
        )),
        None => Ok(found.fields),
    }
}

/// Statistics of fields, for every mask.
pub fn encode(args: &encode::Args, source: &Source, inputs: &[Samples], mut domain: Pyramid, global: &Global) -> Result<(), CliError> {
    if args.statistic.normalise_by.is_some() {
        return Err(CliError::Unavailable("`--normalise-by` is not available for stencils".into()));
    }
    let names: Vec<String> = source.statistic(args.statistic.name())?.statistic.fields.iter().map(|f| f.name.clone()).collect();
    let masks = weights(args.mask.as_deref(), &mut domain, &args.domain, &args.field)?;
    let compiler = args::compiler(source, &domain, &args.statistic, &args.device)?;
    let mut runner = Runner::new(&compiler, &args.device)?;
    let mut arrays: Vec<Array> = Vec::new();
    let (fields, n_masks) = (inputs[0].fields.len(), masks.len().max(1));
    // The leading axis counts fields and, within each, masks.
    for (k, m) in (0..fields).flat_map(|k| (0..n_masks).map(move |m| (k, m))) {
        let mut given: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(inputs.iter().map(|s| s.fields[k].as_slice())).collect();
        given.extend(masks.get(m).map(|mask| (MASK, mask.as_slice())));
        let results = runner.run(&given)?;
        for (i, array) in runner.statistics(results).arrays.into_iter().enumerate() {
            match arrays.get_mut(i) {
                None => arrays.push(array),
                Some(all) => {
                    all.re.extend(array.re);
                    if let (Some(all), Some(im)) = (&mut all.im, array.im) {
                        all.extend(im);
                    }
                }
            }
        }
    }
    let mut metadata = args::metadata(source, &domain, &args.statistic, &args.device, None, &args.inputs[0])?;
    metadata["mask"] = serde_json::json!(args.mask.as_deref().map(args::file_name));
    metadata["masks"] = serde_json::json!(n_masks);
    let count = fields * n_masks;
    let batch = (inputs[0].batched || n_masks > 1).then_some(count);
    args::write_statistics(&args.output, &runner.compiled, batch, &arrays, &metadata, vec![])?;
    let lengths: Vec<String> = arrays.iter().map(|a| format!("{} {}", a.name, a.re.len() / count)).collect();
    global.note(&format!("{}: {}, {}", args.output.display(), domain.describe(), lengths.join(", ")));
    Ok(())
}

/// Value and gradient of the loss against the statistics of a target field.
pub fn gradient(
    args: &gradient::Args,
    source: &Source,
    inputs: &Samples,
    target: &[f64],
    mut domain: Pyramid,
    global: &Global,
) -> Result<(), CliError> {
    check_writable(&args.output)?;
    if args.statistic.normalise_by.is_some() {
        return Err(CliError::Unavailable("`--normalise-by` is not available for stencils".into()));
    }
    let masks = weights(args.mask.as_deref(), &mut domain, &args.domain, &args.field)?;
    if masks.len() > 1 {
        return Err(malformed(args.mask.as_deref().unwrap_or(&args.input), "one mask", format!("{} masks", masks.len())));
    }
    let compiler = args::compiler(source, &domain, &args.statistic, &args.device)?;
    let mut encoder = compiler.encoder()?;
    if let Some(mask) = masks.first() {
        encoder.set(MASK, mask)?;
    }
    let statistics = encoder.encode(target)?;
    let statistic = &source.statistic(args.statistic.name())?.statistic;
    let name = statistic.fields[0].name.clone();
    let wanted = format!("gradient.{name}");
    let mut runner = Runner::new(&compiler.goal(Goal::Gradient(args.loss.clone())), &args.device)?;
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    for field in &inputs.fields {
        let mut given: Vec<(&str, &[f64])> = vec![(&name, field)];
        let targets = sensitivity::parameter_arrays("T", &statistics);
        given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
        given.extend(masks.first().map(|mask| (MASK, mask.as_slice())));
        for (name, numbers) in runner.run(&given)? {
            if name == "value" {
                values.extend(numbers);
            } else if name == wanted {
                gradients.extend(numbers);
            }
        }
    }
    let mut metadata = args::metadata(source, &domain, &args.statistic, &args.device, None, &args.input)?;
    metadata["loss"] = serde_json::json!(args.loss);
    metadata["target"] = serde_json::json!(args::file_name(&args.target));
    let batch: Vec<usize> = inputs.batched.then_some(inputs.fields.len()).into_iter().collect();
    let own = if domain.line { vec![domain.W] } else { vec![domain.H, domain.W] };
    let out = [
        ("value".to_string(), NamedArray::F64 { shape: batch.clone(), data: values }),
        ("gradient".to_string(), NamedArray::F64 { shape: batch.into_iter().chain(own).collect(), data: gradients }),
        ("metadata".to_string(), NamedArray::Text(metadata.to_string())),
    ];
    write_npz_atomic(&args.output, &out)?;
    global.note(&format!("{}: {}", args.output.display(), domain.describe()));
    Ok(())
}
