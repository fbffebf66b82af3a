//! DescribeLimits: how many units an account and a table may have.

use partita_model::json;
use serde::Deserialize;
use serde_json::json;

use super::control::answer;
use super::{Answer, Call};
use crate::backend::Backend;

/// AWS's initial quotas, in units for reads and for writes alike. Nothing enforces the account's here: the machines do.
const ACCOUNT_UNITS_MAX: u64 = 80_000;
const TABLE_UNITS_MAX: u64 = 40_000;

/// The request: it has no members.
#[derive(Debug, Deserialize)]
struct DescribeLimitsInput {}

/// Answers a request.
pub async fn handle<B: Backend>(_call: &Call<'_, B>, body: &[u8]) -> Answer {
    let DescribeLimitsInput {} = json::decode(body)?;
    answer(&json!({
        "AccountMaxReadCapacityUnits": ACCOUNT_UNITS_MAX,
        "AccountMaxWriteCapacityUnits": ACCOUNT_UNITS_MAX,
        "TableMaxReadCapacityUnits": TABLE_UNITS_MAX,
        "TableMaxWriteCapacityUnits": TABLE_UNITS_MAX,
    }))
}
