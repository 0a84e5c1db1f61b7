//! Images and series: reading them, and the commands `encode`, `gradient`, `synthesise` and `plot` on the plane and the line.
//!
//! ```text
//! PNG, TIFF, npy, npz (images); npy, npz, CSV (series) -> Samples -> Plane -> scatterc -> npz, npy, PNG
//! ```

use super::{encode, gradient, plot, synthesise};
use crate::args::{self, BoundaryKind, CliError, DeviceKind, DomainKind, DomainOptions, FieldOptions, Global, Runner};
use crate::figure::{self, Plot, Series, Style};
use crate::io::{self, NamedArray, check_writable, write_bytes_atomic, write_npy_atomic, write_npz_atomic};
use scatterc::optimise::{Control, Lbfgs, Method};
use scatterc::synthesis::Options as SphereOptions;
use scatterc::texture::{self, Flat, TextureError};
use scatterc::{Array, Boundary, Goal, MASK, Plane, Pyramid, Source, pyramid, sensitivity, with_numbers};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Fields of one file.
struct Samples {
    H: usize,
    W: usize,
    fields: Vec<Vec<f64>>,
    batched: bool,
}

fn refused(path: &Path, error: TextureError) -> CliError {
    match error {
        TextureError::Program(error) => error.into(),
        other => CliError::Text { path: path.into(), message: other.to_string() },
    }
}

/// Filters, octaves left out at the coarse end, directions and boundary that a built-in statistic is meant for.
fn usual(statistic: &str) -> (&'static str, usize, Boundary) {
    match statistic {
        "kymatio1d" => ("kymatio1d", 3, Boundary::Reflect),
        "kymatio2d" => ("kymatio2d", 3, Boundary::Reflect),
        "wph" => ("phase_harmonics", 2, Boundary::Periodic),
        name if name.starts_with("foscat_covariance") => ("foscat_morlet", 1, Boundary::Periodic),
        name if name.starts_with("foscat") => ("foscat_plane", 0, Boundary::Reflect),
        name if name.starts_with("spectra") => ("battle_lemarie", 2, Boundary::Symmetric),
        _ => ("morlet", 2, Boundary::Periodic),
    }
}

/// Images or series whose wavelets are given by frequencies or by stencils, and weights of averages where these are asked for.
fn bound(domain: &DomainOptions, source: &Source, statistic: &str, H: usize, W: usize, masked: bool) -> Result<Box<dyn Flat>, CliError> {
    let options = &domain.planar;
    let (filters, fewer, boundary) = usual(statistic.rsplit_once(".scat:").map_or(statistic, |(_, name)| name));
    let line = domain.domain == DomainKind::Line;
    let filters = options.filters.as_deref().unwrap_or(match (line, filters) {
        (true, "morlet") => "battle_lemarie",
        (true, "foscat_plane") => "foscat_line",
        _ => filters,
    });
    let shorter = if line { W } else { H.min(W) };
    let numbers = filter_numbers(options)?;
    let filter = with_numbers(&source.filter(filters)?, &numbers)?;
    let given = options.boundary.map(|kind| match kind {
        BoundaryKind::Periodic => Boundary::Periodic,
        BoundaryKind::Reflect => Boundary::Reflect,
        BoundaryKind::Symmetric => Boundary::Symmetric,
        BoundaryKind::Zero => Boundary::Zero,
    });
    if options.erode_mask && !masked {
        return Err(CliError::option("--erode-mask", true, "a mask, given with --mask"));
    }
    if pyramid::is_stencil(&filter) {
        if options.erode_mask {
            return Err(CliError::option("--erode-mask", true, format!("filters of frequencies: `{filters}` are stencils")));
        }
        let (K, L) = (domain.healpix.kernel.unwrap_or(5), options.orientations.unwrap_or(if line { 1 } else { 4 }));
        let boundary = given.unwrap_or(if line { Boundary::Zero } else { Boundary::Reflect });
        let mut found = if line {
            Pyramid::line(W, options.scales.unwrap_or((W.max(4).ilog2() - 1) as usize), L, K, &filter, boundary)?
        } else {
            Pyramid::new(H, W, options.scales.unwrap_or(pyramid::usual_scales(shorter, K)), L, K, &filter, boundary)?
        };
        if options.enlarge.unwrap_or(line && filters == "foscat_line") {
            found = found.enlarged();
        }
        if options.cut_edges || options.even_edges {
            found = found.cut_edges()?;
        }
        return Ok(Box::new(if masked { found.mask(domain.healpix.mask_threshold) } else { found }));
    }
    if options.enlarge == Some(true) {
        return Err(CliError::option("--enlarge", true, format!("false: the filters `{filters}` are no stencils")));
    }
    let boundary = match given {
        Some(boundary) => boundary,
        None if line && boundary == Boundary::Periodic => Boundary::Symmetric,
        None => boundary,
    };
    let J = options.scales.unwrap_or((shorter.max(1).ilog2() as usize).saturating_sub(fewer).max(1));
    let plane = match (line, boundary) {
        (false, _) => {
            let even = options.even_edges || options.erode_mask;
            let plane = Plane::new(H, W, J, options.orientations.unwrap_or(4), &filter, boundary, options.cut_edges || even)?;
            if even { plane.even_edges()? } else { plane }
        }
        (true, _) if options.erode_mask => return Err(CliError::option("--erode-mask", true, "an image: a series has no edges to cut")),
        (true, Boundary::Reflect) => {
            let length = numbers.iter().find(|n| n.0 == "T").map_or(0.0, |n| n.1);
            let longest = if length >= 1.0 { length as usize } else { 1usize << J.min(40) };
            Plane::cascade(W, J, options.stride.unwrap_or(1 << longest.ilog2()), &filter)?
        }
        (true, _) => Plane::line(W, J, options.orientations.unwrap_or(1), &filter, boundary)?,
    };
    Ok(Box::new(match (masked, options.erode_mask) {
        (false, _) => plane,
        (true, false) => plane.mask(),
        (true, true) => plane.eroded_mask()?,
    }))
}

/// Numbers of the filter bank that were given.
fn filter_numbers(options: &args::PlanarOptions) -> Result<Vec<(String, f64)>, CliError> {
    let mut numbers = Vec::new();
    for text in &options.filter_parameters {
        match text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse::<f64>().ok()?))) {
            Some((name, value)) if value.is_finite() => numbers.push((name.to_string(), value)),
            _ => return Err(CliError::option("--filter-parameter", format!("`{text}`"), "NAME=VALUE with a finite number as value")),
        }
    }
    Ok(numbers)
}

/// The plane or the line of `--size`, for commands without a file.
pub fn sized(domain: &DomainOptions, source: &Source, statistic: &str) -> Result<Box<dyn Flat>, CliError> {
    let text = domain.planar.size.as_deref();
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let (H, W) = match (domain.domain, text) {
        (DomainKind::Line, None) => (1, 1024),
        (_, None) => (128, 128),
        (DomainKind::Line, Some(text)) => (1, number(text).ok_or_else(|| CliError::option("--size", text, "the length T of a series"))?),
        (_, Some(text)) => {
            let sides = text.split_once(['x', 'X']).and_then(|(h, w)| Some((number(h)?, number(w)?)));
            sides.ok_or_else(|| CliError::option("--size", text, "HxW of an image, such as 128x128"))?
        }
    };
    bound(domain, source, statistic, H, W, false)
}

fn malformed(path: &Path, expected: &str, found: String) -> CliError {
    CliError::Field { path: path.into(), expected: expected.into(), found }
}

/// Reads images (PNG, TIFF, npy, npz) or series (npy, npz, CSV with a series per column).
fn load(path: &Path, line: bool, options: &FieldOptions) -> Result<Samples, CliError> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let samples = match (ending.as_str(), line) {
        ("png", false) => read_png(path)?,
        ("tif" | "tiff", false) => read_tiff(path)?,
        ("csv" | "txt", true) => read_csv(path)?,
        _ => {
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
            let (batched, H, W) = match (shape.as_slice(), line) {
                ([W], true) => (false, 1, *W),
                ([_, W], true) => (true, 1, *W),
                ([H, W], false) => (false, *H, *W),
                ([_, H, W], false) => (true, *H, *W),
                _ => {
                    let expected = if line { "a series [T] or a batch [B, T]" } else { "an image [H, W] or a batch [B, H, W]" };
                    return Err(malformed(path, expected, format!("shape {shape:?}")));
                }
            };
            io::check_finite(path, &shape, 1, &data)?;
            let fields = if H * W == 0 { vec![] } else { data.chunks_exact(H * W).map(<[f64]>::to_vec).collect() };
            Samples { H, W, fields, batched }
        }
    };
    if samples.fields.is_empty() {
        return Err(malformed(path, "at least one field", "an empty batch".into()));
    }
    Ok(samples)
}

/// A picture in grey: the mean of its colours, from 0 to 1.
fn read_png(path: &Path) -> Result<Samples, CliError> {
    let fault = |found: String| malformed(path, "a PNG picture", found);
    let file = std::fs::File::open(path).map_err(|e| fault(e.to_string()))?;
    let length = file.metadata().map_or(usize::MAX, |m| m.len() as usize);
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| fault(e.to_string()))?;
    let size = reader.output_buffer_size().ok_or_else(|| fault("a picture too large for memory".into()))?;
    let (width, height, raw) = (reader.info().width, reader.info().height, reader.info().raw_bytes());
    if raw > length.saturating_mul(io::DEFLATE_RATIO).saturating_add(1 << 16) {
        return Err(fault(format!("{length} bytes for {width} x {height} pixels, which is less than they can be packed into")));
    }
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes).map_err(|e| fault(e.to_string()))?;
    let channels = info.color_type.samples();
    let colours = if channels > 2 { 3 } else { 1 };
    let wide = info.bit_depth == png::BitDepth::Sixteen;
    let value = |k: usize| {
        if wide { f64::from(u16::from_be_bytes([bytes[2 * k], bytes[2 * k + 1]])) / 65535.0 } else { f64::from(bytes[k]) / 255.0 }
    };
    let (H, W) = (info.height as usize, info.width as usize);
    let pixels = (0..H * W).map(|k| (0..colours).map(|c| value(k * channels + c)).sum::<f64>() / colours as f64).collect();
    Ok(Samples { H, W, fields: vec![pixels], batched: false })
}

/// Pictures in grey, one per page of the file: the mean of the colours, whole numbers from 0 to 1, other numbers as they are.
fn read_tiff(path: &Path) -> Result<Samples, CliError> {
    use tiff::ColorType;
    use tiff::decoder::{Decoder, DecodingResult};
    let fault = |found: String| malformed(path, "a TIFF picture", found);
    let file = std::fs::File::open(path).map_err(|e| fault(e.to_string()))?;
    let mut decoder = Decoder::new(std::io::BufReader::new(file)).map_err(|e| fault(e.to_string()))?;
    let mut samples = Samples { H: 0, W: 0, fields: vec![], batched: false };
    loop {
        let (W, H) = decoder.dimensions().map_err(|e| fault(e.to_string()))?;
        let (H, W) = (H as usize, W as usize);
        let colour = decoder.colortype().map_err(|e| fault(e.to_string()))?;
        let (channels, colours) = match colour {
            ColorType::Gray(_) => (1, 1),
            ColorType::GrayA(_) => (2, 1),
            ColorType::RGB(_) => (3, 3),
            ColorType::RGBA(_) => (4, 3),
            other => return Err(malformed(path, "pictures in grey or in red, green and blue", format!("{other:?}"))),
        };
        let whole = |x: f64, most: f64| x / most;
        let values: Vec<f64> = match decoder.read_image().map_err(|e| fault(e.to_string()))? {
            DecodingResult::U8(x) => x.into_iter().map(|x| whole(x.into(), u8::MAX.into())).collect(),
            DecodingResult::U16(x) => x.into_iter().map(|x| whole(x.into(), u16::MAX.into())).collect(),
            DecodingResult::U32(x) => x.into_iter().map(|x| whole(x.into(), u32::MAX.into())).collect(),
            DecodingResult::F32(x) => x.into_iter().map(f64::from).collect(),
            DecodingResult::F64(x) => x,
            _ => {
                return Err(malformed(
                    path,
                    "unsigned whole numbers of 8, 16 or 32 bits, or numbers of 32 or 64 bits",
                    format!("{colour:?} of another type"),
                ));
            }
        };
        if values.len() != H * W * channels {
            return Err(fault(format!("{} numbers for {H} x {W} pixels of {channels} channels", values.len())));
        }
        io::check_finite(path, &[H, W, channels], 1, &values)?;
        if samples.fields.is_empty() {
            (samples.H, samples.W) = (H, W);
        } else if (samples.H, samples.W) != (H, W) {
            let expected = format!("pages of one size, {} x {} as the first", samples.H, samples.W);
            return Err(malformed(path, &expected, format!("{H} x {W} on page {}", samples.fields.len() + 1)));
        }
        samples.fields.push(values.chunks_exact(channels).map(|pixel| pixel[..colours].iter().sum::<f64>() / colours as f64).collect());
        if !decoder.more_images() {
            samples.batched = samples.fields.len() > 1;
            return Ok(samples);
        }
        decoder.next_image().map_err(|e| fault(e.to_string()))?;
    }
}

/// Columns of numbers; a first line that holds no numbers is a heading.
fn read_csv(path: &Path) -> Result<Samples, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| malformed(path, "a text of numbers in columns", e.to_string()))?;
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for (k, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Option<Vec<f64>> = line.split([',', ';', '\t']).map(|x| x.trim().parse().ok().filter(|x: &f64| x.is_finite())).collect();
        match row {
            None if k == 0 => {}
            None => return Err(malformed(path, "finite numbers", format!("line {}: `{}`", k + 1, line.chars().take(40).collect::<String>()))),
            Some(row) if columns.is_empty() => columns = row.into_iter().map(|x| vec![x]).collect(),
            Some(row) if row.len() == columns.len() => columns.iter_mut().zip(row).for_each(|(column, x)| column.push(x)),
            Some(row) => {
                return Err(malformed(path, &format!("{} columns in every line", columns.len()), format!("{} in line {}", row.len(), k + 1)));
            }
        }
    }
    let W = columns.first().map_or(0, Vec::len);
    Ok(Samples { H: 1, W, batched: columns.len() > 1, fields: columns })
}

/// Weights of averages, one list per mask of the file.
fn masks(file: Option<&Path>, line: bool, options: &FieldOptions, first: &Samples) -> Result<Option<Vec<Vec<f64>>>, CliError> {
    let Some(path) = file else { return Ok(None) };
    let found = load(path, line, &FieldOptions { array: None, ..options.clone() })?;
    if (found.H, found.W) != (first.H, first.W) {
        return Err(malformed(path, &format!("{} x {} weights, one per sample", first.H, first.W), format!("{} x {}", found.H, found.W)));
    }
    if let Some(weight) = found.fields.iter().flatten().find(|w| **w < 0.0) {
        return Err(malformed(path, "weights from 0 on", weight.to_string()));
    }
    Ok(Some(found.fields))
}

/// Weights of averages from a file of one mask.
fn one_mask(file: Option<&Path>, line: bool, options: &FieldOptions, first: &Samples) -> Result<Option<Vec<f64>>, CliError> {
    let found = masks(file, line, options, first)?;
    if let (Some(path), Some(n)) = (file, found.as_ref().map(Vec::len).filter(|n| *n != 1)) {
        return Err(malformed(path, "one mask", format!("{n} masks")));
    }
    Ok(found.and_then(|masks| masks.into_iter().next()))
}

/// Refuses masks of which a scale keeps nothing.
fn check_masks(file: Option<&Path>, plane: &dyn Flat, masks: Option<&[Vec<f64>]>) -> Result<(), CliError> {
    let faults = masks.into_iter().flatten().map(|mask| texture::check_mask(plane, mask));
    faults.collect::<Result<(), _>>().map_err(|e| refused(file.unwrap_or(Path::new("--mask")), e))
}

/// Shape of a file's array of fields of that domain.
fn shape(plane: &dyn Flat, batch: Option<usize>) -> Vec<usize> {
    let (H, W) = plane.sizes();
    let own = if plane.is_series() { vec![W] } else { vec![H, W] };
    batch.into_iter().chain(own).collect()
}

/// Norms of the statistic: of the field itself, of the file that `--normalise-by` names, or none.
fn norms(
    encoder: &scatterc::Encoder,
    plane: &dyn Flat,
    reference: Option<&str>,
    own: &[f64],
    mask: Option<&[f64]>,
    line: bool,
    options: &FieldOptions,
    threads: usize,
) -> Result<Vec<(String, Vec<f64>)>, CliError> {
    let Some(reference) = reference else { return Ok(vec![]) };
    if reference == "self" {
        return texture::norms(encoder, plane, own, mask, threads).map_err(|e| refused(Path::new("self"), e));
    }
    let path = Path::new(reference);
    let given = load(path, line, options)?;
    if (given.H, given.W) != plane.sizes() {
        let (H, W) = plane.sizes();
        return Err(malformed(path, &format!("{H} x {W} samples"), format!("{} x {}", given.H, given.W)));
    }
    texture::norms(encoder, plane, &given.fields[0], mask, threads).map_err(|e| refused(path, e))
}

/// Statistics of images or series.
pub fn encode(args: &encode::Args, global: &Global) -> Result<(), CliError> {
    let source = args.statistic.source()?;
    let statistic = source.statistic(args.statistic.name())?;
    let names: Vec<String> = statistic.statistic.fields.iter().map(|f| f.name.clone()).collect();
    if names.len() != args.inputs.len() {
        let expected = format!("{} for the fields of the statistic: {}", names.len(), names.join(", "));
        return Err(CliError::option("INPUT", format!("{} files", args.inputs.len()), expected));
    }
    check_writable(&args.output)?;
    let line = args.domain.domain == DomainKind::Line;
    let inputs = args.inputs.iter().map(|path| load(path, line, &args.field)).collect::<Result<Vec<_>, _>>()?;
    let first = &inputs[0];
    for (path, other) in args.inputs.iter().zip(&inputs) {
        if (other.H, other.W, other.fields.len()) != (first.H, first.W, first.fields.len()) {
            let describe = |s: &Samples| format!("{} fields of {} x {}", s.fields.len(), s.H, s.W);
            return Err(malformed(path, &format!("{}, as the first file", describe(first)), describe(other)));
        }
    }
    let masks = masks(args.mask.as_deref(), line, &args.field, first)?;
    let plane = bound(&args.domain, &source, &args.statistic.statistic, first.H, first.W, masks.is_some())?;
    check_masks(args.mask.as_deref(), &*plane, masks.as_deref())?;
    let mut compiler = args::compiler(&source, &*plane, &args.statistic, &args.device)?;
    let reference = args.statistic.normalise_by.as_deref();
    if reference.is_some() {
        compiler = texture::normalised(compiler, &source, args.statistic.name())?;
    }
    let mut runner = Runner::new(&compiler, &args.device)?;
    let encoder = compiler.encoder()?;
    let mut arrays: Vec<Array> = Vec::new();
    let n_masks = masks.as_ref().map_or(1, Vec::len);
    let mut progress = args::Progress::new(global, (first.fields.len() * n_masks) as u64, "fields");
    // The leading axis counts fields and, within each, masks.
    for (k, m) in (0..first.fields.len()).flat_map(|k| (0..n_masks).map(move |m| (k, m))) {
        let norms = norms(
            &encoder,
            &*plane,
            reference,
            &first.fields[k],
            masks.as_ref().map(|masks| masks[m].as_slice()),
            line,
            &args.field,
            args.device.threads,
        )?;
        let mut given: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(inputs.iter().map(|s| s.fields[k].as_slice())).collect();
        given.extend(norms.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        given.extend(masks.as_ref().map(|masks| (MASK, masks[m].as_slice())));
        let results = runner.run(&given)?;
        for (i, array) in runner.statistics(results).arrays.into_iter().enumerate() {
            if let Some(bad) = array.re.iter().chain(array.im.iter().flatten()).find(|x| !x.is_finite()) {
                let found = format!("{bad} in `{}` of field {k}: a logarithm or quotient of a field without power there", array.name);
                return Err(malformed(&args.inputs[0], "a field whose statistics are finite", found));
            }
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
        progress.at((k * n_masks + m) as u64 + 1, "");
    }
    progress.finish();
    let mut metadata = args::metadata(&source, &*plane, &args.statistic, &args.device, None, &args.inputs[0])?;
    metadata["normalised"] = serde_json::json!(reference.map(|r| if r == "self" { r.to_string() } else { args::file_name(Path::new(r)) }));
    metadata["mask"] = serde_json::json!(args.mask.as_deref().map(args::file_name));
    metadata["masks"] = serde_json::json!(masks.as_ref().map(Vec::len));
    let count = first.fields.len() * n_masks;
    let batch = (first.batched || n_masks > 1).then_some(count);
    args::write_statistics(&args.output, args.format, &runner.compiled, batch, &arrays, &metadata, vec![])?;
    let lengths: Vec<String> = arrays.iter().map(|a| format!("{} {}", a.name, a.re.len() / count)).collect();
    global.note(&format!("{}: {}, {}", args.output.display(), plane.describe(), lengths.join(", ")));
    Ok(())
}

/// Value and gradient of the loss against the statistics of a target field.
pub fn gradient(args: &gradient::Args, global: &Global) -> Result<(), CliError> {
    let source = args.statistic.source()?;
    source.loss(&args.loss)?;
    let statistic = &source.statistic(args.statistic.name())?.statistic;
    let [name] = statistic.fields.as_slice() else {
        let found = format!("{} with {} fields", statistic.name.name, statistic.fields.len());
        return Err(CliError::option("--statistic", found, "a statistic of one field"));
    };
    check_writable(&args.output)?;
    let line = args.domain.domain == DomainKind::Line;
    let (inputs, target) = (load(&args.input, line, &args.field)?, load(&args.target, line, &args.field)?);
    if (target.H, target.W, target.fields.len()) != (inputs.H, inputs.W, 1) {
        let found = format!("{} fields of {} x {}", target.fields.len(), target.H, target.W);
        return Err(malformed(&args.target, &format!("one field of {} x {}, as INPUT has", inputs.H, inputs.W), found));
    }
    let mask = one_mask(args.mask.as_deref(), line, &args.field, &inputs)?;
    let plane = bound(&args.domain, &source, &args.statistic.statistic, inputs.H, inputs.W, mask.is_some())?;
    check_masks(args.mask.as_deref(), &*plane, mask.as_ref().map(std::slice::from_ref))?;
    let mut compiler = args::compiler(&source, &*plane, &args.statistic, &args.device)?;
    let reference = args.statistic.normalise_by.as_deref();
    if reference.is_some() {
        compiler = texture::normalised(compiler, &source, args.statistic.name())?;
    }
    let mut encoder = compiler.encoder()?;
    let mut norms = norms(&encoder, &*plane, reference, &target.fields[0], mask.as_deref(), line, &args.field, args.device.threads)?;
    norms.extend(mask.map(|mask| (MASK.to_string(), mask)));
    for (name, values) in &norms {
        encoder.set(name, values)?;
    }
    let statistics = encoder.encode(&target.fields[0])?;
    let mut runner = Runner::new(&compiler.goal(Goal::Gradient(args.loss.clone())), &args.device)?;
    let wanted = format!("gradient.{}", name.name);
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    for field in &inputs.fields {
        let mut given: Vec<(&str, &[f64])> = vec![(&name.name, field)];
        let targets = sensitivity::parameter_arrays("T", &statistics);
        given.extend(targets.iter().map(|(name, values)| (name.as_str(), *values)));
        given.extend(norms.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        for (name, numbers) in runner.run(&given)? {
            if name == "value" {
                values.extend(numbers);
            } else if name == wanted {
                gradients.extend(numbers);
            }
        }
    }
    let mut metadata = args::metadata(&source, &*plane, &args.statistic, &args.device, None, &args.input)?;
    metadata["loss"] = serde_json::json!(args.loss);
    metadata["target"] = serde_json::json!(args::file_name(&args.target));
    let batch = inputs.batched.then_some(inputs.fields.len());
    let text = match values.as_slice() {
        [value] => format!("value {value:.12e}"),
        values => format!("{} values", values.len()),
    };
    let out = [
        ("value".to_string(), NamedArray::F64 { shape: batch.into_iter().collect(), data: values }),
        ("gradient".to_string(), NamedArray::F64 { shape: shape(&*plane, batch), data: gradients }),
        ("metadata".to_string(), NamedArray::Text(metadata.to_string())),
    ];
    write_npz_atomic(&args.output, &out)?;
    global.note(&format!("{}: {text}", args.output.display()));
    Ok(())
}

/// New images or series with the statistics of a target, or the masked part of one anew.
pub fn synthesise(args: &synthesise::Args, global: &Global) -> Result<(), CliError> {
    for (option, given) in [
        ("--history", args.history.is_some()),
        ("--report", args.report.is_some()),
        ("--keep-units", args.keep_units),
        ("--free-spectrum", args.free_spectrum),
        ("--floor", args.floor.is_some()),
    ] {
        if given {
            return Err(CliError::Unavailable(format!("`{option}` is available on the sphere only")));
        }
    }
    if args.device.device == DeviceKind::Reference {
        return Err(CliError::option("--device", "reference", "cpu: synthesis runs compiled gradients"));
    }
    if args.count == 0 {
        return Err(CliError::option("--count", 0, "at least 1"));
    }
    if args.count > 1 && (args.checkpoint.is_some() || args.resume.is_some()) {
        return Err(CliError::option("--count", args.count, "1 where images or series are saved and resumed; make others with `--first-member`"));
    }
    // The default of the command is the sphere's statistic.
    let statistic = match (args.statistic.as_str(), args.domain.domain) {
        ("s2scat", DomainKind::Line) => "spectra",
        ("s2scat", _) => "cheng",
        (other, _) => other,
    };
    let options = args::StatisticOptions {
        statistic: statistic.into(),
        isotropic: false,
        variant: match (args.isotropic, args.variant.as_deref(), statistic) {
            (false, None, "cheng" | "spectra") => Some("reference".into()),
            (true, _, "cheng") => Some("isotropic_reference".into()),
            (true, _, _) => Some("isotropic".into()),
            (false, variant, _) => variant.map(str::to_string),
        },
        delta_j: args.delta_j,
        parameters: args.parameters.clone(),
        ..args::StatisticOptions::default()
    };
    let source = options.source()?;
    let numbers: BTreeMap<String, f64> = options.numbers()?;
    source.loss(&args.loss)?;
    for path in [Some(&args.output), args.plot.as_ref()].into_iter().flatten() {
        check_writable(path)?;
    }
    let line = args.domain.domain == DomainKind::Line;
    let one = |path: &Path| -> Result<Samples, CliError> {
        let samples = load(path, line, &args.field)?;
        if samples.fields.len() == 1 { Ok(samples) } else { Err(malformed(path, "one field", format!("{} fields", samples.fields.len()))) }
    };
    let target = one(&args.target)?;
    let mask = one_mask(args.weights.as_deref(), line, &args.field, &target)?;
    let plane = bound(&args.domain, &source, statistic, target.H, target.W, mask.is_some())?;
    check_masks(args.weights.as_deref(), &*plane, mask.as_ref().map(std::slice::from_ref))?;
    let fitting = |path: &Path| -> Result<Vec<f64>, CliError> {
        let found = one(path)?;
        if (found.H, found.W) != (target.H, target.W) {
            return Err(malformed(path, &format!("{} x {} samples, as the target has", target.H, target.W), format!("{} x {}", found.H, found.W)));
        }
        Ok(found.fields.into_iter().next().unwrap_or_default())
    };
    let free: Option<Vec<bool>> = args.mask.as_deref().map(fitting).transpose()?.map(|mask| mask.iter().map(|x| *x != 0.0).collect());
    let start = match args.start.as_str() {
        "spectrum" | "white" => None,
        file => Some(fitting(Path::new(file))?),
    };
    let method = match args.optimiser {
        synthesise::OptimiserKind::Adam => SphereOptions::adam(args.learning_rate.unwrap_or(0.01)),
        synthesise::OptimiserKind::Lbfgs => Method::Lbfgs(Lbfgs::default()),
    };
    let method = match method {
        Method::Adam(adam) => Method::Adam(scatterc::optimise::Adam { pairs: false, ..adam }),
        lbfgs => lbfgs,
    };
    // An interrupted run without a place for its checkpoint still leaves one beside its output.
    let checkpoint = args.checkpoint.clone().or_else(|| args.resume.clone()).unwrap_or_else(|| synthesise::beside(&args.output, "checkpoint"));
    check_writable(&checkpoint)?;
    let periodic = args.checkpoint.is_some() || args.resume.is_some();
    synthesise::listen();
    let mut made = Vec::with_capacity(args.count);
    for k in 0..args.count {
        let options = texture::Options {
            statistic: options.name().map(str::to_string),
            variant: options.variant().map(str::to_string),
            numbers: numbers.clone(),
            loss: args.loss.clone(),
            seed: args.seed,
            member: args.first_member + k,
            start: start.clone(),
            free: free.clone(),
            mask: mask.clone(),
            levels: args.levels,
            method: method.clone(),
            steps: args.steps,
            tolerance: args.tolerance * args.tolerance,
            device: args.device.device(),
            threads: args.device.threads,
        };
        let fingerprint = texture::fingerprint(&source, &*plane, &target.fields[0], &options);
        let resumed = match &args.resume {
            Some(path) => Some(texture::from_bytes(&synthesise::read_checkpoint(path)?, &fingerprint).map_err(|e| refused(path, e))?),
            None => None,
        };
        let mut progress = args::Progress::new(global, (args.steps * args.levels) as u64, "steps");
        let (mut saved, mut failed) = (Instant::now(), None);
        let texture = texture::synthesise_from(&source, &*plane, &target.fields[0], &options, resumed, &mut |level, p| {
            let loss = p.values.first().map(|v| format!("loss {v:.3e}")).unwrap_or_default();
            progress.at(((args.levels - 1).saturating_sub(level) * args.steps + p.iteration) as u64, &loss);
            let interrupted = synthesise::INTERRUPTED.load(Ordering::SeqCst);
            let due = periodic && (p.ended && level == 0 || saved.elapsed() > synthesise::CHECKPOINT_INTERVAL);
            if due || interrupted && args.count == 1 {
                let written = match p.state() {
                    Ok(state) => write_bytes_atomic(&checkpoint, &texture::to_bytes(level, &state, &fingerprint)).map_err(CliError::from),
                    Err(error) => Err(CliError::Unavailable(error.to_string())),
                };
                if let Err(error) = written {
                    failed = Some(error);
                    return Control::Stop;
                }
                saved = Instant::now();
            }
            if interrupted { Control::Stop } else { Control::Continue }
        });
        progress.finish();
        if let Some(error) = failed {
            return Err(error);
        }
        let texture = texture.map_err(|e| refused(&args.target, e))?;
        let (first, last) = (texture.outcome.history.first().map_or(f64::NAN, |v| v[0]), texture.outcome.values[0]);
        let (steps, stopped) = (texture.outcome.iterations[0], synthesise::reason(texture.outcome.stopped[0]));
        args::print(&format!("member {}: loss {first:.4e} -> {last:.4e} in {steps} steps; {stopped}", args.first_member + k))?;
        made.push(texture);
        if synthesise::INTERRUPTED.load(Ordering::SeqCst) {
            break;
        }
    }
    let batch = (made.len() > 1).then_some(made.len());
    let fields = NamedArray::F64 { shape: shape(&*plane, batch), data: made.iter().flat_map(|m| m.field.iter().copied()).collect() };
    if args.output.extension().is_some_and(|e| e == "npz") {
        let start = NamedArray::F64 { shape: shape(&*plane, batch), data: made.iter().flat_map(|m| m.start.iter().copied()).collect() };
        write_npz_atomic(&args.output, &[("fields".to_string(), fields), ("start".to_string(), start)])?;
    } else {
        write_npy_atomic(&args.output, &fields)?;
    }
    if let Some(path) = &args.plot {
        let mut shown: Vec<(String, &[f64])> = vec![("target".into(), &target.fields[0])];
        shown.extend(made.iter().take(1).map(|m| ("start".to_string(), m.start.as_slice())));
        shown.extend(made.iter().take(3).enumerate().map(|(k, m)| (format!("synthesis {k}"), m.field.as_slice())));
        draw(path, &plane_of(&target), &shown)?;
    }
    if synthesise::INTERRUPTED.load(Ordering::SeqCst) { Err(CliError::Interrupted) } else { Ok(()) }
}

fn plane_of(samples: &Samples) -> (usize, usize) {
    (samples.H, samples.W)
}

/// Images side by side in grey, all on the first one's scale; series under one another with their histograms.
fn draw(path: &Path, (H, W): &(usize, usize), shown: &[(String, &[f64])]) -> Result<(), CliError> {
    if *H == 1 {
        let lines = shown.iter().map(|(name, x)| Plot {
            title: name.clone(),
            x_label: "sample".into(),
            series: vec![Series::line("", x.iter().enumerate().map(|(t, x)| (t as f64, *x)).collect())],
            ..Plot::default()
        });
        let histograms = shown.iter().map(|(name, x)| Series::new(name.clone(), Style::Steps, figure::histogram(x, 60))).collect();
        let density = Plot { title: "densities".into(), x_label: "value".into(), series: histograms, ..Plot::default() };
        let plots: Vec<Plot> = lines.chain([density]).collect();
        return Ok(figure::curves(&plots, path)?);
    }
    let reference = shown.first().map_or(&[][..], |s| s.1);
    let mut sorted = reference.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get((part * (sorted.len().max(1) - 1) as f64) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(0.002), at(0.998));
    let width = (high - low).max(f64::MIN_POSITIVE);
    // Small images are drawn larger, so that one sample can be seen.
    let zoom = (256 / H.max(W)).max(1);
    let gap = 8;
    let (columns, rows) = (shown.len() * W * zoom + (shown.len().max(1) - 1) * gap, H * zoom);
    let mut pixels = vec![255u8; rows * columns];
    for (k, (_, x)) in shown.iter().enumerate() {
        let left = k * (W * zoom + gap);
        for r in 0..rows {
            for c in 0..W * zoom {
                let value = (x[r / zoom * W + c / zoom] - low) / width;
                pixels[r * columns + left + c] = (255.0 * value.clamp(0.0, 1.0)).round() as u8;
            }
        }
    }
    let mut bytes = Vec::new();
    let fault = |e: png::EncodingError| CliError::Text { path: path.into(), message: e.to_string() };
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&pixels).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(write_bytes_atomic(path, &bytes)?)
}

/// Images or series as they are.
pub fn plot(args: &plot::Args, global: &Global) -> Result<(), CliError> {
    let samples = load(&args.input, args.domain == DomainKind::Line, &args.field)?;
    let title: PathBuf = args.input.clone();
    let name = args.title.clone().unwrap_or_else(|| args::file_name(&title));
    let shown: Vec<(String, &[f64])> = samples.fields.iter().take(6).map(|x| (name.clone(), x.as_slice())).collect();
    draw(&args.output, &plane_of(&samples), &shown)?;
    global.note(&format!("{}: {} of {} fields of {} x {}", args.output.display(), shown.len(), samples.fields.len(), samples.H, samples.W));
    Ok(())
}
