//! Group of processes that train together, and their collectives.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::peer::Peer;
use super::watcher::{Watch, Watcher};
use super::{DistributedError, Failure, Launch, Pending, World, address, arrival, pending};
use crate::device;
use crate::error::TorchError;
use crate::native;
use crate::native::c10d::{Gloo, Store, Work};
use crate::native::nccl::{self, Communicator, Nccl, UniqueId};

/// Longest time that connecting to a store takes where something listens.
const CONNECT: Duration = Duration::from_secs(30);

/// Longest time for which the first rank waits at its end for others to hear of a failure.
const FAREWELL: Duration = Duration::from_secs(10);

/// Group of processes, each with its rank; every collective is called by all ranks in the same order.
///
/// Tensors on the CPU are exchanged by Gloo. Those on GPUs are exchanged by NCCL, after
/// [`connect_devices`](Self::connect_devices) and in the order of the GPU's current stream.
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
        let arrived = arrival::meet(&store, *world, &this, timeout, serves.then_some(FAREWELL))?;
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

    /// Connects the devices of all ranks, each of which calls it with its own; on CPUs there is nothing to connect.
    ///
    /// # Errors
    /// [`DistributedError::Differs`] when some ranks have a GPU and others none, [`DistributedError::SameGpu`] when two have
    /// the same, both in all ranks; [`DistributedError::NoNccl`] when its library is missing, and
    /// [`DistributedError::Engine`] when it cannot connect.
    pub fn connect_devices(&self, device: Device) -> Result<(), DistributedError> {
        let kind = if device == Device::Cpu { "the CPU" } else { "a GPU" };
        self.agree("kinds of device", kind)?;
        let Device::Cuda(index) = device else { return Ok(()) };
        if self.watch.has_gpu() {
            return Ok(());
        }
        self.check_gpus(index)?;
        let action = "connect the GPUs of the ranks";
        let nccl =
            Nccl::open(nccl::LIBRARY).map_err(|error| DistributedError::NoNccl(device::reason(&error)))?;
        let own = match self.world.is_first() {
            true => nccl.unique_id().map_err(DistributedError::engine(action))?.0.to_vec(),
            false => Vec::new(),
        };
        let id = self.of_first(&own)?.try_into().map_err(|_| TorchError::Other("NCCL has no id".into()))?;
        native::set_gpu(index)?;
        let connected = Communicator::new(nccl, UniqueId(id), [self.world.rank, self.world.size], index);
        let connected = connected.map_err(|source| pending::broken(&self.watch, action, source))?;
        // Only one thread connects.
        let _ = self.watch.gpu.set(connected);
        Ok(())
    }

    /// Checks that no two ranks have one GPU, which NCCL does not allow.
    fn check_gpus(&self, index: usize) -> Result<(), DistributedError> {
        let address = nccl::gpu_address(index).unwrap_or_default();
        let all = self.all_gather(address.as_bytes())?;
        let peers = &self.watch.peers;
        let same =
            |a: usize, b: usize| !all[a].is_empty() && all[a] == all[b] && peers[a].is_beside(&peers[b]);
        let ranks = |first: usize| (first..all.len()).filter(move |&rank| same(first, rank)).collect();
        match (0..all.len()).map(ranks).find(|ranks: &Vec<usize>| ranks.len() > 1) {
            Some(ranks) => Err(DistributedError::SameGpu { host: peers[ranks[0]].host.clone(), ranks }),
            None => Ok(()),
        }
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
        let action = "sum over the ranks";
        match tensor.device() {
            Device::Cpu => self.start(action, |gloo| gloo.all_reduce(tensor)),
            device => self.queue(action, device, |gpu| gpu.all_reduce(tensor)),
        }
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
        let action = "copy to all ranks";
        let (on_cpu, on_gpu): (Vec<&Tensor>, Vec<&Tensor>) =
            tensors.iter().partition(|tensor| tensor.device() == Device::Cpu);
        let mut pending = Vec::new();
        if let Some(tensor) = on_gpu.first() {
            pending.push(self.queue(action, tensor.device(), |gpu| gpu.broadcast(&on_gpu, root))?);
        }
        for tensor in on_cpu {
            pending.push(self.start(action, |gloo| gloo.broadcast(tensor, root))?);
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

    /// Tells all ranks if any of them passes `true`.
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

    /// Begins a collective of tensors on the CPU.
    fn start(
        &self,
        action: &'static str,
        begin: impl FnOnce(&Gloo) -> Result<Work, TorchError>,
    ) -> Result<Pending, DistributedError> {
        self.check()?;
        let Some(gloo) = &self.gloo else { return Ok(Pending::queued()) };
        let work = begin(gloo).map_err(DistributedError::engine(action))?;
        Ok(Pending::background(work, &self.watch, action))
    }

    /// Puts a collective of tensors on a GPU on its stream.
    fn queue(
        &self,
        action: &'static str,
        device: Device,
        begin: impl FnOnce(&Communicator) -> Result<(), TorchError>,
    ) -> Result<Pending, DistributedError> {
        self.check()?;
        let gpu = self.watch.gpu.get().ok_or(DistributedError::NotConnected(device))?;
        begin(gpu).map_err(|source| pending::broken(&self.watch, action, source))?;
        Ok(Pending::queued())
    }

    fn check(&self) -> Result<(), DistributedError> {
        self.failure().map_or(Ok(()), |failure| Err(DistributedError::Failed(failure.clone())))
    }
}

/// Leaves the group. The first rank waits for the others, who meet through it.
impl Drop for Group {
    fn drop(&mut self) {
        if thread::panicking() {
            self.fail("an internal error");
        }
        if self.failure().is_none() {
            self.watch.wait_for_gpu();
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
        } else if !failed && self.watch.has_gpu() {
            // Their last collectives may still be sent from here.
            self.watch.wait_for_others(&self.store, Some(FAREWELL));
        }
        self.watch.end_gpu();
    }
}

#[cfg(test)]
mod tests;
