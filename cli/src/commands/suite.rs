//! `scatterc bench --suite`: golden values, agreement with the reference and with the CPU, then times from small to large, for one device; one JSON object.
//!
//! The suite is one binary without files: it needs a driver and NVRTC, or for `--device emulate` a C++ compiler, or nothing for `--device cpu`. What fails is recorded, and the rest
//! goes on; the exit code says whether something failed.

use crate::args::{CliError, DeviceKind, DeviceOptions, Global, print};
use crate::io::{NamedArray, parse_npz, write_bytes_atomic};
use crate::measure::{given, inputs, median};
use scatterc::runtime::{Cache, reference};
use scatterc::{Boundary, Compiler, Device, Domain, Element, Error, Goal, Healpix, InputKind, Plane, Source, Sphere};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Recorded cases of S2SCAT: name, L, N, bytes.
const GOLDEN: [(&str, usize, usize, &[u8]); 2] = [
    ("L8_N3_J0_real", 8, 3, include_bytes!("../../golden/L8_N3_J0_real.npz")),
    ("L16_N3_J0_real", 16, 3, include_bytes!("../../golden/L16_N3_J0_real.npz")),
];

/// Our names and those of the recorded arrays.
const NAMES: [(&str, &str); 6] = [("mean", "mean"), ("variance", "var"), ("S1", "S1"), ("S2", "P00"), ("S3", "C01"), ("S4", "C11")];

/// Runs of which the median counts.
const REPETITIONS: usize = 7;

/// What the suite knows while it runs.
struct Suite<'a> {
    options: &'a DeviceOptions,
    global: &'a Global,
    cache: Arc<Cache>,
    faults: Vec<String>,
}

/// The device of the options, in a precision.
fn device(options: &DeviceOptions, element: Element) -> Device {
    match options.device {
        DeviceKind::Cuda => Device::Cuda(element),
        DeviceKind::Emulate => Device::EmulatedCuda(element),
        DeviceKind::Cpu | DeviceKind::Reference => Device::Cpu(element),
    }
}

fn precisions(options: &DeviceOptions) -> &'static [Element] {
    if matches!(options.device, DeviceKind::Cuda | DeviceKind::Emulate) { &[Element::F64, Element::F32] } else { &[Element::F64] }
}

/// Bounds of DESIGN's accuracy: statistics, gradients.
fn tolerance(element: Element, gradient: bool) -> f64 {
    match (element, gradient) {
        (Element::F64, false) => 1e-10,
        (Element::F64, true) => 1e-9,
        (Element::F32, false) => 1e-4,
        (Element::F32, true) => 1e-3,
    }
}

/// Largest difference in units of the largest number.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    // A NaN is an error of infinite size.
    found.iter().zip(expected).map(|(x, y)| if (x - y).is_finite() { (x - y).abs() } else { f64::INFINITY }).fold(0.0, f64::max) / scale
}

impl Suite<'_> {
    fn compiler<'s>(&self, source: &'s Source, domain: &'s dyn Domain, element: Element) -> Compiler<'s> {
        Compiler::new(source, domain)
            .device(device(self.options, element))
            .threads(self.options.threads)
            .cache(self.cache.clone())
            .disable(&self.options.disable)
    }

    /// Notes an outcome; what cannot run is a fault and an entry with its message.
    fn record(&mut self, what: &str, outcome: Result<Value, Error>) -> Value {
        outcome.unwrap_or_else(|e| {
            self.faults.push(format!("{what}: {e}"));
            json!({ "error": e.to_string() })
        })
    }

    /// A check of one error against its bound.
    fn check(&mut self, what: &str, error: f64, bound: f64) -> Value {
        if error > bound {
            self.faults.push(format!("{what}: error {error:.1e}, expected at most {bound:.0e}"));
        }
        // JSON has no infinities.
        json!({ "error": if error.is_finite() { json!(error) } else { json!("not finite") }, "bound": bound, "ok": error <= bound })
    }

    fn golden(&mut self) -> Value {
        let mut out = Map::new();
        for (name, L, N, bytes) in GOLDEN {
            for element in precisions(self.options) {
                let what = format!("golden {name} {element}");
                self.global.note(&what);
                let outcome = self.golden_errors(name, L, N, bytes, *element);
                let value = match outcome {
                    Ok(errors) => {
                        let worst = errors.values().copied().fold(0.0, f64::max);
                        self.check(&what, worst, tolerance(*element, false))
                    }
                    Err(e) => self.record(&what, Err(e)),
                };
                out.insert(format!("{name} {element}"), value);
            }
        }
        Value::Object(out)
    }

    fn golden_errors(&self, name: &str, L: usize, N: usize, bytes: &[u8], element: Element) -> Result<BTreeMap<String, f64>, Error> {
        let arrays = parse_npz(Path::new(name), bytes).unwrap_or_default();
        let numbers = |key: &str| match arrays.get(key) {
            Some(NamedArray::F64 { data, .. } | NamedArray::C128 { data, .. }) => data.clone(),
            _ => vec![],
        };
        let source = Source::find("s2scat")?;
        let sphere = Sphere::new(L, N, 0, InputKind::Half)?;
        let mut encoder = self.compiler(&source, &sphere, element).encoder()?;
        let found = encoder.encode(&numbers("flm"))?;
        // Recorded statistics of a real field are stored as complex numbers without imaginary parts.
        let real = |key: &str| match arrays.get(key) {
            Some(NamedArray::C128 { data, .. }) => data.iter().step_by(2).copied().collect(),
            _ => numbers(key),
        };
        let compare =
            |(ours, theirs): (&str, &str)| (ours.to_string(), found.get(ours).map_or(f64::INFINITY, |array| error(&array.re, &real(theirs))));
        Ok(NAMES.into_iter().map(compare).collect())
    }

    /// One statistic against the reference device where it is small, else against the CPU; and its gradient.
    fn agreement(&mut self, name: &str, domain: &dyn Domain, small: bool) -> Value {
        let mut out = Map::new();
        for element in precisions(self.options) {
            for gradient in [false, true] {
                let what = format!("agreement {name} on {} {element}{}", domain.describe(), if gradient { " gradient" } else { "" });
                self.global.note(&what);
                let outcome = self.difference(name, domain, small, *element, gradient);
                let value = match outcome {
                    Ok(error) => self.check(&what, error, tolerance(*element, gradient)),
                    Err(e) => self.record(&what, Err(e)),
                };
                out.insert(format!("{element}{}", if gradient { " gradient" } else { "" }), value);
            }
        }
        Value::Object(out)
    }

    fn difference(&self, name: &str, domain: &dyn Domain, small: bool, element: Element, gradient: bool) -> Result<f64, Error> {
        let source = Source::find(name)?;
        let goal = if gradient { Goal::Gradient("l2".into()) } else { Goal::Statistics };
        let mut compiler = self.compiler(&source, domain, element).goal(goal);
        if name == "foscat" {
            compiler = compiler.number("L", 4.0);
        }
        let (compiled, mut executable) = compiler.executable()?;
        let numbers = inputs(&executable);
        let found = executable.run(&given(&numbers))?;
        let expected = if small {
            reference::run(&compiled.graph, &given(&numbers))?
        } else {
            compiler.device(Device::default()).executable()?.1.run(&given(&numbers))?
        };
        Ok(found.iter().zip(&expected).map(|((_, x), (_, y))| error(x, y)).fold(0.0, f64::max))
    }

    /// Compile, load, first run, and medians of whole runs (with transfers) and of launches alone.
    fn times(&mut self, L: usize, batch: Option<usize>, element: Element) -> Value {
        let what = format!("times L={L} batch={} {element}", batch.unwrap_or(1));
        self.global.note(&what);
        let outcome = self.timed(L, batch, element);
        self.record(&what, outcome)
    }

    fn timed(&self, L: usize, batch: Option<usize>, element: Element) -> Result<Value, Error> {
        let source = Source::find("s2scat")?;
        let sphere = Sphere::new(L, 3, 0, InputKind::Half)?;
        let mut out = Map::new();
        for (key, goal) in [("forward", Goal::Statistics), ("gradient", Goal::Gradient("l2".into()))] {
            let compiler = self.compiler(&source, &sphere, element).goal(goal).batch(batch);
            let start = Instant::now();
            let compiled = compiler.compile()?;
            let compile_ms = 1e3 * start.elapsed().as_secs_f64();
            let start = Instant::now();
            let mut executable = compiled.load(self.options.threads, Some(self.cache.clone()))?;
            let load_ms = 1e3 * start.elapsed().as_secs_f64();
            let numbers = inputs(&executable);
            let given = given(&numbers);
            let mut results: Vec<(String, Vec<f64>)> = executable.outputs().iter().map(|p| (p.name.clone(), vec![0.0; p.ty.len()])).collect();
            let (mut whole, mut device) = (Vec::new(), Vec::new());
            for k in 0..=REPETITIONS {
                let mut into: Vec<(&str, &mut [f64])> = results.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice())).collect();
                let start = Instant::now();
                executable.run_into(&given, &mut into)?;
                let both = start.elapsed().as_secs_f64();
                let start = Instant::now();
                executable.rerun()?;
                // The first run touches all memory for the first time.
                if k > 0 {
                    whole.push(1e3 * both);
                    device.push(1e3 * start.elapsed().as_secs_f64());
                }
            }
            executable.set_timing(true);
            let before = executable.times().to_vec();
            executable.rerun()?;
            let steps = executable.times().iter().zip(&before).map(|(a, b)| 1e3 * (a - b));
            let launches: Vec<Value> = compiled
                .scheduled
                .launches
                .iter()
                .zip(steps)
                .map(|(launch, ms)| json!({ "ms": ms, "gflop": launch.flops / 1e9, "mbytes": launch.bytes / 1e6, "what": launch.summary.chars().take(160).collect::<String>() }))
                .collect();
            let memory = executable.memory();
            out.insert(
                key.into(),
                json!({
                    "compile_ms": compile_ms,
                    "load_ms": load_ms,
                    "run_with_transfers_ms": median(&mut whole),
                    "run_ms": median(&mut device),
                    "flops": compiled.scheduled.launches.iter().map(|l| l.flops).sum::<f64>(),
                    "bytes": compiled.scheduled.launches.iter().map(|l| l.bytes).sum::<f64>(),
                    "arena_mb": memory.arena as f64 / 1e6,
                    "tables_mb": memory.tables as f64 / 1e6,
                    "launches": launches,
                }),
            );
        }
        Ok(Value::Object(out))
    }

    /// Gradient steps of the optimiser's inner loop: evaluations with transfers, as the synthesis drives them.
    fn gradient_steps(&mut self, L: usize, steps: usize) -> Value {
        let what = format!("{steps} gradient steps at L={L}");
        self.global.note(&what);
        let outcome = (|| -> Result<Value, Error> {
            let source = Source::find("s2scat")?;
            let sphere = Sphere::new(L, 3, 0, InputKind::Half)?;
            let start = Instant::now();
            let (_, mut executable) = self.compiler(&source, &sphere, Element::F64).goal(Goal::Gradient("l2".into())).executable()?;
            let mut numbers = inputs(&executable);
            let compile_s = start.elapsed().as_secs_f64();
            let name = numbers.first().map(|(name, _)| format!("gradient.{name}")).unwrap_or_default();
            let mut gradient = vec![0.0; numbers.first().map_or(0, |(_, x)| x.len())];
            let start = Instant::now();
            for _ in 0..steps {
                executable.run_into(&given(&numbers), &mut [(&name, &mut gradient)])?;
                let largest = gradient.iter().fold(f64::MIN_POSITIVE, |m, g| m.max(g.abs()));
                if let Some((_, x)) = numbers.first_mut() {
                    x.iter_mut().zip(&gradient).for_each(|(x, g)| *x -= 1e-3 * g / largest);
                }
            }
            Ok(json!({ "compile_s": compile_s, "steps_s": start.elapsed().as_secs_f64() }))
        })();
        self.record(&what, outcome)
    }
}

/// What the device can do at best; null where it cannot be measured.
fn ceiling(options: &DeviceOptions) -> Value {
    match options.device {
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => {
            use scatterc::runtime::cuda::{Settings, ceiling, driver, open};
            let measured = driver::devices().and_then(|devices| {
                let multiprocessors = devices.first().map_or(1, |d| d.multiprocessors);
                ceiling::measure(multiprocessors, ceiling::ELEMENTS, |sources, launches, bytes| {
                    open(sources, launches, &[], bytes, &[], &Settings::default())
                })
            });
            match measured {
                Ok(c) => {
                    json!({ "copy_gbytes": c.copy_gbytes, "triad_gbytes": c.triad_gbytes, "f64_gflops": c.f64_gflops, "f32_gflops": c.f32_gflops })
                }
                Err(e) => json!({ "error": e.to_string() }),
            }
        }
        DeviceKind::Cpu => {
            let roofline = crate::measure::roofline(options.thread_count(), Element::F64);
            json!({ "f64_gflops": roofline.flops_per_s / 1e9, "read_gbytes": roofline.bytes_per_s / 1e9 })
        }
        _ => Value::Null,
    }
}

/// Runs the suite; `largest` bounds L.
pub fn run(options: &DeviceOptions, largest: usize, output: Option<&Path>, global: &Global) -> Result<(), CliError> {
    let mut suite = Suite { options, global, cache: Cache::global(), faults: vec![] };
    let report: Map<String, Value> = scatterc::runtime::cuda::report::report(suite.cache.clone())
        .lines
        .into_iter()
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect();
    let golden = suite.golden();
    let mut agreement = Map::new();
    for (L, N, kind) in [(8, 2, InputKind::Full), (13, 3, InputKind::Half), (16, 4, InputKind::Grid)] {
        let sphere = Sphere::new(L, N, 0, kind).map_err(Error::from)?;
        let value = suite.agreement("s2scat", &sphere, true);
        agreement.insert(format!("s2scat L={L} N={N} {kind:?}"), value);
    }
    for L in [64usize, 256].into_iter().filter(|L| *L <= largest) {
        let sphere = Sphere::new(L, 3, 0, InputKind::Half).map_err(Error::from)?;
        let value = suite.agreement("s2scat", &sphere, false);
        agreement.insert(format!("s2scat L={L} N=3"), value);
    }
    for (name, filter, H, W, J, L) in [("cheng", "morlet", 32, 32, 3, 4), ("kymatio2d", "kymatio2d", 24, 20, 2, 4)] {
        let planned = Source::find(name).and_then(|source| {
            let filter = source.filter(filter)?;
            Plane::new(H, W, J, L, &filter, Boundary::Periodic, false).map_err(Error::from)
        });
        let value = match planned {
            Ok(plane) => suite.agreement(name, &plane, true),
            Err(e) => suite.record(name, Err(e)),
        };
        agreement.insert(format!("{name} {H}x{W} J={J} L={L}"), value);
    }
    let planned = Healpix::new(8, 4, 3).map_err(Error::from);
    let value = match planned {
        Ok(pixels) => suite.agreement("foscat", &pixels, true),
        Err(e) => suite.record("foscat", Err(e)),
    };
    agreement.insert("foscat nside=8 L=4 K=3".into(), value);
    let mut times = Map::new();
    for L in [64usize, 128, 256, 512, 1024, 2048].into_iter().filter(|L| *L <= largest) {
        for element in precisions(options) {
            let value = suite.times(L, None, *element);
            times.insert(format!("L={L} {element}"), value);
        }
        if L <= 256 {
            let value = suite.times(L, Some(8), Element::F64);
            times.insert(format!("L={L} batch=8 f64"), value);
        }
    }
    let steps = if largest >= 256 { suite.gradient_steps(256, 1000) } else { Value::Null };
    let whole = json!({
        "suite": env!("CARGO_PKG_VERSION"),
        "device": options.name(),
        "report": report,
        "ceiling": ceiling(options),
        "golden": golden,
        "agreement": agreement,
        "times": times,
        "gradient_steps_L256_1000": steps,
        "faults": suite.faults,
    });
    let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    match output {
        Some(path) => write_bytes_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    if suite.faults.is_empty() { Ok(()) } else { Err(CliError::Suite { faults: suite.faults }) }
}
