//! Passes: a name, a sentence and a pure function from graph to graph; the pipeline is one literal list.

use crate::{harmonic, planar, products, simplify};
use scatterc_ir::Graph;
use scatterc_ir::graph::TypeError;
use scatterc_ir::verify::{VerifyError, verify};

/// One pass.
///
/// ```
/// use scatterc_compiler::pass::PASSES;
/// use scatterc_ir::text::parse;
///
/// let twice = parse("graph g {\n  %0 = input x : [3] point\n  %1 = abs(%0) : [3] point\n  %2 = abs(%0) : [3] point\n  return a = %1\n  return b = %2\n}\n")
///     .expect("a graph");
/// let share = PASSES.iter().find(|pass| pass.name == "share").unwrap();
/// assert_eq!((share.run)(&twice)?.nodes.len(), 2);
/// # Ok::<(), scatterc_ir::graph::TypeError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name, as in `--after NAME` and `--disable NAME`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub sentence: &'static str,
    /// The function.
    pub run: fn(&Graph) -> Result<Graph, TypeError>,
}

/// Simplification, in order. Every pass keeps all values; any of them can be left out.
///
/// ```
/// use scatterc_compiler::pass::PASSES;
///
/// assert_eq!(PASSES[0].name, "share");
/// assert!(PASSES.iter().all(|pass| pass.sentence.ends_with('.')));
/// ```
pub const PASSES: &[Pass] = &[
    Pass { name: "share", sentence: "Computes equal nodes once.", run: simplify::share },
    Pass { name: "filters", sentence: "Joins filters of one scale and drops transforms there and back.", run: planar::filters },
    Pass {
        name: "plancherel",
        sentence: "Averages products of filtered images from half of their spectra, without the inverse transforms.",
        run: planar::plancherel,
    },
    Pass { name: "fold", sentence: "Composes pointwise functions and removes maps that do nothing.", run: simplify::fold },
    Pass {
        name: "products",
        sentence: "Takes averages over pixels of sums of products apart, so that every product is an entry of a Gram matrix.",
        run: products::products,
    },
    Pass {
        name: "parseval",
        sentence: "Averages products of synthesised fields from their half spectra, without the ring transforms.",
        run: simplify::parseval,
    },
    Pass { name: "bandlimit", sentence: "Keeps of every analysis the degrees and orders its readers use.", run: simplify::bandlimit },
    Pass {
        name: "harmonic",
        sentence: "Turns averages of products of wavelet transforms of one scale into bilinear forms of coefficients; the fields are never formed.",
        run: harmonic::harmonic,
    },
    Pass { name: "regroup", sentence: "Re-associates sums so that the parts of one mixture stand together.", run: harmonic::regroup },
    Pass { name: "prune", sentence: "Removes what no output needs.", run: simplify::prune },
];

/// What happened in one stage.
///
/// ```
/// use scatterc_compiler::pass::{Trace, run_passes};
///
/// let mut trace = Trace::new();
/// run_passes(scatterc_ir::Graph::default(), &[], &mut trace)?;
/// assert!(trace[0].name == "share" && trace[0].graph.nodes.is_empty());
/// # Ok::<(), scatterc_compiler::pass::PassError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stage {
    /// Name of the pass, or `bind`, `gradient`.
    pub name: String,
    /// What it does.
    pub sentence: String,
    /// The graph after it.
    pub graph: Graph,
}

/// The graphs of all stages.
pub type Trace = Vec<Stage>;

/// A pipeline that failed.
///
/// ```
/// use scatterc_compiler::pass::{PassError, known};
///
/// assert!(matches!(known(&["shear".into()]), Err(PassError::Unknown { found, .. }) if found == "shear"));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// No pass of that name.
    #[error("there is no pass `{found}`; the passes are {expected}")]
    Unknown {
        /// What was asked.
        found: String,
        /// What exists.
        expected: String,
    },
    /// A rewrite built a node that does not type: a fault of the compiler.
    #[error("pass `{pass}`: {error}")]
    Type {
        /// Name of the pass.
        pass: &'static str,
        /// The fault.
        error: TypeError,
    },
    /// The verifier refused the result.
    #[error("after `{pass}`: {}", faults.iter().map(VerifyError::to_string).collect::<Vec<_>>().join("; "))]
    Verify {
        /// Name of the pass.
        pass: String,
        /// All broken rules.
        faults: Vec<VerifyError>,
    },
}

/// Checks that every name is a pass.
///
/// ```
/// use scatterc_compiler::pass::known;
///
/// assert!(known(&["share".into(), "prune".into()]).is_ok() && known(&["shear".into()]).is_err());
/// ```
pub fn known(names: &[String]) -> Result<(), PassError> {
    match names.iter().find(|n| !PASSES.iter().any(|p| p.name == n.as_str())) {
        Some(found) => {
            let expected = PASSES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
            Err(PassError::Unknown { found: found.clone(), expected })
        }
        None => Ok(()),
    }
}

/// Runs the passes that are not disabled, verifying between them; `trace` collects the stages.
///
/// ```
/// use scatterc_compiler::pass::{PASSES, Trace, run_passes};
/// use scatterc_ir::text::parse;
///
/// let text = "graph g {\n  %0 = input x : [3] point\n  %1 = abs(%0) : [3] point\n  %2 = square(%1) : [3] point\n  return y = %2\n}\n";
/// let graph = parse(text).expect("a graph");
/// let mut trace = Trace::new();
/// // |x|^2 = x^2 for real numbers.
/// let simple = run_passes(graph, &["share".into()], &mut trace)?;
/// assert_eq!((simple.nodes.len(), trace.len()), (2, PASSES.iter().filter(|pass| pass.name != "share").count()));
/// # Ok::<(), scatterc_compiler::pass::PassError>(())
/// ```
pub fn run_passes(graph: Graph, disabled: &[String], trace: &mut Trace) -> Result<Graph, PassError> {
    known(disabled)?;
    let mut graph = graph;
    for pass in PASSES.iter().filter(|p| !disabled.iter().any(|d| d == p.name)) {
        graph = (pass.run)(&graph).map_err(|error| PassError::Type { pass: pass.name, error })?;
        verify(&graph).map_err(|faults| PassError::Verify { pass: pass.name.into(), faults })?;
        trace.push(Stage { name: pass.name.into(), sentence: pass.sentence.into(), graph: graph.clone() });
    }
    Ok(graph)
}
