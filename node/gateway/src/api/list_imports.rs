//! ListImports: there are no imports from S3. Infrastructure tools and consoles ask.

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
struct ListImportsInput {
    table_arn: Option<Text>,
    page_size: Option<Int>,
    next_token: Option<Text>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let input: ListImportsInput = json::decode(body)?;
    let mut constraints = Constraints::new();
    constraints.within("pageSize", input.page_size.map(|results| results.0.into()), 1, 25);
    constraints.finish()?;
    if input.next_token.is_some() {
        // We never give one.
        return Err(ApiError::validation(message::NEXT_TOKEN_INVALID));
    }
    if let Some(arn) = &input.table_arn {
        resource::table_of_arn(call, arn)?;
    }
    answer(&json!({"ImportSummaryList": []}))
}
