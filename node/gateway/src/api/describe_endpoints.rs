//! DescribeEndpoints: where SDKs with endpoint discovery should send requests to.

use partita_model::error::ApiError;
use serde_json::json;

use super::{Answer, Call};
use crate::backend::Backend;

/// How long an SDK may keep the answer.
const CACHE_PERIOD_MINUTES: u64 = 1440;

/// Answers the region's own endpoint name, as AWS does.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let _ = body;
    let answer = json!({
        "Endpoints": [{
            "Address": format!("dynamodb.{}.amazonaws.com", call.region),
            "CachePeriodInMinutes": CACHE_PERIOD_MINUTES,
        }]
    });
    serde_json::to_vec(&answer)
        .map_err(|error| ApiError::new(partita_model::error::ErrorCode::InternalServerError, error.to_string()))
}
