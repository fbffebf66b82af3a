//! The calling side.
//!
//! 1. A [`Client`] has a [`Peer`] for each address; what is counted is counted for all of them.
//! 2. [`Peer::call`] makes attempts ([`attempt`](Peer::call_within)) until one of them may not be repeated: a read that
//!    was lost is repeated once, a call that has not left is repeated, all within the caller's time.
//! 3. `pool` finds or opens the connection for an attempt, `connection` carries it.

mod connection;
mod error;
pub(crate) mod pool;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use partita_model::capacity::{UnitsAnswer, UnitsCall};
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, WriteReply, WriteRequest};
use partita_model::schema::TableId;
use partita_partition::command::{Command, CommandReply, Delivered};
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_tls::{Current, Mutual};
use tokio::time::{Instant, timeout_at};

pub use self::error::{CallError, Cause};
use self::pool::Pool;
use crate::operation::{Answer, GroupLeader, GroupStats, Operation, Reply};
use crate::protocol::Identity;
use crate::stats::{ClientStats, Count};

/// Attempts of one call that did not leave: each finds another connection, so more than a few are a peer that accepts
/// and closes.
const UNSENT_ATTEMPTS_MAX: u32 = 3;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Who calls.
    pub identity: Identity,
    /// The certificates of mutual TLS; without, connections are plain.
    pub tls: Option<Current<Mutual>>,
    /// Connections to one peer. More than one, so that both ends can use more than one core.
    pub connections_max: usize,
    /// Requests in flight on one connection; further calls wait. The peer may ask for fewer.
    pub in_flight_max: usize,
    /// A further connection is opened when every one has this many requests in flight: fewer connections write more
    /// frames with each system call.
    pub spread_from: usize,
    /// How long a call may take that says nothing else.
    pub call_time_max: Duration,
    /// How long a call waits for a connection to be opened.
    pub connect_wait: Duration,
    /// How long one attempt to connect may take, name lookup and handshake included.
    pub connect_time_max: Duration,
    /// The pause after a failed attempt to connect; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_longest: Duration,
    /// A connection without calls is closed after this.
    pub idle_time_max: Duration,
    /// A connection on which nothing has come for so long is asked for a sign of life.
    pub ping_every: Duration,
    /// After so many silent periods of `ping_every` the peer is taken for dead.
    pub silent_periods_max: u32,
}

impl ClientOptions {
    /// What suits pods of one cluster.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            tls: None,
            connections_max: 4,
            in_flight_max: 512,
            spread_from: 64,
            call_time_max: Duration::from_secs(10),
            connect_wait: Duration::from_secs(2),
            connect_time_max: Duration::from_secs(3),
            backoff_first: Duration::from_millis(50),
            backoff_longest: Duration::from_secs(1),
            idle_time_max: Duration::from_secs(60),
            ping_every: Duration::from_secs(1),
            silent_periods_max: 4,
        }
    }
}

/// Calls to any number of peers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Arc<ClientOptions>,
    counts: Arc<Counts>,
    peers: Mutex<HashMap<String, Weak<Pool>>>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    connections: Count,
    connections_opened: Count,
    connections_failed: Count,
    connections_lost: Count,
    in_flight: Count,
    requests: Count,
    repeated: Count,
    not_sent: Count,
    lost: Count,
    bytes_in: Count,
    bytes_out: Count,
}

impl Client {
    /// A client without connections.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options: Arc::new(options),
                counts: Arc::default(),
                peers: Mutex::default(),
            }),
        }
    }

    /// The peer at `host:port`. Nothing is opened before the first call; connections are shared with all peers of the
    /// same address, and closed when the last of them is dropped.
    pub fn peer(&self, address: &str) -> Peer {
        let mut peers = self.shared.peers.lock();
        if let Some(pool) = peers.get(address).and_then(Weak::upgrade) {
            return Peer::of(pool);
        }
        peers.retain(|_, pool| pool.strong_count() > 0);
        let pool = Arc::new(Pool::new(
            address,
            Arc::clone(&self.shared.options),
            Arc::clone(&self.shared.counts),
        ));
        peers.insert(address.to_owned(), Arc::downgrade(&pool));
        Peer::of(pool)
    }

    /// What has been counted.
    pub fn stats(&self) -> ClientStats {
        let counts = &self.shared.counts;
        ClientStats {
            connections: counts.connections.get(),
            connections_opened: counts.connections_opened.get(),
            connections_failed: counts.connections_failed.get(),
            connections_lost: counts.connections_lost.get(),
            in_flight: counts.in_flight.get(),
            requests: counts.requests.get(),
            repeated: counts.repeated.get(),
            not_sent: counts.not_sent.get(),
            lost: counts.lost.get(),
            bytes_in: counts.bytes_in.get(),
            bytes_out: counts.bytes_out.get(),
        }
    }
}

/// A process that can be called. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Peer {
    pool: Arc<Pool>,
    /// Whether the call that is being made may have left.
    left: Option<Arc<AtomicBool>>,
}

impl Peer {
    fn of(pool: Arc<Pool>) -> Self {
        Self { pool, left: None }
    }

    /// For one call, and whether that may have left: who drops it before it has knows that nobody will carry it out.
    pub fn watched(&self) -> (Self, Arc<AtomicBool>) {
        let left = Arc::<AtomicBool>::default();
        let peer = Self {
            pool: Arc::clone(&self.pool),
            left: Some(Arc::clone(&left)),
        };
        (peer, left)
    }

    fn note_left(&self, may_have_left: bool) {
        if let Some(left) = &self.left {
            left.store(may_have_left, Ordering::Release);
        }
    }

    /// Where it is: `host:port`.
    pub fn address(&self) -> &str {
        self.pool.address()
    }

    /// Calls, with the client's usual patience.
    pub async fn call(&self, group: GroupId, operation: Operation) -> Result<Answer, CallError> {
        let patience = self.pool.options().call_time_max;
        self.call_within(group, operation, patience).await
    }

    /// Calls, and waits so long at most. Dropping the future cancels the call; a write may take effect all the same.
    pub async fn call_within(
        &self,
        group: GroupId,
        operation: Operation,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let deadline = Instant::now() + patience;
        let mut lost = false;
        let mut unsent = 0;
        loop {
            let error = match self.attempt(group, &operation, deadline).await {
                Err(error) => error,
                answer => return answer,
            };
            let repeat = match &error {
                CallError::Lost(Cause::Closed(_)) => operation.is_read() && !std::mem::replace(&mut lost, true),
                CallError::NotSent(Cause::Closed(_)) => {
                    unsent += 1;
                    unsent < UNSENT_ATTEMPTS_MAX
                }
                _ => false,
            };
            let counts = self.pool.counts();
            match error {
                _ if repeat => counts.repeated.add(1),
                CallError::NotSent(_) => counts.not_sent.add(1),
                CallError::Lost(_) => counts.lost.add(1),
                CallError::Refused(_) => {}
            }
            if !repeat {
                return Err(error);
            }
        }
    }

    /// Calls once, over one connection.
    async fn attempt(&self, group: GroupId, operation: &Operation, deadline: Instant) -> Result<Answer, CallError> {
        let mut sent = false;
        let attempt = async {
            let connection = self.pool.connection(deadline).await.map_err(CallError::NotSent)?;
            let call = connection.send(group, operation).await.map_err(CallError::NotSent)?;
            sent = true;
            self.note_left(true);
            let answer = call.answer().await;
            self.note_left(!matches!(answer, Err(CallError::NotSent(_))));
            answer
        };
        let outcome = timeout_at(deadline, attempt).await;
        let bytes = match outcome {
            Ok(answer) => answer?,
            Err(_) if sent => return Err(CallError::Lost(Cause::Deadline)),
            Err(_) => return Err(CallError::NotSent(Cause::Deadline)),
        };
        match postcard::from_bytes::<Reply>(&bytes) {
            Ok(reply) => Ok(reply?),
            Err(error) => Err(CallError::Lost(Cause::Unreadable(error.to_string().into()))),
        }
    }

    /// Reads one item.
    pub async fn get(&self, group: GroupId, request: GetRequest) -> Result<GetReply, CallError> {
        match self.call(group, Operation::Get(request)).await? {
            Answer::Get(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// Writes one item.
    pub async fn write(&self, group: GroupId, request: WriteRequest) -> Result<WriteReply, CallError> {
        match self.call(group, Operation::Write(request)).await? {
            Answer::Write(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// Reads one page.
    pub async fn page(&self, group: GroupId, request: PageRequest) -> Result<PageReply, CallError> {
        match self.call(group, Operation::Page(request)).await? {
            Answer::Page(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// Reads a further part of a page, behind so many bytes of it that were read elsewhere.
    pub async fn further(&self, group: GroupId, request: PageRequest, read: u64) -> Result<PageReply, CallError> {
        match self.call(group, Operation::Further(request, read)).await? {
            Answer::Page(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// Carries out a command.
    pub async fn command(&self, group: GroupId, command: Command) -> Result<CommandReply, CallError> {
        match self.call(group, Operation::Command(command)).await? {
            Answer::Command(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// How far `source` has been delivered at this group.
    pub async fn position(&self, group: GroupId, source: GroupId) -> Result<Option<Delivered>, CallError> {
        match self.call(group, Operation::Position(source)).await? {
            Answer::Position(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// What the group counts.
    pub async fn stats(&self, group: GroupId) -> Result<GroupStats, CallError> {
        match self.call(group, Operation::Stats).await? {
            Answer::Stats(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// The partitions of a table (or of a global index, by its own table id) that the node has.
    pub async fn describe(&self, group: GroupId, table: TableId) -> Result<Vec<PartitionDescriptor>, CallError> {
        match self.call(group, Operation::Describe(table)).await? {
            Answer::Describe(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// About the units of the table that the group's partition is of.
    pub async fn units(
        &self,
        group: GroupId,
        table: TableId,
        call: UnitsCall,
        patience: Duration,
    ) -> Result<UnitsAnswer, CallError> {
        match self.call_within(group, Operation::Units(table, call), patience).await? {
            Answer::Units(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }

    /// Who leads the group, as far as this peer knows. Answered from memory.
    pub async fn leader(&self, group: GroupId, patience: Duration) -> Result<GroupLeader, CallError> {
        match self.call_within(group, Operation::Leader, patience).await? {
            Answer::Leader(reply) => Ok(reply),
            other => Err(mismatch(&other)),
        }
    }
}

/// The peer answered another question.
fn mismatch(answer: &Answer) -> CallError {
    let name = match answer {
        Answer::Get(_) => "Get",
        Answer::Write(_) => "Write",
        Answer::Page(_) => "Page",
        Answer::Command(_) => "Command",
        Answer::Position(_) => "Position",
        Answer::Stats(_) => "Stats",
        Answer::Describe(_) => "Describe",
        Answer::Leader(_) => "Leader",
        Answer::Units(_) => "Units",
    };
    CallError::Lost(Cause::Unreadable(format!("an answer to {name}").into()))
}
