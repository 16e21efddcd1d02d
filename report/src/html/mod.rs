//! Parts of self-contained HTML pages: training's reports and this crate's are made of them.
//!
//! A page asks for nothing beside itself: no script, no font, no image from elsewhere.

pub mod axis;
pub mod calibration;
pub mod charts;
pub mod evaluation;
pub mod matrix;
pub mod page;
pub mod tiles;
