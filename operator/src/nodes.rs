//! The storage nodes' admin API, as the operator calls it.
//!
//! 1. [`NodeName`] is who is asked: a pod, which keeps its name while its process and its store may become others;
//! 2. [`Nodes`] is what can be asked of a node; every call may be repeated;
//! 3. [`HttpNodes`] asks over HTTP, with bounds on time and size. Tests have nodes of their own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use partita_crds::names::{self, ADMIN_PORT, ADMIN_TLS_PORT};
use partita_model::admin::{
    Bootstrap, Change, ChangeStep, Freeze, FreezeState, JobState, Leader, Merge, MergeDone, MergeMade, Problem,
    ProblemCode, Room, Split, StoreState, Thaw,
};
use partita_model::partition::GroupId;
use partita_model::schema::{IndexId, TableSchema};
use partita_tls::{Connector, Current, Mutual, Role};
use sha2::{Digest, Sha256};

/// How long a connection to a node may take: nodes are in the same cluster.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a call may take. The longest, making a group, waits for the disk a few times.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The longest answer that is read: a store's groups, each with its schema (at most 25 indexes).
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections to a node that nobody used for so long are closed: most nodes are asked every five minutes.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A storage node: one of the pods of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName {
    /// The StatefulSet.
    pub host: String,
    /// Which of its pods, from 0 on.
    pub ordinal: usize,
}

impl NodeName {
    /// Of a StatefulSet.
    pub fn new(host: &str, ordinal: usize) -> Self {
        Self {
            host: host.to_owned(),
            ordinal,
        }
    }

    /// Its claim.
    pub fn claim(&self) -> String {
        names::claim(&self.to_string())
    }

    /// Its host name.
    pub fn dns(&self, namespace: &str) -> String {
        names::host(&self.host, self.ordinal, namespace)
    }

    /// Where other storage nodes and routers reach it.
    pub fn address(&self, namespace: &str) -> String {
        format!("{}:{}", self.dns(namespace), names::TRANSPORT_PORT)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&names::pod(&self.host, self.ordinal))
    }
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Make this store's part of a group, unless it is there.
    Bootstrap(Box<Bootstrap>),
    /// Make room for a replica that was added to a group, unless it is there.
    MakeRoom(Box<Room>),
    /// Change the members of a group, once.
    Change(GroupId, Box<Change>),
    /// Let this replica of a group lead.
    HandOver(GroupId, u64),
    /// Remove this replica of a group, unless it is gone.
    Remove(GroupId, u64),
    /// Take this schema, unless it is known.
    SetSchema(GroupId, Arc<TableSchema>),
    /// Copy the items of this group into a global index.
    Backfill(GroupId, IndexId),
    /// Make (or drop) the expiry rows of this group's items.
    Expiry(GroupId, bool),
    /// Cut this group in two, once for each child.
    Split(GroupId, Box<Split>),
    /// Let this group stand still, to be absorbed by that one, in the merge of this id.
    Freeze(GroupId, GroupId, String),
    /// Let this group absorb that one, in the merge of this id.
    Merge(GroupId, GroupId, String),
    /// Give that merge up, unless it was made.
    RefuseMerge(GroupId, GroupId, String),
    /// Let this group go on: the merge is refused.
    Thaw(GroupId, Box<Thaw>),
}

/// What a node said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Done,
    /// It takes its time.
    Job(JobState),
    /// It stands still; whether everywhere.
    Frozen(bool),
    /// What was decided of a merge.
    Decided(MergeDone),
}

/// Why a call did not succeed. It is made again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No answer.
    #[error("no answer from {0}: {1}")]
    Silent(String, String),
    /// Refused by the node.
    #[error("{0} refused: {1}")]
    Refused(String, String),
    /// Not now: what was seen has changed meanwhile, or something has to come first that goes on by itself.
    #[error("{0} is not ready for it: {1}")]
    NotYet(String, String),
    /// The source of a merge does not stand still, or not everywhere, as far as the node knows.
    #[error("{0}: {1}")]
    NotFrozen(String, String),
}

/// The storage nodes, by host name.
pub trait Nodes: Send + Sync + 'static {
    /// Which store a node has, and what is in it.
    fn store<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<StoreState, NodeError>>;
    /// Tells a node something.
    fn call<'a>(&'a self, host: &'a str, call: &'a Call) -> BoxFuture<'a, Result<Answer, NodeError>>;
}

/// Over HTTP, or over mutual TLS.
pub struct HttpNodes {
    tls: Option<Current<Mutual>>,
    port: u16,
    /// The client, and which certificates its connections were opened with.
    client: Mutex<(u64, HttpClient)>,
}

type HttpClient = Client<Connector, Full<Bytes>>;

impl HttpNodes {
    /// Nodes whose admin API listens on [`ADMIN_TLS_PORT`] where there is a certificate, else on [`ADMIN_PORT`].
    pub fn new(tls: Option<Current<Mutual>>) -> Self {
        let port = if tls.is_some() { ADMIN_TLS_PORT } else { ADMIN_PORT };
        Self::on_port(port, tls)
    }

    fn on_port(port: u16, tls: Option<Current<Mutual>>) -> Self {
        let generation = tls.as_ref().map_or(0, Current::generation);
        Self {
            port,
            client: Mutex::new((generation, client(tls.clone()))),
            tls,
        }
    }

    /// The client; another one, with new connections, once there are other certificates.
    fn client(&self) -> HttpClient {
        let generation = self.tls.as_ref().map_or(0, Current::generation);
        let mut current = self.client.lock();
        if current.0 != generation {
            *current = (generation, client(self.tls.clone()));
        }
        current.1.clone()
    }

    async fn request(&self, host: &str, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, NodeError> {
        let silent = |error: String| NodeError::Silent(host.to_owned(), error);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://{host}:{}{path}", self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| silent(error.to_string()))?;
        let exchange = async {
            let answer = self.client().request(request).await.map_err(|e| silent(chain(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| silent(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let answered = tokio::time::timeout(CALL_MAX, exchange).await;
        let (status, body) = answered.unwrap_or_else(|_| Err(silent(format!("nothing within {CALL_MAX:?}"))))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(refused(host, status, &body))
    }
}

fn client(tls: Option<Current<Mutual>>) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_MAX)
        .build(Connector::new(tls, &[Role::Replica], CONNECT_MAX))
}

/// An error with its causes: a client's own words are only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refused(host: &str, status: StatusCode, body: &[u8]) -> NodeError {
    let host = host.to_owned();
    let Ok(Problem { message, code, .. }) = serde_json::from_slice::<Problem>(body) else {
        let words = String::from_utf8_lossy(body);
        return NodeError::Refused(host, format!("{status} {}", words.trim()));
    };
    match code {
        Some(
            ProblemCode::NotLeader
            | ProblemCode::StaleEpoch
            | ProblemCode::Busy
            | ProblemCode::Behind
            | ProblemCode::UnknownFate
            | ProblemCode::IndexBuilding
            | ProblemCode::ChangesPending,
        ) => NodeError::NotYet(host, message),
        Some(ProblemCode::NotFrozen) => NodeError::NotFrozen(host, message),
        _ => NodeError::Refused(host, message),
    }
}

/// The id of a change: whoever decides the same about the same members asks for the same change, which is made once.
fn change_id(group: GroupId, change: &Change) -> String {
    let mut hash = Sha256::new();
    hash.update(group.0.to_be_bytes());
    hash.update(change.expected_epoch.unwrap_or_default().to_be_bytes());
    match &change.step {
        ChangeStep::AddLearner(learner) => hash.update(format!("add {}", learner.store)),
        ChangeStep::Promote(replica) => hash.update(format!("promote {replica}")),
        ChangeStep::Remove(replica) => hash.update(format!("remove {replica}")),
        ChangeStep::Replace { add, remove } => hash.update(format!("replace {remove} by {add}")),
    }
    uuid(hash)
}

/// The id of a split follows from its child's, and that from the parent as it was: whoever decides the same asks for the same.
fn split_id(group: GroupId, split: &Split) -> String {
    let mut hash = Sha256::new();
    hash.update(b"split");
    hash.update(group.0.to_be_bytes());
    hash.update(split.child.0.to_be_bytes());
    uuid(hash)
}

/// The group that leaves a parent in this range epoch: 63 bits that are not zero, like all groups' ids.
pub fn child_of(parent: GroupId, range_epoch: u64) -> GroupId {
    let mut hash = Sha256::new();
    hash.update(b"child");
    hash.update(parent.0.to_be_bytes());
    hash.update(range_epoch.to_be_bytes());
    let bits = hash
        .finalize()
        .iter()
        .take(8)
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    GroupId((bits >> 1).max(1))
}

/// The id of a merge of two groups as they are; `attempt` counts those of the same two that were given up.
pub fn merge_id((absorber, epoch): (GroupId, u64), (source, source_epoch): (GroupId, u64), attempt: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(b"merge");
    for number in [absorber.0, epoch, source.0, source_epoch, attempt as u64] {
        hash.update(number.to_be_bytes());
    }
    uuid(hash)
}

fn uuid(hash: Sha256) -> String {
    let digits = hex::encode(hash.finalize());
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..32],
    ];
    parts.join("-")
}

fn unreadable(host: &str, error: &serde_json::Error) -> NodeError {
    NodeError::Refused(host.to_owned(), format!("an answer that cannot be read: {error}"))
}

/// A call on the wire.
fn encode(call: &Call) -> Result<(Method, String, Vec<u8>), serde_json::Error> {
    Ok(match call {
        Call::Bootstrap(bootstrap) => (
            Method::PUT,
            format!("/groups/{:016x}/voters", bootstrap.descriptor.group.0),
            serde_json::to_vec(bootstrap)?,
        ),
        Call::MakeRoom(room) => (
            Method::PUT,
            format!("/groups/{:016x}/replica", room.descriptor.group.0),
            serde_json::to_vec(room)?,
        ),
        Call::Change(group, change) => (
            Method::PUT,
            format!("/groups/{:016x}/changes/{}", group.0, change_id(*group, change)),
            serde_json::to_vec(change)?,
        ),
        Call::HandOver(group, replica) => (
            Method::PUT,
            format!("/groups/{:016x}/leader", group.0),
            serde_json::to_vec(&Leader { replica: *replica })?,
        ),
        Call::Remove(group, replica) => (
            Method::DELETE,
            format!("/groups/{:016x}?replica={replica}", group.0),
            Vec::new(),
        ),
        Call::SetSchema(group, schema) => (
            Method::PUT,
            format!("/groups/{:016x}/schema", group.0),
            serde_json::to_vec(schema)?,
        ),
        Call::Backfill(group, index) => (
            Method::PUT,
            format!("/groups/{:016x}/backfill/{}", group.0, index.0),
            Vec::new(),
        ),
        Call::Expiry(group, on) => {
            let switch = if *on { "on" } else { "off" };
            (
                Method::PUT,
                format!("/groups/{:016x}/expiry/{switch}", group.0),
                Vec::new(),
            )
        }
        Call::Split(group, split) => (
            Method::PUT,
            format!("/groups/{:016x}/splits/{}", group.0, split_id(*group, split)),
            serde_json::to_vec(split)?,
        ),
        Call::Freeze(source, absorber, id) => (
            Method::PUT,
            format!("/groups/{:016x}/freezes/{id}", source.0),
            serde_json::to_vec(&Freeze { absorber: *absorber })?,
        ),
        Call::Merge(absorber, source, id) => (
            Method::PUT,
            format!("/groups/{:016x}/merges/{id}", absorber.0),
            serde_json::to_vec(&Merge { source: *source })?,
        ),
        Call::RefuseMerge(absorber, source, id) => (
            Method::PUT,
            format!("/groups/{:016x}/refusals/{id}", absorber.0),
            serde_json::to_vec(&Merge { source: *source })?,
        ),
        Call::Thaw(source, thaw) => (
            Method::PUT,
            format!("/groups/{:016x}/thaws/{}", source.0, thaw.merge.id),
            serde_json::to_vec(thaw)?,
        ),
    })
}

impl Nodes for HttpNodes {
    fn store<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<StoreState, NodeError>> {
        Box::pin(async move {
            let body = self.request(host, Method::GET, "/store", Vec::new()).await?;
            serde_json::from_slice(&body).map_err(|error| unreadable(host, &error))
        })
    }

    fn call<'a>(&'a self, host: &'a str, call: &'a Call) -> BoxFuture<'a, Result<Answer, NodeError>> {
        Box::pin(async move {
            let (method, path, body) = encode(call).map_err(|error| unreadable(host, &error))?;
            let answer = self.request(host, method, &path, body).await?;
            match call {
                Call::Bootstrap(_)
                | Call::MakeRoom(_)
                | Call::Change(..)
                | Call::HandOver(..)
                | Call::Remove(..)
                | Call::SetSchema(..)
                | Call::Split(..)
                | Call::Thaw(..) => Ok(Answer::Done),
                Call::Freeze(..) => {
                    let state: FreezeState =
                        serde_json::from_slice(&answer).map_err(|error| unreadable(host, &error))?;
                    Ok(Answer::Frozen(state.frozen.everywhere))
                }
                Call::Merge(..) | Call::RefuseMerge(..) => {
                    let made: MergeMade = serde_json::from_slice(&answer).map_err(|error| unreadable(host, &error))?;
                    Ok(Answer::Decided(made.merge))
                }
                Call::Backfill(..) | Call::Expiry(..) => {
                    let job = serde_json::from_slice(&answer).map_err(|error| unreadable(host, &error))?;
                    Ok(Answer::Job(job))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Path;
    use axum::routing::{get, put};
    use partita_model::admin::StoreAddress;
    use partita_model::partition::PartitionDescriptor;

    async fn serve() -> HttpNodes {
        let store = r#"{"uuid":"u","version":"1","groups":[]}"#;
        let router = Router::new()
            .route("/store", get(async move || store))
            .route(
                "/groups/{group}/backfill/{index}",
                put(async |Path((group, index)): Path<(String, String)>| {
                    assert_eq!((group.as_str(), index.as_str()), ("00000000000000ff", "3"));
                    r#"{"done":false,"rows":12}"#
                }),
            )
            .route(
                "/groups/{group}/voters",
                put(async || (StatusCode::CONFLICT, r#"{"message":"another range"}"#)),
            )
            .route(
                "/groups/{group}/changes/{change}",
                put(async |body: Bytes| {
                    let change: Change = serde_json::from_slice(&body).unwrap();
                    assert_eq!(change.step, ChangeStep::Promote(4));
                    (StatusCode::CONFLICT, r#"{"message":"has 3 of 9","code":"behind"}"#)
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        HttpNodes::on_port(port, None)
    }

    #[tokio::test]
    async fn calls_cross_and_come_back() {
        let nodes = serve().await;
        assert_eq!(nodes.store("127.0.0.1").await.unwrap().uuid, "u");
        let job = nodes
            .call("127.0.0.1", &Call::Backfill(GroupId(255), IndexId(3)))
            .await
            .unwrap();
        assert_eq!(
            job,
            Answer::Job(JobState {
                done: false,
                rows: 12,
                waiting: None
            })
        );
    }

    #[tokio::test]
    async fn refusals_keep_their_words_and_silence_its_cause() {
        let nodes = serve().await;
        let schema = Arc::new(crate::testing::schema());
        let bootstrap = Bootstrap {
            descriptor: PartitionDescriptor::whole_table(GroupId(1), schema),
            voters: Vec::new(),
        };
        let refused = nodes
            .call("127.0.0.1", &Call::Bootstrap(Box::new(bootstrap)))
            .await
            .unwrap_err();
        assert_eq!(refused, NodeError::Refused("127.0.0.1".into(), "another range".into()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap().port();
        drop(listener);
        let silent = HttpNodes::on_port(closed, None).store("127.0.0.1").await.unwrap_err();
        assert!(silent.to_string().contains("refused"), "{silent}");
    }

    #[tokio::test]
    async fn what_has_to_wait_is_no_failure() {
        let nodes = serve().await;
        let change = Change {
            expected_epoch: Some(3),
            step: ChangeStep::Promote(4),
        };
        let waits = nodes
            .call("127.0.0.1", &Call::Change(GroupId(1), Box::new(change)))
            .await;
        assert_eq!(waits, Err(NodeError::NotYet("127.0.0.1".into(), "has 3 of 9".into())));
    }

    #[test]
    fn splits_and_merges_have_ids_of_their_own() {
        let child = child_of(GroupId(5), 3);
        assert_eq!(child, child_of(GroupId(5), 3));
        assert_ne!(child, child_of(GroupId(5), 4));
        let merge = |epoch, attempt| merge_id((GroupId(1), epoch), (GroupId(2), 4), attempt);
        assert_eq!(merge(1, 0), merge(1, 0));
        assert!(merge(1, 0) != merge(2, 0) && merge(1, 0) != merge(1, 1));
        assert_eq!(merge(1, 0).len(), 36);
    }

    #[test]
    fn the_same_change_has_the_same_id() {
        let learner = |store: &str| {
            ChangeStep::AddLearner(StoreAddress {
                store: store.to_owned(),
                address: "a:1".to_owned(),
            })
        };
        let id = |group, epoch, step| {
            let change = Change {
                expected_epoch: Some(epoch),
                step,
            };
            change_id(GroupId(group), &change)
        };
        let one = id(1, 2, learner("a"));
        assert_eq!(one.len(), 36);
        assert_eq!(one, id(1, 2, learner("a")));
        for other in [
            id(2, 2, learner("a")),
            id(1, 3, learner("a")),
            id(1, 2, learner("b")),
            id(1, 2, ChangeStep::Remove(1)),
        ] {
            assert_ne!(one, other);
        }
    }
}
