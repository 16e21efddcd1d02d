//! Names of places: paths of files and folders, and URLs of objects.

use std::fmt;
use std::path::{Path, PathBuf};

use super::PlaceError;
use crate::error::{Error, Result};
use crate::escape;

/// File, folder, object or prefix.
///
/// [`Display`](fmt::Display) leaves out what is secret in a URL: passwords and signed parameters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// File or folder of this machine.
    Local(PathBuf),
    /// Object or prefix of a store.
    Remote(Url),
}

/// URL of an object or of a prefix of objects.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    scheme: Scheme,
    /// Everything behind `scheme://`, as it was given.
    rest: String,
}

/// Kind of store that a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Amazon S3 and the stores that speak its protocol: `s3://BUCKET/KEY`.
    S3,
    /// Google Cloud Storage: `gs://BUCKET/KEY`.
    Google,
    /// Azure Blob Storage with the account from the environment: `az://CONTAINER/KEY`.
    Azure,
    /// Azure Data Lake Storage: `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY`.
    AzureLake,
    /// Web server: `https://HOST/PATH`.
    Https,
    /// Web server without encryption: `http://HOST/PATH`.
    Http,
}

/// Beginnings of URLs; `s3a` and `s3n` are Hadoop's, `gcs` and `azure` those of other tools.
const SCHEMES: [(&str, Scheme); 10] = [
    ("s3", Scheme::S3),
    ("s3a", Scheme::S3),
    ("s3n", Scheme::S3),
    ("gs", Scheme::Google),
    ("gcs", Scheme::Google),
    ("az", Scheme::Azure),
    ("azure", Scheme::Azure),
    ("abfss", Scheme::AzureLake),
    ("https", Scheme::Https),
    ("http", Scheme::Http),
];

impl Scheme {
    /// Beginning of its URLs, without `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
            Self::AzureLake => "abfss",
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// Tells whether the URL is the address of a web server.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Https | Self::Http)
    }
}

impl Place {
    /// Parses a URL or a path; `file://` URLs are paths too.
    ///
    /// # Errors
    /// [`PlaceError::Scheme`] for URLs of other kinds, [`PlaceError::NoBucketName`] where nothing
    /// follows `://`, and [`PlaceError::CredentialsInUrl`].
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::Local(text.into())) };
        if !is_scheme(scheme) {
            return Ok(Self::Local(text.into()));
        }
        if scheme.eq_ignore_ascii_case("file") {
            return Ok(Self::Local(rest.into()));
        }
        let known = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
        let Some(&(_, scheme)) = known else {
            return Err(Error::from(PlaceError::Scheme(scheme.into())).at(shown(rest, scheme)));
        };
        let url = Url { scheme, rest: rest.into() };
        if url.root().is_empty() {
            return Err(Error::from(PlaceError::NoBucketName).at(url.to_string()));
        }
        if url.root().contains('@') && !scheme.is_web() && scheme != Scheme::AzureLake {
            return Err(Error::from(PlaceError::CredentialsInUrl).at(url.to_string()));
        }
        Ok(Self::Remote(url))
    }

    /// Place of `name` in this folder or prefix.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Remote(url) => Self::Remote(url.join(name)),
        }
    }

    /// Folder or prefix that the place lies in.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.parent().unwrap_or(Path::new("")).into()),
            Self::Remote(url) => {
                let (path, _) = url.parts();
                let end = path.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
                Self::Remote(url.with_key(&path[..end]))
            }
        }
    }

    /// Last part of the name, which tells the kind of content; for a web address without its query.
    pub(super) fn file_name(&self) -> &str {
        match self {
            Self::Local(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::Remote(url) => url.parts().0.rsplit('/').next().unwrap_or_default(),
        }
    }

    /// Same place with another path or key.
    pub(super) fn renamed(&self, name: &str) -> Self {
        match self {
            Self::Local(_) => Self::Local(name.into()),
            Self::Remote(url) => Self::Remote(url.with_key(name)),
        }
    }

    /// Path, if the place is on this machine.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote(_) => None,
        }
    }

    /// Name that stays the same: a path as it was given, or a URL without what is secret.
    ///
    /// Bytes of a path that are not UTF-8 are written as `\xE9`.
    pub fn name(&self) -> String {
        match self {
            Self::Local(path) => path.to_str().map_or_else(|| escape::path(path).to_string(), str::to_owned),
            Self::Remote(url) => url.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?})", self.name())
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

impl std::str::FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Url {
    /// Kind of store.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Bucket, container (`CONTAINER@ACCOUNT...` in `abfss`) or host.
    pub fn root(&self) -> &str {
        let end = self.rest.find(['/', '?', '#']).filter(|_| self.scheme.is_web());
        let end = end.or_else(|| self.rest.find('/'));
        &self.rest[..end.unwrap_or(self.rest.len())]
    }

    /// Key of the object, or the prefix: what follows the bucket. Queries of web addresses are a part of it.
    pub fn key(&self) -> &str {
        let rest = &self.rest[self.root().len()..];
        rest.strip_prefix('/').unwrap_or(rest)
    }

    /// Key without the query, and the query of a web address.
    pub(super) fn parts(&self) -> (&str, &str) {
        match self.key().split_once(['?', '#']) {
            Some((path, query)) if self.scheme.is_web() => (path, query),
            _ => (self.key(), ""),
        }
    }

    /// Tells whether the URL names a prefix: it ends with `/`, or in the bucket.
    pub fn is_prefix(&self) -> bool {
        let (path, query) = self.parts();
        query.is_empty() && (path.is_empty() || path.ends_with('/'))
    }

    /// URL of another object of the same bucket.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { scheme: self.scheme, rest: format!("{}/{key}", self.root()) }
    }

    /// URL of the object with a key of a web server, whose bytes are encoded as addresses need it.
    #[cfg(feature = "cloud")]
    pub(super) fn encoded(&self, key: &str) -> Self {
        let base = reqwest::Url::parse(&format!("{}://{}", self.scheme.name(), self.root()));
        let address = base.map(|mut address| {
            if let Ok(mut parts) = address.path_segments_mut() {
                parts.clear().extend(key.split('/'));
            }
            address
        });
        let path = address.map_or_else(|_| key.to_owned(), |address| address.path()[1..].to_owned());
        self.with_key(&path)
    }

    /// URL of `name` below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let base = self.key().trim_end_matches('/');
        if base.is_empty() { self.with_key(name) } else { self.with_key(&format!("{base}/{name}")) }
    }

    /// Whole URL, with everything that is secret in it: only for the request itself.
    #[cfg(feature = "cloud")]
    pub(super) fn secret(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.rest)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.rest, self.scheme.name()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({:?})", self.to_string())
    }
}

/// Tells whether letters before `://` begin a URL; `C:` never does, since one letter is a drive.
fn is_scheme(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

/// URL without passwords and secret parameters.
fn shown(rest: &str, scheme: &str) -> String {
    let is_web = scheme.starts_with("http");
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (root, path) = rest.split_at(end);
    // `abfss` has its container before the `@`.
    let root = match root.rsplit_once('@') {
        Some((user, root)) if !scheme.starts_with("abfs") || user.contains(':') => root,
        _ => root,
    };
    match path.split_once('?') {
        Some((path, query)) if is_web => {
            let (query, _) = query.split_once('#').unwrap_or((query, ""));
            let query = public(query);
            let mark = if query.is_empty() { "" } else { "?" };
            format!("{scheme}://{root}{path}{mark}{query}")
        }
        _ => format!("{scheme}://{root}{path}"),
    }
}

/// Words in the names of parameters that grant access.
const SECRET: [&str; 13] = [
    "sig",
    "token",
    "secret",
    "credential",
    "password",
    "passwd",
    "pwd",
    "key",
    "auth",
    "expires",
    "policy",
    "x-amz-",
    "x-goog-",
];

/// Parameters of Azure's shared access signatures beside the signature.
const SHARED_ACCESS: [&str; 14] =
    ["sv", "ss", "srt", "sp", "st", "se", "sr", "sip", "spr", "skoid", "sktid", "skt", "ske", "sks"];

/// Parameters of a query that are no secret. What signs the others changes with each signature, and goes with it.
fn public(query: &str) -> String {
    let name = |part: &str| part.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let is_shared_access = query.split('&').any(|part| name(part) == "sig");
    let is_public = |part: &&str| {
        let name = name(part);
        let signs = is_shared_access && SHARED_ACCESS.contains(&name.as_str());
        !signs && !SECRET.iter().any(|word| name.contains(word))
    };
    query.split('&').filter(is_public).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_as(text: &str) -> String {
        Place::parse(text).unwrap().to_string()
    }

    #[test]
    fn paths_and_urls_are_told_apart() {
        for path in ["photos/1.jpg", "/a b", "C:\\cats", "a:b", "c://x"] {
            assert_eq!(Place::parse(path).unwrap(), Place::Local(path.into()), "{path}");
        }
        assert_eq!(Place::parse("file:///a/b").unwrap(), Place::Local("/a/b".into()));
        let Place::Remote(url) = Place::parse("S3a://bucket/a//b/").unwrap() else { panic!("a URL") };
        assert_eq!((url.scheme(), url.root(), url.key()), (Scheme::S3, "bucket", "a//b/"));
        assert!(url.is_prefix() && url.to_string() == "s3://bucket/a//b/");
        let Place::Remote(url) = Place::parse("gs://bucket").unwrap() else { panic!("a URL") };
        assert!(url.is_prefix() && url.key().is_empty());
        assert_eq!(url.join("part").to_string(), "gs://bucket/part");
        assert_eq!(Place::parse("s3://b/out/").unwrap().join("x").name(), "s3://b/out/x");
    }

    #[test]
    fn other_urls_are_refused() {
        let error = Place::parse("ftp://user:secret@host/x").unwrap_err();
        let text = crate::error::chain(&error);
        assert!(text.contains("ftp") && text.contains("s3://") && !text.contains("secret"), "{text}");
        let error = Place::parse("s3://AKIA:secret@bucket/x").unwrap_err();
        assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
        assert!(Place::parse("s3://").is_err() && Place::parse("s3:///key").is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown_as("https://me:pw@host/a.jpg"), "https://host/a.jpg");
        assert_eq!(shown_as("https://h/i?id=7&token=abc&size=2"), "https://h/i?id=7&size=2");
        let signed =
            "https://b.s3.amazonaws.com/k.tar?X-Amz-Algorithm=A&X-Amz-Credential=AKIA&X-Amz-Signature=00";
        assert_eq!(shown_as(signed), "https://b.s3.amazonaws.com/k.tar");
        let azure = "https://a.blob.core.windows.net/c/k?sv=2024&se=2027-01-01&sp=r&sig=abc%3D";
        assert_eq!(shown_as(azure), "https://a.blob.core.windows.net/c/k");
        assert_eq!(shown_as("https://h?token=x"), "https://h");
        assert_eq!(shown_as("abfss://c@acc.dfs.core.windows.net/k"), "abfss://c@acc.dfs.core.windows.net/k");
        let place = Place::parse(signed).unwrap();
        assert!(!format!("{place:?}").contains("AKIA"));
        // A key of a bucket may hold anything.
        assert_eq!(shown_as("s3://b/what?.jpg"), "s3://b/what?.jpg");
    }
}
