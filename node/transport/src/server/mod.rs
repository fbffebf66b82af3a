//! The answering side.
//!
//! 1. [`Server::serve`] accepts, within the limits, until it is told to stop.
//! 2. `connection` greets the peer and serves its requests.
//! 3. At the stop every peer is told to send no more; what it had sent by then is answered, then the connections close.

mod connection;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use partita_tls::{Current, Mutual};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use crate::letters::KnownAddress;
use crate::operation::{Operation, Reply};
use crate::protocol::{Identity, StoreIdentity, Versions};
use crate::stats::{Count, ServerStats};

/// How long to wait after a failed accept: the usual reason, no file descriptors, goes away when others close.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may be in the handshake beyond those served, to be told that there are too many.
const STRANGERS_MAX: usize = 64;

/// Whatever answers.
pub trait Service: Send + Sync + 'static {
    /// Answers one operation. The future is polled on its connection's task, so it must not block; what is ready at
    /// once costs no task. It is dropped when the caller cancels or its connection ends.
    fn call(&self, group: GroupId, operation: Operation) -> impl Future<Output = Reply> + Send;

    /// Whether a store may come: the reason if not.
    fn meet(&self, _store: &StoreIdentity) -> Result<(), String> {
        Ok(())
    }

    /// Takes letters of another store's replicas; an error closes its connection. It must not block.
    fn letters(&self, _from: Uuid, _letters: &[u8]) -> Result<(), String> {
        Err("this process has no replicas".to_owned())
    }

    /// Hears where another store knows stores to be.
    fn addresses(&self, _known: Vec<KnownAddress>) {}
}

/// What a server takes on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_peer_max: usize,
    /// How long a handshake may take, from accepting to the last byte of the Hello.
    pub handshake_time_max: Duration,
    /// Requests of one connection being worked on; it is not read further meanwhile.
    pub requests_max: usize,
    /// Bytes of requests of one connection being worked on; it is not read further meanwhile.
    pub request_bytes_max: usize,
    /// Bytes of one request. The longest are batches for global indexes: 1 MiB and one item's rows.
    pub message_bytes_max: usize,
    /// Bytes of answers of one connection that wait to be sent; it is not read further meanwhile.
    pub answer_bytes_max: usize,
    /// A connection on which nothing has come for so long is closed: clients ask for a sign of life far more often.
    pub silence_max: Duration,
    /// How long connections may go on after the stop.
    pub drain_time_max: Duration,
    /// How long connections may go on that were opened with certificates that have been replaced since.
    pub old_certificates_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_peer_max: 64,
            handshake_time_max: Duration::from_secs(5),
            requests_max: 1024,
            request_bytes_max: 32 << 20,
            message_bytes_max: 16 << 20,
            answer_bytes_max: 8 << 20,
            silence_max: Duration::from_secs(30),
            drain_time_max: Duration::from_secs(10),
            // Long enough that not all peers come back at once, short enough for whoever replaced a stolen key.
            old_certificates_time_max: Duration::from_secs(10 * 60),
        }
    }
}

/// Serves any number of listeners. Clones share limits and counts.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
    tls: Option<Current<Mutual>>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    versions: Versions,
    limits: Limits,
    counts: Counts,
    /// Connections of each address.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    connections: Count,
    connections_accepted: Count,
    connections_refused: Count,
    connections_broken: Count,
    in_flight: Count,
    requests: Count,
    refusals: Count,
    cancelled: Count,
    bytes_in: Count,
    bytes_out: Count,
}

impl Server {
    /// A server of this name.
    pub fn new(identity: Identity, limits: Limits) -> Self {
        Self::with_versions(identity, limits, Versions::OURS)
    }

    /// A server that speaks only these versions, of those that it can: for tests of upgrades.
    pub fn with_versions(identity: Identity, limits: Limits, versions: Versions) -> Self {
        Self {
            shared: Arc::new(Shared {
                identity,
                versions,
                limits,
                counts: Counts::default(),
                peers: Mutex::default(),
            }),
            tls: None,
        }
    }

    /// With mutual TLS, if there are certificates: then whoever does not speak it is refused.
    pub fn with_tls(self, tls: Option<Current<Mutual>>) -> Self {
        Self { tls, ..self }
    }

    /// What has been counted.
    pub fn stats(&self) -> ServerStats {
        let counts = &self.shared.counts;
        ServerStats {
            connections: counts.connections.get(),
            connections_accepted: counts.connections_accepted.get(),
            connections_refused: counts.connections_refused.get(),
            connections_broken: counts.connections_broken.get(),
            in_flight: counts.in_flight.get(),
            requests: counts.requests.get(),
            refusals: counts.refusals.get(),
            cancelled: counts.cancelled.get(),
            bytes_in: counts.bytes_in.get(),
            bytes_out: counts.bytes_out.get(),
        }
    }

    /// Serves until `stop` is there, then lets the peers finish, for [`Limits::drain_time_max`] at most.
    pub async fn serve<S: Service>(
        &self,
        listener: TcpListener,
        service: Arc<S>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let room = connections.len() < self.shared.limits.connections_max + STRANGERS_MAX;
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next() => note(&ended),
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, from)) => {
                        let serving = self.clone().connection(stream, from, Arc::clone(&service), stopped.clone());
                        connections.spawn(serving);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stopping.send_replace(true);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                note(&ended);
            }
        };
        if tokio::time::timeout(self.shared.limits.drain_time_max, drained)
            .await
            .is_err()
        {
            tracing::warn!("stopping with requests unanswered: they took longer than the drain");
            connections.shutdown().await;
        }
        Ok(())
    }

    /// One connection, from its handshake to its end.
    async fn connection<S: Service>(
        self,
        stream: TcpStream,
        from: SocketAddr,
        service: Arc<S>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let shared = &*self.shared;
        // Without it the last segment of an answer waits for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        shared.counts.connections_accepted.add(1);
        let place = shared.enter(from.ip());
        let (tls, replaced) = match &self.tls {
            Some(tls) => (Some(tls.latest()), tls.replaced().boxed()),
            None => (None, std::future::pending().boxed()),
        };
        let greeted = tokio::select! {
            greeted = connection::greet(stream, shared, &*service, tls.as_deref(), place.as_ref().err()) => greeted,
            // Somebody who has not yet been welcomed has asked for nothing.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match greeted {
            Ok(greeted) => {
                let connection = connection::Connection::new(shared, &*service, &greeted.welcomed);
                let (leave, mut left) = watch::channel(false);
                let outlived = shared.outlived(greeted.valid_for, replaced);
                tokio::select! {
                    () = connection.run(greeted.stream, &mut left) => {}
                    () = leaving(leave, stopped, outlived, shared.limits.drain_time_max) => {
                        tracing::warn!(peer = greeted.welcomed.peer, "a connection is closed: the peer holds on to old certificates");
                    }
                }
            }
            Err(error) => {
                shared.counts.connections_refused.add(1);
                tracing::warn!(%from, %error, "a connection was refused");
            }
        }
    }
}

/// Tells a connection to leave at the stop, or when it has outlived its certificates; then, when it should have left.
async fn leaving(
    leave: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
    outlived: impl Future<Output = ()>,
    drain: Duration,
) {
    let stopped = async { stopped.wait_for(|stopped| *stopped).await.is_ok() };
    let told = tokio::select! {
        told = stopped => told,
        () = outlived => {
            leave.send_replace(true);
            return tokio::time::sleep(drain).await;
        }
    };
    if told {
        leave.send_replace(true);
    }
    // Whoever stops the server has an eye on how long this takes.
    std::future::pending().await
}

/// A panic of the service ends its connection, and must not go unseen.
fn note(ended: &Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task has failed");
    }
}

impl Shared {
    /// Waits until a connection should be another one: our certificate was replaced a while ago, or the peer's has expired.
    async fn outlived(&self, valid_for: Option<Duration>, replaced: impl Future<Output = ()>) {
        let expired = async {
            match valid_for {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => {}
            () = replaced => tokio::time::sleep(self.limits.old_certificates_time_max).await,
        }
    }

    /// Takes a place for a connection; the reason if there is none.
    fn enter(&self, ip: IpAddr) -> Result<Place<'_>, String> {
        let mut peers = self.peers.lock();
        let all: usize = peers.values().sum();
        let own = peers.entry(ip).or_default();
        let (limits, full) = (&self.limits, "connections are open");
        let refused = if all >= limits.connections_max {
            Some(format!("{all} {full}, more than that are not served"))
        } else if *own >= limits.connections_per_peer_max {
            Some(format!("{own} {full} from {ip}, more than that are not served"))
        } else {
            None
        };
        if let Some(reason) = refused {
            if *own == 0 {
                peers.remove(&ip);
            }
            return Err(reason);
        }
        *own += 1;
        self.counts.connections.add(1);
        Ok(Place { shared: self, ip })
    }
}

/// A connection that counts.
struct Place<'a> {
    shared: &'a Shared,
    ip: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.counts.connections.sub(1);
        let mut peers = self.shared.peers.lock();
        if let Some(own) = peers.get_mut(&self.ip) {
            *own -= 1;
            if *own == 0 {
                peers.remove(&self.ip);
            }
        }
    }
}
