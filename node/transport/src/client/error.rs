//! How a call can fail: what matters is whether it can be repeated.

use std::sync::Arc;

use crate::operation::Refused;

/// Why there is no answer, or no useful one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The node answered: it did not do it (unless the reason is `UnknownFate`).
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request never left as a whole: the node cannot have done it.
    #[error("not sent: {0}")]
    NotSent(Cause),
    /// The request left and no answer came: nobody knows whether a write will take effect.
    #[error("sent, but not answered: {0}")]
    Lost(Cause),
}

/// What came between a call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// There is no connection: the last attempt's error.
    #[error("no connection: {0}")]
    Connect(Arc<str>),
    /// The peer does not talk to us; it says why.
    #[error("{0}")]
    Rejected(Arc<str>),
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(Arc<str>),
    /// The caller's time ran out.
    #[error("out of time")]
    Deadline,
    /// The peer speaks an older version of the protocol than the operation needs.
    #[error("the peer speaks version {version} of the protocol, the operation needs {since}")]
    Unsupported {
        /// What it speaks.
        version: u16,
        /// What has the operation.
        since: u16,
    },
    /// The request cannot be sent to anybody: too long.
    #[error("{0}")]
    Unsendable(Arc<str>),
    /// The answer is not one to this operation.
    #[error("an unreadable answer: {0}")]
    Unreadable(Arc<str>),
}

impl CallError {
    /// Whether it is certain that nothing was done, and the same call can succeed later or elsewhere.
    pub fn may_be_repeated(&self) -> bool {
        match self {
            Self::NotSent(cause) => !matches!(cause, Cause::Unsupported { .. } | Cause::Unsendable(_)),
            Self::Refused(_) | Self::Lost(_) => false,
        }
    }
}
