//! DescribeEndpoints: where SDKs with endpoint discovery should send requests to.

use partita_model::json;
use serde::Deserialize;
use serde_json::json;

use super::control::answer;
use super::{Answer, Call};
use crate::backend::Backend;

/// How long an SDK may keep the answer.
const CACHE_PERIOD_MINUTES: u64 = 1440;

/// The request: it has no members.
#[derive(Debug, Deserialize)]
struct DescribeEndpointsRequest {}

/// Answers the region's own endpoint name, as AWS does.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let DescribeEndpointsRequest {} = json::decode(body)?;
    answer(&json!({
        "Endpoints": [{
            "Address": format!("dynamodb.{}.amazonaws.com", call.region),
            "CachePeriodInMinutes": CACHE_PERIOD_MINUTES,
        }]
    }))
}
