//! Fields from one form into another: layouts of coefficients, transforms for pictures and simulations, spectra.

use crate::args::CliError;
use scatterc::compiler::schedule::schedule;
use scatterc::ir::graph::{Builder, TypeError};
use scatterc::ir::{Linear, Space, Type};
use scatterc::kernels::Parallel;
use scatterc::kernels::healpix::index;
use scatterc::runtime::{Executable, Options};
use scatterc::{Fusion, InputKind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that live for one call; enough for the few large transforms of a command.
pub struct Pool {
    threads: usize,
}

impl Pool {
    /// `threads` is at least 1.
    pub fn new(threads: usize) -> Pool {
        Pool { threads: threads.max(1) }
    }
}

impl Parallel for Pool {
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let k = next.fetch_add(1, Ordering::Relaxed);
                if k >= n {
                    break;
                }
                task(k);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(n) {
                // A thread the system refuses is not needed: the calling thread takes what is left.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// `re[0], im[0], re[1], ..`
pub fn interleave(re: &[f64], im: &[f64]) -> Vec<f64> {
    re.iter().zip(im).flat_map(|(a, b)| [*a, *b]).collect()
}

/// Degrees below `to` of half-plane coefficients of bandlimit `L`: `[L, L]` complex to `[to, to]`.
pub fn cut_half(L: usize, to: usize, half: &[f64]) -> Vec<f64> {
    (0..to).flat_map(|ell| half[2 * ell * L..2 * (ell * L + to)].iter().copied()).collect()
}

/// Degrees below `to` of full-plane coefficients: `[L, 2L-1]` complex to `[to, 2 to - 1]`.
pub fn cut_full(L: usize, to: usize, full: &[f64]) -> Vec<f64> {
    let row = 2 * L - 1;
    (0..to).flat_map(|ell| full[2 * (ell * row + L - to)..2 * (ell * row + L + to - 1)].iter().copied()).collect()
}

/// Half-plane coefficients `[L, L]` from triangular ones, m-major.
pub fn half_of_triangular(L: usize, triangular: &[f64]) -> Vec<f64> {
    let mut half = vec![0.0; 2 * L * L];
    for ell in 0..L {
        for m in 0..=ell {
            let (from, to) = (2 * index(L, ell, m), 2 * (ell * L + m));
            half[to] = triangular[from];
            half[to + 1] = triangular[from + 1];
        }
    }
    half
}

/// Triangular coefficients of the real field that half-plane ones describe; what is above the diagonal describes nothing.
pub fn triangular_of_half(L: usize, half: &[f64]) -> Vec<f64> {
    let mut triangular = vec![0.0; L * (L + 1)];
    for ell in 0..L {
        for m in 0..=ell {
            let (from, to) = (2 * (ell * L + m), 2 * index(L, ell, m));
            triangular[to] = half[from];
            triangular[to + 1] = if m == 0 { 0.0 } else { half[from + 1] };
        }
    }
    triangular
}

/// Triangular coefficients of the real part of a complex field: (f_lm + (-1)^m conj f_l,-m) / 2.
pub fn triangular_of_full(L: usize, full: &[f64]) -> Vec<f64> {
    let mut triangular = vec![0.0; L * (L + 1)];
    let at = |ell: usize, m: isize| 2 * (ell * (2 * L - 1)).wrapping_add_signed(L as isize - 1 + m);
    for ell in 0..L {
        for m in 0..=ell {
            let (p, q, to) = (at(ell, m as isize), at(ell, -(m as isize)), 2 * index(L, ell, m));
            let sign = if m % 2 == 0 { 1.0 } else { -1.0 };
            triangular[to] = 0.5 * (full[p] + sign * full[q]);
            triangular[to + 1] = if m == 0 { 0.0 } else { 0.5 * (full[p + 1] - sign * full[q + 1]) };
        }
    }
    triangular
}

/// Shape of one element of a space as files have it; complex spaces count complex numbers when `complex`.
pub fn space_shape(space: Space, complex: bool) -> Vec<usize> {
    let pair: &[usize] = if complex { &[] } else { &[2] };
    match space {
        Space::Point | Space::Any => vec![],
        Space::Half { L } => [&[L, L], pair].concat(),
        Space::Full { L } => [&[L, 2 * L - 1], pair].concat(),
        Space::Grid { L } | Space::Map { L } => vec![L, 2 * L - 1],
        Space::Coefficients { L } => [&[L * (L + 1) / 2], pair].concat(),
        Space::Rings { L, M } => [&[L, M], pair].concat(),
        Space::Pixels { n, .. } => vec![n],
        Space::Image { H: 1, W } => vec![W],
        Space::Image { H, W } => vec![H, W],
        Space::Spectrum { H, W } => [&[H, W], pair].concat(),
        Space::RealSpectrum { H, W } => [&[H, W / 2 + 1], pair].concat(),
    }
}

/// True where elements of the space are complex.
pub fn is_complex(space: Space) -> bool {
    matches!(
        space,
        Space::Half { .. }
            | Space::Full { .. }
            | Space::Coefficients { .. }
            | Space::Rings { .. }
            | Space::Spectrum { .. }
            | Space::RealSpectrum { .. }
    )
}

fn program(name: &str, input: Space, maps: &[Linear], threads: usize) -> Result<Executable, CliError> {
    let build = || -> Result<scatterc::ir::Graph, TypeError> {
        let mut b = Builder::new(name);
        let mut value = b.input("x", Type::new([], input))?;
        for map in maps {
            value = b.linear(map.clone(), value)?;
        }
        b.output("y", value);
        Ok(b.finish())
    };
    let graph = build().map_err(scatterc::Error::from)?;
    let scheduled = schedule(&graph, Fusion::All).map_err(scatterc::Error::from)?;
    Ok(Executable::load(&scheduled.plan, &Options { threads, ..Options::default() })?)
}

fn first(results: Vec<(String, Vec<f64>)>) -> Vec<f64> {
    results.into_iter().next().map(|(_, values)| values).unwrap_or_default()
}

/// Transforms between triangular coefficients and samples on the Gauss-Legendre grid, `[theta][phi]`, at one bandlimit.
pub struct Sky {
    synthesis: Executable,
    analysis: Executable,
}

impl Sky {
    /// Loads both directions. Error: a bandlimit that the device refuses.
    pub fn new(L: usize, threads: usize) -> Result<Sky, CliError> {
        let inverse = [Linear::HarmonicInverse { L_in: L, L }, Linear::RingInverse { L, M: L }];
        let forward = [Linear::RingForward { L, M: L }, Linear::HarmonicForward { L, M: L, L_out: L }];
        Ok(Sky {
            synthesis: program("synthesis", Space::Coefficients { L }, &inverse, threads)?,
            analysis: program("analysis", Space::Map { L }, &forward, threads)?,
        })
    }

    /// Samples of coefficients.
    pub fn synthesis(&mut self, coefficients: &[f64]) -> Result<Vec<f64>, CliError> {
        Ok(first(self.synthesis.run(&[("x", coefficients)])?))
    }

    /// Coefficients of samples.
    pub fn analysis(&mut self, map: &[f64]) -> Result<Vec<f64>, CliError> {
        Ok(first(self.analysis.run(&[("x", map)])?))
    }
}

/// Triangular coefficients of a field in any input layout; of its real part for complex fields.
pub fn triangular(kind: InputKind, L: usize, field: &[f64], threads: usize) -> Result<Vec<f64>, CliError> {
    match kind {
        InputKind::Half => Ok(triangular_of_half(L, field)),
        InputKind::Full => Ok(triangular_of_full(L, field)),
        InputKind::Grid => Sky::new(L, threads)?.analysis(field),
    }
}

/// C_l = sum_m |a_lm|^2 / (2l + 1) of triangular coefficients, `[L]`.
pub fn spectrum(L: usize, triangular: &[f64]) -> Vec<f64> {
    (0..L)
        .map(|ell| {
            let sum: f64 = (0..=ell)
                .map(|m| {
                    let k = 2 * index(L, ell, m);
                    let weight = if m == 0 { 1.0 } else { 2.0 };
                    weight * (triangular[k] * triangular[k] + triangular[k + 1] * triangular[k + 1])
                })
                .sum();
            sum / (2 * ell + 1) as f64
        })
        .collect()
}
