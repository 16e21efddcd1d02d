use std::collections::BTreeMap;

use ferronnx_models::card::Preprocessing;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::data::Sample;
use crate::data::augment::Crop;
use crate::data::images::Loading;
use crate::recipe::Recipe;

const SIZE: u32 = 16;
const COUNT: usize = 11;

/// Images of three classes, each of other noise; those in `bad` are no images.
fn folder(bad: &[usize]) -> (TempDir, Vec<Sample>) {
    let dir = tempfile::tempdir().unwrap();
    let sample = |index: usize| {
        let path = dir.path().join(format!("{index:02}.png"));
        if bad.contains(&index) {
            std::fs::write(&path, "no image").unwrap();
        } else {
            noise(index as u32, SIZE + index as u32 % 3, SIZE).save(&path).unwrap();
        }
        Sample { path, labels: vec![index % 3] }
    };
    let samples = (0..COUNT).map(sample).collect();
    (dir, samples)
}

fn noise(seed: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([0, 1, 2].map(|c| ((x + 31 * y + 977 * c + 7919 * seed).wrapping_mul(2_654_435_761) >> 24) as u8))
    })
}

fn preprocessor() -> Preprocessor {
    Preprocessor::new(&Preprocessing::for_size(SIZE))
}

fn in_memory() -> Loading {
    Loading::new(Device::Cpu)
}

fn from_files() -> Loading {
    Loading { budget: 0, ..in_memory() }
}

fn load(how: Loading, bad: &[usize]) -> Result<(TempDir, ImageSet), DataError> {
    let (dir, samples) = folder(bad);
    Ok((dir, ImageSet::load(samples, &preprocessor(), how, || ())?))
}

fn all_changes() -> Augment {
    Recipe::load("three-phase").unwrap().augment
}

fn epoch(set: &ImageSet, augment: &Augment, size: usize, epoch: usize, first_step: usize) -> Vec<Batch> {
    let preprocessor = preprocessor();
    let loader = Loader::new(set, &preprocessor, Device::Cpu);
    loader.training(augment, size, 7, epoch, first_step).map(Result::unwrap).collect()
}

fn in_order(set: &ImageSet, size: usize) -> Vec<Batch> {
    let preprocessor = preprocessor();
    Loader::new(set, &preprocessor, Device::Cpu).in_order(size).map(Result::unwrap).collect()
}

/// Every image of the batches, by its index.
fn by_index(batches: &[Batch]) -> BTreeMap<usize, Tensor> {
    let images =
        batches.iter().flat_map(|batch| (0..).zip(&batch.indices).map(|(at, &i)| (i, batch.images.get(at))));
    images.collect()
}

fn assert_same(a: &[Batch], b: &[Batch]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!((&a.indices, a.step), (&b.indices, b.step));
        assert_eq!((&a.images, &a.labels), (&b.images, &b.labels));
        let mixed = |batch: &Batch| batch.mixed.as_ref().map(|mixed| mixed.shares.copy());
        assert_eq!(mixed(a), mixed(b));
    }
}

#[test]
fn mirrored_images_are_flipped() {
    let ((_dir, set), preprocessor) = (load(in_memory(), &[]).unwrap(), preprocessor());
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let batch = |loader: Loader<'_>| loader.in_order(8).next().unwrap().unwrap().images;
    let (plain, mirrored) = (batch(loader), batch(loader.mirrored()));
    assert!(plain != mirrored);
    assert_eq!(plain.flip([3]), mirrored);
}

#[test]
fn evaluation_sees_what_deployment_sees_to_the_bit() {
    let (dir, mut samples) = folder(&[]);
    // Every value in every channel.
    let path = dir.path().join("values.png");
    RgbImage::from_fn(SIZE, SIZE, |x, y| Rgb([0, 85, 170].map(|shift| (x + SIZE * y + shift) as u8)))
        .save(&path)
        .unwrap();
    samples.push(Sample { path, labels: vec![0] });
    for statistics in [Preprocessing::for_size(32), Preprocessing::for_size(224)] {
        let Preprocessing { mean, std, .. } = statistics;
        let preprocessor = Preprocessor::new(&Preprocessing { mean, std, ..Preprocessing::for_size(SIZE) });
        let set = ImageSet::load(samples.clone(), &preprocessor, in_memory(), || ()).unwrap();
        let loader = Loader::new(&set, &preprocessor, Device::Cpu);
        let batches: Vec<_> = loader.in_order(5).map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [5, 5, 2]);
        for (index, image) in by_index(&batches) {
            let file = decode::file(set.path(index)).unwrap();
            let mut expected = vec![0.0; preprocessor.input_len()];
            preprocessor.normalize_into(&preprocessor.prepare(&file), &mut expected);
            let found = Vec::<f32>::try_from(image.flatten(0, -1)).unwrap();
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{index}");
        }
    }
}

#[test]
fn an_epoch_has_every_image_once_in_another_order() {
    let (_dir, set) = load(in_memory(), &[]).unwrap();
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let order = |number: usize| -> Vec<usize> {
        epoch(&set, &all_changes(), 4, number, 0).iter().flat_map(|batch| batch.indices.clone()).collect()
    };
    let (first, second) = (order(0), order(1));
    assert_ne!(first, second);
    for mut order in [first, second] {
        order.sort_unstable();
        assert_eq!(order, (0..COUNT).collect::<Vec<_>>());
    }
    // A last batch of one is left out.
    for size in [2, 4, 5, 10, 11, 64] {
        let batches = epoch(&set, &Augment::default(), size, 0, 0);
        assert_eq!(batches.len(), loader.steps(size), "{size}");
        assert!(batches.iter().all(|batch| batch.len() > 1));
    }
    for batch in epoch(&set, &all_changes(), 4, 0, 0) {
        let labels = Vec::<i64>::try_from(&batch.labels).unwrap();
        assert_eq!(labels, batch.indices.iter().map(|index| (index % 3) as i64).collect::<Vec<_>>());
        assert!(batch.mixed.is_none());
    }
}

#[test]
fn an_epoch_goes_on_where_it_stopped() {
    let (_dir, set) = load(in_memory(), &[]).unwrap();
    let augment = Augment { mixup: 0.2, cutmix: 1.0, ..all_changes() };
    let whole = epoch(&set, &augment, 2, 3, 0);
    for first_step in [0, 2, 4, 9] {
        let rest = epoch(&set, &augment, 2, 3, first_step);
        assert_same(&rest, &whole[first_step.min(whole.len())..]);
    }
}

#[test]
fn draws_do_not_depend_on_the_batch() {
    let (_dir, set) = load(in_memory(), &[]).unwrap();
    let [small, large] = [3, 11].map(|size| by_index(&epoch(&set, &all_changes(), size, 0, 0)));
    assert_eq!(small, large);
    let later = by_index(&epoch(&set, &all_changes(), 11, 1, 0));
    assert!(small.iter().all(|(index, image)| later[index] != *image), "but on the epoch");
    let plain = by_index(&in_order(&set, 11));
    assert!(small.iter().all(|(index, image)| plain[index] != *image), "and they change something");
}

#[test]
fn images_from_files_are_the_ones_in_memory() {
    let [(_dir, cached), (_dir2, streamed)] = [in_memory(), from_files()].map(|how| load(how, &[]).unwrap());
    assert!(cached.is_cached() && !streamed.is_cached());
    let augment = Augment { mixup: 0.4, ..all_changes() };
    assert_same(&epoch(&cached, &augment, 4, 1, 0), &epoch(&streamed, &augment, 4, 1, 0));
    assert_same(&in_order(&cached, 4), &in_order(&streamed, 4));
}

#[test]
fn resized_crops_come_from_the_files() {
    let augment = Augment { crop: Crop::Resized, ..Augment::default() };
    let sets = [Loading { originals: true, ..in_memory() }, in_memory()].map(|how| load(how, &[]).unwrap());
    assert!(!sets[0].1.is_cached() && sets[1].1.is_cached());
    let [a, b] = sets.each_ref().map(|(_, set)| epoch(set, &augment, 4, 0, 0));
    assert_same(&a, &b);
    let plain = by_index(&in_order(&sets[1].1, 4));
    let cropped = by_index(&a);
    let changed = plain.iter().filter(|(index, image)| cropped[*index] != **image).count();
    assert!(changed >= COUNT - 1, "{changed}");
}

#[test]
fn a_bad_image_is_named_and_ends_it() {
    let named = |error: DataError| {
        let text = error.to_string();
        assert!(
            text.contains("2 of the images") && text.contains("04.png: ") && text.contains("09.png"),
            "{text}"
        );
    };
    named(load(in_memory(), &[4, 9]).unwrap_err());
    let (_dir, set) = load(from_files(), &[4, 9]).unwrap();
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    named(loader.training(&all_changes(), COUNT, 0, 0, 0).find_map(Result::err).unwrap());
    named(loader.in_order(COUNT).find_map(Result::err).unwrap());
}

#[test]
fn bad_images_that_are_skipped_are_counted() {
    let skipping = |how| Loading { skip_bad: true, ..how };
    let (_dir, set) = load(skipping(in_memory()), &[4, 9]).unwrap();
    assert_eq!((set.len(), set.skipped()), (COUNT - 2, 2));
    assert!(!(0..set.len()).any(|index| set.path(index).ends_with("04.png")));
    assert_eq!(set.label(4), 5 % 3, "labels stay with their images");

    let (_dir, set) = load(skipping(from_files()), &[4, 9]).unwrap();
    let batches = epoch(&set, &all_changes(), 6, 0, 0);
    assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), COUNT - 2);
    assert_eq!(batches.iter().map(|batch| batch.skipped).sum::<usize>(), 2);
    assert_eq!(in_order(&set, 5).iter().map(|batch| batch.skipped).collect::<Vec<_>>(), [1, 1, 0]);

    let none = load(skipping(in_memory()), &(0..COUNT).collect::<Vec<_>>()).unwrap_err().to_string();
    assert!(none.contains("11 of the images") && none.contains("and 6 more"), "{none}");
}

#[test]
fn a_batch_that_shrinks_to_one_is_left_out_and_still_counted() {
    let (_dir, whole) = load(from_files(), &[]).unwrap();
    let first = epoch(&whole, &all_changes(), 2, 0, 0)[0].indices[1];
    let (_dir, set) = load(Loading { skip_bad: true, ..from_files() }, &[first]).unwrap();
    let batches = epoch(&set, &all_changes(), 2, 0, 0);
    assert_eq!(batches.iter().map(|batch| batch.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(batches.iter().map(|batch| batch.skipped).collect::<Vec<_>>(), [1, 0, 0, 0]);
}

#[test]
fn mixed_batches_bring_the_other_labels() {
    let (_dir, set) = load(in_memory(), &[]).unwrap();
    let plain = by_index(&in_order(&set, COUNT));
    let batches = epoch(&set, &Augment { mixup: 1.0, ..Augment::default() }, 4, 0, 0);
    for batch in &batches {
        let mixed = batch.mixed.as_ref().unwrap();
        let other = batch.indices[batch.len() - 1];
        assert_eq!(mixed.labels.int64_value(&[0]), (other % 3) as i64);
        let [own, others] = [0, 1].map(|index| mixed.shares.double_value(&[index]));
        let expected = &plain[&batch.indices[0]] * own + &plain[&other] * others;
        assert_eq!(batch.images.get(0), expected);
    }
    let shares = |batch: &Batch| batch.mixed.as_ref().unwrap().shares.copy();
    assert_ne!(shares(&batches[0]), shares(&batches[1]));
}

#[test]
fn an_epoch_may_be_left_early() {
    let (_dir, set) = load(from_files(), &[]).unwrap();
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    for _ in 0..20 {
        assert!(loader.training(&all_changes(), 2, 0, 0, 0).next().unwrap().is_ok());
    }
}

#[test]
fn each_draw_of_an_image_is_augmented_in_its_own_way() {
    let (_dir, mut samples) = folder(&[]);
    // Two images of class 1, the others of class 0.
    samples.iter_mut().enumerate().for_each(|(index, sample)| sample.labels = vec![usize::from(index < 2)]);
    let preprocessor = preprocessor();
    let [cached, streamed] = [in_memory(), from_files()]
        .map(|how| ImageSet::load(samples.clone(), &preprocessor, how, || ()).unwrap());
    let batches = |set: &ImageSet, size: usize, first_step: usize| -> Vec<Batch> {
        let loader = Loader::new(set, &preprocessor, Device::Cpu).sampling(Sampling::Balanced);
        loader.training(&all_changes(), size, 7, 0, first_step).map(Result::unwrap).collect()
    };
    let whole = batches(&cached, COUNT, 0);
    let indices = &whole[0].indices;
    let rare = indices.iter().filter(|index| **index < 2).count();
    assert!((5..=6).contains(&rare), "{indices:?}");
    let drawn: Vec<i64> = (0..).zip(indices).filter(|(_, index)| **index == 0).map(|(at, _)| at).collect();
    assert!(drawn.len() > 1 && whole[0].images.get(drawn[0]) != whole[0].images.get(drawn[1]));
    assert_same(&whole, &batches(&streamed, COUNT, 0));
    assert_same(&batches(&cached, 3, 2), &batches(&cached, 3, 0)[2..]);
}

#[test]
fn several_labels_an_image_are_rows_of_zeros_and_ones() {
    let (_dir, mut samples) = folder(&[]);
    samples[0].labels = vec![0, 2];
    samples[1].labels = vec![];
    let preprocessor = preprocessor();
    let set = ImageSet::load(samples, &preprocessor, in_memory(), || ()).unwrap();
    assert_eq!(set.class_counts(4), [4, 3, 4, 0]);
    let loader = Loader::new(&set, &preprocessor, Device::Cpu).multi_label(4);
    let batch = loader.in_order(3).next().unwrap().unwrap();
    let rows = Vec::<f32>::try_from(batch.labels.flatten(0, -1)).unwrap();
    assert_eq!(rows, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let augment = Augment { mixup: 1.0, ..Augment::default() };
    let mixed = loader.training(&augment, 4, 0, 0, 0).next().unwrap().unwrap();
    let other = mixed.mixed.unwrap().labels;
    assert_eq!(other.get(1), mixed.labels.get(0), "the partner is the image before");
}
