//! Table for people: the path of an image, then its classes. Errors go to standard error.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};
use ferronnx_infer::bulk::rows::RowWriter;
use ferronnx_infer::escape;
use ferronnx_infer::results::{Classified, Outcome, Prediction};

/// Width of the narrowest terminal, in columns.
const WIDTH: u16 = 80;

/// Writer of tables.
pub struct Table<W> {
    out: W,
}

impl<W: Write> Table<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> RowWriter for Table<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        let Outcome::Classified(Classified { path, predictions, .. }) = outcome else { return Ok(()) };
        writeln!(self.out, "{}", escape::path(path))?;
        writeln!(self.out, "{}", classes(predictions))?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Table of predictions; long labels are wrapped.
fn classes(predictions: &[Prediction]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    for (rank, Prediction { label, probability, selected, .. }) in (1..).zip(predictions) {
        let percent = f64::from(*probability) * 100.0;
        let selected = if *selected == Some(true) { " (selected)" } else { "" };
        let label = format!("{}{selected}", escape::name(label));
        table.add_row([rank.to_string(), format!("{percent:.2} %"), label]);
    }
    for (index, width) in [(0, 5), (1, 10)] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(index: usize, label: &str, probability: f32) -> Prediction {
        Prediction { index, label: label.into(), probability, selected: None }
    }

    #[test]
    fn aligned() {
        let text = classes(&[prediction(3, "cat", 0.9721), prediction(5, "dog", 0.0279)]);
        insta::assert_snapshot!(text, @r"
            1   97.21 %  cat
            2    2.79 %  dog
        ");
    }

    #[test]
    fn long_labels_stay_within_the_terminal() {
        let text = classes(&[prediction(0, &"very long label ".repeat(20), 1.0), prediction(1, "猫", 0.0)]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH.into()), "{text}");
    }
}
