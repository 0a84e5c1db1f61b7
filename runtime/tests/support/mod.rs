//! Scratch directories, and NVRTC where it is present.

use scatterc_runtime::Cache;
use scatterc_runtime::cuda::nvrtc::Compiler;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory of its own, deleted at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(what: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("scatterc-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("temporary directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether NVRTC is here; says loudly when it is not, past the capture of the test harness.
pub fn nvrtc_is_here() -> bool {
    match Compiler::find(Arc::new(Cache::in_memory()), None) {
        Ok(_) => true,
        Err(e) => {
            assert!(std::env::var_os("SCATTERC_REQUIRE_NVRTC").is_none(), "SCATTERC_REQUIRE_NVRTC is set, but {e}");
            let _ = writeln!(std::io::stderr(), "\n*** A TEST THAT NEEDS NVRTC DID NOT RUN: {e}\n");
            false
        }
    }
}

/// Ends the test where NVRTC is absent.
#[macro_export]
macro_rules! require_nvrtc {
    () => {
        if !$crate::support::nvrtc_is_here() {
            return;
        }
    };
}
