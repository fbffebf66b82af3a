//! Answers: bodies and errors with the headers that DynamoDB sends.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, SERVER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::item::Item;

use super::App;
use super::body::{self, BodyError};
use super::request_id::request_id;

/// What goes back to the client.
pub(super) type Answered = Response<Full<Bytes>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const CRC32: HeaderName = HeaderName::from_static("x-amz-crc32");
/// Which headers of an answer a script in a browser may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,x-amz-crc32,Date",
);
/// How long a browser may keep a preflight's answer: two days.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("172800");
/// Smaller bodies fit a segment or three: compressing them costs more than it saves.
const GZIP_BYTES_MIN: usize = 4096;

/// What an answer needs of the request's headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// The answer's content type.
    content_type: &'static str,
    /// The answer may be compressed.
    gzip: bool,
    /// A browser is asking from another origin.
    cross_origin: bool,
}

/// DynamoDB's own content type.
pub(super) const AMZ_JSON: &str = "application/x-amz-json-1.0";
/// What it takes as well, and answers with then.
pub(super) const PLAIN_JSON: &str = "application/json";

impl Wishes {
    pub(super) fn new(headers: &HeaderMap, content_type: &'static str) -> Self {
        Self {
            content_type,
            gzip: headers.get(ACCEPT_ENCODING).is_some_and(accepts_gzip),
            cross_origin: headers.contains_key(ORIGIN),
        }
    }
}

/// Whether gzip is in the list, and not with a weight of zero.
fn accepts_gzip(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|parameter| {
            parameter
                .strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                == Some(0.0)
        });
        named && !refused
    })
}

/// A finished body. The checksum is of the bytes as they are sent, compressed or not: that is what SDKs check.
pub(super) fn finished(wishes: Wishes, status: StatusCode, body: Vec<u8>) -> Answered {
    let compressed = if wishes.gzip && body.len() >= GZIP_BYTES_MIN {
        gzip(&body)
    } else {
        None
    };
    let encoded = compressed.is_some();
    let body = Bytes::from(compressed.unwrap_or(body));
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(6);
    headers.insert(SERVER, HeaderValue::from_static("Server"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(wishes.content_type));
    headers.insert(REQUEST_ID, request_id());
    headers.insert(CRC32, HeaderValue::from(crc32fast::hash(&body)));
    if encoded {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if wishes.cross_origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    response
}

/// `None` when memory refuses, then the body goes as it is.
fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// An error of the API.
pub(super) fn failed(wishes: Wishes, error: &ApiError) -> Answered {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    finished(wishes, status, error_body(error))
}

/// `{"__type":…,"message":…}`; the errors of AWS's service framework write `Message`, and nothing when the type says it
/// all: an unknown operation, a body that is not JSON.
fn error_body(error: &ApiError) -> Vec<u8> {
    let mut body = Vec::with_capacity(128 + error.message.len());
    body.extend_from_slice(b"{\"__type\":\"");
    body.extend_from_slice(error.code.wire_type().as_bytes());
    body.push(b'"');
    let member = match error.code {
        ErrorCode::Serialization | ErrorCode::AccessDenied => "Message",
        _ => "message",
    };
    let says_it_all = matches!(error.code, ErrorCode::UnknownOperation | ErrorCode::Serialization);
    if !(error.message.is_empty() && says_it_all) {
        push_member(&mut body, member, &error.message);
    }
    if let Some(item) = &error.item {
        body.extend_from_slice(b",\"Item\":");
        Item::as_ref(item).write_json(&mut body);
    }
    if let Some(throttled) = &error.throttled {
        // AWS's model spells it in two ways.
        let member: &[u8] = match error.code {
            ErrorCode::Throttling => b",\"throttlingReasons\":[{\"reason\":",
            _ => b",\"ThrottlingReasons\":[{\"reason\":",
        };
        body.extend_from_slice(member);
        partita_model::value::json::write_string(throttled.reason().as_bytes(), &mut body);
        push_member(&mut body, "resource", &throttled.resource);
        body.extend_from_slice(b"}]");
    }
    body.push(b'}');
    body
}

fn push_member(body: &mut Vec<u8>, member: &str, text: &str) {
    body.extend_from_slice(b",\"");
    body.extend_from_slice(member.as_bytes());
    body.extend_from_slice(b"\":");
    partita_model::value::json::write_string(text.as_bytes(), body);
}

/// A request whose body could not be had. The connection is closed: what follows on it is not known to be a request.
pub(super) fn bad_body(wishes: Wishes, error: BodyError) -> Answered {
    let (status, name, message) = match error {
        BodyError::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            "Request size exceeded the maximum of 16 MB",
        ),
        BodyError::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeoutException",
            "Request body took too long",
        ),
        BodyError::Broken => (
            StatusCode::BAD_REQUEST,
            "SerializationException",
            "Request body is incomplete",
        ),
        BodyError::NotCompressed => (
            StatusCode::BAD_REQUEST,
            "SerializationException",
            "Request body is not compressed as Content-Encoding says",
        ),
    };
    let mut body = format!("{{\"__type\":\"com.amazon.coral.service#{name}\"").into_bytes();
    push_member(&mut body, "Message", message);
    body.push(b'}');
    let mut response = finished(wishes, status, body);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What is no request of the API at all.
pub(super) fn not_found(headers: &HeaderMap) -> Answered {
    let mut wishes = Wishes::new(headers, "application/xml");
    wishes.gzip = false;
    finished(
        wishes,
        StatusCode::NOT_FOUND,
        b"<UnknownOperationException/>\n".to_vec(),
    )
}

/// An answer that needed no body: what came of one is skipped, or else the connection ends, and says so.
pub(super) async fn without_body<B>(app: &App<B>, body: Incoming, mut answered: Answered) -> Answered {
    if !body::skip(body, &app.limits).await {
        answered
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answered
}

/// `GET /`: what load balancers and people look at.
pub(super) fn healthy(headers: &HeaderMap, region: &str) -> Answered {
    let line = format!("healthy: dynamodb.{region}.amazonaws.com ");
    finished(Wishes::new(headers, "text/plain"), StatusCode::OK, line.into_bytes())
}

/// The answer to a browser that asks before it sends: everything is allowed, the signature decides.
pub(super) fn preflight(request: &HeaderMap) -> Answered {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("Server"));
    headers.insert(REQUEST_ID, request_id());
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use partita_model::capacity::{ThrottleLimit, Throttled, UnitKind};

    use super::*;

    #[test]
    fn throttled_requests_hear_which_limit_of_what_they_met() {
        let error = ApiError::throttled(Box::new(Throttled {
            table: "orders".to_owned(),
            index: Some("byStatus".to_owned()),
            kind: UnitKind::Write,
            limit: ThrottleLimit::KeyRangeThroughputExceeded,
            provisioned: false,
            resource: "arn:aws:dynamodb:us-east-1:000000000000:table/orders/index/byStatus".to_owned(),
        }));
        let body = String::from_utf8(error_body(&error)).unwrap_or_default();
        assert!(body.starts_with(r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"#));
        let reasons = r#","throttlingReasons":[{"reason":"IndexWriteKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:us-east-1:000000000000:table/orders/index/byStatus"}]}"#;
        assert!(body.ends_with(reasons), "{body}");
        let error = ApiError::throttled(Box::new(Throttled {
            provisioned: true,
            ..*error.throttled.unwrap_or_else(|| panic!("it was"))
        }));
        let body = String::from_utf8(error_body(&error)).unwrap_or_default();
        assert!(body.contains(r#"#ProvisionedThroughputExceededException","#), "{body}");
        assert!(body.contains(r#","ThrottlingReasons":[{"reason":"Index"#), "{body}");
    }
}
