//! One file per command.

pub mod bench;
pub mod classify;
pub mod completions;
pub mod evaluate;
pub mod explain;
pub mod inspect;
mod model;
pub mod verify;
