//! MLflow server and experiment that a run is sent to, with the credentials of the environment.

use std::env;
use std::fmt;

use anyhow::{Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;

use crate::display;

/// Experiment that MLflow uses when none is named.
const DEFAULT: &str = "Default";

/// Server and experiment.
#[derive(Clone)]
pub struct Target {
    /// URL of the server, without a slash at the end and without credentials.
    pub url: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Value of the header `Authorization`. It is never printed or stored.
    pub authorization: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, experiment, authorization } = self;
        let authorization = authorization.as_ref().map(|_| "...");
        f.debug_struct("Target")
            .field("url", url)
            .field("experiment", experiment)
            .field("authorization", &authorization)
            .finish()
    }
}

impl Target {
    /// Finds the server that the flags name, or the environment (`MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`).
    ///
    /// A value of the environment that this program cannot use is for others: it is named and left out.
    ///
    /// # Errors
    /// A URL of the flags that is not one of an HTTP server.
    pub fn find(url: Option<&str>, experiment: Option<&str>) -> Result<Option<Self>> {
        let experiment = experiment.map(Into::into).or_else(|| variable("MLFLOW_EXPERIMENT_NAME"));
        let experiment = experiment.unwrap_or_else(|| DEFAULT.into());
        if let Some(url) = url {
            return Self::new(url, experiment).map(Some).map_err(|error| anyhow!("--mlflow: {error}"));
        }
        let Some(url) = variable("MLFLOW_TRACKING_URI") else { return Ok(None) };
        match Self::new(&url, experiment) {
            Ok(target) => Ok(Some(target)),
            Err(error) => {
                display::print_error(format_args!(
                    "warning: nothing is sent to MLflow: MLFLOW_TRACKING_URI: {error}"
                ));
                Ok(None)
            }
        }
    }

    /// Makes a target with the credentials of the environment.
    ///
    /// # Errors
    /// A URL that is not one of an HTTP server, or has credentials in it. The message has none of it.
    pub fn new(url: &str, experiment: String) -> Result<Self> {
        let uri: Uri = url.parse().map_err(|_| anyhow!("not a URL: use http://HOST:PORT"))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if authority.contains('@') {
            bail!(
                "leave user and password out of the URL: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD have them"
            );
        }
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            bail!("only MLflow servers can be used: http://HOST:PORT or https://HOST");
        }
        Ok(Self { url: url.trim_end_matches('/').into(), experiment, authorization: authorization() })
    }
}

/// Credentials of the environment, in MLflow's order: user and password, else a token.
fn authorization() -> Option<String> {
    match (variable("MLFLOW_TRACKING_USERNAME"), variable("MLFLOW_TRACKING_PASSWORD")) {
        (Some(user), Some(password)) => {
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
        _ => variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}")),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_without_credentials_in_their_url_are_taken() {
        let new = |url: &str| {
            Target::new(url, "e".into()).map(|target| target.url).map_err(|error| error.to_string())
        };
        assert_eq!(new("http://localhost:5000/").unwrap(), "http://localhost:5000");
        assert_eq!(new("https://host/base/").unwrap(), "https://host/base");
        for url in ["sqlite:///mlflow.db", "file:///tmp/runs", "mlruns", "http://host/?token=hidden"] {
            assert!(new(url).is_err(), "{url}");
        }
        let error = new("http://me:hidden@host").unwrap_err();
        assert!(error.contains("MLFLOW_TRACKING_PASSWORD") && !error.contains("hidden"), "{error}");
    }

    #[test]
    fn credentials_are_not_shown() {
        let target =
            Target { url: "u".into(), experiment: "e".into(), authorization: Some("Bearer hidden".into()) };
        assert!(!format!("{target:?}").contains("hidden"));
    }
}
