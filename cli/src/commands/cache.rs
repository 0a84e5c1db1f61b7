//! `scatterc cache`: the tables kept between runs.

use crate::args::{CliError, Global, print};
use scatterc::runtime::Cache;
use scatterc::runtime::tables::State;
use std::fmt::Write;

/// Tables kept between runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the cache.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Action {
    /// Print directory, tables, sizes and ages.
    List,
    /// Delete all tables.
    Clear,
    /// Check all tables and delete damaged ones.
    Verify,
}

/// Where the cache is.
pub fn place(state: &State) -> String {
    match state {
        State::Disk(path) => path.display().to_string(),
        State::Memory { reason } => format!("memory only: {reason}"),
    }
}

/// Runs the command.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let cache = Cache::global();
    let mut text = String::new();
    match args.action {
        Action::List => {
            let _ = writeln!(text, "{}", place(&cache.state()));
            let entries = cache.list();
            for entry in &entries {
                let key: String = entry.key.chars().take(16).collect();
                let _ = writeln!(text, "{key}  {:<24} {:>12.3} MB  used {:>8} s ago", entry.kind, entry.bytes as f64 / 1e6, entry.age.as_secs());
            }
            let total: u64 = entries.iter().map(|e| e.bytes).sum();
            let _ = writeln!(text, "{} tables, {:.3} MB", entries.len(), total as f64 / 1e6);
        }
        Action::Clear => {
            let gone = cache.clear();
            let _ = writeln!(text, "{gone} tables deleted");
        }
        Action::Verify => {
            let checked = cache.list().len();
            let damaged = cache.verify();
            for damage in &damaged {
                let _ = writeln!(text, "{}: {}; deleted, it is rebuilt when needed", damage.path.display(), damage.reason);
            }
            let _ = writeln!(text, "{checked} tables checked, {} damaged", damaged.len());
        }
    }
    print(&text)
}
