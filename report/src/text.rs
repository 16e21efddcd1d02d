//! Tables and lists for terminals.

use comfy_table::{CellAlignment, Table, presets};

/// Formats a table without lines; the first column is left-aligned, the others right-aligned.
pub fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// Number with the word for a thing, which takes an `s` unless there is one: `1 part`, `2 parts`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Width of the narrowest terminal, in columns.
const WIDTH: usize = 80;

/// Formats lines of `name value` with aligned values; long values are wrapped between words.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(14);
    let indent = " ".repeat(width + 1);
    let how = textwrap::Options::new(WIDTH)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    let line = |(name, value): &(&str, String)| textwrap::fill(&format!("{name:<width$} {value}"), &how);
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}
