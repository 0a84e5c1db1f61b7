//! `scatterc encode --stream`: any number of fields with the memory of a few, and a run that can go on where it was stopped.
//!
//! ```text
//! fields of a .npy stack --pieces--> statistics --appended--> OUT.npz.parts/NAME, state.json --at the end--> OUT.npz
//! ```
//!
//! The state says how many fields are done; what the files hold beyond that is cut off when the run goes on. It is replaced as a whole, after the numbers have reached the disk.

use crate::args::{self, CliError, Global, Progress, Runner};
use crate::commands::encode::Args;
use crate::commands::synthesise::beside;
use crate::io::{IoError, NamedArray, Stack, check_writable, write_bytes_atomic, write_npz_from};
use crate::transforms::interleave;
use scatterc::runtime::tables::Key;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between states.
const INTERVAL: Duration = Duration::from_secs(2);

/// Numbers of one output, field after field.
struct Part {
    path: PathBuf,
    file: File,
}

/// The folder of what is done.
struct Parts {
    folder: PathBuf,
    fingerprint: String,
    parts: BTreeMap<String, Part>,
    done: usize,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    let path = path.to_owned();
    move |found| IoError::Write { path: path.clone(), expected: "a place for what is done".into(), found }.into()
}

impl Parts {
    /// A new folder, or the one of a run that was stopped. Error: a folder of another run.
    fn open(folder: PathBuf, fingerprint: String, resume: bool) -> Result<Parts, CliError> {
        let state = folder.join("state.json");
        let mut done = 0;
        if resume {
            let text = fs::read_to_string(&state)
                .map_err(|e| CliError::option("--resume", format!("{}: {e}", state.display()), "the state of a streamed run that was stopped"))?;
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let found = value["fingerprint"].as_str().unwrap_or_default();
            if found != fingerprint {
                return Err(CliError::option(
                    "--resume",
                    "the state of a run with another input, program or options",
                    format!("one that was started with these ({})", folder.display()),
                ));
            }
            done = value["done"].as_u64().unwrap_or(0) as usize;
        } else if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed(&folder))?;
        }
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Parts { folder, fingerprint, parts: BTreeMap::new(), done })
    }

    /// Appends the numbers of some fields. The first time, what is there beyond the state is cut off.
    fn append(&mut self, name: &str, count: usize, numbers: &[f64]) -> Result<(), CliError> {
        let width = numbers.len() / count.max(1);
        let part = match self.parts.entry(name.to_string()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.folder.join(name);
                let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
                let whole = (8 * width * self.done) as u64;
                let found = file.metadata().map_err(failed(&path))?.len();
                if found < whole {
                    return Err(CliError::option(
                        "--resume",
                        format!("{}: {found} bytes", path.display()),
                        format!("at least {whole} bytes for {} fields", self.done),
                    ));
                }
                file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0)).map(drop)).map_err(failed(&path))?;
                entry.insert(Part { path, file })
            }
        };
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        part.file.write_all(&bytes).map_err(failed(&part.path))
    }

    /// Numbers first, then the state that counts them.
    fn save(&self) -> Result<(), CliError> {
        for part in self.parts.values() {
            part.file.sync_data().map_err(failed(&part.path))?;
        }
        let state = serde_json::json!({ "fingerprint": self.fingerprint, "done": self.done });
        Ok(write_bytes_atomic(&self.folder.join("state.json"), state.to_string().as_bytes())?)
    }
}

/// Everything that decides the numbers: the input's file, the domain, statistic and options, and the version.
fn fingerprint(args: &Args, domain: &str, source: &str) -> String {
    let path = &args.inputs[0];
    let facts = fs::metadata(path).map(|m| format!("{} {:?}", m.len(), m.modified().ok())).unwrap_or_default();
    let options = format!("{:?} {:?} {:?}", args.statistic, args.device.device, args.device.precision_name());
    Key::of_texts("stream", &[env!("CARGO_PKG_VERSION"), &facts, domain, source, &options]).hex()
}

/// Runs the command.
pub fn encode(args: &Args, global: &Global) -> Result<(), CliError> {
    args.device.without_target()?;
    let source = args.statistic.source()?;
    let names: Vec<String> = source.statistic(args.statistic.name())?.statistic.fields.iter().map(|f| f.name.clone()).collect();
    let ([name], [path]) = (names.as_slice(), args.inputs.as_slice()) else {
        return Err(CliError::option(
            "--stream",
            format!("{} fields in {} files", names.len(), args.inputs.len()),
            "a statistic of one field, in one file",
        ));
    };
    if args.statistic.normalise_by.as_deref() == Some("self") {
        return Err(CliError::option("--normalise-by", "self", "a file, with --stream"));
    }
    check_writable(&args.output)?;
    let mut stack = Stack::open(path)?;
    let n = stack.shape[0];
    let first = args::field_of(path, stack.read(0, 1)?, &args.domain, &args.field, &args.device, global)?;
    let compiler = args::compiler(&source, &first.sphere, &args.statistic, &args.device)?;
    compiler.bind()?;
    let norms = args::norms(&args.statistic, &first, &args.field, &args.device, global)?;
    let given_norms = source.statistic(args.statistic.name())?.statistic.parameters.iter().any(|p| p.name.name == "P");
    let piece = args::chunk(&compiler, &args.device, n)?;
    let mut runner = Runner::new(&compiler.clone().batch(Some(piece)), &args.device)?;
    let domain = scatterc::Domain::describe(&first.sphere);
    let mut parts = Parts::open(beside(&args.output, "parts"), fingerprint(args, &domain, &source.text), args.resume)?;
    if args.resume {
        global.note(&format!("{} of {n} fields are done", parts.done));
    }
    let mut progress = Progress::new(global, n as u64, "fields");
    let mut saved = Instant::now();
    // The tables of the output come from a run, also where all fields are done.
    let mut last = None;
    while parts.done < n || last.is_none() {
        let at = parts.done.min(n - 1);
        let count = piece.min(n - at);
        let fields = args::field_of(path, stack.read(at, count)?, &args.domain, &args.field, &args.device, global)?;
        // The last piece may be short: it is filled up with the last field, whose copies are then dropped.
        let buffer: Vec<f64> = (0..piece).flat_map(|k| fields.fields[k.min(count - 1)].iter().copied()).collect();
        let mut given: Vec<(&str, &[f64])> = vec![(name, &buffer)];
        if let Some(norms) = &norms
            && given_norms
        {
            given.push(("P", &norms.values[0]));
        }
        let results = runner.run(&given)?;
        let arrays = runner.statistics(results).arrays;
        if parts.done < n {
            for array in &arrays {
                let keep = array.re.len() / piece * count;
                match &array.im {
                    None => parts.append(&array.name, count, &array.re[..keep])?,
                    Some(im) => parts.append(&array.name, count, &interleave(&array.re[..keep], &im[..keep]))?,
                }
            }
            parts.done += count;
            if saved.elapsed() > INTERVAL {
                parts.save()?;
                saved = Instant::now();
            }
        }
        last = Some(arrays);
        progress.at(parts.done as u64, "");
    }
    parts.save()?;
    progress.finish();
    let metadata = args::metadata(&source, &first.sphere, &args.statistic, &args.device, norms.as_ref(), path)?;
    let mut all = args::statistics_arrays(&runner.compiled, Some(piece), &last.unwrap_or_default(), &metadata);
    if let Some(norms) = &norms {
        all.push(("normalisation".into(), NamedArray::F64 { shape: vec![norms.index.rows.len()], data: norms.values.concat() }));
    }
    let copied: BTreeMap<String, (Vec<usize>, PathBuf)> = all
        .iter()
        .filter_map(|(name, array)| {
            let mut shape = array.shape();
            *shape.first_mut()? = n;
            let path = Some(parts.folder.join(name)).filter(|path| path.is_file() && name != "state.json")?;
            Some((name.clone(), (shape, path)))
        })
        .collect();
    for (name, (shape, path)) in &copied {
        let complex = all.iter().any(|(other, array)| other == name && matches!(array, NamedArray::C128 { .. }));
        let expected = shape.iter().product::<usize>() as u64 * if complex { 16 } else { 8 };
        let found = fs::metadata(path).map_err(failed(path))?.len();
        if found != expected {
            return Err(CliError::option("--resume", format!("{}: {found} bytes", path.display()), format!("{expected} bytes for {n} fields")));
        }
    }
    write_npz_from(&args.output, &all, &copied)?;
    // The result is whole: what led to it is not needed any more.
    drop(fs::remove_dir_all(&parts.folder));
    global.note(&format!("{}: {n} fields", args.output.display()));
    Ok(())
}
