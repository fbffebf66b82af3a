//! Attribute values in stored form: `tag | varint payload length | payload`, so that an unwanted value costs nothing.
//!
//! | value | payload |
//! |---|---|
//! | string, binary | the bytes |
//! | number | [`crate::number`]'s ordered form |
//! | true, false, null | empty; each has its own tag |
//! | list | values, one after the other |
//! | map | `varint name length | name | value`, sorted by name |
//! | sets | `varint element length | element`, sorted by bytes; an element is the payload of its scalar |
//!
//! Varints are LEB128 in their shortest form. Every value therefore has exactly one form, and equal values (sets and
//! maps in whatever order, numbers however written) are equal bytes.
//!
//! 1. [`write`](mod@write) makes values; [`crate::wire`] makes them from JSON text.
//! 2. [`walk`] reads them in place: lists, maps, sets, paths. It never panics and never reads outside the bytes.
//! 3. [`check`] validates bytes of unknown origin completely.
//! 4. [`json`](mod@json) prints them as DynamoDB JSON.
//! 5. [`set`] holds what `ADD` and `DELETE` do to sets.

pub mod check;
pub mod json;
pub mod set;
pub mod walk;
pub mod write;

use serde::{Deserialize, Serialize};

pub use check::Corrupt;
pub use walk::{List, Map, SetElements};
pub use write::ValueWriter;

use crate::number::{self, Number};

/// Values inside each other, DynamoDB's limit: a value outside is on level 1, the elements of a list or map are one
/// level below it.
pub const LEVELS_MAX: usize = 32;

/// What a list or map weighs beside its elements, in bytes of item size.
const CONTAINER_SIZE: u64 = 3;
/// What each element of a list or map weighs beside itself.
const ELEMENT_SIZE: u64 = 1;

/// The ten types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
    /// Boolean.
    Bool,
    /// Null.
    Null,
    /// List.
    L,
    /// Map.
    M,
    /// String set.
    Ss,
    /// Number set.
    Ns,
    /// Binary set.
    Bs,
}

impl ValueType {
    /// As DynamoDB writes it: `S`, `BOOL`, `SS`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
            Self::Bool => "BOOL",
            Self::Null => "NULL",
            Self::L => "L",
            Self::M => "M",
            Self::Ss => "SS",
            Self::Ns => "NS",
            Self::Bs => "BS",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "S" => Self::S,
            "N" => Self::N,
            "B" => Self::B,
            "BOOL" => Self::Bool,
            "NULL" => Self::Null,
            "L" => Self::L,
            "M" => Self::M,
            "SS" => Self::Ss,
            "NS" => Self::Ns,
            "BS" => Self::Bs,
            _ => return None,
        })
    }

    /// The type of a set's elements.
    pub fn element(self) -> Option<Self> {
        match self {
            Self::Ss => Some(Self::S),
            Self::Ns => Some(Self::N),
            Self::Bs => Some(Self::B),
            _ => None,
        }
    }
}

/// The first byte of a value. Part of the stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// String.
    String = 1,
    /// Number.
    Number = 2,
    /// Binary.
    Binary = 3,
    /// False.
    False = 4,
    /// True.
    True = 5,
    /// Null.
    Null = 6,
    /// List.
    List = 7,
    /// Map.
    Map = 8,
    /// String set.
    StringSet = 9,
    /// Number set.
    NumberSet = 10,
    /// Binary set.
    BinarySet = 11,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::String,
            2 => Self::Number,
            3 => Self::Binary,
            4 => Self::False,
            5 => Self::True,
            6 => Self::Null,
            7 => Self::List,
            8 => Self::Map,
            9 => Self::StringSet,
            10 => Self::NumberSet,
            11 => Self::BinarySet,
            _ => return None,
        })
    }

    /// The type it stands for.
    pub fn kind(self) -> ValueType {
        match self {
            Self::String => ValueType::S,
            Self::Number => ValueType::N,
            Self::Binary => ValueType::B,
            Self::False | Self::True => ValueType::Bool,
            Self::Null => ValueType::Null,
            Self::List => ValueType::L,
            Self::Map => ValueType::M,
            Self::StringSet => ValueType::Ss,
            Self::NumberSet => ValueType::Ns,
            Self::BinarySet => ValueType::Bs,
        }
    }
}

/// An owned value in stored form. One that came from elsewhere has passed [`ValueRef::parse`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct Value(Vec<u8>);

/// A borrowed value in stored form: exactly one, with a valid tag and a length that fits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ValueRef<'a> {
    tag: Tag,
    /// Where the payload starts in `bytes`.
    start: u8,
    bytes: &'a [u8],
}

impl Value {
    /// A string.
    pub fn string(text: &str) -> Self {
        Self::written(|w| w.string(text))
    }

    /// A number.
    pub fn number(number: Number) -> Self {
        Self::written(|w| w.number(number))
    }

    /// A binary.
    pub fn binary(bytes: &[u8]) -> Self {
        Self::written(|w| w.binary(bytes))
    }

    /// A boolean.
    pub fn boolean(value: bool) -> Self {
        Self::written(|w| w.boolean(value))
    }

    /// Null.
    pub fn null() -> Self {
        Self::written(|w| w.null())
    }

    /// A list of values.
    pub fn list<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> Self {
        Self::written(|w| {
            let list = w.begin_list();
            values.into_iter().for_each(|v| w.value(v));
            w.end(list);
        })
    }

    /// A map, of entries in any order; of entries with the same name the last one counts.
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>) -> Self {
        let entries: std::collections::BTreeMap<_, _> = entries.into_iter().collect();
        Self::written(|w| {
            let map = w.begin_map();
            for (name, value) in entries {
                w.name(name);
                w.value(value);
            }
            w.end(map);
        })
    }

    /// Whatever `write` writes, which must be one value.
    pub fn written(write: impl FnOnce(&mut ValueWriter<'_>)) -> Self {
        let mut bytes = Vec::new();
        write(&mut ValueWriter::new(&mut bytes));
        Self(bytes)
    }

    /// Takes over bytes that are one value.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        ValueRef::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// Bytes made by this crate: one value.
    pub(crate) fn from_trusted(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        walk::split_value(&self.0).map_or(ValueRef::NULL, |(value, _)| value)
    }

    /// The stored form.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl TryFrom<serde_bytes::ByteBuf> for Value {
    type Error = Corrupt;
    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Corrupt> {
        Self::from_bytes(bytes.into_vec())
    }
}

impl From<Value> for serde_bytes::ByteBuf {
    fn from(value: Value) -> Self {
        Self::from(value.0)
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// As DynamoDB JSON: what a failing test should show.
impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        self.write_json(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl<'a> ValueRef<'a> {
    /// What stands for bytes that hold nothing readable.
    const NULL: ValueRef<'static> = ValueRef {
        tag: Tag::Null,
        start: 2,
        bytes: &[Tag::Null as u8, 0],
    };

    /// The type.
    pub fn kind(self) -> ValueType {
        self.tag.kind()
    }

    /// The tag.
    pub fn tag(self) -> Tag {
        self.tag
    }

    /// The stored form: equal bytes are equal values.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The stored form without tag and length. Two strings, two binaries or two numbers compare as their payloads.
    pub fn payload(self) -> &'a [u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or_default()
    }

    /// A string's text.
    pub fn as_str(self) -> Option<&'a str> {
        match self.tag {
            Tag::String => std::str::from_utf8(self.payload()).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_number(self) -> Option<Number> {
        match self.tag {
            Tag::Number => Number::decode(self.payload()),
            _ => None,
        }
    }

    /// A binary's bytes.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        (self.tag == Tag::Binary).then(|| self.payload())
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.tag {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }

    /// The bytes this value adds to its item's size.
    ///
    /// Source: "DynamoDB item sizes and formats". Bytes of UTF-8 of strings, raw length of binaries, half a byte a
    /// digit (rounded up before and behind the point) and one or (negative) two more for numbers, one for booleans and nulls, the elements of sets, and for
    /// lists and maps 3 and one for each element beside the elements (and names) themselves.
    pub fn size(self) -> u64 {
        self.size_within(LEVELS_MAX)
    }

    fn size_within(self, depth: usize) -> u64 {
        match self.tag {
            Tag::String | Tag::Binary => self.payload().len() as u64,
            Tag::Number => number_size(self.payload()),
            Tag::False | Tag::True | Tag::Null => 1,
            Tag::StringSet | Tag::BinarySet => self.set().map(|element| element.len() as u64).sum(),
            Tag::NumberSet => self.set().map(number_size).sum(),
            Tag::List | Tag::Map if depth == 0 => CONTAINER_SIZE,
            Tag::List => self
                .list()
                .map(|value| ELEMENT_SIZE + value.size_within(depth - 1))
                .fold(CONTAINER_SIZE, |sum, size| sum + size),
            Tag::Map => self
                .map()
                .map(|(name, value)| ELEMENT_SIZE + name.len() as u64 + value.size_within(depth - 1))
                .fold(CONTAINER_SIZE, |sum, size| sum + size),
        }
    }

    /// Values inside each other: 1 for scalars, sets and empty lists or maps. Never more than [`LEVELS_MAX`] + 1.
    pub fn levels(self) -> usize {
        self.levels_within(LEVELS_MAX)
    }

    fn levels_within(self, below: usize) -> usize {
        if below == 0 {
            return 1;
        }
        let inner = match self.tag {
            Tag::List => self.list().map(|v| v.levels_within(below - 1)).max(),
            Tag::Map => self.map().map(|(_, v)| v.levels_within(below - 1)).max(),
            _ => None,
        };
        1 + inner.unwrap_or(0)
    }

    /// An owned copy.
    pub fn to_value(self) -> Value {
        Value(self.bytes.to_vec())
    }
}

/// A stored number's size.
fn number_size(stored: &[u8]) -> u64 {
    let (whole, fraction, negative) = number::significant_digits(stored);
    (whole.div_ceil(2) + fraction.div_ceil(2)) as u64 + 1 + u64::from(negative)
}

#[cfg(test)]
pub(crate) mod tests;
