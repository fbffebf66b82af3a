//! ListTagsOfResource: all tags of a table; there are so few that one page holds them.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::{self, Text};
use partita_model::message::table as message;
use partita_model::table::TableDescription;
use serde::Deserialize;
use serde_json::{Value, json};

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTagsOfResourceInput {
    resource_arn: Option<Text>,
    next_token: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListTagsOfResourceInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let arn = resource::resource_arn(&mut constraints, input.resource_arn)?;
    constraints.finish()?;
    if input.next_token.is_some() {
        // We never give one.
        return Err(ApiError::validation(message::NEXT_TOKEN_INVALID));
    }
    let name = resource::table_of_arn(call, &arn)?;
    let table = tagged_table(call, &arn, name).await?;
    let tags: Value = table
        .spec
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    answer(&json!({"Tags": tags}))
}

/// The table behind an ARN; when there is none, the error names the ARN.
pub async fn tagged_table<B: Backend>(call: &Call<'_, B>, arn: &str, name: &str) -> Result<TableDescription, ApiError> {
    call.backend
        .describe_table(call.account, name)
        .await
        .map_err(|error| match error.code {
            ErrorCode::ResourceNotFound => ApiError::new(error.code, message::resource_not_found(arn)),
            _ => error,
        })
}
