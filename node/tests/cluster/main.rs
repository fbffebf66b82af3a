//! Groups of several replicas as processes: leaders that are killed, members that change, calls that make no sense.

#![allow(clippy::unwrap_used)]

mod command;
mod failover;
mod local;
mod members;
mod merge_calls;
#[path = "../replica/node.rs"]
#[allow(dead_code)] // The replica's own tests use the rest.
mod node;
mod recover;
mod routed;
#[path = "../router/router.rs"]
#[allow(dead_code)]
mod router;
#[path = "../shared/mod.rs"]
#[allow(dead_code)]
mod shared;
mod split;
mod split_calls;
mod split_units;
#[path = "../replica/table.rs"]
#[allow(dead_code)]
mod table;
mod trio;
