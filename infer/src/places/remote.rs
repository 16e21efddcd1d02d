//! Object stores and web servers.
//!
//! Requests run on threads of their own ([`runtime`]), which do nothing else: a thread that decodes images between two
//! parts of a body keeps the server waiting, until it breaks off. Clients are made when a store is first used.

mod aws;
mod body;
mod checked;
mod failure;
mod fetch;
mod list;
mod object;
mod parts;
mod retry;
mod runtime;
mod store;
mod upload;

pub(super) use body::Body;
pub(super) use fetch::{Fetch, expected_bytes};
pub(super) use list::{files, units};
pub(super) use object::{delete, exists};
pub(super) use parts::Parts;
pub(super) use upload::{Upload, create_new};
