//! S3 with the settings of AWS's own tools: variables, then the profile in `~/.aws`, then the machine's role.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, resolve_bucket_region};
use object_store::{ClientConfigKey, RetryConfig};

use super::checked::Connector;
use super::runtime;
use super::store::{Store, is_reachable, options, settings, variables};
use crate::places::PlaceError;

/// Fields of a profile that need other tools.
const UNSUPPORTED: [&str; 4] = ["sso_session", "sso_start_url", "credential_process", "source_profile"];

/// Client of a bucket.
pub(super) fn open(bucket: &str, retry: RetryConfig) -> Result<Store, PlaceError> {
    use AmazonS3ConfigKey as Key;
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options())
        .with_retry(retry)
        .with_http_connector(Connector);
    for (key, value) in variables::<Key>("AWS_") {
        builder = builder.with_config(key, value);
    }
    let profile = Profile::read()?;
    let set =
        |builder: &AmazonS3Builder, key| builder.get_config_value(&key).is_some_and(|value| value != "false");
    if !set(&builder, Key::AccessKeyId) && !set(&builder, Key::WebIdentityTokenFile) {
        profile.check()?;
        let keys = [Key::AccessKeyId, Key::SecretAccessKey, Key::Token];
        for (key, name) in
            keys.into_iter().zip(["aws_access_key_id", "aws_secret_access_key", "aws_session_token"])
        {
            if let Some(value) = profile.get(name) {
                builder = builder.with_config(key, value);
            }
        }
    }
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let region =
        variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).or_else(|| profile.get("region"));
    if !set(&builder, Key::Endpoint)
        && !set(&builder, Key::S3Endpoint)
        && let Some(endpoint) = profile.get("endpoint_url")
    {
        builder = builder.with_endpoint(endpoint);
    }
    let sources = [
        Key::AccessKeyId,
        Key::WebIdentityTokenFile,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
        Key::SkipSignature,
        Key::MetadataEndpoint,
    ];
    let is_disabled =
        variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !sources.into_iter().any(|key| set(&builder, key))
        && (is_disabled || !is_reachable("169.254.169.254:80"))
    {
        return Err(PlaceError::Settings(
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or \
             AWS_SKIP_SIGNATURE=true for a public bucket"
                .into(),
        ));
    }
    let endpoint =
        builder.get_config_value(&Key::S3Endpoint).or_else(|| builder.get_config_value(&Key::Endpoint));
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // An address without encryption was given on purpose.
        builder = builder.with_config(Key::Client(ClientConfigKey::AllowHttp), "true");
    }
    let region = match (region, endpoint) {
        (None, None) => {
            runtime::wait(async { Ok::<_, PlaceError>(resolve_bucket_region(bucket, &options()).await.ok()) })
                .unwrap_or_default()
        }
        (region, _) => region,
    };
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    builder.with_bucket_name(bucket).build().map(|store| Arc::new(store) as Store).map_err(settings)
}

/// Settings of a profile, from both files.
#[derive(Default)]
struct Profile {
    name: String,
    fields: HashMap<String, String>,
}

impl Profile {
    /// Reads the profile that `AWS_PROFILE` names, or the one named `default`, which may be missing.
    fn read() -> Result<Self, PlaceError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let chosen = variable("AWS_PROFILE").or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let home = env::var_os("HOME").or_else(|| env::var_os("USERPROFILE")).unwrap_or_default();
        let file = |name, default: &str| {
            let path =
                env::var_os(name).map_or_else(|| Path::new(&home).join(".aws").join(default), PathBuf::from);
            fs::read_to_string(path).unwrap_or_default()
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let name = chosen.clone().unwrap_or_else(|| "default".into());
        match Self::parse(&name, &config, &credentials) {
            Some(profile) => Ok(profile),
            None if chosen.is_none() => Ok(Self::default()),
            None => {
                Err(PlaceError::Settings(format!("AWS_PROFILE is `{name}`, which is in none of AWS's files")))
            }
        }
    }

    /// Joins the sections of a profile, `[profile NAME]` in one file and `[NAME]` in the other, whose fields go first.
    fn parse(name: &str, config: &str, credentials: &str) -> Option<Self> {
        let of_config = section(config, |title| {
            let title = title.strip_prefix("profile ").map_or(title, str::trim);
            title == name
        });
        let of_credentials = section(credentials, |title| title == name);
        if of_config.is_none() && of_credentials.is_none() {
            return None;
        }
        let fields = of_config.into_iter().chain(of_credentials).flatten().collect();
        Some(Self { name: name.into(), fields })
    }

    fn get(&self, field: &str) -> Option<String> {
        self.fields.get(field).filter(|value| !value.is_empty()).cloned()
    }

    /// Refuses a profile without keys that gets them from another tool.
    fn check(&self) -> Result<(), PlaceError> {
        let Some(field) = UNSUPPORTED.iter().find(|field| self.get(field).is_some()) else { return Ok(()) };
        if self.get("aws_access_key_id").is_some() {
            return Ok(());
        }
        let name = &self.name;
        Err(PlaceError::Settings(format!(
            "the profile `{name}` uses {field}, which is not supported: `eval $(aws configure export-credentials \
             --profile {name} --format env)` sets its keys"
        )))
    }
}

/// Fields of the section of an INI file whose title is wanted; lines that begin with a space belong to the field above.
fn section(text: &str, is_wanted: impl Fn(&str) -> bool) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut is_inside = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            is_inside = is_wanted(title.trim());
            if is_inside {
                found.get_or_insert_default();
            }
        } else if let (true, false, Some((name, value))) =
            (is_inside, is_nested || line.starts_with(['#', ';']), line.split_once('='))
        {
            found.get_or_insert_default().insert(name.trim().to_lowercase(), value.trim().into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\n[profile work]\nregion=us-west-2\nendpoint_url = http://host:9000\n\
                          s3 =\n  region = nested\n[profile sso]\nsso_session = x\n";
    const CREDENTIALS: &str = "# keys\n[work]\naws_access_key_id = AKIA\naws_secret_access_key = a/b=c==\n";

    #[test]
    fn profiles_join_both_files() {
        let work = Profile::parse("work", CONFIG, CREDENTIALS).unwrap();
        assert_eq!(work.get("region").as_deref(), Some("us-west-2"));
        assert_eq!(work.get("aws_secret_access_key").as_deref(), Some("a/b=c=="));
        assert_eq!(work.get("endpoint_url").as_deref(), Some("http://host:9000"));
        let default = Profile::parse("default", CONFIG, CREDENTIALS).unwrap();
        assert_eq!(
            (default.get("region").as_deref(), default.get("aws_access_key_id")),
            (Some("eu-west-1"), None)
        );
        assert!(Profile::parse("none", CONFIG, CREDENTIALS).is_none());
    }

    #[test]
    fn a_profile_of_another_tool_says_what_to_do() {
        let error = Profile::parse("sso", CONFIG, CREDENTIALS).unwrap().check().unwrap_err();
        assert!(
            error.to_string().contains("sso_session") && error.to_string().contains("--profile sso"),
            "{error}"
        );
    }
}
