//! The connection to one other store.
//!
//! 1. Sleep until there is a letter.
//! 2. Look the address up (it may have changed), connect, greet: whoever is there must be that very store.
//! 3. Tell what is known of other stores, then write what comes, in order.
//! 4. When the connection ends, or cannot be opened, what waits is dropped: it is old by then. Try again after a pause.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use partita_tls::Stream;
use rand::Rng as _;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use super::{KnownAddress, Queue, Shared};
use crate::client::pool::dial;
use crate::frame::{CHUNK_BYTES_MAX, FrameError, HEADER_BYTES, Header, Kind, MESSAGE_BYTES_MAX};
use crate::inbox::Inbox;
use crate::protocol::{HandshakeError, Hello, VERSION_LETTERS, Welcome};

/// One attempt to connect, name lookup and handshake included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// The pause after a failed attempt; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest pause: a store that has come back is written to within an election timeout.
const PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// Doublings after which the longest pause is reached.
const DOUBLINGS_MAX: u32 = 6;
/// So much is written with one system call, or one batch.
const WRITE_BYTES: usize = 4 * CHUNK_BYTES_MAX;
/// The other store is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(1);
/// After so many of these without one it is taken for dead, and its name is looked up anew.
const SILENT_PERIODS_MAX: u32 = 3;
/// A link without letters ends after so many of these: stores that share a group write ten times a second.
const IDLE_PERIODS_MAX: u32 = 60;

/// See the module's header.
pub struct Link {
    shared: Arc<Shared>,
    to: Uuid,
    queue: Arc<Queue>,
    failures: u32,
    /// What was last said in the log: a store that stays away is said to be so once.
    said: String,
}

/// Why a conversation ends.
enum End {
    Idle,
    Closed(std::io::Error),
    Leaves,
    Silent,
    Frame(FrameError),
}

impl Link {
    pub fn new(shared: Arc<Shared>, to: Uuid, queue: Arc<Queue>) -> Self {
        Self {
            shared,
            to,
            queue,
            failures: 0,
            said: String::new(),
        }
    }

    /// Runs until there has been nothing to send for a while.
    pub async fn run(mut self) {
        while self.has_letters().await {
            match self.connect().await {
                Ok(stream) => {
                    self.failures = 0;
                    self.said.clear();
                    self.shared.counts.connections.add(1);
                    tracing::info!(store = %self.to, "connected to a store");
                    let end = Conversation::new(&self).run(stream).await;
                    self.shared.counts.connections.sub(1);
                    match &end {
                        End::Idle => break,
                        end => tracing::info!(store = %self.to, reason = %end, "the connection to a store ended"),
                    }
                }
                Err(reason) => self.failed(reason),
            }
            self.pause().await;
        }
        // Letters that come from here on find no link, and make another.
        self.shared.links.lock().remove(&self.to);
        self.queue.waiting.lock().ended = true;
        self.drop_waiting();
    }

    /// Waits for a letter; false when none has come for long.
    async fn has_letters(&self) -> bool {
        let come = async {
            while self.queue.is_empty() {
                self.queue.wake.notified().await;
            }
        };
        timeout(PING_EVERY * IDLE_PERIODS_MAX, come).await.is_ok()
    }

    async fn connect(&self) -> Result<Stream, String> {
        let addresses = self.shared.book.addresses(self.to);
        let Some(address) = addresses.get(self.failures as usize % addresses.len().max(1)) else {
            return Err("nobody knows its address".to_owned());
        };
        let hello = Hello::of(&self.shared.identity).to_store(self.to);
        let dialled = match timeout(CONNECT_TIME_MAX, dial(address, &hello, self.shared.tls.as_ref())).await {
            Ok(dialled) => dialled,
            Err(_) => Err(HandshakeError::Timeout(CONNECT_TIME_MAX)),
        };
        let (opened, welcome) = dialled.map_err(|error| format!("{address}: {error}"))?;
        self.check(&welcome).map_err(|reason| format!("{address}: {reason}"))?;
        Ok(opened.stream)
    }

    fn check(&self, welcome: &Welcome) -> Result<(), String> {
        if welcome.version < VERSION_LETTERS {
            let version = welcome.version;
            return Err(format!(
                "it speaks version {version} of the protocol, without letters: upgrade it"
            ));
        }
        match &welcome.particulars.store {
            Some(store) if store.uuid == self.to => self.shared.book.meet(store),
            Some(store) => Err(format!("this is store {}", store.uuid)),
            None => Err("there is no store".to_owned()),
        }
    }

    fn failed(&mut self, reason: String) {
        if self.said == reason {
            tracing::debug!(store = %self.to, %reason, "a store cannot be reached");
        } else {
            tracing::warn!(store = %self.to, %reason, "a store cannot be reached");
            self.said = reason;
        }
    }

    async fn pause(&mut self) {
        let pause = (PAUSE_FIRST * (1 << self.failures.min(DOUBLINGS_MAX))).min(PAUSE_LONGEST);
        self.failures += 1;
        self.drop_waiting();
        // So that stores that lost each other together do not try again together.
        let jitter = rand::rng().random_range(0.5..1.0);
        sleep(pause.mul_f64(jitter)).await;
        self.drop_waiting();
    }

    fn drop_waiting(&self) {
        self.shared.counts.dropped.add(self.queue.clear() as u64);
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Idle => f.write_str("there was nothing to say"),
            Self::Closed(error) => error.fmt(f),
            Self::Leaves => f.write_str("it is stopping"),
            Self::Silent => f.write_str("it gave no sign of life"),
            Self::Frame(error) => error.fmt(f),
        }
    }
}

/// A connection that has been greeted.
struct Conversation<'a> {
    link: &'a Link,
    inbox: Inbox,
    /// Being written, from `at` on.
    writing: Vec<u8>,
    at: usize,
    /// The last message's number.
    number: u64,
    /// Something has come since the last tick.
    heard: bool,
    silent_periods: u32,
    /// Something was sent since the last tick.
    used: bool,
    idle_periods: u32,
}

impl<'a> Conversation<'a> {
    fn new(link: &'a Link) -> Self {
        Self {
            link,
            inbox: Inbox::new(MESSAGE_BYTES_MAX),
            writing: Vec::new(),
            at: 0,
            number: 0,
            heard: false,
            silent_periods: 0,
            used: false,
            idle_periods: 0,
        }
    }

    async fn run(mut self, stream: Stream) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        match self.converse(&mut reader, &mut writer).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn converse(
        &mut self,
        reader: &mut ReadHalf<Stream>,
        writer: &mut WriteHalf<Stream>,
    ) -> Result<std::convert::Infallible, End> {
        let book = Arc::clone(&self.link.shared.book);
        let mut news = book.changes();
        self.tell(&book.all());
        let mut tick = ticks();
        loop {
            if self.at == self.writing.len() {
                self.take();
            }
            tokio::select! {
                biased;
                written = writer.write(&self.writing[self.at..]), if self.at < self.writing.len() => {
                    self.at += written.map_err(End::Closed)?;
                }
                read = self.inbox.read(reader) => {
                    if read.map_err(End::Closed)? == 0 {
                        return Err(End::Closed(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.heard = true;
                    self.receive()?;
                }
                () = self.link.queue.wake.notified(), if self.at == self.writing.len() => {}
                Ok(()) = news.changed() => self.tell(&book.all()),
                _ = tick.tick() => self.tick()?,
            }
        }
    }

    /// Takes what waits into the buffer.
    fn take(&mut self) {
        self.writing.clear();
        self.at = 0;
        if self.writing.capacity() > 4 * WRITE_BYTES {
            self.writing = Vec::new();
        }
        let counts = &self.link.shared.counts;
        while self.writing.len() < WRITE_BYTES
            && let Some(batch) = self.link.queue.pop()
        {
            self.used = true;
            counts.batches.add(1);
            counts.bytes.add(batch.len() as u64);
            self.frame(&batch);
        }
    }

    /// A batch in frames, one behind the other: letters stay in order.
    fn frame(&mut self, batch: &Bytes) {
        self.number += 1;
        let mut chunks = batch.chunks(CHUNK_BYTES_MAX).peekable();
        while let Some(chunk) = chunks.next() {
            let header = Header::of(Kind::Letters, self.number, chunks.peek().is_some(), chunk);
            self.push(&header, chunk);
        }
    }

    /// Tells where stores are: as many as a frame holds.
    fn tell(&mut self, known: &[KnownAddress]) {
        const ENTRY_BYTES_MAX: usize = 400;
        let few = &known[..known.len().min(CHUNK_BYTES_MAX / ENTRY_BYTES_MAX)];
        // Plain data always has an encoding.
        if let Ok(bytes) = postcard::to_stdvec(few) {
            self.push(&Header::of(Kind::Addresses, 0, false, &bytes), &bytes);
        }
    }

    fn push(&mut self, header: &Header, payload: &[u8]) {
        self.writing.reserve(HEADER_BYTES + payload.len());
        self.writing.extend_from_slice(&header.encode());
        self.writing.extend_from_slice(payload);
    }

    fn receive(&mut self) -> Result<(), End> {
        while let Some(message) = self.inbox.next().map_err(End::Frame)? {
            match message.kind {
                Kind::Pong => {}
                Kind::GoAway => return Err(End::Leaves),
                kind => return Err(End::Frame(FrameError::Unexpected(kind))),
            }
        }
        Ok(())
    }

    /// Looks after silence and idleness.
    fn tick(&mut self) -> Result<(), End> {
        self.silent_periods = if std::mem::take(&mut self.heard) {
            0
        } else {
            self.silent_periods + 1
        };
        if self.silent_periods > SILENT_PERIODS_MAX {
            return Err(End::Silent);
        }
        self.idle_periods = if std::mem::take(&mut self.used) {
            0
        } else {
            self.idle_periods + 1
        };
        if self.idle_periods > IDLE_PERIODS_MAX {
            return Err(End::Idle);
        }
        self.push(&Header::of(Kind::Ping, 0, false, &[]), &[]);
        Ok(())
    }
}

fn ticks() -> Interval {
    let mut tick = interval(PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    tick
}
