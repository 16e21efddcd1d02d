use super::*;

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Place::Local(dir.path().join("made/here"));
    assert_eq!(files(&folder).unwrap(), [""; 0]);
    let place = folder.join("part-0.jsonl");
    let mut output = Output::create(&place).unwrap();
    output.write_all(b"half").unwrap();
    assert!(!exists(&place).unwrap());
    drop(output);
    assert!(!exists(&place).unwrap() && files(&folder).unwrap().is_empty());
    let mut output = Output::create(&place).unwrap();
    output.write_all(b"all").unwrap();
    output.finish().unwrap();
    assert_eq!(
        (read(&place, 3).unwrap(), files(&folder).unwrap()),
        (b"all".to_vec(), vec!["part-0.jsonl".into()])
    );
    assert_eq!(read(&place, 2).unwrap_err().kind().name(), "too_large");
    delete(&place).unwrap();
    delete(&place).unwrap();
    assert_eq!(read(&place, 3).unwrap_err().kind().name(), "not_found");
}

#[test]
fn web_addresses_are_not_written() {
    let error = Output::create(&Place::parse("https://host/x?token=abc").unwrap()).err().unwrap();
    assert!(error.to_string().starts_with("https://host/x: cannot be written"), "{error}");
}
