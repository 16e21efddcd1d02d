//! Watcher of a rank: a thread that tells the other ranks that this one lives, and notices when one of them does not.
//!
//! Each rank counts its heartbeats in the store, and watches the next rank that has not left. Whoever finds a failure
//! writes it under one key, which all ranks read with every heartbeat.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{DistributedError, Failure};
use crate::error::TorchError;
use crate::native::c10d::Store;
use crate::native::nccl::Communicator;

/// Time between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time without a heartbeat.
const SILENCE: Duration = Duration::from_secs(20);

/// Longest time until the watcher has found why a connection broke.
const VERDICT: Duration = Duration::from_secs(30);

/// Value of the heartbeat of a rank that needs the others no more.
const LEFT: &[u8] = b"left";

/// State of a group that its watcher shares with collectives.
#[derive(Debug)]
pub(crate) struct Watch {
    failure: OnceLock<Failure>,
    /// Connection of this rank's GPU, if it trains on one.
    pub gpu: OnceLock<Communicator>,
    pub keys: Keys,
    pub rank: usize,
    pub peers: Vec<Peer>,
}

/// Keys of one start of the group.
#[derive(Debug, Clone)]
pub(crate) struct Keys(pub String);

impl Keys {
    fn beat(&self, rank: usize) -> String {
        format!("{}beat/{rank}", self.0)
    }

    fn failed(&self) -> String {
        format!("{}failed", self.0)
    }
}

impl Watch {
    pub fn new(keys: Keys, rank: usize, peers: Vec<Peer>) -> Self {
        Self { failure: OnceLock::new(), gpu: OnceLock::new(), keys, rank, peers }
    }

    /// Failure that ends the group, once one is known.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Waits for the watcher to find the failure behind a connection that broke.
    pub fn wait_for_failure(&self) -> Option<&Failure> {
        let begun = Instant::now();
        // A rank that is alone knows the cause.
        while self.peers.len() > 1 && self.failure().is_none() && begun.elapsed() < VERDICT {
            thread::sleep(INTERVAL / 10);
        }
        self.failure()
    }

    /// Tells all ranks of a failure, unless another one is known already; this rank takes over whichever was first.
    pub fn tell(&self, store: &Store, rank: usize, cause: String) -> Result<(), TorchError> {
        let failure = Failure { rank, by: self.rank, place: self.peers[rank].to_string(), cause };
        let text = serde_json::to_vec(&failure).unwrap_or_default();
        store.set_first(&self.keys.failed(), &text)?;
        self.read(store)
    }

    /// Takes over the failure that a rank has told.
    fn read(&self, store: &Store) -> Result<(), TorchError> {
        if let Some(told) = store.get(&self.keys.failed())?
            && let Ok(failure) = serde_json::from_slice::<Failure>(&told)
        {
            let _ = self.failure.set(failure);
        }
        Ok(())
    }

    fn has_left(&self, store: &Store, rank: usize) -> Result<bool, TorchError> {
        Ok(store.get(&self.keys.beat(rank))?.as_deref() == Some(LEFT))
    }

    /// True if this rank's GPU is connected with others.
    pub fn has_gpu(&self) -> bool {
        self.gpu.get().is_some()
    }

    /// Waits until this rank's GPU has done all its work.
    pub fn wait_for_gpu(&self) {
        if let Some(gpu) = self.gpu.get() {
            gpu.wait();
        }
    }

    /// Ends the connection of this rank's GPU, and the collectives in which it waits for others.
    pub fn end_gpu(&self) {
        if let Some(gpu) = self.gpu.get() {
            gpu.abort();
        }
    }

    /// Says that this rank needs the others no more.
    pub fn leave(&self, store: &Store) -> Result<(), TorchError> {
        store.set(&self.keys.beat(self.rank), LEFT)
    }

    /// Waits until all other ranks have left, for whom this one serves the store; ranks that are gone do not count.
    pub fn wait_for_others(&self, store: &Store, limit: Option<Duration>) {
        let begun = Instant::now();
        let mut waiting: Vec<usize> = (0..self.peers.len()).filter(|&rank| rank != self.rank).collect();
        while !waiting.is_empty() && limit.is_none_or(|limit| begun.elapsed() < limit) {
            waiting
                .retain(|&rank| !self.peers[rank].is_gone() && !self.has_left(store, rank).unwrap_or(true));
            thread::sleep(INTERVAL / 20);
        }
    }
}

/// Thread of the watcher; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to watch; `store` is a connection that only the watcher uses.
    pub fn start(watch: Arc<Watch>, store: Store) -> Result<Self, DistributedError> {
        let (stop, stopped) = mpsc::channel();
        let name = "watcher of ranks".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let mut round = Round { watch: &watch, store: &store, watched: None, broken: None };
            while watch.failure().is_none() {
                round.beat();
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            // Otherwise it would wait for the lost rank, and whoever reads a number from it.
            watch.end_gpu();
        });
        let thread = thread.map_err(|error| TorchError::Other(error.to_string()))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Rank that is watched: its last heartbeat, and when it came.
struct Watched {
    rank: usize,
    beat: Option<Vec<u8>>,
    since: Instant,
}

/// One round of the watcher after another.
struct Round<'a> {
    watch: &'a Watch,
    store: &'a Store,
    watched: Option<Watched>,
    /// Time at which the connection of this rank's GPU broke.
    broken: Option<Instant>,
}

impl Round<'_> {
    fn beat(&mut self) {
        if self.exchange().is_err() {
            self.lost();
        }
    }

    fn exchange(&mut self) -> Result<(), TorchError> {
        let Self { watch, store, .. } = *self;
        store.add(&watch.keys.beat(watch.rank), 1)?;
        watch.read(store)?;
        self.look_at_gpu()?;
        let Some(rank) = self.next()? else { return Ok(()) };
        let peer = &watch.peers[rank];
        // Whether it is gone comes first: a rank that ends well has said so before.
        let gone = peer.is_gone();
        let beat = store.get(&watch.keys.beat(rank))?;
        watch.read(store)?;
        if beat.as_deref() == Some(LEFT) || watch.failure().is_some() {
            return Ok(());
        }
        if gone {
            return watch.tell(store, rank, "its process is gone: it was killed, or crashed".into());
        }
        match &mut self.watched {
            Some(watched) if watched.rank == rank && watched.beat == beat => {
                if watched.since.elapsed() > SILENCE {
                    let seconds = SILENCE.as_secs();
                    watch.tell(
                        store,
                        rank,
                        format!("gave no sign of life for {seconds} s: it was stopped, or its machine or network is lost"),
                    )?;
                    peer.kill();
                }
            }
            _ => self.watched = Some(Watched { rank, beat, since: Instant::now() }),
        }
        Ok(())
    }

    /// Takes this rank for failed when its GPU's connection broke, unless the rank behind that is found before.
    fn look_at_gpu(&mut self) -> Result<(), TorchError> {
        let Some(cause) = self.watch.gpu.get().and_then(Communicator::error) else { return Ok(()) };
        match self.broken.get_or_insert_with(Instant::now).elapsed() > VERDICT {
            true => self.watch.tell(self.store, self.watch.rank, cause),
            false => Ok(()),
        }
    }

    /// Next rank that has not left.
    fn next(&self) -> Result<Option<usize>, TorchError> {
        let (rank, size) = (self.watch.rank, self.watch.peers.len());
        for distance in 1..size {
            let next = (rank + distance) % size;
            if !self.watch.has_left(self.store, next)? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Takes the first rank, which serves the store, for lost.
    fn lost(&self) {
        let peer = &self.watch.peers[0];
        let cause = match peer.is_gone() {
            true => "its process is gone: it was killed, or crashed",
            false => "the connection to it, through which all ranks meet, is lost",
        };
        let failure = Failure { rank: 0, by: self.watch.rank, place: peer.to_string(), cause: cause.into() };
        let _ = self.watch.failure.set(failure);
    }
}
