//! Tests of `infer serve` as a process: hostile clients, and its life from start to stop.
//!
//! Each test starts a server with a queue of few images, so that a permit that is not given back is noticed: the next
//! good request would be refused.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

mod bombs;
mod client;
mod connections;
mod http2;
mod life;
mod malformed;
mod observe;
mod reload;
mod server;
mod tensors;
mod tls;
