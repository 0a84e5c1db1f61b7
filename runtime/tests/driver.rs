//! The machine on a driver of our own making: `fake_driver.cpp` keeps device memory on the host, queues all work and does it as late as the documentation allows, so
//! that wrong orders, early reuse of transfer buffers, calls that a capture refuses and leaks show without a device.
//!
//! Needs NVRTC for the kernels' names and a C++ compiler for the driver; where one is absent the tests say so and check nothing.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod support;

use scatterc_runtime::Cache;
use scatterc_runtime::cuda::driver::{CudaMachine, devices};
use scatterc_runtime::cuda::{CudaError, Launch, Machine, Settings, ceiling, report};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::Scratch;

/// The fake driver knows these kernels by name and does the same.
const KERNELS: [&str; 2] = [
    r#"extern "C" __global__ void add_table(double* __restrict__ arena, const void* const* __restrict__ tables) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    arena[k] += ((const double*)tables[1])[k];
}"#,
    r#"extern "C" __global__ void twice(double* __restrict__ arena, const void* const* __restrict__ tables) {
    arena[blockIdx.x * blockDim.x + threadIdx.x] *= 2.0;
}"#,
];

fn launch(kernel: &str, grid: u32, shared: u32) -> Launch {
    Launch { kernel: kernel.into(), grid, block: 256, shared }
}

/// Runs the body in a process of its own whose driver is the fake one, once for each fault to inject. The process must end without leaks.
fn with_fake_driver(test: &str, faults: &[&str], body: impl Fn(&str, &Settings)) {
    if let Some(directory) = std::env::var_os("SCATTERC_TEST_FAKE") {
        let cache = Arc::new(Cache::at(&Path::new(&directory).join("cache"), 1 << 30));
        let settings = Settings { cache: Some(cache), ..Settings::default() };
        return body(&std::env::var("FAKE_FAULT").unwrap_or_default(), &settings);
    }
    require_nvrtc!();
    let scratch = Scratch::new("driver");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_driver.cpp");
    for fault in faults {
        // A word makes another driver, a call with a number makes a call of the usual one fail.
        let variant = if fault.contains(':') || fault.is_empty() { "usual" } else { fault };
        let library = scratch.0.join(variant).join("libcuda.so");
        let place = library.parent().expect("a folder");
        let mut compile = Command::new("c++");
        compile.args(["-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg(format!("-DFAKE_{variant}"));
        let status = if library.exists() { Ok(Default::default()) } else { fs::create_dir_all(place).and_then(|()| compile.status()) };
        match status {
            Ok(status) => assert!(status.success(), "the fake driver does not compile"),
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "\n*** A TEST THAT NEEDS A C++ COMPILER DID NOT RUN: {e}\n");
                return;
            }
        }
        let log = scratch.0.join("log");
        let _ = fs::remove_file(&log);
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .envs([("SCATTERC_TEST_FAKE", scratch.0.as_os_str()), ("LD_LIBRARY_PATH", place.as_os_str()), ("FAKE_LOG", log.as_os_str())])
            .env("FAKE_FAULT", fault)
            .status()
            .expect("starts");
        assert!(status.success(), "with fault `{fault}`");
        let log = fs::read_to_string(&log).unwrap_or_default();
        // A lost device gives nothing back.
        let lost = fault.ends_with(":700");
        assert!(lost || log.trim() == "held 0", "with fault `{fault}`: {log}");
    }
}

/// Two blocks of numbers, two tables, three launches.
fn small(settings: &Settings) -> Result<CudaMachine, CudaError> {
    let sources = KERNELS.map(String::from);
    let launches = [launch("add_table", 2, 0), launch("twice", 1, 100 << 10), launch("add_table", 2, 0)];
    let table: Vec<u8> = (0..512).flat_map(|k| (0.5 * f64::from(k)).to_le_bytes()).collect();
    CudaMachine::new(&sources, &launches, 8 * 1024, &[vec![1, 2, 3], table], settings)
}

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

/// What every device must do, the fake one and a real one.
fn check_order(settings: &Settings) -> CudaMachine {
    let mut machine = small(settings).expect("opens");
    let mut bytes = vec![1; 8 * 1024];
    machine.download(0, &mut bytes).expect("downloads");
    assert!(bytes.iter().all(|b| *b == 0), "the arena begins as zeros");
    let x: Vec<f64> = (0..512).map(|k| 1.0 + f64::from(k)).collect();
    let data: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    // Two runs, and two that are timed: both graphs do the same.
    for round in 0..4 {
        machine.upload(0, &data).expect("uploads");
        match round {
            2.. => {
                let times = machine.run_timed().expect("runs");
                assert!(times.len() == 3 && times.iter().all(|time| *time > 0.0 && *time < 1e3), "{times:?}");
            }
            _ => machine.run().expect("runs"),
        }
        machine.download(0, &mut bytes).expect("downloads");
        for (k, (found, x)) in numbers(&bytes).iter().zip(&x).enumerate() {
            let t = 0.5 * k as f64;
            let expected = if k < 256 { 2.0 * (x + t) + t } else { x + t + t };
            assert_eq!(*found, expected, "number {k} of round {round}");
        }
    }
    assert!(numbers(&bytes)[512..].iter().all(|x| *x == 0.0));
    // Transfers outside the arena.
    assert_eq!(machine.upload(8190, &[0; 3]), Err(CudaError::Range { what: "upload", offset: 8190, bytes: 3, arena_bytes: 8192 }));
    assert!(matches!(machine.download(usize::MAX, &mut [0; 3]), Err(CudaError::Range { .. })));
    machine.upload(8191, &[7]).expect("the last byte is within");
    machine.download(8191, &mut bytes[..1]).expect("the last byte is within");
    assert_eq!(bytes[0], 7);
    machine
}

/// Procedures run when they are started, in order with transfers, and leave the launches of a run alone.
fn check_procedures(settings: &Settings) {
    let sources = KERNELS.map(String::from);
    let table: Vec<u8> = (0..512).flat_map(|k| f64::from(k).to_le_bytes()).collect();
    let procedures = [vec![launch("twice", 2, 0), launch("add_table", 2, 0)], vec![], vec![launch("twice", 1, 0)]];
    let tables = [vec![0; 8], table];
    let machine = CudaMachine::with_procedures(&sources, &[launch("add_table", 1, 0)], &procedures, 4096, &tables, settings);
    let mut machine = machine.expect("opens");
    let mut bytes = vec![0; 4096];
    let mut expected = vec![0.0; 512];
    for round in 0..3 {
        let start: Vec<f64> = (0..512).map(|k| f64::from(k + round)).collect();
        machine.upload(0, &start.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).expect("uploads");
        // Nothing waits in between: the order of the stream is enough.
        [0, 2, 1].into_iter().try_for_each(|procedure| machine.start(procedure)).expect("starts");
        if round == 2 {
            machine.run().expect("runs");
        }
        machine.download(0, &mut bytes).expect("downloads");
        for (k, (expected, x)) in expected.iter_mut().zip(&start).enumerate() {
            let both = 2.0 * x + k as f64;
            *expected = if k < 256 { 2.0 * both + if round == 2 { k as f64 } else { 0.0 } } else { both };
        }
        assert_eq!(numbers(&bytes), expected, "round {round}");
    }
    assert_eq!(machine.start(3), Err(CudaError::NoProcedure { found: 3, count: 3 }));
    // Copies that are collected later hold what was there when they were started, in that order, whatever is started behind them.
    let start: Vec<u8> = (0..512).flat_map(|k| f64::from(k).to_le_bytes()).collect();
    machine.upload(0, &start).expect("uploads");
    for _ in 0..3 {
        machine.start(2).and_then(|()| machine.fetch(8, 16)).expect("starts");
    }
    machine.upload(0, &[0; 4096]).expect("uploads");
    let mut found = Vec::new();
    for factor in [2.0, 4.0, 8.0] {
        machine.collect(&mut found).expect("collects");
        assert_eq!(numbers(&found), [factor, 2.0 * factor]);
    }
    machine.collect(&mut found).expect("nothing is on its way");
    assert!(found.is_empty());
    assert!(matches!(machine.fetch(4090, 16), Err(CudaError::Range { what: "fetch", .. })));
    // Larger than the buffers so far, and still on its way at the end.
    machine.fetch(0, 4096).expect("starts");
}

/// Transfers of several buffers and a rest, at an odd place.
fn check_transfers(settings: &Settings) {
    let bytes = 21 * (1 << 20) + 13;
    let data: Vec<u8> = (0..bytes as u64).map(|k| (k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let mut machine = CudaMachine::new(&[], &[], bytes + 100, std::slice::from_ref(&data), settings).expect("opens");
    machine.upload(50, &data).expect("uploads");
    machine.run().expect("nothing to run");
    assert!(machine.run_timed().expect("nothing to run").is_empty());
    let mut back = vec![0; bytes + 100];
    machine.download(0, &mut back).expect("downloads");
    assert!(back[50..50 + bytes] == data && back[..50].iter().chain(&back[50 + bytes..]).all(|b| *b == 0));
    machine.upload(0, &[]).expect("nothing");
    machine.download(0, &mut []).expect("nothing");
}

#[test]
fn launches_run_in_order_on_arena_and_tables() {
    with_fake_driver("launches_run_in_order_on_arena_and_tables", &["", "v1_elapsed"], |_, settings| {
        let mut machine = check_order(settings);
        assert_eq!(machine.name(), "Fake H200 (sm_90, 132 multiprocessors, 1.0 GiB)");
        let memory = machine.memory().expect("known");
        assert_eq!((memory.arena_bytes, memory.tables_bytes, memory.total_bytes), (8192, 256 + 256 + 4096, Some(1 << 30)));
        let reports = machine.launches().expect("known");
        assert_eq!((reports.len(), reports[0].resident_blocks, reports[1].resources.kernel.as_str()), (3, 8, "twice"));
    });
}

#[test]
fn procedures_run_in_order_with_transfers() {
    // A failing instantiation of a second graph and a failing launch give everything back.
    let faults = ["", "cuGraphInstantiateWithFlags:2:2", "cuMemHostAlloc:3:2"];
    with_fake_driver("procedures_run_in_order_with_transfers", &faults, |fault, settings| {
        if fault.is_empty() {
            return check_procedures(settings);
        }
        let procedures = [vec![launch("twice", 1, 0)]];
        let made = CudaMachine::with_procedures(&KERNELS.map(String::from), &[launch("twice", 1, 0)], &procedures, 4096, &[], settings);
        if fault.starts_with("cuMemHostAlloc") {
            let refused = made.expect("opens").fetch(0, 8);
            assert!(matches!(refused, Err(CudaError::OutOfMemory { what: "a page-locked transfer buffer", .. })), "{refused:?}");
            return;
        }
        assert!(matches!(made, Err(CudaError::OutOfMemory { .. })), "{:?}", made.err());
    });
}

/// Says what it measured, so that a person can hold it against the data sheet.
#[test]
fn a_real_device_does_the_same() {
    require_nvrtc!();
    let mut say = std::io::stderr();
    let scratch = Scratch::new("driver");
    let settings = Settings { cache: Some(Arc::new(Cache::at(&scratch.0, 1 << 30))), ..Settings::default() };
    match devices() {
        Ok(found) if !found.is_empty() => {}
        Ok(_) | Err(CudaError::NoDriver | CudaError::NoDevice { .. } | CudaError::OldDriver { .. }) => {
            let _ = writeln!(say, "\n*** A TEST THAT NEEDS A CUDA DEVICE DID NOT RUN\n");
            return;
        }
        Err(other) => panic!("{other}"),
    }
    let mut machine = check_order(&settings);
    check_procedures(&settings);
    let _ = writeln!(say, "\n{}: {:?}, {:?}", machine.name(), machine.launches().expect("known"), machine.memory().expect("known"));
    let multiprocessors = machine.device().description().multiprocessors;
    drop(machine);
    check_transfers(&settings);
    let open = |sources: &[String], launches: &[Launch], bytes| {
        Ok(Box::new(CudaMachine::new(sources, launches, bytes, &[], &settings)?) as Box<dyn Machine>)
    };
    let ceiling = ceiling::measure(multiprocessors, ceiling::ELEMENTS, open).expect("measures");
    let _ = writeln!(say, "{ceiling:?}\n");
    assert!(ceiling.copy_gbytes > 10.0 && ceiling.triad_gbytes > 10.0 && ceiling.f64_gflops > 10.0 && ceiling.f32_gflops > 100.0, "{ceiling:?}");
}

#[test]
fn transfers_larger_than_the_buffers() {
    with_fake_driver("transfers_larger_than_the_buffers", &[""], |_, settings| {
        check_transfers(settings);
    });
}

/// Every kind of call fails once; the machine gives back what it had, and says which call it was.
#[test]
fn every_failure_is_reported_and_leaves_nothing_behind() {
    let faults = [
        "cuMemAlloc_v2:1:2",
        "cuMemAlloc_v2:2:2",
        "cuMemHostAlloc:2:2",
        "cuStreamCreate:1:2",
        "cuEventCreate:2:999",
        "cuModuleLoadData:2:200",
        "cuModuleGetFunction:2:500",
        "cuFuncSetAttribute:1:1",
        "cuMemcpyHtoDAsync_v2:1:1",
        "cuStreamBeginCapture_v2:1:900",
        "cuLaunchKernel:2:701",
        "cuStreamEndCapture:1:901",
        "cuGraphInstantiateWithFlags:1:1",
        "cuGraphUpload:1:1",
        "cuDevicePrimaryCtxRetain:1:801",
    ];
    with_fake_driver("every_failure_is_reported_and_leaves_nothing_behind", &faults, |fault, settings| {
        let error = small(settings).expect_err("a call fails");
        let call = fault.split(':').next().expect("a call").trim_end_matches("_v2").trim_end_matches("WithFlags");
        match &error {
            CudaError::OutOfMemory { what, bytes, total_bytes, .. } => {
                let which = ["the arena", "the tables", "a page-locked transfer buffer"];
                assert!(fault.ends_with(":2") && *total_bytes == 1 << 30 && *bytes > 0 && which.contains(what), "{error}");
            }
            CudaError::Driver { call: found, message } | CudaError::DeviceLost { call: found, message } => {
                assert!(found.contains(call) && message.contains("CUDA_ERROR"), "{fault}: {error}");
            }
            other => panic!("{fault}: {other}"),
        }
    });
}

#[test]
fn a_lost_device_stays_lost() {
    let faults = ["cuGraphLaunch:1:700", "cuStreamSynchronize:2:700"];
    with_fake_driver("a_lost_device_stays_lost", &faults, |_, settings| {
        let mut machine = small(settings).expect("opens");
        let lost = machine.run().expect_err("the device fails");
        assert!(matches!(&lost, CudaError::DeviceLost { message, .. } if message.contains("ILLEGAL_ADDRESS")), "{lost}");
        assert_eq!(machine.run(), Err(lost.clone()));
        assert_eq!(machine.upload(0, &[1]), Err(lost.clone()));
        assert_eq!(machine.download(0, &mut [1]), Err(lost.clone()));
        assert_eq!(machine.run_timed(), Err(lost.clone()));
        assert_eq!(machine.memory(), Err(lost));
    });
}

#[test]
fn what_a_device_cannot_do_is_refused_before_it_is_asked() {
    with_fake_driver("what_a_device_cannot_do_is_refused_before_it_is_asked", &[""], |_, settings| {
        let sources = KERNELS.map(String::from);
        let make = |launches: &[Launch]| CudaMachine::new(&sources, launches, 64, &[], settings).expect_err("refused").to_string();
        let refused = |launches: &[Launch], parts: &[&str]| {
            let message = make(launches);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        };
        refused(&[launch("absent", 1, 0)], &["`absent`", "add_table, twice"]);
        refused(&[launch("twice", 1, 0), launch("twice", 0, 0)], &["launch 1", "blocks", "found 0"]);
        refused(&[Launch { block: 1025, ..launch("twice", 1, 0) }], &["threads of a block", "1 to 1024", "found 1025"]);
        refused(&[launch("twice", 1, 300_000)], &["shared memory", "at most 232448", "found 300000"]);
        let double = [KERNELS[0].to_string(), KERNELS[0].to_string()];
        let error = CudaMachine::new(&double, &[], 64, &[], settings).expect_err("refused");
        assert_eq!(error, CudaError::TwoKernels { kernel: "add_table".into(), first: 0, second: 1 });
        let missing = Settings { device: 3, ..settings.clone() };
        assert_eq!(CudaMachine::new(&sources, &[], 64, &[], &missing).expect_err("refused"), CudaError::NoDevice { ordinal: 3, found: 1 });
    });
}

#[test]
fn old_and_empty_drivers_are_told_apart() {
    let faults = ["old", "missing", "cuInit:1:100", "cuInit:1:803"];
    with_fake_driver("old_and_empty_drivers_are_told_apart", &faults, |fault, settings| {
        let error = small(settings).expect_err("no device");
        let cache = settings.cache.clone().expect("given");
        let report = report::report(cache);
        assert!(!report.usable && report.lines[0].1.contains(&error.to_string()), "{report:?}");
        match (fault, &error) {
            ("old", CudaError::OldDriver { found, expected, .. }) => assert_eq!((found.as_str(), expected.as_str()), ("11.8", "12.0")),
            ("missing", CudaError::OldDriver { why, .. }) => assert!(why.contains("cuGraphUpload"), "{why}"),
            ("cuInit:1:100", CudaError::NoDevice { found: 0, .. }) => {}
            ("cuInit:1:803", CudaError::Driver { call: "cuInit", message }) => assert!(message.contains("MISMATCH"), "{message}"),
            (fault, error) => panic!("{fault}: {error}"),
        }
    });
}

#[test]
fn devices_are_listed_and_ceilings_measured() {
    with_fake_driver("devices_are_listed_and_ceilings_measured", &[""], |_, settings| {
        let found = devices().expect("one");
        assert_eq!((found.len(), found[0].capability, found[0].shared_bytes), (1, 90, 232_448));
        let lines = report::report(settings.cache.clone().expect("given"));
        assert!(lines.usable && lines.lines.iter().any(|(_, text)| text.contains("compute capability 9.0")), "{lines:?}");
        let ceiling = ceiling::measure(2, 1 << 20, |sources, launches, bytes| {
            Ok(Box::new(CudaMachine::new(sources, launches, bytes, &[], settings)?) as Box<dyn Machine>)
        });
        // The fake driver says that a launch takes 0.5 ms; it moves nothing.
        let ceiling = ceiling.expect("measures");
        assert!((ceiling.copy_gbytes - 2.0 * 8.0 * f64::from(1 << 20) / 0.5e-3 * 1e-9).abs() < 1e-6, "{ceiling:?}");
        assert!((ceiling.f64_gflops - 2.0 * 2.0 * 8.0 * 256.0 * 8.0 * 4096.0 / 0.5e-3 * 1e-9).abs() < 1e-6, "{ceiling:?}");
    });
}
