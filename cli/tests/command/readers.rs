//! Readers of files given damaged ones: the bounded run of the fuzz targets `arrays`, `fields` and `fits`.

#[allow(dead_code)]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[path = "../../../fuzz/src/readers.rs"]
pub mod targets;

use super::io;
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

/// Element types of columns that fitsio-pure computes with unchecked.
#[test]
fn columns_without_an_element_type_are_refused() {
    for form in ["((((((((", "", "12", "9999999999D", "2305843009213693952D"] {
        let seed = targets::fits_seed();
        let at = seed.windows(13).position(|w| w == b"TFORM1  = 'D'").expect("the card");
        let mut bytes = seed.clone();
        bytes[at..at + 80].copy_from_slice(format!("{:<80}", format!("TFORM1  = '{form}'")).as_bytes());
        let error = io::parse_healpix_table(std::path::Path::new("map.fits"), &bytes, &io::InputOptions::default()).expect_err("no column");
        assert!(error.to_string().contains("TFORM1"), "{form}: {error}");
    }
}
