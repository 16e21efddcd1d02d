use std::fs;

use super::*;
use crate::error::chain;
use crate::image_folder::Split;
use crate::places::units;

fn list(name: &str, content: &str) -> (tempfile::TempDir, Vec<Result<Unit, Error>>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("1.png"), "x").unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let units = units(vec![path.into()], &Options::default()).collect();
    (dir, units)
}

#[test]
fn tables_have_labels_and_splits() {
    let (dir, units) = list("l.csv", "path,label,split\n1.png,cat;pet,test\n2.tar,,train\n");
    let units: Vec<_> = units.into_iter().map(Result::unwrap).collect();
    assert_eq!(units[0].place, dir.path().join("1.png").into());
    assert_eq!(units[0].labels, Some(vec![Label::named("cat"), Label::named("pet")]));
    assert_eq!((units[0].split, units[1].kind), (Some(Split::Test), UnitKind::Tar));
    assert_eq!(units[1].labels, None, "the labels of a shard are in it");
}

#[test]
fn names_alone_have_no_labels() {
    for content in ["1.png\r\n\r\n/abs/2.tar\r\n", "\u{feff}path\n1.png\n/abs/2.tar"] {
        let (_dir, units) = list("l.txt", content);
        let units: Vec<_> = units.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            (units.len(), &*units[1].name, units[1].kind),
            (2, "/abs/2.tar", UnitKind::Tar),
            "{content:?}"
        );
        assert_eq!(units[0].labels, None);
    }
}

#[test]
fn lists_that_cannot_be_used_name_the_line() {
    let last = |name, content| chain(&list(name, content).1.pop().unwrap().unwrap_err());
    assert!(last("l.txt", "1.png\n1.png\n").contains("line 2: 1.png is listed before, in line 1"));
    assert!(last("l.csv", "").contains("lists no images"));
    assert!(last("l.txt", "\n\n").contains("lists no images"));
    assert!(last("l.csv", "name;size\na;1\n").contains("the columns are unknown"));
    assert!(last("l.csv", "path,label\n1.png\n").contains("line 2: 1 fields instead of 2"));
    assert!(last("l.txt", "x.zip\n").contains("`.zip` is not read"));
}

#[cfg(not(feature = "cloud"))]
#[test]
fn urls_in_lists_need_the_feature() {
    let (_dir, units) = list("l.txt", "1.png\ns3://bucket/2.png\n");
    let error = units[1].as_ref().unwrap_err().to_string();
    assert!(units[0].is_ok() && error.contains("feature `cloud`"), "{error}");
}
