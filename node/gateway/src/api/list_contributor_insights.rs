//! ListContributorInsights: they are on nowhere. Infrastructure tools and consoles ask.

use partita_model::error::ApiError;
use partita_model::json::{self, Int, Text};
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
struct ListContributorInsightsInput {
    table_name: Option<Text>,
    next_token: Option<Text>,
    max_results: Option<Int>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListContributorInsightsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    let results = input.max_results.map(|results| results.0.into());
    constraints.within("maxResults", results, i64::MIN, 100);
    let name = input
        .table_name
        .and_then(|name| resource::table_name(&mut constraints, Some(name)));
    constraints.finish()?;
    if input.next_token.is_some() {
        // We never give one.
        return Err(ApiError::validation(message::NEXT_TOKEN_INVALID));
    }
    if let Some(name) = name {
        let name = resource::named_table(call, &name)?;
        call.backend.describe_table(call.account, name).await?;
    }
    answer(&json!({"ContributorInsightsSummaries": []}))
}
