//! TLS: right clients are answered, and wrong ones stop nobody.
//!
//! `tls/certificate.pem` and `tls/key.pem` were made for these tests, for a hundred years:
//! `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost
//! -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE`

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Answer, ask_and_end, connect, post};
use crate::server::{Server, command, png};
use crate::support::{Model, RED, Workplace};

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls").join(name).to_str().unwrap().to_owned()
}

fn server() -> Server {
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    Server::start(&["--queue", "2", "--tls-cert", &certificate, "--tls-key", &key])
}

/// Client that trusts the certificate of the tests, and offers these protocols.
fn client(server: &Server, protocols: &[&[u8]]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("certificate.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(server.address))
}

#[track_caller]
fn is_well(server: &Server) {
    let mut stream = client(server, &[]);
    stream.write_all(&post("/v1/classify", "image/png", &png(RED))).unwrap();
    let answer = Answer::read(stream).unwrap().expect("an answer");
    assert!(answer.status == 200 && answer.text().contains("red"), "{answer:?}");
    server.did_not_panic();
}

#[test]
fn both_versions_of_http_are_chosen_by_the_client() {
    let server = server();
    is_well(&server);
    for (offered, chosen) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], b"h2".as_slice()), (&[b"http/1.1"], b"http/1.1")]
    {
        let mut stream = client(&server, offered);
        stream.flush().unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(chosen));
    }
}

#[test]
fn clients_without_tls_stop_nobody() {
    let server = server();
    let request = post("/v1/classify", "image/png", &png(RED));
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let wrong: [&[u8]; 9] = [
        &request,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n",
        &[0; 100_000],
        &[0xff; 100_000],
        hello,
        &[hello.as_slice(), &[0xff; 600]].concat(),
        // Of SSL 2.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        // A record of the largest length, of which nothing comes.
        b"\x16\x03\x03\xff\xff",
    ];
    for bytes in wrong {
        let mut stream = connect(server.address);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.is_ok() || ended.is_err_and(|error| reset(&error)), "the connection does not end");
        assert!(!String::from_utf8_lossy(&said).contains("predictions"), "answered without TLS");
    }
    is_well(&server);
}

#[test]
fn handshakes_that_do_not_go_on_stop_nobody() {
    let server = server();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let silent: Vec<_> = (0..200)
        .map(|index| {
            let mut stream = connect(server.address);
            stream.write_all(&hello[..index % hello.len()]).unwrap();
            stream
        })
        .collect();
    is_well(&server);
    drop(silent);
    // In the middle of a request.
    for _ in 0..20 {
        let mut stream = client(&server, &[]);
        stream.write_all(&post("/v1/classify", "image/png", &png(RED))[..150]).unwrap();
        stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
    }
    is_well(&server);
}

#[test]
fn keys_and_certificates_that_do_not_fit_are_refused() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    std::fs::write(place.path("empty.pem"), "").unwrap();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let wrong = [
        vec!["--tls-cert", &certificate, "--tls-key", "empty.pem"],
        vec!["--tls-cert", "empty.pem", "--tls-key", &key],
        vec!["--tls-cert", &key, "--tls-key", &certificate],
        vec!["--tls-cert", "missing.pem", "--tls-key", &key],
        vec!["--tls-cert", &certificate],
        vec!["--tls-key", &key],
    ];
    for args in wrong {
        let output = command(&place, &args).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains("error: ") && !errors.contains("panicked"), "{args:?}: {errors}");
    }
}

#[test]
fn a_client_with_tls_on_a_port_without_is_refused() {
    let server = Server::start(&["--queue", "2"]);
    let mut hello = Vec::new();
    client(&server, &[]).conn.write_tls(&mut hello).unwrap();
    if let Some(answer) = ask_and_end(server.address, &hello) {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    server.is_well();
}
