//! The gateway over loopback: the HTTP side, and the operations on tables, against tables that are only described.

mod client;
mod fake;
mod http;
mod operations;
