//! The operations: one file each.
//!
//! 1. [`Operation::from_target`] reads `X-Amz-Target`;
//! 2. [`dispatch`] calls the operation's `handle` with the call's context and the body;
//! 3. the handler answers a finished JSON body, or an error that [`crate::http`] renders.
//!
//! To add an operation: its file, its `mod` line, and its line in the table at the end of this page.

mod batch_get_item;
mod batch_write_item;
mod constraint;
mod control;
mod create_table;
mod data;
mod delete_item;
mod delete_table;
mod describe_continuous_backups;
mod describe_contributor_insights;
mod describe_endpoints;
mod describe_kinesis_streaming_destination;
mod describe_limits;
mod describe_table;
mod describe_time_to_live;
mod get_item;
mod get_resource_policy;
mod list_backups;
mod list_contributor_insights;
mod list_exports;
mod list_global_tables;
mod list_imports;
mod list_tables;
mod list_tags_of_resource;
mod put_item;
mod query;
mod scan;
mod tag_resource;
mod untag_resource;
mod update_continuous_backups;
mod update_item;
mod update_table;
mod update_time_to_live;

use std::borrow::Cow;
use std::sync::Arc;

use partita_model::capacity::HalfUnits;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::schema::TableSchema;

use crate::auth::Permission;
use crate::backend::{Account, Backend};
use crate::metrics::Metrics;

pub(crate) use control::resource::table_arn;

/// What an operation's handler knows besides its body.
pub struct Call<'a, B> {
    /// Tables, reads and writes.
    pub backend: &'a Arc<B>,
    /// Whose tables.
    pub account: &'a Account,
    /// For ARNs.
    pub region: &'a str,
    /// What the client calls this endpoint.
    pub host: Option<&'a str>,
    /// Where the units used are counted.
    pub metrics: &'a Metrics,
}

impl<B> Call<'_, B> {
    /// Counts the read units that a request used on a table and its indexes.
    pub fn count_read(&self, table: &TableSchema, units: HalfUnits) {
        self.metrics.count_units(self.account, table, units, HalfUnits(0));
    }

    /// Counts the write units that a request used on a table and its indexes.
    pub fn count_write(&self, table: &TableSchema, units: HalfUnits) {
        self.metrics.count_units(self.account, table, HalfUnits(0), units);
    }

    /// Counts the items that a Query or Scan returns.
    pub fn count_returned(&self, table: &TableSchema, items: usize) {
        self.metrics.count_returned(self.account, table, items as u64);
    }

    /// Counts a write that was refused by its leader, if its condition did not hold.
    pub fn count_refused(&self, table: &TableSchema, error: &ApiError) {
        if error.code == ErrorCode::ConditionalCheckFailed {
            self.metrics.count_failed_condition(self.account, table);
        }
    }
}

/// A finished JSON body.
pub type Answer = Result<Vec<u8>, ApiError>;

/// The prefix of `X-Amz-Target`: the API's name and version.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";

impl Operation {
    /// The operation that `X-Amz-Target` names.
    pub fn from_target(target: &str) -> Option<Self> {
        Self::from_name(target.strip_prefix(TARGET_PREFIX)?)
    }
}

/// Makes the operations' enum, their names and the dispatch from one table.
macro_rules! operations {
    ($($operation:ident => $handler:path, $permission:ident;)*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($operation), "`")] $operation,)*
        }

        impl Operation {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$operation),*];

            /// Its name in the API, in metrics and in logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => stringify!($operation),)*
                }
            }

            /// What an access key must be allowed to do to call it.
            pub const fn permission(self) -> Permission {
                match self {
                    $(Self::$operation => Permission::$permission,)*
                }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($operation) => Some(Self::$operation),)*
                    _ => None,
                }
            }
        }

        /// Calls the operation's handler.
        pub async fn dispatch<B: Backend>(call: &Call<'_, B>, operation: Operation, body: &[u8]) -> Answer {
            match operation {
                $(Operation::$operation => $handler(call, body).await,)*
            }
        }
    };
}

operations! {
    BatchGetItem => batch_get_item::handle, Data;
    BatchWriteItem => batch_write_item::handle, Data;
    DeleteItem => delete_item::handle, Data;
    GetItem => get_item::handle, Data;
    PutItem => put_item::handle, Data;
    Query => query::handle, Data;
    Scan => scan::handle, Data;
    UpdateItem => update_item::handle, Data;
    CreateTable => create_table::handle, Tables;
    DeleteTable => delete_table::handle, Tables;
    DescribeContinuousBackups => describe_continuous_backups::handle, Data;
    DescribeContributorInsights => describe_contributor_insights::handle, Data;
    DescribeEndpoints => describe_endpoints::handle, Data;
    DescribeKinesisStreamingDestination => describe_kinesis_streaming_destination::handle, Data;
    DescribeLimits => describe_limits::handle, Data;
    DescribeTable => describe_table::handle, Data;
    DescribeTimeToLive => describe_time_to_live::handle, Data;
    GetResourcePolicy => get_resource_policy::handle, Data;
    ListBackups => list_backups::handle, Data;
    ListContributorInsights => list_contributor_insights::handle, Data;
    ListExports => list_exports::handle, Data;
    ListGlobalTables => list_global_tables::handle, Data;
    ListImports => list_imports::handle, Data;
    ListTables => list_tables::handle, Data;
    ListTagsOfResource => list_tags_of_resource::handle, Data;
    TagResource => tag_resource::handle, Tables;
    UntagResource => untag_resource::handle, Tables;
    UpdateContinuousBackups => update_continuous_backups::handle, Tables;
    UpdateTable => update_table::handle, Tables;
    UpdateTimeToLive => update_time_to_live::handle, Tables;
}

/// Operations that AWS has and that are not here, by the prefix of their target: who calls one is told that it is not the
/// name that is wrong.
const NOT_HERE: &[(&str, &[&str])] = &[
    (
        TARGET_PREFIX,
        &[
            "BatchExecuteStatement",
            "CancelBulkOperation",
            "CreateBackup",
            "CreateGlobalTable",
            "DeleteBackup",
            "DeleteResourcePolicy",
            "DescribeBackup",
            "DescribeBulkOperation",
            "DescribeExport",
            "DescribeGlobalTable",
            "DescribeGlobalTableSettings",
            "DescribeImport",
            "DescribeTableReplicaAutoScaling",
            "DisableKinesisStreamingDestination",
            "EnableKinesisStreamingDestination",
            "ExecuteStatement",
            "ExecuteTransaction",
            "ExportTableToPointInTime",
            "ImportTable",
            "ListBulkOperations",
            "PutResourcePolicy",
            "RestoreTableFromBackup",
            "RestoreTableToPointInTime",
            "SearchVectors",
            "StartBulkPutItems",
            "TransactGetItems",
            "TransactWriteItems",
            "UpdateContributorInsights",
            "UpdateGlobalTable",
            "UpdateGlobalTableSettings",
            "UpdateKinesisStreamingDestination",
            "UpdateTableReplicaAutoScaling",
        ],
    ),
    (
        "DynamoDBStreams_20120810.",
        &["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"],
    ),
];

/// What `X-Amz-Target` got when it named no operation of ours. DynamoDB says nothing about a name that is none.
pub fn unknown_operation(target: Option<&str>) -> ApiError {
    let named = |(prefix, names): &(&str, &'static [&'static str])| {
        let name = target?.strip_prefix(prefix)?;
        names.iter().find(|known| **known == name)
    };
    let text = match NOT_HERE.iter().find_map(named) {
        Some(name) => message::operation_not_here(name).into(),
        None => Cow::Borrowed(""),
    };
    ApiError::new(ErrorCode::UnknownOperation, text)
}
