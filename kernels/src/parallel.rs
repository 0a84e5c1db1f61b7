//! The executor a caller hands in, and the pointer that lets tasks write disjoint parts of one slice.

/// Runs independent tasks.
pub trait Parallel: Sync {
    /// Runs `task(i)` for every `i` in `0..n`, in any order, possibly on several threads; returns when all are done.
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync));

    /// How many tasks can run at the same time. Results never depend on it.
    fn threads(&self) -> usize;
}

/// Runs all tasks on the calling thread, in ascending order.
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
