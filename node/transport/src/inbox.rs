//! The receiving half of a connection: bytes in, whole messages out.
//!
//! 1. [`Inbox::read`] reads what has come, as much as there is room for.
//! 2. [`Inbox::next`] checks the next frame; a message in one frame is lent from the buffer, uncopied.
//! 3. Chunks are gathered by request until the last one is there. How long a message may be, and how many may be in
//!    pieces at once, is bounded: so is the memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frame::{CHUNK_BYTES_MAX, FrameError, HEADER_BYTES, Header, Kind};
use crate::outbox::PIECES_MAX;

/// The buffer of a connection that has only seen short messages.
const BUFFER_BYTES_FIRST: usize = 8 * 1024;
/// The buffer never grows beyond this: the longest frame, and as much again, so that one read brings many.
const BUFFER_BYTES_MAX: usize = 2 * (CHUNK_BYTES_MAX + HEADER_BYTES);

/// A whole message.
#[derive(Debug)]
pub struct Message<'a> {
    pub id: u64,
    pub kind: Kind,
    pub payload: Cow<'a, [u8]>,
}

/// What has been received and not yet handed on.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    /// The bytes between these have been received.
    start: usize,
    end: usize,
    pieces: HashMap<u64, Vec<u8>>,
    message_bytes_max: usize,
}

impl Inbox {
    /// An empty one, for messages of at most so many bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES_FIRST],
            start: 0,
            end: 0,
            pieces: HashMap::new(),
            message_bytes_max,
        }
    }

    /// Reads once; the number of bytes, 0 at the end of the stream. Nothing is lost when the future is dropped.
    pub async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        self.make_room();
        let read = reader.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }

    /// The next whole message; `None` until more has been read. After an error there is nothing to go on with.
    pub fn next(&mut self) -> Result<Option<Message<'_>>, FrameError> {
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let from = self.start + HEADER_BYTES;
            let to = from + header.length as usize;
            if self.end < to {
                return Ok(None);
            }
            header.check(&self.buffer[from..to])?;
            self.start = to;
            if !header.more && !self.pieces.contains_key(&header.id) {
                return Ok(Some(Message {
                    id: header.id,
                    kind: header.kind,
                    payload: Cow::Borrowed(&self.buffer[from..to]),
                }));
            }
            if let Some(payload) = self.gather(header, from, to)? {
                return Ok(Some(Message {
                    id: header.id,
                    kind: header.kind,
                    payload: Cow::Owned(payload),
                }));
            }
        }
    }

    fn header(&self) -> Result<Option<Header>, FrameError> {
        match self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() {
            Some(bytes) => Header::decode(bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Adds a chunk to its message; the message once it is whole.
    fn gather(&mut self, header: Header, from: usize, to: usize) -> Result<Option<Vec<u8>>, FrameError> {
        // Only these are ever long, and on one connection only one of them in each direction: an id tells them apart.
        if !matches!(header.kind, Kind::Request | Kind::Answer | Kind::Letters) {
            return Err(FrameError::Unexpected(header.kind));
        }
        if self.pieces.len() >= PIECES_MAX && !self.pieces.contains_key(&header.id) {
            return Err(FrameError::Pieces(PIECES_MAX));
        }
        let message = self.pieces.entry(header.id).or_default();
        if message.len() + (to - from) > self.message_bytes_max {
            return Err(FrameError::Message);
        }
        message.extend_from_slice(&self.buffer[from..to]);
        Ok(if header.more {
            None
        } else {
            self.pieces.remove(&header.id)
        })
    }

    /// Makes room for at least one further byte, and for the whole of the frame that has begun.
    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let whole = match self.header() {
            Ok(Some(header)) => HEADER_BYTES + header.length as usize,
            _ => HEADER_BYTES,
        };
        // A buffer that a read has filled was too small for what is coming.
        let full = self.end == self.buffer.len();
        if self.start > 0 && (full || self.start + whole > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if full || whole > self.buffer.len() {
            let doubled = (self.buffer.len() * 2).max(whole).min(BUFFER_BYTES_MAX);
            self.buffer.resize(doubled, 0);
        }
    }
}

#[cfg(test)]
mod tests;
