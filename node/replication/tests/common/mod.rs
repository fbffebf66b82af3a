//! A table, its items, and stores to put them in.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod trio;

use std::sync::Arc;

use parking_lot::Mutex;
use partita_model::item::Item;
use partita_model::key;
use partita_model::request::{Action, GetRequest, Origin, Refusal, ReturnValues, WriteReply, WriteRequest};
use partita_model::schema::{KeyAttribute, KeySchema, ScalarType, SchemaVersion, TableId, TableSchema};
use partita_model::value::Value;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::storage::Storage;
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::log::memory::MemoryLog;
use partita_replication::{Group, OpenError, Store, StoreOptions};

pub fn schema(table: u64) -> TableSchema {
    TableSchema {
        id: TableId(table),
        seed: 7,
        version: SchemaVersion(1),
        name: format!("table-{table}"),
        keys: KeySchema {
            hash: vec![KeyAttribute {
                name: "id".into(),
                kind: ScalarType::S,
            }],
            range: Vec::new(),
        },
        local: Vec::new(),
        global: Vec::new(),
        time_to_live: None,
        stream: None,
    }
}

/// The only partition of a table: its group has the table's number.
pub fn descriptor(table: u64) -> PartitionDescriptor {
    PartitionDescriptor::whole_table(GroupId(table), Arc::new(schema(table)))
}

fn item(id: &str, value: Option<&str>) -> Item {
    let id = Value::string(id);
    let value = value.map(Value::string);
    let attributes = value.as_ref().map(|value| ("value", value.as_ref()));
    Item::from_attributes([("id", id.as_ref())].into_iter().chain(attributes))
}

fn request(table: u64, id: &str, action: Action) -> WriteRequest {
    let schema = schema(table);
    WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key: key::primary(&schema.keys, schema.seed, item(id, None).as_ref()).unwrap(),
        action,
        condition: None,
        return_values: ReturnValues::None,
        return_item_on_failure: false,
        origin: Origin::Client,
    }
}

pub fn put(table: u64, id: &str, value: &str) -> WriteRequest {
    request(table, id, Action::Put(item(id, Some(value))))
}

pub fn delete(table: u64, id: &str) -> WriteRequest {
    let key = item(id, None);
    request(table, id, Action::Delete { key })
}

/// A strong read.
pub fn get(table: u64, id: &str) -> GetRequest {
    let WriteRequest {
        table,
        schema_version,
        key,
        ..
    } = delete(table, id);
    GetRequest {
        table,
        schema_version,
        key,
        consistent: true,
        projection: None,
    }
}

pub async fn write<S: Storage>(group: &Arc<Group<S>>, id: &str, value: &str) -> Result<WriteReply, Refusal> {
    group.write(put(group.id().0, id, value)).await
}

/// The value of an item.
pub async fn read<S: Storage>(group: &Group<S>, id: &str) -> Option<String> {
    let reply = group.get(get(group.id().0, id));
    let item = reply.await.unwrap().item?;
    let value = item.as_ref().get("value").unwrap();
    Some(value.as_str().unwrap().to_owned())
}

/// What was said when the process should have ended.
#[derive(Clone, Default)]
pub struct Deaths(Arc<Mutex<Vec<String>>>);

impl Deaths {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    pub fn options(&self) -> StoreOptions {
        let deaths = self.clone();
        StoreOptions {
            read_threads: 1,
            on_fatal: Arc::new(move |reason| deaths.0.lock().push(reason.to_owned())),
            ..StoreOptions::default()
        }
    }
}

/// A machine in memory: what is on its disk survives a crash.
#[derive(Default)]
pub struct Machine {
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryStorage>,
    pub deaths: Deaths,
}

impl Machine {
    pub fn try_start(&self) -> Result<Arc<Store<MemoryStorage>>, OpenError> {
        self.start_with(self.deaths.options())
    }

    pub fn start_with(&self, options: StoreOptions) -> Result<Arc<Store<MemoryStorage>>, OpenError> {
        Store::with_engines(Arc::clone(&self.state), Arc::clone(&self.log) as _, options)
    }

    pub fn start(&self) -> Arc<Store<MemoryStorage>> {
        self.try_start().unwrap()
    }

    /// Everything that was not flushed is gone from the state; what was synced stays in the log.
    pub fn crash(&self, store: Arc<Store<MemoryStorage>>) {
        drop(store);
        self.state.crash();
        self.log.recover();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
