//! Plans for CUDA on the emulation: every filetest that asks to be run gives the numbers of the reference device, in f64 and f32; and where NVRTC is present every kernel compiles.
//!
//! Tolerances: 1e-12 of the largest number of each output in f64, 1e-4 in f32 (1e-3 for derivatives).

#![allow(non_snake_case)]

mod support;

use scatterc::compiler::fuse::Fusion;
use scatterc::compiler::gradient;
use scatterc::compiler::pass::run_passes;
use scatterc::compiler::schedule::schedule_cuda;
use scatterc::ir::{Graph, plan};
use scatterc::runtime::cuda::nvrtc;
use scatterc::{Boundary, Compiler, Device, Domain, Element, Error, Goal, Healpix, InputKind, Plane, Pyramid, Source, Sphere, with_numbers};
use support::*;

fn compare(graph: &Graph, name: &str, single: f64) {
    let inputs = given(graph);
    let expected = on_reference(graph, &inputs);
    let simple = run_passes(graph.clone(), &[], &mut vec![]).unwrap_or_else(|e| panic!("{name}: {e}"));
    for fusion in [Fusion::All, Fusion::Loops, Fusion::None] {
        let scheduled = schedule_cuda(&simple, fusion, Element::F64).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_equal(&on_emulation(&scheduled.plan, &inputs), &expected, 1e-12, &format!("{name}, f64, fusion {fusion:?}"));
    }
    let scheduled = schedule_cuda(&simple, Fusion::All, Element::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
    let reread = plan::parse(&scheduled.plan.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(reread, scheduled.plan, "{name}: a plan is a text file");
    assert_equal(&on_emulation(&reread, &inputs), &expected, single, &format!("{name}, f32"));
}

#[test]
fn every_run_filetest_gives_the_same_numbers_on_the_emulation() {
    let mut count = 0;
    for ending in [".graph", ".scat"] {
        for file in FileTest::all(ending).iter().filter(|file| file.asks("run")) {
            compare(&file.bound(), &file.name(), 1e-4);
            count += 1;
        }
    }
    assert!(count > 10, "only {count} filetests ask to be run");
}

#[test]
fn derivatives_of_every_filetest_are_the_same_on_the_emulation() {
    for ending in [".graph", ".scat"] {
        for file in FileTest::all(ending).iter().filter(|file| file.asks("grad")) {
            let graph = file.bound();
            let reverse = gradient::vector_jacobian(&graph).unwrap_or_else(|e| panic!("{}: {e}", file.name()));
            compare(&reverse, &format!("{}, reverse", file.name()), 1e-3);
        }
    }
}

#[test]
fn statistics_and_gradients_on_the_emulation() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    for (L, N, J_min, input, variant, batch) in
        [(8, 3, 0, InputKind::Half, None, None), (11, 2, 1, InputKind::Full, None, None), (8, 4, 0, InputKind::Grid, Some("isotropic"), Some(3))]
    {
        let sphere = Sphere::new(L, N, J_min, input)?;
        let compiler = Compiler::new(&source, &sphere).variant(variant).batch(batch);
        for goal in [Goal::Statistics, Goal::Gradient("l2".into()), Goal::HessianVector("l2".into())] {
            let what = format!("L={L} N={N} {input:?} {variant:?} {goal:?}");
            let compiler = compiler.clone().goal(goal);
            let compiled = compiler.compile()?;
            let inputs = given(&compiled.graph);
            let expected = on_cpu(compiled.plan(), 1, &inputs);
            let rounded = compiler.clone().device(Device::Cpu(Element::F32)).compile()?;
            assert_equal(&on_cpu(rounded.plan(), 1, &inputs), &expected, 1e-3, &format!("{what} f32 on the CPU"));
            let double = compiler.clone().device(Device::EmulatedCuda(Element::F64)).compile()?;
            assert_equal(&on_emulation(double.plan(), &inputs), &expected, 1e-12, &what);
            let single = compiler.device(Device::EmulatedCuda(Element::F32)).compile()?;
            assert_equal(&on_emulation(single.plan(), &inputs), &expected, 1e-3, &format!("{what} f32"));
        }
    }
    Ok(())
}

#[test]
fn a_plan_for_cuda_says_what_is_missing() -> Result<(), Error> {
    let source = Source::find("s2scat")?;
    let sphere = Sphere::new(4, 2, 0, InputKind::Half)?;
    // Where a device is present the plan runs.
    match Compiler::new(&source, &sphere).device(Device::Cuda(Element::F64)).encoder() {
        Ok(mut encoder) => assert!(encoder.encode(&[0.1; 32]).is_ok()),
        Err(e) => assert!(e.to_string().contains("CUDA") || e.to_string().contains("NVRTC"), "{e}"),
    }
    Ok(())
}

/// Bytes that a kernel may spill: f64 square roots and divisions have a slow path, a call around which live registers are saved; scans of frame operators save most.
const SLOW_PATH_BYTES: u32 = 96;

/// A built-in statistic with a small domain on which all its kernels appear.
struct Subject {
    source: Source,
    statistic: Option<&'static str>,
    variant: Option<&'static str>,
    numbers: Vec<(&'static str, f64)>,
    domain: Box<dyn Domain>,
}

impl Subject {
    fn new(name: &str, domain: impl Domain + 'static) -> Subject {
        let source = Source::find(name).expect("built in");
        Subject { source, statistic: None, variant: None, numbers: vec![], domain: Box::new(domain) }
    }

    fn unit(&self, goal: Goal, element: Element) -> plan::Plan {
        let compiler = Compiler::new(&self.source, &*self.domain).variant(self.variant).goal(goal).device(Device::EmulatedCuda(element));
        let compiler = self.numbers.iter().fold(compiler, |compiler, (name, value)| compiler.number(name, *value));
        let compiler = self.statistic.iter().fold(compiler, |compiler, name| compiler.statistic(name));
        let name = format!("{} {:?} {:?}", self.source.origin, self.statistic, self.variant);
        let mut plan = compiler.compile().unwrap_or_else(|e| panic!("{name}: {e}")).scheduled.plan;
        plan.name = format!("{name} {element}");
        plan
    }
}

/// Every built-in statistic, on every domain that it is for.
fn subjects() -> Result<Vec<Subject>, Error> {
    let filter = |statistic: &str, name: &str| Source::find(statistic)?.filter(name);
    let plane = |J, L, name: &str, boundary, cut| -> Result<Plane, Error> { Ok(Plane::new(16, 18, J, L, &filter("cheng", name)?, boundary, cut)?) };
    let morlet = || plane(2, 2, "morlet", Boundary::Periodic, false);
    let harmonics = || plane(2, 2, "phase_harmonics", Boundary::Periodic, false);
    let pyramid = || -> Result<Pyramid, Error> { Ok(Pyramid::new(16, 18, 2, 2, 3, &filter("foscat", "foscat_plane")?, Boundary::Reflect)?) };
    let covariances =
        || -> Result<Plane, Error> { Ok(Plane::new(16, 16, 2, 2, &filter("foscat_covariance", "foscat_morlet")?, Boundary::Periodic, false)?) };
    let voices = with_numbers(&filter("kymatio1d", "kymatio1d")?, &[("Q1".into(), 2.0)])?;
    Ok(vec![
        Subject::new("s2scat", Sphere::new(16, 3, 0, InputKind::Half)?),
        Subject { variant: Some("isotropic"), ..Subject::new("s2scat", Sphere::new(8, 2, 0, InputKind::Full)?) },
        Subject::new("cheng", morlet()?),
        Subject { numbers: vec![("L", 2.0)], ..Subject::new("cheng_coefficients", morlet()?) },
        Subject::new("cheng_cross", morlet()?),
        Subject { numbers: vec![("J", 2.0), ("L", 2.0)], ..Subject::new("cheng_harmonic", morlet()?) },
        Subject { numbers: vec![("L", 2.0)], ..Subject::new("foscat", Healpix::new(4, 2, 3)?) },
        Subject::new("foscat_cross", Healpix::new(4, 2, 3)?),
        Subject { numbers: vec![("n", 1.0)], ..Subject::new("foscat_median", Healpix::new(2, 2, 3)?) },
        Subject { numbers: vec![("L", 3.0)], ..Subject::new("foscat_oriented", Healpix::new(2, 3, 3)?) },
        Subject::new("variances", Healpix::new(4, 2, 3)?),
        Subject { numbers: vec![("L", 2.0)], ..Subject::new("foscat_plane", pyramid()?) },
        Subject::new("foscat_plane_cross", pyramid()?),
        Subject { numbers: vec![("L", 2.0)], ..Subject::new("foscat_covariance", covariances()?) },
        Subject::new("foscat_covariance_cross", covariances()?),
        Subject::new("kymatio1d", Plane::cascade(40, 3, 8, &voices)?),
        Subject::new("kymatio2d", plane(2, 2, "kymatio2d", Boundary::Reflect, false)?),
        Subject::new("spectra", Plane::line(24, 2, 1, &filter("spectra", "battle_lemarie")?, Boundary::Symmetric)?),
        Subject { numbers: vec![("J", 2.0), ("dn", 1.0)], statistic: Some("wph"), ..Subject::new("wph", harmonics()?) },
        Subject { numbers: vec![("J", 2.0), ("dn", 1.0)], statistic: Some("wph_cross"), ..Subject::new("wph", harmonics()?) },
    ])
}

/// Kernels of all plans, compiled for one architecture; those that spill more than slow paths do.
fn spilling(compiler: &nvrtc::Compiler, plans: &[plan::Plan], capability: u32) -> Vec<String> {
    let units: Vec<String> = plans.iter().map(scatterc::compiler::explain::cuda).collect();
    let cubins = compiler.compile(&units, &nvrtc::Options::new(capability)).unwrap_or_else(|e| panic!("sm_{capability}: {e}"));
    let mut faults = Vec::new();
    for (plan, cubin) in plans.iter().zip(&cubins) {
        assert_eq!(cubin.kernels.len(), plan.kernels.len(), "{}: every kernel reports its resources", plan.name);
        let spilling = cubin.kernels.iter().filter(|k| k.spill_stores > SLOW_PATH_BYTES);
        faults.extend(spilling.map(|k| format!("{} sm_{capability}: {k:?}", plan.name)));
    }
    faults
}

/// Every statistic with its gradient, whose plan has the forward kernels too: in f32 for one architecture and in f64 for the other.
#[test]
fn kernels_of_every_statistic_compile_without_spills() -> Result<(), Error> {
    let compiler = match nvrtc::Compiler::find(std::sync::Arc::new(scatterc::runtime::Cache::in_memory()), None) {
        Ok(compiler) => compiler,
        Err(e) => {
            assert!(std::env::var_os("SCATTERC_REQUIRE_NVRTC").is_none(), "SCATTERC_REQUIRE_NVRTC is set, but {e}");
            eprintln!("\n*** KERNELS WERE NOT COMPILED BY NVRTC: {e}\n");
            return Ok(());
        }
    };
    let subjects = subjects()?;
    let missing = scatterc::statistics::BUILT_IN.iter().find(|(name, _)| !subjects.iter().any(|s| s.source.origin == *name));
    assert_eq!(missing.map(|m| m.0), None, "a built-in statistic is not compiled");
    let gradient = |subject: &Subject| {
        // Fields as results have no loss; their adjoint is asked for instead.
        let loss = subject.source.loss("l2").is_ok() && !["kymatio1d", "kymatio2d"].contains(&subject.source.origin.as_str());
        if loss { Goal::Gradient("l2".into()) } else { Goal::VectorJacobian }
    };
    let mut faults = Vec::new();
    for (capability, element) in [(80, Element::F32), (90, Element::F64)] {
        let plans: Vec<plan::Plan> = subjects.iter().map(|s| s.unit(gradient(s), element)).collect();
        faults.extend(spilling(&compiler, &plans, capability));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
