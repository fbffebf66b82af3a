//! What the seeds of [`super::read`] write into: stored bytes, the entries that may have to be sorted, and the first
//! thing that is wrong in meaning.

use std::borrow::Cow;

use crate::error::ApiError;
use crate::item::Item;
use crate::message;
use crate::number::{Number, NumberError};
use crate::value::write::write_varint;
use crate::value::{Value, ValueWriter};

/// What is being written.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) out: Vec<u8>,
    /// The entries or elements of every map and set being read, innermost last.
    pub(super) entries: Vec<Entry>,
    /// The first thing that is wrong in meaning.
    error: Option<Box<ApiError>>,
    /// Lists and maps being read.
    pub(super) depth: usize,
}

/// An entry of a map or an element of a set, as positions in [`Reader::out`].
#[derive(Clone, Copy)]
pub(super) struct Entry {
    start: usize,
    pub(super) name: (usize, usize),
    end: usize,
}

impl Reader {
    pub(super) fn finish_item(self) -> Result<Item, Box<ApiError>> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Item::from_sorted(self.out)),
        }
    }

    pub(super) fn finish_value(self) -> Result<Value, Box<ApiError>> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Value::from_trusted(self.out)),
        }
    }

    /// Keeps an error unless there is one already.
    pub(super) fn fail(&mut self, message: impl Into<Cow<'static, str>>) {
        if self.error.is_none() {
            self.error = Some(Box::new(ApiError::validation(message)));
        }
    }

    pub(super) fn writer(&mut self) -> ValueWriter<'_> {
        ValueWriter::new(&mut self.out)
    }

    /// Writes a name or element and returns its entry, whose end is still open.
    pub(super) fn begin_entry(&mut self, name: &[u8]) -> Entry {
        let start = self.out.len();
        write_varint(&mut self.out, name.len());
        let name_start = self.out.len();
        self.out.extend_from_slice(name);
        let end = self.out.len();
        Entry {
            start,
            name: (name_start, end),
            end,
        }
    }

    pub(super) fn end_entry(&mut self, entry: Entry) {
        self.entries.push(Entry {
            end: self.out.len(),
            ..entry
        });
    }

    pub(super) fn name(&self, entry: &Entry) -> &[u8] {
        &self.out[entry.name.0..entry.name.1]
    }

    /// Sorts the entries from number `base` on, which fill `out` to its end, by name. Whether all names differ.
    pub(super) fn sort_entries(&mut self, base: usize) -> bool {
        let in_order = |pair: &[Entry]| self.name(&pair[0]) < self.name(&pair[1]);
        if self.entries[base..].windows(2).all(in_order) {
            return true;
        }
        let mut entries = self.entries.split_off(base);
        let Some(first) = entries.first().map(|entry| entry.start) else {
            return true;
        };
        entries.sort_unstable_by(|a, b| self.name(a).cmp(self.name(b)));
        let distinct = entries
            .windows(2)
            .all(|pair| self.name(&pair[0]) != self.name(&pair[1]));
        let mut sorted = Vec::with_capacity(self.out.len() - first);
        for entry in &entries {
            sorted.extend_from_slice(&self.out[entry.start..entry.end]);
        }
        self.out.truncate(first);
        self.out.extend_from_slice(&sorted);
        distinct
    }

    pub(super) fn number(&mut self, text: &str) -> Number {
        Number::parse(text).unwrap_or_else(|error| {
            self.fail(match error {
                NumberError::NotANumber => Cow::Owned(message::not_a_number(text)),
                other => Cow::Borrowed(other.text()),
            });
            Number::ZERO
        })
    }
}
