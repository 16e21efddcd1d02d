use std::io::Write;
use std::sync::Arc;

use ::tar::{Builder, EntryType, Header};

use crate::error::Error;
use crate::places::{Content, Item, Label, PlaceError, Unit, UnitKind};

/// Archive of members with their content.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in members {
        append(&mut builder, name, content, EntryType::Regular);
    }
    builder.into_inner().unwrap()
}

/// Appends a member with any name, also one that the builder would refuse.
fn append(builder: &mut Builder<Vec<u8>>, name: &str, content: &[u8], kind: EntryType) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_entry_type(kind);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

/// Images of an archive, and the failure of the whole.
fn read(bytes: &[u8]) -> (Vec<Item>, Result<(), Error>) {
    let unit = Arc::new(Unit::new("shard.tar".parse().unwrap(), UnitKind::Tar));
    let mut items = Vec::new();
    let read = super::read(&unit, bytes, &mut |item| {
        items.push(item);
        Ok(())
    });
    (items, read)
}

fn named(items: &[Item]) -> Vec<(&str, bool)> {
    items.iter().map(|item| (&*item.name, item.content.is_ok())).collect()
}

fn reason(read: Result<(), Error>) -> String {
    read.unwrap_err().reason()
}

#[test]
fn samples_are_images_with_labels() {
    let bytes = archive(&[
        ("./a/0.cls", b"3"),
        ("./a/0.jpg", b"zero"),
        ("./a/0.json", br#"{"label": "never"}"#),
        ("a/1.json", br#"{"label": "cat"}"#),
        ("a/1.png", b"one"),
        ("README.md", b"text"),
        ("2.webp", b"two"),
    ]);
    let (items, read) = read(&bytes);
    read.unwrap();
    let labels: Vec<_> = items.iter().map(|item| (&*item.name, item.labels.clone())).collect();
    let webp = [("shard.tar#2.webp", None)];
    let expected = [
        ("shard.tar#a/0.jpg", Some(vec![Label::Index(3)])),
        ("shard.tar#a/1.png", Some(vec![Label::Name("cat".into())])),
    ];
    assert_eq!(labels, expected.into_iter().chain(webp).collect::<Vec<_>>());
    assert_eq!(items[1].content.as_ref().unwrap(), &Content::Bytes(b"one".to_vec()));
}

#[test]
fn every_cut_is_noticed() {
    let bytes = archive(&[("0.jpg", &[7; 600]), ("1.jpg", &[8; 100]), ("2.jpg", &[9; 512])]);
    for length in 0..bytes.len() - 1 {
        let (items, read) = read(&bytes[..length]);
        let Err(error) = read else { panic!("a cut at {length} passed") };
        let crate::ErrorKind::Place(PlaceError::CutOff { images, .. }) = error.kind() else {
            panic!("{length}: {error}")
        };
        assert_eq!(*images as usize, items.len(), "{length}");
        assert_eq!(items.len(), [1112, 2148, 3584].iter().filter(|&&end| length >= end).count(), "{length}");
    }
}

#[test]
fn archives_that_were_joined_are_read_to_the_end() {
    let joined = [archive(&[("a/0.jpg", b"0")]), archive(&[("b/0.jpg", b"1")])].concat();
    let (items, read) = read(&joined);
    read.unwrap();
    assert_eq!(named(&items), [("shard.tar#a/0.jpg", true), ("shard.tar#b/0.jpg", true)]);
}

#[test]
fn hostile_names_and_links_harm_nobody() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "/etc/0.jpg", b"x", EntryType::Regular);
    append(&mut builder, "../../1.jpg", b"x", EntryType::Regular);
    append(&mut builder, "2.jpg", b"", EntryType::Symlink);
    append(&mut builder, "3.jpg", b"", EntryType::Link);
    append(&mut builder, "folder.jpg", b"", EntryType::Directory);
    append(&mut builder, "__MACOSX/4.jpg", b"x", EntryType::Regular);
    append(&mut builder, "._5.jpg", b"x", EntryType::Regular);
    append(&mut builder, "6.jpg", b"x", EntryType::Regular);
    append(&mut builder, "6.jpg", b"y", EntryType::Regular);
    let (items, read) = read(&builder.into_inner().unwrap());
    read.unwrap();
    let names = named(&items);
    let expected = [
        ("shard.tar#/etc/0.jpg", true),
        ("shard.tar#../../1.jpg", true),
        ("shard.tar#2.jpg", false),
        ("shard.tar#3.jpg", false),
        ("shard.tar#folder.jpg", false),
        ("shard.tar#6.jpg", true),
        ("shard.tar#6.jpg (again)", false),
    ];
    assert_eq!(names, expected);
    let reason = items[2].content.as_ref().unwrap_err().to_string();
    assert_eq!(reason, "shard.tar#2.jpg: the member is a symbolic link, which is not followed");
}

#[test]
fn sizes_are_not_believed() {
    let mut header = Header::new_gnu();
    header.set_path("huge.jpg").unwrap();
    header.set_size(1 << 60);
    header.set_cksum();
    let (items, read_huge) = read(&[header.as_bytes(), &[1; 4096][..]].concat());
    assert!(items.is_empty() && reason(read_huge).contains("cut off after 0 images"));
    // A long name of 32 MB.
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(32 << 20);
    header.set_cksum();
    let (_, read_name) = read(&[header.as_bytes(), &vec![b'a'; 33 << 20][..]].concat());
    assert!(reason(read_name).contains("a header is too long"));
    // A sparse file of one hole.
    let mut sparse = Header::new_gnu();
    sparse.set_path("hole.jpg").unwrap();
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(0);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.realsize[..11].copy_from_slice(b"77777777777");
    gnu.sparse[0].offset[..11].copy_from_slice(b"77777777777");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
    sparse.set_cksum();
    let mut bytes = sparse.as_bytes().to_vec();
    bytes.extend(archive(&[("after.jpg", b"x")]));
    let (items, read_sparse) = read(&bytes);
    read_sparse.unwrap();
    assert_eq!(named(&items), [("shard.tar#hole.jpg", false), ("shard.tar#after.jpg", true)]);
}

#[test]
fn a_shard_without_images_is_said() {
    let (_, read_text) = read(&archive(&[("notes.txt", b"x")]));
    assert_eq!(reason(read_text), "the tar shard holds no images");
    let (_, read_noise) = read(&[0x55; 5000]);
    assert!(reason(read_noise).contains("damaged after 0 images"));
}

#[test]
fn compressed_shards_are_read_and_their_damage_is_noticed() {
    let plain = archive(&[("0.jpg", b"zero"), ("1.jpg", b"one")]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&plain).unwrap();
    let gz = gz.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for length in [gz.len(), gz.len() - 1, gz.len() / 2] {
        let path = dir.path().join("s.tar.gz");
        std::fs::write(&path, &gz[..length]).unwrap();
        let unit = Arc::new(Unit::new(path.into(), UnitKind::TarGz));
        let mut count = 0;
        let read = crate::places::shard::read(&unit, &mut |_| {
            count += 1;
            Ok(())
        });
        assert_eq!(
            (read.is_ok(), length == gz.len() && count == 2),
            (length == gz.len(), length == gz.len())
        );
    }
}
