//! Document paths: `a.b[3].c`, resolved (no `#name` left).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::findings::{Findings, Rank};
use super::lexer::{TokenKind, Tokens, invalid};
use super::reserved::is_reserved;
use super::{Kind, Placeholders};
use crate::error::ApiError;
use crate::item::ItemRef;
use crate::message::expression as text;
use crate::value::{LEVELS_MAX, ValueRef};

/// The largest index of a list in a path, though no list is that long.
const INDEX_MAX: u32 = u32::MAX - 1;

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

    /// What is there.
    pub fn find<'i>(&self, item: ItemRef<'i>) -> Option<ValueRef<'i>> {
        descend(item.get(&self.root)?, &self.steps)
    }

    /// Parses the path at the current token.
    pub(super) fn parse(
        tokens: &mut Tokens<'_>,
        placeholders: &Placeholders<'_>,
        findings: &mut Findings,
    ) -> Result<Self, ApiError> {
        let root = parse_name(tokens, placeholders, findings)?;
        let mut steps = Vec::new();
        loop {
            if tokens.accept(b'.') {
                steps.push(Step::Name(parse_name(tokens, placeholders, findings)?));
            } else if tokens.accept(b'[') {
                if tokens.kind() != TokenKind::Integer {
                    return Err(tokens.syntax_error());
                }
                let index = tokens.take();
                match index.parse() {
                    Ok(index) if index <= INDEX_MAX => steps.push(Step::Index(index)),
                    _ => findings.note(Rank::Path, || text::index_too_large(index)),
                }
                tokens.expect(b']')?;
            } else {
                break;
            }
        }
        if steps.len() >= LEVELS_MAX {
            findings.note(Rank::Path, || text::path_too_deep(steps.len() + 1));
        }
        Ok(Self { root, steps })
    }

    fn is_above(&self, other: &Self) -> bool {
        self.root == other.root && other.steps.starts_with(&self.steps)
    }

    /// Whether the two take the same place for a map and for a list.
    fn conflicts(&self, other: &Self) -> bool {
        self.root == other.root
            && self
                .steps
                .iter()
                .zip(&other.steps)
                .find(|(a, b)| a != b)
                .is_some_and(|(a, b)| {
                    matches!(
                        (a, b),
                        (Step::Name(_), Step::Index(_)) | (Step::Index(_), Step::Name(_))
                    )
                })
    }
}

/// Goes down from a value.
pub(super) fn descend<'v>(value: ValueRef<'v>, steps: &[Step]) -> Option<ValueRef<'v>> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.nth(*index as usize),
    })
}

/// An attribute's name: a word that is not reserved, or `#name`.
fn parse_name(
    tokens: &mut Tokens<'_>,
    placeholders: &Placeholders<'_>,
    findings: &mut Findings,
) -> Result<String, ApiError> {
    match tokens.kind() {
        TokenKind::Word => {
            if tokens.at_any_keyword() {
                return Err(tokens.syntax_error());
            }
            let word = tokens.take();
            if is_reserved(word) {
                findings.note(Rank::Reserved, || text::reserved(word));
            }
            Ok(word.to_owned())
        }
        TokenKind::Name => {
            let key = tokens.take();
            let name = placeholders.name(key);
            if name.is_none() {
                findings.note(Rank::Name, || text::name_undefined(key));
            }
            Ok(name.unwrap_or_default().to_owned())
        }
        _ => Err(tokens.syntax_error()),
    }
}

/// Refuses paths of which one is below another, or that take the same place for a map and for a list. `paths` are in
/// the order in which the expression names them.
pub(super) fn check_disjoint(kind: Kind, paths: &[&Path]) -> Result<(), ApiError> {
    let mut sorted = paths.to_vec();
    sorted.sort_unstable();
    // Everything below a path follows it at once, and a list's indexes follow a map's names: neighbours tell it all.
    let clash = |a: &Path, b: &Path| a.is_above(b) || b.is_above(a) || a.conflicts(b);
    if !sorted.windows(2).any(|pair| clash(pair[0], pair[1])) {
        return Ok(());
    }
    for (index, two) in paths.iter().enumerate() {
        if let Some(one) = paths[..index].iter().find(|one| clash(one, two)) {
            let what = if one.conflicts(two) {
                text::paths_conflict(one, two)
            } else {
                text::paths_overlap(one, two)
            };
            return Err(invalid(kind, what));
        }
    }
    Ok(())
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
