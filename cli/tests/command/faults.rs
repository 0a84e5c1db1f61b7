//! Faults of the machine: processes that are killed, disks that are full, caches that are damaged, read-only or shared, inputs that ask for too much. A result is whole or absent, and the
//! next run is right.

use super::*;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The command with a cache of its own.
fn command(arguments: &[&str], cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scatterc"));
    command.args(arguments).env("SCATTERC_CACHE_DIR", cache).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn finished(arguments: &[&str], cache: &Path) {
    let output = command(arguments, cache).stderr(Stdio::piped()).output().expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs and kills at a time between start and a little more than what a whole run takes; true if it was killed in time.
fn killed(arguments: &[&str], cache: &Path, after: Duration) -> bool {
    let mut child: Child = command(arguments, cache).spawn().expect("the command starts");
    std::thread::sleep(after);
    let early = child.try_wait().expect("a child").is_none();
    // On Unix this is SIGKILL: nothing of the program runs any more.
    let _ = child.kill();
    child.wait().expect("a child");
    early
}

/// Kills of the long run, or a handful.
fn kills(few: usize) -> usize {
    std::env::var("SCATTERC_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

/// Everything but the time of writing.
fn arrays_of(path: &str) -> Vec<(String, NamedArray)> {
    npz(path).into_iter().filter(|(name, _)| name != "metadata").collect()
}

/// Encoding, its result and the tables and plans that it caches, killed at random: whatever is under the name of the result is the result, and the next run gives it.
#[test]
fn killed_encodings_leave_a_whole_result_or_none() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let input = folder.npy("x.npy", &half_array(16, 1));
    let (out, right) = (folder.at("out.npz"), folder.at("right.npz"));
    let arguments = |out: &str| -> Vec<String> { ["encode", &input, "-o", out, "--quiet"].iter().map(|s| s.to_string()).collect() };
    let (to_out, to_right) = (arguments(&out), arguments(&right));
    let (to_out, to_right): (Vec<&str>, Vec<&str>) = (to_out.iter().map(String::as_str).collect(), to_right.iter().map(String::as_str).collect());
    let start = std::time::Instant::now();
    finished(&to_right, &cache);
    let whole = start.elapsed();
    let expected = arrays_of(&right);
    let (mut early, mut intact, mut absent) = (0, 0, 0);
    let n = kills(4);
    for k in 0..n {
        // Every other run starts without a cache, so that plans and tables are being written when it dies.
        if k % 2 == 0 {
            let _ = std::fs::remove_dir_all(&cache);
        }
        let _ = std::fs::remove_file(&out);
        early += usize::from(killed(&to_out, &cache, whole.mul_f64((k as f64 * 0.618_034).fract() * 1.1)));
        if Path::new(&out).exists() {
            assert_eq!(arrays_of(&out), expected, "kill {k}");
            intact += 1;
        } else {
            absent += 1;
        }
        // What the killed process left in the cache is used or replaced, never believed when it is damaged.
        finished(&to_out, &cache);
        assert_eq!(arrays_of(&out), expected, "the run after kill {k}");
    }
    println!("{n} kills of encode: {early} before the end, {intact} results intact, {absent} absent");
    let parts = folder.names().into_iter().filter(|name| name.ends_with(".part")).count();
    assert!(parts <= n, "{parts} hidden parts of {n} killed runs");
}

/// A synthesis with a checkpoint, killed at random: the checkpoint is whole or absent, and going on from it ends where the undisturbed run ends.
#[test]
fn killed_syntheses_go_on_from_their_checkpoints() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let input = folder.npy("x.npy", &half_array(8, 1));
    let (right, out, state) = (folder.at("right.npy"), folder.at("out.npy"), folder.at("state"));
    let arguments = |out: &str| -> Vec<String> {
        ["synthesise", &input, "-o", out, "--steps", "12", "--seed", "3", "--threads", "1", "--quiet", "--checkpoint", &state]
            .iter()
            .map(|s| s.to_string())
            .collect()
    };
    let plain = arguments(&right);
    let start = std::time::Instant::now();
    finished(&plain.iter().map(String::as_str).collect::<Vec<_>>(), &cache);
    let whole = start.elapsed();
    let expected = io::read_npy(Path::new(&right)).expect("the result");
    let n = kills(4);
    let mut resumed = 0;
    for k in 0..n {
        for path in [&out, &state] {
            let _ = std::fs::remove_file(path);
        }
        let first = arguments(&out);
        // A checkpoint is written every 20 s and at an interruption: here a request to stop comes first in every other round, and the kill while it is being obeyed.
        let mut child = command(&first.iter().map(String::as_str).collect::<Vec<_>>(), &cache).spawn().expect("the command starts");
        let wait = whole.mul_f64((k as f64 * 0.618_034).fract());
        std::thread::sleep(wait);
        #[cfg(unix)]
        if k % 2 == 0
            && let Some(id) = rustix::process::Pid::from_raw(child.id() as i32)
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
            std::thread::sleep(Duration::from_millis((k as u64 * 7) % 60));
        }
        let _ = child.kill();
        child.wait().expect("a child");
        if Path::new(&out).exists() {
            assert_eq!(io::read_npy(Path::new(&out)).expect("whole"), expected, "kill {k}");
        }
        let mut next = arguments(&out);
        if Path::new(&state).exists() {
            next.extend(["--resume".into(), state.clone()]);
            resumed += 1;
        }
        finished(&next.iter().map(String::as_str).collect::<Vec<_>>(), &cache);
        assert_eq!(io::read_npy(Path::new(&out)).expect("whole"), expected, "the run after kill {k}");
    }
    println!("{n} kills of synthesise: {resumed} went on from a checkpoint");
}

/// A file that cannot grow beyond a size: the writes fail, nothing is left under the name of the result.
#[cfg(target_os = "linux")]
#[test]
fn files_that_cannot_grow_leave_nothing() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let input = folder.npy("x.npy", &half_array(16, 1));
    let out = folder.at("out.npz");
    for blocks in [0, 1, 4] {
        let script = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" encode \"$1\" -o \"$2\" --quiet");
        let output = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_scatterc"), &input, &out])
            .env("SCATTERC_CACHE_DIR", &cache)
            .output()
            .expect("bash");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{blocks} blocks: {message}");
        assert!(message.contains("out.npz") && message.contains("cannot write"), "{message}");
        assert_eq!(folder.names().into_iter().filter(|n| n.contains("out")).count(), 0, "{:?}", folder.names());
    }
    finished(&["encode", &input, "-o", &out, "--quiet"], &cache);
}

/// Every file of the cache damaged in every kind of place: the next run is right and repairs it.
#[test]
fn damaged_caches_are_noticed() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let input = folder.npy("x.npy", &half_array(16, 1));
    let (out, right) = (folder.at("out.npz"), folder.at("right.npz"));
    finished(&["encode", &input, "-o", &right, "--quiet"], &cache);
    let tables: Vec<PathBuf> = std::fs::read_dir(&cache).expect("a cache").flatten().map(|e| e.path()).collect();
    assert!(!tables.is_empty(), "encoding at L = 16 keeps its plan");
    for path in tables {
        let whole = std::fs::read(&path).expect("a table");
        let n = whole.len();
        // Mark, format, key, kind, length, the payload's first, middle and last byte, the checksum; and a short, an empty and a long file.
        for at in [0, 8, 16, 48, 80, 88, n / 2, n - 33, n - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            std::fs::write(&path, &bytes).expect("the cache can be written");
            finished(&["encode", &input, "-o", &out, "--quiet"], &cache);
            assert_eq!(arrays_of(&out), arrays_of(&right), "byte {at} of {n}");
            let repaired = std::fs::read(&path).ok();
            assert!(repaired.as_ref() != Some(&bytes), "byte {at}: the damaged file is still there");
        }
        for bytes in [&whole[..n / 3], &[], &[whole.clone(), vec![1]].concat()[..]] {
            std::fs::write(&path, bytes).expect("the cache can be written");
            finished(&["encode", &input, "-o", &out, "--quiet"], &cache);
            assert_eq!(arrays_of(&out), arrays_of(&right));
        }
    }
}

/// A cache that cannot be written, is a file, or cannot be made: tables live in memory.
#[test]
fn caches_that_cannot_be_written_are_done_without() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &half_array(16, 1));
    let (out, right) = (folder.at("out.npz"), folder.at("right.npz"));
    finished(&["encode", &input, "-o", &right, "--quiet"], &folder.0.join("cache"));
    let file = folder.text("file", "not a directory");
    let places = [Path::new(&file).to_path_buf(), Path::new(&file).join("below"), PathBuf::from("/proc/scatterc"), PathBuf::from("/dev/full")];
    for place in places {
        let _ = std::fs::remove_file(&out);
        finished(&["encode", &input, "-o", &out, "--quiet"], &place);
        assert_eq!(arrays_of(&out), arrays_of(&right), "{}", place.display());
    }
}

/// Several processes start at once on an empty cache: all are right, and the cache is whole.
#[test]
fn processes_share_a_cache() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let input = folder.npy("x.npy", &half_array(16, 1));
    let outs: Vec<String> = (0..4).map(|k| folder.at(&format!("out{k}.npz"))).collect();
    let children: Vec<Child> = outs.iter().map(|out| command(&["encode", &input, "-o", out, "--quiet"], &cache).spawn().expect("starts")).collect();
    for mut child in children {
        assert!(child.wait().expect("a child").success());
    }
    let first = arrays_of(&outs[0]);
    outs[1..].iter().for_each(|out| assert_eq!(arrays_of(out), first));
    let verified = Command::new(env!("CARGO_BIN_EXE_scatterc")).args(["cache", "verify"]).env("SCATTERC_CACHE_DIR", &cache).output().expect("starts");
    assert!(String::from_utf8_lossy(&verified.stdout).contains(" 0 damaged"));
    assert!(std::fs::read_dir(&cache).expect("a cache").flatten().all(|e| e.path().extension().is_some_and(|e| e == "table")), "no partial files");
}

fn refused_quickly(arguments: &[&str], words: &[&str]) {
    let output = scatterc(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not contain {word:?}");
    }
    assert!(!message.contains("panicked") && !message.contains("memory allocation"), "{message}");
}

/// Small files that ask for very much: refused before memory is asked for, with what was expected and found.
#[test]
fn small_files_cannot_ask_for_much() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &half_array(4, 1));
    let out = folder.at("out.npz");
    let run = |name: &str, text: &str, words: &[&str]| {
        let plan = folder.text(name, text);
        refused_quickly(&["run", &plan, &input, "-o", &out], words);
    };
    // A terabyte of buffers, of local memory, of partial sums.
    let head = "plan p {\n  arena 137438953472\n  input x = 0+32 : [] half(4)\n  output y = 32+32 : [] half(4)\n";
    run("arena.plan", &format!("{head}  step fill value=1.0 -> 32+32\n}}\n"), &["bytes of memory", "1099511627776"]);
    let lists = format!("  step gram table=0 row_len=1 pairs=[{}] places=[] (0+1 -> 1+0)\n", "0*16777216, ".repeat(20) + "0");
    run("lists.plan", &format!("{}{lists}}}\n", head.replace("137438953472", "64")), &["too many numbers"]);
    let many = "  step gram table=0 row_len=1 pairs=[0*16777216] places=[] (0+1 -> 1+0)\n".repeat(12);
    run("many.plan", &format!("{}{many}}}\n", head.replace("137438953472", "64")), &["too many numbers"]);
    // A plan for CUDA is a program that nothing checks.
    run("cuda.plan", "plan p {\n  target cuda f64\n  arena 64\n  input x = 0+32 : [] half(4)\n  output y = 32+32 : [] half(4)\n}\n", &["--trust"]);

    // A picture that claims to be large.
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(1_000_000u32.to_be_bytes());
    chunk.extend(1_000_000u32.to_be_bytes());
    chunk.extend([8, 0, 0, 0, 0]);
    let crc =
        chunk.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())));
    picture.extend(13u32.to_be_bytes());
    picture.extend(&chunk);
    picture.extend((!crc).to_be_bytes());
    picture.extend([0, 0, 0, 0, b'I', b'D', b'A', b'T', 0x35, 0xaf, 0x06, 0x1e]);
    let png = folder.at("large.png");
    std::fs::File::create(&png).and_then(|mut file| file.write_all(&picture)).expect("written");
    refused_quickly(&["encode", &png, "-o", &out, "--domain", "plane"], &["large.png"]);

    // Arrays that claim to be large.
    for shape in ["(1099511627776,)", "(4294967296, 4294967296)", "(18446744073709551615,)"] {
        let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
        header.push_str(&" ".repeat(117 - header.len()));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        let npy = folder.at("large.npy");
        std::fs::write(&npy, &bytes).expect("written");
        refused_quickly(&["encode", &npy, "-o", &out], &["large.npy"]);
    }

    // A FITS table that claims to be large.
    let card = |text: &str| format!("{text:<80}");
    let mut fits: String =
        ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END"].map(card).concat();
    fits.push_str(&" ".repeat(2880 - fits.len()));
    let table: String = [
        "XTENSION= 'BINTABLE'",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
        "NAXIS1  =                    8",
        "NAXIS2  =        1099511627776",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "TFIELDS =                    1",
        "TFORM1  = 'D'",
        "NSIDE   =               262144",
        "ORDERING= 'NESTED'",
        "END",
    ]
    .map(card)
    .concat();
    fits.push_str(&table);
    fits.push_str(&" ".repeat(5760 - fits.len()));
    let large = folder.text("large.fits", &fits);
    refused_quickly(&["encode", &large, "-o", &out], &["large.fits"]);

    // A statistic whose loop is longer than any.
    let text = folder.text("large.scat", "statistic s(x) {\n    A[j, i, k, l, m, n] = mean(x) where j < 99999999;\n    return A;\n}\n");
    let output = scatterc(&["check", &text, "--bandlimit", "64"]);
    assert!(output.status.code() == Some(2) || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // A checkpoint that claims to be large.
    let state = folder.0.join("state");
    let mut bytes = b"SCATOPT\x1a\x01\x00\x00\x00".to_vec();
    bytes.extend([0; 8]);
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend([0; 200]);
    std::fs::write(&state, bytes).expect("written");
    refused_quickly(&["synthesise", &input, "-o", &folder.at("y.npy"), "--steps", "2", "--resume", &state.to_string_lossy()], &["state"]);
    assert!(!Path::new(&out).exists());
}

/// Kernel text that leaves its arrays, hangs, or writes what it may only read: refused with the step and the kernel, before anything is compiled.
#[test]
fn plans_whose_kernels_leave_their_arrays_are_refused() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &half_array(8, 1));
    let out = folder.at("out.npz");
    let plan = folder.at("good.plan");
    succeed(&["emit", "s2scat", "--bandlimit", "8", "--emit", "plan", "-o", &plan]);
    let text = std::fs::read_to_string(&plan).expect("the plan");
    succeed(&["run", &plan, &input, "-o", &out]);
    std::fs::remove_file(&out).expect("the result");
    let run = |name: &str, text: String, words: &[&str]| {
        assert_ne!(text, std::fs::read_to_string(&plan).expect("the plan"), "{name} changes nothing");
        let edited = folder.text(name, &text);
        refused_quickly(&["run", &edited, &input, "-o", &out], words);
        assert!(!Path::new(&out).exists());
    };
    // The first load of samples, moved; a loop that does not advance; an address from a number; a store to the addresses.
    let load = text.lines().find(|l| l.contains("= load.f64x2 notrap v") && !l.contains('+')).expect("a load of samples").to_string();
    run("far.plan", text.replacen(&load, &format!("{load}+1048576"), 1), &["kernel `k", "accesses to bytes"]);
    let shift = text.lines().find(|l| l.contains("= iconst.i64 3")).expect("a shift").to_string();
    run("wide.plan", text.replace(shift.trim_start().split_once(" = ").map_or("", |(_, right)| right), "iconst.i64 13"), &["kernel `k"]);
    let step = text.lines().find(|l| l.contains("= iconst.i64 2")).expect("a step").to_string();
    run("still.plan", text.replacen(&step, &step.replace("i64 2", "i64 0"), 1), &["does not grow by a constant"]);
    run("pointer.plan", text.replacen("readonly v0+0", "readonly v0+4096", 1), &["the addresses of the streams"]);
    let bound = text.lines().find(|l| l.contains("icmp ult")).expect("a bound").to_string();
    run("endless.plan", text.replacen(&bound, &bound.replace("ult", "ne"), 1), &["expected a loop"]);
    // Sizes of a step that its kernel does not fit.
    let tile = text.lines().find(|l| l.contains("step tile")).expect("a tile").to_string();
    if let Some(at) = tile.find("trip=") {
        let trip: String = tile[at + 5..].chars().take_while(char::is_ascii_digit).collect();
        let larger = trip.parse::<usize>().expect("a number") * 64;
        run("trip.plan", text.replacen(&tile, &tile.replacen(&format!("trip={trip}"), &format!("trip={larger}"), 1), 1), &["step"]);
    }
}

/// A budget that nothing meets is refused with both numbers.
#[test]
fn budgets_that_are_too_small_are_refused() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &half_array(16, 1));
    refused_quickly(&["encode", &input, "-o", &folder.at("out.npz"), "--memory", "1k"], &["budget", "1000"]);
    assert!(!folder.names().iter().any(|n| n.contains("out")));
}

/// A stack of maps.
fn stack(folder: &Folder, n: usize, L: usize) -> String {
    let data: Vec<f64> = (0..n).flat_map(|k| half(L, k as u64 + 1)).collect();
    folder.npy("stack.npy", &NamedArray::C128 { shape: vec![n, L, L], data })
}

/// Many maps streamed: the same bits as read at once, in pieces of any length, and when the run is killed and goes on; memory does not grow with the number of maps.
#[test]
fn many_maps_are_streamed_and_go_on_after_a_kill() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let n = std::env::var("SCATTERC_MAPS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let input = stack(&folder, n, 8);
    let (plain, out) = (folder.at("plain.npz"), folder.at("out.npz"));
    finished(&["encode", &input, "-o", &plain, "--quiet"], &cache);
    let arguments = ["encode", &input, "-o", &out, "--quiet", "--stream"];
    let start = std::time::Instant::now();
    finished(&arguments, &cache);
    let whole = start.elapsed();
    assert_eq!(npz(&out), npz(&plain));
    assert!(!folder.names().iter().any(|name| name.ends_with(".parts")));
    // Without a state there is nothing to go on with.
    refused_quickly(&["encode", &input, "-o", &out, "--stream", "--resume"], &["--resume"]);
    for part in [0.4, 0.7] {
        let _ = std::fs::remove_file(&out);
        let _ = std::fs::remove_dir_all(folder.0.join("out.npz.parts"));
        killed(&arguments, &cache, whole.mul_f64(part));
        let resumable = folder.0.join("out.npz.parts/state.json").exists();
        let more = if resumable { vec!["--resume"] } else { vec![] };
        finished(&[&arguments[..], &more].concat(), &cache);
        assert_eq!(npz(&out), npz(&plain));
    }
    // What a killed run left: half of the fields, the rest half written, and a state that is right.
    std::fs::remove_file(&out).expect("the result");
    let parts = folder.0.join("out.npz.parts");
    let file = folder.text("slow", "");
    drop(file);
    let mut child = command(&arguments, &cache).spawn().expect("starts");
    std::thread::sleep(whole.mul_f64(0.5));
    let _ = child.kill();
    child.wait().expect("a child");
    if parts.join("state.json").exists() {
        let other = stack(&folder, n - 1, 8);
        refused_quickly(&["encode", &other, "-o", &out, "--stream", "--resume"], &["another input"]);
    }
    // A file that is too short for its header.
    let bytes = std::fs::read(&input).expect("the stack");
    std::fs::write(folder.0.join("short.npy"), &bytes[..bytes.len() - 8]).expect("written");
    refused_quickly(&["encode", &folder.at("short.npy"), "-o", &out, "--stream"], &["short.npy", "bytes"]);
}

/// The checks of an installation pass, with every instruction set, as a table and as JSON.
#[test]
fn the_selftest_passes() {
    let start = std::time::Instant::now();
    let text = succeed(&["selftest"]);
    assert!(text.contains("portable") && text.contains("recorded L16") && text.contains(" 0 failed"), "{text}");
    println!("{:.1} s in this build\n{text}", start.elapsed().as_secs_f64());
    let value: serde_json::Value = serde_json::from_str(&succeed(&["selftest", "--json"])).expect("JSON");
    assert_eq!(value["ok"], true);
    assert!(value["checks"].as_array().is_some_and(|checks| checks.len() > 10));
}
