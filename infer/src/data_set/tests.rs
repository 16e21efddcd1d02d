//! Tests of data sets: the part to evaluate on, and labels that do not fit.

use std::fs;

use super::*;

fn open(text: &str) -> (tempfile::TempDir, DataSet) {
    let dir = tempfile::tempdir().unwrap();
    for index in 1..=4 {
        fs::write(dir.path().join(format!("{index}.png")), "x").unwrap();
    }
    fs::write(dir.path().join("list.csv"), text).unwrap();
    let data = DataSet::open(dir.path().join("list.csv")).unwrap();
    (dir, data)
}

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|&class| class.into()).collect()
}

#[test]
fn the_test_images_are_evaluated_or_else_others_that_were_not_trained_on() {
    let all = "path,label,split\n1.png,a,train\n2.png,a,val\n3.png,a,test\n";
    let split = |text: &str| open(text).1.held_out().map(|(split, images)| (split, images.len())).unwrap();
    assert_eq!(split(all), (Some(Split::Test), 1));
    assert_eq!(split("path,label,split\n1.png,a,train\n2.png,a,val\n"), (Some(Split::Validation), 1));
    assert_eq!(split("path,label\n1.png,a\n2.png,b\n"), (None, 2));
    let (_dir, data) = open("path,label,split\n1.png,a,train\n");
    assert!(data.held_out().unwrap_err().to_string().contains("holds training images only"));
    assert_eq!(open(all).1.description(), "1 training images, 1 validation images, 1 test images");
}

#[test]
fn labels_that_do_not_fit_are_named_with_their_lines() {
    let samples = |text: &str, classes: &[&str]| {
        let (dir, data) = open(text);
        let samples = data.samples(&data.images, &names(classes));
        let text = |error: DataSetError| error.to_string().replace(dir.path().to_str().unwrap(), "DIR");
        samples.map(|samples| samples.iter().map(Sample::label).collect::<Vec<_>>()).map_err(text)
    };
    assert_eq!(samples("path,label\n1.png,b\n2.png,a\n", &["a", "b"]), Ok(vec![1, 0]));
    assert_eq!(samples("path,label\n1.png,cafe\u{301}\n", &["caf\u{e9}"]), Ok(vec![0]));
    assert_eq!(samples("path,label\n1.png,caf\u{e9}\n", &["cafe\u{301}"]), Ok(vec![0]));
    let error = samples("path,label\n1.png,a\n2.png,x\u{1b}\n3.png,c\n", &["a", "b"]).unwrap_err();
    assert_eq!(error, "classes c, x\\u{1b} in DIR/list.csv, line 3 are none of the known ones (a, b)");
    let error = samples("path,label\n1.png,a\n2.png,a;b\n", &["a", "b"]).unwrap_err();
    assert_eq!(error, "DIR/list.csv, line 3 has several labels (a, b), and one is needed");
    assert_eq!(samples("path,label\n1.png,\n", &["a"]).unwrap_err(), "DIR/list.csv, line 2 has no label");
    // ImageNet has two classes `crane`: a bird and a machine.
    let error = samples("path,label\n1.png,crane\n", &["crane", "b", "crane"]).unwrap_err();
    assert!(error.starts_with("class crane in DIR/list.csv, line 2 is ambiguous"), "{error}");
}

#[test]
fn a_path_that_leads_nowhere_is_named() {
    let error = DataSet::open("no/such").unwrap_err().to_string();
    assert_eq!(error, "no/such: no such file or folder");
}
