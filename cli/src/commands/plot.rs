//! `scatterc plot`: a field as a map and a power spectrum.

use crate::args::{self, CliError, DomainOptions, FieldOptions, Global};
use crate::figure::{self, ColourMap, Panel, Plot, Series, View};
use crate::io::check_writable;
use crate::transforms;
use std::path::PathBuf;

/// Fields shown of a batch.
const MOST_PANELS: usize = 6;

/// A field as a Mollweide map with its power spectrum.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Coefficients, a map on the Gauss-Legendre grid, or a HEALPix map.
    #[arg(value_name = "MAP")]
    pub input: PathBuf,
    /// The picture.
    #[arg(long, short, value_name = "FILE.png")]
    pub output: PathBuf,
    /// Colours.
    #[arg(long, value_parser = ["viridis", "planck", "diverging"], default_value = "viridis", alias = "colors")]
    pub colours: String,
    /// Above the map; default: the file's name.
    #[arg(long)]
    pub title: Option<String>,
    /// Beside the colour bar.
    #[arg(long, default_value = "")]
    pub unit: String,
    /// A square instead of the whole sphere: longitude and latitude of its middle and its side, in degrees (gnomonic projection, north up, east on the left).
    #[arg(long, value_name = "LON,LAT,SIZE", value_parser = View::gnomonic, allow_hyphen_values = true)]
    pub gnomonic: Option<View>,
    /// The file holds images or series instead: shown as they are, with their spectra.
    #[arg(long, value_enum, default_value = "sphere")]
    pub domain: args::DomainKind,
    /// Cut coefficients to this bandlimit.
    #[arg(long, value_name = "L")]
    pub bandlimit: Option<usize>,
    /// Input.
    #[command(flatten)]
    pub field: FieldOptions,
    /// Threads; 0 means all cores.
    #[arg(long, value_name = "T", default_value_t = 0)]
    pub threads: usize,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    check_writable(&args.output)?;
    if args.domain == args::DomainKind::Healpix {
        return super::healpix::plot(args, global);
    }
    if matches!(args.domain, args::DomainKind::Plane | args::DomainKind::Line) {
        if args.gnomonic.is_some() {
            return Err(CliError::Unavailable("`--gnomonic` shows a part of a sphere, not of an image or a series".into()));
        }
        return super::planar::plot(args, global);
    }
    let device = args::DeviceOptions { threads: args.threads, ..Default::default() };
    let domain = DomainOptions { bandlimit: args.bandlimit, directions: 1, ..Default::default() };
    let fields = args::load_field(&args.input, &domain, &args.field, &device, global)?;
    let L = fields.sphere.L;
    let title = args.title.clone().unwrap_or_else(|| args::file_name(&args.input));
    let shown = fields.fields.len().min(MOST_PANELS);
    if shown < fields.fields.len() {
        global.note(&format!("{} fields; the first {shown} are shown", fields.fields.len()));
    }
    let mut coefficients = Vec::with_capacity(shown);
    for field in &fields.fields[..shown] {
        coefficients.push(transforms::triangular(fields.sphere.input, L, field, args.threads)?);
    }
    let colours = ColourMap::from_name(&args.colours).unwrap_or_default();
    let name = |k: usize| if shown == 1 { title.clone() } else { format!("{title} [{k}]") };
    let panels: Vec<Panel> = coefficients
        .iter()
        .enumerate()
        .map(|(k, data)| {
            Panel::new(name(k), figure::Field::Coefficients { L, data })
                .colours(colours)
                .unit(args.unit.clone())
                .view(args.gnomonic.unwrap_or_default())
        })
        .collect();
    let series = coefficients
        .iter()
        .enumerate()
        .map(|(k, data)| {
            let points = transforms::spectrum(L, data).into_iter().enumerate().skip(1).map(|(ell, c)| (ell as f64, c)).collect();
            Series::line(if shown == 1 { String::new() } else { name(k) }, points)
        })
        .collect();
    let plot = Plot { title: "power spectrum".into(), x_label: "degree ell".into(), y_label: "C_{ell}".into(), log_x: true, log_y: true, series };
    figure::report(&args.output, &panels, &[plot])?;
    global.note(&format!("{}: L = {L}", args.output.display()));
    Ok(())
}
