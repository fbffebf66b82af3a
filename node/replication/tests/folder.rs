//! Data folders on a real disk.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Deaths, block_on, descriptor, read, write};
use partita_partition::descriptor::GroupId;
use partita_replication::{OpenError, Store};

fn open(path: &Path) -> Result<Arc<Store>, OpenError> {
    Store::open(path, Deaths::default().options())
}

#[test]
fn what_was_written_is_there_after_a_stop_and_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let mut uuid = None;
    for round in 0..4 {
        let store = open(&path).unwrap();
        assert_eq!(*uuid.get_or_insert(store.uuid()), store.uuid());
        for table in 1..=2 {
            let group = store.bootstrap(descriptor(table)).unwrap();
            block_on(async {
                for before in 0..round {
                    assert_eq!(read(&group, &format!("item-{before}")).await.unwrap(), "x");
                }
                write(&group, &format!("item-{round}"), "x").await.unwrap();
            });
        }
        // Without a shutdown nothing is flushed: the next start applies the log.
        if round % 2 == 0 {
            store.shutdown();
        }
    }
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let Err(error) = open(folder.path()) else {
        panic!("opened twice")
    };
    assert!(matches!(error, OpenError::Locked(_)));
    store.shutdown();
    drop(store);
    open(folder.path()).unwrap();
}

#[test]
fn a_group_is_born_once_and_dies_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(write(&group, "item", "x")).unwrap();
    let again = store.bootstrap(descriptor(1)).unwrap();
    assert_eq!(block_on(read(&again, "item")).unwrap(), "x");
    store.destroy(GroupId(1)).unwrap();
    drop((group, again, store));
    let store = open(folder.path()).unwrap();
    assert!(store.groups().is_empty());
    assert!(store.bootstrap(descriptor(1)).is_err());
}

#[test]
fn a_lost_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.bootstrap(descriptor(1)).unwrap();
    store.shutdown();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let Err(error) = open(folder.path()) else {
        panic!("opened without its log")
    };
    assert!(error.to_string().contains("the log is missing"), "{error}");
}
