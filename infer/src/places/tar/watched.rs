//! Reader that knows how an archive ended.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;

use crate::error::{Error, chain};
use crate::places::{PlaceError, UnitKind};

/// Largest size of what lies between two members: headers with long names, and zeros.
const MAX_HEADERS: u64 = 16 << 20;

/// Zeros at the end of a complete archive, in bytes.
const END_MARK: u64 = 1024;

/// Reader of an archive that shares its [`State`].
pub(super) struct Watched<R> {
    reader: R,
    state: Rc<State>,
}

/// State of a reader.
#[derive(Default)]
pub(super) struct State {
    /// Zeros that were read last.
    zeros: Cell<u64>,
    /// Bytes that may be read.
    allowed: Cell<u64>,
    /// Failure of the file or object itself.
    failed: RefCell<Option<io::Error>>,
}

impl<R> Watched<R> {
    pub fn new(reader: R) -> (Self, Rc<State>) {
        let state = Rc::new(State::default());
        (Self { reader, state: state.clone() }, state)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let State { zeros, allowed, failed } = &*self.state;
        if allowed.get() == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a header is too long"));
        }
        let length = buffer.len().min(usize::try_from(allowed.get()).unwrap_or(usize::MAX));
        let read = match self.reader.read(&mut buffer[..length]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let kind = error.kind();
                failed.replace(Some(error));
                return Err(kind.into());
            }
        };
        allowed.set(allowed.get() - read as u64);
        let last = buffer[..read].iter().rev().take_while(|&&byte| byte == 0).count();
        zeros.set(if last == read { zeros.get() + last as u64 } else { last as u64 });
        Ok(read)
    }
}

impl State {
    /// Allows as many bytes as headers have: a header that claims a longer name is not read into memory.
    ///
    /// `unread` bytes of the member before are passed over first.
    pub fn expect_header(&self, unread: u64) {
        self.allowed.set(unread.saturating_add(MAX_HEADERS));
    }

    /// Allows as many bytes as a member has.
    pub fn expect_data(&self) {
        self.allowed.set(u64::MAX);
    }

    /// Tells whether the archive ended with the zeros that a complete one ends with.
    pub fn has_end_mark(&self) -> bool {
        self.zeros.get() >= END_MARK
    }

    /// Error of a shard, by what its file or store said, or else by what the archive's reader said.
    pub fn failure(&self, error: io::Error, kind: UnitKind, images: u64) -> Error {
        let (error, is_cut_off) = match self.failed.take() {
            Some(failed) => {
                let is_damaged =
                    matches!(failed.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
                (failed, !is_damaged)
            }
            // The archive's reader has no kind of its own for a header that ends early.
            None => {
                let is_short = ["entire block", "EOF"].iter().any(|text| error.to_string().contains(text));
                let is_cut_off = is_short || error.kind() == io::ErrorKind::UnexpectedEof;
                (error, is_cut_off)
            }
        };
        let reason = chain(&error);
        match is_cut_off {
            true => PlaceError::CutOff { kind, images, reason }.into(),
            false => PlaceError::Damaged { kind, images, reason }.into(),
        }
    }
}
