//! The `scattering! { .. }` notation of scatterc.
//!
//! ```text
//! tokens --notation::parse_tokens--> Program --notation::check--> Checked
//!                                       |                            |
//!                              canonical text, embedded     faults: `compile_error!` at the token
//! ```
//!
//! Grammar, parser and checks are those of `scatterc_ir::notation`, so the macro and a `.scat` file report the same words.
//! The macro adds no meaning of its own: all that it does is in `expand`.

mod expand;

/// Declares statistics and losses; gives a `scatterc::ir::notation::Program`.
///
/// The text is parsed and checked when the crate is compiled; a fault is an error at its token. `///` comments in front of
/// an item become its documentation (the compiler drops `//` comments before a macro sees them).
///
/// ```standalone_crate
/// # // The expansion names the crate `scatterc`, which exports this macro and the notation.
/// # extern crate self as scatterc;
/// # pub use scatterc_ir as ir;
/// # pub use scatterc_macros::scattering;
/// # fn main() {
/// let program = scatterc::scattering! {
///     /// Mean moduli of wavelet coefficients.
///     statistic first(x) {
///         W[j, g]  = wavelet(x, j, g);
///         S1[j, g] = mean(abs(W[j, g]));
///         return S1;
///     }
/// };
/// assert_eq!(program.statistics().next().map(|s| s.docs.as_str()), Some("Mean moduli of wavelet coefficients."));
/// # }
/// ```
#[proc_macro]
pub fn scattering(tokens: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand::expand(tokens.into()).into()
}
