use super::*;
use crate::fetch::server::{self, Reply, Server};

fn content() -> Vec<u8> {
    (0..200_000u32).map(|at| (at % 251 + at / 251) as u8).collect()
}

/// Makes a folder with `part` left by an earlier download.
struct Place {
    dir: tempfile::TempDir,
    to: PathBuf,
}

impl Place {
    fn with(part: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file.gz");
        fs::write(dir.path().join("file.gz.part"), part).unwrap();
        Self { dir, to }
    }

    fn fetch(&self, url: &str, attempts: usize) -> Result<()> {
        let sha256 = {
            let expected = self.dir.path().join("expected");
            fs::write(&expected, content()).unwrap();
            digest::of_file(&expected).unwrap()
        };
        let remote = Remote { url: url.into(), bytes: content().len() as u64, sha256 };
        Client::local(attempts).download(&remote, &self.to, &ProgressBar::hidden())
    }

    fn refusal(&self, url: &str) -> String {
        let error = self.fetch(url, 1).unwrap_err().to_string();
        assert!(!self.to.exists(), "{error}");
        error
    }

    fn assert_complete(&self) {
        assert_eq!(fs::read(&self.to).unwrap(), content());
        assert!(!part_of(&self.to).exists());
    }
}

#[test]
fn a_fresh_download_asks_once_and_for_everything() {
    let server = Server::serving(content());
    let place = Place::with(b"");
    place.fetch(&server.url("/x"), 1).unwrap();
    place.assert_complete();
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let cut = 120_000;
    let server = Server::start(move |request, count| {
        let reply = Reply::of(&content(), request.range);
        if count == 0 { reply.cut(cut) } else { reply }
    });
    let place = Place::with(b"");
    place.fetch(&server.url("/x"), 2).unwrap();
    place.assert_complete();
    assert_eq!(server.ranges(), [None, Some(cut as u64)]);
}

#[test]
fn what_an_earlier_run_left_is_resumed() {
    let server = Server::serving(content());
    let place = Place::with(&content()[..70_001]);
    place.fetch(&server.url("/x"), 1).unwrap();
    place.assert_complete();
    assert_eq!(server.ranges(), [Some(70_001)]);
}

#[test]
fn a_complete_part_needs_no_server() {
    let place = Place::with(&content());
    place.fetch("http://127.0.0.1:9/x", 1).unwrap();
    place.assert_complete();
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let server = Server::start(|_, _| Reply::of(&content(), None));
    let place = Place::with(&[0; 5000]);
    place.fetch(&server.url("/x"), 1).unwrap();
    place.assert_complete();
    assert_eq!(server.ranges(), [Some(5000), None]);
}

#[test]
fn a_range_of_another_file_starts_anew() {
    let server = Server::start(|request, _| match request.range {
        Some(_) => Reply::of(&[1; 9000], request.range),
        None => Reply::of(&content(), None),
    });
    let place = Place::with(&content()[..5000]);
    place.fetch(&server.url("/x"), 1).unwrap();
    place.assert_complete();
}

#[test]
fn a_part_that_is_too_long_starts_anew() {
    let server = Server::serving(content());
    let place = Place::with(&[0; 200_001]);
    place.fetch(&server.url("/x"), 1).unwrap();
    place.assert_complete();
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn a_connection_that_breaks_each_time_leaves_the_part() {
    let server = Server::start(|request, _| Reply::of(&content(), request.range).cut(1000));
    let place = Place::with(b"");
    let error = place.fetch(&server.url("/x"), 3).unwrap_err().to_string();
    assert_eq!(server.ranges(), [None, Some(1000), Some(2000)], "{error}");
    assert_eq!(fs::read(part_of(&place.to)).unwrap(), &content()[..3000]);
}

#[test]
fn another_content_is_refused_and_removed() {
    let mut other = content();
    other[77] ^= 1;
    let place = Place::with(b"");
    let error = place.refusal(&Server::serving(other).url("/x"));
    assert!(error.contains("its content is not the expected one") && error.contains("sha256"), "{error}");
    assert!(!part_of(&place.to).exists());
}

#[test]
fn another_size_is_refused_before_it_is_downloaded() {
    let place = Place::with(b"");
    let error = place.refusal(&Server::serving(vec![0; 10]).url("/x"));
    assert_eq!(error, "it has 10 bytes, not 200000: another file");
    let endless = Server::start(|_, _| Reply::of(&[0; 200_005], None).without_length());
    assert_eq!(place.refusal(&endless.url("/x")), "it has more than 200000 bytes: another file");
}

#[test]
fn what_the_server_says_is_passed_on() {
    let server = Server::start(|_, count| Reply::status(if count < 2 { 503 } else { 404 }));
    let place = Place::with(b"");
    let error = place.fetch(&server.url("/x"), 5).unwrap_err().to_string();
    assert_eq!(error, "the server answers 404");
    assert_eq!(server.ranges().len(), 3);
}

#[test]
fn no_server_is_an_error_in_words() {
    let error = Place::with(b"").refusal(&server::closed_url());
    assert!(error.contains("refused"), "{error}");
}
