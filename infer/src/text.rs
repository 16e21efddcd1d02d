//! Tables for terminals.

use comfy_table::{CellAlignment, Table, presets};

/// A table without lines: what a row is about on the left, its numbers to the right.
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

/// Columns of a terminal that everyone has.
const WIDTH: usize = 80;

/// `name value` lines, the values below one another; long ones go on in the next line, words stay whole.
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
