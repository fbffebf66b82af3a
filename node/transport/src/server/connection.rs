//! One connection from a peer.
//!
//! 1. [`greet`] hears who it is and agrees on a version.
//! 2. [`Connection::run`] starts the requests that have come: each is polled in place, and most are answered with that.
//! 3. Those that have to wait run on together, in this same task; they are answered in the order in which they end.
//! 4. Everything that has been answered meanwhile leaves with one system call.
//! 5. While too much runs or waits to be sent, nothing further is read: the peer feels it.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, Aborted, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use partita_partition::descriptor::GroupId;
use partita_tls::{Mutual, Role, Stream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::{Service, Shared};
use crate::frame::{FrameError, Kind, MESSAGE_BYTES_MAX};
use crate::inbox::Inbox;
use crate::letters::KnownAddress;
use crate::operation::{Operation, Reason, Refused, Reply};
use crate::outbox::{Outbox, PushError};
use crate::protocol::{self, HandshakeError, StoreIdentity, VERSION_LETTERS, Welcomed};

/// What a peer is told that speaks our protocol as it is.
const ONLY_TLS: &str = "only mutual TLS is spoken here: the peer was started without --peer-tls";

/// A peer that has been greeted.
pub struct Greeted {
    /// The bytes' way.
    pub stream: Stream,
    /// Who it is, and what was agreed on.
    pub welcomed: Welcomed,
    /// For how long its certificate is valid.
    pub valid_for: Option<Duration>,
}

/// The server's half of the handshakes: who it is. A connection for which there is no place is told so.
pub async fn greet<S: Service>(
    stream: TcpStream,
    shared: &Shared,
    service: &S,
    tls: Option<&Mutual>,
    full: Option<&String>,
) -> Result<Greeted, HandshakeError> {
    let limit = shared.limits.handshake_time_max;
    match timeout(limit, welcome(stream, shared, service, tls, full)).await {
        Ok(greeted) => greeted,
        Err(_) => Err(HandshakeError::Timeout(limit)),
    }
}

async fn welcome<S: Service>(
    stream: TcpStream,
    shared: &Shared,
    service: &S,
    tls: Option<&Mutual>,
    full: Option<&String>,
) -> Result<Greeted, HandshakeError> {
    let requests_max = u32::try_from(shared.limits.requests_max).unwrap_or(u32::MAX);
    let (mut stream, known) = match tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => {
            let accepted = match tls.accept(stream, &[Role::Router, Role::Replica]).await {
                Err(partita_tls::HandshakeError::Plain(mut stream)) => {
                    protocol::turn_away(&mut stream, ONLY_TLS).await?;
                    return Err(HandshakeError::Plain);
                }
                accepted => accepted?,
            };
            (Stream::from(accepted.stream), Some(accepted.peer))
        }
    };
    let known = match known.transpose() {
        Ok(known) => known,
        Err(stranger) => {
            protocol::turn_away(&mut stream, &stranger.to_string()).await?;
            return Err(stranger.into());
        }
    };
    let meet = |store: &StoreIdentity| service.meet(store);
    let mut welcomed =
        protocol::welcome(&mut stream, &shared.identity, shared.versions, requests_max, full, meet).await?;
    if let Some(known) = &known {
        welcomed.peer = format!("{} as {}", welcomed.peer, known.name);
    }
    Ok(Greeted {
        stream,
        welcomed,
        valid_for: known.map(|known| known.valid_for),
    })
}

/// What a request that waits becomes: its id, its bytes, its reply.
type Waiting<'a> = Pin<Box<dyn Future<Output = (u64, usize, Result<Reply, Aborted>)> + Send + 'a>>;

/// Why a conversation ends.
enum End {
    /// Everything is answered and the peer sends no more.
    Done,
    Peer(io::Error),
    Silent,
    Frame(FrameError),
}

/// A connection that has been greeted.
pub struct Connection<'a, S> {
    shared: &'a Shared,
    service: &'a S,
    peer: &'a str,
    /// The store that may send letters here.
    store: Option<Uuid>,
    inbox: Inbox,
    outbox: Outbox,
    /// Taken from the outbox and being written, from `at` on.
    writing: Vec<u8>,
    at: usize,
    running: FuturesUnordered<Waiting<'a>>,
    cancels: HashMap<u64, AbortHandle>,
    /// Bytes of the requests that run.
    running_bytes: usize,
    /// Something has come since the last tick.
    heard: bool,
    /// The peer has said that it sends no more requests.
    finished: bool,
}

impl<'a, S: Service> Connection<'a, S> {
    /// A connection on which nothing has been said.
    pub fn new(shared: &'a Shared, service: &'a S, welcomed: &'a Welcomed) -> Self {
        let store = welcomed.store.as_ref().map(|store| store.uuid);
        Self {
            shared,
            service,
            peer: &welcomed.peer,
            store: store.filter(|_| welcomed.version >= VERSION_LETTERS),
            inbox: Inbox::new(shared.limits.message_bytes_max),
            outbox: Outbox::default(),
            writing: Vec::new(),
            at: 0,
            running: FuturesUnordered::new(),
            cancels: HashMap::new(),
            running_bytes: 0,
            heard: false,
            finished: false,
        }
    }

    /// Serves until one of both ends it.
    pub async fn run(mut self, mut stream: Stream, stopped: &mut watch::Receiver<bool>) {
        let Err(end) = self.converse(&mut stream, stopped).await;
        let peer = self.peer;
        match end {
            End::Done => tracing::debug!(peer, "a connection is done"),
            End::Peer(error) => tracing::debug!(peer, %error, "a connection ended"),
            End::Silent => tracing::warn!(peer, "a connection is closed: the peer gave no sign of life"),
            End::Frame(error) => {
                self.shared.counts.connections_broken.add(1);
                tracing::warn!(peer, %error, "a connection is closed");
            }
        }
    }

    async fn converse(
        &mut self,
        stream: &mut Stream,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, End> {
        let (mut reader, mut writer) = stream.split();
        let mut tick = self.ticks();
        let mut leaving = false;
        let mut unflushed = false;
        loop {
            self.start_requests().await.map_err(End::Frame)?;
            while let Some(Some(ended)) = self.running.next().now_or_never() {
                self.finish(ended);
            }
            if self.at == self.writing.len() {
                self.outbox.take(&mut self.writing, |_, _| {});
                self.at = 0;
                if self.finished && self.running.is_empty() && self.writing.is_empty() {
                    return Err(End::Done);
                }
            }
            let room = self.has_room();
            tokio::select! {
                biased;
                written = writer.push(&self.writing[self.at..]), if self.at < self.writing.len() || unflushed => {
                    let written = written.map_err(End::Peer)?;
                    self.at += written;
                    self.shared.counts.bytes_out.add(written as u64);
                    // What TLS has taken may wait in its buffer; a push of nothing is what lets go of it.
                    unflushed = written > 0 && writer.buffers();
                }
                Some(ended) = self.running.next(), if !self.running.is_empty() => self.finish(ended),
                read = self.inbox.read(&mut reader), if room => {
                    let read = read.map_err(End::Peer)?;
                    if read == 0 {
                        return Err(End::Peer(io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.heard = true;
                    self.shared.counts.bytes_in.add(read as u64);
                }
                _ = stopped.wait_for(|stopped| *stopped), if !leaving => {
                    leaving = true;
                    self.outbox.push_empty(Kind::GoAway, 0);
                }
                _ = tick.tick() => {
                    // Where nothing is read nothing can be heard.
                    if room && !std::mem::take(&mut self.heard) {
                        return Err(End::Silent);
                    }
                }
            }
        }
    }

    fn ticks(&self) -> Interval {
        let mut tick = interval(self.shared.limits.silence_max);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        tick
    }

    fn has_room(&self) -> bool {
        let limits = &self.shared.limits;
        let unsent = self.outbox.bytes() + self.writing.len() - self.at;
        self.running.len() < limits.requests_max
            && self.running_bytes < limits.request_bytes_max
            && unsent < limits.answer_bytes_max
    }

    /// Starts what has been received, as long as there is room.
    async fn start_requests(&mut self) -> Result<(), FrameError> {
        while self.has_room() {
            let Some(message) = self.inbox.next()? else { break };
            let (id, bytes) = (message.id, message.payload.len());
            match message.kind {
                Kind::Request => {
                    let decoded = postcard::from_bytes(&message.payload);
                    self.shared.counts.requests.add(1);
                    match decoded {
                        Ok((group, operation)) => self.start(id, bytes, group, operation).await,
                        Err(error) => self.answer(id, Err(unreadable(&error))),
                    }
                }
                Kind::Cancel => {
                    self.outbox.withdraw(id);
                    if let Some(cancel) = self.cancels.remove(&id) {
                        cancel.abort();
                    }
                }
                Kind::Ping => self.outbox.push_empty(Kind::Pong, id),
                Kind::GoAway => self.finished = true,
                kind @ (Kind::Letters | Kind::Addresses) => {
                    let from = self.store.ok_or(FrameError::Unexpected(kind))?;
                    let taken = match kind {
                        Kind::Letters => self.service.letters(from, &message.payload),
                        _ => addresses(&message.payload).map(|known| self.service.addresses(known)),
                    };
                    taken.map_err(FrameError::Letters)?;
                }
                kind @ (Kind::Hello | Kind::Welcome | Kind::Reject | Kind::Answer | Kind::Pong) => {
                    return Err(FrameError::Unexpected(kind));
                }
            }
        }
        Ok(())
    }

    /// Starts a request; answers it at once if it can be.
    async fn start(&mut self, id: u64, bytes: usize, group: GroupId, operation: Operation) {
        let service = self.service;
        let mut call = Box::pin(service.call(group, operation));
        if let std::task::Poll::Ready(reply) = futures::poll!(call.as_mut()) {
            return self.answer(id, reply);
        }
        let (cancel, registration) = AbortHandle::new_pair();
        let call = Abortable::new(call, registration);
        self.cancels.insert(id, cancel);
        self.running_bytes += bytes;
        self.shared.counts.in_flight.add(1);
        self.running.push(Box::pin(call.map(move |reply| (id, bytes, reply))));
    }

    /// A request that had to wait has ended.
    fn finish(&mut self, (id, bytes, reply): (u64, usize, Result<Reply, Aborted>)) {
        self.cancels.remove(&id);
        self.running_bytes -= bytes;
        self.shared.counts.in_flight.sub(1);
        match reply {
            Ok(reply) => self.answer(id, reply),
            Err(Aborted) => self.shared.counts.cancelled.add(1),
        }
    }

    fn answer(&mut self, id: u64, reply: Reply) {
        let pushed = self.outbox.push(Kind::Answer, id, &reply, MESSAGE_BYTES_MAX);
        let refused = match (&pushed, &reply) {
            (Ok(_), reply) => reply.is_err(),
            (Err(error), _) => {
                self.refuse(id, error);
                true
            }
        };
        if refused {
            self.shared.counts.refusals.add(1);
        }
    }

    /// Says that there is an answer, but none that can be sent.
    fn refuse(&mut self, id: u64, error: &PushError) {
        tracing::error!(peer = self.peer, %error, "an answer cannot be sent");
        let reason = match error {
            PushError::TooLong(bytes) => Reason::TooLong(*bytes as u64),
            PushError::Encoding(error) => Reason::Unreadable(error.to_string()),
        };
        let reply: Reply = Err(Refused {
            reason,
            known: Vec::new(),
        });
        // A sentence and a number: this is neither too long nor of a type that cannot be encoded.
        let _ = self.outbox.push(Kind::Answer, id, &reply, MESSAGE_BYTES_MAX);
    }
}

impl<S> Drop for Connection<'_, S> {
    fn drop(&mut self) {
        self.shared.counts.in_flight.sub(self.running.len() as u64);
    }
}

fn addresses(payload: &[u8]) -> Result<Vec<KnownAddress>, String> {
    postcard::from_bytes(payload).map_err(|error| error.to_string())
}

fn unreadable(error: &postcard::Error) -> Refused {
    Refused {
        reason: Reason::Unreadable(error.to_string()),
        known: Vec::new(),
    }
}
