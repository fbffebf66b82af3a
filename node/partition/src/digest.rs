//! Digests of rows: do replicas hold the same, and does a global index hold what its table calls for?
//!
//! 1. The keys of a range are divided into [`Pieces`] by their hashes, in the same way wherever the rows are.
//! 2. [`digest`] walks over the rows of a view and adds each one's checksum to its piece's: a sum, so that the parts of several
//!    partitions can be added up in any order.
//! 3. Whoever compares asks again for pieces that differ, divided further, until they are few enough to be named by key.

use std::ops::Bound;

use partita_model::item::{Item, ItemRef};
use partita_model::key::KeyBytes;
use partita_model::schema::IndexId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::descriptor::{LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::row;
use crate::storage::{Cursor as _, Family, Tier, View};
use crate::transfer;

/// Which rows are digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Everything that replicas have in common: items (or an index's rows) with their times, and rows of local indexes.
    Replica,
    /// A global index's rows, without times: a change that does not concern an index leaves its row as old as it is.
    IndexRows,
    /// The rows that a table's items call for in a global index, without times.
    CalledFor(IndexId),
}

/// A range of keys, divided by their hashes into so many pieces of about the same width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// The first key.
    pub from: KeyBytes,
    /// The first key behind it; `None` for the end of all keys.
    pub to: Option<KeyBytes>,
    /// How many; at least one.
    pub count: u32,
}

impl Pieces {
    /// The first hash, and how many there are.
    fn hashes(&self) -> (u64, u128) {
        let first = self.from.hash();
        let last = self.to.as_ref().map_or(u64::MAX, KeyBytes::hash);
        (first, u128::from(last.saturating_sub(first)) + 1)
    }

    /// Whether a further division makes smaller pieces.
    pub fn can_be_divided(&self) -> bool {
        self.hashes().1 > 1
    }

    /// The piece that a key is in; `None` for one outside of the range.
    pub fn of(&self, key: &KeyBytes) -> Option<usize> {
        if *key < self.from || self.to.as_ref().is_some_and(|to| key >= to) {
            return None;
        }
        let (first, hashes) = self.hashes();
        let place = u128::from(key.hash().saturating_sub(first)) * u128::from(self.count.max(1)) / hashes;
        usize::try_from(place).ok()
    }

    /// One of the pieces, as a range of its own, divided into so many.
    pub fn divide(&self, piece: usize, count: u32) -> Self {
        let (first, hashes) = self.hashes();
        let bound = |place: usize| {
            let behind = (place as u128 * hashes).div_ceil(u128::from(self.count.max(1)));
            let hash = u64::try_from(u128::from(first) + behind).ok()?;
            Some(KeyBytes(hash.to_be_bytes().to_vec()))
        };
        let is_last = piece + 1 >= self.count.max(1) as usize;
        let end = if is_last { None } else { bound(piece + 1) };
        Self {
            from: match piece {
                0 => self.from.clone(),
                _ => bound(piece).unwrap_or_default().max(self.from.clone()),
            },
            // Of a few hashes some pieces are empty: none of them goes on behind the range.
            to: end
                .filter(|end| self.to.as_ref().is_none_or(|to| end < to))
                .or_else(|| self.to.clone()),
            count,
        }
    }
}

/// What is to be digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which rows.
    pub subject: Subject,
    /// Only items (or rows) from this key on that are walked over, and before that one.
    pub from: KeyBytes,
    /// See `from`.
    pub to: Option<KeyBytes>,
    /// Where the rows are counted: a row outside of them is not. For rows that are called for, of the index's keys.
    pub pieces: Pieces,
    /// Name the rows one by one, if they are no more than this.
    pub keys_max: usize,
}

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Piece {
    /// Rows in it.
    pub rows: u64,
    /// The sum of their checksums.
    pub sum: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The last log entry applied in the view.
    pub at: LogPosition,
    /// The range epoch in the view.
    pub range_epoch: u64,
    /// Each piece.
    pub pieces: Vec<Piece>,
    /// The rows' keys and checksums, in no order; `None` if there are more than was asked for.
    pub keys: Option<Vec<(KeyBytes, u64)>>,
}

/// Digests rows of a view.
pub fn digest(view: &impl View, descriptor: &PartitionDescriptor, asked: &Asked) -> Result<Digest, PartitionError> {
    let head = transfer::head(view, descriptor.table, descriptor.group)?;
    let head = head.ok_or_else(|| PartitionError::UnknownFormat("the partition is not there".to_owned()))?;
    let descriptor = head.descriptor()?;
    let mut digest = Digest {
        at: head.at,
        range_epoch: descriptor.range_epoch,
        pieces: vec![Piece::default(); asked.pieces.count.max(1) as usize],
        keys: Some(Vec::new()),
    };
    let called_for = match asked.subject {
        Subject::CalledFor(index) => {
            let schema = descriptor.schema();
            let index = schema.and_then(|schema| Some((schema, schema.global_index(index)?)));
            Some(index.ok_or(partita_model::request::Refusal::StaleSchema)?)
        }
        Subject::Replica | Subject::IndexRows => None,
    };
    walk(view, &descriptor, asked, Family::Items, |key, value| {
        let item = ItemRef::from_stored(value)?;
        match (asked.subject, called_for) {
            (Subject::Replica, _) => digest.add(asked, key, xxh3_64(value)),
            (_, None) => digest.add(asked, key, timeless(item.to_item())),
            (_, Some((schema, index))) => {
                if let Some((key, row)) = schema.global_row(index, item) {
                    digest.add(asked, key.as_bytes(), timeless(row));
                }
            }
        }
        Ok(())
    })?;
    if asked.subject == Subject::Replica {
        // Among them the sizes of item collections.
        walk(view, &descriptor, asked, Family::LocalIndexes, |key, value| {
            digest.add(asked, key, xxh3_64_with_seed(value, LOCAL_SEED));
            Ok(())
        })?;
    }
    Ok(digest)
}

/// So that a local index's row is not taken for an item.
const LOCAL_SEED: u64 = 1;

fn timeless(mut item: Item) -> u64 {
    item.set_time(0);
    xxh3_64(item.as_bytes())
}

impl Digest {
    fn add(&mut self, asked: &Asked, key: &[u8], value: u64) {
        let key = KeyBytes(key.to_vec());
        let Some(piece) = asked.pieces.of(&key).and_then(|piece| self.pieces.get_mut(piece)) else {
            return;
        };
        let sum = xxh3_64_with_seed(key.as_bytes(), value);
        piece.rows += 1;
        piece.sum = piece.sum.wrapping_add(sum);
        if self.keys.as_ref().is_some_and(|keys| keys.len() >= asked.keys_max) {
            self.keys = None;
        }
        if let Some(keys) = &mut self.keys {
            keys.push((key, sum));
        }
    }
}

/// The rows of a family that the partition and the question have in common.
fn walk(
    view: &impl View,
    descriptor: &PartitionDescriptor,
    asked: &Asked,
    family: Family,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), PartitionError>,
) -> Result<(), PartitionError> {
    let (first, last) = row::range(descriptor);
    let from = row::keyed(descriptor.table, asked.from.as_bytes()).max(first);
    let asked_to = asked.to.as_ref().map(|to| row::keyed(descriptor.table, to.as_bytes()));
    let to = match (asked_to, last) {
        (Some(asked), Some(last)) => Some(asked.min(last)),
        (Some(end), None) | (None, Some(end)) => Some(end),
        (None, None) => None,
    };
    if to.as_ref().is_some_and(|to| *to <= from) {
        return Ok(());
    }
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let mut cursor = view.scan(family, (Bound::Included(&from[..]), to), false, Tier::All)?;
    while let Some((key, value)) = cursor.next()? {
        row(row::unkeyed(key), value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(from: &[u8], to: Option<&[u8]>, count: u32) -> Pieces {
        Pieces {
            from: KeyBytes(from.to_vec()),
            to: to.map(|to| KeyBytes(to.to_vec())),
            count,
        }
    }

    #[test]
    fn every_key_is_in_the_piece_that_it_is_divided_into() {
        let hashes = [0, 1, 0x7f, 0x80, 0x81, 0xfe, 0xff].map(|byte| u64::from(byte as u8) << 56 | 0x1234_5678);
        for whole in [
            pieces(&[], None, 7),
            pieces(&[0x80], None, 3),
            pieces(&[0x80, 0], Some(&[0x81]), 16),
            pieces(&[], Some(&[0x80; 12]), 5),
        ] {
            let mut inside = 0;
            for hash in hashes {
                for rest in [&b""[..], b"x"] {
                    let key = KeyBytes([&hash.to_be_bytes()[..], rest].concat());
                    let Some(piece) = whole.of(&key) else { continue };
                    inside += 1;
                    for other in 0..whole.count as usize {
                        let divided = whole.divide(other, 4);
                        assert_eq!(
                            divided.of(&key).is_some(),
                            other == piece,
                            "{whole:?} {key:?} {divided:?}"
                        );
                    }
                }
            }
            assert!(inside > 0);
        }
    }

    #[test]
    fn one_hash_is_one_piece() {
        let one = pieces(&[7; 9], Some(&[7; 12]), 16);
        assert!(!one.can_be_divided());
        assert_eq!(one.of(&KeyBytes(vec![7; 10])), Some(0));
        assert_eq!(one.of(&KeyBytes(vec![8; 10])), None);
        let first = one.divide(0, 1);
        assert_eq!((&first.from, &first.to), (&one.from, &one.to));
        assert!(pieces(&[], None, 1).can_be_divided());
    }
}
