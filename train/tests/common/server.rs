//! A web server on this machine, for tests of downloads and of MLflow.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request to the server.
#[derive(Debug, Clone)]
#[allow(dead_code)] // not every test reads all of it
pub struct Request {
    /// Name and port of this server.
    pub host: String,
    /// Path of the URL.
    pub path: String,
    /// First byte of the range asked for.
    pub range: Option<u64>,
    /// Method, such as `POST`.
    pub method: String,
    /// Header `Authorization`.
    pub authorization: Option<String>,
    /// Content of the request.
    pub body: Vec<u8>,
}

/// An answer of the server.
pub struct Reply {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Number of body bytes after which the connection ends, or stalls.
    sent: usize,
    stalls: bool,
}

#[allow(dead_code)]
impl Reply {
    /// Answers with `content` from the byte `range` on.
    pub fn of(content: &[u8], range: Option<u64>) -> Self {
        let body = content[range.unwrap_or(0) as usize..].to_vec();
        let mut headers = vec![format!("Content-Length: {}", body.len())];
        if let Some(start) = range {
            let length = content.len();
            headers.push(format!("Content-Range: bytes {start}-{}/{length}", length - 1));
        }
        Self {
            status: if range.is_some() { 206 } else { 200 },
            headers,
            sent: body.len(),
            body,
            stalls: false,
        }
    }

    /// Answers without content.
    pub fn status(status: u16) -> Self {
        Self { status, headers: vec!["Content-Length: 0".into()], body: Vec::new(), sent: 0, stalls: false }
    }

    /// Answers with an error and its description.
    pub fn error(status: u16, content: &str) -> Self {
        Self { status, ..Self::of(content.as_bytes(), None) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }

    /// Ends the connection after this many bytes of the body.
    pub fn cut(mut self, sent: usize) -> Self {
        self.sent = sent.min(self.body.len());
        self
    }

    /// Announces a body of `length` bytes, and stalls after its end.
    pub fn stalled(self, length: u64) -> Self {
        let reply = self.without_length().header("Content-Length", &length.to_string());
        Self { stalls: true, ..reply }
    }

    /// Ends the body where the connection ends.
    pub fn without_length(mut self) -> Self {
        self.headers.retain(|header| !header.starts_with("Content-Length"));
        self
    }

    fn send(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let headers = self.headers.join("\r\n");
        write!(stream, "HTTP/1.1 {} Test\r\nConnection: close\r\n{headers}\r\n\r\n", self.status)?;
        stream.write_all(&self.body[..self.sent])?;
        if self.stalls {
            // Until the client goes.
            let _ = stream.read(&mut [0]);
        }
        Ok(())
    }
}

/// Server that answers until the test ends.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[allow(dead_code)]
impl Server {
    /// Starts a server; `answer` gets each request and the number of those before it.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&server.requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let count = requests.lock().unwrap().len();
                requests.lock().unwrap().push(request.clone());
                // A client that has heard enough goes.
                let _ = answer(&request, count).send(&stream);
            }
        });
        server
    }

    /// Serves `content` under every path.
    pub fn serving(content: Vec<u8>) -> Self {
        Self::start(move |request, _| Reply::of(&content, request.range))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ranges asked for, in order.
    pub fn ranges(&self) -> Vec<Option<u64>> {
        self.requests.lock().unwrap().iter().map(|request| request.range).collect()
    }

    /// All requests, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Paths asked for, in order.
    pub fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|request| request.path.clone()).collect()
    }
}

/// URL of this machine where nobody listens.
#[allow(dead_code)]
pub fn closed_url() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}/")
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(ToOwned::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        match line()? {
            end if end.is_empty() => break,
            header => headers.push(header),
        }
    }
    let find = |name: &str| {
        let mut fields = headers.iter().filter_map(|header| header.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let range = find("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    let length = find("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { host: find("host")?, path, range, method, authorization: find("authorization"), body })
}
