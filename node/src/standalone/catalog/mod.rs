//! The tables of this process: durable records, and the map that requests look tables up in.
//!
//! 1. [`Record`]: what is kept of a table;
//! 2. [`files`]: records on disk, replaced as a whole and synced;
//! 3. [`Catalog`]: records in memory. A change is written before it is seen. What can be read and written now is
//!    *served*: [`Catalog::served`] is the look-up of every request and does no I/O.

mod files;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::schema::{TableId, TableSchema};
use partita_model::table::Status;
use partita_model::table::record::Record;

use files::CatalogFiles;

/// A table of this process.
pub struct Table {
    /// Its id.
    pub id: TableId,
    record: RwLock<Arc<Record>>,
    /// Steps of its transitions happen one after the other.
    pub steps: tokio::sync::Mutex<()>,
    /// Woken after each change of the record.
    pub changed: tokio::sync::Notify,
}

impl Table {
    fn new(record: Record) -> Arc<Self> {
        Arc::new(Self {
            id: record.id,
            record: RwLock::new(Arc::new(record)),
            steps: tokio::sync::Mutex::new(()),
            changed: tokio::sync::Notify::new(),
        })
    }

    /// The record as it is on disk.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read())
    }
}

/// Tables by name, in order.
type Names = BTreeMap<String, Arc<Table>>;
/// Schemas by name.
type Served = HashMap<String, Arc<TableSchema>>;

/// Every table, by account and name.
pub struct Catalog {
    files: CatalogFiles,
    tables: RwLock<BTreeMap<String, Names>>,
    served: RwLock<HashMap<String, Served>>,
    /// Changes are written one after the other.
    writing: Mutex<()>,
}

impl Catalog {
    /// Reads all records.
    pub fn open(folder: PathBuf) -> anyhow::Result<Self> {
        let (files, records) = CatalogFiles::open(folder)?;
        let mut tables: BTreeMap<String, Names> = BTreeMap::new();
        for record in records {
            let names = tables.entry(record.account.clone()).or_default();
            let name = record.spec.name.clone();
            if let Some(other) = names.insert(name.clone(), Table::new(record)) {
                anyhow::bail!(
                    "two records of a table named {name} (ids {:016x} and another)",
                    other.id.0
                );
            }
        }
        Ok(Self {
            files,
            tables: RwLock::new(tables),
            served: RwLock::new(HashMap::new()),
            writing: Mutex::new(()),
        })
    }

    /// A table, whatever its status.
    pub fn table(&self, account: &str, name: &str) -> Option<Arc<Table>> {
        self.tables.read().get(account)?.get(name).cloned()
    }

    /// All tables.
    pub fn all(&self) -> Vec<Arc<Table>> {
        self.tables
            .read()
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// An account's table names after `start`, at most `limit`, and whether there are more.
    pub fn names(&self, account: &str, start: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let tables = self.tables.read();
        let Some(names) = tables.get(account) else {
            return (Vec::new(), false);
        };
        let mut rest = names
            .keys()
            .filter(|name| start.is_none_or(|start| name.as_str() > start));
        let page: Vec<String> = rest.by_ref().take(limit).cloned().collect();
        (page, rest.next().is_some())
    }

    /// The schema of a table that can be read and written now.
    pub fn served(&self, account: &str, name: &str) -> Option<Arc<TableSchema>> {
        self.served.read().get(account)?.get(name).cloned()
    }

    /// Lets a table be read and written, with this schema from now on.
    pub fn serve(&self, account: &str, schema: TableSchema) {
        let mut served = self.served.write();
        let names = served.entry(account.to_owned()).or_default();
        names.insert(schema.name.clone(), Arc::new(schema));
    }

    /// Ends reading and writing of a table.
    pub fn withdraw(&self, account: &str, name: &str) {
        if let Some(names) = self.served.write().get_mut(account) {
            names.remove(name);
        }
    }

    /// Adds a table; durable on return.
    ///
    /// # Errors
    /// `ResourceInUse` when there is one of that name.
    pub fn add(&self, record: Record) -> Result<Arc<Table>, ApiError> {
        blocking(|| {
            let _writing = self.writing.lock();
            let name = record.spec.name.clone();
            if let Some(taken) = self.table(&record.account, &name) {
                let message = match taken.record().status {
                    Status::Creating => message::table::table_in_use(&name, "created"),
                    Status::Deleting => message::table::table_in_use(&name, "deleted"),
                    Status::Active | Status::Updating => message::table::table_exists(&name),
                };
                return Err(ApiError::new(ErrorCode::ResourceInUse, message));
            }
            self.files.write(&record).map_err(|error| failed(&record, &error))?;
            let account = record.account.clone();
            let table = Table::new(record);
            self.tables
                .write()
                .entry(account)
                .or_default()
                .insert(name, Arc::clone(&table));
            Ok(table)
        })
    }

    /// Changes a table's record; durable on return. Nothing changes when `change` refuses.
    pub fn change(
        &self,
        table: &Table,
        change: impl FnOnce(&mut Record) -> Result<(), ApiError>,
    ) -> Result<Arc<Record>, ApiError> {
        blocking(|| {
            let _writing = self.writing.lock();
            let before = table.record();
            let now = self.table(&before.account, &before.spec.name);
            if now.is_none_or(|now| now.id != table.id) {
                let name = &before.spec.name;
                return Err(ApiError::new(
                    ErrorCode::ResourceNotFound,
                    message::table_not_found(name),
                ));
            }
            let mut record = Record::clone(&before);
            change(&mut record)?;
            if record == *before {
                return Ok(before);
            }
            self.files.write(&record).map_err(|error| failed(&record, &error))?;
            let record = Arc::new(record);
            *table.record.write() = Arc::clone(&record);
            table.changed.notify_waiters();
            Ok(record)
        })
    }

    /// Forgets a table whose partitions are gone; durable on return.
    pub fn remove(&self, table: &Table) -> Result<(), ApiError> {
        blocking(|| {
            let _writing = self.writing.lock();
            let record = table.record();
            self.files.remove(record.id).map_err(|error| failed(&record, &error))?;
            if let Some(names) = self.tables.write().get_mut(&record.account) {
                names.remove(&record.spec.name);
            }
            table.changed.notify_waiters();
            Ok(())
        })
    }
}

/// Runs what waits for the disk (or for somebody who does) without holding up the other tasks of this thread.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The record could not be written: the caller learns that nothing was promised, the log says why.
fn failed(record: &Record, error: &std::io::Error) -> ApiError {
    tracing::error!(table = record.spec.name, %error, "the table's record could not be written");
    ApiError::new(ErrorCode::InternalServerError, "Internal server error")
}
