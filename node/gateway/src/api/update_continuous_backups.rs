//! UpdateContinuousBackups: point-in-time recovery can be switched off, which it is. Infrastructure tools say so of every
//! table.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::{self, Bool, Int, Structure, Text};
use partita_model::message;
use serde::Deserialize;

use super::constraint::Constraints;
use super::control::resource;
use super::describe_continuous_backups::describe;
use super::{Answer, Call};
use crate::backend::Backend;

/// How long a table can be restored to an earlier time, at most.
const RECOVERY_DAYS_MAX: i64 = 35;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateContinuousBackupsInput {
    table_name: Option<Text>,
    point_in_time_recovery_specification: Option<Structure<PointInTimeRecoverySpecification>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PointInTimeRecoverySpecification {
    point_in_time_recovery_enabled: Option<Bool>,
    recovery_period_in_days: Option<Int>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: UpdateContinuousBackupsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let enabled = enabled(&mut constraints, input.point_in_time_recovery_specification);
    let (name, enabled) = constraints.finish_with(name.zip(enabled))?;
    let answer = describe(call, &name).await?;
    if enabled {
        let text = message::operation_not_here("point-in-time recovery");
        return Err(ApiError::new(ErrorCode::UnknownOperation, text));
    }
    Ok(answer)
}

fn enabled(
    constraints: &mut Constraints,
    specification: Option<Structure<PointInTimeRecoverySpecification>>,
) -> Option<bool> {
    let member = "pointInTimeRecoverySpecification";
    let Structure(specification) = constraints.required(member, specification)?;
    let enabled = specification.point_in_time_recovery_enabled;
    let enabled = constraints.required(format_args!("{member}.pointInTimeRecoveryEnabled"), enabled);
    let days = specification.recovery_period_in_days.map(|days| days.0.into());
    constraints.within(
        format_args!("{member}.recoveryPeriodInDays"),
        days,
        1,
        RECOVERY_DAYS_MAX,
    );
    enabled.map(|enabled| enabled.0)
}
