//! One file per command.

pub mod classify;
pub mod evaluate;
mod model;
pub mod verify;
