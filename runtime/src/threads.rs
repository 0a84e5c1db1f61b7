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
