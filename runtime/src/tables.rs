//! Cache of plan-time tables: in memory, bounded by bytes, and on disk, bounded by bytes.
//!
//! A table is named by the blake3 hash of its kind, its parameters, the file format and the version of the crates, so a stale file is never read; it is simply never
//! asked for again and evicted in time. A file is
//!
//! ```text
//! magic 8 | format u64 | key 32 | kind 32, zero-padded | payload length u64 | payload | blake3 of all before 32        (little endian)
//! ```
//!
//! written under another name and renamed, so no reader sees half a file, and several processes may share a directory. A damaged file is deleted and the table
//! rebuilt. A directory that cannot be written means that tables live in memory only; [`Cache::state`] says so.

use crate::executable::Legendre;
use crate::sparse::Sparse;
use scatterc_ir::Linear;
use scatterc_kernels::KernelError;
use scatterc_kernels::harmonic::HarmonicTransform;
use scatterc_kernels::simd::Real;
use std::any::Any;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime};

const MAGIC: [u8; 8] = *b"SCATTABL";
const FORMAT: u64 = 1;
const KIND_LEN: usize = 32;
const HEADER: usize = 8 + 8 + 32 + KIND_LEN + 8;
const CHECKSUM: usize = 32;
/// Default bound of the directory.
const DISK_LIMIT: u64 = 2 << 30;
/// Bound of the tables kept in memory for the next plan; tables in use live on in their users.
const MEMORY_LIMIT: usize = 1 << 30;
/// Age from which a temporary file is an orphan of a process that died.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// Name of a table: its kind and the hash of everything it depends on.
///
/// ```
/// use scatterc_runtime::tables::Key;
///
/// assert_eq!(Key::new("nodes", &[8]), Key::new("nodes", &[8]));
/// assert_ne!(Key::new("nodes", &[8]), Key::new("nodes", &[9]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: String,
    hash: [u8; 32],
}

impl Key {
    /// The key of a table of that kind (at most 32 bytes are kept for listings) and parameters.
    ///
    /// ```
    /// use scatterc_runtime::tables::Key;
    ///
    /// assert_ne!(Key::new("nodes", &[8]).hex(), Key::new("weights", &[8]).hex());
    /// ```
    pub fn new(kind: &str, parameters: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&FORMAT.to_le_bytes());
        // All crates of the workspace carry one version.
        for text in [env!("CARGO_PKG_VERSION"), kind] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        for parameter in parameters {
            hasher.update(&parameter.to_le_bytes());
        }
        Key { kind: kind.into(), hash: *hasher.finalize().as_bytes() }
    }

    /// The key of something that depends on texts alone, such as a plan.
    ///
    /// ```
    /// use scatterc_runtime::tables::Key;
    ///
    /// // Where one text ends and the next begins matters.
    /// assert_ne!(Key::of_texts("plan", &["ab", "c"]), Key::of_texts("plan", &["a", "bc"]));
    /// ```
    pub fn of_texts(kind: &str, texts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&FORMAT.to_le_bytes());
        for text in [env!("CARGO_PKG_VERSION"), kind].iter().chain(texts) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Key { kind: kind.into(), hash: *hasher.finalize().as_bytes() }
    }

    /// The hash in hexadecimal, the stem of the file's name.
    ///
    /// ```
    /// assert_eq!(scatterc_runtime::tables::Key::new("nodes", &[8]).hex().len(), 64);
    /// ```
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }
}

/// Which transform.
///
/// ```
/// use scatterc_runtime::Cache;
/// use scatterc_runtime::tables::Transform;
///
/// assert!(Cache::in_memory().transform(Transform::Wavelet { L_in: 8, L: 8, N: 2, j: 3 }).is_ok());
/// assert!(Cache::in_memory().transform(Transform::Plain { L_in: 8, L: 0 }).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// psi^j of bandlimit `L` and azimuthal bandlimit `N`.
    Wavelet {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the wavelets.
        L: usize,
        /// Azimuthal bandlimit.
        N: usize,
        /// Scale.
        j: usize,
    },
    /// Scalar inverse transform.
    Plain {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the grid.
        L: usize,
    },
    /// Low-pass of scale `j`.
    Scaling {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the wavelets.
        L: usize,
        /// Scale.
        j: usize,
    },
    /// Scalar forward transform.
    Analysis {
        /// Bandlimit of the grid.
        L: usize,
        /// Bandlimit of the coefficients.
        L_out: usize,
    },
}

impl Transform {
    fn key(&self, form: &str) -> Key {
        let (kind, parameters): (&str, Vec<usize>) = match *self {
            Transform::Wavelet { L_in, L, N, j } => ("wavelet", vec![L_in, L, N, j]),
            Transform::Plain { L_in, L } => ("plain", vec![L_in, L]),
            Transform::Scaling { L_in, L, j } => ("scaling", vec![L_in, L, j]),
            Transform::Analysis { L, L_out } => ("analysis", vec![L, L_out]),
        };
        Key::new(&format!("{kind}{form}"), &parameters.iter().map(|p| *p as u64).collect::<Vec<_>>())
    }

    fn build(&self) -> Result<HarmonicTransform, KernelError> {
        match *self {
            Transform::Wavelet { L_in, L, N, j } => HarmonicTransform::wavelet(L_in, L, N, j),
            Transform::Plain { L_in, L } => HarmonicTransform::plain(L_in, L),
            Transform::Scaling { L_in, L, j } => HarmonicTransform::scaling(L_in, L, j),
            Transform::Analysis { L, L_out } => HarmonicTransform::for_analysis(L, L_out),
        }
    }
}

/// Where tables are kept.
///
/// ```
/// use scatterc_runtime::{Cache, tables::State};
///
/// assert_eq!(Cache::in_memory().state(), State::Memory { reason: "asked for".into() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// In memory and in this directory.
    Disk(PathBuf),
    /// In memory only, and why.
    Memory {
        /// What the system said.
        reason: String,
    },
}

/// A stored table.
///
/// ```
/// # use scatterc_runtime::Cache;
/// # use scatterc_runtime::tables::{Key, State};
/// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
/// # let cache = Cache::at(&directory, 1 << 20);
/// cache.store(&Key::new("nodes", &[8]), vec![1, 2, 3]);
/// let entry = &cache.list()[0];
/// assert!(entry.kind == "nodes" && entry.bytes > 3);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key in hexadecimal.
    pub key: String,
    /// Its kind.
    pub kind: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Time since it was last used.
    pub age: Duration,
    /// The file.
    pub path: PathBuf,
}

/// A file that is no intact table.
///
/// ```
/// # use scatterc_runtime::Cache;
/// # use scatterc_runtime::tables::{Key, State};
/// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
/// # let cache = Cache::at(&directory, 1 << 20);
/// cache.store(&Key::new("nodes", &[8]), vec![1, 2, 3]);
/// std::fs::write(&cache.list()[0].path, b"something else")?;
/// let damage = cache.verify();
/// assert!(damage.len() == 1 && !damage[0].path.exists());
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Clone)]
enum Held {
    Transform(Arc<HarmonicTransform>),
    /// A [`Sparse`] of either element.
    Sparse(Arc<dyn Any + Send + Sync>),
    Bytes(Arc<Vec<u8>>),
}

#[derive(Default)]
struct Memory {
    tables: HashMap<[u8; 32], (Held, usize, u64)>,
    bytes: usize,
    clock: u64,
}

impl Memory {
    fn get(&mut self, key: &Key) -> Option<Held> {
        self.clock += 1;
        let (held, _, used) = self.tables.get_mut(&key.hash)?;
        *used = self.clock;
        Some(held.clone())
    }

    fn put(&mut self, key: &Key, held: Held, bytes: usize) {
        self.clock += 1;
        if let Some((_, old, _)) = self.tables.insert(key.hash, (held, bytes, self.clock)) {
            self.bytes -= old;
        }
        self.bytes += bytes;
        while self.bytes > MEMORY_LIMIT && self.tables.len() > 1 {
            let Some(oldest) = self.tables.iter().min_by_key(|(_, (_, _, used))| *used).map(|(hash, _)| *hash) else { break };
            if let Some((_, bytes, _)) = self.tables.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}

/// The cache; cheap to share, safe from several threads and processes.
///
/// ```
/// use scatterc_runtime::{Cache, tables::Key};
///
/// let cache = Cache::in_memory();
/// let key = Key::new("squares", &[4]);
/// let table = cache.bytes(&key, || (0..4).map(|k| k * k).collect());
/// assert_eq!((*table).clone(), [0, 1, 4, 9]);
/// // Made once.
/// assert_eq!(cache.bytes(&key, || unreachable!()), table);
/// ```
pub struct Cache {
    state: Mutex<State>,
    limit: u64,
    memory: Mutex<Memory>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("state", &self.state()).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Cache {
    /// The cache of this process, in `SCATTERC_CACHE_DIR` or the user's cache directory, at most 2 GiB on disk.
    ///
    /// ```
    /// use scatterc_runtime::Cache;
    /// use std::sync::Arc;
    ///
    /// assert!(Arc::ptr_eq(&Cache::global(), &Cache::global()));
    /// ```
    pub fn global() -> Arc<Cache> {
        static GLOBAL: OnceLock<Arc<Cache>> = OnceLock::new();
        GLOBAL
            .get_or_init(|| {
                let directory = match std::env::var_os("SCATTERC_CACHE_DIR") {
                    Some(given) if !given.is_empty() => Ok(PathBuf::from(given)),
                    _ => etcetera::choose_base_strategy()
                        .map(|strategy| etcetera::BaseStrategy::cache_dir(&strategy).join("scatterc"))
                        .map_err(|e| e.to_string()),
                };
                Arc::new(match directory {
                    Ok(directory) => Cache::at(&directory, DISK_LIMIT),
                    Err(reason) => Cache::with(State::Memory { reason }, 0),
                })
            })
            .clone()
    }

    /// A cache in that directory, which is made if needed, with at most `limit` bytes on disk.
    ///
    /// ```
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::tables::{Key, State};
    /// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
    /// # let cache = Cache::at(&directory, 1 << 20);
    /// assert_eq!(cache.state(), State::Disk(directory.clone()));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn at(directory: &Path, limit: u64) -> Cache {
        let state = match fs::create_dir_all(directory) {
            Ok(()) => State::Disk(directory.into()),
            Err(e) => State::Memory { reason: format!("{}: {e}", directory.display()) },
        };
        Cache::with(state, limit)
    }

    /// A cache that never touches the disk.
    ///
    /// ```
    /// assert!(scatterc_runtime::Cache::in_memory().list().is_empty());
    /// ```
    pub fn in_memory() -> Cache {
        Cache::with(State::Memory { reason: "asked for".into() }, 0)
    }

    fn with(state: State, limit: u64) -> Cache {
        Cache { state: Mutex::new(state), limit, memory: Mutex::default() }
    }

    /// Where tables are kept now.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, tables::State};
    ///
    /// assert!(matches!(Cache::in_memory().state(), State::Memory { .. }));
    /// ```
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Bytes of the tables kept in memory.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, tables::Key};
    ///
    /// let cache = Cache::in_memory();
    /// cache.store(&Key::new("nodes", &[8]), vec![0; 1000]);
    /// assert_eq!(cache.memory_bytes(), 1000);
    /// ```
    pub fn memory_bytes(&self) -> usize {
        lock(&self.memory).bytes
    }

    /// The transform, from memory or built, which is quicker than reading it would be. Error: parameters the kernels refuse.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, tables::Transform};
    /// use std::sync::Arc;
    ///
    /// let cache = Cache::in_memory();
    /// let plain = Transform::Plain { L_in: 8, L: 8 };
    /// assert!(Arc::ptr_eq(&cache.transform(plain)?, &cache.transform(plain)?));
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn transform(&self, transform: Transform) -> Result<Arc<HarmonicTransform>, KernelError> {
        self.transform_for(transform, Legendre::Recursion, 1)
    }

    /// [`Self::transform`] with the functions from where `legendre` says, for calls of `n_fields` fields.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, Legendre, tables::Transform};
    ///
    /// let cache = Cache::in_memory();
    /// let wavelet = Transform::Wavelet { L_in: 16, L: 16, N: 3, j: 4 };
    /// let (stored, made) = (cache.transform_for(wavelet, Legendre::Tables, 1)?, cache.transform_for(wavelet, Legendre::Recursion, 1)?);
    /// assert!(stored.has_tables() && !made.has_tables());
    /// # Ok::<(), scatterc_kernels::KernelError>(())
    /// ```
    pub fn transform_for(&self, transform: Transform, legendre: Legendre, n_fields: usize) -> Result<Arc<HarmonicTransform>, KernelError> {
        let plain = self.recursion(transform)?;
        let budget = match legendre {
            Legendre::Auto if plain.prefers_tables(n_fields, Legendre::BUDGET) => Legendre::BUDGET,
            Legendre::Tables => usize::MAX,
            Legendre::Auto | Legendre::Recursion => return Ok(plain),
        };
        let key = transform.key("stored");
        if let Some(Held::Transform(held)) = lock(&self.memory).get(&key) {
            return Ok(held);
        }
        let found = Arc::new(HarmonicTransform::clone(&plain).with_tables(budget));
        lock(&self.memory).put(&key, Held::Transform(found.clone()), found.table_bytes());
        Ok(found)
    }

    fn recursion(&self, transform: Transform) -> Result<Arc<HarmonicTransform>, KernelError> {
        let key = transform.key("");
        if let Some(Held::Transform(held)) = lock(&self.memory).get(&key) {
            return Ok(held);
        }
        let found = Arc::new(transform.build()?);
        let bytes = found.table_bytes();
        lock(&self.memory).put(&key, Held::Transform(found.clone()), bytes);
        Ok(found)
    }

    /// The sparse map of HEALPix pixels, or its adjoint, from memory or built. Error: parameters the kernels refuse.
    pub(crate) fn sparse<T: Real>(&self, map: &Linear, adjoint: bool) -> Result<Arc<Sparse<T>>, KernelError> {
        let key = Sparse::<T>::key(map, adjoint);
        if let Some(Held::Sparse(held)) = lock(&self.memory).get(&key)
            && let Ok(held) = held.downcast()
        {
            return Ok(held);
        }
        let found = Arc::new(Sparse::<T>::new(map, adjoint, self)?);
        lock(&self.memory).put(&key, Held::Sparse(found.clone()), found.bytes());
        Ok(found)
    }

    /// The bytes of that key, from memory, from disk, or built and stored.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, tables::Key};
    ///
    /// assert_eq!(*Cache::in_memory().bytes(&Key::new("one", &[]), || vec![1]), [1]);
    /// ```
    pub fn bytes(&self, key: &Key, build: impl FnOnce() -> Vec<u8>) -> Arc<Vec<u8>> {
        self.find(key).unwrap_or_else(|| self.store(key, build()))
    }

    /// The bytes of that key, from memory or from disk.
    ///
    /// ```
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::tables::{Key, State};
    /// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
    /// # let cache = Cache::at(&directory, 1 << 20);
    /// let key = Key::new("nodes", &[8]);
    /// assert_eq!(cache.find(&key), None);
    /// cache.store(&key, vec![1, 2, 3]);
    /// // Another process finds it on disk.
    /// assert_eq!(Cache::at(&directory, 1 << 20).find(&key).map(|bytes| bytes.len()), Some(3));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn find(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        if let Some(Held::Bytes(held)) = lock(&self.memory).get(key) {
            return Some(held);
        }
        let found = Arc::new(self.read(key)?);
        lock(&self.memory).put(key, Held::Bytes(found.clone()), found.len());
        Some(found)
    }

    /// Keeps bytes under a key, in memory and on disk.
    ///
    /// ```
    /// use scatterc_runtime::{Cache, tables::Key};
    ///
    /// let cache = Cache::in_memory();
    /// let key = Key::new("nodes", &[8]);
    /// assert_eq!(*cache.store(&key, vec![1, 2]), [1, 2]);
    /// assert!(cache.find(&key).is_some());
    /// ```
    pub fn store(&self, key: &Key, bytes: Vec<u8>) -> Arc<Vec<u8>> {
        self.write(key, &bytes);
        let stored = Arc::new(bytes);
        lock(&self.memory).put(key, Held::Bytes(stored.clone()), stored.len());
        stored
    }

    /// Stored tables, most recently used first.
    ///
    /// ```
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::tables::{Key, State};
    /// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
    /// # let cache = Cache::at(&directory, 1 << 20);
    /// cache.store(&Key::new("nodes", &[8]), vec![1, 2, 3]);
    /// cache.store(&Key::new("nodes", &[9]), vec![1, 2, 3]);
    /// assert_eq!(cache.list().len(), 2);
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn list(&self) -> Vec<Entry> {
        let mut out = Vec::new();
        for (path, metadata) in self.files("table") {
            let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else { continue };
            let kind = read_kind(&path).unwrap_or_else(|_| "damaged".into());
            out.push(Entry { key: stem.into(), kind, bytes: metadata.len(), age: age(&metadata), path });
        }
        out.sort_by(|a, b| a.age.cmp(&b.age).then_with(|| a.key.cmp(&b.key)));
        out
    }

    /// Deletes all stored tables and those in memory; returns how many files are gone.
    ///
    /// ```
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::tables::{Key, State};
    /// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
    /// # let cache = Cache::at(&directory, 1 << 20);
    /// cache.store(&Key::new("nodes", &[8]), vec![1, 2, 3]);
    /// assert_eq!((cache.clear(), cache.list().len()), (1, 0));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clear(&self) -> usize {
        *lock(&self.memory) = Memory::default();
        self.files("table").into_iter().filter(|(path, _)| fs::remove_file(path).is_ok()).count()
    }

    /// Reads every stored table, deletes those that are damaged and reports them.
    ///
    /// ```
    /// # use scatterc_runtime::Cache;
    /// # use scatterc_runtime::tables::{Key, State};
    /// # let directory = std::env::temp_dir().join(format!("scatterc-tables-{}-{}", std::process::id(), line!()));
    /// # let cache = Cache::at(&directory, 1 << 20);
    /// cache.store(&Key::new("nodes", &[8]), vec![1, 2, 3]);
    /// assert!(cache.verify().is_empty(), "nothing is damaged");
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn verify(&self) -> Vec<Damage> {
        let mut damaged = Vec::new();
        for (path, _) in self.files("table") {
            let reason = match fs::read(&path) {
                Ok(bytes) => match check(&bytes, None) {
                    Ok(key) if path.file_stem().and_then(|s| s.to_str()) == Some(&blake3::Hash::from_bytes(key).to_hex()) => continue,
                    Ok(_) => "the name is not the key".to_string(),
                    Err(reason) => reason,
                },
                // Another process may have evicted it meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => e.to_string(),
            };
            // A file that cannot be deleted is reported all the same.
            let _ = fs::remove_file(&path);
            damaged.push(Damage { path, reason });
        }
        damaged
    }

    fn directory(&self) -> Option<PathBuf> {
        match &*lock(&self.state) {
            State::Disk(directory) => Some(directory.clone()),
            State::Memory { .. } => None,
        }
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        Some(self.directory()?.join(format!("{}.table", key.hex())))
    }

    fn files(&self, extension: &str) -> Vec<(PathBuf, fs::Metadata)> {
        let Some(directory) = self.directory() else { return vec![] };
        let Ok(entries) = fs::read_dir(directory) else { return vec![] };
        entries
            .flatten()
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            .filter(|(path, metadata)| metadata.is_file() && path.extension().is_some_and(|e| e == extension))
            .collect()
    }

    fn forget(&self, key: &Key) {
        if let Some(path) = self.path(key) {
            // Failing means that somebody else was faster, or that the next write fails and is reported by `state`.
            let _ = fs::remove_file(path);
        }
    }

    /// Payload of a stored table; a damaged file is deleted.
    fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(key)?;
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) => return None,
        };
        if check(&bytes, Some(key)).is_err() {
            self.forget(key);
            return None;
        }
        // The time of last use decides who is evicted; a directory that is read-only keeps its order.
        if let Ok(file) = File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes.drain(..HEADER);
        Some(bytes)
    }

    /// Stores a table; on failure the cache lives on in memory.
    fn write(&self, key: &Key, payload: &[u8]) {
        let size = (HEADER + payload.len() + CHECKSUM) as u64;
        let Some(directory) = self.directory() else { return };
        if size > self.limit {
            return;
        }
        if let Err(e) = store(&directory, key, payload) {
            *lock(&self.state) = State::Memory { reason: format!("{}: {e}", directory.display()) };
            return;
        }
        self.evict(&key.hex());
    }

    /// Deletes the least recently used files above the limit, and orphans; the table just written stays.
    fn evict(&self, keep: &str) {
        for (path, metadata) in self.files("partial") {
            if age(&metadata) > ORPHAN_AGE {
                let _ = fs::remove_file(path);
            }
        }
        let mut files = self.files("table");
        let mut total: u64 = files.iter().map(|(_, metadata)| metadata.len()).sum();
        if total <= self.limit {
            return;
        }
        files.sort_by_key(|(path, metadata)| (std::cmp::Reverse(age(metadata)), path.clone()));
        for (path, metadata) in files {
            if total <= self.limit {
                break;
            }
            if path.file_stem().and_then(|s| s.to_str()) != Some(keep) && fs::remove_file(&path).is_ok() {
                total -= metadata.len();
            }
        }
    }
}

/// A lock that survives a panic of another holder: the guarded values are consistent after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn age(metadata: &fs::Metadata) -> Duration {
    metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

/// Writes under a unique name, then renames.
fn store(directory: &Path, key: &Key, payload: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut kind = [0; KIND_LEN];
    for (to, from) in kind.iter_mut().zip(key.kind.bytes()) {
        *to = from;
    }
    let mut hasher = blake3::Hasher::new();
    let partial = directory.join(format!("{}-{}-{}.partial", key.hex(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let mut write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        for part in [&MAGIC[..], &FORMAT.to_le_bytes(), &key.hash, &kind, &(payload.len() as u64).to_le_bytes(), payload] {
            hasher.update(part);
            file.write_all(part)?;
        }
        file.write_all(hasher.finalize().as_bytes())?;
        file.flush()?;
        drop(file);
        fs::rename(&partial, directory.join(format!("{}.table", key.hex())))
    };
    let result = write();
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Checks a whole file, against a key where one is expected; returns the key it holds.
fn check(bytes: &[u8], expected: Option<&Key>) -> Result<[u8; 32], String> {
    if bytes.len() < HEADER + CHECKSUM {
        return Err(format!("{} bytes, expected at least {}", bytes.len(), HEADER + CHECKSUM));
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if bytes[..8] != MAGIC || word(8) != FORMAT {
        return Err("not a table of this format".into());
    }
    let key: [u8; 32] = bytes[16..48].try_into().expect("thirty-two bytes");
    let payload = word(HEADER - 8);
    if payload != (bytes.len() - HEADER - CHECKSUM) as u64 {
        return Err(format!("payload of {} bytes, expected {payload}", bytes.len() - HEADER - CHECKSUM));
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if blake3::hash(body).as_bytes() != checksum {
        return Err("the checksum does not fit".into());
    }
    if expected.is_some_and(|expected| expected.hash != key) {
        return Err("the name is not the key".into());
    }
    Ok(key)
}

/// Kind in the header of a file.
fn read_kind(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut header = [0; HEADER];
    File::open(path)?.read_exact(&mut header)?;
    if header[..8] != MAGIC {
        return Err(io::Error::other("not a table"));
    }
    let kind: Vec<u8> = header[48..48 + KIND_LEN].iter().copied().take_while(|b| b.is_ascii_graphic()).collect();
    Ok(String::from_utf8_lossy(&kind).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A directory of its own for each test, deleted at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name = format!("scatterc-tables-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            Scratch(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn payload(seed: u64, n: usize) -> Vec<u8> {
        (0..n as u64).map(|k| (k.wrapping_mul(2654435761).wrapping_add(seed) >> 7) as u8).collect()
    }

    #[test]
    fn every_damaged_region_is_noticed_and_rebuilt() {
        let scratch = Scratch::new();
        let (key, data) = (Key::new("test", &[1, 2]), payload(1, 300));
        let path = scratch.0.join(format!("{}.table", key.hex()));
        Cache::at(&scratch.0, 1 << 20).bytes(&key, || data.clone());
        let intact = fs::read(&path).expect("the table was stored");
        assert_eq!(intact.len(), HEADER + 300 + CHECKSUM);
        let mut damaged: Vec<Vec<u8>> = (0..intact.len())
            .map(|k| {
                let mut bytes = intact.clone();
                bytes[k] ^= 0x10;
                bytes
            })
            .collect();
        damaged.extend((0..intact.len()).step_by(7).map(|k| intact[..k].to_vec()));
        damaged.push([intact.clone(), vec![0]].concat());
        for bytes in damaged {
            fs::write(&path, &bytes).expect("scratch is writable");
            let cache = Cache::at(&scratch.0, 1 << 20);
            assert_eq!(cache.list().len(), 1);
            assert_eq!(cache.verify().len(), 1);
            assert!(!path.exists());
            fs::write(&path, &bytes).expect("scratch is writable");
            let built = AtomicUsize::new(0);
            let found = cache.bytes(&key, || {
                built.fetch_add(1, Ordering::Relaxed);
                data.clone()
            });
            assert_eq!((*found == data, built.into_inner()), (true, 1));
            assert_eq!(fs::read(&path).expect("stored again"), intact);
        }
        let other = Key::new("test", &[1, 3]);
        fs::copy(&path, scratch.0.join(format!("{}.table", other.hex()))).expect("scratch is writable");
        assert_eq!(*Cache::at(&scratch.0, 1 << 20).bytes(&other, || vec![1]), vec![1], "a file under another name is not believed");
    }

    #[test]
    fn tables_come_from_disk_the_second_time() {
        let scratch = Scratch::new();
        let key = Key::new("test", &[]);
        Cache::at(&scratch.0, 1 << 20).bytes(&key, || vec![1, 2, 3]);
        let again = Cache::at(&scratch.0, 1 << 20);
        assert_eq!(*again.bytes(&key, || panic!("built twice")), vec![1, 2, 3]);
        let list = again.list();
        assert_eq!((list.len(), list[0].kind.as_str(), list[0].key == key.hex()), (1, "test", true));
        assert_eq!(again.clear(), 1);
        assert!(again.list().is_empty() && again.verify().is_empty());
    }

    #[test]
    fn least_recently_used_files_go_first() {
        let scratch = Scratch::new();
        let size = (HEADER + 1000 + CHECKSUM) as u64;
        let keys: Vec<Key> = (0..4).map(|k| Key::new("test", &[k])).collect();
        for key in &keys[..3] {
            Cache::at(&scratch.0, 3 * size).bytes(key, || payload(3, 1000));
        }
        // The first becomes the youngest by being read.
        for (k, key) in keys[..3].iter().enumerate() {
            let file = File::options().append(true).open(scratch.0.join(format!("{}.table", key.hex()))).expect("stored");
            file.set_modified(SystemTime::now() - Duration::from_secs(1000 - k as u64)).expect("scratch is writable");
        }
        Cache::at(&scratch.0, 3 * size).bytes(&keys[0], || panic!("stored before"));
        let cache = Cache::at(&scratch.0, 3 * size);
        cache.bytes(&keys[3], || payload(3, 1000));
        let left: Vec<String> = cache.list().into_iter().map(|e| e.key).collect();
        assert_eq!(left.len(), 3);
        assert!(!left.contains(&keys[1].hex()) && left.contains(&keys[0].hex()));
        // A table larger than the whole limit is kept in memory only.
        cache.bytes(&Key::new("test", &[9]), || payload(3, 10_000));
        assert_eq!(cache.list().len(), 3);
    }

    #[test]
    fn unusable_directory_means_memory() {
        let scratch = Scratch::new();
        fs::create_dir_all(&scratch.0).expect("temporary directory");
        let file = scratch.0.join("file");
        fs::write(&file, b"x").expect("scratch is writable");
        let cache = Cache::at(&file.join("inside"), 1 << 20);
        assert!(matches!(cache.state(), State::Memory { .. }));
        assert_eq!(*cache.bytes(&Key::new("test", &[]), || vec![7]), vec![7]);
        assert_eq!(*cache.bytes(&Key::new("test", &[]), || panic!("kept in memory")), vec![7]);
        assert!(cache.list().is_empty());
        // A directory that vanishes or turns read-only while in use.
        let gone = scratch.0.join("gone");
        let cache = Cache::at(&gone, 1 << 20);
        fs::remove_dir(&gone).expect("empty");
        assert_eq!(*cache.bytes(&Key::new("test", &[]), || vec![7]), vec![7]);
        assert!(matches!(cache.state(), State::Memory { .. }));
    }

    #[test]
    fn many_threads_and_caches_share_a_directory() {
        let scratch = Scratch::new();
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let directory = &scratch.0;
                scope.spawn(move || {
                    for round in 0..20u64 {
                        let cache = Cache::at(directory, 20_000);
                        for k in 0..6 {
                            let which = (k + thread + round) % 6;
                            assert_eq!(*cache.bytes(&Key::new("test", &[which]), || payload(which, 4000)), payload(which, 4000));
                        }
                    }
                });
            }
        });
        let cache = Cache::at(&scratch.0, 20_000);
        assert!(cache.verify().is_empty());
        assert!(cache.list().iter().map(|e| e.bytes).sum::<u64>() <= 20_000 + 8 * 4200);
        assert!(cache.files("partial").is_empty());
    }

    #[test]
    fn transforms_are_shared() {
        let wanted = Transform::Wavelet { L_in: 16, L: 16, N: 3, j: 2 };
        let cache = Cache::in_memory();
        let first = cache.transform(wanted).expect("valid");
        assert!(Arc::ptr_eq(&first, &cache.transform(wanted).expect("valid")));
        assert!(cache.memory_bytes() > 0);
        assert!(cache.transform(Transform::Plain { L_in: 4, L: 0 }).is_err());
    }
}
