//! Reading of units: images in the order of the units, read ahead within a window.
//!
//! A thread walks through the units and starts what each needs: nothing for a file, which is read when it is decoded; a
//! request for an object; a thread for a shard, which fills a queue of its own. Before it starts something it takes the
//! bytes of it from a budget, in the order of the units, so that the unit that is waited for always has its part.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::budget::{Budget, Permit};
use super::queue::{Receiver, Sender, queue};
use super::{Content, Item, Options, Place, Unit, UnitKind, shard};
use crate::decode::guard;

/// Images of units, in the order of the units; dropped, it stops what was started.
pub struct Items {
    pending: Receiver<Pending>,
    shard: Option<(Receiver<Item>, Permit)>,
    worker: Option<JoinHandle<()>>,
}

/// Unit that was started.
enum Pending {
    /// Image that needs no reading ahead, or the failure of a unit.
    Item(Box<Item>),
    /// Object that is on its way.
    #[cfg(feature = "cloud")]
    Object(super::remote::Fetch, Permit),
    /// Shard whose images come one after the other.
    Shard(Receiver<Item>, Permit),
}

/// Shards that share the window.
const SHARDS: usize = 4;

/// Reads the images of `units`, in their order, ahead of what is taken.
///
/// Each unit gives at least one item: a shard that is missing, cut off or empty gives an item with the error. Objects
/// are asked for again when the store is busy or breaks off; see [`PlaceError`](super::PlaceError).
pub fn items(units: impl Iterator<Item = Unit> + Send + 'static, options: &Options) -> Items {
    let options = *options;
    let (sender, pending) = queue(options.window_items);
    let worker = thread::spawn(move || {
        let budget = Arc::new(Budget::new(options.window_bytes));
        for unit in units {
            if sender.send(start(Arc::new(unit), &budget, &options), 1).is_err() {
                return;
            }
        }
    });
    Items { pending, shard: None, worker: Some(worker) }
}

impl Iterator for Items {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some((shard, _)) = &self.shard {
                match shard.recv() {
                    Some(item) => return Some(item),
                    None => self.shard = None,
                }
            }
            match self.pending.recv() {
                Some(Pending::Item(item)) => return Some(*item),
                #[cfg(feature = "cloud")]
                Some(Pending::Object(fetch, _permit)) => return Some(fetch.wait()),
                Some(Pending::Shard(items, permit)) => self.shard = Some((items, permit)),
                None => break,
            }
        }
        // A panic of the worker must not look like the end of the units.
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        None
    }
}

fn start(unit: Arc<Unit>, budget: &Arc<Budget>, options: &Options) -> Pending {
    match (&unit.place, unit.kind) {
        (Place::Local(path), UnitKind::Image) => {
            let content = Content::File(path.clone());
            Pending::Item(Box::new(unit.item(Ok(content))))
        }
        #[cfg(feature = "cloud")]
        (Place::Remote(_), UnitKind::Image) => {
            let permit = budget.take(super::remote::expected_bytes(&unit));
            Pending::Object(super::remote::Fetch::start(unit), permit)
        }
        #[cfg(not(feature = "cloud"))]
        (Place::Remote(_), UnitKind::Image) => {
            Pending::Item(Box::new(unit.item(Err(super::PlaceError::NeedsCloud.into()))))
        }
        _ => {
            let share = options.window_bytes / SHARDS;
            let permit = budget.take(share);
            let (sender, receiver) = queue(share);
            thread::spawn(move || read_shard(&unit, &sender));
            Pending::Shard(receiver, permit)
        }
    }
}

/// Sends the images of a shard; a failure becomes an item.
fn read_shard(unit: &Arc<Unit>, sender: &Sender<Item>) {
    let mut emit = |item: Item| {
        let bytes = match &item.content {
            Ok(Content::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        sender.send(item, bytes)
    };
    if let Err(error) = guard(|| shard::read(unit, &mut emit)) {
        // Nobody wants the error of a shard that is no longer read.
        let _ = emit(unit.item(Err(error)));
    }
}

#[cfg(test)]
mod tests;
