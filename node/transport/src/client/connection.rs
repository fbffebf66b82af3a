//! One connection to a peer.
//!
//! 1. [`Connection::send`] puts a request into the outbox, on the caller's thread, and wakes the connection's task.
//! 2. The task ([`Driver`]) lets the callers that are ready go first, then writes what all of them have put there.
//! 3. It hands each answer to its caller, who decodes it. A caller that has gone away has taken its id along; what
//!    still comes for it is dropped.
//! 4. When the peer says that it goes away, nothing more is sent here; what is in flight is waited for.
//! 5. When the connection ends, the place of each request in the stream says whether it had left as a whole.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use partita_tls::Stream;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::{CallError, Cause, ClientOptions, Counts};
use crate::frame::{FrameError, Kind, MESSAGE_BYTES_MAX};
use crate::inbox::Inbox;
use crate::operation::Operation;
use crate::outbox::Outbox;
use crate::protocol::Welcome;

/// What a connection begins with.
pub struct Opened {
    /// The bytes' way.
    pub stream: Stream,
    /// Which of this process's certificates it was opened with.
    pub generation: u64,
    /// For how long the peer's certificate is valid.
    pub valid_for: Option<Duration>,
}

/// What callers and the connection's task share.
#[derive(Debug)]
pub struct Connection {
    version: u16,
    generation: u64,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// There is something to send, or to leave.
    wake: Notify,
    /// Free places for requests in flight; closed as soon as nothing more is to be sent.
    places: Semaphore,
    /// Whether `places` is open.
    open: AtomicBool,
    /// Calls that have a place or wait for one.
    load: AtomicUsize,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    pending: HashMap<u64, Pending>,
    next_id: u64,
    life: Life,
}

#[derive(Debug, Clone, PartialEq)]
enum Life {
    /// Sends requests.
    Open,
    /// Sends no more requests. `told`: the peer knows.
    Leaving { told: bool },
    /// Is gone.
    Ended(Cause),
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Result<Vec<u8>, CallError>>,
    /// Where it ends in the stream; the highest number as long as it is not all placed.
    end: u64,
}

/// A request that was sent: its answer is to come. Dropping it cancels the request.
pub struct Call<'a> {
    connection: &'a Connection,
    id: u64,
    answer: oneshot::Receiver<Result<Vec<u8>, CallError>>,
}

impl Connection {
    /// Starts the task of a connection that has been greeted.
    pub fn start(
        address: &str,
        opened: Opened,
        welcome: &Welcome,
        options: &Arc<ClientOptions>,
        counts: Arc<Counts>,
    ) -> Arc<Self> {
        let places = options.in_flight_max.min(welcome.requests_max as usize).max(1);
        counts.connections.add(1);
        let connection = Arc::new(Self {
            version: welcome.version,
            generation: opened.generation,
            counts,
            state: Mutex::new(State {
                outbox: Outbox::default(),
                pending: HashMap::new(),
                next_id: 1,
                life: Life::Open,
            }),
            wake: Notify::new(),
            places: Semaphore::new(places),
            open: AtomicBool::new(true),
            load: AtomicUsize::new(0),
        });
        let mut driver = Driver::new(Arc::clone(&connection), Arc::clone(options), address.to_owned());
        driver.leave_at = opened.valid_for.and_then(|valid| Instant::now().checked_add(valid));
        tokio::spawn(driver.run(opened.stream));
        connection
    }

    /// Whether it still takes requests.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Which of this process's certificates it was opened with.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Calls in flight or waiting to be sent.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Sends a request, once there is a place for it.
    pub async fn send(&self, group: GroupId, operation: &Operation) -> Result<Call<'_>, Cause> {
        if operation.since() > self.version {
            return Err(Cause::Unsupported {
                version: self.version,
                since: operation.since(),
            });
        }
        let load = Load::on(self);
        let place = match self.places.acquire().await {
            Ok(place) => place,
            Err(_) => return Err(self.cause()),
        };
        let mut state = self.state.lock();
        match &state.life {
            Life::Open => {}
            Life::Leaving { .. } => return Err(leaving()),
            Life::Ended(cause) => return Err(cause.clone()),
        }
        let id = state.next_id;
        let asleep = state.outbox.is_empty();
        let end = state
            .outbox
            .push(Kind::Request, id, &(group, operation), MESSAGE_BYTES_MAX)
            .map_err(|error| Cause::Unsendable(error.to_string().into()))?;
        state.next_id += 1;
        let (sender, answer) = oneshot::channel();
        let pending = Pending {
            answer: sender,
            end: end.unwrap_or(u64::MAX),
        };
        state.pending.insert(id, pending);
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
        // From here on the call gives both back.
        place.forget();
        std::mem::forget(load);
        self.counts.requests.add(1);
        self.counts.in_flight.add(1);
        Ok(Call {
            connection: self,
            id,
            answer,
        })
    }

    /// Sends no more requests, and ends once those in flight are answered.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        if state.life == Life::Open {
            state.life = Life::Leaving { told: false };
            self.close_places();
        }
        drop(state);
        self.wake.notify_one();
    }

    fn close_places(&self) {
        self.open.store(false, Ordering::Release);
        self.places.close();
    }

    fn cause(&self) -> Cause {
        match &self.state.lock().life {
            Life::Ended(cause) => cause.clone(),
            Life::Open | Life::Leaving { .. } => leaving(),
        }
    }

    /// Ends: tells every caller what became of its request, when so many bytes of the stream had been written.
    fn end(&self, cause: Cause, written: u64) {
        let mut state = self.state.lock();
        state.life = Life::Ended(cause.clone());
        let pending = std::mem::take(&mut state.pending);
        state.outbox = Outbox::default();
        self.close_places();
        drop(state);
        for (_, Pending { answer, end }) in pending {
            let error = if end <= written {
                CallError::Lost(cause.clone())
            } else {
                CallError::NotSent(cause.clone())
            };
            // The caller may have gone away just now.
            let _ = answer.send(Err(error));
        }
    }
}

fn leaving() -> Cause {
    Cause::Closed("the peer takes no more requests on it".into())
}

/// Counts a call as long as it is there.
struct Load<'a>(&'a Connection);

impl<'a> Load<'a> {
    fn on(connection: &'a Connection) -> Self {
        connection.load.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Call<'_> {
    /// Waits for the answer's bytes.
    pub async fn answer(mut self) -> Result<Vec<u8>, CallError> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            // The connection's task was dropped with its runtime.
            Err(_) => Err(CallError::Lost(Cause::Closed("this process is stopping".into()))),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let connection = self.connection;
        let mut state = connection.state.lock();
        // It is there only if there has been no answer: the caller gives up.
        if state.pending.remove(&self.id).is_some() && !state.outbox.withdraw(self.id) {
            state.outbox.push_empty(Kind::Cancel, self.id);
            connection.wake.notify_one();
        }
        drop(state);
        connection.counts.in_flight.sub(1);
        connection.places.add_permits(1);
        drop(Load(connection));
    }
}

/// Why a conversation ends.
enum End {
    /// There is nobody left who wants it.
    Unused,
    Peer(std::io::Error),
    Silent,
    Frame(FrameError),
}

/// The connection's task.
struct Driver {
    connection: Arc<Connection>,
    options: Arc<ClientOptions>,
    address: String,
    inbox: Inbox,
    /// Taken from the outbox and being written, from `at` on.
    writing: Vec<u8>,
    at: usize,
    /// Bytes of the stream that the system has taken.
    written: u64,
    /// Something has come since the last tick.
    heard: bool,
    silent_periods: u32,
    /// The next request's id at the last tick, and ticks since it changed.
    last_id: u64,
    idle_periods: u32,
    /// When the peer's certificate expires.
    leave_at: Option<Instant>,
}

impl Driver {
    fn new(connection: Arc<Connection>, options: Arc<ClientOptions>, address: String) -> Self {
        Self {
            connection,
            options,
            address,
            inbox: Inbox::new(MESSAGE_BYTES_MAX),
            writing: Vec::new(),
            at: 0,
            written: 0,
            heard: false,
            silent_periods: 0,
            last_id: 0,
            idle_periods: 0,
            leave_at: None,
        }
    }

    async fn run(mut self, mut stream: Stream) {
        let end = match self.converse(&mut stream).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        let waiting = !self.connection.state.lock().pending.is_empty();
        let reason: Arc<str> = match &end {
            End::Unused => "it was not used".into(),
            End::Peer(error) => error.to_string().into(),
            End::Silent => "the peer gave no sign of life".into(),
            End::Frame(error) => error.to_string().into(),
        };
        let counts = &self.connection.counts;
        counts.connections.sub(1);
        if waiting || matches!(end, End::Frame(_)) {
            counts.connections_lost.add(1);
            tracing::warn!(address = self.address, %reason, "a connection was lost");
        } else {
            tracing::debug!(address = self.address, %reason, "a connection ended");
        }
        self.connection.end(Cause::Closed(reason), self.written);
    }

    async fn converse(&mut self, stream: &mut Stream) -> Result<std::convert::Infallible, End> {
        let (mut reader, mut writer) = stream.split();
        let connection = Arc::clone(&self.connection);
        let mut tick = self.ticks();
        let mut unflushed = false;
        loop {
            if self.at == self.writing.len() && self.take() {
                return Err(End::Unused);
            }
            tokio::select! {
                biased;
                written = writer.push(&self.writing[self.at..]), if self.at < self.writing.len() || unflushed => {
                    let written = written.map_err(End::Peer)?;
                    self.at += written;
                    self.written += written as u64;
                    connection.counts.bytes_out.add(written as u64);
                    // What TLS has taken may wait in its buffer; a push of nothing is what lets go of it.
                    unflushed = written > 0 && writer.buffers();
                }
                read = self.inbox.read(&mut reader) => {
                    let read = read.map_err(End::Peer)?;
                    if read == 0 {
                        return Err(End::Peer(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.heard = true;
                    connection.counts.bytes_in.add(read as u64);
                    self.receive().map_err(End::Frame)?;
                }
                () = connection.wake.notified(), if self.at == self.writing.len() => yield_once().await,
                _ = tick.tick() => self.tick()?,
            }
        }
    }

    fn ticks(&self) -> Interval {
        let mut tick = interval(self.options.ping_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        tick
    }

    /// Takes what is to be written; whether nothing will ever be.
    fn take(&mut self) -> bool {
        let mut state = self.connection.state.lock();
        let State {
            outbox, pending, life, ..
        } = &mut *state;
        if let Life::Leaving { told } = life
            && outbox.is_empty()
        {
            if *told && pending.is_empty() {
                return true;
            }
            if !std::mem::replace(told, true) {
                outbox.push_empty(Kind::GoAway, 0);
            }
        }
        outbox.take(&mut self.writing, |id, end| {
            if let Some(pending) = pending.get_mut(&id) {
                pending.end = end;
            }
        });
        self.at = 0;
        false
    }

    /// Hands on what has come.
    fn receive(&mut self) -> Result<(), FrameError> {
        let mut leave = false;
        let mut state = self.connection.state.lock();
        while let Some(message) = self.inbox.next()? {
            match message.kind {
                Kind::Answer => {
                    if let Some(pending) = state.pending.remove(&message.id) {
                        // The caller may have gone away just now.
                        let _ = pending.answer.send(Ok(message.payload.into_owned()));
                    }
                }
                Kind::Pong => {}
                Kind::GoAway => leave = true,
                kind @ (Kind::Hello
                | Kind::Welcome
                | Kind::Reject
                | Kind::Request
                | Kind::Cancel
                | Kind::Ping
                | Kind::Letters
                | Kind::Addresses) => return Err(FrameError::Unexpected(kind)),
            }
        }
        drop(state);
        if leave {
            self.connection.leave();
        }
        Ok(())
    }

    /// Looks after silence and idleness.
    fn tick(&mut self) -> Result<(), End> {
        let mut state = self.connection.state.lock();
        if std::mem::take(&mut self.heard) {
            self.silent_periods = 0;
        } else {
            self.silent_periods += 1;
            if self.silent_periods > self.options.silent_periods_max {
                return Err(End::Silent);
            }
            state.outbox.push_empty(Kind::Ping, 0);
        }
        if state.life == Life::Open && self.leave_at.is_some_and(|at| at <= Instant::now()) {
            tracing::info!(
                address = self.address,
                "the peer's certificate has expired: another connection is opened"
            );
            state.life = Life::Leaving { told: false };
            self.connection.close_places();
        }
        let idle = state.pending.is_empty() && state.next_id == self.last_id;
        self.last_id = state.next_id;
        self.idle_periods = if idle { self.idle_periods + 1 } else { 0 };
        if self.options.ping_every * self.idle_periods >= self.options.idle_time_max && state.life == Life::Open {
            state.life = Life::Leaving { told: true };
            self.connection.close_places();
        }
        Ok(())
    }
}

/// Lets everything go first that can go on now: the callers that have just been answered ask again, and their requests
/// leave with one system call.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
