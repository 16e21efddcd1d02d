//! Clients that are slow, idle, or gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{Answer, connect, post};
use crate::malformed::GROWTH;
use crate::server::{Server, image_of, png};
use crate::support::RED;

#[test]
fn idle_connections_stop_nobody() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let files = limit.maximum.map_or(20_000, |most| most.min(20_000)) as usize;
    // Other tests of this process need files too.
    let count = 10_000.min(files - files / 4);
    // The server gets the raised limit.
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        // The server may have had enough of them.
        let Ok(stream) = TcpStream::connect(server.address) else { break };
        idle.push(stream);
    }
    server.is_well();
    // A byte makes each more than a connection that was never used.
    for stream in &mut idle {
        let _ = stream.write_all(b"P");
    }
    server.is_well();
    let after = server.resident();
    assert!(after < before + 3 * GROWTH, "{before} -> {after} MiB with {} connections", idle.len());
    drop(idle);
    server.is_well();
}

#[test]
fn slow_requests_stop_nobody() {
    let server = Server::start(&["--queue", "64"]);
    let whole = post("/v1/classify", "image/png", &png(RED));
    let start = |length: usize| {
        let mut stream = connect(server.address);
        stream.write_all(&whole[..length]).unwrap();
        stream
    };
    let mut slow: Vec<_> =
        (0..100).map(|_| start(20)).chain((0..32).map(|_| start(whole.len() - 5))).collect();
    for byte in 0..4 {
        for stream in &mut slow[100..] {
            let at = whole.len() - 5 + byte;
            stream.write_all(&whole[at..=at]).unwrap();
        }
        server.is_well();
    }
    for mut stream in slow.drain(100..) {
        stream.write_all(&whole[whole.len() - 1..]).unwrap();
        let answer = Answer::read(stream).unwrap().expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    server.is_well();
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let server = Server::start(&["--queue", "4"]);
    let before = server.resident();
    let request = post("/v1/classify", "image/png", &image_of(600, 600, RED));
    for round in 0..200 {
        let mut stream = connect(server.address);
        // In the head, in the body, or while the answer is computed.
        let length = [30, request.len() / 2, request.len()][round % 3];
        let _ = stream.write_all(&request[..length]);
    }
    server.wait_until("free of permits", || server.classify().is_some_and(|answer| answer.status == 200));
    for _ in 0..4 {
        server.is_well();
    }
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn half_closed_connections_end() {
    let server = Server::start(&["--queue", "4"]);
    let request = post("/v1/classify", "image/png", &image_of(600, 600, RED));
    for _ in 0..20 {
        let mut stream = connect(server.address);
        stream.write_all(&request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = Answer::read(stream).unwrap();
        assert!(answer.is_none_or(|answer| answer.status == 200 || answer.status == 429));
    }
    server.wait_until("free of permits", || server.classify().is_some_and(|answer| answer.status == 200));
}

#[test]
fn answers_that_nobody_reads_hold_nothing() {
    let server = Server::start(&["--queue", "4"]);
    let before = server.resident();
    // More answers than a socket's buffers hold, to a client that never reads.
    let pipelined = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20_000);
    let mut deaf: Vec<_> = (0..8).map(|_| connect(server.address)).collect();
    for stream in &mut deaf {
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(pipelined.as_bytes());
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let server = Server::start(&["--queue", "64"]);
    let request = post("/v1/classify", "image/png", &png(RED));
    let mut stream = connect(server.address);
    stream.write_all(&request.repeat(10)).unwrap();
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 11, "{text}");
    server.is_well();
}

#[test]
fn beyond_the_queue_requests_are_told_to_come_again() {
    let server = Server::start(&["--queue", "4"]);
    let request = post("/v1/classify", "image/png", &image_of(1500, 1500, RED));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let clients: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(server.address);
                    let _ = stream.write_all(&request);
                    Answer::read(stream).unwrap().expect("an answer")
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(200) + of(429), 32, "{answers:?}");
    assert!(of(200) >= 4 && of(429) > 0, "{} and {}", of(200), of(429));
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert!(answer.head.contains("retry-after: "), "{answer:?}");
        assert!(answer.text().contains("\"error\""), "{answer:?}");
    }
    server.is_well();
}

#[test]
fn a_client_that_sends_everything_first_reads_why_it_is_refused() {
    let server = Server::start(&["--queue", "1"]);
    let mut first = connect(server.address);
    let request = post("/v1/classify", "image/png", &png(RED));
    first.write_all(&request[..request.len() - 1]).unwrap();
    for (path, status) in [("/v1/classify", 429), ("/v2/models/model/infer", 429), ("/nowhere", 404)] {
        server.wait_until("full", || server.get("/metrics").text().contains("infer_queue_length 1\n"));
        let mut stream = connect(server.address);
        stream.write_all(&post(path, "image/png", &vec![0; 25_000_000])).unwrap();
        let answer = Answer::read(&stream).unwrap().expect("an answer");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        // The connection can be used again.
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&stream).unwrap().expect("an answer").status, 200);
    }
    first.write_all(&request[request.len() - 1..]).unwrap();
    assert_eq!(Answer::read(first).unwrap().expect("an answer").status, 200);
}
