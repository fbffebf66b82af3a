//! Write requests as Java prints them: DynamoDB's constraints about a batch show the whole batch like this.
//!
//! A batch may be as large as a body: what is beyond a bound is left out.

use std::fmt::Write;

use partita_model::item::Item;
use partita_model::number;
use partita_model::value::{Tag, ValueRef};

/// Of the text; DynamoDB's own is as long as the batch.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The members of Java's `AttributeValue`, in its order.
const MEMBERS: [&str; 16] = [
    "s",
    "n",
    "b",
    "iNT",
    "dECIMAL",
    "dOUBLE",
    "sS",
    "nS",
    "bS",
    "iNTSET",
    "dECIMALSET",
    "dOUBLESET",
    "m",
    "l",
    "nULL",
    "bOOL",
];

/// A text that is being written, up to the bound.
#[derive(Debug, Default)]
pub struct JavaText {
    text: String,
}

impl JavaText {
    /// The text, marked when it is cut.
    pub fn finish(mut self) -> String {
        if self.is_full() {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|at| self.text.is_char_boundary(*at));
            self.text.truncate(end.unwrap_or(0));
            self.text.push_str("...");
        }
        self.text
    }

    /// Appends text as it is.
    pub fn push(&mut self, text: &str) {
        if !self.is_full() {
            self.text.push_str(text);
        }
    }

    /// `open a, b, c close`, as long as there is room.
    pub fn list<T>(
        &mut self,
        [open, close]: [&str; 2],
        elements: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.push(open);
        for (place, element) in elements.into_iter().enumerate() {
            if self.is_full() {
                return;
            }
            if place > 0 {
                self.push(", ");
            }
            write(self, element);
        }
        self.push(close);
    }

    /// `WriteRequest(…)` of a put or a delete; a part that is `None` is absent, an item that is `None` is missing.
    pub fn write_request(&mut self, put: Option<Option<&Item>>, delete: Option<Option<&Item>>) {
        self.push("WriteRequest(putRequest=");
        self.request("PutRequest(item=", put);
        self.push(", deleteRequest=");
        self.request("DeleteRequest(key=", delete);
        self.push(")");
    }

    fn request(&mut self, open: &str, request: Option<Option<&Item>>) {
        let Some(item) = request else {
            return self.push("null");
        };
        self.push(open);
        match item {
            Some(item) => self.attributes(item.as_ref().iter()),
            None => self.push("null"),
        }
        self.push(", workloadProfileName=null)");
    }

    fn attributes<'a>(&mut self, attributes: impl Iterator<Item = (&'a str, ValueRef<'a>)>) {
        self.list(["{", "}"], attributes, |text, (name, value)| {
            text.push(name);
            text.push("=");
            text.value(value);
        });
    }

    /// Goes down as deep as values may be.
    fn value(&mut self, value: ValueRef<'_>) {
        let given = match value.tag() {
            Tag::String => "s",
            Tag::Number => "n",
            Tag::Binary => "b",
            Tag::StringSet => "sS",
            Tag::NumberSet => "nS",
            Tag::BinarySet => "bS",
            Tag::Map => "m",
            Tag::List => "l",
            Tag::Null => "nULL",
            Tag::False | Tag::True => "bOOL",
        };
        self.list(["AttributeValue(", ")"], MEMBERS, |text, member| {
            text.push(member);
            text.push("=");
            if member == given {
                text.content(value);
            } else {
                text.push("null");
            }
        });
    }

    fn content(&mut self, value: ValueRef<'_>) {
        match value.tag() {
            Tag::String => self.push(value.as_str().unwrap_or_default()),
            Tag::Number => self.number(value.payload()),
            Tag::Binary => self.binary(value.payload().len()),
            Tag::StringSet => self.list(["[", "]"], value.set(), |text, element| {
                text.push(&String::from_utf8_lossy(element));
            }),
            Tag::NumberSet => self.list(["[", "]"], value.set(), Self::number),
            Tag::BinarySet => self.list(["[", "]"], value.set(), |text, element| text.binary(element.len())),
            Tag::Map => self.attributes(value.map()),
            Tag::List => self.list(["[", "]"], value.list(), Self::value),
            Tag::Null | Tag::True => self.push("true"),
            Tag::False => self.push("false"),
        }
    }

    fn number(&mut self, stored: &[u8]) {
        let mut text = Vec::new();
        number::write_text(stored, &mut text);
        self.push(&String::from_utf8_lossy(&text));
    }

    fn binary(&mut self, length: usize) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
    }

    fn is_full(&self) -> bool {
        self.text.len() > TEXT_BYTES_MAX
    }
}
