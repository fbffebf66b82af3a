//! raft-rs, wrapped: no I/O but reading old entries back, no clock, no threads.
//!
//! 1. [`Driver::propose`] takes an entry's bytes.
//! 2. [`Driver::output`] says what to make durable and what has become committed.
//! 3. [`Driver::persisted`] is told when that is durable; what it commits is in the next output.
//! 4. [`Driver::applied`] is told what has been applied.
//!
//! Time will come as calls of a tick and messages as calls of a step when a group has more than one voter; a group
//! with a single voter elects itself and hears nobody.

use std::sync::Arc;

use raft::eraftpb::{Entry, HardState};
use raft::{Config, RawNode, StateRole};

use crate::log::{LogEngine, StoredGroup, Truncated};
use crate::tail::Tail;

/// An election takes this many ticks without a leader.
const ELECTION_TICKS: usize = 10;
/// A leader sends heartbeats this often.
const HEARTBEAT_TICKS: usize = 2;
/// Committed entries are handed out in pages of this size: a start-up replays without holding the whole log.
const COMMITTED_PAGE_BYTES: u64 = 4 << 20;
/// Size of an append message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Why a group cannot run. It is fatal for the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    #[error("the state has applied entry {applied}, but the log ends at {last}: the log has lost its end")]
    LogEndsEarly { applied: u64, last: u64 },
    #[error("the state has applied entry {applied}, but the log begins behind {truncated}: entries are missing")]
    LogBeginsLate { applied: u64, truncated: u64 },
}

/// What a group wants done, in this order: make entries and hard state durable (then say so with `number`), apply
/// what is committed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) number: u64,
    pub(crate) entries: Vec<Entry>,
    /// The log's last index before these entries.
    pub(crate) last_before: u64,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) committed: Vec<Entry>,
}

/// One replica's raft state machine.
pub(crate) struct Driver {
    node: RawNode<Tail>,
}

impl Driver {
    /// A replica as its log and its state have it. `applied` is the last entry whose application survived.
    pub(crate) fn new(log: Arc<dyn LogEngine>, stored: &StoredGroup, applied: u64) -> Result<Self, DriverError> {
        if applied > stored.last {
            let last = stored.last;
            return Err(DriverError::LogEndsEarly { applied, last });
        }
        if applied < stored.truncated.index {
            let truncated = stored.truncated.index;
            return Err(DriverError::LogBeginsLate { applied, truncated });
        }
        let mut hard_state = stored.hard_state.clone();
        // The commit index is written along with later entries, so the state may know of a higher one.
        hard_state.commit = hard_state.commit.max(applied);
        let config = Config {
            id: stored.record.replica,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            max_committed_size_per_ready: COMMITTED_PAGE_BYTES,
            ..Config::default()
        };
        let tail = Tail::new(log, stored, hard_state);
        Ok(Self {
            node: RawNode::new(&config, tail, &logger())?,
        })
    }

    /// Asks for votes; a sole voter is elected at once.
    pub(crate) fn campaign(&mut self) -> Result<(), DriverError> {
        Ok(self.node.campaign()?)
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Proposes an entry; its index. Refused unless this replica leads: nothing is ever forwarded.
    pub(crate) fn propose(&mut self, data: Vec<u8>) -> Result<u64, DriverError> {
        if !self.is_leader() {
            return Err(raft::Error::ProposalDropped.into());
        }
        self.node.propose(Vec::new(), data)?;
        Ok(self.node.raft.raft_log.last_index())
    }

    /// Whether there is an output.
    pub(crate) fn has_output(&self) -> bool {
        self.node.has_ready()
    }

    /// What to do next. Entries handed out count as stored from now on: they must not be dropped.
    pub(crate) fn output(&mut self) -> Option<Output> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        debug_assert!(ready.messages().is_empty() && ready.persisted_messages().is_empty());
        let entries = ready.take_entries();
        let output = Output {
            number: ready.number(),
            last_before: self.node.store().last(),
            hard_state: ready.hs().cloned(),
            committed: ready.take_committed_entries(),
            entries,
        };
        self.node.mut_store().append(&output.entries);
        self.node.advance_append_async(ready);
        Some(output)
    }

    /// Outputs up to this number are durable.
    pub(crate) fn persisted(&mut self, number: u64) {
        self.node.on_persist_ready(number);
    }

    /// Entries up to this index are applied.
    pub(crate) fn applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
        self.node.mut_store().forget_through(index);
    }

    pub(crate) fn truncated(&self) -> Truncated {
        self.node.store().truncated()
    }

    /// Moves the log's beginning.
    pub(crate) fn truncate(&mut self, to: Truncated) {
        self.node.mut_store().truncate(to);
    }
}

/// Passes raft-rs's warnings on.
struct Warnings;

impl slog::Drain for Warnings {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _values: &slog::OwnedKVList) -> Result<(), slog::Never> {
        if record.level().is_at_least(slog::Level::Error) {
            tracing::error!(target: "raft", "{}", record.msg());
        } else if record.level() == slog::Level::Warning {
            tracing::warn!(target: "raft", "{}", record.msg());
        }
        Ok(())
    }
}

fn logger() -> slog::Logger {
    slog::Logger::root(Warnings, slog::o!())
}
