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

/// `name value` lines, the values below one another.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(14);
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name:<width$} {value}")).collect();
    lines.join("\n")
}
