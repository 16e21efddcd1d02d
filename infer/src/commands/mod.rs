//! One file per command.

pub mod classify;
pub mod evaluate;
pub mod inspect;
mod model;
pub mod verify;
