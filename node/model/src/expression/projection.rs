//! Projections: which parts of an item are sent.
//!
//! The paths are sorted as attributes are, so that one pass over the item copies what is wanted. A nested path keeps
//! the maps and lists around what it names; lists are compacted: `a[5]` alone gives a list of one.

use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::lexer::{TokenKind, Tokens};
use super::path::{check_disjoint, descend};
use super::{Kind, Path, Placeholders, Step};
use crate::error::ApiError;
use crate::item::{Item, ItemBuilder, ItemRef};
use crate::value::{Tag, ValueRef, ValueWriter};

/// Document paths, sorted, none below another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Path>", into = "Vec<Path>")]
pub struct Projection {
    paths: Vec<Path>,
}

impl Projection {
    /// Parses a `ProjectionExpression`.
    pub fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let mut tokens = Tokens::new(Kind::Projection, text)?;
        let mut findings = Findings::default();
        let mut paths = Vec::new();
        loop {
            paths.push(Path::parse(&mut tokens, placeholders, &mut findings)?);
            if !tokens.accept(b',') {
                break;
            }
        }
        if tokens.kind() != TokenKind::End {
            return Err(tokens.syntax_error());
        }
        findings.finish(Kind::Projection)?;
        check_disjoint(Kind::Projection, &paths.iter().collect::<Vec<_>>())?;
        Ok(Self::from(paths))
    }

    /// These top-level attributes (an index's projection, keys of a LastEvaluatedKey); duplicates count once.
    pub fn attributes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::from(names.into_iter().map(|name| Path::attribute(name)).collect::<Vec<_>>())
    }

    /// The paths, sorted.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Copies what is projected, with the item's time.
    pub fn apply(&self, item: ItemRef<'_>) -> Item {
        let mut copy = copy_paths(item, &self.paths, |path| path);
        copy.set_time(item.time());
        copy
    }
}

impl From<Vec<Path>> for Projection {
    fn from(mut paths: Vec<Path>) -> Self {
        paths.sort_unstable();
        paths.dedup();
        Self { paths }
    }
}

impl From<Projection> for Vec<Path> {
    fn from(projection: Projection) -> Self {
        projection.paths
    }
}

/// Copies the paths of `sorted` that are in the item.
pub(super) fn copy_paths<T>(item: ItemRef<'_>, sorted: &[T], path: impl Fn(&T) -> &Path + Copy) -> Item {
    let mut builder = ItemBuilder::new();
    let mut rest = sorted;
    for (name, value) in item {
        let passed = rest.iter().take_while(|p| path(p).root.as_str() < name).count();
        rest = &rest[passed..];
        let (group, after) = rest.split_at(rest.iter().take_while(|p| path(p).root == name).count());
        rest = after;
        copy_group(&mut builder, name, value, group, path);
        if rest.is_empty() {
            break;
        }
    }
    builder.finish()
}

/// Copies what the paths of one attribute name.
fn copy_group<T>(
    builder: &mut ItemBuilder,
    name: &str,
    value: ValueRef<'_>,
    group: &[T],
    path: impl Fn(&T) -> &Path + Copy,
) {
    let Some(first) = group.first() else { return };
    if path(first).is_top_level() {
        builder.push(name, value);
    } else if reaches(value, group, 0, path) {
        copy_value(&mut builder.name(name), value, group, 0, path);
    }
}

/// Whether there is anything at one of the paths.
fn reaches<T>(value: ValueRef<'_>, group: &[T], depth: usize, path: impl Fn(&T) -> &Path) -> bool {
    group.iter().any(|p| {
        path(p)
            .steps
            .get(depth..)
            .is_some_and(|steps| descend(value, steps).is_some())
    })
}

/// Copies a map or list with what the paths name, of which at least one is there. It goes down once for each step of
/// a path that is there: not deeper than the value is.
fn copy_value<T>(
    writer: &mut ValueWriter<'_>,
    value: ValueRef<'_>,
    group: &[T],
    depth: usize,
    path: impl Fn(&T) -> &Path + Copy,
) {
    if group.first().is_some_and(|first| path(first).steps.len() <= depth) {
        return writer.value(value);
    }
    let open = writer.begin(value.tag());
    for children in group.chunk_by(|a, b| path(a).steps.get(depth) == path(b).steps.get(depth)) {
        let Some(step) = children.first().and_then(|first| path(first).steps.get(depth)) else {
            continue;
        };
        let child = match (value.tag(), step) {
            (Tag::Map, Step::Name(name)) => value.get(name),
            (Tag::List, Step::Index(index)) => value.nth(*index as usize),
            _ => None,
        };
        let Some(child) = child.filter(|child| reaches(*child, children, depth + 1, path)) else {
            continue;
        };
        if let Step::Name(name) = step {
            writer.name(name);
        }
        copy_value(writer, child, children, depth + 1, path);
    }
    writer.end(open);
}
