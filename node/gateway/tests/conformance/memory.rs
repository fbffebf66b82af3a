//! Tables in memory: the data plane's backend as simple as it can be, to test the gateway against.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeBounds;
use std::sync::Arc;

use parking_lot::RwLock;
use partita_gateway::backend::{Account, Backend};
use partita_model::capacity::{HalfUnits, ReadCost, WriteCost, read_units, write_units};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::item::{Item, ItemRef};
use partita_model::key::KeyBytes;
use partita_model::key::range::is_empty;
use partita_model::message;
use partita_model::request::{
    Action, GetReply, GetRequest, PageReply, PageRequest, Refusal, ReturnValues, Target, WriteReply, WriteRequest,
};
use partita_model::schema::{
    GlobalIndex, IndexId, IndexProjection, KeyAttribute, KeySchema, LocalIndex, ScalarType, SchemaVersion, TableId,
    TableSchema,
};
use partita_model::table::{TableDescription, TableSpec, TableUpdate};
use serde_json::Value;

/// All tables.
#[derive(Default)]
pub struct Memory {
    tables: RwLock<HashMap<String, Arc<Table>>>,
}

struct Table {
    schema: Arc<TableSchema>,
    items: RwLock<BTreeMap<KeyBytes, Item>>,
}

impl Memory {
    /// Makes a table from CreateTable's parameters, which must be right.
    pub fn create(&self, request: &Value) {
        let mut tables = self.tables.write();
        let schema = Arc::new(schema_of(request, tables.len() as u64));
        let table = Table {
            schema: schema.clone(),
            items: RwLock::default(),
        };
        tables.insert(schema.name.clone(), Arc::new(table));
    }

    fn table_of(&self, id: TableId) -> Arc<Table> {
        let tables = self.tables.read();
        tables.values().find(|table| table.schema.id == id).unwrap().clone()
    }
}

fn schema_of(request: &Value, number: u64) -> TableSchema {
    let types: HashMap<&str, ScalarType> = elements(&request["AttributeDefinitions"])
        .map(|definition| {
            let kind = match text(&definition["AttributeType"]) {
                "S" => ScalarType::S,
                "N" => ScalarType::N,
                _ => ScalarType::B,
            };
            (text(&definition["AttributeName"]), kind)
        })
        .collect();
    let keys_of = |keys: &Value, wanted: &str| -> Vec<KeyAttribute> {
        let keys = elements(keys).filter(|key| text(&key["KeyType"]) == wanted);
        keys.map(|key| {
            let name = text(&key["AttributeName"]);
            KeyAttribute {
                name: name.into(),
                kind: types[name],
            }
        })
        .collect()
    };
    let schema = |keys: &Value| KeySchema {
        hash: keys_of(keys, "HASH"),
        range: keys_of(keys, "RANGE"),
    };
    let projection = |index: &Value| match text(&index["Projection"]["ProjectionType"]) {
        "ALL" => IndexProjection::All,
        "KEYS_ONLY" => IndexProjection::KeysOnly,
        _ => IndexProjection::Include(
            elements(&index["Projection"]["NonKeyAttributes"])
                .map(|n| text(n).into())
                .collect(),
        ),
    };
    let local = elements(&request["LocalSecondaryIndexes"])
        .zip(1..)
        .map(|(index, id)| LocalIndex {
            id: IndexId(id),
            name: text(&index["IndexName"]).into(),
            keys: schema(&index["KeySchema"]),
            projection: projection(index),
        });
    let global = elements(&request["GlobalSecondaryIndexes"])
        .zip(100..)
        .map(|(index, id)| GlobalIndex {
            id: IndexId(id),
            table: TableId(1000 * (number + 1) + u64::from(id)),
            seed: u64::from(id),
            name: text(&index["IndexName"]).into(),
            keys: schema(&index["KeySchema"]),
            projection: projection(index),
            readable: !text(&index["IndexName"]).contains("backfilling"),
        });
    TableSchema {
        id: TableId(number),
        seed: 7,
        version: SchemaVersion(1),
        name: text(&request["TableName"]).into(),
        keys: schema(&request["KeySchema"]),
        local: local.collect(),
        global: global.collect(),
        time_to_live: None,
        stream: None,
    }
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Table {
    fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let mut items = self.items.write();
        let old = items.get(&request.key).cloned();
        let old_ref = old.as_ref().map(Item::as_ref);
        if request
            .condition
            .as_ref()
            .is_some_and(|condition| !condition.matches(old_ref))
        {
            let mut error = ApiError::new(ErrorCode::ConditionalCheckFailed, message::CONDITION_FAILED);
            error.item = old.filter(|_| request.return_item_on_failure).map(Box::new);
            return Err(error.into());
        }
        let (new, update) = match request.action {
            Action::Put(item) => (Some(item), None),
            Action::Delete { .. } => (None, None),
            Action::Update { key, update } => {
                let new = update.apply(old_ref, key.as_ref())?;
                self.schema.check_updated(old_ref, new.as_ref())?;
                let makes_item = old.is_some() || !update.makes_no_item();
                (makes_item.then_some(new), Some(update))
            }
        };
        let cost = self.cost(old_ref, new.as_ref().map(Item::as_ref));
        let attributes = match (request.return_values, update) {
            (ReturnValues::None, _) => None,
            (ReturnValues::AllOld, _) => old.clone(),
            (ReturnValues::AllNew, _) => new.clone(),
            (ReturnValues::UpdatedOld, update) => update.and_then(|update| update.updated_old(old_ref)),
            (ReturnValues::UpdatedNew, update) => update.and_then(|update| update.updated_new(new.as_ref()?.as_ref())),
        };
        match new {
            Some(item) => items.insert(request.key, item),
            None => items.remove(&request.key),
        };
        let collection_bytes = (!self.schema.local.is_empty()).then(|| items.values().map(|i| i.as_ref().size()).sum());
        Ok(WriteReply {
            attributes,
            cost,
            collection_bytes,
        })
    }

    fn cost(&self, old: Option<ItemRef<'_>>, new: Option<ItemRef<'_>>) -> WriteCost {
        let size = |item: Option<ItemRef<'_>>| item.map_or(0, |item| item.size());
        let rows = |row: &dyn Fn(ItemRef<'_>) -> Option<(KeyBytes, Item)>| {
            let (old, new) = (old.and_then(row), new.and_then(row));
            match (old, new) {
                (None, None) => HalfUnits(0),
                (Some((_, row)), None) | (None, Some((_, row))) => write_units(row.as_ref().size()),
                (Some(old), Some(new)) if old == new => HalfUnits(0),
                (Some((old_key, old)), Some((new_key, new))) if old_key == new_key => {
                    write_units(old.as_ref().size().max(new.as_ref().size()))
                }
                (Some((_, old)), Some((_, new))) => write_units(old.as_ref().size()) + write_units(new.as_ref().size()),
            }
        };
        let local = self.schema.local.iter();
        let local = local.map(|index| (index.id, rows(&|item| self.schema.local_row(index, item))));
        let global = self.schema.global.iter();
        let global = global.map(|index| (index.id, rows(&|item| self.schema.global_row(index, item))));
        let touched = |(_, units): &(IndexId, HalfUnits)| units.0 > 0;
        WriteCost {
            table: write_units(size(old).max(size(new))),
            local: local.filter(touched).collect(),
            global: global.filter(touched).collect(),
        }
    }

    /// The rows of a target, and the keys that name them.
    fn rows(&self, target: Target) -> (BTreeMap<KeyBytes, Item>, Option<&KeySchema>) {
        let items = self.items.read();
        match target {
            Target::Table => (items.clone(), None),
            Target::Local(id) => {
                let index = self.schema.local_index(id).unwrap();
                let rows = items
                    .values()
                    .filter_map(|item| self.schema.local_row(index, item.as_ref()));
                (rows.collect(), Some(&index.keys))
            }
            Target::Global(id) => {
                let index = self.schema.global_index(id).unwrap();
                let rows = items
                    .values()
                    .filter_map(|item| self.schema.global_row(index, item.as_ref()));
                (rows.collect(), Some(&index.keys))
            }
        }
    }

    fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        let mut reply = PageReply::default();
        if is_empty(&request.range) {
            return Ok(reply);
        }
        let (rows, keys) = self.rows(request.target);
        let bounds = (request.range.0.as_ref(), request.range.1.as_ref());
        let mut rows: Vec<_> = rows.into_iter().filter(|(key, _)| bounds.contains(key)).collect();
        if request.reverse {
            rows.reverse();
        }
        for (key, row) in rows {
            reply.scanned += 1;
            reply.bytes += row.as_ref().size();
            let named = match keys {
                None => self.schema.key_item(row.as_ref()),
                Some(keys) => self.schema.index_key_item(keys, row.as_ref()),
            };
            self.add(&mut reply, &request, row)?;
            if request.limit == Some(reply.scanned) || reply.bytes >= u64::from(request.bytes_max) {
                reply.last = Some((key, named));
                break;
            }
        }
        Ok(reply)
    }

    /// Adds a row to a page: filtered, fetched, projected.
    fn add(&self, reply: &mut PageReply, request: &PageRequest, row: Item) -> Result<(), Refusal> {
        let row = if request.fetch_from_table {
            let key = self.schema.check_key(self.schema.key_item(row.as_ref()).as_ref())?;
            let item = self.items.read()[&key].clone();
            reply.fetch_half_units += read_units(item.as_ref().size(), request.consistent).0;
            item
        } else {
            row
        };
        if request
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.matches(Some(row.as_ref())))
        {
            return Ok(());
        }
        reply.count += 1;
        if !request.count_only {
            reply.items.push(match &request.projection {
                None => row,
                Some(projection) => projection.apply(row.as_ref()),
            });
        }
        Ok(())
    }
}

fn no_control_plane<T>() -> Result<T, ApiError> {
    Err(ApiError::new(
        ErrorCode::UnknownOperation,
        "tables in memory are made by the test",
    ))
}

impl Backend for Memory {
    fn table(&self, _account: &Account, name: &str) -> Option<Arc<TableSchema>> {
        self.tables.read().get(name).map(|table| table.schema.clone())
    }

    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let table = self.table_of(request.table);
        let item = table.items.read().get(&request.key).cloned();
        let bytes = item.as_ref().map_or(0, |item| item.as_ref().size());
        let item = match (item, &request.projection) {
            (Some(item), Some(projection)) => Some(projection.apply(item.as_ref())),
            (item, _) => item,
        };
        Ok(GetReply {
            item,
            cost: ReadCost(read_units(bytes, request.consistent)),
        })
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        self.table_of(request.table).write(request)
    }

    async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        self.table_of(request.table).page(request)
    }

    async fn create_table(&self, _: &Account, _: TableSpec) -> Result<TableDescription, ApiError> {
        no_control_plane()
    }

    async fn describe_table(&self, _: &Account, _: &str) -> Result<TableDescription, ApiError> {
        no_control_plane()
    }

    async fn list_tables(&self, _: &Account, _: Option<&str>, _: usize) -> Result<(Vec<String>, bool), ApiError> {
        no_control_plane()
    }

    async fn update_table(&self, _: &Account, _: &str, _: TableUpdate) -> Result<TableDescription, ApiError> {
        no_control_plane()
    }

    async fn delete_table(&self, _: &Account, _: &str) -> Result<TableDescription, ApiError> {
        no_control_plane()
    }

    async fn update_time_to_live(&self, _: &Account, _: &str, _: &str, _: bool) -> Result<(), ApiError> {
        no_control_plane()
    }

    async fn tag_table(&self, _: &Account, _: &str, _: Vec<(String, String)>, _: Vec<String>) -> Result<(), ApiError> {
        no_control_plane()
    }
}
