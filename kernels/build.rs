//! Which instruction sets the kernels are compiled for.

/// `SCATTERC_BUILD_LEVELS=avx2` leaves the instances for AVX-512 out, a third of the time it takes to compile the kernels: for work on other crates.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(no_avx512)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SCATTERC_BUILD_LEVELS");
    match std::env::var("SCATTERC_BUILD_LEVELS").as_deref() {
        Err(_) | Ok("" | "all") => {}
        Ok("avx2") => println!("cargo::rustc-cfg=no_avx512"),
        Ok(other) => println!("cargo::error=SCATTERC_BUILD_LEVELS is `{other}`; expected `all` or `avx2`"),
    }
}
