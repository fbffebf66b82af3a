//! Between two leaders: whoever asks then waits for a moment, instead of being sent away to ask again and again.
//!
//! 1. A leader that hands over holds those who come, until it knows who leads next (or that it goes on itself): what it tells them
//!    then is where to go.
//! 2. A leader that has just been elected holds them until it serves, which takes it one entry of its own term.
//! 3. Nobody waits longer than [`HOLD_NS`]: then they are refused, as at any replica that does not lead.
//!
//! Nothing of what they want has been evaluated, so each of them may be refused at any time.

use std::sync::Arc;

use partita_partition::storage::Storage;

use super::Replica;
use crate::fate::{Fate, Waiting};
use crate::time::HOLD_NS;

/// What those who came meanwhile wait for.
#[derive(Debug)]
pub(super) struct Hold {
    /// Decided when it is worth asking again.
    fate: Arc<Fate>,
    /// Until when; of a new leader its first tick says so.
    until: Option<u64>,
    /// It was elected, and does not serve yet; otherwise, it hands over.
    begins: bool,
}

impl<S: Storage> Replica<S> {
    /// What a request waits for that would be told that this replica is not the leader: `None` when that is all there is to say.
    pub(crate) fn awaited(&self) -> Option<Waiting> {
        let hold = self.hold.as_ref().filter(|_| !self.ended && self.refusing.is_none());
        hold.map(|hold| hold.fate.wait())
    }

    /// It hands over.
    pub(super) fn hold_for_successor(&mut self, now: u64) {
        self.release_held();
        self.hold = Some(Hold {
            fate: Arc::default(),
            until: Some(now.saturating_add(HOLD_NS)),
            begins: false,
        });
    }

    /// It was elected.
    pub(super) fn hold_until_serving(&mut self) {
        self.release_held();
        if self.members.voting()[0].len() > 1 {
            self.hold = Some(Hold {
                fate: Arc::default(),
                until: None,
                begins: true,
            });
        }
    }

    /// It leads no longer: whoever waited for it to serve goes elsewhere.
    pub(super) fn stop_holding_for_service(&mut self) {
        if self.hold.as_ref().is_some_and(|hold| hold.begins) {
            self.release_held();
        }
    }

    /// Another one leads: that is what was waited for.
    pub(super) fn note_successor(&mut self) {
        if self.hold.is_some() && !self.is_leader() && self.driver.leader() != 0 {
            self.release_held();
        }
    }

    /// It has taken long enough.
    pub(super) fn expire_hold(&mut self, now: u64) {
        let Some(hold) = &mut self.hold else { return };
        if now >= *hold.until.get_or_insert(now.saturating_add(HOLD_NS)) {
            self.release_held();
        }
    }

    /// They ask again.
    pub(super) fn release_held(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.fates.push((hold.fate, Ok(())));
        }
    }
}
