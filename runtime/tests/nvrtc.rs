//! NVIDIA's run-time compiler for real: cubins without a device, what the log says about kernels, the cache, errors.
//!
//! Where the library is absent these tests say so on the terminal and check nothing, unless `SCATTERC_REQUIRE_NVRTC` is set, which makes that a failure.
#![cfg(feature = "cuda")]

mod support;

use scatterc_runtime::Cache;
use scatterc_runtime::cuda::nvrtc::{Compiler, Options, Version};
use scatterc_runtime::cuda::{CudaError, Launch, Settings, ceiling, open};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::Scratch;

/// The compiler with a cache in that directory.
fn compiler(directory: &Path) -> Compiler {
    Compiler::find(Arc::new(Cache::at(directory, 1 << 30)), None).expect("found before")
}

const UNIT: &str = r#"
typedef double real;
__device__ __noinline__ real wave(real x) { return sin(x) * exp(x); }
extern "C" __global__ void __launch_bounds__(64) alpha(real* __restrict__ arena, const void* const* __restrict__ tables) {
    __shared__ real row[64];
    row[threadIdx.x] = arena[threadIdx.x];
    __syncthreads();
    arena[threadIdx.x] = wave(row[63 - threadIdx.x]) * ((const real*)tables[0])[threadIdx.x];
}
extern "C" __global__ void beta(real* __restrict__ arena, const void* const* __restrict__ tables) {
    real x[16];
    for (int k = 0; k < 16; k++) x[k] = arena[k + threadIdx.x];
    arena[threadIdx.x] = x[(int)arena[99] & 15];
}
"#;

const SMALL: &str = r#"
extern "C" __global__ void scale(double* __restrict__ arena, const void* const* __restrict__ tables) {
    arena[blockIdx.x * blockDim.x + threadIdx.x] *= 2.0;
}
"#;

#[test]
fn cubins_for_two_architectures_with_the_resources_of_their_kernels() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    for (capability, name) in [(80, "sm_80"), (90, "sm_90")] {
        let compiler = compiler(&scratch.0);
        let cubins = compiler.compile(&[UNIT.into(), SMALL.into()], &Options::new(capability)).expect("compiles");
        assert_eq!(cubins.len(), 2);
        assert!(cubins.iter().all(|cubin| cubin.bytes.starts_with(b"\x7fELF") && !cubin.cached && cubin.log.contains(name)));
        let [alpha, beta] = &cubins[0].kernels[..] else { panic!("two kernels, found {:?}", cubins[0].kernels) };
        assert_eq!((alpha.kernel.as_str(), beta.kernel.as_str()), ("alpha", "beta"));
        // Named barriers, 64 numbers of shared memory, an indexed array of 16 numbers on the stack.
        assert_eq!((alpha.shared, alpha.barriers), (512, 1));
        assert!(alpha.registers > 0 && alpha.registers <= 255, "{alpha:?}");
        assert!(beta.stack >= 128 && beta.shared == 0, "{beta:?}");
        assert_eq!(cubins[1].kernels.len(), 1);
        assert_eq!((cubins[1].kernels[0].spill_loads, cubins[1].kernels[0].stack), (0, 0));
    }
}

#[test]
fn products_and_sums_are_not_contracted_and_a_prelude_stands_before_every_program() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    let options = Options { prelude: "typedef double real;\n#define FACTOR 3\n".into(), ..Options::new(80) };
    let text = |name: &str| {
        format!(
            "extern \"C\" __global__ void {name}(real* __restrict__ arena, const void* const* __restrict__ tables) {{ arena[0] = FACTOR * arena[1] + arena[2]; }}"
        )
    };
    let cubins = compiler(&scratch.0).compile(&[text("first"), text("second")], &options).expect("compiles");
    assert_eq!((cubins[0].kernels[0].kernel.as_str(), cubins[1].kernels[0].kernel.as_str()), ("first", "second"));
    let without = compiler(&scratch.0).compile(&[text("first")], &Options::new(80));
    assert!(matches!(without, Err(CudaError::Compile { unit: 0, .. })), "the prelude is part of the key: {without:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    require_nvrtc!();
    let sources: Vec<String> = (0..6).map(|k| format!("{}\n__device__ int marker_{k};", SMALL.replace("scale", &format!("scale_{k}")))).collect();
    let compiled = |threads| {
        let scratch = Scratch::new("nvrtc");
        compiler(&scratch.0).compile(&sources, &Options { threads, ..Options::new(90) }).expect("compiles")
    };
    let (one, four) = (compiled(1), compiled(4));
    for (k, (a, b)) in one.iter().zip(&four).enumerate() {
        assert_eq!(a.kernels[0].kernel, format!("scale_{k}"));
        assert_eq!((&a.bytes, &a.kernels), (&b.bytes, &b.kernels));
    }
}

#[test]
fn the_second_time_comes_from_the_cache_and_damage_is_rebuilt() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    let sources = [UNIT.to_string()];
    let compile = || compiler(&scratch.0).compile(&sources, &Options::new(90)).expect("compiles").remove(0);
    let first = compile();
    let second = compile();
    assert!(!first.cached && second.cached);
    assert_eq!((&first.bytes, &first.log, &first.kernels), (&second.bytes, &second.log, &second.kernels));
    // Another architecture, another option: other cubins.
    let lines = Options { line_info: true, ..Options::new(90) };
    assert!(!compiler(&scratch.0).compile(&sources, &lines).expect("compiles")[0].cached);
    let cubin_files = || Cache::at(&scratch.0, 1 << 30).list().into_iter().filter(|entry| entry.kind == "cubin").map(|entry| entry.path);
    assert_eq!(cubin_files().count(), 2);
    for path in cubin_files() {
        let mut bytes = fs::read(&path).expect("stored");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("scratch is writable");
    }
    let third = compile();
    assert!(!third.cached && third.bytes == first.bytes);
    assert!(compile().cached);
    // A directory with room for nothing still compiles.
    let cache = Arc::new(Cache::at(&scratch.0.join("small"), 10));
    let compiler = Compiler::find(cache.clone(), None).expect("found before");
    assert!(!compiler.compile(&sources, &Options::new(90)).expect("compiles")[0].cached);
    assert!(cache.list().is_empty());
}

#[test]
fn faults_in_the_text_are_reported_with_the_place_of_the_text() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    let compiler = compiler(&scratch.0);
    let bad = "extern \"C\" __global__ void bad(double* arena, const void* const* tables) {\n    arena[0] = undeclared;\n}\n";
    match compiler.compile(&[SMALL.into(), bad.into()], &Options::new(90)) {
        Err(CudaError::Compile { unit: 1, log, source_file: Some(file) }) => {
            assert!(log.contains("program-1.cu(2): error") && log.contains("undeclared"), "{log}");
            assert!(file.starts_with(&scratch.0));
            assert_eq!(fs::read_to_string(&file).expect("saved"), bad);
        }
        other => panic!("expected a compile error, found {other:?}"),
    }
    // The good program beside it is in the cache; the bad one is not.
    assert!(compiler.compile(&[SMALL.into()], &Options::new(90)).expect("compiles")[0].cached);
    assert!(compiler.compile(&[bad.into()], &Options::new(90)).is_err());
    // Texts of failures are bounded.
    for k in 0..20 {
        assert!(compiler.compile(&[format!("failure {k}")], &Options::new(90)).is_err());
    }
    assert_eq!(fs::read_dir(scratch.0.join("failed")).expect("exists").count(), 16);
    match compiler.compile(&["int x;\0".into()], &Options::new(90)) {
        Err(CudaError::Nvrtc { message, .. }) => assert!(message.contains("zero byte"), "{message}"),
        other => panic!("expected an error, found {other:?}"),
    }
    for capability in [30, 990] {
        match compiler.compile(&[SMALL.into()], &Options::new(capability)) {
            Err(CudaError::Architecture { found, expected, .. }) => assert!(found == capability && expected.contains(&90)),
            other => panic!("expected an error, found {other:?}"),
        }
    }
}

#[test]
fn a_compiler_newer_than_the_driver_is_not_taken() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    let version = compiler(&scratch.0).version();
    let older = Version { major: version.major - 1, minor: 9 };
    match Compiler::find(Arc::new(Cache::in_memory()), Some(older)) {
        // There may be several versions on this machine.
        Ok(found) => assert!(found.version().major <= older.major),
        Err(CudaError::NoNvrtc { looked }) => assert!(looked.iter().any(|line| line.contains("but the driver supports")), "{looked:?}"),
        Err(other) => panic!("{other}"),
    }
}

/// Runs one test of this file in a process of its own, with other variables.
fn child(test: &str, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", test, "--nocapture"]).envs(variables.iter().copied());
    command
}

#[test]
fn two_processes_share_a_cache() {
    require_nvrtc!();
    if let Some(directory) = std::env::var_os("SCATTERC_TEST_SHARED") {
        let sources: Vec<String> = (0..8).map(|k| SMALL.replace("scale", &format!("scale_{k}"))).collect();
        let cubins = compiler(Path::new(&directory)).compile(&sources, &Options::new(80)).expect("compiles");
        assert!(cubins.iter().enumerate().all(|(k, cubin)| cubin.kernels[0].kernel == format!("scale_{k}")));
        return;
    }
    let scratch = Scratch::new("nvrtc");
    let spawn = || child("two_processes_share_a_cache", &[("SCATTERC_TEST_SHARED", &scratch.0)]).spawn().expect("starts");
    for mut process in [spawn(), spawn(), spawn()] {
        assert!(process.wait().expect("ends").success());
    }
    let cache = Cache::at(&scratch.0, 1 << 30);
    assert!(cache.verify().is_empty());
    assert_eq!(cache.list().into_iter().filter(|entry| entry.kind == "cubin").count(), 8);
}

#[test]
fn an_explicit_place_without_the_library_is_an_error_that_says_how_to_get_it() {
    let empty = Scratch::new("nvrtc");
    if std::env::var_os("SCATTERC_TEST_EMPTY").is_some() {
        let error = Compiler::find(Arc::new(Cache::in_memory()), None).expect_err("nothing is there").to_string();
        for part in ["SCATTERC_NVRTC_DIR", "pip install nvidia-cuda-nvrtc==13.0.88", "was not found"] {
            assert!(error.contains(part), "{error}");
        }
        return;
    }
    let name = "an_explicit_place_without_the_library_is_an_error_that_says_how_to_get_it";
    let status = child(name, &[("SCATTERC_TEST_EMPTY", &empty.0), ("SCATTERC_NVRTC_DIR", &empty.0)]).status().expect("starts");
    assert!(status.success());
}

#[test]
fn cubins_of_the_cache_need_no_library() {
    if let Some(directory) = std::env::var_os("SCATTERC_TEST_WARM") {
        let compiler = compiler(Path::new(&directory));
        assert!(compiler.path().is_none());
        assert!(compiler.compile(&[UNIT.into()], &Options::new(90)).expect("in the cache")[0].cached);
        assert!(matches!(compiler.compile(&[SMALL.into()], &Options::new(90)), Err(CudaError::NoNvrtc { .. })));
        return;
    }
    require_nvrtc!();
    let (warm, empty) = (Scratch::new("nvrtc"), Scratch::new("nvrtc"));
    compiler(&warm.0).compile(&[UNIT.into()], &Options::new(90)).expect("compiles");
    let variables = [("SCATTERC_TEST_WARM", warm.0.as_path()), ("SCATTERC_NVRTC_DIR", empty.0.as_path())];
    assert!(child("cubins_of_the_cache_need_no_library", &variables).status().expect("starts").success());
}

#[test]
fn kernels_that_measure_ceilings_compile_without_spills() {
    require_nvrtc!();
    let scratch = Scratch::new("nvrtc");
    let (text, launches, bytes) = ceiling::program(132, 1 << 20);
    assert_eq!(bytes, 24 << 20);
    for capability in [80, 90, 100] {
        let cubin = compiler(&scratch.0).compile(std::slice::from_ref(&text), &Options::new(capability)).expect("compiles").remove(0);
        let names: Vec<&str> = cubin.kernels.iter().map(|kernel| kernel.kernel.as_str()).collect();
        assert_eq!(names, ["ceiling_copy", "ceiling_f32", "ceiling_f64", "ceiling_triad"]);
        for kernel in &cubin.kernels {
            // 2048 threads of a multiprocessor share 65536 registers, so 32 of each thread keep it full.
            assert_eq!((kernel.stack, kernel.spill_stores), (0, 0), "{kernel:?}");
            assert!(kernel.registers <= 32, "{kernel:?}");
        }
    }
    assert!(launches.iter().all(|launch| launch.grid == 132 * 8 && launch.block == 256));
}

#[test]
fn without_a_driver_opening_says_what_is_missing() {
    let launch = Launch { kernel: "scale".into(), grid: 1, block: 32, shared: 0 };
    match open(&[SMALL.into()], &[launch], &[], 1024, &[], &Settings::default()) {
        Err(CudaError::NoDriver) => assert!(CudaError::NoDriver.to_string().contains("libcuda.so.1")),
        // Machines with a driver, with or without a device or the compiler.
        Err(CudaError::NoDevice { .. } | CudaError::OldDriver { .. } | CudaError::NoNvrtc { .. } | CudaError::Driver { .. }) => {}
        Ok(mut machine) => machine.run().expect("a device that was opened runs"),
        Err(other) => panic!("{other}"),
    }
}
