//! What the gateway asks for.
//!
//! Reads and writes go to the partitions' leaders ([`super::map`]); a partition that cannot be reached is tried again for
//! a while, by the rules of [`patiently`](Routed::patiently). Everything about tables is [`super::control`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use partita_gateway::backend::{Account, Backend};
use partita_model::error::ApiError;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::{SchemaVersion, TableId, TableSchema};
use partita_model::table::{TableDescription, TableSpec, TableUpdate};
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::control::Control;
use super::map::Map;
use super::remote::Remote;
use crate::routing::TableRoute;

/// How long a request waits for a partition that cannot be reached: the restart of a process is often over by then, and
/// clients (whose own patience is longer) try again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the second attempt; it doubles with each further one. Random: up to this much.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest pause: a leader that was lost has a successor within a second or so, which is found at once.
const PAUSE_LONGEST: Duration = Duration::from_millis(100);

/// How long a request waits for a table that is not in the map. A table is made through one router and used through another,
/// a moment later: the news of it takes some milliseconds to get there.
const NEWS_MAX: Duration = Duration::from_millis(500);

/// The API in front of partitions in other processes.
pub struct Routed {
    /// Where they are.
    pub map: Arc<Map>,
    /// Who makes, changes and removes tables.
    pub control: Control,
    /// How often a request has waited before it was sent again.
    pub pauses: Arc<AtomicU64>,
}

impl Routed {
    /// Asks until there is an answer, as long as nobody did anything and it can be another one next time.
    async fn patiently<T, F>(&self, table: TableId, version: SchemaVersion, ask: impl Fn() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        loop {
            let route = self.map.routes.route(table);
            match ask().await {
                // Nobody there, or a node that says that it is not the one.
                Err(Refusal::NotLeader) => {}
                Err(Refusal::WrongRange) => {
                    // As a rule the one who refused has said who has the keys.
                    if self.has_learned(table, route) && Instant::now() < deadline {
                        continue;
                    }
                    self.map.ask_around(table).await;
                }
                Err(Refusal::StaleSchema) => {
                    // The gateway asks for the schema anew. If none was learned it would get the same: not at once.
                    if self.map.version(table).is_some_and(|known| known <= version) {
                        sleep(jittered(pause)).await;
                    }
                    return Err(Refusal::StaleSchema);
                }
                answer => return answer,
            }
            if Instant::now() + pause >= deadline {
                return Err(Refusal::NotLeader);
            }
            self.pauses.fetch_add(1, Ordering::Relaxed);
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }
}

impl Routed {
    /// Whether the way to a table is another one by now.
    fn has_learned(&self, table: TableId, before: Option<Arc<TableRoute<Remote>>>) -> bool {
        match (self.map.routes.route(table), before) {
            (Some(now), Some(before)) => !Arc::ptr_eq(&now, &before),
            (Some(_), None) | (None, _) => false,
        }
    }
}

/// So that those who failed together do not try again together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

impl Backend for Routed {
    fn table(&self, account: &Account, name: &str) -> Option<Arc<TableSchema>> {
        self.map.schema(&account.id, name)
    }

    async fn table_soon(&self, account: &Account, name: &str) -> Option<Arc<TableSchema>> {
        let appears = async {
            let mut changes = self.map.routes.changes();
            loop {
                changes.mark_unchanged();
                if let Some(schema) = self.map.schema(&account.id, name) {
                    return Some(schema);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(NEWS_MAX, appears).await.ok().flatten()
    }

    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        self.patiently(request.table, request.schema_version, || {
            self.map.routes.get(request.clone())
        })
        .await
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        self.patiently(request.table, request.schema_version, || {
            self.map.routes.write(request.clone())
        })
        .await
    }

    async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        self.patiently(request.table, request.schema_version, || {
            self.map.routes.page(request.clone())
        })
        .await
    }

    async fn create_table(&self, account: &Account, spec: TableSpec) -> Result<TableDescription, ApiError> {
        self.control.create(account, spec).await
    }

    async fn describe_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        self.control.describe(account, name).await
    }

    async fn list_tables(
        &self,
        account: &Account,
        start: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), ApiError> {
        Ok(self.control.names(account, start, limit))
    }

    async fn update_table(
        &self,
        account: &Account,
        name: &str,
        update: TableUpdate,
    ) -> Result<TableDescription, ApiError> {
        self.control.update(account, name, &update).await
    }

    async fn delete_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        self.control.delete(account, name).await
    }

    async fn update_time_to_live(
        &self,
        account: &Account,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> Result<(), ApiError> {
        self.control
            .update_time_to_live(account, name, attribute, enabled)
            .await
    }

    async fn tag_table(
        &self,
        account: &Account,
        name: &str,
        add: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<(), ApiError> {
        self.control.change_tags(account, name, &add, &remove).await
    }
}
