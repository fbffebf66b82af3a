//! What the gateway needs from whatever is behind it: the same process (standalone) or other processes (router).

use std::future::Future;
use std::sync::Arc;

use partita_model::error::ApiError;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::TableSchema;
use partita_model::table::{TableDescription, TableSpec, TableUpdate};

/// A namespace of tables: an AWS account, as far as clients can see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// Twelve digits.
    pub id: Arc<str>,
    /// The Kubernetes namespace that it is, if it is one.
    pub namespace: Option<Arc<str>>,
}

impl Account {
    /// An account that is no namespace.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            namespace: None,
        }
    }

    /// The account that a namespace is.
    pub fn of_namespace(namespace: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            namespace: Some(namespace.into()),
        }
    }
}

/// Reads and writes, and the tables they are about.
///
/// The data operations take complete requests (`partita_model::request`) and find the partition by themselves; the
/// gateway calls `table` again and validates anew when one answers `Refusal::StaleSchema`.
pub trait Backend: Send + Sync + 'static {
    /// The schema of a table that can be read and written now; `None` also while it is being created or deleted.
    /// On the path of every request: no I/O.
    fn table(&self, account: &Account, name: &str) -> Option<Arc<TableSchema>>;

    /// Waits a moment for a table that is not there: it may have been made through somebody else, whose news is on its way.
    /// A backend that makes all tables by itself knows them.
    fn table_soon(&self, _account: &Account, _name: &str) -> impl Future<Output = Option<Arc<TableSchema>>> + Send {
        std::future::ready(None)
    }

    /// One item by primary key.
    fn get(&self, request: GetRequest) -> impl Future<Output = Result<GetReply, Refusal>> + Send;

    /// One conditional write. It is durable when this returns `Ok`.
    fn write(&self, request: WriteRequest) -> impl Future<Output = Result<WriteReply, Refusal>> + Send;

    /// One page of rows in key order, across partitions.
    fn page(&self, request: PageRequest) -> impl Future<Output = Result<PageReply, Refusal>> + Send;

    /// Makes a table; the description says `Creating`.
    fn create_table(
        &self,
        account: &Account,
        spec: TableSpec,
    ) -> impl Future<Output = Result<TableDescription, ApiError>> + Send;

    /// A table as it is, also while it is being created or deleted.
    fn describe_table(
        &self,
        account: &Account,
        name: &str,
    ) -> impl Future<Output = Result<TableDescription, ApiError>> + Send;

    /// Table names in order, after `start`, at most `limit`; the second part is whether there are more.
    fn list_tables(
        &self,
        account: &Account,
        start: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<String>, bool), ApiError>> + Send;

    /// Changes a table; the description says `Updating`.
    fn update_table(
        &self,
        account: &Account,
        name: &str,
        update: TableUpdate,
    ) -> impl Future<Output = Result<TableDescription, ApiError>> + Send;

    /// Removes a table; the description says `Deleting`.
    fn delete_table(
        &self,
        account: &Account,
        name: &str,
    ) -> impl Future<Output = Result<TableDescription, ApiError>> + Send;

    /// Switches time to live on (with the attribute's name) or off.
    fn update_time_to_live(
        &self,
        account: &Account,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Adds tags and removes others; the rules on keys and counts have been checked against `describe_table` before,
    /// and are checked again here.
    fn tag_table(
        &self,
        account: &Account,
        name: &str,
        add: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
}
