//! scatterc: declare a scattering statistic once, in index notation; get it compiled, differentiated and fused.
//!
//! ```text
//! declare ──> ir::notation ──bind(domain)──> ir::Graph ──passes──> ──gradient──> ──fuse, schedule, emit──> ir::Plan ──load──> run
//! ```
//!
//! ```
//! use scatterc::{Compiler, InputKind, Source, Sphere, scattering};
//!
//! let program = scattering! {
//!     statistic first_order(x) {
//!         W[j, g]  = wavelet(x, j, g);
//!         S1[j, g] = mean(abs(W[j, g]));
//!         return S1;
//!     }
//! };
//! let source = Source::from_program(&program)?;
//! let sphere = Sphere::new(16, 3, 0, InputKind::Half)?;
//! let mut encoder = Compiler::new(&source, &sphere).encoder()?;
//! let statistics = encoder.encode(&vec![0.5; 2 * 16 * 16])?;
//! assert_eq!(statistics.arrays[0].re.len(), 5 * 5);
//! # Ok::<(), scatterc::Error>(())
//! ```
//!
//! - [`statistics`]: built-in texts and how texts are found.
//! - [`compile`]: the pipeline behind one builder.
//! - [`export`]: C headers of exported statistics.
//! - [`texture`]: images and series with the statistics of a target.
//! - [`sensitivity`], [`forecast`]: derivatives, Fisher matrices from simulations.
//! - [`gauss_newton`], [`paths`]: synthesis by least squares, gradients from a random part of the paths.
//! - [`table`]: coefficients with their indices, as npz, JSON, CSV and safetensors.
//! - [`precision`]: single or double, from a target error.
//! - [`optimise`]: L-BFGS and Adam, which know nothing of graphs.
//!
//! The stages themselves live in the crates [`ir`], [`compiler`], [`kernels`] and [`runtime`].

// The macro's expansion names this crate; inside it the name must resolve too.
extern crate self as scatterc;

pub use scatterc_compiler as compiler;
pub use scatterc_ir as ir;
pub use scatterc_kernels as kernels;
pub use scatterc_macros::scattering;
pub use scatterc_runtime as runtime;

pub mod compile;
pub mod export;
pub mod forecast;
pub mod gauss_newton;
pub mod gaussian;
pub mod optimise;
pub mod paths;
pub mod pixels;
pub mod precision;
pub mod random;
pub mod residency;
pub mod sensitivity;
pub mod statistics;
pub mod synthesis;
pub mod table;
pub mod texture;

pub use compile::{Array, Compiled, Compiler, Device, Encoder, Goal, Statistics};
pub use scatterc_compiler::bind::Index;
pub use scatterc_compiler::domain::{Domain, InputKind};
pub use scatterc_compiler::fuse::Fusion;
pub use scatterc_compiler::healpix::{Healpix, MASK};
pub use scatterc_compiler::plane::{Boundary, Plane, with_numbers};
pub use scatterc_compiler::pyramid::{self, Pyramid};
pub use scatterc_compiler::sphere::Sphere;
pub use scatterc_ir::plan::Element;
pub use scatterc_runtime::Legendre;
pub use statistics::Source;

/// The Rust of the book's pages.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../docs/tutorial.md")]
    struct Tutorial;
    #[doc = include_str!("../docs/tables.md")]
    struct Tables;
}

/// Everything that can go wrong between a text and a number.
///
/// ```
/// use scatterc::{Error, InputKind, Source, Sphere};
///
/// assert!(matches!(Source::find("s3scat"), Err(Error::UnknownStatistic { .. })));
/// let domain = Sphere::new(8, 9, 0, InputKind::Half).map_err(Error::from);
/// assert!(domain.unwrap_err().to_string().contains("`directions` is 9"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a built-in name nor a file.
    #[error("there is no statistic `{found}`; known: {known} (or give the path of a .scat file)")]
    UnknownStatistic {
        /// What was asked.
        found: String,
        /// What exists.
        known: String,
    },
    /// No such loss.
    #[error("there is no loss `{found}`; known: {known}")]
    UnknownLoss {
        /// What was asked.
        found: String,
        /// What exists.
        known: String,
    },
    /// No such filter bank.
    #[error("there is no filter bank `{found}`; known: {known} (or declare it in the .scat file)")]
    UnknownFilter {
        /// What was asked.
        found: String,
        /// What exists.
        known: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {message}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        message: String,
    },
    /// Faults of a text, with carets.
    #[error("{rendered}")]
    Notation {
        /// All faults as shown to the user.
        rendered: String,
        /// All faults as data.
        errors: Box<ir::notation::NotationErrors>,
    },
    /// A statistic that does not fit its domain, with the line of its text where one is to blame.
    #[error("{rendered}")]
    Bind {
        /// The fault as shown to the user.
        rendered: String,
        /// The fault.
        error: compiler::bind::BindError,
    },
    /// Sizes that make no domain.
    #[error(transparent)]
    Domain(#[from] compiler::domain::DomainError),
    /// A pass that failed or does not exist.
    #[error(transparent)]
    Pass(#[from] compiler::pass::PassError),
    /// A loss that does not fit the statistic, with the line of its text where one is to blame.
    #[error("{rendered}")]
    Loss {
        /// The fault as shown to the user.
        rendered: String,
        /// The fault.
        error: compiler::loss::LossError,
    },
    /// A derivative that cannot be taken.
    #[error(transparent)]
    Type(#[from] ir::graph::TypeError),
    /// A graph that cannot be scheduled.
    #[error(transparent)]
    Schedule(#[from] compiler::schedule::ScheduleError),
    /// A memory budget that no schedule meets.
    #[error("the memory budget of {budget} bytes is too small: at least {needed} bytes are needed")]
    Memory {
        /// Smallest peak found.
        needed: usize,
        /// What was allowed.
        budget: usize,
    },
    /// A plan that cannot be loaded.
    #[error(transparent)]
    Load(#[from] runtime::LoadError),
    /// A plan that cannot be run.
    #[error(transparent)]
    Run(#[from] runtime::RunError),
    /// An array of the wrong length.
    #[error("`{name}` has {found} numbers, expected {expected}")]
    Length {
        /// Which array.
        name: String,
        /// Right length.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A choice outside its range.
    #[error("{name} is {found}; expected {expected}")]
    Option {
        /// Which choice.
        name: String,
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// No input of that name.
    #[error("there is no input `{found}`; known: [{known}]")]
    UnknownInput {
        /// What was given.
        found: String,
        /// What exists.
        known: String,
    },
}
