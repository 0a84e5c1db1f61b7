//! `scatterc table`: coefficients with their indices, selected, reduced, written in another format.

use crate::args::{self, CliError, Global, TableKind};
use crate::io::{check_writable, write_bytes_atomic};
use scatterc::table::{Aggregate, Format, Selection, Step, Table};
use std::path::PathBuf;

/// Reads a table of coefficients in any format, selects and reduces by index, and writes any format. Steps run in the order of the options below; one that names several indices
/// changes the outputs that have all of them, and the others stay as they are.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A file of `encode` or of this command: npz, json, csv or safetensors.
    #[arg(value_name = "FILE")]
    pub input: PathBuf,
    /// Keep these outputs alone.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub outputs: Vec<String>,
    /// Keep the entries for which conditions hold, such as "j < 3, i - j == 1".
    #[arg(long, value_name = "CONDITIONS")]
    pub select: Vec<String>,
    /// The index A becomes A - B.
    #[arg(long, value_name = "A,B")]
    pub difference: Vec<String>,
    /// Mean over all orientations at fixed differences: the last index goes, the others become their differences from it.
    #[arg(long, value_name = "G,..")]
    pub isotropic: Vec<String>,
    /// Mean over indices.
    #[arg(long, value_name = "INDEX,..")]
    pub mean: Vec<String>,
    /// Sum over indices.
    #[arg(long, value_name = "INDEX,..")]
    pub sum: Vec<String>,
    /// Smallest over indices.
    #[arg(long, value_name = "INDEX,..")]
    pub min: Vec<String>,
    /// Largest over indices.
    #[arg(long, value_name = "INDEX,..")]
    pub max: Vec<String>,
    /// Orthonormal Fourier transform over an orientation, which becomes a frequency.
    #[arg(long, value_name = "G")]
    pub fourier: Vec<String>,
    /// Orthonormal cosine transform (DCT-II) over a scale, which becomes a number of half periods.
    #[arg(long, value_name = "J")]
    pub cosine: Vec<String>,
    /// Where the table goes; the terminal, as CSV or JSON, without it.
    #[arg(long, short, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Format of the result; default: what the name ends in, else npz in a file and csv on the terminal.
    #[arg(long, value_enum)]
    pub format: Option<TableKind>,
}

/// Names separated by commas.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_string()).collect()
}

/// Steps in the order of the options.
fn steps(args: &Args) -> Result<Vec<Step>, CliError> {
    let mut steps = Vec::new();
    for text in &args.select {
        steps.push(Step::Select(Selection::parse(text)?));
    }
    for text in &args.difference {
        match names(text).as_slice() {
            [column, from] => steps.push(Step::Difference(column.clone(), from.clone())),
            _ => return Err(CliError::option("--difference", text, "two indices, such as i,j")),
        }
    }
    steps.extend(args.isotropic.iter().map(|text| Step::Isotropic(names(text))));
    for (all, how) in [(&args.mean, Aggregate::Mean), (&args.sum, Aggregate::Sum), (&args.min, Aggregate::Min), (&args.max, Aggregate::Max)] {
        steps.extend(all.iter().map(|text| Step::Aggregate(names(text), how)));
    }
    steps.extend(args.fourier.iter().cloned().map(Step::Fourier));
    steps.extend(args.cosine.iter().cloned().map(Step::Cosine));
    Ok(steps)
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let format = args.format.map(Format::from).or(args.output.as_deref().and_then(Format::of));
    let format = format.unwrap_or(if args.output.is_some() { Format::Npz } else { Format::Csv });
    match &args.output {
        Some(path) => check_writable(path)?,
        None if matches!(format, Format::Csv | Format::Json) => {}
        None => return Err(CliError::option("--output", "absent", format!("a file, as {format} is no text"))),
    }
    let steps = steps(args)?;
    let mut table = Table::read(&args.input)?;
    if !args.outputs.is_empty() {
        table.outputs = args.outputs.iter().map(|name| table.get(name.trim()).cloned()).collect::<Result<_, _>>()?;
    }
    for step in &steps {
        table = table.step(step)?;
    }
    match &args.output {
        Some(path) => Ok(write_bytes_atomic(path, &table.bytes(path, format)?)?),
        None => args::print(&String::from_utf8_lossy(&table.bytes("the terminal".as_ref(), format)?)),
    }
}
