//! Walks over partitions that the operator orders: copying items into a new index, making and dropping expiry rows.
//!
//! 1. [`Jobs::begin`] starts a walk in the background, unless it runs or has been done, and says how far it is.
//! 2. The walk goes on piece by piece; what refuses a piece (a full disk, an index's store that is away) is waited for.
//! 3. How it ended is remembered until the process ends or another walk takes its place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use partita_model::admin::JobState;
use partita_model::partition::GroupId;
use partita_model::schema::{IndexId, SchemaVersion};
use partita_replication::Group;
use tokio::task::AbortHandle;

use super::places::Place;
use crate::serving::delivery::Deliveries;
use crate::serving::walk::{Purpose, Walk};

/// How long a piece that was refused waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What takes the place of what: a walk that makes expiry rows and one that drops them exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Backfill(IndexId),
    Expiry,
}

struct Job {
    purpose: Purpose,
    /// The schema with which it began.
    schema: SchemaVersion,
    state: Arc<Mutex<JobState>>,
    walking: AbortHandle,
}

impl Job {
    /// Whether it is (or was) what is asked for now. An index's number is never used again, so a walk for it counts
    /// whatever else the schema goes through. Expiry rows are maintained by writes only while time to live is on: a walk
    /// that began before it was last switched has missed some.
    fn serves(&self, purpose: Purpose, schema: SchemaVersion) -> bool {
        let current = match purpose {
            Purpose::Backfill(_) => true,
            Purpose::IndexExpiry | Purpose::DropExpiry => self.schema == schema,
        };
        current && self.purpose == purpose
    }
}

/// The walks of a store.
pub struct Jobs {
    deliveries: Arc<Deliveries<Place>>,
    jobs: Mutex<HashMap<(GroupId, Slot), Job>>,
}

impl Jobs {
    /// None yet.
    pub fn new(deliveries: Arc<Deliveries<Place>>) -> Self {
        Self {
            deliveries,
            jobs: Mutex::default(),
        }
    }

    /// Starts a walk that the partition's schema (of this version) calls for, unless it runs or is done; how far it is.
    pub fn begin(&self, group: &Arc<Group>, purpose: Purpose, schema: SchemaVersion) -> JobState {
        let slot = match purpose {
            Purpose::Backfill(index) => Slot::Backfill(index),
            Purpose::IndexExpiry | Purpose::DropExpiry => Slot::Expiry,
        };
        let mut jobs = self.jobs.lock();
        if let Some(job) = jobs.get(&(group.id(), slot)).filter(|job| job.serves(purpose, schema)) {
            return self.shown(group.id(), job);
        }
        let state = Arc::new(Mutex::new(JobState::default()));
        let walk = walk(
            Arc::clone(group),
            Arc::clone(&self.deliveries),
            purpose,
            Arc::clone(&state),
        );
        let job = Job {
            purpose,
            schema,
            state,
            walking: tokio::spawn(walk).abort_handle(),
        };
        let shown = self.shown(group.id(), &job);
        if let Some(replaced) = jobs.insert((group.id(), slot), job) {
            replaced.walking.abort();
        }
        shown
    }

    /// Copies of items into new indexes: the partition, the index, items walked over, and whether that is all.
    pub fn backfills(&self) -> Vec<(GroupId, IndexId, u64, bool)> {
        let jobs = self.jobs.lock();
        let backfills = jobs.iter().filter_map(|((group, slot), job)| match slot {
            Slot::Backfill(index) => {
                let state = job.state.lock();
                Some((*group, *index, state.rows, state.done))
            }
            Slot::Expiry => None,
        });
        backfills.collect()
    }

    /// Whether a walk over a partition is under way: it would not go on with what a split takes away.
    pub fn is_walking(&self, group: GroupId) -> bool {
        let jobs = self.jobs.lock();
        let mut walks = jobs.iter().filter(|((walked, _), _)| *walked == group);
        walks.any(|(_, job)| !job.state.lock().done && !job.walking.is_finished())
    }

    /// Ends and forgets what was walked over a partition.
    pub fn forget(&self, group: GroupId) {
        self.jobs.lock().retain(|(walked, _), job| {
            let stays = *walked != group;
            if !stays {
                job.walking.abort();
            }
            stays
        });
    }

    fn shown(&self, group: GroupId, job: &Job) -> JobState {
        let mut state = job.state.lock().clone();
        if let (Purpose::Backfill(_), false, None) = (job.purpose, state.done, &state.waiting) {
            state.waiting = self.deliveries.waits(group).map(|reason| reason.to_string());
        }
        state
    }
}

async fn walk(group: Arc<Group>, deliveries: Arc<Deliveries<Place>>, purpose: Purpose, state: Arc<Mutex<JobState>>) {
    let mut walk = Walk::new(purpose);
    while !walk.done() {
        match walk.go_on(&group, &deliveries).await {
            Ok(()) => {
                *state.lock() = JobState {
                    done: walk.done(),
                    rows: walk.rows(),
                    waiting: None,
                };
            }
            // Nobody asks for it any more: the index was given up, say.
            Err(_) if !group.descriptor().schema().is_some_and(|schema| purpose.fits(schema)) => return,
            Err(refusal) => {
                tracing::debug!(group = format!("{:016x}", group.id().0), ?purpose, %refusal, "a walk waits");
                state.lock().waiting = Some(refusal.to_string());
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
