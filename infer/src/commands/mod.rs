//! One file per command.

pub mod classify;
mod model;
pub mod verify;
