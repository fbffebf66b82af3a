//! The storage nodes' admin API, as the operator calls it.
//!
//! 1. [`Nodes`] is what can be asked of a node; every call may be repeated;
//! 2. [`HttpNodes`] asks over HTTP, with bounds on time and size. Tests have nodes of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use partita_crds::names::{ADMIN_PORT, ADMIN_TLS_PORT};
use partita_model::admin::{JobState, Problem, StoreState};
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::{IndexId, TableSchema};
use partita_tls::{Connector, Current, Mutual, Role};

/// How long a connection to a node may take: nodes are in the same cluster.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a call may take. The longest, making a group, waits for the disk a few times.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The longest answer that is read: a store's groups, each with its schema (at most 25 indexes).
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections to a node that nobody used for so long are closed: most nodes are asked every five minutes.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Make this group, unless it is there.
    Bootstrap(Box<PartitionDescriptor>),
    /// Remove this group, unless it is gone.
    Remove(GroupId),
    /// Take this schema, unless it is known.
    SetSchema(GroupId, Arc<TableSchema>),
    /// Copy the items of this group into a global index.
    Backfill(GroupId, IndexId),
    /// Make (or drop) the expiry rows of this group's items.
    Expiry(GroupId, bool),
}

/// What a node said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Done,
    /// It takes its time.
    Job(JobState),
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
        Err(NodeError::Refused(host.to_owned(), refusal(status, &body)))
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

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.message,
        Err(_) => format!("{status} {}", String::from_utf8_lossy(body).trim()),
    }
}

fn unreadable(host: &str, error: &serde_json::Error) -> NodeError {
    NodeError::Refused(host.to_owned(), format!("an answer that cannot be read: {error}"))
}

/// A call on the wire.
fn encode(call: &Call) -> Result<(Method, String, Vec<u8>), serde_json::Error> {
    Ok(match call {
        Call::Bootstrap(descriptor) => (
            Method::PUT,
            format!("/groups/{:016x}", descriptor.group.0),
            serde_json::to_vec(descriptor)?,
        ),
        Call::Remove(group) => (Method::DELETE, format!("/groups/{:016x}", group.0), Vec::new()),
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
                Call::Bootstrap(_) | Call::Remove(_) | Call::SetSchema(..) => Ok(Answer::Done),
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
                "/groups/{group}",
                put(async || (StatusCode::CONFLICT, r#"{"message":"another range"}"#)),
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
        let descriptor = PartitionDescriptor::whole_table(GroupId(1), schema);
        let refused = nodes
            .call("127.0.0.1", &Call::Bootstrap(Box::new(descriptor)))
            .await
            .unwrap_err();
        assert_eq!(refused, NodeError::Refused("127.0.0.1".into(), "another range".into()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap().port();
        drop(listener);
        let silent = HttpNodes::on_port(closed).store("127.0.0.1").await.unwrap_err();
        assert!(silent.to_string().contains("refused"), "{silent}");
    }
}
