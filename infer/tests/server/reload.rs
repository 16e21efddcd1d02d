//! Models that are replaced while the server runs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ferronnx_models::certificate::CERTIFICATE_KEY;
use rustix::process::Signal;

use crate::client::{ask, post};
use crate::server::{Server, png};
use crate::support::{Model, RED, Workplace};

/// Certified model whose labels are these.
fn model(labels: [&str; 3]) -> Vec<u8> {
    let mut model = Model::default();
    model.card.labels = labels.map(Into::into).to_vec();
    model.certified()
}

/// Puts `bytes` in the place of the served file, as a deployment does: written beside it, then renamed.
fn replace(server: &Server, bytes: &[u8]) {
    fs::write(server.place.path("new.onnx"), bytes).unwrap();
    fs::rename(server.place.path("new.onnx"), server.place.path("model.onnx")).unwrap();
}

/// Label of a red image.
fn label(server: &Server) -> String {
    let answer = ask(server.address, &post("/v1/classify", "image/png", &png(RED))).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let found: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let found = if found.is_array() { &found[0] } else { &found };
    found["predictions"][0]["label"].as_str().unwrap().to_owned()
}

#[test]
fn a_model_renamed_into_place_is_served_without_a_gap() {
    let server = Server::start(&["--queue", "64"]);
    let (done, old, new) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut replaced = false;
                while !done.load(Ordering::SeqCst) {
                    match label(&server).as_str() {
                        "red" if !replaced => old.fetch_add(1, Ordering::SeqCst),
                        "rouge" => {
                            replaced = true;
                            new.fetch_add(1, Ordering::SeqCst)
                        }
                        other => panic!("{other}, replaced: {replaced}"),
                    };
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        replace(&server, &model(["rouge", "vert", "bleu"]));
        server.wait_until("served", || new.load(Ordering::SeqCst) > 20);
        done.store(true, Ordering::SeqCst);
    });
    assert!(old.into_inner() > 0);
    server.did_not_panic();
}

#[test]
fn a_file_changed_in_place_is_read_again_after_sighup() {
    let server = Server::start(&["--queue", "4"]);
    assert_eq!(label(&server), "red");
    fs::write(server.place.path("model.onnx"), model(["rouge", "vert", "bleu"])).unwrap();
    server.signal(Signal::HUP);
    server.wait_until("replaced", || label(&server) == "rouge");
    server.did_not_panic();
}

#[test]
fn bad_files_are_refused_and_the_old_model_stays() {
    let server = Server::start(&["--queue", "4"]);
    let other = Model::default();
    let mut broken = other.certificate();
    broken.goldens[0].logits[0] += 1.0;
    let good = model(["rouge", "vert", "bleu"]);
    let bad = [
        b"not a model".to_vec(),
        Vec::new(),
        good[..good.len() / 2].to_vec(),
        other.encoded_with(&[]),
        other.encoded_with(&[(CERTIFICATE_KEY, &broken.to_json())]),
        other.encoded_with(&[(CERTIFICATE_KEY, "{}")]),
    ];
    for (index, bytes) in bad.iter().enumerate() {
        let before = server.output().len();
        replace(&server, bytes);
        server.signal(Signal::HUP);
        // It says so, with the file.
        server.wait_until("refused", || server.output()[before..].contains("model.onnx"));
        for _ in 0..3 {
            assert_eq!(label(&server), "red", "file {index}");
        }
        assert_eq!(server.get("/v2/health/ready").status, 200, "file {index}");
    }
    fs::remove_file(server.place.path("model.onnx")).unwrap();
    server.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(label(&server), "red", "removed");
    replace(&server, &good);
    server.signal(Signal::HUP);
    server.wait_until("replaced", || label(&server) == "rouge");
    server.did_not_panic();
}

#[test]
fn many_replacements_do_not_grow_the_server() {
    let server = Server::start(&["--queue", "4"]);
    let files = [model(["rouge", "vert", "bleu"]), model(["red", "green", "blue"])];
    let mut before = 0;
    for round in 0..20 {
        replace(&server, &files[round % 2]);
        server.signal(Signal::HUP);
        let expected = ["rouge", "red"][round % 2];
        server.wait_until("replaced", || label(&server) == expected);
        if round == 4 {
            before = server.resident();
        }
    }
    assert!(server.resident() < before + 48, "{before} -> {} MiB", server.resident());
    server.did_not_panic();
}

#[test]
fn api_keys_are_read_again_after_sighup() {
    let place = Workplace::without_model();
    fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    fs::write(place.path("keys"), "first\n").unwrap();
    let server = Server::of(place, &["--api-key-file", "keys"]);
    let status = |key: &str| {
        let request = format!("GET /v1/models HTTP/1.1\r\nhost: test\r\nx-api-key: {key}\r\n\r\n");
        ask(server.address, request.as_bytes()).expect("an answer").status
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    fs::write(server.place.path("keys"), "second\n").unwrap();
    server.signal(Signal::HUP);
    server.wait_until("replaced", || (status("first"), status("second")) == (401, 200));
    fs::write(server.place.path("keys"), "\n").unwrap();
    server.signal(Signal::HUP);
    server.wait_until("refused", || server.output().contains("the old ones stay"));
    assert_eq!(status("second"), 200);
    server.did_not_panic();
}
