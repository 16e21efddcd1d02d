//! Errors of shards and stores that hold a data set.

use ferronnx_infer::escape;

/// Reason why the images of shards and stores cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A place cannot be listed or read; the error names it.
    #[error(transparent)]
    Failed(Box<ferronnx_infer::Error>),
    /// The URL holds a password or a signature, which a run folder must not keep.
    #[error(
        "{0}: the address holds a secret, which a run cannot keep: give it without, and the credentials in the variables \
         or files of the cloud's own tools"
    )]
    Secret(String),
    /// A name is there twice.
    #[error("{} is there twice: name each shard once", escape::name(.0))]
    Twice(String),
    /// An image or a shard is not as it was when its images were listed.
    #[error("{} has changed since its images were listed: bring it back, or start a new run", escape::name(.0))]
    Changed(String),
    /// Some shards are in a part of the data set, and others are in none.
    #[error(
        "{} is in no part of the data set, and other images are: name shards or their folders by their parts (train, val, \
         test), or give a list with a column `split`",
        escape::name(.0)
    )]
    NoPart(String),
    /// All images are validation or test images.
    #[error(
        "{} has no training images: by the names of shards or folders, or by a list, all are validation or test images",
        escape::name(.0)
    )]
    HeldOutOnly(String),
    /// An image has no label.
    #[error("{}: the image has no label: its folder, a file beside it or a column has to tell it", escape::name(.0))]
    NoLabel(String),
    /// An image has several labels where one is needed.
    #[error("{}: the image has several labels", escape::name(.0))]
    SeveralLabels(String),
    /// Some labels are names and others are numbers.
    #[error(
        "some labels are names (`{name}`) and others numbers (`{number}`), so that it is unclear which classes there are"
    )]
    NamesAndNumbers {
        /// Label that is a name.
        name: String,
        /// Label that is a number.
        number: usize,
    },
    /// A label is a number that can hardly be the index of a class.
    #[error(
        "{}: the label {number} would make more classes than there are training images ({images}): number the classes \
         from 0, or label by names",
        escape::name(image)
    )]
    NoIndex {
        /// Image.
        image: String,
        /// Label.
        number: usize,
        /// Number of training images.
        images: usize,
    },
    /// A validation or test image is of a class without training images.
    #[error("{}: no training image is of its class `{label}`", escape::name(image))]
    UnknownClass {
        /// Image.
        image: String,
        /// Label.
        label: String,
    },
}

impl From<ferronnx_infer::Error> for ShardError {
    fn from(error: ferronnx_infer::Error) -> Self {
        Self::Failed(error.into())
    }
}
