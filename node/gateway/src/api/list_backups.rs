//! ListBackups: there are none, and no way to make one yet. Infrastructure tools and consoles ask.

use partita_model::json::{self, Int, Text};
use serde::Deserialize;
use serde_json::json;

use super::constraint::Constraints;
use super::control::{answer, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListBackupsInput {
    table_name: Option<Text>,
    limit: Option<Int>,
    backup_type: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(_call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListBackupsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let kinds = ["USER", "SYSTEM", "AWS_BACKUP", "ALL"].map(|kind| (kind, ()));
    constraints.one_of("backupType", input.backup_type.as_deref(), &kinds);
    constraints.within("limit", input.limit.map(|limit| limit.0.into()), 1, 100);
    if input.table_name.is_some() {
        resource::table_name(&mut constraints, input.table_name);
    }
    constraints.finish()?;
    answer(&json!({"BackupSummaries": []}))
}
