//! Both storage engines, and a log in memory around a partition: what replication does, without replication.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use partita_model::item::Item;
use partita_model::key::{self, KeyBytes};
use partita_model::number::Number;
use partita_model::request::{Action, GetRequest, Origin, PageReply, PageRequest, ReturnValues, Target, WriteRequest};
use partita_model::schema::{
    GlobalIndex, IndexId, IndexProjection, KeyAttribute, KeySchema, LocalIndex, ScalarType, SchemaVersion, TableId,
    TableSchema,
};
use partita_model::value::Value;
use partita_partition::Partition;
use partita_partition::command::{Command, CommandReply};
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::evaluator::{Effect, Evaluated};
use partita_partition::storage::memory::MemoryStorage;
use partita_partition::storage::rocks::{RocksSettings, RocksStorage};
use partita_partition::storage::{Storage, Tier};

/// An engine that a test can make and crash.
pub trait Engine: Sized {
    type Storage: Storage;
    /// An empty store.
    fn new() -> Self;
    /// The store.
    fn storage(&self) -> Arc<Self::Storage>;
    /// What is there after a crash: the last flush.
    fn crash(self) -> Self;
}

pub struct Memory(Arc<MemoryStorage>);

impl Engine for Memory {
    type Storage = MemoryStorage;
    fn new() -> Self {
        Self(Arc::new(MemoryStorage::new()))
    }
    fn storage(&self) -> Arc<MemoryStorage> {
        Arc::clone(&self.0)
    }
    fn crash(self) -> Self {
        self.0.crash();
        self
    }
}

pub struct Rocks {
    storage: Arc<RocksStorage>,
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Rocks {
    fn open(folder: tempfile::TempDir, path: PathBuf) -> Self {
        let settings = RocksSettings {
            block_cache_bytes: 8 << 20,
            memtable_bytes: 8 << 20,
        };
        let storage = Arc::new(RocksStorage::open(&path, settings).unwrap());
        Self { storage, folder, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Engine for Rocks {
    type Storage = RocksStorage;
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0");
        Self::open(folder, path)
    }
    fn storage(&self) -> Arc<RocksStorage> {
        Arc::clone(&self.storage)
    }
    /// A copy of the files as they are, while the store is open: closing it would flush.
    fn crash(self) -> Self {
        let Self { storage, folder, path } = self;
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let copy = folder.path().join((number + 1).to_string());
        while !copied_whole(&path, &copy) {}
        drop(storage);
        Self::open(folder, copy)
    }
}

/// Copies a folder's files; whether they stayed the same files meanwhile. A store that is open removes obsolete ones when it
/// pleases, and a copy of some from before and some from after is what no crash leaves.
fn copied_whole(from: &Path, to: &Path) -> bool {
    let names = || -> BTreeSet<_> {
        std::fs::read_dir(from)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    let before = names();
    let all = before
        .iter()
        .all(|name| match std::fs::copy(from.join(name), to.join(name)) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => panic!("{}: {error}", name.display()),
        });
    all && names() == before
}

/// A partition and its log.
pub struct Replica<E: Engine> {
    pub engine: Option<E>,
    pub partition: Partition<E::Storage>,
    /// Entries of effects; entry `n` of the log is at `n - 1`.
    pub log: Vec<Vec<Bytes>>,
    /// Effects proposed and not applied.
    pub pending: Vec<Effect>,
    pub now_ms: u64,
}

/// A time in 2025.
pub const NOW_MS: u64 = 1_750_000_000_000;

impl<E: Engine> Replica<E> {
    pub fn new(descriptor: &PartitionDescriptor) -> Self {
        let engine = E::new();
        let storage = engine.storage();
        let mut batch = storage.batch();
        Partition::<E::Storage>::create(&mut batch, descriptor).unwrap();
        storage.write(batch).unwrap();
        storage.flush().unwrap();
        let partition = Partition::open(storage, descriptor.table, descriptor.group)
            .unwrap()
            .unwrap();
        Self {
            engine: Some(engine),
            partition,
            log: Vec::new(),
            pending: Vec::new(),
            now_ms: NOW_MS,
        }
    }

    /// Evaluates; the effect stays in flight.
    pub fn propose(&mut self, request: &WriteRequest) -> Result<Evaluated, PartitionError> {
        let evaluated = self.partition.evaluator.evaluate(request, self.now_ms, Tier::All)?;
        if let Evaluated::Changed { effect, .. } = &evaluated {
            self.pending.push(effect.clone());
        }
        Ok(evaluated)
    }

    /// Appends what is in flight as one entry and applies it.
    pub fn commit(&mut self) {
        self.commit_first(self.pending.len());
    }

    /// Appends the first so many effects in flight as one entry and applies it.
    pub fn commit_first(&mut self, count: usize) {
        let entry: Vec<Effect> = self.pending.drain(..count).collect();
        let Some(last) = entry.last().map(|effect| effect.sequence) else {
            return;
        };
        self.log.push(entry.into_iter().map(|effect| effect.bytes).collect());
        self.apply();
        self.partition.evaluator.applied(last);
    }

    /// Applies the log from where the partition is.
    pub fn apply(&mut self) {
        let storage = Arc::clone(self.partition.reader.storage());
        let applier = &mut self.partition.applier;
        while let Some(entry) = self.log.get(applier.at().index as usize) {
            let mut batch = storage.batch();
            for effect in entry {
                applier.apply(&mut batch, effect).unwrap();
            }
            let index = applier.at().index + 1;
            applier.finish(&mut batch, LogPosition { index, term: 1 });
            storage.write(batch).unwrap();
            applier.publish();
        }
    }

    /// Crashes, opens again, and applies the log again from the last flush. What was in flight is lost.
    pub fn crash(&mut self) {
        self.pending.clear();
        let descriptor = self.partition.reader.descriptor();
        let engine = self.engine.take().unwrap().crash();
        self.partition = Partition::open(engine.storage(), descriptor.table, descriptor.group)
            .unwrap()
            .unwrap();
        self.engine = Some(engine);
        self.apply();
        self.partition.evaluator.reset();
    }

    pub fn write(&mut self, request: &WriteRequest) -> Evaluated {
        let evaluated = self.propose(request).unwrap();
        self.commit();
        evaluated
    }

    pub fn command(&mut self, command: &Command) -> Result<CommandReply, PartitionError> {
        let (effect, reply) = self.partition.evaluator.command(command, self.now_ms, Tier::All)?;
        self.pending.extend(effect);
        self.commit();
        Ok(reply)
    }

    pub fn get(&self, schema: &TableSchema, key: &Item) -> Option<Item> {
        let request = GetRequest {
            table: schema.id,
            schema_version: schema.version,
            key: primary(schema, key),
            consistent: true,
            projection: None,
        };
        self.partition.reader.get(&request, Tier::All).unwrap().item
    }

    pub fn page(&self, request: &PageRequest) -> PageReply {
        self.partition.reader.page(request, Tier::All).unwrap()
    }

    pub fn verify(&self) {
        let found = partita_partition::verify::verify(&self.partition.reader).unwrap();
        assert!(found.differences.is_empty(), "{:#?}", found.differences);
    }
}

pub fn attribute(name: &str, kind: ScalarType) -> KeyAttribute {
    KeyAttribute {
        name: name.to_owned(),
        kind,
    }
}

pub fn keys(hash: &str, range: &str) -> KeySchema {
    KeySchema {
        hash: vec![attribute(hash, ScalarType::S)],
        range: vec![attribute(range, ScalarType::S)],
    }
}

/// A table with partition key `p` and sort key `s`.
pub fn schema() -> TableSchema {
    TableSchema {
        id: TableId(7),
        seed: 11,
        version: SchemaVersion(1),
        name: "table".to_owned(),
        keys: keys("p", "s"),
        local: Vec::new(),
        global: Vec::new(),
        time_to_live: None,
        stream: None,
    }
}

pub fn local(id: u16, range: &str, projection: IndexProjection) -> LocalIndex {
    LocalIndex {
        id: IndexId(id),
        name: format!("local-{range}"),
        keys: keys("p", range),
        projection,
    }
}

pub fn global(id: u16, hash: &str, projection: IndexProjection) -> GlobalIndex {
    GlobalIndex {
        id: IndexId(id),
        table: TableId(1000 + u64::from(id)),
        seed: 13,
        name: format!("global-{hash}"),
        keys: KeySchema {
            hash: vec![attribute(hash, ScalarType::S)],
            range: Vec::new(),
        },
        projection,
        readable: true,
    }
}

pub fn descriptor(schema: TableSchema) -> PartitionDescriptor {
    PartitionDescriptor::whole_table(GroupId(3), Arc::new(schema))
}

/// An item of string attributes.
pub fn item(attributes: &[(&str, &str)]) -> Item {
    let values: Vec<(&str, Value)> = attributes
        .iter()
        .map(|(name, text)| (*name, Value::string(text)))
        .collect();
    Item::from_attributes(values.iter().map(|(name, value)| (*name, value.as_ref())))
}

/// The item with another attribute.
pub fn with(item: &Item, name: &str, value: &Value) -> Item {
    item.as_ref().with(name, Some(value.as_ref()))
}

pub fn primary(schema: &TableSchema, item: &Item) -> KeyBytes {
    key::primary(&schema.keys, schema.seed, item.as_ref()).unwrap()
}

/// A schema with one index of each kind, and a time to live.
pub fn full_schema() -> TableSchema {
    TableSchema {
        local: vec![local(1, "l", IndexProjection::All)],
        global: vec![global(2, "g", IndexProjection::All)],
        time_to_live: Some("ttl".to_owned()),
        ..schema()
    }
}

/// Puts an item of that schema, in one of seven collections.
pub fn put_numbered(number: i64) -> WriteRequest {
    let (p, s) = (format!("p-{}", number % 7), format!("s-{number}"));
    let row = item(&[("p", &p), ("s", &s), ("l", "local"), ("g", "global")]);
    let expires = Number::from(1_750_000_000 + number);
    put(&full_schema(), &with(&row, "ttl", &Value::number(expires)))
}

fn request(schema: &TableSchema, key: KeyBytes, action: Action) -> WriteRequest {
    WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key,
        action,
        condition: None,
        return_values: ReturnValues::None,
        return_item_on_failure: false,
        origin: Origin::Client,
    }
}

pub fn put(schema: &TableSchema, item: &Item) -> WriteRequest {
    request(schema, primary(schema, item), Action::Put(item.clone()))
}

pub fn delete(schema: &TableSchema, key: &Item) -> WriteRequest {
    request(schema, primary(schema, key), Action::Delete { key: key.clone() })
}

pub fn update(schema: &TableSchema, key: &Item, update: partita_model::expression::Update) -> WriteRequest {
    let action = Action::Update {
        key: key.clone(),
        update,
    };
    request(schema, primary(schema, key), action)
}

/// Everything of a target.
pub fn scan(schema: &TableSchema, target: Target) -> PageRequest {
    PageRequest {
        table: schema.id,
        schema_version: schema.version,
        target,
        range: (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
        reverse: false,
        limit: None,
        bytes_max: 1 << 20,
        consistent: true,
        filter: None,
        projection: None,
        count_only: false,
        fetch_from_table: false,
    }
}

/// Without its time.
pub fn timeless(item: &Item) -> Item {
    let mut item = item.clone();
    item.set_time(0);
    item
}
