//! Document paths: `a.b[3].c`, resolved (no `#name` left).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step below the top-level attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// An entry of a map.
    Name(String),
    /// An element of a list.
    Index(u32),
}

/// A top-level attribute, and where in it.
///
/// Paths are ordered so that everything below one place is contiguous, right after the place itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    /// The top-level attribute's name.
    pub root: String,
    /// From there down; empty for the whole attribute.
    pub steps: Vec<Step>,
}

impl Path {
    /// A whole top-level attribute.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self {
            root: name.into(),
            steps: Vec::new(),
        }
    }

    /// Whether `self` is a whole top-level attribute.
    pub fn is_top_level(&self) -> bool {
        self.steps.is_empty()
    }
}

/// As DynamoDB's messages print it: `[a, b, [3]]`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.root)?;
        for step in &self.steps {
            match step {
                Step::Name(name) => write!(f, ", {name}")?,
                Step::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}
