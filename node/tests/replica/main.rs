//! The replica from outside: the operator's calls, requests of routers, restarts, deliveries to global indexes in other
//! processes, walks over existing items, expiry.

#![allow(clippy::unwrap_used)]

mod data;
mod expiry;
mod groups;
mod indexes;
mod node;
#[path = "../shared/mod.rs"]
mod shared;
mod table;
mod units;
