//! Decoded pictures in memory, all of one size.

use std::path::Path;

use image::RgbImage;
use infer::preprocess::Preprocessor;
use rayon::prelude::*;

use super::Sample;

/// Pictures after resizing and cropping, as bytes, with their labels.
#[derive(Debug)]
pub struct PictureSet {
    samples: Vec<Sample>,
    pictures: Vec<RgbImage>,
}

/// Pictures that cannot be used.
#[derive(Debug)]
pub struct BadPictures(pub Vec<infer::Error>);

/// As many are named; a folder of the wrong kind would fill the screen.
const NAMED: usize = 5;

impl std::error::Error for BadPictures {}

impl std::fmt::Display for BadPictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of the pictures cannot be used; remove or repair:", self.0.len())?;
        for error in self.0.iter().take(NAMED) {
            write!(f, "\n  {error}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl PictureSet {
    /// Decodes `samples` in parallel; `done` is told of each.
    pub fn load(
        samples: Vec<Sample>,
        preprocessor: &Preprocessor,
        done: impl Fn() + Sync,
    ) -> Result<Self, BadPictures> {
        let load = |sample: &Sample| {
            let picture = infer::decode::file(&sample.path).map(|picture| preprocessor.prepare(&picture));
            done();
            picture
        };
        let results: Vec<_> = samples.par_iter().map(load).collect();
        let (mut pictures, mut bad) = (Vec::with_capacity(results.len()), Vec::new());
        for result in results {
            match result {
                Ok(picture) => pictures.push(picture),
                Err(error) => bad.push(error),
            }
        }
        if bad.is_empty() { Ok(Self { samples, pictures }) } else { Err(BadPictures(bad)) }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The picture at `index`.
    pub fn picture(&self, index: usize) -> &RgbImage {
        &self.pictures[index]
    }

    /// The class of the picture at `index`.
    pub fn label(&self, index: usize) -> usize {
        self.samples[index].label
    }

    /// The file of the picture at `index`.
    pub fn path(&self, index: usize) -> &Path {
        &self.samples[index].path
    }
}
