//! The change log: what happened to items, for those who follow.
//!
//! A record is written in the same batch as the item, and only when someone needs it: a stream is on, or a row of a
//! global index changes. Its stored form is
//! `version | kind | flags | keys | old image? | new image? | count, (index, key, 0 or 1 and the row)*`.

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::Origin;
use partita_model::schema::IndexId;

use crate::codec::{Reader, put_bytes, put_varint};
use crate::command::RowChange;
use crate::descriptor::ItemTime;
use crate::error::PartitionError;

/// The format's version.
const VERSION: u8 = 1;
/// Flag: the expiry sweeper asked for it.
const TIME_TO_LIVE: u8 = 1;
/// Flag: stream readers are meant to see it.
const STREAMED: u8 = 2;
/// Flag: the old image follows.
const OLD: u8 = 4;
/// Flag: the new image follows.
const NEW: u8 = 8;

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It was there and is different now.
    Modify,
    /// It is gone.
    Remove,
    /// Nothing: the record copies an existing item into a new index.
    Backfill,
}

/// One record of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The write's item time: its place in the log.
    pub time: ItemTime,
    /// What happened.
    pub kind: ChangeKind,
    /// Who asked for it.
    pub origin: Origin,
    /// Whether stream readers are meant to see it.
    pub streamed: bool,
    /// The item's key attributes.
    pub keys: Item,
    /// The item as it was, when the stream's view keeps it.
    pub old: Option<Item>,
    /// The item as it is now, when the stream's view keeps it.
    pub new: Option<Item>,
    /// What happens to rows of global indexes, in this order.
    pub rows: Vec<(IndexId, KeyBytes, RowChange)>,
}

impl ChangeKind {
    fn code(self) -> u8 {
        match self {
            Self::Insert => 1,
            Self::Modify => 2,
            Self::Remove => 3,
            Self::Backfill => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Insert,
            2 => Self::Modify,
            3 => Self::Remove,
            4 => Self::Backfill,
            _ => return None,
        })
    }
}

impl ChangeRecord {
    /// The stored form. The time is not in it: it is the row's key.
    pub fn encode(&self) -> Vec<u8> {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let mut out = vec![VERSION, self.kind.code()];
        out.push(
            flag(self.origin == Origin::TimeToLive, TIME_TO_LIVE)
                | flag(self.streamed, STREAMED)
                | flag(self.old.is_some(), OLD)
                | flag(self.new.is_some(), NEW),
        );
        put_bytes(&mut out, self.keys.as_bytes());
        for image in [&self.old, &self.new].into_iter().flatten() {
            put_bytes(&mut out, image.as_bytes());
        }
        put_varint(&mut out, self.rows.len() as u64);
        for (index, key, change) in &self.rows {
            put_varint(&mut out, u64::from(index.0));
            put_bytes(&mut out, key.as_bytes());
            match change {
                RowChange::Delete => out.push(0),
                RowChange::Put(row) => {
                    out.push(1);
                    put_bytes(&mut out, row.as_bytes());
                }
            }
        }
        out
    }

    /// From the stored form and the time in the row's key.
    pub fn decode(time: ItemTime, bytes: &[u8]) -> Result<Self, PartitionError> {
        let mut reader = Reader::new(bytes, "change record");
        if reader.byte()? != VERSION {
            return Err(reader.unknown());
        }
        let kind = ChangeKind::from_code(reader.byte()?).ok_or_else(|| reader.unknown())?;
        let flags = reader.byte()?;
        let keys = item(&mut reader)?;
        let old = (flags & OLD != 0).then(|| item(&mut reader)).transpose()?;
        let new = (flags & NEW != 0).then(|| item(&mut reader)).transpose()?;
        let mut rows = Vec::new();
        for _ in 0..reader.varint()? {
            let index = reader.index()?;
            let key = KeyBytes(reader.bytes()?.to_vec());
            let change = match reader.byte()? {
                0 => RowChange::Delete,
                1 => RowChange::Put(item(&mut reader)?),
                _ => return Err(reader.unknown()),
            };
            rows.push((index, key, change));
        }
        Ok(Self {
            time,
            kind,
            origin: match flags & TIME_TO_LIVE {
                0 => Origin::Client,
                _ => Origin::TimeToLive,
            },
            streamed: flags & STREAMED != 0,
            keys,
            old,
            new,
            rows,
        })
    }
}

fn item(reader: &mut Reader<'_>) -> Result<Item, PartitionError> {
    let bytes = reader.bytes()?.to_vec();
    Item::from_bytes(bytes).map_err(|_| reader.unknown())
}
