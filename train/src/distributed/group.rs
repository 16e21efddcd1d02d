//! Group of processes that train together, and their collectives.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::peer::Peer;
use super::watcher::{Watch, Watcher};
use super::{DistributedError, Failure, Launch, Pending, World, address, arrival};
use crate::error::TorchError;
use crate::native;
use crate::native::c10d::{Gloo, Store, Work};

/// Longest time that connecting to a store takes where something listens.
const CONNECT: Duration = Duration::from_secs(30);

/// Longest time for which the first rank waits at its end for others to hear of a failure.
const FAREWELL: Duration = Duration::from_secs(10);

/// Group of processes, each with its rank; every collective is called by all ranks in the same order.
///
/// A collective waits for as long as the other ranks live. When one fails, is killed or hangs, all others get
/// [`DistributedError::Failed`] with its rank and the cause.
#[derive(Debug)]
pub struct Group {
    world: World,
    serves: bool,
    // In the order in which they end.
    gloo: Option<Gloo>,
    watcher: Option<Watcher>,
    watch: Arc<Watch>,
    store: Store,
}

impl Group {
    /// Meets the other ranks at the address of the launch.
    ///
    /// # Errors
    /// [`DistributedError`] when the address is wrong or its port in use, when a rank does not come within `timeout`, or
    /// two processes have one rank.
    pub fn join(launch: &Launch, timeout: Duration) -> Result<Self, DistributedError> {
        native::quiet();
        let Launch { world, address: host, port, .. } = launch;
        let serves = world.is_first() && !launch.agent_store;
        let listener = serves.then(|| address::listen(*port)).transpose()?;
        let local = address::reach(host, *port, timeout)?;
        let limit = timeout.min(CONNECT);
        let stranger = || DistributedError::Stranger { address: format!("{host}:{port}") };
        let store = match listener {
            Some(listener) => Store::serve(host, *port, listener, limit)
                .map_err(DistributedError::engine("serve the store of the ranks"))?,
            None => Store::connect(host, *port, limit).ok_or_else(stranger)?,
        };
        let this = Peer::this(world.size, local);
        let arrived = arrival::meet(&store, *world, &this, timeout)?;
        let own = Store::connect(host, *port, limit).ok_or_else(stranger)?;
        let watch = Arc::new(Watch::new(arrived.keys, world.rank, arrived.peers));
        let watcher = Watcher::start(Arc::clone(&watch), own)?;
        let mut group = Self { world: *world, serves, gloo: None, watcher: Some(watcher), watch, store };
        group.gloo = Some(group.connect(local, timeout)?);
        Ok(group)
    }

    fn connect(&self, local: std::net::IpAddr, timeout: Duration) -> Result<Gloo, DistributedError> {
        let named = std::env::var_os("GLOO_SOCKET_IFNAME").is_some();
        let others: Vec<_> = self.watch.peers.iter().map(|peer| peer.address).collect();
        let local = (!named).then(|| address::reachable(local, &others));
        let prefix = format!("{}gloo", self.watch.keys.0);
        let place = [self.world.rank, self.world.size];
        let connected = Gloo::connect(&self.store, &prefix, place, local, timeout);
        connected.map_err(|source| match self.watch.failure() {
            Some(failure) => DistributedError::Failed(failure.clone()),
            None => DistributedError::engine("connect with the other ranks")(source),
        })
    }

    /// Place of this process in the group.
    pub fn world(&self) -> World {
        self.world
    }

    /// Machine and process of a rank: `node1, process 4711`.
    pub fn place(&self, rank: usize) -> String {
        self.watch.peers[rank].to_string()
    }

    /// Failure for which the group ends, once one is known.
    pub fn failure(&self) -> Option<&Failure> {
        self.watch.failure()
    }

    /// Tells all ranks that this one failed; their collectives end with the cause.
    pub fn fail(&self, cause: impl Into<String>) {
        // Without the store the others notice by themselves.
        let _ = self.watch.tell(&self.store, self.world.rank, cause.into());
    }

    /// Begins to replace `tensor` by its sum over all ranks, in the background.
    ///
    /// # Errors
    /// [`DistributedError`] when the collective cannot begin.
    pub fn all_reduce_start(&self, tensor: &Tensor) -> Result<Pending, DistributedError> {
        self.start("sum over the ranks", |gloo| gloo.all_reduce(tensor))
    }

    /// Replaces `tensor` by its sum over all ranks.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<(), DistributedError> {
        self.all_reduce_start(tensor)?.wait()
    }

    /// Replaces each of the `tensors` by that of rank `root`.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn broadcast(&self, tensors: &[&Tensor], root: usize) -> Result<(), DistributedError> {
        let mut pending = Vec::new();
        for tensor in tensors {
            pending.push(self.start("copy to all ranks", |gloo| gloo.broadcast(tensor, root))?);
        }
        pending.into_iter().try_for_each(Pending::wait)
    }

    /// Byte strings of all ranks, in the order of ranks; they may differ in length.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let lengths = self.gathered(&Tensor::from_slice(&[bytes.len() as i64]))?;
        let lengths =
            lengths.iter().map(i64::try_from).collect::<Result<Vec<_>, _>>().map_err(TorchError::from)?;
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut padded = bytes.to_vec();
        // Gloo does not take tensors without elements.
        padded.resize(longest.max(1), 0);
        let found = self.gathered(&Tensor::from_slice(&padded))?;
        let cut = found.iter().zip(lengths).map(|(tensor, length)| {
            let mut bytes = Vec::<u8>::try_from(tensor)?;
            bytes.truncate(length as usize);
            Ok(bytes)
        });
        Ok(cut.collect::<Result<_, tch::TchError>>().map_err(TorchError::from)?)
    }

    fn gathered(&self, tensor: &Tensor) -> Result<Vec<Tensor>, DistributedError> {
        let to: Vec<Tensor> = (0..self.world.size).map(|_| tensor.zeros_like()).collect();
        self.start("gather from the ranks", |gloo| gloo.all_gather(tensor, &to))?.wait()?;
        Ok(to)
    }

    /// Whether any rank passes `true`.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn any(&self, flag: bool) -> Result<bool, DistributedError> {
        let count = Tensor::from_slice(&[i64::from(flag)]);
        self.all_reduce(&count)?;
        Ok(count.int64_value(&[0]) > 0)
    }

    /// Checks that all ranks have the same `value` of what `subject` names, such as `versions of this program`.
    ///
    /// # Errors
    /// [`DistributedError::Differs`] in all ranks when one has another value.
    pub fn agree(&self, subject: &'static str, value: &str) -> Result<(), DistributedError> {
        let all = self.all_gather(value.as_bytes())?;
        let ranks: Vec<usize> = (1..all.len()).filter(|&rank| all[rank] != all[0]).collect();
        let Some(&rank) = ranks.first() else { return Ok(()) };
        let [first, other] = [0, rank].map(|rank| String::from_utf8_lossy(&all[rank]).into_owned());
        Err(DistributedError::Differs { subject, first, ranks, other })
    }

    /// Value of the first rank, as bytes.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn of_first(&self, bytes: &[u8]) -> Result<Vec<u8>, DistributedError> {
        Ok(self.all_gather(bytes)?.swap_remove(0))
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// [`DistributedError`] when a rank failed, or the collective did.
    pub fn barrier(&self) -> Result<(), DistributedError> {
        self.all_reduce(&Tensor::zeros([1], (Kind::Int64, Device::Cpu)))
    }

    fn start(
        &self,
        action: &'static str,
        begin: impl FnOnce(&Gloo) -> Result<Work, TorchError>,
    ) -> Result<Pending, DistributedError> {
        if let Some(failure) = self.failure() {
            return Err(DistributedError::Failed(failure.clone()));
        }
        let Some(gloo) = &self.gloo else { return Ok(Pending::queued()) };
        let work = begin(gloo).map_err(DistributedError::engine(action))?;
        Ok(Pending::background(work, &self.watch, action))
    }
}

/// Leaves the group. The first rank waits for the others, who meet through it.
impl Drop for Group {
    fn drop(&mut self) {
        if thread::panicking() {
            self.fail("an internal error");
        }
        self.watcher.take();
        let _ = self.watch.leave(&self.store);
        let failed = self.failure().is_some();
        if failed || self.gloo.is_none() {
            // Collectives that others do not take part in never end, and Gloo would wait for them.
            mem::forget(self.gloo.take());
        }
        if self.serves {
            self.watch.wait_for_others(&self.store, failed.then_some(FAREWELL));
        }
    }
}

#[cfg(test)]
mod tests;
