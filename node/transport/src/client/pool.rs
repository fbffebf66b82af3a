//! The few connections to one peer.
//!
//! 1. A call takes the open connection with the fewest requests in flight.
//! 2. Where there is none, or all are busy and there may be more, one attempt to connect is under way at a time: the
//!    name is looked up anew (a pod that was replaced has another address), then the handshake.
//! 3. After a failure the next attempt waits, longer each time. Attempts are only made while somebody calls.
//! 4. A call without a connection follows the attempts as long as it has patience. A peer that says no ends the wait.
//! 5. When this process's certificates have been replaced, a connection with the new ones is opened, and takes over from all
//!    that were opened with the old ones.

use std::sync::Arc;

use parking_lot::Mutex;
use partita_tls::{Current, Mutual, Role, Stream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::connection::{Connection, Opened};
use super::{Cause, ClientOptions, Counts};
use crate::protocol::{self, HandshakeError, Hello, Welcome};

/// Doublings of the pause after a failure; the longest pause is reached long before.
const DOUBLINGS_MAX: u32 = 16;

/// The connections to one address.
#[derive(Debug)]
pub struct Pool {
    address: String,
    options: Arc<ClientOptions>,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// How the last attempt to connect ended; changes with each attempt.
    attempts: watch::Sender<Option<Cause>>,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    connecting: bool,
    /// Attempts that failed since one succeeded.
    failures: u32,
    /// No attempt before.
    retry_at: Option<Instant>,
}

impl Pool {
    /// A pool without connections.
    pub fn new(address: &str, options: Arc<ClientOptions>, counts: Arc<Counts>) -> Self {
        Self {
            address: address.to_owned(),
            options,
            counts,
            state: Mutex::default(),
            attempts: watch::Sender::new(None),
        }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How the client behaves.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// What the client counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The connection for a call.
    pub async fn connection(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Connection>, Cause> {
        if let Some(connection) = self.choose() {
            return Ok(connection);
        }
        let give_up = deadline.min(Instant::now() + self.options.connect_wait);
        let mut attempts = self.attempts.subscribe();
        loop {
            // Looked at behind the subscription, so that no attempt ends unseen.
            if let Some(connection) = self.choose() {
                return Ok(connection);
            }
            let patient = timeout_at(give_up, attempts.changed()).await.is_ok();
            match &*attempts.borrow_and_update() {
                Some(rejected @ Cause::Rejected(_)) if patient => return Err(rejected.clone()),
                Some(cause) if !patient => return Err(cause.clone()),
                None if !patient => return Err(Cause::Connect("none was opened in time".into())),
                _ => {}
            }
        }
    }

    /// The least loaded connection; starts to open one where that is called for.
    fn choose(self: &Arc<Self>) -> Option<Arc<Connection>> {
        let mut state = self.state.lock();
        let best = state
            .connections
            .iter()
            .filter(|connection| connection.is_open())
            .min_by_key(|connection| connection.load());
        let best = best.map(Arc::clone);
        let busy = best.as_ref().is_none_or(|c| c.load() >= self.options.spread_from);
        let old = best.as_ref().is_some_and(|c| c.generation() != self.generation());
        if (busy || old) && !state.connecting {
            state.connections.retain(|connection| connection.is_open());
            if old || state.connections.len() < self.options.connections_max {
                state.connecting = true;
                let not_before = state.retry_at;
                tokio::spawn(Arc::clone(self).open(not_before));
            }
        }
        best
    }

    /// One attempt to connect.
    async fn open(self: Arc<Self>, not_before: Option<Instant>) {
        if let Some(at) = not_before {
            sleep_until(at).await;
        }
        let limit = self.options.connect_time_max;
        let outcome = match timeout(limit, self.connect()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HandshakeError::Timeout(limit)),
        };
        let cause = match outcome {
            Ok((opened, welcome)) => {
                tracing::debug!(address = self.address, peer = welcome.name, "connected");
                self.counts.connections_opened.add(1);
                let connection =
                    Connection::start(&self.address, opened, &welcome, &self.options, Arc::clone(&self.counts));
                let mut state = self.state.lock();
                for older in state
                    .connections
                    .iter()
                    .filter(|c| c.generation() != connection.generation())
                {
                    older.leave();
                }
                state.connections.push(connection);
                state.failures = 0;
                state.retry_at = None;
                state.connecting = false;
                None
            }
            Err(error) => {
                self.counts.connections_failed.add(1);
                tracing::warn!(address = self.address, %error, "cannot connect");
                let mut state = self.state.lock();
                let doublings = state.failures.min(DOUBLINGS_MAX);
                let pause = self.options.backoff_first * (1 << doublings);
                state.failures += 1;
                state.retry_at = Some(Instant::now() + pause.min(self.options.backoff_longest));
                state.connecting = false;
                Some(match error {
                    HandshakeError::Rejected(_) | HandshakeError::Versions { .. } => {
                        Cause::Rejected(error.to_string().into())
                    }
                    error => Cause::Connect(error.to_string().into()),
                })
            }
        };
        self.attempts.send_replace(cause);
    }

    async fn connect(&self) -> Result<(Opened, Welcome), HandshakeError> {
        let hello = Hello::of(&self.options.identity);
        dial(&self.address, &hello, self.options.tls.as_ref()).await
    }

    /// Counts the certificates that this process has had.
    fn generation(&self) -> u64 {
        self.options.tls.as_ref().map_or(0, Current::generation)
    }
}

/// Opens a connection to a replica, and greets.
pub async fn dial(
    address: &str,
    hello: &Hello,
    tls: Option<&Current<Mutual>>,
) -> Result<(Opened, Welcome), HandshakeError> {
    let stream = TcpStream::connect(address).await?;
    // Without it a short message waits for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let mut opened = match tls {
        None => Opened {
            stream: Stream::Plain(stream),
            generation: 0,
            valid_for: None,
        },
        Some(tls) => {
            let generation = tls.generation();
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let (stream, peer) = tls.latest().connect(host, stream, &[Role::Replica]).await?;
            Opened {
                stream: stream.into(),
                generation,
                valid_for: Some(peer.valid_for),
            }
        }
    };
    let welcome = protocol::greet(&mut opened.stream, hello).await?;
    Ok((opened, welcome))
}

impl Drop for Pool {
    fn drop(&mut self) {
        for connection in self.state.get_mut().connections.drain(..) {
            connection.leave();
        }
    }
}
