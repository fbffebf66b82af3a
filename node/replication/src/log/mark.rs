//! How far the log is known to be synced: a number beside it.
//!
//! RocksDB takes the first damaged record of a write-ahead log for its end (it has to, where files are recycled). A
//! flipped bit in the middle would so cut off everything that was acknowledged after it, without a word. The mark tells
//! the two apart: it is written after each sync, so it is never ahead of what is durable; a log that ends before it has
//! lost something. It is itself not synced: after a power failure it may be some seconds old, and then misses only what
//! was damaged in those seconds.
//!
//! `sequence number u64 | CRC-32 of it`, little-endian.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file's name, in the log's folder; RocksDB leaves names alone that are not of its own making.
const FILE_NAME: &str = "SYNCED";
/// Number and checksum.
const BYTES: usize = 12;

/// The mark of an open log.
pub(super) struct SyncedMark {
    file: File,
}

impl SyncedMark {
    /// Opens the mark of a log's folder, and says how far that log has to reach: 0 when nobody knows.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FILE_NAME))?;
        let mut bytes = [0; BYTES];
        let known = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(bytes),
            // New, or older than its first number.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        Ok((Self { file }, known.unwrap_or(0)))
    }

    /// Everything up to this number is synced.
    pub(super) fn advance(&self, sequence: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&sequence.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..8]);
        bytes[8..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

/// `None` for a mark that was only half written: not an error, since it is not synced.
fn decode(bytes: [u8; BYTES]) -> Option<u64> {
    let (number, checksum) = bytes.split_at(8);
    let intact = crc32fast::hash(number).to_le_bytes() == *checksum;
    let number = number.try_into().ok()?;
    intact.then(|| u64::from_le_bytes(number))
}
