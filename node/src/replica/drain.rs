//! Giving away what this store leads: before it stops, or because somebody wants it to have no duties.
//!
//! [`hand_over`] does it once. [`Drain`] goes on with it: whatever the store comes to lead while it drains is given away,
//! too. Groups without another voter that is alive stay.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use partita_model::partition::GroupId;
use partita_replication::time::ELECTION_NS;
use partita_replication::{Group, Store};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long one attempt takes at most: what is in flight is applied within an election timeout, and the other one elected
/// within a second, or it is not handed over.
const ONE_ATTEMPT: Duration = Duration::from_nanos(2 * ELECTION_NS);
/// A group that nobody has taken over by then stays. A stop of the process waits for so long at most.
const GIVE_AWAY_MAX: Duration = Duration::from_nanos(6 * ELECTION_NS);
/// Between two looks at what a draining store leads: elections take longer.
const LOOK: Duration = Duration::from_millis(200);

/// Gives away what the store leads; returns when it has happened, or will not.
pub async fn hand_over(store: &Store) {
    join_all(led(store).into_iter().map(give_away)).await;
}

/// A voter that was asked and did not take over may have been slow: whoever is ahead then is asked again.
async fn give_away(group: Arc<Group>) {
    let mut leadership = group.leadership();
    let given = async {
        while group.hand_over() {
            let over = leadership.wait_for(|now| now.serving == 0);
            if timeout(ONE_ATTEMPT, over).await.is_ok() {
                return;
            }
        }
    };
    let _ = timeout(GIVE_AWAY_MAX, given).await;
}

/// The groups that this store leads and others could.
fn led(store: &Store) -> Vec<Arc<Group>> {
    let mut groups = store.groups();
    groups.retain(|group| {
        let stats = group.stats();
        stats.leader && stats.members.voting()[0].len() > 1
    });
    groups
}

/// Whether the store drains.
pub struct Drain {
    store: Arc<Store>,
    draining: watch::Sender<bool>,
}

impl Drain {
    /// It does not, until it is told to.
    pub fn start(store: &Arc<Store>) -> Self {
        let draining = watch::Sender::new(false);
        tokio::spawn(follow(Arc::clone(store), draining.subscribe()));
        let store = Arc::clone(store);
        Self { store, draining }
    }

    /// Begins, or ends. Returns when what the store leads has been given away for the first time.
    pub async fn set(&self, draining: bool) {
        self.draining.send_replace(draining);
        if draining {
            hand_over(&self.store).await;
        }
    }

    /// Whether it does.
    pub fn is_on(&self) -> bool {
        *self.draining.borrow()
    }

    /// What is still to be given away.
    pub fn leads(&self) -> Vec<GroupId> {
        led(&self.store).iter().map(|group| group.id()).collect()
    }
}

async fn follow(store: Arc<Store>, mut draining: watch::Receiver<bool>) {
    // The sender ends with the process.
    while draining.wait_for(|draining| *draining).await.is_ok() {
        sleep(LOOK).await;
        if *draining.borrow() {
            hand_over(&store).await;
        }
    }
}
