//! Objects of web servers.

use std::time::{Duration, Instant};

use ferronnx_infer::places::{Options, Place, units};

use super::server::{Fault, Server};
use super::{bytes, noise, read};

#[test]
fn an_object_that_breaks_off_goes_on_where_it_was() {
    let server = Server::start();
    let content = noise(1_000_000);
    server.put("/a.png", content.clone());
    server.fail(
        "/a.png",
        [Fault::Break(400_000), Fault::Hang, Fault::Status(503, "SlowDown"), Fault::Break(1000)],
    );
    let item = read(&[&format!("{}/a.png", server.address())]).pop().unwrap();
    assert!(bytes(item).unwrap() == content);
    let requests = server.requests();
    assert_eq!(requests.len(), 5, "{requests:?}");
    assert_eq!(requests[0], "GET /a.png?");
    let starts: Vec<u64> = requests[1..]
        .iter()
        .map(|request| request.rsplit_once("bytes=").unwrap().1.trim_end_matches('-').parse().unwrap())
        .collect();
    // The client may not have seen all that was sent before the connection broke.
    assert!(
        starts[0] > 0 && starts[0] <= 400_000 && starts[0] == starts[1] && starts[1] == starts[2],
        "{starts:?}"
    );
    assert!(starts[3] >= starts[2] && starts[3] <= starts[2] + 1000, "{starts:?}");
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let server = Server::start();
    let content = noise(300_000);
    server.put("/a.png", content.clone());
    server.ignore_ranges();
    server.fail("/a.png", [Fault::Break(100_000)]);
    let item = read(&[&format!("{}/a.png", server.address())]).pop().unwrap();
    assert!(bytes(item).unwrap() == content);
}

#[test]
fn an_object_that_changes_is_noticed() {
    let server = Server::start();
    server.put("/a.png", noise(300_000));
    server.fail("/a.png", [Fault::Break(100_000), Fault::Change]);
    let item = read(&[&format!("{}/a.png", server.address())]).pop().unwrap();
    assert!(bytes(item).unwrap_err().ends_with("/a.png: changed while it was read"));
}

#[test]
fn an_error_in_a_good_answer_is_no_image() {
    let server = Server::start();
    server.put("/a.png", "image");
    server.fail("/a.png", [Fault::InGoodAnswer]);
    let item = read(&[&format!("{}/a.png", server.address())]).pop().unwrap();
    assert_eq!(bytes(item).unwrap(), b"image");
}

#[test]
fn what_will_not_pass_is_told_at_once_and_without_secrets() {
    let server = Server::start();
    let start = Instant::now();
    for (status, expected) in
        [(404, "no such object"), (403, "access denied (HTTP 403"), (418, "refuses: HTTP 418")]
    {
        server.fail("/a.png", [Fault::Status(status, "X")]);
        let item = read(&[&format!("{}/a.png?sig=secret", server.address())]).pop().unwrap();
        let error = bytes(item).unwrap_err();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(
        server.requests().iter().all(|request| request.contains("sig=secret")),
        "the server gets the secret"
    );
}

#[test]
fn a_server_that_never_answers_well_is_given_up() {
    let server = Server::start();
    server.put("/a.png", "image");
    server.put("/b.png", "image");
    server.fail("/a.png", [Fault::Hang; 6]);
    let address = server.address();
    let found = read(&[&format!("{address}/a.png"), &format!("{address}/b.png")]).into_iter().map(bytes);
    let found: Vec<_> = found.collect();
    assert!(found[0].as_ref().unwrap_err().contains("gave up after 6 attempts"), "{found:?}");
    assert!(found[1].is_ok(), "others go on");
}

#[test]
fn many_small_objects_are_on_their_way_at_once() {
    let server = Server::start();
    let names: Vec<_> = (0..200).map(|index| format!("{}/{index:03}.png", server.address())).collect();
    (0..200).for_each(|index| server.put(&format!("/{index:03}.png"), index.to_string()));
    server.delay(Duration::from_millis(100));
    let found = read(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let expected: Vec<_> = (0..200).map(|index| index.to_string().into_bytes()).collect();
    assert_eq!(found.into_iter().map(|item| bytes(item).unwrap()).collect::<Vec<_>>(), expected);
    assert!(server.most_at_once() > 60, "{} at once", server.most_at_once());
}

#[test]
fn shards_and_lists_may_be_far_away() {
    let server = Server::start();
    let mut tar = tar::Builder::new(Vec::new());
    for index in 0..50 {
        let mut header = tar::Header::new_gnu();
        header.set_size(20_000);
        header.set_cksum();
        tar.append_data(&mut header, format!("{index:02}.png"), &*noise(20_000)).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    server.put("/d/s.tar", tar.clone());
    server.put("/d/cut.tar", &tar[..tar.len() / 2]);
    server.put("/d/list.csv", "path,label\ns.tar,\ncut.tar,\nnone.png,cat\n");
    server.fail("/d/s.tar", [Fault::Break(100_000), Fault::Break(300_000)]);
    let found = read(&[&format!("{}/d/list.csv?token=secret", server.address())]);
    let errors = found.iter().filter_map(|item| item.content.as_ref().err());
    let errors: Vec<_> = errors.map(|error| ferronnx_infer::error::chain(error)).collect();
    assert_eq!(found.iter().filter(|item| item.unit.name.ends_with("/d/s.tar")).count(), 50);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0]
            .contains("cut.tar: the tar shard is cut off after 25 images: it ends in the middle of 25.png"),
        "{errors:?}"
    );
    assert!(errors[1].ends_with("/d/none.png: no such object or prefix"), "{errors:?}");
}

#[test]
fn a_server_without_listings_is_refused_with_a_way_out() {
    let server = Server::start();
    let place = Place::parse(&format!("{}/photos/", server.address())).unwrap();
    let error = units(vec![place], &Options::default()).next().unwrap().unwrap_err();
    let text = ferronnx_infer::error::chain(&error);
    assert!(text.contains("cannot be listed") && text.contains("a list of their addresses"), "{text}");
}
