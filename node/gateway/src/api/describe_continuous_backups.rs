//! DescribeContinuousBackups: point-in-time recovery is off, as on every new table at AWS. Infrastructure tools ask.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::json::{self, Text};
use partita_model::message::table as message;
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeContinuousBackupsInput {
    table_name: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: DescribeContinuousBackupsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let name = constraints.finish_with(name)?;
    describe(call, &name).await
}

/// What is said of the backups of a table, which must be there.
pub async fn describe<B: Backend>(call: &Call<'_, B>, name: &str) -> Answer {
    let name = resource::named_table(call, name)?;
    let described = call.backend.describe_table(call.account, name).await;
    described.map_err(|error| match error.code {
        ErrorCode::ResourceNotFound => {
            ApiError::new(ErrorCode::TableNotFound, message::backed_up_table_not_found(name))
        }
        _ => error,
    })?;
    answer(&json!({
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
        }
    }))
}
