//! Embeddings of images: the features that a classifier's last linear layer reads.
//!
//! Images that a network takes for similar have features in similar directions. [`Embedder`] computes them, [`npy`] and
//! [`table`] keep them in files, and [`nearest()`] finds the most similar ones.

mod nearest;
pub mod npy;
pub mod table;

use std::path::{Path, PathBuf};

use ferronnx_models::card::OutputRole;
use ferronnx_models::onnx::Model;
use ferronnx_models::onnx::head::{self, FEATURES, Head, HeadError};

pub use self::nearest::{Neighbour, cosine, nearest};
use crate::classifier::{Classifier, ClassifierBuilder, Source};
use crate::error::{Error, ModelError, Result};
use crate::session::{self, Session, SessionError};

/// Network that computes embeddings of images.
pub struct Embedder {
    classifier: Classifier,
    output: String,
    added: Option<String>,
    is_normalized: bool,
}

impl Embedder {
    /// Loads the model file at `path`.
    ///
    /// The features are the output that the card names for them. A file without one, also of another tool, gets it in
    /// memory: what its last linear layer reads, if that comes from a global pool.
    ///
    /// # Errors
    /// Those of [`ClassifierBuilder::load`]; [`Model`](crate::ErrorKind::Model) when the network does not end in a global
    /// pool and a linear layer.
    pub fn load(builder: ClassifierBuilder, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let options = builder.session_options().clone();
        let classifier = builder.load(path)?;
        if let Some(output) = classifier.card().output(OutputRole::Features) {
            let output = output.to_owned();
            return Ok(Self { classifier, output, added: None, is_normalized: false });
        }
        let no_features = |error: HeadError| Error::from(ModelError::NoFeatures(error)).at(path);
        let mut model =
            Model::decode(session::read(path)?).map_err(|_| no_features(HeadError::Unreadable))?;
        let Head { features, channels, .. } =
            Head::find(&model, classifier.scores_output()).map_err(no_features)?;
        let output = head::add_output(&mut model, &features, FEATURES, &[channels]);
        let session = Session::from_content(path, &model.encode(), &options)?;
        let classifier = classifier.with_session(session);
        Ok(Self { classifier, output, added: Some(features), is_normalized: false })
    }

    /// Scales embeddings to length 1, or not.
    #[must_use]
    pub fn normalized(self, is_normalized: bool) -> Self {
        Self { is_normalized, ..self }
    }

    /// Classifier of the same file.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Value of the graph that became the output of features in memory; none if the file has such an output.
    pub fn added(&self) -> Option<&str> {
        self.added.as_deref()
    }

    /// Embeds image files in order, in batches; gives each path with its embedding `[C]`.
    ///
    /// An image that fails has its error, and the others go on.
    pub fn embed_files<S: Into<Source>>(
        &self,
        sources: impl IntoIterator<Item = S>,
    ) -> impl Iterator<Item = (PathBuf, Result<Vec<f32>>)> {
        let normalize = |mut values: Vec<f32>| match !self.is_normalized || normalize(&mut values) {
            true => Ok(values),
            false => Err(SessionError::ZeroFeatures.into()),
        };
        let embedded = self.classifier.observe_files(sources, &self.output);
        embedded.map(move |(path, values)| (path, values.and_then(normalize)))
    }

    /// Embeds one image file, `[C]`.
    ///
    /// # Errors
    /// Those of [`decode::file`](crate::decode::file), [`Session`](crate::ErrorKind::Session) when the network fails or
    /// its features are not finite.
    pub fn embed_file(&self, path: impl Into<PathBuf>) -> Result<Vec<f32>> {
        let mut embedded = self.embed_files([Source::File(path.into())]);
        embedded.next().expect("a result for each image").1
    }
}

/// Scales a vector to length 1; false if it has no direction, for all its values are 0.
fn normalize(values: &mut [f32]) -> bool {
    let length = nearest::length(values);
    values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    length > 0.0
}
