//! GetResourcePolicy: no table has one: permissions belong to access keys here. Infrastructure tools ask.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::{self, Text};
use partita_model::message::table as message;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::resource;
use super::list_tags_of_resource::tagged_table;
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetResourcePolicyInput {
    resource_arn: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: GetResourcePolicyInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let arn = resource::resource_arn(&mut constraints, input.resource_arn)?;
    constraints.finish()?;
    let name = resource::table_of_arn(call, &arn)?;
    tagged_table(call, &arn, name).await?;
    Err(ApiError::new(
        ErrorCode::PolicyNotFound,
        message::policy_not_found(&arn),
    ))
}
