//! Items in stored form: `version | item time | size | attributes sorted by name`.
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, [`VERSION`] |
//! | 8 | item time, big-endian: 48-bit milliseconds, 16-bit counter |
//! | 4 | the item's size by DynamoDB's rules, little-endian |
//! | rest | `varint name length | name | value` for each attribute (see [`crate::value`]) |

use serde::{Deserialize, Serialize};

use crate::value::check::{Corrupt, check_entries};
use crate::value::json::write_entries;
use crate::value::walk::{find_entry, split_entry};
use crate::value::write::write_varint;
use crate::value::{LEVELS_MAX, Map, ValueRef};

/// The format's version: the first byte of every item.
pub const VERSION: u8 = 1;
/// Bytes before the attributes.
pub const HEADER_BYTES: usize = 1 + 8 + 4;
/// The largest item: 400 KB by DynamoDB's rules of size.
pub const ITEM_SIZE_MAX: u64 = 400 * 1024;

/// An owned item in stored form. One that came from elsewhere has passed [`ItemRef::parse`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf")]
pub struct Item(Vec<u8>);

/// A borrowed item in stored form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ItemRef<'a>(&'a [u8]);

impl Item {
    /// An item without attributes, of time 0.
    pub fn empty() -> Self {
        ItemBuilder::new().finish()
    }

    /// An item of attributes in any order; of attributes with the same name the last one counts.
    pub fn from_attributes<'a>(attributes: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>) -> Self {
        let mut builder = ItemBuilder::new();
        for (name, value) in attributes {
            builder.push(name, value);
        }
        builder.finish()
    }

    /// Takes over bytes that are one item.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        ItemRef::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// Bytes made by this crate: a header to be filled in, and sorted attributes.
    pub(crate) fn from_sorted(mut bytes: Vec<u8>) -> Self {
        debug_assert!(bytes.len() >= HEADER_BYTES);
        let size = attributes_size(&bytes[HEADER_BYTES..]);
        bytes[0] = VERSION;
        bytes[9..HEADER_BYTES].copy_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        Self(bytes)
    }

    /// Borrowed.
    pub fn as_ref(&self) -> ItemRef<'_> {
        ItemRef(&self.0)
    }

    /// The stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The stored form.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Gives the item its time.
    pub fn set_time(&mut self, time: u64) {
        self.0[1..9].copy_from_slice(&time.to_be_bytes());
    }
}

impl Default for Item {
    fn default() -> Self {
        Self::empty()
    }
}

impl TryFrom<serde_bytes::ByteBuf> for Item {
    type Error = Corrupt;
    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Corrupt> {
        Self::from_bytes(bytes.into_vec())
    }
}

/// As one byte string, uncopied.
impl Serialize for Item {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// As DynamoDB JSON: what a failing test should show.
impl std::fmt::Debug for ItemRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        self.write_json(&mut text);
        write!(f, "{}@{}", String::from_utf8_lossy(&text), self.time())
    }
}

impl<'a> ItemRef<'a> {
    /// An item that fills `bytes` and is valid to its last byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let item = Self::from_stored(bytes)?;
        check_entries(item.entries(), LEVELS_MAX)?;
        if attributes_size(item.entries()) != item.size() {
            return Err(Corrupt("item size"));
        }
        Ok(item)
    }

    /// An item as our own storage returned it: only version and header are looked at. Reading it cannot panic even
    /// when the rest is not what was written.
    pub fn from_stored(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        match bytes.first() {
            Some(&VERSION) if bytes.len() >= HEADER_BYTES => Ok(Self(bytes)),
            Some(&VERSION) => Err(Corrupt("item header")),
            _ => Err(Corrupt("item version")),
        }
    }

    /// The attribute of that name.
    pub fn get(self, name: &str) -> Option<ValueRef<'a>> {
        find_entry(self.entries(), name.as_bytes())
    }

    /// The attributes, sorted by name.
    pub fn iter(self) -> Map<'a> {
        Map::new(self.entries())
    }

    /// Whether it has no attributes.
    pub fn is_empty(self) -> bool {
        self.entries().is_empty()
    }

    /// The item's size by DynamoDB's rules, in bytes.
    pub fn size(self) -> u64 {
        u64::from(u32::from_le_bytes(self.header(9)))
    }

    /// The item's time.
    pub fn time(self) -> u64 {
        u64::from_be_bytes(self.header(1))
    }

    /// The stored form.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// An owned copy.
    pub fn to_item(self) -> Item {
        Item(self.0.to_vec())
    }

    /// A copy in which one attribute is replaced, added or (`None`) removed.
    pub fn with(self, name: &str, value: Option<ValueRef<'_>>) -> Item {
        let mut builder = ItemBuilder::with_capacity(self.0.len());
        for (other, other_value) in self.iter().filter(|(other, _)| *other < name) {
            builder.push(other, other_value);
        }
        if let Some(value) = value {
            builder.push(name, value);
        }
        for (other, other_value) in self.iter().filter(|(other, _)| *other > name) {
            builder.push(other, other_value);
        }
        let mut item = builder.finish();
        item.set_time(self.time());
        item
    }

    /// Appends the item as DynamoDB JSON: `{"name":{"S":"text"},…}`.
    pub fn write_json(self, out: &mut Vec<u8>) {
        out.reserve(self.0.len() + self.0.len() / 4);
        write_entries(self.iter(), out, LEVELS_MAX);
    }

    /// The attributes' bytes.
    fn entries(self) -> &'a [u8] {
        self.0.get(HEADER_BYTES..).unwrap_or_default()
    }

    fn header<const N: usize>(self, at: usize) -> [u8; N] {
        self.0
            .get(at..at + N)
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; N])
    }
}

impl<'a> IntoIterator for ItemRef<'a> {
    type Item = (&'a str, ValueRef<'a>);
    type IntoIter = Map<'a>;
    fn into_iter(self) -> Map<'a> {
        self.iter()
    }
}

/// Builds an item from attributes: cheapest when they come sorted by name.
#[derive(Debug)]
pub struct ItemBuilder {
    out: Vec<u8>,
    /// The last name written, in `out`.
    last: Option<std::ops::Range<usize>>,
    sorted: bool,
}

impl ItemBuilder {
    /// An empty one.
    pub fn new() -> Self {
        Self::with_capacity(HEADER_BYTES)
    }

    /// An empty one with room for an item of about that many stored bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes.max(HEADER_BYTES));
        out.resize(HEADER_BYTES, 0);
        Self {
            out,
            last: None,
            sorted: true,
        }
    }

    /// Adds an attribute. Of attributes with the same name the last one counts.
    pub fn push(&mut self, name: &str, value: ValueRef<'_>) {
        self.name(name).value(value);
    }

    /// Adds an attribute whose value the caller writes: exactly one value.
    pub fn name(&mut self, name: &str) -> crate::value::ValueWriter<'_> {
        self.sorted &= self.last.take().is_none_or(|last| self.out[last] < *name.as_bytes());
        write_varint(&mut self.out, name.len());
        let start = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        self.last = Some(start..self.out.len());
        crate::value::ValueWriter::new(&mut self.out)
    }

    /// The item, of time 0.
    pub fn finish(self) -> Item {
        if self.sorted {
            return Item::from_sorted(self.out);
        }
        let mut entries = std::collections::BTreeMap::new();
        let mut rest = &self.out[HEADER_BYTES..];
        while let Some((name, _, tail)) = split_entry(rest) {
            entries.insert(name, &rest[..rest.len() - tail.len()]);
            rest = tail;
        }
        let mut sorted = Vec::with_capacity(self.out.len());
        sorted.resize(HEADER_BYTES, 0);
        entries.values().for_each(|entry| sorted.extend_from_slice(entry));
        Item::from_sorted(sorted)
    }
}

impl Default for ItemBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The size of all attributes with their names.
fn attributes_size(entries: &[u8]) -> u64 {
    Map::new(entries)
        .map(|(name, value)| name.len() as u64 + value.size())
        .sum()
}

#[cfg(test)]
mod tests;
