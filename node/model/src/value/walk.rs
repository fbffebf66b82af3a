//! Reading stored values in place. Bytes that break the format end an iteration; nothing here panics.

use super::{Tag, ValueRef};

/// Takes a shortest-form varint off the front.
#[inline]
pub(crate) fn split_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    split_long_varint(bytes)
}

fn split_long_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    // Five groups of seven bits hold any length of a request (16 MB) and no more than 64 bits hold the sum.
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let shortest = index == 0 || *byte != 0;
            return shortest.then_some((value as usize, &bytes[index + 1..]));
        }
    }
    None
}

/// Takes `varint length | bytes` off the front.
#[inline]
pub(crate) fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = split_varint(bytes)?;
    rest.split_at_checked(len)
}

/// Takes one value off the front.
#[inline]
pub(crate) fn split_value(bytes: &[u8]) -> Option<(ValueRef<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let tag = Tag::from_byte(*tag)?;
    let (len, rest) = split_varint(rest)?;
    let start = bytes.len() - rest.len();
    let (value, rest) = bytes.split_at_checked(start + len)?;
    let value = ValueRef {
        tag,
        start: start as u8,
        bytes: value,
    };
    Some((value, rest))
}

/// Takes one named value off the front; the name as bytes.
#[inline]
pub(crate) fn split_entry(bytes: &[u8]) -> Option<(&[u8], ValueRef<'_>, &[u8])> {
    let (name, rest) = split_sized(bytes)?;
    let (value, rest) = split_value(rest)?;
    Some((name, value, rest))
}

/// The value of that name among sorted entries: stops as soon as names are past it.
#[inline]
pub(crate) fn find_entry<'a>(mut entries: &'a [u8], wanted: &[u8]) -> Option<ValueRef<'a>> {
    while let Some((name, value, rest)) = split_entry(entries) {
        match name.cmp(wanted) {
            std::cmp::Ordering::Less => entries = rest,
            std::cmp::Ordering::Equal => return Some(value),
            std::cmp::Ordering::Greater => return None,
        }
    }
    None
}

/// The values of a list.
#[derive(Debug, Clone)]
pub struct List<'a>(&'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = ValueRef<'a>;
    fn next(&mut self) -> Option<ValueRef<'a>> {
        let (value, rest) = split_value(self.0)?;
        self.0 = rest;
        Some(value)
    }
}

/// The entries of a map (or the attributes of an item), sorted by name.
#[derive(Debug, Clone)]
pub struct Map<'a>(&'a [u8]);

impl<'a> Map<'a> {
    pub(crate) fn new(entries: &'a [u8]) -> Self {
        Self(entries)
    }
}

impl<'a> Iterator for Map<'a> {
    type Item = (&'a str, ValueRef<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, rest) = split_entry(self.0)?;
        self.0 = rest;
        Some((std::str::from_utf8(name).ok()?, value))
    }
}

/// The elements of a set: each the payload of its scalar, sorted.
#[derive(Debug, Clone)]
pub struct SetElements<'a>(&'a [u8]);

impl<'a> Iterator for SetElements<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (element, rest) = split_sized(self.0)?;
        self.0 = rest;
        Some(element)
    }
}

impl<'a> ValueRef<'a> {
    /// The elements of a list; nothing for other types.
    pub fn list(self) -> List<'a> {
        List(if self.tag == Tag::List { self.payload() } else { &[] })
    }

    /// The entries of a map; nothing for other types.
    pub fn map(self) -> Map<'a> {
        Map(if self.tag == Tag::Map { self.payload() } else { &[] })
    }

    /// The elements of a set, as payloads of the element type; nothing for other types.
    pub fn set(self) -> SetElements<'a> {
        SetElements(if self.kind().element().is_some() {
            self.payload()
        } else {
            &[]
        })
    }

    /// The map entry of that name.
    pub fn get(self, name: &str) -> Option<ValueRef<'a>> {
        match self.tag {
            Tag::Map => find_entry(self.payload(), name.as_bytes()),
            _ => None,
        }
    }

    /// The list element at `index`.
    pub fn nth(self, index: usize) -> Option<ValueRef<'a>> {
        self.list().nth(index)
    }

    /// The number of elements of a list, map or set.
    pub fn len(self) -> usize {
        match self.tag {
            Tag::List => self.list().count(),
            Tag::Map => self.map().count(),
            _ => self.set().count(),
        }
    }

    /// Whether a list, map or set has no elements (also true of every other value).
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether a set holds the scalar whose payload is `element`.
    pub fn set_contains(self, element: &[u8]) -> bool {
        self.set().any(|e| e == element)
    }
}
