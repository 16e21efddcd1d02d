//! Time that an int8 file takes for an image on this CPU, beside that of the float32 file.

use std::time::{Duration, Instant};

use ferronnx_infer::Session;
use ferronnx_infer::preprocess::Batch;

use super::{ExportError, cpu};

/// Pairs of runs that are timed.
const PAIRS: usize = 15;

/// Runs before the first one that is timed.
const WARM_UP: usize = 2;

/// Median times for one image on this CPU, on all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Time of the float32 file.
    pub fp32: Duration,
    /// Time of the int8 file.
    pub int8: Duration,
}

impl Speed {
    /// Times both files in turn, so that other work on the machine slows both.
    pub(super) fn of([fp32, int8]: [&[u8]; 2], image: &Batch) -> Result<Self, ExportError> {
        let sessions = [Session::from_bytes(fp32, &cpu())?, Session::from_bytes(int8, &cpu())?];
        let mut times = [Vec::new(), Vec::new()];
        for run in 0..WARM_UP + PAIRS {
            for (session, times) in sessions.iter().zip(&mut times) {
                let started = Instant::now();
                session.run(image)?;
                if run >= WARM_UP {
                    times.push(started.elapsed());
                }
            }
        }
        let [fp32, int8] = times.map(median);
        Ok(Self { fp32, int8 })
    }

    /// True if int8 takes less time.
    pub fn is_gain(&self) -> bool {
        self.int8 < self.fp32
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
