//! One kind of units of a table or index, as one process among those of its partitions knows it.
//!
//! 1. The process that leads the table's first partition *grants*: it has the table's [`Capacity`]. As long as nobody else
//!    uses the units, requests are paid from it directly; else this process has an allowance like all others, and renews it
//!    by itself.
//! 2. All others *hold* an [`Allowance`], and report ([`Pool::report`], [`Pool::granted`]).
//! 3. Whoever grants says where the buckets stand, now and then ([`Pool::news`], [`Pool::hear`]), to those who may have to
//!    take over: they go on there, without a refill for the time in between. Who has heard nothing begins without savings, and may
//!    still ask who granted before ([`Pool::resume`]).

use partita_model::capacity::{HalfUnits, ThrottleLimit};

use crate::share::{Allowance, Grant, Grantor, HolderId, Report};
use crate::table::{Capacity, Declared, Levels, Limits};

/// While nothing is used, where the buckets stand is told so often until they are full: a tenth of a burst.
pub const TELL_EVERY_MS: u64 = 30_000;
/// So often at most it is asked what an on-demand table is ready for: that changes once a minute.
const ASK_EVERY_MS: u64 = 10_000;

/// Who this process is among those that share a table's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The term in which it leads the table's first partition, if it does: then it grants.
    pub grants: Option<u64>,
    /// Its number among the holders.
    pub holder: HolderId,
    /// The even part of the units that comes with the partitions that are led here; none without any.
    pub part: HalfUnits,
    /// What those can do in a second.
    pub most: HalfUnits,
}

/// See the module's header.
#[derive(Debug, Clone)]
pub struct Pool {
    declared: Declared,
    limits: Limits,
    standing: Standing,
    role: Role,
}

#[derive(Debug, Clone)]
enum Role {
    Granting(Box<Granting>),
    Holding {
        allowance: Allowance,
        before: Box<Before>,
        ready: Readiness,
    },
}

/// What an on-demand table is ready for by now, as whoever grants says: it tells its maximum from a growth that it has not had yet.
#[derive(Debug, Clone, Copy, Default)]
struct Readiness {
    /// Units per second, if anybody has said.
    known: Option<HalfUnits>,
    /// A request was refused that may have been named by what is not known any more.
    wanted: bool,
    /// When it was asked for last.
    asked_ms: Option<u64>,
}

#[derive(Debug, Clone)]
struct Granting {
    term: u64,
    capacity: Capacity,
    grantor: Grantor,
    /// While others use the units too.
    own: Option<Allowance>,
    /// Taken since this process grants, until it is known what was there before.
    taken: Option<HalfUnits>,
    /// This process has had some of the units before, or the one before it in its place.
    has_had: bool,
    /// Something was taken that nobody has been told of.
    unsaid: bool,
    /// When the others were told last, and whether there was nothing to be filled then.
    said: Option<(u64, bool)>,
}

/// What is known of the buckets by who does not grant.
#[derive(Debug, Clone, Default)]
struct Before {
    /// As whoever grants has said last, and in which term.
    heard: Option<(u64, Levels)>,
    /// As this process has left them, and in which term: others have granted since.
    left: Option<(u64, Levels)>,
}

impl Pool {
    /// Of a process that knows nothing of the units but what it has left behind before, if anything.
    pub fn new(declared: Declared, limits: Limits, standing: Standing, left: Levels, now_ms: u64) -> Self {
        let role = match standing.grants {
            Some(term) => Role::granting(Capacity::new(declared, limits, left, now_ms), term),
            None => Role::holding(&standing, (left != Levels::default()).then_some((0, left)), now_ms),
        };
        Self {
            declared,
            limits,
            standing,
            role,
        }
    }

    /// Another declaration, or another standing: neither brings a second burst.
    pub fn declare(&mut self, declared: Declared, standing: Standing, now_ms: u64) {
        let limits = self.limits;
        if let (Role::Granting(granting), Some(term)) = (&self.role, standing.grants)
            && granting.term < term
            && granting.term != 0
        {
            // Somebody else may have granted in between.
            let without = Standing {
                grants: None,
                ..standing
            };
            self.declare(declared, without, now_ms);
        }
        match (&mut self.role, standing.grants) {
            (Role::Granting(granting), Some(term)) => {
                granting.term = term;
                granting.capacity.declare(declared, now_ms);
                if let Some(own) = &mut granting.own {
                    own.set_part(standing.part, standing.most, now_ms);
                }
            }
            (Role::Granting(granting), None) => {
                granting.settle(now_ms);
                let left = (granting.term, granting.capacity.state(now_ms));
                self.role = Role::holding(&standing, Some(left), now_ms);
            }
            (Role::Holding { allowance, before, .. }, Some(term)) => {
                let owed = allowance.unreported();
                let has_had = before.left.is_some();
                let (known, levels) = std::mem::take(&mut **before).levels();
                let mut capacity = Capacity::new(declared, limits, levels, now_ms);
                capacity.charge(owed, now_ms);
                self.role = Role::granting(capacity, term);
                if let Role::Granting(granting) = &mut self.role {
                    granting.taken = (!known).then_some(owed);
                    granting.has_had = has_had;
                }
            }
            (Role::Holding { allowance, .. }, None) => allowance.set_part(standing.part, standing.most, now_ms),
        }
        (self.declared, self.standing) = (declared, standing);
    }

    /// Whether a request may go ahead, beside what is pending: admitted, and not charged yet.
    ///
    /// # Errors
    /// The limit that it meets.
    pub fn admit(&mut self, pending: HalfUnits, now_ms: u64) -> Result<(), ThrottleLimit> {
        let holder = self.standing.holder;
        let admitted = match &mut self.role {
            Role::Granting(granting) => {
                if !granting.is_shared(&self.standing, now_ms) {
                    return granting.capacity.admit(pending, now_ms);
                }
                granting.renew(holder, now_ms);
                granting.own.as_mut().is_none_or(|own| own.admit(pending, now_ms))
            }
            Role::Holding { allowance, .. } => allowance.admit(pending, now_ms),
        };
        match admitted {
            true => Ok(()),
            false => Err(self.limit()),
        }
    }

    /// Which limit a request has met that nothing was left for here.
    fn limit(&mut self) -> ThrottleLimit {
        match (&mut self.role, self.declared) {
            (Role::Granting(granting), _) => granting.capacity.limit(),
            (Role::Holding { .. }, Declared::Provisioned(_)) => ThrottleLimit::ProvisionedThroughputExceeded,
            (Role::Holding { ready, .. }, Declared::OnDemand { ready: least, most }) => {
                let most = most.unwrap_or(HalfUnits(u64::MAX));
                ready.wanted |= least < most && most < HalfUnits(u64::MAX);
                match most <= ready.known.unwrap_or(least).max(least) {
                    true => ThrottleLimit::MaxOnDemandThroughputExceeded,
                    false => ThrottleLimit::KeyRangeThroughputExceeded,
                }
            }
        }
    }

    /// Whether to ask whoever grants where the buckets stand, for [`Pool::learn`]: not again and again.
    pub fn is_unsure(&mut self, now_ms: u64) -> bool {
        let Role::Holding { ready, .. } = &mut self.role else {
            return false;
        };
        let asks = ready.wanted && ready.asked_ms.is_none_or(|asked_ms| now_ms >= asked_ms + ASK_EVERY_MS);
        if asks {
            (ready.wanted, ready.asked_ms) = (false, Some(now_ms));
        }
        asks
    }

    /// Whoever grants says what the table is ready for. That is no knowledge to go on with as its successor: it may be old by then.
    pub fn learn(&mut self, levels: &Levels) {
        if let (Role::Holding { ready, .. }, Some(peak)) = (&mut self.role, &levels.peak) {
            ready.known = Some(peak.admitted());
        }
    }

    /// Takes what a request cost.
    pub fn charge(&mut self, cost: HalfUnits, now_ms: u64) {
        match &mut self.role {
            Role::Granting(granting) => {
                granting.unsaid = true;
                match &mut granting.own {
                    Some(own) => own.charge(cost, now_ms),
                    None => granting.take(cost, now_ms),
                }
            }
            Role::Holding { allowance, .. } => allowance.charge(cost, now_ms),
        }
    }

    /// What to tell whoever grants, if it is time.
    pub fn report(&self, now_ms: u64) -> Option<Report> {
        match &self.role {
            Role::Holding { allowance, .. } => allowance.is_due(now_ms).then(|| allowance.report(now_ms)),
            Role::Granting(_) => None,
        }
    }

    /// The answer to a report that was made at `reported_ms`.
    pub fn granted(&mut self, report: Report, grant: Grant, reported_ms: u64) {
        match &mut self.role {
            Role::Holding { allowance, .. } => allowance.granted(report, grant, reported_ms),
            // It grants itself meanwhile, and has taken over what it owed: that is paid twice at most.
            Role::Granting(_) => {}
        }
    }

    /// Answers another holder's report; `None` where somebody else grants.
    pub fn grant(&mut self, holder: HolderId, report: Report, now_ms: u64) -> Option<Grant> {
        let Role::Granting(granting) = &mut self.role else {
            return None;
        };
        granting.unsaid |= report.used.0 > 0;
        if let Some(taken) = &mut granting.taken {
            *taken += report.used;
        }
        Some(granting.grantor.report(&mut granting.capacity, holder, report, now_ms))
    }

    /// The term in which this process grants, and where the buckets stand; or what is known of that. Of one that does not grant
    /// that is what it has heard, or has left behind.
    pub fn state(&mut self, now_ms: u64) -> Option<(u64, Levels)> {
        match &mut self.role {
            Role::Granting(granting) => Some((granting.term, granting.levels(now_ms))),
            Role::Holding { before, .. } => before.latest().cloned(),
        }
    }

    /// What others should hear, if there is anything that they have not.
    pub fn news(&mut self, now_ms: u64) -> Option<(u64, Levels)> {
        match &mut self.role {
            Role::Granting(granting) if granting.unsaid || granting.has_filled(now_ms) => {
                granting.unsaid = false;
                granting.said = Some((now_ms, granting.capacity.is_full(now_ms)));
                Some((granting.term, granting.levels(now_ms)))
            }
            Role::Granting(_) | Role::Holding { .. } => None,
        }
    }

    /// Whether what is granted here fills up, or pays a debt back.
    pub fn fills(&mut self, now_ms: u64) -> bool {
        match &mut self.role {
            Role::Granting(granting) => !granting.capacity.is_full(now_ms),
            Role::Holding { .. } => false,
        }
    }

    /// Whether there will be more to tell although nothing is used: what was used is being filled up, or a debt paid back.
    pub fn is_filling(&self) -> bool {
        match &self.role {
            Role::Granting(granting) => granting.said.is_none_or(|(_, full)| !full),
            Role::Holding { .. } => false,
        }
    }

    /// Not all have heard it: it is to be said again.
    pub fn unheard(&mut self) {
        if let Role::Granting(granting) = &mut self.role {
            granting.unsaid = true;
        }
    }

    /// Whoever grants says where the buckets stand.
    pub fn hear(&mut self, term: u64, levels: Levels) {
        self.learn(&levels);
        if let Role::Holding { before, .. } = &mut self.role
            && before.latest().is_none_or(|(known, _)| *known <= term)
        {
            before.heard = Some((term, levels));
        }
    }

    /// What another process knows of the time before this one granted: counts if it had not heard anything by itself.
    pub fn resume(&mut self, term: u64, levels: Levels, now_ms: u64) {
        if let Role::Granting(granting) = &mut self.role
            && term < granting.term
            && let Some(taken) = granting.taken.take()
        {
            granting.capacity.resume(levels, taken, now_ms);
        }
    }

    /// Where the buckets stand, to go on with in the next process; `None` when they are as a new table's, or somebody else's.
    pub fn levels(&mut self, now_ms: u64) -> Option<Levels> {
        match &mut self.role {
            Role::Granting(granting) => granting.capacity.levels(now_ms),
            Role::Holding { .. } => None,
        }
    }

    /// Fills the bucket: of a table that is new, if nothing was heard of an earlier grantor. That may still come
    /// ([`Pool::resume`]). Who has had some of its units itself knows that it is not new, though all others may have forgotten it.
    pub fn fill(&mut self, now_ms: u64) {
        if let Role::Granting(granting) = &mut self.role
            && let Some(taken) = granting.taken
            && !granting.has_had
        {
            granting.capacity.fill(now_ms);
            granting.capacity.charge(taken, now_ms);
        }
    }

    /// The units per second that are admitted in the long run, of all partitions; `None` where somebody else grants.
    pub fn allowed(&self) -> Option<HalfUnits> {
        match &self.role {
            Role::Granting(granting) => Some(granting.capacity.allowed()),
            Role::Holding { .. } => None,
        }
    }

    /// What is there to be used at once by all partitions, in units; `None` where somebody else grants.
    pub fn balance(&mut self, now_ms: u64) -> Option<f64> {
        match &mut self.role {
            Role::Granting(granting) => Some(granting.capacity.balance(now_ms)),
            Role::Holding { .. } => None,
        }
    }
}

impl Role {
    fn holding(standing: &Standing, left: Option<(u64, Levels)>, now_ms: u64) -> Self {
        Self::Holding {
            allowance: Allowance::new(standing.part, standing.most, now_ms),
            before: Box::new(Before { heard: None, left }),
            ready: Readiness::default(),
        }
    }

    fn granting(capacity: Capacity, term: u64) -> Self {
        Self::Granting(Box::new(Granting {
            term,
            capacity,
            grantor: Grantor::default(),
            own: None,
            taken: None,
            has_had: false,
            unsaid: true,
            said: None,
        }))
    }
}

impl Granting {
    /// Whether so much has come in since the others were told that they should hear of it: who goes on from there would have less,
    /// or pay a debt once more.
    fn has_filled(&self, now_ms: u64) -> bool {
        let waits = |(at_ms, full): (u64, bool)| !full && now_ms >= at_ms + TELL_EVERY_MS;
        self.said.is_none_or(waits)
    }

    /// Whether others use the units too: then this process has an allowance like they have.
    fn is_shared(&mut self, standing: &Standing, now_ms: u64) -> bool {
        match (self.grantor.has_others(standing.holder, now_ms), &self.own) {
            (true, None) => self.own = Some(Allowance::new(standing.part, standing.most, now_ms)),
            (false, Some(_)) => self.settle(now_ms),
            (true, Some(_)) | (false, None) => {}
        }
        self.own.is_some()
    }

    /// The own allowance is renewed when it is asked for something: nobody has to be told.
    fn renew(&mut self, holder: HolderId, now_ms: u64) {
        let Some(own) = &mut self.own else { return };
        if own.is_due(now_ms) || own.is_spent() || !own.has_grant(now_ms) {
            let report = own.report(now_ms);
            if let Some(taken) = &mut self.taken {
                *taken += report.used;
            }
            let grant = self.grantor.report(&mut self.capacity, holder, report, now_ms);
            own.granted(report, grant, now_ms);
        }
    }

    /// Pays what the own allowance owes, and does without it from now on.
    fn settle(&mut self, now_ms: u64) {
        if let Some(own) = self.own.take() {
            self.take(own.unreported(), now_ms);
        }
    }

    fn take(&mut self, cost: HalfUnits, now_ms: u64) {
        self.capacity.charge(cost, now_ms);
        if let Some(taken) = &mut self.taken {
            *taken += cost;
        }
    }

    /// With what the own allowance has used and not paid yet.
    fn levels(&mut self, now_ms: u64) -> Levels {
        let mut capacity = self.capacity.clone();
        if let Some(own) = &self.own {
            capacity.charge(own.unreported(), now_ms);
        }
        capacity.state(now_ms)
    }
}

impl Before {
    /// What to go on with, and whether it is what was there last.
    fn levels(self) -> (bool, Levels) {
        let Self { heard, left } = self;
        match (heard, left) {
            (Some((_, levels)), _) => (true, levels),
            (None, Some((_, levels))) => (false, levels.without_savings()),
            (None, None) => (false, Levels::default().without_savings()),
        }
    }

    fn latest(&self) -> Option<&(u64, Levels)> {
        self.heard.as_ref().or(self.left.as_ref())
    }
}
