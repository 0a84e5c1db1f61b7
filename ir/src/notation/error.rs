//! What can be wrong with a text, and how it is shown.

use std::fmt::Write;

use super::Span;

/// Longest source line that [`NotationError::render`] shows in full, in characters.
const MAXIMUM_SHOWN: usize = 160;

/// The family of a fault.
///
/// ```
/// use scatterc_ir::notation::{NotationErrorKind, parse};
///
/// assert_eq!(parse("statistic (x) {}", "s.scat").unwrap_err().kind, NotationErrorKind::Syntax);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotationErrorKind {
    /// The text does not follow the grammar.
    Syntax,
    /// The text, its nesting, a name or a list is larger than the parser accepts.
    Limit,
    /// A name is unknown, taken, or used before it is defined.
    Name,
    /// Indices: unused, unbound, shadowed, of two kinds, or of an unknown kind.
    Index,
    /// A call or an access has the wrong number of arguments or indices.
    Arity,
    /// A field stands where a number is expected, or the other way round.
    Value,
    /// The returns of a statistic: missing, repeated, or of something that is no definition.
    Return,
    /// What the text alone does not tell: it does not fit the domain, the sizes or the values it is bound to.
    Domain,
}

/// One fault: what is wrong, where, and what would be right.
///
/// `Display` gives one line; [`NotationError::render`] shows the source with a caret.
///
/// ```
/// use scatterc_ir::notation::parse;
///
/// let fault = parse("statistic s(x) {\n    return;\n}", "s.scat").unwrap_err();
/// assert_eq!((fault.span.line, fault.span.column), (2, 11));
/// assert!(fault.to_string().starts_with("s.scat:2:11: "));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", self.line())]
#[non_exhaustive]
pub struct NotationError {
    /// Its family.
    pub kind: NotationErrorKind,
    /// What is wrong, naming what was expected and what was found.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What would be right.
    pub help: Option<String>,
    /// The file or the name of the text, where the parser was told; empty otherwise.
    pub origin: String,
}

impl NotationError {
    /// A fault at a place, without help.
    ///
    /// ```
    /// use scatterc_ir::notation::{NotationError, NotationErrorKind, Span};
    ///
    /// let fault = NotationError::new(NotationErrorKind::Domain, Span::default(), "no such scale");
    /// assert_eq!(fault.to_string(), "no such scale");
    /// ```
    pub fn new(kind: NotationErrorKind, span: Span, message: impl Into<String>) -> NotationError {
        NotationError { kind, message: message.into(), span, help: None, origin: String::new() }
    }

    /// The fault with what would be right.
    ///
    /// ```
    /// use scatterc_ir::notation::{NotationError, NotationErrorKind, Span};
    ///
    /// let fault = NotationError::new(NotationErrorKind::Name, Span::default(), "`wavlet` is not a function").help("did you mean `wavelet`?");
    /// assert_eq!(fault.text(), "`wavlet` is not a function; did you mean `wavelet`?");
    /// ```
    pub fn help(mut self, help: impl Into<String>) -> NotationError {
        self.help = Some(help.into());
        self
    }

    /// Message and help without the place, on one line; the macro reports these words.
    ///
    /// ```
    /// use scatterc_ir::notation::{NotationError, NotationErrorKind, Span};
    ///
    /// let span = Span { line: 3, column: 1, end_line: 3, end_column: 2, token: 0 };
    /// let fault = NotationError::new(NotationErrorKind::Name, span, "`x` is taken");
    /// assert_eq!((fault.text().as_str(), fault.to_string().as_str()), ("`x` is taken", "3:1: `x` is taken"));
    /// ```
    pub fn text(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }

    /// `origin:line:column: message; help`, leaving out what is unknown.
    fn line(&self) -> String {
        let mut line = String::new();
        if !self.origin.is_empty() {
            line = format!("{}:", self.origin);
        }
        if self.span.line > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}:{}:", self.span.line, self.span.column);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line + &self.text()
    }

    /// The fault with its source line and a caret under the token:
    ///
    /// ```text
    /// error: `wavlet` is not a function
    ///  --> s2.scat:3:12
    ///   |
    /// 3 |     W[j,g] = wavlet(x, j, g);
    ///   |              ^^^^^^ did you mean `wavelet`?
    /// ```
    ///
    /// `source` is the text that was parsed, `origin` its file or name. A long line is cut around the token.
    ///
    /// ```
    /// use scatterc_ir::notation::{NotationError, NotationErrorKind, Span};
    ///
    /// let span = Span { line: 1, column: 5, end_line: 1, end_column: 11, token: 0 };
    /// let fault = NotationError::new(NotationErrorKind::Name, span, "`wavlet` is not a function").help("did you mean `wavelet`?");
    /// let shown = "error: `wavlet` is not a function
    ///  --> s.scat:1:5
    ///   |
    /// 1 | W = wavlet(x);
    ///   |     ^^^^^^ did you mean `wavelet`?
    /// ";
    /// assert_eq!(fault.render("W = wavlet(x);", "s.scat"), shown);
    /// ```
    pub fn render(&self, source: &str, origin: &str) -> String {
        let Some(text) = (self.span.line as usize).checked_sub(1).and_then(|line| source.lines().nth(line)) else {
            return match &self.help {
                Some(help) => format!("error: {}\n --> {origin}\n  = {help}\n", self.message),
                None => format!("error: {}\n --> {origin}\n", self.message),
            };
        };
        let line = self.span.line.to_string();
        let gutter = " ".repeat(line.len());
        let characters: Vec<char> = text.chars().collect();
        let start = (self.span.column as usize).saturating_sub(1).min(characters.len());
        let end = if self.span.end_line > self.span.line { characters.len() } else { self.span.end_column as usize - 1 };
        let (mut from, mut to) = (0, characters.len());
        if characters.len() > MAXIMUM_SHOWN {
            from = start.saturating_sub(MAXIMUM_SHOWN / 2);
            to = (from + MAXIMUM_SHOWN).min(characters.len());
        }
        let width = end.min(to).saturating_sub(start).max(1);
        let mut shown = String::new();
        let mut pad = String::new();
        if from > 0 {
            shown.push_str("...");
            pad.push_str("   ");
        }
        shown.extend(&characters[from..to]);
        if to < characters.len() {
            shown.push_str("...");
        }
        // Tabs keep their width only if the caret line has them too.
        pad.extend(characters[from..start].iter().map(|&character| if character == '\t' { '\t' } else { ' ' }));
        let carets = "^".repeat(width);
        let help = self.help.as_ref().map(|help| format!(" {help}")).unwrap_or_default();
        format!(
            "error: {}\n{gutter}--> {origin}:{line}:{}\n{gutter} |\n{line} | {shown}\n{gutter} | {pad}{carets}{help}\n",
            self.message, self.span.column
        )
    }
}

/// All faults of a text, in order.
///
/// ```
/// use scatterc_ir::notation::{Vocabulary, check_source};
///
/// let text = "statistic s(x) {\n    m = mean(y);\n    return n;\n}";
/// let faults = check_source(text, "s.scat", &Vocabulary::standard()).unwrap_err();
/// assert_eq!(faults.errors.iter().map(|fault| fault.span.line).collect::<Vec<_>>(), [2, 3]);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct NotationErrors {
    /// The faults; at least one.
    pub errors: Vec<NotationError>,
}

impl NotationErrors {
    fn lines(&self) -> String {
        self.errors.iter().map(NotationError::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Every fault as [`NotationError::render`] shows it, separated by empty lines.
    ///
    /// ```
    /// use scatterc_ir::notation::{Vocabulary, check_source};
    ///
    /// let text = "statistic s(x) {\n    m = mean(y);\n    return n;\n}";
    /// let shown = check_source(text, "s.scat", &Vocabulary::standard()).unwrap_err().render(text, "s.scat");
    /// assert!(shown.contains(" --> s.scat:2:14\n") && shown.contains("\n\nerror: "));
    /// ```
    pub fn render(&self, source: &str, origin: &str) -> String {
        self.errors.iter().map(|error| error.render(source, origin)).collect::<Vec<_>>().join("\n")
    }
}
