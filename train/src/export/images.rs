//! Images on which a file is compared with libtorch.

use ferronnx_infer::preprocess::Preprocessor;
use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::images::prepared;
use crate::data::{DataError, Sample, Source};

/// Largest number of images compared.
const MOST: usize = 1_000;

/// Memory for these images, in bytes.
const MOST_BYTES: usize = 1 << 28;

/// Images cropped to the input's size, before normalisation.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// Images of `[size, size, 3]` bytes.
    pub images: Vec<RgbImage>,
    /// Names of the images, for messages.
    pub names: Vec<String>,
    /// Classes of the images, if they are known and each has exactly one.
    pub labels: Option<Vec<usize>>,
}

impl Images {
    /// Loads labelled images, decoded in parallel; their classes are kept if each has exactly one.
    ///
    /// # Errors
    /// [`DataError`] when images cannot be decoded, unless they are left out and others remain.
    pub fn load(
        source: &Source,
        samples: &[Sample],
        preprocessor: &Preprocessor,
        skip_bad: bool,
    ) -> Result<Self, DataError> {
        let is_single = samples.iter().all(|sample| sample.labels.len() == 1);
        let (mut images, mut labels) = (Self::default(), Vec::new());
        for (sample, image) in prepared(source, samples, preprocessor, skip_bad)? {
            images.images.push(image);
            images.names.push(sample.path.display().to_string());
            labels.extend(sample.labels);
        }
        Ok(Self { labels: is_single.then_some(labels), ..images })
    }

    /// Largest number of images to compare, by memory.
    pub fn most(preprocessor: &Preprocessor) -> usize {
        MOST.min(MOST_BYTES / preprocessor.input_len()).max(1)
    }

    /// Takes at most `count` images, from the first to the last in equal steps.
    pub fn spread(&self, count: usize) -> Self {
        let step = self.images.len().div_ceil(count.max(1)).max(1);
        Self {
            images: self.images.iter().step_by(step).cloned().collect(),
            names: self.names.iter().step_by(step).cloned().collect(),
            labels: self.labels.as_ref().map(|labels| labels.iter().step_by(step).copied().collect()),
        }
    }

    /// Generates images of random colours, from smooth to noisy, the same every time.
    pub fn generated(preprocessor: &Preprocessor) -> Self {
        let side = preprocessor.size().height;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut image = |grain: u32| {
            let small = (grain * side / 8).max(1);
            preprocessor.prepare(&RgbImage::from_fn(small, small, |_, _| image::Rgb(rng.random())))
        };
        let images: Vec<_> = (1..=8).map(&mut image).collect();
        let names = (1..=images.len()).map(|number| format!("generated image {number}")).collect();
        Self { images, names, labels: None }
    }
}
