use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;

use ferronnx_infer::Preprocessor;
use ferronnx_models::card::Preprocessing;
use image::{Rgb, RgbImage};
use tch::Device;

use super::*;
use crate::data::augment::{Augment, Crop};
use crate::data::batches::{Batch, Loader};
use crate::data::folder::ImageFolder;
use crate::data::images::{ImageSet, Loading};
use crate::data::{DataError, Sampling, Source};
use crate::distributed::World;
use crate::error::chain;
use crate::task::Task;

const SIZE: u32 = 8;

/// PNG of the color of a number.
fn png(number: usize) -> Vec<u8> {
    let image =
        RgbImage::from_fn(SIZE, SIZE, |x, y| Rgb([number as u8, (number / 256) as u8, (x * y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Writes a tar archive with these members.
fn tar(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut archive = ::tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.finish().unwrap();
}

/// Writes `count` shards of `each` images with the labels 0 and 1 in turn, and returns their folder.
fn shards(count: usize, each: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for shard in 0..count {
        let number = |index: usize| shard * each + index;
        let member = |index: usize| {
            let key = format!("{:05}", number(index));
            [
                (format!("{key}.cls"), vec![b'0' + (index % 2) as u8]),
                (format!("{key}.png"), png(number(index))),
            ]
        };
        let members: Vec<_> = (0..each).flat_map(member).collect();
        tar(&dir.path().join(format!("train-{shard:03}.tar")), &members);
    }
    dir
}

fn preprocessor() -> Preprocessor {
    Preprocessor::new(&Preprocessing::for_size(SIZE))
}

/// Settings with which a set is streamed.
fn streamed(window: usize) -> Loading {
    Loading { budget: 0, window, ..Loading::new(Device::Cpu) }
}

fn load(dir: &Path, how: Loading) -> ImageSet {
    let found = ImageFolder::scan(dir).unwrap();
    ImageSet::load_from(&found.source, found.train, &preprocessor(), how, || ()).unwrap()
}

fn epoch(set: &ImageSet, epoch: usize, first_step: usize, world: World) -> Vec<Batch> {
    let preprocessor = preprocessor();
    let loader = Loader::new(set, &preprocessor, Device::Cpu).slices(world);
    let augment = Augment { crop_padding: 0.25, horizontal_flip: 0.5, ..Augment::default() };
    loader.training(&augment, 6, 7, epoch, first_step).map(Result::unwrap).collect()
}

fn indices(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

/// Content of images by their indices.
fn contents(batches: &[Batch]) -> BTreeMap<usize, Vec<f32>> {
    let of = |batch: &Batch, at: usize| Vec::try_from(batch.images.get(at as i64).view(-1)).unwrap();
    let images = batches.iter().flat_map(|batch| {
        batch.indices.iter().enumerate().map(|(at, &index)| (index, of(batch, at))).collect::<Vec<_>>()
    });
    images.collect()
}

#[test]
fn an_epoch_has_each_image_once_in_an_order_of_its_own() {
    let dir = shards(6, 11);
    let (streamed, cached) = (load(dir.path(), streamed(9)), load(dir.path(), Loading::new(Device::Cpu)));
    assert!(!streamed.is_cached() && cached.is_cached() && streamed.samples() == cached.samples());
    let epochs: Vec<_> = (0..2).map(|number| epoch(&streamed, number, 0, World::single())).collect();
    for batches in &epochs {
        let mut found = indices(batches);
        assert_ne!(found, (0..66).collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (0..66).collect::<Vec<_>>());
    }
    assert_ne!(indices(&epochs[0]), indices(&epochs[1]));
    // The same pixels and augmentation as in memory.
    let in_memory = epoch(&cached, 1, 0, World::single());
    assert!(contents(&epochs[1]) == contents(&in_memory));
    for batch in &epochs[0] {
        let labels: Vec<i64> = Vec::try_from(&batch.labels).unwrap();
        let expected: Vec<i64> = batch.indices.iter().map(|&index| (index % 11 % 2) as i64).collect();
        assert_eq!(labels, expected);
    }
}

#[test]
fn a_window_of_all_images_mixes_all_shards_and_one_of_one_keeps_their_order() {
    let dir = shards(4, 12);
    let shard_of = |set: &ImageSet, at: usize| {
        indices(&epoch(set, at, 0, World::single())).iter().map(|i| i / 12).collect::<Vec<_>>()
    };
    let mut kept = shard_of(&load(dir.path(), streamed(1)), 0);
    kept.dedup();
    assert_eq!(kept.len(), 4, "one shard after the other: {kept:?}");
    let mixed = shard_of(&load(dir.path(), streamed(1000)), 0);
    let first: std::collections::BTreeSet<_> = mixed[..12].iter().collect();
    assert!(first.len() > 2, "{mixed:?}");
    let firsts: std::collections::BTreeSet<_> =
        (0..12).map(|at| shard_of(&load(dir.path(), streamed(1)), at)[0]).collect();
    assert!(firsts.len() > 2, "shards begin in turn: {firsts:?}");
}

#[test]
fn a_resumed_epoch_and_ranks_have_the_same_batches() {
    let dir = shards(5, 13);
    let set = load(dir.path(), streamed(10));
    let whole = epoch(&set, 3, 0, World::single());
    for first in [1, 4, 10] {
        let rest = epoch(&set, 3, first, World::single());
        assert_eq!(indices(&rest), indices(&whole[first..]));
        assert!(contents(&rest) == contents(&whole[first..]));
    }
    // Two ranks of batch 6 take the halves of one process of batch 12.
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let alone: Vec<_> = loader.training(&Augment::default(), 12, 7, 3, 0).map(Result::unwrap).collect();
    let ranks = [0, 1].map(|rank| epoch(&set, 3, 0, World { rank, size: 2, local_rank: rank }));
    for (step, batch) in alone.iter().enumerate() {
        let both = [&ranks[0][step].indices[..], &ranks[1][step].indices[..]].concat();
        assert_eq!(both, batch.indices, "step {step}");
    }
}

#[test]
fn no_more_images_than_the_window_are_held() {
    let dir = shards(8, 25);
    let Source::Shards(shards) = ImageFolder::scan(dir.path()).unwrap().source else { panic!("shards") };
    let mut rng = crate::data::random::stream(1, 2, crate::data::random::Purpose::Order);
    let set = load(dir.path(), streamed(20));
    let mut draws = Sampling::Shuffled.order(set.samples(), &mut rng);
    let found = set.streamed().unwrap();
    let units = found.arrange(&mut draws, &mut rng);
    let mut reading = found.read(&units, draws.iter());
    let mut most = 0;
    for draw in &draws {
        let bytes = reading.take(found.position(draw)).unwrap();
        assert_eq!(Digest::of_file(&bytes), shards.images[found.position(draw)].digest);
        most = most.max(reading.held());
    }
    assert!((15..=20).contains(&most), "{most} were held");
    assert_eq!(reading.held(), 0);
}

#[test]
fn balanced_sampling_draws_each_class_equally_often() {
    let dir = tempfile::tempdir().unwrap();
    let members = (0..40).map(|n| (format!("{}/{n:03}.png", if n < 4 { "rare" } else { "often" }), png(n)));
    tar(&dir.path().join("a.tar"), &members.collect::<Vec<_>>());
    let (set, preprocessor) = (load(dir.path(), streamed(8)), preprocessor());
    let loader = Loader::new(&set, &preprocessor, Device::Cpu).sampling(Sampling::Balanced);
    let drawn =
        indices(&loader.training(&Augment::default(), 5, 7, 0, 0).map(Result::unwrap).collect::<Vec<_>>());
    assert_eq!((drawn.len(), drawn.iter().filter(|&&index| index < 4).count()), (40, 20));
}

#[test]
fn resized_crops_and_evaluation_read_shards_again() {
    let dir = shards(3, 9);
    let originals = Loading { originals: true, ..streamed(5) };
    let set = load(dir.path(), originals);
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let augment = Augment { crop: Crop::Resized, ..Augment::default() };
    let crops: Vec<_> = loader.training(&augment, 6, 7, 0, 0).map(Result::unwrap).collect();
    let files = tempfile::tempdir().unwrap();
    for index in 0..27 {
        let class = files.path().join((index % 9 % 2).to_string());
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{index:05}.png")), png(index)).unwrap();
    }
    let mut samples = ImageFolder::scan(files.path()).unwrap().train;
    samples.sort_by_key(|sample| sample.path.file_name().unwrap().to_owned());
    let of_files = ImageSet::load(samples, &preprocessor, originals, || ()).unwrap();
    let loader_of_files = Loader::new(&of_files, &preprocessor, Device::Cpu);
    let expected: Vec<_> = loader_of_files.training(&augment, 6, 7, 0, 0).map(Result::unwrap).collect();
    assert!(contents(&crops) == contents(&expected), "the same crops of the same images");
    for world in [World::single(), World { rank: 1, size: 2, local_rank: 1 }] {
        let [found, expected] = [&loader, &loader_of_files]
            .map(|loader| loader.slices(world).in_order(4).map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(indices(&found), indices(&expected));
        assert!(contents(&found) == contents(&expected));
    }
    let cached = load(dir.path(), Loading::new(Device::Cpu));
    let one = cached.prepared(20, &preprocessor).unwrap();
    assert_eq!(set.prepared(20, &preprocessor).unwrap(), one);
    assert_eq!(one.get_pixel(3, 2), &Rgb([20, 0, 6]));
}

/// Error of an epoch after the shards were changed.
fn failure(change: impl FnOnce(&Path)) -> DataError {
    let dir = shards(3, 9);
    let set = load(dir.path(), streamed(4));
    change(dir.path());
    let preprocessor = preprocessor();
    let loader = Loader::new(&set, &preprocessor, Device::Cpu);
    let error = loader.training(&Augment::default(), 5, 7, 0, 0).find_map(Result::err);
    error.expect("the change is noticed")
}

#[test]
fn a_shard_that_is_cut_off_changed_or_gone_is_named() {
    let second = |dir: &Path| dir.join("train-001.tar");
    let said = |change: &dyn Fn(&Path)| chain(&failure(change));
    let cut = said(&|dir| {
        let bytes = fs::read(second(dir)).unwrap();
        fs::write(second(dir), &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("train-001.tar") && cut.contains("cut off"), "{cut}");
    let gone = said(&|dir| fs::remove_file(second(dir)).unwrap());
    assert!(gone.contains("train-001.tar: no such file"), "{gone}");
    let members = |numbers: &[usize]| -> Vec<_> {
        let member = |n: &usize| [(format!("{n:05}.cls"), vec![b'0']), (format!("{n:05}.png"), png(*n))];
        numbers.iter().flat_map(member).collect()
    };
    for numbers in [&[9, 10, 12, 13, 14, 15, 16, 17][..], &[9, 10, 11, 12, 13, 14, 15, 16]] {
        let fewer = said(&|dir| tar(&second(dir), &members(numbers)));
        assert!(fewer.contains("train-001.tar has changed since"), "{fewer}");
    }
    let changed = said(&|dir| {
        let mut members = members(&(9..18).collect::<Vec<_>>());
        members[5].1 = png(99);
        tar(&second(dir), &members);
    });
    assert!(changed.contains("train-001.tar#00011.png has changed since"), "{changed}");
}

#[test]
fn images_that_cannot_be_decoded_are_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut members: Vec<_> = (0..12).map(|n| (format!("{}/{n:03}.png", n % 2), png(n))).collect();
    (members[3].1, members[8].1) = (b"no image".to_vec(), b"none".to_vec());
    tar(&dir.path().join("a.tar"), &members);
    let found = ImageFolder::scan(dir.path()).unwrap();
    let load = |how| ImageSet::load_from(&found.source, found.train.clone(), &preprocessor(), how, || ());
    let error = load(Loading::new(Device::Cpu)).unwrap_err().to_string();
    assert!(error.starts_with("2 of the images") && error.contains("a.tar#1/003.png"), "{error}");
    let cached = load(Loading { skip_bad: true, ..Loading::new(Device::Cpu) }).unwrap();
    assert_eq!((cached.len(), cached.skipped()), (10, 2));
    let in_order = |set: &ImageSet| -> Vec<Vec<f32>> {
        let preprocessor = preprocessor();
        let batches: Vec<_> =
            Loader::new(set, &preprocessor, Device::Cpu).in_order(5).map(Result::unwrap).collect();
        contents(&batches).into_values().collect()
    };
    let all = load(Loading { skip_bad: true, ..streamed(4) }).unwrap();
    assert_eq!(in_order(&all), in_order(&cached), "the others keep their places");
    assert_eq!(in_order(&cached).len(), 10);
}

#[test]
fn classes_are_names_or_indices_and_parts_are_in_the_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, members: &[(&str, &str)]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let members = members.iter().enumerate().flat_map(|(n, (key, label))| {
            [(format!("{key}.cls"), label.as_bytes().to_vec()), (format!("{key}.png"), png(n))]
        });
        tar(&path, &members.collect::<Vec<_>>());
    };
    let scan = |task| ImageFolder::scan_for(task, dir.path()).map_err(|error| chain(&error));
    let refused = || scan(Task::SingleLabel).unwrap_err();
    write("train-0.tar", &[("a", "dog"), ("b", "cat"), ("c", "dog")]);
    write("test-0.tar", &[("a", "cat")]);
    let found = scan(Task::SingleLabel).unwrap();
    assert_eq!(found.classes, ["cat", "dog"]);
    assert_eq!(found.train.iter().map(Sample::label).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!((found.test.unwrap()[0].label(), found.validation), (0, None));
    assert!(found.notes.iter().any(|note| note == "no test images of dog"), "{:?}", found.notes);
    write("test-0.tar", &[("a", "cow")]);
    assert!(
        refused().ends_with("test-0.tar#a.png: no training image is of its class `cow`"),
        "{}",
        refused()
    );
    write("more.tar", &[("a", "cat")]);
    assert!(refused().contains("more.tar#a.png is in no part"), "{}", refused());
    fs::remove_file(dir.path().join("more.tar")).unwrap();
    write("test-0.tar", &[("a", "2")]);
    write("train-0.tar", &[("a", "2"), ("b", "0"), ("c", "2")]);
    let found = scan(Task::SingleLabel).unwrap();
    assert_eq!((&found.classes[..], found.train[0].label()), (&["0", "1", "2"].map(String::from)[..], 2));
    write("train-0.tar", &[("a", "7"), ("b", "0"), ("c", "2")]);
    assert!(refused().contains("train-0.tar#a.png: the label 7 would make more classes"), "{}", refused());
    write("train-0.tar", &[("a", "1"), ("b", "cat"), ("c", "0")]);
    assert!(refused().contains("(`cat`) and others numbers (`1`)"), "{}", refused());
    write("train-0.tar", &[("a", "1"), ("b", ""), ("c", "0")]);
    assert!(refused().contains("train-0.tar#b.png: the image has no label"), "{}", refused());
    write("train-0.tar", &[("a", "1"), ("b", "1")]);
    fs::remove_file(dir.path().join("test-0.tar")).unwrap();
    assert_eq!(scan(Task::SingleLabel).unwrap().classes, ["0", "1"]);
    tar(
        &dir.path().join("train-0.tar"),
        &[
            ("a.json".into(), br#"{"labels": ["x", "y"]}"#.to_vec()),
            ("a.png".into(), png(0)),
            ("b.json".into(), br#"{"labels": []}"#.to_vec()),
            ("b.png".into(), png(1)),
        ],
    );
    let labels: Vec<_> = scan(Task::MultiLabel).unwrap().train.into_iter().map(|s| s.labels).collect();
    assert_eq!(labels, [vec![0, 1], vec![]]);
    assert!(refused().contains("several labels"), "{}", refused());
}

#[test]
fn places_are_told_from_folders_and_lists_of_files() {
    let dir = shards(2, 3);
    let path = |name: &str| dir.path().join(name);
    let is_place = |path: &Path| place(path).unwrap().is_some();
    assert!(
        is_place(dir.path()) && is_place(&path("train-{000..001}.tar")) && is_place(&path("train-000.tar"))
    );
    fs::write(path("list.txt"), "train-000.tar\ntrain-001.tar\n").unwrap();
    fs::write(path("files.csv"), "path,label\n1.png,a\n").unwrap();
    assert!(is_place(&path("list.txt")) && !is_place(&path("files.csv")));
    let all = ImageFolder::scan(path("train-{000..001}.tar")).unwrap();
    assert_eq!(ImageFolder::scan(path("list.txt")).unwrap().train, all.train);
    assert_eq!(all.train.len(), 6);
    fs::create_dir_all(path("split/train")).unwrap();
    fs::create_dir_all(path("split/val")).unwrap();
    fs::rename(path("train-000.tar"), path("split/train/a.tar")).unwrap();
    fs::rename(path("train-001.tar"), path("split/val/a.tar")).unwrap();
    let split = ImageFolder::scan(path("split")).unwrap();
    assert_eq!((split.train.len(), split.test.map(|test| test.len())), (3, Some(3)));
    let secret = place("https://host/a.tar?X-Amz-Signature=00".as_ref()).unwrap_err().to_string();
    assert!(secret.contains("holds a secret") && !secret.contains("00"), "{secret}");
    let twice = ImageFolder::scan(path("split/{train,train}/a.tar")).unwrap_err();
    assert!(chain(&twice).contains("is there twice"), "{}", chain(&twice));
    if cfg!(not(feature = "cloud")) {
        for text in ["s3://bucket/train.tar", "https://host/train.tar"] {
            let said = chain(&ImageFolder::scan(text).unwrap_err());
            assert!(said.contains(text) && said.contains("feature `cloud`"), "{said}");
        }
    }
}

#[test]
fn shards_are_shared_between_the_sets_of_an_index() {
    let dir = shards(2, 3);
    let Source::Shards(index) = ImageFolder::scan(dir.path()).unwrap().source else { panic!("shards") };
    assert_eq!((index.units(), index.len(), index.unit_of(2), index.unit_of(3)), (2, 6, 0, 1));
    let name = dir.path().join("train-001.tar#00004.png");
    assert_eq!(index.bytes(&name), Some(png(4).len() as u64));
    assert_eq!(index.digest(&name), Some(Digest::of_file(&png(4))));
    assert!(Arc::strong_count(&index) == 1 && index.digest("no.png".as_ref()).is_none());
}
