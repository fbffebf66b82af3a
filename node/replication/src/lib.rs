//! Replication groups: many in one process, one log, one sync for all of them.
//!
//! The life of a write, from here on:
//!
//! 1. [`group::Group::write`] takes the group's lock on the caller's thread, evaluates the request and puts its effect
//!    into the group's open entry ([`frame`]).
//! 2. `writer`: the store's one log writer gathers the open entries of all groups, proposes them ([`driver`] wraps
//!    raft-rs) and makes all of them durable with one write and one sync ([`log`]).
//! 3. What is committed is applied: one batch for the state's storage, its own write-ahead log off.
//! 4. All waiters of the batch are answered.
//!
//! With several voters, what the log writer gathers also leaves for the other stores ([`Peers`], [`message`]), what they
//! say comes in by [`Store::receive`] and the time by [`Store::tick`]; a leader reads under a [`lease`].
//!
//! [`store::Store`] is the data directory: it opens and recovers, makes and destroys groups. Reads never come here:
//! [`group::Group::get`] and [`group::Group::page`] go straight to the state's storage.

mod births;
pub mod by_hand;
mod core;
mod courier;
mod driver;
mod fate;
mod folder;
mod frame;
pub mod group;
mod install;
mod lease;
mod ledger;
mod liveness;
pub mod log;
pub mod members;
mod merge;
mod message;
mod options;
pub mod planted;
mod pool;
mod postbox;
mod queue;
mod recovery;
mod replica;
mod space;
pub mod stats;
pub mod store;
mod survivor;
mod tail;
pub mod time;
mod writer;

pub use core::{Clock, OnFatal};
pub use group::merge::{Freeze, MergeError, MergeRequest};
pub use group::split::{SplitError, SplitRequest};
pub use group::{Group, Leadership};
pub use members::{MemberChange, Members, MembershipError};
pub use message::{FrameFault, Peers};
pub use space::{Probe, Volume};
pub use store::{OpenError, Store, StoreOptions};
pub use survivor::{Survivor, SurvivorError};
