//! One key attribute as bytes: order is kept, and no component is a prefix of another, so that components can be put
//! one after the other.
//!
//! Strings and binaries: `00` becomes `00 FF`, the end is `00 00`. Numbers: [`crate::number`]'s stored form.

use crate::number;
use crate::schema::ScalarType;
use crate::value::{Tag, Value, ValueRef, ValueWriter};

const ZERO: u8 = 0;
/// Behind a zero byte: the zero is part of the text.
const ESCAPED: u8 = 0xFF;
/// What ends a string or binary.
const END: [u8; 2] = [0, 0];

/// Appends a value's component; `None` (and nothing written) when it cannot be a key: another type, or empty.
pub fn write(value: ValueRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    match value.tag() {
        Tag::Number => out.extend_from_slice(value.payload()),
        Tag::String | Tag::Binary if !value.payload().is_empty() => {
            escape(value.payload(), out);
            out.extend_from_slice(&END);
        }
        _ => return None,
    }
    Some(())
}

/// Appends what the components of all strings (binaries) start with that start with this one.
pub fn write_prefix(value: ValueRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    matches!(value.tag(), Tag::String | Tag::Binary).then(|| escape(value.payload(), out))
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + END.len());
    let mut runs = bytes.split(|byte| *byte == ZERO);
    if let Some(first) = runs.next() {
        out.extend_from_slice(first);
    }
    for run in runs {
        out.extend_from_slice(&[ZERO, ESCAPED]);
        out.extend_from_slice(run);
    }
}

/// Takes a component off the front of a key.
pub fn split(kind: ScalarType, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = match kind {
        ScalarType::N => number::encoded_len(bytes)?,
        ScalarType::S | ScalarType::B => {
            let mut at = 0;
            loop {
                at += bytes.get(at..)?.iter().position(|byte| *byte == ZERO)? + 2;
                match *bytes.get(at - 1)? {
                    ESCAPED => {}
                    ZERO => break at,
                    _ => return None,
                }
            }
        }
    };
    bytes.split_at_checked(len)
}

/// The value of a component.
pub fn decode(kind: ScalarType, component: &[u8]) -> Option<Value> {
    let tag = match kind {
        ScalarType::N => {
            number::Number::decode(component)?;
            let mut bytes = Vec::new();
            ValueWriter::new(&mut bytes).scalar(Tag::Number, component);
            return Value::from_bytes(bytes).ok();
        }
        ScalarType::S => Tag::String,
        ScalarType::B => Tag::Binary,
    };
    let mut text = Vec::with_capacity(component.len());
    let mut bytes = component.strip_suffix(&END)?.iter();
    while let Some(byte) = bytes.next() {
        if *byte == ZERO && bytes.next() != Some(&ESCAPED) {
            return None;
        }
        text.push(*byte);
    }
    let mut bytes = Vec::new();
    ValueWriter::new(&mut bytes).scalar(tag, &text);
    Value::from_bytes(bytes).ok()
}
