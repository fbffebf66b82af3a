//! The leader of a partition in another process.

use std::sync::Weak;

use partita_model::error::{ApiError, ErrorCode};
use partita_model::partition::GroupId;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::TableId;
use partita_transport::{CallError, Cause, Peer, Reason, Refused};

use super::map::Map;
use crate::routing::Leader;

/// A partition at a peer.
#[derive(Clone)]
pub struct Remote {
    /// Its table.
    pub table: TableId,
    /// Its group.
    pub group: GroupId,
    /// Who leads the group.
    pub peer: Peer,
    /// The epoch of the range as the node said it; zero for what the directory says.
    pub range_epoch: u64,
    /// What the peer's corrections change.
    pub map: Weak<Map>,
}

impl Leader for Remote {
    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let reply = self.peer.get(self.group, request).await;
        reply.map_err(|error| self.refusal(error, Refusal::NotLeader))
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let reply = self.peer.write(self.group, request).await;
        reply.map_err(|error| self.refusal(error, Refusal::UnknownFate))
    }

    async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        let reply = self.peer.page(self.group, request).await;
        reply.map_err(|error| self.refusal(error, Refusal::NotLeader))
    }
}

impl Remote {
    /// What a failed call is to the caller. `lost`: of a request that left, and was not answered.
    fn refusal(&self, error: CallError, lost: Refusal) -> Refusal {
        match error {
            CallError::Refused(refused) => self.refused(refused),
            CallError::NotSent(Cause::Unsupported { .. } | Cause::Unsendable(_)) => self.fault(&error),
            CallError::NotSent(_) => {
                tracing::debug!(node = self.peer.address(), %error, "not reached");
                Refusal::NotLeader
            }
            CallError::Lost(Cause::Unreadable(_)) if lost != Refusal::UnknownFate => self.fault(&error),
            CallError::Lost(_) => {
                tracing::warn!(node = self.peer.address(), %error, "a call was lost");
                lost
            }
        }
    }

    fn refused(&self, refused: Refused) -> Refusal {
        if !refused.known.is_empty()
            && let Some(map) = self.map.upgrade()
        {
            map.learn(self.table, &self.peer, &refused.known);
        }
        match refused.reason {
            // That process goes away; another one will have the partition.
            Reason::Refusal(Refusal::Stopping) => Refusal::NotLeader,
            Reason::Refusal(refusal) => refusal,
            Reason::UnknownGroup => Refusal::WrongRange,
            reason @ (Reason::Unreadable(_) | Reason::TooLong(_)) => self.fault(&reason),
        }
    }

    /// Asking again would not help.
    fn fault(&self, what: &dyn std::fmt::Display) -> Refusal {
        tracing::error!(node = self.peer.address(), error = %what, "the node does not understand this router");
        Refusal::Api(ApiError::new(ErrorCode::InternalServerError, "Internal server error"))
    }
}
