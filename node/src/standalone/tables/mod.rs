//! The tables of this process and everything that is done to them.
//!
//! 1. [`Tables::open`] reads the records and puts every table that is there on the map;
//! 2. [`backend`]: what the gateway asks for becomes intents in a record;
//! 3. [`advance`] carries intents out.

mod advance;
pub mod backend;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use partita_gateway::backend::Account;
use partita_gateway::metrics::Metrics;
use partita_model::error::ApiError;
use partita_model::schema::TableId;
use partita_model::table::record::{Circumstances, Declared, Owner, PartitionLimits, Record};
use partita_model::table::{SpecError, Status, TableDescription, TableSpec};
use partita_replication::{Clock, Store};

use super::catalog::{Catalog, Table};
use crate::routing::Directory;
use crate::serving;
use crate::serving::admission::{Admission, Admitted};
use crate::serving::delivery::Deliveries;

/// Most partitions of a table or index that one process makes: beyond DynamoDB's default quota of 40,000 units a table
/// in one process gains nothing from more groups.
const PARTITIONS_MAX: u64 = 64;
/// The folder of table records within the data folder.
const CATALOG_FOLDER: &str = "catalog";

/// The control plane, and the data plane's way to the partitions.
pub struct Tables {
    /// The data folder's groups.
    pub store: Arc<Store>,
    /// Table records.
    pub catalog: Catalog,
    /// Where each table's partitions are.
    pub directory: Arc<Directory<Admitted>>,
    /// Deliveries to global indexes.
    pub deliveries: Arc<Deliveries<Admitted>>,
    /// What the tables declare of units.
    pub admission: Arc<Admission>,
    /// The wall clock in epoch milliseconds.
    now_ms: Clock,
    /// The gateway's counters, which are told when a table is gone.
    metrics: Arc<Metrics>,
}

/// Why a manifest's table was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The change is not possible.
    #[error("spec.{0}")]
    Spec(#[from] SpecError),
    /// The record could not be written.
    #[error("{}", .0.message)]
    Api(#[from] ApiError),
}

impl Tables {
    /// Reads the records and puts every table that is there on the map. What had been begun goes on by itself.
    pub fn open(
        data: &Path,
        store: Arc<Store>,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        now_ms: Clock,
        index_lag_max: Duration,
    ) -> anyhow::Result<Arc<Self>> {
        let folder = data.join(CATALOG_FOLDER);
        let catalog = Catalog::open(folder).context("table records")?;
        let directory = Arc::new(Directory::new());
        let deliveries = Deliveries::start(
            Arc::clone(&store),
            Arc::clone(&directory),
            Arc::clone(&now_ms),
            index_lag_max,
        );
        deliveries.hold_back_in(&admission);
        let tables = Arc::new(Self {
            store,
            catalog,
            directory,
            deliveries,
            admission,
            now_ms,
            metrics,
        });
        for table in tables.catalog.all() {
            let record = table.record();
            if record.status == Status::Active {
                // What the partitions still have to be told is part of a step that is not done yet.
                let missing = |refusal| anyhow!("table {}: {refusal}", record.spec.name);
                advance::publish(&tables, &record).map_err(missing)?;
            }
            tables.carry_out(&table);
        }
        Ok(tables)
    }

    /// Carries out what a table's record intends, in the background.
    fn carry_out(self: &Arc<Self>, table: &Arc<Table>) {
        if !table.record().settled() {
            tokio::spawn(advance::advance(Arc::clone(self), Arc::clone(table)));
        }
    }

    /// Makes a table.
    pub fn create(self: &Arc<Self>, account: &str, spec: TableSpec, owner: Owner) -> Result<Arc<Table>, ApiError> {
        let record = Record::create(account, spec, owner, TableId(rand::random()), self.circumstances());
        let table = self.catalog.add(record)?;
        self.carry_out(&table);
        Ok(table)
    }

    /// Sets a table's target on behalf of a manifest.
    pub fn declare(self: &Arc<Self>, table: &Arc<Table>, spec: TableSpec, declared: &Declared) -> Result<(), Refused> {
        let at = self.circumstances();
        let mut forbidden = None;
        let changed = self.catalog.change(table, |record| {
            record.owner = Owner::Manifest(declared.clone());
            // Who owns the table is noted even if what it declares is refused.
            let mut wanted = record.clone();
            match wanted.retarget(spec, at) {
                Ok(()) => *record = wanted,
                Err(reason) => forbidden = Some(reason),
            }
            Ok(())
        });
        changed?;
        self.carry_out(table);
        forbidden.map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Removes a table.
    pub fn remove(self: &Arc<Self>, table: &Arc<Table>) -> Result<Arc<Record>, ApiError> {
        let at = self.circumstances();
        let record = self.catalog.change(table, |record| record.delete(at))?;
        self.carry_out(table);
        Ok(record)
    }

    /// Leaves a manifest's table, with its data, to the API.
    pub fn release(&self, table: &Table) -> Result<(), ApiError> {
        self.catalog.change(table, |record| {
            if let Owner::Manifest(declared) = &record.owner {
                record.owner = Owner::Retained(declared.clone());
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Waits until a table is as its record intends (or gone).
    pub async fn settle(&self, table: &Table) {
        loop {
            let changed = table.changed.notified();
            let record = table.record();
            let gone = self
                .catalog
                .table(&record.account, &record.spec.name)
                .is_none_or(|now| now.id != table.id);
            if gone || record.settled() {
                return;
            }
            changed.await;
        }
    }

    /// Waits a moment for the global indexes of a table to have what was written to it by now.
    pub async fn indexes_follow(&self, table: TableId) {
        if let Some(route) = self.directory.route(table) {
            let sources = route.table.leaders().map(|leader| &leader.group);
            self.deliveries.follow_now(sources).await;
        }
    }

    /// How a table is.
    pub fn describe(&self, record: &Record) -> TableDescription {
        let sizes = |group| self.store.group(group).map(|group| serving::sizes(&group));
        record.describe(&sizes, (self.now_ms)())
    }

    /// When and where tables are decided about.
    fn circumstances(&self) -> Circumstances {
        Circumstances {
            now_ms: (self.now_ms)(),
            partitions: PartitionLimits::at_most(PARTITIONS_MAX),
        }
    }

    /// A table is gone: nothing more is counted about it.
    fn forgotten(&self, id: TableId) {
        self.metrics.forget_table(id);
        self.admission.forget(id);
    }

    /// A table that the API may change.
    fn changeable(&self, account: &Account, name: &str) -> Result<Arc<Table>, ApiError> {
        let table = self
            .catalog
            .table(&account.id, name)
            .ok_or_else(|| backend::not_found(name))?;
        match &table.record().owner {
            Owner::Api | Owner::Retained(_) => Ok(table),
            Owner::Manifest(declared) => Err(ApiError::validation(format!(
                "Table {name} is declared by the manifest {} (resource {}): change it there. To hand it over to the \
                 API, remove the manifest with deletionPolicy: Retain.",
                declared.file, declared.resource
            ))),
        }
    }
}
