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

/// Answers the endpoint that the client is talking to: at AWS that is the region's, and here a client that discovers endpoints
/// must not be sent there.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let DescribeEndpointsRequest {} = json::decode(body)?;
    let address = match call.host {
        Some(host) => host.to_owned(),
        None => format!("dynamodb.{}.amazonaws.com", call.region),
    };
    answer(&json!({
        "Endpoints": [{
            "Address": address,
            "CachePeriodInMinutes": CACHE_PERIOD_MINUTES,
        }]
    }))
}
