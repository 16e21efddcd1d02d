#[path = "../../../tests/common/cifar.rs"]
mod small;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use self::small::{Files, RECORD, archive, record};
use super::{files, folder_of, unpack};
use crate::data::folder::ImageFolder;
use crate::error::chain;

/// Error of unpacking `files` as an archive. Nothing is left behind.
fn refusal(files: &[(&str, Vec<u8>)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("x.tar.gz");
    archive(&source, files);
    refused(&dir, &source)
}

fn refused(dir: &TempDir, source: &Path) -> String {
    let before = fs::read_dir(dir.path()).unwrap().count();
    let error = chain(&unpack(source, &dir.path().join("out"), |_| ()).unwrap_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "{error}");
    error
}

#[test]
fn the_files_are_those_of_the_official_archive() {
    assert!(files().eq(small::files().iter().map(|(name, _)| *name)));
}

#[test]
fn archive_and_folder_become_the_same_images() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = small::files();
    let unpacked = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&unpacked).unwrap();
    for (name, content) in &files {
        fs::write(unpacked.join(name), content).unwrap();
    }
    // The official archive's order is not the order of the images, and its names come late.
    files.reverse();
    archive(&dir.path().join("cifar.tar.gz"), &files);

    let mut sets = Vec::new();
    for (index, source) in ["cifar.tar.gz", "cifar-10-batches-bin", ""].into_iter().enumerate() {
        let to = dir.path().join(format!("out-{index}"));
        let count = AtomicU64::new(0);
        let progress = |images| {
            count.fetch_add(images, Ordering::Relaxed);
        };
        unpack(&dir.path().join(source), &to, progress).unwrap();
        assert_eq!(count.into_inner(), 72);
        let found = ImageFolder::scan(&to).unwrap();
        assert_eq!((found.train.len(), found.test.unwrap().len()), (60, 12));
        assert_eq!(found.classes[3..5], ["cat", "deer"]);
        sets.push(
            ferronnx_infer::files::images_in(&to)
                .unwrap()
                .into_iter()
                .map(|path| (path.strip_prefix(&to).unwrap().to_owned(), fs::read(&path).unwrap()))
                .collect::<Vec<_>>(),
        );
    }
    assert!(sets[0] == sets[1] && sets[1] == sets[2]);

    // Batch 3 is the fourth file; its image 9 has label (3 + 9) % 10.
    let image = ferronnx_infer::decode::file(dir.path().join("out-0/train/bird/20009.png")).unwrap();
    let record = record(3, 9);
    assert_eq!(image.dimensions(), (32, 32));
    for at in 0..1024 {
        let pixel = [0, 1, 2].map(|plane| record[1 + plane * 1024 + at]);
        assert_eq!(image.get_pixel(at as u32 % 32, at as u32 / 32).0, pixel, "pixel {at}");
    }
    assert!(dir.path().join("out-0/test/frog/00000.png").is_file());
    assert_eq!(folder_of(dir.path()), Some(unpacked));
}

#[test]
fn a_class_without_images_is_no_folder_and_names_are_optional() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = small::files();
    files.remove(0);
    files[0].1.truncate(2 * RECORD);
    for (_, content) in &mut files {
        content.chunks_exact_mut(RECORD).for_each(|record| record[0] %= 2);
    }
    archive(&dir.path().join("x.tar.gz"), &files);
    unpack(&dir.path().join("x.tar.gz"), &dir.path().join("out"), |_| ()).unwrap();
    assert_eq!(ImageFolder::scan(dir.path().join("out")).unwrap().classes, ["airplane", "automobile"]);
}

#[test]
fn another_archive_is_refused() {
    let python = [("data_batch_1", vec![0; RECORD]), ("test_batch", vec![0; RECORD])];
    assert!(refusal(&python).contains("x.tar.gz holds no data_batch_1.bin: give the binary version"));
    let mut files = small::files();
    files.remove(4);
    assert!(refusal(&files).contains("holds no data_batch_4.bin"));
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(&dir, dir.path()).contains("holds no data_batch_1.bin"));
    assert!(refused(&dir, Path::new("no/such.tar.gz")).contains("cannot read no/such.tar.gz: "));
}

#[test]
fn damaged_content_is_refused_by_file() {
    let changed = |change: &dyn Fn(&mut Files)| {
        let mut files = small::files();
        change(&mut files);
        refusal(&files)
    };
    let short = changed(&|files| files[2].1.truncate(5000));
    assert!(short.contains("data_batch_2.bin has 5000 bytes, not 3073 for each of at most 10000"), "{short}");
    assert!(changed(&|files| files[6].1.clear()).contains("test_batch.bin has 0 bytes"));
    assert!(
        changed(&|files| files[1].1.resize(RECORD * 10_001, 0)).contains("data_batch_1.bin has 30733073")
    );
    let label = changed(&|files| files[3].1[RECORD] = 10);
    assert!(label.contains("data_batch_3.bin has label 10 (of 0 to 9) in image 20001: download"), "{label}");
    assert!(changed(&|files| files.push(("test_batch.bin", vec![0; RECORD]))).contains("is there twice"));
    for names in ["a\nb\n", "../a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", "a\na\nc\nd\ne\nf\ng\nh\ni\nj\n"] {
        assert!(changed(&|files| files[0].1 = names.into()).contains("batches.meta.txt does not name ten"));
    }
}

#[test]
fn a_truncated_or_damaged_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar.gz");
    archive(&path, &small::files());
    let whole = fs::read(&path).unwrap();
    // Within the images, and within the checksum behind everything.
    for length in [0, 5, whole.len() / 2, whole.len() - 3] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&dir, &path);
        assert!(error.contains("x.tar.gz is damaged or no .tar.gz archive"), "{length}: {error}");
    }
    let mut flipped = whole;
    let last = flipped.len() - 6;
    flipped[last] ^= 1; // in the checksum
    fs::write(&path, &flipped).unwrap();
    assert!(refused(&dir, &path).contains("is damaged"));
    fs::write(&path, "<html>not found</html>").unwrap();
    assert!(refused(&dir, &path).contains("is damaged or no .tar.gz"));
}
