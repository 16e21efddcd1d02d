//! Parallel loops on ONNX Runtime's own threads.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use ort::AsPointer;
use ort::operator::ComputeContext;

use crate::ffi::check;

/// Runs `work` for each number below `workers` in parallel, and returns when all are done.
///
/// `ort` offers this too, but allocates at each call.
///
/// # Errors
/// When `work` panicked.
pub(super) fn run(
    context: &ComputeContext,
    workers: usize,
    work: &(impl Fn(usize) + Sync),
) -> ort::Result<()> {
    let job = Job { work, panicked: AtomicBool::new(false) };
    if workers == 1 {
        one(&job, 0);
    } else {
        start(context, workers, &job)?;
    }
    match job.panicked.into_inner() {
        true => Err(ort::Error::new("the attention kernel panicked")),
        false => Ok(()),
    }
}

struct Job<'a, F> {
    work: &'a F,
    panicked: AtomicBool,
}

fn start<F: Fn(usize) + Sync>(context: &ComputeContext, workers: usize, job: &Job<'_, F>) -> ort::Result<()> {
    let data = std::ptr::from_ref(job).cast_mut().cast();
    // SAFETY: the context is the running kernel's. The call returns when all are done, so the job outlives it. Several
    // threads borrow the job, which `Sync` allows, and only read it.
    unsafe {
        check((ort::api().KernelContext_ParallelFor)(context.ptr(), callback::<F>, workers, workers, data))
    }
}

unsafe extern "C" fn callback<F: Fn(usize) + Sync>(data: *mut c_void, worker: usize) {
    // SAFETY: `start` passes a job of this type, which lives until all are done.
    one(unsafe { &*data.cast_const().cast::<Job<'_, F>>() }, worker);
}

fn one<F: Fn(usize) + Sync>(job: &Job<'_, F>, worker: usize) {
    // A panic must not unwind into ONNX Runtime: that would abort the process.
    if catch_unwind(AssertUnwindSafe(|| (job.work)(worker))).is_err() {
        job.panicked.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Calls the callback as ONNX Runtime does: a panic that got through would abort this process.
    #[test]
    fn a_panic_stays_inside() {
        fn call<F: Fn(usize) + Sync>(job: &Job<'_, F>, worker: usize) {
            // SAFETY: the job has this type and outlives the call.
            unsafe { callback::<F>(std::ptr::from_ref(job).cast_mut().cast(), worker) };
        }
        let done = AtomicUsize::new(0);
        let work = |worker| {
            assert!(worker != 1, "a panic that a test wants");
            done.fetch_add(1, Ordering::Relaxed);
        };
        let job = Job { work: &work, panicked: AtomicBool::new(false) };
        let shared = &job;
        std::thread::scope(|scope| (0..3).for_each(|worker| drop(scope.spawn(move || call(shared, worker)))));
        assert_eq!((done.load(Ordering::Relaxed), job.panicked.into_inner()), (2, true));
    }
}
