//! ListGlobalTables: no table has replicas in other regions. Infrastructure tools and consoles ask.

use partita_model::json::{self, Int, Text};
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListGlobalTablesInput {
    exclusive_start_global_table_name: Option<Text>,
    limit: Option<Int>,
}

/// Answers a request.
pub async fn handle<B: Backend>(_call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListGlobalTablesInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    if let Some(start) = &input.exclusive_start_global_table_name {
        resource::check_name(&mut constraints, "exclusiveStartGlobalTableName", start);
    }
    constraints.within("limit", input.limit.map(|limit| limit.0.into()), 1, i64::MAX);
    constraints.finish()?;
    answer(&json!({"GlobalTables": []}))
}
