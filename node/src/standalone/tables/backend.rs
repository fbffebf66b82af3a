//! What the gateway asks for.

use std::sync::Arc;
use std::time::Duration;

use partita_gateway::backend::{Account, Backend};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, Target, WriteReply, WriteRequest};
use partita_model::schema::TableSchema;
use partita_model::table::record::{Owner, Record};
use partita_model::table::{Status, TableDescription, TableSpec, TableUpdate};

use super::super::catalog::Table;
use super::Tables;

/// How long an operation on a table waits for what it has begun (its answer says how that began). A client that looks
/// right after the answer and finds it unfinished does not look again for 20 seconds: such are the waiters of AWS's SDKs.
/// What takes longer, an index over many items, say, goes on behind the answer.
const BEGUN_MAX: Duration = Duration::from_secs(5);

/// The API in front of the tables of this process.
#[derive(Clone)]
pub struct Local(pub Arc<Tables>);

/// DescribeTable and friends on a table that does not exist.
pub fn not_found(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, message::table_not_found(name))
}

impl Local {
    /// Gives what was begun about a table the time that it usually takes.
    async fn begun(&self, table: &Table) {
        let _ = tokio::time::timeout(BEGUN_MAX, self.0.settle(table)).await;
    }
}

impl Backend for Local {
    fn table(&self, account: &Account, name: &str) -> Option<Arc<TableSchema>> {
        self.0.catalog.served(&account.id, name)
    }

    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        self.0.directory.get(request).await
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        self.0.directory.write(request).await
    }

    async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        if let Target::Global(_) = request.target {
            self.0.indexes_follow(request.table).await;
        }
        self.0.directory.page(request).await
    }

    async fn create_table(&self, account: &Account, spec: TableSpec) -> Result<TableDescription, ApiError> {
        let table = self.0.create(&account.id, spec, Owner::Api)?;
        // The record may have come further meanwhile; CreateTable answers how it began.
        let record = Record {
            status: Status::Creating,
            ..Record::clone(&table.record())
        };
        let created = self.0.describe(&record);
        self.begun(&table).await;
        Ok(created)
    }

    async fn describe_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        let table = self.0.catalog.table(&account.id, name).ok_or_else(|| not_found(name))?;
        Ok(self.0.describe(&table.record()))
    }

    async fn list_tables(
        &self,
        account: &Account,
        start: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), ApiError> {
        Ok(self.0.catalog.names(&account.id, start, limit))
    }

    async fn update_table(
        &self,
        account: &Account,
        name: &str,
        update: TableUpdate,
    ) -> Result<TableDescription, ApiError> {
        let table = self.0.changeable(account, name)?;
        let at = self.0.circumstances();
        let record = self.0.catalog.change(&table, |record| record.update(&update, at))?;
        self.0.carry_out(&table);
        let updated = self.0.describe(&record);
        self.begun(&table).await;
        Ok(updated)
    }

    async fn delete_table(&self, account: &Account, name: &str) -> Result<TableDescription, ApiError> {
        let table = self.0.changeable(account, name)?;
        let record = self.0.remove(&table)?;
        let deleted = self.0.describe(&record);
        self.begun(&table).await;
        Ok(deleted)
    }

    async fn update_time_to_live(
        &self,
        account: &Account,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> Result<(), ApiError> {
        let table = self.0.changeable(account, name)?;
        let at = self.0.circumstances();
        self.0
            .catalog
            .change(&table, |record| record.update_time_to_live(attribute, enabled, at))?;
        self.0.carry_out(&table);
        self.begun(&table).await;
        Ok(())
    }

    async fn tag_table(
        &self,
        account: &Account,
        name: &str,
        add: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<(), ApiError> {
        let table = self.0.changeable(account, name)?;
        self.0
            .catalog
            .change(&table, |record| record.change_tags(add, &remove))?;
        Ok(())
    }
}
