//! The notation: statistics and losses declared in index notation, as plain data.
//!
//! ```text
//! scattering! { .. } -tokens-+
//!                            +-> parse -> Program -> check -> Checked
//! file.scat -text------------+
//! ```
//!
//! One grammar and one parser serve the macro at compile time and files at run time, so both report the same words.
//! This module holds the syntax tree ([`Program`]), its parser, its canonical text (`Display`; it parses back to an equal tree)
//! and the name, index and value checks ([`check`]). It refuses to hold anything about domains: a program that passes
//! [`check`] is meaningful on every domain, and what a domain lacks is reported when the program is bound to it.
//!
//! ```
//! use scatterc_ir::notation::{Vocabulary, check, parse};
//!
//! let source = "statistic first(x) { S1[j, g] = mean(abs(wavelet(x, j, g))); return S1; }";
//! let program = parse(source, "first.scat")?;
//! let checked = check(&program, &Vocabulary::standard()).expect("the program is well formed");
//! assert_eq!(checked.statistics[0].definition_kinds[0].len(), 2);
//! # Ok::<(), scatterc_ir::notation::NotationError>(())
//! ```
//!
//! # Grammar
//!
//! ```text
//! program    = item*
//! item       = statistic | loss | filter
//! statistic  = "statistic" NAME "(" NAME ("," NAME)* [";" parameter ("," parameter)*] ")" "{" (definition | return)* "}"
//! parameter  = NAME ["[" NAME ("," NAME)* "]"] ["=" expr]
//! definition = NAME ["[" NAME ("," NAME)* "]"] "=" expr ["where" condition ("," condition)*] ";"
//! condition  = side ("<" | "<=" | ">" | ">=" | "==" | "!=") side
//! side       = an index in which NAME "(" NAME ")" may stand for a name
//! return     = "return" [NAME ":"] output ("," output)* ";"
//! output     = NAME ["=" NAME]
//! filter     = "filter" NAME "{" (NAME "=" expr ";")* "}"
//! loss       = "loss" NAME "(" NAME "," NAME ("," NAME)* ")" "=" expr ";"
//! expr       = number | "inf" | "pi" | NAME | NAME "[" index ("," index)* "]" | "(" expr ")"
//!            | NAME "(" expr ("," expr)* ")" | NAME "{" NAME ("," NAME)* "}" "(" expr ")"
//!            | "-" expr | expr ("+" | "-" | "*" | "/" | "^") expr
//! index      = an expr that is a combination of names with whole coefficients plus a whole number
//! ```
//!
//! `^` is right associative and binds tighter than the unary minus on its left: `-x^2` is `-(x^2)`.
//! `mean(f)` averages over the domain; `mean{g}(f)` averages over the index `g`.

mod check;
mod error;
mod parse;
mod print;
mod vocabulary;

pub use check::{Checked, CheckedLoss, CheckedStatistic, IndexKind, ValueKind, check, check_source};
pub use error::{NotationError, NotationErrorKind, NotationErrors};
pub use parse::{ParsedTokens, parse, parse_checked, parse_conditions, parse_tokens};
pub use vocabulary::{Argument, Function, INDEX_FUNCTIONS, POINTWISE, REDUCTIONS, Reduction, Signature, Vocabulary};

/// The longest text [`parse`] accepts, in bytes.
///
/// ```
/// use scatterc_ir::notation::{MAXIMUM_SOURCE_BYTES, parse};
///
/// assert!(parse(&" ".repeat(MAXIMUM_SOURCE_BYTES), "blank").is_ok());
/// assert!(parse(&" ".repeat(MAXIMUM_SOURCE_BYTES + 1), "blank").is_err());
/// ```
pub const MAXIMUM_SOURCE_BYTES: usize = 1 << 20;

/// The deepest nesting of brackets and of expressions, in levels; every recursion over the tree is bounded by it.
///
/// ```
/// use scatterc_ir::notation::{MAXIMUM_DEPTH, parse};
///
/// let nested = |n: u32| format!("loss l(S, T) = {}S{};", "(".repeat(n as usize), ")".repeat(n as usize));
/// assert!(parse(&nested(MAXIMUM_DEPTH / 2), "nested").is_ok() && parse(&nested(MAXIMUM_DEPTH + 1), "nested").is_err());
/// ```
pub const MAXIMUM_DEPTH: u32 = 200;

/// The largest number of indices of one definition, parameter, access or reduction.
///
/// ```
/// use scatterc_ir::notation::{MAXIMUM_INDICES, parse};
///
/// let indices = |n: usize| (0..n).map(|k| format!("j{k}")).collect::<Vec<_>>().join(", ");
/// let text = |n| format!("statistic s(x) {{ A[{}] = mean(x); return A; }}", indices(n));
/// assert!(parse(&text(MAXIMUM_INDICES), "many").is_ok() && parse(&text(MAXIMUM_INDICES + 1), "many").is_err());
/// ```
pub const MAXIMUM_INDICES: usize = 32;

/// The longest name, in characters.
///
/// ```
/// use scatterc_ir::notation::{MAXIMUM_NAME_LENGTH, parse};
///
/// let text = |n: usize| format!("loss {}(S, T) = mean(S - T);", "l".repeat(n));
/// assert!(parse(&text(MAXIMUM_NAME_LENGTH), "long").is_ok() && parse(&text(MAXIMUM_NAME_LENGTH + 1), "long").is_err());
/// ```
pub const MAXIMUM_NAME_LENGTH: usize = 255;

/// The largest magnitude of a whole number in an index; far above any count of scales, and far from overflow.
///
/// ```
/// use scatterc_ir::notation::{MAXIMUM_INDEX_NUMBER, parse_conditions};
///
/// assert!(parse_conditions(&format!("j < {MAXIMUM_INDEX_NUMBER}"), "large").is_ok());
/// assert!(parse_conditions(&format!("j < {}", MAXIMUM_INDEX_NUMBER + 1), "large").is_err());
/// ```
pub const MAXIMUM_INDEX_NUMBER: i64 = 1 << 31;

/// A place in the text: 1-based lines and columns (in characters), the end excluded; line 0 where no place is known.
///
/// `token` is the place of the first token in the parser's table of `proc_macro2` spans ([`ParsedTokens::tokens`]),
/// which is how the macro points at it.
///
/// Every span equals every other span, so that two trees are equal when they say the same, wherever they stand.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// let span = statistic.definitions[0].name.span;
/// assert_eq!((span.line, span.column, span.end_column), (3, 5, 6));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Span {
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column one past the end.
    pub end_column: u32,
    /// Place in the table of tokens.
    pub token: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Span) -> bool {
        true
    }
}

impl Span {
    /// The span from the start of `self` to the end of `end`.
    ///
    /// ```
    /// use scatterc_ir::notation::Span;
    ///
    /// let at = |column| Span { line: 1, column, end_line: 1, end_column: column + 1, token: 0 };
    /// let both = at(3).to(at(9));
    /// assert_eq!((both.column, both.end_column), (3, 10));
    /// ```
    pub fn to(self, end: Span) -> Span {
        Span { end_line: end.end_line, end_column: end.end_column, ..self }
    }
}

/// A name and where it stands.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// assert_eq!((statistic.name.name.as_str(), statistic.name.span.line), ("first", 2));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// A parsed text: its items in order.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// assert_eq!(program.items.len(), 3);
/// // Canonical text parses back to an equal tree.
/// assert_eq!(parse(&program.to_string(), "canonical")?, program);
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Statistics and losses in the order of the text.
    pub items: Vec<Item>,
}

impl Program {
    /// The statistics, in order.
    ///
    /// ```
    /// # use scatterc_ir::notation::*;
    /// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
    /// #     W[j, g] = wavelet(x, j, g);
    /// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
    /// #     return C;
    /// #     return same: D = C;
    /// # }
    /// # filter rings { k = row / H; wavelet = exp(-k^2); }
    /// # loss l1(S, T) = mean(abs(S - T));";
    /// # let program = parse(text, "first.scat")?;
    /// assert_eq!(program.statistics().map(|s| s.name.name.as_str()).collect::<Vec<_>>(), ["first"]);
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn statistics(&self) -> impl Iterator<Item = &Statistic> {
        self.items.iter().filter_map(|item| match item {
            Item::Statistic(statistic) => Some(statistic),
            Item::Loss(_) | Item::Filter(_) => None,
        })
    }

    /// The filters, in order.
    ///
    /// ```
    /// # use scatterc_ir::notation::*;
    /// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
    /// #     W[j, g] = wavelet(x, j, g);
    /// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
    /// #     return C;
    /// #     return same: D = C;
    /// # }
    /// # filter rings { k = row / H; wavelet = exp(-k^2); }
    /// # loss l1(S, T) = mean(abs(S - T));";
    /// # let program = parse(text, "first.scat")?;
    /// assert_eq!(program.filters().map(|f| f.name.name.as_str()).collect::<Vec<_>>(), ["rings"]);
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.items.iter().filter_map(|item| match item {
            Item::Filter(filter) => Some(filter),
            Item::Statistic(_) | Item::Loss(_) => None,
        })
    }

    /// The losses, in order.
    ///
    /// ```
    /// # use scatterc_ir::notation::*;
    /// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
    /// #     W[j, g] = wavelet(x, j, g);
    /// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
    /// #     return C;
    /// #     return same: D = C;
    /// # }
    /// # filter rings { k = row / H; wavelet = exp(-k^2); }
    /// # loss l1(S, T) = mean(abs(S - T));";
    /// # let program = parse(text, "first.scat")?;
    /// assert_eq!(program.losses().map(|l| l.name.name.as_str()).collect::<Vec<_>>(), ["l1"]);
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.items.iter().filter_map(|item| match item {
            Item::Statistic(_) | Item::Filter(_) => None,
            Item::Loss(loss) => Some(loss),
        })
    }
}

/// One declaration of a program.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// assert!(matches!(&program.items[..], [Item::Statistic(_), Item::Filter(_), Item::Loss(_)]));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A statistic of fields.
    Statistic(Statistic),
    /// A loss of an output and its target.
    Loss(Loss),
    /// Wavelets and low-pass filters as formulas over a grid.
    Filter(Filter),
}

/// A bank of filters: definitions without indices, of which `wavelet`, `lowpass`, `octave`, `layer` and `count` are asked for. See [`crate::filter`].
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// let rings = program.filters().next().unwrap();
/// assert_eq!(rings.definitions.iter().map(|d| d.name.name.as_str()).collect::<Vec<_>>(), ["k", "wavelet"]);
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Its name.
    pub name: Ident,
    /// The comment in front of it, as for [`Statistic::docs`].
    pub docs: String,
    /// Definitions; each uses only earlier ones.
    pub definitions: Vec<Definition>,
}

impl Filter {
    /// The text on one line and without its comment, as an attribute of a linear map.
    ///
    /// ```
    /// # use scatterc_ir::notation::*;
    /// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
    /// #     W[j, g] = wavelet(x, j, g);
    /// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
    /// #     return C;
    /// #     return same: D = C;
    /// # }
    /// # filter rings { k = row / H; wavelet = exp(-k^2); }
    /// # loss l1(S, T) = mean(abs(S - T));";
    /// # let program = parse(text, "first.scat")?;
    /// assert_eq!(program.filters().next().unwrap().one_line(), "filter rings { k = row / H; wavelet = exp(-k^2); }");
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn one_line(&self) -> String {
        let definitions: Vec<String> = self.definitions.iter().map(Definition::to_string).collect();
        format!("filter {} {{ {} }}", self.name, definitions.join(" "))
    }
}

/// A statistic: definitions in order, and what it returns.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// assert_eq!((statistic.docs.as_str(), statistic.fields.len(), statistic.parameters.len()), ("Mean moduli.", 2, 2));
/// assert_eq!((statistic.definitions.len(), statistic.returns.len()), (2, 2));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// Its name.
    pub name: Ident,
    /// The comment in front of it, lines separated by `\n`, without comment marks.
    pub docs: String,
    /// Input fields.
    pub fields: Vec<Ident>,
    /// Numbers and arrays given when the statistic is bound or run.
    pub parameters: Vec<Parameter>,
    /// Definitions; each uses only earlier ones.
    pub definitions: Vec<Definition>,
    /// One unnamed return and any number of named variants.
    pub returns: Vec<Return>,
}

/// A parameter: a number, or an array over indices.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// let [delta, norms] = &statistic.parameters[..] else { panic!("two parameters") };
/// assert_eq!((delta.indices.len(), norms.indices.len()), (0, 1));
/// assert_eq!(delta.default.as_ref().and_then(Expr::constant_value), Some(2.0));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: Ident,
    /// Its indices; none for a number. The names only document: kinds follow from use.
    pub indices: Vec<Ident>,
    /// Its value where none is given (a constant; every entry of an array); a parameter without one must be given.
    pub default: Option<Expr>,
}

/// `name[indices] = value where conditions;`
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// let c = &statistic.definitions[1];
/// assert_eq!((c.name.name.as_str(), c.indices.len(), c.conditions.len()), ("C", 2, 2));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: Ident,
    /// Its indices, in the order in which its entries are laid out.
    pub indices: Vec<Ident>,
    /// What it is.
    pub value: Expr,
    /// The index tuples that exist: those for which every condition holds.
    pub conditions: Vec<Condition>,
}

/// A linear comparison of indices, whole numbers and number parameters.
///
/// ```
/// use scatterc_ir::notation::{Comparison, parse_conditions};
///
/// let condition = &parse_conditions("i - j <= 2", "where")?[0];
/// assert_eq!((condition.comparison, condition.right.constant), (Comparison::LessOrEqual, 2));
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Left side.
    pub left: IndexExpr,
    /// The comparison.
    pub comparison: Comparison,
    /// Right side.
    pub right: IndexExpr,
}

/// How two sides of a condition compare.
///
/// ```
/// use scatterc_ir::notation::Comparison;
///
/// assert_eq!(Comparison::NotEqual.to_string(), "!=");
/// assert!(Comparison::Less.holds(1, 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// Whether it holds between two numbers.
    ///
    /// ```
    /// use scatterc_ir::notation::Comparison;
    ///
    /// assert!(Comparison::GreaterOrEqual.holds(2, 2) && !Comparison::Greater.holds(2, 2));
    /// ```
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
        }
    }
}

/// A `return`: the unnamed one is what the statistic returns; a named one is a variant.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// let variants: Vec<Option<&str>> = statistic.returns.iter().map(|r| r.variant.as_ref().map(|v| v.name.as_str())).collect();
/// assert_eq!(variants, [None, Some("same")]);
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// Name of the variant.
    pub variant: Option<Ident>,
    /// Outputs in order.
    pub outputs: Vec<Output>,
}

/// An exported name and the definition behind it.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// let output = &statistic.returns[1].outputs[0];
/// assert_eq!((output.name.name.as_str(), output.definition.name.as_str()), ("D", "C"));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The exported name.
    pub name: Ident,
    /// The definition.
    pub definition: Ident,
}

/// `loss name(parameters) = value;`: a number of equally shaped arrays.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// let loss = program.losses().next().unwrap();
/// assert_eq!(loss.parameters.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["S", "T"]);
/// assert_eq!(loss.to_string(), "loss l1(S, T) = mean(abs(S - T));\n");
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its name.
    pub name: Ident,
    /// The comment in front of it, as for [`Statistic::docs`].
    pub docs: String,
    /// An output, its target, and further arrays of the same shape (weights).
    pub parameters: Vec<Ident>,
    /// The loss.
    pub value: Expr,
}

/// An expression and where it stands.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// let loss = program.losses().next().unwrap();
/// assert_eq!((loss.value.to_string().as_str(), loss.value.span.line), ("mean(abs(S - T))", 9));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its place, without brackets around it.
    pub span: Span,
}

/// What an expression is.
///
/// ```
/// # use scatterc_ir::notation::*;
/// # let text = "// Mean moduli.\nstatistic first(x, y; delta = 2, P[j] = 1) {
/// #     W[j, g] = wavelet(x, j, g);
/// #     C[j, i] = sum{g}(re(cov(W[j, g], wavelet(y, i, g)))) / P[j] where j < i, i - j <= delta;
/// #     return C;
/// #     return same: D = C;
/// # }
/// # filter rings { k = row / H; wavelet = exp(-k^2); }
/// # loss l1(S, T) = mean(abs(S - T));";
/// # let program = parse(text, "first.scat")?;
/// # let statistic = program.statistics().next().unwrap();
/// assert!(matches!(&statistic.definitions[0].value.kind, ExprKind::Call { function, arguments } if function.name == "wavelet" && arguments.len() == 3));
/// assert!(matches!(&statistic.definitions[1].value.kind, ExprKind::Binary { operator: BinaryOperator::Divide, .. }));
/// # Ok::<(), NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number; `inf` and `pi` are numbers too. Parsed numbers are never negative: a minus is [`ExprKind::Negate`].
    Number(f64),
    /// A field, a parameter or definition without indices, or the number of an index.
    Name(String),
    /// `name[indices]`
    Access {
        /// The definition or parameter.
        name: Ident,
        /// One expression per index.
        indices: Vec<IndexExpr>,
    },
    /// `function(arguments)`
    Call {
        /// A function of the [`Vocabulary`].
        function: Ident,
        /// Its arguments.
        arguments: Vec<Expr>,
    },
    /// `function{indices}(argument)`
    Reduce {
        /// One of [`REDUCTIONS`].
        function: Ident,
        /// The indices that it binds.
        indices: Vec<Ident>,
        /// What is reduced.
        argument: Box<Expr>,
    },
    /// `-operand`
    Negate(Box<Expr>),
    /// `left operator right`
    Binary {
        /// The operator.
        operator: BinaryOperator,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
    },
}

/// An operator between two expressions.
///
/// ```
/// use scatterc_ir::notation::BinaryOperator;
///
/// assert_eq!([BinaryOperator::Add, BinaryOperator::Power].map(|operator| operator.to_string()), ["+", "^"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `^`
    Power,
}

/// Sum of `coefficient * name` plus a constant: which scale, which direction, or one side of a condition.
///
/// ```
/// use scatterc_ir::notation::parse_conditions;
///
/// let left = &parse_conditions("2 * i - j + 3 == 0", "where")?[0].left;
/// assert_eq!((left.terms.iter().map(|t| t.coefficient).collect::<Vec<_>>(), left.constant), (vec![2, -1], 3));
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexExpr {
    /// The terms as written; a name may occur twice. In conditions a name may be a number parameter.
    pub terms: Vec<IndexTerm>,
    /// The whole number added to the terms.
    pub constant: i64,
    /// Its place.
    pub span: Span,
}

/// `coefficient * name`, in conditions also `coefficient * function(name)`
///
/// ```
/// use scatterc_ir::notation::parse_conditions;
///
/// let term = &parse_conditions("2 * octave(n) < 3", "where")?[0].left.terms[0];
/// assert_eq!((term.coefficient, term.name.name.as_str()), (2, "n"));
/// assert_eq!(term.function.as_ref().map(|f| f.name.as_str()), Some("octave"));
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexTerm {
    /// The coefficient.
    pub coefficient: i64,
    /// One of [`INDEX_FUNCTIONS`], in conditions only.
    pub function: Option<Ident>,
    /// The name.
    pub name: Ident,
}

impl Expr {
    /// The value of an expression of numbers and arithmetic alone; `None` when it has names, accesses or calls.
    ///
    /// ```
    /// # use scatterc_ir::notation::{Expr, NotationError, parse};
    /// # let expression = |text: &str| -> Result<Expr, NotationError> {
    /// #     Ok(parse(&format!("loss l(S, T) = {text};"), "expression")?.losses().next().unwrap().value.clone())
    /// # };
    /// assert_eq!((expression("-2^2 + 1")?.constant_value(), expression("2 * S")?.constant_value()), (Some(-3.0), None));
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn constant_value(&self) -> Option<f64> {
        match &self.kind {
            ExprKind::Number(value) => Some(*value),
            ExprKind::Negate(operand) => Some(-operand.constant_value()?),
            ExprKind::Binary { operator, left, right } => {
                let (left, right) = (left.constant_value()?, right.constant_value()?);
                Some(match operator {
                    BinaryOperator::Add => left + right,
                    BinaryOperator::Subtract => left - right,
                    BinaryOperator::Multiply => left * right,
                    BinaryOperator::Divide => left / right,
                    BinaryOperator::Power => left.powf(right),
                })
            }
            ExprKind::Name(_) | ExprKind::Access { .. } | ExprKind::Call { .. } | ExprKind::Reduce { .. } => None,
        }
    }

    /// The expression read as an index, like `g + d`, `j - 1`, `2*g` or `0`.
    ///
    /// `None` when it is no combination of names with whole coefficients, or when a number exceeds [`MAXIMUM_INDEX_NUMBER`].
    ///
    /// ```
    /// # use scatterc_ir::notation::{Expr, NotationError, parse};
    /// # let expression = |text: &str| -> Result<Expr, NotationError> {
    /// #     Ok(parse(&format!("loss l(S, T) = {text};"), "expression")?.losses().next().unwrap().value.clone())
    /// # };
    /// let index = expression("g + 2 * d - 1")?.as_index().unwrap();
    /// assert_eq!((index.terms.len(), index.constant), (2, -1));
    /// assert!(expression("g * d")?.as_index().is_none());
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn as_index(&self) -> Option<IndexExpr> {
        let mut index = IndexExpr { span: self.span, ..IndexExpr::default() };
        self.add_to_index(1, false, &mut index)?;
        Some(index)
    }

    /// The expression read as one side of a condition: an index in which functions of names may stand, like `octave(n) + 1`.
    ///
    /// ```
    /// # use scatterc_ir::notation::{Expr, NotationError, parse};
    /// # let expression = |text: &str| -> Result<Expr, NotationError> {
    /// #     Ok(parse(&format!("loss l(S, T) = {text};"), "expression")?.losses().next().unwrap().value.clone())
    /// # };
    /// let side = expression("octave(n) + 1")?;
    /// assert!(side.as_index().is_none() && side.as_condition_side().is_some());
    /// # Ok::<(), NotationError>(())
    /// ```
    pub fn as_condition_side(&self) -> Option<IndexExpr> {
        let mut index = IndexExpr { span: self.span, ..IndexExpr::default() };
        self.add_to_index(1, true, &mut index)?;
        Some(index)
    }

    /// Adds `factor * self` to `index`; `functions` says whether functions of names are allowed.
    fn add_to_index(&self, factor: i64, functions: bool, index: &mut IndexExpr) -> Option<()> {
        match &self.kind {
            ExprKind::Number(_) => {
                let value = bounded(factor.checked_mul(self.whole_number()?)?)?;
                index.constant = bounded(index.constant.checked_add(value)?)?;
                Some(())
            }
            ExprKind::Name(name) => {
                let name = Ident { name: name.clone(), span: self.span };
                index.terms.push(IndexTerm { coefficient: factor, function: None, name });
                Some(())
            }
            ExprKind::Call { function, arguments } if functions => match arguments.as_slice() {
                [Expr { kind: ExprKind::Name(name), span }] => {
                    let name = Ident { name: name.clone(), span: *span };
                    index.terms.push(IndexTerm { coefficient: factor, function: Some(function.clone()), name });
                    Some(())
                }
                _ => None,
            },
            ExprKind::Negate(operand) => operand.add_to_index(-factor, functions, index),
            ExprKind::Binary { operator: BinaryOperator::Add, left, right } => {
                left.add_to_index(factor, functions, index)?;
                right.add_to_index(factor, functions, index)
            }
            ExprKind::Binary { operator: BinaryOperator::Subtract, left, right } => {
                left.add_to_index(factor, functions, index)?;
                right.add_to_index(-factor, functions, index)
            }
            ExprKind::Binary { operator: BinaryOperator::Multiply, left, right } => {
                let (number, rest) = if let Some(number) = left.whole_number() { (number, right) } else { (right.whole_number()?, left) };
                rest.add_to_index(bounded(factor.checked_mul(number)?)?, functions, index)
            }
            ExprKind::Binary { operator: BinaryOperator::Divide | BinaryOperator::Power, .. }
            | ExprKind::Access { .. }
            | ExprKind::Call { .. }
            | ExprKind::Reduce { .. } => None,
        }
    }

    /// The expression as a whole number with an optional sign.
    fn whole_number(&self) -> Option<i64> {
        match &self.kind {
            // The bound keeps the conversion exact.
            ExprKind::Number(value) if value.fract() == 0.0 && value.abs() <= MAXIMUM_INDEX_NUMBER as f64 => Some(*value as i64),
            ExprKind::Negate(operand) => match &operand.kind {
                ExprKind::Number(_) => operand.whole_number().map(|value| -value),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The number itself while its magnitude stays within [`MAXIMUM_INDEX_NUMBER`].
fn bounded(value: i64) -> Option<i64> {
    (value.unsigned_abs() <= MAXIMUM_INDEX_NUMBER.unsigned_abs()).then_some(value)
}
