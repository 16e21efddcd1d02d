//! Tests of the program `infer`: its output, its errors and its exit codes.

// Clippy knows tests by their attribute and takes the helpers beside them for the program.
#![allow(clippy::unwrap_used)]

mod bad_inputs;
mod bench;
mod bulk;
mod choices;
mod data;
mod embed;
mod evaluate;
mod explain;
mod fixtures;
mod foreign;
mod formats;
mod inspect;
mod library;
mod multi_label;
mod page;
mod support;
mod triton_repo;
mod verify;
