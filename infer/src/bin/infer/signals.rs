//! Ctrl-C and termination of work that has to be ended in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context, Result};

use crate::exit::Done;

/// Time that stopped work has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// Sets the flag that it returns on Ctrl-C and on termination; the second time, or if nothing ends, the process exits.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let end = || process::exit(Done::Stopped.code().into());
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            end();
        }
        thread::spawn(move || {
            thread::sleep(GRACE);
            end();
        });
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
