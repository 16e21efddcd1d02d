//! Objects read in any order, by blocks of which a few are kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::{Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::places::remote::Parts;
use crate::places::{PlaceError, Url};

/// Bytes of a block.
const BLOCK: u64 = 4 << 20;

/// Blocks that are kept: those of two columns and the one that is read ahead.
const KEPT: usize = 3;

/// Object of a store, whose blocks are asked for when they are needed, each with the one behind it.
#[derive(Clone)]
pub(super) struct Blocks(Arc<Shared>);

struct Shared {
    parts: Parts,
    kept: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Blocks {
    /// Opens an object.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(url: &Url) -> Result<Self> {
        let parts = Parts::open(url)?;
        Ok(Self(Arc::new(Shared { parts, kept: Mutex::default() })))
    }

    /// Block with an index.
    fn block(&self, index: u64) -> Result<Bytes> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = kept.iter().position(|(kept, _)| *kept == index) {
            let found = kept.remove(position).map(|(_, block)| block).unwrap_or_default();
            kept.push_back((index, found.clone()));
            return Ok(found);
        }
        let range = |index: u64| index * BLOCK..((index + 1) * BLOCK).min(self.0.parts.size());
        let block = self.0.parts.read(range(index), range(index + 1))?;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((index, block.clone()));
        Ok(block)
    }

    /// Bytes from `position` to the end of their block; empty at the end of the object.
    fn from(&self, position: u64) -> Result<Bytes> {
        if position >= self.0.parts.size() {
            return Ok(Bytes::new());
        }
        let block = self.block(position / BLOCK)?;
        let start = ((position % BLOCK) as usize).min(block.len());
        Ok(block.slice(start..))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.0.parts.size()
    }
}

impl ChunkReader for Blocks {
    type T = BlockReader;

    fn get_read(&self, start: u64) -> ParquetResult<BlockReader> {
        Ok(BlockReader { blocks: self.clone(), position: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let external = |error: Error| ParquetError::External(Box::new(error));
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(external(
                PlaceError::Refused("the file refers to bytes behind its end".into()).into(),
            ));
        }
        let first = self.from(start).map_err(external)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut bytes = BytesMut::with_capacity(length);
        bytes.extend_from_slice(&first);
        while bytes.len() < length {
            let next = self.from(start + bytes.len() as u64).map_err(external)?;
            let missing = length - bytes.len();
            bytes.extend_from_slice(&next[..missing.min(next.len())]);
        }
        Ok(bytes.freeze())
    }
}

/// Reader of an object from a position on.
pub(super) struct BlockReader {
    blocks: Blocks,
    position: u64,
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.blocks.from(self.position).map_err(io::Error::other)?;
        let length = buffer.len().min(bytes.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.position += length as u64;
        Ok(length)
    }
}
