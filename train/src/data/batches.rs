//! Batches of images and labels on the training device.

use std::rc::Rc;
use std::sync::Arc;

use ferronnx_infer::decode;
use ferronnx_infer::error::first_of;
use ferronnx_infer::preprocess::Preprocessor;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::augment::mix::{self, Mix};
use super::augment::resized::{CropBox, resized_crop};
use super::augment::{Augment, Border, ImageDraw, Steps};
use super::error::{BadImages, DataError, is_bad};
use super::images::ImageSet;
use super::parcel::Parcel;
use super::prefetch::{Decoded, Prefetch, planar, read, read_bytes};
use super::random::{Purpose, stream};
use super::sampling::{Draw, Sampling};
use super::shards::Streamed;
use super::slices;
use crate::distributed::World;
use crate::error::TorchError;
use crate::native;
use crate::recorder::Recorder;
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
    /// Weights of the batch's own labels and of these, `[2]`: they sum to 1, and weight the losses.
    pub shares: Tensor,
}

/// Right answers of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Labels, as those of a [batch](Batch::labels).
    pub labels: &'a Tensor,
    /// Labels of the images that were mixed in, if any, and the [shares](Mixed::shares).
    pub mixed: Option<[&'a Tensor; 2]>,
}

impl Targets<'_> {
    /// Labels of those images that make up the larger part of the mixture.
    pub(crate) fn main(&self) -> Result<Tensor, TorchError> {
        let Some([others, shares]) = self.mixed else { return Ok(self.labels.shallow_clone()) };
        Ok(others.f_where_self(&shares.f_select(0, 0)?.f_lt(0.5)?, self.labels)?)
    }
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Right answers.
    pub fn targets(&self) -> Targets<'_> {
        let mixed = self.mixed.as_ref().map(|Mixed { labels, shares }| [labels, shares]);
        Targets { labels: &self.labels, mixed }
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
    world: World,
}

impl<'a> Loader<'a> {
    /// Makes batches of `set` on `device`, for one label an image.
    pub fn new(set: &'a ImageSet, preprocessor: &'a Preprocessor, device: Device) -> Self {
        let (sampling, world) = (Sampling::default(), World::single());
        Self { set, preprocessor, device, sampling, classes: None, mirrored: false, world }
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

    /// Makes this rank's slices of the batches of all ranks, in training; sizes of batches stay those of a rank.
    #[must_use]
    pub fn slices(self, world: World) -> Self {
        Self { world, ..self }
    }

    /// Task that the labels are for.
    pub fn task(&self) -> Task {
        self.classes.map_or(Task::SingleLabel, |_| Task::MultiLabel)
    }

    /// The set of images.
    pub fn set(&self) -> &'a ImageSet {
        self.set
    }

    /// Side of the images of a batch, in pixels.
    pub(crate) fn side(&self) -> u32 {
        self.preprocessor.size().height
    }

    /// Names a few of the images, for messages.
    pub(crate) fn named(&self, indices: &[usize]) -> String {
        const NAMED: usize = 3;
        first_of(NAMED, indices.iter().map(|&index| self.set.path(index).display()))
    }

    /// Number of images of a training step of all ranks, of which each takes `batch_size`.
    pub fn step_size(&self, batch_size: usize) -> usize {
        batch_size * self.world.size
    }

    /// Number of training steps in an epoch, of at least two images each.
    pub fn steps(&self, batch_size: usize) -> usize {
        self.used(batch_size).div_ceil(self.step_size(batch_size))
    }

    /// Number of images in these steps: all, or all but one that would be alone in the last.
    pub fn used(&self, batch_size: usize) -> usize {
        self.set.len() - usize::from(self.set.len() % self.step_size(batch_size) == 1)
    }

    /// Iterates over the batches of `epoch` (counted from 0) from `first_step` on, in random order and augmented.
    ///
    /// Random draws depend on seed, epoch and image only (under [`Sampling::Balanced`] on the image's place in the epoch),
    /// so a batch is the same whatever ran before it. A batch of one image is left out, because batch norm cannot learn
    /// from it. With [several ranks](Self::slices) the order is the same in all of them; each gets a batch of every step,
    /// without images where there are too few for all.
    pub fn training(
        &self,
        augment: &Augment,
        batch_size: usize,
        seed: u64,
        epoch: usize,
        first_step: usize,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let nothing = Rc::new(Recorder::new(self.device, false));
        self.recorded(augment, batch_size, seed, [epoch, first_step], nothing)
    }

    /// Iterates as [`training`](Self::training) over the batches of an epoch, whose augmentation `recorder` records. A
    /// batch of it is valid until the next one is made.
    pub(crate) fn recorded(
        &self,
        augment: &Augment,
        batch_size: usize,
        seed: u64,
        [epoch, first_step]: [usize; 2],
        recorder: Rc<Recorder>,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let mut rng = stream(seed, epoch, Purpose::Order);
        let mut order = self.sampling.order(self.set.samples(), &mut rng);
        let units = match self.set.streamed() {
            Some(streamed) if !self.takes_from_memory(augment) => streamed.arrange(&mut order, &mut rng),
            _ => Vec::new(),
        };
        let steps = order.chunks(self.step_size(batch_size)).filter(|step| step.len() > 1).skip(first_step);
        let groups = steps.map(|step| step[slices::of(step.len(), self.world)].to_vec()).collect();
        let draws = Draws { augment: *augment, side: self.preprocessor.size().height, seed, epoch };
        self.batches(Groups { draws: groups, units }, Some(draws), first_step, 2, recorder)
    }

    /// Tells whether training takes its images from memory.
    fn takes_from_memory(&self, augment: &Augment) -> bool {
        self.set.is_cached() && !augment.needs_originals(self.preprocessor.size().height)
    }

    /// Iterates over all images in their order, without augmentation; over every n-th batch with n
    /// [ranks](Self::slices), each of which begins with the batch of its number.
    pub fn in_order(&self, batch_size: usize) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let order: Vec<Draw> = (0..self.set.len()).map(|image| Draw { image, stream: image }).collect();
        let own = order.chunks(batch_size).skip(self.world.rank).step_by(self.world.size);
        let draws = own.map(<[Draw]>::to_vec).collect();
        let units = self.set.streamed().map(Streamed::units).unwrap_or_default();
        self.batches(Groups { draws, units }, None, 0, 1, Rc::new(Recorder::new(self.device, false)))
    }

    /// Makes a batch of each group in which at least `least` images can be decoded. Where other ranks wait for a batch, it
    /// has no images otherwise.
    fn batches(
        &self,
        groups: Groups,
        draws: Option<Draws>,
        first_step: usize,
        least: usize,
        recorder: Rc<Recorder>,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + use<'a> {
        let (loader, mut skipped) = (*self, 0);
        self.images(groups, draws).zip(first_step..).filter_map(move |(images, step)| {
            let mut images = match images {
                Ok(images) => images,
                Err(error) => return Some(Err(error)),
            };
            skipped += images.skipped;
            let is_enough = images.drawn.len() >= least;
            let waited_for = draws.is_some() && loader.world.size > 1;
            if !is_enough && !waited_for {
                return None;
            }
            if !is_enough {
                skipped += images.drawn.len();
            }
            images.skipped = std::mem::take(&mut skipped);
            Some(match is_enough {
                true => loader.batch(images, step, draws.as_ref(), &recorder),
                false => loader.empty(images.skipped, step),
            })
        })
    }

    /// Reads the bytes of each group, from memory, files or shards.
    fn images(
        &self,
        groups: Groups,
        draws: Option<Draws>,
    ) -> Box<dyn Iterator<Item = Result<Images, DataError>> + 'a> {
        let loader = *self;
        let resized = draws.filter(|draws| draws.augment.needs_originals(draws.side));
        match (self.set.images(), resized) {
            (Some(all), None) => Box::new(groups.draws.into_iter().map(move |drawn| {
                let resident = all.device() == loader.device;
                let bytes = if resident { None } else { Some(loader.taken(all, &drawn)?) };
                Ok(Images { bytes, drawn, skipped: 0 })
            })),
            _ => {
                let samples = Arc::clone(self.set.samples());
                let preprocessor = self.preprocessor.clone();
                let channels = preprocessor.input_shape()[0];
                let prepare = move |draw: Draw, image: &RgbImage| match &resized {
                    Some(draws) => draws.resized_crop(draw.stream, &preprocessor.recolored(image)),
                    None => preprocessor.prepare(image),
                };
                let work = move |draw: Draw, bytes: Option<Arc<[u8]>>| {
                    let path = &samples[draw.image].path;
                    let made =
                        |_: &[u8], decoded: decode::Decoded| planar(&prepare(draw, &decoded.image), channels);
                    match bytes {
                        Some(bytes) => read_bytes(path, &bytes, made),
                        None => read(path, made),
                    }
                };
                let fetch = self.fetch(&groups);
                let decoded = Prefetch::start(groups.draws, fetch, work);
                Box::new(decoded.map(move |decoded| loader.received(decoded?)))
            }
        }
    }

    /// Starts to read the images of groups from their shards; files are read when they are decoded.
    fn fetch(&self, groups: &Groups) -> Fetch {
        let Some(streamed) = self.set.streamed().cloned() else { return Box::new(|_| Ok(None)) };
        let mut reading = streamed.read(&groups.units, groups.draws.iter().flatten());
        Box::new(move |draw| Ok(Some(reading.take(streamed.position(&draw))?)))
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
        Ok(Images { bytes: Some(bytes), drawn, skipped: bad.len() })
    }

    /// Takes images out of a set in the memory of another device.
    fn taken(&self, all: &Tensor, drawn: &[Draw]) -> Result<Tensor, DataError> {
        let indices: Vec<i64> = drawn.iter().map(|draw| draw.image as i64).collect();
        let indices = Tensor::f_from_slice(&indices)?.f_to_device(all.device())?;
        Ok(all.f_index_select(0, &indices)?.f_to_device(self.device)?)
    }

    /// Makes a batch without images.
    fn empty(&self, skipped: usize, step: usize) -> Result<Batch, DataError> {
        let [channels, height, width] = self.preprocessor.input_shape().map(|size| size as i64);
        let images = Tensor::f_zeros([0, channels, height, width], (Kind::Float, self.device))?;
        let labels = match self.classes {
            None => Tensor::f_zeros([0], (Kind::Int64, self.device))?,
            Some(classes) => Tensor::f_zeros([0, classes as i64], (Kind::Float, self.device))?,
        };
        Ok(Batch { images, labels, mixed: None, indices: Vec::new(), skipped, step })
    }

    fn batch(
        &self,
        images: Images,
        step: usize,
        draws: Option<&Draws>,
        recorder: &Recorder,
    ) -> Result<Batch, DataError> {
        let Images { bytes, drawn, skipped } = images;
        let indices: Vec<usize> = drawn.iter().map(|draw| draw.image).collect();
        let mut parcel = Parcel::default();
        let work = self.work(&indices, &drawn, step, draws, bytes.is_some(), &mut parcel);
        let packed = native::upload(&parcel.packed()?, self.device)?;
        let inputs: Vec<Tensor> = [packed].into_iter().chain(bytes).collect();
        let made = recorder.call("augment", &work.constants(), &inputs, |inputs| {
            self.made(&work, parcel.unpack(&inputs[0])?, inputs.get(1))
        });
        let mut made = made.map_err(DataError::Torch)?.into_iter();
        let mut take = || made.next().expect("images and labels, and two more if they are mixed");
        let (images, labels) = (take(), take());
        let mixed = work.mix.map(|_| Mixed { labels: take(), shares: take() });
        Ok(Batch { images, labels, mixed, indices, skipped, step })
    }

    /// Packs what a batch needs, and tells the work that it takes.
    fn work(
        &self,
        indices: &[usize],
        drawn: &[Draw],
        step: usize,
        draws: Option<&Draws>,
        has_bytes: bool,
        parcel: &mut Parcel,
    ) -> Work {
        let [channels, height, width] = self.preprocessor.input_shape().map(|size| size as i64);
        if !has_bytes {
            parcel.integers(&[indices.len() as i64], indices.iter().map(|&index| index as i64));
        }
        self.pack_labels(indices, parcel);
        for values in self.preprocessor.mean_and_std() {
            parcel.floats(&[values.len() as i64, 1, 1], values.iter().copied());
        }
        let augmented = draws.map(|draws| {
            let steps = Steps::pack(&draws.of(drawn), [channels, height, width], parcel);
            (steps, draws.augment.crop_border)
        });
        let mix = draws.and_then(|draws| draws.mix(step));
        if let Some(mix) = &mix {
            mix.pack(height, parcel);
        }
        Work { augmented, mix: mix.map(|mix| mix.pastes()), mirrored: self.mirrored }
    }

    /// Makes the images and labels of a batch, and those that are mixed in, on the device. Nothing waits for it.
    fn made(
        &self,
        work: &Work,
        parts: Vec<Tensor>,
        bytes: Option<&Tensor>,
    ) -> Result<Vec<Tensor>, TorchError> {
        let mut parts = parts.into_iter();
        let mut bytes = match (bytes, self.set.images()) {
            (None, Some(all)) => all.f_index_select(0, &next(&mut parts))?,
            (bytes, _) => bytes.expect("bytes that are not on the device are passed").shallow_clone(),
        };
        let labels = next(&mut parts);
        let [mean, std] = [next(&mut parts), next(&mut parts)];
        if let Some((steps, border)) = &work.augmented {
            bytes = steps.apply(&bytes, &mut parts, *border)?;
        }
        // As `Preprocessor::normalize_into` does, to the bit on the CPU.
        let mut images = bytes.f_to_kind(Kind::Float)?;
        images = images.f_div_scalar_(255.0)?.f_sub_(&mean)?.f_div_(&std)?;
        if let Some((steps, _)) = &work.augmented {
            steps.erase(&images, &mut parts)?;
        }
        if work.mirrored {
            images = images.f_flip([3])?;
        }
        let Some(pastes) = work.mix else { return Ok(vec![images, labels]) };
        let shares = next(&mut parts);
        let edges = pastes.then(|| next(&mut parts));
        let images = mix::apply(&images, &shares, edges.as_ref())?;
        let others = mix::partners(&labels)?;
        Ok(vec![images, labels, others, shares])
    }

    /// Packs the labels of images, see [`Batch::labels`].
    fn pack_labels(&self, indices: &[usize], parcel: &mut Parcel) {
        let count = indices.len() as i64;
        let Some(classes) = self.classes else {
            return parcel.integers(&[count], indices.iter().map(|&index| self.set.label(index) as i64));
        };
        let mut targets = vec![0.0_f32; indices.len() * classes];
        for (row, &index) in targets.chunks_mut(classes).zip(indices) {
            self.set.labels(index).iter().for_each(|&label| row[label] = 1.0);
        }
        parcel.floats(&[count, classes as i64], targets);
    }
}

/// Work that makes a batch of bytes.
struct Work {
    augmented: Option<(Steps, Border)>,
    /// True if a part is pasted, false if images are blended; `None` if they are not mixed.
    mix: Option<bool>,
    mirrored: bool,
}

impl Work {
    fn constants(&self) -> Vec<i64> {
        let steps = self.augmented.as_ref().map(|(steps, border)| (steps.constants(), *border as i64));
        let steps = steps.into_iter().flat_map(|(steps, border)| steps.into_iter().chain([border]));
        steps.chain([self.mix.map_or(-1, i64::from), self.mirrored.into()]).collect()
    }
}

fn next(parts: &mut impl Iterator<Item = Tensor>) -> Tensor {
    parts.next().expect("as many parts as were packed")
}

/// Draws of each batch.
struct Groups {
    draws: Vec<Vec<Draw>>,
    /// Order of the units that the images are read from, if they are in shards.
    units: Vec<usize>,
}

/// Function that fetches the encoded image of a draw from its shard; nothing for a file.
type Fetch = Box<dyn FnMut(Draw) -> Result<Option<Arc<[u8]>>, DataError> + Send>;

/// Images of a batch, drawn.
struct Images {
    /// Bytes `[N, C, H, W]` on the device; `None` where the set lies there as a whole.
    bytes: Option<Tensor>,
    drawn: Vec<Draw>,
    skipped: usize,
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

    fn resized_crop(&self, number: usize, image: &RgbImage) -> RgbImage {
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
