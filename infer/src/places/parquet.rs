//! Parquet shards: a column of images with a column of labels, as [Hugging Face](https://huggingface.co/docs/hub/datasets-image)
//! writes them.
//!
//! The image is `struct<bytes, path>` or the bytes alone. A label is a number, a name or a list of them; the names of
//! numbers are in the file's metadata. Only these columns are read, page by page.

#[cfg(test)]
mod tests;

mod blocks;
mod columns;

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::ChunkReader;
use arrow_schema::ArrowError;

use super::shard::Emit;
use super::{Content, Place, PlaceError, Unit, UnitKind};
use crate::decode::{MAX_BYTES, bytes_too_large};
use crate::error::{Error, Result, chain};
use blocks::Blocks;
use columns::{Columns, Images, Labels};

/// Rows that are decoded at once.
const ROWS: usize = 16;

/// Passes the images of the file of a unit to `emit`, named by their rows.
///
/// # Errors
/// [`PlaceError::Damaged`], [`PlaceError::CutOff`], [`PlaceError::NoImageColumn`] and those of the file or the store.
pub(super) fn read(unit: &Arc<Unit>, emit: Emit<'_>) -> Result<()> {
    match &unit.place {
        Place::Local(path) => rows(unit, File::open(path).map_err(|error| Error::io(path, error))?, emit),
        Place::Remote(url) => rows(unit, Blocks::open(url)?, emit),
    }
}

fn rows(unit: &Arc<Unit>, file: impl ChunkReader + 'static, emit: Emit<'_>) -> Result<()> {
    // The types that the file stores, and not those that its writer had in memory.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| damaged(&error.into(), 0))?;
    let columns = Columns::of(builder.schema(), builder.metadata().file_metadata())?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.positions());
    let batches = builder.with_projection(mask).with_batch_size(ROWS).build();
    let mut images = 0;
    for batch in batches.map_err(|error| damaged(&error.into(), 0))? {
        let batch = batch.map_err(|error| damaged(&error, images))?;
        let image = batch.column_by_name(&columns.image).and_then(Images::new);
        let image = image.ok_or_else(|| PlaceError::NoImageColumn(columns.image.clone()))?;
        let labels = columns.label.as_ref().and_then(|label| batch.column_by_name(label));
        let labels = Labels::new(labels, &columns.names);
        for row in 0..batch.num_rows() {
            let bytes = image.of(row).map_err(Error::from).and_then(content);
            if emit(unit.member(images, labels.of(row), bytes)).is_err() {
                return Ok(());
            }
            images += 1;
        }
    }
    if images == 0 { Err(PlaceError::NoImages { kind: UnitKind::Parquet }.into()) } else { Ok(()) }
}

fn content(bytes: &[u8]) -> Result<Content> {
    if bytes.len() as u64 > MAX_BYTES { Err(bytes_too_large()) } else { Ok(Content::Bytes(bytes.to_vec())) }
}

/// Error of a file after a number of images; a store that failed is told from a file that is damaged.
fn damaged(error: &ArrowError, images: u64) -> Error {
    let kind = UnitKind::Parquet;
    let inner = match error {
        ArrowError::ExternalError(inner) => Some(&**inner),
        _ => None,
    };
    let parquet = inner.and_then(|inner| inner.downcast_ref::<ParquetError>());
    let store = match parquet {
        Some(ParquetError::External(inner)) => inner.downcast_ref::<Error>(),
        _ => inner.and_then(|inner| inner.downcast_ref::<Error>()),
    };
    match store {
        Some(store) => PlaceError::CutOff { kind, images, reason: store.reason() }.into(),
        None => {
            let reason = chain(error).lines().next().unwrap_or_default().into();
            PlaceError::Damaged { kind, images, reason }.into()
        }
    }
}
