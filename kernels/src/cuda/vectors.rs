//! Launches on the vectors of an optimiser, which lie in the arena behind what the plan needs.
//!
//! Places are numbers of the arena, in its element, that begin on a multiple of eight bytes: vectors, control blocks, partial sums and results are f64 there whatever the
//! element is. Control blocks are described at each function; the host writes them before a launch.

use super::{Element, Family, Form, Kernel, Part, launch, whole};
use crate::KernelError;

/// Threads of a block.
const THREADS: usize = 256;
/// Numbers of a chunk.
const CHUNK: usize = 1024;
/// Left vectors of [`products`].
pub const LEFTS: usize = 3;
/// Numbers that [`adam`] reads per member.
pub const ADAM_WORDS: usize = 8;

/// Members with the same number of vectors each, all of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorSpace {
    /// Element of the arena.
    pub element: Element,
    /// First number: vector v of member k begins `(k vectors + v) stride` f64 behind it.
    pub place: usize,
    /// Members.
    pub members: usize,
    /// Vectors of a member.
    pub vectors: usize,
    /// Numbers of a vector.
    pub n: usize,
}

impl VectorSpace {
    /// Numbers from one vector to the next, so that each begins on a multiple of 256 bytes.
    pub fn stride(&self) -> usize {
        self.n.next_multiple_of(32)
    }

    /// f64 of all vectors.
    pub fn len(&self) -> usize {
        self.members * self.vectors * self.stride()
    }

    /// Whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Chunks of a vector: partial sums are counted per chunk.
    pub fn chunks(&self) -> usize {
        self.n.div_ceil(CHUNK)
    }

    fn blocks(&self) -> Result<usize, KernelError> {
        Ok(whole("blocks", self.members * self.chunks())? as usize)
    }

    fn checked(&self, name: &'static str, place: usize) -> Result<usize, KernelError> {
        if (place * self.element.size_bytes()).is_multiple_of(8) {
            Ok(place)
        } else {
            Err(KernelError::parameter(name, "at a multiple of eight bytes", place * self.element.size_bytes()))
        }
    }

    fn descriptor(&self) -> Result<String, KernelError> {
        let place = self.checked("place", self.place)?;
        whole("n", self.n)?;
        Ok(format!("{{{place}, {}, {}, {}, {}}}", self.n, self.stride(), whole("vectors", self.vectors)?, whole("chunks", self.chunks())?))
    }

    fn number(&self, name: &'static str, vector: usize) -> Result<usize, KernelError> {
        if vector < self.vectors { Ok(vector) } else { Err(KernelError::parameter(name, format!("below {}", self.vectors), vector)) }
    }
}

/// One item of one kind.
fn kernel(name: &str, item: &'static str, call: &str, blocks: usize, descriptor: String) -> Result<Kernel, KernelError> {
    let form = Form { family: Family::Vectors, item, constants: String::new(), block: THREADS, shared: THREADS / 32 * LEFTS * 8 };
    launch(name, form, vec![Part { blocks, work: blocks as f64, descriptor, call: call.into() }], vec![])
}

/// A launch of combinations `out[e] = sum_k c_k v_k[e]`, the terms and then the statements in order.
///
/// - `control`: per member `words` f64: count of statements; per statement the vector written, the count of terms (at least one), and per term vector and coefficient
///
/// Error: no numbers, sizes beyond 2^31, a place between f64.
pub fn combine(name: &str, space: &VectorSpace, control: usize, words: usize) -> Result<Kernel, KernelError> {
    let descriptor = format!("{}, {}, {words}", space.descriptor()?, space.checked("control", control)?);
    kernel(name, "vectors::Combine", "vectors::combine", space.blocks()?, descriptor)
}

/// Where [`products`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductsPlace {
    /// Control block; per member 5 + `most` f64: count of left vectors (none: nothing is computed), three of them, count of right vectors, those.
    pub control: usize,
    /// Most right vectors.
    pub most: usize,
    /// Partial sums, `3 * most * chunks` f64 per member.
    pub partial: usize,
    /// Results, f64 as `[member][right][left]` with `most` and three.
    pub results: usize,
}

/// Two launches of inner products, to run one after the other. A product does not depend on what else is computed, nor on which of its vectors is left.
///
/// Error: as [`combine`].
pub fn products(name: &str, space: &VectorSpace, place: &ProductsPlace) -> Result<[Kernel; 2], KernelError> {
    let ProductsPlace { control, most, partial, results } = *place;
    let places = [("control", control), ("partial", partial), ("results", results)];
    let [control, partial, results] = places.map(|(name, place)| space.checked(name, place));
    let descriptor = format!("{}, {}, {}, {}, {}, {}", space.descriptor()?, control?, 5 + most, partial?, results?, whole("most", most)?);
    let fold = whole("blocks", space.members * most)? as usize;
    Ok([
        kernel(&format!("{name}_chunks"), "vectors::Products", "vectors::products", space.blocks()?, descriptor.clone())?,
        kernel(&format!("{name}_sums"), "vectors::Products", "vectors::add_products", fold, descriptor)?,
    ])
}

/// What [`measures`] reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuresPlace {
    /// The vector that is measured.
    pub gradient: usize,
    /// The vector it is multiplied with.
    pub direction: usize,
    /// Partial results, `3 * chunks` f64 per member.
    pub partial: usize,
    /// Results, three f64 per member: largest modulus of the finite numbers, count of the others, inner product.
    pub results: usize,
    /// First of the plan's values, and values of a member.
    pub values: (usize, usize),
    /// Where the values go as f64.
    pub copies: usize,
}

/// Two launches that measure a gradient, to run one after the other; the second also copies the plan's values.
///
/// Error: as [`combine`], and a vector that is not there.
pub fn measures(name: &str, space: &VectorSpace, place: &MeasuresPlace) -> Result<[Kernel; 2], KernelError> {
    let descriptor = format!(
        "{}, {}, {}, {}, {}, {}, {}, {}",
        space.descriptor()?,
        space.checked("partial", place.partial)?,
        space.checked("results", place.results)?,
        place.values.0,
        place.values.1,
        space.checked("copies", place.copies)?,
        space.number("gradient", place.gradient)?,
        space.number("direction", place.direction)?,
    );
    Ok([
        kernel(&format!("{name}_chunks"), "vectors::Measure", "vectors::measure", space.blocks()?, descriptor.clone())?,
        kernel(&format!("{name}_sums"), "vectors::Measure", "vectors::add_measures", space.members, descriptor)?,
    ])
}

/// The vectors of [`adam`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdamVectors {
    /// Current point.
    pub point: usize,
    /// Point to be evaluated.
    pub trial: usize,
    /// Gradient there.
    pub gradient: usize,
    /// Mean gradient.
    pub mean: usize,
    /// Mean squared modulus.
    pub square: usize,
    /// Results of [`measures`]: a step that absorbs does nothing where they, or the values, are not finite.
    pub results: usize,
    /// Values of the plan as f64, and how many a member has.
    pub values: (usize, usize),
}

/// A launch of steps of Adam: absorption of a gradient, proposal of a point, or one after the other.
///
/// - `control`: per member [`ADAM_WORDS`] f64: 1 to propose, 2 to absorb, 3 for both, 0 for neither; 1 where entries are pairs; rate, beta1, beta2, eps, 1 - beta1^t, 1 - beta2^t
///
/// Error: as [`measures`].
pub fn adam(name: &str, space: &VectorSpace, control: usize, vectors: &AdamVectors) -> Result<Kernel, KernelError> {
    let AdamVectors { point, trial, gradient, mean, square, results, values } = *vectors;
    let named = [("point", point), ("trial", trial), ("gradient", gradient), ("mean", mean), ("square", square)];
    let numbers = named.iter().map(|(name, vector)| Ok(space.number(name, *vector)?.to_string())).collect::<Result<Vec<_>, KernelError>>()?;
    let (results, copies) = (space.checked("results", results)?, space.checked("values", values.0)?);
    let descriptor = format!(
        "{}, {}, {}, {results}, {copies}, {}",
        space.descriptor()?,
        space.checked("control", control)?,
        numbers.join(", "),
        whole("values", values.1)?
    );
    kernel(name, "vectors::Adam", "vectors::adam", space.blocks()?, descriptor)
}

/// How variables become numbers of the plan: `number[place_i] = scale_i z_i + shift_i`, the product divided by the length of its group's variables where groups are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariablesItem {
    /// First number of the plan, and numbers of a member.
    pub numbers: (usize, usize),
    /// The vector z.
    pub point: usize,
    /// The vector of the gradient.
    pub gradient: usize,
    /// Tables: `groups + 1` i32 with the first entry of every group and the end; i32 variables of the groups; i32 places; f64 scales; f64 shifts.
    pub tables: [usize; 5],
    /// Groups, which hold every variable once; where they are not held, any division of the variables.
    pub groups: usize,
    /// Whether the length of a group counts for nothing; variables of scale 0 do not belong to it.
    pub held: bool,
}

impl VariablesItem {
    fn descriptor(&self, space: &VectorSpace) -> Result<String, KernelError> {
        let [starts, members, places, scales, shifts] = self.tables;
        Ok(format!(
            "{}, {}, {}, {}, {}, {starts}, {members}, {places}, {scales}, {shifts}, {}, {}",
            space.descriptor()?,
            self.numbers.0,
            self.numbers.1,
            space.number("point", self.point)?,
            space.number("gradient", self.gradient)?,
            whole("groups", self.groups)?,
            u8::from(self.held)
        ))
    }
}

/// A launch that writes the plan's input.
///
/// Error: as [`measures`].
pub fn expand(name: &str, space: &VectorSpace, item: &VariablesItem) -> Result<Kernel, KernelError> {
    let blocks = whole("blocks", space.members * item.groups)? as usize;
    kernel(name, "vectors::Variables", "vectors::expand", blocks, item.descriptor(space)?)
}

/// A launch that takes the gradient in the variables from that in the plan's numbers.
///
/// Error: as [`measures`].
pub fn pull_back(name: &str, space: &VectorSpace, item: &VariablesItem) -> Result<Kernel, KernelError> {
    let blocks = whole("blocks", space.members * item.groups)? as usize;
    kernel(name, "vectors::Variables", "vectors::pull_back", blocks, item.descriptor(space)?)
}
