//! Survey of a data set: classes, sizes, formats, unreadable images and duplicates, from decoding every image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ferronnx_infer::decode::{Decoded, Stored};
use ferronnx_infer::files::serialize_path;
use serde::Serialize;

use super::content::Digest;
use super::duplicates::{Copy, Duplicates};
use super::error::is_bad;
use super::{DataError, Sample, Source, Split};

/// Findings about the images of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// Number of images.
    pub images: usize,
    /// Images of each class, in the order of the classes.
    pub classes: Vec<ClassCount>,
    /// Number of training images of the largest class, divided by that of the smallest; none if that has none.
    pub imbalance: Option<f64>,
    /// Sizes of the images, in pixels; none if no image can be decoded.
    pub sizes: Option<Sizes>,
    /// Number of images by format: `JPEG`, `PNG`.
    pub formats: BTreeMap<&'static str, usize>,
    /// Number of images by channels and bits: `RGB`, `gray 16 bits`.
    pub pixels: BTreeMap<String, usize>,
    /// Number of images without any colour, whatever their channels.
    pub colourless: usize,
    /// Range of the images of 16 bits, if there are any.
    pub sixteen_bits: Option<Range>,
    /// Images that cannot be decoded.
    pub unreadable: Vec<Unreadable>,
    /// Images with equal pixels.
    pub duplicates: Duplicates,
}

/// Number of images of a class in each part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the class.
    pub name: String,
    /// Training images.
    pub train: usize,
    /// Validation images.
    pub validation: usize,
    /// Test images.
    pub test: usize,
}

/// Sizes of images `[width, height]`, in pixels, ordered by their areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Smallest image.
    pub smallest: [u32; 2],
    /// Median of the widths and of the heights.
    pub median: [u32; 2],
    /// Largest image.
    pub largest: [u32; 2],
    /// Number of different sizes.
    pub different: usize,
}

/// Range that images of 16 bits use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// Number of these images.
    pub images: usize,
    /// Largest value in any of them, from 0 to 65,535.
    pub largest: u16,
    /// The largest value as a share of the range, in [0, 1].
    pub used: f64,
}

impl Range {
    /// Tells whether the images become so dark as 8-bit images that most of their levels are lost.
    pub fn is_dark(&self) -> bool {
        self.used <= 0.5
    }
}

/// Image that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Path of the file.
    #[serde(flatten, serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Reason.
    pub reason: String,
    /// True if the image itself is bad, false if the system could not read the file.
    pub damaged: bool,
}

/// Facts about one decoded image.
struct Facts {
    size: [u32; 2],
    stored: Stored,
    is_colourless: bool,
    digest: Digest,
}

impl Survey {
    /// Decodes all images of the parts on all cores; `done` is called after each.
    ///
    /// # Errors
    /// [`DataError::Shards`] when a shard cannot be read or has changed.
    pub fn of(
        source: &Source,
        parts: &[(Split, &[Sample])],
        classes: &[String],
        done: impl Fn(),
    ) -> Result<Self, DataError> {
        let images: Vec<(Split, &Sample)> =
            parts.iter().flat_map(|(part, samples)| samples.iter().map(|sample| (*part, sample))).collect();
        let look = |_: &[u8], decoded: Decoded| Facts {
            size: decoded.image.dimensions().into(),
            is_colourless: decoded.image.pixels().all(|pixel| pixel.0 == [pixel.0[0]; 3]),
            digest: Digest::of_pixels(&decoded.image),
            stored: decoded.stored,
        };
        let samples: Vec<Sample> = images.iter().map(|(_, sample)| (*sample).clone()).collect();
        let looked = source.map(&samples, look, done)?;
        let mut survey = Self::empty(&images, classes);
        let (mut sizes, mut contents) = (Vec::new(), Vec::new());
        for (&(part, sample), facts) in images.iter().zip(looked) {
            match facts {
                Ok(facts) => {
                    sizes.push(facts.size);
                    contents.push((facts.digest, Copy::new(part, sample, classes)));
                    survey.add(&facts);
                }
                Err(error) => survey.unreadable.push(Unreadable {
                    path: sample.path.clone(),
                    reason: error.reason(),
                    damaged: is_bad(&error),
                }),
            }
        }
        survey.sizes = Sizes::of(sizes);
        survey.duplicates = Duplicates::find(contents);
        Ok(survey)
    }

    fn empty(images: &[(Split, &Sample)], classes: &[String]) -> Self {
        let count = |name: &String| ClassCount { name: name.clone(), train: 0, validation: 0, test: 0 };
        let mut counts: Vec<_> = classes.iter().map(count).collect();
        for (part, sample) in images {
            for &class in &sample.labels {
                *counts[class].of(*part) += 1;
            }
        }
        let trained = || counts.iter().map(|class| class.train);
        let [most, least] = [trained().max(), trained().min()].map(Option::unwrap_or_default);
        Self {
            images: images.len(),
            imbalance: (least > 0).then(|| most as f64 / least as f64),
            classes: counts,
            sizes: None,
            formats: BTreeMap::new(),
            pixels: BTreeMap::new(),
            colourless: 0,
            sixteen_bits: None,
            unreadable: Vec::new(),
            duplicates: Duplicates::default(),
        }
    }

    fn add(&mut self, facts: &Facts) {
        *self.formats.entry(facts.stored.format_name()).or_default() += 1;
        *self.pixels.entry(facts.stored.to_string()).or_default() += 1;
        self.colourless += usize::from(facts.is_colourless);
        if let Some(largest) = facts.stored.largest {
            let before = self.sixteen_bits.map_or((0, 0), |range| (range.images, range.largest));
            let largest = largest.max(before.1);
            let used = f64::from(largest) / f64::from(u16::MAX);
            self.sixteen_bits = Some(Range { images: before.0 + 1, largest, used });
        }
    }

    /// Number of images that could be decoded.
    pub fn decoded(&self) -> usize {
        self.images - self.unreadable.len()
    }

    /// Tells whether no image has any colour.
    pub fn is_colourless(&self) -> bool {
        self.decoded() > 0 && self.colourless == self.decoded()
    }
}

impl ClassCount {
    fn of(&mut self, part: Split) -> &mut usize {
        match part {
            Split::Train => &mut self.train,
            Split::Validation => &mut self.validation,
            Split::Test => &mut self.test,
        }
    }
}

impl Sizes {
    fn of(mut sizes: Vec<[u32; 2]>) -> Option<Self> {
        sizes.sort_unstable_by_key(|&[width, height]| (u64::from(width) * u64::from(height), width));
        let (smallest, largest) = (*sizes.first()?, *sizes.last()?);
        let median = [0, 1].map(|axis| {
            let mut sides: Vec<u32> = sizes.iter().map(|size| size[axis]).collect();
            *sides.select_nth_unstable(sizes.len() / 2).1
        });
        sizes.sort_unstable();
        sizes.dedup();
        Some(Self { smallest, median, largest, different: sizes.len() })
    }
}

#[cfg(test)]
mod tests;
