//! What moving values takes on this machine, whatever is computed with them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// Time of copying `values` floats from one place to another `times` times, by so many threads at once, each of which has its
/// part in its own cache if it fits: half of the bytes are read, half are written.
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
