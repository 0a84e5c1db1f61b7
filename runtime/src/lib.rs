//! Verbs of scatterc that make numbers: the reference device, the CPU device, the table cache. Knows graphs and plans, never the compiler.
//!
//! ```text
//! graph --reference::run--> numbers                 the oracle, logical layouts
//! plan  --Executable--> numbers                     cpu: tables, machine code (jit), small maps (maps), arena, threads; launches: kernels as CUDA C on a machine
//! ```
//!
//! - [`reference`](mod@reference): one loop per op, f64, slow on purpose.
//! - [`Executable`]: loads and runs plans; `cpu` and `launches` are its engines.
//! - [`resident`]: vectors of an optimiser beside a plan on a device.
//! - [`bundle`]: a plan at the end of a shared library.
//! - [`cuda`]: compiles device text, opens a device, replays launches.
//! - [`maps`]: the device's layouts, weights and small linear maps.
//! - `planar`: maps of images and spectra, filters from formulas.
//! - `jit`: what kernel text may contain; `bounds`: which memory it touches, proven before it is compiled.
//! - [`limits`]: how much memory there is.
//! - [`tables`]: tables in memory and on disk.
#![allow(non_snake_case)]

mod arena;
mod bounds;
pub mod bundle;
mod cpu;
pub mod cuda;
mod emulation;
mod error;
mod executable;
mod frame;
mod jit;
mod launches;
pub mod limits;
pub mod maps;
mod planar;
pub mod reference;
pub mod resident;
mod sparse;
pub mod tables;
mod threads;
mod tile;
mod weighed;
mod wide;

pub use error::{LoadError, RunError};
pub use executable::{Executable, Legendre, MachineKind, Memory, Options};
pub use jit::assembly;
pub use tables::Cache;
