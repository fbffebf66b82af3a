//! Everything about tables: what DescribeTable shows, and CreateTable, UpdateTable, DeleteTable and their like.
//!
//! 1. With the API server ([`tables`]) tables are Table resources: asked for there, carried out by the operator. What they
//!    show is [`view`]'s to say.
//! 2. With another directory, tables are what it says, and cannot be changed through this router.
//! 3. Either way the nodes are asked what the partitions hold ([`sizes`]).

mod patch;
#[cfg(test)]
mod script;
mod sizes;
mod tables;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use partita_crds::Table;
use partita_gateway::backend::Account;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::partition::GroupId;
use partita_model::table::record::{PartitionSizes, Record};
use partita_model::table::{Status, TableDescription, TableSpec, TableUpdate};
use partita_transport::Client;

use crate::directory::{Directory, Entry};
use crate::process::now_ms;
pub use tables::Tables;
use view::{circumstances, view};

/// The control plane.
pub struct Control {
    /// The tables that are known.
    pub directory: Arc<Directory>,
    /// Table resources, if this router has access to them.
    pub tables: Option<Tables>,
    /// The way to the nodes.
    pub client: Client,
}

/// DescribeTable and friends on a table that does not exist.
fn not_found(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, message::table_not_found(name))
}

impl Control {
    /// CreateTable.
    pub async fn create(&self, account: &Account, spec: TableSpec) -> Result<TableDescription, ApiError> {
        let namespace = self.namespace(account)?;
        let table = self.tables()?.create(&namespace, &spec).await?;
        let mut record = view(&table, now_ms()).ok_or_else(|| tables::unusable(&table))?;
        // CreateTable answers how the table begins.
        record.status = Status::Creating;
        Ok(record.describe(&|_| None, now_ms()))
    }

    /// DescribeTable.
    pub async fn describe(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        let entry = self.entry(account, name);
        let Some(tables) = &self.tables else {
            let entry = entry.ok_or_else(|| not_found(name))?;
            return Ok(self.described(entry.record.clone(), Some(&entry), None).await);
        };
        let found = match self.namespace(account) {
            Ok(namespace) => tables.find(&namespace, name).await,
            Err(error) => Err(error),
        };
        match (found, entry) {
            (Ok(table), entry) => {
                let record = view(&table, now_ms()).ok_or_else(|| not_found(name))?;
                let entry = entry.filter(|entry| entry.record.id == record.id);
                Ok(self.described(record, entry.as_deref(), Some(&table)).await)
            }
            // The API server is away, and this router began with what it had kept on disk.
            (Err(_), Some(entry)) if !tables.synced() => {
                Ok(self.described(entry.record.clone(), Some(&entry), None).await)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Table names in order, after `start`, at most `limit`, and whether there are more.
    pub fn names(&self, account: &Account, start: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let synced = self.tables.as_ref().filter(|tables| tables.synced());
        let names: BTreeSet<String> = match (synced, self.namespace(account)) {
            (Some(tables), Ok(namespace)) => tables.names(&namespace),
            _ => {
                let listing = self.directory.current();
                let own = listing.tables.iter().filter(|entry| *entry.account == *account.id);
                own.map(|entry| entry.record.spec.name.clone()).collect()
            }
        };
        let mut rest = names
            .into_iter()
            .filter(|name| start.is_none_or(|start| name.as_str() > start));
        let page: Vec<String> = rest.by_ref().take(limit).collect();
        (page, rest.next().is_some())
    }

    /// UpdateTable.
    pub async fn update(
        &self,
        account: &Account,
        name: &str,
        update: &TableUpdate,
    ) -> Result<TableDescription, ApiError> {
        let change = |record: &mut Record| record.update(update, circumstances(now_ms()));
        let (table, record) = self.change(account, name, &change).await?;
        let entry = self.entry(account, name).filter(|entry| entry.record.id == record.id);
        Ok(self.described(record, entry.as_deref(), Some(&table)).await)
    }

    /// DeleteTable.
    pub async fn delete(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        let namespace = self.namespace(account)?;
        let tables = self.tables()?;
        let entry = self.entry(account, name);
        let (table, record) = tables.delete(&namespace, name).await?;
        let entry = entry.filter(|entry| entry.record.id == record.id);
        Ok(self.described(record, entry.as_deref(), Some(&table)).await)
    }

    /// UpdateTimeToLive.
    pub async fn update_time_to_live(
        &self,
        account: &Account,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> Result<(), ApiError> {
        let change = |record: &mut Record| record.update_time_to_live(attribute, enabled, circumstances(now_ms()));
        self.change(account, name, &change).await?;
        Ok(())
    }

    /// TagResource and UntagResource.
    pub async fn change_tags(
        &self,
        account: &Account,
        name: &str,
        add: &[(String, String)],
        remove: &[String],
    ) -> Result<(), ApiError> {
        let change = |record: &mut Record| record.change_tags(add.to_vec(), remove);
        self.change(account, name, &change).await?;
        Ok(())
    }

    async fn change(
        &self,
        account: &Account,
        name: &str,
        change: &(dyn Fn(&mut Record) -> Result<(), ApiError> + Sync),
    ) -> Result<(Table, Record), ApiError> {
        let namespace = self.namespace(account)?;
        self.tables()?.change(&namespace, name, change).await
    }

    fn entry(&self, account: &Account, name: &str) -> Option<Arc<Entry>> {
        let listing = self.directory.current();
        let of_name = |entry: &&Arc<Entry>| *entry.account == *account.id && entry.record.spec.name == name;
        listing.tables.iter().find(of_name).cloned()
    }

    /// Describes a table, with what its nodes count now, or else what the operator has noted.
    async fn described(&self, mut record: Record, entry: Option<&Entry>, table: Option<&Table>) -> TableDescription {
        let mut known: HashMap<GroupId, PartitionSizes> = HashMap::new();
        if let (Some(tables), Some(table)) = (&self.tables, table) {
            known.extend(
                tables
                    .partitions(table)
                    .iter()
                    .filter_map(|partition| sizes::noted(partition)),
            );
        }
        if let Some(entry) = entry {
            // The nodes of a table that is being made or removed may not be there.
            if entry.served() {
                known.extend(sizes::ask(&self.client, entry).await);
            }
            record.partitions = entry.record.partitions.clone();
            for index in &mut record.global {
                let placed = entry.record.global.iter().find(|placed| placed.id == index.id);
                index.partitions = placed.map(|placed| placed.partitions.clone()).unwrap_or_default();
            }
        }
        record.describe(&|group| known.get(&group).cloned(), now_ms())
    }

    fn tables(&self) -> Result<&Tables, ApiError> {
        self.tables.as_ref().ok_or_else(|| {
            let message = "This router has no access to Table resources (its directory is not the Kubernetes API \
                           server): make, change and remove tables where it has";
            ApiError::new(ErrorCode::AccessDenied, message)
        })
    }

    /// The namespace that an account is.
    fn namespace(&self, account: &Account) -> Result<Arc<str>, ApiError> {
        if let Some(namespace) = &account.namespace {
            return Ok(Arc::clone(namespace));
        }
        let listing = self.directory.current();
        let known = listing.tables.iter().find(|entry| *entry.account == *account.id);
        let known = known.map(|entry| Arc::from(entry.namespace.as_str()));
        known.ok_or_else(|| {
            let message = format!("It is not known which namespace the account {} is", account.id);
            ApiError::new(ErrorCode::AccessDenied, message)
        })
    }
}
