//! Writing values in stored form, front to back, into one buffer.

use super::{Tag, ValueRef};
use crate::number::Number;

/// Appends values to a buffer. Map entries must come in order of their names, set elements in order of their bytes.
#[derive(Debug)]
pub struct ValueWriter<'b> {
    out: &'b mut Vec<u8>,
}

/// A list, map or set that has been begun: where its payload starts. To be handed to [`ValueWriter::end`].
#[derive(Debug)]
#[must_use]
pub struct Open(usize);

impl<'b> ValueWriter<'b> {
    /// Appends to `out`.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.scalar(Tag::String, text.as_bytes());
    }

    /// A number.
    pub fn number(&mut self, number: Number) {
        self.scalar(Tag::Number, number.encode().as_bytes());
    }

    /// A binary.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.scalar(Tag::Binary, bytes);
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        self.scalar(if value { Tag::True } else { Tag::False }, &[]);
    }

    /// Null.
    pub fn null(&mut self) {
        self.scalar(Tag::Null, &[]);
    }

    /// A copy of a value, whatever it is.
    pub fn value(&mut self, value: ValueRef<'_>) {
        self.out.extend_from_slice(value.bytes());
    }

    /// A value of a tag and its finished payload.
    pub fn scalar(&mut self, tag: Tag, payload: &[u8]) {
        self.out.push(tag as u8);
        self.sized(payload);
    }

    /// The name of the map entry whose value is written next.
    pub fn name(&mut self, name: &str) {
        self.sized(name.as_bytes());
    }

    /// An element of a set: the payload of its scalar.
    pub fn element(&mut self, payload: &[u8]) {
        self.sized(payload);
    }

    /// Starts a list: its values follow.
    pub fn begin_list(&mut self) -> Open {
        self.begin(Tag::List)
    }

    /// Starts a map: for each entry its name and its value follow, in order of the names.
    pub fn begin_map(&mut self) -> Open {
        self.begin(Tag::Map)
    }

    /// Starts a list, map or set.
    pub fn begin(&mut self, tag: Tag) -> Open {
        // One byte for the length is nearly always enough; `end` makes room when it is not.
        self.out.extend_from_slice(&[tag as u8, 0]);
        Open(self.out.len())
    }

    /// Ends what was begun.
    pub fn end(&mut self, open: Open) {
        end_sized(self.out, open.0);
    }

    fn sized(&mut self, bytes: &[u8]) {
        write_varint(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }
}

/// Appends a shortest-form varint.
#[inline]
pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes the length of everything from `start` on into the byte before `start`, moving it when the length needs more.
pub(crate) fn end_sized(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len < 0x80 {
        out[start - 1] = len as u8;
        return;
    }
    let mut varint = Vec::with_capacity(5);
    write_varint(&mut varint, len);
    out.splice(start - 1..start, varint);
}
