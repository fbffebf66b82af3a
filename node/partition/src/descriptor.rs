//! A partition's descriptor in stored form, and the places in its order.

use serde::{Deserialize, Serialize};

pub use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};

use crate::codec::Reader;
use crate::error::PartitionError;

/// The version of a descriptor's stored form: its first byte. Postcard follows.
const VERSION: u8 = 1;

/// A write's place in its partition's order: 48 bits of milliseconds, 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ItemTime(pub u64);

impl ItemTime {
    /// Bits of the counter within a millisecond.
    const COUNTER_BITS: u32 = 16;

    /// The first time of a millisecond.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms << Self::COUNTER_BITS)
    }

    /// The time right behind this one.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Epoch milliseconds.
    pub fn ms(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }
}

/// An entry of the group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct LogPosition {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// A descriptor's stored form.
pub fn stored(descriptor: &PartitionDescriptor) -> Result<Vec<u8>, PartitionError> {
    encode(VERSION, descriptor)
}

/// A descriptor from its stored form.
pub fn from_stored(bytes: &[u8]) -> Result<PartitionDescriptor, PartitionError> {
    decode(VERSION, bytes, "descriptor")
}

/// A version byte, then postcard.
pub(crate) fn encode<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, PartitionError> {
    postcard::to_extend(value, vec![version]).map_err(|error| PartitionError::UnknownFormat(error.to_string()))
}

/// What [`encode`] wrote.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    version: u8,
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, PartitionError> {
    let mut reader = Reader::new(bytes, what);
    if reader.byte()? != version {
        return Err(reader.unknown());
    }
    postcard::from_bytes(&bytes[1..]).map_err(|error| PartitionError::UnknownFormat(format!("{what}: {error}")))
}
