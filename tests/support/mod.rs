//! What the repository's tests share: statistics that use every construct, reproducible numbers, comparisons, filetests.

#![allow(dead_code, non_snake_case)]

use scatterc::compile::Compiled;
use scatterc::ir::graph::Op;
use scatterc::ir::plan::{Plan, Step};
use scatterc::ir::{Graph, text, verify::verify};
use scatterc::runtime::{Cache, Executable, MachineKind, Options, reference};
use scatterc::{Compiler, Domain, Error, Fusion, Goal, InputKind, Source, Sphere};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Named arrays, as a program takes and gives them.
pub type Arrays = Vec<(String, Vec<f64>)>;

/// A statistic that the laws and the passes are tested on.
#[derive(Clone, Copy)]
pub struct Sample {
    /// What it is about.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Layout of its fields.
    pub input: InputKind,
    /// Array parameters given at run time.
    pub arrays: &'static [&'static str],
    /// False where an output is a field, which no loss takes.
    pub loss: bool,
}

const fn sample(name: &'static str, input: InputKind, text: &'static str) -> Sample {
    Sample { name, text, input, arrays: &[], loss: true }
}

/// Every construct of the notation at least once.
pub const SAMPLES: &[Sample] = &[
    sample(
        "lowpass",
        InputKind::Half,
        "statistic lowpass(x) { A[j] = lowpass(x, j); m[j] = mean(abs(A[j])); v = var(lowpass(x, 2)); l = mean(lowpass(x)^2); p[j] = power(A[j]); return m, v, p, l; }",
    ),
    sample(
        "covariance",
        InputKind::Half,
        "statistic covariance(x) { W[j, g] = wavelet(x, j, g); N[i, h, j, g] = wavelet(abs(W[i, h]), j, g) where j < i;
         C[j, i, h, g] = cov(W[j, g], N[i, h, j, g]); D[j, i, h, g] = cov(N[i, h, j, g], N[i, g, j, h]); return C, D; }",
    ),
    sample(
        "variance_and_power",
        InputKind::Grid,
        "statistic moments(x) { W[j, g] = wavelet(x, j, g); M[j, g] = abs(W[j, g]); V[j, g] = var(M[j, g]); P[j, g] = power(M[j, g]);
         v = var(x); p = power(x); m = mean(x); return V, P, v, p, m; }",
    ),
    sample(
        "phase_harmonics",
        InputKind::Full,
        "statistic harmonics(x) { W[j, g] = wavelet(x, j, g); H[i, g, j] = wavelet(harmonic(W[i, g], 2^(i - j)), j, g) where j < i;
         C[j, i, g] = cov(H[i, g, j], W[j, g]); a[j, g] = mean(abs(harmonic(W[j, g], 0) - W[j, g])); return C, a; }",
    ),
    sample(
        "third_order",
        InputKind::Half,
        "statistic third(x) { U[i, g] = abs(wavelet(x, i, g)); V[j, i, g] = abs(wavelet(U[i, g], j, g)) where j < i;
         T[k, j, i, g] = abs(wavelet(V[j, i, g], k, g)) where k < j; S[k, j, i, g] = mean(T[k, j, i, g]); return S; }",
    ),
    sample(
        "cross",
        InputKind::Half,
        "statistic cross(x, y) { W[j, g] = wavelet(x, j, g); V[j, g] = wavelet(y, j, g); C[j, g, h] = mean(W[j, g] * V[j, h]);
         B[j, i, g] = integral(abs(W[j, g]) * wavelet(abs(V[i, g]), j, g)) where j < i; q = mean(x * y); return C, B, q; }",
    ),
    sample(
        "complex",
        InputKind::Full,
        "statistic complex(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); C[j, g, h] = mean(W[j, g] * conj(W[j, h]));
         N[i, h, j] = wavelet(abs(W[i, h]), j, h) where j < i; D[j, i, h] = cov(W[j, h], N[i, h, j]); m = mean(x); return S, C, D, m; }",
    ),
    sample(
        "cyclic_directions",
        InputKind::Half,
        "statistic cyclic(x) { W[j, g] = wavelet(x, j, g); N[i, h, j, g] = wavelet(abs(W[i, h]), j, g) where j < i;
         S3[j, i, h, g] = mean(W[j, g] * N[i, h, j, g]); I[j, i, d] = mean{g}(S3[j, i, g + d, g]); F[j, d] = mean{g}(mean(W[j, g] * W[j, g - d + 1]));
         Z[j] = mean(abs(W[j, 0])); return I, F, Z; }",
    ),
    sample(
        "sums",
        InputKind::Half,
        "statistic sums(x) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g])); total = sum{j, g}(S[j, g]^2); per[j] = sum{g}(S[j, g]) / total;
         D[i, j] = per[i] - per[j] where j < i; coarser[i] = sum{j}(per[j] * D[i, j]); energy[j] = mean(sum{g}(W[j, g]^2)^2);
         return total, per, coarser, energy; }",
    ),
    sample(
        "index_as_number",
        InputKind::Half,
        "statistic scaled(x) { W[j, g] = wavelet(x, j, g); S[j, g] = 2^j * mean(abs(W[j, g])) + j - g / 2; Q[j, g] = mean(abs(2^-j * W[j, g] - 0.1 * (j + 1))); return S, Q; }",
    ),
    Sample {
        arrays: &["P"],
        ..sample(
            "parameters",
            InputKind::Half,
            "statistic normed(x; p = 1.5, P[j, g] = 1) { W[j, g] = wavelet(x, j, g); S[j, g] = mean(abs(W[j, g] / P[j, g])^p); R[j, i, g] = S[j, g] / P[i, g] where j < i; return S, R; }",
        )
    },
    sample(
        "transcendental",
        InputKind::Half,
        "statistic functions(x) { W[j, g] = wavelet(x, j, g); E[j, g] = mean(exp(-W[j, g]^2)); T[j, g] = mean(tanh(3 * W[j, g])); L[j, g] = log(1 + mean(abs(W[j, g])));
         R[j, g] = mean(relu(W[j, g]) + softplus(W[j, g])); K[j] = mean(min(W[j, 0], sin(W[j, 1]))) + mean(max(cos(W[j, 0]), sqrt(0.5 + W[j, 1]^2)));
         return E, T, L, R, K; }",
    ),
    Sample {
        loss: false,
        ..sample(
            "fields",
            InputKind::Full,
            "statistic fields(x) { W[j, g] = wavelet(x, j, g); A[j] = lowpass(abs(W[j, 1]), j); p[j, g] = arg(W[j, g]) * sign(re(W[j, g])); return A, p; }",
        )
    },
];

/// The built-in statistic.
pub const S2SCAT: &str = include_str!("../../statistics/s2scat.scat");

/// A statistic on a sphere, ready to be compiled.
#[derive(Clone)]
pub struct Subject {
    pub name: String,
    pub source: Source,
    pub sphere: Sphere,
    pub arrays: Vec<String>,
    pub loss: bool,
}

impl Subject {
    /// A sample on a sphere of that size.
    pub fn new(sample: &Sample, L: usize, N: usize) -> Subject {
        Subject {
            name: format!("{} L={L} N={N}", sample.name),
            source: Source::from_text(sample.text, sample.name).unwrap_or_else(|e| panic!("{e}")),
            sphere: Sphere::new(L, N, 0, sample.input).expect("sizes of the tests are valid"),
            arrays: sample.arrays.iter().map(|name| name.to_string()).collect(),
            loss: sample.loss,
        }
    }

    /// The built-in statistic, with norms given at run time where `normed`.
    pub fn s2scat(L: usize, N: usize, input: InputKind, normed: bool) -> Subject {
        Subject {
            name: format!("s2scat L={L} N={N} {input:?}{}", if normed { " normed" } else { "" }),
            source: Source::from_text(S2SCAT, "s2scat").unwrap_or_else(|e| panic!("{e}")),
            sphere: Sphere::new(L, N, 0, input).expect("sizes of the tests are valid"),
            arrays: if normed { vec!["P".into()] } else { vec![] },
            loss: true,
        }
    }

    /// A compiler with the default choices and one thread.
    pub fn compiler(&self) -> Compiler<'_> {
        let mut compiler = Compiler::new(&self.source, &self.sphere).threads(1).cache(cache());
        for name in &self.arrays {
            compiler = compiler.array(name);
        }
        compiler
    }

    /// The program for one goal.
    pub fn compile(&self, goal: Goal) -> Compiled {
        self.compiler().goal(goal).compile().unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

/// One cache in memory for a test program: tables are made once and nothing is written to disk.
pub fn cache() -> Arc<Cache> {
    static CACHE: OnceLock<Arc<Cache>> = OnceLock::new();
    CACHE.get_or_init(|| Arc::new(Cache::in_memory())).clone()
}

/// Reproducible numbers in -1..1.
pub fn random(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// A seed that belongs to a name, so that the same input gets the same numbers in every program.
pub fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Numbers for every input and parameter of a graph; norms and weights are positive.
pub fn given(graph: &Graph) -> Arrays {
    let mut out = Arrays::new();
    for node in &graph.nodes {
        if let Op::Input(name) | Op::Parameter(name) = &node.op {
            let mut values = random(seed_of(name), node.ty.len());
            if name == "P" || name.starts_with("s.") || name.starts_with("w.") {
                values.iter_mut().for_each(|x| *x = 1.0 + 0.5 * *x);
            }
            out.push((name.clone(), values));
        }
    }
    out
}

/// Arrays as the devices take them.
pub fn borrowed(arrays: &Arrays) -> Vec<(&str, &[f64])> {
    arrays.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect()
}

/// The array of that name.
pub fn array<'a>(arrays: &'a Arrays, name: &str) -> &'a [f64] {
    let known = || arrays.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    arrays.iter().find(|(n, _)| n == name).map(|(_, values)| values.as_slice()).unwrap_or_else(|| panic!("no array {name} among {}", known()))
}

/// Runs a graph on the reference device.
pub fn on_reference(graph: &Graph, inputs: &Arrays) -> Arrays {
    reference::run(graph, &borrowed(inputs)).unwrap_or_else(|e| panic!("{}: {e}", graph.name))
}

/// Runs a plan on the CPU device.
pub fn on_cpu(plan: &Plan, threads: usize, inputs: &Arrays) -> Arrays {
    let mut executable = Executable::load(plan, &Options { threads, cache: Some(cache()), ..Options::default() })
        .unwrap_or_else(|e| panic!("{}: {e}\n{plan}", plan.name));
    executable.run(&borrowed(inputs)).unwrap_or_else(|e| panic!("{}: {e}", plan.name))
}

/// Runs a plan for CUDA on the emulation.
pub fn on_emulation(plan: &Plan, inputs: &Arrays) -> Arrays {
    let options = Options { threads: 1, cache: Some(cache()), machine: MachineKind::Emulation, ..Options::default() };
    let mut executable = Executable::load(plan, &options).unwrap_or_else(|e| panic!("{}: {e}\n{plan}", plan.name));
    executable.run(&borrowed(inputs)).unwrap_or_else(|e| panic!("{}: {e}", plan.name))
}

/// Largest difference in units of the largest number; real and imaginary parts of one output share their scale.
pub fn error(found: &Arrays, expected: &Arrays, what: &str) -> f64 {
    let names = |arrays: &Arrays| arrays.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: outputs");
    let stem = |name: &str| name.trim_end_matches(".re").trim_end_matches(".im").to_string();
    let mut scales: BTreeMap<String, f64> = BTreeMap::new();
    for (name, values) in expected {
        let scale = scales.entry(stem(name)).or_insert(f64::MIN_POSITIVE);
        *scale = values.iter().fold(*scale, |m, x| m.max(x.abs()));
    }
    let mut worst: f64 = 0.0;
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: length of {name}");
        for (x, y) in found.iter().zip(expected) {
            assert!(x.is_finite() && y.is_finite(), "{what}: {name} has {x}, expected {y}");
            worst = worst.max((x - y).abs() / scales[&stem(name)]);
        }
    }
    worst
}

/// Panics when two results differ by more than a part of the largest number of each output.
pub fn assert_equal(found: &Arrays, expected: &Arrays, tolerance: f64, what: &str) {
    let error = error(found, expected, what);
    if error > tolerance {
        for ((name, found), (_, expected)) in found.iter().zip(expected) {
            let worst = found.iter().zip(expected).enumerate().max_by(|(_, (a, b)), (_, (c, d))| (*a - *b).abs().total_cmp(&(*c - *d).abs()));
            if let Some((k, (x, y))) = worst {
                println!("  {name}[{k}] of {}: {x:e} expected {y:e}", expected.len());
            }
        }
        panic!("{what}: error {error:e} exceeds {tolerance:e}");
    }
}

/// Root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder whose name ends in one of the endings, sorted; build output and version control are left out.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | ".venv") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// A filetest: its text and what its first lines ask for.
pub struct FileTest {
    pub path: PathBuf,
    pub text: String,
    /// Words of the `test` line.
    pub tests: Vec<String>,
    /// Lines `expect fuse { loop 3, gram 1 }`.
    pub expected: Vec<(String, String)>,
    /// The line `domain L=4 N=2 J_min=0 input=half` of a `.scat` file.
    pub domain: BTreeMap<String, String>,
}

impl FileTest {
    /// Reads a file; comments start with `;` in graphs and `//` in statistics.
    pub fn read(path: &Path) -> FileTest {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mark = if path.extension().is_some_and(|e| e == "scat") { "//" } else { ";" };
        let mut out = FileTest { path: path.into(), text: text.clone(), tests: vec![], expected: vec![], domain: BTreeMap::new() };
        for line in text.lines().map_while(|line| line.strip_prefix(mark)) {
            let line = line.trim();
            if let Some(words) = line.strip_prefix("test ") {
                out.tests = words.split_whitespace().map(str::to_string).collect();
            } else if let Some(rest) = line.strip_prefix("expect ") {
                let (kind, counts) = rest.split_once(' ').unwrap_or((rest, ""));
                out.expected.push((kind.into(), counts.trim_matches(['{', '}', ' ']).into()));
            } else if let Some(rest) = line.strip_prefix("domain ") {
                out.domain = rest.split_whitespace().filter_map(|w| w.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
            }
        }
        assert!(!out.tests.is_empty(), "{}: the first line must name the tests, as in `{mark} test print run`", path.display());
        for word in &out.tests {
            let known = ["print", "verify", "grad", "fuse", "run"];
            assert!(known.contains(&word.as_str()), "{}: there is no test `{word}`; known: {known:?}", path.display());
        }
        out
    }

    /// All filetests of one ending.
    pub fn all(ending: &str) -> Vec<FileTest> {
        files(&root().join("tests/filetests"), &[ending]).iter().map(|path| FileTest::read(path)).collect()
    }

    pub fn asks(&self, test: &str) -> bool {
        self.tests.iter().any(|t| t == test)
    }

    pub fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    /// The graph of a `.graph` file.
    pub fn graph(&self) -> Graph {
        text::parse(&self.text).unwrap_or_else(|e| panic!("{}: {e}", self.name()))
    }

    /// The subject of a `.scat` file.
    pub fn subject(&self) -> Subject {
        let number = |key: &str, default: usize| match self.domain.get(key) {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{}: {key}={text} is no number", self.name())),
            None => default,
        };
        let input = match self.domain.get("input").map(String::as_str) {
            None | Some("half") => InputKind::Half,
            Some("full") => InputKind::Full,
            Some("grid") => InputKind::Grid,
            Some(other) => panic!("{}: there is no input `{other}`", self.name()),
        };
        Subject {
            name: self.name(),
            source: Source::from_text(&self.text, &self.name()).unwrap_or_else(|e| panic!("{e}")),
            sphere: Sphere::new(number("L", 4), number("N", 2), number("J_min", 0), input).unwrap_or_else(|e| panic!("{}: {e}", self.name())),
            arrays: vec![],
            loss: true,
        }
    }

    /// The graph as it is run, before any pass.
    pub fn bound(&self) -> Graph {
        if self.path.extension().is_some_and(|e| e == "scat") {
            self.subject().compile(Goal::Statistics).bound.graph
        } else {
            let graph = self.graph();
            verify(&graph).unwrap_or_else(|faults| panic!("{}: {faults:?}", self.name()));
            graph
        }
    }
}

/// Steps of a plan by kind, `concat 1, gram 1, loop 3`, in alphabetic order; library maps count by their spelling.
pub fn step_counts(plan: &Plan) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in &plan.steps {
        let kind = match step {
            Step::Linear { map, adjoint, .. } => format!("{}{}", map.spelling(), if *adjoint { "^H" } else { "" }),
            Step::Loop { .. } => "loop".into(),
            Step::Tile { .. } => "tile".into(),
            Step::Gram { .. } => "gram".into(),
            Step::Mix { .. } => "mix".into(),
            Step::FrameGram { .. } => "frame_gram".into(),
            Step::FrameMix { .. } => "frame_mix".into(),
            Step::FilterGram { .. } => "filter_gram".into(),
            Step::FilterMix { .. } => "filter_mix".into(),
            Step::Concat { .. } => "concat".into(),
            Step::Fill { .. } => "fill".into(),
            Step::Launch { .. } => "launch".into(),
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    counts
}

/// Describes a domain; used in messages.
pub fn describe(subject: &Subject) -> String {
    subject.sphere.describe()
}

/// Plans of a statistic against the reference device on the graph without passes, and the gradient of `l2` against central differences along a random direction.
pub fn assert_sound(source: &Source, domain: &dyn Domain, name: &str) -> Result<(), Error> {
    let what = format!("{name} on {}", domain.describe());
    let compiler = Compiler::new(source, domain).threads(1).cache(cache());
    let plain = compiler.compile()?;
    assert!(plain.bound.outputs.iter().all(|o| !o.index.rows.is_empty()), "{what}: an output has no entries");
    let inputs = given(&plain.graph);
    let expected = on_reference(&plain.bound.graph, &inputs);
    for fusion in [Fusion::All, Fusion::None] {
        assert_equal(&on_cpu(compiler.clone().fusion(fusion).compile()?.plan(), 1, &inputs), &expected, 1e-11, &format!("{what} {fusion:?}"));
    }
    let gradient = compiler.clone().goal(Goal::Gradient("l2".into())).compile()?;
    let inputs = given(&gradient.graph);
    let found = on_cpu(gradient.plan(), 1, &inputs);
    let fields: Vec<String> = found.iter().filter_map(|(name, _)| name.strip_prefix("gradient.").map(str::to_string)).collect();
    let tangents: Arrays = fields.iter().map(|f| (f.clone(), random(seed_of(f) ^ 77, array(&inputs, f).len()))).collect();
    let loss = compiler.clone().goal(Goal::Loss("l2".into())).compile()?;
    let value = |by: f64| {
        let moved: Arrays = inputs
            .iter()
            .map(|(n, v)| match tangents.iter().find(|(f, _)| f == n) {
                Some((_, t)) => (n.clone(), v.iter().zip(t).map(|(x, t)| x + by * t).collect()),
                None => (n.clone(), v.clone()),
            })
            .collect();
        on_cpu(loss.plan(), 1, &moved)[0].1[0]
    };
    // Moduli have kinks: a short step makes it unlikely that one is crossed. Rounding eps / h and truncation h^2 both lie below 1e-8 of the value.
    let h = 1e-6;
    let slope = (value(h) - value(-h)) / (2.0 * h);
    let product: f64 = tangents.iter().map(|(f, t)| t.iter().zip(array(&found, &format!("gradient.{f}"))).map(|(a, b)| a * b).sum::<f64>()).sum();
    let scale = product.abs().max(1e-2 * value(0.0).abs());
    assert!((slope - product).abs() <= 1e-6 * scale, "{what}: <gradient, t> = {product:e}, differences give {slope:e}");
    Ok(())
}
