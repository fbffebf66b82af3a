//! raft-rs, wrapped: no I/O but reading old entries back, no clock, no threads, no randomness of its own.
//!
//! 1. [`Driver::propose`] takes an entry's bytes, [`Driver::step`] what another replica says, [`Driver::tick`] the time.
//! 2. [`Driver::output`] says what to send, what to make durable, what to send after that, and what has become committed.
//! 3. [`Driver::persisted`] is told when that is durable; what it commits is in the next output.
//! 4. [`Driver::applied`] is told what has been applied.
//!
//! A group with a single voter elects itself and hears nobody.

use std::sync::Arc;

use partita_partition::descriptor::LogPosition;
use raft::eraftpb::{ConfChangeV2, Entry, HardState, Message, MessageType};
use raft::{Config, RawNode, StateRole};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::log::{LogEngine, StoredGroup, Truncated};
use crate::members::{ChangeEntry, Members, ReplicaId, UnknownMembers};
use crate::message::{self, Body, Letter};
use crate::planted::{self, Bug};
use crate::tail::{Fetch, Tail};
use crate::time::{ELECTION_NS, ELECTION_TICKS, HEARTBEAT_TICKS, TICK_NS};

/// Committed entries are handed out in pages of this size: a start-up replays without holding the whole log.
const COMMITTED_PAGE_BYTES: u64 = 4 << 20;
/// Size of an append message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// So many of them are on their way at once: what the queue to a store holds.
const MESSAGES_IN_FLIGHT_MAX: usize = 12;
/// After a stop of the process, this many ticks at once say all there is to say: a leader has lost its quorum, a
/// follower stands for election.
const TICKS_AT_ONCE_MAX: u64 = 2 * ELECTION_TICKS as u64;
/// raft-rs draws its election timeouts from below this: so large that what it drew is never taken for one of ours.
const FOREIGN_TIMEOUT_TICKS: usize = 1 << 40;

/// Why a group cannot run. It is fatal for the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    #[error("the state has applied entry {applied}, but the log ends at {last}: the log has lost its end")]
    LogEndsEarly { applied: u64, last: u64 },
    #[error("the state has applied entry {applied}, but the log begins behind {truncated}: entries are missing")]
    LogBeginsLate { applied: u64, truncated: u64 },
    #[error(transparent)]
    Members(#[from] UnknownMembers),
}

/// What a group wants done, in this order: send `messages`, make entries and hard state durable (then say so with
/// `number`), send `held`, apply what is committed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) number: u64,
    pub(crate) messages: Vec<Message>,
    /// The log is to begin behind this: a snapshot has taken its place.
    pub(crate) restored: Option<Truncated>,
    pub(crate) entries: Vec<Entry>,
    /// The log's last index before these entries.
    pub(crate) last_before: u64,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) held: Vec<Message>,
    pub(crate) committed: Vec<Entry>,
    /// Rounds of [`Driver::read_index`] that are confirmed, and the index each has to wait for.
    pub(crate) rounds: Vec<(u64, u64)>,
}

/// Where a driver starts from.
pub(crate) struct Start<'a> {
    /// What the state has applied.
    pub(crate) applied: LogPosition,
    /// The members as of that.
    pub(crate) members: &'a Members,
    /// The time.
    pub(crate) now: u64,
    /// For the election timeouts.
    pub(crate) seed: u64,
    /// It may have given promises before, which are forgotten.
    pub(crate) may_have_promised: bool,
}

/// One replica's raft state machine.
pub(crate) struct Driver {
    node: RawNode<Tail>,
    random: SmallRng,
    timeout_ticks: usize,
    /// The time up to which ticks have been counted; `None`: from the next tick on.
    ticked: Option<u64>,
    /// No vote is granted before this.
    silent_until: u64,
    /// Nor before this, unless the leader has asked the candidate to take over: that leader's lease counts on it.
    promised_until: u64,
}

impl Driver {
    /// A replica as its log and its state have it.
    pub(crate) fn new(log: Arc<dyn LogEngine>, stored: &StoredGroup, start: &Start<'_>) -> Result<Self, DriverError> {
        let applied = start.applied.index;
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
            min_election_tick: ELECTION_TICKS,
            max_election_tick: FOREIGN_TIMEOUT_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            max_committed_size_per_ready: COMMITTED_PAGE_BYTES,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            ..Config::default()
        };
        let tail = Tail::new(log, stored, hard_state, start.members.conf_state());
        let silent = start.may_have_promised && !planted::has(Bug::VoteAfterStart);
        let mut driver = Self {
            node: RawNode::new(&config, tail, &logger())?,
            random: SmallRng::seed_from_u64(start.seed),
            timeout_ticks: 0,
            ticked: None,
            silent_until: if silent {
                start.now.saturating_add(ELECTION_NS)
            } else {
                0
            },
            promised_until: 0,
        };
        driver.draw_timeout();
        Ok(driver)
    }

    /// Asks for votes; a sole voter is elected at once.
    pub(crate) fn campaign(&mut self) -> Result<(), DriverError> {
        self.node.campaign()?;
        self.draw_timeout();
        Ok(())
    }

    /// Counts the time since the last tick.
    pub(crate) fn tick(&mut self, now: u64) {
        let ticked = *self.ticked.get_or_insert(now);
        let ticks = now.saturating_sub(ticked) / TICK_NS;
        self.ticked = Some(ticked + ticks * TICK_NS);
        for _ in 0..ticks.min(TICKS_AT_ONCE_MAX) {
            // raft-rs would have a sole voter take over with entries that are not durable yet.
            if self.is_leader() || !self.is_syncing() && !self.is_installing() {
                self.node.tick();
                self.draw_timeout();
            }
        }
    }

    /// Time is not counted until the next tick.
    pub(crate) fn rest(&mut self) {
        self.ticked = None;
    }

    /// What another replica says.
    pub(crate) fn step(&mut self, letter: &Letter<'_>, now: u64) -> Result<(), DriverError> {
        let Some(message) = letter.message() else { return Ok(()) };
        match message.get_msg_type() {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if self.is_silent(letter, now) => {
                return Ok(());
            }
            MessageType::MsgTimeoutNow if self.is_syncing() || self.is_installing() => return Ok(()),
            _ => {}
        }
        let before = self.node.raft.msgs.len();
        match self.node.step(message) {
            Ok(()) | Err(raft::Error::ProposalDropped | raft::Error::StepPeerNotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.draw_timeout();
        if let Body::Append { sent, .. } | Body::Heartbeat { sent, .. } = letter.body {
            if !self.is_leader() && letter.from == self.leader() && letter.term == self.term() {
                self.promise(now);
            }
            let replies = self.node.raft.msgs.iter_mut().skip(before);
            for reply in replies.filter(|reply| reply.to == letter.from && is_reply(reply)) {
                // A field that raft-rs uses in votes only: the echo travels in it.
                reply.commit_term = sent;
            }
        }
        Ok(())
    }

    /// The leader was heard, and what is answered renews its lease. raft-rs counts its own promise in ticks, forgets it with the
    /// leader, and would count the time that has passed before it heard.
    fn promise(&mut self, now: u64) {
        self.promised_until = now.saturating_add(ELECTION_NS);
        self.ticked = self.ticked.map(|ticked| ticked.max(now));
    }

    fn is_silent(&self, letter: &Letter<'_>, now: u64) -> bool {
        let asked_to = matches!(letter.body, Body::Vote { transfer: true, .. });
        now < self.silent_until || now < self.promised_until && !asked_to
    }

    /// A snapshot of this replica's group is here: it takes the log's place, unless the log has overtaken it.
    pub(crate) fn restore(&mut self, from: ReplicaId, term: u64, at: Truncated, members: &Members) -> bool {
        let mut message = Message {
            from,
            to: self.node.raft.id,
            term,
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgSnapshot);
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (at.index, at.term);
        *metadata.mut_conf_state() = members.conf_state();
        // Not a follower of that term any more, then: the snapshot is not for us.
        let stepped = self.node.step(message);
        self.draw_timeout();
        stepped.is_ok() && self.is_restored()
    }

    /// Whether a snapshot takes the log's place with the next output.
    pub(crate) fn is_restored(&self) -> bool {
        self.node.snap().is_some()
    }

    /// raft-rs draws timeouts from the thread's random numbers, whenever it resets: ours are drawn in their place.
    fn draw_timeout(&mut self) {
        if self.node.raft.randomized_election_timeout() != self.timeout_ticks {
            self.timeout_ticks = self.random.random_range(ELECTION_TICKS..2 * ELECTION_TICKS);
            self.node.raft.set_randomized_election_timeout(self.timeout_ticks);
        }
    }

    /// Whether entries are in the log that are not known to be durable.
    fn is_syncing(&self) -> bool {
        let log = &self.node.raft.raft_log;
        log.persisted < log.last_index()
    }

    /// Whether a snapshot has taken the log's place and is not the state yet: who stands for election looks through what it has
    /// not applied for changes of the members, and would find nothing there.
    fn is_installing(&self) -> bool {
        self.node.raft.raft_log.applied < self.truncated().index
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Tells the leader again what is committed here: it has missed what was answered to a snapshot.
    pub(crate) fn acknowledge_committed(&self, to: ReplicaId) -> Message {
        let mut message = Message {
            from: self.node.raft.id,
            to,
            term: self.term(),
            index: self.committed(),
            commit: self.committed(),
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppendResponse);
        message
    }

    /// Who leads, as far as it is known; 0 when nobody does.
    pub(crate) fn leader(&self) -> ReplicaId {
        self.node.raft.leader_id
    }

    pub(crate) fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// An entry of the log is known to be committed, whoever says so.
    pub(crate) fn commit_to(&mut self, index: u64) {
        self.node.raft.raft_log.commit_to(index);
    }

    pub(crate) fn last(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// Whether a change of membership may be in the log and not applied.
    pub(crate) fn has_pending_change(&self) -> bool {
        self.node.raft.has_pending_conf()
    }

    /// How much of the log a replica is known to have.
    pub(crate) fn matched(&self, replica: ReplicaId) -> u64 {
        self.node.raft.prs().get(replica).map_or(0, |progress| progress.matched)
    }

    /// Proposes an entry; its index. Refused unless this replica leads: nothing is ever forwarded.
    pub(crate) fn propose(&mut self, data: Vec<u8>) -> Result<u64, DriverError> {
        if !self.is_leader() {
            return Err(raft::Error::ProposalDropped.into());
        }
        self.node.propose(Vec::new(), data)?;
        Ok(self.last())
    }

    /// Proposes a change of membership; its index.
    pub(crate) fn propose_change(&mut self, entry: &ChangeEntry, members: &Members) -> Result<u64, DriverError> {
        if !self.is_leader() {
            return Err(raft::Error::ProposalDropped.into());
        }
        self.node
            .propose_conf_change(entry.encode()?, entry.conf_change(members))?;
        Ok(self.last())
    }

    /// A change of membership has been applied. One that was on its way to the state while a snapshot took the log's place
    /// comes too late: the snapshot's members, which are in force already, know of it.
    pub(crate) fn apply_change(&mut self, change: &ConfChangeV2) -> Result<(), DriverError> {
        let overtaken = self.node.snap().is_some() || self.is_installing();
        if !overtaken || planted::has(Bug::ChangeAfterSnapshot) {
            self.node.apply_conf_change(change)?;
        }
        Ok(())
    }

    /// Gives up the leadership, in the same term.
    pub(crate) fn step_down(&mut self) {
        let term = self.term();
        self.node.raft.become_follower(term, raft::INVALID_ID);
        self.draw_timeout();
    }

    /// Asks a voter to take over.
    pub(crate) fn transfer(&mut self, to: ReplicaId) {
        self.node.transfer_leader(to);
    }

    /// Whether the leadership is being handed over: nothing can be proposed.
    pub(crate) fn is_transferring(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// Asks all voters whether this replica still leads.
    pub(crate) fn read_index(&mut self, round: u64) {
        self.node.read_index(round.to_le_bytes().to_vec());
    }

    /// Replicas that need a snapshot: those that raft-rs has asked one for since the last call.
    pub(crate) fn take_wanted(&mut self) -> Vec<ReplicaId> {
        self.node.mut_store().take_wanted()
    }

    /// Entries to be read for followers since the last call.
    pub(crate) fn take_fetches(&mut self) -> Vec<Fetch> {
        self.node.mut_store().take_fetches()
    }

    /// They have been read (none: they could not be).
    pub(crate) fn fetched(&mut self, fetch: Fetch, entries: Vec<Entry>) {
        let read = !entries.is_empty();
        self.node.mut_store().fetched(fetch.low, entries);
        if read {
            self.node.on_entries_fetched(fetch.context);
        }
        self.node.mut_store().fetched(fetch.low, Vec::new());
    }

    /// Proposes an entry that changes nothing, unless one is on its way.
    pub(crate) fn propose_nothing(&mut self) {
        if self.node.raft.raft_log.applied == self.last() {
            // Who does not lead, or hands over, proposes nothing.
            let _ = self.propose(Vec::new());
        }
    }

    /// Whether followers hear that something is committed with the entries that come next, and not at once: a letter, an answer
    /// and a turn of their log writers less for each batch.
    pub(crate) fn commit_travels_along(&mut self, along: bool) {
        self.node.raft.skip_bcast_commit(along);
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
        let entries = ready.take_entries();
        let snapshot = ready.snapshot().get_metadata();
        let restored = (snapshot.index > 0).then_some(Truncated {
            index: snapshot.index,
            term: snapshot.term,
        });
        if let Some(to) = restored {
            self.node.mut_store().restore(to);
        }
        let rounds = ready.take_read_states().into_iter();
        let output = Output {
            number: ready.number(),
            messages: ready.take_messages(),
            restored,
            last_before: self.node.store().last(),
            hard_state: ready.hs().cloned(),
            held: ready.take_persisted_messages(),
            committed: ready.take_committed_entries(),
            rounds: rounds
                .filter_map(|state| Some((message::round(&state.request_ctx)?, state.index)))
                .collect(),
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

    /// Term, vote and commit index as they are now.
    pub(crate) fn hard_state(&self) -> HardState {
        self.node.raft.hard_state()
    }

    pub(crate) fn truncated(&self) -> Truncated {
        self.node.store().truncated()
    }

    /// The term of an entry that is still in the log.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        raft::Storage::term(self.node.store(), index).ok()
    }

    /// Moves the log's beginning.
    pub(crate) fn truncate(&mut self, to: Truncated) {
        self.node.mut_store().truncate(to);
    }
}

fn is_reply(message: &Message) -> bool {
    matches!(
        message.get_msg_type(),
        MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse
    )
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

#[cfg(test)]
mod tests {
    use partita_partition::descriptor::GroupId;
    use uuid::Uuid;

    use super::*;
    use crate::log::memory::MemoryLog;
    use crate::log::{GroupRecord, Life, LogChange};

    const LEADER: ReplicaId = 2;
    const TERM: u64 = 1;

    fn follower(members: &Members) -> Driver {
        let log = Arc::new(MemoryLog::new());
        let record = GroupRecord {
            born: 1,
            replica: 1,
            members: members.clone(),
            start: Truncated::default(),
            descriptor: Vec::new(),
            life: Life::Alive,
            parent: None,
        };
        log.write(&vec![LogChange::Record(GroupId(1), record)]).unwrap();
        let stored = log.groups().unwrap().remove(0);
        let start = Start {
            applied: LogPosition::default(),
            members,
            now: 0,
            seed: 1,
            may_have_promised: false,
        };
        Driver::new(log, &stored, &start).unwrap()
    }

    #[test]
    fn a_change_that_a_snapshot_has_overtaken_is_not_made_again() {
        let members = Members::voters(&[1, 2, 3].map(Uuid::from_u128));
        let mut driver = follower(&members);
        // What the snapshot's members have behind them: it leaves a joint configuration, in which they are not.
        let leave = ConfChangeV2::default();
        let at = Truncated { index: 10, term: TERM };
        assert!(driver.restore(LEADER, TERM, at, &members));
        driver.apply_change(&leave).unwrap();
        // The log begins behind it from now on; the state is still an older one.
        let output = driver.output().unwrap();
        assert_eq!(output.restored, Some(at));
        driver.persisted(output.number);
        driver.apply_change(&leave).unwrap();
        // Once it is installed, what does not fit is a defect again, and found.
        driver.applied(at.index);
        assert!(driver.apply_change(&leave).is_err());
    }
}
