//! The module's allocator, which gives the host more room than it asks for where the host writes more than it asked for.
//!
//! Kong's host computes the size of a truncated list of headers from other entries than it writes, and writes past the buffer that it
//! asked for. The exported allocator is the SDK's, so the room is made below it: while a host call runs, the module executes nothing
//! but that allocator.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The allocator of the system, apart from what the host asks for.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// How many bytes more than asked for the host gets in each buffer; none until a policy of a gateway that needs it is in force.
static OVERRUN: AtomicUsize = AtomicUsize::new(0);

/// The same while a host call runs, and none otherwise.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// Gives the host this much more room in each buffer from now on. What other policies in this VM asked for remains.
pub(super) fn expect_overrun(bytes: usize) {
    OVERRUN.fetch_max(bytes, Ordering::Relaxed);
}

/// Makes a host call that may ask for buffers. Returns what it returns, and how much larger than asked for the buffers are.
pub(super) fn with_room<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let room = OVERRUN.load(Ordering::Relaxed);
    ROOM.store(room, Ordering::Relaxed);
    let result = call();
    ROOM.store(0, Ordering::Relaxed);
    (result, room)
}

/// Memory that the host asks for. What it asked for and does not write reads as zero, and never as what lay there before.
#[cold]
fn allocate_for_the_host(layout: Layout, room: usize) -> *mut u8 {
    let size = layout.size().checked_add(room);
    let Some(Ok(larger)) = size.map(|size| Layout::from_size_align(size, layout.align())) else {
        return std::ptr::null_mut();
    };
    // SAFETY: `room` is not zero, so neither is the size.
    let memory = unsafe { System.alloc(larger) };
    if !memory.is_null() {
        // SAFETY: so many bytes and more were just allocated.
        unsafe { memory.write_bytes(0, layout.size()) };
    }
    memory
}

// SAFETY: every call is handed to the system's allocator with the layout that it came with, except for memory that the host asks for:
// that is larger, and its owner frees it with the larger layout.
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
