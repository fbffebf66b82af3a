//! The sending half of a connection: messages in, bytes out.
//!
//! 1. [`Outbox::push`] encodes a message straight behind the frames that wait; one that is longer than a frame is put
//!    aside.
//! 2. [`Outbox::take`] hands over what waits, to be written with one system call, and adds the next chunks of the
//!    long messages, each in turn: between two chunks there is always room for what is short.

use std::collections::VecDeque;

use postcard::ser_flavors::Flavor;
use serde::Serialize;

use crate::frame::{CHUNK_BYTES_MAX, HEADER_BYTES, Header, Kind};

/// Messages that are in pieces at once, in one direction of a connection: the receiver gathers no more.
pub const PIECES_MAX: usize = 16;
/// A taken buffer that has grown beyond this is not used again.
const BUFFER_BYTES_KEPT: usize = 4 * CHUNK_BYTES_MAX;

/// Why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It is longer than a message may be.
    #[error("a message of {0} bytes, more than may be sent")]
    TooLong(usize),
    /// Its type cannot be encoded: a bug.
    #[error("a message that cannot be encoded: {0}")]
    Encoding(#[from] postcard::Error),
}

/// A message that is sent in chunks.
#[derive(Debug)]
struct Long {
    id: u64,
    kind: Kind,
    bytes: Vec<u8>,
    /// Those before have been placed.
    at: usize,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Whole frames.
    ready: Vec<u8>,
    /// The first [`PIECES_MAX`] of them take turns.
    long: VecDeque<Long>,
    /// Bytes of `long` that have not been placed.
    long_bytes: usize,
    /// Bytes of frames ever placed: the place in the stream behind `ready`.
    placed: u64,
}

impl Outbox {
    /// Encodes a message. Its end's place in the stream, if that is already known: a long message has none yet.
    pub fn push<T: Serialize>(
        &mut self,
        kind: Kind,
        id: u64,
        message: &T,
        bytes_max: usize,
    ) -> Result<Option<u64>, PushError> {
        let start = self.ready.len();
        self.ready.resize(start + HEADER_BYTES, 0);
        let from = start + HEADER_BYTES;
        if let Err(error) = postcard::serialize_with_flavor(message, Appended(&mut self.ready)) {
            self.ready.truncate(start);
            return Err(error.into());
        }
        let length = self.ready.len() - from;
        if length <= CHUNK_BYTES_MAX {
            let header = Header::of(kind, id, false, &self.ready[from..]);
            self.ready[start..from].copy_from_slice(&header.encode());
            self.placed += (HEADER_BYTES + length) as u64;
            return Ok(Some(self.placed));
        }
        if length > bytes_max {
            self.ready.truncate(start);
            return Err(PushError::TooLong(length));
        }
        let bytes = self.ready.split_off(from);
        self.ready.truncate(start);
        self.long_bytes += length;
        self.long.push_back(Long { id, kind, bytes, at: 0 });
        Ok(None)
    }

    /// A message without a payload.
    pub fn push_empty(&mut self, kind: Kind, id: u64) {
        self.ready.extend_from_slice(&Header::of(kind, id, false, &[]).encode());
        self.placed += HEADER_BYTES as u64;
    }

    /// Removes a long message of which nothing has been placed yet; whether there was one.
    pub fn withdraw(&mut self, id: u64) -> bool {
        let Some(place) = self.long.iter().position(|long| long.id == id && long.at == 0) else {
            return false;
        };
        if let Some(long) = self.long.remove(place) {
            self.long_bytes -= long.bytes.len();
        }
        true
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.long.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.ready.len() + self.long_bytes
    }

    /// Swaps what waits for `spent`, whose bytes have been written. `ended` hears of each long message whose last
    /// chunk is among it, with its end's place in the stream.
    pub fn take(&mut self, spent: &mut Vec<u8>, mut ended: impl FnMut(u64, u64)) {
        // One chunk at least: short messages without end must not hold up the long ones either.
        while !self.long.is_empty() {
            self.place_chunk(&mut ended);
            if self.ready.len() >= CHUNK_BYTES_MAX {
                break;
            }
        }
        spent.clear();
        if spent.capacity() > BUFFER_BYTES_KEPT {
            *spent = Vec::new();
        }
        std::mem::swap(&mut self.ready, spent);
    }

    /// Places the next chunk of the long message whose turn it is.
    fn place_chunk(&mut self, ended: &mut impl FnMut(u64, u64)) {
        let Some(mut long) = self.long.pop_front() else { return };
        let to = long.bytes.len().min(long.at + CHUNK_BYTES_MAX);
        let chunk = &long.bytes[long.at..to];
        let more = to < long.bytes.len();
        let header = Header::of(long.kind, long.id, more, chunk);
        self.ready.extend_from_slice(&header.encode());
        self.ready.extend_from_slice(chunk);
        self.placed += (HEADER_BYTES + chunk.len()) as u64;
        self.long_bytes -= chunk.len();
        long.at = to;
        if more {
            let turn = self.long.len().min(PIECES_MAX - 1);
            self.long.insert(turn, long);
        } else {
            ended(long.id, self.placed);
        }
    }
}

/// Appends to a vector, byte strings as a whole.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
