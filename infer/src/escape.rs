//! Escaping of names for terminals: names of files and classes may hold anything.
//!
//! A raw escape sequence in a name could move the cursor, colour the output or retitle the window, and a newline or a
//! bidirectional control could forge a line. Data formats (JSON, CSV) stay exact and are not escaped here.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::path::Path;

/// Escapes control characters, newlines and bidirectional controls in a name: `a\nb`, `\u{1b}[31m`.
pub fn name(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Escapes a text of several lines as [`name`] does, and keeps its newlines and tabs.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// Shows a path with its [`name`] escaped, and bytes that are not UTF-8 as `\xE9`.
pub fn path(path: &(impl AsRef<Path> + ?Sized)) -> impl fmt::Display {
    EscapedPath(path.as_ref())
}

struct EscapedPath<'a>(&'a Path);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_encoded_bytes().utf8_chunks() {
            f.write_str(&name(chunk.valid()))?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))?;
        }
        Ok(())
    }
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_unsafe(c) {
            // Writing to a string cannot fail.
            true => drop(write!(safe, "{}", c.escape_default())),
            false => safe.push(c),
        }
    }
    safe.into()
}

/// Tells whether a terminal would act on a character instead of showing it.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{2028}' | '\u{2029}' // separators of lines and paragraphs
            | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}') // invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_control() {
        assert_eq!(name("a\u{1b}[31mb\n\u{7f}\u{9b}"), "a\\u{1b}[31mb\\n\\u{7f}\\u{9b}");
        assert_eq!(name("cat\u{202e}gnp.exe\u{2066}"), "cat\\u{202e}gnp.exe\\u{2066}");
        assert_eq!(text("a\tb\nc\r\u{7}"), "a\tb\nc\\r\\u{7}");
    }

    #[test]
    fn names_of_all_scripts_stay_as_they_are() {
        for plain in ["café", "猫 1", "שלום", "👨\u{200d}👩\u{200d}👧", "C:\\cats", "e\u{301}"] {
            assert!(matches!(name(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf8_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;
        let shown = |bytes: &[u8]| path(std::ffi::OsStr::from_bytes(bytes)).to_string();
        assert_eq!(shown(b"caf\xe9/1.png"), "caf\\xE9/1.png");
        assert_ne!(shown(b"\xe9"), shown(b"\xe8"));
    }
}
