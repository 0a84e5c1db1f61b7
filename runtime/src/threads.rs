//! Threads of one executable.

use crate::LoadError;
use scatterc_kernels::{Parallel, Serial};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Work, in floating-point operations, below which offering it to other threads costs more than it saves (a hand-over takes some 5 us, a core does about 20 Gflop/s).
const SMALLEST_SHARED_WORK: f64 = 4e5;

/// A pool of threads, or none where one thread was asked for.
pub(crate) struct Threads {
    pool: Option<Arc<rayon::ThreadPool>>,
    count: usize,
}

impl Threads {
    /// 0 means all cores.
    pub(crate) fn new(count: usize) -> Result<Self, LoadError> {
        let count = if count == 0 { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { count };
        if count == 1 {
            return Ok(Threads { pool: None, count });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|k| format!("scatterc-{k}"))
            .start_handler(start_apart())
            .build()
            .map_err(|e| LoadError::Resources { what: "threads", found: format!("{count}: {e}") })?;
        Ok(Threads { pool: Some(Arc::new(pool)), count })
    }

    /// The pool, for running a whole plan on one of its threads: steps then hand work over without leaving the pool.
    pub(crate) fn pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        self.pool.clone()
    }

    /// Where a step of that many operations runs. This is the only place that decides.
    pub(crate) fn of(&self, work: f64) -> &dyn Parallel {
        if self.pool.is_some() && work >= SMALLEST_SHARED_WORK { self } else { &Serial }
    }
}

/// What starts the k-th thread on a processor of its own, then lets it go wherever the system wants.
///
/// Linux wakes a thread where it last ran if that processor is idle. Threads that start on one processor share it for their first 50 ms where few processors have one cache: measured on two
/// cores at L = 128, 3.5 ms instead of 2.2 ms a forward pass.
#[cfg(target_os = "linux")]
fn start_apart() -> impl Fn(usize) + Send + Sync + 'static {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    // A system that refuses is one that places threads itself.
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let first = all.iter().position(|cpu| *cpu == sched_getcpu()).unwrap_or(0);
    move |k| {
        if all.is_empty() {
            return;
        }
        let mut own = CpuSet::new();
        own.set(all[(first + k) % all.len()]);
        if sched_setaffinity(None, &own).is_ok() {
            let _ = sched_setaffinity(None, &allowed);
        }
    }
}

/// Elsewhere the system places threads.
#[cfg(not(target_os = "linux"))]
fn start_apart() -> impl Fn(usize) + Send + Sync + 'static {
    |_| ()
}

impl Parallel for Threads {
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        match &self.pool {
            Some(pool) if n > 1 => {
                // Tasks are taken in order, so a kernel that puts heavy tasks first is balanced. The calling thread works too and does not wait for a helper
                // that has not started: it takes the offer back.
                let next = AtomicUsize::new(0);
                let work = || {
                    loop {
                        let k = next.fetch_add(1, Ordering::Relaxed);
                        if k >= n {
                            break;
                        }
                        task(k);
                    }
                };
                pool.in_place_scope(|scope| {
                    for _ in 1..self.count.min(n) {
                        scope.spawn(|_| work());
                    }
                    work();
                });
            }
            _ => Serial.for_each(n, task),
        }
    }

    fn threads(&self) -> usize {
        self.count
    }
}

/// The start of numbers that tasks share.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: whoever makes one promises that tasks touch disjoint elements of memory that outlives them.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}
