//! What is kept between runs and what is loaded: checkpoints, tables of the cache, plans. They are refused, or they work.

use scatterc::ir::plan;
use scatterc::optimise::{self, Adam, Control, Lbfgs, Method, ObjectiveError, State};
use scatterc::runtime::tables::Key;
use scatterc::runtime::{Cache, Executable, Options};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

/// Problem of the checkpoints.
const FINGERPRINT: [u8; 32] = [5; 32];

fn bowl(x: &[f64], gradient: &mut [f64]) -> Result<f64, ObjectiveError> {
    let mut value = 0.0;
    for (k, (x, gradient)) in x.iter().zip(gradient).enumerate() {
        let weight = (k + 1) as f64;
        value += weight * (x - 1.0).powi(4);
        *gradient = 4.0 * weight * (x - 1.0).powi(3);
    }
    Ok(value)
}

/// Checkpoints of both optimisers after a few steps.
pub fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let mut saved = vec![];
    for method in [Method::Adam(Adam { pairs: true, ..Adam::default() }), Method::Lbfgs(Lbfgs { history: 3, ..Lbfgs::default() })] {
        let options = optimise::Options { max_steps: 6, ..optimise::Options::default() };
        let start = vec![3.0, -2.0, 0.5, 9.0, 1.5, -7.0, 0.1, 2.0];
        let outcome = optimise::minimise(&method, start, 2, &mut bowl, &options, &mut |progress| {
            saved.push(progress.state().expect("on the host").to_bytes(&FINGERPRINT));
            Control::Continue
        });
        outcome.expect("the bowl is finite");
    }
    saved
}

/// Length and checksum as the writer makes them, so that damage reaches what they guard.
fn reseal(bytes: &mut [u8]) {
    const HEADER: usize = 60;
    if bytes.len() >= HEADER {
        let length = (bytes.len() - HEADER) as u64;
        bytes[20..28].copy_from_slice(&length.to_le_bytes());
        let fold = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        let (words, rest) = bytes[20..].as_chunks::<8>();
        let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| fold(hash, u64::from_le_bytes(*word)));
        let sum = rest.iter().fold(hash, |hash, byte| fold(hash, u64::from(*byte)));
        bytes[12..20].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A checkpoint, as it is and with its checksum repaired: what is accepted can be resumed. True where it is one.
pub fn checkpoint(data: &[u8]) -> bool {
    let mut repaired = data.to_vec();
    reseal(&mut repaired);
    let mut taken = false;
    for bytes in [data, &repaired] {
        let Ok(state) = State::from_bytes(bytes, &FINGERPRINT) else { continue };
        taken = true;
        let mut calls = 0;
        // A forged state may start from numbers that are not finite; it must end with an outcome or an error.
        let _ = optimise::resume(state, &mut bowl, &optimise::Options { max_steps: 20, ..optimise::Options::default() }, &mut |_| {
            calls += 1;
            if calls > 50 { Control::Stop } else { Control::Continue }
        });
    }
    taken
}

/// The directory of this process's caches.
fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("scatterc-fuzz-{}", std::process::id()))
}

fn key() -> Key {
    Key::new("fuzz", &[1])
}

/// The payload that the cache was given.
fn payload() -> Vec<u8> {
    (0..200u32).map(|k| (k * 7) as u8).collect()
}

/// A stored table.
pub fn cache_seed() -> Vec<u8> {
    let place = directory();
    let cache = Cache::at(&place, 1 << 20);
    cache.store(&key(), payload());
    std::fs::read(place.join(format!("{}.table", key().hex()))).expect("the table was stored")
}

/// A table on disk: what was stored comes back, or nothing does; lists and checks never fail. True where it came back.
pub fn cache(data: &[u8]) -> bool {
    static ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let place = directory();
    let path = place.join(format!("{}.table", key().hex()));
    let cache = Cache::at(&place, 1 << 20);
    std::fs::write(&path, data).expect("the directory can be written");
    let listed = cache.list().len();
    assert_eq!(listed, 1, "one file is listed once");
    let found = cache.find(&key());
    if let Some(found) = &found {
        assert_eq!(**found, payload(), "a damaged table was believed");
    } else {
        assert!(!path.exists(), "a damaged table stays");
    }
    found.is_some()
}

/// Tables in memory alone, shared by all loads.
fn tables() -> Arc<Cache> {
    static CACHE: OnceLock<Arc<Cache>> = OnceLock::new();
    CACHE.get_or_init(|| Arc::new(Cache::in_memory())).clone()
}

/// A plan from a stranger: refused, or it runs on this processor without leaving its buffers. True where it ran.
pub fn load(data: &[u8]) -> bool {
    let Some(read) = std::str::from_utf8(data).ok().and_then(|text| plan::parse(text).ok()) else { return false };
    if read.target != plan::Target::Cpu {
        return false;
    }
    let options = Options { threads: 1, cache: Some(tables()), memory: Some(64 << 20), ..Options::default() };
    let Ok(mut executable) = Executable::load(&read, &options) else { return false };
    let given: Vec<(String, Vec<f64>)> = executable
        .inputs()
        .iter()
        .map(|port| (port.name.clone(), (0..port.ty.len()).map(|k| ((k * 7919) % 101) as f64 / 50.0 - 1.0).collect()))
        .collect();
    let given: Vec<(&str, &[f64])> = given.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    let first = executable.run(&given);
    let again = executable.run(&given);
    if let (Ok(first), Ok(again)) = (&first, &again) {
        let bits = |results: &[(String, Vec<f64>)]| results.iter().flat_map(|(_, v)| v.iter().map(|x| x.to_bits())).collect::<Vec<u64>>();
        // A plan may read what an earlier run left in its arena; lengths are the same all the same.
        assert_eq!(bits(first).len(), bits(again).len());
    }
    first.is_ok()
}
