//! Frames: what crosses a connection behind the handshake. The layout is the same in all versions of the protocol.
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of the payload, little-endian, at most [`CHUNK_BYTES_MAX`] |
//! | 4 | CRC-32 of everything behind it: the rest of the header, then the payload |
//! | 8 | the request's id, little-endian; 0 where there is no request |
//! | 1 | [`Kind`] |
//! | 1 | flags: 1 = a further chunk of the same message follows |
//! | 2 | zero |
//! | n | payload |
//!
//! A message (a request or an answer) is one frame, or several with the same id, of which all but the last have the
//! flag. Frames of other messages may stand between them.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 20;
/// Bytes of a frame's payload: what stands in the way of a short answer at most. At 10 Gbit/s, 50 µs.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a message. A page evaluates 1 MB by DynamoDB's sizes; stored forms of tiny items are up to ten times that,
/// and whole items fetched for a local index's rows come on top.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Where the checksum's cover begins.
const COVERED_FROM: usize = 8;
/// A further chunk follows.
const FLAG_MORE: u8 = 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client: who speaks.
    Hello = 1,
    /// Server: which version.
    Welcome = 2,
    /// Server: no.
    Reject = 3,
    /// Client: a group and an operation.
    Request = 4,
    /// Server: its answer.
    Answer = 5,
    /// Client: nobody waits for this request any more. It may be answered all the same.
    Cancel = 6,
    /// Client: are you there?
    Ping = 7,
    /// Server: yes.
    Pong = 8,
    /// Server: send no more requests on this connection. Client: these were the last.
    GoAway = 9,
    /// Client, a store, from version 2 on: letters of its replicas, in the stores' own format. Not answered.
    Letters = 10,
    /// Client, a store, from version 2 on: where it knows other stores to be. Not answered.
    Addresses = 11,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Reject,
            4 => Self::Request,
            5 => Self::Answer,
            6 => Self::Cancel,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::GoAway,
            10 => Self::Letters,
            11 => Self::Addresses,
            _ => return None,
        })
    }
}

/// Why a frame closes its connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes")]
    Length(u32),
    /// A kind that the agreed version does not have.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Flags that the agreed version does not have, or bytes that must be zero.
    #[error("a frame with unknown flags {0:02x?}")]
    Flags([u8; 3]),
    /// The bytes are not those that were sent.
    #[error("a frame with a wrong checksum")]
    Checksum,
    /// A kind that does not belong here.
    #[error("an unexpected {0:?}")]
    Unexpected(Kind),
    /// More chunks than a message may have.
    #[error("a message of more than {MESSAGE_BYTES_MAX} bytes")]
    Message,
    /// Letters that cannot be read.
    #[error("unreadable letters: {0}")]
    Letters(String),
    /// More messages begun than may be.
    #[error("more than {0} messages in pieces")]
    Pieces(usize),
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: u32,
    /// The checksum, as received.
    pub checksum: u32,
    /// The request's id.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Whether a further chunk follows.
    pub more: bool,
}

impl Header {
    /// The header of a payload (of at most [`CHUNK_BYTES_MAX`]), with its checksum.
    pub fn of(kind: Kind, id: u64, more: bool, payload: &[u8]) -> Self {
        debug_assert!(payload.len() <= CHUNK_BYTES_MAX);
        let mut header = Self {
            length: payload.len() as u32,
            checksum: 0,
            id,
            kind,
            more,
        };
        header.checksum = checksum(&header.encode(), payload);
        header
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16] = self.kind as u8;
        bytes[17] = if self.more { FLAG_MORE } else { 0 };
        bytes
    }

    /// Reads a header. The payload is not there yet: [`Header::check`] comes later.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = four(0);
        if length as usize > CHUNK_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let kind = Kind::of(bytes[16]).ok_or(FrameError::Kind(bytes[16]))?;
        if bytes[17] & !FLAG_MORE != 0 || bytes[18..] != [0, 0] {
            return Err(FrameError::Flags([bytes[17], bytes[18], bytes[19]]));
        }
        Ok(Self {
            length,
            checksum: four(4),
            id: u64::from(four(8)) | u64::from(four(12)) << 32,
            kind,
            more: bytes[17] & FLAG_MORE != 0,
        })
    }

    /// Whether this is the payload that was sent with it.
    pub fn check(&self, payload: &[u8]) -> Result<(), FrameError> {
        if checksum(&self.encode(), payload) == self.checksum {
            Ok(())
        } else {
            Err(FrameError::Checksum)
        }
    }
}

fn checksum(header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[COVERED_FROM..]);
    hasher.update(payload);
    hasher.finalize()
}
