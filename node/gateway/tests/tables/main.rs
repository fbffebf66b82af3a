//! The gateway over loopback: the HTTP side, and the operations on tables, against tables that are only described.

#![allow(clippy::unwrap_used)] // A test that fails says so by panicking.

mod client;
mod fake;
mod http;
mod operations;
