//! Batches of images and labels on the training device.

use std::sync::Arc;

use ferronnx_infer::error::first_of;
use ferronnx_infer::preprocess::Preprocessor;
use tch::{Device, Kind, TchError, Tensor};

use super::augment::cutout;
use super::augment::mix::{self, Mix};
use super::augment::resized::{CropBox, resized_crop};
use super::augment::{self, Augment, ImageDraw};
use super::error::{BadImages, DataError, is_bad};
use super::images::ImageSet;
use super::prefetch::{Decoded, Prefetch, decode, planar};
use super::random::{Purpose, stream};
use super::sampling::{Draw, Sampling};
use crate::native;
use crate::task::Task;

/// A batch of images and labels on the device.
#[derive(Debug)]
pub struct Batch {
    /// Normalised images, `[N, C, H, W]`.
    pub images: Tensor,
    /// Class indices, `[N]`; in a multi-label task 1 for each class that is right and 0 for the others, `[N, classes]`.
    pub labels: Tensor,
    /// Labels of the images that were mixed in, if any.
    pub mixed: Option<Mixed>,
    /// Indices of the images in their set.
    pub indices: Vec<usize>,
    /// Number of images that were left out here, or in a dropped batch before, because they cannot be decoded.
    pub skipped: usize,
    /// Step in the epoch, counted from 0.
    pub step: usize,
}

/// Labels of the images that are mixed into a batch.
#[derive(Debug)]
pub struct Mixed {
    /// Labels, as those of the [batch](Batch::labels).
    pub labels: Tensor,
    /// Weight of the batch's own labels, in [0, 1]: the loss is `share * loss(own) + (1 - share) * loss(these)`.
    pub share: f64,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True if the batch has no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Makes batches from a set of images.
#[derive(Debug, Clone, Copy)]
pub struct Loader<'a> {
    set: &'a ImageSet,
    preprocessor: &'a Preprocessor,
    device: Device,
    sampling: Sampling,
    /// Number of classes, in a multi-label task.
    classes: Option<usize>,
    mirrored: bool,
}

impl<'a> Loader<'a> {
    /// Makes batches of `set` on `device`, for one label an image.
    pub fn new(set: &'a ImageSet, preprocessor: &'a Preprocessor, device: Device) -> Self {
        Self { set, preprocessor, device, sampling: Sampling::default(), classes: None, mirrored: false }
    }

    /// Makes batches with any number of the `classes` classes for each image.
    #[must_use]
    pub fn multi_label(self, classes: usize) -> Self {
        Self { classes: Some(classes), ..self }
    }

    /// Chooses how often images are drawn in an epoch.
    #[must_use]
    pub fn sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Mirrors every image horizontally, after all augmentation.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { mirrored: true, ..self }
    }

    /// Task that the labels are for.
    pub fn task(&self) -> Task {
        self.classes.map_or(Task::SingleLabel, |_| Task::MultiLabel)
    }

    /// The set of images.
    pub fn set(&self) -> &'a ImageSet {
        self.set
    }

    /// Names a few of the images, for messages.
    pub(crate) fn named(&self, indices: &[usize]) -> String {
        const NAMED: usize = 3;
        first_of(NAMED, indices.iter().map(|&index| self.set.path(index).display()))
    }

    /// Number of training batches in an epoch, of at least two images each.
    pub fn steps(&self, batch_size: usize) -> usize {
        self.used(batch_size).div_ceil(batch_size)
    }

    /// Number of images in these batches: all, or all but one that would be alone in the last.
    pub fn used(&self, batch_size: usize) -> usize {
        self.set.len() - usize::from(self.set.len() % batch_size == 1)
    }

    /// Iterates over the batches of `epoch` (counted from 0) from `first_step` on, in random order and augmented.
    ///
    /// Random draws depend on seed, epoch and image only (under [`Sampling::Balanced`] on the image's place in the epoch),
    /// so a batch is the same whatever ran before it. A batch of one image is left out, because batch norm cannot learn
    /// from it.
    pub fn training(
        &self,
        augment: &Augment,
        batch_size: usize,
        seed: u64,
        epoch: usize,
        first_step: usize,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let order = self.sampling.order(self.set.samples(), &mut stream(seed, epoch, Purpose::Order));
        let groups = order.chunks(batch_size).filter(|group| group.len() > 1).skip(first_step);
        let groups: Vec<_> = groups.map(<[Draw]>::to_vec).collect();
        let draws = Draws { augment: *augment, side: self.preprocessor.size().height, seed, epoch };
        self.batches(groups, Some(draws), first_step, 2)
    }

    /// Iterates over all images in their order, without augmentation.
    pub fn in_order(&self, batch_size: usize) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let order: Vec<Draw> = (0..self.set.len()).map(|image| Draw { image, stream: image }).collect();
        let groups = order.chunks(batch_size).map(<[Draw]>::to_vec).collect();
        self.batches(groups, None, 0, 1)
    }

    /// Makes a batch of each group in which at least `least` images can be decoded.
    fn batches(
        &self,
        groups: Vec<Vec<Draw>>,
        draws: Option<Draws>,
        first_step: usize,
        least: usize,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let (loader, mut skipped) = (*self, 0);
        self.images(groups, draws).zip(first_step..).filter_map(move |(images, step)| {
            let mut images = match images {
                Ok(images) => images,
                Err(error) => return Some(Err(error)),
            };
            skipped += images.skipped;
            (images.drawn.len() >= least).then(|| {
                images.skipped = std::mem::take(&mut skipped);
                loader.batch(images, step, draws.as_ref())
            })
        })
    }

    /// Reads the bytes of each group, from memory or from files.
    fn images(
        &self,
        groups: Vec<Vec<Draw>>,
        draws: Option<Draws>,
    ) -> Box<dyn Iterator<Item = Result<Images, DataError>> + 'a> {
        let loader = *self;
        let resized = draws.filter(|draws| draws.augment.needs_originals(draws.side));
        match (self.set.images(), resized) {
            (Some(all), None) => Box::new(groups.into_iter().map(move |drawn| {
                let indices: Vec<usize> = drawn.iter().map(|draw| draw.image).collect();
                let bytes = all.f_index_select(0, &upload(&indices, all.device())?)?;
                Ok(Images { bytes: bytes.f_to_device(loader.device)?, drawn, skipped: 0 })
            })),
            _ => {
                let samples = Arc::clone(self.set.samples());
                let preprocessor = self.preprocessor.clone();
                let channels = preprocessor.input_shape()[0];
                let work = move |draw: Draw| {
                    decode(&samples[draw.image].path, |image| match &resized {
                        Some(draws) => draws.resized_crop(draw.stream, &preprocessor.recolored(&image)),
                        None => preprocessor.prepare(&image),
                    })
                    .map(|image| planar(&image, channels))
                };
                Box::new(Prefetch::start(groups, work).map(move |decoded| loader.received(decoded?)))
            }
        }
    }

    fn received(&self, decoded: Decoded<Draw>) -> Result<Images, DataError> {
        let Decoded { items: drawn, bytes, bad } = decoded;
        let acceptable = self.set.skips_bad() && bad.iter().all(is_bad);
        if !bad.is_empty() && !acceptable {
            return Err(BadImages(bad).into());
        }
        let [channels, height, width] = self.preprocessor.input_shape().map(|size| size as i64);
        let shape = [drawn.len() as i64, channels, height, width];
        let bytes = native::upload(&Tensor::f_from_slice(&bytes)?.f_view(shape)?, self.device)?;
        Ok(Images { bytes, drawn, skipped: bad.len() })
    }

    fn batch(&self, images: Images, step: usize, draws: Option<&Draws>) -> Result<Batch, DataError> {
        let Images { mut bytes, drawn, skipped } = images;
        let indices: Vec<usize> = drawn.iter().map(|draw| draw.image).collect();
        let labels = self.labels(&indices)?;
        let augmented = draws.map(|draws| (draws.of(&drawn), draws.augment.crop_border));
        if let Some((draws, border)) = &augmented {
            bytes = augment::apply(&bytes, draws, *border)?;
        }
        let normalised = self.normalise(&bytes)?;
        if let Some((draws, _)) = &augmented {
            cutout::erase(&normalised, draws)?;
        }
        let normalised = if self.mirrored { normalised.f_flip([3])? } else { normalised };
        let mut batch = Batch { images: normalised, labels, mixed: None, indices, skipped, step };
        if let Some(mix) = draws.and_then(|draws| draws.mix(step)) {
            let share = mix.share(i64::from(self.preprocessor.size().height));
            batch.images = mix.apply(&batch.images)?;
            batch.mixed = Some(Mixed { labels: mix::partners(&batch.labels)?, share });
        }
        Ok(batch)
    }

    /// Labels of images, see [`Batch::labels`].
    fn labels(&self, indices: &[usize]) -> Result<Tensor, TchError> {
        let Some(classes) = self.classes else {
            let labels: Vec<usize> = indices.iter().map(|&index| self.set.label(index)).collect();
            return upload(&labels, self.device);
        };
        let mut targets = vec![0.0_f32; indices.len() * classes];
        for (row, &index) in targets.chunks_mut(classes).zip(indices) {
            self.set.labels(index).iter().for_each(|&label| row[label] = 1.0);
        }
        let shape = [indices.len() as i64, classes as i64];
        native::upload(&Tensor::f_from_slice(&targets)?.f_view(shape)?, self.device)
    }

    /// Normalises bytes `[N, C, H, W]` as [`Preprocessor::normalize_into`] does, to the bit on the CPU.
    fn normalise(&self, bytes: &Tensor) -> Result<Tensor, TchError> {
        let channels =
            |values: &[f32]| native::upload(&Tensor::f_from_slice(values)?.f_view([-1, 1, 1])?, self.device);
        let [mean, std] = self.preprocessor.mean_and_std();
        let mut values = bytes.f_to_kind(Kind::Float)?;
        values.f_div_scalar_(255.0)?.f_sub_(&channels(mean)?)?.f_div_(&channels(std)?)
    }
}

/// Bytes `[N, C, H, W]` on the device, with their images.
struct Images {
    bytes: Tensor,
    drawn: Vec<Draw>,
    skipped: usize,
}

fn upload(numbers: &[usize], device: Device) -> Result<Tensor, TchError> {
    let numbers: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    native::upload(&Tensor::f_from_slice(&numbers)?, device)
}

/// Source of all random draws of an epoch.
#[derive(Clone, Copy)]
struct Draws {
    augment: Augment,
    side: u32,
    seed: u64,
    epoch: usize,
}

impl Draws {
    fn of(&self, drawn: &[Draw]) -> Vec<ImageDraw> {
        let draw = |draw: &Draw| {
            let mut rng = stream(self.seed, self.epoch, Purpose::Image(draw.stream));
            ImageDraw::new(&self.augment, self.side, &mut rng)
        };
        drawn.iter().map(draw).collect()
    }

    fn resized_crop(&self, number: usize, image: &image::RgbImage) -> image::RgbImage {
        let mut rng = stream(self.seed, self.epoch, Purpose::Crop(number));
        let part = CropBox::draw(&self.augment, image.width(), image.height(), &mut rng);
        resized_crop(image, part, self.side)
    }

    fn mix(&self, step: usize) -> Option<Mix> {
        let mut rng = stream(self.seed, self.epoch, Purpose::Mix(step));
        Mix::draw(&self.augment, i64::from(self.side), &mut rng)
    }
}

#[cfg(test)]
mod tests;
