//! Errors of places: of stores, shards and lists.

use std::io;

use super::unit::UnitKind;
use crate::image_list::ListError;

/// Reason why a place cannot be listed, read or written. The [`Error`](crate::Error) that holds it names the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// URL of a kind of store that is not supported.
    #[error("`{0}://` is none of the supported places: s3://, gs://, az://, abfss://, https:// and paths")]
    Scheme(String),
    /// URL without a bucket, container or host.
    #[error("the URL names no bucket or host")]
    NoBucketName,
    /// URL of a bucket that holds credentials.
    #[error(
        "the URL holds credentials: remove them, and give them in the variables or files of the cloud's own tools"
    )]
    CredentialsInUrl,
    /// The program was built without object stores and parquet.
    #[error("this program was built without the feature `cloud`, which reads it")]
    NeedsCloud,
    /// The variables or files of a store are missing, incomplete or contradict each other.
    #[error("the settings of the store cannot be used: {0}")]
    Settings(String),
    /// There is no such object, and no object with this prefix.
    #[error("no such object or prefix")]
    NotFound,
    /// There is no such bucket or container.
    #[error("no such bucket")]
    NoBucket,
    /// The store refuses access.
    #[error("access denied ({0}): check the credentials, and what they allow")]
    Denied(String),
    /// The store went on failing.
    #[error("gave up after {attempts} attempts: {reason}")]
    GaveUp {
        /// Number of requests.
        attempts: usize,
        /// Last failure, without what is secret in it.
        reason: String,
    },
    /// The store answered with an error that trying again does not change.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// The object was replaced while it was read.
    #[error("changed while it was read")]
    Changed,
    /// The server has no listing.
    #[error("cannot be listed ({0}): name each object, or give a list of their addresses")]
    NotListable(String),
    /// The place can only be read.
    #[error("cannot be written: output goes to a folder, or to s3://, gs://, az:// or abfss://")]
    ReadOnly,
    /// An archive of a kind that is not read.
    #[error("`.{0}` is not read: pack the images as .tar or .tar.gz")]
    Archive(String),
    /// A range in braces is not one.
    #[error("`{{{0}}}` is no range: write {{000000..000099}} or {{a,b}}")]
    Braces(String),
    /// The pattern in braces names too many files.
    #[error("the braces name more than {0} files")]
    TooManyNames(usize),
    /// A list of images cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// A shard ends too early.
    #[error("the {kind} shard is cut off after {images} images: {reason}")]
    CutOff {
        /// Kind of shard.
        kind: UnitKind,
        /// Number of images that were read before.
        images: u64,
        /// Reason.
        reason: String,
    },
    /// A shard is damaged.
    #[error("the {kind} shard is damaged after {images} images: {reason}")]
    Damaged {
        /// Kind of shard.
        kind: UnitKind,
        /// Number of images that were read before.
        images: u64,
        /// Reason.
        reason: String,
    },
    /// A shard holds no images.
    #[error("the {kind} shard holds no images")]
    NoImages {
        /// Kind of shard.
        kind: UnitKind,
    },
    /// A member of a shard has the name of an earlier one.
    #[error("the shard holds two members of this name")]
    SameName,
    /// A member of a shard is no plain file.
    #[error("the member is a {0}, which is not followed")]
    NoFile(&'static str),
    /// A parquet file has no column of images.
    #[error("no column of images: expected `image` or `img` with the bytes of files, found {0}")]
    NoImageColumn(String),
    /// A row of a parquet file has no bytes.
    #[error("the row has no bytes of an image: {0}")]
    NoBytes(String),
    /// Writing failed.
    #[error("cannot be written")]
    Write(#[source] io::Error),
}

impl PlaceError {
    /// Tells whether trying again later could help: the store failed, and not what was asked of it.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::GaveUp { .. })
    }
}
