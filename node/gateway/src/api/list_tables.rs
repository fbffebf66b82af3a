//! ListTables: names in order, in pages.

use partita_model::json::{self, Int, Text};
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// Names in a page, at most and when nothing is said.
const LIMIT_MAX: i32 = 100;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTablesInput {
    exclusive_start_table_name: Option<Text>,
    limit: Option<Int>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListTablesInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    if let Some(start) = &input.exclusive_start_table_name {
        resource::check_name(&mut constraints, "exclusiveStartTableName", start);
    }
    let limit = input.limit.map_or(LIMIT_MAX, |limit| limit.0);
    constraints.within("limit", Some(limit.into()), 1, LIMIT_MAX.into());
    constraints.finish()?;

    let start = input.exclusive_start_table_name.as_deref();
    let limit = usize::try_from(limit).unwrap_or(1);
    let (names, more) = call.backend.list_tables(call.account, start, limit).await?;
    let mut shown = json!({"TableNames": names});
    if more && let Some(last) = names.last() {
        shown["LastEvaluatedTableName"] = json!(last);
    }
    answer(&shown)
}
