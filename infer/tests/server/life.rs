//! Start and stop of the server.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ferronnx_models::certificate::CERTIFICATE_KEY;
use rustix::process::Signal;

use crate::client::{Answer, PATIENCE, connect, post};
use crate::server::{Server, command, image_of, png};
use crate::support::{BLUE, Model, RED, Workplace, model_with};

/// Checks that a server does not start, and returns its message.
#[track_caller]
fn is_refused(place: &Workplace, args: &[&str]) -> String {
    let output = command(place, args).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

#[test]
fn a_model_whose_certificate_does_not_hold_is_never_served() {
    let place = Workplace::without_model();
    let model = Model::default();
    let mut certificate = model.certificate();
    certificate.goldens[0].logits[0] += 1.0;
    let bytes = model.encoded_with(&[(CERTIFICATE_KEY, &certificate.to_json())]);
    fs::write(place.path("model.onnx"), bytes).unwrap();
    for args in [&[][..], &["--allow-uncertified"]] {
        let errors = is_refused(&place, args);
        assert!(errors.contains("model.onnx"), "{errors}");
    }
}

#[test]
fn a_model_without_a_certificate_is_served_only_if_allowed() {
    let place = Workplace::without_model();
    fs::write(place.path("model.onnx"), model_with(|_| {})).unwrap();
    let errors = is_refused(&place, &[]);
    assert!(errors.contains("model.onnx") && errors.contains("--allow-uncertified"), "{errors}");
    Server::of(place, &["--allow-uncertified"]).is_well();
}

#[test]
fn files_that_are_no_models_are_refused() {
    let place = Workplace::without_model();
    let errors = is_refused(&place, &[]);
    assert!(errors.contains("model.onnx"), "{errors}");
    let certified = Model::default().certified();
    let half = &certified[..certified.len() / 2];
    std::os::unix::fs::symlink("/dev/zero", place.path("model.onnx")).unwrap();
    let errors = is_refused(&place, &[]);
    assert!(errors.contains("not a regular file"), "{errors}");
    fs::remove_file(place.path("model.onnx")).unwrap();
    for bytes in [&[][..], b"not a model", half] {
        fs::write(place.path("model.onnx"), bytes).unwrap();
        let errors = is_refused(&place, &[]);
        assert!(errors.contains("model.onnx"), "{errors}");
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let server = Server::start(&[]);
    let place = Workplace::without_model();
    fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    let errors = is_refused(&place, &["--listen", &server.address.to_string()]);
    assert!(errors.contains(&server.address.to_string()), "{errors}");
    server.is_well();
}

#[test]
fn what_was_accepted_is_answered_after_sigterm() {
    let mut server = Server::start(&["--queue", "64"]);
    let request = post("/v1/classify", "image/png", &image_of(1200, 1200, BLUE));
    // These have their heads, and so their permits, and half of their bodies.
    let mut slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(&request[..request.len() / 2]).unwrap();
            stream
        })
        .collect();
    let whole: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    // An answered request says that the server has read what came before it.
    server.is_well();
    thread::sleep(Duration::from_millis(200));
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    for stream in &mut slow {
        stream.write_all(&request[request.len() / 2..]).unwrap();
    }
    for stream in whole.into_iter().chain(slow) {
        let answer = Answer::read(stream).unwrap().expect("an answer");
        assert!(answer.status == 200 && answer.text().contains("blue"), "{answer:?}");
    }
    assert_eq!(server.wait().code(), Some(0), "{}", server.output());
    server.did_not_panic();
}

#[test]
fn connections_that_wait_to_be_accepted_at_sigterm_are_answered() {
    let mut server = Server::start(&["--queue", "256"]);
    let request = post("/v1/classify", "image/png", &png(BLUE));
    let sent: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    server.signal(Signal::TERM);
    for stream in sent {
        let answer = Answer::read(stream).unwrap().expect("an answer");
        assert!(answer.status == 200 && answer.text().contains("blue"), "{answer:?}");
    }
    assert_eq!(server.wait().code(), Some(0), "{}", server.output());
    server.did_not_panic();
}

/// Sends requests over connections that are used again, until the server stops; returns the number of answers.
///
/// A request is lost if the server was not told to stop when it was sent, and it has no answer.
fn busy(server: &Server, request: &[u8], stopping: &AtomicBool) -> usize {
    let mut answered = 0;
    'connections: loop {
        let Ok(mut stream) = TcpStream::connect(server.address) else { return answered };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            if stream.write_all(request).is_err() {
                continue 'connections;
            }
            let is_due = !stopping.load(Ordering::SeqCst);
            match Answer::read(&stream) {
                Ok(Some(answer)) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered += 1;
                    if answer.head.contains("connection: close") {
                        continue 'connections;
                    }
                }
                Ok(None) => assert!(!is_due, "a request was lost"),
                Err(error) => assert!(!is_due && error.kind() == ErrorKind::ConnectionReset, "{error}"),
            }
        }
    }
}

#[test]
fn sigterm_under_load_loses_nothing() {
    let mut server = Server::start(&["--queue", "64"]);
    let request = post("/v1/classify", "image/png", &image_of(300, 300, RED));
    let stopping = AtomicBool::new(false);
    let answered: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| busy(&server, &request, &stopping))).collect();
        thread::sleep(Duration::from_millis(700));
        stopping.store(true, Ordering::SeqCst);
        server.signal(Signal::TERM);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(answered > 0);
    assert_eq!(server.wait().code(), Some(0), "{}", server.output());
    server.did_not_panic();
}

#[test]
fn connections_that_say_nothing_do_not_delay_the_end() {
    let mut server = Server::start(&[]);
    let silent: Vec<_> = (0..10).map(|_| connect(server.address)).collect();
    server.is_well();
    let started = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.output());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop(silent);
}

#[test]
fn idle_and_slow_connections_do_not_keep_a_server_from_stopping() {
    let mut server = Server::start(&["--queue", "64", "--drain", "1"]);
    let request = post("/v1/classify", "image/png", &png(RED));
    let mut kept: Vec<_> = (0..20).map(|_| connect(server.address)).collect();
    for (index, stream) in kept.iter_mut().enumerate() {
        stream.write_all(&request[..[0, 10, request.len() - 1, request.len()][index % 4]]).unwrap();
    }
    server.is_well();
    let started = Instant::now();
    server.signal(Signal::TERM);
    server.wait();
    // A second to drain, and a loaded machine.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    server.did_not_panic();
}

#[test]
fn a_server_that_stops_is_not_ready_and_alive() {
    let mut server = Server::start(&["--queue", "64"]);
    let request = post("/v1/classify", "image/png", &png(RED));
    let mut slow = connect(server.address);
    slow.write_all(&request[..request.len() - 1]).unwrap();
    // A connection that is open already, since new ones may be refused.
    let mut kept = connect(server.address);
    server.is_well();
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    let _ = kept.write_all(b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n");
    if let Ok(Some(answer)) = Answer::read(kept) {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    slow.write_all(&request[request.len() - 1..]).unwrap();
    assert_eq!(Answer::read(slow).unwrap().expect("an answer").status, 200);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn sigint_stops_the_server_too() {
    let mut server = Server::start(&[]);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0), "{}", server.output());
}
