//! The log writer's turn: what a replica sends, writes and applies, and what becomes of those who wait.

use std::collections::VecDeque;
use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::storage::Storage;
use raft::eraftpb::{Entry, HardState};

use super::life::Post;
use super::{Applied, Holds, Install, Proposed, Replica, Stalled, Turning};
use crate::driver::{DriverError, Output};
use crate::log::{LogBatch, LogChange, Truncated};
use crate::message::Outbox;
use crate::planted::{self, Bug};

/// How exactly the bytes held by the log are accounted to entries.
const MARK_BYTES: u64 = 1 << 20;

/// What the log writer takes from a group for one batch.
pub(crate) struct Gathered {
    /// To be given back with [`Replica::persisted`].
    pub(crate) number: u64,
    pub(crate) entries: u64,
    pub(crate) effects: u64,
    /// Groups that end with what is written: a snapshot has absorbed them.
    pub(crate) absorbs: Vec<GroupId>,
}

/// What can be applied.
#[derive(Default)]
pub(crate) struct Ready {
    /// A snapshot; then there are no entries.
    pub(crate) install: Option<Install>,
    pub(crate) entries: Vec<Entry>,
    /// It wants another turn.
    pub(crate) again: bool,
}

impl<S: Storage> Replica<S> {
    /// Proposes what is open and adds what is to be written to the batch.
    pub(crate) fn gather(
        &mut self,
        batch: &mut LogBatch,
        outbox: &mut Outbox,
        now: u64,
    ) -> Result<Option<Gathered>, DriverError> {
        self.queued = false;
        if self.ended {
            // What has begun is brought to its end.
            return Ok(self.has_begun_installing().then_some(Gathered {
                number: self.output_number,
                entries: 0,
                effects: 0,
                absorbs: Vec::new(),
            }));
        }
        let effects = self.propose_open();
        self.take_output();
        self.start_snapshots(now);
        let before = batch.len();
        let hard_state = self.hard_state_to_write();
        let mut entries = 0;
        for change in self.unwritten.drain(..) {
            if let LogChange::Append { entries: appended, .. } = &change {
                entries += appended.len() as u64;
                for entry in appended {
                    let step = MARK_BYTES.min(self.limits.follower_bytes_max / 8);
                    note_bytes(&mut self.marks, step, entry.index, entry.data.len() as u64);
                }
            }
            batch.push(change);
        }
        // Behind all that, which may have an older one: a snapshot that was put in the log's place before a vote was asked for.
        if let Some(state) = hard_state {
            batch.push(LogChange::HardState(self.group, state));
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
        self.turn += 1;
        // What is written for other groups does not concern those who wait for this one.
        if batch.len() == before || planted::has(Bug::AnswerBeforeSync) {
            self.release(self.turn);
        }
        self.dispatch(outbox, now);
        Ok(Some(Gathered {
            number: self.output_number,
            entries,
            effects,
            absorbs: std::mem::take(&mut self.absorbing),
        }))
    }

    /// Proposes the open entries; the number of their effects.
    fn propose_open(&mut self) -> u64 {
        let mut effects = 0;
        if planted::has(Bug::TermNotChecked) && !self.driver.is_leader() {
            return 0;
        }
        while let Some(open) = self.open.pop_front() {
            let bytes = open.frame.effect_bytes();
            let count = open.frame.effects();
            // Evaluated in another term, or no longer the leader: nothing of it and behind it can count.
            let same_term = open.evaluated.term == self.driver.term() || planted::has(Bug::TermNotChecked);
            let current = same_term && self.driver.is_leader();
            let index = if current {
                self.driver.propose(open.frame.into_bytes()).ok()
            } else {
                None
            };
            let Some(index) = index else {
                self.evaluator.discard_from(open.first);
                self.in_flight_bytes -= bytes;
                open.fate.decide(Err(Refusal::NotLeader));
                // A split (or a step of a merge) among them will not be made; the evaluator has forgotten it.
                if self
                    .turning
                    .as_ref()
                    .is_some_and(|turning| !self.is_proposed(&turning.fate))
                {
                    self.turning = None;
                }
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
            messages,
            restored,
            entries,
            last_before,
            hard_state,
            held,
            committed,
            rounds,
        } = output;
        self.output_number = number;
        self.post(messages);
        if let Some(to) = restored {
            self.put_in_place(to);
        }
        if !entries.is_empty() {
            let group = self.group;
            self.unwritten.push(LogChange::Append {
                group,
                entries,
                last_before,
            });
        }
        self.hard_state = hard_state.or(self.hard_state.take());
        if !held.is_empty() {
            self.hold(held.into_iter().map(Post::Raft).collect());
        }
        self.committed.extend(committed);
        for (round, index) in rounds {
            self.reads.confirmed(round, index);
        }
        self.advance_reads();
    }

    /// These go out once everything that has come up by now is durable: what the next turn writes.
    pub(super) fn hold(&mut self, posts: Vec<Post>) {
        self.held.push_back((self.turn + 1, posts));
    }

    /// What waited for this turn, and those before it, to be durable goes out.
    fn release(&mut self, turn: u64) {
        while self.held.front().is_some_and(|held| held.0 <= turn) {
            if let Some((_, posts)) = self.held.pop_front() {
                self.posts.extend(posts);
            }
        }
    }

    /// A new term or vote must be durable; a new commit index alone travels with the next entries.
    fn hard_state_to_write(&mut self) -> Option<HardState> {
        if !self.has_unwritten() {
            return None;
        }
        let state = self.hard_state.as_ref()?;
        self.written_vote = (state.term, state.vote);
        self.hard_state.take()
    }

    /// Term and vote as they are now, and that this much is committed: it is in the log.
    pub(crate) fn hard_state_at(&self, commit: u64) -> HardState {
        HardState {
            commit,
            ..self.driver.hard_state()
        }
    }

    /// Whether something has to be made durable.
    fn has_unwritten(&self) -> bool {
        let vote = self.hard_state.as_ref().map(|state| (state.term, state.vote));
        let new_vote = vote.is_some_and(|vote| vote != self.written_vote);
        !self.unwritten.is_empty() || new_vote && !planted::has(Bug::VoteNotStored)
    }

    /// What was gathered under this number is durable. What to apply, and whether it wants another turn.
    pub(crate) fn persisted(&mut self, number: u64, outbox: &mut Outbox, now: u64) -> Ready {
        if self.ended {
            return Ready {
                install: self.take_begun_install(),
                ..Ready::default()
            };
        }
        self.driver.commit_travels_along(!self.open.is_empty());
        self.driver.persisted(number);
        self.release(self.turn);
        self.take_output();
        if !self.has_unwritten() {
            // What came since then asks for nothing to be written, so it is durable.
            self.driver.persisted(self.output_number);
            self.release(self.turn + 1);
        }
        self.notice();
        self.dispatch(outbox, now);
        if planted::has(Bug::AnswerAtOwnSync) {
            let told = self.proposed.iter().map(|proposed| (proposed.fate.clone(), Ok(())));
            self.fates.extend(told);
        }
        Ready {
            install: self.install.take_if(|install| install.turn <= self.turn),
            // What comes behind a snapshot waits for it.
            entries: if self.installing {
                Vec::new()
            } else {
                self.take_committed()
            },
            again: self.driver.has_output() || self.has_unwritten(),
        }
    }

    /// What is to be applied next: nothing while what comes first waits for another group.
    fn take_committed(&mut self) -> Vec<Entry> {
        let committed = std::mem::take(&mut self.committed);
        match self.stalled.take() {
            None => committed,
            Some(mut stalled) => {
                stalled.entries.extend(committed);
                if stalled.again {
                    return stalled.entries;
                }
                self.stalled = Some(stalled);
                Vec::new()
            }
        }
    }

    /// These entries cannot be applied before another group has come to where it has to be.
    pub(crate) fn stall(&mut self, entries: Vec<Entry>) {
        if !self.ended {
            let again = false;
            self.stalled = Some(Stalled { entries, again });
        }
    }

    /// Whether there are such entries.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// It has: they are handed out again.
    pub(crate) fn resume(&mut self) {
        if let Some(stalled) = &mut self.stalled {
            stalled.again = true;
        }
    }

    /// An entry is known to be committed by what another group's log says. False when it is not in the log here.
    pub(crate) fn commit(&mut self, at: LogPosition) -> bool {
        if self.ended || self.driver.term_at(at.index) != Some(at.term) {
            return false;
        }
        self.wake();
        self.driver.commit_to(at.index);
        true
    }

    /// Entries up to `at` are applied, the ones listed were skipped, and these changed the members. Whether it began to
    /// serve.
    pub(crate) fn settle(
        &mut self,
        at: LogPosition,
        skipped: &[(u64, Refusal)],
        changes: Vec<Applied>,
    ) -> Result<bool, DriverError> {
        for change in changes {
            self.members_applied(change)?;
        }
        self.driver.applied(at.index);
        self.applied = at.index;
        let (mut through, mut joined) = (None, false);
        while self.proposed.front().is_some_and(|proposed| proposed.index <= at.index) {
            let Some(proposed) = self.proposed.pop_front() else {
                break;
            };
            let skip = skipped.iter().find(|skip| skip.0 == proposed.index);
            let fate = skip.map_or(Ok(()), |skip| Err(skip.1.clone()));
            let turned = |turning: &mut Turning| Arc::ptr_eq(&turning.fate, &proposed.fate);
            if let Some(turned) = self.turning.take_if(turned) {
                joined |= turned.holds == Holds::Writes;
            }
            self.fates.push((proposed.fate, fate));
            self.evaluator.note_entry(proposed.index, proposed.last);
            through = Some(proposed.last);
            self.in_flight_bytes -= proposed.bytes;
        }
        if let Some(through) = through {
            self.evaluator.applied(through);
        }
        self.frozen = self.evaluator.is_frozen();
        if joined {
            // Nothing was evaluated behind the merge: what comes next begins with what it made of the partition.
            self.evaluator.reset();
        }
        self.notice();
        let begins = !self.serving && !self.ended && self.driver.is_leader() && at.term == self.driver.term();
        if begins {
            if !planted::has(Bug::OverlayKept) {
                self.evaluator.reset();
            }
            self.serving = true;
            self.release_held();
        }
        self.leave_joint()?;
        self.advance_hand_over();
        self.advance_reads();
        Ok(begins)
    }

    /// Whether the log writer has something to do for it.
    pub(crate) fn wants_turn(&self) -> bool {
        self.driver.has_output()
            || self.has_unwritten()
            || match &self.stalled {
                Some(stalled) => stalled.again,
                None => !self.committed.is_empty() && !self.installing,
            }
            || !self.posts.is_empty()
            || !self.held.is_empty()
            || self.install.is_some()
            || self.truncate_to.is_some()
    }

    /// The log may be cut up to what is flushed, in the next batch, but for what followers still need. False when there is
    /// nothing to cut.
    pub(crate) fn cut(&mut self, flushed: LogPosition) -> bool {
        let mut flushed = flushed;
        if planted::has(Bug::CutPastFlushed) {
            flushed.index = self.applied;
            flushed.term = self.driver.term_at(self.applied).unwrap_or(flushed.term);
        }
        let index = flushed.index.min(self.needed_behind());
        if self.ended || index <= self.driver.truncated().index {
            return false;
        }
        let term = if index == flushed.index {
            Some(flushed.term)
        } else {
            self.driver.term_at(index)
        };
        self.truncate_to = term.map(|term| Truncated { index, term });
        self.truncate_to.is_some()
    }

    /// Followers may need the entries behind this one, also those that are away for a moment, and whoever leads next; what would
    /// be too much to keep for them does not count.
    fn needed_behind(&self) -> u64 {
        if self.members.members.len() <= 1 {
            return u64::MAX;
        }
        let mut held = 0;
        let mut bound = 0;
        for (index, bytes) in self.marks.iter().rev() {
            held += bytes;
            if held > self.limits.follower_bytes_max {
                bound = *index;
                break;
            }
        }
        bound.min(self.sent_snapshots_at())
    }

    fn forget_bytes(&mut self, through: u64) {
        while self.marks.front().is_some_and(|mark| mark.0 <= through) {
            self.marks.pop_front();
        }
    }

    /// The log begins anew behind a snapshot.
    pub(super) fn forget_log(&mut self) {
        self.marks.clear();
    }
}

fn note_bytes(marks: &mut VecDeque<(u64, u64)>, step: u64, index: u64, bytes: u64) {
    match marks.back_mut() {
        Some(mark) if mark.1 < step => *mark = (index, mark.1 + bytes),
        _ => marks.push_back((index, bytes)),
    }
}
