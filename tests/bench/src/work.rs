//! The workloads: what each request says and how its answer is checked.

use anyhow::{Result, ensure};
use partita_test_client::Signer;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::load::{Work, find};

/// Text of an item, so that key, names and text make 1 KiB.
pub const PAYLOAD_BYTES: usize = 980;
/// Items of one partition of the table with a sort key: one Query.
pub const ITEMS_PER_COLLECTION: usize = 100;
/// The most a BatchWriteItem takes.
pub const ITEMS_PER_BATCH: usize = 25;
/// A scan works on one of so many segments, so that pages start anywhere in the table.
const SCAN_SEGMENTS: usize = 64;
/// Items examined by one scan request.
const SCAN_LIMIT: usize = 100;

/// The most items in the table of collections.
const RANGE_KEYS_MAX: usize = 20_000;

/// How many items the table of collections gets when the other one gets `keys`.
pub fn range_keys(keys: usize) -> usize {
    keys.min(RANGE_KEYS_MAX) / ITEMS_PER_COLLECTION * ITEMS_PER_COLLECTION
}

/// Table of single items.
pub const TABLE: &str = "bench";
/// Table of collections of [`ITEMS_PER_COLLECTION`].
pub const RANGE_TABLE: &str = "bench-range";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GetItem with ConsistentRead.
    Get,
    /// PutItem over an existing key.
    Put,
    /// UpdateItem `ADD` on one key.
    Add,
    /// Query of one collection.
    Query,
    /// BatchWriteItem of [`ITEMS_PER_BATCH`].
    Batch,
    /// Scan whose filter lets half of the items through.
    Scan,
    /// BatchWriteItem of new keys in order, until the table is full.
    Load,
    /// The same for the table with a sort key.
    LoadRange,
}

impl Kind {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "GetItem (strong)",
            Kind::Put => "PutItem (fsynced)",
            Kind::Add => "UpdateItem ADD, one key",
            Kind::Query => "Query of 100 items",
            Kind::Batch => "BatchWriteItem of 25",
            Kind::Scan => "Scan, filtered",
            Kind::Load | Kind::LoadRange => "load",
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Kind::Get => "GetItem",
            Kind::Put => "PutItem",
            Kind::Add => "UpdateItem",
            Kind::Query => "Query",
            Kind::Batch | Kind::Load | Kind::LoadRange => "BatchWriteItem",
            Kind::Scan => "Scan",
        }
    }
}

/// One workload against one server.
pub struct Requests {
    kind: Kind,
    keys: usize,
    /// Of the load: the next key.
    cursor: usize,
    signer: Signer,
    rng: SmallRng,
    text: String,
    body: String,
}

impl Requests {
    /// A workload over `keys` keys.
    pub fn new(kind: Kind, keys: usize, host: &str, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let text = (0..PAYLOAD_BYTES * 4)
            .map(|_| char::from(rng.random_range(b'a'..=b'z')))
            .collect();
        let signer = Signer::new("AKIDBENCH", "bench-secret", "us-east-1", host);
        Requests {
            kind,
            keys,
            cursor: 0,
            signer,
            rng,
            text,
            body: String::new(),
        }
    }

    /// Whether the load has reached the last key.
    pub fn finished(&self) -> bool {
        self.cursor >= self.keys
    }

    fn key(&mut self) -> usize {
        self.rng.random_range(0..self.keys)
    }

    fn push_item(&mut self, index: usize, range: bool) {
        use std::fmt::Write;
        let start = self.rng.random_range(0..self.text.len() - PAYLOAD_BYTES);
        let half = index % 2;
        let payload = &self.text[start..start + PAYLOAD_BYTES];
        let _ = if range {
            let (collection, position) = (index / ITEMS_PER_COLLECTION, index % ITEMS_PER_COLLECTION);
            write!(
                self.body,
                r#"{{"id":{{"S":"key-{collection:010}"}},"at":{{"N":"{position}"}},"half":{{"N":"{half}"}},"text":{{"S":"{payload}"}}}}"#
            )
        } else {
            write!(
                self.body,
                r#"{{"id":{{"S":"key-{index:010}"}},"half":{{"N":"{half}"}},"text":{{"S":"{payload}"}}}}"#
            )
        };
    }

    fn push_batch(&mut self, table: &str, range: bool, indexes: &[usize]) {
        self.body.push_str(r#"{"RequestItems":{""#);
        self.body.push_str(table);
        self.body.push_str(r#"":["#);
        for (position, &index) in indexes.iter().enumerate() {
            self.body.push_str(if position == 0 { "" } else { "," });
            self.body.push_str(r#"{"PutRequest":{"Item":"#);
            self.push_item(index, range);
            self.body.push_str("}}");
        }
        self.body.push_str("]}}");
    }

    fn push_body(&mut self) {
        use std::fmt::Write;
        match self.kind {
            Kind::Get => {
                let key = self.key();
                let _ = write!(
                    self.body,
                    r#"{{"TableName":"{TABLE}","Key":{{"id":{{"S":"key-{key:010}"}}}},"ConsistentRead":true}}"#
                );
            }
            Kind::Put => {
                let key = self.key();
                let _ = write!(self.body, r#"{{"TableName":"{TABLE}","Item":"#);
                self.push_item(key, false);
                self.body.push('}');
            }
            Kind::Add => {
                let _ = write!(
                    self.body,
                    r#"{{"TableName":"{TABLE}","Key":{{"id":{{"S":"hot"}}}},"UpdateExpression":"ADD hits :one","ExpressionAttributeValues":{{":one":{{"N":"1"}}}}}}"#
                );
            }
            Kind::Query => {
                let collection = self.rng.random_range(0..range_keys(self.keys) / ITEMS_PER_COLLECTION);
                let _ = write!(
                    self.body,
                    r#"{{"TableName":"{RANGE_TABLE}","KeyConditionExpression":"id = :id","ExpressionAttributeValues":{{":id":{{"S":"key-{collection:010}"}}}}}}"#
                );
            }
            Kind::Batch => {
                // A batch may not name a key twice: one random key in each of 25 equal parts of the key space.
                let part = self.keys / ITEMS_PER_BATCH;
                let indexes: Vec<usize> = (0..ITEMS_PER_BATCH)
                    .map(|index| index * part + self.rng.random_range(0..part))
                    .collect();
                self.push_batch(TABLE, false, &indexes);
            }
            Kind::Scan => {
                let segment = self.rng.random_range(0..SCAN_SEGMENTS);
                let _ = write!(
                    self.body,
                    r#"{{"TableName":"{TABLE}","Limit":{SCAN_LIMIT},"Segment":{segment},"TotalSegments":{SCAN_SEGMENTS},"FilterExpression":"half = :one","ExpressionAttributeValues":{{":one":{{"N":"1"}}}}}}"#
                );
            }
            Kind::Load | Kind::LoadRange => {
                let range = self.kind == Kind::LoadRange;
                // Past the end the last keys are written again: the generator stops when it sees `finished`.
                let start = self.cursor.min(self.keys.saturating_sub(ITEMS_PER_BATCH));
                let end = (start + ITEMS_PER_BATCH).min(self.keys);
                self.cursor = end.max(self.cursor);
                let indexes: Vec<usize> = (start..end).collect();
                self.push_batch(if range { RANGE_TABLE } else { TABLE }, range, &indexes);
            }
        }
    }
}

impl Work for Requests {
    fn next(&mut self, out: &mut Vec<u8>) {
        self.body.clear();
        self.push_body();
        self.signer.request(out, self.kind.operation(), self.body.as_bytes());
    }

    fn served(&mut self, body: &[u8]) -> Result<u64> {
        let shown = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        match self.kind {
            Kind::Get => {
                ensure!(body.len() > PAYLOAD_BYTES, "GetItem found no item: {}", shown());
                Ok(1)
            }
            Kind::Put | Kind::Add => Ok(1),
            Kind::Query => {
                let count = number_after(body, b"\"Count\":");
                ensure!(
                    count == Some(ITEMS_PER_COLLECTION as u64),
                    "Query found {count:?} items: {}",
                    shown()
                );
                Ok(ITEMS_PER_COLLECTION as u64)
            }
            Kind::Scan => Ok(number_after(body, b"\"Count\":").unwrap_or(0)),
            Kind::Batch | Kind::Load | Kind::LoadRange => {
                let left = find(body, b"\"PutRequest\"");
                ensure!(left.is_none(), "BatchWriteItem left items unprocessed: {}", shown());
                Ok(ITEMS_PER_BATCH as u64)
            }
        }
    }
}

/// The number that follows `name`, searched from both ends: members come in any order around a long list of items.
fn number_after(body: &[u8], name: &[u8]) -> Option<u64> {
    const NEAR_BYTES: usize = 200;
    let head = &body[..body.len().min(NEAR_BYTES)];
    let tail = &body[body.len().saturating_sub(NEAR_BYTES)..];
    for part in [head, tail] {
        if let Some(at) = find(part, name) {
            let digits: Vec<u8> = part[at + name.len()..]
                .iter()
                .copied()
                .skip_while(|b| *b == b' ')
                .take_while(u8::is_ascii_digit)
                .collect();
            return std::str::from_utf8(&digits).ok()?.parse().ok();
        }
    }
    None
}
