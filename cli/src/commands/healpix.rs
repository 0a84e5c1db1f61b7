//! HEALPix maps as they are: the commands `encode`, `gradient`, `synthesise` and `plot` on pixels, without harmonic transforms.
//!
//! ```text
//! npy, npz, FITS (RING or NESTED) -> NESTED maps, weights -> Healpix -> scatterc -> npz, npy, PNG
//! ```

use super::{encode, gradient, plot, synthesise};
use crate::args::{self, CliError, DeviceKind, DomainOptions, FieldOptions, Global, OrderingKind, Runner};
use crate::figure::{self, ColourMap, Field, Panel, View};
use crate::io::{self, InputOptions, NamedArray, check_writable, write_npy_atomic, write_npz_atomic};
use scatterc::kernels::healpix::{nested_ring_table, nside_of, pixel_at, ring_to_nested};
use scatterc::optimise::{Control, Lbfgs, Method};
use scatterc::pixels::{self, Descent, Measure, PixelError};
use scatterc::{Array, Domain, Goal, Healpix, MASK, Source, sensitivity};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Maps of one file, NESTED or cells of a patch.
struct Maps {
    n: usize,
    maps: Vec<Vec<f64>>,
    batched: bool,
    /// Resolution and cells, NESTED and ascending, of a file that holds a part of the sphere and says which.
    patch: Option<(usize, Vec<usize>)>,
    /// Weights 0 where pixels were marked as not observed; absent where all were.
    observed: Option<Vec<f64>>,
}

fn malformed(path: &Path, expected: &str, found: String) -> CliError {
    CliError::Field { path: path.into(), expected: expected.into(), found }
}

fn refused(path: &Path, error: PixelError) -> CliError {
    match error {
        PixelError::Program(error) => error.into(),
        other => CliError::Text { path: path.into(), message: other.to_string() },
    }
}

/// The patch of `--cells`, empty without one.
fn cells(domain: &DomainOptions) -> Result<Vec<usize>, CliError> {
    let Some(path) = &domain.healpix.cells else { return Ok(vec![]) };
    let (shape, data) = match io::read_npy(path)? {
        NamedArray::I64 { shape, data } => (shape, data),
        other => return Err(malformed(path, "whole numbers, the pixels of a patch", other.describe())),
    };
    let list: Option<Vec<usize>> = data.iter().map(|c| usize::try_from(*c).ok()).collect();
    match (shape.len(), list) {
        (1, Some(list)) if !list.is_empty() => Ok(list),
        _ => Err(malformed(path, "a list of pixel numbers", format!("shape {shape:?}, or negative numbers"))),
    }
}

/// The domain of these options for maps of `n` pixels, of the part of the sphere that their file says, if it does.
fn bound(domain: &DomainOptions, n: usize, patch: Option<&(usize, Vec<usize>)>, path: &Path) -> Result<Healpix, CliError> {
    let (own, L) = (&domain.healpix, domain.planar.orientations.unwrap_or(4));
    let mut cells = cells(domain)?;
    let mut own = own.clone();
    if let Some((nside, pixels)) = patch {
        if own.nside.is_some_and(|wanted| wanted != *nside) {
            return Err(malformed(path, &format!("pixels of --nside {}", own.nside.unwrap_or(0)), format!("pixels of nside {nside}")));
        }
        if !cells.is_empty() && cells != *pixels {
            return Err(malformed(path, "the pixels of --cells", "others, which the file names".into()));
        }
        own.nside = Some(*nside);
        cells = pixels.clone();
    }
    let found = if cells.is_empty() {
        let nside = nside_of(n).filter(|nside| own.nside.is_none_or(|wanted| wanted == *nside));
        let expected = own.nside.map_or("12 nside^2 pixels".to_string(), |nside| format!("12 nside^2 pixels with --nside {nside}"));
        let nside = nside.ok_or_else(|| malformed(path, &expected, format!("{n} pixels")))?;
        Healpix::new(nside, L, own.kernel.unwrap_or(3))?
    } else {
        let nside = own.nside.ok_or_else(|| CliError::option("--nside", "not given", "the resolution that the pixels of --cells belong to"))?;
        let found = Healpix::patch(nside, L, own.kernel.unwrap_or(3), &cells)?;
        if found.len() != n {
            return Err(malformed(path, &format!("{} numbers, one per cell", found.len()), format!("{n} numbers")));
        }
        found
    };
    let mut found = match domain.planar.scales {
        Some(J) => found.scales_kept(J)?,
        None => found,
    };
    found.threshold = own.mask_threshold;
    Ok(if own.spin > 0 { found.spin(own.spin)? } else { found })
}

/// The sphere of `--nside`, for commands without a file.
pub fn sized(domain: &DomainOptions) -> Result<Healpix, CliError> {
    let nside = domain.healpix.nside.unwrap_or(32);
    let n = match cells(domain)?.len() {
        0 => 12 * nside * nside,
        n => n,
    };
    bound(domain, n, None, Path::new("--nside"))
}

/// Reads maps: `[n]` or a batch `[B, n]` of npy and npz, NESTED unless `--ordering ring`; FITS in the order of its header.
fn load(path: &Path, domain: &DomainOptions, options: &FieldOptions) -> Result<Maps, CliError> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let mut found = if ending == "npy" || ending == "npz" {
        let array = if ending == "npz" {
            let mut arrays = io::read_npz(path)?;
            let name = match &options.array {
                Some(name) => name.clone(),
                None if arrays.len() == 1 => arrays.keys().next().cloned().unwrap_or_default(),
                None => return Err(malformed(path, "one array, or its name with `--array`", format!("{} arrays", arrays.len()))),
            };
            arrays.remove(&name).ok_or_else(|| malformed(path, &format!("an array `{name}`"), "none of that name".into()))?
        } else {
            io::read_npy(path)?
        };
        let (shape, data) = match array {
            NamedArray::F64 { shape, data } => (shape, data),
            NamedArray::I64 { shape, data } => (shape, data.into_iter().map(|x| x as f64).collect()),
            other => return Err(malformed(path, "real numbers", other.describe())),
        };
        let (batched, n) = match shape.as_slice() {
            [n] if *n > 0 => (false, *n),
            [batch, n] if *batch > 0 && *n > 0 => (true, *n),
            _ => return Err(malformed(path, "a map [n] or a batch [B, n]", format!("shape {shape:?}"))),
        };
        let mut maps: Vec<Vec<f64>> = data.chunks_exact(n).map(<[f64]>::to_vec).collect();
        if options.ordering == Some(OrderingKind::Ring) && domain.healpix.cells.is_none() {
            for map in &mut maps {
                *map = nested(path, n, map)?;
            }
        }
        Maps { n, maps, batched, patch: None, observed: None }
    } else {
        let table = io::read_healpix_table(path, &InputOptions { unseen: true, ..options.input_options() })?;
        let batched = table.maps.len() > 1;
        let mut maps = table.maps;
        let nside = table.nside;
        match table.pixels {
            None => {
                if !table.nested {
                    for map in &mut maps {
                        *map = nested(path, 12 * nside * nside, map)?;
                    }
                }
                Maps { n: 12 * nside * nside, maps, batched, patch: None, observed: None }
            }
            Some(pixels) => {
                let (order, cells) = ascending(path, nside, table.nested, &pixels)?;
                for map in &mut maps {
                    *map = order.iter().map(|k| map[*k]).collect();
                }
                // All pixels, in whatever order, are the whole sphere.
                let patch = (cells.len() < 12 * nside * nside).then_some((nside, cells));
                Maps { n: order.len(), maps, batched, patch, observed: None }
            }
        }
    };
    // Pixels that were not observed weigh nothing and get the mean of the others, so that stencils that reach them see no edge.
    for map in &mut found.maps {
        let unseen = |x: f64| x.is_nan() || (x + 1.6375e30).abs() <= 1e-5 * 1.6375e30;
        let missing = map.iter().filter(|x| unseen(**x)).count();
        if missing == 0 {
            continue;
        }
        if missing == map.len() {
            return Err(malformed(path, "observed pixels", "a map without any".into()));
        }
        let weights: Vec<f64> = map.iter().map(|x| if unseen(*x) { 0.0 } else { 1.0 }).collect();
        let mean = map.iter().filter(|x| !unseen(**x)).sum::<f64>() / (map.len() - missing) as f64;
        map.iter_mut().filter(|x| unseen(**x)).for_each(|x| *x = mean);
        found.observed = Some(match found.observed.take() {
            None => weights,
            Some(before) => before.iter().zip(&weights).map(|(a, b)| a * b).collect(),
        });
    }
    for map in &found.maps {
        io::check_finite(path, &[map.len()], 1, map)?;
    }
    if domain.healpix.spin > 0 {
        // Two maps are one field.
        if found.maps.len() % 2 == 1 {
            return Err(malformed(path, "pairs of maps with --spin", format!("{} maps", found.maps.len())));
        }
        found.batched = found.maps.len() > 2;
        found.maps = found.maps.chunks_exact(2).map(<[Vec<f64>]>::concat).collect();
    }
    Ok(found)
}

/// NESTED numbers of pixels in ascending order, and where each stands in the list.
fn ascending(path: &Path, nside: usize, is_nested: bool, pixels: &[usize]) -> Result<(Vec<usize>, Vec<usize>), CliError> {
    let numbers: Vec<usize> = if is_nested {
        pixels.to_vec()
    } else {
        let rings = nested_ring_table(nside).map_err(|e| malformed(path, "a map that has a NESTED order", e.to_string()))?;
        let mut back = vec![0; rings.len()];
        rings.into_iter().enumerate().for_each(|(p, ring)| back[ring] = p);
        pixels.iter().map(|p| back[*p]).collect()
    };
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by_key(|k| numbers[*k]);
    let cells = order.iter().map(|k| numbers[*k]).collect();
    Ok((order, cells))
}

/// A RING map in NESTED order.
fn nested(path: &Path, n: usize, map: &[f64]) -> Result<Vec<f64>, CliError> {
    let nside = nside_of(n).ok_or_else(|| malformed(path, "12 nside^2 pixels", format!("{n} pixels")))?;
    ring_to_nested(nside, map).map_err(|e| malformed(path, "a map that has a NESTED order", e.to_string()))
}

fn one(path: &Path, domain: &DomainOptions, options: &FieldOptions, n: Option<usize>) -> Result<Maps, CliError> {
    let found = load(path, domain, options)?;
    match (found.maps.len(), n) {
        (1, None) => Ok(found),
        (1, Some(n)) if n == found.n => Ok(found),
        (1, Some(n)) => Err(malformed(path, &format!("{n} pixels, as the first map has"), format!("{} pixels", found.n))),
        (k, _) => Err(malformed(path, "one map", format!("{k} maps"))),
    }
}

/// Refuses maps of another part of the sphere than the first one's.
fn together(path: &Path, map: &Maps, first: &Maps) -> Result<(), CliError> {
    if map.patch.is_some() && map.patch != first.patch {
        return Err(malformed(path, "the pixels of the first file", "others".into()));
    }
    Ok(())
}

/// The domain of masks, which are maps without spin.
fn scalar(domain: &DomainOptions) -> DomainOptions {
    DomainOptions { healpix: args::HealpixOptions { spin: 0, ..domain.healpix.clone() }, ..domain.clone() }
}

/// Weights of averages: those of the file times what the maps say of themselves; one list per mask of the file.
fn masks(file: Option<&Path>, domain: &DomainOptions, options: &FieldOptions, maps: &[&Maps]) -> Result<Vec<Option<Vec<f64>>>, CliError> {
    let n = maps[0].n;
    let mut own: Option<Vec<f64>> = None;
    for map in maps {
        if let Some(observed) = &map.observed {
            own = Some(match own {
                None => observed.clone(),
                Some(before) => before.iter().zip(observed).map(|(a, b)| a * b).collect(),
            });
        }
    }
    let Some(path) = file else { return Ok(vec![own]) };
    let found = load(path, &scalar(domain), &FieldOptions { array: None, column: None, ..options.clone() })?;
    if found.n != n {
        return Err(malformed(path, &format!("{n} weights, one per pixel"), format!("{} numbers", found.n)));
    }
    together(path, &found, maps[0])?;
    let joined = |mask: Vec<f64>| match &own {
        None => mask,
        Some(own) => mask.iter().zip(own).map(|(a, b)| a * b).collect(),
    };
    Ok(found.maps.into_iter().map(|mask| Some(joined(mask))).collect())
}

/// The command's default statistic is the sphere's.
pub fn statistic(options: &args::StatisticOptions) -> args::StatisticOptions {
    let statistic = if options.statistic == "s2scat" { "foscat".to_string() } else { options.statistic.clone() };
    args::StatisticOptions { statistic, ..options.clone() }
}

fn refuse_norms(options: &args::StatisticOptions) -> Result<(), CliError> {
    match &options.normalise_by {
        Some(reference) => Err(CliError::Unavailable(format!("`--normalise-by {reference}` is not available on HEALPix pixels yet"))),
        None => Ok(()),
    }
}

/// Statistics of maps, for every mask.
pub fn encode(args: &encode::Args, global: &Global) -> Result<(), CliError> {
    refuse_norms(&args.statistic)?;
    let options = statistic(&args.statistic);
    let source = options.source()?;
    let names: Vec<String> = source.statistic(options.name())?.statistic.fields.iter().map(|f| f.name.clone()).collect();
    if names.len() != args.inputs.len() {
        let expected = format!("{} for the fields of the statistic: {}", names.len(), names.join(", "));
        return Err(CliError::option("INPUT", format!("{} files", args.inputs.len()), expected));
    }
    check_writable(&args.output)?;
    let inputs = args.inputs.iter().map(|path| load(path, &args.domain, &args.field)).collect::<Result<Vec<_>, _>>()?;
    for (path, other) in args.inputs.iter().zip(&inputs) {
        if (other.n, other.maps.len()) != (inputs[0].n, inputs[0].maps.len()) {
            let describe = |m: &Maps| format!("{} maps of {} pixels", m.maps.len(), m.n);
            return Err(malformed(path, &format!("{}, as the first file", describe(&inputs[0])), describe(other)));
        }
        together(path, other, &inputs[0])?;
    }
    let all: Vec<&Maps> = inputs.iter().collect();
    let masks = masks(args.mask.as_deref(), &args.domain, &args.field, &all)?;
    let mut domain = bound(&args.domain, inputs[0].n, inputs[0].patch.as_ref(), &args.inputs[0])?;
    for mask in masks.iter().flatten() {
        pixels::check_mask(&domain, mask).map_err(|e| refused(args.mask.as_deref().unwrap_or(&args.inputs[0]), e))?;
    }
    let weights = masks.iter().flatten().cloned().collect::<Vec<_>>().concat();
    if masks.len() > 1 {
        domain = domain.masks(masks.len(), args.domain.healpix.mask_threshold)?;
    } else if masks[0].is_some() {
        domain = domain.mask(args.domain.healpix.mask_threshold);
    }
    let mut compiler = args::compiler(&source, &domain, &options, &args.device)?;
    if ["foscat", "foscat_oriented"].contains(&options.statistic.as_str()) && !options.numbers()?.contains_key("L") {
        compiler = compiler.number("L", domain.L as f64);
    }
    let mut runner = Runner::new(&compiler, &args.device)?;
    let mut arrays: Vec<Array> = Vec::new();
    let count = inputs[0].maps.len();
    let mut progress = args::Progress::new(global, count as u64, "maps");
    for k in 0..count {
        let mut given: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(inputs.iter().map(|s| s.maps[k].as_slice())).collect();
        if !weights.is_empty() {
            given.push((MASK, &weights));
        }
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
        progress.at(k as u64 + 1, "");
    }
    progress.finish();
    let mut metadata = args::metadata(&source, &domain, &options, &args.device, None, &args.inputs[0])?;
    metadata["mask"] = serde_json::json!(args.mask.as_deref().map(args::file_name));
    metadata["masks"] = serde_json::json!(masks.len());
    let batch = inputs[0].batched.then_some(count);
    args::write_statistics(&args.output, args.format, &runner.compiled, batch, &arrays, &metadata, vec![])?;
    let lengths: Vec<String> = arrays.iter().map(|a| format!("{} {}", a.name, a.re.len() / (count * masks.len()))).collect();
    global.note(&format!("{}: {}, {}", args.output.display(), domain.describe(), lengths.join(", ")));
    Ok(())
}

/// Value and gradient of the loss against the statistics of a target map.
pub fn gradient(args: &gradient::Args, global: &Global) -> Result<(), CliError> {
    refuse_norms(&args.statistic)?;
    let options = statistic(&args.statistic);
    let source = options.source()?;
    source.loss(&args.loss)?;
    let own = &source.statistic(options.name())?.statistic;
    let [name] = own.fields.as_slice() else {
        return Err(CliError::option("--statistic", format!("{} with {} fields", own.name.name, own.fields.len()), "a statistic of one field"));
    };
    check_writable(&args.output)?;
    let inputs = load(&args.input, &args.domain, &args.field)?;
    let target = one(&args.target, &args.domain, &args.field, Some(inputs.n))?;
    together(&args.target, &target, &inputs)?;
    let mask = masks(args.mask.as_deref(), &args.domain, &args.field, &[&inputs, &target])?;
    let [mask] = mask.as_slice() else {
        return Err(malformed(args.mask.as_deref().unwrap_or(&args.input), "one mask", format!("{} masks", mask.len())));
    };
    let mut domain = bound(&args.domain, inputs.n, inputs.patch.as_ref(), &args.input)?;
    if let Some(mask) = mask {
        pixels::check_mask(&domain, mask).map_err(|e| refused(args.mask.as_deref().unwrap_or(&args.input), e))?;
        domain = domain.mask(args.domain.healpix.mask_threshold);
    }
    let compiler = args::compiler(&source, &domain, &options, &args.device)?;
    // The target's plan gives its memory back before the gradient's is made.
    let statistics = {
        let mut encoder = compiler.encoder()?;
        if let Some(mask) = mask {
            encoder.set(MASK, mask)?;
        }
        encoder.encode(&target.maps[0])?
    };
    let mut runner = Runner::new(&compiler.goal(Goal::Gradient(args.loss.clone())), &args.device)?;
    let wanted = format!("gradient.{}", name.name);
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    for map in &inputs.maps {
        let mut given: Vec<(&str, &[f64])> = vec![(&name.name, map)];
        let targets = sensitivity::parameter_arrays("T", &statistics);
        given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
        given.extend(mask.as_deref().map(|mask| (MASK, mask)));
        for (name, numbers) in runner.run(&given)? {
            if name == "value" {
                values.extend(numbers);
            } else if name == wanted {
                gradients.extend(numbers);
            }
        }
    }
    let mut metadata = args::metadata(&source, &domain, &options, &args.device, None, &args.input)?;
    metadata["loss"] = serde_json::json!(args.loss);
    metadata["target"] = serde_json::json!(args::file_name(&args.target));
    let batch: Vec<usize> = inputs.batched.then_some(inputs.maps.len()).into_iter().collect();
    let text = match values.as_slice() {
        [value] => format!("value {value:.12e}"),
        values => format!("{} values", values.len()),
    };
    let shape = batch.iter().chain(&domain.input_type().axes).copied().chain([inputs.n]).collect();
    let out = [
        ("value".to_string(), NamedArray::F64 { shape: batch, data: values }),
        ("gradient".to_string(), NamedArray::F64 { shape, data: gradients }),
        ("metadata".to_string(), NamedArray::Text(metadata.to_string())),
    ];
    write_npz_atomic(&args.output, &out)?;
    global.note(&format!("{}: {text}", args.output.display()));
    Ok(())
}

/// A further loss of a text `NAME=FACTOR` or `NAME`: a statistic, weighted by its variant `sigma` where it has one.
fn further(text: &str, device: &args::DeviceOptions) -> Result<(Measure, f64), CliError> {
    let (name, factor) = match text.rsplit_once('=') {
        Some((name, factor)) => (name, factor.trim().parse::<f64>().ok().filter(|f| f.is_finite() && *f > 0.0)),
        None => (text, Some(1.0)),
    };
    let factor = factor.ok_or_else(|| CliError::option("--also", text, "NAME or NAME=FACTOR with a positive factor"))?;
    let options = args::StatisticOptions { statistic: name.into(), ..args::StatisticOptions::default() };
    let source = options.source()?;
    let statistic = &source.statistic(options.name())?.statistic;
    if statistic.fields.len() != 1 {
        return Err(CliError::option("--also", format!("{name} with {} fields", statistic.fields.len()), "a statistic of one field"));
    }
    let sigma = statistic.returns.iter().any(|r| r.variant.as_ref().is_some_and(|v| v.name == "sigma")).then(|| "sigma".to_string());
    let statistic = options.name().map(str::to_string);
    Ok((Measure { source, statistic, variant: None, sigma, numbers: BTreeMap::new(), threads: device.threads, device: device.device() }, factor))
}

/// New maps with the statistics of a target, or the free pixels of one anew.
pub fn synthesise(args: &synthesise::Args, global: &Global) -> Result<(), CliError> {
    for (option, given) in [
        ("--checkpoint", args.checkpoint.is_some()),
        ("--resume", args.resume.is_some()),
        ("--history", args.history.is_some()),
        ("--report", args.report.is_some()),
        ("--keep-units", args.keep_units),
        ("--free-spectrum", args.free_spectrum),
        ("--floor", args.floor.is_some()),
        ("--loss", args.loss != "l2"),
    ] {
        if given {
            return Err(CliError::Unavailable(format!("`{option}` is not available on HEALPix pixels")));
        }
    }
    if args.device.device == DeviceKind::Reference {
        return Err(CliError::option("--device", "reference", "cpu: synthesis runs compiled gradients"));
    }
    if args.optimiser != synthesise::OptimiserKind::Lbfgs {
        return Err(CliError::option("--optimiser", "adam", "lbfgs on HEALPix pixels"));
    }
    if args.count == 0 {
        return Err(CliError::option("--count", 0, "at least 1"));
    }
    let two = args.second.is_some();
    let options = args::StatisticOptions {
        statistic: match args.statistic.as_str() {
            "s2scat" if two => "foscat_cross".into(),
            "s2scat" => "foscat".into(),
            other => other.into(),
        },
        isotropic: args.isotropic,
        variant: args.variant.clone(),
        delta_j: args.delta_j,
        parameters: args.parameters.clone(),
        ..args::StatisticOptions::default()
    };
    let source: Source = options.source()?;
    let numbers: BTreeMap<String, f64> = options.numbers()?;
    for path in [Some(&args.output), args.plot.as_ref()].into_iter().flatten() {
        check_writable(path)?;
    }
    let target = one(&args.target, &args.domain, &args.field, None)?;
    let domain = bound(&args.domain, target.n, target.patch.as_ref(), &args.target)?;
    let file = |path: &Path, of: &DomainOptions| -> Result<Vec<f64>, CliError> {
        let mut found = one(path, of, &args.field, Some(target.n))?;
        together(path, &found, &target)?;
        Ok(found.maps.swap_remove(0))
    };
    let mask = masks(args.mask.as_deref(), &args.domain, &args.field, &[&target])?.swap_remove(0);
    let free: Option<Vec<bool>> =
        args.free.as_deref().map(|path| file(path, &scalar(&args.domain))).transpose()?.map(|free| free.iter().map(|x| *x != 0.0).collect());
    let second = args.second.as_deref().map(|path| file(path, &args.domain)).transpose()?;
    let start = match args.start.as_str() {
        "spectrum" | "white" => None,
        path => Some(one(Path::new(path), &args.domain, &args.field, None)?.maps.swap_remove(0)),
    };
    // Weights need a sigma of every output, which named variants other than the built-in ones do not have.
    let plain = options.variant().is_none()
        && source.statistic(options.name())?.statistic.returns.iter().any(|r| r.variant.as_ref().is_some_and(|v| v.name == "sigma"));
    let sigma = plain.then(|| if args.compatible { "sigma_compatible".to_string() } else { "sigma".to_string() });
    let measure = Measure {
        source,
        statistic: options.name().map(str::to_string),
        variant: options.variant().map(str::to_string),
        sigma,
        numbers,
        threads: args.device.threads,
        device: args.device.device(),
    };
    let also = args.also.iter().map(|text| further(text, &args.device)).collect::<Result<Vec<_>, _>>()?;
    synthesise::listen();
    let mut made = Vec::with_capacity(args.count);
    for k in 0..args.count {
        let options = pixels::Options {
            seed: args.seed,
            member: args.first_member + k,
            start: start.clone(),
            mask: mask.clone(),
            free: free.clone(),
            levels: args.levels,
            gaussianise: args.gaussianise,
            second: second.clone(),
            precondition: args.precondition,
            also: also.clone(),
            upsample: args.upsample,
            descent: Descent {
                method: Method::Lbfgs(Lbfgs { history: args.pairs.unwrap_or(100), ..Lbfgs::default() }),
                steps: args.steps,
                tolerance: args.tolerance * args.tolerance,
            },
        };
        let mut progress = args::Progress::new(global, args.steps as u64, "steps");
        let found = pixels::synthesise(&measure, &domain, &target.maps[0], &options, &mut |p| {
            progress.at(p.iteration as u64, &p.values.first().map(|v| format!("loss {v:.4e}")).unwrap_or_default());
            if synthesise::INTERRUPTED.load(Ordering::SeqCst) { Control::Stop } else { Control::Continue }
        });
        progress.finish();
        let found = found.map_err(|e| refused(&args.target, e))?;
        for level in &found.levels {
            let outcome = &level.outcome;
            let (first, last) = (outcome.history.first().map_or(f64::NAN, |v| v[0]), outcome.values[0]);
            let stopped = synthesise::reason(outcome.stopped[0]);
            let member = args.first_member + k;
            args::print(&format!(
                "member {member}, nside {}: loss {first:.4e} -> {last:.4e} in {} steps; {stopped}",
                level.nside, outcome.iterations[0]
            ))?;
        }
        made.push(found);
        if synthesise::INTERRUPTED.load(Ordering::SeqCst) {
            break;
        }
    }
    // Pairs of maps have an axis of two.
    let (pair, components) = (domain.input_type().axes, domain.components());
    let shape = |count: Option<usize>, numbers: usize| count.into_iter().chain(pair.iter().copied()).chain([numbers / components]).collect();
    let fields = NamedArray::F64 {
        shape: shape((made.len() > 1).then_some(made.len()), made.first().map_or(0, |m| m.map.len())),
        data: made.iter().flat_map(|m| m.map.iter().copied()).collect(),
    };
    if args.output.extension().is_some_and(|e| e == "npz") {
        let starts: Vec<f64> = made.iter().flat_map(|m| m.start.iter().copied()).collect();
        let start = NamedArray::F64 { shape: shape(Some(made.len()), starts.len() / made.len().max(1)), data: starts };
        write_npz_atomic(&args.output, &[("fields".to_string(), fields), ("start".to_string(), start)])?;
    } else {
        write_npy_atomic(&args.output, &fields)?;
    }
    if let Some(path) = &args.plot {
        let mut whole: Vec<(String, &[f64])> = vec![("target".into(), &target.maps[0])];
        whole.extend(made.iter().take(1).map(|m| ("start".to_string(), m.start.as_slice())));
        whole.extend(made.iter().take(3).enumerate().map(|(k, m)| (format!("synthesis {k}"), m.map.as_slice())));
        let mut shown: Vec<(String, &[f64])> = vec![];
        for (name, map) in whole {
            let parts = map.chunks_exact(map.len() / components).enumerate();
            shown.extend(parts.map(|(k, part)| (if components > 1 { format!("{name} [{k}]") } else { name.clone() }, part)));
        }
        draw(path, domain.cells(0), domain.nside, &shown, ColourMap::default(), "", View::default())?;
    }
    if synthesise::INTERRUPTED.load(Ordering::SeqCst) { Err(CliError::Interrupted) } else { Ok(()) }
}

/// Maps of NESTED pixels, all on the first one's range.
fn draw(path: &Path, cells: &[usize], nside: usize, shown: &[(String, &[f64])], colours: ColourMap, unit: &str, view: View) -> Result<(), CliError> {
    let mut sorted: Vec<f64> = shown.first().map_or(vec![], |s| s.1.to_vec());
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get((part * (sorted.len().max(1) - 1) as f64) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(0.002), at(0.998));
    let mut tables: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut samplers: Vec<Box<dyn Fn(f64, f64) -> f64 + '_>> = Vec::new();
    for (_, map) in shown {
        // The start of a synthesis from coarse to fine has fewer pixels.
        let nside = if cells.is_empty() { nside_of(map.len()).unwrap_or(nside) } else { nside };
        if let Entry::Vacant(entry) = tables.entry(nside) {
            let rings = nested_ring_table(nside).map_err(|e| malformed(path, "a map that has a NESTED order", e.to_string()))?;
            let mut nested = vec![0; rings.len()];
            rings.into_iter().enumerate().for_each(|(p, ring)| nested[ring] = p);
            entry.insert(nested);
        }
    }
    for (_, map) in shown {
        let nside = if cells.is_empty() { nside_of(map.len()).unwrap_or(nside) } else { nside };
        let table = &tables[&nside];
        samplers.push(Box::new(move |theta, phi| {
            let pixel = pixel_at(nside, theta, phi).map(|ring| table[ring]);
            let place = if cells.is_empty() { pixel } else { pixel.and_then(|p| cells.binary_search(&p).ok()) };
            place.and_then(|p| map.get(p)).copied().unwrap_or(f64::NAN)
        }));
    }
    let panels: Vec<Panel> = shown
        .iter()
        .zip(&samplers)
        .map(|((name, _), sampler)| {
            Panel::new(name.clone(), Field::Sampler(sampler)).range(low, high.max(low + f64::MIN_POSITIVE)).colours(colours).unit(unit).view(view)
        })
        .collect();
    Ok(figure::mollweide(&panels, path)?)
}

/// Maps as they are.
pub fn plot(args: &plot::Args, global: &Global) -> Result<(), CliError> {
    let maps = load(&args.input, &DomainOptions::default(), &args.field)?;
    let (nside, cells) = match &maps.patch {
        Some((nside, cells)) => (*nside, cells.as_slice()),
        None => (nside_of(maps.n).ok_or_else(|| malformed(&args.input, "12 nside^2 pixels", format!("{} pixels", maps.n)))?, &[][..]),
    };
    let title = args.title.clone().unwrap_or_else(|| args::file_name(&args.input));
    let name = |k: usize| if maps.maps.len() == 1 { title.clone() } else { format!("{title} [{k}]") };
    let shown: Vec<(String, &[f64])> = maps.maps.iter().take(6).enumerate().map(|(k, map)| (name(k), map.as_slice())).collect();
    draw(&args.output, cells, nside, &shown, ColourMap::from_name(&args.colours).unwrap_or_default(), &args.unit, args.gnomonic.unwrap_or_default())?;
    global.note(&format!("{}: nside = {nside}", args.output.display()));
    Ok(())
}
