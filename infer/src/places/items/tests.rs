use std::fs;
use std::path::Path;

use ::tar::Builder;

use super::*;
use crate::places::units;

/// Shard of `count` members of `size` bytes.
fn shard(path: &Path, count: usize, size: usize) {
    let mut builder = Builder::new(fs::File::create(path).unwrap());
    for index in 0..count {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_cksum();
        builder.append_data(&mut header, format!("{index}.png"), &*vec![index as u8; size]).unwrap();
    }
    builder.finish().unwrap();
}

fn read(dir: &Path, options: Options) -> Items {
    let units = units(vec![Place::Local(dir.into())], &options).map(Result::unwrap);
    items(units, &options)
}

#[test]
fn images_come_in_the_order_of_the_units() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b.png"), "x").unwrap();
    for (name, count) in [("a.tar", 30), ("c.tar", 1), ("d.tar", 20)] {
        shard(&dir.path().join(name), count, 100);
    }
    let short = |item: Item| item.name.rsplit('/').next().unwrap().to_owned();
    let names: Vec<_> = read(dir.path(), Options::default()).map(short).collect();
    let members =
        |shard: &str, count| (0..count).map(|index| format!("{shard}#{index}.png")).collect::<Vec<_>>();
    let expected =
        [members("a.tar", 30), vec!["b.png".into()], members("c.tar", 1), members("d.tar", 20)].concat();
    assert_eq!(names, expected);
}

#[test]
fn a_narrow_window_changes_nothing_but_memory() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..9 {
        shard(&dir.path().join(format!("{index}.tar")), 20, 5000);
    }
    let narrow = Options { window_bytes: 1, window_items: 1 };
    assert_eq!(read(dir.path(), narrow).filter(|item| item.content.is_ok()).count(), 180);
}

#[test]
fn a_shard_that_cannot_be_read_is_an_item() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.tar"), [0x55; 2000]).unwrap();
    shard(&dir.path().join("b.tar"), 1, 10);
    let found: Vec<_> = read(dir.path(), Options::default()).collect();
    assert_eq!((found.len(), found[1].content.is_ok()), (2, true));
    let error = found[0].content.as_ref().unwrap_err();
    assert!(
        found[0].name.ends_with("a.tar") && error.to_string().contains("a.tar: the tar shard is damaged")
    );
}

#[test]
fn what_is_no_longer_wanted_ends() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..20 {
        shard(&dir.path().join(format!("{index}.tar")), 50, 5000);
    }
    let mut items = read(dir.path(), Options { window_bytes: 40_000, window_items: 2 });
    items.next().unwrap();
    let worker = items.worker.take().unwrap();
    drop(items);
    worker.join().unwrap();
}

#[test]
#[should_panic(expected = "the caller's")]
fn a_panic_of_the_units_is_passed_on() {
    let units = std::iter::from_fn(|| -> Option<Unit> { panic!("the caller's") });
    items(units, &Options::default()).next();
}
