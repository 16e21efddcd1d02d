//! `train summary`: layers of a network as a table.

use anyhow::Result;
use ferronnx_models::networks::{Architecture, Stem};
use indicatif::HumanCount;

use ferronnx_train::run::RunFolder;
use ferronnx_train::summary::{Layer, Summary};

use super::{architecture, is_run, network_in};
use crate::args::{SummaryArgs, SummaryFormat};
use crate::display;

/// Runs the command.
pub fn run(args: &SummaryArgs) -> Result<()> {
    let (architecture, own_size) = network(args)?;
    let size = args.image_size.or(own_size).unwrap_or_else(|| architecture.stem.usual_size());
    let summary = Summary::new(&architecture, size as usize)?;
    match args.format {
        SummaryFormat::Table => say!("{}", table(&summary)),
        SummaryFormat::Json => say!("{}", serde_json::to_string_pretty(&summary)?),
    }
    Ok(())
}

/// Finds the architecture that is asked for, and the size of its images if it is known.
fn network(args: &SummaryArgs) -> Result<(Architecture, Option<u32>)> {
    let Some(source) = &args.source else {
        let network = &args.network;
        let stem = network.stem(args.image_size.unwrap_or_else(|| Stem::Cifar.usual_size()));
        let attention = network.attention();
        return Ok((
            Architecture { network: network.network, stem, attention, ..Architecture::default() },
            None,
        ));
    };
    if is_run(source) {
        let (_, config) = RunFolder::open(source)?;
        return Ok((architecture(&config, source)?, Some(config.preprocessing.crop.height)));
    }
    Ok((network_in(source, args.key.as_deref(), &args.leave_out)?.architecture, None))
}

fn table(summary: &Summary) -> String {
    let row = |layer: &Layer| {
        let count = |count: u64| if count == 0 { String::new() } else { HumanCount(count).to_string() };
        [layer.name.clone(), shape(&layer.output), count(layer.parameters as u64), count(layer.macs)]
    };
    let table = display::table(["layer", "output", "parameters", "MACs"], summary.layers.iter().map(row));
    format!("{} at {}\n\n{}\n\n{}", summary.network, shape(&summary.input), table, totals(summary))
}

fn totals(summary: &Summary) -> String {
    let total = summary.total;
    let statistics = HumanCount((total.values - total.trainable) as u64);
    format!(
        " parameters  {}, all trainable, and {statistics} statistics of batch norms\n \
         MACs        {:.3} G an image, in convolutions and linear layers\n \
         size        {:.1} MB as float32",
        HumanCount(total.trainable as u64),
        total.macs as f64 / 1e9,
        total.bytes as f64 / 1e6
    )
}

/// Formats a shape without the batch: `64x32x32`.
fn shape(shape: &[usize]) -> String {
    shape.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_network_fits_a_narrow_terminal() {
        let architecture = Architecture { classes: 21_841, stem: Stem::Imagenet, ..Architecture::default() };
        let text = table(&Summary::new(&architecture, 1024).unwrap());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_layer_is_a_line() {
        let text = table(&Summary::new(&Architecture::default(), 32).unwrap());
        let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().trim();
        let words = |name: &str| line(name).split_whitespace().collect::<Vec<_>>();
        assert_eq!(words("backbone.conv1"), ["backbone.conv1", "64x32x32", "1,728", "1,769,472"]);
        assert_eq!(words("backbone.bn1"), ["backbone.bn1", "64x32x32", "128"]);
        assert!(line("size").ends_with("MB as float32"));
    }
}
