//! `scatterc demo`: the whole way on a simulated sky: a field full of filaments, its statistics, and those of a Gaussian field with the same spectrum.

use crate::args::{self, CliError, DeviceOptions, Fields, Global, Progress, print};
use crate::figure::{self, ColourMap, Panel, Plot, Series, Style};
use crate::io::{IoError, NamedArray, check_writable, write_npz_atomic};
use crate::transforms::{Sky, half_of_triangular, spectrum, triangular_of_half};
use scatterc::kernels::healpix::index;
use scatterc::optimise::Control;
use scatterc::random::gaussian_with_spectrum;
use scatterc::synthesis::{Generator, Options, SynthesisError, validation_table};
use scatterc::{Compiler, Domain, Encoder, InputKind, Source, Sphere, Statistics};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Azimuthal bandlimit of the demonstration: five directions.
const N: usize = 3;

/// A simulated sky, its statistics and a picture.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory of the results; made if needed.
    #[arg(long, value_name = "DIR", default_value = "scatterc-demo")]
    pub out: PathBuf,
    /// Bandlimit.
    #[arg(long, value_name = "L", default_value_t = 128)]
    pub bandlimit: usize,
    /// Which sky.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads; 0 means all cores.
    #[arg(long, value_name = "T", default_value_t = 0)]
    pub threads: usize,
}

/// A field of the demonstration with everything known about it.
struct Member {
    /// For the picture and the table.
    title: &'static str,
    /// For arrays of the result.
    name: &'static str,
    /// Triangular coefficients.
    coefficients: Vec<f64>,
    /// S2, `[scales, directions]`.
    power: Vec<f64>,
    /// Statistics normalised by the field's own power.
    statistics: Statistics,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let start = Instant::now();
    let L = args.bandlimit;
    if !(8..=1024).contains(&L) {
        return Err(CliError::option("--bandlimit", L, "from 8 to 1024 for the demonstration"));
    }
    // A bandlimit of 2^k + 1 has a finest scale without a single degree; nothing can be normalised by its power.
    if (L - 1).is_power_of_two() {
        return Err(CliError::option("--bandlimit", L, format!("a number that is not one above a power of two, such as {}", L - 1)));
    }
    std::fs::create_dir_all(&args.out).map_err(|found| IoError::Write {
        path: args.out.clone(),
        expected: "a directory that can be made".into(),
        found,
    })?;
    let (picture, arrays) = (args.out.join("demo.png"), args.out.join("demo.npz"));
    check_writable(&picture)?;
    check_writable(&arrays)?;

    global.note(&format!("simulating a field of filaments at L = {L}"));
    let web = cosmic_web(L, args.seed, args.threads)?;
    let twin = gaussian_twin(L, &web, args.seed);

    let sphere = Sphere::new(L, N, 0, InputKind::Half)?;
    let source = Source::find("s2scat")?;
    let mut encoder = Compiler::new(&source, &sphere).array("P").threads(args.threads).encoder()?;
    global.note(&format!("s2scat compiled in {:.0} ms", encoder.compiled().compile_s * 1e3));
    let mut members = vec![
        member("filaments", "web", web, &sphere, &mut encoder, args.threads, global)?,
        member("Gaussian twin", "twin", twin, &sphere, &mut encoder, args.threads, global)?,
    ];
    members.push(synthesis(&members[0], &sphere, &mut encoder, args, global)?);

    print(&table(&sphere, &members))?;
    draw(&picture, &sphere, &members)?;
    save(&arrays, &sphere, &members, args.seed)?;
    global.note(&format!("{} and {} in {:.1} s", picture.display(), arrays.display(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Steps of the synthesis.
const STEPS: usize = 150;

/// A field with the statistics of `target`, found by matching them; a third member of table and picture.
///
/// Kept apart from the rest, which needs nothing but an encoder.
fn synthesis(target: &Member, sphere: &Sphere, encoder: &mut Encoder, args: &Args, global: &Global) -> Result<Member, CliError> {
    let half = half_of_triangular(sphere.L, &target.coefficients);
    let options = Options { seed: args.seed, steps: STEPS, threads: args.threads, ..Options::default() };
    let fault = |error: SynthesisError| super::synthesise::fault(Path::new("the simulated field"), error);
    let mut generator = Generator::new(&Source::find("s2scat")?, sphere, &half, options).map_err(fault)?;
    let mut progress = Progress::new(global, STEPS as u64, "synthesis");
    let found = generator.generate(&mut |p| {
        let loss = p.values.first().copied().unwrap_or(f64::NAN);
        progress.at(p.iteration.min(STEPS) as u64, &format!("loss {loss:.3e}"));
        Control::Continue
    });
    progress.finish();
    let found = found.map_err(fault)?;
    print(&validation_table(&generator.validate(&found).map_err(fault)?))?;
    member("synthesis", "synthesis", triangular_of_half(sphere.L, &found.fields), sphere, encoder, args.threads, global)
}

fn member(
    title: &'static str,
    name: &'static str,
    coefficients: Vec<f64>,
    sphere: &Sphere,
    encoder: &mut Encoder,
    threads: usize,
    global: &Global,
) -> Result<Member, CliError> {
    let half = half_of_triangular(sphere.L, &coefficients);
    let fields = Fields { sphere: sphere.clone(), fields: vec![half], batched: false };
    let (powers, index) = args::powers(&fields, &DeviceOptions { threads, ..Default::default() })?;
    let mut power = powers.into_iter().next().unwrap_or_default();
    args::guard(&mut power, &index, title, None, global)?;
    encoder.set("P", &power)?;
    let statistics = encoder.encode(&fields.fields[0])?;
    Ok(Member { title, name, coefficients, power, statistics })
}

/// A density of mean 1 with filaments and knots, as coefficients.
///
/// The zero lines of a smooth Gaussian field form a network; a density that peaks on them, times a log-normal one, looks like the web of galaxies.
fn cosmic_web(L: usize, seed: u64, threads: usize) -> Result<Vec<f64>, CliError> {
    let mut sky = Sky::new(L, threads)?;
    // Spectra fall as (l + 10)^slope and end near l = end.
    let mut normal = |member: usize, slope: f64, end: f64| -> Result<Vec<f64>, CliError> {
        let power = |l: f64| (l + 10.0).powf(slope) * (-(l / end).powi(2)).exp();
        let spectrum: Vec<f64> = (0..L).map(|l| if l < 2 { 0.0 } else { power(l as f64) }).collect();
        let mut map = sky.synthesis(&gaussian(L, &spectrum, seed, member))?;
        let scale = (map.iter().map(|x| x * x).sum::<f64>() / map.len() as f64).sqrt();
        map.iter_mut().for_each(|x| *x /= scale);
        Ok(map)
    };
    // Filaments have a fifth of the width of the cells they enclose, which L must resolve.
    let end = L as f64 / 5.0;
    let (ridges, knots) = (normal(1, -1.0, end)?, normal(2, -2.5, 1.5 * end)?);
    let density: Vec<f64> = ridges.iter().zip(&knots).map(|(r, k)| (0.7 * k).exp() * (0.1 + (-(r / 0.25).powi(2)).exp())).collect();
    let mut coefficients = sky.analysis(&density)?;
    let mean = coefficients[0] / (4.0 * std::f64::consts::PI).sqrt();
    // Products of band-limited fields reach beyond L; a smooth end of the spectrum avoids ringing.
    for m in 0..L {
        for ell in m..L {
            let taper = (-(ell as f64 / (0.9 * L as f64)).powi(8)).exp();
            let k = 2 * index(L, ell, m);
            coefficients[k] *= taper / mean;
            coefficients[k + 1] *= if m == 0 { 0.0 } else { taper / mean };
        }
    }
    Ok(coefficients)
}

/// A Gaussian field with exactly the spectrum and the mean of another.
fn gaussian_twin(L: usize, coefficients: &[f64], seed: u64) -> Vec<f64> {
    let wanted = spectrum(L, coefficients);
    let mut twin = gaussian(L, &vec![1.0; L], seed, 3);
    let drawn = spectrum(L, &twin);
    for m in 0..L {
        for ell in m..L {
            let factor = if drawn[ell] > 0.0 { (wanted[ell] / drawn[ell]).sqrt() } else { 0.0 };
            let k = 2 * index(L, ell, m);
            twin[k] *= factor;
            twin[k + 1] *= factor;
        }
    }
    twin[0] = coefficients[0];
    twin
}

/// Triangular coefficients of a real Gaussian field with that spectrum; the same on every machine.
fn gaussian(L: usize, spectrum: &[f64], seed: u64, member: usize) -> Vec<f64> {
    triangular_of_half(L, &gaussian_with_spectrum(L, spectrum, seed, member))
}

/// Mean over directions of a `[scales, directions]` array.
fn per_scale(values: &[f64]) -> Vec<f64> {
    let G = 2 * N - 1;
    values.chunks_exact(G).map(|row| row.iter().sum::<f64>() / G as f64).collect()
}

fn values<'a>(member: &'a Member, name: &str) -> &'a [f64] {
    member.statistics.get(name).map_or(&[], |array| &array.re)
}

/// Root mean square of a statistic over its entries with scales from `first` on; the first index of S3 and S4 is their coarsest scale.
fn rms(member: &Member, name: &str, first: usize) -> f64 {
    let Some(array) = member.statistics.get(name) else { return 0.0 };
    let chosen = array.re.iter().zip(&array.index.rows).filter(|(_, row)| row.first().is_some_and(|j| *j >= first as i64));
    let (sum, n) = chosen.fold((0.0, 0), |(sum, n), (x, _)| (sum + x * x, n + 1));
    (sum / f64::from(n.max(1))).sqrt()
}

/// Power and sparsity per scale, and how far from Gaussian each field is.
fn table(sphere: &Sphere, members: &[Member]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "S2 = <|W|^2> is the power of a scale; S1 = <|W|> / sqrt(S2) is 0.80 (a real Gaussian field) or less where few places hold the power\n"
    );
    let _ = write!(text, "{:>5} {:>12}", "scale", "degrees");
    for member in members {
        let _ = write!(text, " | {:>13} S2 {:>6} S1", member.title, "");
    }
    let _ = writeln!(text);
    let columns: Vec<(Vec<f64>, Vec<f64>)> = members.iter().map(|m| (per_scale(&m.power), per_scale(values(m, "S1")))).collect();
    for (k, j) in sphere.scales().enumerate() {
        // kappa_j(ell) lives on 2^(j-1) < ell < 2^(j+1).
        let (from, to) = (((1usize << j) / 2 + 1).min(sphere.L - 1), ((1usize << (j + 1)) - 1).min(sphere.L - 1));
        let _ = write!(text, "{j:>5} {:>12}", format!("{from}..{to}"));
        for (s2, s1) in &columns {
            let _ = write!(text, " | {:>16.4e} {:>9.4}", s2.get(k).copied().unwrap_or(0.0), s1.get(k).copied().unwrap_or(0.0));
        }
        let _ = writeln!(text);
    }
    // Coarser scales have too few degrees of freedom to tell anything from chance.
    let first = 3.min(sphere.J().saturating_sub(1));
    let _ = writeln!(text, "\nnon-Gaussianity: rms over scales j >= {first} of S3 = Cov[W_1, W_1 |W_2|] and S4, normalised by power");
    for member in members {
        let _ = writeln!(text, "  {:<14} S3 {:.4}   S4 {:.4}", member.title, rms(member, "S3", first), rms(member, "S4", first));
    }
    if let [web, twin, ..] = members {
        let _ = writeln!(text, "  S3 is {:.1} times larger at the same power spectrum", rms(web, "S3", first) / rms(twin, "S3", first));
    }
    text
}

fn draw(path: &Path, sphere: &Sphere, members: &[Member]) -> Result<(), CliError> {
    let L = sphere.L;
    let panels: Vec<Panel> = members
        .iter()
        .map(|m| Panel::new(m.title, figure::Field::Coefficients { L, data: &m.coefficients }).colours(ColourMap::Viridis).range(0.0, 4.0))
        .collect();
    let spectra = members
        .iter()
        .enumerate()
        .map(|(k, m)| {
            let points = spectrum(L, &m.coefficients).into_iter().enumerate().skip(1).map(|(ell, c)| (ell as f64, c)).collect();
            Series::new(m.title, if k == 0 { Style::Line } else { Style::Dashed }, points)
        })
        .collect();
    let bars = |of: &dyn Fn(&Member) -> Vec<f64>| -> Vec<Series> {
        let series = |m: &Member| Series::new("", Style::Bars, sphere.scales().map(|j| j as f64).zip(of(m)).collect());
        members.iter().map(series).collect()
    };
    let plots = [
        Plot { title: "power spectrum".into(), x_label: "degree ell".into(), y_label: "C_{ell}".into(), log_x: true, log_y: true, series: spectra },
        Plot {
            title: "S2, power per scale".into(),
            x_label: "scale j".into(),
            y_label: "S2".into(),
            log_y: true,
            series: bars(&|m| per_scale(&m.power)),
            ..Plot::default()
        },
        Plot {
            title: "S1 / sqrt(S2), low where sparse".into(),
            x_label: "scale j".into(),
            y_label: "S1 / sqrt(S2)".into(),
            series: bars(&|m| per_scale(values(m, "S1"))),
            ..Plot::default()
        },
    ];
    Ok(figure::report(path, &panels, &plots)?)
}

fn save(path: &Path, sphere: &Sphere, members: &[Member], seed: u64) -> Result<(), CliError> {
    let L = sphere.L;
    let mut arrays = Vec::new();
    for member in members {
        let name = |what: &str| format!("{}_{what}", member.name);
        arrays.push((name("flm"), NamedArray::C128 { shape: vec![L, L], data: half_of_triangular(L, &member.coefficients) }));
        arrays.push((name("normalisation"), NamedArray::F64 { shape: vec![member.power.len()], data: member.power.clone() }));
        for array in &member.statistics.arrays {
            let shape = if array.index.columns.is_empty() { vec![] } else { vec![array.re.len()] };
            arrays.push((name(&array.name), NamedArray::F64 { shape, data: array.re.clone() }));
        }
    }
    for array in members.first().map(|m| m.statistics.arrays.as_slice()).unwrap_or_default() {
        let table = NamedArray::I64 { shape: vec![array.index.rows.len(), array.index.columns.len()], data: array.index.rows.concat() };
        arrays.push((format!("{}_index", array.name), table));
        arrays.push((format!("{}_index_columns", array.name), NamedArray::Texts(array.index.columns.clone())));
    }
    let metadata = serde_json::json!({
        "scatterc": env!("CARGO_PKG_VERSION"),
        "domain": sphere.describe(),
        "name": "s2scat",
        "seed": seed,
        "members": members.iter().map(|m| m.name).collect::<Vec<_>>(),
    });
    arrays.push(("metadata".into(), NamedArray::Text(metadata.to_string())));
    Ok(write_npz_atomic(path, &arrays)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_has_the_same_spectrum_and_mean() {
        let L = 16;
        let spectrum_of: Vec<f64> = (0..L).map(|l| (l as f64 + 2.0).powi(-2)).collect();
        let field = gaussian(L, &spectrum_of, 5, 0);
        let twin = gaussian_twin(L, &field, 7);
        for (a, b) in spectrum(L, &field).iter().zip(spectrum(L, &twin)).skip(1) {
            assert!((a - b).abs() <= 1e-12 * a);
        }
        assert_eq!(twin[0], field[0]);
        assert_ne!(twin, field);
        assert_eq!(triangular_of_half(L, &half_of_triangular(L, &twin)), twin);
    }
}
