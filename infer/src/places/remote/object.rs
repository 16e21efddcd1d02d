//! Objects of stores and of web servers, read from any position.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStoreExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Client, Method, Response, StatusCode};

use super::failure::{Failure, code_in};
use super::retry::retry;
use super::store::{self, Store};
use super::{runtime, upload};
use crate::error::{Error, ErrorKind, Result};
use crate::places::{PlaceError, Url};

/// Object of a store, or what a web address names.
#[derive(Clone)]
pub(super) enum Object {
    Stored { store: Store, path: Path },
    Web { client: Client, address: reqwest::Url },
}

/// Description of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of the whole object.
    pub size: Option<u64>,
    /// Tag of the content, by which a change is noticed.
    pub version: Option<String>,
}

/// Answer to a request for an object.
pub(super) struct Answer {
    pub meta: Meta,
    pub body: BoxStream<'static, std::result::Result<Bytes, Failure>>,
    /// Bytes of the body that lie before the position that was asked for.
    pub extra: u64,
}

impl Object {
    pub fn open(url: &Url) -> std::result::Result<Self, PlaceError> {
        if url.scheme().is_web() {
            let refused = |error: &dyn std::fmt::Display| PlaceError::Refused(error.to_string());
            let address = reqwest::Url::parse(&url.secret()).map_err(|error| refused(&error))?;
            return Ok(Self::Web { client: client()?, address });
        }
        Ok(Self::Stored { store: store::open(url)?, path: path(url.key())? })
    }

    /// Asks for the bytes from `position` on, of the content with a version where one is given.
    pub async fn get(&self, position: u64, version: Option<&str>) -> std::result::Result<Answer, Failure> {
        match self {
            Self::Stored { store, path } => {
                let range = (position > 0).then_some(GetRange::Offset(position));
                let options =
                    GetOptions { range, if_match: version.map(str::to_owned), ..GetOptions::default() };
                let answer = store.get_opts(path, options).await?;
                let meta = Meta { size: Some(answer.meta.size), version: answer.meta.e_tag.clone() };
                let body = answer.into_stream().map(|part| part.map_err(Failure::from)).boxed();
                Ok(Answer { meta, body, extra: 0 })
            }
            Self::Web { client, address } => {
                let range = (position > 0).then(|| format!("bytes={position}-"));
                let answer = ask(client, Method::GET, address, range, version).await?;
                let (meta, extra) = of_web(&answer, position, version)?;
                let body = answer.bytes_stream().map(|part| part.map_err(Failure::from)).boxed();
                Ok(Answer { meta, body, extra })
            }
        }
    }

    /// Asks for a part of the content that has a version.
    pub async fn part(
        &self,
        range: Range<u64>,
        version: Option<&str>,
    ) -> std::result::Result<Bytes, Failure> {
        let length = range.end - range.start;
        let part = match self {
            Self::Stored { store, path } => {
                let if_match = version.map(str::to_owned);
                let options = GetOptions { range: Some(range.into()), if_match, ..GetOptions::default() };
                store.get_opts(path, options).await?.bytes().await?
            }
            Self::Web { client, address } => {
                let bytes = format!("bytes={}-{}", range.start, range.end - 1);
                let answer = ask(client, Method::GET, address, Some(bytes), version).await?;
                if answer.status() != StatusCode::PARTIAL_CONTENT {
                    let reason = "the server gives no parts of files: copy the file first";
                    return Err(PlaceError::Refused(reason.into()).into());
                }
                of_web(&answer, range.start, version)?;
                answer.bytes().await?
            }
        };
        match part.len() as u64 == length {
            true => Ok(part),
            false => Err(Failure::Broken(format!("{} bytes instead of {length}", part.len()))),
        }
    }

    /// Asks for the description alone.
    pub async fn head(&self) -> std::result::Result<Meta, Failure> {
        match self {
            Self::Stored { store, path } => {
                let meta = store.head(path).await?;
                Ok(Meta { size: Some(meta.size), version: meta.e_tag })
            }
            Self::Web { client, address } => {
                let answer = ask(client, Method::HEAD, address, None, None).await?;
                let headers = answer.headers();
                Ok(Meta { size: number(headers, CONTENT_LENGTH.as_str()), version: version_in(headers) })
            }
        }
    }
}

/// Path of a key in a store; it is taken as it is, without decoding.
pub(super) fn path(key: &str) -> std::result::Result<Path, PlaceError> {
    let wrong = "a part of the key is empty, `.` or `..`, which is not supported";
    Path::parse(key).map_err(|_| PlaceError::Refused(wrong.into()))
}

/// Client of all web servers.
fn client() -> std::result::Result<Client, PlaceError> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    runtime::choose_tls();
    let builder =
        Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(Duration::from_secs(30));
    let builder = builder.user_agent(concat!("ferronnx/", env!("CARGO_PKG_VERSION")));
    let client = builder.build().map_err(|error| PlaceError::Settings(error.without_url().to_string()))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

async fn ask(
    client: &Client,
    method: Method,
    address: &reqwest::Url,
    range: Option<String>,
    version: Option<&str>,
) -> std::result::Result<Response, Failure> {
    let mut request = client.request(method, address.clone());
    if let Some(range) = range {
        request = request.header(RANGE, range);
    }
    // Only tags are compared by the server, and weak ones never match there.
    if let Some(tag) = version.filter(|version| version.starts_with('"')) {
        request = request.header(IF_MATCH, tag);
    }
    let answer = request.send().await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.unwrap_or_default();
    Err(Failure::of_status(status.as_u16(), code_in(&body)))
}

/// Description of an answer, and the bytes that it has before `position`.
fn of_web(
    answer: &Response,
    position: u64,
    version: Option<&str>,
) -> std::result::Result<(Meta, u64), Failure> {
    let headers = answer.headers();
    let found = version_in(headers);
    if let (Some(expected), Some(found)) = (version, &found)
        && expected != found
    {
        return Err(PlaceError::Changed.into());
    }
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        // A server without ranges begins anew.
        let size = number(headers, CONTENT_LENGTH.as_str());
        return Ok((Meta { size, version: found }, position));
    }
    let range = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let (start, size) =
        content_range(range).ok_or_else(|| Failure::Broken("a part without its range".into()))?;
    match start == position {
        true => Ok((Meta { size, version: found }, 0)),
        false => Err(Failure::Broken(format!("a part from byte {start} instead of {position}"))),
    }
}

/// First byte and size of the whole in `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Tag of the content, or the time of its last change.
fn version_in(headers: &HeaderMap) -> Option<String> {
    let version = headers.get(ETAG).or_else(|| headers.get(LAST_MODIFIED))?;
    version.to_str().ok().map(str::to_owned)
}

/// Tells whether there is an object.
///
/// # Errors
/// Those of the store, when it does not tell.
pub(in crate::places) fn exists(url: &Url) -> Result<bool> {
    let object = Object::open(url)?;
    let head = runtime::wait(retry(|| object.head()));
    match head {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes an object; one that does not exist is no error.
///
/// # Errors
/// Those of the store.
pub(in crate::places) fn delete(url: &Url) -> Result<()> {
    let (store, path) = upload::target(url)?;
    match runtime::wait(retry(async || Ok(store.delete(&path).await?))) {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn is_not_found(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Place(PlaceError::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_answers_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!((content_range("bytes */10"), content_range("items 0-1/2")), (None, None));
    }
}
