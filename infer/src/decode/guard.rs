//! Protection from panics of the code that handles an image.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::DecodeError;
use crate::error::Result;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on an image, and turns a panic into an error of that image.
///
/// # Errors
/// Those of `work`, and [`DecodeError::Panicked`].
pub fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = GUARDED.replace(true);
    // An image that failed halfway is dropped, so that nobody sees it.
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.unwrap_or_else(|panic| Err(DecodeError::Panicked(words(&*panic).into()).into()))
}

/// Tells whether this thread is inside of [`guard`], where a panic is an error of one image.
///
/// A panic hook asks this, to stay silent.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let divide = |by: u32| guard(|| Ok(1 / std::hint::black_box(by)));
        assert_eq!(divide(1).unwrap(), 1);
        let error = divide(0).unwrap_err();
        assert_eq!(error.kind().name(), "decode");
        assert_eq!(error.to_string(), "the decoder gave up: attempt to divide by zero");
        assert!(!is_guarded() && guard(|| Ok(is_guarded())).unwrap());
    }

    #[test]
    fn guards_may_be_nested() {
        let inner_and_outer = guard(|| {
            let inner = guard::<()>(|| panic!("inner"));
            Ok((inner.is_err(), is_guarded()))
        });
        assert_eq!(inner_and_outer.unwrap(), (true, true));
    }
}
