//! A partition in other processes.
//!
//! 1. Strong reads and writes go to the leader, wherever it is by now ([`Replicas`]): who refuses is not the one, who cannot be
//!    reached may not be it any more. A call is sent again only where nobody can have done it, or it changes nothing.
//! 2. Eventual reads go to each replica in turn; one that cannot answer them leaves them to the leader.

use std::sync::{Arc, Weak};
use std::time::Duration;

use partita_model::error::{ApiError, ErrorCode};
use partita_model::partition::GroupId;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::TableId;
use partita_transport::{CallError, Cause, Peer, Reason, Refused};
use tokio::time::timeout;

use super::map::Map;
use crate::replicas::{Replicas, Watched, is_unknown_there};
use crate::routing::{Dated, Leader};

/// A call follows the leadership this often before it is left to the patience of whoever asked: it rarely moves twice.
const REDIRECTS_MAX: u32 = 2;
/// How long a follower may take for an eventual read before the leader is asked.
const EVENTUAL_MAX: Duration = Duration::from_millis(500);

/// A partition in other processes.
#[derive(Clone)]
pub struct Remote {
    /// Its table.
    pub table: TableId,
    /// The replicas of its group.
    pub replicas: Arc<Replicas>,
    /// The epoch of the range as a node said it; zero for what the directory says.
    pub range_epoch: u64,
    /// What the nodes' corrections change.
    pub map: Weak<Map>,
}

impl Dated for Remote {
    fn group(&self) -> GroupId {
        self.replicas.group()
    }

    fn range_epoch(&self) -> u64 {
        self.range_epoch
    }

    fn at_epoch(self, range_epoch: u64) -> Self {
        Self { range_epoch, ..self }
    }
}

impl Leader for Remote {
    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let group = self.replicas.group();
        if !request.consistent
            && let Some(reply) = self
                .eventually(|peer| {
                    let request = request.clone();
                    async move { peer.get(group, request).await }
                })
                .await
        {
            return Ok(reply);
        }
        self.led(Refusal::NotLeader, |peer| {
            let request = request.clone();
            async move { peer.get(group, request).await }
        })
        .await
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let group = self.replicas.group();
        self.led(Refusal::UnknownFate, |peer| {
            let request = request.clone();
            async move { peer.write(group, request).await }
        })
        .await
    }

    async fn page(&self, request: PageRequest, read: Option<u64>) -> Result<PageReply, Refusal> {
        let group = self.replicas.group();
        if !request.consistent
            && let Some(reply) = self
                .eventually(|peer| {
                    let request = request.clone();
                    async move { part(&peer, group, request, read).await }
                })
                .await
        {
            return Ok(reply);
        }
        self.led(Refusal::NotLeader, |peer| {
            let request = request.clone();
            async move { part(&peer, group, request, read).await }
        })
        .await
    }
}

/// Reads a page, or a further part of one. A replica of an older release takes that for a page of its own.
async fn part(peer: &Peer, group: GroupId, request: PageRequest, read: Option<u64>) -> Result<PageReply, CallError> {
    let Some(read) = read else {
        return peer.page(group, request).await;
    };
    match peer.further(group, request.clone(), read).await {
        Err(CallError::NotSent(Cause::Unsupported { .. })) => peer.page(group, request).await,
        answered => answered,
    }
}

impl Remote {
    /// Asks the leader, and whoever has become it meanwhile. `lost`: what it is to the caller when a request left and was
    /// not answered; unless that is an unknown fate, it is asked again.
    async fn led<T, F>(&self, lost: Refusal, ask: impl Fn(Peer) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let mut redirects = 0;
        loop {
            let leader = self.replicas.leader();
            let error = match self.replicas.ask(&leader, &ask).await {
                Watched::Ended(Ok(reply)) => return Ok(reply),
                Watched::Ended(Err(error)) => error,
                Watched::Deposed { sent } => {
                    let cause = Cause::Closed("another replica leads meanwhile".into());
                    if sent {
                        CallError::Lost(cause)
                    } else {
                        CallError::NotSent(cause)
                    }
                }
            };
            let elsewhere = is_unknown_there(&error);
            let refusal = self.refusal(&leader, error, lost.clone());
            let may_be_elsewhere = elsewhere || refusal == Refusal::NotLeader;
            if !may_be_elsewhere {
                return Err(refusal);
            }
            let moved = self.replicas.find(&leader).await;
            if !moved && elsewhere {
                self.replicas.pass_on(&leader);
            }
            redirects += 1;
            if !moved || redirects > REDIRECTS_MAX {
                return Err(refusal);
            }
        }
    }

    /// Asks the replica whose turn it is; `None` when there is only one, or it has no answer to an eventual read now.
    async fn eventually<T, F>(&self, ask: impl FnOnce(Peer) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let peer = self.replicas.any()?;
        match timeout(EVENTUAL_MAX, ask(peer.clone())).await {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(error)) => {
                // What it says of the route is worth knowing; the rest is the leader's to say.
                let _ = self.refusal(&peer, error, Refusal::NotLeader);
                None
            }
            Err(_) => None,
        }
    }

    /// What a failed call is to the caller. `lost`: of a request that left, and was not answered.
    fn refusal(&self, peer: &Peer, error: CallError, lost: Refusal) -> Refusal {
        match error {
            CallError::Refused(refused) => self.refused(peer, refused),
            CallError::NotSent(Cause::Unsupported { .. } | Cause::Unsendable(_)) => fault(peer, &error),
            CallError::NotSent(_) => {
                tracing::debug!(node = peer.address(), %error, "not reached");
                Refusal::NotLeader
            }
            CallError::Lost(Cause::Unreadable(_)) if lost != Refusal::UnknownFate => fault(peer, &error),
            CallError::Lost(_) => {
                tracing::warn!(node = peer.address(), %error, "a call was lost");
                lost
            }
        }
    }

    fn refused(&self, peer: &Peer, refused: Refused) -> Refusal {
        if !refused.known.is_empty()
            && let Some(map) = self.map.upgrade()
        {
            map.learn(self.table, peer, &refused.known);
        }
        match refused.reason {
            // That process goes away; another one will have the partition.
            Reason::Refusal(Refusal::Stopping) => Refusal::NotLeader,
            Reason::Refusal(refusal) => refusal,
            Reason::UnknownGroup => Refusal::WrongRange,
            reason @ (Reason::Unreadable(_) | Reason::TooLong(_)) => fault(peer, &reason),
        }
    }
}

/// Asking again would not help.
fn fault(peer: &Peer, what: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(node = peer.address(), error = %what, "the node does not understand this router");
    Refusal::Api(ApiError::new(ErrorCode::InternalServerError, "Internal server error"))
}
