//! Clients of stores, one for each bucket, with the settings of each cloud's own variables and files.

use std::collections::HashMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::checked::Connector;
use super::{aws, runtime};
use crate::places::{PlaceError, Scheme, Url};

pub(super) type Store = Arc<dyn ObjectStore>;

/// Requests for a part of an upload, which the client repeats by itself: a part keeps its number then.
pub(super) const UPLOAD_ATTEMPTS: usize = 10;

/// Client of the bucket of a URL, made when the bucket is first used. It asks once; [`retry`](super::retry) repeats.
pub(super) fn open(url: &Url) -> Result<Store, PlaceError> {
    client(url, 1)
}

/// Client of the bucket of a URL that repeats requests by itself.
pub(super) fn open_for_uploads(url: &Url) -> Result<Store, PlaceError> {
    client(url, UPLOAD_ATTEMPTS)
}

fn client(url: &Url, attempts: usize) -> Result<Store, PlaceError> {
    type Clients = HashMap<(Scheme, String, usize), Store>;
    static CLIENTS: Mutex<Option<Clients>> = Mutex::new(None);
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let clients = clients.get_or_insert_default();
    let key = (url.scheme(), url.root().to_owned(), attempts);
    if let Some(client) = clients.get(&key) {
        return Ok(client.clone());
    }
    runtime::choose_tls();
    let client = match url.scheme() {
        Scheme::S3 => aws::open(url.root(), retry(attempts))?,
        Scheme::Google => google(url.root(), retry(attempts))?,
        Scheme::Azure | Scheme::AzureLake => azure(url, retry(attempts))?,
        Scheme::Https | Scheme::Http => web(url, retry(attempts))?,
    };
    clients.insert(key, client.clone());
    Ok(client)
}

/// Options of all clients. A body may take as long as it needs; what is limited is the time without any of it.
pub(super) fn options() -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(Duration::from_secs(30))
}

fn retry(attempts: usize) -> RetryConfig {
    RetryConfig { max_retries: attempts - 1, ..RetryConfig::default() }
}

/// Reads the variables with a prefix that the client knows; empty ones count as missing.
pub(super) fn variables<K: FromStr>(prefix: &str) -> Vec<(K, String)> {
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let is_known = name.starts_with(prefix) && !value.is_empty();
        Some((is_known.then(|| name.to_ascii_lowercase().parse().ok()).flatten()?, value))
    };
    std::env::vars_os().filter_map(variable).collect()
}

/// Converts an error of a client that could not be made.
pub(super) fn settings(error: object_store::Error) -> PlaceError {
    let text = match &error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    };
    PlaceError::Settings(text.lines().next().unwrap_or_default().into())
}

/// Tells whether a cloud's own server of credentials answers, which machines outside of the cloud lack.
pub(super) fn is_reachable(address: &str) -> bool {
    let mut addresses = address.to_socket_addrs().into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

fn google(bucket: &str, retry: RetryConfig) -> Result<Store, PlaceError> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(options())
        .with_retry(retry)
        .with_http_connector(Connector);
    for (key, value) in variables::<GoogleConfigKey>("GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    let is_set = |key| builder.get_config_value(&key).is_some_and(|value| value != "false");
    let keys = [GoogleConfigKey::ServiceAccount, GoogleConfigKey::ServiceAccountKey];
    let others = [
        GoogleConfigKey::ApplicationCredentials,
        GoogleConfigKey::BearerToken,
        GoogleConfigKey::SkipSignature,
    ];
    let has_settings = keys.into_iter().chain(others).any(is_set) || has_gcloud_file();
    if !has_settings && !is_reachable("metadata.google.internal:80") {
        return Err(PlaceError::Settings(
            "there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, \
             or set GOOGLE_SKIP_SIGNATURE=true for a public bucket"
                .into(),
        ));
    }
    builder.with_bucket_name(bucket).build().map(|store| Arc::new(store) as Store).map_err(settings)
}

/// Tells whether `gcloud` left credentials, which the client finds by itself.
fn has_gcloud_file() -> bool {
    let file = "gcloud/application_default_credentials.json";
    let folders = [("HOME", ".config"), ("APPDATA", "")];
    let exists = |(variable, folder)| {
        std::env::var_os(variable).map(|home| std::path::Path::new(&home).join(folder).join(file))
    };
    folders.into_iter().filter_map(exists).any(|path| path.exists())
}

fn azure(url: &Url, retry: RetryConfig) -> Result<Store, PlaceError> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(options())
        .with_retry(retry)
        .with_http_connector(Connector);
    for (name, key) in [
        ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
        ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ] {
        if let Ok(value) = std::env::var(name) {
            builder = builder.with_config(key, value);
        }
    }
    for (key, value) in variables::<AzureConfigKey>("AZURE_") {
        builder = builder.with_config(key, value);
    }
    builder = match url.scheme() {
        Scheme::AzureLake => builder.with_url(format!("abfss://{}", url.root())),
        _ => builder.with_container_name(url.root()),
    };
    let is_set = |key| builder.get_config_value(&key).is_some_and(|value| value != "false");
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint).unwrap_or_default();
    let is_emulator = is_set(AzureConfigKey::UseEmulator);
    if url.scheme() == Scheme::Azure && !is_set(AzureConfigKey::AccountName) && !is_emulator {
        return Err(PlaceError::Settings("AZURE_STORAGE_ACCOUNT_NAME is missing, or write abfss://".into()));
    }
    let keys = [
        AzureConfigKey::AccessKey,
        AzureConfigKey::SasKey,
        AzureConfigKey::Token,
        AzureConfigKey::ClientSecret,
        AzureConfigKey::FederatedTokenFile,
        AzureConfigKey::UseAzureCli,
        AzureConfigKey::SkipSignature,
        AzureConfigKey::MsiEndpoint,
    ];
    if !is_emulator && !keys.into_iter().any(is_set) && !is_reachable("169.254.169.254:80") {
        return Err(PlaceError::Settings(
            "there are no credentials: set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, \
             AZURE_USE_AZURE_CLI=true, or AZURE_SKIP_SIGNATURE=true for a public container"
                .into(),
        ));
    }
    if endpoint.starts_with("http://") || is_emulator {
        builder = builder.with_allow_http(true);
    }
    builder.build().map(|store| Arc::new(store) as Store).map_err(settings)
}

/// Client that lists a web server by WebDAV; objects are read by [`object`](super::object).
fn web(url: &Url, retry: RetryConfig) -> Result<Store, PlaceError> {
    let address = format!("{}://{}", url.scheme().name(), url.root());
    let options = options().with_allow_http(url.scheme() == Scheme::Http);
    let builder = object_store::http::HttpBuilder::new().with_url(address).with_client_options(options);
    builder.with_retry(retry).build().map(|store| Arc::new(store) as Store).map_err(settings)
}
