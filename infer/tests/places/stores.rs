//! Objects of S3, with the variables of its own tools.

use std::io::Write;

use ferronnx_infer::error::chain;
use ferronnx_infer::places::{self, Options, Output, Place, delete, exists, files, units};

use super::server::{Fault, Server};
use super::{bytes, in_own_process, is_own_process, noise, read};

/// Names of units, or errors.
fn names(input: &str) -> Vec<String> {
    let inputs = vec![Place::parse(input).unwrap()];
    units(inputs, &Options::default())
        .map(|unit| unit.map_or_else(|error| chain(&error), |unit| unit.name))
        .collect()
}

/// Runs a test again with the address and the keys of a server.
fn with(server: &Server, name: &str) {
    let keys = [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "verysecret")];
    let address = server.address();
    in_own_process(name, &[keys[0], keys[1], ("AWS_ENDPOINT_URL", &address), ("AWS_REGION", "eu-west-1")]);
}

#[test]
fn a_prefix_is_listed_page_by_page_and_read() {
    if is_own_process() {
        let found = names("s3://bucket/test");
        let expected =
            ["a.tar", "cat/1.png", "cat/2 #ü.png", "dog/3.png", "dog/4.png", "dog/5.jpg", "e.tar.gz"];
        assert_eq!(found, expected.map(|name| format!("s3://bucket/test/{name}")));
        let items = read(&["s3://bucket/test/cat/"]);
        assert_eq!(items[1].name, "s3://bucket/test/cat/2 #ü.png");
        let labels =
            read(&["s3://bucket/test"]).into_iter().find(|item| item.name.ends_with("3.png")).unwrap().labels;
        assert_eq!(labels, Some(vec![places::Label::named("dog")]));
        assert_eq!(items.into_iter().map(|item| bytes(item).unwrap()).collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(names("s3://bucket/single"), ["s3://bucket/single"], "an object without an extension");
        return;
    }
    let server = Server::start();
    let keys =
        ["a.tar", "cat/1.png", "cat/2 #ü.png", "dog/3.png", "dog/4.png", "dog/5.jpg", "dog/x.md", "e.tar.gz"];
    keys.iter().for_each(|key| server.put(&format!("/bucket/test/{key}"), &key[4..5]));
    server.put("/bucket/test2/0.png", "beside");
    server.put("/bucket/single", "image");
    // A page that fails is asked for again, and the others are not.
    server.fail(
        "/bucket",
        [Fault::InGoodAnswer, Fault::Status(503, "SlowDown"), Fault::Hang, Fault::Break(50)],
    );
    with(&server, "stores::a_prefix_is_listed_page_by_page_and_read");
    assert!(server.requests()[0].contains("list-type=2"));
}

#[test]
fn what_is_missing_or_forbidden_is_told_plainly() {
    if is_own_process() {
        let found = ["s3://none/x/", "s3://forbidden/x/", "s3://bucket/none/", "s3://bucket/a//b.png"]
            .map(names)
            .concat();
        let expected = [
            "s3://none/x/: no such bucket",
            "s3://forbidden/x/: access denied (HTTP 403, InvalidAccessKeyId): check the credentials, and what they allow",
            "s3://bucket/none/: no such object or prefix",
            "s3://bucket/a//b.png",
        ];
        assert_eq!(found, expected);
        let error = bytes(read(&["s3://bucket/a//b.png"]).pop().unwrap()).unwrap_err();
        assert!(error.contains("a part of the key is empty"), "{error}");
        return;
    }
    let server = Server::start();
    server.fail("/none", [Fault::Status(404, "NoSuchBucket")]);
    server.fail("/forbidden", [Fault::Status(403, "InvalidAccessKeyId")]);
    with(&server, "stores::what_is_missing_or_forbidden_is_told_plainly");
}

#[test]
fn an_object_is_written_whole_or_not_at_all() {
    let (small, large) = (noise(1000), noise(40 << 20));
    if is_own_process() {
        let folder = Place::parse("s3://bucket/out").unwrap();
        assert!(files(&folder).unwrap().is_empty());
        for (name, content) in [("small", &small), ("large", &large)] {
            let mut output = Output::create(&folder.join(name)).unwrap();
            content.chunks(1 << 20).for_each(|part| output.write_all(part).unwrap());
            assert!(!exists(&folder.join(name)).unwrap());
            output.finish().unwrap();
            assert!(exists(&folder.join(name)).unwrap());
        }
        let mut dropped = Output::create(&folder.join("dropped")).unwrap();
        dropped.write_all(&large).unwrap();
        drop(dropped);
        assert_eq!(files(&folder).unwrap(), ["large", "small"]);
        assert!(places::read(&folder.join("large"), u64::MAX - 1).unwrap() == large);
        assert_eq!(places::read(&folder.join("large"), 10).unwrap_err().kind().name(), "too_large");
        delete(&folder.join("small")).unwrap();
        delete(&folder.join("small")).unwrap();
        assert!(!exists(&folder.join("small")).unwrap());
        return;
    }
    let server = Server::start();
    server.fail("/bucket/out/large", [Fault::Status(503, "SlowDown"), Fault::Hang]);
    with(&server, "stores::an_object_is_written_whole_or_not_at_all");
    assert!(server.object("/bucket/out/large").unwrap() == large);
    assert_eq!((server.object("/bucket/out/dropped"), server.unfinished_uploads()), (None, 0));
}

#[test]
fn a_profile_has_keys_region_and_address() {
    if is_own_process() {
        assert_eq!(bytes(read(&["s3://bucket/1.png"]).pop().unwrap()).unwrap(), b"image");
        return;
    }
    let server = Server::start();
    server.put("/bucket/1.png", "image");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config =
        file("config", format!("[profile mine]\nregion = us-west-2\nendpoint_url = {}\n", server.address()));
    let keys = file("keys", "[mine]\naws_access_key_id = AKIA\naws_secret_access_key = s\n".into());
    let variables =
        [("AWS_PROFILE", "mine"), ("AWS_CONFIG_FILE", &*config), ("AWS_SHARED_CREDENTIALS_FILE", &*keys)];
    in_own_process("stores::a_profile_has_keys_region_and_address", &variables);
}

#[test]
fn missing_credentials_are_told_at_once() {
    if is_own_process() {
        let text = names("s3://bucket/x/").remove(0);
        assert!(text.contains("there are no credentials: set AWS_ACCESS_KEY_ID"), "{text}");
        let text = names("az://container/x/").remove(0);
        assert!(text.contains("AZURE_STORAGE_ACCOUNT_NAME is missing"), "{text}");
        return;
    }
    in_own_process("stores::missing_credentials_are_told_at_once", &[("AWS_EC2_METADATA_DISABLED", "true")]);
}
