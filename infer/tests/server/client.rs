//! HTTP client of the tests: sends any bytes, well-formed or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for an answer or the end of a connection; a server that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer; none if the connection ended before its first byte.
    ///
    /// # Errors
    /// When the connection fails, takes too long, or ends in the middle of the answer.
    pub fn read(stream: impl Read) -> io::Result<Option<Self>> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_line(&mut head)? {
                0 if head.is_empty() => return Ok(None),
                0 => return Err(io::Error::other(format!("truncated answer: {head}"))),
                _ => {}
            }
            if head == "HTTP/1.1 100 Continue\r\n\r\n" {
                head.clear();
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Some(Self { status, head, body }))
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Connects, with a limit for each read and write.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Writes a request with a body of this type.
pub fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends a request on a connection of its own; none if the server closed it without an answer.
pub fn ask(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    // The server may answer and close before it has read all of it.
    let _ = stream.write_all(request);
    answered_or_closed(Answer::read(stream), request)
}

/// As [`ask`], and ends the sending direction, so that the server sees that no more will come.
pub fn ask_and_end(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    answered_or_closed(Answer::read(stream), request)
}

/// Takes a reset as an end without an answer; anything else has to be an answer.
#[track_caller]
fn answered_or_closed(answer: io::Result<Option<Answer>>, request: &[u8]) -> Option<Answer> {
    match answer {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&request[..request.len().min(200)])),
    }
}
