//! Graph text: print and parse, `parse(print(g)) == g`, the same bytes every run.
//!
//! ```text
//! graph covariance {
//!   %0 = input x : [] half(8)
//!   %1 = hermitian_pack(%0) {L=8} : [] coefficients(8)
//!   %2 = coefficient_mean(%1) {L=8} : [2] point
//!   %3 = map(%2) {f=mul(a, abs(a))} : [2] point
//!   return mean = %3
//! }
//! ```

use crate::graph::{Graph, Node, Op, Output, Value, attributes};
use crate::ops::{Attribute, Linear, pointwise, pointwise_table};
use crate::scalar;
use crate::types::{Space, Type};
use std::cell::Cell;
use std::fmt;

/// A graph text that cannot be read.
///
/// ```
/// use scatterc_ir::text::parse;
///
/// let fault = parse("graph g {\n  %0 = input x : [] sky(4)\n}\n").unwrap_err();
/// assert_eq!(fault.line, 2);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TextError {
    /// 1-based line.
    pub line: usize,
    /// What was expected and found.
    pub message: String,
}

/// Spelling of a node: `wigner_inverse^H`, `square`, `map`, ...
///
/// ```
/// use scatterc_ir::{Linear, Op, scalar, text::spelling};
///
/// assert_eq!(spelling(&Op::Linear { map: Linear::Mean { L: 4 }, adjoint: true }), "mean^H");
/// assert_eq!(spelling(&Op::Pointwise(scalar::parse("mul(a, a)")?)), "square");
/// # Ok::<(), String>(())
/// ```
pub fn spelling(op: &Op) -> String {
    match op {
        Op::Input(_) => "input".into(),
        Op::Parameter(_) => "parameter".into(),
        Op::Constant(_) => "constant".into(),
        Op::Linear { map, adjoint } => format!("{}{}", map.spelling(), if *adjoint { "^H" } else { "" }),
        Op::Pointwise(f) => pointwise_table().iter().find(|row| row.expression == *f).map_or("map".into(), |row| row.name.into()),
        Op::Concat => "concat".into(),
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = spelling(&self.op);
        match &self.op {
            Op::Input(input) | Op::Parameter(input) => return write!(f, "{name} {input} : {}", self.ty),
            _ => {}
        }
        let operands: Vec<String> = self.operands.iter().map(Value::to_string).collect();
        write!(f, "{name}({})", operands.join(", "))?;
        if let Op::Pointwise(scalar) = &self.op
            && name == "map"
        {
            write!(f, " {{f={scalar}}}")?;
        }
        let list = attributes(&self.op);
        if !list.is_empty() {
            let inner: Vec<String> = list.iter().map(|(name, a)| format!("{name}={a}")).collect();
            write!(f, " {{{}}}", inner.join(", "))?;
        }
        write!(f, " : {}", self.ty)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {} {{", self.name)?;
        for (k, node) in self.nodes.iter().enumerate() {
            writeln!(f, "  %{k} = {node}")?;
        }
        for output in &self.outputs {
            writeln!(f, "  return {} = {}", output.name, output.value)?;
        }
        writeln!(f, "}}")
    }
}

/// Longest list an attribute may expand to, and the numbers that all lists of a short text may have together.
const LONGEST_LIST: usize = 1 << 24;
/// Numbers that every byte of a text adds to what its lists may have together.
const NUMBERS_PER_BYTE: usize = 64;

/// What the lists of a text may still expand to. Runs such as `[0..16777216]` are short texts of long lists: without a common bound a kilobyte of them would fill any memory.
pub(crate) struct Allowance(Cell<usize>);

impl Allowance {
    pub(crate) fn of(text: &str) -> Allowance {
        Allowance(Cell::new(text.len().saturating_mul(NUMBERS_PER_BYTE).saturating_add(LONGEST_LIST)))
    }
}

/// Reader over one line.
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a str,
    pub(crate) line: usize,
    pub(crate) allowance: &'a Allowance,
}

impl<'a> Cursor<'a> {
    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        Err(TextError { line: self.line, message: message.into() })
    }

    pub(crate) fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    pub(crate) fn accept(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), TextError> {
        if self.accept(token) {
            Ok(())
        } else {
            let found: String = self.rest.chars().take(20).collect();
            self.error(format!("expected `{token}`, found `{found}`"))
        }
    }

    pub(crate) fn word(&mut self) -> Result<&'a str, TextError> {
        self.skip();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(self.rest.len());
        if end == 0 {
            let found: String = self.rest.chars().take(20).collect();
            return self.error(format!("expected a name, found `{found}`"));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word)
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self) -> Result<T, TextError> {
        self.skip();
        // A sign belongs to the number only at its start or after the `e` of an exponent: `0+128` is two numbers.
        let mut before = 'e';
        let ends = |c: char| {
            let sign = matches!(c, '-' | '+') && matches!(before, 'e' | 'E');
            before = c;
            !(c.is_alphanumeric() || c == '.' || sign)
        };
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        // `0..5` is a run, not a number with two points.
        let end = self.rest[..end].find("..").unwrap_or(end);
        let (word, rest) = self.rest.split_at(end);
        match word.parse() {
            Ok(x) => {
                self.rest = rest;
                Ok(x)
            }
            Err(_) => self.error(format!("expected a number, found `{word}`")),
        }
    }

    fn value(&mut self, limit: usize) -> Result<Value, TextError> {
        self.expect("%")?;
        let k: u32 = self.number()?;
        if (k as usize) < limit { Ok(Value(k)) } else { self.error(format!("%{k} is used before it is defined")) }
    }

    /// Room for as many more numbers of lists.
    fn spend(&self, count: usize) -> Result<(), TextError> {
        match self.allowance.0.get().checked_sub(count) {
            Some(left) => {
                self.allowance.0.set(left);
                Ok(())
            }
            None => self.error(format!("the lists of this text have too many numbers: {count} more, expected at most {}", self.allowance.0.get())),
        }
    }

    fn list(&mut self) -> Result<Vec<i64>, TextError> {
        let mut out = Vec::new();
        loop {
            if self.accept("]") {
                return Ok(out);
            }
            let first: i64 = self.number()?;
            if self.accept("..") {
                let end: i64 = self.number()?;
                let step: i64 = if self.accept("/") { self.number()? } else { 1 };
                let distance = i128::from(end) - i128::from(first);
                if step == 0
                    || distance * i128::from(step.signum()) < 0
                    || distance.unsigned_abs() / u128::from(step.unsigned_abs()) > LONGEST_LIST as u128
                {
                    return self.error(format!("run {first}..{end} in steps of {step} is empty or too long"));
                }
                let count = distance.unsigned_abs().div_ceil(u128::from(step.unsigned_abs())) as i64;
                self.spend(count as usize)?;
                out.extend((0..count).map(|k| first + k * step));
            } else if self.accept("*") {
                let count: usize = self.number()?;
                if count > LONGEST_LIST {
                    return self.error(format!("repetition of {count} is too long"));
                }
                self.spend(count)?;
                out.extend(std::iter::repeat_n(first, count));
            } else {
                out.push(first);
            }
            if out.len() > LONGEST_LIST {
                return self.error("list is too long");
            }
            if !self.accept(",") {
                self.expect("]")?;
                return Ok(out);
            }
        }
    }

    /// A text in double quotes with Rust's escapes.
    pub(crate) fn quoted(&mut self) -> Result<String, TextError> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((k, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[k + 1..];
                    return Ok(out);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('u') => {
                        let hex: String = chars.by_ref().map(|(_, c)| c).skip_while(|c| *c == '{').take_while(|c| *c != '}').collect();
                        match u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32) {
                            Some(c) => out.push(c),
                            None => return self.error(format!("`\\u{{{hex}}}` is no character")),
                        }
                    }
                    Some('0') => out.push('\0'),
                    Some(c) => out.push(c),
                    None => break,
                },
                c => out.push(c),
            }
        }
        self.error("a quoted text does not end")
    }

    /// One attribute value.
    pub(crate) fn bare_attribute(&mut self) -> Result<Attribute, TextError> {
        self.attribute()
    }

    fn attribute(&mut self) -> Result<Attribute, TextError> {
        if self.accept("[") {
            self.skip();
            if !self.rest.starts_with('[') {
                return Ok(Attribute::List(self.list()?));
            }
            let mut lists = Vec::new();
            while self.accept("[") {
                lists.push(self.list()?);
                if !self.accept(",") {
                    break;
                }
            }
            self.expect("]")?;
            return Ok(Attribute::Lists(lists));
        }
        self.skip();
        if self.rest.starts_with('"') {
            return Ok(Attribute::Text(self.quoted()?));
        }
        let end = self.rest.find([',', '}', ' ', ')', ';']).unwrap_or(self.rest.len());
        if let Ok(k) = self.rest[..end].parse::<i64>() {
            self.rest = &self.rest[end..];
            return Ok(Attribute::Integer(k));
        }
        Ok(Attribute::Number(self.number()?))
    }

    pub(crate) fn ty(&mut self) -> Result<Type, TextError> {
        self.expect("[")?;
        let axes = self.list()?;
        if axes.iter().any(|n| *n < 1 || *n > crate::ops::LARGEST_ATTRIBUTE) {
            return self.error("an axis must be from 1 to 2^31");
        }
        let name = self.word()?;
        let sizes: Vec<usize> = if self.accept("(") {
            let mut sizes = vec![self.number()?];
            while self.accept(",") {
                sizes.push(self.number()?);
            }
            self.expect(")")?;
            sizes
        } else {
            vec![]
        };
        if sizes.iter().any(|n| *n < 1 || *n > 1 << 20) {
            return self.error("a bandlimit or size must be from 1 to 2^20");
        }
        let space = match (name, sizes.as_slice()) {
            ("point", []) => Space::Point,
            ("half", [L]) => Space::Half { L: *L },
            ("full", [L]) => Space::Full { L: *L },
            ("grid", [L]) => Space::Grid { L: *L },
            ("coefficients", [L]) => Space::Coefficients { L: *L },
            ("rings", [L, M]) => Space::Rings { L: *L, M: *M },
            ("map", [L]) => Space::Map { L: *L },
            ("image", [H, W]) => Space::Image { H: *H, W: *W },
            ("spectrum", [H, W]) => Space::Spectrum { H: *H, W: *W },
            ("pixels", [nside, n]) => Space::Pixels { nside: *nside, n: *n },
            ("real_spectrum", [H, W]) => Space::RealSpectrum { H: *H, W: *W },
            _ => return self.error(format!("expected a space such as `map(8)`, found `{name}` with {} sizes", sizes.len())),
        };
        let mut total: usize = space.len();
        for n in &axes {
            total = total.saturating_mul(*n as usize);
        }
        if total > 1 << 40 {
            return self.error(format!("a value of {total} numbers is too large"));
        }
        Ok(Type::new(axes.iter().map(|n| *n as usize).collect::<Vec<_>>(), space))
    }

    /// `{name=value, ..}`, possibly absent.
    pub(crate) fn attributes(&mut self) -> Result<Vec<(String, Attribute)>, TextError> {
        let mut out = Vec::new();
        if !self.accept("{") {
            return Ok(out);
        }
        while !self.accept("}") {
            let name = self.word()?.to_string();
            self.expect("=")?;
            out.push((name, self.attribute()?));
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(out)
    }
}

/// Reads a graph; lines starting with `;` are comments. Types are taken as written: run the verifier on graphs from elsewhere.
///
/// ```
/// use scatterc_ir::text::parse;
///
/// let text = "graph level {\n  %0 = input x : [] map(4)\n  %1 = mean(%0) {L=4} : [] point\n  return m = %1\n}\n";
/// assert_eq!(parse(text)?.to_string(), text);
/// # Ok::<(), scatterc_ir::text::TextError>(())
/// ```
pub fn parse(text: &str) -> Result<Graph, TextError> {
    let mut graph = Graph::default();
    let allowance = Allowance::of(text);
    let mut state = 0;
    for (k, line) in text.lines().enumerate() {
        let mut c = Cursor { rest: line, line: k + 1, allowance: &allowance };
        c.skip();
        if c.rest.is_empty() || c.rest.starts_with(';') {
            continue;
        }
        match state {
            0 => {
                c.expect("graph")?;
                graph.name = c.word()?.to_string();
                c.expect("{")?;
                state = 1;
            }
            1 if c.accept("}") => state = 2,
            1 if c.accept("return ") => {
                let name = c.word()?.to_string();
                c.expect("=")?;
                let value = c.value(graph.nodes.len())?;
                graph.outputs.push(Output { name, value });
            }
            1 => {
                c.expect("%")?;
                let id: usize = c.number()?;
                if id != graph.nodes.len() {
                    return c.error(format!("expected %{}, found %{id}", graph.nodes.len()));
                }
                c.expect("=")?;
                let node = parse_node(&mut c, graph.nodes.len())?;
                graph.nodes.push(node);
            }
            _ => return c.error("text after the closing brace"),
        }
        c.skip();
        if !c.rest.is_empty() && !c.rest.starts_with(';') {
            return c.error(format!("unexpected `{}`", c.rest));
        }
    }
    if state == 2 { Ok(graph) } else { Err(TextError { line: text.lines().count(), message: "the graph does not end with `}`".into() }) }
}

fn parse_node(c: &mut Cursor, limit: usize) -> Result<Node, TextError> {
    let name = c.word()?;
    if name == "input" || name == "parameter" {
        let input = c.word()?.to_string();
        c.expect(":")?;
        let op = if name == "input" { Op::Input(input) } else { Op::Parameter(input) };
        return Ok(Node { op, operands: vec![], ty: c.ty()? });
    }
    let adjoint = c.accept("^H");
    c.expect("(")?;
    let mut operands = Vec::new();
    while !c.accept(")") {
        operands.push(c.value(limit)?);
        if !c.accept(",") {
            c.expect(")")?;
            break;
        }
    }
    let op = if name == "map" {
        c.expect("{")?;
        c.expect("f=")?;
        let end = c.rest.find('}').unwrap_or(c.rest.len());
        let f = match scalar::parse(&c.rest[..end]) {
            Ok(f) => f,
            Err(message) => return c.error(message),
        };
        c.rest = &c.rest[end..];
        c.expect("}")?;
        Op::Pointwise(f)
    } else {
        let given = c.attributes()?;
        if name == "constant" {
            match given.as_slice() {
                [(key, Attribute::Number(x))] if key == "value" => Op::Constant(*x),
                [(key, Attribute::Integer(k))] if key == "value" => Op::Constant(*k as f64),
                _ => return c.error("`constant` needs the attribute `value`"),
            }
        } else if name == "concat" {
            Op::Concat
        } else if let Some(row) = pointwise(name) {
            Op::Pointwise(row.expression.clone())
        } else {
            match Linear::from_attributes(name, &given) {
                Some(Ok(map)) => Op::Linear { map, adjoint },
                Some(Err(message)) => return c.error(message),
                None => return c.error(format!("`{name}` is no op")),
            }
        }
    };
    if adjoint && !matches!(op, Op::Linear { .. }) {
        return c.error(format!("`{name}` is not linear and has no adjoint"));
    }
    c.expect(":")?;
    Ok(Node { op, operands, ty: c.ty()? })
}
