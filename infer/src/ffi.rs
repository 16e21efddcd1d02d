//! Helpers for calls of C functions, of ONNX Runtime where `ort` does not wrap them or allocates, and of the system.

use std::mem::MaybeUninit;
use std::slice;

use ort::sys::OrtStatusPtr;

/// Converts a status of ONNX Runtime to a result.
///
/// # Safety
/// A function of ONNX Runtime has just returned the status.
pub(crate) unsafe fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as promised by the caller.
    unsafe { ort::Error::result_from_status(status) }
}

/// Borrows `count` elements from `first` on, which may be null when there are none.
///
/// # Safety
/// `first` points to `count` elements that live long enough, unless there are none.
pub(crate) unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    match first.is_null() || count == 0 {
        true => &[],
        // SAFETY: as promised by the caller.
        false => unsafe { slice::from_raw_parts(first, count) },
    }
}

/// Asks the system to back memory with huge pages; a refusal changes nothing.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge_pages(memory: &mut [MaybeUninit<u8>]) {
    /// `MADV_HUGEPAGE` of `<sys/mman.h>`.
    const HUGE_PAGES: i32 = 14;
    /// Largest page size of the processors that Linux runs on, of which `madvise` wants a multiple.
    const PAGE: usize = 1 << 16;
    unsafe extern "C" {
        fn madvise(address: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    let skipped = (memory.as_ptr() as usize).next_multiple_of(PAGE) - memory.as_ptr() as usize;
    if let Some(pages) = memory.get_mut(skipped..) {
        // SAFETY: the range lies inside this borrow, and the advice does not change its content.
        unsafe { madvise(pages.as_mut_ptr().cast(), pages.len(), HUGE_PAGES) };
    }
}

/// Does nothing: huge pages are asked for on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge_pages(_: &mut [MaybeUninit<u8>]) {}
