//! Attribute values in stored form: `tag | varint payload length | payload`, so that an unwanted value costs nothing.

use serde::{Deserialize, Serialize};

/// The ten types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
    /// Boolean.
    Bool,
    /// Null.
    Null,
    /// List.
    L,
    /// Map.
    M,
    /// String set.
    Ss,
    /// Number set.
    Ns,
    /// Binary set.
    Bs,
}

/// An owned value in stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value(Vec<u8>);

/// A borrowed value in stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueRef<'a>(&'a [u8]);
