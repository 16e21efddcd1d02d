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
    /// A line has more than a key and a comment.
    #[error("{}: line {line}: a key has no spaces; a comment begins with ` #`", crate::escape::path(.path))]
    Spaces {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
}

impl ApiKeys {
    /// Reads keys, one a line. A comment begins with `#`, at the start of a line or after a space; a key may hold one.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ApiKeyError> {
        let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let Some(key) = words.next().filter(|word| !word.starts_with('#')) else { continue };
            if words.next().is_some_and(|word| !word.starts_with('#')) {
                return Err(ApiKeyError::Spaces { path: path.into(), line: index + 1 });
            }
            keys.push(digest(key));
        }
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
        fs::write(&path, "# ours\nalpha # of Ann\n\n  beta \nga#mma\t#\n").unwrap();
        let keys = ApiKeys::from_file(&path).unwrap();
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            keys.admit(&headers)
        };
        assert!(with("authorization", "Bearer alpha") && with("authorization", "bearer beta"));
        assert!(with("x-api-key", "beta") && with("x-api-key", "ga#mma"));
        assert!(!keys.admit(&HeaderMap::new()));
        for wrong in ["", "alph", "alphaa", "# ours", "Bearer alpha", "alpha # of Ann", "#", "ga"] {
            assert!(!with("x-api-key", wrong), "{wrong}");
        }
        assert!(!with("authorization", "Basic alpha") && !with("authorization", "alpha"));
        fs::write(&path, "alpha\n# two\nbeta of Ben\n").unwrap();
        let error = ApiKeys::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("line 3: a key has no spaces") && !error.contains("beta"), "{error}");
        fs::write(&path, "# none\n").unwrap();
        assert!(matches!(ApiKeys::from_file(&path), Err(ApiKeyError::Empty(_))));
    }
}
