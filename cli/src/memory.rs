//! Memory in large pages: a page fault takes 1 to 2 us, and the 34 MB that `encode` touches at L = 256 are 8,500 pages of 4 kB, which were a third of its
//! time; half of them lie in blocks of 1 MB and more, half in the heap.

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks from this size on; smaller ones would waste more of a large page than they save.
const LARGE: usize = 1 << 20;

/// The system's allocator.
pub(crate) struct LargePages;

impl LargePages {
    /// Asks for large pages for the whole pages of a block that is there; nothing depends on the answer.
    fn advise(block: *mut u8, size: usize) {
        #[cfg(target_os = "linux")]
        if size >= LARGE && !block.is_null() {
            const PAGE: usize = 4096;
            let head = block.align_offset(PAGE);
            let len = size.saturating_sub(head) / PAGE * PAGE;
            // SAFETY: the pages lie inside a block that was just allocated, and the advice changes no contents.
            let _ = unsafe { rustix::mm::madvise(block.wrapping_add(head).cast(), len, rustix::mm::Advice::LinuxHugepage) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (block, size);
    }
}

/// Grows the heap in large steps from now on, the first of which is in large pages.
pub(crate) fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const HEAP: i32 = 32 << 20;
        // SAFETY: both functions of the C library may be called at any time, and no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_TOP_PAD, HEAP);
            // More than is free now, in blocks that belong to the heap.
            let before = libc::sbrk(0);
            drop(std::hint::black_box([(); 2].map(|()| Vec::<u8>::with_capacity(120 << 10))));
            let after = libc::sbrk(0);
            LargePages::advise(before.cast(), (after as usize).saturating_sub(before as usize));
        }
    }
}

// SAFETY: every call is the system's; advice about pages changes no contents.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.alloc(layout) };
        Self::advise(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // With a large alignment the system writes the zeros itself, before any advice could come.
        if layout.size() >= LARGE && layout.align() > align_of::<u128>() {
            // SAFETY: the caller's promise, passed on; a block that is there has that many bytes.
            unsafe {
                let block = self.alloc(layout);
                if !block.is_null() {
                    block.write_bytes(0, layout.size());
                }
                return block;
            }
        }
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        Self::advise(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.realloc(block, layout, size) };
        Self::advise(block, size);
        block
    }
}
