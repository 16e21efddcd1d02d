//! Tables of the latencies, in Markdown.

use std::fmt::Write;

use super::{CPU, CUDA, NetworkRow, Place, Row};

/// Tables of the attention layers on each device, of copies, and of the whole network.
pub fn markdown(rows: &[Row], network: &[NetworkRow]) -> String {
    let of = |place: Place, copies: bool| -> Vec<&Row> {
        rows.iter().filter(|row| row.device == place.device && (row.layer == "copy") == copies).collect()
    };
    let parts =
        [on_cpu(&of(CPU, false)), on_cuda(&of(CUDA, false)), copies(&of(CUDA, true)), whole_network(network)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn on_cpu(rows: &[&Row]) -> String {
    let mut text = String::from(
        "Medians in us. *Bound*: time to copy as many bytes as the layer has to read and write, with as many threads.\n\n\
         | layer | stage | batch | threads | libtorch | ONNX Runtime | ours | times as fast as ONNX Runtime | bytes | bound | \
         of the bound |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for engines in rows.chunks_exact(CPU.engines.len()) {
        let [libtorch, stock, fused] = engines else { continue };
        let Row { layer, stage, batch, bytes, bound_us, .. } = fused;
        let _ = writeln!(
            text,
            "| {layer} | {stage} | {batch} | {} | {} | {} | {} | {:.1} | {bytes} | {} | {:.1} |",
            place(fused.device, fused.threads),
            number(libtorch.median_us),
            number(stock.median_us),
            number(fused.median_us),
            stock.median_us / fused.median_us,
            number(*bound_us),
            fused.median_us / bound_us,
        );
    }
    if rows.is_empty() { String::new() } else { text }
}

fn on_cuda(rows: &[&Row]) -> String {
    let mut text = String::from(
        "On CUDA, with all tensors on the device; medians in us. *Bound*: time for as many bytes as the layer has to read \
         and write, at the bandwidth of copying 1 GiB. *Copy*: time to copy the layer's input on the device, launch \
         included.\n\n\
         | layer | stage | batch | libtorch | ONNX Runtime | ONNX Runtime's of libtorch's | bytes | bound | copy |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for engines in rows.chunks_exact(CUDA.engines.len()) {
        let [libtorch, stock] = engines else { continue };
        let Row { layer, stage, batch, bytes, bound_us, copy_us, .. } = stock;
        let _ = writeln!(
            text,
            "| {layer} | {stage} | {batch} | {} | {} | {:.2} | {bytes} | {} | {} |",
            number(libtorch.median_us),
            number(stock.median_us),
            stock.median_us / libtorch.median_us,
            number(*bound_us),
            number(*copy_us),
        );
    }
    if rows.is_empty() { String::new() } else { text }
}

fn copies(rows: &[&Row]) -> String {
    let mut text = String::from(
        "Copies of a layer's input; *to-device* and *to-host* from and to ordinary memory.\n\n\
         | stage | batch | copy | us | GB/s |\n\
         |---|---|---|---|---|\n",
    );
    for Row { stage, batch, engine, median_us, bytes, .. } in rows {
        let rate = *bytes as f64 / 1000.0 / median_us;
        let _ = writeln!(text, "| {stage} | {batch} | {engine} | {} | {rate:.1} |", number(*median_us));
    }
    if rows.is_empty() { String::new() } else { text }
}

fn whole_network(rows: &[NetworkRow]) -> String {
    let mut text = String::from(
        "The whole network at 32x32, in ms, and the share of attention.\n\n\
         | engine | batch | threads | with CBAM | without | share of CBAM |\n\
         |---|---|---|---|---|---|\n",
    );
    for pair in rows.chunks_exact(2) {
        let [with, without] = pair else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | {:.1} % |",
            with.engine,
            with.batch,
            place(with.device, with.threads),
            with.median_us / 1000.0,
            without.median_us / 1000.0,
            (1.0 - without.median_us / with.median_us) * 100.0,
        );
    }
    text
}

/// Number of threads on the CPU, or another device.
fn place(device: &str, threads: Option<usize>) -> String {
    threads.map_or_else(|| device.into(), |threads| threads.to_string())
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
            device: "cpu",
            threads: Some(2),
            engine,
            median_us,
            bytes: 1024,
            bound_us: 50.0,
            copy_us: 25.0,
        };
        let rows = [row("libtorch", 4000.0), row("onnxruntime", 500.0), row("onnxruntime-fused", 100.0)];
        let network = [("cbam", 8000.0), ("none", 6000.0)].map(|(attention, median_us)| NetworkRow {
            attention,
            batch: 1,
            device: "cpu",
            threads: Some(2),
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

    #[test]
    fn a_gpu_has_tables_of_its_own() {
        let row = |layer, engine, median_us| Row {
            layer,
            stage: 2,
            batch: 256,
            device: "cuda",
            threads: None,
            engine,
            median_us,
            bytes: 4_000_000,
            bound_us: 2.0,
            copy_us: 5.0,
        };
        let rows = [
            row("cbam", "libtorch", 100.0),
            row("cbam", "onnxruntime", 150.0),
            row("copy", "to-device", 1000.0),
        ];
        let text = markdown(&rows, &[]);
        assert!(text.contains("| cbam | 2 | 256 | 100 | 150 | 1.50 | 4000000 | 2.00 | 5.00 |"), "{text}");
        assert!(text.contains("| 2 | 256 | to-device | 1000 | 4.0 |"), "{text}");
        assert!(!text.contains("as many threads"), "{text}");
    }
}
