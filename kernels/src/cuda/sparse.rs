//! Launches of products with sparse matrices, copies and fills.

use super::{Family, Form, Kernel, Part, launch, whole};
use crate::KernelError;

/// Threads of a block.
const THREADS: usize = 256;
/// Entries per row from which on a block sums one number.
const LONG_ROW: usize = 256;

/// `y[o width + i] = sum_k v_k x[c_k width + i]` with the entries k of row o, for several fields.
///
/// The matrix is in tables of the caller, who numbers them: a transposed product has the tables of the transposed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductItem {
    /// First number of the input, and numbers from one field to the next.
    pub x: (usize, usize),
    /// The same of the output, which does not overlap the input.
    pub y: (usize, usize),
    /// Numbers per entry.
    pub width: usize,
    /// Rows.
    pub rows: usize,
    /// Entries of all rows.
    pub entries: usize,
    /// Fields.
    pub fields: usize,
    /// Number of the table of `rows + 1` i32: the first entry of every row, and the end.
    pub starts: usize,
    /// Number of the table of i32 columns.
    pub columns: usize,
    /// Number of the table of f64 values; none: ones.
    pub values: Option<usize>,
}

/// `count` runs of `run` numbers, each a stride behind the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyItem {
    /// First number that is read, and numbers from one run to the next.
    pub from: (usize, usize),
    /// The same of what is written.
    pub to: (usize, usize),
    /// Numbers of a run.
    pub run: usize,
    /// Runs.
    pub count: usize,
}

fn kernel(name: &str, item: &'static str, shared: usize, parts: Vec<Part>) -> Result<Kernel, KernelError> {
    launch(name, Form { family: Family::Sparse, item, constants: String::new(), block: THREADS, shared }, parts, vec![])
}

/// One launch of sparse products.
///
/// Error: an empty list, sizes beyond 2^31.
pub fn products(name: &str, items: &[ProductItem]) -> Result<Kernel, KernelError> {
    let mut parts = Vec::new();
    for item in items {
        let numbers = item.rows * item.width * item.fields;
        let long = item.entries >= LONG_ROW * item.rows;
        for (name, value) in [("rows", item.rows), ("entries", item.entries), ("width", item.width), ("fields", item.fields)] {
            whole(name, value)?;
        }
        let values = item.values.map_or("-1".into(), |values| values.to_string());
        parts.push(Part {
            blocks: whole("blocks", if long { numbers } else { numbers.div_ceil(THREADS) })? as usize,
            work: (item.entries * item.width * item.fields + numbers) as f64,
            descriptor: format!(
                "{}, {}, {}, {}, {}, {}, {}, {}, {}, {values}",
                item.x.0, item.y.0, item.x.1, item.y.1, item.width, item.rows, item.fields, item.starts, item.columns
            ),
            call: if long { "sparse::long_product" } else { "sparse::product" }.into(),
        });
    }
    kernel(name, "sparse::Product", THREADS / 32 * 8, parts)
}

/// One launch of copies.
///
/// Error: an empty list, sizes beyond 2^31.
pub fn copies(name: &str, items: &[CopyItem]) -> Result<Kernel, KernelError> {
    let part = |item: &CopyItem| {
        Ok(Part {
            blocks: whole("blocks", (item.run * item.count).div_ceil(THREADS))? as usize,
            work: (item.run * item.count) as f64,
            descriptor: format!("{}, {}, {}, {}, {}, {}", item.from.0, item.to.0, item.from.1, item.to.1, item.run, item.count),
            call: "sparse::copy".into(),
        })
    };
    kernel(name, "sparse::Copy", 0, items.iter().map(part).collect::<Result<_, KernelError>>()?)
}

/// One launch that fills ranges, (first number, count), with one number each.
///
/// Error: an empty list, a number that is not finite.
pub fn fills(name: &str, items: &[((usize, usize), f64)]) -> Result<Kernel, KernelError> {
    let part = |((to, count), value): &((usize, usize), f64)| {
        if !value.is_finite() {
            return Err(KernelError::parameter("value", "finite", value));
        }
        Ok(Part {
            blocks: whole("blocks", count.div_ceil(THREADS))? as usize,
            work: *count as f64,
            descriptor: format!("{to}, {count}, {value:?}"),
            call: "sparse::fill".into(),
        })
    };
    kernel(name, "sparse::Fill", 0, items.iter().map(part).collect::<Result<_, KernelError>>()?)
}
