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
///
/// ```
/// use scatterc::Goal;
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
///
/// // Value and gradient of the mean squared distance from a target `T`.
/// let compiled = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).compile()?;
/// let outputs: Vec<&str> = compiled.plan().outputs.iter().map(|port| port.name.as_str()).collect();
/// assert_eq!(outputs, ["value", "gradient.x"]);
/// # Ok::<(), scatterc::Error>(())
/// ```
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
///
/// ```
/// use scatterc::{Device, Element};
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
///
/// // A plan for CUDA is made without a GPU; only loading it asks for one.
/// let compiled = Compiler::new(&source, &sphere).device(Device::Cuda(Element::F32)).compile()?;
/// assert!(compiled.plan().to_string().contains("__global__"));
/// # Ok::<(), scatterc::Error>(())
/// ```
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
///
/// ```
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let compiled = Compiler::new(&source, &sphere).compile()?;
/// assert_eq!(compiled.trace[0].name, "bind");
/// assert_eq!(compiled.plan().steps.len(), compiled.scheduled.launches.len());
/// assert_eq!(compiled.bound.outputs[0].index.columns, ["j", "g"]);
/// # Ok::<(), scatterc::Error>(())
/// ```
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
    ///
    /// ```
    /// use scatterc::{Device, Element};
    ///
    /// assert!(Device::EmulatedCuda(Element::F64).is_cuda() && !Device::default().is_cuda());
    /// ```
    pub fn is_cuda(self) -> bool {
        matches!(self, Device::Cuda(_) | Device::EmulatedCuda(_))
    }

    /// The same device with another element type.
    ///
    /// ```
    /// use scatterc::{Device, Element};
    ///
    /// assert_eq!(Device::Cpu(Element::F64).with(Element::F32), Device::Cpu(Element::F32));
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let compiler = Compiler::new(&source, &sphere);
    /// assert_eq!(compiler.bind()?.outputs[0].name, "S2");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// let source = Source::from_text("statistic a(x) { A = mean(x); return A; } statistic b(x) { B = var(x); return B; }", "two.scat")?;
    /// let sphere = Sphere::new(4, 1, 0, InputKind::Half)?;
    /// assert_eq!(Compiler::new(&source, &sphere).statistic("b").bind()?.outputs[0].name, "B");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn statistic(mut self, name: &str) -> Self {
        self.statistic = Some(name.into());
        self
    }

    /// Chooses a named `return`, such as `isotropic`.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let bound = Compiler::new(&source, &sphere).variant(Some("isotropic")).bind()?;
    /// let s3 = bound.outputs.iter().find(|output| output.name == "S3").unwrap();
    /// assert_eq!(s3.index.columns, ["j", "i"]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn variant(mut self, name: Option<&str>) -> Self {
        self.options.variant = name.map(str::to_string);
        self
    }

    /// Gives a number parameter, such as `delta`.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// // Pairs of scales with i - j <= 1: three of the six pairs of four scales.
    /// let bound = Compiler::new(&source, &sphere).number("delta", 1.0).bind()?;
    /// let s3 = bound.outputs.iter().find(|output| output.name == "S3").unwrap();
    /// assert_eq!(s3.index.rows.len(), 3);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.options.numbers.insert(name.into(), value);
        self
    }

    /// Makes an array parameter with a default one that is given at run time, such as the norms `P`.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let bound = Compiler::new(&source, &sphere).array("P").bind()?;
    /// assert_eq!((bound.parameters[0].name.as_str(), bound.parameters[0].len), ("P", 4));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn array(mut self, name: &str) -> Self {
        if !self.options.arrays.iter().any(|n| n == name) {
            self.options.arrays.push(name.into());
        }
        self
    }

    /// Processes `maps` fields together; inputs and outputs get a leading axis.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut encoder = Compiler::new(&source, &sphere).batch(Some(2)).encoder()?;
    /// let fields = [scatterc::random::white(8, 1, 0), scatterc::random::white(8, 1, 1)].concat();
    /// let statistics = encoder.encode(&fields)?;
    /// assert_eq!((statistics.batch, statistics.arrays[0].re.len()), (Some(2), 2 * 4));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn batch(mut self, maps: Option<usize>) -> Self {
        self.options.batch = maps;
        self
    }

    /// Chooses what is computed.
    ///
    /// ```
    /// use scatterc::Goal;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let compiled = Compiler::new(&source, &sphere).goal(Goal::JacobianVector).compile()?;
    /// assert!(compiled.plan().inputs.iter().any(|port| port.name == "tangent.x"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// Chooses how much is fused.
    ///
    /// ```
    /// use scatterc::Fusion;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let steps = |fusion| Ok::<usize, scatterc::Error>(Compiler::new(&source, &sphere).fusion(fusion).compile()?.plan().steps.len());
    /// assert!(steps(Fusion::All)? < steps(Fusion::None)?);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Leaves passes out by name.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let compiled = Compiler::new(&source, &sphere).disable(&["share".into()]).compile()?;
    /// assert!(compiled.trace.iter().all(|stage| stage.name != "share"));
    /// assert!(Compiler::new(&source, &sphere).disable(&["shear".into()]).compile().is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn disable(mut self, passes: &[String]) -> Self {
        self.disabled = passes.to_vec();
        self
    }

    /// Chooses what runs the program.
    ///
    /// ```
    /// use scatterc::{Device, Element};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let compiled = Compiler::new(&source, &sphere).device(Device::Cpu(Element::F32)).compile()?;
    /// assert_eq!(compiled.plan().element, Element::F32);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// // Results do not depend on the number of threads, bit by bit.
    /// let field = scatterc::random::white(8, 1, 0);
    /// let one = Compiler::new(&source, &sphere).threads(1).encoder()?.encode(&field)?;
    /// assert_eq!(one, Compiler::new(&source, &sphere).threads(2).encoder()?.encode(&field)?);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Uses this table cache instead of the global one.
    ///
    /// ```
    /// use scatterc::runtime::Cache;
    /// use std::sync::Arc;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// // Nothing is left on disk.
    /// let mut encoder = Compiler::new(&source, &sphere).cache(Arc::new(Cache::in_memory())).encoder()?;
    /// assert!(encoder.encode(&scatterc::random::white(8, 1, 0))?.get("S2").is_some());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Budget in bytes for buffers, tables and scratch together: values are recomputed rather than stored where that is needed to stay below it.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let refused = Compiler::new(&source, &sphere).memory(Some(100)).compile();
    /// assert!(matches!(refused, Err(scatterc::Error::Memory { needed, budget: 100 }) if needed > 100));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn memory(mut self, bytes: Option<usize>) -> Self {
        self.memory = bytes;
        self
    }

    /// Chooses where the functions of Legendre stages come from on the CPU.
    ///
    /// ```
    /// use scatterc::Legendre;
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let field = scatterc::random::white(8, 1, 0);
    /// let stored = Compiler::new(&source, &sphere).legendre(Legendre::Tables).encoder()?.encode(&field)?;
    /// let made = Compiler::new(&source, &sphere).legendre(Legendre::Recursion).encoder()?.encode(&field)?;
    /// for (a, b) in stored.arrays[0].re.iter().zip(&made.arrays[0].re) {
    ///     assert!((a - b).abs() <= 1e-12 * b.abs());
    /// }
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn legendre(mut self, legendre: Legendre) -> Self {
        self.legendre = legendre;
        self
    }

    /// Runs the pipeline.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let compiled = Compiler::new(&source, &sphere).compile()?;
    /// assert_eq!(compiled.plan().outputs[0].name, "S2");
    /// assert_eq!(compiled.plan().note("domain"), Some("sphere L=8 N=1 J_min=0 input=half"));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
            let (text, origin) = self.source.loss_text(name);
            let applied = loss::with_loss(&simplified, &self.source.loss(name)?)
                .map_err(|error| Error::Loss { rendered: error.render(text, origin), error })?;
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let bound = Compiler::new(&source, &sphere).bind()?;
    /// assert_eq!(bound.outputs[0].index.rows, [[0, 0], [1, 0], [2, 0], [3, 0]]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn bind(&self) -> Result<Bound, Error> {
        let statistic = self.source.statistic(self.statistic.as_deref())?;
        let rendered = |error: &BindError| error.render(&self.source.text, &self.source.origin);
        bind(statistic, self.domain, &self.options).map_err(|error| Error::Bind { rendered: rendered(&error), error })
    }

    /// Compiles and loads. A plan that was made before from the same text, domain and choices is taken from the cache and verified like any plan; the stages in between are
    /// then not kept: `graph` is the bound one, and `trace` and `launches` are empty.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let (compiled, mut executable) = Compiler::new(&source, &sphere).executable()?;
    /// let results = executable.run(&[("x", &scatterc::random::white(8, 1, 0)[..])])?;
    /// assert_eq!((results[0].0.as_str(), results[0].1.len()), ("S2", compiled.bound.outputs[0].index.rows.len()));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn executable(&self) -> Result<(Compiled, Executable), Error> {
        self.loaded(&|compiled| Executable::load(compiled.plan(), &self.options()))
    }

    /// As [`Compiler::executable`], with vectors of an optimiser on the device: `variables` says which, once the plan is known.
    ///
    /// Error: as there, a device that is not CUDA, variables that do not fit.
    ///
    /// ```
    /// use scatterc::optimise::{Lbfgs, Method, resident::Capacity};
    /// use scatterc::{Error, Goal, residency};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let capacity = Capacity::of(&Method::Lbfgs(Lbfgs::default()));
    /// let gradient = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into()));
    /// // Vectors stay on CUDA devices only; the default device is the CPU.
    /// let refused = gradient.resident(&|_| residency::variables("x", 1, 2 * 8 * 8, capacity));
    /// assert!(matches!(refused, Err(Error::Load(_))));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let compiled = Compiler::new(&source, &sphere).planned()?;
    /// assert_eq!(compiled.plan().inputs[0].name, "x");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
    /// let statistics = encoder.encode(&scatterc::random::white(8, 1, 0))?;
    /// assert!(statistics.arrays[0].re.iter().all(|power| *power > 0.0));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn encoder(&self) -> Result<Encoder, Error> {
        let (compiled, executable) = Compiler { goal: Goal::Statistics, ..self.clone() }.executable()?;
        Ok(Encoder { compiled, executable, parameters: BTreeMap::new() })
    }
}

impl Compiled {
    /// The plan.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// // A plan is text that can be read back.
    /// let compiled = Compiler::new(&source, &sphere).compile()?;
    /// assert_eq!(scatterc::ir::plan::parse(&compiled.plan().to_string()).as_ref(), Ok(compiled.plan()));
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn plan(&self) -> &Plan {
        &self.scheduled.plan
    }

    /// Loads the plan; `threads` 0 means all cores.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut executable = Compiler::new(&source, &sphere).compile()?.load(1, None)?;
    /// assert_eq!(executable.run(&[("x", &[0.0; 2 * 8 * 8][..])])?[0].1, [0.0; 4]);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn load(&self, threads: usize, cache: Option<Arc<Cache>>) -> Result<Executable, Error> {
        Ok(Executable::load(self.plan(), &self.options(threads, cache))?)
    }

    /// As [`Compiled::load`], with vectors of an optimiser on the device.
    ///
    /// Error: as there, a device that is not CUDA, variables that do not fit.
    ///
    /// ```
    /// use scatterc::optimise::{Adam, Method, resident::Capacity};
    /// use scatterc::{Goal, residency};
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    ///
    /// let compiled = Compiler::new(&source, &sphere).goal(Goal::Gradient("l2".into())).compile()?;
    /// let variables = residency::variables("x", 1, 2 * 8 * 8, Capacity::of(&Method::Adam(Adam::default())));
    /// // A plan for the CPU has no device on which vectors could stay.
    /// assert!(compiled.load_resident(1, None, &variables).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn load_resident(&self, threads: usize, cache: Option<Arc<Cache>>, variables: &Variables) -> Result<Executable, Error> {
        Ok(Executable::load_resident(self.plan(), &self.options(threads, cache), variables)?)
    }

    fn options(&self, threads: usize, cache: Option<Arc<Cache>>) -> Options {
        Options { threads, cache: Some(cache.unwrap_or_else(Cache::global)), machine: self.machine, legendre: self.legendre, memory: None }
    }
}

/// One output of a statistic.
///
/// ```
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let statistics = Compiler::new(&source, &sphere).encoder()?.encode(&scatterc::random::white(8, 1, 0))?;
/// let s2 = &statistics.arrays[0];
/// assert_eq!((s2.name.as_str(), s2.re.len(), &s2.im), ("S2", 4, &None));
/// assert_eq!((&s2.index.columns[..], &s2.index.rows[3]), (&["j".to_string(), "g".to_string()][..], &vec![3, 0]));
/// # Ok::<(), scatterc::Error>(())
/// ```
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
///
/// ```
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::find("s2scat")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let statistics = Compiler::new(&source, &sphere).encoder()?.encode(&scatterc::random::white(8, 1, 0))?;
/// let names: Vec<&str> = statistics.arrays.iter().map(|array| array.name.as_str()).collect();
/// assert_eq!(names, ["mean", "variance", "S1", "S2", "S3", "S4"]);
/// # Ok::<(), scatterc::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Statistics {
    /// Number of maps; `None` without a batch axis.
    pub batch: Option<usize>,
    /// Outputs in order.
    pub arrays: Vec<Array>,
}

impl Statistics {
    /// Output of that name.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let statistics = Compiler::new(&source, &sphere).encoder()?.encode(&scatterc::random::white(8, 1, 0))?;
    /// assert!(statistics.get("S2").is_some_and(|s2| s2.re.len() == 4) && statistics.get("S5").is_none());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|a| a.name == name)
    }
}

/// A loaded statistic: fields in, statistics out. The analogue of S2SCAT's `build_encoder`.
///
/// ```
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
/// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
/// // Compiled once, run for any number of fields; the power of 2 x is four times that of x.
/// let x = scatterc::random::white(8, 1, 0);
/// let twice: Vec<f64> = x.iter().map(|x| 2.0 * x).collect();
/// let (one, four) = (encoder.encode(&x)?, encoder.encode(&twice)?);
/// assert!((four.arrays[0].re[2] - 4.0 * one.arrays[0].re[2]).abs() < 1e-12);
/// # Ok::<(), scatterc::Error>(())
/// ```
pub struct Encoder {
    compiled: Compiled,
    executable: Executable,
    parameters: BTreeMap<String, Vec<f64>>,
}

impl Encoder {
    /// Sets an array parameter, such as the norms `P`; its length must be that of the parameter's index table.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::find("s2scat")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// // Norms P = 4 halve S1.
    /// let x = scatterc::random::white(8, 1, 0);
    /// let mut encoder = Compiler::new(&source, &sphere).array("P").encoder()?;
    /// encoder.set("P", &[1.0; 4])?;
    /// let plain = encoder.encode(&x)?.get("S1").map(|s1| s1.re[3]).unwrap();
    /// encoder.set("P", &[4.0; 4])?;
    /// assert!((encoder.encode(&x)?.get("S1").unwrap().re[3] - plain / 2.0).abs() < 1e-12);
    /// assert!(encoder.set("P", &[4.0]).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
    /// assert_eq!(encoder.encode(&[0.0; 2 * 8 * 8])?.arrays[0].re, [0.0; 4]);
    /// assert!(encoder.encode(&[0.0; 5]).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn encode(&mut self, field: &[f64]) -> Result<Statistics, Error> {
        self.encode_fields(&[field])
    }

    /// Statistics of several fields, in the order of the declaration.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// let text = "statistic cross(x, y) { C[j, g] = cov(wavelet(x, j, g), wavelet(y, j, g)); return C; }";
    /// let source = Source::from_text(text, "cross.scat")?;
    /// let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
    /// let (x, y) = (scatterc::random::white(8, 1, 0), scatterc::random::white(8, 1, 1));
    /// assert_eq!(encoder.encode_fields(&[&x, &y])?.arrays[0].re.len(), 4);
    /// assert!(encoder.encode(&x).is_err());
    /// # Ok::<(), scatterc::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let encoder = Compiler::new(&source, &sphere).encoder()?;
    /// assert_eq!(encoder.compiled().plan().outputs[0].name, "S2");
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The loaded plan.
    ///
    /// ```
    /// # use scatterc::{Compiler, InputKind, Source, Sphere};
    /// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
    /// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
    /// let mut encoder = Compiler::new(&source, &sphere).encoder()?;
    /// let memory = encoder.executable().memory();
    /// assert!(memory.arena > 0);
    /// # Ok::<(), scatterc::Error>(())
    /// ```
    pub fn executable(&mut self) -> &mut Executable {
        &mut self.executable
    }
}

/// Collects named results into the outputs of a statistic.
///
/// ```
/// use scatterc::compile::statistics;
/// # use scatterc::{Compiler, InputKind, Source, Sphere};
/// # let source = Source::from_text("statistic power(x) { W[j, g] = wavelet(x, j, g); S2[j, g] = mean(abs(W[j, g])^2); return S2; }", "example")?;
/// # let sphere = Sphere::new(8, 1, 0, InputKind::Half)?;
///
/// let (compiled, mut executable) = Compiler::new(&source, &sphere).executable()?;
/// let results = executable.run(&[("x", &scatterc::random::white(8, 1, 0)[..])])?;
/// let s2 = statistics(&compiled.bound.outputs, None, results);
/// assert_eq!(s2.get("S2").map(|array| array.index.rows.len()), Some(4));
/// # Ok::<(), scatterc::Error>(())
/// ```
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
