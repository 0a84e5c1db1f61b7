//! What a program must satisfy beyond its grammar. Every fault is collected, up to [`MAXIMUM_ERRORS`].

use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Formatter};

use crate::filter::{FUNCTIONS, VARIABLES};

use super::error::NotationErrorKind::{self, Arity, Index, Limit, Name, Return, Value};
use super::{
    Argument, Definition, Expr, ExprKind, Filter, INDEX_FUNCTIONS, Ident, IndexExpr, Item, Loss, MAXIMUM_INDICES, NotationError, NotationErrors,
    Program, REDUCTIONS, Signature, Span, Statistic, Vocabulary, parse,
};

/// Faults beyond this number are not looked for: their reader starts with the first, and their search would take time.
const MAXIMUM_ERRORS: usize = 100;

/// Most indices that nested reductions and their definition may have together.
const MAXIMUM_VISIBLE: usize = 2 * MAXIMUM_INDICES;

/// Longest list of names in a message.
const MAXIMUM_LISTED: usize = 30;

/// Words of a text further apart than this are not suggested for each other.
const MAXIMUM_EDITS: usize = 2;

/// What an index counts.
///
/// ```
/// use scatterc_ir::notation::{IndexKind, Vocabulary, check_source};
///
/// let text = "statistic s(x) { S[j, g] = mean(abs(wavelet(x, j, g))); return S; }";
/// let checked = check_source(text, "s.scat", &Vocabulary::standard())?;
/// assert_eq!(checked.statistics[0].definition_kinds[0], [IndexKind::Scale, IndexKind::Direction]);
/// # Ok::<(), scatterc_ir::notation::NotationErrors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexKind {
    /// Scales of the wavelets; not cyclic.
    Scale,
    /// Directions of the wavelets; cyclic.
    Direction,
}

impl Display for IndexKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IndexKind::Scale => "scale",
            IndexKind::Direction => "direction",
        })
    }
}

/// What an expression is for each tuple of its indices.
///
/// ```
/// use scatterc_ir::notation::{ValueKind, Vocabulary, check_source};
///
/// let text = "statistic s(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); return S; }";
/// let checked = check_source(text, "s.scat", &Vocabulary::standard())?;
/// assert_eq!(checked.statistics[0].value_kinds, [ValueKind::Field, ValueKind::Number]);
/// # Ok::<(), scatterc_ir::notation::NotationErrors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// Samples on the domain.
    Field,
    /// One number.
    Number,
}

/// A statistic with everything that [`check`] found out about it.
///
/// ```
/// use scatterc_ir::notation::{IndexKind, Vocabulary, check_source};
///
/// let text = "statistic s(x) { S[j] = sum{g}(mean(abs(wavelet(x, j, g)))); return S; }";
/// let checked = check_source(text, "s.scat", &Vocabulary::standard())?;
/// assert_eq!(checked.statistics[0].bound_kinds[0], [("g".to_string(), IndexKind::Direction)]);
/// # Ok::<(), scatterc_ir::notation::NotationErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedStatistic {
    /// The statistic.
    pub statistic: Statistic,
    /// Kinds of the indices of each parameter.
    pub parameter_kinds: Vec<Vec<IndexKind>>,
    /// Kinds of the indices of each definition.
    pub definition_kinds: Vec<Vec<IndexKind>>,
    /// Names and kinds of the indices that the reductions of each definition bind; one name has one kind within a definition.
    pub bound_kinds: Vec<Vec<(String, IndexKind)>>,
    /// What each definition is.
    pub value_kinds: Vec<ValueKind>,
}

/// A loss that [`check`] has accepted: a number, made of its arrays by arithmetic, pointwise functions and reductions over entries.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check_source};
///
/// let checked = check_source("loss l1(S, T) = mean(abs(S - T));", "l1.scat", &Vocabulary::standard())?;
/// assert_eq!(checked.losses[0].loss.parameters.len(), 2);
/// # Ok::<(), scatterc_ir::notation::NotationErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedLoss {
    /// The loss.
    pub loss: Loss,
}

/// A program that [`check`] has accepted.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check_source};
///
/// let text = "statistic s(x) { m = mean(x); return m; } loss l1(S, T) = mean(abs(S - T));";
/// let checked = check_source(text, "both.scat", &Vocabulary::standard())?;
/// assert_eq!((checked.statistics.len(), checked.losses.len(), checked.filters.len()), (1, 1, 0));
/// # Ok::<(), scatterc_ir::notation::NotationErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Its statistics, in order.
    pub statistics: Vec<CheckedStatistic>,
    /// Its losses, in order.
    pub losses: Vec<CheckedLoss>,
    /// Its filters, in order.
    pub filters: Vec<Filter>,
}

/// Parses and checks a text; `origin` (its path or name) goes into every error.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check_source};
///
/// let faults = check_source("statistic s(x) { m = mean(y); return n; }", "s.scat", &Vocabulary::standard()).unwrap_err();
/// assert_eq!(faults.errors.len(), 2, "all of them, in order");
/// ```
pub fn check_source(source: &str, origin: &str, vocabulary: &Vocabulary) -> Result<Checked, NotationErrors> {
    let program = parse(source, origin).map_err(|error| NotationErrors { errors: vec![error] })?;
    check(&program, vocabulary).map_err(|mut errors| {
        for error in &mut errors {
            error.origin = origin.to_owned();
        }
        NotationErrors { errors }
    })
}

/// Resolves every name, infers the kinds of indices and values, and checks calls, accesses and returns.
///
/// The tree must be no deeper than [`super::MAXIMUM_DEPTH`], as every parsed tree is. Gives all faults in the order of the text,
/// at most 100 of them.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check, parse};
///
/// let program = parse("statistic s(x) { m = mean(y); return m; }", "s.scat")?;
/// assert!(check(&program, &Vocabulary::standard()).unwrap_err()[0].message.contains("`y`"));
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
pub fn check(program: &Program, vocabulary: &Vocabulary) -> Result<Checked, Vec<NotationError>> {
    let mut checked = Checked::default();
    let mut faults = Faults::default();
    let mut statistics: HashMap<&str, Span> = HashMap::new();
    let mut losses: HashMap<&str, Span> = HashMap::new();
    let mut filters: HashMap<&str, Span> = HashMap::new();
    for item in &program.items {
        let (name, what, names) = match item {
            Item::Statistic(statistic) => (&statistic.name, "statistic", &mut statistics),
            Item::Loss(loss) => (&loss.name, "loss", &mut losses),
            Item::Filter(filter) => (&filter.name, "filter", &mut filters),
        };
        match names.get(name.name.as_str()) {
            Some(first) => {
                let message = format!("the {what} `{name}` is already declared at {}", place(*first));
                faults.push(NotationError::new(Name, name.span, message).help(ANOTHER_NAME));
            }
            None => {
                names.insert(&name.name, name.span);
            }
        }
        match item {
            Item::Statistic(statistic) => {
                if let Some(statistic) = StatisticCheck::run(statistic, vocabulary, &mut faults) {
                    checked.statistics.push(statistic);
                }
            }
            Item::Loss(loss) => {
                LossCheck { loss, vocabulary, faults: &mut faults }.run();
                checked.losses.push(CheckedLoss { loss: loss.clone() });
            }
            Item::Filter(filter) => {
                check_filter(filter, &mut faults);
                checked.filters.push(filter.clone());
            }
        }
        if faults.full() {
            break;
        }
    }
    if faults.errors.is_empty() {
        return Ok(checked);
    }
    faults.errors.sort_by_key(|error| (error.span.line, error.span.column));
    Err(faults.errors)
}

#[derive(Default)]
struct Faults {
    errors: Vec<NotationError>,
}

impl Faults {
    fn full(&self) -> bool {
        self.errors.len() >= MAXIMUM_ERRORS
    }

    fn add(&mut self, kind: NotationErrorKind, span: Span, message: String) {
        self.push(NotationError::new(kind, span, message));
    }

    fn push(&mut self, error: NotationError) {
        if !self.full() {
            self.errors.push(error);
        }
    }
}

/// A place as messages name it.
fn place(span: Span) -> String {
    format!("line {}, column {}", span.line, span.column)
}

/// `1 argument`, `2 arguments`.
fn count(number: usize, what: &str, many: &str) -> String {
    if number == 1 { format!("{number} {what}") } else { format!("{number} {many}") }
}

/// Insertions, removals, replacements and swaps of neighbours that turn one word into the other; `None` beyond [`MAXIMUM_EDITS`].
fn edits(left: &str, right: &str) -> Option<usize> {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > MAXIMUM_EDITS {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 0..left.len() {
        let mut row = vec![i + 1];
        for j in 0..right.len() {
            let replaced = above[j] + usize::from(left[i] != right[j]);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    Some(above[right.len()]).filter(|&distance| distance <= MAXIMUM_EDITS)
}

/// Help for an unknown name: the nearest candidate, or all of them.
fn suggestion<'a>(name: &str, what: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    // A word of which less than half remains is no suggestion.
    let length = name.chars().count();
    let nearest = candidates
        .clone()
        .filter_map(|candidate| Some((edits(name, candidate)?, candidate)))
        .filter(|&(distance, candidate)| 2 * distance <= length.max(candidate.chars().count()))
        .min_by_key(|&(distance, _)| distance);
    if let Some((_, nearest)) = nearest {
        return format!("did you mean `{nearest}`?");
    }
    let mut listed: Vec<&str> = candidates.take(MAXIMUM_LISTED + 1).collect();
    if listed.len() > MAXIMUM_LISTED {
        listed[MAXIMUM_LISTED] = "..";
    }
    if listed.is_empty() { format!("no {what}") } else { format!("{what}: {}", listed.join(", ")) }
}

/// The names of functions, for suggestions.
fn function_names(vocabulary: &Vocabulary) -> impl Iterator<Item = &str> + Clone {
    vocabulary.functions.iter().map(|function| function.name)
}

/// The names of reductions, for suggestions.
fn reduction_names() -> impl Iterator<Item = &'static str> + Clone {
    REDUCTIONS.iter().map(|reduction| reduction.name)
}

/// Help for a name that is taken.
const ANOTHER_NAME: &str = "choose another name";

/// Demands that the number of arguments lies within bounds; `help` says what they are.
fn check_arity(function: &Ident, found: usize, minimum: usize, maximum: usize, help: Option<&str>, faults: &mut Faults) {
    if (minimum..=maximum).contains(&found) {
        return;
    }
    let takes = if minimum == maximum {
        count(maximum, "argument", "arguments")
    } else {
        format!("{minimum} to {}", count(maximum, "argument", "arguments"))
    };
    let error = NotationError::new(Arity, function.span, format!("`{function}` takes {takes}, found {found}"));
    faults.push(NotationError { help: help.map(str::to_owned), ..error });
}

/// Union of index variables that must have the same kind.
#[derive(Default)]
struct Kinds {
    parents: Vec<usize>,
    /// For each root: its kind and the place that says so.
    known: Vec<Option<(IndexKind, Span)>>,
}

impl Kinds {
    fn fresh(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.known.push(None);
        self.parents.len() - 1
    }

    fn root(&mut self, mut variable: usize) -> usize {
        while self.parents[variable] != variable {
            // Halving the path keeps later searches short.
            self.parents[variable] = self.parents[self.parents[variable]];
            variable = self.parents[variable];
        }
        variable
    }

    fn kind(&mut self, variable: usize) -> Option<(IndexKind, Span)> {
        let root = self.root(variable);
        self.known[root]
    }

    /// Demands a kind of the index called `name`, used at its place.
    fn fix(&mut self, variable: usize, kind: IndexKind, name: &Ident, faults: &mut Faults) {
        let root = self.root(variable);
        match self.known[root] {
            None => self.known[root] = Some((kind, name.span)),
            Some((known, by)) if known != kind => {
                let message = format!("index `{name}` is a {known} ({}), but a {kind} stands here", place(by));
                faults.push(NotationError::new(Index, name.span, message).help(format!("give the {kind} an index of its own")));
            }
            Some(_) => {}
        }
    }

    /// Demands that the index called `name` has the kind of `other`.
    fn unify(&mut self, variable: usize, other: usize, name: &Ident, faults: &mut Faults) {
        let (left, right) = (self.root(variable), self.root(other));
        match (self.known[left], self.known[right]) {
            (Some((known, by)), Some((kind, kind_by))) if known != kind => {
                let message = format!("index `{name}` is a {known} ({}), but a {kind} stands here ({})", place(by), place(kind_by));
                faults.push(NotationError::new(Index, name.span, message).help(format!("give the {kind} an index of its own")));
            }
            (known, kind) => {
                self.known[right] = kind.or(known);
                self.parents[left] = right;
            }
        }
    }
}

/// What a name of a statistic stands for.
#[derive(Clone, Copy)]
enum Entry {
    Field,
    Parameter(usize),
    Definition(usize),
}

impl Entry {
    fn what(self) -> &'static str {
        match self {
            Entry::Field => "field",
            Entry::Parameter(_) => "parameter",
            Entry::Definition(_) => "definition",
        }
    }
}

/// An index that expressions may use at the moment.
struct Local<'a> {
    name: &'a Ident,
    variable: usize,
    used: bool,
}

struct StatisticCheck<'a, 'f> {
    statistic: &'a Statistic,
    vocabulary: &'a Vocabulary,
    faults: &'f mut Faults,
    /// Fields, parameters and the definitions so far.
    entries: HashMap<&'a str, (Entry, Span)>,
    /// Names in the order of declaration, for messages.
    names: Vec<&'a str>,
    /// All definitions, to tell a later one from an unknown one.
    definitions: HashMap<&'a str, Span>,
    parameter_variables: Vec<Vec<usize>>,
    definition_variables: Vec<Vec<usize>>,
    bound_variables: Vec<Vec<(&'a Ident, usize)>>,
    /// The bound indices of the current definition by name.
    bound_names: HashMap<&'a str, usize>,
    value_kinds: Vec<Option<ValueKind>>,
    kinds: Kinds,
    /// Index expressions and the variable of their place: one that turns out to be a scale must be simple.
    index_expressions: Vec<(IndexExpr, usize)>,
    /// Indices of the current definition and of the reductions around the current expression.
    locals: Vec<Local<'a>>,
}

impl<'a, 'f> StatisticCheck<'a, 'f> {
    fn run(statistic: &'a Statistic, vocabulary: &'a Vocabulary, faults: &'f mut Faults) -> Option<CheckedStatistic> {
        let before = faults.errors.len();
        let mut check = StatisticCheck {
            statistic,
            vocabulary,
            faults,
            entries: HashMap::new(),
            names: Vec::new(),
            definitions: HashMap::new(),
            parameter_variables: Vec::new(),
            definition_variables: Vec::new(),
            bound_variables: Vec::new(),
            bound_names: HashMap::new(),
            value_kinds: Vec::new(),
            kinds: Kinds::default(),
            index_expressions: Vec::new(),
            locals: Vec::new(),
        };
        for definition in &statistic.definitions {
            check.definitions.entry(&definition.name.name).or_insert(definition.name.span);
        }
        check.declarations();
        for (number, definition) in statistic.definitions.iter().enumerate() {
            if check.faults.full() {
                return None;
            }
            check.definition(number, definition);
        }
        check.returns();
        // Earlier faults may be the reason why a kind is unknown.
        if check.faults.errors.len() > before {
            return None;
        }
        check.scale_expressions();
        let checked = check.inferred();
        (check.faults.errors.len() == before).then_some(checked)
    }

    /// Enters a name, unless it is taken.
    fn declare(&mut self, name: &'a Ident, entry: Entry) {
        if let Some((first, span)) = self.entries.get(name.name.as_str()) {
            let message = format!("`{name}` is already a {} ({})", first.what(), place(*span));
            self.faults.push(NotationError::new(Name, name.span, message).help(ANOTHER_NAME));
        } else {
            self.entries.insert(&name.name, (entry, name.span));
            self.names.push(&name.name);
        }
    }

    fn declarations(&mut self) {
        for field in &self.statistic.fields {
            self.declare(field, Entry::Field);
        }
        for (number, parameter) in self.statistic.parameters.iter().enumerate() {
            self.distinct(&parameter.indices, &parameter.name);
            let variables = parameter.indices.iter().map(|_| self.kinds.fresh()).collect();
            self.parameter_variables.push(variables);
            if let Some(default) = &parameter.default
                && default.constant_value().is_none()
            {
                let message = format!("the default of `{}` is not a constant", parameter.name);
                self.faults.push(NotationError::new(Value, default.span, message).help("numbers, `pi`, `inf` and arithmetic are"));
            }
            self.declare(&parameter.name, Entry::Parameter(number));
        }
    }

    /// Demands that no index is listed twice.
    fn distinct(&mut self, indices: &[Ident], owner: &Ident) {
        let mut seen = HashSet::new();
        for index in indices {
            if !seen.insert(index.name.as_str()) {
                let message = format!("index `{index}` of `{owner}` is listed twice");
                self.faults.push(NotationError::new(Index, index.span, message).help(ANOTHER_NAME));
            }
        }
    }

    /// Makes an index visible, unless its name says something else already.
    fn bind(&mut self, index: &'a Ident, variable: usize) {
        if let Some((entry, span)) = self.entries.get(index.name.as_str()) {
            let message = format!("index `{index}` hides the {} `{index}` ({})", entry.what(), place(*span));
            self.faults.push(NotationError::new(Name, index.span, message).help(ANOTHER_NAME));
        }
        self.locals.push(Local { name: index, variable, used: false });
    }

    fn definition(&mut self, number: usize, definition: &'a Definition) {
        self.distinct(&definition.indices, &definition.name);
        let variables: Vec<usize> = definition.indices.iter().map(|_| self.kinds.fresh()).collect();
        self.definition_variables.push(variables.clone());
        self.bound_variables.push(Vec::new());
        self.bound_names.clear();
        for (index, variable) in definition.indices.iter().zip(variables) {
            self.bind(index, variable);
        }
        let value = self.value(&definition.value);
        self.conditions(definition);
        self.unused(0, &definition.name);
        self.value_kinds.push(value);
        self.declare(&definition.name, Entry::Definition(number));
    }

    /// Closes the indices from `first` on; each must have been used.
    fn unused(&mut self, first: usize, owner: &Ident) {
        for local in self.locals.split_off(first) {
            if !local.used {
                let message = format!("index `{}` of `{owner}` is never used", local.name);
                self.faults.push(NotationError::new(Index, local.name.span, message).help("use it or leave it out"));
            }
        }
    }

    fn conditions(&mut self, definition: &'a Definition) {
        for condition in &definition.conditions {
            if self.faults.full() {
                return;
            }
            let mut first = None;
            for term in condition.left.terms.iter().chain(&condition.right.terms) {
                if let Some(function) = &term.function {
                    if !INDEX_FUNCTIONS.iter().any(|row| row.0 == function.name) {
                        let help = suggestion(&function.name, "functions of indices", INDEX_FUNCTIONS.iter().map(|row| row.0));
                        let message = format!("`{function}` is not a function of an index");
                        self.faults.push(NotationError::new(Name, function.span, message).help(help));
                    }
                    match self.local(&term.name.name) {
                        Some(variable) => self.kinds.fix(variable, IndexKind::Scale, &term.name, self.faults),
                        None => {
                            let message = format!("`{}` is not an index of `{}`", term.name, definition.name);
                            let help = format!("`{function}` takes a scale index");
                            self.faults.push(NotationError::new(Index, term.name.span, message).help(help));
                        }
                    }
                    continue;
                }
                if let Some(variable) = self.local(&term.name.name) {
                    match first {
                        None => first = Some(variable),
                        Some(first) => self.kinds.unify(variable, first, &term.name, self.faults),
                    }
                    continue;
                }
                match self.entries.get(term.name.name.as_str()) {
                    Some((Entry::Parameter(number), _)) if self.parameter_variables[*number].is_empty() => {}
                    Some((entry, _)) => {
                        let what = match entry {
                            Entry::Parameter(_) => "an array",
                            Entry::Field => "a field",
                            Entry::Definition(_) => "a definition",
                        };
                        let message = format!("`{}` is {what}; a condition compares indices and numbers", term.name);
                        let candidates = definition.indices.iter().map(|index| index.name.as_str());
                        let help = suggestion(&term.name.name, "indices", candidates);
                        self.faults.push(NotationError::new(Index, term.name.span, message).help(help));
                    }
                    None => {
                        let message = format!("`{}` is not an index of `{}`", term.name, definition.name);
                        let candidates = definition.indices.iter().map(|index| index.name.as_str());
                        let help = suggestion(&term.name.name, "indices", candidates);
                        self.faults.push(NotationError::new(Index, term.name.span, message).help(help));
                    }
                }
            }
            if condition.left.terms.is_empty() && condition.right.terms.is_empty() {
                let span = condition.left.span.to(condition.right.span);
                self.faults.push(NotationError::new(Index, span, "the condition has no index").help("like `i < j` or `j <= 3`"));
            }
        }
    }

    /// The variable of a visible index, which counts as used.
    fn local(&mut self, name: &str) -> Option<usize> {
        let mut variable = None;
        for local in self.locals.iter_mut().filter(|local| local.name.name == name) {
            // A hidden index of the same name is a fault of its own, and is not reported as unused too.
            local.used = true;
            variable = Some(local.variable);
        }
        variable
    }

    /// What an expression is; `None` where a fault keeps that from being known.
    fn value(&mut self, expression: &'a Expr) -> Option<ValueKind> {
        if self.faults.full() {
            return None;
        }
        match &expression.kind {
            ExprKind::Number(_) => Some(ValueKind::Number),
            ExprKind::Name(name) => self.name(name, expression.span),
            ExprKind::Access { name, indices } => self.access(name, indices),
            ExprKind::Call { function, arguments } => self.call(function, arguments),
            ExprKind::Reduce { function, indices, argument } => self.reduce(function, indices, argument),
            ExprKind::Negate(operand) => self.value(operand),
            ExprKind::Binary { left, right, .. } => {
                let (left, right) = (self.value(left), self.value(right));
                joined([left, right])
            }
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Option<ValueKind> {
        if self.local(name).is_some() {
            return Some(ValueKind::Number);
        }
        let entry = self.resolve(name, span)?;
        let (value, indices) = self.entry(entry);
        if !indices.is_empty() {
            let found = count(indices.len(), "index", "indices");
            let names = indices.iter().map(|index| index.name.as_str()).collect::<Vec<_>>().join(", ");
            let error = NotationError::new(Arity, span, format!("`{name}` has {found}, found none"));
            self.faults.push(error.help(format!("write `{name}[{names}]`")));
        }
        value
    }

    /// What a name stands for; a fault when it stands for nothing.
    fn resolve(&mut self, name: &str, span: Span) -> Option<Entry> {
        if let Some((entry, _)) = self.entries.get(name) {
            return Some(*entry);
        }
        let error = if let Some(later) = self.definitions.get(name) {
            let number = self.value_kinds.len();
            let message = if self.statistic.definitions[number].name.name == name {
                format!("`{name}` is defined by itself")
            } else {
                format!("`{name}` is defined only later ({})", place(*later))
            };
            NotationError::new(Name, span, message).help("a definition uses earlier definitions only")
        } else if self.vocabulary.function(name).is_some() {
            let message = format!("`{name}` is a function, not a value");
            NotationError::new(Name, span, message).help(format!("write `{name}(..)`"))
        } else {
            let locals = self.locals.iter().map(|local| local.name.name.as_str());
            let candidates = self.names.iter().copied().chain(locals);
            NotationError::new(Name, span, format!("`{name}` is not defined")).help(suggestion(name, "in scope", candidates))
        };
        self.faults.push(error);
        None
    }

    /// Value and indices of an entry.
    fn entry(&self, entry: Entry) -> (Option<ValueKind>, &'a [Ident]) {
        match entry {
            Entry::Field => (Some(ValueKind::Field), &[]),
            Entry::Parameter(number) => (Some(ValueKind::Number), &self.statistic.parameters[number].indices),
            Entry::Definition(number) => (self.value_kinds[number], &self.statistic.definitions[number].indices),
        }
    }

    fn access(&mut self, name: &'a Ident, indices: &'a [IndexExpr]) -> Option<ValueKind> {
        let variables = match self.local(&name.name) {
            Some(_) => {
                let message = format!("`{name}` is an index and has no indices");
                self.faults.push(NotationError::new(Arity, name.span, message).help(format!("write `{name}`")));
                return None;
            }
            None => self.resolve(&name.name, name.span),
        };
        let Some(entry) = variables else {
            // The indices are used all the same.
            for term in indices.iter().flat_map(|index| &index.terms) {
                self.local(&term.name.name);
            }
            return None;
        };
        let (value, declared) = self.entry(entry);
        if declared.len() != indices.len() {
            let message = if declared.is_empty() {
                format!("the {} `{name}` has no indices, found {}", entry.what(), indices.len())
            } else {
                format!("`{name}` has {}, found {}", count(declared.len(), "index", "indices"), indices.len())
            };
            let names = declared.iter().map(|index| index.name.as_str()).collect::<Vec<_>>().join(", ");
            let help = if declared.is_empty() { format!("write `{name}`") } else { format!("it is declared `{name}[{names}]`") };
            self.faults.push(NotationError::new(Arity, name.span, message).help(help));
        }
        let variables = match entry {
            Entry::Field => Vec::new(),
            Entry::Parameter(number) => self.parameter_variables[number].clone(),
            Entry::Definition(number) => self.definition_variables[number].clone(),
        };
        for (place, index) in indices.iter().enumerate() {
            let variable = variables.get(place).copied().unwrap_or_else(|| self.kinds.fresh());
            for (local, name) in self.index_locals(index) {
                self.kinds.unify(local, variable, name, self.faults);
            }
            self.index_expressions.push((index.clone(), variable));
        }
        value
    }

    /// The variables and names of an index expression; a fault for each name that is no visible index.
    fn index_locals<'i>(&mut self, index: &'i IndexExpr) -> Vec<(usize, &'i Ident)> {
        let mut locals = Vec::new();
        for term in &index.terms {
            if self.faults.full() {
                break;
            }
            let name = &term.name;
            if let Some(local) = self.local(&name.name) {
                locals.push((local, name));
                continue;
            }
            let error = if let Some((entry, _)) = self.entries.get(name.name.as_str()) {
                let candidates = self.locals.iter().map(|local| local.name.name.as_str());
                let error = NotationError::new(Index, name.span, format!("`{name}` is a {}, not an index", entry.what()));
                error.help(suggestion(&name.name, "indices", candidates))
            } else {
                let owner = &self.statistic.definitions[self.value_kinds.len()].name;
                let message = format!("index `{name}` is neither an index of `{owner}` nor bound by a reduction");
                let candidates = self.locals.iter().map(|local| local.name.name.as_str());
                NotationError::new(Index, name.span, message).help(suggestion(&name.name, "indices", candidates))
            };
            self.faults.push(error);
        }
        locals
    }

    fn call(&mut self, function: &'a Ident, arguments: &'a [Expr]) -> Option<ValueKind> {
        let Some(row) = self.vocabulary.function(&function.name).copied() else {
            self.unknown_function(function);
            for argument in arguments {
                self.value(argument);
            }
            return None;
        };
        check_arity(function, arguments.len(), row.minimum_arity, row.maximum_arity, Some(row.documentation), self.faults);
        let mut values = Vec::with_capacity(arguments.len());
        for (place, argument) in arguments.iter().enumerate() {
            match row.signature.argument(place) {
                Argument::Value => values.push(self.value(argument)),
                Argument::Field => {
                    if self.value(argument) == Some(ValueKind::Number) {
                        let message = format!("`{function}` takes a field, found a number");
                        let help = row.documentation;
                        self.faults.push(NotationError::new(Value, argument.span, message).help(help));
                    }
                }
                Argument::Scale => self.index_argument(function, argument, IndexKind::Scale),
                Argument::Direction => self.index_argument(function, argument, IndexKind::Direction),
            }
        }
        match row.signature {
            Signature::FieldBuilder => Some(ValueKind::Field),
            Signature::DomainAverage | Signature::WindowedAverage | Signature::IteratedAverage => Some(ValueKind::Number),
            Signature::Pointwise => joined(values),
        }
    }

    fn unknown_function(&mut self, function: &Ident) {
        let name = &function.name;
        let error = if let Some((entry, _)) = self.entries.get(name.as_str()) {
            let message = format!("`{name}` is a {}, not a function", entry.what());
            NotationError::new(Name, function.span, message).help("indices stand in square brackets")
        } else if reduction_names().any(|reduction| reduction == name) {
            let message = format!("`{name}` reduces over indices");
            NotationError::new(Name, function.span, message).help(format!("write `{name}{{g}}(..)`"))
        } else {
            let help = suggestion(name, "functions", function_names(self.vocabulary));
            NotationError::new(Name, function.span, format!("`{name}` is not a function")).help(help)
        };
        self.faults.push(error);
    }

    /// Checks the scale or direction of a field builder.
    fn index_argument(&mut self, function: &Ident, argument: &'a Expr, kind: IndexKind) {
        let Some(index) = argument.as_index() else {
            let message = format!("the {kind} of `{function}` is an index, found an expression");
            let help = match kind {
                IndexKind::Scale => "like `j`, `j + 1` or `0`",
                IndexKind::Direction => "like `g`, `g + d` or `0`",
            };
            self.faults.push(NotationError::new(Index, argument.span, message).help(help));
            // Names inside are used all the same.
            self.value(argument);
            return;
        };
        let variable = self.kinds.fresh();
        for (local, name) in self.index_locals(&index) {
            self.kinds.fix(local, kind, name, self.faults);
        }
        self.kinds.known[variable] = Some((kind, argument.span));
        self.index_expressions.push((index, variable));
    }

    fn reduce(&mut self, function: &'a Ident, indices: &'a [Ident], argument: &'a Expr) -> Option<ValueKind> {
        if !reduction_names().any(|reduction| reduction == function.name) {
            let help = suggestion(&function.name, "reductions", reduction_names());
            let message = format!("`{function}` is not a reduction");
            self.faults.push(NotationError::new(Name, function.span, message).help(help));
        }
        let first = self.locals.len();
        if first + indices.len() > MAXIMUM_VISIBLE {
            self.faults.add(Limit, function.span, format!("more than {MAXIMUM_VISIBLE} indices at one place"));
            return None;
        }
        let definition = self.value_kinds.len();
        for index in indices {
            if let Some(outer) = self.locals.iter().find(|local| local.name.name == index.name) {
                let message = format!("index `{index}` is already in use ({})", place(outer.name.span));
                let error = NotationError::new(Index, index.span, message);
                self.faults.push(error.help("a reduction binds new names"));
            }
            // A name bound by two reductions of one definition has one kind, so that kinds can be listed by name.
            let variable = match self.bound_names.get(index.name.as_str()) {
                Some(variable) => *variable,
                None => {
                    let variable = self.kinds.fresh();
                    self.bound_names.insert(&index.name, variable);
                    self.bound_variables[definition].push((index, variable));
                    variable
                }
            };
            self.bind(index, variable);
        }
        let value = self.value(argument);
        self.unused(first, function);
        value
    }

    fn returns(&mut self) {
        let statistic = self.statistic;
        let mut unnamed: Option<Span> = None;
        let mut variants: HashMap<&str, Span> = HashMap::new();
        for outputs in &statistic.returns {
            let span = outputs.outputs.first().map(|output| output.name.span).unwrap_or_default();
            match &outputs.variant {
                None => match unnamed {
                    None => unnamed = Some(span),
                    Some(first) => {
                        let message = format!("`{}` has a second unnamed return", statistic.name);
                        let help = format!("the first is at {}; name a variant: `return short: ..`", place(first));
                        self.faults.push(NotationError::new(Return, span, message).help(help));
                    }
                },
                Some(variant) => match variants.get(variant.name.as_str()) {
                    None => {
                        variants.insert(&variant.name, variant.span);
                    }
                    Some(first) => {
                        let message = format!("the variant `{variant}` is already returned ({})", place(*first));
                        self.faults.push(NotationError::new(Return, variant.span, message).help(ANOTHER_NAME));
                    }
                },
            }
            let mut names = HashSet::new();
            for output in &outputs.outputs {
                if self.faults.full() {
                    return;
                }
                if !names.insert(output.name.name.as_str()) {
                    let message = format!("the output `{}` is listed twice", output.name);
                    self.faults.push(NotationError::new(Return, output.name.span, message).help("name it: `other = definition`"));
                }
                let name = &output.definition;
                let message = match self.entries.get(name.name.as_str()) {
                    Some((Entry::Definition(_), _)) => continue,
                    Some((entry, _)) => {
                        format!("`{name}` is a {}; a return lists definitions", entry.what())
                    }
                    None => format!("`{name}` is not a definition of `{}`", statistic.name),
                };
                let candidates = statistic.definitions.iter().map(|definition| definition.name.name.as_str());
                let help = suggestion(&name.name, "definitions", candidates);
                self.faults.push(NotationError::new(Return, name.span, message).help(help));
            }
        }
        if unnamed.is_none() {
            let message = format!("`{}` has no unnamed return", statistic.name);
            self.faults.push(NotationError::new(Return, statistic.name.span, message).help("end it with `return S1, S2;`"));
        }
    }

    /// Scales are not cyclic: sums and differences of indices make sense, and exist where they are scales; multiples do not.
    fn scale_expressions(&mut self) {
        for (index, variable) in std::mem::take(&mut self.index_expressions) {
            let plain = index.terms.iter().all(|term| term.coefficient.abs() == 1);
            let simple = plain && (index.terms.is_empty() || index.terms.iter().any(|term| term.coefficient == 1));
            if !simple && self.kinds.kind(variable).is_some_and(|(kind, _)| kind == IndexKind::Scale) {
                let message = format!("`{index}` is not a scale: a scale is a sum or difference of indices and a whole number");
                self.faults.push(NotationError::new(Index, index.span, message).help("like `j`, `j + 1`, `j - i` or `0`"));
            }
        }
    }

    /// The inferred kinds; a fault for each index without one.
    fn inferred(&mut self) -> CheckedStatistic {
        let statistic = self.statistic;
        let parameters = statistic.parameters.iter().map(|parameter| (&parameter.name, &parameter.indices));
        let parameters = parameters.zip(std::mem::take(&mut self.parameter_variables));
        let parameter_kinds = parameters.map(|((owner, indices), variables)| self.list_kinds(owner, indices, &variables));
        let parameter_kinds = parameter_kinds.collect();
        let definitions = statistic.definitions.iter().map(|definition| (&definition.name, &definition.indices));
        let definitions = definitions.zip(std::mem::take(&mut self.definition_variables));
        let definition_kinds = definitions.map(|((owner, indices), variables)| self.list_kinds(owner, indices, &variables)).collect();
        let mut bound_kinds = Vec::with_capacity(statistic.definitions.len());
        for (bound, definition) in std::mem::take(&mut self.bound_variables).into_iter().zip(&statistic.definitions) {
            let kinds = bound.into_iter().map(|(index, variable)| (index.name.clone(), self.index_kind(&definition.name, index, variable)));
            bound_kinds.push(kinds.collect());
        }
        // A value without a kind has a fault, and with a fault nothing is inferred.
        let value_kinds = self.value_kinds.iter().map(|value| value.unwrap_or(ValueKind::Number)).collect();
        CheckedStatistic { statistic: statistic.clone(), parameter_kinds, definition_kinds, bound_kinds, value_kinds }
    }

    fn list_kinds(&mut self, owner: &Ident, indices: &[Ident], variables: &[usize]) -> Vec<IndexKind> {
        indices.iter().zip(variables).map(|(index, &variable)| self.index_kind(owner, index, variable)).collect()
    }

    fn index_kind(&mut self, owner: &Ident, index: &Ident, variable: usize) -> IndexKind {
        if let Some((kind, _)) = self.kinds.kind(variable) {
            return kind;
        }
        let message = format!("nothing tells whether index `{index}` of `{owner}` is a scale or a direction");
        let help = "the places of `wavelet(field, scale, direction)` tell, directly or through other definitions";
        self.faults.push(NotationError::new(Index, index.span, message).help(help));
        IndexKind::Scale
    }
}

/// A field when any value is one; `None` when one is unknown and none is a field.
fn joined(values: impl IntoIterator<Item = Option<ValueKind>>) -> Option<ValueKind> {
    let mut all = Some(ValueKind::Number);
    for value in values {
        match value {
            Some(ValueKind::Field) => return Some(ValueKind::Field),
            Some(ValueKind::Number) => {}
            None => all = None,
        }
    }
    all
}

/// Resolves the names and calls of a filter; it has no indices.
fn check_filter(filter: &Filter, faults: &mut Faults) {
    let mut known: Vec<&str> = VARIABLES.iter().map(|row| row.0).collect();
    for definition in &filter.definitions {
        if faults.full() {
            return;
        }
        let name = &definition.name;
        if known.contains(&name.name.as_str()) {
            faults.push(NotationError::new(Name, name.span, format!("`{name}` is already a name of the filter")).help(ANOTHER_NAME));
        }
        check_filter_expression(&definition.value, &known, faults);
        known.push(&name.name);
    }
    if !filter.definitions.iter().any(|definition| ["wavelet", "stencil"].contains(&definition.name.name.as_str())) {
        let message = format!("the filter `{}` has no `wavelet`", filter.name);
        faults.push(NotationError::new(Name, filter.name.span, message).help("define `wavelet = ..;`, or `stencil = ..;`"));
    }
}

fn check_filter_expression(expression: &Expr, known: &[&str], faults: &mut Faults) {
    if faults.full() {
        return;
    }
    match &expression.kind {
        ExprKind::Number(_) => {}
        ExprKind::Name(name) if known.contains(&name.as_str()) => {}
        ExprKind::Name(name) => {
            let help = suggestion(name, "in scope", known.iter().copied());
            faults.push(NotationError::new(Name, expression.span, format!("`{name}` is not defined")).help(help));
        }
        ExprKind::Access { name, .. } => {
            let message = format!("`{name}` has indices, which a filter does not have");
            faults.push(NotationError::new(Index, name.span, message).help("scale and direction of a filter are the numbers `j` and `l`"));
        }
        ExprKind::Reduce { function, .. } => {
            let message = "a filter has no indices to reduce over";
            faults.push(
                NotationError::new(Index, function.span, message).help("sums over samples are `total(..)`, `over_rows(..)`, `over_columns(..)`"),
            );
        }
        ExprKind::Negate(operand) => check_filter_expression(operand, known, faults),
        ExprKind::Binary { left, right, .. } => {
            check_filter_expression(left, known, faults);
            check_filter_expression(right, known, faults);
        }
        ExprKind::Call { function, arguments } => {
            match FUNCTIONS.iter().find(|row| row.0 == function.name) {
                Some(row) => check_arity(function, arguments.len(), row.1, row.1, Some(row.2), faults),
                None => {
                    let help = suggestion(&function.name, "functions", FUNCTIONS.iter().map(|row| row.0));
                    let message = format!("`{function}` is not a function of filters");
                    faults.push(NotationError::new(Name, function.span, message).help(help));
                }
            }
            arguments.iter().for_each(|argument| check_filter_expression(argument, known, faults));
        }
    }
}

/// What an expression of a loss is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LossValue {
    Array,
    Number,
}

struct LossCheck<'a, 'f> {
    loss: &'a Loss,
    vocabulary: &'a Vocabulary,
    faults: &'f mut Faults,
}

impl LossCheck<'_, '_> {
    fn run(&mut self) {
        let loss = self.loss;
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for parameter in &loss.parameters {
            match seen.get(parameter.name.as_str()) {
                Some(first) => {
                    let message = format!("`{parameter}` is already an array of the loss ({})", place(*first));
                    self.faults.push(NotationError::new(Name, parameter.span, message).help(ANOTHER_NAME));
                }
                None => {
                    seen.insert(&parameter.name, parameter.span);
                }
            }
        }
        if self.value(&loss.value) == Some(LossValue::Array) {
            let message = format!("the loss `{}` is an array; a loss is a number", loss.name);
            let help = "reduce it over its entries: `mean(..)` or `sum(..)`";
            self.faults.push(NotationError::new(Value, loss.value.span, message).help(help));
        }
    }

    fn value(&mut self, expression: &Expr) -> Option<LossValue> {
        if self.faults.full() {
            return None;
        }
        match &expression.kind {
            ExprKind::Number(_) => Some(LossValue::Number),
            ExprKind::Negate(operand) => self.value(operand),
            ExprKind::Binary { left, right, .. } => {
                let (left, right) = (self.value(left), self.value(right));
                Some(if left? == LossValue::Array { LossValue::Array } else { right? })
            }
            ExprKind::Name(name) => {
                if self.loss.parameters.iter().any(|parameter| parameter.name == *name) {
                    return Some(LossValue::Array);
                }
                let candidates = self.loss.parameters.iter().map(|parameter| parameter.name.as_str());
                let error = NotationError::new(Name, expression.span, format!("`{name}` is not defined"));
                self.faults.push(error.help(suggestion(name, "in scope", candidates)));
                None
            }
            ExprKind::Access { name, .. } => {
                let message = format!("`{name}` is taken as a whole in a loss, without indices");
                self.faults.push(NotationError::new(Index, name.span, message).help(format!("write `{name}`")));
                None
            }
            ExprKind::Reduce { function, .. } => {
                let message = "a loss has no indices to reduce over".to_owned();
                let help = format!("`{function}(..)` reduces over all entries");
                self.faults.push(NotationError::new(Index, function.span, message).help(help));
                None
            }
            ExprKind::Call { function, arguments } => self.call(function, arguments),
        }
    }

    fn call(&mut self, function: &Ident, arguments: &[Expr]) -> Option<LossValue> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.value(argument));
        }
        let row = self.vocabulary.function(&function.name);
        let pointwise = row.filter(|row| row.signature == Signature::Pointwise);
        let reduces = reduction_names().any(|reduction| reduction == function.name);
        // `max(a)` reduces over entries, `max(a, b)` is pointwise.
        if reduces && (arguments.len() == 1 || pointwise.is_none()) {
            check_arity(function, arguments.len(), 1, 1, Some("it reduces one array over its entries"), self.faults);
            if let (Some(Some(LossValue::Number)), Some(argument)) = (values.first(), arguments.first()) {
                let message = format!("`{function}` takes an array, found a number");
                self.faults.push(NotationError::new(Value, argument.span, message).help("one reduction over the entries is enough"));
            }
            return Some(LossValue::Number);
        }
        if let Some(row) = pointwise {
            check_arity(function, arguments.len(), row.minimum_arity, row.maximum_arity, Some(row.documentation), self.faults);
            let array = values.contains(&Some(LossValue::Array));
            return match array {
                true => Some(LossValue::Array),
                false if values.contains(&None) => None,
                false => Some(LossValue::Number),
            };
        }
        let pointwise = self.vocabulary.functions.iter().filter(|row| row.signature == Signature::Pointwise);
        let candidates = pointwise.map(|row| row.name).chain(reduction_names());
        let error = match row {
            Some(_) => {
                let message = format!("`{function}` needs a domain, which a loss does not have");
                NotationError::new(Name, function.span, message).help("call it in a statistic")
            }
            None => NotationError::new(Name, function.span, format!("`{function}` is not a function")).help(suggestion(
                &function.name,
                "functions",
                candidates,
            )),
        };
        self.faults.push(error);
        None
    }
}
