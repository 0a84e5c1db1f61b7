//! The op table: one row per op, the single source of printer, parser, builder, verifier, notation vocabulary and law tests.
//!
//! A linear row gives spelling, attributes (each with a small sample value), and in [`Linear::signature`] its domain and range. A pointwise row gives spelling,
//! arity and its scalar expression. Numerics live elsewhere.

use crate::filter::Bank;
use crate::scalar::{self, Scalar};
use crate::types::{Space, scale_bandlimit};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// Value of an attribute in graph text.
///
/// ```
/// use scatterc_ir::ops::Attribute;
///
/// assert_eq!(Attribute::List(vec![0, 1, 2, 3, 4, 9, 9, 9, 9]).to_string(), "[0..5,9*4]");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Number(f64),
    /// A text in double quotes.
    Text(String),
    /// A list of whole numbers, printed with runs: `0..5` counts up, `9..1/-2` counts in steps, `3*5` repeats.
    List(Vec<i64>),
    /// A list of lists.
    Lists(Vec<Vec<i64>>),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Integer(k) => write!(f, "{k}"),
            Attribute::Number(x) => write!(f, "{x:?}"),
            Attribute::Text(text) => write!(f, "{text:?}"),
            Attribute::List(list) => write!(f, "[{}]", runs(list)),
            Attribute::Lists(lists) => {
                let inner: Vec<String> = lists.iter().map(|l| format!("[{}]", runs(l))).collect();
                write!(f, "[{}]", inner.join(", "))
            }
        }
    }
}

/// Compact text of a list: runs of four or more as `a..b` (b excluded) or `a..b/step`, repetitions of four or more as `a*n`.
fn runs(list: &[i64]) -> String {
    let mut parts = Vec::new();
    let mut k = 0;
    while k < list.len() {
        let same = list[k..].iter().take_while(|x| **x == list[k]).count();
        let step = list.get(k + 1).map_or(1, |next| next.wrapping_sub(list[k]));
        let run = list[k..].iter().enumerate().take_while(|(i, x)| **x == list[k].wrapping_add(step.wrapping_mul(*i as i64))).count();
        if same >= 4 {
            parts.push(format!("{}*{same}", list[k]));
            k += same;
        } else if run >= 4 {
            let end = list[k].wrapping_add(step.wrapping_mul(run as i64));
            parts.push(if step == 1 { format!("{}..{end}", list[k]) } else { format!("{}..{end}/{step}", list[k]) });
            k += run;
        } else {
            parts.push(list[k].to_string());
            k += 1;
        }
    }
    parts.join(",")
}

/// Rust type of an attribute and its conversions.
///
/// ```
/// use scatterc_ir::ops::{Attribute, AttributeValue};
///
/// assert_eq!(7usize.to_attribute(), Attribute::Integer(7));
/// assert_eq!(<Vec<usize>>::from_attribute(&Attribute::List(vec![1, 2])), Ok(vec![1, 2]));
/// assert!(usize::from_attribute(&Attribute::Integer(-1)).is_err());
/// ```
pub trait AttributeValue: Sized {
    /// To text form.
    ///
    /// ```
    /// use scatterc_ir::ops::{Attribute, AttributeValue};
    ///
    /// assert_eq!(0.5f64.to_attribute(), Attribute::Number(0.5));
    /// ```
    fn to_attribute(&self) -> Attribute;
    /// From text form; the error says what was expected.
    ///
    /// ```
    /// use scatterc_ir::ops::{Attribute, AttributeValue};
    ///
    /// assert_eq!(usize::from_attribute(&Attribute::Integer(4)), Ok(4));
    /// assert!(usize::from_attribute(&Attribute::Text("four".into())).is_err());
    /// ```
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str>;
    /// Feeds the value to a hash; equal bits give equal hashes.
    ///
    /// ```
    /// use scatterc_ir::ops::AttributeValue;
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let hash = |x: f64| {
    ///     let mut state = DefaultHasher::new();
    ///     x.digest(&mut state);
    ///     state.finish()
    /// };
    /// // Bits count: 0 and -0 are equal numbers, but different attributes.
    /// assert!(hash(0.5) == hash(0.5) && hash(0.0) != hash(-0.0));
    /// ```
    fn digest(&self, state: &mut impl Hasher);
}

/// Largest azimuthal bandlimit of a `frame_operator`.
///
/// ```
/// use scatterc_ir::{Linear, ops::LARGEST_FRAME};
///
/// let of = |N| Linear::FrameOperator { L_in: 16, L: 16, N, j: 2, L_out: 16 };
/// assert!(of(LARGEST_FRAME).signature().is_ok() && of(LARGEST_FRAME + 1).signature().is_err());
/// ```
pub const LARGEST_FRAME: usize = 8;

/// Bound of the whole numbers of attributes, which stay below it, so that no product of two sizes overflows.
///
/// ```
/// use scatterc_ir::ops::{Attribute, AttributeValue, LARGEST_ATTRIBUTE};
///
/// assert!(usize::from_attribute(&Attribute::Integer(LARGEST_ATTRIBUTE - 1)).is_ok());
/// assert!(usize::from_attribute(&Attribute::Integer(LARGEST_ATTRIBUTE)).is_err());
/// ```
pub const LARGEST_ATTRIBUTE: i64 = 1 << 31;

impl AttributeValue for usize {
    fn digest(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::Integer(*self as i64)
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        match attribute {
            Attribute::Integer(k) if (0..LARGEST_ATTRIBUTE).contains(k) => Ok(*k as usize),
            _ => Err("a whole number from 0 to 2^31 - 1"),
        }
    }
}

impl AttributeValue for f64 {
    fn digest(&self, state: &mut impl Hasher) {
        self.to_bits().hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::Number(*self)
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        match attribute {
            Attribute::Number(x) => Ok(*x),
            Attribute::Integer(k) => Ok(*k as f64),
            _ => Err("a number"),
        }
    }
}

impl AttributeValue for Bank {
    fn digest(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::Text(self.to_string())
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        match attribute {
            Attribute::Text(text) => {
                text.parse().map_err(|_| "the text of a filter bank, `bank(H=.., W=.., J=.., L=.., folded=.., real=..) filter ..`")
            }
            _ => Err("the text of a filter bank"),
        }
    }
}

impl AttributeValue for Vec<usize> {
    fn digest(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::List(self.iter().map(|k| *k as i64).collect())
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        match attribute {
            Attribute::List(list) if list.iter().all(|k| (0..LARGEST_ATTRIBUTE).contains(k)) => Ok(list.iter().map(|k| *k as usize).collect()),
            _ => Err("a list of whole numbers"),
        }
    }
}

/// A long list of indices, shared by its copies and known by its hash: passes copy and compare maps many times, and a list may have an entry per sample.
///
/// ```
/// use scatterc_ir::ops::Indices;
///
/// let list: Indices = (0..4).map(|k| 2 * k).collect();
/// assert_eq!((list[2], list.len(), list.largest()), (4, 4, Some(6)));
/// ```
#[derive(Clone)]
pub struct Indices {
    list: Arc<[usize]>,
    hash: u64,
    largest: Option<usize>,
}

impl Indices {
    /// The largest entry; `None` for an empty list.
    ///
    /// ```
    /// use scatterc_ir::ops::Indices;
    ///
    /// assert_eq!((Indices::from(vec![3, 1]).largest(), Indices::from(vec![]).largest()), (Some(3), None));
    /// ```
    pub fn largest(&self) -> Option<usize> {
        self.largest
    }
}

impl From<Vec<usize>> for Indices {
    fn from(list: Vec<usize>) -> Self {
        let mut state = DefaultHasher::new();
        list.hash(&mut state);
        Indices { largest: list.iter().max().copied(), hash: state.finish(), list: list.into() }
    }
}

impl FromIterator<usize> for Indices {
    fn from_iter<I: IntoIterator<Item = usize>>(list: I) -> Self {
        Indices::from(list.into_iter().collect::<Vec<usize>>())
    }
}

impl std::ops::Deref for Indices {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.list
    }
}

impl PartialEq for Indices {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.list, &other.list) || (self.hash == other.hash && self.list == other.list)
    }
}

impl fmt::Debug for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

impl AttributeValue for Indices {
    fn digest(&self, state: &mut impl Hasher) {
        self.hash.hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::List(self.iter().map(|k| *k as i64).collect())
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        Vec::<usize>::from_attribute(attribute).map(Indices::from)
    }
}

impl AttributeValue for Vec<Vec<i64>> {
    fn digest(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
    fn to_attribute(&self) -> Attribute {
        Attribute::Lists(self.clone())
    }
    fn from_attribute(attribute: &Attribute) -> Result<Self, &'static str> {
        match attribute {
            Attribute::Lists(lists) if lists.iter().flatten().all(|k| k.abs() < LARGEST_ATTRIBUTE) => Ok(lists.clone()),
            Attribute::List(list) if list.is_empty() => Ok(vec![]),
            _ => Err("a list of lists of whole numbers"),
        }
    }
}

/// Domain and range of a linear map: trailing axes and space; leading axes of the operand are carried along.
///
/// ```
/// use scatterc_ir::{Linear, Space, ops::Signature};
///
/// // Five directions from three channels, of anything.
/// let signature = Linear::Steer { N: 3 }.signature();
/// assert_eq!(signature, Ok(Signature { domain: (vec![3], Space::Any), range: (vec![5], Space::Any) }));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Trailing axes and space of the operand.
    pub domain: (Vec<usize>, Space),
    /// Trailing axes and space of the result.
    pub range: (Vec<usize>, Space),
}

macro_rules! linear_ops {
    ($($(#[doc = $doc:literal])+ $spelling:literal => $variant:ident { $($attribute:ident : $type:ty = $sample:expr),* };)+) => {
        /// A linear map; its adjoint is the same row with the flag set.
        ///
        /// ```
        /// use scatterc_ir::{Linear, Space, ops::Attribute};
        ///
        /// let map = Linear::RingForward { L: 4, M: 3 };
        /// assert_eq!((map.spelling(), map.attributes()), ("ring_forward", vec![("L", Attribute::Integer(4)), ("M", Attribute::Integer(3))]));
        /// assert_eq!(map.signature().map(|signature| signature.range), Ok((vec![], Space::Rings { L: 4, M: 3 })));
        /// ```
        // Brackets in the rows are axes, not links.
        #[allow(rustdoc::broken_intra_doc_links)]
        #[derive(Clone, Debug, PartialEq)]
        pub enum Linear { $($(#[doc = $doc])+ $variant { $(#[doc = "See the row."] $attribute: $type),* }),+ }

        impl Linear {
            /// Spelling of every row.
            ///
            /// ```
            /// assert!(scatterc_ir::Linear::SPELLINGS.contains(&"wigner_inverse"));
            /// ```
            pub const SPELLINGS: &'static [&'static str] = &[$($spelling),+];

            /// Spelling of this row.
            ///
            /// ```
            /// assert_eq!(scatterc_ir::Linear::RingMean { L: 4, M: 4 }.spelling(), "ring_mean");
            /// ```
            pub fn spelling(&self) -> &'static str {
                match self { $(Linear::$variant { .. } => $spelling),+ }
            }

            /// Names and values of the attributes, in the order of the row.
            ///
            /// ```
            /// use scatterc_ir::{Linear, ops::Attribute};
            ///
            /// assert_eq!(Linear::Mean { L: 4 }.attributes(), [("L", Attribute::Integer(4))]);
            /// ```
            pub fn attributes(&self) -> Vec<(&'static str, Attribute)> {
                match self { $(Linear::$variant { $($attribute),* } => vec![$((stringify!($attribute), $attribute.to_attribute())),*]),+ }
            }

            /// Feeds the row and its attributes to a hash; equal rows give equal hashes.
            ///
            /// ```
            /// use scatterc_ir::Linear;
            /// use std::hash::{DefaultHasher, Hasher};
            ///
            /// let hash = |map: Linear| {
            ///     let mut state = DefaultHasher::new();
            ///     map.digest(&mut state);
            ///     state.finish()
            /// };
            /// assert!(hash(Linear::Mean { L: 4 }) == hash(Linear::Mean { L: 4 }) && hash(Linear::Mean { L: 4 }) != hash(Linear::Mean { L: 5 }));
            /// ```
            pub fn digest(&self, state: &mut impl Hasher) {
                std::mem::discriminant(self).hash(state);
                match self { $(Linear::$variant { $($attribute),* } => { $($attribute.digest(state);)* }),+ }
            }

            /// Builds a row from its spelling and attributes; the error names the attribute, what was expected and what was found.
            ///
            /// ```
            /// use scatterc_ir::{Linear, ops::Attribute};
            ///
            /// let given = |value| vec![("L".to_string(), value)];
            /// assert_eq!(Linear::from_attributes("mean", &given(Attribute::Integer(4))), Some(Ok(Linear::Mean { L: 4 })));
            /// assert!(Linear::from_attributes("mean", &given(Attribute::Number(0.5))).is_some_and(|made| made.is_err()));
            /// assert!(Linear::from_attributes("median", &[]).is_none());
            /// ```
            pub fn from_attributes(spelling: &str, given: &[(String, Attribute)]) -> Option<Result<Linear, String>> {
                match spelling {
                    $($spelling => {
                        let known: &[&str] = &[$(stringify!($attribute)),*];
                        if let Some((name, _)) = given.iter().find(|(name, _)| !known.contains(&name.as_str())) {
                            return Some(Err(format!("`{}` has no attribute `{}`; it has {}", $spelling, name, known.join(", "))));
                        }
                        Some((|| Ok(Linear::$variant { $($attribute: {
                            let name = stringify!($attribute);
                            let found = given.iter().find(|(n, _)| n == name).map(|(_, a)| a)
                                .ok_or_else(|| format!("`{}` needs the attribute `{}`", $spelling, name))?;
                            <$type as AttributeValue>::from_attribute(found)
                                .map_err(|expected| format!("attribute `{}` of `{}`: expected {}, found {}", name, $spelling, expected, found))?
                        }),* }))())
                    })+
                    _ => None,
                }
            }

            /// One small instance of every row, for the law tests.
            ///
            /// ```
            /// use scatterc_ir::Linear;
            ///
            /// let samples = Linear::samples();
            /// assert_eq!(samples.len(), Linear::SPELLINGS.len());
            /// assert!(samples.iter().all(|map| map.signature().is_ok()));
            /// ```
            pub fn samples() -> Vec<Linear> {
                vec![$(Linear::$variant { $($attribute: $sample),* }),+]
            }

            /// Documentation of every row: spelling and text.
            ///
            /// ```
            /// use scatterc_ir::Linear;
            ///
            /// let (spelling, text) = &Linear::documentation()[0];
            /// assert!(*spelling == "hermitian_pack" && text.starts_with("half(L) -> coefficients(L)"));
            /// ```
            pub fn documentation() -> Vec<(&'static str, String)> {
                vec![$(($spelling, [$($doc),+].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "))),+]
            }
        }
    };
}

linear_ops! {
    /// half(L) -> coefficients(L): keeps l >= m of the half plane of a real field. C1: entries m > l are dropped.
    "hermitian_pack" => HermitianPack { L: usize = 5 };
    /// full(L) -> coefficients(L): coefficients of Re f, (f_lm + (-1)^m conj f_{l,-m}) / 2.
    "full_real" => FullReal { L: usize = 5 };
    /// full(L) -> coefficients(L): coefficients of Im f, (f_lm - (-1)^m conj f_{l,-m}) / 2i.
    "full_imaginary" => FullImaginary { L: usize = 5 };
    /// grid(L) -> map(L): samples as a user stores them, in the device's order.
    "grid_to_map" => GridToMap { L: usize = 5 };
    /// coefficients(L) -> [2] point: (Re, Im) of the sphere average f_00 / (2 sqrt pi).
    "coefficient_mean" => CoefficientMean { L: usize = 4 };
    /// half(L) -> point: sum over the *expanded* plane of the entries, (1/4pi) sum_{l, m>=0} (1 or 2 for m > 0) y_lm, both parts of each entry; (0,0) is left out when `skip_mean` is 1.
    "half_power" => HalfPower { L: usize = 4, skip_mean: usize = 1 };
    /// full(L) -> point: (1/4pi) sum of all entries, both parts; (0,0) is left out when `skip_mean` is 1.
    "full_power" => FullPower { L: usize = 4, skip_mean: usize = 1 };
    /// coefficients(L) -> point: (1/4pi) sum_{l, m>=0} (1 or 2 for m > 0) y_lm, both parts; (0,0) is left out when `skip_mean` is 1. With y = the squares of f_lm this is Parseval's sphere average of f^2.
    "coefficient_power" => CoefficientPower { L: usize = 4, skip_mean: usize = 0 };
    /// coefficients(L_in) -> [N] rings(L_j,L_j): directional wavelet psi^j of bandlimit L, the N real channels Re H_0 | Re H_n, Im H_n (n > 0 of the parity of N-1), H_n = sum_lm d^l_{mn} f_lm conj(psi_ln) e^{i m phi}.
    /// C1: only max(l0_j, |m|, |n|) <= l < min(L_j, L_in) is read. Source: S2SCAT specification, section 5.
    "wigner_inverse" => WignerInverse { L_in: usize = 8, L: usize = 8, N: usize = 3, j: usize = 2 };
    /// coefficients(L_in) -> rings(L,L): scalar synthesis f = sum_lm f_lm Y_lm on the Gauss-Legendre grid of bandlimit L.
    "harmonic_inverse" => HarmonicInverse { L_in: usize = 6, L: usize = 6 };
    /// coefficients(L_in) -> rings(L_j,L_j): low-pass by the scaling function phi_l of scale j (bandlimit L), sqrt(k_j(l)).
    "scaling_inverse" => ScalingInverse { L_in: usize = 8, L: usize = 8, j: usize = 1 };
    /// rings(L,M) -> coefficients(L_out): analysis a_lm = sqrt((2l+1)/4pi) sum_t q_t d^l_{m0}(theta_t) F_m(theta_t) with the quadrature q_t = 2pi w_t / (2L-1). C1: L_out <= L, M >= 1; orders m >= M count as zero.
    "harmonic_forward" => HarmonicForward { L: usize = 6, M: usize = 6, L_out: usize = 5 };
    /// rings(L,M) -> map(L): f(phi_p) = Re F_0 + 2 Re sum_{0<m<M} F_m e^{i m phi_p}, phi_p = 2 pi p / (2L-1).
    "ring_inverse" => RingInverse { L: usize = 6, M: usize = 6 };
    /// map(L) -> rings(L,M): F_m = sum_p f_p e^{-i m phi_p}, m < M; the imaginary part at m = 0 is zero.
    "ring_forward" => RingForward { L: usize = 6, M: usize = 4 };
    /// [N] -> [2N-1], any space: directions from channels, W_g = A | + 2 cos(n gamma_g) B_n - 2 sin(n gamma_g) C_n, gamma_g = 2 pi g / (2N-1).
    "steer" => Steer { N: usize = 3 };
    /// map(L) -> point: average over the sphere with quadrature weights w_t / (2 (2L-1)), which sum to 1.
    "mean" => Mean { L: usize = 5 };
    /// rings(L,M) -> point: average over the sphere of a product given as the product of half spectra (Parseval in phi), weights (w_t / 2) (2 - delta_m0); the imaginary part at m = 0 has weight 0.
    /// The reader must not add or average half spectra of one field with it: it is meant for products of two.
    "ring_mean" => RingMean { L: usize = 5, M: usize = 5 };
    /// coefficients(L) -> point: sum of all stored numbers, both parts. With y = the products of the stored numbers of two fields this is their inner product.
    "coefficient_sum" => CoefficientSum { L: usize = 4 };
    /// coefficients(L_in) -> [2N-1] coefficients(L_out): frame operator Q_g = W_g^H W_g of scale j (bandlimit L) for every direction g, W_g the steered `wigner_inverse` and ^H its adjoint under the sphere
    /// average of products: x . Q_g y = <W_g[x] W_g[y]>. Degrees from L_in or L_out on count as zero. Its adjoint is the same operator with L_in and L_out exchanged, summed over g.
    "frame_operator" => FrameOperator { L_in: usize = 8, L_out: usize = 7, L: usize = 8, N: usize = 3, j: usize = 2 };
    /// [from] -> [to], any space: y[o] = x[i(o)], where input index k is (sum_t map[k][t] o_t + map[k][last]) mod from[k]. Broadcast, permutation, diagonal, cyclic shift and selection in one; its adjoint sums.
    "reindex" => Reindex { from: Vec<usize> = vec![3, 4], to: Vec<usize> = vec![4, 2, 3], map: Vec<Vec<i64>> = vec![vec![1, 0, 1, 0], vec![1, 0, 0, 2]] };
    /// [from] -> [to], any space: the same numbers under other axes. C1: equal products.
    "reshape" => Reshape { from: Vec<usize> = vec![2, 6], to: Vec<usize> = vec![3, 4] };
    /// [n] -> [len(table)], point: y[k] = x[table[k]]. C1: every entry is below n.
    "gather" => Gather { n: usize = 5, table: Vec<usize> = vec![4, 0, 0, 2] };
    /// [n] -> [length], point: entries start .. start + length. C1: start + length <= n.
    "slice" => Slice { n: usize = 7, start: usize = 2, length: usize = 3 };
    /// point -> map(L): the same number at every sample.
    "spread" => Spread { L: usize = 4 };
    /// any -> the same: multiplication by the number `by`.
    "scale" => Scale { by: f64 = -2.5 };
    /// image(H,W) -> real_spectrum(H,W): F_kl = sum_pq f_pq e^{-2 pi i (k p / H + l q / W)}, l <= W/2; imaginary parts that vanish by symmetry are zero.
    "fourier" => Fourier { H: usize = 5, W: usize = 6 };
    /// real_spectrum(H,W) -> image(H,W): f_pq = (1/HW) sum_kl F_kl e^{2 pi i (k p / H + l q / W)} over all W columns, F_{-k,-l} = conj F_kl; in column 0 (and W/2, W even) the Hermitian part is taken.
    "fourier_real" => FourierReal { H: usize = 4, W: usize = 5 };
    /// spectrum(H,W) -> [2] image(H,W): real and imaginary part of (1/HW) sum_kl F_kl e^{2 pi i (k p / H + l q / W)}.
    "fourier_inverse" => FourierInverse { H: usize = 3, W: usize = 4 };
    /// spectrum(H,W) -> [2] image(H,W): real and imaginary parts of the frequencies, each as an image of them.
    "spectrum_parts" => SpectrumParts { H: usize = 3, W: usize = 4 };
    /// real_spectrum(H,W) or (`real`=0) spectrum(H,W) -> [L] spectrum(H,W): multiplication by the L filters of scale j of the bank, each to the given power.
    "filter" => Filter { H: usize = 4, W: usize = 6, j: usize = 1, power: usize = 1, real: usize = 1, bank: Bank = Bank::sample() };
    /// real_spectrum(H,W) or (`real`=0) spectrum(H,W) -> [L,2] image(h,w): `fourier_inverse` of `fold` of `filter`, without what lies between. C1: h divides H, w divides W.
    "filter_inverse" => FilterInverse { H: usize = 4, W: usize = 6, h: usize = 2, w: usize = 6, j: usize = 1, power: usize = 1, real: usize = 1, bank: Bank = Bank::sample() };
    /// [L] spectrum(H,W) -> [L] spectrum(H,W): entry l is multiplied by filter l of scale j.
    "filter_each" => FilterEach { H: usize = 4, W: usize = 6, j: usize = 1, bank: Bank = Bank::sample() };
    /// real_spectrum(H,W) -> real_spectrum(H,W): multiplication by the even part of the low-pass filter of scale j of the bank, which is what the real part of the smoothed image needs.
    "smooth" => Smooth { H: usize = 4, W: usize = 6, j: usize = 1, bank: Bank = Bank::sample() };
    /// real_spectrum(H,W) or (`real`=0) spectrum(H,W) -> spectrum(h,w): the h x w lowest frequencies, times hw/HW, so that samples keep their values. C1: h <= H, w <= W, a smaller size odd only where the larger is.
    "truncate" => Truncate { H: usize = 7, W: usize = 9, h: usize = 5, w: usize = 7, real: usize = 1 };
    /// real_spectrum(H,W) -> real_spectrum(h,w): the lowest frequencies, times hw/HW. C1: h is H or odd and below H, w likewise, so that the result is that of a real image.
    "clip" => Clip { H: usize = 6, W: usize = 8, h: usize = 3, w: usize = 5 };
    /// (real_)spectrum(H,W) -> (real_)spectrum(h,w): the mean over aliases, so that the image is sampled at every H/h-th row and W/w-th column. C1: h divides H, w divides W.
    "fold" => Fold { H: usize = 6, W: usize = 8, h: usize = 3, w: usize = 4, real: usize = 1 };
    /// image(H,W) -> image(rows,columns): y_rc = x_{rows[r], columns[c]}: pads, crops, samples and shifts. C1: every entry lies in the image.
    "pick" => Pick { H: usize = 3, W: usize = 4, rows: Indices = Indices::from(vec![2, 0, 1, 1]), columns: Indices = Indices::from(vec![3, 2, 1, 0, 1]) };
    /// [K] image(H,W) -> [K,count] image(H,W): y_ka[r, c] = x_k[r + rows[k count + a], c + columns[k count + a]], cyclically; K = len(rows) / count. C1: as many columns as rows, whole groups, entries below H and W.
    "roll" => Roll { H: usize = 3, W: usize = 4, rows: Vec<usize> = vec![0, 1, 2, 0], columns: Vec<usize> = vec![3, 0, 1, 0], count: usize = 2 };
    /// image(H,W) -> [L,2] image(H,W): real and imaginary parts of y_l[r,c] = sum_ab s_l[a,b] x[r + a - h/2, c + b - w/2] with the stencils s_l of h x w samples, the bank's `stencil` of scale j. Beyond the
    /// image lies, by `edge`, 0 its other side, 1 its reflection without and 2 with the edge sample repeated, 3 zeros. C1: odd sides that reach less far than the image. C2: edge is 0 to 3.
    "image_stencil" => ImageStencil { H: usize = 6, W: usize = 7, j: usize = 1, edge: usize = 1, bank: Bank = Bank::sample_stencil() };
    /// image(H,W) -> image(H/h,W/w): means over blocks of h x w samples; the last rows and columns that fill none are left out. C1: h <= H, w <= W.
    "block_mean" => BlockMean { H: usize = 5, W: usize = 7, h: usize = 2, w: usize = 2 };
    /// image(H,W) -> image(rows H,columns W): linear interpolation between the centres of samples, constant beyond the outermost ones. C1: rows and columns are 1 or 2.
    "enlarge" => Enlarge { H: usize = 3, W: usize = 4, rows: usize = 1, columns: usize = 2 };
    /// image(H,W) -> point: mean over the rows from `top` to H - `bottom` and the columns from `left` to W - `right`. C1: the window is not empty.
    "average" => Average { H: usize = 5, W: usize = 6, top: usize = 1, bottom: usize = 1, left: usize = 0, right: usize = 2 };
    /// real_spectrum(H,W) -> [L,2] real_spectrum(H,W): B times the L filters of scale j to a power, folded onto the stored half, so that `spectral_sum` of the product with A is the mean of a conj(b * psi^power)
    /// over the image, only its h x w lowest frequencies counted: part 0 gives the real part, part 1 (turned by i) the imaginary part. C1: the filters are real, and the bank keeps lowest
    /// frequencies. C2: h <= H + 1, w <= W + 1.
    "spectral_filter" => SpectralFilter { H: usize = 5, W: usize = 7, h: usize = 4, w: usize = 6, j: usize = 1, power: usize = 2, bank: Bank = Bank::sample() };
    /// real_spectrum(H,W) -> point: (1/HW)^2 times the sum of all stored numbers, meant for products of two spectra of which one is filtered by `spectral_filter`.
    "spectral_sum" => SpectralSum { H: usize = 3, W: usize = 4 };
    /// pixels(nside) -> [L,2] pixels(nside): real and imaginary parts of the map filtered by a K x K stencil in L orientations, K = 3, 5 or 7. C1: `cells` is a patch in ascending order, or empty for the whole sphere.
    "stencil" => Stencil { nside: usize = 2, K: usize = 3, L: usize = 3, cells: Vec<usize> = vec![] };
    /// [2] pixels(nside) -> [2,L,2] pixels(nside): E and B parts of a pair of maps of spin 1 or 2 (Q, U), filtered by a K x K stencil in L orientations; real and imaginary parts.
    /// C1: spin is 1 or 2. C2: nside <= 64.
    "spin_stencil" => SpinStencil { nside: usize = 1, K: usize = 3, L: usize = 2, spin: usize = 2 };
    /// pixels(nside) -> pixels(nside/2): weighted means over the children of a pixel and of its neighbours. C1: as for `stencil`.
    "downgrade" => Downgrade { nside: usize = 2, cells: Vec<usize> = vec![5, 6, 17, 19] };
    /// pixels(nside) -> pixels(2 nside) on the whole sphere: transpose of `downgrade`, every row divided by its sum.
    "upgrade" => Upgrade { nside: usize = 1 };
    /// pixels(nside) -> point: mean of n samples.
    "pixel_mean" => PixelMean { nside: usize = 1, n: usize = 12 };
}

impl Linear {
    /// Domain and range; the error names the violated constraint.
    ///
    /// ```
    /// use scatterc_ir::{Linear, Space};
    ///
    /// let signature = Linear::RingForward { L: 4, M: 3 }.signature()?;
    /// assert_eq!((signature.domain.1, signature.range.1), (Space::Map { L: 4 }, Space::Rings { L: 4, M: 3 }));
    /// assert!(Linear::HarmonicForward { L: 4, M: 4, L_out: 5 }.signature().unwrap_err().contains("C1"));
    /// # Ok::<(), String>(())
    /// ```
    pub fn signature(&self) -> Result<Signature, String> {
        use Space::*;
        let simple = |domain: Space, range: Space| Ok(Signature { domain: (vec![], domain), range: (vec![], range) });
        let positive = |L: usize| if L == 0 { Err("the bandlimit must be at least 1".to_string()) } else { Ok(L) };
        match self {
            Linear::HermitianPack { L } => simple(Half { L: positive(*L)? }, Coefficients { L: *L }),
            Linear::FullReal { L } | Linear::FullImaginary { L } => simple(Full { L: positive(*L)? }, Coefficients { L: *L }),
            Linear::GridToMap { L } => simple(Grid { L: positive(*L)? }, Map { L: *L }),
            Linear::CoefficientMean { L } => Ok(Signature { domain: (vec![], Coefficients { L: positive(*L)? }), range: (vec![2], Point) }),
            Linear::HalfPower { L, .. } => simple(Half { L: positive(*L)? }, Point),
            Linear::FullPower { L, .. } => simple(Full { L: positive(*L)? }, Point),
            Linear::CoefficientPower { L, .. } => simple(Coefficients { L: positive(*L)? }, Point),
            Linear::WignerInverse { L_in, L, N, j } => {
                positive(*L_in)?;
                if *N == 0 || *N > 64 {
                    return Err(format!("wigner_inverse: N must be from 1 to 64, found {N}"));
                }
                let L_j = scale_bandlimit(positive(*L)?, *j);
                Ok(Signature { domain: (vec![], Coefficients { L: *L_in }), range: (vec![*N], Rings { L: L_j, M: L_j }) })
            }
            Linear::HarmonicInverse { L_in, L } => simple(Coefficients { L: positive(*L_in)? }, Rings { L: positive(*L)?, M: *L }),
            Linear::ScalingInverse { L_in, L, j } => {
                let L_j = scale_bandlimit(positive(*L)?, *j);
                simple(Coefficients { L: positive(*L_in)? }, Rings { L: L_j, M: L_j })
            }
            Linear::HarmonicForward { L, M, L_out } => {
                if *L_out == 0 || L_out > L || *M == 0 || M > L {
                    // harmonic_forward C1
                    return Err(format!("harmonic_forward C1: needs 1 <= L_out <= L and 1 <= M <= L, found L_out={L_out}, M={M}, L={L}"));
                }
                simple(Rings { L: *L, M: *M }, Coefficients { L: *L_out })
            }
            Linear::RingInverse { L, M } | Linear::RingForward { L, M } | Linear::RingMean { L, M } if *M == 0 || M > L => {
                Err(format!("{}: needs 1 <= M <= L, found M={M}, L={L}", self.spelling()))
            }
            Linear::RingInverse { L, M } => simple(Rings { L: *L, M: *M }, Map { L: *L }),
            Linear::RingForward { L, M } => simple(Map { L: *L }, Rings { L: *L, M: *M }),
            Linear::RingMean { L, M } => simple(Rings { L: *L, M: *M }, Point),
            Linear::CoefficientSum { L } => simple(Coefficients { L: positive(*L)? }, Point),
            Linear::FrameOperator { L_in, L_out, L, N, .. } => {
                for L in [L_in, L_out, L] {
                    positive(*L)?;
                }
                if *N == 0 || *N > LARGEST_FRAME {
                    return Err(format!("frame_operator: N must be from 1 to {LARGEST_FRAME}, found {N}"));
                }
                Ok(Signature { domain: (vec![], Coefficients { L: *L_in }), range: (vec![2 * N - 1], Coefficients { L: *L_out }) })
            }
            Linear::Steer { N } => {
                if *N == 0 || *N > 64 {
                    return Err(format!("steer: N must be from 1 to 64, found {N}"));
                }
                Ok(Signature { domain: (vec![*N], Any), range: (vec![2 * N - 1], Any) })
            }
            Linear::Mean { L } => simple(Map { L: positive(*L)? }, Point),
            Linear::Reindex { from, to, map } => {
                if map.len() != from.len() || map.iter().any(|row| row.len() != to.len() + 1) || from.contains(&0) || to.contains(&0) {
                    return Err(format!("reindex: map must have {} rows of {} numbers and no axis may be empty", from.len(), to.len() + 1));
                }
                Ok(Signature { domain: (from.clone(), Any), range: (to.clone(), Any) })
            }
            Linear::Reshape { from, to } => {
                let product = |axes: &[usize]| axes.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
                if product(from).is_none() || product(from) != product(to) {
                    return Err(format!("reshape C1: {from:?} and {to:?} have different products, or one beyond 2^64"));
                }
                Ok(Signature { domain: (from.clone(), Any), range: (to.clone(), Any) })
            }
            Linear::Gather { n, table } => match table.iter().find(|k| *k >= n) {
                Some(k) => Err(format!("gather C1: entry {k} is not below n={n}")),
                None => Ok(Signature { domain: (vec![*n], Point), range: (vec![table.len()], Point) }),
            },
            Linear::Slice { n, start, length } => {
                if start + length > *n {
                    return Err(format!("slice C1: start {start} + length {length} exceeds n={n}"));
                }
                Ok(Signature { domain: (vec![*n], Point), range: (vec![*length], Point) })
            }
            Linear::Spread { L } => simple(Point, Map { L: positive(*L)? }),
            Linear::Scale { .. } => simple(Any, Any),
            Linear::Fourier { H, W } => {
                sizes(self, &[*H, *W])?;
                simple(Image { H: *H, W: *W }, RealSpectrum { H: *H, W: *W })
            }
            Linear::FourierReal { H, W } => {
                sizes(self, &[*H, *W])?;
                simple(RealSpectrum { H: *H, W: *W }, Image { H: *H, W: *W })
            }
            Linear::FourierInverse { H, W } => {
                sizes(self, &[*H, *W])?;
                Ok(Signature { domain: (vec![], Spectrum { H: *H, W: *W }), range: (vec![2], Image { H: *H, W: *W }) })
            }
            Linear::SpectrumParts { H, W } => {
                sizes(self, &[*H, *W])?;
                Ok(Signature { domain: (vec![], Spectrum { H: *H, W: *W }), range: (vec![2], Image { H: *H, W: *W }) })
            }
            Linear::Filter { H, W, power, real, bank, .. } => {
                sizes(self, &[*H, *W, *power])?;
                bank.fits(*H, *W)?;
                Ok(Signature { domain: (vec![], spectrum(*real, *H, *W)), range: (vec![bank.L], Spectrum { H: *H, W: *W }) })
            }
            Linear::FilterInverse { H, W, h, w, power, real, bank, .. } => {
                sizes(self, &[*H, *W, *h, *w, *power])?;
                bank.fits(*H, *W)?;
                if H % h != 0 || W % w != 0 {
                    // filter_inverse C1
                    return Err(format!("filter_inverse C1: {h} x {w} does not divide {H} x {W}"));
                }
                Ok(Signature { domain: (vec![], spectrum(*real, *H, *W)), range: (vec![bank.L, 2], Image { H: *h, W: *w }) })
            }
            Linear::FilterEach { H, W, bank, .. } => {
                sizes(self, &[*H, *W])?;
                bank.fits(*H, *W)?;
                let side = (vec![bank.L], Spectrum { H: *H, W: *W });
                Ok(Signature { domain: side.clone(), range: side })
            }
            Linear::Smooth { H, W, bank, .. } => {
                sizes(self, &[*H, *W])?;
                bank.fits(*H, *W)?;
                simple(RealSpectrum { H: *H, W: *W }, RealSpectrum { H: *H, W: *W })
            }
            Linear::Truncate { H, W, h, w, real } => {
                sizes(self, &[*H, *W, *h, *w])?;
                for (large, small) in [(H, h), (W, w)] {
                    if small > large || (small != large && small % 2 == 1 && large % 2 == 0) {
                        // truncate C1
                        return Err(format!("truncate C1: {small} frequencies cannot be taken symmetrically from {large}"));
                    }
                }
                simple(spectrum(*real, *H, *W), Spectrum { H: *h, W: *w })
            }
            Linear::Clip { H, W, h, w } => {
                sizes(self, &[*H, *W, *h, *w])?;
                for (large, small) in [(H, h), (W, w)] {
                    if small > large || (small != large && small % 2 == 0) {
                        // clip C1
                        return Err(format!("clip C1: {small} must be {large}, or odd and below it"));
                    }
                }
                simple(RealSpectrum { H: *H, W: *W }, RealSpectrum { H: *h, W: *w })
            }
            Linear::Fold { H, W, h, w, real } => {
                sizes(self, &[*H, *W, *h, *w])?;
                if H % h != 0 || W % w != 0 {
                    // fold C1
                    return Err(format!("fold C1: {h} x {w} does not divide {H} x {W}"));
                }
                simple(spectrum(*real, *H, *W), spectrum(*real, *h, *w))
            }
            Linear::Pick { H, W, rows, columns } => {
                sizes(self, &[*H, *W, rows.len(), columns.len()])?;
                if rows.largest() >= Some(*H) || columns.largest() >= Some(*W) {
                    // pick C1
                    return Err(format!("pick C1: every entry must lie in the image of {H} x {W}"));
                }
                simple(Image { H: *H, W: *W }, Image { H: rows.len(), W: columns.len() })
            }
            Linear::Roll { H, W, rows, columns, count } => {
                sizes(self, &[*H, *W, *count, rows.len()])?;
                if rows.len() != columns.len() || rows.len() % count != 0 || rows.iter().any(|r| r >= H) || columns.iter().any(|c| c >= W) {
                    // roll C1
                    return Err(format!("roll C1: needs as many columns as rows, in groups of {count}, below {H} and {W}"));
                }
                let K = rows.len() / count;
                Ok(Signature { domain: (vec![K], Image { H: *H, W: *W }), range: (vec![K, *count], Image { H: *H, W: *W }) })
            }
            Linear::ImageStencil { H, W, edge, bank, .. } => {
                sizes(self, &[*H, *W])?;
                for (side, n) in [(bank.H, *H), (bank.W, *W)] {
                    if side % 2 == 0 || side / 2 > n || (*edge == 1 && side > 1 && side / 2 >= n) {
                        // image_stencil C1
                        return Err(format!(
                            "image_stencil C1: stencils of {} x {} reach too far for an image of {H} x {W}, or have even sides",
                            bank.H, bank.W
                        ));
                    }
                }
                if *edge > 3 {
                    // image_stencil C2
                    return Err(format!("image_stencil C2: edge must be 0, 1, 2 or 3, found {edge}"));
                }
                Ok(Signature { domain: (vec![], Image { H: *H, W: *W }), range: (vec![bank.L, 2], Image { H: *H, W: *W }) })
            }
            Linear::BlockMean { H, W, h, w } => {
                sizes(self, &[*H, *W, *h, *w])?;
                if h > H || w > W {
                    // block_mean C1
                    return Err(format!("block_mean C1: an image of {H} x {W} holds no block of {h} x {w}"));
                }
                simple(Image { H: *H, W: *W }, Image { H: H / h, W: W / w })
            }
            Linear::Enlarge { H, W, rows, columns } => {
                sizes(self, &[*H, *W])?;
                if ![1, 2].contains(rows) || ![1, 2].contains(columns) {
                    // enlarge C1
                    return Err(format!("enlarge C1: rows and columns must be 1 or 2, found {rows} and {columns}"));
                }
                simple(Image { H: *H, W: *W }, Image { H: rows * H, W: columns * W })
            }
            Linear::Average { H, W, top, bottom, left, right } => {
                sizes(self, &[*H, *W])?;
                if top + bottom >= *H || left + right >= *W {
                    // average C1
                    return Err(format!("average C1: nothing is left of {H} x {W} without {top}+{bottom} rows and {left}+{right} columns"));
                }
                simple(Image { H: *H, W: *W }, Point)
            }
            Linear::SpectralFilter { H, W, h, w, power, bank, .. } => {
                sizes(self, &[*H, *W, *h, *w, *power])?;
                bank.fits(*h, *w)?;
                if bank.folded || !bank.real || *h > H + 1 || *w > W + 1 {
                    // spectral_filter C1, C2
                    return Err(format!("spectral_filter C1, C2: {h} x {w} frequencies of a real, truncated bank must be stored in {H} x {W}"));
                }
                let space = RealSpectrum { H: *H, W: *W };
                Ok(Signature { domain: (vec![], space), range: (vec![bank.L, 2], space) })
            }
            Linear::SpectralSum { H, W } => {
                sizes(self, &[*H, *W])?;
                simple(RealSpectrum { H: *H, W: *W }, Point)
            }
            Linear::Stencil { nside, K, L, cells } => {
                let n = patch(self, *nside, cells)?;
                if ![3, 5, 7].contains(K) || *L == 0 || *L > 32 {
                    return Err(format!("stencil: K must be 3, 5 or 7 and L from 1 to 32, found K={K}, L={L}"));
                }
                let space = Pixels { nside: *nside, n };
                Ok(Signature { domain: (vec![], space), range: (vec![*L, 2], space) })
            }
            Linear::SpinStencil { nside, K, L, spin } => {
                let n = patch(self, *nside, &[])?;
                if ![3, 5, 7].contains(K) || *L == 0 || *L > 32 || *spin == 0 || *spin > 2 || *nside > 64 {
                    // spin_stencil C1, C2
                    return Err(format!(
                        "spin_stencil C1, C2: K must be 3, 5 or 7, L from 1 to 32, spin 1 or 2 and nside at most 64, found K={K}, L={L}, spin={spin}, nside={nside}"
                    ));
                }
                let space = Pixels { nside: *nside, n };
                Ok(Signature { domain: (vec![2], space), range: (vec![2, *L, 2], space) })
            }
            Linear::Downgrade { nside, cells } => {
                let n = patch(self, *nside, cells)?;
                if *nside < 2 {
                    return Err(format!("downgrade: nside must be at least 2, found {nside}"));
                }
                let coarse = if cells.is_empty() { n / 4 } else { 1 + cells.windows(2).filter(|w| w[0] / 4 != w[1] / 4).count() };
                simple(Pixels { nside: *nside, n }, Pixels { nside: nside / 2, n: coarse })
            }
            Linear::Upgrade { nside } => {
                let n = patch(self, *nside, &[])?;
                simple(Pixels { nside: *nside, n }, Pixels { nside: 2 * nside, n: 4 * n })
            }
            Linear::PixelMean { nside, n } => {
                patch(self, *nside, &[])?;
                if *n == 0 || *n > 12 * nside * nside {
                    return Err(format!("pixel_mean: n must be from 1 to 12 nside^2, found {n}"));
                }
                simple(Pixels { nside: *nside, n: *n }, Point)
            }
        }
    }

    /// True for maps that act on axes alone, sample by sample, whatever the space.
    ///
    /// ```
    /// use scatterc_ir::Linear;
    ///
    /// assert!(Linear::Steer { N: 3 }.acts_on_axes() && !Linear::Mean { L: 4 }.acts_on_axes());
    /// ```
    pub fn acts_on_axes(&self) -> bool {
        matches!(self, Linear::Steer { .. } | Linear::Reindex { .. } | Linear::Reshape { .. } | Linear::Scale { .. })
    }
}

/// Number of pixels of a map or patch; refuses an nside that is no power of two up to 4096, and cells that are not ascending or not on the map.
fn patch(map: &Linear, nside: usize, cells: &[usize]) -> Result<usize, String> {
    if !nside.is_power_of_two() || nside > 4096 {
        return Err(format!("{}: nside must be a power of two from 1 to 4096, found {nside}", map.spelling()));
    }
    let n = 12 * nside * nside;
    if cells.windows(2).any(|w| w[0] >= w[1]) || cells.last().is_some_and(|last| *last >= n) {
        return Err(format!("{} C1: cells must ascend and lie below {n}", map.spelling()));
    }
    Ok(pixels(nside, cells))
}

/// Number of pixels of a patch, or of the whole sphere of `nside` where no cells are named.
///
/// ```
/// use scatterc_ir::ops::pixels;
///
/// assert_eq!((pixels(4, &[]), pixels(4, &[3, 4, 5])), (192, 3));
/// ```
pub fn pixels(nside: usize, cells: &[usize]) -> usize {
    if cells.is_empty() { 12 * nside * nside } else { cells.len() }
}

/// Refuses empty sizes and sizes above 2^20.
fn sizes(map: &Linear, all: &[usize]) -> Result<(), String> {
    match all.iter().find(|n| **n == 0 || **n > 1 << 20) {
        Some(n) => Err(format!("{}: a size must be from 1 to 2^20, found {n}", map.spelling())),
        None => Ok(()),
    }
}

/// The space of spectra of real or of complex images.
fn spectrum(real: usize, H: usize, W: usize) -> Space {
    if real == 1 { Space::RealSpectrum { H, W } } else { Space::Spectrum { H, W } }
}

/// For every output index of a `reindex`, the input index it reads, both flattened.
///
/// ```
/// use scatterc_ir::ops::reindex_table;
///
/// // The transpose of a 2 x 3 array: out[a, b] = in[b, a].
/// let table = reindex_table(&[2, 3], &[3, 2], &[vec![0, 1, 0], vec![1, 0, 0]]);
/// assert_eq!(table, [0, 3, 1, 4, 2, 5]);
/// ```
pub fn reindex_table(from: &[usize], to: &[usize], map: &[Vec<i64>]) -> Vec<usize> {
    let mut index = vec![0usize; to.len()];
    let mut out = Vec::with_capacity(to.iter().product());
    for _ in 0..to.iter().product::<usize>() {
        let mut input = 0;
        for (row, size) in map.iter().zip(from) {
            let shift = row.last().copied().unwrap_or(0);
            let sum: i128 = row.iter().zip(&index).map(|(a, o)| i128::from(*a) * *o as i128).sum::<i128>() + i128::from(shift);
            input = input * size + sum.rem_euclid(*size as i128) as usize;
        }
        out.push(input);
        for (o, size) in index.iter_mut().zip(to).rev() {
            *o += 1;
            if *o < *size {
                break;
            }
            *o = 0;
        }
    }
    out
}

/// A row of the pointwise table.
///
/// ```
/// use scatterc_ir::ops::pointwise;
///
/// let row = pointwise("modulus").unwrap();
/// assert_eq!((row.arity, row.expression.evaluate(&[3.0, 4.0])), (2, 5.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PointwiseRow {
    /// Spelling in graphs and in the notation.
    pub name: &'static str,
    /// Number of operands.
    pub arity: usize,
    /// What it computes.
    pub doc: &'static str,
    /// The scalar expression.
    pub expression: Scalar,
}

macro_rules! pointwise_ops {
    ($($(#[doc = $doc:literal])+ $name:literal ($arity:literal) = $expression:literal;)+) => {
        const POINTWISE_ROWS: &[(&str, usize, &str, &str)] = &[$(($name, $arity, concat!($($doc),+), $expression)),+];
    };
}

pointwise_ops! {
    /// a + b
    "add"(2) = "add(a, b)";
    /// a - b
    "sub"(2) = "sub(a, b)";
    /// a b
    "mul"(2) = "mul(a, b)";
    /// a / b
    "div"(2) = "div(a, b)";
    /// -a
    "neg"(1) = "neg(a)";
    /// modulus of a real number
    "abs"(1) = "abs(a)";
    /// modulus of the complex number a + i b; derivative 0 at 0
    "modulus"(2) = "sqrt(add(mul(a, a), mul(b, b)))";
    /// a^2
    "square"(1) = "mul(a, a)";
    /// square root; derivative 0 at 0
    "sqrt"(1) = "sqrt(a)";
    /// e^a
    "exp"(1) = "exp(a)";
    /// natural logarithm
    "log"(1) = "log(a)";
    /// -1, 0 or 1; derivative 0
    "sign"(1) = "sign(a)";
    /// sine of an angle in radians
    "sin"(1) = "sin(a)";
    /// cosine of an angle in radians
    "cos"(1) = "cos(a)";
    /// smaller of both
    "min"(2) = "min(a, b)";
    /// larger of both
    "max"(2) = "max(a, b)";
    /// a^b
    "pow"(2) = "pow(a, b)";
    /// a where a > 0, else 0
    "relu"(1) = "max(a, 0.0)";
    /// angle of the complex number b + i a, in radians
    "angle"(2) = "atan2(a, b)";
    /// ln(1 + e^a), computed without overflow
    "softplus"(1) = "add(max(a, 0.0), log(add(1.0, exp(neg(abs(a))))))";
    /// hyperbolic tangent
    "tanh"(1) = "mul(sign(a), sub(1.0, div(2.0, add(1.0, exp(mul(2.0, abs(a)))))))";
}

/// The pointwise table; parsed once.
///
/// ```
/// use scatterc_ir::ops::pointwise_table;
///
/// assert!(pointwise_table().iter().all(|row| row.expression.arity() == row.arity));
/// ```
pub fn pointwise_table() -> &'static [PointwiseRow] {
    static TABLE: OnceLock<Vec<PointwiseRow>> = OnceLock::new();
    TABLE.get_or_init(|| {
        POINTWISE_ROWS
            .iter()
            .map(|(name, arity, doc, text)| {
                let expression = scalar::parse(text).expect("a row's expression is valid");
                PointwiseRow { name, arity: *arity, doc: doc.trim(), expression }
            })
            .collect()
    })
}

/// Row of that name.
///
/// ```
/// use scatterc_ir::ops::pointwise;
///
/// assert!(pointwise("square").is_some() && pointwise("cube").is_none());
/// ```
pub fn pointwise(name: &str) -> Option<&'static PointwiseRow> {
    pointwise_table().iter().find(|row| row.name == name)
}
