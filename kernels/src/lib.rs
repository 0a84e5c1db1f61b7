//! Numerical kernels of scatterc.
//!
//! The crate knows no graph, does no input or output but for the emulator of `cuda`, never prints and starts no thread: a caller hands in a [`Parallel`]
//! executor. It holds
//!
//! ```text
//! sampling, wigner, wavelets      nodes, functions and filters               (plan time)
//! layout                          where coefficients, rings and maps lie     (shared by all below)
//! harmonic   coefficients <-> rings   Legendre stage of spin-0 and directional transforms, and adjoints
//! fourier    rings <-> maps           FFT along each ring, eight rings at a time, and adjoints
//! planar     images <-> spectra         FFTs of images and series, real and complex, and adjoints
//! images     images on a pyramid of resolutions: stencils, means over blocks, enlargement, and adjoints
//! contract   rows x rows -> numbers   weighted bilinear sums, linear mixtures
//! weighed    half spectra x half spectra -> numbers   bilinear sums with the weights of filters, applied in cache
//! frame      coefficients x coefficients -> numbers   covariances of wavelet transforms without the transforms
//! cuda       the transforms as CUDA C: device text, launches, tables, an emulator
//! naive      the same definitions, slow and obvious, in natural layouts      (reference)
//! ```
//!
//! and refuses to hold pointwise functions, statistics, and anything that must know what the numbers mean.
//!
//! Every sum has an order that does not depend on the number of threads. Vector code is written once over a lane type
//! and instantiated for AVX-512, AVX2 and a portable baseline; see [`simd`].
//!
//! ```
//! use scatterc_kernels::{Serial, fourier::RingFft, harmonic::HarmonicTransform, layout::RingLayout};
//!
//! let L = 8;
//! let layout = RingLayout::new(L)?;
//! let transform = HarmonicTransform::plain(L, L)?;
//! let mut coefficients = vec![0.0; scatterc_kernels::layout::coefficients_len(L)];
//! coefficients[0] = (4.0 * std::f64::consts::PI).sqrt(); // the constant field 1
//! let mut rings = vec![0.0; layout.rings_len(L)];
//! let mut map = vec![0.0; layout.map_len()];
//! transform.synthesis(&Serial, &[&coefficients], &mut [&mut rings]);
//! RingFft::new(L)?.inverse(&Serial, &[&rings], L, &mut [&mut map]);
//! assert!(map.iter().all(|value| (value - 1.0).abs() < 1e-14));
//! # Ok::<(), scatterc_kernels::KernelError>(())
//! ```
#![allow(non_snake_case)]

pub mod contract;
// For the compiler and the runtime: `ARCHITECTURE.md` and the module itself say how it is used.
#[doc(hidden)]
pub mod cuda;
mod double;
mod error;
pub mod fourier;
pub mod frame;
pub mod gather;
pub mod harmonic;
pub mod healpix;
pub mod images;
pub mod layout;
mod made;
pub mod naive;
mod parallel;
pub mod peak;
pub mod planar;
pub mod sampling;
pub mod simd;
pub mod spin;
pub mod stencil;
pub mod wavelets;
pub mod weighed;
pub mod wigner;

pub use error::KernelError;
pub use parallel::{Parallel, Serial};
