//! CUDA C of the transforms: device text, generators of launches, tables, and a way to run it all without a GPU.
//!
//! The device works in the *logical* layouts of [`crate::naive`]: rings are `[theta][m][re, im]`, maps `[theta][phi]`, coefficients m-major. A kernel is one launch of a
//! list of items of any sizes: its blocks are divided among them by a table in its text, large items first. Sizes and places in the arena are constants of the text;
//! what depends on sizes alone and is not worth computing on the device is a [`Table`].
//!
//! The texts lie in `cuda/*.cu`: functions and templates, C++17, no header. Sums have a fixed order: nothing depends on how blocks or warps are scheduled.

pub mod contract;
#[cfg(unix)]
pub mod emulate;
pub mod fourier;
pub mod frame;
pub mod legendre;
pub mod sparse;
pub mod table;
pub mod vectors;

pub use table::Table;

use crate::KernelError;
use std::fmt::Write;

/// What numbers of the arena are; recursions and geometry are f64 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

impl Element {
    /// As CUDA C spells it.
    pub fn spelling(self) -> &'static str {
        match self {
            Element::F32 => "float",
            Element::F64 => "double",
        }
    }

    /// Bytes of one number.
    pub fn size_bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

/// A part of the device text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `fourier.cu`.
    Fourier,
    /// `legendre.cu`.
    Legendre,
    /// `contract.cu`.
    Contract,
    /// `sparse.cu`.
    Sparse,
    /// `frame.cu`.
    Frame,
    /// `vectors.cu`.
    Vectors,
}

impl Family {
    fn text(self) -> String {
        match self {
            Family::Fourier => format!("{}{}", include_str!("../cuda/fourier.cu"), fourier::butterflies()),
            Family::Legendre => include_str!("../cuda/legendre.cu").into(),
            Family::Contract => include_str!("../cuda/contract.cu").into(),
            Family::Frame => include_str!("../cuda/frame.cu").into(),
            Family::Sparse => include_str!("../cuda/sparse.cu").into(),
            Family::Vectors => include_str!("../cuda/vectors.cu").into(),
        }
    }
}

/// One launch: `NAME<<<grid, block, shared>>>(arena, tables)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Name of the function.
    pub name: String,
    /// What its text calls, besides the prelude.
    pub family: Family,
    /// The function and its constants.
    pub text: String,
    /// Blocks.
    pub grid: u32,
    /// Threads of a block.
    pub block: u32,
    /// Bytes of dynamic shared memory; above 48 KiB the launch must ask for them.
    pub shared: u32,
    /// What it reads besides the arena, in the order of first use.
    pub tables: Vec<Table>,
}

/// The device text that kernels of these families need, to stand before them in a translation unit.
pub fn library(element: Element, families: &[Family]) -> String {
    let mut families = families.to_vec();
    families.sort_unstable();
    families.dedup();
    let mut text = format!("typedef {} real;\n{}", element.spelling(), include_str!("../cuda/prelude.cu"));
    families.iter().for_each(|family| text += &family.text());
    text
}

/// A whole translation unit.
pub fn unit(element: Element, kernels: &[Kernel]) -> String {
    let families: Vec<Family> = kernels.iter().map(|kernel| kernel.family).collect();
    let mut text = library(element, &families);
    kernels.iter().for_each(|kernel| text += &kernel.text);
    text
}

/// Numbers the tables of one kernel and remembers them.
struct Tables<'a> {
    number: &'a mut dyn FnMut(Table) -> usize,
    used: Vec<Table>,
}

impl<'a> Tables<'a> {
    fn new(number: &'a mut dyn FnMut(Table) -> usize) -> Self {
        Self { number, used: Vec::new() }
    }

    fn number(&mut self, table: Table) -> usize {
        if !self.used.contains(&table) {
            self.used.push(table.clone());
        }
        (self.number)(table)
    }
}

/// One item of a launch: its blocks, its work relative to the others, its descriptor in C and the call that does one of its parts.
struct Part {
    blocks: usize,
    work: f64,
    descriptor: String,
    /// A function of `(arena, tables, item, part)`.
    call: String,
}

/// What all blocks of a launch share.
struct Form {
    family: Family,
    /// Type of the descriptors.
    item: &'static str,
    /// Lists that descriptors point to.
    constants: String,
    /// Threads, and bytes of shared memory.
    block: usize,
    shared: usize,
}

/// Text of a list of constants.
fn list<T: std::fmt::Display>(kind: &str, name: &str, values: impl IntoIterator<Item = T>) -> String {
    let inner: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    // An empty array is no C++; nothing reads the zero.
    let inner = if inner.is_empty() { "0".into() } else { inner.join(", ") };
    format!("__device__ const {kind} {name}[] = {{{inner}}};\n")
}

/// Writes the kernel of a list of parts: large ones first, each block to its part by a table of first blocks.
fn launch(name: &str, form: Form, mut parts: Vec<Part>, tables: Vec<Table>) -> Result<Kernel, KernelError> {
    let Form { family, item, constants, block, shared } = form;
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid || ["fourier", "legendre", "contract", "sparse", "frame", "vectors"].contains(&name) {
        return Err(KernelError::parameter("name", "letters, digits and underscores, and no family's name", name));
    }
    parts.retain(|part| part.blocks > 0);
    // Work of one block decides: the last blocks to start should be short. Equal ones keep their order.
    parts.sort_by(|a, b| (b.work / b.blocks as f64).total_cmp(&(a.work / a.blocks as f64)));
    let grid: usize = parts.iter().map(|part| part.blocks).sum();
    if grid == 0 || grid > i32::MAX as usize {
        return Err(KernelError::parameter("items", "from 1 to 2^31 - 1 blocks", grid));
    }
    let mut calls: Vec<&str> = Vec::new();
    let (mut items, mut first, mut kinds) = (String::new(), String::new(), String::new());
    let mut at = 0;
    for part in &parts {
        let kind = calls.iter().position(|call| *call == part.call).unwrap_or_else(|| {
            calls.push(&part.call);
            calls.len() - 1
        });
        // Writing to a string cannot fail.
        let _ = write!(items, "\n    {{{}}},", part.descriptor);
        let _ = write!(first, "{at}, ");
        let _ = write!(kinds, "{kind}, ");
        at += part.blocks;
    }
    let mut text =
        format!("\n{constants}__device__ const {item} {name}_items[] = {{{items}\n}};\n__device__ const int {name}_first[] = {{{first}{at}}};\n");
    if calls.len() > 1 {
        let _ = writeln!(text, "__device__ const int {name}_kinds[] = {{{}}};", kinds.trim_end_matches(", "));
    }
    let _ = writeln!(
        text,
        "extern \"C\" __global__ void __launch_bounds__({block}) {name}(real* __restrict__ arena, const void* const* __restrict__ tables) {{\n    \
         const int i = item_of({name}_first, {}, blockIdx.x);\n    const {item}& item = {name}_items[i];\n    const int part = blockIdx.x - {name}_first[i];",
        parts.len()
    );
    if let [call] = calls[..] {
        let _ = writeln!(text, "    {call}(arena, tables, item, part);");
    } else {
        let _ = writeln!(text, "    switch ({name}_kinds[i]) {{");
        for (kind, call) in calls.iter().enumerate() {
            let _ = writeln!(text, "    case {kind}: {call}(arena, tables, item, part); break;");
        }
        let _ = writeln!(text, "    }}");
    }
    text += "}\n";
    Ok(Kernel { name: name.into(), family, text, grid: grid as u32, block: block as u32, shared: shared as u32, tables })
}

/// An i32 of a descriptor.
fn whole(name: &'static str, value: usize) -> Result<i32, KernelError> {
    i32::try_from(value).map_err(|_| KernelError::parameter(name, "below 2^31", value))
}

/// The place of complex numbers, which must be even.
///
/// Error: an odd one.
pub fn complex_place(name: &'static str, value: usize) -> Result<usize, KernelError> {
    if value.is_multiple_of(2) { Ok(value) } else { Err(KernelError::parameter(name, "even, as complex numbers begin there", value)) }
}
