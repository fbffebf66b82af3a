//! Complete validation of stored bytes whose origin is not this process.

use super::walk::{split_entry, split_sized, split_value};
use super::{LEVELS_MAX, Tag, ValueRef};
use crate::number::Number;

/// Stored bytes that are not what this crate writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes do not follow the format: {0}")]
pub struct Corrupt(pub &'static str);

impl<'a> ValueRef<'a> {
    /// One value that fills `bytes` and is valid to its last byte, in the one form it can have.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let (value, rest) = split_value(bytes).ok_or(Corrupt("value"))?;
        if !rest.is_empty() {
            return Err(Corrupt("bytes after a value"));
        }
        check_value(value, LEVELS_MAX)?;
        Ok(value)
    }
}

/// Validates what is inside a value; it and the values in it may have `depth` levels.
fn check_value(value: ValueRef<'_>, depth: usize) -> Result<(), Corrupt> {
    let Some(below) = depth.checked_sub(1) else {
        return Err(Corrupt("depth"));
    };
    let payload = value.payload();
    match value.tag {
        Tag::String => std::str::from_utf8(payload).map(drop).map_err(|_| Corrupt("string")),
        Tag::Number => Number::decode(payload).map(drop).ok_or(Corrupt("number")),
        Tag::Binary => Ok(()),
        Tag::False | Tag::True | Tag::Null => payload.is_empty().then_some(()).ok_or(Corrupt("constant")),
        Tag::List => check_list(payload, below),
        Tag::Map => check_entries(payload, below),
        Tag::StringSet => check_set(payload, |e| std::str::from_utf8(e).is_ok()),
        Tag::NumberSet => check_set(payload, |e| Number::decode(e).is_some()),
        Tag::BinarySet => check_set(payload, |_| true),
    }
}

fn check_list(mut payload: &[u8], depth: usize) -> Result<(), Corrupt> {
    while !payload.is_empty() {
        let (value, rest) = split_value(payload).ok_or(Corrupt("list"))?;
        check_value(value, depth)?;
        payload = rest;
    }
    Ok(())
}

/// Validates sorted entries: those of a map, or the attributes of an item.
pub(crate) fn check_entries(mut payload: &[u8], depth: usize) -> Result<(), Corrupt> {
    let mut previous: Option<&[u8]> = None;
    while !payload.is_empty() {
        let (name, value, rest) = split_entry(payload).ok_or(Corrupt("entry"))?;
        if std::str::from_utf8(name).is_err() || previous.is_some_and(|p| p >= name) {
            return Err(Corrupt("name"));
        }
        check_value(value, depth)?;
        previous = Some(name);
        payload = rest;
    }
    Ok(())
}

fn check_set(mut payload: &[u8], valid: impl Fn(&[u8]) -> bool) -> Result<(), Corrupt> {
    let mut previous: Option<&[u8]> = None;
    while !payload.is_empty() {
        let (element, rest) = split_sized(payload).ok_or(Corrupt("set"))?;
        if !valid(element) || previous.is_some_and(|p| p >= element) {
            return Err(Corrupt("element"));
        }
        previous = Some(element);
        payload = rest;
    }
    previous.map(drop).ok_or(Corrupt("empty set"))
}
