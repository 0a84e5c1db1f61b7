#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    scatterc_fuzz::graphs::emulated(data);
});
