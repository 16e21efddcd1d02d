//! Budget of bytes that may be read ahead.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that may be in memory at once.
pub(super) struct Budget {
    limit: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// Bytes taken from a [`Budget`], which go back when it is dropped.
pub(super) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Takes `bytes`, and waits until they are there; more than the limit are given when nothing else is taken.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken > 0 && taken.saturating_add(bytes) > self.limit {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = taken.saturating_add(bytes);
        Permit { budget: self.clone(), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn waits_until_bytes_are_given_back() {
        let budget = Arc::new(Budget::new(10));
        let (first, second) = (budget.take(6), budget.take(4));
        let waiting = thread::spawn({
            let budget = budget.clone();
            move || drop(budget.take(100))
        });
        drop(first);
        assert!(!waiting.is_finished(), "more than the limit waits until nothing is taken");
        drop(second);
        waiting.join().unwrap();
        assert_eq!(*budget.taken.lock().unwrap(), 0);
    }
}
