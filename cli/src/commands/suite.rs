//! `scatterc bench --suite`: golden values, agreement with the reference and with the CPU for every statistic and its gradient, checks of memory, then times from small to large
//! against ceilings measured in the same run, for one device; one JSON object.
//!
//! The suite is one binary without files: it needs a driver and NVRTC, or for `--device emulate` a C++ compiler, or nothing for `--device cpu`. What fails is recorded, and the rest
//! goes on; the exit code says whether something failed.

use crate::args::{CliError, DeviceKind, DeviceOptions, Global, print};
use crate::io::{NamedArray, parse_npz, write_bytes_atomic};
use crate::measure::{given, inputs, median};
use scatterc::optimise::{Control, Method};
use scatterc::runtime::{Cache, reference};
use scatterc::synthesis::{self, Generator, SynthesisError};
use scatterc::{Boundary, Compiler, Device, Domain, Element, Error, Goal, Healpix, InputKind, Plane, Source, Sphere, with_numbers};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Recorded cases of S2SCAT: name, L, N, bytes.
pub(super) const GOLDEN: [(&str, usize, usize, &[u8]); 2] = [
    ("L8_N3_J0_real", 8, 3, include_bytes!("../../golden/L8_N3_J0_real.npz")),
    ("L16_N3_J0_real", 16, 3, include_bytes!("../../golden/L16_N3_J0_real.npz")),
];

/// Our names and those of the recorded arrays.
const NAMES: [(&str, &str); 6] = [("mean", "mean"), ("variance", "var"), ("S1", "S1"), ("S2", "P00"), ("S3", "C01"), ("S4", "C11")];

/// Runs of which the median counts.
const REPETITIONS: usize = 7;

/// What the suite knows while it runs.
pub(super) struct Suite<'a> {
    pub(super) options: &'a DeviceOptions,
    pub(super) global: &'a Global,
    pub(super) cache: Arc<Cache>,
    pub(super) ceiling: Value,
    pub(super) faults: Vec<String>,
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
pub(super) fn tolerance(element: Element, gradient: bool) -> f64 {
    match (element, gradient) {
        (Element::F64, false) => 1e-10,
        (Element::F64, true) => 1e-9,
        (Element::F32, false) => 1e-4,
        (Element::F32, true) => 1e-3,
    }
}

/// Largest difference in units of the largest number.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    error_in(found, expected, largest(expected.iter()))
}

fn largest<'a>(numbers: impl Iterator<Item = &'a f64>) -> f64 {
    numbers.fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()))
}

/// Largest difference in units of `scale`.
fn error_in(found: &[f64], expected: &[f64], scale: f64) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
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

    /// Errors of the statistics against the recorded case.
    pub(super) fn golden_errors(&self, name: &str, L: usize, N: usize, bytes: &[u8], element: Element) -> Result<BTreeMap<String, f64>, Error> {
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
    fn agreement(&mut self, name: &str, numbers: &[(&str, f64)], domain: &dyn Domain, small: bool) -> Value {
        let mut out = Map::new();
        for element in precisions(self.options) {
            for gradient in [false, true] {
                let what = format!("agreement {name} on {} {element}{}", domain.describe(), if gradient { " gradient" } else { "" });
                self.global.note(&what);
                let outcome = self.difference(name, numbers, domain, small, *element, gradient);
                let value = match outcome {
                    Ok(error) => self.check(&what, error, tolerance(*element, gradient)),
                    Err(e) => self.record(&what, Err(e)),
                };
                out.insert(format!("{element}{}", if gradient { " gradient" } else { "" }), value);
            }
        }
        Value::Object(out)
    }

    /// The largest error of a statistic or its gradient against the reference device, where that is quick, or the CPU.
    pub(super) fn difference(
        &self,
        name: &str,
        numbers: &[(&str, f64)],
        domain: &dyn Domain,
        small: bool,
        element: Element,
        gradient: bool,
    ) -> Result<f64, Error> {
        let source = Source::find(name)?;
        // Statistics that are fields have no loss; the adjoint of their derivative is compared instead.
        let goal = match (gradient, name.starts_with("kymatio")) {
            (false, _) => Goal::Statistics,
            (true, false) => Goal::Gradient("l2".into()),
            (true, true) => Goal::VectorJacobian,
        };
        let compiler = self.compiler(&source, domain, element).goal(goal);
        let compiler = numbers.iter().fold(compiler, |compiler, (name, value)| compiler.number(name, *value));
        let (compiled, mut executable) = compiler.executable()?;
        let numbers = inputs(&executable);
        let found = executable.run(&given(&numbers))?;
        let expected = if small {
            reference::run(&compiled.graph, &given(&numbers))?
        } else {
            compiler.device(Device::default()).executable()?.1.run(&given(&numbers))?
        };
        // Real and imaginary parts of one output share their scale: either may vanish.
        let stem = |name: &str| name.trim_end_matches(".re").trim_end_matches(".im").to_string();
        let scale = |name: &str| largest(expected.iter().filter(|(other, _)| stem(other) == stem(name)).flat_map(|(_, y)| y));
        Ok(found.iter().zip(&expected).map(|((name, x), (_, y))| error_in(x, y, scale(name))).fold(0.0, f64::max))
    }

    /// What the device's memory does: results do not depend on what lay in it before or on the run, a request that is too large is refused by name.
    fn memory(&mut self) -> Value {
        let mut out = Map::new();
        for element in precisions(self.options) {
            let what = format!("memory {element}");
            self.global.note(&what);
            let value = match self.poisoned(*element) {
                Ok((again, poisoned, predicted_mb, free_mb)) => {
                    for (name, same) in [("a second run", again), ("a run after the memory was filled with NaN", poisoned)] {
                        if !same {
                            self.faults.push(format!("{what}: {name} gives other bits"));
                        }
                    }
                    json!({ "second_run_same_bits": again, "poisoned_same_bits": poisoned, "held_mb": predicted_mb, "free_mb": free_mb })
                }
                Err(e) => self.record(&what, Err(e)),
            };
            out.insert(element.to_string(), value);
        }
        if self.options.device == DeviceKind::Cuda {
            let what = "memory: a batch larger than the device";
            let refused = self.too_large();
            if !refused.contains("do not fit") {
                self.faults.push(format!("{what}: expected an error that says what does not fit, found `{refused}`"));
            }
            out.insert("too_large".into(), json!(refused));
        }
        Value::Object(out)
    }

    /// Value and gradient of a small sphere twice, then with NaN everywhere before: whether bits are equal, and memory held and free, MB.
    fn poisoned(&self, element: Element) -> Result<(bool, bool, f64, Value), Error> {
        let source = Source::find("s2scat")?;
        let sphere = Sphere::new(16, 3, 0, InputKind::Half)?;
        let (_, mut executable) = self.compiler(&source, &sphere, element).goal(Goal::Gradient("l2".into())).executable()?;
        let numbers = inputs(&executable);
        let given = given(&numbers);
        let first = executable.run(&given)?;
        let again = executable.run(&given)? == first;
        executable.poison()?;
        let poisoned = executable.run(&given)? == first;
        let memory = executable.memory();
        let free = executable.free_bytes()?.map_or(Value::Null, |bytes| json!(bytes as f64 / 1e6));
        Ok((again, poisoned, (memory.arena + memory.tables + memory.scratch) as f64 / 1e6, free))
    }

    /// What a plan of some terabytes is answered with.
    fn too_large(&self) -> String {
        let attempt = || -> Result<(), Error> {
            let source = Source::find("s2scat")?;
            let sphere = Sphere::new(128, 3, 0, InputKind::Half)?;
            self.compiler(&source, &sphere, Element::F64).batch(Some(1 << 18)).executable().map(drop)
        };
        attempt().map_or_else(|e| e.to_string(), |()| "accepted".into())
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
            // What was compiled is in the cache now.
            let start = Instant::now();
            drop(compiled.load(self.options.threads, Some(self.cache.clone()))?);
            let load_warm_ms = 1e3 * start.elapsed().as_secs_f64();
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
            let flops = compiled.scheduled.launches.iter().map(|l| l.flops).sum::<f64>();
            // Counted in f64.
            let bytes = compiled.scheduled.launches.iter().map(|l| l.bytes).sum::<f64>() * element.bytes() as f64 / 8.0;
            let run_ms = median(&mut device);
            let of = |rate: f64, keys: &[&str]| {
                let best = keys.iter().find_map(|key| self.ceiling[*key].as_f64());
                best.map_or(Value::Null, |best| json!(rate / (run_ms * 1e-3) / (best * 1e9)))
            };
            let fma = if element == Element::F32 { "f32_gflops" } else { "f64_gflops" };
            out.insert(
                key.into(),
                json!({
                    "compile_ms": compile_ms,
                    "load_ms": load_ms,
                    "load_warm_ms": load_warm_ms,
                    "run_with_transfers_ms": median(&mut whole),
                    "run_ms": run_ms,
                    "per_map_ms": run_ms / batch.unwrap_or(1) as f64,
                    "flops": flops,
                    "bytes": bytes,
                    "of_fma_ceiling": of(flops, &[fma]),
                    "of_bandwidth_ceiling": of(bytes, &["copy_gbytes", "read_gbytes"]),
                    "arena_mb": memory.arena as f64 / 1e6,
                    "tables_mb": memory.tables as f64 / 1e6,
                    "launches": launches,
                }),
            );
        }
        Ok(Value::Object(out))
    }

    /// A synthesis of so many steps, the vectors of the optimiser where the plan runs.
    fn synthesis(&mut self, L: usize, steps: usize, method: (&str, Method)) -> Value {
        let what = format!("{steps} steps of {} at L={L}", method.0);
        self.global.note(&what);
        let (options, threads) = (self.options, self.options.threads);
        let attempt = || -> Result<Value, SynthesisError> {
            let source = Source::find("s2scat")?;
            let sphere = Sphere::new(L, 3, 0, InputKind::Half).map_err(Error::from)?;
            let spectrum: Vec<f64> = (0..L).map(|ell| (1.0 + ell as f64).powf(-1.5)).collect();
            let target = scatterc::random::gaussian_with_spectrum(L, &spectrum, 1, 0);
            let start = Instant::now();
            let choices = synthesis::Options { method: method.1, steps, device: device(options, Element::F64), threads, ..Default::default() };
            let mut generator = Generator::new(&source, &sphere, &target, choices)?;
            let compile_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let made = generator.generate(&mut |_| Control::Continue)?;
            let steps_s = start.elapsed().as_secs_f64();
            let (first, last) = (made.outcome.history[0].first(), made.outcome.history[0].last());
            Ok(json!({ "compile_s": compile_s, "steps_s": steps_s, "evaluations": made.outcome.evaluations, "first": first, "last": last }))
        };
        match attempt() {
            Ok(value) => value,
            Err(e) => {
                self.faults.push(format!("{what}: {e}"));
                json!({ "error": e.to_string() })
            }
        }
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
    // A cache of its own, so that nothing is compiled before it is timed.
    let folder = std::env::temp_dir().join(format!("scatterc-suite-{}", std::process::id()));
    let cache = Arc::new(Cache::at(&folder, 2 << 30));
    let report: Map<String, Value> =
        scatterc::runtime::cuda::report::report(cache.clone()).lines.into_iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
    let mut suite = Suite { options, global, cache, ceiling: ceiling(options), faults: vec![] };
    let golden = suite.golden();
    let mut agreement = Map::new();
    for (L, N, kind) in [(8, 2, InputKind::Full), (13, 3, InputKind::Half), (16, 4, InputKind::Grid)] {
        let sphere = Sphere::new(L, N, 0, kind).map_err(Error::from)?;
        let value = suite.agreement("s2scat", &[], &sphere, true);
        agreement.insert(format!("s2scat L={L} N={N} {kind:?}"), value);
    }
    for L in [64usize, 256].into_iter().filter(|L| *L <= largest) {
        let sphere = Sphere::new(L, 3, 0, InputKind::Half).map_err(Error::from)?;
        let value = suite.agreement("s2scat", &[], &sphere, false);
        agreement.insert(format!("s2scat L={L} N=3"), value);
    }
    let numbers = [("J", 2.0), ("L", 2.0)];
    let kernels = [("J", 2.0), ("dn", 1.0)];
    let planar: [(&str, &str, &[(&str, f64)]); 6] = [
        ("cheng", "morlet", &[]),
        ("cheng_cross", "morlet", &[]),
        ("cheng_coefficients", "morlet", &numbers[1..]),
        ("cheng_harmonic", "morlet", &numbers),
        ("wph", "phase_harmonics", &kernels),
        ("kymatio2d", "kymatio2d", &[]),
    ];
    for (name, filter, numbers) in planar {
        let planned = Source::find(name).and_then(|source| {
            let filter = source.filter(filter)?;
            Plane::new(16, 20, 2, 2, &filter, Boundary::Periodic, false).map_err(Error::from)
        });
        let value = match planned {
            Ok(plane) => suite.agreement(name, numbers, &plane, true),
            Err(e) => suite.record(name, Err(e)),
        };
        agreement.insert(format!("{name} 16x20 J=2 L=2"), value);
    }
    let spectra = || Plane::line(24, 2, 1, &Source::find("spectra")?.filter("battle_lemarie")?, Boundary::Symmetric).map_err(Error::from);
    let cascade =
        || Plane::cascade(40, 3, 8, &with_numbers(&Source::find("kymatio1d")?.filter("kymatio1d")?, &[("Q1".into(), 2.0)])?).map_err(Error::from);
    for (name, planned) in [("spectra", spectra()), ("kymatio1d", cascade())] {
        let value = match planned {
            Ok(line) => suite.agreement(name, &[], &line, true),
            Err(e) => suite.record(name, Err(e)),
        };
        agreement.insert(format!("{name} of a short series"), value);
    }
    for (name, numbers) in [("foscat", &[("L", 4.0)][..]), ("foscat_cross", &[])] {
        let value = match Healpix::new(8, 4, 3).map_err(Error::from) {
            Ok(pixels) => suite.agreement(name, numbers, &pixels, true),
            Err(e) => suite.record(name, Err(e)),
        };
        agreement.insert(format!("{name} nside=8 L=4 K=3"), value);
    }
    let memory = suite.memory();
    let mut times = Map::new();
    // Half of the smallest sizes show on any machine that the rest would run.
    for L in [16usize, 64, 128, 256, 512, 1024, 2048].into_iter().filter(|L| *L <= largest && (*L > 16 || largest < 64)) {
        for element in precisions(options) {
            let value = suite.times(L, None, *element);
            times.insert(format!("L={L} {element}"), value);
            if L <= 1024 {
                let value = suite.times(L, Some(8), *element);
                times.insert(format!("L={L} batch=8 {element}"), value);
            }
        }
    }
    // Small ones for the same reason.
    let (L, steps) = if largest >= 256 { (256, 1000) } else { (8, 3) };
    let mut syntheses = Map::new();
    for method in [("lbfgs", synthesis::Options::default().method), ("adam", synthesis::Options::adam(0.02))] {
        let name = format!("{} L={L} {steps} steps", method.0);
        let value = suite.synthesis(L, steps, method);
        syntheses.insert(name, value);
    }
    // Nothing is left; a folder that cannot be removed is in the system's folder of temporary files.
    drop(std::fs::remove_dir_all(&folder));
    let whole = json!({
        "suite": env!("CARGO_PKG_VERSION"),
        "device": options.name(),
        "report": report,
        "ceiling": suite.ceiling,
        "golden": golden,
        "agreement": agreement,
        "memory": memory,
        "times": times,
        "synthesis": syntheses,
        "faults": suite.faults,
    });
    let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    match output {
        Some(path) => write_bytes_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    if suite.faults.is_empty() { Ok(()) } else { Err(CliError::Suite { faults: suite.faults }) }
}
