//! Fuzzes lists of labelled images: each is read or refused, and every image has a path and a line of its own.
#![no_main]

use ferronnx_infer::image_list::ImageList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = ImageList::parse(bytes, "list.csv") {
        let lines: Vec<_> = list.images.iter().map(|image| image.line.expect("a line")).collect();
        assert!(lines.first().is_some_and(|&line| line > 0) && lines.is_sorted_by(|a, b| a < b));
        for image in &list.images {
            assert!(!image.path.as_os_str().is_empty());
            assert!(image.labels.iter().all(|label| !label.is_empty() && !label.contains(['\n', ';'])));
        }
    }
});
