//! Sample of a shard: images and labels with one key.

use serde_json::Value;

use crate::places::{Label, names};

/// Extensions of files with labels, most reliable first: a `.txt` is as often a caption.
const SIDECARS: [&str; 3] = ["cls", "json", "txt"];

/// Fields of a JSON file that hold the label, preferred ones first.
const FIELDS: [&str; 5] = ["label", "labels", "class", "classes", "cls"];

/// Number and bytes of images after which a sample is taken as complete, so that it fits into memory.
const MAX_IMAGES: usize = 16;
const MAX_BYTES: usize = 64 << 20;

/// Members of a shard with one key: their name up to the first dot of its last part.
#[derive(Default)]
pub(super) struct Sample {
    key: String,
    images: Vec<(String, Vec<u8>)>,
    /// Labels with the name, without its extension, of the image that they belong to; most reliable first.
    labels: Vec<(usize, String, Vec<Label>)>,
}

impl Sample {
    /// Tells whether a member belongs to the sample.
    pub fn holds(&self, name: &str) -> bool {
        let bytes: usize = self.images.iter().map(|(_, bytes)| bytes.len()).sum();
        self.key == key(name) && self.images.len() < MAX_IMAGES && bytes < MAX_BYTES
    }

    /// Takes in an image or a file with labels.
    pub fn add(&mut self, name: String, bytes: Vec<u8>, is_image: bool) {
        self.key = key(&name).into();
        if is_image {
            return self.images.push((name, bytes));
        }
        let (stem, extension) = split(&name);
        let rank = SIDECARS.iter().position(|sidecar| extension.eq_ignore_ascii_case(sidecar));
        if let (Some(rank), Some(labels)) = (rank, labels(extension, &bytes)) {
            self.labels.push((rank, stem.into(), labels));
        }
    }

    /// Takes the images out, each with its labels: of the files beside it, else of its folder.
    pub fn take(&mut self) -> Vec<(String, Option<Vec<Label>>, Vec<u8>)> {
        let Self { images, mut labels, .. } = std::mem::take(self);
        labels.sort_by_key(|(rank, ..)| *rank);
        let labelled = |(name, bytes): (String, Vec<u8>)| {
            let beside =
                labels.iter().find(|(_, stem, _)| stem == split(&name).0).map(|(.., labels)| labels.clone());
            let folder = || names::class_of(&name).0.map(|class| vec![Label::named(class)]);
            let labels = beside.or_else(folder);
            (name, labels, bytes)
        };
        images.into_iter().map(labelled).collect()
    }
}

/// Tells whether a member may hold labels, by its extension.
pub(super) fn is_sidecar(name: &str) -> bool {
    SIDECARS.iter().any(|sidecar| split(name).1.eq_ignore_ascii_case(sidecar))
}

fn key(name: &str) -> &str {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find('.').map_or(name, |dot| &name[..last + dot])
}

/// Name without its extension, and the extension.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

/// Labels in a file: a number or a name as text, or a field of a JSON object.
fn labels(extension: &str, bytes: &[u8]) -> Option<Vec<Label>> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !extension.eq_ignore_ascii_case("json") {
        return Label::parse(text).map(|label| vec![label]);
    }
    let json: Value = serde_json::from_str(text).ok()?;
    let field = FIELDS.iter().find_map(|field| json.get(field))?;
    match field {
        Value::Array(labels) => labels.iter().map(of_json).collect(),
        label => of_json(label).map(|label| vec![label]),
    }
}

fn of_json(value: &Value) -> Option<Label> {
    match value {
        Value::Number(number) => usize::try_from(number.as_u64()?).ok().map(Label::Index),
        Value::String(name) if !name.trim().is_empty() => Some(Label::named(name.trim())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_last_part() {
        assert_eq!((key("a.b/c.d.jpg"), key("0001.cls"), key("a.b/c")), ("a.b/c", "0001", "a.b/c"));
    }

    #[test]
    fn labels_are_numbers_names_or_fields() {
        let label = |extension, text: &str| labels(extension, text.as_bytes());
        assert_eq!(label("cls", "3\n"), Some(vec![Label::Index(3)]));
        assert_eq!(label("txt", "cat"), Some(vec![Label::Name("cat".into())]));
        assert_eq!(label("txt", "a cat\non a mat"), None);
        assert_eq!(label("json", r#"{"caption": "x", "label": 3}"#), Some(vec![Label::Index(3)]));
        let both = Some(vec![Label::Index(1), Label::Name("dog".into())]);
        assert_eq!(label("json", r#"{"labels": [1, "dog"]}"#), both);
        assert_eq!(label("json", r#"{"labels": []}"#), Some(vec![]));
        for odd in
            [r#"{"label": -1}"#, r#"{"label": 1.5}"#, r#"{"label": null}"#, "[]", "{", r#"{"url": "x"}"#]
        {
            assert_eq!(label("json", odd), None, "{odd}");
        }
    }

    #[test]
    fn an_image_has_the_labels_of_its_own_name() {
        let mut sample = Sample::default();
        sample.add("1.txt".into(), b"a caption".to_vec(), false);
        sample.add("1.jpg".into(), vec![1], true);
        sample.add("1.mask.png".into(), vec![2], true);
        assert!(sample.holds("1.cls") && !sample.holds("2.cls") && !sample.holds("x/1.cls"));
        sample.add("1.cls".into(), b"7".to_vec(), false);
        let images = sample.take();
        assert_eq!(images[0], ("1.jpg".into(), Some(vec![Label::Index(7)]), vec![1]));
        assert_eq!(images[1], ("1.mask.png".into(), None, vec![2]));
        sample.add("dogs/2.jpg".into(), vec![], true);
        assert_eq!(sample.take()[0].1, Some(vec![Label::Name("dogs".into())]));
    }
}
