//! Single-thread speed of the Legendre stages and of the ring FFT: milliseconds (best of several runs) and GFLOP/s.
//!
//! Legendre flops are those executed in the inner loops (`HarmonicTransform::flops`), with their fraction of the peak measured in
//! the same run: independent chains of fused multiply-adds in registers. FFT flops are those of its butterflies (`RingFft::flops`).
//! Arguments select bandlimits, and `fft` the rings alone, for example `cargo bench -p scatterc-kernels --bench transforms -- 256 fft`.
#![allow(non_snake_case)]

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use scatterc_kernels::fourier::RingFft;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::layout::{RingLayout, coefficients_len};
use scatterc_kernels::wavelets::j_max;
use scatterc_kernels::{Serial, contract, simd};

/// Processor time of this thread in seconds, so that other load counts as little as possible; wall time where there is no such clock.
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

/// Time of one call in milliseconds: the best of at least nine batches of about 2 ms.
fn best(mut call: impl FnMut()) -> f64 {
    let start = now();
    call();
    let batch = (0.002 / (now() - start).max(1e-7)).ceil() as usize;
    let begin = now();
    let mut best = f64::INFINITY;
    let mut batches = 0;
    while batches < 9 || now() - begin < 0.15 {
        let start = now();
        for _ in 0..batch {
            call();
        }
        best = best.min((now() - start) / batch as f64);
        batches += 1;
    }
    best * 1e3
}

/// Buffers that start on a cache line, as an arena would give them.
///
/// Vectors that straddle cache lines cost up to a factor of two.
struct Row {
    values: Vec<f64>,
    from: usize,
    len: usize,
}

fn rows(count: usize, len: usize) -> Vec<Row> {
    let row = |r: usize| {
        let values: Vec<f64> = (0..len + 8).map(|i| ((i * 7 + r) % 13) as f64 - 6.0).collect();
        let from = values.as_ptr().align_offset(64);
        Row { values, from, len }
    };
    (0..count).map(row).collect()
}

fn refs(rows: &[Row]) -> Vec<&[f64]> {
    rows.iter().map(|row| &row.values[row.from..row.from + row.len]).collect()
}

fn muts(rows: &mut [Row]) -> Vec<&mut [f64]> {
    rows.iter_mut().map(|row| &mut row.values[row.from..row.from + row.len]).collect()
}

fn line(what: &str, L: usize, n_fields: usize, ms: f64, flops: f64) {
    static PEAK: OnceLock<f64> = OnceLock::new();
    let (speed, peak) = (flops / ms * 1e-6, PEAK.get_or_init(|| scatterc_kernels::peak::flops_per_s::<f64>(Duration::from_millis(50)) * 1e-9));
    println!("{what:24} L={L:4} fields={n_fields:2} {ms:9.3} ms {speed:7.1} GFLOP/s {:4.0} % of {peak:.1}", speed / peak * 100.0);
}

/// The ring FFT of whole fields, and of one pair of blocks that stays in cache, as in a tile.
fn rings(L: usize) {
    let fft = RingFft::new(L).expect("valid");
    for n_fields in [1, 5] {
        let mut rings = rows(n_fields, fft.rings_len(L));
        let mut maps = rows(n_fields, fft.map_len());
        let per_ring = |ms: f64| ms * 1e3 / (L * n_fields) as f64;
        let flops = fft.flops() * n_fields as f64;
        let ms = best(|| fft.inverse(&Serial, &refs(&rings), L, &mut muts(&mut maps)));
        line("FFT inverse", L, n_fields, ms, flops);
        println!("    {fft:?} {:.3} us per ring", per_ring(ms));
        let ms = best(|| fft.forward(&Serial, &refs(&maps), L, &mut muts(&mut rings)));
        line("FFT forward", L, n_fields, ms, flops);
    }
    let (mut pair_rings, mut pair_map) = (rows(1, fft.rings_len(L) / fft.n_pairs()), rows(1, fft.map_len() / fft.n_pairs()));
    let flops = fft.flops() / fft.n_pairs() as f64;
    let mut pair = |what: &str, M: usize, inverse: bool| {
        let (rings, map) = (muts(&mut pair_rings).remove(0).as_mut_ptr(), muts(&mut pair_map).remove(0).as_mut_ptr());
        let ms = simd::with_scratch(fft.scratch_len(), |scratch: *mut f64| {
            // SAFETY: the buffers hold one pair of blocks each, and M <= L.
            best(|| unsafe {
                if inverse {
                    fft.inverse_blocks(rings, M, map, scratch, (1.0, 1.0), true)
                } else {
                    fft.forward_blocks(map, M, rings, scratch, (1.0, 1.0), true)
                }
            })
        });
        line(what, L, 1, ms, flops);
    };
    pair("FFT inverse, one pair", L, true);
    pair("FFT inverse, pair, L/2", L / 2, true);
    pair("FFT forward, one pair", L, false);
    pair("FFT forward, pair, L/2", L / 2, false);
}

fn main() {
    let chosen: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if chosen.is_empty() { vec![64, 128, 256, 512] } else { chosen };
    let rings_only = std::env::args().any(|a| a == "fft");
    println!("simd level: {}", simd::simd_level());
    for L in sizes {
        rings(L);
        if rings_only {
            continue;
        }
        let start = Instant::now();
        let forward = HarmonicTransform::for_analysis(L, L).expect("valid");
        println!("plan analysis            L={L:4} {:9.3} ms", start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let scales: Vec<_> = (0..=j_max(L)).map(|j| HarmonicTransform::wavelet(L, L, 3, j).expect("valid")).collect();
        let bytes: usize = scales.iter().map(|s| s.table_bytes()).sum();
        println!("plan all scales, N = 3   L={L:4} {:9.3} ms {:.1} MB", start.elapsed().as_secs_f64() * 1e3, bytes as f64 * 1e-6);
        let plain = HarmonicTransform::plain(L, L).expect("valid");
        let wavelet = scales.last().expect("at least one scale");
        for n_fields in [1, 2, 5, 10, 25] {
            let mut fields = rows(n_fields, coefficients_len(L));
            let mut rings = rows(n_fields, plain.rings_len(L));
            let ms = best(|| plain.synthesis(&Serial, &refs(&fields), &mut muts(&mut rings)));
            line("synthesis n=0", L, n_fields, ms, plain.flops(n_fields));
            let ms = best(|| forward.analysis(&Serial, &refs(&rings), L, &mut muts(&mut fields)));
            line("analysis n=0", L, n_fields, ms, forward.flops(n_fields));
            if L > 256 && n_fields > 10 {
                continue;
            }
            let mut rings = rows(n_fields, wavelet.rings_len(L));
            let mut fields = rows(n_fields, coefficients_len(L));
            let ms = best(|| wavelet.synthesis(&Serial, &refs(&fields), &mut muts(&mut rings)));
            line("synthesis N=3, top scale", L, n_fields, ms, wavelet.flops(n_fields));
            let ms = best(|| wavelet.synthesis_adjoint(&Serial, &refs(&rings), L, &mut muts(&mut fields)));
            line("adjoint N=3, top scale", L, n_fields, ms, wavelet.flops(n_fields));
        }
        let layout = RingLayout::new(L).expect("valid");
        let maps = rows(25, layout.map_len());
        let weights = layout.map_weights();
        let pairs: Vec<(u32, u32)> = (0..25).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
        let mut sums = vec![0.0; pairs.len()];
        let ms = best(|| contract::gram(&Serial, &refs(&maps), &weights, &pairs, &mut sums));
        line("gram 25 rows", L, 25, ms, (2 * pairs.len() * layout.map_len()) as f64);
        let terms: Vec<Vec<(u32, u32)>> = (0..5).map(|g| (0..3).map(|c| (c, g * 3 + c)).collect()).collect();
        let coefficients = scatterc_kernels::wavelets::steering_matrix(3);
        let mut mixed = rows(5, layout.map_len());
        let ms = best(|| {
            contract::mix(&Serial, &refs(&maps)[..3], None, &terms, &coefficients, &mut muts(&mut mixed));
        });
        line("mix 3 to 5", L, 5, ms, (2 * 15 * layout.map_len()) as f64);
        black_box((&sums, &mixed));
    }
}
