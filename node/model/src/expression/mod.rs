//! Condition, filter, key condition, projection and update expressions.

use serde::{Deserialize, Serialize};

/// A condition or filter, resolved: it can be evaluated against an item in stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Condition {}

/// A list of document paths, merged into a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Projection {}

/// An update expression, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {}
