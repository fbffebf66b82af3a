//! A server with a scripted service, a client, and raw peers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use partita_partition::descriptor::GroupId;
use partita_tls::{Current, Mutual};
use partita_transport::frame::{HEADER_BYTES, Header, Kind};
use partita_transport::protocol::{self, Hello, Versions};
use partita_transport::{
    CallError, Cause, Client, ClientOptions, Identity, Limits, Operation, Reply, Role, Server, Service,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than any of these tests takes: only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Call = dyn Fn(GroupId, Operation) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync;

/// A service that is a function.
pub struct Scripted(Box<Call>);

impl Scripted {
    pub fn new<F, A>(call: F) -> Self
    where
        F: Fn(GroupId, Operation) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        Self(Box::new(move |group, operation| Box::pin(call(group, operation))))
    }
}

impl Service for Scripted {
    fn call(&self, group: GroupId, operation: Operation) -> impl Future<Output = Reply> + Send {
        (self.0)(group, operation)
    }
}

/// A server that runs.
pub struct Node {
    pub address: String,
    pub server: Server,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Node {
    pub async fn start(service: Scripted) -> Self {
        Self::with(service, Limits::default()).await
    }

    pub async fn with(service: Scripted, limits: Limits) -> Self {
        Self::at("127.0.0.1:0", service, limits, Versions::OURS).await
    }

    pub async fn at(address: &str, service: Scripted, limits: Limits, versions: Versions) -> Self {
        Self::secured(address, service, limits, versions, None).await
    }

    pub async fn secured(
        address: &str,
        service: Scripted,
        limits: Limits,
        versions: Versions,
        tls: Option<Current<Mutual>>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::with_versions(Identity::new(Role::Replica, "node"), limits, versions).with_tls(tls);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.clone();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serving.serve(listener, Arc::new(service), stopped).await
        });
        Self {
            address,
            server,
            stop: Some(stop),
            serving,
        }
    }

    /// Tells it to stop.
    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it, and waits until it has.
    pub async fn stop(mut self) {
        self.tell_to_stop();
        within(self.serving).await.unwrap().unwrap();
    }
}

/// One connection a peer, unless a test says otherwise.
pub fn options() -> ClientOptions {
    let mut options = ClientOptions::new(Identity::new(Role::Router, "client"));
    options.connections_max = 1;
    options.call_time_max = PATIENCE;
    options.connect_wait = PATIENCE;
    options.connect_time_max = PATIENCE;
    options.backoff_first = Duration::from_millis(1);
    options.backoff_longest = Duration::from_millis(10);
    // A machine that is busy must not look like a dead peer.
    options.silent_periods_max = 60;
    options
}

pub fn client() -> Client {
    Client::new(options())
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "never: {what}");
}

/// Waits, but not for ever.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this takes too long")
}

/// A peer that speaks frames by hand.
pub struct Raw(pub TcpStream);

impl Raw {
    /// A client that has been welcomed.
    pub async fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let hello = Hello::of(&Identity::new(Role::Router, "raw"));
        protocol::greet(&mut stream, &hello).await.unwrap();
        Self(stream)
    }

    /// A server that has welcomed the next client.
    pub async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let us = Identity::new(Role::Replica, "raw");
        protocol::welcome(&mut stream, &us, Versions::OURS, 1000, None, |_| Ok(()))
            .await
            .unwrap();
        Self(stream)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame.
    pub async fn frame(&mut self) -> (Header, Vec<u8>) {
        let mut header = [0; HEADER_BYTES];
        within(self.0.read_exact(&mut header)).await.unwrap();
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.length as usize];
        within(self.0.read_exact(&mut payload)).await.unwrap();
        header.check(&payload).unwrap();
        (header, payload)
    }

    /// The next message of a kind, whatever comes before it: its id and its bytes.
    pub async fn message(&mut self, kind: Kind) -> (u64, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            let (header, payload) = self.frame().await;
            if header.kind == kind {
                bytes.extend_from_slice(&payload);
                if !header.more {
                    return (header.id, bytes);
                }
            }
        }
    }

    /// Waits until the other side has closed, whatever it still sends.
    pub async fn closed(mut self) {
        let mut buffer = [0; 4096];
        while within(self.0.read(&mut buffer)).await.is_ok_and(|read| read > 0) {}
    }
}

/// A frame of one message.
pub fn frame(kind: Kind, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header::of(kind, id, false, payload).encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// A request's frame.
pub fn request(id: u64, operation: &Operation) -> Vec<u8> {
    frame(
        Kind::Request,
        id,
        &postcard::to_stdvec(&(GroupId(1), operation)).unwrap(),
    )
}

/// An answer's frame.
pub fn answer(id: u64, reply: &Reply) -> Vec<u8> {
    frame(Kind::Answer, id, &postcard::to_stdvec(reply).unwrap())
}

/// What a call that was lost says.
pub fn lost<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Cause {
    match outcome {
        Err(CallError::Lost(cause)) => cause,
        other => panic!("not lost: {other:?}"),
    }
}

/// What a call that was not sent says.
pub fn not_sent<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Cause {
    match outcome {
        Err(CallError::NotSent(cause)) => cause,
        other => panic!("sent: {other:?}"),
    }
}
