//! How long do whole scalar transforms take on one thread, ring FFT included?
//!
//! `cargo bench --bench transforms -- [--fields F] [--rounds R] L L ..` prints one JSON line per bandlimit: milliseconds of processor time of this thread, best of R rounds, for
//! coefficients to map (`inverse_ms`) and map to coefficients (`forward_ms`) of F fields at once on the Gauss-Legendre grid with 2L - 1 samples per ring, the Legendre parts of
//! both, and the time to make the tables. `compare_ducc0.py` runs it next to ducc0. The kernels by themselves: `cargo bench -p scatterc-kernels`.

use scatterc_kernels::Serial;
use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::harmonic::HarmonicTransform;
use std::sync::OnceLock;
use std::time::Instant;

/// Processor time of this thread in seconds; wall time where there is no such clock.
fn now() -> f64 {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
        }
        const THREAD_CPUTIME: i32 = 3;
        let mut time = [0; 2];
        // SAFETY: the C library fills two 64-bit words on 64-bit Linux.
        if unsafe { clock_gettime(THREAD_CPUTIME, &mut time) } == 0 {
            return time[0] as f64 + time[1] as f64 * 1e-9;
        }
    }
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Rows that start on a cache line, as an arena gives them.
fn rows(count: usize, len: usize) -> Vec<(Vec<f64>, usize)> {
    let row = |r: usize| {
        let values: Vec<f64> = (0..len + 8).map(|i| ((i * 7 + r) % 13) as f64 - 6.0).collect();
        let from = values.as_ptr().align_offset(64);
        (values, from)
    };
    (0..count).map(row).collect()
}

fn refs(rows: &[(Vec<f64>, usize)]) -> Vec<&[f64]> {
    rows.iter().map(|(values, from)| &values[*from..*from + values.len() - 8]).collect()
}

fn muts(rows: &mut [(Vec<f64>, usize)]) -> Vec<&mut [f64]> {
    rows.iter_mut()
        .map(|(values, from)| {
            let len = values.len() - 8;
            &mut values[*from..*from + len]
        })
        .collect()
}

fn main() -> Result<(), scatterc_kernels::KernelError> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|k| arguments.get(k + 1)?.parse().ok());
    let (n_fields, rounds): (usize, usize) = (option("--fields").unwrap_or(1), option("--rounds").unwrap_or(5));
    let mut bandlimits: Vec<usize> = arguments.iter().filter_map(|a| a.parse().ok()).filter(|L| *L > 16).collect();
    if bandlimits.is_empty() {
        bandlimits = vec![256, 512, 1024];
    }
    for L in bandlimits {
        let start = now();
        let (inverse, forward) = (HarmonicTransform::plain(L, L)?, HarmonicTransform::for_analysis(L, L)?);
        let plan_ms = (now() - start) * 1e3;
        let fft = RingFft::new(L)?;
        let mut coefficients = rows(n_fields, inverse.coefficients_len());
        let mut rings = rows(n_fields, inverse.rings_len(L));
        let mut maps = rows(n_fields, fft.map_len());
        let mut best = [f64::INFINITY; 4];
        for _ in 0..rounds {
            let times = [now()];
            inverse.synthesis(&Serial, &refs(&coefficients), &mut muts(&mut rings));
            let times = [times[0], now()];
            fft.inverse(&Serial, &refs(&rings), L, &mut muts(&mut maps));
            let times = [times[0], times[1], now()];
            fft.forward(&Serial, &refs(&maps), L, &mut muts(&mut rings));
            let between = now();
            forward.analysis(&Serial, &refs(&rings), L, &mut muts(&mut coefficients));
            let end = now();
            for (best, time) in best.iter_mut().zip([times[2] - times[0], end - times[2], times[1] - times[0], end - between]) {
                *best = best.min(time * 1e3);
            }
        }
        let [inverse_ms, forward_ms, synthesis_ms, analysis_ms] = best;
        println!(
            "{{\"L\":{L},\"fields\":{n_fields},\"inverse_ms\":{inverse_ms:.3},\"forward_ms\":{forward_ms:.3},\"synthesis_ms\":{synthesis_ms:.3},\"analysis_ms\":{analysis_ms:.3},\"plan_ms\":{plan_ms:.1},\"simd\":\"{}\"}}",
            scatterc_kernels::simd::simd_level()
        );
    }
    Ok(())
}
