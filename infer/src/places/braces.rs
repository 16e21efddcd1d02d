//! Names with braces, as shells expand them: `train-{000000..000099}.tar` and `{train,val}.tar`.

use super::PlaceError;

/// Largest number of names of one pattern.
const MAX_NAMES: usize = 1_000_000;

/// Expands the braces in `text`, the first ones outermost; a text without braces is its only name.
///
/// A range of numbers keeps the zeros at their beginning; it may go down.
///
/// # Errors
/// [`PlaceError::Braces`] for braces that hold neither a range nor several words, and [`PlaceError::TooManyNames`].
pub(super) fn expand(text: &str) -> Result<Vec<String>, PlaceError> {
    let mut names = vec![String::new()];
    let mut rest = text;
    while let Some((before, inner, after)) = first_braces(rest) {
        let words = words(inner)?;
        if names.len().saturating_mul(words.len()) > MAX_NAMES {
            return Err(PlaceError::TooManyNames(MAX_NAMES));
        }
        let with =
            |name: &String| words.iter().map(|word| format!("{name}{before}{word}")).collect::<Vec<_>>();
        names = names.iter().flat_map(with).collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// Text before the first braces, in them and behind them.
fn first_braces(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (inner, after) = rest.split_once('}')?;
    Some((before, inner, after))
}

fn words(inner: &str) -> Result<Vec<String>, PlaceError> {
    let wrong = || PlaceError::Braces(inner.into());
    let Some((first, last)) = inner.split_once("..") else {
        let words: Vec<String> = inner.split(',').map(String::from).collect();
        return if words.len() > 1 { Ok(words) } else { Err(wrong()) };
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten().ok_or_else(wrong)
    };
    let (from, to) = (number(first)?, number(last)?);
    if from.abs_diff(to) >= MAX_NAMES as u64 {
        return Err(PlaceError::TooManyNames(MAX_NAMES));
    }
    let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    let word = |number: u64| format!("{number:0width$}");
    Ok(if from <= to { (from..=to).map(word).collect() } else { (to..=from).rev().map(word).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_words_are_expanded_as_bash_does() {
        let names = |text: &str| expand(text).unwrap();
        assert_eq!(names("a.tar"), ["a.tar"]);
        assert_eq!(names("s-{008..011}.tar"), ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]);
        assert_eq!(names("{9..11}"), ["9", "10", "11"]);
        assert_eq!(names("{2..0}"), ["2", "1", "0"]);
        assert_eq!(names("{a,b}/{0..1}.tar"), ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]);
        assert_eq!(names("x{,-old}"), ["x", "x-old"]);
        assert_eq!(names("{01..3}"), ["01", "02", "03"]);
    }

    #[test]
    fn other_braces_are_refused() {
        for text in ["{a}", "{}", "{1..}", "{a..c}", "{-1..2}", "{1..2..3}"] {
            assert!(matches!(expand(text), Err(PlaceError::Braces(_))), "{text}");
        }
        for text in ["{0..9999999}", "{0..99999}{0..99999}"] {
            assert!(matches!(expand(text), Err(PlaceError::TooManyNames(_))), "{text}");
        }
        assert_eq!(expand("open{.tar").unwrap(), ["open{.tar"]);
    }
}
