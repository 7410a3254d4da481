//! The module's allocator. It gives the host larger buffers than requested if the host writes beyond them.
//!
//! Kong's host computes the size of a truncated header list from other entries than it writes, and writes past the end of the
//! buffer that it requested. The SDK provides the exported allocator, so the extra room is added below it: while a host call
//! runs, the module executes nothing but that allocator.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with extra room for the host's requests.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The number of extra bytes in each buffer that the host requests. Zero until a policy for a gateway that needs them is in
/// force.
static OVERRUN: AtomicUsize = AtomicUsize::new(0);

/// The same number while a host call runs, and zero otherwise.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// Gives the host this much more room in each buffer from now on. A larger value for another policy in this VM remains in
/// effect.
pub(super) fn expect_overrun(bytes: usize) {
    OVERRUN.fetch_max(bytes, Ordering::Relaxed);
}

/// Makes a host call that may request buffers. Returns its result, and how many extra bytes the buffers have.
pub(super) fn with_room<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let room = OVERRUN.load(Ordering::Relaxed);
    ROOM.store(room, Ordering::Relaxed);
    let result = call();
    ROOM.store(0, Ordering::Relaxed);
    (result, room)
}

/// Allocates memory for the host. Requested bytes that the host does not write read as zero, and never expose earlier contents.
#[cold]
fn allocate_for_the_host(layout: Layout, room: usize) -> *mut u8 {
    let size = layout.size().checked_add(room);
    let Some(Ok(larger)) = size.map(|size| Layout::from_size_align(size, layout.align())) else {
        return std::ptr::null_mut();
    };
    // SAFETY: `room` is not zero, so neither is the size.
    let memory = unsafe { System.alloc(larger) };
    if !memory.is_null() {
        // SAFETY: at least this many bytes were just allocated.
        unsafe { memory.write_bytes(0, layout.size()) };
    }
    memory
}

// SAFETY: every call is passed to the system's allocator with its own layout, except for memory that the host requests. That
// memory is larger, and its owner frees it with the larger layout.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let room = ROOM.load(Ordering::Relaxed);
        if room > 0 {
            return allocate_for_the_host(layout, room);
        }
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}
