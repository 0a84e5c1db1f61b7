//! Verbs of scatterc that make numbers: the reference device, the CPU device, the table cache. Knows graphs and plans, never the compiler.
//!
//! ```text
//! graph --reference::run--> numbers                 the oracle, logical layouts
//! plan  --cpu::Executable--> numbers                tables (tables), machine code (jit), small maps (maps), arena, threads
//! ```
//!
//! - [`reference`](mod@reference): one loop per op, f64, slow on purpose.
//! - [`cpu`]: loads and runs plans.
//! - [`maps`]: the device's layouts, weights and small linear maps.
//! - `planar`: maps of images and spectra, filters from formulas.
//! - [`jit`]: what kernel text may contain.
//! - [`tables`]: tables in memory and on disk.
#![allow(non_snake_case)]

mod arena;
pub mod cpu;
mod error;
mod frame;
pub mod jit;
pub mod maps;
mod planar;
pub mod reference;
mod sparse;
pub mod tables;
mod threads;
mod tile;

pub use cpu::{Executable, Memory, Options};
pub use error::{LoadError, RunError};
pub use tables::Cache;
