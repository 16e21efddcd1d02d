//! API keys.

use std::fs;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Error;

/// Keys with which clients show that they may use the server, as digests.
#[derive(Debug)]
pub(crate) struct ApiKeys(Vec<[u8; 32]>);

/// Reason why API keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The file has no key.
    #[error("{}: no API key in this file: write one a line", crate::escape::path(.0))]
    Empty(PathBuf),
}

impl ApiKeys {
    /// Reads keys, one a line. A comment begins with `#`, at the start of a line or after a space; a key may hold one.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ApiKeyError> {
        let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let keys: Vec<_> = text.lines().map(key).filter(|key| !key.is_empty()).map(digest).collect();
        match keys.is_empty() {
            true => Err(ApiKeyError::Empty(path.into())),
            false => Ok(Self(keys)),
        }
    }

    /// Tells whether headers carry a key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    ///
    /// Digests are compared, all of them in constant time, so that the time tells nothing about the keys.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let plain = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        let given = digest(bearer.or(plain).unwrap_or_default());
        let found = self.0.iter().fold(subtle::Choice::from(0), |found, key| found | key.ct_eq(&given));
        found.into()
    }
}

/// Key of a line, without its comment; empty if there is none.
fn key(line: &str) -> &str {
    let is_comment =
        |&(at, _): &(usize, &str)| line[..at].chars().next_back().is_none_or(char::is_whitespace);
    let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(at, _)| at);
    line[..end].trim()
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# ours\nalpha # of Ann\n\n  beta \nga#mma\t#\nopen sesame  # two words\n").unwrap();
        let keys = ApiKeys::from_file(&path).unwrap();
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            keys.admit(&headers)
        };
        assert!(with("authorization", "Bearer alpha") && with("authorization", "bearer beta"));
        assert!(with("x-api-key", "beta") && with("x-api-key", "ga#mma"));
        assert!(with("x-api-key", "open sesame"));
        assert!(!keys.admit(&HeaderMap::new()));
        for wrong in ["", "alph", "alphaa", "# ours", "Bearer alpha", "alpha # of Ann", "#", "ga"] {
            assert!(!with("x-api-key", wrong), "{wrong}");
        }
        assert!(!with("authorization", "Basic alpha") && !with("authorization", "alpha"));
        fs::write(&path, "# none\n").unwrap();
        assert!(matches!(ApiKeys::from_file(&path), Err(ApiKeyError::Empty(_))));
    }
}
