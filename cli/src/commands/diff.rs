//! `scatterc diff`: where two saved plans, or two saved graphs, differ.

use super::run::read_text;
use crate::args::{self, CliError, Global};
use scatterc::ir::difference::{self, Difference};
use scatterc::ir::{plan, text};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Names the first difference of two plans, or of two graphs, and the sections that differ as well. Exit status: 0 equal, 1 different, 2 refused.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A plan or a graph, as `scatterc emit` saves it.
    #[arg(value_name = "A")]
    pub left: PathBuf,
    /// Another of the same kind.
    #[arg(value_name = "B")]
    pub right: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// True for the text of a graph.
fn is_graph(text: &str) -> bool {
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(';')).is_some_and(|line| line.starts_with("graph "))
}

fn compared(args: &Args) -> Result<Vec<Difference>, CliError> {
    let (left, right) = (read_text(&args.left)?, read_text(&args.right)?);
    let fault = |path: &Path, message: String| CliError::Text { path: path.into(), message };
    if is_graph(&left) != is_graph(&right) {
        return Err(fault(&args.right, format!("expected a {}, found a {}", kind(&left), kind(&right))));
    }
    if is_graph(&left) {
        let read = |path: &Path, given: &str| text::parse(given).map_err(|e| fault(path, format!("not a graph: {e}")));
        return Ok(difference::graphs(&read(&args.left, &left)?, &read(&args.right, &right)?));
    }
    let read = |path: &Path, given: &str| plan::parse(given).map_err(|e| fault(path, format!("not a plan: {e}")));
    Ok(difference::plans(&read(&args.left, &left)?, &read(&args.right, &right)?))
}

fn kind(text: &str) -> &'static str {
    if is_graph(text) { "graph" } else { "plan" }
}

/// Runs the command. Error: [`CliError::Different`] after the difference is printed.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let differences = compared(args)?;
    if args.json {
        let object = |d: &Difference| serde_json::json!({ "section": d.section, "item": d.item, "field": d.field, "left": d.left, "right": d.right });
        let all: Vec<serde_json::Value> = differences.iter().map(object).collect();
        args::print(&serde_json::json!({ "equal": all.is_empty(), "first": all.first(), "sections": all }).to_string())?;
    } else if let Some(first) = differences.first() {
        let mut text = String::new();
        let place =
            [first.section, first.item.as_str(), first.field.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "first difference: {place}");
        let _ = writeln!(text, "  {}: {}", args.left.display(), first.left);
        let _ = writeln!(text, "  {}: {}", args.right.display(), first.right);
        for other in &differences[1..] {
            let _ = writeln!(text, "also in {other}");
        }
        args::print(&text)?;
    } else {
        global.note("equal");
    }
    if differences.is_empty() { Ok(()) } else { Err(CliError::Different) }
}
