//! Stores of each release: what `tests/formats/` holds of it opens, and reads as it was written. A store of a newer one is refused.
//!
//! A folder is written once, by the release that it is named after, and is never changed: a release whose formats differ adds one
//! (`FORMATS_WRITE=<folder>` and `-- --ignored`).
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Deaths, block_on, delete, descriptor, put};
use partita_model::request::{GetRequest, WriteRequest};
use partita_partition::Partition;
use partita_partition::descriptor::GroupId;
use partita_partition::split::SplitAt;
use partita_partition::verify::verify;
use partita_replication::{Group, OpenError, SplitRequest, Store};
use uuid::Uuid;

/// A table of one partition, and one whose partition was split.
const WHOLE: u64 = 1;
const HALVED: u64 = 2;
const CHILD: GroupId = GroupId(100);
/// Items of each; every fifth is deleted. From `FLUSHED` on they are in the log only, and so are the deletions.
const ITEMS: usize = 40;
const FLUSHED: usize = 30;

fn id(number: usize) -> String {
    format!("item-{number}")
}

/// The group that has an item.
fn having(store: &Store, request: &WriteRequest) -> Arc<Group> {
    let groups = store.groups().into_iter();
    let mut having = groups.filter(|group| {
        let descriptor = group.descriptor();
        descriptor.table == request.table && descriptor.contains(&request.key)
    });
    having.next().unwrap()
}

async fn write(store: &Store, request: WriteRequest) {
    let group = having(store, &request);
    let mut leadership = group.leadership();
    leadership.wait_for(|now| now.serving > 0).await.unwrap();
    group.write(request).await.unwrap();
}

async fn value(store: &Store, table: u64, id: &str) -> Option<String> {
    let request = delete(table, id);
    let get = GetRequest {
        table: request.table,
        schema_version: request.schema_version,
        key: request.key.clone(),
        consistent: true,
        projection: None,
    };
    let item = having(store, &request).get(get).await.unwrap().item?;
    Some(item.as_ref().get("value").unwrap().as_str().unwrap().to_owned())
}

fn open(path: &Path) -> Result<Arc<Store>, OpenError> {
    Store::open(path, Deaths::default().options())
}

#[test]
#[ignore = "writes the folder of a release"]
fn write_the_folder_of_this_release() {
    let path = PathBuf::from(std::env::var("FORMATS_WRITE").unwrap());
    let store = open(&path).unwrap();
    block_on(async {
        for table in [WHOLE, HALVED] {
            store.bootstrap(descriptor(table)).unwrap();
            for number in 0..FLUSHED {
                write(&store, put(table, &id(number), &format!("value-{number}"))).await;
            }
        }
        let (id, at, child) = (Uuid::from_u128(1), SplitAt::Middle, CHILD);
        store
            .split(GroupId(HALVED), SplitRequest { id, at, child })
            .await
            .unwrap();
    });
    store.shutdown();
    drop(store);
    let store = open(&path).unwrap();
    block_on(async {
        for table in [WHOLE, HALVED] {
            for number in FLUSHED..ITEMS {
                write(&store, put(table, &id(number), &format!("value-{number}"))).await;
            }
            for number in (0..ITEMS).step_by(5) {
                write(&store, delete(table, &id(number))).await;
            }
        }
    });
    drop(store);
    // What a store makes by itself, and what is for people.
    for folder in ["", "log", "state"] {
        for entry in fs::read_dir(path.join(folder)).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            if ["LOCK", "LOG", "OPTIONS"]
                .iter()
                .any(|needless| name.starts_with(needless))
            {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// The folders of releases, and their names.
fn releases() -> Vec<(String, PathBuf)> {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let folders = fs::read_dir(formats).unwrap().map(|entry| entry.unwrap());
    folders
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn check(store: &Store, release: &str) {
    block_on(async {
        for table in [WHOLE, HALVED] {
            for number in 0..ITEMS {
                let expected = (number % 5 != 0).then(|| format!("value-{number}"));
                let found = value(store, table, &id(number)).await;
                assert_eq!(found, expected, "{release}: {} of table {table}", id(number));
            }
        }
    });
    for group in store.groups() {
        let descriptor = group.descriptor();
        let partition = Partition::open(Arc::clone(store.storage()), descriptor.table, group.id()).unwrap();
        let found = verify(&partition.unwrap().reader).unwrap();
        assert_eq!(found.differences, Vec::<String>::new(), "{release}");
    }
    let groups: Vec<_> = store.groups().iter().map(|group| group.id().0).collect();
    assert_eq!(groups, [WHOLE, HALVED, CHILD.0], "{release}");
}

#[test]
fn a_store_of_each_release_opens_and_reads_as_it_was_written() {
    let releases = releases();
    assert!(!releases.is_empty());
    for (release, folder) in releases {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        copy(&folder, &path);
        let store = open(&path).unwrap_or_else(|error| panic!("{release}: {error}"));
        check(&store, &release);
        block_on(write(&store, put(WHOLE, "new", "x")));
        store.shutdown();
        drop(store);
        // And again, once this one has written to it.
        let store = open(&path).unwrap();
        check(&store, &release);
        assert_eq!(block_on(value(&store, WHOLE, "new")).as_deref(), Some("x"));
    }
}

#[test]
fn a_store_of_a_newer_release_is_refused_and_left_as_it_is() {
    let (_, folder) = releases().remove(0);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("data");
    copy(&folder, &path);
    let identity = path.join("STORE");
    let newer = fs::read_to_string(&identity)
        .unwrap()
        .replace("format 1\n", "format 2\n");
    fs::write(&identity, &newer).unwrap();
    let refused = open(&path).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 2, .. }), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("has format 2") && told.contains("use the newer version"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&identity).unwrap(), newer);
    // In its own release it is what it was.
    fs::write(&identity, newer.replace("format 2\n", "format 1\n")).unwrap();
    check(&open(&path).unwrap(), "refused before");
}
