//! Parts of HTML reports: page, charts, matrices, image tiles.
//!
//! A page is one file. It loads no script, no font and no image from elsewhere.

pub mod axis;
pub mod calibration;
pub mod charts;
pub mod curves;
pub mod evaluation;
pub mod matrix;
pub mod page;
pub mod tiles;
