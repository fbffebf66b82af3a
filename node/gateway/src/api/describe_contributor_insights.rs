//! DescribeContributorInsights: off, as on every new table at AWS. Infrastructure tools ask.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::{self, Text};
use partita_model::message::table as message;
use partita_model::table::TableSpec;
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeContributorInsightsInput {
    table_name: Option<Text>,
    index_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: DescribeContributorInsightsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    if let Some(index) = &input.index_name {
        resource::check_name(&mut constraints, "indexName", index);
    }
    let name = resource::table_name(&mut constraints, input.table_name);
    let name = constraints.finish_with(name)?;
    let name = resource::named_table(call, &name)?;
    let table = call.backend.describe_table(call.account, name).await?;
    let mut shown = json!({"TableName": name, "ContributorInsightsStatus": "DISABLED"});
    if let Some(index) = input.index_name {
        if !has_global_index(&table.spec, &index) {
            let message = message::table_index_not_found(name, &index);
            return Err(ApiError::new(ErrorCode::ResourceNotFound, message));
        }
        shown["IndexName"] = json!(index.0);
    }
    answer(&shown)
}

fn has_global_index(spec: &TableSpec, name: &str) -> bool {
    spec.global.iter().any(|index| index.name == name)
}
