//! Applies an update to an item in stored form.
//!
//! 1. Every action is evaluated against the item as it was: [`Outcome`]s.
//! 2. The item is copied once, in order of its attributes, with the outcomes put in: whole attributes directly, nested
//!    places by copying the maps and lists above them.
//! 3. The size is checked.

use super::Step;
use super::path::Path;
use super::update::{Action, Change, Term};
use crate::error::ApiError;
use crate::item::{ITEM_SIZE_MAX, Item, ItemBuilder, ItemRef};
use crate::message::{self, expression as text};
use crate::number::NumberError;
use crate::value::{LEVELS_MAX, Tag, Value, ValueRef, ValueType, ValueWriter, set};

/// What becomes of a place.
enum Outcome<'u> {
    Put(ValueRef<'u>),
    Made(Value),
    Removed,
    Unchanged,
}

impl Outcome<'_> {
    fn value(&self) -> Option<ValueRef<'_>> {
        match self {
            Self::Put(value) => Some(*value),
            Self::Made(value) => Some(value.as_ref()),
            Self::Removed | Self::Unchanged => None,
        }
    }
}

/// An action and its outcome.
struct Edit<'u> {
    path: &'u Path,
    outcome: Outcome<'u>,
}

/// The item after the actions (sorted by path).
pub(super) fn apply(
    actions: &[Action],
    legacy: bool,
    old: Option<ItemRef<'_>>,
    key: ItemRef<'_>,
) -> Result<Item, ApiError> {
    let base = old.unwrap_or(key);
    let mut edits = Vec::with_capacity(actions.len());
    let mut room = base.as_bytes().len();
    for action in actions {
        let outcome = evaluate(&action.change, &action.path, base, legacy)?;
        if let Some(value) = outcome.value() {
            if action.path.steps.len() + value.levels() > LEVELS_MAX {
                return Err(ApiError::validation(message::NESTING_TOO_DEEP));
            }
            room += action.path.root.len() + value.bytes().len();
        }
        edits.push(Edit {
            path: &action.path,
            outcome,
        });
    }
    let mut builder = ItemBuilder::with_capacity(room);
    let mut groups = edits.chunk_by(|a, b| a.path.root == b.path.root).peekable();
    for (name, value) in base {
        while let Some(group) = groups.next_if(|group| group[0].path.root.as_str() < name) {
            edit_attribute(&mut builder, None, group)?;
        }
        match groups.next_if(|group| group[0].path.root == name) {
            Some(group) => edit_attribute(&mut builder, Some(value), group)?,
            None => builder.push(name, value),
        }
    }
    for group in groups {
        edit_attribute(&mut builder, None, group)?;
    }
    let item = builder.finish();
    if item.as_ref().size() > ITEM_SIZE_MAX {
        return Err(ApiError::validation(message::UPDATED_ITEM_TOO_LARGE));
    }
    Ok(item)
}

/// Copies one attribute with the edits that are in it: the whole of it, or places below.
fn edit_attribute(builder: &mut ItemBuilder, old: Option<ValueRef<'_>>, group: &[Edit<'_>]) -> Result<(), ApiError> {
    let path = group[0].path;
    if path.is_top_level() {
        let new = match &group[0].outcome {
            Outcome::Unchanged => old,
            outcome => outcome.value(),
        };
        if let Some(value) = new {
            builder.push(&path.root, value);
        }
        return Ok(());
    }
    let old = old.ok_or_else(invalid_path)?;
    edit_value(&mut builder.name(&path.root), old, group, 0)
}

/// Copies a map or list with the edits below it. It goes down once for each step of a path that is there: not deeper
/// than the value is.
fn edit_value(
    writer: &mut ValueWriter<'_>,
    old: ValueRef<'_>,
    group: &[Edit<'_>],
    depth: usize,
) -> Result<(), ApiError> {
    match old.tag() {
        Tag::Map => edit_map(writer, old, group, depth),
        Tag::List => edit_list(writer, old, group, depth),
        _ => Err(invalid_path()),
    }
}

fn edit_map(writer: &mut ValueWriter<'_>, old: ValueRef<'_>, group: &[Edit<'_>], depth: usize) -> Result<(), ApiError> {
    let step = |edit: &Edit<'_>| match edit.path.steps.get(depth) {
        Some(Step::Name(name)) => Ok(name.as_str().to_owned()),
        _ => Err(invalid_path()),
    };
    let mut groups = Vec::new();
    for children in group.chunk_by(|a, b| a.path.steps.get(depth) == b.path.steps.get(depth)) {
        groups.push((step(&children[0])?, children));
    }
    let mut groups = groups.into_iter().peekable();
    let open = writer.begin_map();
    for (name, value) in old.map() {
        while let Some((new, children)) = groups.next_if(|(wanted, _)| wanted.as_str() < name) {
            edit_child(writer, Some(&new), None, children, depth)?;
        }
        match groups.next_if(|(wanted, _)| wanted == name) {
            Some((_, children)) => edit_child(writer, Some(name), Some(value), children, depth)?,
            None => {
                writer.name(name);
                writer.value(value);
            }
        }
    }
    for (new, children) in groups {
        edit_child(writer, Some(&new), None, children, depth)?;
    }
    writer.end(open);
    Ok(())
}

/// Indexes beyond the end append, in their order.
fn edit_list(
    writer: &mut ValueWriter<'_>,
    old: ValueRef<'_>,
    group: &[Edit<'_>],
    depth: usize,
) -> Result<(), ApiError> {
    let index = |edit: &Edit<'_>| match edit.path.steps.get(depth) {
        Some(Step::Index(index)) => Ok(*index as usize),
        _ => Err(invalid_path()),
    };
    let mut groups = Vec::new();
    for children in group.chunk_by(|a, b| a.path.steps.get(depth) == b.path.steps.get(depth)) {
        groups.push((index(&children[0])?, children));
    }
    let mut groups = groups.into_iter().peekable();
    let open = writer.begin_list();
    for (at, value) in old.list().enumerate() {
        match groups.next_if(|(index, _)| *index == at) {
            Some((_, children)) => edit_child(writer, None, Some(value), children, depth)?,
            None => writer.value(value),
        }
    }
    for (_, children) in groups {
        edit_child(writer, None, None, children, depth)?;
    }
    writer.end(open);
    Ok(())
}

/// Copies one entry (with its name) or element with the edits that are in it.
fn edit_child(
    writer: &mut ValueWriter<'_>,
    name: Option<&str>,
    old: Option<ValueRef<'_>>,
    children: &[Edit<'_>],
    depth: usize,
) -> Result<(), ApiError> {
    let first = &children[0];
    if first.path.steps.len() > depth + 1 {
        let old = old.ok_or_else(invalid_path)?;
        if let Some(name) = name {
            writer.name(name);
        }
        return edit_value(writer, old, children, depth + 1);
    }
    let new = match &first.outcome {
        Outcome::Unchanged => old,
        outcome => outcome.value(),
    };
    if let Some(value) = new {
        if let Some(name) = name {
            writer.name(name);
        }
        writer.value(value);
    }
    Ok(())
}

fn evaluate<'u>(change: &'u Change, path: &Path, item: ItemRef<'u>, legacy: bool) -> Result<Outcome<'u>, ApiError> {
    match change {
        Change::Put(value) => Ok(Outcome::Put(value.as_ref())),
        Change::Remove => Ok(Outcome::Removed),
        Change::Set(program) => match run(program, item)? {
            Operand::There(value) => Ok(Outcome::Put(value)),
            Operand::Made(value) => Ok(Outcome::Made(value)),
        },
        Change::Add(value) => match path.find(item) {
            None => Ok(Outcome::Put(value.as_ref())),
            Some(old) => add(old, value.as_ref(), legacy).map(Outcome::Made),
        },
        Change::Delete(value) => match path.find(item) {
            None => Ok(Outcome::Unchanged),
            Some(old) => match set::difference(old, value.as_ref()) {
                None => Err(wrong_type(legacy)),
                Some(None) => Ok(Outcome::Removed),
                Some(Some(left)) => Ok(Outcome::Made(left)),
            },
        },
    }
}

/// `ADD`: numbers are added, sets united, and (only by `AttributeUpdates`) lists appended.
fn add(old: ValueRef<'_>, value: ValueRef<'_>, legacy: bool) -> Result<Value, ApiError> {
    if let (Some(a), Some(b)) = (old.as_number(), value.as_number()) {
        return a.checked_add(b).map(Value::number).map_err(number_error);
    }
    if legacy && old.kind() == ValueType::L && value.kind() == ValueType::L {
        return Ok(Value::list(old.list().chain(value.list())));
    }
    set::union(old, value).ok_or_else(|| wrong_type(legacy))
}

/// What a program has pushed.
enum Operand<'u> {
    There(ValueRef<'u>),
    Made(Value),
}

impl Operand<'_> {
    fn value(&self) -> ValueRef<'_> {
        match self {
            Self::There(value) => *value,
            Self::Made(value) => value.as_ref(),
        }
    }
}

/// Runs the program after `SET path =`. An operand that is not there is an error only if something uses it:
/// `if_not_exists` may put another in its place.
fn run<'u>(program: &'u [Term], item: ItemRef<'u>) -> Result<Operand<'u>, ApiError> {
    let missing = || ApiError::validation(text::OPERAND_MISSING);
    let mut stack: Vec<Result<Operand<'u>, ApiError>> = Vec::with_capacity(2);
    for term in program {
        let pushed = match term {
            Term::Value(value) => Ok(Operand::There(value.as_ref())),
            Term::Path(path) => path.find(item).map(Operand::There).ok_or_else(missing),
            Term::IfNotExists(path) => {
                let default = stack.pop().unwrap_or_else(|| Err(missing()));
                path.find(item).map(Operand::There).map_or(default, Ok)
            }
            Term::ListAppend | Term::Plus | Term::Minus => {
                let (b, a) = (stack.pop(), stack.pop());
                combine(
                    term,
                    a.unwrap_or_else(|| Err(missing())),
                    b.unwrap_or_else(|| Err(missing())),
                )
            }
        };
        stack.push(pushed);
    }
    stack.pop().unwrap_or_else(|| Err(missing()))
}

fn combine<'u>(
    term: &Term,
    a: Result<Operand<'u>, ApiError>,
    b: Result<Operand<'u>, ApiError>,
) -> Result<Operand<'u>, ApiError> {
    let (a, b) = (a?, b?);
    let (a, b) = (a.value(), b.value());
    if *term == Term::ListAppend {
        if a.kind() != ValueType::L || b.kind() != ValueType::L {
            return Err(wrong_type(false));
        }
        return Ok(Operand::Made(Value::list(a.list().chain(b.list()))));
    }
    let (Some(a), Some(b)) = (a.as_number(), b.as_number()) else {
        return Err(wrong_type(false));
    };
    let result = if *term == Term::Plus {
        a.checked_add(b)
    } else {
        a.checked_sub(b)
    };
    result
        .map(|number| Operand::Made(Value::number(number)))
        .map_err(number_error)
}

fn invalid_path() -> ApiError {
    ApiError::validation(text::PATH_NOT_UPDATABLE)
}

fn wrong_type(legacy: bool) -> ApiError {
    ApiError::validation(if legacy {
        text::ATTRIBUTE_TYPE_MISMATCH
    } else {
        text::OPERAND_WRONG_TYPE
    })
}

fn number_error(error: NumberError) -> ApiError {
    ApiError::validation(error.text())
}
