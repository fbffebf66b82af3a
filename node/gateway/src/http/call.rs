//! `POST /`: one call of the API.
//!
//! 1. the content type has to be JSON, or this is no call;
//! 2. the body is collected; what is wrong with it is answered before anything else;
//! 3. `X-Amz-Target` names the operation;
//! 4. the signature says who asks; the access key's permission covers the operation;
//! 5. a compressed body is inflated, only now: nobody unknown makes us do that;
//! 6. the operation runs; a panic in it is an error for this client and nobody else.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use partita_model::error::{ApiError, ErrorCode};

use super::answer::{AMZ_JSON, Answered, PLAIN_JSON, Wishes};
use super::body::{self, BodyError, Coding, Collected};
use super::shield::shield;
use super::{App, answer};
use crate::api::{Answer, Call, Operation, dispatch, table_arn, unknown_operation};
use crate::auth::{Identity, Permission};
use crate::backend::Backend;

/// Runs one call.
pub(super) async fn call<B: Backend>(app: &App<B>, head: Parts, body: Incoming) -> Answered {
    let Some(content_type) = json_content_type(&head.headers) else {
        return answer::without_body(app, body, answer::not_found(&head.headers)).await;
    };
    let wishes = Wishes::new(&head.headers, content_type);
    let coding = Coding::named(&head.headers);
    let received = match body::collect(body, &app.limits, &app.bodies).await {
        Ok(received) => received,
        Err(error) => return answer::bad_body(wishes, error),
    };
    let start = Instant::now();
    let operation = named_operation(&head.headers);
    let _running = app.metrics.request(received.bytes.len());
    let answered = match answered(app, &head, received, coding, operation).await {
        Ok(answered) => answered,
        Err(error) => return answer::bad_body(wishes, error),
    };
    let bytes_out = answered.as_ref().map_or(0, Vec::len);
    app.metrics
        .answered(operation, answered.as_ref().err(), start.elapsed(), bytes_out);
    match answered {
        Ok(body) => answer::finished(wishes, StatusCode::OK, body),
        Err(error) => answer::failed(wishes, &error),
    }
}

/// The outer error is about the body, the inner one the API's.
async fn answered<B: Backend>(
    app: &App<B>,
    head: &Parts,
    received: Collected,
    coding: Option<Coding>,
    operation: Option<Operation>,
) -> Result<Answer, BodyError> {
    let (operation, identity) = match admitted(app, head, &received.bytes, operation) {
        Ok(admitted) => admitted,
        Err(error) => return Ok(Err(error)),
    };
    let received = match coding {
        Some(coding) => received.inflated(coding, &app.limits).await?,
        None => received,
    };
    let call = Call {
        backend: &app.backend,
        account: &identity.account,
        region: &app.region,
        host: head.headers.get(HOST).and_then(|host| host.to_str().ok()),
        metrics: &app.metrics,
    };
    let running = shield(dispatch(&call, operation, &received.bytes));
    let answer = running.await.unwrap_or_else(|_| {
        app.metrics.panicked();
        tracing::error!(operation = operation.name(), "an operation panicked");
        Err(ApiError::new(ErrorCode::InternalServerError, "Internal server error"))
    });
    Ok(answer.map_err(|error| name_resource(error, &app.region, &identity)))
}

/// A leader knows the table that was throttled; its ARN is known here.
fn name_resource(mut error: ApiError, region: &str, identity: &Identity) -> ApiError {
    if let Some(throttled) = &mut error.throttled {
        let table = table_arn(region, &identity.account.id, &throttled.table);
        throttled.resource = match &throttled.index {
            Some(index) => format!("{table}/index/{index}"),
            None => table,
        };
    }
    error
}

/// Who asks for what, if both are known and the one may do the other.
fn admitted<B>(
    app: &App<B>,
    head: &Parts,
    body: &[u8],
    operation: Option<Operation>,
) -> Result<(Operation, Identity), ApiError> {
    let operation = operation.ok_or_else(|| unknown_operation(target(&head.headers)))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let identity = app
        .auth
        .identify(head, body, &app.region, i64::try_from(now).unwrap_or(i64::MAX))?;
    if identity.permission < operation.permission() {
        return Err(denied(operation, &identity));
    }
    Ok((operation, identity))
}

fn denied(operation: Operation, identity: &Identity) -> ApiError {
    let allowed = match identity.permission {
        Permission::Data => "data",
        Permission::Tables => "tables",
    };
    ApiError::new(
        ErrorCode::AccessDenied,
        format!(
            "User: arn:aws:iam::{}:root is not authorized to perform: dynamodb:{} because the permissions of its \
             access key are: {allowed}",
            identity.account.id,
            operation.name()
        ),
    )
}

fn named_operation(headers: &HeaderMap) -> Option<Operation> {
    Operation::from_target(target(headers)?)
}

fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-target")?.to_str().ok()
}

/// The content type of the answer, if the request's is one that DynamoDB takes.
fn json_content_type(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let name = value.split(';').next().unwrap_or(value).trim();
    [AMZ_JSON, PLAIN_JSON]
        .into_iter()
        .find(|known| name.eq_ignore_ascii_case(known))
}
