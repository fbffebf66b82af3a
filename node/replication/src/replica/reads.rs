//! Reads without a lease: one round of questions to all voters, shared by everybody who waits.
//!
//! A round that is under way says nothing about reads that began after it, so those wait for the next one; there are
//! never more than two.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::storage::Storage;

use super::{Replica, Settled};
use crate::fate::{Fate, Waiting};

/// A round of questions.
struct Round {
    number: u64,
    /// Confirmed: whoever has applied this entry may read.
    index: Option<u64>,
    fate: Arc<Fate>,
}

/// See the module's header.
#[derive(Default)]
pub(super) struct Reads {
    last: u64,
    asked: Option<Round>,
    next: Option<Arc<Fate>>,
}

impl Reads {
    /// A quorum has confirmed this round, when this much was committed.
    pub(super) fn confirmed(&mut self, round: u64, index: u64) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.number == round) {
            asked.index.get_or_insert(index);
        }
    }

    /// Nobody will be told any more.
    pub(super) fn end(&mut self, refusal: &Refusal, fates: &mut Vec<Settled>) {
        let asked = self.asked.take().map(|round| round.fate);
        for fate in asked.into_iter().chain(self.next.take()) {
            fates.push((fate, Err(refusal.clone())));
        }
    }

    /// Whether anybody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none() && self.next.is_none()
    }
}

impl<S: Storage> Replica<S> {
    /// Waits until it is certain that this replica led, in this term, at some time after this call, and has applied all
    /// that was committed before.
    pub(crate) fn confirm(&mut self, term: u64) -> Result<Waiting, Refusal> {
        if !self.serving || self.serving_term() != term || self.ended {
            return Err(self.refusal().unwrap_or(Refusal::NotLeader));
        }
        self.wake();
        let waiting = self.reads.next.get_or_insert_default().wait();
        self.ask();
        Ok(waiting)
    }

    /// Asks for those who wait, unless a round is under way.
    fn ask(&mut self) {
        if self.reads.asked.is_some() || !self.serving {
            return;
        }
        let Some(fate) = self.reads.next.take() else { return };
        self.reads.last += 1;
        let (number, index) = (self.reads.last, None);
        self.reads.asked = Some(Round { number, index, fate });
        self.driver.read_index(number);
    }

    /// Answers the round that is confirmed and applied, and begins the next one.
    pub(super) fn advance_reads(&mut self) {
        let done = |round: &Round| round.index.is_some_and(|index| index <= self.applied);
        if self.reads.asked.as_ref().is_some_and(done)
            && let Some(round) = self.reads.asked.take()
        {
            self.fates.push((round.fate, Ok(())));
            self.ask();
        }
    }
}
