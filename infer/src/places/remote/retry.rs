//! Repetition of requests, with pauses that grow.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use crate::places::PlaceError;

/// Requests to a store that is busy: they end after about a minute.
const BUSY: usize = 10;

/// Requests that fail otherwise: they end after about ten seconds.
const BROKEN: usize = 6;

/// Pause before the second request, which doubles with each further one up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Count of the requests that failed one after the other.
#[derive(Debug, Default)]
pub(super) struct Attempts(usize);

impl Attempts {
    /// Begins to count anew, after progress.
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// Waits until it is time to ask again.
    ///
    /// # Errors
    /// The failure itself when asking again does not help, and [`PlaceError::GaveUp`] when it was asked often enough.
    pub async fn again(&mut self, failure: Failure) -> Result<(), PlaceError> {
        self.0 += 1;
        let (limit, reason) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Busy(reason) => (BUSY, reason),
            Failure::Broken(reason) => (BROKEN, reason),
        };
        if self.0 >= limit {
            return Err(PlaceError::GaveUp { attempts: self.0, reason });
        }
        tokio::time::sleep(self.pause()).await;
        Ok(())
    }

    /// Pause of half to all of the time that doubles: many that were refused at once do not come back at once.
    fn pause(&self) -> Duration {
        let doubled = PAUSE.saturating_mul(1 << (self.0 - 1).min(16)).min(LONGEST);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let share = f64::from(now.subsec_nanos() % 1_000_000) / 1e6;
        doubled.mul_f64(0.5 + 0.5 * share)
    }
}

/// Asks until there is an answer, or until it was asked often enough.
pub(super) async fn retry<T, F: Future<Output = Result<T, Failure>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, PlaceError> {
    let mut attempts = Attempts::default();
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => attempts.again(failure).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pause = |attempts: usize| Attempts(attempts).pause();
        assert!((100..=200).contains(&pause(1).as_millis()) && (800..=1600).contains(&pause(4).as_millis()));
        assert!((5000..=10_000).contains(&pause(60).as_millis()));
    }
}
