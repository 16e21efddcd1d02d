//! Retries of attempts that may succeed later.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;

/// Pauses before the second attempt and those after it.
pub const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Failure of an attempt, with its message.
#[derive(Debug)]
pub enum Failure {
    /// Passing failure: another attempt may succeed.
    Passing(String),
    /// Final failure: another attempt would fail too.
    Final(String),
}

impl Failure {
    /// Failure of a request that was answered with `code`, and `what` the server says.
    pub fn of_status(code: u16, what: &str) -> Self {
        let message = format!("the server answers {code}{what}");
        match code {
            408 | 429 | 500.. => Self::Passing(message),
            _ => Self::Final(message),
        }
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        use ureq::Error;
        match error {
            Error::StatusCode(code) => Self::of_status(code, ""),
            Error::Io(error) => Self::Passing(error.to_string()),
            Error::HostNotFound | Error::Timeout(_) | Error::ConnectionFailed | Error::Protocol(_) => {
                Self::Passing(error.to_string())
            }
            _ => Self::Final(error.to_string()),
        }
    }
}

/// Tries once, and again after each of `pauses`, until it succeeds or the failure is final.
pub fn persist<T>(
    pauses: &[Duration],
    bar: &ProgressBar,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut pauses = pauses.iter();
    loop {
        match (attempt(), pauses.next()) {
            (Ok(value), _) => return Ok(value),
            (Err(Failure::Passing(why)), Some(pause)) => {
                bar.suspend(|| crate::display::print_error(format_args!("warning: {why}: trying again")));
                thread::sleep(*pause);
            }
            (Err(Failure::Passing(why) | Failure::Final(why)), _) => return Err(anyhow!(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of attempts when all fail like this.
    fn attempts(pauses: usize, failure: impl Fn() -> Failure) -> usize {
        let mut count = 0;
        let result: Result<()> = persist(&vec![Duration::ZERO; pauses], &ProgressBar::hidden(), || {
            count += 1;
            Err(failure())
        });
        assert!(result.is_err());
        count
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(attempts(2, || Failure::Passing("x".into())), 3);
        assert_eq!(attempts(2, || Failure::Final("x".into())), 1);
        assert_eq!(attempts(2, || ureq::Error::StatusCode(503).into()), 3);
        assert_eq!(attempts(2, || ureq::Error::StatusCode(404).into()), 1);
        assert_eq!(attempts(2, || ureq::Error::HostNotFound.into()), 3);
    }
}
