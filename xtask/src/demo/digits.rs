//! Handwritten digits as a folder of images, taken from scikit-learn's wheel.
//!
//! The 1,797 images of 8x8 are the test half of "Optical Recognition of Handwritten Digits" (E. Alpaydin,
//! C. Kaynak, UCI). Training on them takes minutes.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

use crate::pip;
use crate::setup::Platform;
use crate::setup::wheels::SCIKIT_LEARN;
use crate::staging::Staging;
use crate::unpack::unpack;

/// Height and width of a digit, in pixels.
const SIDE: usize = 8;
/// Largest value of a pixel in the table.
const DARKEST: u8 = 16;
/// Every fifth image of each class is a test image.
const TEST_EVERY: usize = 5;

/// Downloads the digits and writes them to `demo/data`, unless they are there.
///
/// # Errors
/// When the download fails or the folder cannot be written.
pub fn bring(demo: &Path) -> Result<()> {
    if demo.join("data").exists() {
        println!("digits are in place");
        return Ok(());
    }
    let staging = Staging::open(demo)?;
    pip::check()?;
    let downloads = staging.folder("downloads")?;
    let wheel = pip::download(&SCIKIT_LEARN, Platform::LinuxX64, &downloads)?;
    unpack(&SCIKIT_LEARN, &wheel, &downloads)?;
    let data = staging.folder("data")?;
    let written = write_images(&downloads.join("digits.csv.gz"), &data)?;
    staging.commit(&data, "data")?;
    println!("{written} images written");
    Ok(())
}

/// Writes table rows of 64 pixels and a label as `train/<label>/<row>.png` or `test/<label>/<row>.png`.
fn write_images(csv_gz: &Path, data: &Path) -> Result<usize> {
    let file = File::open(csv_gz).with_context(|| format!("cannot open {}", csv_gz.display()))?;
    let mut table = csv::ReaderBuilder::new().has_headers(false).from_reader(GzDecoder::new(file));
    let mut seen = [0; 10];
    let mut written = 0;
    for row in table.deserialize() {
        let row: Vec<u8> = row.with_context(|| format!("digits, row {written}"))?;
        let [cells @ .., label] = row.as_slice() else { bail!("digits, row {written}: empty") };
        let label = usize::from(*label);
        if cells.len() != SIDE * SIDE || label >= seen.len() || cells.iter().any(|ink| *ink > DARKEST) {
            bail!("digits, row {written}: not 64 values up to {DARKEST} and a digit");
        }
        seen[label] += 1;
        let split = if seen[label] % TEST_EVERY == 0 { "test" } else { "train" };
        let folder = data.join(split).join(label.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        write_png(&folder.join(format!("{written:04}.png")), cells)?;
        written += 1;
    }
    Ok(written)
}

fn write_png(path: &Path, cells: &[u8]) -> Result<()> {
    let pixels: Vec<u8> =
        cells.iter().map(|ink| (u16::from(*ink) * 255 / u16::from(DARKEST)) as u8).collect();
    let write = || -> Result<()> {
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), SIDE as u32, SIDE as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        Ok(writer.finish()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::{BufReader, Write};

    fn table(path: &Path, rows: &[String]) {
        let mut gz = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
        gz.write_all(rows.join("\n").as_bytes()).unwrap();
        gz.finish().unwrap();
    }

    fn row(first: u8, label: u8) -> String {
        format!("{first},{}{label}", "16,".repeat(63))
    }

    #[test]
    fn rows_become_images_and_every_fifth_of_a_class_is_test() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("digits.csv.gz");
        let rows: Vec<_> = (0..10).map(|index| row(index, 7)).chain([row(8, 3)]).collect();
        table(&csv, &rows);
        assert_eq!(write_images(&csv, dir.path()).unwrap(), 11);
        for (path, first) in [("train/7/0000.png", 0), ("test/7/0004.png", 63), ("test/7/0009.png", 143)] {
            let file = BufReader::new(File::open(dir.path().join(path)).unwrap());
            let mut reader = png::Decoder::new(file).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height, info.color_type), (8, 8, png::ColorType::Grayscale));
            assert_eq!((pixels[0], pixels[63], pixels.len()), (first, 255, 64), "{path}");
        }
        assert!(dir.path().join("train/3/0010.png").exists());
        assert_eq!(fs::read_dir(dir.path().join("test/7")).unwrap().count(), 2);
    }

    #[test]
    fn a_strange_table_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("digits.csv.gz");
        for bad in [row(17, 3), row(0, 10), "1,2".to_owned(), row(0, 3).replace("16", "x")] {
            table(&csv, &[row(0, 1), bad]);
            let error = format!("{:#}", write_images(&csv, dir.path()).unwrap_err());
            assert!(error.starts_with("digits, row 1"), "{error}");
        }
    }
}
