//! What stands under a group's lock: evaluation and proposal in one order.
//!
//! 1. [`Replica::push`] puts an effect into the open entry.
//! 2. [`Replica::gather`] (log writer) proposes the open entries and says what is to be written.
//! 3. [`Replica::persisted`] (log writer, after the sync) says what is committed by that.
//! 4. [`Replica::settle`] (log writer, after the apply) forgets what is no longer in flight and hands back the fates
//!    to be decided.

use std::collections::VecDeque;
use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::evaluator::{Effect, Evaluator, Sequence};
use partita_partition::storage::Storage;
use raft::eraftpb::{Entry, HardState};

use crate::driver::{Driver, DriverError, Output};
use crate::fate::{Fate, Waiting};
use crate::frame::{Evaluated, FrameBuilder};
use crate::log::{LogBatch, LogChange, Truncated};

/// An entry is closed when it holds this much; a batch may hold several.
const ENTRY_BYTES: usize = 1 << 20;
/// Evaluated and not yet applied: further writes wait. It bounds memory under a stalling disk.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// How exactly the bytes held by the log are accounted to entries.
const MARK_BYTES: u64 = 1 << 20;

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

/// What the log writer takes from a group for one batch.
pub(crate) struct Gathered {
    /// To be given back with [`Replica::persisted`].
    pub(crate) number: u64,
    pub(crate) entries: u64,
    pub(crate) effects: u64,
}

/// See the module's header.
pub(crate) struct Replica<S: Storage> {
    group: GroupId,
    driver: Driver,
    pub(crate) evaluator: Evaluator<S>,
    open: VecDeque<Open>,
    proposed: VecDeque<Proposed>,
    in_flight_bytes: usize,
    /// From the driver, for the next batch.
    unwritten: Vec<LogChange>,
    hard_state: Option<HardState>,
    /// Term and vote as they were last put into a batch.
    written_vote: (u64, u64),
    output_number: u64,
    committed: Vec<Entry>,
    /// Whether it stands in the log writer's queue.
    queued: bool,
    /// Whether an entry of the driver's term has been applied here as the leader.
    serving: bool,
    /// Why new writes are refused.
    refusing: Option<Refusal>,
    /// Nothing more is proposed or applied.
    ended: bool,
    truncate_to: Option<Truncated>,
    /// Entry indexes, and the bytes written up to each since the one before.
    marks: VecDeque<(u64, u64)>,
}

impl<S: Storage> Replica<S> {
    /// `log_bytes` is what the log holds of it at start.
    pub(crate) fn new(group: GroupId, driver: Driver, evaluator: Evaluator<S>, log_bytes: (u64, u64)) -> Self {
        Self {
            group,
            driver,
            evaluator,
            open: VecDeque::new(),
            proposed: VecDeque::new(),
            in_flight_bytes: 0,
            unwritten: Vec::new(),
            hard_state: None,
            written_vote: (0, 0),
            output_number: 0,
            committed: Vec::new(),
            queued: false,
            serving: false,
            refusing: None,
            ended: false,
            truncate_to: None,
            marks: VecDeque::from([log_bytes]),
        }
    }

    pub(crate) fn campaign(&mut self) -> Result<(), DriverError> {
        self.driver.campaign()
    }

    pub(crate) fn term(&self) -> u64 {
        self.driver.term()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.driver.is_leader()
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

    /// Puts an effect into the open entry.
    pub(crate) fn push(&mut self, effect: &Effect) -> Waiting {
        if self.open.back().is_none_or(|open| open.frame.len() >= ENTRY_BYTES) {
            let evaluated = Evaluated {
                term: self.driver.term(),
                range_epoch: self.evaluator.descriptor().range_epoch,
            };
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
        self.in_flight_bytes += effect.bytes.len();
        open.fate.wait()
    }

    /// What an answer without an effect waits for: everything evaluated before. `None` when all of it is applied.
    pub(crate) fn settled(&self) -> Option<Waiting> {
        let open = self.open.back().map(|open| &open.fate);
        let newest = open.or_else(|| self.proposed.back().map(|proposed| &proposed.fate));
        newest.map(Fate::wait)
    }

    /// Notes that it will stand in the queue; false when it did already.
    pub(crate) fn enqueue(&mut self) -> bool {
        !self.ended && !std::mem::replace(&mut self.queued, true)
    }

    /// Proposes what is open and adds what is to be written to the batch.
    pub(crate) fn gather(&mut self, batch: &mut LogBatch) -> Result<Option<Gathered>, DriverError> {
        self.queued = false;
        if self.ended {
            return Ok(None);
        }
        let effects = self.propose_open();
        self.take_output();
        if let Some(state) = self.hard_state_to_write() {
            batch.push(LogChange::HardState(self.group, state));
        }
        let mut entries = 0;
        for change in self.unwritten.drain(..) {
            if let LogChange::Append { entries: appended, .. } = &change {
                entries += appended.len() as u64;
                for entry in appended {
                    note_bytes(&mut self.marks, entry.index, entry.data.len() as u64);
                }
            }
            batch.push(change);
        }
        if let Some(to) = self.truncate_to.take() {
            let from = self.driver.truncated();
            if to.index > from.index {
                self.driver.truncate(to);
                self.forget_bytes(to.index);
                let group = self.group;
                batch.push(LogChange::Truncate { group, from, to });
            }
        }
        Ok(Some(Gathered {
            number: self.output_number,
            entries,
            effects,
        }))
    }

    /// Proposes the open entries; the number of their effects.
    fn propose_open(&mut self) -> u64 {
        let mut effects = 0;
        while let Some(open) = self.open.pop_front() {
            let bytes = open.frame.effect_bytes();
            let count = open.frame.effects();
            // Evaluated in another term, or no longer the leader: nothing of it and behind it can count.
            let current = open.evaluated.term == self.driver.term() && self.driver.is_leader();
            let index = if current {
                self.driver.propose(open.frame.into_bytes()).ok()
            } else {
                None
            };
            let Some(index) = index else {
                self.evaluator.discard_from(open.first);
                self.in_flight_bytes -= bytes;
                open.fate.decide(Err(Refusal::NotLeader));
                for behind in self.open.drain(..) {
                    self.in_flight_bytes -= behind.frame.effect_bytes();
                    behind.fate.decide(Err(Refusal::NotLeader));
                }
                break;
            };
            effects += count as u64;
            self.proposed.push_back(Proposed {
                index,
                bytes,
                effects: count,
                last: open.last,
                fate: open.fate,
            });
        }
        effects
    }

    fn take_output(&mut self) {
        let Some(output) = self.driver.output() else { return };
        let Output {
            number,
            entries,
            last_before,
            hard_state,
            committed,
        } = output;
        self.output_number = number;
        if !entries.is_empty() {
            let group = self.group;
            self.unwritten.push(LogChange::Append {
                group,
                entries,
                last_before,
            });
        }
        self.hard_state = hard_state.or(self.hard_state.take());
        self.committed.extend(committed);
    }

    /// A new term or vote must be durable; a new commit index alone travels with the next entries.
    fn hard_state_to_write(&mut self) -> Option<HardState> {
        let state = self.hard_state.as_ref()?;
        let vote = (state.term, state.vote);
        if self.unwritten.is_empty() && vote == self.written_vote {
            return None;
        }
        self.written_vote = vote;
        self.hard_state.take()
    }

    /// What was gathered under this number is durable. The committed entries to apply, and whether it wants another
    /// turn.
    pub(crate) fn persisted(&mut self, number: u64) -> (Vec<Entry>, bool) {
        if self.ended {
            return (Vec::new(), false);
        }
        self.driver.persisted(number);
        self.take_output();
        let again = self.driver.has_output() || !self.unwritten.is_empty();
        (std::mem::take(&mut self.committed), again)
    }

    /// Entries up to `at` are applied, the ones listed were skipped. The fates that are known now, and whether it
    /// began to serve.
    pub(crate) fn settle(&mut self, at: LogPosition, skipped: &[(u64, Refusal)]) -> (Vec<Settled>, bool) {
        self.driver.applied(at.index);
        let mut fates = Vec::new();
        let mut through = None;
        while self.proposed.front().is_some_and(|proposed| proposed.index <= at.index) {
            let Some(proposed) = self.proposed.pop_front() else {
                break;
            };
            let skip = skipped.iter().find(|skip| skip.0 == proposed.index);
            fates.push((proposed.fate, skip.map_or(Ok(()), |skip| Err(skip.1.clone()))));
            through = Some(proposed.last);
            self.in_flight_bytes -= proposed.bytes;
        }
        if let Some(through) = through {
            self.evaluator.applied(through);
        }
        let begins = !self.serving && !self.ended && self.driver.is_leader() && at.term == self.driver.term();
        if begins {
            self.evaluator.reset();
            self.serving = true;
        }
        (fates, begins)
    }

    /// Whether everything gathered or handed out has been applied.
    pub(crate) fn wants_turn(&self) -> bool {
        self.driver.has_output() || !self.unwritten.is_empty() || !self.committed.is_empty()
    }

    /// The log may be cut up to here: in the next batch. False when there is nothing to cut.
    pub(crate) fn cut(&mut self, flushed: LogPosition) -> bool {
        if self.ended || flushed.index <= self.driver.truncated().index {
            return false;
        }
        self.truncate_to = Some(Truncated {
            index: flushed.index,
            term: flushed.term,
        });
        true
    }

    fn forget_bytes(&mut self, through: u64) {
        while self.marks.front().is_some_and(|mark| mark.0 <= through) {
            self.marks.pop_front();
        }
    }

    /// New writes are refused from now on; what is in flight goes on.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refusing.get_or_insert(refusal);
    }

    /// Nothing goes on.
    pub(crate) fn end(&mut self, refusal: Refusal) -> Vec<Settled> {
        self.ended = true;
        self.serving = false;
        let open = self.open.drain(..).map(|open| (open.fate, Err(refusal.clone())));
        let proposed = self
            .proposed
            .drain(..)
            .map(|entry| (entry.fate, Err(Refusal::UnknownFate)));
        let fates = open.chain(proposed).collect();
        self.refuse(refusal);
        fates
    }
}

/// A fate to be decided outside of the lock.
pub(crate) type Settled = (Arc<Fate>, Result<(), Refusal>);

fn note_bytes(marks: &mut VecDeque<(u64, u64)>, index: u64, bytes: u64) {
    match marks.back_mut() {
        Some(mark) if mark.1 < MARK_BYTES => *mark = (index, mark.1 + bytes),
        _ => marks.push_back((index, bytes)),
    }
}
