//! Items in stored form: `version | item time | size | attributes sorted by name`.

use serde::{Deserialize, Serialize};

/// An owned item in stored form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item(Vec<u8>);

/// A borrowed item in stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemRef<'a>(&'a [u8]);
