//! Tables of CUDA kernels: made on the host, read-only on the device.

use crate::KernelError;
use crate::double::Double;
use crate::frame::{ScanTables, channel_directions};
use crate::sampling::gauss_legendre;
use crate::wavelets::{self, Windows};
use crate::wigner::{HalfAngle, start_ratio};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $spelling:literal => $variant:ident { $($attribute:ident),* };)+) => {
        /// Constants of a kernel, named by what they depend on. All hold f64.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Table { $($(#[doc = $doc])+ $variant { $(#[doc = "See the row."] $attribute: usize),* }),+ }

        impl fmt::Display for Table {
            /// `name {attribute=integer, ..}`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Table::$variant { $($attribute),* } => {
                    let inner: Vec<String> = vec![$(format!("{}={}", stringify!($attribute), $attribute)),*];
                    write!(f, "{} {{{}}}", $spelling, inner.join(", "))
                })+ }
            }
        }

        impl Table {
            /// Its name.
            pub fn spelling(&self) -> &'static str {
                match self { $(Table::$variant { .. } => $spelling),+ }
            }

            /// What it depends on.
            pub fn attributes(&self) -> Vec<(&'static str, usize)> {
                match self { $(Table::$variant { $($attribute),* } => vec![$((stringify!($attribute), *$attribute)),*]),+ }
            }

            /// Builds a table from its spelling and attributes. `None`: no table has this spelling and these attributes.
            pub fn from_attributes(spelling: &str, given: &[(String, usize)]) -> Option<Table> {
                let attribute = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
                match spelling {
                    $($spelling => {
                        let known: &[&str] = &[$(stringify!($attribute)),*];
                        if given.len() != known.len() {
                            return None;
                        }
                        Some(Table::$variant { $($attribute: attribute(stringify!($attribute))?),* })
                    })+
                    _ => None,
                }
            }
        }
    };
}

tables! {
    /// `[n]` (cos, sin) of 2 pi k / n.
    "roots" => Roots { n };
    /// `[n]` (cos, sin) of pi k^2 / n.
    "chirp" => Chirp { n };
    /// `[padded]` complex: forward transform of conj(chirp), even and periodic, divided by `padded`.
    "chirp_spectrum" => ChirpSpectrum { n, padded };
    /// `[(L + 1) / 2]` northern rings of the Gauss-Legendre grid: sine and cosine of half the colatitude and their product, each as a sum of two numbers, then
    /// 2 sin^2(theta / 2) and sin(theta).
    "half_angles" => HalfAngles { L };
    /// `[(L + 1) / 2]` weights of the northern rings; all rings together weigh 2.
    "quadrature" => Quadrature { L };
    /// `[orders n][degrees]` of (high, low, exponent of two, 0): what stands before the powers of sines and cosines in d^{l0}_{m, +-n}, l0 = max(m, n); orders have the parity of N - 1.
    "starts" => Starts { degrees, N };
    /// `[orders n][min(L_j, L_in)]` filters of scale j.
    "wavelet_filters" => WaveletFilters { L_in, L, N, j };
    /// `[min(L, L_in)]` sqrt((2l + 1) / 4 pi).
    "plain_filter" => PlainFilter { L_in, L };
    /// `[min(L_j, L_in)]` scaling function of scale j.
    "scaling_filter" => ScalingFilter { L_in, L, j };
    /// `[L_out]` sqrt((2l + 1) / 4 pi) 2 pi / (2L - 1).
    "analysis_filter" => AnalysisFilter { L, L_out };
    /// `[L][orders][re, im]` weights of the average over the sphere of a product of half spectra of orders below `orders`.
    "ring_weights" => RingWeights { L, orders };
    /// Factors by degree of the scans of scale j, each over its window: N - 1 of what they take in, N - 1 of what they give, the diagonal, N - 1 polynomial parts.
    "frame_factors" => FrameFactors { L, N, j };
    /// Coefficients of the kernels of the scans of scale j, per order m from N - 1 on: upwards, downwards.
    "frame_kernels" => FrameKernels { L, N, j };
    /// `[2N - 1 (g)][2N - 1 (channel)]` cos(d gamma_g), -sin(d gamma_g).
    "frame_directions" => FrameDirections { N };
    /// `[2N - 1 (g)][N]` steering of the real channels of a wavelet transform.
    "steering" => Steering { N };
}

impl FromStr for Table {
    type Err = KernelError;

    fn from_str(text: &str) -> Result<Self, KernelError> {
        let fault = || KernelError::parameter("table", "`name {attribute=integer, ..}`", text);
        let (spelling, rest) = text.trim().split_once('{').ok_or_else(fault)?;
        let inner = rest.trim_end().strip_suffix('}').ok_or_else(fault)?;
        let attributes: Option<Vec<(String, usize)>> = inner
            .split(',')
            .map(|part| {
                let (name, value) = part.split_once('=')?;
                Some((name.trim().to_string(), value.trim().parse().ok()?))
            })
            .collect();
        Table::from_attributes(spelling.trim(), &attributes.ok_or_else(fault)?).ok_or_else(fault)
    }
}

/// (cos, sin) of 2 pi k / n, with equal bits at equal angles: reduced to an eighth of the circle in whole numbers.
pub(super) fn circle(k: usize, n: usize) -> (f64, f64) {
    let k = k % n;
    let octant = 8 * k / n;
    // The angle within the octant, from its nearer quarter.
    let (sin, cos) = match octant {
        0 | 7 => (2.0 * PI * if octant == 0 { k as f64 } else { -((n - k) as f64) } / n as f64).sin_cos(),
        1 | 2 => {
            let (s, c) = (2.0 * PI * (k as f64 - n as f64 / 4.0) / n as f64).sin_cos();
            (c, -s)
        }
        3 | 4 => {
            let (s, c) = (2.0 * PI * (k as f64 - n as f64 / 2.0) / n as f64).sin_cos();
            (-s, -c)
        }
        _ => {
            let (s, c) = (2.0 * PI * (k as f64 - 3.0 * n as f64 / 4.0) / n as f64).sin_cos();
            (-c, s)
        }
    };
    (cos, sin)
}

/// Filters by order and degree.
fn flat(windows: Windows) -> Vec<f64> {
    windows.windows.into_iter().flat_map(|window| window.filter).collect()
}

/// A double-double number of any size: hi in 0.5..1, and an exponent of two.
fn normalised(value: Double, exponent: i32) -> (Double, i32) {
    let mut shift = 0;
    let mut size = value.hi.abs();
    while size >= 1.0 {
        size *= 0.5;
        shift += 1;
    }
    while size < 0.5 && size > 0.0 {
        size *= 2.0;
        shift -= 1;
    }
    let factor = 2f64.powi(-shift);
    (Double { hi: value.hi * factor, lo: value.lo * factor }, exponent + shift)
}

fn starts(degrees: usize, N: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for n in wavelets::orders(N) {
        let mut running = (Double { hi: 0.5, lo: 0.0 }, 1);
        for m in 0..degrees {
            let (value, exponent) = if m < n {
                // sqrt(binomial(2n, n - m)).
                let factors = (1..=n - m).map(|i| Double::new((n + m + i) as f64).div(Double::new(i as f64)).sqrt());
                factors.fold((Double { hi: 0.5, lo: 0.0 }, 1), |(value, exponent), factor| normalised(value.mul(factor), exponent))
            } else {
                if m > n {
                    running = normalised(running.0.mul(start_ratio(m - 1, n as isize)), running.1);
                }
                running
            };
            out.extend([value.hi, value.lo, f64::from(exponent), 0.0]);
        }
    }
    out
}

impl Table {
    /// The numbers, in the byte order of the machine.
    ///
    /// Error: sizes outside their domain.
    pub fn values(&self) -> Result<Vec<u8>, KernelError> {
        Ok(self.numbers()?.into_iter().flat_map(f64::to_ne_bytes).collect())
    }

    /// The numbers.
    ///
    /// Error: sizes outside their domain.
    pub fn numbers(&self) -> Result<Vec<f64>, KernelError> {
        const MAX: usize = 1 << 22;
        let positive = |name: &'static str, value: usize| {
            if value == 0 || value > MAX { Err(KernelError::parameter(name, format!("in 1..={MAX}"), value)) } else { Ok(value) }
        };
        let north = |L: usize| -> Result<(Vec<f64>, Vec<f64>), KernelError> {
            let (theta, weights) = gauss_legendre(positive("L", L)?);
            let n = L.div_ceil(2);
            Ok((theta[..n].to_vec(), weights[..n].to_vec()))
        };
        Ok(match *self {
            Table::Roots { n } => (0..positive("n", n)?).flat_map(|k| <[f64; 2]>::from(circle(k, n))).collect(),
            Table::Chirp { n } => (0..positive("n", n)?).flat_map(|k| <[f64; 2]>::from(circle(k * k, 2 * n))).collect(),
            Table::ChirpSpectrum { n, padded } => {
                if positive("padded", padded)? + 1 < 2 * positive("n", n)? {
                    return Err(KernelError::parameter("padded", format!("at least {}", 2 * n - 1), padded));
                }
                let mut values = vec![Complex::new(0.0, 0.0); padded];
                for k in 0..n {
                    let (cos, sin) = circle(k * k, 2 * n);
                    let value = Complex::new(cos, -sin) / padded as f64;
                    values[k] = value;
                    values[(padded - k) % padded] = value;
                }
                FftPlanner::new().plan_fft_forward(padded).process(&mut values);
                values.into_iter().flat_map(|z| [z.re, z.im]).collect()
            }
            Table::HalfAngles { L } => {
                let rows = north(L)?.0.into_iter().map(|theta| {
                    let angle = HalfAngle::new(theta);
                    let product = angle.s.mul(angle.c);
                    [angle.s.hi, angle.s.lo, angle.c.hi, angle.c.lo, product.hi, product.lo, angle.versine(), 2.0 * product.hi]
                });
                rows.flatten().collect()
            }
            Table::Quadrature { L } => north(L)?.1,
            Table::Starts { degrees, N } => starts(positive("degrees", degrees)?, positive("N", N)?),
            Table::WaveletFilters { L_in, L, N, j } => flat(Windows::wavelet(L_in, L, N, j)?),
            Table::PlainFilter { L_in, L } => flat(Windows::plain(L_in, L)?),
            Table::ScalingFilter { L_in, L, j } => flat(Windows::scaling(L_in, L, j)?),
            Table::RingWeights { L, orders } => {
                let weights = gauss_legendre(positive("L", L)?).1;
                let row = |w: &f64| (0..orders).flat_map(|m| if m == 0 { [0.5 * w, 0.0] } else { [*w; 2] }).collect::<Vec<f64>>();
                weights.iter().flat_map(row).collect()
            }
            Table::FrameFactors { L, N, j } => {
                let tables = ScanTables::new(L, positive("N", N)?, j)?;
                [tables.intake, tables.outflow, tables.diagonal, tables.polynomial].concat()
            }
            // A table without orders still has an address.
            Table::FrameKernels { L, N, j } => [ScanTables::new(L, positive("N", N)?, j)?.kernels, vec![0.0]].concat(),
            Table::FrameDirections { N } => channel_directions(positive("N", N)?),
            Table::Steering { N } => wavelets::steering_matrix(positive("N", N)?),
            Table::AnalysisFilter { L, L_out } => {
                let step = 2.0 * PI / (2 * positive("L", L)? - 1) as f64;
                (0..positive("L_out", L_out)?).map(|l| ((2 * l + 1) as f64 / (4.0 * PI)).sqrt() * step).collect()
            }
        })
    }
}
