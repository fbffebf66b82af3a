//! Who asks: SigV4, verified once, at the edge.
//!
//! 1. [`authorization`] takes the `Authorization` header apart; what is missing is an `IncompleteSignatureException`;
//! 2. the access key is looked up ([`Credentials`]), session tokens are refused;
//! 3. the credential's scope and the request's time are checked against the region and the clock;
//! 4. [`canonical`] hashes the request as the client should have, and the signatures are compared in constant time.
//!
//! Without credentials ([`Auth::Open`]) only the first step is done: the signature has to be there, as at AWS, so
//! that a client without any is found before it meets a guarded endpoint.
//!
//! Source: "Create a signed AWS API request", AWS Identity and Access Management User Guide.

mod authorization;
mod canonical;
mod key;
mod time;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::request::Parts;
use partita_model::error::{ApiError, ErrorCode};
use subtle::ConstantTimeEq;

use crate::backend::Account;
use authorization::Authorization;
pub use key::{AccessKey, Permission};
use time::Timestamp;

/// How far a request's time may be from ours.
const SKEW_SECONDS_MAX: i64 = 15 * 60;
const SERVICE: &str = "dynamodb";
const TERMINATOR: &str = "aws4_request";

const MISSING_TOKEN: &str = "Request is missing Authentication Token";
const UNKNOWN_KEY: &str = "The security token included in the request is invalid.";
const SESSION_TOKEN: &str = "The security token included in the request is invalid. Session tokens are not supported \
                             here: sign with a long-term access key and without X-Amz-Security-Token.";
const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature you provided. Check \
                               your AWS Secret Access Key and signing method. Consult the service documentation for \
                               details.";

/// Where access keys are looked up.
pub trait Credentials: Send + Sync + 'static {
    /// The key of this id. On the path of every request: no I/O.
    fn find(&self, id: &str) -> Option<Arc<AccessKey>>;
}

/// Whether signatures are verified.
pub enum Auth {
    /// Any signature is accepted, and everyone may do everything with this account's tables.
    Open(Account),
    /// Signatures are verified.
    Keys(Arc<dyn Credentials>),
}

/// Who a request is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose tables it is about.
    pub account: Account,
    /// What it may do.
    pub permission: Permission,
}

impl Auth {
    /// Finds out who sent a request. `body` is as it was received (not inflated); `now` is in epoch seconds.
    pub fn identify(&self, head: &Parts, body: &[u8], region: &str, now: i64) -> Result<Identity, ApiError> {
        let header = head
            .headers
            .get(http::header::AUTHORIZATION)
            .map(|value| value.as_bytes());
        let Some(header) = header.filter(|value| value.starts_with(b"AWS4-")) else {
            return Err(ApiError::new(ErrorCode::MissingAuthenticationToken, MISSING_TOKEN));
        };
        let authorization = Authorization::parse(header, &head.headers)?;
        match self {
            Self::Open(account) => Ok(Identity {
                account: account.clone(),
                permission: Permission::Tables,
            }),
            Self::Keys(keys) => {
                let key = keys
                    .find(authorization.scope.key_id)
                    .ok_or_else(|| unrecognized(UNKNOWN_KEY))?;
                if head.headers.contains_key("x-amz-security-token") {
                    return Err(unrecognized(SESSION_TOKEN));
                }
                check_scope(&authorization, region)?;
                check_time(authorization.time, now)?;
                check_signature(&authorization, head, body, region, &key)?;
                Ok(Identity {
                    account: key.account.clone(),
                    permission: key.permission,
                })
            }
        }
    }
}

fn unrecognized(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::UnrecognizedClient, message)
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(ErrorCode::InvalidSignature, message)
}

/// The credential's scope has to name this day, region and service.
fn check_scope(authorization: &Authorization<'_>, region: &str) -> Result<(), ApiError> {
    let scope = &authorization.scope;
    let mut wrong = Vec::new();
    if scope.region != region {
        wrong.push(format!(
            "Credential should be scoped to a valid region, not '{}'. ",
            scope.region
        ));
    }
    if scope.service != SERVICE {
        wrong.push(format!("Credential should be scoped to correct service: '{SERVICE}'. "));
    }
    if scope.terminator != TERMINATOR {
        wrong.push(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'. ",
            scope.terminator
        ));
    }
    let day = authorization.time.day();
    if scope.date != day {
        wrong.push(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
             '{day}', from '{}'. ",
            scope.date, authorization.time
        ));
    }
    if !authorization
        .signed_headers
        .split(';')
        .any(|name| name.eq_ignore_ascii_case("host"))
    {
        wrong.push("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization. ".to_owned());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(invalid(wrong.concat().trim_end().to_owned()))
}

fn check_time(time: Timestamp, now: i64) -> Result<(), ApiError> {
    let now = Timestamp::from_epoch(now);
    let earliest = Timestamp::from_epoch(now.epoch() - SKEW_SECONDS_MAX);
    let latest = Timestamp::from_epoch(now.epoch() + SKEW_SECONDS_MAX);
    if time.epoch() < earliest.epoch() {
        return Err(invalid(format!(
            "Signature expired: {time} is now earlier than {earliest} ({now} - 15 min.)"
        )));
    }
    if time.epoch() > latest.epoch() {
        return Err(invalid(format!(
            "Signature not yet current: {time} is still later than {latest} ({now} + 15 min.)"
        )));
    }
    Ok(())
}

fn check_signature(
    authorization: &Authorization<'_>,
    head: &Parts,
    body: &[u8],
    region: &str,
    key: &AccessKey,
) -> Result<(), ApiError> {
    let wrong = || invalid(WRONG_SIGNATURE);
    let payload = canonical::payload_hash(&head.headers, body).ok_or_else(wrong)?;
    let request = canonical::request_hash(head, authorization.signed_headers, &payload).ok_or_else(wrong)?;
    let expected = key.sign(
        authorization.scope.date,
        region,
        &authorization.time.to_string(),
        &request,
    );
    if bool::from(expected.as_slice().ct_eq(authorization.signature.as_bytes())) {
        Ok(())
    } else {
        Err(wrong())
    }
}
