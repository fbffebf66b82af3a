//! From JSON text to stored bytes in one pass, by serde's visitors and seeds.
//!
//! 1. [`ItemSeed`] reads `{"name": value, …}`: it writes each name and lets [`ValueSeed`] write the value behind it.
//! 2. [`ValueSeed`] reads `{"TYPE": content}`: it writes the tag and lets the content's own seed write the payload.
//! 3. Entries and set elements that did not come sorted are brought into order when their map or set ends.
//! 4. [`Reader::fail`] keeps the first thing that is semantically wrong; reading goes on, because a wrong shape
//!    further on is reported first.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::reader::{Entry, Reader};
use crate::item::{HEADER_BYTES, ITEM_SIZE_MAX};
use crate::json::shape::{self, Wanted};
use crate::message;
use crate::value::write::end_sized;
use crate::value::{LEVELS_MAX, Tag};

/// Room for a small item without growing.
const CAPACITY_BYTES: usize = 512;
/// An attribute's name is shorter than 64 KB.
pub const NAME_BYTES_END: usize = 65_536;
/// More entries of maps and elements of sets than an item can have: their names and elements differ, so all but one
/// of each map or set weigh at least a byte.
const ENTRIES_END: usize = ITEM_SIZE_MAX as usize + 2 * LEVELS_MAX;

/// Reads an item: header (to be filled in) and attributes.
pub(super) struct ItemSeed<'r>(pub &'r mut Reader);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.out.reserve(CAPACITY_BYTES);
        self.0.out.resize(HEADER_BYTES, 0);
        deserializer.deserialize_any(EntriesVisitor { reader: self.0 })
    }
}

/// Reads `{"name": value, …}` and writes sorted entries.
struct EntriesVisitor<'r> {
    reader: &'r mut Reader,
}

impl<'de> Visitor<'de> for EntriesVisitor<'_> {
    type Value = ();
    shape::reject!(Wanted::Map(shape::ATTRIBUTE_MAP); bool, number, string, null, list);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reader } = self;
        let base = reader.entries.len();
        while let Some(entry) = map.next_key_seed(NameSeed(reader))? {
            let name_len = entry.name.1 - entry.name.0;
            if name_len == 0 {
                reader.fail(message::ATTRIBUTE_NAME_EMPTY);
            } else if name_len >= NAME_BYTES_END {
                reader.fail(message::ATTRIBUTE_NAME_TOO_LONG);
            }
            map.next_value_seed(ValueSeed(reader))?;
            reader.end_entry(entry);
            if reader.entries.len() >= ENTRIES_END {
                reader.fail(message::ITEM_TOO_LARGE);
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                break;
            }
        }
        if !reader.sort_entries(base) {
            return Err(A::Error::custom(message::DUPLICATE_ATTRIBUTE));
        }
        reader.entries.truncate(base);
        Ok(())
    }
}

/// Reads a name and writes it.
struct NameSeed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Entry;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Entry;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Entry, E> {
        Ok(self.0.begin_entry(name.as_bytes()))
    }
}

/// Reads an attribute value, `{"TYPE": content}`, and writes it; a placeholder when it is not acceptable.
pub(super) struct ValueSeed<'r>(pub &'r mut Reader);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();
    shape::reject!(Wanted::Structure(shape::ATTRIBUTE_VALUE); bool, number, string, list);

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.fail(message::VALUE_EMPTY);
        self.0.writer().null();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        if reader.depth == LEVELS_MAX {
            reader.fail(message::NESTING_TOO_DEEP);
            // Skipped without recursion, whatever is in it.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            reader.writer().null();
            return Ok(());
        }
        let start = reader.out.len();
        let mut found = false;
        while let Some(member) = map.next_key::<Member>()? {
            let written = match member {
                Member::Value(tag) => {
                    let before = reader.out.len();
                    let written = map.next_value_seed(ContentSeed { reader, tag })?;
                    if found && written {
                        reader.fail(message::VALUE_AMBIGUOUS);
                        reader.out.truncate(before);
                    }
                    written
                }
                Member::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            found |= written;
        }
        if !found {
            debug_assert_eq!(reader.out.len(), start);
            reader.fail(message::VALUE_EMPTY);
            reader.writer().null();
        }
        Ok(())
    }
}

/// A member of an attribute value.
enum Member {
    /// One of the types, as the tag that its content is first read under (true stands for both booleans).
    Value(Tag),
    /// Anything else: ignored.
    Unknown,
}

impl<'de> serde::Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type's name")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "S" => Member::Value(Tag::String),
                    "N" => Member::Value(Tag::Number),
                    "B" => Member::Value(Tag::Binary),
                    "BOOL" => Member::Value(Tag::True),
                    "NULL" => Member::Value(Tag::Null),
                    "L" => Member::Value(Tag::List),
                    "M" => Member::Value(Tag::Map),
                    "SS" => Member::Value(Tag::StringSet),
                    "NS" => Member::Value(Tag::NumberSet),
                    "BS" => Member::Value(Tag::BinarySet),
                    _ => Member::Unknown,
                })
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

/// Reads the content of a typed value and writes the value. False when the content is `null`: nothing is written.
struct ContentSeed<'r> {
    reader: &'r mut Reader,
    tag: Tag,
}

impl<'de> DeserializeSeed<'de> for ContentSeed<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ContentSeed<'_> {
    fn wanted(&self) -> Wanted {
        match self.tag {
            Tag::String | Tag::Number => Wanted::Scalar("String"),
            Tag::Binary => Wanted::Blob,
            Tag::False | Tag::True | Tag::Null => Wanted::Boolean,
            Tag::List => Wanted::List(shape::ATTRIBUTE_LIST),
            Tag::Map => Wanted::Map(shape::ATTRIBUTE_MAP),
            Tag::StringSet | Tag::NumberSet => Wanted::List(shape::STRING_LIST),
            Tag::BinarySet => Wanted::List(shape::BLOB_LIST),
        }
    }
}

impl<'de> Visitor<'de> for ContentSeed<'_> {
    type Value = bool;
    shape::reject!(|seed| seed.wanted(); number);

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        match self.tag {
            Tag::True => self.reader.writer().boolean(value),
            Tag::Null => {
                if !value {
                    self.reader.fail(message::NULL_NOT_TRUE);
                }
                self.reader.writer().null();
            }
            _ => return Err(self.wanted().mismatch(shape::Token::boolean(value))),
        }
        Ok(true)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        match self.tag {
            Tag::String => self.reader.writer().string(text),
            Tag::Number => {
                let number = self.reader.number(text);
                self.reader.writer().number(number);
            }
            Tag::Binary => {
                self.reader.out.push(Tag::Binary as u8);
                self.reader.out.push(0);
                let start = self.reader.out.len();
                decode_base64(text, &mut self.reader.out)?;
                end_sized(&mut self.reader.out, start);
            }
            _ => return Err(self.wanted().mismatch(shape::Token::String)),
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        match self.tag {
            Tag::List => read_list(self.reader, seq)?,
            Tag::StringSet | Tag::NumberSet | Tag::BinarySet => read_set(self.reader, self.tag, seq)?,
            _ => return Err(self.wanted().mismatch(shape::Token::List)),
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        if self.tag != Tag::Map {
            return Err(self.wanted().mismatch(shape::Token::Map));
        }
        let reader = self.reader;
        reader.depth += 1;
        let open = reader.writer().begin(Tag::Map);
        EntriesVisitor { reader }.visit_map(map)?;
        reader.writer().end(open);
        reader.depth -= 1;
        Ok(true)
    }
}

fn read_list<'de, A: SeqAccess<'de>>(reader: &mut Reader, mut seq: A) -> Result<(), A::Error> {
    reader.depth += 1;
    let open = reader.writer().begin(Tag::List);
    while seq.next_element_seed(ValueSeed(reader))?.is_some() {}
    reader.writer().end(open);
    reader.depth -= 1;
    Ok(())
}

fn read_set<'de, A: SeqAccess<'de>>(reader: &mut Reader, tag: Tag, mut seq: A) -> Result<(), A::Error> {
    let open = reader.writer().begin(tag);
    let base = reader.entries.len();
    while seq.next_element_seed(ElementSeed { reader, tag })?.is_some() {
        if reader.entries.len() >= ENTRIES_END {
            reader.fail(message::ITEM_TOO_LARGE);
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            break;
        }
    }
    if reader.entries.len() == base {
        reader.fail(match tag {
            Tag::StringSet => message::STRING_SET_EMPTY,
            Tag::NumberSet => message::NUMBER_SET_EMPTY,
            _ => message::BINARY_SET_EMPTY,
        });
    }
    if has_duplicates(reader, base) {
        let text = duplicates_text(reader, tag, base);
        reader.fail(text);
    }
    reader.sort_entries(base);
    reader.entries.truncate(base);
    reader.writer().end(open);
    Ok(())
}

/// Whether two of the elements from number `base` on are equal.
fn has_duplicates(reader: &Reader, base: usize) -> bool {
    let mut elements: Vec<&[u8]> = reader.entries[base..].iter().map(|entry| reader.name(entry)).collect();
    elements.sort_unstable();
    elements.windows(2).any(|pair| pair[0] == pair[1])
}

/// What is said of a set with duplicates; it quotes the whole set as it came.
fn duplicates_text(reader: &Reader, tag: Tag, base: usize) -> String {
    let elements = reader.entries[base..].iter().map(|entry| reader.name(entry));
    match tag {
        Tag::NumberSet => message::NUMBER_SET_DUPLICATES.to_owned(),
        Tag::BinarySet => message::binary_set_duplicates(elements.map(|e| STANDARD.encode(e))),
        _ => message::string_set_duplicates(elements.map(|e| String::from_utf8_lossy(e).into_owned())),
    }
}

/// Reads an element of a set and writes its payload.
struct ElementSeed<'r> {
    reader: &'r mut Reader,
    tag: Tag,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = ();
    shape::reject!(|seed| if seed.tag == Tag::BinarySet { Wanted::Blob } else { Wanted::Scalar("String") };
        bool, number, null, list, map);

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let reader = self.reader;
        let entry = match self.tag {
            Tag::NumberSet => {
                let number = reader.number(text);
                reader.begin_entry(number.encode().as_bytes())
            }
            Tag::BinarySet => {
                let mut bytes = Vec::new();
                decode_base64(text, &mut bytes)?;
                reader.begin_entry(&bytes)
            }
            _ => reader.begin_entry(text.as_bytes()),
        };
        reader.end_entry(entry);
        Ok(())
    }
}

/// Appends the bytes that base64 text stands for.
fn decode_base64<E: Error>(text: &str, out: &mut Vec<u8>) -> Result<(), E> {
    if !text.len().is_multiple_of(4) {
        return Err(E::custom(message::base64_length(text.len())));
    }
    STANDARD.decode_vec(text, out).map_err(|error| match error {
        base64::DecodeError::InvalidLastSymbol(..) | base64::DecodeError::InvalidPadding => {
            E::custom(message::BASE64_LAST)
        }
        base64::DecodeError::InvalidByte(..) | base64::DecodeError::InvalidLength(_) => {
            E::custom(message::BASE64_CHARACTER)
        }
    })
}
