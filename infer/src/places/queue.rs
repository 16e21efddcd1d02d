//! Bounded queues between the threads that read and the one that takes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Creates a queue that holds at most `limit` bytes, but always one value.
pub(super) fn queue<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { values: VecDeque::new(), bytes: 0, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), limit, changed: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

/// End of a queue that puts values in.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// End of a queue that takes values out.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// The receiver is gone: nobody wants more.
#[derive(Debug)]
pub(super) struct Closed;

struct Shared<T> {
    state: Mutex<State<T>>,
    limit: usize,
    changed: Condvar,
}

struct State<T> {
    values: VecDeque<(T, usize)>,
    bytes: usize,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing can panic while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl<T> Sender<T> {
    /// Puts in a value of `bytes` bytes, and waits until there is room for it.
    pub fn send(&self, value: T, bytes: usize) -> Result<(), Closed> {
        let mut state = self.0.lock();
        while !state.is_closed && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.0.limit {
            state = self.0.wait(state);
        }
        if state.is_closed {
            return Err(Closed);
        }
        // Even a value of no bytes takes some memory.
        let bytes = bytes.max(1);
        state.bytes += bytes;
        state.values.push_back((value, bytes));
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Takes the next value, and waits for it; none when the sender is gone.
    pub fn recv(&self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let Some((value, bytes)) = state.values.pop_front() {
                state.bytes -= bytes;
                self.0.changed.notify_all();
                return Some(value);
            }
            if state.is_closed {
                return None;
            }
            state = self.0.wait(state);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().values.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn waits_for_room_and_for_values() {
        let (sender, receiver) = queue(10);
        let work = thread::spawn(move || (0..100).take_while(|&n| sender.send(n, 4).is_ok()).count());
        thread::sleep(Duration::from_millis(20));
        assert_eq!(receiver.0.lock().values.len(), 2, "two of four bytes fit into ten");
        let all: Vec<_> = std::iter::from_fn(|| receiver.recv()).collect();
        assert_eq!((all.len(), all[99], work.join().unwrap()), (100, 99, 100));
    }

    #[test]
    fn a_value_above_the_limit_passes_alone() {
        let (sender, receiver) = queue(10);
        let work = thread::spawn(move || (0..3).for_each(|n| sender.send(n, 1000).unwrap()));
        assert_eq!(std::iter::from_fn(|| receiver.recv()).collect::<Vec<_>>(), [0, 1, 2]);
        work.join().unwrap();
    }

    #[test]
    fn a_sender_learns_that_nobody_listens() {
        let (sender, receiver) = queue(1);
        let work = thread::spawn(move || (0..).find(|_| sender.send((), 1).is_err()));
        receiver.recv();
        drop(receiver);
        assert!(work.join().unwrap().is_some());
    }
}
