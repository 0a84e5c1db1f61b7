//! Tables of coefficients: statistics with the index of every entry, as files and as something to select from and to aggregate.
//!
//! ```
//! use scatterc::Index;
//! use scatterc::table::{Aggregate, Output, Table};
//!
//! let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
//! let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
//! let fine = s1.select(|entry| entry.get("j") == Some(1));
//! assert_eq!(fine.re, [5.0, 9.0]);
//! let isotropic = s1.aggregate(&["g"], Aggregate::Mean)?;
//! assert_eq!((isotropic.re, isotropic.index.columns), (vec![2.0, 7.0], vec!["j".to_string()]));
//! # Ok::<(), scatterc::table::TableError>(())
//! ```
//!
//! Reductions of whole tables are [`Step`]s: selections by conditions of the notation, differences of indices, averages over orientations at fixed differences, Fourier transforms over
//! orientations, cosine transforms over scales.
//!
//! | format | an output is | its index is |
//! |---|---|---|
//! | npz | array `NAME`, complex128 where complex | arrays `NAME_index` (int64) and `NAME_index_columns` |
//! | json | an object in `outputs` with `shape`, `re`, `im` | `columns`, `index` in that object |
//! | csv | one row per number: `output`, `place` on the leading axes, indices, `re`, `im` | the columns of its rows |
//! | safetensors | tensor `NAME`, or `NAME.re` and `NAME.im` | tensor `NAME_index` (I64); columns in the metadata |
//!
//! All of them give back the bits that were written. What describes the whole stands under `metadata`, in the first line of a CSV file behind `#`.

use crate::compile::Statistics;
use ndarray_npy::npy::header::Header;
use scatterc_compiler::bind::Index;
use scatterc_ir::notation::{Condition, IndexExpr, parse_conditions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

/// Largest file read, in bytes.
const LARGEST: u64 = 1 << 32;

/// Most numbers of one array of a file.
const MOST: usize = 1 << 32;

/// Name of the format in JSON, CSV and safetensors.
const KIND: &str = "scatterc table 1";

/// What can be wrong with a table or its file.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let refused = s1.aggregate(&["h"], Aggregate::Mean).unwrap_err();
/// assert_eq!(refused.to_string(), "`S1` has no index `h`; it has [j, g]");
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A file that cannot be read or written.
    #[error("{}: {found}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        found: std::io::Error,
    },
    /// A file that is no table.
    #[error("{}: {what}: expected {expected}, found {found}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        what: String,
        /// What a table has there.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// Shape, index and values that do not belong together.
    #[error("`{output}`: {what}: expected {expected}, found {found}")]
    Shape {
        /// The output.
        output: String,
        /// Which part of it.
        what: String,
        /// What would fit.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A column that an index does not have.
    #[error("`{output}` has no index `{found}`; it has [{known}]")]
    Column {
        /// The output.
        output: String,
        /// What was asked.
        found: String,
        /// What exists.
        known: String,
    },
    /// No output of that name.
    #[error("there is no output `{found}`; there are [{known}]")]
    Output {
        /// What was asked.
        found: String,
        /// What exists.
        known: String,
    },
    /// A selection that is no condition on indices.
    #[error("selection `{found}`: {message}")]
    Selection {
        /// What was asked.
        found: String,
        /// What was expected and found.
        message: String,
    },
    /// Indices that no output has, all together.
    #[error("no output has the indices [{found}]; {known}")]
    Nowhere {
        /// What was asked.
        found: String,
        /// The indices of every output.
        known: String,
    },
    /// The smallest or largest of complex numbers.
    #[error("`{output}` is complex: expected the aggregate mean or sum, found {found}")]
    Complex {
        /// The output.
        output: String,
        /// What was asked.
        found: String,
    },
}

/// File formats of tables.
///
/// ```
/// use scatterc::table::{Format, Table};
/// use std::path::Path;
///
/// let bytes = Table::default().bytes(Path::new("empty"), Format::Json)?;
/// assert!(bytes.starts_with(b"{") && Format::Json.to_string() == "json");
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// NumPy's archive.
    Npz,
    /// One object.
    Json,
    /// One row per number.
    Csv,
    /// Named tensors.
    Safetensors,
}

impl Format {
    /// All formats.
    ///
    /// ```
    /// use scatterc::table::Format;
    ///
    /// assert_eq!(Format::ALL.map(Format::ending), ["npz", "json", "csv", "safetensors"]);
    /// ```
    pub const ALL: [Format; 4] = [Format::Npz, Format::Json, Format::Csv, Format::Safetensors];

    /// The usual ending of a file's name, without the dot.
    ///
    /// ```
    /// assert_eq!(scatterc::table::Format::Npz.ending(), "npz");
    /// ```
    pub fn ending(self) -> &'static str {
        match self {
            Format::Npz => "npz",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Safetensors => "safetensors",
        }
    }

    /// By the ending of a path.
    ///
    /// ```
    /// use scatterc::table::Format;
    /// use std::path::Path;
    ///
    /// assert_eq!(Format::of(Path::new("s2.CSV")), Some(Format::Csv));
    /// assert_eq!(Format::of(Path::new("s2.txt")), None);
    /// ```
    pub fn of(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Format::ALL.into_iter().find(|f| f.ending() == ending)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ending())
    }
}

/// What becomes of the entries that differ in the indices that go.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let [mean, sum, min, max] = [Aggregate::Mean, Aggregate::Sum, Aggregate::Min, Aggregate::Max].map(|how| s1.aggregate(&["g"], how));
/// assert_eq!((mean?.re, sum?.re, min?.re, max?.re), (vec![2.0, 7.0], vec![4.0, 14.0], vec![1.0, 5.0], vec![3.0, 9.0]));
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The smallest; real outputs only.
    Min,
    /// The largest; real outputs only.
    Max,
}

/// Conditions on indices, as behind `where` in the notation: `j < 3, i - j == 1`.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let selection = Selection::parse("j >= 1, g == 0")?;
/// assert_eq!(s1.select(|entry| selection.holds(entry)).re, [5.0]);
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    conditions: Vec<Condition>,
    /// Indices that the conditions name, each once.
    indices: Vec<String>,
}

impl Selection {
    /// Reads conditions.
    ///
    /// Error: what does not parse, and the functions `octave`, `layer` and `depth`, whose values a table does not hold.
    ///
    /// ```
    /// use scatterc::table::Selection;
    ///
    /// assert_eq!(Selection::parse("i-j == 1,g<2")?.to_string(), "i - j == 1, g < 2");
    /// assert!(Selection::parse("j <").is_err());
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Selection, TableError> {
        let fault = |message: String| TableError::Selection { found: text.into(), message };
        let conditions = parse_conditions(text, "").map_err(|e| fault(e.text()))?;
        let mut indices: Vec<String> = Vec::new();
        for term in conditions.iter().flat_map(|c| c.left.terms.iter().chain(&c.right.terms)) {
            if let Some(function) = &term.function {
                return Err(fault(format!("expected indices and whole numbers, found `{}`, which needs the domain", function.name)));
            }
            if !indices.contains(&term.name.name) {
                indices.push(term.name.name.clone());
            }
        }
        Ok(Selection { conditions, indices })
    }

    /// Whether all conditions hold; false where the entry lacks an index.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// // An index that the entries lack satisfies nothing.
    /// let (own, other) = (Selection::parse("j + g == 1")?, Selection::parse("h == 0")?);
    /// assert_eq!(s1.select(|entry| own.holds(entry)).re, [3.0, 5.0]);
    /// assert_eq!(s1.select(|entry| other.holds(entry)).re, [0.0; 0]);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn holds(&self, entry: Entry) -> bool {
        let side = |side: &IndexExpr| {
            side.terms
                .iter()
                .try_fold(i128::from(side.constant), |sum, term| Some(sum + i128::from(term.coefficient) * i128::from(entry.get(&term.name.name)?)))
        };
        self.conditions.iter().all(|condition| match (side(&condition.left), side(&condition.right)) {
            (Some(left), Some(right)) => condition.comparison.holds(left, right),
            _ => false,
        })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.conditions.iter().map(Condition::to_string).collect::<Vec<_>>().join(", "))
    }
}

/// A step from a table to another: every output that has all indices the step names is changed, the others stay as they are.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let table = Table { outputs: vec![s1], ..Table::default() };
/// let step = Step::Aggregate(vec!["g".into()], Aggregate::Mean);
/// assert_eq!((step.to_string().as_str(), &table.step(&step)?.outputs[0].re[..]), ("mean g", &[2.0, 7.0][..]));
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// The entries for which conditions hold.
    Select(Selection),
    /// An index becomes its difference from another one: [`Output::difference`] of the first from the second.
    Difference(String, String),
    /// Averages over orientations whose differences stay: [`Output::isotropic`].
    Isotropic(Vec<String>),
    /// Indices go: [`Output::aggregate`].
    Aggregate(Vec<String>, Aggregate),
    /// The Fourier transform over an orientation: [`Output::fourier`].
    Fourier(String),
    /// The cosine transform over a scale: [`Output::cosine`].
    Cosine(String),
}

impl Step {
    /// Indices that the step names.
    fn indices(&self) -> Vec<&str> {
        match self {
            Step::Select(selection) => selection.indices.iter().map(String::as_str).collect(),
            Step::Difference(column, from) => vec![column, from],
            Step::Isotropic(columns) | Step::Aggregate(columns, _) => columns.iter().map(String::as_str).collect(),
            Step::Fourier(column) | Step::Cosine(column) => vec![column],
        }
    }

    fn of(&self, output: &Output) -> Result<Output, TableError> {
        match self {
            Step::Select(selection) => Ok(output.select(|entry| selection.holds(entry))),
            Step::Difference(column, from) => output.difference(column, from),
            Step::Isotropic(_) => output.isotropic(&self.indices()),
            Step::Aggregate(_, how) => output.aggregate(&self.indices(), *how),
            Step::Fourier(column) => output.fourier(column),
            Step::Cosine(column) => output.cosine(column),
        }
    }
}

impl fmt::Display for Step {
    /// As the command spells it, such as `mean g`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Select(selection) => write!(f, "select {selection}"),
            Step::Difference(column, from) => write!(f, "difference {column},{from}"),
            Step::Isotropic(columns) => write!(f, "isotropic {}", columns.join(",")),
            Step::Aggregate(columns, how) => write!(f, "{} {}", format!("{how:?}").to_lowercase(), columns.join(",")),
            Step::Fourier(column) => write!(f, "fourier {column}"),
            Step::Cosine(column) => write!(f, "cosine {column}"),
        }
    }
}

/// An output of a statistic with its index table.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// assert_eq!((s1.shape.as_slice(), s1.entries(), &s1.index.rows[2]), (&[4][..], 4, &vec![1, 0]));
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Leading axes (batch, masks, components), then the number of entries. An output without indices has its axes alone; a number has none.
    pub shape: Vec<usize>,
    /// Real parts, the last axis fastest.
    pub re: Vec<f64>,
    /// Imaginary parts of a complex output.
    pub im: Option<Vec<f64>>,
    /// What each entry of the last axis is; without columns where entries have no indices.
    pub index: Index,
}

/// One entry of an index table.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let product = s1.select(|entry| entry.get("j") == entry.get("g"));
/// assert_eq!(product.re, [1.0, 9.0]);
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    columns: &'a [String],
    row: &'a [i64],
}

impl Entry<'_> {
    /// Value of an index; `None` where there is no such column.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// assert_eq!(s1.select(|entry| entry.get("g") == Some(1)).re, [3.0, 9.0]);
    /// assert_eq!(s1.select(|entry| entry.get("h").is_some()).re, [0.0; 0]);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn get(&self, column: &str) -> Option<i64> {
        self.columns.iter().position(|c| c == column).and_then(|k| self.row.get(k).copied())
    }
}

impl Output {
    /// An output whose parts fit together.
    ///
    /// Error: values that do not fill the shape, an index without one row per entry, columns named twice.
    ///
    /// ```
    /// use scatterc::Index;
    /// use scatterc::table::Output;
    ///
    /// let index = || Index { columns: vec!["j".into()], rows: vec![vec![0], vec![1]] };
    /// // A batch of two fields with two entries each.
    /// assert_eq!(Output::new("S1", vec![2, 2], vec![1.0, 2.0, 3.0, 4.0], None, index())?.entries(), 2);
    /// assert!(Output::new("S1", vec![3], vec![1.0, 2.0, 3.0], None, index()).is_err());
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn new(name: &str, shape: Vec<usize>, re: Vec<f64>, im: Option<Vec<f64>>, index: Index) -> Result<Output, TableError> {
        let fault = |what: &str, expected: String, found: String| Err(TableError::Shape { output: name.into(), what: what.into(), expected, found });
        let count = shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)).filter(|n| *n <= MOST);
        let Some(count) = count else {
            return fault("shape", format!("at most {MOST} numbers"), format!("{shape:?}"));
        };
        for (part, len) in [("real parts", Some(re.len())), ("imaginary parts", im.as_ref().map(Vec::len))] {
            if let Some(len) = len.filter(|len| *len != count) {
                return fault(part, format!("{count} for the shape {shape:?}"), len.to_string());
            }
        }
        if !index.columns.is_empty() {
            let entries = shape.last().copied().unwrap_or(1);
            if index.rows.len() != entries {
                return fault("index", format!("{entries} rows"), index.rows.len().to_string());
            }
            if let Some(row) = index.rows.iter().find(|row| row.len() != index.columns.len()) {
                return fault("index", format!("rows of {} indices", index.columns.len()), format!("{row:?}"));
            }
        }
        if let Some((k, column)) = index.columns.iter().enumerate().find(|(k, c)| index.columns[..*k].contains(c)) {
            return fault("index", "columns of different names".into(), format!("`{column}` again in column {k}"));
        }
        Ok(Output { name: name.into(), shape, re, im, index })
    }

    /// Number of entries of the last axis; 1 for a number.
    ///
    /// ```
    /// use scatterc::Index;
    /// use scatterc::table::Output;
    ///
    /// assert_eq!(Output::new("mean", vec![], vec![0.5], None, Index::default())?.entries(), 1);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn entries(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Position of a column. Error: the columns there are.
    fn column(&self, name: &str) -> Result<usize, TableError> {
        let found = self.index.columns.iter().position(|c| c == name);
        found.ok_or_else(|| TableError::Column { output: self.name.clone(), found: name.into(), known: self.index.columns.join(", ") })
    }

    /// The entries that satisfy a condition, in their order; an output without indices is unchanged.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// assert_eq!(s1.select(|entry| entry.get("j") == Some(0)).index.rows, [[0, 0], [0, 1]]);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn select(&self, keep: impl Fn(Entry) -> bool) -> Output {
        if self.index.columns.is_empty() {
            return self.clone();
        }
        let kept: Vec<usize> =
            (0..self.index.rows.len()).filter(|k| keep(Entry { columns: &self.index.columns, row: &self.index.rows[*k] })).collect();
        self.take(&kept)
    }

    /// The entries whose indices have the given values.
    ///
    /// Error: a column that does not exist.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// assert_eq!(s1.at(&[("j", 1), ("g", 0)])?.re, [5.0]);
    /// assert!(s1.at(&[("h", 0)]).is_err());
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn at(&self, indices: &[(&str, i64)]) -> Result<Output, TableError> {
        let wanted: Vec<(usize, i64)> = indices.iter().map(|(name, value)| Ok((self.column(name)?, *value))).collect::<Result<_, TableError>>()?;
        let kept: Vec<usize> = (0..self.index.rows.len()).filter(|k| wanted.iter().all(|(c, v)| self.index.rows[*k][*c] == *v)).collect();
        Ok(if indices.is_empty() { self.clone() } else { self.take(&kept) })
    }

    fn take(&self, kept: &[usize]) -> Output {
        let n = self.entries();
        let pick = |values: &[f64]| values.chunks(n.max(1)).flat_map(|row| kept.iter().map(|k| row[*k])).collect::<Vec<f64>>();
        let mut shape = self.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = kept.len();
        }
        let index = Index { columns: self.index.columns.clone(), rows: kept.iter().map(|k| self.index.rows[*k].clone()).collect() };
        Output { name: self.name.clone(), shape, re: pick(&self.re), im: self.im.as_deref().map(pick), index }
    }

    /// Entries that agree in all columns but the given ones: what they agree in, and their places, in the order of their first entries.
    fn groups(&self, gone: &[usize]) -> (Vec<Vec<i64>>, Vec<Vec<usize>>) {
        let rest = |row: &[i64]| row.iter().enumerate().filter(|(k, _)| !gone.contains(k)).map(|(_, v)| *v).collect::<Vec<i64>>();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut places: BTreeMap<Vec<i64>, usize> = BTreeMap::new();
        let mut rows: Vec<Vec<i64>> = Vec::new();
        for (k, row) in self.index.rows.iter().enumerate() {
            let key = rest(row);
            let place = *places.entry(key.clone()).or_insert_with(|| {
                groups.push(vec![]);
                rows.push(key);
                groups.len() - 1
            });
            groups[place].push(k);
        }
        (rows, groups)
    }

    /// Places of the entries that differ in one column alone, in ascending order of its values, group by group.
    ///
    /// Error: values that are not consecutive whole numbers, or do not begin at 0 where they must.
    fn runs(&self, column: usize, from_zero: bool) -> Result<Vec<Vec<usize>>, TableError> {
        let (_, mut groups) = self.groups(&[column]);
        for group in &mut groups {
            group.sort_by_key(|k| self.index.rows[*k][column]);
            let values: Vec<i64> = group.iter().map(|k| self.index.rows[*k][column]).collect();
            let first = if from_zero { 0 } else { values[0] };
            if values.iter().enumerate().any(|(k, v)| i64::try_from(k).ok().and_then(|k| first.checked_add(k)) != Some(*v)) {
                return Err(TableError::Shape {
                    output: self.name.clone(),
                    what: format!("index `{}`", self.index.columns[column]),
                    expected: format!("consecutive values{}, each once, where the other indices agree", if from_zero { " from 0" } else { "" }),
                    found: format!("{values:?}"),
                });
            }
        }
        Ok(groups)
    }

    /// An index becomes its difference from another, which stays: with `column` i and `from` j, entry (i, j) becomes (i - j, j).
    ///
    /// Error: a column that does not exist; a difference that no 64 bits hold.
    ///
    /// ```
    /// use scatterc::Index;
    /// use scatterc::table::Output;
    ///
    /// let index = Index { columns: vec!["j".into(), "i".into()], rows: vec![vec![0, 1], vec![0, 2], vec![1, 2]] };
    /// let s3 = Output::new("S3", vec![3], vec![1.0, 2.0, 3.0], None, index)?;
    /// assert_eq!(s3.difference("i", "j")?.index.rows, [[0, 1], [0, 2], [1, 1]]);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn difference(&self, column: &str, from: &str) -> Result<Output, TableError> {
        let (own, other) = (self.column(column)?, self.column(from)?);
        let mut out = self.clone();
        for row in &mut out.index.rows {
            row[own] = row[own].checked_sub(row[other]).ok_or_else(|| TableError::Shape {
                output: self.name.clone(),
                what: format!("index `{column}` less `{from}`"),
                expected: "a whole number of 64 bits".into(),
                found: format!("{} - {}", row[own], row[other]),
            })?;
        }
        Ok(out)
    }

    /// Mean over all orientations at fixed differences: of the columns g1, .., gn, gn goes and the others become the differences gk - gn modulo the number G of orientations.
    ///
    /// out\[.., d1, .., d(n-1)\] = 1/G sum_g in\[.., d1 + g, .., d(n-1) + g, g\], with differences in ascending order. One column: its mean.
    /// G is one more than the largest value of the columns, and every tuple of orientations must be there.
    ///
    /// Error: a column that does not exist or is named twice; tuples that are missing.
    ///
    /// ```
    /// use scatterc::Index;
    /// use scatterc::table::Output;
    ///
    /// // in[g, h] over two orientations: equal ones, and different ones.
    /// let index = Index { columns: vec!["g".into(), "h".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// let c = Output::new("C", vec![4], vec![1.0, 5.0, 7.0, 3.0], None, index)?.isotropic(&["g", "h"])?;
    /// assert_eq!((c.re, c.index.rows), (vec![2.0, 6.0], vec![vec![0], vec![1]]));
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn isotropic(&self, columns: &[&str]) -> Result<Output, TableError> {
        let Some((last, others)) = columns.split_last() else { return Ok(self.clone()) };
        let places: Vec<usize> = columns.iter().map(|name| self.column(name)).collect::<Result<_, _>>()?;
        let fault = |expected: String, found: String| TableError::Shape {
            output: self.name.clone(),
            what: format!("indices [{}]", columns.join(", ")),
            expected,
            found,
        };
        if let Some(k) = (0..places.len()).find(|k| places[..*k].contains(&places[*k])) {
            return Err(fault("different names".into(), format!("`{}` twice", columns[k])));
        }
        let values = || self.index.rows.iter().flat_map(|row| places.iter().map(|k| row[*k]));
        let (least, most) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
        let G = usize::try_from(most).ok().and_then(|most| most.checked_add(1)).filter(|_| least >= 0);
        let G = G.ok_or_else(|| fault("orientations from 0 on".into(), format!("{least} .. {most}")))?;
        let (keys, groups) = self.groups(&places);
        let wanted = u32::try_from(places.len()).ok().and_then(|n| G.checked_pow(n));
        for (key, group) in keys.iter().zip(&groups) {
            let mut tuples: Vec<Vec<i64>> = group.iter().map(|k| places.iter().map(|p| self.index.rows[*k][*p]).collect()).collect();
            tuples.sort_unstable();
            tuples.dedup();
            if Some(tuples.len()) != wanted || tuples.len() != group.len() {
                return Err(fault(
                    format!("all tuples of {G} orientations, each once"),
                    format!("{} entries, {} of them different, where the other indices are {key:?}", group.len(), tuples.len()),
                ));
            }
        }
        // Differences in ascending order inside each group; the sum over `last` then runs in its order.
        let mut turned = self.clone();
        let mut order: Vec<(usize, Vec<i64>, usize)> = Vec::with_capacity(self.index.rows.len());
        for (rank, group) in groups.iter().enumerate() {
            for k in group {
                let row = &mut turned.index.rows[*k];
                let g = row[places[others.len()]];
                let mut differences = Vec::with_capacity(places.len());
                for place in &places[..others.len()] {
                    row[*place] = (row[*place] - g).rem_euclid(G as i64);
                    differences.push(row[*place]);
                }
                differences.push(g);
                order.push((rank, differences, *k));
            }
        }
        order.sort_unstable();
        turned.take(&order.iter().map(|(_, _, k)| *k).collect::<Vec<_>>()).aggregate(&[last], Aggregate::Mean)
    }

    /// Orthonormal discrete Fourier transform over an orientation: the index becomes a frequency p, the output complex.
    ///
    /// out\[p\] = G^(-1/2) sum_g in\[g\] exp(-2 pi i p g / G), p = 0 .. G - 1, where the index has the values 0 .. G - 1; of a real output
    /// p = 0 .. floor(G / 2) alone, which say everything (`numpy.fft.rfft(.., norm="ortho")`).
    ///
    /// Error: a column that does not exist; values that are not 0 .. G - 1 where the other indices agree. Cost: G^2 for each of them.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// // For each j the sum and the difference over two orientations, divided by the root of 2.
    /// let p = s1.fourier("g")?;
    /// let root = 2f64.sqrt();
    /// let expected = [4.0 / root, -2.0 / root, 14.0 / root, -4.0 / root];
    /// assert!(p.re.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14) && p.im.is_some());
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn fourier(&self, column: &str) -> Result<Output, TableError> {
        let place = self.column(column)?;
        let runs = self.runs(place, true)?;
        let mut out = self.clone();
        let (n, im) = (self.entries(), self.im.clone().unwrap_or_else(|| vec![0.0; self.re.len()]));
        let mut imaginary = vec![0.0; self.re.len()];
        for start in (0..self.re.len()).step_by(n.max(1)) {
            for run in &runs {
                let G = run.len();
                for (p, target) in run.iter().enumerate() {
                    let (mut a, mut b) = (0.0, 0.0);
                    for (g, source) in run.iter().enumerate() {
                        let (sin, cos) = (std::f64::consts::TAU * ((p * g) % G) as f64 / G as f64).sin_cos();
                        let (x, y) = (self.re[start + source], im[start + source]);
                        a += x * cos + y * sin;
                        b += y * cos - x * sin;
                    }
                    out.re[start + target] = a / (G as f64).sqrt();
                    imaginary[start + target] = b / (G as f64).sqrt();
                }
            }
        }
        out.im = Some(imaginary);
        if self.im.is_some() {
            return Ok(out);
        }
        let mut kept: Vec<usize> = runs.iter().flat_map(|run| &run[..run.len() / 2 + 1]).copied().collect();
        kept.sort_unstable();
        Ok(out.take(&kept))
    }

    /// Orthonormal cosine transform (DCT-II) over a scale: the index becomes the number o of half periods.
    ///
    /// out\[o\] = sqrt((1 + \[o > 0\]) / n) sum_r in\[j0 + r\] cos(pi o (r + 1/2) / n), o = 0 .. n - 1, where the index has the n
    /// consecutive values from j0 on; n and j0 may differ between values of the other indices (`scipy.fft.dct(.., type=2, norm="ortho")`).
    ///
    /// Error: a column that does not exist; values that are not consecutive where the other indices agree. Cost: n^2 for each of them.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// // A sum of squares does not change.
    /// let square = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
    /// let o = s1.cosine("j")?;
    /// assert!((square(&o.re) - square(&s1.re)).abs() < 1e-12 && (o.re[0] - 6.0 / 2f64.sqrt()).abs() < 1e-14);
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn cosine(&self, column: &str) -> Result<Output, TableError> {
        let place = self.column(column)?;
        let runs = self.runs(place, false)?;
        let mut out = self.clone();
        let entries = self.entries();
        let one = |values: &[f64]| {
            let mut all = values.to_vec();
            for start in (0..values.len()).step_by(entries.max(1)) {
                for run in &runs {
                    let n = run.len() as f64;
                    for (o, target) in run.iter().enumerate() {
                        let wave = |r: usize| (std::f64::consts::PI * o as f64 * (r as f64 + 0.5) / n).cos();
                        let sum: f64 = run.iter().enumerate().map(|(r, source)| values[start + source] * wave(r)).sum();
                        all[start + target] = sum * (if o > 0 { 2.0 } else { 1.0 } / n).sqrt();
                    }
                }
            }
            all
        };
        (out.re, out.im) = (one(&self.re), self.im.as_deref().map(one));
        for run in &runs {
            run.iter().enumerate().for_each(|(o, target)| out.index.rows[*target][place] = o as i64);
        }
        Ok(out)
    }

    /// Removes indices: entries that agree in all others become one. Groups stand in the order of their first entries, and are added in the order of theirs.
    ///
    /// Error: a column that does not exist, the smallest or largest of complex numbers.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// let level = s1.aggregate(&["j", "g"], Aggregate::Mean)?;
    /// assert_eq!((level.re, level.shape), (vec![4.5], vec![]));
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn aggregate(&self, over: &[&str], how: Aggregate) -> Result<Output, TableError> {
        if self.im.is_some() && matches!(how, Aggregate::Min | Aggregate::Max) {
            return Err(TableError::Complex { output: self.name.clone(), found: format!("{how:?}").to_lowercase() });
        }
        let gone: Vec<usize> = over.iter().map(|name| self.column(name)).collect::<Result<_, TableError>>()?;
        if gone.is_empty() {
            return Ok(self.clone());
        }
        let (rows, groups) = self.groups(&gone);
        let one = |row: &[f64], group: &[usize]| {
            let values = group.iter().map(|k| row[*k]);
            match how {
                Aggregate::Sum => values.sum::<f64>(),
                Aggregate::Mean => values.sum::<f64>() / group.len() as f64,
                Aggregate::Min => values.fold(f64::INFINITY, f64::min),
                Aggregate::Max => values.fold(f64::NEG_INFINITY, f64::max),
            }
        };
        let n = self.entries();
        let reduce =
            |values: &[f64]| values.chunks(n.max(1)).flat_map(|row| groups.iter().map(|g| one(row, g)).collect::<Vec<_>>()).collect::<Vec<f64>>();
        let columns: Vec<String> = self.index.columns.iter().enumerate().filter(|(k, _)| !gone.contains(k)).map(|(_, c)| c.clone()).collect();
        let mut shape = self.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = groups.len();
        }
        // Without columns there is one group, which needs no axis.
        let rows = if columns.is_empty() { vec![] } else { rows };
        if columns.is_empty() && groups.len() == 1 {
            shape.pop();
        }
        Output::new(&self.name, shape, reduce(&self.re), self.im.as_deref().map(reduce), Index { columns, rows })
    }
}

/// Outputs with their indices, and what describes them.
///
/// ```
/// # use scatterc::Index;
/// # use scatterc::table::*;
/// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
/// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
/// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
/// let table = Table { metadata: "two scales".into(), outputs: vec![s1] };
/// assert_eq!(table.get("S1")?.entries(), 4);
/// # Ok::<(), scatterc::table::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// What describes the whole: statistic, domain, options.
    pub metadata: Value,
    /// Outputs in order, of different names.
    pub outputs: Vec<Output>,
}

impl Table {
    /// The table of the statistics of a run. Field-valued outputs keep their samples along the last axis.
    ///
    /// Error: outputs whose parts do not fit together.
    ///
    /// ```
    /// use scatterc::{Compiler, InputKind, Source, Sphere, table::Table};
    ///
    /// let (source, sphere) = (Source::find("s2scat")?, Sphere::new(8, 1, 0, InputKind::Half)?);
    /// let statistics = Compiler::new(&source, &sphere).encoder()?.encode(&scatterc::random::white(8, 1, 0))?;
    /// let table = Table::of(&statistics, "s2scat".into()).expect("parts that fit together");
    /// assert_eq!(table.outputs[2].index.columns, ["j", "g"]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn of(statistics: &Statistics, metadata: Value) -> Result<Table, TableError> {
        let outputs = statistics
            .arrays
            .iter()
            .map(|array| {
                let mut shape: Vec<usize> = statistics.batch.into_iter().chain(array.axes.iter().copied()).collect();
                let outer: usize = shape.iter().product();
                let entries = array.re.len() / outer.max(1);
                if !array.index.columns.is_empty() || entries != 1 {
                    shape.push(entries);
                }
                let index = if array.index.columns.is_empty() { Index::default() } else { (*array.index).clone() };
                Output::new(&array.name, shape, array.re.clone(), array.im.clone(), index)
            })
            .collect::<Result<_, _>>()?;
        Ok(Table { metadata, outputs })
    }

    /// Output of that name. Error: the names there are.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// let table = Table { outputs: vec![s1], ..Table::default() };
    /// assert_eq!(table.get("S2").unwrap_err().to_string(), "there is no output `S2`; there are [S1]");
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn get(&self, name: &str) -> Result<&Output, TableError> {
        let known = || self.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", ");
        self.outputs.iter().find(|o| o.name == name).ok_or_else(|| TableError::Output { found: name.into(), known: known() })
    }

    /// The table after a step, which is added to the list `steps` of its metadata. Outputs that lack one of the step's indices stay as they are.
    ///
    /// Error: indices that no output has together; what the step refuses.
    ///
    /// ```
    /// use scatterc::Index;
    /// use scatterc::table::{Output, Selection, Step, Table};
    ///
    /// let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// let table = Table { outputs: vec![s1], ..Table::default() };
    /// let fine = table.step(&Step::Select(Selection::parse("j >= 1")?))?;
    /// let one = fine.step(&Step::Isotropic(vec!["g".into()]))?;
    /// assert_eq!((one.outputs[0].re[0], one.metadata["steps"][1].as_str()), (7.0, Some("isotropic g")));
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn step(&self, step: &Step) -> Result<Table, TableError> {
        let wanted = step.indices();
        let has = |o: &Output| wanted.iter().all(|w| o.index.columns.iter().any(|c| c == w));
        if !self.outputs.iter().any(has) {
            let known = self.outputs.iter().map(|o| format!("{} has [{}]", o.name, o.index.columns.join(", "))).collect::<Vec<_>>().join(", ");
            return Err(TableError::Nowhere { found: wanted.join(", "), known });
        }
        let outputs = self.outputs.iter().map(|o| if has(o) { step.of(o) } else { Ok(o.clone()) }).collect::<Result<_, _>>()?;
        let mut steps = self.metadata.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
        steps.push(Value::from(step.to_string()));
        let metadata = match &self.metadata {
            Value::Object(map) => Value::Object(map.clone().into_iter().chain([("steps".to_string(), Value::from(steps))]).collect()),
            Value::Null => json!({ "steps": steps }),
            other => json!({ "metadata": other, "steps": steps }),
        };
        Ok(Table { metadata, outputs })
    }

    /// Writes beside the place and renames, so that no partial file is ever seen.
    ///
    /// Error: a place that cannot be written; for JSON, numbers that are not finite; names used twice.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// let path = std::env::temp_dir().join(format!("scatterc-write-{}.csv", std::process::id()));
    /// let table = Table { outputs: vec![s1], ..Table::default() };
    /// table.write(&path, Format::Csv)?;
    /// assert_eq!(Table::read(&path)?, table);
    /// std::fs::remove_file(&path).expect("written above");
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn write(&self, path: &Path, format: Format) -> Result<(), TableError> {
        let bytes = self.bytes(path, format)?;
        let fail = |found| TableError::File { path: path.into(), found };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(name);
        fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(|e| {
            let _ = fs::remove_file(&beside);
            fail(e)
        })
    }

    /// Reads a file in the format that its name or its first bytes say.
    ///
    /// Error: a file that cannot be read, that is too large or no table; a table whose parts do not fit together.
    ///
    /// ```
    /// use scatterc::table::{Table, TableError};
    ///
    /// assert!(matches!(Table::read("nothing/there.npz".as_ref()), Err(TableError::File { .. })));
    /// ```
    pub fn read(path: &Path) -> Result<Table, TableError> {
        let fail = |found| TableError::File { path: path.into(), found };
        let length = fs::metadata(path).map_err(fail)?.len();
        if length > LARGEST {
            return Err(format_fault(path, "file", format!("at most {LARGEST} bytes"), format!("{length} bytes")));
        }
        let bytes = fs::read(path).map_err(fail)?;
        let format = match bytes.get(..2) {
            Some(b"PK") => Format::Npz,
            Some(b"# ") => Format::Csv,
            _ => Format::of(path).unwrap_or(if bytes.first() == Some(&b'{') { Format::Json } else { Format::Safetensors }),
        };
        Table::parse(path, &bytes, format)
    }

    /// As [`Table::read`], of bytes in a known format; `path` is named in errors only.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// let table = Table { outputs: vec![s1], ..Table::default() };
    /// for format in Format::ALL {
    ///     let bytes = table.bytes("s1".as_ref(), format)?;
    ///     assert_eq!(Table::parse("s1".as_ref(), &bytes, format)?, table);
    /// }
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn parse(path: &Path, bytes: &[u8], format: Format) -> Result<Table, TableError> {
        let table = match format {
            Format::Npz => read_npz(path, bytes)?,
            Format::Json => read_json(path, bytes)?,
            Format::Csv => read_csv(path, bytes)?,
            Format::Safetensors => read_safetensors(path, bytes)?,
        };
        table.check(path)?;
        Ok(table)
    }

    /// The bytes of a file; `path` is named in errors only.
    ///
    /// ```
    /// # use scatterc::Index;
    /// # use scatterc::table::*;
    /// # let index = Index { columns: vec!["j".into(), "g".into()], rows: vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]] };
    /// # let s1 = Output::new("S1", vec![4], vec![1.0, 3.0, 5.0, 9.0], None, index)?;
    /// // Four entries (j, g): 1 and 3 at j = 0, 5 and 9 at j = 1.
    /// let text = String::from_utf8(Table { outputs: vec![s1], ..Table::default() }.bytes("s1.csv".as_ref(), Format::Csv)?).expect("text");
    /// assert!(text.lines().any(|line| line.starts_with("S1,") && line.ends_with("9,") || line.contains(",1,1,9")));
    /// # Ok::<(), scatterc::table::TableError>(())
    /// ```
    pub fn bytes(&self, path: &Path, format: Format) -> Result<Vec<u8>, TableError> {
        self.check(path)?;
        match format {
            Format::Npz => write_npz(self, path),
            Format::Json => write_json(self, path),
            Format::Csv => write_csv(self, path),
            Format::Safetensors => write_safetensors(self, path),
        }
    }

    fn check(&self, path: &Path) -> Result<(), TableError> {
        for (k, output) in self.outputs.iter().enumerate() {
            if self.outputs[..k].iter().any(|o| o.name == output.name) {
                return Err(format_fault(path, "outputs", "different names", format!("`{}` twice", output.name)));
            }
            Output::new(
                &output.name,
                output.shape.clone(),
                vec![0.0; output.re.len()],
                output.im.as_ref().map(|im| vec![0.0; im.len()]),
                output.index.clone(),
            )?;
        }
        Ok(())
    }

    /// Shapes and columns: what JSON, CSV and safetensors state apart from the numbers.
    fn outline(&self) -> Value {
        let one = |o: &Output| json!({ "name": o.name, "shape": o.shape, "columns": o.index.columns, "complex": o.im.is_some() });
        json!({ "kind": KIND, "metadata": self.metadata, "outputs": self.outputs.iter().map(one).collect::<Vec<_>>() })
    }
}

fn format_fault(path: &Path, what: impl ToString, expected: impl ToString, found: impl ToString) -> TableError {
    TableError::Format { path: path.into(), what: what.to_string(), expected: expected.to_string(), found: found.to_string() }
}

// ------------------------------------------------------------------------------------------------------------------ outlines

/// An output whose numbers are not read yet.
struct Outline {
    name: String,
    shape: Vec<usize>,
    columns: Vec<String>,
    complex: bool,
}

impl Outline {
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)).filter(|n| *n <= MOST)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|v| v.as_str().map(str::to_string)).collect()
}

fn whole(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|v| v.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
}

fn outline(path: &Path, value: &Value) -> Result<(Value, Vec<Outline>), TableError> {
    if value.get("kind").and_then(Value::as_str) != Some(KIND) {
        return Err(format_fault(path, "kind", format!("\"{KIND}\""), value.get("kind").unwrap_or(&Value::Null)));
    }
    let list = value.get("outputs").and_then(Value::as_array).ok_or_else(|| format_fault(path, "outputs", "a list", "none"))?;
    let outputs = list
        .iter()
        .map(|o| {
            let part = |name: &str| o.get(name).unwrap_or(&Value::Null);
            let own = Some(Outline {
                name: part("name").as_str().unwrap_or_default().to_string(),
                shape: whole(part("shape")).unwrap_or_default(),
                columns: texts(part("columns")).unwrap_or_default(),
                complex: part("complex").as_bool().unwrap_or(false),
            });
            let sound =
                part("name").is_string() && whole(part("shape")).is_some() && texts(part("columns")).is_some() && part("complex").is_boolean();
            own.filter(|own| sound && own.count().is_some())
                .ok_or_else(|| format_fault(path, "an output", "name, shape, columns and complex", format!("{:.200}", o.to_string())))
        })
        .collect::<Result<_, _>>()?;
    Ok((value.get("metadata").cloned().unwrap_or(Value::Null), outputs))
}

// ---------------------------------------------------------------------------------------------------------------------- JSON

fn write_json(table: &Table, path: &Path) -> Result<Vec<u8>, TableError> {
    let mut whole = table.outline();
    for (k, output) in table.outputs.iter().enumerate() {
        let infinite = output.re.iter().chain(output.im.iter().flatten()).find(|x| !x.is_finite());
        if let Some(x) = infinite {
            return Err(format_fault(path, format!("output `{}`", output.name), "finite numbers: JSON has no others", x));
        }
        whole["outputs"][k]["index"] = json!(output.index.rows);
        whole["outputs"][k]["re"] = json!(output.re);
        if let Some(im) = &output.im {
            whole["outputs"][k]["im"] = json!(im);
        }
    }
    Ok(whole.to_string().into_bytes())
}

fn read_json(path: &Path, bytes: &[u8]) -> Result<Table, TableError> {
    let whole: Value = serde_json::from_slice(bytes).map_err(|e| format_fault(path, "file", "JSON", e))?;
    let (metadata, outlines) = outline(path, &whole)?;
    let outputs = outlines
        .into_iter()
        .enumerate()
        .map(|(k, own)| {
            let part = |name: &str| whole["outputs"][k].get(name).and_then(Value::as_array);
            let fault = |what: &str, expected: &str| format_fault(path, format!("`{}`, {what}", own.name), expected, "something else");
            let numbers = |name: &str| {
                let list: Option<Vec<f64>> = part(name).and_then(|list| list.iter().map(Value::as_f64).collect());
                list.ok_or_else(|| fault(name, "a list of numbers"))
            };
            let rows: Option<Vec<Vec<i64>>> =
                part("index").and_then(|rows| rows.iter().map(|row| row.as_array()?.iter().map(Value::as_i64).collect()).collect());
            let rows = rows.ok_or_else(|| fault("index", "rows of whole numbers"))?;
            let im = if own.complex { Some(numbers("im")?) } else { None };
            Output::new(&own.name, own.shape.clone(), numbers("re")?, im, Index { columns: own.columns.clone(), rows })
        })
        .collect::<Result<_, _>>()?;
    Ok(Table { metadata, outputs })
}

// ----------------------------------------------------------------------------------------------------------------------- CSV

/// All columns of all outputs, in order of appearance.
fn united(columns: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    columns.flatten().for_each(|c| {
        if !all.contains(&c) {
            all.push(c);
        }
    });
    all
}

fn write_csv(table: &Table, path: &Path) -> Result<Vec<u8>, TableError> {
    let fail = |e: csv::Error| format_fault(path, "file", "a table that can be written", e);
    let mut out = csv::Writer::from_writer(format!("# {}\n", table.outline()).into_bytes());
    let columns = united(table.outputs.iter().map(|o| o.index.columns.clone()));
    let header = ["output", "place"].into_iter().chain(columns.iter().map(String::as_str)).chain(["re", "im"]);
    out.write_record(header).map_err(fail)?;
    for output in &table.outputs {
        let indexed = !output.index.columns.is_empty();
        for k in 0..output.re.len() {
            let entry = if indexed { k % output.entries() } else { 0 };
            let place = if indexed { k / output.entries() } else { k };
            let mut record = vec![output.name.clone(), place.to_string()];
            for column in &columns {
                let at = output.index.columns.iter().position(|c| c == column);
                record.push(at.map_or(String::new(), |c| output.index.rows[entry][c].to_string()));
            }
            // The shortest text that gives back the bits.
            record.push(format!("{:e}", output.re[k]));
            record.push(output.im.as_ref().map_or(String::new(), |im| format!("{:e}", im[k])));
            out.write_record(&record).map_err(fail)?;
        }
    }
    out.into_inner().map_err(|e| format_fault(path, "file", "a table that can be written", e.error()))
}

fn read_csv(path: &Path, bytes: &[u8]) -> Result<Table, TableError> {
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let about = first.strip_prefix(b"# ").ok_or_else(|| format_fault(path, "first line", "`# ` and what describes the table", "something else"))?;
    let about: Value = serde_json::from_slice(about).map_err(|e| format_fault(path, "first line", "JSON behind `# `", e))?;
    let (metadata, outlines) = outline(path, &about)?;
    let columns = united(outlines.iter().map(|o| o.columns.clone()));
    let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[(first.len() + 1).min(bytes.len())..]);
    let expected: Vec<&str> = ["output", "place"].into_iter().chain(columns.iter().map(String::as_str)).chain(["re", "im"]).collect();
    let header = reader.headers().map_err(|e| format_fault(path, "header", "columns", e))?;
    if header.iter().ne(expected.iter().copied()) {
        return Err(format_fault(path, "header", expected.join(","), header.iter().collect::<Vec<_>>().join(",")));
    }
    let mut rows = reader.records().enumerate();
    let mut outputs = Vec::with_capacity(outlines.len());
    for own in outlines {
        let (mut re, mut im, mut table) = (Vec::new(), Vec::new(), Vec::new());
        let entries = own.shape.last().copied().unwrap_or(1);
        let indexed = !own.columns.is_empty();
        for k in 0..own.count().unwrap_or(0) {
            let Some((number, record)) = rows.next() else {
                return Err(format_fault(path, format!("output `{}`", own.name), format!("{} rows", own.count().unwrap_or(0)), format!("{k} rows")));
            };
            let line = format!("line {}", number + 3);
            let record = record.map_err(|e| format_fault(path, &line, "a row", e))?;
            let cell = |k: usize| record.get(k).unwrap_or_default();
            let place = if indexed { k / entries.max(1) } else { k };
            if cell(0) != own.name || cell(1) != place.to_string() {
                return Err(format_fault(
                    path,
                    &line,
                    format!("output `{}` at place {place}", own.name),
                    format!("`{}` at place {}", cell(0), cell(1)),
                ));
            }
            let mut row = Vec::with_capacity(own.columns.len());
            for column in &own.columns {
                let text = cell(2 + columns.iter().position(|c| c == column).unwrap_or(0));
                row.push(text.parse::<i64>().map_err(|_| format_fault(path, &line, format!("a whole number for `{column}`"), format!("`{text}`")))?);
            }
            if k < entries && indexed {
                table.push(row);
            } else if indexed && table[k % entries] != row {
                return Err(format_fault(path, &line, format!("the indices {:?} of place 0", table[k % entries]), format!("{row:?}")));
            }
            let number = |text: &str| text.parse::<f64>().map_err(|_| format_fault(path, &line, "a number", format!("`{text}`")));
            re.push(number(cell(2 + columns.len()))?);
            if own.complex {
                im.push(number(cell(3 + columns.len()))?);
            }
        }
        outputs.push(Output::new(&own.name, own.shape, re, own.complex.then_some(im), Index { columns: own.columns, rows: table })?);
    }
    match rows.next() {
        None => Ok(Table { metadata, outputs }),
        Some((number, _)) => Err(format_fault(path, format!("line {}", number + 3), "the end of the file", "another row")),
    }
}

// --------------------------------------------------------------------------------------------------------------- safetensors

fn little<const N: usize, T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| bytes(*v)).collect()
}

fn words<T>(bytes: &[u8], from: impl Fn([u8; 8]) -> T) -> Vec<T> {
    bytes.as_chunks::<8>().0.iter().map(|w| from(*w)).collect()
}

fn write_safetensors(table: &Table, path: &Path) -> Result<Vec<u8>, TableError> {
    use safetensors::tensor::{Dtype, TensorView};
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for output in &table.outputs {
        let parts = match &output.im {
            None => vec![(output.name.clone(), &output.re)],
            Some(im) => vec![(format!("{}.re", output.name), &output.re), (format!("{}.im", output.name), im)],
        };
        tensors.extend(parts.into_iter().map(|(name, values)| (name, Dtype::F64, output.shape.clone(), little(values, f64::to_le_bytes))));
        if !output.index.columns.is_empty() {
            let shape = vec![output.index.rows.len(), output.index.columns.len()];
            tensors.push((format!("{}_index", output.name), Dtype::I64, shape, little(&output.index.rows.concat(), i64::to_le_bytes)));
        }
    }
    let fail = |e: safetensors::SafeTensorError| format_fault(path, "file", "tensors that can be written", e);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.clone(), TensorView::new(*dtype, shape.clone(), bytes).map_err(fail)?)))
        .collect::<Result<Vec<_>, TableError>>()?;
    let about = HashMap::from([("scatterc".to_string(), table.outline().to_string())]);
    safetensors::serialize(views, Some(about)).map_err(fail)
}

fn read_safetensors(path: &Path, bytes: &[u8]) -> Result<Table, TableError> {
    use safetensors::tensor::{Dtype, SafeTensors};
    let fail = |e: safetensors::SafeTensorError| format_fault(path, "file", "safetensors", e);
    let (_, about) = SafeTensors::read_metadata(bytes).map_err(fail)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(fail)?;
    let about =
        about.metadata().as_ref().and_then(|m| m.get("scatterc")).ok_or_else(|| format_fault(path, "metadata", "the key `scatterc`", "none"))?;
    let about: Value = serde_json::from_str(about).map_err(|e| format_fault(path, "metadata", "JSON under `scatterc`", e))?;
    let (metadata, outlines) = outline(path, &about)?;
    let outputs = outlines
        .into_iter()
        .map(|own| {
            let tensor = |name: &str, dtype: Dtype, shape: Option<&[usize]>| {
                let view = tensors
                    .tensor(name)
                    .map_err(|_| format_fault(path, "tensors", format!("`{name}`"), format!("[{}]", tensors.names().join(", "))))?;
                if view.dtype() != dtype || shape.is_some_and(|s| s != view.shape()) {
                    let expected = format!("{dtype:?} {}", shape.map_or("of two axes".into(), |s| format!("{s:?}")));
                    return Err(format_fault(path, format!("tensor `{name}`"), expected, format!("{:?} {:?}", view.dtype(), view.shape())));
                }
                Ok(view.data().to_vec())
            };
            let numbers = |name: &str| Ok::<_, TableError>(words(&tensor(name, Dtype::F64, Some(&own.shape))?, f64::from_le_bytes));
            let (re, im) = match own.complex {
                false => (numbers(&own.name)?, None),
                true => (numbers(&format!("{}.re", own.name))?, Some(numbers(&format!("{}.im", own.name))?)),
            };
            let rows = match own.columns.len() {
                0 => vec![],
                n => {
                    let shape = [own.shape.last().copied().unwrap_or(1), n];
                    words(&tensor(&format!("{}_index", own.name), Dtype::I64, Some(&shape))?, i64::from_le_bytes)
                        .chunks(n)
                        .map(<[i64]>::to_vec)
                        .collect()
                }
            };
            Output::new(&own.name, own.shape.clone(), re, im, Index { columns: own.columns, rows })
        })
        .collect::<Result<_, _>>()?;
    Ok(Table { metadata, outputs })
}

// ----------------------------------------------------------------------------------------------------------------------- npz

/// An array of an archive.
enum Member {
    Real(Vec<f64>),
    Complex(Vec<f64>, Vec<f64>),
    Whole(Vec<i64>),
    Texts(Vec<String>),
}

/// One `.npy` image; `kind` is NumPy's type string.
fn npy(kind: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", axes.join(" "));
    // Magic, version and length take 10 bytes; the whole header is a multiple of 64.
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
}

fn write_npz(table: &Table, path: &Path) -> Result<Vec<u8>, TableError> {
    let fail = |e: String| format_fault(path, "file", "an archive that can be written", e);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // Without times, so that the same numbers are the same bytes.
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(true)
        .last_modified_time(zip::DateTime::default());
    let mut add = |name: String, bytes: Vec<u8>| {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| fail(e.to_string()))?;
        zip.write_all(&bytes).map_err(|e| fail(e.to_string()))
    };
    let unicode = |texts: &[String], shape: &[usize]| {
        let width = texts.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(1);
        let data: Vec<u8> = texts
            .iter()
            .flat_map(|t| t.chars().map(u32::from).chain(std::iter::repeat(0)).take(width).collect::<Vec<_>>())
            .flat_map(u32::to_le_bytes)
            .collect();
        npy(&format!("<U{width}"), shape, &data)
    };
    for output in &table.outputs {
        let array = match &output.im {
            None => npy("<f8", &output.shape, &little(&output.re, f64::to_le_bytes)),
            Some(im) => {
                npy("<c16", &output.shape, &output.re.iter().zip(im).flat_map(|(a, b)| [*a, *b]).flat_map(f64::to_le_bytes).collect::<Vec<_>>())
            }
        };
        add(output.name.clone(), array)?;
        if !output.index.columns.is_empty() {
            let shape = [output.index.rows.len(), output.index.columns.len()];
            add(format!("{}_index", output.name), npy("<i8", &shape, &little(&output.index.rows.concat(), i64::to_le_bytes)))?;
            add(format!("{}_index_columns", output.name), unicode(&output.index.columns, &[output.index.columns.len()]))?;
        }
    }
    add("metadata".into(), unicode(&[table.metadata.to_string()], &[]))?;
    Ok(zip.finish().map_err(|e| fail(e.to_string()))?.into_inner())
}

fn read_member(path: &Path, name: &str, bytes: &[u8]) -> Result<(Vec<usize>, Member), TableError> {
    let fault = |expected: &str, found: String| format_fault(path, format!("array `{name}`"), expected, found);
    // The header's length is compared with what is there before the parser trusts it.
    let declared = bytes.get(8..10).map_or(0, |n| 10 + usize::from(u16::from_le_bytes([n[0], n[1]])));
    if bytes.get(6) != Some(&1) || bytes.get(..declared).is_none_or(|h| h.iter().filter(|b| matches!(b, b'(' | b'[' | b'{')).count() > 64) {
        return Err(fault("an .npy header of version 1", "something else".into()));
    }
    let mut data = bytes;
    let header = Header::from_reader(&mut data).map_err(|e| fault("an .npy header", e.to_string()))?;
    let kind = header.type_descriptor.as_string().cloned().unwrap_or_default();
    let size = match kind.as_str() {
        "<f8" | "<i8" => 8,
        "<c16" => 16,
        text => match text.strip_prefix("<U").and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=1 << 24).contains(n)) {
            Some(n) => 4 * n,
            None => return Err(fault("<f8, <c16, <i8 or text", format!("{kind}, {}", header.type_descriptor))),
        },
    };
    let count = header.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)).filter(|n| *n <= MOST);
    if header.layout.is_fortran() && header.shape.len() > 1 || count.and_then(|n| n.checked_mul(size)) != Some(data.len()) {
        return Err(fault("an array in C order that fills its shape", format!("{} bytes for {kind} {:?}", data.len(), header.shape)));
    }
    let member = match kind.as_str() {
        "<f8" => Member::Real(words(data, f64::from_le_bytes)),
        "<i8" => Member::Whole(words(data, i64::from_le_bytes)),
        "<c16" => {
            let all = words(data, f64::from_le_bytes);
            Member::Complex(all.iter().step_by(2).copied().collect(), all.iter().skip(1).step_by(2).copied().collect())
        }
        _ => {
            let text = |bytes: &[u8]| {
                let points = bytes.as_chunks::<4>().0.iter().map(|b| char::from_u32(u32::from_le_bytes(*b)));
                points.collect::<Option<String>>().map(|t| t.trim_end_matches('\0').to_string())
            };
            let all: Option<Vec<String>> = data.chunks(size).map(text).collect();
            Member::Texts(all.ok_or_else(|| fault("text", "a value that is no character".into()))?)
        }
    };
    Ok((header.shape, member))
}

fn read_npz(path: &Path, bytes: &[u8]) -> Result<Table, TableError> {
    let fail = |e: String| format_fault(path, "file", "an .npz archive", e);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| fail(e.to_string()))?;
    let mut members: Vec<(String, Vec<usize>, Member)> = Vec::new();
    for k in 0..archive.len() {
        let mut file = archive.by_index(k).map_err(|e| fail(e.to_string()))?;
        let name = file.name().strip_suffix(".npy").unwrap_or(file.name()).to_string();
        // Not more than the archive says, and that not more than allowed: a small file may claim anything.
        let most = file.size().min(LARGEST);
        let mut data = Vec::new();
        file.by_ref().take(most).read_to_end(&mut data).map_err(|e| fail(format!("`{name}`: {e}")))?;
        let (shape, member) = read_member(path, &name, &data)?;
        members.push((name, shape, member));
    }
    let find = |name: &str| members.iter().find(|m| m.0 == name);
    let metadata = match find("metadata") {
        Some((_, _, Member::Texts(texts))) => {
            let text = texts.first().map(String::as_str).unwrap_or_default();
            serde_json::from_str(text).map_err(|e| format_fault(path, "metadata", "JSON", e))?
        }
        _ => Value::Null,
    };
    let mut outputs = Vec::new();
    for (name, shape, member) in &members {
        let (re, im) = match member {
            Member::Real(re) => (re.clone(), None),
            Member::Complex(re, im) => (re.clone(), Some(im.clone())),
            Member::Whole(_) | Member::Texts(_) => continue,
        };
        let index = match (find(&format!("{name}_index")), find(&format!("{name}_index_columns"))) {
            (Some((_, table, Member::Whole(rows))), Some((_, _, Member::Texts(columns)))) => {
                if table.len() != 2 || table[1] != columns.len() {
                    return Err(format_fault(path, format!("array `{name}_index`"), format!("[entries, {}]", columns.len()), format!("{table:?}")));
                }
                Index { columns: columns.clone(), rows: rows.chunks(columns.len().max(1)).map(<[i64]>::to_vec).collect() }
            }
            _ => Index::default(),
        };
        // A statistic without indices has an empty table in files of `encode`.
        let index = if index.columns.is_empty() { Index::default() } else { index };
        outputs.push(Output::new(name, shape.clone(), re, im, index)?);
    }
    Ok(Table { metadata, outputs })
}
