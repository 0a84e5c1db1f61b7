//! The executor a caller hands in, and the pointer that lets tasks write disjoint parts of one slice.

/// Runs independent tasks.
///
/// ```
/// use scatterc_kernels::Parallel;
///
/// /// A thread per task.
/// struct Threads;
/// impl Parallel for Threads {
///     fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| (0..n).for_each(|k| drop(scope.spawn(move || task(k)))));
///     }
///     fn threads(&self) -> usize {
///         2
///     }
/// }
/// let sum = std::sync::atomic::AtomicUsize::new(0);
/// Threads.for_each(4, &|k| drop(sum.fetch_add(k, std::sync::atomic::Ordering::Relaxed)));
/// assert_eq!(sum.into_inner(), 6);
/// ```
pub trait Parallel: Sync {
    /// Runs `task(i)` for every `i` in `0..n`, in any order, possibly on several threads; returns when all are done.
    ///
    /// ```
    /// use scatterc_kernels::{Parallel, Serial};
    ///
    /// let order = std::sync::Mutex::new(vec![]);
    /// Serial.for_each(3, &|k| order.lock().unwrap().push(k));
    /// assert_eq!(order.into_inner().unwrap(), [0, 1, 2]);
    /// ```
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync));

    /// How many tasks can run at the same time. Results never depend on it.
    ///
    /// ```
    /// use scatterc_kernels::{Parallel, Serial};
    ///
    /// assert_eq!(Serial.threads(), 1);
    /// ```
    fn threads(&self) -> usize;
}

/// Runs all tasks on the calling thread, in ascending order.
///
/// ```
/// use scatterc_kernels::{Parallel, Serial};
///
/// assert_eq!(Serial.threads(), 1);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..n {
            task(i);
        }
    }

    fn threads(&self) -> usize {
        1
    }
}

/// The start of a caller's slice, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T = f64>(*mut T);

// SAFETY: the pointer comes from a `&mut [T]` that outlives the tasks, and each task writes elements no other touches.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub(crate) fn all(slices: &mut [&mut [T]]) -> Vec<Self> {
        slices.iter_mut().map(|slice| Self::new(slice)).collect()
    }

    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}
