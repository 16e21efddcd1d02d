//! Tiles: images with captions, embedded in the page.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use maud::{Markup, PreEscaped, html};

/// Longest side of an embedded image, in pixels.
const SIDE: u32 = 128;

/// Image with a name and a caption.
#[derive(Debug, Clone)]
pub struct Tile {
    /// Image of any size.
    pub image: RgbImage,
    /// Name of the image.
    pub name: String,
    /// Caption below the image.
    pub caption: Markup,
}

/// Renders tiles, as many in a row as fit.
pub fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        div.tiles {
            @for tile in tiles {
                figure.tile title=(tile.name) {
                    @if let Some(uri) = data_uri(&tile.image) { img src=(PreEscaped(uri)) alt=(tile.name); }
                    figcaption { (tile.caption) }
                }
            }
        }
    }
}

/// Encodes an image as a PNG data URI, scaled down if it is large; `None` for one without pixels.
fn data_uri(image: &RgbImage) -> Option<String> {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let shrunk = (longest > SIDE).then(|| {
        let side = |side: u32| (side * SIDE / longest).max(1);
        imageops::thumbnail(image, side(width), side(height))
    });
    let mut png = Cursor::new(Vec::new());
    shrunk.as_ref().unwrap_or(image).write_to(&mut png, ImageFormat::Png).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimensions(image: &RgbImage) -> (u32, u32) {
        let uri = data_uri(image).unwrap();
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let decoded = image::load_from_memory(&png).unwrap();
        (decoded.width(), decoded.height())
    }

    #[test]
    fn large_images_are_shrunk_and_small_ones_are_kept() {
        assert_eq!(dimensions(&RgbImage::new(640, 320)), (128, 64));
        assert_eq!(dimensions(&RgbImage::new(4000, 3)), (128, 1));
        assert_eq!(dimensions(&RgbImage::new(32, 32)), (32, 32));
    }

    #[test]
    fn a_name_cannot_leave_its_place() {
        let tile = Tile {
            image: RgbImage::new(1, 1),
            name: r#"a"><script>alert(1)</script>.png"#.into(),
            caption: html! { "b" },
        };
        let html = tiles(&[tile]).into_string();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("a&quot;&gt;&lt;script&gt;"), "{html}");
    }
}
