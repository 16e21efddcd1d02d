//! Tests of lists: forms that tools write, and errors with their lines.

use std::fs;

use super::*;
use crate::image_folder::Split;

fn parsed(text: impl AsRef<[u8]>) -> Vec<(String, Vec<String>, Option<Split>, u64)> {
    let list = ImageList::parse(text.as_ref(), "data/list.csv").unwrap();
    let row = |image: LabelledImage| {
        let path = image.path.strip_prefix("data").unwrap().to_str().unwrap().to_owned();
        (path, image.labels, image.split, image.line.unwrap())
    };
    list.images.into_iter().map(row).collect()
}

fn row(
    path: &str,
    labels: &[&str],
    split: Option<Split>,
    line: u64,
) -> (String, Vec<String>, Option<Split>, u64) {
    (path.into(), labels.iter().map(|&label| label.into()).collect(), split, line)
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    ImageList::parse(text.as_ref(), "list.csv").unwrap_err().to_string()
}

#[test]
fn forms_that_tools_write() {
    let expected = [row("a/1.jpg", &["cat"], None, 2), row("b 2.jpg", &["big dog"], None, 3)];
    for text in [
        "path,label\na/1.jpg,cat\nb 2.jpg,big dog\n",
        "\u{feff}path,label\r\na/1.jpg,cat\r\nb 2.jpg,big dog",
        "Path , Label\n a/1.jpg , cat \n\"b 2.jpg\",\"big dog\"\n,\n\n",
        "label,x,filename\ncat,1,a/1.jpg\nbig dog,2,b 2.jpg\n",
        "image\tclass\na/1.jpg\tcat\nb 2.jpg\tbig dog\n",
        "path;label\na/1.jpg;cat\nb 2.jpg;big dog\n",
        "path,label\ra/1.jpg,cat\rb 2.jpg,big dog\r",
    ] {
        assert_eq!(parsed(text), expected, "{text:?}");
    }
    let utf16: Vec<u8> = "\u{feff}path\tlabel\r\na/1.jpg\tcat\r\nb 2.jpg\tbig dog\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(parsed(&utf16), expected);
}

#[test]
fn a_header_may_be_missing_where_there_is_no_doubt() {
    assert_eq!(
        parsed("\n\n1.jpg,cat\n\n2.jpg,dog"),
        [row("1.jpg", &["cat"], None, 3), row("2.jpg", &["dog"], None, 5)]
    );
    assert_eq!(parsed("1.jpg\tcat"), [row("1.jpg", &["cat"], None, 1)]);
    assert_eq!(parsed("1.jpg,cat,Training"), [row("1.jpg", &["cat"], Some(Split::Train), 1)]);
    for text in [
        "1.jpg,cat,dog",
        "1.jpg",
        "1.jpg;cat",
        "file,y\n1.jpg,cat",
        "1,2,3,4",
        "id,label\n1,cat",
        "1.jpg cat",
    ] {
        assert!(refusal(text).contains("the columns are unknown"), "{text}: {}", refusal(text));
    }
    assert_eq!(
        refusal("1.jpg;\u{1b}cat"),
        "list.csv: the columns are unknown (1.jpg;\\u{1b}cat): the first line has to be `path,label` or \
         `path,label,split`"
    );
}

#[test]
fn several_labels_and_splits() {
    let text = "path,label,split\n1.jpg,cat; outdoors ;cat,train\n2.jpg,,VALID\n3.jpg,cafe\u{301},testing\n";
    let expected = [
        row("1.jpg", &["cat", "outdoors"], Some(Split::Train), 2),
        row("2.jpg", &[], Some(Split::Validation), 3),
        row("3.jpg", &["caf\u{e9}"], Some(Split::Test), 4),
    ];
    assert_eq!(parsed(text), expected);
    assert_eq!(parsed("path,label\n1.jpg,\"cat; \"\"big\"\", dog\"\n")[0].1, ["cat", "\"big\", dog"]);
}

#[test]
fn errors_name_the_line() {
    let header = |rows: &str| refusal(format!("path,label,split\n{rows}"));
    assert_eq!(
        header("1.jpg,cat,train\n\n2.jpg,cat,learn\n"),
        "list.csv, line 4: `learn` is not the name of a split: use train, val or test"
    );
    assert!(header("1.jpg,cat,\n").starts_with("list.csv, line 2: the split is missing"));
    assert!(header("1.jpg,cat\n").starts_with("list.csv, line 2: 2 fields instead of 3"));
    assert!(header("1.jpg,cat, tabby,train\n").starts_with("list.csv, line 2: 4 fields instead of 3"));
    assert_eq!(header(",cat,train\n"), "list.csv, line 2: the path is missing");
    let twice = header("1.jpg,cat,train\n./a.jpg,dog,train\n1.jpg,cat,test\n");
    assert_eq!(twice, "list.csv, line 4: 1.jpg is listed before, in line 2");
    assert!(header("a//./1.jpg,cat,train\na/1.jpg,cat,test\n").contains("is listed before, in line 2"));
    assert!(refusal("path,label\n1.jpg,\"cat\n2.jpg,dog\n").contains("line 2: a field in double quotes"));
    assert!(refusal(b"path,label\n1.jpg,caf\xe9\n").contains("line 2: not in UTF-8"));
    assert_eq!(refusal("path,label\n"), "list.csv: lists no images");
    assert_eq!(refusal(""), "list.csv: lists no images");
    assert!(refusal(b"\x89PNG\r\n\x1a\n\0\0").contains("not a list of images"));
}

#[test]
fn files_are_found_and_missing_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.csv");
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(dir.path().join("a/caf\u{e9}.jpg"), "").unwrap();
    let read = |rows: &str| {
        fs::write(&list, format!("path,label\n{rows}")).unwrap();
        ImageList::read(&list).map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), "DIR"))
    };
    for name in ["a/caf\u{e9}.jpg", "a/cafe\u{301}.jpg", "a\\caf\u{e9}.jpg"] {
        let image = &read(&format!("{name},x\n")).unwrap().images[0];
        assert_eq!(
            fs::canonicalize(&image.path).unwrap(),
            fs::canonicalize(dir.path().join("a/caf\u{e9}.jpg")).unwrap()
        );
    }
    let absolute = dir.path().join("a/caf\u{e9}.jpg");
    assert_eq!(read(&format!("{},x\n", absolute.display())).unwrap().images[0].path, absolute);
    let error = read("a/caf\u{e9}.jpg,x\n1.jpg,x\n2.jpg,x\n").unwrap_err();
    assert_eq!(error, "DIR/list.csv, line 3: no such file: DIR/1.jpg (and 1 more of the list's images)");
    assert_eq!(read("a,x\n").unwrap_err(), "DIR/list.csv, line 2: DIR/a is a folder: list its images");
    let error = ImageList::read(dir.path().join("none.csv")).unwrap_err();
    assert!(matches!(error.kind, ListErrorKind::Read(_)) && std::error::Error::source(&error).is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn paths_may_be_in_any_encoding() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.jpg");
    fs::write(dir.path().join(name), "").unwrap();
    let list = dir.path().join("list.csv");
    fs::write(&list, b"path,label\ncaf\xe9.jpg,cafe\n").unwrap();
    assert_eq!(ImageList::read(&list).unwrap().images[0].path, dir.path().join(name));
}
