//! Failures of requests: which may pass, and what the others mean.

use std::error::Error as StdError;

use crate::places::PlaceError;

/// Failure of one request.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store is busy, and says so.
    Busy(String),
    /// The connection failed, or the answer was no answer.
    Broken(String),
    /// Trying again would not help.
    Final(PlaceError),
}

/// Codes of stores for credentials that they do not accept, in answers that are not `403`.
const CREDENTIALS: [&str; 5] = [
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
];

/// Codes of stores for buckets that do not exist.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// Codes of S3 for a bucket of another region.
const REGION: [&str; 4] = [
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "TemporaryRedirect",
];

impl Failure {
    /// Failure by the status of an answer and the store's code in its body.
    pub fn of_status(status: u16, code: Option<&str>) -> Self {
        let is = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
        let text = code.map_or_else(|| format!("HTTP {status}"), |code| format!("HTTP {status}, {code}"));
        match status {
            _ if is(&NO_BUCKET) => Self::Final(PlaceError::NoBucket),
            _ if is(&CREDENTIALS) => Self::Final(PlaceError::Denied(text)),
            _ if is(&["SlowDown", "ServerBusy", "RequestTimeout", "InternalError"]) => Self::Busy(text),
            408 | 429 | 500..=599 => Self::Busy(text),
            301 | 307 => Self::Final(other_region(&text)),
            400 if is(&REGION) => Self::Final(other_region(&text)),
            401 | 403 => Self::Final(PlaceError::Denied(text)),
            404 | 410 => Self::Final(PlaceError::NotFound),
            412 => Self::Final(PlaceError::Changed),
            _ => Self::Final(PlaceError::Refused(text)),
        }
    }

    /// Failure of a request that has no answer with a status.
    pub fn of_connection(error: &(dyn StdError + 'static)) -> Self {
        let text = root_cause(error);
        // A certificate that is not trusted now will not be in a second.
        match text.contains("certificate") {
            true => Self::Final(PlaceError::Refused(text)),
            false => Self::Broken(text),
        }
    }
}

fn other_region(text: &str) -> PlaceError {
    PlaceError::Refused(format!("{text}: the bucket may lie in another region, set AWS_REGION to it"))
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        Self::Final(error)
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as Store;
        let text = error.to_string();
        if let Some(status) = status_in(&text) {
            return Self::of_status(status, code_in(&text));
        }
        match &error {
            Store::InvalidPath { .. } => {
                PlaceError::Refused("a part of a key is empty, `.` or `..`, which is not supported".into())
                    .into()
            }
            Store::NotFound { .. } => PlaceError::NotFound.into(),
            Store::Precondition { .. } => PlaceError::Changed.into(),
            Store::NotSupported { .. }
            | Store::NotImplemented { .. }
            | Store::UnknownConfigurationKey { .. } => PlaceError::Refused(root_cause(&error)).into(),
            _ if text.contains("Received redirect without LOCATION") => other_region("redirected").into(),
            _ => match code_in(&text) {
                Some(code) => Self::Busy(format!("an error in a good answer, {code}")),
                None => Self::of_connection(&error),
            },
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        match error.is_builder() || error.is_redirect() {
            true => PlaceError::Refused(root_cause(&error.without_url())).into(),
            false => Self::of_connection(&error.without_url()),
        }
    }
}

/// Status of the answer in the text of an error of `object_store`, which gives it no other way.
fn status_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Code of a store in the body of an answer: `<Code>SlowDown</Code>`.
pub(super) fn code_in(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word =
        code.len() < 60 && !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then_some(code)
}

/// Text of the last cause, on one line, without the queries of URLs, which may be signed.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    let words = text.split_whitespace().take(60).map(|word| match word.contains("://") {
        true => word.split('?').next().unwrap_or_default().rsplit('@').next().unwrap_or_default(),
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Failure {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }.into()
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let busy =
            of("Error performing GET http://h/b in 1ms - Server returned non-2xx status code: 503 Service \
                       Unavailable: <Error><Code>SlowDown</Code></Error>");
        assert!(matches!(&busy, Failure::Busy(text) if text == "HTTP 503, SlowDown"), "{busy:?}");
        assert!(matches!(of("<?xml?><Error><Code>SlowDown</Code></Error>"), Failure::Busy(_)));
        assert!(matches!(of("connection reset"), Failure::Broken(_)));
        assert!(matches!(
            of("invalid peer certificate: UnknownIssuer"),
            Failure::Final(PlaceError::Refused(_))
        ));
        let of_status = |status, code| match Failure::of_status(status, code) {
            Failure::Final(error) => error.to_string(),
            temporary => format!("{temporary:?}"),
        };
        assert_eq!(of_status(404, Some("NoSuchBucket")), "no such bucket");
        assert_eq!(of_status(404, Some("NoSuchKey")), "no such object or prefix");
        assert!(
            of_status(403, Some("InvalidAccessKeyId"))
                .starts_with("access denied (HTTP 403, InvalidAccessKeyId)")
        );
        assert!(of_status(400, Some("ExpiredToken")).starts_with("access denied"));
        assert!(of_status(400, Some("AuthorizationHeaderMalformed")).contains("AWS_REGION"));
        assert!(of_status(429, None).starts_with("Busy"));
    }

    #[test]
    fn texts_of_causes_hold_no_secrets() {
        let error = std::io::Error::other("GET https://me:pw@h/k?sig=abc\nfailed");
        assert_eq!(root_cause(&error), "GET h/k failed");
        assert_eq!((code_in("<Code>Slow Down</Code>"), code_in("<Code></Code>")), (None, None));
    }
}
