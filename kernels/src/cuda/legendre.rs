//! Launches of Legendre stages: coefficients to rings and back.

use super::{Element, Family, Form, Kernel, Part, Table, Tables, complex_place, launch, whole};
use crate::KernelError;
use crate::wavelets;

/// Threads of a block and pairs of rings that they hold, one or two each.
const THREADS: usize = 128;
/// Most fields of one block.
const MOST_FIELDS: usize = 5;
/// Degrees whose constants stand in shared memory, and degrees of a tile of an analysis.
const STEPS: usize = 64;
const TILE: usize = 32;
/// Largest bandlimit: beyond, products of squares of degrees are not exact.
const LARGEST: usize = 8192;

/// A map between coefficients and rings, as the op table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegendreMap {
    /// coefficients(L_in) to N channels of rings(L_j, L_j).
    WignerInverse {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the wavelets.
        L: usize,
        /// Azimuthal bandlimit.
        N: usize,
        /// Scale.
        j: usize,
    },
    /// coefficients(L_in) to rings(L, L).
    HarmonicInverse {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the grid.
        L: usize,
    },
    /// coefficients(L_in) to rings(L_j, L_j).
    ScalingInverse {
        /// Bandlimit of the coefficients.
        L_in: usize,
        /// Bandlimit of the wavelets.
        L: usize,
        /// Scale.
        j: usize,
    },
    /// rings(L, M) to coefficients(L_out).
    HarmonicForward {
        /// Bandlimit of the grid.
        L: usize,
        /// Orders of the rings.
        M: usize,
        /// Bandlimit of the coefficients.
        L_out: usize,
    },
}

/// Fields of one map. Which side is read depends on the launch: [`to_rings`] or [`to_coefficients`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegendreItem {
    /// The map.
    pub map: LegendreMap,
    /// Fields.
    pub fields: usize,
    /// First number of the first field of coefficients, and numbers from one field to the next.
    pub coefficients: (usize, usize),
    /// The same of the rings; channels of one field follow one another.
    pub rings: (usize, usize),
    /// Orders of the rings, if fewer than the map has: coefficients of other orders are neither read nor written.
    pub orders: Option<usize>,
    /// Whether coefficients are added to what is there, where the filter is not zero. Items whose filters overlap must then write different fields.
    pub adds: bool,
}

/// The sizes of a map.
struct Sizes {
    L: usize,
    M: usize,
    L_in: usize,
    degrees: usize,
    first: usize,
    N: usize,
    filter: Table,
    weighted: bool,
}

impl Sizes {
    fn new(item: &LegendreItem) -> Result<Self, KernelError> {
        let mut sizes = match item.map {
            LegendreMap::WignerInverse { L_in, L, N, j } => {
                let L_j = wavelets::bandlimit(L, j);
                let filter = Table::WaveletFilters { L_in, L, N, j };
                Sizes { L: L_j, M: L_j, L_in, degrees: L_j.min(L_in), first: wavelets::first_degree(j), N, filter, weighted: false }
            }
            LegendreMap::HarmonicInverse { L_in, L } => {
                Sizes { L, M: L, L_in, degrees: L.min(L_in), first: 0, N: 1, filter: Table::PlainFilter { L_in, L }, weighted: false }
            }
            LegendreMap::ScalingInverse { L_in, L, j } => {
                let L_j = wavelets::bandlimit(L, j);
                Sizes { L: L_j, M: L_j, L_in, degrees: L_j.min(L_in), first: 0, N: 1, filter: Table::ScalingFilter { L_in, L, j }, weighted: false }
            }
            LegendreMap::HarmonicForward { L, M, L_out } => {
                Sizes { L, M, L_in: L_out, degrees: L_out, first: 0, N: 1, filter: Table::AnalysisFilter { L, L_out }, weighted: true }
            }
        };
        if let Some(orders) = item.orders {
            sizes.M = orders;
        }
        for (name, value, most) in [("L", sizes.L, LARGEST), ("L_in", sizes.L_in, LARGEST), ("M", sizes.M, sizes.L), ("N", sizes.N, 32)] {
            if value == 0 || value > most {
                return Err(KernelError::parameter(name, format!("from 1 to {most}"), value));
            }
        }
        if sizes.degrees > sizes.L {
            return Err(KernelError::parameter("L_out", format!("at most {}", sizes.L), sizes.degrees));
        }
        Ok(sizes)
    }

    fn pairs(&self) -> usize {
        self.L.div_ceil(2)
    }

    /// Direction orders: first and count of those without and with a partner -n.
    fn orders(&self) -> [(usize, usize); 2] {
        let orders = self.N.div_ceil(2);
        if self.N % 2 == 1 { [(0, 1), (1, orders - 1)] } else { [(0, 0), (0, orders)] }
    }
}

/// Groups of fields of nearly equal size, at most [`MOST_FIELDS`] each: (first field, fields, fields per block).
fn groups(fields: usize) -> Vec<(usize, usize, usize)> {
    let blocks = fields.div_ceil(MOST_FIELDS).max(1);
    let (size, larger) = (fields / blocks, fields % blocks);
    let groups = [(0, larger * (size + 1), size + 1), (larger * (size + 1), (blocks - larger) * size, size)];
    groups.into_iter().filter(|(_, fields, _)| *fields > 0).collect()
}

/// Bytes of `legendre::SynthesisRoom` and `legendre::AnalysisRoom`.
fn room(element: Element, F: usize) -> [usize; 2] {
    let steps = 8 * (4 * STEPS + 2);
    let (numbers, warps) = (2 * F * element.size_bytes(), THREADS / 32);
    [steps + STEPS * numbers, steps + TILE * (THREADS + 1) * 8 + (2 * THREADS + warps * TILE) * numbers]
}

/// Degrees of a tile of an analysis of one field.
const SINGLE_TILE: usize = 16;

/// Bytes of `legendre::SingleRoom`.
fn single_room(element: Element) -> usize {
    8 * (4 * STEPS + 2) + 2 * SINGLE_TILE * (THREADS + 1 + THREADS / 32) * element.size_bytes()
}

/// The descriptor `legendre::Item` of some fields of an item.
fn descriptor(
    item: &LegendreItem,
    sizes: &Sizes,
    (from, fields, chunk): (usize, usize, usize),
    tiles: usize,
    orders: (usize, usize),
    tables: &mut Tables<'_>,
) -> Result<String, KernelError> {
    let (coefficients, rings) = (item.coefficients.0 + from * item.coefficients.1, item.rings.0 + from * item.rings.1);
    complex_place("coefficients", coefficients)?;
    complex_place("rings", rings)?;
    whole("fields", fields)?;
    let angles = tables.number(Table::HalfAngles { L: sizes.L });
    let filter = tables.number(sizes.filter.clone());
    let starts = tables.number(Table::Starts { degrees: sizes.degrees, N: sizes.N });
    let weights = if sizes.weighted { tables.number(Table::Quadrature { L: sizes.L }).to_string() } else { "-1".into() };
    Ok(format!(
        "{coefficients}, {}, {rings}, {}, {}, {}, {}, {}, {}, {}, {}, {fields}, {chunk}, {tiles}, {}, {}, {angles}, {filter}, {starts}, {weights}, {}",
        item.coefficients.1,
        item.rings.1,
        2 * sizes.L * sizes.M,
        sizes.L,
        sizes.M,
        sizes.L_in,
        sizes.degrees,
        sizes.first,
        sizes.N,
        orders.0,
        orders.1,
        i32::from(item.adds)
    ))
}

/// One launch that writes rings: the inverse maps, and the adjoint of `HarmonicForward`.
///
/// - `number`: the number that a table has in the plan
///
/// Error: an empty list, sizes outside their domain. Every stored order of every ring is written; orders without degrees are zero.
pub fn to_rings(name: &str, element: Element, items: &[LegendreItem], number: &mut dyn FnMut(Table) -> usize) -> Result<Kernel, KernelError> {
    let mut tables = Tables::new(number);
    let (mut parts, mut shared) = (Vec::new(), 0);
    for item in items {
        let sizes = Sizes::new(item)?;
        for group in groups(item.fields) {
            let (_, fields, F) = group;
            for (i, orders) in sizes.orders().into_iter().enumerate().filter(|(_, orders)| orders.1 > 0) {
                // Two pairs of rings share what a thread reads of constants and coefficients, as long as their sums fit in registers.
                let rings = if sizes.pairs() > THREADS && F <= 3 { 2 } else { 1 };
                let tiles = sizes.pairs().div_ceil(THREADS * rings);
                let blocks = whole("blocks", fields / F * orders.1 * tiles * sizes.M)? as usize;
                let work =
                    (i + 1) as f64 * (1 + F) as f64 * (sizes.degrees * sizes.degrees / 2 * tiles * rings * THREADS * (fields / F) * orders.1) as f64;
                let descriptor = descriptor(item, &sizes, group, tiles, orders, &mut tables)?;
                parts.push(Part { blocks, work, descriptor, call: format!("legendre::synthesis<{F}, {}, {rings}>", i + 1) });
                shared = shared.max(room(element, F)[0]);
            }
        }
    }
    let form = Form { family: Family::Legendre, item: "legendre::Item", constants: String::new(), block: THREADS, shared };
    launch(name, form, parts, tables.used)
}

/// One launch that writes coefficients: `HarmonicForward`, and the adjoints of the inverse maps.
///
/// - `number`: the number that a table has in the plan
///
/// Error: an empty list, sizes outside their domain. All coefficients of every field are written; no two items write the same field.
pub fn to_coefficients(name: &str, element: Element, items: &[LegendreItem], number: &mut dyn FnMut(Table) -> usize) -> Result<Kernel, KernelError> {
    let mut tables = Tables::new(number);
    let (mut parts, mut shared) = (Vec::new(), 0);
    for item in items {
        let sizes = Sizes::new(item)?;
        for group in groups(item.fields) {
            let (_, fields, F) = group;
            // Pairs of rings of a thread: of one field as many as there are, up to four.
            let rings = if F == 1 { sizes.pairs().div_ceil(THREADS).next_power_of_two().min(4) } else { 1 };
            let tiles = sizes.pairs().div_ceil(THREADS * rings);
            let columns = item.orders.map_or(sizes.L_in, |orders| orders.min(sizes.L_in));
            let blocks = whole("blocks", fields / F * columns)? as usize;
            let work = sizes.N as f64 * (1 + F) as f64 * (sizes.degrees * sizes.degrees / 2 * tiles * rings * THREADS * (fields / F)) as f64;
            let descriptor = descriptor(item, &sizes, group, tiles, (0, sizes.N.div_ceil(2)), &mut tables)?;
            let call = if F == 1 { format!("legendre::analysis_of_one<{rings}>") } else { format!("legendre::analysis<{F}>") };
            parts.push(Part { blocks, work, descriptor, call });
            shared = shared.max(if F == 1 { single_room(element) } else { room(element, F)[1] });
        }
    }
    let form = Form { family: Family::Legendre, item: "legendre::Item", constants: String::new(), block: THREADS, shared };
    launch(name, form, parts, tables.used)
}
