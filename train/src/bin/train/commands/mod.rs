//! One file a subcommand.

pub mod export;
pub mod fit;
pub mod summary;
