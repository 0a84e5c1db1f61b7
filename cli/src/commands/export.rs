//! `scatterc export`: a compiled statistic as a shared library with a C header.

use super::explain::Common;
use crate::args::{self, CliError, DeviceKind, Global};
use crate::io::{IoError, write_bytes_atomic};
use scatterc::export::{header, word};
use scatterc::runtime::bundle;
use std::path::{Path, PathBuf};

/// Name of the library that holds the runtime, without what the system puts around it.
const RUNTIME: &str = "scatterc_capi";

/// Writes libNAME.so and NAME.h: the statistic as a function of C. Whoever uses them needs neither scatterc nor Rust.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Statistic, domain, goal.
    #[command(flatten)]
    pub common: Common,
    /// Directory of the two files; made if absent.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name of library, header and functions. Default: that of the statistic, with the goal where it is not the statistic itself.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The library that holds the runtime. Default: the one built beside this command (`cargo build -p scatterc-capi`).
    #[arg(long, value_name = "PATH")]
    pub library: Option<PathBuf>,
}

/// The runtime's library: beside the executable, or among the dependencies that cargo builds there.
fn runtime(given: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(path) = given {
        return Ok(path.into());
    }
    let name = library(RUNTIME);
    let folder = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf())).unwrap_or_default();
    let places = [folder.join(&name), folder.join("deps").join(&name), folder.join("../lib").join(&name)];
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        CliError::Unavailable(format!(
            "{name} is not beside this command: build it with `cargo build --release -p scatterc-capi`, and give its path with `--library`"
        ))
    })
}

fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let device = &args.common.device;
    device.check()?;
    if device.device != DeviceKind::Cpu {
        return Err(CliError::option("--device", device.name(), "cpu; `scatterc emit --emit cuda|ptx|cubin` writes kernels of a GPU"));
    }
    if let Some(name) = &args.name
        && word(name) != *name
    {
        return Err(CliError::option("--name", format!("`{name}`"), format!("a word of letters, digits and underscores, such as `{}`", word(name))));
    }
    let path = runtime(args.library.as_deref())?;
    let read = |found: std::io::Error| CliError::Io(IoError::Read { path: path.clone(), expected: "the library of scatterc-capi".into(), found });
    let bytes = std::fs::read(&path).map_err(read)?;
    if !bytes.windows(13).any(|w| w == b"scatterc_open") {
        return Err(CliError::Field {
            path,
            expected: "the library of scatterc-capi".into(),
            found: "a file without the function scatterc_open".into(),
        });
    }
    let compiled = args.common.compile(global)?;
    let text = compiled.plan().to_string();
    let name = args.name.clone().unwrap_or_else(|| word(&args.common.export_name(&compiled.plan().name)));
    let (library, header_path) = (args.out.join(library(&name)), args.out.join(format!("{name}.h")));
    let made =
        |found: std::io::Error| CliError::Io(IoError::Write { path: args.out.clone(), expected: "a directory that can be written".into(), found });
    std::fs::create_dir_all(&args.out).map_err(made)?;
    write_bytes_atomic(&header_path, header(&name, &compiled, &text).as_bytes())?;
    write_bytes_atomic(&library, &bundle::append(&bytes, &text))?;
    args::print(&format!("{}\n{}\n", library.display(), header_path.display()))
}
