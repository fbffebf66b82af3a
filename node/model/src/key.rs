//! Keys as ordered bytes.
//!
//! - items: `hash64(seed, partition key) big-endian | esc(partition key) | esc(sort key)`
//! - local index rows: `hash64 | esc(partition key) | index id | esc(index sort key) | esc(sort key)`
//! - global index rows: `hash64(index seed, hash attributes) | esc(hash attributes) | esc(range attributes) |
//!   esc(table partition key) | esc(table sort key)`
//!
//! None of them carries the table id: the store puts it in front.

use serde::{Deserialize, Serialize};

/// A key (or a boundary between keys) of one table's or index's key space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct KeyBytes(pub Vec<u8>);
