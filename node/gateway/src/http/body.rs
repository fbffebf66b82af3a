//! Bodies: collected and inflated within bounds of size, memory and time.

use std::io::Read;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// What one permit of the room for large bodies stands for.
pub(super) const ROOM_UNIT_BYTES: usize = 1024;
/// Bodies up to this size need no room: they fit the read buffer that the connection has anyway.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Room is taken in steps of this size.
const ROOM_STEP_BYTES: usize = 64 * 1024;
/// How much of an oversized body is read and thrown away, so that the client gets to read the answer.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than allowed, as sent or inflated.
    TooLarge,
    /// It did not arrive in time (or the room for it did not get free).
    TooSlow,
    /// The client went away, or its framing is broken.
    Broken,
    /// It is not compressed as it says.
    NotCompressed,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// Zlib's format, as HTTP calls it.
    Deflate,
}

impl Coding {
    /// The coding that a request names, if it is one of those that DynamoDB takes.
    pub(super) fn named(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(CONTENT_ENCODING)?.as_bytes();
        if name.eq_ignore_ascii_case(b"gzip") {
            Some(Self::Gzip)
        } else if name.eq_ignore_ascii_case(b"deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }
}

/// A whole body, and the room it takes.
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    room: Room,
}

/// A share of the memory for large bodies, taken as bytes arrive: who only announces a body holds nothing.
struct Room {
    bodies: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Waits until this body may be `bytes` long. Small ones need no room.
    async fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let taken_bytes = self
            .taken
            .as_ref()
            .map_or(0, |taken| taken.num_permits() * ROOM_UNIT_BYTES);
        if bytes <= SMALL_BYTES_MAX.max(taken_bytes) {
            return Ok(());
        }
        let missing = (bytes - taken_bytes).next_multiple_of(ROOM_STEP_BYTES) / ROOM_UNIT_BYTES;
        let missing = u32::try_from(missing).map_err(|_| BodyError::TooLarge)?;
        let bodies = Arc::clone(&self.bodies);
        let more = bodies
            .acquire_many_owned(missing)
            .await
            .map_err(|_| BodyError::TooSlow)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    /// Gives back what a body of `bytes` does not need.
    fn shrink(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(ROOM_UNIT_BYTES);
        if let Some(taken) = &mut self.taken {
            let surplus = taken.num_permits().saturating_sub(needed);
            drop(taken.split(surplus));
        }
    }
}

/// Receives a body.
pub(super) async fn collect(
    mut body: Incoming,
    limits: &Limits,
    bodies: &Arc<Semaphore>,
) -> Result<Collected, BodyError> {
    let bytes_max = limits.body_bytes_max;
    if body.size_hint().lower() > bytes_max as u64 {
        discard(body, limits).await;
        return Err(BodyError::TooLarge);
    }
    let mut room = Room {
        bodies: Arc::clone(bodies),
        taken: None,
    };
    let receive = receive(&mut body, bytes_max, &mut room);
    let received = tokio::time::timeout(limits.body_time_max, receive).await;
    match received.unwrap_or(Err(BodyError::TooSlow)) {
        Ok(bytes) => Ok(Collected { bytes, room }),
        Err(BodyError::TooLarge) => {
            drop(room);
            discard(body, limits).await;
            Err(BodyError::TooLarge)
        }
        Err(error) => Err(error),
    }
}

/// A body in one piece (nearly all are) is not copied.
async fn receive(body: &mut Incoming, bytes_max: usize, room: &mut Room) -> Result<Bytes, BodyError> {
    let Some(first) = next(body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= bytes_max {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    while let Some(piece) = next(body).await? {
        if all.len() + piece.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        room.grow(all.len() + piece.len()).await?;
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        // Trailers carry nothing for us.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads on without keeping anything: closing while the client is still sending would reset the connection before it
/// reads the answer.
async fn discard(mut body: Incoming, limits: &Limits) {
    let read = async {
        let mut discarded = 0;
        while let Ok(Some(piece)) = next(&mut body).await {
            discarded += piece.len();
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // In time or not, the answer is the same.
    let _ = tokio::time::timeout(limits.body_time_max, read).await;
}

/// Reads a body that nobody wants, so that the connection can go on with its next request; whether that worked.
pub(super) async fn skip(mut body: Incoming, limits: &Limits) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let mut skipped = 0;
    let read = async {
        while let Ok(Some(piece)) = next(&mut body).await {
            skipped += piece.len();
            if skipped > limits.body_bytes_max {
                return false;
            }
        }
        body.is_end_stream()
    };
    tokio::time::timeout(limits.body_time_max, read).await.unwrap_or(false)
}

impl Collected {
    /// Inflates a compressed body; it may become `bytes_max` long, and there has to be room for that.
    pub(super) async fn inflated(mut self, coding: Coding, limits: &Limits) -> Result<Self, BodyError> {
        let bytes_max = limits.body_bytes_max;
        let room = self.room.grow(self.bytes.len() + bytes_max);
        tokio::time::timeout(limits.body_time_max, room)
            .await
            .map_err(|_| BodyError::TooSlow)??;
        self.bytes = match coding {
            Coding::Gzip => inflate(MultiGzDecoder::new(&*self.bytes), bytes_max)?,
            Coding::Deflate => inflate(ZlibDecoder::new(&*self.bytes), bytes_max)?,
        };
        self.room.shrink(self.bytes.len());
        Ok(self)
    }
}

fn inflate(decoder: impl Read, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut inflated = Vec::new();
    let read_max = bytes_max as u64 + 1;
    decoder
        .take(read_max)
        .read_to_end(&mut inflated)
        .map_err(|_| BodyError::NotCompressed)?;
    if inflated.len() > bytes_max {
        return Err(BodyError::TooLarge);
    }
    Ok(inflated.into())
}
