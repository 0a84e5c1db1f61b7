//! Vectors of an optimiser that live in the arena of a plan for CUDA, behind what the plan needs, and the procedures that work on them.
//!
//! ```text
//! arena:  | plan | controls | results | partial sums | vectors [member][vector][n] |
//! evaluate = expand (trial -> input of the plan), launches of the plan, pull back (gradient of the plan -> vector), measures
//! round    = combine, evaluate, combine, inner products                 or    step of Adam, evaluate
//! ```
//!
//! A round takes one control block, is one graph and gives one block of results, some hundred numbers each; the host waits for nothing else, and may start the next round
//! before it reads the results of this one. Vectors are f64 whatever the element of the plan is.

use crate::cuda::Launch;
use crate::launches::Engine;
use crate::{LoadError, RunError};
use scatterc_ir::plan::{Element, Plan, Port};
use scatterc_kernels::KernelError;
use scatterc_kernels::cuda::vectors::{
    ADAM_WORDS, AdamVectors, LEFTS, MeasuresPlace, ProductsPlace, VariablesItem, VectorSpace, adam, combine, expand, measures, products, pull_back,
};
use scatterc_kernels::cuda::{Element as Number, Kernel, unit};
use std::collections::VecDeque;

/// Variables of a group where nothing is held: what a block takes.
const UNHELD_GROUP: usize = 1024;

/// Numbers of the vectors that have a purpose of their own.
///
/// ```
/// use scatterc_runtime::resident::Roles;
///
/// // Adam's mean lies where a line search has its direction.
/// let roles = Roles { point: 0, trial: 1, gradient: 2, direction: 3, mean: 3, square: 4 };
/// assert_eq!(roles.mean, roles.direction);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Current point, which a step of Adam moves.
    pub point: usize,
    /// Where the plan is evaluated.
    pub trial: usize,
    /// Gradient there.
    pub gradient: usize,
    /// What the gradient is multiplied with.
    pub direction: usize,
    /// Adam's mean gradient.
    pub mean: usize,
    /// Adam's mean squared modulus.
    pub square: usize,
}

/// How the variables of an optimisation become an input of a plan, and what is kept of them.
///
/// For every member, `input[place_i] = scale_i z_i + shift_i`, with groups divided by the length of their variables, `scale_i z_i / |z_group|`; the other numbers of the input stay as
/// they were given.
///
/// ```
/// use scatterc_runtime::resident::{Roles, Variables};
/// let roles = Roles { point: 0, trial: 1, gradient: 2, direction: 3, mean: 3, square: 4 };
/// let variables = Variables {
///     input: "x".into(),
///     value: "value".into(),
///     gradient: "gradient.x".into(),
///     members: 1,
///     places: vec![0, 1, 2],
///     scales: vec![1.0; 3],
///     shifts: None,
///     groups: None,
///     vectors: 5,
///     statements: 2,
///     terms: 4,
///     rights: 2,
///     roles,
/// };
/// assert_eq!(variables.places.len(), variables.scales.len());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Variables {
    /// The input that varies, `[members][..]`.
    pub input: String,
    /// The output that is minimised, `[members]` or `[members][..]`: a member's values are added.
    pub value: String,
    /// Its gradient in the input, with the input's shape.
    pub gradient: String,
    /// Independent problems K.
    pub members: usize,
    /// Where every variable lies in the numbers of a member; no two in one place.
    pub places: Vec<usize>,
    /// Factor of every variable.
    pub scales: Vec<f64>,
    /// What is added to every variable; nothing when absent. It is none of the variable's length.
    pub shifts: Option<Vec<f64>>,
    /// Group of every variable, if lengths of groups are to count for nothing; variables of scale 0 do not belong to the length.
    pub groups: Option<Vec<usize>>,
    /// Vectors of a member.
    pub vectors: usize,
    /// Most statements of a member in one call of [`Vectors::combine`].
    pub statements: usize,
    /// Most terms of all of them.
    pub terms: usize,
    /// Most right vectors of a member in one call of [`Vectors::products`].
    pub rights: usize,
    /// What vectors are for.
    pub roles: Roles,
}

/// The procedures, by number.
const COMBINE: usize = 0;
const PRODUCTS: usize = 1;
const ADAM: usize = 2;
const SEARCH_ROUND: usize = 3;
const ADAM_ROUND: usize = 4;

/// Where everything lies in the arena, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    space: VectorSpace,
    /// Begin of the vectors.
    vectors: usize,
    /// Control blocks of the statements before an evaluation, of those after it, and of the products: one behind the other.
    before: usize,
    /// f64 of a member's statements, and how many there may be.
    combine_words: usize,
    statements: usize,
    rights: usize,
    adam: usize,
    /// Results: three measures per member, then the values, then inner products.
    results: usize,
    values: usize,
}

impl Layout {
    fn after(&self) -> usize {
        self.before + 8 * self.space.members * self.combine_words
    }

    fn products(&self) -> usize {
        self.after() + 8 * self.space.members * self.combine_words
    }

    /// f64 of a member's control block of products, and of its results.
    fn products_words(&self) -> usize {
        5 + self.rights
    }

    /// f64 of measures and values.
    fn measures(&self) -> usize {
        self.space.members * (3 + self.values)
    }

    fn sums(&self) -> usize {
        self.results + 8 * self.measures()
    }

    fn sums_len(&self) -> usize {
        self.space.members * self.rights * LEFTS
    }
}

/// What a machine needs besides the plan.
pub(crate) struct Extension {
    pub(crate) layout: Layout,
    /// One more program.
    pub(crate) source: String,
    pub(crate) procedures: Vec<Vec<Launch>>,
    /// Tables behind those of the plan.
    pub(crate) tables: Vec<Vec<u8>>,
    pub(crate) arena_bytes: usize,
}

fn refuse(what: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> LoadError {
    LoadError::Variables { what: what.into(), expected: expected.into(), found: found.to_string() }
}

fn port<'a>(ports: &'a [Port], name: &str, what: &str) -> Result<&'a Port, LoadError> {
    let known = || ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    ports.iter().find(|port| port.name == name).ok_or_else(|| refuse(what, format!("one of [{}]", known()), name))
}

impl Variables {
    /// Checks everything against the plan; returns input, value and gradient.
    fn check<'a>(&self, plan: &'a Plan) -> Result<[&'a Port; 3], LoadError> {
        let input = port(&plan.inputs, &self.input, "input")?;
        let (value, gradient) = (port(&plan.outputs, &self.value, "value")?, port(&plan.outputs, &self.gradient, "gradient")?);
        if gradient.slot.len != input.slot.len {
            return Err(refuse("numbers of the gradient", format!("{}, as the input has", input.slot.len), gradient.slot.len));
        }
        for port in [input, value] {
            if self.members == 0 || port.slot.len == 0 || !port.slot.len.is_multiple_of(self.members) {
                return Err(refuse(&format!("members, for the {} numbers of `{}`", port.slot.len, port.name), "a divisor", self.members));
            }
        }
        let (n, width) = (self.places.len(), input.slot.len / self.members);
        if n == 0 || n > i32::MAX as usize {
            return Err(refuse("variables", "1 to 2^31 - 1", n));
        }
        let optional = [("groups", self.groups.as_ref().map_or(n, Vec::len)), ("shifts", self.shifts.as_ref().map_or(n, Vec::len))];
        for (what, found) in std::iter::once(("scales", self.scales.len())).chain(optional) {
            if found != n {
                return Err(refuse(what, format!("{n}, one per variable"), found));
            }
        }
        let mut taken = vec![false; width];
        for place in &self.places {
            match taken.get_mut(*place) {
                Some(taken) if !*taken => *taken = true,
                _ => return Err(refuse("place of a variable", format!("below {width}, and not that of another variable"), place)),
            }
        }
        if let Some(group) = self.groups.iter().flatten().find(|group| **group >= n) {
            return Err(refuse("group of a variable", format!("below {n}"), group));
        }
        let Roles { point, trial, gradient: slope, direction, mean, square } = self.roles;
        if let Some(vector) = [point, trial, slope, direction, mean, square].into_iter().find(|vector| *vector >= self.vectors) {
            return Err(refuse("vector", format!("below {}", self.vectors), vector));
        }
        Ok([input, value, gradient])
    }

    /// Begins of the groups and the end, and their variables.
    fn divided(&self) -> (Vec<i32>, Vec<i32>) {
        let n = self.places.len();
        let groups = match &self.groups {
            Some(groups) => groups.clone(),
            None => (0..n).map(|k| k / UNHELD_GROUP).collect(),
        };
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let mut starts = vec![0i32; count + 1];
        groups.iter().for_each(|group| starts[group + 1] += 1);
        (0..count).for_each(|k| starts[k + 1] += starts[k]);
        // A stable order keeps the variables of a group in theirs.
        let mut members: Vec<i32> = (0..n as i32).collect();
        members.sort_by_key(|k| groups[*k as usize]);
        (starts, members)
    }

    /// Lays out the arena and writes the kernels.
    ///
    /// - `plan_launches`: those of the plan
    /// - `first_table`: number of the first table of the extension
    pub(crate) fn extend(&self, plan: &Plan, plan_launches: &[Launch], first_table: usize) -> Result<Extension, LoadError> {
        let [input, value, gradient] = self.check(plan)?;
        let Variables { members, vectors, statements, terms, rights, roles, .. } = *self;
        let element = match plan.element {
            Element::F32 => Number::F32,
            Element::F64 => Number::F64,
        };
        let (n, each_value) = (self.places.len(), value.slot.len / members);
        let mut end = (plan.arena * plan.element.bytes()).next_multiple_of(256);
        let mut reserve = |words: usize| {
            let begin = end;
            end += (8 * words).next_multiple_of(256);
            begin
        };
        let place = |bytes: usize| bytes / plan.element.bytes();
        let mut space = VectorSpace { element, place: 0, members, vectors, n };
        let mut layout = Layout {
            space,
            vectors: 0,
            before: 0,
            combine_words: 1 + 2 * statements + 2 * terms,
            statements,
            rights,
            adam: 0,
            results: 0,
            values: each_value,
        };
        layout.before = reserve(members * (2 * layout.combine_words + layout.products_words()));
        layout.adam = reserve(members * ADAM_WORDS);
        layout.results = reserve(layout.measures() + layout.sums_len());
        let product_chunks = reserve(layout.sums_len() * space.chunks());
        let measure_chunks = reserve(members * space.chunks() * 3);
        layout.vectors = reserve(space.len());
        space.place = place(layout.vectors);
        layout.space = space;

        let (starts, of_groups) = self.divided();
        let numbers = |list: &[i32]| list.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
        let places: Vec<i32> = self.places.iter().map(|place| *place as i32).collect();
        let doubles = |list: &[f64]| list.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>();
        let shifts = self.shifts.clone().unwrap_or_else(|| vec![0.0; n]);
        let item = VariablesItem {
            numbers: (input.slot.offset, input.slot.len / members),
            point: roles.trial,
            gradient: roles.gradient,
            tables: [0, 1, 2, 3, 4].map(|k| first_table + k),
            groups: starts.len() - 1,
            held: self.groups.is_some(),
        };
        let back = VariablesItem { numbers: (gradient.slot.offset, item.numbers.1), ..item.clone() };
        let products_place =
            ProductsPlace { control: place(layout.products()), most: rights, partial: place(product_chunks), results: place(layout.sums()) };
        let (results, copies) = (place(layout.results), place(layout.results + 8 * 3 * members));
        let measures_place = MeasuresPlace {
            gradient: roles.gradient,
            direction: roles.direction,
            partial: place(measure_chunks),
            results,
            values: (value.slot.offset, each_value),
            copies,
        };
        let adam_vectors = AdamVectors {
            point: roles.point,
            trial: roles.trial,
            gradient: roles.gradient,
            mean: roles.mean,
            square: roles.square,
            results,
            values: (copies, each_value),
        };
        let words = layout.combine_words;
        let make = || -> Result<[Vec<Kernel>; 6], KernelError> {
            Ok([
                vec![combine("optimiser_before", &space, place(layout.before), words)?],
                vec![combine("optimiser_after", &space, place(layout.after()), words)?],
                products("optimiser_products", &space, &products_place)?.into(),
                vec![adam("optimiser_adam", &space, place(layout.adam), &adam_vectors)?],
                vec![expand("optimiser_expand", &space, &item)?],
                [pull_back("optimiser_pull_back", &space, &back)?]
                    .into_iter()
                    .chain(measures("optimiser_measure", &space, &measures_place)?)
                    .collect(),
            ])
        };
        let kernels = make().map_err(|e| refuse("launches on vectors", "sizes that kernels take", e))?;
        let source = unit(element, &kernels.concat());
        let launch = |kernel: &Kernel| Launch { kernel: kernel.name.clone(), grid: kernel.grid, block: kernel.block, shared: kernel.shared };
        let [before, after, products, adam, expand, measure] = kernels.map(|list| list.iter().map(launch).collect::<Vec<_>>());
        let evaluate = [expand, plan_launches.to_vec(), measure].concat();
        let search_round = [before.clone(), evaluate.clone(), after, products.clone()].concat();
        let adam_round = [adam.clone(), evaluate].concat();
        // In the order of the procedures' numbers.
        let procedures = vec![before, products, adam, search_round, adam_round];
        let tables = vec![numbers(&starts), numbers(&of_groups), numbers(&places), doubles(&self.scales), doubles(&shifts)];
        Ok(Extension { layout, source, procedures, tables, arena_bytes: end })
    }
}

/// What an evaluation tells of a member.
///
/// ```
/// use scatterc_runtime::resident::Measure;
///
/// let measure = Measure { value: 0.5, largest: Some(2.0), slope: -1.0 };
/// assert!(measure.largest.is_some(), "all numbers of the gradient are finite");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The value.
    pub value: f64,
    /// Largest modulus of the gradient; none where a number is not finite.
    pub largest: Option<f64>,
    /// Inner product of gradient and direction.
    pub slope: f64,
}

/// Statements of a member: the vector written, and the terms of its sum.
pub type Program<'a> = Vec<(usize, &'a [(f64, usize)])>;

/// Left and right vectors of a member whose inner products are asked for; at most three of the former, none for no products.
pub type Pairs<'a> = (&'a [usize], &'a [usize]);

/// The vectors of a loaded plan; see [`crate::Executable::vectors`].
///
/// ```no_run
/// # use scatterc_ir::plan::Plan;
/// # use scatterc_runtime::resident::{Measure, Variables};
/// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
/// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
/// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
/// // `executable` was loaded with variables, on a CUDA device.
/// let mut vectors = executable.vectors()?;
/// let (members, n) = vectors.shape();
/// (0..members).try_for_each(|member| vectors.write(member, variables.roles.point, &vec![1.0; n]))?;
/// # Ok(())
/// # }
/// ```
pub struct Vectors<'a> {
    pub(crate) inputs: &'a [Port],
    pub(crate) engine: &'a mut Engine,
    pub(crate) layout: Layout,
    /// Rounds that were started and not finished: left and right vectors of every member.
    started: VecDeque<Vec<(usize, usize)>>,
}

fn limit(what: &'static str, expected: usize, found: usize) -> Result<(), RunError> {
    if found <= expected { Ok(()) } else { Err(RunError::Vectors { what, expected: format!("at most {expected}"), found }) }
}

impl<'a> Vectors<'a> {
    pub(crate) fn new(inputs: &'a [Port], engine: &'a mut Engine, layout: Layout) -> Self {
        Vectors { inputs, engine, layout, started: VecDeque::new() }
    }

    /// Members and numbers of a vector.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// assert_eq!(vectors.shape(), (variables.members, variables.places.len()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shape(&self) -> (usize, usize) {
        (self.layout.space.members, self.layout.space.n)
    }

    /// Gives an input of the plan, such as the targets of a loss; of the input that varies, what is no variable stays as it is here.
    ///
    /// Error: an unknown input, a wrong length, a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// // The target of a loss.
    /// vectors.set("T.S2", &[1.0; 4])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), RunError> {
        let Some(port) = self.inputs.iter().find(|port| port.name == name) else {
            let expected = self.inputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(RunError::UnknownInput { name: name.into(), expected });
        };
        if port.ty.len() != values.len() {
            return Err(RunError::Length { name: name.into(), expected: port.ty.len(), found: values.len() });
        }
        self.engine.give(port, values)
    }

    /// Byte of the first number of a vector.
    fn place(&self, member: usize, vector: usize, count: usize) -> Result<usize, RunError> {
        let space = &self.layout.space;
        for (what, expected, found) in [("member", space.members, member), ("vector", space.vectors, vector)] {
            if found >= expected {
                return Err(RunError::Vectors { what, expected: format!("below {expected}"), found });
            }
        }
        limit("numbers of a vector", space.n, count)?;
        Ok(self.layout.vectors + 8 * (member * space.vectors + vector) * space.stride())
    }

    fn listed(&self, found: usize) -> Result<(), RunError> {
        let expected = self.layout.space.members;
        if found == expected { Ok(()) } else { Err(RunError::Vectors { what: "lists, one per member", expected: expected.to_string(), found }) }
    }

    /// Writes the first numbers of a vector.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// let point = variables.roles.point;
    /// vectors.write(0, point, &vec![0.5; n])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write(&mut self, member: usize, vector: usize, values: &[f64]) -> Result<(), RunError> {
        let place = self.place(member, vector, values.len())?;
        self.engine.upload_numbers(place, values)
    }

    /// Reads the first numbers of a vector.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// let mut gradient = vec![0.0; n];
    /// vectors.read(0, variables.roles.gradient, &mut gradient)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&mut self, member: usize, vector: usize, values: &mut [f64]) -> Result<(), RunError> {
        let place = self.place(member, vector, values.len())?;
        self.engine.download_numbers(place, values)
    }

    /// The control block of statements.
    fn statements(&self, programs: &[Program], out: &mut Vec<f64>) -> Result<(), RunError> {
        self.listed(programs.len())?;
        let (words, statements) = (self.layout.combine_words, self.layout.statements);
        for (member, program) in programs.iter().enumerate() {
            limit("statements", statements, program.len())?;
            let terms: usize = program.iter().map(|(_, terms)| terms.len()).sum();
            limit("terms", (words - 1 - 2 * statements) / 2, terms)?;
            let end = out.len() + words;
            out.push(program.len() as f64);
            for (vector, terms) in program {
                if terms.is_empty() {
                    return Err(RunError::Vectors { what: "terms", expected: "at least 1".into(), found: 0 });
                }
                self.place(member, *vector, 0)?;
                out.extend([*vector as f64, terms.len() as f64]);
                for (coefficient, vector) in *terms {
                    self.place(member, *vector, 0)?;
                    out.extend([*vector as f64, *coefficient]);
                }
            }
            out.resize(end, 0.0);
        }
        Ok(())
    }

    /// The control block of products.
    fn pairs(&self, lists: &[Pairs], out: &mut Vec<f64>) -> Result<(), RunError> {
        self.listed(lists.len())?;
        let (most, words) = (self.layout.rights, self.layout.products_words());
        for (member, (lefts, rights)) in lists.iter().enumerate() {
            limit("left vectors", LEFTS, lefts.len())?;
            limit("right vectors", most, rights.len())?;
            lefts.iter().chain(*rights).try_for_each(|vector| self.place(member, *vector, 0).map(drop))?;
            let begin = out.len();
            out.resize(begin + words, 0.0);
            let control = &mut out[begin..];
            control[0] = lefts.len() as f64;
            control[4] = rights.len() as f64;
            control[1..].iter_mut().zip(*lefts).for_each(|(word, vector)| *word = *vector as f64);
            control[5..].iter_mut().zip(*rights).for_each(|(word, vector)| *word = *vector as f64);
        }
        Ok(())
    }

    /// Products of members with so many left and right vectors, as `[left][right]`.
    fn sorted(&self, counts: &[(usize, usize)], sums: &[f64], out: &mut [Vec<f64>]) {
        for (((lefts, rights), out), sums) in counts.iter().zip(out).zip(sums.chunks_exact(self.layout.rights * LEFTS)) {
            *out = (0..*lefts).flat_map(|j| (0..*rights).map(move |r| sums[r * LEFTS + j])).collect();
        }
    }

    /// Executes the statements of all members, `out = sum_k c_k v_k` element by element; may return before it is done.
    ///
    /// Error: more statements or terms than were announced, a statement without terms, an unknown vector, a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// // trial = point + 0.5 direction, for every member.
    /// let roles = variables.roles;
    /// let terms = [(1.0, roles.point), (0.5, roles.direction)];
    /// vectors.combine(&vec![vec![(roles.trial, &terms[..])]; members])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn combine(&mut self, programs: &[Program]) -> Result<(), RunError> {
        let mut control = Vec::new();
        self.statements(programs, &mut control)?;
        self.engine.upload_numbers(self.layout.before, &control)?;
        self.engine.start(COMBINE)
    }

    /// Inner products of at most three left vectors with right vectors, for every member; `out[member]` becomes `[left][right]`.
    ///
    /// A product has the same bits whatever else is computed, and whichever of its vectors is left.
    ///
    /// Error: more vectors than were announced, an unknown vector, a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// // <g, g> and <g, d> of every member.
    /// let (g, d) = (variables.roles.gradient, variables.roles.direction);
    /// let mut products = vec![vec![]; members];
    /// vectors.products(&vec![(&[g][..], &[g, d][..]); members], &mut products)?;
    /// assert_eq!(products[0].len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn products(&mut self, lists: &[Pairs], out: &mut [Vec<f64>]) -> Result<(), RunError> {
        self.listed(out.len())?;
        let mut control = Vec::new();
        self.pairs(lists, &mut control)?;
        self.engine.upload_numbers(self.layout.products(), &control)?;
        self.engine.start(PRODUCTS)?;
        let mut sums = vec![0.0; self.layout.sums_len()];
        self.engine.download_numbers(self.layout.sums(), &mut sums)?;
        let counts: Vec<(usize, usize)> = lists.iter().map(|(lefts, rights)| (lefts.len(), rights.len())).collect();
        self.sorted(&counts, &sums, out);
        Ok(())
    }

    /// Moves members as Adam does; may return before it is done. Per member the numbers that [`adam`](fn@scatterc_kernels::cuda::vectors::adam) documents.
    ///
    /// A step that absorbs does nothing where the last evaluation of the member was not finite.
    ///
    /// Error: a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// // A step of zeros neither absorbs nor proposes.
    /// vectors.adam(&vec![Default::default(); members])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn adam(&mut self, steps: &[[f64; ADAM_WORDS]]) -> Result<(), RunError> {
        self.listed(steps.len())?;
        self.engine.upload_numbers(self.layout.adam, steps.as_flattened())?;
        self.engine.start(ADAM)
    }

    /// Starts a round of all members: statements, the plan at the trial points, whose gradients become vectors, statements, inner products. Returns before it is done.
    ///
    /// Error: as [`Self::combine`] and [`Self::products`].
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// // No statements and no products: an evaluation at the trial points alone.
    /// let nothing = vec![vec![]; members];
    /// vectors.start_search(&nothing, &nothing, &vec![(&[][..], &[][..]); members])?;
    /// vectors.forget()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_search(&mut self, before: &[Program], after: &[Program], lists: &[Pairs]) -> Result<(), RunError> {
        let mut control = Vec::new();
        self.statements(before, &mut control)?;
        self.statements(after, &mut control)?;
        self.pairs(lists, &mut control)?;
        self.engine.upload_numbers(self.layout.before, &control)?;
        self.start_round(SEARCH_ROUND, lists.iter().map(|(lefts, rights)| (lefts.len(), rights.len())).collect())
    }

    /// Starts a round of all members: a step as [`Self::adam`] does it, and the plan at the trial points. Returns before it is done.
    ///
    /// Error: a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// vectors.start_adam(&vec![Default::default(); members])?;
    /// vectors.forget()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_adam(&mut self, steps: &[[f64; ADAM_WORDS]]) -> Result<(), RunError> {
        self.listed(steps.len())?;
        self.engine.upload_numbers(self.layout.adam, steps.as_flattened())?;
        self.start_round(ADAM_ROUND, vec![(0, 0); steps.len()])
    }

    fn start_round(&mut self, procedure: usize, counts: Vec<(usize, usize)>) -> Result<(), RunError> {
        self.engine.start(procedure)?;
        let sums = if counts.iter().all(|(lefts, _)| *lefts == 0) { 0 } else { self.layout.sums_len() };
        self.engine.fetch_numbers(self.layout.results, self.layout.measures() + sums)?;
        self.started.push_back(counts);
        Ok(())
    }

    /// Waits for the oldest round that was started and not finished, and for nothing that was started later.
    ///
    /// Error: no such round, a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// vectors.start_adam(&vec![Default::default(); members])?;
    /// let mut found = vec![Measure { value: 0.0, largest: None, slope: 0.0 }; members];
    /// vectors.finish(&mut found, &mut vec![vec![]; members])?;
    /// assert!(found[0].value.is_finite());
    /// # Ok(())
    /// # }
    /// ```
    pub fn finish(&mut self, out: &mut [Measure], products: &mut [Vec<f64>]) -> Result<(), RunError> {
        self.listed(out.len())?;
        self.listed(products.len())?;
        let Some(counts) = self.started.pop_front() else {
            return Err(RunError::Vectors { what: "rounds that were started", expected: "at least 1".into(), found: 0 });
        };
        let mut found = vec![0.0; self.layout.measures() + self.layout.sums_len()];
        self.engine.collect_numbers(&mut found)?;
        let (measures, sums) = found.split_at(self.layout.measures());
        let (measures, values) = measures.split_at(3 * out.len());
        for ((out, measures), values) in out.iter_mut().zip(measures.as_chunks::<3>().0).zip(values.chunks_exact(self.layout.values)) {
            let [largest, not_finite, slope] = *measures;
            *out = Measure { value: values.iter().sum(), largest: (not_finite == 0.0).then_some(largest), slope };
        }
        self.sorted(&counts, sums, products);
        Ok(())
    }

    /// Forgets what was started and not finished. Error: a device that fails.
    ///
    /// ```no_run
    /// # use scatterc_ir::plan::Plan;
    /// # use scatterc_runtime::resident::{Measure, Variables};
    /// # use scatterc_runtime::{Executable, LoadError, Options, RunError};
    /// # fn example(plan: &Plan, variables: &Variables) -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut executable = Executable::load_resident(plan, &Options::default(), variables)?;
    /// # let mut vectors = executable.vectors()?;
    /// # let (members, n) = vectors.shape();
    /// vectors.start_adam(&vec![Default::default(); members])?;
    /// // Nobody reads its results.
    /// vectors.forget()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn forget(&mut self) -> Result<(), RunError> {
        while self.started.pop_front().is_some() {
            self.engine.collect_numbers(&mut [])?;
        }
        Ok(())
    }
}

impl Drop for Vectors<'_> {
    fn drop(&mut self) {
        // Results that nobody reads must not be taken for those of the next run. A device that fails now says so again when it is used next.
        let _ = self.forget();
    }
}
