//! What a client hears when a leader refuses a request.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::message::data as message;
use partita_model::request::Refusal;

/// Why an attempt at an operation gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// An error for the client.
    Api(ApiError),
    /// The table's schema changed between validation and evaluation: nothing was done, and the request can be
    /// validated anew.
    Stale,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::StaleSchema => Self::Stale,
            other => Self::Api(api_error(other)),
        }
    }
}

/// The error of a refusal, for clients. An SDK retries 500 and 503 by itself.
pub fn api_error(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Api(error) | Refusal::Evaluated { error, .. } => error,
        Refusal::Throttled(throttled) => ApiError::throttled(throttled),
        Refusal::StaleSchema | Refusal::WrongRange | Refusal::NotLeader => {
            ApiError::new(ErrorCode::ServiceUnavailable, message::NOT_AVAILABLE)
        }
        Refusal::Stopping => ApiError::new(ErrorCode::ServiceUnavailable, message::STOPPING),
        Refusal::OutOfSpace => ApiError::new(ErrorCode::InternalServerError, message::OUT_OF_SPACE),
        Refusal::UnknownFate => ApiError::new(ErrorCode::InternalServerError, message::UNKNOWN_FATE),
        Refusal::Corrupt(what) => {
            tracing::error!(what, "stored data failed its check");
            ApiError::new(ErrorCode::InternalServerError, message::CORRUPT)
        }
    }
}

/// Whether one request of a batch that was refused like this is handed back as unprocessed: it had no effect, and it
/// may succeed when it is sent again.
pub fn leaves_unprocessed(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::StaleSchema | Refusal::WrongRange | Refusal::NotLeader | Refusal::Stopping | Refusal::Throttled(_) => {
            true
        }
        Refusal::Api(error) | Refusal::Evaluated { error, .. } => matches!(
            error.code,
            ErrorCode::ProvisionedThroughputExceeded
                | ErrorCode::Throttling
                | ErrorCode::RequestLimitExceeded
                | ErrorCode::TransactionConflict
        ),
        // A write of unknown fate must not be called unprocessed, and full or corrupt storage does not pass by itself.
        Refusal::UnknownFate | Refusal::OutOfSpace | Refusal::Corrupt(_) => false,
    }
}
