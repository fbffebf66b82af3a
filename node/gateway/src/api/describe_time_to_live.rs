//! DescribeTimeToLive: whether expiry is on, and by which attribute.

use partita_model::json::{self, Text};
use partita_model::table::TimeToLiveStatus;
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeTimeToLiveInput {
    table_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: DescribeTimeToLiveInput = json::decode(body)?;
    resource::check_named_table(&input.table_name)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let name = constraints.finish_with(name)?;
    let name = resource::named_table(call, &name)?;

    let table = call.backend.describe_table(call.account, name).await?;
    let status = match table.time_to_live {
        TimeToLiveStatus::Enabled => "ENABLED",
        TimeToLiveStatus::Disabled => "DISABLED",
        TimeToLiveStatus::Enabling => "ENABLING",
        TimeToLiveStatus::Disabling => "DISABLING",
    };
    let mut shown = json!({"TimeToLiveStatus": status});
    if table.time_to_live != TimeToLiveStatus::Disabled
        && let Some(attribute) = &table.spec.time_to_live
    {
        shown["AttributeName"] = json!(attribute);
    }
    answer(&json!({"TimeToLiveDescription": shown}))
}
