//! One module per command; each has its arguments and a function that runs it.

pub mod bench;
pub mod cache;
pub mod compare;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod encode;
pub mod explain;
pub mod export;
pub mod gradient;
pub mod healpix;
pub mod ops;
pub mod planar;
pub mod plot;
pub mod run;
pub mod selftest;
pub mod stream;
pub mod suite;
pub mod synthesise;
pub mod table;
