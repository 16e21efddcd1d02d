//! One file per command.

pub mod classify;
