//! Why a call was refused: a status and a sentence.

use std::fmt::Display;

use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use partita_model::admin;
use partita_model::request::Refusal;

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, message: impl Display) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }

    /// The request makes no sense.
    pub fn bad(reason: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The body could not be read: it is too long, say.
    pub fn body(rejection: &BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }

    /// There is nothing of that name.
    pub fn not_found(reason: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    /// What is there is not what was asked for.
    pub fn conflict(reason: String) -> Self {
        Self::new(StatusCode::CONFLICT, reason)
    }

    /// Not now.
    pub fn unavailable(reason: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    /// A fault of ours.
    pub fn internal(reason: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Stopping
            | Refusal::OutOfSpace
            | Refusal::NotLeader
            | Refusal::UnknownFate
            | Refusal::Throttled(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::WrongRange | Refusal::StaleSchema => StatusCode::CONFLICT,
            Refusal::Api(_) | Refusal::Evaluated { .. } | Refusal::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, message } = self;
        // A string in a struct always has a JSON form.
        let body = serde_json::to_string(&admin::Problem { message }).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
