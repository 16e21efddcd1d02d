//! Labels in plain text: one a line, with or without the number of the class, or all in one line.

use std::collections::HashSet;

/// Reason why lines of text are no labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinesError {
    /// There is no text.
    #[error("the text is empty")]
    Empty,
    /// There is one label only.
    #[error("there is only one label")]
    Single,
    /// A label in the middle is empty; skipping it would give the classes after it a wrong label.
    #[error("line {0} is empty, and lines with labels follow")]
    EmptyLine(usize),
    /// A label in a list with separators is empty.
    #[error("label {0} is empty")]
    EmptyLabel(usize),
    /// The numbers of classes are not complete.
    #[error("the labels are numbered, and no line has the number {0}")]
    Missing(usize),
    /// Two lines have the same number.
    #[error("the labels are numbered, and two lines have the number {0}")]
    Duplicate(usize),
    /// The numbers begin with 1 and are not in order.
    #[error("the labels are numbered from 1 on and not in order: number them from 0 on")]
    FromOne,
    /// A table has other columns than the number of a class and its label.
    #[error("the table has the columns `{0}`, and the number of a class and its label are read")]
    Columns(String),
    /// The text is of another format.
    #[error("is {0}, which is not read: write one label a line")]
    Format(&'static str),
}

/// Labels in the order of their classes.
///
/// Numbers of classes before the labels (`0: cat`, `0 cat`, `0,cat`) or after them (`cat,0`) are understood where they
/// are complete, and identifiers of WordNet (`n02123045 tabby`) are left out.
pub(super) fn labels(text: &str) -> Result<Vec<String>, LinesError> {
    let text = if text.contains('\n') { text.to_owned() } else { text.replace('\r', "\n") };
    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if let Some(at) = lines.iter().position(|line| line.is_empty()) {
        return Err(LinesError::EmptyLine(at + 1));
    }
    if let Some(format) = other_format(&lines) {
        return Err(LinesError::Format(format));
    }
    match &lines[..] {
        [] => Err(LinesError::Empty),
        [line] => separated(line),
        lines => {
            let labels =
                numbered(lines)?.unwrap_or_else(|| lines.iter().map(|line| line.to_string()).collect());
            Ok(without_ids(without_quotes(labels)))
        }
    }
}

/// Name of a format whose lines are no labels.
fn other_format(lines: &[&str]) -> Option<&'static str> {
    let starts = |start: &str| lines.iter().any(|line| line.starts_with(start));
    if starts("item {") || starts("item{") {
        return Some("a label map of TensorFlow (.pbtxt)");
    }
    if lines.iter().any(|line| line.trim_end_matches(['[', '{', ' ']) == "names:") || starts("names: [") {
        return Some("YAML");
    }
    lines.first().is_some_and(|line| line.starts_with("<?xml")).then_some("XML")
}

/// Labels in one line.
fn separated(line: &str) -> Result<Vec<String>, LinesError> {
    let separator = [',', ';', '\t'].into_iter().find(|separator| line.contains(*separator));
    let mut parts: Vec<&str> = line.split(separator.ok_or(LinesError::Single)?).map(str::trim).collect();
    if parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    match parts.iter().position(|part| part.is_empty()) {
        Some(at) => Err(LinesError::EmptyLabel(at + 1)),
        None if parts.len() < 2 => Err(LinesError::Single),
        None => Ok(parts.into_iter().map(str::to_owned).collect()),
    }
}

/// Number of a class with its label, and whether a clear separator is between them.
struct Entry<'a> {
    number: usize,
    label: &'a str,
    is_clear: bool,
}

const SEPARATORS: [char; 5] = [',', ';', ':', '=', '\t'];

/// A line such as `0: cat`.
fn number_first(line: &str) -> Option<Entry<'_>> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = line.split_at(digits);
    let label = rest.trim_start_matches([' ', '\u{a0}']);
    let clear = label.strip_prefix(SEPARATORS).map(str::trim);
    let entry = |label, is_clear| Some(Entry { number: number.parse().ok()?, label, is_clear });
    match clear {
        Some(label) => entry(label, true),
        None if label.len() < rest.len() => entry(label, false),
        None => None,
    }
}

/// A line such as `cat,0`.
fn number_last(line: &str) -> Option<Entry<'_>> {
    let (label, number) = line.rsplit_once(SEPARATORS)?;
    let number = number.trim();
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    Some(Entry { number: number.parse().ok().filter(|_| is_number)?, label: label.trim(), is_clear: true })
}

/// Labels in the order of the numbers before or after them; none where the lines are not numbered.
fn numbered(lines: &[&str]) -> Result<Option<Vec<String>>, LinesError> {
    let Some((lines, heads)) = table(lines)? else { return Ok(None) };
    let read = |number: fn(&str) -> Option<Entry<'_>>| -> Option<Vec<Entry<'_>>> {
        lines.iter().map(|line| number(line)).collect()
    };
    match (read(number_first), read(number_last), heads) {
        (Some(entries), ..) => ordered(entries, heads),
        (None, Some(entries), _) => ordered(entries, heads),
        (None, None, true) => Err(LinesError::Columns("index, label".into())),
        (None, None, false) => Ok(None),
    }
}

/// The lines without names of columns, and whether there were any; none where the columns name no numbers.
fn table<'a, 'b>(lines: &'a [&'b str]) -> Result<Option<(&'a [&'b str], bool)>, LinesError> {
    const NUMBERS: [&str; 9] =
        ["index", "id", "idx", "class_id", "class_index", "classid", "label_id", "number", "class id"];
    const LABELS: [&str; 8] =
        ["label", "name", "class", "class_name", "labels", "names", "classname", "display_name"];
    let Some((first, rest)) = lines.split_first() else { return Ok(None) };
    let columns: Vec<String> =
        first.split([',', ';', '\t']).map(|name| name.trim().trim_matches('"').to_lowercase()).collect();
    let count = |known: &[&str]| columns.iter().filter(|name| known.contains(&&name[..])).count();
    match (columns.len(), count(&NUMBERS), count(&LABELS)) {
        (2, 1, 1) => Ok(Some((rest, true))),
        (3.., 1.., 1..) => Err(LinesError::Columns(columns.join(", "))),
        _ => Ok(Some((lines, false))),
    }
}

/// Labels in the order of their numbers, which have to be complete where they are surely numbers of classes.
fn ordered(mut entries: Vec<Entry<'_>>, heads: bool) -> Result<Option<Vec<String>>, LinesError> {
    let in_order = entries.windows(2).all(|pair| pair[0].number < pair[1].number);
    let is_clear = heads || entries.iter().all(|entry| entry.is_clear);
    let distinct = entries.iter().map(|entry| entry.label).collect::<HashSet<_>>().len() == entries.len();
    entries.sort_by_key(|entry| entry.number);
    let first = entries.first().map_or(0, |entry| entry.number);
    let twice = entries.windows(2).find(|pair| pair[0].number == pair[1].number).map(|pair| pair[0].number);
    let missing = (first..).zip(&entries).find(|(at, entry)| *at != entry.number).map(|(at, _)| at);
    let labels = || Ok(Some(entries.iter().map(|entry| entry.label.to_owned()).collect()));
    match (first, twice, missing) {
        // `0 stars`, `1 stars`: the number is a part of the label.
        _ if !is_clear && !distinct => Ok(None),
        (0, None, None) => labels(),
        (1, None, None) if in_order => labels(),
        (1, None, None) => Err(LinesError::FromOne),
        (0 | 1, Some(twice), _) if is_clear => Err(LinesError::Duplicate(twice)),
        (0, _, Some(missing)) if is_clear || in_order => Err(LinesError::Missing(missing)),
        (1, _, Some(missing)) if heads => Err(LinesError::Missing(missing)),
        (2.., ..) if heads => Err(LinesError::Missing(0)),
        _ => Ok(None),
    }
}

fn without_quotes(labels: Vec<String>) -> Vec<String> {
    let inner = |label: &String| Some(label.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""));
    // A label with a comma is in quotation marks in a table, the others need not be.
    let is_table = labels.iter().all(|label| inner(label).is_some() || !label.contains([',', '"']));
    match is_table {
        true => labels.into_iter().map(|label| inner(&label).unwrap_or(label)).collect(),
        false => labels,
    }
}

/// Leaves out identifiers of WordNet, where every line has one and a label.
fn without_ids(labels: Vec<String>) -> Vec<String> {
    let name = |label: &String| {
        let (id, name) = label.split_once([' ', '\t', ','])?;
        Some(name.trim().to_owned()).filter(|name| is_wordnet_id(id) && !name.is_empty())
    };
    labels.iter().map(name).collect::<Option<_>>().unwrap_or(labels)
}

/// Tells whether this is an identifier of a noun in WordNet, as ImageNet's folders are called: `n02123045`.
pub(super) fn is_wordnet_id(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_numbers() {
        for text in [
            "cat\ndog\nbird\n",
            "cat\rdog\rbird",
            " cat \r\ndog\r\nbird\r\n\r\n",
            "0 cat\n1 dog\n2 bird",
            "0: cat\n1: dog\n2: bird",
            "2:bird\n0:cat\n1:dog",
            "0\tcat\n1\tdog\n2\tbird",
            "2,bird\n0,cat\n1,dog",
            "index,label\n0,cat\n1,dog\n2,bird",
            "Label;Index\nbird;2\ncat;0\ndog;1",
            "cat,0\nbird,2\ndog,1",
            "1 cat\n2 dog\n3 bird",
            "cat=0\ndog=1\nbird=2",
            "n00000001 cat\nn00000002 dog\nn00000003 bird",
            "0 n00000001 cat\n1 n00000002 dog\n2 n00000003 bird",
            "\"cat\"\n\"dog\"\n\"bird\"",
            "cat, dog,bird",
        ] {
            assert_eq!(labels(text).as_deref(), Ok(&["cat", "dog", "bird"].map(String::from)[..]), "{text}");
        }
        assert_eq!(labels("0,\"cat, tabby\"\n1,dog\n").unwrap(), ["cat, tabby", "dog"]);
        assert_eq!(
            labels("n00000001 tench, Tinca tinca\nn00000002 crane").unwrap(),
            ["tench, Tinca tinca", "crane"]
        );
    }

    #[test]
    fn numbers_that_belong_to_labels_stay() {
        for lines in [
            ["0 stars", "1 stars"],
            ["3 series", "5 series"],
            ["18-24", "25-34"],
            ["class 1", "class 0"],
            ["7", "3"],
            ["n00000001", "n00000002"],
            ["tench, Tinca tinca", "crane"],
            ["[UNK]", "cat"],
            ["12:30", "18:45"],
        ] {
            assert_eq!(labels(&lines.join("\n")).unwrap(), lines);
        }
    }

    #[test]
    fn what_would_shift_classes_is_refused() {
        for (text, error) in [
            ("", LinesError::Empty),
            ("\n \n", LinesError::Empty),
            ("cat", LinesError::Single),
            ("cat\n\ndog", LinesError::EmptyLine(2)),
            ("\ncat\ndog", LinesError::EmptyLine(1)),
            ("cat,,dog", LinesError::EmptyLabel(2)),
            ("0: cat\n2: dog", LinesError::Missing(1)),
            ("0 cat\n1 dog\n3 bird", LinesError::Missing(2)),
            ("0,cat\n0,dog", LinesError::Duplicate(0)),
            ("2 cat\n1 dog", LinesError::FromOne),
            ("index,label\n1,cat\n3,dog", LinesError::Missing(2)),
            ("id,name,parent\n0,cat,1", LinesError::Columns("id, name, parent".into())),
            ("names:\n  0: cat\n  1: dog", LinesError::Format("YAML")),
            ("item {\n id: 1\n}", LinesError::Format("a label map of TensorFlow (.pbtxt)")),
        ] {
            assert_eq!(labels(text), Err(error), "{text}");
        }
    }
}
