//! DeleteTable: removes a table; it is `DELETING` in the answer.

use partita_model::error::ApiError;
use partita_model::json::{self, Text};
use partita_model::message::table as message;
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, description, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteTableInput {
    table_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: DeleteTableInput = json::decode(body)?;
    resource::check_named_table(&input.table_name)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let name = constraints.finish_with(name)?;
    let name = resource::named_table(call, &name)?;

    let table = call.backend.describe_table(call.account, name).await?;
    table.check_changeable()?;
    if table.spec.deletion_protection {
        return Err(ApiError::validation(message::DELETION_PROTECTED));
    }
    let table = call.backend.delete_table(call.account, name).await?;
    call.metrics.forget_table(table.id);
    answer(&json!({"TableDescription": description::table(call, &table)}))
}
