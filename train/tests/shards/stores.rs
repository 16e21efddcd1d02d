//! The program `train` on a prefix of an S3 server on this machine, which fails now and then.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use self::server::{Fault, Server};
use super::common::{COLOURS, colours};
use super::{outcome, parquet, task};

#[allow(dead_code)] // the tests of `infer` use more of it
#[path = "../../../infer/tests/places/server.rs"]
mod server;

/// Keys that no file and no line may show.
const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST"), ("AWS_SECRET_ACCESS_KEY", "verysecretandlong")];

/// Recipe that streams shards, because images are cropped from originals.
const RECIPE: &str = r#"
name = "streamed"
batch_size = 8

[augment]
crop = "resized"

[[phase]]
name = "all"
epochs = 2
learning_rate = 1e-3
train = ["*"]
"#;

/// Makes a data set in tar and parquet files, and a server that has the latter.
fn store() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    colours(&dir.path().join("colours"), "train", &COLOURS, 20);
    colours(&dir.path().join("colours"), "test", &COLOURS, 4);
    task::pack(dir.path());
    parquet::pack(dir.path());
    fs::write(dir.path().join("recipe.toml"), RECIPE).unwrap();
    let server = Server::start();
    for entry in fs::read_dir(dir.path().join("parquet")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        server.put(&format!("/bucket/photos/{name}"), fs::read(&path).unwrap());
    }
    (dir, server)
}

/// Command `train` with the keys of the server.
fn train(dir: &Path, server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").envs(KEYS);
    command.envs([("AWS_ENDPOINT_URL", &*server.address()), ("AWS_REGION", "eu-west-1")]);
    command
}

/// Arguments of a run on `data`.
fn fit<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    let args = "--recipe recipe.toml --image-size 8 --shuffle-window 30 --device cpu";
    ["fit", "--data", data, "--out", out].into_iter().chain(args.split(' ')).collect()
}

#[track_caller]
fn success(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Contents of all files below a folder, with their names.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![(path.display().to_string(), fs::read(&path).unwrap())],
    };
    paths.flat_map(read).collect()
}

#[test]
fn a_run_on_a_store_that_is_killed_is_that_on_its_files_and_holds_no_keys() {
    let (dir, server) = store();
    let path = |name: &str| dir.path().join(name);
    success(train(dir.path(), &server, &fit("parquet", "local")).spawn().unwrap());
    assert!(server.requests().is_empty());

    let faults = [Fault::Status(503, "SlowDown"), Fault::Break(300), Fault::Hang];
    server.fail("/bucket/photos/train", faults);
    let mut killed = train(dir.path(), &server, &fit("s3://bucket/photos/", "remote")).spawn().unwrap();
    let begun = Instant::now();
    while !path("remote/metrics.jsonl").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no epoch was completed");
        sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!path("remote/result.json").exists(), "it was killed before its end");
    server.fail("/bucket/photos/train", faults);
    let output = success(train(dir.path(), &server, &["fit", "--resume", "remote"]).spawn().unwrap());
    assert!(outcome(&path("local")) == outcome(&path("remote")));

    let images = fs::read_to_string(path("remote/images.csv")).unwrap();
    assert!(images.contains("\ntrain-00000-of-00002.parquet#0,train,blue,"), "{images}");
    let said = [("stdout".to_owned(), output.stdout), ("stderr".to_owned(), output.stderr)];
    for (name, bytes) in files(&path("remote")).into_iter().chain(said) {
        for (_, key) in KEYS {
            assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()), "{name} shows {key}");
        }
    }
}

#[test]
fn two_ranks_on_a_store_are_those_on_tar_shards() {
    let (dir, server) = store();
    for (data, out) in [("shards", "tar"), ("s3://bucket/photos/", "remote")] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ranks = [0, 1].map(|rank| {
            let mut command = train(dir.path(), &server, &fit(data, out));
            command.env("RANK", rank.to_string()).env("WORLD_SIZE", "2").env("OMP_NUM_THREADS", "1");
            command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string()).spawn().unwrap()
        });
        let _ = ranks.map(success);
    }
    assert!(outcome(&dir.path().join("tar")) == outcome(&dir.path().join("remote")));
}

#[test]
fn an_object_that_is_cut_off_is_named() {
    let (dir, server) = store();
    let name = "/bucket/photos/train-00001-of-00002.parquet";
    let whole = server.object(name).unwrap();
    server.put(name, &whole[..whole.len() / 2]);
    let output = train(dir.path(), &server, &fit("s3://bucket/photos/", "run")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    let said = "error: s3://bucket/photos/train-00001-of-00002.parquet: the parquet shard is damaged";
    assert!(error.starts_with(said), "{error}");
}
