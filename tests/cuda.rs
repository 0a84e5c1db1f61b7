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
use scatterc::{Compiler, Device, Element, Error, Goal, InputKind, Source, Sphere};
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

/// Compiles all kernels of a plan for an architecture; returns those that spill more than slow paths do.
fn spilling(compiler: &nvrtc::Compiler, plan: &plan::Plan, capability: u32) -> Vec<String> {
    let unit = scatterc::compiler::explain::cuda(plan);
    let cubins = compiler.compile(&[unit], &nvrtc::Options::new(capability)).unwrap_or_else(|e| panic!("{}: {e}", plan.name));
    let kernels = || cubins.iter().flat_map(|cubin| &cubin.kernels);
    assert_eq!(kernels().count(), plan.kernels.len(), "{}: every kernel reports its resources", plan.name);
    kernels().filter(|k| k.spill_stores > SLOW_PATH_BYTES).map(|k| format!("{} sm_{capability}: {k:?}", plan.name)).collect()
}

#[test]
fn kernels_of_statistics_compile_without_spills() {
    let compiler = match nvrtc::Compiler::find(std::sync::Arc::new(scatterc::runtime::Cache::in_memory()), None) {
        Ok(compiler) => compiler,
        Err(e) => {
            assert!(std::env::var_os("SCATTERC_REQUIRE_NVRTC").is_none(), "SCATTERC_REQUIRE_NVRTC is set, but {e}");
            eprintln!("\n*** KERNELS WERE NOT COMPILED BY NVRTC: {e}\n");
            return;
        }
    };
    let source = Source::find("s2scat").expect("built in");
    let sphere = Sphere::new(16, 3, 0, InputKind::Half).expect("sizes");
    let mut faults = Vec::new();
    for goal in [Goal::Statistics, Goal::Gradient("l2".into())] {
        for element in [Element::F64, Element::F32] {
            let compiled = Compiler::new(&source, &sphere).goal(goal.clone()).device(Device::EmulatedCuda(element)).compile().expect("compiles");
            for capability in [80, 90] {
                faults.extend(spilling(&compiler, compiled.plan(), capability));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
