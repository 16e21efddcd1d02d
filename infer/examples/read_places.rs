//! Lists the images of places with their sizes, digests and labels: `read_places [--quiet] PLACE...`.
//!
//! A script that writes the same with other tools can compare the two; `--quiet` only counts, to measure the speed.

use std::env;
use std::error::Error;
use std::io::Write;
use std::time::Instant;

use ferronnx_infer::places::{Content, Options, Place, items, units};
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, places): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|text| text.starts_with("--"));
    let places = places.iter().map(|place| Place::parse(place)).collect::<Result<Vec<_>, _>>()?;
    let (options, start) = (Options::default(), Instant::now());
    let units = units(places, &options).map_while(|unit| unit.map_err(|error| eprintln!("{error}")).ok());
    let (mut images, mut failed, mut size) = (0, 0, 0);
    let mut out = std::io::stdout().lock();
    for item in items(units, &options) {
        let bytes = match item.content {
            Ok(Content::Bytes(bytes)) => bytes,
            Ok(Content::File(path)) => std::fs::read(path)?,
            Err(error) => {
                failed += 1;
                writeln!(out, "{}\t{}", item.name, ferronnx_infer::error::chain(&error))?;
                continue;
            }
        };
        images += 1;
        size += bytes.len();
        if !flags.contains(&"--quiet".to_owned()) {
            let labels = item
                .labels
                .map(|labels| labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(";"));
            let digest: String =
                Sha256::digest(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "{}\t{}\t{digest}\t{}", item.name, bytes.len(), labels.unwrap_or("-".into()))?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{images} images, {failed} failures, {size} bytes in {seconds:.2} s");
    Ok(())
}
