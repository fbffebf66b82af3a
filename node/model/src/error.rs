//! Errors as DynamoDB names them. A variant decides the AWS type, the HTTP status and whether an SDK retries.
//!
//! Source of the list: "Error handling with DynamoDB", Amazon DynamoDB Developer Guide.

use std::borrow::Cow;

use crate::capacity::{ThrottleLimit, Throttled};
use crate::item::Item;
use crate::message::data as message;

/// The decision an error carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ErrorCode {
    /// Request parsed, but its content is not acceptable.
    Validation,
    /// The body is not JSON of the expected shape.
    Serialization,
    /// No table (or index) of that name, or it is not ready.
    ResourceNotFound,
    /// The table exists already or is being changed.
    ResourceInUse,
    /// The condition did not hold.
    ConditionalCheckFailed,
    /// Provisioned units are used up.
    ProvisionedThroughputExceeded,
    /// On-demand or control-plane rate exceeded.
    Throttling,
    /// The account's rate was exceeded.
    RequestLimitExceeded,
    /// An item collection of a table with local indexes is over 10 GB.
    ItemCollectionSizeLimitExceeded,
    /// Too many tables, indexes or control-plane operations at once.
    LimitExceeded,
    /// Another transaction holds the item.
    TransactionConflict,
    /// A transaction was cancelled; reasons per item.
    TransactionCanceled,
    /// A write whose fate is unknown, or a fault of ours.
    InternalServerError,
    /// Nobody can serve the request at the moment (no leader, draining).
    ServiceUnavailable,
    /// The operation named by `X-Amz-Target` does not exist (here).
    UnknownOperation,
    /// No signature at all.
    MissingAuthenticationToken,
    /// A signature with missing parts.
    IncompleteSignature,
    /// A signature that does not fit.
    InvalidSignature,
    /// An access key nobody knows, or a session token.
    UnrecognizedClient,
    /// A known key without the permission.
    AccessDenied,
    /// No table of that name, said by the operations on backups.
    TableNotFound,
    /// No policy is attached to the table.
    PolicyNotFound,
}

impl ErrorCode {
    /// The `__type` of the error body, with the namespace that DynamoDB uses for it.
    pub fn wire_type(self) -> &'static str {
        match self {
            Self::Validation => "com.amazon.coral.validate#ValidationException",
            Self::Serialization => "com.amazon.coral.service#SerializationException",
            Self::ResourceNotFound => "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
            Self::ResourceInUse => "com.amazonaws.dynamodb.v20120810#ResourceInUseException",
            Self::ConditionalCheckFailed => "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            Self::ProvisionedThroughputExceeded => {
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
            }
            Self::Throttling => "com.amazonaws.dynamodb.v20120810#ThrottlingException",
            Self::RequestLimitExceeded => "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded",
            Self::ItemCollectionSizeLimitExceeded => {
                "com.amazonaws.dynamodb.v20120810#ItemCollectionSizeLimitExceededException"
            }
            Self::LimitExceeded => "com.amazonaws.dynamodb.v20120810#LimitExceededException",
            Self::TransactionConflict => "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
            Self::TransactionCanceled => "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            Self::InternalServerError => "com.amazonaws.dynamodb.v20120810#InternalServerError",
            Self::ServiceUnavailable => "com.amazon.coral.availability#ServiceUnavailableException",
            Self::UnknownOperation => "com.amazon.coral.service#UnknownOperationException",
            Self::MissingAuthenticationToken => "com.amazon.coral.service#MissingAuthenticationTokenException",
            Self::IncompleteSignature => "com.amazon.coral.service#IncompleteSignatureException",
            Self::InvalidSignature => "com.amazon.coral.service#InvalidSignatureException",
            Self::UnrecognizedClient => "com.amazon.coral.service#UnrecognizedClientException",
            Self::AccessDenied => "com.amazon.coral.service#AccessDeniedException",
            Self::TableNotFound => "com.amazonaws.dynamodb.v20120810#TableNotFoundException",
            Self::PolicyNotFound => "com.amazonaws.dynamodb.v20120810#PolicyNotFoundException",
        }
    }

    /// The HTTP status DynamoDB sends with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InternalServerError => 500,
            Self::ServiceUnavailable => 503,
            Self::Validation
            | Self::Serialization
            | Self::ResourceNotFound
            | Self::ResourceInUse
            | Self::ConditionalCheckFailed
            | Self::ProvisionedThroughputExceeded
            | Self::Throttling
            | Self::RequestLimitExceeded
            | Self::ItemCollectionSizeLimitExceeded
            | Self::LimitExceeded
            | Self::TransactionConflict
            | Self::TransactionCanceled
            | Self::UnknownOperation
            | Self::MissingAuthenticationToken
            | Self::IncompleteSignature
            | Self::InvalidSignature
            | Self::UnrecognizedClient
            | Self::AccessDenied
            | Self::TableNotFound
            | Self::PolicyNotFound => 400,
        }
    }
}

/// An error as the client will see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{code:?}: {message}")]
pub struct ApiError {
    /// What kind of error.
    pub code: ErrorCode,
    /// DynamoDB's words.
    pub message: Cow<'static, str>,
    /// The item a failed condition looked at, when `ReturnValuesOnConditionCheckFailure` asked for it.
    pub item: Option<Box<Item>>,
    /// Which limit a throttled request has met.
    pub throttled: Option<Box<Throttled>>,
}

impl ApiError {
    /// An error with a message.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            item: None,
            throttled: None,
        }
    }

    /// A throttled request. Provisioned tables, on-demand tables and the account have types of their own.
    pub fn throttled(throttled: Box<Throttled>) -> Self {
        let (code, message) = match (throttled.limit, throttled.provisioned) {
            (ThrottleLimit::ProvisionedThroughputExceeded, _) | (ThrottleLimit::KeyRangeThroughputExceeded, true) => (
                ErrorCode::ProvisionedThroughputExceeded,
                match throttled.index {
                    Some(_) => message::INDEX_UNITS_EXCEEDED,
                    None => message::TABLE_UNITS_EXCEEDED,
                },
            ),
            (ThrottleLimit::KeyRangeThroughputExceeded, false) => (ErrorCode::Throttling, message::ON_DEMAND_EXCEEDED),
            (ThrottleLimit::MaxOnDemandThroughputExceeded, _) => {
                (ErrorCode::Throttling, message::ON_DEMAND_MAXIMUM_EXCEEDED)
            }
            (ThrottleLimit::AccountLimitExceeded, _) => {
                (ErrorCode::RequestLimitExceeded, message::ACCOUNT_UNITS_EXCEEDED)
            }
        };
        Self {
            throttled: Some(throttled),
            ..Self::new(code, message)
        }
    }

    /// A `ValidationException`.
    pub fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Validation, message)
    }
}
