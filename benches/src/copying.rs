//! Time to copy floats in memory, a lower bound for every layer that reads and writes them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// Measures how long `threads` threads take to copy `values` floats `times` times.
///
/// Each thread copies its own part, which stays in the cache of its core if it fits. The slowest thread counts.
pub fn time(values: usize, threads: usize, times: u64) -> Duration {
    let part = values.div_ceil(threads);
    thread::scope(|scope| {
        let copying: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let (from, mut to) = (vec![1.0_f32; part], vec![0.0_f32; part]);
                    let start = Instant::now();
                    for _ in 0..times {
                        to.copy_from_slice(black_box(&from));
                        black_box(&mut to);
                    }
                    start.elapsed()
                })
            })
            .collect();
        copying.into_iter().map(|thread| thread.join().unwrap_or_default()).max().unwrap_or_default()
    })
}
