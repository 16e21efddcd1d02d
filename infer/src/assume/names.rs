//! Names of classes in text: Python dicts and lists, JSON, and plain text.
//!
//! Tools store them in a model's metadata under `names` (Ultralytics), `class_names`, `classes`, `labels`, `id2label`
//! (Hugging Face) or `character` (PaddleOCR).

use super::lines::{self, LinesError};
use super::literal::{self, Literal, LiteralError};

/// Reason why a text does not name classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The text begins like a list or dict, and is none.
    #[error("neither JSON nor a list or dict of Python")]
    Literal(#[source] LiteralError),
    /// The lines of plain text are no labels.
    #[error("no labels")]
    Lines(#[source] LinesError),
    /// The text is a set, which has no order.
    #[error("a set, whose order is not known")]
    Set,
    /// The text holds no labels.
    #[error("holds no labels")]
    Empty,
    /// A class has no label.
    #[error("class {index} has no label, though the numbers go up to {last}")]
    Missing {
        /// Number of the class.
        index: usize,
        /// Largest number of a class.
        last: usize,
    },
    /// A class has two labels.
    #[error("class {0} has two labels")]
    Duplicate(usize),
    /// The keys of a dict are no numbers of classes, and neither are the values.
    #[error("`{0}` is no number of a class")]
    Number(String),
    /// Both keys and values of a dict are numbers of classes.
    #[error("maps numbers to numbers: which are classes and which are labels is not clear")]
    Ambiguous,
    /// A label is a list or dict.
    #[error("the label of class {0} is neither text nor a number")]
    Label(usize),
}

/// Keys of objects that hold the labels and more.
const KEYS: [&str; 13] = [
    "names",
    "class_names",
    "classes",
    "labels",
    "id2label",
    "idx_to_class",
    "label_names",
    "label2id",
    "class_to_idx",
    "class_indices",
    "categories",
    "index2label",
    "label_map",
];

/// Parses labels in the order of their classes.
///
/// The text is a list, a dict from class to label or from label to class, in JSON or as Python prints it, or plain text
/// with commas or line breaks between the labels. Numbers, `True` and `None` are labels as they are written.
///
/// # Errors
/// [`NamesError`] when it is none of these, or when a class has no label or two.
pub fn labels(text: &str) -> Result<Vec<String>, NamesError> {
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    let Some(closing) = closing(text) else {
        return lines::labels(text).map_err(NamesError::Lines);
    };
    match literal::parse(text) {
        Ok(literal) => of_literal(&literal),
        // Plain text may begin with a quotation mark or a bracket: `(cat), dog` or `'s-Hertogenbosch, Delft`.
        Err(_) if text.starts_with(['\'', '"', '(']) && !text.ends_with(closing) => {
            lines::labels(text).map_err(NamesError::Lines)
        }
        Err(error) => Err(NamesError::Literal(error)),
    }
}

/// Parses the characters that PaddleOCR stores as `character`: one a line, white space included.
pub fn characters(text: &str) -> Vec<String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).collect()
}

/// The character that ends a literal which begins as `text` does; none for plain text.
fn closing(text: &str) -> Option<char> {
    let constructors =
        ["OrderedDict(", "collections.", "array(", "np.array(", "dict(", "dict_values(", "list(", "tuple("];
    match text.chars().next()? {
        '[' => Some(']'),
        '{' => Some('}'),
        '(' => Some(')'),
        quote @ ('\'' | '"') => Some(quote),
        _ => constructors.iter().any(|name| text.starts_with(name)).then_some(')'),
    }
}

/// Labels in a value of a JSON file or a Python literal.
pub(super) fn of_literal(literal: &Literal) -> Result<Vec<String>, NamesError> {
    match literal {
        Literal::Set => Err(NamesError::Set),
        Literal::List(items) if items.is_empty() => Err(NamesError::Empty),
        Literal::List(items) => list(items),
        Literal::Dict(entries) if entries.is_empty() => Err(NamesError::Empty),
        Literal::Dict(entries) => match inner(entries) {
            Some(inner) => of_literal(inner),
            None => dict(entries),
        },
        // Labels as text inside of text, as in a JSON string of JSON.
        Literal::Text(text) if closing(text.trim()).is_some() => match literal::parse(text) {
            Ok(inner @ (Literal::List(_) | Literal::Dict(_) | Literal::Set)) => of_literal(&inner),
            Ok(_) => Err(NamesError::Lines(LinesError::Single)),
            Err(error) => Err(NamesError::Literal(error)),
        },
        Literal::Text(text) => lines::labels(text).map_err(NamesError::Lines),
        Literal::Word(_) | Literal::Integer(_) => Err(NamesError::Lines(LinesError::Single)),
    }
}

/// The labels of an object that holds them under one of [`KEYS`].
fn inner(entries: &[(Literal, Literal)]) -> Option<&Literal> {
    let holds = |value: &&Literal| matches!(value, Literal::List(_) | Literal::Dict(_));
    KEYS.into_iter().find_map(|key| entry(entries, key).filter(holds))
}

pub(super) fn entry<'a>(entries: &'a [(Literal, Literal)], name: &str) -> Option<&'a Literal> {
    entries.iter().find(|(key, _)| matches!(key, Literal::Text(text) if text == name)).map(|(_, value)| value)
}

fn list(items: &[Literal]) -> Result<Vec<String>, NamesError> {
    let numbered = |item: &Literal| match item {
        Literal::Dict(entries) => {
            ["id", "index", "class_id"].iter().find_map(|key| number(entry(entries, key)?))
        }
        _ => None,
    };
    let labels = || items.iter().enumerate().map(|(index, item)| label(item).ok_or(NamesError::Label(index)));
    match items.iter().map(numbered).collect::<Option<Vec<_>>>() {
        // As in COCO: `[{"id": 0, "name": "cat"}]`.
        Some(numbers) => in_order(numbers.into_iter().zip(labels().collect::<Result<Vec<_>, _>>()?)),
        None => labels().collect(),
    }
}

/// Text of a label: a text or number, the second of `["n02123045", "tabby"]`, or the `name` of an object.
fn label(item: &Literal) -> Option<String> {
    match item {
        Literal::Text(text) | Literal::Word(text) => Some(text.clone()),
        Literal::Integer(number) => Some(number.to_string()),
        Literal::List(pair) => match &pair[..] {
            [Literal::Text(id), Literal::Text(name)] if lines::is_wordnet_id(id) => Some(name.clone()),
            _ => None,
        },
        Literal::Dict(entries) => match entry(entries, "name").or_else(|| entry(entries, "label"))? {
            Literal::Text(name) => Some(name.clone()),
            _ => None,
        },
        Literal::Set => None,
    }
}

/// Number of a class: an integer, or its text.
fn number(literal: &Literal) -> Option<usize> {
    match literal {
        Literal::Integer(number) => usize::try_from(*number).ok(),
        Literal::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn dict(entries: &[(Literal, Literal)]) -> Result<Vec<String>, NamesError> {
    let forward = || numbered(entries.iter().map(|(key, value)| (key, value)));
    let inverted = || numbered(entries.iter().map(|(key, value)| (value, key)));
    match (forward(), inverted()) {
        (Ok(labels), Ok(same)) if labels == same => Ok(labels),
        // Numbers that are keys of Python are classes: labels would be texts.
        (Ok(labels), Ok(_)) if !entries.iter().any(|(key, _)| matches!(key, Literal::Text(_))) => Ok(labels),
        (Ok(_), Ok(_)) => Err(NamesError::Ambiguous),
        (Ok(labels), Err(_)) | (Err(_), Ok(labels)) => Ok(labels),
        (Err(error), Err(_)) if entries.iter().any(|(key, _)| number(key).is_some()) => Err(error),
        (Err(_), Err(error)) if entries.iter().any(|(_, value)| number(value).is_some()) => Err(error),
        (Err(error), Err(_)) => Err(error),
    }
}

fn numbered<'a>(
    entries: impl Iterator<Item = (&'a Literal, &'a Literal)>,
) -> Result<Vec<String>, NamesError> {
    let pair = |(class, name): (&Literal, &Literal)| {
        let text = || label(class).unwrap_or_else(|| "a list".into());
        let index = number(class).ok_or_else(|| NamesError::Number(text()))?;
        Ok((index, label(name).ok_or(NamesError::Label(index))?))
    };
    in_order(entries.map(pair).collect::<Result<Vec<_>, _>>()?.into_iter())
}

/// Labels in the order of their classes, of which each has to have just one.
pub(super) fn in_order(
    entries: impl ExactSizeIterator<Item = (usize, String)>,
) -> Result<Vec<String>, NamesError> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(index, _)| *index);
    let last = entries.last().map_or(0, |(index, _)| *index);
    if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(NamesError::Duplicate(twice[0].0));
    }
    match (0..).zip(&entries).find(|(expected, (index, _))| expected != index) {
        Some((index, _)) => Err(NamesError::Missing { index, last }),
        None => Ok(entries.into_iter().map(|(_, label)| label).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assume::literal::LiteralReason;

    fn ok(text: &str) -> Vec<String> {
        labels(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_spelling_of_three_colours() {
        for text in [
            "{2: 'blue', 0: 'red', 1: 'green'}",
            "{0: 'red', 1: 'green', 2: 'blue',}",
            "{'0': 'red', '2': 'blue', '1': 'green'}",
            r#"{"2": "blue", "0": "red", "1": "green"}"#,
            r#"{"blue": 2, "red": 0, "green": 1}"#,
            "{'blue': 2, 'red': 0, 'green': 1}",
            r#"["red","green","blue"]"#,
            "['red', 'green', 'blue']",
            "['red' 'green' 'blue']",
            "['red' 'green'\n 'blue']",
            "('red', 'green', 'blue')",
            "'red', 'green', 'blue'",
            r#""red","green","blue""#,
            "[r'red', u'green', b'blue',]",
            "[\n  'red',\n  \"green\",\n  'bl' 'ue'\n]",
            "OrderedDict([(0, 'red'), (1, 'green'), (2, 'blue')])",
            "OrderedDict({1: 'green', 0: 'red', 2: 'blue'})",
            "collections.OrderedDict([('red', 0), ('green', 1), ('blue', 2)])",
            "array(['red', 'green', 'blue'], dtype='<U5')",
            "array(['red', 'green', 'blue'], dtype=object)",
            "[np.str_('red'), np.str_('green'), np.str_('blue')]",
            "{np.int64(0): 'red', np.int64(1): 'green', np.int64(2): 'blue'}",
            "dict_values(['red', 'green', 'blue'])",
            "red,green,blue",
            "red, green, blue,",
            "red\ngreen\r\nblue\n",
            "0: red\n2: blue\n1: green",
            "red;green;blue",
            r#"{"names": {"0": "red", "1": "green", "2": "blue"}, "nc": 3}"#,
            r#"{"id2label": {"0": "red", "1": "green", "2": "blue"}, "label2id": {}}"#,
            r#"[{"id": 2, "name": "blue"}, {"id": 0, "name": "red"}, {"id": 1, "name": "green"}]"#,
            r#"{"0": ["n00000001", "red"], "1": ["n00000002", "green"], "2": ["n00000003", "blue"]}"#,
            r#""{0: 'red', 1: 'green', 2: 'blue'}""#,
            r#""[\"red\", \"green\", \"blue\"]""#,
            "\u{feff}['red', 'green', 'blue']",
        ] {
            assert_eq!(ok(text), ["red", "green", "blue"], "{text}");
        }
    }

    #[test]
    fn labels_with_odd_signs() {
        assert_eq!(ok(r#"{0: 'dog\'s', 1: "cat's", 2: 'say "hi"'}"#), ["dog's", "cat's", "say \"hi\""]);
        assert_eq!(
            ok(r"['\x41', '\u00e9', '\U0001f600', '\101', '\n', 'a\\b']"),
            ["A", "é", "😀", "A", "\n", "a\\b"]
        );
        assert_eq!(ok(r"['\ud83d\ude00', 'b']"), ["😀", "b"]);
        assert_eq!(ok(r#"["\ud83d\ude00", "a\/b"]"#), ["😀", "a/b"]);
        assert_eq!(ok(r"['\d+', r'\n']"), ["\\d+", "\\n"]);
        assert_eq!(ok("{0: '{a}', 1: '[b]', 2: 'c, d', 3: ''}"), ["{a}", "[b]", "c, d", ""]);
        assert_eq!(ok("['''it's''', \"\"\"a\nb\"\"\"]"), ["it's", "a\nb"]);
        assert_eq!(
            ok("[1, 2.50, None, True, -3, 1e3, 007]"),
            ["1", "2.50", "None", "True", "-3", "1e3", "007"]
        );
        assert_eq!(ok("[1, 2.5, null, true]"), ["1", "2.5", "null", "true"]);
        assert_eq!(ok("{0: 5, 1: 3}"), ["5", "3"]);
        assert_eq!(ok("{'5': 0, '3': 1}"), ["5", "3"]);
        assert_eq!(ok("{0: 1, 1: 0}"), ["1", "0"]);
        assert_eq!(ok("{'0': 0, '1': 1}"), ["0", "1"]);
        assert_eq!(ok("['names', 'classes']"), ["names", "classes"]);
        assert_eq!(ok("{'names': 0, 'classes': 1}"), ["names", "classes"]);
        assert_eq!(ok("'s-Hertogenbosch, Delft"), ["'s-Hertogenbosch", "Delft"]);
        assert_eq!(ok("(cat), dog"), ["(cat)", "dog"]);
        assert_eq!(characters("a\n \n\u{3000}\r\nb\n"), ["a", " ", "\u{3000}", "b"]);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let missing = |index, last| Err(NamesError::Missing { index, last });
        assert_eq!(labels("{0: 'a', 2: 'c'}"), missing(1, 2));
        assert_eq!(labels("{1: 'a', 2: 'b'}"), missing(0, 2));
        assert_eq!(labels("{'a': 1, 'b': 2}"), missing(0, 2));
        assert_eq!(labels("{0: 'a', 0: 'b'}"), Err(NamesError::Duplicate(0)));
        assert_eq!(labels(r#"{"0": "a", "0": "b"}"#), Err(NamesError::Duplicate(0)));
        assert_eq!(labels("{'a': 0, 'b': 0}"), Err(NamesError::Duplicate(0)));
        assert_eq!(labels("{'0': 1, '1': 2, '2': 0}"), Err(NamesError::Ambiguous));
        assert_eq!(labels("{'a', 'b'}"), Err(NamesError::Set));
        assert_eq!(labels("{-1: 'a', 0: 'b'}"), Err(NamesError::Number("-1".into())));
        assert_eq!(labels("{'x': 'a'}"), Err(NamesError::Number("x".into())));
        assert_eq!(labels("[['a', 'b'], ['c', 'd']]"), Err(NamesError::Label(0)));
        assert_eq!(labels("{0: {'x': 1}}"), Err(NamesError::Label(0)));
        assert_eq!(labels("[]"), Err(NamesError::Empty));
        assert_eq!(labels("{}"), Err(NamesError::Empty));
        for text in ["", "cat", "  ", "3", "\"cat\"", "a,,b", "a\n\nb"] {
            assert!(matches!(labels(text), Err(NamesError::Lines(_))), "{text}");
        }
    }

    #[test]
    fn a_damaged_literal_says_where() {
        let error = |text: &str| match labels(text) {
            Err(NamesError::Literal(error)) => error,
            other => panic!("{text:.30}: {other:?}"),
        };
        assert_eq!(error("{0: 'cat'"), LiteralError { at: 10, reason: LiteralReason::End });
        assert_eq!(error("{0: 'cat\\").reason, LiteralReason::End);
        assert_eq!(error("['a' 1]").reason, LiteralReason::Unexpected('1'));
        assert_eq!(error("['a'] x").reason, LiteralReason::Unexpected('x'));
        assert_eq!(error("[f'a', 'b']").reason, LiteralReason::Prefix("f".into()));
        assert_eq!(error(r"['\N{DIGIT ONE}']").reason, LiteralReason::Escape);
        assert_eq!(error(r"['\xg1']").reason, LiteralReason::Escape);
        assert_eq!(error(r"['\ud83d', 'b']").reason, LiteralReason::Escape);
        assert_eq!(error(r"[b'\xe9', 'b']").reason, LiteralReason::Escape);
        assert_eq!(error("[cat, dog]").reason, LiteralReason::Name("cat".into()));
        assert_eq!(error("[open('x')]").reason, LiteralReason::Name("open".into()));
        assert_eq!(error("{0: 'a\nb'}").reason, LiteralReason::Unexpected('\n'));
        for nested in ["[".repeat(100_000), "{0:".repeat(100_000), "np.array(".repeat(100_000)] {
            assert_eq!(error(&nested).reason, LiteralReason::Depth);
        }
    }
}
