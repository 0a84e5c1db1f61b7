//! Arrays in and out of files: `.npy`, `.npz`, and HEALPix maps in `.fits` and `.fits.gz`.
//!
//! Holds readers that refuse anything they do not understand, with the path, what was expected and what was found, and writers that
//! either finish or leave no trace: they write beside the target, flush, and rename. Formats are told apart by content, not by name.
//! Refuses transforms and physics: what comes in is returned in the layout it has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering as AtomicOrdering};

use fitsio_pure::bintable::{BinaryColumnType, parse_binary_table_columns, read_binary_column_physical};
use fitsio_pure::hdu::{Hdu, HduInfo};
use fitsio_pure::header::{Card, header_byte_len, parse_header_blocks};
use fitsio_pure::value::Value;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::Header;
use scatterc::kernels::healpix::nside_of;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The value healpy writes where a pixel was not observed.
pub const UNSEEN: f64 = -1.6375e30;

/// What every reader accepts, for messages.
const FORMATS: &str = "a .npy, .npz, .fits or .fits.gz file";

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The file could not be opened or read.
    #[error("{}: cannot read: {found}; expected {expected}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What the system said.
        found: io::Error,
    },
    /// The content is none of the formats known here.
    #[error("{}: not a format known here: expected {expected}, found {found}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The formats that are known.
        expected: String,
        /// How the file begins.
        found: String,
    },
    /// The content begins like a known format but is damaged, cut short, or uses a part of it that is not read here.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Malformed {
        /// The file, with the array's name for archives.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },
    /// The elements have a type that is not read here.
    #[error("{}: elements of type {found}; expected {expected}", .path.display())]
    ElementType {
        /// The file, with the array's name for archives.
        path: PathBuf,
        /// The types that are read.
        expected: String,
        /// The type in the file.
        found: String,
    },
    /// The array's shape is not one of a field.
    #[error("{}: an array of {found}; expected {expected}", .path.display())]
    Shape {
        /// The file, with the array's name for archives.
        path: PathBuf,
        /// The shapes that are read.
        expected: String,
        /// The element type and shape in the file.
        found: String,
    },
    /// NaN or infinite values.
    #[error("{}: expected {expected}, found {found} that are not finite, the first of them {value} at {first:?}", .path.display())]
    NotFinite {
        /// The file, with the array's name for archives.
        path: PathBuf,
        /// "finite numbers".
        expected: String,
        /// How many values are NaN or infinite.
        found: usize,
        /// Index of the first one.
        first: Vec<usize>,
        /// The first one.
        value: String,
    },
    /// Pixels marked as not observed.
    #[error("{}: expected {expected}, found {found} of {total} pixels masked (UNSEEN, -1.6375e30); fill them before", .path.display())]
    Masked {
        /// The file.
        path: PathBuf,
        /// "a full-sky map".
        expected: String,
        /// How many pixels are masked.
        found: usize,
        /// How many pixels there are.
        total: usize,
    },
    /// An archive without the array that was looked for.
    #[error("{}: expected {expected}, found {}", .path.display(), list(.found))]
    NoArray {
        /// The file.
        path: PathBuf,
        /// The name that was looked for.
        expected: String,
        /// The names in the archive.
        found: Vec<String>,
    },
    /// A table without the column that was asked for.
    #[error("{}: no column {expected:?}; the table has {}", .path.display(), list(.found))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column that was asked for.
        expected: String,
        /// The columns in the table.
        found: Vec<String>,
    },
    /// The map's file and the caller disagree about the order of pixels, or neither says it.
    #[error("{}: pixel ordering: expected {expected}, found {found}", .path.display())]
    Ordering {
        /// The file.
        path: PathBuf,
        /// What is needed.
        expected: String,
        /// What the header says.
        found: String,
    },
    /// The output cannot be created or completed. An earlier file of that name is untouched.
    #[error("{}: cannot write: expected {expected}, found: {found}", .path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the place should allow.
        expected: String,
        /// What the system said.
        found: io::Error,
    },
    /// An array whose length is not the product of its shape was to be written.
    #[error("{}: array {name:?}: expected {expected} numbers for its shape, found {found}", .path.display())]
    Length {
        /// The output.
        path: PathBuf,
        /// The array.
        name: String,
        /// Product of the shape, times two if complex.
        expected: usize,
        /// Length of the data.
        found: usize,
    },
}

/// Names for a message.
fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Order of HEALPix pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// Along rings of equal colatitude, north to south.
    Ring,
    /// Along the quadtree of each base face.
    Nested,
}

impl Ordering {
    /// As FITS headers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Ordering::Ring => "RING",
            Ordering::Nested => "NESTED",
        }
    }
}

/// What a caller may say about an input beyond its path.
#[derive(Debug, Clone, Default)]
pub struct InputOptions {
    /// Order of a HEALPix map. `.npy` maps carry none and default to NESTED; FITS maps carry one, and a different wish is an error.
    pub ordering: Option<Ordering>,
    /// Column of a FITS table: a name, or a number from 0; several with commas, or `all`, where several maps are read. Default: the first.
    pub column: Option<String>,
    /// Array of an `.npz` archive. Default: `flm`, or the only one.
    pub array: Option<String>,
    /// Masked pixels of a HEALPix map are NaN instead of an error.
    pub unseen: bool,
}

/// A field, or a batch of fields, as a file holds it.
///
/// `batch` is the list of leading axes: empty for one field, `[B]` for a batch. Data are in C order, complex numbers interleaved.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Harmonic coefficients of real fields, m >= 0: complex `[.., L, L]`, axes (ell, m).
    Half {
        /// Leading axes.
        batch: Vec<usize>,
        /// Bandlimit.
        L: usize,
        /// re and im interleaved.
        data: Vec<f64>,
    },
    /// Harmonic coefficients for all m: complex `[.., L, 2L - 1]`, axes (ell, L - 1 + m).
    Full {
        /// Leading axes.
        batch: Vec<usize>,
        /// Bandlimit.
        L: usize,
        /// re and im interleaved.
        data: Vec<f64>,
    },
    /// Real maps on the Gauss-Legendre grid: `[.., L, 2L - 1]`, axes (theta, phi).
    Grid {
        /// Leading axes.
        batch: Vec<usize>,
        /// Bandlimit.
        L: usize,
        /// Samples.
        data: Vec<f64>,
    },
    /// A full-sky HEALPix map.
    Healpix {
        /// Resolution; the map has 12 nside^2 pixels.
        nside: usize,
        /// NESTED rather than RING.
        nested: bool,
        /// Pixels in that order.
        map: Vec<f64>,
        /// The FITS column it came from, if it has a name.
        column: Option<String>,
    },
}

/// An array of a file, with its shape; data in C order.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedArray {
    /// Real numbers; float32 is widened on reading.
    F64 {
        /// Axes; empty for a scalar.
        shape: Vec<usize>,
        /// Values.
        data: Vec<f64>,
    },
    /// Integers; narrower ones and booleans are widened on reading.
    I64 {
        /// Axes; empty for a scalar.
        shape: Vec<usize>,
        /// Values.
        data: Vec<i64>,
    },
    /// Complex numbers, re and im interleaved; complex64 is widened on reading.
    C128 {
        /// Axes, not counting re and im; empty for a scalar.
        shape: Vec<usize>,
        /// Values.
        data: Vec<f64>,
    },
    /// One string, a NumPy unicode scalar (`numpy.load(..)[name].item()`).
    Text(String),
    /// A list of strings, a one-dimensional NumPy unicode array. NumPy does not keep trailing NUL characters.
    Texts(Vec<String>),
}

impl NamedArray {
    /// Axes; empty for scalars and single strings.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            NamedArray::F64 { shape, .. } | NamedArray::I64 { shape, .. } | NamedArray::C128 { shape, .. } => shape.clone(),
            NamedArray::Text(_) => vec![],
            NamedArray::Texts(texts) => vec![texts.len()],
        }
    }

    /// Element type and shape for messages, as `complex128 [4, 4]`.
    pub fn describe(&self) -> String {
        let name = match self {
            NamedArray::F64 { .. } => "float64",
            NamedArray::I64 { .. } => "int64",
            NamedArray::C128 { .. } => "complex128",
            NamedArray::Text(_) | NamedArray::Texts(_) => "text",
        };
        format!("{name} {:?}", self.shape())
    }
}

// ---------------------------------------------------------------------------------------------------------------- reading

/// Reads a field from `.npy`, `.npz`, `.fits` or `.fits.gz`.
///
/// | content | result |
/// |---|---|
/// | complex `[L, L]`, `[B, L, L]` | [`Input::Half`]; `[1, 1]` too |
/// | complex `[L, 2L - 1]`, `[B, L, 2L - 1]` | [`Input::Full`] |
/// | real `[L, 2L - 1]`, `[B, L, 2L - 1]` | [`Input::Grid`] |
/// | real `[12 nside^2]`, FITS table | [`Input::Healpix`] |
///
/// float32, float64, complex64 and complex128 of either byte order, in C or Fortran order. An `.npz` gives the array named `flm`, or its only one.
///
/// Error: a typed error for anything else, for values that are not finite and for masked pixels; each names path, expected and found.
pub fn read_input(path: &Path, options: &InputOptions) -> Result<Input, IoError> {
    parse_input(path, &read_bytes(path, FORMATS)?, options)
}

/// The field in the bytes of a file; the path is for messages.
pub fn parse_input(path: &Path, bytes: &[u8], options: &InputOptions) -> Result<Input, IoError> {
    match sniff(path, bytes)? {
        FileKind::Npy => classify(path, parse_npy(path, bytes)?, options.ordering),
        FileKind::Npz => {
            let (at, array) = pick_array(path, bytes, options.array.as_deref())?;
            classify(&at, array, options.ordering)
        }
        FileKind::Fits => read_healpix(path, bytes, options),
        FileKind::Gzip => read_healpix(path, &unzipped(path, bytes)?, options),
    }
}

/// Reads any `.npy` array, for callers with shapes of their own such as planar images. Values may be NaN.
pub fn read_npy(path: &Path) -> Result<NamedArray, IoError> {
    let bytes = read_bytes(path, "a .npy file")?;
    match sniff(path, &bytes)? {
        FileKind::Npy => parse_npy(path, &bytes),
        _ => Err(IoError::Format { path: path.to_owned(), expected: "a .npy file".to_owned(), found: beginning(&bytes) }),
    }
}

/// Reads every array of an `.npz` archive, stored or compressed. Values may be NaN.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, NamedArray>, IoError> {
    parse_npz(path, &read_bytes(path, "a .npz file")?)
}

/// Every array of the bytes of an `.npz` archive; the path is for messages.
pub fn parse_npz(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, NamedArray>, IoError> {
    if !matches!(sniff(path, bytes)?, FileKind::Npz) {
        return Err(IoError::Format { path: path.to_owned(), expected: "a .npz file".to_owned(), found: beginning(bytes) });
    }
    let mut archive = open_archive(path, bytes)?;
    let names = array_names(path, &mut archive)?;
    let mut left = most_unpacked();
    names.into_iter().enumerate().map(|(i, name)| Ok((name.clone(), read_member(path, &mut archive, i, &name, &mut left)?))).collect()
}

/// Refuses NaN and infinite values; `shape` gives the index of the first one its meaning.
pub fn check_finite(path: &Path, shape: &[usize], width: usize, data: &[f64]) -> Result<(), IoError> {
    let Some(first) = data.iter().position(|v| !v.is_finite()) else {
        return Ok(());
    };
    let mut rest = first / width;
    let mut index = vec![0; shape.len()];
    for (slot, &n) in index.iter_mut().zip(shape).rev() {
        *slot = rest % n;
        rest /= n;
    }
    Err(IoError::NotFinite {
        path: path.to_owned(),
        expected: "finite numbers".to_owned(),
        found: data.iter().filter(|v| !v.is_finite()).count(),
        first: index,
        value: data[first].to_string(),
    })
}

enum FileKind {
    Npy,
    Npz,
    Fits,
    Gzip,
}

fn read_bytes(path: &Path, expected: &str) -> Result<Vec<u8>, IoError> {
    fs::read(path).map_err(|found| IoError::Read { path: path.to_owned(), expected: expected.to_owned(), found })
}

fn sniff(path: &Path, bytes: &[u8]) -> Result<FileKind, IoError> {
    if bytes.starts_with(b"\x93NUMPY") {
        Ok(FileKind::Npy)
    } else if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Ok(FileKind::Npz)
    } else if bytes.starts_with(b"SIMPLE  =") {
        Ok(FileKind::Fits)
    } else if fitsio_pure::gzip::is_gzip(bytes) {
        Ok(FileKind::Gzip)
    } else {
        Err(IoError::Format { path: path.to_owned(), expected: FORMATS.to_owned(), found: beginning(bytes) })
    }
}

/// The first bytes of a file, printable, for messages.
fn beginning(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "an empty file".to_owned()
    } else {
        format!("{} bytes beginning \"{}\"", bytes.len(), bytes[..bytes.len().min(12)].escape_ascii())
    }
}

/// Element types of `.npy` files that are read here.
#[derive(Clone, Copy, PartialEq)]
enum Element {
    Float(usize),
    Complex(usize),
    Signed(usize),
    Unsigned(usize),
    Bool,
    Unicode(usize),
}

impl Element {
    /// From NumPy's type string without its byte order.
    fn parse(kind: &str) -> Option<Element> {
        let (letter, width) = kind.split_at_checked(1)?;
        let width: usize = width.parse().ok()?;
        match (letter, width) {
            ("f", 4 | 8) => Some(Element::Float(width)),
            ("c", 8 | 16) => Some(Element::Complex(width)),
            ("i", 1 | 2 | 4 | 8) => Some(Element::Signed(width)),
            ("u", 1 | 2 | 4 | 8) => Some(Element::Unsigned(width)),
            ("b", 1) => Some(Element::Bool),
            ("U", _) => Some(Element::Unicode(width.checked_mul(4)?)),
            _ => None,
        }
    }

    fn size_bytes(self) -> usize {
        match self {
            Element::Float(n) | Element::Complex(n) | Element::Signed(n) | Element::Unsigned(n) | Element::Unicode(n) => n,
            Element::Bool => 1,
        }
    }
}

/// Parses one `.npy` image. Sizes are compared with the bytes that are there before anything is allocated.
pub fn parse_npy(path: &Path, bytes: &[u8]) -> Result<NamedArray, IoError> {
    let malformed = |expected: &str, found: String| IoError::Malformed { path: path.to_owned(), expected: expected.to_owned(), found };
    // The header's length is checked here because the parser allocates what the file claims.
    let declared = match bytes.get(6..12) {
        Some([1, _, a, b, ..]) => 10 + usize::from(u16::from_le_bytes([*a, *b])),
        Some([2 | 3, _, a, b, c, d]) => 12 + u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        Some([major, minor, ..]) => {
            return Err(malformed("version 1, 2 or 3 of the .npy format", format!("version {major}.{minor}")));
        }
        _ => return Err(malformed("a .npy header", beginning(bytes))),
    };
    let Some(text) = bytes.get(..declared) else {
        return Err(malformed(&format!("a .npy header of {declared} bytes"), format!("{} bytes", bytes.len())));
    };
    // Types with fields nest brackets; without a bound on them a hostile header would exhaust the parser's stack.
    if text.iter().filter(|b| matches!(b, b'(' | b'[' | b'{')).count() > 64 {
        return Err(malformed("a header with a simple element type", "more than 64 brackets in it".to_owned()));
    }
    let mut reader = bytes;
    let header = Header::from_reader(&mut reader).map_err(|error| malformed("a .npy header", error.to_string()))?;

    let unknown = |found: String| IoError::ElementType {
        path: path.to_owned(),
        expected: "float32, float64, complex64, complex128, integers, booleans or text".to_owned(),
        found,
    };
    let name = header.type_descriptor.as_string().ok_or_else(|| unknown(header.type_descriptor.to_string()))?;
    let (order, kind) = name.split_at_checked(1).filter(|(order, _)| matches!(*order, "<" | ">" | "|" | "=")).unwrap_or(("|", name.as_str()));
    let element = Element::parse(kind).ok_or_else(|| unknown(name.clone()))?;
    let big = match order {
        ">" => true,
        "=" => cfg!(target_endian = "big"),
        _ => false,
    };

    let shape = header.shape.clone();
    let size = element.size_bytes();
    let expected =
        shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)).filter(|n| n.checked_mul(size).is_some_and(|b| b <= isize::MAX as usize));
    let Some(count) = expected else {
        return Err(malformed("a shape that fits into memory", format!("{name} {shape:?}")));
    };
    if reader.len() != count * size {
        return Err(malformed(&format!("{} bytes of data for {name} {shape:?}", count * size), format!("{} bytes", reader.len())));
    }
    // A zero-size element would let a few bytes claim any number of strings.
    if size == 0 && count > 1 << 16 {
        return Err(malformed("elements with a size", format!("{name} {shape:?}")));
    }

    let fortran = header.layout.is_fortran();
    Ok(match element {
        Element::Float(4) => {
            NamedArray::F64 { data: ordered(&shape, fortran, decode::<4, f64>(reader, big, |b| f32::from_le_bytes(b).into())), shape }
        }
        Element::Float(_) => NamedArray::F64 { data: ordered(&shape, fortran, decode::<8, f64>(reader, big, f64::from_le_bytes)), shape },
        Element::Complex(width) => {
            let flat = if width == 8 {
                decode::<4, f64>(reader, big, |b| f32::from_le_bytes(b).into())
            } else {
                decode::<8, f64>(reader, big, f64::from_le_bytes)
            };
            let pairs: Vec<[f64; 2]> = flat.chunks_exact(2).map(|c| [c[0], c[1]]).collect();
            NamedArray::C128 { data: ordered(&shape, fortran, pairs).into_iter().flatten().collect(), shape }
        }
        Element::Signed(width) => {
            let flat = match width {
                1 => decode::<1, i64>(reader, big, |b| i8::from_le_bytes(b).into()),
                2 => decode::<2, i64>(reader, big, |b| i16::from_le_bytes(b).into()),
                4 => decode::<4, i64>(reader, big, |b| i32::from_le_bytes(b).into()),
                _ => decode::<8, i64>(reader, big, i64::from_le_bytes),
            };
            NamedArray::I64 { data: ordered(&shape, fortran, flat), shape }
        }
        Element::Unsigned(width) => {
            let flat = match width {
                1 => decode::<1, u64>(reader, big, |b| b[0].into()),
                2 => decode::<2, u64>(reader, big, |b| u16::from_le_bytes(b).into()),
                4 => decode::<4, u64>(reader, big, |b| u32::from_le_bytes(b).into()),
                _ => decode::<8, u64>(reader, big, u64::from_le_bytes),
            };
            let flat = flat
                .into_iter()
                .map(|v| i64::try_from(v).map_err(|_| malformed("integers below 2^63", format!("{v}"))))
                .collect::<Result<Vec<i64>, IoError>>()?;
            NamedArray::I64 { data: ordered(&shape, fortran, flat), shape }
        }
        Element::Bool => NamedArray::I64 { data: ordered(&shape, fortran, reader.iter().map(|&b| i64::from(b != 0)).collect()), shape },
        Element::Unicode(_) => {
            let texts = (0..count)
                .map(|i| {
                    let points = decode::<4, u32>(&reader[i * size..(i + 1) * size], big, u32::from_le_bytes);
                    let text: Option<String> = points.into_iter().map(char::from_u32).collect();
                    text.map(|t| t.trim_end_matches('\0').to_owned())
                        .ok_or_else(|| malformed("Unicode text", "a value that is no character".to_owned()))
                })
                .collect::<Result<Vec<String>, IoError>>()?;
            match shape.len() {
                0 => NamedArray::Text(texts.into_iter().next().unwrap_or_default()),
                1 => NamedArray::Texts(texts),
                _ => {
                    return Err(IoError::Shape {
                        path: path.to_owned(),
                        expected: "text without or with one axis".to_owned(),
                        found: format!("text {shape:?}"),
                    });
                }
            }
        }
    })
}

/// Elements of N bytes each, in either byte order.
fn decode<const N: usize, T>(bytes: &[u8], big: bool, from_le: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| {
            let mut chunk = *chunk;
            if big {
                chunk.reverse();
            }
            from_le(chunk)
        })
        .collect()
}

/// Brings Fortran order into C order.
fn ordered<T: Clone>(shape: &[usize], fortran: bool, data: Vec<T>) -> Vec<T> {
    if !fortran || shape.len() < 2 {
        return data;
    }
    // ndarray refuses shapes it cannot address; those have no elements and no order.
    match ArrayD::from_shape_vec(IxDyn(shape).f(), data) {
        Ok(array) => array.iter().cloned().collect(),
        Err(_) => Vec::new(),
    }
}

fn archive_error(path: &Path, error: &ZipError) -> IoError {
    IoError::Malformed {
        path: path.to_owned(),
        expected: "a whole .npz archive".to_owned(),
        found: match error {
            // The outer error only says that there is an inner one.
            ZipError::Io(inner) => inner.to_string(),
            other => other.to_string(),
        },
    }
}

/// Most bytes that compressed files may unpack to: what the machine could hold.
fn most_unpacked() -> u64 {
    scatterc::runtime::limits::machine_memory().unwrap_or(1 << 40)
}

fn too_large(path: &Path, most: u64) -> IoError {
    IoError::Malformed { path: path.to_owned(), expected: format!("data that unpack to at most {most} bytes"), found: "more".to_owned() }
}

fn open_archive<'a>(path: &Path, bytes: &'a [u8]) -> Result<ZipArchive<Cursor<&'a [u8]>>, IoError> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| archive_error(path, &error))
}

/// Names of the members in order, without their `.npy`.
fn array_names(path: &Path, archive: &mut ZipArchive<Cursor<&[u8]>>) -> Result<Vec<String>, IoError> {
    (0..archive.len())
        .map(|i| {
            let member = archive.by_index_raw(i).map_err(|error| archive_error(path, &error))?;
            let name = member.name();
            Ok(name.strip_suffix(".npy").unwrap_or(name).to_owned())
        })
        .collect()
}

/// One array of an archive. Its errors carry the path `archive.npz/name`. What it unpacks to is taken from `left`, the bytes that may still be unpacked.
fn read_member(path: &Path, archive: &mut ZipArchive<Cursor<&[u8]>>, i: usize, name: &str, left: &mut u64) -> Result<NamedArray, IoError> {
    let at = path.join(name);
    let member = archive.by_index(i).map_err(|error| archive_error(&at, &error))?;
    let mut bytes = Vec::new();
    member.take(left.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| archive_error(&at, &ZipError::Io(error)))?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| too_large(&at, *left))?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(IoError::Malformed { path: at, expected: "a .npy image".to_owned(), found: beginning(&bytes) });
    }
    parse_npy(&at, &bytes)
}

/// The array of an archive that is the field, with the path to show in messages.
fn pick_array(path: &Path, bytes: &[u8], wanted: Option<&str>) -> Result<(PathBuf, NamedArray), IoError> {
    let mut archive = open_archive(path, bytes)?;
    let names = array_names(path, &mut archive)?;
    let chosen = match wanted {
        Some(name) => names.iter().position(|n| n == name),
        None if names.len() == 1 => Some(0),
        None => names.iter().position(|n| n == "flm"),
    };
    let Some(chosen) = chosen else {
        return Err(IoError::NoArray {
            path: path.to_owned(),
            expected: match wanted {
                Some(name) => format!("an array named {name:?}"),
                None => "one array, or one named \"flm\"".to_owned(),
            },
            found: names,
        });
    };
    let array = read_member(path, &mut archive, chosen, &names[chosen], &mut most_unpacked())?;
    Ok((path.join(&names[chosen]), array))
}

/// Recognises a field by element type and shape.
fn classify(path: &Path, array: NamedArray, ordering: Option<Ordering>) -> Result<Input, IoError> {
    let found = array.describe();
    let wrong_shape = || IoError::Shape {
        path: path.to_owned(),
        expected: "complex [L, L] (m >= 0) or [L, 2L - 1] (all m), real [L, 2L - 1] (a Gauss-Legendre map), \
                   each with or without a leading batch axis, or real [12 nside^2] (a HEALPix map)"
            .to_owned(),
        found: found.clone(),
    };
    // Axes of one field, after at most one batch axis.
    let split = |shape: &[usize]| match *shape {
        [rows, columns] if rows > 0 && columns > 0 => Some((vec![], rows, columns)),
        [batch, rows, columns] if batch > 0 && rows > 0 && columns > 0 => Some((vec![batch], rows, columns)),
        _ => None,
    };
    match array {
        NamedArray::C128 { shape, data } => {
            let (batch, L, columns) = split(&shape).ok_or_else(wrong_shape)?;
            check_finite(path, &shape, 2, &data)?;
            if columns == L {
                Ok(Input::Half { batch, L, data })
            } else if columns == 2 * L - 1 {
                Ok(Input::Full { batch, L, data })
            } else {
                Err(wrong_shape())
            }
        }
        NamedArray::F64 { shape, data } if shape.len() == 1 => {
            let nside = nside_of(data.len()).ok_or_else(wrong_shape)?;
            let nested = ordering != Some(Ordering::Ring);
            healpix_input(path, nside, nested, data, None, false)
        }
        NamedArray::F64 { shape, data } => {
            let (batch, L, columns) = split(&shape).ok_or_else(wrong_shape)?;
            if columns != 2 * L - 1 {
                return Err(wrong_shape());
            }
            check_finite(path, &shape, 1, &data)?;
            Ok(Input::Grid { batch, L, data })
        }
        NamedArray::I64 { .. } | NamedArray::Text(_) | NamedArray::Texts(_) => {
            Err(IoError::ElementType { path: path.to_owned(), expected: "float32, float64, complex64 or complex128".to_owned(), found })
        }
    }
}

/// The last checks of any HEALPix map.
fn healpix_input(path: &Path, nside: usize, nested: bool, mut map: Vec<f64>, column: Option<String>, unseen: bool) -> Result<Input, IoError> {
    // float32 files hold UNSEEN rounded, hence the tolerance healpy uses too.
    let is_masked = |v: f64| (v - UNSEEN).abs() <= 1e-5 * UNSEEN.abs();
    let masked = map.iter().filter(|v| is_masked(**v)).count();
    if masked > 0 && !unseen {
        return Err(IoError::Masked { path: path.to_owned(), expected: "a full-sky map".to_owned(), found: masked, total: map.len() });
    }
    check_finite(path, &[map.len()], 1, &map)?;
    map.iter_mut().filter(|v| is_masked(**v)).for_each(|v| *v = f64::NAN);
    if nested && !nside.is_power_of_two() {
        return Err(IoError::Ordering {
            path: path.to_owned(),
            expected: "an nside that is a power of two for NESTED ordering".to_owned(),
            found: format!("nside = {nside}"),
        });
    }
    Ok(Input::Healpix { nside, nested, map, column })
}

/// A `.npy` file of many fields, read piece by piece: its memory is that of a piece.
pub struct Stack {
    path: PathBuf,
    file: File,
    /// Bytes before the first number.
    start: u64,
    /// NumPy's name of the elements, and their bytes.
    kind: String,
    size: u64,
    /// Axes; the first counts fields.
    pub shape: Vec<usize>,
}

impl Stack {
    /// Opens a file and reads its header. Error: no `.npy` file in C order with an axis of fields before two others; another number of bytes than the header says.
    pub fn open(path: &Path) -> Result<Stack, IoError> {
        let expected = "a .npy file of fields, [fields, rows, columns], in C order";
        let failed = |found| IoError::Read { path: path.to_owned(), expected: expected.to_owned(), found };
        let malformed = |expected: &str, found: String| IoError::Malformed { path: path.to_owned(), expected: expected.to_owned(), found };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        // Headers of NumPy have at most 64 KiB; `parse_npy` checks a small array under the same header.
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(1 << 16).read_to_end(&mut head).map_err(failed)?;
        let start = match head.get(6..10) {
            Some([1, _, a, b]) if head.starts_with(b"\x93NUMPY") => 10 + usize::from(u16::from_le_bytes([*a, *b])),
            _ => return Err(IoError::Format { path: path.to_owned(), expected: expected.to_owned(), found: beginning(&head) }),
        };
        let Some(text) = head.get(..start).filter(|text| text.iter().filter(|b| matches!(b, b'(' | b'[' | b'{')).count() <= 8) else {
            return Err(malformed("a .npy header", format!("{} bytes", head.len())));
        };
        let header = Header::from_reader(&mut &text[..]).map_err(|error| malformed("a .npy header", error.to_string()))?;
        let kind = header.type_descriptor.as_string().cloned().unwrap_or_default();
        let size = match kind.trim_start_matches(['<', '>', '=']) {
            "f4" => 4,
            "f8" | "c8" => 8,
            "c16" => 16,
            _ => {
                let expected = "float32, float64, complex64 or complex128".to_owned();
                return Err(IoError::ElementType { path: path.to_owned(), expected, found: header.type_descriptor.to_string() });
            }
        };
        let shape = header.shape.clone();
        if shape.len() != 3 || header.layout.is_fortran() || shape.contains(&0) {
            let order = if header.layout.is_fortran() { ", Fortran order" } else { "" };
            return Err(IoError::Shape { path: path.to_owned(), expected: expected.to_owned(), found: format!("{kind} {shape:?}{order}") });
        }
        let bytes = shape.iter().try_fold(size, |n: u64, axis| n.checked_mul(*axis as u64)).and_then(|n| n.checked_add(start as u64));
        if bytes != Some(length) {
            let expected = bytes.map_or("a shape that fits into a file".to_owned(), |n| format!("{n} bytes for {kind} {shape:?}"));
            return Err(malformed(&expected, format!("{length} bytes")));
        }
        Ok(Stack { path: path.to_owned(), file, start: start as u64, kind, size, shape })
    }

    /// Fields `first .. first + count`.
    pub fn read(&mut self, first: usize, count: usize) -> Result<Input, IoError> {
        let each = (self.shape[1] * self.shape[2]) as u64 * self.size;
        let mut bytes = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({count}, {}, {}), }}\n", self.kind, self.shape[1], self.shape[2])
            .into_bytes();
        let header = (bytes.len() as u16).to_le_bytes();
        bytes.splice(0..0, [b"\x93NUMPY\x01\x00", &header[..]].concat());
        let failed = |found| IoError::Read { path: self.path.clone(), expected: format!("fields {first} to {}", first + count), found };
        self.file.seek(SeekFrom::Start(self.start + first as u64 * each)).map_err(failed)?;
        let wanted = count as u64 * each;
        let read = Read::by_ref(&mut self.file).take(wanted).read_to_end(&mut bytes).map_err(failed)?;
        if read as u64 != wanted {
            return Err(IoError::Malformed {
                path: self.path.clone(),
                expected: format!("{wanted} bytes of fields {first} to {}", first + count),
                found: format!("{read} bytes"),
            });
        }
        let at = self.path.with_file_name(format!("{}[{first}..{}]", self.path.file_name().unwrap_or_default().to_string_lossy(), first + count));
        classify(&at, parse_npy(&at, &bytes)?, None)
    }
}

// ------------------------------------------------------------------------------------------------------------------- FITS

/// Walks the header units. Sizes that the file cannot hold are refused before fitsio-pure computes with them.
fn fits_units(path: &Path, bytes: &[u8]) -> Result<Vec<Hdu>, IoError> {
    let malformed = |expected: &str, found: String| IoError::Malformed { path: path.to_owned(), expected: expected.to_owned(), found };
    let mut units = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        // The standard allows printable ASCII only; fitsio-pure cuts strings at byte positions and relies on it.
        let printable = |n: usize| rest[..n].iter().all(|b| (0x20..0x7f).contains(b));
        let parsed = header_byte_len(rest).and_then(|n| {
            if n > rest.len() || !printable(n) {
                return Err(fitsio_pure::Error::InvalidHeader("not printable ASCII"));
            }
            Ok((n, parse_header_blocks(&rest[..n])?))
        });
        let (header_len, cards) = match parsed {
            Ok(parsed) => parsed,
            // Some writers pad files after the last unit; what follows a whole unit is not ours to judge.
            Err(_) if !units.is_empty() => break,
            Err(error) => return Err(malformed("a FITS header", error.to_string())),
        };
        let mut data_len = 1usize;
        for (key, most) in [("NAXIS", 999), ("TFIELDS", 999), ("PCOUNT", bytes.len()), ("GCOUNT", bytes.len())] {
            if let Some(value) = integer(&cards, key)
                && !(0..=most as i64).contains(&value)
            {
                return Err(malformed(&format!("{key} between 0 and {most}"), format!("{key} = {value}")));
            }
        }
        let bitpix = integer(&cards, "BITPIX").unwrap_or(8);
        if !matches!(bitpix, 8 | 16 | 32 | 64 | -32 | -64) {
            return Err(malformed("BITPIX 8, 16, 32, 64, -32 or -64", format!("BITPIX = {bitpix}")));
        }
        let n_axes = integer(&cards, "NAXIS").unwrap_or(0);
        let remaining = bytes.len() - offset;
        for axis in 1..=n_axes {
            let value = integer(&cards, &format!("NAXIS{axis}")).unwrap_or(-1);
            let next = usize::try_from(value).ok().and_then(|n| data_len.checked_mul(n)).filter(|n| *n <= remaining);
            let Some(next) = next else {
                return Err(malformed(
                    &format!("NAXIS{axis} of a table or image within the file's {} bytes", bytes.len()),
                    format!("NAXIS{axis} = {value}, or a file cut short"),
                ));
            };
            data_len = next;
        }
        let hdu = Hdu::from_cards(cards, offset, offset + header_len).map_err(|error| malformed("a FITS header", error.to_string()))?;
        let end = hdu.data_start.checked_add(hdu.data_len);
        let Some(end) = end.filter(|end| *end <= bytes.len()) else {
            return Err(malformed(
                &format!("{} bytes of data in unit {}", hdu.data_len, units.len()),
                format!("{} bytes until the end of the file", bytes.len().saturating_sub(hdu.data_start)),
            ));
        };
        units.push(hdu);
        offset = end.div_ceil(fitsio_pure::BLOCK_SIZE) * fitsio_pure::BLOCK_SIZE;
    }
    Ok(units)
}

fn card<'a>(cards: &'a [Card], key: &str) -> Option<&'a Value> {
    cards.iter().find(|card| card.keyword_str() == key).and_then(|card| card.value.as_ref())
}

fn integer(cards: &[Card], key: &str) -> Option<i64> {
    match card(cards, key) {
        Some(Value::Integer(value)) => Some(*value),
        _ => None,
    }
}

fn string(cards: &[Card], key: &str) -> Option<String> {
    match card(cards, key) {
        Some(Value::String(value)) => Some(value.trim().to_owned()),
        _ => None,
    }
}

/// HEALPix maps of one table, as they stand in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct HealpixTable {
    /// Resolution.
    pub nside: usize,
    /// NESTED rather than RING.
    pub nested: bool,
    /// The pixel number of every value where the file says them (a partial sky); absent for the whole sphere.
    pub pixels: Option<Vec<usize>>,
    /// One map per column that was asked for; masked pixels are NaN.
    pub maps: Vec<Vec<f64>>,
    /// Names of these columns, where they have one.
    pub columns: Vec<Option<String>>,
}

/// Reads HEALPix maps from `.fits` or `.fits.gz`: whole spheres and, with explicit pixel numbers, parts of them.
///
/// `options.column` may list columns with commas, or say `all`.
pub fn read_healpix_table(path: &Path, options: &InputOptions) -> Result<HealpixTable, IoError> {
    let expected = "a .fits or .fits.gz file";
    parse_healpix_table(path, &read_bytes(path, expected)?, options)
}

/// The maps in the bytes of a FITS file, which may be gzipped; the path is for messages.
pub fn parse_healpix_table(path: &Path, bytes: &[u8], options: &InputOptions) -> Result<HealpixTable, IoError> {
    match sniff(path, bytes)? {
        FileKind::Fits => parse_healpix(path, bytes, options),
        FileKind::Gzip => parse_healpix(path, &unzipped(path, bytes)?, options),
        _ => Err(IoError::Format { path: path.to_owned(), expected: "a .fits or .fits.gz file".to_owned(), found: beginning(bytes) }),
    }
}

/// A gzip file whose content may be larger than this is measured before it is unpacked.
const SMALL: usize = 1 << 30;
/// More than the most that one byte of deflated data stands for.
pub const DEFLATE_RATIO: usize = 1040;

/// Refuses a gzip file that unpacks to more than `most` bytes. Damage is left to whoever unpacks it.
fn check_unpacked(path: &Path, bytes: &[u8], most: u64) -> Result<(), IoError> {
    let mut piece = vec![0; 1 << 16];
    let mut reader = flate2::bufread::MultiGzDecoder::new(bytes);
    let mut total = 0u64;
    while let Ok(n @ 1..) = reader.read(&mut piece) {
        total += n as u64;
        if total > most {
            return Err(too_large(path, most));
        }
    }
    Ok(())
}

/// The FITS file inside a gzip file.
fn unzipped(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, IoError> {
    if bytes.len().saturating_mul(DEFLATE_RATIO) > SMALL {
        check_unpacked(path, bytes, most_unpacked())?;
    }
    let inner = fitsio_pure::gzip::decompress(bytes).map_err(|error| IoError::Malformed {
        path: path.to_owned(),
        expected: "a whole gzip file".to_owned(),
        found: error.to_string(),
    })?;
    match sniff(path, &inner)? {
        FileKind::Fits => Ok(inner),
        _ => Err(IoError::Format { path: path.to_owned(), expected: "a FITS file inside the gzip file".to_owned(), found: beginning(&inner) }),
    }
}

/// Reads one full-sky HEALPix map from a binary table, as healpy and the Planck archive write them.
fn read_healpix(path: &Path, bytes: &[u8], options: &InputOptions) -> Result<Input, IoError> {
    let HealpixTable { nside, nested, pixels, mut maps, mut columns } = parse_healpix(path, bytes, options)?;
    let malformed = |expected: &str, found: String| IoError::Malformed { path: path.to_owned(), expected: expected.to_owned(), found };
    if let Some(pixels) = pixels {
        return Err(malformed(
            "a full-sky map (INDXSCHM = 'IMPLICIT')",
            format!("a partial sky of {} pixels with explicit numbers (INDXSCHM = 'EXPLICIT')", pixels.len()),
        ));
    }
    match (maps.pop(), columns.pop(), maps.is_empty()) {
        (Some(map), Some(column), true) => {
            let masked = map.iter().filter(|v| v.is_nan()).count();
            if masked > 0 && !options.unseen {
                return Err(IoError::Masked { path: path.to_owned(), expected: "a full-sky map".to_owned(), found: masked, total: map.len() });
            }
            Ok(Input::Healpix { nside, nested, map, column })
        }
        _ => Err(malformed("one column", format!("{} columns", maps.len() + 1))),
    }
}

fn parse_healpix(path: &Path, bytes: &[u8], options: &InputOptions) -> Result<HealpixTable, IoError> {
    let malformed = |expected: &str, found: String| IoError::Malformed { path: path.to_owned(), expected: expected.to_owned(), found };
    let units = fits_units(path, bytes)?;
    let is_table = |hdu: &&Hdu| matches!(hdu.info, HduInfo::BinaryTable { .. });
    let hdu = units.iter().filter(is_table).find(|hdu| card(&hdu.cards, "NSIDE").is_some()).or_else(|| units.iter().find(is_table));
    let Some(hdu) = hdu else {
        return Err(malformed("a binary table with a HEALPix map", format!("{} units without one", units.len())));
    };
    let HduInfo::BinaryTable { naxis1, naxis2, tfields, .. } = hdu.info else {
        return Err(malformed("a binary table", "another unit".to_owned()));
    };
    let explicit = string(&hdu.cards, "INDXSCHM").is_some_and(|scheme| scheme.eq_ignore_ascii_case("EXPLICIT"));
    // fitsio-pure takes the letter of an element type for granted and multiplies its repetitions unchecked.
    for i in 1..=tfields {
        let form = string(&hdu.cards, &format!("TFORM{i}")).unwrap_or_else(|| "missing".to_owned());
        let element = form.split('(').next().unwrap_or_default();
        let digits = element.bytes().take_while(u8::is_ascii_digit).count();
        if digits == element.len() || digits > 9 {
            let expected = format!("TFORM{i}: at most nine digits and the letter of an element type");
            return Err(malformed(&expected, format!("TFORM{i} = '{form}'")));
        }
    }
    let columns = parse_binary_table_columns(&hdu.cards, tfields).map_err(|error| malformed("table columns", error.to_string()))?;
    let names: Vec<String> =
        columns.iter().enumerate().map(|(i, column)| column.name.as_deref().map_or_else(|| i.to_string(), |n| n.trim().to_owned())).collect();
    let absent = |wanted: &str| IoError::NoColumn { path: path.to_owned(), expected: wanted.to_owned(), found: names.clone() };
    // The pixel numbers of a partial sky stand in a column of that name, or in the first.
    let numbers = explicit.then(|| names.iter().position(|name| name.eq_ignore_ascii_case("PIXEL")).unwrap_or(0));
    let values: Vec<usize> = (0..columns.len()).filter(|i| numbers != Some(*i)).collect();
    let chosen: Vec<usize> = match options.column.as_deref() {
        None => values.first().copied().into_iter().collect(),
        Some("all") if !names.iter().any(|name| name == "all") => values.clone(),
        Some(list) => {
            let find = |wanted: &str| {
                names
                    .iter()
                    .position(|name| name == wanted)
                    .or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
                    .or_else(|| wanted.parse().ok().filter(|&i: &usize| i < columns.len()))
            };
            match find(list) {
                Some(one) => vec![one],
                None => list.split(',').map(|wanted| find(wanted.trim()).ok_or_else(|| absent(wanted.trim()))).collect::<Result<_, _>>()?,
            }
        }
    };
    if chosen.is_empty() {
        return Err(absent("0"));
    }
    let width = columns.iter().try_fold(0usize, |sum, column| sum.checked_add(column.byte_width));
    if width != Some(naxis1) {
        return Err(malformed(
            &format!("columns of {naxis1} bytes together (NAXIS1)"),
            width.map_or("an overflow".to_owned(), |w| format!("{w} bytes")),
        ));
    }
    let whole = [BinaryColumnType::Byte, BinaryColumnType::Short, BinaryColumnType::Int, BinaryColumnType::Long];
    let real = [BinaryColumnType::Float, BinaryColumnType::Double];
    for i in numbers.into_iter().chain(chosen.iter().copied()) {
        let kind = columns[i].col_type;
        let fits = whole.contains(&kind) || (numbers != Some(i) && real.contains(&kind));
        if !fits {
            let expected = if numbers == Some(i) {
                "a column of whole numbers (TFORM B, I, J or K)"
            } else {
                "a column of real numbers (TFORM E, D, B, I, J or K)"
            };
            return Err(IoError::ElementType {
                path: path.to_owned(),
                expected: expected.to_owned(),
                found: format!("{kind:?} in column {}", names[i]),
            });
        }
    }
    let length = |i: usize| columns[i].repeat.saturating_mul(naxis2);
    let total = length(chosen[0]);
    if let Some(other) = numbers.into_iter().chain(chosen.iter().copied()).find(|i| length(*i) != total) {
        let found = format!("{} in column {}", length(other), names[other]);
        return Err(malformed(&format!("{total} values in every column, as in {}", names[chosen[0]]), found));
    }

    let stated = match card(&hdu.cards, "NSIDE") {
        None => None,
        Some(Value::Integer(value)) => {
            let nside = usize::try_from(*value).ok().filter(|n| (1..=1 << 20).contains(n));
            Some(nside.ok_or_else(|| malformed("a positive NSIDE", format!("NSIDE = {value}")))?)
        }
        Some(other) => return Err(malformed("an integer NSIDE", format!("{other:?}"))),
    };
    let nside = if explicit {
        stated.ok_or_else(|| malformed("NSIDE in the header of a partial sky", "none".to_owned()))?
    } else {
        match (nside_of(total), stated) {
            (Some(nside), None) => nside,
            (Some(nside), Some(stated)) if nside == stated => nside,
            (_, stated) => {
                return Err(IoError::Shape {
                    path: path.to_owned(),
                    expected: stated.map_or("12 nside^2 pixels".to_owned(), |nside| format!("12 nside^2 pixels with NSIDE = {nside}")),
                    found: format!("{total} values in column {}", names[chosen[0]]),
                });
            }
        }
    };

    let written = string(&hdu.cards, "ORDERING");
    let header = match written.as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("RING") => Some(Ordering::Ring),
        // Some older writers say NEST.
        Some("NESTED" | "NEST") => Some(Ordering::Nested),
        Some(_) => {
            return Err(IoError::Ordering {
                path: path.to_owned(),
                expected: "ORDERING = 'RING' or 'NESTED'".to_owned(),
                found: format!("{:?}", written.unwrap_or_default()),
            });
        }
        None => None,
    };
    let ordering = match (header, options.ordering) {
        (Some(stated), Some(wanted)) if stated != wanted => {
            return Err(IoError::Ordering {
                path: path.to_owned(),
                expected: format!("{} as asked for", wanted.name()),
                found: format!("{} in the header", stated.name()),
            });
        }
        (Some(ordering), _) | (None, Some(ordering)) => ordering,
        (None, None) => {
            return Err(IoError::Ordering {
                path: path.to_owned(),
                expected: "ORDERING = 'RING' or 'NESTED' in the header, or an ordering named by the caller".to_owned(),
                found: "no ORDERING".to_owned(),
            });
        }
    };
    let nested = ordering == Ordering::Nested;
    if nested && !nside.is_power_of_two() {
        return Err(IoError::Ordering {
            path: path.to_owned(),
            expected: "an nside that is a power of two for NESTED ordering".to_owned(),
            found: format!("nside = {nside}"),
        });
    }

    let read = |i: usize| -> Result<Vec<f64>, IoError> {
        let values = read_binary_column_physical(bytes, hdu, i).map_err(|error| malformed("a readable column", error.to_string()))?;
        if values.len() == total {
            Ok(values)
        } else {
            Err(malformed(&format!("{total} values in column {}", names[i]), format!("{} values", values.len())))
        }
    };
    let pixels = match numbers {
        None => None,
        Some(i) => {
            let most = 12 * nside * nside;
            let numbers = read(i)?;
            let pixel = |x: &f64| if x.fract() == 0.0 && *x >= 0.0 && *x < most as f64 { Ok(*x as usize) } else { Err(*x) };
            let pixels: Vec<usize> = numbers
                .iter()
                .map(pixel)
                .collect::<Result<_, f64>>()
                .map_err(|x| malformed(&format!("pixel numbers from 0 to {} in column {}", most - 1, names[i]), x.to_string()))?;
            let mut sorted = pixels.clone();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
                return Err(malformed("every pixel once", format!("pixel {} twice in column {}", twice[0], names[i])));
            }
            Some(pixels)
        }
    };
    // float32 files hold UNSEEN rounded, hence the tolerance healpy uses too.
    let is_masked = |v: f64| (v - UNSEEN).abs() <= 1e-5 * UNSEEN.abs();
    let mut maps = Vec::with_capacity(chosen.len());
    for i in &chosen {
        let mut map = read(*i)?;
        check_finite(path, &[map.len()], 1, &map)?;
        map.iter_mut().filter(|v| is_masked(**v)).for_each(|v| *v = f64::NAN);
        maps.push(map);
    }
    let columns = chosen.iter().map(|i| columns[*i].name.as_ref().map(|name| name.trim().to_owned())).collect();
    Ok(HealpixTable { nside, nested, pixels, maps, columns })
}

// ---------------------------------------------------------------------------------------------------------------- writing

/// Counts temporary files of this process, so that two outputs never share one.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file that appears under its name whole or not at all.
///
/// Written beside the target, flushed to disk, then renamed over it; dropped without [`AtomicFile::commit`], it removes what it wrote.
pub struct AtomicFile {
    file: Option<File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Opens the temporary file. Error: [`IoError::Write`] if the directory is missing or does not allow it.
    pub fn create(path: &Path) -> Result<AtomicFile, IoError> {
        let refused = |expected: &str, found: io::Error| IoError::Write { path: path.to_owned(), expected: expected.to_owned(), found };
        // Through a link, the file it points to is replaced, as plain writing would do.
        let target =
            if path.is_symlink() { fs::canonicalize(path).map_err(|found| refused("a link to a file that exists", found))? } else { path.to_owned() };
        let Some(name) = target.file_name().map(OsString::from) else {
            return Err(refused("a file name", io::ErrorKind::InvalidInput.into()));
        };
        if let Ok(metadata) = fs::metadata(&target) {
            if metadata.is_dir() {
                return Err(refused("a file", io::ErrorKind::IsADirectory.into()));
            }
            if !metadata.is_file() {
                return Err(refused("a regular file", io::Error::other("a device or pipe")));
            }
            if metadata.permissions().readonly() {
                return Err(refused("a file that may be replaced", io::ErrorKind::PermissionDenied.into()));
            }
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(refused(&format!("the directory {} to exist", parent.display()), io::ErrorKind::NotFound.into()));
        }
        loop {
            let mut hidden = OsString::from(".");
            hidden.push(&name);
            hidden.push(format!(".{}.{}.part", std::process::id(), COUNTER.fetch_add(1, AtomicOrdering::Relaxed)));
            let temporary = parent.join(hidden);
            match OpenOptions::new().write(true).read(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    return Ok(AtomicFile { file: Some(file), temporary, target });
                }
                // A left-over of an earlier process with our number; the next count is free.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(found) => return Err(refused("a directory that can be written", found)),
            }
        }
    }

    /// Runs `write` on the file, flushes it to disk and gives it its name.
    pub fn commit(mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), IoError> {
        let target = self.target.clone();
        let refused = |found: io::Error| IoError::Write { path: target.clone(), expected: "the file to be completed".to_owned(), found };
        let mut file = self.file.take().expect("the file is open until commit");
        write(&mut file).and_then(|()| file.sync_all()).map_err(refused)?;
        drop(file);
        fs::rename(&self.temporary, &self.target).map_err(refused)?;
        // From here on there is nothing to remove.
        self.temporary = PathBuf::new();
        // The name itself is durable once the directory is; a file system that cannot do this has still written the file.
        #[cfg(unix)]
        if let Some(parent) = self.target.parent()
            && let Ok(directory) = File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // Closed first, because some systems do not remove open files. Failure leaves a hidden `.part` file, nothing worse.
            self.file = None;
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Whether `path` can be written, asked before long computations: creates and removes a temporary file beside it.
pub fn check_writable(path: &Path) -> Result<(), IoError> {
    AtomicFile::create(path).map(drop)
}

/// Writes `bytes` atomically.
pub fn write_bytes_atomic(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    AtomicFile::create(path)?.commit(|file| file.write_all(bytes))
}

/// Writes one array as `.npy` (version 1, little endian, C order), atomically.
pub fn write_npy_atomic(path: &Path, array: &NamedArray) -> Result<(), IoError> {
    check_length(path, "", array)?;
    AtomicFile::create(path)?.commit(|file| {
        let mut writer = BufWriter::new(file);
        write_npy(&mut writer, array)?;
        writer.flush()
    })
}

/// Writes arrays as an uncompressed `.npz` that `numpy.load` reads, in the order given, atomically. Same arrays, same bytes.
pub fn write_npz_atomic(path: &Path, arrays: &[(String, NamedArray)]) -> Result<(), IoError> {
    for (name, array) in arrays {
        check_length(path, name, array)?;
    }
    AtomicFile::create(path)?.commit(|file| {
        let mut archive = ZipWriter::new(BufWriter::new(file));
        for (name, array) in arrays {
            let large = payload_bytes(array) > u32::MAX as usize - 65536;
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
            archive.start_file(format!("{name}.npy"), options).map_err(io::Error::other)?;
            write_npy(&mut archive, array)?;
        }
        let mut writer = archive.finish().map_err(io::Error::other)?;
        writer.flush()
    })
}

/// As [`write_npz_atomic`], with the numbers of some arrays copied from files, which hold them as the archive does; `shapes` replace those of the arrays of that name.
pub fn write_npz_from(path: &Path, arrays: &[(String, NamedArray)], copied: &BTreeMap<String, (Vec<usize>, PathBuf)>) -> Result<(), IoError> {
    AtomicFile::create(path)?.commit(|file| {
        let mut archive = ZipWriter::new(BufWriter::new(file));
        for (name, array) in arrays {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
            archive.start_file(format!("{name}.npy"), options).map_err(io::Error::other)?;
            match copied.get(name) {
                None => write_npy(&mut archive, array)?,
                Some((shape, from)) => {
                    let kind = if matches!(array, NamedArray::C128 { .. }) { "<c16" } else { "<f8" };
                    write_header(&mut archive, kind, shape)?;
                    io::copy(&mut File::open(from)?, &mut archive)?;
                }
            }
        }
        let mut writer = archive.finish().map_err(io::Error::other)?;
        writer.flush()
    })
}

fn payload_bytes(array: &NamedArray) -> usize {
    match array {
        NamedArray::F64 { data, .. } | NamedArray::C128 { data, .. } => data.len() * 8,
        NamedArray::I64 { data, .. } => data.len() * 8,
        NamedArray::Text(text) => text.len() * 4,
        NamedArray::Texts(texts) => texts.len() * text_width(texts) * 4,
    }
}

fn check_length(path: &Path, name: &str, array: &NamedArray) -> Result<(), IoError> {
    let (expected, found) = match array {
        NamedArray::F64 { shape, data } => (shape.iter().product(), data.len()),
        NamedArray::I64 { shape, data } => (shape.iter().product(), data.len()),
        NamedArray::C128 { shape, data } => (2 * shape.iter().product::<usize>(), data.len()),
        NamedArray::Text(_) | NamedArray::Texts(_) => (0, 0),
    };
    if expected != found {
        return Err(IoError::Length { path: path.to_owned(), name: name.to_owned(), expected, found });
    }
    Ok(())
}

/// Characters of the longest text; NumPy has no type of width zero.
fn text_width(texts: &[String]) -> usize {
    texts.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(1)
}

/// Mark, version and header of a `.npy` image in C order.
fn write_header(writer: &mut impl Write, kind: &str, shape: &[usize]) -> io::Result<()> {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma in Python.
    let tuple = match axes.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", axes.join(", ")),
    };
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple}, }}");
    // Magic, version, length, text and newline together fill multiples of 64 bytes, so that data can be mapped aligned.
    let total = (10 + header.len() + 1).div_ceil(64) * 64;
    header.push_str(&" ".repeat(total - 10 - header.len() - 1));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| io::Error::other("an array with too many axes for the .npy format"))?;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(header.as_bytes())
}

/// The `.npy` image of an array.
fn write_npy(writer: &mut impl Write, array: &NamedArray) -> io::Result<()> {
    let kind = match array {
        NamedArray::F64 { .. } => "<f8".to_owned(),
        NamedArray::I64 { .. } => "<i8".to_owned(),
        NamedArray::C128 { .. } => "<c16".to_owned(),
        NamedArray::Text(text) => format!("<U{}", text.chars().count().max(1)),
        NamedArray::Texts(texts) => format!("<U{}", text_width(texts)),
    };
    write_header(writer, &kind, &array.shape())?;

    let text = |writer: &mut dyn Write, text: &str, width: usize| -> io::Result<()> {
        let points = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        writer.write_all(&points.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
    };
    match array {
        NamedArray::F64 { data, .. } | NamedArray::C128 { data, .. } => write_words(writer, data.iter().map(|v| v.to_le_bytes())),
        NamedArray::I64 { data, .. } => write_words(writer, data.iter().map(|v| v.to_le_bytes())),
        NamedArray::Text(one) => text(writer, one, one.chars().count().max(1)),
        NamedArray::Texts(texts) => {
            let width = text_width(texts);
            texts.iter().try_for_each(|one| text(writer, one, width))
        }
    }
}

/// Words in pieces of 64 KiB, because checksumming writers are slow on eight bytes at a time.
fn write_words(writer: &mut impl Write, mut words: impl Iterator<Item = [u8; 8]>) -> io::Result<()> {
    let mut piece = Vec::with_capacity(1 << 16);
    loop {
        piece.clear();
        piece.extend(words.by_ref().take(1 << 13).flatten());
        if piece.is_empty() {
            return Ok(());
        }
        writer.write_all(&piece)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("scatterc-io-{}-{}", std::process::id(), COUNTER.fetch_add(1, AtomicOrdering::Relaxed)));
            fs::create_dir_all(&path).expect("a temporary directory");
            Folder(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).expect("a temporary file");
            path
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(&self.0)
                .expect("the directory")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const HEALPY: &[u8] = include_bytes!("fixtures/healpy_nside4_nested.fits.gz");

    fn complex(shape: &[usize]) -> NamedArray {
        let n = 2 * shape.iter().product::<usize>();
        NamedArray::C128 { shape: shape.to_vec(), data: (0..n).map(|i| i as f64 - 3.5).collect() }
    }

    fn real(shape: &[usize]) -> NamedArray {
        let n = shape.iter().product::<usize>();
        NamedArray::F64 { shape: shape.to_vec(), data: (0..n).map(|i| i as f64 * 0.5).collect() }
    }

    /// A `.npy` image by hand, for types that are never written.
    fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(path: &Path) -> Result<Input, IoError> {
        read_input(path, &InputOptions::default())
    }

    #[test]
    fn fields_are_recognised_by_shape() {
        let folder = Folder::new();
        let path = folder.0.join("x.npy");
        let check = |array: NamedArray| {
            write_npy_atomic(&path, &array).expect("writable");
            read(&path)
        };
        assert!(matches!(check(complex(&[4, 4])), Ok(Input::Half { L: 4, batch, .. }) if batch.is_empty()));
        assert!(matches!(check(complex(&[1, 1])), Ok(Input::Half { L: 1, .. })));
        assert!(matches!(check(complex(&[3, 4, 4])), Ok(Input::Half { L: 4, batch, .. }) if batch == [3]));
        assert!(matches!(check(complex(&[4, 7])), Ok(Input::Full { L: 4, .. })));
        assert!(matches!(check(complex(&[2, 4, 7])), Ok(Input::Full { L: 4, batch, .. }) if batch == [2]));
        assert!(matches!(check(real(&[4, 7])), Ok(Input::Grid { L: 4, .. })));
        assert!(matches!(check(real(&[48])), Ok(Input::Healpix { nside: 2, nested: true, .. })));
        let ring = InputOptions { ordering: Some(Ordering::Ring), ..InputOptions::default() };
        write_npy_atomic(&path, &real(&[108])).expect("writable");
        assert!(matches!(read_input(&path, &ring), Ok(Input::Healpix { nside: 3, nested: false, .. })));
        assert!(matches!(read(&path), Err(IoError::Ordering { .. })));
        for wrong in [complex(&[4, 5]), complex(&[4]), complex(&[0, 0]), real(&[16, 16]), real(&[13]), real(&[])] {
            let error = check(wrong).expect_err("not a field");
            assert!(matches!(error, IoError::Shape { .. }), "{error}");
            assert!(error.to_string().contains("x.npy"), "{error}");
            assert!(error.to_string().contains("[L, 2L - 1]"), "{error}");
        }
    }

    #[test]
    fn byte_orders_widths_and_layouts_agree() {
        let folder = Folder::new();
        let values: Vec<f64> = (0..8).map(|i| f64::from(i) * 0.25).collect();
        let want = Input::Half { batch: vec![], L: 2, data: values.clone() };
        let c16le: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let c16be: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        let c8be: Vec<u8> = values.iter().flat_map(|v| (*v as f32).to_be_bytes()).collect();
        // Columns first: elements 0, 2, 1, 3.
        let fortran: Vec<u8> = [0, 2, 1, 3].iter().flat_map(|&i| [values[2 * i], values[2 * i + 1]]).flat_map(f64::to_le_bytes).collect();
        for (name, bytes) in [
            ("a.npy", npy("'<c16'", false, "(2, 2)", &c16le)),
            ("b.npy", npy("'>c16'", false, "(2, 2)", &c16be)),
            ("c.npy", npy("'>c8'", false, "(2, 2)", &c8be)),
            ("d.npy", npy("'<c16'", true, "(2, 2)", &fortran)),
        ] {
            assert_eq!(read(&folder.file(name, &bytes)).expect(name), want);
        }
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let folder = Folder::new();
        let whole = npy("'<c16'", false, "(2, 2)", &[0; 64]);
        let refuse = |name: &str, bytes: &[u8]| {
            let error = read(&folder.file(name, bytes)).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
            error
        };
        for cut in [3, 8, 20, whole.len() - 1] {
            let error = refuse("cut.npy", &whole[..cut]);
            assert!(matches!(error, IoError::Malformed { .. } | IoError::Format { .. }), "{error}");
        }
        assert!(matches!(refuse("text.npy", b"hello"), IoError::Format { .. }));
        assert!(matches!(refuse("empty.npy", b""), IoError::Format { .. }));
        assert!(matches!(refuse("object.npy", &npy("'|O'", false, "(1,)", &[0])), IoError::ElementType { .. }));
        assert!(matches!(refuse("fields.npy", &npy("[('a', '<f8')]", false, "(1,)", &[0; 8])), IoError::ElementType { .. }));
        assert!(matches!(refuse("integer.npy", &npy("'<i4'", false, "(12,)", &[0; 48])), IoError::ElementType { .. }));
        for shape in ["(99999999999, 99999999999)", "(4611686018427387904, 2, 2)", "(1000000000,)"] {
            assert!(matches!(refuse("huge.npy", &npy("'<f8'", false, shape, &[])), IoError::Malformed { .. }));
        }
        let nested = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(matches!(refuse("deep.npy", &npy(&nested, false, "(1,)", &[])), IoError::Malformed { .. }));
        assert!(matches!(read(&folder.0.join("absent.npy")), Err(IoError::Read { .. })));
    }

    #[test]
    fn values_that_are_not_finite_are_located() {
        let folder = Folder::new();
        let path = folder.0.join("x.npy");
        let mut array = complex(&[2, 3, 3]);
        if let NamedArray::C128 { data, .. } = &mut array {
            data[2 * (9 + 3 * 2 + 1) + 1] = f64::NAN;
            data[35] = f64::INFINITY;
        }
        write_npy_atomic(&path, &array).expect("writable");
        match read(&path) {
            Err(IoError::NotFinite { found, first, .. }) => {
                assert_eq!((found, first), (2, vec![1, 2, 1]))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn archives_round_trip() {
        let folder = Folder::new();
        let path = folder.0.join("out.npz");
        let arrays = vec![
            ("S1".to_owned(), real(&[2, 3])),
            ("scalar".to_owned(), NamedArray::F64 { shape: vec![], data: vec![f64::NAN] }),
            ("flm".to_owned(), complex(&[2, 2])),
            ("S1_index".to_owned(), NamedArray::I64 { shape: vec![2, 1], data: vec![-1, i64::MAX] }),
            ("metadata".to_owned(), NamedArray::Text("{\"L\": 4, \"ψ\": \"é𝄞\"}".to_owned())),
            ("columns".to_owned(), NamedArray::Texts(vec!["j".into(), "gamma".into(), String::new()])),
            ("none".to_owned(), NamedArray::Texts(vec![])),
            ("empty".to_owned(), NamedArray::F64 { shape: vec![0, 3], data: vec![] }),
        ];
        write_npz_atomic(&path, &arrays).expect("writable");
        let back = read_npz(&path).expect("readable");
        assert_eq!(back.len(), arrays.len());
        for (name, array) in &arrays {
            // NaN differs from itself; its print does not.
            assert_eq!(format!("{array:?}"), format!("{:?}", back[name]));
        }
        assert_eq!(folder.names(), ["out.npz"]);
        let first = fs::read(&path).expect("readable");
        write_npz_atomic(&path, &arrays).expect("writable again");
        assert_eq!(first, fs::read(&path).expect("readable"));

        assert!(matches!(read(&path), Ok(Input::Half { L: 2, .. })));
        let s1 = InputOptions { array: Some("S4".to_owned()), ..InputOptions::default() };
        let error = read_input(&path, &s1).expect_err("no S4");
        assert!(matches!(error, IoError::NoArray { .. }) && error.to_string().contains("S1_index"), "{error}");
        write_npz_atomic(&path, &arrays[..2]).expect("writable");
        assert!(matches!(read(&path), Err(IoError::NoArray { .. })));
        write_npz_atomic(&path, &arrays[4..5]).expect("writable");
        assert!(matches!(read(&path), Err(IoError::ElementType { .. })));
    }

    #[test]
    fn failures_leave_nothing_and_spare_what_was_there() {
        let folder = Folder::new();
        let path = folder.file("out.npy", b"earlier");
        let error = AtomicFile::create(&path)
            .expect("writable")
            .commit(|file| {
                file.write_all(b"half of it")?;
                Err(io::ErrorKind::StorageFull.into())
            })
            .expect_err("the disk is full");
        assert!(matches!(error, IoError::Write { .. }));
        assert_eq!(fs::read(&path).expect("readable"), b"earlier");
        assert_eq!(folder.names(), ["out.npy"]);

        let wrong = NamedArray::F64 { shape: vec![3], data: vec![1.0] };
        assert!(matches!(write_npy_atomic(&path, &wrong), Err(IoError::Length { expected: 3, found: 1, .. })));
        assert_eq!(fs::read(&path).expect("readable"), b"earlier");

        check_writable(&path).expect("writable");
        check_writable(&folder.0.join("new.npy")).expect("writable");
        assert_eq!(folder.names(), ["out.npy"]);
        for bad in [folder.0.join("absent/out.npy"), folder.0.clone(), path.join("below"), PathBuf::from("/")] {
            let error = check_writable(&bad).expect_err("not writable");
            assert!(matches!(error, IoError::Write { .. }), "{error}");
        }
    }

    #[test]
    fn healpy_maps_are_read() {
        let folder = Folder::new();
        let zipped = folder.file("map.fits.gz", HEALPY);
        let plain = folder.file("map.fits", &fitsio_pure::gzip::decompress(HEALPY).expect("a whole fixture"));
        for path in [&zipped, &plain] {
            let want: Vec<f64> = (0..192).map(|i| f64::from(i) / 2.0).collect();
            let input = read(path).expect("a HEALPix map");
            let column = Some("RAMP".to_owned());
            assert_eq!(input, Input::Healpix { nside: 4, nested: true, map: want, column });
            for wanted in ["SHIFTED", "shifted", "1"] {
                let options = InputOptions { column: Some(wanted.to_owned()), ..InputOptions::default() };
                match read_input(path, &options) {
                    Ok(Input::Healpix { map, .. }) => assert_eq!(map[191], 96.5),
                    other => panic!("{other:?}"),
                }
            }
            let options = InputOptions { column: Some("absent".to_owned()), ..InputOptions::default() };
            let error = read_input(path, &options).expect_err("no such column");
            assert!(error.to_string().contains("RAMP, SHIFTED"), "{error}");
            let options = InputOptions { ordering: Some(Ordering::Ring), ..InputOptions::default() };
            assert!(matches!(read_input(path, &options), Err(IoError::Ordering { .. })));
        }
    }

    #[test]
    fn masked_partial_and_damaged_maps_are_refused() {
        let folder = Folder::new();
        let whole = fitsio_pure::gzip::decompress(HEALPY).expect("a whole fixture");
        let find = |text: &[u8]| whole.windows(text.len()).position(|w| w == text).expect("the fixture has this card");
        let edit = |at: usize, bytes: &[u8]| {
            let mut edited = whole.clone();
            edited[at..at + bytes.len()].copy_from_slice(bytes);
            read(&folder.file("edited.fits", &edited))
        };
        // The data follow two header units of one and two blocks.
        let header = find(b"END     ");
        let second = whole[header + 8..].windows(8).position(|w| w == b"END     ").expect("a second END") + header + 8;
        let data = second.div_ceil(2880) * 2880;
        assert!(matches!(edit(data, &(UNSEEN as f32).to_be_bytes()), Err(IoError::Masked { found: 1, total: 192, .. })));
        assert!(matches!(edit(data, &f32::NAN.to_be_bytes()), Err(IoError::NotFinite { .. })));
        // The first column then holds pixel numbers, which are whole.
        assert!(matches!(edit(find(b"IMPLICIT"), b"EXPLICIT"), Err(IoError::ElementType { .. })));
        assert!(matches!(edit(find(b"'NESTED"), b"'SPIRAL"), Err(IoError::Ordering { .. })));
        let nside = find(b"NSIDE   =") + 29;
        assert!(matches!(edit(nside, b"8"), Err(IoError::Shape { .. })));
        for cut in [100, 2880, data, data + 5] {
            let error = read(&folder.file("cut.fits", &whole[..cut])).expect_err("cut short");
            assert!(matches!(error, IoError::Malformed { .. }), "{error}");
        }
        assert!(matches!(read(&folder.file("cut.fits.gz", &HEALPY[..HEALPY.len() / 2])), Err(IoError::Malformed { .. })));
    }

    const PARTIAL: &[u8] = include_bytes!("fixtures/healpy_nside4_partial_nested.fits.gz");
    const PARTIAL_RING: &[u8] = include_bytes!("fixtures/healpy_nside4_partial_ring.fits.gz");
    const UNSEEN_RING: &[u8] = include_bytes!("fixtures/healpy_nside4_unseen.fits.gz");

    #[test]
    fn partial_skies_of_healpy_are_read() {
        let folder = Folder::new();
        let all = InputOptions { column: Some("all".to_owned()), unseen: true, ..InputOptions::default() };
        for (bytes, nested) in [(PARTIAL, true), (PARTIAL_RING, false)] {
            let path = folder.file("partial.fits.gz", bytes);
            let table = read_healpix_table(&path, &all).expect("a partial sky");
            assert_eq!((table.nside, table.nested, table.maps.len()), (4, nested, 3));
            assert_eq!(table.columns, ["I_STOKES", "Q_STOKES", "U_STOKES"].map(|name| Some(name.to_owned())));
            let pixels = table.pixels.expect("pixel numbers");
            assert_eq!((pixels.len(), table.maps[0].len()), (51, 51));
            let rings = scatterc::kernels::healpix::nested_ring_table(4).expect("a power of two");
            for (k, pixel) in pixels.iter().enumerate() {
                // Values of the map are half the NESTED number of their pixel, plus 1000 per column.
                let nested = if nested { *pixel } else { rings.iter().position(|ring| ring == pixel).expect("a pixel") };
                let expected = nested as f64 / 2.0;
                assert_eq!((table.maps[0][k], table.maps[2][k]), (expected, expected + 2000.0));
                assert!(if nested == 22 { table.maps[1][k].is_nan() } else { table.maps[1][k] == expected + 1000.0 });
            }
            let two = InputOptions { column: Some("U_STOKES, 1".to_owned()), ..all.clone() };
            assert_eq!(read_healpix_table(&path, &two).expect("two columns").maps[1], table.maps[0]);
            let absent = InputOptions { column: Some("I_STOKES,V".to_owned()), ..all.clone() };
            assert!(matches!(read_healpix_table(&path, &absent), Err(IoError::NoColumn { expected, .. }) if expected == "V"));
            let error = read(&path).expect_err("no full sky");
            assert!(error.to_string().contains("51 pixels with explicit numbers"), "{error}");
        }
        let unseen = folder.file("unseen.fits.gz", UNSEEN_RING);
        let table = read_healpix_table(&unseen, &all).expect("a map with holes");
        assert_eq!((table.nested, table.maps[0].iter().filter(|x| x.is_nan()).count()), (false, 3));
        assert!(matches!(read(&unseen), Err(IoError::Masked { found: 3, total: 192, .. })));
        // Pixels of the table that repeat or lie off the map.
        let whole = fitsio_pure::gzip::decompress(PARTIAL).expect("a whole fixture");
        let first = whole.windows(2).rposition(|w| w == [0, 20]).expect("pixel 20");
        for (bytes, word) in [([0u8, 21], "twice"), ([0, 200], "from 0 to 191"), ([0xff, 0xff], "from 0 to 191")] {
            let mut edited = whole.clone();
            edited[first..first + 2].copy_from_slice(&bytes);
            let error = read_healpix_table(&folder.file("edited.fits", &edited), &all).expect_err("not a partial sky");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    /// Readers meet files from elsewhere: whatever is in them, they answer and do not panic or exhaust memory.
    #[test]
    fn random_damage_never_panics() {
        let folder = Folder::new();
        let path = folder.0.join("seed.npz");
        write_npz_atomic(&path, &[("flm".to_owned(), complex(&[3, 3]))]).expect("writable");
        let seeds = [
            npy("'<c16'", true, "(2, 2)", &[0; 64]),
            npy("'<U3'", false, "(2,)", &[0; 24]),
            fs::read(&path).expect("readable"),
            fitsio_pure::gzip::decompress(HEALPY).expect("a whole fixture"),
            HEALPY.to_vec(),
            fitsio_pure::gzip::decompress(PARTIAL).expect("a whole fixture"),
        ];
        let mut state = 1u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for round in 0..1500 {
            let mut bytes = seeds[round % seeds.len()].clone();
            let start = if random(4) == 0 { 0 } else { 6.min(bytes.len()) };
            for _ in 0..=random(6) {
                let at = start + random(bytes.len() - start);
                bytes[at] = match random(3) {
                    0 => random(256) as u8,
                    1 => b'0' + random(10) as u8,
                    _ => bytes[at] ^ (1 << random(8)),
                };
            }
            if random(5) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            let path = folder.file("damaged", &bytes);
            let _ = read(&path);
            let _ = read_healpix_table(&path, &InputOptions { column: Some("all".to_owned()), ..InputOptions::default() });
        }
    }
}
