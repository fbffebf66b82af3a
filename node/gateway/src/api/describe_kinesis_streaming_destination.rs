//! DescribeKinesisStreamingDestination: no table has one. Infrastructure tools ask.

use partita_model::json::{self, Text};
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeKinesisStreamingDestinationInput {
    table_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: DescribeKinesisStreamingDestinationInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let name = constraints.finish_with(name)?;
    let name = resource::named_table(call, &name)?;
    call.backend.describe_table(call.account, name).await?;
    answer(&json!({"TableName": name, "KinesisDataStreamDestinations": []}))
}
