//! Pictures as PNG: maps of the sphere in the Mollweide projection, line and bar plots, and both composed into one report.
//!
//! Text in titles, labels and legends may hold `_{..}` and `^{..}` for subscripts and superscripts.
//!
//! Holds a small canvas with analytic antialiasing, text in an embedded font, axes, legends and colour bars; the same input gives the
//! same bytes everywhere. Refuses computation of what is shown: statistics and spectra come in as numbers.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use ab_glyph::{Font, FontRef, Glyph, GlyphId, ScaleFont, point};
use scatterc::kernels::Serial;
use scatterc::kernels::healpix::{HealpixError, synthesis_grid};

use crate::io::{IoError, write_bytes_atomic};

/// Width of every picture, pixels: two columns of a paper at 250 dots per inch.
const WIDTH: usize = 1800;

/// Size of ordinary text, pixels per em; everything else is measured in it.
const EM: f64 = 22.0;

/// DejaVu Sans, whose licence beside it allows embedding.
static FONT: &[u8] = include_bytes!("fonts/DejaVuSans.ttf");

type Colour = [f32; 3];

const WHITE: Colour = [1.0; 3];
const INK: Colour = [0.13, 0.13, 0.13];
const FAINT: Colour = [0.90, 0.90, 0.90];
/// Where a map has no finite value.
const MISSING: Colour = [0.72, 0.72, 0.72];

/// Series colours that most kinds of colour vision tell apart.
const CYCLE: [Colour; 7] =
    [[0.00, 0.45, 0.70], [0.84, 0.37, 0.00], [0.00, 0.62, 0.45], [0.80, 0.47, 0.65], [0.90, 0.62, 0.00], [0.34, 0.71, 0.91], [0.35, 0.35, 0.35]];

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// A panel's numbers do not fit together.
    #[error("{}: panel {title:?}: expected {expected}, found {found}", .path.display())]
    Panel {
        /// The picture.
        path: PathBuf,
        /// Title of the panel.
        title: String,
        /// What is needed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Nothing to draw.
    #[error("{}: expected at least one map or plot, found none", .path.display())]
    Empty {
        /// The picture.
        path: PathBuf,
    },
    /// Coefficients of a wrong length.
    #[error("{}: panel {title:?}: {source}", .path.display())]
    Coefficients {
        /// The picture.
        path: PathBuf,
        /// Title of the panel.
        title: String,
        /// What is wrong with them.
        source: HealpixError,
    },
    /// The PNG encoder failed.
    #[error("{}: expected a PNG image of {expected}, found: {found}", .path.display())]
    Encode {
        /// The picture.
        path: PathBuf,
        /// Its size.
        expected: String,
        /// What the encoder said.
        found: String,
    },
    /// The file could not be written.
    #[error(transparent)]
    Output(#[from] IoError),
}

/// Colours of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColourMap {
    /// Perceptually uniform, dark blue to yellow; for densities and temperatures.
    #[default]
    Viridis,
    /// Blue, parchment, red; for fluctuations about zero, as on maps of the microwave background.
    Planck,
    /// Blue, white, red; for differences.
    Diverging,
}

impl ColourMap {
    /// By the names `viridis`, `planck` and `diverging`.
    pub fn from_name(name: &str) -> Option<ColourMap> {
        match name {
            "viridis" => Some(ColourMap::Viridis),
            "planck" => Some(ColourMap::Planck),
            "diverging" => Some(ColourMap::Diverging),
            _ => None,
        }
    }

    /// Whether zero belongs in the middle.
    fn is_symmetric(self) -> bool {
        !matches!(self, ColourMap::Viridis)
    }

    fn anchors(self) -> &'static [[u8; 3]] {
        match self {
            ColourMap::Viridis => &[
                [68, 1, 84],
                [72, 24, 106],
                [71, 45, 123],
                [66, 64, 134],
                [59, 82, 139],
                [51, 99, 141],
                [44, 114, 142],
                [38, 130, 142],
                [33, 145, 140],
                [31, 160, 136],
                [40, 174, 128],
                [63, 188, 115],
                [94, 201, 98],
                [132, 212, 75],
                [173, 220, 48],
                [216, 226, 25],
                [253, 231, 37],
            ],
            ColourMap::Planck => &[
                [10, 20, 140],
                [20, 90, 215],
                [60, 170, 235],
                [160, 215, 235],
                [250, 240, 220],
                [250, 205, 120],
                [240, 140, 50],
                [200, 60, 25],
                [115, 10, 20],
            ],
            ColourMap::Diverging => &[
                [25, 45, 115],
                [50, 95, 175],
                [110, 160, 215],
                [190, 215, 238],
                [248, 248, 248],
                [243, 205, 185],
                [224, 135, 110],
                [185, 55, 55],
                [110, 10, 35],
            ],
        }
    }

    /// Colour at 0 <= t <= 1; values beyond take the colour of the end.
    fn colour(self, t: f64) -> Colour {
        let anchors = self.anchors();
        let at = t.clamp(0.0, 1.0) * (anchors.len() - 1) as f64;
        let i = (at as usize).min(anchors.len() - 2);
        let f = (at - i as f64) as f32;
        std::array::from_fn(|c| {
            let (a, b) = (f32::from(anchors[i][c]), f32::from(anchors[i + 1][c]));
            (a + f * (b - a)) / 255.0
        })
    }
}

/// A field on the sphere, in one of the ways a caller may have it.
pub enum Field<'a> {
    /// Samples `[n_theta, n_phi]` on rings of ascending colatitude `theta` (radians) at longitudes 2 pi k / n_phi.
    Grid {
        /// `[n_theta]`, radians, ascending.
        theta: &'a [f64],
        /// Longitudes per ring.
        n_phi: usize,
        /// `[n_theta, n_phi]`.
        values: &'a [f64],
    },
    /// Triangular coefficients of a real field, as [`scatterc::kernels::healpix`] has them.
    Coefficients {
        /// Bandlimit.
        L: usize,
        /// `[L (L + 1) / 2]` complex interleaved.
        data: &'a [f64],
    },
    /// A function of (theta, phi), radians; NaN where there is no value.
    Sampler(&'a dyn Fn(f64, f64) -> f64),
}

/// What of the sphere a map shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum View {
    /// All of it: Mollweide's projection, longitude zero in the middle.
    #[default]
    Mollweide,
    /// A square around a point, projected from the centre of the sphere onto the plane that touches it there (gnomonic), north up.
    Gnomonic {
        /// Colatitude of the middle, radians.
        theta: f64,
        /// Longitude of the middle, radians.
        phi: f64,
        /// Side of the square, as an angle at the centre of the sphere; radians, below pi.
        size: f64,
    },
}

impl View {
    /// The gnomonic view of a text `LON,LAT,SIZE` in degrees: latitude from -90 to 90, size above 0 and at most 150.
    pub fn gnomonic(text: &str) -> Result<View, String> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|x| x.trim().parse().ok().filter(|x: &f64| x.is_finite())).collect();
        match numbers.as_deref() {
            Some([_, latitude, _]) if latitude.abs() > 90.0 => Err(format!("a latitude from -90 to 90 degrees, found {latitude}")),
            Some([_, _, size]) if *size <= 0.0 || *size > 150.0 => Err(format!("a size above 0 and up to 150 degrees, found {size}")),
            Some([longitude, latitude, size]) => {
                Ok(View::Gnomonic { theta: (90.0 - latitude).to_radians(), phi: longitude.to_radians(), size: size.to_radians() })
            }
            _ => Err(format!("three numbers LON,LAT,SIZE in degrees, found `{text}`")),
        }
    }

    /// Height of a map of width 1.
    fn height(self) -> f64 {
        if self == View::Mollweide { 0.5 } else { 1.0 }
    }

    /// (theta, phi) of a point, x to the right and y upwards, in units of half the height of the map.
    fn inverse(self, x: f64, y: f64) -> Option<(f64, f64)> {
        match self {
            View::Mollweide => mollweide_inverse(x, y),
            View::Gnomonic { theta, phi, size } => {
                if x.abs() > 1.0 || y.abs() > 1.0 {
                    return None;
                }
                // Seen from inside: east is on the left.
                let (east, north) = (-x * (0.5 * size).tan(), y * (0.5 * size).tan());
                let (along, up) = (theta.sin() + north * -theta.cos(), theta.cos() + north * theta.sin());
                Some((up.atan2(along.hypot(east)).mul_add(-1.0, PI / 2.0), phi + east.atan2(along)))
            }
        }
    }

    /// Colatitudes that the map reaches.
    fn colatitudes(self) -> (f64, f64) {
        match self {
            View::Mollweide => (0.0, PI),
            View::Gnomonic { theta, size, .. } => {
                let reach = ((0.5 * size).tan() * std::f64::consts::SQRT_2).atan() * 1.02;
                ((theta - reach).max(0.0), (theta + reach).min(PI))
            }
        }
    }
}

/// A map of the sphere.
pub struct Panel<'a> {
    /// Above the map.
    pub title: String,
    /// What is shown.
    pub field: Field<'a>,
    /// Values at the ends of the colour bar. Without it: all but the outermost 0.2 % of the shown values at either end, about zero for
    /// colour maps with a middle.
    pub range: Option<(f64, f64)>,
    /// The colours.
    pub colours: ColourMap,
    /// Beside the colour bar; may be empty.
    pub unit: String,
    /// What of the sphere is shown.
    pub view: View,
}

impl<'a> Panel<'a> {
    /// A panel with its range found from the values.
    pub fn new(title: impl Into<String>, field: Field<'a>) -> Panel<'a> {
        Panel { title: title.into(), field, range: None, colours: ColourMap::default(), unit: String::new(), view: View::default() }
    }

    /// The same panel with another part of the sphere.
    pub fn view(mut self, view: View) -> Panel<'a> {
        self.view = view;
        self
    }

    /// The same panel with other colours.
    pub fn colours(mut self, colours: ColourMap) -> Panel<'a> {
        self.colours = colours;
        self
    }

    /// The same panel with a fixed range.
    pub fn range(mut self, low: f64, high: f64) -> Panel<'a> {
        self.range = Some((low, high));
        self
    }

    /// The same panel with a unit.
    pub fn unit(mut self, unit: impl Into<String>) -> Panel<'a> {
        self.unit = unit.into();
        self
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// A line through the points.
    #[default]
    Line,
    /// A broken line.
    Dashed,
    /// Discs.
    Points,
    /// A line with discs on it.
    LinePoints,
    /// Horizontal steps centred on the points, for histograms.
    Steps,
    /// Bars from zero; several series of bars stand side by side.
    Bars,
}

/// Named points of a plot. Points that are not finite, or not positive on a logarithmic axis, interrupt the line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// In the legend; empty for none.
    pub label: String,
    /// (x, y), in drawing order.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

impl Series {
    /// A series with a style.
    pub fn new(label: impl Into<String>, style: Style, points: Vec<(f64, f64)>) -> Series {
        Series { label: label.into(), points, style }
    }

    /// A plain line.
    pub fn line(label: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
        Series::new(label, Style::Line, points)
    }
}

/// One set of axes with its series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plot {
    /// Above the axes.
    pub title: String,
    /// Below.
    pub x_label: String,
    /// On the left.
    pub y_label: String,
    /// Logarithmic x axis.
    pub log_x: bool,
    /// Logarithmic y axis.
    pub log_y: bool,
    /// What is plotted.
    pub series: Vec<Series>,
}

/// Maps only, up to three in a row; see [`report`].
pub fn mollweide(panels: &[Panel], path: &Path) -> Result<(), FigureError> {
    report(path, panels, &[])
}

/// Plots only, up to three in a row; see [`report`].
pub fn curves(plots: &[Plot], path: &Path) -> Result<(), FigureError> {
    report(path, &[], plots)
}

/// Writes one PNG, 1800 pixels wide, with the maps on top and the plots below, atomically.
///
/// Maps show the sphere from outside the usual way round for the sky: longitude zero in the middle, growing to the left.
///
/// Error: [`FigureError`]; an earlier file of that name is then untouched.
pub fn report(path: &Path, maps: &[Panel], plots: &[Plot]) -> Result<(), FigureError> {
    let canvas = compose(path, maps, plots)?;
    write_bytes_atomic(path, &canvas.encode(path)?)?;
    Ok(())
}

/// Density of `values` in `bins` equal bins over their range, as points at bin centres for [`Style::Steps`]; the sum times the bin width is 1.
pub fn histogram(values: &[f64], bins: usize) -> Vec<(f64, f64)> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = (high - low) / bins as f64;
    if bins == 0 || finite.is_empty() || width <= 0.0 || !width.is_finite() {
        return Vec::new();
    }
    let mut counts = vec![0usize; bins];
    for value in &finite {
        counts[(((value - low) / width) as usize).min(bins - 1)] += 1;
    }
    counts.iter().enumerate().map(|(i, &count)| (low + (i as f64 + 0.5) * width, count as f64 / (finite.len() as f64 * width))).collect()
}

// ----------------------------------------------------------------------------------------------------------------- layout

/// A rectangle in pixels, y downwards.
#[derive(Clone, Copy)]
struct Frame {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// Frames of `n` cells with `height(width)` each, in rows of equal cells; a last row that is not full is centred. Returns the bottom edge.
fn grid(n: usize, top: f64, height: impl Fn(f64) -> f64) -> (Vec<Frame>, f64) {
    if n == 0 {
        return (Vec::new(), top);
    }
    let columns = match n {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    };
    let margin = EM;
    let gap = EM * 1.2;
    // A single cell at full width would dwarf its text.
    let room = WIDTH as f64 - 2.0 * margin;
    let w = if columns == 1 { room * 0.66 } else { (room - gap * (columns - 1) as f64) / columns as f64 };
    let h = height(w);
    let mut frames = Vec::with_capacity(n);
    let mut y = top;
    for row in 0..n.div_ceil(columns) {
        let here = columns.min(n - row * columns);
        let used = w * here as f64 + gap * (here - 1) as f64;
        let left = (WIDTH as f64 - used) / 2.0;
        for i in 0..here {
            let x = left + i as f64 * (w + gap);
            frames.push(Frame { x, y, w, h });
        }
        y += h + gap;
    }
    (frames, y - gap)
}

fn compose(path: &Path, maps: &[Panel], plots: &[Plot]) -> Result<Canvas, FigureError> {
    if maps.is_empty() && plots.is_empty() {
        return Err(FigureError::Empty { path: path.to_owned() });
    }
    let height = maps.iter().map(|panel| panel.view.height()).fold(0.5, f64::max);
    let (map_frames, bottom) = grid(maps.len(), EM * 0.6, |w| w * height + EM * 4.6);
    let top = if maps.is_empty() { EM * 0.8 } else { bottom + EM * 1.2 };
    let (plot_frames, bottom) = if plots.is_empty() { (Vec::new(), bottom) } else { grid(plots.len(), top, |w| (w * 0.72).min(EM * 30.0)) };
    let mut canvas = Canvas::new(WIDTH, (bottom + EM * 0.8).ceil() as usize);
    for (panel, frame) in maps.iter().zip(map_frames) {
        draw_map(&mut canvas, frame, panel, path)?;
    }
    for (plot, frame) in plots.iter().zip(plot_frames) {
        draw_plot(&mut canvas, frame, plot);
    }
    Ok(canvas)
}

// ------------------------------------------------------------------------------------------------------------------- maps

/// Samples on rings, interpolated bilinearly.
struct Rings<'a> {
    theta: &'a [f64],
    n_phi: usize,
    values: &'a [f64],
}

impl Rings<'_> {
    fn at(&self, theta: f64, phi: f64) -> f64 {
        let column = (phi / (2.0 * PI)).rem_euclid(1.0) * self.n_phi as f64;
        let (c0, fc) = (column as usize % self.n_phi, column.fract());
        let c1 = (c0 + 1) % self.n_phi;
        let along = |row: usize| {
            let row = &self.values[row * self.n_phi..(row + 1) * self.n_phi];
            row[c0] * (1.0 - fc) + row[c1] * fc
        };
        // Beyond the first and last ring the polar caps repeat them.
        let below = self.theta.partition_point(|&t| t <= theta);
        if below == 0 {
            return along(0);
        }
        if below == self.theta.len() {
            return along(below - 1);
        }
        let (t0, t1) = (self.theta[below - 1], self.theta[below]);
        let f = (theta - t0) / (t1 - t0);
        along(below - 1) * (1.0 - f) + along(below) * f
    }
}

/// Inverse Mollweide projection: (theta, phi) of a point of the unit-height ellipse x^2 / 4 + y^2 < 1, y upwards, x to the right.
fn mollweide_inverse(x: f64, y: f64) -> Option<(f64, f64)> {
    if x * x / 4.0 + y * y >= 1.0 {
        return None;
    }
    let tau = y.asin();
    let sin_latitude = (2.0 * tau + (2.0 * tau).sin()) / PI;
    let longitude = PI * x / (2.0 * tau.cos());
    Some((sin_latitude.clamp(-1.0, 1.0).acos(), -longitude))
}

fn draw_map(canvas: &mut Canvas, frame: Frame, panel: &Panel, path: &Path) -> Result<(), FigureError> {
    let wrong = |expected: &str, found: String| FigureError::Panel {
        path: path.to_owned(),
        title: panel.title.clone(),
        expected: expected.to_owned(),
        found,
    };
    let check = |theta: &[f64], n_phi: usize, values: &[f64]| {
        if theta.is_empty() || n_phi == 0 || values.len() != theta.len() * n_phi {
            return Err(wrong(&format!("n_theta * n_phi = {} * {n_phi} values, neither zero", theta.len()), format!("{} values", values.len())));
        }
        if !theta.iter().all(|t| t.is_finite()) || theta.windows(2).any(|t| t[0] >= t[1]) {
            return Err(wrong("ascending colatitudes", "others".to_owned()));
        }
        Ok(())
    };
    if let Some((low, high)) = panel.range
        && !(low.is_finite() && high.is_finite() && low < high)
    {
        return Err(wrong("a range with low < high", format!("({low}, {high})")));
    }

    // The ellipse or the square.
    let top = frame.y + EM * 1.9;
    let half_width = frame.w / 2.0 - 2.0;
    let half_height = half_width * panel.view.height();
    let (centre_x, centre_y) = (frame.x + frame.w / 2.0, top + half_height + 1.0);

    let own_theta;
    let own_values;
    let rings = match &panel.field {
        Field::Grid { theta, n_phi, values } => {
            check(theta, *n_phi, values)?;
            Some(Rings { theta, n_phi: *n_phi, values })
        }
        Field::Coefficients { L, data } => {
            // Rings finer than the picture's rows; longitudes as fine as the field needs to be sampled without aliasing.
            let n_theta = (1.5 * half_height * 2.0) as usize;
            let (from, to) = panel.view.colatitudes();
            let share = match panel.view {
                View::Mollweide => 1.0,
                View::Gnomonic { size, .. } => (2.0 * PI / size).min(8.0 * *L as f64 / (2.5 * half_width)).max(1.0),
            };
            let n_phi = (2 * L).max((2.5 * half_width * share) as usize).next_power_of_two();
            own_theta = (0..n_theta).map(|i| from + (to - from) * (i as f64 + 0.5) / n_theta as f64).collect::<Vec<f64>>();
            own_values = synthesis_grid(&Serial, *L, data, &own_theta, n_phi).map_err(|source| FigureError::Coefficients {
                path: path.to_owned(),
                title: panel.title.clone(),
                source,
            })?;
            Some(Rings { theta: &own_theta, n_phi, values: &own_values })
        }
        Field::Sampler(_) => None,
    };
    let value = |theta: f64, phi: f64| match (&rings, &panel.field) {
        (Some(rings), _) => rings.at(theta, phi),
        (None, Field::Sampler(sampler)) => sampler(theta, phi),
        (None, _) => f64::NAN,
    };

    // Four values per pixel, so that fine detail is averaged rather than skipped.
    let (x0, y0) = ((centre_x - half_width).floor() as i64 - 1, (centre_y - half_height).floor() as i64 - 1);
    let (nx, ny) = ((2.0 * half_width) as usize + 4, (2.0 * half_height) as usize + 4);
    let mut values = vec![None; nx * ny];
    for row in 0..ny {
        for column in 0..nx {
            let (mut sum, mut count) = (0.0, 0);
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let x = (x0 as f64 + column as f64 + dx - centre_x) / half_height;
                let y = (centre_y - (y0 as f64 + row as f64 + dy)) / half_height;
                if let Some((theta, phi)) = panel.view.inverse(x, y) {
                    sum += value(theta, phi);
                    count += 1;
                }
            }
            if count > 0 {
                values[row * nx + column] = Some(sum / f64::from(count));
            }
        }
    }

    let (low, high) = panel.range.unwrap_or_else(|| range_of(&values, panel.colours));
    for row in 0..ny {
        for column in 0..nx {
            let Some(value) = values[row * nx + column] else {
                continue;
            };
            let colour = if value.is_finite() { panel.colours.colour((value - low) / (high - low)) } else { MISSING };
            let (x, y) = (x0 + column as i64, y0 + row as i64);
            canvas.blend(x, y, colour, 1.0);
        }
    }
    if panel.view != View::Mollweide {
        canvas.outline(Frame { x: centre_x - half_width, y: centre_y - half_height, w: 2.0 * half_width, h: 2.0 * half_height }, 1.0, INK);
    }
    // The rim hides the staircase of whole pixels and is itself smooth: its distance is known to first order.
    let rim = 0.8;
    for row in 0..if panel.view == View::Mollweide { ny } else { 0 } {
        for column in 0..nx {
            let (px, py) = (x0 + column as i64, y0 + row as i64);
            let x = (px as f64 + 0.5 - centre_x) / half_width;
            let y = (py as f64 + 0.5 - centre_y) / half_height;
            let f = x * x + y * y - 1.0;
            let slope = 2.0 * ((x / half_width).powi(2) + (y / half_height).powi(2)).sqrt();
            let distance = f / slope.max(1e-12);
            if distance > 0.0 {
                canvas.blend(px, py, WHITE, distance.min(1.0) as f32);
            }
            let cover = (rim + 0.5 - distance.abs()).clamp(0.0, 1.0);
            if cover > 0.0 {
                canvas.blend(px, py, INK, cover as f32);
            }
        }
    }

    canvas.text(centre_x, frame.y + EM * 1.2, EM * 1.15, Anchor::Middle, &canvas.shorten(&panel.title, EM * 1.15, frame.w));

    // The colour bar, with its ends on either side.
    let bar_w = (frame.w * 0.46).round();
    let bar_h = (EM * 0.8).round();
    let bar_x = (centre_x - bar_w / 2.0).round();
    let bar_y = (top + 2.0 * half_height + EM * 0.9).round();
    for column in 0..bar_w as i64 {
        let colour = panel.colours.colour((column as f64 + 0.5) / bar_w);
        for row in 0..bar_h as i64 {
            canvas.blend(bar_x as i64 + column, bar_y as i64 + row, colour, 1.0);
        }
    }
    canvas.outline(Frame { x: bar_x, y: bar_y, w: bar_w, h: bar_h }, 1.0, INK);
    let baseline = bar_y + bar_h * 0.5 + EM * 0.34;
    let [low_text, high_text] = end_labels(low, high);
    canvas.text(bar_x - EM * 0.5, baseline, EM, Anchor::End, &low_text);
    let right = bar_x + bar_w + EM * 0.5;
    canvas.text(right, baseline, EM, Anchor::Start, &high_text);
    if !panel.unit.is_empty() {
        let used = canvas.text_width(&high_text, EM) + EM * 0.6;
        let room = frame.x + frame.w - right - used;
        canvas.text(right + used, baseline, EM, Anchor::Start, &canvas.shorten(&panel.unit, EM, room));
    }
    Ok(())
}

/// Ends of the colour bar for the values shown.
fn range_of(values: &[Option<f64>], colours: ColourMap) -> (f64, f64) {
    let mut finite: Vec<f64> = values.iter().flatten().copied().filter(|v| v.is_finite()).collect();
    if finite.is_empty() {
        return (0.0, 1.0);
    }
    finite.sort_unstable_by(f64::total_cmp);
    let cut = finite.len() / 500;
    let (low, high) = (finite[cut], finite[finite.len() - 1 - cut]);
    let (low, high) = if colours.is_symmetric() {
        let top = low.abs().max(high.abs());
        (-top, top)
    } else {
        (low, high)
    };
    if low < high {
        (low, high)
    } else {
        // A constant map takes the middle colour.
        let spread = low.abs().max(1.0) * 0.5;
        (low - spread, low + spread)
    }
}

/// Three significant digits of the larger end, the same decimals on both.
fn end_labels(low: f64, high: f64) -> [String; 2] {
    let top = low.abs().max(high.abs());
    let exponent = top.log10().floor() as i32;
    if top == 0.0 || (-3..5).contains(&exponent) {
        let decimals = (2 - exponent).clamp(0, 6) as usize;
        return [low, high].map(|v| minus(&format!("{v:.decimals$}")));
    }
    // Not by powi: 10^-320 is not a normal number, but the quotient is.
    [low, high].map(|v| scientific(v, 2))
}

/// a x 10^b with typographic exponent.
fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if value != 0.0 => {
            format!("{}×10{}", minus(mantissa), superscript(exponent.parse().unwrap_or(0)))
        }
        _ => "0".to_owned(),
    }
}

/// The hyphen of numbers replaced by a minus sign; a negative zero loses it.
fn minus(text: &str) -> String {
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) => format!("−{digits}"),
        Some(digits) => digits.to_owned(),
        None => text.to_owned(),
    }
}

fn superscript(n: i32) -> String {
    n.to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
        })
        .collect()
}

// ------------------------------------------------------------------------------------------------------------------- axes

/// One axis: its range in drawing coordinates (logarithms where the axis is logarithmic) and its marks.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Drawing coordinate and label.
    major: Vec<(f64, String)>,
    minor: Vec<f64>,
    /// Common power of ten of the labels, or empty.
    factor: String,
}

impl Axis {
    /// An axis around `values`, already in drawing coordinates. `hug` leaves no room at the ends, as for x.
    fn new(values: impl Iterator<Item = f64>, log: bool, hug: bool, from_zero: bool) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if from_zero && !log {
            low = low.min(0.0);
            high = high.max(0.0);
        }
        if high - low <= 1e-12 * high.abs().max(low.abs()) {
            let spread = if log { 0.5 } else { low.abs().max(1.0) * 0.5 };
            (low, high) = (low - spread, high + spread);
        }
        let room = (high - low) * if hug { 0.015 } else { 0.06 };
        let keep_low = from_zero && !log && low == 0.0;
        let keep_high = from_zero && !log && high == 0.0;
        low -= if keep_low { 0.0 } else { room };
        high += if keep_high { 0.0 } else { room };
        if log { Axis::logarithmic(low, high) } else { Axis::linear(low, high) }
    }

    fn linear(low: f64, high: f64) -> Axis {
        // 1, 2, 5 times a power of ten, so that there are three to eight marks.
        let rough = (high - low) / 7.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power);
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        let top = low.abs().max(high.abs());
        let exponent = top.log10().floor() as i32;
        let scaled = exponent >= 5 || exponent <= -3;
        let scale = if scaled { 10f64.powi(exponent) } else { 1.0 };
        let decimals = (-(step / scale).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
        let major = (first..=last)
            .map(|i| {
                let at = i as f64 * step;
                (at, minus(&format!("{:.decimals$}", at / scale)))
            })
            .collect();
        let parts = if (step / power).round() as i64 == 2 { 4 } else { 5 };
        let fine = step / f64::from(parts);
        let minor = ((low / fine).ceil() as i64..=(high / fine).floor() as i64).map(|i| i as f64 * fine).collect();
        Axis { low, high, log: false, major, minor, factor: if scaled { format!("×10{}", superscript(exponent)) } else { String::new() } }
    }

    fn logarithmic(low: f64, high: f64) -> Axis {
        let decades = (high.floor() - low.ceil()) as i64 + 1;
        let stride = (decades + 6).div_euclid(7).max(1);
        let label = |decade: i64| match decade {
            -1 => "0.1".to_owned(),
            0 => "1".to_owned(),
            1 => "10".to_owned(),
            2 => "100".to_owned(),
            _ => format!("10{}", superscript(decade as i32)),
        };
        let uniform = |decade: i64| {
            // Labels within 0.1 to 100 read better as plain numbers, if all are.
            if low >= -1.5 && high <= 2.5 { label(decade) } else { format!("10{}", superscript(decade as i32)) }
        };
        let mut major = Vec::new();
        let mut minor = Vec::new();
        for decade in low.floor() as i64..=high.ceil() as i64 {
            for digit in 1..10 {
                let at = decade as f64 + f64::from(digit).log10();
                if !(low..=high).contains(&at) {
                    continue;
                }
                if digit == 1 && decade.rem_euclid(stride) == 0 {
                    major.push((at, uniform(decade)));
                } else if decades <= 1 && matches!(digit, 2 | 5) {
                    let text = if (-4..6).contains(&decade) {
                        let value = f64::from(digit) * 10f64.powi(decade as i32);
                        format!("{value:.*}", (-decade).max(0) as usize)
                    } else {
                        format!("{digit}×10{}", superscript(decade as i32))
                    };
                    major.push((at, text));
                } else if stride == 1 || digit == 1 {
                    minor.push(at);
                }
            }
        }
        if major.len() < 2 {
            // Less than a factor of two between the ends: linear marks tell more.
            let linear = Axis::linear(10f64.powf(low), 10f64.powf(high));
            let logs = |at: f64| (at > 0.0).then(|| at.log10());
            major = linear.major.into_iter().filter_map(|(at, text)| Some((logs(at)?, text))).collect();
            return Axis { low, high, log: true, major, minor: Vec::new(), factor: linear.factor };
        }
        Axis { low, high, log: true, major, minor, factor: String::new() }
    }

    /// Drawing coordinate of a value, or nothing where the axis has no place for it.
    fn place(value: f64, log: bool) -> Option<f64> {
        if log {
            return (value > 0.0 && value.is_finite()).then(|| value.log10());
        }
        // Differences and quotients of what is drawn must not overflow or vanish.
        let drawn = if value.abs() < 1e-290 { 0.0 } else { value };
        (drawn.abs() <= 1e300).then_some(drawn)
    }
}

fn draw_plot(canvas: &mut Canvas, frame: Frame, plot: &Plot) {
    // Corners of every series in drawing coordinates; None where a line is interrupted.
    let placed: Vec<Vec<Option<(f64, f64)>>> = plot
        .series
        .iter()
        .map(|series| series.points.iter().map(|&(x, y)| Some((Axis::place(x, plot.log_x)?, Axis::place(y, plot.log_y)?))).collect())
        .collect();
    let n_bars = plot.series.iter().filter(|s| s.style == Style::Bars).count();
    let spacing = bar_spacing(&plot.series, &placed);
    let xs = placed.iter().zip(&plot.series).flat_map(|(points, series)| {
        // Bars and steps reach half a spacing beyond their points.
        let reach = match series.style {
            Style::Bars => spacing * 0.5,
            _ => 0.0,
        };
        points.iter().flatten().flat_map(move |p| [p.0 - reach, p.0 + reach])
    });
    let from_zero = plot.series.iter().any(|s| matches!(s.style, Style::Bars | Style::Steps));
    let x_axis = Axis::new(xs, plot.log_x, true, false);
    let y_axis = Axis::new(placed.iter().flatten().flatten().map(|p| p.1), plot.log_y, false, from_zero);

    let widest = y_axis.major.iter().map(|(_, text)| canvas.text_width(text, EM)).fold(0.0, f64::max);
    let left = frame.x + widest + EM * if plot.y_label.is_empty() { 0.9 } else { 2.3 };
    let right = frame.x + frame.w - EM * 0.9;
    let top = frame.y + EM * 1.9;
    let below = EM * if plot.x_label.is_empty() { 1.7 } else { 3.2 };
    let bottom = frame.y + frame.h - below;
    let area = Frame { x: left.round(), y: top.round(), w: (right - left).round().max(1.0), h: (bottom - top).round().max(1.0) };
    let to_x = |x: f64| area.x + (x - x_axis.low) / (x_axis.high - x_axis.low) * area.w;
    let to_y = |y: f64| area.y + area.h - (y - y_axis.low) / (y_axis.high - y_axis.low) * area.h;

    for (at, _) in &x_axis.major {
        canvas.line(&[(to_x(*at), area.y), (to_x(*at), area.y + area.h)], 1.0, FAINT, None);
    }
    for (at, _) in &y_axis.major {
        canvas.line(&[(area.x, to_y(*at)), (area.x + area.w, to_y(*at))], 1.0, FAINT, None);
    }

    let mut bar = 0;
    for (i, (series, points)) in plot.series.iter().zip(&placed).enumerate() {
        let colour = CYCLE[i % CYCLE.len()];
        match series.style {
            Style::Bars => {
                let full = spacing * 0.8;
                let each = full / n_bars as f64;
                let start = -full / 2.0 + bar as f64 * each;
                bar += 1;
                let zero = if y_axis.log { y_axis.low } else { y_axis.low.max(0.0).min(y_axis.high) };
                for (x, y) in points.iter().flatten() {
                    let (x0, x1) = (to_x(x + start), to_x(x + start + each));
                    let (y0, y1) = (to_y(*y).min(to_y(zero)), to_y(*y).max(to_y(zero)));
                    canvas.fill(Frame { x: x0 + 0.5, y: y0, w: (x1 - x0 - 1.0).max(1.0), h: y1 - y0 }, colour, 1.0);
                }
            }
            Style::Points | Style::LinePoints | Style::Line | Style::Dashed | Style::Steps => {
                if series.style != Style::Points {
                    let dash = (series.style == Style::Dashed).then_some((EM * 0.55, EM * 0.3));
                    for piece in points.split(Option::is_none) {
                        let piece: Vec<(f64, f64)> = piece.iter().flatten().copied().collect();
                        let corners = if series.style == Style::Steps { steps(&piece) } else { piece };
                        let path: Vec<(f64, f64)> = corners.into_iter().map(|(x, y)| (to_x(x), to_y(y))).collect();
                        canvas.line_within(area, &path, 2.6, colour, dash);
                    }
                }
                if matches!(series.style, Style::Points | Style::LinePoints) {
                    for (x, y) in points.iter().flatten() {
                        canvas.line_within(area, &[(to_x(*x), to_y(*y))], 9.0, colour, None);
                    }
                }
            }
        }
    }

    // Marks point inwards on all four sides.
    let (long, short) = (EM * 0.36, EM * 0.2);
    let xs = x_axis.major.iter().map(|(at, _)| (*at, long)).chain(x_axis.minor.iter().map(|at| (*at, short)));
    for (at, length) in xs {
        let x = to_x(at);
        canvas.line(&[(x, area.y + area.h), (x, area.y + area.h - length)], 1.2, INK, None);
        canvas.line(&[(x, area.y), (x, area.y + length)], 1.2, INK, None);
    }
    let ys = y_axis.major.iter().map(|(at, _)| (*at, long)).chain(y_axis.minor.iter().map(|at| (*at, short)));
    for (at, length) in ys {
        let y = to_y(at);
        canvas.line(&[(area.x, y), (area.x + length, y)], 1.2, INK, None);
        canvas.line(&[(area.x + area.w, y), (area.x + area.w - length, y)], 1.2, INK, None);
    }
    canvas.outline(area, 1.4, INK);

    // Labels that would touch their neighbour are left out.
    let mut free = f64::NEG_INFINITY;
    for (at, text) in &x_axis.major {
        let half = canvas.text_width(text, EM) / 2.0;
        let x = to_x(*at);
        if x - half > free {
            canvas.text(x, area.y + area.h + EM * 1.15, EM, Anchor::Middle, text);
            free = x + half + EM * 0.5;
        }
    }
    let mut free = f64::INFINITY;
    for (at, text) in &y_axis.major {
        let y = to_y(*at) + EM * 0.35;
        if y < free {
            canvas.text(area.x - EM * 0.4, y, EM, Anchor::End, text);
            free = y - EM * 1.05;
        }
    }
    let mut title_left = area.x;
    if !y_axis.factor.is_empty() {
        canvas.text(area.x, area.y - EM * 0.4, EM * 0.95, Anchor::Start, &y_axis.factor);
        title_left += canvas.text_width(&y_axis.factor, EM * 0.95) + EM * 0.5;
    }
    let x_label = match (plot.x_label.as_str(), x_axis.factor.as_str()) {
        (label, "") => label.to_owned(),
        ("", factor) => factor.to_owned(),
        (label, factor) => format!("{label}  ({factor})"),
    };
    canvas.text(area.x + area.w / 2.0, area.y + area.h + EM * 2.6, EM, Anchor::Middle, &canvas.shorten(&x_label, EM, area.w + EM * 2.0));
    if !plot.y_label.is_empty() {
        let text = canvas.shorten(&plot.y_label, EM, area.h + EM * 2.0);
        canvas.text_upwards(frame.x + EM, area.y + area.h / 2.0, EM, &text);
    }
    // Centred over the axes unless the factor is in the way.
    let title = canvas.shorten(&plot.title, EM * 1.1, area.x + area.w - title_left);
    let half = canvas.text_width(&title, EM * 1.1) / 2.0;
    let middle = (area.x + area.w / 2.0).max(title_left + half);
    canvas.text(middle, area.y - EM * 0.55, EM * 1.1, Anchor::Middle, &title);

    if placed.iter().all(|points| points.iter().flatten().next().is_none()) {
        canvas.text(area.x + area.w / 2.0, area.y + area.h / 2.0, EM, Anchor::Middle, "no data");
    }
    // What a legend would hide: points, and samples along lines and bars.
    let mut points = Vec::new();
    for (series, placed) in plot.series.iter().zip(&placed) {
        for piece in placed.split(Option::is_none) {
            let piece: Vec<(f64, f64)> = piece.iter().flatten().map(|&(x, y)| (to_x(x), to_y(y))).collect();
            points.extend_from_slice(&piece);
            let ends: Vec<((f64, f64), (f64, f64))> = match series.style {
                Style::Points => continue,
                Style::Bars => {
                    let zero = (area.y + area.h).min(to_y(0.0f64.max(y_axis.low)));
                    piece.iter().map(|&p| (p, (p.0, zero))).collect()
                }
                _ => piece.windows(2).map(|w| (w[0], w[1])).collect(),
            };
            for (a, b) in ends {
                let n = ((b.0 - a.0).hypot(b.1 - a.1) / EM).clamp(0.0, 1000.0) as usize;
                for k in 1..=n {
                    let f = k as f64 / (n + 1) as f64;
                    points.push((a.0 + f * (b.0 - a.0), a.1 + f * (b.1 - a.1)));
                }
            }
        }
    }
    draw_legend(canvas, area, plot, &points);
}

/// Smallest distance between neighbouring bars of a series, in drawing coordinates.
fn bar_spacing(series: &[Series], placed: &[Vec<Option<(f64, f64)>>]) -> f64 {
    let mut least = f64::INFINITY;
    for (series, points) in series.iter().zip(placed) {
        if series.style != Style::Bars {
            continue;
        }
        let mut xs: Vec<f64> = points.iter().flatten().map(|p| p.0).collect();
        xs.sort_unstable_by(f64::total_cmp);
        for pair in xs.windows(2) {
            if pair[1] > pair[0] {
                least = least.min(pair[1] - pair[0]);
            }
        }
    }
    if least.is_finite() { least } else { 1.0 }
}

/// Corners of a histogram's outline: a step around each point, half way to its neighbours.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let [first, .., last] = points else {
        return points.to_vec();
    };
    let n = points.len();
    let edge = |i: usize| (points[i - 1].0 + points[i].0) / 2.0;
    let mut corners = Vec::with_capacity(2 * n);
    corners.push((2.0 * first.0 - edge(1), first.1));
    for i in 1..n {
        corners.push((edge(i), points[i - 1].1));
        corners.push((edge(i), points[i].1));
    }
    corners.push((2.0 * last.0 - edge(n - 1), last.1));
    corners
}

/// The legend stands in the corner with the fewest points under it.
fn draw_legend(canvas: &mut Canvas, area: Frame, plot: &Plot, points: &[(f64, f64)]) {
    let entries: Vec<(usize, &Series)> = plot.series.iter().enumerate().filter(|(_, s)| !s.label.is_empty()).collect();
    if entries.is_empty() {
        return;
    }
    let size = EM * 0.92;
    let row = EM * 1.3;
    let sample = EM * 1.8;
    let labels: Vec<String> = entries.iter().map(|(_, s)| canvas.shorten(&s.label, size, area.w * 0.6)).collect();
    let widest = labels.iter().map(|l| canvas.text_width(l, size)).fold(0.0, f64::max);
    let (w, h) = (widest + sample + EM * 1.3, row * entries.len() as f64 + EM * 0.4);
    let gap = EM * 0.6;
    let corners = [
        (area.x + area.w - w - gap, area.y + gap),
        (area.x + gap, area.y + gap),
        (area.x + area.w - w - gap, area.y + area.h - h - gap),
        (area.x + gap, area.y + area.h - h - gap),
    ];
    let covered =
        |&(x, y): &(f64, f64)| points.iter().filter(|p| (x - EM..=x + w + EM).contains(&p.0) && (y - EM..=y + h + EM).contains(&p.1)).count();
    let Some(&(x, y)) = corners.iter().min_by_key(|corner| covered(corner)) else {
        return;
    };
    let frame = Frame { x: x.round(), y: y.round(), w: w.round(), h: h.round() };
    canvas.fill(frame, WHITE, 0.85);
    canvas.outline(frame, 1.0, [0.8; 3]);
    for (i, ((index, series), label)) in entries.iter().zip(&labels).enumerate() {
        let middle = y + EM * 0.2 + row * (i as f64 + 0.5);
        let colour = CYCLE[index % CYCLE.len()];
        let (x0, x1) = (x + EM * 0.4, x + EM * 0.4 + sample);
        match series.style {
            Style::Bars => canvas.fill(Frame { x: x0 + EM * 0.3, y: middle - EM * 0.35, w: sample - EM * 0.6, h: EM * 0.7 }, colour, 1.0),
            Style::Points => canvas.line(&[((x0 + x1) / 2.0, middle)], 9.0, colour, None),
            Style::LinePoints => {
                canvas.line(&[(x0, middle), (x1, middle)], 2.6, colour, None);
                canvas.line(&[((x0 + x1) / 2.0, middle)], 9.0, colour, None);
            }
            Style::Dashed => {
                canvas.line(&[(x0, middle), (x1, middle)], 2.6, colour, Some((EM * 0.55, EM * 0.3)));
            }
            Style::Line | Style::Steps => canvas.line(&[(x0, middle), (x1, middle)], 2.6, colour, None),
        }
        canvas.text(x1 + EM * 0.5, middle + size * 0.35, size, Anchor::Start, label);
    }
}

// ----------------------------------------------------------------------------------------------------------------- canvas

/// Which end of a text its position names.
#[derive(Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// A glyph of a line of text: pixels along the line and below its baseline.
struct Placed {
    id: GlyphId,
    scale: f32,
    along: f32,
    shift: f32,
}

/// Pixels in memory, with drawing that computes how much of each pixel is covered.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
    font: FontRef<'static>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, pixels: vec![WHITE; width * height], font: FontRef::try_from_slice(FONT).expect("the embedded font is whole") }
    }

    /// Mixes a colour into one pixel; outside the picture nothing happens.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, cover: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x < self.width && y < self.height {
            let pixel = &mut self.pixels[y * self.width + x];
            for (own, new) in pixel.iter_mut().zip(colour) {
                *own += (new - *own) * cover;
            }
        }
    }

    /// A filled rectangle with partly covered edges.
    fn fill(&mut self, frame: Frame, colour: Colour, opacity: f64) {
        let (x1, y1) = (frame.x + frame.w, frame.y + frame.h);
        let x_end = (x1.ceil() as i64).min(self.width as i64);
        let y_end = (y1.ceil() as i64).min(self.height as i64);
        for y in (frame.y.floor() as i64).max(0)..y_end {
            let part_y = (y1.min(y as f64 + 1.0) - frame.y.max(y as f64)).max(0.0);
            for x in (frame.x.floor() as i64).max(0)..x_end {
                let part_x = (x1.min(x as f64 + 1.0) - frame.x.max(x as f64)).max(0.0);
                self.blend(x, y, colour, (part_x * part_y * opacity) as f32);
            }
        }
    }

    /// The edge of a rectangle.
    fn outline(&mut self, frame: Frame, width: f64, colour: Colour) {
        let (x1, y1) = (frame.x + frame.w, frame.y + frame.h);
        let corners = [(frame.x, frame.y), (x1, frame.y), (x1, y1), (frame.x, y1), (frame.x, frame.y)];
        self.line(&corners, width, colour, None);
    }

    /// A line through points with round joints; a single point is a disc.
    fn line(&mut self, points: &[(f64, f64)], width: f64, colour: Colour, dash: Option<(f64, f64)>) {
        let whole = Frame { x: 0.0, y: 0.0, w: self.width as f64, h: self.height as f64 };
        self.line_within(whole, points, width, colour, dash);
    }

    /// The same, cut at the edges of a frame.
    ///
    /// Coverage is collected for the whole line first and mixed once, so that joints are not darker than the rest.
    fn line_within(&mut self, clip: Frame, points: &[(f64, f64)], width: f64, colour: Colour, dash: Option<(f64, f64)>) {
        let mut segments: Vec<((f64, f64), (f64, f64))> = match (points, dash) {
            ([], _) => return,
            ([one], _) => vec![(*one, *one)],
            (_, None) => points.windows(2).map(|w| (w[0], w[1])).collect(),
            (_, Some((on, off))) => dashes(points, on, off),
        };
        let reach = width / 2.0 + 1.0;
        let (x_min, x_max) = (clip.x, clip.x + clip.w);
        let (y_min, y_max) = (clip.y, clip.y + clip.h);
        segments.retain(|(a, b)| {
            let outside = |p: f64, q: f64, low: f64, high: f64| p.max(q) < low - reach || p.min(q) > high + reach;
            !outside(a.0, b.0, x_min, x_max) && !outside(a.1, b.1, y_min, y_max)
        });
        if segments.is_empty() {
            return;
        }
        let first_x = (x_min.floor() as i64).max(0);
        let first_y = (y_min.floor() as i64).max(0);
        let last_x = (x_max.ceil() as i64).min(self.width as i64);
        let last_y = (y_max.ceil() as i64).min(self.height as i64);
        let bound = |low: f64, high: f64, first: i64, last: i64| {
            let from = ((low - reach).floor() as i64).clamp(first, last);
            let to = ((high + reach).ceil() as i64).clamp(first, last);
            (from, to)
        };
        let span = |f: fn(&(f64, f64)) -> f64| {
            let all = || segments.iter().flat_map(|(a, b)| [f(a), f(b)]);
            (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
        };
        let (low, high) = span(|p| p.0);
        let (bx0, bx1) = bound(low, high, first_x, last_x);
        let (low, high) = span(|p| p.1);
        let (by0, by1) = bound(low, high, first_y, last_y);
        let stride = (bx1 - bx0) as usize;
        let mut cover = vec![0.0f32; stride * (by1 - by0) as usize];
        for (a, b) in &segments {
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length2 = dx * dx + dy * dy;
            let (y0, y1) = bound(a.1.min(b.1), a.1.max(b.1), by0, by1);
            for y in y0..y1 {
                let py = y as f64 + 0.5;
                // The part of the segment near this row bounds the columns, which matters for long slanted lines.
                let (mut low, mut high) = (a.0.min(b.0), a.0.max(b.0));
                if dy.abs() > 1e-9 {
                    let t0 = ((py - reach - a.1) / dy).clamp(0.0, 1.0);
                    let t1 = ((py + reach - a.1) / dy).clamp(0.0, 1.0);
                    let (p, q) = (a.0 + t0 * dx, a.0 + t1 * dx);
                    (low, high) = (p.min(q), p.max(q));
                }
                let (x0, x1) = bound(low, high, bx0, bx1);
                for x in x0..x1 {
                    let px = x as f64 + 0.5;
                    let t = if length2 > 0.0 { (((px - a.0) * dx + (py - a.1) * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
                    let distance = (px - a.0 - t * dx).hypot(py - a.1 - t * dy);
                    let part = (width / 2.0 + 0.5 - distance).clamp(0.0, width.min(1.0)) as f32;
                    let cell = &mut cover[(y - by0) as usize * stride + (x - bx0) as usize];
                    *cell = cell.max(part);
                }
            }
        }
        for (row, line) in cover.chunks(stride.max(1)).enumerate() {
            for (column, &part) in line.iter().enumerate() {
                if part > 0.0 {
                    self.blend(bx0 + column as i64, by0 + row as i64, colour, part);
                }
            }
        }
    }

    /// ab_glyph measures a font by its line height; this converts from the em.
    fn scale(&self, size: f64) -> f32 {
        let per_em = self.font.units_per_em().unwrap_or(2048.0);
        size as f32 * self.font.height_unscaled() / per_em
    }

    fn text_width(&self, text: &str, size: f64) -> f64 {
        self.layout(text, size).1
    }

    /// Glyphs with their place along the line, shift and size, and the width of the whole.
    ///
    /// `_{..}` and `^{..}` set what is between the braces lower and higher, and smaller.
    fn layout(&self, text: &str, size: f64) -> (Vec<Placed>, f64) {
        let mut placed = Vec::new();
        let mut pen = 0.0f32;
        let mut last = None;
        let (mut now, mut shift) = (size, 0.0);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if rest.starts_with("_{") || rest.starts_with("^{") {
                shift = size * if c == '_' { 0.2 } else { -0.38 };
                now = size * 0.7;
                rest = &rest[2..];
                last = None;
                continue;
            }
            rest = &rest[c.len_utf8()..];
            if c == '}' && now != size {
                (now, shift) = (size, 0.0);
                last = None;
                continue;
            }
            let scale = self.scale(now);
            let font = self.font.as_scaled(scale);
            let id = self.font.glyph_id(c);
            if let Some(last) = last {
                pen += font.kern(last, id);
            }
            placed.push(Placed { id, scale, along: pen, shift: shift as f32 });
            pen += font.h_advance(id);
            last = Some(id);
        }
        (placed, f64::from(pen))
    }

    /// The text, or as much of its beginning as fits with an ellipsis.
    fn shorten(&self, text: &str, size: f64, room: f64) -> String {
        if self.text_width(text, size) <= room {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        while !kept.is_empty() {
            kept.pop();
            let cut: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
            if self.text_width(&cut, size) <= room {
                return cut;
            }
        }
        String::new()
    }

    /// Text along x with its baseline at y.
    fn text(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, text: &str) {
        let start = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - self.text_width(text, size) / 2.0,
            Anchor::End => x - self.text_width(text, size),
        };
        self.glyphs(size, text, |u, v| (start + f64::from(u), y.round() + f64::from(v)), start);
    }

    /// Text running upwards, centred at y, with its baseline at x.
    fn text_upwards(&mut self, x: f64, y: f64, size: f64, text: &str) {
        let start = (y + self.text_width(text, size) / 2.0).round();
        let x = x.round();
        self.glyphs(size, text, |u, v| (x + f64::from(v), start - 1.0 - f64::from(u)), 0.0);
    }

    /// Draws glyphs in text coordinates (u along the text, v down from the baseline), mapped to pixels by `place`.
    ///
    /// `origin` is the fractional start along u; outlines are rasterised with it, and `place` receives whole pixels.
    fn glyphs(&mut self, size: f64, text: &str, place: impl Fn(f32, f32) -> (f64, f64), origin: f64) {
        let offset = (origin - origin.floor()) as f32;
        let (placed, _) = self.layout(text, size);
        let font = self.font.clone();
        for Placed { id, scale, along, shift } in placed {
            let glyph: Glyph = id.with_scale_and_position(scale, point(along + offset, shift));
            if let Some(outline) = font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|gx, gy, cover| {
                    let (x, y) = place(corner.x + gx as f32 - offset, corner.y + gy as f32);
                    self.blend(x.round() as i64, y.round() as i64, INK, cover.min(1.0));
                });
            }
        }
    }

    /// The PNG file, eight bits per channel.
    fn encode(&self, path: &Path) -> Result<Vec<u8>, FigureError> {
        let wrong = |found: png::EncodingError| FigureError::Encode {
            path: path.to_owned(),
            expected: format!("{} x {} pixels", self.width, self.height),
            found: found.to_string(),
        };
        let data: Vec<u8> = self.pixels.iter().flatten().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(wrong)?;
        writer.write_image_data(&data).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
        Ok(bytes)
    }
}

/// Pieces of a polyline that a dash pattern draws.
fn dashes(points: &[(f64, f64)], on: f64, off: f64) -> Vec<((f64, f64), (f64, f64))> {
    let mut pieces = Vec::new();
    let mut along = 0.0;
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let at = |s: f64| (x0 + (x1 - x0) * s / length, y0 + (y1 - y0) * s / length);
        let mut s = 0.0;
        while s < length {
            let phase = along % (on + off);
            let drawn = phase < on;
            // A floor under the piece, so that rounding of the phase cannot stall the walk.
            let left = if drawn { on - phase } else { on + off - phase }.max(1e-3);
            let end = (s + left).min(length);
            if drawn {
                pieces.push((at(s), at(end)));
            }
            along += end - s;
            s = end;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn target(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("scatterc-figure-{}-{name}.png", std::process::id()))
    }

    /// Width, height and pixels of a PNG.
    fn decode(path: &Path) -> (u32, u32, Vec<u8>) {
        let bytes = fs::read(path).expect("the picture");
        let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        let mut reader = decoder.read_info().expect("a PNG header");
        let mut data = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut data).expect("a whole PNG");
        let _ = fs::remove_file(path);
        (info.width, info.height, data)
    }

    fn coloured(data: &[u8]) -> usize {
        data.chunks_exact(3).filter(|p| p[0].abs_diff(p[2]) > 30).count()
    }

    #[test]
    fn maps_and_plots_make_one_picture() {
        let L = 8;
        let mut data = vec![0.0; L * (L + 1)];
        for (i, c) in data.iter_mut().enumerate() {
            *c = ((i * 7919) % 101) as f64 - 50.0;
        }
        let theta = [0.5, 1.5, 2.5];
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let sampler = |theta: f64, phi: f64| if theta < 0.3 { f64::NAN } else { theta.sin() * phi.cos() };
        let panels = [
            Panel::new("coefficients", Field::Coefficients { L, data: &data }).colours(ColourMap::Planck),
            Panel::new("grid", Field::Grid { theta: &theta, n_phi: 4, values: &values }),
            Panel::new("sampler", Field::Sampler(&sampler)).colours(ColourMap::Diverging).unit("K"),
        ];
        let styles = [Style::Line, Style::Dashed, Style::Points, Style::LinePoints, Style::Steps, Style::Bars];
        let series: Vec<Series> = styles
            .into_iter()
            .map(|style| Series::new(format!("{style:?}"), style, (1..9).map(|i| (f64::from(i), f64::from(i * i))).collect()))
            .collect();
        let plots: Vec<Plot> = [(false, false), (true, true), (false, true)]
            .into_iter()
            .map(|(log_x, log_y)| Plot { title: "plot".into(), x_label: "x".into(), y_label: "y".into(), log_x, log_y, series: series.clone() })
            .collect();
        let path = target("report");
        report(&path, &panels, &plots).expect("a picture");
        let first = fs::read(&path).expect("the picture");
        let (width, height, data) = decode(&path);
        assert_eq!(width as usize, WIDTH);
        assert!((700..1200).contains(&height), "{height}");
        assert!(coloured(&data) > 100_000);
        report(&path, &panels, &plots).expect("a picture");
        assert_eq!(first, fs::read(&path).expect("the picture"), "same input, same bytes");
        let _ = fs::remove_file(&path);
    }

    #[test]
    fn awkward_numbers_are_drawn_without_panics() {
        let cases: Vec<Vec<(f64, f64)>> = vec![
            vec![],
            vec![(1.0, 1.0)],
            vec![(1.0, f64::NAN), (2.0, 3.0), (f64::INFINITY, 1.0), (3.0, -1.0)],
            vec![(0.0, 0.0), (0.0, 0.0)],
            vec![(1e300, 1e-300), (2e300, 1e300)],
            vec![(-5.0, 1e-12), (5.0, 1.000001e-12)],
            vec![(1.0, 1e9), (2.0, 1.0e9 + 1.0)],
            vec![(f64::MIN_POSITIVE, f64::MAX), (1.0, f64::MIN)],
        ];
        for (i, points) in cases.into_iter().enumerate() {
            for style in [Style::Line, Style::Dashed, Style::Bars, Style::Steps, Style::Points] {
                for log in [false, true] {
                    let plot = Plot {
                        title: "a title that is much too long for the plot that it stands over, however wide this plot may be drawn".into(),
                        series: vec![Series::new("s", style, points.clone())],
                        log_x: log,
                        log_y: log,
                        ..Plot::default()
                    };
                    compose(&target(&format!("case{i}")), &[], &[plot]).expect("a picture");
                }
            }
        }
        for value in [0.0, 5.0, -1e-30, 1e30, f64::NAN, f64::INFINITY] {
            let sampler = |_: f64, _: f64| value;
            for colours in [ColourMap::Viridis, ColourMap::Diverging] {
                let panel = Panel::new("constant", Field::Sampler(&sampler)).colours(colours);
                compose(&target("constant"), &[panel], &[]).expect("a picture");
            }
        }
    }

    #[test]
    fn the_projection_is_the_right_way_round() {
        let view = View::gnomonic("30, 90, 10").expect("a view");
        let (theta, _) = view.inverse(0.0, 0.0).expect("the middle");
        assert!(theta.abs() < 1e-12, "the north pole, {theta}");
        let view = View::gnomonic("30,20,60").expect("a view");
        let (theta, phi) = view.inverse(0.0, 0.0).expect("the middle");
        assert!((theta - 70f64.to_radians()).abs() < 1e-12 && (phi - 30f64.to_radians()).abs() < 1e-12, "{theta} {phi}");
        // The upper edge is half the size further north, on the same meridian; the left edge lies east.
        let (theta, phi) = view.inverse(0.0, 1.0).expect("the upper edge");
        assert!((theta - 40f64.to_radians()).abs() < 1e-12 && (phi - 30f64.to_radians()).abs() < 1e-12, "{theta} {phi}");
        assert!(view.inverse(-1.0, 0.0).expect("the left edge").1 > 30f64.to_radians());
        assert_eq!(view.inverse(1.01, 0.0), None);
        for (text, expected) in
            [("1,2", "three numbers"), ("0,91,10", "latitude"), ("0,0,0", "size"), ("0,0,151", "size"), ("a,b,c", "three numbers")]
        {
            assert!(View::gnomonic(text).expect_err("no view").contains(expected), "{text}");
        }
        assert_eq!(mollweide_inverse(2.1, 0.0), None);
        let (theta, phi) = mollweide_inverse(0.0, 0.0).expect("the centre");
        assert!((theta - PI / 2.0).abs() < 1e-15 && phi == 0.0);
        let (theta, _) = mollweide_inverse(0.0, 0.999_999).expect("the north");
        assert!(theta < 0.01);
        // Longitude grows to the left.
        let (_, phi) = mollweide_inverse(-1.0, 0.0).expect("left");
        assert!((phi - PI / 2.0).abs() < 1e-12);
    }

    #[test]
    fn interpolation_is_exact_on_samples_and_between() {
        let theta = [1.0, 2.0];
        let values = [0.0, 4.0, 10.0, 14.0];
        let rings = Rings { theta: &theta, n_phi: 2, values: &values };
        assert_eq!(rings.at(1.0, 0.0), 0.0);
        assert_eq!(rings.at(2.0, PI), 14.0);
        assert_eq!(rings.at(1.5, 0.5 * PI), 7.0);
        assert_eq!(rings.at(0.1, -0.5 * PI), 2.0);
        assert_eq!(rings.at(3.0, 0.0), 10.0);
    }

    #[test]
    fn wrong_input_is_refused_and_nothing_is_written() {
        let path = target("wrong");
        assert!(matches!(report(&path, &[], &[]), Err(FigureError::Empty { .. })));
        let grid = |values: &'static [f64]| Field::Grid { theta: &[0.5, 1.0], n_phi: 2, values };
        for panel in [
            Panel::new("short", grid(&[1.0; 3])),
            Panel::new("range", grid(&[1.0; 4])).range(1.0, 1.0),
            Panel::new("order", Field::Grid { theta: &[1.0, 0.5], n_phi: 1, values: &[1.0; 2] }),
        ] {
            let title = panel.title.clone();
            let error = mollweide(&[panel], &path).expect_err("wrong");
            assert!(matches!(&error, FigureError::Panel { title: t, .. } if *t == title), "{error}");
        }
        let panel = Panel::new("coefficients", Field::Coefficients { L: 4, data: &[0.0; 3] });
        assert!(matches!(mollweide(&[panel], &path), Err(FigureError::Coefficients { .. })));
        let plot = Plot::default();
        assert!(matches!(curves(&[plot], &std::env::temp_dir().join("scatterc-absent/x.png")), Err(FigureError::Output(IoError::Write { .. }))));
        assert!(!path.exists());
    }

    #[test]
    fn histograms_are_densities() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i) / 100.0).chain([f64::NAN]).collect();
        let bins = histogram(&values, 20);
        let width = bins[1].0 - bins[0].0;
        assert!((bins.iter().map(|b| b.1).sum::<f64>() * width - 1.0).abs() < 1e-12);
        assert!(histogram(&[1.0; 5], 10).is_empty());
        assert!(histogram(&[], 10).is_empty());
    }
}
