//! The macro as a user writes it: real compiler tokens, evaluated at run time.

// The expansion names the facade crate, whose place this test takes.
extern crate self as scatterc;

/// What the facade re-exports.
pub use scatterc_ir as ir;
use scatterc_ir::notation::{Vocabulary, check, parse};
use scatterc_macros::scattering;

#[test]
fn macro_and_text_agree() {
    let program = scattering! {
        /// Scattering covariances of a field.
        ///
        /// With a normalisation.
        statistic covariance(x; delta = inf, P[j, g] = 1) {
            // Comments are for the reader.
            W[j, g]        = wavelet(x, j, g);
            N[i, h, j, g]  = wavelet(abs(W[i, h]), j, g)          where j < i, i - j <= delta;
            S1[j, g]       = mean(abs(W[j, g])) / sqrt(P[j, g]);
            S3[j, i, h, g] = -2^-3 * cov(W[j, g], N[i, h, j, g]);
            S3iso[j, i, d] = mean{g}(S3[j, i, g + d, g]);
            return S1, S3;
            return isotropic: S1, S3 = S3iso;
        }

        loss l2(S, T) = mean(abs(S - T)^2);
    };
    let text = "
        // Scattering covariances of a field.
        //
        // With a normalisation.
        statistic covariance(x; delta = inf, P[j, g] = 1) {
            W[j, g]        = wavelet(x, j, g);
            N[i, h, j, g]  = wavelet(abs(W[i, h]), j, g)          where j < i, i - j <= delta;
            S1[j, g]       = mean(abs(W[j, g])) / sqrt(P[j, g]);
            S3[j, i, h, g] = -2^-3 * cov(W[j, g], N[i, h, j, g]);
            S3iso[j, i, d] = mean{g}(S3[j, i, g + d, g]);
            return S1, S3;
            return isotropic: S1, S3 = S3iso;
        }

        loss l2(S, T) = mean(abs(S - T)^2);
    ";
    assert_eq!(Ok(&program), parse(text, "text").as_ref());
    assert!(check(&program, &Vocabulary::standard()).is_ok());
}

#[test]
fn a_captured_expression_is_transparent() {
    // Tokens that another macro passes on arrive in invisible groups.
    macro_rules! power {
        ($name:ident, $exponent:literal) => {
            scattering! { statistic power(x) { $name = mean(abs(x)^$exponent); return $name; } }
        };
    }
    let expected = parse("statistic power(x) { M3 = mean(abs(x)^3); return M3; }", "text");
    assert_eq!(Ok(power!(M3, 3)), expected);
}
