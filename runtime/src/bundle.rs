//! A plan at the end of another file: how an exported library carries what it runs.
//!
//! ```text
//! library | text of the plan | blake3 of the text, 32 bytes | length of the text, u64 little-endian | MAGIC
//! ```
//!
//! Loaders of shared libraries ignore what follows the last section, so the library stays one.

use scatterc_ir::Plan;
use scatterc_ir::plan::{parse, verify};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The last bytes of a file with a plan.
///
/// ```
/// use scatterc_runtime::bundle::{MAGIC, append};
///
/// assert!(append(b"library", "plan p {\n}\n").ends_with(MAGIC));
/// ```
pub const MAGIC: &[u8; 16] = b"scatterc plan v1";

/// Checksum, length and magic.
const TRAILER: u64 = 32 + 8 + 16;

/// Largest plan read, in bytes.
const LARGEST: u64 = 1 << 30;

/// A file whose plan cannot be read.
///
/// ```
/// use scatterc_runtime::bundle::{BundleError, read};
///
/// assert!(matches!(read("no/such/library.so".as_ref()), Err(BundleError::Read { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file cannot be read.
    #[error("{}: expected a library with a plan, found {found}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        found: std::io::Error,
    },
    /// Something else ends the file.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What an exported library has there.
        expected: String,
        /// What this file has.
        found: String,
    },
    /// The text is no plan, or one that breaks rules.
    #[error("{}: the plan is refused: {}", .path.display(), .faults.join("; "))]
    Plan {
        /// The file.
        path: PathBuf,
        /// All faults.
        faults: Vec<String>,
    },
}

/// Name of a plan by its text: 32 hexadecimal digits.
///
/// ```
/// use scatterc_runtime::bundle::checksum;
///
/// assert!(checksum("plan p {\n}\n").len() == 32 && checksum("a") != checksum("b"));
/// ```
pub fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
}

/// `library` without a plan that it carries already, then the plan.
///
/// ```
/// use scatterc_runtime::bundle::append;
///
/// let once = append(b"library", "plan p {\n}\n");
/// // A second plan takes the place of the first.
/// assert_eq!(append(&once, "plan q {\n}\n"), append(b"library", "plan q {\n}\n"));
/// ```
pub fn append(library: &[u8], text: &str) -> Vec<u8> {
    let mut own = library;
    if let Some(end) = library.strip_suffix(MAGIC) {
        let (rest, length) = end.split_at(end.len().saturating_sub(8));
        let length = length.try_into().map_or(u64::MAX, u64::from_le_bytes);
        own = usize::try_from(length).ok().and_then(|n| rest.len().checked_sub(32)?.checked_sub(n)).map_or(library, |n| &library[..n]);
    }
    let hash = blake3::hash(text.as_bytes());
    [own, text.as_bytes(), hash.as_bytes(), &(text.len() as u64).to_le_bytes(), MAGIC].concat()
}

/// The plan at the end of a file, checked, and its text.
///
/// Error: a file that cannot be read, has no plan, a damaged one or one that breaks rules of the verifier.
///
/// ```
/// use scatterc_runtime::bundle::{append, read};
///
/// let text = "plan p {\n  arena 0\n}\n";
/// let path = std::env::temp_dir().join(format!("scatterc-bundle-{}", std::process::id()));
/// std::fs::write(&path, append(b"library", text))?;
/// assert_eq!(read(&path).map(|(plan, text)| (plan.name, text)).ok(), Some(("p".into(), text.into())));
/// std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read(path: &Path) -> Result<(Plan, String), BundleError> {
    let fail = |found: std::io::Error| BundleError::Read { path: path.into(), found };
    let damaged = |expected: &str, found: String| BundleError::Damaged { path: path.into(), expected: expected.into(), found };
    let mut file = File::open(path).map_err(fail)?;
    let size = file.metadata().map_err(fail)?.len();
    let mut trailer = [0u8; TRAILER as usize];
    if size < TRAILER {
        return Err(damaged("a plan at the end", format!("a file of {size} bytes")));
    }
    file.seek(SeekFrom::Start(size - TRAILER)).map_err(fail)?;
    file.read_exact(&mut trailer).map_err(fail)?;
    if !trailer.ends_with(MAGIC) {
        return Err(damaged("a plan at the end", "a library without one: it was not exported, or was stripped".into()));
    }
    let length = u64::from_le_bytes([trailer[32], trailer[33], trailer[34], trailer[35], trailer[36], trailer[37], trailer[38], trailer[39]]);
    if length > LARGEST.min(size - TRAILER) {
        return Err(damaged("the length of a plan", format!("{length} bytes in a file of {size}")));
    }
    file.seek(SeekFrom::Start(size - TRAILER - length)).map_err(fail)?;
    let mut text = vec![0u8; length as usize];
    file.read_exact(&mut text).map_err(fail)?;
    if blake3::hash(&text).as_bytes() != &trailer[..32] {
        return Err(damaged("a plan with its checksum", "another checksum: the file is damaged".into()));
    }
    let refused = |faults: Vec<String>| BundleError::Plan { path: path.into(), faults };
    let text = String::from_utf8(text).map_err(|e| refused(vec![e.to_string()]))?;
    let plan = parse(&text).map_err(|e| refused(vec![e.to_string()]))?;
    verify(&plan).map_err(refused)?;
    Ok((plan, text))
}
