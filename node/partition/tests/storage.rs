//! One script of behaviour for both storage engines.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Bound;

use common::{Engine, Memory, Rocks};
use partita_partition::storage::{Batch, Cursor, Family, Storage, StorageError, Tier, View};

type Write<'a> = (Family, &'a str, Option<&'a str>);

fn write<S: Storage>(storage: &S, writes: &[Write<'_>]) {
    let mut batch = storage.batch();
    for (family, key, value) in writes {
        match value {
            Some(value) => batch.put(*family, key.as_bytes(), value.as_bytes()),
            None => batch.delete(*family, key.as_bytes()),
        }
    }
    storage.write(batch).unwrap();
}

fn get<V: View>(view: &V, family: Family, key: &str, tier: Tier) -> Option<String> {
    let value = view.get(family, key.as_bytes(), tier).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn scan<V: View>(view: &V, range: (Bound<&str>, Bound<&str>), reverse: bool) -> String {
    let range = (range.0.map(str::as_bytes), range.1.map(str::as_bytes));
    let mut cursor = view.scan(Family::Items, range, reverse, Tier::All).unwrap();
    let mut found = String::new();
    while let Some((key, value)) = cursor.next().unwrap() {
        found.push_str(&format!(
            "{}={} ",
            String::from_utf8_lossy(key),
            String::from_utf8_lossy(value)
        ));
    }
    assert!(
        cursor.next().unwrap().is_none(),
        "a cursor that is through stays through"
    );
    found
}

fn script<E: Engine>() {
    let engine = E::new();
    let storage = engine.storage();
    let all = [("a", "1"), ("b", "2"), ("b\0", "3"), ("c", "4"), ("d", "5")];
    let rows: Vec<Write<'_>> = all.iter().map(|(k, v)| (Family::Items, *k, Some(*v))).collect();
    write(&*storage, &rows);

    // Families are apart.
    assert_eq!(get(&*storage, Family::Items, "a", Tier::All).as_deref(), Some("1"));
    assert_eq!(
        get(&*storage, Family::Items, "a", Tier::BlockCacheOnly).as_deref(),
        Some("1")
    );
    assert_eq!(get(&*storage, Family::Meta, "a", Tier::All), None);
    assert_eq!(get(&*storage, Family::Items, "", Tier::All), None);

    // Bounds, both ways.
    let unbounded = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(scan(&*storage, unbounded, false), "a=1 b=2 b\0=3 c=4 d=5 ");
    assert_eq!(scan(&*storage, unbounded, true), "d=5 c=4 b\0=3 b=2 a=1 ");
    let half_open = (Bound::Included("b"), Bound::Excluded("d"));
    assert_eq!(scan(&*storage, half_open, false), "b=2 b\0=3 c=4 ");
    assert_eq!(scan(&*storage, half_open, true), "c=4 b\0=3 b=2 ");
    let other_half = (Bound::Excluded("b"), Bound::Included("d"));
    assert_eq!(scan(&*storage, other_half, false), "b\0=3 c=4 d=5 ");
    assert_eq!(scan(&*storage, other_half, true), "d=5 c=4 b\0=3 ");
    assert_eq!(scan(&*storage, (Bound::Included("c"), Bound::Excluded("c")), false), "");
    assert_eq!(scan(&*storage, (Bound::Included("d"), Bound::Included("a")), true), "");
    assert_eq!(scan(&*storage, (Bound::Excluded("x"), Bound::Unbounded), false), "");

    // Snapshots and scans do not see later writes; batches are all or nothing and in order.
    let snapshot = storage.snapshot();
    let mut cursor = storage
        .scan(Family::Items, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)
        .unwrap();
    let mut batch = storage.batch();
    batch.put(Family::Items, b"b", b"new");
    batch.delete(Family::Items, b"a");
    batch.delete_range(Family::Items, b"b\0", b"d");
    batch.put(Family::Items, b"c", b"again");
    storage.write(batch).unwrap();
    assert_eq!(scan(&*storage, unbounded, false), "b=new c=again d=5 ");
    assert_eq!(scan(&snapshot, unbounded, false), "a=1 b=2 b\0=3 c=4 d=5 ");
    assert_eq!(get(&snapshot, Family::Items, "a", Tier::All).as_deref(), Some("1"));
    let mut seen = 0;
    while cursor.next().unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 5);
    drop((cursor, snapshot));

    // What is flushed survives, all families together; what is not does not, and is told apart.
    assert_eq!(get(&*storage, Family::Items, "b", Tier::Persisted), None);
    write(&*storage, &[(Family::Meta, "applied", Some("7"))]);
    storage.flush().unwrap();
    assert_eq!(
        get(&*storage, Family::Items, "b", Tier::Persisted).as_deref(),
        Some("new")
    );
    assert_eq!(
        get(&*storage, Family::Meta, "applied", Tier::Persisted).as_deref(),
        Some("7")
    );
    write(
        &*storage,
        &[
            (Family::Items, "e", Some("lost")),
            (Family::Items, "b", None),
            (Family::Meta, "applied", Some("8")),
        ],
    );
    assert_eq!(
        get(&*storage, Family::Meta, "applied", Tier::Persisted).as_deref(),
        Some("7")
    );
    assert_eq!(get(&*storage, Family::Meta, "applied", Tier::All).as_deref(), Some("8"));
    let refused = storage
        .scan(
            Family::Items,
            (Bound::Unbounded, Bound::Unbounded),
            false,
            Tier::Persisted,
        )
        .map(|_| ());
    assert!(matches!(refused, Err(StorageError::Io(_))));
    drop(storage);
    let engine = engine.crash();
    let storage = engine.storage();
    assert_eq!(scan(&*storage, unbounded, false), "b=new c=again d=5 ");
    assert_eq!(get(&*storage, Family::Meta, "applied", Tier::All).as_deref(), Some("7"));
}

#[test]
fn memory() {
    script::<Memory>();
}

#[test]
fn rocks() {
    script::<Rocks>();
}

/// Rows on disk and not in memory are told apart from rows that are not there.
#[test]
fn rocks_tells_what_is_not_cached() {
    let engine = Rocks::new();
    let storage = engine.storage();
    write(
        &*storage,
        &[(Family::Items, "a", Some("1")), (Family::Items, "c", Some("2"))],
    );
    storage.flush().unwrap();
    drop(storage);
    let engine = engine.crash();
    let storage = engine.storage();
    let cold = storage.get(Family::Items, b"a", Tier::BlockCacheOnly).map(|_| ());
    assert_eq!(cold, Err(StorageError::NotCached));
    let mut cursor = storage
        .scan(
            Family::Items,
            (Bound::Unbounded, Bound::Unbounded),
            false,
            Tier::BlockCacheOnly,
        )
        .unwrap();
    assert_eq!(cursor.next().map(|_| ()), Err(StorageError::NotCached));
    assert_eq!(
        get(&*storage, Family::Items, "b", Tier::BlockCacheOnly),
        None,
        "the filter knows"
    );
    assert_eq!(get(&*storage, Family::Items, "a", Tier::All).as_deref(), Some("1"));
    assert_eq!(
        get(&*storage, Family::Items, "a", Tier::BlockCacheOnly).as_deref(),
        Some("1")
    );
}

/// A block that does not fit its checksum is reported with its file, and never served.
#[test]
fn rocks_reports_corruption() {
    let engine = Rocks::new();
    let storage = engine.storage();
    let value = "v".repeat(100);
    write(&*storage, &[(Family::Items, "key", Some(&value))]);
    storage.flush().unwrap();
    for entry in std::fs::read_dir(engine.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().take(20).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let found = storage.get(Family::Items, b"key", Tier::All).map(|_| ());
    let Err(StorageError::Corrupt { file, .. }) = found else {
        panic!("expected a corruption, found {found:?}");
    };
    assert!(file.ends_with(".sst"), "{file}");
    let mut cursor = storage
        .scan(Family::Items, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)
        .unwrap();
    assert!(matches!(cursor.next(), Err(StorageError::Corrupt { .. })));
}
