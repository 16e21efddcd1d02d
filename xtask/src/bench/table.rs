//! Tables of the latencies, in Markdown.

use std::fmt::Write;

use super::{NetworkRow, Row};

/// A table of the attention layers and a table of the whole network.
pub fn markdown(rows: &[Row], network: &[NetworkRow]) -> String {
    let mut text = String::from(
        "Medians in us. *Bound*: time to copy as many bytes as the layer has to read and write, with as many threads.\n\n\
         | layer | stage | batch | threads | libtorch | ONNX Runtime | ours | times as fast as ONNX Runtime | bytes | bound | \
         of the bound |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for engines in rows.chunks_exact(super::ENGINES.len()) {
        let [libtorch, stock, fused] = engines else { continue };
        let Row { layer, stage, batch, threads, bytes, bound_us, .. } = fused;
        let _ = writeln!(
            text,
            "| {layer} | {stage} | {batch} | {threads} | {} | {} | {} | {:.1} | {bytes} | {} | {:.1} |",
            number(libtorch.median_us),
            number(stock.median_us),
            number(fused.median_us),
            stock.median_us / fused.median_us,
            number(*bound_us),
            fused.median_us / bound_us,
        );
    }
    text += "\nThe whole network at 32x32, in ms, and the share of attention.\n\n\
         | engine | batch | threads | with CBAM | without | share of CBAM |\n\
         |---|---|---|---|---|---|\n";
    for pair in network.chunks_exact(2) {
        let [with, without] = pair else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | {:.1} % |",
            with.engine,
            with.batch,
            with.threads,
            with.median_us / 1000.0,
            without.median_us / 1000.0,
            (1.0 - without.median_us / with.median_us) * 100.0,
        );
    }
    text
}

/// Formats microseconds with three significant digits.
fn number(us: f64) -> String {
    match us {
        ..10.0 => format!("{us:.2}"),
        ..100.0 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_three_engines_and_the_bound() {
        let row = |engine, median_us| Row {
            layer: "cbam",
            stage: 1,
            batch: 16,
            threads: 2,
            engine,
            median_us,
            bytes: 1024,
            bound_us: 50.0,
        };
        let rows = [row("libtorch", 4000.0), row("onnxruntime", 500.0), row("onnxruntime-fused", 100.0)];
        let network = [("cbam", 8000.0), ("none", 6000.0)].map(|(attention, median_us)| NetworkRow {
            attention,
            batch: 1,
            threads: 2,
            engine: "onnxruntime",
            median_us,
        });
        let text = markdown(&rows, &network);
        assert!(
            text.contains("| cbam | 1 | 16 | 2 | 4000 | 500 | 100 | 5.0 | 1024 | 50.0 | 2.0 |"),
            "{text}"
        );
        assert!(text.contains("| onnxruntime | 1 | 2 | 8.00 | 6.00 | 25.0 % |"), "{text}");
    }
}
