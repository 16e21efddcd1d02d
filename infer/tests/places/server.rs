//! Server for tests: files by HTTP with ranges, and as much of S3 as the client asks for. It can fail in many ways.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Failure of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers with a status and the code of a store.
    Status(u16, &'static str),
    /// Sends an error with the status 200.
    InGoodAnswer,
    /// Closes the connection after so many bytes of the body.
    Break(usize),
    /// Closes the connection without an answer.
    Hang,
    /// Replaces the content before it answers.
    Change,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Failures of the next requests for a path that contains a text.
    faults: Vec<(&'static str, Fault)>,
    requests: Vec<String>,
    ignores_ranges: bool,
    latency: Duration,
    /// Requests that wait now, and the most that ever did.
    waiting: [usize; 2],
}

/// Running server; it ends with the process.
#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { state: Arc::default(), port };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                // A client that goes away ends its connection.
                thread::spawn(move || server.serve(&stream).ok());
            }
        });
        server
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().objects.insert(path.into(), content.into());
    }

    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub fn unfinished_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    /// Lets the next requests for paths that contain `path` fail, one for each fault.
    pub fn fail(&self, path: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults.into_iter().map(|fault| (path, fault)));
    }

    pub fn ignore_ranges(&self) {
        self.state.lock().unwrap().ignores_ranges = true;
    }

    pub fn delay(&self, latency: Duration) {
        self.state.lock().unwrap().latency = latency;
    }

    /// Largest number of requests that waited at once.
    pub fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().waiting[1]
    }

    /// Requests so far, as `GET /path?query range`; they are forgotten.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            let (latency, fault) = {
                let mut state = self.state.lock().unwrap();
                let range = request.headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
                state.requests.push(format!("{} {}?{}{range}", request.method, request.path, request.query));
                let now = state.waiting[0] + 1;
                state.waiting = [now, state.waiting[1].max(now)];
                let position = state.faults.iter().position(|(path, _)| request.path.contains(path));
                (state.latency, position.map(|position| state.faults.remove(position).1))
            };
            thread::sleep(latency);
            self.state.lock().unwrap().waiting[0] -= 1;
            match fault {
                Some(Fault::Hang) => return Ok(()),
                Some(Fault::Status(status, code)) => {
                    send(stream, &request, status, &[], error(code).as_bytes(), None)?;
                }
                Some(Fault::InGoodAnswer) => {
                    send(stream, &request, 200, &[], error("SlowDown").as_bytes(), None)?;
                }
                Some(Fault::Change) => {
                    let mut state = self.state.lock().unwrap();
                    state.objects.entry(request.path.clone()).and_modify(|content| content.push(0));
                    drop(state);
                    self.answer(stream, &request, None)?;
                }
                Some(Fault::Break(length)) => return self.answer(stream, &request, Some(length)),
                None => self.answer(stream, &request, None)?,
            }
        }
        Ok(())
    }

    fn answer(&self, stream: &TcpStream, request: &Request, length: Option<usize>) -> std::io::Result<()> {
        let query = |name: &str| {
            let mut pairs = request.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
        };
        let mut state = self.state.lock().unwrap();
        let (status, headers, body): (u16, Vec<String>, Vec<u8>) = match &*request.method {
            "GET" if query("list-type").is_some() => (200, vec![], list(&state.objects, request, &query)),
            "GET" | "HEAD" => content(&state, request),
            "PUT" if query("uploadId").is_some() => {
                let (id, part) = (query("uploadId").unwrap(), query("partNumber").unwrap().parse().unwrap());
                state.uploads.entry(id).or_default().insert(part, request.body.clone());
                (200, vec![format!("ETag: \"part{part}\"")], vec![])
            }
            "PUT" => {
                state.objects.insert(request.path.clone(), request.body.clone());
                (200, vec!["ETag: \"new\"".into()], vec![])
            }
            "POST" if request.query.starts_with("delete") => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let keys = keys_of(&text);
                let paths: Vec<_> =
                    keys.map(|key| format!("{}/{key}", request.path.trim_end_matches('/'))).collect();
                paths.iter().for_each(|path| drop(state.objects.remove(path)));
                let deleted = keys_of(&text).map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
                let xml = format!("<DeleteResult>{}</DeleteResult>", deleted.collect::<String>());
                (200, vec![], xml.into_bytes())
            }
            "POST" if request.query.starts_with("uploads") => {
                let id = format!("upload{}", state.uploads.len());
                state.uploads.insert(id.clone(), BTreeMap::new());
                let xml = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, vec![], xml.into_bytes())
            }
            "POST" => {
                let parts = state.uploads.remove(&query("uploadId").unwrap()).unwrap();
                state.objects.insert(request.path.clone(), parts.into_values().flatten().collect());
                let xml =
                    "<CompleteMultipartUploadResult><ETag>\"all\"</ETag></CompleteMultipartUploadResult>";
                (200, vec![], xml.into())
            }
            "DELETE" => {
                query("uploadId").map(|id| state.uploads.remove(&id));
                state.objects.remove(&request.path);
                (204, vec![], vec![])
            }
            _ => (405, vec![], vec![]),
        };
        drop(state);
        send(stream, request, status, &headers, &body, length)
    }
}

/// Object as a whole or in part.
fn content(state: &State, request: &Request) -> (u16, Vec<String>, Vec<u8>) {
    let Some(content) = state.objects.get(&request.path) else {
        return (404, vec![], error("NoSuchKey").into_bytes());
    };
    let tag = format!("\"{}-{}\"", content.len(), content.first().copied().unwrap_or_default());
    if request.headers.get("if-match").is_some_and(|expected| *expected != tag) {
        return (412, vec![], error("PreconditionFailed").into_bytes());
    }
    let headers = vec![format!("ETag: {tag}"), "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT".into()];
    let range = request.headers.get("range").filter(|_| !state.ignores_ranges);
    let Some((start, end)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return (200, headers, content.clone());
    };
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(content.len(), |end: usize| (end + 1).min(content.len()));
    let mut headers = headers;
    headers.push(format!("Content-Range: bytes {start}-{}/{}", end - 1, content.len()));
    (206, headers, content[start..end].to_vec())
}

/// Page of at most three keys.
fn list(
    objects: &BTreeMap<String, Vec<u8>>,
    request: &Request,
    query: &dyn Fn(&str) -> Option<String>,
) -> Vec<u8> {
    let bucket = format!("{}/", request.path.trim_end_matches('/'));
    let prefix = query("prefix").unwrap_or_default();
    let after = query("continuation-token").or_else(|| query("start-after")).unwrap_or_default();
    let keys = objects.iter().filter_map(|(path, content)| Some((path.strip_prefix(&bucket)?, content)));
    let mut keys = keys.filter(|(key, _)| key.starts_with(&prefix) && **key > *after);
    let mut xml = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    let mut last = "";
    for (key, content) in keys.by_ref().take(3) {
        last = key;
        let size = content.len();
        xml += &format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"{size}\"</ETag>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        );
    }
    if keys.next().is_some() {
        xml +=
            &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>");
    }
    (xml + "</ListBucketResult>").into_bytes()
}

fn keys_of(xml: &str) -> impl Iterator<Item = &str> {
    xml.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next())
}

fn error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (decoded(path), query.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, query, headers, body }))
}

fn send(
    mut stream: &TcpStream,
    request: &Request,
    status: u16,
    headers: &[String],
    body: &[u8],
    length: Option<usize>,
) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&body[..length.unwrap_or(body.len()).min(body.len())])?;
    }
    Ok(())
}
