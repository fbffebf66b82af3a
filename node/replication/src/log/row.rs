//! The rows of the log, as bytes.
//!
//! Keys are `kind | group | index`, big-endian, so that small rows of all groups stand together and a group's entries
//! are one run. Values are `format version | CRC-32 of what follows | content`.

use partita_partition::descriptor::GroupId;
use raft::eraftpb::{Entry, EntryType, HardState};
use uuid::Uuid;

use super::{GroupRecord, Installing, Life, LogError, Truncated};
use crate::members::Members;

/// The format written and the newest one read, of all rows but records.
const FORMAT: u8 = 1;
/// The format of records: since the second one they know the stores of the group's members, since the third the split
/// that it was born by, since the fourth that it was absorbed. Written is the third one unless it was.
const RECORD_FORMAT: u8 = 4;
const THIRD_RECORD_FORMAT: u8 = 3;
const SECOND_RECORD_FORMAT: u8 = 2;
/// Format version and checksum.
const HEADER_BYTES: usize = 5;
/// Term and entry type in front of an entry's data.
const ENTRY_HEADER_BYTES: usize = 9;

const KIND_RECORD: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_TRUNCATED: u8 = 3;
const KIND_ENTRY: u8 = 4;
const KIND_INSTALLING: u8 = 5;
const KIND_CHUNK: u8 = 6;

/// The kinds of rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Record(GroupId),
    HardState(GroupId),
    Truncated(GroupId),
    Entry(GroupId, u64),
    Installing(GroupId),
    Chunk(GroupId, u64),
}

/// Length of a key of any kind (the index is 0 where there is none).
pub(super) const KEY_BYTES: usize = 17;

impl Key {
    pub(super) fn encode(self) -> [u8; KEY_BYTES] {
        let (kind, group, index) = match self {
            Self::Record(group) => (KIND_RECORD, group, 0),
            Self::HardState(group) => (KIND_HARD_STATE, group, 0),
            Self::Truncated(group) => (KIND_TRUNCATED, group, 0),
            Self::Entry(group, index) => (KIND_ENTRY, group, index),
            Self::Installing(group) => (KIND_INSTALLING, group, 0),
            Self::Chunk(group, number) => (KIND_CHUNK, group, number),
        };
        let mut key = [0; KEY_BYTES];
        key[0] = kind;
        key[1..9].copy_from_slice(&group.0.to_be_bytes());
        key[9..].copy_from_slice(&index.to_be_bytes());
        key
    }

    /// `None` for bytes that are no key of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
        let group = GroupId(u64::from_be_bytes(bytes[1..9].try_into().ok()?));
        let index = u64::from_be_bytes(bytes[9..].try_into().ok()?);
        match bytes[0] {
            KIND_RECORD => Some(Self::Record(group)),
            KIND_HARD_STATE => Some(Self::HardState(group)),
            KIND_TRUNCATED => Some(Self::Truncated(group)),
            KIND_ENTRY => Some(Self::Entry(group, index)),
            KIND_INSTALLING => Some(Self::Installing(group)),
            KIND_CHUNK => Some(Self::Chunk(group, index)),
            _ => None,
        }
    }

    fn group(self) -> GroupId {
        match self {
            Self::Record(group) | Self::HardState(group) | Self::Truncated(group) => group,
            Self::Entry(group, _) | Self::Installing(group) | Self::Chunk(group, _) => group,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Record(_) => "record",
            Self::HardState(_) => "hard state",
            Self::Truncated(_) => "truncation",
            Self::Entry(..) => "entry",
            Self::Installing(_) => "mark of an installation",
            Self::Chunk(..) => "part of a snapshot",
        }
    }

    fn newer(self, version: u8) -> LogError {
        LogError::Newer {
            what: self.what(),
            group: self.group().0,
            version,
        }
    }

    pub(super) fn corrupt(self, reason: impl Into<String>) -> LogError {
        LogError::Corrupt {
            what: self.what(),
            group: self.group().0,
            reason: reason.into(),
        }
    }
}

/// Writes `version | checksum | content` into `into` (which is cleared first).
fn seal(into: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    seal_as(FORMAT, into, content);
}

fn seal_as(format: u8, into: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    into.clear();
    into.extend_from_slice(&[format, 0, 0, 0, 0]);
    content(into);
    let checksum = crc32fast::hash(&into[HEADER_BYTES..]);
    into[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The content of a row, once its version and checksum have been checked.
fn unseal(key: Key, row: &[u8]) -> Result<&[u8], LogError> {
    match unseal_any(key, row)? {
        (FORMAT, content) => Ok(content),
        (version, _) => Err(key.newer(version)),
    }
}

/// The version and content of a row whose checksum fits.
fn unseal_any(key: Key, row: &[u8]) -> Result<(u8, &[u8]), LogError> {
    let (header, content) = row
        .split_at_checked(HEADER_BYTES)
        .ok_or_else(|| key.corrupt("shorter than its header"))?;
    let version = header[0];
    if version == 0 || version > RECORD_FORMAT {
        return Err(key.newer(version));
    }
    if header[1..] != crc32fast::hash(content).to_le_bytes() {
        return Err(key.corrupt("checksum mismatch"));
    }
    Ok((version, content))
}

pub(super) fn encode_entry(into: &mut Vec<u8>, entry: &Entry) {
    into.clear();
    into.reserve(HEADER_BYTES + ENTRY_HEADER_BYTES + entry.data.len());
    seal(into, |row| {
        row.extend_from_slice(&entry.term.to_le_bytes());
        row.push(match entry.get_entry_type() {
            EntryType::EntryNormal => 0,
            EntryType::EntryConfChange => 1,
            EntryType::EntryConfChangeV2 => 2,
        });
        // Of a change of membership, our own description: what raft-rs wanted to see is not needed any more.
        row.extend_from_slice(match entry.get_entry_type() {
            EntryType::EntryNormal => &entry.data,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => &entry.context,
        });
    });
}

/// The term of a stored entry; the whole row is checked.
pub(super) fn entry_term(key: Key, row: &[u8]) -> Result<u64, LogError> {
    let content = unseal(key, row)?;
    let term = content.first_chunk().ok_or_else(|| key.corrupt("no term"))?;
    Ok(u64::from_le_bytes(*term))
}

pub(super) fn decode_entry(group: GroupId, index: u64, row: &[u8]) -> Result<Entry, LogError> {
    let key = Key::Entry(group, index);
    let content = unseal(key, row)?;
    let (header, data) = content
        .split_at_checked(ENTRY_HEADER_BYTES)
        .ok_or_else(|| key.corrupt("no header"))?;
    let mut entry = Entry {
        index,
        term: header.first_chunk().map_or(0, |term| u64::from_le_bytes(*term)),
        ..Entry::default()
    };
    match header[ENTRY_HEADER_BYTES - 1] {
        0 => entry.data = data.to_vec().into(),
        2 => {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.context = data.to_vec().into();
        }
        other => return Err(key.corrupt(format!("unknown type {other}"))),
    }
    Ok(entry)
}

pub(super) fn encode_record(into: &mut Vec<u8>, record: &GroupRecord) -> Result<(), LogError> {
    let content = postcard::to_stdvec(record).map_err(|e| LogError::Engine(format!("encoding a record: {e}")))?;
    let format = match record.life {
        Life::Absorbed(_) => RECORD_FORMAT,
        Life::Alive | Life::Destroying | Life::Destroyed => THIRD_RECORD_FORMAT,
    };
    seal_as(format, into, |row| row.extend_from_slice(&content));
    Ok(())
}

/// A record of the first format: of a group with voters that live nowhere but here.
#[derive(serde::Deserialize)]
struct FirstRecord {
    born: u64,
    replica: u64,
    voters: Vec<u64>,
    descriptor: Vec<u8>,
    life: Life,
}

impl From<FirstRecord> for GroupRecord {
    fn from(first: FirstRecord) -> Self {
        Self {
            born: first.born,
            replica: first.replica,
            members: Members::voters(&vec![Uuid::nil(); first.voters.len()]),
            start: Truncated::default(),
            descriptor: first.descriptor,
            life: first.life,
            parent: None,
        }
    }
}

/// A record of the second format: of a group that was not born by a split.
#[derive(serde::Deserialize)]
struct SecondRecord {
    born: u64,
    replica: u64,
    members: Members,
    start: Truncated,
    descriptor: Vec<u8>,
    life: Life,
}

impl From<SecondRecord> for GroupRecord {
    fn from(second: SecondRecord) -> Self {
        let SecondRecord {
            born,
            replica,
            members,
            start,
            descriptor,
            life,
        } = second;
        Self {
            born,
            replica,
            members,
            start,
            descriptor,
            life,
            parent: None,
        }
    }
}

pub(super) fn decode_record(group: GroupId, row: &[u8]) -> Result<GroupRecord, LogError> {
    let key = Key::Record(group);
    let unreadable = |error: postcard::Error| key.corrupt(error.to_string());
    match unseal_any(key, row)? {
        (FORMAT, content) => postcard::from_bytes::<FirstRecord>(content)
            .map(GroupRecord::from)
            .map_err(unreadable),
        (SECOND_RECORD_FORMAT, content) => postcard::from_bytes::<SecondRecord>(content)
            .map(GroupRecord::from)
            .map_err(unreadable),
        (_, content) => postcard::from_bytes(content).map_err(unreadable),
    }
}

pub(super) fn encode_hard_state(into: &mut Vec<u8>, state: &HardState) {
    seal(into, |row| {
        for number in [state.term, state.vote, state.commit] {
            row.extend_from_slice(&number.to_le_bytes());
        }
    });
}

pub(super) fn decode_hard_state(group: GroupId, row: &[u8]) -> Result<HardState, LogError> {
    let [term, vote, commit] = numbers(Key::HardState(group), row)?;
    Ok(HardState {
        term,
        vote,
        commit,
        ..HardState::default()
    })
}

pub(super) fn encode_truncated(into: &mut Vec<u8>, truncated: Truncated) {
    seal(into, |row| {
        row.extend_from_slice(&truncated.index.to_le_bytes());
        row.extend_from_slice(&truncated.term.to_le_bytes());
    });
}

pub(super) fn decode_truncated(group: GroupId, row: &[u8]) -> Result<Truncated, LogError> {
    let [index, term] = numbers(Key::Truncated(group), row)?;
    Ok(Truncated { index, term })
}

pub(super) fn encode_installing(into: &mut Vec<u8>, mark: Installing) {
    seal(into, |row| {
        for number in [mark.at.index, mark.at.term, mark.chunks] {
            row.extend_from_slice(&number.to_le_bytes());
        }
    });
}

pub(super) fn decode_installing(group: GroupId, row: &[u8]) -> Result<Installing, LogError> {
    let [index, term, chunks] = numbers(Key::Installing(group), row)?;
    let at = Truncated { index, term };
    Ok(Installing { at, chunks })
}

pub(super) fn encode_chunk(into: &mut Vec<u8>, bytes: &[u8]) {
    seal(into, |row| row.extend_from_slice(bytes));
}

pub(super) fn decode_chunk(group: GroupId, number: u64, row: &[u8]) -> Result<Vec<u8>, LogError> {
    unseal(Key::Chunk(group, number), row).map(<[u8]>::to_vec)
}

fn numbers<const N: usize>(key: Key, row: &[u8]) -> Result<[u64; N], LogError> {
    let content = unseal(key, row)?;
    let (chunks, rest) = content.as_chunks::<8>();
    let chunks: &[[u8; 8]; N] = chunks.try_into().map_err(|_| key.corrupt("wrong length"))?;
    if !rest.is_empty() {
        return Err(key.corrupt("wrong length"));
    }
    Ok(chunks.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let entry = Entry {
            index: 7,
            term: 3,
            data: b"data".to_vec().into(),
            ..Entry::default()
        };
        let mut row = Vec::new();
        encode_entry(&mut row, &entry);
        assert_eq!(decode_entry(GroupId(1), 7, &row).unwrap(), entry);
        for bit in 0..row.len() * 8 {
            let mut damaged = row.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(GroupId(1), 7, &damaged).is_err(), "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(decode_entry(GroupId(1), 7, &row[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_record_of_the_first_format_is_read() {
        #[derive(serde::Serialize)]
        struct First(u64, u64, Vec<u64>, Vec<u8>, Life);
        let first = First(3, 1, vec![1], b"descriptor".to_vec(), Life::Alive);
        let mut row = Vec::new();
        seal(&mut row, |row| row.extend(postcard::to_stdvec(&first).unwrap()));
        let record = decode_record(GroupId(1), &row).unwrap();
        assert_eq!((record.born, record.replica), (3, 1));
        assert!(record.members.is_sole_voter(1));
        encode_record(&mut row, &record).unwrap();
        assert_eq!(decode_record(GroupId(1), &row).unwrap(), record);
    }

    #[test]
    fn a_record_of_the_second_format_is_read() {
        #[derive(serde::Serialize)]
        struct Second(u64, u64, Members, Truncated, Vec<u8>, Life);
        let members = Members::voters(&[Uuid::from_u128(1), Uuid::from_u128(2)]);
        let start = Truncated { index: 1, term: 1 };
        let second = Second(3, 2, members.clone(), start, b"descriptor".to_vec(), Life::Alive);
        let mut row = Vec::new();
        seal_as(SECOND_RECORD_FORMAT, &mut row, |row| {
            row.extend(postcard::to_stdvec(&second).unwrap())
        });
        let record = decode_record(GroupId(1), &row).unwrap();
        assert_eq!((record.born, record.replica, record.parent), (3, 2, None));
        assert_eq!((record.members, record.start), (members, start));
    }

    #[test]
    fn only_what_was_absorbed_needs_the_newest_format() {
        let start = Truncated { index: 1, term: 1 };
        let by = super::super::Parent {
            group: GroupId(2),
            index: 9,
        };
        for (life, format) in [(Life::Alive, 3), (Life::Destroyed, 3), (Life::Absorbed(by), 4)] {
            let record = GroupRecord {
                born: 3,
                replica: 2,
                members: Members::voters(&[Uuid::from_u128(1)]),
                start,
                descriptor: b"descriptor".to_vec(),
                life,
                parent: None,
            };
            let mut row = Vec::new();
            encode_record(&mut row, &record).unwrap();
            assert_eq!(row[0], format);
            assert_eq!(decode_record(GroupId(1), &row).unwrap(), record);
        }
    }

    #[test]
    fn keys_stand_in_order() {
        let keys = [
            Key::Record(GroupId(9)),
            Key::HardState(GroupId(1)),
            Key::Truncated(GroupId(1)),
        ];
        let entries = [
            Key::Entry(GroupId(1), 255),
            Key::Entry(GroupId(1), 256),
            Key::Entry(GroupId(2), 0),
        ];
        let encoded: Vec<_> = keys.iter().chain(&entries).map(|key| key.encode()).collect();
        assert!(encoded.is_sorted());
        for (key, bytes) in keys.iter().chain(&entries).zip(&encoded) {
            assert_eq!(Key::decode(bytes), Some(*key));
        }
    }
}
