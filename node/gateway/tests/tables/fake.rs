//! Tables without items: the control plane's backend as simple as it can be.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use partita_gateway::backend::{Account, Backend};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::message::table as text;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::{TableId, TableSchema};
use partita_model::table::{
    GlobalIndexState, GlobalIndexUpdate, Status, TableDescription, TableSpec, TableUpdate, TimeToLiveStatus,
};

/// Describing a table of this name panics.
pub const PANICS: &str = "panics";
/// Describing a table of this name takes until [`Fake::release`].
pub const WAITS: &str = "waits";

/// All tables. What is created is active at once; the answers say otherwise, as DynamoDB's do.
#[derive(Default)]
pub struct Fake {
    tables: Mutex<BTreeMap<String, TableDescription>>,
    released: tokio::sync::Notify,
}

impl Fake {
    /// Lets the descriptions of [`WAITS`] go on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut TableDescription) -> Result<(), ApiError>,
    ) -> Result<TableDescription, ApiError> {
        let mut tables = self.tables.lock();
        let table = tables.get_mut(name).ok_or_else(|| not_found(name))?;
        change(table)?;
        Ok(table.clone())
    }
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, message::table_not_found(name))
}

fn with_status(mut table: TableDescription, status: Status) -> TableDescription {
    table.status = status;
    table
}

fn described(spec: TableSpec) -> TableDescription {
    let state = |name: &String| GlobalIndexState {
        name: name.clone(),
        status: Status::Active,
        backfilling: None,
        items: 0,
        bytes: 0,
        last_increase_ms: None,
        last_decrease_ms: None,
        decreases_today: 0,
    };
    TableDescription {
        id: TableId(7),
        status: Status::Active,
        created_ms: 1_500_000_000_123,
        items: 0,
        bytes: 0,
        local: vec![(0, 0); spec.local.len()],
        global: spec.global.iter().map(|index| state(&index.name)).collect(),
        on_demand_since_ms: None,
        last_increase_ms: None,
        last_decrease_ms: None,
        decreases_today: 0,
        stream_label: spec.stream.map(|_| "2017-07-14T02:40:00.123".to_owned()),
        class_since_ms: None,
        time_to_live: TimeToLiveStatus::Disabled,
        spec,
    }
}

impl Backend for Fake {
    fn table(&self, _: &Account, _: &str) -> Option<Arc<TableSchema>> {
        None
    }

    async fn get(&self, _: GetRequest) -> Result<GetReply, Refusal> {
        Err(Refusal::Stopping)
    }

    async fn write(&self, _: WriteRequest) -> Result<WriteReply, Refusal> {
        Err(Refusal::Stopping)
    }

    async fn page(&self, _: PageRequest) -> Result<PageReply, Refusal> {
        Err(Refusal::Stopping)
    }

    async fn create_table(&self, _: &Account, spec: TableSpec) -> Result<TableDescription, ApiError> {
        let mut tables = self.tables.lock();
        if tables.contains_key(&spec.name) {
            return Err(ApiError::new(ErrorCode::ResourceInUse, text::table_exists(&spec.name)));
        }
        let table = described(spec);
        tables.insert(table.spec.name.clone(), table.clone());
        Ok(with_status(table, Status::Creating))
    }

    async fn describe_table(&self, _: &Account, name: &str) -> Result<TableDescription, ApiError> {
        assert_ne!(name, PANICS, "as asked");
        if name == WAITS {
            self.released.notified().await;
        }
        self.change(name, |_| Ok(()))
    }

    async fn list_tables(
        &self,
        _: &Account,
        start: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), ApiError> {
        let tables = self.tables.lock();
        let from = start.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names: Vec<String> = tables
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(name, _)| name.clone())
            .collect();
        let more = names.len() > limit;
        names.truncate(limit);
        Ok((names, more))
    }

    async fn update_table(&self, _: &Account, name: &str, update: TableUpdate) -> Result<TableDescription, ApiError> {
        let table = self.change(name, |table| {
            let mut spec = table.updated(&update)?;
            for change in &update.global {
                if let GlobalIndexUpdate::Delete(name) = change {
                    spec.remove_global_index(name);
                }
            }
            *table = described(spec);
            Ok(())
        })?;
        Ok(with_status(table, Status::Updating))
    }

    async fn delete_table(&self, _: &Account, name: &str) -> Result<TableDescription, ApiError> {
        let table = self.tables.lock().remove(name).ok_or_else(|| not_found(name))?;
        Ok(with_status(table, Status::Deleting))
    }

    async fn update_time_to_live(
        &self,
        _: &Account,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> Result<(), ApiError> {
        let changed = self.change(name, |table| {
            table.spec.time_to_live = enabled.then(|| attribute.to_owned());
            table.time_to_live = if enabled {
                TimeToLiveStatus::Enabled
            } else {
                TimeToLiveStatus::Disabled
            };
            Ok(())
        });
        changed.map(drop)
    }

    async fn tag_table(
        &self,
        _: &Account,
        name: &str,
        add: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<(), ApiError> {
        let changed = self.change(name, |table| {
            let tags = &mut table.spec.tags;
            tags.retain(|(key, _)| !remove.contains(key) && !add.iter().any(|(added, _)| added == key));
            tags.extend(add);
            tags.sort();
            Ok(())
        });
        changed.map(drop)
    }
}
