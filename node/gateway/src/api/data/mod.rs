//! What the operations on items share.
//!
//! 1. `parameters`: members that several operations have, and their constraints;
//! 2. `expressions`: expressions and their older equivalents, parsed;
//! 3. `write` for PutItem, UpdateItem and DeleteItem, `batch` for the batches, `page` (with `rows`, `select` and
//!    `start_key`) for Query and Scan;
//! 4. `consumed`: `ConsumedCapacity`; `refusal`: what a client hears when a leader refuses.

pub mod batch;
pub mod consumed;
pub mod expressions;
pub mod java;
pub mod page;
pub mod parameters;
pub mod refusal;
pub mod rows;
pub mod select;
pub mod start_key;
pub mod write;

use std::sync::Arc;

use partita_model::error::{ApiError, ErrorCode};
use partita_model::message;
use partita_model::schema::TableSchema;

use self::refusal::Failure;
use super::control::resource::named_table;
use super::{Answer, Call};
use crate::backend::Backend;

/// How often a request is validated anew because the table's schema changed meanwhile. Schemas change at the pace of
/// control-plane operations, so one is nearly always enough.
const ATTEMPTS_MAX: usize = 4;

/// Runs an operation, and again from the start when the schema it was validated with is out of date.
pub async fn anew<F>(attempt: impl Fn() -> F) -> Answer
where
    F: Future<Output = Result<Vec<u8>, Failure>>,
{
    for _ in 0..ATTEMPTS_MAX {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Api(error)) => return Err(error),
            Err(Failure::Stale) => {}
        }
    }
    Err(refusal::api_error(partita_model::request::Refusal::StaleSchema))
}

/// Finds the table that a request names, by name or by ARN.
pub async fn find_table<B: Backend>(call: &Call<'_, B>, name: &str) -> Result<Arc<TableSchema>, ApiError> {
    let name = named_table(call, name)?;
    let table = match call.backend.table(call.account, name) {
        Some(table) => Some(table),
        None => call.backend.table_soon(call.account, name).await,
    };
    table.ok_or_else(|| ApiError::new(ErrorCode::ResourceNotFound, message::TABLE_NOT_FOUND))
}
