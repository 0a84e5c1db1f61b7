//! The memory of one executable: a plan's arena, and slices of it.

use crate::LoadError;
use scatterc_ir::plan::Slot;
use scatterc_kernels::simd::Real;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of the first number: a cache line and the widest vector.
const ALIGNMENT: usize = 64;

/// Zeroed numbers that never move.
pub(crate) struct Arena<T: Real> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the arena owns its memory, and numbers may be sent.
unsafe impl<T: Real> Send for Arena<T> {}
// SAFETY: shared access only reads addresses; all dereferencing goes through unsafe functions whose callers exclude races.
unsafe impl<T: Real> Sync for Arena<T> {}

impl<T: Real> Arena<T> {
    pub(crate) fn new(len: usize) -> Result<Self, LoadError> {
        let refused = || LoadError::Resources { what: "memory of the arena", found: format!("{len} numbers") };
        let layout = Self::layout(len).ok_or_else(refused)?;
        // SAFETY: the layout has at least one line, so its size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<T>()).ok_or_else(refused)?;
        Ok(Arena { start, len })
    }

    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.max(1).checked_mul(size_of::<T>())?;
        Layout::from_size_align(bytes, ALIGNMENT).ok()
    }

    /// Address of an element; one past the end is allowed.
    pub(crate) fn at(&self, offset: usize) -> *mut T {
        assert!(offset <= self.len, "the plan was verified");
        // SAFETY: the offset was just checked to stay in the allocation.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// A slot to read.
    ///
    /// # Safety
    ///
    /// Nothing may write the slot while the slice lives.
    pub(crate) unsafe fn read(&self, slot: Slot) -> &[T] {
        assert!(slot.offset <= self.len && slot.len <= self.len - slot.offset, "the plan was verified");
        // SAFETY: the range was just checked, all its numbers are initialised, and the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.at(slot.offset), slot.len) }
    }

    /// A slot to write.
    ///
    /// # Safety
    ///
    /// Nothing else may read or write the slot while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn write(&self, slot: Slot) -> &mut [T] {
        assert!(slot.offset <= self.len && slot.len <= self.len - slot.offset, "the plan was verified");
        // SAFETY: the range was just checked, all its numbers are initialised, and the caller excludes every other access.
        unsafe { std::slice::from_raw_parts_mut(self.at(slot.offset), slot.len) }
    }
}

impl<T: Real> Drop for Arena<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated in `new` with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}
