//! Tokens to an expression, or to errors at the tokens that are wrong.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use scatterc_ir::notation::{NotationError, Vocabulary, check, parse_tokens};

/// The expression that stands for the program, or a block of `compile_error!`s.
pub(crate) fn expand(tokens: TokenStream) -> TokenStream {
    let parsed = parse_tokens(tokens);
    let program = match parsed.program {
        Ok(program) => program,
        Err(error) => return report(&[error], &parsed.tokens),
    };
    match check(&program, &Vocabulary::standard()) {
        Ok(_) => {
            let text = program.to_string();
            quote! { ::scatterc::ir::notation::parse_checked(#text) }
        }
        Err(errors) => report(&errors, &parsed.tokens),
    }
}

/// One `compile_error!` per fault, each at its token. The block keeps several of them one expression, and its
/// value keeps the compiler from warning about what surrounds it.
fn report(errors: &[NotationError], tokens: &[Span]) -> TokenStream {
    let errors = errors.iter().map(|error| {
        // A text that ends before its first token has no token to point at.
        let span = tokens.get(error.span.token as usize).copied().unwrap_or_else(Span::call_site);
        syn::Error::new(span, error.text()).into_compile_error()
    });
    quote! { { #(#errors)* ::scatterc::ir::notation::Program::default() } }
}

#[cfg(test)]
mod tests {
    use proc_macro2::{LineColumn, TokenTree};
    use scatterc_ir::notation::{check_source, parse};

    use super::*;

    /// The literals of an expansion with the places of the macros around them, in order.
    fn literals(tokens: TokenStream, found: &mut Vec<(String, LineColumn)>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => literals(group.stream(), found),
                TokenTree::Literal(literal) => {
                    let text = syn::parse2::<syn::LitStr>(TokenTree::Literal(literal.clone()).into());
                    found.push((text.expect("expansions hold strings only").value(), literal.span().start()));
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    fn expanded(source: &str) -> (String, Vec<(String, LineColumn)>) {
        let expansion = expand(source.parse().expect("the source has tokens"));
        let mut found = Vec::new();
        literals(expansion.clone(), &mut found);
        (expansion.to_string(), found)
    }

    /// Every fault of the macro has the words and the place that a file with the same text has.
    #[test]
    fn faults_are_those_of_a_file() {
        let sources = [
            "statistic s2(x) {\n    W[j, g] = wavlet(x, j, g);\n    return W;\n}",
            "statistic s(x) {\n    A = mean(x)\n    return A;\n}",
            "statistic s(x) {\n    A = mean(xx);\n    B = mean(y);\n    return C;\n}",
            "statistic s(x) { W[j, g] = wavelet(x, j, g); S[j] = mean(W[j, j]); return S; }",
            "statistic s(x)",
            "loss l(S, T) = abs(S - T);",
            "loss l(S) = 1;",
            "2",
        ];
        for source in sources {
            let (text, found) = expanded(source);
            assert!(text.contains("compile_error"), "{source}: {text}");
            let errors = check_source(source, "", &Vocabulary::standard()).expect_err("every source has a fault").errors;
            assert_eq!(found.len(), errors.len(), "{source}");
            for ((words, place), error) in found.iter().zip(&errors) {
                assert_eq!(*words, error.text(), "{source}");
                assert_eq!((place.line, place.column + 1), (error.span.line as usize, error.span.column as usize));
            }
        }
    }

    #[test]
    fn expansion_embeds_canonical_text() {
        let source = "/// Means.\nstatistic s(x){A=mean(x)^2;return A;}";
        let (text, found) = expanded(source);
        assert!(text.starts_with(":: scatterc :: ir :: notation :: parse_checked ("), "{text}");
        let [(embedded, _)] = found.as_slice() else { panic!("one string: {found:?}") };
        assert_eq!(embedded, "// Means.\nstatistic s(x) {\n    A = mean(x)^2;\n    return A;\n}\n");
        assert_eq!(parse(embedded, "embedded"), parse(source, "source"));
    }

    #[test]
    fn text_without_tokens_is_an_empty_program() {
        let (text, found) = expanded("");
        assert!(text.contains("parse_checked"), "{text}");
        assert_eq!(found[0].0, "");
    }
}
