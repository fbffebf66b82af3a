//! Why a partition did not do what it was asked.

use partita_model::error::{ApiError, ErrorCode};
use partita_model::request::Refusal;
use partita_model::value::Corrupt;

use crate::storage::StorageError;

/// Why a read, an evaluation or an apply did not happen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// The caller asked for memory only, and memory is not enough: ask again, off the connection's thread, with
    /// `Tier::All`.
    #[error("not in the block cache")]
    NotCached,
    /// An answer for whoever asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk failed or its bytes did not fit.
    #[error(transparent)]
    Storage(StorageError),
    /// An effect or a row in a format that this version does not know. The replica must stop: skipping it would make
    /// it differ from the others.
    #[error("unknown format: {0}")]
    UnknownFormat(String),
}

impl From<StorageError> for PartitionError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotCached => Self::NotCached,
            other => Self::Storage(other),
        }
    }
}

impl From<Corrupt> for PartitionError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Storage(StorageError::Corrupt {
            file: "a row".to_owned(),
            message: corrupt.to_string(),
        })
    }
}

impl From<ApiError> for PartitionError {
    fn from(error: ApiError) -> Self {
        Self::Refused(Refusal::Api(error))
    }
}

impl PartitionError {
    /// What whoever asked is told.
    pub fn into_refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Storage(error @ StorageError::Corrupt { .. }) => Refusal::Corrupt(error.to_string()),
            Self::UnknownFormat(what) => Refusal::Corrupt(what),
            Self::NotCached | Self::Storage(_) => {
                Refusal::Api(ApiError::new(ErrorCode::InternalServerError, "Internal server error"))
            }
        }
    }
}
