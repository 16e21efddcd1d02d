//! Server process of a test.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{self, Answer, PATIENCE};
use crate::support::{Model, RED, Workplace};

/// `infer serve` on a free port of this machine; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub place: Workplace,
    output: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server with a certified model called `model`.
    pub fn start(args: &[&str]) -> Self {
        let place = Workplace::without_model();
        std::fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
        Self::of(place, args)
    }

    /// Starts a server in `place`, and waits until it says where it listens, which it does when it is ready.
    pub fn of(place: Workplace, args: &[&str]) -> Self {
        let output = Arc::default();
        let mut child = command(&place, args).spawn().unwrap();
        collect(child.stdout.take().unwrap(), &output);
        collect(child.stderr.take().unwrap(), &output);
        let started = Instant::now();
        let address = loop {
            if let Some(address) = address_in(&output.lock().unwrap()) {
                break address;
            }
            let ended = child.try_wait().unwrap();
            let text = output.lock().unwrap().clone();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "no address ({ended:?}): {text}");
            thread::sleep(Duration::from_millis(10));
        };
        Self { child, address, place, output }
    }

    /// Sends a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        client::ask(self.address, request.as_bytes()).unwrap_or_else(|| panic!("no answer to GET {path}"))
    }

    /// Sends a body to `path`; none if the server closed the connection.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Option<Answer> {
        client::ask(self.address, &client::post(path, content_type, body))
    }

    /// Classifies a red image.
    pub fn classify(&self) -> Option<Answer> {
        self.post("/v1/classify", "image/png", &png(RED))
    }

    /// Checks that an image is classified as always, that nothing panicked, and that no permit is missing.
    #[track_caller]
    pub fn is_well(&self) {
        let answer = self.classify().expect("an answer");
        assert!(answer.status == 200 && answer.text().contains("red"), "{answer:?} {}", self.output());
        self.did_not_panic();
    }

    #[track_caller]
    pub fn did_not_panic(&self) {
        let output = self.output();
        for word in ["panicked", "internal error", "RUST_BACKTRACE"] {
            assert!(!output.contains(word), "{output}");
        }
    }

    /// Waits for something that takes a while.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "not {what}: {}", self.output());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that the server has written.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Resident memory, in MiB; 0 where that cannot be read.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "does not end: {}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Command `infer serve model.onnx`, on a free port unless `args` say otherwise, with its output in pipes.
pub fn command(place: &Workplace, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
    command
        .current_dir(place.path("."))
        .env("ORT_DYLIB_PATH", crate::support::runtime())
        .env_remove("INFER_MODEL");
    command.args(["serve", "model.onnx"]).args(args);
    if !args.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Appends what a pipe gives to `output`, on a thread.
fn collect(pipe: impl Read + Send + 'static, output: &Arc<Mutex<String>>) {
    let output = output.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// Address that the server says it listens at.
fn address_in(output: &str) -> Option<SocketAddr> {
    let at = output.split("127.0.0.1:").nth(1)?;
    let port: String = at.chars().take_while(char::is_ascii_digit).collect();
    // The line is complete only if something follows.
    (at.len() > port.len()).then(|| format!("127.0.0.1:{port}").parse().ok())?
}

/// Small PNG of one colour.
pub fn png(color: [u8; 3]) -> Vec<u8> {
    image_of(20, 24, color)
}

/// PNG of one colour and this size.
pub fn image_of(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(width, height, Rgb(color)).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}
