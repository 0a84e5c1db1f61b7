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

#[test]
fn damaged_files_are_refused_or_read() {
    let seeds = targets::array_seeds();
    assert!(run(targets::arrays, &seeds, 1, 4000) > 50);
    assert!(run(targets::fields, &seeds, 2, 4000) > 50);
    assert!(targets::fits(&targets::fits_seed()), "the seed is a map");
    assert!(run(targets::fits, &[targets::fits_seed()], 3, 1500) > 50);
}
