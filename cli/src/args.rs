//! What the commands share: options, errors, fields in, statistics out, progress.
//!
//! Holds everything between the command line and the library. Refuses mathematics: fields are converted by [`crate::transforms`], statistics are
//! computed by the library.

use crate::figure::FigureError;
use crate::io::{self, Input, InputOptions, IoError, NamedArray, Ordering};
use crate::transforms::{self, Pool};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use scatterc::compiler::domain::DomainError;
use scatterc::kernels::healpix::{HealpixError, nested_to_ring};
use scatterc::runtime::{Executable, RunError, reference};
use scatterc::table::{Format, Output, Table, TableError};
use scatterc::{Array, Compiled, Compiler, Device, Domain, Element, Fusion, Index, InputKind, Legendre, Source, Sphere};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A scale whose power is below this part of the largest has no power: dividing by it makes numbers without meaning.
pub const SMALLEST_RELATIVE_POWER: f64 = 1e-20;

/// Fields processed together unless `--memory` says otherwise.
const DEFAULT_CHUNK: usize = 8;

/// Everything a command can refuse. The process then exits with [`CliError::exit_code`] and has written nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// An option or argument outside its range.
    #[error("`{option}` is {found}; expected {expected}")]
    Option {
        /// Name as typed, such as `--bandlimit`.
        option: String,
        /// What was given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Something this build or this version does not have.
    #[error("{0}")]
    Unavailable(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The suite found wrong numbers or something that does not run.
    #[error("{} of the suite failed:\n{}", .faults.len(), .faults.join("\n"))]
    Suite {
        /// What failed, with errors and bounds.
        faults: Vec<String>,
    },
    /// Kernels cannot be compiled for CUDA.
    #[error(transparent)]
    Cuda(scatterc::runtime::cuda::CudaError),
    /// A picture cannot be made.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// The library refused.
    #[error(transparent)]
    Library(#[from] scatterc::Error),
    /// A HEALPix map cannot be transformed.
    #[error("{}: {source}", .path.display())]
    Healpix {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HealpixError,
    },
    /// A field of the wrong size for the options.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// What would fit.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// Scales without power in the field that normalises.
    #[error("cannot normalise by {by}: no power (below {SMALLEST_RELATIVE_POWER:e} of the largest) at scale{} {}; {advice}", if scales.len() == 1 { "" } else { "s" }, list(scales))]
    NoPower {
        /// What was to normalise.
        by: String,
        /// The scales.
        scales: Vec<usize>,
        /// What to do about it.
        advice: String,
    },
    /// A file that is no result of `encode`, or not one that fits.
    #[error("{}: {what}: expected {expected}, found {found}", .path.display())]
    Stored {
        /// The file.
        path: PathBuf,
        /// What was looked at.
        what: String,
        /// What would fit.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A text that cannot be read: a plan.
    #[error("{}: {message}", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A table of coefficients that cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Stopped by the user.
    #[error("interrupted")]
    Interrupted,
    /// What was compared differs; printed as a result, not as an error.
    #[error("different")]
    Different,
}

impl CliError {
    /// 2; 130 where the user stopped the program, 1 where what was compared differs.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Interrupted => 130,
            CliError::Different => 1,
            _ => 2,
        }
    }

    /// An option outside its range.
    pub fn option(option: &str, found: impl ToString, expected: impl ToString) -> CliError {
        CliError::Option { option: option.into(), found: found.to_string(), expected: expected.to_string() }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        CliError::Library(error.into())
    }
}

impl From<scatterc::runtime::LoadError> for CliError {
    fn from(error: scatterc::runtime::LoadError) -> Self {
        CliError::Library(error.into())
    }
}

impl From<DomainError> for CliError {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::Option { option, found, expected } => CliError::option(&format!("--{option}"), found, expected),
            other => CliError::Library(other.into()),
        }
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

// ----------------------------------------------------------------------------------------------------------------- options

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Print results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Global {
    /// A line for the reader, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }
}

/// Which domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DomainKind {
    /// The sphere, directional scale-discretised wavelets.
    Sphere,
    /// HEALPix pixels, stencils.
    Healpix,
    /// Images.
    Plane,
    /// Time series.
    Line,
}

/// Sizes of the domain.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Domain")]
pub struct DomainOptions {
    /// Domain of the field.
    #[arg(long, value_enum, default_value = "sphere")]
    pub domain: DomainKind,
    /// Bandlimit L: degrees 0 <= ell < L. Default: that of the file; 2 nside for HEALPix maps.
    #[arg(long, value_name = "L")]
    pub bandlimit: Option<usize>,
    /// Azimuthal bandlimit N: 2N - 1 directions per scale.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub directions: usize,
    /// Coarsest wavelet scale kept.
    #[arg(long, value_name = "J", default_value_t = 0)]
    pub min_scale: usize,
    /// Plane and line.
    #[command(flatten)]
    pub planar: PlanarOptions,
    /// HEALPix pixels.
    #[command(flatten)]
    pub healpix: HealpixOptions,
}

impl Default for DomainOptions {
    fn default() -> Self {
        DomainOptions {
            domain: DomainKind::Sphere,
            bandlimit: None,
            directions: 3,
            min_scale: 0,
            planar: PlanarOptions::default(),
            healpix: HealpixOptions::default(),
        }
    }
}

/// Sizes of the plane and the line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlanarOptions {
    /// Octaves of the wavelets. Default: as many as fit, leaving a few samples of the coarsest.
    #[arg(long, value_name = "J")]
    pub scales: Option<usize>,
    /// Orientations of the plane, or voices per octave of the line. Default: 4, or 1.
    #[arg(long, value_name = "L", alias = "voices")]
    pub orientations: Option<usize>,
    /// Filter bank: a built-in one, or one that the .scat file declares. Default: the statistic's own.
    #[arg(long, value_name = "NAME")]
    pub filters: Option<String>,
    /// A number that the filter bank defines, such as Q1=8.
    #[arg(long = "filter-parameter", value_name = "NAME=VALUE")]
    pub filter_parameters: Vec<String>,
    /// Continuation beyond the edges. Default: the statistic's own.
    #[arg(long, value_enum)]
    pub boundary: Option<BoundaryKind>,
    /// Leave out of averages what the edges of the image reach.
    #[arg(long)]
    pub cut_edges: bool,
    /// As `--cut-edges`, with edges of the same width on both sides; stencils always do so.
    #[arg(long, conflicts_with = "cut_edges")]
    pub even_edges: bool,
    /// Even edges and a mask that shrinks with the scale: weights of averages over cut edges, as FOSCAT's `in_mask`.
    #[arg(long, conflicts_with = "cut_edges")]
    pub erode_mask: bool,
    /// Stencils: enlarge fields twice before the first scale. Default: the statistic's own.
    #[arg(long, value_name = "true|false")]
    pub enlarge: Option<bool>,
    /// Largest spacing of the samples of averaged series, a power of two. Default: the largest up to T.
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,
    /// Size without a file: HxW of an image, or T of a series.
    #[arg(long, value_name = "HxW|T")]
    pub size: Option<String>,
}

/// Sizes of a map of HEALPix pixels; its scales and orientations are those of the plane.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HealpixOptions {
    /// Resolution of HEALPix maps, a power of two. Default: that of the file, or 32 without one.
    #[arg(long, value_name = "NSIDE")]
    pub nside: Option<usize>,
    /// Side of the stencils: 3 (default), 5 or 7 on HEALPix pixels; odd, 5 by default, on images and series.
    #[arg(long, value_name = "K")]
    pub kernel: Option<usize>,
    /// A patch: the NESTED numbers of its pixels in ascending order, in an .npy file; maps then hold one number per cell.
    #[arg(long, value_name = "FILE.npy")]
    pub cells: Option<PathBuf>,
    /// Sets weights of coarse masks to zero that do not exceed this.
    #[arg(long, value_name = "T")]
    pub mask_threshold: Option<f64>,
    /// Spin of the maps, 1 or 2: they come in pairs, such as Q and U.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub spin: usize,
}

/// How fields are continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BoundaryKind {
    /// Not at all.
    Periodic,
    /// By reflection, edges once.
    Reflect,
    /// By reflection, edges twice.
    Symmetric,
    /// By zeros; for stencils.
    Zero,
}

impl DomainOptions {
    /// True for images and series, which have readers and drivers of their own.
    pub fn is_planar(&self) -> bool {
        matches!(self.domain, DomainKind::Plane | DomainKind::Line)
    }

    /// True for HEALPix pixels, which have drivers of their own.
    pub fn is_healpix(&self) -> bool {
        self.domain == DomainKind::Healpix
    }

    /// The sphere of these options at bandlimit `L`.
    pub fn sphere(&self, L: usize, input: InputKind) -> Result<Sphere, CliError> {
        Ok(Sphere::new(L, self.directions, self.min_scale, input)?)
    }
}

/// Which statistic.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Statistic")]
pub struct StatisticOptions {
    /// A built-in statistic, or a .scat file (FILE.scat:NAME where it holds several).
    #[arg(long, value_name = "NAME|FILE.scat", default_value = "s2scat")]
    pub statistic: String,
    /// Divide by the power per scale and direction of a field, of an `encode` result, or of the input itself (the word `self`).
    #[arg(long, value_name = "REF", alias = "normalize-by")]
    pub normalise_by: Option<String>,
    /// Raise powers below this part of the largest to it, instead of refusing to normalise.
    #[arg(long, value_name = "F", requires = "normalise_by", allow_negative_numbers = true)]
    pub floor: Option<f64>,
    /// The variant named `isotropic`: directions summed.
    #[arg(long, conflicts_with = "variant")]
    pub isotropic: bool,
    /// A named `return` of the statistic.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Largest distance between scales; short for `--parameter delta=D`.
    #[arg(long, value_name = "D")]
    pub delta_j: Option<usize>,
    /// A number parameter of the statistic.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
}

impl Default for StatisticOptions {
    fn default() -> Self {
        StatisticOptions {
            statistic: "s2scat".into(),
            normalise_by: None,
            floor: None,
            isotropic: false,
            variant: None,
            delta_j: None,
            parameters: vec![],
        }
    }
}

impl StatisticOptions {
    /// The text that was asked for.
    pub fn source(&self) -> Result<Source, CliError> {
        let (path, _) = self.split();
        Ok(Source::find(path)?)
    }

    /// Path, and the name behind `.scat:`.
    fn split(&self) -> (&str, Option<&str>) {
        match self.statistic.rsplit_once(".scat:") {
            Some((stem, name)) => (&self.statistic[..stem.len() + 5], Some(name)),
            None => (&self.statistic, None),
        }
    }

    /// The name behind `.scat:`.
    pub fn name(&self) -> Option<&str> {
        self.split().1
    }

    /// The variant that was asked for.
    pub fn variant(&self) -> Option<&str> {
        if self.isotropic { Some("isotropic") } else { self.variant.as_deref() }
    }

    /// Number parameters by name.
    pub fn numbers(&self) -> Result<BTreeMap<String, f64>, CliError> {
        let mut numbers = BTreeMap::new();
        let mut add = |name: &str, value: f64| match numbers.insert(name.to_string(), value) {
            None => Ok(()),
            Some(_) => Err(CliError::option("--parameter", format!("given twice for `{name}`"), "one value per parameter")),
        };
        for text in &self.parameters {
            let number = text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse::<f64>().ok()?)));
            match number {
                Some((name, value)) if !value.is_nan() => add(name, value)?,
                _ => return Err(CliError::option("--parameter", format!("`{text}`"), "NAME=VALUE with a number as value")),
            }
        }
        if let Some(delta) = self.delta_j {
            add("delta", delta as f64)?;
        }
        Ok(numbers)
    }
}

/// Where and how it runs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Device")]
pub struct DeviceOptions {
    /// Device; `reference` is slow and checks the others.
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: DeviceKind,
    /// Precision.
    #[arg(long, value_enum, default_value = "f64")]
    pub precision: Precision,
    /// Single precision where a probe shows that every output keeps this relative error, double otherwise: from 1e-12 to below 1.
    #[arg(long, value_name = "E", conflicts_with = "precision", allow_negative_numbers = true)]
    pub error: Option<f64>,
    /// Threads; 0 means all cores.
    #[arg(long, value_name = "T", default_value_t = 0)]
    pub threads: usize,
    /// Memory for buffers and tables, such as 512MiB or 4GiB; decides how many fields are processed together.
    #[arg(long, value_name = "B", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Leave out a pass of the compiler.
    #[arg(long, value_name = "PASS")]
    pub disable: Vec<String>,
    /// How much is fused.
    #[arg(long, value_enum, default_value = "all")]
    pub fuse: FuseKind,
    /// Where the functions of Legendre stages come from: stored, computed again, or as the cost model says.
    #[arg(long, value_enum, default_value = "auto")]
    pub legendre: LegendreKind,
}

/// Where the functions of Legendre stages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LegendreKind {
    /// By cost model and byte budget.
    Auto,
    /// Computed again in every call.
    Recursion,
    /// Stored.
    Tables,
}

impl From<LegendreKind> for Legendre {
    fn from(kind: LegendreKind) -> Legendre {
        match kind {
            LegendreKind::Auto => Legendre::Auto,
            LegendreKind::Recursion => Legendre::Recursion,
            LegendreKind::Tables => Legendre::Tables,
        }
    }
}

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// Compiled code.
    Cpu,
    /// A graphics processor.
    Cuda,
    /// The kernels of a graphics processor on the CPU, thread by thread; for tests.
    Emulate,
    /// One loop per operation.
    Reference,
}

/// Which element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Double.
    F64,
    /// Single.
    F32,
}

/// How much is fused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FuseKind {
    /// Every node is its own launch.
    None,
    /// Loops, but no ring tiles and no contractions.
    Loops,
    /// Loops and ring tiles, but no contractions.
    Ring,
    /// Loops, ring tiles and contractions of stored rows; filters are not applied where their results are read.
    Gram,
    /// Everything legal.
    All,
}

impl From<FuseKind> for Fusion {
    fn from(kind: FuseKind) -> Fusion {
        match kind {
            FuseKind::None => Fusion::None,
            FuseKind::Loops => Fusion::Loops,
            FuseKind::Ring => Fusion::Ring,
            FuseKind::Gram => Fusion::Gram,
            FuseKind::All => Fusion::All,
        }
    }
}

impl Default for DeviceOptions {
    fn default() -> Self {
        DeviceOptions {
            device: DeviceKind::Cpu,
            precision: Precision::F64,
            error: None,
            threads: 0,
            memory: None,
            disable: vec![],
            fuse: FuseKind::All,
            legendre: LegendreKind::Auto,
        }
    }
}

impl DeviceOptions {
    /// Refuses what this build does not have, before anything is read.
    pub fn check(&self) -> Result<(), CliError> {
        if self.precision == Precision::F32 && self.device == DeviceKind::Reference {
            return Err(CliError::Unavailable("`--precision f32`: the device reference computes in f64; f32 needs `--device cpu` or `cuda`".into()));
        }
        if let Some(error) = self.error {
            if self.device == DeviceKind::Reference {
                return Err(CliError::option("--error", error, "`--device cpu` or `cuda`: the device reference computes in f64"));
            }
            if scatterc::precision::check(error).is_err() {
                return Err(CliError::option("--error", error, format!("a number from {:e} to below 1", scatterc::precision::SMALLEST_TARGET)));
            }
        }
        scatterc::compiler::pass::known(&self.disable).map_err(|e| CliError::Library(e.into()))
    }

    /// Refuses `--error` in commands that compile more than one program.
    pub fn without_target(&self) -> Result<(), CliError> {
        self.error.map_or(Ok(()), |error| Err(CliError::option("--error", error, "`--precision` in this command; `explain --error` says which")))
    }

    /// The memory budget, as the compiler takes it.
    pub fn budget(&self) -> Option<usize> {
        self.memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Threads, never 0.
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// Name for metadata.
    pub fn name(&self) -> &'static str {
        match self.device {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
            DeviceKind::Emulate => "emulate",
            DeviceKind::Reference => "reference",
        }
    }

    /// Precision for metadata.
    pub fn precision_name(&self) -> &'static str {
        match self.precision {
            Precision::F64 => "f64",
            Precision::F32 => "f32",
        }
    }

    /// The device, as the compiler takes it.
    pub fn device(&self) -> Device {
        let element = match self.precision {
            Precision::F64 => Element::F64,
            Precision::F32 => Element::F32,
        };
        match self.device {
            DeviceKind::Cpu | DeviceKind::Reference => Device::Cpu(element),
            DeviceKind::Cuda => Device::Cuda(element),
            DeviceKind::Emulate => Device::EmulatedCuda(element),
        }
    }
}

/// A number of bytes with an optional unit: `1073741824`, `1GiB`, `1.5 GB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        "tib" => 1099511627776.0,
        other => return Err(format!("unknown unit `{other}`; expected B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    match number.parse::<f64>() {
        Ok(value) if value * unit >= 1.0 && value * unit < 9e18 => Ok((value * unit) as u64),
        _ => Err("expected a positive number of bytes, such as 512MiB".into()),
    }
}

/// What may be said about an input file.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Input")]
pub struct FieldOptions {
    /// Column of a FITS table: a name, or a number from 0. HEALPix pixels take several, I,Q,U or `all`, as a batch.
    #[arg(long, value_name = "C")]
    pub column: Option<String>,
    /// Order of the pixels of a HEALPix map without header.
    #[arg(long, value_enum)]
    pub ordering: Option<OrderingKind>,
    /// Array of an .npz archive.
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
    /// Refinement steps of the analysis of a HEALPix map.
    #[arg(long, value_name = "K", default_value_t = 3)]
    pub iterations: usize,
}

impl Default for FieldOptions {
    fn default() -> Self {
        FieldOptions { column: None, ordering: None, array: None, iterations: 3 }
    }
}

/// Order of HEALPix pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderingKind {
    /// Along rings.
    Ring,
    /// Along the quadtree.
    Nested,
}

impl FieldOptions {
    /// As the readers take them.
    pub fn input_options(&self) -> InputOptions {
        let ordering = self.ordering.map(|o| if o == OrderingKind::Ring { Ordering::Ring } else { Ordering::Nested });
        InputOptions { ordering, column: self.column.clone(), array: self.array.clone(), unseen: false }
    }
}

// ------------------------------------------------------------------------------------------------------------------ fields

/// Fields of one file, ready for a statistic.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The sphere they live on.
    pub sphere: Sphere,
    /// One array per field, in the sphere's input layout, complex numbers interleaved.
    pub fields: Vec<Vec<f64>>,
    /// True when the file has a batch axis, be it of length 1.
    pub batched: bool,
}

impl Fields {
    /// `Some(number of fields)` with a batch axis.
    pub fn batch(&self) -> Option<usize> {
        self.batched.then_some(self.fields.len())
    }
}

/// Reads a field or a batch of fields for the sphere.
///
/// Coefficients may be cut to a smaller `--bandlimit`, maps on the grid may not; HEALPix maps are analysed to half-plane coefficients and the
/// relative residual is printed.
pub fn load_field(path: &Path, domain: &DomainOptions, options: &FieldOptions, device: &DeviceOptions, global: &Global) -> Result<Fields, CliError> {
    let input = io::read_input(path, &options.input_options())?;
    field_of(path, input, domain, options, device, global)
}

/// The fields of an input that was read; see [`load_field`].
pub fn field_of(
    path: &Path,
    input: Input,
    domain: &DomainOptions,
    options: &FieldOptions,
    device: &DeviceOptions,
    global: &Global,
) -> Result<Fields, CliError> {
    let cut = |L: usize, what: &str| match domain.bandlimit {
        Some(wanted) if wanted > L => Err(CliError::Field {
            path: path.into(),
            expected: format!("a bandlimit of at least {wanted}, as `--bandlimit` says"),
            found: format!("{what} of bandlimit {L}"),
        }),
        wanted => Ok(wanted.unwrap_or(L)),
    };
    let (sphere, batch, fields): (Sphere, Vec<usize>, Vec<Vec<f64>>) = match input {
        Input::Half { batch, L, data } => {
            let to = cut(L, "coefficients")?;
            let sphere = domain.sphere(to, InputKind::Half)?;
            (sphere, batch, data.chunks_exact(2 * L * L).map(|x| transforms::cut_half(L, to, x)).collect())
        }
        Input::Full { batch, L, data } => {
            let to = cut(L, "coefficients")?;
            let sphere = domain.sphere(to, InputKind::Full)?;
            (sphere, batch, data.chunks_exact(2 * L * (2 * L - 1)).map(|x| transforms::cut_full(L, to, x)).collect())
        }
        Input::Grid { batch, L, data } => {
            if cut(L, "a map")? != L {
                let expected = format!(
                    "a map of bandlimit {}, as `--bandlimit` says (maps are not resampled; coefficients can be cut)",
                    domain.bandlimit.unwrap_or(L)
                );
                return Err(CliError::Field { path: path.into(), expected, found: format!("a map of bandlimit {L}") });
            }
            let sphere = domain.sphere(L, InputKind::Grid)?;
            (sphere, batch, data.chunks_exact(L * (2 * L - 1)).map(<[f64]>::to_vec).collect())
        }
        Input::Healpix { nside, nested, map, column } => {
            let largest = (3 * nside).saturating_sub(1).max(2);
            let L = domain.bandlimit.unwrap_or(2 * nside);
            if L > largest {
                return Err(CliError::option("--bandlimit", L, format!("at most 3 nside - 1 = {largest} for a map of nside = {nside}")));
            }
            let sphere = domain.sphere(L, InputKind::Half)?;
            let wrong = |source| CliError::Healpix { path: path.into(), source };
            let ring = if nested { nested_to_ring(nside, &map).map_err(wrong)? } else { map };
            let pool = Pool::new(device.thread_count());
            let analysis = scatterc::kernels::healpix::analysis(&pool, nside, &ring, L, options.iterations).map_err(wrong)?;
            let column = column.map(|c| format!(", column {c}")).unwrap_or_default();
            global.note(&format!(
                "{}: HEALPix nside={nside}{column}, analysed to L={L} in {} steps, relative residual {:.2e}",
                path.display(),
                options.iterations,
                analysis.residual()
            ));
            (sphere, vec![], vec![transforms::half_of_triangular(L, &analysis.coefficients)])
        }
    };
    if fields.is_empty() {
        return Err(CliError::Field { path: path.into(), expected: "at least one field".into(), found: "an empty batch".into() });
    }
    Ok(Fields { sphere, fields, batched: !batch.is_empty() })
}

// --------------------------------------------------------------------------------------------------------------- programs

/// A compiler with all options applied. With `--normalise-by` the array parameter `P` is given at run time.
pub fn compiler<'a>(
    source: &'a Source,
    domain: &'a dyn Domain,
    statistic: &StatisticOptions,
    device: &DeviceOptions,
) -> Result<Compiler<'a>, CliError> {
    device.check()?;
    let mut compiler = Compiler::new(source, domain)
        .variant(statistic.variant())
        .fusion(device.fuse.into())
        .disable(&device.disable)
        .device(device.device())
        .threads(device.threads)
        .memory(device.budget())
        .legendre(device.legendre.into());
    if let Some(name) = statistic.name() {
        compiler = compiler.statistic(name);
    }
    for (name, value) in statistic.numbers()? {
        compiler = compiler.number(&name, value);
    }
    if statistic.normalise_by.is_some() {
        compiler = compiler.array("P");
    }
    if let Some(error) = device.error {
        compiler = compiler.within(error);
    }
    Ok(compiler)
}

/// A compiled program on the device that was asked for.
pub struct Runner {
    /// The program; its stages are not kept where the plan came from the cache.
    pub compiled: Compiled,
    /// The loaded plan; absent on the reference device.
    pub executable: Option<Executable>,
}

impl Runner {
    /// Compiles and loads.
    pub fn new(compiler: &Compiler, device: &DeviceOptions) -> Result<Runner, CliError> {
        device.check()?;
        if device.device == DeviceKind::Reference {
            return Ok(Runner { compiled: compiler.compile()?, executable: None });
        }
        let (compiled, executable) = compiler.clone().threads(device.threads).executable()?;
        Ok(Runner { compiled, executable: Some(executable) })
    }

    /// Outputs by name, in order, in logical layouts.
    pub fn run(&mut self, inputs: &[(&str, &[f64])]) -> Result<Vec<(String, Vec<f64>)>, CliError> {
        Ok(match &mut self.executable {
            Some(executable) => executable.run(inputs)?,
            None => reference::run(&self.compiled.graph, inputs)?,
        })
    }

    /// Statistics of the outputs of a run.
    pub fn statistics(&self, results: Vec<(String, Vec<f64>)>) -> scatterc::Statistics {
        scatterc::compile::statistics(&self.compiled.bound.outputs, self.compiled.bound.batch, results)
    }
}

/// How many of `n` fields are processed together, in pieces of nearly equal length.
///
/// `--memory` divided by what one field needs, or at most eight.
pub fn chunk(compiler: &Compiler, device: &DeviceOptions, n: usize) -> Result<usize, CliError> {
    let most = match device.memory {
        None => DEFAULT_CHUNK,
        Some(budget) => {
            let one = Runner::new(&compiler.clone().memory(None).batch(Some(1)), device)?;
            let memory = one.executable.as_ref().map(Executable::memory).unwrap_or_default();
            let (fixed, each) = ((memory.tables + memory.scratch) as u64, memory.arena as u64);
            // One field at a time, recomputing what does not fit, where even one field exceeds the budget.
            usize::try_from(budget.saturating_sub(fixed) / each.max(1)).unwrap_or(usize::MAX)
        }
    };
    let pieces = n.div_ceil(most.clamp(1, n.max(1)));
    Ok(n.div_ceil(pieces.max(1)))
}

/// The power per scale and direction, S2, which the norms `P` of a statistic are.
const POWER: &str = "statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }";

/// S2 of every field, `[fields][entries]`, and what the entries are.
pub fn powers(fields: &Fields, device: &DeviceOptions) -> Result<(Vec<Vec<f64>>, Index), CliError> {
    let source = Source::from_text(POWER, "power")?;
    let compiler = Compiler::new(&source, &fields.sphere).fusion(device.fuse.into()).disable(&device.disable).threads(device.threads);
    let mut runner = Runner::new(&compiler, device)?;
    let index = runner.compiled.bound.outputs.first().map(|o| o.index.as_ref().clone()).unwrap_or_default();
    let mut out = Vec::with_capacity(fields.fields.len());
    for field in &fields.fields {
        out.push(runner.run(&[("x", field)])?.into_iter().next().map(|(_, values)| values).unwrap_or_default());
    }
    Ok((out, index))
}

/// Norms `P`: one array for all fields, or one per field.
#[derive(Clone, Debug)]
pub struct Norms {
    /// `self`, or the file's name.
    pub by: String,
    /// `[1 or fields][entries]`.
    pub values: Vec<Vec<f64>>,
    /// What the entries are: (j, g).
    pub index: Index,
}

/// The norms that `--normalise-by` asks for, guarded against scales without power.
pub fn norms(
    statistic: &StatisticOptions,
    fields: &Fields,
    options: &FieldOptions,
    device: &DeviceOptions,
    global: &Global,
) -> Result<Option<Norms>, CliError> {
    let Some(reference) = &statistic.normalise_by else {
        return Ok(None);
    };
    let (by, mut values, index) = if reference == "self" {
        let (values, index) = powers(fields, device)?;
        ("self".to_string(), values, index)
    } else {
        let path = Path::new(reference);
        let by = file_name(path);
        match stored_power(path, &fields.sphere)? {
            Some((values, index)) => (by, vec![values], index),
            None => {
                let sphere = &fields.sphere;
                let domain = DomainOptions { bandlimit: Some(sphere.L), directions: sphere.N, min_scale: sphere.J_min, ..DomainOptions::default() };
                let reference = load_field(path, &domain, &FieldOptions { column: None, array: None, ..options.clone() }, device, global)?;
                if reference.fields.len() != 1 {
                    return Err(CliError::Field {
                        path: path.into(),
                        expected: "one field to normalise by".into(),
                        found: format!("{} fields", reference.fields.len()),
                    });
                }
                let (values, index) = powers(&reference, device)?;
                (by, values, index)
            }
        }
    };
    for array in &mut values {
        guard(array, &index, &by, statistic.floor, global)?;
    }
    Ok(Some(Norms { by, values, index }))
}

/// Refuses scales without power, or raises them to `floor` times the largest.
pub fn guard(values: &mut [f64], index: &Index, by: &str, floor: Option<f64>, global: &Global) -> Result<(), CliError> {
    if let Some(floor) = floor
        && !(floor > 0.0 && floor <= 1.0)
    {
        return Err(CliError::option("--floor", floor, "a number above 0 and at most 1, relative to the largest power"));
    }
    let largest = values.iter().copied().fold(0.0, f64::max);
    let limit = largest * floor.unwrap_or(SMALLEST_RELATIVE_POWER);
    let mut scales = Vec::new();
    for (value, row) in values.iter_mut().zip(&index.rows) {
        // A power that is not a number compares as false, so the test is written to catch it.
        let enough = *value > 0.0 && *value >= limit && value.is_finite();
        if !enough {
            let j = row.first().copied().unwrap_or(0) as usize;
            if !scales.contains(&j) {
                scales.push(j);
            }
            if floor.is_some() && largest > 0.0 {
                *value = limit;
            }
        }
    }
    if scales.is_empty() {
        return Ok(());
    }
    if floor.is_some() && largest > 0.0 && largest.is_finite() {
        global.note(&format!(
            "normalisation by {by}: powers at scales {} raised to {limit:.3e}, {:e} of the largest",
            list(&scales),
            floor.unwrap_or(0.0)
        ));
        return Ok(());
    }
    let all: Vec<usize> = index.rows.iter().map(|r| r.first().copied().unwrap_or(0) as usize).collect();
    let (first, last) = (all.iter().min().copied().unwrap_or(0), all.iter().max().copied().unwrap_or(0));
    let above = scales.iter().max().map_or(0, |j| j + 1);
    let advice = if largest <= 0.0 {
        "the field is constant".to_string()
    } else if scales.contains(&last) {
        let reason = if scales.len() == 1 { " (the finest scale holds no degree below L)" } else { "" };
        format!("choose another `--bandlimit`{reason}, or `--floor 1e-12`")
    } else if (first..above).all(|j| scales.contains(&j)) {
        format!("leave them out with `--min-scale {above}`, or raise them with `--floor 1e-12`")
    } else {
        format!("use `--min-scale {above}`, or `--floor 1e-12`")
    };
    Err(CliError::NoPower { by: by.into(), scales, advice })
}

// ------------------------------------------------------------------------------------------------------ stored statistics

/// The result of `encode`, as a file holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// All arrays but the metadata, by name.
    pub arrays: BTreeMap<String, NamedArray>,
    /// The metadata.
    pub metadata: serde_json::Value,
}

impl Stored {
    /// Text of the metadata under that key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(serde_json::Value::as_str)
    }

    /// What normalised it, if anything.
    pub fn normalised(&self) -> Option<&str> {
        self.text("normalised")
    }
}

/// Reads a result of `encode`; `None` for any other file, such as one that holds a field.
pub fn read_stored(path: &Path) -> Result<Option<Stored>, CliError> {
    let Ok(mut arrays) = io::read_npz(path) else {
        return Ok(None);
    };
    let Some(NamedArray::Text(text)) = arrays.remove("metadata") else {
        return Ok(None);
    };
    let metadata = serde_json::from_str(&text).map_err(|e| CliError::Stored {
        path: path.into(),
        what: "metadata".into(),
        expected: "JSON as `encode` writes it".into(),
        found: e.to_string(),
    })?;
    Ok(Some(Stored { arrays, metadata }))
}

/// S2 of an `encode` result, if the file is one.
fn stored_power(path: &Path, sphere: &Sphere) -> Result<Option<(Vec<f64>, Index)>, CliError> {
    let Some(stored) = read_stored(path)? else {
        return Ok(None);
    };
    let fault = |what: &str, expected: String, found: String| CliError::Stored { path: path.into(), what: what.into(), expected, found };
    if let Some(by) = stored.normalised() {
        return Err(fault("normalisation", "statistics that are not normalised themselves".into(), format!("normalised by {by}")));
    }
    let sizes = |text: &str| text.split(" input=").next().unwrap_or_default().to_string();
    let (expected, found) = (sizes(&sphere.describe()), sizes(stored.text("domain").unwrap_or("none")));
    if expected != found {
        return Err(fault("domain", expected, found));
    }
    let (Some(NamedArray::F64 { shape, data }), Some(NamedArray::I64 { shape: table, data: entries })) =
        (stored.arrays.get("S2"), stored.arrays.get("S2_index"))
    else {
        let names: Vec<&String> = stored.arrays.keys().collect();
        return Err(fault("arrays", "S2 and S2_index".into(), list(&names)));
    };
    let rows: Vec<Vec<i64>> = (sphere.J_min..=sphere.J()).flat_map(|j| (0..2 * sphere.N as i64 - 1).map(move |g| vec![j as i64, g])).collect();
    if *entries != rows.concat() || data.len() != rows.len() {
        return Err(fault("S2", format!("one field with {} entries (j, g)", rows.len()), format!("shape {shape:?} with an index of {table:?}")));
    }
    io::check_finite(path, shape, 1, data)?;
    Ok(Some((data.clone(), Index { columns: vec!["j".into(), "g".into()], rows })))
}

/// Last part of a path: metadata never say where files lie.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Arrays of an output file: `name`, `name_index`, `name_index_columns` for every output, then `metadata`.
///
/// - `arrays`: with the batch as leading axis where `batch` is given
pub fn statistics_arrays(compiled: &Compiled, batch: Option<usize>, arrays: &[Array], metadata: &serde_json::Value) -> Vec<(String, NamedArray)> {
    let mut out = Vec::new();
    for array in arrays {
        let mut shape: Vec<usize> = batch.into_iter().collect();
        // Samples of fields carry their axes in their type.
        shape.extend(array.axes.iter().filter(|_| !array.index.rows.is_empty()));
        shape.extend(entry_shape(compiled, array));
        out.push((
            array.name.clone(),
            match &array.im {
                None => NamedArray::F64 { shape, data: array.re.clone() },
                Some(im) => NamedArray::C128 { shape, data: transforms::interleave(&array.re, im) },
            },
        ));
        // Samples are indexed by their place on the grid, which needs no table.
        if !array.index.rows.is_empty() {
            let rows = &array.index.rows;
            out.push((format!("{}_index", array.name), NamedArray::I64 { shape: vec![rows.len(), array.index.columns.len()], data: rows.concat() }));
            out.push((format!("{}_index_columns", array.name), NamedArray::Texts(array.index.columns.clone())));
        }
    }
    out.push(("metadata".into(), NamedArray::Text(metadata.to_string())));
    out
}

/// Shape of an output without its batch axis: `[]` for a number, `[entries]`, or the shape of samples.
fn entry_shape(compiled: &Compiled, array: &Array) -> Vec<usize> {
    if !array.index.rows.is_empty() {
        return if array.index.columns.is_empty() { vec![] } else { vec![array.index.rows.len()] };
    }
    let graph = &compiled.bound.graph;
    let name = if array.im.is_some() { format!("{}.re", array.name) } else { array.name.clone() };
    let Some(output) = graph.outputs.iter().find(|o| o.name == name) else {
        return vec![array.re.len()];
    };
    let ty = graph.ty(output.value);
    let skip = usize::from(compiled.bound.batch.is_some());
    ty.axes.iter().skip(skip).copied().chain(transforms::space_shape(ty.space, false)).collect()
}

/// Format of a file of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableKind {
    /// NumPy's archive.
    Npz,
    /// One object.
    Json,
    /// One row per number.
    Csv,
    /// Named tensors.
    Safetensors,
}

impl From<TableKind> for Format {
    fn from(kind: TableKind) -> Format {
        match kind {
            TableKind::Npz => Format::Npz,
            TableKind::Json => Format::Json,
            TableKind::Csv => Format::Csv,
            TableKind::Safetensors => Format::Safetensors,
        }
    }
}

/// Arrays of an output file as a table of coefficients.
fn table(arrays: &[(String, NamedArray)], metadata: &serde_json::Value) -> Result<Table, TableError> {
    let find = |name: String| arrays.iter().find(|(other, _)| *other == name).map(|(_, array)| array);
    let outputs = arrays
        .iter()
        .filter_map(|(name, array)| {
            let (shape, re, im) = match array {
                NamedArray::F64 { shape, data } => (shape, data.clone(), None),
                NamedArray::C128 { shape, data } => {
                    (shape, data.iter().step_by(2).copied().collect(), Some(data.iter().skip(1).step_by(2).copied().collect()))
                }
                _ => return None,
            };
            let index = match (find(format!("{name}_index")), find(format!("{name}_index_columns"))) {
                (Some(NamedArray::I64 { data, .. }), Some(NamedArray::Texts(columns))) if !columns.is_empty() => {
                    Index { columns: columns.clone(), rows: data.chunks(columns.len()).map(<[i64]>::to_vec).collect() }
                }
                _ => Index::default(),
            };
            Some(Output::new(name, shape.clone(), re, im, index))
        })
        .collect::<Result<_, _>>()?;
    Ok(Table { metadata: metadata.clone(), outputs })
}

/// Writes the statistics of a run and further arrays, atomically, in the format asked for or else the one that the name ends in; an .npz file otherwise.
pub fn write_statistics(
    path: &Path,
    format: Option<TableKind>,
    compiled: &Compiled,
    batch: Option<usize>,
    arrays: &[Array],
    metadata: &serde_json::Value,
    further: Vec<(String, NamedArray)>,
) -> Result<(), CliError> {
    let metadata = &with_precision(metadata, compiled);
    let mut all = statistics_arrays(compiled, batch, arrays, metadata);
    all.extend(further);
    match format.map(Format::from).or(Format::of(path)) {
        None | Some(Format::Npz) => Ok(io::write_npz_atomic(path, &all)?),
        Some(format) => Ok(io::write_bytes_atomic(path, &table(&all, metadata)?.bytes(path, format)?)?),
    }
}

/// Metadata with the precision that a target error has chosen, and why.
pub fn with_precision(metadata: &serde_json::Value, compiled: &Compiled) -> serde_json::Value {
    let mut out = metadata.clone();
    if let Some(note) = compiled.plan().note("precision") {
        out["precision"] = serde_json::json!(compiled.plan().element.to_string());
        out["probe"] = serde_json::json!(note);
    }
    out
}

/// What every result says about itself: statistic, domain, options, input, version.
pub fn metadata(
    source: &Source,
    domain: &dyn Domain,
    statistic: &StatisticOptions,
    device: &DeviceOptions,
    norms: Option<&Norms>,
    input: &Path,
) -> Result<serde_json::Value, CliError> {
    let checked = source.statistic(statistic.name())?;
    // JSON has no infinities, so numbers outside its range are texts.
    let number = |x: f64| if x.is_finite() { serde_json::json!(x) } else { serde_json::json!(x.to_string()) };
    let parameters: serde_json::Map<String, serde_json::Value> =
        statistic.numbers()?.into_iter().map(|(name, value)| (name, number(value))).collect();
    Ok(serde_json::json!({
        "scatterc": env!("CARGO_PKG_VERSION"),
        "statistic": checked.statistic.to_string(),
        "name": checked.statistic.name.name,
        "variant": statistic.variant(),
        "domain": domain.describe(),
        "parameters": parameters,
        "normalised": norms.map(|n| n.by.clone()),
        "floor": norms.and(statistic.floor),
        "input": file_name(input),
        "device": device.name(),
        "precision": device.precision_name(),
    }))
}

// ------------------------------------------------------------------------------------------------------------ the terminal

/// Writes results to stdout. A reader that went away, such as `head`, is no fault.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") }).and_then(|()| out.flush());
    match written {
        Err(found) if found.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(IoError::Write { path: "stdout".into(), expected: "a place for results".into(), found }.into())
        }
        _ => Ok(()),
    }
}

/// One line on stderr, whatever becomes of it.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Progress on stderr: a bar on a terminal, a line every few seconds elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    total: u64,
    what: String,
    start: Instant,
    last: Instant,
}

impl Progress {
    /// `total` steps of `what`, such as "fields".
    pub fn new(global: &Global, total: u64, what: &str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !global.quiet).then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len} {eta} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_prefix(what.to_string());
            bar
        });
        Progress { bar, quiet: global.quiet, total, what: what.into(), start: Instant::now(), last: Instant::now() }
    }

    /// `done` steps are done; `message` may be empty.
    pub fn at(&mut self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message.to_string());
            }
            None if !self.quiet && (self.last.elapsed() > Duration::from_secs(2) && done < self.total) => {
                self.last = Instant::now();
                complain(format!("{} {done}/{} ({:.0} s) {message}", self.what, self.total, self.start.elapsed().as_secs_f64()).trim_end());
            }
            None => {}
        }
    }

    /// All done, or given up.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
