//! Augmentation compared with torchvision's functions on Pillow's images, see tests/augment/generate.py.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage};
use tch::{Kind, Tensor};

use super::resized::{CropBox, resized_crop};
use super::*;

/// Images by name, and results by `NAME|CHANGES`, each `[3, H, W]`.
fn goldens() -> BTreeMap<String, Tensor> {
    let packed = &include_bytes!("../../../tests/augment/goldens.safetensors.gz")[..];
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut file).unwrap();
    Tensor::read_safetensors(file.path()).unwrap().into_iter().collect()
}

/// Parses `dx=2 dy=-1 flip contrast=0.8 hue=0.06 angle=-7.3`: colours in the order in which they are named.
fn draw(changes: &str) -> ImageDraw {
    let mut draw = ImageDraw::default();
    let mut colours = Vec::new();
    for change in changes.split(' ') {
        let (name, value) = change.split_once('=').unwrap_or((change, "1"));
        let value: f64 = value.parse().unwrap();
        match name {
            "dx" => draw.offset[0] = value as i64,
            "dy" => draw.offset[1] = value as i64,
            "flip" => draw.flip = true,
            "angle" => draw.angle = value,
            "brightness" => colours.push(Colour::Brightness(value)),
            "contrast" => colours.push(Colour::Contrast(value)),
            "saturation" => colours.push(Colour::Saturation(value)),
            "hue" => colours.push(Colour::Hue(value)),
            _ => panic!("{name}"),
        }
    }
    colours.resize(4, Colour::Brightness(1.0));
    draw.colours = colours.try_into().unwrap();
    draw
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Int) - b.to_kind(Kind::Int)).abs().max().double_value(&[])
}

#[test]
fn a_batch_is_changed_as_torchvision_changes_its_images() {
    let goldens = goldens();
    for name in ["landscape", "wide", "swatches"] {
        let prefix = format!("{name}|");
        let cases: Vec<_> = goldens.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        assert_eq!(cases.len(), 42, "{name}");
        let draws: Vec<_> = cases.iter().map(|(key, _)| draw(&key[prefix.len()..])).collect();
        let batch = Tensor::stack(&vec![&goldens[name]; cases.len()], 0);
        let changed = apply(&batch, &draws, Border::Zero).unwrap();
        assert_eq!((changed.kind(), changed.size()), (Kind::Uint8, batch.size()));
        for (index, (key, golden)) in (0..).zip(cases) {
            let ours = changed.get(index);
            // The same to the byte: nothing is left to the tolerance of 1/255.
            assert_eq!(largest_difference(&ours, golden), 0.0, "{key}");
            let alone =
                apply(&batch.narrow(0, index, 1), &draws[index as usize..][..1], Border::Zero).unwrap();
            assert_eq!(alone.get(0), ours, "{key}, without the others");
        }
        assert_eq!(batch.get(0), goldens[name], "the batch itself stays as it is");
    }
}

#[test]
fn parts_are_resized_as_torchvision_resizes_them() {
    let goldens = goldens();
    let [_, height, width] = goldens["photo"].size()[..] else { panic!() };
    let at = |x: u32, y: u32, c: i64| goldens["photo"].int64_value(&[c, y.into(), x.into()]) as u8;
    let photo = RgbImage::from_fn(width as u32, height as u32, |x, y| Rgb([0, 1, 2].map(|c| at(x, y, c))));
    let cases: Vec<_> = goldens.iter().filter(|(key, _)| key.starts_with("photo|")).collect();
    assert_eq!(cases.len(), 6);
    for (key, golden) in cases {
        let numbers: Vec<u32> =
            key["photo|".len()..].split(' ').map(|number| number.parse().unwrap()).collect();
        let [left, top, width, height, side] = numbers[..] else { panic!("{key}") };
        let ours = resized_crop(&photo, CropBox { left, top, width, height }, side);
        let side = i64::from(side);
        let ours = Tensor::from_slice(ours.as_raw()).view([side, side, 3]).permute([2, 0, 1]);
        assert!(largest_difference(&ours, golden) <= 1.0, "{key}");
    }
}

#[test]
fn without_a_change_nothing_is_computed() {
    let batch = Tensor::stack(&[&goldens()["wide"]; 2], 0);
    let same = apply(&batch, &[ImageDraw::default(); 2], Border::Reflect).unwrap();
    assert_eq!(same.data_ptr(), batch.data_ptr());
}

#[test]
fn too_few_draws_are_an_error() {
    let batch = Tensor::stack(&[&goldens()["wide"]; 3], 0);
    assert!(apply(&batch, &[draw("flip"), draw("hue=0.1")], Border::Zero).is_err());
    assert!(apply(&batch, &[draw("contrast=0.5"), draw("hue=0.1")], Border::Zero).is_err());
}

#[test]
fn a_reflected_border_mirrors_the_image() {
    let image =
        Tensor::arange(16, (Kind::Uint8, tch::Device::Cpu)).view([1, 1, 4, 4]).expand([1, 3, 4, 4], false);
    for (dx, dy) in [(0, 0), (-2, 1), (3, -3), (2, 2)] {
        let moved = apply(&image, &[draw(&format!("dx={dx} dy={dy}"))], Border::Reflect).unwrap();
        let padded = image.to_kind(Kind::Float).reflection_pad2d([3, 3, 3, 3]).to_kind(Kind::Uint8);
        let expected = padded.narrow(2, 3 + dy, 4).narrow(3, 3 + dx, 4);
        assert_eq!(largest_difference(&moved, &expected), 0.0, "{dx} {dy}");
    }
}
