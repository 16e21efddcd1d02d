//! Tests of the search: images by content, and names of all that is left out.

use std::io::Write;
use std::path::Path;

use super::*;

/// First bytes of a JPEG.
const JPEG: &[u8] = b"\xff\xd8\xff\xe0";

/// Temporary folder with these files; a folder's name ends with `/`.
fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Images found, and what was left out with its reasons, both below the folder.
fn found(folder: &Path) -> (Vec<String>, Vec<(String, LeftOutReason)>) {
    let short = |path: &Path| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
    let found = find(folder).unwrap();
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    let left_out = found.left_out.entries().iter().map(|entry| (short(&entry.path), entry.reason));
    (found.images.iter().map(|path| short(path)).collect(), left_out.collect())
}

#[test]
fn finds_images_sorted_and_leaves_out_the_rest() {
    let names = ["b/2.PNG", "b/1.jpeg", "a.bmp", "notes.txt", ".hidden.png", ".git/x.png", "b/noext"];
    let folder = tree(&names.map(|name| (name, &b""[..])));
    let found = images_in(folder.path()).unwrap();
    let found: Vec<_> = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
    assert_eq!(found, ["a.bmp", "b/1.jpeg", "b/2.PNG"].map(Path::new));
    assert_eq!(images_in(folder.path().join("none")).unwrap_err().kind().name(), "not_found");
}

#[test]
fn an_image_is_known_by_its_content() {
    let folder = tree(&[
        ("1.jfif", JPEG),
        ("2.jpe", JPEG),
        ("3", JPEG),
        ("4.txt", JPEG),
        ("5.heic", JPEG),
        ("6.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("named.png", b"text"),
        ("notes.jfif", b"text"),
        ("movie.mp4", b"\0\0\0\x18ftypmp42"),
        ("empty", b""),
    ]);
    let (images, left_out) = found(folder.path());
    assert_eq!(images, ["1.jfif", "2.jpe", "3", "4.txt", "5.heic", "6.heic", "named.png"]);
    let expected =
        ["empty", "movie.mp4", "notes.jfif"].map(|name| (name.to_owned(), LeftOutReason::NotAnImage));
    assert_eq!(left_out, expected);
}

#[test]
fn folders_of_systems_tools_and_runs_are_left_out_by_name() {
    let run = b"version = \"0.1.0\"\ndata_digest = \"00\"\n";
    let folder = tree(&[
        ("cat/1.jpg", JPEG),
        ("cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", JPEG),
        ("cat/Thumbs.db", b"x"),
        ("__MACOSX/cat/._1.jpg", JPEG),
        (".ipynb_checkpoints/1-checkpoint.jpg", JPEG),
        ("$RECYCLE.BIN/1.jpg", JPEG),
        ("runs/ten/config.toml", run),
        ("runs/ten/overlay.png", JPEG),
    ]);
    let (images, left_out) = found(folder.path());
    assert_eq!(images, ["cat/1.jpg"]);
    let expected = [
        ("$RECYCLE.BIN", LeftOutReason::System),
        (".ipynb_checkpoints", LeftOutReason::Hidden),
        ("__MACOSX", LeftOutReason::System),
        ("cat/@eaDir", LeftOutReason::System),
        ("cat/Thumbs.db", LeftOutReason::System),
        ("runs/ten", LeftOutReason::Run),
    ];
    assert_eq!(left_out, expected.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(images_in(folder.path().join("runs/ten")).unwrap().len(), 1, "when it is asked for");
}

#[test]
fn a_hidden_folder_or_a_file_is_read_when_asked_for() {
    let folder = tree(&[(".cache/x.png", b"")]);
    assert_eq!(images_in(folder.path().join(".cache")).unwrap().len(), 1);
    assert_eq!(images_in(folder.path().join(".cache/x.png")).unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_the_readers_business() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["x.png", "README", ".#y.png"] {
        std::os::unix::fs::symlink("nowhere", folder.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    let (images, left_out) = found(folder.path());
    assert_eq!(images, ["x.png"]);
    let expected =
        [(".#y.png", LeftOutReason::Hidden), ("README", LeftOutReason::Link), ("loop", LeftOutReason::Link)];
    assert_eq!(left_out, expected.map(|(name, reason)| (name.to_owned(), reason)));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_named_beside_the_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tree(&[("open/1.png", b""), ("shut/2.png", b"")]);
    let shut = folder.path().join("shut");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&shut).is_ok() {
        let _ = writeln!(io::stderr(), "not tried: this user may read every folder");
        return;
    }
    let found = find(folder.path()).unwrap();
    assert_eq!((found.images.len(), found.failed.len()), (1, 1));
    assert_eq!(found.failed[0].path(), Some(shut.as_path()));
    assert_eq!(images_in(folder.path()).unwrap_err().kind().name(), "io");
}

/// Opening a pipe would wait for its writer.
#[cfg(unix)]
#[test]
fn a_pipe_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.png")).status();
    if !made.is_ok_and(|status| status.success()) {
        let _ = writeln!(io::stderr(), "not tried: there is no mkfifo");
        return;
    }
    assert_eq!(found(folder.path()).1, [("pipe.png".to_owned(), LeftOutReason::NotAnImage)]);
}
