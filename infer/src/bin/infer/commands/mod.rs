//! Commands of the program, one file each.

#[cfg(feature = "bench")]
pub mod bench;
pub mod classify;
pub mod completions;
pub mod embed;
pub mod evaluate;
pub mod explain;
pub mod inspect;
pub mod man;
mod model;
#[cfg(feature = "serve")]
pub mod serve;
pub mod similar;
pub mod triton_repo;
pub mod verify;
