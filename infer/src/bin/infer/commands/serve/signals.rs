//! Signals that the server obeys.

#[cfg(unix)]
mod unix {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// SIGTERM or SIGINT: stop.
    pub struct End([Signal; 2]);

    /// SIGHUP: load the models again.
    pub struct HangUp(Signal);

    /// Begins to listen for signals.
    pub fn all() -> io::Result<(End, HangUp)> {
        let end = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok((End(end), HangUp(signal(SignalKind::hangup())?)))
    }

    impl End {
        /// Waits for one of them.
        pub async fn wait(&mut self) {
            let [terminate, interrupt] = &mut self.0;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    }

    impl HangUp {
        /// Waits for it.
        pub async fn wait(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(unix)]
pub use unix::{HangUp, all};

#[cfg(not(unix))]
mod others {
    use std::io;

    /// Ctrl-C: stop.
    pub struct End;

    /// Never comes on this system.
    pub struct HangUp;

    /// Begins to listen for signals.
    pub fn all() -> io::Result<(End, HangUp)> {
        Ok((End, HangUp))
    }

    impl End {
        /// Waits for it.
        pub async fn wait(&mut self) {
            let _ = tokio::signal::ctrl_c().await;
        }
    }

    impl HangUp {
        /// Waits for ever.
        pub async fn wait(&mut self) {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
pub use others::{HangUp, all};
