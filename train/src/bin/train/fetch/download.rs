//! Download of one file over HTTP, with known size and digest.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::digest;
use super::retry::{Failure, PAUSES, persist};

/// Time after which a silent server is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// A file on a server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// URL of the file.
    pub url: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

/// Client that downloads and retries passing failures.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    pauses: Vec<Duration>,
}

impl Client {
    /// Makes a client that uses the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`, ...).
    pub fn new() -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(SILENCE / 2))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            // Ranges count the bytes of the file itself.
            .accept_encoding("identity")
            .build();
        Self { agent: config.into(), pauses: PAUSES.into() }
    }

    /// Makes a client for a server of this machine, with short pauses.
    #[cfg(test)]
    pub fn local(attempts: usize) -> Self {
        let agent = Agent::config_builder().proxy(None).accept_encoding("identity").build().into();
        Self { agent, pauses: vec![Duration::from_millis(1); attempts - 1] }
    }

    /// Downloads `remote` to `to`, which appears once size and digest are right. Until then the content is in `to`
    /// with `.part` appended, where a later call continues.
    pub fn download(&self, remote: &Remote, to: &Path, bar: &ProgressBar) -> Result<()> {
        let part = part_of(to);
        persist(&self.pauses, bar, || self.attempt(remote, &part, bar))?;
        let found = digest::of_file(&part).with_context(|| format!("cannot read {}", part.display()))?;
        if found != remote.sha256 {
            let _ = fs::remove_file(&part);
            bail!(
                "its content is not the expected one, and was removed: sha256 {found}, not {}",
                remote.sha256
            );
        }
        fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
    }

    fn attempt(&self, remote: &Remote, part: &Path, bar: &ProgressBar) -> Result<(), Failure> {
        let disk = |error: io::Error| Failure::Final(format!("cannot write {}: {error}", part.display()));
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(part).map_err(disk)?;
        let present = file.metadata().map_err(disk)?.len();
        if present == remote.bytes {
            return Ok(());
        }
        let (response, start) = self.request(remote, present)?;
        file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start))).map_err(disk)?;
        bar.set_length(remote.bytes);
        bar.set_position(start);
        // One byte more than expected is enough to know.
        let body = response.into_body().into_reader().take(remote.bytes - start + 1);
        let end = start + copy(body, &mut file, bar, disk)?;
        if end > remote.bytes {
            file.set_len(0).map_err(disk)?;
            return Err(Failure::Final(format!("it has more than {} bytes: another file", remote.bytes)));
        }
        if end < remote.bytes {
            return Err(Failure::Passing(format!("only {end} of {} bytes came", remote.bytes)));
        }
        file.sync_all().map_err(disk)
    }

    /// Sends the request; returns the response and the place in the file where its body begins: after the `present`
    /// bytes if the server can.
    fn request(&self, remote: &Remote, present: u64) -> Result<(Response<Body>, u64), Failure> {
        if (1..remote.bytes).contains(&present) {
            let range = format!("bytes={present}-");
            match self.agent.get(&remote.url).header(header::RANGE, &range).call() {
                Ok(response) if continues(&response, remote, present) => return Ok((response, present)),
                Ok(_) | Err(ureq::Error::StatusCode(416)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let response = self.agent.get(&remote.url).call()?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Final(format!("the server answers {}", response.status())));
        }
        match response.body().content_length() {
            Some(length) if length != remote.bytes => {
                Err(Failure::Final(format!("it has {length} bytes, not {}: another file", remote.bytes)))
            }
            _ => Ok((response, 0)),
        }
    }
}

/// True if a response is the rest of the file from `start`.
fn continues(response: &Response<Body>, remote: &Remote, start: u64) -> bool {
    let expected = format!("bytes {start}-{}/{}", remote.bytes - 1, remote.bytes);
    let range = response.headers().get(header::CONTENT_RANGE);
    response.status() == StatusCode::PARTIAL_CONTENT && range.is_some_and(|range| *range == *expected)
}

/// Copies the body and counts its bytes. Received bytes are in the file, even after an error.
fn copy(
    mut body: impl Read,
    file: &mut File,
    bar: &ProgressBar,
    disk: impl Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        let read = body.read(&mut buffer).map_err(|error| Failure::Passing(error.to_string()))?;
        if read == 0 {
            return Ok(copied);
        }
        file.write_all(&buffer[..read]).map_err(&disk)?;
        copied += read as u64;
        bar.inc(read as u64);
    }
}

/// Path of the partial content of `path`.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
