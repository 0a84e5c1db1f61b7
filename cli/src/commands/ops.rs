//! `scatterc ops`: the op table.

use crate::args::{CliError, Global, print};
use scatterc::ir::Linear;
use scatterc::ir::ops::pointwise_table;
use std::fmt::Write;

/// All linear maps and pointwise functions with their equations.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only ops whose name contains this.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let mut rows: Vec<(String, &str, String)> = Linear::documentation().into_iter().map(|(name, doc)| (name.to_string(), "linear", doc)).collect();
    rows.extend(pointwise_table().iter().map(|row| (row.name.to_string(), "pointwise", row.doc.to_string())));
    if let Some(part) = &args.name {
        rows.retain(|(name, ..)| name.contains(part.as_str()));
        if rows.is_empty() {
            return Err(CliError::option("NAME", format!("`{part}`"), "part of the name of an op; `scatterc ops` lists all"));
        }
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, kind, doc) in &rows {
        for (k, line) in doc.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
            let (name, kind) = if k == 0 { (name.as_str(), *kind) } else { ("", "") };
            let _ = writeln!(text, "{name:width$}  {kind:9}  {line}");
        }
    }
    print(&text)
}
