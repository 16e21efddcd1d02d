//! Further outputs of a classifier, for image files in batches.

use std::path::PathBuf;

use image::RgbImage;
use ndarray::ArrayD;

use super::{Classifier, Source};
use crate::error::Result;
use crate::pipeline::{Input, Pipeline, Prepared};
use crate::scores::rows;
use crate::session::{Session, SessionError};

impl Classifier {
    /// Name of the output with the scores.
    pub(crate) fn scores_output(&self) -> &str {
        &self.scores.output
    }

    /// Classifier that runs another session of the same network.
    pub(crate) fn with_session(self, session: Session) -> Self {
        Self { session, ..self }
    }

    /// Computes the scores of one image and fetches more outputs by name; the first dimension of each is 1.
    pub(crate) fn look(&self, image: &RgbImage, names: &[&str]) -> Result<(Vec<f32>, Vec<ArrayD<f32>>)> {
        let prepared = self.prepare(image)?;
        let names: Vec<_> = [&[self.scores_output()], names].concat();
        let mut fetched = self.pass(&[&prepared], 0, &names)?;
        let mut scores = self.scores.rows(&fetched.remove(0), 1)?;
        Ok((scores.remove(0), fetched))
    }

    /// Computes the values of `output` for image files in order, in batches; other threads decode the next ones while the
    /// network runs.
    pub(crate) fn observe_files<'a, S: Into<Source>>(
        &'a self,
        sources: impl IntoIterator<Item = S>,
        output: &'a str,
    ) -> impl Iterator<Item = (PathBuf, Result<Vec<f32>>)> + 'a {
        let sources: Vec<Source> = sources.into_iter().map(Into::into).collect();
        let inputs = sources.into_iter().map(Input::from);
        let pipeline = Pipeline::start(self.pool.clone(), self.preprocessor.clone(), inputs, self.batch);
        pipeline.flat_map(move |batch| self.observe_prepared(batch, output))
    }

    fn observe_prepared(&self, batch: Vec<Prepared>, output: &str) -> Vec<(PathBuf, Result<Vec<f32>>)> {
        let images: Vec<_> = batch.iter().filter_map(|prepared| prepared.image.as_ref().ok()).collect();
        let mut found = self.values(&images, output).map(Vec::into_iter);
        let mut next = || match &mut found {
            Ok(rows) => Ok(rows.next().expect("one row for each image that was prepared")),
            Err(error) => Err(error.clone().into()),
        };
        batch.into_iter().map(|one| (one.path, one.image.and_then(|_| next()))).collect()
    }

    /// Computes the values of `output` for each of `N` prepared images, `[H, W, C]`.
    fn values(
        &self,
        prepared: &[&RgbImage],
        output: &str,
    ) -> std::result::Result<Vec<Vec<f32>>, SessionError> {
        let most = self.session.fixed_batch().unwrap_or(prepared.len().max(1));
        let together = if self.one_by_one { 1 } else { most };
        let mut all = Vec::with_capacity(prepared.len());
        for images in prepared.chunks(together) {
            let found = self.pass(images, 0, &[output])?.remove(0);
            let (shape, images) = (found.shape().to_vec(), images.len());
            let split = rows(&found, images);
            all.extend(split.ok_or_else(|| SessionError::Rows { output: output.into(), shape, images })?);
        }
        match all.iter().flatten().find(|value| !value.is_finite()) {
            Some(&value) => Err(SessionError::NotFinite { value }),
            None => Ok(all),
        }
    }
}
