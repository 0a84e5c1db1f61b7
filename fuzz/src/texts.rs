//! Readers of texts, which need the crate `ir` alone: whatever is given, they answer or refuse, and what they read they print and read again.

use scatterc_ir::{notation, plan, text, verify};

fn utf8(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The notation: parsed, checked, printed and read again. True where the text is a program.
pub fn notation(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(program) = notation::parse(source, "data") else { return false };
    let printed = program.to_string();
    let again = notation::parse(&printed, "data").unwrap_or_else(|error| panic!("a printed program is not read: {error}\n{printed}"));
    assert_eq!(again.to_string(), printed, "a program read again prints something else");
    // Faults are an answer.
    let _ = notation::check(&program, &notation::Vocabulary::standard());
    true
}

/// Graph text. True where it is a graph.
pub fn graph(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(graph) = text::parse(source) else { return false };
    if verify::verify(&graph).is_ok() {
        let printed = graph.to_string();
        let again = text::parse(&printed).unwrap_or_else(|error| panic!("a printed graph is not read: {error}\n{printed}"));
        assert_eq!(again.to_string(), printed, "a graph read again prints something else");
    }
    true
}

/// Plan text. True where it is a plan.
pub fn plan(data: &[u8]) -> bool {
    let Some(source) = utf8(data) else { return false };
    let Ok(read) = plan::parse(source) else { return false };
    if plan::verify(&read).is_ok() {
        let printed = read.to_string();
        let again = plan::parse(&printed).unwrap_or_else(|error| panic!("a printed plan is not read: {error}\n{printed}"));
        assert_eq!(again.to_string(), printed, "a plan read again prints something else");
    }
    true
}
