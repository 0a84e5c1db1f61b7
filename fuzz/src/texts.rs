//! Readers of texts, which need the crate `ir` alone: whatever is given, they answer or refuse, and what they read they print and read again.

use scatterc_ir::{notation, plan, text, verify};
use std::fmt::Display;

fn utf8(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// What was read prints a text that is read again and prints the same.
fn reads_its_own_print<T: Display, E: Display>(what: &str, read: &T, parse: impl Fn(&str) -> Result<T, E>) {
    let printed = read.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("a printed {what} is not read: {error}\n{printed}"));
    assert_eq!(again.to_string(), printed, "a {what} read again prints something else");
}

/// The notation: parsed, checked, printed and read again. True where the text is a program.
pub fn notation(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(program) = notation::parse(source, "data") else { return false };
    reads_its_own_print("program", &program, |text| notation::parse(text, "data"));
    // Faults are an answer.
    let _ = notation::check(&program, &notation::Vocabulary::standard());
    true
}

/// Graph text. True where it is a graph.
pub fn graph(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(graph) = text::parse(source) else { return false };
    if verify::verify(&graph).is_ok() {
        reads_its_own_print("graph", &graph, text::parse);
    }
    true
}

/// Plan text. True where it is a plan.
pub fn plan(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(read) = plan::parse(source) else { return false };
    if plan::verify(&read).is_ok() {
        reads_its_own_print("plan", &read, plan::parse);
    }
    true
}
