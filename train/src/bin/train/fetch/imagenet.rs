//! ImageNet weights of ResNets, from the Hugging Face Hub and its cache.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ferronnx_models::networks::Network;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo};
use indicatif::ProgressBar;
use safetensors::SafeTensors;

use super::digest;
use super::retry::{Failure, PAUSES, persist};
use crate::display;

const FILE: &str = "model.safetensors";

const ENDPOINT: &str = "HF_ENDPOINT";
const HOME: &str = "HF_HOME";

/// Finds the weights of `--pretrained imagenet`: a `.safetensors` file with torchvision's names.
///
/// The cache is the Hub's own (`$HF_HOME`), which other tools share; cached files need no network. `$HF_ENDPOINT`
/// sets a mirror.
///
/// # Errors
/// No network, a full disk, and files that are not weights, each with a way out.
pub fn imagenet(network: Network) -> Result<PathBuf> {
    // timm's MobileNetV3 has other names for its parameters.
    ensure!(
        network.is_resnet(),
        "--pretrained imagenet is for ResNets: for {network} give --pretrained FILE, torchvision's .pth file"
    );
    // The Hub's default panics without a home folder.
    ensure!(
        env::var_os(HOME).is_some() || env::home_dir().is_some(),
        "there is no home folder for the cache: set {HOME} to a folder, or give --pretrained FILE"
    );
    let mirror = env::var(ENDPOINT).ok().filter(|url| !url.is_empty());
    weights(&model(network), Cache::from_env(), mirror.as_deref(), &PAUSES)
}

/// Repository of torchvision's first ImageNet weights of a ResNet.
fn model(network: Network) -> String {
    format!("timm/{network}.tv_in1k")
}

fn weights(model: &str, cache: Cache, mirror: Option<&str>, pauses: &[Duration]) -> Result<PathBuf> {
    let path = match cache.repo(repo(model)).get(FILE) {
        Some(path) => path,
        None => download(model, cache, mirror, pauses)?,
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Err(error) = SafeTensors::deserialize(&bytes) {
        bail!(
            "{} is not a safetensors file ({error}): remove it to download it again, or give --pretrained FILE",
            path.display()
        );
    }
    Ok(path)
}

fn repo(model: &str) -> Repo {
    Repo::model(model.into())
}

fn download(model: &str, cache: Cache, mirror: Option<&str>, pauses: &[Duration]) -> Result<PathBuf> {
    let blobs = cache.repo(repo(model)).blob_path("");
    let mut builder = ApiBuilder::from_cache(cache).with_user_agent("ferronnx", env!("CARGO_PKG_VERSION"));
    if let Some(mirror) = mirror {
        builder = builder.with_endpoint(mirror.trim_end_matches('/').into());
    }
    let api = builder.build().context("cannot reach the Hugging Face Hub")?;
    let url = api.repo(repo(model)).url(FILE);
    say!("downloading {url}");
    let bar = display::byte_bar("downloading", 0);
    let path = persist(pauses, &bar, || attempt(model, &api, &blobs, &bar));
    bar.finish_and_clear();
    path.map_err(|why| anyhow!("cannot download {url}: {why}: give --pretrained FILE, the file from there"))
}

fn attempt(model: &str, api: &Api, blobs: &Path, bar: &ProgressBar) -> Result<PathBuf, Failure> {
    let path = match api.repo(repo(model)).download_with_progress(FILE, Shown(bar)) {
        Ok(path) => path,
        // A part that cannot be continued would fail for ever.
        Err(ApiError::InvalidResume) => return Err(discard_parts(blobs)),
        Err(ApiError::RequestError(error)) if matches!(*error, ureq::Error::StatusCode(416)) => {
            return Err(discard_parts(blobs));
        }
        Err(error) => return Err(failure(error)),
    };
    match is_whole(&path) {
        Ok(true) => Ok(path),
        Ok(false) => Err(discard(&path)),
        Err(error) => Err(Failure::Final(format!("cannot read {}: {error}", path.display()))),
    }
}

fn failure(error: ApiError) -> Failure {
    match error {
        ApiError::RequestError(error) => (*error).into(),
        ApiError::IoError(_) | ApiError::LockAcquisition(_) => Failure::Passing(error.to_string()),
        _ => Failure::Final(error.to_string()),
    }
}

/// True if a new file of the cache is what the Hub announced. The etag of large files is their SHA-256, and names the
/// blob; other files cannot be checked.
fn is_whole(path: &Path) -> std::io::Result<bool> {
    let blob = path.canonicalize()?;
    let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_digest = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(!is_digest || digest::of_file(&blob)? == etag)
}

/// Removes a file of the cache and the target of its link.
fn discard(path: &Path) -> Failure {
    if let Ok(blob) = path.canonicalize() {
        let _ = fs::remove_file(blob);
    }
    let _ = fs::remove_file(path);
    Failure::Passing("what came is not what was announced, and was removed".into())
}

fn discard_parts(blobs: &Path) -> Failure {
    let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
    for path in
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "part"))
    {
        let _ = fs::remove_file(path);
    }
    Failure::Passing("an earlier download cannot be continued, and was removed".into())
}

/// Progress bar for the Hub's client.
struct Shown<'a>(&'a ProgressBar);

impl Progress for Shown<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.0.set_length(size as u64);
        self.0.set_position(0);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::fetch::server::{self, Reply, Server};

    const MODEL: &str = "timm/resnet18.tv_in1k";

    /// SHA-256 of [`content`]: a Hub names large files by it.
    fn etag(content: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), content).unwrap();
        digest::of_file(&dir.path().join("x")).unwrap()
    }

    fn content() -> Vec<u8> {
        let bytes = vec![1; 40_000];
        let view = TensorView::new(Dtype::F32, vec![100, 100], &bytes).unwrap();
        safetensors::serialize([("fc.weight", view)], None).unwrap()
    }

    /// Starts a Hub that announces [`content`] and sends the file from elsewhere, as `reply` says.
    fn hub(announced: Vec<u8>, reply: impl Fn(Option<u64>, usize) -> Reply + Send + 'static) -> Server {
        let etag = etag(&announced);
        Server::start(move |request, count| match &request.path[..] {
            "/timm/resnet18.tv_in1k/resolve/main/model.safetensors" => Reply::status(302)
                .header("Location", &format!("http://{}/elsewhere", request.host))
                .header("X-Repo-Commit", "0123456789abcdef")
                .header("X-Linked-Etag", &format!("\"{etag}\"")),
            "/elsewhere" => reply(request.range, count),
            _ => Reply::status(404),
        })
    }

    fn fetch(home: &tempfile::TempDir, url: &str, attempts: usize) -> Result<PathBuf> {
        let pauses = vec![Duration::from_millis(1); attempts - 1];
        weights(MODEL, Cache::new(home.path().join("hub")), Some(url), &pauses)
    }

    #[test]
    fn weights_are_downloaded_once() {
        let home = tempfile::tempdir().unwrap();
        let server = hub(content(), |range, _| Reply::of(&content(), range));
        let path = fetch(&home, &server.url("/"), 1).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content());
        let asked = server.paths().len();
        assert_eq!(fetch(&home, &server.url(""), 1).unwrap(), path);
        assert_eq!(server.paths().len(), asked, "the cache asks nobody");
        assert_eq!(fetch(&home, &server::closed_url(), 1).unwrap(), path);
    }

    #[test]
    fn a_broken_connection_is_resumed() {
        let home = tempfile::tempdir().unwrap();
        let server = hub(content(), |range, count| {
            let reply = Reply::of(&content(), range);
            if count < 5 { reply.cut(7000) } else { reply }
        });
        let path = fetch(&home, &server.url(""), 3).unwrap();
        assert_eq!(fs::read(path).unwrap(), content());
        assert!(server.ranges().contains(&Some(7000)), "{:?}", server.ranges());
    }

    #[test]
    fn a_part_that_cannot_be_continued_is_dropped() {
        let home = tempfile::tempdir().unwrap();
        let server = hub(content(), |range, _| Reply::of(&content(), range));
        let blobs = Cache::new(home.path().join("hub")).repo(repo(MODEL)).blob_path("");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{}.part", etag(&content()))), vec![0; 90_000]).unwrap();
        let path = fetch(&home, &server.url(""), 2).unwrap();
        assert_eq!(fs::read(path).unwrap(), content());
    }

    #[test]
    fn what_was_not_announced_is_refused_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let mut other = content();
        other.reverse();
        let server = hub(content(), move |range, _| Reply::of(&other, range));
        let error = fetch(&home, &server.url(""), 1).unwrap_err().to_string();
        assert!(error.contains("what came is not what was announced"), "{error}");
        assert!(Cache::new(home.path().join("hub")).repo(repo(MODEL)).get(FILE).is_none());
    }

    #[test]
    fn what_is_not_safetensors_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let page = b"<html>please log in</html>".to_vec();
        let server = hub(page.clone(), move |range, _| Reply::of(&page, range));
        let error = fetch(&home, &server.url(""), 1).unwrap_err().to_string();
        assert!(error.contains("is not a safetensors file (") && error.contains("remove it"), "{error}");
    }

    #[test]
    fn no_hub_is_an_error_with_a_way_out() {
        let home = tempfile::tempdir().unwrap();
        let error = fetch(&home, &server::closed_url(), 1).unwrap_err().to_string();
        assert!(error.contains(MODEL) && error.contains("give --pretrained FILE"), "{error}");
        let empty = Server::start(|_, _| Reply::status(404));
        let error = fetch(&home, &empty.url(""), 3).unwrap_err().to_string();
        assert!(error.contains(": the server answers 404: give"), "{error}");
        assert_eq!(empty.paths().len(), 1);
    }

    #[test]
    fn networks_have_repositories_of_their_own() {
        assert_eq!(model(Network::Resnet18), MODEL);
        assert_eq!(model(Network::Resnet101), "timm/resnet101.tv_in1k");
        let error = imagenet(Network::MobilenetV3Small).unwrap_err().to_string();
        assert!(error.contains("for mobilenet_v3_small give --pretrained FILE"), "{error}");
    }
}
