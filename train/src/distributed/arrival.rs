//! Arrival of ranks: all processes of one start find each other in the store, and check who they are.
//!
//! A launcher's store may hold the keys of an earlier start of the group. So each process writes down that it is there,
//! and waits until the first rank of this start welcomes it by its own name.

use std::thread;
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::watcher::Keys;
use super::{DistributedError, Failure, World};
use crate::native::c10d::Store;

/// Time between two looks into the store.
const LOOK: Duration = Duration::from_millis(50);

/// Keys of this start, and the processes of all ranks.
pub(super) struct Arrived {
    pub keys: Keys,
    pub peers: Vec<Peer>,
}

/// Waits until all ranks have come. After a failure the process that serves the store, which has a time for its
/// `farewell`, keeps it for at most that long, until the others know of it.
///
/// # Errors
/// [`DistributedError::Missing`] after the timeout; [`DistributedError::Failed`] when two processes have one rank, or were
/// told different numbers of ranks.
pub(super) fn meet(
    store: &Store,
    world: World,
    this: &Peer,
    timeout: Duration,
    farewell: Option<Duration>,
) -> Result<Arrived, DistributedError> {
    Meeting { store, world, this, timeout, farewell, begun: Instant::now() }.run()
}

struct Meeting<'a> {
    store: &'a Store,
    world: World,
    this: &'a Peer,
    timeout: Duration,
    farewell: Option<Duration>,
    begun: Instant,
}

impl Meeting<'_> {
    fn run(&self) -> Result<Arrived, DistributedError> {
        let start = match self.world.is_first() {
            true => self.add("start", 1)?,
            false => self.welcomed()?,
        };
        let keys = Keys(format!("{start}/"));
        let peers = self.peers(&keys);
        if matches!(peers, Err(DistributedError::Failed(_))) {
            self.part(&keys);
        }
        Ok(Arrived { peers: peers?, keys })
    }

    /// Takes the place of this rank, and collects the processes of all.
    fn peers(&self, keys: &Keys) -> Result<Vec<Peer>, DistributedError> {
        let place = place(keys, self.world.rank);
        if self.add(&count(&place), 1)? > 1 {
            self.refuse(keys, &place)?;
        }
        self.set(&place, &encoded(self.this))?;
        self.all(keys)
    }

    /// Tells that this process knows of a failure, and keeps the store that it serves until all that came know of it.
    fn part(&self, keys: &Keys) {
        let begun = Instant::now();
        let known = format!("{}known", keys.0);
        // The failure is told in any case, so that errors of the store no longer matter.
        let told = self.store.add(&known, 1);
        let (Ok(_), Some(farewell)) = (told, self.farewell) else { return };
        let came = |rank| self.store.add(&count(&place(keys, rank)), 0).unwrap_or(0);
        let came: i64 = (0..self.world.size).map(came).sum();
        while begun.elapsed() < farewell && self.store.add(&known, 0).is_ok_and(|known| known < came) {
            thread::sleep(LOOK);
        }
    }

    /// Asks the first rank for the number of this start.
    fn welcomed(&self) -> Result<i64, DistributedError> {
        let mut line = encoded(self.this);
        line.push(b'\n');
        self.store
            .append(&arrivals(self.world.rank), &line)
            .map_err(DistributedError::engine("write to the store of the ranks"))?;
        loop {
            let welcome = self.get(&welcome(self.this))?;
            if let Some(start) = welcome.and_then(|text| String::from_utf8(text).ok()?.parse().ok()) {
                return Ok(start);
            }
            self.wait(&[0])?;
        }
    }

    /// Collects the processes of all ranks; the first rank welcomes those that come.
    fn all(&self, keys: &Keys) -> Result<Vec<Peer>, DistributedError> {
        let mut found: Vec<Option<Peer>> = vec![None; self.world.size];
        loop {
            self.check(keys)?;
            for (rank, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
                if self.world.is_first() && rank > 0 {
                    self.welcome(rank, &keys.0)?;
                }
                *found = self.get(&place(keys, rank))?.as_deref().and_then(decoded);
                if let Some(peer) = found {
                    self.compare(keys, rank, peer)?;
                }
            }
            let missing: Vec<usize> = (0..found.len()).filter(|&rank| found[rank].is_none()).collect();
            if missing.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
            self.wait(&missing)?;
        }
    }

    /// Tells all processes that came as this rank, of this start or an earlier one, the number of this start.
    fn welcome(&self, rank: usize, start: &str) -> Result<(), DistributedError> {
        let lines = self.get(&arrivals(rank))?.unwrap_or_default();
        for peer in lines.split(|&byte| byte == b'\n').filter_map(decoded) {
            self.set(&welcome(&peer), start.trim_end_matches('/').as_bytes())?;
        }
        Ok(())
    }

    /// Ends all because another process has this rank.
    fn refuse(&self, keys: &Keys, place: &str) -> Result<(), DistributedError> {
        let other = self.get(place)?.as_deref().and_then(decoded);
        let other = other.map_or_else(|| "another process".into(), |peer| peer.to_string());
        self.fail(keys, format!("{other} has the same rank: give every process its own"))
    }

    /// Ends all when another process was told another number of ranks.
    fn compare(&self, keys: &Keys, rank: usize, peer: &Peer) -> Result<(), DistributedError> {
        let size = self.world.size;
        match peer.size == size {
            true => Ok(()),
            false => self.fail(
                keys,
                format!("it was told of {size} ranks, but rank {rank} ({peer}) of {}", peer.size),
            ),
        }
    }

    /// Writes down why no rank can go on.
    fn fail(&self, keys: &Keys, cause: String) -> Result<(), DistributedError> {
        let rank = self.world.rank;
        let failure = Failure { rank, by: rank, place: self.this.to_string(), cause };
        let text = serde_json::to_vec(&failure).unwrap_or_default();
        self.store
            .set_first(&format!("{}failed", keys.0), &text)
            .map_err(DistributedError::engine("write to the store of the ranks"))?;
        self.check(keys)
    }

    fn check(&self, keys: &Keys) -> Result<(), DistributedError> {
        let told = self.get(&format!("{}failed", keys.0))?;
        match told.and_then(|told| serde_json::from_slice(&told).ok()) {
            Some(failure) => Err(DistributedError::Failed(failure)),
            None => Ok(()),
        }
    }

    fn wait(&self, missing: &[usize]) -> Result<(), DistributedError> {
        if self.begun.elapsed() >= self.timeout {
            return Err(DistributedError::Missing {
                ranks: missing.into(),
                size: self.world.size,
                waited: self.timeout,
            });
        }
        thread::sleep(LOOK);
        Ok(())
    }

    fn add(&self, key: &str, value: i64) -> Result<i64, DistributedError> {
        self.store.add(key, value).map_err(DistributedError::engine("write to the store of the ranks"))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), DistributedError> {
        self.store.set(key, value).map_err(DistributedError::engine("write to the store of the ranks"))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, DistributedError> {
        self.store.get(key).map_err(DistributedError::engine("read the store of the ranks"))
    }
}

/// Key of the process that has a rank.
fn place(keys: &Keys, rank: usize) -> String {
    format!("{}peer/{rank}", keys.0)
}

/// Key of the number of processes that came to a place.
fn count(place: &str) -> String {
    format!("{place}/count")
}

fn arrivals(rank: usize) -> String {
    format!("arrivals/{rank}")
}

fn welcome(peer: &Peer) -> String {
    format!("welcome/{}", peer.key())
}

fn encoded(peer: &Peer) -> Vec<u8> {
    serde_json::to_vec(peer).unwrap_or_default()
}

fn decoded(text: &[u8]) -> Option<Peer> {
    serde_json::from_slice(text).ok()
}
