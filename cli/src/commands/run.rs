//! `scatterc run`: a saved plan.

use crate::args::{self, CliError, Global};
use crate::io::{self, Input, InputOptions, NamedArray, check_writable, write_npz_atomic};
use crate::transforms::{interleave, is_complex, space_shape};
use scatterc::ir::plan::{Plan, Port, Target, parse};
use scatterc::runtime::{Executable, Options};
use std::path::{Path, PathBuf};

/// Largest plan read, in bytes.
const LARGEST_PLAN: u64 = 1 << 30;

/// Runs a plan that `scatterc emit --emit plan` has saved.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// A file for a plan with one input, or NAME=FILE for each input.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Where the outputs go, an .npz file.
    #[arg(long, short, value_name = "OUT.npz")]
    pub output: PathBuf,
    /// Threads; 0 means all cores.
    #[arg(long, value_name = "T", default_value_t = 0)]
    pub threads: usize,
    /// Runs a plan for CUDA: its kernels are programs that nothing checks. Plans for the CPU are proven to stay inside their buffers and need no trust.
    #[arg(long)]
    pub trust: bool,
}

/// A saved plan. Error: a file that cannot be read, is too large, or is no plan.
pub fn read_plan(path: &Path) -> Result<Plan, CliError> {
    let text = read_text(path)?;
    parse(&text).map_err(|e| CliError::Text { path: path.into(), message: format!("not a plan: {e}") })
}

/// The text of a saved plan or graph.
pub fn read_text(path: &Path) -> Result<String, CliError> {
    let fault = |message: String| CliError::Text { path: path.into(), message };
    let length = std::fs::metadata(path).map_err(|e| fail(path, e))?.len();
    if length > LARGEST_PLAN {
        return Err(fault(format!("the file has {length} bytes, a plan has at most {LARGEST_PLAN}")));
    }
    std::fs::read_to_string(path).map_err(|e| fail(path, e))
}

fn fail(path: &Path, found: std::io::Error) -> CliError {
    io::IoError::Read { path: path.into(), expected: "a plan".into(), found }.into()
}

/// The numbers for a port, complex ones interleaved.
fn read_values(path: &Path, port: &Port) -> Result<Vec<f64>, CliError> {
    let is_npy = std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x93NUMPY"));
    let (shape, complex, data) = if is_npy {
        match io::read_npy(path)? {
            NamedArray::F64 { shape, data } => (shape, false, data),
            NamedArray::C128 { shape, data } => (shape, true, data),
            NamedArray::I64 { shape, data } => (shape, false, data.into_iter().map(|x| x as f64).collect()),
            other => return Err(wrong(path, port, other.describe())),
        }
    } else {
        match io::read_input(path, &InputOptions::default())? {
            Input::Half { batch, L, data } => ([batch, vec![L, L]].concat(), true, data),
            Input::Full { batch, L, data } => ([batch, vec![L, 2 * L - 1]].concat(), true, data),
            Input::Grid { batch, L, data } => ([batch, vec![L, 2 * L - 1]].concat(), false, data),
            Input::Healpix { nside, .. } => {
                return Err(wrong(path, port, format!("a HEALPix map of nside = {nside}; plans take coefficients or grids")));
            }
        }
    };
    if complex != is_complex(port.ty.space) || data.len() != port.ty.len() {
        return Err(wrong(path, port, format!("{} {shape:?}", if complex { "complex" } else { "real" })));
    }
    io::check_finite(path, &shape, if complex { 2 } else { 1 }, &data)?;
    Ok(data)
}

fn wrong(path: &Path, port: &Port, found: String) -> CliError {
    let kind = if is_complex(port.ty.space) { "complex" } else { "real" };
    let shape: Vec<usize> = port.ty.axes.iter().copied().chain(space_shape(port.ty.space, true)).collect();
    CliError::Field { path: path.into(), expected: format!("{kind} {shape:?} for the input `{}`", port.name), found }
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    check_writable(&args.output)?;
    let plan = read_plan(&args.plan)?;
    if plan.target == Target::Cuda && !args.trust {
        return Err(CliError::option(
            "PLAN",
            "a plan for CUDA, whose kernels nothing can check",
            "a plan for the CPU, or --trust if you know where the plan comes from",
        ));
    }
    let mut executable = Executable::load(&plan, &Options { threads: args.threads, ..Options::default() })?;
    let known = plan.inputs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut given: Vec<(&str, Vec<f64>)> = Vec::new();
    for input in &args.inputs {
        let named = input.split_once('=').filter(|(name, _)| plan.inputs.iter().any(|p| p.name == *name));
        let (port, path) = match (named, plan.inputs.as_slice()) {
            (Some((name, path)), inputs) => (inputs.iter().find(|p| p.name == name), path),
            (None, [only]) => (Some(only), input.as_str()),
            (None, _) => (None, input.as_str()),
        };
        let Some(port) = port else {
            return Err(CliError::option("INPUT", format!("`{input}`"), format!("NAME=FILE with one of the inputs {known}")));
        };
        if given.iter().any(|(name, _)| *name == port.name) {
            return Err(CliError::option("INPUT", format!("given twice for `{}`", port.name), "one file per input"));
        }
        given.push((&port.name, read_values(Path::new(path), port)?));
    }
    let given: Vec<(&str, &[f64])> = given.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let results = executable.run(&given)?;
    let mut arrays = Vec::new();
    for (port, (name, values)) in plan.outputs.iter().zip(&results) {
        let complex = is_complex(port.ty.space);
        let shape: Vec<usize> = port.ty.axes.iter().copied().chain(space_shape(port.ty.space, true)).collect();
        // Two real outputs `name.re` and `name.im` are one complex array of the statistic.
        if let Some(stem) = name.strip_suffix(".re")
            && let Some((_, im)) = results.iter().find(|(other, v)| other.strip_suffix(".im") == Some(stem) && v.len() == values.len())
            && !complex
        {
            arrays.push((stem.to_string(), NamedArray::C128 { shape, data: interleave(values, im) }));
        } else if name.strip_suffix(".im").is_some_and(|stem| results.iter().any(|(other, _)| other.strip_suffix(".re") == Some(stem))) {
            continue;
        } else if complex {
            arrays.push((name.clone(), NamedArray::C128 { shape, data: values.clone() }));
        } else {
            arrays.push((name.clone(), NamedArray::F64 { shape, data: values.clone() }));
        }
    }
    let notes: serde_json::Map<String, serde_json::Value> =
        plan.notes.iter().map(|(k, v)| (k.clone(), serde_json::Value::from(v.as_str()))).collect();
    let metadata = serde_json::json!({ "scatterc": env!("CARGO_PKG_VERSION"), "plan": plan.name, "notes": notes });
    let count = arrays.len();
    arrays.push(("metadata".into(), NamedArray::Text(metadata.to_string())));
    write_npz_atomic(&args.output, &arrays)?;
    global.note(&format!("{}: {count} outputs of `{}`", args.output.display(), args::file_name(&args.plan)));
    Ok(())
}
