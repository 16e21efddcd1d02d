//! What calls of ONNX Runtime's C functions have in common, where `ort` does not wrap them or allocates.

use std::slice;

use ort::sys::OrtStatusPtr;

/// What a function of ONNX Runtime says of itself.
///
/// # Safety
/// The status is one that a function of ONNX Runtime has just returned.
pub(crate) unsafe fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as promised by the caller.
    unsafe { ort::Error::result_from_status(status) }
}

/// `count` elements from `first` on, which may be null when there are none.
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
