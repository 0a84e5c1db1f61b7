//! Maps of images and spectra, as lists of matrix entries.

use crate::RunError;
use crate::planar::PlanarTables;
use scatterc_ir::Linear;
use scatterc_ir::filter::{Bank, Evaluation, Sampled};
use std::f64::consts::PI;

/// Filters of one scale on a grid of `H` x `W`, to a power: `[L][H][W]` complex numbers.
fn filters(bank: &Bank, j: usize, lowpass: bool, power: usize, H: usize, W: usize) -> Result<Vec<Vec<(f64, f64)>>, RunError> {
    let fault = |e: scatterc_ir::filter::FilterError| RunError::Graph { faults: vec![e.to_string()] };
    let filter = bank.filter().map_err(fault)?;
    let transforms = PlanarTables::<f64>::default();
    let mut all = Vec::new();
    for l in 0..if lowpass { 1 } else { bank.L } {
        let name = if lowpass { "lowpass" } else { "wavelet" };
        let Sampled { re, im } = Evaluation::new(&filter, bank, j, l, &transforms).array(name).map_err(fault)?;
        let base = |r: usize, c: usize| (re[r * bank.W + c], im.as_ref().map_or(0.0, |im| im[r * bank.W + c]));
        let mut out = vec![(0.0, 0.0); H * W];
        if bank.folded {
            for r in 0..bank.H {
                for c in 0..bank.W {
                    let (a, b) = base(r, c);
                    let place = &mut out[r % H * W + c % W];
                    *place = (place.0 + a, place.1 + b);
                }
            }
        } else {
            for (k, place) in out.iter_mut().enumerate() {
                *place = base(Bank::kept(bank.H, H, k / W), Bank::kept(bank.W, W, k % W));
            }
        }
        let raised = |z: (f64, f64)| (1..power).fold(z, |p, _| (p.0 * z.0 - p.1 * z.1, p.0 * z.1 + p.1 * z.0));
        all.push(out.into_iter().map(raised).collect());
    }
    Ok(all)
}

/// Real and imaginary parts of the stencils of scale j, `[L][h][w]`.
fn stencils(bank: &Bank, j: usize) -> Result<Vec<(Vec<f64>, Vec<f64>)>, RunError> {
    let fault = |e: scatterc_ir::filter::FilterError| RunError::Graph { faults: vec![e.to_string()] };
    let filter = bank.filter().map_err(fault)?;
    let transforms = PlanarTables::<f64>::default();
    let mut all = Vec::new();
    for l in 0..bank.L {
        let Sampled { re, im } = Evaluation::new(&filter, bank, j, l, &transforms).array("stencil").map_err(fault)?;
        let im = im.unwrap_or_else(|| vec![0.0; re.len()]);
        all.push((re, im));
    }
    Ok(all)
}

/// The sample that stands at position k of n; none where zeros stand.
fn beyond(edge: usize, n: usize, k: i64) -> Option<usize> {
    let n = n as i64;
    if (0..n).contains(&k) {
        return Some(k as usize);
    }
    let k = match (edge, k < 0) {
        (0, _) => k.rem_euclid(n),
        (1, true) => -k,
        (1, false) => 2 * (n - 1) - k,
        (2, true) => -k - 1,
        (2, false) => 2 * n - 1 - k,
        _ => return None,
    };
    Some(k as usize)
}

/// Where frequency (r, c) is stored, and whether it is the conjugate that is.
fn place(real: usize, H: usize, W: usize, r: usize, c: usize) -> (usize, bool) {
    match (real, c <= W / 2) {
        (1, true) => (r * (W / 2 + 1) + c, false),
        (1, false) => ((H - r) % H * (W / 2 + 1) + W - c, true),
        _ => (r * W + c, false),
    }
}

/// Output (o, complex) := factor times input (i, conjugated or not).
fn product(entry: &mut impl FnMut(usize, usize, f64), o: usize, (i, conjugated): (usize, bool), (a, b): (f64, f64)) {
    let sign = if conjugated { -1.0 } else { 1.0 };
    entry(2 * o, 2 * i, a);
    entry(2 * o, 2 * i + 1, -b * sign);
    entry(2 * o + 1, 2 * i, b);
    entry(2 * o + 1, 2 * i + 1, a * sign);
}

/// Angle of frequency (k, l) at sample (p, q).
fn angle(H: usize, W: usize, (k, l): (usize, usize), (p, q): (usize, usize)) -> f64 {
    2.0 * PI * ((k * p % H) as f64 / H as f64 + (l * q % W) as f64 / W as f64)
}

/// Calls `entry(output, input, value)` for the matrix of a map of images; `false` for other maps.
pub(super) fn entries(map: &Linear, entry: &mut impl FnMut(usize, usize, f64)) -> Result<bool, RunError> {
    match map {
        Linear::Fourier { H, W } => {
            let half = W / 2 + 1;
            for (k, l) in (0..*H).flat_map(|k| (0..half).map(move |l| (k, l))) {
                let own = (2 * k) % H == 0 && (2 * l) % W == 0;
                for (p, q) in (0..*H).flat_map(|p| (0..*W).map(move |q| (p, q))) {
                    let angle = angle(*H, *W, (k, l), (p, q));
                    entry(2 * (k * half + l), p * W + q, angle.cos());
                    entry(2 * (k * half + l) + 1, p * W + q, if own { 0.0 } else { -angle.sin() });
                }
            }
        }
        Linear::FourierReal { H, W } => {
            let half = W / 2 + 1;
            for (k, l) in (0..*H).flat_map(|k| (0..half).map(move |l| (k, l))) {
                let own = (2 * k) % H == 0 && (2 * l) % W == 0;
                let weight = if l == 0 || 2 * l == *W { 1.0 } else { 2.0 } / (H * W) as f64;
                for (p, q) in (0..*H).flat_map(|p| (0..*W).map(move |q| (p, q))) {
                    let angle = angle(*H, *W, (k, l), (p, q));
                    entry(p * W + q, 2 * (k * half + l), weight * angle.cos());
                    entry(p * W + q, 2 * (k * half + l) + 1, if own { 0.0 } else { -weight * angle.sin() });
                }
            }
        }
        Linear::FourierInverse { H, W } => {
            let n = H * W;
            for (k, l) in (0..*H).flat_map(|k| (0..*W).map(move |l| (k, l))) {
                for (p, q) in (0..*H).flat_map(|p| (0..*W).map(move |q| (p, q))) {
                    let (sin, cos) = angle(*H, *W, (k, l), (p, q)).sin_cos();
                    let (i, o) = (2 * (k * W + l), p * W + q);
                    entry(o, i, cos / n as f64);
                    entry(o, i + 1, -sin / n as f64);
                    entry(n + o, i, sin / n as f64);
                    entry(n + o, i + 1, cos / n as f64);
                }
            }
        }
        Linear::Filter { H, W, j, power, real, bank } => {
            for (l, filter) in filters(bank, *j, false, *power, *H, *W)?.into_iter().enumerate() {
                for (k, factor) in filter.into_iter().enumerate() {
                    product(entry, l * H * W + k, place(*real, *H, *W, k / W, k % W), factor);
                }
            }
        }
        Linear::FilterInverse { H, W, h, w, j, power, real, bank } => {
            let n = h * w;
            for (l, filter) in filters(bank, *j, false, *power, *H, *W)?.into_iter().enumerate() {
                for (k, (a, b)) in filter.into_iter().enumerate() {
                    let (stored, conjugated) = place(*real, *H, *W, k / W, k % W);
                    let sign = if conjugated { -1.0 } else { 1.0 };
                    for (p, q) in (0..*h).flat_map(|p| (0..*w).map(move |q| (p, q))) {
                        let (sin, cos) = angle(*h, *w, (k / W % h, k % W % w), (p, q)).sin_cos();
                        let (re, im) = ((a * cos - b * sin) / (H * W) as f64, (a * sin + b * cos) / (H * W) as f64);
                        let o = 2 * l * n + p * w + q;
                        entry(o, 2 * stored, re);
                        entry(o, 2 * stored + 1, -sign * im);
                        entry(o + n, 2 * stored, im);
                        entry(o + n, 2 * stored + 1, sign * re);
                    }
                }
            }
        }
        Linear::FilterEach { H, W, j, bank } => {
            for (k, factor) in filters(bank, *j, false, 1, *H, *W)?.into_iter().flatten().enumerate() {
                product(entry, k, (k, false), factor);
            }
        }
        Linear::Smooth { H, W, j, bank } => {
            let filter = &filters(bank, *j, true, 1, *H, *W)?[0];
            for r in 0..*H {
                for c in 0..W / 2 + 1 {
                    let (a, b) = (filter[r * W + c], filter[(H - r) % H * W + (W - c) % W]);
                    let k = r * (W / 2 + 1) + c;
                    product(entry, k, (k, false), (0.5 * (a.0 + b.0), 0.5 * (a.1 - b.1)));
                }
            }
        }
        Linear::Truncate { H, W, h, w, real } => {
            let scale = (h * w) as f64 / (H * W) as f64;
            for (r, c) in (0..*h).flat_map(|r| (0..*w).map(move |c| (r, c))) {
                product(entry, r * w + c, place(*real, *H, *W, Bank::kept(*H, *h, r), Bank::kept(*W, *w, c)), (scale, 0.0));
            }
        }
        Linear::Clip { H, W, h, w } => {
            let scale = (h * w) as f64 / (H * W) as f64;
            for (r, c) in (0..*h).flat_map(|r| (0..w / 2 + 1).map(move |c| (r, c))) {
                product(entry, r * (w / 2 + 1) + c, place(1, *H, *W, Bank::kept(*H, *h, r), c), (scale, 0.0));
            }
        }
        Linear::Fold { H, W, h, w, real } => {
            let scale = (h * w) as f64 / (H * W) as f64;
            for (r, c) in (0..*H).flat_map(|r| (0..*W).map(move |c| (r, c))) {
                if *real == 0 || c % w <= w / 2 {
                    product(entry, place(*real, *h, *w, r % h, c % w).0, place(*real, *H, *W, r, c), (scale, 0.0));
                }
            }
        }
        Linear::Pick { W, rows, columns, .. } => {
            for (r, row) in rows.iter().enumerate() {
                columns.iter().enumerate().for_each(|(c, column)| entry(r * columns.len() + c, row * W + column, 1.0));
            }
        }
        Linear::Roll { H, W, rows, columns, count } => {
            for (k, (row, column)) in rows.iter().zip(columns).enumerate() {
                for (r, c) in (0..*H).flat_map(|r| (0..*W).map(move |c| (r, c))) {
                    entry((k * H + r) * W + c, (k / count * H + (r + row) % H) * W + (c + column) % W, 1.0);
                }
            }
        }
        Linear::ImageStencil { H, W, j, edge, bank } => {
            let n = H * W;
            for (l, (re, im)) in stencils(bank, *j)?.into_iter().enumerate() {
                for (r, c) in (0..*H).flat_map(|r| (0..*W).map(move |c| (r, c))) {
                    for (a, b) in (0..bank.H).flat_map(|a| (0..bank.W).map(move |b| (a, b))) {
                        let row = beyond(*edge, *H, (r + a) as i64 - (bank.H / 2) as i64);
                        let column = beyond(*edge, *W, (c + b) as i64 - (bank.W / 2) as i64);
                        if let (Some(row), Some(column)) = (row, column) {
                            let (o, i, k) = (2 * l * n + r * W + c, row * W + column, a * bank.W + b);
                            entry(o, i, re[k]);
                            entry(o + n, i, im[k]);
                        }
                    }
                }
            }
        }
        Linear::SpectrumParts { H, W } => (0..H * W).for_each(|k| {
            entry(k, 2 * k, 1.0);
            entry(H * W + k, 2 * k + 1, 1.0);
        }),
        Linear::BlockMean { H, W, h, w } => {
            for (r, c) in (0..H / h * h).flat_map(|r| (0..W / w * w).map(move |c| (r, c))) {
                entry(r / h * (W / w) + c / w, r * W + c, 1.0 / (h * w) as f64);
            }
        }
        Linear::Enlarge { H, W, rows, columns } => {
            let near = |n: usize, factor: usize, k: usize| {
                let place = (k as f64 + 0.5) / factor as f64 - 0.5;
                let (low, part) = (place.floor(), place - place.floor());
                let inside = |k: f64| k.clamp(0.0, n as f64 - 1.0) as usize;
                [(inside(low), 1.0 - part), (inside(low + 1.0), part)]
            };
            for (r, c) in (0..rows * H).flat_map(|r| (0..columns * W).map(move |c| (r, c))) {
                for (row, v) in near(*H, *rows, r) {
                    near(*W, *columns, c).into_iter().for_each(|(column, w)| entry(r * columns * W + c, row * W + column, v * w));
                }
            }
        }
        Linear::Average { H, W, top, bottom, left, right } => {
            let n = ((H - top - bottom) * (W - left - right)) as f64;
            for r in *top..H - bottom {
                (*left..W - right).for_each(|c| entry(0, r * W + c, 1.0 / n));
            }
        }
        Linear::SpectralFilter { H, W, h, w, j, power, bank } => {
            let (half, n) = (W / 2 + 1, H * (W / 2 + 1));
            let signed = |n: usize, k: usize| if k < n.div_ceil(2) { k as i64 } else { k as i64 - n as i64 };
            for (g, filter) in filters(bank, *j, false, *power, *h, *w)?.into_iter().enumerate() {
                for (k, (value, _)) in filter.into_iter().enumerate() {
                    let (p, q) = (signed(*h, k / w), signed(*w, k % w));
                    let upper = q < 0;
                    let row = if upper { -p } else { p }.rem_euclid(*H as i64) as usize;
                    let i = row * half + q.unsigned_abs() as usize;
                    product(entry, 2 * g * n + i, (i, false), (value, 0.0));
                    product(entry, (2 * g + 1) * n + i, (i, false), (0.0, if upper { -value } else { value }));
                }
            }
        }
        Linear::SpectralSum { H, W } => (0..2 * H * (W / 2 + 1)).for_each(|k| entry(0, k, 1.0 / (*H as f64 * *W as f64).powi(2))),
        _ => return Ok(false),
    }
    Ok(true)
}
