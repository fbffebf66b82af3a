//! The HTTP side: from a listener to a finished answer.
//!
//! 1. [`serve`] accepts connections, at most [`Limits::connections_max`] at once, secures them if that is wanted, and
//!    drains them at the end;
//! 2. [`route`] sorts by method and path: `POST /` is the API, `GET /` the health line, `OPTIONS` a preflight;
//! 3. [`body`] collects and inflates the body within bounds of size, memory and time;
//! 4. [`call`] names the operation, finds out who asks, runs the operation and counts it;
//! 5. [`answer`] renders bodies and errors with DynamoDB's headers.

mod answer;
mod body;
mod call;
mod request_id;
mod route;
mod serve;
mod shield;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::auth::Auth;
use crate::metrics::Metrics;
pub use serve::serve;
pub use shield::{is_shielded, shield};

const MIB: usize = 1024 * 1024;

/// The HTTP side's bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once; the next one waits in the listener's backlog.
    pub connections_max: usize,
    /// How long a TLS handshake may take.
    pub handshake_time_max: Duration,
    /// How long a connection may be idle, or take to send a request's head.
    pub head_time_max: Duration,
    /// How long a body may take to arrive.
    pub body_time_max: Duration,
    /// Bytes of a body, as received and inflated.
    pub body_bytes_max: usize,
    /// Bytes of all large bodies that are being received or worked on; the next one waits.
    pub bodies_bytes_max: usize,
    /// How long open requests may take after the listener was told to stop.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Ten thousand idle connections are nothing special for SDKs with pools.
            connections_max: 20_000,
            handshake_time_max: Duration::from_secs(10),
            // Longer than the idle time of the SDKs' own pools (botocore, Java: 60 s), so that they close first.
            head_time_max: Duration::from_secs(120),
            body_time_max: Duration::from_secs(30),
            // DynamoDB's 16 MB of a batch, and room for names and brackets.
            body_bytes_max: 17 * MIB,
            bodies_bytes_max: 256 * MIB,
            drain_time_max: Duration::from_secs(20),
        }
    }
}

/// A connection's bytes, as the client means them.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// What secures connections: HTTPS.
pub trait Secure: Send + Sync {
    /// The server's half of a handshake; `None` if there is nothing further to say to the client.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, Option<Box<dyn Connection>>>;
}

/// Everything a request needs.
pub struct App<B> {
    backend: Arc<B>,
    region: Arc<str>,
    auth: Auth,
    metrics: Arc<Metrics>,
    limits: Limits,
    secure: Option<Box<dyn Secure>>,
    /// Room for large bodies, in KiB.
    bodies: Arc<Semaphore>,
}

impl<B> App<B> {
    /// Puts the parts together.
    pub fn new(backend: Arc<B>, region: &str, auth: Auth, metrics: Arc<Metrics>, limits: Limits) -> Self {
        let bodies = Arc::new(Semaphore::new(
            limits.bodies_bytes_max.max(limits.body_bytes_max) / body::ROOM_UNIT_BYTES + 1,
        ));
        Self {
            backend,
            region: region.into(),
            auth,
            metrics,
            limits,
            secure: None,
            bodies,
        }
    }

    /// Secures every connection, if there is something that does.
    pub fn secured(self, secure: Option<Box<dyn Secure>>) -> Self {
        Self { secure, ..self }
    }
}
