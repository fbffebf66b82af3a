//! UpdateTimeToLive: switches expiry by an attribute on or off.

use partita_model::error::ApiError;
use partita_model::json::{self, Bool, Structure, Text};
use partita_model::message::table as message;
use partita_model::table::{TableDescription, TimeToLiveStatus};
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

const ATTRIBUTE_NAME_CHARS_MAX: usize = 255;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateTimeToLiveInput {
    table_name: Option<Text>,
    time_to_live_specification: Option<Structure<TimeToLiveSpecification>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLiveSpecification {
    enabled: Option<Bool>,
    attribute_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: UpdateTimeToLiveInput = json::decode(body)?;
    resource::check_named_table(&input.table_name)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let wanted = wanted(&mut constraints, input.time_to_live_specification);
    let (name, (enabled, attribute)) = constraints.finish_with(name.zip(wanted))?;
    let name = resource::named_table(call, &name)?;

    let table = call.backend.describe_table(call.account, name).await?;
    table.check_changeable()?;
    check(&table, enabled, &attribute)?;
    call.backend
        .update_time_to_live(call.account, name, &attribute, enabled)
        .await?;
    answer(&json!({"TimeToLiveSpecification": {"Enabled": enabled, "AttributeName": attribute}}))
}

fn wanted(
    constraints: &mut Constraints,
    specification: Option<Structure<TimeToLiveSpecification>>,
) -> Option<(bool, String)> {
    let Structure(specification) = constraints.required("timeToLiveSpecification", specification)?;
    let member = "timeToLiveSpecification.attributeName";
    let attribute = constraints.required(member, specification.attribute_name);
    if let Some(name) = &attribute {
        constraints.length(member, &**name, name.chars().count(), 1, ATTRIBUTE_NAME_CHARS_MAX);
    }
    let enabled = constraints.required("timeToLiveSpecification.enabled", specification.enabled);
    enabled
        .zip(attribute)
        .map(|(enabled, attribute)| (enabled.0, attribute.0))
}

fn check(table: &TableDescription, enabled: bool, attribute: &str) -> Result<(), ApiError> {
    let error = |message: &'static str| Err(ApiError::validation(message));
    match (table.time_to_live, enabled) {
        (TimeToLiveStatus::Enabling | TimeToLiveStatus::Disabling, _) => error(message::TIME_TO_LIVE_CHANGING),
        (TimeToLiveStatus::Disabled, false) => error(message::TIME_TO_LIVE_ALREADY_OFF),
        (TimeToLiveStatus::Disabled, true) => Ok(()),
        (TimeToLiveStatus::Enabled, enabled) => match &table.spec.time_to_live {
            Some(current) if current != attribute => {
                Err(ApiError::validation(message::time_to_live_other_attribute(current)))
            }
            _ if enabled => error(message::TIME_TO_LIVE_ALREADY_ON),
            _ => Ok(()),
        },
    }
}
