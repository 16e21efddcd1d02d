//! The program `infer` from the outside: what it prints where, and how it exits.

// Clippy knows tests by their attribute and takes the helpers beside them for the program.
#![allow(clippy::unwrap_used)]

mod bad_inputs;
mod bench;
mod choices;
mod evaluate;
mod explain;
mod foreign;
mod formats;
mod inspect;
mod library;
mod support;
mod verify;
