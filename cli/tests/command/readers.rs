//! Readers of files given damaged ones: the bounded run of the fuzz targets `arrays`, `fields` and `fits`.

#[allow(dead_code)]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[path = "../../../fuzz/src/readers.rs"]
mod targets;

use super::*;
use random::Random;

fn run(target: fn(&[u8]) -> bool, seeds: &[Vec<u8>], seed: u64, count: usize) -> usize {
    let rounds = std::env::var("SCATTERC_FUZZ_ROUNDS").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
    let mut random = Random(seed);
    (0..count * rounds)
        .filter(|_| {
            let mut data = random.pick(seeds).expect("seeds").clone();
            random.damage(&mut data);
            target(&data)
        })
        .count()
}

/// Small arrays of every type, and an archive of them.
fn arrays(folder: &Folder) -> Vec<Vec<u8>> {
    let named = [
        ("f", NamedArray::F64 { shape: vec![4, 7], data: noise(28, 1) }),
        ("i", NamedArray::I64 { shape: vec![3], data: vec![1, -2, 3] }),
        ("c", half_array(4, 2)),
        ("t", NamedArray::Text("Grüße".into())),
        ("l", NamedArray::Texts(vec!["a".into(), "bc".into()])),
    ];
    let mut out: Vec<Vec<u8>> = named.iter().map(|(name, array)| std::fs::read(folder.npy(name, array)).expect("written")).collect();
    let archive = folder.0.join("all.npz");
    io::write_npz_atomic(&archive, &named.map(|(name, array)| (name.to_string(), array))).expect("written");
    out.push(std::fs::read(archive).expect("written"));
    out
}

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = Folder::new();
    let seeds = arrays(&folder);
    assert!(run(targets::arrays, &seeds, 1, 4000) > 50);
    assert!(run(targets::fields, &seeds, 2, 4000) > 50);
    assert!(targets::fits(&targets::fits_seed()), "the seed is a map");
    assert!(run(targets::fits, &[targets::fits_seed()], 3, 1500) > 50);
}
