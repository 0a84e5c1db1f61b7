//! The scatterc command: fields in, scattering statistics out.
//!
//! ```text
//! arguments -> commands::* -> args (options, fields, norms, results) -> scatterc (compile, run)
//!                          -> io (npy, npz, FITS), figure (PNG), transforms (layouts, spectra)
//! ```
//!
//! A command that is refused says why on stderr in one block, has exit code 2 and has written nothing.
#![allow(non_snake_case)]

mod args;
mod commands;
// Whole modules for pictures and files: not every style and format has a command that uses it.
#[allow(dead_code)]
mod figure;
#[allow(dead_code)]
mod io;
mod measure;
mod memory;
mod transforms;

use args::{CliError, Global};
use clap::Parser;
use commands::{bench, cache, compare, demo, diff, doctor, encode, explain, export, gradient, ops, plot, run, selftest, synthesise, table};
use std::process::ExitCode;

#[global_allocator]
static MEMORY: memory::LargePages = memory::LargePages;

/// Scattering statistics: declare once, run at the hardware's speed.
#[derive(Debug, Parser)]
#[command(name = "scatterc", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Simulate a sky, encode it, draw it.
    Demo(demo::Args),
    /// Statistics of a field, or of a batch of fields.
    Encode(Box<encode::Args>),
    /// Value and gradient of the loss against a target.
    Gradient(Box<gradient::Args>),
    /// Synthesise fields with the statistics of a target.
    #[command(alias = "synthesize")]
    Synthesise(Box<synthesise::Args>),
    /// Print every stage of the compiler, the launches, their work and time.
    Explain(Box<explain::Explain>),
    /// Print one stage: graph, loops, kernels, plan.
    Emit(Box<explain::Emit>),
    /// Check a statistic and print its outputs and parameters.
    Check(Box<explain::Check>),
    /// Write a statistic as a shared library with a C header.
    Export(Box<export::Args>),
    /// Run a saved plan.
    Run(run::Args),
    /// Compile a statistic in several ways, check that values are equal and time them in turn.
    Compare(Box<compare::Args>),
    /// Name the first difference of two saved plans or graphs.
    Diff(diff::Args),
    /// Measure compile time, run time and memory.
    Bench(Box<bench::Args>),
    /// Select from, reduce and convert a table of coefficients.
    Table(Box<table::Args>),
    /// Draw a field as a map with its power spectrum.
    Plot(plot::Args),
    /// List, clear or verify the tables kept between runs.
    Cache(cache::Args),
    /// Print what this installation can do and test it.
    Doctor(doctor::Args),
    /// Check this installation against recorded and reference values, with every instruction set of this processor.
    Selftest(selftest::Args),
    /// Print the op table.
    Ops(ops::Args),
}

fn dispatch(cli: &Cli) -> Result<(), CliError> {
    let global = &cli.global;
    match &cli.command {
        Command::Demo(args) => demo::run(args, global),
        Command::Encode(args) => encode::run(args, global),
        Command::Gradient(args) => gradient::run(args, global),
        Command::Synthesise(args) => synthesise::run(args, global),
        Command::Explain(args) => explain::explain(args, global),
        Command::Emit(args) => explain::emit(args, global),
        Command::Check(args) => explain::check(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Run(args) => run::run(args, global),
        Command::Compare(args) => compare::run(args, global),
        Command::Diff(args) => diff::run(args, global),
        Command::Bench(args) => bench::run(args, global),
        Command::Table(args) => table::run(args, global),
        Command::Plot(args) => plot::run(args, global),
        Command::Cache(args) => cache::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Selftest(args) => selftest::run(args, global),
        Command::Ops(args) => ops::run(args, global),
    }
}

fn main() -> ExitCode {
    memory::prepare();
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // What was asked is printed; the status alone says that it is so.
        Err(error @ CliError::Different) => ExitCode::from(error.exit_code()),
        Err(error) => {
            let text = error.to_string();
            // Faults of a notation text are rendered with a heading of their own.
            let heading = if text.starts_with("error") { "" } else { "error: " };
            args::complain(&format!("{heading}{}", text.trim_end()));
            ExitCode::from(error.exit_code())
        }
    }
}
