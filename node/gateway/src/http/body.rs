//! Bodies: collected and inflated within bounds of size, memory and time.

use std::io::Read;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// What one permit of the room for large bodies stands for.
pub(super) const ROOM_UNIT_BYTES: usize = 1024;
/// Bodies up to this size need no room: they fit the read buffer that the connection has anyway.
const SMALL_BYTES_MAX: usize = 64 * 1024;
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
    /// It says gzip and is not.
    NotGzip,
}

/// A whole body, and the room it takes.
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Receives a body. `large` is whether it counts against the room from the start (it will be inflated).
pub(super) async fn collect(
    mut body: Incoming,
    limits: &Limits,
    bodies: &Arc<Semaphore>,
    large: bool,
) -> Result<Collected, BodyError> {
    let declared = body.size_hint();
    if declared.lower() > limits.body_bytes_max as u64 {
        discard(body, limits).await;
        return Err(BodyError::TooLarge);
    }
    // Without a declared length it may become as large as allowed.
    let bytes_max = declared
        .exact()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(limits.body_bytes_max);
    let receive = async {
        let bytes_max = if large { limits.body_bytes_max } else { bytes_max };
        let room = if bytes_max > SMALL_BYTES_MAX {
            Some(room_for(bytes_max, bodies).await?)
        } else {
            None
        };
        let bytes = receive(&mut body, limits.body_bytes_max).await?;
        Ok(Collected { bytes, _room: room })
    };
    let received = tokio::time::timeout(limits.body_time_max, receive).await;
    match received.unwrap_or(Err(BodyError::TooSlow)) {
        Err(BodyError::TooLarge) => {
            discard(body, limits).await;
            Err(BodyError::TooLarge)
        }
        other => other,
    }
}

async fn room_for(bytes: usize, bodies: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, BodyError> {
    let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES)).map_err(|_| BodyError::TooLarge)?;
    bodies
        .clone()
        .acquire_many_owned(units)
        .await
        .map_err(|_| BodyError::TooSlow)
}

/// A body in one piece (nearly all are) is not copied.
async fn receive(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
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

/// Inflates a gzip body; it may become `bytes_max` long.
pub(super) fn inflate(body: &[u8], bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut inflated = Vec::new();
    let read_max = bytes_max as u64 + 1;
    MultiGzDecoder::new(body)
        .take(read_max)
        .read_to_end(&mut inflated)
        .map_err(|_| BodyError::NotGzip)?;
    if inflated.len() > bytes_max {
        return Err(BodyError::TooLarge);
    }
    Ok(inflated.into())
}

impl Collected {
    /// The same room with other bytes in it.
    pub(super) fn replaced(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}
