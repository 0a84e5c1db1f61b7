//! Precision from a target error: single where a probe shows that it is enough, double otherwise.
//!
//! The probe runs the program itself in both precisions on fields that are always the same, white noise of unit variance, with every run-time parameter (norms, targets, weights,
//! masks, tangents) 1. [`Compiler::within`] does all of it. The error of an output is its largest difference divided by its largest modulus. Fields with other spectra have other errors: the probe says what white noise has.

use crate::compile::{Compiler, Device};
use crate::{Error, random};
use scatterc_compiler::gradient;
use scatterc_ir::Space;
use scatterc_ir::plan::{Element, Port};
use std::collections::BTreeMap;
use std::fmt;

/// Smallest target: rounding in double precision, which nothing here measures, stays below it.
///
/// ```
/// use scatterc::precision::{SMALLEST_TARGET, check};
///
/// assert!(check(SMALLEST_TARGET).is_ok() && check(SMALLEST_TARGET / 2.0).is_err());
/// ```
pub const SMALLEST_TARGET: f64 = 1e-12;

/// Seed of the fields of the probe.
const SEED: u64 = 0x5CA7;

/// What a probe found, and the precision that follows from it.
///
/// ```
/// use scatterc::{Element, precision::Probe};
///
/// let probe = Probe { target: 1e-5, element: Element::F32, errors: vec![("S1".into(), 2e-7), ("S2".into(), 4e-7)] };
/// assert_eq!(probe.to_string(), "f32 for a target error of 1e-5; in f32 the probe has S1 2.0e-7, S2 4.0e-7");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Largest relative error asked for.
    pub target: f64,
    /// Single where every error is at most the target, double otherwise.
    pub element: Element,
    /// Relative error of single precision of every output, in order.
    pub errors: Vec<(String, f64)>,
}

impl Probe {
    /// The largest error; infinite where single precision gives no number.
    ///
    /// ```
    /// use scatterc::{Element, precision::Probe};
    ///
    /// let errors = vec![("S1".into(), 2e-7), ("S2".into(), f64::NAN)];
    /// assert_eq!(Probe { target: 1e-5, element: Element::F64, errors }.largest(), f64::INFINITY);
    /// ```
    pub fn largest(&self) -> f64 {
        self.errors.iter().fold(0.0, |most, (_, error)| if error.is_nan() { f64::INFINITY } else { error.max(most) })
    }
}

impl fmt::Display for Probe {
    /// One line: what was chosen, for which target, and the error of every output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.errors.iter().map(|(name, error)| format!("{name} {error:.1e}")).collect();
        write!(f, "{} for a target error of {:e}; in f32 the probe has {}", self.element, self.target, errors.join(", "))
    }
}

/// Refuses targets that no precision is chosen by.
///
/// ```
/// use scatterc::precision::check;
///
/// assert!(check(1e-5).is_ok() && check(1e-13).is_err() && check(1.0).is_err());
/// ```
pub fn check(target: f64) -> Result<(), Error> {
    if (SMALLEST_TARGET..1.0).contains(&target) {
        return Ok(());
    }
    Err(Error::Option {
        name: "the target error".into(),
        expected: format!("a number from {SMALLEST_TARGET:e} to below 1"),
        found: format!("{target:e}"),
    })
}

/// Values of every input of the probe: noise for fields, 1 for everything else.
fn given(fields: &[String], ports: &[Port]) -> Vec<(String, Vec<f64>)> {
    let mut drawn = 0;
    ports
        .iter()
        .map(|port| {
            if !fields.contains(&port.name) {
                return (port.name.clone(), vec![1.0; port.ty.len()]);
            }
            let members = drawn..drawn + port.ty.count();
            drawn = members.end;
            let values = members.flat_map(|k| match port.ty.space {
                Space::Half { L } => random::white(L, SEED, k),
                space => random::samples(space.len(), SEED, k),
            });
            (port.name.clone(), values.collect())
        })
        .collect()
}

/// Runs a program in both precisions and chooses: single where no output has an error above the target.
///
/// Both parts of a complex output count as one, divided by its largest part. Errors that are not numbers, such as 0 / 0 in single precision alone, choose double.
///
/// Error: a target out of range, what compiling or running refuses.
///
/// ```
/// use scatterc::precision::probe;
/// use scatterc::{Device, Element};
/// # use scatterc::{Compiler, InputKind, Source, Sphere, random};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// # let compiler = Compiler::new(&source, &sphere);
///
/// let found = probe(&compiler, Device::default(), 1e-3)?;
/// assert!(found.element == Element::F32 && found.largest() < 1e-5);
/// # Ok::<(), scatterc::Error>(())
/// ```
pub fn probe(compiler: &Compiler, device: Device, target: f64) -> Result<Probe, Error> {
    check(target)?;
    let run = |element: Element| -> Result<Vec<(String, Vec<f64>)>, Error> {
        let (compiled, mut executable) = compiler.clone().device(device.with(element)).executable()?;
        let fields: Vec<String> = gradient::inputs(&compiled.bound.graph).into_iter().map(|(_, name)| name).collect();
        let inputs = given(&fields, executable.inputs());
        let given: Vec<(&str, &[f64])> = inputs.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        Ok(executable.run(&given)?)
    };
    let (double, single) = (run(Element::F64)?, run(Element::F32)?);
    let mut order: Vec<String> = Vec::new();
    let mut parts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for ((name, exact), (_, rough)) in double.iter().zip(&single) {
        let base = name.strip_suffix(".re").or(name.strip_suffix(".im")).unwrap_or(name).to_string();
        let (difference, modulus) = parts.entry(base.clone()).or_insert_with(|| {
            order.push(base);
            (0.0, 0.0)
        });
        for (x, y) in exact.iter().zip(rough) {
            // NaN is an error, and stays one: f64::max would drop it.
            let own = (x - y).abs();
            *difference = if own.is_nan() || difference.is_nan() { f64::NAN } else { difference.max(own) };
            *modulus = modulus.max(x.abs());
        }
    }
    let relative = |(difference, modulus): (f64, f64)| if difference == 0.0 { 0.0 } else { difference / modulus };
    let errors: Vec<(String, f64)> = order.into_iter().map(|name| (name.clone(), relative(parts[&name]))).collect();
    let element = if errors.iter().all(|(_, error)| *error <= target) { Element::F32 } else { Element::F64 };
    Ok(Probe { target, element, errors })
}
