//! The pipeline behind one builder: source and domain in, executable out.

use crate::statistics::Source;
use crate::{Error, Index, precision};
use scatterc_compiler::bind::{BindError, BindOptions, Bound, OutputInfo, bind};
use scatterc_compiler::domain::Domain;
use scatterc_compiler::fuse::Fusion;
use scatterc_compiler::pass::{Stage, Trace, run_passes};
use scatterc_compiler::schedule::{ScheduleError, Scheduled, schedule_cpu, schedule_cuda, schedule_within};
use scatterc_compiler::{gradient, loss};
use scatterc_ir::plan::Element;
use scatterc_ir::{Graph, Plan};
use scatterc_runtime::resident::Variables;
use scatterc_runtime::tables::{Cache, Key};
use scatterc_runtime::{Executable, Legendre, LoadError, MachineKind, Options};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What the compiled program computes.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Goal {
    /// The statistics.
    #[default]
    Statistics,
    /// The value of a loss.
    Loss(String),
    /// Value and gradient of a loss.
    Gradient(String),
    /// Statistics, and the vector-Jacobian product for given cotangents.
    VectorJacobian,
    /// Statistics, and the Jacobian-vector product for given tangents.
    JacobianVector,
    /// Value and gradient of a loss, and the Hessian-vector product for given tangents.
    HessianVector(String),
}

/// What a program is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    Cpu(Element),
    /// A CUDA device.
    Cuda(Element),
    /// The kernels of a CUDA device on the CPU, thread by thread: for tests. Needs a C++ compiler.
    EmulatedCuda(Element),
}

/// Compiles a statistic for a domain.
///
/// ```
/// use scatterc::{Compiler, Source, Sphere, InputKind};
///
/// let source = Source::find("s2scat")?;
/// let sphere = Sphere::new(8, 3, 0, InputKind::Half)?;
/// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
/// let statistics = encoder.encode(&vec![0.1; 2 * 8 * 8])?;
/// assert_eq!(statistics.get("S1").map(|s| s.re.len()), Some(20));
/// # Ok::<(), scatterc::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Compiler<'a> {
    source: &'a Source,
    domain: &'a dyn Domain,
    statistic: Option<String>,
    options: BindOptions,
    goal: Goal,
    fusion: Fusion,
    disabled: Vec<String>,
    device: Device,
    threads: usize,
    cache: Option<Arc<Cache>>,
    memory: Option<usize>,
    legendre: Legendre,
    error: Option<f64>,
}

/// A compiled program: every stage kept, ready to be explained, saved or loaded.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The bound statistic.
    pub bound: Bound,
    /// The final graph.
    pub graph: Graph,
    /// Graphs of all stages.
    pub trace: Trace,
    /// Plan and launches.
    pub scheduled: Scheduled,
    /// Seconds spent compiling, without loading.
    pub compile_s: f64,
    /// Where a plan for CUDA runs.
    pub machine: MachineKind,
    /// Where the functions of Legendre stages come from on the CPU.
    pub legendre: Legendre,
}

impl Default for Device {
    /// The CPU in f64.
    fn default() -> Self {
        Device::Cpu(Element::F64)
    }
}

impl Device {
    /// Whether it is a CUDA device or its emulation, where vectors of an optimiser can stay.
    pub fn is_cuda(self) -> bool {
        matches!(self, Device::Cuda(_) | Device::EmulatedCuda(_))
    }

    /// The same device with another element type.
    pub fn with(self, element: Element) -> Device {
        match self {
            Device::Cpu(_) => Device::Cpu(element),
            Device::Cuda(_) => Device::Cuda(element),
            Device::EmulatedCuda(_) => Device::EmulatedCuda(element),
        }
    }

    fn machine(self) -> MachineKind {
        match self {
            Device::Cpu(_) | Device::Cuda(_) => MachineKind::Gpu,
            Device::EmulatedCuda(_) => MachineKind::Emulation,
        }
    }
}

/// Seconds of compiling from which a plan is kept for the next start; smaller ones are made as quickly as they are read.
const SLOW_COMPILE: f64 = 0.01;

/// Which program runs: its length and time of writing, so that a rebuilt compiler never takes plans of the one before.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let facts = std::env::current_exe().and_then(std::fs::metadata).and_then(|m| Ok((m.len(), m.modified()?)));
        facts.map_or_else(|_| String::new(), |facts| format!("{facts:?}"))
    })
}

impl<'a> Compiler<'a> {
    /// A compiler with default choices: all passes, all fusion, all cores.
    pub fn new(source: &'a Source, domain: &'a dyn Domain) -> Self {
        Compiler {
            source,
            domain,
            statistic: None,
            options: BindOptions::default(),
            goal: Goal::default(),
            fusion: Fusion::All,
            disabled: vec![],
            device: Device::default(),
            threads: 0,
            cache: None,
            memory: None,
            legendre: Legendre::default(),
            error: None,
        }
    }

    /// Chooses one of several statistics of the source.
    pub fn statistic(mut self, name: &str) -> Self {
        self.statistic = Some(name.into());
        self
    }

    /// Chooses a named `return`, such as `isotropic`.
    pub fn variant(mut self, name: Option<&str>) -> Self {
        self.options.variant = name.map(str::to_string);
        self
    }

    /// Gives a number parameter, such as `delta`.
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.options.numbers.insert(name.into(), value);
        self
    }

    /// Makes an array parameter with a default one that is given at run time, such as the norms `P`.
    pub fn array(mut self, name: &str) -> Self {
        if !self.options.arrays.iter().any(|n| n == name) {
            self.options.arrays.push(name.into());
        }
        self
    }

    /// Processes `maps` fields together; inputs and outputs get a leading axis.
    pub fn batch(mut self, maps: Option<usize>) -> Self {
        self.options.batch = maps;
        self
    }

    /// Chooses what is computed.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// Chooses how much is fused.
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Leaves passes out by name.
    pub fn disable(mut self, passes: &[String]) -> Self {
        self.disabled = passes.to_vec();
        self
    }

    /// Chooses what runs the program.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Chooses the precision by the largest relative error of every output: single where a probe shows that it is enough, double otherwise ([`crate::precision`]). The plan then has
    /// a note `precision` that says what was chosen and why.
    ///
    /// ```
    /// use scatterc::{Compiler, Element, InputKind, Source, Sphere};
    ///
    /// let source = Source::find("s2scat")?;
    /// let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let rough = Compiler::new(&source, &sphere).within(1e-2).compile()?;
    /// assert_eq!(rough.plan().element, Element::F32);
    /// let exact = Compiler::new(&source, &sphere).within(1e-10).compile()?;
    /// assert_eq!(exact.plan().element, Element::F64);
    /// assert!(exact.plan().note("precision").is_some_and(|note| note.contains("S1")));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn within(mut self, error: f64) -> Self {
        self.error = Some(error);
        self
    }

    /// Number of threads; 0 means all cores.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Uses this table cache instead of the global one.
    pub fn cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Budget in bytes for buffers, tables and scratch together: values are recomputed rather than stored where that is needed to stay below it.
    pub fn memory(mut self, bytes: Option<usize>) -> Self {
        self.memory = bytes;
        self
    }

    /// Chooses where the functions of Legendre stages come from on the CPU.
    pub fn legendre(mut self, legendre: Legendre) -> Self {
        self.legendre = legendre;
        self
    }

    /// Runs the pipeline.
    pub fn compile(&self) -> Result<Compiled, Error> {
        let start = Instant::now();
        if let Some(target) = self.error {
            let plain = Compiler { error: None, ..self.clone() };
            let probe = precision::probe(&plain, self.device, target)?;
            let mut compiled = plain.device(self.device.with(probe.element)).compile()?;
            compiled.scheduled.plan.notes.push(("precision".into(), probe.to_string()));
            return Ok(Compiled { compile_s: start.elapsed().as_secs_f64(), ..compiled });
        }
        let statistic = self.source.statistic(self.statistic.as_deref())?;
        let bound = self.bind()?;
        let mut trace = vec![Stage { name: "bind".into(), sentence: "The statistic on its domain.".into(), graph: bound.graph.clone() }];
        let stage = |trace: &mut Trace, name: &str, sentence: &str, graph: Graph| -> Result<Graph, Error> {
            trace.push(Stage { name: name.into(), sentence: sentence.into(), graph: graph.clone() });
            Ok(run_passes(graph, &self.disabled, trace)?)
        };
        // Simplified before differentiation, so that the reverse pass inherits every saving.
        let graph = run_passes(bound.graph.clone(), &self.disabled, &mut trace)?;
        let with_loss = |trace: &mut Trace, name: &str| -> Result<Graph, Error> {
            let simplified = Bound { graph: graph.clone(), ..bound.clone() };
            let applied = loss::with_loss(&simplified, &self.source.loss(name)?)?;
            trace.push(Stage { name: "loss".into(), sentence: format!("The loss `{name}` of all outputs, summed."), graph: applied.clone() });
            Ok(run_passes(applied, &self.disabled, trace)?)
        };
        let graph = match &self.goal {
            Goal::Statistics => graph,
            Goal::Loss(name) => with_loss(&mut trace, name)?,
            Goal::Gradient(name) => {
                let graph = with_loss(&mut trace, name)?;
                stage(
                    &mut trace,
                    "gradient",
                    "Reverse mode: adjoints of linear maps, derivatives of pointwise functions.",
                    gradient::value_and_gradient(&graph)?,
                )?
            }
            Goal::VectorJacobian => stage(&mut trace, "vector-jacobian", "Reverse mode for given cotangents.", gradient::vector_jacobian(&graph)?)?,
            Goal::JacobianVector => stage(&mut trace, "jacobian-vector", "Forward mode for given tangents.", gradient::jacobian_vector(&graph)?)?,
            Goal::HessianVector(name) => {
                let graph = with_loss(&mut trace, name)?;
                let graph = stage(&mut trace, "gradient", "Reverse mode.", gradient::value_and_gradient(&graph)?)?;
                stage(&mut trace, "hessian-vector", "Forward mode over reverse mode.", gradient::jacobian_vector(&graph)?)?
            }
        };
        let mut scheduled = match self.device {
            Device::Cpu(element) => schedule_cpu(&graph, self.fusion, element)?,
            Device::Cuda(element) | Device::EmulatedCuda(element) => schedule_cuda(&graph, self.fusion, element)?,
        };
        let mut graph = graph;
        if let Some(budget) = self.memory
            && self.device.is_cuda()
        {
            // On CUDA nothing is recomputed: the budget bounds the arena.
            let needed = scheduled.plan.arena * scheduled.plan.element.bytes();
            if needed > budget {
                return Err(Error::Memory { needed, budget });
            }
        } else if let Some(budget) = self.memory {
            // Loading tells what tables and scratch take beside the arena; recomputing adds a little to them, so a second try may be needed.
            let held = |plan: &Plan| -> Result<usize, Error> {
                let memory = Executable::load(plan, &self.options())?.memory();
                Ok(memory.arena + memory.tables + memory.scratch)
            };
            let mut peak = held(&scheduled.plan)?;
            let whole = graph.clone();
            let element = scheduled.plan.element;
            let bytes = element.bytes();
            let mut limit = bytes * scheduled.plan.arena;
            while peak > budget {
                let fixed = peak - bytes * scheduled.plan.arena;
                limit = limit.min(bytes * scheduled.plan.arena).checked_sub(peak - budget).ok_or(Error::Memory { needed: fixed, budget })?;
                (graph, scheduled) = match schedule_within(&whole, self.fusion, limit / bytes, element) {
                    Err(ScheduleError::Memory { needed, .. }) => return Err(Error::Memory { needed: needed + fixed, budget }),
                    other => other?,
                };
                peak = held(&scheduled.plan)?;
            }
            if graph.nodes.len() != whole.nodes.len() {
                trace.push(Stage {
                    name: "recompute".into(),
                    sentence: format!("Values recomputed to stay within {budget} bytes."),
                    graph: graph.clone(),
                });
            }
            scheduled.plan.notes.push(("peak_bytes".into(), peak.to_string()));
        }
        scheduled.plan.notes.push(("domain".into(), self.domain.describe()));
        scheduled.plan.notes.push(("statistic".into(), statistic.statistic.to_string()));
        if let Some(variant) = &self.options.variant {
            scheduled.plan.notes.push(("variant".into(), variant.clone()));
        }
        scheduled.plan.notes.push(("compiler".into(), env!("CARGO_PKG_VERSION").into()));
        Ok(Compiled {
            bound,
            graph,
            trace,
            scheduled,
            compile_s: start.elapsed().as_secs_f64(),
            machine: self.device.machine(),
            legendre: self.legendre,
        })
    }

    fn options(&self) -> Options {
        Options { threads: self.threads, cache: Some(self.tables()), machine: self.device.machine(), legendre: self.legendre, memory: None }
    }

    fn tables(&self) -> Arc<Cache> {
        self.cache.clone().unwrap_or_else(Cache::global)
    }

    /// Binds the statistic to the domain: what it computes, before anything is simplified.
    ///
    /// Error: a text that does not fit the domain.
    pub fn bind(&self) -> Result<Bound, Error> {
        let statistic = self.source.statistic(self.statistic.as_deref())?;
        let rendered = |error: &BindError| error.render(&self.source.text, &self.source.origin);
        bind(statistic, self.domain, &self.options).map_err(|error| Error::Bind { rendered: rendered(&error), error })
    }

    /// Compiles and loads. A plan that was made before from the same text, domain and choices is taken from the cache and verified like any plan; the stages in between are
    /// then not kept: `graph` is the bound one, and `trace` and `launches` are empty.
    pub fn executable(&self) -> Result<(Compiled, Executable), Error> {
        self.loaded(&|compiled| Executable::load(compiled.plan(), &self.options()))
    }

    /// As [`Compiler::executable`], with vectors of an optimiser on the device: `variables` says which, once the plan is known.
    ///
    /// Error: as there, a device that is not CUDA, variables that do not fit.
    pub fn resident(&self, variables: &dyn Fn(&Compiled) -> Variables) -> Result<(Compiled, Executable), Error> {
        self.loaded(&|compiled| Executable::load_resident(compiled.plan(), &self.options(), &variables(compiled)))
    }

    fn loaded(&self, load: &dyn Fn(&Compiled) -> Result<Executable, LoadError>) -> Result<(Compiled, Executable), Error> {
        // A stored plan that does not load is from code that disagrees with this one: it is made again.
        if let Some(compiled) = self.stored()?
            && let Ok(executable) = load(&compiled)
        {
            return Ok((compiled, executable));
        }
        let compiled = self.compile()?;
        let executable = load(&compiled)?;
        self.store(&compiled);
        Ok((compiled, executable))
    }

    /// As [`Compiler::executable`], without loading the plan.
    pub fn planned(&self) -> Result<Compiled, Error> {
        if let Some(compiled) = self.stored()? {
            return Ok(compiled);
        }
        let compiled = self.compile()?;
        self.store(&compiled);
        Ok(compiled)
    }

    /// The plan that was made before.
    fn stored(&self) -> Result<Option<Compiled>, Error> {
        let start = Instant::now();
        let found = self.tables().find(&self.key());
        let Some(plan) = found.and_then(|bytes| scatterc_ir::plan::parse(std::str::from_utf8(&bytes).ok()?).ok()) else { return Ok(None) };
        let bound = self.bind()?;
        let scheduled = Scheduled { plan, launches: vec![], recomputed: vec![] };
        let (graph, machine) = (bound.graph.clone(), self.device.machine());
        Ok(Some(Compiled { graph, bound, trace: vec![], scheduled, compile_s: start.elapsed().as_secs_f64(), machine, legendre: self.legendre }))
    }

    /// Keeps a plan that took long to make.
    fn store(&self, compiled: &Compiled) {
        if compiled.compile_s > SLOW_COMPILE {
            self.tables().store(&self.key(), compiled.plan().to_string().into_bytes());
        }
    }

    /// Names a plan by everything it depends on.
    fn key(&self) -> Key {
        let choices = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            self.statistic, self.options, self.goal, self.fusion, self.disabled, self.device, self.error
        );
        // What fits a budget depends on the scratch memory of the threads.
        let memory = self.memory.map_or(String::new(), |bytes| format!("{bytes} {} {:?}", self.threads, self.legendre));
        Key::of_texts("plan", &[program(), &self.source.text, &format!("{:?}", self.domain), &choices, &memory])
    }

    /// Compiles the statistics themselves into an [`Encoder`].
    pub fn encoder(&self) -> Result<Encoder, Error> {
        let (compiled, executable) = Compiler { goal: Goal::Statistics, ..self.clone() }.executable()?;
        Ok(Encoder { compiled, executable, parameters: BTreeMap::new() })
    }
}

impl Compiled {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.scheduled.plan
    }

    /// Loads the plan; `threads` 0 means all cores.
    pub fn load(&self, threads: usize, cache: Option<Arc<Cache>>) -> Result<Executable, Error> {
        Ok(Executable::load(self.plan(), &self.options(threads, cache))?)
    }

    /// As [`Compiled::load`], with vectors of an optimiser on the device.
    ///
    /// Error: as there, a device that is not CUDA, variables that do not fit.
    pub fn load_resident(&self, threads: usize, cache: Option<Arc<Cache>>, variables: &Variables) -> Result<Executable, Error> {
        Ok(Executable::load_resident(self.plan(), &self.options(threads, cache), variables)?)
    }

    fn options(&self, threads: usize, cache: Option<Arc<Cache>>) -> Options {
        Options { threads, cache: Some(cache.unwrap_or_else(Cache::global)), machine: self.machine, legendre: self.legendre, memory: None }
    }
}

/// One output of a statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Real parts, `[batch.., axes.., entries]`.
    pub re: Vec<f64>,
    /// Imaginary parts of a complex output.
    pub im: Option<Vec<f64>>,
    /// What each entry is; empty for field-valued outputs.
    pub index: Arc<Index>,
    /// Leading axes, after that of a batch: masks, and components of a field.
    pub axes: Vec<usize>,
}

/// All outputs of a statistic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Statistics {
    /// Number of maps; `None` without a batch axis.
    pub batch: Option<usize>,
    /// Outputs in order.
    pub arrays: Vec<Array>,
}

impl Statistics {
    /// Output of that name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|a| a.name == name)
    }
}

/// A loaded statistic: fields in, statistics out. The analogue of S2SCAT's `build_encoder`.
pub struct Encoder {
    compiled: Compiled,
    executable: Executable,
    parameters: BTreeMap<String, Vec<f64>>,
}

impl Encoder {
    /// Sets an array parameter, such as the norms `P`; its length must be that of the parameter's index table.
    pub fn set(&mut self, name: &str, values: &[f64]) -> Result<(), Error> {
        let known = self.compiled.bound.parameters.iter().find(|p| p.name == name);
        match known {
            Some(p) if p.len == values.len() => {
                self.parameters.insert(name.into(), values.to_vec());
                Ok(())
            }
            Some(p) => Err(Error::Length { name: name.into(), expected: p.len, found: values.len() }),
            None => Err(Error::UnknownInput {
                found: name.into(),
                known: self.compiled.bound.parameters.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Statistics of one field (or one batch), in the domain's input layout, complex numbers as interleaved pairs.
    pub fn encode(&mut self, field: &[f64]) -> Result<Statistics, Error> {
        self.encode_fields(&[field])
    }

    /// Statistics of several fields, in the order of the declaration.
    pub fn encode_fields(&mut self, fields: &[&[f64]]) -> Result<Statistics, Error> {
        let names: Vec<String> = gradient::inputs(&self.compiled.bound.graph).into_iter().map(|(_, name)| name).collect();
        if names.len() != fields.len() {
            return Err(Error::Length { name: "fields".into(), expected: names.len(), found: fields.len() });
        }
        let mut given: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(fields.iter().copied()).collect();
        given.extend(self.parameters.iter().map(|(name, values)| (name.as_str(), values.as_slice())));
        let results = self.executable.run(&given)?;
        Ok(statistics(&self.compiled.bound.outputs, self.compiled.bound.batch, results))
    }

    /// The compiled program.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The loaded plan.
    pub fn executable(&mut self) -> &mut Executable {
        &mut self.executable
    }
}

/// Collects named results into the outputs of a statistic.
pub fn statistics(outputs: &[OutputInfo], batch: Option<usize>, results: Vec<(String, Vec<f64>)>) -> Statistics {
    let mut results: BTreeMap<String, Vec<f64>> = results.into_iter().collect();
    let mut take = |name: String| results.remove(&name);
    let arrays = outputs
        .iter()
        .map(|info| {
            let (re, im) =
                if info.complex { (take(format!("{}.re", info.name)), take(format!("{}.im", info.name))) } else { (take(info.name.clone()), None) };
            Array { name: info.name.clone(), re: re.unwrap_or_default(), im, index: info.index.clone(), axes: info.axes.clone() }
        })
        .collect();
    Statistics { batch, arrays }
}
