//! What stands under a group's lock: evaluation and proposal in one order.
//!
//! 1. [`Replica::push`] puts an effect into the open entry.
//! 2. `gather` (log writer, [`turn`]) proposes the open entries and says what is to be sent and written.
//! 3. `persisted` (log writer, after the sync) says what is committed by that, and what is to be sent now.
//! 4. `settle` (log writer, after the apply) forgets what is no longer in flight and hands back the fates to be decided.
//! 5. What comes from outside, other replicas' letters and the time, goes to raft-rs in [`life`]; whatever changed the
//!    role by that ends in [`Replica::notice`].
//! 6. Reads without a lease wait in [`reads`]; changes of members are in [`change`], snapshots in [`sending`] and [`snapshots`],
//!    handing over the leadership in [`handover`]; those who come between two leaders wait in [`hold`].

mod change;
mod handover;
mod hold;
mod life;
mod reads;
mod sending;
mod snapshots;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::evaluator::{Effect, Evaluator, Sequence};
use partita_partition::split::SplitRecord;
use partita_partition::storage::Storage;
use raft::eraftpb::{Entry, HardState};
use uuid::Uuid;

pub(crate) use self::change::{Applied, Wish};
pub(crate) use self::sending::Errand;
pub(crate) use self::snapshots::{Install, Installed};
pub(crate) use self::turn::Ready;
use crate::driver::{Driver, DriverError};
use crate::fate::{Fate, Waiting};
use crate::frame::{Evaluated, FrameBuilder};
use crate::lease::Lease;
use crate::log::{LogChange, Truncated};
use crate::members::{Members, ReplicaId};
use crate::planted::{self, Bug};
use crate::replica::handover::HandOver;
use crate::replica::hold::Hold;
use crate::replica::life::{Heard, Post};
use crate::replica::reads::Reads;
use crate::replica::sending::{CatchingUp, Sending};
use crate::replica::snapshots::Receiving;

/// An entry is closed when it holds this much; a batch may hold several.
const ENTRY_BYTES: usize = 1 << 20;
/// Evaluated and not yet applied: further writes wait. It bounds memory under a stalling disk.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// Effects of one entry, not yet proposed.
struct Open {
    evaluated: Evaluated,
    frame: FrameBuilder,
    first: Sequence,
    last: Sequence,
    fate: Arc<Fate>,
}

/// An entry in the log, not yet applied.
struct Proposed {
    index: u64,
    bytes: usize,
    effects: usize,
    last: Sequence,
    fate: Arc<Fate>,
}

/// An entry on its way that changes what the partition is: a split, or a step of a merge. There is one at a time.
struct Turning {
    holds: Holds,
    fate: Arc<Fate>,
}

/// What waits until such an entry is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A split: whoever asks about keys from here on.
    From(KeyBytes),
    /// A freeze: whoever asks.
    All,
    /// A merge: whoever wants something to be evaluated. Reads go on.
    Writes,
    /// Another step of a merge: nobody.
    Nothing,
}

/// Committed entries that wait for another group.
pub(crate) struct Stalled {
    entries: Vec<Entry>,
    /// The other one has come to where it has to be.
    again: bool,
}

/// Settings of a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of log that are kept for followers that are behind; beyond, they get a snapshot.
    pub(crate) follower_bytes_max: u64,
    /// Rows of a snapshot that travel together.
    pub(crate) chunk_bytes: usize,
    /// Of one snapshot, and of old entries.
    pub(crate) copy_bytes_per_second: u64,
}

impl Limits {
    /// How long a snapshot waits after so many bytes.
    fn pace_ns(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(1_000_000_000) / self.copy_bytes_per_second.max(1)
    }
}

/// See the module's header.
pub(crate) struct Replica<S: Storage> {
    group: GroupId,
    id: ReplicaId,
    limits: Limits,
    storage: Arc<S>,
    driver: Driver,
    pub(crate) evaluator: Evaluator<S>,
    open: VecDeque<Open>,
    proposed: VecDeque<Proposed>,
    in_flight_bytes: usize,
    turning: Option<Turning>,
    /// The partition stands still, to be absorbed by another one.
    frozen: bool,
    /// From the driver, for the next batch.
    unwritten: Vec<LogChange>,
    hard_state: Option<HardState>,
    /// Term and vote as they were last put into a batch.
    written_vote: (u64, u64),
    output_number: u64,
    committed: Vec<Entry>,
    /// In front of those.
    stalled: Option<Stalled>,
    /// Counts the log writer's turns.
    turn: u64,
    /// To be sent at once.
    posts: Vec<Post>,
    /// To be sent once what this turn writes is durable.
    held: VecDeque<(u64, Vec<Post>)>,
    /// As applied.
    members: Arc<Members>,
    /// Where replicas are that wrote before they were known as members.
    strangers: Vec<(ReplicaId, Uuid)>,
    /// Term, and whether it leads, as last noticed.
    role: (u64, bool),
    lease: Lease,
    reads: Reads,
    heard: Heard,
    /// Nothing is going on: time is not counted.
    resting: bool,
    /// Ticks without anything going on.
    idle_ticks: u32,
    sending: Vec<Sending<S>>,
    /// Counts them.
    sendings: u64,
    /// The head of the last one, and its entry.
    offered: Option<(Truncated, Arc<[u8]>)>,
    /// To be read.
    errands: Vec<Errand<S>>,
    /// When the next entries may be read for followers that are behind.
    entries_due: u64,
    catching_up: Vec<CatchingUp>,
    receiving: Option<Receiving>,
    install: Option<Install>,
    /// A snapshot is being installed: what the state holds is a mixture.
    installing: bool,
    /// Groups that end with the next turn: they were absorbed, as that snapshot knows.
    absorbing: Vec<GroupId>,
    /// The last applied entry's index.
    applied: u64,
    /// Whether it stands in the log writer's queue.
    queued: bool,
    /// Whether an entry of the driver's term has been applied here as the leader.
    serving: bool,
    /// Why new writes are refused.
    refusing: Option<Refusal>,
    /// The leadership is on its way to another replica.
    handing_over: Option<HandOver>,
    /// Those who come between two leaders.
    hold: Option<Hold>,
    /// Nothing more is proposed or applied.
    ended: bool,
    truncate_to: Option<Truncated>,
    /// Entry indexes, and the bytes written up to each since the one before.
    marks: VecDeque<(u64, u64)>,
    /// To be decided once the lock is given up.
    fates: Vec<Settled>,
    /// Effects that were dropped with their open entries.
    dropped_effects: u64,
}

/// What a replica is made of.
pub(crate) struct Parts<S: Storage> {
    pub(crate) group: GroupId,
    pub(crate) id: ReplicaId,
    pub(crate) limits: Limits,
    pub(crate) storage: Arc<S>,
    pub(crate) driver: Driver,
    pub(crate) evaluator: Evaluator<S>,
    pub(crate) members: Arc<Members>,
    /// The last applied entry's index.
    pub(crate) applied: u64,
    /// The last index of the log, and the bytes that it holds.
    pub(crate) log_bytes: (u64, u64),
}

impl<S: Storage> Replica<S> {
    pub(crate) fn new(parts: Parts<S>) -> Self {
        let term = parts.driver.term();
        let frozen = parts.evaluator.is_frozen();
        Self {
            group: parts.group,
            id: parts.id,
            limits: parts.limits,
            storage: parts.storage,
            driver: parts.driver,
            evaluator: parts.evaluator,
            open: VecDeque::new(),
            proposed: VecDeque::new(),
            in_flight_bytes: 0,
            turning: None,
            frozen,
            unwritten: Vec::new(),
            hard_state: None,
            written_vote: (0, 0),
            output_number: 0,
            committed: Vec::new(),
            stalled: None,
            turn: 0,
            posts: Vec::new(),
            held: VecDeque::new(),
            members: parts.members,
            strangers: Vec::new(),
            role: (term, false),
            lease: Lease::default(),
            reads: Reads::default(),
            heard: Heard::default(),
            resting: false,
            idle_ticks: 0,
            sending: Vec::new(),
            sendings: 0,
            offered: None,
            errands: Vec::new(),
            entries_due: 0,
            catching_up: Vec::new(),
            receiving: None,
            install: None,
            installing: false,
            absorbing: Vec::new(),
            applied: parts.applied,
            queued: false,
            serving: false,
            refusing: None,
            handing_over: None,
            hold: None,
            ended: false,
            truncate_to: None,
            marks: VecDeque::from([parts.log_bytes]),
            fates: Vec::new(),
            dropped_effects: 0,
        }
    }

    pub(crate) fn campaign(&mut self) -> Result<(), DriverError> {
        self.driver.campaign()?;
        self.notice();
        Ok(())
    }

    pub(crate) fn term(&self) -> u64 {
        self.driver.term()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.driver.is_leader()
    }

    /// The member that leads, as far as it is known.
    pub(crate) fn leader(&self) -> ReplicaId {
        self.driver.leader()
    }

    /// The members as applied.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The term in which it serves; 0 while it does not.
    pub(crate) fn serving_term(&self) -> u64 {
        if self.serves() { self.driver.term() } else { 0 }
    }

    /// Until when nobody else can have been elected.
    pub(crate) fn lease_until(&self) -> u64 {
        if self.serves() { self.lease.until() } else { 0 }
    }

    fn serves(&self) -> bool {
        self.serving && (!self.frozen || planted::has(Bug::FrozenServes))
    }

    /// Whether its log begins at the group's birth, and nowhere behind it.
    pub(crate) fn has_whole_log(&self) -> bool {
        self.driver.truncated().index == 0
    }

    /// What is known to be committed.
    pub(crate) fn committed_index(&self) -> u64 {
        self.driver.committed()
    }

    /// The last entry of its log.
    pub(crate) fn log_end(&self) -> LogPosition {
        let index = self.driver.last();
        let term = self.driver.term_at(index).unwrap_or(0);
        LogPosition { index, term }
    }

    /// Whether time stands still for it.
    pub(crate) fn is_resting(&self) -> bool {
        self.resting
    }

    /// Effects evaluated and not applied.
    pub(crate) fn in_flight(&self) -> u64 {
        let proposed: usize = self.proposed.iter().map(|proposed| proposed.effects).sum();
        self.open_effects() + proposed as u64
    }

    /// Effects in open entries.
    pub(crate) fn open_effects(&self) -> u64 {
        self.open.iter().map(|open| open.frame.effects() as u64).sum()
    }

    /// Bytes that the log holds for it, to the accuracy of its marks.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.marks.iter().map(|mark| mark.1).sum()
    }

    /// Whether a request may be evaluated now: the reason if not.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let reason = self.idle_reason();
        // Who asks again is safe, and is answered once the merge is decided: there or here.
        let waits = self.is_handing_over() || !self.serves();
        reason.or_else(|| waits.then_some(Refusal::NotLeader))
    }

    /// Why this replica does nothing as the leader, if it does not.
    pub(crate) fn idle_reason(&self) -> Option<Refusal> {
        match &self.refusing {
            Some(refusal) => Some(refusal.clone()),
            None if !self.serving => Some(Refusal::NotLeader),
            None => None,
        }
    }

    /// Too much is in flight: what to wait for before trying again.
    pub(crate) fn full(&self) -> Option<Waiting> {
        if self.in_flight_bytes < IN_FLIGHT_BYTES_MAX {
            return None;
        }
        let proposed = self.proposed.front().map(|proposed| &proposed.fate);
        let oldest = proposed.or_else(|| self.open.front().map(|open| &open.fate));
        oldest.map(Fate::wait)
    }

    /// Under which conditions the next request is evaluated.
    pub(crate) fn evaluated(&self) -> Evaluated {
        Evaluated {
            term: self.driver.term(),
            range_epoch: self.evaluator.descriptor().range_epoch,
        }
    }

    /// Puts an effect into the open entry.
    pub(crate) fn push(&mut self, effect: &Effect, evaluated: Evaluated) -> Waiting {
        let fits =
            |open: &Open| open.frame.len() < ENTRY_BYTES && !open.frame.is_closed() && open.evaluated == evaluated;
        if !self.open.back().is_some_and(fits) {
            self.open.push_back(Open {
                evaluated,
                frame: FrameBuilder::new(evaluated),
                first: effect.sequence,
                last: effect.sequence,
                fate: Arc::default(),
            });
        }
        let Some(open) = self.open.back_mut() else {
            unreachable!("an entry has just been opened");
        };
        open.frame.push(&effect.bytes);
        open.last = effect.sequence;
        self.resting = false;
        self.in_flight_bytes += effect.bytes.len();
        open.fate.wait()
    }

    /// Puts a split into an entry of its own: until that is decided, nobody is answered about the keys behind the cut.
    pub(crate) fn push_split(&mut self, effect: &Effect, evaluated: Evaluated, split: &SplitRecord) -> Waiting {
        let frame = FrameBuilder::split(evaluated, &effect.bytes);
        self.push_alone(effect, evaluated, frame, Holds::From(split.key.clone()))
    }

    /// Puts a step of a merge into an entry of its own.
    pub(crate) fn push_merge(&mut self, effect: &Effect, holds: Holds) -> Waiting {
        let evaluated = self.evaluated();
        let frame = FrameBuilder::merge(evaluated, &effect.bytes);
        self.push_alone(effect, evaluated, frame, holds)
    }

    fn push_alone(&mut self, effect: &Effect, evaluated: Evaluated, frame: FrameBuilder, holds: Holds) -> Waiting {
        let fate: Arc<Fate> = Arc::default();
        self.open.push_back(Open {
            evaluated,
            frame,
            first: effect.sequence,
            last: effect.sequence,
            fate: Arc::clone(&fate),
        });
        self.resting = false;
        self.in_flight_bytes += effect.bytes.len();
        self.turning = Some(Turning {
            holds,
            fate: Arc::clone(&fate),
        });
        fate.wait()
    }

    /// What a write about these keys waits for: a split that takes some of them away, or a merge. `None` when there is none.
    pub(crate) fn held(&self, concerns: impl FnOnce(&KeyBytes) -> bool) -> Option<Waiting> {
        self.turning_if(|holds| match holds {
            Holds::From(key) => concerns(key) && !planted::has(Bug::DepartingNotHeld),
            Holds::All => !planted::has(Bug::FrozenServes),
            Holds::Writes => true,
            Holds::Nothing => false,
        })
    }

    /// The same for a read.
    pub(crate) fn held_read(&self, concerns: impl FnOnce(&KeyBytes) -> bool) -> Option<Waiting> {
        self.turning_if(|holds| *holds != Holds::Writes)
            .and_then(|_| self.held(concerns))
    }

    /// What another one of its kind waits for.
    pub(crate) fn turning(&self) -> Option<Waiting> {
        self.turning_if(|_| true)
    }

    fn turning_if(&self, holds: impl FnOnce(&Holds) -> bool) -> Option<Waiting> {
        let turning = self.turning.as_ref().filter(|turning| holds(&turning.holds));
        turning.map(|turning| turning.fate.wait())
    }

    /// Whether an entry is on its way for which reads may have to wait.
    pub(crate) fn is_turning(&self) -> bool {
        self.turning.is_some()
    }

    /// The last effect that a view has applied which has applied this entry.
    pub(crate) fn sequence_at(&self, index: u64) -> Sequence {
        let proposed = self.proposed.iter().take_while(|proposed| proposed.index <= index);
        let last = proposed.map(|proposed| proposed.last).max().unwrap_or(0);
        last.max(self.evaluator.sequence_at(index))
    }

    /// Whether a snapshot is on its way here, or being installed.
    pub(crate) fn is_receiving(&self) -> bool {
        self.receiving.is_some() || self.install.is_some() || self.installing
    }

    fn is_proposed(&self, fate: &Arc<Fate>) -> bool {
        self.proposed.iter().any(|proposed| Arc::ptr_eq(&proposed.fate, fate))
    }

    /// What an answer without an effect waits for: everything evaluated before. `None` when all of it is applied.
    pub(crate) fn settled(&self) -> Option<Waiting> {
        let open = self.open.back().map(|open| &open.fate);
        let newest = open.or_else(|| self.proposed.back().map(|proposed| &proposed.fate));
        newest.map(Fate::wait)
    }

    /// Notes that it will stand in the queue; false when it did already.
    pub(crate) fn enqueue(&mut self) -> bool {
        let wants = !self.ended || self.has_begun_installing();
        wants && !std::mem::replace(&mut self.queued, true)
    }

    /// New writes are refused from now on; what is in flight goes on.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refusing.get_or_insert(refusal);
    }

    /// Nothing goes on.
    pub(crate) fn end(&mut self, refusal: Refusal) {
        self.ended = true;
        self.stalled = None;
        self.lose(&refusal);
        self.refuse(refusal);
        self.release_held();
    }

    /// Role or term may have changed: what follows from that.
    pub(crate) fn notice(&mut self) {
        self.note_successor();
        self.abandon_receiving();
        let role = (self.driver.term(), self.driver.is_leader());
        if role == self.role {
            return;
        }
        if self.role.1 {
            self.lose(&Refusal::NotLeader);
            self.stop_holding_for_service();
        }
        self.role = role;
        self.handing_over = None;
        self.offered = None;
        self.lease.begin();
        if role.1 {
            self.lease.renew(&self.members, self.id);
            self.hold_until_serving();
            if planted::has(Bug::ServeBeforeOwnTerm) {
                self.evaluator.reset();
                self.serving = true;
            }
        }
    }

    /// It leads no longer: what was not proposed is refused, and of what was nobody knows.
    fn lose(&mut self, refusal: &Refusal) {
        self.serving = false;
        if !planted::has(Bug::TermNotChecked) {
            self.dropped_effects += self.open_effects();
            let open = self.open.drain(..).map(|open| (open.fate, Err(refusal.clone())));
            self.fates.extend(open);
        }
        let unknown = match planted::has(Bug::LossIsSuccess) {
            true => Ok(()),
            false => Err(Refusal::UnknownFate),
        };
        let proposed = self.proposed.drain(..).map(|entry| (entry.fate, unknown.clone()));
        self.fates.extend(proposed);
        self.turning = None;
        self.in_flight_bytes = self.open.iter().map(|open| open.frame.effect_bytes()).sum();
        if !planted::has(Bug::OverlayKept) {
            self.evaluator.reset();
        }
        self.reads.end(refusal, &mut self.fates);
        self.sending.clear();
        self.catching_up.clear();
    }

    /// What is to be decided now.
    pub(crate) fn take_fates(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.fates)
    }

    /// How many effects were dropped with their open entries since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_effects)
    }
}

/// A fate to be decided outside of the lock.
pub(crate) type Settled = (Arc<Fate>, Result<(), Refusal>);
