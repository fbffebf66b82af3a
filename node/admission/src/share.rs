//! Shares of a table's units for partitions that live in different processes.
//!
//! 1. The leader of the table's first partition holds the table's [`Capacity`] and is its [`Grantor`].
//! 2. Every process that leads partitions of the table uses an [`Allowance`]. It reports what it has used since the last
//!    grant, and what it wants per second.
//! 3. The grantor takes what was used, divides what is there by what all want ([`divide`]), and grants a share of it: units,
//!    not a rate, so that the burst can be shared as well. What is granted and not reported as used never sums above what is
//!    there.
//! 4. A grant expires, so one that got lost takes nothing away for long; at the holder, whose clock counts from before it
//!    asked, earlier than at the grantor.
//! 5. Who wakes up has no grant yet: for a moment it goes ahead ([`Allowance::admit`]) and reports what it owes. Who cannot get a
//!    grant uses an even part of the table's units from then on, without burst. A process that has only followers, for eventual
//!    reads, has no part: it goes on.
//!
//! [`crate::pool`] is either of them, as leaders change.

use std::collections::BTreeMap;

use partita_model::capacity::HalfUnits;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::table::{Capacity, Declared};

/// How often an allowance is used up and renewed while there is load: often beside the second in which units are counted.
pub const REPORT_EVERY_MS: u64 = 100;
/// How long a grant can be used: many reports may be lost before anybody falls back.
pub const GRANT_VALID_MS: u64 = 2_000;
/// A grant is for what is wanted in this time at most, so that little of a burst is tied up with one holder.
const AHEAD_MS: u64 = 5 * REPORT_EVERY_MS;
/// Without a grant a part of the units is used second by second: nothing is saved up.
const FALLBACK_BURST_MS: u64 = 1_000;
/// Of what nobody wants, one of so many parts comes with a grant: whose load goes up suddenly finds it there.
const SPARE_PART: u64 = 2;
/// For so long may somebody who had nothing to do use units before the first grant: the way to the grantor and back, and a report
/// that gets lost. What is used is owed, so the rate holds. Not after a grant of nothing: there is a debt to be paid back first.
const WAKING_MS: u64 = 250;
/// The least that is wanted, per second, whatever a holder's part is.
const WANTED_LEAST: u64 = 4;

/// More than any process can use in a second: what a peer says is no reason for an overflow.
const WANTED_MOST: u64 = 1 << 40;
/// Processes that share a table's units at the same time: more than its partitions have replicas.
const HOLDERS_MAX: usize = 4096;

/// What a holder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// What it has used since its last report was answered.
    pub used: HalfUnits,
    /// What it wants per second.
    pub wanted: HalfUnits,
    /// The same as long as a report is not answered: what was heard already is not charged again.
    pub number: u64,
}

/// What it may use from now on until the next grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grant(pub HalfUnits);

/// Units that may be used here.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Half units that are left of the grant; below zero, a debt that the grantor has been (or will be) told of.
    left: i64,
    /// What has been used since the last report that was answered.
    used: u64,
    refused: bool,
    /// Of the report that is made (and made again) next.
    number: u64,
    reported_ms: u64,
    until_ms: u64,
    /// The even part of the table's units that comes with what is led here.
    part: HalfUnits,
    /// What can be used here in a second, however much is granted.
    most: HalfUnits,
    /// While there is no grant: since when one is waited for.
    waiting_since_ms: Option<u64>,
    /// The last grant was nothing.
    is_poor: bool,
    /// While there is no grant; `None` where nothing is led.
    fallback: Option<Bucket>,
}

impl Allowance {
    /// Of a process that has this part of the table's units, can use so much at most, and has no grant yet.
    pub fn new(part: HalfUnits, most: HalfUnits, now_ms: u64) -> Self {
        Self {
            left: 0,
            used: 0,
            refused: false,
            number: now_ms,
            reported_ms: now_ms,
            until_ms: 0,
            part,
            most,
            waiting_since_ms: None,
            is_poor: false,
            fallback: fallback(part).map(|part| Bucket::full(part, FALLBACK_BURST_MS, now_ms)),
        }
    }

    /// Another part from now on.
    pub fn set_part(&mut self, part: HalfUnits, most: HalfUnits, now_ms: u64) {
        (self.part, self.most) = (part, most);
        match (&mut self.fallback, fallback(part)) {
            (Some(bucket), Some(part)) => bucket.set_rate(part, now_ms),
            (own, part) => *own = part.map(|part| Bucket::at_level(part, FALLBACK_BURST_MS, 0, now_ms)),
        }
    }

    /// Whether a request may go ahead, beside what is pending: admitted, and not charged yet.
    pub fn admit(&mut self, pending: HalfUnits, now_ms: u64) -> bool {
        let admitted = match self.has_grant(now_ms) {
            true => self.left.saturating_sub_unsigned(pending.0) > 0,
            false => {
                let since_ms = *self.waiting_since_ms.get_or_insert(now_ms);
                let fallback = self.fallback.as_mut();
                let has_any = fallback.is_none_or(|bucket| bucket.has_more_than(pending, now_ms));
                let used = self.used.saturating_add(pending.0);
                let in_time = now_ms < since_ms + WAKING_MS && !self.is_poor;
                let waking = in_time && used < self.most.0.saturating_mul(WAKING_MS) / 1000;
                has_any || waking
            }
        };
        self.refused |= !admitted;
        admitted
    }

    /// Takes what a request cost.
    pub fn charge(&mut self, cost: HalfUnits, now_ms: u64) {
        self.used = self.used.saturating_add(cost.0);
        self.left = self.left.saturating_sub_unsigned(cost.0);
        if !self.has_grant(now_ms)
            && let Some(bucket) = &mut self.fallback
        {
            bucket.take(cost);
        }
    }

    /// What has been used that the grantor has not confirmed.
    pub fn unreported(&self) -> HalfUnits {
        HalfUnits(self.used)
    }

    /// Whether nothing is left of the grant.
    pub(crate) fn is_spent(&self) -> bool {
        self.left <= 0
    }

    /// Whether it is time to report: something was used or refused, and not just now.
    pub fn is_due(&self, now_ms: u64) -> bool {
        (self.used > 0 || self.refused) && (now_ms >= self.reported_ms + REPORT_EVERY_MS || !self.has_grant(now_ms))
    }

    /// Whether the last grant still holds.
    pub(crate) fn has_grant(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    /// What to tell the grantor. Asked again, it says it again: with [`Allowance::granted`] it is over.
    ///
    /// Who has been refused something wants whatever it can use: wants are only what units are divided by. Who has not wants
    /// twice as much as it has used, and its part at least, so that nobody who wakes up has to begin small.
    pub fn report(&self, now_ms: u64) -> Report {
        let elapsed_ms = now_ms.saturating_sub(self.reported_ms).max(REPORT_EVERY_MS);
        let rate = self.used.saturating_mul(1000) / elapsed_ms;
        let wanted = match self.refused {
            true => self.most.0,
            false => rate.saturating_mul(2).max(self.part.0).min(self.most.0),
        };
        Report {
            used: HalfUnits(self.used),
            wanted: HalfUnits(wanted.max(WANTED_LEAST)),
            number: self.number,
        }
    }

    /// The answer to a report that was made at `reported_ms`. What was used meanwhile is not reported yet, and taken off.
    pub fn granted(&mut self, report: Report, grant: Grant, reported_ms: u64) {
        self.used = self.used.saturating_sub(report.used.0);
        // More than this cannot be used before the next grant, and could only be forgotten.
        let usable = self.most.0.saturating_mul(AHEAD_MS).div_ceil(1000).max(WANTED_LEAST);
        self.left = i64::try_from(grant.0.0.min(usable))
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(self.used);
        self.refused = false;
        self.number = self.number.wrapping_add(1);
        self.waiting_since_ms = None;
        self.is_poor = grant.0.0 == 0;
        self.reported_ms = reported_ms;
        self.until_ms = reported_ms + GRANT_VALID_MS;
        // Should the next grant not come, nothing is owed by what was granted. What was owed before stays as long as nothing is.
        let level = match &mut self.fallback {
            Some(bucket) if self.is_poor => bucket.level(reported_ms).min(0),
            Some(_) | None => 0,
        };
        self.fallback = fallback(self.part).map(|part| Bucket::at_level(part, FALLBACK_BURST_MS, level, reported_ms));
    }
}

/// Nobody is held to a part of nothing.
fn fallback(part: HalfUnits) -> Option<HalfUnits> {
    (part.0 > 0).then_some(part)
}

/// A process among those that use a table's units: a number of its own.
pub type HolderId = u64;

#[derive(Debug, Clone, Copy, Default)]
struct Holder {
    wanted: u64,
    granted: u64,
    until_ms: u64,
    /// The last report, and what it has said to be used.
    number: u64,
    used: u64,
}

/// Who was granted what.
#[derive(Debug, Clone, Default)]
pub struct Grantor {
    holders: BTreeMap<HolderId, Holder>,
}

impl Grantor {
    /// Takes what a holder has used, and grants it more.
    pub fn report(&mut self, capacity: &mut Capacity, holder: HolderId, report: Report, now_ms: u64) -> Grant {
        let known = self.holders.get(&holder).filter(|known| known.number == report.number);
        let heard = known.map_or(0, |known| known.used);
        capacity.charge(HalfUnits(report.used.0.saturating_sub(heard)), now_ms);
        self.holders.retain(|_, holder| now_ms < holder.until_ms);
        if !self.holders.contains_key(&holder) && self.holders.len() >= HOLDERS_MAX {
            return Grant(HalfUnits(0));
        }
        let own = Holder {
            wanted: report.wanted.0.min(WANTED_MOST),
            granted: 0,
            until_ms: now_ms + GRANT_VALID_MS,
            number: report.number,
            used: report.used.0,
        };
        self.holders.insert(holder, own);
        let granted = self.share(capacity, holder, now_ms);
        if let Some(own) = self.holders.get_mut(&holder) {
            own.granted = granted.0;
        }
        Grant(granted)
    }

    /// Whether anybody but this holder has been granted something lately.
    pub fn has_others(&mut self, holder: HolderId, now_ms: u64) -> bool {
        if self.holders.is_empty() {
            return false;
        }
        self.holders.retain(|_, holder| now_ms < holder.until_ms);
        self.holders.keys().any(|known| *known != holder)
    }

    /// A holder's share of what is there and not with somebody else.
    fn share(&self, capacity: &mut Capacity, holder: HolderId, now_ms: u64) -> HalfUnits {
        let there = capacity.available(now_ms).0;
        let with_others: u64 = self.holders.values().map(|holder| holder.granted).sum();
        let ahead = |holder: &Holder| HalfUnits((holder.wanted * AHEAD_MS).div_ceil(1000));
        let wanted: Vec<HalfUnits> = self.holders.values().map(ahead).collect();
        let place = self
            .holders
            .keys()
            .position(|known| *known == holder)
            .unwrap_or_default();
        let shares = divide(HalfUnits(there), HalfUnits(u64::MAX), &wanted, false);
        let share = shares.get(place).copied().unwrap_or_default();
        let free = there.saturating_sub(with_others);
        // Where much is saved up nobody has to say first that it wants more.
        let nobodys = there.saturating_sub(wanted.iter().map(|wanted| wanted.0).sum());
        let spare = free.saturating_sub(share.0).min(nobodys) / SPARE_PART;
        HalfUnits(share.0.min(free) + spare)
    }
}

/// The even part of a table's units that comes with `here` of all its partitions, in half units per second.
pub fn even_part(declared: Declared, here: usize, all: usize) -> HalfUnits {
    declared.part(here, all).ready()
}

/// Divides units by demand: who wants little gets it, the rest is shared evenly among those who want more, up to what each
/// can use. What nobody wants is `spread` evenly too, or left.
pub fn divide(units: HalfUnits, most: HalfUnits, demands: &[HalfUnits], spread: bool) -> Vec<HalfUnits> {
    let mut shares = vec![0_u64; demands.len()];
    let wanted: Vec<u64> = demands.iter().map(|demand| demand.0.min(most.0)).collect();
    let left = level_up(&mut shares, &wanted, units.0);
    if spread {
        level_up(&mut shares, &vec![most.0; demands.len()], left);
    }
    shares.into_iter().map(HalfUnits).collect()
}

/// Raises all shares towards their bounds, the smallest distances first; what is left.
fn level_up(shares: &mut [u64], bounds: &[u64], mut left: u64) -> u64 {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&place| bounds[place].saturating_sub(shares[place]));
    for (done, &place) in order.iter().enumerate() {
        let even = left / (order.len() - done) as u64;
        let given = bounds[place].saturating_sub(shares[place]).min(even);
        shares[place] += given;
        left -= given;
    }
    left
}
