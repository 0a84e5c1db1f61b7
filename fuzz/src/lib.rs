//! What every fuzz target checks. The ordinary tests include these modules and run a bounded number of iterations with fixed seeds (`tests/fuzz.rs`, `cli/tests/command/readers.rs`).
#![allow(non_snake_case)]

#[cfg(feature = "full")]
pub mod graphs;
#[cfg(feature = "full")]
#[allow(dead_code)]
#[path = "../../cli/src/io.rs"]
mod io;
pub mod random;
#[cfg(feature = "full")]
pub mod readers;
#[cfg(feature = "full")]
pub mod states;
pub mod texts;
