//! Bodies of objects that go on where they broke off.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc::{Receiver, channel};

use super::failure::{Failure, code_in};
use super::object::{Answer, Object};
use super::retry::Attempts;
use super::runtime;
use crate::error::Result;
use crate::places::{PlaceError, Url};

/// Bytes after which failures before count no longer: a large object may break off many times.
const PROGRESS: u64 = 1 << 20;

/// Parts of a body that wait for their reader, of some tens of kilobytes each.
const AHEAD: usize = 32;

/// Reading of an object from its beginning to its end, asked for again where it breaks off.
///
/// The version of the first answer has to be that of all others.
pub(super) struct Reading {
    object: Object,
    answer: Option<Answer>,
    version: Option<String>,
    /// Bytes that were handed out.
    position: u64,
    /// Bytes handed out since the last failure.
    since: u64,
    attempts: Attempts,
}

impl Reading {
    pub fn new(object: Object) -> Self {
        Self { object, answer: None, version: None, position: 0, since: 0, attempts: Attempts::default() }
    }

    /// Size of the object, as far as the answer tells.
    pub fn size(&self) -> Option<u64> {
        self.answer.as_ref()?.meta.size
    }

    /// Waits for the next part; none at the end.
    ///
    /// # Errors
    /// Failures that do not pass, [`PlaceError::GaveUp`] and [`PlaceError::Changed`].
    pub async fn next(&mut self) -> std::result::Result<Option<Bytes>, PlaceError> {
        loop {
            match self.try_next().await {
                Ok(part) => return Ok(part),
                Err(failure) => {
                    self.answer = None;
                    if std::mem::take(&mut self.since) >= PROGRESS {
                        self.attempts.reset();
                    }
                    self.attempts.again(failure).await?;
                }
            }
        }
    }

    async fn try_next(&mut self) -> std::result::Result<Option<Bytes>, Failure> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => {
                let answer = self.object.get(self.position, self.version.as_deref()).await?;
                if self.position == 0 {
                    self.version.clone_from(&answer.meta.version);
                } else if answer.meta.version != self.version {
                    return Err(PlaceError::Changed.into());
                }
                self.answer.insert(answer)
            }
        };
        while let Some(part) = answer.body.next().await {
            let mut part = part?;
            let extra = answer.extra.min(part.len() as u64);
            part.advance(extra as usize);
            answer.extra -= extra;
            if part.is_empty() {
                continue;
            }
            if self.position == 0 {
                check_document(&part)?;
            }
            self.position += part.len() as u64;
            self.since += part.len() as u64;
            return Ok(Some(part));
        }
        match answer.meta.size {
            Some(size) if self.position < size => {
                Err(Failure::Broken(format!("the answer ended after {} of {size} bytes", self.position)))
            }
            _ => Ok(None),
        }
    }
}

/// Refuses the document of an error in an answer that claims to be good.
fn check_document(part: &[u8]) -> std::result::Result<(), Failure> {
    let text = String::from_utf8_lossy(&part[..part.len().min(1024)]);
    let begins = ["<?xml", "<Error"].iter().any(|begin| text.trim_start().starts_with(begin));
    match code_in(&text).filter(|_| begins && text.contains("<Error")) {
        Some(code) => Err(Failure::Busy(format!("an error in a good answer, {code}"))),
        None => Ok(()),
    }
}

/// Content of an object as a reader, with a few parts read ahead.
pub(in crate::places) struct Body {
    parts: Receiver<std::result::Result<Bytes, PlaceError>>,
    part: Bytes,
}

impl Body {
    /// Opens an object and waits for its first bytes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(url: &Url) -> Result<Self> {
        let mut reading = Reading::new(Object::open(url)?);
        let (sender, parts) = channel(AHEAD);
        runtime::spawn(async move {
            loop {
                let part = reading.next().await.transpose();
                let Some(part) = part else { return };
                let is_last = part.is_err();
                if sender.send(part).await.is_err() || is_last {
                    return;
                }
            }
        })?;
        let mut body = Self { parts, part: Bytes::new() };
        body.fill()?;
        Ok(body)
    }

    /// Waits for the next part where there is none.
    fn fill(&mut self) -> Result<()> {
        if self.part.is_empty()
            && let Some(part) = self.parts.blocking_recv()
        {
            self.part = part?;
        }
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill().map_err(io::Error::other)?;
        let length = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
