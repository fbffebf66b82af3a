//! Three stores whose every step is taken by hand, and whose clocks stand still unless they are moved: what happens does not depend
//! on how fast it does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use partita_model::request::{Refusal, WriteReply};
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::log::memory::MemoryLog;
use partita_replication::time::TICK_NS;
use partita_replication::{Group, MemberChange, Peers, Store, StoreOptions};
use uuid::Uuid;

use super::{descriptor, write};

pub const GROUP: GroupId = GroupId(1);
/// The group of [`Trio::begin_alone`].
pub const ALONE: GroupId = GroupId(2);

type Sent = Arc<Mutex<Vec<(Uuid, Uuid, Bytes)>>>;

struct Wire {
    from: Uuid,
    sent: Sent,
}

impl Peers for Wire {
    fn send(&self, to: Uuid, frames: Bytes) {
        self.sent.lock().push((self.from, to, frames));
    }
}

/// Three stores, one group.
pub struct Trio {
    /// What is on their disks.
    pub disks: Vec<(Arc<MemoryStorage>, Arc<MemoryLog>)>,
    pub stores: Vec<Arc<Store<MemoryStorage>>>,
    sent: Sent,
    clock: Arc<AtomicU64>,
    /// Letters to this one are lost.
    pub deaf: Option<usize>,
    /// Letters to this one wait.
    pub slow: Option<usize>,
    /// This one's disk has not answered yet: no turns there.
    pub busy: Option<usize>,
    /// What was sent last arrives first.
    pub backwards: bool,
    /// These do nothing any more.
    pub dead: [bool; 3],
    /// Whether a store may end itself.
    pub may_die: Arc<AtomicBool>,
    copy_bytes_per_second: u64,
}

impl Trio {
    /// The first one leads. Logs keep nothing for who is behind.
    pub fn start() -> Self {
        Self::with_snapshots_at(1 << 30)
    }

    /// The same, whose snapshots leave at so many bytes a second.
    pub fn with_snapshots_at(pace: u64) -> Self {
        let sent = Sent::default();
        let clock = Arc::new(AtomicU64::new(1_000_000_000));
        let disks: Vec<(Arc<MemoryStorage>, Arc<MemoryLog>)> = (0..3).map(|_| Default::default()).collect();
        let may_die = Arc::new(AtomicBool::new(false));
        let stores = (0..3).map(|place| open(&disks[place], place, &sent, &clock, &may_die, pace));
        let stores: Vec<_> = stores.collect();
        let uuids: Vec<_> = stores.iter().map(|store| store.uuid()).collect();
        let deaf = None;
        let dead = [false; 3];
        let mut trio = Self {
            disks,
            dead,
            stores,
            sent,
            clock,
            deaf,
            slow: None,
            busy: None,
            backwards: false,
            may_die,
            copy_bytes_per_second: pace,
        };
        for store in &trio.stores {
            store.bootstrap_among(descriptor(GROUP.0), &uuids).unwrap();
        }
        while trio.step() {}
        assert!(trio.group(0).is_serving());
        trio
    }

    /// It dies, with all that was not synced, and starts again.
    pub fn restart(&mut self, place: usize) {
        let (state, log) = &self.disks[place];
        let (dies, sent) = (self.stores.remove(place), Arc::clone(&self.sent));
        drop(dies);
        state.crash();
        log.recover();
        state.recover();
        self.stores.insert(
            place,
            open(
                &self.disks[place],
                place,
                &sent,
                &self.clock,
                &self.may_die,
                self.copy_bytes_per_second,
            ),
        );
        self.dead[place] = false;
    }

    pub fn group(&self, place: usize) -> Arc<Group<MemoryStorage>> {
        self.stores[place].group(GROUP).unwrap()
    }

    pub fn replica(&self, place: usize) -> u64 {
        self.group(place).stats().replica
    }

    /// A second group is born on the first store, whose state is flushed while that is its only voter.
    pub fn begin_alone(&mut self) {
        self.stores[0].bootstrap(descriptor(ALONE.0)).unwrap();
        self.disks[0].0.flush().unwrap();
    }

    /// That group's replica in a store.
    pub fn alone(&self, place: usize) -> Arc<Group<MemoryStorage>> {
        self.stores[place].group(ALONE).unwrap()
    }

    /// That group gets a learner there, which catches up: its number.
    pub fn add(&mut self, place: usize) -> u64 {
        let store = self.stores[place].uuid();
        self.change(MemberChange::AddLearner { store });
        let replica = self.alone(0).members().on_store(store).unwrap().replica;
        self.stores[place].admit(descriptor(ALONE.0), replica).unwrap();
        while self.alone(place).stats().applied != self.alone(0).stats().applied {
            self.tick();
            while self.step() {}
        }
        replica
    }

    /// That group's members are changed.
    pub fn change(&mut self, change: MemberChange) {
        let mut changing = self.changing(change);
        while changing.answer().is_none() {
            assert!(self.step(), "nobody answers");
        }
        while self.step() {}
    }

    /// The same, on its way.
    pub fn changing(&self, change: MemberChange) -> Asked<()> {
        let group = self.alone(0);
        let id = Uuid::from_u128(u128::from(group.members().epoch) + 1);
        Asked::new(async move {
            group.change_members(id, change).await.unwrap();
        })
    }

    /// One letter is delivered, or one store takes one turn; false when nothing is left to do.
    pub fn step(&mut self) -> bool {
        let letter = {
            let mut sent = self.sent.lock();
            let slow = self.slow.map(|place| self.stores[place].uuid());
            let arrives = |letter: &(Uuid, Uuid, Bytes)| Some(letter.1) != slow;
            let next = match self.backwards {
                true => sent.iter().rposition(arrives),
                false => sent.iter().position(arrives),
            };
            next.map(|next| sent.remove(next))
        };
        if let Some((from, to, frames)) = letter {
            let place = self.stores.iter().position(|store| store.uuid() == to).unwrap();
            if self.deaf != Some(place) && !self.dead[place] {
                self.stores[place].receive(from, &frames).unwrap();
            }
            return true;
        }
        for place in (0..3).filter(|place| !self.dead[*place] && self.busy != Some(*place)) {
            let store = &self.stores[place];
            if let Some(gathered) = store.gather() {
                let lives = store.sync(gathered).is_some_and(|synced| store.apply(synced));
                assert!(lives || self.may_die.load(Ordering::SeqCst));
                self.dead[place] = !lives;
                return true;
            }
        }
        false
    }

    /// The letter that arrives there next, and whose it is.
    pub fn coming(&self, place: usize) -> Option<(Uuid, Bytes)> {
        let sent = self.sent.lock();
        let slow = self.slow.map(|slow| self.stores[slow].uuid());
        let (from, to, frames) = sent.iter().find(|letter| Some(letter.1) != slow)?;
        (*to == self.stores[place].uuid()).then(|| (*from, frames.clone()))
    }

    /// Takes the letter that would arrive there next.
    pub fn take(&mut self, place: usize) -> Option<(Uuid, Bytes)> {
        let mut sent = self.sent.lock();
        let next = sent.iter().position(|letter| letter.1 == self.stores[place].uuid())?;
        let (from, _, frames) = sent.remove(next);
        Some((from, frames))
    }

    /// A tick passes, and no ticker runs.
    pub fn wait(&mut self) {
        self.clock.fetch_add(TICK_NS, Ordering::SeqCst);
    }

    /// A tick passes, and nobody has done anything about it yet.
    pub fn tick(&mut self) {
        self.wait();
        for (store, _) in self.stores.iter().zip(self.dead).filter(|(_, dead)| !dead) {
            store.tick();
        }
    }

    /// Time passes, tick by tick.
    pub fn pass(&mut self, time: u64) {
        for _ in 0..time / TICK_NS {
            self.tick();
            while self.step() {}
        }
    }
}

fn open(
    (state, log): &(Arc<MemoryStorage>, Arc<MemoryLog>),
    place: usize,
    sent: &Sent,
    clock: &Arc<AtomicU64>,
    may_die: &Arc<AtomicBool>,
    copy_bytes_per_second: u64,
) -> Arc<Store<MemoryStorage>> {
    let may_die = Arc::clone(may_die);
    let (from, sent, clock) = (Uuid::from_u128(place as u128 + 1), Arc::clone(sent), Arc::clone(clock));
    let options = StoreOptions {
        peers: Some(Arc::new(Wire { from, sent })),
        elapsed: Arc::new(move || clock.load(Ordering::SeqCst)),
        uuid: from,
        // Not what makes them all the same once the numbers of the replicas are mixed in.
        seed: 1000 * (place as u64 + 1),
        by_hand: true,
        follower_bytes_max: 0,
        chunk_bytes: 2 << 10,
        copy_bytes_per_second,
        on_fatal: Arc::new(move |reason| assert!(may_die.load(Ordering::SeqCst), "{reason}")),
        ..StoreOptions::default()
    };
    Store::with_engines(Arc::clone(state), Arc::clone(log) as _, options).unwrap()
}

/// Somebody's question, under way.
pub struct Asked<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Asked<T> {
    pub fn new(question: impl Future<Output = T> + 'static) -> Self {
        Self(Box::pin(question))
    }

    /// The answer, if it is there.
    pub fn answer(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

pub fn writing(group: Arc<Group<MemoryStorage>>, id: &'static str) -> Asked<Result<WriteReply, Refusal>> {
    Asked::new(async move { write(&group, id, "x").await })
}
