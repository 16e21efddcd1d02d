//! Reading of chosen images from shards, each checked against the index.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ferronnx_infer::places::{self, Item, Items, Options};

use super::{ShardError, Shards, encoded};
use crate::data::content::Digest;

/// Encoded image with its position in the index.
type Image = (usize, Arc<[u8]>);

/// Images of an index, read shard after shard and handed out in any order.
///
/// An image is held from the moment when it is read until it was handed out as often as it is wanted. So as many are in
/// memory as the order differs from that of the shards, besides those that [`places::items`] reads ahead.
pub(in crate::data) struct Reading {
    shards: Arc<Shards>,
    items: Items,
    /// Units that are read, in their order, the next one last.
    units: Vec<usize>,
    /// Position of the next image, and of the end of its unit.
    next: [usize; 2],
    /// Number of times that each image is still wanted, by its position.
    wanted: HashMap<usize, usize>,
    held: HashMap<usize, Arc<[u8]>>,
}

impl Reading {
    /// Starts to read the images at `positions`, one for each time that it is wanted; `order` is that of the units, and
    /// units without such images are passed over.
    pub fn start(shards: Arc<Shards>, order: &[usize], positions: impl IntoIterator<Item = usize>) -> Self {
        let mut wanted: HashMap<usize, usize> = HashMap::new();
        let mut is_read = vec![false; shards.units.len()];
        for position in positions {
            *wanted.entry(position).or_default() += 1;
            is_read[shards.unit_of(position)] = true;
        }
        let mut units: Vec<usize> = order.iter().copied().filter(|&unit| is_read[unit]).collect();
        let read: Vec<_> = units.iter().map(|&unit| shards.units[unit].clone()).collect();
        units.reverse();
        let items = places::items(read.into_iter(), &Options::default());
        Self { shards, items, units, next: [0, 0], wanted, held: HashMap::new() }
    }

    /// Takes the image at a position, and reads on until it comes.
    ///
    /// # Errors
    /// [`ShardError`] when a shard cannot be read or has changed.
    pub fn take(&mut self, position: usize) -> Result<Arc<[u8]>, ShardError> {
        while !self.held.contains_key(&position) {
            self.read_on()?;
        }
        let image = self.held[&position].clone();
        let left = self.wanted.entry(position).or_insert(1);
        *left -= 1;
        if *left == 0 {
            self.wanted.remove(&position);
            self.held.remove(&position);
        }
        Ok(image)
    }

    /// Takes the next wanted image in the order of the shards, with its position; none after the last.
    pub fn take_next(&mut self) -> Option<Result<Image, ShardError>> {
        if self.wanted.is_empty() {
            return None;
        }
        while self.held.is_empty() {
            if let Err(error) = self.read_on() {
                return Some(Err(error));
            }
        }
        let position = *self.held.keys().next()?;
        Some(self.take(position).map(|image| (position, image)))
    }

    /// Number of images that are held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Reads the next image, and holds it if it is wanted.
    fn read_on(&mut self) -> Result<(), ShardError> {
        let Some(item) = self.items.next() else { return Err(self.changed()) };
        if self.next[0] == self.next[1] {
            // An image behind the last one of a unit is of the unit before.
            let unit = self.units.pop().filter(|&unit| self.shards.units[unit].name == item.unit.name);
            let unit = unit.ok_or_else(|| ShardError::Changed(item.unit.name.clone()))?;
            self.next = [self.shards.starts[unit], self.shards.starts[unit + 1]];
        }
        let Item { name, content, .. } = item;
        let bytes = encoded(content?)?;
        let position = self.next[0];
        if self.shards.position(Path::new(&name)) != Some(position) {
            return Err(self.changed());
        }
        self.next[0] += 1;
        if self.wanted.contains_key(&position) {
            if Digest::of_file(&bytes) != self.shards.images[position].digest {
                return Err(ShardError::Changed(name));
            }
            self.held.insert(position, bytes.into());
        }
        Ok(())
    }

    /// Error of the unit that is being read: an image of it is gone, or there is another one.
    fn changed(&self) -> ShardError {
        let unit = self.shards.unit_of(self.next[1].saturating_sub(1));
        ShardError::Changed(self.shards.units[unit].name.clone())
    }
}
