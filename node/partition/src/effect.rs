//! Effects: what a write or command comes to, as the bytes that go through the log.
//!
//! `version | operation*`, each operation `code << 4 | family` and its fields:
//!
//! | code | operation | fields |
//! |---|---|---|
//! | 1 | put a row | key, value |
//! | 2 | delete a row | key |
//! | 3 | delete rows | from, to |
//! | 4 | clock | item time: nothing at or below it will be issued again |
//! | 5 | count | items, bytes (signed) |
//! | 6 | count a local index | index, rows, bytes (signed) |
//! | 7 | descriptor | the partition's new descriptor |
//! | 8 | trimmed | item time: the change log is gone up to here |
//! | 9 | split | the partition is cut: see [`crate::split`]. Nothing else is in such an effect |
//! | 10 | step of a merge | see [`crate::merge`]. Nothing else is in such an effect |
//!
//! Keys are as the store has them (see [`crate::row`]), so that applying is copying.

use std::ops::Range;

use bytes::Bytes;
use partita_model::schema::IndexId;

use crate::codec::{Reader, put_bytes, put_signed, put_varint};
use crate::descriptor::{self, ItemTime, PartitionDescriptor};
use crate::error::PartitionError;
use crate::merge::MergeStep;
use crate::split::SplitRecord;
use crate::storage::Family;

/// The format's version: the first byte of every effect.
const VERSION: u8 = 1;
/// Where an item's time stands in its stored form.
const ITEM_TIME: Range<usize> = 1..9;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const CLOCK: u8 = 4;
const COUNT: u8 = 5;
const COUNT_LOCAL: u8 = 6;
const DESCRIPTOR: u8 = 7;
const TRIMMED: u8 = 8;
const SPLIT: u8 = 9;
const MERGE: u8 = 10;

/// One operation of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation<'a> {
    /// Set a row.
    Put(Family, &'a [u8], &'a [u8]),
    /// Remove a row.
    Delete(Family, &'a [u8]),
    /// Remove rows from here to before there.
    DeleteRange(Family, &'a [u8], &'a [u8]),
    /// The highest item time issued.
    Clock(ItemTime),
    /// Items and bytes more (or fewer).
    Count(i64, i64),
    /// Rows and bytes of a local index more (or fewer).
    CountLocal(IndexId, i64, i64),
    /// Another descriptor, boxed: it is rare.
    Descriptor(Box<PartitionDescriptor>),
    /// The change log has been trimmed up to here.
    Trimmed(ItemTime),
    /// The partition is cut in two, boxed: it is rare.
    Split(Box<SplitRecord>),
    /// A step of a merge.
    Merge(MergeStep),
}

/// Reads an effect's operations in order.
pub fn operations(effect: &[u8]) -> Result<Operations<'_>, PartitionError> {
    let mut reader = Reader::new(effect, "effect");
    match reader.byte()? {
        VERSION => Ok(Operations(reader)),
        _ => Err(reader.unknown()),
    }
}

/// The split that an effect is; `None` for any other.
pub fn split_of(effect: &[u8]) -> Result<Option<SplitRecord>, PartitionError> {
    match operations(effect)?.next().transpose()? {
        Some(Operation::Split(record)) => Ok(Some(*record)),
        _ => Ok(None),
    }
}

/// The step of a merge that an effect is; `None` for any other.
pub fn merge_step_of(effect: &[u8]) -> Result<Option<MergeStep>, PartitionError> {
    match operations(effect)?.next().transpose()? {
        Some(Operation::Merge(step)) => Ok(Some(step)),
        _ => Ok(None),
    }
}

/// An effect's operations.
#[derive(Debug)]
pub struct Operations<'a>(Reader<'a>);

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, PartitionError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.read())
    }
}

impl<'a> Operations<'a> {
    fn read(&mut self) -> Result<Operation<'a>, PartitionError> {
        let reader = &mut self.0;
        let code = reader.byte()?;
        let family = Family::from_number(code & 0xF).ok_or_else(|| reader.unknown())?;
        Ok(match code >> 4 {
            PUT => Operation::Put(family, reader.bytes()?, reader.bytes()?),
            DELETE => Operation::Delete(family, reader.bytes()?),
            DELETE_RANGE => Operation::DeleteRange(family, reader.bytes()?, reader.bytes()?),
            CLOCK => Operation::Clock(ItemTime(reader.fixed()?)),
            COUNT => Operation::Count(reader.signed()?, reader.signed()?),
            COUNT_LOCAL => Operation::CountLocal(reader.index()?, reader.signed()?, reader.signed()?),
            DESCRIPTOR => Operation::Descriptor(Box::new(descriptor::from_stored(reader.bytes()?)?)),
            TRIMMED => Operation::Trimmed(ItemTime(reader.fixed()?)),
            SPLIT => Operation::Split(Box::new(SplitRecord::decode(reader.bytes()?)?)),
            MERGE => Operation::Merge(MergeStep::decode(reader.bytes()?)?),
            _ => return Err(reader.unknown()),
        })
    }
}

/// A row that an effect touches and that later evaluations have to see before it is applied.
#[derive(Debug)]
pub struct Touched {
    /// The row's family.
    pub family: Family,
    /// Where its key is in the effect.
    pub key: Range<usize>,
    /// Where its value is in the effect; `None`: the row is gone.
    pub value: Option<Range<usize>>,
}

/// Writes an effect.
#[derive(Debug)]
pub struct EffectWriter {
    out: Vec<u8>,
    touched: Vec<Touched>,
}

impl EffectWriter {
    /// An empty effect with room for about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.push(VERSION);
        Self {
            out,
            touched: Vec::new(),
        }
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Touched {
        self.code(PUT, Some(family));
        let key = put_bytes(&mut self.out, key);
        let value = Some(put_bytes(&mut self.out, value));
        Touched { family, key, value }
    }

    /// Sets a row to an item, with the time of the write.
    pub fn put_item(&mut self, family: Family, key: &[u8], item: &[u8], time: ItemTime) -> Touched {
        let touched = self.put(family, key, item);
        if let Some(value) = &touched.value
            && let Some(stamp) = self.out[value.clone()].get_mut(ITEM_TIME)
        {
            stamp.copy_from_slice(&time.0.to_be_bytes());
        }
        touched
    }

    /// Removes a row.
    pub fn delete(&mut self, family: Family, key: &[u8]) -> Touched {
        self.code(DELETE, Some(family));
        let key = put_bytes(&mut self.out, key);
        Touched {
            family,
            key,
            value: None,
        }
    }

    /// Later evaluations have to see this row's change before it is applied.
    pub fn remember(&mut self, touched: Touched) {
        self.touched.push(touched);
    }

    /// Removes rows from here to before there.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.code(DELETE_RANGE, Some(family));
        put_bytes(&mut self.out, from);
        put_bytes(&mut self.out, to);
    }

    /// The highest item time issued.
    pub fn clock(&mut self, time: ItemTime) {
        self.code(CLOCK, None);
        self.out.extend_from_slice(&time.0.to_be_bytes());
    }

    /// Items and bytes more (or fewer).
    pub fn count(&mut self, items: i64, bytes: i64) {
        if (items, bytes) != (0, 0) {
            self.code(COUNT, None);
            put_signed(&mut self.out, items);
            put_signed(&mut self.out, bytes);
        }
    }

    /// Rows and bytes of a local index more (or fewer).
    pub fn count_local(&mut self, index: IndexId, rows: i64, bytes: i64) {
        if (rows, bytes) != (0, 0) {
            self.code(COUNT_LOCAL, None);
            put_varint(&mut self.out, u64::from(index.0));
            put_signed(&mut self.out, rows);
            put_signed(&mut self.out, bytes);
        }
    }

    /// Another descriptor.
    pub fn descriptor(&mut self, descriptor: &PartitionDescriptor) -> Result<(), PartitionError> {
        self.code(DESCRIPTOR, None);
        put_bytes(&mut self.out, &descriptor::stored(descriptor)?);
        Ok(())
    }

    /// The change log goes up to here.
    pub fn trimmed(&mut self, time: ItemTime) {
        self.code(TRIMMED, None);
        self.out.extend_from_slice(&time.0.to_be_bytes());
    }

    /// The partition is cut.
    pub fn split(&mut self, record: &SplitRecord) -> Result<(), PartitionError> {
        self.code(SPLIT, None);
        put_bytes(&mut self.out, &record.encode()?);
        Ok(())
    }

    /// A step of a merge.
    pub fn merge(&mut self, step: &MergeStep) -> Result<(), PartitionError> {
        self.code(MERGE, None);
        put_bytes(&mut self.out, &step.encode()?);
        Ok(())
    }

    /// Whether there is no operation yet.
    pub fn is_empty(&self) -> bool {
        self.out.len() == 1
    }

    /// The effect, and the rows to remember.
    pub fn finish(self) -> (Bytes, Vec<Touched>) {
        (Bytes::from(self.out), self.touched)
    }

    fn code(&mut self, code: u8, family: Option<Family>) {
        self.out.push(code << 4 | family.map_or(0, |family| family as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format is a contract between versions: these bytes never change.
    #[test]
    fn the_format_is_frozen() {
        let mut writer = EffectWriter::with_capacity(64);
        writer.put(Family::Items, b"k", b"value");
        writer.delete(Family::LocalIndexes, b"l");
        writer.delete_range(Family::Changes, b"a", b"b");
        writer.clock(ItemTime(0x0102));
        writer.count(1, -3);
        writer.count_local(IndexId(2), -1, 300);
        writer.count(0, 0);
        writer.trimmed(ItemTime(7));
        let (bytes, _) = writer.finish();
        let expected = [
            b"\x01\x10\x01k\x05value".as_slice(),
            b"\x21\x01l\x33\x01a\x01b",
            b"\x40\0\0\0\0\0\0\x01\x02\x50\x02\x05\x60\x02\x01\xd8\x04\x80\0\0\0\0\0\0\0\x07",
        ]
        .concat();
        assert_eq!(&bytes[..], &expected);
        let found: Vec<Operation<'_>> = operations(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            found,
            [
                Operation::Put(Family::Items, b"k", b"value"),
                Operation::Delete(Family::LocalIndexes, b"l"),
                Operation::DeleteRange(Family::Changes, b"a", b"b"),
                Operation::Clock(ItemTime(0x0102)),
                Operation::Count(1, -3),
                Operation::CountLocal(IndexId(2), -1, 300),
                Operation::Trimmed(ItemTime(7)),
            ]
        );
    }

    #[test]
    fn an_unknown_effect_is_an_error() {
        assert!(operations(&[2]).is_err());
        assert!(operations(&[1, 0xF0]).unwrap().next().unwrap().is_err());
        assert!(operations(&[1, 0x1F]).unwrap().next().unwrap().is_err());
        assert!(operations(&[1, 0x10, 9, 1]).unwrap().next().unwrap().is_err());
    }
}
