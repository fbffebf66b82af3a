//! One script of behaviour for both engines of the log.
#![allow(clippy::unwrap_used)]

use partita_partition::descriptor::GroupId;
use partita_replication::log::memory::MemoryLog;
use partita_replication::log::rocks::RocksLog;
use partita_replication::log::{GroupRecord, Installing, Life, LogChange, LogEngine, LogError, StoredGroup, Truncated};
use partita_replication::members::Members;
use raft::eraftpb::{Entry, HardState};

const ONE: GroupId = GroupId(1);
const TWO: GroupId = GroupId(u64::MAX);

fn record(born: u64) -> GroupRecord {
    GroupRecord {
        born,
        replica: 1,
        members: Members::voters(&[uuid::Uuid::nil()]),
        start: Truncated::default(),
        descriptor: b"descriptor".to_vec(),
        life: Life::Alive,
        parent: None,
    }
}

fn append(group: GroupId, entries: &[(u64, u64)], last_before: u64) -> LogChange {
    let entries = entries.iter().map(|(index, term)| Entry {
        index: *index,
        term: *term,
        data: format!("entry {index} of term {term}").into_bytes().into(),
        ..Entry::default()
    });
    LogChange::Append {
        group,
        entries: entries.collect(),
        last_before,
    }
}

fn read(log: &dyn LogEngine, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Vec<(u64, u64)> {
    let entries = log.entries(group, from, to, bytes_max).unwrap();
    let check = |entry: &Entry| {
        assert_eq!(
            entry.data,
            format!("entry {} of term {}", entry.index, entry.term).as_bytes()
        );
        (entry.index, entry.term)
    };
    entries.iter().map(check).collect()
}

fn group(log: &dyn LogEngine, group: GroupId) -> StoredGroup {
    log.groups()
        .unwrap()
        .into_iter()
        .find(|stored| stored.id == group)
        .unwrap()
}

fn script(log: &dyn LogEngine) {
    let hard_state = HardState {
        term: 2,
        vote: 1,
        commit: 3,
        ..HardState::default()
    };
    let batch = vec![
        LogChange::Record(ONE, record(1)),
        LogChange::Record(TWO, record(2)),
        append(ONE, &[(1, 1), (2, 1), (3, 2)], 0),
        append(TWO, &[(1, 5)], 0),
        LogChange::HardState(ONE, hard_state.clone()),
    ];
    assert!(log.write(&batch).unwrap() > 0);
    assert_eq!(read(log, ONE, 1, 4, u64::MAX), [(1, 1), (2, 1), (3, 2)]);
    assert_eq!(read(log, ONE, 2, 4, 1), [(2, 1)]);
    assert_eq!(read(log, TWO, 1, 2, u64::MAX), [(1, 5)]);
    let stored = group(log, ONE);
    assert_eq!(stored.record, record(1));
    assert_eq!(stored.hard_state, hard_state);
    assert_eq!((stored.terms.as_slice(), stored.last), ([(1, 1), (3, 2)].as_slice(), 3));
    assert!(stored.bytes > 0);

    // A new leader's entries replace the end.
    log.write(&vec![append(ONE, &[(2, 3)], 3)]).unwrap();
    assert_eq!(read(log, ONE, 1, 3, u64::MAX), [(1, 1), (2, 3)]);
    assert!(matches!(
        log.entries(ONE, 2, 4, u64::MAX),
        Err(LogError::Missing { group: 1, index: 3 })
    ));
    assert_eq!(group(log, ONE).last, 2);

    // The head is cut.
    let (from, to) = (Truncated::default(), Truncated { index: 1, term: 1 });
    log.write(&vec![
        append(ONE, &[(3, 3)], 2),
        LogChange::Truncate { group: ONE, from, to },
    ])
    .unwrap();
    assert!(log.entries(ONE, 1, 4, u64::MAX).is_err());
    assert_eq!(read(log, ONE, 2, 4, u64::MAX), [(2, 3), (3, 3)]);
    let stored = group(log, ONE);
    assert_eq!(
        (stored.truncated, stored.terms.as_slice(), stored.last),
        (to, [(2, 3)].as_slice(), 3)
    );

    // Parts of a snapshot, and the mark of its installation.
    let mark = Installing { at: to, chunks: 2 };
    let chunk = |number: u64, text: &str| LogChange::Chunk {
        group: ONE,
        number,
        bytes: text.as_bytes().into(),
    };
    log.write(&vec![
        chunk(0, "head"),
        chunk(1, "rows"),
        LogChange::Installing(ONE, Some(mark)),
    ])
    .unwrap();
    assert_eq!(group(log, ONE).installing, Some(mark));
    assert_eq!(log.chunk(ONE, 1).unwrap(), b"rows");
    log.write(&vec![LogChange::Installing(ONE, None), LogChange::DropChunks(ONE)])
        .unwrap();
    assert_eq!(group(log, ONE).installing, None);
    assert!(matches!(
        log.chunk(ONE, 1),
        Err(LogError::Missing { group: 1, index: 1 })
    ));
    assert_eq!(group(log, ONE).last, 3);

    // Nothing of a cleared group is left but its record.
    log.write(&vec![LogChange::Clear(TWO)]).unwrap();
    let stored = group(log, TWO);
    assert_eq!(
        (stored.record, stored.last, stored.hard_state),
        (record(2), 0, HardState::default())
    );
}

#[test]
fn in_memory() {
    script(&MemoryLog::new());
}

#[test]
fn on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = RocksLog::open(folder.path()).unwrap();
    script(&log);
    drop(log);
    let log = RocksLog::open(folder.path()).unwrap();
    assert_eq!(read(&log, ONE, 2, 4, u64::MAX), [(2, 3), (3, 3)]);
    assert_eq!(group(&log, ONE).truncated.index, 1);
}

#[test]
fn a_gap_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let log = RocksLog::open(folder.path()).unwrap();
    log.write(&vec![
        LogChange::Record(ONE, record(1)),
        append(ONE, &[(1, 1), (2, 1)], 0),
    ])
    .unwrap();
    log.write(&vec![append(ONE, &[(4, 1)], 2)]).unwrap();
    assert!(matches!(log.groups(), Err(LogError::Missing { group: 1, index: 3 })));
}

/// A damaged record in the middle of a write-ahead log looks like its end to RocksDB.
#[test]
fn a_log_that_lost_synced_records_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = RocksLog::open(folder.path()).unwrap();
    log.write(&vec![LogChange::Record(ONE, record(1))]).unwrap();
    for index in 1..=100 {
        log.write(&vec![append(ONE, &[(index, 1)], index - 1)]).unwrap();
    }
    drop(log);
    let file = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let intact = std::fs::read(&file).unwrap();
    let used = intact.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = intact.clone();
    damaged[used / 2] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    for _ in 0..2 {
        let error = RocksLog::open(folder.path()).err().unwrap();
        assert!(matches!(error, LogError::CutShort { .. }), "{error}");
        assert!(
            error.to_string().contains(file.file_name().unwrap().to_str().unwrap()),
            "{error}"
        );
    }
    std::fs::write(&file, &intact).unwrap();
    let log = RocksLog::open(folder.path()).unwrap();
    assert_eq!(group(&log, ONE).last, 100);
}
