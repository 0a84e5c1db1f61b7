//! The parser: tokens to tree. It looks at most one token ahead and stops at the first fault.

use proc_macro2::{Delimiter, Literal, Spacing, TokenStream, TokenTree};
use syn::buffer::{Cursor, TokenBuffer};

use super::error::NotationErrorKind::{Limit, Syntax};
use super::print::NEGATE_PRECEDENCE;
use super::{
    BinaryOperator, Comparison, Condition, Definition, Expr, ExprKind, Filter, Ident, IndexExpr, Item, Loss, MAXIMUM_DEPTH, MAXIMUM_INDEX_NUMBER,
    MAXIMUM_INDICES, MAXIMUM_NAME_LENGTH, MAXIMUM_SOURCE_BYTES, NotationError, Output, Parameter, Program, Return, Span, Statistic,
};

type Result<T> = std::result::Result<T, NotationError>;

/// Words that cannot be names.
const RESERVED: &[&str] = &["return", "where", "inf", "pi", "_"];

/// Longest token that a message quotes, in characters.
const MAXIMUM_QUOTED: usize = 40;

/// Stack of the parsing thread: several times what [`MAXIMUM_DEPTH`] levels need without optimisation.
const STACK_BYTES: usize = 8 << 20;

/// What the macro gets: the program or its first fault, and the tokens that spans refer to.
///
/// ```
/// use scatterc_ir::notation::{ParsedTokens, parse_tokens};
///
/// let ParsedTokens { program, tokens } = parse_tokens("loss l1(S, T) = mean(abs(S - T));".parse().expect("tokens"));
/// let name = &program?.losses().next().unwrap().name.clone();
/// assert_eq!(tokens[name.span.token as usize].source_text().as_deref(), Some("l1"));
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
#[derive(Debug)]
pub struct ParsedTokens {
    /// The program.
    pub program: Result<Program>,
    /// [`Span::token`] is a place in this table.
    pub tokens: Vec<proc_macro2::Span>,
}

/// Parses the text of a `.scat` file; `origin` (its path or name) goes into the error.
///
/// `//` comments directly in front of an item become its documentation. Names are not checked: see [`super::check`].
///
/// ```
/// use scatterc_ir::notation::parse;
///
/// let program = parse("// The distance.\nloss l1(S, T) = mean(abs(S - T));", "l1.scat")?;
/// assert_eq!(program.losses().next().unwrap().docs, "The distance.");
/// assert!(parse("loss l1(S) = S;", "l1.scat").is_err());
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
pub fn parse(source: &str, origin: &str) -> Result<Program> {
    bounded(source, origin, parse_here)
}

/// Parses what may stand behind `where`: conditions separated by commas, such as `j < i, i - j <= 2`.
///
/// ```
/// use scatterc_ir::notation::parse_conditions;
///
/// let conditions = parse_conditions("j < i, i-j<=2", "where")?;
/// assert_eq!(conditions.iter().map(|c| c.to_string()).collect::<Vec<_>>(), ["j < i", "i - j <= 2"]);
/// # Ok::<(), scatterc_ir::notation::NotationError>(())
/// ```
pub fn parse_conditions(source: &str, origin: &str) -> Result<Vec<Condition>> {
    bounded(source, origin, conditions_here)
}

/// Parses a text of bounded length.
fn bounded<T: Send>(source: &str, origin: &str, read: fn(&str) -> Result<T>) -> Result<T> {
    let parsed = if source.len() > MAXIMUM_SOURCE_BYTES {
        let message = format!("the text has {} bytes; at most {MAXIMUM_SOURCE_BYTES} are accepted", source.len());
        Err(NotationError::new(Limit, Span::default(), message))
    } else {
        on_thread(source, read)
    };
    parsed.map_err(|error| NotationError { origin: origin.to_owned(), ..error })
}

/// The program of a text that the macro has parsed and checked at compile time.
///
/// # Panics
///
/// When the text does not parse, which breaks the promise of the macro: use [`parse`] for any other text.
///
/// ```
/// assert_eq!(scatterc_ir::notation::parse_checked("loss l1(S, T) = mean(abs(S - T));").items.len(), 1);
/// ```
pub fn parse_checked(text: &str) -> Program {
    parse(text, "scattering!").expect("the macro embeds canonical text, which parses")
}

/// Parses tokens, as the macro receives them.
///
/// ```
/// use scatterc_ir::notation::parse_tokens;
///
/// assert!(parse_tokens("loss l1(S, T) = mean(abs(S - T));".parse().expect("tokens")).program.is_ok());
/// assert!(parse_tokens("loss l1(S, T)".parse().expect("tokens")).program.is_err());
/// ```
pub fn parse_tokens(tokens: TokenStream) -> ParsedTokens {
    let mut parser = Parser::default();
    let program = parser.tokens(tokens);
    ParsedTokens { program, tokens: parser.tokens }
}

/// Parses on a thread of its own.
///
/// proc_macro2 keeps every text it has ever tokenised, per thread and until the thread ends. The thread bounds that memory to one text.
fn on_thread<T: Send>(source: &str, read: fn(&str) -> Result<T>) -> Result<T> {
    let parsed = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("notation".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || read(source));
        // Where no thread can be had, the memory matters less than the answer.
        thread.ok().and_then(|thread| thread.join().ok())
    });
    parsed.unwrap_or_else(|| read(source))
}

fn conditions_here(source: &str) -> Result<Vec<Condition>> {
    let tokens: TokenStream = source.parse().map_err(|error| lexical_error(source, &error))?;
    let mut parser = Parser::default();
    parser.bound_nesting(&tokens)?;
    let buffer = TokenBuffer::new2(tokens);
    let mut s = Stream { cursor: buffer.begin(), close: None };
    let conditions = parser.conditions(&mut s)?;
    parser.end(&s, "`,` or an operator")?;
    Ok(conditions)
}

fn parse_here(source: &str) -> Result<Program> {
    let tokens: TokenStream = source.parse().map_err(|error| lexical_error(source, &error))?;
    let mut parser = Parser::default();
    let mut program = parser.tokens(tokens)?;
    let lines: Vec<&str> = source.lines().collect();
    for (item, start) in program.items.iter_mut().zip(&parser.starts) {
        let docs = match item {
            Item::Statistic(statistic) => &mut statistic.docs,
            Item::Loss(loss) => &mut loss.docs,
            Item::Filter(filter) => &mut filter.docs,
        };
        if docs.is_empty() {
            *docs = comment_above(&lines, *start);
        }
    }
    Ok(program)
}

/// The fault of a text that does not split into tokens. proc_macro2 points at the bracket or character.
fn lexical_error(source: &str, error: &proc_macro2::LexError) -> NotationError {
    let start = error.span().start();
    let at = source.lines().nth(start.line.saturating_sub(1)).and_then(|line| line.chars().nth(start.column));
    let (line, column) = (start.line as u32, start.column as u32 + 1);
    let span = Span { line, column, end_line: line, end_column: column + 1, token: 0 };
    let message = match at {
        Some(open @ ('(' | '[' | '{')) => format!("`{open}` is never closed"),
        Some(close @ (')' | ']' | '}')) => format!("`{close}` closes no bracket that is open here"),
        Some('"') => "a string is never closed".to_owned(),
        Some('/') => "a comment is never closed".to_owned(),
        Some(other) => format!("`{other}` starts no word of the notation"),
        None => "the text ends inside a comment or a string".to_owned(),
    };
    NotationError::new(Syntax, span, message)
}

/// The lines of the `//` comment that ends just above an item, when the item starts its line.
fn comment_above(lines: &[&str], start: Span) -> String {
    let line = (start.line as usize).saturating_sub(1);
    let indent = (start.column as usize).saturating_sub(1);
    if !lines.get(line).is_some_and(|text| text.chars().take(indent).all(char::is_whitespace)) {
        return String::new();
    }
    let block = lines[..line].iter().rev().map_while(|text| text.trim_start().strip_prefix("//"));
    // `///` and `//!` arrive as attributes.
    let mut docs: Vec<&str> = block.take_while(|text| !text.starts_with(['/', '!'])).map(comment_line).collect();
    docs.reverse();
    docs.join("\n")
}

/// A comment line without the space after its mark and without trailing space.
fn comment_line(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text).trim_end()
}

/// The rest of a bracketed group, or of the whole text.
#[derive(Clone, Copy)]
struct Stream<'a> {
    cursor: Cursor<'a>,
    /// The bracket that ends the group and its place; none for the whole text.
    close: Option<(char, proc_macro2::Span)>,
}

#[derive(Default)]
struct Parser {
    /// Spans of the tokens that nodes and errors refer to.
    tokens: Vec<proc_macro2::Span>,
    /// Where each item starts.
    starts: Vec<Span>,
    /// The last token read, where an error at the end of the text is shown.
    last: Span,
    /// Levels of expressions around the current token.
    depth: u32,
}

impl Parser {
    fn tokens(&mut self, tokens: TokenStream) -> Result<Program> {
        self.bound_nesting(&tokens)?;
        let buffer = TokenBuffer::new2(tokens);
        self.program(&mut Stream { cursor: buffer.begin(), close: None })
    }

    /// Refuses brackets nested so deeply that recursion over them could exhaust the stack; itself it does not recurse.
    fn bound_nesting(&mut self, tokens: &TokenStream) -> Result<()> {
        let mut open = vec![tokens.clone().into_iter()];
        while let Some(innermost) = open.last_mut() {
            match innermost.next() {
                Some(TokenTree::Group(group)) => {
                    if open.len() > MAXIMUM_DEPTH as usize {
                        let span = self.mark(group.span_open());
                        return Err(too_deep(span));
                    }
                    open.push(group.stream().into_iter());
                }
                Some(_) => {}
                None => {
                    open.pop();
                }
            }
        }
        Ok(())
    }

    /// Enters a token in the table and gives its place.
    fn mark(&mut self, span: proc_macro2::Span) -> Span {
        let (start, end) = (span.start(), span.end());
        let token = self.tokens.len() as u32;
        self.tokens.push(span);
        Span { line: start.line as u32, column: start.column as u32 + 1, end_line: end.line as u32, end_column: end.column as u32 + 1, token }
    }

    /// The next token as a message quotes it, and its place.
    fn found(&mut self, s: &Stream) -> (String, Span) {
        if s.cursor.eof() {
            return match s.close {
                Some((close, span)) => (format!("`{close}`"), self.mark(span)),
                None => ("the end of the text".to_owned(), self.last),
            };
        }
        if let Some((_, delimiter, span, _)) = s.cursor.any_group() {
            let place = self.mark(span.open());
            return match delimiter {
                Delimiter::Parenthesis => ("`(`".to_owned(), place),
                Delimiter::Bracket => ("`[`".to_owned(), place),
                Delimiter::Brace => ("`{`".to_owned(), place),
                Delimiter::None => ("a group".to_owned(), place),
            };
        }
        let place = self.mark(s.cursor.span());
        let text = s.cursor.token_tree().map(|(token, _)| token.to_string()).unwrap_or_default();
        let mut quoted: String = text.chars().take(MAXIMUM_QUOTED).collect();
        if quoted.len() < text.len() {
            quoted.push_str("...");
        }
        // A string may hold line ends; the message is one line.
        (format!("`{}`", quoted.replace(['\n', '\r'], " ")), place)
    }

    fn expected(&mut self, s: &Stream, what: &str) -> NotationError {
        let (found, span) = self.found(s);
        NotationError::new(Syntax, span, format!("expected {what}, found {found}"))
    }

    fn at(&self, s: &Stream, character: char) -> bool {
        s.cursor.punct().is_some_and(|(punct, _)| punct.as_char() == character)
    }

    /// Reads the punctuation if it is next.
    fn take(&mut self, s: &mut Stream, character: char) -> Option<Span> {
        let (punct, rest) = s.cursor.punct().filter(|(punct, _)| punct.as_char() == character)?;
        s.cursor = rest;
        self.last = self.mark(punct.span());
        Some(self.last)
    }

    fn punct(&mut self, s: &mut Stream, character: char, what: &str) -> Result<Span> {
        match self.take(s, character) {
            Some(span) => Ok(span),
            None => Err(self.expected(s, what)),
        }
    }

    /// Reads the word if it is next.
    fn word(&mut self, s: &mut Stream, word: &str) -> Option<Span> {
        let (ident, rest) = s.cursor.ident().filter(|(ident, _)| ident == word)?;
        s.cursor = rest;
        self.last = self.mark(ident.span());
        Some(self.last)
    }

    fn name(&mut self, s: &mut Stream, what: &str) -> Result<Ident> {
        let Some((ident, rest)) = s.cursor.ident() else {
            return Err(self.expected(s, what));
        };
        let name = ident.to_string();
        let span = self.mark(ident.span());
        if RESERVED.contains(&name.as_str()) {
            return Err(NotationError::new(Syntax, span, format!("expected {what}, found the reserved word `{name}`")));
        }
        if name.starts_with("r#") {
            return Err(NotationError::new(Syntax, span, format!("`{name}` is not a name; names have no `r#`")));
        }
        let length = name.chars().count();
        if length > MAXIMUM_NAME_LENGTH {
            let message = format!("a name of {length} characters; at most {MAXIMUM_NAME_LENGTH} are accepted");
            return Err(NotationError::new(Limit, span, message));
        }
        s.cursor = rest;
        self.last = span;
        Ok(Ident { name, span })
    }

    /// Enters a bracketed group if it is next; gives what is inside and the place of the closing bracket.
    fn enter<'a>(&mut self, s: &mut Stream<'a>, delimiter: Delimiter) -> Option<(Stream<'a>, Span)> {
        let (inside, span, rest) = s.cursor.group(delimiter)?;
        s.cursor = rest;
        let close = match delimiter {
            Delimiter::Parenthesis => ')',
            Delimiter::Bracket => ']',
            Delimiter::Brace => '}',
            Delimiter::None => ' ',
        };
        self.last = self.mark(span.close());
        Some((Stream { cursor: inside, close: Some((close, span.close())) }, self.last))
    }

    fn group<'a>(&mut self, s: &mut Stream<'a>, delimiter: Delimiter, what: &str) -> Result<(Stream<'a>, Span)> {
        match self.enter(s, delimiter) {
            Some(entered) => Ok(entered),
            None => Err(self.expected(s, what)),
        }
    }

    /// Demands the end of a group.
    fn end(&mut self, s: &Stream, what: &str) -> Result<()> {
        if s.cursor.eof() { Ok(()) } else { Err(self.expected(s, what)) }
    }

    fn program(&mut self, s: &mut Stream) -> Result<Program> {
        let mut program = Program::default();
        loop {
            let docs = self.attributes(s)?;
            if s.cursor.eof() {
                return Ok(program);
            }
            if let Some(start) = self.word(s, "statistic") {
                self.starts.push(start);
                program.items.push(Item::Statistic(self.statistic(s, docs)?));
            } else if let Some(start) = self.word(s, "loss") {
                self.starts.push(start);
                program.items.push(Item::Loss(self.loss(s, docs)?));
            } else if let Some(start) = self.word(s, "filter") {
                self.starts.push(start);
                program.items.push(Item::Filter(self.filter(s, docs)?));
            } else {
                return Err(self.expected(s, "`statistic`, `loss` or `filter`"));
            }
        }
    }

    /// Reads `#[doc = ".."]` attributes, which is what `///` comments become, and drops `#![doc = ".."]`.
    fn attributes(&mut self, s: &mut Stream) -> Result<String> {
        let mut docs: Vec<String> = Vec::new();
        while self.take(s, '#').is_some() {
            let inner = self.take(s, '!').is_some();
            let what = "`[doc = \"..\"]`";
            let (mut inside, _) = self.group(s, Delimiter::Bracket, what)?;
            if self.word(&mut inside, "doc").is_none() {
                return Err(self.expected(&inside, "`doc`, the only attribute"));
            }
            self.punct(&mut inside, '=', "`=`")?;
            let text = inside.cursor.literal().and_then(|(literal, rest)| Some((string(literal)?, rest)));
            let Some((text, rest)) = text else {
                return Err(self.expected(&inside, "a string"));
            };
            inside.cursor = rest;
            self.end(&inside, "`]`")?;
            if !inner {
                // A block comment is one string of several lines.
                docs.extend(text.split('\n').map(|line| comment_line(line).to_owned()));
            }
        }
        Ok(docs.join("\n"))
    }

    fn statistic(&mut self, s: &mut Stream, docs: String) -> Result<Statistic> {
        let name = self.name(s, "the name of the statistic")?;
        let (mut inside, _) = self.group(s, Delimiter::Parenthesis, "`(` and the fields of the statistic")?;
        let mut fields = vec![self.name(&mut inside, "the name of a field")?];
        while self.take(&mut inside, ',').is_some() {
            fields.push(self.name(&mut inside, "the name of a field")?);
        }
        let mut parameters = Vec::new();
        if self.take(&mut inside, ';').is_some() {
            parameters.push(self.parameter(&mut inside)?);
            while self.take(&mut inside, ',').is_some() {
                parameters.push(self.parameter(&mut inside)?);
            }
            self.end(&inside, "`,`, `)` or an operator")?;
        }
        self.end(&inside, "`,`, `;` or `)`")?;
        let (mut body, _) = self.group(s, Delimiter::Brace, "`{` and the definitions")?;
        let (mut definitions, mut returns) = (Vec::new(), Vec::new());
        loop {
            // Comments on definitions are for the reader of the text alone.
            self.attributes(&mut body)?;
            if body.cursor.eof() {
                return Ok(Statistic { name, docs, fields, parameters, definitions, returns });
            }
            if self.word(&mut body, "return").is_some() {
                returns.push(self.outputs(&mut body)?);
            } else {
                definitions.push(self.definition(&mut body)?);
            }
        }
    }

    fn filter(&mut self, s: &mut Stream, docs: String) -> Result<Filter> {
        let name = self.name(s, "the name of the filter")?;
        let (mut body, _) = self.group(s, Delimiter::Brace, "`{` and the definitions")?;
        let mut definitions = Vec::new();
        loop {
            self.attributes(&mut body)?;
            if body.cursor.eof() {
                return Ok(Filter { name, docs, definitions });
            }
            let name = self.name(&mut body, "a definition or `}`")?;
            self.punct(&mut body, '=', "`=`")?;
            let value = self.whole_expression(&mut body)?;
            self.punct(&mut body, ';', "`;` or an operator")?;
            definitions.push(Definition { name, indices: Vec::new(), value, conditions: Vec::new() });
        }
    }

    fn parameter(&mut self, s: &mut Stream) -> Result<Parameter> {
        let name = self.name(s, "the name of a parameter")?;
        let indices = self.bracketed_names(s)?;
        let default = match self.take(s, '=') {
            Some(_) => Some(self.whole_expression(s)?),
            None => None,
        };
        Ok(Parameter { name, indices, default })
    }

    /// Reads `[a, b]` if it is next.
    fn bracketed_names(&mut self, s: &mut Stream) -> Result<Vec<Ident>> {
        match self.enter(s, Delimiter::Bracket) {
            Some((mut inside, _)) => self.index_names(&mut inside, "`,` or `]`"),
            None => Ok(Vec::new()),
        }
    }

    /// Reads the names of indices up to the end of their group.
    fn index_names(&mut self, s: &mut Stream, what: &str) -> Result<Vec<Ident>> {
        let mut names = vec![self.name(s, "the name of an index")?];
        while self.take(s, ',').is_some() {
            names.push(self.name(s, "the name of an index")?);
            self.bound_indices(names.len(), names[names.len() - 1].span)?;
        }
        self.end(s, what)?;
        Ok(names)
    }

    fn bound_indices(&self, count: usize, span: Span) -> Result<()> {
        if count <= MAXIMUM_INDICES {
            return Ok(());
        }
        Err(NotationError::new(Limit, span, format!("more than {MAXIMUM_INDICES} indices")))
    }

    fn definition(&mut self, s: &mut Stream) -> Result<Definition> {
        let name = self.name(s, "a definition, `return` or `}`")?;
        let indices = self.bracketed_names(s)?;
        self.punct(s, '=', if indices.is_empty() { "`[` or `=`" } else { "`=`" })?;
        let value = self.whole_expression(s)?;
        let mut conditions = Vec::new();
        if self.word(s, "where").is_some() {
            conditions = self.conditions(s)?;
            self.punct(s, ';', "`,`, `;` or an operator")?;
        } else {
            self.punct(s, ';', "`where`, `;` or an operator")?;
        }
        Ok(Definition { name, indices, value, conditions })
    }

    fn conditions(&mut self, s: &mut Stream) -> Result<Vec<Condition>> {
        let mut conditions = vec![self.condition(s)?];
        while self.take(s, ',').is_some() {
            conditions.push(self.condition(s)?);
        }
        if self.comparison(s).is_some() {
            let error = NotationError::new(Syntax, self.last, "a condition has one comparison");
            return Err(error.help("write `i < j, j < k` for a chain"));
        }
        Ok(conditions)
    }

    fn condition(&mut self, s: &mut Stream) -> Result<Condition> {
        let left = self.side(s)?;
        let Some(comparison) = self.comparison(s) else {
            return Err(self.expected(s, "a comparison like `<`"));
        };
        let right = self.side(s)?;
        Ok(Condition { left, comparison, right })
    }

    /// Reads a comparison if it is next.
    fn comparison(&mut self, s: &mut Stream) -> Option<Comparison> {
        let (first, rest) = s.cursor.punct()?;
        let joined = match first.spacing() {
            Spacing::Joint => rest.punct().filter(|(second, _)| second.as_char() == '='),
            Spacing::Alone => None,
        };
        let comparison = match (first.as_char(), joined.is_some()) {
            ('<', false) => Comparison::Less,
            ('<', true) => Comparison::LessOrEqual,
            ('>', false) => Comparison::Greater,
            ('>', true) => Comparison::GreaterOrEqual,
            ('=', true) => Comparison::Equal,
            ('!', true) => Comparison::NotEqual,
            _ => return None,
        };
        s.cursor = joined.map_or(rest, |(_, rest)| rest);
        self.last = self.mark(first.span());
        Some(comparison)
    }

    fn outputs(&mut self, s: &mut Stream) -> Result<Return> {
        let first = self.name(s, "the name of an output")?;
        let (variant, mut next) = match self.take(s, ':') {
            Some(_) => (Some(first), self.name(s, "the name of an output")?),
            None => (None, first),
        };
        let mut outputs = Vec::new();
        loop {
            let definition = match self.take(s, '=') {
                Some(_) => self.name(s, "the name of a definition")?,
                None => next.clone(),
            };
            outputs.push(Output { name: next, definition });
            if self.take(s, ',').is_none() {
                break;
            }
            next = self.name(s, "the name of an output")?;
        }
        self.punct(s, ';', "`,`, `=` or `;`")?;
        Ok(Return { variant, outputs })
    }

    fn loss(&mut self, s: &mut Stream, docs: String) -> Result<Loss> {
        let name = self.name(s, "the name of the loss")?;
        let (mut inside, _) = self.group(s, Delimiter::Parenthesis, "`(` and the arrays of the loss")?;
        let mut parameters = vec![self.name(&mut inside, "the name of an output")?];
        self.punct(&mut inside, ',', "`,` and the target of the loss")?;
        parameters.push(self.name(&mut inside, "the name of the target")?);
        while self.take(&mut inside, ',').is_some() {
            parameters.push(self.name(&mut inside, "the name of an array")?);
        }
        self.end(&inside, "`,` or `)`")?;
        self.punct(s, '=', "`=`")?;
        let value = self.whole_expression(s)?;
        self.punct(s, ';', "`;` or an operator")?;
        Ok(Loss { name, docs, parameters, value })
    }

    fn index(&mut self, s: &mut Stream) -> Result<IndexExpr> {
        let expression = self.whole_expression(s)?;
        expression.as_index().ok_or_else(|| {
            let message = format!("an index combines indices and whole numbers up to {MAXIMUM_INDEX_NUMBER}");
            NotationError::new(Syntax, expression.span, message).help("like `j`, `j + 1`, `g + d`, `2*g` or `0`")
        })
    }

    fn side(&mut self, s: &mut Stream) -> Result<IndexExpr> {
        let expression = self.whole_expression(s)?;
        expression.as_condition_side().ok_or_else(|| {
            let message = format!("an index combines indices and whole numbers up to {MAXIMUM_INDEX_NUMBER}");
            NotationError::new(Syntax, expression.span, message).help("like `j`, `j + 1`, `octave(n)`, `2*g` or `0`")
        })
    }

    fn whole_expression(&mut self, s: &mut Stream) -> Result<Expr> {
        Ok(self.expression(s, 1)?.0)
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, span: Span, read: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        if self.depth >= MAXIMUM_DEPTH {
            return Err(too_deep(span));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Reads an expression whose operators bind at least as tightly as `minimum`; gives it and the height of its tree.
    fn expression(&mut self, s: &mut Stream, minimum: u8) -> Result<(Expr, u32)> {
        let (mut left, mut height) = self.operand(s)?;
        loop {
            let next = s.cursor.punct().and_then(|(punct, _)| operator(punct.as_char()));
            let Some((operator, character)) = next.filter(|(operator, _)| operator.precedence() >= minimum) else {
                return Ok((left, height));
            };
            let place = self.punct(s, character, "an operator")?;
            if operator == BinaryOperator::Multiply && self.at(s, '*') {
                let message = "expected an expression, found a second `*`";
                return Err(NotationError::new(Syntax, place, message).help("a power is written `x^2`"));
            }
            let (right, right_height) = if operator == BinaryOperator::Power {
                self.deeper(place, |parser| parser.expression(s, NEGATE_PRECEDENCE))?
            } else {
                self.expression(s, operator.precedence() + 1)?
            };
            let span = left.span.to(right.span);
            height = grown(height.max(right_height), place)?;
            let kind = ExprKind::Binary { operator, left: Box::new(left), right: Box::new(right) };
            left = Expr { kind, span };
        }
    }

    fn operand(&mut self, s: &mut Stream) -> Result<(Expr, u32)> {
        if let Some(start) = self.take(s, '-') {
            let (operand, height) = self.deeper(start, |parser| parser.expression(s, NEGATE_PRECEDENCE))?;
            let span = start.to(operand.span);
            return Ok((Expr { kind: ExprKind::Negate(Box::new(operand)), span }, grown(height, start)?));
        }
        if let Some((literal, rest)) = s.cursor.literal() {
            let span = self.mark(literal.span());
            let value = self.number(s, &literal, span)?;
            s.cursor = rest;
            self.last = span;
            return Ok((Expr { kind: ExprKind::Number(value), span }, 1));
        }
        if let Some((mut inside, close)) = self.enter(s, Delimiter::Parenthesis) {
            let inner = self.deeper(close, |parser| parser.expression(&mut inside, 1))?;
            self.end(&inside, "`)` or an operator")?;
            self.last = close;
            return Ok(inner);
        }
        for (word, value) in [("inf", f64::INFINITY), ("pi", std::f64::consts::PI)] {
            if let Some(span) = self.word(s, word) {
                return Ok((Expr { kind: ExprKind::Number(value), span }, 1));
            }
        }
        let name = self.name(s, "an expression")?;
        self.named(s, name)
    }

    /// Reads what follows a name: the indices of an access, the arguments of a call, or a reduction.
    fn named(&mut self, s: &mut Stream, name: Ident) -> Result<(Expr, u32)> {
        let start = name.span;
        if let Some((mut inside, close)) = self.enter(s, Delimiter::Bracket) {
            let mut indices = Vec::new();
            self.deeper(start, |parser| {
                loop {
                    indices.push(parser.index(&mut inside)?);
                    parser.bound_indices(indices.len(), start)?;
                    if parser.take(&mut inside, ',').is_none() {
                        return parser.end(&inside, "`,`, `]` or an operator");
                    }
                }
            })?;
            self.last = close;
            return Ok((Expr { kind: ExprKind::Access { name, indices }, span: start.to(close) }, 1));
        }
        if let Some((mut inside, close)) = self.enter(s, Delimiter::Parenthesis) {
            let (mut arguments, mut height) = (Vec::new(), 0);
            self.deeper(start, |parser| {
                loop {
                    let (argument, argument_height) = parser.expression(&mut inside, 1)?;
                    arguments.push(argument);
                    height = height.max(argument_height);
                    if parser.take(&mut inside, ',').is_none() {
                        return parser.end(&inside, "`,`, `)` or an operator");
                    }
                }
            })?;
            self.last = close;
            let kind = ExprKind::Call { function: name, arguments };
            return Ok((Expr { kind, span: start.to(close) }, grown(height, start)?));
        }
        if let Some((mut inside, _)) = self.enter(s, Delimiter::Brace) {
            let indices = self.index_names(&mut inside, "`,` or `}`")?;
            let (mut inside, close) = self.group(s, Delimiter::Parenthesis, "`(` and what is reduced")?;
            let (argument, height) = self.deeper(start, |parser| parser.expression(&mut inside, 1))?;
            self.end(&inside, "`)` or an operator")?;
            self.last = close;
            let kind = ExprKind::Reduce { function: name, indices, argument: Box::new(argument) };
            return Ok((Expr { kind, span: start.to(close) }, grown(height, start)?));
        }
        Ok((Expr { kind: ExprKind::Name(name.name), span: start }, 1))
    }

    /// The value of a decimal number.
    fn number(&mut self, s: &Stream, literal: &Literal, span: Span) -> Result<f64> {
        let text = literal.to_string();
        if !text.starts_with(|character: char| character.is_ascii_digit()) {
            return Err(self.expected(s, "an expression"));
        }
        let digits = text.replace('_', "");
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) => Err(NotationError::new(Limit, span, format!("{} exceeds every f64", self.found(s).0)).help("infinity is written `inf`")),
            Err(_) => {
                let error = NotationError::new(Syntax, span, format!("{} is not a decimal number", self.found(s).0));
                let end = digits.find(|character: char| !character.is_ascii_digit() && character != '.');
                let (number, suffix) = digits.split_at(end.unwrap_or(digits.len()));
                if number == "0" || suffix.is_empty() || suffix.len() > MAXIMUM_QUOTED {
                    return Err(error);
                }
                Err(error.help(format!("a product is written `{number} * {suffix}`")))
            }
        }
    }
}

/// The operator of a character.
fn operator(character: char) -> Option<(BinaryOperator, char)> {
    let operator = match character {
        '+' => BinaryOperator::Add,
        '-' => BinaryOperator::Subtract,
        '*' => BinaryOperator::Multiply,
        '/' => BinaryOperator::Divide,
        '^' => BinaryOperator::Power,
        _ => return None,
    };
    Some((operator, character))
}

/// One more than the height of the operands, while that stays within bounds.
fn grown(height: u32, span: Span) -> Result<u32> {
    if height < MAXIMUM_DEPTH { Ok(height + 1) } else { Err(too_deep(span)) }
}

fn too_deep(span: Span) -> NotationError {
    let message = format!("the text is nested more than {MAXIMUM_DEPTH} levels deep");
    NotationError::new(Limit, span, message).help("name a part of it in a definition of its own")
}

/// The value of a string literal.
fn string(literal: Literal) -> Option<String> {
    let tokens = TokenStream::from(TokenTree::Literal(literal));
    syn::parse2::<syn::LitStr>(tokens).ok().map(|text| text.value())
}
