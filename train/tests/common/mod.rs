//! Helpers that the tests share.

#![allow(dead_code)] // each test binary uses its part

pub mod ports;

use std::io::Read;
use std::path::{Path, PathBuf};

use ferronnx_models::checkpoint;
use ferronnx_models::{Module, Weights, shapes};
use ferronnx_train::params::Params;
use ferronnx_train::run::RunFolder;
use flate2::read::GzDecoder;
use image::{Rgb, RgbImage};
use ndarray::ArrayD;
use tch::{Device, Tensor};

/// Loads a golden output, see `models/tests/goldens/generate.py`.
pub fn golden(name: &str) -> ArrayD<f32> {
    let packed = &include_bytes!("../../../models/tests/goldens/goldens.safetensors.gz")[..];
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    checkpoint::read(&bytes).unwrap().shift_remove(name).unwrap()
}

/// Makes the parameters of `module` with these values.
pub fn params(module: &impl Module, input: &[usize], weights: &Weights) -> Params {
    let params =
        Params::initialise(&shapes::describe(module, input).unwrap().params, 0, Device::Cpu).unwrap();
    for (name, values) in weights {
        params.assign(name, values).unwrap();
    }
    params
}

/// Converts an array to a tensor.
pub fn tensor(values: &ArrayD<f32>) -> Tensor {
    let shape: Vec<i64> = values.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_slice(values.as_slice().unwrap()).view(&shape[..])
}

/// Largest difference, relative to the largest value.
pub fn relative_difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    assert!(found.iter().all(|value| value.is_finite()));
    let scale = expected.iter().fold(0.0, |max: f32, value| max.max(value.abs()));
    found.iter().zip(expected).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs())) / scale
}

/// Writes a data set of squares of one colour per class with noise: small, and learnable in an epoch or two. No
/// training image is in another split.
pub fn colours(dir: &Path, split: &str, classes: &[(&str, [u8; 3])], count: usize) {
    for (class, colour) in classes {
        let folder = dir.join(split).join(class);
        std::fs::create_dir_all(&folder).unwrap();
        let is_training = split.is_empty() || split.to_lowercase().contains("train");
        let levels = if is_training { 40 } else { 39 - split.len() as u32 };
        for index in 0..count {
            let image = RgbImage::from_fn(8, 8, |x, y| {
                let noise = (x * 7 + y * 13 + index as u32 * 29) % levels;
                Rgb(colour.map(|value| value.saturating_add(noise as u8)))
            });
            image.save(folder.join(format!("{index:03}.png"))).unwrap();
        }
    }
}

/// Three classes of [`colours`].
pub const COLOURS: [(&str, [u8; 3]); 3] =
    [("blue", [0, 0, 180]), ("green", [0, 180, 0]), ("red", [180, 0, 0])];

/// Writes a data set with training and test images.
pub fn colour_set() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("colours");
    colours(&data, "train", &COLOURS, 14);
    colours(&data, "test", &COLOURS, 4);
    (dir, data)
}

/// Reads the metrics of a run without its times, and these files of its folder.
pub fn outcome(run: &Path, files: &[&'static str]) -> Vec<(&'static str, Vec<u8>)> {
    let (folder, _) = RunFolder::open(run).unwrap();
    let mut metrics = folder.metrics().unwrap();
    metrics.iter_mut().for_each(|epoch| (epoch.seconds, epoch.images_per_second) = (0.0, 0.0));
    let read = |&name| (name, std::fs::read(run.join(name)).unwrap());
    [("metrics", serde_json::to_vec(&metrics).unwrap())].into_iter().chain(files.iter().map(read)).collect()
}
